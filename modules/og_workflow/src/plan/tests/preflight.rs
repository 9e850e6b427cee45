//! What the preflight checks mean for each workflow.

use std::collections::BTreeSet;

use og_preflight::checks::{self, Severity};
use serde_json::{Value, json};

use super::deploy::bare;
use super::switchover::streaming;
use super::{Given, checked, fresh, nodes, with, words};
use crate::args::Options;
use crate::plan::preflight::{On, PARAMETER_CHECKS, purpose, wanted};
use crate::plan::{Outlook, PREFLIGHT, add_preflight};
use crate::steps::{WORKFLOWS, Workflow};

/// Errors that no workflow is refused for: each finds, or does, more of it itself.
const FOUND_BY_WORKFLOWS: &[&str] = &[
    "channels.from_peers",
    "channels.source",
    "cluster.directory",
    "cluster.one_primary",
    "cluster.system",
    "hba.own_address",
    "hba.syntax",
    "leftovers.data_dir",
    "managed.by",
    "names.node_name",
    "names.unique",
    "run.build",
    "run.lock",
    "server.lag",
    "server.role",
    "server.state",
    "settings.limits",
    "sync.after",
    "zones.cascade",
    // Of what is built anew, or streams, it cannot differ.
    "same.catalog",
    "same.encoding",
];

/// A cluster of n1 (primary) and n2, and n3, which may be added; og_preflight answers.
fn given() -> Vec<Given> {
    let mut hosts = with(streaming(1), vec![fresh(3, "standby")]);
    for host in &mut hosts {
        let answer = checked(host);
        host.2[PREFLIGHT] = answer;
    }
    hosts
}

/// The facts of a node, by its number.
fn facts(hosts: &mut [Given], number: usize) -> &mut Value {
    &mut hosts[number - 1].2[PREFLIGHT]["facts"]
}

fn found(
    hosts: &[Given],
    workflow: Workflow,
    targets: &str,
    options: &Options,
) -> (Vec<String>, Vec<String>) {
    found_in(hosts, workflow, targets, options, false)
}

fn found_in(
    hosts: &[Given],
    workflow: Workflow,
    targets: &str,
    options: &Options,
    is_check: bool,
) -> (Vec<String>, Vec<String>) {
    let mut outlook: Outlook<()> =
        Outlook { findings: Vec::new(), warnings: Vec::new(), lock: None, plan: Some(()) };
    let targets: Vec<String> = words(targets).into_iter().filter(|name| !name.is_empty()).collect();
    add_preflight(&mut outlook, &nodes(hosts), workflow, &targets, options, is_check);
    assert_eq!(outlook.plan.is_some(), outlook.findings.is_empty());
    (outlook.findings, outlook.warnings)
}

fn plain(hosts: &[Given], workflow: Workflow, targets: &str) -> (Vec<String>, Vec<String>) {
    found(hosts, workflow, targets, &Options::default())
}

fn accepting(ids: &str) -> Options {
    Options { og_accept: ids.to_owned(), ..Options::default() }
}

const NONE: Vec<String> = Vec::new();

#[test]
fn each_workflow_that_changes_something_has_its_checks() {
    for entry in WORKFLOWS.iter().filter(|entry| entry.changes) {
        assert!(purpose(entry.workflow).is_some(), "{}", entry.name);
    }
    let mut refuses = BTreeSet::new();
    let policies = || WORKFLOWS.iter().filter_map(|entry| Some((entry, entry.preflight.as_ref()?)));
    for (entry, policy) in policies() {
        let mut told = BTreeSet::new();
        for rule in policy.rules {
            let on: &[On] = if rule.on == On::All { &[On::Targets, On::Others] } else { &[rule.on] };
            for (id, on) in rule.checks.iter().flat_map(|id| on.iter().map(move |on| (id, on))) {
                let check = checks::find(id).unwrap_or_else(|| panic!("there is no check {id}"));
                assert!(told.insert((id, format!("{on:?}"))), "{} has {id} twice", entry.name);
                assert!(!rule.refuses || check.severity == Severity::Error, "{id} never weighs as much");
                let matters = check.purposes.is_empty() || check.purposes.contains(&policy.purpose);
                assert!(matters, "{id} is never made for {}", entry.name);
                refuses.extend(rule.refuses.then_some(*id));
            }
        }
        let rescues = matches!(entry.workflow, Workflow::Repair | Workflow::Failover);
        assert!(!rescues || policy.rules.iter().all(|rule| !rule.refuses), "a rescue is refused");
    }
    refuses.extend(PARAMETER_CHECKS.iter().flat_map(|(_, ids)| ids.iter().copied()));
    // Each error is either taken as one by a workflow, only told, or the workflows' own business.
    let told = policies().flat_map(|(_, policy)| policy.rules).flat_map(|rule| rule.checks).copied();
    let decided: BTreeSet<&str> = told.chain(refuses).chain(FOUND_BY_WORKFLOWS.iter().copied()).collect();
    let errors = checks::all().filter(|check| check.severity == Severity::Error).map(|check| check.id);
    assert_eq!(errors.filter(|id| !decided.contains(id)).collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn a_node_whose_checks_were_lost_is_not_taken_for_lost() {
    let mut hosts = given();
    hosts[0].2[PREFLIGHT] =
        json!({"failed": true, "error": {"kind": "unreachable", "detail": "the connection was lost"}});
    let seen = nodes(&hosts);
    assert!(seen[0].is_reachable() && seen[0].state().running);
    let (refusals, warnings) = plain(&hosts, Workflow::Failover, "");
    assert_eq!((refusals, warnings.len()), (NONE, 1));
}

#[test]
fn what_og_host_is_to_set_is_no_reason_to_refuse_before_it_ran_and_afterwards_only_its_limits_wait() {
    let mut hosts = vec![bare(1, "primary"), bare(2, "standby")];
    facts(&mut hosts, 1)["kernel"]["semaphores"] = json!([1, 1, 1, 1]);
    facts(&mut hosts, 2)["limits"]["open_files"] = json!({"soft": 1024, "hard": 1024, "known": true});
    // Only under CM it is an error.
    facts(&mut hosts, 2)["managed_by"]["by"] = json!("cm");
    let with_host = Options { og_host: true, ..Options::default() };
    let refused = |options: &Options, is_check| {
        let (refusals, warnings) = found_in(&hosts, Workflow::Deploy, "", options, is_check);
        let has = |all: &[String], words: &str| all.iter().any(|text| text.contains(words));
        let of = |words: &str| {
            let is_refused = has(&refusals, words);
            assert_ne!(is_refused, has(&warnings, words), "{refusals:?} {warnings:?}");
            is_refused
        };
        (of("kernel.sem"), of("may open 1024 files"))
    };
    assert_eq!(refused(&Options::default(), true), (true, true));
    assert_eq!(refused(&with_host, true), (false, false), "it would set both");
    assert_eq!(refused(&with_host, false), (true, false), "it ran, and could not set the semaphores");
    // What only deploy has prepared is no excuse of another workflow.
    let mut hosts = given();
    facts(&mut hosts, 3)["kernel"]["semaphores"] = json!([1, 1, 1, 1]);
    let plain = found_in(&hosts, Workflow::Expand, "n3", &Options::default(), true);
    assert_eq!(found_in(&hosts, Workflow::Expand, "n3", &with_host, true), plain);
    assert!(plain.0.iter().any(|text| text.contains("kernel.sem")), "{plain:?}");
}

#[test]
fn what_would_cost_data_is_never_accepted() {
    let (refusals, _) = found(&given(), Workflow::Switchover, "n2", &accepting("names.tablespaces"));
    assert_eq!(refusals.len(), 1);
    assert!(refusals[0].contains("names.tablespaces cannot be accepted"), "{}", refusals[0]);
}

#[test]
fn a_switchover_is_not_refused_for_a_node_that_it_is_done_without() {
    let mut hosts = streaming(2);
    for host in &mut hosts {
        let answer = checked(host);
        host.2[PREFLIGHT] = answer;
    }
    hosts[2].2[PREFLIGHT] =
        json!({"changed": false, "failed": true, "error": {"kind": "timeout", "detail": "its disk hangs"}});
    assert_eq!(plain(&hosts, Workflow::Switchover, "n2").0.len(), 1);
    let without = Options { og_without: "n3".to_owned(), ..Options::default() };
    assert_eq!(found(&hosts, Workflow::Switchover, "n2", &without).0.len(), 1, "n3 takes part");
    hosts[2].2["og_node_state"]["node"]["running"] = json!(false);
    assert_eq!(found(&hosts, Workflow::Switchover, "n2", &without), (NONE, NONE));
}

#[test]
fn an_archive_that_fails_keeps_nobody_on_its_host() {
    let mut hosts = given();
    for number in [1, 2] {
        facts(&mut hosts, number)["activity"]["unarchived"] = json!(200);
    }
    let (refusals, warnings) = plain(&hosts, Workflow::Switchover, "n2");
    assert_eq!((refusals, warnings.len()), (NONE, 1));
    assert!(warnings[0].starts_with("n1: 200 segments of WAL wait for the archive"), "{}", warnings[0]);
}

#[test]
fn where_all_is_well_nothing_is_said() {
    let hosts = given();
    for (workflow, targets) in [
        (Workflow::Expand, "n3"),
        (Workflow::Drop, "n2"),
        (Workflow::Switchover, "n2"),
        (Workflow::Restart, "n1,n2"),
        (Workflow::Configure, ""),
        (Workflow::Repair, ""),
        (Workflow::Failover, ""),
    ] {
        assert_eq!(plain(&hosts, workflow, targets), (NONE, NONE), "{workflow:?}");
    }
}

#[test]
fn an_error_refuses_with_what_to_do_unless_it_is_accepted() {
    let mut hosts = given();
    facts(&mut hosts, 3)["system"]["architecture"] = json!("aarch64");
    let (refusals, _) = plain(&hosts, Workflow::Expand, "n3");
    assert_eq!(
        refusals,
        [
            "n3: the architecture is aarch64, and x86_64 on dn_6001 [same.architecture]; use machines of one architecture \
          (og_accept=same.architecture goes on in spite of it)"
        ]
    );
    let (refusals, warnings) =
        found(&hosts, Workflow::Expand, "n3", &accepting("same.user, same.architecture"));
    assert_eq!((refusals.len(), warnings.len()), (0, 1));
    assert!(warnings[0].starts_with("accepted (og_accept=same.architecture): n3: the architecture"));
    // Another node's host is not what these are about.
    assert_eq!(plain(&hosts, Workflow::Drop, "n2"), (NONE, NONE));
    let (refusals, _) = found(&hosts, Workflow::Switchover, "n2", &accepting("same.usr"));
    assert!(refusals[0].starts_with("og_accept: there is no check same.usr (did you mean same.user?)"));
}

#[test]
fn a_switchover_is_not_refused_for_a_clock_or_the_mode_of_a_key() {
    let mut hosts = given();
    let own = facts(&mut hosts, 2);
    let later = own["clock"]["read_at"].as_u64().unwrap() + 61_000;
    (own["clock"]["read_at"], own["clock"]["answered_at"]) = (json!(later), json!(later));
    own["security"]["keys"][0]["mode"] = json!(0o644);
    let (refusals, warnings) = plain(&hosts, Workflow::Switchover, "n2");
    assert_eq!((refusals, warnings.len()), (NONE, 2), "{warnings:?}");
    // The server that is restarted would not start with that key; a clock is none of a restart's business.
    let (refusals, warnings) = plain(&hosts, Workflow::Restart, "n2");
    assert_eq!((refusals.len(), warnings.len()), (1, 0), "{refusals:?}");
    // It is told for one node, and for the others not at all.
    facts(&mut hosts, 2)["disks"][0]["writable"] = json!(false);
    facts(&mut hosts, 1)["disks"][0]["writable"] = json!(false);
    let (refusals, _) = plain(&hosts, Workflow::Switchover, "n2");
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert!(
        refusals[0]
            .starts_with("n1, n2: /data/dn1: the database's user may not write into it [disk.writable]; ")
    );
}

#[test]
fn a_rescue_is_never_refused() {
    let mut hosts = given();
    for number in 1..=3 {
        let own = facts(&mut hosts, number);
        own["disks"][0]["writable"] = json!(false);
        own["conf"]["errors"] = json!(["line 3: x"]);
    }
    hosts[1].2["og_node_state"]["node"]["db_state"] = json!("need_repair");
    for workflow in [Workflow::Repair, Workflow::Failover] {
        let (refusals, warnings) = plain(&hosts, workflow, "");
        assert_eq!((refusals, warnings.len()), (NONE, 2), "{warnings:?}");
    }
}

#[test]
fn checks_that_could_not_be_made_are_not_passed() {
    let mut hosts = given();
    // A check of many.
    facts(&mut hosts, 3)["system"]["architecture"] = Value::Null;
    let (refusals, warnings) = plain(&hosts, Workflow::Expand, "n3");
    assert_eq!(refusals, NONE);
    assert_eq!(warnings, ["n3: could not be checked: same.architecture; og preflight expand tells why"]);
    // All checks of a node.
    let fails = |hosts: &mut [Given], number: usize| {
        hosts[number - 1].2[PREFLIGHT] = json!({"failed": true, "msg": "m", "error": {"kind": "timeout", "detail": "not finished", "hint": "wait"}});
    };
    fails(&mut hosts, 2);
    let why = "n2: its preflight checks could not be made: not finished; wait";
    for (workflow, targets) in [
        (Workflow::Expand, "n3"),
        (Workflow::Switchover, "n2"),
        (Workflow::Restart, "n2"),
        (Workflow::Configure, ""),
    ] {
        let (refusals, _) = plain(&hosts, workflow, targets);
        assert_eq!(refusals, [format!("{why} (og_accept=preflight goes on in spite of it)")], "{workflow:?}");
        let (refusals, warnings) = found(&hosts, workflow, targets, &accepting("preflight"));
        assert!(refusals.is_empty() && warnings[0].ends_with(why), "{warnings:?}");
    }
    // What is dropped needs no checks, and a rescue none at all.
    hosts[1].2["og_node_state"]["node"]["db_state"] = json!("need_repair");
    for (workflow, targets) in [(Workflow::Drop, "n2"), (Workflow::Repair, ""), (Workflow::Failover, "")] {
        let (refusals, warnings) = plain(&hosts, workflow, targets);
        assert_eq!((refusals, warnings), (NONE, vec![why.to_owned()]), "{workflow:?}");
    }
    // Of what is cleared nothing is checked.
    assert_eq!(plain(&hosts, Workflow::Clear, "n2"), (NONE, NONE));
    fails(&mut hosts, 1);
    for workflow in [Workflow::Drop, Workflow::Clear] {
        assert_eq!(plain(&hosts, workflow, "n2").0.len(), 1, "{workflow:?}");
    }
}

#[test]
fn parameters_are_checked_as_if_they_were_set() {
    let hosts = given();
    let setting = |parameters: Value| {
        let Value::Object(og_parameters) = parameters else { unreachable!() };
        found(&hosts, Workflow::Configure, "", &Options { og_parameters, ..Options::default() }).0
    };
    let refusals = setting(json!({"Max_Process_Memory": "64GB"}));
    assert!(
        refusals[0].starts_with("n1, n2: max_process_memory is 64.0 GiB, and the machine has"),
        "{refusals:?}"
    );
    assert!(setting(json!({"max_connections": 100_000_000}))[0].contains("semaphores"));
    assert_eq!(setting(json!({"work_mem": "64GB"})), NONE);
    // What was wrong before is not of these parameters.
    let mut poor = given();
    facts(&mut poor, 2)["memory"]["total"] = json!(1 << 30);
    let parameters = json!({"work_mem": "64MB"}).as_object().cloned().unwrap_or_default();
    let options = Options { og_parameters: parameters, ..Options::default() };
    assert_eq!(found(&poor, Workflow::Configure, "", &options), (NONE, NONE));
}

#[test]
fn ways_to_a_server_that_does_not_run_need_only_be_open() {
    let reached = |host: &str, problem: &str, refused: bool| json!([{"host": host, "port": 26001, "problem": problem, "refused": refused}]);
    let mut hosts = given();
    facts(&mut hosts, 1)["reached"] = reached("10.0.0.3", "connection refused", true);
    assert_eq!(plain(&hosts, Workflow::Expand, "n3"), (NONE, NONE));
    facts(&mut hosts, 1)["reached"] = reached("10.0.0.3", "no answer within 1.5 s", false);
    let (refusals, _) = plain(&hosts, Workflow::Expand, "n3");
    assert!(refusals[0].starts_with("n1: 10.0.0.3:26001 is not reached from here"), "{refusals:?}");
    // A switchover is not about a spare.
    assert_eq!(plain(&hosts, Workflow::Switchover, "n2"), (NONE, NONE));
    facts(&mut hosts, 1)["reached"] = reached("10.0.0.2", "connection refused", true);
    assert_eq!(plain(&hosts, Workflow::Switchover, "n2").0.len(), 1);
}

#[test]
fn only_an_expand_asks_for_ways_that_no_channel_has_yet() {
    let hosts: Vec<_> = given()
        .iter()
        .map(|(name, vars, _)| {
            crate::cluster::InventoryHost::new(name, vars.as_object().cloned().unwrap_or_default())
        })
        .collect();
    let ask = |workflow| wanted(&hosts[2], &hosts, &words("n3"), purpose(workflow).unwrap_or_default());
    let expand = ask(Workflow::Expand);
    let to: Vec<_> = expand.reach.iter().map(|to| format!("{}:{}", to.host, to.port)).collect();
    assert_eq!((expand.target, expand.port, to), (true, Some(26000), words("10.0.0.1:26001,10.0.0.2:26001")));
    assert!(ask(Workflow::Switchover).reach.is_empty());
}
