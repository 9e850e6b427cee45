//! What is told while a workflow runs, and at its end: drawn on a terminal, in plain lines elsewhere, or as lines of JSON.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use og_common::protocol::{Bytes, CallProgress, Error, secret};
use og_workflow::args::{Change, NodeCall, Outcome, Reason};
use serde_json::{Value, json};

use crate::run::LockLeft;

/// How often what is drawn moves.
const TICK: Duration = Duration::from_millis(120);
/// Without a terminal, a step that takes longer says so again and again.
const REPEAT_INTERVAL: Duration = Duration::from_secs(30);
/// When no bytes came for so long, what their rate was says nothing.
const RATE_TIMEOUT: Duration = Duration::from_secs(3);
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
        progress: &'a CallProgress,
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

/// The form of the output.
enum Form {
    Terminal(Drawing),
    Lines(Lines),
    Json,
    /// Only outcomes are.
    Silent,
}

/// Displays a run.
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
    pub fn has_write_failed(&self) -> bool {
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
                self.out_json(&line);
            }
            Form::Silent => {}
        }
    }

    /// Tells what came of the run.
    pub fn outcome(&mut self, outcome: &Outcome, changes: bool, check: bool, elapsed: Duration) {
        if self.json {
            self.json_outcome(json!(outcome));
            return;
        }
        let colour = io::stdout().is_terminal() && colours();
        for line in lines_of(outcome, colour) {
            self.out(&line);
        }
        Self::warn(&outcome.warnings);
        match &outcome.msg {
            // The findings stand below the table.
            Some(_) if outcome.cluster.is_some() || outcome.preflight.is_some() => {}
            Some(why) => err(&secret::mask_text(why)),
            // Beside its table a status has nothing to say.
            None if !changes => {}
            None => err(&format!("{} ({})", og_workflow::text::msg(outcome, check), seconds(elapsed))),
        }
        Self::explanation(outcome.reason.map(Reason::name));
        Self::report(outcome.report.as_deref());
    }

    /// Names what explains the reason.
    fn explanation(reason: Option<&str>) {
        if let Some(reason) = reason {
            err(&format!("og explain {reason} says more"));
        }
    }

    /// Writes one line to standard output.
    pub fn line(&mut self, text: &str) {
        self.out(text);
    }

    /// Writes the value to standard output as one line of JSON.
    pub fn json_line(&mut self, value: &Value) {
        self.out_json(value);
    }

    /// Tells the state of the cluster anew.
    pub fn status(&mut self, outcome: &Outcome) {
        if self.json {
            self.json_outcome(json!(outcome));
            return;
        }
        let mut lines = outcome.table.clone();
        lines.extend(outcome.warnings.iter().map(|text| format!("warning: {text}")));
        let msg = outcome.msg.iter().filter(|_| outcome.cluster.is_none());
        lines.extend(msg.flat_map(|why| why.lines()).map(str::to_owned));
        let begin = if io::stdout().is_terminal() { CLEAR } else { "" };
        let at = og_common::clock::rfc3339(og_common::clock::now());
        let text: Vec<_> = lines.iter().map(|line| secret::mask_text(line).into_owned()).collect();
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

    /// Tells what became of the lock of a run that an error ended.
    pub fn lock_left(lock: &LockLeft) {
        if let Some(text) = in_words(lock) {
            err(&format!("og: {}", secret::mask_text(&text)));
        }
    }

    /// Tells that a signal ended the run, and how to go on.
    pub fn interrupted(&mut self, msg: &str, report: Option<&str>) {
        if self.json {
            let mut told = json!({"failed": true, "interrupted": true, "msg": msg});
            if let Some(report) = report {
                told["report"] = json!(report);
            }
            self.json_outcome(told);
        } else {
            err(&format!("og: {}", secret::mask_text(msg)));
            Self::report(report);
        }
    }

    /// Tells where the report of a run is, when it is recorded.
    fn report(path: Option<&str>) {
        if let Some(path) = path {
            err(&format!("report: {path}"));
        }
    }

    /// Tells why there was no run.
    pub fn error(&mut self, error: &Error) {
        if self.json {
            let mut told = Value::Object(og_common::protocol::error_result(error));
            told["event"] = json!("outcome");
            self.out_json(&told);
        }
        err(&format!("og: {}", secret::mask_text(&error.to_string())));
        Self::explanation(error.failure().reason.map(og_common::protocol::Reason::name));
    }

    /// Tells what should be looked at.
    pub fn warn(warnings: &[String]) {
        for text in warnings {
            err(&format!("warning: {}", secret::mask_text(text)));
        }
    }

    fn json_outcome(&mut self, mut outcome: Value) {
        let mut line = json!({"event": "outcome"});
        if let (Value::Object(line), Value::Object(own)) = (&mut line, &mut outcome) {
            line.extend(std::mem::take(own));
        }
        self.out_json(&line);
    }

    fn out_json(&mut self, value: &Value) {
        let line = json_line(value);
        self.write(line.as_deref());
    }

    fn out(&mut self, text: &str) {
        self.write(Ok(secret::mask_text(text).as_bytes()));
    }

    /// Writes a line that has no secret any more.
    fn write(&mut self, line: Result<&[u8], &io::Error>) {
        let mut out = io::stdout().lock();
        let written = match line {
            Ok(line) => out.write_all(line).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()),
            Err(e) => Err(io::Error::new(e.kind(), e.to_string())),
        };
        match written {
            // The run goes on: what was begun on nodes is not to be left half done.
            Err(e) if e.kind() == ErrorKind::BrokenPipe => self.closed = true,
            Err(e) if !self.lost => {
                self.lost = true;
                err(&format!("og: cannot write to standard output: {e}"));
            }
            Ok(()) | Err(_) => {}
        }
    }
}

/// What became of the lock, where there was one.
fn in_words(lock: &LockLeft) -> Option<String> {
    match lock {
        LockLeft::None => None,
        LockLeft::Released => Some("the lock of the cluster is released".to_owned()),
        LockLeft::Failed(why) => Some(format!(
            "the lock of the cluster was not released ({why}), and the next run on this machine takes it over"
        )),
        LockLeft::Kept => Some(
            "the lock of the cluster stays; the same command again takes it over and continues".to_owned(),
        ),
    }
}

/// What is told of a run that a signal ended.
pub fn interruption(nodes: &[String], unconfirmed: &[String], lock: &LockLeft, changes: bool) -> String {
    let mut parts = vec!["interrupted".to_owned()];
    if !nodes.is_empty() {
        parts.push(format!("ended what was under way on {}", nodes.join(", ")));
    }
    if !unconfirmed.is_empty() {
        parts.push(format!("what was under way on {} may still be at work", unconfirmed.join(", ")));
    }
    parts.extend(in_words(lock));
    if changes && *lock != LockLeft::Kept {
        parts.push("the same command again continues".to_owned());
    }
    parts.join("; ")
}

/// The value as a line of JSON, its secrets masked.
fn json_line(value: &Value) -> io::Result<Vec<u8>> {
    secret::to_json(value, &[]).map_err(io::Error::other)
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
    og_workflow::text::duration(millis(time))
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
        let line = |text: &str| err(&format!("{:>7.1}s  {}", elapsed.as_secs_f64(), secret::mask_text(text)));
        match event {
            Event::Step { again: true, .. } | Event::Answer { .. } | Event::StepDone { .. } => {}
            Event::Step { step, nodes, .. } => {
                (*step).clone_into(&mut self.step);
                self.last = elapsed;
                line(&with_nodes(step, nodes));
            }
            Event::Progress { node, progress } => {
                if elapsed.saturating_sub(self.last) >= REPEAT_INTERVAL {
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
    bars: Vec<Bar>,
    begun: Instant,
}

/// The line of a node.
struct Bar {
    node: String,
    drawn: ProgressBar,
    /// Where bytes are counted.
    rate: Option<Rate>,
}

/// How fast bytes come, and whether they still do.
#[derive(Clone, Copy, Debug)]
struct Rate {
    first: u64,
    since: Duration,
    last: u64,
    changed: Duration,
}

impl Rate {
    fn new(bytes: u64, now: Duration) -> Self {
        Self { first: bytes, since: now, last: bytes, changed: now }
    }

    /// The rate since bytes come and the time left; or, when none come any more, for how long: gs_ctl counts data files
    /// alone, and has much to do when these are copied.
    fn describe_rate(&mut self, bytes: u64, total: Option<u64>, now: Duration) -> String {
        if bytes != self.last {
            (self.last, self.changed) = (bytes, now);
        }
        let quiet = now.saturating_sub(self.changed);
        if quiet >= RATE_TIMEOUT {
            return format!("no more bytes for {} s", quiet.as_secs());
        }
        let time = now.saturating_sub(self.since).as_millis();
        let done = u128::from(bytes.saturating_sub(self.first));
        if time < 1000 || done == 0 {
            return String::new();
        }
        let rate = format!("{}/s", Bytes::new(u64::try_from(done * 1000 / time).unwrap_or(u64::MAX)));
        match total {
            None => rate,
            Some(total) => {
                let left = u128::from(total.saturating_sub(bytes)) * time / done;
                let left = Duration::from_millis(u64::try_from(left).unwrap_or(u64::MAX));
                let left = if left.as_secs() < 60 { format!("{} s", left.as_secs()) } else { seconds(left) };
                format!("{rate}, {left} left")
            }
        }
    }
}

impl Drawing {
    fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Self {
            all,
            step: None,
            title: String::new(),
            nodes: Vec::new(),
            bars: Vec::new(),
            begun: Instant::now(),
        }
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
                    self.end_bar(node, &call.program, answer);
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

    fn progress(&mut self, node: &str, progress: &CallProgress) {
        let counted = progress.bytes.map(Bytes::as_u64).filter(|bytes| *bytes > 0);
        if self.bars.iter().any(|bar| bar.node == node && bar.rate.is_some() != counted.is_some()) {
            self.clear_bar(node);
        }
        let at = self.bars.iter().position(|bar| bar.node == node).unwrap_or_else(|| {
            let total = progress.total_bytes.map(Bytes::as_u64).filter(|total| *total > 0);
            let template = match (counted, total) {
                (None, _) => MESSAGE,
                (Some(_), None) => COUNTER,
                (Some(_), Some(_)) => BAR,
            };
            let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
            let bar = bar.with_style(style(template)).with_prefix(node.to_owned());
            let rate = counted.map(|bytes| Rate::new(bytes, self.begun.elapsed()));
            self.bars.push(Bar { node: node.to_owned(), drawn: self.all.add(bar), rate });
            self.bars.len() - 1
        });
        let Bar { drawn: bar, rate, .. } = &mut self.bars[at];
        let (Some(bytes), Some(rate)) = (counted, rate) else {
            bar.set_message(secret::mask_text(&progress.msg).into_owned());
            return;
        };
        // The server's own count may go beyond what was asked of its source: WAL is copied, too.
        let total = progress.total_bytes.map(|total| total.as_u64().max(bytes));
        if let Some(total) = total {
            bar.set_length(total);
        }
        bar.set_message(rate.describe_rate(bytes, total, self.begun.elapsed()));
        bar.set_position(bytes);
    }

    fn clear_bar(&mut self, node: &str) -> Option<Bar> {
        let at = self.bars.iter().position(|bar| bar.node == node)?;
        let bar = self.bars.remove(at);
        bar.drawn.finish_and_clear();
        Some(bar)
    }

    fn end_bar(&mut self, node: &str, program: &str, answer: &Value) {
        let shown = self.clear_bar(node).is_some();
        if shown && program == "og_build" && !is_failed(answer) {
            self.line(&format!("    {node}: {}", answer["msg"].as_str().unwrap_or_default()));
        }
    }

    fn end(&mut self, elapsed: Duration) {
        let Some(step) = self.step.take() else { return };
        for bar in self.bars.drain(..) {
            bar.drawn.finish_and_clear();
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
        self.all.suspend(|| err(&secret::mask_text(text)));
    }
}

const BAR: &str = "    {prefix} [{wide_bar}] {binary_bytes} of {binary_total_bytes}  {msg}";
const COUNTER: &str = "    {prefix}: {binary_bytes}  {msg}";
const MESSAGE: &str = "    {prefix}: {wide_msg}";

/// The style of this template, which is ours and therefore one.
fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_templates_are_understood() {
        for template in [BAR, COUNTER, MESSAGE] {
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
            put: None,
            timed: false,
        };
        let answer = json!({"changed": true, "failed": true, "msg": "m", "error": {"kind": "io"}});
        let event = Event::Answer { call: &call, answer: &answer, quiet: false, at_work: &[] };
        let wanted = json!({"event": "answer", "program": "og_build", "node": "n3", "changed": true, "failed": true,
            "msg": "m", "error": {"kind": "io"}, "at_work": [], "elapsed_ms": 5});
        assert_eq!(to_json(&event, Duration::from_millis(5)), wanted);
    }

    #[test]
    fn a_line_of_json_stays_one_where_a_secret_is_masked() {
        let args = serde_json::Map::new();
        let call = NodeCall {
            node: Some("n3".to_owned()),
            host: None,
            program: "og_hba".to_owned(),
            args,
            put: None,
            timed: false,
        };
        let answer = json!({"changed": false, "failed": true, "msg": "line 3: ldapbindpasswd=pw", "error": {"kind": "io"}});
        let event = Event::Answer { call: &call, answer: &answer, quiet: false, at_work: &[] };
        let line = json_line(&to_json(&event, Duration::from_millis(5))).unwrap();
        let read: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(read["msg"], json!(format!("line 3: ldapbindpasswd={}", secret::MASK)));
        assert_eq!((&read["node"], &read["error"]["kind"]), (&json!("n3"), &json!("io")));
    }

    #[test]
    fn an_interruption_tells_what_may_still_be_at_work_and_what_became_of_the_lock() {
        let told = |nodes: &[&str], unconfirmed: &[&str], lock: &LockLeft| {
            let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            interruption(&names(nodes), &names(unconfirmed), lock, true)
        };
        assert_eq!(
            told(&["n2"], &["n3", "n4"], &LockLeft::Kept),
            "interrupted; ended what was under way on n2; what was under way on n3, n4 may still be at work; \
             the lock of the cluster stays; the same command again takes it over and continues"
        );
        assert_eq!(
            told(&[], &[], &LockLeft::Released),
            "interrupted; the lock of the cluster is released; the same command again continues"
        );
    }

    #[test]
    fn the_time_left_is_told_only_while_bytes_come() {
        let at = Duration::from_millis;
        let mut rate = Rate::new(1 << 20, at(5000));
        assert_eq!(rate.describe_rate(1 << 20, None, at(5500)), "");
        assert_eq!(rate.describe_rate(11 << 20, Some(21 << 20), at(10_000)), "2.0 MiB/s, 5 s left");
        assert_eq!(rate.describe_rate(11 << 20, Some(21 << 20), at(14_000)), "no more bytes for 4 s");
    }

    #[test]
    fn times_as_people_write_them() {
        for (ms, text) in [(1234, "1.2 s"), (61_000, "1 min 1 s"), (3_661_000, "1 h 1 min")] {
            assert_eq!(seconds(Duration::from_millis(ms)), text);
        }
    }
}
