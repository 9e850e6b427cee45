//! The locks of a node, each held until dropped.

use std::fs::{File, OpenOptions};
use std::io::{Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, Flock, FlockArg, OFlag, fcntl};
use nix::libc;

use crate::base::{Call, Error, ErrorKind, Reason};

/// The poll interval of a waiting writer.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The lock that gs_guc and the server take before they change `FILE`: a POSIX record lock on `FILE.lock`
/// (`pgut_flock` of openGauss is fcntl(2), so flock(2) would not keep it out).
#[derive(Debug)]
pub struct FileLock {
    // A POSIX lock ends when any descriptor of the file is closed in the process: nothing else may open it.
    _file: File,
    /// The lock of the file that `file` is a symbolic link to: another path of it is locked by that one.
    _target: Option<File>,
}

impl FileLock {
    /// Takes the lock that belongs to `file`, waiting up to `lock_timeout`.
    ///
    /// # Errors
    /// `busy`, naming the process that holds it; `permission` or `io`.
    pub async fn acquire(file: &Path, call: &Call) -> Result<Self, Error> {
        // The server and gs_guc know only the name in the data directory, and so take that one's lock. The target's comes
        // always second: nobody waits for one who waits for him.
        let own = record_lock(file, call).await?;
        let target = match lock_target(file) {
            Some(target) => Some(record_lock(&target, call).await?),
            None => None,
        };
        Ok(Self { _file: own, _target: target })
    }
}

/// The file that a symbolic link leads to.
fn lock_target(file: &Path) -> Option<PathBuf> {
    if file.is_symlink() { std::fs::canonicalize(file).ok() } else { None }
}

async fn record_lock(file: &Path, call: &Call) -> Result<File, Error> {
    let path = with_suffix(file, ".lock");
    let lock = open_lock(&path)?;
    wait_for_lock(call, || match fcntl(&lock, FcntlArg::F_SETLK(&whole_file_flock())) {
        Ok(_) => Ok(None),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(Some(record_holder(&lock))),
        Err(e) => Err(Error::io("lock", &path, &e.into())),
    })
    .await
    .map_err(|held| held.into_error(file, "is being changed"))?;
    Ok(lock)
}

/// The lock that serialises the modules which act on one node's server: flock(2) on the data directory itself, so it
/// leaves nothing behind and survives a build that empties the folder.
#[derive(Debug)]
pub struct NodeLock {
    _folder: Flock<File>,
}

impl NodeLock {
    /// Takes the lock, waiting up to `lock_timeout`.
    ///
    /// # Errors
    /// `busy`, naming the process that holds it; `permission` or `io`.
    pub async fn acquire(data_dir: &Path, call: &Call) -> Result<Self, Error> {
        let folder = File::open(data_dir).map_err(|e| Error::io("open", data_dir, &e))?;
        acquire_flock(folder, data_dir, "is being worked on", call).await.map(|lock| Self { _folder: lock })
    }
}

/// A mark that a long piece of work leaves beside what it works on, locked by flock(2) for as long as the work goes on: also
/// after the death of the process that began it, by the programs that it started meanwhile and that
/// [inherit](MarkLock::run_with_inherited_lock) it. A mark that is there and not locked is what a killed run left.
#[derive(Debug)]
pub struct MarkLock {
    file: Flock<File>,
}

impl MarkLock {
    /// Takes the lock on the mark, which is made where it is missing, waiting up to `lock_timeout`.
    ///
    /// # Errors
    /// `busy`, naming the process that holds it; `permission` or `io`.
    pub async fn acquire(mark: &Path, call: &Call) -> Result<Self, Error> {
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            let file = options.custom_flags(OFlag::O_NOFOLLOW.bits()).open(mark);
            let file = file.map_err(|e| Error::io("write", mark, &e))?;
            let file = acquire_flock(file, mark, "is being worked on", call).await?;
            // The holder before may have removed the mark, and another process made a new one.
            let taken = Self { file };
            if taken.is_at(mark) {
                return Ok(taken);
            }
        }
    }

    /// Whether the mark is still the one that this lock is on: somebody may have removed it.
    #[must_use]
    pub fn is_at(&self, mark: &Path) -> bool {
        let own = self.file.metadata().ok().map(|own| (own.dev(), own.ino()));
        let there = std::fs::symlink_metadata(mark).ok().map(|there| (there.dev(), there.ino()));
        own.is_some() && own == there
    }

    /// Whether a process holds the lock on the mark.
    #[must_use]
    pub fn is_held(mark: &Path) -> bool {
        let open = OpenOptions::new().read(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(mark);
        // One that can be had is given back at once.
        open.is_ok_and(|file| {
            matches!(Flock::lock(file, FlockArg::LockSharedNonblock), Err((_, Errno::EWOULDBLOCK)))
        })
    }

    /// Writes what the mark says, to the disk.
    ///
    /// # Errors
    /// `io`.
    pub fn write(&mut self, mark: &Path, text: &[u8]) -> Result<(), Error> {
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(text)?;
            file.sync_all()
        };
        write(&mut self.file).map_err(|e| Error::io("write", mark, &e))
    }

    /// Awaits `work`; the programs that it starts hold the lock, too, until they end.
    ///
    /// # Errors
    /// `io`, and those of `work`.
    pub async fn run_with_inherited_lock<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let keep = |flags| {
            let set = fcntl(&*self.file, FcntlArg::F_SETFD(flags));
            set.map_err(|e| Error::new(ErrorKind::Io, format!("cannot share a lock: {}", e.desc())))
        };
        keep(FdFlag::empty())?;
        let done = work.await;
        keep(FdFlag::FD_CLOEXEC)?;
        done
    }
}

/// Takes flock(2) on an open file, waiting up to `lock_timeout`.
pub(super) async fn acquire_flock(
    file: File,
    path: &Path,
    state: &str,
    call: &Call,
) -> Result<Flock<File>, Error> {
    let mut file = Some(file);
    let mut taken = None;
    wait_for_lock(call, || {
        let Some(open) = file.take() else { return Ok(None) };
        match Flock::lock(open, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => {
                taken = Some(lock);
                Ok(None)
            }
            Err((open, Errno::EWOULDBLOCK)) => {
                let holder = flock_holder(&open);
                file = Some(open);
                Ok(Some(holder))
            }
            Err((_, e)) => Err(Error::io("lock", path, &e.into())),
        }
    })
    .await
    .map_err(|held| held.into_error(path, state))?;
    taken.ok_or_else(|| Error::new(ErrorKind::Internal, "the lock was neither taken nor refused"))
}

/// Why a lock could not be had.
enum Held {
    By(Option<u32>, Duration),
    Failed(Error),
}

impl Held {
    fn into_error(self, path: &Path, state: &str) -> Error {
        match self {
            Self::Failed(error) => error,
            Self::By(pid, waited) => Error::new(
                ErrorKind::Busy,
                format!(
                    "{} {state} by {}; waited {} s",
                    path.display(),
                    pid.map_or_else(|| "another process".to_owned(), describe_process),
                    waited.as_secs()
                ),
            )
            .reason(Reason::LockHeld)
            .with_path(path.display())
            .hint("try again when it has ended, or raise lock_timeout"),
        }
    }
}

/// Calls `attempt` until it says that the lock is free, or until `lock_timeout` has passed.
async fn wait_for_lock(
    call: &Call,
    mut attempt: impl FnMut() -> Result<Option<Option<u32>>, Error>,
) -> Result<(), Held> {
    let start = Instant::now();
    loop {
        match attempt().map_err(Held::Failed)? {
            None => return Ok(()),
            Some(holder) if start.elapsed() >= call.lock_timeout() => {
                return Err(Held::By(holder, start.elapsed()));
            }
            Some(holder) => {
                call.record_seen(format!(
                    "a lock held by {}",
                    holder.map_or("another process".to_owned(), describe_process)
                ));
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
    }
}

/// Opens the lock file; one that was not there gets the 1024 zero bytes that gs_guc gives it.
fn open_lock(path: &Path) -> Result<File, Error> {
    let open = |create| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(create)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(path)
    };
    let made = match open(false) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => match open(true) {
            // Another writer made it in between.
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return open_lock(path),
            made => made.and_then(|mut file| file.write_all(&[0; 1024]).map(|()| file)),
        },
        opened => opened,
    };
    made.map_err(|e| Error::io("open", path, &e))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A write lock on every byte of a file, also those to come.
#[allow(clippy::cast_possible_truncation)] // C's constants are int, its fields short; the values are 0 and 1.
fn whole_file_flock() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// The process that holds a record lock on the file.
fn record_holder(lock: &File) -> Option<u32> {
    let mut wanted = whole_file_flock();
    fcntl(lock, FcntlArg::F_GETLK(&mut wanted)).ok()?;
    u32::try_from(wanted.l_pid).ok().filter(|pid| *pid > 0)
}

/// The process that holds flock(2) on the file or folder, as /proc/locks tells.
fn flock_holder(folder: &File) -> Option<u32> {
    let inode = format!(":{}", folder.metadata().ok()?.ino());
    std::fs::read_to_string("/proc/locks").ok()?.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        match fields[..] {
            [_, "FLOCK", _, "WRITE", pid, file, ..] if file.ends_with(&inode) => pid.parse().ok(),
            _ => None,
        }
    })
}

/// A process as a person knows it, such as `gs_guc (pid 4711)`.
fn describe_process(pid: u32) -> String {
    match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("{} (pid {pid})", name.trim()),
        Err(_) => format!("pid {pid}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn call(seconds: u64) -> Call {
        let mut call = Call::default();
        call.common.lock_timeout = Some(seconds);
        call
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    /// Another process that takes a lock in its first line of Python, says so, and holds it until its input ends.
    fn holder(code: &str, path: &Path) -> Option<Child> {
        let code = format!("import fcntl,os,sys\n{code}\nprint('held',flush=True)\nsys.stdin.read()");
        let mut child = Command::new("python3")
            .args(["-c", &code, path.to_str().unwrap()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut said = [0; 5];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
        Some(child)
    }

    #[test]
    fn a_record_lock_of_another_process_is_busy_and_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pg_hba.conf");
        // Bytes 0..1024, as gs_guc locks them.
        let code = "f=open(sys.argv[1]+'.lock','w+b');f.write(bytes(1024));f.flush();fcntl.lockf(f,fcntl.LOCK_EX,1024)";
        let Some(mut other) = holder(code, &file) else {
            println!("skipped: no python3");
            return;
        };
        let error = block_on(FileLock::acquire(&file, &call(0))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.to_string().contains(&format!("(pid {})", other.id())), "{error}");
        drop(other.stdin.take());
        other.wait().unwrap();
        block_on(FileLock::acquire(&file, &call(0))).unwrap();
    }

    #[test]
    fn two_paths_of_one_file_take_one_lock() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("hba.conf"), folder.path().join("pg_hba.conf"));
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let code = "f=open(sys.argv[1]+'.lock','w+b');f.write(bytes(1024));f.flush();fcntl.lockf(f,fcntl.LOCK_EX,1024)";
        // Whoever names the file keeps out whoever names the link; gs_guc, which locks beside the link, does, too.
        for held in [&file, &link] {
            let Some(mut other) = holder(code, held) else {
                println!("skipped: no python3");
                return;
            };
            let error = block_on(FileLock::acquire(&link, &call(0))).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Busy);
            assert!(error.to_string().contains(&format!("(pid {})", other.id())), "{error}");
            drop(other.stdin.take());
            other.wait().unwrap();
        }
        block_on(FileLock::acquire(&link, &call(0))).unwrap();
    }

    #[test]
    fn a_new_lock_file_is_like_that_of_gs_guc() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("postgresql.conf");
        let _lock = block_on(FileLock::acquire(&file, &call(0))).unwrap();
        assert_eq!(std::fs::read(folder.path().join("postgresql.conf.lock")).unwrap(), [0; 1024]);
    }

    #[test]
    fn the_node_lock_excludes_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let first = block_on(NodeLock::acquire(folder.path(), &call(0))).unwrap();
        let error = block_on(NodeLock::acquire(folder.path(), &call(0))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.to_string().contains(&format!("(pid {})", std::process::id())), "{error}");
        drop(first);
        block_on(NodeLock::acquire(folder.path(), &call(0))).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
