//! What [`Cluster::check`] asks.

use super::{
    AGENT_GROUP, Cluster, ClusterAddress, ClusterNode, ConfiguredRole, DataNode, MAX_ADDRESSES,
    MAX_DATA_NODES, MAX_NODES, MAX_PEERS,
};
use crate::base::Error;
use std::collections::{BTreeMap, HashMap};

/// At any of these in a string the server's programs end with status 1 (`check_input_for_security`).
pub(super) const FORBIDDEN: &str = "|;&$<>`\\'\"{}()[]~*?!";

pub(super) fn check_cluster(cluster: &Cluster) -> Result<(), Error> {
    if cluster.nodes.is_empty() {
        return Err(Error::refused("a cluster has at least one node"));
    }
    if cluster.nodes.len() > MAX_NODES {
        return Err(Error::refused(format!(
            "{} nodes: the server's programs read at most {MAX_NODES}",
            cluster.nodes.len()
        )));
    }
    cluster.nodes.iter().try_for_each(check_node)?;
    check_nodes_together(&cluster.nodes)?;
    check_groups(cluster)?;
    check_cm(cluster)
}

/// The nodes beside each other: what is wrong with some of them stays wrong whatever others come.
pub(super) fn check_nodes_together(nodes: &[ClusterNode]) -> Result<(), Error> {
    check_duplicates(nodes)?;
    check_address_families(nodes)
}

fn invalid_node(node: &ClusterNode, what: impl std::fmt::Display) -> Error {
    Error::refused(format!("node {}: {what}", node.name))
}

/// One node by itself.
pub(super) fn check_node(node: &ClusterNode) -> Result<(), Error> {
    check_word("name", &node.name, 64).map_err(|e| invalid_node(node, e))?;
    check_word("zone", &node.zone, 64).map_err(|e| invalid_node(node, e))?;
    let ids = [("id", node.id), ("CM agent's id", node.cm_agent.id)];
    let servers = node.cm_server.iter().map(|s| ("CM server's id", s.id));
    let data_nodes = node.data_nodes.iter().map(|d| ("instance_id", d.id));
    // In the file a CM server with the number 0 is none.
    if let Some((what, _)) = ids.into_iter().chain(servers).chain(data_nodes).find(|(_, id)| *id == 0) {
        return Err(invalid_node(node, format!("the {what} must be 1 or more")));
    }
    // No other is ever written, and a node given as JSON cannot say one.
    if node.cm_agent.group != AGENT_GROUP {
        return Err(invalid_node(
            node,
            format!("the CM agent's group is {}, it must be {AGENT_GROUP}", node.cm_agent.group),
        ));
    }
    if !(1..=10).contains(&node.zone_priority) {
        return Err(invalid_node(
            node,
            format!("zone_priority is {}, it must be 1 to 10", node.zone_priority),
        )
        .gauss_code("GAUSS-53206"));
    }
    check_addresses(node, "address", &node.addresses)?;
    check_addresses(node, "ssh_address", &node.ssh_addresses)?;
    check_addresses(node, "cm_agent_address", &node.cm_agent.addresses)?;
    if !node.cm_dir.is_empty() {
        check_folder(node, "cm_dir", &node.cm_dir)?;
    }
    if let Some(server) = &node.cm_server {
        check_addresses(node, "cm_server.listen_address", &server.listen_addresses)?;
        check_addresses(node, "cm_server.ha_address", &server.ha_addresses)?;
        check_port(node, "cm_server.port", server.port)?;
        check_port(node, "cm_server.ha_port", server.ha_port)?;
        if !matches!(server.role, ConfiguredRole::Primary | ConfiguredRole::Standby) {
            return Err(
                invalid_node(node, format!("a CM server is no {}", server.role)).gauss_code("GAUSS-51204")
            );
        }
        if !server.float_address.is_empty() {
            check_addresses(
                node,
                "cm_server.float_address",
                &[ClusterAddress::from_verbatim(&server.float_address)],
            )?;
        }
    }
    if node.data_nodes.len() > MAX_DATA_NODES {
        return Err(invalid_node(
            node,
            format!(
                "{} data nodes: the server's programs read at most {MAX_DATA_NODES}",
                node.data_nodes.len()
            ),
        ));
    }
    node.data_nodes.iter().try_for_each(|d| check_data_node(node, d))
}

fn check_data_node(node: &ClusterNode, d: &DataNode) -> Result<(), Error> {
    check_folder(node, "data_dir", &d.data_dir)?;
    for (what, dir) in [("xlog_dir", &d.xlog_dir), ("ssd_dir", &d.ssd_dir)] {
        if !dir.is_empty() {
            check_folder(node, what, dir)?;
        }
    }
    check_addresses(node, "listen_address", &d.listen_addresses)?;
    check_addresses(node, "ha_address", &d.ha_addresses)?;
    check_port(node, "base_port", d.port)?;
    check_port(node, "ha_port", d.ha_port)?;
    if node.data_nodes.iter().filter(|o| o.data_dir == d.data_dir).count() > 1 {
        return Err(invalid_node(node, format!("two data nodes have the data_dir {}", d.data_dir))
            .gauss_code("GAUSS-51638"));
    }
    Ok(())
}

/// A name: not empty, short enough, none of the characters at which the readers stop, nothing that would break the
/// lists and text files names stand in.
fn check_word(what: &str, text: &str, max: usize) -> Result<(), String> {
    if text.is_empty() {
        return Err(format!("{what} is empty"));
    }
    if text.len() > max {
        return Err(format!("{what} has {} bytes, the file has room for {max}", text.len()));
    }
    match text
        .chars()
        .find(|c| FORBIDDEN.contains(*c) || c.is_whitespace() || c.is_control() || matches!(c, ',' | '='))
    {
        Some(c) => Err(format!("{what} {text:?} holds {c:?}, at which openGauss's programs stop")),
        None => Ok(()),
    }
}

/// A folder: absolute, short enough, of allowed characters.
fn check_folder(node: &ClusterNode, what: &str, path: &str) -> Result<(), Error> {
    if !path.starts_with('/') {
        return Err(
            invalid_node(node, format!("{what} {path:?} is not an absolute path")).gauss_code("GAUSS-50213")
        );
    }
    if path.len() > 1023 {
        return Err(invalid_node(
            node,
            format!("{what} has {} bytes, the server's programs read 1023", path.len()),
        ));
    }
    match path.chars().find(|c| FORBIDDEN.contains(*c) || c.is_whitespace() || c.is_control() || *c == ',') {
        Some(c) => Err(invalid_node(
            node,
            format!("{what} {path:?} holds {c:?}, at which openGauss's programs stop"),
        )
        .gauss_code("GAUSS-50219")),
        None => Ok(()),
    }
}

fn check_addresses(node: &ClusterNode, what: &str, list: &[ClusterAddress]) -> Result<(), Error> {
    if list.is_empty() {
        return Err(invalid_node(node, format!("{what} is missing")).gauss_code("GAUSS-51207"));
    }
    if list.len() > MAX_ADDRESSES {
        return Err(invalid_node(
            node,
            format!("{what} has {} addresses, the file has room for {MAX_ADDRESSES}", list.len()),
        ));
    }
    match list.iter().find(|a| a.ip().is_none()) {
        Some(a) => Err(invalid_node(node, format!("{what} {:?} is not an IP address", a.as_str()))
            .gauss_code("GAUSS-50603")),
        None => Ok(()),
    }
}

fn check_port(node: &ClusterNode, what: &str, port: u32) -> Result<(), Error> {
    if (1024..=65535).contains(&port) {
        Ok(())
    } else {
        Err(invalid_node(node, format!("{what} is {port}, it must be 1024 to 65535"))
            .gauss_code("GAUSS-51233"))
    }
}

/// Nothing that tells nodes apart is there twice.
fn check_duplicates(nodes: &[ClusterNode]) -> Result<(), Error> {
    let mut taken: HashMap<(&str, String), &str> = HashMap::new();
    for node in nodes {
        let mut keys = vec![
            ("name", node.name.clone()),
            ("id", node.id.to_string()),
            ("CM agent's id", node.cm_agent.id.to_string()),
        ];
        keys.extend(
            node.addresses
                .iter()
                .map(|a| ("address", ClusterAddress::from_canonicalized(a.as_str()).to_string())),
        );
        keys.extend(node.data_nodes.iter().map(|d| ("instance_id", d.id.to_string())));
        keys.extend(node.cm_server.iter().map(|s| ("CM server's id", s.id.to_string())));
        for (what, value) in keys {
            let text = format!("{what} {value}");
            if let Some(other) = taken.insert((what, value), &node.name) {
                return Err(if what == "name" {
                    Error::refused(format!("node {other} is there twice")).gauss_code("GAUSS-50204")
                } else {
                    Error::refused(format!("nodes {other} and {} both have the {text}", node.name))
                });
            }
        }
    }
    Ok(())
}

/// OM refuses IPv4 and IPv6 in one cluster.
fn check_address_families(nodes: &[ClusterNode]) -> Result<(), Error> {
    let mut all = nodes.iter().flat_map(|n| {
        n.addresses
            .iter()
            .chain(&n.ssh_addresses)
            .chain(n.data_nodes.iter().flat_map(|d| d.listen_addresses.iter().chain(&d.ha_addresses)))
            .filter_map(move |a| Some((n, a.ip()?)))
    });
    let Some((first, ip)) = all.next() else { return Ok(()) };
    match all.find(|(_, other)| other.is_ipv4() != ip.is_ipv4()) {
        Some((node, other)) => Err(Error::refused(format!(
            "IPv4 and IPv6 are mixed: node {} has {ip}, node {} has {other}",
            first.name, node.name
        ))
        .gauss_code("GAUSS-50624")),
        None => Ok(()),
    }
}

fn check_groups(cluster: &Cluster) -> Result<(), Error> {
    let mut groups: BTreeMap<u32, Vec<(&ClusterNode, &DataNode)>> = BTreeMap::new();
    for (n, d) in cluster.data_nodes() {
        groups.entry(d.group).or_default().push((n, d));
    }
    if groups.is_empty() {
        return Err(Error::refused("the cluster has no data node"));
    }
    for (group, members) in &groups {
        let which = if groups.len() == 1 { String::new() } else { format!(" of group {group}") };
        if members.len() > MAX_PEERS + 1 {
            return Err(Error::refused(format!(
                "the primary{which} has {} standbys, the file has room for {MAX_PEERS}",
                members.len() - 1
            ))
            .gauss_code("GAUSS-51230"));
        }
        let primaries: Vec<&str> = members
            .iter()
            .filter(|(_, d)| d.role == ConfiguredRole::Primary)
            .map(|(n, _)| n.name.as_str())
            .collect();
        if primaries.len() != 1 {
            return Err(Error::refused(if primaries.is_empty() {
                format!("no node is the primary{which}")
            } else {
                format!("more than one node is the primary{which}: {}", primaries.join(", "))
            })
            .gauss_code("GAUSS-51230")
            .hint("give exactly one node the role primary, or name it in primary"));
        }
    }
    let sizes: Vec<usize> = groups.values().map(Vec::len).collect();
    if sizes.windows(2).any(|w| w[0] != w[1]) {
        return Err(Error::refused(format!("the groups have unequal numbers of data nodes: {sizes:?}"))
            .gauss_code("GAUSS-53200"));
    }
    Ok(())
}

fn check_cm(cluster: &Cluster) -> Result<(), Error> {
    let dirs = cluster.nodes.iter().filter(|n| !n.cm_dir.is_empty()).count();
    let servers = cluster.nodes.iter().filter(|n| n.cm_server.is_some()).count();
    if dirs != 0 && dirs != cluster.nodes.len() {
        return Err(Error::refused("cm_dir is given for some nodes only").gauss_code("GAUSS-51230"));
    }
    if servers == 1 {
        return Err(Error::refused("a single CM server: CM needs two or more").gauss_code("GAUSS-51236"));
    }
    if servers != 0 && dirs == 0 {
        return Err(Error::refused("CM servers need a cm_dir on every node").gauss_code("GAUSS-51230"));
    }
    Ok(())
}
