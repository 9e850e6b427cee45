//! How `og status` shows the state of a cluster: as a table, as a tree, as Nagios's line, as files for Prometheus and for a
//! browser.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, ValueHint};
use og_common::files;
use og_common::protocol::{Bytes, Error, ErrorKind, secret};
use og_workflow::args::Outcome;
use og_workflow::health::export::{LagLimits, nagios, prometheus};
use og_workflow::health::{ClusterHealth, lines, page, picture};

/// The exit status of a check that could not be made.
pub const NAGIOS_UNKNOWN: u8 = 3;

/// What is shown of a cluster's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    verbose: bool,
    topology: bool,
    /// The limits of the lag, when Nagios asks.
    nagios: Option<LagLimits>,
    /// The file for node_exporter's textfile collector.
    prometheus: Option<PathBuf>,
    /// The file for a browser.
    html: Option<PathBuf>,
    /// The file for the picture alone.
    svg: Option<PathBuf>,
    /// The cluster's name in them.
    cluster: String,
}

impl View {
    /// Returns the arguments of the command line.
    pub fn args() -> [Arg; 8] {
        let bytes = |name: &'static str, help: &'static str| {
            Arg::new(name)
                .long(name)
                .value_name("BYTES")
                .requires("nagios")
                .value_parser(clap::value_parser!(u64))
                .help(help)
        };
        let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
        let file = |name: &'static str, help: &'static str| {
            Arg::new(name)
                .long(name)
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .value_hint(ValueHint::FilePath)
                .help(help)
        };
        [
            flag("verbose").short('v').help("Show more columns: whether each node is ready for a switchover and a failover, which parameters wait for a restart"),
            flag("topology").help("Show who follows whom, as a tree"),
            flag("nagios").conflicts_with_all(["watch", "json"]).help(
                "Print one line with performance data, as Nagios and its like take it; exit status 0, 1, 2 or 3",
            ),
            bytes("warning", "Replay lag that is a warning, with --nagios"),
            bytes("critical", "Replay lag that is critical, with --nagios"),
            file("prometheus", "Write the state as metrics to FILE, for node_exporter's textfile collector"),
            file("html", "Write the state as a page for a browser to FILE: the verdict, who follows whom as a picture, findings"),
            file("svg", "Write the picture of who follows whom to FILE"),
        ]
    }

    /// Returns what the command line asks for; of a workflow that has no such arguments, nothing.
    pub fn from_matches(matches: &ArgMatches) -> Self {
        let set = |name: &str| matches.try_get_one::<bool>(name).ok().flatten().copied().unwrap_or(false);
        let bytes = |name: &str| matches.try_get_one::<u64>(name).ok().flatten().copied().map(Bytes::new);
        let file = |name: &str| matches.try_get_one::<PathBuf>(name).ok().flatten().cloned();
        let cluster = matches.get_one::<String>("cluster").cloned();
        Self {
            verbose: set("verbose"),
            topology: set("topology"),
            nagios: set("nagios")
                .then(|| LagLimits { warning: bytes("warning"), critical: bytes("critical") }),
            prometheus: file("prometheus"),
            html: file("html"),
            svg: file("svg"),
            cluster: cluster.unwrap_or_else(|| "opengauss".to_owned()),
        }
    }

    /// Whether one line is asked for.
    pub fn is_nagios(&self) -> bool {
        self.nagios.is_some()
    }

    /// Returns exit status and line for Nagios, where they are asked for.
    pub fn nagios(&self, outcome: &Outcome) -> Option<(u8, String)> {
        let limits = self.nagios?;
        Some(outcome.cluster.as_ref().map_or_else(
            || {
                let why = outcome.msg.as_deref().unwrap_or("the cluster was not assessed");
                (NAGIOS_UNKNOWN, unknown(why))
            },
            |health| nagios(health, limits),
        ))
    }

    /// Makes the outcome's lines what is asked for, and writes the files.
    ///
    /// # Errors
    /// Of the file system.
    pub fn apply(&self, outcome: &mut Outcome) -> Result<(), Error> {
        let Some(health) = &outcome.cluster else { return Ok(()) };
        let (_, width) = console::Term::stdout().size_checked().unzip();
        outcome.table = if self.topology {
            let mut text = vec![health.sentence.clone(), String::new()];
            text.extend(lines::topology(health));
            text
        } else {
            lines::lines(health, self.verbose, width.map(usize::from))
        };
        let now = og_common::clock::now();
        if let Some(path) = &self.prometheus {
            files::publish(path, prometheus(health, &self.cluster, now).as_bytes())?;
        }
        if self.html.is_none() && self.svg.is_none() {
            return Ok(());
        }
        // Escaped as in a page a secret is not found any more.
        let shown = mask_health(health)?;
        if let Some(path) = &self.html {
            files::publish(path, page::html(&shown, &self.cluster, now).as_bytes())?;
        }
        if let Some(path) = &self.svg {
            files::publish(path, picture::svg(&shown).as_bytes())?;
        }
        Ok(())
    }
}

/// Returns Nagios's line for a check that could not be made.
pub fn unknown(why: &str) -> String {
    format!("OPENGAUSS UNKNOWN - {}", why.replace(['|', '\n'], " "))
}

/// Returns the state without the secrets that are known.
fn mask_health(health: &ClusterHealth) -> Result<ClusterHealth, Error> {
    let masked = secret::to_json(health, &[]).and_then(|text| serde_json::from_slice(&text));
    masked.map_err(|e| Error::new(ErrorKind::Internal, format!("cannot mask secrets in the state: {e}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_cluster_that_was_not_assessed_is_unknown_to_nagios() {
        let view = View { nagios: Some(LagLimits::default()), ..View::default() };
        let outcome =
            Outcome { failed: true, msg: Some("no hosts | at all".to_owned()), ..Outcome::default() };
        assert_eq!(view.nagios(&outcome), Some((3, "OPENGAUSS UNKNOWN - no hosts   at all".to_owned())));
        assert_eq!(View::default().nagios(&outcome), None);
    }
}
