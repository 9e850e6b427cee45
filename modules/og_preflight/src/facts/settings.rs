//! Parameters: what the file sets and what the server runs with.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The parameters that the checks look at.
pub const NAMES: [&str; 40] = [
    "application_name",
    "archive_mode",
    "available_zone",
    "block_size",
    "enable_availablezone",
    "enable_double_write",
    "enable_incremental_checkpoint",
    "enable_stream_replication",
    "enable_thread_pool",
    "full_page_writes",
    "hba_file",
    "hot_standby",
    "lc_collate",
    "lc_ctype",
    "listen_addresses",
    "max_connections",
    "max_files_per_process",
    "max_inner_tool_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_process_memory",
    "max_replication_slots",
    "max_wal_senders",
    "modify_initial_password",
    "most_available_sync",
    "pgxc_node_name",
    "port",
    "remote_read_mode",
    "server_encoding",
    "shared_buffers",
    "ssl",
    "ssl_ca_file",
    "ssl_cert_file",
    "ssl_key_file",
    "synchronous_commit",
    "synchronous_standby_names",
    "TimeZone",
    "unix_socket_directory",
    "wal_keep_segments",
    "wal_level",
];

/// Parameters by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Settings {
    /// What postgresql.conf sets.
    pub file: BTreeMap<String, String>,
    /// What the running server has; empty when none answers.
    pub running: BTreeMap<String, String>,
    /// Whether the initial user can do nothing before it has set itself a new one of what it logs in with:
    /// `modify_initial_password`, under a name that is not masked as a secret's.
    pub initial_login_blocked: Option<bool>,
}

/// The parameter behind [`Settings::initial_login_blocked`].
const INITIAL: &str = "modify_initial_password";

impl Settings {
    /// Takes in a parameter of the file.
    pub fn insert_file(&mut self, name: &str, value: String) {
        if name == INITIAL {
            self.initial_login_blocked = Some(og_common::conf::is_on(&value));
        } else {
            self.file.insert(name.to_owned(), value);
        }
    }

    /// Takes in a parameter of the running server, which counts more than the file's.
    pub fn insert_running(&mut self, name: &str, value: String) {
        if name == INITIAL {
            self.initial_login_blocked = Some(og_common::conf::is_on(&value));
        } else {
            self.running.insert(name.to_owned(), value);
        }
    }

    /// Returns the value that counts: the running server's, else the file's.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.running.get(name).or_else(|| self.file.get(name)).map(String::as_str)
    }

    /// Returns the value with which the server starts next: the file's, else the one it has.
    #[must_use]
    pub fn next(&self, name: &str) -> Option<&str> {
        self.file.get(name).or_else(|| self.running.get(name)).map(String::as_str)
    }

    /// Returns [`Settings::get`] as a number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.trim().parse().ok()
    }

    /// Returns [`Settings::next`] in bytes; a bare number counts `unit` bytes.
    #[must_use]
    pub fn next_bytes(&self, name: &str, unit: u64) -> Option<u64> {
        bytes(self.next(name)?, unit)
    }

    /// Whether the running server has the value with which it starts next; a bare number counts `unit` bytes.
    #[must_use]
    pub fn runs_with(&self, name: &str, unit: u64) -> bool {
        let running = self.running.get(name).and_then(|text| bytes(text, unit));
        running.is_some() && running == self.next_bytes(name, unit)
    }

    /// Whether the value that counts is one of the words for true.
    #[must_use]
    pub fn is_on(&self, name: &str) -> Option<bool> {
        self.get(name).map(og_common::conf::is_on)
    }
}

/// Bytes of a value such as `12GB`; a bare number counts `unit` bytes.
#[must_use]
pub fn bytes(text: &str, unit: u64) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, word) = text.split_at(digits);
    let unit = match word.trim() {
        "" => unit,
        "kB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}
