//! Options of a workflow, as Salt, Ansible and a shell write them: typed, as text, in the call or in the cluster's variables.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

fn og_workflow(args: &Value) -> Value {
    let mut child = Command::new(env!("CARGO_BIN_EXE_og_workflow"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(args.to_string().as_bytes()).unwrap();
    serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap()
}

/// A call that expands a cluster of two nodes by a third.
fn expand(vars: &Value, options: &Value) -> Value {
    let mut all = json!({"data_dir": "/d"});
    all.as_object_mut().unwrap().extend(vars.as_object().unwrap().clone());
    let hosts = json!({"n1": {"id": "1"}, "n2": {"id": 2}, "n3": {"id": 3}});
    og_workflow(&json!({"workflow": "expand", "targets": "n3", "pid": std::process::id(),
        "cluster": {"hosts": hosts, "vars": all}, "options": options}))
}

/// For how many seconds the nodes are asked, which is an option.
fn look_timeout(answer: &Value) -> &Value {
    &answer["next"]["calls"][0]["args"]["timeout"]
}

#[test]
fn text_is_as_good_as_a_value_wherever_it_stands() {
    for sixty in [json!(61), json!("61"), json!(" 61 "), json!(61.0)] {
        for rollback in [json!(false), json!("no"), json!("False"), json!("off"), json!(0)] {
            let given = json!({"og_look_timeout": sixty, "og_rollback": rollback, "og_sync_num": "2",
                "og_build_parallel": "2", "og_max_lag_bytes": "16777216"});
            for answer in [expand(&given, &json!({})), expand(&json!({}), &given)] {
                assert_eq!(look_timeout(&answer), &json!(61), "{answer}");
            }
        }
    }
    for num in [json!(2), json!("2"), json!("majority"), json!("keep")] {
        let answer = expand(&json!({"og_sync_num": num}), &json!({}));
        assert_eq!(look_timeout(&answer), &json!(60), "{answer}");
    }
}

#[test]
fn the_call_counts_more_than_the_variables_and_null_is_nothing() {
    let vars = json!({"og_look_timeout": "20"});
    assert_eq!(look_timeout(&expand(&vars, &json!({"og_look_timeout": "10"}))), &json!(10));
    assert_eq!(look_timeout(&expand(&vars, &json!({"og_look_timeout": null}))), &json!(20));
    assert_eq!(look_timeout(&expand(&json!({"og_look_timeout": null}), &json!({}))), &json!(60));
}

#[test]
fn a_wrong_option_is_named_with_its_place_and_what_would_be_right() {
    for (name, value, why) in [
        ("og_wait_timeout", json!("soon"), "\"soon\" is not a whole number"),
        ("og_wait_timeout", json!(-1), "-1 is less than 0"),
        ("og_rollback", json!("perhaps"), "\"perhaps\" is not a boolean (yes or no)"),
        ("og_build_mode", json!("ful"), "\"ful\" is not one of auto, incremental, full (did you mean full?)"),
        ("og_sync_standbys", json!(true), "true is not one of keep, none, any, first"),
        ("og_sync_num", json!("two"), "\"two\" is not one of majority, keep"),
        ("og_sync_num", json!(0), "0 is less than 1"),
        ("og_hba_method", json!("trsut"), "\"trsut\" is not one of trust, md5,"),
        ("og_look_timeout", json!([60]), "a list is not a whole number"),
    ] {
        let given = json!({name: value});
        for (at, answer) in
            [("cluster/vars", expand(&given, &json!({}))), ("options", expand(&json!({}), &given))]
        {
            let place = format!("/{at}/{name}");
            assert_eq!(answer["error"]["path"], place, "{answer}");
            let told = answer["msg"].as_str().unwrap();
            assert!(told.starts_with(&format!("{place}: {why}")), "{told}");
        }
    }
}

#[test]
fn an_option_that_would_count_for_nothing_is_named() {
    let answer = expand(&json!({"og_build_froce": true}), &json!({}));
    let told = answer["msg"].as_str().unwrap();
    let wanted = "/cluster/vars/og_build_froce: unknown option (did you mean og_build_force? known: ";
    assert!(told.starts_with(wanted), "{told}");
    assert!(told.contains("og_build_force"), "{told}");
    // Of a caller that has values of its own, such as Ansible's templates, the names alone.
    let names = |name: &str| {
        og_workflow(
            &json!({"workflow": "status", "cluster": {"hosts": {"n1": {"id": 1}}}, "variables": ["zone", name]}),
        )
    };
    let told = names("og_sync_standby")["msg"].as_str().unwrap().to_owned();
    let wanted = "/variables/og_sync_standby: unknown option (did you mean og_sync_standbys? known: ";
    assert!(told.starts_with(wanted), "{told}");
    assert_eq!(names("og_sync_standbys")["failed"], false);
    assert_eq!(names("og_install_dir")["failed"], false);
    let hosts = json!({"n1": {"id": 1, "og_wait_timeout": 60}});
    let answer = og_workflow(&json!({"workflow": "status", "cluster": {"hosts": hosts}}));
    let wanted = "/cluster/hosts/n1/og_wait_timeout: counts for all nodes; give it in the cluster's vars, or in the call";
    assert_eq!(answer["msg"], wanted);
    // Of Ansible's, and of others.
    let others = json!({"og_add": "n4", "og_binaries": "/b", "og_bin_dir": "/b", "zone": "AZ2"});
    assert_eq!(look_timeout(&expand(&others, &json!({}))), &json!(60));
}
