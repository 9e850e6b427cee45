//! The inside of a package: compressed archives, one of which may lie in another.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use og_common::protocol::Error;
use tar::EntryType;

/// The first word in the names of openGauss's packages, but for those of its upgrade scripts.
const PREFIX: &str = "opengauss";
/// The first word in the names of the packages of its upgrade scripts.
const UPGRADE: &str = "upgrade";
/// Words in the names of packages of a release that are not the server's.
const OTHERS: [&str; 9] = ["om", "cm", "libpq", "jdbc", "odbc", "symbol", "tools", "upgrade", "lite"];
/// What the packages of a release end with, and their checksums.
const SUFFIXES: [&str; 3] = [".tar.bz2", ".tar.gz", ".sha256"];

/// The headers of one entry, with its name, are at most so large.
const MAX_HEADER_BYTES: u64 = 1 << 20;

/// One thing in an archive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A folder.
    Folder,
    /// A regular file.
    File,
    /// A symbolic link to this.
    Link(PathBuf),
    /// A second name of this file, which came before.
    SecondName(PathBuf),
    /// What no package has, such as a device.
    Other(&'static str),
}

/// One thing in an archive, and its content.
pub(crate) struct Item<'a> {
    pub path: PathBuf,
    pub kind: Kind,
    pub mode: u32,
    pub content: &'a mut dyn Read,
}

/// What becomes of each of them.
pub(crate) type Take<'a> = dyn FnMut(Item<'_>) -> Result<(), Error> + 'a;

/// Gives all that the server's archive holds to `take`, in its order. `package` is named in messages.
///
/// # Errors
/// `corrupt` for what cannot be read as a package, `refused` for one whose server cannot be told; those of `take`.
pub(crate) fn each_item(package: &Path, input: &mut dyn BufRead, take: &mut Take<'_>) -> Result<(), Error> {
    Walk { package, take }.archive(input, true)
}

/// An error that says that the package cannot be read.
pub(crate) fn corrupt(package: &Path, why: impl std::fmt::Display) -> Error {
    Error::corrupt(format!("{} cannot be read as a package: {why}", package.display()))
        .with_path(package.display())
        .hint("compare its SHA-256 with the one that openGauss publishes, and get it again")
}

/// Reads what is left of an entry.
fn skip(entry: &mut impl Read) -> std::io::Result<()> {
    std::io::copy(entry, &mut std::io::sink()).map(drop)
}

/// Gives so many bytes. The names in headers are read into memory, and those of a hostile archive never end.
struct Limited<R> {
    source: R,
    allowed: Rc<Cell<u64>>,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.allowed.get() == 0 {
            return Err(std::io::Error::other("a header in it is too large"));
        }
        let most = usize::try_from(self.allowed.get()).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.source.read(&mut buffer[..most])?;
        self.allowed.set(self.allowed.get() - u64::try_from(read).unwrap_or_default());
        Ok(read)
    }
}

struct Walk<'a, 'b> {
    package: &'a Path,
    take: &'a mut Take<'b>,
}

impl Walk<'_, '_> {
    fn corrupt(&self, why: impl std::fmt::Display) -> Error {
        corrupt(self.package, why)
    }

    fn archive(&mut self, input: &mut dyn BufRead, is_outer: bool) -> Result<(), Error> {
        let allowed = Rc::new(Cell::new(MAX_HEADER_BYTES));
        let decoded = Limited { source: self.decode(input)?, allowed: allowed.clone() };
        let mut archive = tar::Archive::new(decoded);
        let (mut servers, mut files) = (Vec::new(), 0);
        for entry in archive.entries().map_err(|e| self.corrupt(e))? {
            let mut entry = entry.map_err(|e| self.corrupt(e))?;
            allowed.set(u64::MAX);
            let path = entry.path().map_err(|e| self.corrupt(e))?.into_owned();
            let kind = match entry.header().entry_type() {
                EntryType::XGlobalHeader => {
                    skip(&mut entry).map_err(|e| self.corrupt(e))?;
                    allowed.set(MAX_HEADER_BYTES);
                    continue;
                }
                EntryType::Directory => Kind::Folder,
                EntryType::Regular | EntryType::Continuous => Kind::File,
                // It may be of any size, and takes nothing in the archive.
                EntryType::GNUSparse => Kind::Other("a file with holes"),
                link @ (EntryType::Symlink | EntryType::Link) => {
                    let to = entry.link_name().map_err(|e| self.corrupt(e))?.unwrap_or_default().into_owned();
                    if link == EntryType::Symlink { Kind::Link(to) } else { Kind::SecondName(to) }
                }
                EntryType::Char | EntryType::Block => Kind::Other("a device"),
                EntryType::Fifo => Kind::Other("a pipe"),
                _ => Kind::Other("something of an unknown kind"),
            };
            let role = if is_outer && kind == Kind::File { role_of(&path) } else { OuterFileRole::Content };
            match role {
                OuterFileRole::Skipped => {}
                OuterFileRole::Server => {
                    servers.push(path.display().to_string());
                    if servers.len() == 1 {
                        self.archive(&mut BufReader::new(&mut entry), false)?;
                    }
                }
                OuterFileRole::Content => {
                    files += usize::from(kind != Kind::Folder);
                    let mode = entry.header().mode().map_err(|e| self.corrupt(e))?;
                    (self.take)(Item { path, kind, mode, content: &mut entry })?;
                }
            }
            skip(&mut entry).map_err(|e| self.corrupt(e))?;
            allowed.set(MAX_HEADER_BYTES);
        }
        allowed.set(u64::MAX);
        // Behind the last entry are the checksums of what was read.
        std::io::copy(&mut archive.into_inner(), &mut std::io::sink()).map_err(|e| self.corrupt(e))?;
        if servers.len() > 1 || (!servers.is_empty() && files > 0) {
            let detail = format!(
                "{} holds {}{}, so it cannot be told which are the server's program files",
                self.package.display(),
                servers.join(" and "),
                if files > 0 { " and other files beside it" } else { "" }
            );
            return Err(Error::refused(detail)
                .with_path(self.package.display())
                .hint("give the package of the server itself"));
        }
        Ok(())
    }

    fn decode<'r>(&self, input: &'r mut dyn BufRead) -> Result<Box<dyn Read + 'r>, Error> {
        let head = input.fill_buf().map_err(|e| self.corrupt(e))?;
        match head {
            [0x1f, 0x8b, ..] => Ok(Box::new(flate2::bufread::MultiGzDecoder::new(input))),
            [b'B', b'Z', b'h', ..] => Ok(Box::new(bzip2::bufread::MultiBzDecoder::new(input))),
            _ => Err(self.corrupt("it is compressed neither by gzip nor by bzip2")),
        }
    }
}

/// What a file in the outer archive is.
#[derive(Debug, PartialEq, Eq)]
enum OuterFileRole {
    /// The server's package in that of a release.
    Server,
    /// Another one, or a checksum.
    Skipped,
    /// A program file.
    Content,
}

fn role_of(path: &Path) -> OuterFileRole {
    let mut parts = path.components().filter(|part| *part != std::path::Component::CurDir);
    let (Some(first), None) = (parts.next(), parts.next()) else { return OuterFileRole::Content };
    let name = first.as_os_str().to_string_lossy().to_ascii_lowercase();
    let words = || name.split(['-', '_', '.']);
    let is_package = words().next().is_some_and(|first| [PREFIX, UPGRADE].contains(&first));
    if !is_package || !SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
        return OuterFileRole::Content;
    }
    let is_other = words().any(|word| OTHERS.contains(&word));
    if is_other || name.ends_with(".sha256") { OuterFileRole::Skipped } else { OuterFileRole::Server }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_known_among_the_packages_of_a_release() {
        for (name, role) in [
            ("openGauss-5.0.3-CentOS-64bit.tar.bz2", OuterFileRole::Server),
            ("./openGauss-Server-6.0.2-openEuler20.03-x86_64.tar.bz2", OuterFileRole::Server),
            ("openGauss-3.0.5-openEuler-64bit.tar.gz", OuterFileRole::Server),
            ("openGauss-5.0.3-CentOS-64bit-om.tar.gz", OuterFileRole::Skipped),
            ("openGauss-CM-6.0.2-openEuler20.03-x86_64.tar.gz", OuterFileRole::Skipped),
            ("openGauss-5.0.3-CentOS-64bit.sha256", OuterFileRole::Skipped),
            ("upgrade_sql.tar.gz", OuterFileRole::Skipped),
            ("upgrade_sql.sha256", OuterFileRole::Skipped),
            ("version.cfg", OuterFileRole::Content),
            ("openGaussian.tar.gz", OuterFileRole::Content),
            ("upgrades.tar.gz", OuterFileRole::Content),
            ("share/openGauss-x.tar.gz", OuterFileRole::Content),
        ] {
            assert_eq!(role_of(Path::new(name)), role, "{name}");
        }
    }
}
