//! `cargo xtask dist`: what is released, in one folder: archives and packages of the programs with all that belongs to them,
//! the Ansible collection, the Salt files, what they are made of, and the sums of all.
//!
//! The same commit gives the same bytes: files have the time of the commit and no owner, and the paths of the machine are not
//! in the programs.

mod bill;
mod pack;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Arg, ArgMatches};
use pack::{Package, archive, remake_archive};

use crate::build::{self, Linking};
use crate::shell::{Result, cargo, output, root, run, target};
use crate::{collection, install, setup};

/// The name of what is released.
const NAME: &str = "opengauss-node";
/// The version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The subcommand.
pub fn command() -> clap::Command {
    clap::Command::new("dist")
        .about("Make what is released: archives, .deb and .rpm, the collection, the Salt files, sums, bill of materials")
        .arg(
            Arg::new("out")
                .long("out")
                .value_name("DIR")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Where to; default: target/dist"),
        )
}

/// Builds all of it and prints what is there, with sizes.
pub fn run_all(matches: &ArgMatches) -> Result {
    let out = matches.get_one::<PathBuf>("out").cloned().unwrap_or_else(|| target().join("dist"));
    let tools = setup::ansible()?;
    let dynamic = programs(Linking::Dynamic)?;
    let fixed = programs(Linking::Static)?;
    build::install(&fixed, &Linking::Static.folder().join(std::env::consts::ARCH), false)?;
    make(&Parts { dynamic: &dynamic, fixed: &fixed, collection: Some(&tools) }, &out)?;
    for entry in files(&out)? {
        let size = std::fs::metadata(&entry).map_or(0, |meta| meta.len());
        println!("{size:>10}  {}", entry.strip_prefix(&out).unwrap_or(&entry).display());
    }
    println!("in {}", out.display());
    println!(
        "only for {}; run it on a machine of another architecture for the programs there",
        std::env::consts::ARCH
    );
    Ok(())
}

/// The programs, built so that neither the folder of the project nor that of cargo is in them.
fn programs(linking: Linking) -> Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let compiler = PathBuf::from(output(Command::new("rustc").args(["--print", "sysroot"]))?.trim());
    let places: Vec<(PathBuf, &str)> = home
        .map(|home| (home, "/cargo"))
        .into_iter()
        .chain([(compiler, "/rust"), (root(), "/src")])
        .collect();
    let mut flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    for (from, to) in &places {
        let _ = write!(flags, " --remap-path-prefix={}={to}", from.display());
    }
    if linking == Linking::Static {
        flags.push_str(" -C target-feature=+crt-static");
    }
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    // In folders of their own: other flags would have cargo build again what `cargo xtask build` has built.
    let folder = target().join(match linking {
        Linking::Dynamic => "dist-dynamic",
        Linking::Static => "dist-static",
    });
    let mut command = cargo();
    command.args(["build", "--quiet", "--release", "--target", &triple, "--target-dir"]).arg(&folder);
    for name in build::modules() {
        command.args(["--package", name]);
    }
    let commit = output(Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).current_dir(root()))?;
    run(command.env("RUSTFLAGS", flags.trim()).env("OG_COMMIT", commit.trim()))?;
    let folder = folder.join(triple).join("release");
    for name in build::programs() {
        tell_no_place(&folder.join(name), &places)?;
    }
    Ok(folder)
}

/// Makes sure that a program does not tell where it was built.
fn tell_no_place(program: &Path, places: &[(PathBuf, &str)]) -> Result {
    let bytes = std::fs::read(program).map_err(|e| format!("cannot read {}: {e}", program.display()))?;
    for (place, _) in places {
        let place = place.as_os_str().as_encoded_bytes();
        if bytes.windows(place.len()).any(|part| part == place) {
            return Err(format!(
                "{} has the path {} in it",
                program.display(),
                String::from_utf8_lossy(place)
            ));
        }
    }
    Ok(())
}

/// What a release is made of.
pub struct Parts<'a> {
    /// The programs that need the glibc of the machine they were built on, or a newer one.
    pub dynamic: &'a Path,
    /// The programs that run with any glibc.
    pub fixed: &'a Path,
    /// What builds the collection, which then is part of it.
    pub collection: Option<&'a setup::Tools>,
}

/// Puts together what is released in this folder, which is made anew.
///
/// # Errors
/// What cannot be read, written or run.
pub fn make(parts: &Parts<'_>, out: &Path) -> Result {
    let failed = |e: std::io::Error| format!("cannot make {} anew: {e}", out.display());
    if out.exists() {
        std::fs::remove_dir_all(out).map_err(failed)?;
    }
    std::fs::create_dir_all(out).map_err(failed)?;
    let epoch = epoch()?;
    let work = tempfile::tempdir().map_err(|e| format!("cannot make a folder: {e}"))?;
    let machine = std::env::consts::ARCH;
    let bill = bill::of_programs()?;
    for (programs, what) in [(parts.dynamic, machine.to_owned()), (parts.fixed, format!("{machine}-static"))]
    {
        let folder = format!("{NAME}-{VERSION}-{what}");
        let tree = work.path().join(&folder);
        install::lay_out(&tree, programs)?;
        bill.add_to(&tree.join("share/doc").join(NAME))?;
        archive(work.path(), &folder, &out.join(format!("{folder}.tar.xz")), &epoch)?;
        if what != machine {
            // Packages have what runs wherever they can be installed.
            let package = Package { name: NAME, version: VERSION, machine, tree: &tree };
            package.deb(work.path(), out, &epoch)?;
            package.rpm(work.path(), out, &epoch)?;
        }
    }
    archive(&root().join("playbooks"), "salt", &out.join(format!("{NAME}-salt-{VERSION}.tar.gz")), &epoch)?;
    if let Some(tools) = parts.collection {
        let made = collection::package(tools, Linking::Static)?;
        let name = made.file_name().unwrap_or_default();
        remake_archive(&made, &work.path().join("collection"), &out.join(name), &epoch)?;
    }
    bill.write(out)?;
    sums(out)
}

/// The time that all files have: that of the commit, or what `SOURCE_DATE_EPOCH` says.
fn epoch() -> Result<String> {
    if let Ok(given) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(given);
    }
    let told = output(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root()));
    // What is packed for a test need not say of when it is.
    if build::is_for_tests() {
        Ok(told.map_or_else(|_| "0".to_owned(), |text| text.trim().to_owned()))
    } else {
        told.map(|text| text.trim().to_owned())
    }
}

/// The files of a folder, in order.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e: std::io::Error| format!("cannot read {}: {e}", folder.display());
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()
        .map_err(failed)?;
    files.sort();
    Ok(files)
}

/// Writes SHA256SUMS, which `sha256sum --check` reads.
fn sums(folder: &Path) -> Result {
    let names: Vec<_> =
        files(folder)?.iter().filter_map(|file| file.file_name().map(ToOwned::to_owned)).collect();
    let told = output(Command::new("sha256sum").args(names).current_dir(folder))?;
    let path = folder.join("SHA256SUMS");
    std::fs::write(&path, told).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

/// The stage of `cargo xtask test`: packs the programs that are there twice, installs what was packed in bare folders, and runs
/// it from there.
///
/// # Errors
/// What differs, or does not run.
pub fn check() -> Result {
    let programs = build::folder();
    let work = tempfile::tempdir().map_err(|e| format!("cannot make a folder: {e}"))?;
    let (one, other) = (work.path().join("one"), work.path().join("other"));
    for out in [&one, &other] {
        make(&Parts { dynamic: &programs, fixed: &programs, collection: None }, out)?;
    }
    let read = |file: &Path| std::fs::read(file).map_err(|e| format!("cannot read {}: {e}", file.display()));
    if read(&one.join("SHA256SUMS"))? != read(&other.join("SHA256SUMS"))? {
        return Err("the same programs packed twice give different archives".to_owned());
    }
    output(Command::new("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).current_dir(&one))?;
    let mut trees = 0;
    for file in files(&one)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let tree = work.path().join(format!("{name}.d"));
        std::fs::create_dir(&tree).map_err(|e| format!("cannot make {}: {e}", tree.display()))?;
        let kind = file.extension().and_then(|it| it.to_str()).unwrap_or_default();
        let prefix = if kind == "deb" {
            output(Command::new("dpkg-deb").arg("-x").arg(&file).arg(&tree))?;
            tree.join("usr")
        } else if kind == "rpm" {
            output(
                Command::new("sh")
                    .args(["-c", "rpm2cpio \"$1\" | (cd \"$2\" && cpio -idm --quiet)", "sh"])
                    .arg(&file)
                    .arg(&tree),
            )?;
            tree.join("usr")
        } else if kind == "xz" {
            output(Command::new("tar").arg("-xJf").arg(&file).arg("-C").arg(&tree))?;
            tree.join(name.trim_end_matches(".tar.xz"))
        } else {
            continue;
        };
        try_installed(&prefix).map_err(|why| format!("{name}: {why}"))?;
        trees += 1;
    }
    println!("{trees} passed, 0 failed");
    Ok(())
}

/// Runs what was installed below this prefix as a user would first.
fn try_installed(prefix: &Path) -> Result {
    let bare = |program: &str| {
        let mut command = Command::new(prefix.join("bin").join(program));
        command.env_clear();
        command
    };
    let version = output(bare("og").arg("--version"))?;
    if !version.contains(VERSION) {
        return Err(format!("og --version says {version:?}"));
    }
    let rules = prefix.join("pg_hba.conf");
    std::fs::write(&rules, "local all all trust\n")
        .map_err(|e| format!("cannot write {}: {e}", rules.display()))?;
    let call = prefix.join("call.json");
    let text = serde_json::json!({"path": rules, "rules": ["host all all 10.0.0.1/32 sha256"]}).to_string();
    std::fs::write(&call, text).map_err(|e| format!("cannot write {}: {e}", call.display()))?;
    let told = output(bare("og_hba").arg(&call))?;
    if !told.contains("\"changed\":true") {
        return Err(format!("og_hba says {told}"));
    }
    for file in [
        "share/man/man1/og.1",
        "share/man/man1/og_hba.1",
        "share/bash-completion/completions/og",
        "share/opengauss-node/schemas/v1/og_hba.args.json",
        "share/opengauss-node/playbooks/expand.yml",
        "share/doc/opengauss-node/THIRD-PARTY-LICENSES.txt",
    ] {
        if !prefix.join(file).exists() {
            return Err(format!("{file} is not there"));
        }
    }
    Ok(())
}
