//! How many tests a stage ran, read from what the test runners print.

/// What the tests of a stage came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// Tests that were not run.
    pub skipped: usize,
    /// Why, each reason once.
    pub reasons: Vec<String>,
}

impl Tally {
    /// Reads the summaries of cargo test, nextest, pytest and our own programs, and the reasons for what was skipped.
    pub fn parse(output: &str) -> Self {
        let mut tally = Self::default();
        for line in output.lines() {
            // What a test printed that failed stands indented.
            let nested = line.starts_with(' ') && line.contains("test result: ");
            let line = line.trim();
            if let Some(counts) = summary(line).filter(|_| !nested) {
                tally.passed += counts[0];
                tally.failed += counts[1];
                tally.skipped += counts[2];
            } else if let Some(reason) = reason(line)
                && !tally.reasons.contains(&reason)
            {
                tally.reasons.push(reason);
            }
        }
        tally
    }

    /// Adds the counts of another one.
    pub fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Passed, failed and skipped in the last line of a run.
fn summary(line: &str) -> Option<[usize; 3]> {
    // nextest counts what its filter leaves to other stages as skipped.
    let (text, counts_skipped) = if line.starts_with("Summary [") {
        (line.split_once(" run: ")?.1, false)
    } else if let Some((_, text)) = line.split_once("test result: ") {
        (text.split_once(". ")?.1, true)
    } else if let Some((text, time)) = line.rsplit_once(" in ")
        && time.starts_with(|c: char| c.is_ascii_digit())
    {
        (text, true)
    } else {
        (line, true)
    };
    let mut counts = [0; 3];
    let mut found = false;
    for piece in text.split([',', ';']).map(str::trim) {
        if piece.starts_with("finished in ") {
            continue;
        }
        let mut words = piece.split_whitespace();
        let (number, word) = (words.next()?.parse::<usize>().ok()?, words.next()?);
        if !words.next().is_none_or(|more| more.starts_with('(') || more == "out") {
            return None;
        }
        let at = match word.trim_end_matches(['s', ':']) {
            "pas" | "passed" => 0,
            "failed" | "error" | "timed" | "xpassed" => 1,
            "skipped" if !counts_skipped => continue,
            "skipped" | "ignored" | "xfailed" => 2,
            "measured" | "filtered" | "warning" | "deselected" | "rerun" => continue,
            _ => return None,
        };
        counts[at] += number;
        found = true;
    }
    found.then_some(counts)
}

/// The reason in a line that tells of something skipped.
fn reason(line: &str) -> Option<String> {
    // pytest: `SKIPPED [3] tests/callers/test_salt.py:12: no salt`
    if let Some(rest) = line.strip_prefix("SKIPPED [") {
        return Some(rest.split_once(": ").map_or(rest, |(_, reason)| reason).to_owned());
    }
    // The fault matrix: `skip  module   fault   reason`.
    if let Some(rest) = line.strip_prefix("skip  ") {
        return Some(rest.split("  ").last().unwrap_or(rest).trim().to_owned());
    }
    let at = line.find("skipped: ").map(|at| at + "skipped: ".len());
    let at = at.or_else(|| line.find("skipped on ").map(|at| at + "skipped ".len()));
    at.map(|at| line[at..].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_runner_is_understood() {
        for (line, wanted) in [
            (
                "     Summary [  41.933s] 436 tests run: 434 passed (2 slow), 1 failed, 1 timed out, 6 skipped",
                [434, 2, 0],
            ),
            ("Summary [  0.9s] 3/436 tests run: 2 passed, 1 failed, 0 skipped", [2, 1, 0]),
            (
                "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s",
                [3, 0, 1],
            ),
            (
                "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
                [3, 2, 0],
            ),
            ("12 passed, 1 skipped in 3.20s", [12, 0, 1]),
            ("1 failed, 12 passed, 2 errors, 3 warnings in 63.20s (0:01:03)", [12, 3, 0]),
            ("40 passed, 1 failed, 6 skipped", [40, 1, 6]),
        ] {
            let tally = Tally::parse(line);
            assert_eq!([tally.passed, tally.failed, tally.skipped], wanted, "{line}");
        }
        for line in [
            "    test result: FAILED. 0 passed; 1 failed; 0 ignored; finished in 0.00s",
            "3 files changed",
            "== unit tests: 12 s",
            "5 passed away",
            "1, 2, 3",
            "",
        ] {
            let tally = Tally::parse(line);
            assert_eq!((tally.passed, tally.failed), (0, 0), "{line}");
        }
    }

    #[test]
    fn reasons_are_kept_once_each() {
        let text = "SKIPPED [2] tests/callers/test_salt.py:13: no salt (cargo xtask setup)\n\
            skip  og_hba                           beside the real gs_guc             no gs_guc\n\
            opengauss ... skipped: no openGauss\nskipped on postgres: a lab needs root\nskipped: no sshd here\nskipped: no sshd here";
        let reasons = Tally::parse(text).reasons;
        let wanted = [
            "no salt (cargo xtask setup)",
            "no gs_guc",
            "no openGauss",
            "on postgres: a lab needs root",
            "no sshd here",
        ];
        assert_eq!(reasons, wanted);
    }
}
