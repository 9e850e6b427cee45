//! The folders of runs, and the files in them: for their user alone, each file whole or not at all.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind as IoKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};
use og_common::clock::rfc3339;
use og_common::protocol::{Error, ErrorKind, secret};
use serde::Serialize;

/// Below the folder for state.
const RUNS: &str = "opengauss-node/runs";
/// Runs of one workflow that may begin in the same second.
const MOST_IN_A_SECOND: u32 = 1000;

/// Returns the folder that has the folders of all runs: below `$XDG_STATE_HOME`, else `~/.local/state`.
///
/// # Errors
/// `not_found` where the user has no home.
pub fn runs_folder() -> Result<PathBuf, Error> {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home =
        || named("HOME").or_else(|| User::from_uid(Uid::effective()).ok().flatten().map(|user| user.dir));
    let state = named("XDG_STATE_HOME").or_else(|| home().map(|home| home.join(".local/state")));
    state.map(|state| state.join(RUNS)).ok_or_else(|| {
        Error::not_found("there is no folder for records: neither XDG_STATE_HOME nor HOME is set")
    })
}

/// Makes the folder of a run that begins now; returns it with the run's id.
pub(super) fn make(runs: &Path, now_millis: u64, workflow: &str) -> Result<(PathBuf, String), Error> {
    let fail = |path: &Path, e: &std::io::Error| Error::io("make", path, e);
    DirBuilder::new().recursive(true).mode(0o700).create(runs).map_err(|e| fail(runs, &e))?;
    let stamp: String = rfc3339(now_millis / 1000).chars().filter(char::is_ascii_digit).collect();
    let (day, time) = stamp.split_at(stamp.len() - 6);
    let first = format!("{day}-{time}-{workflow}");
    let ids = std::iter::once(first.clone()).chain((2..MOST_IN_A_SECOND).map(|n| format!("{first}-{n}")));
    for id in ids {
        let folder = runs.join(&id);
        match DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => return Ok((folder, id)),
            Err(e) if e.kind() == IoKind::AlreadyExists => {}
            Err(e) => return Err(fail(&folder, &e)),
        }
    }
    Err(Error::new(
        ErrorKind::Io,
        format!("{} and all names beside it are taken", runs.join(first).display()),
    ))
}

/// Writes the file, readable by its user alone.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    let write = || {
        let folder = path.parent().unwrap_or(Path::new("."));
        // Such a file is made with mode 0600.
        let mut file = tempfile::Builder::new().prefix(".og_").suffix(".tmp").tempfile_in(folder)?;
        file.write_all(content)?;
        file.persist(path).map(drop).map_err(|e| e.error)
    };
    write().map_err(|e: std::io::Error| Error::io("write", path, &e))
}

/// Adds the value to the file as a line, its secrets masked.
pub(super) fn append(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let mut line = to_line(value)?;
    line.push(b'\n');
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(&line));
    written.map_err(|e| Error::io("write", path, &e))
}

/// The value as JSON over several lines, its secrets masked.
pub(super) fn to_pretty(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    let masked: serde_json::Value = serde_json::from_slice(&to_line(value)?).map_err(|e| unwritable(&e))?;
    let mut text = serde_json::to_vec_pretty(&masked).map_err(|e| unwritable(&e))?;
    text.push(b'\n');
    Ok(text)
}

/// The value as one line of JSON, its secrets masked.
pub(super) fn to_line(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    secret::to_json(value, &[]).map_err(|e| unwritable(&e))
}

fn unwritable(e: &serde_json::Error) -> Error {
    Error::new(ErrorKind::Internal, format!("cannot write a record as JSON: {e}"))
}
