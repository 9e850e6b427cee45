//! The workflows step by step, every call answered here.
#![allow(clippy::unwrap_used)]

mod deploy;
mod host;
mod probe;
mod repair;
mod roles;
mod rolling;
mod ssl;

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::args::{BuildMode, DropCommits, Next, NodeCall};
use crate::needed::tests::complete;
use crate::plan::SYNC_NAMES;
use crate::plan::tests::{Given, checked, cluster, fresh, lock, parameter, with};

const DEAD: &str = "dba@here pid 4711 start 99";

/// What came of a run, and each step that was asked for with its nodes.
struct Told {
    outcome: Outcome,
    steps: Vec<String>,
}

impl Told {
    /// The steps from this one on.
    fn from(&self, step: &str) -> &[String] {
        let at = self.steps.iter().position(|s| s.starts_with(step)).unwrap();
        &self.steps[at..]
    }

    fn why(&self) -> &str {
        assert!(self.outcome.failed);
        self.outcome.msg.as_deref().unwrap()
    }

    fn well(self) -> Self {
        assert_eq!(self.outcome.msg, None);
        self
    }
}

/// Whether a step of this title changes nothing in any case.
fn is_inspection(title: &str) -> bool {
    ["Inspect", "Find", "Measure", "Check whether"].iter().any(|verb| title.starts_with(verb))
}

fn how(options: Options) -> How {
    How {
        options,
        check: false,
        diff: false,
        owner: "me@here pid 1 start 2".to_owned(),
        left_out: Vec::new(),
    }
}

fn hosts(given: &[Given]) -> Vec<InventoryHost> {
    given.iter().map(|(name, vars, _)| InventoryHost::new(name, vars.as_object().unwrap().clone())).collect()
}

/// Runs it; `say` answers a call of a step, else it is answered as if all were well and changed. `replace`: whether
/// answers that need not be kept are left away.
fn told(
    given: &[Given],
    workflow: Workflow,
    targets: &str,
    how: &How,
    replace: bool,
    mut say: impl FnMut(&str, &NodeCall) -> Option<Value>,
) -> Told {
    let (hosts, targets): (_, Vec<_>) =
        (hosts(given), targets.split(',').filter(|t| !t.is_empty()).map(str::to_owned).collect());
    let (mut answers, mut steps, mut expected) = (Vec::new(), Vec::new(), false);
    for _ in 0..100 {
        let Next { step, calls, keep, more, .. } =
            match run(workflow, &targets, &hosts, how, Replay::new(&hosts, &answers)) {
                Ok((outcome, left)) => {
                    assert_eq!(left, 0);
                    assert!(!expected || outcome.failed, "another step was promised: {steps:#?}");
                    return Told { outcome, steps };
                }
                Err(next) => next,
            };
        expected = more;
        let nodes: Vec<_> = calls.iter().map(|c| c.node.clone().unwrap_or("here".to_owned())).collect();
        let nodes = crate::distinct(&nodes);
        steps.push(format!("{step}: {}", nodes.join(",")));
        if replace {
            answers.truncate(keep);
        }
        assert_runs_as_one_user(&step, &calls);
        for call in &calls {
            assert_fits_schema(call);
            let own = say(&step, call).or_else(|| well(given, call));
            let own = own.unwrap_or(json!({"changed": true, "msg": "done"}));
            answers.push(complete(&call.program, &call.args, own));
        }
    }
    panic!("it does not end: {steps:#?}");
}

/// Asserts that the calls of a step are for one user, for Ansible makes all of a node's calls as one; and that a step which sends
/// files does nothing else.
fn assert_runs_as_one_user(step: &str, calls: &[NodeCall]) {
    for is_so in [|call: &NodeCall| call.program == crate::seen::HOST, |call: &NodeCall| call.put.is_some()] {
        let count = calls.iter().filter(|call| is_so(call)).count();
        assert!(count == 0 || count == calls.len(), "{step}: {calls:?}");
    }
}

/// Asserts that the arguments of the call are ones that its program takes.
fn assert_fits_schema(call: &NodeCall) {
    thread_local! {
        static SCHEMAS: RefCell<BTreeMap<String, jsonschema::Validator>> = RefCell::default();
    }
    SCHEMAS.with_borrow_mut(|schemas| {
        let schema = schemas.entry(call.program.clone()).or_insert_with(|| {
            let path = format!("{}/../../schemas/v1/{}.args.json", env!("CARGO_MANIFEST_DIR"), call.program);
            let text = std::fs::read_to_string(&path).unwrap();
            jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
        });
        let args = Value::from(call.args.clone());
        let problems: Vec<_> = schema.iter_errors(&args).map(|e| e.to_string()).collect();
        assert!(problems.is_empty(), "{} does not take {args}: {problems:?}", call.program);
    });
}

/// Whether it changes nothing.
fn asks(call: &NodeCall) -> bool {
    call.args.get("state").is_some_and(|state| state == "query")
}

fn builds(call: &NodeCall) -> bool {
    call.program == "og_build" && !asks(call)
}

/// Whether it updates the cluster's file on a node, and is not the rollback of that.
fn updates(step: &str, call: &NodeCall) -> bool {
    call.program == "og_static_conf" && !asks(call) && !step.ends_with("after the rollback")
}

/// What was seen; what was added; that the dead are dead.
fn well(given: &[Given], call: &NodeCall) -> Option<Value> {
    if asks(call) && call.program == "og_build" {
        return Some(json!({"data_bytes": 5000}));
    }
    if asks(call) {
        let own = given.iter().find(|(name, _, _)| Some(name) == call.node.as_ref())?;
        let seen = &own.2;
        let lost = json!({"failed": true, "msg": "no route", "error": {"kind": "unreachable"}});
        return Some(if seen.is_null() {
            lost
        } else if call.program == PREFLIGHT && seen.get(PREFLIGHT).is_none() {
            checked(own)
        } else {
            seen.get(&call.program).cloned().unwrap_or(json!({}))
        });
    }
    match call.program.as_str() {
        "og_workflow" => Some(json!({"over": call.args["owner"] == DEAD})),
        "og_lock" => Some(json!({"changed": true, "msg": "held"})),
        "og_hba" => {
            Some(json!({"changed": true, "added": [{"line": 1, "rule": {"type": "host"}}], "actions": ["x"]}))
        }
        "og_replconninfo" => {
            let remote = json!({"host": "10.0.0.4", "port": 26001});
            Some(
                json!({"changed": true, "added": [2], "channels": [{"number": 1, "remote": remote}, {"number": 2, "remote": remote}]}),
            )
        }
        _ => None,
    }
}

fn nothing(_: &str, _: &NodeCall) -> Option<Value> {
    None
}

fn fails() -> Value {
    let error = json!({"kind": "io", "detail": "made to fail"});
    json!({"failed": true, "changed": false, "msg": "made to fail", "error": error})
}

fn two_new() -> Vec<Given> {
    with(cluster(2), vec![fresh(4, "standby"), fresh(5, "cascade_standby")])
}

#[test]
fn expand_in_order() {
    let mut given = two_new();
    parameter(&mut given, SYNC_NAMES, Some("*"));
    let options = Options { og_sync_standbys: crate::args::SyncStandbys::Any, ..Options::default() };
    let mut args = Vec::new();
    let done = told(&given, Workflow::Expand, "n4,n5", &how(options), true, |step, call| {
        if step.starts_with("Add")
            || step.starts_with("Acquire the cluster lock")
            || step.starts_with("Build")
        {
            args.push(Value::Object(call.args.clone()));
        }
        None
    })
    .well();
    assert_eq!(
        done.steps,
        [
            "Inspect all nodes: n1,n2,n3,n4,n5",
            "Acquire the cluster lock: n1",
            "Measure the size of the primary: n1",
            "Configure rules, replication channels and parameters: n1,n2,n3,n4,n5",
            "Build standbys and cascade standbys: n4,n5",
            "Wait until the new nodes have caught up, and find the primary: n4,n5,n1,n2,n3",
            "Add the new standbys to synchronous_standby_names: n1",
            "Update cluster_static_config and inspect the cluster again: n1,n2,n3,n4,n5",
            "Release the cluster lock: n1",
        ]
    );
    let lock = json!({"data_dir": "/d", "state": "held", "purpose": "{\"what\":\"expand n4,n5\",\"restore\":{}}",
        "ttl": 86400, "force": false, "owner": "me@here pid 1 start 2"});
    assert_eq!(args[0], lock);
    assert_eq!(
        args[2],
        json!({"data_dir": "/d", "mode": "auto", "role": "cascade_standby", "force": false,
        "min_free": 5000, "if_building": "wait"})
    );
    // They all counted for `*`.
    let edit = json!({"method": "any", "num": "majority", "add": ["dn_6002", "dn_6003", "dn_6004"]});
    assert_eq!(args[3], json!({"data_dir": "/d", "synchronous_standbys": edit}));
    // The lock's coming and going is no change of the cluster.
    assert_eq!((done.outcome.changes.len(), done.outcome.table.len()), (5 + 2 + 2 + 1 + 5, 6));
}

#[test]
fn a_node_that_streams_is_not_built_again_whatever_the_mode() {
    let options = Options { og_build_mode: BuildMode::Full, ..Options::default() };
    let mut modes = Vec::new();
    told(&two_new(), Workflow::Expand, "n3,n4,n5", &how(options), true, |step, call| {
        if step.starts_with("Build") {
            modes.push(format!("{} {}", call.node.as_deref().unwrap(), call.args["mode"].as_str().unwrap()));
        }
        None
    })
    .well();
    // While it were copied anew, each commit that waits for it would wait.
    assert_eq!(modes, ["n3 auto", "n4 full", "n5 full"]);
}

#[test]
fn a_full_copy_is_made_only_where_there_is_room_for_it() {
    let needed = |mode: BuildMode, og_build_room: bool| {
        let options = Options { og_build_mode: mode, og_build_room, ..Options::default() };
        let mut needed = Vec::new();
        told(&two_new(), Workflow::Expand, "n3,n4", &how(options), true, |_, call| {
            if builds(call) {
                needed.push(call.args.get("min_free").cloned());
            }
            None
        })
        .well();
        needed
    };
    // n3 streams and is not copied.
    assert_eq!(needed(BuildMode::Auto, true), [None, Some(json!(5000))]);
    assert_eq!(needed(BuildMode::Full, true), [None, Some(json!(5000))]);
    assert_eq!(needed(BuildMode::Incremental, true), [None, None]);
    assert_eq!(needed(BuildMode::Auto, false), [None, None]);
    // Nobody is asked where nobody is built; whoever does not know has nothing changed.
    let none = told(&two_new(), Workflow::Expand, "n3", &how(Options::default()), true, nothing).well();
    assert!(!none.steps.iter().any(|step| step.starts_with("Measure the size")));
    let say = |_: &str, call: &NodeCall| (call.program == "og_build").then(|| json!({}));
    let done = told(&two_new(), Workflow::Expand, "n4", &how(Options::default()), true, say);
    assert!(done.why().starts_with("n1: og_build does not tell how large"), "{}", done.why());
    assert!(!done.steps.iter().any(|step| step.starts_with("Configure rules")));
}

#[test]
fn only_of_a_node_that_is_new_the_slots_are_taken_for_leftovers() {
    let mut given = two_new();
    let slot = |name: &str| json!({"name": name, "type": "physical", "active": false});
    for node in &mut given[2..4] {
        node.2["og_node_state"]["node"]["slots"] = json!([slot("dn_6005"), slot("backup")]);
    }
    let mut gone = Vec::new();
    told(&given, Workflow::Expand, "n3,n4", &how(Options::default()), true, |step, call| {
        if step.starts_with("Drop unused replication slots") {
            gone.push(format!("{} {}", call.node.as_deref().unwrap(), call.args["names"]));
        }
        None
    })
    .well();
    // n3 was there before, and n5 hung on it; a backup is taken from it.
    assert_eq!(gone, ["n4 [\"backup\"]"]);
}

#[test]
fn a_single_node_waits_for_nobody_until_it_has_a_standby() {
    let mut given = cluster(0);
    given[0].2["og_node_state"]["node"]["role"] = json!("normal");
    parameter(&mut given, SYNC_NAMES, Some("*"));
    given.push(fresh(2, "standby"));
    let done = told(&given, Workflow::Expand, "n2", &how(Options::default()), true, nothing).well();
    assert_eq!(done.steps[3], "Empty synchronous_standby_names until a standby streams: n1");
    assert!(done.steps.contains(&"Restore synchronous_standby_names: n1".to_owned()));
}

#[test]
fn check_mode_says_what_would_be_and_waits_for_nothing() {
    let how = How { check: true, diff: true, ..how(Options::default()) };
    let mut asked = 0;
    let done = told(&two_new(), Workflow::Expand, "n4,n5", &how, true, |step, call| {
        let flags = ["check_mode", "diff"].map(|flag| call.args.get(flag) == Some(&json!(true)));
        assert_eq!(flags, [!is_inspection(step) && !asks(call); 2], "{step}");
        asked += 1;
        // There is nothing to be built from yet, and on one node a killed run's build goes on.
        builds(call).then(|| json!({"failed": true, "error": {"kind": "busy", "path": "/d/gs_build.pid"}}))
    })
    .well();
    assert!(!done.steps.iter().any(|step| step.starts_with("Wait")) && asked > 20);
    let built: Vec<_> = done.outcome.changes.iter().filter(|c| c.step.starts_with("Build")).collect();
    assert_eq!((built.len(), &*built[1].actions[0]), (2, "build it as cascade standby"));
}

#[test]
fn check_mode_foresees_the_standbys_for_whom_commits_would_wait() {
    let how = How { check: true, ..how(Options::default()) };
    let alone = json!({"running": true, "role": "normal", "db_state": "normal"});
    let mut given = with(cluster(0), vec![fresh(2, "standby"), fresh(3, "cascade_standby")]);
    given[0].2["og_node_state"]["node"] = alone;
    parameter(&mut given, SYNC_NAMES, Some("*"));
    let mut told_of = Vec::new();
    told(&given, Workflow::Expand, "n2,n3", &how, true, |step, call| {
        let foreseen = ["foreseen", "foreseen_standbys"].map(|key| call.args.get(key).cloned());
        if foreseen.iter().any(Option::is_some) {
            assert_eq!(call.args.get("force"), None);
            told_of.push((step.to_owned(), call.node.clone().unwrap(), json!(foreseen)));
        }
        None
    })
    .well();
    let at = |step: &str, foreseen: Value| (step.to_owned(), "n1".to_owned(), foreseen);
    let wanted = [
        at("Configure rules, replication channels and parameters", json!([{SYNC_NAMES: ""}, null])),
        at("Restore synchronous_standby_names", json!([null, ["dn_6002"]])),
    ];
    assert_eq!(told_of, wanted);
}

#[test]
fn a_failed_expand_takes_back_what_it_brought() {
    let say = |_: &str, call: &NodeCall| builds(call).then(fails);
    let done = told(&two_new(), Workflow::Expand, "n4,n5", &how(Options::default()), true, say);
    let both = "n4: made to fail\nn5: made to fail";
    assert_eq!(done.why(), format!("{both} (rolled back)"));
    assert_eq!(
        done.from("Build"),
        [
            "Build standbys and cascade standbys: n4,n5",
            "Find the current primary: n1,n2,n3,n4,n5",
            "Remove the new nodes from synchronous_standby_names: n1",
            "Stop the new nodes: n4,n5",
            "Remove the new replication channels: n1,n2,n3",
            "Remove the new pg_hba.conf rules: n1,n2,n3,n4,n5",
            "Unset the new nodes' parameters: n4,n5",
            "Drop the new nodes' replication slots: n1,n2,n3",
            "Release the cluster lock: n1",
        ]
    );
    let options = Options { og_rollback: false, ..Options::default() };
    let done = told(&two_new(), Workflow::Expand, "n4,n5", &how(options), true, say);
    assert_eq!(done.why(), format!("{both} (nothing was rolled back)"));
    assert_eq!(
        done.from("Build"),
        ["Build standbys and cascade standbys: n4,n5", "Release the cluster lock: n1"]
    );
}

#[test]
fn a_failed_expand_leaves_what_was_there_before() {
    // n3 streams; n2 is away for a moment.
    let mut given = two_new();
    given[1].2["og_node_state"]["node"]["receiver"] = json!(null);
    let mut args = Vec::new();
    let done = told(&given, Workflow::Expand, "n2,n3,n4", &how(Options::default()), true, |step, call| {
        if step.ends_with("after the rollback") || step.starts_with("Drop the new nodes' replication slots") {
            args.push(Value::Object(call.args.clone()));
        }
        (updates(step, call) && call.node.as_deref() == Some("n4")).then(fails)
    });
    assert_eq!(
        done.from("Remove the new nodes from synchronous_standby_names"),
        [
            "Remove the new nodes from synchronous_standby_names: n1",
            "Stop the new nodes: n4",
            "Remove the new replication channels: n1,n2,n3",
            "Remove the new pg_hba.conf rules: n1,n2,n3,n4",
            "Restore the new nodes' parameters: n2,n3",
            "Unset the new nodes' parameters: n2,n3,n4",
            "Drop the new nodes' replication slots: n1,n2,n3",
            "Update cluster_static_config after the rollback: n1,n2,n3",
            "Release the cluster lock: n1",
        ]
    );
    assert_eq!(args[0]["names"], json!(["dn_6004"]));
    let names: Vec<_> =
        args[3]["nodes"].as_array().unwrap().iter().map(|n| n["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["n1", "n2", "n3"]);
}

#[test]
fn a_failed_expand_leaves_no_commit_waiting() {
    let undone = |given: &[Given], targets: &str, options: Options| {
        let mut undo = Value::Null;
        let done = told(given, Workflow::Expand, targets, &how(options), true, |step, call| {
            if step == "Remove the new nodes from synchronous_standby_names" {
                undo = json!([call.args["state"], call.args["parameters"][SYNC_NAMES], call.args["force"]]);
            }
            updates(step, call).then(fails)
        });
        (undo, done.why().to_owned())
    };
    // A single node, whose names were put back when its standby streamed.
    let mut given = cluster(0);
    given[0].2["og_node_state"]["node"]["role"] = json!("normal");
    given.push(fresh(2, "standby"));
    parameter(&mut given, SYNC_NAMES, Some("*"));
    let (undo, why) = undone(&given, "n2", Options::default());
    assert_eq!(undo, json!(["present", "", true]));
    assert!(
        why.ends_with(
            "rolled back), synchronous_standby_names of n1 is empty until the next expand restores it to *"
        ),
        "{why}"
    );
    // Not rolled back, they are there again.
    let options = Options { og_rollback: false, ..Options::default() };
    assert!(undone(&given, "n2", options).1.ends_with("(nothing was rolled back)"));
    // Another standby streams: it is what it was, also where that was not set.
    let any = || Options { og_sync_standbys: crate::args::SyncStandbys::Any, ..Options::default() };
    for (before, undo) in [(Some("*"), json!(["present", "*", true])), (None, json!(["absent", "", true]))] {
        let mut given = with(cluster(1), vec![fresh(3, "standby")]);
        parameter(&mut given, SYNC_NAMES, before);
        let (done, why) = undone(&given, "n3", any());
        assert_eq!(done, undo);
        assert!(why.ends_with("(rolled back)"), "{why}");
    }
}

#[test]
fn a_build_that_ended_without_a_word_is_not_foreseen() {
    let how = How { check: true, ..how(Options::default()) };
    let say = |step: &str, _: &NodeCall| {
        step.starts_with("Build").then(|| json!({"failed": true, "msg": "no room"}))
    };
    let done = told(&two_new(), Workflow::Expand, "n4,n5", &how, true, say);
    assert_eq!(done.why(), "n4: no room\nn5: no room (nothing was rolled back)");
}

#[test]
fn what_cannot_be_taken_back_is_told_and_the_rest_is() {
    let say = |step: &str, call: &NodeCall| {
        let bad = call.program == "og_static_conf" && !asks(call)
            || step.starts_with("Stop") && call.node.as_deref() == Some("n4");
        bad.then(fails)
    };
    let done = told(&two_new(), Workflow::Expand, "n4", &how(Options::default()), true, say);
    assert!(done.why().contains("(not completely rolled back, see warnings)"));
    assert!(done.outcome.warnings.contains(&"Stop the new nodes: n4: made to fail".to_owned()));
    assert_eq!(done.from("Update cluster_static_config after the rollback").len(), 2);
}

#[test]
fn a_build_that_a_killed_run_left_is_waited_for() {
    let mut given = with(cluster(1), vec![fresh(3, "standby"), fresh(4, "standby")]);
    given[3].2["og_node_state"]["node"]["build"] = json!({"running": true, "pid": 7});
    for check in [false, true] {
        let how = How { check, ..how(Options { og_build_parallel: 1, ..Options::default() }) };
        let mut waits = Vec::new();
        let done = told(&given, Workflow::Expand, "n3,n4", &how, true, |_, call| {
            if call.program == "og_hba" && !asks(call) || builds(call) {
                let own = |key: &str| call.args.get(key).cloned().unwrap_or_default();
                waits.push((call.node.clone().unwrap(), own("if_building"), own("timeout")));
            }
            None
        });
        // The module waits, in a call that has the time for it.
        let wait = if check { json!(null) } else { json!("wait") };
        let long = if check { json!(null) } else { json!(86_400) };
        assert_eq!(waits.iter().map(|(_, waits, _)| waits).collect::<Vec<_>>(), vec![&wait; waits.len()]);
        let edited: Vec<_> = waits.iter().take(4).map(|(n, _, time)| (n.as_str(), time)).collect();
        assert_eq!(edited, [("n1", &json!(null)), ("n2", &json!(null)), ("n3", &json!(null)), ("n4", &long)]);
        let built: Vec<_> = done.from("Build").iter().take(2).collect();
        assert_eq!(built, ["Build standbys: n3", "Build standbys: n4"]);
    }
}

#[test]
fn drop_in_order() {
    let options =
        Options { og_drop_commits: DropCommits::Available, og_drop_clear: true, ..Options::default() };
    let done = told(&cluster(2), Workflow::Drop, "n2", &how(options), true, nothing).well();
    assert_eq!(
        done.steps,
        [
            "Inspect all nodes: n1,n2,n3",
            "Acquire the cluster lock: n1",
            "Remove the nodes from synchronous_standby_names: n1,n3",
            "Stop the dropped nodes: n2",
            "Remove the dropped nodes from channels, rules, slots and cluster_static_config: n1,n3",
            "Clear the replication channels of the dropped nodes: n2",
            "Wait until the remaining standbys stream: n3",
            "Inspect the cluster again: n1,n3",
            "Restore most_available_sync: n1",
            "Release the cluster lock: n1",
        ]
    );
}

#[test]
fn a_drop_that_fails_lets_commits_wait_again_and_keeps_the_lock_if_it_cannot() {
    let options = || Options { og_drop_commits: DropCommits::Available, ..Options::default() };
    let say = |_: &str, call: &NodeCall| (call.program == "og_hba" && !asks(call)).then(fails);
    let done = told(&cluster(2), Workflow::Drop, "n2", &how(options()), true, say);
    assert_eq!(done.why(), "n1: made to fail\nn3: made to fail");
    assert_eq!(done.from("Restore most_available_sync").len(), 2);
    let say = |step: &str, call: &NodeCall| {
        step.starts_with("Restore most_available_sync").then(fails).or_else(|| say(step, call))
    };
    let done = told(&cluster(2), Workflow::Drop, "n2", &how(options()), true, say);
    assert!(done.why().ends_with("most_available_sync was not restored, run this again: n1: made to fail"));
    assert_eq!(done.from("Restore most_available_sync").len(), 1);
}

#[test]
fn findings_end_it_before_anything_is_changed() {
    let mut given = two_new();
    given[3].2 = json!(null);
    let done = told(&given, Workflow::Expand, "n4,n9", &how(Options::default()), true, nothing);
    assert!(done.why().starts_with("2 findings; nothing was changed:\n- og_add: n9"), "{}", done.why());
    assert_eq!((done.steps.len(), done.outcome.changed), (1, false));
}

#[test]
fn a_lock_of_the_dead_keeps_nobody_out_once_they_left_nothing_at_work() {
    let mut given = cluster(2);
    lock(&mut given, "drop n2", json!({}));
    given[0].2["og_lock"]["lock"]["owner"] = json!(DEAD);
    let (mut left, mut forced) = (2, Vec::new());
    let done = told(&given, Workflow::Drop, "n2", &how(Options::default()), true, |step, call| {
        if call.program == "og_workflow" && left > 0 {
            left -= 1;
            return Some(json!({"over": true, "left": ["og_hba"]}));
        }
        if !step.starts_with("Acquire the cluster lock") {
            return None;
        }
        forced.push(call.args["force"] == true);
        let detail = format!("the lock is held by {DEAD} since x");
        let busy = json!({"failed": true, "error": {"kind": "busy", "detail": detail}});
        Some(if call.args["force"] == true { json!({"previous": {"owner": DEAD}}) } else { busy })
    })
    .well();
    let ask = "Check whether the run that holds the lock is alive: here";
    assert_eq!(
        done.steps[..6],
        ["Inspect all nodes: n1,n2,n3", ask, ask, ask, "Inspect all nodes: n1,n2,n3", ask]
    );
    assert_eq!(forced, [false, true]);
}

#[test]
fn a_lock_that_another_run_took_in_between_is_given_back() {
    let mut owners = Vec::new();
    let done = told(&cluster(2), Workflow::Drop, "n2", &how(Options::default()), true, |step, call| {
        if !step.starts_with("Acquire the cluster lock") {
            return None;
        }
        owners.push(call.args["owner"].as_str().unwrap().to_owned());
        let holder = if owners.len() == 1 { DEAD } else { "other@here pid 5 start 6" };
        let busy = json!({"failed": true, "msg": "m", "error": {"kind": "busy", "detail": format!("the lock is held by {holder} since x")}});
        Some(match owners.len() {
            2 => json!({"previous": {"owner": "other@here pid 5 start 6", "purpose": "p"}}),
            3 => json!({}),
            _ => busy,
        })
    });
    assert!(done.why().contains("other@here pid 5 start 6"));
    assert_eq!(owners[2], "other@here pid 5 start 6");
    assert_eq!(done.steps.last().unwrap(), "Acquire the cluster lock: n1");
}

#[test]
fn a_live_run_keeps_others_out() {
    let mut given = cluster(2);
    lock(&mut given, "repair", json!({}));
    given[0].2["og_lock"]["lock"]["owner"] = json!("dba@here pid 1 start 5");
    let done = told(&given, Workflow::Drop, "n2", &how(Options::default()), true, |step, _| {
        let detail = "the lock is held by dba@here pid 1 start 5 since x";
        step.starts_with("Acquire the cluster lock")
            .then(|| json!({"failed": true, "error": {"kind": "busy", "detail": detail}}))
    });
    assert!(done.why().contains("pid 1 start 5"));
    assert_eq!(done.steps.iter().filter(|s| s.starts_with("Inspect")).count(), 1);
}

#[test]
fn status_shows_what_can_be_reached() {
    let mut given = cluster(2);
    given[2].2 = json!(null);
    let done = told(&given, Workflow::Status, "", &how(Options::default()), true, nothing).well();
    let table = &done.outcome.table;
    assert!(table[0].starts_with("1 of 2 standbys is missing (n3)"), "{table:#?}");
    assert!(table.iter().any(|line| line.starts_with("n3 ") && line.contains("unreachable")), "{table:#?}");
    assert_eq!(done.outcome.cluster.unwrap().verdict, crate::health::Verdict::Degraded);
}

#[test]
fn status_of_a_node_that_cannot_be_read_fails_and_says_why() {
    let mut given = cluster(2);
    let error = json!({"kind": "not_found", "detail": "cannot open data_dir /x"});
    given[2].2["og_node_state"] = json!({"failed": true, "msg": "x", "error": error});
    let done = told(&given, Workflow::Status, "", &how(Options::default()), true, nothing);
    assert!(done.why().starts_with("1 finding:\n- n3: its state cannot be read"), "{}", done.why());
    assert_eq!(done.outcome.findings.len(), 1);
    let line = done.outcome.table.iter().find(|line| line.starts_with("n3 ")).unwrap();
    assert!(line.contains("unknown") && done.why().contains("cannot open data_dir /x"));
    given[2].2 = given[0].2.clone();
    let done = told(&given, Workflow::Status, "", &how(Options::default()), true, nothing);
    assert!(done.outcome.table[0].starts_with("Not usable: more than one primary: n1 and n3 run as primary"));
}

#[test]
fn a_look_asks_each_machine_whether_it_has_the_address_of_its_node() {
    let mut asked = Vec::new();
    told(&cluster(1), Workflow::Status, "", &how(Options::default()), true, |_, call| {
        asked.extend(call.args.get("local").map(|local| (call.program.clone(), local.clone())));
        None
    })
    .well();
    let program = "og_replconninfo".to_owned();
    let at = |n: u8| (program.clone(), json!({"host": format!("10.0.0.{n}")}));
    assert_eq!(asked, [at(1), at(2)]);
}

#[test]
fn a_look_asks_each_node_for_its_parameters_once() {
    for workflow in [Workflow::Status, Workflow::Restart, Workflow::Drop] {
        let mut asked = Vec::new();
        told(&cluster(1), workflow, "n2", &how(Options::default()), true, |step, call| {
            let is_first = step.starts_with("Inspect all nodes") || step == "Inspect the cluster";
            if is_first && call.program == "og_guc" {
                let names: Vec<String> = serde_json::from_value(call.args["names"].clone()).unwrap();
                asked.push((call.node.clone().unwrap(), names.contains(&"*".to_owned())));
            }
            None
        });
        // All that are set where it is told which of them wait for a restart.
        let all = workflow != Workflow::Drop;
        assert_eq!(asked, [("n1".to_owned(), all), ("n2".to_owned(), all)], "{workflow:?}");
    }
}

#[test]
fn a_host_that_goes_away_ends_it() {
    let say = |step: &str, call: &NodeCall| {
        let lost =
            json!({"failed": true, "msg": "the connection was lost", "error": {"kind": "unreachable"}});
        (step.starts_with("Configure rules") && call.node.as_deref() == Some("n3")).then_some(lost)
    };
    let done = told(&two_new(), Workflow::Expand, "n4", &how(Options::default()), true, say);
    assert!(
        done.why().starts_with("n3: cannot be reached any more: the connection was lost (rolled back)"),
        "{}",
        done.why()
    );
}

#[test]
fn what_a_lost_node_may_have_been_given_is_taken_back_from_it() {
    let mut given = two_new();
    let rule = |n: u8| {
        let rule = json!({"type": "host", "databases": ["all"], "users": ["omm"],
            "address": format!("10.0.0.{n}/32"), "method": "trust"});
        json!({"line": n, "text": "x", "rule": rule})
    };
    given[2].2["og_hba"]["rules"] = json!([rule(1), rule(2), rule(3)]);
    let mut taken = Vec::new();
    let done = told(&given, Workflow::Expand, "n4,n5", &how(Options::default()), true, |step, call| {
        let lists = ["peers", "rules"].map(|key| call.args.get(key).and_then(Value::as_array));
        if let (true, Some("n3")) = (step.starts_with("Remove the new"), call.node.as_deref()) {
            taken.extend(lists.into_iter().flatten().map(Vec::len));
        }
        let lost = json!({"failed": true, "msg": "broken pipe", "error": {"kind": "unreachable"}});
        (step.starts_with("Configure rules") && call.node.as_deref() == Some("n3")).then_some(lost)
    });
    assert!(
        done.why().starts_with("n3: cannot be reached any more: broken pipe (rolled back)"),
        "{}",
        done.why()
    );
    // Channels to both new nodes, and their rules.
    assert_eq!(taken, [2, 2], "{:?}", done.steps);
}

/// Somebody switches over to n2 as soon as this step has been asked for.
fn switched(step_of_it: &'static str) -> impl FnMut(&str, &NodeCall) -> Option<Value> {
    let mut over = false;
    move |step: &str, call: &NodeCall| {
        over |= step == step_of_it;
        let role = match call.node.as_deref()? {
            _ if !over || call.program != "og_node_state" || !asks(call) => return None,
            "n2" => "primary",
            _ => "standby",
        };
        Some(json!({"node": {"running": true, "role": role, "db_state": "normal"}}))
    }
}

#[test]
fn a_switchover_meanwhile_ends_an_expand_before_the_files_are_written() {
    let expand =
        |step| told(&two_new(), Workflow::Expand, "n4,n5", &how(Options::default()), true, switched(step));
    let done = expand("Build standbys and cascade standbys");
    let why = "n2 has become primary during this run, which began with n1; ";
    assert!(done.why().starts_with(why), "{}", done.why());
    // The new primary may wait for them, and they stream.
    assert!(done.why().ends_with(" (nothing was rolled back)"), "{}", done.why());
    assert_eq!(
        done.from("Wait until"),
        [
            "Wait until the new nodes have caught up, and find the primary: n4,n5,n1,n2,n3",
            "Release the cluster lock: n1"
        ]
    );
    let last = "Update cluster_static_config and inspect the cluster again";
    let done = expand(last);
    assert!(
        done.why().starts_with(why) && done.why().ends_with(" (nothing was rolled back)"),
        "{}",
        done.why()
    );
    assert_eq!(done.from(last).len(), 2);
    // It failed for another reason, and by then it is another primary's.
    let mut switch = switched("Build standbys and cascade standbys");
    let done = told(&two_new(), Workflow::Expand, "n4,n5", &how(Options::default()), true, |step, call| {
        switch(step, call).or_else(|| builds(call).then(fails))
    });
    assert!(
        done.why()
            .starts_with(&format!("n4: made to fail\nn5: made to fail (nothing was rolled back: {why}")),
        "{}",
        done.why()
    );
}

#[test]
fn after_a_long_wait_the_primary_is_looked_for_once_more() {
    for (elapsed, looks) in [(1_999, 0), (2_001, 1)] {
        let given = two_new();
        let done = told(&given, Workflow::Expand, "n4,n5", &how(Options::default()), true, |_, call| {
            let waits = call.args.contains_key("wait") && call.node.as_deref() == Some("n5");
            waits.then(|| json!({"changed": false, "msg": "m", "elapsed_ms": elapsed}))
        })
        .well();
        let found = done.steps.iter().filter(|step| step.starts_with("Find the current primary"));
        assert_eq!(found.count(), looks, "{elapsed}: {:?}", done.steps);
    }
}

#[test]
fn a_member_that_streams_and_needs_no_change_is_not_built() {
    // As of a run that did all this already.
    let say = |changed: bool| {
        move |_: &str, call: &NodeCall| {
            let edits = !asks(call) && ["og_hba", "og_replconninfo", "og_guc"].contains(&&*call.program);
            let own = edits && call.node.as_deref() == Some("n3");
            own.then(|| json!({"changed": changed, "msg": "m"}))
        }
    };
    let mut well = cluster(2);
    well[2].2["og_node_state"]["node"]["answered"] = json!(true);
    let steps = |changed| {
        let done = told(&well, Workflow::Expand, "n3", &how(Options::default()), true, say(changed));
        done.well().steps
    };
    let built = |steps: &[String]| steps.iter().any(|step| step.starts_with("Build standbys: n3"));
    assert!(!built(&steps(false)), "{:?}", steps(false));
    assert!(built(&steps(true)), "{:?}", steps(true));
    // One that streams and is not well, or does not see its tablespaces, is for og_build to look at.
    for (key, value) in
        [("db_state", json!("need_repair")), ("tablespaces", json!({"damage": "not_seen", "names": ["x"]}))]
    {
        let mut given = well.clone();
        given[2].2["og_node_state"]["node"][key] = value;
        let done = told(&given, Workflow::Expand, "n3", &how(Options::default()), true, say(false));
        assert!(built(&done.steps), "{key}: {:?}", done.steps);
    }
}

#[test]
fn a_switchover_meanwhile_is_no_good_end_of_a_drop() {
    let options = Options { og_drop_commits: DropCommits::Available, ..Options::default() };
    let given = cluster(3);
    let done = told(&given, Workflow::Drop, "n4", &how(options), true, switched("Stop the dropped nodes"));
    assert!(done.why().starts_with("n2 has become primary during this run, which began with n1; "));
    // Commits wait again where they are made now.
    let last = ["Restore most_available_sync: n2", "Release the cluster lock: n1"];
    assert_eq!(done.from("Restore most_available_sync"), last);
}

#[test]
fn a_failed_first_expand_leaves_a_note_of_the_names() {
    let mut given = cluster(0);
    given[0].2["og_node_state"]["node"]["role"] = json!("normal");
    given.push(fresh(2, "standby"));
    parameter(&mut given, SYNC_NAMES, Some("*"));
    let mut note = Value::Null;
    let done = told(&given, Workflow::Expand, "n2", &how(Options::default()), true, |step, call| {
        if step.starts_with("Record the deferred restore") {
            note = Value::Object(call.args.clone());
        }
        builds(call).then(fails)
    });
    assert_eq!(done.steps.last().unwrap(), "Record the deferred restore in the lock: n1");
    assert_eq!((&note["state"], &note["ttl"]), (&json!("held"), &json!(1)));
    let purpose = json!({"what": "expand n2", "restore": {SYNC_NAMES: "*"}}).to_string();
    assert_eq!(note["purpose"].as_str().unwrap(), purpose);
}

#[test]
fn a_failed_expand_gives_the_new_nodes_back_what_they_had() {
    let mut given = two_new();
    // It is a running member under another name, which nobody noticed.
    given[3].2["og_guc"]["after"] = json!({"application_name": "dn_6002", "replconninfo1": "localhost=x"});
    let mut back = Vec::new();
    let done = told(&given, Workflow::Expand, "n4", &how(Options::default()), true, |step, call| {
        if step.starts_with("Restore the new nodes' parameters") {
            back.push((call.args["parameters"].clone(), call.args["reload"].clone()));
        }
        let bad = call.program == "og_replconninfo" && !asks(call) && call.node.as_deref() == Some("n3");
        (bad && step.starts_with("Configure")).then(fails)
    });
    let wanted = json!({"application_name": "dn_6002", "replconninfo1": "localhost=x"});
    assert_eq!(back, [(wanted, json!("never"))]);
    // It was not built, so its server is none of this run's.
    assert!(!done.steps.iter().any(|step| step.starts_with("Stop the new nodes")), "{:?}", done.steps);
}

#[test]
fn builds_go_side_by_side_as_the_primary_has_room() {
    let mut given = cluster(0);
    given[0].2["og_guc"]["running"] = json!({"max_wal_senders": "6", "pgxc_node_name": "dn_6001"});
    given.extend((2..6).map(|n| fresh(n, "standby")));
    let mut named = Vec::new();
    let done = told(&given, Workflow::Expand, "n2,n3,n4,n5", &how(Options::default()), true, |step, call| {
        if step.starts_with("Configure") && call.program == "og_guc" {
            named.push(call.args["parameters"]["pgxc_node_name"].as_str().unwrap().to_owned());
        }
        None
    })
    .well();
    let at = done.steps.iter().position(|step| step.starts_with("Configure rules")).unwrap();
    let builds = ["n2", "n3", "n4", "n5"].map(|n| format!("Build standbys: {n}"));
    assert_eq!(done.steps[at + 1..at + 5], builds);
    // Before they are built.
    assert_eq!(named, ["dn_6001"; 4]);
}

#[test]
fn cascade_standbys_are_built_beside_the_standbys_where_one_streams() {
    let steps = |given: &[Given], targets: &str| {
        let done = told(given, Workflow::Expand, targets, &how(Options::default()), true, nothing).well();
        done.steps.into_iter().filter(|step| step.starts_with("Build")).collect::<Vec<_>>()
    };
    let apart = ["Build standbys: n4", "Build cascade standbys: n5"];
    assert_eq!(steps(&two_new(), "n4,n5"), ["Build standbys and cascade standbys: n4,n5"]);
    // Those that are there are away for a moment: the new standby is the first that can be followed.
    let mut given = two_new();
    for node in &mut given[1..3] {
        node.2["og_node_state"]["node"]["receiver"] = json!(null);
    }
    assert_eq!(steps(&given, "n4,n5"), apart);
    // Two standbys, two builds of two senders each and one for tools; one less is too few.
    for (senders, together) in [("7", true), ("6", false)] {
        let mut given = two_new();
        given[0].2["og_guc"]["running"] = json!({"max_wal_senders": senders});
        assert_eq!(steps(&given, "n4,n5").len() == 1, together, "{senders}");
    }
    // With one kind alone the step is named by it.
    assert_eq!(steps(&two_new(), "n5"), ["Build cascade standbys: n5"]);
}

#[test]
fn preflight_does_without_a_dead_node_that_the_change_is_about() {
    use og_preflight::args::Purpose::{Any, Drop, Failover, Switchover};
    let found = |purpose, nodes: &str, dead: &str| {
        let options =
            Options { og_preflight_for: purpose, og_preflight_nodes: nodes.to_owned(), ..Options::default() };
        let say = |_: &str, call: &NodeCall| {
            let node = call.node.clone().unwrap();
            Some(if node == dead {
                json!({"failed": true, "msg": "no route", "error": {"kind": "unreachable"}})
            } else {
                json!({"failed": false, "facts": {"name": node}})
            })
        };
        let done = told(&cluster(2), Workflow::Preflight, "", &how(options), true, say);
        let why = done.outcome.msg.clone().unwrap_or_default();
        (why.contains("no route"), done.outcome.table.join("\n"))
    };
    for (purpose, nodes, dead, fails) in [
        (Failover, "n2", "n1", false),
        (Failover, "n2", "n2", true),
        (Drop, "n3", "n3", false),
        (Drop, "n3", "n2", true),
        (Switchover, "n2", "n1", true),
        (Any, "", "n3", true),
    ] {
        let (failed, table) = found(purpose, nodes, dead);
        assert_eq!(failed, fails, "{purpose:?} of {nodes} without {dead}: {table}");
        let word = if fails { "ERROR" } else { "WARNING" };
        assert!(table.contains(&format!("{word}: {dead}: not checked, unreachable: no route")), "{table}");
    }
}

#[test]
fn preflight_passes_no_node_that_it_could_not_check() {
    let mut how = how(Options::default());
    how.left_out = vec!["n3".to_owned()];
    let say = |_: &str, call: &NodeCall| {
        let node = call.node.clone().unwrap();
        assert_ne!(node, "n3");
        let facts = if node == "n2" { json!({"disks": "none"}) } else { json!({"name": node}) };
        Some(json!({"failed": false, "facts": facts}))
    };
    let done = told(&cluster(2), Workflow::Preflight, "", &how, true, say);
    assert!(done.outcome.failed);
    let found = done.outcome.preflight.as_ref().unwrap();
    let errors: Vec<Option<&str>> = found.iter().map(|own| own.error.as_deref()).collect();
    let [None, Some(unread), Some(left_out)] = errors[..] else { panic!("{errors:?}") };
    assert!(unread.starts_with("not checked: its facts cannot be read: "), "{unread}");
    assert!(left_out.contains("--limit") && done.why().contains(left_out), "{}", done.why());
    // An answer without facts is none.
    let say = |_: &str, _: &NodeCall| Some(json!({"failed": false}));
    let done = told(&cluster(2), Workflow::Preflight, "", &how, true, say);
    assert!(done.outcome.preflight.as_ref().unwrap().iter().all(|own| own.error.is_some()));
}

#[test]
fn a_cascade_standby_is_not_built_when_the_one_it_would_follow_was_not() {
    let given = with(cluster(0), vec![fresh(4, "standby"), fresh(5, "cascade_standby")]);
    let say = |step: &str, call: &NodeCall| {
        (step == "Build standbys" && call.program == "og_build")
            .then(|| json!({"failed": true, "msg": "made to fail"}))
    };
    let done = told(&given, Workflow::Expand, "n4,n5", &how(Options::default()), true, say);
    assert!(done.why().starts_with("n4: made to fail"), "{}", done.why());
    assert!(!done.steps.iter().any(|step| step.starts_with("Build cascade")), "{:?}", done.steps);
}

#[test]
fn preflight_asks_every_node_once_and_judges_them_together() {
    let options = Options {
        og_preflight_for: og_preflight::args::Purpose::Expand,
        og_preflight_nodes: "n2".to_owned(),
        ..Options::default()
    };
    let mut asked = Vec::new();
    let say = |step: &str, call: &NodeCall| {
        assert_eq!(step, "Check all nodes");
        let node = call.node.clone().unwrap();
        asked.push((node.clone(), call.args["for"].clone(), call.args["wanted"]["target"].clone()));
        let version = if node == "n2" { "5.0.3" } else { "6.0.2" };
        Some(match node.as_str() {
            "n3" => json!({"failed": true, "msg": "no route", "error": {"kind": "unreachable"}}),
            _ => json!({"failed": false, "facts": {"name": node, "programs": {"version": version}}}),
        })
    };
    let done = told(&cluster(2), Workflow::Preflight, "", &how(options), true, say);
    let expand = json!("expand");
    assert_eq!(
        asked,
        [("n1", false), ("n2", true), ("n3", false)].map(|(n, target)| (
            n.to_owned(),
            expand.clone(),
            json!(target)
        ))
    );
    assert!(done.why().contains("- n3: not checked, unreachable: no route"), "{}", done.why());
    let found = done.outcome.preflight.as_ref().unwrap();
    let differs = |node: usize| found[node].findings.iter().any(|f| f.id == "same.release");
    assert_eq!((differs(0), differs(1), found[2].error.is_some()), (false, true, true), "{found:#?}");
    let table = &done.outcome.table;
    assert!(table[0].starts_with("Not ready: ") && table[2].starts_with("NODE  ERRORS"), "{table:#?}");
    let unknown = Options { og_preflight_nodes: "n2,n9".to_owned(), ..Options::default() };
    let done = told(&cluster(2), Workflow::Preflight, "", &how(unknown), true, nothing);
    assert!(done.why().starts_with("og_preflight_nodes: n9 is no host of the inventory"), "{}", done.why());
}

#[test]
fn every_workflow_says_first_that_no_node_could_be_reached() {
    let given = cluster(2);
    let lost = json!({"failed": true, "msg": "cannot connect; try ssh",
        "error": {"kind": "unreachable", "detail": "cannot connect", "hint": "try ssh"}});
    for entry in WORKFLOWS.iter().filter(|entry| entry.workflow != Workflow::Collect) {
        let options = Options { og_parameters: args(json!({"work_mem": "8MB"})), ..Options::default() };
        let targets = if entry.targets.as_ref().is_some_and(|targets| targets.required) { "n2" } else { "" };
        let done = told(&given, entry.workflow, targets, &how(options), true, |_, _| Some(lost.clone()));
        let why = "1 finding; nothing was changed:\n- no node could be reached: n1: cannot connect (likewise n2, n3) [cluster.unreachable]; \
                   check the nodes' addresses, users and ports in the inventory; try ssh";
        assert_eq!(
            done.why().replacen("1 finding:", "1 finding; nothing was changed:", 1),
            why,
            "{}",
            entry.name
        );
        assert_eq!(done.outcome.findings.len(), 1, "{}", entry.name);
        assert!(!done.outcome.table.iter().any(|line| line.contains("primary")), "{:?}", done.outcome.table);
    }
}
