//! The arguments and the result.

use og_common::protocol::{Bytes, Lsn};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The wanted state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A checkpoint is done; with `max_dirty_pages` only where more pages are dirty.
    #[default]
    Done,
    /// Return how many pages are dirty, and where the last checkpoint is.
    Query,
}

/// The arguments.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub struct Args {
    /// The wanted state.
    #[serde(default)]
    pub state: State,
    /// Repeat the checkpoint until no more pages than this are dirty, within `timeout`; make none when so few are dirty
    /// already. Without it, one checkpoint is made each time.
    #[serde(default)]
    pub max_dirty_pages: Option<u64>,
}

/// The module's own keys of the result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Output {
    /// Dirty pages in the buffer before the call; null when the server does not tell (`enable_incremental_checkpoint` is
    /// off).
    pub dirty_pages_before: Option<u64>,
    /// Dirty pages in the buffer at the end of the call.
    pub dirty_pages_after: Option<u64>,
    /// Bytes of WAL from the redo position of the last checkpoint to the newest LSN, written or replayed: what crash
    /// recovery would replay.
    pub redo_bytes: Option<Bytes>,
    /// LSN of the last checkpoint; on a standby, of the last restartpoint.
    pub checkpoint_lsn: Option<Lsn>,
}
