//! Parameters for the whole cluster, and the order of a rolling restart.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::{checked, cluster, good, host, nodes, only, parameter, seen, words};
use crate::args::{Options, RestartCommits};
use crate::plan::tests::Given;
use crate::plan::{
    Configure, MOST_AVAILABLE, OfPrimary, Outlook, PREFLIGHT, Restart, SYNC_NAMES, configure, restart,
};

const LIMIT: &str = "max_connections";

/// A primary and standbys that stream and are counted, all of which run with this of the limit and have that in their files.
pub(crate) fn pending(standbys: i64, running: &str, in_file: &str) -> Vec<Given> {
    let mut hosts = cluster(standbys);
    for (number, host) in (1..).zip(&mut hosts) {
        set(host, LIMIT, running, in_file);
        if number > 1 {
            host.2["og_node_state"]["node"]["lsn"] = json!("0/5000");
        }
    }
    let senders: Vec<_> = (2..=standbys + 1)
        .map(|n| json!({"peer": {"host": format!("10.0.0.{n}"), "port": 26001}, "sync_state": "quorum", "lag_bytes": 0}))
        .collect();
    hosts[0].2["og_node_state"]["node"]["senders"] = json!(senders);
    hosts[0].2["og_node_state"]["node"]["lsn"] = json!("0/5000");
    parameter(&mut hosts, SYNC_NAMES, Some("ANY 1(dn_6001,dn_6002,dn_6003)"));
    hosts
}

fn set(host: &mut Given, name: &str, running: &str, in_file: &str) {
    let guc = &mut host.2["og_guc"];
    guc["after"][name] = json!(in_file);
    guc["running"][name] = json!(running);
    if running != in_file {
        let mut waiting = guc["restart_required"].as_array().cloned().unwrap_or_default();
        waiting.push(json!(name));
        guc["restart_required"] = json!(waiting);
    }
}

fn restarting(hosts: &[Given], targets: &str, options: &Options) -> Outlook<Restart> {
    let targets: Vec<String> = words(targets).into_iter().filter(|name| !name.is_empty()).collect();
    restart(&nodes(hosts), &targets, options)
}

fn order(plan: &Restart) -> Vec<&str> {
    plan.standbys.iter().map(|n| n.name.as_str()).collect()
}

fn configuring(hosts: &[Given], parameters: serde_json::Value) -> Outlook<Configure> {
    let og_parameters = parameters.as_object().unwrap().clone();
    configure(&nodes(hosts), &Options { og_parameters, ..Options::default() })
}

#[test]
fn only_nodes_whose_settings_wait_are_restarted_and_the_primary_last() {
    let mut hosts = pending(2, "200", "300");
    let cascade = host(4, "cascade_standby", seen(4, "cascade_standby", true, &[1, 2, 3]));
    hosts.push(cascade);
    for host in &mut hosts[..3] {
        let channels = host.2["og_replconninfo"]["channels"].as_array_mut().unwrap();
        channels.push(json!({"number": 3, "remote": {"host": "10.0.0.4", "port": 26001}}));
    }
    set(&mut hosts[3], LIMIT, "200", "300");
    let plan = good(restarting(&hosts, "", &Options::default()));
    assert_eq!(order(&plan), ["n4", "n2", "n3"]);
    let OfPrimary::HandsOver { to, old } = &plan.primary else { panic!("{:?}", plan.primary) };
    assert_eq!(to.keys().collect::<Vec<_>>(), ["n2", "n3"]);
    assert_eq!((&*old.name, old.counted.as_deref()), ("n1", Some("10.0.0.1")));
    assert_eq!(plan.locks, ["n1", "n2", "n3"]);
    assert_eq!(plan.standbys[0].counted, None);
    assert_eq!(plan.standbys[1].counted.as_deref(), Some("10.0.0.2"));
    assert!(good(restarting(&pending(2, "200", "200"), "", &Options::default())).is_empty());
    // One that is named, and nothing else.
    let plan = good(restarting(&pending(2, "200", "200"), "n3", &Options::default()));
    assert_eq!((order(&plan), &plan.primary), (vec!["n3"], &OfPrimary::Stays));
}

#[test]
fn a_lowered_limit_restarts_the_primary_in_place_and_first() {
    let hosts = pending(2, "300", "200");
    let outlook = restarting(&hosts, "", &Options::default());
    assert!(outlook.warnings.iter().any(|text| text.contains("in place and before its standbys")));
    let plan = good(outlook);
    assert_eq!((order(&plan), &plan.primary), (vec!["n2", "n3"], &OfPrimary::InPlace { first: true }));
    // A standby alone would not start.
    let finding = only(restarting(&hosts, "n2", &Options::default()));
    assert!(
        finding.starts_with("n2 would have max_connections = 200, less than the 300 of its primary n1"),
        "{finding}"
    );
    // Raised, a standby that becomes primary would have more than another one.
    let finding = only(restarting(
        &pending(2, "200", "300"),
        "n1,n2",
        &Options { og_switch_back: true, ..Options::default() },
    ));
    assert!(finding.starts_with("n3 would have max_connections = 200"), "{finding}");
}

#[test]
fn one_limit_raised_and_one_lowered_is_refused() {
    let mut hosts = pending(2, "200", "300");
    for host in &mut hosts {
        set(host, "max_prepared_transactions", "50", "10");
    }
    let finding = only(restarting(&hosts, "", &Options::default()));
    assert!(finding.contains("the other way round with another limit; change one of them"), "{finding}");
}

#[test]
fn a_primary_without_a_standby_is_restarted_in_place_and_that_is_told() {
    for role in ["primary", "normal"] {
        let mut hosts = pending(0, "200", "300");
        hosts[0].2["og_node_state"]["node"]["role"] = json!(role);
        let outlook = restarting(&hosts, "", &Options::default());
        assert!(outlook.warnings[0].contains("restarted in place"), "{:?}", outlook.warnings);
        assert_eq!(good(outlook).primary, OfPrimary::InPlace { first: false });
    }
}

#[test]
fn a_standby_that_commits_need_is_not_restarted_without_leave() {
    let mut hosts = pending(1, "200", "300");
    parameter(&mut hosts, SYNC_NAMES, Some("*"));
    let findings = restarting(&hosts, "", &Options::default()).findings;
    assert!(
        findings.iter().any(|text| text.starts_with("n2: commits wait while it is restarted")),
        "{findings:?}"
    );
    assert!(
        findings.iter().any(|text| text.starts_with("n1: commits on n2 wait while the old primary")),
        "{findings:?}"
    );
    assert!(findings.iter().all(|text| text.contains("og_restart_commits=wait")));
    let options = Options { og_restart_commits: RestartCommits::Wait, ..Options::default() };
    assert!(matches!(good(restarting(&hosts, "", &options)).primary, OfPrimary::HandsOver { .. }));
    // They do not wait.
    parameter(&mut hosts, MOST_AVAILABLE, Some("on"));
    good(restarting(&hosts, "", &Options::default()));
    parameter(&mut hosts, MOST_AVAILABLE, None);
    parameter(&mut hosts, SYNC_NAMES, Some(""));
    good(restarting(&hosts, "", &Options::default()));
}

#[test]
fn a_primary_is_not_restarted_when_no_standby_can_take_its_place() {
    let mut hosts = pending(2, "200", "300");
    for host in &mut hosts[1..] {
        host.2["og_node_state"]["node"]["db_state"] = json!("need_repair");
    }
    let findings = restarting(&hosts, "n1", &Options::default()).findings;
    assert!(findings.iter().any(|text| text.contains("no standby could take its place")), "{findings:?}");
}

/// As [`pending`], and og_preflight answers that all is well.
fn checked_pending(running: &str, in_file: &str) -> Vec<Given> {
    let mut hosts = pending(2, running, in_file);
    for host in &mut hosts {
        let answer = checked(host);
        host.2[PREFLIGHT] = answer;
    }
    hosts
}

/// A rule that keeps a standby from taking over: what breaks it, and the words of its finding.
type Rule = (&'static str, fn(&mut serde_json::Value), &'static str);

fn facts(seen: &mut serde_json::Value) -> &mut serde_json::Value {
    &mut seen[PREFLIGHT]["facts"]
}

fn node(seen: &mut serde_json::Value) -> &mut serde_json::Value {
    &mut seen["og_node_state"]["node"]
}

/// A channel of the node that leads to nobody who was seen.
fn channel() -> serde_json::Value {
    json!([{"number": 1, "local_host": "10.0.0.2", "local": "here", "remote_host": "10.0.0.9", "remote_port": 26001}])
}

const RULES: &[Rule] = &[
    ("it does not receive", |seen| node(seen)["receiver"] = json!(null), "does not stream from n1"),
    ("its state", |seen| node(seen)["db_state"] = json!("need_repair"), "does not stream from n1"),
    (
        "a build of it",
        |seen| node(seen)["db_state"] = json!("building"),
        "is building; wait until that is over",
    ),
    (
        "CM",
        |seen| node(seen)["managed_by"] = json!({"by": "cm", "agent": 250, "node_id": 1}),
        "openGauss CM runs this node",
    ),
    (
        "tablespaces",
        |seen| {
            facts(seen)["server"]["tablespaces"] = json!({"names": ["dn_9"], "running": "dn_6002", "configured": "dn_6002", "damage": "not_seen"});
        },
        "pgxc_node_name",
    ),
    ("replay", |seen| facts(seen)["activity"]["replay_paused"] = json!(true), "replay is paused"),
    (
        "pg_hba.conf",
        |seen| {
            let admissions = json!([{"address": "10.0.0.1", "admitted": false, "line": null}]);
            facts(seen)["hba"]["admissions"] = admissions;
        },
        "no line covers 10.0.0.1, which is not let in for replication",
    ),
    (
        "its own end of a channel",
        |seen| {
            facts(seen)["channels"] = channel();
            facts(seen)["channels"][0]["local"] = json!("elsewhere");
        },
        "is no address of this machine",
    ),
    (
        "slots",
        |seen| {
            facts(seen)["channels"] = channel();
            for settings in ["file", "running"] {
                facts(seen)["settings"][settings]["max_replication_slots"] = json!("0");
            }
        },
        "max_replication_slots is 0",
    ),
    (
        "senders",
        |seen| {
            facts(seen)["channels"] = channel();
            for settings in ["file", "running"] {
                facts(seen)["settings"][settings]["max_wal_senders"] = json!("0");
            }
        },
        "max_wal_senders is 0",
    ),
    (
        "the way to another node",
        |seen| {
            facts(seen)["reached"] =
                json!([{"host": "10.0.0.1", "port": 26001, "problem": "no answer", "refused": false}]);
        },
        "10.0.0.1:26001 is not reached from here",
    ),
    (
        "a backup",
        |seen| facts(seen)["activity"]["exclusive_backup"] = json!(true),
        "a backup in exclusive mode",
    ),
];

#[test]
fn a_standby_that_a_switchover_refuses_takes_nobodys_place() {
    let well = good(restarting(&checked_pending("200", "300"), "", &Options::default()));
    assert!(matches!(&well.primary, OfPrimary::HandsOver { to, .. } if to.len() == 2), "{well:?}");
    let waiting = Options { og_restart_commits: RestartCommits::Wait, ..Options::default() };
    for (rule, breaks, words) in RULES {
        // The one alone: of these the whole cluster is, and refuses every switchover.
        let of_all = ["a build of it", "CM", "the way to another node", "a backup"].contains(rule);
        let mut hosts = checked_pending("200", "300");
        breaks(&mut hosts[1].2);
        let outlook = restarting(&hosts, "n1", &waiting);
        if of_all {
            assert!(outlook.findings.iter().any(|text| text.contains(words)), "{rule}: {outlook:?}");
            continue;
        }
        let OfPrimary::HandsOver { to, .. } = good(outlook).primary else { panic!("{rule}") };
        assert_eq!(to.keys().collect::<Vec<_>>(), ["n3"], "{rule}");
        // Both: each is named with the reason.
        breaks(&mut hosts[2].2);
        let findings = restarting(&hosts, "n1", &waiting).findings;
        let finding = findings.iter().find(|text| text.contains("no standby could take its place"));
        let finding = finding.unwrap_or_else(|| panic!("{rule}: {findings:?}"));
        for part in [*words, "n2", "n3", "a switchover to"] {
            assert!(finding.contains(part), "{rule}: {finding}");
        }
    }
    // A primary that stays needs nobody in its place.
    let mut hosts = checked_pending("200", "200");
    hosts[1].2[PREFLIGHT]["facts"]["activity"]["replay_paused"] = json!(true);
    good(restarting(&hosts, "n3", &Options::default()));
    // What og switchover goes on in spite of, a restart does, too.
    let mut hosts = checked_pending("200", "300");
    hosts[1].2[PREFLIGHT]["facts"]["activity"]["replay_paused"] = json!(true);
    let options = Options { og_accept: "server.replay_paused".to_owned(), ..Options::default() };
    let OfPrimary::HandsOver { to, .. } = good(restarting(&hosts, "n1", &options)).primary else { panic!() };
    assert_eq!(to.len(), 2);
}

#[test]
fn a_standby_is_judged_with_the_settings_that_it_is_restarted_with() {
    let mut hosts = checked_pending("200", "300");
    for host in &mut hosts[1..] {
        let facts = facts(&mut host.2);
        facts["channels"] = channel();
        facts["settings"]["running"]["max_wal_senders"] = json!("0");
        facts["settings"]["file"]["max_wal_senders"] = json!("16");
    }
    good(restarting(&hosts, "", &Options::default()));
    assert!(restarting(&hosts, "n1", &Options::default()).findings[0].contains("max_wal_senders is 0"));
}

#[test]
fn a_check_that_could_not_be_made_of_a_standby_is_told() {
    let mut hosts = checked_pending("200", "300");
    facts(&mut hosts[1].2)["activity"]["replay_paused"] = json!(null);
    let outlook = restarting(&hosts, "n1", &Options::default());
    let told = "n2: could not be checked: server.replay_paused; og preflight switchover tells why";
    assert!(outlook.warnings.iter().any(|text| text == told), "{:?}", outlook.warnings);
}

#[test]
fn a_switchover_back_that_a_killed_run_left_is_made() {
    let mut hosts = pending(2, "300", "300");
    let purpose = json!({"what": "restart", "restore": {}, "switch_back": "n3"}).to_string();
    hosts[2].2["og_lock"]["lock"] = json!({"owner": "x", "purpose": purpose});
    let options = Options { og_switch_back: true, ..Options::default() };
    let back = good(restarting(&hosts, "", &options)).back.unwrap();
    assert_eq!((&*back.from, &*back.to), ("n1", "n3"));
    assert!(good(restarting(&hosts, "", &Options::default())).is_empty());
    hosts[2].2["og_node_state"]["node"]["db_state"] = json!("need_repair");
    let finding = only(restarting(&hosts, "", &options));
    assert!(finding.starts_with("n3: the switchover back to it, which an earlier run has left"), "{finding}");
}

#[test]
fn a_cluster_of_cm_whose_server_cm_cannot_name_is_not_restarted() {
    let mut hosts = pending(1, "200", "300");
    let managed = json!({"by": "cm", "agent": 250, "node_id": 1, "instance_id": 6001, "data_dir": "/data"});
    hosts[0].2["og_node_state"]["node"]["managed_by"] = managed;
    let findings = restarting(&hosts, "", &Options::default()).findings;
    assert!(!findings.iter().any(|text| text.contains("cannot be told")), "{findings:?}");
    hosts[0].2["og_node_state"]["node"]["managed_by"]["data_dir"] = json!(null);
    let findings = restarting(&hosts, "", &Options::default()).findings;
    let told = "which of its servers this is cannot be told, for no static config names the data directory";
    assert!(findings.iter().any(|text| text.contains(told)), "{findings:?}");
}

#[test]
fn parameters_of_one_node_are_refused_with_what_is_right_for_them() {
    for (name, hint) in [
        ("listen_addresses", r#""parameters":{"listen_addresses":"VALUE"}"#),
        ("port", "og drop NODE, og expand NODE"),
        ("Application_Name", "change its id in the inventory"),
        ("replconninfo3", "og_replconninfo"),
        ("cross_cluster_replconninfo1", "og_replconninfo"),
        ("pgxc_node_name", "og_build with mode: full"),
        ("synchronous_standby_names", "synchronous_standbys"),
        ("data_directory", "data_dir"),
    ] {
        let finding = only(configuring(&cluster(1), json!({name: "1"})));
        assert!(finding.starts_with(&name.to_lowercase()) && finding.contains(hint), "{finding}");
    }
    assert!(only(configuring(&cluster(1), json!({}))).contains("names no parameter"));
    assert!(only(configuring(&cluster(1), json!({"ssl": "on", "SSL": "off"}))).contains("given twice"));
    // One that each node keeps for itself, and may be the same on all.
    good(configuring(&cluster(1), json!({"archive_command": "cp %p /a/%f", "log_directory": "pg_log"})));
}

#[test]
fn a_standby_gets_a_lowered_limit_after_its_primary() {
    let parameters = json!({LIMIT: "200", "max_locks_per_transaction": 512, "work_mem": "8MB"});
    let mut hosts = pending(2, "300", "300");
    for host in &mut hosts {
        set(host, "max_locks_per_transaction", "256", "256");
    }
    let plan = good(configuring(&hosts, parameters));
    assert_eq!(plan.lowered, BTreeSet::from([LIMIT.to_owned()]));
    assert_eq!(
        plan.standby_parameters().keys().collect::<Vec<_>>(),
        ["max_locks_per_transaction", "work_mem"]
    );
    assert_eq!(plan.standbys, ["n2", "n3"]);
    assert_eq!(plan.shared.purpose.what, "configure max_connections,max_locks_per_transaction,work_mem");
}

#[test]
fn restarts_are_planned_as_if_the_parameters_were_set() {
    let plan = good(configuring(&pending(2, "200", "200"), json!({LIMIT: 300})));
    let waiting: BTreeMap<_, _> =
        ["n1", "n2", "n3"].map(|n| (n.to_owned(), BTreeSet::from([LIMIT.to_owned()]))).into();
    let nodes = plan.foresee_nodes(&waiting);
    assert_eq!(
        super::super::pending_in_words(&plan.pending(&nodes)),
        ["n1, n2, n3: max_connections counts only after a restart; restart with og restart"]
    );
    let rolling = good(restart(&nodes, &[], &Options::default()));
    assert_eq!(order(&rolling), ["n2", "n3"]);
    // Back to what the servers run with: nothing waits any more.
    let plan = good(configuring(&pending(2, "200", "300"), json!({LIMIT: 200})));
    assert_eq!(plan.pending(&plan.foresee_nodes(&BTreeMap::new())), []);
}
