//! `cargo xtask bench workflows`: how long expand and drop take, and how long commits wait meanwhile.

use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use og_lab::{Engine, NodeSpec, Role};
use og_scenarios::cluster::Cluster;

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
}

/// One workflow to measure: the playbook, its arguments, and what brings the cluster back afterwards.
struct Step {
    title: &'static str,
    playbook: &'static str,
    args: &'static [&'static str],
}

const fn step(title: &'static str, playbook: &'static str, args: &'static [&'static str]) -> Step {
    Step { title, playbook, args }
}

/// Each ends where the next one begins, and the last where the first one began.
const STEPS: &[Step] = &[
    step("from a single node ('*') to 1+1", "expand.yml", &["-e", "og_add=n2"]),
    step("expand by one standby", "expand.yml", &["-e", "og_add=n3"]),
    step("drop one of two standbys, protected", "drop.yml", &["-e", "og_drop=n3"]),
    step("expand by a standby and a cascade standby", "expand.yml", &["-e", "og_add=n3,n4"]),
    step(
        "drop the cascade standby, available",
        "drop.yml",
        &["-e", "og_drop=n4", "-e", "og_drop_commits=available"],
    ),
    step(
        "drop one of two standbys, available",
        "drop.yml",
        &["-e", "og_drop=n3", "-e", "og_drop_commits=available"],
    ),
    step("expand again: nothing to do", "expand.yml", &["-e", "og_add=n2"]),
];

/// Runs the bench and prints a table.
pub fn run(matches: &ArgMatches) -> Result {
    let programs = programs()?;
    let engine = engine(matches);
    let runs = usize::from(matches.get_one::<u8>("runs").copied().unwrap_or(3));
    let mut measured: Vec<Vec<(Duration, Duration)>> = vec![Vec::new(); STEPS.len()];
    for _ in 0..runs {
        let nodes = vec![
            NodeSpec::new("n1", Role::Primary),
            NodeSpec::new("n2", Role::Spare),
            NodeSpec::new("n3", Role::Spare),
            NodeSpec::new("n4", Role::SpareCascade),
        ];
        let cluster = Cluster::up("bench", engine, nodes, &programs)?;
        for (step, times) in STEPS.iter().zip(&mut measured) {
            times.push(measure(&cluster, step)?);
        }
    }
    print(engine, runs, &measured);
    Ok(())
}

fn measure(cluster: &Cluster, step: &Step) -> Result<(Duration, Duration)> {
    let client = cluster.client("n1")?;
    let run = cluster.play(step.playbook, step.args).and_then(og_scenarios::workflow::Run::must_work);
    let seen = client.stop().map_err(|e| format!("the client: {e}"))?;
    let run = run?;
    if let Some(failure) = seen.failures.first() {
        return Err(format!("{}: a commit failed: {failure}", step.title));
    }
    Ok((run.took, seen.longest_gap(run.started, run.started + run.took)))
}

fn print(engine: Engine, runs: usize, measured: &[Vec<(Duration, Duration)>]) {
    println!("{engine}, medians of {runs} runs\n");
    println!("| workflow | seconds | longest commit gap, seconds |\n|---|---|---|");
    for (step, times) in STEPS.iter().zip(measured) {
        let (took, gap): (Vec<_>, Vec<_>) = times.iter().copied().unzip();
        println!("| {} | {:.1} | {:.3} |", step.title, median(took).as_secs_f64(), median(gap).as_secs_f64());
    }
}

fn median(mut values: Vec<Duration>) -> Duration {
    values.sort();
    values.get(values.len() / 2).copied().unwrap_or_default()
}
