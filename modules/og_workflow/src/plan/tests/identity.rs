//! Whether a node is the one that the inventory says.

use serde_json::{Value, json};

use super::{Given, adding, cluster, dropping, fresh, good, nodes, only, seen, with};
use crate::plan::inspect;

fn identity(hosts: &mut [Given], at: usize, key: &str, value: Value) {
    hosts[at].2["og_node_state"]["identity"][key] = value;
}

fn four() -> Vec<Given> {
    with(cluster(2), vec![fresh(4, "standby")])
}

#[test]
fn a_running_member_under_another_name_is_not_added() {
    // The same directory of the same machine, by another address, id and port.
    let mut hosts = four();
    identity(&mut hosts, 1, "directory", json!("boot:1:77"));
    identity(&mut hosts, 3, "directory", json!("boot:1:77"));
    identity(&mut hosts, 1, "data_dir", json!("/d"));
    identity(&mut hosts, 2, "directory", json!("boot:1:78"));
    let told = "n2 and n4 are one node under several names: the data directory /d of one machine; take all names but one out of the inventory";
    assert_eq!(only(adding(&hosts, "n4")), told);
    assert_eq!(only(dropping(&hosts, "n2")), told);
    assert_eq!(inspect(&nodes(&hosts)).findings, [told]);
}

#[test]
fn a_server_that_runs_as_another_node_is_neither_added_nor_dropped() {
    let wrong = "by its id in the inventory it would be";
    let mut hosts = four();
    hosts[3].2 = seen(4, "standby", true, &[1, 2, 3]);
    good(adding(&hosts, "n4"));
    hosts[3].2["og_guc"]["after"]["application_name"] = json!("dn_6007");
    assert_eq!(
        only(adding(&hosts, "n4")),
        format!(
            "n4: its application_name is dn_6007, {wrong} dn_6004; correct the id, or set the host variable application_name"
        )
    );
    // It is not started: the name is a run's that was killed, and is written anew.
    hosts[3].2["og_node_state"]["node"]["running"] = json!(false);
    good(adding(&hosts, "n4"));
    // Dropped by a wrong id, its name would stay in synchronous_standby_names.
    let mut hosts = cluster(2);
    hosts[1].2["og_guc"]["after"]["application_name"] = json!("dn_6007");
    assert!(only(dropping(&hosts, "n2")).contains("dn_6007, by its id"));
    // What the cluster has written down counts of a node that does not answer, too.
    for seen in [seen(2, "standby", true, &[1, 3]), json!(null)] {
        let mut hosts = cluster(2);
        hosts[1].2 = seen;
        let records = json!([{"id": 7, "name": "og7", "address": ["10.0.0.2"], "base_port": 26000},
            {"id": 3, "name": "og3", "address": "10.0.0.3", "base_port": 26000}]);
        hosts[0].2["og_static_conf"] = json!({"failed": false, "nodes": records});
        let told = "n2: its address and port are recorded in the static configuration file as those of node 7; correct its id in the inventory";
        assert_eq!(only(dropping(&hosts, "n2")), told);
    }
}

#[test]
fn the_port_is_held_against_the_file_and_the_server() {
    for (listens, file, told) in [
        (json!(26000), json!("26000"), None),
        (json!(null), json!(null), None),
        (
            json!(26100),
            json!("26100"),
            Some("its server listens on port 26100, the inventory says base_port 26000"),
        ),
        (
            json!(null),
            json!(" 26100 "),
            Some("its postgresql.conf sets port 26100, the inventory says base_port 26000"),
        ),
        // From its next start on.
        (json!(26000), json!("26100"), Some("its postgresql.conf sets port 26100, ")),
    ] {
        for at in 0..4 {
            let mut hosts = four();
            identity(&mut hosts, at, "listen_port", listens.clone());
            hosts[at].2["og_guc"]["after"]["port"] = file.clone();
            let Some(told) = told else {
                good(adding(&hosts, "n4"));
                continue;
            };
            let found = only(adding(&hosts, "n4"));
            assert!(found.starts_with(&format!("n{}: {told}", at + 1)), "{found}");
            if at < 3 {
                assert_eq!(only(dropping(&hosts, "n2")), found);
            }
        }
    }
}

#[test]
fn ssh_that_leads_to_another_machine_is_found_before_anything_is_changed() {
    for at in 0..4 {
        let mut hosts = four();
        identity(&mut hosts, at, "addresses", json!([format!("10.0.0.{}", at + 1), "fe80::1"]));
        good(adding(&hosts, "n4"));
        identity(&mut hosts, at, "addresses", json!(["10.0.0.9"]));
        let found = only(adding(&hosts, "n4"));
        let told = format!(
            "n{0}: ssh leads to another machine than its address 10.0.0.{0}, which is none of that machine's (it has 10.0.0.9)",
            at + 1
        );
        assert!(found.starts_with(&told), "{found}");
        assert_eq!(inspect(&nodes(&hosts)).findings, std::slice::from_ref(&found));
        if at < 3 {
            assert_eq!(only(dropping(&hosts, "n3")), found);
        }
    }
    // Several servers of one machine may have a loopback address; what a name stands for is asked of the machine.
    let mut hosts = four();
    hosts[3].1["address"] = json!("127.0.0.1");
    identity(&mut hosts, 3, "addresses", json!(["10.0.0.4"]));
    good(adding(&hosts, "n4"));
    hosts[3].1["address"] = json!("og4.example");
    hosts[3].2["og_replconninfo"]["local"] = json!({"host": "og4.example", "is_here": true});
    good(adding(&hosts, "n4"));
    let problem = "og4.example is no address of this machine";
    hosts[3].2["og_replconninfo"]["local"] =
        json!({"host": "og4.example", "is_here": false, "problem": problem});
    assert!(
        only(adding(&hosts, "n4"))
            .starts_with(&format!("n4: ssh leads to another machine than its address: {problem}"))
    );
}
