//! Hosts on which only openGauss's program files are become a cluster; a node of it is dropped, cleared and taken in again.

use std::path::PathBuf;

use og_lab::{LabNode, Role};
use og_scenarios::cluster::{Cluster, Result};
use serde_json::{Value, json};

use super::{check_nothing_left, predict_changes, require_success, run_playbook};
use crate::Story;

pub const STORY: Story = Story {
    name: "deploy",
    nodes: &[("n1", Role::Primary), ("n2", Role::Standby), ("n3", Role::Standby)],
    always: 2,
    scenarios: &[
        ("bare hosts become a cluster", bare_hosts),
        ("a dropped node is cleared, and taken in again", clear_dropped),
        ("a deployment that was killed goes on", killed),
    ],
};

/// Writes the password file of the initial user on n1.
pub(super) fn write_password(c: &Cluster) -> Result<PathBuf> {
    let n1 = c.node("n1")?;
    let file = n1.env_file.with_file_name("password");
    let text = format!("printf 'Lab_Passw0rd\\n' > {0} && chmod 600 {0}", file.display());
    let done = n1.exec(["sh", "-c", &text]).output().map_err(|e| e.to_string())?;
    if !done.status.success() {
        return Err(String::from_utf8_lossy(&done.stderr).into_owned());
    }
    Ok(file)
}

/// The password file, and the small sizes of a lab.
fn arguments(c: &Cluster) -> Result<Vec<String>> {
    let file = write_password(c)?;
    let parameters = json!({
        "max_process_memory": "2GB",
        "shared_buffers": "64MB",
        "cstore_buffers": "16MB",
        "max_connections": 100,
    });
    let vars = json!({"og_password_file": file, "og_parameters": parameters, "og_sync_standbys": "any"});
    Ok(vec!["-e".to_owned(), vars.to_string()])
}

/// Stops all servers and removes what the lab made of each node's data.
fn make_bare(c: &Cluster) -> Result {
    c.lab().nodes().iter().try_for_each(|node| remove_data(c, node))
}

/// Stops the server of a node, and removes what the lab made of its data.
pub(super) fn remove_data(c: &Cluster, node: &LabNode) -> Result {
    let stopped = json!({"state": "stopped", "stop_mode": "immediate"});
    if node.data_dir.join("postgresql.conf").exists() {
        require_success(c.module(&node.name, "og_node_state", stopped)?)?;
    }
    let conf = node.gauss_home.join("bin/cluster_static_config");
    for path in [&node.data_dir, &conf] {
        let done = node.exec(["rm".as_ref(), "-rf".as_ref(), path.as_os_str()]).output();
        done.map_err(|e| e.to_string())?;
    }
    if node.data_dir.exists() { Err(format!("{} is still there", node.data_dir.display())) } else { Ok(()) }
}

fn words(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

fn check_cluster(c: &Cluster) -> Result {
    c.check_at_rest(&[("n1", "primary"), ("n2", "standby"), ("n3", "standby")])?;
    let names = c.sync_names("n1")?;
    if !["dn_6002", "dn_6003"].iter().all(|name| names.contains(name)) {
        return Err(format!("commits shall wait for the standbys by name, but the names are '{names}'"));
    }
    for node in ["n1", "n2", "n3"] {
        let name = c.module(node, "og_guc", json!({"state": "query", "names": ["pgxc_node_name"]}))?;
        if name["after"]["pgxc_node_name"] != "dn_6001" {
            return Err(format!("{node} has another pgxc_node_name: {name}"));
        }
    }
    Ok(())
}

fn bare_hosts(c: &Cluster) -> Result {
    make_bare(c)?;
    let args = arguments(c)?;
    let args = words(&args);
    let predicted =
        c.run_playbook("deploy.yml", &[&args[..], &["--check", "--diff"]].concat())?.must_work()?;
    if predicted.changes().is_empty() || c.node("n1")?.data_dir.exists() {
        return Err("check mode shall tell what would be done, and do nothing".to_owned());
    }
    let run = c.run_playbook("deploy.yml", &args)?.must_work()?;
    println!(
        "  {}: deploy.yml: {:.1} s, {} changes",
        c.lab().engine(),
        run.took.as_secs_f64(),
        run.changes().len()
    );
    check_cluster(c)?;
    check_nothing_left(c, "deploy.yml", &args)
}

fn clear_dropped(c: &Cluster) -> Result {
    let refused = c.run_playbook("clear.yml", &["-e", "og_clear=n3"])?.must_fail()?;
    if !refused.output.contains("it is a member still") {
        return Err(format!("a member shall not be cleared:\n{}", refused.output));
    }
    run_playbook(c, "drop.yml", &["-e", "og_drop=n3"])?;
    let args = ["-e", "og_clear=n3"];
    predict_changes(c, "clear.yml", &args)?;
    run_playbook(c, "clear.yml", &args)?;
    let n3 = c.node("n3")?;
    let query = |state: Value| c.module("n3", "og_initdb", state);
    if n3.data_dir.exists() {
        return Err(format!("{} is still there", n3.data_dir.display()));
    }
    c.check_at_rest(&[("n1", "primary"), ("n2", "standby")])?;
    check_nothing_left(c, "clear.yml", &args)?;
    // By hand as expand wants it: the data directory is made, and the node's own parameters are set.
    require_success(query(json!({"node_name": "dn_6001"}))?)?;
    let own = json!({
        "listen_addresses": format!("localhost,{}", n3.address),
        "local_bind_address": n3.address,
        "port": n3.base_port,
        "max_wal_senders": 20,
        "max_process_memory": "2GB",
        "shared_buffers": "64MB",
        "cstore_buffers": "16MB",
        "max_connections": 100,
    });
    require_success(c.module("n3", "og_guc", json!({"parameters": own}))?)?;
    let (_, seen) = run_playbook(c, "expand.yml", &["-e", "og_add=n3", "-e", "og_sync_standbys=any"])?;
    c.wait_for_rows(&seen, &["n1", "n2", "n3"])?;
    check_cluster(c)
}

fn killed(c: &Cluster) -> Result {
    let args = arguments(c)?;
    let args = words(&args);
    for tasks in [6, 14, 22] {
        make_bare(c)?;
        c.run_playbook_killed("deploy.yml", &args, tasks)?;
        c.run_playbook("deploy.yml", &args)?
            .must_work()
            .map_err(|e| format!("killed after {tasks} tasks: {e}"))?;
        check_cluster(c)?;
    }
    check_nothing_left(c, "deploy.yml", &args)
}
