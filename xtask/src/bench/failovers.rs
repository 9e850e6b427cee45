//! How long a failover and the repair of the old primary take.

use std::time::{Duration, Instant};

use og_lab::{Engine, NodeSpec, Role};
use og_scenarios::cluster::{Cluster, Programs};
use og_scenarios::roaming::write_when_possible;
use og_scenarios::shell::Shell;
use serde_json::{Value, json};

use super::Depth;
use super::workflows::{Measured, record_value};
use crate::shell::Result;

/// Seconds from the first look until it is proved that the primary is lost.
const PROOF_LIMIT_SECONDS: f64 = 10.0;
/// Seconds from then on until somebody can commit.
const WRITABLE_LIMIT_SECONDS: f64 = 3.0;
/// Seconds of an incremental repair of a small divergence.
const REPAIR_LIMIT_SECONDS: f64 = 8.0;

/// A primary that is killed is replaced by og, and taken in again: once with nothing that only it holds, once with a table
/// that it wrote alone.
pub fn measure(programs: &Programs, engine: Engine, depth: Depth, measured: &mut Measured) -> Result {
    let nodes = ["n1", "n2", "n3"].into_iter().zip([Role::Primary, Role::Standby, Role::Standby]);
    let nodes = nodes.map(|(name, role)| NodeSpec::new(name, role)).collect();
    let cluster = Cluster::up("bench", engine, nodes, programs)?;
    cluster.sql("n1", &og_scenarios::client::create_table())?;
    for _ in 0..depth.choose(3, 1) {
        cluster.lab().kill_server("n1").map_err(|e| e.to_string())?;
        fail_over(&cluster, "n2", &["n2", "n3"], measured)?;
        let took = repair(&cluster, "og repair", "n1")?;
        record_value(measured, "og repair of an old primary that holds nothing alone".to_owned(), None, took);
        // Nobody receives what n2 commits now.
        cluster.lab().cut("n2").map_err(|e| e.to_string())?;
        wait_for_detached(&cluster, &["n1", "n3"])?;
        let alone = "drop table if exists og_alone; set synchronous_commit = local; \
                     create table og_alone as select generate_series(1, 1000) as n";
        cluster.sql("n2", alone)?;
        cluster.lab().kill_server("n2").map_err(|e| e.to_string())?;
        cluster.lab().reconnect("n2").map_err(|e| e.to_string())?;
        fail_over(&cluster, "n1", &["n1", "n3"], measured)?;
        let took = repair(&cluster, "og repair n2 --repair-force yes", "n2")?;
        let title = "og repair of an old primary that wrote a table alone (incremental)";
        record_value(measured, title.to_owned(), Some(REPAIR_LIMIT_SECONDS), took);
    }
    Ok(())
}

/// A failover to the node, while a client tries to commit there.
fn fail_over(cluster: &Cluster, to: &str, survivors: &[&str], measured: &mut Measured) -> Result {
    wait_for_detached(cluster, survivors)?;
    let shell = Shell::new(cluster)?;
    let ((begun, told), seen) = write_when_possible(cluster, &[to], || {
        let begun = Instant::now();
        let told = shell.run(&format!("og failover {to} --failover-force yes --json"))?.must_work()?;
        cluster.wait_for_state(to, "primary", "Normal")?;
        Ok((begun, told))
    })?;
    let proved = step_begin(&told.output, "Fail over")?;
    record_value(
        measured,
        "og failover: until the loss is proved".to_owned(),
        Some(PROOF_LIMIT_SECONDS),
        proved,
    );
    let first = seen.first.map_or(Duration::MAX, |first| first.saturating_duration_since(begun + proved));
    let title = "og failover: from then until somebody can commit";
    record_value(measured, title.to_owned(), Some(WRITABLE_LIMIT_SECONDS), first);
    record_value(measured, "og failover: all of it".to_owned(), None, told.took);
    Ok(())
}

/// How long after the beginning of the run this step began.
fn step_begin(events: &str, step: &str) -> Result<Duration> {
    let lines = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut begin = lines.filter(|event| event["event"] == "step" && event["step"] == step);
    let begin = begin.find_map(|event| event["elapsed_ms"].as_u64());
    begin.map(Duration::from_millis).ok_or_else(|| format!("og tells no step {step:?}:\n{events}"))
}

fn repair(cluster: &Cluster, line: &str, node: &str) -> Result<Duration> {
    let told = Shell::new(cluster)?.run(line)?.must_work()?;
    cluster.wait_for_state(node, "standby", "Normal")?;
    Ok(told.took)
}

/// Waits until none of them receives any more.
fn wait_for_detached(cluster: &Cluster, nodes: &[&str]) -> Result {
    cluster.wait_until("no standby receives", || {
        for node in nodes {
            if cluster.module(node, "og_node_state", json!({}))?["node"]["receiver"].is_object() {
                return Ok(Err(format!("{node} does")));
            }
        }
        Ok(Ok(()))
    })
}
