//! The state of the whole cluster.

use super::{Run, Workflow, WorkflowEntry};
use crate::health::lines::lines;
use crate::health::{Finding, Severity, Verdict};
use crate::plan::list_findings;
use crate::replay::{Go, Stop};

/// The registry entry of this workflow: description, preflight checks and function.
pub(super) const ENTRY: WorkflowEntry = WorkflowEntry {
    workflow: Workflow::Status,
    name: "status",
    title: "Status of the cluster",
    about: "Show the state of the cluster; changes nothing",
    details: &[],
    changes: false,
    targets: None,
    options: &[],
    preflight: None,
    run: |it, _| status(it),
};

/// How wide the table of a status is: Ansible folds longer lines.
const TABLE_WIDTH: usize = 76;
/// The programs that a status asks.
pub(super) const PROGRAMS: [&str; 3] = ["og_node_state", "og_replconninfo", "og_guc"];

/// Assesses the cluster; fails when it does not serve, or when what was seen does not fit what is said of it.
pub(super) fn status(it: &mut Run) -> Go {
    let mut nodes = it.inspect("Inspect the cluster", &PROGRAMS, &[])?;
    it.ask_cm(&mut nodes)?;
    let health = it.assess(&nodes);
    it.table = lines(&health, false, Some(TABLE_WIDTH));
    let serves = matches!(health.verdict, Verdict::Healthy | Verdict::Degraded);
    let errors = health.findings.iter().filter(|finding| finding.severity == Severity::Error);
    it.findings = errors.filter(|finding| !serves || finding.node.is_none()).map(Finding::in_words).collect();
    it.cluster = Some(health);
    if it.findings.is_empty() { Ok(()) } else { Err(Stop::Failed(list_findings(&it.findings, ""))) }
}
