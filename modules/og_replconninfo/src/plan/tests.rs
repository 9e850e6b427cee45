#![allow(clippy::unwrap_used)]

use og_common::protocol::ErrorKind;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn wanted(args: Value) -> Wanted {
    Wanted::of(&serde_json::from_value(args).unwrap()).unwrap()
}

fn peer(n: u32) -> Value {
    json!({"host": format!("10.0.0.{n}"), "base_port": 26000})
}

fn local() -> Value {
    json!({"host": "127.0.0.1", "base_port": 26000})
}

fn value(n: u32) -> String {
    format!(
        "localhost=127.0.0.1 localport=26001 localheartbeatport=26005 localservice=26004 \
         remotehost=10.0.0.{n} remoteport=26001 remoteheartbeatport=26005 remoteservice=26004"
    )
}

fn file(values: &[&str]) -> ConfFile {
    let lines: Vec<_> =
        values.iter().enumerate().map(|(i, value)| format!("replconninfo{} = '{value}'\n", i + 1)).collect();
    ConfFile::parse(lines.concat().as_bytes())
}

fn text(plan: &Plan) -> String {
    String::from_utf8(plan.file.to_bytes()).unwrap()
}

fn remotes(plan: &Plan) -> Vec<(usize, String)> {
    plan.channels.iter().map(|c| (c.number, c.channel.remote.host.to_string())).collect()
}

#[test]
fn exact_writes_the_usual_form_once() {
    let want = wanted(
        json!({"local": local(), "peers": [peer(2), {"host": "10.0.0.3", "base_port": 26000, "cascade": true}]}),
    );
    let plan = super::plan(&ConfFile::default(), &want).unwrap();
    assert_eq!(
        text(&plan),
        format!("replconninfo1 = '{}'\nreplconninfo2 = '{} iscascade=true'\n", value(2), value(3))
    );
    assert_eq!((&plan.added[..], plan.removed.len(), plan.updated.len()), (&[1, 2][..], 0, 0));
    let again = super::plan(&plan.file, &want).unwrap();
    assert_eq!(again.changed, Vec::<String>::new());
    assert_eq!(again.channels, plan.channels);
}

#[test]
fn exact_orders_closes_holes_and_repairs() {
    let file = file(&[&value(4), "hello", "", &format!("{} x=y", value(2))]);
    let plan = super::plan(&file, &wanted(json!({"local": local(), "peers": [peer(2), peer(3)]}))).unwrap();
    assert_eq!(
        text(&plan),
        format!(
            "replconninfo1 = '{} x=y'\nreplconninfo2 = '{}'\nreplconninfo3 = ''\n#replconninfo4 = '{} x=y'\n",
            value(2),
            value(3),
            value(2)
        )
    );
    assert_eq!((plan.added, plan.removed, plan.updated), (vec![], vec![4], vec![1, 2]));
    let plan = super::plan(&file, &wanted(json!({"peers": []}))).unwrap();
    assert_eq!((plan.channels, plan.removed), (vec![], vec![1, 2, 4]));
}

#[test]
fn the_same_values_are_not_rewritten() {
    let odd = "remoteport = 26001  remotehost=::ffff:10.0.0.2 localport=26001 foo=1 localhost=127.0.0.1 ";
    let want = json!({"local": {"host": "127.0.0.1", "port": 26001}, "peers": [{"host": "10.0.0.2", "port": 26001}]});
    assert_eq!(super::plan(&file(&[odd]), &wanted(want)).unwrap().changed, Vec::<String>::new());
    let want = wanted(json!({"local": local(), "peers": [peer(2)]}));
    assert_eq!(
        text(&super::plan(&file(&[odd]), &want).unwrap()),
        format!("replconninfo1 = '{} foo=1'\n", value(2))
    );
}

#[test]
fn present_keeps_numbers_and_takes_the_first_free_one() {
    let want = wanted(json!({"state": "present", "local": local(), "peers": [peer(5), peer(3), peer(6)]}));
    let file = file(&[&value(2), "", &value(3)]);
    let plan = super::plan(&file, &want).unwrap();
    let at = |n: usize, host: &str| (n, host.to_owned());
    assert_eq!(remotes(&plan), [at(1, "10.0.0.2"), at(2, "10.0.0.5"), at(3, "10.0.0.3"), at(4, "10.0.0.6")]);
    assert_eq!((plan.added, plan.updated), (vec![2, 4], vec![]));
}

#[test]
fn present_leaves_what_is_not_given() {
    let file = file(&[&format!("{} iscascade=true", value(2))]);
    let host = json!({"state": "present", "local": {"host": "127.0.0.1", "port": 26001}, "peers": [{"host": "10.0.0.2", "port": 26001}]});
    assert!(super::plan(&file, &wanted(host)).unwrap().changed.is_empty());
    let host = json!({"local": {"host": "127.0.0.1", "port": 26001}, "peers": [{"host": "10.0.0.2", "port": 26001}]});
    assert!(!super::plan(&file, &wanted(host)).unwrap().channels[0].channel.cascade);
}

#[test]
fn absent_moves_later_ones_up_and_takes_no_one_who_looks_alike() {
    let file = file(&[&value(1), &value(12), &value(2), &value(3)]);
    let want = wanted(json!({"state": "absent", "peers": [{"host": "10.0.0.1"}]}));
    let plan = super::plan(&file, &want).unwrap();
    let at = |n: usize, host: &str| (n, host.to_owned());
    assert_eq!(remotes(&plan), [at(1, "10.0.0.12"), at(2, "10.0.0.2"), at(3, "10.0.0.3")]);
    assert_eq!((&plan.removed[..], &plan.updated[..]), (&[4][..], &[1, 2, 3][..]));
    assert!(super::plan(&plan.file, &want).unwrap().changed.is_empty());
    // Another port is another node.
    let other = json!({"state": "absent", "peers": [{"host": "10.0.0.1", "port": 26101}]});
    assert!(super::plan(&file, &wanted(other)).unwrap().changed.is_empty());
}

#[test]
fn more_than_a_server_has_is_refused() {
    let peers: Vec<_> = (2..11).map(peer).collect();
    let args = json!({"local": local(), "peers": peers});
    assert_eq!(Wanted::of(&serde_json::from_value(args).unwrap()).unwrap_err().kind(), ErrorKind::Refused);
    let values: Vec<_> = (2..10).map(value).collect();
    let full = file(&values.iter().map(String::as_str).collect::<Vec<_>>());
    let one = wanted(json!({"state": "present", "local": local(), "peers": [peer(10)]}));
    assert_eq!(super::plan(&full, &one).unwrap_err().kind(), ErrorKind::Refused);
}

#[test]
fn a_value_that_is_no_channel_is_not_touched_in_passing() {
    for state in ["present", "absent"] {
        let want = wanted(json!({"state": state, "local": local(), "peers": [peer(2)]}));
        let error = super::plan(&file(&["hello"]), &want).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.failure().detail.contains("line 1"), "{error}");
    }
}

#[test]
fn arguments_that_contradict_themselves() {
    for (args, at) in [
        (json!({"local": local(), "peers": [peer(2), peer(2)]}), "/peers/1"),
        (json!({"local": local(), "peers": [{"host": "::ffff:127.0.0.1", "port": 26001}]}), "/peers/0"),
        (json!({"local": local(), "peers": [{"host": "10.0.0.2"}]}), "/peers/0"),
        (json!({"local": {"host": "127.0.0.1"}, "peers": []}), "/local"),
        (json!({"peers": [peer(2)]}), "/local"),
        (json!({"local": local(), "peers": [{"host": "a b", "port": 1}]}), "/peers/0/host"),
        (json!({"local": local(), "peers": [{"host": "", "port": 1}]}), "/peers/0/host"),
        (json!({"local": local(), "peers": [{"host": "a", "port": 1, "base_port": 1}]}), "/peers/0/port"),
    ] {
        let error = Wanted::of(&serde_json::from_value(args.clone()).unwrap()).unwrap_err();
        assert_eq!((error.kind(), error.failure().path.as_deref()), (ErrorKind::BadArgs, Some(at)), "{args}");
    }
}

#[test]
fn ipv6_hosts() {
    let args = json!({"local": {"host": "::1", "base_port": 26000}, "peers": [{"host": "fe80::2", "base_port": 26000}]});
    let plan = super::plan(&ConfFile::default(), &wanted(args)).unwrap();
    assert!(
        text(&plan).contains("localhost=::1 localport=26001") && text(&plan).contains("remotehost=fe80::2 ")
    );
    assert_eq!(plan.actions, ["add replconninfo1 to [fe80::2]:26001"]);
}

fn values() -> impl Strategy<Value = Vec<String>> {
    let one = prop_oneof![
        4 => (2_u32..12).prop_map(value),
        2 => (2_u32..12).prop_map(|n| format!("remoteport=26001 remotehost=10.0.0.{n} x=y localport=1 localhost=127.0.0.9")),
        1 => Just(String::new()),
    ];
    proptest::collection::vec(one, 0..8)
}

proptest! {
    #[test]
    fn the_second_call_finds_nothing_to_do(values in values(), peers in proptest::sample::subsequence((2..12).collect::<Vec<u32>>(), 0..7), state in "exact|present|absent") {
        let values: Vec<_> = values.iter().map(String::as_str).collect();
        let peers: Vec<_> = peers.into_iter().map(peer).collect();
        let want = wanted(json!({"state": state, "local": local(), "peers": peers}));
        let Ok(plan) = super::plan(&file(&values), &want) else { return Ok(()) };
        let again = super::plan(&plan.file, &want).unwrap();
        prop_assert_eq!(&again.changed, &Vec::<String>::new());
        prop_assert_eq!(&again.channels, &plan.channels);
        // What is said is what the file says.
        prop_assert_eq!(&numbered(&slots(&ConfFile::parse(&plan.file.to_bytes()))), &plan.channels);
        if state == "exact" {
            prop_assert_eq!(plan.channels.iter().map(|c| c.number).collect::<Vec<_>>(), (1..=peers.len()).collect::<Vec<_>>());
        }
    }
}
