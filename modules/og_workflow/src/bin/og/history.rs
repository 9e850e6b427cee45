//! `og history`: the records of earlier runs on this machine.

use clap::{Arg, ArgAction, ArgMatches, Command};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use og_common::clock::parse_millis;
use og_common::protocol::Error;
use og_workflow::record::history::{self, Age, Cleaned, RecordedRun, RunStep};
use og_workflow::record::{RunVerdict, runs_folder};
use og_workflow::table::aligned;
use og_workflow::text::duration;
use serde_json::{Value, json};

use crate::display::Display;

/// The subcommand's name.
pub const NAME: &str = "history";

/// What is asked of the records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryRequest {
    id: Option<String>,
    clean: Option<Age>,
    check: bool,
    diff: bool,
    /// Print JSON.
    pub json: bool,
}

/// Returns the subcommand.
pub fn command() -> Command {
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    Command::new(NAME)
        .about("Show the runs of og, Ansible and Salt on this machine, or one of them step by step")
        .arg(
            Arg::new("id")
                .value_name("ID")
                .help("The run: its id or the beginning of it, or the word last")
                .add(ArgValueCompleter::new(complete_ids)),
        )
        .arg(
            Arg::new("clean")
                .long("clean")
                .value_name("AGE")
                .conflicts_with("id")
                .value_parser(str::parse::<Age>)
                .help("Remove the records of runs older than this, such as 60d, 12h or 8w"),
        )
        .arg(flag("check").short('n').requires("clean").help("With --clean, remove nothing; say what would be removed"))
        .arg(flag("diff").requires("id").help("Show changes of files as unified diffs"))
        .arg(flag("json").help("Print a line of JSON for each run; for one run, its whole record"))
        .after_help(
            "A record is a folder in $XDG_STATE_HOME/opengauss-node/runs, or ~/.local/state/opengauss-node/runs.",
        )
}

impl HistoryRequest {
    /// Returns what the command line asks for.
    pub fn from_matches(matches: &ArgMatches) -> Self {
        Self {
            id: matches.get_one::<String>("id").cloned(),
            clean: matches.get_one::<Age>("clean").copied(),
            check: matches.get_flag("check"),
            diff: matches.get_flag("diff"),
            json: matches.get_flag("json"),
        }
    }

    /// Shows or removes records.
    ///
    /// # Errors
    /// They cannot be read or removed, or there is no such run.
    pub fn run(&self, display: &mut Display) -> Result<(), Error> {
        let runs = runs_folder()?;
        if let Some(older) = self.clean {
            let Cleaned { removed, errors } = history::clean(&runs, older, self.check)?;
            let word = if self.check { "would remove" } else { "removed" };
            for id in removed {
                if self.json {
                    display.json_line(&json!({"id": id, "removed": !self.check}));
                } else {
                    display.line(&format!("{word} {id}"));
                }
            }
            Display::warn(&errors.iter().map(ToString::to_string).collect::<Vec<_>>());
            return match errors.into_iter().next() {
                None => Ok(()),
                Some(first) => Err(Error::new(first.kind(), "not every record that is old could be removed")
                    .hint("see the warnings")),
            };
        }
        if let Some(id) = &self.id {
            return self.show_run(&history::find(&runs, id)?, display);
        }
        let (found, unreadable) = history::list(&runs)?;
        Display::warn(&unreadable.iter().map(ToString::to_string).collect::<Vec<_>>());
        if self.json {
            for run in &found {
                display.json_line(&to_json(run)?);
            }
            return Ok(());
        }
        let mut rows = vec![["ID", "WHEN", "WORKFLOW", "NODES", "VERDICT", "TIME"].map(str::to_owned)];
        for run in &found {
            rows.push(row(run)?);
        }
        for line in aligned(&rows) {
            display.line(&line);
        }
        Ok(())
    }

    fn show_run(&self, run: &RecordedRun, display: &mut Display) -> Result<(), Error> {
        if self.json {
            let mut whole = to_json(run)?;
            whole["plan"] = json!(run.plan);
            whole["events"] = json!(run.events);
            whole["unreadable"] = json!(run.unreadable);
            whole["outcome"] = run.outcome()?;
            display.json_line(&whole);
            return Ok(());
        }
        let plan = &run.plan;
        let verdict = run.verdict()?;
        let took = run.elapsed_ms().map_or_else(String::new, |ms| format!(" after {}", duration(ms)));
        let mut lines = vec![format!("{}: {}{took}", plan.id, verdict.as_str())];
        let nodes =
            if plan.targets.is_empty() { String::new() } else { format!(" {}", plan.targets.join(",")) };
        let check = if plan.check_mode { " in check mode" } else { "" };
        lines.push(format!("{}{nodes}{check}, begun {} by {}", plan.workflow, plan.started, plan.owner));
        lines.extend(plan.options.iter().map(|(name, value)| match value {
            Value::String(text) => format!("{name}={text}"),
            other => format!("{name}={other}"),
        }));
        lines.push(String::new());
        let steps: Vec<RunStep> = run.steps().collect();
        let mut rows = vec![["TIME", "STEP", "NODES", ""].map(str::to_owned)];
        rows.extend(steps.iter().map(step_row));
        lines.extend(aligned(&rows));
        let of_note = |step: &&RunStep| step.has_failed() || step.answers.iter().any(|answer| answer.changed);
        let answers = steps.iter().filter(of_note).flat_map(|step| &step.answers);
        for answer in answers.filter(|answer| answer.changed || answer.failed) {
            let node = answer.call.node.as_deref().unwrap_or("controller");
            let done = if answer.failed || answer.actions.is_empty() {
                answer.msg.clone()
            } else {
                answer.actions.join(", ")
            };
            lines.push(format!("{node}: {}: {done}", answer.step));
            let diff = answer.diff.as_ref().filter(|_| self.diff);
            lines.extend(diff.into_iter().flat_map(|diff| diff.lines()).map(str::to_owned));
        }
        lines.extend(run.warning().map(|text| format!("warning: {text}")));
        if let Some(ended) = &run.ended {
            lines.push(String::new());
            lines.extend(ended.table.iter().cloned());
            lines.extend(ended.commits.as_ref().map(og_workflow::text::commits));
            lines.extend(ended.warnings.iter().map(|text| format!("warning: {text}")));
            lines.extend(ended.msg.iter().flat_map(|why| why.lines()).map(str::to_owned));
        } else if verdict == RunVerdict::Interrupted {
            lines.push(format!("{} was killed; the same command again continues", plan.workflow));
        }
        lines.push(format!("report: {}", run.report().display()));
        for line in lines {
            display.line(&line);
        }
        Ok(())
    }
}

fn step_row(step: &RunStep) -> [String; 4] {
    let time = step.time().map_or_else(|| "-".to_owned(), |time| duration(time.elapsed_ms));
    let nodes = step.step.nodes();
    let word = if step.has_failed() {
        "failed"
    } else if step.answers.iter().any(|answer| answer.changed) {
        "changed"
    } else {
        ""
    };
    [time, step.step.step.clone(), nodes.join(","), word.to_owned()]
}

fn row(run: &RecordedRun) -> Result<[String; 6], Error> {
    let plan = &run.plan;
    let check = if plan.check_mode { " -n" } else { "" };
    let when = parse_millis(&plan.started).map_or_else(String::new, |ms| {
        og_common::clock::rfc3339(ms / 1000).replace('T', " ").replace('Z', "")
    });
    let took = run.elapsed_ms().map_or_else(|| "-".to_owned(), duration);
    let nodes = if plan.targets.is_empty() { "-".to_owned() } else { plan.targets.join(",") };
    let verdict = run.verdict()?.as_str().to_owned();
    Ok([plan.id.clone(), when, format!("{}{check}", plan.workflow), nodes, verdict, took])
}

fn to_json(run: &RecordedRun) -> Result<Value, Error> {
    let plan = &run.plan;
    Ok(json!({
        "id": plan.id,
        "started": plan.started,
        "workflow": plan.workflow,
        "targets": plan.targets,
        "check_mode": plan.check_mode,
        "verdict": run.verdict()?,
        "elapsed_ms": run.elapsed_ms(),
        "folder": run.folder.display().to_string(),
        "report": run.report().display().to_string(),
    }))
}

/// The ids of runs, the youngest first.
fn complete_ids(current: &std::ffi::OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let Ok((found, _)) = runs_folder().and_then(|runs| history::list(&runs)) else { return Vec::new() };
    let ids = found.into_iter().rev().map(|run| run.plan.id);
    ids.filter(|id| id.starts_with(&*current)).map(CompletionCandidate::new).collect()
}
