//! The folders of runs, and the files in them: for their user alone, each file whole or not at all.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind as IoKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};
use og_common::clock::rfc3339;
use og_common::files;
use og_common::protocol::{Error, ErrorKind, secret};
use serde::Serialize;

use super::LOST;

/// Of the suite, below the folder for state.
const OWN_STATE: &str = "opengauss-node";
/// In that folder.
const RUNS: &str = "runs";
/// Keys whose values are written by this suite alone and read again; a secret that happens to be the same word says nothing there.
const OWN: [&str; 12] = [
    "event", "verdict", "counts", "id", "workflow", "owner", "version", "started", "ended", "start", "end",
    "at",
];
/// Runs of one workflow, or files of collect, that may begin in the same second.
const MOST_IN_A_SECOND: u32 = 1000;

/// Returns the folder that has the folders of all runs, in [`state_folder`].
///
/// # Errors
/// `not_found` where the user has no home.
pub fn runs_folder() -> Result<PathBuf, Error> {
    state_folder().map(|folder| folder.join(RUNS))
}

/// Returns the folder in which the suite leaves what runs were about: below `$XDG_STATE_HOME`, else `~/.local/state`.
///
/// # Errors
/// `not_found` where the user has no home.
pub fn state_folder() -> Result<PathBuf, Error> {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home =
        || named("HOME").or_else(|| User::from_uid(Uid::effective()).ok().flatten().map(|user| user.dir));
    let state = named("XDG_STATE_HOME").or_else(|| home().map(|home| home.join(".local/state")));
    state.map(|state| state.join(OWN_STATE)).ok_or_else(|| {
        Error::not_found("there is no folder for records: neither XDG_STATE_HOME nor HOME is set")
    })
}

/// Makes the folder of a run that begins now; returns it with the run's id.
pub(super) fn make(runs: &Path, now_millis: u64, workflow: &str) -> Result<(PathBuf, String), Error> {
    make_parent(runs)?;
    let first = format!("{}-{workflow}", time_stamp(now_millis));
    let create = |path: &Path| DirBuilder::new().mode(0o700).create(path);
    make_new(runs, &first, "", create).map(|(folder, id, ())| (folder, id))
}

/// Makes something under a name that is new in the folder: `first`, else `first-2` and so on, each with `ending` behind it.
/// Returns its path, its name without the ending, and what `create` returned.
///
/// # Errors
/// `io`, also where all names are taken.
pub(crate) fn make_new<T>(
    folder: &Path,
    first: &str,
    ending: &str,
    create: impl Fn(&Path) -> std::io::Result<T>,
) -> Result<(PathBuf, String, T), Error> {
    let later = (2..MOST_IN_A_SECOND).map(|n| format!("{first}-{n}"));
    for name in std::iter::once(first.to_owned()).chain(later) {
        let path = folder.join(format!("{name}{ending}"));
        match create(&path) {
            Ok(made) => return Ok((path, name, made)),
            Err(e) if e.kind() == IoKind::AlreadyExists => {}
            Err(e) => return Err(Error::io("make", &path, &e)),
        }
    }
    let path = folder.join(format!("{first}{ending}"));
    Err(Error::new(ErrorKind::Io, format!("{} and all names beside it are taken", path.display())))
}

/// Makes a folder that only its user may enter, and those above it; one that is there stays as it is.
pub(crate) fn make_parent(folder: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|e| Error::io("make", folder, &e))
}

/// The time as it begins names: `20260131-235959`.
pub(crate) fn time_stamp(now_millis: u64) -> String {
    let digits: String = rfc3339(now_millis / 1000).chars().filter(char::is_ascii_digit).collect();
    let (day, time) = digits.split_at(digits.len() - 6);
    format!("{day}-{time}")
}

/// Writes the file, readable by its user alone.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    // Of a run one process writes at a time, so it needs no lock.
    files::replace(path, content, false).map(drop)
}

/// Leaves in the folder of a run why something of it could not be written; where the disk is full, it may be without the words.
pub(super) fn mark_lost(folder: &Path, why: &str) {
    let mut options = OpenOptions::new();
    options.create_new(true).write(true).mode(0o600);
    // There is nowhere left to tell that this cannot be written either.
    drop(options.open(folder.join(LOST)).and_then(|mut file| file.write_all(&mask(why))));
}

fn mask(text: &str) -> Vec<u8> {
    secret::mask_text(text).as_bytes().to_vec()
}

/// Why something of the run could not be written; none where all was.
pub(super) fn read_lost(folder: &Path) -> Result<Option<String>, Error> {
    match files::read(&folder.join(LOST)) {
        Ok(text) if text.is_empty() => {
            Ok(Some(format!("something could not be written in {}", folder.display())))
        }
        Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Adds the value to the file as a line, its secrets masked.
pub(super) fn append(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let mut line = to_line(value)?;
    line.push(b'\n');
    let mut options = OpenOptions::new();
    options.create(true).read(true).append(true).mode(0o600);
    let mut write = || {
        let mut file = options.open(path)?;
        if file.seek(SeekFrom::End(0))? > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            // What was cut off there, on a full disk or by a kill, must not take this line with it.
            if last != *b"\n" {
                line.insert(0, b'\n');
            }
        }
        file.write_all(&line)
    };
    write().map_err(|e: std::io::Error| Error::io("write", path, &e))
}

/// The value as JSON over several lines, its secrets masked.
pub(crate) fn to_pretty(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    let masked: serde_json::Value = serde_json::from_slice(&to_line(value)?).map_err(|e| unwritable(&e))?;
    let mut text = serde_json::to_vec_pretty(&masked).map_err(|e| unwritable(&e))?;
    text.push(b'\n');
    Ok(text)
}

/// The value as one line of JSON, its secrets masked.
pub(super) fn to_line(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    secret::to_json(value, &OWN).map_err(|e| unwritable(&e))
}

fn unwritable(e: &serde_json::Error) -> Error {
    Error::new(ErrorKind::Internal, format!("cannot write a record as JSON: {e}"))
}
