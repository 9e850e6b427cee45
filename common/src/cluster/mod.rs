//! Nodes and instances of a cluster, and the files that record them.
//!
//! * [`static_config`]: `cluster_static_config`, the binary record of a cluster that OM, CM and gs_guc read
//! * [`dynamic_config`]: `cluster_dynamic_config` and `cluster_dnrole_config`, the roles as last seen
//! * [`xml`]: `cluster_config.xml`, what a person writes
//! * [`spec`]: nodes as JSON objects, and how they become a [`Cluster`] whose ids never move
//!
//! A "node" is a machine of the cluster; a "data node" is one server on it, as openGauss itself calls them.

pub mod dynamic_config;
mod page;
pub mod spec;
pub mod static_config;
#[cfg(test)]
mod tests;
pub mod xml;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::Error;

/// Most nodes that the server's reader takes (`CM_NODE_MAXNUM`).
pub const MAX_NODES: usize = 1024;
/// Most data nodes on one machine that the server's reader takes (`CM_MAX_DATANODE_PER_NODE`).
pub const MAX_DATA_NODES: usize = 160;
/// Addresses that a list in the files has room for.
pub const MAX_ADDRESSES: usize = 3;
/// Peers of one data node: OM refuses more (GAUSS-51230), and no file has room for more.
pub const MAX_PEERS: usize = 8;
/// The id of the first data node.
pub const FIRST_INSTANCE: u32 = 6001;
/// The id of the first CM agent.
pub const FIRST_AGENT: u32 = 10001;
/// The port of a database where nothing else is said, as for OM's `dataPortBase`.
pub const DEFAULT_PORT: u32 = 40000;
/// The group (`mirrorId`) that every CM agent is in.
pub const AGENT_GROUP: i32 = -3;

/// What a data node was when the file was written; the live role may be another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Takes writes.
    Primary,
    /// Receives from the primary.
    Standby,
    /// Receives only while a standby is away; of old layouts, never of an openGauss cluster.
    DummyStandby,
    /// Receives from a standby.
    CascadeStandby,
}

impl Role {
    /// The number in the files (`instanceType`).
    #[must_use]
    pub fn code(self) -> u32 {
        match self {
            Self::Primary => 0,
            Self::Standby => 1,
            Self::DummyStandby => 2,
            Self::CascadeStandby => 3,
        }
    }

    /// The role with this number, if it is one.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::Primary,
            1 => Self::Standby,
            2 => Self::DummyStandby,
            3 => Self::CascadeStandby,
            _ => return None,
        })
    }

    /// The role's name as arguments and results have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Standby => "standby",
            Self::DummyStandby => "dummy_standby",
            Self::CascadeStandby => "cascade_standby",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An address as it stands in a file. Two are equal when they are the same IP, however it is written.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Address(String);

impl Address {
    /// The address as it stands, unchecked; [`Cluster::check`] refuses one that is no IP.
    pub fn as_written(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The address written as OM writes it: without spaces around it, IPv6 compressed.
    #[must_use]
    pub fn canonical(text: &str) -> Self {
        let text = text.trim();
        Self(text.parse::<IpAddr>().map_or_else(|_| text.to_owned(), |ip| ip.to_string()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its value, if it is an IP.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.0.parse().ok()
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || self.ip().is_some_and(|ip| other.ip() == Some(ip))
    }
}

impl Eq for Address {}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The nodes of a cluster in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// The nodes.
    pub nodes: Vec<Node>,
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its number, from 1; it stays when other nodes go.
    pub id: u32,
    /// Its host name, by which it is known everywhere.
    pub name: String,
    /// Its availability zone (`azName`).
    pub zone: String,
    /// The zone's priority (`azPriority`), 1 to 10, 1 being the highest.
    pub zone_priority: u32,
    /// The addresses that servers talk to each other on (`backIp1`).
    pub addresses: Vec<Address>,
    /// The addresses that OM reaches the machine on (`sshIp1`).
    pub ssh_addresses: Vec<Address>,
    /// The folder of CM on this machine (`cmDir`); empty without CM.
    pub cm_dir: String,
    /// The CM server, if one runs here.
    pub cm_server: Option<CmServer>,
    /// The CM agent. It is in the file of a cluster without CM, too.
    pub cm_agent: CmAgent,
    /// The database servers.
    pub data_nodes: Vec<DataNode>,
}

/// A CM server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CmServer {
    /// Its number, from 1.
    pub id: u32,
    /// Its group (`mirrorId`), 1.
    pub group: u32,
    /// `cmServerlevel`.
    pub level: u32,
    /// Its floating address; openGauss leaves it empty.
    pub float_address: String,
    /// Where it listens.
    pub listen_addresses: Vec<Address>,
    /// Its port.
    pub port: u32,
    /// Where it talks to the other CM servers.
    pub ha_addresses: Vec<Address>,
    /// The port for that: `port` + 1.
    pub ha_port: u32,
    /// Primary or standby as configured; CM elects the live one itself.
    pub role: Role,
    /// What OM writes as the CM server's peer: by a slip of its writer the first data node of the group with the same
    /// number. [`Cluster::link`] fills it.
    pub peer_addresses: Vec<Address>,
    /// That data node's port. [`Cluster::link`] fills it.
    pub peer_port: u32,
}

/// A CM agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CmAgent {
    /// Its number, from 10001.
    pub id: u32,
    /// Its group (`mirrorId`): [`AGENT_GROUP`].
    pub group: i32,
    /// Its addresses: those of the node.
    pub addresses: Vec<Address>,
}

/// One database server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataNode {
    /// Its number, from 6001; it stays when others go, and names the server: `dn_6001`.
    pub id: u32,
    /// The servers that replicate each other have the same group (`mirrorId`), from 1.
    pub group: u32,
    /// Its data directory.
    pub data_dir: String,
    /// Its WAL folder, when that is elsewhere; else empty.
    pub xlog_dir: String,
    /// Always empty in openGauss.
    pub ssd_dir: String,
    /// Where it listens.
    pub listen_addresses: Vec<Address>,
    /// Its port.
    pub port: u32,
    /// Its role when the file was written.
    pub role: Role,
    /// Where it replicates.
    pub ha_addresses: Vec<Address>,
    /// The port for that: `port` + 1.
    pub ha_port: u32,
    /// The other servers of its group as the file has them. [`Cluster::link`] fills it.
    pub peers: Vec<Peer>,
}

impl DataNode {
    /// The name by which the server is known to the others (`application_name`).
    #[must_use]
    pub fn name(&self) -> String {
        format!("dn_{}", self.id)
    }
}

/// Another server as a data node's record has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its data directory.
    pub data_dir: String,
    /// Where it replicates.
    pub ha_addresses: Vec<Address>,
    /// The port for that.
    pub ha_port: u32,
    /// Its role.
    pub role: Role,
}

impl Cluster {
    /// The node of this name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|n| n.name == name)
    }

    /// The node with this number.
    #[must_use]
    pub fn node_by_id(&self, id: u32) -> Option<&Node> {
        self.nodes.iter().find(|n| n.id == id)
    }

    /// The node that `key` says: its name or, when no node is named so, its number.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<&Node> {
        self.node(key).or_else(|| key.parse().ok().and_then(|id| self.node_by_id(id)))
    }

    /// All data nodes with their nodes, in the order of the file.
    pub fn data_nodes(&self) -> impl Iterator<Item = (&Node, &DataNode)> {
        self.nodes.iter().flat_map(|n| n.data_nodes.iter().map(move |d| (n, d)))
    }

    /// The first node that holds a primary.
    #[must_use]
    pub fn primary(&self) -> Option<&Node> {
        self.data_nodes().find(|(_, d)| d.role == Role::Primary).map(|(n, _)| n)
    }

    /// Whether CM servers run in the cluster.
    #[must_use]
    pub fn has_cm(&self) -> bool {
        self.nodes.iter().any(|n| n.cm_server.is_some())
    }

    /// Fills in what OM derives when it writes: each data node's peers, each CM server's peer.
    ///
    /// A primary's peers are sorted by number, the others' stand in the order of the nodes
    /// (OM `DbClusterInfo.__getDNPeerInstance`, `__packCmsInfo`).
    pub fn link(&mut self) {
        let mut groups: BTreeMap<u32, Vec<(u32, Peer)>> = BTreeMap::new();
        for (_, d) in self.data_nodes() {
            groups.entry(d.group).or_default().push((
                d.id,
                Peer {
                    data_dir: d.data_dir.clone(),
                    ha_addresses: d.ha_addresses.clone(),
                    ha_port: d.ha_port,
                    role: d.role,
                },
            ));
        }
        for node in &mut self.nodes {
            for d in &mut node.data_nodes {
                let mut others: Vec<&(u32, Peer)> =
                    groups.get(&d.group).into_iter().flatten().filter(|(id, _)| *id != d.id).collect();
                if d.role == Role::Primary {
                    others.sort_by_key(|(id, _)| *id);
                }
                d.peers = others.into_iter().map(|(_, peer)| peer.clone()).collect();
            }
            if let Some(server) = &mut node.cm_server {
                let first = groups
                    .get(&server.group)
                    .into_iter()
                    .flatten()
                    .filter(|(id, _)| *id != server.id)
                    .min_by_key(|(id, _)| *id);
                (server.peer_addresses, server.peer_port) =
                    first.map_or_else(Default::default, |(_, p)| (p.ha_addresses.clone(), p.ha_port));
            }
        }
    }

    /// The cluster as [`Cluster::link`] leaves it.
    #[must_use]
    pub fn linked(mut self) -> Self {
        self.link();
        self
    }

    /// Checks all that OM's and the server's readers ask of a cluster: counts, characters, addresses, ports, exactly
    /// one primary in each group, nothing twice.
    ///
    /// # Errors
    /// `refused`, naming the node and what is wrong with it, with OM's own error number where it has one.
    pub fn check(&self) -> Result<(), Error> {
        check::cluster(self)
    }
}

mod check {
    //! What [`Cluster::check`] asks.

    use super::{
        AGENT_GROUP, Address, Cluster, DataNode, MAX_ADDRESSES, MAX_DATA_NODES, MAX_NODES, MAX_PEERS, Node,
        Role,
    };
    use crate::base::Error;
    use std::collections::{BTreeMap, HashMap};

    /// At any of these in a string the server's programs end with status 1 (`check_input_for_security`).
    pub(super) const FORBIDDEN: &str = "|;&$<>`\\'\"{}()[]~*?!";

    pub(super) fn cluster(cluster: &Cluster) -> Result<(), Error> {
        if cluster.nodes.is_empty() {
            return Err(Error::refused("a cluster has at least one node"));
        }
        if cluster.nodes.len() > MAX_NODES {
            return Err(Error::refused(format!(
                "{} nodes: the server's programs read at most {MAX_NODES}",
                cluster.nodes.len()
            )));
        }
        cluster.nodes.iter().try_for_each(one)?;
        together(&cluster.nodes)?;
        groups(cluster)?;
        cm(cluster)
    }

    /// The nodes beside each other: what is wrong with some of them stays wrong whatever others come.
    pub(super) fn together(nodes: &[Node]) -> Result<(), Error> {
        twice(nodes)?;
        families(nodes)
    }

    fn bad(node: &Node, what: impl std::fmt::Display) -> Error {
        Error::refused(format!("node {}: {what}", node.name))
    }

    /// One node by itself.
    pub(super) fn one(node: &Node) -> Result<(), Error> {
        word("name", &node.name, 64).map_err(|e| bad(node, e))?;
        word("zone", &node.zone, 64).map_err(|e| bad(node, e))?;
        let ids = [("id", node.id), ("CM agent's id", node.cm_agent.id)];
        let servers = node.cm_server.iter().map(|s| ("CM server's id", s.id));
        let data_nodes = node.data_nodes.iter().map(|d| ("instance_id", d.id));
        // In the file a CM server with the number 0 is none.
        if let Some((what, _)) = ids.into_iter().chain(servers).chain(data_nodes).find(|(_, id)| *id == 0) {
            return Err(bad(node, format!("the {what} must be 1 or more")));
        }
        // No other is ever written, and a node given as JSON cannot say one.
        if node.cm_agent.group != AGENT_GROUP {
            return Err(bad(
                node,
                format!("the CM agent's group is {}, it must be {AGENT_GROUP}", node.cm_agent.group),
            ));
        }
        if !(1..=10).contains(&node.zone_priority) {
            return Err(bad(node, format!("zone_priority is {}, it must be 1 to 10", node.zone_priority))
                .gauss_code("GAUSS-53206"));
        }
        list(node, "address", &node.addresses)?;
        list(node, "ssh_address", &node.ssh_addresses)?;
        list(node, "cm_agent_address", &node.cm_agent.addresses)?;
        if !node.cm_dir.is_empty() {
            folder(node, "cm_dir", &node.cm_dir)?;
        }
        if let Some(server) = &node.cm_server {
            list(node, "cm_server.listen_address", &server.listen_addresses)?;
            list(node, "cm_server.ha_address", &server.ha_addresses)?;
            port(node, "cm_server.port", server.port)?;
            port(node, "cm_server.ha_port", server.ha_port)?;
            if !matches!(server.role, Role::Primary | Role::Standby) {
                return Err(bad(node, format!("a CM server is no {}", server.role)).gauss_code("GAUSS-51204"));
            }
            if !server.float_address.is_empty() {
                list(node, "cm_server.float_address", &[Address::as_written(&server.float_address)])?;
            }
        }
        if node.data_nodes.len() > MAX_DATA_NODES {
            return Err(bad(
                node,
                format!(
                    "{} data nodes: the server's programs read at most {MAX_DATA_NODES}",
                    node.data_nodes.len()
                ),
            ));
        }
        node.data_nodes.iter().try_for_each(|d| data_node(node, d))
    }

    fn data_node(node: &Node, d: &DataNode) -> Result<(), Error> {
        folder(node, "data_dir", &d.data_dir)?;
        for (what, dir) in [("xlog_dir", &d.xlog_dir), ("ssd_dir", &d.ssd_dir)] {
            if !dir.is_empty() {
                folder(node, what, dir)?;
            }
        }
        list(node, "listen_address", &d.listen_addresses)?;
        list(node, "ha_address", &d.ha_addresses)?;
        port(node, "base_port", d.port)?;
        port(node, "ha_port", d.ha_port)?;
        if node.data_nodes.iter().filter(|o| o.data_dir == d.data_dir).count() > 1 {
            return Err(bad(node, format!("two data nodes have the data_dir {}", d.data_dir))
                .gauss_code("GAUSS-51638"));
        }
        Ok(())
    }

    /// A name: not empty, short enough, none of the characters at which the readers stop, nothing that would break the
    /// lists and text files names stand in.
    fn word(what: &str, text: &str, max: usize) -> Result<(), String> {
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
    fn folder(node: &Node, what: &str, path: &str) -> Result<(), Error> {
        if !path.starts_with('/') {
            return Err(
                bad(node, format!("{what} {path:?} is not an absolute path")).gauss_code("GAUSS-50213")
            );
        }
        if path.len() > 1023 {
            return Err(bad(
                node,
                format!("{what} has {} bytes, the server's programs read 1023", path.len()),
            ));
        }
        match path
            .chars()
            .find(|c| FORBIDDEN.contains(*c) || c.is_whitespace() || c.is_control() || *c == ',')
        {
            Some(c) => {
                Err(bad(node, format!("{what} {path:?} holds {c:?}, at which openGauss's programs stop"))
                    .gauss_code("GAUSS-50219"))
            }
            None => Ok(()),
        }
    }

    fn list(node: &Node, what: &str, list: &[Address]) -> Result<(), Error> {
        if list.is_empty() {
            return Err(bad(node, format!("{what} is missing")).gauss_code("GAUSS-51207"));
        }
        if list.len() > MAX_ADDRESSES {
            return Err(bad(
                node,
                format!("{what} has {} addresses, the file has room for {MAX_ADDRESSES}", list.len()),
            ));
        }
        match list.iter().find(|a| a.ip().is_none()) {
            Some(a) => {
                Err(bad(node, format!("{what} {:?} is no IP address", a.as_str())).gauss_code("GAUSS-50603"))
            }
            None => Ok(()),
        }
    }

    fn port(node: &Node, what: &str, port: u32) -> Result<(), Error> {
        if (1024..=65535).contains(&port) {
            Ok(())
        } else {
            Err(bad(node, format!("{what} is {port}, it must be 1024 to 65535")).gauss_code("GAUSS-51233"))
        }
    }

    /// Nothing that tells nodes apart is there twice.
    fn twice(nodes: &[Node]) -> Result<(), Error> {
        let mut taken: HashMap<(&str, String), &str> = HashMap::new();
        for node in nodes {
            let mut keys = vec![
                ("name", node.name.clone()),
                ("id", node.id.to_string()),
                ("CM agent's id", node.cm_agent.id.to_string()),
            ];
            keys.extend(
                node.addresses.iter().map(|a| ("address", Address::canonical(a.as_str()).to_string())),
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
    fn families(nodes: &[Node]) -> Result<(), Error> {
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

    fn groups(cluster: &Cluster) -> Result<(), Error> {
        let mut groups: BTreeMap<u32, Vec<(&Node, &DataNode)>> = BTreeMap::new();
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
                .filter(|(_, d)| d.role == Role::Primary)
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

    fn cm(cluster: &Cluster) -> Result<(), Error> {
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
}

/// The first number from `first` on that is not in `taken`, as OM counts: after 7000 data nodes go on at 40001.
#[must_use]
pub fn next_free(first: u32, taken: &BTreeSet<u32>) -> u32 {
    let mut id = first;
    while taken.contains(&id) {
        id = if first == FIRST_INSTANCE && id == 7000 { 40001 } else { id + 1 };
    }
    id
}
