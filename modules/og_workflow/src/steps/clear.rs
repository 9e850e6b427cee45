//! Removing what dropped nodes left.

use std::collections::BTreeMap;
use std::path::PathBuf;

use og_common::gauss::initdb::{ObstacleKind, RemovalObstacle};
use og_preflight::args::Purpose;
use serde_json::json;

use super::package::Removal;
use super::{Answered, INSPECT, Run, Targets, Workflow, WorkflowEntry, args, calls_on, require_success};
use crate::answer::Answer;
use crate::args::ClearMode;
use crate::plan::preflight::{On, Policy, refuse_on_errors, warn_on_findings};
use crate::plan::{self, Clear};
use crate::replay::{Calls, Go};
use crate::seen::{INITDB, PROGRAMS};
use crate::table::aligned;

/// The registry entry of this workflow: description, preflight checks and function.
pub(super) const ENTRY: WorkflowEntry = WorkflowEntry {
    workflow: Workflow::Clear,
    name: "clear",
    title: "Clear dropped nodes",
    about: "Remove what a dropped node left: its server is stopped, its data directory moved aside, its rules and slots removed",
    details: &[
        "It proves first that the node is no member: no channel, static configuration or synchronous standby name has it.",
        "Interrupted at any point, it can be run again.",
    ],
    changes: true,
    targets: Some(Targets {
        option: "og_clear",
        about: "The dropped nodes whose data directories are removed",
        example: "n2",
        state: "cleared",
        state_about: "Nothing is left of these nodes, which were dropped",
        required: true,
    }),
    options: &["og_clear_mode", "og_confirm_clear", "og_package_absent", "og_host_absent", "og_accept"],
    preflight: Some(Policy {
        purpose: Purpose::Drop,
        rules: &[
            // Their files lose what is left of the node.
            refuse_on_errors(On::Others, &["disk.writable", "conf.syntax"]),
            warn_on_findings(On::Others, &["managed.paused"]),
        ],
    }),
    run: clear,
};

pub(super) fn clear(it: &mut Run, targets: &[String]) -> Go {
    let programs: Vec<_> = PROGRAMS.into_iter().chain([INITDB]).collect();
    let og = it.begin_asking(INSPECT, &programs, |nodes, options| plan::clear(nodes, targets, options))?;
    let mut findings = Vec::new();
    let package = super::package::inspect_removal(it, &og, &mut findings)?;
    let gone = removed_paths(&og, &package);
    let host = super::host::inspect_removal(it, &og, &gone, &mut findings)?;
    check_removal(it, &og, &mut findings)?;
    it.refuse(findings)?;
    let leaves_host = host.0.iter().all(|(_, answer)| !answer.has_changed());
    if og.is_empty() && package.nodes.is_empty() && leaves_host {
        it.add_warnings(&host);
        it.show(&[], &og.shared.targets, Some(&og.shared.primary))?;
        return Ok(());
    }
    it.lock(&og.shared)?;
    let done = steps(it, &og, &package, &host, &gone);
    it.end_and_unlock(std::slice::from_ref(&og.shared.primary), done)
}

/// By node, the paths that are gone when og_host comes to it: where there are any, a directory may be empty then.
fn removed_paths(og: &Clear, package: &Removal) -> BTreeMap<String, Vec<PathBuf>> {
    let mut gone = package.gone.clone();
    for n in og.remove.keys() {
        let paths = gone.entry(n.clone()).or_default();
        if og.mode == ClearMode::Deleted {
            paths.extend(og.listing[n].iter().map(|one| one.path.clone()));
        }
    }
    gone
}

/// Asks whether the data directories may go before anything is changed. That a server runs which is to be stopped counts for
/// nothing.
fn check_removal(it: &mut Run, og: &Clear, findings: &mut Vec<String>) -> Go {
    let calls = removal(og, og.remove.iter());
    let told = it.foresee("Check whether the data directories may go", INITDB, calls)?;
    let stops = |n: &String, answer: &Answer| {
        let obstacles: Vec<RemovalObstacle> = answer.read_key("obstacles");
        og.stop.contains(n)
            && answer.error_text("kind") == "refused"
            && !obstacles.is_empty()
            && obstacles.iter().all(|obstacle| obstacle.kind == ObstacleKind::Running)
    };
    let refused = told.0.iter().filter(|(n, answer)| !stops(n, answer));
    findings.extend(refused.filter_map(|(n, answer)| Some(format!("{n}: {}", answer.failure_reason()?))));
    Ok(())
}

/// The calls by which these data directories go.
fn removal<'a>(og: &Clear, nodes: impl Iterator<Item = (&'a String, &'a String)>) -> Calls {
    nodes
        .map(|(n, confirmed)| {
            let mut own = json!({"state": "absent", "mode": og.mode, "peers": og.peers});
            if og.mode == ClearMode::Deleted && !confirmed.is_empty() {
                own["confirm"] = json!(confirmed);
            }
            (n.clone(), args(own))
        })
        .collect()
}

fn steps(
    it: &mut Run,
    og: &Clear,
    package: &Removal,
    host: &Answered,
    gone: &BTreeMap<String, Vec<PathBuf>>,
) -> Go {
    let shared = &og.shared;
    let calls = calls_on(&og.stop, &json!({"state": "stopped", "stop_mode": "fast"}));
    require_success(&[&it.step("Stop the cleared nodes", "og_node_state", calls)?])?;
    let removed = remove(it, og)?;
    require_success(&[&removed])?;
    let rules =
        og.rules.iter().map(|(n, rules)| (n.clone(), args(json!({"state": "absent", "rules": rules}))));
    let rules = it.step("Remove the pg_hba.conf rules of the cleared nodes", "og_hba", rules.collect())?;
    let slots = og
        .slots
        .iter()
        .map(|(n, names)| (n.clone(), args(json!({"state": "absent", "names": names, "if_active": "wait"}))));
    let slots = it.step("Drop the replication slots of the cleared nodes", "og_slot", slots.collect())?;
    require_success(&[&rules, &slots])?;
    super::package::remove(it, og, package)?;
    super::host::remove(it, host, gone)?;
    it.show(&[], &shared.targets, Some(&shared.primary))?;
    let check = it.how.check;
    it.table.extend(listed(og, check));
    Ok(())
}

/// Moves or deletes the data directories. In check mode a server that would be stopped still runs.
fn remove(it: &mut Run, og: &Clear) -> Go<Answered> {
    const TITLE: &str = "Remove the data directories";
    let (foreseen, asked): (Vec<_>, Vec<_>) =
        og.remove.iter().partition(|(n, _)| it.how.check && og.stop.contains(n));
    let done = it.step(TITLE, INITDB, removal(og, asked.into_iter()))?;
    let verb = match og.mode {
        ClearMode::Moved => "move aside",
        ClearMode::Deleted => "delete",
    };
    let would = foreseen.into_iter().map(|(n, _)| {
        let paths: Vec<_> = og.listing[n].iter().map(|one| one.path.display().to_string()).collect();
        let action = format!("{verb} {}", paths.join(", "));
        (n.clone(), Answer::from_foreseen("would be removed", &action))
    });
    let would = Answered(would.collect());
    it.record_answers(TITLE, &would);
    Ok(done)
}

/// What goes, a line each.
fn listed(og: &Clear, check: bool) -> Vec<String> {
    let what = match og.mode {
        _ if check => "WOULD GO",
        ClearMode::Moved => "MOVED ASIDE",
        ClearMode::Deleted => "DELETED",
    };
    let head = ["NODE", what, "SIZE", "CHANGED", "OWNER", "WHY"].map(str::to_owned);
    let rows = og.listing.iter().filter(|(n, _)| og.remove.contains_key(*n)).flat_map(|(n, all)| {
        all.iter().map(move |one| {
            [
                n.clone(),
                one.path.display().to_string(),
                one.bytes.to_string(),
                one.modified.clone().unwrap_or_default(),
                one.owner.clone().unwrap_or_default(),
                one.why.clone(),
            ]
        })
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    if rows.len() == 1 {
        return Vec::new();
    }
    std::iter::once(String::new()).chain(aligned(&rows)).collect()
}
