//! Certificates that new nodes get.

use serde_json::{Value, json};

use super::{Told, fails, how, told, two_new};
use crate::args::{NodeCall, Options};
use crate::plan::tests::deploy::bare;
use crate::plan::tests::{Given, cluster};
use crate::steps::Workflow;

const HASH: &str = "0a7bd2f2a9a3c1a39e8e2a5d2a4cfd6f38f4e8f0f3ab3b0b8a3e9db7c94c1a55";
const FILES: [&str; 3] = ["cacert.pem", "server.crt", "server.key"];

fn with_ssl() -> Options {
    Options { og_ssl: "ssl".to_owned(), og_password_file: "/p".to_owned(), ..Options::default() }
}

/// The nodes with data directories of the inventory.
fn placed(mut given: Vec<Given>) -> Vec<Given> {
    for own in &mut given {
        own.1["data_dir"] = json!("/gauss/data/db");
    }
    given
}

/// What og_workflow says of the folder, with nothing wrong.
fn folder(call: &NodeCall) -> Value {
    let file = |node: &str, name: &str| json!({"path": format!("/c/{node}/{name}"), "name": name, "size": 1700, "sha256": HASH});
    let nodes = call.args["targets"].as_array().unwrap().iter().map(|node| node.as_str().unwrap());
    let nodes = nodes.map(|node| (node.to_owned(), FILES.map(|name| file(node, name)).to_vec().into()));
    let nodes: serde_json::Map<String, Value> = nodes.collect();
    json!({"certificates": {"nodes": nodes, "problems": [], "warnings": ["/c/cacert.pem expires in 80 days"]}})
}

/// The folder is good, and the nodes lack the files.
fn well(call: &NodeCall) -> Option<Value> {
    match (call.program.as_str(), &call.node) {
        ("og_workflow", None) if call.args["workflow"] == "certificates" => Some(folder(call)),
        ("og_file", _) => Some(json!({"failed": false, "changed": true, "actions": ["receive it"]})),
        _ => None,
    }
}

fn position(done: &Told, step: &str) -> usize {
    done.steps
        .iter()
        .position(|own| own.starts_with(step))
        .unwrap_or_else(|| panic!("{step}: {:#?}", done.steps))
}

#[test]
fn expand_carries_the_files_of_each_new_node_before_its_parameters_name_them() {
    let (mut put, mut set) = (Vec::new(), Vec::new());
    let done = told(&placed(two_new()), Workflow::Expand, "n4,n5", &how(with_ssl()), true, |step, call| {
        if step == "Transfer the certificates" {
            assert_eq!((&call.args["mode"], &call.args["sha256"]), (&json!("0600"), &json!(HASH)));
            let file = call.put.clone().unwrap();
            put.push((call.node.clone().unwrap(), file.from, file.to));
        } else if step == "Configure the new nodes' parameters" {
            set.push(call.args["parameters"].clone());
        }
        well(call)
    })
    .well();
    assert_eq!(done.steps[0], "Inspect the certificates: here");
    let check = position(&done, "Check whether the nodes take the certificates: n4,n5");
    assert!(check < position(&done, "Acquire the cluster lock"), "{:#?}", done.steps);
    let transfer = position(&done, "Transfer the certificates: n4,n5");
    assert_eq!(done.steps[transfer + 1], "Configure the new nodes' parameters: n4,n5");
    assert!(transfer < position(&done, "Build"));
    assert_eq!(put.len(), 6);
    let own = |node: &str, name: &str| {
        (node.to_owned(), format!("/c/{node}/{name}"), format!("/gauss/data/db/{name}"))
    };
    assert!(put.contains(&own("n4", "server.key")) && put.contains(&own("n5", "cacert.pem")), "{put:?}");
    for own in set {
        let named = ["ssl", "ssl_cert_file", "ssl_key_file", "ssl_ca_file"].map(|name| own[name].clone());
        assert_eq!(named, ["on", "server.crt", "server.key", "cacert.pem"].map(|value| json!(value)));
    }
    assert!(done.outcome.warnings.contains(&"og_ssl: /c/cacert.pem expires in 80 days".to_owned()));
}

#[test]
fn what_is_wrong_with_certificates_is_found_before_any_change() {
    let mut given = placed(two_new());
    given[3].1.as_object_mut().unwrap().remove("data_dir");
    let done = told(&given, Workflow::Expand, "n4,n5", &how(with_ssl()), true, |_, call| {
        let problems = json!({"certificates": {"problems": ["/c/n4/server.key has a passphrase"]}});
        if call.program == "og_workflow" { Some(problems) } else { well(call) }
    });
    assert_eq!(done.steps, ["Inspect the certificates: here"]);
    let findings = &done.outcome.findings;
    assert_eq!(findings[0], "og_ssl: /c/n4/server.key has a passphrase");
    assert!(findings[1].starts_with("n4: has no data_dir in the inventory"), "{findings:?}");
    // One that is on the way of its files.
    let linked = |call: &NodeCall| {
        let error = json!({"kind": "refused", "detail": "/gauss is a symbolic link"});
        let refused = json!({"failed": true, "msg": "m", "error": error});
        if call.program == "og_file" { Some(refused) } else { well(call) }
    };
    for (given, workflow, targets) in [
        (placed(two_new()), Workflow::Expand, "n4,n5"),
        (placed(vec![bare(1, "primary"), bare(2, "standby")]), Workflow::Deploy, ""),
    ] {
        let done = told(&given, workflow, targets, &how(with_ssl()), true, |_, call| linked(call));
        assert!(done.steps.last().unwrap().starts_with("Check whether the nodes take"), "{:?}", done.steps);
        assert!(
            done.why().contains("/gauss is a symbolic link") && done.why().contains("nothing was changed")
        );
    }
}

#[test]
fn deploy_carries_them_between_the_data_directories_and_the_parameters() {
    let given = placed(vec![bare(1, "primary"), bare(2, "standby")]);
    let done = told(&given, Workflow::Deploy, "", &how(with_ssl()), true, |step, call| {
        if step == "Configure the new nodes' parameters" {
            assert_eq!(call.args["parameters"]["ssl_ca_file"], "cacert.pem");
        }
        // What comes then is told elsewhere.
        if step == "Start the primary" { Some(fails()) } else { well(call) }
    });
    let order = [
        "Inspect the certificates: here",
        "Inspect all nodes: n1,n2",
        "Check whether the nodes take the certificates: n1,n2",
        "Initialise data directories: n1,n2",
        "Acquire the cluster lock: n1",
        "Inspect all nodes under the lock: n1,n2",
        "Transfer the certificates: n1,n2",
        "Configure the new nodes' parameters: n1,n2",
    ];
    assert_eq!(done.steps[..order.len()], order);
}

#[test]
fn check_mode_foretells_the_files_and_sends_none() {
    for (given, workflow, targets) in [
        (placed(two_new()), Workflow::Expand, "n4,n5"),
        (placed(vec![bare(1, "primary"), bare(2, "standby")]), Workflow::Deploy, ""),
    ] {
        let mut how = how(with_ssl());
        how.check = true;
        let done = told(&given, workflow, targets, &how, true, |_, call| {
            assert!(call.put.is_none(), "{call:?}");
            if call.program == "og_file" {
                assert_eq!(call.args["check_mode"], true);
            }
            well(call)
        })
        .well();
        let of_files =
            done.outcome.changes.iter().filter(|change| change.step == "Transfer the certificates");
        assert_eq!(of_files.map(|change| change.actions.len()).collect::<Vec<_>>(), [3, 3]);
    }
}

#[test]
fn a_failed_transfer_is_rolled_back_and_a_member_is_left_alone() {
    let done = told(&placed(two_new()), Workflow::Expand, "n4,n5", &how(with_ssl()), true, |step, call| {
        if step == "Transfer the certificates" { Some(fails()) } else { well(call) }
    });
    assert!(done.why().contains("made to fail") && done.outcome.incomplete);
    let after = done.from("Transfer the certificates");
    assert!(after.iter().any(|step| step.starts_with("Remove the new replication channels")), "{after:?}");
    assert!(!after.iter().any(|step| step.starts_with("Build")), "{after:?}");
    // A node that streams is not new: nothing is sent to it.
    let done = told(&placed(cluster(1)), Workflow::Expand, "n2", &how(with_ssl()), true, |_, call| {
        assert!(call.program != "og_file", "{call:?}");
        well(call)
    })
    .well();
    assert!(done.outcome.warnings.iter().any(|text| text.starts_with("n2: has no SSL and stays so")));
}
