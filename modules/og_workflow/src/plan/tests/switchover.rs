//! Who may become primary in exchange with the living one.

use serde_json::{Value, json};

use super::{Given, cluster, good, host, lock, nodes, only, parameter, seen, with, words};
use crate::args::{LongTransactions, Options};
use crate::plan::{MOST_AVAILABLE, Outlook, SYNC_NAMES, Switchover, switchover};

/// A cluster whose primary sends to all its standbys.
pub(crate) fn streaming(standbys: i64) -> Vec<Given> {
    let mut hosts = cluster(standbys);
    let sender = |n: i64| json!({"peer": {"host": format!("10.0.0.{n}")}, "peer_role": "standby", "lag_bytes": 0, "sync_state": "sync"});
    hosts[0].2["og_node_state"]["node"]["senders"] = (2..=standbys + 1).map(sender).collect();
    hosts
}

fn to(hosts: &[Given], target: &str) -> Outlook<Switchover> {
    switchover(&nodes(hosts), &words(target), &Options::default())
}

fn node(hosts: &mut [Given], number: usize) -> &mut Value {
    &mut hosts[number - 1].2["og_node_state"]["node"]
}

#[test]
fn a_standby_takes_the_place_of_the_primary() {
    let mut hosts = streaming(2);
    parameter(&mut hosts, SYNC_NAMES, Some("ANY 1(dn_6002,dn_6003)"));
    hosts[1].2["og_guc"]["after"][SYNC_NAMES] = json!("ANY 1(dn_6003,dn_6001)");
    let plan = good(to(&hosts, "n2"));
    let it = &plan.hand_over;
    assert_eq!((&*it.from, &*it.to, &it.followers), ("n1", "n2", &words("n1,n3")));
    // Its own value is written another way, and is replaced by what the primary's policy is.
    assert_eq!(it.sync_names.as_deref(), Some("ANY 1(dn_6001,dn_6003)"));
    let roles = json!(it.files.roles);
    assert_eq!(roles, json!({"n1": "standby", "n2": "primary", "n3": "standby"}), "recorded in any case");
    hosts[1].2["og_guc"]["after"][SYNC_NAMES] = json!("ANY 1(dn_6001,dn_6003)");
    assert_eq!(good(to(&hosts, "n2")).hand_over.sync_names, None);
    // Once it is primary nothing is left but what follows.
    let again = good(to(&hosts, "n1")).hand_over;
    assert!(again.is_done() && again.followers == words("n2,n3"));
}

#[test]
fn who_cannot_take_over_is_told_with_the_reason() {
    let mut hosts = streaming(2);
    assert!(only(to(&hosts, "n9")).starts_with("og_switchover: n9 is no host"));
    let many = to(&hosts, "n2,n3").findings;
    assert_eq!(
        many,
        ["og_switchover: n2,n3 are named, and one node becomes primary".replace("n2,n3", "n2, n3")]
    );
    assert!(switchover(&nodes(&hosts), &[], &Options::default()).findings[0].contains("is not given"));
    node(&mut hosts, 1)["senders"][0]["lag_bytes"] = json!(1 << 30);
    assert!(only(to(&hosts, "n2")).contains("1.0 GiB behind"));
    let mut hosts = streaming(2);
    node(&mut hosts, 2)["db_state"] = json!("need_repair");
    node(&mut hosts, 2)["receiver"] = Value::Null;
    assert!(only(to(&hosts, "n2")).starts_with("n2 does not stream from n1"));
    let mut hosts =
        with(streaming(2), vec![host(4, "cascade_standby", seen(4, "cascade_standby", true, &[1, 2, 3]))]);
    node(&mut hosts, 4)["receiver"]["peer"]["host"] = json!("10.0.0.2");
    assert!(only(to(&hosts, "n4")).contains("is a cascade standby and follows 10.0.0.2"));
    good(to(&hosts, "n2"));
}

#[test]
fn members_that_are_missing_are_done_without_by_name_alone() {
    let mut hosts = streaming(3);
    node(&mut hosts, 4)["running"] = json!(false);
    node(&mut hosts, 4)["receiver"] = Value::Null;
    node(&mut hosts, 1)["senders"].as_array_mut().unwrap().pop();
    assert!(only(to(&hosts, "n2")).starts_with("n4: its server is stopped; start it"));
    let without = |names: &str| {
        let options = Options { og_without: names.to_owned(), ..Options::default() };
        switchover(&nodes(&hosts), &words("n2"), &options)
    };
    let outlook = without("n4");
    assert!(outlook.warnings.iter().any(|text| text.starts_with("n4: does not take part")));
    let plan = good(outlook);
    assert_eq!(plan.hand_over.followers, words("n1,n3"));
    assert!(plan.hand_over.files.roles.contains_key("n4"), "it stays a member");
    assert!(without("n5").findings[0].starts_with("og_without: n5 is no host"));
    // A member that takes part is not left out by its name.
    assert!(only(without("n3")).starts_with("n4: its server is stopped"));
}

#[test]
fn commits_must_be_confirmed_with_the_new_roles() {
    let mut hosts = streaming(2);
    node(&mut hosts, 3)["db_state"] = json!("need_repair");
    node(&mut hosts, 3)["receiver"] = Value::Null;
    parameter(&mut hosts, SYNC_NAMES, Some("ANY 2(dn_6002,dn_6003)"));
    assert!(only(to(&hosts, "n2")).contains("with it as primary synchronous commits would wait"));
    parameter(&mut hosts, MOST_AVAILABLE, Some("on"));
    good(to(&hosts, "n2"));
    parameter(&mut hosts, MOST_AVAILABLE, None);
    for value in ["ANY 1(dn_6002,dn_6003)", "*", ""] {
        parameter(&mut hosts, SYNC_NAMES, Some(value));
        good(to(&hosts, "n2"));
    }
}

#[test]
fn long_transactions_are_refused_unless_said_otherwise() {
    let mut hosts = streaming(2);
    let own = json!({"transactions": [{"pid": 77, "user": "alice", "database": "shop", "age_s": 40}]});
    hosts[0].2["og_session"] = own;
    assert!(only(to(&hosts, "n2")).contains("of alice in shop (pid 77) for 40 s"));
    for (what, clears) in [(LongTransactions::Wait, true), (LongTransactions::Cancel, true)] {
        let options = Options { og_long_transactions: what, ..Options::default() };
        assert_eq!(good(switchover(&nodes(&hosts), &words("n2"), &options)).clear_transactions, clears);
    }
}

#[test]
fn what_a_killed_run_left_is_put_back_first() {
    let mut hosts = streaming(2);
    lock(&mut hosts, "drop n4", json!({MOST_AVAILABLE: null}));
    let plan = good(to(&hosts, "n2"));
    assert_eq!(json!(plan.restore_now)["state"], "absent");
    assert!(plan.shared.purpose.restore.contains_key(MOST_AVAILABLE));
}

#[test]
fn a_switchover_is_put_on_record_while_a_repair_may_ask_for_it() {
    let mut hosts = streaming(3);
    assert!(!good(to(&hosts, "n2")).hand_over.is_recorded);
    let record = json!({"begin": "0/10", "end": "0/20", "crc": 1});
    let fork =
        json!({"new_primary": "n1", "old_primaries": ["n4"], "term": null, "at": "T", "record": record});
    for host in &mut hosts[..3] {
        host.2["og_node_state"]["forks"] = json!([fork]);
    }
    assert!(good(to(&hosts, "n2")).hand_over.is_recorded);
    // One more would push an older one out.
    let full = vec![fork.clone(); og_common::gauss::fork::MAX_FORKS - 1];
    hosts[1].2["og_node_state"]["forks"] = json!(full);
    assert!(!good(to(&hosts, "n2")).hand_over.is_recorded);
    hosts[1].2["og_node_state"]["forks"] = json!([fork]);
    // It follows, and has it itself.
    hosts[3].2["og_node_state"]["forks"] = json!([fork]);
    assert!(!good(to(&hosts, "n2")).hand_over.is_recorded);
}
