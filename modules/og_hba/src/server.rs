//! The running server that reads the file: told of a new one, and seen to take it.

use std::path::Path;

use og_common::files;
use og_common::gauss::{self, Node, OwedReload};
use og_common::protocol::{Call, Error, ErrorKind, Report};

use crate::output::Output;

/// A server that runs on the file.
pub(crate) struct Server<'a> {
    node: &'a Node,
    path: &'a Path,
}

impl<'a> Server<'a> {
    /// The node's server, if it runs.
    pub(crate) fn of(node: Option<&'a Node>, path: &'a Path) -> Option<Self> {
        node.filter(|node| node.running().is_some()).map(|node| Self { node, path })
    }

    /// The mark that the server has yet to read the file.
    fn owed(&self) -> OwedReload {
        OwedReload::of(self.path)
    }

    /// Sets the mark.
    pub(crate) fn owe_reload(&self) -> Result<(), Error> {
        self.owed().set()
    }

    /// Does the reload that an earlier call owes.
    pub(crate) async fn catch_up(&self, call: &Call, report: &mut Report<Output>) -> Result<(), Error> {
        if !self.owed().is_set() {
            return Ok(());
        }
        report.changed = true;
        report.msg.push_str("; the server has yet to read it");
        if call.check {
            report.actions.push(RELOAD.to_owned());
            return Ok(());
        }
        match self.node.reload(call).await? {
            outcome if outcome.refused(HBA) => Err(refusal(self.path, &outcome, "it keeps its old rules")),
            outcome => {
                self.owed().settle();
                note(outcome, report);
                Ok(())
            }
        }
    }

    /// Makes the server read the `new` file. When it does not, the `old` one comes back, and the server reads that.
    pub(crate) async fn reload(
        &self,
        call: &Call,
        (old, new): (&[u8], &[u8]),
        report: &mut Report<Output>,
    ) -> Result<(), Error> {
        let outcome = match self.node.reload(call).await {
            Ok(outcome) => outcome,
            Err(e) => {
                files::replace_read(self.path, new, old, false)?;
                if e.kind() == ErrorKind::CommandFailed {
                    // It may have read the new file all the same. That this fails as well is told by the first error.
                    drop(self.node.reload(call).await);
                }
                self.owed().settle();
                call.undid();
                let hint = e.failure().hint.clone().map_or_else(String::new, |hint| format!("{hint}; "));
                return Err(e.hint(format!(
                    "{hint}the old file is back in place; reload: never leaves the reload to you"
                )));
            }
        };
        if outcome.refused(HBA) || busy(&outcome) {
            files::replace_read(self.path, new, old, false)?;
            let again = self.node.reload(call).await;
            self.owed().settle();
            call.undid();
            let now = match again {
                Ok(again) if again.refused(HBA) => {
                    "the old file is back in place, but it does not take that one either"
                }
                _ => "the old file is back in place",
            };
            return Err(refusal(self.path, &outcome, now));
        }
        self.owed().settle();
        note(outcome, report);
        Ok(())
    }
}

const HBA: &str = "pg_hba.conf";
const RELOAD: &str = "reload the server";

/// Whether the server did not come to the file at all, for somebody held the lock of postgresql.conf.
fn busy(outcome: &gauss::Reload) -> bool {
    matches!(outcome, gauss::Reload::Refused(words) if words.iter().any(|w| w.contains("lock failed")))
}

fn refusal(path: &Path, outcome: &gauss::Reload, now: &str) -> Error {
    // With every reload the server repeats what it thinks of postgresql.conf.
    let about = |word: &&str| !word.contains("postgresql.conf") && !word.contains("parameter \"");
    let words = match outcome {
        gauss::Reload::Refused(words) => {
            words.iter().map(String::as_str).filter(about).collect::<Vec<_>>().join("; ")
        }
        _ => String::new(),
    };
    let path = path.display();
    Error::new(ErrorKind::CommandFailed, format!("the server did not take {path}: {words}"))
        .at(path)
        .hint(format!("{now}; correct what the server names and call again"))
}

/// What a reload that was not refused means for the report.
fn note(outcome: gauss::Reload, report: &mut Report<Output>) {
    match outcome {
        gauss::Reload::Taken => report.output.reloaded = true,
        gauss::Reload::NotRunning => return,
        // It reads pg_hba.conf whatever it thinks of postgresql.conf.
        gauss::Reload::Refused(words) => {
            report.output.reloaded = true;
            report.warnings.push(format!(
                "the server took pg_hba.conf, but finds fault with another file: {}",
                words.join("; ")
            ));
        }
        gauss::Reload::Unseen(why) => {
            report
                .warnings
                .push(format!("the server was told to reload, but was not seen to take the file: {why}"));
        }
    }
    report.actions.push(RELOAD.to_owned());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_words_about_this_file_are_passed_on() {
        let words = [
            "LOG:  parameter \"port\" cannot be changed without restarting the server",
            "LOG:  configuration file \"/d/postgresql.conf\" contains errors; unaffected changes were applied",
            "LOG:  invalid authentication method \"gss\": not supported by this build",
            "CONTEXT:  line 4 of configuration file \"/d/pg_hba.conf\"",
            "WARNING:  pg_hba.conf not reloaded",
        ];
        let outcome = gauss::Reload::Refused(words.map(str::to_owned).to_vec());
        assert!(outcome.refused(HBA) && !busy(&outcome));
        let error = refusal(Path::new("/d/pg_hba.conf"), &outcome, "the old file is back in place");
        assert_eq!(error.kind(), ErrorKind::CommandFailed);
        assert_eq!(
            error.failure().detail,
            format!("the server did not take /d/pg_hba.conf: {}", words[2..].join("; "))
        );
    }

    #[test]
    fn a_fault_of_another_file_is_a_warning() {
        let word = "LOG:  configuration file \"/d/postgresql.conf\" contains errors; no changes were applied";
        let mut report = Report::unchanged("", Output::default());
        note(gauss::Reload::Refused(vec![word.to_owned()]), &mut report);
        assert!(report.output.reloaded && report.warnings[0].contains("another file"));
        let mut report = Report::unchanged("", Output::default());
        note(gauss::Reload::Unseen("no log".to_owned()), &mut report);
        assert!(!report.output.reloaded && report.warnings[0].contains("no log"));
    }
}
