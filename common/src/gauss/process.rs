//! Runs one outside program: an argument vector, never a shell; its own process group, a limit, bounded output.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};

use crate::base::{Call, CommandRecord, Error, ErrorKind};

/// How long a program that was told to end may take before it is killed.
const GRACE: Duration = Duration::from_millis(500);

/// A program to be run.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    dir: PathBuf,
    limit: Option<Duration>,
    keep: usize,
    spare_children: bool,
    input: Option<Vec<u8>>,
}

/// The outcome of a program that ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Exit status; 128 + n when signal n ended it.
    pub rc: i32,
    /// Its output; when there was more than the bound, the end of it.
    pub stdout: String,
    /// Its errors, likewise.
    pub stderr: String,
    /// Whether the beginning of either stream was dropped.
    pub truncated: bool,
    /// Whether the limit was reached and the program was ended by us.
    pub timed_out: bool,
    /// Program and arguments.
    pub cmd: Vec<String>,
}

impl Outcome {
    /// Returns the record that the result of a failed call shows.
    #[must_use]
    pub fn record(&self) -> CommandRecord {
        CommandRecord::new(self.cmd.clone(), self.rc, &self.stdout, &self.stderr)
    }

    /// For who asked for a log: the program, its exit and its time; at the level `trace` what it said, too.
    fn log(&self, took: Duration) {
        let Self { rc, cmd, timed_out, .. } = self;
        let end = if *timed_out { "ended by us, its time was over" } else { "ended" };
        tracing::debug!("{}: {end}, exit status {rc}, after {} ms", cmd.join(" "), took.as_millis());
        tracing::trace!(stdout = self.stdout, stderr = self.stderr);
    }

    /// The last words of the program that say something, for a one-line message.
    #[must_use]
    pub fn last_words(&self) -> String {
        let said = |text: &str| {
            text.lines()
                .rev()
                .map(|l| super::gs_ctl::strip_prefix(l).trim())
                .find(|l| !l.is_empty())
                .map(str::to_owned)
        };
        said(&self.stderr).or_else(|| said(&self.stdout)).unwrap_or_else(|| "it said nothing".to_owned())
    }
}

impl Program {
    /// The program at `path`, with an empty environment, run in `/`, with a minute's time and 1 MiB of output.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            dir: PathBuf::from("/"),
            limit: Some(Duration::from_secs(60)),
            keep: 1024 * 1024,
            spare_children: false,
            input: None,
        }
    }

    /// Gives it these bytes to read on its standard input, which is empty otherwise.
    #[must_use]
    pub fn with_input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Adds environment variables.
    #[must_use]
    pub fn envs<'a>(mut self, env: impl IntoIterator<Item = (&'a OsString, &'a OsString)>) -> Self {
        self.env.extend(env.into_iter().map(|(k, v)| (k.clone(), v.clone())));
        self
    }

    /// Sets one environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(key.into(), value.as_ref().to_owned());
        self
    }

    /// Takes environment variables away.
    #[must_use]
    pub fn without_env(mut self, keys: &[&str]) -> Self {
        for key in keys {
            self.env.remove(OsStr::new(key));
        }
        self
    }

    /// Sets English messages, whatever the DBA's login has: openGauss 6.0 has Chinese words, too. The characters of names
    /// and files stay those of its locale.
    #[must_use]
    pub fn with_english_messages(mut self) -> Self {
        if let Some(all) = self.env.remove(OsStr::new("LC_ALL")).filter(|locale| !locale.is_empty()) {
            self.env.insert("LC_CTYPE".into(), all);
        }
        self.env.insert("LC_MESSAGES".into(), "C".into());
        self.without_env(&["LANGUAGE"])
    }

    /// Limits the run time; `None` is no limit.
    #[must_use]
    pub fn with_limit(mut self, limit: Option<Duration>) -> Self {
        self.limit = limit;
        self
    }

    /// Sets how many bytes of the end of each stream are kept.
    #[must_use]
    pub fn with_kept_bytes(mut self, bytes: usize) -> Self {
        self.keep = bytes;
        self
    }

    /// Keeps child processes alive when the program is ended before its time: a server that is just coming up must not be
    /// killed together with the gs_ctl that waits for it.
    #[must_use]
    pub fn with_children_spared(mut self) -> Self {
        self.spare_children = true;
        self
    }

    /// Returns program and arguments, for messages.
    #[must_use]
    pub fn command_line(&self) -> Vec<String> {
        std::iter::once(self.path.as_os_str())
            .chain(self.args.iter().map(OsString::as_os_str))
            .map(|w| w.to_string_lossy().into_owned())
            .collect()
    }

    fn command(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.path);
        command
            .args(&self.args)
            .env_clear()
            .envs(&self.env)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .process_group(0);
        command
    }

    fn check_started(
        &self,
        child: std::io::Result<tokio::process::Child>,
    ) -> Result<tokio::process::Child, Error> {
        child.map_err(|e| Error::io("run", &self.path, &e))
    }

    /// Runs it to its end, or ends it when the limit is reached or the future is dropped.
    ///
    /// A daemon that it leaves behind may hold the output open; what counts is the end of the program itself.
    ///
    /// # Errors
    /// `not_found`, `permission` or `io` when it cannot be started. A bad exit status or a timeout is no error here.
    pub async fn run(&self) -> Result<Outcome, Error> {
        let begun = Instant::now();
        let mut command = self.command();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if self.input.is_some() {
            command.stdin(Stdio::piped());
        }
        let mut child = self.check_started(command.spawn())?;
        let guard = ProcessGroupGuard::new(&child, self.spare_children);
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), self.input.clone()) {
            // A program that does not read it all has its reasons, which its own words tell.
            tokio::spawn(async move { stdin.write_all(&input).await });
        }
        let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
        let (mut out, mut err) = (Kept::new(self.keep), Kept::new(self.keep));
        let end = self.limit.map(|l| Instant::now() + l);
        let mut timed_out = false;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status,
                () = read_block(&mut stdout, &mut out) => {}
                () = read_block(&mut stderr, &mut err) => {}
                () = sleep_until(end), if !timed_out => {
                    timed_out = true;
                    guard.signal(Signal::SIGTERM);
                    if let Ok(status) = tokio::time::timeout(GRACE, child.wait()).await {
                        break status;
                    }
                    guard.signal(Signal::SIGKILL);
                }
            }
        };
        if timed_out {
            guard.signal(Signal::SIGKILL);
        }
        guard.finish();
        // What the program wrote before its end is in the pipe by now; a daemon's later words are not waited for.
        let drained = Instant::now() + Duration::from_millis(200);
        for (stream, kept) in [
            (stdout.as_mut().map(|s| s as &mut (dyn AsyncRead + Unpin)), &mut out),
            (stderr.as_mut().map(|s| s as &mut (dyn AsyncRead + Unpin)), &mut err),
        ] {
            let Some(stream) = stream else { continue };
            let mut block = vec![0_u8; 8192];
            while Instant::now() < drained {
                match tokio::time::timeout(Duration::from_millis(5), stream.read(&mut block)).await {
                    Ok(Ok(n)) if n > 0 => kept.push(&block[..n]),
                    _ => break,
                }
            }
        }
        let status = status.map_err(|e| Error::io("wait for", &self.path, &e))?;
        let outcome = Outcome {
            rc: exit_code(status),
            truncated: out.dropped || err.dropped,
            stdout: out.text(),
            stderr: err.text(),
            timed_out,
            cmd: self.command_line(),
        };
        outcome.log(begun.elapsed());
        Ok(outcome)
    }

    /// Starts it in a session of its own with both streams going to the end of `log`, and leaves it running.
    ///
    /// # Errors
    /// `not_found`, `permission` or `io` when it cannot be started.
    pub fn spawn_to(&self, log: &std::fs::File) -> Result<Running, Error> {
        let stream = || log.try_clone().map_err(|e| Error::io("use the log of", &self.path, &e));
        // setsid(1) where it is: the program then outlives our terminal and session as well.
        let setsid = ["/usr/bin/setsid", "/bin/setsid"].iter().map(Path::new).find(|p| p.exists());
        let mut command = match setsid {
            Some(setsid) => {
                let mut command = tokio::process::Command::new(setsid);
                command.arg(&self.path);
                command
                    .args(&self.args)
                    .env_clear()
                    .envs(&self.env)
                    .current_dir(&self.dir)
                    .stdin(Stdio::null());
                command
            }
            None => self.command(),
        };
        command.stdout(stream()?).stderr(stream()?);
        let child = self.check_started(command.spawn())?;
        tracing::debug!("{}: started, and left running", self.command_line().join(" "));
        Ok(Running { guard: ProcessGroupGuard::new(&child, false), child, cmd: self.command_line() })
    }

    /// Starts it with a pipe at each of its three streams, for a talk with it.
    ///
    /// # Errors
    /// `not_found`, `permission` or `io` when it cannot be started.
    pub fn spawn_piped(&self) -> Result<(Running, Pipes), Error> {
        let mut command = self.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.check_started(command.spawn())?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let guard = ProcessGroupGuard::new(&child, false);
        let running = Running { guard, child, cmd: self.command_line() };
        match pipes {
            (Some(stdin), Some(stdout), Some(stderr)) => Ok((running, Pipes { stdin, stdout, stderr })),
            _ => Err(Error::new(ErrorKind::Internal, "a program was started without its pipes")),
        }
    }
}

/// The streams of a program that was started with pipes.
#[derive(Debug)]
pub struct Pipes {
    /// What it reads.
    pub stdin: ChildStdin,
    /// What it writes.
    pub stdout: ChildStdout,
    /// Its errors.
    pub stderr: ChildStderr,
}

/// A program that runs beside us; ended, with all it started, when this is dropped, unless [`Running::detach`] is called.
#[derive(Debug)]
pub struct Running {
    child: tokio::process::Child,
    guard: ProcessGroupGuard,
    /// Program and arguments.
    pub cmd: Vec<String>,
}

impl Running {
    /// Its exit status when it has ended.
    ///
    /// # Errors
    /// `io`.
    pub fn try_wait(&mut self) -> Result<Option<i32>, Error> {
        match self.child.try_wait() {
            Ok(None) => Ok(None),
            Ok(Some(status)) => {
                self.guard.disarm();
                Ok(Some(exit_code(status)))
            }
            Err(e) => Err(Error::io("wait for", Path::new(&self.cmd[0]), &e)),
        }
    }

    /// Waits for its end, up to `most`; one that has ended by then is not signalled any more.
    pub async fn wait_up_to(&mut self, most: Duration) {
        if tokio::time::timeout(most, self.child.wait()).await.is_ok() {
            self.guard.disarm();
        }
    }

    /// Lets it go on without us.
    pub fn detach(mut self) {
        self.guard.disarm();
    }

    /// Ends it and what it started.
    pub async fn kill(mut self) {
        self.guard.signal(Signal::SIGTERM);
        let _ = tokio::time::timeout(GRACE, self.child.wait()).await;
        self.guard.signal(Signal::SIGKILL);
        self.guard.disarm();
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(-1)
}

async fn sleep_until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end.into()).await,
        None => std::future::pending().await,
    }
}

/// Reads the next block; a stream that has ended is not looked at again.
async fn read_block<R: AsyncRead + Unpin>(stream: &mut Option<R>, kept: &mut Kept) {
    let Some(reader) = stream else { return std::future::pending().await };
    let mut block = vec![0_u8; 16 * 1024];
    match reader.read(&mut block).await {
        Ok(n) if n > 0 => kept.push(&block[..n]),
        _ => *stream = None,
    }
}

/// The end of a stream.
struct Kept {
    bytes: Vec<u8>,
    most: usize,
    dropped: bool,
}

impl Kept {
    fn new(most: usize) -> Self {
        Self { bytes: Vec::new(), most, dropped: false }
    }

    fn push(&mut self, block: &[u8]) {
        self.bytes.extend_from_slice(block);
        // Cut only when twice too long, so that gigabytes cost no more than their reading.
        if self.bytes.len() > self.most * 2 {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if self.bytes.len() > self.most {
            self.bytes.drain(..self.bytes.len() - self.most);
            self.dropped = true;
        }
    }

    fn text(mut self) -> String {
        self.cut();
        String::from_utf8(self.bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
    }
}

/// Ends the process group when dropped before [`ProcessGroupGuard::finish`].
#[derive(Debug)]
struct ProcessGroupGuard {
    pid: Option<Pid>,
    alone: bool,
}

impl ProcessGroupGuard {
    fn new(child: &tokio::process::Child, alone: bool) -> Self {
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        Self { pid, alone }
    }

    /// A group that is gone already is what we want, so the outcome is not looked at.
    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid {
            let _ = if self.alone { kill(pid, signal) } else { killpg(pid, signal) };
        }
    }

    fn disarm(&mut self) {
        self.pid = None;
    }

    fn finish(mut self) {
        self.disarm();
    }
}

impl Drop for ProcessGroupGuard {
    fn drop(&mut self) {
        if self.pid.is_some() {
            self.signal(Signal::SIGTERM);
            std::thread::sleep(Duration::from_millis(100));
            self.signal(Signal::SIGKILL);
        }
    }
}

/// The time left for one step of the call: `most`, or less when the call ends before.
#[must_use]
pub fn time_left(call: &Call, most: Duration) -> Duration {
    call.deadline.map_or(most, |end| end.saturating_duration_since(Instant::now()).min(most))
}
