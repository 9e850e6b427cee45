//! The controller is killed after each task of a workflow in turn, or each program in the middle of its work on a node.
//! The next run begins from what is left, and at the end all is as if nothing had happened.

use std::collections::BTreeMap;
use std::path::PathBuf;

use og_lab::{KillPoints, Role};
use og_scenarios::client::Seen;
use og_scenarios::cluster::{Cluster, Result, differing};

use super::{check_nothing_left, configuration_of_nodes, under_load};
use crate::Story;

pub const STORY: Story = Story {
    name: "interrupted",
    nodes: &[("n1", Role::Primary), ("n2", Role::Standby), ("n3", Role::Spare)],
    always: 0,
    scenarios: &[
        ("expand killed after each task in turn", expand_killed),
        ("drop killed after each task in turn", drop_killed),
        ("expand and drop with every program killed at its work", programs_killed),
    ],
};

/// How n3 is added; the settings of commits change, too.
const ADD: &str = "og_add=n3 og_sync_standbys=any og_sync_num=1";

/// More tasks than any workflow has.
const MOST_TASKS: usize = 80;

pub(super) fn killed_after_each_task(c: &Cluster, playbook: &str, args: &[&str]) -> Result<usize> {
    let points = KillPoints::from_env()?.points_of_row(0).take_while(|tasks| *tasks < MOST_TASKS);
    for (kills, tasks) in points.enumerate() {
        let run = c.run_playbook_killed(playbook, args, tasks)?;
        if run.ok {
            return Ok(kills);
        }
        if run.tasks != tasks || run.results.iter().any(|r| r.failed) {
            return Err(format!("killed after {tasks} tasks, then began again, and failed:\n{}", run.output));
        }
    }
    Err(format!("{playbook} does not come to an end within {MOST_TASKS} tasks"))
}

fn report_kills(c: &Cluster, kills: usize, seen: &Seen) {
    let gap = seen.gaps.first().map_or(0.0, |gap| gap.length.as_secs_f64());
    println!("  {}: killed {kills} times, longest commit gap {gap:.3} s", c.lab().engine());
}

fn expand_killed(c: &Cluster) -> Result {
    let (kills, seen) = under_load(c, "n1", || killed_after_each_task(c, "expand.yml", &["-e", ADD]))?;
    report_kills(c, kills, &seen);
    c.wait_for_rows(&seen, &["n1", "n2", "n3"])?;
    c.check_at_rest(&[("n1", "primary"), ("n2", "standby"), ("n3", "standby")])?;
    check_nothing_left(c, "expand.yml", &["-e", "og_add=n3"])
}

fn drop_killed(c: &Cluster) -> Result {
    let args = ["-e", "og_drop=n3", "-e", "og_drop_commits=available"];
    let before = c.sql("n1", "show most_available_sync").unwrap_or_default();
    let (kills, seen) = under_load(c, "n1", || killed_after_each_task(c, "drop.yml", &args))?;
    report_kills(c, kills, &seen);
    c.wait_for_rows(&seen, &["n1", "n2"])?;
    c.check_at_rest(&[("n1", "primary"), ("n2", "standby")])?;
    let after = c.sql("n1", "show most_available_sync").unwrap_or_default();
    if before != after {
        return Err(format!("most_available_sync was {before} and is {after}"));
    }
    check_nothing_left(c, "drop.yml", &["-e", "og_drop=n3"])
}

/// Runs the playbook again and again, each time with some more programs that die, until it comes to its end.
fn with_deaths(c: &Cluster, playbook: &str, args: &[&str], victims: &[&str]) -> Result<usize> {
    let deaths = c.deaths(playbook)?;
    let programs = serde_json::json!({ "og_binaries": deaths.programs() }).to_string();
    let args = [args, &["-e", &programs]].concat();
    let mut before = 0;
    for runs in 1..MOST_TASKS {
        let run = c.run_playbook(playbook, &args)?;
        let (count, names) = deaths.count_deaths()?;
        if run.ok {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            println!("  {}: {playbook}: {count} deaths in {runs} runs", c.lab().engine());
            let all = KillPoints::from_env()?.are_all();
            let expected =
                if all { names == victims } else { names.iter().all(|name| victims.contains(name)) };
            return if expected { Ok(count) } else { Err(format!("only these died: {names:?}")) };
        }
        if count == before {
            return Err(format!("nothing died, and yet it failed:\n{}", run.output));
        }
        before = count;
    }
    Err(format!("{playbook} does not come to an end"))
}

fn programs_killed(c: &Cluster) -> Result {
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        println!("  skipped: no strace");
        return Ok(());
    }
    // What dies must not be taken back, or the next run would begin where this one did.
    let add: &[&str] = &["-e", ADD, "-e", "og_rollback=false"];
    let with = [("n1", "primary"), ("n2", "standby"), ("n3", "standby")];
    let drop = ["-e", "og_drop=n3"];
    // What it is to come to, undisturbed.
    c.run_playbook("expand.yml", add)?.must_work()?;
    c.check_at_rest(&with)?;
    let expanded = configuration_of_nodes(c)?;
    c.run_playbook("drop.yml", &drop)?.must_work()?;
    c.check_at_rest(&with[..2])?;
    let dropped = configuration_of_nodes(c)?;

    let writers =
        ["og_guc", "og_hba", "og_lock", "og_node_state", "og_replconninfo", "og_slot", "og_static_conf"];
    let builders =
        ["og_build", "og_guc", "og_hba", "og_lock", "og_node_state", "og_replconninfo", "og_static_conf"];
    let (_, seen) = under_load(c, "n1", || with_deaths(c, "expand.yml", add, &builders))?;
    c.wait_for_rows(&seen, &["n1", "n2", "n3"])?;
    c.check_at_rest(&with)?;
    check_same(&expanded, &configuration_of_nodes(c)?)?;
    let (_, seen) = under_load(c, "n1", || with_deaths(c, "drop.yml", &drop, &writers))?;
    c.wait_for_rows(&seen, &["n1", "n2"])?;
    c.check_at_rest(&with[..2])?;
    check_same(&dropped, &configuration_of_nodes(c)?)
}

fn check_same(undisturbed: &BTreeMap<PathBuf, Vec<u8>>, now: &BTreeMap<PathBuf, Vec<u8>>) -> Result {
    match differing(undisturbed, now)[..] {
        [] => Ok(()),
        ref files => Err(format!("not as after an undisturbed run: {files:?}")),
    }
}
