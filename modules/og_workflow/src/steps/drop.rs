//! Taking nodes away.

use og_preflight::args::Purpose;
use serde_json::{Value, json};

use super::{Run, Targets, Workflow, WorkflowEntry, args, calls_on, require_success, write_static};
use crate::plan::preflight::{On, Policy, refuse_on_errors, warn_on_findings};
use crate::plan::{self, Drop};
use crate::replay::{Answered, Calls, Go, Stop};

/// The registry entry of this workflow: description, preflight checks and function.
pub(super) const ENTRY: WorkflowEntry = WorkflowEntry {
    workflow: Workflow::Drop,
    name: "drop",
    title: "Drop nodes of the cluster",
    about: "Remove standbys or cascade standbys from a cluster, dead or alive; never the primary",
    details: &[
        "The dropped nodes keep their data. Interrupted at any point, it can be run again.",
        "A node that could not be reached keeps running; run it again when the node is back.",
    ],
    changes: true,
    targets: Some(Targets {
        option: "og_drop",
        about: "The nodes to remove",
        example: "n2",
        state: "dropped",
        state_about: "These nodes are not members of the cluster",
        required: true,
    }),
    options: &["og_drop_commits", "og_drop_clear", "og_accept", "og_probe"],
    preflight: Some(Policy {
        purpose: Purpose::Drop,
        rules: &[
            refuse_on_errors(On::Others, &["disk.writable", "conf.syntax"]),
            warn_on_findings(On::Targets, &["transactions.long", "transactions.idle", "server.backup"]),
            warn_on_findings(On::Others, &["managed.paused"]),
        ],
    }),
    run: drop,
};

pub(super) fn drop(it: &mut Run, targets: &[String]) -> Go {
    let og = it.begin(|nodes, options| plan::drop(nodes, targets, options))?;
    it.lock(&og.shared)?;
    let why = match steps(it, &og) {
        Ok(()) => None,
        Err(Stop::Failed(why)) => Some(why),
        Err(ask) => return Err(ask),
    };
    // Before the lock goes: as long as it stands, the next run finds in it what is still to be restored.
    if let Some(own) = &og.restore_after {
        let name = "Restore most_available_sync";
        // By now it may be another one, whose file is the one that counts.
        if why.is_some() && !it.how.check {
            it.describe_primary_change(&og.shared)?;
        }
        let primary = it.primary.clone().unwrap_or_else(|| og.shared.primary.clone());
        match it.run_required_step(name, "og_guc", &primary, json!(own), true) {
            Err(Stop::Failed(e)) => {
                // The lock stays: it says what is to be restored.
                let before = why.map(|why| format!("{why}; ")).unwrap_or_default();
                let told = format!("{before}most_available_sync was not restored, run this again: {e}");
                return Err(Stop::Failed(told));
            }
            done => done?,
        }
    }
    let done = why.map_or(Ok(()), |why| Err(Stop::Failed(why)));
    it.end_with(done, |it| it.unlock(&og.shared))
}

fn steps(it: &mut Run, og: &Drop) -> Go {
    let (shared, remaining) = (&og.shared, &og.shared.members);
    let each = |own: &dyn Fn(&String) -> Value| -> Calls {
        remaining.iter().map(|n| (n.clone(), args(own(n)))).collect()
    };
    // First of all, so that no commit ever waits for a node that is about to go. In the same reload, where asked for,
    // commits are let go on without a standby for the moment in which the channels go.
    let calls = each(&|n| {
        let mut own = json!({});
        if let Some(commits) = og.commits.get(n) {
            own["parameters"] = json!(commits);
        }
        if !og.last {
            own["synchronous_standbys"] = json!({"method": "keep", "num": "keep", "remove": og.names_gone});
        }
        own
    });
    require_success(&[&it.step("Remove the nodes from synchronous_standby_names", "og_guc", calls)?])?;
    let calls = calls_on(&og.stop, &json!({"state": "stopped", "stop_mode": "fast"}));
    let stopped = it.step("Stop the dropped nodes", "og_node_state", calls)?;
    // On as many nodes at the same moment as the caller calls at once: each ends its replication connections once, and
    // whoever reconnects finds nobody who still names the dropped node.
    let channels = each(&|n| {
        // That the last standby goes is what is asked for, also when it cannot be reached and seems to stream still.
        json!({"state": "absent", "local": shared.locals[n], "peers": og.cut, "force": og.last})
    });
    let rules = if og.rules.is_empty() {
        Calls::new()
    } else {
        calls_on(remaining, &json!({"state": "absent", "rules": og.rules}))
    };
    // Without that the log they have not received fills the disk.
    let slots = calls_on(remaining, &json!({"state": "absent", "names": og.names_gone, "if_active": "wait"}));
    let files = write_static(shared, remaining, &og.files);
    let [channels, rules, slots, files] = it.step_of(
        "Remove the dropped nodes from channels, rules, slots and cluster_static_config",
        [("og_replconninfo", channels), ("og_hba", rules), ("og_slot", slots), ("og_static_conf", files)],
    )?;
    require_success(&[&channels, &rules, &slots, &files])?;
    let mut cleared = Answered::default();
    if it.how.options.og_drop_clear {
        let clear = |n: &String| {
            (
                n.clone(),
                args(json!({"state": "exact", "local": shared.locals[n], "peers": [], "reload": "never"})),
            )
        };
        cleared = it.step(
            "Clear the replication channels of the dropped nodes",
            "og_replconninfo",
            og.stop.iter().map(clear).collect(),
        )?;
    }
    require_success(&[&stopped, &cleared])?;
    if og.cuts && !it.how.check {
        let wait = json!({"wait": {"db_state": "normal"}, "timeout": it.how.options.og_wait_timeout});
        let calls = calls_on(&og.standbys, &wait);
        require_success(&[&it.step("Wait until the remaining standbys stream", "og_node_state", calls)?])?;
    }
    let idle = it.show(&[], &shared.targets, Some(&shared.primary))?;
    it.drop_idle_slots(idle)
}
