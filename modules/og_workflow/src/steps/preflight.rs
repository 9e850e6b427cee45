//! What speaks against a change, on all nodes at once.

use og_preflight::args::{Purpose, Wanted};
use og_preflight::checks::{Context, Finding, Judgement, Ready, Severity, Verdict, judge_all, readiness};
use og_preflight::facts::Facts;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::{InventoryHost, Run, Workflow, WorkflowEntry, args};
use crate::cluster::{Node, NoneReached};
use crate::plan::{self, PREFLIGHT, list_findings};
use crate::replay::{Go, Stop};
use crate::seen::{Seen, facts_of as facts_in};

/// The registry entry of this workflow: description, preflight checks and function.
pub(super) const ENTRY: WorkflowEntry = WorkflowEntry {
    workflow: Workflow::Preflight,
    name: "preflight",
    title: "Check the nodes before a change",
    about: "Check hosts, servers and files of all nodes before a change; changes nothing",
    details: &["It fails when there is a finding of severity error."],
    changes: false,
    targets: None,
    options: &["og_preflight_for", "og_preflight_nodes"],
    preflight: None,
    run: |it, _| preflight(it),
};

/// What the preflight checks found on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NodePreflight {
    /// The node.
    pub node: String,
    /// Why nothing could be checked there.
    pub error: Option<String>,
    /// Whether the change does without the checks of this node, which cannot be reached: it is to be dropped, or is lost before a
    /// failover to another node.
    pub dispensable: bool,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
    /// How many checks were made and found nothing.
    pub passed: usize,
    /// What the node could be used for.
    pub ready: Option<Ready>,
}

pub(super) fn preflight(it: &mut Run) -> Go {
    let (purpose, timeout) = (it.how.options.og_preflight_for, it.how.options.og_look_timeout);
    let targets: Vec<String> =
        it.how.options.og_preflight_nodes.split(',').map(|name| name.trim().to_owned()).collect();
    let targets: Vec<String> = targets.into_iter().filter(|name| !name.is_empty()).collect();
    let known: Vec<&str> = it.hosts.iter().map(|host| host.name.as_str()).collect();
    if let Some(name) = targets.iter().find(|name| !known.contains(&name.as_str())) {
        let known = known.join(", ");
        return Err(Stop::Failed(format!(
            "og_preflight_nodes: {name} is no host of the inventory (it has {known})"
        )));
    }
    let wanted = |host: &InventoryHost| plan::preflight::wanted(host, it.hosts, &targets, purpose);
    let there = it.hosts.iter().filter(|host| !it.how.left_out.contains(&host.name));
    let calls = there
        .map(|host| (host.name.clone(), args(preflight_args(purpose, &wanted(host), timeout))))
        .collect();
    let done = it.ask_quietly("Check all nodes", PREFLIGHT, calls)?;
    let facts_of = |host: &InventoryHost| {
        if it.how.left_out.contains(&host.name) {
            return Err(Unchecked::Failed("not checked: it is left out of the call (--limit)".to_owned()));
        }
        let Some((_, answer)) = done.0.iter().find(|(node, _)| *node == host.name) else {
            return Err(Unchecked::Failed("not checked: it gave no answer".to_owned()));
        };
        match answer.unreachable_reason() {
            Some(why) => Err(Unchecked::Unreachable(format!("not checked, unreachable: {why}"))),
            // What cannot be read is nothing that passed.
            None => facts_in(answer).map_err(|why| Unchecked::Failed(format!("not checked: {why}"))),
        }
    };
    let nodes: Vec<_> = it.hosts.iter().map(|host| (host, facts_of(host), wanted(host))).collect();
    let found = judge_nodes(nodes, purpose);
    let reached = |host| Node::new(host, done.get(&host.name).map(Seen::from_reach));
    if let Some(none) = NoneReached::find(&it.hosts.iter().map(reached).collect::<Vec<_>>()) {
        it.table = vec![
            format!("Nothing was checked: {}.", none.message),
            String::new(),
            format!("fix: {}", none.fix),
        ];
        it.findings = vec![none.in_words()];
        it.preflight = Some(found);
        return Err(Stop::Failed(list_findings(&it.findings, "")));
    }
    it.table = lines(&found);
    let errors = found.iter().flat_map(|own| {
        let error = own.error.iter().filter(|_| !own.dispensable);
        let error = error.map(|why| format!("{}: {why}", own.node));
        let findings = own.findings.iter().filter(|finding| finding.severity == Severity::Error);
        error
            .chain(findings.map(|f| format!("{}: {} [{}]; {}", own.node, f.message, f.id, f.fix)))
            .collect::<Vec<_>>()
    });
    it.findings = errors.collect();
    it.preflight = Some(found);
    if it.findings.is_empty() { Ok(()) } else { Err(Stop::Failed(list_findings(&it.findings, ""))) }
}

/// Why there are no facts of a node.
enum Unchecked {
    /// It cannot be reached.
    Unreachable(String),
    /// Another reason.
    Failed(String),
}

/// Judges each node with the others as its peers; one that could not be read is no peer.
fn judge_nodes(
    mut nodes: Vec<(&InventoryHost, Result<Facts, Unchecked>, Wanted)>,
    purpose: Purpose,
) -> Vec<NodePreflight> {
    if purpose == Purpose::Expand {
        prepare_expand(&mut nodes);
    }
    let read: Vec<(&Facts, &Wanted)> =
        nodes.iter().filter_map(|(_, facts, wanted)| Some((facts.as_ref().ok()?, wanted))).collect();
    let mut judgements = judge_all(&read, purpose).into_iter();
    nodes
        .iter()
        .map(|(node, facts, wanted)| match facts {
            Err(why) => NodePreflight {
                node: node.name.clone(),
                error: Some(match why {
                    Unchecked::Unreachable(why) | Unchecked::Failed(why) => why.clone(),
                }),
                dispensable: matches!(why, Unchecked::Unreachable(_))
                    && match purpose {
                        Purpose::Failover => !wanted.target,
                        Purpose::Drop => wanted.target,
                        _ => false,
                    },
                findings: Vec::new(),
                passed: 0,
                ready: None,
            },
            Ok(facts) => {
                let Judgement { findings, passed } = judgements.next().unwrap_or_default();
                let peers: Vec<&Facts> = read
                    .iter()
                    .map(|(other, _)| *other)
                    .filter(|other| !std::ptr::eq(*other, facts))
                    .collect();
                let context = Context { facts, peers: &peers, purpose, wanted, peers_read_before: false };
                NodePreflight {
                    node: node.name.clone(),
                    error: None,
                    dispensable: false,
                    findings,
                    passed: passed.len(),
                    ready: Some(readiness(&context)),
                }
            }
        })
        .collect()
}

/// Brings facts and wants into the shape that an expand judges them in: ways to a server that does not run yet need only be open,
/// and the primary needs senders and slots for the new nodes, of which one is built at a time.
fn prepare_expand(nodes: &mut [(&InventoryHost, Result<Facts, Unchecked>, Wanted)]) {
    let place = |host: &InventoryHost| Node::new(host, None).key();
    let known: Vec<_> = nodes
        .iter()
        .filter_map(|(host, facts, _)| Some((place(host), facts.as_ref().ok()?.server.running)))
        .collect();
    let is_new = |facts: &Facts, wanted: &Wanted| wanted.target && facts.server.receiver.is_none();
    let new: Vec<bool> = nodes
        .iter()
        .filter(|(_, facts, wanted)| facts.as_ref().is_ok_and(|facts| is_new(facts, wanted)))
        .map(|(host, ..)| Node::new(host, None).becomes_cascade())
        .collect();
    let standbys = new.iter().filter(|is_cascade| !**is_cascade).count();
    for (_, facts, wanted) in nodes.iter_mut() {
        let Ok(facts) = facts else { continue };
        plan::preflight::keep_ways(facts, &known);
        if facts.is_primary() && !new.is_empty() {
            let channels = facts.channels.len();
            let senders = channels + standbys + if standbys > 0 { 2 } else { 3 };
            wanted.senders = u32::try_from(senders).ok();
            wanted.slots = u32::try_from(channels + standbys).ok();
        }
    }
}

/// How og_preflight is asked. Its findings are judged here, with the facts of the other nodes.
pub(super) fn preflight_args(purpose: Purpose, wanted: &Wanted, timeout: u64) -> Value {
    // A rescue waits for none of its checks: a hung server would hold them for as long as all else together.
    let timeout = if purpose == Purpose::Failover { timeout.min(RESCUE_TIMEOUT_SECONDS) } else { timeout };
    let mut own = json!({
        "state": "query",
        "for": purpose,
        "wanted": {"target": wanted.target, "port": wanted.port},
        "fail_on": "never",
        "timeout": timeout,
    });
    if !wanted.reach.is_empty() {
        own["wanted"]["reach"] = json!(wanted.reach);
    }
    own
}

/// Seconds that the checks of a failover may take on a node.
const RESCUE_TIMEOUT_SECONDS: u64 = 5;

/// The verdict, a line a node, and the findings with what to do.
fn lines(found: &[NodePreflight]) -> Vec<String> {
    let count =
        |own: &NodePreflight, severity| own.findings.iter().filter(|f| f.severity == severity).count();
    let all = |severity| found.iter().map(|own| count(own, severity)).sum::<usize>();
    let unread = |dispensable| {
        found.iter().filter(|own| own.error.is_some() && own.dispensable == dispensable).count()
    };
    let errors = all(Severity::Error) + unread(false);
    let some = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
    let rest = format!(
        "{}, {} not known; {} passed",
        some(all(Severity::Warning) + unread(true), "warning"),
        all(Severity::Unknown),
        some(found.iter().map(|own| own.passed).sum(), "check")
    );
    let mut out = vec![
        match errors {
            0 => format!("Nothing speaks against it: no errors, {rest}."),
            n => format!("Not ready: {}, {rest}.", some(n, "error")),
        },
        String::new(),
    ];
    let ready = |verdict| match verdict {
        Verdict::Yes => "yes",
        Verdict::No => "no",
        Verdict::Unknown => "?",
    };
    let rows = found.iter().map(|own| {
        let of =
            |which: fn(&Ready) -> Verdict| own.ready.as_ref().map_or("?", |own| ready(which(own))).to_owned();
        let number =
            |severity| if own.error.is_some() { "?".to_owned() } else { count(own, severity).to_string() };
        [
            own.node.clone(),
            number(Severity::Error),
            number(Severity::Warning),
            number(Severity::Unknown),
            if own.error.is_some() { "?".to_owned() } else { own.passed.to_string() },
            of(|ready| ready.switchover.verdict),
            of(|ready| ready.failover.verdict),
            of(|ready| ready.build.verdict),
        ]
    });
    let head = ["NODE", "ERRORS", "WARNINGS", "UNKNOWN", "PASSED", "SWITCHOVER", "FAILOVER", "BUILD"]
        .map(str::to_owned);
    out.extend(crate::table::aligned(&std::iter::once(head).chain(rows).collect::<Vec<_>>()));
    let mut told = Vec::new();
    for own in found {
        told.extend(own.error.iter().map(|why| {
            let severity = if own.dispensable { Severity::Warning } else { Severity::Error };
            (severity, vec![format!("{}: {}: {why}", severity.name().to_uppercase(), own.node)])
        }));
        told.extend(own.findings.iter().filter(|f| f.severity != Severity::Info).map(|f| {
            let word = f.severity.name().to_uppercase();
            (
                f.severity,
                vec![format!("{word}: {}: {} [{}]", own.node, f.message, f.id), format!("  fix: {}", f.fix)],
            )
        }));
    }
    told.sort_by_key(|(severity, _)| *severity);
    if !told.is_empty() {
        out.push(String::new());
    }
    out.extend(told.into_iter().flat_map(|(_, lines)| lines));
    out
}
