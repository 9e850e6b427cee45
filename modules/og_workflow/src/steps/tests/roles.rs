//! Changes of the primary.

use serde_json::{Value, json};

use super::{DEAD, Told, how, told};
use crate::args::{NodeCall, Options, Reason};
use crate::plan::tests::failover::{cut_off, headless};
use crate::plan::tests::switchover::streaming;
use crate::plan::tests::{Given, lock};
use crate::steps::Workflow;

/// Says what a node is at a look for its state.
fn state(call: &NodeCall, role: &str, db_state: &str) -> Option<Value> {
    let looks = call.program == "og_node_state" && call.args.get("state") == Some(&json!("query"));
    let node = json!({"running": true, "answered": true, "role": role, "db_state": db_state});
    looks.then(|| json!({"failed": false, "node": node}))
}

fn is_switch(call: &NodeCall) -> bool {
    call.args.get("transition").is_some()
}

fn gave_up() -> Value {
    json!({"failed": true, "changed": true, "msg": "gave up", "error": {"kind": "timeout", "detail": "gave up"}})
}

fn switch(hosts: &[Given], check: bool, say: impl FnMut(&str, &NodeCall) -> Option<Value>) -> Told {
    let mut how = how(Options::default());
    how.check = check;
    told(hosts, Workflow::Switchover, "n2", &how, true, say)
}

/// At the last look n2 is the primary.
fn exchanged(step: &str, call: &NodeCall) -> Option<Value> {
    let role = if call.node.as_deref() == Some("n2") { "primary" } else { "standby" };
    (step == "Inspect the cluster again").then(|| state(call, role, "normal")).flatten()
}

#[test]
fn the_last_look_waits_for_a_standby_that_streamed_and_connects_again() {
    let mut looks = 0;
    let mut say = |reconnects_at: usize, call: &NodeCall, step: &str| {
        if step == "Wait until the members follow the new primary" {
            return Some(json!({"failed": false, "changed": false, "node": {
                "running": true, "answered": true, "role": "standby", "db_state": "normal"}}));
        }
        if step == "Inspect the cluster again" && call.node.as_deref() == Some("n3") {
            looks += usize::from(call.program == "og_node_state");
            if looks < reconnects_at {
                return state(call, "standby", "need_repair");
            }
        }
        exchanged(step, call)
    };
    let count =
        |done: &Told| done.steps.iter().filter(|step| step.starts_with("Inspect the cluster again")).count();
    let done = switch(&streaming(2), false, |step, call| say(3, call, step)).well();
    assert_eq!(count(&done), 3, "{:?}", done.steps);
    // A node that stays away is shown as it is, and one that never streamed is not waited for.
    let done = switch(&streaming(2), false, |step, call| say(usize::MAX, call, step)).well();
    assert_eq!(count(&done), 10, "{:?}", done.steps);
    let never = |step: &str, call: &NodeCall| {
        let is_n3 = step == "Inspect the cluster again" && call.node.as_deref() == Some("n3");
        if is_n3 { state(call, "standby", "need_repair") } else { exchanged(step, call) }
    };
    let done = switch(&streaming(2), false, never).well();
    assert_eq!(count(&done), 1, "{:?}", done.steps);
}

#[test]
fn what_a_killed_run_left_is_looked_at_until_its_standbys_stream_again() {
    let mut given = streaming(2);
    lock(&mut given, "switchover n2", json!({}));
    given[0].2["og_lock"]["lock"]["owner"] = json!(DEAD);
    let told = |connects_at: usize| {
        let mut looks = 0;
        switch(&given, true, |step, call| {
            let asks = call.program == "og_node_state" && call.args.get("state") == Some(&json!("query"));
            if !(asks && step == "Inspect all nodes" && call.node.as_deref() == Some("n2")) {
                return None;
            }
            looks += 1;
            if looks < connects_at { state(call, "standby", "need_repair") } else { None }
        })
    };
    let count = |done: &Told| done.steps.iter().filter(|step| step.starts_with("Inspect all nodes")).count();
    let done = told(4).well();
    assert_eq!(count(&done), 4, "{:?}", done.steps);
    let done = told(usize::MAX);
    assert!(done.why().contains("n2 does not stream"), "{}", done.why());
    assert_eq!(count(&done), 10, "{:?}", done.steps);
}

#[test]
fn a_switchover_checkpoints_first_and_all_follow_before_it_ends() {
    let done = switch(&streaming(2), false, exchanged).well();
    assert_eq!(
        done.steps,
        [
            "Inspect all nodes: n1,n2,n3",
            "Acquire the cluster lock: n1",
            "Acquire the cluster lock: n2",
            "Checkpoint the primary: n1",
            "Wait until the standby has caught up: n2",
            "Checkpoint the primary once more: n1",
            "Switch over: n2",
            "Wait until the members follow the new primary: n1,n3",
            "Update cluster_static_config: n2,n1,n3",
            "Inspect the cluster again: n1,n2,n3",
            "Release the cluster lock: n1,n2",
        ]
    );
    let checked = switch(&streaming(2), true, |step, call| {
        let asks = call.args.get("state") == Some(&json!("query"));
        assert!(asks || call.args["check_mode"] == true, "{step}");
        None
    });
    assert!(checked.well().outcome.changed);
}

/// n4 was replaced by n1, and has not followed since; `of` has the record of a node's log at the checkpoint before the switchover.
fn recorded(of: impl Fn(&str) -> Value) -> (Told, Vec<Value>) {
    let mut hosts = streaming(3);
    let fork = json!({"new_primary": "n1", "old_primaries": ["n4"], "term": null, "at": "T",
        "record": {"begin": "0/10", "end": "0/20", "crc": 1}});
    for host in &mut hosts[..3] {
        host.2["og_node_state"]["forks"] = json!([fork]);
    }
    let mut forks = Vec::new();
    let done = switch(&hosts, false, |step, call| {
        forks.extend(call.args.get("fork").cloned());
        match step {
            "Checkpoint the primary once more" => {
                Some(json!({"failed": false, "changed": true, "checkpoint_lsn": "0/40"}))
            }
            "Compare the logs" => {
                assert_eq!(call.args["log_records"], json!(["0/40"]));
                Some(json!({"failed": false, "log_records": {"0/40": of(call.node.as_deref()?)}}))
            }
            _ => exchanged(step, call),
        }
    });
    (done, forks)
}

#[test]
fn a_switchover_after_a_failover_is_recorded_with_a_record_that_both_logs_have() {
    let record = json!({"begin": "0/40", "end": "0/60", "crc": 7});
    let (done, forks) = recorded(|_| record.clone());
    let done = done.well();
    assert_eq!(
        done.from("Switch over")[1..4],
        [
            "Compare the logs: n2,n1",
            "Record the switchover: n2,n3,n4,n1",
            // What fails from here on does not undo the record.
            "Wait until the members follow the new primary: n1,n3,n4"
        ]
    );
    let fork =
        json!({"new_primary": "n2", "old_primaries": ["n1"], "term": null, "at": "", "record": record});
    assert_eq!(forks, vec![fork; 4]);
    // What only one of them has is no proof.
    for lacks in ["n1", "n2"] {
        let (done, forks) = recorded(|node| if node == lacks { Value::Null } else { record.clone() });
        let done = done.well();
        assert!(forks.is_empty());
        let told = "the switchover is not recorded: the repair of a node that an earlier failover replaced";
        assert!(done.outcome.warnings.iter().any(|text| text.contains(told)), "{:?}", done.outcome.warnings);
    }
}

#[test]
fn what_became_of_a_switchover_is_looked_up_and_it_is_tried_once() {
    let after_all = |n1: &'static str, n2: &'static str, n3: &'static str, db_state: &'static str| {
        let mut tries = 0;
        let done = switch(&streaming(2), false, |step, call| {
            if is_switch(call) {
                tries += 1;
                return Some(gave_up());
            }
            let role = match call.node.as_deref() {
                Some("n1") => n1,
                Some("n2") => n2,
                Some("n3") => n3,
                _ => "standby",
            };
            let looked = step.starts_with("Inspect what became") || step == "Inspect the cluster again";
            looked.then(|| state(call, role, db_state)).flatten()
        });
        assert_eq!(tries, 1);
        done
    };
    let after = |n1, n2, db_state| after_all(n1, n2, "standby", db_state);
    let done = after("standby", "primary", "normal").well();
    assert!(done.outcome.warnings[0].contains("came to its end after it had been given up"));
    let same = after("primary", "standby", "normal");
    assert_eq!(same.outcome.reason, Some(Reason::OldRolesHold));
    let why = "the switchover did not take place, n1 is still the primary and n2 its standby";
    assert!(same.why().starts_with(why), "{}", same.why());
    assert!(same.steps.last().unwrap().starts_with("Release the cluster lock: n1,n2"));
    let hangs = after("primary", "standby", "demoting");
    assert_eq!(hangs.outcome.reason, Some(Reason::UnderWay));
    assert!(hangs.outcome.incomplete && hangs.why().contains("do not try again before"), "{}", hangs.why());
    // The old primary failed meanwhile, and openGauss CM chose another one.
    let other = after_all("standby", "standby", "primary", "normal");
    assert_eq!(other.outcome.reason, Some(Reason::OtherPrimary));
    assert!(other.why().contains("n3 has become primary in place of n1"), "{}", other.why());
    assert!(other.steps.last().unwrap().starts_with("Release the cluster lock: n1,n2"));
    // Of two primaries none is the outcome.
    let two = after_all("primary", "pending", "primary", "normal");
    assert_eq!(two.outcome.reason, Some(Reason::UnderWay));
}

fn fail_over(hosts: &[Given], target: &str, say: impl FnMut(&str, &NodeCall) -> Option<Value>) -> Told {
    told(hosts, Workflow::Failover, target, &how(Options::default()), true, say)
}

/// How far the logs go, which are one as far as the shorter ones go.
fn ends(call: &NodeCall, farthest: &str) -> Option<Value> {
    let is_farthest = call.node.as_deref() == Some(farthest);
    let (begin, lsn) = if is_farthest { ("0/FFFFFF00", "1/0") } else { ("0/F0", "0/FF") };
    let record = |begin: &str, end: &str| json!({"begin": begin, "end": end, "crc": 7});
    let end = json!({"lsn": lsn, "term": 2, "is_end": true, "last_record": record(begin, lsn)});
    if call.args.contains_key("log_records") {
        let last = if is_farthest { record(begin, lsn) } else { Value::Null };
        let records = json!({"0/F0": record("0/F0", "0/FF"), "0/FFFFFF00": last});
        return Some(json!({"failed": false, "log_records": records, "log_begin": "0/0"}));
    }
    call.args.contains_key("log_end").then(|| json!({"failed": false, "log_end": end}))
}

#[test]
fn a_failover_proves_twice_stops_the_old_primary_and_takes_the_farthest() {
    let (mut forced, mut forks) = (Vec::new(), Vec::new());
    let done = fail_over(&headless(2), "", |_, call| {
        let force = call.args.get("force").cloned();
        forks.extend(call.args.get("fork").cloned());
        forced.extend(is_switch(call).then(|| (call.node.clone(), force)));
        ends(call, "n3")
    });
    assert_eq!(
        done.steps,
        [
            "Inspect all nodes: n1,n2,n3",
            "Prove that the primary is lost: n1,n2,n3",
            "Inspect the ends of the logs: n2,n3,n1",
            "Compare the logs: n1,n2,n3",
            "Acquire the cluster lock: n2",
            "Acquire the cluster lock: n3",
            "Stop the old primary: n1",
            "Inspect the ends of the logs: n2,n3,n1",
            "Record the fork point: n2,n3",
            "Record the old primary as standby: n1",
            "Fail over: n3",
            "Wait until the members follow the new primary: n2",
            "Update cluster_static_config: n3,n2,n1",
            "Inspect the cluster again: n1,n2,n3",
            "Record the failover: n2",
            "Record the failover: n3",
        ]
    );
    assert_eq!(forced, [(Some("n3".to_owned()), Some(json!(false)))]);
    let fork = json!({"new_primary": "n3", "old_primaries": ["n1"], "term": 2, "at": "",
        "record": {"begin": "0/FFFFFF00", "end": "1/0", "crc": 7}});
    assert_eq!(forks, [fork.clone(), fork]);
    let outcome = done.well().outcome;
    assert_eq!((outcome.table[0].as_str(), outcome.warnings.len()), ("nothing of n1 is lost.", 0));
}

#[test]
fn a_survivor_that_does_not_record_the_fork_point_does_not_stop_a_failover() {
    let run = |broken: &str| {
        fail_over(&headless(2), "", |step, call| {
            let is_broken = step == "Record the fork point" && call.node.as_deref() == Some(broken);
            if is_broken { Some(super::fails()) } else { ends(call, "n3") }
        })
    };
    let done = run("n2").well();
    assert!(done.steps.contains(&"Fail over: n3".to_owned()), "{:?}", done.steps);
    let told = "n2: made to fail; the fork point is not recorded there";
    let warnings = &done.outcome.warnings;
    assert!(warnings.iter().any(|text| text.starts_with(told)), "{warnings:?}");
    // The new primary itself must have it: repairs go by its record.
    let done = run("n3");
    assert!(done.why().contains("n3: made to fail"), "{}", done.why());
    assert!(!done.steps.iter().any(|step| step.starts_with("Fail over")), "{:?}", done.steps);
}

#[test]
fn an_old_primary_that_cannot_be_reached_is_cut_off_first() {
    let done = fail_over(&cut_off(2), "n2", |_, call| ends(call, "n2")).well();
    let at = |step: &str| done.steps.iter().position(|s| s.starts_with(step)).unwrap();
    let channels = at("Remove the old primary's replication channels: n2,n3");
    let rules = at("Remove the old primary's pg_hba.conf rules: n2,n3");
    let last = done.steps.iter().rposition(|s| s.starts_with("Inspect the ends of the logs: n2,n3")).unwrap();
    assert!(at("Inspect the ends of the logs") < channels && channels < rules && rules < last);
    let told = "n1 could not be reached: if it lives";
    assert!(done.outcome.warnings.iter().any(|text| text.starts_with(told)));
}

#[test]
fn a_primary_that_comes_back_between_the_looks_is_left_alone() {
    let mut looks = 0;
    let done = fail_over(&headless(2), "n2", |step, call| {
        let looks_at = ["Inspect all nodes", "Prove that the primary is lost"].contains(&step);
        let is_n1 = looks_at && call.node.as_deref() == Some("n1");
        looks += usize::from(is_n1 && call.program == "og_node_state");
        (looks == 2 && is_n1).then(|| state(call, "primary", "normal")).flatten()
    });
    assert!(done.why().contains("n1 runs as primary and answers"), "{}", done.why());
    assert_eq!(done.steps.len(), 2, "{:?}", done.steps);
}

#[test]
fn nothing_is_promoted_when_the_loss_is_not_accepted() {
    let done = fail_over(&headless(2), "n2", |_, call| ends(call, "n1"));
    assert!(done.why().contains("n1 holds"), "{}", done.why());
    assert!(!done.steps.iter().any(|step| step.starts_with("Fail over")));
    // All of it is found before anything is changed.
    assert!(
        done.steps.iter().all(|s| ["Inspect", "Prove", "Compare"].iter().any(|begin| s.starts_with(begin))),
        "{:?}",
        done.steps
    );
}

#[test]
fn what_is_left_after_the_promotion_is_recorded_for_the_next_run() {
    let mut left = Vec::new();
    let done = fail_over(&headless(2), "", |step, call| {
        if call.program == "og_static_conf" && step.starts_with("Update") {
            return Some(super::fails());
        }
        left.extend((step == "Record what is left to be done").then(|| call.args["purpose"].clone()));
        ends(call, "n3")
    });
    assert!(done.outcome.failed && done.outcome.incomplete);
    let [record] = &left[..] else { panic!("{left:?}") };
    assert!(record.as_str().unwrap().contains("failover of n1"), "{record}");
    assert!(done.steps.last().unwrap().starts_with("Release the cluster lock: n2"));
}

#[test]
fn an_old_primary_that_is_started_meanwhile_is_not_replaced() {
    let mut looks = 0;
    let done = fail_over(&headless(2), "n2", |_, call| {
        let asks = call.args.contains_key("log_end");
        looks += usize::from(asks && call.node.as_deref() == Some("n1"));
        if asks && looks == 2 && call.node.as_deref() == Some("n1") {
            let node = json!({"running": true, "answered": true, "role": "primary"});
            return Some(
                json!({"failed": false, "node": node, "log_end": {"lsn": "0/FF", "term": 2, "is_end": true}}),
            );
        }
        ends(call, "n2")
    });
    assert!(done.why().contains("n1: its server was started again meanwhile"), "{}", done.why());
    assert!(!done.steps.iter().any(|step| step.starts_with("Fail over")));
}
