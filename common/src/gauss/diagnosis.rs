//! Why a server does not serve or does not follow, as its files and its own log tell.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ServerNode;
use super::server_log::newest_tail;
use super::wal::{LogPosition, WalRecord};
use crate::base::{Call, Lsn, deserialize_or_default, secret};

/// What a server wrote when it could not follow its upstream, or could not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Obstacle {
    /// Its log and its upstream's differ from some LSN on.
    LogDiverged,
    /// Its upstream has removed the segments of the log that it needs.
    LogRemoved,
    /// It has followed a primary of a higher term than its upstream's.
    OlderTerm,
    /// No rule of its upstream's pg_hba.conf covers its address.
    NotLetIn,
    /// None of its upstream's replication channels names it.
    NotInChannelList,
    /// Its upstream cannot read the record at its log's end: that was removed there, or was never there.
    LogUnmatched,
    /// Its upstream is of another database system.
    OtherSystem,
    /// It could not load its pg_hba.conf.
    HbaRefused,
    /// It could not load its postgresql.conf.
    ConfRefused,
}

impl Obstacle {
    /// Reads a line of the server's log.
    ///
    /// Words of 3.0.5, 5.0.3 and 6.0.2, and of PostgreSQL where they are others.
    #[must_use]
    pub fn from_line(line: &str) -> Option<Self> {
        const WORDS: [(&str, Obstacle); 17] = [
            ("crc mismatched with remote server", Obstacle::LogDiverged),
            ("is not in this server's history", Obstacle::LogDiverged),
            ("forked off current database system timeline", Obstacle::LogDiverged),
            ("Timeline not matched", Obstacle::LogDiverged),
            ("has already been removed", Obstacle::LogRemoved),
            ("remote term smaller than local", Obstacle::OlderTerm),
            ("not in the channel list", Obstacle::NotInChannelList),
            ("no pg_hba.conf entry for", Obstacle::NotLetIn),
            ("pg_hba.conf rejects", Obstacle::NotLetIn),
            ("Forbid remote connection", Obstacle::NotLetIn),
            ("system identifier differs", Obstacle::OtherSystem),
            ("System id not matched", Obstacle::OtherSystem),
            ("could not load pg_hba.conf", Obstacle::HbaRefused),
            ("pg_hba.conf not reloaded", Obstacle::HbaRefused),
            ("unrecognized configuration parameter", Obstacle::ConfRefused),
            ("syntax error in file", Obstacle::ConfRefused),
            ("contains errors", Obstacle::ConfRefused),
        ];
        // Of a setting that a reload cannot change, the server says that its file has errors, too.
        if line.contains("unaffected changes were applied") {
            return None;
        }
        // Of a record that cannot be read the upstream tells no checksum, but 0 or 1 (`NONE_REC_CRC`, `IGNORE_REC_CRC`).
        // Source: SRV `replicainternal.h` and `walsender.cpp` v6.0.2.
        if line.contains(WORDS[0].0) && [",0]", ",1]"].iter().any(|crc| line.contains(crc)) {
            return Some(Self::LogUnmatched);
        }
        WORDS.iter().find(|(words, _)| line.contains(words)).map(|(_, obstacle)| *obstacle)
    }
}

/// What a node tells of the reason why it is not well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Diagnosis {
    /// How far the log goes that the node holds, written or received, read from its files where its server does not run.
    pub holds: Option<Lsn>,
    /// The newest term in that log or in the node's files.
    pub term: Option<u64>,
    /// The last record of that log which recovery would replay; null where it cannot be read.
    #[serde(deserialize_with = "deserialize_or_default")]
    pub last_record: Option<WalRecord>,
    /// Of a server that does not run: whether it ended without taking away its postmaster.pid, by a crash, a signal or
    /// together with its host.
    pub crashed: bool,
    /// What keeps the server from following or starting, by the newest line of its log that says so.
    pub obstacle: Option<Obstacle>,
    /// That line, or else its newest one of the level FATAL or PANIC.
    pub last_error: Option<String>,
}

/// What the end of a server's log tells: the obstacle and its line, or else the newest FATAL or PANIC line. Lines before
/// the server last became normal, or before it last began, tell nothing of now.
#[must_use]
pub fn read_log(text: &str) -> (Option<Obstacle>, Option<String>) {
    const WELL: [&str; 2] = ["db state(NORMAL_STATE)", "database system is ready to accept"];
    const CLEAN: &str = "database system is shut down";
    let mut fatal: Option<String> = None;
    for line in text.lines().rev() {
        let level =
            ["FATAL:", "PANIC:", "WARNING:", "ERROR:", "LOG:"].iter().filter_map(|l| line.find(l)).min();
        let words = || secret::mask_line(line[level.unwrap_or(0)..].trim()).into_owned();
        if let Some(obstacle) = Obstacle::from_line(line) {
            return (Some(obstacle), Some(words()));
        }
        // A standby says that it is normal before it has asked its upstream; what it says then comes after that.
        if line.contains(CLEAN) || (fatal.is_some() && WELL.iter().any(|words| line.contains(words))) {
            break;
        }
        let ends = ["FATAL:", "PANIC:"].iter().any(|level| line.contains(level));
        if ends && fatal.is_none() && !line.contains("the database system is ") {
            fatal = Some(words());
        }
    }
    (None, fatal)
}

impl ServerNode {
    /// Returns why the node's server is not well, as far as its files and its log tell, which goes this far.
    pub async fn diagnose(&self, call: &Call, log: &LogPosition) -> Diagnosis {
        let stopped = self.running_pid().is_none();
        // What a server says before its logger runs stands in the file that it was started with.
        let text = newest_tail(&self.log_dir(call).await, &self.start_log());
        let (obstacle, last_error) = read_log(&text);
        Diagnosis {
            holds: log.lsn,
            term: log.term,
            last_record: log.last_record,
            crashed: stopped && self.data_dir.join("postmaster.pid").exists(),
            obstacle,
            last_error,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DIVERGED: &str = include_str!("../../../tests/vectors/server_log/diverged.log");
    const NOT_LET_IN: &str = include_str!("../../../tests/vectors/server_log/not_let_in.log");

    #[test]
    fn the_reason_of_a_recorded_standby_is_read_from_its_log() {
        let (obstacle, line) = read_log(DIVERGED);
        assert_eq!(obstacle, Some(Obstacle::LogUnmatched));
        let other = "x FATAL:  standby's local request lsn[0/1] 's crc mismatched with remote server crc(local, remote):[1,2].";
        assert_eq!(read_log(other).0, Some(Obstacle::LogDiverged));
        assert!(line.unwrap().starts_with("FATAL:  standby's local request lsn[0/400CCA20]"));
        assert_eq!(read_log(NOT_LET_IN).0, Some(Obstacle::NotLetIn));
    }

    #[test]
    fn recorded_words_are_told_apart() {
        for (line, obstacle) in [
            (
                "FATAL:  invalid local term or remote term smaller than local. remote term[1], local term[5]",
                Obstacle::OlderTerm,
            ),
            (
                "FATAL:  database system identifier differs between the primary and standby",
                Obstacle::OtherSystem,
            ),
            ("WARNING:  the ha connection is not in the channel list", Obstacle::NotInChannelList),
            ("FATAL:  could not load pg_hba.conf", Obstacle::HbaRefused),
            (
                "ERROR:  requested WAL segment 000000010000000000000004 has already been removed",
                Obstacle::LogRemoved,
            ),
        ] {
            assert_eq!(
                read_log(&format!("x LOG:  begin\nx {line}\nx LOG:  more")),
                (Some(obstacle), Some(line.to_owned()))
            );
        }
    }

    #[test]
    fn what_was_before_the_last_good_time_counts_no_more() {
        let old = "x FATAL:  standby's local request lsn[0/1] 's crc mismatched with remote server crc(local, remote):[1,2].\n";
        let clean = format!("{old}x LOG:  database system is shut down\nx LOG:  more");
        assert_eq!(read_log(&clean), (None, None));
        let crash =
            "x LOG:  database system is ready to accept connections\nx PANIC:  could not write to file\n";
        assert_eq!(read_log(crash).1.as_deref(), Some("PANIC:  could not write to file"));
        let noise = "x LOG:  configuration file \"/d/postgresql.conf\" contains errors; unaffected changes were applied";
        assert_eq!(read_log(noise), (None, None));
    }
}
