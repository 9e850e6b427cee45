//! What is printed: for a person, and for a shell that cannot read JSON.

use std::fmt::Write as _;

use og_common::protocol::{Diff, Error, ErrorKind, Report, secret};
use serde_json::Value;
use similar::TextDiff;

use crate::args::{Change, Next, NodeCall, Outcome, Output};

/// The changed files of a program's result as one unified diff; empty when it has none.
#[must_use]
pub fn unified(diffs: &[Diff]) -> String {
    let one = |d: &Diff| {
        let diff = TextDiff::from_lines(&d.before, &d.after);
        diff.unified_diff().header(&d.before_header, &d.after_header).to_string().trim_end().to_owned()
    };
    diffs.iter().map(one).filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n")
}

/// The result in lines, each of a word and, behind tabs, what belongs to it:
///
/// * `step`: what is done now, for the person who waits
/// * `keep N`: only the first N answers count
/// * `wait N`: seconds before the calls
/// * `call HOST PROGRAM ARGS`: a call to make, ARGS being one line of JSON; HOST is `-` for this machine
/// * `say TEXT`, `warn TEXT`: a line for standard output, or for standard error
/// * `end N`: the end, with this exit status
#[must_use]
pub fn lines(result: &Result<Report<Output>, Error>) -> String {
    let mut out = Lines::default();
    match result {
        Err(e) => {
            out.all("warn", &e.to_string());
            out.line("end", if e.kind() == ErrorKind::BadArgs { "2" } else { "1" });
        }
        Ok(report) => {
            if let Some(next) = &report.output.next {
                out.next(next);
            }
            if let Some(outcome) = &report.output.outcome {
                out.outcome(outcome);
            }
        }
    }
    out.0
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn line(&mut self, word: &str, text: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{word}\t{text}");
    }

    fn all(&mut self, word: &str, text: &str) {
        text.lines().for_each(|line| self.line(word, &secret::text(line)));
    }

    fn next(&mut self, next: &Next) {
        let mut nodes: Vec<_> = next.calls.iter().filter_map(|call| call.node.as_deref()).collect();
        nodes.dedup();
        let to = if nodes.is_empty() { String::new() } else { format!(": {}", nodes.join(", ")) };
        // What is asked for once more was told already.
        if next.after.is_none() {
            self.line("step", &format!("{}{to}", next.step));
        }
        self.line("keep", &next.keep.to_string());
        if let Some(seconds) = next.after {
            self.line("wait", &seconds.to_string());
        }
        for NodeCall { host, program, args, .. } in &next.calls {
            let args = Value::Object(args.clone());
            self.line("call", &format!("{}\t{program}\t{args}", host.as_deref().unwrap_or("-")));
        }
    }

    fn outcome(&mut self, outcome: &Outcome) {
        self.all("say", &outcome.table.join("\n"));
        for change in &outcome.changes {
            self.change(change);
        }
        outcome.warnings.iter().for_each(|text| self.all("warn", &format!("warning: {text}")));
        if let Some(msg) = &outcome.msg {
            self.all("warn", msg);
        }
        self.line("end", if outcome.failed { "1" } else { "0" });
    }

    fn change(&mut self, change: &Change) {
        let head = format!("{}: {}", change.node, change.step);
        match &change.diff {
            Some(diff) => {
                self.line("say", &head);
                self.all("say", diff);
            }
            None => self.all("say", &format!("{head}: {}", change.actions.join(", "))),
        }
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
    use crate::args::Shown;

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

    #[test]
    fn lines_hold_what_json_would() {
        let call = |host: Option<&str>, text: &str| NodeCall {
            node: host.map(|_| "n1".to_owned()),
            host: host.map(str::to_owned),
            program: "og_hba".to_owned(),
            args: serde_json::Map::from_iter([("x".to_owned(), text.into())]),
        };
        let next = Next {
            step: "Do it".to_owned(),
            calls: vec![call(Some("omm@10.0.0.1"), "a\tb\nc"), call(None, "")],
            keep: 3,
            after: None,
            shown: Shown::default(),
        };
        let output = Output { next: Some(next.clone()), ..Output::default() };
        let told = |output: Output| lines(&Ok(Report::unchanged("", output)));
        let wanted = "step\tDo it: n1\nkeep\t3\ncall\tomm@10.0.0.1\tog_hba\t{\"x\":\"a\\tb\\nc\"}\ncall\t-\tog_hba\t{\"x\":\"\"}\n";
        assert_eq!(told(output), wanted);
        let again = Next { after: Some(1), calls: Vec::new(), ..next };
        assert_eq!(told(Output { next: Some(again), ..Output::default() }), "keep\t3\nwait\t1\n");
        let change = |diff: Option<&str>| Change {
            node: "n1".to_owned(),
            step: "Do it".to_owned(),
            actions: vec!["x".to_owned(), "y".to_owned()],
            diff: diff.map(str::to_owned),
        };
        let outcome = Outcome {
            failed: true,
            msg: Some("2 findings:\n- a".to_owned()),
            changes: vec![change(None), change(Some("-\n+"))],
            warnings: vec!["w".to_owned()],
            table: vec!["T".to_owned()],
            ..Outcome::default()
        };
        let wanted = "say\tT\nsay\tn1: Do it: x, y\nsay\tn1: Do it\nsay\t-\nsay\t+\nwarn\twarning: w\nwarn\t2 findings:\nwarn\t- a\nend\t1\n";
        assert_eq!(told(Output { outcome: Some(outcome), ..Output::default() }), wanted);
        let error = Error::bad_args("/options/x: unknown argument").hint("look");
        assert_eq!(lines(&Err(error)), "warn\t/options/x: unknown argument; look\nend\t2\n");
    }
}
