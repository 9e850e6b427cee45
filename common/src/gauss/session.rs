//! What clients do on a server.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A transaction of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(!default)]
pub struct ClientTransaction {
    /// The server's number of the thread or process that serves it.
    pub pid: u64,
    /// The number of the session; null on PostgreSQL.
    pub session_id: Option<u64>,
    /// Who is logged in.
    pub user: String,
    /// The database.
    pub database: String,
    /// The client's address; `local` through the local socket.
    pub client: String,
    /// Its `application_name`.
    pub application: String,
    /// `active`, `idle in transaction` or another state of the session.
    pub state: String,
    /// Seconds since the transaction began.
    pub age_s: u64,
    /// The present or last statement: at most 200 characters, secrets masked.
    pub query: String,
}
