//! Arguments and result of the module.

use og_common::protocol::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::checks::{Finding, Ready};
use crate::facts::Facts;

/// The change that the node is checked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The cluster gets more nodes; `wanted.target` says whether this is one of them.
    Expand,
    /// The cluster loses nodes; `wanted.target` says whether this is one of them.
    Drop,
    /// This node is rebuilt from its primary.
    Build,
    /// A standby and the primary exchange their roles.
    Switchover,
    /// A standby becomes primary, as the old primary is lost.
    Failover,
    /// A data directory is to be made here.
    Deploy,
    /// The server is stopped and started.
    Restart,
    /// No change in particular.
    #[default]
    Any,
}

impl Purpose {
    /// Whether the server is started by this change, with the memory, ports and limits that takes.
    #[must_use]
    pub fn starts_server(self) -> bool {
        matches!(self, Self::Expand | Self::Build | Self::Deploy | Self::Restart)
    }

    /// Whether data are copied by this change.
    #[must_use]
    pub fn copies_data(self) -> bool {
        matches!(self, Self::Expand | Self::Build)
    }

    /// Whether the change moves the role of the primary.
    #[must_use]
    pub fn moves_primary(self) -> bool {
        matches!(self, Self::Switchover | Self::Failover)
    }
}

/// A port of another host that is to be reached from here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Target {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// What the change needs of this node. What is not given is derived from the node and the facts of its peers where that
/// is possible.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Wanted {
    /// The node is itself what is added, dropped or rebuilt, or the standby that becomes primary.
    pub target: bool,
    /// Bytes that will be written here. Default: 1.1 times the primary's data and its WAL, from its facts.
    pub bytes: Option<Bytes>,
    /// The port of the server. Default: the one of its postgresql.conf.
    pub port: Option<u16>,
    /// All ports that must be free or the node's own. Default: `port` to `port` + 5.
    pub ports: Vec<u16>,
    /// The name under which the node replicates, such as `dn_6003`.
    pub name: Option<String>,
    /// Standbys that stream from this node after the change.
    pub standbys: Vec<String>,
    /// Standbys that are built from this node at the same time; each takes two WAL senders.
    pub builds: u32,
    /// WAL senders that this node needs. Default: one for each of `standbys`, two for each of `builds`, two in reserve.
    pub senders: Option<u32>,
    /// Replication slots that this node needs. Default: one for each of `standbys` and each slot of others.
    pub slots: Option<u32>,
    /// `synchronous_standby_names` after the change. Default: as it is.
    pub synchronous_standby_names: Option<String>,
    /// The release that the node must have.
    pub version: Option<String>,
    /// Addresses of nodes that connect to this node for replication.
    pub clients: Vec<String>,
    /// Ports of other hosts that are to be reached from here. Default: those of the replication channels.
    pub reach: Vec<Target>,
    /// Host names that must lead to the same address on all nodes.
    pub hosts: Vec<String>,
    /// Who holds the cluster's lock for this change (`owner` of og_lock), so that it does not count as another run.
    pub owner: Option<String>,
}

/// When the result says `failed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailOn {
    /// When there is a finding of severity error.
    #[default]
    Error,
    /// When there is an error, or a check could not be made.
    Unknown,
    /// When there is an error, an unknown or a warning.
    Warning,
    /// Never: the caller judges the findings.
    Never,
}

/// What the module does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Return the state; change nothing.
    #[default]
    Query,
}

/// Arguments of `og_preflight`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Args {
    /// The facts and findings are returned; nothing changes.
    pub state: State,
    /// The change that the node is checked for.
    #[serde(rename = "for")]
    pub purpose: Purpose,
    /// Facts of other nodes of the cluster, as other calls of og_preflight returned them under `facts`.
    // Their keys are those of the result; a program of another version may have others.
    #[schemars(with = "Vec<serde_json::Map<String, serde_json::Value>>")]
    pub peers: Vec<Facts>,
    /// What the change needs of this node.
    pub wanted: Wanted,
    /// The caller's clock when the call was sent, in milliseconds since 1970. It comes back in `facts.clock`; with the time
    /// at which the answer came it bounds the difference of the clocks by the time that the call took.
    pub sent_at: Option<u64>,
    /// When the result says `failed`, and the exit status is 1.
    pub fail_on: FailOn,
}

/// The module's own keys of the result.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Output {
    /// What the node is like, for the calls of its peers.
    pub facts: Facts,
    /// What speaks against the change, the worst first.
    pub findings: Vec<Finding>,
    /// What the node could be used for now.
    pub ready: Ready,
}
