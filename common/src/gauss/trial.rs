//! Whether a server would start with a postgresql.conf, asked of the server program itself and without a start.
//!
//! `gaussdb -D DIR -c config_file=FILE -C NAME` reads the file as at a start (`SelectConfigFiles` in the server's `guc.cpp`,
//! before it takes any lock), with all that its release knows of names, types, ranges, units and the checks of single
//! parameters, and then prints the parameter and ends; or it says what it does not like, and ends as a start would.

use std::time::Duration;

use super::ServerNode;
use super::gsql::DISTURBING;
use super::process::{Outcome, time_left};
use super::reload::start_complaints;
use crate::base::Call;

/// How long the program may take for what takes it a tenth of a second.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(20);

/// What the server program makes of a postgresql.conf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trial {
    /// It would start with it, as far as that depends on this file.
    Good,
    /// It would not start; its own words.
    Bad(Vec<String>),
    /// It could not be asked; why.
    Unseen(String),
}

impl ServerNode {
    /// Asks the installed server program whether it would start with `text` as the node's postgresql.conf. Nothing is
    /// written, and no server disturbed.
    pub async fn try_conf(&self, call: &Call, text: &[u8]) -> Trial {
        let program = match self.env(call).await.and_then(|env| env.program("gaussdb")) {
            Ok(program) => program,
            Err(error) => return Trial::Unseen(error.failure().detail.clone()),
        };
        let outcome = program
            .without_env(DISTURBING)
            .args(["-c", "config_file=/dev/stdin", "-C", "port", "-D"])
            .arg(&self.data_dir)
            .with_input(text)
            .with_limit(Some(time_left(call, TRIAL_TIMEOUT)))
            .run()
            .await;
        match outcome {
            Ok(outcome) => verdict(&outcome),
            Err(error) => Trial::Unseen(error.failure().detail.clone()),
        }
    }
}

fn verdict(outcome: &Outcome) -> Trial {
    if outcome.timed_out {
        return Trial::Unseen("gaussdb -C did not end".to_owned());
    }
    let said = [outcome.stderr.as_str(), &outcome.stdout].concat();
    if outcome.rc == 0 {
        return Trial::Good;
    }
    if !said.lines().any(|line| line.contains("configuration file") && line.contains("contains errors")) {
        return Trial::Unseen(format!("gaussdb -C ended with {}: {}", outcome.rc, outcome.last_words()));
    }
    // That the file has errors is known by the time when somebody reads the words.
    let words = start_complaints(&said).into_iter().filter(|word| !word.contains("contains errors"));
    Trial::Bad(words.map(|word| word.replace("/dev/stdin", "postgresql.conf")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(rc: i32, stderr: &str) -> Trial {
        verdict(&Outcome { rc, stderr: stderr.to_owned(), ..Outcome::default() })
    }

    #[test]
    fn the_programs_own_words_are_told() {
        let noise = ".0 LOG:  [Alarm Module]Get ENV GS_CLUSTER_NAME failed!\n\t\n0 WARNING:  failed to parse feature control file: gaussdb.version.\n";
        assert_eq!(ended(0, noise), Trial::Good);
        let bad = format!(
            "{noise}0 LOG:  unrecognized configuration parameter \"max_conections\" in file \"/dev/stdin\" line 798\n\
             0 LOG:  invalid value for parameter \"port\": \"abc\"\n\
             0 FATAL:  configuration file \"/dev/stdin\" contains errors\n"
        );
        let Trial::Bad(words) = ended(1, &bad) else { panic!("it is bad") };
        assert_eq!(words.len(), 2, "{words:?}");
        assert!(
            words[0].ends_with("\"max_conections\" in file \"postgresql.conf\" line 798")
                && words[1].contains("\"port\"")
        );
        let Trial::Unseen(why) = ended(127, "gaussdb: error while loading shared libraries: libcgroup.so\n")
        else {
            panic!("it is not seen")
        };
        assert!(why.contains("ended with 127") && why.contains("libcgroup"), "{why}");
        assert!(matches!(verdict(&Outcome { timed_out: true, ..Outcome::default() }), Trial::Unseen(_)));
    }
}
