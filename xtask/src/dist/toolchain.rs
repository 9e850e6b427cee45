//! What builds the programs for a machine: the compiler that has its standard library, a linker, and zig for older glibcs.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::build::Linking;
use crate::shell::{Result, cargo, has, output};
use crate::{build, setup};

/// The machines that programs are released for, as `uname -m` says.
pub const MACHINES: [&str; 2] = ["x86_64", "aarch64"];

/// The oldest glibc that programs linked by zig run with: CentOS 7's.
pub const OLDEST_GLIBC: u32 = 17;

/// What brings whatever is missing.
const BRINGS: &str = "cargo xtask setup --dist";

/// What builds the programs for one machine.
pub struct Toolchain {
    /// The machine.
    pub machine: &'static str,
    /// The compiler.
    pub compiler: PathBuf,
    /// The folder with cargo-zigbuild, where that is at hand.
    pub zig: Option<PathBuf>,
}

impl Toolchain {
    /// Finds it; or says in one sentence what is missing, and the command that brings it.
    pub fn find(machine: &'static str) -> std::result::Result<Self, String> {
        let usual = std::env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from);
        let triple = triple(machine);
        let compiler =
            [usual, setup::rust_web()].into_iter().find(|compiler| has_standard_library(compiler, &triple));
        let is_linked = machine == std::env::consts::ARCH || has(&linker(machine));
        if let Some(told) = missing(machine, compiler.is_some(), is_linked) {
            return Err(told);
        }
        Ok(Self { machine, compiler: compiler.unwrap_or_default(), zig: setup::zig() })
    }

    /// The target as cargo names it.
    pub fn triple(&self) -> String {
        triple(self.machine)
    }

    /// Cargo, as it builds all programs for the machine; the caller adds flags for the compiler and the folder.
    pub fn build(&self, linking: Linking) -> Command {
        let triple = self.triple();
        let mut command = match &self.zig {
            Some(folder) if linking == Linking::Dynamic => {
                let mut command = Command::new(folder.join("cargo-zigbuild"));
                command.current_dir(crate::shell::root());
                command.args(["zigbuild", "--target", &format!("{triple}.2.{OLDEST_GLIBC}")]);
                // zig is a package of the Python there.
                let path = std::env::var_os("PATH").unwrap_or_default();
                let path = std::iter::once(folder.clone()).chain(std::env::split_paths(&path));
                if let Ok(path) = std::env::join_paths(path) {
                    command.env("PATH", path);
                }
                command
            }
            _ => {
                let mut command = cargo();
                command.args(["build", "--target", &triple]);
                if self.machine != std::env::consts::ARCH {
                    let name = triple.to_uppercase().replace('-', "_");
                    command.env(format!("CARGO_TARGET_{name}_LINKER"), linker(self.machine));
                }
                command
            }
        };
        command.args(["--quiet", "--release", "--locked"]).env("RUSTC", &self.compiler);
        for name in build::modules() {
            command.args(["--package", name]);
        }
        command
    }
}

/// What is missing for this machine, in one sentence with the command that brings it.
fn missing(machine: &str, has_library: bool, has_linker: bool) -> Option<String> {
    let what = match (has_library, has_linker) {
        (true, true) => return None,
        (false, _) => "no compiler here has its standard library".to_owned(),
        (true, false) => format!("its linker, {}, is not installed", linker(machine)),
    };
    Some(format!("no programs for {machine}: {what}; `{BRINGS}` brings what is missing"))
}

/// The target as cargo names it.
fn triple(machine: &str) -> String {
    format!("{machine}-unknown-linux-gnu")
}

/// What links for another machine than this.
fn linker(machine: &str) -> String {
    format!("{}-linux-gnu-gcc", machine.replace('_', "-"))
}

/// Whether the compiler has the standard library for this target.
pub fn has_standard_library(compiler: &Path, triple: &str) -> bool {
    let told = output(Command::new(compiler).args(["--print", "target-libdir", "--target", triple]));
    let Ok(entries) = told.and_then(|folder| std::fs::read_dir(folder.trim()).map_err(|e| e.to_string()))
    else {
        return false;
    };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}

/// The minor version of the newest glibc that a program linked dynamically needs: 17 of 2.17.
///
/// # Errors
/// When it cannot be read.
pub fn needed_glibc(program: &Path) -> Result<u32> {
    let bytes = std::fs::read(program).map_err(|e| format!("cannot read {}: {e}", program.display()))?;
    Ok(newest_version(&bytes))
}

/// The newest N of the words `GLIBC_2.N` between zeros, as the table of needed versions has them.
fn newest_version(bytes: &[u8]) -> u32 {
    let words = bytes.split(|byte| *byte == 0).filter_map(|word| word.strip_prefix(b"GLIBC_2."));
    let minor = |word: &[u8]| {
        std::str::from_utf8(word)
            .ok()
            .and_then(|text| text.split('.').next().unwrap_or_default().parse().ok())
    };
    words.filter_map(minor).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_with_the_command_that_brings_it() {
        assert_eq!(missing("aarch64", true, true), None);
        let library = missing("aarch64", false, true).unwrap_or_default();
        assert_eq!(
            library,
            "no programs for aarch64: no compiler here has its standard library; `cargo xtask setup --dist` brings what is missing"
        );
        let linker = missing("aarch64", true, false).unwrap_or_default();
        assert!(linker.contains("its linker, aarch64-linux-gnu-gcc, is not installed"), "{linker}");
        let words = BRINGS.split_whitespace().skip(1);
        assert!(crate::command().try_get_matches_from(words).is_ok());
    }

    #[test]
    fn a_standard_library_is_seen_where_it_is() {
        let rustc = Path::new("rustc");
        assert!(has_standard_library(rustc, &triple(std::env::consts::ARCH)));
        // The compiler knows the target, and nobody installs its library.
        assert!(!has_standard_library(rustc, "s390x-unknown-linux-musl"));
        assert!(!has_standard_library(Path::new("/no/rustc"), &triple("x86_64")));
    }

    #[test]
    fn the_newest_glibc_is_the_highest_number() {
        assert_eq!(newest_version(b"\0GLIBC_2.2.5\0GLIBC_2.17\0GLIBC_2.9\0xGLIBC_2.40\0"), 17);
        assert_eq!(newest_version(b"nothing"), 0);
    }
}
