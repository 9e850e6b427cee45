//! Replaces a file whole or not at all.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use crate::base::clock;
use crate::base::{Error, ErrorKind};

/// Replaces the file with `content`, whole or not at all, and returns where the old one went if `backup`.
///
/// Writes a temporary file beside the target (a symbolic link is followed), gives it the owner, group, mode, ACL and
/// extended attributes of the old file (mode 0600 for a new file), syncs it, renames it, and syncs the folder.
/// The temporary file has one fixed name, so that what a killed call left is taken over by the next: callers hold the
/// file's [`super::FileLock`].
///
/// # Errors
/// `permission` or `io`; the file is then as it was, unless `actions` of the error says that it was replaced.
pub fn replace(path: &Path, content: &[u8], backup: bool) -> Result<Option<PathBuf>, Error> {
    exchange(path, Expected::Any, content, backup)
}

/// Writes a file that does not exist yet, whole or not at all, with mode 0600.
///
/// # Errors
/// `permission` or `io`; `busy` when somebody else made the file meanwhile.
pub fn create(path: &Path, content: &[u8]) -> Result<(), Error> {
    exchange(path, Expected::Missing, content, false).map(drop)
}

/// Removes the file, if it still holds what was `read` of it, and syncs the folder.
///
/// # Errors
/// `permission` or `io`; `busy` when the file holds something else, or is gone.
pub fn remove_read(path: &Path, read: &[u8]) -> Result<(), Error> {
    let target = resolve(path)?;
    check_unchanged(&target, read)?;
    std::fs::remove_file(&target).map_err(|e| Error::io("remove", &target, &e))?;
    sync_folder(target.parent().unwrap_or(Path::new("/")))
}

/// Makes sure that what was made, renamed or removed in the folder is so after a loss of power, too.
///
/// # Errors
/// `permission` or `io`, naming the folder.
pub fn sync_folder(folder: &Path) -> Result<(), Error> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| Error::io("sync", folder, &e))
}

/// [`replace`], if the file still holds what was `read` of it. Whoever edits the file without asking for its lock (an
/// editor, a script, a build) is so noticed, and nothing of theirs is lost.
///
/// # Errors
/// As [`replace`]; `busy` when the file holds something else, or is gone.
pub fn replace_read(
    path: &Path,
    read: &[u8],
    content: &[u8],
    backup: bool,
) -> Result<Option<PathBuf>, Error> {
    exchange(path, Expected::Content(read), content, backup)
}

/// What the caller knows of the file.
#[derive(Clone, Copy)]
enum Expected<'a> {
    Any,
    Missing,
    Content(&'a [u8]),
}

fn exchange(
    path: &Path,
    expected: Expected<'_>,
    content: &[u8],
    backup: bool,
) -> Result<Option<PathBuf>, Error> {
    let target = resolve(path)?;
    let old = match std::fs::metadata(&target) {
        Ok(meta) if meta.is_file() => Some(meta),
        Ok(_) => {
            return Err(Error::new(ErrorKind::Io, format!("{} is not a regular file", target.display()))
                .with_path(target.display()));
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(Error::io("inspect", &target, &e)),
    };
    let (folder, temporary) = create_temporary(&target)?;
    let written = write_like(&temporary, content, &target, old.as_ref())
        // As late as can be: what comes between this and the renaming are a few system calls.
        .and_then(|()| match expected {
            Expected::Content(read) => check_unchanged(&target, read),
            Expected::Any | Expected::Missing => Ok(()),
        })
        .and_then(|()| keep_backup(&target, old.is_some() && backup))
        .and_then(|kept| {
            match expected {
                Expected::Missing => name_new(&temporary, &target)?,
                _ => {
                    std::fs::rename(&temporary, &target).map_err(|e| Error::io("replace", &target, &e))?;
                }
            }
            Ok(kept)
        });
    // Whoever took the file away may have done so at any of these steps.
    let written = written.map_err(|e| match expected {
        Expected::Content(read) if e.kind() == ErrorKind::NotFound => {
            check_unchanged(&target, read).err().unwrap_or(e)
        }
        _ => e,
    });
    if written.is_err() {
        // The old file stands; a temporary file that cannot be removed either is taken over by the next call.
        drop(std::fs::remove_file(&temporary));
    }
    let kept = written?;
    sync_folder(&folder).map_err(|e| {
        e.hint("the new file is in place, but a power failure may bring the old one back; check the disk")
            .with_actions(vec![format!("replaced {}", target.display())])
    })?;
    Ok(kept)
}

/// Gives the temporary file the name of a file that must not exist; in one step where the file system can, so that a call that is
/// killed leaves no second name.
fn name_new(temporary: &Path, target: &Path) -> Result<(), Error> {
    let named = TempPath::try_from_path(temporary).and_then(|own| Ok(own.persist_noclobber(target)?));
    named.map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => changed_error(target, "was made by somebody else"),
        _ => Error::io("create", target, &e),
    })
}

/// The file that `path` means: a symbolic link's target, also when that does not exist yet.
fn resolve(path: &Path) -> Result<PathBuf, Error> {
    match std::fs::canonicalize(path) {
        Ok(target) => Ok(target),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let name = path
                .file_name()
                .ok_or_else(|| Error::bad_args(format!("{} names no file", path.display())))?;
            if path.is_symlink() {
                let link = std::fs::read_link(path).map_err(|e| Error::io("read link", path, &e))?;
                let parent = path.parent().unwrap_or(Path::new("/"));
                return Err(Error::not_found(format!(
                    "{} is a symbolic link to {}, which does not exist",
                    path.display(),
                    parent.join(link).display()
                ))
                .with_path(path.display()));
            }
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Ok(std::fs::canonicalize(folder).map_err(|e| Error::io("open", folder, &e))?.join(name))
        }
        Err(e) => Err(Error::io("open", path, &e)),
    }
}

/// That the file still holds what was read of it.
fn check_unchanged(target: &Path, read: &[u8]) -> Result<(), Error> {
    let what = match super::read(target) {
        Ok(now) if now == read => return Ok(()),
        Ok(_) => "was changed by somebody else",
        Err(e) if e.kind() == ErrorKind::NotFound => "was taken away",
        Err(e) => return Err(e),
    };
    Err(changed_error(target, what))
}

fn changed_error(target: &Path, what: &str) -> Error {
    Error::new(
        ErrorKind::Busy,
        format!("{} {what} while this call was at work; it is left as it is", target.display()),
    )
    .with_path(target.display())
    .hint("call again; who edits it beside these programs and gs_guc should take their lock, or wait")
}

/// The folder of `target`, and the temporary file in it.
fn create_temporary(target: &Path) -> Result<(PathBuf, PathBuf), Error> {
    let (Some(folder), Some(name)) = (target.parent(), target.file_name()) else {
        return Err(Error::bad_args(format!("{} names no file", target.display())));
    };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".og_tmp");
    Ok((folder.to_path_buf(), folder.join(hidden)))
}

/// Writes and syncs `temporary` with everything that `old`, the metadata of `target`, has but its content.
fn write_like(temporary: &Path, content: &[u8], target: &Path, old: Option<&Metadata>) -> Result<(), Error> {
    let fail = |what: &'static str| move |e: std::io::Error| Error::io(what, temporary, &e);
    match std::fs::remove_file(temporary) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(fail("remove")(e)),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temporary)
        .map_err(fail("create"))?;
    file.write_all(content).map_err(fail("write"))?;
    if let Some(old) = old {
        let made = file.metadata().map_err(fail("inspect"))?;
        if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
            fchown(&file, Some(old.uid()), Some(old.gid())).map_err(|e| {
                Error::io("keep owner and group of", target, &e)
                    .hint(format!("run it as the owner, uid {}, or as root", old.uid()))
            })?;
        }
        file.set_permissions(Permissions::from_mode(old.mode() & 0o7777)).map_err(fail("set mode of"))?;
        copy_attributes(target, temporary)?;
    }
    file.sync_all().map_err(fail("sync"))?;
    tracing::debug!("{}: {} bytes written for {}", temporary.display(), content.len(), target.display());
    Ok(())
}

/// Gives `to` the extended attributes of `from`: ACL, SELinux label, user attributes.
fn copy_attributes(from: &Path, to: &Path) -> Result<(), Error> {
    let names = match xattr::list(from) {
        Ok(names) => names,
        Err(e) if e.kind() == std::io::ErrorKind::Unsupported => return Ok(()),
        Err(e) => return Err(Error::io("read attributes of", from, &e)),
    };
    for name in names {
        let read =
            |path: &Path| xattr::get(path, &name).map_err(|e| Error::io("read attributes of", path, &e));
        let value = read(from)?;
        if value == read(to)? {
            continue; // a security label is given by the system, and setting it again may not be allowed
        }
        if let Some(value) = value {
            xattr::set(to, &name, &value).map_err(|e| {
                Error::io(&format!("keep the attribute {} of", name.to_string_lossy()), from, &e)
            })?;
        }
    }
    Ok(())
}

/// Gives the old file a second name, so that it stays, as it is, when the first name is given to the new file.
fn keep_backup(target: &Path, wanted: bool) -> Result<Option<PathBuf>, Error> {
    if !wanted {
        return Ok(None);
    }
    let stamp = clock::rfc3339(clock::now()).replace([':', '-'], "");
    for n in 0..100 {
        let mut name = target.as_os_str().to_owned();
        name.push(if n == 0 { format!(".{stamp}.bak") } else { format!(".{stamp}.{n}.bak") });
        let name = PathBuf::from(name);
        match std::fs::hard_link(target, &name) {
            Ok(()) => return Ok(Some(name)),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Error::io("keep a backup of", target, &e)),
        }
    }
    Err(Error::new(ErrorKind::Io, format!("a hundred backups of {} were made this second", target.display())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn keeps_mode_and_attributes_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pg_hba.conf");
        std::fs::write(&file, "old").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        let attributes = xattr::set(&file, "user.note", b"kept").is_ok();
        assert_eq!(replace(&file, b"new", false).unwrap(), None);
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
        if attributes {
            assert_eq!(xattr::get(&file, "user.note").unwrap().unwrap(), b"kept");
        }
        assert_eq!(names(folder.path()), ["pg_hba.conf"]);
    }

    #[test]
    fn a_new_file_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new");
        replace(&file, b"x", true).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(names(folder.path()), ["new"]);
    }

    #[test]
    fn a_symbolic_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let real = elsewhere.path().join("real.conf");
        let link = folder.path().join("postgresql.conf");
        std::fs::write(&real, "old").unwrap();
        symlink(&real, &link).unwrap();
        replace(&link, b"new", false).unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&real).unwrap(), b"new");
    }

    #[test]
    fn a_dangling_link_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("postgresql.conf");
        symlink("/nonexistent/x", &link).unwrap();
        let error = replace(&link, b"new", false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(link.is_symlink());
    }

    #[test]
    fn the_backup_is_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        std::fs::write(&file, "1").unwrap();
        let first = replace(&file, b"2", true).unwrap().unwrap();
        let second = replace(&file, b"3", true).unwrap().unwrap();
        assert_ne!(first, second);
        assert_eq!(std::fs::read(first).unwrap(), b"1");
        assert_eq!(std::fs::read(second).unwrap(), b"2");
    }

    #[test]
    fn what_somebody_else_wrote_meanwhile_is_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        std::fs::write(&file, "theirs").unwrap();
        let error = replace_read(&file, b"old", b"new", true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.to_string().contains("changed by somebody else"), "{error}");
        assert_eq!(std::fs::read(&file).unwrap(), b"theirs");
        assert_eq!(names(folder.path()), ["f"]);
        replace_read(&file, b"theirs", b"new", false).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        std::fs::remove_file(&file).unwrap();
        assert!(replace_read(&file, b"new", b"newer", false).unwrap_err().to_string().contains("taken away"));
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn a_file_is_created_only_where_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        create(&file, b"new").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        let error = create(&file, b"newer").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.to_string().contains("made by somebody else"), "{error}");
        assert_eq!(names(folder.path()), ["f"]);
        assert_eq!(remove_read(&file, b"other").unwrap_err().kind(), ErrorKind::Busy);
        remove_read(&file, b"new").unwrap();
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn what_a_killed_call_left_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        std::fs::write(&file, "old").unwrap();
        std::fs::write(folder.path().join(".f.og_tmp"), "half").unwrap();
        replace(&file, b"new", false).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["f"]);
    }
}
