//! Making a standby the primary when the primary is lost.

use og_preflight::args::Purpose;
use std::collections::BTreeMap;

use og_common::gauss::{LogPosition, NodeState};
use og_common::protocol::Lsn;
use serde_json::json;

use super::{
    Run, Targets, Workflow, WorkflowEntry, args, calls_on, failure_reasons, require_success, write_static,
};
use crate::args::Shown;
use crate::plan::preflight::{On, Policy, warn_on_findings};
use crate::plan::{self, Choice, Failover, SYNC_NAMES};
use crate::replay::{Answered, Go, Stop};
use crate::seen::{LogRecords, PROGRAMS};

/// The registry entry of this workflow: description, preflight checks and function.
pub(super) const ENTRY: WorkflowEntry = WorkflowEntry {
    workflow: Workflow::Failover,
    name: "failover",
    title: "Fail over to a standby",
    about: "Make the standby that holds most the primary when the primary is lost",
    details: &[
        "That it is lost is proved twice: no server answers there, and no standby receives from it.",
        "The old primary is stopped or, where it cannot be reached, cut off; then the standby is chosen that holds most of the log.",
    ],
    changes: true,
    targets: Some(Targets {
        option: "og_failover",
        about: "The standby that becomes primary (without a name, the one that holds most WAL)",
        example: "n2",
        state: "failed_over",
        state_about: "A standby is the primary in place of one that is lost",
        required: false,
    }),
    options: &["og_confirm_dead", "og_accept_loss", "og_failover_force", "og_probe"],
    preflight: Some(Policy {
        purpose: Purpose::Failover,
        rules: &[warn_on_findings(
            On::All,
            &[
                "disk.use",
                "disk.inodes",
                "disk.writable",
                "conf.syntax",
                "hba.clients",
                "limits.open_files_running",
                "names.tablespaces",
                "server.replay_paused",
                "settings.replication",
                "managed.watchers",
            ],
        )],
    }),
    run: failover,
};

/// Seconds between the two inspections that prove that the primary is lost.
const INSPECTION_INTERVAL_SECONDS: u64 = 5;
/// Seconds that the promotion may take.
const PROMOTION_TIMEOUT_SECONDS: u64 = 90;

pub(super) fn failover(it: &mut Run, targets: &[String]) -> Go {
    let mut og = it.begin(|nodes, options| plan::failover(nodes, targets, options))?;
    if og.done.is_none() {
        // What is seen once may be over in a moment.
        it.replay.pause = Some(INSPECTION_INTERVAL_SECONDS);
        let name = "Prove that the primary is lost";
        og = it.begin_asking(name, &PROGRAMS, |nodes, options| plan::failover(nodes, targets, options))?;
    }
    let mut logs = Logs::default();
    if og.done.is_none() {
        // All findings, before anything is changed.
        read_logs(it, &og, &mut logs)?;
        choose(it, &og, &logs)?;
    }
    let mut locked = og.survivors.clone();
    locked.extend(og.done.iter().filter(|name| !og.survivors.contains(name)).cloned());
    it.lock_nodes(&og.shared, &locked)?;
    let mut promoted = None;
    let (to, done) = match steps(it, &og, &mut logs, &mut promoted) {
        Ok(to) => (Some(to), Ok(())),
        Err(stop) => (None, Err(stop)),
    };
    it.end_with(done, |it| match (to, promoted) {
        // The record stays, for whoever has to fail over again, on whichever of them is left then.
        (Some(to), _) => {
            let record = plan::done_failover(&to);
            locked.iter().try_for_each(|node| it.leave_lock_on("Record the failover", node, &record))
        }
        // The next run goes on from here.
        (None, Some(to)) => {
            locked.retain(|name| *name != to);
            it.leave_lock_on("Record what is left to be done", &to, &og.shared.purpose)
                .and_then(|()| it.unlock_nodes(&locked))
        }
        (None, None) => it.unlock_nodes(&locked),
    })
}

/// Returns the new primary, which `promoted` has as soon as it is one.
fn steps(it: &mut Run, og: &Failover, logs: &mut Logs, promoted: &mut Option<String>) -> Go<String> {
    // Nobody receives from then on, so what is read next does not change any more.
    let stop = calls_on(&og.stop, &json!({"state": "stopped", "stop_mode": "immediate"}));
    require_success(&[&it.step("Stop the old primary", "og_node_state", stop)?])?;
    if let Some(to) = &og.done {
        *promoted = Some(to.clone());
        return follow_up(it, og, to, &og.survivors, &plan::files_for(og, to)).map(|()| to.clone());
    }
    if !og.lost.is_empty() {
        let channels = og
            .survivors
            .iter()
            .map(|n| {
                let own =
                    json!({"state": "absent", "local": og.shared.locals[n], "peers": og.cut, "force": true});
                (n.clone(), args(own))
            })
            .collect();
        let channels =
            it.step("Remove the old primary's replication channels", "og_replconninfo", channels)?;
        let calls = calls_on(&og.survivors, &json!({"state": "absent", "rules": og.rules}));
        let calls = if og.rules.is_empty() { Vec::new() } else { calls };
        let rules = it.step("Remove the old primary's pg_hba.conf rules", "og_hba", calls)?;
        require_success(&[&channels, &rules])?;
    }
    read_logs(it, og, logs)?;
    let choice = choose(it, og, logs)?;
    record_fork(it, og, &choice)?;
    // So that nobody starts it as primary meanwhile, or afterwards.
    let calls = write_static(&og.shared, &og.stop, &choice.files);
    require_success(&[&it.step("Record the old primary as standby", "og_static_conf", calls)?])?;
    it.warnings.extend(choice.warnings.iter().cloned());
    if choice.loses {
        it.warnings.push(choice.loss.clone());
    }
    for name in &og.lost {
        it.warnings.push(format!(
            "{name} could not be reached: if it lives, it takes the commits of clients that reach it, unless its \
             synchronous_standby_names makes them wait, and these are lost; keep clients away from it and stop it, then repair it"
        ));
    }
    promote(it, &choice)?;
    *promoted = Some(choice.to.clone());
    follow_up(it, og, &choice.to, &choice.followers, &choice.files)?;
    if !choice.loses && !choice.loss.is_empty() {
        it.table.splice(0..0, [format!("{}.", choice.loss), String::new()]);
    }
    Ok(choice.to)
}

/// How far the logs go, and how they compare.
#[derive(Default)]
struct Logs {
    ends: BTreeMap<String, LogPosition>,
    records: BTreeMap<String, LogRecords>,
}

fn choose(it: &mut Run, og: &Failover, logs: &Logs) -> Go<Choice> {
    plan::choose(og, &logs.ends, &logs.records, &it.how.options).map_err(|findings| {
        it.findings.clone_from(&findings);
        Stop::Failed(plan::list_findings(&findings, ""))
    })
}

/// Reads how far the logs go; where that is not what it was, also whether each has the last record of the others.
fn read_logs(it: &mut Run, og: &Failover, logs: &mut Logs) -> Go {
    let ends = log_ends(it, og)?;
    if ends == logs.ends {
        return Ok(());
    }
    let last = |end: &LogPosition| end.last_record.map(|record| record.begin);
    let places: Vec<Lsn> = ends.values().filter_map(last).collect();
    logs.records = if places.len() > 1 {
        it.log_records(&ends.keys().cloned().collect::<Vec<_>>(), places)?
    } else {
        BTreeMap::new()
    };
    logs.ends = ends;
    Ok(())
}

/// Puts on record where the new primary's log begins to be its own, on all survivors: `repair` of the old primary goes by it.
/// The new primary must have it, and builds copy it from there; another survivor that has it not keeps nothing back.
fn record_fork(it: &mut Run, og: &Failover, choice: &Choice) -> Go {
    let Some(fork) = &choice.fork else {
        it.warnings.push(format!(
            "{}: the last record of its log cannot be read, so where its own begins is not recorded; the old primary is compared \
             by its log alone, and its repair needs og_repair_force",
            choice.to
        ));
        return Ok(());
    };
    let calls = calls_on(&og.survivors, &json!({"state": "fork_recorded", "fork": fork}));
    let shown = Shown { may_fail: true, ..Shown::default() };
    let mut done = it.ask("Record the fork point", "og_node_state", calls, shown)?;
    it.record_answers("Record the fork point", &done);
    let own: Vec<_> = done.0.iter().filter(|(name, _)| *name == choice.to).cloned().collect();
    done.0.retain(|(name, _)| *name != choice.to);
    require_success(&[&Answered(own)])?;
    let failed = failure_reasons(&[&done]);
    it.warnings.extend(failed.into_iter().map(|why| {
        format!(
            "{why}; the fork point is not recorded there: once that node is the primary, the old primary is compared by its log \
             alone, and its repair needs og_repair_force"
        )
    }));
    Ok(())
}

/// How far the log goes on each standby, and on an old primary that can be reached.
fn log_ends(it: &mut Run, og: &Failover) -> Go<BTreeMap<String, LogPosition>> {
    let nodes: Vec<String> = og.standbys.iter().chain(&og.stop).cloned().collect();
    let own = json!({"state": "query", "log_end": true, "timeout": it.how.options.og_look_timeout});
    let done = it.ask_quietly("Inspect the ends of the logs", "og_node_state", calls_on(&nodes, &own))?;
    let runs = |name: &&String| {
        let state = done.get(name).map(|answer| answer.read_key::<NodeState>("node")).unwrap_or_default();
        state.running && !state.frozen && state.answered
    };
    if let Some(name) = og.stop.iter().find(runs) {
        return Err(Stop::Failed(format!("{name}: its server was started again meanwhile; see who did so")));
    }
    let end = |name: &String| {
        let answer = done.get(name)?;
        answer.failure_reason().is_none().then(|| (name.clone(), answer.read_key::<LogPosition>("log_end")))
    };
    Ok(nodes.iter().filter_map(end).collect())
}

fn promote(it: &mut Run, choice: &Choice) -> Go {
    if let Some(value) = &choice.sync_names {
        let name = "Configure synchronous_standby_names of the new primary";
        it.run_required_step(name, "og_guc", &choice.to, json!({"parameters": {SYNC_NAMES: value}}), false)?;
    }
    let call = json!({"state": "primary", "transition": "failover", "force": choice.force, "timeout": PROMOTION_TIMEOUT_SECONDS});
    let shown = Shown { may_fail: false, ..Shown::default() };
    let done = it.ask("Fail over", "og_node_state", vec![(choice.to.clone(), args(call))], shown)?;
    it.record_answers("Fail over", &done);
    require_success(&[&done])
}

/// What follows the change of roles. Who does not follow is a thing to repair, not a failure of what was asked for.
fn follow_up(it: &mut Run, og: &Failover, to: &str, followers: &[String], files: &plan::Files) -> Go {
    let followers: Vec<String> = followers.iter().filter(|name| *name != to).cloned().collect();
    if !it.how.check {
        let call = json!({"wait": {"db_state": "normal"}, "timeout": it.how.options.og_wait_timeout});
        let name = "Wait until the members follow the new primary";
        let shown = Shown { may_fail: true, ..Shown::default() };
        let done = it.ask(name, "og_node_state", calls_on(&followers, &call), shown)?;
        it.record_answers(name, &done);
        let late = failure_reasons(&[&done]);
        it.warnings.extend(late.into_iter().map(|why| format!("{why}; repair it")));
    }
    let mut nodes = vec![to.to_owned()];
    nodes.extend(followers.iter().chain(&og.stop).cloned());
    let calls = write_static(&og.shared, &nodes, files);
    require_success(&[&it.step("Update cluster_static_config", "og_static_conf", calls)?])?;
    let primary = Some(to).filter(|_| !it.how.check);
    let idle = it.show(&[], &[], primary)?;
    it.drop_idle_slots(idle)
}
