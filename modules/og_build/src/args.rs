//! Arguments and result of the module.

use og_common::gauss::{BuildMode, NodeState, Role};
use og_common::protocol::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The wanted state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The node is built and streams.
    #[default]
    Present,
    /// Return how far a build is; change nothing.
    Query,
    /// What the node holds of the log is copied into a folder beside the data directory, before a build gives it up.
    LogKept,
}

/// How to build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nothing when the node streams normally; incremental where that is possible; else full.
    #[default]
    Auto,
    /// Copy what differs, even when the node streams normally.
    Incremental,
    /// Copy everything, even when the node streams normally.
    Full,
}

/// What the node is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BuildRole {
    /// Follows the primary.
    Standby,
    /// Follows a standby.
    CascadeStandby,
}

impl From<BuildRole> for Role {
    fn from(role: BuildRole) -> Self {
        match role {
            BuildRole::Standby => Self::Standby,
            BuildRole::CascadeStandby => Self::CascadeStandby,
        }
    }
}

/// Arguments of `og_build`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Args {
    /// The wanted state.
    pub state: State,
    /// How to build.
    pub mode: Mode,
    /// What the node is to be. Default: what it was, else standby.
    pub role: Option<BuildRole>,
    /// Build although the node was a primary or a single server, or holds more than the primary it would be built from:
    /// what it has and its primary has not is lost.
    pub force: bool,
    /// Wait for the end; else the build is left running and `state: query` tells how far it is.
    pub wait: bool,
    /// Seconds without any progress after which a build is given up.
    #[schemars(range(min = 1))]
    pub stall_timeout: u64,
    /// Bytes that the copy needs: the build is refused where there are less, counting what the old copy gives back. Best
    /// the primary's size, which `state: query` tells there as `data_bytes`.
    pub min_free: Option<Bytes>,
    /// With `state: log_kept`: the LSN from which on the log is copied. Default: all that is there.
    pub keep_from: Option<String>,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            state: State::Present,
            mode: Mode::Auto,
            role: None,
            force: false,
            wait: true,
            stall_timeout: 300,
            min_free: None,
            keep_from: None,
        }
    }
}

/// How a build stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// No build is known.
    #[default]
    None,
    /// It runs.
    Running,
    /// It has succeeded.
    Completed,
    /// It has failed or was killed; `last_words` may say why.
    Failed,
}

/// The module's own keys of the result.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Output {
    /// The state of the last build.
    pub build_status: Status,
    /// Which build was done: incremental or full; null when none was, or when it still runs.
    pub mode_used: Option<BuildMode>,
    /// Bytes that openGauss counted as copied.
    pub bytes_copied: Bytes,
    /// Milliseconds from the start of the build until the node streamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// With `state: query`: the size of the data directory in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_bytes: Option<Bytes>,
    /// With `state: log_kept`: the folder that the log was copied into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_copy: Option<String>,
    /// Where the build's own words are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_file: Option<String>,
    /// The last of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub last_words: Vec<String>,
    /// The node as it is when the call ends.
    pub node: NodeState,
}
