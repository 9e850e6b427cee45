//! Metrics in Prometheus's text format, for node_exporter's textfile collector: names, help and the writer, as the collector
//! wants one help for each name in all of its files.

use std::fmt::Write as _;

/// A metric; all are gauges.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What its value means.
    pub help: &'static str,
}

const fn metric(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help }
}

/// Whether the server runs.
pub const UP: Metric = metric("opengauss_up", "Whether the server runs.");
/// The server's role, with the label `role`.
pub const ROLE: Metric = metric("opengauss_role", "1 for the role in which the server runs.");
/// The server's state, with the label `state`.
pub const DB_STATE: Metric = metric("opengauss_db_state", "1 for the server state.");
/// Whether the state is Normal.
pub const NORMAL: Metric = metric("opengauss_normal", "Whether the server state is Normal.");
/// Whether a standby streams.
pub const STREAMING: Metric = metric("opengauss_streaming", "Whether the standby streams.");
/// How far behind a standby is in receiving.
pub const RECEIVE_LAG: Metric = metric(
    "opengauss_receive_lag_bytes",
    "Bytes of WAL that the primary has written and the standby has not received.",
);
/// How far behind a standby is in replaying.
pub const REPLAY_LAG: Metric = metric(
    "opengauss_replay_lag_bytes",
    "Bytes of WAL that the primary has written and the standby has not replayed.",
);
/// What slots retain.
pub const SLOT_RETAINED: Metric = metric(
    "opengauss_slot_retained_bytes",
    "Bytes of WAL that a replication slot retains; without the label slot, the most that one of the node's retains.",
);
/// For how many standbys commits may wait.
pub const SYNC_CANDIDATES: Metric =
    metric("opengauss_sync_candidates", "Standbys that stream and count for synchronous commits.");
/// When a certificate ends.
pub const CERTIFICATE_EXPIRY: Metric =
    metric("opengauss_certificate_expiry_timestamp_seconds", "When the certificate expires.");
/// When the values were read.
pub const COLLECTED: Metric =
    metric("opengauss_collected_timestamp_seconds", "When the nodes were inspected.");

/// A page of metrics.
#[derive(Debug, Default)]
pub struct Metrics {
    text: String,
    labels: String,
}

impl Metrics {
    /// An empty page whose samples all have these labels.
    #[must_use]
    pub fn new(labels: &[(&str, &str)]) -> Self {
        Self { text: String::new(), labels: format_labels(labels) }
    }

    /// Adds a metric. What is not known has no sample; of a metric without samples only its help is there.
    pub fn add<'a>(
        &mut self,
        metric: Metric,
        samples: impl IntoIterator<Item = (Vec<(&'static str, &'a str)>, u64)>,
    ) {
        let Metric { name, help } = metric;
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in samples {
            let own = format_labels(&labels);
            let comma = if own.is_empty() || self.labels.is_empty() { "" } else { "," };
            let _ = writeln!(self.text, "{name}{{{}{comma}{own}}} {value}", self.labels);
        }
    }

    /// Adds a metric with one sample, where it is known.
    pub fn add_value(&mut self, metric: Metric, value: Option<u64>) {
        self.add(metric, value.map(|value| (Vec::new(), value)));
    }

    /// Returns the page.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }
}

fn format_labels(labels: &[(&str, &str)]) -> String {
    let one = |(name, value): &(&str, &str)| format!("{name}=\"{}\"", escape(value));
    labels.iter().map(one).collect::<Vec<_>>().join(",")
}

/// Returns the value of a label as it stands between its quotes.
#[must_use]
pub fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_quoted_and_what_is_not_known_has_no_sample() {
        let mut page = Metrics::new(&[("node", "a\"b\\c\nd")]);
        page.add(ROLE, [(vec![("role", "primary")], 1)]);
        page.add_value(UP, Some(1));
        page.add_value(NORMAL, None);
        let text = page.into_text();
        assert!(text.contains("opengauss_role{node=\"a\\\"b\\\\c\\nd\",role=\"primary\"} 1\n"), "{text}");
        assert!(text.contains("opengauss_up{node=\"a\\\"b\\\\c\\nd\"} 1\n"));
        assert!(text.ends_with("# TYPE opengauss_normal gauge\n"));
    }
}
