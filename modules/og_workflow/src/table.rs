//! The cluster as a person reads it at the end of a workflow, and the words that it shares with the table of `og status`.

use std::collections::BTreeMap;

use og_common::gauss::{DbState, Sender};

use crate::cluster::{Node, canonical, primaries, role_in_words, several_primaries};

/// So much of a server's own words.
const MOST_DETAIL: usize = 40;

/// The cluster as lines of a table. That there are two primaries stands above it: nobody must read over that.
#[must_use]
pub fn table(nodes: &[Node], leave_out: &[String]) -> Vec<String> {
    let mut primaries = primaries(nodes);
    primaries.retain(|n| !leave_out.contains(&n.name));
    let mut nodes: Vec<_> = nodes.iter().filter(|n| !leave_out.contains(&n.name)).collect();
    let mut sent: BTreeMap<String, &Sender> = BTreeMap::new();
    for sender in nodes.iter().flat_map(|n| &n.state().senders) {
        if let Some(peer) = &sender.peer {
            sent.entry(canonical(&peer.host)).or_insert(sender);
        }
    }
    nodes.sort_by_key(|n| n.id.unwrap_or(0));
    let mut rows = vec![["NODE", "ADDRESS", "ROLE", "STATE", "SYNC", "LAG"].map(str::to_owned)];
    rows.extend(
        nodes.iter().map(|n| row(n, sent.get(&canonical(&n.address)).copied().filter(|_| n.is_streaming()))),
    );
    let error = (primaries.len() > 1).then(|| format!("ERROR: {}", several_primaries(&primaries)));
    error.into_iter().chain(aligned(&rows)).collect()
}

/// Returns rows of cells as lines, each column as wide as its widest cell.
#[must_use]
pub fn aligned<R: AsRef<[String]>>(rows: &[R]) -> Vec<String> {
    let columns = rows.iter().map(|row| row.as_ref().len()).max().unwrap_or(0);
    let cell = |row: &R, i: usize| row.as_ref().get(i).map_or(0, |cell| cell.chars().count());
    let widths: Vec<usize> =
        (0..columns).map(|i| rows.iter().map(|row| cell(row, i)).max().unwrap_or(0)).collect();
    let line = |row: &R| {
        let cells = row.as_ref().iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn row(n: &Node, sender: Option<&Sender>) -> [String; 6] {
    let role = match n.live_role() {
        Some(role) => role_in_words(role),
        None if n.is_reachable() && n.seen().state_error.is_none() => role_in_words(n.role),
        None => "?".to_owned(),
    };
    let sync = sender.and_then(|s| s.sync_state.clone()).unwrap_or_else(|| "-".to_owned());
    let lag = sender.and_then(|s| s.progress.lag_bytes).map_or_else(|| "-".to_owned(), |lag| lag.to_string());
    [n.name.clone(), format!("{}:{}", n.address, n.base_port), role, state(n), sync, lag]
}

/// Returns the words of every column STATE: those of openGauss for a server that runs, ours for all else.
#[must_use]
pub fn state_in_words(
    inspected: bool,
    reachable: bool,
    running: Option<bool>,
    db_state: Option<DbState>,
) -> &'static str {
    match (running, db_state) {
        (None, _) if !inspected => "not inspected",
        (None, _) if !reachable => "unreachable",
        (Some(false), _) => "stopped",
        (Some(true), Some(state)) => state.words(),
        (None, _) | (Some(true), None) => "unknown",
    }
}

fn state(n: &Node) -> String {
    let state = n.state();
    let running = (n.is_reachable() && n.seen().state_error.is_none()).then_some(state.running);
    let words = state_in_words(n.seen.is_some(), n.is_reachable(), running, Some(state.db_state));
    let detail = state.detail.as_deref().and_then(|text| text.lines().next()).unwrap_or_default();
    if running == Some(true) && state.db_state == DbState::NeedRepair && !detail.is_empty() {
        let detail: String = detail.chars().take(MOST_DETAIL).collect();
        return format!("{words} ({detail})");
    }
    words.to_owned()
}
