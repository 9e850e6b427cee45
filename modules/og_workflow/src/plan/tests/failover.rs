//! When a primary counts as lost, and who takes over.

use std::collections::BTreeMap;

use og_common::gauss::LogPosition;
use og_common::protocol::Lsn;
use serde_json::{Value, json};

use super::{Given, cluster, good, nodes, only, parameter, words};
use crate::args::Options;
use crate::plan::{Choice, Failover, MOST_AVAILABLE, Outlook, SYNC_NAMES, choose, failover};
use crate::seen::LogRecords;

fn node(hosts: &mut [Given], number: usize) -> &mut Value {
    &mut hosts[number - 1].2["og_node_state"]["node"]
}

/// A cluster whose primary has ended.
pub(crate) fn headless(standbys: i64) -> Vec<Given> {
    let mut hosts = cluster(standbys);
    for number in 1..=hosts.len() {
        let own = node(&mut hosts, number);
        own["answered"] = json!(true);
        own["receiver"] = Value::Null;
        own["db_state"] = json!("need_repair");
        own["detail"] = json!("Disconnected");
    }
    node(&mut hosts, 1)["running"] = json!(false);
    hosts
}

/// The same, and its host cannot be reached.
pub(crate) fn cut_off(standbys: i64) -> Vec<Given> {
    let mut hosts = headless(standbys);
    hosts[0].2 = Value::Null;
    hosts
}

fn with(hosts: &[Given], target: &str, options: &Options) -> Outlook<Failover> {
    let targets = if target.is_empty() { Vec::new() } else { words(target) };
    failover(&nodes(hosts), &targets, options)
}

fn over(hosts: &[Given], target: &str) -> Outlook<Failover> {
    with(hosts, target, &Options::default())
}

fn dead(name: &str) -> Options {
    Options { og_confirm_dead: name.to_owned(), ..Options::default() }
}

fn ends(given: &[(&str, &str, u64)]) -> BTreeMap<String, LogPosition> {
    let end = |(name, lsn, term): &(&str, &str, u64)| {
        let lsn = Lsn::parse(lsn);
        ((*name).to_owned(), LogPosition { is_end: lsn.is_some(), lsn, term: Some(*term), last_record: None })
    };
    given.iter().map(end).collect()
}

fn chosen(og: &Failover, given: &[(&str, &str, u64)]) -> Result<Choice, Vec<String>> {
    choose(og, &ends(given), &BTreeMap::new(), &Options::default())
}

#[test]
fn a_primary_that_lives_is_not_replaced() {
    let mut hosts = cluster(2);
    (1..=3).for_each(|n| node(&mut hosts, n)["answered"] = json!(true));
    assert!(only(over(&hosts, "n2")).starts_with("n1 runs as primary and answers, so nothing is lost"));
    // It cannot be reached from here, and a standby receives from it.
    hosts[0].2 = Value::Null;
    let findings = with(&hosts, "n2", &dead("n1")).findings;
    assert!(findings[0].starts_with("n2: still receives from 10.0.0.1"), "{findings:?}");
    assert!(findings[1].starts_with("n3: still receives from 10.0.0.1"), "{findings:?}");
}

#[test]
fn a_server_that_does_not_answer_is_ended_only_when_a_person_says_so() {
    let mut hosts = headless(2);
    node(&mut hosts, 1)["running"] = json!(true);
    node(&mut hosts, 1)["frozen"] = json!(true);
    node(&mut hosts, 1)["answered"] = json!(false);
    node(&mut hosts, 1)["pid"] = json!(4711);
    let finding = only(over(&hosts, "n2"));
    assert!(finding.contains("n1: its server (pid 4711) runs and does not answer"), "{finding}");
    let plan = good(with(&hosts, "n2", &dead("n1")));
    assert_eq!((plan.stop, plan.lost), (words("n1"), vec![]));
    assert!(with(&hosts, "n2", &dead("n9")).findings[0].contains("og_confirm_dead: n9 is no host"));
}

#[test]
fn one_standby_alone_proves_nothing_of_a_host_that_cannot_be_reached() {
    let finding = only(over(&cut_off(1), "n2"));
    assert!(finding.contains("n2 alone has lost it: it may live and take commits"), "{finding}");
    let plan = good(with(&cut_off(1), "n2", &dead("n1")));
    assert_eq!((&plan.lost, plan.cut.len(), plan.rules.len()), (&words("n1"), 1, 1));
    // Nobody is left whom the server's own guard could ask.
    assert!(chosen(&plan, &[("n2", "0/5", 3)]).unwrap().force);
    let plan = good(over(&cut_off(2), "n2"));
    assert_eq!((plan.lost.clone(), plan.stop.clone()), (words("n1"), vec![]));
    let choice = chosen(&plan, &[("n2", "0/5", 3), ("n3", "0/5", 3)]).unwrap();
    assert!(!choice.force && choice.loss.contains("what n1 had not sent is lost"), "{choice:?}");
}

#[test]
fn the_standby_takes_over_whose_log_goes_farthest() {
    let plan = good(over(&headless(3), ""));
    assert_eq!((&plan.standbys, &plan.stop), (&words("n2,n3,n4"), &words("n1")));
    let to = |given: &[(&str, &str, u64)]| chosen(&plan, given).map(|choice| choice.to);
    let n1 = ("n1", "0/100", 1);
    assert_eq!(to(&[n1, ("n2", "0/100", 1), ("n3", "1/0", 1), ("n4", "0/FF", 1)]).unwrap(), "n3");
    assert_eq!(
        to(&[n1, ("n2", "0/100", 2), ("n3", "1/0", 1), ("n4", "0/FF", 2)]).unwrap(),
        "n2",
        "the term first"
    );
    assert_eq!(to(&[n1, ("n2", "0/100", 1), ("n3", "0/100", 1), ("n4", "0/100", 1)]).unwrap(), "n2");
    let found = to(&[n1, ("n2", "0/100", 1), ("n3", "", 1), ("n4", "0/100", 1)]).unwrap_err();
    assert!(found[0].starts_with("how far the log of n3 goes cannot be read"), "{found:?}");
}

#[test]
fn less_than_the_most_is_taken_only_when_the_loss_is_accepted() {
    let plan = good(over(&headless(2), "n3"));
    let given = [("n1", "0/200", 1), ("n2", "0/200", 1), ("n3", "0/100", 1)];
    let found = chosen(&plan, &given).unwrap_err();
    assert!(found[0].starts_with("n3 holds less of the log than n2"), "{found:?}");
    assert!(found[1].starts_with("n1 holds 256 B that n3 lacks"), "{found:?}");
    let options = Options { og_accept_loss: true, ..Options::default() };
    let choice = choose(&plan, &ends(&given), &BTreeMap::new(), &options).unwrap();
    assert!(choice.force && choice.to == "n3" && choice.loss.contains("256 B"), "{choice:?}");
}

#[test]
fn what_the_old_primary_holds_alone_is_no_loss_where_commits_were_confirmed_here() {
    let given = [("n1", "0/200", 1), ("n2", "0/100", 1), ("n3", "0/100", 1)];
    let plan = |names: Option<&str>, available: Option<&str>| {
        let mut hosts = headless(2);
        parameter(&mut hosts, SYNC_NAMES, names);
        parameter(&mut hosts, MOST_AVAILABLE, available);
        good(over(&hosts, ""))
    };
    for names in ["ANY 1(dn_6002,dn_6003)", "*", "FIRST 2(dn_6002,dn_6003)"] {
        let choice = chosen(&plan(Some(names), None), &given).unwrap();
        assert!(choice.loss.contains("no acknowledged commit is among them"), "{names}: {choice:?}");
        assert!(chosen(&plan(Some(names), Some("on")), &given).is_err(), "they may have gone on alone");
    }
    // Another one, which is not here, may have confirmed.
    for names in [Some("ANY 1(dn_6002,dn_6003,dn_6009)"), Some(""), None] {
        let found = chosen(&plan(names, None), &given).unwrap_err();
        assert!(found[0].contains("acknowledged commits perhaps among them"), "{names:?} {found:?}");
    }
    let mut hosts = headless(2);
    parameter(&mut hosts, SYNC_NAMES, Some("*"));
    hosts[0].2["og_guc"]["after"]["synchronous_commit"] = json!("off");
    assert!(chosen(&good(over(&hosts, "")), &given).is_err());
}

#[test]
fn commits_do_not_wait_for_who_is_lost() {
    let mut hosts = headless(1);
    parameter(&mut hosts, SYNC_NAMES, Some("ANY 1(dn_6002)"));
    let ends = [("n1", "0/100", 1), ("n2", "0/100", 1)];
    let choice = chosen(&good(over(&hosts, "n2")), &ends).unwrap();
    assert_eq!(choice.sync_names.as_deref(), Some(""));
    assert!(choice.warnings[0].contains("put dn_6001 back"), "{choice:?}");
    let mut hosts = headless(2);
    parameter(&mut hosts, SYNC_NAMES, Some("ANY 1(dn_6002,dn_6003)"));
    let ends = [("n1", "0/100", 1), ("n2", "0/100", 1), ("n3", "0/100", 1)];
    let choice = chosen(&good(over(&hosts, "n2")), &ends).unwrap();
    assert_eq!(choice.sync_names.as_deref(), Some("ANY 1(dn_6001,dn_6003)"));
    assert_eq!(choice.warnings, Vec::<String>::new());
}

#[test]
fn a_failover_that_was_broken_off_goes_on_and_another_one_soon_after_does_not() {
    let mut hosts = headless(2);
    let own = node(&mut hosts, 2);
    (own["role"], own["db_state"]) = (json!("primary"), json!("normal"));
    assert!(only(over(&hosts, "")).starts_with("n2 runs as primary and answers"));
    let lock = |what: &str| json!({"owner": "x", "purpose": json!({"what": what}).to_string()});
    hosts[1].2["og_lock"]["lock"] = lock("failover of n1");
    assert_eq!(good(over(&hosts, "")).done.as_deref(), Some("n2"));
    assert_eq!(good(over(&hosts, "n2")).done.as_deref(), Some("n2"));
    let mut hosts = headless(2);
    hosts[1].2["og_lock"] = json!({"lock": null, "previous": lock("failed over to n2"), "age_s": 600});
    assert!(only(over(&hosts, "")).contains("failed over to n2 10 minutes ago"));
    good(with(&hosts, "", &Options { og_failover_force: true, ..Options::default() }));
    hosts[1].2["og_lock"]["age_s"] = json!(3600);
    good(over(&hosts, ""));
}

#[test]
fn of_several_that_cannot_be_reached_two_standbys_prove_nothing() {
    let mut hosts = cut_off(3);
    hosts[1].2 = Value::Null;
    let found = over(&hosts, "n3").findings;
    assert!(found[0].starts_with("n1: cannot be reached from here, and 1 other node neither"), "{found:?}");
    assert_eq!(found.len(), 2);
    let plan = good(with(&hosts, "n3", &dead("n1,n2")));
    assert_eq!(plan.lost, words("n1,n2"));
    let found = chosen(&plan, &[("n3", "0/5", 3), ("n4", "0/5", 3)]).unwrap_err();
    assert!(found[0].contains("a standby among them may hold more than n3"), "{found:?}");
}

#[test]
fn a_standby_that_does_not_answer_is_no_witness() {
    let mut hosts = cut_off(2);
    node(&mut hosts, 3)["answered"] = json!(false);
    let found = over(&hosts, "n2").findings;
    assert!(found[0].contains("whether it still receives from the primary cannot be told"), "{found:?}");
    assert!(found[1].contains("n2 alone has lost it"), "{found:?}");
    // Nor is its silence an option's to pass over: it may receive all the while.
    assert!(only(with(&hosts, "n2", &dead("n1,n3"))).starts_with("n3: its server runs and does not answer"));
}

#[test]
fn a_lost_primary_stays_one_when_its_channels_are_gone() {
    let mut hosts = cut_off(1);
    hosts[1].2["og_replconninfo"]["channels"] = json!([]);
    assert!(good(with(&hosts, "n2", &dead("n1"))).lost.is_empty(), "nothing tells of it");
    let purpose = json!({"what": "failover of n1"}).to_string();
    hosts[1].2["og_lock"] = json!({"lock": null, "previous": {"owner": "x", "purpose": purpose}});
    assert!(only(over(&hosts, "n2")).contains("n2 alone has lost it"));
    let plan = good(with(&hosts, "n2", &dead("n1")));
    assert!(plan.lost == words("n1") && chosen(&plan, &[("n2", "0/5", 3)]).unwrap().force);
    hosts[1].2["og_lock"] = json!({});
    hosts[1].2["og_static_conf"] =
        json!({"failed": false, "nodes": [{"id": 1, "name": "n1"}, {"id": 2, "name": "n2"}]});
    assert_eq!(good(with(&hosts, "n2", &dead("n1"))).lost, words("n1"));
}

#[test]
fn a_stopped_node_of_unknown_role_may_have_been_the_primary() {
    let mut hosts = headless(2);
    node(&mut hosts, 1)["role"] = json!("unknown");
    let plan = good(over(&hosts, ""));
    assert_eq!(plan.stop, words("n1"));
    // Its log may go further than could be read.
    let mut given = ends(&[("n1", "0/100", 1), ("n2", "0/100", 1), ("n3", "0/100", 1)]);
    given.get_mut("n1").unwrap().is_end = false;
    let found = choose(&plan, &given, &BTreeMap::new(), &Options::default()).unwrap_err();
    assert!(found[0].starts_with("how much n1 holds that n2 lacks cannot be read"), "{found:?}");
}

#[test]
fn a_log_of_its_own_is_no_reason_to_take_a_standby() {
    let mut hosts = headless(2);
    node(&mut hosts, 3)["detail"] = json!("Timeline not matched");
    parameter(&mut hosts, SYNC_NAMES, Some("ANY 1(dn_6002,dn_6003)"));
    let given = [("n1", "0/100", 1), ("n2", "0/100", 1), ("n3", "9/0", 1)];
    let choice = chosen(&good(over(&hosts, "")), &given).unwrap();
    assert_eq!(choice.to, "n2");
    // Nor does it confirm what the new primary commits.
    assert_eq!(choice.sync_names.as_deref(), Some(""));
    assert!(chosen(&good(over(&hosts, "n3")), &given).is_err());
}

#[test]
fn the_proof_is_each_primarys_own_and_holds_for_the_best_alone() {
    let mut hosts = headless(3);
    node(&mut hosts, 4)["running"] = json!(false);
    node(&mut hosts, 4)["role"] = json!("primary");
    hosts[3].2["og_guc"]["after"][SYNC_NAMES] = json!("ANY 1(dn_6002,dn_6003)");
    parameter(&mut hosts, SYNC_NAMES, Some(""));
    let given = [("n1", "0/200", 1), ("n2", "0/100", 1), ("n3", "0/100", 1), ("n4", "0/50", 1)];
    assert!(chosen(&good(over(&hosts, "")), &given).unwrap_err()[0].starts_with("n1 holds 256 B"));
    let mut hosts = headless(2);
    parameter(&mut hosts, SYNC_NAMES, Some("ANY 1(dn_6002,dn_6003)"));
    let given = ends(&[("n1", "0/300", 1), ("n2", "0/200", 1), ("n3", "0/100", 1)]);
    let options = Options { og_accept_loss: true, ..Options::default() };
    let choice = choose(&good(over(&hosts, "n3")), &given, &BTreeMap::new(), &options).unwrap();
    assert!(choice.loses && !choice.loss.contains("no acknowledged commit"), "{choice:?}");
}

/// The ends of the logs with the last record of each, and what stands in each log where these begin; the logs begin at 0/3000000.
fn logs(
    given: &[(&str, &str, u32)],
    records: &[(&str, &[(&str, &str, u32)])],
) -> (BTreeMap<String, LogPosition>, BTreeMap<String, LogRecords>) {
    let record =
        |(_, end, crc): &(&str, &str, u32)| json!({"begin": format!("{end}A"), "end": end, "crc": crc});
    let end = |it: &(&str, &str, u32)| {
        let told = json!({"lsn": it.1, "term": 1, "is_end": true, "last_record": record(it)});
        (it.0.to_owned(), serde_json::from_value(told).unwrap())
    };
    let log = |(name, own): &(&str, &[(&str, &str, u32)])| {
        let own: serde_json::Map<_, _> = own
            .iter()
            .map(|it| (format!("{}A", it.0), if it.2 == 0 { Value::Null } else { record(it) }))
            .collect();
        let told = json!({"log_records": own, "log_begin": "0/3"});
        ((*name).to_owned(), serde_json::from_value(told).unwrap())
    };
    (given.iter().map(end).collect(), records.iter().map(log).collect())
}

#[test]
fn logs_that_differ_are_told_apart_by_their_records() {
    // Ends 0/40 and 0/50, whose records begin at 0/40A and 0/50A: the places do not matter here, but that both are known.
    let og = good(over(&headless(2), ""));
    let choose = |ends: &[(&str, &str, u32)], records: &[(&str, &[(&str, &str, u32)])]| {
        let (ends, logs) = logs(ends, records);
        crate::plan::choose(&og, &ends, &logs, &Options::default())
    };
    // n3 holds less of the same log, and nothing of n1 is lost though more of its log, torn, was counted.
    let ends = [("n1", "0/50", 5), ("n2", "0/50", 5), ("n3", "0/40", 4)];
    let all: &[(&str, &str, u32)] = &[("0/50", "0/50", 5), ("0/40", "0/40", 4)];
    let choice = choose(&ends, &[("n1", all), ("n2", all), ("n3", &all[1..])]).unwrap();
    assert_eq!((&*choice.to, &*choice.loss, choice.loses), ("n2", "nothing of n1 is lost", false));
    let fork = choice.fork.unwrap();
    assert_eq!(
        (&*fork.new_primary, fork.record.end, fork.old_primaries),
        ("n2", Lsn::new(0x50), words("n1"))
    );
    // n2's log is one of its own: n1 has another record there. So n3 takes over, and what it lacks is told.
    let others: &[(&str, &str, u32)] = &[("0/50", "0/50", 7), ("0/40", "0/40", 4)];
    let parted = [("n1", "0/50", 7), ends[1], ends[2]];
    let found = choose(&parted, &[("n1", others), ("n2", &all[..1]), ("n3", &all[1..])]).unwrap_err();
    assert!(found[0].starts_with("n1 holds 16 B that n3 lacks"), "{found:?}");
    // What stands behind the end of n2's log is none of it, though it looks like the record of n1.
    let found =
        choose(&[ends[0], ("n2", "0/40", 4), ends[2]], &[("n1", all), ("n2", all), ("n3", &all[1..])]);
    let found = found.unwrap_err();
    assert!(found[0].starts_with("n1 holds 16 B that n2 lacks"), "{found:?}");
    // Two standbys whose logs differ, and nobody else to ask.
    let og = good(with(&cut_off(2), "", &dead("n1")));
    let (ends, logs) =
        logs(&ends[1..], &[("n2", &[("0/50", "0/50", 5), ("0/40", "0/40", 8)]), ("n3", &all[1..])]);
    let found = crate::plan::choose(&og, &ends, &logs, &Options::default()).unwrap_err();
    assert!(found[0].starts_with("the logs of n3 and n2 differ, by LSN and checksum"), "{found:?}");
}
