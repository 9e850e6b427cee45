//! The file by which a probe and those who start and stop it know of each other. It is in the cache of the OS user, where a build
//! that empties the data directory leaves it alone; a probe whose file is gone ends.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use og_common::files;
use og_common::gauss::Environment;
use og_common::gauss::commits::ProbedCommits;
use og_common::gauss::postmaster_pid::process_start;
use og_common::protocol::{Call, Common, Error, ErrorKind};
use serde::{Deserialize, Serialize};

/// Whose folder it is in the cache.
const PROGRAM: &str = "og_probe";

/// A process, by what tells it from every other one since the machine was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it began, as the kernel counts it.
    pub start: u64,
}

impl Process {
    /// This process.
    #[must_use]
    pub fn own() -> Option<Self> {
        let pid = std::process::id();
        Some(Self { pid, start: process_start(pid)? })
    }

    /// Whether it lives.
    #[must_use]
    pub fn is_alive(self) -> bool {
        process_start(self.pid) == Some(self.start)
    }
}

/// What a probe is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It has not yet seen what its server is.
    #[default]
    Starting,
    /// Its server is a standby or down.
    Waiting,
    /// It commits.
    Committing,
    /// A statement or a connection failed.
    Failing,
}

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeFile {
    /// The node.
    pub data_dir: PathBuf,
    /// As the call that started it had it.
    pub env_file: Option<PathBuf>,
    /// As the call that started it had it.
    pub gauss_home: Option<PathBuf>,
    /// Whether that call had been made by root.
    pub switched: bool,
    /// Milliseconds from the answer to a commit to the next one.
    pub interval_ms: u64,
    /// Seconds after which it ends by itself.
    pub limit: u64,
    /// The probe, once it has begun.
    pub process: Option<Process>,
    /// What it is doing.
    pub phase: Phase,
    /// What it saw.
    pub probed: ProbedCommits,
}

impl ProbeFile {
    /// Returns the call that a probe makes all of its own by.
    #[must_use]
    pub fn call(&self) -> Call {
        let mut call = Call::default();
        call.common = Common {
            data_dir: Some(self.data_dir.clone()),
            env_file: self.env_file.clone(),
            gauss_home: self.gauss_home.clone(),
            ..Common::default()
        };
        call.switched = self.switched;
        call
    }

    /// Whether its probe is at work.
    #[must_use]
    pub fn is_at_work(&self) -> bool {
        self.process.is_some_and(Process::is_alive)
    }

    /// Returns what its probe saw.
    #[must_use]
    pub fn probed(&self) -> ProbedCommits {
        ProbedCommits { running: self.is_at_work(), ..self.probed.clone() }
    }

    /// Reads the file; `None` where there is none.
    ///
    /// # Errors
    /// `permission` or `io`. A file that is no JSON of ours counts as absent: a probe that finds it so exits.
    pub fn read(path: &Path) -> Result<Option<Self>, Error> {
        match files::read(path) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// `permission` or `io`; the old one stands.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        files::replace(path, &text, false).map(drop)
    }
}

/// Returns the file of the probe on this node.
///
/// # Errors
/// `not_found` where the data directory is gone.
pub fn path(data_dir: &Path) -> Result<PathBuf, Error> {
    // Two paths of one data directory have one probe.
    let real = std::fs::canonicalize(data_dir).map_err(|e| Error::io("inspect", data_dir, &e))?;
    Ok(Environment::cache_file(PROGRAM, &real, "json"))
}

/// Makes the folder of the file, which only the user may look into.
///
/// # Errors
/// `permission` or `io`.
pub fn make_folder(path: &Path) -> Result<(), Error> {
    let Some(folder) = path.parent() else { return Ok(()) };
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|e| Error::io("make the folder of the probe", folder, &e))
}

/// Removes the file, where it is there.
///
/// # Errors
/// `permission` or `io`.
pub fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, &e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::Command;

    use super::*;

    #[test]
    fn only_the_process_that_was_meant_is_alive() {
        let own = Process::own().unwrap();
        assert!(own.is_alive());
        // Another process that got its number.
        assert!(!Process { start: own.start + 1, ..own }.is_alive());
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process { pid: child.id(), start: process_start(child.id()).unwrap() };
        assert!(process.is_alive());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!process.is_alive());
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_one_of_something_else_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        assert_eq!(ProbeFile::read(&path).unwrap(), None);
        let mut file = ProbeFile { data_dir: "/d".into(), process: Process::own(), ..ProbeFile::default() };
        file.probed.add_commit(5);
        file.write(&path).unwrap();
        assert_eq!(ProbeFile::read(&path).unwrap(), Some(file.clone()));
        assert!(file.probed().running && !file.probed.running);
        std::fs::write(&path, "{").unwrap();
        assert_eq!(ProbeFile::read(&path).unwrap(), None);
        remove(&path).unwrap();
        remove(&path).unwrap();
    }

    #[test]
    fn two_paths_of_a_data_directory_have_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let (data, link) = (dir.path().join("data"), dir.path().join("link"));
        std::fs::create_dir(&data).unwrap();
        std::os::unix::fs::symlink(&data, &link).unwrap();
        assert_eq!(super::path(&data).unwrap(), super::path(&link).unwrap());
        assert_eq!(super::path(&dir.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
