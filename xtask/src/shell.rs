//! Runs outside programs and finds the folders of the project.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What a task ends with; the message is for the person who ran it.
pub type Result<T = ()> = std::result::Result<T, String>;

/// The top folder of the project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_path_buf()
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The cargo that runs this task.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs the command and shows its output.
pub fn run(command: &mut Command) -> Result {
    let status = command.status().map_err(|e| format!("cannot run {}: {e}", name(command)))?;
    if status.success() { Ok(()) } else { Err(format!("{} failed: {status}", name(command))) }
}

/// Runs the command and returns its standard output.
pub fn output(command: &mut Command) -> Result<String> {
    let out = command.output().map_err(|e| format!("cannot run {}: {e}", name(command)))?;
    if out.status.success() {
        return String::from_utf8(out.stdout).map_err(|_| format!("{} printed no UTF-8", name(command)));
    }
    Err(format!("{} failed: {}\n{}", name(command), out.status, String::from_utf8_lossy(&out.stderr)))
}

/// Whether the program is on the PATH.
pub fn has(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|d| d.join(program).is_file()))
}

fn name(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .take(6)
        .map(|w| w.to_string_lossy().into_owned())
        .collect();
    words.join(" ")
}
