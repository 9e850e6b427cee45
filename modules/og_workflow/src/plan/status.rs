//! Where what was seen of the nodes does not fit what the inventory says of them.

use crate::cluster::{
    Node, find_misplacements, find_strangers, foreign_cluster_reason, node_names, primaries, related_nodes,
    same_directory, several_primaries,
};

/// What an inspection of all nodes finds, before their health is assessed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspected {
    /// That more than one node runs as primary, and what to do.
    pub several_primaries: Option<String>,
    /// Nodes that are not what or where the inventory says, each with what to do.
    pub findings: Vec<String>,
    /// Members that the inventory does not have, each with what to do.
    pub warnings: Vec<String>,
    /// Nodes that were not inspected, as `--limit` hides them.
    pub hidden: Vec<String>,
}

/// Returns what is wrong with these nodes. That a host does not answer is not: the table says so, and a dead node is what
/// a cluster is made to live with.
#[must_use]
pub fn inspect(nodes: &[Node]) -> Inspected {
    let primaries = primaries(nodes);
    let mut findings = Vec::new();
    let mut warnings = Vec::new();
    for n in nodes.iter().filter(|n| n.is_reachable()) {
        if let Some(why) = &n.seen().state_error {
            findings.push(unreadable(n, why));
        }
        findings.extend(find_misplacements(n, nodes));
    }
    findings.extend(same_directory(nodes, &nodes.iter().collect::<Vec<_>>()));
    if let [primary] = primaries[..] {
        let kin = related_nodes(primary, nodes);
        let others = nodes.iter().filter(|n| !kin.contains(n));
        findings.extend(others.filter_map(|n| {
            Some(format!(
                "{}: belongs to another cluster: {}",
                n.name,
                foreign_cluster_reason(n, primary, &kin)?
            ))
        }));
        warnings = find_strangers(primary, &kin, nodes);
    }
    let several_primaries = (primaries.len() > 1).then(|| several_primaries(&primaries));
    let hidden = node_names(nodes.iter().filter(|n| n.seen.is_none()));
    Inspected { several_primaries, findings, warnings, hidden }
}

/// That a node answers and its state cannot be read.
#[must_use]
pub fn unreadable(n: &Node, why: &str) -> String {
    // Of programs of another version it says itself what to do.
    let fix =
        if n.seen().has_other_version { "" } else { "; correct data_dir, or the user who logs in there" };
    format!("{}: its state cannot be read, so whether its server runs is not known: {why}{fix}", n.name)
}
