//! `cargo xtask test`: everything a change can break, in stages that run side by side; `--all` adds what takes long.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use clap::{Arg, ArgAction, ArgMatches};

use crate::build::{self, Linking};
use crate::setup::{self, Tools};
use crate::shell::{Result, cargo, output, root, run, target};
use crate::stage::{self, Load, Outcome, Stage};
use crate::tally::Tally;
use crate::{bench, check, collection, dist, docs, lint, python};

/// `test [STAGE ...] [--all]`.
pub fn command() -> clap::Command {
    let names: Vec<&str> = stages(true).iter().map(|stage| stage.name).collect();
    clap::Command::new("test")
        .about("Run every test and print a table: stage, seconds, tests, what was skipped and why")
        .arg(
            Arg::new("all").long("all").action(ArgAction::SetTrue).help(
                "Also what takes long, on the programs as they are shipped; writes docs/last-full-test.md",
            ),
        )
        .arg(
            Arg::new("stage")
                .num_args(0..)
                .value_parser(names.clone())
                .help("Only these stages; what they need must be there from an earlier run"),
        )
        .arg(Arg::new("one").long("one").hide(true).value_parser(names))
}

/// The stages in the order in which they begin when the machine has room.
fn stages(all: bool) -> Vec<Stage> {
    use Load::{Waits, Works};
    let stage = |name, needs, load, work| Stage { name, needs, cargo: false, load, work };
    let cargo = |name, needs, work| Stage { name, needs, cargo: true, load: Works, work };
    let mut stages = vec![
        stage("format", &[], Waits, check::format),
        cargo("build", &[], build_all),
        stage("setup", &[], Waits, || setup::for_tests().map(drop)),
        stage("salt", &["setup"], Waits, || setup::salt().map(drop)),
        // What takes longest comes first.
        stage("scenarios", &["build", "setup"], Waits, scenarios),
        cargo("unit", &["build", "setup"], check::unit_tests),
        stage("collection", &["build", "setup"], Waits, || {
            collection::package(&tools(), Linking::Dynamic).map(drop)
        }),
        stage("callers", &["collection", "salt"], Works, || {
            python::callers(&tools(), &target().join("salt/bin"), "")
        }),
        stage("playbooks", &["build", "setup"], Works, || python::playbooks(&tools())),
        stage("faults", &["build", "setup"], Works, || {
            run(executable("og_faults", "og_faults")?.env("OG_MODULES", build::folder()))
        }),
        stage("servers", &["build", "setup"], Waits, || {
            run(executable("og_lab", "engines")?.args(["--show-output", "--test-threads", "2"]))
        }),
        stage("truth", &["build", "setup"], Waits, || run(&mut executable("og_truth", "truth")?)),
        cargo("lints", &["build"], check::clippy),
        cargo("rustdoc", &["build"], check::rustdoc),
        cargo("fuzz", &["build"], check::fuzz_targets),
        stage("documents", &["build"], Waits, docs::check_built),
        stage("instructions", &["build", "setup"], Waits, bench::counts::check),
        stage("dist", &["build", "setup"], Waits, dist::check),
        stage("sanity", &["collection"], Waits, || collection::sanity(&tools())),
        stage("scripts", &["setup"], Waits, lint::check_scripts),
        stage("dependencies", &["build", "setup"], Waits, lint::check_dependencies),
    ];
    if all {
        stages.extend([
            stage("ansible-2.15", &["collection"], Works, || python::older_ansible(&tools(), "2.15")),
            stage("ansible-2.17", &["collection"], Works, || python::older_ansible(&tools(), "2.17")),
            stage("salt-story", &["build", "salt"], Waits, || salt_story("salt")),
            cargo("trees", &["build", "setup"], dist::check_trees),
            // The labs of both have one name.
            stage("salt-lts", &["salt-story", "collection"], Works, || {
                let programs = setup::salt_lts()?;
                python::callers(&tools(), &programs, "salt")?;
                salt_story("salt-lts")
            }),
        ]);
    }
    stages
}

/// Runs the stages that are asked for and prints their table.
pub fn run_all(matches: &ArgMatches) -> Result {
    let all = matches.get_flag("all");
    if let Some(name) = matches.get_one::<String>("one") {
        let found = stages(true).into_iter().find(|stage| stage.name == name);
        return found.map_or(Ok(()), |stage| (stage.work)());
    }
    let mut chosen = stages(all);
    let asked: Vec<&String> = matches.get_many("stage").into_iter().flatten().collect();
    if !asked.is_empty() {
        chosen = stages(true);
        chosen.retain(|stage| asked.iter().any(|name| **name == stage.name));
    }
    let start = Instant::now();
    let selection = Selection::new(all);
    println!("{}", selection.describe());
    let rows = stage::run_all(&chosen, &selection.variables())?;
    let mut sum = Tally::default();
    for row in &rows {
        sum.add(&row.tally);
    }
    let table = stage::table(&rows);
    let total = format!(
        "{} s in all\n\n{} passed, {} failed, {} skipped",
        start.elapsed().as_secs(),
        sum.passed,
        sum.failed,
        sum.skipped
    );
    if all && asked.is_empty() {
        write_report(&format!("{}\n\n{table}\n{total}\n", selection.describe()))?;
    }
    println!("\n{table}\n{}\n{total}", selection.describe());
    let bad: Vec<_> = rows.iter().filter(|row| row.outcome != Outcome::Passed).map(|row| row.name).collect();
    if bad.is_empty() { Ok(()) } else { Err(format!("failed: {}", bad.join(", "))) }
}

/// What is tested of what could be.
struct Selection {
    all: bool,
    /// Which third of the kill points.
    third: u64,
    /// Which third of the long stories and of the tests in Python that take turns.
    turn: u64,
    opengauss: Vec<og_lab::Installation>,
    left_out: Vec<og_lab::Installation>,
}

/// So many runs of `test` meet every kill point once.
const THIRDS: u64 = 3;

impl Selection {
    fn new(all: bool) -> Self {
        let mut opengauss = og_lab::installations();
        let mut left_out = Vec::new();
        if !all {
            // The newest with long-term support, or else the newest.
            let newest = |lts: bool| opengauss.iter().rposition(|one| one.is_lts() || !lts);
            if let Some(at) = newest(true).or_else(|| newest(false)) {
                left_out = std::mem::take(&mut opengauss);
                opengauss.push(left_out.remove(at));
            }
        }
        let number = commit_number();
        // Both change with the commit, and neither with the other: a long story meets all its kill points in the end.
        Self { all, third: number % THIRDS, turn: number / THIRDS % THIRDS, opengauss, left_out }
    }

    /// What the stages are told.
    fn variables(&self) -> Vec<(&'static str, String)> {
        let homes = self.opengauss.iter().map(|one| one.home());
        let homes = std::env::join_paths(homes).unwrap_or_default().to_string_lossy().into_owned();
        // An empty list would mean the folders in /opt; there are none then.
        let mut variables = vec![("OG_LAB_GAUSSHOME", homes)];
        variables.retain(|(_, value)| !value.is_empty());
        if self.all {
            variables.push(("OG_STAND_INS", target().join("release").display().to_string()));
        } else {
            variables.push((KILLS, format!("{}/{THIRDS}", self.third)));
            variables.push((TURN, format!("{}/{THIRDS}", self.turn)));
            variables.push(("OG_BUILT", target().join("modules-dev").display().to_string()));
            variables.push(("OG_STAND_INS", target().join("debug").display().to_string()));
        }
        variables
    }

    fn describe(&self) -> String {
        let names = |list: &[og_lab::Installation]| {
            list.iter().map(|one| one.version()).collect::<Vec<_>>().join(", ")
        };
        let mut text = match &self.opengauss[..] {
            [] => format!("openGauss: none; {}", og_lab::none_installed()),
            some => format!("openGauss: {}", names(some)),
        };
        if !self.left_out.is_empty() {
            // A String takes whatever is written to it.
            let _ = write!(text, "; only with --all: {}", names(&self.left_out));
        }
        let _ = if self.all {
            write!(text, "\nprograms: as shipped; kill points: all")
        } else {
            write!(
                text,
                "\nonly with --all: programs as shipped (here: the dev profile), the kill points and moments of a build outside of \
                 third {} of {THIRDS} (another with each commit), the scenarios and tests that take turns outside of third {} of \
                 {THIRDS}, the faults under openGauss CM, {}the tests in Python whose logic a unit test of og_workflow \
                 holds, ansible-core 2.15 and 2.17, Salt's master and minions, Salt 3006, what is released in trees of Debian 12 and 11",
                self.third + 1,
                self.turn + 1,
                if self.opengauss.is_empty() { "" } else { "the scenarios on PostgreSQL, " }
            )
        };
        text
    }
}

/// A number that each commit has another of; 0 outside of git.
fn commit_number() -> u64 {
    let hash = output(Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).current_dir(root()));
    hash.ok().and_then(|hash| u64::from_str_radix(hash.trim(), 16).ok()).unwrap_or_default()
}

/// What the stage `setup` installed.
fn tools() -> Tools {
    Tools { ansible: target().join("python/bin") }
}

/// The workflows on servers; where openGauss runs the stories, PostgreSQL need not.
fn scenarios() -> Result {
    let mut command = executable("og_scenarios", "workflows")?;
    command.env("OG_ANSIBLE", tools().ansible);
    if is_thinned() && !og_lab::installations().is_empty() {
        println!("skipped: the stories on PostgreSQL, which openGauss runs as well (cargo xtask test --all)");
        command.arg("opengauss");
    }
    run(&mut command)
}

fn salt_story(environment: &str) -> Result {
    run(executable("og_scenarios", "workflows")?
        .arg("/salt")
        .env("OG_ANSIBLE", tools().ansible)
        .env("OG_SALT", target().join(environment).join("bin")))
}

/// Whether this is a run without `--all`.
pub fn is_thinned() -> bool {
    std::env::var_os(KILLS).is_some()
}

/// The variable that chooses kill points; with `--all` it is not set.
const KILLS: &str = "OG_KILLS";
/// The variable that chooses among the scenarios and tests that take turns.
const TURN: &str = "OG_TURN";

/// Where the stage `build` leaves word of the programs of tests that it built.
fn executables_file() -> PathBuf {
    target().join("test/executables.json")
}

/// Builds everything once: programs, tests and examples. The programs are copied without their debug information to where
/// the stages take them from; with `--all` they are built as they are shipped.
fn build_all() -> Result {
    let format = "--message-format=json-render-diagnostics";
    let messages = output(
        cargo()
            .args(["build", "--quiet", "--workspace", "--all-targets", format])
            .stderr(std::process::Stdio::inherit()),
    )?;
    let mut found = BTreeMap::new();
    for message in messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()) {
        let (package, own) = (message["package_id"].as_str().unwrap_or_default(), &message["target"]);
        let (name, kind) = (own["name"].as_str().unwrap_or_default(), &own["kind"][0]);
        let is_unit_test = kind != "test" && message["profile"]["test"] == true;
        if let Some(file) = message["executable"].as_str().filter(|_| !is_unit_test) {
            found.insert(key(package_name(package), name), file.to_owned());
        }
    }
    let text = serde_json::to_string_pretty(&found).map_err(|e| e.to_string())?;
    std::fs::write(executables_file(), text).map_err(|e| format!("{}: {e}", executables_file().display()))?;
    if std::env::var_os("OG_BUILT").is_some() {
        return build::install(&target().join("debug"), &build::folder(), true);
    }
    build::release(Linking::Dynamic).map(drop)
}

/// The name in a package id: `path+file:///…/modules/og_hba#0.1.0` or `…#og_hba@0.1.0`.
fn package_name(id: &str) -> &str {
    let (path, version) = id.rsplit_once('#').unwrap_or((id, ""));
    version.split_once('@').map_or_else(|| path.rsplit('/').next().unwrap_or(path), |(name, _)| name)
}

fn key(package: &str, target: &str) -> String {
    format!("{package}/{target}")
}

/// A program that the stage `build` built, such as the tests `engines` of og_lab. It is not run by cargo, which would wait
/// for other stages.
fn executable(package: &str, target: &str) -> Result<Command> {
    let file = executables_file();
    let text = std::fs::read_to_string(&file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    let known: BTreeMap<String, String> = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let path = known.get(&key(package, target)).ok_or_else(|| format!("{package}/{target} was not built"))?;
    let mut command = Command::new(Path::new(path));
    command.current_dir(root());
    Ok(command)
}

/// Keeps the result of a full run where releases are looked after.
fn write_report(result: &str) -> Result {
    let word = |command: &mut Command| output(command).map_or_else(|e| e, |text| text.trim().to_owned());
    let git = |words: &[&str]| word(Command::new("git").args(words).current_dir(root()));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let text = format!(
        "# The last full test\n\nWritten by `cargo xtask test --all`.\n\n| | |\n|---|---|\n| date | {} |\n| commit | {}{} |\n\
         | machine | {}, {cores} cores |\n| compiler | {} |\n\n{result}",
        word(Command::new("date").args(["--utc", "+%Y-%m-%d %H:%M UTC"])),
        git(&["rev-parse", "--short=12", "HEAD"]),
        if git(&["status", "--porcelain"]).is_empty() { "" } else { ", with changes" },
        word(Command::new("uname").arg("-srm")),
        word(Command::new("rustc").arg("--version")),
    );
    let file = root().join("docs/last-full-test.md");
    std::fs::write(&file, text).map_err(|e| format!("cannot write {}: {e}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_that_is_needed_is_there_and_earlier() {
        for all in [false, true] {
            let stages = stages(all);
            for (at, stage) in stages.iter().enumerate() {
                for name in stage.needs {
                    let needed = stages.iter().position(|s| s.name == *name);
                    assert!(needed.is_some_and(|needed| needed < at), "{} needs {name}", stage.name);
                }
            }
        }
    }

    #[test]
    fn packages_are_named_by_their_ids() {
        assert_eq!(package_name("path+file:///x/modules/og_hba#0.1.0"), "og_hba");
        assert_eq!(package_name("path+file:///x/tests/lab#og_lab@0.1.0"), "og_lab");
    }
}
