//! What is found and planned from what was seen.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, clippy::type_complexity)]

pub(crate) mod clear;
pub(crate) mod deploy;
pub(crate) mod failover;
mod growth;
mod identity;
mod managed;
mod members;
mod preflight;
mod repair;
pub(crate) mod restart;
pub(crate) mod switchover;

use serde_json::{Map, Value, json};

use super::*;
use crate::answer::Answer;
use crate::args::{DropCommits, Options, SyncStandbys};
use crate::cluster::{InventoryHost, Node, TargetKind, canonical};
use crate::seen::Seen;
use crate::table::table;

/// Name, variables and what the programs said; null where the node cannot be reached.
pub(crate) type Given = (String, Value, Value);

/// What the programs say of node `number` at 10.0.0.`number`, which knows `peers`.
fn seen(number: i64, role: &str, running: bool, peers: &[i64]) -> Value {
    let receiver =
        (role.ends_with("standby") && running).then(|| json!({"peer": {"host": "10.0.0.1", "port": 26001}}));
    let channel = |(i, p): (usize, &i64)| json!({"number": i + 1, "remote": {"host": format!("10.0.0.{p}"), "port": 26001}});
    let node = json!({"running": running, "role": role, "db_state": "normal", "detail": null, "senders": [],
        "receiver": receiver});
    json!({
        "og_node_state": {"failed": false, "os_user": "omm", "node": node},
        "og_guc": {"failed": false, "after": {"application_name": format!("dn_{}", 6000 + number)}},
        "og_hba": {"failed": false},
        "og_replconninfo": {"failed": false, "channels": peers.iter().enumerate().map(channel).collect::<Vec<_>>()},
        "og_lock": {"failed": false, "lock": null},
    })
}

/// What og_preflight says of such a node, on which all is well.
pub(crate) fn checked(given: &Given) -> Value {
    const HEALTHY: &str =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/preflight/healthy.json"));
    let (_, vars, seen) = given;
    let (number, node) = (vars["id"].as_i64().unwrap(), &seen["og_node_state"]["node"]);
    let mut facts: Value = serde_json::from_str(HEALTHY).unwrap();
    facts["name"] = json!(format!("dn_{}", 6000 + number));
    facts["identity"]["addresses"] = json!([vars["address"]]);
    facts["identity"]["directory"] = json!(format!("boot{number}:1:1"));
    facts["system"]["host_name"] = json!(format!("host{number}"));
    for key in ["channels", "reached"] {
        facts[key] = json!([]);
    }
    for settings in ["file", "running"] {
        facts["settings"][settings][SYNC_NAMES] = json!("");
    }
    for key in ["running", "role", "db_state"] {
        facts["server"][key] = node[key].clone();
    }
    facts["hba"]["admissions"] = json!([]);
    if node["running"] == json!(false) {
        facts["settings"]["running"] = json!({});
        for key in ["pid", "receiver", "slots"] {
            facts["server"][key] = Value::Null;
        }
        facts["server"]["answered"] = json!(false);
        (facts["activity"], facts["server_limits"]) = (Value::Null, Value::Null);
        facts["ports"] = json!([{"number": 26000, "state": "free"}]);
    }
    json!({"failed": false, "changed": false, "msg": "checked", "facts": facts})
}

fn host(number: i64, role: &str, seen: Value) -> Given {
    let vars = json!({"id": number, "address": format!("10.0.0.{number}"), "role": role, "data_dir": "/d"});
    (format!("n{number}"), vars, seen)
}

/// n1 primary, n2 and so on standbys.
pub(crate) fn cluster(standbys: i64) -> Vec<Given> {
    let numbers = 1..=standbys + 1;
    let of = |n: i64| {
        let peers: Vec<_> = numbers.clone().filter(|p| *p != n).collect();
        let role = if n == 1 { "primary" } else { "standby" };
        host(n, role, seen(n, role, true, &peers))
    };
    numbers.clone().map(of).collect()
}

pub(crate) fn fresh(number: i64, role: &str) -> Given {
    let mut seen = seen(number, "unknown", false, &[]);
    seen["og_guc"]["after"] = json!({});
    host(number, role, seen)
}

pub(crate) fn with(mut hosts: Vec<Given>, more: Vec<Given>) -> Vec<Given> {
    hosts.extend(more);
    hosts
}

pub(crate) fn parameter(hosts: &mut [Given], name: &str, value: Option<&str>) {
    hosts[0].2["og_guc"]["after"][name] = json!(value);
}

pub(crate) fn lock(hosts: &mut [Given], what: &str, restore: Value) {
    let purpose = json!({"what": what, "restore": restore}).to_string();
    hosts[0].2["og_lock"]["lock"] = json!({"owner": "x", "purpose": purpose});
}

pub(crate) fn nodes(hosts: &[Given]) -> Vec<Node> {
    let node = |(name, vars, seen): &Given| {
        let host = InventoryHost::new(name, vars.as_object().unwrap().clone());
        let lost = json!({"failed": true, "msg": "no route", "error": {"kind": "unreachable"}});
        let answers: Vec<_> = crate::seen::PROGRAMS
            .iter()
            .chain(&[crate::seen::SESSIONS])
            .chain(seen.get(PREFLIGHT).map(|_| &PREFLIGHT))
            .chain(seen.get(crate::seen::INITDB).map(|_| &crate::seen::INITDB))
            .map(|p| {
                (*p, if seen.is_null() { lost.clone() } else { seen.get(p).cloned().unwrap_or(json!({})) })
            })
            .map(|(p, value)| (p, Answer::new(p, &value)))
            .collect();
        Node::new(&host, Some(Seen::from_answers(&answers)))
    };
    hosts.iter().map(node).collect()
}

fn words(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

fn expand_with(hosts: &[Given], targets: &str, options: &Options) -> Outlook<Expand> {
    expand(&nodes(hosts), &words(targets), options)
}

fn adding(hosts: &[Given], targets: &str) -> Outlook<Expand> {
    expand_with(hosts, targets, &Options::default())
}

fn dropping(hosts: &[Given], targets: &str) -> Outlook<Drop> {
    drop(&nodes(hosts), &words(targets), &Options::default())
}

fn good<P>(outlook: Outlook<P>) -> P {
    assert_eq!(outlook.findings, Vec::<String>::new());
    outlook.plan.unwrap()
}

fn only<P>(outlook: Outlook<P>) -> String {
    assert!(outlook.plan.is_none());
    let [finding] = &outlook.findings[..] else { panic!("{:#?}", outlook.findings) };
    finding.clone()
}

fn values(pairs: &[(&str, Option<&str>)]) -> Values {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned))).collect()
}

#[test]
fn expand_of_a_cluster_touches_only_what_is_new() {
    let mut hosts = with(cluster(2), vec![fresh(4, "standby"), fresh(5, "cascade_standby")]);
    parameter(&mut hosts, SYNC_NAMES, Some("ANY 1(dn_6002,dn_6003)"));
    let plan = good(adding(&hosts, "n4,n5"));
    assert_eq!((&*plan.shared.primary, &plan.shared.members), ("n1", &words("n1,n2,n3")));
    assert_eq!((&plan.standbys, &plan.cascades), (&words("n4"), &words("n5")));
    assert!(!plan.empty_sync && plan.deferred_sync.is_none());
    let new = json!([{"host": "10.0.0.4", "base_port": 26000}, {"host": "10.0.0.5", "base_port": 26000, "cascade": true}]);
    assert_eq!((json!(plan.peers["n1"]), json!(plan.peers["n2"])), (new.clone(), new));
    let hosts: Vec<_> = plan.peers["n4"].iter().map(|p| &*p.host).collect();
    assert_eq!(hosts, ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.5"]);
    assert_eq!(plan.own["n4"][SYNC_NAMES], "ANY 1(dn_6002,dn_6003)");
    let rule = json!({"type": "host", "databases": ["all"], "users": ["omm"], "address": "10.0.0.4/32", "method": "trust"});
    assert_eq!(json!(plan.rules["n1"][3]), rule);
}

#[test]
fn expand_leaves_a_stricter_rule_to_who_wrote_it() {
    let mut hosts = with(cluster(1), vec![fresh(3, "standby")]);
    let rule = json!({"type": "host", "databases": ["all"], "users": ["omm"], "address": "10.0.0.2/32", "method": "sha256"});
    hosts[0].2["og_hba"]["rules"] = json!([{"line": 5, "text": "x", "rule": rule}]);
    let outlook = adding(&hosts, "n3");
    assert!(outlook.warnings[0].contains("sha256"));
    let plan = good(outlook);
    let addresses: Vec<_> = plan.rules["n1"].iter().map(|r| r.address.as_deref().unwrap()).collect();
    assert_eq!(addresses, ["10.0.0.1/32", "10.0.0.3/32"]);
    assert_eq!(plan.rules["n2"].len(), 3);
}

#[test]
fn static_config_keeps_what_it_records() {
    let mut hosts = with(cluster(1), vec![fresh(3, "standby")]);
    let records = json!([{"id": 1, "name": "og1.example", "zone_priority": 2, "role": "standby"}, {"id": 2, "name": "og2.example"}]);
    hosts[0].2["og_static_conf"] =
        json!({"failed": false, "nodes": records, "roles": {"dn_6001": "primary"}});
    let files = good(adding(&hosts, "n3")).files;
    assert_eq!(
        json!(files.nodes[0]),
        json!({"id": 1, "name": "og1.example", "zone_priority": 2, "role": "primary"})
    );
    assert_eq!((&files.nodes[2]["name"], &files.nodes[2]["instance_id"]), (&json!("n3"), &json!(6003)));
    let roles = json!({"og1.example": "primary", "og2.example": "standby", "n3": "standby"});
    assert_eq!(json!(files.roles), roles);
}

#[test]
fn what_the_cluster_knew_before_is_no_newcomer() {
    let away = |hosts: &mut [Given]| hosts[2].2["og_node_state"]["node"]["receiver"] = json!(null);
    let records = |hosts: &mut [Given], ids: &[i64]| {
        let nodes: Vec<_> = ids.iter().map(|id| json!({"id": id, "name": format!("n{id}")})).collect();
        hosts[0].2["og_static_conf"] = json!({"failed": false, "nodes": nodes});
    };
    let planned = |change: &dyn Fn(&mut [Given])| {
        let mut hosts = with(cluster(2), vec![fresh(4, "standby")]);
        change(&mut hosts);
        let plan = good(adding(&hosts, "n3,n4"));
        let before = plan.files_before.nodes.iter().map(|n| n["name"].as_str().unwrap());
        let before = before.collect::<Vec<_>>().join(",");
        (plan.fresh.join(","), plan.newcomers.join(","), plan.staying.join(","), before)
    };
    let told = |fresh: &str, newcomers: &str, staying: &str, before: &str| {
        (fresh.to_owned(), newcomers.to_owned(), staying.to_owned(), before.to_owned())
    };
    // It streams, recorded or not.
    let n3_stays = told("n4", "n4", "n1,n2,n3", "n1,n2,n3");
    assert_eq!(planned(&|h| records(h, &[1, 2, 3])), n3_stays);
    assert_eq!(planned(&|h| records(h, &[1, 2])), n3_stays);
    assert_eq!(planned(&|_| ()), n3_stays);
    // It is away for a moment.
    let n3_stays = told("n3,n4", "n4", "n1,n2,n3", "n1,n2,n3");
    assert_eq!(
        planned(&|h| {
            away(h);
            records(h, &[1, 2, 3]);
        }),
        n3_stays
    );
    assert_eq!(planned(&|h| away(h)), n3_stays);
    // A killed run gave it a channel, and came no further.
    let n3_goes = told("n3,n4", "n3,n4", "n1,n2", "n1,n2");
    assert_eq!(
        planned(&|h| {
            away(h);
            records(h, &[1, 2]);
        }),
        n3_goes
    );
    // Recorded without a channel, at the primary or at the node: the record is none of this run's.
    let cut = |h: &mut [Given], at: usize| h[at].2["og_replconninfo"]["channels"] = json!([]);
    let recorded = told("n3,n4", "n3,n4", "n1,n2", "n1,n2,n3");
    for at in [0, 2] {
        let found = planned(&|h| {
            away(h);
            cut(h, at);
            records(h, &[1, 2, 3]);
        });
        assert_eq!(found, recorded);
    }
}

#[test]
fn expand_of_a_single_node_empties_the_names_and_brings_them_back() {
    for (names, state) in [(Some("*"), "present"), (None, "absent")] {
        let mut hosts = vec![host(1, "primary", seen(1, "normal", true, &[])), fresh(2, "standby")];
        parameter(&mut hosts, SYNC_NAMES, names);
        let plan = good(adding(&hosts, "n2"));
        assert!(plan.empty_sync);
        assert_eq!(json!(plan.deferred_sync)["state"], state);
        assert_eq!(plan.shared.purpose.restore, values(&[(SYNC_NAMES, names)]));
    }
}

#[test]
fn expand_killed_after_the_names_were_emptied_remembers_them() {
    let mut hosts = vec![host(1, "primary", seen(1, "primary", true, &[2])), fresh(2, "standby")];
    parameter(&mut hosts, SYNC_NAMES, Some(""));
    lock(&mut hosts, "expand n2", json!({SYNC_NAMES: "*"}));
    let plan = good(adding(&hosts, "n2"));
    assert!(!plan.empty_sync);
    assert_eq!(json!(plan.deferred_sync), json!({"state": "present", "parameters": {SYNC_NAMES: "*"}}));
    assert_eq!(plan.shared.purpose.restore, values(&[(SYNC_NAMES, Some("*"))]));
    let options = Options { og_sync_standbys: SyncStandbys::None, ..Options::default() };
    assert_eq!(good(expand_with(&hosts, "n2", &options)).deferred_sync, None);
}

#[test]
fn the_primary_is_the_one_that_runs_as_such() {
    let mut hosts = cluster(2);
    hosts[0].2 = seen(1, "standby", true, &[2, 3]);
    hosts[1].2 = seen(2, "primary", true, &[1, 3]);
    assert_eq!(good(adding(&with(hosts.clone(), vec![fresh(4, "standby")]), "n4")).shared.primary, "n2");
    assert!(only(dropping(&hosts, "n2")).contains("n2 is the primary"));
}

#[test]
fn expand_names_what_stands_against_it() {
    fn var(hosts: &mut [Given], node: usize, name: &str, value: Value) {
        hosts[node].1[name] = value;
    }
    let busy = |mut seen: Value| {
        seen["og_node_state"]["node"]["db_state"] = json!("wait_promoting");
        seen
    };
    let named = |mut seen: Value| {
        seen["og_guc"]["after"]["application_name"] = json!("dn_6009");
        seen
    };
    let cases: Vec<(Box<dyn Fn(&mut Vec<Given>)>, &str)> = vec![
        (Box::new(|h| var(h, 3, "id", json!(3))), "same id 3"),
        (Box::new(|h| var(h, 3, "address", json!("10.0.0.2"))), "same address and port 10.0.0.2:26000"),
        (Box::new(|h| var(h, 3, "id", json!(null))), "no id"),
        (
            Box::new(|h| var(h, 3, "base_port", json!("x"))),
            "base_port in the inventory is \"x\", not a number",
        ),
        (Box::new(|h| var(h, 3, "role", json!("primary"))), "its role in the inventory is primary"),
        (Box::new(|h| h[3].2 = json!(null)), "n4: cannot be reached: no route"),
        (Box::new(|h| h[1].2 = json!(null)), "n2: cannot be reached: no route"),
        (Box::new(|h| h[1].2 = seen(2, "standby", false, &[])), "n2: its server is stopped"),
        (Box::new(move |h| h[1].2 = busy(seen(2, "standby", true, &[]))), "n2: is wait promoting"),
        (Box::new(|h| h[3].2 = seen(4, "primary", true, &[])), "there would be two; decide"),
        (Box::new(|h| h[3].2 = seen(4, "cascade_standby", true, &[])), "already runs as cascade standby"),
        (Box::new(|h| h[3].2 = seen(4, "normal", true, &[])), "runs as a single server"),
        (Box::new(|h| h[3].2 = seen(4, "primary", false, &[])), "last ran as a primary"),
        (Box::new(move |h| h[2].2 = named(seen(3, "standby", true, &[]))), "application_name is dn_6009"),
        (Box::new(|h| drop_host(h, 2)), "channel to 10.0.0.3:26001"),
        (
            Box::new(|h| h[1].2["og_guc"] = json!({"after": 3})),
            "n2: the answer of og_guc cannot be understood",
        ),
        (
            Box::new(|h| h[1].2["og_hba"]["errors"] = json!([{"line": 4, "message": "bad"}])),
            "n2: line 4 of pg_hba.conf: bad",
        ),
    ];
    for (change, words) in cases {
        let mut hosts = with(cluster(2), vec![fresh(4, "standby")]);
        change(&mut hosts);
        let found = only(adding(&hosts, "n4"));
        assert!(found.contains(words), "{found}");
    }
}

fn drop_host(hosts: &mut Vec<Given>, at: usize) {
    hosts.remove(at);
}

#[test]
fn all_findings_are_listed_at_once() {
    let mut hosts = with(cluster(2), vec![fresh(4, "standby")]);
    hosts[1].2 = seen(2, "standby", false, &[]);
    hosts[3].2["og_hba"] = json!({"failed": true, "msg": "x", "error": {"detail": "cannot read pg_hba.conf", "hint": "chmod it"}});
    lock(&mut hosts, "repair", json!({}));
    let outlook = adding(&hosts, "n4,n9");
    let text = outlook.refusal(true, "; nothing was changed");
    assert!(text.starts_with("3 findings; nothing was changed:\n- og_add: n9 is no host"), "{text}");
    assert!(text.contains("\n- n4: cannot read pg_hba.conf; chmod it"), "{text}");
    assert!(
        outlook
            .refusal(false, "")
            .contains("another run is at work, or has ended without a trace: repair, by x")
    );
}

#[test]
fn two_primaries_and_none() {
    let mut hosts = cluster(2);
    hosts[2].2 = seen(3, "primary", true, &[1, 2]);
    assert!(only(dropping(&hosts, "n2")).contains("n1 and n3 run as primary"));
    let mut hosts = cluster(2);
    hosts[0].2 = json!(null);
    let told = only(dropping(&hosts, "n2"));
    assert!(told.contains("no primary was seen (n1 unreachable, n2 standby"), "{told}");
    assert!(told.contains("; n1: no route"), "{told}");
    // One that was seen not to run is none.
    hosts[0].2 = seen(1, "primary", false, &[2, 3]);
    let told = only(dropping(&hosts, "n2"));
    assert!(told.contains("no primary runs (n1 not running, n2 standby"), "{told}");
}

#[test]
fn more_standbys_than_open_gauss_serves() {
    good(adding(&with(cluster(7), vec![fresh(9, "standby")]), "n9"));
    assert!(
        only(adding(&with(cluster(8), vec![fresh(10, "standby")]), "n10"))
            .contains("there would be 9 standbys")
    );
}

#[test]
fn drop_of_a_standby() {
    let plan = good(dropping(&cluster(2), "n2"));
    assert_eq!((&plan.shared.members, plan.last), (&words("n1,n3"), false));
    assert_eq!(
        (plan.names_gone, json!(plan.cut)),
        (words("dn_6002"), json!([{"host": "10.0.0.2", "base_port": 26000}]))
    );
    let rules = json!([{"type": "host", "databases": ["all"], "users": ["omm"], "address": "10.0.0.2/32"}]);
    assert_eq!(json!(plan.rules), rules);
    let names: Vec<_> = plan.files.nodes.iter().map(|n| n["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["n1", "n3"]);
}

#[test]
fn drop_of_the_last_standby_empties_the_names() {
    let plan = good(dropping(&cluster(1), "n2"));
    assert!(plan.last);
    assert_eq!(json!(plan.commits), json!({"n1": {SYNC_NAMES: ""}}));
}

#[test]
fn drop_keeps_the_rule_of_an_address_that_another_node_has() {
    let mut hosts = cluster(2);
    hosts[1].1["address"] = json!("10.0.0.3");
    hosts[1].1["base_port"] = json!(26100);
    hosts[0].2["og_replconninfo"]["channels"][0]["remote"] = json!({"host": "10.0.0.3", "port": 26101});
    assert_eq!(good(dropping(&hosts, "n2")).rules, []);
}

#[test]
fn drop_of_an_unreachable_node_goes_on_and_says_so() {
    let mut hosts = cluster(2);
    hosts[1].2 = json!(null);
    let outlook = dropping(&hosts, "n2");
    assert!(outlook.warnings[0].contains("run this again"));
    let plan = good(outlook);
    assert_eq!((plan.stop, &plan.rules[0].users), (vec![], &words("omm")));
}

#[test]
fn drop_of_a_node_that_another_user_looked_at_is_refused() {
    let failed = |kind: &str, what: &str| json!({"failed": true, "msg": what, "error": {"kind": kind, "detail": what}});
    // Who cannot look into the data directory finds no server there.
    let mut hosts = cluster(2);
    hosts[1].2["og_node_state"]["node"] = json!({"running": false, "role": "unknown"});
    hosts[1].2["og_guc"] = failed("permission", "cannot read postgresql.conf: permission denied");
    let told = only(dropping(&hosts, "n2"));
    assert!(told.starts_with("n2: cannot read postgresql.conf: permission denied; "), "{told}");
    assert!(told.contains("owner of its data directory"), "{told}");
    let mut hosts = cluster(2);
    hosts[1].2["og_node_state"] = failed("permission", "cannot look into /d");
    assert!(only(dropping(&hosts, "n2")).starts_with("n2: cannot look into /d; "));
    // A node that is half gone is dropped all the same, and what it could not tell is told.
    let mut hosts = cluster(2);
    hosts[1].2["og_hba"] = failed("not_found", "there is no pg_hba.conf");
    let outlook = dropping(&hosts, "n2");
    assert_eq!(outlook.warnings, ["n2: there is no pg_hba.conf"]);
    assert_eq!(good(outlook).stop, words("n2"));
}

#[test]
fn drop_leaves_no_cascade_alone() {
    let mut hosts = cluster(2);
    hosts[2].2 = seen(3, "cascade_standby", true, &[1, 2]);
    assert!(only(dropping(&hosts, "n2")).contains("n3: a cascade standby would have no standby"));
    good(dropping(&hosts, "n2,n3"));
}

#[test]
fn drop_available_brings_the_old_value_back() {
    let options = Options { og_drop_commits: DropCommits::Available, ..Options::default() };
    for (value, restore) in [(None, "absent"), (Some("off"), "present")] {
        let mut hosts = cluster(2);
        parameter(&mut hosts, MOST_AVAILABLE, value);
        let plan = good(drop(&nodes(&hosts), &words("n2"), &options));
        assert_eq!(json!(plan.commits), json!({"n1": {MOST_AVAILABLE: "on"}}));
        let after = json!({"state": restore, "parameters": {MOST_AVAILABLE: value.unwrap_or("")}});
        assert_eq!(json!(plan.restore_after), after);
        assert_eq!(plan.shared.purpose.restore, values(&[(MOST_AVAILABLE, value)]));
    }
    // Nothing where there is nothing to cut.
    let mut hosts = cluster(2);
    hosts[0].2 = seen(1, "primary", true, &[3]);
    hosts[1].2 = seen(2, "standby", false, &[]);
    hosts[2].2 = seen(3, "standby", true, &[1]);
    let plan = good(drop(&nodes(&hosts), &words("n2"), &options));
    assert!(plan.commits.is_empty() && !plan.cuts && plan.restore_after.is_none());
}

#[test]
fn drop_puts_back_what_a_killed_drop_left() {
    let mut hosts = cluster(2);
    parameter(&mut hosts, MOST_AVAILABLE, Some("on"));
    lock(&mut hosts, "drop n2", json!({MOST_AVAILABLE: "off"}));
    let plan = good(dropping(&hosts, "n2"));
    // Not before the names are right: commits could wait for a node that is dead.
    assert_eq!(json!(plan.restore_after), json!({"state": "present", "parameters": {MOST_AVAILABLE: "off"}}));
    assert_eq!(plan.shared.purpose.restore, values(&[(MOST_AVAILABLE, Some("off"))]));
}

#[test]
fn a_lock_of_somebody_else_is_no_plan_of_ours() {
    for purpose in ["maintenance", "[1]", "", "{\"restore\": 3}"] {
        let lock =
            ClusterLock { owner: "x".to_owned(), purpose: purpose.to_owned(), ..ClusterLock::default() };
        assert_eq!(purpose_of(Some(&lock)), Purpose::default());
    }
    assert_eq!(purpose_of(None), Purpose::default());
}

#[test]
fn addresses_are_values() {
    assert_eq!((&*canonical("2001:DB8:0::1"), &*canonical("[2001:db8::1]")), ("2001:db8::1", "2001:db8::1"));
    assert_eq!((&*canonical(" N1.Example "), &*canonical("10.0.0.1/32")), ("n1.example", "10.0.0.1"));
    let nodes = nodes(&[("n".to_owned(), json!({"id": 1, "address": "2001:db8::1"}), json!({}))]);
    let rule = Cluster::new(&nodes, &words("n"), TargetKind::Added).rule(&nodes[0], None);
    assert_eq!(rule.address.as_deref(), Some("2001:db8::1/128"));
}

#[test]
fn where_ssh_goes() {
    for (vars, ssh) in [
        (json!({}), "n1"),
        (json!({"address": "10.0.0.1"}), "10.0.0.1"),
        (
            json!({"address": "10.0.0.1", "ansible_host": "ctl1", "ansible_user": "omm", "ansible_port": 2222}),
            "omm@ctl1:2222",
        ),
        (json!({"address": "2001:db8::1", "ssh_user": "omm", "ssh_port": "22"}), "omm@[2001:db8::1]:22"),
        (json!({"address": "2001:db8::1"}), "[2001:db8::1]"),
        (json!({"ssh": "omm@jump", "ssh_user": "x"}), "omm@jump"),
    ] {
        let vars: Map<_, _> = vars.as_object().unwrap().clone();
        let host = InventoryHost::new("n1", vars);
        host.check_ssh().unwrap();
        assert_eq!(host.ssh, ssh);
    }
    let bad = InventoryHost::new("n1", Map::from_iter([("ssh".to_owned(), json!("-oProxyCommand=x"))]));
    assert_eq!(bad.check_ssh().unwrap_err().failure().path.as_deref(), Some("/cluster/hosts/n1"));
}

#[test]
fn slots_that_serve_nobody_are_found_and_no_others() {
    let mut hosts = cluster(3);
    let slot = |name: &str, active: bool| json!({"name": name, "type": "physical", "active": active});
    let mut state = |n: usize, key: &str, value: Value| hosts[n - 1].2["og_node_state"]["node"][key] = value;
    // n4 streams from n3, and was on n2 before; dn_6009 is nobody we know; n3 does not stream at this moment.
    state(4, "receiver", json!({"peer": {"host": "10.0.0.3", "port": 26001}}));
    state(3, "receiver", json!(null));
    state(1, "slots", json!([slot("dn_6002", true), slot("dn_6003", false)]));
    state(2, "slots", json!([slot("dn_6004", false), slot("dn_6003", false), slot("dn_6009", false)]));
    state(3, "slots", json!([slot("dn_6004", true), slot("dn_6003", false)]));
    let found = |node: &str, names: &str| (node.to_owned(), words(names));
    assert_eq!(idle_slots(&nodes(&hosts), &[]), [found("n2", "dn_6004"), found("n3", "dn_6003")]);
    // What a new node brought along, but for what n3 may want of it in a moment.
    assert_eq!(idle_slots(&nodes(&hosts), &words("n2"))[0], found("n2", "dn_6004,dn_6009"));
}

#[test]
fn the_cluster_as_a_table() {
    let mut hosts = cluster(1);
    let sender = json!({"peer": {"host": "10.0.0.2", "port": 5}, "sync_state": "sync", "lag_bytes": 2048});
    hosts[0].2["og_node_state"]["node"]["senders"] = json!([sender]);
    hosts.push(host(3, "standby", json!(null)));
    let lines = [
        "NODE  ADDRESS         ROLE     STATE        SYNC  LAG",
        "n1    10.0.0.1:26000  primary  Normal       -     -",
        "n2    10.0.0.2:26000  standby  Normal       sync  2.0 KiB",
        "n3    10.0.0.3:26000  ?        unreachable  -     -",
    ];
    assert_eq!(table(&nodes(&hosts), &[]), lines);
}

#[test]
fn a_table_of_nodes_that_are_not_well() {
    let mut hosts = cluster(4);
    let mut state = |n: usize, key: &str, value: Value| hosts[n - 1].2["og_node_state"]["node"][key] = value;
    state(2, "running", json!(false));
    state(3, "db_state", json!("need_repair"));
    state(3, "detail", json!(format!("{}\nmore", "x".repeat(60))));
    state(4, "db_state", json!("wait_promoting"));
    hosts[4].2["og_node_state"] = json!({"failed": true, "msg": "m"});
    let lines = table(&nodes(&hosts), &words("n1"));
    let at = lines[0].find("STATE").unwrap();
    let states: Vec<_> = lines[1..].iter().map(|l| l[at..].split("  ").next().unwrap()).collect();
    let repair = format!("Need repair ({})", "x".repeat(40));
    assert_eq!(states, ["stopped", &repair, "Wait promoting", "unknown"]);
}

#[test]
fn a_node_that_fares_ill_is_a_warning() {
    let mut hosts = cluster(3);
    hosts[2].2["og_node_state"]["node"]["db_state"] = json!("need_repair");
    hosts.pop();
    let outlook = dropping(&hosts, "n2");
    assert_eq!(outlook.warnings, ["n3: need repair (no reason given)"]);
    assert_eq!(outlook.findings.len(), 1);
    hosts[0].2 = seen(1, "primary", true, &[2, 3]);
    good(dropping(&hosts, "n2"));
}

#[test]
fn what_the_inventory_says_of_a_node_goes_into_its_record() {
    let mut hosts = with(cluster(1), vec![fresh(3, "spare")]);
    for (key, value) in
        [("zone", "AZ2"), ("hostname", "og3"), ("application_name", "standby_77"), ("base_port", "27000")]
    {
        hosts[2].1[key] = json!(value);
    }
    let plan = good(adding(&hosts, "n3"));
    let record = json!({"name": "og3", "id": 3, "instance_id": 77, "address": "10.0.0.3", "base_port": 27000,
        "data_dir": "/d", "zone": "AZ2", "role": "standby"});
    assert_eq!(json!(plan.files.nodes[2]), record);
    assert_eq!(json!(plan.own["n3"]), json!({"application_name": "standby_77", "available_zone": "AZ2"}));
    // A lock that has ended by itself still says what is to be restored.
    let purpose = json!({"what": "drop n2", "restore": {MOST_AVAILABLE: null}}).to_string();
    hosts[0].2["og_lock"]["previous"] = json!({"owner": "x", "purpose": purpose});
    let plan = good(adding(&hosts, "n3"));
    assert_eq!(json!(plan.restore_now), json!({"state": "absent", "parameters": {MOST_AVAILABLE: ""}}));
    assert_eq!(plan.shared.purpose.restore, values(&[(MOST_AVAILABLE, None)]));
}

#[test]
fn a_cascade_standby_is_of_the_zone_of_a_standby_where_the_server_compares_them() {
    let adding_to = |version: &str, enable: Value, zone: &str| {
        let mut hosts = with(cluster(1), vec![fresh(3, "cascade_standby")]);
        hosts[1].2["og_node_state"]["node"]["version"] = json!(version);
        hosts[1].2["og_guc"]["after"]["available_zone"] = json!("AZ2");
        hosts[1].2["og_guc"]["after"]["enable_availablezone"] = enable;
        hosts[2].1["zone"] = json!(zone);
        adding(&hosts, "n3").findings.join("; ")
    };
    for (version, enable) in [("2.1.0", Value::Null), ("3.0.2", Value::Null), ("5.0.3", json!("on"))] {
        let told = adding_to(version, enable.clone(), "AZ1");
        assert!(told.contains("n3: a standby takes only") && told.contains("n2 in AZ2"), "{version}: {told}");
        assert_eq!(adding_to(version, enable, "AZ2"), "");
    }
    for (version, enable) in [("3.0.5", Value::Null), ("6.0.2", json!("off")), ("", Value::Null)] {
        assert_eq!(adding_to(version, enable, "AZ1"), "", "{version}");
    }
}
