//! One call of a module: how it was asked to act, on which node.

use std::io::Write as _;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bytes, Done, Error, ErrorKind, Reason, secret};

/// The arguments common to all modules.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Common {
    /// The node: an openGauss data directory. Default: `$PGDATA`.
    pub data_dir: Option<PathBuf>,
    /// The file that sets GAUSSHOME, PATH, LD_LIBRARY_PATH and PGHOST, read in a clean shell.
    /// Default: `$MPPDB_ENV_SEPARATE_PATH`, else the OS user's `~/.bashrc`.
    pub env_file: Option<PathBuf>,
    /// The folder openGauss is installed in; overrides the GAUSSHOME of the environment.
    pub gauss_home: Option<PathBuf>,
    /// Run by root, act as this user; run by anyone else, it must be that user. Default: owner of `data_dir`.
    pub os_user: Option<String>,
    /// Seconds the whole call may take; 0 is no limit.
    pub timeout: Option<u64>,
    /// Seconds to wait for another writer.
    pub lock_timeout: Option<u64>,
    /// What to do while a build of the node is under way: fail at once (`busy`), or wait for its end within `timeout`.
    pub if_building: Option<IfBuilding>,
    /// Say what would be done, and do nothing.
    pub check_mode: Option<bool>,
    /// Return the text before and after of each file that changes.
    pub diff: Option<bool>,
}

/// What a call does while a build of the node is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum IfBuilding {
    /// Fails at once.
    #[default]
    Fail,
    /// Waits for the end of the build within `timeout`; in check mode it fails.
    Wait,
}

/// One call of a module: how it was asked to act.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // Each is a fact of its own.
pub struct Call {
    /// Change nothing; report what would change.
    pub check: bool,
    /// The caller wants texts before and after.
    pub diff: bool,
    /// The caller wants nothing of the arguments in any log or echo.
    pub no_log: bool,
    /// The arguments common to all modules.
    pub common: Common,
    /// The caller was root and has become the node's user.
    pub switched: bool,
    /// When the call ends, if it has a limit.
    pub deadline: Option<std::time::Instant>,
    /// The caller wants to know how far it is, in lines on standard error.
    pub progress: bool,
    seen: std::cell::RefCell<String>,
    pub(crate) done: Done,
}

/// How far a call is: one line of JSON, `{"progress": {…}}`, on the standard error of a program run with `--progress`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallProgress {
    /// What was seen, for a person.
    pub msg: String,
    /// What was copied so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Bytes>,
    /// Upper bound of what is to be copied, as far as it is known; less may be copied in the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<Bytes>,
}

impl CallProgress {
    fn to_line(&self) -> String {
        serde_json::json!({ "progress": self }).to_string()
    }

    /// Parses a line of progress; `None` for any other line.
    #[must_use]
    pub fn parse_line(line: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Line {
            progress: CallProgress,
        }
        serde_json::from_str::<Line>(line.trim()).ok().map(|line| line.progress)
    }
}

/// Seconds that a writer waits for another one unless `lock_timeout` says otherwise.
pub const LOCK_TIMEOUT_SECONDS: u64 = 10;

impl Call {
    /// The node's data directory.
    ///
    /// # Errors
    /// `bad_args` when neither `data_dir` nor `$PGDATA` is given or it is relative; `not_found` when it is no folder;
    /// `permission` when it is another user's.
    pub fn data_dir(&self) -> Result<PathBuf, Error> {
        let dir = self.common.data_dir.clone().or_else(environment_data_dir).ok_or_else(|| {
            Error::bad_args("data_dir is not given and PGDATA is not set").with_path("/data_dir")
        })?;
        if !dir.is_absolute() {
            return Err(Error::bad_args(format!("data_dir must be an absolute path, not {}", dir.display()))
                .with_path("/data_dir"));
        }
        match std::fs::metadata(&dir) {
            Ok(meta) if meta.is_dir() => self.check_owner(&dir, &meta).map(|()| dir),
            Ok(_) => Err(Error::not_found(format!("data_dir {} is not a folder", dir.display()))
                .with_path("/data_dir")),
            Err(e) => Err(Error::io("open data_dir", &dir, &e)),
        }
    }

    /// The node's data directory, which may still have to be made.
    ///
    /// # Errors
    /// As [`Call::data_dir`], but for a folder that is not there; `bad_args` also for a path that names no folder below
    /// another one.
    pub fn planned_data_dir(&self) -> Result<PathBuf, Error> {
        let dir = match self.data_dir() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.common.data_dir.clone().or_else(environment_data_dir).ok_or(error)?
            }
            found => found?,
        };
        // Two paths of one folder would be two nodes; one that ends in dots has no name.
        let plain: PathBuf = dir.components().collect();
        let is_dotted = plain.components().any(|part| part == std::path::Component::ParentDir);
        if plain.file_name().is_none() || is_dotted {
            let detail = format!("data_dir {} is no path of a folder below another one", dir.display());
            return Err(Error::bad_args(detail).with_path("/data_dir"));
        }
        Ok(plain)
    }

    /// Refuses the data directory of another user, which would look like one without a server. Whoever is named as
    /// `os_user` is meant.
    fn check_owner(&self, dir: &std::path::Path, meta: &std::fs::Metadata) -> Result<(), Error> {
        use std::os::unix::fs::MetadataExt;
        let me = nix::unistd::geteuid();
        if me.is_root() || me.as_raw() == meta.uid() || self.common.os_user.is_some() {
            return Ok(());
        }
        let owner = nix::unistd::User::from_uid(meta.uid().into()).ok().flatten();
        let owner = owner.map_or_else(|| format!("uid {}", meta.uid()), |user| user.name);
        let detail = format!("data_dir {} belongs to {owner}, and this runs as uid {me}", dir.display());
        let error = Error::new(ErrorKind::Permission, detail).with_path("/data_dir");
        Err(error.hint(run_as_hint(&owner)))
    }

    /// How long to wait for another writer.
    #[must_use]
    pub fn lock_timeout(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.common.lock_timeout.unwrap_or(LOCK_TIMEOUT_SECONDS))
    }

    /// Whether the call waits for the end of a build of the node before it acts.
    #[must_use]
    pub fn waits_for_build(&self) -> bool {
        self.common.if_building == Some(IfBuilding::Wait) && !self.check
    }

    /// Notes what was last seen, for the message if time runs out and for progress reports.
    pub fn record_seen(&self, what: impl Into<String>) {
        self.record_progress(what, None, None);
    }

    /// Notes what was last seen of a copy: the bytes copied, and how many there are in all where that is known.
    pub fn record_progress(&self, what: impl Into<String>, bytes: Option<Bytes>, total_bytes: Option<Bytes>) {
        let msg = what.into();
        if self.progress && (bytes.is_some() || *self.seen.borrow() != msg) {
            let progress = CallProgress { msg: secret::mask_text(&msg).into_owned(), bytes, total_bytes };
            // What is seen and cannot be told is no reason to end the work.
            drop(writeln!(std::io::stderr(), "{}", progress.to_line()));
        }
        *self.seen.borrow_mut() = msg;
    }

    /// Returns the last recorded progress.
    #[must_use]
    pub fn last_seen(&self) -> String {
        self.seen.borrow().clone()
    }
}

/// The hint on who may do it.
pub(crate) fn run_as_hint(user: &str) -> String {
    if user == "root" { "run it as root".to_owned() } else { format!("run it as {user} or as root") }
}

/// The refusal of what only root may do.
pub(crate) fn not_root_error(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Permission, detail).reason(Reason::NotRoot).hint(
        "run it as root: with become in Ansible, with sudo in a shell, over ssh as root or as a user who may use sudo without a \
         password",
    )
}

/// The data directory that the environment names.
pub(crate) fn environment_data_dir() -> Option<PathBuf> {
    std::env::var_os("PGDATA").filter(|dir| !dir.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_named_once() {
        assert_eq!(run_as_hint("omm"), "run it as omm or as root");
        assert_eq!(run_as_hint("root"), "run it as root");
    }

    #[test]
    fn a_line_of_progress_is_read_as_it_was_told() {
        let progress = CallProgress { msg: "half".to_owned(), bytes: Some(Bytes::new(5)), total_bytes: None };
        assert_eq!(CallProgress::parse_line(&progress.to_line()), Some(progress));
        for other in ["", "half", "{}", r#"{"progress": 1}"#] {
            assert_eq!(CallProgress::parse_line(other), None, "{other}");
        }
    }
}
