//! `--host`: one call on several machines, side by side, one JSON line each; and `--served`, the other end of it.

use std::collections::HashSet;
use std::io::{BufRead, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::{Arg, ArgAction, ArgMatches};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;

use super::Module;
use super::input::{MAX_INPUT_BYTES, check_and_type, read_request, remove_bulk};
use super::result::{error_object, write_stdout};
use super::runtime::release_signals;
use crate::base::{Error, ErrorKind, secret};
use crate::remote::{Caller, SshHost};

/// The flags.
pub(super) fn flags() -> [Arg; 3] {
    let conflicts = ["schema", "examples", "views"];
    [
        Arg::new("host")
            .long("host")
            .value_name("HOST")
            .action(ArgAction::Append)
            .value_parser(clap::value_parser!(SshHost))
            .value_hint(clap::ValueHint::Hostname)
            .conflicts_with_all(conflicts)
            .help("Run it at [USER@]HOST[:PORT], over ssh; given several times, a line is printed for each as it finishes"),
        Arg::new("forks")
            .long("forks")
            .value_name("N")
            .default_value("16")
            .value_parser(clap::value_parser!(u16).range(1..=1024))
            .requires("host")
            .help("Maximum parallel hosts"),
        Arg::new("ssh-config")
            .long("ssh-config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .requires("host")
            .help("Configuration file of ssh, in place of ~/.ssh/config"),
    ]
}

/// Between this program and itself on a host: the arguments are the first line of standard input, whose end means
/// that nobody waits for the answer.
pub(super) fn served_flag() -> Arg {
    Arg::new("served")
        .long("served")
        .action(ArgAction::SetTrue)
        .hide(true)
        .conflicts_with_all(["host", "file"])
}

/// Runs the call on each host that `--host` names, or returns `None` when it names none.
pub(super) fn run<M: Module>(matches: &ArgMatches, start: Instant) -> Option<Result<ExitCode, Error>> {
    let hosts: Vec<SshHost> = matches.get_many("host")?.cloned().collect();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            return Some(Err(Error::new(ErrorKind::Internal, format!("cannot start the runtime: {e}"))));
        }
    };
    let code = runtime.block_on(async {
        let stop = watch_stop_signals().map_err(|e| Error::new(ErrorKind::Internal, format!("cannot watch signals: {e}")))?;
        let mut stopped = stop.clone();
        tokio::select! {
            caller = caller::<M>(matches, &hosts) => {
                let forks = usize::from(*matches.get_one::<u16>("forks").unwrap_or(&1));
                Ok(call_all(Arc::new(caller?), hosts, forks, &stop, (start, M::PASSED_ON)).await)
            }
            _ = stopped.wait_for(|stop| *stop) => Err(Error::new(ErrorKind::Interrupted, "ended before any host was asked")),
        }
    });
    // A thread that still waits for standard input must not keep the program.
    runtime.shutdown_background();
    Some(code)
}

/// Turns true at SIGTERM and SIGINT.
fn watch_stop_signals() -> std::io::Result<watch::Receiver<bool>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    release_signals();
    let (tell, told) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tell.send_replace(true);
        // As long as somebody may still ask.
        tell.closed().await;
    });
    Ok(told)
}

/// Reads the arguments and checks them as a call on this machine does, before any host is asked.
async fn caller<M: Module>(matches: &ArgMatches, hosts: &[SshHost]) -> Result<Caller, Error> {
    let mut seen = HashSet::new();
    if let Some(twice) = hosts.iter().find(|host| !seen.insert(host.given.as_str())) {
        return Err(Error::bad_args(format!("--host {twice} is given twice")));
    }
    let request = read_request::<M>(matches.get_one::<PathBuf>("file")).await?;
    secret::register_args(&remove_bulk::<M>(&request.args));
    check_and_type::<M>(request.args.clone())?;
    let mut arguments = request.args;
    arguments.extend(request.ansible.into_iter().map(|(key, value)| (format!("_ansible_{key}"), value)));
    let flags = [("check", "--check"), ("diff", "--diff")];
    let flags = flags.into_iter().filter(|(name, _)| matches.get_flag(name)).map(|(_, flag)| flag).collect();
    let mut line = Value::Object(arguments).to_string();
    line.push('\n');
    Caller::new(
        M::NAME,
        matches.get_one::<PathBuf>("ssh-config").map(PathBuf::as_path),
        flags,
        line,
        M::NEEDS_ROOT,
    )
}

/// Calls all of them, and prints each one's answer as it comes; returns the exit status.
async fn call_all(
    caller: Arc<Caller>,
    hosts: Vec<SshHost>,
    forks: usize,
    stop: &watch::Receiver<bool>,
    (start, passed_on): (Instant, &[&str]),
) -> ExitCode {
    let places = Arc::new(Semaphore::new(forks));
    let mut calls = JoinSet::new();
    for host in hosts {
        let (caller, places, stop) = (caller.clone(), places.clone(), stop.clone());
        calls.spawn(async move {
            // The semaphore is never closed.
            let _place = places.acquire().await;
            let result = caller.call(&host, stop).await;
            (host, result)
        });
    }
    let mut code = ExitCode::SUCCESS;
    while let Some(done) = calls.join_next().await {
        // Not joined means that it panicked, which has been told and has ended the program.
        let Ok((host, result)) = done else { continue };
        let mut object = result.unwrap_or_else(|e| error_object(&e, start));
        if object.get("failed") != Some(&Value::Bool(false)) {
            code = ExitCode::FAILURE;
        }
        object.shift_insert(0, "host".to_owned(), json!(host.given));
        // A map of texts and numbers can always be written.
        let mut line = secret::to_json(&object, passed_on).unwrap_or_default();
        line.push(b'\n');
        code = write_stdout(|out| out.write_all(&line), code);
    }
    code
}

/// The first line of standard input, and what becomes ready when that ends: whoever waits for the answer is gone.
pub(super) async fn read_served_line() -> std::io::Result<(Vec<u8>, oneshot::Receiver<()>)> {
    let (line_to, line) = oneshot::channel();
    let (gone_to, gone) = oneshot::channel();
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        let mut text = Vec::new();
        let read = input.by_ref().take(MAX_INPUT_BYTES + 1).read_until(b'\n', &mut text).map(|_| text);
        // A receiver that is gone has no use for it.
        drop(line_to.send(read));
        drop(std::io::copy(&mut input, &mut std::io::sink()));
        let _ = gone_to.send(());
    });
    let text = line.await.map_err(std::io::Error::other)??;
    Ok((text, gone))
}
