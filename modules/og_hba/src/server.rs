//! The running server that reads the file: told of a new one, and seen to take it.

use std::path::Path;

use og_common::files::{self, FileLock};
use og_common::gauss::{self, Exchange, Node, OwedReload, Reader};
use og_common::hba::HbaFile;
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

    /// Whether an earlier call owes it a reload.
    pub(crate) fn is_owed(&self) -> bool {
        self.owed().is_set()
    }

    /// Does the reload that an earlier call owes.
    pub(crate) async fn catch_up(&self, call: &Call, report: &mut Report<Output>) -> Result<(), Error> {
        if !self.is_owed() {
            return Ok(());
        }
        report.changed = true;
        report.msg.push_str("; the server has yet to read it");
        if call.check {
            report.actions.push(RELOAD.to_owned());
            return Ok(());
        }
        let outcome = self.told(call).await?;
        self.owed().settle();
        note(outcome, report);
        Ok(())
    }

    /// Exchanges the file, whose lock this is, and makes the server read the new one.
    pub(crate) async fn exchange(
        &self,
        call: &Call,
        lock: FileLock,
        exchange: Exchange<'_>,
        report: &mut Report<Output>,
    ) -> Result<(), Error> {
        let how = (Reader::Hba, Some(lock));
        let (backup, outcome) = exchange.make(self.node, call, how, async || self.told(call).await).await?;
        report.backup_file = backup;
        note(outcome, report);
        Ok(())
    }

    /// Makes the server read the file as it is.
    async fn told(&self, call: &Call) -> Result<gauss::Reload, Error> {
        let wanted = HbaFile::parse(&files::read(self.path)?);
        match self.node.reload_hba(call, &wanted).await? {
            outcome if outcome.refused(HBA) || busy(&outcome) => Err(refusal(self.path, &outcome)),
            outcome => Ok(outcome),
        }
    }
}

const HBA: &str = "pg_hba.conf";
/// What telling it is called in a report.
pub(crate) const RELOAD: &str = "reload the server";

/// Whether the server did not come to the file at all, for somebody held the lock of postgresql.conf.
fn busy(outcome: &gauss::Reload) -> bool {
    matches!(outcome, gauss::Reload::Refused(words) if words.iter().any(|w| w.contains("lock failed")))
}

fn refusal(path: &Path, outcome: &gauss::Reload) -> Error {
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
        .hint("the server keeps its old rules; correct what it names and call again")
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
        let error = refusal(Path::new("/d/pg_hba.conf"), &outcome);
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
