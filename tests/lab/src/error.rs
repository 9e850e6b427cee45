//! One error for the whole lab: words for the maintainer who runs it.

use std::fmt;
use std::path::Path;
use std::process::{Command, Output};

/// What went wrong, in words.
#[derive(Debug)]
pub struct Error(String);

/// A result of the lab.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with these words.
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }

    /// An error of the file system at `path`.
    #[must_use]
    pub fn from_io(path: &Path, error: &std::io::Error) -> Self {
        Self(format!("{}: {error}", path.display()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Runs a command to its end and returns its standard output; anything but success is an error with its words.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::new(format!(
        "{} ({}): {}{}",
        command_text(command),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )))
}

/// Runs a command to its end, whatever its end is.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    command
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|e| Error::new(format!("{}: {e}", command_text(command))))
}

fn command_text(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}
