//! As many standbys as a cluster may have, all of them in one expand: more builds than the primary's senders allow side by
//! side.

use og_lab::Role;
use og_scenarios::cluster::{Cluster, Result};

use super::{check_nothing_left, run_playbook};
use crate::Story;

pub const STORY: Story = Story {
    name: "crowd",
    nodes: &[
        ("n1", Role::Primary),
        ("n2", Role::Spare),
        ("n3", Role::Spare),
        ("n4", Role::Spare),
        ("n5", Role::Spare),
        ("n6", Role::Spare),
        ("n7", Role::Spare),
        ("n8", Role::Spare),
        ("n9", Role::Spare),
    ],
    always: 0,
    scenarios: &[
        ("eight standbys at once, by as many builds as the senders allow", eight_at_once),
        ("all but one are dropped at once", seven_dropped),
    ],
};

const STANDBYS: [&str; 8] = ["n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9"];

fn eight_at_once(c: &Cluster) -> Result {
    let add = ["-e", "og_add=n2,n3,n4,n5,n6,n7,n8,n9"];
    // OM's 16 are one short of what eight standbys, eight builds and a tool need.
    let senders = c.sql("n1", "show max_wal_senders")?;
    if senders != "16" {
        return Err(format!("the primary has {senders} senders, not OM's 16"));
    }
    let (run, seen) = run_playbook(c, "expand.yml", &add)?;
    let times = run.task_times.iter().filter(|(name, _)| name.ends_with("Build standbys")).count();
    if times != 2 {
        return Err(format!("the builds were to be made in two parts, not {times}:\n{}", run.output));
    }
    let members = [&["n1"][..], &STANDBYS].concat();
    c.wait_for_rows(&seen, &members)?;
    let roles: Vec<_> =
        [("n1", "primary")].into_iter().chain(STANDBYS.map(|name| (name, "standby"))).collect();
    c.check_at_rest(&roles)?;
    check_nothing_left(c, "expand.yml", &add)
}

fn seven_dropped(c: &Cluster) -> Result {
    let drop = ["-e", "og_drop=n2,n3,n4,n5,n6,n7,n8"];
    let (_, seen) = run_playbook(c, "drop.yml", &drop)?;
    c.wait_for_rows(&seen, &["n1", "n9"])?;
    c.check_at_rest(&[("n1", "primary"), ("n9", "standby")])?;
    check_nothing_left(c, "drop.yml", &drop)
}
