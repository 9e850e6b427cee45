//! Nodes as JSON objects: what a person or an inventory says of them, what a query prints, and how a [`Cluster`] is made
//! of them. Ids that are not given are those the node already has in the file, else the next free ones.

mod build;
mod difference;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use build::{Edit, build, compare_with, edit};
pub use difference::{Difference, differences};

use super::{Cluster, ClusterAddress, ClusterNode, ConfiguredRole};

/// One address or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Addresses {
    /// One, or several with commas between them.
    One(String),
    /// At most three.
    List(Vec<String>),
}

impl Addresses {
    fn list(&self) -> Vec<ClusterAddress> {
        match self {
            Self::One(one) => one.split(',').map(ClusterAddress::from_canonicalized).collect(),
            Self::List(list) => list.iter().map(|a| ClusterAddress::from_canonicalized(a)).collect(),
        }
    }

    fn from_list(list: &[ClusterAddress]) -> Self {
        match list {
            [one] => Self::One(one.to_string()),
            _ => Self::List(list.iter().map(ToString::to_string).collect()),
        }
    }

    /// `list`, unless it is what is taken anyway.
    fn from_list_unless(list: &[ClusterAddress], default: &[ClusterAddress]) -> Option<Self> {
        (list != default).then(|| Self::from_list(list))
    }
}

/// One node of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeSpec {
    /// Its host name, by which it is known in all files.
    pub name: String,
    /// Its number. Default: the one it has in the file, else the next free one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    /// Its availability zone (azName). Default: AZ1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The zone's priority (azPriority), 1 to 10. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone_priority: Option<u32>,
    /// The address on which the servers reach each other (backIp1), or up to three.
    pub address: Addresses,
    /// The address on which OM reaches the machine (sshIp1). Default: `address`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_address: Option<Addresses>,
    /// The database's port; replication uses the next ones. Default: the primary's, else 40000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_port: Option<u32>,
    /// The data directory. Default: the primary's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<String>,
    /// The WAL folder, when it is not within the data directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xlog_dir: Option<String>,
    /// Its role. Default: the one it has in the file, else standby; a single node is the primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<ConfiguredRole>,
    /// The server's number, which also names it: 6002 is dn_6002. Default: the one it has in the file, else the next free
    /// one from 6001 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<u32>,
    /// The addresses the server listens on. Default: `address`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen_address: Option<Addresses>,
    /// The addresses the server replicates on. Default: `address`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ha_address: Option<Addresses>,
    /// The port the server replicates on. Default: `base_port` + 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ha_port: Option<u32>,
    /// Instead of `data_dir` and the other settings of the one server: all servers of this machine, where there are
    /// several or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_nodes: Option<Vec<DataNodeSpec>>,
    /// CM's folder on this machine (cmDir). Default: none; for a node added to a cluster with CM: the primary's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cm_dir: Option<String>,
    /// The CM server on this machine. Default: none; for a node added to a cluster with CM servers: one like the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cm_server: Option<CmServerSpec>,
    /// The CM agent's number. Default: the one it has in the file, else the next free one from 10001 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cm_agent_id: Option<u32>,
    /// The CM agent's addresses. Default: `address`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cm_agent_address: Option<Addresses>,
}

impl Default for Addresses {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

/// One server of several on a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DataNodeSpec {
    /// The server's number, such as 6001.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<u32>,
    /// The servers that replicate each other have the same group, from 1. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
    /// The data directory.
    pub data_dir: String,
    /// The WAL folder, when it is not within the data directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xlog_dir: Option<String>,
    /// The ssd folder; openGauss leaves it empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssd_dir: Option<String>,
    /// The database's port. Default: that of the group's primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_port: Option<u32>,
    /// The server's role. Default: standby.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<ConfiguredRole>,
    /// The addresses the server listens on. Default: the node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen_address: Option<Addresses>,
    /// The addresses the server replicates on. Default: the node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ha_address: Option<Addresses>,
    /// The port the server replicates on. Default: `base_port` + 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ha_port: Option<u32>,
}

/// A CM server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CmServerSpec {
    /// Its number. Default: the one it has in the file, else the next free one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    /// Its group. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
    /// Its level (cmServerlevel). Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<u32>,
    /// Its port (cmServerPortBase). Default: 5000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u32>,
    /// primary or standby as configured. Default: standby.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<ConfiguredRole>,
    /// Where it listens. Default: the node's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen_address: Option<Addresses>,
    /// Where it talks to the other CM servers. Default: the node's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ha_address: Option<Addresses>,
    /// The port for that. Default: `port` + 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ha_port: Option<u32>,
    /// Its floating address; openGauss leaves it empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub float_address: Option<String>,
}

/// The nodes of a cluster as JSON objects, which [`build()`] turns into the same cluster again.
#[must_use]
pub fn describe(cluster: &Cluster) -> Vec<NodeSpec> {
    cluster.nodes.iter().map(describe_node).collect()
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn describe_node(n: &ClusterNode) -> NodeSpec {
    let mut spec = NodeSpec {
        name: n.name.clone(),
        id: Some(n.id),
        zone: Some(n.zone.clone()),
        zone_priority: Some(n.zone_priority),
        address: Addresses::from_list(&n.addresses),
        ssh_address: Some(Addresses::from_list(&n.ssh_addresses)),
        cm_dir: non_empty(&n.cm_dir),
        cm_agent_id: Some(n.cm_agent.id),
        cm_agent_address: Addresses::from_list_unless(&n.cm_agent.addresses, &n.addresses),
        cm_server: n.cm_server.as_ref().map(|s| CmServerSpec {
            id: Some(s.id),
            group: Some(s.group),
            level: Some(s.level),
            port: Some(s.port),
            role: Some(s.role),
            listen_address: Addresses::from_list_unless(&s.listen_addresses, &n.addresses),
            ha_address: Addresses::from_list_unless(&s.ha_addresses, &n.addresses),
            ha_port: (s.ha_port != s.port.saturating_add(1)).then_some(s.ha_port),
            float_address: non_empty(&s.float_address),
        }),
        ..NodeSpec::default()
    };
    match n.data_nodes.as_slice() {
        [d] if d.group == 1 && d.ssd_dir.is_empty() => {
            spec.base_port = Some(d.port);
            spec.data_dir = Some(d.data_dir.clone());
            spec.xlog_dir = non_empty(&d.xlog_dir);
            spec.role = Some(d.role);
            spec.instance_id = Some(d.id);
            spec.listen_address = Addresses::from_list_unless(&d.listen_addresses, &n.addresses);
            spec.ha_address = Addresses::from_list_unless(&d.ha_addresses, &n.addresses);
            spec.ha_port = (d.ha_port != d.port.saturating_add(1)).then_some(d.ha_port);
        }
        several => {
            spec.data_nodes = Some(
                several
                    .iter()
                    .map(|d| DataNodeSpec {
                        instance_id: Some(d.id),
                        group: Some(d.group),
                        data_dir: d.data_dir.clone(),
                        xlog_dir: non_empty(&d.xlog_dir),
                        ssd_dir: non_empty(&d.ssd_dir),
                        base_port: Some(d.port),
                        role: Some(d.role),
                        listen_address: Addresses::from_list_unless(&d.listen_addresses, &n.addresses),
                        ha_address: Addresses::from_list_unless(&d.ha_addresses, &n.addresses),
                        ha_port: (d.ha_port != d.port.saturating_add(1)).then_some(d.ha_port),
                    })
                    .collect(),
            );
        }
    }
    spec
}

/// The nodes of a cluster as JSON objects without their ids, so that [`build()`] gives them those they have elsewhere.
#[must_use]
pub fn without_ids(cluster: &Cluster) -> Vec<NodeSpec> {
    let mut specs = describe(cluster);
    for spec in &mut specs {
        spec.id = None;
        spec.instance_id = None;
        spec.cm_agent_id = None;
        if let Some(server) = &mut spec.cm_server {
            server.id = None;
        }
        for d in spec.data_nodes.iter_mut().flatten() {
            d.instance_id = None;
        }
    }
    specs
}
