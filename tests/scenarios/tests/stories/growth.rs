//! A single node grows to a primary with standbys and a cascade standby, loses them again one way or another, and ends
//! as a single node.

use og_lab::Role;
use og_scenarios::cluster::{Cluster, Result};
use serde_json::json;

use super::{check_nothing_left, predict_changes, run_playbook};
use crate::Story;

pub const STORY: Story = Story {
    name: "growth",
    nodes: &[("n1", Role::Primary), ("n2", Role::Spare), ("n3", Role::Spare), ("n4", Role::SpareCascade)],
    always: 6,
    scenarios: &[
        ("a single node gains a standby", single_to_pair),
        ("a standby and a cascade standby at once", two_at_once),
        ("drop the upstream of the cascade standby, as check mode predicts", drop_upstream),
        ("expand after the drop of the same node", expand_again),
        ("drop a dead node, finish when it is back", drop_dead),
        ("down to a single node", down_to_one),
    ],
};

fn single_to_pair(c: &Cluster) -> Result {
    let predicted = predict_changes(c, "expand.yml", &["-e", "og_add=n2"])?;
    let (run, seen) = run_playbook(c, "expand.yml", &["-e", "og_add=n2"])?;
    if predicted != run.changes() {
        return Err(format!("check mode predicted {predicted:#?}, the run did {:#?}", run.changes()));
    }
    c.wait_for_rows(&seen, &["n1", "n2"])?;
    c.check_at_rest(&[("n1", "primary"), ("n2", "standby")])?;
    check_nothing_left(c, "expand.yml", &["-e", "og_add=n2"])
}

fn two_at_once(c: &Cluster) -> Result {
    let (_, seen) = run_playbook(c, "expand.yml", &["-e", "og_add=n3,n4"])?;
    c.wait_for_rows(&seen, &["n1", "n2", "n3", "n4"])?;
    c.check_at_rest(&[("n1", "primary"), ("n2", "standby"), ("n3", "standby"), ("n4", "cascade_standby")])?;
    check_nothing_left(c, "expand.yml", &["-e", "og_add=n3,n4"])
}

/// The standby that the cascade standby streams from.
fn upstream_of_cascade(c: &Cluster) -> Result<&'static str> {
    let cascade = c.node("n4")?.instance.clone();
    for name in ["n2", "n3"] {
        let slots = c.module(name, "og_slot", json!({"state": "query"}))?;
        let slots = slots["slots"].as_array().cloned().unwrap_or_default();
        if slots.iter().any(|s| s["name"] == cascade.as_str() && s["active"] == true) {
            return Ok(name);
        }
    }
    Err("the cascade standby streams from neither standby".to_owned())
}

fn drop_upstream(c: &Cluster) -> Result {
    let victim = upstream_of_cascade(c)?;
    let left = if victim == "n2" { "n3" } else { "n2" };
    let args = ["-e".to_owned(), format!("og_drop={victim}")];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let predicted = predict_changes(c, "drop.yml", &args)?;
    let (run, seen) = run_playbook(c, "drop.yml", &args)?;
    if predicted != run.changes() {
        return Err(format!("check mode predicted {predicted:#?}, the run did {:#?}", run.changes()));
    }
    c.wait_for_rows(&seen, &["n1", left, "n4"])?;
    c.check_at_rest(&[("n1", "primary"), (left, "standby"), ("n4", "cascade_standby")])?;
    check_nothing_left(c, "drop.yml", &args)
}

fn expand_again(c: &Cluster) -> Result {
    let args = ["-e", "og_add=n2,n3", "-e", "og_sync_standbys=any", "-e", "og_sync_num=1"];
    let (_, seen) = run_playbook(c, "expand.yml", &args)?;
    c.wait_for_rows(&seen, &["n1", "n2", "n3", "n4"])?;
    c.check_at_rest(&[("n1", "primary"), ("n2", "standby"), ("n3", "standby"), ("n4", "cascade_standby")])?;
    let names = c.sync_names("n1")?;
    if !["ANY 1", "dn_6002", "dn_6003"].iter().all(|part| names.contains(part)) {
        return Err(format!(
            "commits shall wait for any one of the two standbys, but the names are '{names}'"
        ));
    }
    check_nothing_left(c, "expand.yml", &args)
}

fn drop_dead(c: &Cluster) -> Result {
    c.lab().cut("n3").map_err(|e| e.to_string())?;
    let dropped = run_playbook(c, "drop.yml", &["-e", "og_drop=n3"]);
    c.lab().reconnect("n3").map_err(|e| e.to_string())?;
    let (_, seen) = dropped?;
    let names = c.sync_names("n1")?;
    if names.contains("dn_6003") {
        return Err(format!("the dead node is still waited for: '{names}'"));
    }
    c.wait_for_rows(&seen, &["n1", "n2", "n4"])?;
    c.check_at_rest(&[("n1", "primary"), ("n2", "standby"), ("n4", "cascade_standby")])?;
    // The host is back, its server still runs: the same drop finishes the work.
    let (_, seen) = run_playbook(c, "drop.yml", &["-e", "og_drop=n3"])?;
    let node = &c.module("n3", "og_node_state", json!({"state": "query"}))?["node"];
    if node["running"] == true {
        return Err(format!("the dropped node still runs: {node}"));
    }
    c.wait_for_rows(&seen, &["n1", "n2", "n4"])?;
    check_nothing_left(c, "drop.yml", &["-e", "og_drop=n3"])
}

fn down_to_one(c: &Cluster) -> Result {
    let (_, seen) = run_playbook(c, "drop.yml", &["-e", "og_drop=n2,n4", "-e", "og_drop_commits=available"])?;
    c.wait_for_rows(&seen, &["n1"])?;
    let names = c.sync_names("n1")?;
    if !names.is_empty() {
        return Err(format!("no standby is left, but synchronous_standby_names is '{names}'"));
    }
    let result = c.module("n1", "og_slot", json!({"state": "query"}))?;
    if result["slots"].as_array().is_none_or(|s| !s.is_empty()) {
        return Err(format!("no standby is left, but slots are: {}", result["slots"]));
    }
    check_nothing_left(c, "drop.yml", &["-e", "og_drop=n2,n4"])
}
