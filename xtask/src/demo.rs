//! `cargo xtask demo`: a live cluster gains a standby and a cascade standby and loses a standby again, while a client
//! commits rows without pause.

use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches, Command};
use og_lab::{NodeSpec, Role};
use og_scenarios::client::{Seen, TABLE};
use og_scenarios::cluster::Cluster;
use og_scenarios::workflow::Run;

use crate::lab::{engine, engine_arg, playbook_line, programs};
use crate::shell::Result;

/// The subcommand.
pub fn command() -> Command {
    Command::new("demo")
        .about("Watch a live cluster gain a standby and a cascade standby and lose one again")
        .arg(engine_arg())
        .arg(Arg::new("keep").long("keep").action(ArgAction::SetTrue).help("Leave the lab running"))
}

const LAB: &str = "demo";
const EXPAND: [&str; 2] = ["-e", "og_add=n3,n4"];
const DROP: [&str; 2] = ["-e", "og_drop=n2"];

/// Runs the demo.
pub fn run(matches: &ArgMatches) -> Result {
    print_heading("Install and build what is missing");
    let programs = programs()?;
    let engine = engine(matches)?;
    print_heading(&format!("Bring up n1 (primary) and n2 (standby) on {engine}, and n3 and n4 beside them"));
    let nodes = vec![
        NodeSpec::new("n1", Role::Primary),
        NodeSpec::new("n2", Role::Standby),
        NodeSpec::new("n3", Role::Spare),
        NodeSpec::new("n4", Role::SpareCascade),
    ];
    let cluster = Cluster::up(LAB, engine, nodes, &programs)?;
    let shown = show_cluster(&cluster);
    if matches.get_flag("keep") {
        println!("\nThe lab is left running. Run a playbook on it:");
        println!("  {}", playbook_line(cluster.lab(), &programs, "status.yml"));
        println!("End it:\n  cargo xtask lab down --name {LAB}");
        cluster.keep();
    }
    shown
}

fn show_cluster(cluster: &Cluster) -> Result {
    table(cluster)?;
    let client = cluster.client("n1", Duration::ZERO)?;
    let began = Instant::now();
    let worked = workflows(cluster);
    let seen = client.stop().map_err(|e| format!("the client: {e}"))?;
    let [expanded, dropped] = worked?;
    print_heading("Look for every row on every member");
    cluster.wait_for_rows(&seen, &["n1", "n3", "n4"])?;
    cluster.check_at_rest(&[("n1", "primary"), ("n3", "standby"), ("n4", "cascade_standby")])?;
    print_heading("Run both workflows again: nothing is left to do");
    // n2 is gone, so what was expanded and what was dropped is still so.
    for (playbook, args) in [("expand.yml", EXPAND), ("drop.yml", DROP)] {
        let run = cluster.run_playbook(playbook, &args)?.must_work()?;
        println!("{playbook}: changed={} in {:.1} s", run.changes().len(), run.took.as_secs_f64());
        if !run.changes().is_empty() {
            return Err(format!("the second run changed {:?}\n{}", run.changes(), run.output));
        }
    }
    report(&seen, began, &expanded, &dropped)
}

fn workflows(cluster: &Cluster) -> Result<[Run; 2]> {
    print_heading("Expand: n3 as standby and n4 as cascade standby, at once");
    let expanded = cluster.run_playbook("expand.yml", &EXPAND)?.must_work()?;
    println!(
        "{} tasks, {} changes, {:.1} s",
        expanded.tasks,
        expanded.changes().len(),
        expanded.took.as_secs_f64()
    );
    table(cluster)?;
    for name in ["n3", "n4"] {
        println!("{name} holds {} rows", cluster.sql(name, &format!("select count(*) from {TABLE}"))?);
    }
    print_heading("Drop n2, the first standby");
    let dropped = cluster.run_playbook("drop.yml", &DROP)?.must_work()?;
    println!(
        "{} tasks, {} changes, {:.1} s",
        dropped.tasks,
        dropped.changes().len(),
        dropped.took.as_secs_f64()
    );
    table(cluster)?;
    Ok([expanded, dropped])
}

fn report(seen: &Seen, began: Instant, expanded: &Run, dropped: &Run) -> Result {
    let gap = |run: &Run| seen.longest_gap(run.started, run.started + run.took).as_secs_f64();
    print_heading("Report");
    println!("rows written                  {}", seen.rows());
    println!("rows lost                     0 (each was found on every member)");
    println!("failed commits                {}", seen.failures.len());
    println!(
        "expand by two                 {:.1} s, longest gap between two commits {:.3} s",
        expanded.took.as_secs_f64(),
        gap(expanded)
    );
    println!(
        "drop of one                   {:.1} s, longest gap between two commits {:.3} s",
        dropped.took.as_secs_f64(),
        gap(dropped)
    );
    let all = seen.longest_gap(began, began + Duration::from_secs(3600));
    println!("longest gap between commits   {:.3} s", all.as_secs_f64());
    match seen.failures.first() {
        None => Ok(()),
        Some(failure) => Err(format!("a commit failed: {failure}")),
    }
}

/// The cluster table, as status.yml shows it.
fn table(cluster: &Cluster) -> Result {
    cluster.run_playbook("status.yml", &[])?.must_work()?.show_table()
}

fn print_heading(what: &str) {
    println!("\n== {what}");
}
