//! One call of a program from its command line to its exit status.

use std::future::Future;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches, Command};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Gid, Uid, User};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::done::Done;
use super::hosts;
use super::intake::choice_names;
use super::intake::{self, Request};
use super::json;
use super::schema::{args_help, args_schema, call_schema, common_schema, result_schema};
use super::secret;
use super::{Call, Common, Diff, Error, ErrorKind, Module, Report};

/// More than this is no list of arguments.
pub(super) const MOST_INPUT: u64 = 64 << 20;
/// Items of one list or characters of one text that the result's `invocation` echoes.
const MOST_ECHO: usize = 100;

/// Runs the module as a program: arguments from the command line, file or standard input; one JSON object and a
/// newline on standard output; exit status 0, 1 (failed) or 2 (unusable arguments).
#[must_use]
pub fn main<M: Module>() -> ExitCode {
    let start = Instant::now();
    hold_signals();
    report_panics(start);
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
                return failed(start, &Map::new(), &Error::bad_args(line).hint("see --help"));
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
                eprintln!("{}: {}{hint}", M::NAME, secret::text(&e.failure().detail));
                ExitCode::FAILURE
            }
        };
    }
    match hosts::run::<M>(&matches, start) {
        None => {}
        Some(Ok(code)) => return code,
        Some(Err(e)) => return failed(start, &Map::new(), &e),
    }
    if matches.get_flag("validate") {
        let (invocation, result) = within_runtime(|_| validate::<M>(&matches));
        return finish(start, &invocation, result, &[]);
    }
    let (invocation, result) = within_runtime(|done| call::<M>(&matches, start, done));
    finish(start, &invocation, result, M::PASSED_ON)
}

/// The command line that the program takes.
#[must_use]
pub fn command<M: Module>() -> Command {
    Command::new(M::NAME)
        .about(M::ABOUT)
        .version(env!("CARGO_PKG_VERSION"))
        .arg(
            Arg::new("file")
                .value_name("ARGS.json")
                .value_parser(clap::value_parser!(PathBuf))
                .help("File with the JSON arguments; standard input when not given"),
        )
        .arg(flag("check").help("Change nothing; say what would change"))
        .arg(flag("diff").help("Return the texts before and after"))
        .arg(
            flag("progress")
                .conflicts_with("host")
                .help("Tell how far it is, in lines of JSON on standard error"),
        )
        .arg(
            flag("validate")
                .conflicts_with("host")
                .help("Only check the arguments, and say what is wrong with them"),
        )
        .arg(
            Arg::new("schema")
                .long("schema")
                .value_parser(["args", "result"])
                .help("Print the JSON Schema of the arguments or of the result"),
        )
        .arg(flag("examples").help("Print examples"))
        .args(hosts::flags())
        .group(clap::ArgGroup::new("views").args(M::VIEWS.iter().map(|v| v.flag)))
        .args(M::VIEWS.iter().map(|view| {
            Arg::new(view.flag)
                .long(view.flag)
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .conflicts_with_all(["file", "check", "diff", "validate", "schema", "examples"])
                .help(view.help)
        }))
        .after_help("Prints exactly one JSON object. --help lists the arguments and examples.")
}

fn flag(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}

/// The list of arguments, made only when the long help is asked for: it costs more than a whole call.
fn lazy_help<M: Module>() -> String {
    if std::env::args_os().any(|a| a == "--help") { args_help::<M>() } else { String::new() }
}

fn document<M: Module>(matches: &ArgMatches) -> Option<String> {
    if let Some(which) = matches.get_one::<String>("schema") {
        let schema = if which == "args" { args_schema::<M>() } else { result_schema::<M>() };
        return Some(format!("{schema:#}"));
    }
    matches.get_flag("examples").then(|| {
        let one = |e: &super::Example| format!("# {}\necho '{}' | {}", e.title, e.args, M::NAME);
        M::EXAMPLES.iter().map(one).collect::<Vec<_>>().join("\n\n")
    })
}

/// The text of the view that is asked for.
fn view<M: Module>(matches: &ArgMatches) -> Option<Result<String, Error>> {
    M::VIEWS.iter().find_map(|v| matches.get_one::<PathBuf>(v.flag).map(|file| (v.render)(file)))
}

fn show(text: &str) -> ExitCode {
    written(|out| writeln!(out, "{text}"), ExitCode::SUCCESS)
}

/// Keeps SIGTERM and SIGINT back until [`release_signals`], when there is somebody to hear them.
fn hold_signals() {
    // The signals are ones that a process may block; nothing else is refused.
    let _ = heard().thread_block();
}

/// Lets the signals through that [`hold_signals`] kept back.
pub(super) fn release_signals() {
    let _ = heard().thread_unblock();
}

fn heard() -> SigSet {
    SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT])
}

/// Runs the future to its end, unless SIGTERM or SIGINT ends it first. However it fails, the error says what was done.
fn within_runtime<T, F>(start: impl FnOnce(Done) -> F) -> (Map<String, Value>, Result<T, Error>)
where
    F: Future<Output = (Map<String, Value>, Result<T, Error>)>,
{
    let done = Done::default();
    let run = || -> std::io::Result<_> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut terminate, mut interrupt) = {
            let _inside = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        release_signals();
        let result = runtime.block_on(async {
            let ended = |name| {
                let error = Error::new(ErrorKind::Interrupted, format!("ended by {name}"));
                (Map::new(), Err(error.hint("the same call again carries on")))
            };
            tokio::select! {
                result = start(done.clone()) => result,
                _ = terminate.recv() => ended("SIGTERM"),
                _ = interrupt.recv() => ended("SIGINT"),
            }
        });
        // A thread that still waits for standard input must not keep the program.
        runtime.shutdown_background();
        Ok(result)
    };
    let (invocation, result) = run().unwrap_or_else(|e| {
        (Map::new(), Err(Error::new(ErrorKind::Internal, format!("cannot start the runtime: {e}"))))
    });
    (invocation, result.map_err(|e| done.before(e)))
}

/// Takes in the arguments and runs the module; returns the arguments as the result may echo them, too.
async fn call<M: Module>(
    matches: &ArgMatches,
    start: Instant,
    done: Done,
) -> (Map<String, Value>, Result<Report<M::Output>, Error>) {
    let request = if matches.get_flag("served") {
        served_request().await
    } else {
        read_request::<M>(matches.get_one::<PathBuf>("file")).await.map(|request| (request, None))
    };
    let (request, gone) = match request {
        Ok(request) => request,
        Err(e) => return (Map::new(), Err(e)),
    };
    secret::keep_all(&request.args);
    let flags = match flags(&request, matches) {
        Ok(flags) => flags,
        Err(e) => return (Map::new(), Err(e)),
    };
    if flags.no_log {
        keep_arguments::<M>(&request.args);
    }
    let invocation = if flags.no_log { Map::new() } else { echo(&request.args) };
    let act = act::<M>(request.args, flags, start, done);
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
            secret::keep_all(&request.args);
            typed::<M>(request.args)
        }
        Err(e) => Err(e),
    };
    (Map::new(), typed.map(|_| Report::unchanged("the arguments can be used", Empty {})))
}

/// A result without keys of its own.
#[derive(Serialize)]
struct Empty {}

/// The request of a call over ssh, and what becomes ready when the caller is gone.
async fn served_request() -> Result<(Request, Option<tokio::sync::oneshot::Receiver<()>>), Error> {
    let (text, gone) =
        hosts::served().await.map_err(|e| Error::io("read", Path::new("standard input"), &e))?;
    Ok((Request::parse(&text)?, Some(gone)))
}

/// The arguments with every value of its type, by the schema and the rules.
pub(super) fn typed<M: Module>(mut values: Map<String, Value>) -> Result<(Common, M::Args), Error> {
    if M::PASSED_ON.is_empty() {
        refuse_masked(&values)?;
    }
    check::<M>(&mut values)?;
    types::<M>(values)
}

/// Refuses what a result shows in the place of a secret: written into a file, it would be the secret.
fn refuse_masked(args: &Map<String, Value>) -> Result<(), Error> {
    let Some((name, _)) = args.iter().find(|(_, value)| has_mask(value)) else { return Ok(()) };
    let detail = format!("/{name}: {} stands in a result in the place of a secret", secret::MASK);
    Err(Error::bad_args(detail).at(format!("/{name}")).hint("give the secret itself"))
}

fn has_mask(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(secret::MASK),
        Value::Array(items) => items.iter().any(has_mask),
        Value::Object(map) => map.values().any(has_mask),
        _ => false,
    }
}

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
    let (common, args) = typed::<M>(args)?;
    let switched = become_user(&common, M::anchor(&args))?;
    let limit = common.timeout.unwrap_or(M::TIMEOUT);
    // A limit beyond what the clock can count to is none.
    let deadline = if limit > 0 { start.checked_add(Duration::from_secs(limit)) } else { None };
    let call = Call {
        check: flags.check || common.check_mode.unwrap_or(false),
        diff: flags.diff || common.diff.unwrap_or(false),
        no_log: flags.no_log,
        progress: flags.progress && !flags.no_log,
        common,
        switched,
        deadline,
        done,
        ..Call::default()
    };
    let result = match deadline {
        None => M::run(&call, args).await,
        Some(deadline) => {
            let limited = tokio::time::timeout_at(deadline.into(), M::run(&call, args));
            limited.await.unwrap_or_else(|_| Err(expired(&call, limit)))
        }
    };
    let mut report = result.map_err(|e| if call.no_log { e.without_output() } else { e })?;
    if !call.diff || call.no_log {
        report.diff.clear();
    }
    Ok(report)
}

/// Checks the values against the module's schema and gives each its type.
fn check<M: Module>(values: &mut Map<String, Value>) -> Result<(), Error> {
    let schema = call_schema::<M>(values);
    intake::check(values, &schema, M::RULES)
}

/// Makes the typed arguments of checked values.
fn types<M: Module>(values: Map<String, Value>) -> Result<(Common, M::Args), Error> {
    let all = Value::Object(values);
    let common = Common::deserialize(&all).map_err(|e| Error::bad_args(e.to_string()))?;
    let args = serde_json::from_value::<M::Args>(all).map_err(|e| Error::bad_args(e.to_string()))?;
    Ok((common, args))
}

/// The arguments of a call, taken in.
#[derive(Debug)]
pub struct TakenIn<A> {
    /// The caller's keys, each value with the type that the schema asks for.
    pub values: Map<String, Value>,
    /// The arguments common to all modules.
    pub common: Common,
    /// The module's own.
    pub args: A,
}

/// Takes in the text of a call as [`main`] does, and goes no further: for tests, fuzz targets and other front ends.
///
/// # Errors
/// `bad_args`, as the program would say it.
pub fn take_in<M: Module>(text: &[u8]) -> Result<TakenIn<M::Args>, Error> {
    let mut values = Request::parse(text)?.args;
    check::<M>(&mut values)?;
    let (common, args) = types::<M>(values.clone())?;
    Ok(TakenIn { values, common, args })
}

fn expired(call: &Call, limit: u64) -> Error {
    let seen = call.last_seen();
    let seen = if seen.is_empty() { String::new() } else { format!("; last seen: {seen}") };
    Error::new(ErrorKind::Timeout, format!("not finished within {limit} s{seen}"))
        .hint("raise timeout, or look at what was last seen; the same call again carries on")
}

pub(super) async fn read_request<M: Module>(file: Option<&PathBuf>) -> Result<Request, Error> {
    let text = if let Some(file) = file {
        let open = std::fs::File::open(file).map_err(|e| Error::io("read", file, &e))?;
        read_bounded(open).map_err(|e| Error::io("read", file, &e))?
    } else {
        if std::io::stdin().is_terminal() {
            let example = M::EXAMPLES.first().map_or("{}", |e| e.args);
            eprintln!(
                "usage: {0} ARGS.json, or for example\n  echo '{example}' | {0}\n{0} --help tells more",
                M::NAME
            );
            return Err(Error::bad_args("no arguments: standard input is a terminal and no file is named"));
        }
        let read = tokio::task::spawn_blocking(|| read_bounded(std::io::stdin().lock())).await;
        let read = read.map_err(|e| Error::new(ErrorKind::Internal, format!("reading stopped: {e}")))?;
        read.map_err(|e| Error::io("read", Path::new("standard input"), &e))?
    };
    if text.len() as u64 > MOST_INPUT {
        return Err(Error::bad_args(format!("the arguments are larger than {} MiB", MOST_INPUT >> 20)));
    }
    Request::parse(&text).inspect_err(|_| secret::keep_named(&String::from_utf8_lossy(&text)))
}

fn read_bounded(source: impl Read) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    source.take(MOST_INPUT + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// Run by root, becomes the node's user, and tells whether that is another one; run by anyone else, checks that it is that
/// user.
fn become_user(common: &Common, anchor: Option<&Path>) -> Result<bool, Error> {
    let me = Uid::effective();
    let named = common.os_user.as_deref().map(find_user).transpose()?;
    if !me.is_root() {
        return match named {
            Some(user) if user.uid != me => Err(Error::new(
                ErrorKind::Permission,
                format!("os_user is {}, but this runs as uid {me}", user.name),
            )
            .at("/os_user")
            .hint(run_as(&user.name))),
            _ => Ok(false),
        };
    }
    // What the call names counts more than what the environment happens to say.
    let place = common.data_dir.clone().or_else(|| anchor.map(Path::to_owned)).or_else(environments_data_dir);
    let Some(user) = named.or_else(|| place.as_deref().and_then(owner)) else { return Ok(false) };
    if user.uid.is_root() {
        return Ok(false);
    }
    let name = std::ffi::CString::new(user.name.clone())
        .map_err(|_| Error::bad_args("os_user has a NUL in it").at("/os_user"))?;
    switch(&name, user.gid, user.uid).map_err(|e| {
        Error::new(ErrorKind::Permission, format!("cannot become the user {}: {}", user.name, e.desc()))
    })?;
    Ok(true)
}

/// The hint on who may do it.
pub(super) fn run_as(user: &str) -> String {
    if user == "root" { "run it as root".to_owned() } else { format!("run it as {user} or as root") }
}

fn switch(name: &std::ffi::CStr, gid: Gid, uid: Uid) -> nix::Result<()> {
    nix::unistd::initgroups(name, gid)?;
    nix::unistd::setgid(gid)?;
    nix::unistd::setuid(uid)
}

fn find_user(name: &str) -> Result<User, Error> {
    match User::from_name(name) {
        Ok(Some(user)) => Ok(user),
        Ok(None) => Err(Error::not_found(format!("there is no user {name} on this machine")).at("/os_user")),
        Err(e) => Err(Error::new(ErrorKind::Io, format!("cannot look up the user {name}: {}", e.desc()))),
    }
}

/// The data directory that the environment names.
pub(super) fn environments_data_dir() -> Option<PathBuf> {
    std::env::var_os("PGDATA").filter(|dir| !dir.is_empty()).map(PathBuf::from)
}

fn owner(path: &Path) -> Option<User> {
    let meta = std::fs::metadata(path).ok()?;
    User::from_uid(Uid::from_raw(std::os::unix::fs::MetadataExt::uid(&meta))).ok().flatten()
}

/// Keeps the arguments of a call that nothing is to be told of, as far as they are its own: not where the node is, and not
/// the words that the schema itself names.
fn keep_arguments<M: Module>(args: &Map<String, Value>) {
    let schema = call_schema::<M>(args);
    let common = common_schema();
    for (name, value) in args.iter().filter(|(name, _)| !common.contains_key(*name)) {
        let words = schema["properties"].get(name).map(choice_names).unwrap_or_default();
        if !value.as_str().is_some_and(|word| words.contains(&word)) {
            secret::keep_value(value);
        }
    }
}

/// The arguments as the result may show them: secrets masked, long lists and texts cut.
fn echo(args: &Map<String, Value>) -> Map<String, Value> {
    let shown = |key: &str, value: &Value| {
        let secret = secret::is_secret(key) && !value.is_boolean();
        if secret { Value::from(secret::MASK) } else { echo_value(value) }
    };
    args.iter().map(|(key, value)| (key.clone(), shown(key, value))).collect()
}

fn echo_value(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(echo(map)),
        Value::Array(list) => {
            let mut short: Vec<_> = list.iter().take(MOST_ECHO).map(echo_value).collect();
            if list.len() > MOST_ECHO {
                short.push(Value::from(format!("… {} more", list.len() - MOST_ECHO)));
            }
            Value::Array(short)
        }
        Value::String(text) => echo_text(text),
        other => other.clone(),
    }
}

fn echo_text(text: &str) -> Value {
    // An object or a list may be given as text, and its secrets have names there, too.
    if text.trim_start().starts_with(['{', '[']) {
        match json::parse(text) {
            Ok(value) => return echo_value(&value),
            Err(_) if text.trim_start().starts_with('{') => return Value::from(secret::MASK),
            Err(_) => {}
        }
    }
    // Of a secret that is cut, the rest would not be known for one.
    let text = secret::text(text);
    match text.char_indices().nth(10 * MOST_ECHO) {
        Some((end, _)) => Value::from(format!("{}…", &text[..end])),
        None => Value::from(text),
    }
}

/// Set by whoever prints the result: a panic while it is printed must not print a second one.
static PRINTED: AtomicBool = AtomicBool::new(false);

fn finish<O: Serialize>(
    start: Instant,
    invocation: &Map<String, Value>,
    result: Result<Report<O>, Error>,
    passed_on: &[&str],
) -> ExitCode {
    let report = match result {
        Ok(report) => report,
        Err(error) => return failed(start, invocation, &error),
    };
    let success = Success {
        changed: report.changed,
        failed: false,
        msg: &report.msg,
        actions: &report.actions,
        diff: &report.diff,
        warnings: &report.warnings,
        backup_file: report.backup_file.as_deref(),
        ansible_facts: report.ansible_facts.as_ref(),
        output: &report.output,
        end: End::of(start, invocation),
    };
    match secret::to_json(&success, passed_on) {
        Ok(mut text) => {
            text.push(b'\n');
            print(&text, ExitCode::SUCCESS)
        }
        Err(e) => {
            let error = Error::new(ErrorKind::Internal, format!("cannot write the result: {e}"));
            failed(start, invocation, &error.after(report.actions))
        }
    }
}

fn failed(start: Instant, invocation: &Map<String, Value>, error: &Error) -> ExitCode {
    let mut object = error_object(error, start);
    object.insert("invocation".to_owned(), json!({ "module_args": invocation }));
    // A map of texts and numbers can always be written.
    let mut text = secret::to_json(&object, &[]).unwrap_or_default();
    text.push(b'\n');
    print(&text, exit_status(error))
}

fn exit_status(error: &Error) -> ExitCode {
    ExitCode::from(if error.kind() == ErrorKind::BadArgs { 2 } else { 1 })
}

/// The result of a failure, as far as it is the same wherever it happened; of one host among several, too.
pub(super) fn error_object(error: &Error, start: Instant) -> Map<String, Value> {
    let mut object = failure(error);
    object.insert("elapsed_ms".to_owned(), json!(elapsed_ms(start)));
    object
}

/// The result of a call that failed before any program could print one, as a caller on another machine takes it.
#[must_use]
pub fn error_result(error: &Error) -> Map<String, Value> {
    failure(error)
}

fn elapsed_ms(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Prints the result, once, and returns the exit status, which is `code` when it could be printed.
fn print(text: &[u8], code: ExitCode) -> ExitCode {
    if PRINTED.swap(true, Ordering::SeqCst) {
        return code;
    }
    written(|out| out.write_all(text), code)
}

/// Writes to standard output and returns `code`, or failure when that cannot be written, which is then told.
pub(super) fn written(
    write: impl FnOnce(&mut std::io::StdoutLock<'static>) -> std::io::Result<()>,
    code: ExitCode,
) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match write(&mut out).and_then(|()| out.flush()) {
        Ok(()) => code,
        // It is closed: there is nobody left to tell.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => code,
        Err(e) => {
            // Standard error may be no better.
            drop(writeln!(std::io::stderr(), "cannot write the result to standard output: {e}"));
            ExitCode::FAILURE
        }
    }
}

/// The result of a call that did not fail, written as it is: a module may have much to say.
#[derive(Serialize)]
struct Success<'a, O> {
    changed: bool,
    failed: bool,
    msg: &'a str,
    actions: &'a [String],
    #[serde(skip_serializing_if = "<[Diff]>::is_empty")]
    diff: &'a [Diff],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    backup_file: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ansible_facts: Option<&'a Map<String, Value>>,
    #[serde(flatten)]
    output: &'a O,
    #[serde(flatten)]
    end: End<'a>,
}

/// What every result ends with.
#[derive(Serialize)]
struct End<'a> {
    elapsed_ms: u64,
    invocation: Invocation<'a>,
}

#[derive(Serialize)]
struct Invocation<'a> {
    module_args: &'a Map<String, Value>,
}

impl<'a> End<'a> {
    fn of(start: Instant, module_args: &'a Map<String, Value>) -> Self {
        Self { elapsed_ms: elapsed_ms(start), invocation: Invocation { module_args } }
    }
}

fn failure(error: &Error) -> Map<String, Value> {
    let f = error.failure();
    let mut told = json!({ "kind": f.kind, "detail": f.detail });
    if let Some(reason) = f.reason {
        told["reason"] = json!(reason);
    }
    for (key, value) in [("hint", &f.hint), ("path", &f.path), ("gauss_code", &f.gauss_code)] {
        if let Some(value) = value {
            told[key] = json!(value);
        }
    }
    let mut object = Map::new();
    object.insert("changed".to_owned(), json!(!f.actions.is_empty()));
    object.insert("failed".to_owned(), json!(true));
    object.insert("msg".to_owned(), json!(error.to_string().replace('\n', " ")));
    object.insert("actions".to_owned(), json!(f.actions));
    object.insert("error".to_owned(), told);
    for (key, value) in &f.keys {
        object.entry(key).or_insert_with(|| value.clone());
    }
    if let Some(command) = &f.command {
        object.insert("cmd".to_owned(), json!(command.cmd));
        object.insert("rc".to_owned(), json!(command.rc));
        object.insert("stdout".to_owned(), json!(command.stdout));
        object.insert("stderr".to_owned(), json!(command.stderr));
    }
    object
}

/// A panic is a failure like any other to the caller: one JSON object, exit status 1.
fn report_panics(start: Instant) {
    std::panic::set_hook(Box::new(move |panic| {
        let payload = panic.payload();
        let what = payload
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        let place = panic.location().map_or(String::new(), |l| format!(" at {}:{}", l.file(), l.line()));
        let error = Error::new(ErrorKind::Internal, format!("a mistake in this program{place}: {what}"))
            .hint("please report it with the arguments of the call");
        failed(start, &Map::new(), &error);
        std::process::exit(1);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_named_once() {
        assert_eq!(run_as("omm"), "run it as omm or as root");
        assert_eq!(run_as("root"), "run it as root");
    }
}
