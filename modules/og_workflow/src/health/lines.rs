//! The health of a cluster as lines of text.

use std::collections::BTreeSet;

use og_common::gauss::Role;
use og_common::protocol::Bytes;

use super::cm;
use super::{ClusterHealth, NodeHealth, ReadyVerdict, Severity};
use crate::table::{aligned, state_in_words};

/// What stands where nothing is known.
const UNKNOWN: &str = "?";
/// What stands where there is nothing to tell.
const NONE: &str = "-";

/// Returns the whole: the sentence, the table, the findings. `verbose` adds columns; `width` is that of the terminal, which
/// the columns are made to fit, the least important ones left out first.
#[must_use]
pub fn lines(health: &ClusterHealth, verbose: bool, width: Option<usize>) -> Vec<String> {
    let mut out = vec![health.sentence.clone(), String::new()];
    out.extend(table(health, verbose, width));
    if let Some(view) = &health.cm {
        out.extend([String::new(), cm::line(view)]);
    }
    if !health.findings.is_empty() {
        out.push(String::new());
    }
    out.extend(findings(health));
    out
}

/// A column: its head, what it shows of a node, and after how many others it is left out where the terminal is narrow.
struct Column {
    head: &'static str,
    cell: fn(&NodeHealth) -> String,
    /// 0 is always shown.
    rank: u8,
    verbose: bool,
}

const COLUMNS: [Column; 13] = [
    Column { head: "NODE", cell: |n| n.name.clone(), rank: 0, verbose: false },
    Column { head: "ADDRESS", cell: |n| n.address.clone(), rank: 3, verbose: false },
    Column { head: "ROLE", cell: role, rank: 0, verbose: false },
    Column { head: "STATE", cell: state, rank: 0, verbose: false },
    Column { head: "UPSTREAM", cell: |n| or_none(n, n.upstream.clone()), rank: 2, verbose: false },
    Column { head: "SYNC", cell: |n| or_none(n, n.sync_state.clone()), rank: 1, verbose: false },
    Column { head: "RECEIVE LAG", cell: |n| lag(n, n.receive_lag_bytes), rank: 4, verbose: false },
    Column { head: "REPLAY LAG", cell: |n| lag(n, n.replay_lag_bytes), rank: 1, verbose: false },
    Column {
        head: "SLOTS RETAIN",
        cell: |n| known(n, n.slot_retained_bytes.map(|bytes| bytes.to_string())),
        rank: 5,
        verbose: false,
    },
    Column { head: "VERSION", cell: |n| known(n, n.version.clone()), rank: 6, verbose: false },
    Column { head: "SWITCHOVER", cell: |n| ready(n.switchover_ready.verdict), rank: 7, verbose: true },
    Column { head: "FAILOVER", cell: |n| ready(n.failover_ready.verdict), rank: 8, verbose: true },
    Column { head: "PENDING RESTART", cell: pending_restart, rank: 9, verbose: true },
];

/// Returns the table, a line a node below its head.
#[must_use]
pub fn table(health: &ClusterHealth, verbose: bool, width: Option<usize>) -> Vec<String> {
    let mut columns: Vec<&Column> = COLUMNS.iter().filter(|column| verbose || !column.verbose).collect();
    loop {
        let rows = rows(health, &columns);
        let widest = rows.iter().map(|row| row.chars().count()).max().unwrap_or(0);
        let least = columns.iter().enumerate().max_by_key(|(_, column)| column.rank);
        match (width, least) {
            (Some(width), Some((index, column))) if widest > width && column.rank > 0 => {
                columns.remove(index);
            }
            _ => return rows,
        }
    }
}

/// Returns the heads of all columns, and the cells of each node.
pub(super) fn cells(health: &ClusterHealth) -> (Vec<&'static str>, Vec<Vec<String>>) {
    let row = |node: &NodeHealth| COLUMNS.iter().map(|column| (column.cell)(node)).collect();
    (COLUMNS.iter().map(|column| column.head).collect(), health.nodes.iter().map(row).collect())
}

fn rows(health: &ClusterHealth, columns: &[&Column]) -> Vec<String> {
    let head = columns.iter().map(|column| column.head.to_owned()).collect::<Vec<_>>();
    let cells = |node: &NodeHealth| columns.iter().map(|column| (column.cell)(node)).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(health.nodes.iter().map(cells)).collect();
    aligned(&rows)
}

/// Returns the findings, each with what to do on a line of its own.
#[must_use]
pub fn findings(health: &ClusterHealth) -> Vec<String> {
    let mut out = Vec::new();
    for finding in &health.findings {
        let word = match finding.severity {
            Severity::Error => "ERROR",
            Severity::Warning => "WARNING",
            Severity::Info => "INFO",
        };
        let node = finding.node.as_ref().map_or(String::new(), |name| format!("{name}: "));
        out.push(format!("{word}: {node}{} [{}]", finding.message, finding.id));
        out.extend(finding.fix.iter().map(|fix| format!("  fix: {fix}")));
    }
    out
}

/// Returns who follows whom, as a tree; nodes that follow nobody known stand beside it.
#[must_use]
pub fn topology(health: &ClusterHealth) -> Vec<String> {
    let mut out = Vec::new();
    let mut drawn = BTreeSet::new();
    let is_root = |node: &&NodeHealth| {
        node.upstream.as_ref().is_none_or(|up| health.node(up).is_none()) || node.role == Some(Role::Primary)
    };
    let mut roots: Vec<&NodeHealth> = health.nodes.iter().filter(is_root).collect();
    roots.sort_by_key(|node| node.role != Some(Role::Primary));
    // Nodes that follow each other in a circle have no root; the first of them stands for one.
    for node in roots.into_iter().chain(&health.nodes) {
        branch(health, node, "", "", &mut drawn, &mut out);
    }
    out
}

fn branch<'a>(
    health: &'a ClusterHealth,
    node: &'a NodeHealth,
    stem: &str,
    below: &str,
    drawn: &mut BTreeSet<&'a str>,
    out: &mut Vec<String>,
) {
    if !drawn.insert(&node.name) {
        return;
    }
    let sync = node.sync_state.as_ref().map_or(String::new(), |sync| format!(", {sync}"));
    let behind = node
        .replay_lag_bytes
        .filter(|lag| *lag > Bytes::ZERO)
        .map_or(String::new(), |lag| format!(", {lag} behind"));
    out.push(format!("{stem}{} ({}, {}{sync}{behind})", node.name, role(node), state(node)));
    let followers: Vec<&NodeHealth> =
        health.nodes.iter().filter(|other| other.upstream.as_deref() == Some(node.name.as_str())).collect();
    for (index, follower) in followers.iter().enumerate() {
        let last = index + 1 == followers.len();
        let (fork, line) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        branch(health, follower, &format!("{below}{fork}"), &format!("{below}{line}"), drawn, out);
    }
}

pub(super) fn role(node: &NodeHealth) -> String {
    node.role.map_or_else(|| UNKNOWN.to_owned(), crate::cluster::role_in_words)
}

pub(super) fn state(node: &NodeHealth) -> String {
    state_in_words(node.inspected, node.reachable, node.running, node.db_state).to_owned()
}

fn or_none(node: &NodeHealth, value: Option<String>) -> String {
    value.unwrap_or_else(|| if node.running.is_none() { UNKNOWN } else { NONE }.to_owned())
}

fn known(_: &NodeHealth, value: Option<String>) -> String {
    value.unwrap_or_else(|| UNKNOWN.to_owned())
}

fn lag(node: &NodeHealth, bytes: Option<Bytes>) -> String {
    match (node.streaming, bytes) {
        (_, Some(bytes)) => bytes.to_string(),
        (None, None) if node.running.is_some() => NONE.to_owned(),
        _ => UNKNOWN.to_owned(),
    }
}

fn pending_restart(node: &NodeHealth) -> String {
    match &node.pending_restart {
        Some(waiting) if !waiting.is_empty() => waiting.join(", "),
        None if node.running != Some(false) => UNKNOWN.to_owned(),
        _ => NONE.to_owned(),
    }
}

fn ready(answer: ReadyVerdict) -> String {
    match answer {
        ReadyVerdict::Yes => "ready",
        ReadyVerdict::No => "no",
        ReadyVerdict::Unknown => UNKNOWN,
    }
    .to_owned()
}
