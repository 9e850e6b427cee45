//! Repairing nodes step by step.

use super::*;

/// n1 the primary, n2 well, and n3 as `change` leaves it.
pub(super) fn ailing(change: impl Fn(&mut Value)) -> Vec<Given> {
    let mut given = cluster(2);
    let rule = json!({"type": "host", "databases": ["all"], "users": ["omm"], "address": "10.0.0.0/24", "method": "trust"});
    for (_, _, seen) in &mut given {
        seen["og_hba"]["rules"] = json!([{"line": 1, "text": "x", "rule": rule}]);
    }
    change(&mut given[2].2);
    given
}

pub(super) fn stopped(seen: &mut Value) {
    seen["og_node_state"]["node"]["running"] = json!(false);
    seen["og_node_state"]["node"]["receiver"] = json!(null);
}

fn behind(seen: &mut Value) {
    seen["og_node_state"]["node"]["receiver"] = json!(null);
    seen["og_node_state"]["node"]["db_state"] = json!("need_repair");
    seen["og_node_state"]["diagnosis"] = json!({"obstacle": "log_removed", "last_error": "FATAL:  requested WAL segment has already been removed"});
    let own = json!({"type": "host", "databases": ["app"], "users": ["u"], "address": "10.1.0.0/16", "method": "sha256"});
    seen["og_hba"]["rules"].as_array_mut().unwrap().push(json!({"line": 2, "text": "x", "rule": own}));
}

/// Answers as if the repair had served: from the second inspection on all is well.
fn mends(after: &[Given]) -> impl Fn(&str, &NodeCall) -> Option<Value> {
    move |step, call| {
        if step == "Inspect the nodes again" || step == "Inspect the cluster again" {
            well(after, call)
        } else {
            None
        }
    }
}

fn none() -> How {
    how(Options::default())
}

#[test]
fn a_cluster_that_is_well_is_only_looked_at() {
    let done = told(&ailing(|_| ()), Workflow::Repair, "", &none(), true, nothing).well();
    assert_eq!(done.steps, ["Inspect all nodes: n1,n2,n3", "Inspect the cluster again: n1,n2,n3"]);
    assert!(!done.outcome.changed && done.outcome.causes.is_none());
}

#[test]
fn a_stopped_standby_is_started_and_looked_at_again() {
    let after = ailing(|_| ());
    let done = told(&ailing(stopped), Workflow::Repair, "", &none(), true, mends(&after)).well();
    assert_eq!(
        done.steps,
        [
            "Inspect all nodes: n1,n2,n3",
            "Acquire the cluster lock: n1",
            "Start the servers: n3",
            "Wait for the nodes to stream: n3",
            "Inspect the nodes again: n1,n2,n3",
            "Wait until the repaired nodes stream: n3",
            "Inspect the cluster again: n1,n2,n3",
            "Release the cluster lock: n1",
        ]
    );
    assert!(
        done.outcome.table[0].starts_with("n3 (stopped): its server was stopped"),
        "{:?}",
        done.outcome.table
    );
}

#[test]
fn an_old_primary_that_follows_again_gets_the_failovers_that_replaced_it_on_record() {
    let record = |crc: u32| json!({"begin": "0/3FFFF80", "end": "0/4000000", "crc": crc});
    let fork = |crc| json!({"new_primary": "n1", "old_primaries": ["n3"], "term": 1, "at": "T", "record": record(crc)});
    let mut given = ailing(|_| ());
    given[0].2["og_node_state"]["forks"] = json!([fork(1), fork(2)]);
    let mut recorded = Vec::new();
    let done = told(&given, Workflow::Repair, "", &none(), true, |_, call| {
        let fork = call.args.get("fork")?;
        recorded.push((call.node.clone().unwrap(), fork["record"]["crc"].clone()));
        Some(json!({"changed": true, "actions": ["record it"]}))
    })
    .well();
    assert_eq!(recorded, [("n3".to_owned(), json!(1)), ("n3".to_owned(), json!(2))]);
    assert!(done.outcome.changed);
}

#[test]
fn a_failover_is_not_over_for_an_old_primary_that_was_not_seen_to_follow() {
    let record = json!({"begin": "0/80", "end": "0/100", "crc": 5});
    let mut given = ailing(|seen| {
        stopped(seen);
        let node = &mut seen["og_node_state"];
        node["node"]["role"] = json!("primary");
        node["identity"] = json!({"system_id": "7", "content": "database"});
        node["diagnosis"] = json!({"holds": "0/100", "last_record": record});
    });
    let primary = &mut given[0].2["og_node_state"];
    primary["identity"] = json!({"system_id": "7", "content": "database"});
    primary["node"]["lsn"] = json!("0/300");
    primary["forks"] = json!([{"new_primary": "n1", "old_primaries": ["n3"], "record": record, "term": 1}]);
    // Each step works, and at each inspection it is down again.
    let run = |check: bool| {
        let mut recorded = 0;
        let own = How { check, ..how(Options::default()) };
        let done = told(&given, Workflow::Repair, "n3", &own, true, |_, call| {
            recorded += usize::from(call.args.contains_key("fork"));
            call.args
                .contains_key("log_records")
                .then(|| json!({"failed": false, "log_records": {"0/80": record}, "log_begin": "0/0"}))
        });
        assert!(done.steps.contains(&"Start the servers: n3".to_owned()), "{:?}", done.steps);
        recorded
    };
    assert_eq!((run(false), run(true)), (0, 1));
}

#[test]
fn a_full_build_follows_only_an_incremental_one_that_did_not_serve_and_is_announced() {
    let after = ailing(|_| ());
    let run = |kind: Option<&str>, reason: &str| {
        let mut modes = Vec::new();
        let mend = mends(&after);
        let done = told(&ailing(behind), Workflow::Repair, "n3", &none(), true, |step, call| {
            if builds(call) {
                modes.push(format!("{step} {}", call.args["mode"].as_str().unwrap()));
                if let Some(kind) = kind.filter(|_| call.args["mode"] == "incremental") {
                    let error = json!({"kind": kind, "reason": reason, "detail": "gs_ctl said no"});
                    return Some(json!({"failed": true, "changed": true, "msg": "m", "error": error}));
                }
            }
            mend(step, call)
        });
        (modes, done)
    };
    let (modes, done) = run(None, "");
    assert_eq!(modes, ["Rebuild standbys incrementally incremental"]);
    let done = done.well();
    assert_eq!(
        done.from("Checkpoint")[..4],
        [
            "Checkpoint the primary: n1",
            "Record the nodes' own pg_hba.conf rules in the lock: n1",
            "Rebuild standbys incrementally: n3",
            "Inspect the nodes again: n1,n2,n3"
        ]
    );
    // What the build replaced.
    assert!(
        done.steps.contains(&"Restore the nodes' own pg_hba.conf rules: n3".to_owned()),
        "{:?}",
        done.steps
    );
    let said = done.outcome.warnings.join("\n");
    assert!(
        said.contains(
            "n3: is rebuilt incrementally from n1; where that does not serve, in full: 4.9 KiB are copied"
        ),
        "{said}"
    );
    let (modes, done) = run(Some("command_failed"), "");
    assert_eq!(
        modes,
        ["Rebuild standbys incrementally incremental", "Rebuild standbys in full (4.9 KiB each) full"]
    );
    let said = done.well().outcome.warnings.join("\n");
    assert!(
        said.contains("the incremental build did not serve, 4.9 KiB are copied in full: gs_ctl said no"),
        "{said}"
    );
    // A refusal is none for a full build to override.
    for (kind, reason) in
        [("refused", ""), ("command_failed", "disk_full"), ("command_failed", "not_enough_wal_senders")]
    {
        let (modes, done) = run(Some(kind), reason);
        assert_eq!(modes.len(), 1);
        assert!(done.why().starts_with("n3: gs_ctl said no"), "{}", done.why());
        // What it had replaced is restored all the same.
        assert!(done.steps.contains(&"Restore the nodes' own pg_hba.conf rules: n3".to_owned()));
        assert!(done.steps.last().unwrap().starts_with("Release the cluster lock"));
    }
}

#[test]
fn the_rules_that_a_killed_run_had_still_to_add_are_added_by_the_next() {
    let mut given = ailing(|_| ());
    let own = json!({"type": "host", "databases": ["app"], "users": ["u"], "address": "10.1.0.0/16", "method": "sha256"});
    let purpose = json!({"what": "repair", "restore": {}, "rules": {"n3": [own]}}).to_string();
    given[0].2["og_lock"]["lock"] = json!({"owner": DEAD, "purpose": purpose});
    let mut added = Vec::new();
    let done = told(&given, Workflow::Repair, "", &none(), true, |step, call| {
        if step.starts_with("Restore") {
            added.push(call.args["rules"].clone());
        }
        None
    })
    .well();
    assert_eq!(added, [json!([own])]);
    assert!(done.steps.last().unwrap().starts_with("Release the cluster lock"));
}

#[test]
fn what_fails_on_one_node_does_not_keep_another_from_its_repair() {
    let mut given = ailing(stopped);
    stopped(&mut given[1].2);
    let after = {
        let mut after = ailing(|_| ());
        stopped(&mut after[1].2);
        after
    };
    let mend = mends(&after);
    let done = told(&given, Workflow::Repair, "", &none(), true, |step, call| {
        let fails_there = step == "Start the servers" && call.node.as_deref() == Some("n2");
        if fails_there { Some(fails()) } else { mend(step, call) }
    });
    assert_eq!(done.why(), "n2: made to fail");
    assert!(done.steps.contains(&"Wait until the repaired nodes stream: n3".to_owned()), "{:?}", done.steps);
}

#[test]
fn check_mode_foresees_the_first_steps_and_waits_for_nothing() {
    let how = How { check: true, ..none() };
    for (change, step) in
        [(stopped as fn(&mut Value), "Start the servers: n3"), (behind, "Rebuild standbys incrementally: n3")]
    {
        let done = told(&ailing(change), Workflow::Repair, "", &how, true, nothing).well();
        assert!(done.steps.contains(&step.to_owned()), "{:?}", done.steps);
        assert!(!done.steps.iter().any(|step| step.starts_with("Wait")), "{:?}", done.steps);
        assert!(done.outcome.changed);
    }
}

#[test]
fn where_cm_builds_there_is_room_for_a_full_copy_and_a_checkpoint_before() {
    let by_cm = |seen: &mut Value| {
        behind(seen);
        seen["og_node_state"]["node"]["managed_by"] =
            json!({"by": "cm", "agent": 3, "node_id": 3, "instance_id": 6003, "data_dir": "/data"});
    };
    let options = Options { og_build_room: true, ..Options::default() };
    let how = How { check: true, ..how(options) };
    let mut built = Vec::new();
    let done = told(&ailing(by_cm), Workflow::Repair, "", &how, true, |step, call| {
        let is_build = step == "Rebuild standbys by CM";
        built.extend(is_build.then(|| json!([call.args.get("mode"), call.args.contains_key("min_free")])));
        nothing(step, call)
    })
    .well();
    assert_eq!(built, [json!(["auto", true])]);
    let checkpoint = done.steps.iter().position(|step| step.starts_with("Checkpoint the primary"));
    let at = done.steps.iter().position(|step| step.starts_with("Rebuild standbys by CM"));
    assert!(checkpoint.is_some() && checkpoint < at, "{:?}", done.steps);
}

#[test]
fn what_a_forced_node_holds_is_copied_aside_before_its_server_may_change_it() {
    let is_primary = |seen: &mut Value| {
        seen["og_node_state"]["node"]["role"] = json!("primary");
        seen["og_node_state"]["node"]["receiver"] = json!(null);
    };
    let after = ailing(|_| ());
    let options = Options { og_repair_force: true, ..Options::default() };
    let run = |check: bool, given: &[Given]| {
        let mend = mends(&after);
        let how = How { check, ..how(options.clone()) };
        let mut kept = Vec::new();
        let done = told(given, Workflow::Repair, "n3", &how, true, |step, call| {
            kept.extend(
                (call.args.get("state") == Some(&json!("log_kept")))
                    .then(|| call.args.get("keep_from").cloned()),
            );
            mend(step, call)
        });
        (done, kept)
    };
    // A second primary is stopped first. In check mode it is not, and its log cannot be copied yet.
    let second = ailing(is_primary);
    let (done, kept) = run(false, &second);
    let steps = done.from("Stop the old primary");
    assert_eq!(
        steps[..3],
        [
            "Stop the old primary: n3",
            "Copy the log aside that only the node holds: n3",
            "Restart servers in the right role: n3"
        ]
    );
    assert_eq!(kept, [None]);
    assert_eq!(run(true, &second).1, []);
    // From the fork on, where the failover has recorded it and both logs go through it.
    let record = |begin: &str, end: &str| json!({"begin": begin, "end": end, "crc": 5});
    let mut given = ailing(|seen| {
        stopped(seen);
        let node = &mut seen["og_node_state"];
        node["node"]["role"] = json!("primary");
        node["identity"] = json!({"system_id": "7", "content": "database"});
        node["diagnosis"] = json!({"holds": "0/280", "last_record": record("0/200", "0/280")});
    });
    given[0].2["og_node_state"]["identity"] = json!({"system_id": "7", "content": "database"});
    given[0].2["og_node_state"]["node"]["lsn"] = json!("0/300");
    given[0].2["og_node_state"]["forks"] =
        json!([{"new_primary": "n1", "record": record("0/80", "0/100"), "term": 1}]);
    let mend = mends(&after);
    let mut kept = Vec::new();
    let how = how(options.clone());
    let compared = |call: &NodeCall| {
        call.args.contains_key("log_records").then(|| {
            let own = if call.node.as_deref() == Some("n3") { record("0/200", "0/280") } else { Value::Null };
            let records = json!({"0/80": record("0/80", "0/100"), "0/200": own});
            json!({"failed": false, "log_records": records, "log_begin": "0/0"})
        })
    };
    let done = told(&given, Workflow::Repair, "n3", &how, true, |step, call| {
        kept.extend(call.args.get("keep_from").cloned());
        compared(call).or_else(|| mend(step, call))
    })
    .well();
    assert_eq!(kept, [json!("0/100")]);
    assert!(done.steps.iter().any(|step| step.starts_with("Compare the logs: ")), "{:?}", done.steps);
    let after_copy = done.from("Copy the log aside that only the node holds");
    let wanted = [
        "Start the servers: n3",
        "Measure the size of the primary: n1",
        "Checkpoint the primary: n1",
        "Rebuild standbys incrementally: n3",
    ];
    assert_eq!(after_copy[1..5], wanted, "it is not waited for whether it follows");
    // Where there is no copy, nothing there is changed.
    let failed = told(&given, Workflow::Repair, "n3", &how, true, |step, call| match step {
        "Copy the log aside that only the node holds" => {
            Some(json!({"failed": true, "msg": "m", "error": {"kind": "io", "detail": "the disk is full"}}))
        }
        _ => compared(call).or_else(|| mend(step, call)),
    });
    let acts = |step: &String| step.starts_with("Start the servers") || step.starts_with("Rebuild");
    assert!(
        !failed.steps.iter().any(acts) && failed.why().contains("the disk is full"),
        "{:?}",
        failed.steps
    );
}

#[test]
fn a_run_that_goes_on_after_another_one_finds_what_is_left() {
    // The first run was killed after the build was begun: it runs still.
    let building = |seen: &mut Value| {
        stopped(seen);
        seen["og_node_state"]["node"]["build"] = json!({"running": true});
    };
    let after = ailing(|_| ());
    let mend = mends(&after);
    let mut waits = Vec::new();
    told(&ailing(building), Workflow::Repair, "", &none(), true, |step, call| {
        if builds(call) {
            waits.push((step.to_owned(), call.args["mode"].clone(), call.args["if_building"].clone()));
        }
        mend(step, call)
    })
    .well();
    assert_eq!(waits, [("Wait for builds that run".to_owned(), json!("auto"), json!("wait"))]);
}

#[test]
fn own_rules_that_were_not_restored_stay_in_the_record_of_the_lock() {
    let after = ailing(|_| ());
    let mend = mends(&after);
    let mut left = Vec::new();
    let done = told(&ailing(behind), Workflow::Repair, "", &none(), true, |step, call| {
        if call.program == "og_lock" && call.args.get("ttl") == Some(&json!(1)) {
            left.push(call.args["purpose"].as_str().unwrap().to_owned());
        }
        if step.starts_with("Restore") { Some(fails()) } else { mend(step, call) }
    });
    assert_eq!(done.why(), "n3: made to fail");
    let [purpose] = &left[..] else { panic!("{:?}", done.steps) };
    assert!(purpose.contains("10.1.0.0/16"), "{purpose}");
    assert!(!done.steps.iter().any(|step| step.starts_with("Release")), "{:?}", done.steps);
    // Another workflow, whatever comes of it, does not lose them.
    let mut given = cluster(2);
    given[0].2["og_lock"]["lock"] = json!({"owner": DEAD, "purpose": purpose});
    let mut kept = Vec::new();
    told(&given, Workflow::Drop, "n3", &none(), true, |_, call| {
        if call.program == "og_lock" {
            kept.extend(call.args.get("purpose").map(|text| text.as_str().unwrap().contains("10.1.0.0/16")));
        }
        None
    })
    .well();
    assert!(kept.len() >= 2 && kept.iter().all(|keeps| *keeps), "{kept:?}");
}

#[test]
fn of_standbys_that_stream_the_next_is_stopped_only_when_the_last_is_back() {
    let unseen = |seen: &mut Value| {
        seen["og_node_state"]["node"]["tablespaces"] =
            json!({"names": ["dn_6001"], "running": "x", "configured": "x", "damage": "not_seen"});
    };
    let mut given = ailing(unseen);
    unseen(&mut given[1].2);
    let after = ailing(|_| ());
    let run = |what: &str| {
        let mend = mends(&after);
        let mut built = Vec::new();
        let done = told(&given, Workflow::Repair, "", &none(), true, |step, call| {
            if builds(call) {
                built.push(call.node.clone().unwrap());
            }
            let fails_here = what == step || what == "build" && builds(call);
            if fails_here { Some(fails()) } else { mend(step, call) }
        });
        (built.join(","), done.outcome.msg.unwrap_or_default())
    };
    assert_eq!(run(""), ("n2,n3".to_owned(), String::new()));
    let (built, why) = run("build");
    assert_eq!((&*built, &*why), ("n2", "n2: made to fail\nn3: not done, n2 is away"));
    let (built, why) = run("Wait until it streams");
    assert_eq!((&*built, &*why), ("n2", "n3: not done, n2 is away"));
}
