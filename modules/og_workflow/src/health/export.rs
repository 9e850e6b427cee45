//! The health of a cluster for programs that watch it.

use std::fmt::Write as _;

use og_common::gauss::{DbState, Role};
use og_common::metrics::{self, Metric, Metrics};
use og_common::protocol::Bytes;

use super::assess::is_yes;
use super::{ClusterHealth, NodeHealth, Verdict};

/// Limits of replay lag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LagLimits {
    /// From this on it is a warning.
    pub warning: Option<Bytes>,
    /// From this on it is critical.
    pub critical: Option<Bytes>,
}

/// Returns the exit status (0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN) and the one line that Nagios and its like take, with
/// performance data: <https://nagios-plugins.org/doc/guidelines.html>.
#[must_use]
pub fn nagios(health: &ClusterHealth, limits: LagLimits) -> (u8, String) {
    let lag = health.nodes.iter().filter_map(|node| node.replay_lag_bytes).max();
    let over = |limit: Option<Bytes>| limit.zip(lag).is_some_and(|(limit, lag)| lag >= limit);
    let (status, word) = match health.verdict {
        Verdict::Broken => (2, "CRITICAL"),
        _ if over(limits.critical) => (2, "CRITICAL"),
        Verdict::Unknown => (3, "UNKNOWN"),
        Verdict::Degraded => (1, "WARNING"),
        Verdict::Healthy if over(limits.warning) => (1, "WARNING"),
        Verdict::Healthy => (0, "OK"),
    };
    let streaming = health.nodes.iter().filter(|node| node.streaming == Some(true)).count();
    let limit = |limit: Option<Bytes>| limit.map_or(String::new(), |bytes| bytes.as_u64().to_string());
    let mut data = format!("nodes={};;;0 streaming={streaming};;;0", health.nodes.len());
    for node in &health.nodes {
        if let Some(bytes) = node.replay_lag_bytes {
            // A label with a blank or a quote is quoted.
            let _ = write!(
                data,
                " '{}_replay_lag'={}B;{};{};0",
                node.name.replace('\'', "''"),
                bytes.as_u64(),
                limit(limits.warning),
                limit(limits.critical)
            );
        }
    }
    let line = health.sentence.replace(['|', '\n'], " ");
    (status, format!("OPENGAUSS {word} - {line} | {data}"))
}

/// Whether a restart is due.
const PENDING_RESTART: Metric = Metric {
    name: "opengauss_pending_restart",
    help: "Whether a parameter in postgresql.conf counts only after a restart.",
};
/// Whether a standby could take over from a primary that lives.
const SWITCHOVER_READY: Metric =
    Metric { name: "opengauss_switchover_ready", help: "Whether a switchover to the standby could begin." };
/// Whether a standby could take over from one that is lost.
const FAILOVER_READY: Metric =
    Metric { name: "opengauss_failover_ready", help: "Whether the standby could take over." };
/// How many nodes may fail.
const FAILURES_TOLERATED: Metric =
    Metric { name: "opengauss_failures_tolerated", help: "Nodes that may still fail before writes stop." };
/// Whether all is well.
const HEALTHY: Metric = Metric { name: "opengauss_healthy", help: "Whether everything is as it should be." };
/// Whether clients are served.
const USABLE: Metric = Metric { name: "opengauss_usable", help: "Whether the cluster serves." };

/// Returns the metrics of the cluster in Prometheus's text format, for node_exporter's textfile collector. `at`: when the
/// nodes were inspected, in seconds since 1970. What is not known has no sample.
#[must_use]
pub fn prometheus(health: &ClusterHealth, cluster: &str, at: u64) -> String {
    let mut page = Metrics::new(&[("cluster", cluster)]);
    let number = |known: Option<bool>| known.map(u64::from);
    let bytes = |known: Option<Bytes>| known.map(Bytes::as_u64);
    page.add(metrics::UP, each(health, |node| number(node.running)));
    let role = |node: &NodeHealth, role: Role| Some(u64::from(node.role? == role && node.running?));
    let roles = health.nodes.iter().flat_map(|node| {
        let sample = move |own: &Role| {
            Some((vec![("node", node.name.as_str()), ("role", own.name())], role(node, *own)?))
        };
        Role::SERVING.iter().filter_map(sample)
    });
    page.add(metrics::ROLE, roles);
    let states = health
        .nodes
        .iter()
        .filter_map(|node| Some((vec![("node", node.name.as_str()), ("state", node.db_state?.words())], 1)));
    page.add(metrics::DB_STATE, states);
    let well = |node: &NodeHealth| node.db_state.map(|state| state == DbState::Normal);
    page.add(metrics::NORMAL, each(health, |node| number(well(node))));
    page.add(metrics::STREAMING, each(health, |node| number(node.streaming)));
    page.add(metrics::RECEIVE_LAG, each(health, |node| bytes(node.receive_lag_bytes)));
    page.add(metrics::REPLAY_LAG, each(health, |node| bytes(node.replay_lag_bytes)));
    page.add(metrics::SLOT_RETAINED, each(health, |node| bytes(node.slot_retained_bytes)));
    let waits = |node: &NodeHealth| node.pending_restart.as_ref().map(|waiting| !waiting.is_empty());
    page.add(PENDING_RESTART, each(health, |node| number(waits(node))));
    let standby =
        |node: &NodeHealth, ready| node.role.is_some_and(Role::is_following).then_some(u64::from(ready));
    page.add(SWITCHOVER_READY, each(health, |node| standby(node, is_yes(&node.switchover_ready))));
    page.add(FAILOVER_READY, each(health, |node| standby(node, is_yes(&node.failover_ready))));
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let candidates = count(health.commits.candidates.len());
    page.add_value(metrics::SYNC_CANDIDATES, health.commits.candidates_known.then_some(candidates));
    page.add_value(FAILURES_TOLERATED, health.failures_tolerated.map(count));
    page.add_value(HEALTHY, Some(u64::from(health.verdict == Verdict::Healthy)));
    let usable = match health.verdict {
        Verdict::Healthy | Verdict::Degraded => Some(1),
        Verdict::Broken => Some(0),
        Verdict::Unknown => None,
    };
    page.add_value(USABLE, usable);
    page.add_value(metrics::COLLECTED, Some(at));
    page.into_text()
}

/// A sample for each node of which the value is known.
fn each(
    health: &ClusterHealth,
    value: impl Fn(&NodeHealth) -> Option<u64>,
) -> impl Iterator<Item = (Vec<(&'static str, &str)>, u64)> {
    health.nodes.iter().filter_map(move |node| Some((vec![("node", node.name.as_str())], value(node)?)))
}
