//! The record of a run: a folder on the controller that tells what was asked, what each step did, and what came of it.
//!
//! * `plan.json` ([`Plan`]): what was asked
//! * `events.jsonl` ([`Event`]): each step, and the answer of each of its calls
//! * `outcome.json` ([`Ended`]): what came of it; not there while the run is at work, and after it was killed
//! * `report.html` ([`report`]): all of it as a page for a browser
//!
//! The engine is a pure function; only this writes, for `og` and for the program og_workflow. A record that cannot be written
//! is a warning of the run, and never ends it. [`history`] reads the folders.

mod folder;
pub mod history;
mod notify;
pub mod report;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use og_common::clock::{now_millis, parse_millis, rfc3339_millis};
use og_common::protocol::{Diff, Error, deserialize_or_default};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::args::{Args, Change, Commits, Counts, Next, Options, Outcome};
use crate::engine::Engine;
use crate::health::ClusterHealth;
use crate::text::unified;

pub(crate) use folder::{make_new, make_parent, time_stamp, to_pretty};
pub use folder::{runs_folder, state_folder};

/// What asks og_workflow for a new record; the record's own path continues it.
pub const NEW: &str = "new";
/// What stands before the reason in place of a path, where no record could be begun: no later call begins one then.
const FAILED: &str = "failed: ";

const PLAN: &str = "plan.json";
const EVENTS: &str = "events.jsonl";
const OUTCOME: &str = "outcome.json";
/// Says why something of the record could not be written; there where that is so.
const LOST: &str = "lost.txt";
/// The option that names a command.
const NOTIFY: &str = "og_notify";
/// The page in the folder of a run.
pub const REPORT: &str = "report.html";
/// All files that the folder of a run may have.
pub(crate) const RECORD_FILES: [&str; 5] = [PLAN, EVENTS, OUTCOME, LOST, REPORT];

/// What was asked of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// The run's id, which is its folder's name.
    pub id: String,
    /// The workflow.
    pub workflow: String,
    /// The nodes that it is for.
    pub targets: Vec<String>,
    /// The options that were given with the call; not those with their default, as Ansible gives all there are.
    pub options: Map<String, Value>,
    /// The cluster as it was described: of `hosts` and `vars` what the suite reads.
    pub cluster: Value,
    /// Whether nothing was to be changed.
    pub check_mode: bool,
    /// Who runs it, as `user@machine pid N start T`.
    pub owner: String,
    /// When it began, in RFC 3339.
    pub started: String,
    /// The version of the suite.
    pub version: String,
}

impl Plan {
    /// What these arguments ask for; the id and the rest follow when the record begins.
    #[must_use]
    pub fn from_args(args: &Args, check: bool) -> Self {
        let defaults = json!(Options::default());
        let mut options = recorded(&args.options);
        options.retain(|name, value| defaults.get(name) != Some(&*value));
        let cluster = args.cluster.clone().unwrap_or_default();
        let hosts: Map<String, Value> = cluster
            .hosts
            .iter()
            .map(|(name, own)| (name.clone(), own.as_object().map(recorded).unwrap_or_default().into()))
            .collect();
        Self {
            workflow: args.workflow.entry().map_or("", |entry| entry.name).to_owned(),
            targets: crate::distinct(&args.targets),
            options,
            cluster: json!({"hosts": hosts, "vars": recorded(&cluster.vars)}),
            check_mode: check,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Self::default()
        }
    }
}

/// What of these variables goes into a record: those that the suite reads, as others may be anybody's and hold what is secret;
/// and of a command its name, as its arguments may be secret, too.
fn recorded(variables: &Map<String, Value>) -> Map<String, Value> {
    let known = variables.iter().filter(|(name, _)| crate::variables::is_read(name));
    let shown = |(name, value): (&String, &Value)| {
        let value = match value {
            Value::Array(words) if name == NOTIFY => words.iter().take(1).cloned().collect(),
            _ if name == NOTIFY => Value::Null,
            _ => value.clone(),
        };
        (name.clone(), value)
    };
    known.map(shown).collect()
}

/// A line of `events.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A step begins.
    Step(StepEvent),
    /// A call of the step has ended.
    Answer(Box<AnswerEvent>),
    /// Answers came for a step that is not in the record.
    Gap {
        /// When that was found.
        at: String,
    },
}

/// A step that begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepEvent {
    /// Its title.
    pub step: String,
    /// When it began.
    pub start: String,
    /// Its calls, in order.
    pub calls: Vec<CallEvent>,
    /// How many answers of earlier steps still count.
    pub keep: usize,
    /// Which answers count as a change.
    pub counts: Counts,
    /// A call that fails is no failure of the step by itself.
    pub may_fail: bool,
}

/// A call of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallEvent {
    /// The node; none for a call on the controller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The program; none where a file is transferred.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub program: String,
    /// Whether it changes nothing, and its failure means nothing by itself.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub looks: bool,
}

impl StepEvent {
    /// Returns its nodes, each once.
    #[must_use]
    pub fn nodes(&self) -> Vec<&str> {
        let mut nodes: Vec<&str> = Vec::new();
        for node in self.calls.iter().filter_map(|call| call.node.as_deref()) {
            if !nodes.contains(&node) {
                nodes.push(node);
            }
        }
        nodes
    }
}

/// A call that has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AnswerEvent {
    /// The step.
    pub step: String,
    /// Node and program.
    #[serde(flatten)]
    pub call: CallEvent,
    /// When its step began.
    pub start: String,
    /// When its answer was there.
    pub end: String,
    /// How long the program ran; by the caller's clock where it does not tell.
    pub elapsed_ms: u64,
    /// Whether it changed something on the node.
    pub changed: bool,
    /// Whether it failed.
    pub failed: bool,
    /// What the program says.
    pub msg: String,
    /// What was done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
    /// The changed files as unified diffs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    /// Things to look at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub error: Value,
}

/// What came of a run, in few words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunVerdict {
    /// It changed what was to be changed.
    Done,
    /// There was nothing to change.
    Unchanged,
    /// It failed, or was refused, and nothing is half done.
    #[default]
    Failed,
    /// Something was done and not all of it; the same command continues.
    Incomplete,
    /// A signal ended it, or it was killed; the same command continues.
    Interrupted,
    /// It is at work.
    Running,
}

impl RunVerdict {
    /// As it is written and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
            Self::Incomplete => "incomplete",
            Self::Interrupted => "interrupted",
            Self::Running => "running",
        }
    }

    fn from_outcome(outcome: &Outcome) -> Self {
        match outcome {
            Outcome { incomplete: true, .. } => Self::Incomplete,
            Outcome { failed: true, .. } => Self::Failed,
            Outcome { changed: true, .. } => Self::Done,
            _ => Self::Unchanged,
        }
    }
}

/// What came of a run, as far as it is read again; `outcome.json` has all keys of the workflow's outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ended {
    /// In a word.
    pub verdict: RunVerdict,
    /// When it ended.
    pub ended: String,
    /// How long it took.
    pub elapsed_ms: u64,
    /// Why it failed.
    pub msg: Option<String>,
    /// What was changed, in order.
    pub changes: Vec<Change>,
    /// Things to look at.
    pub warnings: Vec<String>,
    /// What stood against it before its first change.
    pub findings: Vec<String>,
    /// The cluster as lines of a table.
    pub table: Vec<String>,
    /// The cluster when the run first inspected it.
    #[serde(deserialize_with = "deserialize_or_default")]
    pub before: Option<ClusterHealth>,
    /// The cluster when the run last inspected it.
    #[serde(deserialize_with = "deserialize_or_default")]
    pub after: Option<ClusterHealth>,
    /// The commits while the run was at work, where they were asked for.
    #[serde(deserialize_with = "deserialize_or_default")]
    pub commits: Option<Commits>,
}

/// Writes the record of one run.
#[derive(Debug)]
pub struct Recorder {
    folder: PathBuf,
    plan: Plan,
    notify: Vec<String>,
    /// The step that is under way.
    step: Option<StepEvent>,
    /// Why something could not be written, the first of it, by this process or one before it.
    lost: Option<String>,
    has_gap: bool,
    /// What is told to the command.
    told: Value,
}

impl Recorder {
    /// Begins the record of a run in a folder of its own.
    ///
    /// # Errors
    /// There is no home to write it to, or it cannot be written.
    pub fn begin(plan: Plan, engine: &Engine) -> Result<Self, Error> {
        let now = now_millis();
        let plan = Plan { owner: engine.owner().to_owned(), started: rfc3339_millis(now), ..plan };
        let (folder, id) = folder::make(&runs_folder()?, now, &plan.workflow)?;
        let plan = Plan { id, ..plan };
        let written = folder::to_pretty(&plan).and_then(|text| folder::write(&folder.join(PLAN), &text));
        if let Err(e) = written {
            // It is a record of nothing; whatever keeps it from being removed is of less note than what was in the way first.
            drop(std::fs::remove_dir_all(&folder));
            return Err(e);
        }
        let notify = engine.notify().to_vec();
        Ok(Self { folder, plan, notify, step: None, lost: None, has_gap: false, told: Value::Null })
    }

    /// Continues a record that another process began.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(folder: &Path, engine: &Engine) -> Result<Self, Error> {
        let run = history::RecordedRun::read(folder)?;
        let lost = folder::read_lost(folder)?;
        let has_gap = run.events.iter().any(|event| matches!(event, Event::Gap { .. }));
        let step = match run.events.last() {
            Some(Event::Step(step)) => Some(step.clone()),
            _ => None,
        };
        let notify = engine.notify().to_vec();
        let told = Value::Null;
        Ok(Self { folder: folder.to_owned(), plan: run.plan, notify, step, lost, has_gap, told })
    }

    /// Returns the folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the run's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.plan.id
    }

    /// Writes that a step begins.
    pub fn write_step(&mut self, next: &Next) {
        let call = |call: &crate::args::NodeCall| CallEvent {
            node: call.node.clone(),
            program: call.program.clone(),
            looks: call.is_inspection(),
        };
        let step = StepEvent {
            step: next.step.clone(),
            start: rfc3339_millis(now_millis()),
            calls: next.calls.iter().map(call).collect(),
            keep: next.keep,
            counts: next.shown.counts,
            may_fail: next.shown.may_fail,
        };
        self.write_event(&Event::Step(step.clone()));
        self.step = Some(step);
    }

    /// Writes what the step's call at this place has answered.
    pub fn write_answer(&mut self, at: usize, answer: &Value) {
        let Some((step, call)) = self.step.as_ref().and_then(|step| Some((step, step.calls.get(at)?))) else {
            return self.write_gap();
        };
        let event = answer_event(step, call, answer, now_millis());
        self.write_event(&Event::Answer(Box::new(event)));
    }

    /// Writes what the calls of the step have answered that another process began, where `answers` has them.
    pub fn write_answers(&mut self, answers: &[Value]) {
        let expected = self.step.as_ref().map_or(0, |step| step.keep + step.calls.len());
        if answers.len() != expected || self.step.is_none() {
            return self.write_gap();
        }
        let keep = self.step.as_ref().map_or(0, |step| step.keep);
        for (at, answer) in answers[keep..].iter().enumerate() {
            self.write_answer(at, answer);
        }
    }

    /// Writes the page with what is known so far, which is what remains of a run that is killed.
    pub fn update_report(&mut self) {
        let written = history::RecordedRun::read(&self.folder).and_then(|run| self.write_report(&run));
        self.keep_loss(written);
    }

    /// Writes what came of the run; adds to the outcome where its report is, how long each step took, and a warning of what
    /// could not be written. [`Recorder::notify`] comes after it.
    pub fn finish(&mut self, outcome: &mut Outcome) {
        self.finish_as(RunVerdict::from_outcome(outcome), outcome);
    }

    /// As [`Recorder::finish`] for a run that came to no outcome of its own: what it changed is taken from the record.
    pub fn fail(&mut self, msg: &str) -> Outcome {
        let mut outcome = self.unfinished_outcome(msg);
        self.finish(&mut outcome);
        outcome
    }

    /// As [`Recorder::fail`] for a run that a signal ended.
    pub fn interrupt(&mut self, msg: &str) -> Outcome {
        let mut outcome = self.unfinished_outcome(msg);
        self.finish_as(RunVerdict::Interrupted, &mut outcome);
        outcome
    }

    /// Tells `og_notify` what came of the run; returns the warning where that fails, which the record gets, too.
    pub async fn notify(mut self) -> Option<String> {
        let warning = match notify::notify(&self.notify, &self.told).await {
            Ok(()) => return None,
            Err(e) => format!("og_notify: {e}"),
        };
        match &mut self.told["warnings"] {
            Value::Array(warnings) => warnings.push(json!(warning)),
            none => *none = json!([warning]),
        }
        let written = self.write_outcome();
        self.keep_loss(written);
        Some(warning)
    }

    fn finish_as(&mut self, verdict: RunVerdict, outcome: &mut Outcome) {
        outcome.report = Some(self.folder.join(REPORT).display().to_string());
        self.add_times(outcome);
        let had = self.loss();
        outcome.warnings.extend(had.clone());
        self.notify_outcome(verdict, outcome);
        let written = self.write_outcome();
        self.keep_loss(written);
        if had.is_none()
            && let Some(loss) = self.loss()
        {
            outcome.warnings.push(loss);
            // What could not be written is tried once more, and is told already.
            self.notify_outcome(verdict, outcome);
            drop(self.write_outcome());
        }
    }

    fn notify_outcome(&mut self, verdict: RunVerdict, outcome: &Outcome) {
        self.told = json!(outcome);
        self.told["verdict"] = json!(verdict);
    }

    /// The outcome of a run that has none of its own, with what was changed before.
    fn unfinished_outcome(&mut self, msg: &str) -> Outcome {
        let changes = match history::RecordedRun::read(&self.folder) {
            Ok(run) => run.changes(),
            Err(e) => {
                self.keep_loss(Err(e));
                Vec::new()
            }
        };
        Outcome {
            failed: true,
            incomplete: !changes.is_empty() && !self.plan.check_mode,
            changed: !changes.is_empty(),
            changes,
            msg: Some(msg.to_owned()),
            ..Outcome::default()
        }
    }

    fn write_outcome(&mut self) -> Result<(), Error> {
        let told = &mut self.told;
        let now = now_millis();
        let begun = parse_millis(&self.plan.started).unwrap_or(now);
        for (key, value) in [
            ("id", json!(self.plan.id)),
            ("workflow", json!(self.plan.workflow)),
            ("targets", json!(self.plan.targets)),
            ("check_mode", json!(self.plan.check_mode)),
            ("owner", json!(self.plan.owner)),
            ("started", json!(self.plan.started)),
            ("ended", json!(rfc3339_millis(now))),
            ("elapsed_ms", json!(now.saturating_sub(begun))),
        ] {
            told[key] = value;
        }
        folder::write(&self.folder.join(OUTCOME), &folder::to_pretty(&self.told)?)?;
        self.write_report(&history::RecordedRun::read(&self.folder)?)
    }

    fn write_report(&self, run: &history::RecordedRun) -> Result<(), Error> {
        folder::write(&self.folder.join(REPORT), report::html(run).as_bytes())
    }

    /// Adds how long the steps took that have come to their ends, and in which of them nobody could commit for longest.
    fn add_times(&mut self, outcome: &mut Outcome) {
        match history::RecordedRun::read(&self.folder) {
            Ok(run) => {
                outcome.timings = run.steps().filter_map(|step| step.time()).collect();
                if let Some(longest) = outcome.commits.as_mut().and_then(|seen| seen.longest.as_mut()) {
                    let between = parse_millis(&longest.from).zip(parse_millis(&longest.to));
                    longest.step =
                        between.and_then(|(from, to)| run.step_between(from, to)).map(str::to_owned);
                }
            }
            Err(e) => self.keep_loss(Err(e)),
        }
    }

    fn write_event(&mut self, event: &Event) {
        let written = folder::append(&self.folder.join(EVENTS), event);
        self.keep_loss(written);
    }

    fn write_gap(&mut self) {
        self.has_gap = true;
        self.write_event(&Event::Gap { at: rfc3339_millis(now_millis()) });
    }

    /// Keeps why something could not be written, for the process that ends the run as well.
    fn keep_loss(&mut self, written: Result<(), Error>) {
        if let (Err(e), None) = (written, &self.lost) {
            let why = e.to_string();
            folder::mark_lost(&self.folder, &why);
            self.lost = Some(why);
        }
    }

    /// Says what the record lacks, for a warning.
    fn loss(&self) -> Option<String> {
        match (&self.lost, self.has_gap) {
            (Some(why), _) => Some(format!("{NOT_WHOLE}{why}")),
            (None, true) => Some(format!("the record of this run lacks steps: {}", self.folder.display())),
            (None, false) => None,
        }
    }
}

/// How the warning begins that a record could not be written.
const NOT_WHOLE: &str = "this run is not recorded, or not wholly: ";

/// Returns the warning that a record could not be written.
#[must_use]
pub fn warn_of_loss(error: &Error) -> String {
    format!("{NOT_WHOLE}{error}")
}

/// The record of a run, where it has one, for a caller that asks for it call by call.
#[derive(Debug)]
pub enum Recording {
    /// It is written.
    On(Box<Recorder>),
    /// It could not be begun, for this reason.
    Failed(String),
    /// This call cannot go on with the record at this path, for this reason.
    Lost(String, Error),
}

impl Recording {
    /// Begins or continues what the caller names: [`NEW`], or what [`Recording::name`] said.
    #[must_use]
    pub fn from_name(name: &str, plan: Plan, engine: &Engine) -> Self {
        if let Some(why) = name.strip_prefix(FAILED) {
            return Self::Failed(why.to_owned());
        }
        let (is_new, opened) = match name {
            NEW => (true, Recorder::begin(plan, engine)),
            path => (false, Recorder::open(Path::new(path), engine)),
        };
        match opened {
            Ok(recorder) => Self::On(Box::new(recorder)),
            Err(e) if is_new => Self::Failed(e.to_string()),
            Err(e) => Self::Lost(name.to_owned(), e),
        }
    }

    /// Returns what the next call is to name.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::On(recorder) => recorder.folder().display().to_string(),
            Self::Failed(why) => format!("{FAILED}{why}"),
            Self::Lost(path, _) => path.clone(),
        }
    }

    /// Returns what writes it.
    ///
    /// # Errors
    /// The warning that it is not written.
    pub fn recorder(self) -> Result<Recorder, String> {
        match self {
            Self::On(recorder) => Ok(*recorder),
            Self::Failed(why) => Err(format!("{NOT_WHOLE}{why}")),
            Self::Lost(_, e) => Err(warn_of_loss(&e)),
        }
    }
}

fn answer_event(step: &StepEvent, call: &CallEvent, answer: &Value, now: u64) -> AnswerEvent {
    let texts = |key: &str| -> Vec<String> {
        let all = answer[key].as_array().into_iter().flatten();
        all.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let diffs: Vec<Diff> = serde_json::from_value(answer["diff"].clone()).unwrap_or_default();
    let failed = answer["failed"] != json!(false);
    let started = parse_millis(&step.start).unwrap_or(now);
    let own = answer["elapsed_ms"].as_u64();
    let none = format!("{} ended without an answer", call.program);
    AnswerEvent {
        step: step.step.clone(),
        call: call.clone(),
        start: step.start.clone(),
        end: rfc3339_millis(now),
        elapsed_ms: own.unwrap_or_else(|| now.saturating_sub(started)),
        changed: step.counts.is_change(answer["changed"] == json!(true), failed),
        failed,
        msg: answer["msg"].as_str().unwrap_or(&none).to_owned(),
        actions: texts("actions"),
        diff: Some(unified(&diffs)).filter(|text| !text.is_empty()),
        warnings: texts("warnings"),
        error: answer["error"].clone(),
    }
}
