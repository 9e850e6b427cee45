//! The health of a cluster for programs that watch it.

use std::fmt::Write as _;

use og_common::gauss::{DbState, Role};

use super::assess::is_yes;
use super::{ClusterHealth, NodeHealth, Verdict};

/// Limits of replay lag, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct LagLimits {
    /// From this on it is a warning.
    pub warning: Option<u64>,
    /// From this on it is critical.
    pub critical: Option<u64>,
}

/// Returns the exit status (0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN) and the one line that Nagios and its like take, with
/// performance data: <https://nagios-plugins.org/doc/guidelines.html>.
#[must_use]
pub fn nagios(health: &ClusterHealth, limits: LagLimits) -> (u8, String) {
    let lag = health.nodes.iter().filter_map(|node| node.replay_lag_bytes).max();
    let over = |limit: Option<u64>| limit.zip(lag).is_some_and(|(limit, lag)| lag >= limit);
    let (status, word) = match health.verdict {
        Verdict::Broken => (2, "CRITICAL"),
        _ if over(limits.critical) => (2, "CRITICAL"),
        Verdict::Unknown => (3, "UNKNOWN"),
        Verdict::Degraded => (1, "WARNING"),
        Verdict::Healthy if over(limits.warning) => (1, "WARNING"),
        Verdict::Healthy => (0, "OK"),
    };
    let streaming = health.nodes.iter().filter(|node| node.streaming == Some(true)).count();
    let limit = |limit: Option<u64>| limit.map_or(String::new(), |bytes| bytes.to_string());
    let mut data = format!("nodes={};;;0 streaming={streaming};;;0", health.nodes.len());
    for node in &health.nodes {
        if let Some(bytes) = node.replay_lag_bytes {
            // A label with a blank or a quote is quoted.
            let _ = write!(
                data,
                " '{}_replay_lag'={bytes}B;{};{};0",
                node.name.replace('\'', "''"),
                limit(limits.warning),
                limit(limits.critical)
            );
        }
    }
    let line = health.sentence.replace(['|', '\n'], " ");
    (status, format!("OPENGAUSS {word} - {line} | {data}"))
}

/// Returns the metrics of the cluster in Prometheus's text format, for node_exporter's textfile collector. `at`: when the
/// nodes were inspected, in seconds since 1970. What is not known has no sample.
#[must_use]
pub fn prometheus(health: &ClusterHealth, cluster: &str, at: u64) -> String {
    let mut out = String::new();
    let cluster = escape_label(cluster);
    let number = |known: Option<bool>| known.map(u64::from);
    let mut metric = |name: &str, help: &str, samples: Vec<(String, u64)>| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in samples {
            let _ = writeln!(out, "{name}{{cluster=\"{cluster}\"{labels}}} {value}");
        }
    };
    let each = |value: &dyn Fn(&NodeHealth) -> Option<u64>| {
        let of = |node: &NodeHealth| Some((format!(",node=\"{}\"", escape_label(&node.name)), value(node)?));
        health.nodes.iter().filter_map(of).collect::<Vec<_>>()
    };
    metric("opengauss_up", "Whether the server runs.", each(&|node| number(node.running)));
    let roles = [Role::Primary, Role::Standby, Role::CascadeStandby, Role::Normal];
    let role = |node: &NodeHealth, role: Role| {
        let labels = format!(",node=\"{}\",role=\"{}\"", escape_label(&node.name), role.name());
        Some((labels, u64::from(node.role? == role && node.running?)))
    };
    let samples = health.nodes.iter().flat_map(|node| roles.iter().filter_map(move |own| role(node, *own)));
    metric("opengauss_role", "1 for the role in which the server runs.", samples.collect());
    let states = |node: &NodeHealth| {
        let state = node.db_state?;
        Some((format!(",node=\"{}\",state=\"{}\"", escape_label(&node.name), escape_label(state.words())), 1))
    };
    metric("opengauss_db_state", "1 for the server state.", health.nodes.iter().filter_map(states).collect());
    let well = |node: &NodeHealth| node.db_state.map(|state| state == DbState::Normal);
    metric("opengauss_normal", "Whether the server state is Normal.", each(&|node| number(well(node))));
    metric("opengauss_streaming", "Whether the standby streams.", each(&|node| number(node.streaming)));
    metric(
        "opengauss_receive_lag_bytes",
        "Bytes of WAL that the primary has written and the standby has not received.",
        each(&|node| node.receive_lag_bytes),
    );
    metric(
        "opengauss_replay_lag_bytes",
        "Bytes of WAL that the primary has written and the standby has not replayed.",
        each(&|node| node.replay_lag_bytes),
    );
    metric(
        "opengauss_slot_retained_bytes",
        "Bytes of WAL that the replication slots of the node retain.",
        each(&|node| node.slot_retained_bytes),
    );
    let waits = |node: &NodeHealth| node.pending_restart.as_ref().map(|waiting| !waiting.is_empty());
    metric(
        "opengauss_pending_restart",
        "Whether a parameter in postgresql.conf counts only after a restart.",
        each(&|node| number(waits(node))),
    );
    let standby = |node: &NodeHealth| node.role.is_some_and(Role::is_following);
    metric(
        "opengauss_switchover_ready",
        "Whether a switchover to the standby could begin.",
        each(&|node| standby(node).then(|| u64::from(is_yes(&node.switchover_ready)))),
    );
    metric(
        "opengauss_failover_ready",
        "Whether the standby could take over.",
        each(&|node| standby(node).then(|| u64::from(is_yes(&node.failover_ready)))),
    );
    let whole = |value: Option<u64>| value.map(|value| (String::new(), value)).into_iter().collect();
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    metric(
        "opengauss_sync_candidates",
        "Standbys that stream and count for synchronous commits.",
        whole(Some(count(health.commits.candidates.len()))),
    );
    metric(
        "opengauss_failures_tolerated",
        "Nodes that may still fail before writes stop.",
        whole(health.failures_tolerated.map(count)),
    );
    metric(
        "opengauss_healthy",
        "Whether everything is as it should be.",
        whole(Some(u64::from(health.verdict == Verdict::Healthy))),
    );
    metric(
        "opengauss_usable",
        "Whether the cluster serves.",
        whole(match health.verdict {
            Verdict::Healthy | Verdict::Degraded => Some(1),
            Verdict::Broken => Some(0),
            Verdict::Unknown => None,
        }),
    );
    metric("opengauss_collected_timestamp_seconds", "When the nodes were inspected.", whole(Some(at)));
    out
}

fn escape_label(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
