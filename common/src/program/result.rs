//! What a program prints: the one JSON object, and its exit status.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::base::{Diff, Error, ErrorKind, Report, json, secret};

/// Items of one list or characters of one text that the result's `invocation` echoes.
const MOST_ECHO: usize = 100;

/// The arguments as the result may show them: secrets masked, long lists and texts cut.
pub(super) fn echo(args: &Map<String, Value>) -> Map<String, Value> {
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
    let text = secret::mask_text(text);
    match text.char_indices().nth(10 * MOST_ECHO) {
        Some((end, _)) => Value::from(format!("{}…", &text[..end])),
        None => Value::from(text),
    }
}

/// Set once the result is being printed: a panic meanwhile must not print a second one.
static PRINTED: AtomicBool = AtomicBool::new(false);

pub(super) fn finish<O: Serialize>(
    start: Instant,
    invocation: &Map<String, Value>,
    result: Result<Report<O>, Error>,
    passed_on: &[&str],
) -> ExitCode {
    let report = match result {
        Ok(report) => report,
        Err(error) => return print_failure(start, invocation, &error),
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
        end: ResultEnd::new(start, invocation),
    };
    match secret::to_json(&success, passed_on) {
        Ok(mut text) => {
            text.push(b'\n');
            print(&text, ExitCode::SUCCESS)
        }
        Err(e) => {
            let error = Error::new(ErrorKind::Internal, format!("cannot write the result: {e}"));
            print_failure(start, invocation, &error.with_actions(report.actions))
        }
    }
}

pub(super) fn print_failure(start: Instant, invocation: &Map<String, Value>, error: &Error) -> ExitCode {
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
    write_stdout(|out| out.write_all(text), code)
}

/// Writes to standard output and returns `code`, or failure when that cannot be written, which is then told.
pub(super) fn write_stdout(
    write: impl FnOnce(&mut std::io::StdoutLock<'static>) -> std::io::Result<()>,
    code: ExitCode,
) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match write(&mut out).and_then(|()| out.flush()) {
        Ok(()) => code,
        // It is closed: nothing more can be reported there.
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
    end: ResultEnd<'a>,
}

/// What every result ends with.
#[derive(Serialize)]
struct ResultEnd<'a> {
    elapsed_ms: u64,
    invocation: Invocation<'a>,
}

#[derive(Serialize)]
struct Invocation<'a> {
    module_args: &'a Map<String, Value>,
}

impl<'a> ResultEnd<'a> {
    fn new(start: Instant, module_args: &'a Map<String, Value>) -> Self {
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
