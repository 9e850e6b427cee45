//! What a look at a cluster finds wrong with what is shown of it.

use crate::cluster::{
    Node, foreign, kin, misplaced, names, primaries, same_directory, several_primaries, strangers,
};

/// What status finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspected {
    /// What makes it fail, the worst first.
    pub findings: Vec<String>,
    /// What should be looked at.
    pub warnings: Vec<String>,
}

/// Returns what is wrong with these nodes. That a host does not answer is not: the table says so, and a dead node is what
/// a cluster is made to live with.
#[must_use]
pub fn inspect(nodes: &[Node]) -> Inspected {
    let primaries = primaries(nodes);
    let mut findings = Vec::new();
    let mut warnings = Vec::new();
    if primaries.len() > 1 {
        findings.push(several_primaries(&primaries));
    }
    for n in nodes.iter().filter(|n| n.reachable()) {
        if let Some(why) = &n.seen().state_error {
            findings.push(unreadable(n, why));
        }
        findings.extend(misplaced(n, nodes));
    }
    findings.extend(same_directory(nodes, &nodes.iter().collect::<Vec<_>>()));
    if let [primary] = primaries[..] {
        let kin = kin(primary, nodes);
        let others = nodes.iter().filter(|n| !kin.contains(n));
        findings.extend(others.filter_map(|n| {
            Some(format!("{}: belongs to another cluster: {}", n.name, foreign(n, primary, &kin)?))
        }));
        warnings = strangers(primary, &kin, nodes);
    }
    let hidden = names(nodes.iter().filter(|n| n.seen.is_none()));
    if !hidden.is_empty() {
        warnings.push(format!("{}: not looked at, hidden by --limit", hidden.join(", ")));
    }
    Inspected { findings, warnings }
}

/// That a node answers and its state cannot be read.
#[must_use]
pub fn unreadable(n: &Node, why: &str) -> String {
    format!(
        "{}: its state cannot be read, so whether its server runs is not known: {why}; correct data_dir, or the user who \
         logs in there",
        n.name
    )
}
