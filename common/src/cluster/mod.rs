//! Nodes and instances of a cluster, and the files that record them.
//!
//! * [`static_config`]: `cluster_static_config`, the binary record of a cluster that OM, CM and gs_guc read
//! * [`dynamic_config`]: `cluster_dynamic_config` and `cluster_dnrole_config`, the roles as last seen
//! * [`xml`]: `cluster_config.xml`, what a person writes
//! * [`spec`]: nodes as JSON objects, and how they become a [`Cluster`] whose ids never move
//!
//! A "node" is a machine of the cluster; a "data node" is one server on it, as openGauss itself calls them.

mod check;
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
pub enum ConfiguredRole {
    /// Takes writes.
    Primary,
    /// Receives from the primary.
    Standby,
    /// Receives only while a standby is away; of old layouts, never of an openGauss cluster.
    DummyStandby,
    /// Receives from a standby.
    CascadeStandby,
}

impl ConfiguredRole {
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

impl fmt::Display for ConfiguredRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An address as it stands in a file. Two are equal when they are the same IP, however it is written.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct ClusterAddress(String);

impl ClusterAddress {
    /// Takes the address as it stands, unchecked; [`Cluster::check`] refuses one that is no IP.
    pub fn from_verbatim(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Writes the address as OM does: without spaces around it, IPv6 compressed.
    #[must_use]
    pub fn from_canonicalized(text: &str) -> Self {
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

impl PartialEq for ClusterAddress {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || self.ip().is_some_and(|ip| other.ip() == Some(ip))
    }
}

impl Eq for ClusterAddress {}

impl fmt::Display for ClusterAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The nodes of a cluster in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// The nodes.
    pub nodes: Vec<ClusterNode>,
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterNode {
    /// Its number, from 1; it stays when other nodes go.
    pub id: u32,
    /// Its host name, by which it is known everywhere.
    pub name: String,
    /// Its availability zone (`azName`).
    pub zone: String,
    /// The zone's priority (`azPriority`), 1 to 10, 1 being the highest.
    pub zone_priority: u32,
    /// The addresses that servers talk to each other on (`backIp1`).
    pub addresses: Vec<ClusterAddress>,
    /// The addresses that OM reaches the machine on (`sshIp1`).
    pub ssh_addresses: Vec<ClusterAddress>,
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
    pub listen_addresses: Vec<ClusterAddress>,
    /// Its port.
    pub port: u32,
    /// Where it talks to the other CM servers.
    pub ha_addresses: Vec<ClusterAddress>,
    /// The port for that: `port` + 1.
    pub ha_port: u32,
    /// Primary or standby as configured; CM elects the live one itself.
    pub role: ConfiguredRole,
    /// What OM writes as the CM server's peer: by a slip of its writer the first data node of the group with the same
    /// number. [`Cluster::link_peers`] fills it.
    pub peer_addresses: Vec<ClusterAddress>,
    /// That data node's port. [`Cluster::link_peers`] fills it.
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
    pub addresses: Vec<ClusterAddress>,
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
    pub listen_addresses: Vec<ClusterAddress>,
    /// Its port.
    pub port: u32,
    /// Its role when the file was written.
    pub role: ConfiguredRole,
    /// Where it replicates.
    pub ha_addresses: Vec<ClusterAddress>,
    /// The port for that: `port` + 1.
    pub ha_port: u32,
    /// The other servers of its group as the file has them. [`Cluster::link_peers`] fills it.
    pub peers: Vec<PeerRecord>,
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
pub struct PeerRecord {
    /// Its data directory.
    pub data_dir: String,
    /// Where it replicates.
    pub ha_addresses: Vec<ClusterAddress>,
    /// The port for that.
    pub ha_port: u32,
    /// Its role.
    pub role: ConfiguredRole,
}

impl Cluster {
    /// The node of this name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&ClusterNode> {
        self.nodes.iter().find(|n| n.name == name)
    }

    /// The node with this number.
    #[must_use]
    pub fn node_by_id(&self, id: u32) -> Option<&ClusterNode> {
        self.nodes.iter().find(|n| n.id == id)
    }

    /// The node that `key` says: its name or, when no node is named so, its number.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<&ClusterNode> {
        self.node(key).or_else(|| key.parse().ok().and_then(|id| self.node_by_id(id)))
    }

    /// All data nodes with their nodes, in the order of the file.
    pub fn data_nodes(&self) -> impl Iterator<Item = (&ClusterNode, &DataNode)> {
        self.nodes.iter().flat_map(|n| n.data_nodes.iter().map(move |d| (n, d)))
    }

    /// The first node that holds a primary.
    #[must_use]
    pub fn primary(&self) -> Option<&ClusterNode> {
        self.data_nodes().find(|(_, d)| d.role == ConfiguredRole::Primary).map(|(n, _)| n)
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
    pub fn link_peers(&mut self) {
        let mut groups: BTreeMap<u32, Vec<(u32, PeerRecord)>> = BTreeMap::new();
        for (_, d) in self.data_nodes() {
            groups.entry(d.group).or_default().push((
                d.id,
                PeerRecord {
                    data_dir: d.data_dir.clone(),
                    ha_addresses: d.ha_addresses.clone(),
                    ha_port: d.ha_port,
                    role: d.role,
                },
            ));
        }
        for node in &mut self.nodes {
            for d in &mut node.data_nodes {
                let mut others: Vec<&(u32, PeerRecord)> =
                    groups.get(&d.group).into_iter().flatten().filter(|(id, _)| *id != d.id).collect();
                if d.role == ConfiguredRole::Primary {
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

    /// The cluster as [`Cluster::link_peers`] leaves it.
    #[must_use]
    pub fn with_linked_peers(mut self) -> Self {
        self.link_peers();
        self
    }

    /// Checks all that OM's and the server's readers ask of a cluster: counts, characters, addresses, ports, exactly
    /// one primary in each group, nothing twice.
    ///
    /// # Errors
    /// `refused`, naming the node and what is wrong with it, with OM's own error number where it has one.
    pub fn check(&self) -> Result<(), Error> {
        check::check_cluster(self)
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
