//! Setting parameters on all nodes.

use og_preflight::args::Purpose;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{Run, Workflow, WorkflowEntry, args, failure_reasons, require_success, restart};
use crate::plan::preflight::{On, Policy, refuse_on_errors, warn_on_findings};
use crate::plan::{self, Configure, Outlook, Restart, pending_in_words};
use crate::replay::{Answered, Calls, Go, Stop};

/// The registry entry of this workflow: description, preflight checks and function.
pub(super) const ENTRY: WorkflowEntry = WorkflowEntry {
    workflow: Workflow::Configure,
    name: "configure",
    title: "Configure the cluster",
    about: "Set parameters on all nodes of the cluster, in the right order",
    details: &[
        "The parameters are in `og_parameters`; all nodes are asked whether they accept them before one is changed.",
        "The result names the nodes that need a restart; with `og_configure_restart` they are restarted one by one.",
    ],
    changes: true,
    targets: None,
    options: &[
        "og_parameters",
        "og_configure_restart",
        "og_restart_commits",
        "og_wait_sessions",
        "og_switch_back",
        "og_accept",
        "og_probe",
    ],
    preflight: Some(Policy {
        // The values count from a start on.
        purpose: Purpose::Restart,
        rules: &[
            refuse_on_errors(On::All, &["disk.writable", "conf.syntax"]),
            warn_on_findings(On::All, &["managed.paused"]),
        ],
    }),
    run: |it, _| configure(it),
};

pub(super) fn configure(it: &mut Run) -> Go {
    let named = it.how.options.og_parameters.keys().map(|name| name.to_ascii_lowercase());
    it.more_parameters = Some(named.chain(plan::limits()).collect());
    let og = it.begin(plan::configure)?;
    let nodes = og.foresee_nodes(&validate(it, &og)?);
    let restarts = it.how.options.og_configure_restart;
    // Found before anything is changed, as if the parameters were set.
    let rolling = plan::restart(&nodes, &[], &it.how.options);
    let rolling = if restarts { Some(planned(it, rolling)?) } else { None };
    let mut locks = vec![og.shared.primary.clone()];
    if let Some(rolling) = &rolling {
        locks.extend(rolling.locks.iter().filter(|n| **n != og.shared.primary).cloned());
    }
    // Its purpose tells of a switchover back, too.
    it.lock_nodes(rolling.as_ref().map_or(&og.shared, |rolling| &rolling.shared), &locks)?;
    let done = steps(it, &og, rolling.as_ref());
    it.end_and_unlock(&locks, done)?;
    if !restarts {
        it.warnings.extend(lowered_limits(&og));
        it.warnings.extend(pending_in_words(&og.pending(&nodes)));
    }
    Ok(())
}

/// That no standby starts with less of a limit than its primary runs with.
fn lowered_limits(og: &Configure) -> Option<String> {
    let names: Vec<_> = og.lowered.iter().map(String::as_str).collect();
    (!names.is_empty()).then(|| {
        let (names, primary) = (names.join(", "), &og.shared.primary);
        format!(
            "{names}: until the primary is restarted no standby may restart: it would have less of it than {primary} runs \
             with, and not start; og restart restarts them in the right order"
        )
    })
}

/// The plan of the restarts.
///
/// # Errors
/// Its findings.
fn planned(it: &mut Run, outlook: Outlook<Restart>) -> Go<Restart> {
    let refusal = outlook.refusal(true, &it.describe_changes());
    let Some(plan) = outlook.plan else {
        it.findings = outlook.findings;
        return Err(Stop::Failed(refusal));
    };
    it.warnings.extend(outlook.warnings);
    Ok(plan)
}

fn og_guc(parameters: &Map<String, Value>) -> Value {
    json!({"parameters": parameters})
}

/// Asks all nodes whether they take the parameters; returns by node those that count only after a restart.
///
/// # Errors
/// What a node does not take.
fn validate(it: &mut Run, og: &Configure) -> Go<BTreeMap<String, BTreeSet<String>>> {
    let call = |n: &String| {
        let mut own = og_guc(&og.parameters);
        own["check_mode"] = json!(true);
        // A standby takes a lowered limit only after its primary, which is seen to here.
        own["force"] = json!(*n != og.shared.primary);
        (n.clone(), args(own))
    };
    let calls: Calls = og.shared.members.iter().map(call).collect();
    it.replay.shown = super::QUIET;
    let done = it.replay.ask("Validate the parameters", "og_guc", &calls)?;
    it.refuse(failure_reasons(&[&done]))?;
    // What a running server says of the order of restarts, and a standby of its primary's file, is done here.
    let waiting = |(n, answer): &(String, crate::answer::Answer)| {
        (
            n.clone(),
            answer
                .read_key::<BTreeSet<String>>("pending")
                .into_iter()
                .map(|name| name.to_ascii_lowercase())
                .collect(),
        )
    };
    Ok(done.0.iter().map(waiting).collect())
}

fn steps(it: &mut Run, og: &Configure, rolling: Option<&Restart>) -> Go {
    let primary = &og.shared.primary;
    if let Some(values) = &og.restore_now {
        let name = "Carry out the deferred restore of an earlier run";
        it.run_required_step(name, "og_guc", primary, json!(values), false)?;
    }
    // Standbys first: each has in its file what it needs to follow a primary that is restarted with the new limits. The
    // reload of the primary then hands its file to them.
    let own = og.standby_parameters();
    // A standby, too, hands its file to those that follow it: they come first, so that each node is seen to change.
    for nodes in [&og.cascades, &og.standbys].into_iter().filter(|nodes| !nodes.is_empty() && !own.is_empty())
    {
        let calls = nodes.iter().map(|n| (n.clone(), args(og_guc(&own)))).collect();
        require_success(&[&set(it, "Set the parameters on the standbys", calls)?])?;
    }
    let calls = vec![(primary.clone(), args(og_guc(&og.parameters)))];
    let done = set(it, "Set the parameters on the primary", calls)?;
    require_success(&[&done])?;
    if !og.parameters.keys().any(|name| plan::limits().contains(name)) {
        // Of limits it says in which order the nodes are to be restarted.
        it.add_warnings(&done);
    }
    let leads = match rolling {
        Some(rolling) => restart::roll(it, rolling, &og.lowered_limits())?,
        None => primary.clone(),
    };
    let idle = it.show(&[], &[], Some(if it.how.check { primary } else { &leads }))?;
    it.drop_idle_slots(idle)
}

/// Sets parameters; what a single server says of its place in the cluster is not told, for it is seen to.
fn set(it: &mut Run, name: &str, calls: Calls) -> Go<Answered> {
    it.replay.shown = crate::args::Shown::default();
    let done = it.replay.ask(name, "og_guc", &it.complete(calls))?;
    it.record_answers(name, &done);
    Ok(done)
}
