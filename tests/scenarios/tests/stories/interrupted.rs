//! The controller is killed after each task of a workflow in turn. The next run begins from what is left, and at the
//! end all is as if nothing had happened.

use og_lab::Role;
use og_scenarios::client::Seen;
use og_scenarios::cluster::{Cluster, Result};

use super::{nothing_left, under_load};
use crate::Story;

pub const STORY: Story = Story {
    name: "interrupted",
    nodes: &[("n1", Role::Primary), ("n2", Role::Standby), ("n3", Role::Spare)],
    scenarios: &[
        ("expand killed after each task in turn", expand_killed),
        ("drop killed after each task in turn", drop_killed),
    ],
};

/// More tasks than any workflow has.
const MOST_TASKS: usize = 80;

fn killed_after_each_task(c: &Cluster, playbook: &str, args: &[&str]) -> Result<usize> {
    for tasks in 1..MOST_TASKS {
        let run = c.play_killed(playbook, args, tasks)?;
        if run.ok {
            return Ok(tasks - 1);
        }
        if run.tasks != tasks || run.results.iter().any(|r| r.failed) {
            return Err(format!("killed after {tasks} tasks, then began again, and failed:\n{}", run.output));
        }
    }
    Err(format!("{playbook} does not come to an end within {MOST_TASKS} tasks"))
}

fn tell(c: &Cluster, kills: usize, seen: &Seen) {
    let gap = seen.gaps.first().map_or(0.0, |gap| gap.length.as_secs_f64());
    println!("  {}: killed {kills} times, longest commit gap {gap:.3} s", c.lab().engine());
}

fn expand_killed(c: &Cluster) -> Result {
    let (kills, seen) =
        under_load(c, "n1", || killed_after_each_task(c, "expand.yml", &["-e", "og_add=n3"]))?;
    tell(c, kills, &seen);
    c.all_hold(&seen, &["n1", "n2", "n3"])?;
    c.at_rest(&[("n1", "primary"), ("n2", "standby"), ("n3", "standby")])?;
    nothing_left(c, "expand.yml", &["-e", "og_add=n3"])
}

fn drop_killed(c: &Cluster) -> Result {
    let args = ["-e", "og_drop=n3", "-e", "og_drop_commits=available"];
    let before = c.sql("n1", "show most_available_sync").unwrap_or_default();
    let (kills, seen) = under_load(c, "n1", || killed_after_each_task(c, "drop.yml", &args))?;
    tell(c, kills, &seen);
    c.all_hold(&seen, &["n1", "n2"])?;
    c.at_rest(&[("n1", "primary"), ("n2", "standby")])?;
    let after = c.sql("n1", "show most_available_sync").unwrap_or_default();
    if before != after {
        return Err(format!("most_available_sync was {before} and is {after}"));
    }
    nothing_left(c, "drop.yml", &["-e", "og_drop=n3"])
}
