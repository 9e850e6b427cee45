//! A cluster that openGauss CM runs: what goes through cm_ctl, and what is refused.

use og_lab::Role;
use og_scenarios::client::create_table;
use og_scenarios::cluster::{Cluster, Result};
use og_scenarios::primaries::watch_primaries;
use og_scenarios::roaming::write_on_any;
use og_scenarios::shell::{Shell, Told};
use serde_json::{Value, json};

use crate::Story;

pub const STORY: Story = Story {
    name: "cm",
    nodes: &[("n1", Role::Primary), ("n2", Role::Standby), ("n3", Role::Standby)],
    always: 3,
    scenarios: &[
        ("a standby is stopped and started by CM", stopped),
        ("og switches over and back through CM", switched),
        ("what CM decides is refused", refused),
        ("a standby is built in full by CM", built),
        ("og restarts all nodes through CM", restarted),
        ("og repairs a server in manual stop", repaired),
        ("without a majority of CM's servers, and without an agent", without_majority),
    ],
};

pub const NODES: [&str; 3] = ["n1", "n2", "n3"];

pub fn at_rest(c: &Cluster, primary: &str) -> Result {
    let role = |name| if name == primary { "primary" } else { "standby" };
    c.check_at_rest(&NODES.map(|name| (name, role(name))))
}

/// What CM says of the server of n3.
fn cm_state(c: &Cluster) -> Result<String> {
    let told = c.module("n1", "og_node_state", json!({"cm_view": true}))?;
    Ok(told["cm"]["instances"][2]["state"].as_str().unwrap_or("?").to_owned())
}

/// Runs a module that must work, and returns what it says.
pub fn work(c: &Cluster, node: &str, module: &str, args: &Value) -> Result<Value> {
    let told = c.module(node, module, args.clone())?;
    if told["failed"] == false { Ok(told) } else { Err(format!("{module} {args} on {node}: {told:#}")) }
}

/// Runs a module that must be refused for CM.
pub fn refuse(c: &Cluster, node: &str, module: &str, args: &Value, words: &str) -> Result {
    let told = c.module(node, module, args.clone())?;
    let is_so = told["error"]["reason"] == "managed_by_cm"
        && told["changed"] == false
        && told["msg"].as_str().is_some_and(|msg| msg.contains(words));
    if is_so { Ok(()) } else { Err(format!("{module} {args} on {node}: expected {words:?}, got {told:#}")) }
}

fn stopped(c: &Cluster) -> Result {
    c.sql("n1", &create_table())?;
    at_rest(c, "n1")?;
    for (wanted, seen) in [("stopped", "Manually stopped"), ("started", "Normal"), ("restarted", "Normal")] {
        let told = work(c, "n3", "og_node_state", &json!({"state": wanted}))?;
        if told["changed"] != true || told["warnings"].is_array() {
            return Err(format!("{wanted}: {told:#}"));
        }
        c.wait_until(&format!("CM sees it {seen}"), || {
            let now = cm_state(c)?;
            Ok((now == seen).then_some(()).ok_or(now))
        })?;
        let again = if wanted == "restarted" { "started" } else { wanted };
        let told = work(c, "n3", "og_node_state", &json!({"state": again}))?;
        if told["changed"] != false {
            return Err(format!("{again} again: {told:#}"));
        }
    }
    at_rest(c, "n1")
}

/// Runs a line of og by `run` while a client commits on whichever node is the primary: there may never be two, and no row may
/// be lost.
pub fn run_under_load(c: &Cluster, line: &str, run: impl FnOnce() -> Result<Told>) -> Result<Told> {
    let (told, seen) = write_on_any(c, &NODES, || watch_primaries(c, &NODES, run))?;
    let gap = seen.gaps.first().map_or(0.0, std::time::Duration::as_secs_f64);
    println!(
        "  {}: {line}: status {}, {:.1} s, {} rows, none lost, longest gap {gap:.2} s",
        c.lab().engine(),
        told.status,
        told.took.as_secs_f64(),
        seen.rows.len()
    );
    Ok(told)
}

fn type_under_load(c: &Cluster, shell: &Shell, line: &str) -> Result {
    run_under_load(c, line, || shell.run(line)?.must_work()).map(drop)
}

fn switched(c: &Cluster) -> Result {
    let shell = Shell::new(c)?;
    for to in ["n2", "n1"] {
        type_under_load(c, &shell, &format!("og switchover {to}"))?;
        at_rest(c, to)?;
    }
    Ok(())
}

fn refused(c: &Cluster) -> Result {
    let failover = json!({"state": "primary", "transition": "failover", "force": true});
    refuse(c, "n2", "og_node_state", &failover, "roles are given by cm_server")?;
    refuse(c, "n1", "og_node_state", &json!({"state": "restarted"}), "makes a standby primary")?;
    refuse(c, "n1", "og_node_state", &json!({"state": "standby", "force": true}), "roles are given")?;
    refuse(c, "n3", "og_build", &json!({"mode": "incremental"}), "no incremental build alone")?;
    let shell = Shell::new(c)?;
    for (line, words) in [("og drop n3", "gs_dropnode"), ("og failover n2", "n1")] {
        let told = shell.run(line)?;
        if told.status != 1 || !told.output.contains(words) || !told.output.contains("nothing was changed") {
            return Err(format!("{line}: expected {words:?} and status 1, got {told:#?}"));
        }
    }
    at_rest(c, "n1")
}

fn built(c: &Cluster) -> Result {
    let told = work(c, "n3", "og_build", &json!({"mode": "full"}))?;
    if told["build_status"] != "completed" || told["mode_used"] != "full" {
        return Err(format!("{told:#}"));
    }
    if work(c, "n3", "og_build", &json!({}))?["changed"] != false {
        return Err("a standby that streams was built again".to_owned());
    }
    at_rest(c, "n1")
}

fn restarted(c: &Cluster) -> Result {
    let shell = Shell::new(c)?;
    type_under_load(c, &shell, "og restart n1 n2 n3 --switch-back yes")?;
    at_rest(c, "n1")
}

fn repaired(c: &Cluster) -> Result {
    work(c, "n3", "og_node_state", &json!({"state": "stopped"}))?;
    let shell = Shell::new(c)?;
    let told = shell.run("og repair")?.must_work()?;
    if told.changes != ["n3: Start the servers"] {
        return Err(format!("{told:#?}"));
    }
    at_rest(c, "n1")
}

fn without_majority(c: &Cluster) -> Result {
    for name in ["n1", "n2"] {
        c.lab().kill_cm(name).map_err(|e| e.to_string())?;
    }
    refuse(c, "n2", "og_node_state", &json!({"state": "stopped"}), "its cm_agent does not run")?;
    c.wait_until("CM has lost its majority", || {
        let told = c.module("n3", "og_node_state", json!({"state": "primary", "check_mode": true}))?;
        let words = told["msg"].as_str().unwrap_or_default().to_owned();
        Ok((words.contains("no majority")).then_some(()).ok_or(words))
    })?;
    refuse(c, "n3", "og_node_state", &json!({"state": "primary"}), "no majority")?;
    refuse(c, "n3", "og_build", &json!({"mode": "full"}), "no majority")?;
    // The mark alone stops a server, and nothing else is needed.
    let told = work(c, "n3", "og_node_state", &json!({"state": "stopped"}))?;
    if told["node"]["running"] != false || !told["warnings"][0].to_string().contains("no majority") {
        return Err(format!("{told:#}"));
    }
    for name in ["n1", "n2"] {
        c.wait_for_state(name, if name == "n1" { "primary" } else { "standby" }, "Normal")?;
    }
    let told = c.module("n3", "og_node_state", json!({"state": "started", "timeout": 10}))?;
    if told["failed"] != true {
        return Err(format!("it got a role from nobody: {told:#}"));
    }
    c.lab().start_cm().map_err(|e| e.to_string())?;
    at_rest(c, "n1")
}
