//! Faults, CM itself and persons in the middle of a workflow on a cluster that openGauss CM runs: while a client commits rows,
//! there are never two primaries, no row is lost, and the same words go on.

use std::process::Stdio;
use std::time::Duration;

use og_lab::Role;
use og_scenarios::client::create_table;
use og_scenarios::cluster::{Cluster, Result};
use og_scenarios::shell::{Shell, Told};
use serde_json::json;

use super::cm::{NODES, at_rest, refuse, run_under_load, work};
use crate::Story;

pub const STORY: Story = Story {
    name: "cm_faults",
    nodes: &[("n1", Role::Primary), ("n2", Role::Standby), ("n3", Role::Standby)],
    always: 0,
    scenarios: &[
        ("the standby dies that is to take over", standby_dies),
        ("the primary dies that is to hand over", primary_dies),
        ("servers die in a rolling restart", servers_die),
        ("cm_server's primary dies in a switchover", cm_server_dies),
        ("agents die in a switchover and in a rolling restart", agents_die),
        ("two of three cm_servers go down in a switchover", majority_goes),
        ("CM is paused before a workflow", paused_before),
        ("CM is paused in the middle of a workflow", paused_during),
        ("CM is resumed in the middle of a workflow", resumed_during),
        ("a node in manual stop is left to CM, and a cluster is not", in_manual_stop),
    ],
};

/// A cm_agent that was killed while it stopped a server may need a minute until it stops it.
const CM_PATIENCE: Duration = Duration::from_secs(180);
/// A step of every switchover before anything is changed.
const BEFORE: &str = "Wait until the standby has caught up";
const SWITCH: &str = "Switch over";
const RESTART: &str = "Restart the standbys";

/// Runs a command of cm_ctl as a person does.
fn cm_ctl(c: &Cluster, node: &str, words: &[&str]) -> Result {
    let argv = ["cm_ctl"].iter().chain(words);
    let done = c.node(node)?.exec(argv).stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
    if done.status.success() {
        return Ok(());
    }
    let words = words.join(" ");
    Err(format!("cm_ctl {words} on {node}: {}{}", String::from_utf8_lossy(&done.stdout), done.status))
}

/// Waits until a program with these words runs on the node.
fn await_command(c: &Cluster, node: &str, words: &str) -> Result {
    c.wait_within(CM_PATIENCE, &format!("{words} runs on {node}"), || {
        let found = c.node(node)?.exec(["pgrep", "-f", words]).output().map_err(|e| e.to_string())?;
        Ok(if found.status.success() { Ok(()) } else { Err("it does not".to_owned()) })
    })
}

fn kill_server(c: &Cluster, node: &str) -> Result {
    c.wait_until(&format!("a server runs on {node} that can be killed"), || {
        Ok(c.lab().kill_server(node).map_err(|e| e.to_string()))
    })
}

fn kill(c: &Cluster, node: &str, program: &str) -> Result {
    c.lab().kill_cm_program(node, program).map_err(|e| e.to_string())
}

/// The node whose cm_server is the primary.
fn cm_primary(c: &Cluster) -> Result<String> {
    let told = work(c, "n1", "og_node_state", &json!({"cm_view": true}))?;
    let servers = told["cm"]["servers"].as_array().cloned().unwrap_or_default();
    let primary = servers.iter().find(|server| server["state"] == "Primary");
    primary.and_then(|it| it["node"].as_str()).map(str::to_owned).ok_or_else(|| format!("{told:#}"))
}

/// Waits until CM and the servers agree that all is well, and returns who is the primary.
fn settle(c: &Cluster) -> Result<String> {
    c.wait_until("CM calls the cluster Normal, and one server is primary", || {
        let told = c.module("n1", "og_node_state", json!({"cm_view": true}))?;
        if told["cm"]["cluster_state"] != "Normal" {
            return Ok(Err(told["cm"].to_string()));
        }
        let mut primaries = Vec::new();
        for name in NODES {
            let node = &c.module(name, "og_node_state", json!({}))?["node"];
            match (node["role"].as_str(), node["db_state"].as_str()) {
                (Some("primary"), Some("normal")) => primaries.push(name.to_owned()),
                (Some("standby"), Some("normal")) => {}
                _ => return Ok(Err(format!("{name}: {} {}", node["role"], node["db_state"]))),
            }
        }
        match &primaries[..] {
            [one] => Ok(Ok(one.clone())),
            _ => Ok(Err(format!("primaries {primaries:?}"))),
        }
    })
}

/// Types a line of og while a client commits on whichever node is the primary, and lets this happen at a step of it; `then` is
/// done before CM is waited for.
fn disturb(
    c: &Cluster,
    line: &str,
    step: &str,
    fault: impl FnOnce() -> Result,
    then: impl FnOnce() -> Result,
) -> Result<Told> {
    c.sql(&settle(c)?, &create_table())?;
    let shell = Shell::new(c)?;
    let told = run_under_load(c, line, || {
        let told = shell.run_disturbed(line, step, fault)?;
        then()?;
        settle(c).map_err(|why| format!("{why}; {line}: {}", told.output))?;
        Ok(told)
    })?;
    if told.status != 0 {
        println!("{}", told.output);
    }
    Ok(told)
}

/// What og may say of a switchover that was disturbed: nobody is left to guess.
const ENDS: [&str; 3] = ["old_roles_hold", "other_primary", "under_way"];

/// A switchover that was disturbed has done what it says, or says how it ended, and the same words go on.
fn goes_on(c: &Cluster, told: &Told, to: &str) -> Result {
    let now = settle(c)?;
    if told.status == 0 && now != to {
        return Err(format!("og said that {to} is the primary, and it is {now}: {}", told.output));
    }
    let says = |end: &str| told.output.contains(&format!("og explain {end} says more"));
    // Before the order nothing has begun that could have ended otherwise.
    let is_ordered = told.output.contains(SWITCH);
    if told.status != 0 && is_ordered && !ENDS.into_iter().any(says) {
        return Err(format!("og does not say how the switchover to {to} ended: {}", told.output));
    }
    Shell::new(c)?.run(&format!("og switchover {to}"))?.must_work()?;
    at_rest(c, to)
}

fn must_have_worked(told: &Told) -> Result {
    told.clone().must_work().map(drop)
}

fn standby_dies(c: &Cluster) -> Result {
    let fault = || {
        await_command(c, "n2", "cm_ctl switchover")?;
        kill_server(c, "n2")
    };
    let told = disturb(c, "og switchover n2", SWITCH, fault, || Ok(()))?;
    goes_on(c, &told, "n2")?;
    // Right before the order.
    let told = disturb(c, "og switchover n1", BEFORE, || kill_server(c, "n1"), || Ok(()))?;
    goes_on(c, &told, "n1")
}

fn primary_dies(c: &Cluster) -> Result {
    let fault = || {
        await_command(c, "n2", "cm_ctl switchover")?;
        kill_server(c, "n1")
    };
    let told = disturb(c, "og switchover n2", SWITCH, fault, || Ok(()))?;
    goes_on(c, &told, "n2")?;
    let told = disturb(c, "og switchover n1", BEFORE, || kill_server(c, "n2"), || Ok(()))?;
    goes_on(c, &told, "n1")
}

fn servers_die(c: &Cluster) -> Result {
    let fault = || {
        await_command(c, "n2", "cm_ctl stop")?;
        kill_server(c, "n3")
    };
    must_have_worked(&disturb(c, "og restart n2 n3", RESTART, fault, || Ok(()))?)?;
    let fault = || {
        await_command(c, "n3", "cm_ctl start")?;
        kill_server(c, "n3")
    };
    must_have_worked(&disturb(c, "og restart n3", RESTART, fault, || Ok(()))?)?;
    at_rest(c, "n1")
}

fn cm_server_dies(c: &Cluster) -> Result {
    let primary = cm_primary(c)?;
    let fault = || {
        await_command(c, "n2", "cm_ctl switchover")?;
        kill(c, &primary, "cm_server")
    };
    let told = disturb(c, "og switchover n2", SWITCH, fault, || Ok(()))?;
    goes_on(c, &told, "n2")?;
    // Another one is its primary by the time of the order.
    let primary = cm_primary(c)?;
    let told = disturb(c, "og switchover n1", BEFORE, || kill(c, &primary, "cm_server"), || Ok(()))?;
    must_have_worked(&told)?;
    at_rest(c, "n1")
}

fn agents_die(c: &Cluster) -> Result {
    // om_monitor has started it again by the time of the order, or a moment later.
    let told = disturb(c, "og switchover n2", BEFORE, || kill(c, "n2", "cm_agent"), || Ok(()))?;
    must_have_worked(&told)?;
    let fault = || {
        await_command(c, "n1", "cm_ctl switchover")?;
        kill(c, "n2", "cm_agent")?;
        kill(c, "n1", "cm_agent")
    };
    let told = disturb(c, "og switchover n1", SWITCH, fault, || Ok(()))?;
    goes_on(c, &told, "n1")?;
    let fault = || {
        await_command(c, "n2", "cm_ctl stop")?;
        kill(c, "n2", "cm_agent")?;
        await_command(c, "n2", "cm_ctl start")?;
        kill(c, "n2", "cm_agent")
    };
    must_have_worked(&disturb(c, "og restart n2", RESTART, fault, || Ok(()))?)?;
    at_rest(c, "n1")
}

fn majority_goes(c: &Cluster) -> Result {
    let fault = || {
        await_command(c, "n2", "cm_ctl switchover")?;
        for name in ["n1", "n3"] {
            c.lab().kill_cm(name).map_err(|e| e.to_string())?;
        }
        Ok(())
    };
    let start = || c.lab().start_cm().map_err(|e| e.to_string());
    let told = disturb(c, "og switchover n2", SWITCH, fault, start)?;
    goes_on(c, &told, "n2")?;
    // A rolling restart goes no further than the node that it is at. The cm_server that is left is not their primary: that
    // one gives a role still, until it notices.
    let (node, others) = if cm_primary(c)? == "n1" { ("n3", ["n1", "n2"]) } else { ("n1", ["n2", "n3"]) };
    let fault = || {
        await_command(c, node, "cm_ctl stop")?;
        others.iter().try_for_each(|name| c.lab().kill_cm(name).map_err(|e| e.to_string()))
    };
    let restart = format!("og restart {node}");
    let told = disturb(c, &restart, RESTART, fault, start)?;
    if told.status != 1 || !told.output.contains("no majority") {
        return Err(format!("{told:#?}"));
    }
    Shell::new(c)?.run(&restart)?.must_work()?;
    Shell::new(c)?.run("og switchover n1")?.must_work()?;
    at_rest(c, "n1")
}

fn paused_before(c: &Cluster) -> Result {
    cm_ctl(c, "n1", &["pause"])?;
    let status = Shell::new(c)?.run("og status")?;
    if !status.output.contains("CM is paused") {
        return Err(format!("{status:#?}"));
    }
    // The other standby would stay with the old primary.
    let primary = json!({"state": "primary"});
    refuse(c, "n2", "og_node_state", &primary, "the other standbys stay with the old primary")?;
    let told = Shell::new(c)?.run("og switchover n2")?;
    if told.status == 0 || !told.changes.is_empty() || !told.output.contains("resume CM (cm_ctl resume)") {
        return Err(format!("{told:#?}"));
    }
    must_have_worked(&disturb(c, "og restart n2 n3", RESTART, || Ok(()), || Ok(()))?)?;
    at_rest(c, "n1")?;
    cm_ctl(c, "n1", &["resume"])?;
    for to in ["n2", "n1"] {
        let told = disturb(c, &format!("og switchover {to}"), SWITCH, || Ok(()), || Ok(()))?;
        must_have_worked(&told)?;
        at_rest(c, to)?;
    }
    Ok(())
}

fn paused_during(c: &Cluster) -> Result {
    let (pause, resume) = (|| cm_ctl(c, "n3", &["pause"]), || cm_ctl(c, "n3", &["resume"]));
    // The pause comes before the order, which is refused then, or after it.
    let told = disturb(c, "og switchover n2", BEFORE, pause, resume)?;
    goes_on(c, &told, "n2")?;
    let at_order = || {
        await_command(c, "n1", "cm_ctl switchover")?;
        pause()
    };
    let told = disturb(c, "og switchover n1", SWITCH, at_order, resume)?;
    goes_on(c, &told, "n1")?;
    let fault = || {
        await_command(c, "n2", "cm_ctl stop")?;
        pause()
    };
    let told = disturb(c, "og restart n2", RESTART, fault, resume)?;
    if told.status != 0 && !told.output.contains("CM is paused") {
        return Err(format!("{told:#?}"));
    }
    Shell::new(c)?.run("og restart n2")?.must_work()?;
    at_rest(c, "n1")
}

fn resumed_during(c: &Cluster) -> Result {
    cm_ctl(c, "n3", &["pause"])?;
    let fault = || {
        await_command(c, "n3", "gs_ctl (stop|start)")?;
        cm_ctl(c, "n3", &["resume"])
    };
    let told = disturb(c, "og restart n3", RESTART, fault, || Ok(()))?;
    println!("  og restart n3 with CM resumed in its middle: status {}", told.status);
    Shell::new(c)?.run("og restart n3")?.must_work()?;
    at_rest(c, "n1")
}

fn in_manual_stop(c: &Cluster) -> Result {
    cm_ctl(c, "n1", &["stop", "-n", "3"])?;
    let started = json!({"state": "started", "role": "standby"});
    refuse(c, "n3", "og_node_state", &started, "CM may run the rest of the cluster")?;
    refuse(c, "n3", "og_build", &json!({"mode": "full"}), "CM may run the rest of the cluster")?;
    let told = Shell::new(c)?.run("og repair")?;
    if !told.output.contains("cm_ctl start -n 3") || !told.changes.is_empty() {
        return Err(format!("{told:#?}"));
    }
    // Of other nodes cm_ctl counts lines that only OM's own pssh prints, and gives up when all is done.
    drop(cm_ctl(c, "n1", &["start", "-n", "3", "-t", "20"]));
    settle(c)?;
    drop(cm_ctl(c, "n1", &["stop", "-t", "20"]));
    for name in NODES {
        c.wait_until(&format!("no cm_agent runs on {name}"), || {
            let managed = &c.module(name, "og_node_state", json!({}))?["node"]["managed_by"];
            let is_so = managed["agent"].is_null() && managed["cluster_stopped"] == true;
            Ok(is_so.then_some(()).ok_or(managed.to_string()))
        })?;
    }
    work(c, "n1", "og_node_state", &json!({"state": "started", "role": "primary"}))?;
    work(c, "n1", "og_node_state", &json!({"state": "stopped"}))?;
    // On one node CM is back, which has no majority; no other one is started beside it.
    cm_ctl(c, "n2", &["start", "-n", "2"])?;
    c.wait_until("a cm_server is up", || {
        let told = c.module(
            "n1",
            "og_node_state",
            json!({"state": "started", "role": "primary", "check_mode": true}),
        )?;
        let words = told["msg"].as_str().unwrap_or_default().to_owned();
        Ok((told["error"]["reason"] == "managed_by_cm").then_some(()).ok_or(words))
    })?;
    drop(cm_ctl(c, "n1", &["start", "-t", "20"]));
    settle(c)?;
    at_rest(c, "n1")
}
