//! What the probes of several nodes saw, as one: the longest time in which none of them acknowledged a commit.

use std::collections::BTreeMap;

use og_common::clock::rfc3339_millis;
use og_common::gauss::commits::{CommitGap, ProbedCommits};

use crate::args::{CommitPause, Commits};

/// What the probe of a node saw, its times by the clock of the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbedNode {
    /// The node.
    pub name: String,
    /// What was seen.
    pub probed: ProbedCommits,
}

impl ProbedNode {
    /// Brings times by a node's clock to that of the controller, of which it is so many milliseconds ahead.
    #[must_use]
    pub fn new(name: &str, mut probed: ProbedCommits, ahead: i64) -> Self {
        let shift = |time: &mut u64| *time = time.saturating_add_signed(ahead.saturating_neg());
        shift(&mut probed.began);
        shift(&mut probed.written);
        probed.first.iter_mut().chain(&mut probed.last).for_each(shift);
        for gap in &mut probed.gaps {
            shift(&mut gap.from);
            shift(&mut gap.to);
        }
        Self { name: name.to_owned(), probed }
    }

    /// By how many milliseconds a node's clock is ahead of the controller's at least, when it stood at `now` between these two
    /// times of the controller. Where it may be right it is believed to be: the call may have been on its way for longer than
    /// what is to be measured.
    #[must_use]
    pub fn clock_ahead(now: u64, (sent, received): (u64, u64)) -> i64 {
        let nearest = now.clamp(sent, received.max(sent));
        i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(i64::try_from(nearest).unwrap_or(i64::MAX))
    }

    /// The times in which the node acknowledged no commit, in order, before the first one and after the last one included.
    fn silences(&self) -> Vec<CommitGap> {
        let Some((first, last)) = self.probed.first.zip(self.probed.last) else {
            return vec![CommitGap { from: 0, to: u64::MAX }];
        };
        let mut all = vec![CommitGap { from: 0, to: first }];
        all.extend(self.probed.gaps.iter().copied());
        all.push(CommitGap { from: last, to: u64::MAX });
        all.sort_unstable_by_key(|gap| (gap.from, gap.to));
        all
    }

    fn ends_at(&self, time: u64) -> bool {
        self.probed.last == Some(time) || self.probed.gaps.iter().any(|gap| gap.from == time)
    }

    fn begins_at(&self, time: u64) -> bool {
        self.probed.first == Some(time) || self.probed.gaps.iter().any(|gap| gap.to == time)
    }
}

/// Where times of both lists overlap.
fn overlaps(one: &[CommitGap], other: &[CommitGap]) -> Vec<CommitGap> {
    let mut out = Vec::new();
    for a in one {
        for b in other {
            let (from, to) = (a.from.max(b.from), a.to.min(b.to));
            if from < to {
                out.push(CommitGap { from, to });
            }
        }
    }
    out
}

/// Returns what was seen on all these nodes together; nothing where there is none.
#[must_use]
pub fn merge_commits(nodes: &[ProbedNode]) -> Option<Commits> {
    let of = |time: fn(&ProbedCommits) -> Option<u64>| nodes.iter().filter_map(move |n| time(&n.probed));
    let began = of(|probed| Some(probed.began)).min()?;
    let written = of(|probed| Some(probed.written)).max()?;
    let (first, last) = (of(|probed| probed.first).min(), of(|probed| probed.last).max());
    let counts: BTreeMap<String, u64> = nodes.iter().map(|n| (n.name.clone(), n.probed.commits)).collect();
    let longest = first.zip(last).and_then(|(from, to)| {
        let within = vec![CommitGap { from, to }];
        let common = nodes.iter().fold(within, |common, n| overlaps(&common, &n.silences()));
        // Of two that are as long the first.
        common.into_iter().rev().max_by_key(CommitGap::length)
    });
    let named = |is: &dyn Fn(&ProbedNode) -> bool| {
        nodes.iter().find(|n| is(n)).map_or_else(String::new, |n| n.name.clone())
    };
    let end = written.max(last.unwrap_or(0));
    Some(Commits {
        commits: counts.values().sum(),
        nodes: counts,
        first: first.map(rfc3339_millis),
        last: last.map(rfc3339_millis),
        elapsed_ms: end.saturating_sub(began),
        before_first_ms: first.map(|first| first.saturating_sub(began)),
        after_last_ms: last.map(|last| end.saturating_sub(last)),
        longest: longest.map(|gap| CommitPause {
            elapsed_ms: gap.length(),
            from: rfc3339_millis(gap.from),
            to: rfc3339_millis(gap.to),
            node_before: named(&|n| n.ends_at(gap.from)),
            node_after: named(&|n| n.begins_at(gap.to)),
            step: None,
        }),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use og_common::clock::parse_millis;
    use proptest::prelude::*;

    use super::*;

    /// A node that acknowledged commits at these times.
    fn node(name: &str, times: &[u64]) -> ProbedNode {
        let mut probed = ProbedCommits { began: 900, written: 90_000, ..ProbedCommits::default() };
        for time in times {
            probed.add_commit(*time);
        }
        ProbedNode { name: name.to_owned(), probed }
    }

    fn longest(nodes: &[ProbedNode]) -> (u64, u64, String, String) {
        let pause = merge_commits(nodes).unwrap().longest.unwrap();
        let [from, to] = [pause.from, pause.to].map(|time| parse_millis(&time).unwrap());
        assert_eq!(pause.elapsed_ms, to - from);
        (from, to, pause.node_before, pause.node_after)
    }

    #[test]
    fn the_time_between_two_primaries_counts() {
        let nodes = [node("n1", &[1000, 1020, 1100]), node("n2", &[1500, 1520]), node("n3", &[])];
        assert_eq!(longest(&nodes), (1100, 1500, "n1".to_owned(), "n2".to_owned()));
        let merged = merge_commits(&nodes).unwrap();
        assert_eq!((merged.commits, merged.nodes["n1"], merged.nodes["n3"]), (5, 3, 0));
        assert_eq!((merged.before_first_ms, merged.after_last_ms), (Some(100), Some(90_000 - 1520)));
        assert_eq!(merged.elapsed_ms, 89_100);
        // It is primary again: its own gap is filled by the other one's commits.
        let nodes = [node("n1", &[1000, 1100, 3000]), node("n2", &[1500, 2900])];
        assert_eq!(longest(&nodes), (1500, 2900, "n2".to_owned(), "n2".to_owned()));
        let nodes = [node("n1", &[1000, 5000]), node("n2", &[1500, 2000, 2500])];
        assert_eq!(longest(&nodes), (2500, 5000, "n2".to_owned(), "n1".to_owned()));
    }

    #[test]
    fn without_two_commits_there_is_no_time_between_them() {
        assert_eq!(merge_commits(&[]), None);
        let none = merge_commits(&[node("n1", &[])]).unwrap();
        assert_eq!((none.commits, none.longest, none.before_first_ms), (0, None, None));
        let one = merge_commits(&[node("n1", &[1000])]).unwrap();
        assert_eq!((one.commits, one.longest, one.first), (1, None, Some(rfc3339_millis(1000))));
    }

    #[test]
    fn a_clock_counts_as_right_unless_it_cannot_be() {
        for (now, ahead) in [(1000, 0), (1100, 0), (1200, 0), (1250, 50), (900, -100)] {
            assert_eq!(ProbedNode::clock_ahead(now, (1000, 1200)), ahead);
        }
        let own = node("n1", &[5000, 5100]).probed;
        let shifted = ProbedNode::new("n1", own, 600).probed;
        assert_eq!((shifted.began, shifted.first, shifted.last), (300, Some(4400), Some(4500)));
        assert_eq!(shifted.gaps, [CommitGap { from: 4400, to: 4500 }]);
    }

    proptest! {
        #[test]
        fn the_longest_time_is_that_between_neighbours_of_all_commits(
            times in prop::collection::vec(prop::collection::btree_set(1_u64..5000, 0..10), 1..5),
        ) {
            let lists: Vec<Vec<u64>> = times.iter().map(|own| own.iter().copied().collect()).collect();
            let nodes: Vec<_> = lists.iter().enumerate().map(|(at, own)| node(&format!("n{at}"), own)).collect();
            let mut all: Vec<u64> = lists.iter().flatten().copied().collect();
            all.sort_unstable();
            let between = all.windows(2).map(|pair| pair[1] - pair[0]).max().filter(|length| *length > 0);
            let merged = merge_commits(&nodes).unwrap();
            prop_assert_eq!(merged.longest.as_ref().map(|pause| pause.elapsed_ms), between);
            prop_assert_eq!(merged.commits, all.len() as u64);
            if let Some(pause) = merged.longest {
                let has = |name: &str, time: &str| {
                    nodes.iter().zip(&lists).any(|(n, own)| n.name == name && own.contains(&parse_millis(time).unwrap()))
                };
                prop_assert!(has(&pause.node_before, &pause.from) && has(&pause.node_after, &pause.to));
            }
        }
    }
}
