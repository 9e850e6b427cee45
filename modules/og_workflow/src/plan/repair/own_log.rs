//! What a node's log holds beside that of the primary, proved by records at the same places.

use std::collections::BTreeSet;

use og_common::gauss::{Fork, Obstacle, Role, WalRecord};
use og_common::protocol::Lsn;

use super::head::Held;
use crate::cluster::Node;

/// What a node's log holds that the primary's has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OwnLog {
    /// Nothing: its last record is in the primary's log, and, where it may have been a primary, in that part of it which
    /// was written before a recorded failover replaced it.
    Nothing,
    /// What begins at this place, where the log of a new primary parted from its own.
    From(Fork),
    /// Something: its last record is not in the primary's log. From where on is not known.
    Something,
    /// That cannot be told.
    Unknown,
}

impl OwnLog {
    /// Compares the log of a node with that of the primary. Of a server that writes nobody can say.
    pub(super) fn new(n: &Node, head: &Node, nodes: &[Node]) -> Self {
        if matches!(n.live_role(), Some(Role::Primary | Role::Normal)) {
            return Self::Unknown;
        }
        let Some(last) = n.seen().diagnosis.as_ref().and_then(|d| d.last_record.as_ref()) else {
            return Self::Unknown;
        };
        if has_nothing(n, last, head, nodes) {
            return Self::Nothing;
        }
        let has = head_has(head, last);
        let own = Held::new(n).lsn;
        let is_common = |fork: &&Fork| {
            n.seen().log_records.have(&fork.record, own) == Some(true) && is_of_head(head, fork)
        };
        let forks = nodes.iter().flat_map(|m| &m.seen().forks).filter(is_common);
        match forks.max_by_key(|fork| fork.record.end) {
            // Else it may have followed the new primary on from there, whose log is removed by now.
            Some(fork) if has == Some(false) => Self::From(fork.clone()),
            _ if has == Some(false) => Self::Something,
            _ => Self::Unknown,
        }
    }

    /// What it holds alone, for messages, where that is known.
    pub(super) fn in_words(&self, n: &Node) -> Option<String> {
        let Self::From(fork) = self else { return None };
        let (from, to) = (fork.record.end, n.seen().diagnosis.as_ref()?.holds?);
        let bytes = to.bytes_since(from);
        Some(format!(
            "{bytes} bytes of log that {} has not, from {} to {to}, written after {} took over at {}",
            fork.new_primary, fork.record.end, fork.new_primary, fork.at
        ))
    }
}

/// Whether the node, which does not write and whose last record this is, has nothing that the primary has not.
///
/// One equal record alone proves that for a standby only: the last record of a server that rests is the same on two whose
/// logs have parted. Of one that may have been a primary the record of the failover that replaced it must say so, too.
fn has_nothing(n: &Node, last: &WalRecord, head: &Node, nodes: &[Node]) -> bool {
    let found = n.seen().diagnosis.as_ref();
    if found.is_some_and(|found| found.obstacle == Some(Obstacle::LogDiverged)) {
        return false;
    }
    let forks = &head.seen().forks;
    // From the oldest of them on it was no primary any more, or one beside the new one.
    let Some(at) = forks.iter().position(|fork| is_open(fork, n)) else {
        let is_named = nodes.iter().flat_map(|m| &m.seen().forks).any(|fork| has_replaced(fork, n));
        let was_primary = |role: Role| matches!(role, Role::Primary | Role::Normal);
        let may_have_led = is_named || was_primary(n.state().role) || was_primary(n.role);
        return !may_have_led && head_has(head, last) == Some(true);
    };
    let fork = &forks[at];
    if last.end > fork.record.end || !is_of_head(head, fork) || !is_in_line(head, at) {
        return false;
    }
    match head_has(head, last) {
        Some(has) => has,
        // Where it is removed by now, the failover has recorded it as the last one that the primary's log had then.
        None => fork.record == *last && is_within(head, last),
    }
}

/// The failovers that replaced the node by the primary's record and are not over for it.
pub(super) fn open_forks<'a>(head: &'a Node, n: &'a Node) -> impl Iterator<Item = &'a Fork> {
    head.seen().forks.iter().filter(|fork| is_open(fork, n))
}

/// Whether this failover replaced the node and it has not followed since. One that stands in its own files is over for it: only
/// survivors record a failover, and an old primary does when it was repaired and follows.
fn is_open(fork: &Fork, n: &Node) -> bool {
    has_replaced(fork, n) && !n.seen().forks.iter().any(|own| own.is_same(fork))
}

/// Whether this failover replaced the node, or it was lost then.
fn has_replaced(fork: &Fork, n: &Node) -> bool {
    fork.old_primaries.contains(&n.name)
}

/// Whether the new primary of this failover, by its place in the primary's record, is the primary itself or one that later
/// failovers in a row replaced by it. What a switchover has changed is not on record.
fn is_in_line(head: &Node, at: usize) -> bool {
    let mut line: BTreeSet<&str> = [head.name.as_str()].into();
    for fork in head.seen().forks.iter().skip(at + 1).rev() {
        if line.contains(fork.new_primary.as_str()) {
            line.extend(fork.old_primaries.iter().map(String::as_str));
        }
    }
    head.seen().forks.get(at).is_some_and(|fork| line.contains(fork.new_primary.as_str()))
}

/// Whether the primary has written its log beyond this record. The pages behind a log's end may hold what an older log left.
fn is_within(head: &Node, record: &WalRecord) -> bool {
    Some(record.end) <= head.state().lsn
}

/// Whether the log of the primary has this record. It was read after what is compared with it, so it lacks what lies behind
/// its end.
fn head_has(head: &Node, record: &WalRecord) -> Option<bool> {
    let has = head.seen().log_records.have(record, Some(Lsn::new(u64::MAX)))?;
    if has { is_within(head, record).then_some(true) } else { Some(false) }
}

/// Whether the log of the primary goes through this fork: it has the record; or, where that is removed, the newest failover
/// that it knows made it primary there.
fn is_of_head(head: &Node, fork: &Fork) -> bool {
    let newest =
        || head.seen().forks.last().is_some_and(|last| last.is_same(fork) && last.new_primary == head.name);
    head_has(head, &fork.record).unwrap_or_else(newest)
}
