//! Whether a dropped node may be cleared, and what of it is left at the others.

use serde_json::{Value, json};

use super::{Given, cluster, good, host, nodes, only, seen, words};
use crate::args::{ClearMode, Options};
use crate::plan::{Clear, Outlook, SYNC_NAMES, clear};

/// What og_initdb says of a data directory that is there.
pub(super) fn data_directory(content: &str, name: &str) -> Value {
    let listed = json!({"path": "/d", "bytes": 7, "owner": "omm", "modified": null, "why": "data_dir"});
    json!({
        "failed": false,
        "directory": {"path": "/d", "content": content, "name": name, "system_id": (content == "database").then_some("77")},
        "listing": if content == "database" { json!([listed]) } else { json!([]) },
        "obstacles": [],
    })
}

/// n1 and n2, and n3 that was dropped: it is stopped and knows them still.
pub(crate) fn dropped() -> Vec<Given> {
    let mut hosts = cluster(1);
    for own in &mut hosts {
        own.2["og_node_state"]["identity"] = json!({"system_id": "77"});
    }
    let mut own = seen(3, "standby", false, &[1, 2]);
    own["og_initdb"] = data_directory("database", "dn_6003");
    hosts.push(host(3, "standby", own));
    hosts
}

fn clearing(hosts: &[Given]) -> Outlook<Clear> {
    clear(&nodes(hosts), &words("n3"), &Options::default())
}

#[test]
fn what_a_dropped_node_left_goes() {
    let plan = good(clearing(&dropped()));
    assert_eq!(json!(plan.remove), json!({"n3": ""}), "nobody confirmed anything");
    assert!(plan.stop.is_empty() && plan.rules.is_empty() && plan.slots.is_empty());
    assert_eq!(plan.listing["n3"].len(), 1);
    let channels: Vec<_> = plan.peers.iter().map(|peer| peer["channels"].as_array().unwrap().len()).collect();
    assert_eq!(channels, [1, 1]);
    // A server that runs and receives from nobody is stopped first; its obstacle is no obstacle.
    let mut hosts = dropped();
    hosts[2].2["og_node_state"]["node"]["running"] = json!(true);
    hosts[2].2["og_initdb"]["obstacles"] =
        json!([{"kind": "running", "detail": "a server runs", "fix": "stop"}]);
    assert_eq!(good(clearing(&hosts)).stop, words("n3"));
}

#[test]
fn what_is_left_at_the_members_is_forgotten() {
    let mut hosts = dropped();
    let rule = |host: &str| {
        json!({"line": 5, "text": "x", "rule": {"type": "host", "databases": ["all"], "users": ["omm"],
            "address": format!("{host}/32"), "method": "trust"}})
    };
    hosts[1].2["og_hba"]["rules"] = json!([rule("10.0.0.1"), rule("10.0.0.3"), rule("10.0.0.33")]);
    hosts[0].2["og_node_state"]["node"]["slots"] = json!([
        {"name": "dn_6003", "type": "physical", "active": false, "restart_lsn": null, "retained_bytes": null},
        {"name": "dn_6002", "type": "physical", "active": true, "restart_lsn": null, "retained_bytes": null},
    ]);
    let plan = good(clearing(&hosts));
    assert_eq!(json!(plan.slots), json!({"n1": ["dn_6003"]}));
    assert_eq!(plan.rules.keys().collect::<Vec<_>>(), ["n2"]);
    assert_eq!(plan.rules["n2"][0].address.as_deref(), Some("10.0.0.3/32"));
    assert_eq!(plan.rules["n2"].len(), 1);
}

#[test]
fn nothing_is_left_of_a_node_that_was_cleared() {
    let mut hosts = dropped();
    let gone = json!({"failed": true, "msg": "x", "error": {"kind": "not_found", "detail": "cannot open data_dir /d"}});
    let mut own: serde_json::Map<_, _> =
        crate::seen::PROGRAMS.iter().map(|program| ((*program).to_owned(), gone.clone())).collect();
    own.insert("og_initdb".to_owned(), data_directory("missing", ""));
    hosts[2].2 = Value::Object(own);
    assert!(good(clearing(&hosts)).is_empty());
}

#[test]
fn a_member_is_not_cleared() {
    let of = |change: &dyn Fn(&mut Vec<Given>)| {
        let mut hosts = dropped();
        change(&mut hosts);
        only(clearing(&hosts))
    };
    let channel = |at: usize| {
        move |h: &mut Vec<Given>| {
            let remote = json!({"host": "10.0.0.3", "port": 26001});
            let own = &mut h[at].2["og_replconninfo"]["channels"];
            own.as_array_mut().unwrap().push(json!({"number": 2, "remote": remote}));
        }
    };
    assert!(of(&channel(0)).contains("n3: n1 has a replication channel to it, so it is a member still"));
    assert!(of(&channel(1)).contains("n3: n2 has a replication channel to it"));
    let told = of(&|h| {
        h[1].2["og_static_conf"] =
            json!({"failed": false, "nodes": [{"id": 9, "address": ["10.0.0.3"], "base_port": 26000}]});
    });
    assert!(told.contains("n3: n2 has it in cluster_static_config"), "{told}");
    let told = of(&|h| h[0].2["og_guc"]["after"][SYNC_NAMES] = json!("ANY 1(dn_6002,dn_6003)"));
    assert!(told.contains("n3: n1 has it in synchronous_standby_names"), "{told}");
    assert!(!only_findings(&|h| h[0].2["og_guc"]["after"][SYNC_NAMES] = json!("dn_60031")));
}

/// Whether there are findings.
fn only_findings(change: &dyn Fn(&mut Vec<Given>)) -> bool {
    let mut hosts = dropped();
    change(&mut hosts);
    !clearing(&hosts).findings.is_empty()
}

#[test]
fn a_node_that_cannot_be_judged_is_not_cleared() {
    let of = |change: &dyn Fn(&mut Vec<Given>)| {
        let mut hosts = dropped();
        change(&mut hosts);
        clearing(&hosts).findings.join("\n")
    };
    assert!(of(&|h| h[2].2 = Value::Null).contains("n3: cannot be reached, so nothing there can be removed"));
    assert!(of(&|h| h[1].2 = Value::Null).contains("n2: cannot be reached"));
    let told = of(&|h| h[2].2["og_node_state"] = seen(3, "standby", true, &[1])["og_node_state"].clone());
    assert!(told.contains("drop it first (og drop n3)"), "{told}");
    let told = of(&|h| h[2].2["og_node_state"] = seen(3, "normal", true, &[])["og_node_state"].clone());
    assert!(told.contains("n3 runs as a single node of its own"), "{told}");
    let told = of(&|h| {
        h[2].2["og_initdb"]["obstacles"] =
            json!([{"kind": "mount_point", "detail": "/d is a mount point", "fix": "unmount it"}]);
    });
    assert_eq!(told, "n3: /d is a mount point; unmount it");
    let told = of(&|h| {
        h[2].2["og_initdb"] =
            json!({"failed": true, "msg": "no", "error": {"kind": "permission", "detail": "no"}});
    });
    assert!(told.contains("n3: no"), "{told}");
}

#[test]
fn a_deletion_is_confirmed_by_the_nodes_name() {
    let of = |confirm: &str| {
        let options = Options {
            og_clear_mode: ClearMode::Deleted,
            og_confirm_clear: confirm.to_owned(),
            ..Options::default()
        };
        clear(&nodes(&dropped()), &words("n3"), &options)
    };
    for confirm in ["", "n2", "n3", "dn_600", "yes"] {
        assert!(only(of(confirm)).contains("og_confirm_clear=dn_6003, the name that is in it"), "{confirm}");
    }
    let plan = good(of("dn_6002, dn_6003"));
    assert_eq!((plan.mode, json!(plan.remove)), (ClearMode::Deleted, json!({"n3": "dn_6003"})));
}

#[test]
fn what_may_be_no_copy_of_the_primary_is_not_cleared() {
    let with = |confirm: &str, change: &dyn Fn(&mut Value)| {
        let mut hosts = dropped();
        change(&mut hosts[2].2);
        let options = Options { og_confirm_clear: confirm.to_owned(), ..Options::default() };
        clear(&nodes(&hosts), &words("n3"), &options)
    };
    for confirm in ["", "dn_6003"] {
        let of = |change: &dyn Fn(&mut Value)| only(with(confirm, change));
        let told = of(&|own| own["og_initdb"]["directory"]["system_id"] = json!("78"));
        assert!(told.contains("holds the database system 78, that of n1 is 77"), "{told}");
        let told = of(&|own| own["og_initdb"]["directory"]["system_id"] = Value::Null);
        assert!(told.contains("is not known"), "{told}");
        let told = of(&|own| own["og_node_state"]["node"]["role"] = json!("primary"));
        assert!(told.contains("may hold commits that n1 has not; repair it first"), "{told}");
    }
    for role in ["normal", "unknown", "pending"] {
        let change = |own: &mut Value| own["og_node_state"]["node"]["role"] = json!(role);
        assert!(only(with("n3", &change)).contains("og_confirm_clear=dn_6003"), "{role}");
        good(with("dn_6003", &change));
    }
    // Nothing of anybody's is in what og_initdb made.
    good(with("", &|own| {
        own["og_initdb"]["directory"] =
            json!({"path": "/d", "content": "database", "system_id": "78", "made": true});
        own["og_node_state"]["node"]["role"] = json!("unknown");
    }));
    // What the primary has is not known.
    let mut hosts = dropped();
    hosts[0].2["og_node_state"]["identity"] = json!({});
    assert!(only(clearing(&hosts)).contains("is not known"));
}

#[test]
fn a_channel_to_a_name_may_be_one_to_the_node() {
    let of = |host: &str, port: i64, change: &dyn Fn(&mut Vec<Given>)| {
        let mut hosts = dropped();
        let own = &mut hosts[1].2["og_replconninfo"]["channels"];
        own.as_array_mut().unwrap().push(json!({"number": 2, "remote": {"host": host, "port": port}}));
        change(&mut hosts);
        clearing(&hosts).findings.iter().any(|text| text.contains("n2 has a replication channel to it"))
    };
    assert!(of("db3.example", 26001, &|_| ()), "whose name it is is not known");
    assert!(of("n3", 26001, &|_| ()));
    assert!(!of("n1", 26001, &|_| ()) && !of("db3.example", 36001, &|_| ()));
    assert!(!of("db1.example", 26001, &|h| h[0].1["hostname"] = json!("db1.example")));
    assert!(of("10.0.0.9", 26001, &|h| h[2].1["address"] = json!("db3.example")));
}

#[test]
fn a_node_that_could_not_answer_may_know_the_cleared_one() {
    let mut hosts = dropped();
    hosts.push(host(4, "standby", seen(4, "standby", false, &[])));
    good(clearing(&hosts));
    for program in ["og_guc", "og_replconninfo", "og_static_conf"] {
        let mut hosts = hosts.clone();
        hosts[3].2[program] =
            json!({"failed": true, "msg": "no", "error": {"kind": "permission", "detail": "cannot be read"}});
        let told = clearing(&hosts).findings.join("\n");
        assert!(
            told.contains("n4: whether it still knows n3 is not known: cannot be read"),
            "{program}: {told}"
        );
    }
    // Where there is no data directory nothing knows anybody.
    let gone = json!({"failed": true, "msg": "x", "error": {"kind": "not_found", "detail": "cannot open data_dir /d"}});
    for program in crate::seen::PROGRAMS {
        hosts[3].2[program] = gone.clone();
    }
    good(clearing(&hosts));
}

#[test]
fn program_files_that_another_node_may_use_stay() {
    let of = |change: &dyn Fn(&mut Vec<Given>)| {
        let mut hosts = dropped();
        for (_, vars, _) in &mut hosts {
            vars["gauss_home"] = json!("/gauss/app/current");
        }
        change(&mut hosts);
        let options = Options { og_package_absent: true, ..Options::default() };
        clear(&nodes(&hosts), &words("n3"), &options)
    };
    let shared = |hosts: &mut Vec<Given>, home: Value| {
        hosts[1].1["gauss_home"] = home;
        hosts[1].2["og_node_state"]["identity"]["addresses"] = json!(["10.0.0.2", "10.0.0.3"]);
    };
    assert_eq!(good(of(&|_| ())).program_files["n3"].link, "/gauss/app/current");
    assert!(good(clearing(&dropped())).program_files.is_empty(), "og_package_absent is not set");
    let told = only(of(&|hosts| shared(hosts, json!("/gauss/app/current/"))));
    assert!(
        told.starts_with(
            "n3: n2 is on the same machine and uses the program files in /gauss/app/current, too"
        ),
        "{told}"
    );
    let told = only(of(&|hosts| shared(hosts, Value::Null)));
    assert!(told.contains("n2 is on the same machine and has no gauss_home"), "{told}");
    good(of(&|hosts| shared(hosts, json!("/gauss/app/second"))));
    let told = only(of(&|hosts| hosts[2].1["gauss_home"] = Value::Null));
    assert!(told.starts_with("n3: has no gauss_home in the inventory"), "{told}");
}

#[test]
fn servers_that_are_stopped_on_one_machine_are_known_to_end() {
    let mut hosts = dropped();
    for at in [1, 2] {
        hosts[at].2["og_node_state"] = seen(3, "standby", false, &[])["og_node_state"].clone();
        hosts[at].2["og_node_state"]["node"]["running"] = json!(true);
        hosts[at].2["og_node_state"]["node"]["pid"] = json!(4710 + at);
        hosts[at].2["og_node_state"]["identity"] = json!({"system_id": "77"});
        hosts[at].2["og_initdb"] = data_directory("database", "dn");
    }
    hosts[0].2["og_replconninfo"] = json!({"failed": false, "channels": []});
    hosts[1].2["og_replconninfo"] = json!({"failed": false, "channels": []});
    let ended =
        |hosts: &[Given]| json!(good(clear(&nodes(hosts), &words("n2,n3"), &Options::default())).ended);
    assert_eq!(ended(&hosts), json!({"n2": [4711], "n3": [4712]}));
    hosts[2].2["og_node_state"]["identity"]["addresses"] = json!(["10.0.0.3", "10.0.0.2"]);
    assert_eq!(ended(&hosts), json!({"n2": [4711, 4712], "n3": [4711, 4712]}));
}
