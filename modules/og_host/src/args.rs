//! Arguments and result.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Arguments of og_host.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Args {
    /// `present`: the machine has what the other arguments say; what they do not name stays. `absent`: what og_host made on this
    /// machine goes, by its record. `query`: nothing changes; what it made is returned.
    pub state: State,
    /// The user that servers run as; made with useradd where it is missing. A user that exists is not changed: what differs from the
    /// arguments is a warning.
    pub user: Option<String>,
    /// The number (uid) of a user that is made. Default: the next free one.
    #[schemars(range(min = 1))]
    pub uid: Option<u32>,
    /// The user's main group; made with groupadd where it is missing. Default: a group of the user's name.
    pub group: Option<String>,
    /// The number (gid) of a group that is made. Default: the next free one.
    #[schemars(range(min = 1))]
    pub gid: Option<u32>,
    /// The home directory of a user that is made. Default: one of the user's name where useradd(8) makes them.
    pub home: Option<PathBuf>,
    /// The login shell of a user that is made.
    #[serde(default = "default_shell")]
    pub shell: PathBuf,
    /// Directories that must exist; missing ones on the way to them are made, too. A directory that exists is not changed: what
    /// differs is a warning.
    pub directories: Vec<DirectoryWish>,
    /// Also set what og_preflight advises: the limits of `user`, the settings of the kernel that are too low for a server, and
    /// RemoveIPC=no. Nothing is lowered, what other files set high enough is left to them, and `limits`, `sysctl` and `remove_ipc`
    /// take precedence.
    pub recommended: bool,
    /// With `recommended`: the base port of each node on this machine. Where outgoing connections could take it, or one of the five
    /// after it, they are added to `net.ipv4.ip_local_reserved_ports`.
    pub base_ports: Vec<u16>,
    /// Limits of `user` by their names in limits.conf(5), such as `{"nofile": 1000000, "nproc": "unlimited"}`: the soft and the
    /// hard limit; of `stack` the soft one alone. They take effect at the user's next login. A limit with which nobody could log
    /// in is refused.
    #[serde(deserialize_with = "texts")]
    #[schemars(schema_with = "scalars")]
    pub limits: BTreeMap<String, String>,
    /// Settings of the kernel by their names in sysctl(8), such as `{"kernel.sem": "250 6400000 1000 25600"}`; they take effect at
    /// once and after a restart. Where they cannot be written, as in a container, they are refused before anything is changed.
    #[serde(deserialize_with = "texts")]
    #[schemars(schema_with = "scalars")]
    pub sysctl: BTreeMap<String, String>,
    /// Whether systemd removes the shared memory and semaphores of a user whose last session ends (RemoveIPC in logind.conf(5));
    /// `false` keeps those of a running server.
    pub remove_ipc: Option<bool>,
    /// A unit of systemd that starts a node with the machine, in its last role, as `user`. One that was primary waits until the other
    /// end of each of its channels answers and none is primary. A server that goes down later stays down. Other units that og_host
    /// wrote, of other nodes on this machine, stay.
    pub unit: Option<UnitWish>,
    /// With `absent`: the name of the user that og_host made and that is to go; without it the user stays.
    pub confirm: Option<String>,
    /// With `absent`: process ids of servers that will have been stopped by then; has an effect in check mode alone, where the steps
    /// before this one changed nothing.
    pub ended: Vec<u32>,
    /// With `absent`: paths that will be gone by then, such as program files in a directory that goes when it is empty; has an
    /// effect in check mode alone.
    pub gone: Vec<PathBuf>,
}

fn default_shell() -> PathBuf {
    PathBuf::from("/bin/bash")
}

/// What is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The machine has what the arguments say.
    #[default]
    Present,
    /// What og_host made goes.
    Absent,
    /// Nothing changes.
    Query,
}

/// A directory that is to be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DirectoryWish {
    /// Its absolute path.
    pub path: PathBuf,
    /// Its owner; `user` where that is given, else root.
    pub owner: Option<String>,
    /// Its group; the owner's main group without it.
    pub group: Option<String>,
    /// Its permissions in octal, such as `0750`.
    #[serde(default = "default_mode")]
    pub mode: String,
}

/// A unit that is to be there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UnitWish {
    /// The node's data directory.
    pub data_dir: PathBuf,
    /// The file of environment variables that the node's server needs.
    pub env_file: Option<PathBuf>,
    /// The directory in which openGauss is installed, where no file of variables says that.
    pub gauss_home: Option<PathBuf>,
    /// The program og_node_state on this machine, which must be there already. Default: the first that is there of
    /// `/usr/local/bin/og_node_state` and `/usr/bin/og_node_state`.
    pub program: Option<PathBuf>,
}

fn default_mode() -> String {
    "0700".to_owned()
}

/// Names with plain text or numbers.
fn scalars(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "additionalProperties": { "type": ["string", "integer"] }, "default": {} })
}

/// Plain text, or a number as text.
fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let values = BTreeMap::<String, Value>::deserialize(from)?;
    let text = |(name, value): (String, Value)| match value {
        Value::String(text) => Ok((name, text)),
        Value::Number(number) if !number.is_f64() => Ok((name, number.to_string())),
        other => Err(D::Error::custom(format!("{name}: {other} is neither text nor a whole number"))),
    };
    values.into_iter().map(text).collect()
}

/// The module's own keys of the result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Output {
    /// With `present` what is wanted, else what og_host made.
    pub items: Vec<Item>,
    /// With `absent`: what og_host made and does not remove, and why.
    pub kept: Vec<Kept>,
    /// The record of what og_host made on this machine.
    pub record: PathBuf,
}

/// What a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ItemKind {
    /// A group.
    Group,
    /// A user.
    User,
    /// A directory.
    Directory,
    /// A limit of the user.
    Limit,
    /// A setting of the kernel.
    Setting,
    /// RemoveIPC of systemd.
    RemoveIpc,
    /// A file of its own.
    File,
    /// A unit of systemd that starts with the machine.
    Unit,
}

/// One thing of the operating system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Item {
    /// What it is.
    pub kind: ItemKind,
    /// Its name or path.
    pub name: String,
    /// What was there before the call; null for nothing.
    pub seen: Option<String>,
    /// What is wanted; null for what is not to be there.
    pub wanted: Option<String>,
    /// Whether og_host made it, in this call or an earlier one.
    pub made: bool,
}

/// What stays although og_host made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Kept {
    /// Its name or path.
    pub name: String,
    /// Why.
    pub why: String,
    /// The same for og_host itself.
    #[serde(skip)]
    #[schemars(skip)]
    pub(crate) cause: Cause,
}

/// Why an item is kept, for the warnings that name several items at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Cause {
    /// For a reason of its own, which has its own warning.
    #[default]
    Own,
    /// It is a directory that is not empty: its entries, without directories that are kept themselves.
    NotEmpty(Vec<String>),
    /// It is a user whose removal was not confirmed (`confirm`).
    Unconfirmed,
    /// It is the primary group of a user that is kept.
    MainGroup,
}
