//! Letting a standby and the primary exchange their roles.

use og_common::gauss::{DbState, Fork, Role};
use og_common::protocol::Lsn;
use og_preflight::args::Purpose;
use serde_json::json;

use super::{
    INSPECT, Run, Targets, Workflow, WorkflowEntry, args, calls_on, failure_reasons, require_success,
    write_static,
};
use crate::args::{LongTransactions, Reason, Shown};
use crate::cluster::Node;
use crate::plan::preflight::{On, Policy, refuse_on_errors, warn_on_findings};
use crate::plan::{self, HandOver, SYNC_NAMES, Shared, Switchover};
use crate::replay::{Go, Stop};
use crate::seen::{PROGRAMS, SESSIONS};

/// The registry entry of this workflow: description, preflight checks and function.
pub(super) const ENTRY: WorkflowEntry = WorkflowEntry {
    workflow: Workflow::Switchover,
    name: "switchover",
    title: "Switch over to a standby",
    about: "Make a standby the primary, and the primary a standby; nothing that was committed is lost",
    details: &[
        "The primary is checkpointed first, while clients write; then commits wait while the roles change.",
        "It is tried once; its outcome is read from all nodes.",
    ],
    changes: true,
    targets: Some(Targets {
        option: "og_switchover",
        about: "The standby that becomes primary",
        example: "n2",
        state: "primary",
        state_about: "This node is the primary of the cluster",
        required: true,
    }),
    options: &["og_long_transactions", "og_without", "og_accept", "og_probe"],
    preflight: Some(Policy {
        purpose: Purpose::Switchover,
        rules: &[
            refuse_on_errors(
                On::Targets,
                &[
                    "hba.clients",
                    "channels.both_ways",
                    "channels.local",
                    "names.tablespaces",
                    "server.replay_paused",
                    "settings.senders",
                    "settings.slots",
                ],
            ),
            refuse_on_errors(
                On::All,
                &[
                    "disk.writable",
                    "conf.syntax",
                    "leftovers.processes",
                    "channels.reached",
                    "settings.replication",
                    "server.backup",
                ],
            ),
            // A full archive is a reason to leave a host, not to stay there.
            warn_on_findings(On::Others, &["server.archiving"]),
            warn_on_findings(
                On::Targets,
                &[
                    "disk.use",
                    "disk.inodes",
                    "limits.open_files_running",
                    "limits.running",
                    "settings.pending_restart",
                ],
            ),
            warn_on_findings(
                On::All,
                &[
                    "clock.difference",
                    "names.hosts",
                    "security.keys",
                    "transactions.idle",
                    "transactions.prepared",
                    "slots.logical",
                    "managed.paused",
                    "managed.watchers",
                ],
            ),
        ],
    }),
    run: switchover,
};

/// Seconds that a switchover may take until it is looked up what became of it.
const SWITCHOVER_TIMEOUT_SECONDS: u64 = 90;
/// Seconds between two polls at a switchover that has not come to an end.
const POLL_INTERVAL_SECONDS: u64 = 2;
/// How often it is looked up.
const MAX_POLLS: usize = 60;

pub(super) fn switchover(it: &mut Run, targets: &[String]) -> Go {
    let programs: Vec<_> = PROGRAMS.into_iter().chain([SESSIONS]).collect();
    let og =
        it.begin_asking(INSPECT, &programs, |nodes, options| plan::switchover(nodes, targets, options))?;
    let mut locked = vec![og.hand_over.from.clone()];
    if !og.hand_over.is_done() {
        // Whoever comes meanwhile looks for the lock at the primary that he finds.
        locked.push(og.hand_over.to.clone());
    }
    it.lock_nodes(&og.shared, &locked)?;
    match steps(it, &og) {
        // The lock stays with a change of roles that is under way: until it expires, or a run on this controller finds that
        // this one has ended.
        Err(Stop::Failed(why)) if it.reason == Some(Reason::UnderWay) => Err(Stop::Failed(why)),
        done => it.end_and_unlock(&locked, done),
    }
}

fn steps(it: &mut Run, og: &Switchover) -> Go {
    let own = &og.hand_over;
    if let Some(values) = &og.restore_now {
        let name = "Carry out the deferred restore of an earlier run";
        it.run_required_step(name, "og_guc", &own.from, json!(values), false)?;
    }
    if og.clear_transactions {
        let wait = it.how.options.og_long_transactions == LongTransactions::Wait;
        let (name, method) = if wait {
            ("Wait for long transactions", "wait")
        } else {
            ("End long transactions", "terminate")
        };
        let timeout = it.how.options.og_wait_timeout;
        let call = json!({"state": "absent", "min_age": plan::LONG_TRANSACTION_SECONDS, "method": method, "timeout": timeout});
        it.run_required_step(name, SESSIONS, &own.from, call, false)?;
    }
    hand_over(it, &og.shared, own)?;
    // In check mode the roles are what they were.
    let primary = if it.how.check { &own.from } else { &own.to };
    let idle = it.show(&[], &[], Some(primary))?;
    it.drop_idle_slots(idle)
}

/// Makes the standby the primary: a checkpoint before, one switchover, all members behind it, the cluster's files.
pub(super) fn hand_over(it: &mut Run, shared: &Shared, own: &HandOver) -> Go {
    let timeout = it.how.options.og_wait_timeout;
    let mut last_checkpoint = None;
    if !own.is_done() {
        if let Some(value) = &own.sync_names {
            let name = "Configure synchronous_standby_names of the new primary";
            it.run_required_step(name, "og_guc", &own.to, json!({"parameters": {SYNC_NAMES: value}}), false)?;
        }
        // The outage is the checkpoint of a shutdown: what is written before is not written then.
        let checkpoint = || vec![(own.from.clone(), args(json!({"state": "done", "timeout": timeout})))];
        require_success(&[&it.ask_quietly("Checkpoint the primary", "og_checkpoint", checkpoint())?])?;
        if !it.how.check {
            let wait = json!({"role": "standby", "db_state": "normal", "max_lag_bytes": it.how.options.og_max_lag_bytes});
            let call = vec![(own.to.clone(), args(json!({"wait": wait, "timeout": timeout})))];
            require_success(&[&it.step("Wait until the standby has caught up", "og_node_state", call)?])?;
            // What came meanwhile.
            let done = it.ask_quietly("Checkpoint the primary once more", "og_checkpoint", checkpoint())?;
            require_success(&[&done])?;
            last_checkpoint = done.get(&own.from).and_then(|answer| answer.read_key("checkpoint_lsn"));
        }
        switch(it, own)?;
        // Before anything else can fail: the next run would find the roles changed, and record nothing.
        record(it, own, last_checkpoint)?;
    }
    if !it.how.check {
        let call = json!({"wait": {"db_state": "normal"}, "timeout": timeout});
        let name = "Wait until the members follow the new primary";
        require_success(&[&it.step(name, "og_node_state", calls_on(&own.followers, &call))?])?;
    }
    let mut nodes = vec![own.to.clone()];
    nodes.extend(own.followers.iter().cloned());
    require_success(&[&it.step(
        "Update cluster_static_config",
        "og_static_conf",
        write_static(shared, &nodes, &own.files),
    )?])
}

/// Puts the change of roles on record on the members, beside the failovers: that is what proves to a repair that the log of the
/// new primary goes on where that of the old one was. `checkpoint`: where the record of the old primary's last checkpoint begins.
/// It has the time in it, so that no other server can have written the same; both logs must have it.
fn record(it: &mut Run, own: &HandOver, checkpoint: Option<Lsn>) -> Go {
    if it.how.check || !own.is_recorded {
        return Ok(());
    }
    let name = "Record the switchover";
    let consequence = "the repair of a node that an earlier failover replaced needs og_repair_force";
    let pair = [own.to.clone(), own.from.clone()];
    let records = match checkpoint {
        Some(lsn) => it.log_records(&pair, vec![lsn])?,
        None => std::collections::BTreeMap::new(),
    };
    let found = |node: &String| *records.get(node)?.records.get(&checkpoint?)?;
    let record = found(&own.to).filter(|record| found(&own.from).as_ref() == Some(record));
    let Some(record) = record else {
        it.warnings.push(format!(
            "{}: the last checkpoint of {} was not found in the logs of both, and the switchover is not recorded: {consequence}",
            own.to, own.from
        ));
        return Ok(());
    };
    let fork = Fork {
        new_primary: own.to.clone(),
        old_primaries: vec![own.from.clone()],
        record,
        term: None,
        at: String::new(),
    };
    let mut nodes = vec![own.to.clone()];
    nodes.extend(own.followers.iter().filter(|n| **n != own.to && **n != own.from).cloned());
    nodes.push(own.from.clone());
    let calls = calls_on(&nodes, &json!({"state": "fork_recorded", "fork": fork}));
    let shown = Shown { may_fail: true, ..Shown::default() };
    let done = it.ask(name, "og_node_state", calls, shown)?;
    it.record_answers(name, &done);
    let failed = failure_reasons(&[&done]);
    it.warnings.extend(failed.into_iter().map(|why| {
        format!("{why}; the switchover is not recorded there: once that node is the primary, {consequence}")
    }));
    Ok(())
}

/// One try; what became of one that failed is looked up, for it may go on behind the back of whoever gave up.
fn switch(it: &mut Run, own: &HandOver) -> Go {
    let name = "Switch over";
    let call = json!({"state": "primary", "transition": "switchover", "timeout": SWITCHOVER_TIMEOUT_SECONDS});
    let shown = Shown { may_fail: true, ..Shown::default() };
    let done = it.ask(name, "og_node_state", vec![(own.to.clone(), args(call))], shown)?;
    it.record_answers(name, &done);
    let Err(Stop::Failed(why)) = require_success(&[&done]) else { return Ok(()) };
    if it.how.check {
        return Err(Stop::Failed(why));
    }
    let mut last = SwitchoverEnd::NotYet;
    for _ in 0..MAX_POLLS {
        it.replay.pause = Some(POLL_INTERVAL_SECONDS);
        let nodes = it.inspect("Inspect what became of the switchover", &["og_node_state"], &[])?;
        let end = outcome(&nodes, own);
        match &end {
            SwitchoverEnd::Done => {
                it.warnings.push(format!("the switchover came to its end after it had been given up: {why}"));
                return Ok(());
            }
            SwitchoverEnd::AsBefore if last == end => {
                it.reason = Some(Reason::OldRolesHold);
                return Err(Stop::Failed(format!(
                    "the switchover did not take place, {} is still the primary and {} its standby: {why}",
                    own.from, own.to
                )));
            }
            SwitchoverEnd::Other(name) if last == end => {
                it.reason = Some(Reason::OtherPrimary);
                return Err(Stop::Failed(format!(
                    "the switchover did not take place, for {name} has become primary in place of {}: {why}; inspect the \
                     cluster (og status) before you switch over again",
                    own.from
                )));
            }
            SwitchoverEnd::AsBefore | SwitchoverEnd::Other(_) | SwitchoverEnd::NotYet => last = end,
        }
    }
    it.reason = Some(Reason::UnderWay);
    Err(Stop::Failed(format!(
        "the switchover has not come to an end: {why}; inspect {} and {} (og status) until one of them is primary, and do not \
         try again before",
        own.from, own.to
    )))
}

/// What became of a switchover.
#[derive(Clone, Debug, PartialEq, Eq)]
enum SwitchoverEnd {
    Done,
    AsBefore,
    /// This third node is the primary, and no other: openGauss CM makes one when a primary fails.
    Other(String),
    NotYet,
}

/// The names of the nodes that run as a primary or a single server.
fn running_primaries(nodes: &[Node]) -> Vec<String> {
    let leads = |n: &&Node| matches!(n.live_role(), Some(Role::Primary | Role::Normal));
    nodes.iter().filter(leads).map(|n| n.name.clone()).collect()
}

fn outcome(nodes: &[Node], own: &HandOver) -> SwitchoverEnd {
    let is = |name: &str, role: Role| {
        nodes
            .iter()
            .any(|n| n.name == name && n.live_role() == Some(role) && n.state().db_state == DbState::Normal)
    };
    if is(&own.to, Role::Primary) && !running_primaries(nodes).contains(&own.from) {
        SwitchoverEnd::Done
    } else if is(&own.from, Role::Primary)
        && nodes.iter().any(|n| n.name == own.to && n.live_role() == Some(Role::Standby))
    {
        SwitchoverEnd::AsBefore
    } else if let [other] = &running_primaries(nodes)[..]
        && is(other, Role::Primary)
        && ![&own.from, &own.to].contains(&other)
    {
        SwitchoverEnd::Other(other.clone())
    } else {
        SwitchoverEnd::NotYet
    }
}
