//! The connection to one host: commands with input and output over ssh, and what ssh says when there is none.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use openssh::{ControlPersist, KnownHosts, Session, SessionBuilder};
use procfs_core::net::TcpState;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::Semaphore;

use super::SshHost;
use crate::base::{Error, ErrorKind};
use crate::files::read_tcp;

/// A host that does not take a connection for so long is unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The poll interval while a host is silent.
const SILENCE_INTERVAL: Duration = Duration::from_millis(250);
/// A host that says nothing three times so long is unreachable.
const ALIVE_INTERVAL: Duration = Duration::from_secs(3);
/// So long the other side may take to end and to say so.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// Should this program be killed, its connection ends after so many seconds without use.
const IDLE_SECONDS: usize = 30;
/// More than this is no result.
const MAX_OUTPUT_BYTES: u64 = 64 << 20;
/// Of standard error no longer line is taken at once.
const MAX_LINE_BYTES: u64 = 1 << 20;
/// More of standard error is not kept.
const MAX_STDERR_BYTES: usize = 4 << 20;
/// The exit status that stands for a command which a signal ended; ssh does not say which.
const SIGNAL_STATUS: i32 = 128;
/// A shell's exit status when there is no such command.
const NOT_FOUND_STATUS: i32 = 127;
/// So much of a text's end is kept for a message.
const MAX_ENDING_CHARS: usize = 500;

/// An open connection.
#[derive(Debug)]
pub(super) struct Link {
    session: Session,
    own: bool,
    /// The host's name, for the log.
    host: String,
    /// Limits how many commands run at once.
    permits: Semaphore,
}

/// Commands at once on one connection: sshd allows ten sessions (MaxSessions), some of which may be the user's own.
const MAX_SESSIONS: usize = 6;

/// What ssh says of a session that sshd does not open.
const REFUSED: &str = "Session open refused by peer";
/// How long a session that is refused is asked for.
const REFUSED_LIMIT: Duration = Duration::from_secs(3);
/// The retry interval of a refused session.
const REFUSED_INTERVAL: Duration = Duration::from_millis(100);

/// Whether a command's input ends after what is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    /// It stays open until the command ends, or until it is to end.
    Open,
    /// It ends.
    Closed,
}

/// What a command left.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
    /// Whether it was told to end.
    pub stopped: bool,
    /// Why its end was not seen.
    pub lost: Option<String>,
    /// Between which times, by the clock of this machine, it had its input and all that it said was here; none where it was not run
    /// to its end.
    pub times: Option<(SystemTime, SystemTime)>,
}

impl Output {
    /// The end of what it said, for a message.
    pub fn last_output(&self) -> String {
        let said = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let lines: Vec<_> = said.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        if lines.is_empty() {
            return format!("status {}, no output", self.status);
        }
        let text = lines[lines.len().saturating_sub(3)..].join(" / ");
        let skip = text.chars().count().saturating_sub(MAX_ENDING_CHARS);
        text.chars().skip(skip).collect()
    }
}

impl Link {
    fn new(session: Session, own: bool, host: &SshHost) -> Self {
        Self { session, own, host: host.name.clone(), permits: Semaphore::new(MAX_SESSIONS) }
    }

    /// Connects, or uses the connection that the user's own ssh keeps open. A host that answers no packet for `silence` is
    /// unreachable.
    pub async fn open(host: &SshHost, config: Option<&Path>, silence: Duration) -> Result<Self, Error> {
        let settings = read_settings(host, config).await?;
        if let Some(kept) = kept_socket_in(&settings).filter(|path| path.exists()) {
            let session = Session::resume_mux(kept.into_boxed_path(), None);
            if session.check().await.is_ok() {
                return Ok(Self::new(session, false, host));
            }
        }
        let mut builder = SessionBuilder::default();
        builder
            .known_hosts_check(KnownHosts::Strict)
            .connect_timeout(CONNECT_TIMEOUT)
            .server_alive_interval(ALIVE_INTERVAL)
            .control_directory(std::env::temp_dir());
        if let Some(idle) = std::num::NonZeroUsize::new(IDLE_SECONDS) {
            builder.control_persist(ControlPersist::IdleFor(idle));
        }
        if let Some(config) = config {
            builder.config_file(config);
        }
        if let Some(user) = &host.user {
            builder.user(user.clone());
        }
        if let Some(port) = host.port {
            builder.port(port);
        }
        tokio::select! {
            session = builder.connect_mux(&host.name) => match session {
                Ok(session) => Ok(Self::new(session, true, host)),
                Err(e) => Err(unreachable_error(host, &e)),
            },
            () = wait_for_silence(target_in(&settings), silence) => Err(silent_error(host, silence)),
        }
    }

    /// The host's name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether the connection still stands; the own one ends [`IDLE_SECONDS`] after its last use.
    pub async fn is_open(&self) -> bool {
        self.session.check().await.is_ok()
    }

    /// Ends it, unless it is the user's own.
    pub async fn close(self) {
        if self.own
            && let Err(e) = self.session.close().await
        {
            // It ends by itself after a while.
            tracing::debug!("closing the connection: {}", describe_error(&e));
        }
    }

    /// Runs `sh -c` with these words: the script, the name it goes by, and what it gets as `$1` and so on. When `stop`
    /// comes, ends the command's input and waits a moment for its last words. `hear` gets each line of standard error
    /// as it comes; those for which it returns true are not kept.
    pub async fn run(
        &self,
        words: &[&str],
        input: &[u8],
        after: Input,
        stop: impl Future<Output = ()>,
        hear: &mut (dyn FnMut(&str) -> bool + Send),
    ) -> Result<Output, Error> {
        tokio::pin!(stop);
        let permit = tokio::select! {
            permit = self.permits.acquire() => permit,
            () = &mut stop => return Ok(Output { stopped: true, ..Output::default() }),
        };
        let _permit =
            permit.map_err(|e| Error::new(ErrorKind::Internal, format!("the connection was closed: {e}")))?;
        let end = Instant::now() + REFUSED_LIMIT;
        loop {
            let output = self.run_once(words, input, after, stop.as_mut(), hear).await?;
            if !output.lost.as_deref().is_some_and(|why| why.contains(REFUSED)) {
                return Ok(output);
            }
            if output.stopped {
                return Ok(Output { stopped: true, ..Output::default() });
            }
            // Nothing has begun. sshd has as many sessions as it may have, and those that ended are gone a moment later.
            if Instant::now() >= end {
                return Err(no_session_error());
            }
            tokio::time::sleep(REFUSED_INTERVAL).await;
        }
    }

    /// [`Link::run`] in a session that may be refused.
    async fn run_once(
        &self,
        words: &[&str],
        input: &[u8],
        after: Input,
        mut stop: Pin<&mut impl Future<Output = ()>>,
        hear: &mut (dyn FnMut(&str) -> bool + Send),
    ) -> Result<Output, Error> {
        let mut command = self.session.command("sh");
        command.arg("-c").args(words);
        command
            .stdin(openssh::Stdio::piped())
            .stdout(openssh::Stdio::piped())
            .stderr(openssh::Stdio::piped());
        let mut child = match command.spawn().await {
            Ok(child) => child,
            Err(e) => return Ok(Output { lost: Some(describe_error(&e)), ..Output::default() }),
        };
        let (stdin, stdout, stderr) = (child.stdin().take(), child.stdout().take(), child.stderr().take());
        let input = input.to_vec();
        let sent_at = SystemTime::now();
        let writer = tokio::spawn(async move {
            let Some(mut stdin) = stdin else { return };
            // A command that does not read its input has its reason, which it says itself.
            drop(stdin.write_all(&input).await);
            if after == Input::Open {
                std::future::pending::<()>().await;
            }
        });
        let mut output = Output::default();
        let read = async { tokio::join!(read_text(stdout), read_lines(stderr, hear)) };
        tokio::pin!(read);
        tokio::select! {
            texts = &mut read => {
                output.times = Some((sent_at, SystemTime::now()));
                (output.stdout, output.stderr) = texts;
            }
            () = &mut stop => {
                output.stopped = true;
                writer.abort();
                let Ok(texts) = tokio::time::timeout(END_TIMEOUT, read).await else {
                    output.lost = Some(format!("it did not end within {} s", END_TIMEOUT.as_secs()));
                    return Ok(output);
                };
                (output.stdout, output.stderr) = texts;
            }
        }
        writer.abort();
        match child.wait().await {
            Ok(status) => output.status = status.code().unwrap_or(SIGNAL_STATUS),
            Err(openssh::Error::Remote(_)) => output.status = NOT_FOUND_STATUS,
            Err(openssh::Error::RemoteProcessTerminated) if self.session.check().await.is_ok() => {
                output.status = SIGNAL_STATUS;
            }
            // What ssh says of it is the same as for a process that a signal ended.
            Err(openssh::Error::RemoteProcessTerminated) => output.lost = Some("the host is gone".to_owned()),
            Err(e) => output.lost = Some(describe_error(&e)),
        }
        Ok(output)
    }
}

/// All that comes; what is no UTF-8 is shown as replacement characters.
async fn read_text(source: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(source) = source
        && let Err(e) = source.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes).await
    {
        tracing::debug!("reading from the host: {e}");
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// All lines that come, but for those that `hear` takes.
async fn read_lines(
    source: Option<impl AsyncRead + Unpin>,
    hear: &mut (dyn FnMut(&str) -> bool + Send),
) -> String {
    let mut kept = String::new();
    let Some(source) = source else { return kept };
    let mut source = BufReader::new(source);
    loop {
        let mut bytes = Vec::new();
        match (&mut source).take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes).await {
            Ok(0) => return kept,
            Err(e) => {
                tracing::debug!("reading from the host: {e}");
                return kept;
            }
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&bytes);
        if !hear(line.trim_end()) && kept.len() + line.len() <= MAX_STDERR_BYTES {
            kept.push_str(&line);
        }
    }
}

/// What `ssh -G` prints for this host: the settings of ssh, one a line.
async fn read_settings(host: &SshHost, config: Option<&Path>) -> Result<String, Error> {
    let mut command = tokio::process::Command::new("ssh");
    command.arg("-G");
    if let Some(config) = config {
        command.arg("-F").arg(config);
    }
    if let Some(user) = &host.user {
        command.args(["-l", user]);
    }
    if let Some(port) = host.port {
        command.arg("-p").arg(port.to_string());
    }
    let done = command.args(["--", &host.name]).stdin(Stdio::null()).output().await.map_err(|e| {
        Error::io("run", Path::new("ssh"), &e)
            .hint("install OpenSSH's client (openssh-client) on this machine")
    })?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr).trim().replace('\n', " / ");
        return Err(Error::new(
            ErrorKind::CommandFailed,
            format!("ssh cannot use its configuration: {said}"),
        ));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// A setting in what `ssh -G` prints.
fn setting<'a>(settings: &'a str, key: &str) -> Option<&'a str> {
    settings.lines().find_map(|line| line.split_once(' ').filter(|(k, _)| *k == key)).map(|(_, value)| value)
}

/// The control socket of a connection that the user's own ssh keeps open. One that would not notice when the host goes away is
/// left alone.
fn kept_socket_in(settings: &str) -> Option<PathBuf> {
    let path = setting(settings, "controlpath").filter(|path| *path != "none")?;
    setting(settings, "serveraliveinterval").filter(|seconds| *seconds != "0")?;
    Some(PathBuf::from(path))
}

/// The name or address and the port to which ssh connects itself; none where another host or a command stands in between.
fn target_in(settings: &str) -> Option<(String, u16)> {
    let between =
        ["proxyjump", "proxycommand"].iter().any(|key| setting(settings, key).is_some_and(|v| v != "none"));
    let name = setting(settings, "hostname").filter(|_| !between)?;
    Some((name.to_owned(), setting(settings, "port")?.parse().ok()?))
}

/// Waits until the target has left a connection unanswered for so long; for ever where it answers, or that cannot be seen.
///
/// ssh's own limit must do for a busy host that is slow to let one in; a host that is down does not even answer TCP. Of a name with
/// several addresses ssh tries one after the other, and another one may answer.
async fn wait_for_silence(target: Option<(String, u16)>, silence: Duration) {
    let addresses: Vec<SocketAddr> = match target {
        Some(target) => tokio::net::lookup_host(target).await.map(Iterator::collect).unwrap_or_default(),
        None => Vec::new(),
    };
    let [address] = addresses[..] else { return std::future::pending().await };
    let mut silent_since = tokio::time::Instant::now();
    while silent_since.elapsed() < silence {
        tokio::time::sleep(SILENCE_INTERVAL).await;
        if !is_unanswered(address) {
            silent_since = tokio::time::Instant::now();
        }
    }
}

/// Whether a connection from here waits for a first answer of this address (SYN_SENT). Where the kernel does not tell, ssh's
/// limit counts.
fn is_unanswered(address: SocketAddr) -> bool {
    let lists = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    lists
        .iter()
        .filter_map(|file| read_tcp(Path::new(file)).ok())
        .flatten()
        .any(|connection| connection.state == TcpState::SynSent && connection.remote_address == address)
}

/// The error with its cause.
fn describe_error(error: &openssh::Error) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}

/// A connection that ended before the answer came.
pub(super) fn connection_lost_error(why: &str) -> Error {
    Error::new(ErrorKind::Unreachable, format!("the connection was lost: {why}"))
        .hint("whether the work there was done is not known; the same call again carries on")
}

/// A host that lets nobody start a command.
fn no_session_error() -> Error {
    let what = format!("it refuses every session, for {} s by now", REFUSED_LIMIT.as_secs());
    Error::new(ErrorKind::Unreachable, what).hint(
        "nothing was begun there; check MaxSessions in its sshd_config, and what else uses this connection",
    )
}

/// A command that was told to end, and whose end was not seen.
pub(super) fn not_ended_error(why: &str) -> Error {
    Error::new(ErrorKind::Unreachable, format!("told to end, and its end was not seen: {why}"))
        .hint("it may still be at work there; the same call again carries on")
}

/// A host that leaves unanswered what is sent to it.
fn silent_error(host: &SshHost, silence: Duration) -> Error {
    let what = format!("cannot connect: no answer within {} s", silence.as_secs_f32());
    Error::new(ErrorKind::Unreachable, what).hint(format!(
        "the host is down, or a network or firewall on the way drops what is sent; try it by hand: {}",
        host.manual_command()
    ))
}

/// A host to which there is no connection, from what ssh said.
fn unreachable_error(host: &SshHost, error: &openssh::Error) -> Error {
    let said = match error {
        openssh::Error::Connect(cause) => cause.to_string(),
        other => describe_error(other),
    };
    let by_hand = format!("try it by hand: {}", host.manual_command());
    let (what, hint) = if said.contains("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        (
            "its host key is not the one that known_hosts has".to_owned(),
            "if the machine was made anew, take the old key out with ssh-keygen -R; if not, somebody else answers there",
        )
    } else if said.contains("Host key verification failed") {
        (
            "its host key is not in known_hosts".to_owned(),
            "compare the key and add it, for example by ssh to that host by hand",
        )
    } else {
        let lines: Vec<_> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let what = lines.last().map_or("ssh said nothing", |line| line.trim_end_matches('.')).to_owned();
        let hint = if said.contains("Permission denied") {
            "no password is ever asked for: let a key in there, and name it in ssh's configuration or load it into ssh-agent"
        } else {
            &by_hand
        };
        (what, hint)
    };
    Error::new(ErrorKind::Unreachable, format!("cannot connect: {what}")).hint(hint)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_kept_connection_is_used_only_if_it_would_notice_a_loss() {
        let settings = |path: &str, alive: &str| {
            format!("host n1\ncontrolmaster auto\ncontrolpath {path}\nserveraliveinterval {alive}\n")
        };
        assert_eq!(kept_socket_in(&settings("/run/a b", "3")), Some(PathBuf::from("/run/a b")));
        assert_eq!(kept_socket_in(&settings("/run/ab", "0")), None);
        assert_eq!(kept_socket_in(&settings("none", "3")), None);
        assert_eq!(kept_socket_in("host n1\n"), None);
    }

    #[test]
    fn a_host_behind_another_one_is_not_watched() {
        let settings = |more: &str| format!("host n1\nhostname 10.0.0.5\nport 2222\n{more}");
        assert_eq!(target_in(&settings("")), Some(("10.0.0.5".to_owned(), 2222)));
        assert_eq!(target_in(&settings("proxyjump none\n")), Some(("10.0.0.5".to_owned(), 2222)));
        assert_eq!(target_in(&settings("proxyjump gate\n")), None);
        assert_eq!(target_in(&settings("proxycommand nc %h %p\n")), None);
        assert_eq!(target_in("host n1\n"), None);
    }

    #[test]
    fn an_address_that_answers_is_not_silent() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _stream = std::net::TcpStream::connect(address).unwrap();
        assert!(!is_unanswered(address));
    }

    #[test]
    fn the_end_of_what_was_said() {
        let output = Output { stderr: " \na\nb\n\nc\nd\n".to_owned(), ..Output::default() };
        assert_eq!(output.last_output(), "b / c / d");
        assert_eq!(Output { status: 3, ..Output::default() }.last_output(), "status 3, no output");
    }

    #[test]
    fn a_wrong_key_a_missing_key_and_a_refused_one() {
        let host: SshHost = "omm@n1".parse().unwrap();
        let error = |said: &str| {
            let cause = std::io::Error::other(said.to_owned());
            unreachable_error(&host, &openssh::Error::Connect(cause))
        };
        for (said, detail) in [
            (
                "@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
                "is not the one",
            ),
            ("No ED25519 host key is known for n1\r\nHost key verification failed.", "is not in known_hosts"),
            ("omm@n1: Permission denied (publickey).", "Permission denied (publickey)"),
            ("connect to host n1 port 22: Connection refused", "Connection refused"),
        ] {
            let error = error(said);
            assert_eq!(error.kind(), ErrorKind::Unreachable);
            assert!(error.failure().detail.contains(detail), "{error}");
        }
        assert!(error("x").to_string().ends_with("ssh -o BatchMode=yes omm@n1 true"));
    }
}
