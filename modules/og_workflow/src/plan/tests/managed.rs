//! Clusters that somebody else is in charge of.

use serde_json::json;

use super::failover::headless;
use super::restart::pending;
use super::{Given, adding, cluster, dropping, fresh, good, nodes, only, with};
use crate::args::Options;
use crate::plan::{Files, OfPrimary, Outlook, Repair, failover, repair, restart, switchover};

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
    let standbys = ["n2".to_owned(), "n3".to_owned()];
    let finding = only(restart(&nodes(&hosts), &standbys, &Options::default()));
    assert!(finding.starts_with("n2: CM has let go of these nodes"), "{finding}");
    assert!(finding.contains("runs n1, n3") && finding.contains("cm_ctl resume"), "{finding}");
    under_cm(&mut hosts, &json!({"paused": true}));
    good(restart(&nodes(&hosts), &standbys, &Options::default()));
}

#[test]
fn no_primary_is_handed_over_while_cm_is_paused() {
    let mut hosts = pending(2, "200", "300");
    under_cm(&mut hosts, &json!({"paused": true}));
    for finding in [
        only(switchover(&nodes(&hosts), &["n2".to_owned()], &Options::default())),
        only(restart(&nodes(&hosts), &[], &Options::default())),
    ] {
        assert!(finding.contains("n1, n2, n3: openGauss CM runs this node"), "{finding}");
        assert!(
            finding.contains("stay with the old primary") && finding.contains("cm_ctl resume"),
            "{finding}"
        );
    }
    // In place it needs the pause.
    let mut lowered = pending(2, "300", "200");
    under_cm(&mut lowered, &json!({"paused": true}));
    let plan = good(restart(&nodes(&lowered), &[], &Options::default()));
    assert!(matches!(plan.primary, OfPrimary::InPlace { .. }), "{:?}", plan.primary);
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

/// Three nodes of one system that CM runs, n1 the primary; the server of n3 is in manual stop, and its log ends with a record
/// that the primary's has, or with one that it has not.
fn one_held(role: &str, is_common: bool) -> Vec<Given> {
    let mut hosts = cluster(2);
    under_cm(&mut hosts, &json!({}));
    for host in &mut hosts {
        host.2["og_node_state"]["identity"] = json!({"system_id": "77", "content": "database"});
        host.2["og_node_state"]["node"]["term"] = json!(1);
    }
    hosts[0].2["og_node_state"]["node"]["lsn"] = json!("0/5000000");
    let record = |crc: u32| json!({"begin": "0/3FFFF80", "end": "0/4000000", "crc": crc});
    hosts[0].2["og_node_state"]["log_begin"] = json!("0/3000000");
    hosts[0].2["og_node_state"]["log_records"] = json!({"0/3FFFF80": record(if is_common { 5 } else { 6 })});
    let own = &mut hosts[2].2["og_node_state"];
    own["diagnosis"] = json!({"holds": "0/4000000", "term": 1, "last_record": record(5)});
    own["node"]["running"] = json!(false);
    own["node"]["receiver"] = json!(null);
    own["node"]["role"] = json!(role);
    own["node"]["managed_by"]["manual_start"] = json!(["instance_manual_start_6003"]);
    hosts
}

fn repairing(hosts: &[Given], force: bool) -> Outlook<Repair> {
    let options = Options { og_repair_force: force, ..Options::default() };
    repair(&nodes(hosts), &["n3".to_owned()], &options, &[])
}

#[test]
fn a_repair_under_cm_starts_what_holds_nothing_of_its_own() {
    let plan = good(repairing(&one_held("standby", true), false));
    assert_eq!(plan.start.keys().collect::<Vec<_>>(), ["n3"]);
    assert!(plan.keep_logs.is_empty() && plan.builds.is_empty());
    assert_eq!(plan.by_cm, ["n3"]);
}

#[test]
fn a_repair_under_cm_starts_nothing_that_cm_would_rebuild_without_a_copy_of_its_log() {
    for paused in [false, true] {
        for (role, is_common) in [
            ("standby", false),
            ("primary", true),
            ("primary", false),
            ("unknown", true),
            ("unknown", false),
            ("pending", true),
        ] {
            let mut hosts = one_held(role, is_common);
            if paused {
                under_cm(&mut hosts, &json!({"paused": true}));
            }
            let outlook = repairing(&hosts, false);
            assert!(outlook.plan.is_none(), "{role} {is_common}: {:?}", outlook.plan);
            let [finding] = &outlook.findings[..] else { panic!("{:?}", outlook.findings) };
            assert!(finding.starts_with("n3: ") && finding.contains("og_repair_force"), "{finding}");
            let forced = good(repairing(&hosts, true));
            assert_eq!(forced.keep_logs.keys().collect::<Vec<_>>(), ["n3"], "{role} {is_common}");
            assert_eq!(forced.start.keys().collect::<Vec<_>>(), ["n3"], "{role} {is_common}");
            // Where it was not named, the others are repaired.
            let all = repair(&nodes(&hosts), &[], &Options::default(), &[]);
            assert_eq!(all.findings, Vec::<String>::new());
            assert!(all.plan.unwrap().start.is_empty());
        }
    }
}

#[test]
fn a_repair_under_cm_gives_no_role() {
    // No primary runs: CM makes one.
    let mut hosts = one_held("standby", true);
    hosts[0].2["og_node_state"]["node"]["running"] = json!(false);
    hosts[1].2["og_node_state"]["node"]["lsn"] = json!("0/5000000");
    let findings = repairing(&hosts, false).findings;
    let told = findings.iter().any(|text| text.starts_with("n1: openGauss CM runs it, and gives the roles"));
    assert!(told, "{findings:?}");
    // One that waits for its role keeps no other one from its repair, unless it was named.
    let mut hosts = one_held("standby", true);
    let own = &mut hosts[1].2["og_node_state"]["node"];
    (own["role"], own["receiver"]) = (json!("pending"), json!(null));
    let outlook = repair(&nodes(&hosts), &[], &Options::default(), &[]);
    assert_eq!(outlook.findings, Vec::<String>::new());
    let plan = outlook.plan.unwrap();
    assert_eq!((plan.start.len(), plan.restart.len()), (1, 0), "{plan:?}");
    let told = outlook.warnings.iter().any(|text| text.starts_with("n2: openGauss CM runs it"));
    assert!(told, "{:?}", outlook.warnings);
    let named = repair(&nodes(&hosts), &["n2".to_owned()], &Options::default(), &[]);
    assert!(only(named).starts_with("n2: openGauss CM runs it, and gives the roles"));
}

#[test]
fn a_failover_needs_that_cm_has_let_go_of_every_node() {
    let over = |hosts: &[Given]| {
        let options = Options { og_confirm_dead: "n1".to_owned(), ..Options::default() };
        failover(&nodes(hosts), &["n2".to_owned()], &options)
    };
    let mut hosts = headless(2);
    under_cm(&mut hosts, &json!({"paused": true}));
    good(over(&hosts));
    hosts[0].2 = json!(null);
    let findings = over(&hosts).findings;
    let told = findings.iter().any(|text| text.starts_with("n1: openGauss CM runs the cluster, and whether"));
    assert!(told, "{findings:?}");
    let mut hosts = headless(2);
    under_cm(&mut hosts, &json!({"paused": true}));
    hosts[2].2["og_node_state"]["node"]["managed_by"]["paused"] = json!(false);
    let findings = over(&hosts).findings;
    assert!(findings.iter().any(|text| text.starts_with("n3: openGauss CM runs this node")), "{findings:?}");
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
