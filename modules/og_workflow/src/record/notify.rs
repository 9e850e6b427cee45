//! Tells the outcome of a run to a command of the administrator's, such as one that sends a message.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use og_common::gauss::process::Program;
use og_common::protocol::{Error, ErrorKind};
use serde_json::Value;

use super::folder::to_line;

/// How long the command may take; it is ended then.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs the command with the outcome as one line of JSON on its standard input; no command is none to run.
///
/// # Errors
/// It cannot be found or run, failed, or was not over in time.
pub(super) async fn notify(command: &[String], outcome: &Value) -> Result<(), Error> {
    let Some((name, args)) = command.split_first() else { return Ok(()) };
    let mut input = to_line(outcome)?;
    input.push(b'\n');
    let env: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let program = Program::new(find(name)?)
        .args(args)
        .envs(env.iter().map(|(key, value)| (key, value)))
        .with_limit(Some(LIMIT))
        .with_input(input);
    let done = program.run().await?;
    let fail = |kind: ErrorKind, what: String| Err(Error::new(kind, what).with_command(done.record()));
    match (done.timed_out, done.rc) {
        (true, _) => fail(ErrorKind::Timeout, format!("{name} was not over within {} s", LIMIT.as_secs())),
        (false, 0) => Ok(()),
        (false, rc) => {
            fail(ErrorKind::CommandFailed, format!("{name} ended with status {rc}: {}", done.last_words()))
        }
    }
}

/// The file of the command: its path, or a name on the PATH.
fn find(name: &str) -> Result<PathBuf, Error> {
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|folder| folder.join(name));
    found.find(|file| file.is_file()).ok_or_else(|| {
        Error::not_found(format!("there is no command {name} on the PATH")).hint("give its absolute path")
    })
}
