//! The probe itself: a process of its own that commits until it is ended.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use og_common::clock::now_millis;
use og_common::gauss::ServerNode;
use og_common::protocol::{Call, Error, ErrorKind};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::file::{Phase, ProbeFile, Process};
use crate::table::{self, COMMIT, IS_STANDBY, Whose};

/// The flag with which it is started; its file stands behind it.
pub const FLAG: &str = "run";
/// How long to wait before a server that is down or refused something is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// How long to wait where a table of this name is somebody else's.
const REFUSED_INTERVAL: Duration = Duration::from_secs(10);
/// How often its file is written, and looked at.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);
/// So often in a row the data directory is missing before the probe ends.
const MOST_MISSES: u32 = 30;

/// The file of this program, opened before the program becomes the node's user.
static OWN_PROGRAM: OnceLock<Option<File>> = OnceLock::new();

/// Opens the file of this program, for [`spawn`].
pub fn open_own_program() {
    OWN_PROGRAM.get_or_init(|| File::open("/proc/self/exe").ok());
}

/// Starts a probe whose file is there.
///
/// # Errors
/// `permission` or `io`.
pub fn spawn(call: &Call, path: &Path) -> Result<Child, Error> {
    let own = std::env::current_exe().ok().filter(|own| !call.switched && own.exists());
    let program = match own {
        Some(own) => own,
        // The file of this program is another user's, and may be where the node's user cannot look.
        None => copy_own_program(&path.with_extension("program"))?,
    };
    Command::new(&program)
        .arg(format!("--{FLAG}"))
        .arg(path)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| Error::io("run", &program, &e))
}

/// Copies this program where the user may run it; the copy removes itself when it has begun.
fn copy_own_program(copy: &Path) -> Result<PathBuf, Error> {
    let fail = |e: std::io::Error| Error::io("write the program of the probe to", copy, &e);
    let mut own = OWN_PROGRAM
        .get()
        .and_then(Option::as_ref)
        .ok_or_else(|| Error::new(ErrorKind::Io, "this program cannot read its own file"))?;
    let mut bytes = Vec::new();
    own.read_to_end(&mut bytes).map_err(fail)?;
    drop(std::fs::remove_file(copy));
    let mut file = File::options().write(true).create_new(true).mode(0o700).open(copy).map_err(fail)?;
    std::io::Write::write_all(&mut file, &bytes).map_err(fail)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o700)).map_err(fail)?;
    Ok(copy.to_owned())
}

/// Works as the probe whose file this is, until it is ended.
///
/// # Errors
/// The file is none, or cannot be written.
pub fn run(path: &Path) -> Result<String, Error> {
    leave_caller();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|e| Error::new(ErrorKind::Internal, format!("cannot start the runtime: {e}")))?;
    runtime.block_on(work(path))?;
    Ok(String::new())
}

/// Detaches from the caller: takes a session of its own and closes inherited file descriptors. A caller such as sshd waits until its
/// pipes are closed.
fn leave_caller() {
    // One that leads its group already has a session of its own, as far as that goes.
    let _ = nix::unistd::setsid();
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let open: Vec<i32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        // The one by which the folder was read is closed already.
        let _ = nix::unistd::close(descriptor);
    }
}

/// What the probe has seen, and what tells that it changed its phase.
struct Seen {
    file: RefCell<ProbeFile>,
    changed: Notify,
}

impl Seen {
    fn enter(&self, phase: Phase) {
        if std::mem::replace(&mut self.file.borrow_mut().phase, phase) != phase {
            self.changed.notify_one();
        }
    }

    fn add_commit(&self) {
        self.file.borrow_mut().probed.add_commit(now_millis());
        self.enter(Phase::Committing);
    }

    fn add_failure(&self, error: &Error) {
        self.file.borrow_mut().probed.add_failure(&error.failure().detail);
        self.enter(Phase::Failing);
    }
}

async fn work(path: &Path) -> Result<(), Error> {
    let gone = || Error::not_found(format!("{} is no file of a probe", path.display()));
    let mut file = ProbeFile::read(path)?.ok_or_else(gone)?;
    let own =
        Process::own().ok_or_else(|| Error::new(ErrorKind::Io, "/proc does not tell of this process"))?;
    file.process = Some(own);
    file.probed.began = now_millis();
    file.write(path)?;
    remove_copy(path);
    let mut terminate = signal(SignalKind::terminate())
        .map_err(|e| Error::new(ErrorKind::Internal, format!("cannot hear signals: {e}")))?;
    let (call, node, begun) = (file.call(), ServerNode::new(&file.data_dir), Instant::now());
    let limit = Duration::from_secs(file.limit);
    let interval = Duration::from_millis(file.interval_ms);
    let seen = Seen { file: RefCell::new(file), changed: Notify::new() };
    let mut probing = std::pin::pin!(probe(&call, &node, interval, &seen));
    let mut ticks = tokio::time::interval(WRITE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut writer = Writer::new(path);
    let mut misses = 0;
    let is_stopped = loop {
        tokio::select! {
            never = &mut probing => match never {},
            _ = terminate.recv() => break true,
            () = seen.changed.notified() => writer.write(&seen.file.borrow()),
            _ = ticks.tick() => {
                misses = if node.data_dir.exists() { 0 } else { misses + 1 };
                if !is_own(path, own) || misses > MOST_MISSES || begun.elapsed() >= limit {
                    break false;
                }
                writer.write(&seen.file.borrow());
            }
        }
    };
    writer.finish().await;
    if is_own(path, own) {
        let mut file = seen.file.borrow().clone();
        file.probed.written = now_millis();
        file.write(path)?;
    }
    // `state: stopped` drops the table itself; nobody may call that for a probe that exited on its own.
    if !is_stopped {
        drop(table::drop_own(&call, &node).await);
    }
    Ok(())
}

/// Whether the file is still that of this probe.
fn is_own(path: &Path, own: Process) -> bool {
    matches!(ProbeFile::read(path), Ok(Some(file)) if file.process == Some(own))
}

/// Removes the copy of the program from which this runs, where it is one.
fn remove_copy(path: &Path) {
    let copy = path.with_extension("program");
    if std::env::current_exe().is_ok_and(|own| own == copy) {
        // One that stays is replaced by the next one.
        drop(std::fs::remove_file(copy));
    }
}

/// Writes the file beside the work: a slow disk must not count as a time without commits.
struct Writer {
    path: PathBuf,
    task: Option<JoinHandle<()>>,
}

impl Writer {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), task: None }
    }

    /// Begins to write, unless the last one has not come to its end.
    fn write(&mut self, file: &ProbeFile) {
        if self.task.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let (path, mut file) = (self.path.clone(), file.clone());
        file.probed.written = now_millis();
        // What cannot be written now is tried again in a second.
        self.task = Some(tokio::task::spawn_blocking(move || drop(file.write(&path))));
    }

    async fn finish(&mut self) {
        if let Some(task) = self.task.take() {
            drop(task.await);
        }
    }
}

/// Commits, session after session.
async fn probe(call: &Call, node: &ServerNode, interval: Duration, seen: &Seen) -> Infallible {
    loop {
        let Err(error) = commit(call, node, interval, seen).await;
        let pause = match error.kind() {
            // No server runs.
            ErrorKind::NotFound => {
                seen.enter(Phase::Waiting);
                RETRY_INTERVAL
            }
            ErrorKind::Refused => {
                seen.add_failure(&error);
                REFUSED_INTERVAL
            }
            _ => {
                seen.add_failure(&error);
                RETRY_INTERVAL
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Commits in one session until that ends.
async fn commit(
    call: &Call,
    node: &ServerNode,
    interval: Duration,
    seen: &Seen,
) -> Result<Infallible, Error> {
    let mut session = node.sql_session(call).await?;
    while session.run(IS_STANDBY).await? != "f" {
        seen.enter(Phase::Waiting);
        tokio::time::sleep(interval.min(RETRY_INTERVAL)).await;
    }
    match Whose::parse(&session.run(&table::owner_statement()).await?) {
        Whose::Own => {}
        Whose::Nobodys => drop(session.run(&table::create_statements()).await?),
        Whose::Others => return Err(others_table_error()),
    }
    loop {
        if session.run(COMMIT).await? != "1" {
            return Err(Error::new(
                ErrorKind::Refused,
                format!("{} does not have its one row", table::TABLE),
            ));
        }
        seen.add_commit();
        tokio::time::sleep(interval).await;
    }
}

fn others_table_error() -> Error {
    let table = table::TABLE;
    Error::refused(format!("the table {table} of the database postgres is not one of a probe"))
        .hint(format!("rename it, or do without a probe; {table} must be free"))
}
