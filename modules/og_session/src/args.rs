//! The arguments and the result.

use og_common::gauss::ClientTransaction;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The wanted state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Return the long transactions.
    #[default]
    Query,
    /// No client has a transaction of `min_age` or older.
    Absent,
}

/// How to bring the long transactions to an end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Wait for them, up to `timeout`.
    #[default]
    Wait,
    /// End their sessions, which rolls the transactions back, and wait until the sessions are gone.
    Terminate,
}

/// The arguments.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Args {
    /// The wanted state.
    #[serde(default)]
    pub state: State,
    /// Age in seconds from which on a transaction is long; 0 is every transaction.
    #[serde(default = "min_age")]
    pub min_age: u32,
    /// How to bring the long transactions to an end.
    #[serde(default)]
    pub method: Method,
}

fn min_age() -> u32 {
    15
}

/// A transaction prepared for two-phase commit. It belongs to no session; only COMMIT PREPARED or ROLLBACK PREPARED ends it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Prepared {
    /// Its global identifier.
    pub gid: String,
    /// Who prepared it.
    pub owner: String,
    /// The database.
    pub database: String,
    /// Seconds since it was prepared.
    pub age_s: u64,
}

/// The module's own keys of the result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Output {
    /// The long transactions of clients at the end of the call, the oldest first.
    pub transactions: Vec<ClientTransaction>,
    /// The prepared transactions of that age, the oldest first. They are told, and never ended.
    pub prepared: Vec<Prepared>,
    /// The transactions whose sessions were ended; in check mode, would be.
    pub ended: Vec<ClientTransaction>,
}
