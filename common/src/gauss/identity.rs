//! What tells one node from another, whatever it is called in an inventory.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ServerNode;
use super::postmaster_pid::PostmasterPid;

/// Differs from machine to machine and from boot to boot; containers of one machine share it.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// A data directory has all of them; one that a build left half done has at least one.
const DATABASE_FILES: [&str; 3] = ["PG_VERSION", "postgresql.conf", "global"];

/// What a data directory holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeContent {
    /// A database, or what a build left of one.
    Database,
    /// Nothing.
    Empty,
    /// Something else: it is no data directory.
    Other,
    /// It cannot be listed.
    #[default]
    Unknown,
}

/// What tells one node from another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Identity {
    /// The addresses of this machine's interfaces, loopback left out.
    pub addresses: Vec<String>,
    /// The data directory, symbolic links resolved.
    pub data_dir: String,
    /// What the data directory holds.
    pub content: NodeContent,
    /// Two nodes that have this text in common are the same data directory of the same machine; null when that cannot be
    /// told.
    pub directory: Option<String>,
    /// The identifier of the database system, the same on all nodes of a cluster and on no other's; null when there is none
    /// yet. A number, as text: it is too large for some readers of JSON.
    pub system_id: Option<String>,
    /// The port on which the running server listens; null when none runs.
    pub listen_port: Option<u16>,
}

impl ServerNode {
    /// Returns what tells this node from others.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let listens = self.running_pid().and_then(|_| PostmasterPid::read(&self.data_dir)?.port);
        let resolved = std::fs::canonicalize(&self.data_dir);
        Identity {
            addresses: crate::replconn::addresses().iter().map(ToString::to_string).collect(),
            data_dir: resolved.as_deref().unwrap_or(&self.data_dir).display().to_string(),
            content: content(&self.data_dir),
            directory: directory(&self.data_dir),
            system_id: self.system_id().map(|id| id.to_string()),
            listen_port: listens,
        }
    }
}

fn content(dir: &Path) -> NodeContent {
    let Ok(mut entries) = std::fs::read_dir(dir) else { return NodeContent::Unknown };
    if DATABASE_FILES.iter().any(|name| dir.join(name).exists()) {
        return NodeContent::Database;
    }
    if entries.next().is_none() { NodeContent::Empty } else { NodeContent::Other }
}

fn directory(dir: &Path) -> Option<String> {
    let boot = std::fs::read_to_string(BOOT_ID).ok()?;
    let meta = std::fs::metadata(dir).ok()?;
    Some(format!("{}:{:x}:{}", boot.trim(), meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_directory_is_the_same_under_every_path() {
        let root = tempfile::tempdir().unwrap();
        let (dir, other, link) = (root.path().join("d"), root.path().join("e"), root.path().join("l"));
        std::fs::create_dir(&dir).unwrap();
        std::fs::create_dir(&other).unwrap();
        std::os::unix::fs::symlink(&dir, &link).unwrap();
        let [one, same, else_] = [&dir, &link, &other].map(|path| ServerNode::new(path).identity());
        assert!(one.directory.is_some() && one == same);
        assert_ne!(one.directory, else_.directory);
        assert_eq!((one.system_id, one.listen_port), (None, None));
    }

    #[test]
    fn what_is_no_data_directory_is_told_from_an_empty_one() {
        let root = tempfile::tempdir().unwrap();
        let seen = || ServerNode::new(root.path()).identity().content;
        assert_eq!(seen(), NodeContent::Empty);
        std::fs::write(root.path().join("notes"), "").unwrap();
        assert_eq!(seen(), NodeContent::Other);
        std::fs::create_dir(root.path().join("global")).unwrap();
        assert_eq!(seen(), NodeContent::Database);
        assert_eq!(content(Path::new("/nonexistent/data")), NodeContent::Unknown);
    }
}
