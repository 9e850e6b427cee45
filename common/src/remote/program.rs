//! The program that is to run at a host: this one, or its sibling for another machine.

use std::path::{Path, PathBuf};

use crate::base::{Error, ErrorKind};
use crate::files;

/// A program's file and what stands for its content.
#[derive(Debug)]
pub struct Program {
    pub(super) name: String,
    pub(super) content: Vec<u8>,
    /// SHA-256 in hexadecimal, as sha256sum prints it.
    pub(super) hash: String,
    path: PathBuf,
}

impl Program {
    /// Reads the running program.
    ///
    /// # Errors
    /// Its file cannot be read.
    pub fn from_running(name: &str) -> Result<Self, Error> {
        // Its path may have been given to a newer one meanwhile; this is the one that runs.
        let own = Path::new("/proc/self/exe");
        let path = std::env::current_exe().map_err(|e| Error::io("find", own, &e))?;
        Self::read(name, own, path)
    }

    /// Reads the program of this name from its file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn from_file(name: &str, path: PathBuf) -> Result<Self, Error> {
        Self::read(name, &path.clone(), path)
    }

    fn read(name: &str, file: &Path, path: PathBuf) -> Result<Self, Error> {
        let content = std::fs::read(file).map_err(|e| Error::io("read", file, &e))?;
        let hash = files::sha256_of_bytes(&content);
        Ok(Self { name: name.to_owned(), content, hash, path })
    }

    /// The folder's name on the host.
    pub(super) fn folder(&self) -> &str {
        &self.hash[..16]
    }

    /// The program for a host that says this of itself with `uname -s` and `uname -m`; `None` when this one fits.
    pub(super) fn for_machine(&self, system: &str, machine: &str) -> Result<Option<Self>, Error> {
        let own = std::env::consts::ARCH;
        if system != "Linux" {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the host runs {system}, and this is for Linux"),
            ));
        }
        if machine == own {
            return Ok(None);
        }
        let differs = || format!("the host is {machine}, and {} is for {own}", self.path.display());
        // A name of a folder comes from the host.
        if !machine.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(Error::new(ErrorKind::Unsupported, differs()));
        }
        let folder = self.path.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
        let sibling = folder.join(machine).join(&self.name);
        if !sibling.is_file() {
            return Err(Error::new(ErrorKind::Unsupported, differs())
                .hint(format!("put the program for {machine} at {}", sibling.display())));
        }
        Self::from_file(&self.name, sibling).map(Some)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_host_of_another_machine_gets_the_sibling_or_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().join("here/og_x");
        std::fs::create_dir_all(here.parent().unwrap()).unwrap();
        std::fs::write(&here, "abc").unwrap();
        let program = Program::read("og_x", &here, here.clone()).unwrap();
        assert_eq!(program.folder(), "ba7816bf8f01cfea");
        assert!(program.for_machine("Linux", std::env::consts::ARCH).unwrap().is_none());
        let told = program.for_machine("Linux", "pdp11").unwrap_err();
        let hint = told.failure().hint.clone().unwrap();
        assert_eq!(told.kind(), ErrorKind::Unsupported);
        assert!(hint.ends_with("pdp11/og_x"), "{hint}");
        assert_eq!(program.for_machine("Linux", "../x").unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(program.for_machine("Darwin", "arm64").unwrap_err().kind(), ErrorKind::Unsupported);
        std::fs::create_dir(dir.path().join("pdp11")).unwrap();
        std::fs::write(dir.path().join("pdp11/og_x"), "other").unwrap();
        let other = program.for_machine("Linux", "pdp11").unwrap().unwrap();
        assert_eq!((other.name.as_str(), other.content.as_slice()), ("og_x", b"other".as_slice()));
    }
}
