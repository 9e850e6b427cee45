//! What a caller says, and what the module answers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use og_common::cluster::ConfiguredRole;
use og_common::cluster::spec::{Difference, NodeSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The files describe the wanted cluster.
    #[default]
    Present,
    /// The file, cluster_dynamic_config and cluster_dnrole_config beside it are gone: openGauss's program files there serve no node
    /// any more. Refused while another data directory of this machine that the file names than `data_dir` holds a database.
    Absent,
    /// Return what the files describe.
    Query,
}

/// What becomes of cluster_dynamic_config and cluster_dnrole_config, which record the live roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dynamic {
    /// They stay as they are.
    #[default]
    Keep,
    /// They go: openGauss does without, and starts each server by its static role.
    Remove,
}

/// A role that a running server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LiveRole {
    /// Takes writes.
    Primary,
    /// Receives from the primary.
    Standby,
    /// Receives from a standby.
    CascadeStandby,
}

impl From<LiveRole> for ConfiguredRole {
    fn from(role: LiveRole) -> Self {
        match role {
            LiveRole::Primary => Self::Primary,
            LiveRole::Standby => Self::Standby,
            LiveRole::CascadeStandby => Self::CascadeStandby,
        }
    }
}

/// What to compare with; one of the three.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Verify {
    /// A cluster_config.xml.
    pub xml: Option<PathBuf>,
    /// Nodes as for `nodes`.
    pub nodes: Option<Vec<NodeSpec>>,
    /// Another cluster_static_config.
    pub path: Option<PathBuf>,
}

/// What a new cluster_config.xml says of the whole cluster, which no other file knows.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ClusterParams {
    /// clusterName. Default: dbCluster.
    pub name: Option<String>,
    /// gaussdbAppPath. Default: GAUSSHOME.
    pub app_path: Option<String>,
    /// gaussdbLogPath. Default: GAUSSLOG without the user's name at its end.
    pub log_path: Option<String>,
    /// tmpMppdbPath. Default: PGHOST.
    pub tmp_path: Option<String>,
    /// gaussdbToolPath; gs_expansion needs it. Default: GPHOME.
    pub tool_path: Option<String>,
    /// corePath; gs_expansion needs it.
    pub core_path: Option<String>,
}

/// The arguments.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Args {
    /// present: the files describe the wanted cluster; absent: they are gone; query: return what they describe.
    pub state: State,
    /// The cluster as this cluster_config.xml has it. Nodes known by name keep their ids.
    pub xml: Option<PathBuf>,
    /// The cluster: these nodes and no others. Nodes known by name keep their ids.
    pub nodes: Option<Vec<NodeSpec>>,
    /// Nodes that the existing file must have.
    pub add: Option<Vec<NodeSpec>>,
    /// Names or ids of nodes that the existing file must not have. The primary is never dropped.
    pub drop: Option<Vec<String>>,
    /// Name or id of the node that is the primary in the existing file.
    pub primary: Option<String>,
    /// Name or id of the node that this copy is for. Default: the one it is for already, else the node named as this
    /// machine. With state absent the copy for another node is refused.
    pub local: Option<String>,
    /// The file; with state query a cluster_config.xml, too. Default: $GAUSSHOME/bin/cluster_static_config.
    pub path: Option<PathBuf>,
    /// Also bring this cluster_config.xml up to date, keeping its comments and layout; a new one is written when there is
    /// none.
    pub write_xml: Option<PathBuf>,
    /// What a new cluster_config.xml says of the whole cluster.
    pub cluster: Option<ClusterParams>,
    /// What happens to cluster_dynamic_config and cluster_dnrole_config beside the file.
    pub dynamic: Dynamic,
    /// The live role of each node, by its name (or by dn_6001, dn_6002 … where a machine has several servers); written to
    /// cluster_dynamic_config and cluster_dnrole_config beside the file. Exactly one must be primary; a node left out is
    /// down.
    pub roles: Option<BTreeMap<String, LiveRole>>,
    /// Also write a copy for each node into this folder, as cluster_static_config_NAME.
    pub for_all: Option<PathBuf>,
    /// With state query: list what differs between the file and this.
    pub verify: Option<Verify>,
    /// Keep the old file beside the new one.
    pub backup: bool,
}

/// A server by the name that the others know it by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Instance {
    /// Its `application_name`, also that of its replication slot: dn_6001 and so on.
    pub name: String,
    /// The node it is on.
    pub node: String,
    /// Its role in the file.
    pub role: ConfiguredRole,
}

/// The module's own keys of the result.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Output {
    /// The file; none when only copies were written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Whether the file is there; in check mode, whether it would be. With state absent the other keys tell what it was.
    pub exists: bool,
    /// Name of the node this copy is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<String>,
    /// Name of the node with the role primary in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
    /// The nodes, as they can be given as `nodes`.
    pub nodes: Vec<NodeSpec>,
    /// The servers, in the order of the nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<Instance>,
    /// Nodes that came in.
    pub added: Vec<String>,
    /// Nodes that went out.
    pub dropped: Vec<String>,
    /// Nodes whose record changed otherwise.
    pub updated: Vec<String>,
    /// When the file was written: seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<i64>,
    /// The file's layout: 301, or 201.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<u32>,
    /// Room for peers of each server: 7 in files of OM before 3.0, else 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_slots: Option<usize>,
    /// The roles in cluster_dynamic_config, by the server's name (dn_6001 …); none when there is no such file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<BTreeMap<String, ConfiguredRole>>,
    /// With verify: every difference, `here` being the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub differences: Option<Vec<Difference>>,
    /// The copies of `for_all`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<PathBuf>,
}
