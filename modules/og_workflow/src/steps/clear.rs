//! Removing what dropped nodes left.

use serde_json::json;

use super::{Answered, INSPECT, Run, args, calls_on, require_success};
use crate::answer::Answer;
use crate::plan::{self, Clear};
use crate::replay::{Calls, Go};
use crate::seen::{INITDB, PROGRAMS};
use crate::table::aligned;

pub(super) fn clear(it: &mut Run, targets: &[String]) -> Go {
    let programs: Vec<_> = PROGRAMS.into_iter().chain([INITDB]).collect();
    let og = it.begin_asking(INSPECT, &programs, |nodes, options| plan::clear(nodes, targets, options))?;
    if og.is_empty() {
        it.show(&[], &og.shared.targets, Some(&og.shared.primary))?;
        return Ok(());
    }
    it.lock(&og.shared)?;
    let done = steps(it, &og);
    it.end(std::slice::from_ref(&og.shared.primary), done)
}

fn steps(it: &mut Run, og: &Clear) -> Go {
    let shared = &og.shared;
    let calls = calls_on(&og.stop, &json!({"state": "stopped", "stop_mode": "fast"}));
    require_success(&[&it.step("Stop the cleared nodes", "og_node_state", calls)?])?;
    let removed = remove(it, og)?;
    require_success(&[&removed])?;
    let rules =
        og.rules.iter().map(|(n, rules)| (n.clone(), args(json!({"state": "absent", "rules": rules}))));
    let rules = it.step("Remove their pg_hba.conf rules", "og_hba", rules.collect())?;
    let slots = og
        .slots
        .iter()
        .map(|(n, names)| (n.clone(), args(json!({"state": "absent", "names": names, "if_active": "wait"}))));
    let slots = it.step("Drop their replication slots", "og_slot", slots.collect())?;
    require_success(&[&rules, &slots])?;
    it.show(&[], &shared.targets, Some(&shared.primary))?;
    it.table.extend(listed(og));
    Ok(())
}

/// Moves or deletes the data directories. In check mode a server that would be stopped still runs.
fn remove(it: &mut Run, og: &Clear) -> Go<Answered> {
    const TITLE: &str = "Remove the data directories";
    let (foreseen, asked): (Vec<_>, Vec<_>) =
        og.remove.iter().partition(|(n, _)| it.how.check && og.stop.contains(n));
    let calls: Calls = asked
        .into_iter()
        .map(|(n, name)| {
            let mut own = json!({"state": "absent", "mode": og.mode, "peers": og.peers});
            if og.mode == crate::args::ClearMode::Deleted {
                own["confirm"] = json!(name);
            }
            (n.clone(), args(own))
        })
        .collect();
    let done = it.step(TITLE, INITDB, calls)?;
    let verb = match og.mode {
        crate::args::ClearMode::Moved => "move aside",
        crate::args::ClearMode::Deleted => "delete",
    };
    let would = foreseen.into_iter().map(|(n, _)| {
        let paths: Vec<_> = og.listing[n].iter().map(|one| one.path.display().to_string()).collect();
        let action = format!("{verb} {}", paths.join(", "));
        (n.clone(), Answer::from_foreseen("would be removed", &action))
    });
    let would = Answered(would.collect());
    it.note(TITLE, &would);
    Ok(done)
}

/// What goes, a line each.
fn listed(og: &Clear) -> Vec<String> {
    let head = ["NODE", "REMOVED", "SIZE", "CHANGED", "OWNER", "WHY"].map(str::to_owned);
    let rows = og.listing.iter().flat_map(|(n, all)| {
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
