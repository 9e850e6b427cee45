//! Unpacks a package into a folder that nothing leads out of.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use og_common::files;
use og_common::protocol::{Bytes, Error, Reason};
use sha2::{Digest, Sha256};

use crate::archive::{Item, Kind, each_item};

/// Program files are less than a twentieth of it; a package that goes on for ever fills no disk.
const MAX_BYTES: u64 = 16 << 30;
/// Nor does it make folders for ever.
const MAX_ITEMS: usize = 200_000;
/// The part of the free space that stays free: the disk may be the database's, too.
const RESERVED_PART: u64 = 10;
/// Copied at once.
const BUFFER_BYTES: usize = 1 << 20;
/// What a server cannot be without.
pub(crate) const PROGRAMS: [&str; 3] = ["bin/gaussdb", "bin/gs_initdb", "bin/gs_ctl"];

/// What a path in the folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    Folder,
    File,
    Link,
}

/// Unpacks the package into `root`, a folder that is empty and that only this user can change; returns what was made, each
/// before what lies in it. `read` counts the bytes of the package.
///
/// # Errors
/// `refused` for a package that would write elsewhere, or is none of openGauss's server; `corrupt`; `io`.
pub(crate) fn unpack(
    package: &Path,
    file: File,
    root: &Path,
    read: Arc<AtomicU64>,
    sha256: &str,
) -> Result<BTreeMap<PathBuf, Made>, Error> {
    let mut input = BufReader::with_capacity(BUFFER_BYTES, Counted { file, read, hash: Sha256::new() });
    let mut unpacker = Unpacker {
        package,
        root,
        made: BTreeMap::new(),
        links: Vec::new(),
        bytes: 0,
        buffer: vec![0; BUFFER_BYTES],
        reserve: files::free_space(root)?.as_u64() / RESERVED_PART,
    };
    each_item(package, &mut input, &mut |item| unpacker.take(item))?;
    std::io::copy(&mut input, &mut std::io::sink()).map_err(|e| Error::io("read", package, &e))?;
    // It may have been written to since its hash was made.
    if files::hexadecimal(&input.into_inner().hash.finalize()) != sha256 {
        return Err(crate::archive::corrupt(package, "it was changed while it was unpacked"));
    }
    unpacker.make_links()?;
    unpacker.check_programs()?;
    Ok(unpacker.made)
}

/// Writes all that is in the folder to the disk: file by file, for one call for all of them waits for what others write, too.
pub(crate) fn sync(folder: &Path) -> Result<(), Error> {
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io("list", folder, &e))? {
        let entry = entry.map_err(|e| Error::io("list", folder, &e))?;
        let path = entry.path();
        let fail = |e: std::io::Error| Error::io("sync", &path, &e);
        let kind = entry.file_type().map_err(fail)?;
        if kind.is_dir() {
            sync(&path)?;
        } else if kind.is_file() {
            File::open(&path).and_then(|file| file.sync_all()).map_err(fail)?;
        }
    }
    files::sync_folder(folder)
}

/// Counts and hashes what is read.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
    hash: Sha256,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.read.fetch_add(u64::try_from(read).unwrap_or_default(), Ordering::Relaxed);
        Ok(read)
    }
}

struct Unpacker<'a> {
    package: &'a Path,
    root: &'a Path,
    made: BTreeMap<PathBuf, Made>,
    /// Made last: until then nothing in the folder leads anywhere.
    links: Vec<(PathBuf, PathBuf)>,
    bytes: u64,
    buffer: Vec<u8>,
    /// Bytes that stay free, whatever the package's size foretold.
    reserve: u64,
}

impl Unpacker<'_> {
    fn take(&mut self, item: Item<'_>) -> Result<(), Error> {
        let Some(path) = clean(&item.path) else {
            return Err(
                self.refused(&item.path, "which would lie outside of the folder that it is unpacked into")
            );
        };
        if path.starts_with(crate::present::RECORD) {
            return Err(self.refused(&path, "which has the name of og_package's own record"));
        }
        if self.made.len() + self.links.len() >= MAX_ITEMS {
            return Err(self.refused(&path, &format!("and more than {MAX_ITEMS} files and folders")));
        }
        if path.as_os_str().is_empty() {
            return if item.kind == Kind::Folder {
                Ok(())
            } else {
                Err(self.refused(&item.path, "a file without a name"))
            };
        }
        match item.kind {
            Kind::Folder => self.make_folder(&path),
            Kind::File => self.write_file(&path, item.mode, item.content),
            Kind::Link(to) => {
                if lexical_target(&path, &to).is_none() {
                    return Err(
                        self.refused(&path, &format!("a link to {}, which leads out of it", to.display()))
                    );
                }
                self.make_parent(&path)?;
                self.links.push((path, to));
                Ok(())
            }
            Kind::SecondName(to) => {
                let known = clean(&to).filter(|to| self.made.get(to) == Some(&Made::File));
                let Some(known) = known else {
                    let what = format!("a second name of {}, which is no file before it", to.display());
                    return Err(self.refused(&path, &what));
                };
                self.make_parent(&path)?;
                let place = self.root.join(&path);
                std::fs::hard_link(self.root.join(known), &place).map_err(|e| self.failed(&path, &e))?;
                self.made.insert(path, Made::File);
                Ok(())
            }
            Kind::Other(what) => Err(self.refused(&path, what)),
        }
    }

    fn refused(&self, path: &Path, what: &str) -> Error {
        let detail = format!("{} holds {}, {what}", self.package.display(), path.display());
        Error::refused(detail)
            .with_path(self.package.display())
            .hint("unpack nothing of it; get the package from openGauss again")
    }

    /// What an archive makes twice is no package of openGauss's.
    fn failed(&self, path: &Path, e: &std::io::Error) -> Error {
        match e.kind() {
            std::io::ErrorKind::AlreadyExists | std::io::ErrorKind::NotADirectory => {
                self.refused(path, "which is in it twice")
            }
            _ => Error::io("write", &self.root.join(path), e),
        }
    }

    fn make_parent(&mut self, path: &Path) -> Result<(), Error> {
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => self.make_folder(parent),
            _ => Ok(()),
        }
    }

    fn make_folder(&mut self, path: &Path) -> Result<(), Error> {
        match self.made.get(path) {
            Some(Made::Folder) => return Ok(()),
            Some(_) => return Err(self.refused(path, "which is in it twice")),
            None => self.make_parent(path)?,
        }
        let made = std::fs::DirBuilder::new().mode(0o755).create(self.root.join(path));
        made.map_err(|e| self.failed(path, &e))?;
        self.made.insert(path.to_owned(), Made::Folder);
        Ok(())
    }

    fn write_file(&mut self, path: &Path, mode: u32, content: &mut dyn Read) -> Result<(), Error> {
        self.make_parent(path)?;
        let place = self.root.join(path);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&place);
        let mut file = file.map_err(|e| self.failed(path, &e))?;
        loop {
            let read = match content.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(crate::archive::corrupt(self.package, e)),
            };
            self.bytes += u64::try_from(read).unwrap_or_default();
            if self.bytes > MAX_BYTES {
                return Err(self.refused(path, &format!("and more than {} in all", Bytes::new(MAX_BYTES))));
            }
            let needed = self.reserve.saturating_add(u64::try_from(read).unwrap_or_default());
            if files::free_space(self.root)?.as_u64() < needed {
                let detail = format!(
                    "{} does not find the room that its size foretells: less than {} would be free for {}",
                    self.package.display(),
                    Bytes::new(self.reserve),
                    self.root.display()
                );
                return Err(Error::refused(detail)
                    .reason(Reason::DiskFull)
                    .with_path(self.root.display())
                    .hint("make room there, or give a link on another file system"));
            }
            file.write_all(&self.buffer[..read]).map_err(|e| Error::io("write", &place, &e))?;
        }
        // No bit that lets it run as its owner, and none that lets others write.
        file.set_permissions(Permissions::from_mode((mode & 0o755) | 0o600))
            .map_err(|e| Error::io("write", &place, &e))?;
        self.made.insert(path.to_owned(), Made::File);
        Ok(())
    }

    /// Makes the links, and finds out from the system itself where they lead: one may lead through another.
    fn make_links(&mut self) -> Result<(), Error> {
        let root = std::fs::canonicalize(self.root).map_err(|e| Error::io("inspect", self.root, &e))?;
        for (path, to) in std::mem::take(&mut self.links) {
            symlink(&to, self.root.join(&path)).map_err(|e| self.failed(&path, &e))?;
            self.made.insert(path, Made::Link);
        }
        let links = self.made.iter().filter(|(_, made)| **made == Made::Link);
        for (path, _) in links {
            let place = self.root.join(path);
            let to = std::fs::read_link(&place).map_err(|e| Error::io("inspect", &place, &e))?;
            let leads_nowhere_else = match std::fs::canonicalize(&place) {
                Ok(real) => real.starts_with(&root),
                // Without `..` it could only lead to what is in the folder.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    !to.components().any(|part| part == Component::ParentDir)
                }
                Err(_) => false,
            };
            if !leads_nowhere_else {
                return Err(self.refused(path, &format!("a link to {}, which leads out of it", to.display())));
            }
        }
        Ok(())
    }

    fn check_programs(&self) -> Result<(), Error> {
        let is_program = |name: &&str| {
            std::fs::metadata(self.root.join(name))
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o100 != 0)
        };
        let missing: Vec<&str> = PROGRAMS.into_iter().filter(|name| !is_program(name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let detail = format!(
            "{} is no package of openGauss's server: it has no {}",
            self.package.display(),
            missing.join(", ")
        );
        Err(Error::refused(detail)
            .with_path(self.package.display())
            .hint("give the package of the server, such as openGauss-Server-6.0.2-….tar.bz2, or that of the whole release"))
    }
}

/// The path without `.`; none where it is absolute or leads upwards.
pub(crate) fn clean(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(out)
}

/// Where a link leads by its text alone, within the root; none where that is outside.
fn lexical_target(link: &Path, to: &Path) -> Option<PathBuf> {
    if to.as_os_str().is_empty() {
        return None;
    }
    let mut out = link.parent().unwrap_or(Path::new("")).to_owned();
    for part in to.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::CurDir => {}
            Component::ParentDir if out.pop() => {}
            _ => return None,
        }
    }
    Some(out)
}
