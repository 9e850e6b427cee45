//! What the preflight checks of og_preflight mean for a workflow: which of them it is begun with, whose errors refuse it, and
//! which findings it only tells of.
//!
//! A check that a workflow makes itself, or whose cause it removes, is in no list here, so nothing is reported twice. A finding says
//! what is wrong and what to do; one that refuses names the option that accepts it.

use std::collections::BTreeSet;

use super::Outlook;
use crate::args::Options;
use crate::cluster::{Cluster, InventoryHost, Node, TargetKind, canonical};
use crate::steps::Workflow;
use og_common::gauss::DbState;
use og_preflight::args::{Purpose, Target, Wanted};
use og_preflight::checks::{self, Finding, FixableBy, Severity, judge_all};
use og_preflight::facts::Facts;

/// The program that makes the checks.
pub const PREFLIGHT: &str = "og_preflight";
/// What `og_accept` names a node by that could not be checked.
pub const UNCHECKED: &str = "preflight";

/// How the ids of the checks of limits begin, which a login takes over and keeps.
const LIMITS: &str = "limits.";

/// Checks whose errors nothing accepts: what they find costs data as soon as the workflow goes on.
pub(super) const NEVER_ACCEPTED: &[&str] = &["leftovers.processes", "names.tablespaces"];

/// The nodes that a check matters for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// Those that the workflow is about.
    Targets,
    /// The others that belong to the cluster.
    Others,
    /// Both.
    All,
}

/// What becomes of the findings of some checks.
#[derive(Debug)]
pub struct CheckRule {
    pub(crate) on: On,
    /// Whether errors refuse the workflow; otherwise they are warnings.
    pub(crate) refuses: bool,
    pub(crate) checks: &'static [&'static str],
}

/// Returns the rule that errors of these checks refuse the workflow; the preflight has to be mended, or the check accepted.
#[must_use]
pub const fn refuse_on_errors(on: On, checks: &'static [&'static str]) -> CheckRule {
    CheckRule { on, refuses: true, checks }
}

/// Returns the rule that findings of these checks are told, as warnings.
#[must_use]
pub const fn warn_on_findings(on: On, checks: &'static [&'static str]) -> CheckRule {
    CheckRule { on, refuses: false, checks }
}

/// Which checks matter to a workflow.
#[derive(Debug)]
pub struct Policy {
    /// The change that the nodes are checked for.
    pub(crate) purpose: Purpose,
    /// Of several rules for a check and a node the first counts.
    pub(crate) rules: &'static [CheckRule],
}

/// The checks that the parameters of configure decide, beside those of its [`Policy`].
pub(super) const PARAMETER_CHECKS: &[(&str, &[&str])] = &[
    ("max_process_memory", &["memory.process", "memory.minimum", "memory.peers"]),
    ("shared_buffers", &["memory.shared_buffers", "kernel.shared_memory", "memory.peers"]),
    ("max_connections", &["kernel.semaphores"]),
    ("max_wal_senders", &["settings.senders"]),
    ("max_replication_slots", &["settings.slots"]),
    ("wal_level", &["settings.replication"]),
    ("hot_standby", &["settings.replication"]),
    ("enable_stream_replication", &["settings.replication"]),
    ("full_page_writes", &["settings.page_writes"]),
    ("enable_incremental_checkpoint", &["settings.page_writes"]),
    ("enable_double_write", &["settings.page_writes"]),
];

fn policy(workflow: Workflow) -> Option<&'static Policy> {
    workflow.entry()?.preflight.as_ref()
}

/// The change that a workflow has its nodes checked for; none where it makes no checks.
#[must_use]
pub fn purpose(workflow: Workflow) -> Option<Purpose> {
    policy(workflow).map(|policy| policy.purpose)
}

/// What a change needs of a node, as far as the inventory tells it.
#[must_use]
pub fn wanted(host: &InventoryHost, hosts: &[InventoryHost], targets: &[String], purpose: Purpose) -> Wanted {
    let node = Node::new(host, None);
    let port = |add: i64, node: &Node| u16::try_from(node.base_port + add).ok();
    // The channels of a node that is added are still to be written.
    let others = hosts.iter().filter(|other| other.name != host.name && purpose == Purpose::Expand);
    let reach = others.filter_map(|other| {
        let other = Node::new(other, None);
        Some(Target { port: port(1, &other)?, host: other.address })
    });
    Wanted {
        target: targets.contains(&host.name),
        port: port(0, &node),
        reach: reach.collect(),
        ..Wanted::default()
    }
}

/// Leaves those ways to other hosts away that a change does not need, and those that were closed as no server runs at their
/// end. `known`: the replication ports of the nodes that it concerns, and whether their servers run.
pub fn keep_ways(facts: &mut Facts, known: &[((String, i64), bool)]) {
    facts.reached.retain(|reached| {
        let key = (canonical(&reached.host), i64::from(reached.port));
        known.iter().any(|(other, runs)| *other == key && (*runs || !reached.refused))
    });
}

/// Adds what the checks found to what a workflow found itself. `is_check`: whether the run changes nothing.
pub fn add_preflight<P>(
    outlook: &mut Outlook<P>,
    nodes: &[Node],
    workflow: Workflow,
    targets: &[String],
    options: &Options,
    is_check: bool,
) {
    let Some(mut checked) = Checked::new(nodes, workflow, targets, options) else { return };
    checked.is_check = is_check;
    let mut found = Found::default();
    checked.check_accepted(&mut found);
    checked.tell_unchecked(&mut found);
    checked.judge(&mut found);
    found.add_to(outlook);
    outlook.warnings.extend(found.unmade);
}

/// Adds why the checks of a switchover refuse it to a standby, within another workflow that names itself what it accepts and
/// the nodes that could not be checked at all. Returns which checks could not be made.
pub(super) fn check_candidate<P>(
    outlook: &mut Outlook<P>,
    nodes: &[Node],
    to: &str,
    options: &Options,
) -> Vec<String> {
    let targets = [to.to_owned()];
    let Some(checked) = Checked::new(nodes, Workflow::Switchover, &targets, options) else {
        return Vec::new();
    };
    let mut found = Found::default();
    checked.judge(&mut found);
    found.add_to(outlook);
    std::mem::take(&mut found.unmade)
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    refusals: Vec<String>,
    warnings: Vec<String>,
    /// Which checks that might have refused could not be made.
    unmade: Vec<String>,
}

/// A node with what is known of it, as far as the change concerns it.
struct CheckedNode<'a> {
    node: &'a Node,
    is_target: bool,
    facts: Facts,
    wanted: Wanted,
}

struct Checked<'a> {
    workflow: Workflow,
    /// Whether nothing is changed in this run, nor was before.
    is_check: bool,
    policy: &'static Policy,
    options: &'a Options,
    nodes: Vec<CheckedNode<'a>>,
    /// Nodes on which the checks failed, whether the workflow is about them, and why.
    unchecked: Vec<(&'a Node, bool, &'a str)>,
}

/// The same finding on several nodes.
struct Told<'a> {
    finding: Finding,
    /// What it is about on each of them, such as a port.
    of: String,
    refuses: bool,
    nodes: Vec<&'a str>,
}

impl<'a> Checked<'a> {
    /// Returns what to judge; nothing for a workflow that makes no such checks.
    fn new(nodes: &'a [Node], workflow: Workflow, targets: &[String], options: &'a Options) -> Option<Self> {
        let policy = policy(workflow)?;
        let mut involved = involved(nodes, workflow, targets);
        if workflow == Workflow::Switchover {
            involved.retain(|(node, _)| !super::switchover::is_excluded(node, options));
        }
        // The workflow itself reports an unreachable node; the other nodes' channels to it add nothing.
        let reachable = involved.iter().filter(|(node, _)| node.is_reachable());
        let known: Vec<_> = reachable.map(|(node, _)| (node.key(), node.state().running)).collect();
        let (nodes, unchecked) = (Vec::new(), Vec::new());
        let mut it = Self { workflow, is_check: false, policy, options, nodes, unchecked };
        for (node, is_target) in &involved {
            let (node, is_target, seen) = (*node, *is_target, node.seen());
            it.unchecked.extend(seen.unchecked.as_deref().map(|why| (node, is_target, why)));
            let Some(facts) = &seen.facts else { continue };
            let mut facts = Facts::clone(facts);
            keep_ways(&mut facts, &known);
            if matches!(workflow, Workflow::Configure | Workflow::Deploy) {
                for (name, value) in &options.og_parameters {
                    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    facts.settings.insert_file(&name.to_ascii_lowercase(), value);
                }
            }
            let port = u16::try_from(node.base_port).ok();
            let wanted = Wanted { target: is_target, port, ..Wanted::default() };
            it.nodes.push(CheckedNode { node, is_target, facts, wanted });
        }
        Some(it)
    }

    /// The rules for such a node.
    fn rules(&self, is_target: bool) -> impl Iterator<Item = &'static CheckRule> {
        let applies = move |on: On| match on {
            On::All => true,
            On::Targets => is_target,
            On::Others => !is_target,
        };
        self.policy.rules.iter().filter(move |rule| applies(rule.on))
    }

    /// Whether errors of a check on a node refuse the workflow; none when its findings do not matter to it.
    fn refuses(&self, id: &str, is_target: bool) -> Option<bool> {
        let rule = self.rules(is_target).find(|rule| rule.checks.contains(&id));
        let is_set = |name: &str| self.options.og_parameters.keys().any(|key| key.eq_ignore_ascii_case(name));
        let is_of_parameter = self.workflow == Workflow::Configure
            && PARAMETER_CHECKS.iter().any(|(name, checks)| checks.contains(&id) && is_set(name));
        rule.map(|rule| rule.refuses).or(is_of_parameter.then_some(true))
    }

    fn judge(&self, found: &mut Found) {
        let accepted = self.accepted();
        let pairs: Vec<(&Facts, &Wanted)> = self.nodes.iter().map(|own| (&own.facts, &own.wanted)).collect();
        let mut told: Vec<Told> = Vec::new();
        let mut not_made: Vec<(Vec<String>, Vec<&str>)> = Vec::new();
        for (own, judgement) in self.nodes.iter().zip(judge_all(&pairs, self.policy.purpose)) {
            let mut unknown: Vec<String> = Vec::new();
            for finding in judgement.findings {
                let Some(refuses) = self.refuses(&finding.id, own.is_target) else { continue };
                match finding.severity {
                    Severity::Info => {}
                    // It is not passed: it might have refused.
                    Severity::Unknown => {
                        let is_new = refuses && !accepted.contains(&*finding.id);
                        unknown.extend(Some(finding.id).filter(|id| is_new && !unknown.contains(id)));
                    }
                    severity => {
                        let refuses = refuses && severity == Severity::Error && !self.is_prepared(&finding);
                        add(&mut told, own, finding, refuses);
                    }
                }
            }
            match not_made.iter_mut().find(|(ids, _)| *ids == unknown) {
                _ if unknown.is_empty() => {}
                Some((_, nodes)) => nodes.push(&own.node.name),
                None => not_made.push((unknown, vec![&own.node.name])),
            }
        }
        for Told { finding, of, refuses, nodes } in told {
            let is_of_deploy = self.workflow == Workflow::Deploy && finding.fixable_by == FixableBy::Deploy;
            let by = match (self.options.og_host, self.is_check) {
                _ if !is_of_deploy => "",
                (false, _) => ", or let og_host=true do it",
                (true, true) => " (og_host would do it)",
                (true, false) if finding.id.starts_with(LIMITS) => {
                    " (og_host has set it; it counts from the next login on)"
                }
                (true, false) => " (og_host did not put it right)",
            };
            let Finding { id, message, fix, .. } = &finding;
            let text = format!("{}: {of}{message} [{id}]; {fix}{by}", nodes.join(", "));
            found.add(text, refuses, &finding.id, &accepted);
        }
        found.unmade.extend(not_made.into_iter().map(|(ids, nodes)| {
            let purpose = serde_json::to_value(self.policy.purpose).unwrap_or_default();
            format!(
                "{}: could not be checked: {}; og preflight {} tells why",
                nodes.join(", "),
                ids.join(", "),
                purpose.as_str().unwrap_or_default()
            )
        }));
    }

    /// Whether og_host sets what was found wrong: it would, in check mode; where it has, only limits wait for the next login, and
    /// what else is found it could not put right.
    fn is_prepared(&self, finding: &Finding) -> bool {
        self.workflow == Workflow::Deploy
            && self.options.og_host
            && finding.fixable_by == FixableBy::Deploy
            && (self.is_check || finding.id.starts_with(LIMITS))
    }

    /// The checks whose errors are accepted.
    fn accepted(&self) -> BTreeSet<&'a str> {
        self.options.og_accept.split(',').map(str::trim).filter(|id| !id.is_empty()).collect()
    }

    /// Refuses what is to be accepted and is no check, or cannot be.
    fn check_accepted(&self, found: &mut Found) {
        let named = self.accepted();
        let known: Vec<&str> = checks::all().map(|check| check.id).chain([UNCHECKED]).collect();
        for id in named.iter().filter(|id| !known.contains(id)) {
            let near = og_common::protocol::nearest(id, &known);
            let near = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
            found.refusals.push(format!(
                "og_accept: there is no check {id}{near}; og_preflight --explain all lists them"
            ));
        }
        for id in named.iter().filter(|id| NEVER_ACCEPTED.contains(id)) {
            let why = "what it finds would cost data, and is put right first";
            found.refusals.push(format!("og_accept: {id} cannot be accepted: {why}"));
        }
    }

    /// Tells of the nodes on which the checks failed. A rescue goes on without them, and so does the removal of the node.
    fn tell_unchecked(&self, found: &mut Found) {
        let accepted = self.accepted();
        for (node, is_target, why) in &self.unchecked {
            // Nothing that they find matters.
            if self.rules(*is_target).next().is_none() {
                continue;
            }
            let refuses = match self.workflow {
                Workflow::Repair | Workflow::Failover => false,
                Workflow::Drop => !is_target,
                _ => true,
            };
            let text = format!("{}: its preflight checks could not be made: {why}", node.name);
            found.add(text, refuses, UNCHECKED, &accepted);
        }
    }
}

impl Found {
    /// Moves the findings into those of a workflow, which is not planned where one of them refuses it.
    fn add_to<P>(&mut self, outlook: &mut Outlook<P>) {
        outlook.findings.append(&mut self.refusals);
        outlook.warnings.append(&mut self.warnings);
        outlook.plan = outlook.plan.take().filter(|_| outlook.findings.is_empty());
    }

    /// Adds what a check found, with the option that accepts it where it refuses.
    fn add(&mut self, text: String, refuses: bool, id: &str, accepted: &BTreeSet<&str>) {
        if !refuses {
            self.warnings.push(text);
        } else if NEVER_ACCEPTED.contains(&id) {
            self.refusals.push(text);
        } else if accepted.contains(id) {
            self.warnings.push(format!("accepted (og_accept={id}): {text}"));
        } else {
            self.refusals.push(format!("{text} (og_accept={id} goes on in spite of it)"));
        }
    }
}

/// Adds a finding of a node to the list, or the node to an equal finding that is in it.
fn add<'a>(told: &mut Vec<Told<'a>>, own: &CheckedNode<'a>, finding: Finding, refuses: bool) {
    let of = finding.subject.strip_prefix(own.facts.label()).and_then(|rest| rest.strip_prefix(": "));
    let of = of.map(|of| format!("{of}: ")).unwrap_or_default();
    let same = |one: &&mut Told| {
        let other = &one.finding;
        (&other.id, &other.message, &other.fix, &one.of, one.refuses)
            == (&finding.id, &finding.message, &finding.fix, &of, refuses)
    };
    match told.iter_mut().find(same) {
        // A check may find the same twice on one node.
        Some(one) if one.nodes.contains(&&*own.node.name) => {}
        Some(one) => one.nodes.push(&own.node.name),
        None => told.push(Told { finding, of, refuses, nodes: vec![&own.node.name] }),
    }
}

/// The nodes that a workflow concerns, and of each whether it is about that node.
fn involved<'a>(nodes: &'a [Node], workflow: Workflow, targets: &[String]) -> Vec<(&'a Node, bool)> {
    let named = |n: &Node| targets.contains(&n.name);
    let around = |kind: TargetKind| Cluster::new(nodes, targets, kind).involved_nodes();
    let marked = |nodes: Vec<&'a Node>, is_target: &dyn Fn(&Node) -> bool| {
        nodes.into_iter().map(|n| (n, is_target(n))).collect()
    };
    // A build that a killed run left starts the server by itself.
    let is_built = |n: &Node| n.state().build.as_ref().is_some_and(|build| build.running);
    match workflow {
        Workflow::Expand => {
            marked(around(TargetKind::Added), &|n| named(n) && !n.is_streaming() && !is_built(n))
        }
        Workflow::Drop => marked(around(TargetKind::Dropped), &named),
        Workflow::Switchover => marked(around(TargetKind::Kept(super::switchover::VARIABLE)), &named),
        Workflow::Restart => marked(around(TargetKind::Kept(super::restart::VARIABLE)), &|n| {
            if targets.is_empty() { !n.seen().pending_restart.is_empty() } else { named(n) }
        }),
        Workflow::Configure => marked(around(TargetKind::Kept("")), &|_| false),
        Workflow::Failover => marked(nodes.iter().filter(|n| n.state().running).collect(), &|_| false),
        Workflow::Repair => {
            let is_ill = |n: &&Node| !n.state().running || n.state().db_state != DbState::Normal;
            let known = around(TargetKind::Repaired);
            // Without a primary it is not known who belongs to it.
            let known = if known.is_empty() { nodes.iter().collect() } else { known };
            marked(known.into_iter().filter(is_ill).collect(), &|_| true)
        }
        Workflow::Deploy => marked(nodes.iter().collect(), &super::deploy::is_new),
        Workflow::Clear => marked(around(TargetKind::Cleared), &named),
        // The others have no purpose to check for.
        _ => Vec::new(),
    }
}
