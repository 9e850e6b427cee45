//! Parameters of the whole cluster, and restarts one by one.

use serde_json::{Value, json};

use super::{Told, fails, how, told};
use crate::args::{NodeCall, Options};
use crate::plan::tests::Given;
use crate::plan::tests::restart::pending;
use crate::steps::Workflow;

/// n2 is the primary at the end.
fn exchanged(step: &str, call: &NodeCall) -> Option<Value> {
    let role = if call.node.as_deref() == Some("n2") { "primary" } else { "standby" };
    let node = json!({"running": true, "answered": true, "role": role, "db_state": "normal"});
    (step == "Inspect the cluster again" && call.program == "og_node_state")
        .then(|| json!({"failed": false, "node": node}))
}

/// As og_guc answers when it is asked whether it takes a parameter that counts only after a restart.
fn takes(step: &str, call: &NodeCall) -> Option<Value> {
    (step == "Validate the parameters").then(|| {
        assert_eq!(call.args["check_mode"], true);
        json!({"failed": false, "changed": true, "pending": ["max_connections"]})
    })
}

fn configure(
    hosts: &[Given],
    value: u64,
    restart: bool,
    check: bool,
    mut say: impl FnMut(&str, &NodeCall) -> Option<Value>,
) -> Told {
    let og_parameters = json!({"max_connections": value}).as_object().unwrap().clone();
    let mut how = how(Options { og_parameters, og_configure_restart: restart, ..Options::default() });
    how.check = check;
    told(hosts, Workflow::Configure, "", &how, true, |step, call| {
        say(step, call).or_else(|| takes(step, call))
    })
}

#[test]
fn standbys_are_restarted_one_by_one_and_the_primary_after_a_switchover() {
    let mut waits = Vec::new();
    let done = told(
        &pending(2, "200", "300"),
        Workflow::Restart,
        "",
        &how(Options::default()),
        true,
        |step, call| {
            waits.extend(call.args.get("wait").map(|wait| (step.to_owned(), wait.clone())));
            exchanged(step, call)
        },
    )
    .well();
    assert_eq!(
        done.steps,
        [
            "Inspect all nodes: n1,n2,n3",
            "Acquire the cluster lock: n1",
            "Acquire the cluster lock: n2",
            "Acquire the cluster lock: n3",
            "Restart the standbys: n2",
            "Wait until commits count the standby: n1",
            "Restart the standbys: n3",
            "Wait until commits count the standby: n1",
            "Find the most advanced standby: n1,n2,n3",
            "Configure synchronous_standby_names of the new primary: n2",
            "Checkpoint the primary: n1",
            "Wait until the standby has caught up: n2",
            "Checkpoint the primary once more: n1",
            "Switch over: n2",
            "Wait until the members follow the new primary: n3",
            "Update cluster_static_config: n2,n3",
            "Restart the old primary: n1",
            "Wait until commits count the standby: n2",
            "Update cluster_static_config: n1",
            "Inspect the cluster again: n1,n2,n3",
            "Release the cluster lock: n1,n2,n3",
        ]
    );
    let counted = json!({"sync_peers": ["10.0.0.2"]});
    assert!(waits.contains(&("Wait until commits count the standby".to_owned(), counted)), "{waits:?}");
    assert!(waits[0].1["db_state"] == "normal" && waits[0].1["max_lag_bytes"].is_number(), "{waits:?}");
}

#[test]
fn a_standby_that_does_not_come_back_ends_the_restarts() {
    let say = |step: &str, _: &NodeCall| (step == "Restart the standbys").then(fails);
    let done = told(&pending(2, "200", "300"), Workflow::Restart, "", &how(Options::default()), true, say);
    assert_eq!(done.why(), "n2: made to fail");
    assert_eq!(done.from("Restart"), ["Restart the standbys: n2", "Release the cluster lock: n1,n2,n3"]);
}

#[test]
fn nothing_waits_and_nothing_is_done() {
    let done =
        told(&pending(2, "200", "200"), Workflow::Restart, "", &how(Options::default()), true, |_, _| None)
            .well();
    assert_eq!(done.steps, ["Inspect all nodes: n1,n2,n3", "Inspect the cluster again: n1,n2,n3"]);
    assert!(!done.outcome.changed);
}

#[test]
fn transactions_of_clients_are_waited_for_before_their_node_is_restarted() {
    let options = Options { og_wait_sessions: 30, ..Options::default() };
    let done = told(&pending(0, "200", "300"), Workflow::Restart, "", &how(options), true, |step, call| {
        if call.program == "og_session" {
            assert_eq!((&call.args["min_age"], &call.args["timeout"]), (&json!(0), &json!(30)));
            return Some(fails());
        }
        assert_ne!(step, "Restart the primary in place");
        None
    });
    assert_eq!(done.why(), "n1: made to fail");
}

#[test]
fn a_raised_limit_is_set_on_the_standbys_first_and_what_waits_is_told() {
    let done = configure(&pending(2, "200", "200"), 300, false, false, |_, _| None).well();
    assert_eq!(
        done.steps,
        [
            "Inspect all nodes: n1,n2,n3",
            "Validate the parameters: n1,n2,n3",
            "Acquire the cluster lock: n1",
            "Set the parameters on the standbys: n2,n3",
            "Set the parameters on the primary: n1",
            "Inspect the cluster again: n1,n2,n3",
            "Release the cluster lock: n1",
        ]
    );
    let wanted = "n1, n2, n3: max_connections counts only after a restart; restart with og restart";
    assert!(done.outcome.warnings.iter().any(|text| text == wanted), "{:?}", done.outcome.warnings);
}

#[test]
fn a_lowered_limit_is_set_and_counts_on_the_primary_first() {
    let done = configure(&pending(2, "300", "300"), 200, true, false, |_, _| None).well();
    assert_eq!(
        done.from("Set the parameters")[..8],
        [
            "Set the parameters on the primary: n1",
            "Checkpoint the primary: n1",
            "Restart the primary in place: n1",
            "Wait until the standbys stream: n2,n3",
            "Set the lowered limits on the standbys: n2,n3",
            "Restart the standbys: n2",
            "Wait until commits count the standby: n1",
            "Restart the standbys: n3",
        ]
    );
}

#[test]
fn a_lowered_limit_without_restarts_keeps_standbys_from_restarting_which_is_told() {
    let said = |value: u64| {
        configure(&pending(2, "300", "300"), value, false, false, |_, _| None)
            .well()
            .outcome
            .warnings
            .join("\n")
    };
    let wanted = "max_connections: until the primary is restarted no standby may restart: it would have less of it than n1";
    assert!(said(200).contains(wanted), "{}", said(200));
    assert!(!said(400).contains(wanted));
}

#[test]
fn what_one_node_does_not_take_is_set_on_none() {
    let say = |step: &str, call: &NodeCall| {
        (step == "Validate the parameters" && call.node.as_deref() == Some("n3")).then(fails)
    };
    let done = configure(&pending(2, "200", "200"), 300, true, false, say);
    assert_eq!(done.why(), "1 finding; nothing was changed:\n- n3: made to fail");
    assert_eq!(done.steps.len(), 2);
    // That a restart would make commits wait is found before, too.
    let mut hosts = pending(1, "200", "200");
    crate::plan::tests::parameter(&mut hosts, crate::plan::SYNC_NAMES, Some("*"));
    let done = configure(&hosts, 300, true, false, |_, _| None);
    assert!(done.why().contains("og_restart_commits=wait"), "{}", done.why());
    assert_eq!(done.steps.len(), 2);
}

#[test]
fn check_mode_changes_nothing_and_foresees_the_restarts() {
    let done = configure(&pending(2, "200", "200"), 300, true, true, |step, call| {
        let asks = call.args.get("state") == Some(&json!("query"));
        assert!(asks || call.args["check_mode"] == true, "{step}");
        None
    })
    .well();
    let steps: Vec<_> =
        done.outcome.changes.iter().map(|change| format!("{}: {}", change.node, change.step)).collect();
    for step in ["n3: Restart the standbys", "n2: Switch over", "n1: Restart the old primary"] {
        assert!(steps.iter().any(|made| made == step), "{steps:?}");
    }
}
