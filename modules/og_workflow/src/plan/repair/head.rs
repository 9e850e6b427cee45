//! Around which primary a cluster is repaired.

use std::cmp::Ordering;

use og_common::gauss::Role;
use og_common::protocol::Lsn;

use super::access;
use crate::cluster::{Node, node_names, primaries, role_in_words, several_primaries};
use crate::plan::Files;

/// How far the log goes that a node holds: the term of the primary that wrote it, and its end.
///
/// Of a server that is well this is what it tells, of any other one what its files have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) term: Option<u64>,
    pub(super) lsn: Option<Lsn>,
}

impl Held {
    pub(super) fn new(n: &Node) -> Self {
        let (state, found) = (n.state(), n.seen().diagnosis.as_ref());
        let received = state.receiver.as_ref().and_then(|r| r.progress.received);
        let told = [found.and_then(|d| d.holds), state.lsn, received];
        Self { term: found.and_then(|d| d.term).max(state.term), lsn: told.into_iter().flatten().max() }
    }

    /// Whether this one is ahead of the other one, by term and then by position; none where that cannot be told.
    pub(super) fn compare(self, other: Self) -> Option<Ordering> {
        match (self.term, other.term) {
            (Some(own), Some(there)) if own != there => Some(own.cmp(&there)),
            _ => Some(self.lsn?.cmp(&other.lsn?)),
        }
    }

    /// For messages: `term 2, log up to 0/5000A858`.
    pub(super) fn describe(self) -> String {
        let term = self.term.map_or_else(|| "term unknown".to_owned(), |term| format!("term {term}"));
        let lsn = self.lsn.map_or_else(|| "log not known".to_owned(), |lsn| format!("log up to {lsn}"));
        format!("{term}, {lsn}")
    }
}

/// The node whose data count.
#[derive(Clone, Copy, Debug)]
pub(super) enum Head<'a> {
    /// It runs as primary, or as the single node.
    Runs(&'a Node),
    /// No primary runs; this one ran as primary last, and nobody holds more.
    Stopped(&'a Node),
}

impl<'a> Head<'a> {
    pub(super) fn node(self) -> &'a Node {
        match self {
            Self::Runs(n) | Self::Stopped(n) => n,
        }
    }
}

/// Finds the node whose data count.
///
/// # Errors
/// That there is none, or more than one, with what each holds and what to do.
pub(super) fn find<'a>(nodes: &'a [Node], targets: &[String], force: bool) -> Result<Head<'a>, String> {
    let running = primaries(nodes);
    match running[..] {
        [only] => return check_newest(only, nodes, targets, force).map(|()| Head::Runs(only)),
        [] => {}
        _ => return choose_primary(&running, targets, force).map(Head::Runs),
    }
    let single = |n: &&Node| n.live_role() == Some(Role::Normal) && n.role == Role::Primary;
    let singles: Vec<&Node> = nodes.iter().filter(single).collect();
    if let [only] = singles[..] {
        require_all_inspected(nodes)?;
        return check_newest(only, nodes, targets, force).map(|()| Head::Runs(only));
    }
    last_primary(nodes).map(Head::Stopped)
}

/// Whether no node of the same system knows a newer primary; but for those that are named, and forced to give up what they
/// hold.
fn check_newest(only: &Node, nodes: &[Node], targets: &[String], force: bool) -> Result<(), String> {
    let own = Held::new(only);
    let is_newer = |n: &&Node| {
        let same = n.system_id().is_some() && n.system_id() == only.system_id();
        let newer = matches!((Held::new(n).term, own.term), (Some(there), Some(own)) if there > own);
        n.is_reachable() && same && newer && !(force && targets.contains(&n.name))
    };
    let newer: Vec<&Node> = nodes.iter().filter(is_newer).collect();
    if newer.is_empty() {
        return Ok(());
    }
    let held: Vec<_> = newer.iter().map(|n| format!("{} has {}", n.name, Held::new(n).describe())).collect();
    Err(format!(
        "{} runs as {} ({}), and another node was primary after it: {}; find out which node is to be the \
         primary, since what the newer one wrote is not on {}: stop the wrong one, then og failover; or, where what it \
         wrote alone may be lost, name it for repair with og_repair_force",
        only.name,
        role_in_words(only.state().role),
        own.describe(),
        held.join(", "),
        only.name
    ))
}

/// Whether every node was seen: of one that was not it may be that it is the primary.
fn require_all_inspected(nodes: &[Node]) -> Result<(), String> {
    let unseen: Vec<_> =
        nodes.iter().filter(|n| !n.is_reachable() || n.seen().state_error.is_some()).collect();
    if unseen.is_empty() {
        return Ok(());
    }
    Err(format!(
        "no primary was seen, and of {} nothing is known: one of them may be the primary; reach them first",
        node_names(unseen.into_iter()).join(", ")
    ))
}

/// Which of two primaries counts: the one of the higher term; or, forced, the one that is not to be overwritten.
fn choose_primary<'a>(running: &[&'a Node], targets: &[String], force: bool) -> Result<&'a Node, String> {
    let systems: Vec<_> = running.iter().filter_map(|n| n.system_id()).collect();
    let one_system = systems.windows(2).all(|pair| pair[0] == pair[1]);
    let highest = running.iter().copied().filter(|n| {
        let own = Held::new(n).term;
        let others = running.iter().filter(|other| *other != n);
        own.is_some()
            && others.into_iter().all(|other| Held::new(other).term.is_some_and(|there| Some(there) < own))
    });
    let spared: Vec<&Node> = running.iter().copied().filter(|n| !targets.contains(&n.name)).collect();
    match (highest.collect::<Vec<_>>().as_slice(), spared.as_slice()) {
        ([newest], _) if one_system && !targets.contains(&newest.name) => Ok(*newest),
        (_, [only]) if one_system && force => Ok(*only),
        _ => {
            let held: Vec<_> =
                running.iter().map(|n| format!("{} ({})", n.name, Held::new(n).describe())).collect();
            Err(format!(
                "{}; they hold: {}; with og_repair_force the one that is named for repair is overwritten by the other",
                several_primaries(running),
                held.join(", ")
            ))
        }
    }
}

/// The node that ran as primary last, where it may run as that again: every node was seen, and none of them holds more.
fn last_primary(nodes: &[Node]) -> Result<&Node, String> {
    require_all_inspected(nodes)?;
    let has_data = |n: &&Node| n.system_id().is_some() || n.state().role != Role::Unknown;
    let with_data: Vec<&Node> = nodes.iter().filter(has_data).collect();
    let ahead = |a: &Node, b: &Node| Held::new(a).compare(Held::new(b));
    let was = |n: &&Node| !n.state().running && n.state().role == Role::Primary;
    let fit = |n: &Node| {
        let others = with_data.iter().filter(|other| ***other != *n);
        others.into_iter().all(|other| matches!(ahead(n, other), Some(Ordering::Greater | Ordering::Equal)))
    };
    let built = |n: &Node| n.state().build.is_some();
    let found: Vec<&Node> = with_data.iter().copied().filter(was).filter(|n| fit(n) && !built(n)).collect();
    if let [only] = found[..] {
        let is_empty =
            |n: &&Node| !has_data(n) && (access::has_channel(only, n) || Files::record_of(only, n).is_some());
        let empty = node_names(nodes.iter().filter(is_empty));
        return if empty.is_empty() { Ok(only) } else { Err(without_data(only, &empty)) };
    }
    Err(no_primary_reason(&with_data, &ahead))
}

/// That members have no data, which may have held more.
fn without_data(only: &Node, empty: &[String]) -> String {
    let (has, its) = if empty.len() == 1 { ("has", "its") } else { ("have", "their") };
    let start = only.command("og_node_state", &[("state", "started"), ("role", "primary")]);
    format!(
        "no primary runs, and {} {has} no data, though {} knows {}: what was there is not known, {its} disk may not be \
         mounted; mount it; or, where nothing was there that {} lacks, start that one yourself: {start}",
        empty.join(", "),
        only.name,
        if empty.len() == 1 { "it" } else { "them" },
        only.name
    )
}

/// That no primary runs and none may be made by a repair, with what each node holds and who could take over.
fn no_primary_reason(with_data: &[&Node], ahead: &dyn Fn(&Node, &Node) -> Option<Ordering>) -> String {
    let held: Vec<_> = with_data
        .iter()
        .map(|n| {
            let role = n.live_role().map_or_else(
                || format!("stopped, last {}", role_in_words(n.state().role)),
                |role| format!("runs as {}", role_in_words(role)),
            );
            format!("{} ({role}; {})", n.name, Held::new(n).describe())
        })
        .collect();
    let most = with_data.iter().copied().filter(|n| {
        with_data
            .iter()
            .all(|other| other == n || matches!(ahead(n, other), Some(Ordering::Greater | Ordering::Equal)))
    });
    let who = most.map(|n| n.name.as_str()).next();
    let advice = who.map_or_else(
        || "which of them holds most cannot be told: og failover says more".to_owned(),
        |name| format!("{name} holds most: og failover {name} makes it primary, then run this again"),
    );
    format!("no primary runs, and a repair makes none; {}; {advice}", held.join(", "))
}
