//! gs_initdb, which makes a data directory, and what is known of one.
//!
//! What releases 3.0.5, 5.0.3 and 6.0.2 do alike: the password is read from `--pwfile=/dev/stdin`, so it is in no argument, no
//! environment and no file; a folder that is empty is taken as it is, one that is not is refused; of a failure nothing is left.
//! Only 6.0 refuses a password that is too weak. Data pages have checksums without a switch for it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ServerNode;
use super::gsql::DISTURBING;
use super::process::{Outcome, time_left};
use crate::base::{Bytes, Call, Error};

/// How long gs_initdb may take where the call has no limit; a slow disk needs more than a minute for its fsync.
const INITDB_TIMEOUT: Duration = Duration::from_secs(3600);

/// gs_initdb cuts a longer `--nodename`.
const MAX_NAME_BYTES: usize = 22;

/// Checks a name for `--nodename`, which becomes `pgxc_node_name`: one that tablespace directories, slots and the server's own
/// scanner take.
///
/// # Errors
/// What is wrong with it.
pub fn check_node_name(name: &str) -> Result<(), String> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if name.is_empty() {
        Err("is empty".to_owned())
    } else if name.len() > MAX_NAME_BYTES {
        Err(format!("has {} characters, and gs_initdb cuts it after {MAX_NAME_BYTES}", name.len()))
    } else if !name.bytes().all(is_plain) {
        Err("has other characters than letters, digits and _".to_owned())
    } else {
        Ok(())
    }
}

/// With which database's SQL a new database is compatible (`--dbcompatibility`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Compatibility {
    /// Oracle.
    #[default]
    A,
    /// MySQL.
    B,
    /// Teradata.
    C,
    /// PostgreSQL.
    PG,
}

impl Compatibility {
    /// Returns the name as gs_initdb takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
            Self::PG => "PG",
        }
    }
}

/// What a data directory holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// There is no such folder.
    #[default]
    Missing,
    /// Nothing.
    Empty,
    /// A database, or what a build left of one.
    Database,
    /// What a run of this module that was killed left of a database.
    Unfinished,
    /// Something else.
    Other,
}

impl Content {
    /// Whether no database is there, nor anything else but the rest of one that was begun.
    #[must_use]
    pub fn is_vacant(self) -> bool {
        matches!(self, Self::Missing | Self::Empty | Self::Unfinished)
    }
}

/// The data directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Directory {
    /// Its path.
    pub path: PathBuf,
    /// What it holds.
    pub content: Content,
    /// The node's name: its `application_name`, else its `pgxc_node_name`; null when it has neither.
    pub name: Option<String>,
    /// Its `pgxc_node_name`.
    pub node_name: Option<String>,
    /// The identifier of its database system, a number as text.
    pub system_id: Option<String>,
    /// Who owns it.
    pub owner: Option<String>,
    /// The process of the server that runs in it.
    pub pid: Option<u32>,
    /// Whether og_initdb made this database, and no server has run in it since: it holds nothing of anybody's.
    pub made: bool,
}

/// Something that `state: absent` takes away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listed {
    /// Its path.
    pub path: PathBuf,
    /// Bytes on disk.
    pub bytes: Bytes,
    /// Who owns it.
    pub owner: Option<String>,
    /// When it was last changed, in UTC.
    pub modified: Option<String>,
    /// Why it is this node's.
    pub why: String,
}

/// What sort of thing speaks against a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ObstacleKind {
    /// A server runs in it.
    Running,
    /// It is being built.
    Building,
    /// Another node has a replication channel to this one.
    Channel,
    /// It is a mount point, or one lies in it.
    MountPoint,
    /// It is a symbolic link, or one in it leads out of it.
    Link,
    /// Another node's data lie in it.
    OtherData,
    /// It holds no database.
    NoDatabase,
    /// The folder that it lies in is not writable.
    Parent,
    /// Something in it cannot be read.
    Unreadable,
}

/// Something that stands in the way of a removal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemovalObstacle {
    /// What sort of thing.
    pub kind: ObstacleKind,
    /// What it is.
    pub detail: String,
    /// What to do.
    pub fix: String,
}

/// A password, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// From the text of an argument, or of a file, of which the first line counts.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let line = text.lines().next().unwrap_or_default().to_owned();
        crate::base::secret::register(&line);
        Self(line)
    }

    /// Whether it has no characters.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// What a new data directory is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDatabase<'a> {
    /// Its `pgxc_node_name`.
    pub node_name: &'a str,
    /// The locale of its databases.
    pub locale: &'a str,
    /// Their encoding.
    pub encoding: &'a str,
    /// With which SQL they are compatible.
    pub compatibility: Compatibility,
    /// The password of the initial user; without one that user connects only where pg_hba.conf asks for none.
    pub password: Option<&'a Password>,
}

impl ServerNode {
    /// Runs gs_initdb for this data directory. Returns what became of it and no verdict.
    ///
    /// # Errors
    /// `not_found` when there is no gs_initdb.
    pub async fn initdb(&self, call: &Call, new: &NewDatabase<'_>) -> Result<Outcome, Error> {
        let mut program = self.env(call).await?.program("gs_initdb")?.without_env(DISTURBING);
        program = program.args(arguments(&self.data_dir, new));
        if let Some(password) = new.password {
            program = program.with_input(format!("{}\n", password.0));
        }
        program.with_limit(Some(time_left(call, INITDB_TIMEOUT))).run().await
    }
}

fn arguments(data_dir: &Path, new: &NewDatabase<'_>) -> Vec<std::ffi::OsString> {
    let mut args = vec!["-D".into(), data_dir.as_os_str().to_owned()];
    args.push(format!("--nodename={}", new.node_name).into());
    args.push(format!("--locale={}", new.locale).into());
    args.push(format!("--encoding={}", new.encoding).into());
    args.push(format!("--dbcompatibility={}", new.compatibility.name()).into());
    args.extend(new.password.map(|_| "--pwfile=/dev/stdin".into()));
    args
}

impl Outcome {
    /// Why gs_initdb failed, in its own words: behind them it only says what it cleans up.
    #[must_use]
    pub fn initdb_complaint(&self) -> String {
        const AFTERWARDS: [&str; 4] = [
            "gs_initdb: removing ",
            "gs_initdb: data directory ",
            "Examine the output",
            "The Core dump file",
        ];
        let is_complaint =
            |line: &&str| !line.is_empty() && !AFTERWARDS.iter().any(|end| line.starts_with(end));
        let said = |text: &str| text.lines().rev().map(str::trim).find(is_complaint).map(str::to_owned);
        said(&self.stderr).or_else(|| said(&self.stdout)).unwrap_or_else(|| "it said nothing".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_in_no_argument_and_is_not_shown() {
        let password = Password::new("Secret@123\nsecond line\n");
        let new = NewDatabase {
            node_name: "dn_6001",
            locale: "C",
            encoding: "UTF8",
            compatibility: Compatibility::PG,
            password: Some(&password),
        };
        let args = arguments(Path::new("/data/dn 1"), &new);
        assert_eq!(
            args,
            [
                "-D",
                "/data/dn 1",
                "--nodename=dn_6001",
                "--locale=C",
                "--encoding=UTF8",
                "--dbcompatibility=PG",
                "--pwfile=/dev/stdin"
            ]
        );
        assert!(!format!("{new:?}").contains("Secret"));
        assert!(crate::base::secret::mask_text("he said Secret@123").ends_with(crate::base::secret::MASK));
        assert!(Password::new("\n").is_empty());
    }
}
