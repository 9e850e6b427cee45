//! Restarting nodes one by one.

use og_common::gauss::Role;
use og_preflight::args::Purpose;
use serde_json::{Map, Value, json};

use super::switchover::hand_over;
use super::{Run, Targets, Workflow, WorkflowEntry, args, assess, calls_on, require_success, write_static};
use crate::plan::preflight::{On, Policy, refuse_on_errors, warn_on_findings};
use crate::plan::{self, HandOver, OfPrimary, Restart, RestartedStandby};
use crate::replay::{Go, Stop};
use crate::seen::SESSIONS;

/// The registry entry of this workflow: description, preflight checks and function.
pub(super) const ENTRY: WorkflowEntry = WorkflowEntry {
    workflow: Workflow::Restart,
    name: "restart",
    title: "Restart the cluster",
    about: "Restart the nodes on which a parameter waits for a restart, one by one: standbys first, the primary after a switchover",
    details: &[
        "Nodes that are named are restarted in any case.",
        "A single node, or a primary without a standby to hand over to, is restarted in place.",
    ],
    changes: true,
    targets: Some(Targets {
        option: "og_restart",
        about: "The nodes to restart, whether a parameter waits for a restart or not",
        example: "n2",
        state: "restarted",
        state_about: "No parameter of the cluster waits for a restart; nodes that are named were restarted",
        required: false,
    }),
    options: &["og_restart_commits", "og_wait_sessions", "og_switch_back", "og_accept", "og_probe"],
    preflight: Some(Policy {
        purpose: Purpose::Restart,
        rules: &[
            refuse_on_errors(
                On::Targets,
                &[
                    "memory.process",
                    "memory.minimum",
                    "memory.shared_buffers",
                    "disk.writable",
                    "ports.free",
                    "leftovers.sockets",
                    "leftovers.processes",
                    "kernel.semaphores",
                    "kernel.shared_memory",
                    "programs.libraries",
                    "conf.syntax",
                    "security.keys",
                    "channels.local",
                    "names.tablespaces",
                    "settings.replication",
                    "settings.senders",
                    "settings.slots",
                    "server.backup",
                ],
            ),
            warn_on_findings(
                On::Targets,
                &[
                    "memory.overcommit",
                    "disk.use",
                    "disk.inodes",
                    "ports.ephemeral",
                    "limits.open_files",
                    "security.certificates",
                    "transactions.long",
                    "transactions.idle",
                    "transactions.prepared",
                    "managed.paused",
                    "managed.watchers",
                ],
            ),
        ],
    }),
    run: restart,
};

pub(super) fn restart(it: &mut Run, targets: &[String]) -> Go {
    it.more_parameters = Some(plan::limits());
    let og = it.begin(|nodes, options| plan::restart(nodes, targets, options))?;
    if og.is_empty() {
        it.show(&[], &[], Some(&og.shared.primary))?;
        return Ok(());
    }
    it.lock_nodes(&og.shared, &og.locks)?;
    let done = steps(it, &og);
    it.end_and_unlock(&og.locks, done)
}

fn steps(it: &mut Run, og: &Restart) -> Go {
    if let Some(values) = &og.restore_now {
        let name = "Carry out the deferred restore of an earlier run";
        it.run_required_step(name, "og_guc", &og.shared.primary, json!(values), false)?;
    }
    let primary = roll(it, og, &Map::new())?;
    let primary = if it.how.check { &og.shared.primary } else { &primary };
    let idle = it.show(&[], &[], Some(primary))?;
    it.drop_idle_slots(idle)
}

/// Restarts what is to be restarted; returns who is the primary at the end. `lowered`: limits which the standbys get when
/// the primary runs with them.
pub(super) fn roll(it: &mut Run, og: &Restart, lowered: &Map<String, Value>) -> Go<String> {
    let primary = &og.shared.primary;
    if og.primary == (OfPrimary::InPlace { first: true }) {
        restart_in_place(it, og)?;
        if !lowered.is_empty() && !it.how.check {
            // Their primary's file is theirs already, but where it is not handed on.
            let calls = calls_on(&og.followers, &json!({"parameters": lowered}));
            require_success(&[&it.ask_quietly(
                "Set the lowered limits on the standbys",
                "og_guc",
                calls,
            )?])?;
        }
    }
    roll_standbys(it, og)?;
    let mut leads = primary.clone();
    match &og.primary {
        OfPrimary::Stays | OfPrimary::InPlace { first: true } => {}
        OfPrimary::InPlace { first: false } => restart_in_place(it, og)?,
        OfPrimary::HandsOver { to, old } => {
            let own = choose(it, to)?;
            wait_for_sessions(it, primary)?;
            // The old primary follows when it is restarted: with less of a limit than the new one it may have stopped.
            let others = own.followers.iter().filter(|n| **n != own.from).cloned().collect();
            hand_over(it, &og.shared, &HandOver { followers: others, ..own.clone() })?;
            restart_standby(it, "Restart the old primary", &own.to, old)?;
            let calls = write_static(&og.shared, std::slice::from_ref(&own.from), &own.files);
            require_success(&[&it.step("Update cluster_static_config", "og_static_conf", calls)?])?;
            leads.clone_from(&own.to);
        }
    }
    if let Some(back) = &og.back {
        let back = HandOver { from: leads.clone(), ..back.clone() };
        if !it.how.check || !matches!(og.primary, OfPrimary::HandsOver { .. }) {
            hand_over(it, &og.shared, &back)?;
        }
        leads = back.to;
    }
    Ok(leads)
}

fn roll_standbys(it: &mut Run, og: &Restart) -> Go {
    for n in &og.standbys {
        let name = match n.role {
            Role::CascadeStandby => "Restart the cascade standbys",
            _ => "Restart the standbys",
        };
        wait_for_sessions(it, &n.name)?;
        restart_standby(it, name, &og.shared.primary, n)?;
    }
    Ok(())
}

/// Restarts a standby and waits until it streams and, where it did so before, counts for commits on the primary.
fn restart_standby(it: &mut Run, name: &str, primary: &str, n: &RestartedStandby) -> Go {
    let (timeout, lag) = (it.how.options.og_wait_timeout, it.how.options.og_max_lag_bytes);
    let mut own = json!({"state": "restarted", "stop_mode": "fast", "timeout": timeout});
    if !it.how.check {
        own["role"] = json!(n.role);
        own["wait"] = json!({"role": n.role, "db_state": "normal", "max_lag_bytes": lag});
    }
    it.run_required_step(name, "og_node_state", &n.name, own, false)?;
    if let Some(address) = n.counted.as_ref().filter(|_| !it.how.check) {
        let wait = json!({"wait": {"sync_peers": [address]}, "timeout": timeout});
        let calls = vec![(primary.to_owned(), args(wait))];
        require_success(&[&it.ask_quietly(
            "Wait until commits count the standby",
            "og_node_state",
            calls,
        )?])?;
    }
    Ok(())
}

/// Restarts the primary where it is, and waits until its standbys stream and have what it wrote first.
fn restart_in_place(it: &mut Run, og: &Restart) -> Go {
    let (primary, timeout) = (&og.shared.primary, it.how.options.og_wait_timeout);
    wait_for_sessions(it, primary)?;
    // Nobody can write while the checkpoint of the shutdown is made: what is written before is not written then.
    let checkpoint = json!({"state": "done", "timeout": timeout});
    let calls = vec![(primary.clone(), args(checkpoint))];
    require_success(&[&it.ask_quietly("Checkpoint the primary", "og_checkpoint", calls)?])?;
    let own = json!({"state": "restarted", "stop_mode": "fast", "timeout": timeout});
    it.run_required_step("Restart the primary in place", "og_node_state", primary, own, false)?;
    if it.how.check || og.followers.is_empty() {
        return Ok(());
    }
    let wait = json!({"wait": {"db_state": "normal", "max_lag_bytes": 0}, "timeout": timeout});
    let calls = calls_on(&og.followers, &wait);
    require_success(&[&it.ask_quietly("Wait until the standbys stream", "og_node_state", calls)?])
}

/// Waits for the clients' transactions on the node, where that is wanted.
fn wait_for_sessions(it: &mut Run, node: &str) -> Go {
    let timeout = it.how.options.og_wait_sessions;
    if timeout == 0 {
        return Ok(());
    }
    let own = json!({"state": "absent", "min_age": 0, "method": "wait", "timeout": timeout});
    let calls = vec![(node.to_owned(), args(own))];
    require_success(&[&it.ask_quietly("Wait for the transactions of clients", SESSIONS, calls)?])
}

/// The change of roles to the standby that is most advanced now, of those that could be made.
fn choose<'a>(it: &mut Run, to: &'a std::collections::BTreeMap<String, HandOver>) -> Go<&'a HandOver> {
    let programs = ["og_node_state", "og_replconninfo", "og_guc"];
    let nodes = it.inspect("Find the most advanced standby", &programs, &[])?;
    let health = assess(&nodes, it.how.options.og_max_lag_bytes);
    let found = plan::candidates(&nodes, &health, &it.how.options);
    let own = found.ready.iter().find_map(|own| to.get(&own.to));
    own.ok_or_else(|| {
        let names: Vec<_> = to.keys().cloned().collect();
        let why = found.in_words(&[]).map(|why| format!(": {why}")).unwrap_or_default();
        Stop::Failed(format!(
            "no standby can take the primary's place any more ({} could before){why}; repair one, then run this again",
            names.join(", ")
        ))
    })
}
