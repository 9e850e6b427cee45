#![allow(clippy::unwrap_used)]

use og_common::protocol::ErrorKind;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn wanted(args: Value) -> Wanted {
    Wanted::from_args(&serde_json::from_value(args).unwrap()).unwrap()
}

fn planned(file: &ConfFile, want: &Wanted) -> Result<Plan, Error> {
    super::plan(file, want, None)
}

fn planned_for_release(file: &ConfFile, want: &Wanted, release: &str) -> Result<Plan, Error> {
    super::plan(file, want, Version::parse(release).as_ref())
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
    let plan = planned(&ConfFile::default(), &want).unwrap();
    assert_eq!(
        text(&plan),
        format!("replconninfo1 = '{}'\nreplconninfo2 = '{} iscascade=true'\n", value(2), value(3))
    );
    assert_eq!((&plan.added[..], plan.removed.len(), plan.updated.len()), (&[1, 2][..], 0, 0));
    let again = planned(&plan.file, &want).unwrap();
    assert_eq!(again.changed, Vec::<String>::new());
    assert_eq!(again.channels, plan.channels);
}

#[test]
fn exact_orders_closes_holes_and_repairs() {
    let file = file(&[&value(4), "hello", "", &format!("{} x=y", value(2))]);
    let plan = planned(&file, &wanted(json!({"local": local(), "peers": [peer(2), peer(3)]}))).unwrap();
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
    let plan = planned(&file, &wanted(json!({"peers": []}))).unwrap();
    assert_eq!((plan.channels, plan.removed), (vec![], vec![1, 2, 4]));
}

#[test]
fn the_same_values_are_not_rewritten() {
    let odd = "remoteport = 26001  remotehost=::ffff:10.0.0.2 localport=26001 foo=1 localhost=127.0.0.1 ";
    let want = json!({"local": {"host": "127.0.0.1", "port": 26001}, "peers": [{"host": "10.0.0.2", "port": 26001}]});
    assert_eq!(planned(&file(&[odd]), &wanted(want)).unwrap().changed, Vec::<String>::new());
    let want = wanted(json!({"local": local(), "peers": [peer(2)]}));
    assert_eq!(
        text(&planned(&file(&[odd]), &want).unwrap()),
        format!("replconninfo1 = '{} foo=1'\n", value(2))
    );
}

#[test]
fn present_keeps_numbers_and_takes_the_first_free_one() {
    let want = wanted(json!({"state": "present", "local": local(), "peers": [peer(5), peer(3), peer(6)]}));
    let file = file(&[&value(2), "", &value(3)]);
    let plan = planned(&file, &want).unwrap();
    let at = |n: usize, host: &str| (n, host.to_owned());
    assert_eq!(remotes(&plan), [at(1, "10.0.0.2"), at(2, "10.0.0.5"), at(3, "10.0.0.3"), at(4, "10.0.0.6")]);
    assert_eq!((plan.added, plan.updated), (vec![2, 4], vec![]));
}

#[test]
fn present_leaves_what_is_not_given() {
    let file = file(&[&format!("{} iscascade=true", value(2))]);
    let host = json!({"state": "present", "local": {"host": "127.0.0.1", "port": 26001}, "peers": [{"host": "10.0.0.2", "port": 26001}]});
    assert!(planned(&file, &wanted(host)).unwrap().changed.is_empty());
    let host = json!({"local": {"host": "127.0.0.1", "port": 26001}, "peers": [{"host": "10.0.0.2", "port": 26001}]});
    assert!(!planned(&file, &wanted(host)).unwrap().channels[0].channel.cascade);
}

#[test]
fn absent_moves_later_ones_up_and_takes_no_one_who_looks_alike() {
    let file = file(&[&value(1), &value(12), &value(2), &value(3)]);
    let want = wanted(json!({"state": "absent", "peers": [{"host": "10.0.0.1"}]}));
    let plan = planned(&file, &want).unwrap();
    let at = |n: usize, host: &str| (n, host.to_owned());
    assert_eq!(remotes(&plan), [at(1, "10.0.0.12"), at(2, "10.0.0.2"), at(3, "10.0.0.3")]);
    assert_eq!((&plan.removed[..], &plan.updated[..]), (&[4][..], &[1, 2, 3][..]));
    assert!(planned(&plan.file, &want).unwrap().changed.is_empty());
    // Another port is another node.
    let other = json!({"state": "absent", "peers": [{"host": "10.0.0.1", "port": 26101}]});
    assert!(planned(&file, &wanted(other)).unwrap().changed.is_empty());
}

#[test]
fn where_only_changed_channels_are_cut_the_others_keep_their_numbers() {
    let file = file(&[&value(2), &value(3), &value(4), &value(5)]);
    let without = |n: u32| wanted(json!({"state": "absent", "peers": [peer(n)]}));
    let at = |n: usize, host: &str| (n, host.to_owned());
    let plan = planned_for_release(&file, &without(3), "6.0.2").unwrap();
    assert_eq!(remotes(&plan), [at(1, "10.0.0.2"), at(3, "10.0.0.4"), at(4, "10.0.0.5")]);
    assert_eq!((&plan.removed[..], &plan.updated[..]), (&[2][..], &[][..]));
    // Number 1 is filled, with the last one.
    let plan = planned_for_release(&file, &without(2), "6.0.2").unwrap();
    assert_eq!(remotes(&plan), [at(1, "10.0.0.5"), at(2, "10.0.0.3"), at(3, "10.0.0.4")]);
    assert_eq!((&plan.removed[..], &plan.updated[..]), (&[4][..], &[1][..]));
    let plan = planned_for_release(&file, &without(5), "6.0.2").unwrap();
    assert_eq!(remotes(&plan), [at(1, "10.0.0.2"), at(2, "10.0.0.3"), at(3, "10.0.0.4")]);
    // Where all are cut, later ones move up, as they do of a release that is not known.
    for release in ["5.1.0", "unknown"] {
        let plan = planned_for_release(&file, &without(3), release).unwrap();
        assert_eq!(remotes(&plan), [at(1, "10.0.0.2"), at(2, "10.0.0.4"), at(3, "10.0.0.5")]);
    }
    assert!(needs_release(&file, &without(3)) && !needs_release(&file, &without(5)));
}

#[test]
fn parameters_that_no_server_has_are_told_or_cleared() {
    let text = format!("replconninfo1 = '{}'\nReplConnInfo9 = ''\nreplconninfo0 = 'x'\n", value(2));
    let file = ConfFile::parse(text.as_bytes());
    let want = wanted(json!({"state": "present", "local": local(), "peers": [peer(2)]}));
    let plan = planned(&file, &want).unwrap();
    assert_eq!((plan.changed.len(), plan.warnings.len()), (0, 2), "{:?}", plan.warnings);
    assert!(plan.warnings[0].contains("line 2 sets replconninfo9, and a server has 8"));
    assert!(needs_release(&file, &want));
    assert_eq!(planned_for_release(&file, &want, "3.0.2").unwrap().warnings.len(), 1);
    let plan = planned(&file, &wanted(json!({"local": local(), "peers": [peer(2)]}))).unwrap();
    assert_eq!(plan.changed, ["replconninfo9", "replconninfo0"]);
    assert_eq!(unknown_channels(&plan.file, 8), []);
}

#[test]
fn channels_of_a_server_with_uwal_have_its_keys() {
    let with = |n: u32| format!("{} remotenodeid=2 remoteuwalhost=10.0.0.{n} remoteuwalport=9991", value(n));
    let text = format!("enable_uwal = on\nreplconninfo1 = '{}'\n", with(2));
    let file = ConfFile::parse(text.as_bytes());
    let of = |state: &str, n: u32| {
        let want = wanted(json!({"state": state, "local": local(), "peers": [peer(n)]}));
        planned(&file, &want).unwrap()
    };
    let error = check_uwal(&of("present", 3)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("replconninfo2 would lack"), "{error}");
    check_uwal(&of("present", 2)).unwrap();
    check_uwal(&of("absent", 2)).unwrap();
    let off = ConfFile::parse(text.replace("= on", "= off").as_bytes());
    let want = wanted(json!({"state": "present", "local": local(), "peers": [peer(3)]}));
    check_uwal(&planned(&off, &want).unwrap()).unwrap();
}

#[test]
fn a_value_that_is_not_utf8_is_not_rewritten() {
    let text = [b"replconninfo1 = '".as_slice(), value(2).as_bytes(), b" x=\xff'\n"].concat();
    let want = wanted(json!({"state": "present", "local": local(), "peers": [peer(2)]}));
    let error = planned(&ConfFile::parse(&text), &want).unwrap_err();
    assert!(error.failure().detail.contains("not UTF-8"), "{error}");
}

#[test]
fn more_than_a_server_has_is_refused() {
    let peers: Vec<_> = (2..11).map(peer).collect();
    let nine = wanted(json!({"local": local(), "peers": peers}));
    assert!(needs_release(&ConfFile::default(), &nine));
    for release in ["unknown", "3.0.3", "6.0.2"] {
        let error = planned_for_release(&ConfFile::default(), &nine, release).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
    }
    assert_eq!(planned_for_release(&ConfFile::default(), &nine, "3.0.1").unwrap().channels.len(), 9);
    let peers: Vec<_> = (2..22).map(peer).collect();
    let args = json!({"local": local(), "peers": peers});
    assert_eq!(
        Wanted::from_args(&serde_json::from_value(args).unwrap()).unwrap_err().kind(),
        ErrorKind::Refused
    );
    let values: Vec<_> = (2..10).map(value).collect();
    let full = file(&values.iter().map(String::as_str).collect::<Vec<_>>());
    let one = wanted(json!({"state": "present", "local": local(), "peers": [peer(10)]}));
    assert_eq!(planned(&full, &one).unwrap_err().kind(), ErrorKind::Refused);
}

#[test]
fn a_value_that_is_no_channel_is_not_touched_in_passing() {
    for state in ["present", "absent"] {
        let want = wanted(json!({"state": state, "local": local(), "peers": [peer(2)]}));
        let error = planned(&file(&["hello"]), &want).unwrap_err();
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
        (json!({"local": local(), "peers": [{"host": "10.0.0.2:26001", "port": 1}]}), "/peers/0/host"),
        (json!({"local": local(), "peers": [{"host": "10.0.0.256", "port": 1}]}), "/peers/0/host"),
        (json!({"local": local(), "peers": [{"host": "0.0.0.0", "port": 1}]}), "/peers/0/host"),
        (json!({"local": local(), "peers": [{"host": "", "port": 1}]}), "/peers/0/host"),
        (json!({"local": local(), "peers": [{"host": "a", "port": 1, "base_port": 1}]}), "/peers/0/port"),
    ] {
        let error = Wanted::from_args(&serde_json::from_value(args.clone()).unwrap()).unwrap_err();
        assert_eq!((error.kind(), error.failure().path.as_deref()), (ErrorKind::BadArgs, Some(at)), "{args}");
    }
}

#[test]
fn ipv6_hosts() {
    let args = json!({"local": {"host": "::1", "base_port": 26000}, "peers": [{"host": "fe80::2", "base_port": 26000}]});
    let plan = planned(&ConfFile::default(), &wanted(args)).unwrap();
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
    fn the_second_call_finds_nothing_to_do(values in values(), peers in proptest::sample::subsequence((2..12).collect::<Vec<u32>>(), 0..7), state in "exact|present|absent", release in "unknown|2\\.1\\.0|3\\.0\\.1|6\\.0\\.2") {
        let values: Vec<_> = values.iter().map(String::as_str).collect();
        let peers: Vec<_> = peers.into_iter().map(peer).collect();
        let want = wanted(json!({"state": state, "local": local(), "peers": peers}));
        let Ok(plan) = planned_for_release(&file(&values), &want, &release) else { return Ok(()) };
        let again = planned_for_release(&plan.file, &want, &release).unwrap();
        prop_assert_eq!(&again.changed, &Vec::<String>::new());
        prop_assert_eq!(&again.channels, &plan.channels);
        // What is said is what the file says.
        prop_assert_eq!(&number_channels(&read_channels(&ConfFile::parse(&plan.file.to_bytes()), 18)), &plan.channels);
        if state == "exact" {
            prop_assert_eq!(plan.channels.iter().map(|c| c.number).collect::<Vec<_>>(), (1..=peers.len()).collect::<Vec<_>>());
        }
    }
}
