//! What a node's log holds beside that of the primary, proved by records at the same LSNs.

use og_common::gauss::{Fork, Obstacle, Role, WalRecord, fork};
use og_common::protocol::Lsn;

use super::head::Held;
use crate::cluster::Node;

/// What a node's log holds that the primary's has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OwnLog {
    /// Nothing: its last record is in the primary's log, and, where it may have been a primary, in that part of it which
    /// was written before a recorded failover replaced it.
    Nothing,
    /// What begins at this LSN, where the log of a new primary parted from its own.
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
        let has = is_in_head_log(head, last);
        let own = Held::new(n).lsn;
        // What it wrote since the first failover that replaced it is its own, whichever record looks the same.
        let first = open_forks(head, n).next().map(|fork| fork.record.end);
        let is_common = |fork: &&Fork| {
            first.is_none_or(|first| fork.record.end <= first)
                && n.seen().log_records.has_record(&fork.record, own) == Some(true)
                && is_of_head(head, fork)
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
            "{bytes} of log that {} has not, from {} to {to}, written after {} took over at {}",
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
        let is_named = nodes.iter().flat_map(|m| &m.seen().forks).any(|fork| is_open(fork, n));
        let was_primary = |role: Role| matches!(role, Role::Primary | Role::Normal);
        // CM starts each server as pending, and may leave gaussdb.state without a role.
        let unknown = crate::plan::managed::is_run_by_cm(n) && !n.state().role.is_following();
        let may_have_led = is_named || unknown || was_primary(n.state().role) || was_primary(n.role);
        return !may_have_led && is_in_head_log(head, last) == Some(true);
    };
    if !is_complete(head, n) {
        return false;
    }
    let fork = &forks[at];
    if last.end > fork.record.end || !is_of_head(head, fork) || !is_in_line(head, at) {
        return false;
    }
    // Where it is removed by now nothing is proved: a change of the primary by hand, which is on no record, may have lost it.
    is_in_head_log(head, last) == Some(true)
}

/// The failovers that replaced the node by the primary's record and are not over for it.
pub(super) fn open_forks<'a>(head: &'a Node, n: &'a Node) -> impl Iterator<Item = &'a Fork> {
    head.seen().forks.iter().filter(|fork| is_open(fork, n))
}

/// Whether a node that is known has been replaced by a failover on record at the primary and has not followed since, so that its
/// repair will ask for every change of primaries from that one on.
pub(in crate::plan) fn has_open_fork(head: &Node, nodes: &[Node]) -> bool {
    nodes.iter().any(|n| open_forks(head, n).next().is_some())
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

/// Whether the primary's record has every failover since the node was taken in: the oldest ones are not kept for ever.
fn is_complete(head: &Node, n: &Node) -> bool {
    let forks = &head.seen().forks;
    forks.len() < fork::MAX_FORKS
        || forks.iter().any(|fork| n.seen().forks.iter().any(|own| own.is_same(fork)))
}

/// Whether the role of the primary came from the new primary of this failover, by its place in the primary's record, to the
/// primary itself by changes that are all on record and in the primary's log. A change by hand is not: it may have lost the log.
fn is_in_line(head: &Node, at: usize) -> bool {
    let line = head.seen().forks.get(at..).unwrap_or_default();
    let is_last = line.last().is_some_and(|last| last.new_primary == head.name);
    let has_all = || line.iter().skip(1).all(|fork| is_in_head_log(head, &fork.record) == Some(true));
    is_last && line.windows(2).all(|pair| follows(&pair[0], &pair[1])) && has_all()
}

/// Whether the later change took the role of the primary from the node that got it by the earlier one, or is that change tried
/// once more; and where the log went on.
fn follows(earlier: &Fork, later: &Fork) -> bool {
    let is_next = later.old_primaries.contains(&earlier.new_primary);
    let is_again = later.new_primary == earlier.new_primary && later.old_primaries == earlier.old_primaries;
    (is_next || is_again) && earlier.record.end <= later.record.end
}

/// Whether the primary has written its log beyond this record. The pages behind a log's end may hold what an older log left.
fn is_within(head: &Node, record: &WalRecord) -> bool {
    Some(record.end) <= head.state().lsn
}

/// Whether the log of the primary has this record. It was read after what is compared with it, so it lacks what lies behind
/// its end.
fn is_in_head_log(head: &Node, record: &WalRecord) -> Option<bool> {
    let has = head.seen().log_records.has_record(record, Some(Lsn::new(u64::MAX)))?;
    if has { is_within(head, record).then_some(true) } else { Some(false) }
}

/// Whether the log of the primary goes through this fork, as far as it is still there.
fn is_of_head(head: &Node, fork: &Fork) -> bool {
    is_in_head_log(head, &fork.record) == Some(true)
}
