//! Parameters of a whole cluster are changed and its nodes restarted one by one, while a client commits rows on whichever
//! node is the primary.

use og_scenarios::client::create_table;
use og_scenarios::cluster::{Cluster, Result, differing};
use og_scenarios::roaming::{Roamed, write_on_any};
use og_scenarios::shell::{Shell, Told};
use serde_json::json;

use super::FOUR_NODES;
use crate::Story;

pub const STORY: Story = Story {
    name: "rolling",
    nodes: &FOUR_NODES,
    always: 2,
    scenarios: &[
        ("what no node takes, or each has of its own, is refused", refused),
        ("max_connections is raised with one switchover, as check mode predicts", raised),
        ("killed in the middle and typed again", killed),
        ("max_connections is lowered, the primary first", lowered),
        ("a parameter that counts at once, and one that waits for a restart", at_leisure),
    ],
};

const NODES: [&str; 4] = [FOUR_NODES[0].0, FOUR_NODES[1].0, FOUR_NODES[2].0, FOUR_NODES[3].0];
const LIMIT: &str = "max_connections";

/// The primary, when there is exactly one.
fn primary(c: &Cluster) -> Result<String> {
    c.wait_until("one node is primary", || {
        let mut found = Vec::new();
        for name in NODES {
            let node = &c.module(name, "og_node_state", json!({"state": "query"}))?["node"];
            if node["running"] == true && node["role"] == "primary" {
                found.push(name.to_owned());
            }
        }
        Ok(if let [only] = &found[..] { Ok(only.clone()) } else { Err(format!("{found:?}")) })
    })
}

/// What all nodes run with.
fn check_all_run_with(c: &Cluster, name: &str, value: &str) -> Result {
    for node in NODES {
        c.wait_until(&format!("{node} runs with {name} {value}"), || {
            let now = c.sql(node, &format!("show {name}"))?;
            Ok(if now == value { Ok(()) } else { Err(now) })
        })?;
    }
    Ok(())
}

fn check_at_rest(c: &Cluster) -> Result {
    let primary = primary(c)?;
    let roles: Vec<(&str, &str)> = NODES
        .iter()
        .map(|name| {
            let role = match *name {
                name if name == primary => "primary",
                "n4" => "cascade_standby",
                _ => "standby",
            };
            (*name, role)
        })
        .collect();
    c.check_at_rest(&roles)
}

fn limit(c: &Cluster) -> Result<u64> {
    let value = c.sql(&primary(c)?, &format!("show {LIMIT}"))?;
    value.parse().map_err(|e| format!("{value}: {e}"))
}

fn show(c: &Cluster, line: &str, told: &Told, seen: &Roamed) {
    let gaps: Vec<_> = seen.gaps.iter().map(|gap| format!("{:.2}", gap.as_secs_f64())).collect();
    println!(
        "  {}: {line}: {:.1} s, {} changes, {} rows, longest gaps {} s",
        c.lab().engine(),
        told.took.as_secs_f64(),
        told.changes.len(),
        seen.rows.len(),
        gaps.join(" ")
    );
}

fn check_nothing_left(shell: &Shell, line: &str) -> Result {
    let told = shell.run(line)?.must_work()?;
    if told.changes.is_empty() {
        Ok(())
    } else {
        Err(format!("{line} again: {:#?}\n{}", told.changes, told.output))
    }
}

fn refused(c: &Cluster) -> Result {
    let shell = Shell::new(c)?;
    c.sql("n1", &create_table())?;
    check_at_rest(c)?;
    let before = c.settled_configuration()?;
    for (line, words) in [
        ("og configure listen_addresses=*", "listen_addresses is each node's own"),
        ("og configure max_connections=many", "max_connections"),
        ("og configure no_such_parameter=1", "no_such_parameter"),
        (
            "og configure max_connections=90 max_prepared_transactions=1 --configure-restart yes",
            "the other way round",
        ),
        ("og restart n9", "n9 is no host"),
    ] {
        let told = shell.run(line)?;
        if told.status != 1 || !told.output.contains(words) || !told.output.contains("nothing was changed") {
            return Err(format!("{line}: expected {words:?} and status 1, got {told:#?}"));
        }
    }
    match differing(&before, &c.configuration()?)[..] {
        [] => Ok(()),
        ref files => Err(format!("what was refused changed {files:?}")),
    }
}

fn raised(c: &Cluster) -> Result {
    let shell = Shell::new(c)?;
    let wanted = limit(c)? + 20;
    let line = format!("og configure {LIMIT}={wanted} --configure-restart yes");
    let before = c.settled_configuration()?;
    let foretold = shell.run(&format!("{line} -n"))?.must_work()?;
    if let [_, ..] = differing(&before, &c.configuration()?)[..] {
        return Err("check mode changed files".to_owned());
    }
    let (told, seen) = write_on_any(c, &NODES, || shell.run(&line)?.must_work())?;
    show(c, &line, &told, &seen);
    check_all_run_with(c, LIMIT, &wanted.to_string())?;
    check_at_rest(c)?;
    // Which slots nobody uses any more is seen after the switchover alone.
    let made = told.changes.iter().filter(|change| !change.ends_with("Drop unused replication slots"));
    if !made.eq(&foretold.changes) {
        return Err(format!("check mode foretold {:#?}, the run did {:#?}", foretold.changes, told.changes));
    }
    if primary(c)? == "n1" {
        return Err("n1 is the primary still".to_owned());
    }
    check_nothing_left(&shell, &line)?;
    check_nothing_left(&shell, "og restart")
}

fn killed(c: &Cluster) -> Result {
    let shell = Shell::new(c)?;
    let wanted = limit(c)? + 20;
    let line = format!("og configure {LIMIT}={wanted} --configure-restart yes --switch-back yes");
    let (told, seen) = write_on_any(c, &NODES, || {
        let was = primary(c)?;
        shell.run_killed(&line, "Restart the standbys")?;
        shell.run_killed(&line, "Restart the old primary")?;
        let told = shell.run(&line)?.must_work()?;
        let is = primary(c)?;
        if was == is { Ok(told) } else { Err(format!("{was} was the primary, now {is} is")) }
    })?;
    show(c, &line, &told, &seen);
    check_all_run_with(c, LIMIT, &wanted.to_string())?;
    check_at_rest(c)?;
    check_nothing_left(&shell, &line)
}

fn lowered(c: &Cluster) -> Result {
    let shell = Shell::new(c)?;
    let wanted = limit(c)? - 40;
    let line = format!("og configure {LIMIT}={wanted} --configure-restart yes");
    let was = primary(c)?;
    let (told, seen) = write_on_any(c, &NODES, || shell.run(&line)?.must_work())?;
    show(c, &line, &told, &seen);
    check_all_run_with(c, LIMIT, &wanted.to_string())?;
    check_at_rest(c)?;
    if primary(c)? != was {
        return Err(format!("{was} was restarted in place, and is no primary any more"));
    }
    check_nothing_left(&shell, &line)
}

fn at_leisure(c: &Cluster) -> Result {
    let shell = Shell::new(c)?;
    let senders = c.sql(&primary(c)?, "show max_wal_senders")?;
    let senders = senders.parse::<u64>().map_err(|e| format!("{senders}: {e}"))? + 1;
    let line = format!("og configure log_min_duration_statement=7s max_wal_senders={senders}");
    let told = shell.run(&line)?.must_work()?;
    if !told.output.contains("max_wal_senders counts only after a restart") {
        return Err(format!("that it waits is not told:\n{}", told.output));
    }
    check_all_run_with(c, "log_min_duration_statement", "7s")?;
    check_at_rest(c)?;
    check_nothing_left(&shell, &line)?;
    let (told, seen) = write_on_any(c, &NODES, || shell.run("og restart")?.must_work())?;
    show(c, "og restart", &told, &seen);
    check_all_run_with(c, "max_wal_senders", &senders.to_string())?;
    check_at_rest(c)?;
    check_nothing_left(&shell, "og restart")
}
