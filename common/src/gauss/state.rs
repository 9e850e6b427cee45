//! What is known of a node, typed: the `node` of the results.
//!
//! Workflows read these types from the answers of other releases of the programs, too: what an answer lacks is the default, and
//! so is a position or a state of the other end that cannot be read. A role or state of the server itself that is not known is
//! an error, since workflows decide by it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::managed::ManagedBy;
use super::tablespaces::Tablespaces;
use crate::base::{Bytes, Lsn, deserialize_or_default};

/// What a server is to its cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Takes writes and sends its log to standbys.
    Primary,
    /// Follows the primary.
    Standby,
    /// Follows a standby.
    CascadeStandby,
    /// A single node that knows no others.
    Normal,
    /// Started, and waits to be given its role.
    Pending,
    /// Recovers from an archive.
    Recovery,
    /// First standby of a disaster recovery cluster.
    MainStandby,
    /// Member of a disaster recovery cluster.
    StandbyCluster,
    /// A role that this program does not know.
    #[default]
    Unknown,
}

impl Role {
    /// The roles of servers that serve clients.
    pub const SERVING: [Self; 4] = [Self::Primary, Self::Standby, Self::CascadeStandby, Self::Normal];

    /// From gs_ctl's words, such as `Cascade Standby`.
    #[must_use]
    pub fn from_words(words: &str) -> Self {
        match words.trim().to_ascii_lowercase().as_str() {
            "primary" => Self::Primary,
            "standby" => Self::Standby,
            "cascade standby" => Self::CascadeStandby,
            "normal" => Self::Normal,
            "pending" => Self::Pending,
            "recovery" => Self::Recovery,
            "main standby" => Self::MainStandby,
            "standby cluster" => Self::StandbyCluster,
            _ => Self::Unknown,
        }
    }

    /// From the server's own number (`ServerMode` in replicainternal.h, since 1.1.0).
    #[must_use]
    pub fn from_number(number: i32) -> Self {
        match number {
            1 => Self::Normal,
            2 => Self::Primary,
            3 => Self::Standby,
            4 => Self::CascadeStandby,
            5 => Self::Pending,
            6 => Self::Recovery,
            7 => Self::StandbyCluster,
            8 => Self::MainStandby,
            _ => Self::Unknown,
        }
    }

    /// Whether it follows another server.
    #[must_use]
    pub fn is_following(self) -> bool {
        matches!(self, Self::Standby | Self::CascadeStandby | Self::MainStandby | Self::StandbyCluster)
    }

    /// As results and gs_ctl's `-M` write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Standby => "standby",
            Self::CascadeStandby => "cascade_standby",
            Self::Normal => "normal",
            Self::Pending => "pending",
            Self::Recovery => "recovery",
            Self::MainStandby => "main_standby",
            Self::StandbyCluster => "standby_cluster",
            Self::Unknown => "unknown",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The state of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DbState {
    /// All is well; on a standby: it streams.
    Normal,
    /// A standby that does not stream; `detail` says why. Harmless for two seconds after each start.
    NeedRepair,
    /// Comes up.
    Starting,
    /// About to become primary.
    WaitPromoting,
    /// Ceases to be primary.
    Demoting,
    /// Becomes primary.
    Promoting,
    /// Is being built.
    Building,
    /// A build has succeeded.
    BuildCompleted,
    /// A build has failed.
    BuildFailed,
    /// Streams, and is behind.
    Catchup,
    /// Crashed.
    Coredump,
    /// A state that this program does not know.
    #[default]
    Unknown,
}

impl DbState {
    /// From gs_ctl's words, such as `Need repair`.
    #[must_use]
    pub fn from_words(words: &str) -> Self {
        match words.trim().to_ascii_lowercase().as_str() {
            "normal" => Self::Normal,
            "need repair" => Self::NeedRepair,
            "starting" => Self::Starting,
            "wait promoting" => Self::WaitPromoting,
            "demoting" => Self::Demoting,
            "promoting" => Self::Promoting,
            "building" => Self::Building,
            "build completed" => Self::BuildCompleted,
            "build failed" => Self::BuildFailed,
            "catchup" => Self::Catchup,
            "coredump" => Self::Coredump,
            _ => Self::Unknown,
        }
    }

    /// In gs_ctl's words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::NeedRepair => "Need repair",
            Self::Starting => "Starting",
            Self::WaitPromoting => "Wait promoting",
            Self::Demoting => "Demoting",
            Self::Promoting => "Promoting",
            Self::Building => "Building",
            Self::BuildCompleted => "Build completed",
            Self::BuildFailed => "Build failed",
            Self::Catchup => "Catchup",
            Self::Coredump => "Coredump",
            Self::Unknown => "Unknown",
        }
    }
}

impl std::fmt::Display for DbState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.words())
    }
}

/// One end of a replication connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Endpoint {
    /// Address.
    pub host: String,
    /// Port.
    #[serde(default)]
    #[schemars(!default)]
    pub port: u16,
}

/// How far the log has come at the sender and the receiver, in positions such as `0/1001ABA8`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(!default)]
pub struct Progress {
    /// Sent.
    #[serde(deserialize_with = "deserialize_or_default")]
    pub sent: Option<Lsn>,
    /// Written by the sender.
    #[serde(deserialize_with = "deserialize_or_default")]
    pub sender_write: Option<Lsn>,
    /// Flushed by the sender.
    #[serde(deserialize_with = "deserialize_or_default")]
    pub sender_flush: Option<Lsn>,
    /// Replayed by the sender.
    #[serde(deserialize_with = "deserialize_or_default")]
    pub sender_replay: Option<Lsn>,
    /// Received.
    #[serde(deserialize_with = "deserialize_or_default")]
    pub received: Option<Lsn>,
    /// Written by the receiver.
    #[serde(deserialize_with = "deserialize_or_default")]
    pub write: Option<Lsn>,
    /// Flushed by the receiver.
    #[serde(deserialize_with = "deserialize_or_default")]
    pub flush: Option<Lsn>,
    /// Replayed by the receiver.
    #[serde(deserialize_with = "deserialize_or_default")]
    pub replay: Option<Lsn>,
    /// Bytes that the sender has and the receiver has not replayed.
    pub lag_bytes: Option<Bytes>,
    /// gs_ctl's `sync_percent`.
    pub sync_percent: Option<u8>,
}

/// One receiver that is connected to this server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(!default)]
pub struct Sender {
    /// The sending thread's number.
    pub pid: Option<u64>,
    /// What the other end is.
    pub peer_role: Role,
    /// The server state of the other end.
    #[serde(deserialize_with = "deserialize_or_default")]
    pub peer_state: DbState,
    /// State of the connection: `streaming`, `catchup`, …
    pub state: String,
    /// Positions.
    #[serde(flatten)]
    pub progress: Progress,
    /// `sync`, `async`, `potential` or `quorum`.
    pub sync_state: Option<String>,
    /// Place in synchronous_standby_names; 0 is none.
    pub sync_priority: Option<u32>,
    /// Our end.
    pub local: Option<Endpoint>,
    /// The other end; its port is a passing one.
    pub peer: Option<Endpoint>,
}

/// The connection by which this server receives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(!default)]
pub struct Receiver {
    /// The receiving thread's number.
    pub pid: Option<u64>,
    /// What the other end is.
    pub peer_role: Role,
    /// The server state of the other end.
    #[serde(deserialize_with = "deserialize_or_default")]
    pub peer_state: DbState,
    /// State of the connection.
    pub state: String,
    /// Positions.
    #[serde(flatten)]
    pub progress: Progress,
    /// Our end; its port is a passing one.
    pub local: Option<Endpoint>,
    /// The other end.
    pub peer: Option<Endpoint>,
}

/// A replication slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(!default)]
pub struct ReplicationSlot {
    /// Name.
    pub name: String,
    /// `physical` or `logical`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether somebody is connected to it.
    pub active: bool,
    /// The oldest log position it keeps; null when it keeps none.
    #[serde(deserialize_with = "deserialize_or_default")]
    pub restart_lsn: Option<Lsn>,
    /// Bytes of log between that and the newest.
    pub retained_bytes: Option<Bytes>,
}

/// Which build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BuildMode {
    /// Incremental, and full where that is not possible.
    Auto,
    /// Everything is copied.
    Full,
    /// What differs is copied.
    Incremental,
    /// Everything is copied, from a standby.
    StandbyFull,
}

/// A build of this node, as its files tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BuildProgress {
    /// Whether a process builds now.
    pub running: bool,
    /// Which build it is.
    pub mode: Option<BuildMode>,
    /// Kilobytes copied.
    pub done_kb: u64,
    /// Kilobytes to copy as far as known; openGauss lets it grow together with `done_kb`.
    pub total_kb: u64,
    /// openGauss's own figure; it says 100 too early.
    pub percent: i32,
    /// The building process.
    pub pid: Option<u32>,
    /// A build died after it had begun to change the data directory: the server does not start until a new one is done.
    pub interrupted: bool,
}

/// What is known of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(!default)]
pub struct NodeState {
    /// Whether a server runs.
    pub running: bool,
    /// Its process.
    pub pid: Option<u32>,
    /// Its role; of a stopped one, that of its last run.
    pub role: Role,
    /// The server state; of a stopped server, `unknown`.
    pub db_state: DbState,
    /// Why, in the server's words; when it could not be asked, the reason for that.
    pub detail: Option<String>,
    /// Whether the server itself answered; else role and state are what it last wrote to gaussdb.state.
    pub answered: bool,
    /// Whether its process was stopped (SIGSTOP, state T): it does nothing until it gets SIGCONT.
    pub frozen: bool,
    /// Number of replconninfo the server counts.
    pub static_connections: Option<u32>,
    /// Release, such as `3.0.5`.
    pub version: Option<String>,
    /// Term of the primary it knows.
    pub term: Option<u64>,
    /// Newest log position: written on a primary, replayed on a standby.
    pub lsn: Option<Lsn>,
    /// Who receives from this server.
    pub senders: Vec<Sender>,
    /// From whom this server receives.
    pub receiver: Option<Receiver>,
    /// Replication slots; only where the server was asked for them.
    pub slots: Option<Vec<ReplicationSlot>>,
    /// The build that runs or died; null otherwise.
    pub build: Option<BuildProgress>,
    /// Who else is in charge of the server; only where that was looked for.
    #[serde(default)]
    pub managed_by: ManagedBy,
    /// The tablespaces; null where there are none, or where they were not looked at.
    pub tablespaces: Option<Tablespaces>,
}

impl NodeState {
    /// Whether it is a standby that streams, or a primary or single server that is well.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.running
            && self.answered
            && self.db_state == DbState::Normal
            && (!self.role.is_following() || self.receiver.is_some())
    }

    /// Whether it says that it cannot follow its primary any more, and will not by itself (words of `gs_ctl query`).
    #[must_use]
    pub fn has_lost_its_primary(&self) -> bool {
        self.detail.as_deref().is_some_and(is_lost_primary_detail)
    }

    /// In a few words, for messages: `standby, Need repair (Disconnected)`.
    #[must_use]
    pub fn words(&self) -> String {
        if !self.running {
            return match &self.build {
                Some(build) if build.running => "being built".to_owned(),
                Some(build) if build.interrupted => "stopped, with an uncompleted build".to_owned(),
                _ => "stopped".to_owned(),
            };
        }
        let detail = self.detail.as_deref().map_or("", |d| d.lines().next().unwrap_or("")).trim();
        if self.frozen {
            return format!("{}, does not answer; {detail}", self.role);
        }
        if detail.is_empty() || detail == self.db_state.words() {
            format!("{}, {}", self.role, self.db_state)
        } else {
            format!("{}, {} ({detail})", self.role, self.db_state)
        }
    }
}

/// Whether a standby's reason for `Need repair` says that it cannot follow its primary any more.
#[must_use]
pub fn is_lost_primary_detail(detail: &str) -> bool {
    ["WAL segment removed", "System id not matched", "Timeline not matched"]
        .iter()
        .any(|words| detail.contains(words))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_of_another_release_is_read() {
        let older = json!({"running": true, "role": "primary", "senders": [{"peer": {"host": "10.0.0.2"}}]});
        let older: NodeState = serde_json::from_value(older).unwrap();
        assert!(older.running && older.role == Role::Primary && older.db_state == DbState::Unknown);
        assert_eq!(older.senders[0].peer.as_ref().map(|peer| peer.host.as_str()), Some("10.0.0.2"));
        let newer = json!({"senders": [{"peer_state": "pondering", "sent": "1/2/3", "lag_bytes": 7}],
            "slots": [{"name": "dn_6002", "restart_lsn": 5}]});
        let newer: NodeState = serde_json::from_value(newer).unwrap();
        let (sender, slots) = (&newer.senders[0], newer.slots.as_ref().unwrap());
        assert_eq!((sender.peer_state, sender.progress.sent), (DbState::Unknown, None));
        assert_eq!((sender.progress.lag_bytes, slots[0].restart_lsn), (Some(Bytes::new(7)), None));
        for unknown in [json!({"role": "arbiter"}), json!({"db_state": "pondering"})] {
            assert!(serde_json::from_value::<NodeState>(unknown.clone()).is_err(), "{unknown}");
        }
    }
}
