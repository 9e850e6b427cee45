//! A program of the suite run on other machines, over the user's own ssh.
//!
//! The program copies itself to the host once, by its content, and runs there with the arguments on standard input,
//! which stays open as long as the caller wants the answer: when it closes, the program there ends (see
//! `--served` in the protocol). So nothing goes on at a host that nobody waits for.

mod host;
mod link;
mod program;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::base::{CommandRecord, Error, ErrorKind, not_root_error};
use link::{Input, Link, Output, connection_lost_error, not_ended_error};

pub use host::SshHost;
pub use program::Program;

/// The folder of the user there that holds the programs, one folder below it for each content.
const FOLDER: &str = "~/.cache/opengauss-node";
/// How long a host may leave unanswered what is sent to it: the first packet is sent three times by then.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(5);
/// What the host says when it has not the program as we have it.
const MISSING: &str = "og-program-missing";

/// Runs program `$1`, whose content has the hash `$3`, with what follows; says when it is not there as it should be.
const RUN: &str = r#"f=$HOME/.cache/opengauss-node/$2/$1; if [ -x "$f" ] && [ "$(sha256sum <"$f")" = "$3  -" ]; then shift 3; exec "$f" --served "$@"; fi; echo "og-program-missing $(uname -s) $(uname -m)""#;

/// The same as root: by sudo where the user there is another one. He could change the file between its check and its use, so what
/// sudo runs is a copy in a folder of root's own, checked there. Nothing of his environment reaches it.
const RUN_AS_ROOT: &str = r#"f=$HOME/.cache/opengauss-node/$2/$1; if [ -x "$f" ] && [ "$(sha256sum <"$f")" = "$3  -" ]; then n=$1; h=$3; shift 3; if [ "$(id -u)" = 0 ]; then exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME="$HOME" "$f" --served "$@"; else exec sudo -n -- /bin/sh -c 'PATH=/usr/sbin:/usr/bin:/sbin:/bin; umask 077; t=$(mktemp -d /var/lib/.og_root.XXXXXX) || exit 1; trap "rm -rf $t" EXIT; trap "exit 1" HUP INT TERM; cat <"$1" >"$t/$2" && [ "$(sha256sum <"$t/$2")" = "$3  -" ] && chmod 0700 "$t/$2" || { echo "$2 is not the program that was sent" >&2; exit 1; }; p=$t/$2; shift 3; env -i PATH="$PATH" HOME=/root "$p" --served "$@"' sh "$f" "$n" "$h" "$@"; fi; fi; echo "og-program-missing $(uname -s) $(uname -m)""#;

/// Takes program `$1` in on standard input; what is not whole never gets its name.
const TAKE: &str = r#"umask 077; r=$HOME/.cache/opengauss-node; mkdir -p "$r/$2" && t=$(mktemp "$r/.up.XXXXXX") && trap 'rm -f "$t"' EXIT && cat >"$t" && if [ "$(sha256sum <"$t")" = "$3  -" ]; then chmod 0700 "$t" && mv -f "$t" "$r/$2/$1"; else echo "it did not arrive whole" >&2; false; fi"#;

/// A program with its flags and its one line of arguments.
#[derive(Clone, Copy, Debug)]
pub struct RemoteRequest<'a> {
    /// The program.
    pub program: &'a Program,
    /// Its flags.
    pub flags: &'a [&'static str],
    /// Its arguments, with the line's end.
    pub arguments: &'a str,
    /// Whether it is run as root.
    pub as_root: bool,
}

/// A connection to one host, over which programs are called, several at once.
#[derive(Debug)]
pub struct Connection(Link);

impl Connection {
    /// Connects, or uses the connection that the user's own ssh keeps open. `config` is what `ssh -F` takes. A host that leaves
    /// unanswered what is sent for as long as `silence` is unreachable; one that answers has ten seconds to let us in.
    ///
    /// # Errors
    /// `unreachable`; `interrupted` when `stop` turns true first.
    pub async fn open(
        host: &SshHost,
        config: Option<&Path>,
        silence: Duration,
        mut stop: watch::Receiver<bool>,
    ) -> Result<Self, Error> {
        tokio::select! {
            link = Link::open(host, config, silence) => link.map(Self),
            () = wait_until_true(&mut stop) => Err(interrupted_error()),
        }
    }

    /// Calls the program and returns what it prints there; when `stop` turns true, ends it there first. `hear` gets
    /// each line of its standard error and says whether that was all there is to do about it; the others are kept for
    /// a message.
    ///
    /// # Errors
    /// The program did not come to a result.
    pub async fn call(
        &self,
        request: RemoteRequest<'_>,
        stop: watch::Receiver<bool>,
        hear: &mut (dyn FnMut(&str) -> bool + Send),
    ) -> Result<Map<String, Value>, Error> {
        Ok(self.call_timed(request, stop, hear).await?.0)
    }

    /// [`Connection::call`], with the times by the clock of this machine at which the program's arguments were sent and its answer
    /// was here: whatever it read of a clock there, it read in between. What came before, such as its own transfer, is not in it.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub async fn call_timed(
        &self,
        request: RemoteRequest<'_>,
        mut stop: watch::Receiver<bool>,
        hear: &mut (dyn FnMut(&str) -> bool + Send),
    ) -> Result<(Map<String, Value>, Option<(SystemTime, SystemTime)>), Error> {
        let first = self.run(request, &mut stop, hear).await?;
        let Some((system, machine)) = missing_program(&first) else {
            return Ok((parse_result(request, &first)?, first.times));
        };
        let fitting = request.program.for_machine(system, machine)?;
        let program = fitting.as_ref().unwrap_or(request.program);
        let request = RemoteRequest { program, ..request };
        // A program for another machine has another content, and may be there already.
        let mut answer = if fitting.is_some() { self.run(request, &mut stop, hear).await? } else { first };
        if missing_program(&answer).is_some() {
            tokio::select! {
                sent = send(&self.0, program) => sent?,
                () = wait_until_true(&mut stop) => return Err(interrupted_error()),
            }
            answer = self.run(request, &mut stop, hear).await?;
        }
        if missing_program(&answer).is_some() {
            return Err(Error::new(
                ErrorKind::Permission,
                format!("{FOLDER}/{}/{} is there now and cannot be run", program.folder(), program.name),
            )
            .hint(format!(
                "if that file system is mounted noexec, make {FOLDER} a link to a folder on another one"
            )));
        }
        Ok((parse_result(request, &answer)?, answer.times))
    }

    async fn run(
        &self,
        RemoteRequest { program, flags, arguments, as_root }: RemoteRequest<'_>,
        stop: &mut watch::Receiver<bool>,
        hear: &mut (dyn FnMut(&str) -> bool + Send),
    ) -> Result<Output, Error> {
        let script = if as_root { RUN_AS_ROOT } else { RUN };
        let mut words = vec![script, "sh", &program.name, program.folder(), &program.hash];
        words.extend(flags);
        let begun = Instant::now();
        let output =
            self.0.run(&words, arguments.as_bytes(), Input::Open, wait_until_true(stop), hear).await?;
        let (name, host) = (&program.name, self.0.host());
        tracing::debug!(
            "{host}: {name} ended, exit status {}, after {} ms",
            output.status,
            begun.elapsed().as_millis()
        );
        Ok(output)
    }

    /// Whether the connection still stands; it ends by itself some time after its last use.
    pub async fn is_open(&self) -> bool {
        self.0.is_open().await
    }

    /// Ends it, unless it is the user's own.
    pub async fn close(self) {
        self.0.close().await;
    }
}

/// The object that the program printed; what a login shell printed before it is passed over.
fn parse_result(request: RemoteRequest<'_>, output: &Output) -> Result<Map<String, Value>, Error> {
    let last = output.stdout.lines().rev().find(|line| !line.trim().is_empty());
    match (last.map(serde_json::from_str), &output.lost) {
        (Some(Ok(Value::Object(object))), _) if object.contains_key("changed") => Ok(object),
        (_, Some(why)) => Err(if output.stopped { not_ended_error(why) } else { connection_lost_error(why) }),
        _ if output.stopped => Err(interrupted_error()),
        _ if request.as_root && is_refused_by_sudo(&output.stderr) => Err(not_root_error(format!(
            "{} needs root there, and is not let: {}",
            request.program.name,
            output.last_output()
        ))),
        _ => Err(Error::new(
            ErrorKind::CommandFailed,
            format!("{} ended there without a result: {}", request.program.name, output.last_output()),
        )
        .hint("whether it did its work is not known; the same call again carries on")
        .with_command(CommandRecord::new(
            vec![request.program.name.clone()],
            output.status,
            &output.stdout,
            &output.stderr,
        ))),
    }
}

/// Whether the last line is that of a sudo that refuses, or of a shell that finds no sudo; a program may mention sudo, too.
fn is_refused_by_sudo(stderr: &str) -> bool {
    let last = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    last.starts_with("sudo:")
        || last.ends_with("sudo: not found")
        || last.ends_with("sudo: command not found")
}

/// Opens the file that `ssh -F` is to take, so that one that is not there is found before any host is asked.
///
/// # Errors
/// It cannot be read.
pub fn check_config(path: &Path) -> Result<(), Error> {
    std::fs::File::open(path).map(drop).map_err(|e| Error::io("read", path, &e))
}

/// What is the same for all hosts of a call.
#[derive(Debug)]
pub struct Caller {
    program: Program,
    config: Option<PathBuf>,
    flags: Vec<&'static str>,
    arguments: String,
    as_root: bool,
}

impl Caller {
    /// This program, to be run with these flags and this one line of arguments. `config` is what `ssh -F` takes.
    pub fn new(
        name: &'static str,
        config: Option<&Path>,
        flags: Vec<&'static str>,
        arguments: String,
        as_root: bool,
    ) -> Result<Self, Error> {
        config.map(check_config).transpose()?;
        let program = Program::from_running(name)?;
        Ok(Self { program, config: config.map(Path::to_path_buf), flags, arguments, as_root })
    }

    /// Runs it on the host and returns what it prints there; when `stop` turns true, ends it there first.
    pub async fn call(
        &self,
        host: &SshHost,
        stop: watch::Receiver<bool>,
    ) -> Result<Map<String, Value>, Error> {
        let connection =
            Connection::open(host, self.config.as_deref(), SILENCE_TIMEOUT, stop.clone()).await?;
        let request = RemoteRequest {
            program: &self.program,
            flags: &self.flags,
            arguments: &self.arguments,
            as_root: self.as_root,
        };
        let result = connection.call(request, stop, &mut |_| false).await;
        connection.close().await;
        result
    }
}

/// Puts the program on the host.
async fn send(link: &Link, program: &Program) -> Result<(), Error> {
    let words = [TAKE, "sh", &program.name, program.folder(), &program.hash];
    let never = std::future::pending();
    let output = link.run(&words, &program.content, Input::Closed, never, &mut |_| false).await?;
    if let Some(why) = &output.lost {
        return Err(connection_lost_error(why));
    }
    if output.status == 0 {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Io,
        format!("cannot put {} into {FOLDER} there: {}", program.name, output.last_output()),
    ))
}

/// System and machine, when the host says that it has not the program.
fn missing_program(output: &Output) -> Option<(&str, &str)> {
    let last = output.stdout.lines().next_back()?;
    last.strip_prefix(MISSING)?.trim().split_once(' ')
}

fn interrupted_error() -> Error {
    Error::new(ErrorKind::Interrupted, "ended before this host had answered")
        .hint("the same call again carries on")
}

/// Waits until it is true.
async fn wait_until_true(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // Nobody is left who could say so.
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::base::Reason;

    #[test]
    fn a_program_that_was_told_to_end_has_ended_only_where_that_was_seen() {
        let program = Program::from_running("og_x").unwrap();
        let kind = |lost: Option<&str>, stdout: &str| {
            let output = Output {
                stdout: stdout.to_owned(),
                stopped: true,
                lost: lost.map(str::to_owned),
                ..Output::default()
            };
            let request = RemoteRequest { program: &program, flags: &[], arguments: "", as_root: false };
            parse_result(request, &output).map_err(|e| e.kind())
        };
        assert_eq!(kind(None, ""), Err(ErrorKind::Interrupted));
        assert_eq!(kind(Some("it did not end within 10 s"), ""), Err(ErrorKind::Unreachable));
        // Its last words count.
        assert!(kind(Some("the host is gone"), "{\"changed\": true}").is_ok());
    }

    #[test]
    fn a_sudo_that_asks_for_a_password_is_told_with_what_to_do() {
        let program = Program::from_running("og_x").unwrap();
        let said = |as_root, stderr: &str| {
            let output = Output { stderr: stderr.to_owned(), status: 1, ..Output::default() };
            let request = RemoteRequest { program: &program, flags: &[], arguments: "", as_root };
            parse_result(request, &output).unwrap_err()
        };
        let error = said(true, "sudo: a password is required\n");
        assert_eq!((error.kind(), error.failure().reason), (ErrorKind::Permission, Some(Reason::NotRoot)));
        assert!(error.to_string().contains("a password is required"), "{error}");
        assert_eq!(said(true, "sh: 1: exec: sudo: not found").kind(), ErrorKind::Permission);
        assert_eq!(said(true, "killed").kind(), ErrorKind::CommandFailed);
        assert_eq!(said(true, "sudo: unable to resolve host n1\nkilled").kind(), ErrorKind::CommandFailed);
        assert_eq!(said(false, "sudo: a password is required\n").kind(), ErrorKind::CommandFailed);
    }

    #[test]
    fn a_program_that_needs_root_is_run_by_sudo_where_the_user_is_another_one() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let script = |name: &str, text: &str| {
            let path = home.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        script("bin/sudo", r#"echo "by sudo: $*""#);
        let path =
            script(".cache/opengauss-node/0123456789abcdef/og_x", r#"echo "run: $* [$LD_LIBRARY_PATH]""#);
        let hash = Program::from_file("og_x", path.clone()).unwrap().hash;
        let run = |own: &str, uid: &str| {
            script("bin/id", &format!("echo {uid}"));
            let search = format!("{}:{}", home.path().join("bin").display(), std::env::var("PATH").unwrap());
            let words = ["-c", own, "sh", "og_x", "0123456789abcdef", &hash, "--progress"];
            let done = std::process::Command::new("sh")
                .args(words)
                .env("HOME", home.path())
                .env("PATH", search)
                .env("LD_LIBRARY_PATH", "/omm")
                .output()
                .unwrap();
            String::from_utf8(done.stdout).unwrap()
        };
        let by_sudo = run(RUN_AS_ROOT, "1000");
        assert!(by_sudo.starts_with("by sudo: -n -- /bin/sh -c PATH="), "{by_sudo}");
        assert!(by_sudo.ends_with(&format!(" sh {} og_x {hash} --progress\n", path.display())), "{by_sudo}");
        assert_eq!(run(RUN_AS_ROOT, "0"), "run: --served --progress []\n");
        assert_eq!(run(RUN, "1000"), "run: --served --progress [/omm]\n");
        if nix::unistd::Uid::effective().is_root() {
            // Root runs a copy that only root can change, not the user's file.
            script("bin/sudo", r#"shift 2; exec "$@""#);
            assert_eq!(run(RUN_AS_ROOT, "1000"), "run: --served --progress []\n");
            script("bin/sudo", &format!("echo other >{}; shift 2; exec \"$@\"", path.display()));
            assert_eq!(run(RUN_AS_ROOT, "1000"), "");
        }
        std::fs::write(&path, "another one").unwrap();
        assert!(run(RUN_AS_ROOT, "0").starts_with(MISSING));
    }

    #[test]
    fn the_scripts_are_plain_for_any_login_shell() {
        for script in [RUN, RUN_AS_ROOT, TAKE] {
            // fish reads a backslash, csh a new line or an exclamation mark inside of quotes.
            assert!(!script.contains(['\\', '\n', '!']), "{script}");
        }
        assert!(RUN_AS_ROOT.contains(MISSING) && RUN_AS_ROOT.contains(&FOLDER[1..]));
        assert!(RUN.contains(MISSING) && RUN.contains(&FOLDER[1..]) && TAKE.contains(&FOLDER[1..]));
    }
}
