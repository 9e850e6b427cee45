//! gaussdb.state: what a server last wrote about itself; it stays after the server's end.

use std::path::Path;

use super::{BuildMode, BuildProgress, DbState, Role};
use crate::base::Lsn;

/// Length of the file in every release so far.
pub const FILE_BYTES: usize = 72;

/// The fields of gaussdb.state.
///
/// Source of the layout: `GaussState` in the server's `replication/replicainternal.h` on x86-64 and aarch64 (both little
/// endian), held against dumps of a running server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateFile {
    /// Role of the last run.
    pub role: Role,
    /// Number of replconninfo.
    pub static_connections: u32,
    /// State.
    pub db_state: DbState,
    /// Position of the log on a standby; 0 on a primary.
    pub lsn: Lsn,
    /// Term on a standby; 0 on a primary.
    pub term: u64,
    /// The build that runs or ran.
    pub build: BuildProgress,
    /// Why a rebuild is needed, in gs_ctl's words.
    pub detail: &'static str,
    /// Which replconninfo the standby is connected by; 0 when by none.
    pub connected_by: u32,
}

impl StateFile {
    /// Decodes the file; `None` when it is too short to be one.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let word =
            |at: usize| -> Option<i32> { Some(i32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?)) };
        let long =
            |at: usize| -> Option<u64> { Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?)) };
        if bytes.len() < FILE_BYTES {
            return None;
        }
        let number = |at| word(at).map(|n| u32::try_from(n).unwrap_or(0));
        Some(Self {
            role: Role::from_number(word(0)?),
            static_connections: number(4)?,
            db_state: match word(8)? {
                1 => DbState::Normal,
                2 => DbState::NeedRepair,
                3 => DbState::Starting,
                4 => DbState::WaitPromoting,
                5 => DbState::Demoting,
                6 => DbState::Promoting,
                7 => DbState::Building,
                8 => DbState::Catchup,
                9 => DbState::Coredump,
                _ => DbState::Unknown,
            },
            lsn: Lsn::new(long(16)?),
            term: long(24)?,
            build: BuildProgress {
                running: false,
                mode: match word(32)? {
                    1 => Some(BuildMode::Auto),
                    2 => Some(BuildMode::Full),
                    3 => Some(BuildMode::Incremental),
                    4 => Some(BuildMode::StandbyFull),
                    _ => None,
                },
                done_kb: long(40)?,
                total_kb: long(48)?,
                percent: word(56)?,
                pid: None,
                interrupted: false,
            },
            detail: match word(64)? {
                0 => "Normal",
                1 => "WAL segment removed",
                2 => "Disconnected",
                3 => "Timeline not matched",
                4 => "System id not matched",
                5 => "Version not matched",
                6 => "Mode not matched",
                7 => "DCF log loss",
                _ => "Unknown",
            },
            connected_by: number(68)?,
        })
    }

    /// Reads it from the data directory; `None` when there is none or it is cut short.
    #[must_use]
    pub fn read(data_dir: &Path) -> Option<Self> {
        Self::parse(&std::fs::read(data_dir.join("gaussdb.state")).ok()?)
    }

    /// Removes the file of a stopped node when it is empty, as a full disk leaves it, and returns whether it was: a server of
    /// 3.0.5 does not start with it ("Failed to read gaussdb.state: 2"), one of 6.0.2 does; without it both make a new one.
    ///
    /// # Errors
    /// Of the file system.
    pub fn remove_empty(data_dir: &Path) -> std::io::Result<bool> {
        let path = data_dir.join("gaussdb.state");
        match std::fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() && found.len() == 0 => std::fs::remove_file(&path).map(|()| true),
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
            _ => Ok(false),
        }
    }
}
