//! The health of a cluster: one verdict, the facts of each node, and what to do.
//!
//! * [`assess`]: from what was seen on the nodes to a [`ClusterHealth`]: pure
//! * [`kinds`]: the findings by their ids
//! * [`lines`]: the verdict, the table, the topology and the findings as a person reads them
//! * [`export`]: one line for Nagios, a file for Prometheus
//! * [`picture`] and [`page`]: who follows whom as an SVG, and all of it as a page for a browser

pub mod assess;
mod cm;
pub mod export;
pub mod kinds;
pub mod lines;
pub mod page;
pub mod picture;
#[cfg(test)]
mod tests;

use og_common::gauss::cm_query::CmView;
use og_common::gauss::{DbState, Role};
use og_common::protocol::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a cluster is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything is as it should be.
    Healthy,
    /// It serves, and something is not as it should be.
    Degraded,
    /// What could not be seen leaves open whether it serves.
    Unknown,
    /// It does not serve, or must not be used as it is.
    Broken,
}

/// The state of a cluster when it was inspected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterHealth {
    /// In one word.
    pub verdict: Verdict,
    /// In a sentence: what is well or not, how many failures are tolerated, what the loss of the primary would lose.
    pub sentence: String,
    /// The primary's name, when there is exactly one.
    pub primary: Option<String>,
    /// For which standbys commits wait, as the primary counts them.
    pub commits: CommitWait,
    /// How many more nodes may fail, one after the other, before writes stop; null when that cannot be told.
    pub failures_tolerated: Option<usize>,
    /// Bytes of the log that would be lost with the primary now; null when that cannot be told.
    pub loss_bytes: Option<Bytes>,
    /// What openGauss CM says, where it runs the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cm: Option<CmView>,
    /// The nodes, in the order of their ids.
    pub nodes: Vec<NodeHealth>,
    /// What is not as it should be, the worst first.
    pub findings: Vec<Finding>,
}

/// For whom commits on the primary wait.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommitWait {
    /// `synchronous_standby_names` of the primary; null when it could not be read.
    pub names: Option<String>,
    /// How many standbys must confirm each commit; 0 is none.
    pub required: Option<usize>,
    /// The nodes that stream and count for it.
    pub candidates: Vec<String>,
    /// Whether these are known: a primary whose pg_hba.conf does not let its own address in lists no receiver.
    #[serde(default)]
    pub candidates_known: bool,
    /// Those of them for which commits do not wait as long as the ones before them in the list stream (`potential`).
    pub in_reserve: Vec<String>,
    /// Whether commits go on without a standby when none is there (`most_available_sync`).
    pub most_available: Option<bool>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeHealth {
    /// Its name.
    pub name: String,
    /// Its address and the database's port.
    pub address: String,
    /// Whether it belongs to the cluster: the primary has a channel to it, or it follows one of those; null without a primary.
    pub member: Option<bool>,
    /// The role in which it runs, of a stopped one that of its last run; null when it is not known.
    pub role: Option<Role>,
    /// Whether it was looked at; not when it was left out of the run.
    pub inspected: bool,
    /// Whether its host answered.
    pub reachable: bool,
    /// Whether its server runs; null when that is not known.
    pub running: Option<bool>,
    /// Its server state.
    pub db_state: Option<DbState>,
    /// Why, in the server's words; of a node that could not be read, the reason for that.
    pub detail: Option<String>,
    /// The node it receives from; an address when that is none of the cluster's.
    pub upstream: Option<String>,
    /// Whether it streams; null when that is not known, and on a primary.
    pub streaming: Option<bool>,
    /// `sync`, `potential`, `quorum` or `async`, as its upstream says.
    pub sync_state: Option<String>,
    /// Bytes that the primary has written and it has not received.
    pub receive_lag_bytes: Option<Bytes>,
    /// Bytes that the primary has written and it has not replayed.
    pub replay_lag_bytes: Option<Bytes>,
    /// Bytes of log that its replication slots retain.
    pub slot_retained_bytes: Option<Bytes>,
    /// Release of its server.
    pub version: Option<String>,
    /// Parameters whose value in postgresql.conf counts only after a restart; null when the server does not run or could not
    /// be asked.
    #[serde(default)]
    pub pending_restart: Option<Vec<String>>,
    /// Whether a switchover to it could begin now.
    pub switchover_ready: Readiness,
    /// Whether it could take over if the primary were lost now.
    pub failover_ready: Readiness,
}

/// Whether something could be done, with reasons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Readiness {
    /// The answer.
    pub verdict: ReadyVerdict,
    /// Why not, or why it is not known.
    pub reasons: Vec<String>,
}

/// Yes, no, or not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadyVerdict {
    /// Yes.
    Yes,
    /// No.
    No,
    /// Not known.
    Unknown,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It does not serve as it is meant to, or data are in danger.
    Error,
    /// It should be looked at.
    Warning,
    /// Worth knowing.
    Info,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What kind it is, such as `node.stopped`; `og explain ID` says more.
    pub id: String,
    /// How bad it is.
    pub severity: Severity,
    /// The node it is about; none when it is the cluster.
    pub node: Option<String>,
    /// What was seen.
    pub message: String,
    /// What to do.
    pub fix: Option<String>,
}

impl Readiness {
    fn new(no: Vec<String>, unknown: Vec<String>) -> Self {
        match (no.is_empty(), unknown.is_empty()) {
            (true, true) => Self { verdict: ReadyVerdict::Yes, reasons: no },
            (true, false) => Self { verdict: ReadyVerdict::Unknown, reasons: unknown },
            _ => Self { verdict: ReadyVerdict::No, reasons: no },
        }
    }
}

impl ClusterHealth {
    /// Whether none of the nodes that were inspected could be reached, so that nothing is known of the cluster.
    #[must_use]
    pub fn reaches_no_node(&self) -> bool {
        let mut inspected = self.nodes.iter().filter(|node| node.inspected).peekable();
        inspected.peek().is_some() && inspected.all(|node| !node.reachable)
    }

    /// Returns the node of this name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&NodeHealth> {
        self.nodes.iter().find(|node| node.name == name)
    }
}

impl Finding {
    /// Returns the finding as one sentence: the node, what was seen, its id in brackets, what to do.
    #[must_use]
    pub fn in_words(&self) -> String {
        let node = self.node.as_ref().map_or(String::new(), |name| format!("{name}: "));
        let fix = self.fix.as_ref().map_or(String::new(), |fix| format!("; {fix}"));
        format!("{node}{} [{}]{fix}", self.message, self.id)
    }
}
