//! `cargo xtask bench workflows`: how long expand and drop take, and how long commits wait meanwhile.

use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use og_lab::{Engine, NodeSpec, Role};
use og_scenarios::cluster::Cluster;
use og_scenarios::workflow::Run;

use crate::lab::{engine, engine_arg, programs};
use crate::shell::Result;

/// The subcommand of `bench`.
pub fn command() -> Command {
    Command::new("workflows")
        .about("Expand and drop: seconds, and the longest gap between two commits")
        .arg(engine_arg())
        .arg(
            Arg::new("runs")
                .long("runs")
                .default_value("3")
                .value_parser(clap::value_parser!(u8).range(1..))
                .help("So many runs of each; the medians are shown"),
        )
        .arg(
            Arg::new("tasks")
                .long("tasks")
                .action(ArgAction::SetTrue)
                .help("Show what each task of each run took, too"),
        )
}

/// After each commit: a client without pause has the processors for itself, of which a lab has one or two for all nodes.
const PAUSE: Duration = Duration::from_millis(5);

/// One workflow to measure: the playbook, its arguments, and what brings the cluster back afterwards.
struct Step {
    title: &'static str,
    playbook: &'static str,
    args: &'static [&'static str],
}

const fn step(title: &'static str, playbook: &'static str, args: &'static [&'static str]) -> Step {
    Step { title, playbook, args }
}

/// A cluster, and what it goes through: each step begins where the one before it ended.
struct Course {
    nodes: &'static [(&'static str, Role)],
    steps: &'static [Step],
}

const BY_ONE: Step = step("expand by one standby", "expand.yml", &["-e", "og_add=n3"]);

const COURSES: &[Course] = &[
    Course {
        nodes: &[("n1", Role::Primary), ("n2", Role::Spare), ("n3", Role::Spare)],
        steps: &[
            step("from a single node ('*') to 1+1", "expand.yml", &["-e", "og_add=n2"]),
            BY_ONE,
            step("drop one of two standbys, protected", "drop.yml", &["-e", "og_drop=n3"]),
            BY_ONE,
            step(
                "drop one of two standbys, available",
                "drop.yml",
                &["-e", "og_drop=n3", "-e", "og_drop_commits=available"],
            ),
            step("expand again: nothing to do", "expand.yml", &["-e", "og_add=n2"]),
        ],
    },
    Course {
        nodes: &[
            ("n1", Role::Primary),
            ("n2", Role::Standby),
            ("n3", Role::Spare),
            ("n4", Role::SpareCascade),
        ],
        steps: &[
            step("expand by a standby and a cascade standby", "expand.yml", &["-e", "og_add=n3,n4"]),
            step(
                "drop the cascade standby, available",
                "drop.yml",
                &["-e", "og_drop=n4", "-e", "og_drop_commits=available"],
            ),
        ],
    },
];

/// The times of a step, by its title.
type Measured = Vec<(&'static str, Vec<(Duration, Duration)>)>;

/// Runs the bench and prints a table.
pub fn run(matches: &ArgMatches) -> Result {
    let programs = programs()?;
    let engine = engine(matches)?;
    let runs = usize::from(matches.get_one::<u8>("runs").copied().unwrap_or(3));
    let mut measured: Measured = Vec::new();
    for course in COURSES.iter().cycle().take(runs * COURSES.len()) {
        let nodes = course.nodes.iter().map(|(name, role)| NodeSpec::new(*name, *role)).collect();
        let cluster = Cluster::up("bench", engine, nodes, &programs)?;
        for step in course.steps {
            let times = measure(&cluster, step, matches.get_flag("tasks"))?;
            match measured.iter_mut().find(|(title, _)| *title == step.title) {
                Some((_, all)) => all.push(times),
                None => measured.push((step.title, vec![times])),
            }
        }
    }
    print(engine, runs, &measured);
    Ok(())
}

fn measure(cluster: &Cluster, step: &Step, tasks: bool) -> Result<(Duration, Duration)> {
    let client = cluster.client("n1", PAUSE)?;
    let run = cluster.play(step.playbook, step.args).and_then(Run::must_work);
    let seen = client.stop().map_err(|e| format!("the client: {e}"))?;
    let run = run?;
    if let Some(failure) = seen.failures.first() {
        return Err(format!("{}: a commit failed: {failure}", step.title));
    }
    if tasks {
        show_tasks(step.title, &run);
        if let Some(gap) = seen.gaps.first() {
            let since = gap.from.saturating_duration_since(run.started).as_secs_f64();
            println!(
                "  the longest gap, {:.3} s, began {since:.2} s after ansible-playbook did",
                gap.length.as_secs_f64()
            );
        }
    }
    Ok((run.took, seen.longest_gap(run.started, run.started + run.took)))
}

fn show_tasks(title: &str, run: &Run) {
    let seconds = |t: Duration| t.as_secs_f64();
    let within: Duration = run.task_times.iter().map(|(_, time)| *time).sum();
    println!("{title}: {:.2} s", seconds(run.took));
    println!("  {:>6.2}  ansible-playbook's own start and end", seconds(run.took.saturating_sub(within)));
    for (name, time) in &run.task_times {
        println!("  {:>6.2}  {name}", seconds(*time));
    }
}

fn print(engine: Engine, runs: usize, measured: &Measured) {
    println!("{engine}, medians of {runs} runs\n");
    println!("| workflow | seconds | longest commit gap, seconds |\n|---|---|---|");
    for (title, times) in measured {
        let (took, gap): (Vec<_>, Vec<_>) = times.iter().copied().unzip();
        println!("| {title} | {:.1} | {:.3} |", median(took).as_secs_f64(), median(gap).as_secs_f64());
    }
}

fn median(mut values: Vec<Duration>) -> Duration {
    values.sort();
    values.get(values.len() / 2).copied().unwrap_or_default()
}
