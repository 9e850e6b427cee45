#![allow(clippy::unwrap_used)]

use og_common::gauss::peer::{ChannelEnds, ChannelPeer, Found};
use og_common::gauss::{
    BuildProgress, DbState, Endpoint, LogPosition, NodeState, Progress, Receiver, Role, Sender,
};
use og_common::protocol::{Bytes, ErrorKind, Lsn, Reason};
use serde_json::json;

use super::*;

fn args(value: serde_json::Value) -> Args {
    serde_json::from_value(value).unwrap()
}

fn running(role: Role) -> NodeState {
    NodeState {
        running: true,
        answered: true,
        role,
        db_state: DbState::Normal,
        receiver: role.is_following().then(Receiver::default),
        ..NodeState::default()
    }
}

fn stopped(role: Role) -> NodeState {
    NodeState { role, ..NodeState::default() }
}

fn is(role: Role) -> ChannelPeer {
    ChannelPeer {
        channel: ChannelEnds::default(),
        found: Found::Server { role, system_id: None, lsn: None, term: None },
    }
}

fn silent() -> ChannelPeer {
    ChannelPeer { channel: ChannelEnds::default(), found: Found::Silent("connection refused".to_owned()) }
}

fn steps(node: NodeState, peers: Vec<ChannelPeer>, value: serde_json::Value) -> Result<Vec<Step>, ErrorKind> {
    plan(&Present { node, peers, ..Present::default() }, &args(value)).map_err(|e| e.kind())
}

#[test]
fn what_is_as_wanted_is_left_alone() {
    for (role, wanted) in [
        (Role::Primary, json!({"state": "query"})),
        (Role::Primary, json!({"state": "started"})),
        (Role::Primary, json!({"state": "started", "role": "primary"})),
        // A single server says that it is normal, whatever it was started as.
        (Role::Normal, json!({"state": "started", "role": "primary"})),
        (Role::Primary, json!({"state": "primary"})),
        (Role::Standby, json!({"state": "standby"})),
        (Role::CascadeStandby, json!({"state": "standby"})),
    ] {
        assert_eq!(steps(running(role), vec![], wanted.clone()), Ok(vec![]), "{wanted}");
    }
    assert_eq!(steps(stopped(Role::Primary), vec![], json!({"state": "stopped"})), Ok(vec![]));
}

#[test]
fn a_server_starts_in_the_role_it_had() {
    let start = |node, value| steps(node, vec![silent()], value);
    let started = json!({"state": "started"});
    assert_eq!(start(stopped(Role::Standby), started.clone()), Ok(vec![Step::Start(Some(Role::Standby))]));
    assert_eq!(start(stopped(Role::Primary), started.clone()), Ok(vec![Step::Start(Some(Role::Primary))]));
    assert_eq!(start(stopped(Role::Normal), started.clone()), Ok(vec![Step::Start(None)]));
    assert_eq!(start(stopped(Role::Unknown), started.clone()), Ok(vec![Step::Start(None)]));
    let cascade = json!({"state": "started", "role": "cascade_standby"});
    assert_eq!(start(stopped(Role::Standby), cascade), Ok(vec![Step::Start(Some(Role::CascadeStandby))]));

    // The two traces of the last run differ: a promotion counts, unless it would make a second primary.
    let present =
        |node, opts| Present { node, started_as: Some(opts), peers: vec![silent()], ..Present::default() };
    let promoted = present(stopped(Role::Unknown), Role::Primary);
    assert_eq!(plan(&promoted, &args(started.clone())).unwrap(), [Step::Start(Some(Role::Primary))]);
    let built = present(stopped(Role::Standby), Role::Primary);
    assert_eq!(plan(&built, &args(started)).unwrap(), [Step::Start(Some(Role::Standby))]);
}

#[test]
fn no_second_primary_is_started() {
    let peers = || vec![silent(), is(Role::Primary)];
    let started = json!({"state": "started"});
    assert_eq!(steps(stopped(Role::Primary), peers(), started.clone()), Err(ErrorKind::Refused));
    assert_eq!(steps(stopped(Role::Unknown), peers(), started), Err(ErrorKind::Refused));
    for state in ["started", "restarted"] {
        let wanted = json!({"state": state, "role": "primary"});
        assert_eq!(steps(stopped(Role::Standby), peers(), wanted), Err(ErrorKind::Refused));
    }
    let wanted = json!({"state": "restarted", "role": "primary"});
    assert_eq!(steps(running(Role::Standby), peers(), wanted.clone()), Err(ErrorKind::Refused));
    // Nor is the second of two, with or without a role; the only one that its standbys follow may come back as such.
    assert_eq!(steps(running(Role::Primary), peers(), wanted.clone()), Err(ErrorKind::Refused));
    assert_eq!(
        steps(running(Role::Primary), peers(), json!({"state": "restarted"})),
        Err(ErrorKind::Refused)
    );
    let restart = Ok(vec![Step::Stop, Step::Start(Some(Role::Primary))]);
    assert_eq!(steps(running(Role::Primary), vec![is(Role::Standby), silent()], wanted), restart);
    let forced = json!({"state": "started", "role": "primary", "force": true});
    assert_eq!(steps(stopped(Role::Standby), peers(), forced), Ok(vec![Step::Start(Some(Role::Primary))]));
    assert_eq!(steps(running(Role::Pending), peers(), json!({"state": "primary"})), Err(ErrorKind::Refused));
}

#[test]
fn unattended_no_primary_is_started_while_a_peer_is_silent() {
    let started = || json!({"state": "started", "unattended": true});
    let plan = |role, peers, has_channel| {
        let present = Present { node: stopped(role), peers, has_channel, ..Present::default() };
        plan(&present, &args(started())).map_err(|e| e.failure().reason.unwrap())
    };
    let primary = Ok(vec![Step::Start(Some(Role::Primary))]);
    let reserved = ChannelPeer { found: Found::Reserved("it wants a password".to_owned()), ..silent() };
    // What never ran, or whose role is not known, leads as well.
    for role in [Role::Primary, Role::Normal, Role::Unknown] {
        assert_eq!(plan(role, vec![is(Role::Standby), is(Role::Pending)], true), primary);
        for unknown in [silent(), reserved.clone(), is(Role::Unknown)] {
            assert_eq!(plan(role, vec![is(Role::Standby), unknown], true), Err(Reason::PeersSilent));
        }
        // What is certain comes before what may be.
        assert_eq!(plan(role, vec![silent(), is(Role::Primary)], true), Err(Reason::SecondPrimary));
    }
    assert_eq!(plan(Role::Standby, vec![silent()], true), Ok(vec![Step::Start(Some(Role::Standby))]));
    // One that takes writes by itself may be a successor that has lost its channels.
    assert_eq!(plan(Role::Primary, vec![is(Role::Normal)], true), Err(Reason::PeersSilent));
    // Without a channel a standby would come up as a single server.
    assert_eq!(plan(Role::Standby, vec![], false), Err(Reason::WrongRole));
    // A single node has no peers to ask.
    assert_eq!(plan(Role::Normal, vec![], false), Ok(vec![Step::Start(None)]));
}

#[test]
fn who_stops_the_node_ends_a_start_that_waits() {
    let present = |node| Present { node, waits: true, ..Present::default() };
    let stopped_call = || args(json!({"state": "stopped"}));
    assert_eq!(plan(&present(stopped(Role::Primary)), &stopped_call()).unwrap(), [Step::EndWait]);
    let both = [Step::EndWait, Step::Stop];
    assert_eq!(plan(&present(running(Role::Primary)), &stopped_call()).unwrap(), both);
}

#[test]
fn a_started_server_of_another_role_is_not_restarted_behind_the_users_back() {
    let wanted = json!({"state": "started", "role": "standby"});
    assert_eq!(steps(running(Role::Primary), vec![], wanted), Err(ErrorKind::Refused));
}

#[test]
fn a_standby_takes_over_only_when_that_can_work() {
    let wanted = json!({"state": "primary"});
    let primary = vec![is(Role::Primary)];
    assert_eq!(steps(running(Role::Standby), primary.clone(), wanted.clone()), Ok(vec![Step::Switchover]));
    let mut broken = running(Role::Standby);
    broken.db_state = DbState::NeedRepair;
    assert_eq!(steps(broken, primary.clone(), wanted.clone()), Err(ErrorKind::Refused));
    assert_eq!(
        steps(running(Role::CascadeStandby), primary.clone(), wanted.clone()),
        Err(ErrorKind::Refused)
    );
    assert_eq!(steps(running(Role::Normal), primary, wanted.clone()), Err(ErrorKind::Refused));
    assert_eq!(steps(stopped(Role::Standby), vec![], wanted), Err(ErrorKind::NotFound));
}

#[test]
fn failover_wants_the_old_primary_gone() {
    let fail = json!({"state": "primary", "transition": "failover"});
    let mut lonely = running(Role::Standby);
    lonely.db_state = DbState::NeedRepair;
    lonely.receiver = None;
    let with = |peers| steps(lonely.clone(), peers, fail.clone());
    assert_eq!(with(vec![silent(), is(Role::Standby)]), Ok(vec![Step::Failover]));
    assert_eq!(with(vec![is(Role::Standby), is(Role::Primary)]), Err(ErrorKind::Refused));
    let reserved = ChannelPeer {
        channel: ChannelEnds::default(),
        found: Found::Reserved("no pg_hba.conf entry".to_owned()),
    };
    assert_eq!(with(vec![reserved]), Err(ErrorKind::Refused));
    // Nobody can be asked, or the log still comes.
    assert_eq!(with(vec![]), Err(ErrorKind::Refused));
    assert_eq!(steps(running(Role::Standby), vec![silent()], fail.clone()), Err(ErrorKind::Refused));
    let forced = json!({"state": "primary", "transition": "failover", "force": true});
    assert_eq!(steps(lonely.clone(), vec![is(Role::Primary)], forced), Ok(vec![Step::Failover]));
}

#[test]
fn a_standby_that_lags_is_not_promoted() {
    let switch = json!({"state": "primary"});
    let mut slow = running(Role::Standby);
    let lag = |node: &mut NodeState, bytes| node.receiver.as_mut().unwrap().progress.lag_bytes = Some(bytes);
    lag(&mut slow, Bytes::new(1 << 20));
    assert_eq!(steps(slow.clone(), vec![], switch.clone()), Ok(vec![Step::Switchover]));
    lag(&mut slow, Bytes::new(1 << 30));
    let error = plan(&Present { node: slow.clone(), ..Present::default() }, &args(switch)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("behind by 1.0 GiB"), "{error}");
    let forced = json!({"state": "primary", "force": true});
    assert_eq!(steps(slow, vec![], forced), Ok(vec![Step::Switchover]));
}

#[test]
fn a_failover_takes_the_standby_that_holds_most() {
    let fail = json!({"state": "primary", "transition": "failover"});
    let forced = json!({"state": "primary", "transition": "failover", "force": true});
    let mut node = running(Role::Standby);
    node.db_state = DbState::NeedRepair;
    node.detail = Some("Disconnected".to_owned());
    node.receiver = None;
    let other = |lsn| ChannelPeer {
        channel: ChannelEnds {
            remote_host: "10.0.0.3".to_owned(),
            remote_port: 26001,
            ..ChannelEnds::default()
        },
        found: Found::Server { role: Role::Standby, system_id: Some(1), lsn, term: None },
    };
    let mut present = Present {
        node,
        peers: vec![silent(), other(Some(Lsn::new(0x5000)))],
        log: LogPosition { lsn: Some(Lsn::new(0x5000)), ..LogPosition::default() },
        ..Present::default()
    };
    assert_eq!(plan(&present, &args(fail.clone())).unwrap(), [Step::Failover]);
    present.log.lsn = Some(Lsn::new(0x4000));
    let error = plan(&present, &args(fail.clone())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("by 4.0 KiB: 10.0.0.3:26001 is standby"), "{error}");
    assert_eq!(plan(&present, &args(forced.clone())).unwrap(), [Step::Failover]);
    // Of one that does not tell nothing is known.
    present.peers = vec![silent(), other(None)];
    assert_eq!(plan(&present, &args(fail.clone())).unwrap(), [Step::Failover]);

    present.node.detail = Some("WAL segment removed".to_owned());
    let error = plan(&present, &args(fail)).unwrap_err();
    assert!(error.to_string().contains("ceased to follow before"), "{error}");
    assert_eq!(plan(&present, &args(forced)).unwrap(), [Step::Failover]);
}

#[test]
fn a_standby_smaller_than_its_primary_is_told_at_its_start() {
    let short = vec!["max_connections = 1 is less than its primary's 200".to_owned()];
    assert_eq!(lower_limit_warnings(&[Step::Start(Some(Role::Primary))], &short), Vec::<String>::new());
    let told = lower_limit_warnings(&[Step::Stop, Step::Start(Some(Role::Standby))], &short);
    assert!(told[0].starts_with(&short[0]), "{told:?}");
    let error = add_noticed_hint(Error::not_found("the server did not start: FATAL").hint("look"), &told);
    assert!(error.failure().hint.as_ref().unwrap().starts_with(&short[0]), "{error}");
}

#[test]
fn a_primary_becomes_standby_only_of_another_one() {
    let wanted = json!({"state": "standby"});
    let both = Ok(vec![Step::Stop, Step::Start(Some(Role::Standby))]);
    assert_eq!(
        steps(running(Role::Primary), vec![is(Role::Standby), silent()], wanted.clone()),
        Err(ErrorKind::Refused)
    );
    assert_eq!(steps(running(Role::Primary), vec![is(Role::Primary)], wanted.clone()), both);
    let forced = json!({"state": "standby", "force": true});
    assert_eq!(steps(running(Role::Primary), vec![], forced), both);
    assert_eq!(
        steps(stopped(Role::Primary), vec![silent()], wanted),
        Ok(vec![Step::Start(Some(Role::Standby))])
    );
    let cascade = json!({"state": "standby", "role": "cascade_standby"});
    let both = Ok(vec![Step::Stop, Step::Start(Some(Role::CascadeStandby))]);
    assert_eq!(steps(running(Role::Standby), vec![], cascade), both);
    let wrong = json!({"state": "standby", "role": "primary"});
    assert_eq!(steps(running(Role::Primary), vec![], wrong), Err(ErrorKind::BadArgs));
}

#[test]
fn a_node_that_is_being_built_is_left_in_peace() {
    let mut node = stopped(Role::Standby);
    node.build = Some(BuildProgress { running: true, ..BuildProgress::default() });
    for state in ["started", "stopped", "restarted", "standby"] {
        assert_eq!(steps(node.clone(), vec![], json!({"state": state})), Err(ErrorKind::Busy), "{state}");
    }
    assert_eq!(steps(node.clone(), vec![], json!({})), Ok(vec![]));
    node.build = Some(BuildProgress { interrupted: true, ..BuildProgress::default() });
    assert_eq!(steps(node, vec![], json!({"state": "started"})), Err(ErrorKind::Refused));
}

#[test]
fn peers_are_asked_only_where_they_matter() {
    let asks = |node, value| needs_peers(&Present { node, ..Present::default() }, &args(value));
    assert!(!asks(running(Role::Primary), json!({})));
    assert!(!asks(running(Role::Primary), json!({"state": "started"})));
    assert!(!asks(stopped(Role::Standby), json!({"state": "started"})));
    assert!(!asks(running(Role::Standby), json!({"state": "restarted"})));
    assert!(asks(stopped(Role::Primary), json!({"state": "started"})));
    // A primary that restarts may be the second one, or be turned off.
    assert!(asks(running(Role::Primary), json!({"state": "restarted"})));
    assert!(asks(running(Role::Primary), json!({"state": "restarted", "role": "standby"})));
    assert!(asks(running(Role::Standby), json!({"state": "restarted", "role": "normal"})));
    assert!(asks(running(Role::Primary), json!({"state": "standby"})));
    assert!(asks(running(Role::Standby), json!({"state": "primary"})));
}

fn sender(host: &str, state: &str, lag: Option<u64>) -> Sender {
    Sender {
        state: state.to_owned(),
        peer: Some(Endpoint { host: host.to_owned(), port: 4711 }),
        progress: Progress { lag_bytes: lag.map(Bytes::new), ..Progress::default() },
        ..Sender::default()
    }
}

#[test]
fn a_wait_ends_when_all_its_conditions_hold() {
    let wait = |value| -> Wait { serde_json::from_value(value).unwrap() };
    let mut node = running(Role::Primary);
    node.senders =
        vec![sender("10.0.0.2", "streaming", Some(100)), sender("10.0.0.20", "catchup", Some(9_000))];
    let lacks = |value| unmet_condition(&node, &wait(value));
    assert_eq!(lacks(json!({})), None);
    assert_eq!(lacks(json!({"role": "primary", "db_state": "normal", "peer_count": 1})), None);
    assert_eq!(lacks(json!({"peer_count": 2})).unwrap(), "1 of 2 receivers stream");
    assert_eq!(
        lacks(json!({"peers": ["::ffff:10.0.0.2", "10.0.0.3"]})).unwrap(),
        "10.0.0.3 does not stream yet"
    );
    assert_eq!(lacks(json!({"peers": ["10.0.0.20"]})).unwrap(), "10.0.0.20 does not stream yet");
    assert_eq!(lacks(json!({"max_lag_bytes": 100})).unwrap(), "10.0.0.20 is behind by 8.8 KiB");
    assert_eq!(lacks(json!({"peers": ["10.0.0.2"], "max_lag_bytes": 100})), None);
    node.senders[0].sync_state = Some("quorum".to_owned());
    node.senders[1].sync_state = Some("quorum".to_owned());
    let lacks = |value| unmet_condition(&node, &wait(value));
    assert_eq!(lacks(json!({"sync_peers": ["10.0.0.2"]})), None);
    assert_eq!(
        lacks(json!({"sync_peers": ["10.0.0.20"]})).unwrap(),
        "10.0.0.20 does not count for synchronous_standby_names yet"
    );
    node.senders[0].sync_state = Some("async".to_owned());
    assert!(unmet_condition(&node, &wait(json!({"sync_peers": ["10.0.0.2"]}))).is_some());
    let lacks = |value| unmet_condition(&node, &wait(value));
    // A condition on standbys needs standbys.
    for role in [Role::Primary, Role::Normal] {
        let alone = running(role);
        let lacks = |value| unmet_condition(&alone, &wait(value));
        assert_eq!(
            lacks(json!({"max_lag_bytes": 100})).unwrap(),
            "no standby streams from it whose lag could be told"
        );
        assert_eq!(lacks(json!({"max_lag_bytes": 100, "peer_count": 0})), None);
        assert_eq!(lacks(json!({})), None);
    }
    let mut catching = running(Role::Primary);
    catching.senders = vec![sender("10.0.0.20", "catchup", Some(0))];
    assert!(unmet_condition(&catching, &wait(json!({"max_lag_bytes": 100}))).is_some());
    assert_eq!(lacks(json!({"role": "standby"})).unwrap(), "it is primary, not yet standby");

    let mut unheard = running(Role::Primary);
    unheard.answered = false;
    assert!(unmet_condition(&unheard, &wait(json!({"db_state": "normal"}))).is_some());
    let mut lonely = running(Role::Standby);
    lonely.receiver = None;
    assert!(unmet_condition(&lonely, &wait(json!({"max_lag_bytes": 1}))).is_some());
    assert!(unmet_condition(&stopped(Role::Standby), &wait(json!({}))).is_some());
}

#[test]
fn the_role_of_the_last_start_is_read_from_postmaster_opts() {
    let text = r#"/opt/og/bin/gaussdb "-D" "/gauss/data/dn1" "-M" "cascade_standby""#;
    assert_eq!(role_of_opts(text), Some(Role::CascadeStandby));
    assert_eq!(role_of_opts(r#"/opt/og/bin/gaussdb "-D" "/gauss/data/dn1""#), None);
    assert_eq!(role_of_opts(""), None);
}

/// A node with a gs_ctl of a few lines of shell.
fn call_with(gs_ctl: &str) -> (tempfile::TempDir, Call) {
    let home = tempfile::tempdir().unwrap();
    for dir in ["data", "bin"] {
        std::fs::create_dir(home.path().join(dir)).unwrap();
    }
    // Written by a child: a file open for writing in this process could be held by a fork of another test.
    let write = r#"printf '#!/bin/sh\n%s\n' "$2" > "$1" && chmod 755 "$1""#;
    let path = home.path().join("bin/gs_ctl");
    let mut shell = std::process::Command::new("/bin/sh");
    assert!(shell.args(["-c", write, "sh"]).arg(&path).arg(gs_ctl).status().unwrap().success());
    let mut call = Call::default();
    call.common.data_dir = Some(home.path().join("data"));
    call.common.gauss_home = Some(home.path().to_owned());
    (home, call)
}

fn run(call: &Call, value: serde_json::Value) -> Result<Report<Output>, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(NodeStateModule::run(call, args(value)))
}

#[test]
fn a_start_that_says_done_and_did_nothing_is_not_believed() {
    let (home, call) = call_with(
        "echo '[t][1][n][gs_ctl]: server started (/d)'; echo 'x FATAL:  no memory' > \"$5\"; exit 0",
    );
    let error = run(&call, json!({"state": "started", "role": "standby"})).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CommandFailed);
    assert_eq!(error.failure().detail, "the server did not start: FATAL:  no memory");
    assert!(home.path().join("data/og_start.log").exists());
}

#[test]
fn check_mode_runs_nothing() {
    let (home, mut call) = call_with("touch \"$3/touched\"");
    call.check = true;
    let report =
        run(&call, json!({"state": "started", "role": "standby", "wait": {"db_state": "normal"}})).unwrap();
    assert_eq!((report.changed, report.actions), (true, vec!["start the server as standby".to_owned()]));
    assert!(!home.path().join("data/touched").exists());
}

#[test]
fn a_failover_without_positions_is_not_put_on_record() {
    let (home, call) = call_with("exit 1");
    let wanted = |end: &str| {
        let record = json!({"begin": "0/80", "end": end, "crc": 5});
        json!({"state": "fork_recorded", "fork": {"new_primary": "n2", "record": record, "term": 2}})
    };
    let error = run(&call, wanted("somewhere")).unwrap_err();
    assert_eq!((error.kind(), error.failure().path.as_deref()), (ErrorKind::BadArgs, Some("/fork/record")));
    assert!(!home.path().join("data").join(fork::FILE).exists());
    assert!(run(&call, wanted("0/100")).unwrap().changed);
}

#[test]
fn a_wait_in_check_mode_is_foreseen_and_not_waited_for() {
    let (_home, mut call) = call_with("exit 1");
    call.check = true;
    let begun = std::time::Instant::now();
    for (args, words) in [
        (json!({"wait": {"role": "primary"}}), "stopped; would wait: the server is stopped"),
        (
            json!({"state": "started", "role": "standby", "wait": {"db_state": "normal"}}),
            "would start the server as standby; now stopped; would wait: the server is stopped",
        ),
    ] {
        assert_eq!(run(&call, args).unwrap().msg, words);
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(5));
}

/// The refusal of this call, by its reason.
fn why(present: &Present, value: serde_json::Value) -> Option<Reason> {
    plan(present, &args(value)).err().and_then(|e| e.failure().reason)
}

fn standby_at(lsn: u64) -> ChannelPeer {
    let found =
        Found::Server { role: Role::Standby, system_id: Some(1), lsn: Some(Lsn::new(lsn)), term: Some(3) };
    ChannelPeer {
        channel: ChannelEnds { remote_host: "10.0.0.3".to_owned(), ..ChannelEnds::default() },
        found,
    }
}

/// A node whose log ends at 0x5000 in term 3, with one peer.
fn at_0x5000(node: NodeState, peer: ChannelPeer) -> Present {
    let log = LogPosition { lsn: Some(Lsn::new(0x5000)), term: Some(3), ..LogPosition::default() };
    Present { node, peers: vec![peer], log, system_id: Some(1), has_channel: true, ..Present::default() }
}

#[test]
fn an_old_primary_is_not_started_beside_a_standby_that_holds_more() {
    for value in [
        json!({"state": "started"}),
        json!({"state": "started", "role": "primary"}),
        json!({"state": "restarted"}),
        json!({"state": "restarted", "role": "primary"}),
    ] {
        let old = at_0x5000(stopped(Role::Primary), standby_at(0x5001));
        assert_eq!(why(&old, value.clone()), Some(Reason::HoldsLess), "{value}");
        let newer = Present {
            log: LogPosition { lsn: Some(Lsn::new(0x9000)), term: Some(2), ..LogPosition::default() },
            ..old.clone()
        };
        assert_eq!(why(&newer, value.clone()), Some(Reason::OlderTerm), "{value}");
        let unread = Present { log: LogPosition::default(), ..old.clone() };
        assert_eq!(why(&unread, value.clone()), Some(Reason::LogUnknown), "{value}");
        // After an orderly end its standbys hold as much as it does, the checkpoint of the end included.
        for lsn in [0x5000, 0x4000] {
            let well = at_0x5000(stopped(Role::Primary), standby_at(lsn));
            assert!(plan(&well, &args(value.clone())).is_ok(), "{value}");
        }
        // One of another system holds nothing of this one, and one that is not there says nothing.
        let other = Present { system_id: Some(2), ..old.clone() };
        assert!(plan(&other, &args(value.clone())).is_ok(), "{value}");
        let alone = at_0x5000(stopped(Role::Primary), silent());
        assert!(plan(&alone, &args(value.clone())).is_ok(), "{value}");
        let mut forced = value;
        forced["force"] = json!(true);
        assert!(plan(&old, &args(forced)).is_ok());
    }
}

#[test]
fn a_standby_does_not_become_primary_by_a_restart() {
    let mut lonely = running(Role::Standby);
    lonely.receiver = None;
    lonely.db_state = DbState::NeedRepair;
    for role in ["primary", "normal"] {
        for state in ["started", "restarted"] {
            let value = json!({"state": state, "role": role});
            let node = if state == "started" { stopped(Role::Standby) } else { lonely.clone() };
            let ask = |node: &NodeState, peer: ChannelPeer| {
                // Without a channel a server that is to be normal is that.
                let has_channel = role == "primary";
                why(&Present { has_channel, ..at_0x5000(node.clone(), peer) }, value.clone())
            };
            assert_eq!(ask(&node, is(Role::Primary)), Some(Reason::SecondPrimary), "{value}");
            assert_eq!(ask(&node, standby_at(0x5001)), Some(Reason::HoldsLess), "{value}");
            let unclear =
                ChannelPeer { found: Found::Reserved("it wants a password".to_owned()), ..silent() };
            assert_eq!(ask(&node, unclear), Some(Reason::PrimaryMayBeAlive), "{value}");
            assert_eq!(ask(&node, silent()), None, "{value}");
            let mut lost = node.clone();
            lost.detail = Some("WAL segment removed".to_owned());
            assert_eq!(ask(&lost, silent()), Some(Reason::LeftBehind), "{value}");
        }
    }
    let value = json!({"state": "restarted", "role": "primary"});
    assert_eq!(
        why(&at_0x5000(running(Role::Standby), silent()), value),
        Some(Reason::PrimaryMayBeAlive),
        "it receives"
    );
    let stale = Present { left_behind: true, ..at_0x5000(stopped(Role::Standby), silent()) };
    assert_eq!(why(&stale, json!({"state": "started", "role": "primary"})), Some(Reason::LeftBehind));
}

#[test]
fn a_single_node_is_one_only_without_channels() {
    let mut present = at_0x5000(stopped(Role::Normal), silent());
    let normal = json!({"state": "started", "role": "normal"});
    assert_eq!(why(&present, normal.clone()), Some(Reason::WrongRole));
    assert_eq!(
        plan(&present, &args(json!({"state": "started"}))).unwrap(),
        [Step::Start(Some(Role::Primary))]
    );
    present.has_channel = false;
    assert_eq!(plan(&present, &args(normal.clone())).unwrap(), [Step::Start(None)]);
    let primary = Present { node: running(Role::Primary), ..Present::default() };
    assert_eq!(why(&primary, normal), Some(Reason::WrongRole));
}

#[test]
fn the_only_primary_is_not_turned_off_under_another_name() {
    for role in ["standby", "cascade_standby", "pending"] {
        let value = json!({"state": "restarted", "role": role});
        for peer in [silent(), standby_at(0x4000)] {
            let only = at_0x5000(running(Role::Primary), peer);
            assert_eq!(why(&only, value.clone()), Some(Reason::OnlyPrimary), "{value}");
        }
        let second = at_0x5000(running(Role::Primary), is(Role::Primary));
        assert!(plan(&second, &args(value.clone())).is_ok(), "{value}");
    }
}

#[test]
fn a_primary_that_starts_says_whom_it_could_not_ask() {
    let unclear = ChannelPeer { found: Found::Reserved("no pg_hba.conf entry".to_owned()), ..silent() };
    let present = at_0x5000(stopped(Role::Primary), unclear);
    let told = |value| {
        let args = args(value);
        unclear_peer_warnings(&present, &args, &plan(&present, &args).unwrap())
    };
    assert!(told(json!({"state": "started"}))[0].contains("no pg_hba.conf entry"));
    assert!(told(json!({"state": "standby"})).is_empty());
    assert!(told(json!({"state": "started", "role": "standby"})).is_empty());
}

#[test]
fn a_stopped_node_is_told_and_offered_as_a_fact() {
    let (_home, call) = call_with("exit 1");
    let report = run(&call, json!({})).unwrap();
    assert!(!report.changed && !report.output.node.running);
    assert_eq!(report.ansible_facts.unwrap()["og_node"]["running"], json!(false));
    assert!(!run(&call, json!({"state": "stopped"})).unwrap().changed);
    assert_eq!(run(&call, json!({"state": "reloaded"})).unwrap_err().kind(), ErrorKind::NotFound);
}
