//! What a probe sees of commits on one server: how many the server acknowledged, and when it acknowledged none.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many gaps are kept.
pub const MOST_GAPS: usize = 10;
/// How many characters of a failure are kept.
const MOST_CHARS: usize = 500;

/// A time between two commits that were acknowledged one after the other, in milliseconds since 1970 by the node's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommitGap {
    /// When the commit before was acknowledged.
    pub from: u64,
    /// When the next one was.
    pub to: u64,
}

impl CommitGap {
    /// How long it lasted, in milliseconds.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.to.saturating_sub(self.from)
    }
}

/// The commits of a probe on one node. Times are in milliseconds since 1970 by the node's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(!default)]
pub struct ProbedCommits {
    /// Whether the probe is at work.
    pub running: bool,
    /// When it began.
    pub began: u64,
    /// When this was written last.
    pub written: u64,
    /// How many commits the server acknowledged.
    pub commits: u64,
    /// When it acknowledged the first one; null when there was none.
    pub first: Option<u64>,
    /// When it acknowledged the last one.
    pub last: Option<u64>,
    /// The longest times between two commits, the longest first, at most ten.
    pub gaps: Vec<CommitGap>,
    /// How often a statement or a connection failed while a server ran.
    pub failures: u64,
    /// Why that was, the last time.
    pub last_failure: Option<String>,
}

impl ProbedCommits {
    /// Adds a commit that was acknowledged at `now`.
    pub fn add_commit(&mut self, now: u64) {
        self.commits += 1;
        self.first = self.first.or(Some(now));
        if let Some(last) = self.last.replace(now) {
            self.add_gap(CommitGap { from: last, to: now });
        }
    }

    /// Adds a failure.
    pub fn add_failure(&mut self, why: &str) {
        self.failures += 1;
        self.last_failure = Some(why.chars().take(MOST_CHARS).collect());
    }

    fn add_gap(&mut self, gap: CommitGap) {
        let place = self.gaps.partition_point(|known| known.length() >= gap.length());
        // A clock that was set back tells of no gap.
        if place < MOST_GAPS && gap.length() > 0 {
            self.gaps.insert(place, gap);
            self.gaps.truncate(MOST_GAPS);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_the_last_and_the_longest_gap_are_kept() {
        let mut seen = ProbedCommits::default();
        for at in [1000, 1020, 1900, 1920, 1910, 1950] {
            seen.add_commit(at);
        }
        assert_eq!((seen.commits, seen.first, seen.last), (6, Some(1000), Some(1950)));
        assert_eq!(seen.gaps[0], CommitGap { from: 1020, to: 1900 });
        // The clock was set back in between.
        assert_eq!(seen.gaps.iter().map(CommitGap::length).collect::<Vec<_>>(), [880, 40, 20, 20]);
        seen.add_failure(&"é".repeat(600));
        assert_eq!(seen.last_failure.map(|why| why.chars().count()), Some(500));
        assert_eq!(seen.failures, 1);
    }

    proptest! {
        #[test]
        fn no_gap_that_was_left_out_is_longer_than_one_that_was_kept(steps in prop::collection::vec(1_u64..5000, 1..60)) {
            let mut seen = ProbedCommits::default();
            let (mut now, mut all) = (1_000_000, Vec::new());
            seen.add_commit(now);
            for step in steps {
                now += step;
                all.push(step);
                seen.add_commit(now);
            }
            all.sort_unstable_by(|a, b| b.cmp(a));
            all.truncate(MOST_GAPS);
            prop_assert_eq!(seen.gaps.iter().map(CommitGap::length).collect::<Vec<_>>(), all);
        }
    }
}
