//! Clusters that somebody else is in charge of.

use serde_json::json;

use super::{adding, cluster, dropping, fresh, only, with};

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
