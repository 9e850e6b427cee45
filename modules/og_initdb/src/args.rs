//! What the module takes and gives.

use std::path::PathBuf;

use og_common::gauss::initdb::Compatibility;
use og_common::protocol::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What shall be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The data directory holds a database; one that holds none is made by gs_initdb.
    #[default]
    Present,
    /// There is no data directory; one that is there goes as `mode` says.
    Absent,
    /// Tell what is there, and what speaks against its removal.
    Query,
}

/// What becomes of a data directory that goes.
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
    /// What shall be.
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
    /// user has none.
    pub password: Option<String>,
    /// Absolute path, on this node, of a file whose first line is that password.
    pub password_file: Option<PathBuf>,
    /// What becomes of a data directory that goes.
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

/// What a data directory holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// There is no such folder.
    #[default]
    Missing,
    /// Nothing.
    Empty,
    /// A database, or what a build left of one.
    Database,
    /// What a run of this module that was killed left of a database.
    Unfinished,
    /// Something else.
    Other,
}

/// The data directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Directory {
    /// Its path.
    pub path: PathBuf,
    /// What it holds.
    pub content: Content,
    /// The node's name: its `application_name`, else its `pgxc_node_name`; null when it has neither.
    pub name: Option<String>,
    /// Its `pgxc_node_name`.
    pub node_name: Option<String>,
    /// The identifier of its database system, a number as text.
    pub system_id: Option<String>,
    /// Who owns it.
    pub owner: Option<String>,
    /// The process of the server that runs in it.
    pub pid: Option<u32>,
}

/// Something that `state: absent` takes away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listed {
    /// Its path.
    pub path: PathBuf,
    /// Bytes on disk.
    pub bytes: Bytes,
    /// Who owns it.
    pub owner: Option<String>,
    /// When it was last changed, in UTC.
    pub modified: Option<String>,
    /// Why it is this node's.
    pub why: String,
}

/// What sort of thing speaks against a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ObstacleKind {
    /// A server runs in it.
    Running,
    /// It is being built.
    Building,
    /// Another node has a replication channel to this one.
    Channel,
    /// It is a mount point, or one lies in it.
    MountPoint,
    /// It is a symbolic link, or one in it leads out of it.
    Link,
    /// Another node's data lie in it.
    OtherData,
    /// It holds no database.
    NoDatabase,
    /// The folder that it lies in is not writable.
    Parent,
    /// Something in it cannot be read.
    Unreadable,
}

/// Something that speaks against a removal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Obstacle {
    /// What sort of thing.
    pub kind: ObstacleKind,
    /// What it is.
    pub detail: String,
    /// What to do.
    pub fix: String,
}

/// The module's own keys of the result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Output {
    /// The data directory as it was found.
    pub directory: Directory,
    /// What `state: absent` takes away; empty with `state: present`.
    pub listing: Vec<Listed>,
    /// What speaks against that; empty with `state: present`.
    pub obstacles: Vec<Obstacle>,
    /// Where the data directory went.
    pub moved_to: Option<PathBuf>,
}
