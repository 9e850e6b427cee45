//! What to do about each kind and each reason of an error: `og explain` prints it, and docs/errors.md is made of it.

use std::borrow::Cow;

use schemars::JsonSchema;

use super::{ErrorKind, Reason};

/// What a word of an error means, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What it means, in a sentence.
    pub meaning: Cow<'static, str>,
    /// What to do, in sentences.
    pub advice: &'static str,
    /// What to type, each line a command; may be none.
    pub commands: &'static [&'static str],
}

/// The description that the schema of `T` has for one of its words, which is that of the doc comment.
///
/// It is empty where there is no such word.
#[must_use]
pub fn describe_word<T: JsonSchema>(word: &str) -> String {
    let schema = schemars::schema_for!(T).to_value();
    let words = schema["oneOf"].as_array().into_iter().flatten();
    let own = words.filter(|one| one["const"] == *word);
    own.filter_map(|one| one["description"].as_str()).collect::<Vec<_>>().join(" ")
}

impl Reason {
    /// Returns what it means and what to do.
    #[must_use]
    pub fn explain(self) -> Explanation {
        let (advice, commands) = self.advice();
        Explanation { meaning: describe_word::<Self>(self.name()).into(), advice, commands }
    }

    #[allow(clippy::too_many_lines)] // A table.
    fn advice(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Building => (
                "Wait for its end, or have the call wait: `if_building: wait` within its `timeout`. The build tells how \
                 far it is.",
                &[
                    r#"echo '{"data_dir": "/gauss/data/db1", "state": "query"}' | og_build --host omm@192.168.0.12"#,
                ],
            ),
            Self::BuildIncomplete => (
                "Build the node again; what the broken build left is recognised and replaced.",
                &["og repair n2"],
            ),
            Self::LockHeld => (
                "The detail names who holds it and since when. Wait until that run or program ends; `lock_timeout` says how \
                 long a call waits. The lock of a workflow that died on the same controller is ignored; that of a \
                 controller which is gone is taken by force.",
                &["og history", "og expand n3 og_lock_force=true"],
            ),
            Self::NotEnoughWalSenders => (
                "A build takes two WAL senders of the primary, and each standby one. Raise max_wal_senders, which needs a \
                 restart of the primary, or wait until another build has ended.",
                &["og configure max_wal_senders=20 --configure-restart yes"],
            ),
            Self::ManagedByCm => (
                "Use the command of cm_ctl that the hint names, or pause CM on every node first. What goes through CM and \
                 what is refused is in docs/cm.md.",
                &["cm_ctl query -Cv", "cm_ctl pause", "cm_ctl resume"],
            ),
            Self::ManagedByDcf => (
                "The servers of a DCF group elect their primary. Use the command of gs_ctl that the hint names.",
                &[],
            ),
            Self::SharedStorage => (
                "Its data, log and role are not its own. Use the tools of the cluster on shared storage (cm_ctl).",
                &[],
            ),
            Self::SecondPrimary => (
                "Find out which of the two holds what must not be lost: compare their terms and who writes to them. Stop \
                 the other one, and have it repaired. To exchange the roles of a primary and a standby, switch over.",
                &["og status", "og switchover n2", "og repair n1"],
            ),
            Self::PrimaryMayBeAlive => (
                "Where it can be reached, switch over or stop it. Where it cannot, make sure that its host is off, and \
                 say so to `og failover`.",
                &["og failover -n", "og failover og_confirm_dead=n1"],
            ),
            Self::PeersSilent => (
                "Bring the servers that the detail names up, or drop nodes that are lost; a unit of og_host waits for them. \
                 Where you know that none of them is primary, start this one yourself: without `unattended`.",
                &[
                    "og status",
                    "og repair",
                    "echo '{\"data_dir\": \"/gauss/data/dn1\", \"state\": \"started\"}' | og_node_state",
                ],
            ),
            Self::HoldsLess => (
                "Make the node that holds more the primary; the detail names it. `og failover` without a name takes it by \
                 itself. By force this node is taken, and what it lacks is lost.",
                &["og failover -n", "og failover"],
            ),
            Self::OlderTerm => (
                "Another node has been primary since. Make a node of the newer term the primary, and repair this one.",
                &["og status", "og repair n1"],
            ),
            Self::LeftBehind => (
                "Make another standby the primary. By force this one is taken, and what was written since is lost.",
                &["og failover -n", "og failover"],
            ),
            Self::LogUnknown => (
                "Make the node primary whose log can be read; the detail names it. Look into this node's pg_xlog and its \
                 disk, then repair it.",
                &["og failover -n", "og repair n2"],
            ),
            Self::OnlyPrimary => (
                "Make another node primary first, which turns this one into a standby. A single node is stopped by \
                 `state: stopped`, not by a change of its role.",
                &["og switchover n2"],
            ),
            Self::NotStreaming => (
                "Repair the standby, then try again. When the primary is lost, fail over.",
                &["og repair n2", "og failover -n"],
            ),
            Self::Lagging => (
                "Wait until it has caught up, or take another standby. A slow disk or network, or a long query on the \
                 standby, holds it back.",
                &["og status -v", "og switchover -n n3"],
            ),
            Self::Overtaken => (
                "Somebody else switched over at the same time. See which node is primary now, and agree on one; call again where \
                 it is to be another.",
                &["og status"],
            ),
            Self::WrongRole => (
                "See which role it has, and name the state that leads to the wanted one: og_node_state with `primary`, \
                 `standby` or `restarted` changes the role of a server that runs.",
                &["og status"],
            ),
            Self::DiskFull => (
                "Make room on the file system that the detail or `path` names: check replication slots and archiving \
                 first, and never remove files of pg_xlog by hand. Then make the same call again.",
                &["og status -v"],
            ),
            Self::Frozen => (
                "Somebody, or a debugger, has stopped the process. Let it go on, or end it with `state: stopped` and \
                 `stop_mode: immediate`.",
                &["kill -CONT PID"],
            ),
            Self::GoesOn => (
                "See what became of it before you do anything else; the hint says what goes on. The same call again finds \
                 the work done, or waits for it.",
                &["og status"],
            ),
            Self::LongTransactions => (
                "Wait for them, or end their sessions. The workflows take `og_long_transactions`.",
                &["og switchover n2 --long-transactions wait"],
            ),
            Self::ContentWanted => (
                "It is a state of a transfer and no failure: send og_file the piece of the content that begins at `offset` of the \
                 result, in Base64 in `content`, until an answer is none of this reason. `og`, Ansible and Salt do it themselves.",
                &["og deploy --package openGauss-Server-6.0.2-openEuler20.03-x86_64.tar.bz2 -n"],
            ),
            Self::NotRoot => (
                "Run og_host as root. `og` calls it by `sudo -n` where it logs in as another user, Ansible by `become`; Salt's \
                 minion is root already.",
                &["ssh omm@192.168.0.12 sudo -n true"],
            ),
            Self::ServerRuns => (
                "Stop the server first, or leave what it needs where it is. The detail names its process.",
                &[r#"echo '{"data_dir": "/gauss/data/db1", "state": "stopped"}' | og_node_state"#],
            ),
            Self::ForeignFile => (
                "Somebody else has put it there. Read it; move it away where what og_host would write serves in its place, or \
                 leave that part out of the call.",
                &[],
            ),
            Self::UnknownArgument => (
                "Correct the name; the detail has the nearest one. Where a workflow made the call, the programs on the node \
                 are older than og_workflow: install those of the same version there (docs/upgrade.md).",
                &["og_hba --help", "og_hba --version"],
            ),
        }
    }
}

impl ErrorKind {
    /// All values.
    pub const ALL: [Self; 13] = [
        Self::BadArgs,
        Self::NotFound,
        Self::Permission,
        Self::Busy,
        Self::Refused,
        Self::Corrupt,
        Self::Unsupported,
        Self::CommandFailed,
        Self::Timeout,
        Self::Unreachable,
        Self::Interrupted,
        Self::Io,
        Self::Internal,
    ];

    /// Returns the word by which results name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BadArgs => "bad_args",
            Self::NotFound => "not_found",
            Self::Permission => "permission",
            Self::Busy => "busy",
            Self::Refused => "refused",
            Self::Corrupt => "corrupt",
            Self::Unsupported => "unsupported",
            Self::CommandFailed => "command_failed",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Interrupted => "interrupted",
            Self::Io => "io",
            Self::Internal => "internal",
        }
    }

    /// Returns what it means and what to do.
    #[must_use]
    pub fn explain(self) -> Explanation {
        let advice = match self {
            Self::BadArgs => {
                "Correct the argument that `path` names, a JSON pointer. `--help` lists the arguments, `--validate` checks \
                 them and does nothing else."
            }
            Self::NotFound => {
                "Correct the path, or set `gauss_home` or `env_file` where openGauss's programs are not found. Start the \
                 server where one must run."
            }
            Self::Permission => {
                "Run the program as the owner of the data directory, or as root, which it leaves for that owner."
            }
            Self::Busy => "Wait and make the same call again; `reason` and the detail say what is at work.",
            Self::Refused => {
                "Read what would be lost. The hint names the argument that overrides the rule, if one may; docs/safety.md \
                 has all rules."
            }
            Self::Corrupt => {
                "Correct the line that the detail names, or bring a copy back. The file was not changed."
            }
            Self::Unsupported => "Use a node of a supported version or platform, or do what the hint says.",
            Self::CommandFailed => {
                "`cmd`, `rc`, `stdout` and `stderr` of the result have what the outside program was told and said; its \
                 server's log has the rest."
            }
            Self::Timeout => "See what became of the call, then make the same call with a larger `timeout`.",
            Self::Unreachable => {
                "Log in with ssh as the same user to see why. Host keys must be known, and no password is asked for."
            }
            Self::Interrupted => {
                "Make the same call again; `actions` has what had been done before the signal."
            }
            Self::Io => "Check the disk and the file that `path` names, then make the same call again.",
            Self::Internal => {
                "Report it with the whole result, and with what `OG_LOG=debug` before the command prints."
            }
        };
        Explanation { meaning: describe_word::<Self>(self.name()).into(), advice, commands: &[] }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_word_has_a_meaning_and_an_advice_in_sentences() {
        let kinds = ErrorKind::ALL.map(|kind| (kind.name(), kind.explain()));
        let reasons = Reason::ALL.map(|reason| (reason.name(), reason.explain()));
        for (name, told) in kinds.into_iter().chain(reasons) {
            assert!(told.meaning.ends_with('.'), "{name}: {}", told.meaning);
            assert!(told.advice.ends_with('.') && !told.advice.contains("  "), "{name}: {}", told.advice);
        }
    }

    #[test]
    fn a_kind_is_written_by_its_name() {
        for kind in ErrorKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        let schema = serde_json::to_string(&schemars::schema_for!(ErrorKind)).unwrap();
        assert_eq!(schema.matches("\"const\"").count(), ErrorKind::ALL.len(), "{schema}");
    }
}
