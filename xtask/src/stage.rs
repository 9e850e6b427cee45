//! Runs stages side by side, each as a process of its own whose output is kept in a file, and tells what came of them.

use std::fmt::Write as _;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use crate::shell::{Result, root, target};
use crate::tally::Tally;

/// Something that can be run by itself once the stages that it needs are done.
pub struct Stage {
    /// Its name, as `cargo xtask test NAME` takes it.
    pub name: &'static str,
    /// The stages that must have passed before it.
    pub needs: &'static [&'static str],
    /// Whether it calls cargo, which lets nobody else into target/ meanwhile.
    pub cargo: bool,
    /// How much of the machine it takes; see [`CAPACITY_PER_CORE`].
    pub load: Load,
    /// What it does.
    pub work: fn() -> Result,
}

/// How much of the machine a stage takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// It keeps every core busy.
    Works,
    /// It waits for servers most of the time.
    Waits,
}

impl Load {
    fn units(self) -> usize {
        match self {
            Self::Works => 2,
            Self::Waits => 1,
        }
    }
}

/// So many units of load run side by side for each core.
const CAPACITY_PER_CORE: usize = 2;

/// The poll interval of the running stages.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// What came of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Passed,
    /// It failed.
    Failed,
    /// A stage that it needs failed.
    NotRun(&'static str),
}

/// A line of the table.
pub struct Row {
    /// The stage.
    pub name: &'static str,
    /// What came of it.
    pub outcome: Outcome,
    /// When it began, from the start of all.
    pub began: Duration,
    /// How long it took.
    pub took: Duration,
    /// Its tests.
    pub tally: Tally,
}

struct Running<'a> {
    stage: &'a Stage,
    child: Child,
    since: Instant,
}

/// The file with a stage's output.
fn log(name: &str) -> PathBuf {
    target().join("test").join(format!("{name}.log"))
}

/// Runs the stages, each as soon as what it needs is done and the machine has room for it; returns their rows in the
/// order of the list. Their processes get these variables.
pub fn run_all(stages: &[Stage], variables: &[(&str, String)]) -> Result<Vec<Row>> {
    let folder = target().join("test");
    std::fs::create_dir_all(&folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
    let capacity = CAPACITY_PER_CORE * thread::available_parallelism().map_or(2, usize::from);
    let start = Instant::now();
    let mut rows: Vec<Option<Row>> = stages.iter().map(|_| None).collect();
    let mut running: Vec<Running<'_>> = Vec::new();
    loop {
        let mut at = 0;
        while at < running.len() {
            let Some(status) = running[at].child.try_wait().map_err(|e| e.to_string())? else {
                at += 1;
                continue;
            };
            let done = running.remove(at);
            let outcome = if status.success() { Outcome::Passed } else { Outcome::Failed };
            let row = row(done.stage, outcome, done.since - start, done.since.elapsed());
            report_row(&row);
            rows[position(stages, done.stage.name)] = Some(row);
        }
        for next in find_startable(stages, &rows, &running, capacity) {
            match next {
                Startable::Now(stage) => running.push(start_stage(stage, variables)?),
                Startable::Never(stage, needed) => {
                    let row = row(stage, Outcome::NotRun(needed), start.elapsed(), Duration::ZERO);
                    rows[position(stages, stage.name)] = Some(row);
                }
            }
        }
        if running.is_empty() && rows.iter().all(Option::is_some) {
            return Ok(rows.into_iter().flatten().collect());
        }
        thread::sleep(POLL_INTERVAL);
    }
}

fn position(stages: &[Stage], name: &str) -> usize {
    stages.iter().position(|s| s.name == name).unwrap_or_default()
}

#[derive(Clone, Copy)]
enum Startable<'a> {
    Now(&'a Stage),
    Never(&'a Stage, &'static str),
}

/// The stages that can begin now, and those that never will, in the order of the list.
fn find_startable<'a>(
    stages: &'a [Stage],
    rows: &[Option<Row>],
    running: &[Running<'_>],
    capacity: usize,
) -> Vec<Startable<'a>> {
    let mut used: usize = running.iter().map(|r| r.stage.load.units()).sum();
    let mut cargo_is_free = !running.iter().any(|r| r.stage.cargo);
    let mut found = Vec::new();
    for (stage, _) in stages.iter().zip(rows).filter(|(_, row)| row.is_none()) {
        if running.iter().any(|r| r.stage.name == stage.name) {
            continue;
        }
        // A needed stage that is not in the list was not asked for.
        let needed = |name: &str| stages.iter().position(|s| s.name == name).map(|at| rows[at].as_ref());
        let lacking = stage
            .needs
            .iter()
            .find(|name| matches!(needed(name), Some(Some(row)) if row.outcome != Outcome::Passed));
        if let Some(name) = lacking {
            found.push(Startable::Never(stage, name));
            continue;
        }
        let ready = stage.needs.iter().all(|name| !matches!(needed(name), Some(None)));
        let room = used == 0 || used + stage.load.units() <= capacity;
        if ready && room && (cargo_is_free || !stage.cargo) {
            used += stage.load.units();
            cargo_is_free &= !stage.cargo;
            found.push(Startable::Now(stage));
        }
    }
    found
}

fn start_stage<'a>(stage: &'a Stage, variables: &[(&str, String)]) -> Result<Running<'a>> {
    let path = log(stage.name);
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    let out = File::create(&path).map_err(failed)?;
    let err = out.try_clone().map_err(failed)?;
    println!("== {}: started", stage.name);
    let child = Command::new(std::env::current_exe().map_err(|e| e.to_string())?)
        .args(["test", "--one", stage.name])
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(std::process::Stdio::null())
        .stdout(out)
        .stderr(err)
        .current_dir(root())
        .spawn()
        .map_err(|e| format!("cannot start the stage {}: {e}", stage.name))?;
    Ok(Running { stage, child, since: Instant::now() })
}

fn row(stage: &Stage, outcome: Outcome, began: Duration, took: Duration) -> Row {
    let output = std::fs::read(log(stage.name)).unwrap_or_default();
    let mut tally = match outcome {
        Outcome::NotRun(_) => Tally::default(),
        _ => Tally::parse(&String::from_utf8_lossy(&output)),
    };
    // A stage that fails for another reason than a test is a failure all the same; one without tests is a test.
    match outcome {
        Outcome::Failed if tally.failed == 0 => tally.failed = 1,
        Outcome::Passed if tally.passed + tally.skipped == 0 => tally.passed = 1,
        Outcome::NotRun(needed) => {
            tally.skipped = 1;
            tally.reasons = vec![format!("{needed} failed")];
        }
        _ => {}
    }
    Row { name: stage.name, outcome, began, took, tally }
}

/// Says how the stage ended; shows all its output when it failed.
fn report_row(row: &Row) {
    let (name, took) = (row.name, row.took.as_secs_f64());
    if row.outcome == Outcome::Passed {
        println!("== {name}: {took:.0} s");
        return;
    }
    println!("== {name}: FAILED after {took:.0} s; its output:");
    println!("{}", String::from_utf8_lossy(&std::fs::read(log(name)).unwrap_or_default()).trim_end());
    println!("== end of the output of {name}");
}

/// The table of all stages, in Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut text =
        "| stage | from, s | seconds | passed | failed | skipped | why |\n|---|---|---|---|---|---|---|\n"
            .to_owned();
    for row in rows {
        let Tally { passed, failed, skipped, reasons } = &row.tally;
        let note = match &row.outcome {
            Outcome::Passed => String::new(),
            Outcome::Failed => "FAILED ".to_owned(),
            Outcome::NotRun(_) => "not run: ".to_owned(),
        };
        let (began, took) = (row.began.as_secs_f64(), row.took.as_secs_f64());
        let why = reasons.join("; ").replace('|', "\\|");
        // A String takes whatever is written to it.
        let _ = writeln!(
            text,
            "| {} | {began:.0} | {took:.0} | {passed} | {failed} | {skipped} | {note}{why} |",
            row.name
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn stage(name: &'static str, needs: &'static [&'static str], cargo: bool, load: Load) -> Stage {
        Stage { name, needs, cargo, load, work: || Ok(()) }
    }

    fn ended_row(name: &'static str, outcome: Outcome) -> Row {
        Row { name, outcome, began: Duration::ZERO, took: Duration::ZERO, tally: Tally::default() }
    }

    fn names(found: &[Startable<'_>]) -> Vec<String> {
        let name = |s: &Startable<'_>| match s {
            Startable::Now(stage) => stage.name.to_owned(),
            Startable::Never(stage, why) => format!("{} never: {why}", stage.name),
        };
        found.iter().map(name).collect()
    }

    #[test]
    fn a_stage_waits_for_what_it_needs_for_cargo_and_for_room() {
        let stages = [
            stage("build", &[], true, Load::Works),
            stage("setup", &[], false, Load::Waits),
            stage("lints", &["build"], true, Load::Works),
            stage("doc", &["build"], true, Load::Works),
            stage("scenarios", &["build", "setup"], false, Load::Waits),
            stage("callers", &["build", "setup"], false, Load::Works),
        ];
        let mut rows: Vec<Option<Row>> = stages.iter().map(|_| None).collect();
        assert_eq!(names(&find_startable(&stages, &rows, &[], 4)), ["build", "setup"]);
        rows[0] = Some(ended_row("build", Outcome::Passed));
        rows[1] = Some(ended_row("setup", Outcome::Passed));
        // doc waits for cargo, callers for room.
        assert_eq!(names(&find_startable(&stages, &rows, &[], 4)), ["lints", "scenarios"]);
        assert_eq!(names(&find_startable(&stages, &rows, &[], 5)), ["lints", "scenarios", "callers"]);
        rows[1] = Some(ended_row("setup", Outcome::Failed));
        assert_eq!(
            names(&find_startable(&stages, &rows, &[], 4)),
            ["lints", "scenarios never: setup", "callers never: setup"]
        );
    }

    #[test]
    fn a_stage_alone_needs_nothing_that_was_not_asked_for() {
        let stages = [stage("callers", &["build"], false, Load::Works)];
        assert_eq!(names(&find_startable(&stages, &[None], &[], 1)), ["callers"]);
    }
}
