//! The cause of each node, and what is done about it first.

use serde_json::{Value, json};

use super::{Given, cluster, fresh, host, nodes, parameter, seen, with, words};
use crate::args::{BuildMode, Options};
use crate::plan::{Cause, MOST_AVAILABLE, Outlook, Repair, SYNC_NAMES, repair};

fn options(force: bool) -> Options {
    Options { og_repair_force: force, ..Options::default() }
}

fn repairing(hosts: &[Given], targets: &str, force: bool) -> Outlook<Repair> {
    let targets = if targets.is_empty() { Vec::new() } else { words(targets) };
    repair(&nodes(hosts), &targets, &options(force), &[])
}

fn tried(hosts: &[Given], node: &str) -> Repair {
    repair(&nodes(hosts), &[], &options(false), &words(node)).plan.unwrap()
}

/// Three nodes of one system; n1 is the primary.
fn three() -> Vec<Given> {
    let mut hosts = cluster(2);
    let rule = json!({"type": "host", "databases": ["all"], "users": ["omm"], "address": "10.0.0.0/24", "method": "trust"});
    for (_, _, seen) in &mut hosts {
        seen["og_hba"]["rules"] = json!([{"line": 1, "text": "x", "rule": rule}]);
        seen["og_node_state"]["identity"] = json!({"system_id": "77", "content": "database"});
        seen["og_node_state"]["node"]["term"] = json!(1);
        seen["og_node_state"]["node"]["version"] = json!("6.0.2");
    }
    hosts[0].2["og_node_state"]["node"]["lsn"] = json!("0/5000000");
    hosts
}

fn set(hosts: &mut [Given], number: usize, key: &str, value: Value) {
    hosts[number - 1].2["og_node_state"]["node"][key] = value;
}

fn diagnosis(hosts: &mut [Given], number: usize, value: Value) {
    hosts[number - 1].2["og_node_state"]["diagnosis"] = value;
}

/// n3 does not receive, and says why.
fn detached(detail: &str, found: Value) -> Vec<Given> {
    let mut hosts = three();
    set(&mut hosts, 3, "receiver", json!(null));
    set(&mut hosts, 3, "db_state", json!("need_repair"));
    set(&mut hosts, 3, "detail", json!(detail));
    diagnosis(&mut hosts, 3, found);
    hosts
}

fn stopped(number: usize) -> Vec<Given> {
    let mut hosts = three();
    set(&mut hosts, number, "running", json!(false));
    set(&mut hosts, number, "receiver", json!(null));
    hosts
}

fn plan(outlook: Outlook<Repair>) -> Repair {
    assert_eq!(outlook.findings, Vec::<String>::new());
    outlook.plan.unwrap()
}

/// The cause of the only node that needs repair, n3, and the plan.
fn cause(hosts: &[Given]) -> (Cause, Repair) {
    let plan = plan(repairing(hosts, "", false));
    let [case] = &plan.cases[..] else { panic!("{:#?}", plan.cases) };
    assert_eq!(case.node, "n3");
    (case.cause, plan.clone())
}

fn refusal(hosts: &[Given], targets: &str) -> String {
    let outlook = repairing(hosts, targets, false);
    assert!(outlook.plan.is_none());
    outlook.findings.join("; ")
}

fn modes(plan: &Repair) -> Value {
    json!(plan.builds.iter().map(|b| json!([b.node, b.mode, b.force])).collect::<Vec<_>>())
}

#[test]
fn a_cluster_that_is_well_needs_nothing() {
    assert_eq!(plan(repairing(&three(), "", false)).cases, []);
    assert_eq!(plan(repairing(&three(), "n3", false)).cases, []);
}

#[test]
fn a_stopped_standby_is_started_in_its_role() {
    let (why, plan) = cause(&stopped(3));
    assert_eq!((why, json!(plan.start)), (Cause::Stopped, json!({"n3": "standby"})));
    assert!(plan.builds.is_empty() && plan.rules.is_empty() && plan.channels.is_empty());
    let mut hosts = stopped(3);
    diagnosis(&mut hosts, 3, json!({"crashed": true, "last_error": "PANIC:  could not write"}));
    let (why, plan) = cause(&hosts);
    assert_eq!(why, Cause::Crashed);
    assert!(plan.cases[0].evidence.contains("PANIC:  could not write"), "{}", plan.cases[0].evidence);
}

#[test]
fn a_missing_or_broken_pg_hba_conf_is_made_anew_before_the_start() {
    let mut hosts = stopped(3);
    let error = json!({"kind": "not_found", "detail": "there is no pg_hba.conf"});
    hosts[2].2["og_hba"] = json!({"failed": true, "msg": "m", "error": error});
    let (why, plan) = cause(&hosts);
    assert_eq!((why, json!(plan.start)), (Cause::NoHba, json!({"n3": "standby"})));
    // The rules of the primary, which cover all members, and one for the socket.
    let rules = &plan.restored_rules["n3"];
    assert_eq!((rules.len(), &*rules[0].kind, &rules[0].users), (2, "local", &words("omm")));
    let mut hosts = stopped(3);
    hosts[2].2["og_hba"]["errors"] =
        json!([{"line": 4, "message": "unknown method \"x\""}, {"line": 7, "message": "y"}]);
    hosts[2].2["og_hba"]["rules"][0]["rule"]["address"] = json!("10.0.0.3/32");
    let (why, plan) = cause(&hosts);
    assert_eq!(why, Cause::BrokenHba);
    assert!(plan.cases[0].evidence.contains("(lines 4, 7 are left out)"), "{}", plan.cases[0].evidence);
    let said = repairing(&hosts, "", false).warnings.join("\n");
    assert!(
        said.contains(
            "lines 4, 7 are left out, and a line that kept somebody out is gone, too: see it with -n --diff"
        ),
        "{said}"
    );
    // Its own good rule, and those by which the others come.
    let addresses: Vec<_> = plan.restored_rules["n3"].iter().filter_map(|r| r.address.as_deref()).collect();
    assert_eq!(addresses, ["10.0.0.3/32", "10.0.0.1/32", "10.0.0.2/32"]);
}

#[test]
fn a_standby_that_streams_without_pg_hba_conf_gets_one_and_goes_on() {
    let mut hosts = three();
    let error = json!({"kind": "not_found", "detail": "there is no pg_hba.conf"});
    hosts[2].2["og_hba"] = json!({"failed": true, "msg": "m", "error": error.clone()});
    // It is well: it is touched only when it is named.
    let outlook = repairing(&hosts, "", false);
    assert!(outlook.warnings[0].contains("og repair n3 makes pg_hba.conf anew"), "{:?}", outlook.warnings);
    assert_eq!(self::plan(outlook).cases, []);
    let plan = self::plan(repairing(&hosts, "n3", false));
    assert_eq!((plan.cases[0].cause, plan.restored_rules.len()), (Cause::NoHba, 1));
    assert!(plan.start.is_empty() && plan.restart.is_empty() && plan.builds.is_empty());
    // The primary's own is left to a person.
    let mut hosts = three();
    hosts[0].2["og_hba"] = json!({"failed": true, "msg": "m", "error": error});
    let outlook = repairing(&hosts, "", false);
    assert!(outlook.warnings[0].starts_with("n1: the primary runs by the rules"), "{:?}", outlook.warnings);
    assert!(outlook.plan.unwrap().cases.is_empty());
}

#[test]
fn what_lacks_between_a_standby_and_its_upstream_is_added_there() {
    let hosts = {
        let mut hosts =
            detached("Disconnected", json!({"obstacle": "not_let_in", "last_error": "FATAL:  no entry"}));
        hosts[0].2["og_hba"]["rules"][0]["rule"]["address"] = json!("10.0.0.2/32");
        hosts
    };
    let (why, plan) = cause(&hosts);
    assert_eq!((why, plan.rules["n1"][0].address.as_deref()), (Cause::NotLetIn, Some("10.0.0.3/32")));
    assert!(!plan.rules.contains_key("n2") && plan.channels.is_empty() && plan.builds.is_empty());
    let mut hosts = detached("Disconnected", json!({}));
    hosts[0].2 = seen(1, "primary", true, &[2]);
    hosts[0].2["og_node_state"]["identity"] = json!({"system_id": "77"});
    // Dropped, or a clone, as far as the primary knows.
    assert_eq!(self::plan(repairing(&hosts, "", false)).cases, []);
    hosts[0].2["og_static_conf"] = json!({"failed": false, "nodes": [{"id": 3, "name": "n3"}]});
    let (why, plan) = cause(&hosts);
    assert_eq!(why, Cause::UpstreamDoesNotKnowIt);
    assert_eq!(json!(plan.channels), json!({"n1": [{"host": "10.0.0.3", "base_port": 26000}]}));
    let mut hosts = detached("Disconnected", json!({}));
    hosts[2].2["og_replconninfo"]["channels"] = json!([]);
    let (why, plan) = cause(&hosts);
    assert_eq!((why, plan.channels["n3"].len()), (Cause::NoChannelToUpstream, 2));
}

/// Refused, whether named or not, unless it is named and forced; returns the plan then.
fn only_forced(hosts: &[Given]) -> Repair {
    let told = refusal(hosts, "n3");
    for words in [
        "n3 has term 1, log up to 0/4000000",
        "exists only there; og_repair_force with this node named keeps a copy of that log aside",
    ] {
        assert!(told.contains(words), "{told}");
    }
    for force in [false, true] {
        let outlook = repairing(hosts, "", force);
        let said = outlook.warnings.join("\n");
        assert!(said.starts_with("n3: ") && said.ends_with("; it is not repaired"), "{said}");
        assert_eq!(plan(outlook).cases, []);
    }
    plan(repairing(hosts, "n3", true))
}

fn record(begin: &str, end: &str, crc: u32) -> Value {
    json!({"begin": begin, "end": end, "crc": crc})
}

/// What this node's log has where records were asked for; it begins at 0/3000000.
fn has(hosts: &mut [Given], number: usize, records: &[(&str, Value)]) {
    let told = &mut hosts[number - 1].2["og_node_state"];
    told["log_begin"] = json!("0/3000000");
    told["log_records"] =
        records.iter().map(|(place, record)| ((*place).to_owned(), record.clone())).collect();
}

/// n3 was the primary before n1, its log ends with this record.
fn old_primary(last: &Value) -> Vec<Given> {
    let mut hosts = stopped(3);
    set(&mut hosts, 3, "role", json!("primary"));
    diagnosis(&mut hosts, 3, json!({"holds": last["end"], "term": 1, "last_record": last}));
    hosts
}

/// n1 took over from n3 at 0/4000000.
fn failed_over(hosts: &mut [Given]) {
    let fork = json!({"new_primary": "n1", "old_primaries": ["n3"], "term": 1, "at": "T",
        "record": record("0/3FFFF80", "0/4000000", 5)});
    for host in hosts.iter_mut().take(2) {
        host.2["og_node_state"]["forks"] = json!([fork]);
    }
}

#[test]
fn an_old_primary_that_holds_nothing_of_its_own_becomes_a_standby_without_force() {
    let last = record("0/3FFFF80", "0/4000000", 5);
    let mut hosts = old_primary(&last);
    assert!(refusal(&hosts, "n3").contains("exists only there"));
    has(&mut hosts, 1, &[("0/3FFFF80", last.clone())]);
    // One equal record proves nothing of a node that wrote: the failover that replaced it must be on record.
    assert!(refusal(&hosts, "n3").contains("exists only there"));
    failed_over(&mut hosts);
    let (why, plan) = cause(&hosts);
    assert_eq!((why, json!(plan.start)), (Cause::OldPrimary, json!({"n3": "standby"})));
    assert!(plan.cases[0].evidence.contains("so nothing of it is lost"), "{}", plan.cases[0].evidence);
    assert!(plan.keep_logs.is_empty() && plan.builds.is_empty() && plan.changes_roles);
    // The same place is not enough.
    has(&mut hosts, 1, &[("0/3FFFF80", record("0/3FFFF80", "0/4000000", 6))]);
    assert!(refusal(&hosts, "n3").contains("exists only there"));
    // Where the primary's log is removed by now, nothing is proved: the role may have gone by hand to a node that had less of
    // the log, and back.
    has(&mut hosts, 1, &[]);
    has(&mut hosts, 3, &[("0/3FFFF80", last.clone())]);
    assert!(refusal(&hosts, "n3").contains("exists only there"));
    // It runs: what it writes next is not known.
    let mut hosts = three();
    set(&mut hosts, 3, "role", json!("primary"));
    set(&mut hosts, 3, "receiver", json!(null));
    set(&mut hosts, 1, "term", json!(2));
    diagnosis(&mut hosts, 3, json!({"last_record": last}));
    has(&mut hosts, 1, &[("0/3FFFF80", last)]);
    let told = refusal(&hosts, "n3");
    assert!(told.contains("exists only there") && told.contains("where it is stopped first"), "{told}");
}

#[test]
fn a_copy_of_postgresql_conf_is_brought_back_where_the_server_refuses_its_own() {
    let backup = |hosts: &[Given], targets: &str| {
        let options = Options { og_repair_backup: "/b/postgresql.conf".to_owned(), ..Options::default() };
        let targets = if targets.is_empty() { Vec::new() } else { words(targets) };
        repair(&nodes(hosts), &targets, &options, &[])
    };
    let refused =
        json!({"obstacle": "conf_refused", "last_error": "FATAL:  configuration file contains errors"});
    let mut hosts = stopped(3);
    let unused = backup(&hosts, "n3");
    assert!(
        unused.warnings.iter().any(|text| text.starts_with("og_repair_backup is not used")),
        "{unused:?}"
    );
    assert!(unused.plan.unwrap().restored_confs.is_empty());
    diagnosis(&mut hosts, 3, refused.clone());
    let found = plan(backup(&hosts, "n3"));
    assert_eq!(json!(found.restored_confs), json!({"n3": "/b/postgresql.conf"}));
    assert_eq!((found.cases[0].cause, json!(found.start)), (Cause::BrokenConf, json!({"n3": "standby"})));
    assert_eq!(
        found.cases[0].remedy,
        "bring /b/postgresql.conf back as postgresql.conf and start it as standby"
    );
    // It is one node's own.
    assert!(backup(&hosts, "").findings[0].contains("name the node"));
    // Without a copy it is started, for the file may be mended by now; if it was not, what to do is said.
    assert!(plan(repairing(&hosts, "n3", false)).restored_confs.is_empty());
    let told = repair(&nodes(&hosts), &words("n3"), &options(false), &words("n3")).plan.unwrap();
    assert!(told.refused["n3"].contains("og repair n3 og_repair_backup=PATH"), "{:?}", told.refused);
    // A line that cannot be read.
    let corrupt = json!({"failed": true, "msg": "m", "error": {"kind": "corrupt", "detail": "postgresql.conf: line 9, column 1: syntax error"}});
    let mut hosts = stopped(3);
    hosts[2].2["og_guc"] = corrupt.clone();
    hosts[2].2["og_replconninfo"] = corrupt.clone();
    let told = refusal(&hosts, "n3");
    assert!(
        told.contains("line 9, column 1") && told.contains("og repair n3 og_repair_backup=PATH"),
        "{told}"
    );
    let found = plan(backup(&hosts, "n3"));
    assert_eq!(json!(found.restored_confs), json!({"n3": "/b/postgresql.conf"}));
    assert_eq!((found.cases[0].cause, json!(found.start)), (Cause::BrokenConf, json!({"n3": "standby"})));
    assert!(found.channels.is_empty(), "{:?}", found.channels);
    // An old primary that was lost for its file.
    let last = record("0/3FFFF80", "0/4000000", 5);
    let mut hosts = old_primary(&last);
    has(&mut hosts, 1, &[("0/3FFFF80", last)]);
    failed_over(&mut hosts);
    hosts[2].2["og_guc"] = corrupt.clone();
    assert!(refusal(&hosts, "n3").contains("og repair n3 og_repair_backup=PATH"));
    let found = plan(backup(&hosts, "n3"));
    assert_eq!((found.cases[0].cause, found.restored_confs.len()), (Cause::OldPrimary, 1));
    assert!(found.cases[0].remedy.starts_with("bring /b/postgresql.conf back"), "{}", found.cases[0].remedy);
    // One that runs is not given another file, whatever is left in its log.
    let mut hosts = three();
    set(&mut hosts, 3, "role", json!("primary"));
    set(&mut hosts, 3, "receiver", json!(null));
    set(&mut hosts, 1, "term", json!(2));
    diagnosis(&mut hosts, 3, refused.clone());
    let force = Options {
        og_repair_force: true,
        og_repair_backup: "/b/postgresql.conf".to_owned(),
        ..Options::default()
    };
    let running = plan(repair(&nodes(&hosts), &words("n3"), &force, &[]));
    assert!(running.restored_confs.is_empty() && running.restart.contains_key("n3"));
    // The last primary.
    let mut hosts = stopped(1);
    for number in [2, 3] {
        set(&mut hosts, number, "receiver", json!(null));
        set(&mut hosts, number, "lsn", json!("0/4000000"));
    }
    diagnosis(&mut hosts, 1, refused);
    let found = backup(&hosts, "n1");
    let primary = found.plan.unwrap_or_else(|| panic!("{:?}", found.findings));
    assert_eq!(json!(primary.restored_confs), json!({"n1": "/b/postgresql.conf"}));
    assert_eq!(json!(primary.start), json!({"n1": "primary"}));
    hosts[0].2["og_guc"] = corrupt;
    assert!(refusal(&hosts, "n1").contains("og repair n1 og_repair_backup=PATH"));
}

#[test]
fn a_failover_is_put_on_record_on_the_old_primary_that_follows_again() {
    let last = record("0/3FFFF80", "0/4000000", 5);
    let mut hosts = old_primary(&last);
    has(&mut hosts, 1, &[("0/3FFFF80", last)]);
    failed_over(&mut hosts);
    let fork = hosts[0].2["og_node_state"]["forks"].clone();
    assert_eq!(json!(cause(&hosts).1.closed_forks), json!({"n3": fork}));
    // A run that was killed before it did so.
    let mut hosts = three();
    failed_over(&mut hosts);
    assert_eq!(json!(plan(repairing(&hosts, "", false)).closed_forks), json!({"n3": fork}));
    // Not while it follows another node than the primary; as a cascade standby it follows it through a standby.
    let mut hosts = three();
    failed_over(&mut hosts);
    hosts[2].2["og_node_state"]["node"]["receiver"]["peer"]["host"] = json!("10.9.9.9");
    assert!(repairing(&hosts, "", false).plan.is_none_or(|plan| plan.closed_forks.is_empty()));
    // Not while it does not follow; and once only.
    set(&mut hosts, 3, "receiver", json!(null));
    assert!(plan(repairing(&hosts, "", false)).closed_forks.is_empty());
    let mut hosts = three();
    failed_over(&mut hosts);
    hosts[2].2["og_node_state"]["forks"] = fork;
    assert!(plan(repairing(&hosts, "", false)).closed_forks.is_empty());
}

#[test]
fn what_an_old_primary_holds_from_the_fork_on_is_told_and_kept_when_forced() {
    let fork = record("0/3FFFF80", "0/4000000", 5);
    let mut hosts = old_primary(&record("0/4000200", "0/4000280", 9));
    failed_over(&mut hosts);
    has(&mut hosts, 1, &[("0/3FFFF80", fork.clone()), ("0/4000200", json!(null))]);
    has(&mut hosts, 3, &[("0/3FFFF80", fork)]);
    let told = refusal(&hosts, "n3");
    assert!(
        told.contains(
            "it holds 640 B of log that n1 has not, from 0/4000000 to 0/4000280, written after n1 took over"
        ),
        "{told}"
    );
    let forced = plan(repairing(&hosts, "n3", true));
    assert_eq!(json!(forced.keep_logs), json!({"n3": "0/4000000"}));
    // It is started, so that it recovers from its crash, and built without waiting whether it follows.
    assert_eq!((json!(forced.start), forced.builds.len()), (json!({"n3": "standby"}), 1));
    assert_eq!((forced.builds[0].mode, forced.builds[0].force), (BuildMode::Incremental, true));
    // From the first failover that replaced it on, though both have the record of a later one.
    let both = [
        ("0/3FFFF80", record("0/3FFFF80", "0/4000000", 5)),
        ("0/4000080", record("0/4000080", "0/4000100", 6)),
        ("0/4000200", json!(null)),
    ];
    let mut later = hosts.clone();
    let forks = later[0].2["og_node_state"]["forks"].as_array_mut().unwrap();
    let mut second = forks[0].clone();
    second["record"] = both[1].1.clone();
    forks.push(second);
    has(&mut later, 1, &both);
    has(&mut later, 3, &both[..2]);
    assert_eq!(json!(plan(repairing(&later, "n3", true)).keep_logs), json!({"n3": "0/4000000"}));
    // Without a fork that both went through, all of its log is kept.
    has(&mut hosts, 3, &[]);
    assert_eq!(json!(plan(repairing(&hosts, "n3", true)).keep_logs), json!({"n3": null}));
}

#[test]
fn a_record_behind_the_end_of_the_primarys_log_is_none_of_it() {
    let last = record("0/3FFFF80", "0/4000000", 5);
    let mut hosts = old_primary(&last);
    has(&mut hosts, 1, &[("0/3FFFF80", last.clone())]);
    failed_over(&mut hosts);
    assert_eq!(cause(&hosts).0, Cause::OldPrimary);
    set(&mut hosts, 1, "lsn", json!("0/3FFFFC0"));
    assert!(refusal(&hosts, "n3").contains("holds what the primary has not"));
    // Where that end is not known, nothing is proved.
    set(&mut hosts, 1, "lsn", json!(null));
    assert!(refusal(&hosts, "n3").contains("exists only there"));
    let found = json!({"holds": "0/4000000", "term": 1, "last_record": last});
    let mut hosts = detached("WAL segment removed", found);
    has(&mut hosts, 1, &[("0/3FFFF80", last)]);
    assert_eq!(cause(&hosts).0, Cause::NotConnected);
    set(&mut hosts, 1, "lsn", json!(null));
    assert!(refusal(&hosts, "n3").contains("exists only there"));
}

#[test]
fn what_an_old_primary_wrote_after_the_failover_is_not_lost_for_an_equal_last_record() {
    // Two servers that rest write the same record, a snapshot of no transactions, after their logs have parted.
    let (fork, last) = (record("0/3FFFF80", "0/4000000", 5), record("0/4000200", "0/4000280", 9));
    let both = [("0/3FFFF80", fork.clone()), ("0/4000200", last.clone())];
    let failover = |new: &str, old: &str, record: &Value| json!({"new_primary": new, "old_primaries": words(old), "term": 1, "at": "T", "record": record});
    let mut hosts = old_primary(&last);
    has(&mut hosts, 1, &both);
    has(&mut hosts, 3, &both);
    failed_over(&mut hosts);
    assert!(refusal(&hosts, "n3").contains("exists only there"));
    assert!(plan(repairing(&hosts, "n3", true)).keep_logs.contains_key("n3"));
    // Of several failovers the oldest one that names it counts.
    let later = failover("n1", "n2,n3", &last);
    hosts[0].2["og_node_state"]["forks"] = json!([failover("n1", "n3", &fork), later]);
    assert!(refusal(&hosts, "n3").contains("exists only there"));
    hosts[0].2["og_node_state"]["forks"] = json!([failover("n1", "n2", &fork), later]);
    assert_eq!(cause(&hosts).0, Cause::OldPrimary);
    // Nor one that it has in its own files: it was rebuilt from a survivor since. But one that is newer is needed.
    hosts[0].2["og_node_state"]["forks"] = json!([failover("n1", "n3", &fork), later]);
    hosts[2].2["og_node_state"]["forks"] = json!([failover("n1", "n3", &fork)]);
    assert_eq!(cause(&hosts).0, Cause::OldPrimary);
    hosts[0].2["og_node_state"]["forks"] = json!([failover("n1", "n3", &fork)]);
    assert!(refusal(&hosts, "n3").contains("exists only there"));
    hosts[2].2["og_node_state"]["forks"] = json!([]);
    // It was replaced by n2, and that by n1. A failover to a node that n1 did not replace is not n1's.
    let mut hosts = old_primary(&fork);
    has(&mut hosts, 1, &both);
    let first = failover("n2", "n3", &fork);
    hosts[0].2["og_node_state"]["forks"] = json!([first, failover("n1", "n2", &last)]);
    assert_eq!(cause(&hosts).0, Cause::OldPrimary);
    hosts[0].2["og_node_state"]["forks"] = json!([first]);
    assert!(refusal(&hosts, "n3").contains("exists only there"));
}

/// n3 was replaced by n2, and n1 took over from that later, with this record of n2's log; n3 has not followed since.
fn handed_on(old_primary_of_n1: &str, later: &Value) -> Vec<Given> {
    let first = record("0/3FFFF80", "0/4000000", 5);
    let change = |new: &str, old: &str, record: &Value| json!({"new_primary": new, "old_primaries": words(old), "term": null, "at": "T", "record": record});
    let mut hosts = old_primary(&first);
    has(&mut hosts, 1, &[("0/3FFFF80", first.clone()), ("0/4000200", record("0/4000200", "0/4000280", 9))]);
    hosts[0].2["og_node_state"]["forks"] =
        json!([change("n2", "n3", &first), change("n1", old_primary_of_n1, later)]);
    hosts
}

#[test]
fn a_switchover_on_record_keeps_the_proof_and_nothing_less_does() {
    let checkpoint = record("0/4000200", "0/4000280", 9);
    assert_eq!(cause(&handed_on("n2", &checkpoint)).0, Cause::OldPrimary);
    let is_refused = |hosts: &[Given]| assert!(refusal(hosts, "n3").contains("exists only there"));
    // n1 took over from another node: who gave that one the role is not known.
    is_refused(&handed_on("n4", &checkpoint));
    // The primary's log has another record at the place of the switchover, or none.
    is_refused(&handed_on("n2", &record("0/4000200", "0/4000280", 8)));
    let mut hosts = handed_on("n2", &checkpoint);
    has(&mut hosts, 1, &[("0/3FFFF80", record("0/3FFFF80", "0/4000000", 5))]);
    is_refused(&hosts);
    // Nor a place before that at which n2 took over.
    let before = record("0/3FFFF00", "0/3FFFF80", 3);
    let mut hosts = handed_on("n2", &before);
    has(&mut hosts, 1, &[("0/3FFFF80", record("0/3FFFF80", "0/4000000", 5)), ("0/3FFFF00", before)]);
    is_refused(&hosts);
    // The role went on by hand since.
    let mut hosts = handed_on("n2", &checkpoint);
    hosts[0].2["og_node_state"]["forks"][1]["new_primary"] = json!("n2");
    is_refused(&hosts);
    // n1 had the role before, and lost it by hand in between.
    let mut hosts = handed_on("n2", &checkpoint);
    let forks = hosts[0].2["og_node_state"]["forks"].as_array_mut().unwrap();
    let mut again = forks[1].clone();
    again["old_primaries"] = json!(["n4"]);
    forks.push(again);
    is_refused(&hosts);
    // It wrote after it was replaced.
    let mut hosts = handed_on("n2", &checkpoint);
    diagnosis(&mut hosts, 3, json!({"holds": "0/4000280", "term": 1, "last_record": checkpoint}));
    is_refused(&hosts);
}

#[test]
fn a_record_that_may_have_lost_its_oldest_failovers_proves_nothing() {
    let mut hosts = handed_on("n2", &record("0/4000200", "0/4000280", 9));
    let forks = hosts[0].2["og_node_state"]["forks"].as_array().unwrap().clone();
    let other = json!({"new_primary": "n3", "old_primaries": ["n4"], "term": null, "at": "T", "record": record("0/10", "0/20", 1)});
    let full: Vec<Value> =
        std::iter::repeat_n(other.clone(), og_common::gauss::fork::MAX_FORKS - 2).chain(forks).collect();
    hosts[0].2["og_node_state"]["forks"] = json!(full);
    assert!(refusal(&hosts, "n3").contains("exists only there"));
    // What is older than one that the node has itself matters no more.
    hosts[2].2["og_node_state"]["forks"] = json!([other]);
    assert_eq!(cause(&hosts).0, Cause::OldPrimary);
}

#[test]
fn a_log_that_the_server_itself_found_to_differ_is_never_proved_to_be_a_part() {
    let last = record("0/3FFFF80", "0/4000000", 5);
    let found = json!({"obstacle": "log_diverged", "holds": "0/4000000", "term": 1, "last_record": last});
    let mut hosts = detached("WAL segment removed", found.clone());
    has(&mut hosts, 1, &[("0/3FFFF80", last.clone())]);
    let forced = only_forced(&hosts);
    assert_eq!((forced.cases[0].cause, json!(forced.keep_logs)), (Cause::Diverged, json!({"n3": null})));
    let mut hosts = old_primary(&last);
    has(&mut hosts, 1, &[("0/3FFFF80", last.clone())]);
    failed_over(&mut hosts);
    assert_eq!(cause(&hosts).0, Cause::OldPrimary);
    diagnosis(&mut hosts, 3, found);
    assert!(refusal(&hosts, "n3").contains("exists only there"));
    // A standby that was a primary, as another node has it on record, is held to the same proof.
    let found = json!({"holds": "0/4000000", "term": 1, "last_record": last});
    let mut hosts = detached("WAL segment removed", found);
    has(&mut hosts, 1, &[("0/3FFFF80", last)]);
    failed_over(&mut hosts);
    assert_eq!(cause(&hosts).0, Cause::NotConnected);
    hosts[0].2["og_node_state"]["forks"] = json!([]);
    assert!(refusal(&hosts, "n3").contains("exists only there"));
}

#[test]
fn a_detached_standby_that_does_not_see_its_tablespaces_is_rebuilt_with_proof_or_force() {
    let spaces =
        json!({"names": ["dn_6001"], "running": "dn_6003", "configured": "dn_6003", "damage": "not_seen"});
    let mut hosts = detached("Disconnected", json!({"holds": "0/4000000", "term": 1}));
    set(&mut hosts, 3, "tablespaces", spaces.clone());
    let forced = only_forced(&hosts);
    assert_eq!(
        (forced.cases[0].cause, modes(&forced)),
        (Cause::TablespacesUnseen, json!([["n3", "full", true]]))
    );
    assert_eq!(json!(forced.keep_logs), json!({"n3": null}));
    let last = record("0/3FFFF80", "0/4000000", 5);
    diagnosis(&mut hosts, 3, json!({"holds": "0/4000000", "term": 1, "last_record": last}));
    has(&mut hosts, 1, &[("0/3FFFF80", last)]);
    let (why, plan) = cause(&hosts);
    assert_eq!((why, modes(&plan)), (Cause::TablespacesUnseen, json!([["n3", "full", false]])));
    // One that streams has nothing of its own.
    let mut hosts = three();
    set(&mut hosts, 3, "tablespaces", spaces);
    let plan = self::plan(repairing(&hosts, "n3", true));
    assert_eq!((plan.cases[0].cause, plan.keep_logs.len()), (Cause::TablespacesUnseen, 0));
}

#[test]
fn a_standby_is_proved_to_differ_or_not_by_its_last_record() {
    let last = record("0/3FFFF80", "0/4000000", 5);
    let found =
        |last: &Value| json!({"obstacle": null, "holds": "0/4000000", "term": 1, "last_record": last});
    let mut hosts = detached("WAL segment removed", found(&last));
    has(&mut hosts, 1, &[("0/3FFFF80", last)]);
    let (why, plan) = cause(&hosts);
    assert_eq!((why, &plan.settle), (Cause::NotConnected, &words("n3")));
    assert_eq!(modes(&tried(&hosts, "n3")), json!([["n3", "incremental", false]]), "nothing can be lost");
    has(&mut hosts, 1, &[("0/3FFFF80", record("0/3FFFF80", "0/4000008", 5))]);
    let forced = only_forced(&hosts);
    assert_eq!((forced.cases[0].cause, json!(forced.keep_logs)), (Cause::Diverged, json!({"n3": null})));
    assert!(forced.cases[0].evidence.contains("by LSN and checksum"), "{}", forced.cases[0].evidence);
    // Where its log was removed, that is not told.
    has(&mut hosts, 1, &[("0/3FFFF80", json!(null))]);
    hosts[0].2["og_node_state"]["log_begin"] = json!("0/4000000");
    assert_eq!(only_forced(&hosts).cases[0].cause, Cause::LogUnusable);
}

#[test]
fn a_rule_that_turns_a_standby_away_does_not_let_it_in() {
    for (method, option, is_shut) in [
        ("reject", "trust", true),
        ("cert", "trust", true),
        ("sha256", "trust", true),
        ("sha256", "sha256", false),
    ] {
        let mut hosts = detached("Disconnected", json!({}));
        hosts[0].2["og_hba"]["rules"][0]["rule"]["method"] = json!(method);
        let options = Options { og_hba_method: option.to_owned(), ..options(false) };
        let plan = plan(repair(&nodes(&hosts), &[], &options, &[]));
        let wanted = if is_shut { Cause::NotLetIn } else { Cause::NotConnected };
        assert_eq!(plan.cases[0].cause, wanted, "{method} {option}");
        assert_eq!(plan.rules.contains_key("n1"), is_shut);
    }
    // A file that is made anew has its members' rules before one that turns them away.
    let mut hosts = stopped(3);
    hosts[2].2["og_hba"]["errors"] = json!([{"line": 4, "message": "x"}]);
    hosts[2].2["og_hba"]["rules"][0]["rule"]["method"] = json!("reject");
    let (_, plan) = cause(&hosts);
    let rules = &plan.restored_rules["n3"];
    let last = rules.last().map(|rule| rule.method.as_deref());
    assert_eq!((rules.len(), last), (5, Some(Some("reject"))), "{rules:?}");
}

#[test]
fn a_log_that_was_removed_is_made_up_for_and_one_that_may_have_parted_only_when_forced() {
    let found = |obstacle: Value| json!({"obstacle": obstacle, "holds": "0/4000000", "term": 1});
    let (why, plan) = cause(&detached("WAL segment removed", found(json!("log_removed"))));
    assert_eq!((why, modes(&plan)), (Cause::WalGone, json!([["n3", "incremental", false]])));
    let gone = detached("WAL segment removed", found(json!("log_removed")));
    let forced = self::plan(repairing(&gone, "n3", true));
    assert_eq!((forced.cases[0].cause, json!(forced.keep_logs)), (Cause::WalGone, json!({"n3": null})));
    for (obstacle, wanted) in [(json!("log_diverged"), Cause::Diverged), (json!(null), Cause::LogUnusable)] {
        let forced = only_forced(&detached("WAL segment removed", found(obstacle)));
        assert_eq!((forced.cases[0].cause, modes(&forced)), (wanted, json!([["n3", "incremental", true]])));
    }
}

#[test]
fn a_reason_that_cannot_be_told_is_given_time_and_no_build_unless_forced() {
    let hosts = detached("Connecting...", json!({}));
    let (why, plan) = cause(&hosts);
    assert_eq!((why, &plan.settle), (Cause::NotConnected, &words("n3")));
    assert!(plan.builds.is_empty());
    assert!(repairing(&hosts, "", false).warnings[0].contains("cannot be told"));
    let after = tried(&hosts, "n3");
    assert!(after.cases.is_empty() && after.builds.is_empty());
    let told = &after.refused["n3"];
    assert!(told.starts_with("it does not receive") && told.contains("keep a copy of its pg_xlog"), "{told}");
    let forced = repair(&nodes(&hosts), &words("n3"), &options(true), &words("n3")).plan.unwrap();
    assert_eq!(modes(&forced), json!([["n3", "incremental", true]]));
}

#[test]
fn what_goes_on_by_itself_is_waited_for() {
    let mut hosts = three();
    set(&mut hosts, 3, "db_state", json!("catchup"));
    assert_eq!(cause(&hosts).0, Cause::CatchingUp);
    set(&mut hosts, 3, "db_state", json!("starting"));
    set(&mut hosts, 3, "receiver", json!(null));
    let (why, plan) = cause(&hosts);
    assert_eq!((why, &plan.settle), (Cause::Starting, &words("n3")));
    set(&mut hosts, 3, "build", json!({"running": true}));
    let (why, plan) = cause(&hosts);
    assert_eq!((why, modes(&plan)), (Cause::BeingBuilt, json!([["n3", "auto", false]])));
}

#[test]
fn a_build_that_died_is_begun_again_in_full() {
    let mut hosts = stopped(3);
    set(&mut hosts, 3, "build", json!({"running": false, "interrupted": true}));
    let (why, plan) = cause(&hosts);
    assert_eq!((why, modes(&plan)), (Cause::BuildDied, json!([["n3", "full", false]])));
    // It took away pg_hba.conf, and the next one brings the primary's.
    let error = json!({"kind": "not_found", "detail": "there is no pg_hba.conf"});
    hosts[2].2["og_hba"] = json!({"failed": true, "msg": "m", "error": error});
    assert!(cause(&hosts).1.restored_rules.is_empty());
}

#[test]
fn a_node_that_holds_more_than_the_primary_is_not_touched() {
    let found = json!({"obstacle": "log_diverged", "holds": "0/5000028", "term": 1});
    let hosts = detached("WAL segment removed", found);
    let told = refusal(&hosts, "n3");
    assert!(told.starts_with("n3: holds what the primary has not: n3 has term"), "{told}");
    assert!(told.contains("og_repair_force"), "{told}");
    // Not named, it is left alone.
    let outlook = repairing(&hosts, "", false);
    assert!(outlook.warnings[0].ends_with("it is not repaired"), "{:?}", outlook.warnings);
    assert_eq!(plan(outlook).cases, []);
    assert_eq!(plan(repairing(&hosts, "", true)).cases, []);
    assert_eq!(modes(&plan(repairing(&hosts, "n3", true)))[0][2], true);
    let told = refusal(&detached("", json!({"holds": "0/5000028", "term": 1})), "n3");
    assert!(told.contains("40 B more, from 0/5000000 to 0/5000028"), "{told}");
}

#[test]
fn around_a_primary_that_is_not_the_newest_nothing_is_repaired() {
    let found = json!({"obstacle": "older_term", "holds": "0/4000000", "term": 5});
    let hosts = detached("WAL segment removed", found);
    for targets in ["", "n3", "n2"] {
        let told = refusal(&hosts, targets);
        assert!(
            told.starts_with("n1 runs as primary (term 1, log up to 0/5000000), and another node"),
            "{told}"
        );
        assert!(told.contains("n3 has term 5, log up to 0/4000000"), "{told}");
    }
    assert!(repairing(&hosts, "", true).plan.is_none());
    assert_eq!(modes(&plan(repairing(&hosts, "n3", true)))[0][2], true);
    // A single node counts only where everybody was seen.
    let mut hosts = three();
    set(&mut hosts, 1, "role", json!("normal"));
    assert!(repairing(&hosts, "", false).plan.is_some());
    hosts[2].2 = json!(null);
    let told = refusal(&hosts, "");
    assert!(told.contains("of n3 nothing is known"), "{told}");
}

#[test]
fn another_clusters_data_are_not_overwritten() {
    let mut hosts = detached("System id not matched", json!({"obstacle": "other_system"}));
    hosts[2].2["og_node_state"]["identity"]["system_id"] = json!("88");
    let told = refusal(&hosts, "n3");
    assert!(told.starts_with("n3: its database system is 88, that of n1 is 77"), "{told}");
    let forced = plan(repairing(&hosts, "n3", true));
    assert_eq!((forced.cases[0].cause, modes(&forced)), (Cause::OtherSystem, json!([["n3", "full", true]])));
}

#[test]
fn a_node_of_another_release_is_left_alone() {
    let mut hosts = stopped(3);
    set(&mut hosts, 3, "version", json!("5.0.3"));
    let told = refusal(&hosts, "n3");
    assert!(told.starts_with("n3: its programs are of release 5.0.3, those of n1 of 6.0.2"), "{told}");
}

#[test]
fn the_older_of_two_primaries_becomes_a_standby_and_equal_ones_are_left_to_a_person() {
    let mut hosts = three();
    set(&mut hosts, 3, "role", json!("primary"));
    set(&mut hosts, 3, "receiver", json!(null));
    set(&mut hosts, 3, "lsn", json!("0/4000000"));
    let told = refusal(&hosts, "n3");
    for words in
        ["n1 and n3 run as primary", "n1 (term 1, log up to 0/5000000)", "n3 (term 1, log up to 0/4000000)"]
    {
        assert!(told.contains(words), "{told}");
    }
    let forced = plan(repairing(&hosts, "n3", true));
    assert_eq!((&*forced.shared.primary, json!(forced.restart)), ("n1", json!({"n3": "standby"})));
    assert!(repairing(&hosts, "", true).plan.is_none());
    set(&mut hosts, 1, "term", json!(2));
    // Rules for it are added when it is no primary any more.
    hosts[0].2["og_hba"]["rules"][0]["rule"]["address"] = json!("10.0.0.2/32");
    let plan = only_forced(&hosts);
    assert_eq!((plan.cases[0].cause, json!(plan.restart)), (Cause::OldPrimary, json!({"n3": "standby"})));
    assert!(plan.builds.is_empty() && plan.rules.is_empty() && plan.channels.is_empty());
}

#[test]
fn an_old_primary_that_came_back_is_started_as_a_standby_only_when_forced() {
    let mut hosts = stopped(3);
    set(&mut hosts, 3, "role", json!("primary"));
    diagnosis(&mut hosts, 3, json!({"holds": "0/4000000", "term": 1}));
    // Also where its pg_hba.conf alone keeps it from starting.
    hosts[2].2["og_hba"]["errors"] = json!([{"line": 4, "message": "unknown method"}]);
    only_forced(&hosts);
    hosts[2].2["og_hba"]["errors"] = json!([]);
    let outlook = repairing(&hosts, "n3", true);
    assert!(
        outlook.warnings[0].contains("what it committed and n1 did not receive is lost"),
        "{:?}",
        outlook.warnings
    );
    let plan = plan(outlook);
    assert_eq!((plan.cases[0].cause, json!(plan.start)), (Cause::OldPrimary, json!({"n3": "standby"})));
    assert!(plan.changes_roles);
    diagnosis(&mut hosts, 3, json!({"holds": "0/6000000", "term": 1}));
    assert!(refusal(&hosts, "n3").contains("holds what the primary has not"));
}

#[test]
fn without_a_primary_the_last_one_is_started_when_nobody_holds_more() {
    let mut hosts = detached("Disconnected", json!({"holds": "0/4000000", "term": 1}));
    set(&mut hosts, 2, "receiver", json!(null));
    diagnosis(&mut hosts, 2, json!({"holds": "0/4000000", "term": 1}));
    set(&mut hosts, 1, "running", json!(false));
    set(&mut hosts, 1, "lsn", json!(null));
    diagnosis(&mut hosts, 1, json!({"holds": "0/4000080", "term": 1}));
    let error = json!({"kind": "not_found", "detail": "there is no pg_hba.conf"});
    hosts[0].2["og_hba"] = json!({"failed": true, "msg": "m", "error": error});
    let plan = plan(repairing(&hosts, "", false));
    assert_eq!((&*plan.cases[0].node, plan.cases[0].cause), ("n1", Cause::NoHba));
    assert_eq!((json!(plan.start), plan.restored_rules.contains_key("n1")), (json!({"n1": "primary"}), true));
    assert!(plan.cases[0].evidence.contains("term 1, log up to 0/4000080"), "{}", plan.cases[0].evidence);
    // A member has no data: its disk may not be mounted.
    let held = std::mem::replace(&mut hosts[2].2, seen(3, "unknown", false, &[]));
    let told = refusal(&hosts, "");
    assert!(told.contains("n3 has no data, though n1 knows it") && told.contains("og_node_state"), "{told}");
    hosts[0].2["og_replconninfo"]["channels"] = json!([]);
    assert!(repairing(&hosts, "", false).plan.is_some());
    hosts[0].2["og_static_conf"] = json!({"failed": false, "nodes": [{"id": 3, "name": "n3"}]});
    assert!(refusal(&hosts, "").contains("n3 has no data"));
    hosts[2].2 = held;
    // Somebody holds more.
    diagnosis(&mut hosts, 3, json!({"holds": "0/4000090", "term": 1}));
    let told = refusal(&hosts, "");
    assert!(told.contains("no primary runs, and a repair makes none"), "{told}");
    assert!(told.contains("n3 holds most: og failover n3"), "{told}");
    // Of somebody nothing is known: he may be the primary.
    hosts[2].2 = json!(null);
    let told = refusal(&hosts, "");
    assert!(told.starts_with("no primary was seen, and of n3 nothing is known"), "{told}");
}

#[test]
fn a_standby_in_the_wrong_role_is_restarted_in_the_right_one() {
    let mut hosts = three();
    set(&mut hosts, 3, "role", json!("pending"));
    set(&mut hosts, 3, "receiver", json!(null));
    let (why, plan) = cause(&hosts);
    assert_eq!((why, json!(plan.restart)), (Cause::WrongRole, json!({"n3": "standby"})));
    set(&mut hosts, 3, "role", json!("cascade_standby"));
    assert_eq!(cause(&hosts).0, Cause::WrongRole);
    // One that streams is taken for what it runs as, unless it is named.
    set(&mut hosts, 3, "receiver", json!({"peer": {"host": "10.0.0.2", "port": 26001}}));
    assert_eq!(self::plan(repairing(&hosts, "", false)).cases, []);
    assert_eq!(self::plan(repairing(&hosts, "n3", false)).cases[0].cause, Cause::WrongRole);
}

#[test]
fn a_node_that_commits_wait_for_is_not_stopped() {
    let mut hosts = three();
    let spaces =
        json!({"names": ["dn_6001"], "running": "dn_6003", "configured": "dn_6003", "damage": "not_seen"});
    set(&mut hosts, 3, "tablespaces", spaces);
    parameter(&mut hosts, SYNC_NAMES, Some("ANY 1(dn_6002,dn_6003)"));
    let (why, plan) = cause(&hosts);
    assert_eq!((why, modes(&plan)), (Cause::TablespacesUnseen, json!([["n3", "full", false]])));
    assert!(plan.builds[0].streams);
    parameter(&mut hosts, SYNC_NAMES, Some("ANY 2(dn_6002,dn_6003)"));
    let told = refusal(&hosts, "n3");
    assert!(told.starts_with("n3: commits wait for it, and it would be stopped"), "{told}");
    parameter(&mut hosts, MOST_AVAILABLE, Some("on"));
    assert_eq!(cause(&hosts).0, Cause::TablespacesUnseen);
}

#[test]
fn a_node_that_cannot_be_reached_is_a_finding_only_where_it_was_named() {
    let mut hosts = stopped(3);
    hosts[1].2 = json!(null);
    assert!(refusal(&hosts, "n2").contains("n2: cannot be reached"));
    let outlook = repairing(&hosts, "", false);
    assert!(outlook.warnings[0].starts_with("n2: cannot be reached"), "{:?}", outlook.warnings);
    assert_eq!(json!(plan(outlook).start), json!({"n3": "standby"}));
}

#[test]
fn a_spare_is_no_node_to_repair() {
    let mut hosts = with(three(), vec![fresh(4, "spare")]);
    hosts.push(host(5, "spare", json!({"og_node_state": {"failed": false, "node": {}}})));
    assert_eq!(plan(repairing(&hosts, "", false)).cases, []);
}

#[test]
fn the_nodes_own_rules_are_kept_for_after_the_build() {
    let mut hosts = detached("WAL segment removed", json!({"obstacle": "log_removed"}));
    let own = json!({"type": "host", "databases": ["app"], "users": ["u"], "address": "10.1.0.0/16", "method": "sha256"});
    hosts[2].2["og_hba"]["rules"].as_array_mut().unwrap().push(json!({"line": 2, "text": "x", "rule": own}));
    let (_, plan) = cause(&hosts);
    assert_eq!(json!(plan.own_rules["n3"]), json!([own]));
}
