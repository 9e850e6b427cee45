//! What is planned where openGauss CM is in charge.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use og_common::gauss::cm_ctl::CmAct;
use og_common::gauss::cm_query::CmView;
use og_common::gauss::managed::{CmTarget, ManagedBy, Manager};
use og_common::gauss::peer::{ChannelEnds, ChannelPeer, Found};
use og_common::gauss::{BuildProgress, DbState, LogPosition, NodeState, Receiver, Role, StopMode};
use og_common::protocol::{Error, ErrorKind, Lsn, Reason};
use serde_json::{Value, json};

use crate::args::Args;
use crate::managed::{consequence, plan_as_managed};
use crate::plan::{Present, Step};

/// A recording of `cm_ctl query -Cvidp`.
macro_rules! recording {
    ($name:literal) => {
        CmView::parse(include_str!(concat!("../../../tests/vectors/cm/query/", $name, ".txt"))).unwrap()
    };
}

fn under_cm() -> ManagedBy {
    ManagedBy {
        by: Manager::Cm,
        agent: Some(252),
        node_id: Some(3),
        instance_id: Some(6003),
        data_dir: Some("/data".to_owned()),
        ..ManagedBy::default()
    }
}

fn held() -> ManagedBy {
    ManagedBy { manual_start: vec!["instance_manual_start_6003".to_owned()], ..under_cm() }
}

fn node(running: bool, role: Role) -> Present {
    let receiver = (running && role.is_following()).then(Receiver::default);
    let db_state = if running { DbState::Normal } else { DbState::Unknown };
    let node = NodeState { running, answered: running, role, db_state, receiver, ..NodeState::default() };
    let cm_target = CmTarget { node_id: 3, instance_id: 6003, data_dir: "/data".into() };
    Present { node, has_channel: true, cm_target, ..Present::default() }
}

fn planned(present: &Present, managed: &ManagedBy, args: Value) -> Result<Vec<Step>, Error> {
    let args: Args = serde_json::from_value(args).unwrap();
    plan_as_managed(present, &args, managed, Path::new("/data"))
}

fn refused(present: &Present, args: Value) -> (Option<Reason>, String) {
    let error = planned(present, &under_cm(), args).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    (error.failure().reason, error.to_string())
}

const START: Step = Step::Cm(CmAct::Start);
const STOP: Step = Step::Cm(CmAct::Stop(StopMode::Fast));

#[test]
fn a_server_is_stopped_and_kept_stopped_by_cm() {
    let (up, down) = (node(true, Role::Standby), node(false, Role::Standby));
    let stopped = json!({"state": "stopped"});
    assert_eq!(planned(&up, &under_cm(), stopped.clone()).unwrap(), [STOP]);
    let immediate = json!({"state": "stopped", "stop_mode": "immediate"});
    let stop = Step::Cm(CmAct::Stop(StopMode::Immediate));
    assert_eq!(planned(&up, &under_cm(), immediate).unwrap(), [stop]);
    assert_eq!(planned(&down, &under_cm(), stopped.clone()).unwrap(), [STOP], "CM would start it again");
    assert_eq!(planned(&down, &held(), stopped.clone()).unwrap(), []);
    let primary = node(true, Role::Primary);
    let forced = json!({"state": "stopped", "force": true});
    let steps = planned(&primary, &under_cm(), forced).unwrap();
    assert!(consequence(&primary, &steps).unwrap().contains("CM makes a standby primary"));
    assert_eq!(consequence(&up, &[STOP]), None);
    assert_eq!(consequence(&primary, &[Step::Stop]), None);
}

#[test]
fn unattended_nothing_is_started_that_cm_runs() {
    let unattended = json!({"state": "started", "unattended": true});
    for managed in [under_cm(), held(), ManagedBy { paused: true, ..under_cm() }] {
        let error = planned(&node(false, Role::Standby), &managed, unattended.clone());
        let reason = error.map_err(|e| e.failure().reason);
        assert!(matches!(reason, Err(Some(Reason::ManagedByCm))), "{managed:?}: {reason:?}");
    }
    assert_eq!(planned(&node(true, Role::Standby), &under_cm(), unattended).unwrap(), []);
    // What cm_ctl stopped at the shutdown of the machine would stay stopped.
    let stopped = json!({"state": "stopped", "unattended": true});
    for running in [false, true] {
        for role in [Role::Standby, Role::Primary] {
            assert_eq!(
                planned(&node(running, role), &under_cm(), stopped.clone()).unwrap(),
                [],
                "{role} {running}"
            );
        }
    }
}

#[test]
fn a_primary_of_a_cluster_that_was_stopped_as_a_whole_is_stopped_without_force() {
    let (primary, stopped) = (node(true, Role::Primary), json!({"state": "stopped"}));
    let alone =
        ManagedBy { agent: None, manual_start: vec!["cluster_manual_start".to_owned()], ..under_cm() };
    let error = planned(&primary, &alone, stopped.clone()).unwrap_err();
    assert_eq!(error.failure().reason, Some(Reason::ManagedByCm), "CM runs the others");
    let whole = ManagedBy { cluster_stopped: true, ..alone };
    assert_eq!(planned(&primary, &whole, stopped).unwrap(), [Step::Stop]);
}

#[test]
fn a_server_is_started_by_cm_in_the_role_that_cm_gives_it() {
    let down = node(false, Role::Standby);
    for args in [
        json!({"state": "started"}),
        json!({"state": "started", "role": "standby"}),
        json!({"state": "standby"}),
        json!({"state": "restarted"}),
    ] {
        assert_eq!(planned(&down, &held(), args.clone()).unwrap(), [START], "{args}");
    }
    assert_eq!(planned(&node(true, Role::Standby), &under_cm(), json!({"state": "started"})).unwrap(), []);
    // One that was primary comes back as what CM makes of it.
    let old = node(false, Role::Primary);
    for role in ["standby", "primary"] {
        let args = json!({"state": "started", "role": role});
        assert_eq!(planned(&old, &held(), args).unwrap(), [START]);
    }
    for role in ["primary", "normal", "pending"] {
        let (reason, words) = refused(&down, json!({"state": "started", "role": role}));
        assert_eq!(reason, Some(Reason::ManagedByCm), "{words}");
        assert!(words.contains("its cm_server gives the roles"), "{words}");
    }
    let mut half = node(false, Role::Standby);
    half.node.build = Some(BuildProgress { interrupted: true, ..BuildProgress::default() });
    assert_eq!(refused(&half, json!({"state": "started"})).0, Some(Reason::BuildIncomplete));
    half.node.build = Some(BuildProgress { running: true, ..BuildProgress::default() });
    for state in ["started", "stopped", "restarted", "primary"] {
        let error = planned(&half, &under_cm(), json!({"state": state})).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy, "{state}");
    }
}

#[test]
fn what_may_be_the_primary_is_stopped_only_by_force() {
    // Where SQL does not answer, gaussdb.state tells the role, which CM may have left unknown.
    let silent = |role| {
        let mut present = node(true, role);
        (present.node.answered, present.node.db_state) = (false, DbState::Unknown);
        present
    };
    for present in
        [node(true, Role::Primary), node(true, Role::Normal), silent(Role::Unknown), silent(Role::Pending)]
    {
        for state in ["stopped", "restarted"] {
            for mode in ["fast", "immediate"] {
                let mut args = json!({"state": state, "stop_mode": mode});
                let (reason, words) = refused(&present, args.clone());
                assert_eq!(reason, Some(Reason::ManagedByCm));
                assert!(words.contains("CM makes a standby primary as soon as it is stopped"), "{words}");
                args["force"] = json!(true);
                let stop = planned(&present, &under_cm(), args).unwrap()[0];
                assert!(matches!(stop, Step::Cm(CmAct::Stop(_))), "{stop:?}");
            }
        }
    }
    for present in [node(true, Role::Pending), silent(Role::Standby), silent(Role::CascadeStandby)] {
        assert_eq!(planned(&present, &under_cm(), json!({"state": "stopped"})).unwrap(), [STOP]);
    }
    let mut single = node(true, Role::Normal);
    single.has_channel = false;
    assert_eq!(planned(&single, &under_cm(), json!({"state": "stopped"})).unwrap(), [STOP]);
}

#[test]
fn what_may_have_been_a_primary_is_started_only_where_nobody_leads_or_holds_more() {
    let peer = |role, lsn, term| ChannelPeer {
        channel: ChannelEnds::default(),
        found: Found::Server { role, system_id: Some(1), lsn: Some(Lsn::new(lsn)), term: Some(term) },
    };
    let old = |role, started_as, found: ChannelPeer| {
        let log = LogPosition { lsn: Some(Lsn::new(0x5000)), term: Some(2), ..LogPosition::default() };
        Present { started_as, log, system_id: Some(1), peers: vec![found], ..node(false, role) }
    };
    for (role, started_as) in [
        (Role::Primary, None),
        (Role::Primary, Some(Role::Pending)),
        (Role::Unknown, Some(Role::Pending)),
        (Role::Unknown, None),
        (Role::Normal, None),
    ] {
        for (found, reason) in [
            (peer(Role::Primary, 0x5000, 2), Reason::SecondPrimary),
            (peer(Role::Standby, 0x5000, 3), Reason::OlderTerm),
            (peer(Role::Standby, 0x5008, 2), Reason::HoldsLess),
        ] {
            for args in [
                json!({"state": "started"}),
                json!({"state": "started", "role": "standby"}),
                json!({"state": "started", "role": "primary"}),
                json!({"state": "standby"}),
                json!({"state": "restarted"}),
            ] {
                let present = old(role, started_as, found.clone());
                let error = planned(&present, &held(), args.clone()).unwrap_err();
                assert_eq!(error.failure().reason, Some(reason), "{args} {error}");
                assert!(error.failure().hint.as_ref().unwrap().contains("log_kept"), "{error:?}");
                let mut forced = args;
                forced["force"] = json!(true);
                assert_eq!(planned(&present, &held(), forced).unwrap(), [START]);
            }
        }
        let well = old(role, started_as, peer(Role::Standby, 0x5000, 2));
        assert_eq!(planned(&well, &held(), json!({"state": "started"})).unwrap(), [START]);
    }
    let standby = old(Role::Standby, Some(Role::Pending), peer(Role::Primary, 0x6000, 3));
    assert_eq!(planned(&standby, &held(), json!({"state": "started"})).unwrap(), [START]);
}

#[test]
fn the_mark_of_a_server_that_runs_is_taken_away() {
    for state in ["started", "restarted"] {
        let steps = planned(&node(true, Role::Standby), &held(), json!({"state": state})).unwrap();
        assert_eq!(steps.last(), Some(&START), "{state}");
    }
    let wrong = json!({"state": "started", "role": "primary"});
    assert_eq!(planned(&node(true, Role::Standby), &held(), wrong).unwrap_err().kind(), ErrorKind::Refused);
}

#[test]
fn a_standby_is_restarted_by_cm_and_a_primary_is_not() {
    let restarted = json!({"state": "restarted"});
    assert_eq!(planned(&node(true, Role::Standby), &under_cm(), restarted.clone()).unwrap(), [STOP, START]);
    let primary = node(true, Role::Primary);
    let (reason, words) = refused(&primary, restarted);
    assert_eq!(reason, Some(Reason::ManagedByCm));
    assert!(words.contains("CM makes a standby primary as soon as it is stopped"), "{words}");
    let forced = json!({"state": "restarted", "force": true});
    assert_eq!(planned(&primary, &under_cm(), forced).unwrap(), [STOP, START]);
}

#[test]
fn a_switchover_is_cms_own_with_the_conditions_of_ours() {
    let primary = json!({"state": "primary"});
    let mut standby = node(true, Role::Standby);
    standby.cm_view = Some(recording!("5.0.3-c_query-standby_node"));
    assert_eq!(
        planned(&standby, &under_cm(), primary.clone()).unwrap(),
        [Step::Cm(CmAct::Switchover)],
        "{:?}",
        standby.cm_view
    );
    assert_eq!(planned(&node(true, Role::Primary), &under_cm(), primary.clone()).unwrap(), []);
    let mut broken = standby.clone();
    (broken.node.db_state, broken.node.receiver) = (DbState::NeedRepair, None);
    let (reason, words) = refused(&broken, primary.clone());
    assert_eq!(reason, Some(Reason::NotStreaming));
    assert!(!words.contains("transition: failover"), "{words}");
    let (reason, words) = refused(&node(true, Role::Pending), primary.clone());
    assert_eq!(reason, Some(Reason::ManagedByCm));
    assert!(words.contains("waits for its own"), "{words}");
    assert_eq!(refused(&node(true, Role::CascadeStandby), primary).0, Some(Reason::WrongRole));
    let failover = json!({"state": "primary", "transition": "failover", "force": true});
    assert_eq!(refused(&standby, failover).0, Some(Reason::ManagedByCm));
    // Nor the other way round.
    let mut led = node(true, Role::Primary);
    assert_eq!(refused(&led, json!({"state": "standby"})).0, Some(Reason::ManagedByCm));
    let (reason, words) = refused(&led, json!({"state": "standby", "force": true}));
    assert_eq!(reason, Some(Reason::ManagedByCm), "{words}");
    led.node.role = Role::Standby;
    assert_eq!(planned(&led, &under_cm(), json!({"state": "standby"})).unwrap(), []);
}

#[test]
fn a_failover_of_a_stopped_cluster_needs_that_no_peer_is_silent() {
    let stopped = ManagedBy {
        agent: None,
        cluster_stopped: true,
        manual_start: vec!["cluster_manual_start".to_owned()],
        ..under_cm()
    };
    let mut standby = node(true, Role::Standby);
    (standby.node.db_state, standby.node.receiver) = (DbState::NeedRepair, None);
    let peer = |found| ChannelPeer { channel: ChannelEnds::default(), found };
    let follows = Found::Server { role: Role::Standby, system_id: None, lsn: None, term: None };
    standby.peers = vec![peer(Found::Silent("connection refused".to_owned())), peer(follows.clone())];
    let failover = json!({"state": "primary", "transition": "failover"});
    let error = planned(&standby, &stopped, failover).unwrap_err();
    assert_eq!((error.kind(), error.failure().reason), (ErrorKind::Refused, Some(Reason::ManagedByCm)));
    assert!(error.to_string().contains("whether it runs the cluster elsewhere"), "{error}");
    let forced = json!({"state": "primary", "transition": "failover", "force": true});
    assert_eq!(planned(&standby, &stopped, forced).unwrap(), [Step::Failover]);
    standby.peers = vec![peer(follows)];
    let failover = json!({"state": "primary", "transition": "failover"});
    assert_eq!(planned(&standby, &stopped, failover).unwrap(), [Step::Failover]);
}

#[test]
fn without_a_majority_of_cm_servers_nobody_switches_over() {
    let primary = json!({"state": "primary"});
    let mut standby = node(true, Role::Standby);
    standby.cm_view = Some(recording!("5.0.3-i_quorum-query_on_dead_node"));
    let (reason, words) = refused(&standby, primary.clone());
    assert_eq!(reason, Some(Reason::ManagedByCm));
    assert!(words.contains("CM has no majority of its servers"), "{words}");
    assert!(words.contains("om_monitor"), "{words}");
    // CM has not noticed yet what we see.
    standby.cm_view = Some(recording!("5.0.3-g_pause-stop_standby-0"));
    let (_, words) = refused(&standby, primary.clone());
    assert!(words.contains("CM sees this server as Down Starting"), "{words}");
    // As CM 6.0.2 said it on a disk that was 93 % full.
    let mut view = recording!("5.0.3-c_query-standby_node");
    for instance in &mut view.instances {
        instance.state = "ReadOnly".to_owned();
    }
    standby.cm_view = Some(view);
    let (_, words) = refused(&standby, primary);
    assert!(words.contains("Standby ReadOnly") && words.contains("make room"), "{words}");
}
