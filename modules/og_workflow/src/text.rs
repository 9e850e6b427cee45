//! What is told of a workflow, for a person.

use std::fmt::Write as _;

use og_common::protocol::Diff;
use similar::{Change, ChangeTag, TextDiff};

use crate::args::{Commits, Outcome};

/// Lines around a change that are shown at most.
const CONTEXT: usize = 3;
/// Milliseconds without a commit, before the first one or after the last one, from which on they are told.
pub(crate) const NOTABLE_GAP_MS: u64 = 1000;

/// The changed files of a program's result as one unified diff; empty when it has none.
#[must_use]
pub fn unified(diffs: &[Diff]) -> String {
    diffs.iter().map(unified_file).filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n")
}

/// One file. Its hunks have three lines of context, less where these would begin or end with comments and empty lines: of
/// these the samples of openGauss's files are made, and they tell nothing of the settings beside them.
fn unified_file(file: &Diff) -> String {
    let diff = TextDiff::from_lines(&file.before, &file.after);
    let lines: Vec<Change<&str>> = diff.iter_all_changes().collect();
    let shown = find_shown(&lines);
    let mut out = String::new();
    // Lines of either file before the next one.
    let (mut old, mut new) = (0, 0);
    let mut at = 0;
    while at < lines.len() {
        if !shown[at] {
            (old, new, at) = (old + 1, new + 1, at + 1);
            continue;
        }
        let count = shown[at..].iter().take_while(|shown| **shown).count();
        let hunk = &lines[at..at + count];
        let of = |other: ChangeTag| hunk.iter().filter(|line| line.tag() != other).count();
        let (of_old, of_new) = (of(ChangeTag::Insert), of(ChangeTag::Delete));
        // Writing to a String cannot fail.
        let _ = write!(out, "\n@@ -{} +{} @@", hunk_range(old, of_old), hunk_range(new, of_new));
        for line in hunk {
            let _ =
                write!(out, "\n{}{}", line.tag(), line.value().strip_suffix('\n').unwrap_or(line.value()));
            if line.missing_newline() {
                out.push_str("\n\\ No newline at end of file");
            }
        }
        (old, new, at) = (old + of_old, new + of_new, at + count);
    }
    if out.is_empty() { out } else { format!("--- {}\n+++ {}{out}", file.before_header, file.after_header) }
}

/// A range of a hunk: the number of its first line and how many there are, as `diff -u` writes it.
fn hunk_range(before: usize, count: usize) -> String {
    match count {
        0 => format!("{before},0"),
        1 => format!("{}", before + 1),
        _ => format!("{},{count}", before + 1),
    }
}

/// Whether each of these lines is shown.
fn find_shown(lines: &[Change<&str>]) -> Vec<bool> {
    let is_same = |at: usize| lines[at].tag() == ChangeTag::Equal;
    let mut shown: Vec<bool> = (0..lines.len()).map(|at| !is_same(at)).collect();
    for at in (0..lines.len()).filter(|at| !is_same(*at)) {
        let above: Vec<usize> =
            (at.saturating_sub(CONTEXT)..at).rev().take_while(|at| is_same(*at)).collect();
        let below: Vec<usize> = (at + 1..lines.len()).take(CONTEXT).take_while(|at| is_same(*at)).collect();
        for side in [above, below] {
            let until =
                side.iter().rposition(|at| !is_comment(lines[*at].value())).map_or(0, |last| last + 1);
            side[..until].iter().for_each(|at| shown[*at] = true);
        }
    }
    shown
}

/// Whether a line of a configuration file sets nothing.
fn is_comment(line: &str) -> bool {
    let text = line.trim();
    text.is_empty() || text.starts_with('#')
}

/// How long something took, for a person.
#[must_use]
pub fn duration(elapsed_ms: u64) -> String {
    match elapsed_ms / 1000 {
        0..60 => format!("{}.{} s", elapsed_ms / 1000, elapsed_ms / 100 % 10),
        s @ 60..3600 => format!("{} min {} s", s / 60, s % 60),
        s => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}

/// How long nobody could commit, for a person.
#[must_use]
pub fn pause(elapsed_ms: u64) -> String {
    if elapsed_ms < 10_000 {
        format!("{}.{:02} s", elapsed_ms / 1000, elapsed_ms % 1000 / 10)
    } else {
        duration(elapsed_ms)
    }
}

/// What the probes saw, in one line.
#[must_use]
pub fn commits(seen: &Commits) -> String {
    let took = duration(seen.elapsed_ms);
    let Some(before_first) = seen.before_first_ms else {
        return format!("Commits: none in {took}");
    };
    let mut out = format!("Commits: {} in {took}", seen.commits);
    // Writing to a String cannot fail.
    if before_first >= NOTABLE_GAP_MS {
        let _ = write!(out, ", the first after {}", pause(before_first));
    }
    if let Some(longest) = &seen.longest {
        let _ = write!(out, "; the longest time without one {}", pause(longest.elapsed_ms));
        if longest.node_before != longest.node_after {
            let _ = write!(out, ", from {} to {}", longest.node_before, longest.node_after);
        }
        if let Some(step) = &longest.step {
            let _ = write!(out, ", in the step {step}");
        }
    }
    if let Some(after_last) = seen.after_last_ms.filter(|ms| *ms >= NOTABLE_GAP_MS) {
        let _ = write!(out, "; none in the last {}", pause(after_last));
    }
    out
}

/// Adds what the probes saw to the lines that all callers show.
pub fn add_commits(outcome: &mut Outcome) {
    if let Some(seen) = &outcome.commits {
        if !outcome.table.is_empty() {
            outcome.table.push(String::new());
        }
        outcome.table.push(commits(seen));
    }
}

/// What the report says in one line.
#[must_use]
pub fn msg(outcome: &Outcome, check: bool) -> String {
    if let Some(why) = &outcome.msg {
        return why.replace('\n', " ");
    }
    let count = outcome.changes.len();
    let s = if count == 1 { "" } else { "s" };
    match (count, check) {
        (0, _) => "nothing to change".to_owned(),
        (_, false) => format!("{count} change{s}"),
        (_, true) => format!("{count} change{s} would be made"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn diff(before: &str, after: &str) -> Diff {
        let name = || "x".to_owned();
        Diff {
            before_header: name(),
            after_header: name(),
            before: before.to_owned(),
            after: after.to_owned(),
        }
    }

    #[test]
    fn commits_are_told_in_a_line_with_what_is_of_note() {
        let mut seen = Commits { elapsed_ms: 16_420, ..Commits::default() };
        assert_eq!(commits(&seen), "Commits: none in 16.4 s");
        let longest = crate::args::CommitPause {
            elapsed_ms: 95,
            node_before: "n1".to_owned(),
            node_after: "n1".to_owned(),
            ..crate::args::CommitPause::default()
        };
        seen = Commits {
            commits: 812,
            before_first_ms: Some(40),
            after_last_ms: Some(20),
            longest: Some(longest.clone()),
            ..seen
        };
        assert_eq!(commits(&seen), "Commits: 812 in 16.4 s; the longest time without one 0.09 s");
        seen.longest = Some(crate::args::CommitPause {
            elapsed_ms: 2340,
            node_after: "n2".to_owned(),
            step: Some("Switch over".to_owned()),
            ..longest
        });
        (seen.before_first_ms, seen.after_last_ms) = (Some(3210), Some(12_000));
        let told = "Commits: 812 in 16.4 s, the first after 3.21 s; the longest time without one 2.34 s, from n1 to n2, in the \
            step Switch over; none in the last 12.0 s";
        assert_eq!(commits(&seen), told);
        let mut outcome = Outcome { commits: Some(seen), ..Outcome::default() };
        add_commits(&mut outcome);
        assert_eq!(outcome.table, [told]);
    }

    #[test]
    fn a_diff_of_several_files() {
        let of = |name: &str, after: &str| Diff {
            before_header: name.to_owned(),
            after_header: name.to_owned(),
            ..diff("a\n", after)
        };
        let text = unified(&[of("x", "a\nb\n"), of("y", "a\n"), of("z", "")]);
        assert_eq!(text, "--- x\n+++ x\n@@ -1 +1,2 @@\n a\n+b\n--- z\n+++ z\n@@ -1 +0,0 @@\n-a");
    }

    #[test]
    fn a_setting_is_shown_without_the_comments_around_it() {
        let before = "#a\n#b\nport = 1\t# c\n\t\t# d\nx = 1\n#e\n#x = 2\n#f\n\n#g\ny = 1\n";
        let after = before.replace("x = 1", "x = 3").replace("#x = 2\n", "#x = 2\nz = 1\n");
        let text = unified(&[diff(before, &after)]);
        let hunks = "@@ -3,3 +3,3 @@\n port = 1\t# c\n \t\t# d\n-x = 1\n+x = 3\n@@ -7,0 +8 @@\n+z = 1";
        assert_eq!(text, format!("--- x\n+++ x\n{hunks}"));
        // The settings near to a change are shown, no more than three lines of them.
        let text = unified(&[diff("a\nb\nc\nd\n", "a\nb\nc\nd\ne")]);
        assert_eq!(text, "--- x\n+++ x\n@@ -2,3 +2,4 @@\n b\n c\n d\n+e\n\\ No newline at end of file");
    }

    /// Applies a diff of one file as patch(1) does: by the line numbers, and only where the old lines are as it says.
    fn patch(before: &str, text: &str) -> String {
        let old: Vec<&str> = before.split_inclusive('\n').collect();
        let (mut out, mut taken) = (String::new(), 0);
        let mut lines = text.lines().skip(2).peekable();
        while let Some(head) = lines.next() {
            let range = head.split(' ').nth(1).unwrap().trim_start_matches('-');
            let (start, count) = range.split_once(',').unwrap_or((range, "1"));
            let start: usize = start.parse().unwrap();
            let until = if count == "0" { start } else { start - 1 };
            out.extend(old[taken..until].iter().copied());
            taken = until;
            while let Some(line) = lines.next_if(|line| !line.starts_with("@@")) {
                let end = if lines.next_if(|line| line.starts_with('\\')).is_some() { "" } else { "\n" };
                let (sign, rest) = line.split_at(1);
                let whole = format!("{rest}{end}");
                if sign != "+" {
                    assert_eq!(old[taken], whole, "{text}");
                    taken += 1;
                }
                if sign != "-" {
                    out.push_str(&whole);
                }
            }
        }
        out.extend(old[taken..].iter().copied());
        out
    }

    proptest! {
        #[test]
        fn a_diff_is_true(before in file(), after in file()) {
            let text = unified(&[diff(&before, &after)]);
            prop_assert_eq!(text.is_empty(), before == after);
            prop_assert_eq!(patch(&before, &text), after);
        }
    }

    /// A file of few different lines, with or without an end of the last one.
    fn file() -> impl Strategy<Value = String> {
        let line = prop::sample::select(vec!["#a", "#b", "", "x = 1", "y = 1", "\t# c"]);
        (prop::collection::vec(line, 0..30), any::<bool>()).prop_map(|(lines, ended)| {
            let text = lines.join("\n");
            if ended && !text.is_empty() { text + "\n" } else { text }
        })
    }
}
