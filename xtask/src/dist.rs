//! `cargo xtask dist`: what is released, in one folder: archives and packages of the programs with all that belongs to them,
//! the Ansible collection, the Salt files, what they are made of, and the sums of all.
//!
//! The same commit gives the same bytes: files have the time of the commit and no owner, and the paths of the machine are not
//! in the programs.

mod bill;
mod pack;
mod toolchain;
mod trees;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Arg, ArgAction, ArgMatches};
use pack::{Package, archive, remake_archive};
use toolchain::Toolchain;
pub use toolchain::{MACHINES, has_standard_library};
pub use trees::check as check_trees;

use crate::build::{self, Linking};
use crate::shell::{Result, has, output, root, run, target};
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
        .arg(
            Arg::new("target")
                .long("target")
                .value_name("MACHINE")
                .action(ArgAction::Append)
                .value_parser(toolchain::MACHINES)
                .help("Only for this machine, which must be possible; default: all for which it is"),
        )
}

/// Builds all of it and prints what is there, with sizes.
pub fn run_all(matches: &ArgMatches) -> Result {
    let out = matches.get_one::<PathBuf>("out").cloned().unwrap_or_else(|| target().join("dist"));
    let asked: Vec<&String> = matches.get_many("target").into_iter().flatten().collect();
    let mut toolchains = Vec::new();
    for machine in toolchain::MACHINES {
        if !asked.is_empty() && !asked.iter().any(|it| *it == machine) {
            continue;
        }
        match Toolchain::find(machine) {
            Ok(toolchain) => toolchains.push(toolchain),
            Err(why) if asked.is_empty() => println!("skipped: {why}"),
            Err(why) => return Err(why),
        }
    }
    let tools = setup::ansible()?;
    // Man pages and completions are made by programs that run here.
    let own = Toolchain::find(std::env::consts::ARCH)?;
    let runs_here = programs(&own, Linking::Static)?;
    let mut built = Vec::new();
    for toolchain in &toolchains {
        built.push(Built {
            machine: toolchain.machine,
            fixed: programs(toolchain, Linking::Static)?,
            dynamic: programs(toolchain, Linking::Dynamic)?,
        });
    }
    // The collection takes what is there, and no programs of an earlier commit for another machine.
    let folder = Linking::Static.folder();
    if folder.exists() {
        std::fs::remove_dir_all(&folder)
            .map_err(|e| format!("cannot make {} anew: {e}", folder.display()))?;
    }
    for one in &built {
        build::install(&one.fixed, &folder.join(one.machine), false)?;
        try_elsewhere(one)?;
    }
    make(&Parts { built: &built, runs_here: &runs_here, collection: Some(&tools) }, &out)?;
    for entry in files(&out)? {
        let size = std::fs::metadata(&entry).map_or(0, |meta| meta.len());
        println!("{size:>10}  {}", entry.strip_prefix(&out).unwrap_or(&entry).display());
    }
    println!("in {}", out.display());
    Ok(())
}

/// The programs, built so that neither the folder of the project nor that of cargo is in them.
fn programs(toolchain: &Toolchain, linking: Linking) -> Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let sysroot = output(Command::new(&toolchain.compiler).args(["--print", "sysroot"]))?;
    let places: Vec<(PathBuf, &str)> = home
        .map(|home| (home, "/cargo"))
        .into_iter()
        .chain([(PathBuf::from(sysroot.trim()), "/rust"), (root(), "/src")])
        .collect();
    let mut flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    for (from, to) in &places {
        let _ = write!(flags, " --remap-path-prefix={}={to}", from.display());
    }
    if linking == Linking::Static {
        flags.push_str(" -C target-feature=+crt-static");
    }
    // In folders of their own: other flags would have cargo build again what `cargo xtask build` has built.
    let folder = target().join(match linking {
        Linking::Dynamic => "dist-dynamic",
        Linking::Static => "dist-static",
    });
    let commit = output(Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).current_dir(root()))?;
    let mut command = toolchain.build(linking);
    command.arg("--target-dir").arg(&folder);
    run(command.env("RUSTFLAGS", flags.trim()).env("OG_COMMIT", commit.trim()))?;
    let folder = folder.join(toolchain.triple()).join("release");
    let mut glibc = 0;
    for name in build::programs() {
        tell_no_place(&folder.join(name), &places)?;
        glibc = glibc.max(toolchain::needed_glibc(&folder.join(name))?);
    }
    if linking == Linking::Dynamic {
        println!("the dynamic programs for {} need glibc 2.{glibc}", toolchain.machine);
        if toolchain.zig.is_none() {
            println!(
                "skipped: older glibcs: cargo-zigbuild is not there; `cargo xtask setup --dist` brings it"
            );
        } else if glibc > toolchain::OLDEST_GLIBC {
            return Err(format!("they were linked for 2.{}", toolchain::OLDEST_GLIBC));
        }
    }
    Ok(folder)
}

/// Runs programs for another machine under qemu, where that is at hand.
fn try_elsewhere(built: &Built) -> Result {
    let machine = built.machine;
    if machine == std::env::consts::ARCH {
        return Ok(());
    }
    let qemu = format!("qemu-{machine}-static");
    if !has(&qemu) {
        println!(
            "skipped: running the programs for {machine}: {qemu} is not there; `cargo xtask setup --dist` brings it"
        );
        return Ok(());
    }
    for (folder, libraries) in
        [(&built.fixed, None), (&built.dynamic, Some(format!("/usr/{machine}-linux-gnu")))]
    {
        let mut command = Command::new(&qemu);
        if let Some(libraries) = libraries {
            command.args(["-L", &libraries]);
        }
        let told = output(command.arg(folder.join(build::OG)).arg("--version"))?;
        if !told.contains(VERSION) {
            return Err(format!("og --version for {machine} says {told:?}"));
        }
    }
    Ok(())
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

/// The programs for one machine.
pub struct Built {
    /// The machine, as `uname -m` says.
    pub machine: &'static str,
    /// Those that use the glibc of the node.
    pub dynamic: PathBuf,
    /// Those that run with any glibc.
    pub fixed: PathBuf,
}

/// What a release is made of.
pub struct Parts<'a> {
    /// The programs.
    pub built: &'a [Built],
    /// Programs that run here, whose help becomes man pages and completions.
    pub runs_here: &'a Path,
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
    let bill = bill::from_cargo_metadata()?;
    for one in parts.built {
        let machine = one.machine;
        for (programs, what) in
            [(&one.dynamic, machine.to_owned()), (&one.fixed, format!("{machine}-static"))]
        {
            let folder = format!("{NAME}-{VERSION}-{what}");
            let tree = work.path().join(&folder);
            install::lay_out(&tree, programs, parts.runs_here)?;
            bill.add_to(&tree.join("share/doc").join(NAME))?;
            archive(work.path(), &folder, &out.join(format!("{folder}.tar.xz")), &epoch)?;
            if what != machine {
                // Packages have what runs wherever they can be installed.
                let package = Package { name: NAME, version: VERSION, machine, tree: &tree };
                let work = work.path().join(format!("packages-{machine}"));
                package.deb(&work, out, &epoch)?;
                package.rpm(&work, out, &epoch)?;
            }
        }
    }
    archive(&root().join("playbooks"), "salt", &out.join(format!("{NAME}-salt-{VERSION}.tar.gz")), &epoch)?;
    if let Some(tools) = parts.collection {
        let made = collection::package(tools, Linking::Static)?;
        let name = made.file_name().unwrap_or_default();
        remake_archive(&made, &work.path().join("collection"), &out.join(name), &epoch)?;
    }
    bill.write(out)?;
    write_checksums(out)
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
fn write_checksums(folder: &Path) -> Result {
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
    let built =
        [Built { machine: std::env::consts::ARCH, dynamic: programs.clone(), fixed: programs.clone() }];
    let work = tempfile::tempdir().map_err(|e| format!("cannot make a folder: {e}"))?;
    let (one, other) = (work.path().join("one"), work.path().join("other"));
    for out in [&one, &other] {
        make(&Parts { built: &built, runs_here: &programs, collection: None }, out)?;
    }
    let read = |file: &Path| std::fs::read(file).map_err(|e| format!("cannot read {}: {e}", file.display()));
    if read(&one.join("SHA256SUMS"))? != read(&other.join("SHA256SUMS"))? {
        return Err("the same programs packed twice give different archives".to_owned());
    }
    output(Command::new("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).current_dir(&one))?;
    if !has("man") {
        println!("skipped: man og_hba: man is not installed");
    }
    let mut passed = 0;
    for file in files(&one)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let folder = work.path().join(format!("{name}.d"));
        if let Some(prefix) = unpack(&file, &folder)? {
            trees::try_installed(None, &prefix).map_err(|why| format!("{name}: {why}"))?;
            passed += 1;
        }
    }
    println!("{passed} passed, 0 failed");
    Ok(())
}

/// Unpacks an archive or a package with programs into this folder, which is made; returns the prefix in it.
fn unpack(file: &Path, folder: &Path) -> Result<Option<PathBuf>> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    std::fs::create_dir_all(folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
    Ok(Some(match file.extension().and_then(|it| it.to_str()).unwrap_or_default() {
        "deb" => {
            output(Command::new("dpkg-deb").arg("-x").arg(file).arg(folder))?;
            folder.join("usr")
        }
        "rpm" => {
            let words = ["-c", "rpm2cpio \"$1\" | (cd \"$2\" && cpio -idm --quiet)", "sh"];
            output(Command::new("sh").args(words).arg(file).arg(folder))?;
            folder.join("usr")
        }
        "xz" => {
            output(Command::new("tar").arg("-xJf").arg(file).arg("-C").arg(folder))?;
            folder.join(name.trim_end_matches(".tar.xz"))
        }
        _ => return Ok(None),
    }))
}
