//! The records of earlier runs.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use og_common::clock::{now_millis, parse_millis};
use og_common::files;
use og_common::protocol::{Error, ErrorKind};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{AnswerEvent, EVENTS, Ended, Event, OUTCOME, PLAN, Plan, REPORT, RunVerdict, StepEvent};
use crate::args::{Change, StepTime};
use crate::owner::Owner;

/// The name of the youngest run, in place of an id.
pub const LAST: &str = "last";

/// The record of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedRun {
    /// Its folder.
    pub folder: PathBuf,
    /// What was asked.
    pub plan: Plan,
    /// What happened, as far as it is wanted.
    pub events: Vec<Event>,
    /// How many lines of its events cannot be read.
    pub unreadable: usize,
    /// What came of it; none while it is at work, and after it was killed.
    pub ended: Option<Ended>,
}

/// A step with the answers of its calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunStep<'a> {
    /// The step.
    pub step: &'a StepEvent,
    /// The answers, in the order in which they came.
    pub answers: Vec<&'a AnswerEvent>,
}

impl RunStep<'_> {
    /// Whether a call failed that must not.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        !self.step.may_fail && self.answers.iter().any(|answer| answer.failed && !answer.call.looks)
    }

    /// Returns how long it took; none when it did not come to its end.
    #[must_use]
    pub fn time(&self) -> Option<StepTime> {
        let (start, end) = self.span()?;
        Some(StepTime { step: self.step.step.clone(), elapsed_ms: end.saturating_sub(start) })
    }

    /// Returns when it began and ended, in milliseconds since 1970; none when it did not come to its end.
    fn span(&self) -> Option<(u64, u64)> {
        let ends = self.answers.iter().filter_map(|answer| parse_millis(&answer.end));
        let end = ends.max().filter(|_| self.answers.len() == self.step.calls.len())?;
        Some((parse_millis(&self.step.start)?, end))
    }
}

impl RecordedRun {
    /// Reads a record with its events.
    ///
    /// # Errors
    /// It is none, or cannot be read.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let mut run = Self::read_without_events(folder)?;
        let path = folder.join(EVENTS);
        let text = match files::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(e),
        };
        let whole = text.split_inclusive(|byte| *byte == b'\n');
        // What was being written when the machine stopped is no line.
        for line in whole.filter(|line| line.ends_with(b"\n")) {
            match serde_json::from_slice(line) {
                Ok(event) => run.events.push(event),
                // On a full disk a line is cut off, and the others are as good as before.
                Err(_) => run.unreadable += 1,
            }
        }
        Ok(run)
    }

    /// Reads what was asked and what came of it.
    ///
    /// # Errors
    /// It is none, or cannot be read.
    pub fn read_without_events(folder: &Path) -> Result<Self, Error> {
        let plan = folder.join(PLAN);
        let plan = parse(&plan, &files::read(&plan)?)?;
        let path = folder.join(OUTCOME);
        let ended = match files::read(&path) {
            Ok(text) => Some(parse(&path, &text)?),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        Ok(Self { folder: folder.to_owned(), plan, events: Vec::new(), unreadable: 0, ended })
    }

    /// Returns what came of it in a word: of a run without an outcome, whether its process lives.
    ///
    /// # Errors
    /// This machine does not tell its name.
    pub fn verdict(&self) -> Result<RunVerdict, Error> {
        if let Some(ended) = &self.ended {
            return Ok(ended.verdict);
        }
        let is_over = Owner::find(&self.plan.owner).map(|owner| owner.is_over()).transpose()?;
        Ok(if is_over.unwrap_or(true) { RunVerdict::Interrupted } else { RunVerdict::Running })
    }

    /// Returns the name of its folder.
    #[must_use]
    pub fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Returns its page.
    #[must_use]
    pub fn report(&self) -> PathBuf {
        self.folder.join(REPORT)
    }

    /// Returns all that `outcome.json` says; null without one.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn outcome(&self) -> Result<Value, Error> {
        let path = self.folder.join(OUTCOME);
        if self.ended.is_some() { parse(&path, &files::read(&path)?) } else { Ok(Value::Null) }
    }

    /// Returns how long it took: up to its outcome, else to what is the last that is known of it.
    #[must_use]
    pub fn elapsed_ms(&self) -> Option<u64> {
        if let Some(ended) = &self.ended {
            return Some(ended.elapsed_ms);
        }
        // In a list the events are not read.
        let last = self.events.iter().rev().find_map(|event| match event {
            Event::Step(step) => parse_millis(&step.start),
            Event::Answer(answer) => parse_millis(&answer.end),
            Event::Gap { .. } => None,
        });
        Some(last?.saturating_sub(parse_millis(&self.plan.started)?))
    }

    /// Returns what was changed by the steps that are in the record, in order; in check mode, what would have been.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        let changed = self.events.iter().filter_map(|event| match event {
            Event::Answer(answer) if answer.changed => Some(Change {
                node: answer.call.node.clone()?,
                step: answer.step.clone(),
                actions: answer.actions.clone(),
                diff: answer.diff.clone(),
            }),
            _ => None,
        });
        changed.collect()
    }

    /// Returns what is to be said of the record itself: that lines of it cannot be read.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let lines = match self.unreadable {
            0 => return None,
            1 => "1 line".to_owned(),
            many => format!("{many} lines"),
        };
        Some(format!(
            "{lines} of {} cannot be read; steps or answers are missing here",
            self.folder.join(EVENTS).display()
        ))
    }

    /// Returns the title of the step that the most of this time fell in, in milliseconds since 1970; of two the first.
    #[must_use]
    pub fn step_between(&self, from: u64, to: u64) -> Option<&str> {
        let mut most = (0, None);
        for step in self.steps() {
            let Some((start, end)) = step.span() else { continue };
            let common = end.min(to).saturating_sub(start.max(from));
            if common > most.0 {
                most = (common, Some(step.step.step.as_str()));
            }
        }
        most.1
    }

    /// Returns the steps in their order.
    pub fn steps(&self) -> impl Iterator<Item = RunStep<'_>> {
        let at = |(at, event): (usize, &Event)| matches!(event, Event::Step(_)).then_some(at);
        let begins: Vec<usize> = self.events.iter().enumerate().filter_map(at).collect();
        let ends = begins.iter().skip(1).copied().chain([self.events.len()]).collect::<Vec<_>>();
        begins.into_iter().zip(ends).filter_map(|(begin, end)| {
            let Event::Step(step) = &self.events[begin] else { return None };
            let answers = self.events[begin..end].iter().filter_map(|event| match event {
                Event::Answer(answer) => Some(&**answer),
                Event::Step(_) | Event::Gap { .. } => None,
            });
            Some(RunStep { step, answers: answers.collect() })
        })
    }
}

fn parse<T: DeserializeOwned>(path: &Path, text: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(text).map_err(|e| {
        Error::corrupt(format!("{} is no record of a run: {e}", path.display())).with_path(path.display())
    })
}

/// Returns all runs, the oldest first, without their events, and why others cannot be read.
///
/// # Errors
/// The folder cannot be read.
pub fn list(runs: &Path) -> Result<(Vec<RecordedRun>, Vec<Error>), Error> {
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    for folder in folders(runs)? {
        match RecordedRun::read_without_events(&folder) {
            Ok(run) => found.push(run),
            // A run that has just begun, or one whose first file could not be written.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => unreadable.push(e),
        }
    }
    found.sort_by(|a, b| (&a.plan.started, &a.plan.id).cmp(&(&b.plan.started, &b.plan.id)));
    Ok((found, unreadable))
}

/// The folders of runs; what is no folder, a link among it, is none.
fn folders(runs: &Path) -> Result<Vec<PathBuf>, Error> {
    let fail = |e: std::io::Error| Error::io("read", runs, &e);
    let entries = match std::fs::read_dir(runs) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(fail(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(fail)?;
        if entry.file_type().map_err(fail)?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Returns the run of this id, of the beginning of one that no other has, or of [`LAST`].
///
/// # Errors
/// `not_found`, or `bad_args` where several begin so.
pub fn find(runs: &Path, id: &str) -> Result<RecordedRun, Error> {
    let (found, _) = list(runs)?;
    let own: Vec<&RecordedRun> = match id {
        LAST => found.last().into_iter().collect(),
        _ if found.iter().any(|run| run.plan.id == id) => {
            found.iter().filter(|run| run.plan.id == id).collect()
        }
        _ => found.iter().filter(|run| run.plan.id.starts_with(id)).collect(),
    };
    match own[..] {
        [run] => RecordedRun::read(&run.folder),
        [] => {
            Err(Error::not_found(format!("there is no run {id} in {}", runs.display()))
                .hint("see og history"))
        }
        _ => {
            let ids: Vec<_> = own.iter().map(|run| run.plan.id.as_str()).collect();
            Err(Error::bad_args(format!("several runs begin with {id}: {}", ids.join(", "))))
        }
    }
}

/// What [`clean`] has done.
#[derive(Debug, Default)]
pub struct Cleaned {
    /// The names of the folders that were removed, or would be.
    pub removed: Vec<String>,
    /// Why others were not, or may be of any age.
    pub errors: Vec<Error>,
}

/// Removes the records of runs that are older than this; those at work stay. One that cannot be removed does not keep the others.
///
/// # Errors
/// The folder of all runs cannot be read.
pub fn clean(runs: &Path, older: Age, check: bool) -> Result<Cleaned, Error> {
    let limit = now_millis().saturating_sub(older.0);
    let (found, errors) = list(runs)?;
    let mut cleaned = Cleaned { errors, ..Cleaned::default() };
    for run in found {
        if parse_millis(&run.plan.started).is_none_or(|started| started >= limit) {
            continue;
        }
        let remove = || match run.verdict()? {
            RunVerdict::Running => Ok(false),
            _ if check => Ok(true),
            _ => std::fs::remove_dir_all(&run.folder)
                .map(|()| true)
                .map_err(|e| Error::io("remove", &run.folder, &e)),
        };
        match remove() {
            Ok(true) => cleaned.removed.push(run.name()),
            Ok(false) => {}
            Err(e) => cleaned.errors.push(e),
        }
    }
    Ok(cleaned)
}

/// An age in milliseconds, written as a number of days (`60d`), hours (`12h`) or weeks (`8w`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age(u64);

impl FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no age: give a number of days, hours or weeks, such as 60d, 12h or 8w");
        let number = text.trim_end_matches(['d', 'h', 'w']);
        let hours = match &text[number.len()..] {
            "h" => 1,
            "d" => 24,
            "w" => 24 * 7,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        number.checked_mul(hours * 3_600_000).map(Self).ok_or_else(wrong)
    }
}
