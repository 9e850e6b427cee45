//! The mark by which a run of gs_initdb that was killed is known for ours, and a database in which no server has run yet.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use og_common::gauss::env::Environment;
use serde::{Deserialize, Serialize};

/// What the mark says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The data directory that is being made.
    pub data_dir: PathBuf,
    /// Device and inode of that folder: another folder of the same name is not the one that was begun.
    pub folder: (u64, u64),
    /// The `pgxc_node_name` that it gets.
    pub node_name: String,
    /// The identifier of the database system, when gs_initdb has ended well.
    #[serde(default)]
    pub made: Option<String>,
}

/// Returns where the mark of this data directory is: beside it; where the folder that it lies in is not this user's to write
/// into, in the user's home.
pub fn mark_path(data_dir: &Path) -> PathBuf {
    let name = data_dir.file_name().unwrap_or_default().to_string_lossy();
    // A folder that is still to be made lies in one that is still to be made.
    let parent = data_dir.parent().unwrap_or(data_dir);
    if !parent.exists() || is_writable(parent) {
        return parent.join(format!(".{name}.og_initdb"));
    }
    let flat = data_dir.to_string_lossy().replace('/', "_");
    Environment::user_home().unwrap_or_else(|| parent.to_owned()).join(format!(".og_initdb{flat}"))
}

/// Whether this user may make and rename files in the folder.
pub fn is_writable(folder: &Path) -> bool {
    let wanted = nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK;
    nix::unistd::access(folder, wanted).is_ok()
}

impl Mark {
    /// Reads the mark; `None` when there is none that can be read, or when another user than the owner of the data directory
    /// wrote it.
    pub fn read(path: &Path, data_dir: &Path) -> Option<Self> {
        let owner = std::fs::symlink_metadata(path).ok().filter(std::fs::Metadata::is_file)?.uid();
        if std::fs::metadata(data_dir).is_ok_and(|meta| meta.uid() != owner) {
            return None;
        }
        let mark: Self = serde_json::from_slice(&og_common::files::read(path).ok()?).ok()?;
        Some(mark).filter(|mark| mark.is_of(data_dir))
    }

    /// The mark of this folder, which is there.
    pub fn new(data_dir: &Path, node_name: &str) -> std::io::Result<Self> {
        let meta = std::fs::metadata(data_dir)?;
        let folder = (meta.dev(), meta.ino());
        Ok(Self { data_dir: data_dir.to_owned(), folder, node_name: node_name.to_owned(), made: None })
    }

    /// Whether it was made for this folder.
    fn is_of(&self, data_dir: &Path) -> bool {
        let same = |meta: std::fs::Metadata| (meta.dev(), meta.ino()) == self.folder;
        self.data_dir == data_dir && std::fs::metadata(data_dir).is_ok_and(same)
    }
}
