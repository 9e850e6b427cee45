//! Arguments and result of the module.

use std::path::PathBuf;

use og_common::gauss::initdb::Compatibility;
pub use og_common::gauss::initdb::{Content, Directory, Listed, ObstacleKind, RemovalObstacle};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The wanted state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The data directory holds a database; one that holds none is made by gs_initdb.
    #[default]
    Present,
    /// There is no data directory; one that is there goes as `mode` says.
    Absent,
    /// Return what is there, and what stands in the way of its removal.
    Query,
}

/// What happens to a data directory that is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It is renamed, to its own name with `.moved-` and the time behind it, and keeps all that it holds.
    #[default]
    Moved,
    /// It is deleted; `confirm` must name the node.
    Deleted,
}

/// Arguments of og_initdb.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Args {
    /// The wanted state.
    pub state: State,
    /// `pgxc_node_name` of a new database, at most 22 characters. All nodes of a cluster have the same: directories of
    /// tablespaces are named after it.
    pub node_name: Option<String>,
    /// Locale of a new database.
    #[serde(default = "default_locale")]
    pub locale: String,
    /// Encoding of a new database.
    #[serde(default = "default_encoding")]
    pub encoding: String,
    /// With which SQL a new database is compatible: that of Oracle (`A`), MySQL (`B`), Teradata (`C`) or PostgreSQL (`PG`).
    pub compatibility: Compatibility,
    /// Password of the initial user. It reaches gs_initdb on its standard input. Without it and `password_file` the initial
    /// user has none, and the server refuses every statement of that user until `ALTER ROLE` has set one.
    pub password: Option<String>,
    /// Absolute path, on this node, of a file whose first line is that password. With `state: query` it is only looked at.
    pub password_file: Option<PathBuf>,
    /// What happens to a data directory that is removed.
    pub mode: Mode,
    /// The name of the node whose data directory is to be deleted, as `directory.name` of the result has it.
    pub confirm: Option<String>,
    /// Facts of other nodes of the cluster, as og_preflight returned them under `facts`: while one of them has a replication
    /// channel to this node, its data directory does not go.
    #[schemars(with = "Vec<Map<String, Value>>")]
    pub peers: Vec<PeerFacts>,
}

fn default_locale() -> String {
    "C".to_owned()
}

fn default_encoding() -> String {
    "UTF8".to_owned()
}

/// What counts of another node's facts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PeerFacts {
    /// The name under which it replicates.
    pub name: Option<String>,
    /// What tells it from others.
    pub identity: PeerIdentity,
    /// Its replication channels.
    pub channels: Vec<PeerChannel>,
}

/// What tells another node from this one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PeerIdentity {
    /// Its data directory, for messages.
    pub data_dir: String,
    /// Two nodes that have this in common are one.
    pub directory: Option<String>,
}

/// A replication channel of another node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PeerChannel {
    /// Which replconninfo it is.
    pub number: u8,
    /// The other end's address.
    pub remote_host: String,
    /// The other end's port.
    pub remote_port: u16,
}

/// The module's own keys of the result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Output {
    /// The data directory as it was found.
    pub directory: Directory,
    /// What `state: absent` takes away; empty with `state: present`.
    pub listing: Vec<Listed>,
    /// What stands in the way of that; empty with `state: present`.
    pub obstacles: Vec<RemovalObstacle>,
    /// Where the data directory went.
    pub moved_to: Option<PathBuf>,
    /// With `state: query`: why `password_file` gives no password; null where it does, and where none is named.
    pub password_problem: Option<String>,
}
