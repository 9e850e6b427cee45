//! openGauss itself: which installations there are, and what keeps a server small.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, output};

/// What keeps a server small enough for nine of them on a small machine.
pub(super) const SMALL: &[(&str, &str)] = &[
    ("max_connections", "50"),
    ("shared_buffers", "'32MB'"),
    ("cstore_buffers", "'16MB'"),
    ("bulk_write_ring_size", "'16MB'"),
    ("max_process_memory", "'2GB'"),
    ("max_prepared_transactions", "10"),
    ("enable_alarm", "off"),
    ("audit_enabled", "off"),
    ("use_workload_manager", "off"),
    ("job_queue_processes", "2"),
    // MB; every build writes that much anew.
    ("dw_file_size", "32"),
];

/// The variable that names the installations to use, separated by colons.
const HOMES_VARIABLE: &str = "OG_LAB_GAUSSHOME";
/// Where installations are looked for when it is not set: the folders here whose names begin with [`PREFIX`].
const PARENT: &str = "/opt";
const PREFIX: &str = "openGauss";

/// An installation of openGauss. It lives as long as the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Installation {
    home: &'static Path,
    version: &'static str,
}

impl<'de> Deserialize<'de> for Installation {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Owned {
            home: PathBuf,
            version: String,
        }
        let Owned { home, version } = Owned::deserialize(deserializer)?;
        Ok(Self::new(&home, &version))
    }
}

impl Installation {
    fn new(home: &Path, version: &str) -> Self {
        Self { home: Box::leak(home.into()), version: Box::leak(version.into()) }
    }

    /// Its GAUSSHOME.
    #[must_use]
    pub fn home(self) -> &'static Path {
        self.home
    }

    /// Its version as its server prints it, such as `3.0.5` or `lite-6.0.2`; `unknown` when the server does not run.
    #[must_use]
    pub fn version(self) -> &'static str {
        self.version
    }

    /// Whether it is of a release with long-term support: those are numbered N.0.x, from 2.0 on.
    #[must_use]
    pub fn is_lts(self) -> bool {
        matches!(numbers(self.version)[..], [major, 0, ..] if major >= 2) && !self.version.contains("RC")
    }

    /// What is missing of it, in words.
    pub(super) fn missing(self) -> Vec<String> {
        let bin = self.home.join("bin");
        let lacks: Vec<_> = ["gaussdb", "gs_ctl", "gs_initdb", "gsql"]
            .into_iter()
            .filter(|program| !bin.join(program).is_file())
            .collect();
        if lacks.is_empty() {
            return Vec::new();
        }
        vec![format!("the openGauss in {} has no bin/{}", self.home.display(), lacks.join(", bin/"))]
    }

    /// What tells one build of openGauss from another.
    pub(super) fn identity(self) -> Result<String> {
        let server = self.home.join("bin/gaussdb");
        let meta = std::fs::metadata(&server).map_err(|e| Error::from_io(&server, &e))?;
        Ok(format!("{}-{}-{}", self.version, meta.size(), meta.mtime()))
    }
}

/// The installations on this machine, the oldest version first: those that `OG_LAB_GAUSSHOME` names, or the folders
/// /opt/openGauss* that hold bin/gaussdb. Of two with the same version only the first counts.
#[must_use]
pub fn installations() -> Vec<Installation> {
    let mut seen = BTreeSet::new();
    let mut found: Vec<_> = homes(std::env::var_os(HOMES_VARIABLE).as_deref(), Path::new(PARENT))
        .iter()
        .map(|home| Installation::new(home, &version(home)))
        .filter(|installation| seen.insert(installation.version))
        .collect();
    found.sort_by_key(|installation| (numbers(installation.version), installation.version));
    found
}

/// Why [`installations`] may be empty, and what to do.
#[must_use]
pub fn none_installed() -> String {
    match std::env::var_os(HOMES_VARIABLE) {
        Some(named) => {
            format!("no openGauss ({HOMES_VARIABLE}={} has no bin/gaussdb)", named.to_string_lossy())
        }
        None => {
            format!("no openGauss (no {PARENT}/{PREFIX}* has bin/gaussdb; {HOMES_VARIABLE} may name one)")
        }
    }
}

/// The folders that hold bin/gaussdb, each under one name.
fn homes(named: Option<&std::ffi::OsStr>, parent: &Path) -> Vec<PathBuf> {
    let candidates: Vec<PathBuf> = if let Some(paths) = named {
        std::env::split_paths(paths).collect()
    } else {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        let named_so = |e: &std::fs::DirEntry| e.file_name().to_string_lossy().starts_with(PREFIX);
        let mut paths: Vec<_> = entries.filter(named_so).map(|e| e.path()).collect();
        paths.sort();
        paths
    };
    let mut seen = BTreeSet::new();
    candidates
        .into_iter()
        .filter(|home| home.join("bin/gaussdb").is_file())
        .filter(|home| seen.insert(home.canonicalize().unwrap_or_else(|_| home.clone())))
        .collect()
}

/// What the server of this installation says of its version.
fn version(home: &Path) -> String {
    let mut command = Command::new(home.join("bin/gaussdb"));
    command.arg("-V").env("GAUSSHOME", home).env("LD_LIBRARY_PATH", home.join("lib"));
    let said = output(&mut command).map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
    said.ok().and_then(|said| version_in(&said)).unwrap_or_else(|| "unknown".to_owned())
}

/// `gaussdb (openGauss 3.0.5 build …)` gives `3.0.5`, `gaussdb (openGauss-lite 6.0.2 build …)` `lite-6.0.2`.
fn version_in(said: &str) -> Option<String> {
    let (_, rest) = said.split_once("(openGauss")?;
    let mut words = rest.split_whitespace();
    let (edition, number) = if rest.starts_with('-') {
        (words.next()?.trim_start_matches('-'), words.next()?)
    } else {
        ("", words.next()?)
    };
    let number = number.trim_end_matches(')');
    Some(if edition.is_empty() { number.to_owned() } else { format!("{edition}-{number}") })
}

/// The numbers in a version, for comparing.
fn numbers(version: &str) -> Vec<u32> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;

    #[test]
    fn the_version_is_read_with_its_edition() {
        let full =
            "gaussdb (openGauss 3.0.5 build b54d7f88) compiled at 2022-09-16 15:58:10 commit 0 last mr  ";
        assert_eq!(version_in(full).as_deref(), Some("3.0.5"));
        assert_eq!(version_in("gaussdb (openGauss-lite 6.0.2 build 1) x").as_deref(), Some("lite-6.0.2"));
        assert_eq!(version_in("gaussdb (openGauss 7.0.0-RC1 build 1) x").as_deref(), Some("7.0.0-RC1"));
        assert_eq!(version_in("postgres (PostgreSQL) 15.1"), None);
    }

    #[test]
    fn releases_with_long_term_support_are_known_by_their_number() {
        let is_lts = |version: &str| Installation::new(Path::new("/x"), version).is_lts();
        assert!(["2.0.1", "3.0.5", "5.0.0", "6.0.2", "lite-6.0.2"].into_iter().all(is_lts));
        assert!(!["1.0.1", "2.1.0", "3.1.1", "5.1.0", "7.0.0-RC1", "unknown"].into_iter().any(is_lts));
    }

    #[test]
    fn every_folder_with_a_server_is_found_once() {
        let parent = tempfile::tempdir().unwrap();
        for (name, has) in
            [("openGauss", true), ("openGauss-6.0", true), ("openGauss-src", false), ("other", true)]
        {
            let bin = parent.path().join(name).join("bin");
            fs::create_dir_all(&bin).unwrap();
            if has {
                fs::write(bin.join("gaussdb"), "").unwrap();
            }
        }
        std::os::unix::fs::symlink("openGauss-6.0", parent.path().join("openGauss-latest")).unwrap();
        let path = |name: &str| parent.path().join(name);
        assert_eq!(homes(None, parent.path()), [path("openGauss"), path("openGauss-6.0")]);
        let named = std::env::join_paths([path("other"), path("openGauss-src")]).unwrap();
        assert_eq!(homes(Some(&named), parent.path()), [path("other")]);
    }
}
