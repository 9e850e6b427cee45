//! What is there: program files that were unpacked here, the link to them, the file for a shell.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};

use og_common::files::OwnFolder;
use og_common::protocol::{Bytes, Error};
use serde::{Deserialize, Serialize};

use crate::args::Installed;
use crate::unpack::{Made, clean};

/// The file in a folder of program files that says what was unpacked there.
pub(crate) const RECORD: &str = ".og_package.json";
/// What the names of folders begin with in which a package is being unpacked, and of links that are being made.
pub(crate) const UNFINISHED: &str = ".og_package-";
/// What is written on the first line of the file for a shell; without it the file is somebody else's.
const ENV_MARK: &str = "# Written by og_package";

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
}

impl Record {
    pub(crate) fn new(sha256: &str, version: Option<String>, made: &BTreeMap<PathBuf, Made>) -> Self {
        let paths = |folders: bool| {
            let wanted = made.iter().filter(|(_, made)| (**made == Made::Folder) == folders);
            wanted.map(|(path, _)| path.clone()).collect()
        };
        Self { sha256: sha256.to_owned(), version, folders: paths(true), files: paths(false) }
    }

    /// Reads the record of a folder; none where it has none that this user wrote.
    fn read(folder: &Path) -> Option<Self> {
        let folder = OwnFolder::open(folder).ok()?;
        let mut text = String::new();
        folder.open_file(OsStr::new(RECORD)).ok()??.read_to_string(&mut text).ok()?;
        let record: Self = serde_json::from_str(&text).ok()?;
        let mut paths = record.folders.iter().chain(&record.files);
        paths.all(|path| clean(path).is_some_and(|own| own == *path)).then_some(record)
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
    /// It is one of ours and says something else.
    Old,
    /// Somebody else's.
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
    pub installed: Vec<(Installed, Record)>,
    /// What killed runs left.
    pub unfinished: Vec<PathBuf>,
    pub free: Bytes,
}

impl Present {
    /// Reads it.
    ///
    /// # Errors
    /// `refused` where others could change the folder; `bad_args` for a path that can be no link.
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
            link: read_link(link),
            env_file: read_env_file(link),
            installed: Vec::new(),
            unfinished: Vec::new(),
            free: folder.free_space()?,
        };
        if !present.missing.is_empty() {
            return Ok(present);
        }
        let mut names = folder.names()?;
        names.sort();
        for name in names {
            let path = base.join(&name);
            if name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
                present.unfinished.push(path);
            } else if let Some(record) = Record::read(&path) {
                let (version, sha256) = (record.version.clone(), record.sha256.clone());
                present.installed.push((Installed { path, version, sha256 }, record));
            }
        }
        Ok(present)
    }

    /// What was unpacked from the package with this hash.
    pub(crate) fn find(&self, sha256: &str) -> Option<&(Installed, Record)> {
        self.installed.iter().find(|(installed, _)| installed.sha256 == sha256)
    }

    /// What the link leads to, where that was unpacked here.
    pub(crate) fn linked(&self) -> Option<&(Installed, Record)> {
        let Link::To(target) = &self.link else { return None };
        self.installed.iter().find(|(installed, _)| installed.path == *target)
    }
}

fn read_link(link: &Path) -> Link {
    match std::fs::read_link(link) {
        // What is relative is so to the folder of the link.
        Ok(target) => Link::To(link.parent().unwrap_or(Path::new("/")).join(target).components().collect()),
        Err(_) if std::fs::symlink_metadata(link).is_err() => Link::Missing,
        Err(_) => Link::Other,
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
    use std::os::unix::ffi::OsStrExt;
    let mut home = b"'".to_vec();
    for byte in link.as_os_str().as_bytes() {
        if *byte == b'\'' { home.extend(b"'\\''") } else { home.push(*byte) }
    }
    home.push(b'\'');
    let mut text =
        format!("{ENV_MARK}; sets where openGauss's programs are.\nexport GAUSSHOME=").into_bytes();
    text.extend(home);
    text.extend(
        b"\nexport PATH=\"$GAUSSHOME/bin:$PATH\"\nexport LD_LIBRARY_PATH=\"$GAUSSHOME/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}\"\n",
    );
    text
}

fn read_env_file(link: &Path) -> EnvFile {
    let path = env_path(link);
    match std::fs::symlink_metadata(&path) {
        Err(_) => EnvFile::Missing,
        Ok(meta) if !meta.is_file() => EnvFile::Foreign,
        Ok(_) => match og_common::files::read(&path) {
            Ok(text) if text == env_text(link) => EnvFile::Good,
            Ok(text) if text.starts_with(ENV_MARK.as_bytes()) => EnvFile::Old,
            _ => EnvFile::Foreign,
        },
    }
}
