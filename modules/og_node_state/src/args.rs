//! Arguments and result of the module.

use std::collections::BTreeMap;

use og_common::gauss::cm_query::CmView;
use og_common::gauss::{
    DbState, Diagnosis, Fork, Identity, LogPosition, NodeState, Role, StopMode, WalRecord,
};
use og_common::protocol::{Bytes, Lsn};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The wanted state of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Return the state; change nothing.
    #[default]
    Query,
    /// Runs and accepts connections.
    Started,
    /// Does not run.
    Stopped,
    /// Has been stopped and started by this call.
    Restarted,
    /// Has read its configuration files again.
    Reloaded,
    /// Runs as primary: a standby takes over.
    Primary,
    /// Runs as standby (or, with `role`, as cascade standby).
    Standby,
    /// Has the failover `fork` on record, in its data directory.
    ForkRecorded,
}

/// The role to start a server in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StartRole {
    /// Primary.
    Primary,
    /// Standby.
    Standby,
    /// Cascade standby.
    CascadeStandby,
    /// Single node.
    Normal,
    /// Waits to be given a role.
    Pending,
}

impl From<StartRole> for Role {
    fn from(role: StartRole) -> Self {
        match role {
            StartRole::Primary => Self::Primary,
            StartRole::Standby => Self::Standby,
            StartRole::CascadeStandby => Self::CascadeStandby,
            StartRole::Normal => Self::Normal,
            StartRole::Pending => Self::Pending,
        }
    }
}

/// How a standby becomes primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transition {
    /// The primary hands over and becomes standby; nothing is lost.
    #[default]
    Switchover,
    /// The primary is gone; what it had not sent is lost.
    Failover,
}

/// What to wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Wait {
    /// The node has this role.
    pub role: Option<Role>,
    /// The server is in this state; `normal` on a standby: it streams.
    pub db_state: Option<DbState>,
    /// At least so many receivers stream from this server.
    pub peer_count: Option<usize>,
    /// The receivers at these addresses stream from this server.
    #[schemars(length(min = 1))]
    pub peers: Option<Vec<String>>,
    /// The receivers at these addresses stream from this server and count for `synchronous_standby_names` (`sync`, `quorum`
    /// or `potential`).
    #[schemars(length(min = 1))]
    pub sync_peers: Option<Vec<String>>,
    /// On a sender: no receiver, of `peers` when they are given, is further behind than this, and a primary has at least
    /// one (or `peer_count`); on a receiver: it is not further behind itself. In bytes of log not yet replayed.
    pub max_lag_bytes: Option<Bytes>,
}

/// Arguments of `og_node_state`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(clippy::struct_excessive_bools)] // They are arguments of their own.
pub struct Args {
    /// The wanted state of the server.
    pub state: State,
    /// Role to start the server in. Default: the one it runs in, or ran in last. With `state: standby` it may be
    /// `cascade_standby`.
    pub role: Option<StartRole>,
    /// How `state: primary` makes a standby primary.
    pub transition: Transition,
    /// Do it although another primary is alive or cannot be excluded, another node holds more of the log, no primary would
    /// be left, this standby lags or needs repair, or a primary that openGauss CM runs is to be restarted.
    pub force: bool,
    /// The call is made by no person, as when the machine starts or shuts down. With `state: started` a server that would take writes is started only when
    /// the other end of each of its channels answers, and none is primary or a single server, for ten seconds; the call waits for
    /// that, as long as `timeout` lets it, or until somebody calls with `state: stopped`. It looks for another primary for a minute
    /// after the start, and stops the server when there is one. A server that followed and has no channel any more is not started.
    /// Where CM runs the node a start is refused, and with `state: stopped` nothing is done.
    pub unattended: bool,
    /// How the server is stopped.
    pub stop_mode: StopMode,
    /// Conditions to wait for when all else is done; `timeout` limits it. In check mode nothing is waited for.
    pub wait: Option<Wait>,
    /// With `state: query`: tell also why a server that is not well is not. That reads what it has of the log.
    pub diagnose: bool,
    /// With `state: query`: tell also what openGauss CM says of the cluster, by `cm_ctl query`; null where CM does not run
    /// the node.
    pub cm_view: bool,
    /// With `state: query`, also tell how far the log goes that the node holds, whether its server runs or not; it is read from
    /// its last checkpoint on.
    pub log_end: bool,
    /// With `state: query`: tell the records of the log that begin at these places, to compare two logs with each other.
    pub log_records: Vec<String>,
    /// With `state: query`: tell the newest lines of the server's log, at most so many; secrets are masked, and what quotes SQL
    /// or rows is left out.
    #[schemars(range(max = 5_000))]
    pub log_lines: usize,
    /// With `state: fork_recorded`: the failover or switchover, for the repair of an old primary.
    pub fork: Option<Fork>,
    /// Poll interval in milliseconds.
    #[schemars(range(min = 10, max = 60_000))]
    pub interval_ms: u64,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            state: State::Query,
            role: None,
            transition: Transition::Switchover,
            force: false,
            unattended: false,
            stop_mode: StopMode::Fast,
            wait: None,
            diagnose: false,
            cm_view: false,
            log_end: false,
            log_records: Vec::new(),
            log_lines: 0,
            fork: None,
            interval_ms: 200,
        }
    }
}

/// The module's own keys of the result.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Output {
    /// The node as it is when the call ends.
    pub node: NodeState,
    /// The user whose data directory it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_user: Option<String>,
    /// With `state: query`: what tells the node from others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// With `diagnose`: why the server is not well; null when it is a standby that streams, or a primary that is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<Diagnosis>,
    /// With `cm_view`: what CM says of its own servers, of the cluster, and of each database server; null where CM does not
    /// run the node, or could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cm: Option<CmView>,
    /// With `log_end`: how far the log goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_end: Option<LogPosition>,
    /// With `log_records`: by each place the record that begins there; null where there is none, or it was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_records: Option<BTreeMap<String, Option<WalRecord>>>,
    /// With `log_records`: where the first segment of the log begins that is there; null where that cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_begin: Option<Lsn>,
    /// With `log_lines`: the newest lines of the server's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_lines: Option<Vec<String>>,
    /// With `state: query`: the failovers that are recorded on the node, the newest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forks: Vec<Fork>,
    /// With `state: reloaded`: whether the server was seen to take its files; null when that could not be seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reloaded: Option<bool>,
    /// With `state: reloaded`: what the server's log said of its files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}
