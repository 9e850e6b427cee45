//! The checks: pure functions of a node's facts, its peers' facts and what is wanted.
//!
//! [`all`] returns one entry for each. [`judge`] runs them for one node, [`judge_all`] for all nodes of a cluster, each with the
//! others as its peers: a workflow that has the facts of all nodes calls that and needs no second call of the module.
//!
//! Where values must be equal on all nodes, each node is compared with one of them alone, the primary if it is known: a node
//! that differs is named once.

mod cluster;
mod host;
mod server;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::args::{Purpose, Wanted};
use crate::facts::Facts;

pub use cluster::{ClockDifference, clock_difference};
pub use host::{MIN_PROCESS_MEMORY_BYTES, SYSTEM_RESERVE};

/// How much a finding weighs, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The change would fail or harm.
    Error,
    /// The check could not be made.
    Unknown,
    /// The change works, and something should be put right.
    Warning,
    /// Something to know.
    Info,
}

impl Severity {
    /// Returns the word of the results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// Who puts a finding right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FixableBy {
    /// The preparation of the host: limits, kernel settings, directories (og_host).
    Deploy,
    /// A change of parameters or rules (og_guc, og_hba, og_replconninfo).
    Configure,
    /// A rebuild, a start or another act on the server (og_build, og_node_state, og_slot).
    Repair,
    /// An administrator.
    You,
}

impl FixableBy {
    /// Returns the word of the results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Configure => "configure",
            Self::Repair => "repair",
            Self::You => "you",
        }
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The check, such as `memory.process`; `og_preflight --explain ID` says more.
    pub id: String,
    /// How much it weighs.
    pub severity: Severity,
    /// The node, and on it the file, parameter or port.
    pub subject: String,
    /// What is wrong.
    pub message: String,
    /// What was seen; null when nothing could be.
    pub seen: Option<String>,
    /// What is wanted.
    pub wanted: String,
    /// What to do.
    pub fix: String,
    /// Who does it.
    pub fixable_by: FixableBy,
}

/// Whether a node can be used for something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It can.
    Yes,
    /// It cannot.
    No,
    /// That cannot be told.
    #[default]
    Unknown,
}

/// A verdict with its reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Readiness {
    /// The verdict.
    pub verdict: Verdict,
    /// Why not, or why that cannot be told.
    pub reasons: Vec<String>,
}

/// What a node could be used for now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ready {
    /// Whether it could take over the role of a primary that lives.
    pub switchover: Readiness,
    /// Whether it could take over the role of a primary that is lost.
    pub failover: Readiness,
    /// Whether it could be rebuilt.
    pub build: Readiness,
}

/// One check.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Its name.
    pub id: &'static str,
    /// The most that its finding can weigh.
    pub severity: Severity,
    /// What is looked at.
    pub what: &'static str,
    /// What must hold.
    pub threshold: &'static str,
    /// Why it is checked.
    pub why: &'static str,
    /// What to do.
    pub fix: &'static str,
    /// Who does it.
    pub fixable_by: FixableBy,
    /// The changes that it matters for; empty for all.
    pub purposes: &'static [Purpose],
    run: fn(&Context<'_>, &mut Judge),
}

impl Check {
    /// Returns the changes that it matters for, in words.
    #[must_use]
    pub fn changes(&self) -> String {
        if self.purposes.is_empty() {
            return "every change".to_owned();
        }
        let word = |purpose: &Purpose| serde_json::to_value(purpose).ok()?.as_str().map(str::to_owned);
        self.purposes.iter().filter_map(word).collect::<Vec<_>>().join(", ")
    }
}

/// What a check looks at.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The node.
    pub facts: &'a Facts,
    /// The other nodes.
    pub peers: &'a [&'a Facts],
    /// The change.
    pub purpose: Purpose,
    /// What the change needs of the node.
    pub wanted: &'a Wanted,
    /// Whether the peers' facts were read before this node's, as those that a call gets as its argument.
    pub peers_read_before: bool,
}

impl<'a> Context<'a> {
    /// The primary, or the single node, among the node and its peers.
    fn primary(&self) -> Option<&'a Facts> {
        std::iter::once(self.facts).chain(self.peers.iter().copied()).find(|facts| facts.is_primary())
    }

    /// The primary when it is another node.
    fn other_primary(&self) -> Option<&'a Facts> {
        self.primary().filter(|primary| !std::ptr::eq(*primary, self.facts))
    }

    /// The node with which this one is compared; none for that node itself.
    fn reference(&self) -> Option<&'a Facts> {
        if let Some(primary) = self.primary() {
            return Some(primary).filter(|primary| !std::ptr::eq(*primary, self.facts));
        }
        let key = |facts: &&Facts| (facts.label().to_owned(), facts.identity.directory.clone());
        let first = self.peers.iter().copied().min_by_key(key)?;
        (key(&first) < key(&self.facts)).then_some(first)
    }

    /// Whether the change starts the server of this node.
    fn starts_here(&self) -> bool {
        match self.purpose {
            Purpose::Expand => self.wanted.target,
            other => other.starts_server(),
        }
    }

    /// Whether the node is a spare, which the change leaves alone: see [`is_spare`].
    fn is_spare(&self) -> bool {
        let alone = matches!(self.purpose, Purpose::Build | Purpose::Deploy | Purpose::Restart);
        !alone
            && !self.wanted.target
            && self.other_primary().is_some_and(|primary| is_spare(self.facts, primary))
    }

    /// The peers that are no spares.
    fn members(&self) -> impl Iterator<Item = &'a Facts> {
        let primary = self.primary();
        self.peers.iter().copied().filter(move |peer| {
            primary.is_none_or(|primary| std::ptr::eq(primary, *peer) || !is_spare(peer, primary))
        })
    }

    /// Returns the value of a parameter that counts for the change: the one with which the server starts next where the change
    /// starts it, else the running server's.
    fn setting(&self, name: &str) -> Option<&'a str> {
        let settings = &self.facts.settings;
        if self.starts_here() { settings.next(name) } else { settings.get(name) }
    }

    /// Returns [`Context::setting`] as a number.
    fn number(&self, name: &str) -> Option<u64> {
        self.setting(name)?.trim().parse().ok()
    }

    /// Whether [`Context::setting`] is one of the words for true.
    fn is_on(&self, name: &str) -> Option<bool> {
        self.setting(name).map(og_common::conf::is_on)
    }

    /// Whether data are copied to this node.
    fn copies_here(&self) -> bool {
        match self.purpose {
            Purpose::Expand => self.wanted.target,
            other => other.copies_data(),
        }
    }
}

/// Whether a node is no member of the primary's cluster yet: its server does not run, its database is another one or none, and
/// the primary has no channel to it.
fn is_spare(facts: &Facts, primary: &Facts) -> bool {
    use og_common::gauss::NodeContent;
    let foreign = match (&facts.identity.system_id, &primary.identity.system_id) {
        (Some(own), Some(theirs)) => own != theirs,
        _ => facts.identity.content == NodeContent::Empty,
    };
    foreign
        && !facts.server.running
        && !primary.channels.iter().any(|channel| cluster::leads_to(&channel.remote_host, facts))
}

/// Takes the findings of one check.
#[derive(Debug)]
pub struct Judge {
    check: &'static Check,
    node: String,
    findings: Vec<Finding>,
    skipped: bool,
}

#[allow(clippy::needless_pass_by_value)] // Numbers and texts alike are what was seen.
impl Judge {
    /// A finding. It weighs no more than the check says.
    fn find(
        &mut self,
        severity: Severity,
        subject: &str,
        message: impl Into<String>,
        seen: impl ToString,
    ) -> &mut Finding {
        let subject =
            if subject.is_empty() { self.node.clone() } else { format!("{}: {subject}", self.node) };
        let seen = seen.to_string();
        self.findings.push(Finding {
            id: self.check.id.to_owned(),
            severity: severity.max(self.check.severity),
            subject,
            message: message.into(),
            seen: (!seen.is_empty()).then_some(seen),
            wanted: self.check.threshold.to_owned(),
            fix: self.check.fix.to_owned(),
            fixable_by: self.check.fixable_by,
        });
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    fn error(&mut self, subject: &str, message: impl Into<String>, seen: impl ToString) -> &mut Finding {
        self.find(Severity::Error, subject, message, seen)
    }

    fn warning(&mut self, subject: &str, message: impl Into<String>, seen: impl ToString) -> &mut Finding {
        self.find(Severity::Warning, subject, message, seen)
    }

    fn info(&mut self, subject: &str, message: impl Into<String>, seen: impl ToString) -> &mut Finding {
        self.find(Severity::Info, subject, message, seen)
    }

    /// The check could not be made.
    fn unknown(&mut self, why: impl Into<String>) {
        let why = why.into();
        self.findings.push(Finding {
            id: self.check.id.to_owned(),
            severity: Severity::Unknown,
            subject: self.node.clone(),
            message: format!("cannot check {}: {why}", self.check.what),
            seen: None,
            wanted: self.check.threshold.to_owned(),
            fix: "let the database's user read or reach what is missing, then check again".to_owned(),
            fixable_by: FixableBy::You,
        });
    }

    /// The check says nothing of this node.
    fn skip(&mut self) {
        self.skipped = true;
    }
}

/// Why a subject is not known, in words.
fn why_unknown(facts: &Facts, subject: &str) -> String {
    facts.unknown.get(subject).cloned().unwrap_or_else(|| "it could not be read".to_owned())
}

/// What came of the checks of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
    /// The checks that were made and found nothing.
    pub passed: Vec<&'static str>,
}

impl Judgement {
    /// Whether there is a finding of this severity.
    #[must_use]
    pub fn has(&self, severity: Severity) -> bool {
        self.findings.iter().any(|finding| finding.severity == severity)
    }

    /// Returns how many findings of each severity there are, in words.
    #[must_use]
    pub fn summary(&self) -> String {
        let count = |severity| self.findings.iter().filter(|finding| finding.severity == severity).count();
        let word = |number: usize, one: &str| format!("{number} {one}{}", if number == 1 { "" } else { "s" });
        let (errors, unknown) = (count(Severity::Error), count(Severity::Unknown));
        let mut text = format!("{}, {}", word(errors, "error"), word(count(Severity::Warning), "warning"));
        if unknown > 0 {
            let _ = write!(text, ", {unknown} unknown");
        }
        let _ = write!(text, "; {} passed", word(self.passed.len(), "check"));
        text
    }
}

/// Runs all checks that matter for the change on one node.
#[must_use]
pub fn judge(context: &Context<'_>) -> Judgement {
    let mut judgement = Judgement::default();
    for check in all() {
        // What matters for one change only is of interest when none in particular is meant.
        let matters = check.purposes.is_empty()
            || context.purpose == Purpose::Any
            || check.purposes.contains(&context.purpose);
        if !matters {
            continue;
        }
        let node = context.facts.label().to_owned();
        let mut judge = Judge { check, node, findings: Vec::new(), skipped: false };
        (check.run)(context, &mut judge);
        if judge.findings.is_empty() && !judge.skipped {
            judgement.passed.push(check.id);
        }
        judgement.findings.append(&mut judge.findings);
    }
    if context.is_spare() {
        for finding in judgement.findings.iter_mut().filter(|finding| finding.severity == Severity::Error) {
            finding.severity = Severity::Warning;
            finding.message = format!("(no member of the cluster) {}", finding.message);
        }
    }
    judgement.findings.sort_by_key(|finding| finding.severity);
    judgement
}

/// Runs all checks on all nodes, each with the others as its peers.
#[must_use]
pub fn judge_all(nodes: &[(&Facts, &Wanted)], purpose: Purpose) -> Vec<Judgement> {
    let one = |(index, (facts, wanted)): (usize, &(&Facts, &Wanted))| {
        let others = nodes.iter().enumerate().filter(|(other, _)| *other != index);
        let peers: Vec<&Facts> = others.map(|(_, (facts, _))| *facts).collect();
        judge(&Context { facts, peers: &peers, purpose, wanted, peers_read_before: false })
    };
    nodes.iter().enumerate().map(one).collect()
}

/// Checks whose errors keep a node from every act.
const DECIDING: &[&str] = &[
    "cluster.directory",
    "disk.writable",
    "managed.by",
    "run.build",
    "run.lock",
    "same.release",
    "server.role",
];

/// Those that keep a standby from becoming primary.
const DECIDING_PROMOTION: &[&str] = &[
    "cluster.one_primary",
    "cluster.system",
    "names.tablespaces",
    "server.replay_paused",
    "server.state",
    "settings.replication",
    "sync.after",
];

/// Those that keep a living primary from giving its role to the node, and from following it.
const DECIDING_SWITCHOVER: &[&str] = &[
    "channels.both_ways",
    "channels.from_peers",
    "channels.local",
    "channels.reached",
    "conf.syntax",
    "hba.clients",
    "hba.syntax",
    "names.unique",
    "security.keys",
    "server.backup",
    "server.lag",
    "settings.limits",
    "settings.senders",
];

/// Those that keep a node from being copied to, and from being started then.
const DECIDING_BUILD: &[&str] = &[
    "channels.both_ways",
    "channels.local",
    "channels.reached",
    "channels.source",
    "conf.include",
    "conf.syntax",
    "disk.inodes",
    "disk.room",
    "hba.syntax",
    "kernel.semaphores",
    "kernel.shared_memory",
    "leftovers.data_dir",
    "leftovers.processes",
    "leftovers.sockets",
    "memory.minimum",
    "memory.overcommit",
    "memory.peers",
    "memory.process",
    "memory.shared_buffers",
    "names.node_name",
    "names.unique",
    "ports.free",
    "programs.libraries",
    "programs.release",
    "same.architecture",
    "same.page_size",
    "same.user",
    "security.keys",
    "settings.limits",
    "settings.replication",
];

/// The checks whose errors keep a node from this act; others are to be put right, and do not decide it.
fn deciding_checks(purpose: Purpose) -> impl Iterator<Item = &'static str> {
    let own: [&[&str]; 2] = match purpose {
        Purpose::Switchover => [DECIDING_PROMOTION, DECIDING_SWITCHOVER],
        Purpose::Failover => [DECIDING_PROMOTION, &[]],
        Purpose::Build => [DECIDING_BUILD, &[]],
        _ => [&[], &[]],
    };
    DECIDING.iter().chain(own[0]).chain(own[1]).copied()
}

/// Judges what the node could be used for.
#[must_use]
pub fn readiness(context: &Context<'_>) -> Ready {
    let ready = |purpose| {
        let wanted = Wanted { target: true, ..context.wanted.clone() };
        let judgement = judge(&Context { purpose, wanted: &wanted, ..*context });
        let decides = |finding: &&Finding| match finding.severity {
            Severity::Error => deciding_checks(purpose).any(|id| id == finding.id),
            // A check that matters for this change in particular; others that could not be made do not decide it.
            Severity::Unknown => {
                let state = purpose.moves_primary() && finding.id == "server.state";
                state || find(&finding.id).is_some_and(|check| check.purposes.contains(&purpose))
            }
            _ => false,
        };
        let deciding: Vec<&Finding> = judgement.findings.iter().filter(decides).collect();
        let verdict = match deciding.first().map(|finding| finding.severity) {
            Some(Severity::Error) => Verdict::No,
            Some(_) => Verdict::Unknown,
            None => Verdict::Yes,
        };
        Readiness { verdict, reasons: deciding.iter().map(|finding| finding.message.clone()).collect() }
    };
    Ready {
        switchover: ready(Purpose::Switchover),
        failover: ready(Purpose::Failover),
        build: ready(Purpose::Build),
    }
}

/// Returns all checks.
pub fn all() -> impl Iterator<Item = &'static Check> {
    host::CHECKS.iter().chain(server::CHECKS).chain(cluster::CHECKS)
}

/// Returns the check of this name.
#[must_use]
pub fn find(id: &str) -> Option<&'static Check> {
    all().find(|check| check.id == id)
}

/// Says what a check is for and what to do.
///
/// # Errors
/// `bad_args` when there is no such check.
pub fn explain(id: &str) -> Result<String, og_common::protocol::Error> {
    if id == "all" {
        let line = |check: &Check| format!("{:32}{:9}{}", check.id, check.severity.name(), check.what);
        return Ok(all().map(line).collect::<Vec<_>>().join("\n"));
    }
    let Some(check) = find(id) else {
        let known: Vec<&str> = all().map(|check| check.id).collect();
        let near = og_common::protocol::nearest(id, &known);
        let near = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
        return Err(og_common::protocol::Error::bad_args(format!("there is no check {id}{near}"))
            .hint("list all with --explain all"));
    };
    Ok(format!(
        "{} ({})\n\nChecked: {}\nWanted: {}\nMatters for: {}\n\nWhy: {}\n\nFix: {}\nFixable by: {}",
        check.id,
        check.severity.name(),
        check.what,
        check.threshold,
        check.changes(),
        check.why,
        check.fix,
        check.fixable_by.name()
    ))
}
