//! Whether the primary has room for more standbys: each takes one of its `max_wal_senders` and one of its
//! `max_replication_slots`, a build two senders.

use crate::cluster::{Cluster, Node, canonical, node_names};

/// The parameter that limits senders.
pub const SENDERS: &str = "max_wal_senders";
/// The parameter that limits slots.
pub const SLOTS: &str = "max_replication_slots";

/// Senders that a build takes: one for the data, one for the log that is written meanwhile.
const SENDERS_PER_BUILD: usize = 2;
/// Senders left to tools, and to whoever asks the primary what it is: each such question takes one for a moment.
const RESERVED_SENDERS: usize = 1;

/// How many nodes may be built side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SideBySide {
    /// Standbys, which keep one sender of the primary when they are built.
    pub standbys: usize,
    /// Cascade standbys, which are built from the primary, too, and then leave it.
    pub cascades: usize,
    /// Whether all of both may be built at the same time.
    pub together: bool,
}

/// What is wanted of the primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wanted {
    /// Senders in use that stay.
    used: usize,
    /// Standbys to be built.
    standbys: usize,
    /// Cascade standbys to be built.
    cascades: usize,
}

impl Wanted {
    /// The senders that are in use at most while so many are built side by side: some are built, some are being built.
    fn senders(self, at_once: SideBySide) -> usize {
        let standbys =
            self.used + self.standbys + at_once.standbys.min(self.standbys) * (SENDERS_PER_BUILD - 1);
        let cascades = self.used + self.standbys + at_once.cascades.min(self.cascades) * SENDERS_PER_BUILD;
        standbys.max(cascades) + RESERVED_SENDERS
    }

    /// The senders that are in use at most while all standbys and cascade standbys are built at the same time.
    fn senders_together(self) -> usize {
        self.used + (self.standbys + self.cascades) * SENDERS_PER_BUILD + RESERVED_SENDERS
    }

    /// The fewest, and those for all builds of a kind at once.
    fn range(self) -> (usize, usize) {
        let all = SideBySide { standbys: self.standbys, cascades: self.cascades, together: false };
        (self.senders(SideBySide { standbys: 1, cascades: 1, together: false }), self.senders(all))
    }

    /// As many builds side by side as so many senders allow; at least one.
    fn side_by_side(self, senders: usize) -> SideBySide {
        let left = senders.saturating_sub(RESERVED_SENDERS + self.used + self.standbys);
        let within = |most: usize, each: usize| (left / each).clamp(1, most.max(1));
        SideBySide {
            standbys: within(self.standbys, SENDERS_PER_BUILD - 1),
            cascades: within(self.cascades, SENDERS_PER_BUILD),
            together: self.senders_together() <= senders,
        }
    }
}

/// Looks whether the primary has room for all; says how many of the nodes that are to be built, `fresh`, may be built
/// side by side.
pub(super) fn check_room(c: &mut Cluster, primary: &Node, all: &[&Node], fresh: &[&Node]) -> SideBySide {
    check_slots(c, primary, all);
    let wanted = wanted(c, primary, all, fresh);
    let Some(senders) = primary.limit(SENDERS) else {
        return wanted.side_by_side(usize::MAX);
    };
    let (fewest, most) = wanted.range();
    if !fresh.is_empty() && fewest > senders {
        let standbys = wanted.used + wanted.standbys;
        c.findings.push(format!(
            "{}: {SENDERS} is {senders}, and {} at a time, and one sender for tools, need {fewest} ({most} for all \
             builds at once); {}",
            primary.name,
            if standbys == 1 {
                "1 standby with a build".to_owned()
            } else {
                format!("{standbys} standbys with one build")
            },
            set(primary, SENDERS, most)
        ));
    }
    wanted.side_by_side(senders)
}

fn wanted(c: &Cluster, primary: &Node, all: &[&Node], fresh: &[&Node]) -> Wanted {
    let direct = c.standbys(all);
    let standbys = direct.iter().filter(|n| fresh.contains(n)).count();
    // Receivers that are none of these: backups, archives, cascade standbys without an upstream of their own.
    let counted: Vec<_> = direct.iter().chain(fresh).map(|n| canonical(&n.address)).collect();
    let is_other = |host: &str| !counted.contains(&canonical(host));
    let peers = primary.state().senders.iter().filter_map(|s| s.peer.as_ref());
    let others = peers.filter(|peer| is_other(&peer.host)).count();
    Wanted { used: direct.len() - standbys + others, standbys, cascades: fresh.len() - standbys }
}

/// Each standby has a slot on the primary, made when it first connects.
fn check_slots(c: &mut Cluster, primary: &Node, all: &[&Node]) {
    let Some(limit) = primary.limit(SLOTS) else { return };
    let direct = c.standbys(all);
    let is_other = |name: &str| !direct.iter().any(|n| n.app_name == name);
    let others: Vec<&str> = primary
        .state()
        .slots
        .iter()
        .flatten()
        .map(|slot| &*slot.name)
        .filter(|name| is_other(name))
        .collect();
    let needed = direct.len() + others.len();
    // Nobody new, nothing to find.
    let new = direct.iter().any(|n| c.targets.contains(n) && !n.is_streaming());
    if needed > limit && new {
        let beside =
            if others.is_empty() { String::new() } else { format!(" beside those of {}", others.join(", ")) };
        c.findings.push(format!(
            "{}: {SLOTS} is {limit}, and the standbys {} need a slot each{beside}, {needed} in all; {}",
            primary.name,
            node_names(direct.into_iter()).join(", "),
            set(primary, SLOTS, needed)
        ));
    }
}

/// How a limit is raised.
fn set(primary: &Node, name: &str, value: usize) -> String {
    let in_file = primary.parameter(name).and_then(|text| text.trim().parse::<usize>().ok());
    if in_file.is_some_and(|there| there >= value) {
        return "its file has more: og restart".to_owned();
    }
    format!("raise it: og configure {name}={value} --configure-restart yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_side_by_side_never_need_more_than_there_is() {
        let all = |n: usize| (0..9 * 9 * 9).map(move |i| (i % 9, i / 9 % 9, i / 81, n));
        for (used, standbys, cascades, senders) in (0..40).flat_map(all) {
            let wanted = Wanted { used, standbys, cascades };
            let (fewest, most) = wanted.range();
            let at_once = wanted.side_by_side(senders);
            assert!(fewest <= most && at_once.standbys >= 1 && at_once.cascades >= 1, "{wanted:?}");
            assert!(senders < fewest || wanted.senders(at_once) <= senders, "{wanted:?} {senders}");
            let every = at_once.standbys >= standbys && at_once.cascades >= cascades;
            assert!(senders < most || every, "{wanted:?} {senders}");
            assert!(
                !at_once.together || (every && wanted.senders_together() <= senders),
                "{wanted:?} {senders}"
            );
        }
    }
}
