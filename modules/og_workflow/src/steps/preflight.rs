//! What speaks against a change, on all nodes at once.

use og_preflight::args::{Purpose, Wanted};
use og_preflight::checks::{Context, Finding, Judgement, Ready, Severity, Verdict, judge_all, readiness};
use og_preflight::facts::Facts;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::{InventoryHost, Run, args};
use crate::plan::list_findings;
use crate::replay::{Go, Stop};

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
    let wanted = |node: &str| Wanted { target: targets.iter().any(|name| name == node), ..Wanted::default() };
    let there = it.hosts.iter().filter(|host| !it.how.left_out.contains(&host.name));
    let calls = there
        .map(|host| {
            let own = json!({
                "state": "query",
                "for": purpose,
                "wanted": {"target": wanted(&host.name).target},
                "fail_on": "never",
                "timeout": timeout,
            });
            (host.name.clone(), args(own))
        })
        .collect();
    let done = it.ask_quietly("Check all nodes", "og_preflight", calls)?;
    let facts_of = |host: &InventoryHost| {
        if it.how.left_out.contains(&host.name) {
            return Err(Unchecked::Failed("not checked: it is left out of the call (--limit)".to_owned()));
        }
        let Some((_, answer)) = done.0.iter().find(|(node, _)| *node == host.name) else {
            return Err(Unchecked::Failed("not checked: it gave no answer".to_owned()));
        };
        match (answer.unreachable_reason(), answer.error()) {
            (Some(why), _) => Err(Unchecked::Unreachable(format!("not checked, unreachable: {why}"))),
            (None, Some(why)) => Err(Unchecked::Failed(why)),
            // What cannot be read is nothing that passed.
            (None, None) => serde_json::from_value(answer.read_key("facts"))
                .map_err(|e| Unchecked::Failed(format!("not checked: its facts cannot be read: {e}"))),
        }
    };
    let nodes: Vec<_> = it.hosts.iter().map(|host| (host.name.clone(), facts_of(host))).collect();
    let found = judged(&nodes, &wanted, purpose);
    it.table = lines(&found);
    let errors = found.iter().flat_map(|own| {
        let error = own.error.iter().filter(|_| !own.dispensable);
        let error = error.map(|why| format!("{}: {why}", own.node));
        let findings = own.findings.iter().filter(|finding| finding.severity == Severity::Error);
        error
            .chain(findings.map(|finding| format!("{}: {}; {}", own.node, finding.message, finding.fix)))
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
fn judged(
    nodes: &[(String, Result<Facts, Unchecked>)],
    wanted: &dyn Fn(&str) -> Wanted,
    purpose: Purpose,
) -> Vec<NodePreflight> {
    let read: Vec<(&Facts, Wanted)> =
        nodes.iter().filter_map(|(node, facts)| Some((facts.as_ref().ok()?, wanted(node)))).collect();
    let pairs: Vec<(&Facts, &Wanted)> = read.iter().map(|(facts, wanted)| (*facts, wanted)).collect();
    let mut judgements = judge_all(&pairs, purpose).into_iter();
    nodes
        .iter()
        .map(|(node, facts)| match facts {
            Err(why) => NodePreflight {
                node: node.clone(),
                error: Some(match why {
                    Unchecked::Unreachable(why) | Unchecked::Failed(why) => why.clone(),
                }),
                dispensable: matches!(why, Unchecked::Unreachable(_))
                    && match purpose {
                        Purpose::Failover => !wanted(node).target,
                        Purpose::Drop => wanted(node).target,
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
                let own = wanted(node);
                let context =
                    Context { facts, peers: &peers, purpose, wanted: &own, peers_read_before: false };
                NodePreflight {
                    node: node.clone(),
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
