//! Copying aside what a node holds of the log, before a build gives it up.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use og_common::files::{self, NodeLock, free_space};
use og_common::gauss::{NodeState, Role, ServerNode, wal};
use og_common::protocol::{Bytes, Call, Error, ErrorKind, Lsn, Reason, Report, run_blocking};

use crate::args::{Args, Output};

/// What stays free beside the copy: sixteen segments, for a server on the same file system goes on writing its log.
const RESERVED_SPACE: Bytes = Bytes::new(256 << 20);

/// Copies the segments of the log that go from `keep_from` to the log's end into a folder beside the data directory.
///
/// # Errors
/// `refused` while the server writes; `disk_full` where there is no room; `io`.
pub async fn keep_log(call: &Call, node: &ServerNode, args: &Args) -> Result<Report<Output>, Error> {
    let from = match &args.keep_from {
        None => Lsn::INVALID,
        Some(text) => Lsn::parse(text)
            .ok_or_else(|| Error::bad_args(format!("{text:?} is no LSN")).with_path("/keep_from"))?,
    };
    let _lock = if call.check { None } else { Some(NodeLock::acquire(&node.data_dir, call).await?) };
    let mut output = Output { node: node.query(call).await?, ..Output::default() };
    check_stopped(&output.node)?;
    let end = node.log_position(call).await.lsn.unwrap_or_default();
    let dir = node.data_dir.clone();
    let control = node.control();
    // To the last one that is there: where the log was read to may be where it is damaged.
    let files = control.and_then(|control| wal::segments_from(&dir, &control, from)).unwrap_or_default();
    let Some(first) = files.first() else {
        return Err(Error::not_found(format!("no segment of the log from {from} on is there")));
    };
    let sizes = files.iter().filter_map(|file| fs::metadata(file).ok()).map(|meta| meta.len());
    let bytes = Bytes::new(sizes.sum());
    let target = folder(&node.data_dir, Some(from).filter(|from| from.is_valid()), end)?;
    let what = format!(
        "{} segment{} of its log, from {} on ({}), in {}",
        files.len(),
        if files.len() == 1 { "" } else { "s" },
        first.file_name().unwrap_or_default().to_string_lossy(),
        bytes,
        target.display()
    );
    output.log_copy = Some(target.display().to_string());
    if holds_all(&target, &files) {
        return Ok(Report::unchanged(format!("keeps {what}"), output));
    }
    let parent = target.parent().unwrap_or(Path::new("/"));
    check_space(parent, free_space(parent)?, bytes)?;
    let msg = if call.check { format!("would keep {what}") } else { format!("keeps {what}") };
    if !call.check {
        run_blocking(move || copy(&files, &target)).await??;
    }
    Ok(Report::new(vec![format!("copy {what}")], msg, output))
}

/// Refuses a server that writes: a copy of a log that changes is none.
fn check_stopped(state: &NodeState) -> Result<(), Error> {
    if !state.running || state.role.is_following() || state.role == Role::Pending {
        return Ok(());
    }
    Err(Error::refused(format!("the server runs as {} and writes its log", state.role))
        .hint("stop it first: og_node_state with state: stopped"))
}

/// Refuses a copy for which there is no room.
fn check_space(folder: &Path, free: Bytes, bytes: Bytes) -> Result<(), Error> {
    if free >= bytes.saturating_add(RESERVED_SPACE) {
        return Ok(());
    }
    let detail = format!("{} has {free} left, and the copy of the log takes {bytes}", folder.display());
    Err(Error::new(ErrorKind::Io, detail)
        .reason(Reason::DiskFull)
        .hint("make room there; or copy pg_xlog elsewhere, and build the node by og_build with force"))
}

/// The folder beside the data directory, named after the part of the log.
fn folder(data_dir: &Path, from: Option<Lsn>, end: Lsn) -> Result<PathBuf, Error> {
    let real = fs::canonicalize(data_dir).map_err(|e| Error::io("inspect", data_dir, &e))?;
    let place = |lsn: Lsn| lsn.to_string().replace('/', "-");
    let from = from.map_or_else(|| "begin".to_owned(), place);
    let name = real.file_name().unwrap_or_default().to_string_lossy();
    Ok(real.with_file_name(format!("{name}_log_{from}_{}", place(end))))
}

/// Whether the folder has all of these files already, whole.
fn holds_all(target: &Path, files: &[PathBuf]) -> bool {
    let length =
        |file: &Path| fs::symlink_metadata(file).ok().filter(fs::Metadata::is_file).map(|meta| meta.len());
    files.iter().all(|file| {
        let own = fs::metadata(file).ok().map(|meta| meta.len());
        own.is_some() && file.file_name().and_then(|name| length(&target.join(name))) == own
    })
}

/// The folder that becomes `target` when it is whole: its whole name with an ending, for a data directory's name may have a
/// point in it.
fn part_of(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    target.with_file_name(name)
}

/// Removes what a killed copy left: files alone, so that a folder of somebody else's of this name stays.
fn remove_part(part: &Path) -> Result<(), Error> {
    let entries = match fs::read_dir(part) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("read", part, &e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("read", part, &e))?;
        let name = entry.file_name();
        let is_segment = name.len() == 24 && name.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit);
        if !is_segment {
            let detail = format!("{} is no part of a copy of the log", entry.path().display());
            return Err(Error::new(ErrorKind::Io, detail).hint(format!("move {} away", part.display())));
        }
        fs::remove_file(entry.path()).map_err(|e| Error::io("remove", &entry.path(), &e))?;
    }
    fs::remove_dir(part).map_err(|e| Error::io("remove", part, &e))
}

fn copy(files: &[PathBuf], target: &Path) -> Result<(), Error> {
    let part = part_of(target);
    remove_part(&part)?;
    let mut builder = fs::DirBuilder::new();
    builder.mode(0o700).create(&part).map_err(|e| Error::io("make", &part, &e))?;
    for file in files {
        let copied = part.join(file.file_name().unwrap_or_default());
        fs::copy(file, &copied).map_err(|e| Error::io("copy", file, &e))?;
        File::open(&copied).and_then(|file| file.sync_all()).map_err(|e| Error::io("write", &copied, &e))?;
    }
    fs::rename(&part, target).map_err(|e| {
        Error::io("rename", &part, &e)
            .hint(format!("if {} is there and lacks a file, move it away", target.display()))
    })?;
    let parent = target.parent().unwrap_or(Path::new("/"));
    files::sync_folder(parent)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_log_is_copied_only_where_nobody_writes_it_and_there_is_room() {
        for (running, role, may) in [
            (true, Role::Primary, false),
            (true, Role::Normal, false),
            (true, Role::Standby, true),
            (true, Role::Pending, true),
            (false, Role::Primary, true),
        ] {
            let state = NodeState { running, role, ..NodeState::default() };
            assert_eq!(check_stopped(&state).is_ok(), may, "{running} {role}");
        }
        let folder = Path::new("/d");
        let copy = Bytes::new(1000);
        assert!(check_space(folder, copy.saturating_add(RESERVED_SPACE), copy).is_ok());
        let failure = check_space(folder, Bytes::new(999).saturating_add(RESERVED_SPACE), copy).unwrap_err();
        assert_eq!(failure.failure().reason, Some(Reason::DiskFull));
    }

    #[test]
    fn no_folder_of_another_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        // Names with a point in them: what is copied for one server must not be taken for another's.
        for name in ["dn.1", "dn.2", "dn.part"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("dn.part/precious"), "x").unwrap();
        let folders = ["dn.1", "dn.2", "dn.part"]
            .map(|name| folder(&dir.path().join(name), None, Lsn::new(1)).unwrap());
        let parts: std::collections::BTreeSet<_> = folders.iter().map(|target| part_of(target)).collect();
        assert_eq!(parts.len(), 3);
        let file = dir.path().join(format!("{:024X}", 1));
        fs::write(&file, "x").unwrap();
        for target in &folders {
            copy(std::slice::from_ref(&file), target).unwrap();
        }
        assert!(dir.path().join("dn.part/precious").exists());
        // Not even one of the very name.
        let target = folder(&dir.path().join("dn.1"), None, Lsn::new(2)).unwrap();
        fs::create_dir(part_of(&target)).unwrap();
        fs::write(part_of(&target).join("precious"), "x").unwrap();
        assert!(copy(std::slice::from_ref(&file), &target).is_err());
        assert!(part_of(&target).join("precious").exists());
    }

    #[test]
    fn the_copy_gets_its_name_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("dn1");
        fs::create_dir(&data).unwrap();
        let files: Vec<_> = (0..2).map(|number| data.join(format!("{number:024X}"))).collect();
        for file in &files {
            fs::write(file, "x").unwrap();
        }
        let target = folder(&data, Some(Lsn::new(0x5000_A858)), Lsn::new(0x6000_0000)).unwrap();
        assert!(target.ends_with("dn1_log_0-5000A858_0-60000000"), "{}", target.display());
        assert!(!holds_all(&target, &files));
        // What a killed copy left is begun anew.
        let half = format!("{:024X}", 7);
        fs::create_dir(part_of(&target)).unwrap();
        fs::write(part_of(&target).join(&half), "half").unwrap();
        copy(&files, &target).unwrap();
        assert!(holds_all(&target, &files) && !target.join(half).exists() && !part_of(&target).exists());
        fs::write(target.join(files[0].file_name().unwrap()), "").unwrap();
        assert!(!holds_all(&target, &files), "a file that was cut is not whole");
        assert!(folder(&data, None, Lsn::new(1)).unwrap().ends_with("dn1_log_begin_0-1"));
    }
}
