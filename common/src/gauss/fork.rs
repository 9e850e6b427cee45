//! Where the log of a new primary parts from that of the primary that it replaced without it, as failovers record it; and while
//! one of these is not over, the switchovers since, by which the role of the primary went on.
//!
//! The record stands in the data directory of each survivor, and of an old primary that follows again. A build copies it with
//! everything else, and there it is as true.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::wal::WalRecord;
use crate::base::{Error, ErrorKind, deserialize_or_default};
use crate::files;

/// The file's name.
pub const FILE: &str = "og_forks.json";
/// How many changes of the primary are kept; an old primary that was away for more of them is repaired only with force.
pub const MAX_FORKS: usize = 32;

/// A change of the primary: up to where, at least, the logs of the old and the new primary are the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fork {
    /// The node that became primary.
    pub new_primary: String,
    /// The nodes of which one was the primary before.
    #[serde(default)]
    pub old_primaries: Vec<String>,
    /// A record of the new primary's log before it became primary, of a failover the last one: its own begin where this one ends,
    /// and not before.
    // One that cannot be read is at 0/0, where no log has a record: it proves nothing.
    #[serde(deserialize_with = "deserialize_or_default")]
    pub record: WalRecord,
    /// The term of the primary that wrote it; null where it is not known.
    pub term: Option<u64>,
    /// When it was recorded first, in UTC.
    #[serde(default)]
    pub at: String,
}

impl Fork {
    /// Whether both are the same failover, whenever it was recorded.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let other = Self { at: self.at.clone(), ..other.clone() };
        *self == other
    }
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

/// Reads the failovers that are recorded on the node, the newest last; none when there is no file.
///
/// # Errors
/// `permission` or `io`; `corrupt` when the file is not what this program writes.
pub fn read(data_dir: &Path) -> Result<Vec<Fork>, Error> {
    let path = path(data_dir);
    let text = match files::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    serde_json::from_slice(&text).map_err(|e| {
        Error::corrupt(format!("{} is no record of failovers of this program: {e}", path.display()))
            .with_path(path.display())
            .hint("move the file away: old primaries are then repaired only with og_repair_force")
    })
}

/// Adds a failover to the record.
///
/// # Errors
/// As [`read`]; the old record stands.
pub fn add(data_dir: &Path, fork: Fork) -> Result<(), Error> {
    let mut forks = read(data_dir)?;
    forks.push(fork);
    let older = forks.len().saturating_sub(MAX_FORKS);
    let text = serde_json::to_vec_pretty(&forks[older..]).unwrap_or_default();
    files::replace(&path(data_dir), &text, false).map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::base::Lsn;

    fn fork(term: u64) -> Fork {
        let record = WalRecord { begin: Lsn::new(0x10), end: Lsn::new(0x20), crc: 7 };
        let (new_primary, old_primaries) = ("n2".to_owned(), vec!["n1".to_owned()]);
        Fork { new_primary, old_primaries, record, term: Some(term), at: String::new() }
    }

    #[test]
    fn the_newest_failovers_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), []);
        for term in 1..=40 {
            add(dir.path(), fork(term)).unwrap();
        }
        let kept = read(dir.path()).unwrap();
        assert_eq!((kept.len(), kept.last()), (MAX_FORKS, Some(&fork(40))));
        assert!(fork(1).is_same(&Fork { at: "later".to_owned(), ..fork(1) }) && !fork(1).is_same(&fork(2)));
        // As an older program, or a hand, may have written it.
        let text = std::fs::read_to_string(path(dir.path())).unwrap().replace("\"0/20\"", "\"somewhere\"");
        std::fs::write(path(dir.path()), text).unwrap();
        let odd = &read(dir.path()).unwrap()[0];
        assert_eq!((odd.record, &odd.new_primary), (WalRecord::default(), &"n2".to_owned()));
        std::fs::write(path(dir.path()), "{").unwrap();
        assert_eq!(add(dir.path(), fork(41)).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
