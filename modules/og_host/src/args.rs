//! Arguments and result.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Arguments of og_host.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Args {
    /// `present`: the machine has what the other arguments say; what they do not name stays. `absent`: what og_host made on this
    /// machine goes, by its record. `query`: nothing changes; what it made is returned.
    pub state: State,
    /// The user that servers run as, made with useradd where it is missing. One that is there stays as it is, and what differs is a
    /// warning.
    pub user: Option<String>,
    /// The user's number, where it is made; the next free one without it.
    #[schemars(range(min = 1))]
    pub uid: Option<u32>,
    /// The user's main group, made with groupadd where it is missing; without it one of the user's name.
    pub group: Option<String>,
    /// The group's number, where it is made.
    #[schemars(range(min = 1))]
    pub gid: Option<u32>,
    /// The user's home directory, where the user is made; without it one of his name where useradd(8) puts them.
    pub home: Option<PathBuf>,
    /// The user's login shell, where the user is made.
    #[serde(default = "default_shell")]
    pub shell: PathBuf,
    /// Directories that are there. Those on the way to one that are missing are made, too. One that is there stays as it is, and
    /// what differs is a warning.
    pub directories: Vec<DirectoryWish>,
    /// Also set what og_preflight advises: the limits of `user`, the settings of the kernel that are not enough for a server, and
    /// RemoveIPC=no. Nothing is lowered, what other files set enough of is left to them, and `limits`, `sysctl` and `remove_ipc`
    /// count more.
    pub recommended: bool,
    /// With `recommended`: the first port of each node on this machine. Where outgoing connections could take it, or one of the
    /// five after it, they are added to `net.ipv4.ip_local_reserved_ports`.
    pub base_ports: Vec<u16>,
    /// Limits of `user` by their names in limits.conf(5), such as `{"nofile": 1000000, "nproc": "unlimited"}`, soft and hard
    /// alike; of `stack` the soft one alone. They count from the user's next login on.
    #[serde(deserialize_with = "texts")]
    #[schemars(schema_with = "scalars")]
    pub limits: BTreeMap<String, String>,
    /// Settings of the kernel by their names in sysctl(8), such as `{"kernel.sem": "250 6400000 1000 25600"}`; they count at once
    /// and after a restart.
    #[serde(deserialize_with = "texts")]
    #[schemars(schema_with = "scalars")]
    pub sysctl: BTreeMap<String, String>,
    /// Whether systemd removes shared memory and semaphores of a user whose last session ends (RemoveIPC in logind.conf(5)):
    /// `false` keeps a running server's.
    pub remove_ipc: Option<bool>,
    /// A systemd unit that starts a node with the machine. It is not offered yet and refused: a node that was primary must not
    /// start unattended while its peers are silent.
    pub unit: bool,
    /// With `absent`: the name of the user that og_host made and that is to go; without it the user stays.
    pub confirm: Option<String>,
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
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(values.into_iter().map(|(name, value)| (name, text(value))).collect())
}

/// The module's own keys of the result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Output {
    /// What og_host looked at: with `present` what is wanted, else what it made.
    pub items: Vec<Item>,
    /// With `absent`: what og_host made and leaves, and why.
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
}
