//! The smallest module: it gives its arguments back. The protocol's own tests run it.
#![allow(missing_docs)]

use og_common::protocol::{Call, Error, Example, Module, Report};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

struct Echo;

#[derive(Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
enum State {
    /// Give the words back.
    #[default]
    Present,
    /// Wait until the time is up.
    Waiting,
    /// Make a mistake.
    Mistaken,
}

#[derive(Deserialize, JsonSchema)]
struct Args {
    /// What to do.
    #[serde(default)]
    state: State,
    /// What to give back.
    #[serde(default)]
    words: Vec<String>,
    /// A secret.
    password: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Output {
    /// What was given.
    words: Vec<String>,
    /// The effective user.
    uid: u32,
}

impl Module for Echo {
    const NAME: &'static str = "echo";
    const ABOUT: &'static str = "Give the arguments back";
    const TIMEOUT: u64 = 60;
    const EXAMPLES: &'static [Example] =
        &[Example { title: "Give two words back", args: r#"{"words": "a,b"}"# }];
    type Args = Args;
    type Output = Output;

    async fn run(call: &Call, args: Args) -> Result<Report<Output>, Error> {
        match args.state {
            State::Present => tracing::debug!("words: {:?}", args.words),
            State::Waiting => {
                eprintln!("waiting");
                call.record_seen("nothing yet");
                for word in &args.words {
                    call.record_action(format!("gave {word} back"));
                }
                call.record_output(&Output { words: args.words.clone(), uid: 0 });
                std::future::pending::<()>().await;
            }
            State::Mistaken => panic!("on purpose {:?}", args.password.map(|p| p.len())),
        }
        let actions = if args.words.is_empty() { vec![] } else { vec!["gave words back".to_owned()] };
        let output = Output { words: args.words, uid: nix::unistd::Uid::effective().as_raw() };
        Ok(Report::new(actions, "gave them back", output))
    }
}

fn main() -> std::process::ExitCode {
    og_common::protocol::main::<Echo>()
}
