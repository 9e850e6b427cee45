//! What is released, installed in bare trees of distributions and run there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::toolchain::{Toolchain, needed_glibc};
use super::{Built, Parts, VERSION, files, make, programs, unpack};
use crate::build::{self, Linking};
use crate::setup;
use crate::shell::{Result, has, output, target};

/// The distributions: the name that debootstrap knows, and the minor version of their glibc. Debian 10 is in no archive that
/// mirrors keep.
const TREES: [(&str, u32); 2] = [("bookworm", 36), ("bullseye", 31)];

/// The stage of `cargo xtask test --all`: installs what is released in each tree, and runs it there.
///
/// # Errors
/// What does not run.
pub fn check() -> Result {
    if let Err(why) = setup::trees() {
        println!("skipped: bare trees: {why}");
        return Ok(());
    }
    let toolchain = Toolchain::find(std::env::consts::ARCH)?;
    let fixed = programs(&toolchain, Linking::Static)?;
    let dynamic = programs(&toolchain, Linking::Dynamic)?;
    let needed = build::programs()
        .map(|name| needed_glibc(&dynamic.join(name)))
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .max()
        .unwrap_or_default();
    let work = tempfile::tempdir().map_err(|e| format!("cannot make a folder: {e}"))?;
    let out = work.path().join("out");
    let built = [Built { machine: toolchain.machine, dynamic, fixed: fixed.clone() }];
    make(&Parts { built: &built, runs_here: &fixed, collection: None }, &out)?;
    let mut passed = 0;
    for (suite, glibc) in TREES {
        let tree = match tree(suite) {
            Ok(tree) => tree,
            Err(why) => {
                println!("skipped: a tree of {suite}: {}", why.lines().next().unwrap_or_default());
                continue;
            }
        };
        for file in files(&out)? {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_dynamic = name.ends_with(".tar.xz") && !name.ends_with("-static.tar.xz");
            if is_dynamic && needed > glibc {
                println!("skipped: {name} on {suite}: it needs glibc 2.{needed}, there is 2.{glibc}");
                continue;
            }
            let failed = |why: String| format!("{name} on {suite}: {why}");
            passed += usize::from(try_file(&tree, &file).map_err(failed)?);
        }
    }
    println!("{passed} passed, 0 failed");
    Ok(())
}

/// Installs the file in the tree, tries it there and takes it away again; false when it has no programs in it.
fn try_file(tree: &Path, file: &Path) -> Result<bool> {
    if file.extension().is_some_and(|it| it == "deb") {
        let inside = tree.join("package.deb");
        std::fs::copy(file, &inside).map_err(|e| format!("cannot copy it to {}: {e}", inside.display()))?;
        output(chroot_command(tree, "dpkg").args(["--install", "/package.deb"]))?;
        let tried = try_installed(Some(tree), Path::new("/usr"));
        output(chroot_command(tree, "dpkg").args(["--purge", super::NAME]))?;
        tried?;
        let left = tree.join("usr/bin").join(build::OG);
        return if left.exists() { Err(format!("{} is left", left.display())) } else { Ok(true) };
    }
    // An .rpm finds no rpm in a tree of Debian; its files serve below another prefix.
    let folder = tree.join("opt/og");
    let prefix = unpack(file, &folder)?;
    let tried = prefix.as_ref().map(|prefix| {
        let prefix = prefix.strip_prefix(tree).unwrap_or(prefix);
        try_installed(Some(tree), &Path::new("/").join(prefix))
    });
    std::fs::remove_dir_all(&folder).map_err(|e| format!("cannot remove {}: {e}", folder.display()))?;
    tried.transpose().map(|it| it.is_some())
}

/// The bare tree of a distribution in target/trees, with man in it; made when it is not there.
fn tree(suite: &str) -> Result<PathBuf> {
    let tree = target().join("trees").join(suite);
    if tree.exists() {
        return Ok(tree);
    }
    let part = target().join("trees").join(format!("{suite}.part"));
    if part.exists() {
        std::fs::remove_dir_all(&part).map_err(|e| format!("cannot remove {}: {e}", part.display()))?;
    }
    std::fs::create_dir_all(&part).map_err(|e| format!("cannot make {}: {e}", part.display()))?;
    let words = ["--variant=minbase", "--include=man-db", suite];
    output(Command::new("debootstrap").args(words).arg(&part))?;
    std::fs::rename(&part, &tree).map_err(|e| format!("cannot make {}: {e}", tree.display()))?;
    Ok(tree)
}

/// A program of the tree, which sees nothing else.
fn chroot_command(tree: &Path, program: impl AsRef<std::ffi::OsStr>) -> Command {
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
    let bare = |program: &Path| tree.map_or_else(|| here(program), |tree| chroot_command(tree, program));
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
        // chroot, too, is looked for there.
        man.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("MANWIDTH", "80");
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
