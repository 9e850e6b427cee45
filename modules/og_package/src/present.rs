//! What is there: program files that were unpacked here, the link to them, the file for a shell.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use og_common::files::{self, OwnFolder};
use og_common::protocol::{Bytes, Error, ErrorKind};
use serde::{Deserialize, Serialize};

use crate::HASH_DIGITS;
use crate::args::Installed;
use crate::unpack::{Made, clean};

/// The file in a folder of program files that says what was unpacked there.
pub(crate) const RECORD: &str = ".og_package.json";
/// What the name of a folder begins with in which a package is being unpacked, before digits of the package's hash.
pub(crate) const UNFINISHED: &str = ".og_package-";
/// What the name of a folder of program files begins with, before the version and digits of the package's hash.
const HOME: &str = "openGauss-";
/// The name of a link that is being made.
pub(crate) const UNFINISHED_LINK: &str = ".og_package-link";
/// What stands in the file for a shell before the path of the link.
const ENV_HEAD: &[u8] = b"# Written by og_package; sets where openGauss's programs are.\nexport GAUSSHOME=";
/// What stands in it behind the path.
const ENV_TAIL: &[u8] = b"\nexport PATH=\"$GAUSSHOME/bin:$PATH\"\nexport LD_LIBRARY_PATH=\"$GAUSSHOME/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}\"\n";
/// How a quote is written between quotes.
const QUOTE: &[u8] = b"'\\''";

/// What was unpacked into a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// SHA-256 of the package.
    pub sha256: String,
    /// The version.
    pub version: Option<String>,
    /// Folders, each before those in it.
    pub folders: Vec<PathBuf>,
    /// Files and links.
    pub files: Vec<PathBuf>,
    /// Their removal has begun, so some of them may be gone.
    #[serde(default)]
    pub removing: bool,
}

impl Record {
    pub(crate) fn new(sha256: &str, version: Option<String>, made: &BTreeMap<PathBuf, Made>) -> Self {
        let paths = |folders: bool| {
            let wanted = made.iter().filter(|(_, made)| (**made == Made::Folder) == folders);
            wanted.map(|(path, _)| path.clone()).collect()
        };
        Self {
            sha256: sha256.to_owned(),
            version,
            folders: paths(true),
            files: paths(false),
            removing: false,
        }
    }

    /// The record as its file has it.
    ///
    /// # Errors
    /// `internal`.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(|e| Error::new(ErrorKind::Internal, e.to_string()))
    }

    /// Reads the record of a folder; none where it has none that this user wrote, or is no folder.
    ///
    /// # Errors
    /// `permission` or `io`; `corrupt` for a file of this user's that is no record.
    fn read(folder: &Path) -> Result<Option<Self>, Error> {
        let is_own = match std::fs::symlink_metadata(folder) {
            Ok(meta) => meta.is_dir() && meta.uid() == nix::unistd::geteuid().as_raw(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => false,
            Err(e) => return Err(Error::io("inspect", folder, &e)),
        };
        if !is_own {
            return Ok(None);
        }
        // What others can write is foreign.
        let opened = OwnFolder::open(folder).and_then(|own| own.open_file(OsStr::new(RECORD)));
        let mut file = match opened {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(None),
            Err(e) if matches!(e.kind(), ErrorKind::Refused | ErrorKind::NotFound) => return Ok(None),
            Err(e) => return Err(e),
        };
        let path = folder.join(RECORD);
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(|e| Error::io("read", &path, &e))?;
        let corrupt = |why: String| {
            Error::corrupt(format!("{} is no record of og_package: {why}", path.display()))
                .with_path(path.display())
                .hint(format!("move {} aside", folder.display()))
        };
        let record: Self = serde_json::from_slice(&text).map_err(|e| corrupt(e.to_string()))?;
        let mut paths = record.folders.iter().chain(&record.files);
        match paths.find(|path| clean(path).is_none_or(|own| own != **path)) {
            Some(wrong) => Err(corrupt(format!("it names {}", wrong.display()))),
            None => Ok(Some(record)),
        }
    }
}

/// What has the link's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Missing,
    /// A symbolic link to this absolute path.
    To(PathBuf),
    /// No link.
    Other,
}

/// What has the name of the file for a shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EnvFile {
    Missing,
    /// It says what it should.
    Good,
    /// og_package wrote it for a link of another path, and nobody changed it since.
    Old,
    /// Somebody else wrote or changed it.
    Foreign,
}

/// What is there.
#[derive(Clone, Debug)]
pub(crate) struct Present {
    /// The link.
    pub path: PathBuf,
    /// The folder that it lies in.
    pub base: PathBuf,
    /// Folders of the way to it that are still to be made.
    pub missing: Vec<OsString>,
    pub link: Link,
    pub env_file: EnvFile,
    /// What is unpacked.
    pub installed: Vec<(Installed, Record)>,
    /// What is left of program files whose removal has begun.
    pub rests: Vec<(Installed, Record)>,
    /// Links beside the link, and the folder that each leads to.
    pub other_links: Vec<(PathBuf, PathBuf)>,
    /// What killed runs left that were unpacking.
    pub unfinished: Vec<PathBuf>,
    /// The empty folders that killed removals left of program files.
    pub empty: Vec<PathBuf>,
    pub free: Bytes,
}

impl Present {
    /// Reads what is installed beside the link.
    ///
    /// # Errors
    /// `refused` where others could change the folder; `bad_args` for a path that can be no link; `corrupt`, `permission` or `io`
    /// for what cannot be read.
    pub(crate) fn read(link: &Path) -> Result<Self, Error> {
        let (Some(base), Some(_)) = (link.parent(), link.file_name()) else {
            return Err(
                Error::bad_args(format!("link {} is no path of a link", link.display())).with_path("/link")
            );
        };
        let (folder, missing) = OwnFolder::reach(base)?;
        let mut present = Self {
            path: base.join(link.file_name().unwrap_or_default()),
            base: base.to_owned(),
            missing,
            link: Link::Missing,
            env_file: EnvFile::Missing,
            installed: Vec::new(),
            rests: Vec::new(),
            other_links: Vec::new(),
            unfinished: Vec::new(),
            empty: Vec::new(),
            free: folder.free_space()?,
        };
        if !present.missing.is_empty() {
            return Ok(present);
        }
        present.link = read_link(link)?;
        present.env_file = read_env_file(link)?;
        let mut names = folder.names()?;
        names.sort();
        for name in names {
            let path = base.join(&name);
            if is_unfinished(&name) {
                present.unfinished.push(path);
            } else if let Some(record) = Record::read(&path)? {
                let (version, sha256) = (record.version.clone(), record.sha256.clone());
                let list = if record.removing { &mut present.rests } else { &mut present.installed };
                list.push((Installed { path, version, sha256 }, record));
            } else if is_home_name(&name) && is_empty_folder(&path) {
                present.empty.push(path);
            } else if path != present.path
                && path.is_symlink()
                && let Ok(target) = std::fs::canonicalize(&path)
            {
                present.other_links.push((path, target));
            }
        }
        Ok(present)
    }

    /// The links beside the link that lead to this folder, too.
    pub(crate) fn other_links_to(&self, home: &Path) -> impl Iterator<Item = &PathBuf> {
        self.other_links.iter().filter(move |(_, target)| target == home).map(|(link, _)| link)
    }

    /// What was unpacked from the package with this hash.
    pub(crate) fn find(&self, sha256: &str) -> Option<&(Installed, Record)> {
        self.installed.iter().find(|(installed, _)| installed.sha256 == sha256)
    }

    /// What is to be known of program files that are gone in part.
    pub(crate) fn rest_warnings(&self) -> impl Iterator<Item = String> {
        self.rests.iter().map(|(rest, _)| {
            format!(
                "only a part of a package is left in {}; state: absent with sha256 {} ends its removal",
                rest.path.display(),
                rest.sha256
            )
        })
    }

    /// What the link leads to, where that was unpacked here.
    pub(crate) fn linked(&self) -> Option<&(Installed, Record)> {
        let Link::To(target) = &self.link else { return None };
        self.installed.iter().find(|(installed, _)| installed.path == *target)
    }
}

/// Whether this is the name of what a run makes and gives another name at its end.
pub(crate) fn is_unfinished(name: &OsStr) -> bool {
    let digits = name.as_bytes().strip_prefix(UNFINISHED.as_bytes());
    name == UNFINISHED_LINK || digits.is_some_and(|digits| files::is_hexadecimal(digits, HASH_DIGITS))
}

/// The name of the folder of program files of this version, from the package with this hash.
pub(crate) fn home_name(version: Option<&str>, sha256: &str) -> String {
    let version = version.map(|version| format!("{version}-")).unwrap_or_default();
    format!("{HOME}{version}{}", &sha256[..HASH_DIGITS])
}

/// Whether a folder of program files may have this name.
fn is_home_name(name: &OsStr) -> bool {
    let rest = name.as_bytes().strip_prefix(HOME.as_bytes());
    let digits = rest.and_then(|rest| rest.rsplit(|byte| *byte == b'-').next());
    digits.is_some_and(|digits| files::is_hexadecimal(digits, HASH_DIGITS))
}

/// Whether this is a folder of this user's with nothing in it.
fn is_empty_folder(path: &Path) -> bool {
    let is_own = |meta: std::fs::Metadata| meta.is_dir() && meta.uid() == nix::unistd::geteuid().as_raw();
    std::fs::symlink_metadata(path).is_ok_and(is_own)
        && std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

fn read_link(link: &Path) -> Result<Link, Error> {
    match std::fs::read_link(link) {
        // What is relative is so to the folder of the link.
        Ok(target) => {
            let target = link.parent().unwrap_or(Path::new("/")).join(target);
            Ok(Link::To(target.components().collect()))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Link::Missing),
        Err(e) if e.kind() == std::io::ErrorKind::InvalidInput => Ok(Link::Other),
        Err(e) => Err(Error::io("inspect", link, &e)),
    }
}

/// Where the file for a shell is: beside the link.
pub(crate) fn env_path(link: &Path) -> PathBuf {
    let mut path = link.as_os_str().to_owned();
    path.push(".env");
    PathBuf::from(path)
}

/// What the file for a shell says.
pub(crate) fn env_text(link: &Path) -> Vec<u8> {
    let mut text = ENV_HEAD.to_vec();
    text.push(b'\'');
    for byte in link.as_os_str().as_bytes() {
        if *byte == b'\'' { text.extend(QUOTE) } else { text.push(*byte) }
    }
    text.push(b'\'');
    text.extend(ENV_TAIL);
    text
}

/// The link that the file for a shell was written for; none for a text that is not as og_package writes it.
fn link_of_env(text: &[u8]) -> Option<PathBuf> {
    let mut quoted = text.strip_prefix(ENV_HEAD)?.strip_suffix(ENV_TAIL)?.strip_prefix(b"'")?;
    let mut link = Vec::new();
    while let Some((byte, rest)) = quoted.split_first().filter(|_| quoted != b"'") {
        quoted = quoted.strip_prefix(QUOTE).unwrap_or(rest);
        link.push(*byte);
    }
    let link = PathBuf::from(OsString::from_vec(link));
    (env_text(&link) == text).then_some(link)
}

fn read_env_file(link: &Path) -> Result<EnvFile, Error> {
    let path = env_path(link);
    match std::fs::symlink_metadata(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(EnvFile::Missing),
        Err(e) => return Err(Error::io("inspect", &path, &e)),
        Ok(meta) if !meta.is_file() => return Ok(EnvFile::Foreign),
        Ok(_) => {}
    }
    Ok(match link_of_env(&files::read(&path)?) {
        Some(own) if own == *link => EnvFile::Good,
        Some(_) => EnvFile::Old,
        None => EnvFile::Foreign,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_for_a_shell_is_known_by_all_of_its_text() {
        for path in ["/gauss/app/current", "/it's/'", "/", "''"] {
            let text = env_text(Path::new(path));
            assert_eq!(link_of_env(&text), Some(PathBuf::from(path)));
            for changed in
                [&text[1..], &text[..text.len() - 1], &[&text[..], b"export PGPORT=5432\n"].concat()]
            {
                assert_eq!(link_of_env(changed), None, "{}", String::from_utf8_lossy(changed));
            }
        }
    }

    #[test]
    fn a_folder_of_program_files_is_known_by_its_name() {
        let hash = "0a7bd2f2".repeat(8);
        for version in [None, Some("6.0.2"), Some("7.0.0-RC1")] {
            assert!(is_home_name(OsStr::new(&home_name(version, &hash))), "{version:?}");
        }
        for name in ["openGauss-6.0.2", "openGauss-6.0.2-0A7BD2F2", "openGauss-6.0.2-0a7bd2f20", "current"] {
            assert!(!is_home_name(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn what_is_unfinished_is_known_by_all_of_its_name() {
        for (name, is_own) in [
            (".og_package-0a7bd2f2", true),
            (".og_package-link", true),
            (".og_package-0a7bd2f2.old", false),
            (".og_package-0A7BD2F2", false),
            (".og_package-links", false),
            (".og_package-backup", false),
            (".og_package-", false),
        ] {
            assert_eq!(is_unfinished(OsStr::new(name)), is_own, "{name}");
        }
    }
}
