//! Clusters that somebody else is in charge of.

use serde_json::json;

use super::restart::pending;
use super::{Given, adding, cluster, dropping, fresh, good, nodes, only, with};
use crate::args::Options;
use crate::plan::{Files, OfPrimary, repair, restart, switchover};

/// Puts these nodes under CM, with what is said of each.
fn under_cm(hosts: &mut [Given], more: &serde_json::Value) {
    for (i, host) in (1..).zip(hosts) {
        let mut managed =
            json!({"by": "cm", "agent": 250 + i, "node_id": i, "instance_id": 6000 + i, "data_dir": "/data"});
        managed.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        host.2["og_node_state"]["node"]["managed_by"] = managed;
    }
}

#[test]
fn a_switchover_under_cm_leaves_the_files_to_cm() {
    let mut hosts = pending(2, "200", "200");
    let switching = |hosts: &[Given]| switchover(&nodes(hosts), &["n2".to_owned()], &Options::default());
    assert!(!good(switching(&hosts)).hand_over.files.nodes.is_empty());
    under_cm(&mut hosts, &json!({}));
    let plan = good(switching(&hosts));
    assert_eq!(plan.hand_over.files, Files::default(), "CM keeps the roles");
    // Nobody but CM could do it on a node without its agent.
    hosts[2].2["og_node_state"]["node"]["managed_by"]["agent"] = json!(null);
    assert!(only(switching(&hosts)).starts_with("n3: openGauss CM runs this node"));
}

#[test]
fn a_cluster_that_cm_runs_in_part_is_left_alone() {
    let mut hosts = pending(2, "200", "200");
    under_cm(&mut hosts, &json!({}));
    hosts[1].2["og_node_state"]["node"]["managed_by"]["paused"] = json!(true);
    let finding = only(switchover(&nodes(&hosts), &["n2".to_owned()], &Options::default()));
    assert!(finding.starts_with("n2: CM has let go of these nodes"), "{finding}");
    assert!(finding.contains("runs n1, n3") && finding.contains("cm_ctl resume"), "{finding}");
    under_cm(&mut hosts, &json!({"paused": true}));
    good(switchover(&nodes(&hosts), &["n2".to_owned()], &Options::default()));
}

#[test]
fn a_restart_under_cm_hands_over_and_is_never_in_place() {
    let mut hosts = pending(2, "200", "300");
    under_cm(&mut hosts, &json!({}));
    let plan = good(restart(&nodes(&hosts), &[], &Options::default()));
    assert!(matches!(plan.primary, OfPrimary::HandsOver { .. }), "{:?}", plan.primary);
    // A limit that is lowered would be.
    let mut lowered = pending(2, "300", "200");
    assert!(matches!(
        good(restart(&nodes(&lowered), &[], &Options::default())).primary,
        OfPrimary::InPlace { .. }
    ));
    under_cm(&mut lowered, &json!({}));
    let finding = only(restart(&nodes(&lowered), &[], &Options::default()));
    assert!(finding.contains("restarted in place") && finding.contains("cm_ctl pause"), "{finding}");
}

#[test]
fn a_repair_under_cm_starts_and_builds_and_gives_no_role() {
    let mut hosts = cluster(2);
    under_cm(&mut hosts, &json!({}));
    let repairing = |hosts: &[Given]| repair(&nodes(hosts), &[], &Options::default(), &[]);
    let node = |hosts: &mut [Given], n: usize, key: &str, value: serde_json::Value| {
        hosts[n - 1].2["og_node_state"]["node"][key] = value;
    };
    node(&mut hosts, 3, "running", json!(false));
    node(&mut hosts, 3, "receiver", json!(null));
    hosts[2].2["og_node_state"]["node"]["managed_by"]["manual_start"] = json!(["instance_manual_start_6003"]);
    assert_eq!(good(repairing(&hosts)).start.keys().collect::<Vec<_>>(), ["n3"]);
    // No primary runs: CM makes one.
    node(&mut hosts, 1, "running", json!(false));
    let outlook = repairing(&hosts);
    assert!(
        outlook.findings.iter().any(|text| text.contains("gives the roles") || text.contains("no primary")),
        "{:?}",
        outlook.findings
    );
}

#[test]
fn a_cluster_of_cm_is_left_to_cm() {
    let under = |paused: bool| {
        let mut hosts = cluster(2);
        for (i, host) in hosts.iter_mut().enumerate() {
            host.2["og_node_state"]["node"]["managed_by"] =
                json!({"by": "cm", "agent": 250 + i, "node_id": i + 1, "paused": paused});
        }
        hosts
    };
    let finding = only(adding(&with(under(false), vec![fresh(4, "standby")]), "n4"));
    assert!(
        finding.starts_with("n1, n2, n3: openGauss CM runs this node (cm_agent is process 250)"),
        "{finding}"
    );
    assert!(finding.contains("gs_expansion") && finding.contains("cm_ctl pause"), "{finding}");
    let finding = only(dropping(&under(false), "n3"));
    assert!(finding.contains("gs_dropnode"), "{finding}");
    assert_eq!(dropping(&under(true), "n3").findings, Vec::<String>::new());
    // One node whose pause file is not there is not paused.
    let mut half = under(true);
    half[2].2["og_node_state"]["node"]["managed_by"]["paused"] = json!(false);
    assert!(only(dropping(&half, "n2")).starts_with("n3: openGauss CM"));
}

#[test]
fn a_cluster_of_dcf_or_shared_storage_is_left_alone() {
    for (by, what) in [("dcf", "gs_ctl member"), ("dss", "gs_expansion")] {
        let mut hosts = with(cluster(1), vec![fresh(3, "standby")]);
        hosts[0].2["og_node_state"]["node"]["managed_by"] = json!({"by": by, by: true});
        assert!(only(adding(&hosts, "n3")).contains(what));
    }
}
