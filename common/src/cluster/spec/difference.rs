//! What is not the same in two clusters.

use std::collections::{HashMap, HashSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{Cluster, ClusterAddress, ClusterNode};
use super::describe_node;

/// One way in which two clusters differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// The node; empty when it is about the whole file.
    pub node: String,
    /// What differs: a field of the node as in `nodes`, `node` when one side lacks it, `peers` when the file
    /// contradicts itself, `place` in the order of the nodes, or, with no node, the file's `layout` or `peer_slots`.
    pub field: String,
    /// The value in the file; null when it has none.
    pub here: serde_json::Value,
    /// The value it is compared with; null when it has none.
    pub there: serde_json::Value,
}

/// Every difference between two clusters, node by node (by name), field by field.
#[must_use]
pub fn differences(here: &Cluster, there: &Cluster) -> Vec<Difference> {
    use serde_json::Value;
    let mut list = Vec::new();
    let only = |node: &ClusterNode, is_here: bool| {
        let text = Value::String(node.name.clone());
        let (here, there) = if is_here { (text, Value::Null) } else { (Value::Null, text) };
        Difference { node: node.name.clone(), field: "node".to_owned(), here, there }
    };
    for node in &here.nodes {
        let Some(other) = there.node(&node.name) else {
            list.push(only(node, true));
            continue;
        };
        if node == other {
            continue;
        }
        let (a, b) = (fields(node), fields(other));
        let before = list.len();
        for key in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
            let (here, there) = (a.get(key), b.get(key));
            if here != there {
                list.push(Difference {
                    node: node.name.clone(),
                    field: key.clone(),
                    here: here.cloned().unwrap_or_default(),
                    there: there.cloned().unwrap_or_default(),
                });
            }
        }
        if list.len() == before {
            list.push(Difference {
                node: node.name.clone(),
                field: "peers".to_owned(),
                here: peers(node),
                there: peers(other),
            });
        }
    }
    list.extend(there.nodes.iter().filter(|n| here.node(&n.name).is_none()).map(|n| only(n, false)));
    list.extend(place_differences(here, there));
    list
}

/// Nodes of both that stand in another order: for each the number of its place among them.
fn place_differences(here: &Cluster, there: &Cluster) -> Vec<Difference> {
    fn names(of: &Cluster) -> HashSet<&str> {
        of.nodes.iter().map(|n| n.name.as_str()).collect()
    }
    fn order<'c>(of: &'c Cluster, known: &HashSet<&str>) -> Vec<&'c str> {
        of.nodes.iter().map(|n| n.name.as_str()).filter(|n| known.contains(n)).collect()
    }
    let ours = order(here, &names(there));
    let theirs: HashMap<&str, usize> = order(there, &names(here)).into_iter().zip(1..).collect();
    (1..)
        .zip(ours)
        .filter_map(|(place, name)| {
            let other = *theirs.get(name)?;
            (place != other).then(|| Difference {
                node: name.to_owned(),
                field: "place".to_owned(),
                here: place.into(),
                there: other.into(),
            })
        })
        .collect()
}

/// A node's fields by name, addresses written in one way.
fn fields(node: &ClusterNode) -> serde_json::Map<String, serde_json::Value> {
    let mut node = node.clone();
    let canonical = |list: &mut Vec<ClusterAddress>| {
        for a in list {
            *a = ClusterAddress::from_canonicalized(a.as_str());
        }
    };
    canonical(&mut node.addresses);
    canonical(&mut node.ssh_addresses);
    canonical(&mut node.cm_agent.addresses);
    if let Some(s) = &mut node.cm_server {
        canonical(&mut s.listen_addresses);
        canonical(&mut s.ha_addresses);
    }
    for d in &mut node.data_nodes {
        canonical(&mut d.listen_addresses);
        canonical(&mut d.ha_addresses);
    }
    match serde_json::to_value(describe_node(&node)) {
        Ok(serde_json::Value::Object(map)) => map,
        _ => serde_json::Map::new(),
    }
}

fn peers(node: &ClusterNode) -> serde_json::Value {
    let socket = |list: &[ClusterAddress], port: u32| {
        let list: Vec<&str> = list.iter().map(ClusterAddress::as_str).collect();
        format!("{}:{port}", list.join(","))
    };
    let servers = node.data_nodes.iter().map(|d| {
        let peers: Vec<String> = d
            .peers
            .iter()
            .map(|p| format!("{} {} {}", socket(&p.ha_addresses, p.ha_port), p.role, p.data_dir))
            .collect();
        (d.name(), serde_json::Value::from(peers))
    });
    let cm = node
        .cm_server
        .iter()
        .map(|s| ("cm_server".to_owned(), serde_json::Value::from(socket(&s.peer_addresses, s.peer_port))));
    servers.chain(cm).collect::<serde_json::Map<_, _>>().into()
}
