//! Builds the modules and puts them where the Ansible collection takes them from.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Arg, ArgAction, ArgMatches};

use crate::shell::{Result, cargo, has, run, target};

/// How the programs are linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linking {
    /// To the machine's glibc: a node needs one that is as new.
    Dynamic,
    /// With all that they need in them, so that a node's glibc does not matter. Its NSS modules are not read then, and
    /// users that only LDAP or SSSD know are not found.
    Static,
}

impl Linking {
    /// The flag of the command line.
    pub fn flag() -> Arg {
        let help = "Link the programs statically: they run whatever glibc a node has, but know only the users in its /etc/passwd";
        Arg::new("static").long("static").action(ArgAction::SetTrue).help(help)
    }

    /// What the flag asks for.
    pub fn from_matches(matches: &ArgMatches) -> Self {
        if matches.get_flag("static") { Self::Static } else { Self::Dynamic }
    }

    /// The folder that has a folder of programs for each machine, named as `uname -m` says.
    pub fn folder(self) -> PathBuf {
        match (self, std::env::var_os(BUILT)) {
            (Self::Dynamic, Some(folder)) => folder.into(),
            (Self::Dynamic, None) => target().join("modules"),
            (Self::Static, _) => target().join("static"),
        }
    }
}

/// The variable by which the stages of `cargo xtask test` name programs that are built already.
const BUILT: &str = "OG_BUILT";

/// Whether the programs are those of a test run, which are not optimised.
pub fn is_for_tests() -> bool {
    std::env::var_os(BUILT).is_some()
}

/// The folder with the programs for this machine.
pub fn folder() -> PathBuf {
    Linking::Dynamic.folder().join(std::env::consts::ARCH)
}

/// The names of all programs.
pub fn modules() -> impl Iterator<Item = &'static str> {
    og_registry::PROGRAMS.iter().map(|program| program.name)
}

/// The program for a person at a terminal, which the crate of og_workflow has beside the module.
pub const OG: &str = "og";

/// The names of all programs that are shipped: the modules and [`OG`].
pub fn programs() -> impl Iterator<Item = &'static str> {
    std::iter::once(OG).chain(modules())
}

/// Builds all modules as they are shipped, and the lab's programs, which nobody ships; returns the folder with the
/// modules only. In a test run they are there already.
pub fn release(linking: Linking) -> Result<PathBuf> {
    if linking == Linking::Dynamic && is_for_tests() {
        return Ok(folder());
    }
    let mut command = cargo();
    command.args(["build", "--quiet", "--release"]);
    for name in modules() {
        command.args(["--package", name]);
    }
    let built = match linking {
        Linking::Dynamic => {
            command.args(["--package", "og_lab"]);
            target().join("release")
        }
        Linking::Static => {
            // With a target named, the flags are not those of build scripts and macros.
            let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
            let given = std::env::var("RUSTFLAGS").unwrap_or_default();
            command
                .args(["--target", &triple])
                .env("RUSTFLAGS", format!("{given} -C target-feature=+crt-static"));
            target().join(triple).join("release")
        }
    };
    run(&mut command)?;
    let folder = linking.folder().join(std::env::consts::ARCH);
    install(&built, &folder, false)?;
    Ok(folder)
}

/// Copies the programs from where cargo built them; `strip` leaves out what only a debugger reads.
pub fn install(built: &Path, folder: &Path, strip: bool) -> Result {
    std::fs::create_dir_all(folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
    for name in programs() {
        let (from, to) = (built.join(name), folder.join(name));
        // Through a second name, so that a copy that is being run is not written to.
        let part = folder.join(format!(".{name}.{}", std::process::id()));
        let failed = |e: std::io::Error| format!("cannot copy {} to {}: {e}", from.display(), to.display());
        std::fs::copy(&from, &part).map_err(failed)?;
        if strip && has("strip") {
            run(Command::new("strip").arg(&part))?;
        }
        if matches!((std::fs::read(&part), std::fs::read(&to)), (Ok(new), Ok(old)) if new == old) {
            std::fs::remove_file(&part).map_err(failed)?;
        } else {
            std::fs::rename(&part, &to).map_err(failed)?;
        }
    }
    Ok(())
}
