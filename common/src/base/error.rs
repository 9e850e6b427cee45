//! The one error type of the suite.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::secret;

/// What sort of failure it was; a caller branches on this and never on words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The arguments cannot be used; nothing was read or changed.
    BadArgs,
    /// A file, folder, program, user or server that must be there is not.
    NotFound,
    /// The operating system refused access.
    Permission,
    /// A lock is held; the detail says by whom.
    Busy,
    /// A safety rule forbids it; the hint names the argument that overrides the rule, if one may.
    Refused,
    /// A file cannot be understood; the detail has line and column.
    Corrupt,
    /// The version, layout or platform is not supported.
    Unsupported,
    /// A program of openGauss failed, or did not do what it was asked for.
    CommandFailed,
    /// Time ran out; the detail has what was last seen.
    Timeout,
    /// A host could not be reached (`--host`).
    Unreachable,
    /// The call was ended by SIGINT or SIGTERM.
    Interrupted,
    /// The operating system failed to read or write.
    Io,
    /// A bug in this program.
    Internal,
}

/// Narrows [`ErrorKind`] for programs: why a call failed, where a caller may want to branch on more than the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A build of the node is under way.
    Building,
    /// A build of the node died half done, and its server cannot start.
    BuildIncomplete,
    /// Another run or program holds a lock.
    LockHeld,
    /// The primary has no WAL sender left for what was asked.
    NotEnoughWalSenders,
    /// openGauss CM is in charge of the node.
    ManagedByCm,
    /// openGauss DCF is in charge of the node's role (`enable_dcf`).
    ManagedByDcf,
    /// The node's data are on storage that it shares with others (DSS, DMS).
    SharedStorage,
    /// Another node is primary, and there would be two of them.
    SecondPrimary,
    /// The old primary may still be alive.
    PrimaryMayBeAlive,
    /// A former primary is not started unattended: another node, which may be the primary by now, does not answer.
    PeersSilent,
    /// A node that can be reached holds more of the log than this one.
    HoldsLess,
    /// A node that can be reached is of a newer term than this one: another primary has been there since.
    OlderTerm,
    /// The standby had ceased to follow its primary: it lacks what was written since.
    LeftBehind,
    /// How much of the log this node holds is not known.
    LogUnknown,
    /// The node is the only primary, and none would be left.
    OnlyPrimary,
    /// The standby does not stream from its primary.
    NotStreaming,
    /// The standby is too far behind its primary.
    Lagging,
    /// Another node became primary while this one was to.
    Overtaken,
    /// The server has, or would have, another role than the one asked for.
    WrongRole,
    /// There is no room left on the disk.
    DiskFull,
    /// The server's process is frozen (SIGSTOP).
    Frozen,
    /// The time ran out after the server had been told to act: it goes on without the caller.
    GoesOn,
    /// Transactions of clients are older than is allowed, and did not end in time.
    LongTransactions,
    /// More of a file's content is wanted: from `offset` of the result on.
    ContentWanted,
    /// This version of the program does not know an argument, or a word that was given as its value.
    UnknownArgument,
    /// It needs root, and does not run as root.
    NotRoot,
    /// A server runs that needs what is to be taken away.
    ServerRuns,
    /// A file that is there under the wanted name was not made by this program.
    ForeignFile,
}

impl Reason {
    /// All values.
    pub const ALL: [Self; 28] = [
        Self::Building,
        Self::BuildIncomplete,
        Self::LockHeld,
        Self::NotEnoughWalSenders,
        Self::ManagedByCm,
        Self::ManagedByDcf,
        Self::SharedStorage,
        Self::SecondPrimary,
        Self::PrimaryMayBeAlive,
        Self::PeersSilent,
        Self::HoldsLess,
        Self::OlderTerm,
        Self::LeftBehind,
        Self::LogUnknown,
        Self::OnlyPrimary,
        Self::NotStreaming,
        Self::Lagging,
        Self::Overtaken,
        Self::WrongRole,
        Self::DiskFull,
        Self::Frozen,
        Self::GoesOn,
        Self::LongTransactions,
        Self::ContentWanted,
        Self::UnknownArgument,
        Self::NotRoot,
        Self::ServerRuns,
        Self::ForeignFile,
    ];

    /// Returns the word by which results name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::BuildIncomplete => "build_incomplete",
            Self::LockHeld => "lock_held",
            Self::NotEnoughWalSenders => "not_enough_wal_senders",
            Self::ManagedByCm => "managed_by_cm",
            Self::ManagedByDcf => "managed_by_dcf",
            Self::SharedStorage => "shared_storage",
            Self::SecondPrimary => "second_primary",
            Self::PrimaryMayBeAlive => "primary_may_be_alive",
            Self::PeersSilent => "peers_silent",
            Self::HoldsLess => "holds_less",
            Self::OlderTerm => "older_term",
            Self::LeftBehind => "left_behind",
            Self::LogUnknown => "log_unknown",
            Self::OnlyPrimary => "only_primary",
            Self::NotStreaming => "not_streaming",
            Self::Lagging => "lagging",
            Self::Overtaken => "overtaken",
            Self::WrongRole => "wrong_role",
            Self::DiskFull => "disk_full",
            Self::Frozen => "frozen",
            Self::GoesOn => "goes_on",
            Self::LongTransactions => "long_transactions",
            Self::ContentWanted => "content_wanted",
            Self::UnknownArgument => "unknown_argument",
            Self::NotRoot => "not_root",
            Self::ServerRuns => "server_runs",
            Self::ForeignFile => "foreign_file",
        }
    }
}

/// The outside command that failed, as the result shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommandRecord {
    /// Program and arguments.
    pub cmd: Vec<String>,
    /// Exit status; 128 + n when signal n ended it.
    pub rc: i32,
    /// Its output, the end kept, at most 16 KiB.
    pub stdout: String,
    /// Its errors, the end kept, at most 16 KiB.
    pub stderr: String,
}

/// How many bytes of each output stream a result shows.
const MAX_SHOWN_BYTES: usize = 16 * 1024;

impl CommandRecord {
    /// The record of a command with all it said; takes the end of each stream, without secrets.
    #[must_use]
    pub fn new(cmd: Vec<String>, rc: i32, stdout: &str, stderr: &str) -> Self {
        let shown = |text: &str| {
            // Of a secret that is cut, the rest would not be known for one.
            let text = secret::mask_text(text);
            let mut from = text.len().saturating_sub(MAX_SHOWN_BYTES);
            while !text.is_char_boundary(from) {
                from += 1;
            }
            text[from..].to_owned()
        };
        Self { cmd, rc, stdout: shown(stdout), stderr: shown(stderr) }
    }
}

/// A failure: what is wrong, where, and what to do about it.
///
/// `detail` is a sentence without a final full stop that makes sense alone, for it becomes the result's `msg`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<Failure>);

/// The fields of an [`Error`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What sort of failure.
    pub kind: ErrorKind,
    /// The word for programs that narrows `kind`.
    pub reason: Option<Reason>,
    /// What is wrong, in one sentence.
    pub detail: String,
    /// What to do.
    pub hint: Option<String>,
    /// The file, or the JSON pointer of the argument.
    pub path: Option<String>,
    /// openGauss's own error number, such as `GAUSS-51230`.
    pub gauss_code: Option<String>,
    /// The outside command that failed.
    pub command: Option<CommandRecord>,
    /// What had been changed before the failure and stays changed.
    pub actions: Vec<String>,
    /// The module's own keys of the result, as far as they were known; see [`Call::record_output`](super::Call::record_output).
    pub keys: Map<String, Value>,
}

impl Error {
    /// An error of this kind with this detail.
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self(Box::new(Failure {
            kind,
            reason: None,
            detail: detail.into(),
            hint: None,
            path: None,
            gauss_code: None,
            command: None,
            actions: Vec::new(),
            keys: Map::new(),
        }))
    }

    /// `bad_args`.
    pub fn bad_args(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadArgs, detail)
    }

    /// `not_found`.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, detail)
    }

    /// `refused`: pass the overriding argument in [`Error::hint`].
    pub fn refused(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, detail)
    }

    /// `corrupt`.
    pub fn corrupt(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, detail)
    }

    /// `command_failed`.
    pub fn command(detail: impl Into<String>, record: CommandRecord) -> Self {
        let mut error = Self::new(ErrorKind::CommandFailed, detail);
        error.0.command = Some(record);
        error
    }

    /// The operating system's error met while doing `what` to `path`: `not_found`, `permission` or `io`.
    #[must_use]
    pub fn io(what: &str, path: &Path, source: &std::io::Error) -> Self {
        let kind = match source.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::PermissionDenied => ErrorKind::Permission,
            _ => ErrorKind::Io,
        };
        let error =
            Self::new(kind, format!("cannot {what} {}: {}", path.display(), describe_io_error(source)));
        let full =
            matches!(source.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
        let error = if full {
            error.reason(Reason::DiskFull).hint("make room on the file system of this file")
        } else {
            error
        };
        error.with_path(path.display())
    }

    /// Narrows the kind, for programs.
    #[must_use]
    pub fn reason(mut self, reason: Reason) -> Self {
        self.0.reason = Some(reason);
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Says where: a file, or the JSON pointer of an argument.
    #[must_use]
    #[allow(clippy::needless_pass_by_value)] // `.at(path.display())` is how it is called everywhere.
    pub fn with_path(mut self, path: impl ToString) -> Self {
        self.0.path = Some(path.to_string());
        self
    }

    /// Adds openGauss's own error number.
    #[must_use]
    pub fn gauss_code(mut self, code: impl Into<String>) -> Self {
        self.0.gauss_code = Some(code.into());
        self
    }

    /// Adds the outside command that failed.
    #[must_use]
    pub fn with_command(mut self, record: CommandRecord) -> Self {
        self.0.command = Some(record);
        self
    }

    /// Says what had been changed before this failure and stays changed; the result's `changed` follows it.
    #[must_use]
    pub fn with_actions(mut self, mut actions: Vec<String>) -> Self {
        actions.append(&mut self.0.actions);
        self.0.actions = actions;
        self
    }

    /// Leaves out what the outside command was told and said.
    #[must_use]
    pub(crate) fn without_output(mut self) -> Self {
        if let Some(command) = &mut self.0.command {
            command.cmd.truncate(1);
            command.stdout.clear();
            command.stderr.clear();
        }
        self
    }

    /// Adds the module's own keys of the result, for a failure that is a judgement of what they tell.
    #[must_use]
    pub fn with_output(self, output: &impl Serialize) -> Self {
        match serde_json::to_value(output) {
            Ok(Value::Object(keys)) => self.with_keys(keys),
            _ => self,
        }
    }

    /// Adds the module's own keys of the result.
    #[must_use]
    pub(crate) fn with_keys(mut self, keys: Map<String, Value>) -> Self {
        self.0.keys = keys;
        self
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// All fields.
    #[must_use]
    pub fn failure(&self) -> &Failure {
        &self.0
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.detail)?;
        if let Some(hint) = &self.0.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// The operating system's words without Rust's ` (os error 2)`.
fn describe_io_error(source: &std::io::Error) -> String {
    let text = source.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_reason_is_written_by_its_name() {
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
        let schema = serde_json::to_string(&schemars::schema_for!(Reason)).unwrap();
        assert!(Reason::ALL.iter().all(|reason| schema.contains(&format!("\"{}\"", reason.name()))));
        assert_eq!(schema.matches("\"const\"").count(), Reason::ALL.len(), "{schema}");
    }
}
