//! What the workflows decide: pure functions from what was seen on the nodes to findings and a plan.

mod clear;
mod commits;
mod configure;
mod deploy;
mod drop;
mod expand;
mod failover;
mod managed;
mod names;
pub(crate) mod preflight;
mod repair;
mod restart;
mod room;
mod slots;
mod ssl;
mod status;
mod switchover;
#[cfg(test)]
pub(crate) mod tests;
mod zones;

use std::collections::BTreeMap;

use og_common::gauss::{ClusterLock, Role};
use og_common::hba::RuleFields;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::cluster::{Cluster, Node, PeerArg, node_names};

pub use clear::{Clear, ProgramFiles, clear};
pub use commits::{ProbedNode, merge_commits};
pub use configure::{Configure, configure};
pub use deploy::{Deploy, deploy, find_changes, password_finding};
pub use drop::{Drop, drop};
pub use expand::{Expand, expand};
pub use failover::{Choice, Failover, choose, completed_purpose as done_failover, failover, files_for};
pub use preflight::{PREFLIGHT, add_preflight};
pub use repair::{Build, Case, Cause, Repair, repair};
pub use restart::{
    OfPrimary, Pending, Restart, RestartedStandby, candidates, limits, pending_in_words, restart,
};
pub use slots::idle_slots;
pub use status::{Inspected, inspect, unreadable};
pub use switchover::{HandOver, LONG_TRANSACTION_SECONDS, Switchover, switchover};
pub use zones::ZONE;

/// The parameter that says for whom commits wait.
pub const SYNC_NAMES: &str = "synchronous_standby_names";
/// The parameter that lets commits go on when nobody is there.
pub const MOST_AVAILABLE: &str = "most_available_sync";
/// The parameter that says what of a commit is waited for.
pub const SYNC_COMMIT: &str = "synchronous_commit";
/// The parameter after which the folders of tablespaces are named.
pub const NODE_NAME: &str = "pgxc_node_name";
/// The parameters that are looked at on every node. Those that expand writes on a new node are among them, to be put
/// back when it fails.
pub const PARAMETERS: [&str; 22] = [
    "port",
    SYNC_NAMES,
    SYNC_COMMIT,
    MOST_AVAILABLE,
    "application_name",
    ZONE,
    zones::ENABLE,
    NODE_NAME,
    room::SENDERS,
    room::SLOTS,
    ssl::SSL,
    ssl::CERT_FILE,
    ssl::KEY_FILE,
    ssl::CA_FILE,
    "replconninfo1",
    "replconninfo2",
    "replconninfo3",
    "replconninfo4",
    "replconninfo5",
    "replconninfo6",
    "replconninfo7",
    "replconninfo8",
];
/// Parameters that a workflow changes for a while, and that a later one restores when it finds them in a lock left behind: expand at
/// once, drop at its end, when the names are right. `synchronous_standby_names` is not among them: restored before a standby
/// streams it would hang every commit.
const DEFERRED_PARAMETERS: [&str; 1] = [MOST_AVAILABLE];

/// Parameters and their values; null is one that the file did not set.
pub type Values = BTreeMap<String, Option<String>>;
/// Parameters and the values that they get.
pub type Settings = BTreeMap<String, String>;

/// What was found, and what is to be done unless there are findings.
#[derive(Debug)]
pub struct Outlook<P> {
    /// Why the workflow is refused.
    pub findings: Vec<String>,
    /// What should be looked at.
    pub warnings: Vec<String>,
    /// The lock that counts.
    pub lock: Option<ClusterLock>,
    /// What is to be done; none when there are findings.
    pub plan: Option<P>,
}

impl<P> Outlook<P> {
    fn new(cluster: Cluster, plan: Option<P>) -> Self {
        let lock = cluster.primary.and_then(|p| p.seen().lock.clone());
        let plan = plan.filter(|_| cluster.findings.is_empty());
        Self { findings: cluster.findings, warnings: cluster.warnings, lock, plan }
    }

    /// Why the workflow must not begin, every finding on a line of its own. `over`: whether the owner of the lock is a
    /// run that is no more; `then` follows the number of findings, such as `; nothing was changed`.
    #[must_use]
    pub fn refusal(&self, over: bool, then: &str) -> String {
        let mut findings = self.findings.clone();
        if let Some(lock) = self.lock.as_ref().filter(|lock| !lock.owner.is_empty() && !over) {
            // What looks wrong is most likely what that run is doing.
            let words = [purpose_of(Some(lock)).what, lock.purpose.clone(), "something".to_owned()];
            let what = words.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
            findings.push(format!(
                "another run is at work, or has ended without a trace: {what}, by {}",
                lock.owner
            ));
        }
        list_findings(&findings, then)
    }
}

/// These findings for a person, each on a line of its own.
#[must_use]
pub fn list_findings(findings: &[String], and: &str) -> String {
    let lines: Vec<_> = findings.iter().map(|text| format!("- {text}")).collect();
    let s = if lines.len() > 1 { "s" } else { "" };
    format!("{} finding{s}{and}:\n{}", lines.len(), lines.join("\n"))
}

/// What the changing workflows plan.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Shared {
    /// Where the lock is.
    pub primary: String,
    /// The primary and those that follow it, without nodes that come or go.
    pub members: Vec<String>,
    /// The nodes that it is for.
    pub targets: Vec<String>,
    /// What the lock is for.
    pub purpose: Purpose,
    /// Each node's number, as `og_static_conf` takes it for `local`.
    pub file_ids: BTreeMap<String, String>,
    /// Each node's own end of its channels, as `og_replconninfo` takes it for `local`.
    pub locals: BTreeMap<String, PeerArg>,
}

impl Shared {
    fn new(c: &Cluster, primary: &Node, what: &str, restore: Values) -> Self {
        let targets = node_names(c.targets.iter().copied());
        let what = format!("{what} {}", targets.join(",")).trim_end().to_owned();
        let purpose = Purpose { what, restore, ..Purpose::default() };
        Self::within_members(c.nodes, primary, &c.members, &targets, purpose)
    }

    /// For these members among the nodes.
    fn within_members(
        nodes: &[Node],
        primary: &Node,
        members: &[&Node],
        targets: &[String],
        purpose: Purpose,
    ) -> Self {
        let id = |n: &Node| n.id.map_or_else(String::new, |id| id.to_string());
        let seen = primary.seen();
        let found = purpose_of(seen.lock.as_ref().or(seen.last_lock.as_ref()));
        // Another workflow than the one that is to add them must not lose them.
        let rules = if purpose.rules.is_empty() { found.rules } else { purpose.rules };
        Self {
            primary: primary.name.clone(),
            members: node_names(members.iter().copied()),
            purpose: Purpose { rules, ..purpose },
            targets: targets.to_vec(),
            file_ids: nodes.iter().map(|n| (n.name.clone(), id(n))).collect(),
            locals: nodes.iter().map(|n| (n.name.clone(), n.own_end())).collect(),
        }
    }
}

/// What a lock of the workflows is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Purpose {
    /// In words.
    pub what: String,
    /// What is changed for a while.
    pub restore: Values,
    /// By node, pg_hba.conf rules of its own that a build replaces, to be added again after it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<String, Vec<RuleFields>>,
    /// The node that is to be primary again at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub switch_back: Option<String>,
}

/// The purpose of a lock as the workflows write it; empty for any other lock.
#[must_use]
pub fn purpose_of(lock: Option<&ClusterLock>) -> Purpose {
    lock.and_then(|lock| serde_json::from_str(&lock.purpose).ok()).unwrap_or_default()
}

/// Returns the values that a killed workflow left to be restored.
fn leftover_values(c: &Cluster) -> Values {
    purpose_of(c.lock()).restore
}

/// Returns those of these values that any later workflow restores.
fn deferred_restores(left: &Values) -> Values {
    let deferred = left.iter().filter(|(name, _)| DEFERRED_PARAMETERS.contains(&name.as_str()));
    deferred.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// How `og_guc` is called to bring parameters back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DeferredRestore {
    /// Whether they get values, or are taken out of the file.
    pub state: Presence,
    /// The parameters; of those that go the values do not count.
    pub parameters: Settings,
}

/// Whether parameters stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// With these values.
    Present,
    /// No more.
    Absent,
}

impl DeferredRestore {
    fn one(name: &str, value: Option<&str>) -> Self {
        let state = if value.is_some() { Presence::Present } else { Presence::Absent };
        let parameters = Settings::from([(name.to_owned(), value.unwrap_or_default().to_owned())]);
        Self { state, parameters }
    }

    fn from_values(values: &Values) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let absent = values.values().any(Option::is_none);
        let parameters = values.iter().map(|(k, v)| (k.clone(), v.clone().unwrap_or_default()));
        Some(Self {
            state: if absent { Presence::Absent } else { Presence::Present },
            parameters: parameters.collect(),
        })
    }
}

/// The static config, and the live roles where the cluster has them recorded, as `og_static_conf` takes them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Files {
    /// The nodes as they are, or are to be, recorded; none where the files are left as they are.
    pub nodes: Vec<Map<String, Value>>,
    /// The roles; none where the cluster has none recorded.
    pub roles: BTreeMap<String, Role>,
}

impl Files {
    /// These nodes as they are recorded, in their present roles; new ones by what is said of them.
    fn new(primary: &Node, nodes: &[&Node]) -> Self {
        // A stale record of roles would start two primaries.
        let by_cm = nodes.iter().any(|n| managed::is_run_by_cm(n));
        let has_roles = !by_cm && nodes.iter().any(|n| n.seen().has_roles);
        let mut files = Self::recorded(primary, nodes);
        if !has_roles {
            files.roles.clear();
        }
        files
    }

    /// The same, with the roles recorded in any case, as they are when `primary` is the primary. Where CM runs the nodes none
    /// are written: it keeps the roles itself, and its static config says which node is to be primary.
    fn with_roles(primary: &Node, nodes: &[&Node]) -> Self {
        if nodes.iter().any(|n| managed::is_run_by_cm(n)) {
            return Self::default();
        }
        Self::recorded(primary, nodes)
    }

    fn recorded(primary: &Node, nodes: &[&Node]) -> Self {
        let known = |n: &Node| Self::record_of(primary, n);
        let role = |n: &Node| match n {
            _ if n == primary => Role::Primary,
            _ if n.becomes_cascade() => Role::CascadeStandby,
            _ => Role::Standby,
        };
        let record = |n: &&Node| {
            let mut record = known(n).cloned().unwrap_or_else(|| n.record());
            if record.get("data_nodes").and_then(Value::as_array).is_none_or(Vec::is_empty) {
                record.insert("role".to_owned(), json!(role(n).name()));
            }
            record
        };
        let name = |n: &Node| {
            let recorded = known(n).and_then(|r| r.get("name")).and_then(Value::as_str);
            recorded.filter(|name| !name.is_empty()).unwrap_or(&n.hostname).to_owned()
        };
        let roles = nodes.iter().map(|n| (name(n), role(n)));
        Self { nodes: by_id(nodes).iter().map(record).collect(), roles: roles.collect() }
    }

    /// How the primary's file records the node, if it does.
    fn record_of<'a>(primary: &'a Node, n: &Node) -> Option<&'a Map<String, Value>> {
        let same = |r: &&Map<String, Value>| n.id.is_some() && r.get("id").and_then(Value::as_i64) == n.id;
        primary.seen().recorded.iter().rev().find(same)
    }
}

/// The node that runs as primary now, when it is one and no more.
#[must_use]
pub fn current_primary(nodes: &[Node]) -> Option<&Node> {
    let mut primaries = nodes.iter().filter(|n| n.live_role() == Some(Role::Primary));
    primaries.next().filter(|_| primaries.next().is_none())
}

/// What became of the primary with which a run began, in words, when others run as primary now; none when nobody else
/// does.
#[must_use]
pub fn describe_primary_change(nodes: &[Node], primary: &str) -> Option<String> {
    let is_primary = |n: &&Node| n.live_role() == Some(Role::Primary);
    let now = node_names(nodes.iter().filter(is_primary));
    match &now[..] {
        [] => None,
        [only] if only == primary => None,
        [only] => Some(format!(
            "{only} has become primary during this run, which began with {primary}; run it again, with {only} it goes on \
             from what is there"
        )),
        several => Some(format!(
            "{} run as primary, this run began with {primary}; stop the wrong one, then run it again",
            several.join(" and ")
        )),
    }
}

/// In the order of their numbers.
fn by_id<'a>(nodes: &[&'a Node]) -> Vec<&'a Node> {
    let mut sorted = nodes.to_vec();
    sorted.sort_by_key(|n| n.id.unwrap_or(0));
    sorted
}
