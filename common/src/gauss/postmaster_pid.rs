//! postmaster.pid: which process serves a data directory, and where it listens.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The lines of postmaster.pid, as far as they are written yet (the server adds them while it starts).
///
/// Source of the format: `CreateDataDirLockFile` and `AddToDataDirLockFile` of the server; an empty listen address
/// means loopback only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostmasterPid {
    /// Process number.
    pub pid: u32,
    /// Start time, seconds since 1970.
    pub started: Option<u64>,
    /// Port.
    pub port: Option<u16>,
    /// Folder of the local socket.
    pub socket_dir: Option<PathBuf>,
    /// First listen address.
    pub listen: Option<String>,
}

impl PostmasterPid {
    /// Parses the text; `None` when it has no process number.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim);
        // A single-user server writes its number negated.
        let pid = lines.next()?.trim_start_matches('-').parse().ok().filter(|pid| *pid > 0)?;
        let mut lines = lines.skip(1);
        let started = lines.next().and_then(|l| l.parse().ok());
        let port = lines.next().and_then(|l| l.parse().ok());
        let mut word = || lines.next().filter(|l| !l.is_empty());
        let socket_dir = word().map(PathBuf::from);
        let listen = word().map(str::to_owned);
        Some(Self { pid, started, port, socket_dir, listen })
    }

    /// Reads it from the data directory; `None` when there is none or it says nothing.
    #[must_use]
    pub fn read(data_dir: &Path) -> Option<Self> {
        Self::parse(&String::from_utf8_lossy(&std::fs::read(data_dir.join("postmaster.pid")).ok()?))
    }

    /// Whether that process lives and serves this data directory: it has not ended, and its working directory is this.
    #[must_use]
    pub fn is_alive(&self, data_dir: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        if !is_process_alive(self.pid) {
            return false;
        }
        match (working_dir(Path::new(&format!("/proc/{}", self.pid))), std::fs::metadata(data_dir)) {
            (Ok(cwd), Ok(dir)) => cwd.dev() == dir.dev() && cwd.ino() == dir.ino(),
            // Somebody else's process: better to believe the file than to act on a server that runs.
            (Err(e), _) if e.kind() == ErrorKind::PermissionDenied => true,
            // The last threads of a server release their directory before its files and its port.
            (Err(e), Ok(_)) if e.kind() == ErrorKind::NotFound => is_process_alive(self.pid),
            _ => false,
        }
    }
}

/// Returns the working directory of the process with this folder in /proc; where its main thread has ended, that of another thread.
///
/// # Errors
/// There is no such process, it is another user's, or none of its threads has one any more.
pub fn working_dir(proc: &Path) -> std::io::Result<Metadata> {
    match std::fs::metadata(proc.join("cwd")) {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let threads = std::fs::read_dir(proc.join("task"))?.flatten();
            threads.into_iter().find_map(|thread| std::fs::metadata(thread.path().join("cwd")).ok()).ok_or(e)
        }
        found => found,
    }
}

/// Whether this process has not ended. The main thread of a server that ends may be a zombie while other threads run: until the last
/// one has ended, the process holds its memory, its files and its port.
#[must_use]
pub fn is_process_alive(pid: u32) -> bool {
    stat_fields(pid).is_some_and(|fields| !is_ended(&fields))
}

/// Whether the main thread of this process has ended and others have not: it ends by itself, when they have released its memory.
#[must_use]
pub fn is_ending(pid: u32) -> bool {
    stat_fields(pid).is_some_and(|fields| fields.starts_with(['Z', 'X']) && !is_ended(&fields))
}

/// Whether these fields are those of a process that has ended, and whose parent has not asked for its status yet.
fn is_ended(fields: &str) -> bool {
    let threads = fields.split_whitespace().nth(17).and_then(|count| count.parse::<u32>().ok());
    fields.starts_with(['Z', 'X']) && threads.is_none_or(|count| count <= 1)
}

/// The start time of this process in clock ticks since boot (`starttime` of proc_pid_stat(5)): with its pid it identifies a process
/// until the next boot. `None` when there is no such process, or it has ended.
#[must_use]
pub fn process_start(pid: u32) -> Option<u64> {
    let fields = stat_fields(pid)?;
    fields.split_whitespace().nth(19)?.parse().ok().filter(|_| !is_ended(&fields))
}

/// Whether this process was stopped (SIGSTOP) and does nothing until it is told to go on (SIGCONT), or is held by a
/// debugger.
#[must_use]
pub fn is_frozen(pid: u32) -> bool {
    process_state(pid).is_some_and(|state| matches!(state, 'T' | 't'))
}

/// The kernel's letter for what a process does.
fn process_state(pid: u32) -> Option<char> {
    stat_fields(pid)?.chars().next()
}

/// The fields of proc_pid_stat(5) from the state on. They stand behind the last parenthesis: a program's name may have some of its
/// own, and any bytes.
fn stat_fields(pid: u32) -> Option<String> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    Some(String::from_utf8_lossy(&stat).rsplit_once(") ")?.1.to_owned())
}
