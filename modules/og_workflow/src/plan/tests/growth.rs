//! What a cluster must have to take in more nodes, and what is to be undone when it fails.

use serde_json::{Value, json};

use super::{
    Given, adding, cluster, expand_with, fresh, good, host, lock, only, parameter, seen, values, with, words,
};
use crate::args::{Options, SyncStandbys};
use crate::plan::{NODE_NAME, SYNC_NAMES};

/// The server of the node at `at` runs with these values.
fn running(hosts: &mut [Given], at: usize, values: Value) {
    hosts[at].2["og_guc"]["running"] = values;
}

fn many(count: i64) -> Vec<Given> {
    (2..2 + count).map(|n| fresh(n, "standby")).collect()
}

fn targets(count: i64) -> String {
    (2..2 + count).map(|n| format!("n{n}")).collect::<Vec<_>>().join(",")
}

#[test]
fn builds_are_as_many_at_once_as_the_senders_of_the_primary_allow() {
    let with_senders = |senders: &str, nodes: Vec<Given>, targets: &str, parallel: usize| {
        let mut hosts = nodes;
        running(&mut hosts, 0, json!({"max_wal_senders": senders}));
        let options = Options { og_build_parallel: parallel, ..Options::default() };
        let plan = good(expand_with(&hosts, targets, &options));
        (plan.standbys_at_once, plan.cascades_at_once)
    };
    let single = || with(cluster(0), many(8));
    // One for each of eight standbys, one more for each build that is under way, one for tools.
    assert_eq!(with_senders("17", single(), &targets(8), 0).0, 8);
    assert_eq!(with_senders("16", single(), &targets(8), 0).0, 7);
    assert_eq!(with_senders("10", single(), &targets(8), 0).0, 1);
    assert_eq!(with_senders("16", single(), &targets(8), 3).0, 3);
    // A cascade standby is built from the primary, too, when all standbys stream.
    let mixed = with(cluster(2), vec![fresh(4, "cascade_standby"), fresh(5, "cascade_standby")]);
    assert_eq!(with_senders("7", mixed.clone(), "n4,n5", 0), (1, 2));
    assert_eq!(with_senders("6", mixed, "n4,n5", 0), (1, 1));
}

#[test]
fn too_few_senders_are_found_before_anything_is_changed() {
    let mut hosts = with(cluster(2), vec![fresh(4, "standby"), fresh(5, "standby")]);
    running(&mut hosts, 0, json!({"max_wal_senders": "4"}));
    assert_eq!(
        only(adding(&hosts, "n4,n5")),
        "n1: max_wal_senders is 4, and 4 standbys with one build at a time, and one sender for tools, need 6 (7 for all \
         builds at once); raise it: og configure max_wal_senders=7 --configure-restart yes"
    );
    // The file says more already.
    parameter(&mut hosts, "max_wal_senders", Some("16"));
    assert!(only(adding(&hosts, "n4,n5")).ends_with("its file has more: og restart"));
    // A backup takes one, too; those of the members are counted once.
    running(&mut hosts, 0, json!({"max_wal_senders": "6"}));
    good(adding(&hosts, "n4,n5"));
    let sender = |host: &str| json!({"peer": {"host": host, "port": 1}});
    hosts[0].2["og_node_state"]["node"]["senders"] =
        json!([sender("10.0.0.2"), sender("10.0.0.3"), sender("10.0.0.99")]);
    assert!(
        only(adding(&hosts, "n4,n5"))
            .contains("5 standbys with one build at a time, and one sender for tools, need 7")
    );
    // Where nobody is built nothing more is needed.
    running(&mut hosts, 0, json!({"max_wal_senders": "2"}));
    good(adding(&hosts, "n3"));
}

#[test]
fn too_few_slots_are_found() {
    let mut hosts = with(cluster(2), vec![fresh(4, "standby")]);
    let slot = |name: &str| json!({"name": name, "type": "physical", "active": true});
    hosts[0].2["og_node_state"]["node"]["slots"] = json!([slot("dn_6002"), slot("dn_6003"), slot("backup")]);
    running(&mut hosts, 0, json!({"max_replication_slots": "3"}));
    let found = only(adding(&hosts, "n4"));
    let wanted = "n1: max_replication_slots is 3, and the standbys n2, n3, n4 need a slot each beside those of backup, 4 in \
                  all; raise it: og configure max_replication_slots=4";
    assert!(found.starts_with(wanted), "{found}");
    running(&mut hosts, 0, json!({"max_replication_slots": "4"}));
    good(adding(&hosts, "n4"));
}

#[test]
fn new_nodes_get_the_name_under_which_the_primary_runs() {
    let mut hosts = with(cluster(1), vec![fresh(3, "standby")]);
    parameter(&mut hosts, NODE_NAME, Some("dn_6001_6002"));
    let own = |hosts: &[Given]| good(adding(hosts, "n2,n3")).own;
    assert_eq!(own(&hosts)["n3"][NODE_NAME], "dn_6001_6002");
    running(&mut hosts, 0, json!({NODE_NAME: "dn_6001"}));
    let own = own(&hosts);
    assert_eq!((&*own["n3"][NODE_NAME], &*own["n3"]["application_name"]), ("dn_6001", "dn_6003"));
    // One that streams runs under its own until it is restarted.
    assert_eq!(own["n2"].get(NODE_NAME), None);
}

#[test]
fn members_of_several_names_are_found_where_there_are_tablespaces() {
    let mut hosts = with(cluster(1), vec![fresh(3, "standby")]);
    running(&mut hosts, 0, json!({NODE_NAME: "dn_6001"}));
    running(&mut hosts, 1, json!({NODE_NAME: "dn_6002"}));
    let outlook = adding(&hosts, "n3");
    let told = "n2: runs under pgxc_node_name dn_6002, the primary n1 under dn_6001: it ";
    assert!(outlook.warnings[0].starts_with(&format!("{told}would lose")), "{:?}", outlook.warnings);
    good(outlook);
    hosts[0].2["og_node_state"]["node"]["tablespaces"] =
        json!({"names": ["dn_6001"], "running": "dn_6001", "configured": "dn_6001", "damage": "none"});
    let found = only(adding(&hosts, "n3"));
    assert!(found.starts_with(&format!("{told}cannot read what is in tablespaces")), "{found}");
    assert!(
        found.ends_with("({pgxc_node_name: dn_6001}) and rebuild it in full (og_build with mode: full)")
            || found.contains("rebuild it in full")
    );
    running(&mut hosts, 1, json!({NODE_NAME: "dn_6001"}));
    good(adding(&hosts, "n3"));
    // The primary itself will be another one after its next restart.
    parameter(&mut hosts, NODE_NAME, Some("dn_6009"));
    let found = only(adding(&hosts, "n3"));
    assert!(found.starts_with("n1: runs under pgxc_node_name dn_6001, its file has dn_6009"), "{found}");
}

#[test]
fn a_list_in_place_of_any_standby_has_all_that_counted() {
    let any = |names: Option<&str>, change: &dyn Fn(&mut [Given])| {
        let mut hosts = with(cluster(2), vec![fresh(4, "standby"), fresh(5, "cascade_standby")]);
        parameter(&mut hosts, SYNC_NAMES, names);
        change(&mut hosts);
        let options = Options { og_sync_standbys: SyncStandbys::Any, ..Options::default() };
        expand_with(&hosts, "n4,n5", &options)
    };
    for names in [None, Some("*"), Some("ANY 2(*)"), Some("any 1(*)")] {
        assert_eq!(good(any(names, &|_| ())).sync_add, words("dn_6002,dn_6003,dn_6004"), "{names:?}");
    }
    for names in ["dn_6002", "ANY 1(dn_6002,dn_6003)"] {
        assert_eq!(good(any(Some(names), &|_| ())).sync_add, words("dn_6004"), "{names}");
    }
    let away = any(Some("*"), &|h| h[2].2["og_node_state"]["node"]["receiver"] = json!(null));
    assert!(away.warnings[0].starts_with("n3: does not stream, and synchronous_standby_names of n1"));
    assert_eq!(good(away).sync_add, words("dn_6002,dn_6004"));
    let unnamed = any(Some("*"), &|h| h[2].2["og_guc"]["after"] = json!({}));
    assert!(only(unnamed).starts_with("n3: has no application_name, by which"));
    // The first standby of a single node counts alone, as it does undisturbed.
    let mut hosts = vec![host(1, "primary", seen(1, "normal", true, &[])), fresh(2, "standby")];
    parameter(&mut hosts, SYNC_NAMES, Some("*"));
    let options = Options { og_sync_standbys: SyncStandbys::Any, ..Options::default() };
    assert_eq!(good(expand_with(&hosts, "n2", &options)).sync_add, words("dn_6002"));
}

#[test]
fn a_note_of_the_names_counts_until_somebody_sets_them() {
    let mut hosts = vec![host(1, "primary", seen(1, "primary", true, &[])), fresh(2, "standby")];
    lock(&mut hosts, "expand n2", json!({SYNC_NAMES: "*"}));
    hosts[0].2["og_lock"] = json!({"lock": null, "previous": hosts[0].2["og_lock"]["lock"]});
    parameter(&mut hosts, SYNC_NAMES, Some(""));
    let plan = good(adding(&hosts, "n2"));
    assert_eq!((plan.sync_before.as_deref(), plan.deferred_sync.is_some()), (Some("*"), true));
    assert_eq!(plan.note.restore, values(&[(SYNC_NAMES, Some("*"))]));
    parameter(&mut hosts, SYNC_NAMES, Some("dn_6007"));
    assert_eq!(good(adding(&hosts, "n2")).sync_before.as_deref(), Some("dn_6007"));
}

#[test]
fn what_a_new_node_had_is_known_to_be_put_back() {
    let mut hosts = with(cluster(1), vec![fresh(3, "standby")]);
    hosts[2].2["og_guc"]["after"] = json!({"application_name": "dn_6009", "available_zone": null,
        "replconninfo1": "localhost=10.0.0.3", "pgxc_node_name": "dn_6003"});
    let rule = |method: &str| {
        json!({"line": 1, "rule": {"type": "host", "databases": ["all"], "users": ["omm"],
            "address": "10.0.0.1/32", "method": method, "options": {"map": "m"}}})
    };
    hosts[2].2["og_hba"]["rules"] = json!([rule("cert"), rule("trust")]);
    let plan = good(adding(&hosts, "n2,n3"));
    assert_eq!(
        json!(plan.undo_set["n3"]),
        json!({"application_name": "dn_6009", "replconninfo1": "localhost=10.0.0.3", "pgxc_node_name": "dn_6003"})
    );
    let unset = "synchronous_standby_names,available_zone,replconninfo2,replconninfo3,replconninfo4,replconninfo5,\
                 replconninfo6,replconninfo7,replconninfo8";
    assert_eq!(plan.undo_unset["n3"], words(unset));
    assert_eq!(json!(plan.undo_rules["n3"]), json!([rule("cert")["rule"]]));
    // Of one that stays what it had before stays with it; its channels are taken away one by one.
    assert_eq!(json!(plan.undo_set["n2"]), json!({"application_name": "dn_6002"}));
    assert_eq!(plan.undo_unset["n2"], words("available_zone,pgxc_node_name"));
    // Where it gets certificates, SSL as well.
    hosts[2].2["og_guc"]["after"]["ssl"] = json!("off");
    let with_ssl = Options { og_ssl: "/c".to_owned(), ..Options::default() };
    let plan = good(expand_with(&hosts, "n2,n3", &with_ssl));
    assert_eq!((&*plan.own["n3"]["ssl"], plan.own["n2"].get("ssl")), ("on", None));
    assert_eq!(plan.undo_set["n3"]["ssl"], "off");
    let of_ssl = |n: &str| plan.undo_unset[n].iter().filter(|name| name.starts_with("ssl")).count();
    assert_eq!((of_ssl("n3"), of_ssl("n2")), (3, 0));
}

#[test]
fn a_new_node_without_rules_is_added_and_gets_them() {
    let missing = json!({"failed": true, "msg": "m", "error": {"kind": "not_found", "detail": "there is no pg_hba.conf"}});
    let mut hosts = with(cluster(1), vec![fresh(3, "standby")]);
    hosts[2].2["og_hba"] = missing.clone();
    assert_eq!(good(adding(&hosts, "n3")).rules["n3"].len(), 3);
    // A member without it cannot be what it was.
    hosts[1].2["og_hba"] = missing;
    assert_eq!(only(adding(&hosts, "n3")), "n2: there is no pg_hba.conf");
}

#[test]
fn a_new_node_without_data_directory_is_a_finding() {
    let missing = json!({"failed": true, "msg": "m", "error": {"kind": "not_found", "detail": "cannot open data_dir /gauss/dn"}});
    let mut hosts = with(cluster(1), vec![fresh(3, "standby")]);
    for program in ["og_node_state", "og_hba", "og_guc", "og_replconninfo"] {
        hosts[2].2[program] = missing.clone();
    }
    assert_eq!(only(adding(&hosts, "n3")), "n3: cannot open data_dir /gauss/dn");
}
