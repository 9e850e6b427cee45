//! The arguments of a call: read, checked, typed.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::intake::{self, Request};
use super::schema::call_schema;
use super::{Module, hosts};
use crate::base::{Common, Error, ErrorKind, secret};

/// More than this is no list of arguments.
pub(super) const MAX_INPUT_BYTES: u64 = 64 << 20;

/// The request of a call over ssh, and what becomes ready when the caller is gone.
pub(super) async fn read_served_request()
-> Result<(Request, Option<tokio::sync::oneshot::Receiver<()>>), Error> {
    let (text, gone) =
        hosts::read_served_line().await.map_err(|e| Error::io("read", Path::new("standard input"), &e))?;
    Ok((Request::parse(&text)?, Some(gone)))
}

/// The arguments with every value of its type, by the schema and the rules.
pub(super) fn check_and_type<M: Module>(mut values: Map<String, Value>) -> Result<(Common, M::Args), Error> {
    if M::PASSED_ON.is_empty() {
        refuse_masked(&values)?;
    }
    check::<M>(&mut values)?;
    deserialize_args::<M>(values)
}

/// The arguments without those that hold many bytes.
pub(super) fn remove_bulk<M: Module>(args: &Map<String, Value>) -> Map<String, Value> {
    let texts = args.iter().filter(|(name, _)| !M::BULK.contains(&name.as_str()));
    texts.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Refuses what a result shows in the place of a secret: written into a file, it would be the secret.
fn refuse_masked(args: &Map<String, Value>) -> Result<(), Error> {
    let Some((name, _)) = args.iter().find(|(_, value)| has_mask(value)) else { return Ok(()) };
    let detail = format!("/{name}: {} stands in a result in the place of a secret", secret::MASK);
    Err(Error::bad_args(detail).with_path(format!("/{name}")).hint("give the secret itself"))
}

fn has_mask(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(secret::MASK),
        Value::Array(items) => items.iter().any(has_mask),
        Value::Object(map) => map.values().any(has_mask),
        _ => false,
    }
}

/// Checks the values against the module's schema and gives each its type.
fn check<M: Module>(values: &mut Map<String, Value>) -> Result<(), Error> {
    // Not freed: the process ends after this call, and dropping the schema is an eighth of a short call's instructions.
    let schema = std::mem::ManuallyDrop::new(call_schema::<M>(values));
    intake::check(values, &schema, M::RULES)
}

/// Makes the typed arguments of checked values.
fn deserialize_args<M: Module>(values: Map<String, Value>) -> Result<(Common, M::Args), Error> {
    let all = Value::Object(values);
    let common = Common::deserialize(&all).map_err(|e| Error::bad_args(e.to_string()))?;
    let args = serde_json::from_value::<M::Args>(all).map_err(|e| Error::bad_args(e.to_string()))?;
    Ok((common, args))
}

/// The arguments of a call, taken in.
#[derive(Debug)]
pub struct CallArguments<A> {
    /// The caller's keys, each value with the type that the schema asks for.
    pub values: Map<String, Value>,
    /// The arguments common to all modules.
    pub common: Common,
    /// The module's own.
    pub args: A,
}

/// Takes in the text of a call as [`super::main`] does, and goes no further: for tests, fuzz targets and other front ends.
///
/// # Errors
/// `bad_args`, as the program would say it.
pub fn take_in<M: Module>(text: &[u8]) -> Result<CallArguments<M::Args>, Error> {
    let mut values = Request::parse(text)?.args;
    check::<M>(&mut values)?;
    let (common, args) = deserialize_args::<M>(values.clone())?;
    Ok(CallArguments { values, common, args })
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
    if text.len() as u64 > MAX_INPUT_BYTES {
        return Err(Error::bad_args(format!("the arguments are larger than {} MiB", MAX_INPUT_BYTES >> 20)));
    }
    Request::parse(&text).inspect_err(|_| secret::register_named(&String::from_utf8_lossy(&text)))
}

fn read_bounded(source: impl Read) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    source.take(MAX_INPUT_BYTES + 1).read_to_end(&mut text)?;
    Ok(text)
}
