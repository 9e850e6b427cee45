//! What a node's log holds beside that of the primary, proved by records at the same places.

use og_common::gauss::{Fork, LogRecord, Role};
use og_common::protocol::Lsn;

use super::head::Held;
use crate::cluster::Node;

/// What a node's log holds that the primary's has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OwnLog {
    /// Nothing: its last record is in the primary's log.
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
        let has = head_has(head, last);
        if has == Some(true) {
            return Self::Nothing;
        }
        let own = Held::new(n).lsn;
        let is_common = |fork: &&Fork| {
            n.seen().log_records.have(&fork.record, own) == Some(true) && is_of_head(head, fork)
        };
        let forks = nodes.iter().flat_map(|m| &m.seen().forks).filter(is_common);
        match forks.max_by_key(|fork| Lsn::parse(&fork.record.end)) {
            Some(fork) if fork.record == *last => Self::Nothing,
            // Else it may have followed the new primary on from there, whose log is removed by now.
            Some(fork) if has == Some(false) => Self::From(fork.clone()),
            _ if has == Some(false) => Self::Something,
            _ => Self::Unknown,
        }
    }

    /// What it holds alone, for messages, where that is known.
    pub(super) fn in_words(&self, n: &Node) -> Option<String> {
        let Self::From(fork) = self else { return None };
        let (from, to) = (Lsn::parse(&fork.record.end)?, n.seen().diagnosis.as_ref()?.holds?);
        let bytes = to.bytes_since(from);
        Some(format!(
            "{bytes} bytes of log that {} has not, from {} to {to}, written after {} took over at {}",
            fork.new_primary, fork.record.end, fork.new_primary, fork.at
        ))
    }
}

/// Whether the log of the primary has this record. It was read after what is compared with it, so it lacks what lies behind
/// its end.
fn head_has(head: &Node, record: &LogRecord) -> Option<bool> {
    head.seen().log_records.have(record, Some(Lsn::new(u64::MAX)))
}

/// Whether the log of the primary goes through this fork: it has the record; or, where that is removed, the newest failover
/// that it knows made it primary there.
fn is_of_head(head: &Node, fork: &Fork) -> bool {
    let newest =
        || head.seen().forks.last().is_some_and(|last| last == fork && last.new_primary == head.name);
    head_has(head, &fork.record).unwrap_or_else(newest)
}
