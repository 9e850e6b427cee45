//! Files and folders as root must handle them: opened one component after the other, and never through a link that somebody
//! else may have put there.
//!
//! A folder is trusted when it and all folders above it belong to root (or to whoever runs this, which is root outside of
//! tests) and nobody else may write into them. Links are followed in trusted folders alone, and files are written in these
//! alone; elsewhere only empty folders are made, for the user who owns the folder around them.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
use nix::libc;
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fsync, linkat, unlinkat};
use og_common::files::OTHERS_WRITE;
use og_common::protocol::{Error, ErrorKind};

/// No file of ours is so large.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// More links than this lead in a circle.
const MAX_LINKS: usize = 40;
/// The bits of a mode that let others than the owner in.
const OPEN_TO_OTHERS: u32 = 0o077;
/// The mode of our files.
pub const FILE_MODE: u32 = 0o644;
/// The mode of our folders, and of those on the way to what is wanted.
pub const FOLDER_MODE: u32 = 0o755;

const FOLDER_FLAGS: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// The root of the file system, or of one made for a test.
#[derive(Clone, Debug)]
pub struct Tree {
    root: PathBuf,
}

/// An open folder.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    /// Its path below the root of the tree, without links.
    pub path: PathBuf,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permissions.
    pub mode: u32,
}

/// How far a path is there.
#[derive(Debug)]
pub struct Walk {
    /// The last folder of it that is there.
    pub folder: Folder,
    /// The names that are still to be made.
    pub missing: Vec<OsString>,
    /// The folders on the way, the last one included, into which somebody else than root may write.
    pub untrusted: Vec<Untrusted>,
}

/// A folder into which somebody else than root may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untrusted {
    /// The folder.
    pub path: PathBuf,
    /// Its owner.
    pub uid: u32,
    /// Its permissions.
    pub mode: u32,
}

impl Untrusted {
    /// Whether nobody but root and this user may write into it.
    #[must_use]
    pub fn is_only_of(&self, uid: u32) -> bool {
        self.uid == uid && self.mode & OTHERS_WRITE == 0
    }
}

/// What stands under a file's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nothing.
    Missing,
    /// A regular file.
    File {
        /// Its content.
        content: Vec<u8>,
        /// Its owner.
        uid: u32,
        /// Its permissions.
        mode: u32,
    },
    /// Something else, such as a link, a folder or a pipe.
    Other,
}

/// What the caller knows of a file that is to be written.
#[derive(Clone, Copy, Debug)]
pub enum Expected<'a> {
    /// Nothing: nobody else writes it.
    Any,
    /// There is none.
    Missing,
    /// It holds this.
    Content(&'a [u8]),
}

impl Tree {
    /// The tree below this folder; `/` outside of tests.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Returns the path of something in the tree for reading what the kernel tells, such as `/proc/meminfo`.
    #[must_use]
    pub fn path(&self, below: &str) -> PathBuf {
        self.root.join(below.trim_start_matches('/'))
    }

    /// Opens the folders of an absolute path as far as they are there.
    ///
    /// # Errors
    /// `refused` for a link in a folder into which somebody else may write; `io` for what is no folder.
    pub fn walk(&self, path: &Path) -> Result<Walk, Error> {
        let io = |e: Errno, at: &Path| Error::io("open", at, &e.into());
        let open_root = || {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let fd = nix::fcntl::open(&self.root, flags, Mode::empty()).map_err(|e| io(e, &self.root))?;
            Folder::new(fd, PathBuf::from("/"))
        };
        let mut names: VecDeque<OsString> = components(path)?.into();
        let mut above: Vec<Folder> = Vec::new();
        let mut folder = open_root()?;
        let mut links = 0;
        while let Some(name) = names.pop_front() {
            if name == ".." {
                folder = match above.pop() {
                    Some(parent) => parent,
                    None => open_root()?,
                };
                continue;
            }
            let at = folder.path.join(&name);
            match openat(&folder.fd, name.as_os_str(), FOLDER_FLAGS, Mode::empty()) {
                Ok(fd) => {
                    let next = Folder::new(fd, at)?;
                    above.push(std::mem::replace(&mut folder, next));
                }
                Err(Errno::ENOENT) => {
                    let missing: Vec<OsString> = std::iter::once(name).chain(names).collect();
                    if missing.iter().any(|name| name == "..") {
                        return Err(io(Errno::ENOENT, &at));
                    }
                    return Ok(Walk { untrusted: untrusted(&above, &folder), folder, missing });
                }
                Err(Errno::ENOTDIR | Errno::ELOOP) => {
                    let target = match readlinkat(&folder.fd, name.as_os_str()) {
                        Ok(target) => PathBuf::from(target),
                        Err(Errno::EINVAL) => return Err(io(Errno::ENOTDIR, &at)),
                        Err(e) => return Err(io(e, &at)),
                    };
                    if !untrusted(&above, &folder).is_empty() {
                        return Err(link_error(&at, &target));
                    }
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(io(Errno::ELOOP, &at));
                    }
                    if target.is_absolute() {
                        above.clear();
                        folder = open_root()?;
                    }
                    for part in target.components().rev() {
                        match part {
                            Component::Normal(part) => names.push_front(part.to_owned()),
                            Component::ParentDir => names.push_front("..".into()),
                            _ => {}
                        }
                    }
                }
                Err(e) => return Err(io(e, &at)),
            }
        }
        Ok(Walk { untrusted: untrusted(&above, &folder), folder, missing: Vec::new() })
    }

    /// Opens a folder that is there and into which nobody but root may write.
    ///
    /// # Errors
    /// As [`Tree::walk`]; `not_found` when it is not there, `refused` when somebody else may write into it or above it.
    pub fn trusted_folder(&self, path: &Path) -> Result<Folder, Error> {
        let walk = self.walk(path)?;
        if let Some(other) = walk.untrusted.first() {
            return Err(untrusted_error(other));
        }
        if walk.missing.is_empty() {
            return Ok(walk.folder);
        }
        Err(Error::not_found(format!("{} is not there", path.display())).with_path(path.display()))
    }

    /// Reads what stands under this name; a folder that is missing on the way holds nothing.
    ///
    /// # Errors
    /// As [`Tree::trusted_folder`].
    pub fn read(&self, path: &Path) -> Result<Entry, Error> {
        let (parent, name) = split(path)?;
        match self.trusted_folder(parent) {
            Ok(folder) => folder.read(name),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Entry::Missing),
            Err(e) => Err(e),
        }
    }
}

/// The folder of a path, and its name there.
///
/// # Errors
/// `bad_args` for a path that has none.
pub fn split(path: &Path) -> Result<(&Path, &OsStr), Error> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name)),
        _ => Err(Error::bad_args(format!("{} names no file", path.display()))),
    }
}

/// The names of an absolute path without `.` and `..`.
fn components(path: &Path) -> Result<Vec<OsString>, Error> {
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(name.to_owned()),
            _ => return Err(Error::bad_args(format!("{} has `..` in it", path.display()))),
        }
    }
    if path.is_absolute() {
        return Ok(names);
    }
    Err(Error::bad_args(format!("{} is no absolute path", path.display())))
}

fn untrusted(above: &[Folder], last: &Folder) -> Vec<Untrusted> {
    above
        .iter()
        .chain(std::iter::once(last))
        .filter(|folder| !is_trusted(folder.uid, folder.mode))
        .map(|folder| Untrusted { path: folder.path.clone(), uid: folder.uid, mode: folder.mode })
        .collect()
}

fn link_error(at: &Path, target: &Path) -> Error {
    Error::refused(format!(
        "{} is a symbolic link to {}, in a folder into which somebody else than root may write",
        at.display(),
        target.display()
    ))
    .with_path(at.display())
    .hint("give the path that it leads to")
}

/// The refusal to act in a folder into which somebody else may write.
#[must_use]
pub fn untrusted_error(other: &Untrusted) -> Error {
    Error::refused(format!(
        "somebody else than root may write into {} (uid {}, mode {:04o})",
        other.path.display(),
        other.uid,
        other.mode
    ))
    .with_path(other.path.display())
    .hint("give the folder to root and chmod it to 0755, or name another path")
}

impl Folder {
    fn new(fd: OwnedFd, path: PathBuf) -> Result<Self, Error> {
        let stat = fstat(&fd).map_err(|e| Error::io("inspect", &path, &e.into()))?;
        Ok(Self { uid: stat.st_uid, gid: stat.st_gid, mode: permissions(&stat), fd, path })
    }

    /// Reads what stands under this name.
    ///
    /// # Errors
    /// `permission` or `io`.
    pub fn read(&self, name: &OsStr) -> Result<Entry, Error> {
        let at = self.path.join(name);
        let fail = |e: Errno| Error::io("read", &at, &e.into());
        // Without O_NONBLOCK the opening of a pipe waits for somebody to write into it.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fd = match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(Entry::Missing),
            // A link, a socket, or a device without a driver.
            Err(Errno::ELOOP | Errno::ENXIO) => return Ok(Entry::Other),
            Err(e) => return Err(fail(e)),
        };
        let stat = fstat(&fd).map_err(fail)?;
        if !is_kind(&stat, SFlag::S_IFREG) {
            return Ok(Entry::Other);
        }
        let mut content = Vec::new();
        File::from(fd)
            .take(MAX_FILE_BYTES + 1)
            .read_to_end(&mut content)
            .map_err(|e| Error::io("read", &at, &e))?;
        if content.len() as u64 > MAX_FILE_BYTES {
            return Ok(Entry::Other);
        }
        Ok(Entry::File { content, uid: stat.st_uid, mode: permissions(&stat) })
    }

    /// Writes a file that all may read, whole or not at all. What a killed call left is taken over: callers hold the lock. That what
    /// is there is as `expected` is looked at as late as can be: an editor asks for no lock, and nothing of its user's is lost.
    ///
    /// # Errors
    /// `permission` or `io`; `busy` where something else is there. The file is then as it was.
    pub fn write(&self, name: &OsStr, content: &[u8], expected: Expected<'_>) -> Result<(), Error> {
        let at = self.path.join(name);
        let fail = |what: &'static str| {
            let at = at.clone();
            move |e: Errno| Error::io(what, &at, &e.into())
        };
        let temporary = temporary_name(name);
        match unlinkat(&self.fd, temporary.as_os_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(e) => return Err(fail("write")(e)),
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let write = || {
            let fd = openat(&self.fd, temporary.as_os_str(), flags, Mode::from_bits_truncate(0o600))
                .map_err(fail("write"))?;
            let mut file = File::from(fd);
            file.write_all(content).map_err(|e| Error::io("write", &at, &e))?;
            // Set, not asked for: the umask would take it away.
            fchmod(&file, Mode::from_bits_truncate(FILE_MODE)).map_err(fail("set the mode of"))?;
            file.sync_all().map_err(|e| Error::io("write", &at, &e))?;
            match expected {
                // Unlike a renaming this replaces nothing.
                Expected::Missing => {
                    linkat(&self.fd, temporary.as_os_str(), &self.fd, name, AtFlags::empty()).map_err(
                        |e| match e {
                            Errno::EEXIST => swapped_error(&at),
                            e => fail("write")(e),
                        },
                    )?;
                    unlinkat(&self.fd, temporary.as_os_str(), UnlinkatFlags::NoRemoveDir)
                        .map_err(fail("write"))
                }
                Expected::Content(read) if !self.holds(name, read)? => Err(changed_error(&at)),
                _ => renameat(&self.fd, temporary.as_os_str(), &self.fd, name).map_err(fail("replace")),
            }
        };
        write().inspect_err(|_| {
            // What cannot be removed either is taken over by the next call.
            let _ = unlinkat(&self.fd, temporary.as_os_str(), UnlinkatFlags::NoRemoveDir);
        })?;
        self.sync()
    }

    /// Whether a regular file of this content has this name.
    fn holds(&self, name: &OsStr, content: &[u8]) -> Result<bool, Error> {
        Ok(matches!(self.read(name)?, Entry::File { content: seen, .. } if seen == content))
    }

    /// Removes a file, which may be gone already, if it still holds what was `read` of it; tells whether it is gone.
    ///
    /// # Errors
    /// `permission` or `io`.
    pub fn remove_read(&self, name: &OsStr, read: &[u8]) -> Result<bool, Error> {
        match self.read(name)? {
            Entry::Missing => Ok(true),
            Entry::File { content, .. } if content == read => self.remove(name).map(|()| true),
            _ => Ok(false),
        }
    }

    /// Removes a file, which may be gone already.
    ///
    /// # Errors
    /// `permission` or `io`.
    pub fn remove(&self, name: &OsStr) -> Result<(), Error> {
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => self.sync(),
            Err(Errno::ENOENT) => Ok(()),
            Err(e) => Err(Error::io("remove", &self.path.join(name), &e.into())),
        }
    }

    /// Removes a folder when it is empty, and tells whether it is gone.
    ///
    /// # Errors
    /// `permission` or `io`.
    pub fn remove_folder(&self, name: &OsStr) -> Result<bool, Error> {
        match unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir) {
            Ok(()) => self.sync().map(|()| true),
            Err(Errno::ENOENT) => Ok(true),
            Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::EBUSY | Errno::ENOTDIR) => Ok(false),
            Err(e) => Err(Error::io("remove", &self.path.join(name), &e.into())),
        }
    }

    /// Makes a folder that only whoever runs this may enter.
    ///
    /// # Errors
    /// `permission` or `io`; `busy` when somebody else made it meanwhile.
    pub fn make_folder(&self, name: &OsStr) -> Result<Folder, Error> {
        let at = self.path.join(name);
        let fail = |e: Errno| Error::io("make", &at, &e.into());
        mkdirat(&self.fd, name, Mode::S_IRWXU).map_err(|e| match e {
            Errno::EEXIST => swapped_error(&at),
            e => fail(e),
        })?;
        let made = openat(&self.fd, name, FOLDER_FLAGS, Mode::empty()).map_err(fail)?;
        let made = Folder::new(made, at.clone())?;
        // Who may write into the folder around it may have put another one there.
        if made.is_unfinished(None)? { Ok(made) } else { Err(swapped_error(&at)) }
    }

    /// Whether [`is_unfinished`] holds for it.
    ///
    /// # Errors
    /// `io`.
    pub fn is_unfinished(&self, mode: Option<u32>) -> Result<bool, Error> {
        Ok(is_unfinished((self.uid, self.mode), &self.names()?, mode))
    }

    /// The names in it.
    ///
    /// # Errors
    /// `io`.
    pub fn names(&self) -> Result<Vec<OsString>, Error> {
        let fail = |e: std::io::Error| Error::io("list", &self.path, &e);
        // By its descriptor: its name may lead elsewhere by now.
        let entries = std::fs::read_dir(format!("/proc/self/fd/{}", self.fd.as_raw_fd())).map_err(fail)?;
        entries.map(|entry| entry.map(|entry| entry.file_name()).map_err(fail)).collect()
    }

    /// Gives it its owner, group and permissions.
    ///
    /// # Errors
    /// `permission` or `io`.
    pub fn finish(&self, uid: Option<u32>, gid: Option<u32>, mode: u32) -> Result<(), Error> {
        let fail = |e: Errno| Error::io("give the owner and mode to", &self.path, &e.into());
        // The mode first, and the owner last: until then nobody else may change it.
        fchmod(&self.fd, Mode::from_bits_truncate(mode)).map_err(fail)?;
        fchown(&self.fd, uid.map(Uid::from_raw), gid.map(Gid::from_raw)).map_err(fail)?;
        self.sync()
    }

    /// Makes sure that what was made, renamed or removed in it is so after a loss of power, too.
    ///
    /// # Errors
    /// `io`.
    pub fn sync(&self) -> Result<(), Error> {
        fsync(self.fd.as_fd()).map_err(|e| Error::io("sync", &self.path, &e.into()))
    }
}

/// The name under which a file is written before it gets its own.
#[must_use]
pub fn temporary_name(name: &OsStr) -> OsString {
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(".og_tmp");
    temporary
}

/// Whether a file or folder of this owner and mode is root's (or of whoever runs this) and nobody else may write it.
#[must_use]
pub fn is_trusted(uid: u32, mode: u32) -> bool {
    (uid == 0 || uid == Uid::effective().as_raw()) && mode & OTHERS_WRITE == 0
}

/// Whether a folder of this owner, mode and content is as a run that makes one leaves it when it is killed: of whoever runs this,
/// empty, and closed to all others, or with the mode that it is to get before its owner.
#[must_use]
pub fn is_unfinished<T>((uid, seen): (u32, u32), names: &[T], mode: Option<u32>) -> bool {
    let has_mode = seen & OPEN_TO_OTHERS == 0 || Some(seen) == mode;
    uid == Uid::effective().as_raw() && has_mode && names.is_empty()
}

/// The refusal to replace what was edited in between.
fn changed_error(at: &Path) -> Error {
    Error::new(
        ErrorKind::Busy,
        format!("{} was changed by somebody else while this call was at work", at.display()),
    )
    .with_path(at.display())
    .hint("find out who else changes it, and call again")
}

/// The refusal of something that appeared in between.
#[must_use]
pub fn swapped_error(at: &Path) -> Error {
    Error::new(
        ErrorKind::Busy,
        format!("{} was made by somebody else while this call was at work", at.display()),
    )
    .with_path(at.display())
    .hint("find out who else makes it, and call again")
}

fn permissions(stat: &FileStat) -> u32 {
    stat.st_mode & 0o7777
}

fn is_kind(stat: &FileStat, kind: SFlag) -> bool {
    stat.st_mode & libc::S_IFMT == kind.bits()
}
