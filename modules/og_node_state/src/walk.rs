//! Walks all combinations of what can be asked of a node, what it is, and what is seen of the others.
#![allow(clippy::unwrap_used)]

use og_common::gauss::peer::{ChannelEnds, ChannelPeer, Found};
use og_common::gauss::{DbState, LogPosition, NodeState, Receiver, Role};
use og_common::protocol::{ErrorKind, Lsn};
use serde_json::json;

use crate::args::Args;
use crate::plan::{Present, Step, needs_peers, plan};
use crate::transition::Refusal;

const OWN: u64 = 0x5000;

fn peer(found: Found) -> ChannelPeer {
    ChannelPeer { channel: ChannelEnds::default(), found }
}

/// What one peer can be: role, and its log beside this node's.
fn peers() -> Vec<ChannelPeer> {
    let mut all = vec![
        peer(Found::Silent("connection refused".to_owned())),
        peer(Found::Reserved("it says nothing".to_owned())),
    ];
    for role in [Role::Primary, Role::Standby, Role::Pending, Role::Normal, Role::Unknown] {
        for lsn in [None, Some(Lsn::new(OWN - 8)), Some(Lsn::new(OWN)), Some(Lsn::new(OWN + 8))] {
            all.push(peer(Found::Server { role, system_id: Some(1), lsn, term: Some(2) }));
        }
    }
    for (system_id, lsn, term) in [
        (Some(9), Some(Lsn::new(OWN + 8)), Some(9)),
        (None, Some(Lsn::new(OWN + 8)), None),
        (Some(1), Some(Lsn::new(OWN - 8)), Some(3)),
        (Some(1), Some(Lsn::new(OWN + 8)), Some(1)),
    ] {
        all.push(peer(Found::Server { role: Role::Standby, system_id, lsn, term }));
    }
    all
}

/// None, one, and pairs.
fn seen() -> Vec<Vec<ChannelPeer>> {
    let all = peers();
    let mut seen = vec![vec![]];
    seen.extend(all.iter().map(|one| vec![one.clone()]));
    // Of each kind that a rule tells apart, beside another one.
    let kinds: Vec<_> = [0, 1, 3, 6, 8, 9, 13].iter().map(|n| all[*n].clone()).collect();
    for (n, one) in kinds.iter().enumerate() {
        seen.extend(kinds[n..].iter().map(|other| vec![one.clone(), other.clone()]));
    }
    seen
}

/// Each call that can be made.
fn calls() -> Vec<Args> {
    let mut calls: Vec<_> = ["query", "stopped", "reloaded"].map(|state| json!({"state": state})).to_vec();
    let roles = ["primary", "standby", "cascade_standby", "normal", "pending"];
    for state in ["started", "restarted", "standby"] {
        calls.push(json!({"state": state}));
        calls.extend(roles.map(|role| json!({"state": state, "role": role})));
    }
    calls.push(json!({"state": "started", "unattended": true}));
    for transition in ["switchover", "failover"] {
        calls.push(json!({"state": "primary", "transition": transition}));
    }
    calls.into_iter().map(|call| serde_json::from_value(call).unwrap()).collect()
}

/// What this node can be: running or not, role, the role of its last start, its server state, its log.
fn nodes() -> Vec<Present> {
    let roles = [
        Role::Primary,
        Role::Standby,
        Role::CascadeStandby,
        Role::Normal,
        Role::Pending,
        Role::MainStandby,
        Role::Unknown,
    ];
    let starts =
        [None, Some(Role::Primary), Some(Role::Standby), Some(Role::CascadeStandby), Some(Role::Pending)];
    let states = [
        (DbState::Normal, true, ""),
        (DbState::NeedRepair, false, "Disconnected"),
        (DbState::NeedRepair, false, "WAL segment removed"),
    ];
    let mut nodes = Vec::new();
    for running in [false, true] {
        for role in roles {
            for started_as in starts {
                for (db_state, receives, detail) in states {
                    for lsn in [None, Some(Lsn::new(OWN))] {
                        for has_channel in [false, true] {
                            let node = NodeState {
                                running,
                                answered: running,
                                role,
                                db_state,
                                detail: Some(detail.to_owned()),
                                receiver: (running && receives && role.is_following())
                                    .then(Receiver::default),
                                ..NodeState::default()
                            };
                            let log = LogPosition { lsn, term: lsn.map(|_| 2), ..LogPosition::default() };
                            nodes.push(Present {
                                node,
                                started_as,
                                log,
                                has_channel,
                                system_id: Some(1),
                                ..Present::default()
                            });
                        }
                    }
                }
            }
        }
    }
    nodes
}

/// Whether the server takes writes when these steps are done; `None` when they leave its role alone.
fn leads_after(present: &Present, args: &Args, steps: &[Step]) -> Option<bool> {
    match steps.last()? {
        Step::Switchover | Step::Failover => Some(true),
        Step::Notify(role) => Some(!role.is_following()),
        Step::Start(Some(role)) => Some(*role == Role::Primary),
        // As the server itself decides.
        Step::Start(None) => Some(args.role.is_some() || present.node.role != Role::MainStandby),
        // What CM does, plan makes none of.
        Step::Stop | Step::EndWait | Step::Reload | Step::Cm(_) => None,
    }
}

fn holds_more(present: &Present, peer: &ChannelPeer) -> bool {
    match peer.found {
        Found::Server { system_id, lsn, term, .. } => {
            system_id != Some(9)
                && (lsn > present.log.lsn
                    || term.zip(present.log.term).is_some_and(|(theirs, own)| theirs > own))
        }
        _ => false,
    }
}

#[test]
fn no_call_makes_a_second_primary_or_loses_rows_or_the_only_primary() {
    let (mut walked, mut allowed) = (0_u64, 0_u64);
    let mut reasons = std::collections::BTreeMap::new();
    let (calls, seen) = (calls(), seen());
    for mut present in nodes() {
        for args in &calls {
            for peers in &seen {
                walked += 1;
                present.peers.clone_from(peers);
                let asks = needs_peers(&present, args);
                let steps = match plan(&present, args) {
                    Ok(steps) => steps,
                    Err(error) => {
                        if let Some(reason) =
                            error.failure().reason.filter(|_| error.kind() == ErrorKind::Refused)
                        {
                            *reasons.entry(reason).or_insert(0_u64) += 1;
                            // What the table refuses is done when it is forced.
                            let forced = plan(&present, &Args { force: true, ..args.clone() });
                            assert_eq!(
                                forced.is_ok(),
                                Refusal::REASONS.contains(&reason),
                                "{args:?} {present:?}"
                            );
                        }
                        continue;
                    }
                };
                allowed += 1;
                let node = &present.node;
                let led = node.running && matches!(node.role, Role::Primary | Role::Normal);
                let primaries = peers.iter().filter(|peer| peer.is_primary()).count();
                let what = || format!("{args:?}\n{present:?}\n{steps:?}");
                match leads_after(&present, args, &steps) {
                    Some(true) => {
                        assert!(asks, "the peers are not asked: {}", what());
                        let hands_over = usize::from(steps == [Step::Switchover]);
                        assert!(primaries <= hands_over, "a second primary: {}", what());
                        let more = peers.iter().find(|peer| holds_more(&present, peer));
                        let stays = node.running && (led || node.role == Role::Unknown);
                        let judged = hands_over == 0 && (present.log.lsn.is_some() || !stays);
                        assert!(!judged || more.is_none(), "it holds less: {}", what());
                        let all_tell = peers.iter().all(|peer| peer.has_told_role() && !peer.is_single());
                        assert!(
                            !args.unattended || all_tell,
                            "an unattended start beside a peer that does not tell its role: {}",
                            what()
                        );
                    }
                    Some(false) if led => {
                        assert!(asks, "the peers are not asked: {}", what());
                        assert!(primaries > 0, "no primary is left: {}", what());
                    }
                    _ => {}
                }
            }
        }
    }
    println!("{walked} combinations walked, {allowed} allowed; refused: {reasons:?}");
    assert_eq!(walked, (nodes().len() * calls.len() * seen.len()) as u64);
    assert!(walked > 1_000_000, "{walked}");
    for reason in Refusal::REASONS {
        let lags = og_common::protocol::Reason::Lagging;
        assert!(reason == lags || reasons.contains_key(&reason), "{reason:?} was never met");
    }
}

#[test]
fn under_cm_no_call_acts_by_gs_ctl_or_stops_a_primary() {
    use og_common::gauss::cm_ctl::CmAct;
    use og_common::gauss::managed::{ManagedBy, Manager};
    let held = |files: &[&str]| ManagedBy {
        by: Manager::Cm,
        agent: Some(1),
        node_id: Some(1),
        instance_id: Some(6001),
        data_dir: Some("/data".to_owned()),
        manual_start: files.iter().map(|file| (*file).to_owned()).collect(),
        ..ManagedBy::default()
    };
    let (mut walked, calls, seen) = (0_u64, calls(), seen());
    let data_dir = std::path::Path::new("/data");
    for mut present in nodes() {
        for args in &calls {
            for peers in seen.iter().step_by(3) {
                present.peers.clone_from(peers);
                for managed in [held(&[]), held(&["instance_manual_start_6001"])] {
                    let planned = crate::managed::plan_as_managed(&present, args, &managed, data_dir);
                    let Ok(steps) = planned else { continue };
                    walked += 1;
                    let what = || format!("{args:?}\n{present:?}\n{steps:?}");
                    // In manual stop a stop is nobody's but the caller's.
                    let is_held = !managed.manual_start.is_empty();
                    let by_cm = |step: &Step| {
                        matches!(step, Step::Cm(_) | Step::Reload) || (is_held && *step == Step::Stop)
                    };
                    assert!(steps.iter().all(by_cm), "{}", what());
                    let node = &present.node;
                    let switches = steps == [Step::Cm(CmAct::Switchover)];
                    assert!(!switches || node.is_healthy(), "it does not stream: {}", what());
                    let may_lead = !node.role.is_following() && present.has_channel;
                    let is_stopped =
                        steps.iter().any(|step| matches!(step, Step::Stop | Step::Cm(CmAct::Stop(_))));
                    let leads = node.running && may_lead && node.role != Role::Pending;
                    assert!(!(is_stopped && leads), "a failover without a condition: {}", what());
                    let is_begun = !node.running && steps.contains(&Step::Cm(CmAct::Start));
                    let other = peers.iter().any(ChannelPeer::is_primary);
                    let was = !node.role.is_following();
                    assert!(!(is_begun && was && other), "an old primary is rebuilt: {}", what());
                }
            }
        }
    }
    assert!(walked > 50_000, "{walked}");
}

/// docs/safety.md has a row for each reason of the table, and none that the table has not.
#[test]
fn the_safety_document_has_the_table() {
    let text = include_str!("../../../docs/safety.md");
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with("| og_node_state")).collect();
    for reason in Refusal::REASONS {
        let word = format!("(`{}`", reason.name());
        let named =
            rows.iter().any(|row| row.contains(&word) || row.contains(&format!(", `{}`", reason.name())));
        assert!(named, "docs/safety.md has no row of og_node_state with {word}");
    }
    for reason in og_common::protocol::Reason::ALL {
        let told = rows.iter().any(|row| row.contains(&format!("`{}`", reason.name())));
        let others = ["building", "build_incomplete", "wrong_role", "frozen", "overtaken", "managed_by_cm"];
        assert!(!told || Refusal::REASONS.contains(&reason) || others.contains(&reason.name()), "{reason:?}");
    }
}
