//! The arguments and the result.

use og_common::gauss::commits::ProbedCommits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The wanted state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Return what the probe has seen so far.
    #[default]
    Query,
    /// A probe is at work on this node. It goes on after the call, commits whenever the server is a primary, and waits while it is
    /// a standby or down.
    Started,
    /// No probe is at work; what it saw is returned, and its table is gone where the server is a primary.
    Stopped,
}

/// The arguments.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Args {
    /// The wanted state.
    #[serde(default)]
    pub state: State,
    /// Milliseconds from the answer to a commit to the next commit.
    #[serde(default = "interval_ms")]
    #[schemars(range(min = 1, max = 60_000))]
    pub interval_ms: u64,
    /// Seconds after which the probe ends by itself.
    #[serde(default = "limit")]
    #[schemars(range(min = 1, max = 86_400))]
    pub limit: u64,
}

fn interval_ms() -> u64 {
    20
}

fn limit() -> u64 {
    3600
}

/// The module's own keys of the result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Output {
    /// What the probe saw, up to a second ago while it is at work, its times in milliseconds since 1970 by the node's clock; null where
    /// there is none.
    pub probe: Option<ProbedCommits>,
    /// The node's clock when it was read, in milliseconds since 1970.
    pub now: u64,
}
