//! What is told while a workflow runs, and at its end: drawn on a terminal, in plain lines elsewhere, or as lines of JSON.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use og_common::protocol::{Error, Progress, secret};
use og_workflow::args::{Change, NodeCall, Outcome, Workflow};
use serde_json::{Value, json};

use crate::run::LockLeft;

/// How often what is drawn moves.
const TICK: Duration = Duration::from_millis(120);
/// Without a terminal, a step that takes longer says so again and again.
const STILL: Duration = Duration::from_secs(30);
/// Clears the screen, and begins in its first line.
const CLEAR: &str = "\x1b[2J\x1b[H";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";

/// What happens in a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step begins.
    Step {
        /// Its title.
        step: &'a str,
        /// The nodes.
        nodes: &'a [String],
        /// It is the last one once more, as something is not over yet.
        again: bool,
    },
    /// A call tells how far it is.
    Progress {
        /// Its node.
        node: &'a str,
        /// How far.
        progress: &'a Progress,
    },
    /// A call has ended.
    Answer {
        /// The call.
        call: &'a NodeCall,
        /// What the program says.
        answer: &'a Value,
        /// A failure means nothing by itself.
        quiet: bool,
        /// The nodes still at work in the step.
        at_work: &'a [String],
    },
    /// A step ends.
    StepDone {
        /// How long it took.
        elapsed: Duration,
    },
}

/// Where it is told.
enum Form {
    Terminal(Drawing),
    Lines(Lines),
    Json,
    /// Only outcomes are.
    Silent,
}

/// Tells a run.
pub struct Display {
    form: Form,
    json: bool,
    begun: Instant,
    /// Standard output cannot be written.
    lost: bool,
    /// Standard output has nobody who reads it.
    closed: bool,
}

impl Display {
    /// For a terminal if standard error is one. `watching`: the table is all that is told.
    pub fn new(json: bool, watching: bool) -> Self {
        let form = if json {
            Form::Json
        } else if watching {
            Form::Silent
        } else if io::stderr().is_terminal() {
            Form::Terminal(Drawing::new())
        } else {
            Form::Lines(Lines::default())
        };
        Self { form, json, begun: Instant::now(), lost: false, closed: false }
    }

    /// Whether something could not be written to standard output.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Whether nobody reads standard output any more.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Tells what happens.
    pub fn show(&mut self, event: &Event) {
        match &mut self.form {
            Form::Terminal(drawing) => drawing.show(event),
            Form::Lines(lines) => lines.show(event, self.begun.elapsed()),
            Form::Json => {
                let line = to_json(event, self.begun.elapsed());
                self.out(&line.to_string());
            }
            Form::Silent => {}
        }
    }

    /// Tells what came of the run.
    pub fn outcome(&mut self, outcome: &Outcome, workflow: Workflow, check: bool, elapsed: Duration) {
        if self.json {
            self.json_outcome(json!(outcome));
            return;
        }
        let colour = io::stdout().is_terminal() && colours();
        for line in lines_of(outcome, colour) {
            self.out(&line);
        }
        self.warn(&outcome.warnings);
        match &outcome.msg {
            Some(why) => err(&secret::text(why)),
            // Beside its table a status has nothing to say.
            None if !workflow.has_targets() => {}
            None => err(&format!("{} ({})", og_workflow::text::msg(outcome, check), seconds(elapsed))),
        }
    }

    /// Tells the state of the cluster anew.
    pub fn status(&mut self, outcome: &Outcome) {
        if self.json {
            self.json_outcome(json!(outcome));
            return;
        }
        let mut lines = outcome.table.clone();
        lines.extend(outcome.warnings.iter().map(|text| format!("warning: {text}")));
        lines.extend(outcome.msg.iter().flat_map(|why| why.lines()).map(str::to_owned));
        let begin = if io::stdout().is_terminal() { CLEAR } else { "" };
        let at = og_common::clock::rfc3339(og_common::clock::now());
        let text: Vec<_> = lines.iter().map(|line| secret::text(line).into_owned()).collect();
        self.out(&format!("{begin}{at}\n{}\n", text.join("\n")));
    }

    /// Tells that what is under way on these nodes is being ended, which may take a moment.
    pub fn ending(&mut self, nodes: &[String]) {
        let text = format!("interrupted: ending what is under way on {}", nodes.join(", "));
        match &mut self.form {
            Form::Terminal(drawing) => drawing.line(&text),
            Form::Lines(_) => err(&text),
            Form::Json | Form::Silent => {}
        }
    }

    /// Tells that a signal ended the run, and how to go on.
    pub fn interrupted(&mut self, nodes: &[String], lock: &LockLeft, changes: bool) {
        let mut msg = "interrupted".to_owned();
        if !nodes.is_empty() {
            msg = format!("{msg}; ended what was under way on {}", nodes.join(", "));
        }
        match lock {
            LockLeft::None => {}
            LockLeft::Released => msg += "; the lock of the cluster is released",
            LockLeft::Failed(why) => {
                msg = format!(
                    "{msg}; the lock of the cluster was not released ({why}), and the next run on this machine takes it over"
                );
            }
        }
        if changes {
            msg += "; the same command again continues";
        }
        if self.json {
            self.json_outcome(json!({"failed": true, "interrupted": true, "msg": msg}));
        } else {
            err(&format!("og: {}", secret::text(&msg)));
        }
    }

    /// Tells why there was no run.
    pub fn error(&mut self, error: &Error) {
        if self.json {
            let mut told = Value::Object(og_common::protocol::error_result(error));
            told["event"] = json!("outcome");
            self.out(&told.to_string());
        }
        err(&format!("og: {}", secret::text(&error.to_string())));
    }

    /// Tells what should be looked at.
    pub fn warn(&mut self, warnings: &[String]) {
        warnings.iter().for_each(|text| err(&format!("warning: {}", secret::text(text))));
    }

    fn json_outcome(&mut self, mut outcome: Value) {
        let mut line = json!({"event": "outcome"});
        if let (Value::Object(line), Value::Object(own)) = (&mut line, &mut outcome) {
            line.extend(std::mem::take(own));
        }
        self.out(&line.to_string());
    }

    fn out(&mut self, text: &str) {
        let mut out = io::stdout().lock();
        match writeln!(out, "{}", secret::text(text)).and_then(|()| out.flush()) {
            Ok(()) => {}
            // The run goes on: what was begun on nodes is not to be left half done.
            Err(e) if e.kind() == ErrorKind::BrokenPipe => self.closed = true,
            Err(e) if !self.lost => {
                self.lost = true;
                err(&format!("og: cannot write to standard output: {e}"));
            }
            Err(_) => {}
        }
    }
}

/// Writes a line to standard error.
fn err(text: &str) {
    // There is no other place to say that it cannot be written.
    drop(writeln!(io::stderr(), "{text}"));
}

fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        && std::env::var_os("TERM").is_some_and(|t| t != "dumb")
}

/// Table and changes, as they are printed.
fn lines_of(outcome: &Outcome, colour: bool) -> Vec<String> {
    let mut lines = outcome.table.clone();
    for Change { node, step, actions, diff } in &outcome.changes {
        let head = format!("{node}: {step}");
        match diff {
            Some(diff) => {
                lines.push(head);
                lines.extend(diff.lines().map(|line| if colour { coloured(line) } else { line.to_owned() }));
            }
            None => lines.push(format!("{head}: {}", actions.join(", "))),
        }
    }
    lines
}

fn coloured(line: &str) -> String {
    match line.chars().next() {
        Some('+') => format!("{GREEN}{line}{PLAIN}"),
        Some('-') => format!("{RED}{line}{PLAIN}"),
        _ => line.to_owned(),
    }
}

fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        s @ 60..3600 => format!("{} min {} s", s / 60, s % 60),
        s => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}

fn with_nodes(step: &str, nodes: &[String]) -> String {
    if nodes.is_empty() { step.to_owned() } else { format!("{step}: {}", nodes.join(", ")) }
}

fn is_failed(answer: &Value) -> bool {
    answer["failed"] != json!(false)
}

fn to_json(event: &Event, elapsed: Duration) -> Value {
    let mut line = match event {
        Event::Step { step, nodes, again } => {
            json!({"event": "step", "step": step, "nodes": nodes, "again": again})
        }
        Event::Progress { node, progress } => {
            json!({"event": "progress", "node": node, "progress": progress})
        }
        Event::Answer { call, answer, at_work, .. } => {
            let mut line = json!({"event": "answer", "program": call.program});
            for (key, value) in [
                ("node", json!(call.node)),
                ("changed", answer["changed"].clone()),
                ("failed", json!(is_failed(answer))),
                ("msg", answer["msg"].clone()),
                ("error", answer["error"].clone()),
                ("at_work", json!(at_work)),
            ] {
                if !value.is_null() {
                    line[key] = value;
                }
            }
            line
        }
        Event::StepDone { elapsed } => json!({"event": "step_done", "step_ms": millis(*elapsed)}),
    };
    line["elapsed_ms"] = json!(millis(elapsed));
    line
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Plain lines: each step as it begins, with the time since the run began, and again while it takes long.
#[derive(Default)]
struct Lines {
    step: String,
    last: Duration,
}

impl Lines {
    fn show(&mut self, event: &Event, elapsed: Duration) {
        let line = |text: &str| err(&format!("{:>7.1}s  {}", elapsed.as_secs_f64(), secret::text(text)));
        match event {
            Event::Step { again: true, .. } | Event::Answer { .. } | Event::StepDone { .. } => {}
            Event::Step { step, nodes, .. } => {
                (*step).clone_into(&mut self.step);
                self.last = elapsed;
                line(&with_nodes(step, nodes));
            }
            Event::Progress { node, progress } => {
                if elapsed.saturating_sub(self.last) >= STILL {
                    self.last = elapsed;
                    line(&format!("{}: {node}: {}", self.step, progress.msg));
                }
            }
        }
    }
}

/// What moves on a terminal: a line for the step, and one for each node that tells how far it is.
struct Drawing {
    all: MultiProgress,
    step: Option<ProgressBar>,
    title: String,
    /// The nodes of the step, and of each whether a call failed.
    nodes: Vec<(String, bool)>,
    bars: Vec<(String, ProgressBar, bool)>,
}

impl Drawing {
    fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Self { all, step: None, title: String::new(), nodes: Vec::new(), bars: Vec::new() }
    }

    fn show(&mut self, event: &Event) {
        match event {
            // Its line is still there.
            Event::Step { again: true, .. } if self.step.is_some() => {}
            Event::Step { step, nodes, .. } => self.begin(step, nodes),
            Event::Progress { node, progress } => self.progress(node, progress),
            Event::Answer { call, answer, quiet, at_work } => {
                let node = call.node.as_deref().unwrap_or_default();
                if is_failed(answer)
                    && !quiet
                    && let Some((_, failed)) = self.nodes.iter_mut().find(|(name, _)| name == node)
                {
                    *failed = true;
                }
                if let Some(step) = &self.step {
                    step.set_message(at_work.join(", "));
                }
                if !at_work.iter().any(|name| name == node) {
                    self.end_bar(node, answer);
                }
            }
            Event::StepDone { elapsed } => self.end(*elapsed),
        }
    }

    fn begin(&mut self, title: &str, nodes: &[String]) {
        title.clone_into(&mut self.title);
        self.nodes = nodes.iter().map(|name| (name.clone(), false)).collect();
        let bar = self.all.add(ProgressBar::new_spinner());
        bar.set_style(style("{spinner} {prefix} {elapsed}  {wide_msg}").tick_chars("-\\|/ "));
        bar.set_prefix(self.title.clone());
        bar.set_message(nodes.join(", "));
        bar.enable_steady_tick(TICK);
        self.step = Some(bar);
    }

    fn progress(&mut self, node: &str, progress: &Progress) {
        let counted = progress.bytes.is_some();
        if let Some(at) = self.bars.iter().position(|(name, _, bytes)| name == node && *bytes != counted) {
            let (_, bar, _) = self.bars.remove(at);
            bar.finish_and_clear();
        }
        let at = self.bars.iter().position(|(name, ..)| name == node).unwrap_or_else(|| {
            let bar = self.all.add(ProgressBar::no_length());
            bar.set_prefix(node.to_owned());
            bar.set_style(style(if counted { COUNTER } else { "    {prefix}: {wide_msg}" }));
            self.bars.push((node.to_owned(), bar, counted));
            self.bars.len() - 1
        });
        let bar = &self.bars[at].1;
        bar.set_message(secret::text(&progress.msg).into_owned());
        let Some(bytes) = progress.bytes else { return };
        if let Some(total) = progress.total_bytes.filter(|total| *total > 0) {
            if bar.length().is_none() {
                bar.set_style(style(BAR).progress_chars("=> "));
            }
            // The server's own count goes beyond what was asked of its source: WAL is copied, too.
            bar.set_length(total.max(bytes));
        }
        bar.set_position(bytes);
    }

    fn end_bar(&mut self, node: &str, answer: &Value) {
        let Some(at) = self.bars.iter().position(|(name, ..)| name == node) else { return };
        let (_, bar, counted) = self.bars.remove(at);
        bar.finish_and_clear();
        if counted && !is_failed(answer) {
            self.line(&format!("    {node}: {}", answer["msg"].as_str().unwrap_or_default()));
        }
    }

    fn end(&mut self, elapsed: Duration) {
        let Some(step) = self.step.take() else { return };
        for (_, bar, _) in self.bars.drain(..) {
            bar.finish_and_clear();
        }
        step.finish_and_clear();
        let red = |text: &str| if colours() { format!("{RED}{text}{PLAIN}") } else { text.to_owned() };
        let node = |(name, failed): &(String, bool)| {
            if *failed { red(&format!("{name} failed")) } else { name.clone() }
        };
        let nodes: Vec<_> = self.nodes.iter().map(node).collect();
        self.line(&format!("  {} ({})", with_nodes(&self.title, &nodes), seconds(elapsed)));
    }

    /// A line above what moves.
    fn line(&self, text: &str) {
        self.all.suspend(|| err(&secret::text(text)));
    }
}

const BAR: &str =
    "    {prefix} [{wide_bar}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left";
const COUNTER: &str = "    {prefix} {binary_bytes} {binary_bytes_per_sec} {elapsed}";

/// The style of this template, which is ours and therefore one.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_understood() {
        for template in [BAR, COUNTER] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn changes_are_told_by_node_and_step() {
        let change = |diff: Option<&str>| Change {
            node: "n1".to_owned(),
            step: "Do it".to_owned(),
            actions: vec!["x".to_owned(), "y".to_owned()],
            diff: diff.map(str::to_owned),
        };
        let outcome = Outcome {
            changes: vec![change(None), change(Some("-a\n+b"))],
            table: vec!["T".to_owned()],
            ..Outcome::default()
        };
        assert_eq!(lines_of(&outcome, false), ["T", "n1: Do it: x, y", "n1: Do it", "-a", "+b"]);
        assert_eq!(lines_of(&outcome, true)[3], "\x1b[31m-a\x1b[0m");
    }

    #[test]
    fn an_event_is_one_object() {
        let call = NodeCall {
            node: Some("n3".to_owned()),
            host: None,
            program: "og_build".to_owned(),
            args: serde_json::Map::new(),
        };
        let answer = json!({"changed": true, "failed": true, "msg": "m", "error": {"kind": "io"}});
        let event = Event::Answer { call: &call, answer: &answer, quiet: false, at_work: &[] };
        let wanted = json!({"event": "answer", "program": "og_build", "node": "n3", "changed": true, "failed": true,
            "msg": "m", "error": {"kind": "io"}, "at_work": [], "elapsed_ms": 5});
        assert_eq!(to_json(&event, Duration::from_millis(5)), wanted);
    }

    #[test]
    fn times_as_people_write_them() {
        for (ms, text) in [(1234, "1.2 s"), (61_000, "1 min 1 s"), (3_661_000, "1 h 1 min")] {
            assert_eq!(seconds(Duration::from_millis(ms)), text);
        }
    }
}
