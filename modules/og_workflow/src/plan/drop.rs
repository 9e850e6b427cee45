//! Findings and plan of taking nodes away.

use std::collections::BTreeMap;

use og_common::gauss::Role;
use og_common::gauss::managed::Act;
use og_common::hba::RuleFields;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    DeferredRestore, Files, MOST_AVAILABLE, Outlook, SYNC_NAMES, Settings, Shared, deferred_restores,
    leftover_values, unreadable,
};
use crate::args::{DropCommits, Options};
use crate::cluster::{
    Cluster, Node, PeerArg, TargetKind, canonical, changes_role, describe_state, node_names,
};

/// The plan of this workflow.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Drop {
    /// What both workflows plan.
    #[serde(flatten)]
    pub shared: Shared,
    /// Whether no standby stays that follows the primary.
    pub last: bool,
    /// By node, the parameters by which no commit waits for a node that goes.
    pub commits: BTreeMap<String, Settings>,
    /// Application names that go.
    pub names_gone: Vec<String>,
    /// Nodes to be stopped.
    pub stop: Vec<String>,
    /// Channels that go.
    pub cut: Vec<PeerArg>,
    /// Whether any member has one of these.
    pub cuts: bool,
    /// Rules that go.
    pub rules: Vec<RuleFields>,
    /// Members that follow another one.
    pub standbys: Vec<String>,
    /// The cluster's files.
    pub files: Files,
    /// How `og_guc` is called at the end, to let commits wait again.
    pub restore_after: Option<DeferredRestore>,
}

/// Findings and plan of taking these nodes away.
#[must_use]
pub fn drop(nodes: &[Node], targets: &[String], options: &Options) -> Outlook<Drop> {
    let mut c = Cluster::new(nodes, targets, TargetKind::Dropped);
    for n in c.targets.clone() {
        target(&mut c, n);
    }
    c.check();
    super::managed::check(&mut c, Act::Drop);
    let Some(primary) = c.primary else { return Outlook::new(c, None) };
    let stay = c.standbys(&c.members);
    let cascades: Vec<&Node> =
        c.members.iter().copied().filter(|n| *n != primary && n.becomes_cascade()).collect();
    if !cascades.is_empty() && stay.is_empty() {
        let told = node_names(cascades.into_iter()).join(", ");
        c.findings
            .push(format!("{told}: a cascade standby would have no standby left as upstream; drop it too"));
    }
    let last = stay.is_empty();
    let left = leftover_values(&c);
    let most = left.get(MOST_AVAILABLE).cloned();
    let most = most.unwrap_or_else(|| primary.parameter(MOST_AVAILABLE).map(str::to_owned));
    let keys: Vec<_> = c.targets.iter().map(|n| n.key()).collect();
    let cuts = c.members.iter().any(|n| n.peers().any(|key| keys.contains(&key)));
    let available =
        options.og_drop_commits == DropCommits::Available && cuts && !last && most.as_deref() != Some("on");
    // What a killed run left, too: restored before the names are right, commits could wait for a node that is dead.
    let mut restore = deferred_restores(&left);
    restore.extend(available.then(|| (MOST_AVAILABLE.to_owned(), most)));
    let addresses: Vec<_> = c.members.iter().map(|n| canonical(&n.address)).collect();
    let alone = c.targets.iter().filter(|n| !addresses.contains(&canonical(&n.address)));
    let plan = Drop {
        last,
        commits: commit_parameters(&c, primary, last, available),
        names_gone: c.targets.iter().map(|n| n.app_name.clone()).collect(),
        stop: node_names(c.targets.iter().copied().filter(|n| n.is_reachable())),
        cut: c.targets.iter().map(|n| n.own_end()).collect(),
        cuts,
        rules: alone.map(|n| c.rule(n, None)).collect(),
        standbys: node_names(c.members.iter().copied().filter(|n| *n != primary)),
        files: Files::new(primary, &c.members),
        restore_after: DeferredRestore::from_values(&restore),
        shared: Shared::new(&c, primary, "drop", left.into_iter().chain(restore).collect()),
    };
    Outlook::new(c, Some(plan))
}

fn target(c: &mut Cluster, n: &Node) {
    let name = &n.name;
    if Some(n) == c.primary || n.live_role() == Some(Role::Primary) {
        c.findings.push(format!(
            "{name} is the primary, and a primary is not dropped; switch over to another node first"
        ));
    } else if n.live_role() == Some(Role::Normal) {
        c.findings
            .push(format!("{name} runs as a single node of its own; stop it yourself if that is meant"));
    } else if changes_role(n.state().db_state) {
        let what = describe_state(n.state().db_state);
        c.findings.push(format!("{name}: is {what}; wait until that is over"));
    }
    if n.seen.is_none() {
        // That it is hidden was found already.
    } else if !n.is_reachable() {
        c.warnings
            .push(format!("{name} cannot be reached and is not stopped; run this again when it is back"));
    } else if let Some(why) = &n.seen().denied {
        // To somebody else a server that runs looks like one that is stopped.
        c.findings.push(format!(
            "{name}: {why}; whether its server runs is not known: go there as the owner of its data directory"
        ));
    } else if let Some(why) = &n.seen().state_error {
        // Only a host that does not answer is dead.
        c.findings.push(unreadable(n, why));
    } else {
        c.warnings.extend(n.seen().errors.iter().map(|why| format!("{name}: {why}")));
    }
}

/// The parameters by which no commit waits for a node that goes, for each node that needs some.
fn commit_parameters(c: &Cluster, primary: &Node, last: bool, available: bool) -> BTreeMap<String, Settings> {
    let set = |n: &Node, name: &str, value: &str| {
        (n.name.clone(), Settings::from([(name.to_owned(), value.to_owned())]))
    };
    if last {
        return c.members.iter().map(|n| set(n, SYNC_NAMES, "")).collect();
    }
    available.then(|| set(primary, MOST_AVAILABLE, "on")).into_iter().collect()
}
