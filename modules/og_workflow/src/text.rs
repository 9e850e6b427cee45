//! What is told of a workflow, for a person.

use og_common::protocol::Diff;
use similar::TextDiff;

use crate::args::Outcome;

/// The changed files of a program's result as one unified diff; empty when it has none.
#[must_use]
pub fn unified(diffs: &[Diff]) -> String {
    let one = |d: &Diff| {
        let diff = TextDiff::from_lines(&d.before, &d.after);
        diff.unified_diff().header(&d.before_header, &d.after_header).to_string().trim_end().to_owned()
    };
    diffs.iter().map(one).filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n")
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
    use super::*;

    #[test]
    fn a_diff_of_several_files() {
        let diff = |name: &str, after: &str| Diff {
            before_header: name.to_owned(),
            after_header: name.to_owned(),
            before: "a\n".to_owned(),
            after: after.to_owned(),
        };
        let text = unified(&[diff("x", "a\nb\n"), diff("y", "a\n"), diff("z", "")]);
        assert_eq!(text, "--- x\n+++ x\n@@ -1 +1,2 @@\n a\n+b\n--- z\n+++ z\n@@ -1 +0,0 @@\n-a");
    }
}
