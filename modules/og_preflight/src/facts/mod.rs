//! What a node is like, as far as its checks need it. Collectors read; they judge nothing.
//!
//! Each file has the facts of one subject and their collector. What could not be read is named in [`Facts::unknown`] with the
//! reason; nothing of it is given a value.

pub mod disk;
pub mod limits;
pub mod network;
pub mod os;
pub mod server;
pub mod settings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use og_common::gauss::managed::ManagedBy;
use og_common::gauss::{Identity, NodeState};
use og_common::protocol::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use disk::{Disk, Leftover, LeftoverKind};
pub use limits::{Kernel, Limit, Limits};
pub use network::{Admission, ChannelFacts, Hosts, LocalEnd, Port, PortState, Reached, SourceAnswer};
pub use og_common::gauss::{Certificate, KeyFile, Security};
pub use os::{Clock, Memory, System, User};
pub use server::{Activity, ConfFacts, HbaFacts, LockHolder, Programs};
pub use settings::Settings;

/// What a node is like.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Facts {
    /// The name under which the node replicates: `application_name`, else `pgxc_node_name`.
    pub name: Option<String>,
    /// What tells the node from others.
    pub identity: Identity,
    /// The operating system.
    pub system: System,
    /// The database's user.
    pub user: User,
    /// The node's clock.
    pub clock: Clock,
    /// Memory in bytes.
    pub memory: Memory,
    /// What a process that this user starts is limited to.
    pub limits: Limits,
    /// What the running server is limited to; null when none runs.
    pub server_limits: Option<Limits>,
    /// Settings of the kernel and of systemd.
    pub kernel: Kernel,
    /// The file systems that the node uses.
    pub disks: Vec<Disk>,
    /// Size of the data directory and its tablespaces, without WAL, in bytes.
    pub data_bytes: Option<Bytes>,
    /// Size of WAL, in bytes.
    pub wal_bytes: Option<Bytes>,
    /// The ports that the server uses or will use.
    pub ports: Vec<Port>,
    /// The replication channels of postgresql.conf.
    pub channels: Vec<ChannelFacts>,
    /// Whether ports of other hosts are reached from here.
    pub reached: Vec<Reached>,
    /// What names lead to here.
    pub hosts: Hosts,
    /// What an earlier installation or server left behind.
    pub leftovers: Vec<Leftover>,
    /// The programs of openGauss.
    pub programs: Programs,
    /// postgresql.conf.
    pub conf: ConfFacts,
    /// Parameters.
    pub settings: Settings,
    /// pg_hba.conf.
    pub hba: HbaFacts,
    /// The server, as `gs_ctl query` and its files tell.
    pub server: NodeState,
    /// What the running server is doing; null when none answers.
    pub activity: Option<Activity>,
    /// Certificates and keys.
    pub security: Security,
    /// Who else is in charge of the server.
    pub managed_by: ManagedBy,
    /// Other programs that act on the server: their names.
    pub watchers: Vec<String>,
    /// The cluster's static and dynamic configuration files.
    pub cluster: server::ClusterFiles,
    /// Who holds the cluster's lock here; null when nobody does.
    pub lock: Option<LockHolder>,
    /// What could not be read, by subject, and why.
    pub unknown: BTreeMap<String, String>,
}

impl Facts {
    /// Notes that a subject could not be read.
    pub fn note_unknown(&mut self, subject: &str, why: impl Into<String>) {
        self.unknown.entry(subject.to_owned()).or_insert_with(|| why.into());
    }

    /// Returns the node's name for messages.
    #[must_use]
    pub fn label(&self) -> &str {
        let name = self.name.as_deref().filter(|name| !name.is_empty());
        name.or(self.system.host_name.as_deref()).unwrap_or(&self.identity.data_dir)
    }

    /// Whether the facts say that this is the primary of its cluster, or a single node.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        use og_common::gauss::Role;
        self.server.running && matches!(self.server.role, Role::Primary | Role::Normal)
    }
}

/// The root of the file system, or of one made for a test.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Default for Root {
    fn default() -> Self {
        Self::new("/")
    }
}

impl Root {
    /// A root at this path.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Returns the path of a file below the root.
    #[must_use]
    pub fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        let below = below.as_ref();
        self.0.join(below.strip_prefix("/").unwrap_or(below))
    }

    /// Reads a file below the root, without blanks at its ends.
    ///
    /// # Errors
    /// Where and why it cannot be read.
    pub fn read(&self, below: &str) -> Result<String, String> {
        let path = self.path(below);
        let bytes = std::fs::read(&path).map_err(|e| reason("read", &path, &e))?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// Reads a file with one number.
    ///
    /// # Errors
    /// As [`Root::read`], or that it holds no number.
    pub fn number(&self, below: &str) -> Result<u64, String> {
        let text = self.read(below)?;
        text.parse().map_err(|_| format!("{} holds no number", self.path(below).display()))
    }
}

/// Says why something could not be done with a file.
pub(crate) fn reason(what: &str, path: &Path, error: &std::io::Error) -> String {
    og_common::protocol::Error::io(what, path, error).failure().detail.clone()
}
