//! The lock by which workflows on one cluster exclude each other, as it is kept on a node: one JSON object in `og_lock.json` of
//! the data directory.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::{Error, ErrorKind, clock};
use crate::files;

/// The file's name.
pub const FILE: &str = "og_lock.json";

/// Who holds or held the lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterLock {
    /// Who holds it.
    pub owner: String,
    /// What for.
    #[serde(default)]
    #[schemars(!default)]
    pub purpose: String,
    /// Since when, in UTC.
    #[serde(default)]
    #[schemars(!default)]
    pub since: String,
    /// `since` in seconds since 1970; null in a record of an older program.
    #[serde(default)]
    pub since_epoch: Option<u64>,
    /// Until when it holds unless renewed, in UTC.
    #[serde(default)]
    #[schemars(!default)]
    pub until: String,
    /// `until` in seconds since 1970.
    #[serde(default)]
    #[schemars(!default)]
    pub until_epoch: u64,
}

impl ClusterLock {
    /// A lock from `now` on, for `ttl` seconds; `since` is kept from `before` when the same owner held it then.
    #[must_use]
    pub fn new(owner: &str, purpose: &str, ttl: u64, now: u64, before: Option<&Self>) -> Self {
        let until = now.saturating_add(ttl);
        let renewed = before.filter(|b| b.owner == owner && b.is_held(now));
        Self {
            owner: owner.to_owned(),
            purpose: purpose.to_owned(),
            since: renewed.map_or_else(|| clock::rfc3339(now), |b| b.since.clone()),
            since_epoch: renewed.map_or(Some(now), |b| b.since_epoch),
            until: clock::rfc3339(until),
            until_epoch: until,
        }
    }

    /// Whether it holds at `now`, in seconds since 1970.
    #[must_use]
    pub fn is_held(&self, now: u64) -> bool {
        now < self.until_epoch
    }
}

/// The file's content. A base backup or a build copies it to other nodes, where it must not count: there the data
/// directory has another inode.
#[derive(Serialize, Deserialize)]
struct LockFileContent {
    data_dir_inode: u64,
    #[serde(flatten)]
    lock: ClusterLock,
}

/// The lock of this data directory, expired or not; none when there is no file or it came from another node.
///
/// # Errors
/// `permission` or `io`; `corrupt` when the file is not what this program writes.
pub fn read(data_dir: &Path) -> Result<Option<ClusterLock>, Error> {
    let path = data_dir.join(FILE);
    let text = match files::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let content: LockFileContent = serde_json::from_slice(&text).map_err(|e| {
        Error::corrupt(format!("{} is not a lock of this program: {e}", path.display()))
            .with_path(path.display())
            .hint("take the lock with force, or remove the file")
    })?;
    Ok((content.data_dir_inode == inode(data_dir)?).then_some(content.lock))
}

/// Writes the lock.
///
/// # Errors
/// `permission` or `io`; the old one stands.
pub fn write(data_dir: &Path, lock: &ClusterLock) -> Result<(), Error> {
    let content = LockFileContent { data_dir_inode: inode(data_dir)?, lock: lock.clone() };
    let text = serde_json::to_vec_pretty(&content).unwrap_or_default();
    files::replace(&data_dir.join(FILE), &text, false).map(drop)
}

/// Removes the lock.
///
/// # Errors
/// `permission` or `io`.
pub fn remove(data_dir: &Path) -> Result<(), Error> {
    let path = data_dir.join(FILE);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", &path, &e)),
        _ => Ok(()),
    }
}

fn inode(data_dir: &Path) -> Result<u64, Error> {
    std::fs::metadata(data_dir).map(|m| m.ino()).map_err(|e| Error::io("inspect", data_dir, &e))
}
