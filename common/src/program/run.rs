//! One call of a program from its command line to its exit status.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::ArgMatches;
use serde::Serialize;
use serde_json::{Map, Value};

use super::command::{command, document, export, lazy_help, show, view};
use super::input::{check_and_type, read_request, read_served_request, remove_bulk};
use super::intake::{Request, choice_names};
use super::result::{echo, finish, print_failure};
use super::runtime::{hold_signals, release_signals, report_panics, run_in_runtime};
use super::schema::{call_schema, common_schema};
use super::user::{become_user, check_root};
use super::{Module, hosts};
use crate::base::{Call, Done, Error, ErrorKind, Report, log, secret};

/// Runs the module as a program: arguments from the command line, file or standard input; one JSON object and a
/// newline on standard output; exit status 0, 1 (failed) or 2 (unusable arguments).
#[must_use]
pub fn main<M: Module>() -> ExitCode {
    let start = Instant::now();
    hold_signals();
    report_panics(start);
    log::start();
    let matches =
        match command::<M>().arg(hosts::served_flag()).after_long_help(lazy_help::<M>()).try_get_matches() {
            Ok(matches) => matches,
            Err(e) if !e.use_stderr() => {
                // --help and --version.
                return if e.print().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            }
            Err(e) => {
                drop(e.print());
                let message = e.to_string();
                let line = message.lines().next().unwrap_or_default().trim_start_matches("error: ");
                return print_failure(start, &Map::new(), &Error::bad_args(line).hint("see --help"));
            }
        };
    if let Some(text) = document::<M>(&matches) {
        return show(&text);
    }
    // A view has no result that a signal could be told in.
    let viewing = M::VIEWS.iter().any(|view| matches.contains_id(view.flag));
    if viewing {
        release_signals();
    }
    if let Some(result) = view::<M>(&matches) {
        return match result {
            Ok(text) => show(text.trim_end_matches('\n')),
            Err(e) => {
                let hint = e.failure().hint.as_ref().map(|h| format!("\nhint: {h}")).unwrap_or_default();
                eprintln!("{}: {}{hint}", M::NAME, secret::mask_text(&e.failure().detail));
                ExitCode::FAILURE
            }
        };
    }
    match hosts::run::<M>(&matches, start) {
        None => {}
        Some(Ok(code)) => return code,
        Some(Err(e)) => return print_failure(start, &Map::new(), &e),
    }
    if matches.get_flag("validate") {
        let (invocation, result) = run_in_runtime(|_| validate::<M>(&matches));
        return finish(start, &invocation, result, &[]);
    }
    let (invocation, result) = run_in_runtime(|done| call::<M>(&matches, start, done));
    finish(start, &invocation, result, M::PASSED_ON)
}

/// Takes in the arguments and runs the module; returns the arguments as the result may echo them, too.
async fn call<M: Module>(
    matches: &ArgMatches,
    start: Instant,
    done: Done,
) -> (Map<String, Value>, Result<Report<M::Output>, Error>) {
    let request = if matches.get_flag("served") {
        read_served_request().await
    } else {
        read_request::<M>(matches.get_one::<PathBuf>("file")).await.map(|request| (request, None))
    };
    let (request, gone) = match request {
        Ok(request) => request,
        Err(e) => return (Map::new(), Err(e)),
    };
    let texts = remove_bulk::<M>(&request.args);
    secret::register_args(&texts);
    let flags = match flags(&request, matches) {
        Ok(flags) => flags,
        Err(e) => return (Map::new(), Err(e)),
    };
    if flags.no_log {
        register_secrets::<M>(&texts);
    }
    let invocation = if flags.no_log { Map::new() } else { echo(&texts) };
    let act = async {
        let report = act::<M>(request.args, flags, start, done).await?;
        export::<M>(matches, &report.output).map_err(|e| e.with_output(&report.output))?;
        Ok(report)
    };
    let Some(gone) = gone else { return (invocation, act.await) };
    let result = tokio::select! {
        result = act => result,
        _ = gone => Err(Error::new(ErrorKind::Interrupted, "ended by the caller, or the connection to it was lost")
            .hint("the same call again carries on")),
    };
    (invocation, result)
}

/// Takes in the arguments and goes no further.
async fn validate<M: Module>(matches: &ArgMatches) -> (Map<String, Value>, Result<Report<Empty>, Error>) {
    let typed = match read_request::<M>(matches.get_one::<PathBuf>("file")).await {
        Ok(request) => {
            secret::register_args(&remove_bulk::<M>(&request.args));
            check_and_type::<M>(request.args)
        }
        Err(e) => Err(e),
    };
    (Map::new(), typed.map(|_| Report::unchanged("the arguments can be used", Empty {})))
}

/// A result without keys of its own.
#[derive(Serialize)]
struct Empty {}

fn flags(request: &Request, matches: &ArgMatches) -> Result<Flags, Error> {
    Ok(Flags {
        check: request.flag("check_mode")? || matches.get_flag("check"),
        diff: request.flag("diff")? || matches.get_flag("diff"),
        no_log: request.flag("no_log")?,
        progress: matches.get_flag("progress"),
    })
}

#[allow(clippy::struct_excessive_bools)] // Each is a fact of its own.
struct Flags {
    check: bool,
    diff: bool,
    no_log: bool,
    progress: bool,
}

async fn act<M: Module>(
    args: Map<String, Value>,
    flags: Flags,
    start: Instant,
    done: Done,
) -> Result<Report<M::Output>, Error> {
    let (common, args) = check_and_type::<M>(args)?;
    let switched = if M::NEEDS_ROOT {
        check_root(M::NAME)?;
        false
    } else {
        become_user(&common, M::anchor(&args))?
    };
    let limit = common.timeout.unwrap_or(M::TIMEOUT);
    // A limit beyond what the clock can count to is none.
    let deadline = if limit > 0 { start.checked_add(Duration::from_secs(limit)) } else { None };
    let mut call = Call::default();
    call.check = flags.check || common.check_mode.unwrap_or(false);
    call.diff = flags.diff || common.diff.unwrap_or(false);
    call.no_log = flags.no_log;
    call.progress = flags.progress && !flags.no_log;
    call.common = common;
    call.switched = switched;
    call.deadline = deadline;
    call.done = done;
    let result = match deadline {
        None => M::run(&call, args).await,
        Some(deadline) => {
            let limited = tokio::time::timeout_at(deadline.into(), M::run(&call, args));
            limited.await.unwrap_or_else(|_| Err(timeout_error(&call, limit)))
        }
    };
    let mut report = result.map_err(|e| if call.no_log { e.without_output() } else { e })?;
    if !call.diff || call.no_log {
        report.diff.clear();
    }
    Ok(report)
}

fn timeout_error(call: &Call, limit: u64) -> Error {
    let seen = call.last_seen();
    let seen = if seen.is_empty() { String::new() } else { format!("; last seen: {seen}") };
    Error::new(ErrorKind::Timeout, format!("not finished within {limit} s{seen}"))
        .hint("raise timeout, or see what was last seen; the same call again carries on")
}

/// Keeps the arguments of a call that nothing is to be told of, as far as they are its own: not where the node is, and not
/// the words that the schema itself names.
fn register_secrets<M: Module>(args: &Map<String, Value>) {
    let schema = call_schema::<M>(args);
    let common = common_schema();
    for (name, value) in args.iter().filter(|(name, _)| !common.contains_key(*name)) {
        let words = schema["properties"].get(name).map(choice_names).unwrap_or_default();
        if !value.as_str().is_some_and(|word| words.contains(&word)) {
            secret::register_value(value);
        }
    }
}
