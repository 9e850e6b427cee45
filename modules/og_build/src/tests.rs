#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;

use og_common::gauss::peer::{ChannelEnds, ChannelPeer, Found};
use og_common::gauss::source::{Senders, Source};
use og_common::gauss::tablespaces::Tablespaces;
use og_common::gauss::{BuildMode, BuildProgress, DbState, NodeState, Receiver, Role};
use og_common::protocol::{Bytes, Call, ErrorKind, Lsn, Module, Reason};
use serde_json::json;

use super::*;

fn args(value: serde_json::Value) -> Args {
    serde_json::from_value(value).unwrap()
}

fn peer(role: Role, system_id: Option<u64>) -> ChannelPeer {
    ChannelPeer {
        channel: ChannelEnds::default(),
        found: Found::Server { role, system_id, lsn: None, term: None },
    }
}

/// A standby that has lost its primary's log.
fn broken() -> Present {
    Present {
        node: NodeState {
            running: true,
            answered: true,
            role: Role::Standby,
            db_state: DbState::NeedRepair,
            ..NodeState::default()
        },
        system_id: Some(1),
        peers: vec![peer(Role::Standby, Some(1)), peer(Role::Primary, Some(1))],
        ..Present::default()
    }
}

fn streaming() -> Present {
    let mut present = broken();
    present.node.db_state = DbState::Normal;
    present.node.receiver = Some(Receiver::default());
    present
}

fn refused(present: &Present, value: serde_json::Value) -> String {
    let error = plan(present, &args(value)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    error.to_string()
}

fn planned(present: &Present, value: serde_json::Value) -> Option<(BuildMode, Role)> {
    plan(present, &args(value)).unwrap().map(|plan| (plan.mode, plan.role))
}

#[test]
fn a_standby_that_comes_up_or_changes_its_role_is_waited_for() {
    for (state, answered) in
        [(DbState::Starting, false), (DbState::Starting, true), (DbState::Promoting, true)]
    {
        let mut present = broken();
        (present.node.db_state, present.node.answered) = (state, answered);
        let error = plan(&present, &args(json!({}))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
        assert_eq!(planned(&present, json!({"mode": "full"})), Some((BuildMode::Full, Role::Standby)));
        present.node.running = false;
        assert!(planned(&present, json!({})).is_some(), "what it was when it died");
    }
}

#[test]
fn each_data_directory_has_its_own_log() {
    let logs = ["/data/dn_1", "/data/dn/1", "/data/dn%5F1", "/data_/dn", "/data/_dn"]
        .map(|dir| log::path(std::path::Path::new(dir)));
    let distinct: std::collections::BTreeSet<_> = logs.iter().collect();
    assert_eq!(distinct.len(), logs.len(), "{logs:?}");
}

#[test]
fn a_standby_that_streams_is_left_alone() {
    assert_eq!(planned(&streaming(), json!({})), None);
    assert_eq!(planned(&streaming(), json!({"role": "standby"})), None);
    assert_eq!(planned(&streaming(), json!({"mode": "full"})), Some((BuildMode::Full, Role::Standby)));
    let cascade = planned(&streaming(), json!({"role": "cascade_standby"}));
    assert_eq!(cascade, Some((BuildMode::Auto, Role::CascadeStandby)));
}

#[test]
fn a_standby_that_may_find_its_primary_again_is_given_time() {
    let auto = args(json!({}));
    let mut node = broken().node;
    node.detail = Some("Connecting...".to_owned());
    assert!(plan::may_recover(&node, &auto));
    for value in [json!({"mode": "full"}), json!({"role": "cascade_standby"})] {
        assert!(!plan::may_recover(&node, &args(value)));
    }
    node.detail = Some("WAL segment removed".to_owned());
    assert!(!plan::may_recover(&node, &auto));
    assert!(!plan::may_recover(&streaming().node, &auto));
    assert!(!plan::may_recover(&NodeState { role: Role::Standby, ..NodeState::default() }, &auto));
    // It streams, and is behind.
    let mut present = streaming();
    present.node.db_state = DbState::Catchup;
    assert_eq!(planned(&present, json!({})), None);
    present.node.receiver = None;
    assert!(plan::may_recover(&present.node, &auto) && planned(&present, json!({})).is_some());
}

#[test]
fn a_standby_that_streams_and_cannot_be_asked_is_not_built_over() {
    let mut present = streaming();
    present.node.answered = false;
    present.node.receiver = None;
    present.node.detail = Some("no pg_hba.conf entry for host \"10.0.0.2\"".to_owned());
    assert!(refused(&present, json!({})).contains("cannot be asked: no pg_hba.conf entry"));
    assert!(planned(&present, json!({"mode": "incremental"})).is_some());
}

#[test]
fn the_primary_is_the_one_that_says_so() {
    // A single server that was installed anew stands before it in the channels.
    let lagging = ChannelPeer {
        channel: ChannelEnds::default(),
        found: Found::Server {
            role: Role::Primary,
            system_id: Some(1),
            lsn: Some(Lsn::new(0x4000)),
            term: None,
        },
    };
    let peers = vec![peer(Role::Normal, Some(9)), lagging.clone()];
    let mut present = Present { peers, holds: Some(Lsn::new(0x5000)), ..broken() };
    assert!(refused(&present, json!({})).contains("4.0 KiB more"));
    present.holds = None;
    assert_eq!(planned(&present, json!({})), Some((BuildMode::Auto, Role::Standby)));
    present.peers = vec![lagging, peer(Role::Primary, Some(1))];
    assert!(refused(&present, json!({})).contains("more than one primary"));
    assert!(planned(&present, json!({"force": true})).is_some());
}

#[test]
fn the_cheapest_build_that_can_serve_is_chosen() {
    assert_eq!(planned(&broken(), json!({})), Some((BuildMode::Auto, Role::Standby)));
    let incremental = planned(&broken(), json!({"mode": "incremental"}));
    assert_eq!(incremental, Some((BuildMode::Incremental, Role::Standby)));

    let foreign = Present { system_id: Some(2), ..broken() };
    assert_eq!(planned(&foreign, json!({})), Some((BuildMode::Full, Role::Standby)));
    assert!(refused(&foreign, json!({"mode": "incremental"})).contains("another database system"));

    let empty = Present { system_id: None, node: NodeState::default(), ..broken() };
    assert_eq!(planned(&empty, json!({})), Some((BuildMode::Full, Role::Standby)));

    let mut died = broken();
    died.node = NodeState {
        build: Some(BuildProgress { interrupted: true, ..BuildProgress::default() }),
        ..NodeState::default()
    };
    assert_eq!(planned(&died, json!({})), Some((BuildMode::Full, Role::Standby)));
    assert!(refused(&died, json!({"mode": "incremental"})).contains("died half done"));
}

#[test]
fn a_cascade_standby_stays_one() {
    let mut present = broken();
    present.node.role = Role::CascadeStandby;
    assert_eq!(planned(&present, json!({})), Some((BuildMode::Auto, Role::CascadeStandby)));
}

#[test]
fn what_holds_data_of_its_own_is_not_overwritten() {
    let mut present = broken();
    present.node.role = Role::Primary;
    assert!(refused(&present, json!({"force": true})).contains("running primary"));
    present.node.running = false;
    assert!(refused(&present, json!({})).contains("was a primary"));
    assert_eq!(planned(&present, json!({"force": true})), Some((BuildMode::Auto, Role::Standby)));
    present.node.role = Role::Normal;
    assert!(refused(&present, json!({})).contains("single server"));
}

#[test]
fn the_only_up_to_date_copy_is_not_overwritten() {
    let primary = |lsn, term| ChannelPeer {
        channel: ChannelEnds::default(),
        found: Found::Server { role: Role::Primary, system_id: Some(1), lsn: Some(Lsn::new(lsn)), term },
    };
    let mut present =
        Present { holds: Some(Lsn::new(0x5000)), peers: vec![primary(0x5000, Some(2))], ..broken() };
    present.node.term = Some(2);
    assert!(planned(&present, json!({})).is_some());
    present.peers = vec![primary(0x4000, Some(2))];
    let words = refused(&present, json!({}));
    assert!(words.contains("this node holds 4.0 KiB more, up to 0/5000"), "{words}");
    assert!(planned(&present, json!({"force": true})).is_some());
    // It has written on since it was, wrongly, made primary.
    present.peers = vec![primary(0x6000, Some(1))];
    assert!(refused(&present, json!({"mode": "full"})).contains("of term 1"));
    // Another system's positions say nothing of this one's.
    assert!(planned(&Present { system_id: Some(9), ..present }, json!({})).is_some());
}

#[test]
fn nothing_is_stopped_when_there_is_no_primary_to_copy_from() {
    let mut present = broken();
    present.peers = vec![
        peer(Role::Standby, Some(1)),
        ChannelPeer {
            channel: ChannelEnds::default(),
            found: Found::Silent("connection refused".to_owned()),
        },
        ChannelPeer {
            channel: ChannelEnds::default(),
            found: Found::Reserved("no pg_hba.conf entry".to_owned()),
        },
    ];
    let words = refused(&present, json!({}));
    assert!(words.contains("connection refused") && words.contains("no pg_hba.conf entry"), "{words}");
    present.peers.clear();
    assert!(refused(&present, json!({})).contains("no replconninfo"));
}

#[test]
fn room_is_asked_for_before() {
    let present = Present { room: Some(Bytes::new(10 << 30)), ..broken() };
    assert!(refused(&present, json!({"min_free": 20_u64 << 30})).contains("10.0 GiB only"));
    assert!(planned(&present, json!({"min_free": 5_u64 << 30})).is_some());
}

#[test]
fn one_build_at_a_time() {
    let mut present = broken();
    present.node.build = Some(BuildProgress { running: true, pid: Some(7), ..BuildProgress::default() });
    assert_eq!(plan(&present, &args(json!({}))).unwrap_err().kind(), ErrorKind::Busy);
}

#[test]
fn recorded_logs_tell_how_the_build_ended() {
    #[derive(serde::Deserialize)]
    struct Recorded {
        rc: i32,
        stdout: String,
    }
    let cases: BTreeMap<String, Recorded> =
        serde_json::from_str(include_str!("../../../tests/vectors/gs_ctl/build.json")).unwrap();
    for (name, case) in &cases {
        let wanted = if case.rc == 0 { Status::Completed } else { Status::Failed };
        assert_eq!(log::status(&case.stdout), wanted, "{name}");
        assert!(!log::last_words(&case.stdout, 3).is_empty(), "{name}");
    }
    assert_eq!(log::mode_used(&cases["incremental_build_conf"].stdout), Some(BuildMode::Incremental));
    assert_eq!(log::mode_used(&cases["full_build_conf"].stdout), Some(BuildMode::Full));
    assert_eq!(log::mode_used(&cases["default_wal_removed"].stdout), Some(BuildMode::Full));
    assert_eq!(log::mode_used(&cases["full_primary_down"].stdout), None);
    let words = log::last_words(&cases["auto_primary_down"].stdout, 1);
    assert_eq!(words, ["inc build failed due to primary connection failure, skip full build."]);
}

/// A node with a peer that says it is the primary, and a gs_ctl of a few lines of shell.
struct Fake {
    home: tempfile::TempDir,
    call: Call,
}

impl Fake {
    fn new(gs_ctl: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        std::fs::create_dir(&data).unwrap();
        std::fs::create_dir(home.path().join("bin")).unwrap();
        let port = primary();
        let conf = format!(
            "replconninfo1 = 'localhost=127.0.0.1 localport=1 remotehost=127.0.0.1 remoteport={port}'\n"
        );
        std::fs::write(data.join("postgresql.conf"), conf).unwrap();
        // Written by a child: a file open for writing in this process could be held by a fork of another test.
        let write = r#"printf '#!/bin/sh\n%s\n' "$2" > "$1" && chmod 755 "$1""#;
        let path = home.path().join("bin/gs_ctl");
        let status = std::process::Command::new("/bin/sh")
            .args(["-c", write, "sh"])
            .arg(&path)
            .arg(gs_ctl)
            .status()
            .unwrap();
        assert!(status.success());
        let mut call = Call::default();
        call.common.data_dir = Some(data);
        call.common.gauss_home = Some(home.path().to_owned());
        Self { home, call }
    }

    fn run(&self, value: serde_json::Value) -> Result<Report<Output>, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let result = runtime.block_on(Build::run(&self.call, args(value)));
        // The log is kept beside nothing of ours.
        let _ = std::fs::remove_file(log::path(self.call.common.data_dir.as_ref().unwrap()));
        result
    }
}

/// A server that tells every caller that it is a primary of system 1.
fn primary() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut block = [0; 1000];
            let answers: [&[u8]; 3] = [
                b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I",
                b"D\0\0\0\x0b\0\x01\0\0\0\x012Z\0\0\0\x05I",
                b"D\0\0\0\x0b\0\x01\0\0\0\x011Z\0\0\0\x05I",
            ];
            for answer in answers {
                if stream.read(&mut block).is_ok_and(|n| n > 0) {
                    stream.write_all(answer).unwrap();
                }
            }
        }
    });
    port
}

#[test]
fn a_gs_ctl_that_says_done_and_did_nothing_is_not_believed() {
    let fake = Fake::new("echo '[t][1][n][gs_ctl]: full build build completed(/d).'; exit 0");
    let error = fake.run(json!({})).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CommandFailed);
    assert!(error.to_string().contains("it is stopped"), "{error}");
    assert_eq!(fake.call.recorded_actions(), ["began to build the node as standby in full"]);
    assert!(error.failure().command.as_ref().unwrap().cmd.ends_with(&["-b".to_owned(), "full".to_owned()]));
}

#[test]
fn the_words_of_a_build_that_fails_are_told() {
    let fake = Fake::new(
        "echo '[t][1][n][gs_ctl]: build try host(10.0.0.1) port(1) failed'; echo 'full build failed(/d).'; exit 1",
    );
    let error = fake.run(json!({})).unwrap_err();
    assert!(
        error.to_string().contains("build try host(10.0.0.1) port(1) failed; full build failed(/d)."),
        "{error}"
    );
}

#[test]
fn a_build_that_ended_without_saying_so_is_told_as_failed() {
    let fake = Fake::new("exit 1");
    let path = log::path(fake.call.common.data_dir.as_ref().unwrap());
    let words = "[t][1][n][gs_ctl]: could not connect to server.\n";
    log::create_log(&path).unwrap().write_all(words.as_bytes()).unwrap();
    let report = fake.run(json!({"state": "query"})).unwrap();
    assert_eq!(report.output.build_status, Status::Failed);
    assert_eq!(report.output.last_words, ["could not connect to server."]);
    let report = fake.run(json!({"state": "query"})).unwrap();
    assert_eq!(report.output.build_status, Status::None, "its log is gone");
}

#[test]
fn a_build_that_stands_still_is_ended() {
    let fake = Fake::new("echo $$ > \"$3/pid\"; sleep 600");
    let error = fake.run(json!({"stall_timeout": 1})).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let pid = std::fs::read_to_string(fake.home.path().join("data/pid")).unwrap();
    let pid: u32 = pid.trim().parse().unwrap();
    let gone = (0..1_000_000).any(|_| {
        std::thread::yield_now();
        !og_common::gauss::postmaster_pid::is_process_alive(pid)
    });
    assert!(gone);
}

#[test]
fn check_mode_says_what_would_be_done_and_starts_nothing() {
    let mut fake = Fake::new("touch \"$3/touched\"");
    fake.call.check = true;
    let report = fake.run(json!({})).unwrap();
    assert!(report.changed);
    assert_eq!(report.actions, ["build the node as standby in full"]);
    assert!(!fake.home.path().join("data/touched").exists());
}

#[test]
fn a_build_that_is_not_waited_for_goes_on() {
    let fake = Fake::new(
        "echo $$ > \"$3/gs_build.pid\"; while [ ! -e \"$3/end\" ]; do sleep 0.05; done; rm \"$3/gs_build.pid\"",
    );
    let report = fake.run(json!({"wait": false})).unwrap();
    assert_eq!((report.changed, report.output.build_status), (true, Status::Running));
    assert_eq!(fake.run(json!({})).unwrap_err().kind(), ErrorKind::Busy);
    let report = fake.run(json!({"state": "query"})).unwrap();
    assert_eq!((report.changed, report.output.build_status), (false, Status::Running));
    std::fs::write(fake.home.path().join("data/end"), "").unwrap();
    let pid = fake.home.path().join("data/gs_build.pid");
    while pid.exists() {
        std::thread::yield_now();
    }
}

/// A primary that has a tablespace, senders enough, and this name.
fn named_source(name: &str) -> Source {
    Source {
        address: "10.0.0.1:26001".to_owned(),
        node_name: Some(name.to_owned()),
        tablespaces: Some(1),
        senders: Some(Senders { used: 1, allowed: 4 }),
        ..Source::default()
    }
}

fn spaces(names: &[&str], running: Option<&str>, configured: Option<&str>) -> Option<Tablespaces> {
    let set = names.iter().map(|name| (*name).to_owned()).collect();
    Tablespaces::new(&[set], running.map(str::to_owned), configured.map(str::to_owned))
}

#[test]
fn a_node_gets_its_primarys_name_before_it_copies_its_tablespaces() {
    let plan_of = |present: &Present| plan(present, &args(json!({"mode": "full"}))).unwrap().unwrap();
    let mut present =
        Present { source: named_source("dn_6001"), node_name: Some("dn_6002".to_owned()), ..broken() };
    let planned = plan_of(&present);
    assert_eq!(planned.node_name.as_deref(), Some("dn_6001"));
    assert!(planned.actions()[0].starts_with("set pgxc_node_name to dn_6001"));
    present.source.tablespaces = Some(0);
    assert_eq!(plan_of(&present).node_name, None, "there is nothing that the name matters for");
    present.source.tablespaces = None;
    assert!(plan_of(&present).node_name.is_some(), "there may be");
    present.node_name = Some("dn_6001".to_owned());
    assert_eq!(plan_of(&present).node_name, None);
    present.source = Source::default();
    assert_eq!(plan_of(&present).node_name, None, "it does not tell");
}

#[test]
fn a_standby_that_does_not_see_its_tablespaces_is_built_in_full() {
    let (one, two) = (Some("dn_6001"), Some("dn_6002"));
    for (found, streams) in [
        (spaces(&["dn_6001"], two, two), true),
        (spaces(&["dn_6001", "dn_6002"], two, one), true),
        // It may be a leftover, and so it alone is no reason.
        (spaces(&["dn_6001", "dn_6002"], one, one), false),
    ] {
        let present = Present { tablespaces: found, source: named_source("dn_6001"), ..broken() };
        assert_eq!(planned(&present, json!({})).unwrap().0, BuildMode::Full);
        assert!(refused(&present, json!({"mode": "incremental"})).contains("tablespaces"));
        let present = Present { node: streaming().node, ..present };
        assert_eq!(planned(&present, json!({})).is_some(), streams);
    }
    // Healthy, but of another name than the primary it would copy from.
    let own =
        Present { tablespaces: spaces(&["dn_6002"], two, two), source: named_source("dn_6001"), ..broken() };
    assert_eq!(planned(&own, json!({})).unwrap().0, BuildMode::Full);
    assert_eq!(planned(&Present { node: streaming().node, ..own }, json!({})), None);
    let same =
        Present { tablespaces: spaces(&["dn_6001"], one, one), source: named_source("dn_6001"), ..broken() };
    assert_eq!(planned(&same, json!({})).unwrap().0, BuildMode::Auto);
}

#[test]
fn a_build_for_which_no_wal_senders_are_left_is_refused_with_the_numbers() {
    let with = |used| {
        let source = Source { senders: Some(Senders { used, allowed: 4 }), ..named_source("dn_6001") };
        Present { source, ..broken() }
    };
    let error = plan(&with(3), &args(json!({"mode": "full"}))).unwrap_err();
    assert_eq!(error.failure().reason, Some(Reason::NotEnoughWalSenders));
    assert!(error.to_string().contains("3 of 4 WAL senders"), "{error}");
    assert!(planned(&with(3), json!({"mode": "full", "force": true})).is_some());
    assert!(planned(&with(2), json!({"mode": "full"})).is_some());
    // One that streams gives its own back.
    let streams = Present { node: streaming().node, ..with(3) };
    assert!(planned(&streams, json!({"mode": "full"})).is_some());
    assert!(planned(&with(3), json!({})).is_some(), "an incremental one takes one");
    assert_eq!(plan(&with(4), &args(json!({}))).unwrap_err().kind(), ErrorKind::Refused);
}

#[test]
fn what_a_build_leaves_that_died_in_its_deleting_is_built_in_full() {
    let fake = Fake::new("exit 1");
    let data = fake.home.path().join("data");
    for folder in ["global", "pg_xlog", "base"] {
        std::fs::create_dir(data.join(folder)).unwrap();
    }
    let mut state = vec![0; 72];
    // A standby that is being built in full.
    (state[0], state[8], state[32]) = (3, 7, 2);
    std::fs::write(data.join("gaussdb.state"), state).unwrap();
    std::fs::write(data.join("gs_build.pid"), "999999999").unwrap();
    std::fs::write(data.join("global/pg_control"), vec![1; 8192]).unwrap();
    std::fs::write(data.join("pg_xlog/000000010000000000000001"), "").unwrap();
    let node = ServerNode::new(&data);
    assert_eq!(node.build(), None, "it had deleted nothing");
    std::fs::remove_file(data.join("pg_xlog/000000010000000000000001")).unwrap();
    assert!(node.build().unwrap().interrupted);
    fake.run(json!({})).unwrap_err();
    assert!(fake.call.recorded_actions()[0].ends_with("in full"), "{:?}", fake.call.recorded_actions());
}

/// A program of the node's installation that does nothing, or a server in its data directory.
struct Idle(std::process::Child);

impl Idle {
    fn start(program: &std::path::Path, folder: &std::path::Path) -> Self {
        let child = std::process::Command::new(program).arg("600").current_dir(folder).spawn().unwrap();
        while std::fs::read(format!("/proc/{}/cmdline", child.id())).unwrap().is_empty() {
            std::thread::yield_now();
        }
        Self(child)
    }

    fn cm_agent(fake: &Fake) -> Self {
        let bin = fake.home.path().join("bin/cm_agent");
        // Copied by a child, as this process forks in other tests meanwhile ("text file busy").
        assert!(
            std::process::Command::new("/bin/cp").arg("/bin/sleep").arg(&bin).status().unwrap().success()
        );
        Self::start(&bin, fake.home.path())
    }
}

impl std::ops::Drop for Idle {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_build_that_cm_cannot_be_told_is_left_to_cm() {
    let fake = Fake::new("exit 1");
    let agent = Idle::cm_agent(&fake);
    let error = fake.run(json!({"mode": "full", "force": true})).unwrap_err();
    let seen = fake.run(json!({"state": "query"})).unwrap().output.node.managed_by;
    assert_eq!(error.failure().reason, Some(Reason::ManagedByCm), "{error}");
    assert!(error.to_string().contains("cm_ctl build -n NODE_ID"), "{error}");
    assert_eq!(seen.agent, Some(agent.0.id()));
    assert!(fake.call.recorded_actions().is_empty());
}

/// A gs_ctl that tells of a standby that streams, and notes each other command in `calls`.
const GS_CTL_BESIDE_CM: &str = r#"[ "$1" = query ] || { echo "gs_ctl $1" >> "$3/../calls"; exit 1; }
printf ' HA state:           \n\tlocal_role                     : Standby\n\tdb_state                       : Normal\n'
printf '\tdetail_information             : Normal\n\n Receiver info:      \n\treceiver_pid                   : 5\n'"#;

const CM_CTL: &str = r#"home=$(dirname "$(dirname "$0")")
[ "$1" = query ] || echo "cm_ctl $*" >> "$home/calls"
case "$1" in
query)
  printf '[  CMServer State   ]\n\nnode instance state\n----------\n1  n1 1        Primary\n'
  printf '\n[   Cluster State   ]\n\ncluster_state   : Degraded\n\n'
  printf '[  Datanode State   ]\n\nnode instance state\n----------\n1  n1 6001     S Standby Need repair(Connecting)\n' ;;
build) [ -e "$home/fails" ] && { echo 'cm_ctl: can not build at current role.'; exit 255; }
  mv "$home/next.pid" "$home/data/postmaster.pid"; printf '.\ncm_ctl: build successfully.\n' ;;
esac"#;

fn under_cm() -> (Fake, Idle) {
    let fake = Fake::new(GS_CTL_BESIDE_CM);
    let (home, data) = (fake.home.path(), fake.home.path().join("data"));
    let write = r#"printf '#!/bin/sh\n%s\n' "$2" > "$1" && chmod 755 "$1""#;
    let status = std::process::Command::new("/bin/sh")
        .args(["-c", write, "sh"])
        .arg(home.join("bin/cm_ctl"))
        .arg(CM_CTL)
        .status();
    assert!(status.unwrap().success());
    let bytes = include_bytes!("../../../tests/vectors/cluster/with_cm_1p2s/cluster_static_config");
    let mut config = og_common::cluster::static_config::StaticConfig::parse(bytes).unwrap();
    for node in config.cluster.nodes.iter_mut().flat_map(|node| &mut node.data_nodes) {
        node.data_dir = data.display().to_string();
    }
    std::fs::write(home.join("bin/cluster_static_config"), config.print().unwrap()).unwrap();
    let agent = Idle::cm_agent(&fake);
    (fake, agent)
}

#[test]
fn where_cm_runs_the_node_cm_builds_it() {
    let (mut fake, _agent) = under_cm();
    let (home, data) = (fake.home.path().to_owned(), fake.home.path().join("data"));
    let calls = || std::fs::read_to_string(home.join("calls")).unwrap_or_default();
    fake.call.check = true;
    let planned = fake.run(json!({"mode": "full"})).unwrap();
    fake.call.check = false;
    assert_eq!(planned.actions, ["build the node as standby in full by CM (cm_ctl build)"]);
    assert_eq!(calls(), "");
    // The server that comes up after the build.
    let server = Idle::start(std::path::Path::new("/bin/sleep"), &data);
    let pid = format!("{}\n{}\n1\n5432\n/tmp\n\n1 1\n", server.0.id(), data.display());
    std::fs::write(home.join("next.pid"), pid).unwrap();
    let report = fake.run(json!({"mode": "full"})).unwrap();
    assert_eq!((report.changed, report.output.build_status), (true, Status::Completed), "{}", report.msg);
    assert_eq!(report.output.mode_used, Some(BuildMode::Full));
    assert_eq!(calls(), format!("cm_ctl build -n 1 -D {} -b full -f\n", data.display()));
    // It streams: nothing is to be done.
    assert!(!fake.run(json!({})).unwrap().changed);
}

#[test]
fn a_full_build_that_cm_did_not_order_is_not_called_built() {
    let (fake, _agent) = under_cm();
    let data = fake.home.path().join("data");
    let server = Idle::start(std::path::Path::new("/bin/sleep"), &data);
    let pid = format!("{}\n{}\n1\n5432\n/tmp\n\n1 1\n", server.0.id(), data.display());
    std::fs::write(data.join("postmaster.pid"), &pid).unwrap();
    // It says that all is well, and the server is the same.
    std::fs::write(fake.home.path().join("next.pid"), pid).unwrap();
    let error = fake.run(json!({"mode": "full"})).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CommandFailed);
    assert!(error.to_string().contains("built nothing, for the server has never been away"), "{error}");
}

#[test]
fn what_cm_chose_is_not_said_where_it_is_not_known() {
    let means = Means::Cm(og_common::gauss::managed::CmTarget::default());
    let plan = |means| Plan { mode: BuildMode::Auto, role: Role::Standby, node_name: None, means };
    let output = Output { build_status: Status::Completed, ..Output::default() };
    let words = super::message(&output, Some(&plan(means)), false);
    assert!(words.starts_with("built by CM, which does not say whether"), "{words}");
    let words = super::message(&output, Some(&plan(Means::Own)), false);
    assert!(words.starts_with("built in full"), "{words}");
}

#[test]
fn the_dots_of_cm_ctl_are_no_progress() {
    let (fake, _agent) = under_cm();
    let dots = CM_CTL.replace("build) ", "build) while :; do printf .; sleep 0.1; done;");
    let write = r#"printf '#!/bin/sh\n%s\n' "$2" > "$1""#;
    let program = fake.home.path().join("bin/cm_ctl");
    let status =
        std::process::Command::new("/bin/sh").args(["-c", write, "sh"]).arg(program).arg(dots).status();
    assert!(status.unwrap().success());
    let error = fake.run(json!({"stall_timeout": 1})).unwrap_err();
    assert!(error.to_string().contains("made no progress for 1 s"), "{error}");
}

#[test]
fn a_build_that_cm_does_not_take_is_told_in_its_words() {
    let (fake, _agent) = under_cm();
    std::fs::write(fake.home.path().join("fails"), "").unwrap();
    let error = fake.run(json!({"mode": "full"})).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CommandFailed);
    assert!(error.to_string().contains("cm_ctl: can not build at current role"), "{error}");
}

#[test]
fn a_full_disk_is_told_by_the_failed_build() {
    let fake = Fake::new("echo 'could not write to file \"base/1/2\": No space left on device'; exit 1");
    let error = fake.run(json!({})).unwrap_err();
    assert_eq!(error.failure().reason, Some(Reason::DiskFull), "{error}");
    assert!(error.to_string().contains("the disk of the node is full"), "{error}");
    assert!(!error.to_string().contains("pg_hba.conf"), "{error}");
}
