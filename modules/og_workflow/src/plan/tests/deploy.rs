//! What is made of nodes on which no database is there, and what is left as it is.

use serde_json::{Map, Value, json};

use super::clear::data_directory;
use super::{Given, checked, cluster, fresh, good, host, nodes, only, parameter, seen};
use crate::args::Options;
use crate::plan::{Deploy, Outlook, PREFLIGHT, deploy};

/// A host with openGauss and no data directory.
pub(crate) fn bare(number: i64, role: &str) -> Given {
    let gone = json!({"failed": true, "msg": "x", "error": {"kind": "not_found", "detail": "cannot open data_dir /d"}});
    let programs = crate::seen::PROGRAMS.iter().map(|program| ((*program).to_owned(), gone.clone()));
    let mut given = fresh(number, role);
    let facts = checked(&given);
    given.2 = Value::Object(programs.collect::<Map<_, _>>());
    given.2["og_initdb"] = data_directory("missing", "");
    given.2[PREFLIGHT] = facts;
    given
}

/// A host whose data directory was only made.
pub(crate) fn made(number: i64, role: &str) -> Given {
    let mut given = fresh(number, role);
    given.2["og_initdb"] = data_directory("database", "dn_6001");
    given.2["og_initdb"]["directory"]["system_id"] = json!(format!("9{number}"));
    given.2["og_initdb"]["directory"]["made"] = json!(true);
    given
}

fn bare_cluster() -> Vec<Given> {
    vec![bare(1, "primary"), bare(2, "standby"), bare(3, "standby"), bare(4, "cascade_standby")]
}

fn with(hosts: &[Given], parameters: Value) -> Outlook<Deploy> {
    let og_parameters = parameters.as_object().unwrap().clone();
    deploy(&nodes(hosts), &Options { og_parameters, og_password_file: "/p".to_owned(), ..Options::default() })
}

fn deploying(hosts: &[Given]) -> Outlook<Deploy> {
    with(hosts, json!({}))
}

fn memory(given: &mut Given, gib: u64) {
    given.2[PREFLIGHT]["facts"]["memory"]["total"] = json!(gib << 30);
}

#[test]
fn bare_hosts_become_a_cluster_under_one_node_name() {
    let plan = good(deploying(&bare_cluster()));
    assert_eq!(plan.initdb, ["n1", "n2", "n3", "n4"]);
    assert_eq!((plan.fresh.len(), plan.start, plan.add.join(",")), (4, true, "n2,n3,n4".to_owned()));
    assert_eq!(plan.node_name, "dn_6001");
    for (n, name) in [("n1", "dn_6001"), ("n4", "dn_6004")] {
        let own = &plan.parameters[n];
        assert_eq!((&*own["pgxc_node_name"], &*own["application_name"]), ("dn_6001", name));
        assert_eq!((&*own["port"], &*own["remote_read_mode"]), ("26000", "non_authentication"));
        assert_eq!((&*own["replication_type"], &*own["max_wal_senders"]), ("1", "20"));
        let address = format!("10.0.0.{}", &n[1..]);
        assert_eq!(
            (&*own["local_bind_address"], &own["listen_addresses"]),
            (&*address, &format!("localhost,{address}"))
        );
    }
    let peers: Vec<_> = plan.peers.iter().map(|peer| (&*peer.host, peer.cascade)).collect();
    assert_eq!(peers, [("10.0.0.2", false), ("10.0.0.3", false), ("10.0.0.4", true)]);
    let addresses: Vec<_> = plan.rules.iter().filter_map(|rule| rule.address.as_deref()).collect();
    assert_eq!(addresses, ["10.0.0.1/32", "10.0.0.2/32", "10.0.0.3/32", "10.0.0.4/32"]);
}

#[test]
fn sizes_follow_the_node_with_the_least_memory_and_say_so() {
    let mut hosts = bare_cluster();
    for own in &mut hosts {
        memory(own, 64);
    }
    memory(&mut hosts[2], 16);
    let plan = good(deploying(&hosts));
    let own = &plan.parameters["n1"];
    assert_eq!((&*own["max_process_memory"], &*own["shared_buffers"]), ("9830MB", "4095MB"));
    assert_eq!(plan.parameters["n1"]["shared_buffers"], plan.parameters["n3"]["shared_buffers"]);
    assert_eq!(
        plan.sizes[0],
        "max_process_memory = 9830MB: 60 % of the 16.0 GiB of n3, which has the least memory"
    );
    // What is given counts, but not what tells the nodes apart.
    let plan = good(with(&hosts, json!({"Shared_Buffers": "1GB", "port": 5432, "max_connections": 500})));
    let own = &plan.parameters["n2"];
    assert_eq!((&*own["shared_buffers"], &*own["max_connections"], &*own["port"]), ("1GB", "500", "26000"));
    memory(&mut hosts[1], 2);
    assert!(only(deploying(&hosts)).starts_with("n2: has 2.0 GiB of memory"));
    assert!(only(with(&hosts, json!({"max_process_memory": "2GB"}))).contains("og_accept=memory.process"));
    memory(&mut hosts[1], 4);
    // What is given for the server decides of its parts, too.
    let plan = good(with(&hosts, json!({"max_process_memory": "2GB"})));
    assert_eq!(plan.parameters["n1"]["shared_buffers"], "853MB");
    let told = only(with(&hosts, json!({"max_process_memory": "2GB", "shared_buffers": "2GB"})));
    assert!(told.contains("of which they are a part"), "{told}");
    let told = only(with(&hosts, json!({"max_connections": 20})));
    assert!(told.contains("max_wal_senders = 20 is not below max_connections = 20"), "{told}");
    // Two nodes of one machine share it.
    memory(&mut hosts[1], 16);
    let shared = json!(["10.0.0.2", "10.0.0.3"]);
    for at in [1, 2] {
        hosts[at].2[PREFLIGHT]["facts"]["identity"]["addresses"] = shared.clone();
        hosts[at].2["og_initdb"]["directory"]["path"] = json!(format!("/d{at}"));
    }
    assert_eq!(good(deploying(&hosts)).parameters["n1"]["max_process_memory"], "4915MB");
    hosts[2].2["og_initdb"]["directory"]["path"] = json!("/d1/dn3");
    let told = deploying(&hosts).findings.join("\n");
    assert!(told.contains("n2 and n3 are on one machine, and their data directories"), "{told}");
}

#[test]
fn with_certificates_new_nodes_have_ssl_on_and_members_are_told_of() {
    let with_ssl = |hosts: &[Given], parameters: Value| {
        let og_parameters = parameters.as_object().unwrap().clone();
        let options =
            Options { og_ssl: "/c".to_owned(), og_password_file: "/p".to_owned(), ..Options::default() };
        deploy(&nodes(hosts), &Options { og_parameters, ..options })
    };
    let own = good(with_ssl(&bare_cluster(), json!({}))).parameters;
    for n in ["n1", "n3"] {
        assert_eq!((&*own[n]["ssl"], &*own[n]["ssl_ca_file"]), ("on", "cacert.pem"));
    }
    assert!(!good(deploying(&bare_cluster())).parameters["n1"].contains_key("ssl"));
    let told = only(with_ssl(&bare_cluster(), json!({"SSL": false, "ssl_ciphers": "ALL"})));
    assert_eq!(told, "SSL: set by og_ssl, too; leave it out of og_parameters");
    let mut members = cluster(1);
    for own in &mut members {
        own.2["og_initdb"] = data_directory("database", "dn_6001");
    }
    members[1].2["og_guc"]["after"]["ssl"] = json!("on");
    let outlook = with_ssl(&members, json!({}));
    assert_eq!(outlook.findings, Vec::<String>::new());
    let told: Vec<_> = outlook.warnings.iter().filter(|text| text.contains("og_ssl")).collect();
    assert!(told.len() == 1 && told[0].starts_with("n1: has no SSL and stays so"), "{told:?}");
}

#[test]
fn an_address_that_two_machines_have_does_not_make_them_one() {
    let mut hosts = bare_cluster();
    // That of a bridge for containers.
    for (at, own) in hosts.iter_mut().enumerate() {
        own.2[PREFLIGHT]["facts"]["identity"]["addresses"] =
            json!([format!("10.0.0.{}", at + 1), "172.17.0.1"]);
        memory(own, 16);
    }
    assert_eq!(good(deploying(&hosts)).parameters["n1"]["max_process_memory"], "9830MB");
    // Two names of one machine, which has neither for an address.
    for (at, name) in [(1, "db2.example"), (2, "db3.example")] {
        hosts[at].1["address"] = json!(name);
        hosts[at].2[PREFLIGHT]["facts"]["identity"]["addresses"] = json!(["10.0.0.9", "172.17.0.1"]);
    }
    assert!(deploying(&hosts).findings.join("\n").contains("n2 and n3 are on one machine"));
}

#[test]
fn a_database_that_deploy_did_not_make_is_never_built_over() {
    let theirs = |number: i64, role: &str, system: Option<&str>| {
        let mut given = made(number, role);
        given.2["og_initdb"]["directory"]["made"] = json!(false);
        given.2["og_initdb"]["directory"]["system_id"] = json!(system);
        given
    };
    for system in [Some("55"), None] {
        let told = deploying(&[theirs(1, "primary", system), bare(2, "standby")]).findings.join("\n");
        assert!(
            told.contains("n1: is to be the primary, and it has a database that deploy did not make"),
            "{told}"
        );
        let told = only(deploying(&[bare(1, "primary"), theirs(2, "standby", system)]));
        assert!(told.contains("n2: /d holds a database that deploy did not make"), "{told}");
        let told = only(deploying(&[made(1, "primary"), theirs(2, "standby", system)]));
        assert!(told.contains("n2: /d holds a database that deploy did not make"), "{told}");
    }
    let mut hosts =
        vec![host(1, "primary", seen(1, "primary", true, &[2])), theirs(2, "standby", Some("55"))];
    hosts[0].2["og_node_state"]["identity"] = json!({"system_id": "77"});
    hosts[0].2["og_initdb"] = data_directory("database", "dn_6001");
    assert!(only(deploying(&hosts)).contains("(system identifier 55, that of the primary n1 is 77)"));
    // A copy of the primary's, as a killed run leaves it; once it was a primary, or is recorded, a person decides.
    hosts[1].2["og_initdb"]["directory"]["system_id"] = json!("77");
    assert_eq!(good(deploying(&hosts)).add, ["n2"]);
    hosts[1].2["og_node_state"]["node"]["role"] = json!("primary");
    assert!(only(deploying(&hosts)).contains("last ran as a primary"));
    hosts[1].2["og_node_state"]["node"]["role"] = json!("standby");
    hosts[0].2["og_static_conf"] = json!({"failed": false, "nodes": [{"id": 2, "name": "n2"}]});
    assert!(only(deploying(&hosts)).contains("og repair n2"));
}

#[test]
fn what_expand_would_find_is_found_before_anything_is_made() {
    let mut hosts = bare_cluster();
    hosts[0] = host(1, "standby", seen(1, "primary", true, &[]));
    hosts[0].2["og_initdb"] = data_directory("database", "dn_6001");
    hosts[1].1["role"] = json!("primary");
    let told = deploying(&hosts).findings.join("\n");
    assert!(told.contains("n2 is to be added, but its role in the inventory is primary"), "{told}");
    hosts[1].1["role"] = json!("standby");
    parameter(&mut hosts, "max_wal_senders", Some("1"));
    let told = deploying(&hosts).findings.join("\n");
    assert!(told.contains("max_wal_senders"), "{told}");
    let mut hosts = bare_cluster();
    hosts[2].2[PREFLIGHT]["facts"]["user"]["name"] = json!("root");
    assert!(only(deploying(&hosts)).starts_with("n3: as which user its server is to run is not known"));
}

#[test]
fn a_single_node_is_deployed_once() {
    let mut hosts = vec![host(1, "primary", seen(1, "normal", true, &[]))];
    hosts[0].2["og_initdb"] = data_directory("database", "dn_6001");
    let plan = good(deploying(&hosts));
    assert!(plan.record && !plan.start, "a killed run did not record it");
    hosts[0].2["og_static_conf"] = json!({"failed": false, "nodes": [{"id": 1, "name": "n1"}]});
    assert!(good(deploying(&hosts)).is_empty());
}

#[test]
fn options_that_count_no_more_are_warned_of() {
    let options =
        Options { og_password_file: "/p".to_owned(), og_locale: "de".to_owned(), ..Options::default() };
    let of = |hosts: &[Given]| deploy(&nodes(hosts), &options).warnings.join("\n");
    let told = of(&[made(1, "primary"), made(2, "standby")]);
    assert!(told.contains("without effect in this run: og_password_file, og_locale;"), "{told}");
    assert!(!of(&bare_cluster()).contains("without effect"));
}

#[test]
fn a_run_that_was_killed_goes_on_from_what_is_there() {
    // After gs_initdb, before the primary was started.
    let hosts = vec![made(1, "primary"), made(2, "standby"), bare(3, "standby")];
    let plan = good(deploying(&hosts));
    assert_eq!((plan.initdb.join(","), plan.fresh.len(), plan.start), ("n3".to_owned(), 3, true));
    // The primary runs, and of the standbys none does.
    let mut hosts =
        vec![host(1, "primary", seen(1, "primary", true, &[2, 3])), made(2, "standby"), bare(3, "standby")];
    hosts[0].2["og_guc"]["running"] = json!({"pgxc_node_name": "dn_old"});
    hosts[0].2["og_initdb"] = data_directory("database", "dn_6001");
    let plan = good(deploying(&hosts));
    assert_eq!((plan.start, plan.add.join(","), &*plan.node_name), (false, "n2,n3".to_owned(), "dn_old"));
    assert_eq!(plan.fresh, ["n2", "n3"]);
    assert_eq!(plan.parameters["n2"]["pgxc_node_name"], "dn_old");
    // All follow, also after a switchover.
    let mut hosts = cluster(2);
    for own in &mut hosts {
        own.2["og_initdb"] = data_directory("database", "dn");
    }
    assert!(good(deploying(&hosts)).is_empty());
    hosts[0].2["og_node_state"] = seen(1, "standby", true, &[])["og_node_state"].clone();
    hosts[1].2["og_node_state"] = seen(2, "primary", true, &[])["og_node_state"].clone();
    let plan = good(deploying(&hosts));
    assert!(plan.is_empty() && plan.shared.primary == "n2");
}

#[test]
fn an_initial_user_without_a_password_is_refused_where_one_is_made() {
    let mut hosts = bare_cluster();
    let without = |hosts: &[Given]| deploy(&nodes(hosts), &Options::default());
    let told = without(&hosts).findings.join("\n");
    assert!(
        told.starts_with("n1: no password is given for the initial user")
            && told.contains("og_password_file"),
        "{told}"
    );
    let options = Options { og_password_file: "/p".to_owned(), ..Options::default() };
    hosts[0].2["og_initdb"]["password_problem"] = json!("cannot read /p: no such file");
    let told = only(deploy(&nodes(&hosts), &options));
    assert!(
        told.contains("n1: og_password_file gives no password for the initial user: cannot read /p"),
        "{told}"
    );
    // An earlier run has made it, with what that was given.
    hosts[0] = made(1, "primary");
    assert!(good(without(&hosts)).start);
}

#[test]
fn what_cannot_become_a_cluster_is_refused_before_anything_is_made() {
    let of = |change: &dyn Fn(&mut Vec<Given>)| {
        let mut hosts = bare_cluster();
        change(&mut hosts);
        let found = deploying(&hosts);
        assert!(found.plan.is_none());
        found.findings.join("\n")
    };
    let told = of(&|h| h[0].1["role"] = json!("standby"));
    assert!(told.contains("no host of the inventory has the role primary"), "{told}");
    assert!(of(&|h| h[1].1["role"] = json!("primary")).contains("n1 and n2 have the role primary"));
    assert!(of(&|h| h[1].2 = Value::Null).contains("n2: cannot be reached: no route"));
    assert!(of(&|h| h[1].1["id"] = json!(3)).contains("same id 3"));
    assert!(of(&|h| h.extend((5..=10).map(|n| bare(n, "standby")))).contains("there would be 9 standbys"));
    let told = of(&|h| {
        h.remove(2);
        h.remove(1);
    });
    assert!(told.contains("a cascade standby needs a standby"), "{told}");
    let told = of(&|h| h[0].1["application_name"] = json!("a_name_of_more_than_22_bytes"));
    assert!(told.contains("gs_initdb cuts it after 22"), "{told}");
    let told = of(&|h| h[1].2[PREFLIGHT]["facts"]["identity"]["addresses"] = json!(["10.0.0.77"]));
    assert!(told.contains("n2: ssh leads to another machine than its address 10.0.0.2"), "{told}");
    // A primary that ran before holds data.
    let told = of(&|h| {
        h[0] = host(1, "primary", seen(1, "primary", false, &[2]));
        h[0].2["og_initdb"] = data_directory("database", "dn_6001");
    });
    assert!(
        told.contains("n1: is to be the primary, and it has a database that deploy did not make, or whose server ran before"),
        "{told}"
    );
    let told = of(&|h| {
        h[1].2["og_initdb"] =
            json!({"failed": true, "msg": "no", "error": {"kind": "permission", "detail": "no"}});
    });
    assert!(told.contains("n2: no"), "{told}");
}
