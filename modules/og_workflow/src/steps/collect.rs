//! What somebody needs to help from afar, of all nodes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{QUIET, Run, Workflow, WorkflowEntry, args, preflight::preflight, status::status};
use crate::replay::{Asked, Go, Stop};

/// The registry entry of this workflow: description, preflight checks and function.
pub(super) const ENTRY: WorkflowEntry = WorkflowEntry {
    workflow: Workflow::Collect,
    name: "collect",
    title: "Collect for support",
    about: "Collect the status, checks, configuration and server log of all nodes in one file on the controller; changes nothing",
    details: &[
        "Secrets are masked, and lines of the server log that quote SQL or rows are left out; look through the file before you send it.",
    ],
    changes: false,
    targets: None,
    options: &["og_log_lines"],
    preflight: None,
    run: |it, _| collect(it),
};

/// What was collected: of each node the answers, by program.
pub type Collected = BTreeMap<String, BTreeMap<String, Value>>;

fn collect(it: &mut Run) -> Go {
    // A cluster that is not well is what this is for.
    pass_failure(status(it))?;
    let table = std::mem::take(&mut it.table);
    pass_failure(preflight(it))?;
    (it.table, it.findings) = (table, Vec::new());
    let timeout = it.how.options.og_look_timeout;
    let query = |mut own: Value| {
        (own["state"], own["timeout"]) = (json!("query"), json!(timeout));
        args(own)
    };
    let server =
        json!({"diagnose": true, "log_end": true, "cm_view": true, "log_lines": it.how.options.og_log_lines});
    let asked: Asked = vec![
        ("og_node_state", query(server)),
        ("og_guc", query(json!({}))),
        ("og_hba", query(json!({}))),
        ("og_replconninfo", query(json!({}))),
        ("og_slot", query(json!({}))),
        ("og_static_conf", query(json!({}))),
        ("og_lock", query(json!({}))),
    ];
    let hosts = it.hosts.iter().map(|host| &host.name).filter(|name| !it.how.left_out.contains(name));
    let there: Vec<_> = hosts.map(|name| (name.as_str(), asked.clone())).collect();
    it.replay.shown = QUIET;
    let answers = it.replay.inspect("Collect from all nodes", &there)?;
    let mut collected = Collected::new();
    for ((node, _), own) in there.into_iter().zip(answers) {
        let own =
            own.into_iter().map(|(program, answer)| (program.to_owned(), answer.into_value())).collect();
        collected.insert(node.to_owned(), own);
    }
    it.collected = Some(collected);
    Ok(())
}

/// Goes on where a part of the workflow failed, but not where it asks.
fn pass_failure(done: Go) -> Go {
    match done {
        Err(Stop::Failed(_)) => Ok(()),
        other => other,
    }
}
