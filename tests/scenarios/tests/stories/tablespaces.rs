//! Data in tablespaces, whose folders are named after a node: they are on every node that is added, after a failover and
//! after restarts.

use og_lab::Role;
use og_scenarios::cluster::{Cluster, Result};
use serde_json::json;

use super::run_playbook;
use crate::Story;

pub const STORY: Story = Story {
    name: "tablespaces",
    nodes: &[("n1", Role::Primary), ("n2", Role::Spare), ("n3", Role::Spare)],
    always: 0,
    scenarios: &[
        ("a cluster with a tablespace is expanded, and written to", expand),
        ("a failover keeps what is in tablespaces", failover),
        ("so does a restart of every node", restart),
        ("the old primary is built over", rebuild),
    ],
};

/// Makes a tablespace of this name on n1, and a table in it; the folder is there on every node.
fn make_tablespace(c: &Cluster, name: &str) -> Result {
    for node in c.lab().nodes() {
        let made = node.exec(["mkdir", "-m", "700", &place(c, name)?]).status().map_err(|e| e.to_string())?;
        if !made.success() {
            return Err(format!("{}: no folder for the tablespace {name}", node.name));
        }
    }
    c.sql("n1", &format!("create tablespace {name} location '{}'", place(c, name)?))?;
    c.sql("n1", &format!("create table in_{name} (n int, word text) tablespace {name}"))?;
    c.sql("n1", &format!("insert into in_{name} select i, 'before' from generate_series(1, 1000) i"))?;
    Ok(())
}

fn place(c: &Cluster, name: &str) -> Result<String> {
    Ok(c.node("n1")?.tablespace_dir.join(name).display().to_string())
}

/// What a table has: rows, their sum, and how many were updated.
fn content(c: &Cluster, node: &str, table: &str) -> Result<String> {
    c.sql(
        node,
        &format!("select count(*), sum(n), sum(case word when 'after' then 1 else 0 end) from {table}"),
    )
}

/// Waits until these nodes have the same in these tables as the primary.
fn check_same_content(c: &Cluster, primary: &str, nodes: &[&str], tables: &[&str]) -> Result {
    for table in tables {
        let wanted = content(c, primary, table)?;
        for node in nodes {
            c.wait_until(&format!("{node} has in {table} what {primary} has: {wanted}"), || {
                let has = content(c, node, table)?;
                Ok(if has == wanted { Ok(()) } else { Err(has) })
            })?;
        }
    }
    Ok(())
}

/// Writes to the pages that are there, and to new ones.
fn write(c: &Cluster, primary: &str, table: &str) -> Result {
    c.sql(primary, &format!("update {table} set word = 'after' where n % 2 = 0"))?;
    c.sql(primary, &format!("insert into {table} select i, 'new' from generate_series(2001, 4000) i"))?;
    c.sql(primary, "checkpoint")?;
    Ok(())
}

fn expand(c: &Cluster) -> Result {
    make_tablespace(c, "one")?;
    c.sql("n1", "checkpoint")?;
    run_playbook(c, "expand.yml", &["-e", "og_add=n2,n3"])?;
    c.check_at_rest(&[("n1", "primary"), ("n2", "standby"), ("n3", "standby")])?;
    check_same_content(c, "n1", &["n2", "n3"], &["in_one"])?;
    write(c, "n1", "in_one")?;
    make_tablespace(c, "two")?;
    write(c, "n1", "in_two")?;
    check_same_content(c, "n1", &["n2", "n3"], &["in_one", "in_two"])?;
    let names = ["n1", "n2", "n3"].map(|node| c.sql(node, "show pgxc_node_name"));
    match &names {
        // PostgreSQL has no such parameter, and names no folder after a node.
        [Err(_), _, _] => Ok(()),
        [Ok(first), Ok(second), Ok(third)] if first == second && second == third => Ok(()),
        _ => Err(format!("the nodes run under several names: {names:?}")),
    }
}

fn failover(c: &Cluster) -> Result {
    let wanted = [content(c, "n1", "in_one")?, content(c, "n1", "in_two")?];
    c.lab().kill_server("n1").map_err(|e| e.to_string())?;
    // For a moment it may receive from the one that dies, and is not promoted then.
    let promoted = c.wait_until("n2 takes over", || {
        let told = c.module("n2", "og_node_state", json!({"state": "primary", "transition": "failover"}))?;
        let early = told["error"]["reason"] == "primary_may_be_alive";
        Ok(if early { Err(told.to_string()) } else { Ok(told) })
    })?;
    require_success(&promoted)?;
    let has = [content(c, "n2", "in_one")?, content(c, "n2", "in_two")?];
    if has != wanted {
        return Err(format!("n1 had {wanted:?}, and n2 has {has:?}"));
    }
    c.wait_for_state("n3", "standby", "normal")?;
    write(c, "n2", "in_one")?;
    check_same_content(c, "n2", &["n3"], &["in_one", "in_two"])
}

fn restart(c: &Cluster) -> Result {
    let wanted = [content(c, "n2", "in_one")?, content(c, "n2", "in_two")?];
    for (node, role) in [("n3", "standby"), ("n2", "primary")] {
        require_success(&c.module(node, "og_node_state", json!({"state": "restarted"}))?)?;
        c.wait_for_state(node, role, "normal")?;
    }
    let has = [content(c, "n2", "in_one")?, content(c, "n2", "in_two")?];
    if has != wanted {
        return Err(format!("before the restart n2 had {wanted:?}, now it has {has:?}"));
    }
    check_same_content(c, "n2", &["n3"], &["in_one", "in_two"])
}

fn rebuild(c: &Cluster) -> Result {
    require_success(&c.module("n1", "og_build", json!({"mode": "full", "force": true}))?)?;
    c.wait_for_state("n1", "standby", "normal")?;
    write(c, "n2", "in_two")?;
    check_same_content(c, "n2", &["n1", "n3"], &["in_one", "in_two"])
}

fn require_success(result: &serde_json::Value) -> Result {
    if result["failed"] == true { Err(result.to_string()) } else { Ok(()) }
}
