//! Who is let in by a server, asked as a client would, and a session of the administrator.

use std::path::Path;
use std::time::Duration;

use og_lab::wire::{Client, Greeting};

pub use og_lab::wire::Door;

use crate::Result;

/// A server that takes longer to answer hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who knocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knock {
    /// Where.
    pub door: Door,
    /// The user.
    pub user: String,
    /// The database.
    pub database: String,
    /// Whether for physical replication.
    pub replication: bool,
}

/// What the server says to a client, as far as it tells by which kind of rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is let in without a question.
    Free,
    /// It is asked for a password.
    Password,
    /// It would have to be that user of the operating system.
    Peer,
    /// A rule turns it away.
    Reject,
    /// No rule is for it.
    NoRule,
    /// Something else; the server's words.
    Other(String),
}

/// A session of the administrator.
pub struct Session(Client);

/// Knocks and goes away again.
///
/// # Errors
/// The server does not answer at all.
pub fn knock(knock: &Knock) -> Result<Answer> {
    let failed = |e| format!("{:?}: {e}", knock.door);
    let mut parameters = vec![("user", knock.user.as_str()), ("database", knock.database.as_str())];
    if knock.replication {
        parameters.push(("replication", "true"));
    }
    let mut client = Client::connect(&knock.door, PATIENCE).map_err(failed)?;
    Ok(match client.greet(&parameters).map_err(failed)? {
        Greeting::LetIn => Answer::Free,
        Greeting::Challenge => Answer::Password,
        Greeting::Refusal(words) => refusal(words),
    })
}

fn refusal(words: String) -> Answer {
    let says = |what: &str| words.contains(what);
    if says("pg_hba.conf rejects") {
        Answer::Reject
    } else if says("no pg_hba.conf entry") {
        Answer::NoRule
    } else if says("eer authentication failed") {
        Answer::Peer
    } else if says("Forbid remote connection with trust method") {
        // openGauss found a trust rule, and does not take it from another machine.
        Answer::Free
    } else {
        Answer::Other(words)
    }
}

impl Session {
    /// Comes in by the local socket, where a rule trusts the administrator.
    ///
    /// # Errors
    /// The server's words.
    pub fn open(socket: &Path, user: &str) -> Result<Self> {
        Client::log_in(&Door::Socket(socket.to_owned()), user, PATIENCE).map(Self).map_err(|e| e.to_string())
    }

    /// The rows of a statement; a null is empty.
    ///
    /// # Errors
    /// The server's words.
    pub fn ask(&mut self, statement: &str) -> Result<Vec<Vec<Vec<u8>>>> {
        self.0.ask_bytes(statement).map_err(|e| e.to_string())
    }
}
