//! What is released, installed and run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::VERSION;
use crate::shell::{Result, has, output};

/// A program of the tree, which sees nothing else.
fn within(tree: &Path, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("chroot");
    command.arg(tree).arg(program).env_clear().stdin(Stdio::null());
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Runs what was installed below this prefix as a user would first, in the tree or, without one, on this machine.
pub fn try_installed(tree: Option<&Path>, prefix: &Path) -> Result {
    let here = |program: &Path| {
        let mut command = Command::new(program);
        command.env_clear();
        command
    };
    let bare = |program: &Path| tree.map_or_else(|| here(program), |tree| within(tree, program));
    // The path as this machine has it.
    let seen = |path: &Path| match tree {
        Some(tree) => tree.join(path.strip_prefix("/").unwrap_or(path)),
        None => path.to_owned(),
    };
    let version = output(bare(&prefix.join("bin/og")).arg("--version"))?;
    if !version.contains(VERSION) {
        return Err(format!("og --version says {version:?}"));
    }
    let scratch = if tree.is_some() { Path::new("/tmp") } else { prefix };
    let (rules, call) = (scratch.join("pg_hba.conf"), scratch.join("call.json"));
    let text = serde_json::json!({"path": rules, "rules": ["host all all 10.0.0.1/32 sha256"]}).to_string();
    for (path, text) in [(&rules, "local all all trust\n"), (&call, &text)] {
        std::fs::write(seen(path), text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    }
    let told = output(bare(&prefix.join("bin/og_hba")).arg(&call))?;
    if !told.contains("\"changed\":true") {
        return Err(format!("og_hba says {told}"));
    }
    if tree.is_some() || has("man") {
        let mut man = bare(Path::new("man"));
        man.env("PATH", "/usr/bin:/bin").env("MANWIDTH", "80");
        if prefix != Path::new("/usr") {
            man.arg("-M").arg(prefix.join("share/man"));
        }
        let page = output(man.arg("og_hba"))?;
        if !page.contains("og_hba") || !page.contains("SYNOPSIS") {
            return Err(format!("man og_hba says {page}"));
        }
    }
    for file in [
        "share/man/man1/og.1",
        "share/man/man1/og_hba.1",
        "share/bash-completion/completions/og",
        "share/opengauss-node/schemas/v1/og_hba.args.json",
        "share/opengauss-node/playbooks/expand.yml",
        "share/doc/opengauss-node/THIRD-PARTY-LICENSES.txt",
    ] {
        if !seen(&prefix.join(file)).exists() {
            return Err(format!("{file} is not there"));
        }
    }
    Ok(())
}
