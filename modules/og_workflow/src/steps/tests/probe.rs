//! Probes that commit while a run is at work.

use serde_json::{Value, json};

use super::repair::{ailing, stopped};
use super::{Told, fails, how, told, two_new};
use crate::args::{NodeCall, Options};
use crate::plan::tests::Given;
use crate::plan::tests::switchover::streaming;
use crate::steps::Workflow;

/// What the probes of n1, which was the primary, and of n2 tell when they are stopped.
fn seen(call: &NodeCall) -> Option<Value> {
    if call.program != "og_probe" || call.args["state"] != "stopped" {
        return None;
    }
    let probed = |ahead: u64, first: u64, last: u64, gaps: Value| {
        json!({"failed": false, "changed": true, "msg": "m", "now": 60_000 + ahead, "sent_at": 59_900, "received_at": 60_100,
            "probe": {"running": false, "began": 20_000, "written": 50_000, "commits": 100, "first": first, "last": last,
                "gaps": gaps, "failures": 1, "last_failure": "FATAL: no"}})
    };
    Some(match call.node.as_deref() {
        Some("n1") => probed(0, 20_000, 30_000, json!([{"from": 22_000, "to": 22_100}])),
        Some("n2") => probed(0, 30_900, 40_000, json!([])),
        _ => json!({"failed": false, "changed": true, "msg": "m", "now": 60_000,
            "probe": {"running": false, "began": 20_000, "written": 50_000, "commits": 0}}),
    })
}

fn exchanged(step: &str, call: &NodeCall) -> Option<Value> {
    let role = if call.node.as_deref() == Some("n2") { "primary" } else { "standby" };
    let node = json!({"running": true, "answered": true, "role": role, "db_state": "normal"});
    let looks = step == "Inspect the cluster again" && call.program == "og_node_state";
    looks.then(|| json!({"failed": false, "node": node}))
}

fn switch(given: &[Given], check: bool, mut say: impl FnMut(&str, &NodeCall) -> Option<Value>) -> Told {
    let mut how = how(Options { og_probe: true, ..Options::default() });
    how.check = check;
    told(given, Workflow::Switchover, "n2", &how, true, |step, call| {
        say(step, call).or_else(|| seen(call)).or_else(|| exchanged(step, call).filter(|_| !check))
    })
}

fn probes(done: &Told) -> Vec<&str> {
    done.steps.iter().filter(|step| step.contains("the probe")).map(String::as_str).collect()
}

#[test]
fn probes_are_at_work_while_the_lock_is_held_and_change_nothing() {
    let done = switch(&streaming(2), false, |_, _| None).well();
    let at = |title: &str| done.steps.iter().position(|step| step.starts_with(title)).unwrap();
    assert_eq!(done.steps[at("Start the probe")], "Start the probe: n1,n2,n3");
    assert_eq!(at("Start the probe"), at("Checkpoint the primary") - 1);
    assert_eq!(done.steps[at("Stop the probe")], "Stop the probe: n1,n2,n3");
    assert_eq!(at("Release the cluster lock"), at("Stop the probe") + 1);
    assert!(!done.outcome.changes.iter().any(|change| change.step.contains("probe")));
    let commits = done.outcome.commits.unwrap();
    assert_eq!((commits.commits, commits.nodes["n3"]), (200, 0));
    let longest = commits.longest.unwrap();
    assert_eq!((longest.elapsed_ms, &*longest.node_before, &*longest.node_after), (900, "n1", "n2"));
    assert!(!done.outcome.warnings.iter().any(|text| text.contains("probe")), "{:?}", done.outcome.warnings);
}

#[test]
fn without_being_asked_for_and_in_check_mode_there_is_no_probe() {
    let done = switch(&streaming(2), true, |_, _| None).well();
    assert_eq!((probes(&done), done.outcome.commits.as_ref()), (vec![], None));
    let plain =
        told(&streaming(2), Workflow::Switchover, "n2", &how(Options::default()), true, exchanged).well();
    assert_eq!((probes(&plain), plain.outcome.commits.as_ref()), (vec![], None));
}

#[test]
fn a_run_that_fails_stops_its_probes_and_tells_what_they_saw() {
    let done =
        switch(&streaming(2), false, |step, _| (step == "Checkpoint the primary once more").then(fails));
    assert!(done.why().contains("made to fail"), "{}", done.why());
    assert_eq!(done.from("Stop the probe"), ["Stop the probe: n1,n2,n3", "Release the cluster lock: n1,n2"]);
    assert_eq!(done.outcome.commits.unwrap().commits, 200);
}

#[test]
fn a_switchover_that_is_under_way_keeps_its_lock_and_stops_its_probes() {
    let done = switch(&streaming(2), false, |step, call| match step {
        "Switch over" => Some(fails()),
        // Neither is the primary.
        "Inspect what became of the switchover" => Some(json!({"failed": false, "node":
            {"running": true, "answered": true, "role": "pending", "db_state": "normal"}})),
        _ => exchanged(step, call),
    });
    assert!(done.why().contains("has not come to an end"), "{}", done.why());
    assert_eq!(done.steps.last().unwrap(), "Stop the probe: n1,n2,n3");
}

#[test]
fn a_probe_that_fails_is_a_warning() {
    let done = switch(&streaming(2), false, |_, call| (call.program == "og_probe").then(fails)).well();
    // What seemed to fail may have come up.
    assert_eq!(probes(&done), ["Start the probe: n1,n2,n3", "Stop the probe: n1,n2,n3"]);
    assert_eq!((done.outcome.warnings.len(), done.outcome.commits), (6, None), "{:?}", done.outcome.warnings);
    assert!(
        done.outcome.warnings[0].ends_with("its commits are not measured"),
        "{:?}",
        done.outcome.warnings
    );
    let none = |_: &str, call: &NodeCall| {
        let own = json!({"failed": false, "changed": true, "msg": "m", "now": 5, "probe": {"running": false, "began": 1,
            "written": 9, "commits": 0, "last_failure": "the table is not one of a probe"}});
        (call.program == "og_probe" && call.args["state"] == "stopped").then_some(own)
    };
    let done = switch(&streaming(2), false, none).well();
    let told = "the probe could not commit on any node: n1: the table is not one of a probe";
    assert_eq!(done.outcome.warnings, [told]);
}

#[test]
fn only_members_that_serve_get_a_probe() {
    // Those that are to be added serve nobody, and one that is down has no server.
    let options = Options { og_probe: true, ..Options::default() };
    let done =
        told(&two_new(), Workflow::Expand, "n4,n5", &how(options.clone()), true, |_, call| seen(call)).well();
    assert_eq!(probes(&done), ["Start the probe: n1,n2,n3", "Stop the probe: n1,n2,n3"]);
    let done =
        told(&ailing(stopped), Workflow::Repair, "", &how(options.clone()), true, |_, call| seen(call));
    assert_eq!(probes(&done), ["Start the probe: n1,n2", "Stop the probe: n1,n2"], "{:?}", done.steps);
    // A second primary gets no log of its own by it, whichever of the two is the right one.
    let given = ailing(|seen| {
        seen["og_node_state"]["node"]["role"] = json!("primary");
        seen["og_node_state"]["node"]["receiver"] = json!(null);
    });
    let forced = Options { og_repair_force: true, ..options };
    let done = told(&given, Workflow::Repair, "n3", &how(forced), true, |_, call| seen(call));
    assert_eq!(probes(&done), ["Start the probe: n2", "Stop the probe: n2"], "{:?}", done.steps);
}
