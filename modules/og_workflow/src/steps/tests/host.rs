//! The operating system of the nodes, before a deploy and after a clear.

use serde_json::{Value, json};

use super::{Told, how, told};
use crate::args::{ClearMode, NodeCall, Options};
use crate::plan::tests::Given;
use crate::plan::tests::clear::dropped;
use crate::plan::tests::deploy::bare;
use crate::seen::HOST;
use crate::steps::Workflow;

fn options() -> Options {
    Options { og_host: true, ..Options::default() }
}

fn two() -> Vec<Given> {
    let mut given = vec![bare(1, "primary"), bare(2, "standby")];
    for (_, vars, _) in &mut given {
        (vars["data_dir"], vars["os_user"]) = (json!("/gauss/data/dn1"), json!("omm"));
    }
    given
}

/// What og_host says where it changes something, with or without the user.
fn changes(user: bool) -> Value {
    let seen = user.then_some("uid 1001");
    json!({"failed": false, "changed": true, "msg": "m", "actions": ["write /etc/sysctl.d/90-opengauss-node.conf"],
        "items": [{"kind": "user", "name": "omm", "seen": seen, "wanted": "a user", "made": !user}]})
}

fn deploy(
    given: &[Given],
    check: bool,
    options: Options,
    mut say: impl FnMut(&str, &NodeCall) -> Option<Value>,
) -> Told {
    let mut how = how(Options { og_password_file: "/home/omm/p".to_owned(), ..options });
    how.check = check;
    told(given, Workflow::Deploy, "", &how, true, |step, call| say(step, call))
}

#[test]
fn the_operating_system_is_prepared_before_all_else_and_only_where_that_is_wanted() {
    let mut wanted = Vec::new();
    let done = deploy(&two(), false, options(), |step, call| {
        (call.program == HOST).then(|| {
            assert_eq!(call.args.contains_key("check_mode"), step.starts_with("Inspect"), "{step}");
            wanted.push(call.args.clone());
            changes(false)
        })
    });
    assert_eq!(
        done.steps[..6],
        [
            "Inspect the data directories: n1,n2",
            "Inspect the operating systems: n1,n2",
            LOGINS,
            "Prepare the operating system: n1,n2",
            "Inspect all nodes: n1,n2",
            "Initialise data directories: n1,n2",
        ]
    );
    for own in wanted {
        assert_eq!(own["user"], "omm");
        assert_eq!(own["directories"], json!([{"path": "/gauss/data"}]));
        assert_eq!((&own["recommended"], &own["base_ports"]), (&json!(true), &json!([26000])));
    }
    let prepared: Vec<_> =
        done.outcome.changes.iter().filter(|one| one.step.starts_with("Prepare")).collect();
    assert_eq!(prepared.len(), 2);
    let without = deploy(&two(), false, Options::default(), |_, call| {
        assert_ne!(call.program, HOST);
        None
    });
    assert_eq!(without.steps[0], "Inspect all nodes: n1,n2");
}

#[test]
fn with_a_unit_each_node_starts_with_its_machine() {
    let mut given = two();
    given[1].1["env_file"] = json!("/home/omm/env");
    let mut units = Vec::new();
    deploy(&given, false, Options { og_unit: true, ..options() }, |step, call| {
        (call.program == HOST).then(|| {
            if step.starts_with("Prepare") {
                units.push(call.args["unit"].clone());
            }
            changes(false)
        })
    });
    let unit = json!({"data_dir": "/gauss/data/dn1"});
    assert_eq!(units, [unit, json!({"data_dir": "/gauss/data/dn1", "env_file": "/home/omm/env"})]);
    let without = deploy(&given, false, Options { og_unit: true, ..Options::default() }, |_, _| None);
    assert!(without.why().contains("og_unit needs og_host"), "{}", without.why());
    assert!(without.steps.iter().all(|step| !step.starts_with("Init")), "{:?}", without.steps);
}

#[test]
fn the_folder_that_the_package_goes_into_is_made_too() {
    for (data_dir, link, wanted) in [
        (
            "/gauss/data/dn1",
            "/gauss/app/current",
            json!([{"path": "/gauss/app", "mode": "0755"}, {"path": "/gauss/data"}]),
        ),
        // The outer one first, or it would be root's on the way to the inner one.
        ("/db/data/dn1", "/db/current", json!([{"path": "/db", "mode": "0755"}, {"path": "/db/data"}])),
        ("/gauss/dn1", "/gauss/current", json!([{"path": "/gauss"}])),
    ] {
        let mut given = two();
        for (_, vars, _) in &mut given {
            (vars["data_dir"], vars["gauss_home"]) = (json!(data_dir), json!(link));
        }
        let options = Options { og_package: "openGauss.tar.bz2".to_owned(), ..options() };
        let mut asked = 0;
        deploy(&given, false, options, |_, call| match call.program.as_str() {
            HOST => {
                assert_eq!(call.args["directories"], wanted);
                asked += 1;
                Some(changes(false))
            }
            "og_workflow" => {
                Some(json!({"package": {"path": "/p/x", "size": 5000, "sha256": "0a".repeat(32)}}))
            }
            _ => None,
        });
        assert!(asked > 0);
    }
}

#[test]
fn what_speaks_against_it_is_told_of_all_nodes_before_one_is_changed() {
    let mut given = two();
    given.push(bare(3, "standby"));
    let done = deploy(&given, false, options(), |_, call| {
        let error =
            json!({"kind": "permission", "reason": "not_root", "detail": "sudo says no", "hint": "let it"});
        (call.node.as_deref() == Some("n2")).then(|| json!({"failed": true, "msg": "m", "error": error}))
    });
    assert!(done.why().contains("n3: og_host makes the user"), "{}", done.why());
    assert!(done.why().contains("n2: sudo says no [not_root]; let it"), "{}", done.why());
    assert_eq!(
        done.steps,
        ["Inspect the data directories: n1,n2,n3", "Inspect the operating systems: n1,n2"]
    );
    assert_eq!(done.outcome.findings.len(), 2);
    assert!(!done.outcome.changed);
}

const LOGINS: &str = "Check whether the logins may act as the nodes' users: n1,n2";

#[test]
fn a_login_that_is_neither_root_nor_the_nodes_user_is_refused_before_anything_is_changed() {
    for check in [true, false] {
        let done = deploy(&two(), check, options(), |step, call| {
            let error = |kind, path| json!({"failed": true, "msg": "m", "error": {"kind": kind, "path": path, "detail": "os_user is omm", "hint": "run it as omm"}});
            let login = format!("{step}: n1,n2") == LOGINS;
            // Root is told that the user is still to be made.
            let answer = if call.node.as_deref() == Some("n2") { "permission" } else { "not_found" };
            if login {
                Some(error(answer, "/os_user"))
            } else {
                (call.program == HOST).then(|| changes(false))
            }
        });
        assert_eq!(done.why(), "1 finding; nothing was changed:\n- n2: os_user is omm; run it as omm");
        assert_eq!(done.steps[1..], ["Inspect the operating systems: n1,n2", LOGINS]);
    }
}

#[test]
fn a_refusal_after_the_operating_system_was_prepared_says_what_was_done() {
    let mut given = two();
    given[0].2["og_preflight"]["facts"]["kernel"]["semaphores"] = json!([1, 1, 1, 1]);
    let done = deploy(&given, false, options(), |_, call| (call.program == HOST).then(|| changes(true)));
    let why = done.why();
    assert!(why.starts_with("1 finding; done before: Prepare the operating system (n1, n2):\n- n1"), "{why}");
    let without = deploy(&given, false, Options::default(), |_, _| None);
    assert!(without.why().starts_with("1 finding; nothing was changed:\n"), "{}", without.why());
}

#[test]
fn check_mode_lists_what_would_be_prepared_and_goes_on_where_that_can_be_foreseen() {
    for user in [true, false] {
        let done = deploy(&two(), true, options(), |step, call| {
            assert_ne!(step, "Prepare the operating system");
            (call.program == HOST).then(|| changes(user))
        })
        .well();
        let change = &done.outcome.changes[0];
        assert_eq!(
            (change.step.as_str(), &change.actions[..]),
            ("Prepare the operating system", &["write /etc/sysctl.d/90-opengauss-node.conf".to_owned()][..])
        );
        assert_eq!(done.steps.contains(&"Inspect all nodes: n1,n2".to_owned()), user);
        let told =
            done.outcome.warnings.iter().any(|text| text.contains("n1, n2: the user is still to be made"));
        assert_eq!(told, !user, "{:?}", done.outcome.warnings);
    }
}

#[test]
fn a_second_run_prepares_nothing() {
    let done = deploy(&two(), false, options(), |step, call| {
        assert_ne!(step, "Prepare the operating system");
        (call.program == HOST).then(|| json!({"failed": false, "changed": false, "msg": "m", "items": []}))
    });
    assert_eq!(done.steps[1..3], ["Inspect the operating systems: n1,n2", "Inspect all nodes: n1,n2"]);
}

fn clear(given: &[Given], check: bool, say: impl FnMut(&str, &NodeCall) -> Option<Value>) -> Told {
    clear_with(given, check, Options { og_host_absent: true, ..Options::default() }, say)
}

/// What deploy is told of og_host in the inventory is no wish of clear's.
#[test]
fn what_og_host_made_stays_where_only_deploy_is_to_have_it() {
    let done = clear_with(&dropped(), false, options(), |_, call| {
        assert_ne!(call.program, HOST);
        None
    });
    done.well();
}

fn clear_with(
    given: &[Given],
    check: bool,
    options: Options,
    mut say: impl FnMut(&str, &NodeCall) -> Option<Value>,
) -> Told {
    let mut how = how(options);
    how.check = check;
    told(given, Workflow::Clear, "n3", &how, true, |step, call| say(step, call))
}

fn server_runs() -> Value {
    let error = json!({"kind": "refused", "reason": "server_runs", "detail": "a server of omm runs"});
    json!({"failed": true, "changed": false, "msg": "a server of omm runs", "error": error})
}

#[test]
fn what_was_prepared_is_taken_away_last() {
    let done = clear(&dropped(), false, |_, call| (call.program == HOST).then(|| changes(true))).well();
    assert_eq!(
        done.from("Inspect the operating systems"),
        [
            "Inspect the operating systems: n3",
            "Check whether the data directories may go: n3",
            "Acquire the cluster lock: n1",
            "Remove the data directories: n3",
            "Restore the operating system: n3",
            "Inspect the cluster again: n1,n2",
            "Release the cluster lock: n1",
        ]
    );
}

#[test]
fn a_server_that_is_stopped_first_is_no_reason_to_leave_the_operating_system() {
    let mut given = dropped();
    (given[2].2["og_node_state"]["node"]["running"], given[2].2["og_node_state"]["node"]["pid"]) =
        (json!(true), json!(4711));
    for check in [false, true] {
        // What another server needs, og_host says itself: that this one ends it is told.
        let ask = |is_alone: bool| {
            move |step: &str, call: &NodeCall| {
                let asks = call.program == HOST && step.starts_with("Inspect");
                asks.then(|| {
                    assert_eq!(call.args["ended"], json!([4711]));
                    if is_alone { changes(true) } else { server_runs() }
                })
            }
        };
        let refused = clear(&given, check, ask(false));
        assert!(refused.why().contains("n3: a server of omm runs"), "{}", refused.why());
        assert!(!refused.outcome.changed);
        let done = clear(&given, check, ask(true)).well();
        let change = done.outcome.changes.iter().find(|one| one.step == "Restore the operating system");
        assert_eq!(change.map(|change| change.node.as_str()), Some("n3"));
        assert_eq!(done.steps.contains(&"Restore the operating system: n3".to_owned()), !check);
    }
}

#[test]
fn what_would_stay_is_told_also_where_nothing_would_go() {
    for (check, changed) in [(true, true), (true, false), (false, false)] {
        let done = clear(&dropped(), check, |_, call| {
            let answer = json!({"failed": false, "changed": changed, "msg": "m", "warnings": ["/gauss stays: it is not empty"]});
            (call.program == HOST).then_some(answer)
        });
        let told = done.well().outcome.warnings;
        assert!(told.contains(&"n3: /gauss stays: it is not empty".to_owned()), "{told:?}");
    }
}

#[test]
fn what_another_node_of_the_machine_needs_is_not_taken_away() {
    let mut given = dropped();
    given[2].2["og_node_state"]["identity"] = json!({"addresses": ["10.0.0.3", "10.0.0.2"]});
    for check in [false, true] {
        let done = clear(&given, check, |_, call| {
            assert_ne!(call.program, HOST);
            None
        });
        assert!(done.why().contains("n3: n2 is on the same machine, and needs what og_host made there"));
        assert_eq!(done.steps, ["Inspect all nodes: n1,n2,n3"]);
    }
}

#[test]
fn a_directory_that_is_empty_by_then_goes_although_it_was_not() {
    let mut told = Vec::new();
    let done = clear(&dropped(), false, |step, call| {
        (call.program == HOST).then(|| {
            told.push((step.to_owned(), call.args.get("gone").cloned()));
            json!({"failed": false, "changed": !step.starts_with("Inspect"), "msg": "m", "actions": ["remove it"]})
        })
    })
    .well();
    assert!(done.steps.contains(&"Restore the operating system: n3".to_owned()), "{:?}", done.steps);
    // What is moved aside stays in the directory.
    assert_eq!(told[0], ("Inspect the operating systems".to_owned(), Some(json!([]))));
    assert_eq!(told[1], ("Restore the operating system".to_owned(), None));
    let options = Options {
        og_host_absent: true,
        og_clear_mode: ClearMode::Deleted,
        og_confirm_clear: "dn_6003".to_owned(),
        ..Options::default()
    };
    clear_with(&dropped(), true, options, |_, call| {
        assert!(call.program != HOST || call.args["gone"] == json!(["/d"]), "{:?}", call.args);
        None
    })
    .well();
}
