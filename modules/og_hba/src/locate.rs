//! Where the pg_hba.conf is that the server reads: `hba_file` of its command line or its postgresql.conf, else beside that.
//!
//! Source: `SelectConfigFiles` in guc.cpp: the folder of the files is `-D`, which need not be the data directory.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use og_common::conf::ConfFile;
use og_common::files;
use og_common::gauss::ServerNode;
use og_common::protocol::{Error, ErrorKind};

/// How deep one file may include another; the server's own limit.
const MAX_INCLUDE_DEPTH: usize = 10;

/// The file that the node's server reads, or will read when it starts.
///
/// # Errors
/// That of reading postgresql.conf; `unsupported` for a relative `hba_file`, which the server reads from the folder that
/// it was started in.
pub fn hba_file(node: &ServerNode) -> Result<PathBuf, Error> {
    let told = node.running_pid().map(CommandLine::from_pid).unwrap_or_default();
    let folder = told.folder.as_deref().unwrap_or(&node.data_dir);
    let conf = told.config_file.unwrap_or_else(|| folder.join("postgresql.conf"));
    let (named, place) = match told.hba_file {
        Some(path) => (Some(path), "the server's command line".to_owned()),
        None => (setting(&conf, MAX_INCLUDE_DEPTH)?, conf.display().to_string()),
    };
    match named {
        None => Ok(folder.join("pg_hba.conf")),
        Some(path) if path.is_absolute() => Ok(path),
        Some(path) => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "hba_file is {} in {place}: the server reads it relative to the folder that it is started in, which \
                 nothing tells",
                path.display()
            ),
        )
        .with_path(conf.display())
        .hint("set hba_file to an absolute path, or name the file with path beside data_dir")),
    }
}

/// `hba_file` as a postgresql.conf and the files that it includes have it: the last one counts.
fn setting(conf: &Path, depth: usize) -> Result<Option<PathBuf>, Error> {
    let text = match files::read(conf) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    let concerns = |line: &&[u8]| {
        let line = line.trim_ascii_start();
        [&b"hba_file"[..], b"include"]
            .iter()
            .any(|word| line.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word)))
    };
    let mut named = None;
    for line in text.split_inclusive(|&c| c == b'\n').filter(concerns) {
        let line = ConfFile::parse(line);
        if let Some(found) = line.get("hba_file") {
            named =
                Some(PathBuf::from(OsString::from_vec(found.value))).filter(|p| !p.as_os_str().is_empty());
        }
        for include in line.includes() {
            let other =
                conf.parent().unwrap_or(Path::new("/")).join(std::ffi::OsStr::from_bytes(&include.value));
            if depth > 0 {
                named = setting(&other, depth - 1)?.or(named);
            }
        }
    }
    Ok(named)
}

/// What the command line of a server that runs says of its files.
#[derive(Debug, Default, PartialEq, Eq)]
struct CommandLine {
    folder: Option<PathBuf>,
    config_file: Option<PathBuf>,
    hba_file: Option<PathBuf>,
}

impl CommandLine {
    fn from_pid(pid: u32) -> Self {
        // Of a process that is gone, or somebody else's, nothing is told.
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        Self::parse(&line)
    }

    /// Arguments with a NUL behind each: `-D FOLDER`, `-c NAME=VALUE`, `--NAME=VALUE`.
    fn parse(line: &[u8]) -> Self {
        let mut told = Self::default();
        let mut args = line.split(|&c| c == 0);
        while let Some(arg) = args.next() {
            match arg {
                b"-D" => told.folder = args.next().map(path).filter(|p| p.is_absolute()),
                b"-c" => told.set(args.next().unwrap_or_default()),
                [b'-', b'D', folder @ ..] => told.folder = Some(path(folder)).filter(|p| p.is_absolute()),
                [b'-', b'-' | b'c', set @ ..] => told.set(set),
                _ => {}
            }
        }
        told
    }

    fn set(&mut self, setting: &[u8]) {
        let Some(equals) = setting.iter().position(|&c| c == b'=') else { return };
        let value = Some(path(&setting[equals + 1..]));
        match setting[..equals].to_ascii_lowercase().replace_dashes().as_slice() {
            b"hba_file" => self.hba_file = value,
            b"config_file" => self.config_file = value.filter(|p| p.is_absolute()),
            _ => {}
        }
    }
}

/// The server takes `-` for `_` in the names of its options.
trait Dashes {
    fn replace_dashes(self) -> Vec<u8>;
}

impl Dashes for Vec<u8> {
    fn replace_dashes(mut self) -> Vec<u8> {
        self.iter_mut().filter(|c| **c == b'-').for_each(|c| *c = b'_');
        self
    }
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_last_hba_file_counts_also_an_included_one() {
        let dir = tempfile::tempdir().unwrap();
        let node = ServerNode::new(dir.path());
        let conf = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        assert_eq!(hba_file(&node).unwrap(), dir.path().join("pg_hba.conf"));
        conf("postgresql.conf", "#hba_file = '/x'\nport = 1\n");
        assert_eq!(hba_file(&node).unwrap(), dir.path().join("pg_hba.conf"));
        conf("postgresql.conf", "HBA_FILE = '/etc/a'\n  hba_file '/etc/b' # c\n");
        assert_eq!(hba_file(&node).unwrap(), Path::new("/etc/b"));
        conf("postgresql.conf", "hba_file = '/etc/a'\ninclude = 'more.conf'\ninclude_if_exists 'none'\n");
        conf("more.conf", "include 'postgresql.conf'\nhba_file = '/etc/c'\n");
        assert_eq!(hba_file(&node).unwrap(), Path::new("/etc/c"));
        conf("postgresql.conf", "hba_file = 'x/hba'\n");
        let error = hba_file(&node).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn a_command_line_names_files() {
        let told = CommandLine::parse(
            b"/bin/gaussdb\0-D\0/etc/conf\0-c\0config_file=/etc/p.conf\0--hba-file=/etc/h\0",
        );
        assert_eq!(told.folder.as_deref(), Some(Path::new("/etc/conf")));
        assert_eq!(told.config_file.as_deref(), Some(Path::new("/etc/p.conf")));
        assert_eq!(told.hba_file.as_deref(), Some(Path::new("/etc/h")));
        assert_eq!(CommandLine::parse(b"gaussdb\0-D\0data\0-M\0primary\0"), CommandLine::default());
    }
}
