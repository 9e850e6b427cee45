//! A cluster of bare hosts, and a dropped node that is cleared.

use serde_json::{Value, json};

use super::{Told, how, told};
use crate::args::{ClearMode, NodeCall, Options};
use crate::plan::tests::Given;
use crate::plan::tests::clear::dropped;
use crate::plan::tests::deploy::{bare, made};
use crate::plan::tests::{cluster, fresh};
use crate::steps::Workflow;

/// What the nodes say when the primary was started: n1 runs with channels to n2 and n3, which only were configured.
fn started(step: &str, call: &NodeCall, looks: &mut usize) -> Option<Value> {
    if step.starts_with("Inspect all nodes")
        && call.program == "og_node_state"
        && call.node.as_deref() == Some("n1")
    {
        *looks += 1;
    }
    if !super::asks(call) || call.program == "og_build" || *looks < 2 || step.ends_with("lock") {
        return None;
    }
    let now: Vec<Given> =
        cluster(2).into_iter().take(1).chain([fresh(2, "standby"), fresh(3, "standby")]).collect();
    let own = now.iter().find(|(name, ..)| Some(name) == call.node.as_ref())?;
    Some(own.2.get(&call.program).cloned().unwrap_or(json!({})))
}

fn deploy(given: &[Given], check: bool, mut say: impl FnMut(&str, &NodeCall) -> Option<Value>) -> Told {
    let options = Options {
        og_password_file: "/home/omm/.og_password".to_owned(),
        og_xml: "/gauss/cluster_config.xml".to_owned(),
        ..Options::default()
    };
    let mut how = how(options);
    how.check = check;
    told(given, Workflow::Deploy, "", &how, true, |step, call| say(step, call))
}

fn three() -> Vec<Given> {
    vec![bare(1, "primary"), bare(2, "standby"), bare(3, "standby")]
}

#[test]
fn a_cluster_is_made_in_order() {
    let (mut looks, mut passwords) = (0, Vec::new());
    let done = deploy(&three(), false, |step, call| {
        if step == "Initialise data directories" && call.args.contains_key("password_file") {
            passwords.extend(call.node.clone());
        }
        if step == "Start the primary" {
            assert_eq!(call.args["role"], "primary");
            assert!(!call.args.contains_key("force"));
        }
        started(step, call, &mut looks)
    })
    .well();
    assert_eq!(
        done.steps[..11],
        [
            "Inspect all nodes: n1,n2,n3",
            "Initialise data directories: n1,n2,n3",
            "Acquire the cluster lock: n1",
            "Inspect all nodes under the lock: n1,n2,n3",
            "Configure the new nodes' parameters: n1,n2,n3",
            "Configure pg_hba.conf rules of the primary: n1",
            "Configure replication channels of the primary: n1",
            "Start the primary: n1",
            "Inspect all nodes: n1,n2,n3",
            "Acquire the cluster lock: n1",
            "Measure the size of the primary: n1",
        ]
    );
    assert_eq!(passwords, ["n1"], "what others are made with is replaced by the primary's data");
    assert!(done.steps.contains(&"Build standbys: n2,n3".to_owned()), "{:#?}", done.steps);
    assert_eq!(done.steps.iter().filter(|step| step.starts_with("Release the cluster lock")).count(), 1);
    assert_eq!(done.from("Write cluster_config.xml"), ["Write cluster_config.xml: n1,n2,n3"]);
    assert!(done.outcome.table.iter().any(|line| line.starts_with("max_process_memory = ")));
}

#[test]
fn check_mode_tells_all_and_asks_nobody_to_change_anything() {
    let done = deploy(&three(), true, |_, call| {
        let asks = call.args.get("state").is_some_and(|state| state == "query");
        assert!(asks || call.args.get("check_mode") == Some(&json!(true)), "{call:?}");
        None
    })
    .well();
    let told: Vec<_> = done.outcome.changes.iter().flat_map(|change| &change.actions).collect();
    for action in ["set pgxc_node_name = dn_6001", "start the server as primary", "build it from n1"] {
        assert!(told.iter().any(|there| *there == action), "{action}: {told:#?}");
    }
    assert!(done.outcome.table[0].contains("% of the"), "{:?}", done.outcome.table);
}

#[test]
fn a_failure_before_the_standbys_are_built_releases_the_lock() {
    let done = deploy(&[made(1, "primary"), made(2, "standby")], false, |step, _| {
        (step == "Start the primary").then(super::fails)
    });
    assert!(done.outcome.incomplete && done.why().contains("made to fail"));
    assert_eq!(done.from("Start the primary"), ["Start the primary: n1", "Release the cluster lock: n1"]);
}

#[test]
fn nothing_is_done_to_a_cluster_that_is_deployed() {
    let mut given = cluster(1);
    for own in &mut given {
        own.2["og_initdb"] = json!({"failed": false, "directory": {"path": "/d", "content": "database"}});
    }
    let done = told(&given, Workflow::Deploy, "", &how(Options::default()), true, |_, _| None).well();
    assert_eq!(done.steps, ["Inspect all nodes: n1,n2", "Inspect the cluster again: n1,n2"]);
    assert!(!done.outcome.changed);
}

const HASH: &str = "0a7bd2f2a9a3c1a39e8e2a5d2a4cfd6f38f4e8f0f3ab3b0b8a3e9db7c94c1a55";

/// A cluster of two with a link to program files each.
fn linked() -> Vec<Given> {
    let mut given = cluster(1);
    for own in &mut given {
        own.1["gauss_home"] = json!("/gauss/app/current");
        own.2["og_initdb"] = json!({"failed": false, "directory": {"path": "/d", "content": "database"}});
    }
    given
}

/// What is said of the package: n1 has it, n2 lacks it.
fn packaged(call: &NodeCall) -> Option<Value> {
    match (call.program.as_str(), call.node.as_deref()) {
        ("og_workflow", None) => {
            Some(json!({"package": {"path": "/p/openGauss.tar.bz2", "size": 5000, "sha256": HASH}}))
        }
        ("og_package", Some("n1")) => {
            Some(json!({"changed": false, "failed": false, "current": {"path": "/x"}}))
        }
        ("og_package", _) => Some(json!({"changed": true, "failed": false, "actions": ["unpack it"]})),
        ("og_file", _) if call.put.is_none() => Some(json!({"changed": false, "failed": false})),
        _ => None,
    }
}

fn deploy_package(given: &[Given], check: bool, say: impl FnMut(&str, &NodeCall) -> Option<Value>) -> Told {
    let mut how = how(Options { og_package: "openGauss.tar.bz2".to_owned(), ..Options::default() });
    how.check = check;
    told(given, Workflow::Deploy, "", &how, true, say)
}

#[test]
fn a_package_is_brought_to_the_nodes_that_lack_it() {
    let mut put = Vec::new();
    let done = deploy_package(&linked(), false, |step, call| {
        put.extend(call.put.clone());
        if step == "Transfer the package" {
            assert_eq!((&call.args["sha256"], &call.args["size"]), (&json!(HASH), &json!(5000)));
            assert_eq!(call.args["path"], "/gauss/app/openGauss-0a7bd2f2a9a3c1a3.package");
        } else if step == "Unpack the package" {
            assert_eq!(call.args["package"], "/gauss/app/openGauss-0a7bd2f2a9a3c1a3.package");
            assert_eq!(call.args["link"], "/gauss/app/current");
        }
        packaged(call)
    })
    .well();
    assert_eq!(
        done.steps,
        [
            "Inspect the package: here",
            "Inspect the data directories: n1,n2",
            "Check whether the nodes have the package: n1,n2",
            "Transfer the package: n2",
            "Unpack the package: n2",
            "Remove the file of the package: n1,n2",
            "Inspect all nodes: n1,n2",
            "Inspect the cluster again: n1,n2",
        ]
    );
    let [file] = &put[..] else { panic!("{put:?}") };
    assert_eq!((&*file.from, &*file.sha256, &*file.mode), ("/p/openGauss.tar.bz2", HASH, "0600"));
    assert!(done.outcome.changed);
}

#[test]
fn nothing_is_brought_to_nodes_that_have_the_package() {
    let done = deploy_package(&linked(), false, |_, call| {
        packaged(call).and_then(|_| {
            packaged(&NodeCall { node: call.node.as_ref().map(|_| "n1".to_owned()), ..call.clone() })
        })
    })
    .well();
    assert!(
        !done.outcome.changed && !done.steps.iter().any(|step| step.starts_with("Transfer")),
        "{:?}",
        done.steps
    );
}

#[test]
fn check_mode_tells_of_the_package_and_carries_nothing() {
    let done = deploy_package(&linked(), true, |_, call| packaged(call)).well();
    assert_eq!(done.steps.last().unwrap(), "Unpack the package: n2");
    let told: Vec<_> =
        done.outcome.changes.iter().map(|change| (&*change.node, &*change.actions[0])).collect();
    assert_eq!(told, [("n2", "unpack it")]);
}

#[test]
fn what_speaks_against_a_package_is_found_before_any_change() {
    let mut given = linked();
    given[1].1.as_object_mut().unwrap().remove("gauss_home");
    let done = deploy_package(&given, false, |_, call| {
        let problem = json!({"package": {"path": "/p", "problem": "/p is no package of openGauss"}});
        if call.program == "og_workflow" { Some(problem) } else { packaged(call) }
    });
    assert_eq!(done.steps, ["Inspect the package: here"]);
    assert!(
        done.why().contains("og_package: /p is no package") && done.why().contains("n2: has no gauss_home")
    );
    let done = deploy_package(&linked(), false, |_, call| match call.program.as_str() {
        "og_package" => {
            Some(json!({"failed": true, "error": {"kind": "refused", "detail": "it leads elsewhere"}}))
        }
        _ => packaged(call),
    });
    assert_eq!(done.outcome.findings, ["n1: it leads elsewhere", "n2: it leads elsewhere"]);
    assert!(!done.outcome.changed && done.why().contains("nothing was changed"));
}

/// What og_initdb says of a data directory, and of the password file.
fn directory(content: &str, made: bool, problem: Option<&str>) -> Value {
    json!({"failed": false, "directory": {"path": "/d", "content": content, "made": made}, "password_problem": problem})
}

#[test]
fn that_there_is_no_password_is_found_before_the_operating_system_and_the_package_are_touched() {
    let no_user = json!({"failed": true, "msg": "m", "error": {"kind": "not_found", "path": "/os_user", "detail": "no user"}});
    let lost = json!({"failed": true, "msg": "no route", "unreachable": true});
    let unread = directory("missing", false, Some("cannot read /p: no such file"));
    let of = |file: &str, n1: &Value, n2: &Value| {
        let options = Options {
            og_host: true,
            og_package: "openGauss.tar.bz2".to_owned(),
            og_password_file: file.to_owned(),
            ..Options::default()
        };
        let mut given = linked();
        for (_, vars, _) in &mut given {
            (vars["data_dir"], vars["os_user"]) = (json!("/gauss/data/dn1"), json!("omm"));
        }
        told(&given, Workflow::Deploy, "", &how(options), true, |step, call| {
            if step == "Inspect the data directories" {
                let primary = call.node.as_deref() == Some("n1");
                let named = primary && !file.is_empty();
                assert_eq!(call.args.get("password_file"), named.then(|| json!(file)).as_ref());
                return Some(if primary { n1.clone() } else { n2.clone() });
            }
            if call.program == "og_host" {
                Some(json!({"failed": true, "msg": "reached"}))
            } else {
                packaged(call)
            }
        })
    };
    let vacant = directory("missing", false, None);
    for (file, n1, n2, finding) in [
        ("", &vacant, &vacant, "n1: no password is given"),
        ("", &vacant, &directory("database", true, None), "n1: no password is given"),
        // He is made in this run; the password cannot be.
        ("", &no_user, &no_user, "n1: no password is given"),
        (
            "/p",
            &unread,
            &vacant,
            "n1: og_password_file gives no password for the initial user: cannot read /p",
        ),
        ("/p", &no_user, &no_user, "n1: reached"),
        ("/p", &vacant, &vacant, "n1: reached"),
        // One of another cluster, or whose primary is another node by now.
        ("", &vacant, &directory("database", false, None), "n1: reached"),
        ("", &directory("database", true, None), &vacant, "n1: reached"),
        ("", &vacant, &lost, "n1: reached"),
    ] {
        let done = of(file, n1, n2);
        assert!(done.why().contains(finding), "{finding}: {}", done.why());
        let is_early = !finding.ends_with("reached");
        assert_eq!(done.steps.last().unwrap().starts_with("Inspect the data directories"), is_early);
        assert!(!done.outcome.changed);
    }
}

#[test]
fn a_password_file_that_cannot_be_read_is_found_with_all_the_rest() {
    let mut given = three();
    given[0].2["og_initdb"]["password_problem"] =
        json!("cannot read /home/omm/.og_password: permission denied");
    given[2].2["og_preflight"]["facts"]["kernel"]["semaphores"] = json!([1, 1, 1, 1]);
    for check in [true, false] {
        let done = deploy(&given, check, |_, call| {
            let asked = call.program == "og_initdb" && call.node.as_deref() == Some("n1");
            assert_eq!(call.args.contains_key("password_file"), asked);
            None
        });
        assert_eq!(done.outcome.findings.len(), 2, "{}", done.why());
        assert!(done.why().contains("n1: og_password_file gives no password"), "{}", done.why());
        assert_eq!(done.steps, ["Inspect all nodes: n1,n2,n3"]);
    }
}

/// n3 was dropped, runs still, and has program files that og_package unpacked.
fn packaged_and_dropped() -> Vec<Given> {
    let mut given = dropped();
    for (_, vars, _) in &mut given {
        vars["gauss_home"] = json!("/gauss/app/current");
    }
    (given[2].2["og_node_state"]["node"]["running"], given[2].2["og_node_state"]["node"]["pid"]) =
        (json!(true), json!(4711));
    given[2].2["og_node_state"]["os_user"] = json!("omm");
    given
}

fn clear_package(given: &[Given], check: bool, say: impl FnMut(&str, &NodeCall) -> Option<Value>) -> Told {
    let mut how = how(Options { og_package_absent: true, og_host_absent: true, ..Options::default() });
    how.check = check;
    told(given, Workflow::Clear, "n3", &how, true, say)
}

/// What og_package and og_static_conf say of what would go, or went.
fn files_go(call: &NodeCall) -> Option<Value> {
    let record = |number: i64| json!({"name": format!("h{number}"), "address": format!("10.0.0.{number}"), "base_port": 26000});
    let is_removal = call.args.get("state").is_some_and(|state| state == "absent");
    match call.program.as_str() {
        "og_package" => Some(json!({
            "failed": false, "changed": true, "actions": ["remove the program files"], "link": "/gauss/app/current",
            "env_file": null, "current": {"path": "/gauss/app/openGauss-6.0.2-0a7bd2f2"}, "other_links": [],
        })),
        "og_static_conf" if is_removal => Some(json!({
            "failed": false, "changed": true, "actions": ["remove it"], "local": "h3", "nodes": [record(1), record(3)],
        })),
        _ => None,
    }
}

#[test]
fn program_files_go_after_the_data_and_before_the_operating_system_is_restored() {
    for check in [true, false] {
        let done = clear_package(&packaged_and_dropped(), check, |step, call| {
            let is_static = call.program == "og_static_conf" && call.args["state"] == "absent";
            if call.program == "og_package" || is_static {
                // When the data directory is gone it tells nobody as whom to act.
                assert_eq!(call.args["os_user"], "omm");
                assert_eq!(
                    call.args.contains_key("check_mode"),
                    check || !step.starts_with("Remove"),
                    "{step}"
                );
            }
            if call.program == "og_package" {
                assert_eq!(call.args["link"], "/gauss/app/current");
                let foresees = call.args.contains_key("check_mode");
                assert_eq!(call.args.get("ended"), foresees.then(|| json!([4711])).as_ref());
            } else if is_static {
                assert_eq!(call.args["path"], "/gauss/app/current/bin/cluster_static_config");
                assert_eq!(call.args.get("local"), step.starts_with("Remove").then(|| json!("h3")).as_ref());
            } else if step == "Inspect the operating systems" {
                assert_eq!(
                    call.args["gone"],
                    json!(["/gauss/app/current", "/gauss/app/openGauss-6.0.2-0a7bd2f2"])
                );
            }
            files_go(call)
        })
        .well();
        let steps =
            done.steps[1..].iter().filter(|step| !step.ends_with(": n1") && !step.ends_with(": n1,n2"));
        let mut wanted = vec![
            "Check whether the program files may go: n3",
            "Inspect the cluster's files beside them: n3",
            "Inspect the operating systems: n3",
            "Check whether the data directories may go: n3",
            "Stop the cleared nodes: n3",
            "Remove the data directories: n3",
            "Remove cluster_static_config: n3",
            "Remove the program files: n3",
            "Restore the operating system: n3",
        ];
        if check {
            wanted.retain(|step| !step.starts_with("Remove the data") && !step.starts_with("Restore"));
        }
        assert_eq!(steps.collect::<Vec<_>>(), wanted);
        let changed: Vec<_> = done.outcome.changes.iter().map(|change| change.step.as_str()).collect();
        assert!(
            changed.contains(&"Remove cluster_static_config")
                && changed.contains(&"Remove the program files")
        );
    }
}

#[test]
fn program_files_that_serve_something_else_are_a_finding_before_anything_is_changed() {
    let refused =
        |detail: &str| json!({"failed": true, "msg": detail, "error": {"kind": "refused", "detail": detail}});
    for (program, answer, finding) in [
        ("og_package", refused("it is in use: gaussdb (pid 5)"), "n3: it is in use: gaussdb (pid 5)"),
        ("og_static_conf", refused("also for the database in /d2"), "n3: also for the database in /d2"),
        // The copy of another node; and one of another cluster.
        (
            "og_static_conf",
            json!({"failed": false, "changed": true, "local": "h1", "nodes": [{"name": "h1", "address": "10.0.0.1", "base_port": 26000}]}),
            "is that of another node or cluster",
        ),
        (
            "og_static_conf",
            json!({"failed": false, "changed": true, "local": "h3", "nodes": [
                {"name": "h3", "address": "10.0.0.3", "base_port": 26000}, {"name": "x", "address": "10.9.0.1", "base_port": 26000},
            ]}),
            "is that of another node or cluster",
        ),
    ] {
        for check in [true, false] {
            let done = clear_package(&packaged_and_dropped(), check, |_, call| {
                let is_asked = call.program == program && call.args["state"] == "absent";
                if is_asked { Some(answer.clone()) } else { files_go(call) }
            });
            assert!(done.why().contains(finding), "{finding}: {}", done.why());
            assert_eq!(done.outcome.findings.len(), 1, "{}", done.why());
            assert!(!done.outcome.changed && !done.steps.iter().any(|step| step.contains("lock")));
        }
    }
}

#[test]
fn what_og_package_leaves_keeps_the_clusters_files() {
    // Another link leads to the program files; or they are none of og_package's.
    for (changed, links) in [(true, json!(["/gauss/app/second"])), (false, json!([]))] {
        let done = clear_package(&packaged_and_dropped(), false, |_, call| {
            let is_removal = call.args.get("state").is_some_and(|state| state == "absent");
            assert!(call.program != "og_static_conf" || !is_removal);
            (call.program == "og_package").then(|| {
                json!({"failed": false, "changed": changed, "warnings": ["it stays"], "link": "/gauss/app/current",
                    "current": {"path": "/x"}, "other_links": links})
            })
        })
        .well();
        assert_eq!(done.steps.contains(&"Remove the program files: n3".to_owned()), changed);
        assert!(done.outcome.warnings.contains(&"n3: it stays".to_owned()), "{:?}", done.outcome.warnings);
    }
}

fn clear(mode: ClearMode, check: bool, say: impl FnMut(&str, &NodeCall) -> Option<Value>) -> Told {
    let mut given = dropped();
    given[2].2["og_node_state"]["node"]["running"] = json!(true);
    let options =
        Options { og_clear_mode: mode, og_confirm_clear: "dn_6003".to_owned(), ..Options::default() };
    let mut how = how(options);
    how.check = check;
    told(&given, Workflow::Clear, "n3", &how, true, say)
}

#[test]
fn a_dropped_node_is_stopped_before_its_data_go() {
    let done = clear(ClearMode::Deleted, false, |step, call| {
        if step == "Remove the data directories" {
            assert_eq!((&call.args["mode"], &call.args["confirm"]), (&json!("deleted"), &json!("dn_6003")));
            assert_eq!(call.args["peers"].as_array().map(Vec::len), Some(2));
        }
        None
    })
    .well();
    assert_eq!(
        done.steps,
        [
            "Inspect all nodes: n1,n2,n3",
            "Check whether the data directories may go: n3",
            "Acquire the cluster lock: n1",
            "Stop the cleared nodes: n3",
            "Remove the data directories: n3",
            "Inspect the cluster again: n1,n2",
            "Release the cluster lock: n1",
        ]
    );
    assert!(done.outcome.table.iter().any(|line| line.contains("data_dir")), "{:?}", done.outcome.table);
}

#[test]
fn check_mode_tells_what_would_go_though_its_server_runs() {
    let done = clear(ClearMode::Moved, true, |step, _| {
        assert_ne!(step, "Remove the data directories");
        (step.starts_with("Check whether")).then(|| refused("running"))
    })
    .well();
    assert!(done.outcome.changes.iter().any(|change| change.actions == ["move aside /d"]));
}

fn refused(kind: &str) -> Value {
    let obstacle = json!({"kind": kind, "detail": "it is in the way", "fix": "go"});
    json!({"failed": true, "msg": "it is in the way", "obstacles": [obstacle],
        "error": {"kind": "refused", "detail": "it is in the way"}})
}

#[test]
fn no_server_is_stopped_whose_data_may_not_go() {
    for check in [false, true] {
        let done = clear(ClearMode::Moved, check, |step, call| {
            let asks = step.starts_with("Check whether");
            assert!(!asks || call.args["peers"].as_array().map(Vec::len) == Some(2));
            asks.then(|| refused("channel"))
        });
        assert!(done.why().contains("n3: it is in the way"), "{}", done.why());
        assert_eq!(
            done.steps,
            ["Inspect all nodes: n1,n2,n3", "Check whether the data directories may go: n3"]
        );
    }
}

#[test]
fn what_changed_before_the_lock_was_taken_ends_the_run() {
    let given = [made(1, "primary"), made(2, "standby")];
    let done = deploy(&given, false, |step, call| {
        let there = step.ends_with("under the lock") && call.program == "og_initdb";
        there.then(
            || json!({"failed": false, "directory": {"path": "/d", "content": "database", "system_id": "5"}}),
        )
    });
    assert!(done.why().contains("n1: somebody else has changed its data directory"), "{}", done.why());
    assert_eq!(
        done.from("Acquire"),
        [
            "Acquire the cluster lock: n1",
            "Inspect all nodes under the lock: n1,n2",
            "Release the cluster lock: n1"
        ]
    );
}

#[test]
fn where_a_primary_lives_the_lock_comes_first_and_a_refusal_of_expand_releases_it() {
    let mut given = cluster(0);
    given[0].2["og_initdb"] = json!({"failed": false, "directory": {"path": "/d", "content": "database"}});
    given.push(bare(2, "standby"));
    let mut looks = 0;
    let done = deploy(&given, false, |step, call| {
        looks += usize::from(
            step == "Inspect all nodes"
                && call.program == "og_node_state"
                && call.node.as_deref() == Some("n1"),
        );
        // n2 is gone when expand looks.
        let lost = looks > 1 && super::asks(call) && call.node.as_deref() == Some("n2");
        lost.then(|| json!({"failed": true, "msg": "no route", "error": {"kind": "unreachable"}}))
    });
    assert!(done.why().contains("n2: cannot be reached"), "{}", done.why());
    assert_eq!(
        done.steps[..3],
        [
            "Inspect all nodes: n1,n2",
            "Acquire the cluster lock: n1",
            "Inspect all nodes under the lock: n1,n2"
        ]
    );
    assert_eq!(done.steps.last().map(String::as_str), Some("Release the cluster lock: n1"));
}
