//! A build that is broken off in its middle: its gs_ctl killed, its network cut, its primary lost. It is told for what it
//! is, the next og_build makes the node stream again, and the primary never notices. And the samples of results, for which a
//! build is needed.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use og_lab::Role;
use og_scenarios::cluster::{Cluster, Result};
use serde_json::{Value, json};

use super::{has_sample_keys, under_load};
use crate::Story;

pub const STORY: Story = Story {
    name: "builds",
    nodes: &[("n1", Role::Primary), ("n2", Role::Standby)],
    always: 2,
    scenarios: &[
        ("a full build whose gs_ctl is killed is begun again", full_killed),
        ("a full build whose network is cut is begun again", full_cut),
        ("an incremental build whose gs_ctl is killed is carried on", incremental_killed),
        ("an incremental build whose network is cut is carried on", incremental_cut),
        ("of two og_build at once one is told of the other", two_at_once),
        ("a full build whose primary is lost waits for it to be back", full_primary_lost),
        ("an incremental build whose primary is lost waits for it to be back", incremental_primary_lost),
    ],
};

/// Between two looks at what must not be missed.
const GLANCE: Duration = Duration::from_millis(1);

/// Seconds without progress after which og_build gives up: more than a primary takes to begin.
const STALL: u32 = 8;

/// The moment at which a build is broken off.
type Moment = fn(&Path) -> bool;

/// The node's data is being replaced.
fn is_copying(data: &Path) -> bool {
    data.join("build_completed.start").exists()
}

/// A gs_ctl builds.
fn is_building(data: &Path) -> bool {
    find_builder(data).is_some()
}

/// The gs_ctl that builds this node, as gs_build.pid says and /proc confirms.
pub(super) fn find_builder(data: &Path) -> Option<i32> {
    let pid: i32 = std::fs::read_to_string(data.join("gs_build.pid")).ok()?.trim().parse().ok()?;
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|_| pid > 0)?;
    words.split(|b| *b == 0).next()?.ends_with(b"gs_ctl").then_some(pid)
}

/// Runs og_build on n2 and does this at that moment of it; returns what og_build said.
fn disturb_build(
    c: &Cluster,
    args: Value,
    moment: Moment,
    act: impl FnOnce(&Path) -> Result,
) -> Result<Value> {
    let data = c.node("n2")?.data_dir.clone();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let build = scope.spawn(|| {
            let result = c.module("n2", "og_build", args);
            ended.store(true, Ordering::SeqCst);
            result
        });
        let mut hit = Err("og_build ended before the moment came".to_owned());
        while !ended.load(Ordering::SeqCst) {
            if moment(&data) {
                hit = act(&data);
                break;
            }
            std::thread::sleep(GLANCE);
        }
        let result = build.join().unwrap_or_else(|_| Err("the build's thread panicked".to_owned()))?;
        hit.map(|()| result.clone()).map_err(|e| format!("{e}: {result}"))
    })
}

fn kill_builder(data: &Path) -> Result {
    let pid = find_builder(data).ok_or("no gs_ctl builds")?;
    kill(Pid::from_raw(pid), Signal::SIGKILL).map_err(|e| format!("kill {pid}: {e}"))
}

/// og_build failed, and the node is told to be no standby that streams.
fn must_fail(c: &Cluster, result: &Value) -> Result {
    let state = c.module("n2", "og_build", json!({"state": "query"}))?;
    if result["failed"] != true || state["build_status"] != "failed" && state["build_status"] != "running" {
        return Err(format!("a build that was broken off: {result}\nafterwards: {state}"));
    }
    Ok(())
}

/// The next og_build makes the node stream, and one more finds nothing to do.
fn check_rebuild(c: &Cluster) -> Result {
    let built = c.wait_until("og_build makes the node stream again", || {
        let built = c.module("n2", "og_build", json!({"stall_timeout": 60}))?;
        // What was broken off may take a moment to end.
        Ok(if built["error"]["kind"] == "busy" { Err(built.to_string()) } else { Ok(built) })
    })?;
    if built["failed"] == true {
        return Err(format!("the next og_build: {built}"));
    }
    c.check_at_rest(&[("n1", "primary"), ("n2", "standby")])?;
    match c.module("n2", "og_build", json!({}))? {
        again if again["changed"] == false => Ok(()),
        again => Err(format!("og_build of a node that streams: {again}")),
    }
}

/// Does this while a client commits on the primary, for which nothing may change: its rules and parameters, and no
/// commit fails. n2 is not waited for.
fn check_unharmed(c: &Cluster, work: impl FnOnce() -> Result) -> Result {
    let nobody = json!({"parameters": {"synchronous_standby_names": ""}});
    let set = c.module("n1", "og_guc", nobody)?;
    if set["failed"] == true {
        return Err(set.to_string());
    }
    let own = |c: &Cluster| -> Result<_> {
        let data = &c.node("n1")?.data_dir;
        let read = |name: &str| std::fs::read(data.join(name)).map_err(|e| format!("{name}: {e}"));
        Ok((read("pg_hba.conf")?, read("postgresql.conf")?))
    };
    let before = own(c)?;
    let ((), seen) = under_load(c, "n1", work)?;
    if before != own(c)? {
        return Err("the primary's files were changed".to_owned());
    }
    c.wait_for_rows(&seen, &["n1", "n2"])
}

fn full_killed(c: &Cluster) -> Result {
    check_unharmed(c, || {
        let result = disturb_build(c, json!({"mode": "full"}), is_copying, kill_builder)?;
        must_fail(c, &result)?;
        let data = c.node("n2")?.data_dir.clone();
        if !is_copying(&data) {
            return Err("build_completed.start is gone after the kill".to_owned());
        }
        let node = &c.module("n2", "og_node_state", json!({"state": "query"}))?["node"];
        if node["build"]["interrupted"] != true || node["build"]["running"] == true {
            return Err(format!("a build that died is not told: {node}"));
        }
        check_rebuild(c)
    })
}

/// Cuts n2 off at this moment of its build, until og_build has given up.
fn cut_off(c: &Cluster, mode: &str, moment: Moment) -> Result {
    check_unharmed(c, || {
        let args = json!({"mode": mode, "stall_timeout": STALL, "timeout": 60});
        let cut = |_: &Path| c.lab().cut("n2").map_err(|e| e.to_string());
        let result = disturb_build(c, args, moment, cut);
        c.lab().reconnect("n2").map_err(|e| e.to_string())?;
        // The kernel remembers for some seconds that nobody answered at that address.
        let (node, primary) = (c.node("n2")?, &c.node("n1")?.address);
        let knock = format!("exec 3<>/dev/tcp/{primary}/22");
        c.wait_until("n1 can be reached again", || {
            let asked =
                node.exec(["timeout", "2", "bash", "-c", &knock]).output().map_err(|e| e.to_string())?;
            let said = String::from_utf8_lossy(&asked.stderr).into_owned();
            Ok(asked.status.success().then_some(()).ok_or(said))
        })?;
        let result = result?;
        if result["failed"] != true {
            return Err(format!("a build without a network: {result}"));
        }
        check_rebuild(c)
    })
}

fn full_cut(c: &Cluster) -> Result {
    cut_off(c, "full", is_copying)
}

fn incremental_cut(c: &Cluster) -> Result {
    cut_off(c, "incremental", is_building)
}

fn incremental_killed(c: &Cluster) -> Result {
    check_unharmed(c, || {
        let result = disturb_build(c, json!({"mode": "incremental"}), is_building, kill_builder)?;
        if result["failed"] != true {
            return Err(format!("an incremental build whose gs_ctl was killed: {result}"));
        }
        check_rebuild(c)
    })
}

fn two_at_once(c: &Cluster) -> Result {
    let mut built = Value::Null;
    check_unharmed(c, || {
        let mut second = Value::Null;
        let first = disturb_build(c, json!({"mode": "full"}), is_building, |_| {
            second = c.module("n2", "og_build", json!({"mode": "full", "lock_timeout": 0}))?;
            Ok(())
        })?;
        if first["failed"] == true || second["error"]["kind"] != "busy" {
            return Err(format!("the first: {first}\nthe second: {second}"));
        }
        built = first;
        check_rebuild(c)
    })?;
    samples(c, built)
}

/// Kills the primary's server at this moment of the build, and starts it again when nothing could be built.
fn primary_lost(c: &Cluster, mode: &str, moment: Moment) -> Result {
    let lose = |_: &Path| c.lab().kill_server("n1").map_err(|e| e.to_string());
    let args = json!({"mode": mode, "stall_timeout": STALL, "timeout": 60});
    let result = disturb_build(c, args, moment, lose)?;
    must_fail(c, &result)?;
    // Nothing is begun while there is nobody to copy from.
    let vain = c.module("n2", "og_build", json!({}))?;
    if vain["error"]["kind"] != "refused" && vain["error"]["kind"] != "busy" {
        return Err(format!("og_build without a primary: {vain}"));
    }
    let back = c.module("n1", "og_node_state", json!({"state": "started", "role": "primary"}))?;
    if back["failed"] == true {
        return Err(back.to_string());
    }
    check_rebuild(c)
}

fn full_primary_lost(c: &Cluster) -> Result {
    primary_lost(c, "full", is_copying)
}

fn incremental_primary_lost(c: &Cluster) -> Result {
    primary_lost(c, "incremental", is_building)
}

/// What the samples of documentation show is what the programs print: those that say nothing of their own where no server
/// runs. For the others tests/callers/test_samples.py looks.
fn samples(c: &Cluster, built: Value) -> Result {
    let seen = |node, program, args| c.module(node, program, args);
    let query = || json!({"state": "query"});
    let slot = |state: &str| seen("n1", "og_slot", json!({"names": ["dn_6009"], "state": state}));
    // A reload has something to tell.
    seen("n1", "og_guc", json!({"parameters": {"wal_keep_segments": 77}, "reload": "never"}))?;
    // One that is not well says why.
    seen("n2", "og_node_state", json!({"state": "stopped"}))?;
    let diagnosed = seen(
        "n2",
        "og_node_state",
        json!({"state": "query", "diagnose": true, "log_end": true, "log_lines": 5}),
    )?;
    seen("n2", "og_node_state", json!({"state": "started"}))?;
    c.wait_for_state("n2", "standby", "Normal")?;
    // So would a failover put it on record.
    let record = diagnosed["log_end"]["last_record"].clone();
    let fork = json!({"new_primary": "n2", "old_primaries": ["n1"], "record": record, "term": 1});
    let recorded = seen("n2", "og_node_state", json!({"state": "fork_recorded", "fork": fork}))?;
    if recorded["failed"] == true {
        return Err(format!("og_node_state with state fork_recorded: {recorded}"));
    }
    let log = seen("n2", "og_node_state", json!({"state": "query", "log_records": [record["begin"]]}))?;
    let kept = seen("n2", "og_build", json!({"state": "log_kept", "keep_from": record["begin"]}))?;
    if let Some(copy) = kept["log_copy"].as_str() {
        std::fs::remove_dir_all(copy).map_err(|e| format!("{copy}: {e}"))?;
    }
    let printed = [
        ("og_build", vec![built, seen("n2", "og_build", query())?, kept]),
        (
            "og_node_state",
            vec![
                seen("n1", "og_node_state", json!({"state": "reloaded"}))?,
                seen("n1", "og_node_state", query())?,
                seen("n2", "og_node_state", query())?,
                diagnosed,
                log,
            ],
        ),
        ("og_slot", vec![slot("present")?, seen("n1", "og_slot", query())?, slot("absent")?]),
    ];
    for (program, results) in printed {
        has_sample_keys(program, results)?;
    }
    Ok(())
}
