//! Who belongs to the cluster: members outside the inventory, two clusters in one group, nodes that cannot be read.

use serde_json::{Value, json};

use super::{Given, adding, cluster, dropping, fresh, good, host, nodes, only, seen, with, words};
use crate::plan::inspect;

fn state(hosts: &mut [Given], at: usize, key: &str, value: Value) {
    hosts[at].2["og_node_state"]["node"][key] = value;
}

fn identity(hosts: &mut [Given], at: usize, key: &str, value: Value) {
    hosts[at].2["og_node_state"]["identity"][key] = value;
}

fn unreadable() -> Value {
    let failed = json!({"failed": true, "msg": "x", "error": {"kind": "not_found", "detail": "cannot open data_dir /x"}});
    let programs = crate::seen::PROGRAMS.map(|program| (program.to_owned(), failed.clone()));
    Value::Object(programs.into_iter().collect())
}

/// Cluster A of n1 and n2, cluster B of n3 (its primary) and n4, and the spare n5, all in one group.
fn two_clusters() -> Vec<Given> {
    let mut hosts = cluster(1);
    hosts.push(host(3, "primary", seen(3, "primary", true, &[4])));
    hosts.push(host(4, "standby", seen(4, "standby", true, &[3])));
    state(&mut hosts, 3, "receiver", json!({"peer": {"host": "10.0.0.3", "port": 26001}}));
    hosts.push(fresh(5, "standby"));
    for (at, system) in ["11", "11", "22", "22", "33"].iter().enumerate() {
        identity(&mut hosts, at, "system_id", json!(system));
    }
    hosts
}

#[test]
fn a_member_that_is_not_in_the_inventory_stops_a_drop_as_it_stops_an_expand() {
    let mut hosts = with(cluster(3), vec![fresh(5, "standby")]);
    hosts.remove(3);
    let told = "n1 has a replication channel to 10.0.0.4:26001, which is no host of the inventory's group opengauss; add it there";
    assert_eq!(only(dropping(&hosts, "n2")), told);
    assert_eq!(only(adding(&hosts, "n5")), told);
    // One that streams without a channel of the primary's: from a standby, or by a channel that went without it.
    let mut hosts = with(cluster(2), vec![fresh(5, "standby")]);
    let sender = |role: &str, host: &str| json!([{"peer_role": role, "peer": {"host": host, "port": 5}}]);
    state(&mut hosts, 1, "senders", sender("cascade_standby", "10.0.0.9"));
    let told = "n2 sends to a standby at 10.0.0.9, which is no host of the inventory's group opengauss; add it there";
    assert_eq!(only(dropping(&hosts, "n3")), told);
    assert_eq!(only(adding(&hosts, "n5")), told);
    // A backup that runs is no member; nor is a host of the inventory that comes by another address of its machine.
    state(&mut hosts, 1, "senders", sender("unknown", "10.0.0.9"));
    good(dropping(&hosts, "n3"));
    state(&mut hosts, 1, "senders", sender("standby", "10.0.0.9"));
    identity(&mut hosts, 2, "addresses", json!(["10.0.0.3", "10.0.0.9"]));
    good(adding(&hosts, "n5"));
}

#[test]
fn two_clusters_in_one_group_are_told_apart() {
    let both = "two clusters in one group of the inventory: n1 and n3 run as primary, of the database systems 11 and 22";
    assert!(only(adding(&two_clusters(), "n5")).starts_with(both));
    assert!(only(dropping(&two_clusters(), "n2")).starts_with(both));
    // The other's primary cannot be read, or does not answer: neither its spare nor its standby is taken for one of ours.
    for away in [unreadable(), json!(null)] {
        let mut hosts = two_clusters();
        hosts[2].2 = away;
        let findings = adding(&hosts, "n5").findings;
        assert_eq!(findings.len(), 2, "{findings:#?}");
        assert!(findings[0].starts_with("n3: "), "{findings:#?}");
        assert!(findings[0].contains("and n1 does not know it: which cluster it belongs to cannot be told"));
        let foreign = "n4: belongs to another cluster: its database system is 22, that of n1 is 11; take";
        assert!(findings[1].starts_with(foreign), "{findings:#?}");
        let told = "n4: belongs to another cluster: ";
        assert!(
            only(dropping(&hosts, "n4")).starts_with(told),
            "it is stopped in the name of another cluster"
        );
        assert!(only(dropping(&hosts, "n2")).starts_with(told));
    }
    // Without a system identifier the connections tell.
    let mut hosts = two_clusters();
    hosts[2].2 = json!(null);
    hosts[2].1["role"] = json!("standby");
    identity(&mut hosts, 3, "system_id", json!(null));
    let told = only(adding(&hosts, "n5"));
    assert!(
        told.starts_with("n4: belongs to another cluster: it receives from 10.0.0.3, which is none"),
        "{told}"
    );
    state(&mut hosts, 3, "receiver", json!(null));
    let told = only(adding(&hosts, "n4"));
    let wanted = "n4: belongs to another cluster: its replication channels lead to 10.0.0.3:26001, and none to the cluster of n1; drop it there first";
    assert!(told.starts_with(wanted), "{told}");
    // A member that is stopped is one still.
    state(&mut hosts, 3, "running", json!(false));
    assert!(only(adding(&hosts, "n4")).starts_with(wanted));
}

#[test]
fn what_was_dropped_or_never_was_in_a_cluster_is_added() {
    // Its channels lead here still; another one was never started, and has a database system of its own.
    let mut hosts =
        with(cluster(2), vec![host(4, "standby", seen(4, "standby", false, &[1, 2])), fresh(5, "standby")]);
    for (at, system) in ["11", "11", "11", "11", "55"].iter().enumerate() {
        identity(&mut hosts, at, "system_id", json!(system));
    }
    good(adding(&hosts, "n4,n5"));
    // A host that does not answer and belongs to nobody is told, and in nobody's way.
    hosts[4].2 = json!(null);
    let outlook = adding(&hosts, "n4");
    assert!(outlook.warnings[0].starts_with("n5: cannot be reached (no route), and n1 does not know it"));
    good(outlook);
    // A cascade standby of a node that is just known to a standby.
    let mut hosts = cluster(2);
    hosts[0].2 = seen(1, "primary", true, &[2]);
    state(&mut hosts, 2, "receiver", json!({"peer": {"host": "10.0.0.2", "port": 26001}}));
    assert_eq!(good(dropping(&hosts, "n2")).shared.members, words("n1,n3"));
}

#[test]
fn only_a_host_that_does_not_answer_is_dead() {
    let mut hosts = cluster(2);
    hosts[1].2 = unreadable();
    let told = "n2: its state cannot be read, so whether its server runs is not known: cannot open data_dir /x; correct data_dir, or the user who logs in there";
    assert_eq!(only(dropping(&hosts, "n2")), told);
    assert_eq!(inspect(&nodes(&hosts)).findings, [told]);
    // A directory that is there and no data directory; an empty one is what is left of a node that lost its disk.
    for (content, count) in [("other", 1), ("empty", 0), ("database", 0)] {
        let mut hosts = cluster(2);
        hosts[1].2["og_node_state"]["node"] = json!({"running": false, "role": "unknown"});
        identity(&mut hosts, 1, "content", json!(content));
        identity(&mut hosts, 1, "data_dir", json!("/tmp"));
        let findings = dropping(&hosts, "n2").findings;
        assert_eq!((findings.len(), inspect(&nodes(&hosts)).findings.len()), (count, count), "{findings:#?}");
        assert!(findings.iter().all(|text| text.starts_with("n2: /tmp is no data directory")));
    }
    // Another node's directory: the server that is stopped there is not the one that streams.
    let mut hosts = cluster(2);
    state(&mut hosts, 1, "running", json!(false));
    state(
        &mut hosts,
        0,
        "senders",
        json!([{"peer_role": "standby", "peer": {"host": "10.0.0.2", "port": 5}}]),
    );
    let told = "n2: no server runs in its data_dir , yet n1 sends to a standby at 10.0.0.2; correct data_dir";
    assert_eq!(
        (only(dropping(&hosts, "n2")), only(dropping(&hosts, "n3"))),
        (told.to_owned(), told.to_owned())
    );
    hosts[2].1["address"] = json!("10.0.0.2");
    hosts[2].1["base_port"] = json!(26100);
    hosts[0].2["og_replconninfo"]["channels"][1]["remote"] = json!({"host": "10.0.0.2", "port": 26101});
    good(dropping(&hosts, "n2"));
}

#[test]
fn what_limit_hides_is_the_reason() {
    let looked = |hosts: &[Given], hidden: &[usize]| {
        let mut nodes = nodes(hosts);
        for at in hidden {
            nodes[*at].seen = None;
        }
        nodes
    };
    let hosts = with(cluster(2), vec![fresh(4, "standby")]);
    for hidden in [&[0, 2][..], &[0, 1, 2]] {
        let nodes = looked(&hosts, hidden);
        let names = hidden.iter().map(|at| format!("n{}", at + 1)).collect::<Vec<_>>().join(", ");
        let told = format!("{names}: were not inspected, hidden by --limit; run without --limit");
        let options = crate::args::Options::default();
        assert_eq!(only(crate::plan::expand(&nodes, &words("n4"), &options)), told);
        assert_eq!(only(crate::plan::drop(&nodes, &words("n2"), &options)), told);
        assert_eq!(inspect(&nodes).hidden.join(", "), names);
    }
}

#[test]
fn two_primaries_are_an_error_of_status() {
    let mut hosts = cluster(2);
    hosts[2].2 = seen(3, "primary", true, &[1, 2]);
    let found = inspect(&nodes(&hosts)).several_primaries.unwrap();
    assert!(
        found.starts_with(
            "more than one primary: n1 and n3 run as primary, and both may take writes; stop the"
        )
    );
    let table = crate::table::table(&nodes(&hosts), &[]);
    assert_eq!((table.len(), table[0].clone()), (5, format!("ERROR: {found}")));
    // Of a node that was dropped now nobody wants to know.
    assert_eq!(crate::table::table(&nodes(&hosts), &words("n3")).len(), 3);
    let found = inspect(&nodes(&two_clusters())).several_primaries.unwrap();
    assert!(found.starts_with("two clusters in one group of the inventory: "), "{found}");
    // A dead node is what a cluster is made to live with.
    let mut hosts = cluster(2);
    hosts[1].2 = json!(null);
    assert_eq!(inspect(&nodes(&hosts)), crate::plan::Inspected::default());
}

#[test]
fn of_programs_of_another_version_nothing_else_is_to_be_corrected() {
    let mut hosts = cluster(1);
    let error = json!({"kind": "bad_args", "reason": "unknown_argument", "detail": "d"});
    hosts[1].2["og_node_state"] = json!({"failed": true, "msg": "d", "error": error});
    let told = inspect(&nodes(&hosts)).findings;
    assert!(
        told[0]
            .contains("is not known: d [unknown_argument]; the programs on this node are of another version"),
        "{told:?}"
    );
    assert!(told[0].ends_with("install those of the same version there"), "{told:?}");
}
