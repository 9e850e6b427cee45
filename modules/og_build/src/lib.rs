//! Build this standby from its primary.

mod act;
mod args;
mod log;
mod plan;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use og_common::files::NodeLock;
use og_common::gauss::Node;
use og_common::gauss::disk::{free_space, human, size_of};
use og_common::protocol::{Call, Error, Example, Module, Report, Rule};

pub use args::{Args, BuildRole, Mode, Output, State, Status};
pub use plan::{Plan, Present, plan};

/// The module.
#[derive(Debug)]
pub struct Build;

impl Module for Build {
    const NAME: &'static str = "og_build";
    const ABOUT: &'static str = "Build this standby from its primary, where it needs it";
    const TIMEOUT: u64 = 0;
    const EXAMPLES: &'static [Example] = &[
        Example {
            title: "Make it stream, by whatever build that takes",
            args: r#"{"data_dir": "/gauss/data/dn1"}"#,
        },
        Example {
            title: "Build a new cascade standby",
            args: r#"{"data_dir": "/gauss/data/dn1", "mode": "full", "role": "cascade_standby"}"#,
        },
        Example {
            title: "Begin a build of 200 GiB and come back",
            args: r#"{"data_dir": "/gauss/data/dn1", "wait": false, "min_free": 214748364800}"#,
        },
        Example { title: "How far is it?", args: r#"{"data_dir": "/gauss/data/dn1", "state": "query"}"# },
    ];
    const RULES: &'static [Rule] = &[Rule::OnlyIf {
        key: "state",
        values: &["present"],
        allows: &["mode", "role", "force", "wait", "min_free", "stall_timeout"],
    }];
    type Args = Args;
    type Output = Output;

    async fn run(call: &Call, args: Args) -> Result<Report<Output>, Error> {
        let node = Node::of(call)?;
        if args.state == State::Query {
            return query(call, &node).await;
        }
        node.await_build(call).await;
        let mut plan = plan(&look(call, &node, &args).await?, &args)?;
        let mut output = Output::default();
        let mut actions = Vec::new();
        if plan.is_some() && !call.check {
            let _lock = NodeLock::of(&node.data_dir, call).await?;
            // Another module may have acted while we waited for the lock.
            plan = self::plan(&look(call, &node, &args).await?, &args)?;
            if let Some(plan) = plan {
                act::build(call, &node, &args, plan, &mut output).await?;
                call.did(plan.words());
            }
        }
        actions.extend(plan.map(Plan::words));
        output.node = node.query(call).await?;
        let msg = message(&output, plan, call.check);
        Ok(Report::of(actions, msg, output))
    }
}

fn message(output: &Output, plan: Option<Plan>, check: bool) -> String {
    let words = output.node.words();
    match (plan, check, output.build_status) {
        (None, ..) => format!("no build is needed: {words}"),
        (Some(plan), true, _) => format!("would {}; now {words}", plan.words()),
        (Some(_), false, Status::Running) => "the build runs; follow it with state: query".to_owned(),
        (Some(_), false, _) => {
            let how = match output.mode_used {
                Some(og_common::gauss::BuildMode::Incremental) => "incrementally",
                _ => "in full",
            };
            let seconds = output.duration_ms.unwrap_or(0) / 1000;
            format!("built {how} in {seconds} s ({} copied); {words}", human(output.bytes_copied))
        }
    }
}

/// How long a standby is given to find its primary again, before it is believed to need a build.
const RECOVERY: Duration = Duration::from_secs(8);

async fn look(call: &Call, node: &Node, args: &Args) -> Result<Present, Error> {
    let mut state = node.query(call).await?;
    let end = Instant::now() + RECOVERY;
    while plan::may_recover(&state, args) && Instant::now() < end {
        call.saw(format!("it may yet find its primary: {}", state.words()));
        tokio::time::sleep(act::INTERVAL).await;
        state = node.query(call).await?;
    }
    let room = match args.min_free {
        Some(_) => Some(free_space(&node.data_dir)?.saturating_add(size_of(&node.data_dir))),
        None => None,
    };
    // A node that streams needs nothing, and so nobody is asked. What it holds is looked at before its primary is.
    let (holds, peers) = if plan::is_well(&state, args) {
        (None, Vec::new())
    } else {
        (node.holds(call).await, node.peers().await)
    };
    Ok(Present { node: state, system_id: node.system_id(), peers, room, holds })
}

/// Tells how the last build stands.
async fn query(call: &Call, node: &Node) -> Result<Report<Output>, Error> {
    let state = node.query(call).await?;
    let path = log::path(&node.data_dir);
    let text = log::tail(&path);
    let build_status = match &state.build {
        Some(build) if build.running => Status::Running,
        Some(_) => Status::Failed,
        None => match log::status(&text) {
            // A gs_ctl that cannot reach the primary stops the server and has no words for its own end.
            Status::None if !text.trim().is_empty() && !state.healthy() => Status::Failed,
            status => status,
        },
    };
    let bytes_copied = state.build.as_ref().map_or(0, |b| b.done_kb * 1024);
    let msg = match build_status {
        Status::Running => format!("a build runs, {} copied", human(bytes_copied)),
        Status::Failed => format!("the last build failed; {}", state.words()),
        Status::Completed => format!("the last build was completed; {}", state.words()),
        Status::None => format!("no build is known of; {}", state.words()),
    };
    let output = Output {
        build_status,
        mode_used: log::mode_used(&text).filter(|_| build_status == Status::Completed),
        bytes_copied,
        duration_ms: None,
        data_bytes: Some(size_of(&node.data_dir)),
        log_file: path.exists().then(|| path.display().to_string()),
        last_words: log::last_words(&text, 5),
        node: state,
    };
    Ok(Report::unchanged(msg, output))
}
