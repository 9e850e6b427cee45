//! The processes of this machine, and the programs that they run.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::base::Error;

/// Where the kernel tells of processes (proc(5)).
const PROC: &str = "/proc";
/// What the kernel writes behind the path of a program whose file was removed or replaced meanwhile.
const DELETED: &[u8] = b" (deleted)";

/// Returns the ids of all processes.
///
/// # Errors
/// `permission` or `io`.
pub fn pids() -> Result<Vec<u32>, Error> {
    let proc = Path::new(PROC);
    let entries = std::fs::read_dir(proc).map_err(|e| Error::io("list", proc, &e))?;
    // A process that ends meanwhile is none.
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// Returns the path of the file that a process runs, also when another file has that path by now; `None` where that may not be
/// read, as of other users' processes, or the process has ended.
#[must_use]
pub fn program_of(pid: u32) -> Option<PathBuf> {
    let link = std::fs::read_link(format!("{PROC}/{pid}/exe")).ok()?;
    let bytes = link.as_os_str().as_bytes();
    let path = OsString::from_vec(bytes.strip_suffix(DELETED).unwrap_or(bytes).to_vec());
    Some(PathBuf::from(path)).filter(|path| path.is_absolute())
}

/// Returns the processes that run a program below the folder, a path without links, and these programs.
///
/// # Errors
/// As [`pids`].
pub fn programs_below(folder: &Path) -> Result<Vec<(u32, PathBuf)>, Error> {
    let running = pids()?.into_iter().filter_map(|pid| Some((pid, program_of(pid)?)));
    Ok(running.filter(|(_, program)| program.starts_with(folder)).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_program_is_found_below_its_folder_also_when_its_file_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let folder = std::fs::canonicalize(dir.path()).unwrap();
        let (home, other) = (folder.join("home"), folder.join("hom"));
        std::fs::create_dir_all(home.join("bin")).unwrap();
        std::fs::create_dir(&other).unwrap();
        let program = home.join("bin/gaussdb");
        std::fs::copy("/bin/cat", &program).unwrap();
        let mut child = Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let seen = programs_below(&home).unwrap();
        std::fs::remove_file(&program).unwrap();
        let without_file = programs_below(&home).unwrap();
        let beside = programs_below(&other).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(seen, [(child.id(), program)]);
        assert_eq!(without_file, seen);
        assert_eq!(beside, []);
        assert_eq!(programs_below(&home).unwrap(), []);
    }
}
