//! Folders that only this user and root can change, and the files in them.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use super::lock::acquire_flock;
use crate::base::{Bytes, Call, Error};

/// Bits of a mode by which others than the owner may write.
pub const OTHERS_WRITE: u32 = 0o022;
/// The sticky bit: in such a folder only the owner of a file may remove it.
const STICKY: u32 = 0o1000;

/// A folder that only this user and root can change, by its contents or by the way to it: each folder from `/` on belongs to
/// one of the two, is no symbolic link, and no other user may write into it. Its files are reached through the open folder, so
/// that a link which appears meanwhile leads nowhere.
#[derive(Debug)]
pub struct OwnFolder {
    // Opened with O_PATH: folders on the way may be ones that can be entered and not be listed.
    fd: OwnedFd,
    path: PathBuf,
}

impl OwnFolder {
    /// Opens the folder as far as the way to it is there; returns the last folder that is, and the names that are missing
    /// behind it.
    ///
    /// # Errors
    /// `refused` where somebody else could change the way or what is in the folder; `bad_args` for a path that is not absolute
    /// or has `..` in it; `permission` or `io`.
    pub fn reach(path: &Path) -> Result<(Self, Vec<OsString>), Error> {
        let names = names_of(path)?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = nix::fcntl::open("/", flags, Mode::empty())
            .map_err(|e| Error::io("open", Path::new("/"), &e.into()))?;
        let mut folder = Self { fd: root, path: PathBuf::from("/") };
        folder.check()?;
        for (at, name) in names.iter().enumerate() {
            match folder.enter(name)? {
                Some(next) => folder = next,
                None => return Ok((folder, names[at..].to_vec())),
            }
        }
        folder.check_sticky()?;
        Ok((folder, Vec::new()))
    }

    /// Opens the folder, which must be there.
    ///
    /// # Errors
    /// As [`OwnFolder::reach`]; `not_found`.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let (folder, missing) = Self::reach(path)?;
        if missing.is_empty() {
            return Ok(folder);
        }
        Err(Error::not_found(format!("there is no folder {}", path.display())).with_path(path.display()))
    }

    /// Makes these folders, each within the one before, for this user alone to write into, and returns the last one.
    ///
    /// # Errors
    /// As [`OwnFolder::reach`].
    pub fn create(self, names: &[OsString], mode: u32) -> Result<Self, Error> {
        let mut folder = self;
        for name in names {
            let path = folder.path.join(name);
            match mkdirat(&folder.fd, name.as_os_str(), Mode::from_bits_truncate(mode)) {
                // Somebody else of this user may have made it meanwhile.
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(e) => return Err(Error::io("make", &path, &e.into())),
            }
            let entered = folder.enter(name)?;
            folder.sync()?;
            folder = entered.ok_or_else(|| {
                Error::not_found(format!("{} is gone again", path.display())).with_path(path.display())
            })?;
        }
        folder.check_sticky()?;
        Ok(folder)
    }

    /// The folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a file of this user for reading; `None` where there is none.
    ///
    /// # Errors
    /// `refused` for what is no regular file, has a second name elsewhere, or is another user's; `permission` or `io`.
    pub fn open_file(&self, name: &OsStr) -> Result<Option<File>, Error> {
        self.open_own(name, OFlag::O_RDONLY)
    }

    /// Opens a file of this user for writing and holds its lock; makes it, for this user alone, where it is missing. Waits up
    /// to `lock_timeout`.
    ///
    /// # Errors
    /// As [`OwnFolder::open_file`]; `busy`, naming the process that holds the lock.
    pub async fn lock_file(&self, name: &OsStr, call: &Call) -> Result<Flock<File>, Error> {
        let path = self.path.join(name);
        loop {
            let made = self.open_at(name, OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL);
            let file = match made {
                Ok(fd) => File::from(fd),
                Err(Errno::EEXIST) => match self.open_own(name, OFlag::O_RDWR)? {
                    Some(file) => file,
                    None => continue,
                },
                Err(e) => return Err(Error::io("make", &path, &e.into())),
            };
            let file = acquire_flock(file, &path, "is being written", call).await?;
            let own = file.metadata().map_err(|e| Error::io("inspect", &path, &e))?;
            // The holder before may have given it another name, or removed it.
            if let Some(there) = self.stat(name)?
                && (there.st_dev, there.st_ino) == (own.dev(), own.ino())
            {
                return Ok(file);
            }
        }
    }

    /// The size of a file of this user; `None` where there is none.
    ///
    /// # Errors
    /// As [`OwnFolder::open_file`].
    pub fn file_size(&self, name: &OsStr) -> Result<Option<u64>, Error> {
        let Some(file) = self.open_file(name)? else { return Ok(None) };
        let meta = file.metadata().map_err(|e| Error::io("inspect", &self.path.join(name), &e))?;
        Ok(Some(meta.len()))
    }

    /// Gives a file another name in this folder, in place of what has that, and makes sure that this is on the disk.
    ///
    /// # Errors
    /// `permission` or `io`.
    pub fn rename(&self, from: &OsStr, to: &OsStr) -> Result<(), Error> {
        renameat(&self.fd, from, &self.fd, to)
            .map_err(|e| Error::io("rename", &self.path.join(from), &e.into()))?;
        self.sync()
    }

    /// Removes a file, or a link and not what it leads to; says whether there was one.
    ///
    /// # Errors
    /// `permission` or `io`.
    pub fn remove(&self, name: &OsStr) -> Result<bool, Error> {
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => self.sync().map(|()| true),
            Err(Errno::ENOENT) => Ok(false),
            Err(e) => Err(Error::io("remove", &self.path.join(name), &e.into())),
        }
    }

    /// The names in this folder.
    ///
    /// # Errors
    /// `permission` or `io`.
    pub fn names(&self) -> Result<Vec<OsString>, Error> {
        let fail = |e: std::io::Error| Error::io("list", &self.path, &e);
        // No other user can change the way to it.
        let entries = std::fs::read_dir(&self.path).map_err(fail)?;
        entries.map(|entry| Ok(entry.map_err(fail)?.file_name())).collect()
    }

    /// What this user may still write to the folder's file system.
    ///
    /// # Errors
    /// `io`.
    pub fn free_space(&self) -> Result<Bytes, Error> {
        // No other user can change the way to it.
        super::free_space(&self.path)
    }

    /// Makes sure that what was made, renamed or removed here is so after a loss of power, too.
    ///
    /// # Errors
    /// `io`.
    pub fn sync(&self) -> Result<(), Error> {
        let folder = self.open_at(OsStr::new("."), OFlag::O_RDONLY | OFlag::O_DIRECTORY);
        let folder = folder.map_err(|e| Error::io("open", &self.path, &e.into()))?;
        File::from(folder).sync_all().map_err(|e| Error::io("sync", &self.path, &e))
    }

    /// What has this name, and no link is followed.
    fn stat(&self, name: &OsStr) -> Result<Option<FileStat>, Error> {
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(e) => Err(Error::io("inspect", &self.path.join(name), &e.into())),
        }
    }

    fn open_at(&self, name: &OsStr, flags: OFlag) -> nix::Result<OwnedFd> {
        // Without O_NONBLOCK the opening of a pipe waits for somebody at its other end.
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        openat(self.fd.as_fd(), name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
    }

    fn open_own(&self, name: &OsStr, flags: OFlag) -> Result<Option<File>, Error> {
        let path = self.path.join(name);
        let refused = |what: &str| {
            Error::refused(format!("{} {what}", path.display()))
                .with_path(path.display())
                .hint("give another path, or remove by hand what is there")
        };
        let file = match self.open_at(name, flags) {
            Ok(fd) => File::from(fd),
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP) => return Err(refused("is a symbolic link")),
            Err(Errno::EISDIR | Errno::ENXIO) => return Err(refused("is not a regular file")),
            Err(e) => return Err(Error::io("open", &path, &e.into())),
        };
        let meta = file.metadata().map_err(|e| Error::io("inspect", &path, &e))?;
        if !meta.is_file() {
            return Err(refused("is not a regular file"));
        }
        if meta.uid() != geteuid().as_raw() {
            return Err(refused(&format!("belongs to uid {}", meta.uid())));
        }
        if meta.nlink() > 1 {
            return Err(refused("has a second name elsewhere (a hard link)"));
        }
        Ok(Some(file))
    }

    /// The folder of this name within it; `None` where there is none.
    fn enter(&self, name: &OsStr) -> Result<Option<Self>, Error> {
        let path = self.path.join(name);
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = match openat(self.fd.as_fd(), name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(None),
            Err(e @ (Errno::ENOTDIR | Errno::ELOOP)) => {
                let is_link = self
                    .stat(name)?
                    .is_some_and(|stat| stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFLNK.bits());
                if !is_link {
                    return Err(Error::io("open", &path, &e.into()));
                }
                let real = std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
                return Err(Error::refused(format!("{} is a symbolic link", path.display()))
                    .with_path(path.display())
                    .hint(format!("give the path without links, here {}", real.display())));
            }
            Err(e) => return Err(Error::io("open", &path, &e.into())),
        };
        let folder = Self { fd, path };
        folder.check()?;
        Ok(Some(folder))
    }

    /// Refuses a folder that others can change.
    fn check(&self) -> Result<(), Error> {
        let stat = self.own_stat()?;
        let path = self.path.display();
        let me = geteuid().as_raw();
        if stat.st_uid != 0 && stat.st_uid != me {
            let owner = nix::unistd::User::from_uid(stat.st_uid.into()).ok().flatten();
            let owner = owner.map_or_else(|| format!("uid {}", stat.st_uid), |user| user.name);
            return Err(Error::refused(format!(
                "the folder {path} belongs to {owner}, and this runs as uid {me}"
            ))
            .with_path(&path)
            .hint(format!(
                "run it as {owner} (os_user), or give a path below folders of its user or of root"
            )));
        }
        if stat.st_mode & OTHERS_WRITE != 0 && stat.st_mode & STICKY == 0 {
            return Err(self.writable_error(stat.st_mode));
        }
        Ok(())
    }

    /// Refuses a folder for everybody, such as /tmp, which may well be on the way to one.
    fn check_sticky(&self) -> Result<(), Error> {
        let stat = self.own_stat()?;
        if stat.st_mode & OTHERS_WRITE == 0 { Ok(()) } else { Err(self.writable_error(stat.st_mode)) }
    }

    fn own_stat(&self) -> Result<FileStat, Error> {
        fstat(&self.fd).map_err(|e| Error::io("inspect", &self.path, &e.into()))
    }

    fn writable_error(&self, mode: u32) -> Error {
        let path = self.path.display();
        Error::refused(format!("others may write into the folder {path} (its mode is {:o})", mode & 0o7777))
            .with_path(&path)
            .hint(format!("chmod go-w {path}, or give a path in another folder"))
    }
}

/// The names of the folders on an absolute path.
fn names_of(path: &Path) -> Result<Vec<OsString>, Error> {
    let wrong = || {
        Error::bad_args(format!("{} is no absolute path without ..", path.display()))
            .with_path(path.display())
    };
    if !path.is_absolute() {
        return Err(wrong());
    }
    path.components()
        .filter(|part| *part != Component::RootDir)
        .map(|part| match part {
            Component::Normal(name) => Ok(name.to_owned()),
            _ => Err(wrong()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::base::ErrorKind;

    fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
        result.unwrap_err().kind()
    }

    #[test]
    fn a_folder_is_reached_as_far_as_it_is_there_and_made() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, missing) = OwnFolder::reach(&dir.path().join("a/b")).unwrap();
        assert_eq!((folder.path(), missing.len()), (dir.path(), 2));
        assert!(folder.free_space().unwrap() > Bytes::ZERO);
        let made = folder.create(&missing, 0o700).unwrap();
        assert_eq!(made.path(), dir.path().join("a/b"));
        assert_eq!(fs::metadata(made.path()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(OwnFolder::reach(&dir.path().join("a/b")).unwrap().1, Vec::<OsString>::new());
        assert_eq!(kind(OwnFolder::open(&dir.path().join("a/c"))), ErrorKind::NotFound);
        for path in ["a/b", "/a/../b"] {
            assert_eq!(kind(OwnFolder::reach(Path::new(path))), ErrorKind::BadArgs, "{path}");
        }
    }

    #[test]
    fn a_way_that_others_can_change_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::create_dir_all(real.join("inner")).unwrap();
        symlink(&real, &link).unwrap();
        for path in [link.clone(), link.join("inner")] {
            let error = OwnFolder::reach(&path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(error.to_string().contains(real.to_str().unwrap()), "{error}");
        }
        let set = |mode| fs::set_permissions(&real, fs::Permissions::from_mode(mode)).unwrap();
        for (mode, last, way) in
            [(0o775, false, false), (0o757, false, false), (0o1777, false, true), (0o755, true, true)]
        {
            set(mode);
            assert_eq!(OwnFolder::reach(&real).is_ok(), last, "{mode:o}");
            assert_eq!(OwnFolder::reach(&real.join("inner")).is_ok(), way, "{mode:o}");
        }
        if !geteuid().is_root() {
            println!("skipped: only root gives a folder to somebody else");
            return;
        }
        std::os::unix::fs::chown(&real, Some(12345), None).unwrap();
        assert_eq!(kind(OwnFolder::reach(&real.join("inner"))), ErrorKind::Refused);
    }

    #[test]
    fn what_is_no_file_of_this_user_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let folder = OwnFolder::open(dir.path()).unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "text").unwrap();
        assert_eq!(folder.file_size(OsStr::new("file")).unwrap(), Some(4));
        assert!(folder.open_file(OsStr::new("none")).unwrap().is_none());
        symlink(at("file"), at("link")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        nix::unistd::mkfifo(&at("pipe"), Mode::S_IRWXU).unwrap();
        fs::hard_link(at("file"), at("second")).unwrap();
        let call = Call::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        for name in ["link", "folder", "pipe", "second", "file"] {
            let name = OsStr::new(name);
            assert_eq!(kind(folder.open_file(name)), ErrorKind::Refused, "{}", name.display());
            assert_eq!(kind(runtime.block_on(folder.lock_file(name, &call))), ErrorKind::Refused);
        }
        assert!(folder.remove(OsStr::new("link")).unwrap() && at("file").exists());
        assert!(!folder.remove(OsStr::new("link")).unwrap());
    }
}
