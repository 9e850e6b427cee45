//! openGauss's program files on this node: unpacked from a package beside each other by version, with a link to those in use.
//!
//! A package is unpacked into a folder of its own, checked and written to the disk before it gets its name; the link is
//! exchanged whole. So what the link leads to is complete at any moment, and a run that was killed is done again from the start.

mod archive;
pub mod args;
mod plan;
mod present;
mod remove;
#[cfg(test)]
mod tests;
mod unpack;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use og_common::files::{self, NodeLock, OwnFolder};
use og_common::gauss::env::Environment;
use og_common::protocol::{ArgRule, Bytes, Call, Error, ErrorKind, Example, Module, Report, run_blocking};

use args::{Args, Output, State};
use plan::{Plan, Source, Wanted, plan_present};
use present::{
    EnvFile, Link, Present, RECORD, Record, UNFINISHED, UNFINISHED_LINK, env_path, env_text, home_name,
};

/// How often it is told how far the unpacking is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);
/// Digits of the package's hash in the name of its folder.
const HASH_DIGITS: usize = 8;

/// The module `og_package`.
#[derive(Debug)]
pub struct Package;

impl Module for Package {
    const NAME: &'static str = "og_package";
    const ABOUT: &'static str = "openGauss's program files on this node";
    const TIMEOUT: u64 = 1800;
    const EXAMPLES: &'static [Example] = &[
        Example {
            title: "Unpack a package, and let the link lead to it",
            args: r#"{"link": "/gauss/app/current", "os_user": "omm", "package": "/home/omm/openGauss-Server-6.0.2-openEuler20.03-x86_64.tar.bz2"}"#,
        },
        Example {
            title: "What is unpacked there, and which libraries are missing?",
            args: r#"{"link": "/gauss/app/current", "os_user": "omm", "state": "query"}"#,
        },
        Example {
            title: "Take away the program files that the link leads to",
            args: r#"{"link": "/gauss/app/current", "os_user": "omm", "state": "absent"}"#,
        },
    ];
    const RULES: &'static [ArgRule] = &[
        ArgRule::OnlyIf { key: "state", values: &["present"], allows: &["package", "size", "force"] },
        ArgRule::OnlyIf { key: "state", values: &["absent"], allows: &["ended"] },
        ArgRule::Exclusive(&["package", "size"]),
    ];
    type Args = Args;
    type Output = Output;

    fn anchor(args: &Args) -> Option<&Path> {
        args.link.parent()
    }

    async fn run(call: &Call, args: Args) -> Result<Report<Output>, Error> {
        let sha256 = args.sha256.as_deref().map(files::parse_sha256).transpose()?;
        let args = Args { sha256, ..args };
        if args.state == State::Present && !may_run_programs(call) {
            return Err(Error::refused("this runs as root, as whom the programs of a package are not run")
                .with_path("/os_user")
                .hint("give os_user: the user that the server is to run as"));
        }
        let present = Present::read(&args.link)?;
        match args.state {
            State::Present => install(call, &args, present).await,
            State::Absent => remove::remove(call, &args, present).await,
            State::Query => query(call, &args, &present).await,
        }
    }
}

async fn query(call: &Call, args: &Args, present: &Present) -> Result<Report<Output>, Error> {
    let output = describe_with_libraries(call, present, args.sha256.as_deref()).await;
    let msg = match &output.current {
        Some(current) => format!("{} is unpacked", current.path.display()),
        None => {
            format!("{} packages are unpacked beside {}", present.installed.len(), present.path.display())
        }
    };
    let warnings = libraries_warning(call, &output).into_iter().chain(present.rest_warnings());
    Ok(Report::unchanged(msg, output).with_warnings(warnings))
}

/// Whether programs of a package may be run: its server program for its version, and its loader by ldd. Not as root, unless root
/// is named as the user.
fn may_run_programs(call: &Call) -> bool {
    !nix::unistd::geteuid().is_root() || call.common.os_user.is_some()
}

/// What is to be looked at where it is not known whether libraries are missing.
fn libraries_warning(call: &Call, output: &Output) -> Option<String> {
    let current = output.current.as_ref().filter(|_| output.missing_libraries.is_none())?;
    let why = if may_run_programs(call) {
        "ldd cannot be run, or does not say"
    } else {
        "this runs as root, as whom ldd is not run; give os_user"
    };
    let home = current.path.display();
    Some(format!("it is not known which libraries the server program in {home} lacks: {why}"))
}

/// Returns what is there of the package with this hash, or without one of the package that the link leads to.
async fn describe_with_libraries(call: &Call, present: &Present, sha256: Option<&str>) -> Output {
    let output = describe(present, sha256);
    let missing_libraries = match &output.current {
        Some(_) if !may_run_programs(call) => None,
        Some(current) => Environment::with_home(&current.path).missing_libraries(call).await,
        None => None,
    };
    Output { missing_libraries, ..output }
}

/// Returns the same as [`describe_with_libraries`], without asking a program.
fn describe(present: &Present, sha256: Option<&str>) -> Output {
    let current = match sha256 {
        Some(sha256) => present.find(sha256),
        None => present.linked(),
    };
    Output {
        link: present.path.clone(),
        link_target: if let Link::To(target) = &present.link { Some(target.clone()) } else { None },
        env_file: (present.env_file != EnvFile::Missing).then(|| env_path(&present.path)),
        current: current.map(|(installed, _)| installed.clone()),
        other_links: current
            .map(|(installed, _)| present.other_links_to(&installed.path).cloned().collect())
            .unwrap_or_default(),
        installed: present.installed.iter().map(|(installed, _)| installed.clone()).collect(),
        missing_libraries: None,
        free_space: Some(present.free),
    }
}

async fn install(call: &Call, args: &Args, present: Present) -> Result<Report<Output>, Error> {
    let (wanted, package) = read_wanted(call, args, &present).await?;
    let sha256 = Some(wanted.sha256.as_str());
    let plan = plan_present(&present, &wanted, args.force)?;
    if call.check || plan == Plan::default() {
        let output = describe_with_libraries(call, &present, sha256).await;
        check_libraries(&output)?;
        let actions = actions_of(plan, &present, &wanted);
        let verb = if actions.is_empty() { "leads" } else { "would lead" };
        let msg = format!("{} {verb} to the package", present.path.display());
        let warning = libraries_warning(call, &output);
        return Ok(Report::new(actions, msg, output).with_warnings(warning));
    }
    let (folder, missing) = OwnFolder::reach(&present.base)?;
    let folder = folder.create(&missing, 0o755)?;
    // Held while anything changes here; a run that was killed holds it no more.
    let _lock = NodeLock::acquire(folder.path(), call).await?;
    let mut present = Present::read(&args.link)?;
    let plan = plan_present(&present, &wanted, args.force)?;
    present.unfinished.iter().chain(&present.empty).try_for_each(|path| remove::remove_leftover(path))?;
    let actions = actions_of(plan, &present, &wanted);
    let mut steps = actions.iter();
    let mut record_step = || steps.next().into_iter().for_each(|action| call.record_action(action));
    if plan.unpack {
        unpack_package(call, &folder, &wanted, package).await?;
        record_step();
        present = Present::read(&args.link)?;
    }
    let output = describe_with_libraries(call, &present, sha256).await;
    call.record_output(&output);
    // The link never leads to a server that cannot start.
    check_libraries(&output)?;
    let warning = libraries_warning(call, &output);
    let Some(home) = output.current.map(|current| current.path) else {
        let detail = format!("what was unpacked beside {} is gone again", present.path.display());
        return Err(Error::not_found(detail).with_path(present.path.display()).hint("run it again"));
    };
    if plan.write_env {
        write_env(&present)?;
        record_step();
    }
    if plan.link {
        exchange_link(&folder, &present, &home)?;
    }
    let present = Present::read(&args.link)?;
    let output = Output { missing_libraries: output.missing_libraries, ..describe(&present, sha256) };
    let msg = format!("{} leads to {}", present.path.display(), home.display());
    Ok(Report::new(actions, msg, output).with_warnings(warning))
}

/// What is done, in this order.
fn actions_of(plan: Plan, present: &Present, wanted: &Wanted) -> Vec<String> {
    let mut actions = Vec::new();
    if plan.unpack {
        let package = match &wanted.source {
            Source::File(path, _) => path.display().to_string(),
            Source::None | Source::Foreseen(_) => "the package".to_owned(),
        };
        actions.push(format!("unpack {package} into {}", present.base.display()));
    }
    if plan.write_env {
        actions.push(format!("write {}", env_path(&present.path).display()));
    }
    if plan.link {
        actions.push(format!("let {} lead to the package", present.path.display()));
    }
    actions
}

/// Opens the file of a package; a pipe in its place would never end.
fn open_package(path: &Path) -> Result<File, Error> {
    let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let fail = |e: std::io::Error| Error::io("read", path, &e);
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(fail)?;
    let mut head = [0; 4];
    if !file.metadata().map_err(fail)?.is_file() {
        return Err(archive::corrupt(path, "it is not a regular file"));
    }
    let mut start = file.try_clone().map_err(fail)?;
    let read = start.read(&mut head).map_err(fail)?;
    if !files::is_compressed(&head[..read]) {
        return Err(archive::corrupt(path, "it is compressed neither by gzip nor by bzip2"));
    }
    start.seek(SeekFrom::Start(0)).map_err(fail)?;
    Ok(file)
}

/// Refuses a package without a hash that somebody else can change: its programs are run.
fn check_owner(path: &Path, meta: &std::fs::Metadata) -> Result<(), Error> {
    let (me, mode) = (nix::unistd::geteuid().as_raw(), meta.permissions().mode() & 0o7777);
    let what = if meta.uid() != me && meta.uid() != 0 {
        format!("belongs to uid {}, and this runs as uid {me}", meta.uid())
    } else if mode & files::OTHERS_WRITE != 0 {
        format!("may be written by others (its mode is {mode:o})")
    } else {
        return Ok(());
    };
    Err(Error::refused(format!("the package {} {what}", path.display()))
        .with_path(path.display())
        .hint("give sha256, the hash that openGauss publishes for it"))
}

/// Which package is wanted, and its file, open at its beginning. Where one is unpacked that has the hash which is given, the file
/// is not read, and need not be there any more.
async fn read_wanted(call: &Call, args: &Args, present: &Present) -> Result<(Wanted, Option<File>), Error> {
    let given = args.sha256.clone();
    let is_unpacked = given.as_ref().is_some_and(|sha256| present.find(sha256).is_some());
    let Some(path) = args.package.as_ref().filter(|_| !is_unpacked) else {
        let sha256 = given.ok_or_else(|| {
            Error::bad_args("neither package nor sha256 is given, so it is not known what to unpack")
                .with_path("/package")
                .hint("give package: the package's file on this node")
        })?;
        let source =
            args.size.filter(|_| call.check).map_or(Source::None, |size| Source::Foreseen(size.as_u64()));
        return Ok((Wanted { sha256, source }, None));
    };
    let mut file = open_package(path)?;
    let fail = |e: std::io::Error| Error::io("read", path, &e);
    let meta = file.metadata().map_err(fail)?;
    if given.is_none() {
        check_owner(path, &meta)?;
    }
    let size = meta.len();
    let own = files::sha256_of(file.try_clone().map_err(fail)?, path).await?;
    file.seek(SeekFrom::Start(0)).map_err(fail)?;
    match given {
        Some(given) if given != own => {
            let detail = format!("{} has the SHA-256 {own}, not {given}", path.display());
            Err(Error::corrupt(detail)
                .with_path(path.display())
                .hint("get the package again, or correct sha256"))
        }
        _ => Ok((Wanted { sha256: own, source: Source::File(path.clone(), size) }, Some(file))),
    }
}

/// Unpacks the package beside the link; it gets its name when all of it is on the disk.
async fn unpack_package(
    call: &Call,
    folder: &OwnFolder,
    wanted: &Wanted,
    package: Option<File>,
) -> Result<(), Error> {
    let (Source::File(path, size), Some(file)) = (wanted.source.clone(), package) else {
        return Err(Error::new(ErrorKind::Internal, "a package was to be unpacked without its file"));
    };
    let staging = folder.path().join(format!("{UNFINISHED}{}", &wanted.sha256[..HASH_DIGITS]));
    let made = fill_folder(call, &staging, &path, size, file, &wanted.sha256).await;
    let made = match made {
        Ok(made) => made,
        Err(e) => {
            // A disk that it filled is given back; what cannot be removed now is removed by the next run.
            drop(std::fs::remove_dir_all(&staging));
            return Err(e);
        }
    };
    let version = read_version(call, &staging).await;
    let record = Record::new(&wanted.sha256, version.clone(), &made);
    files::create(&staging.join(RECORD), &record.to_json()?)?;
    unpack::sync(&staging)?;
    let name = home_name(version.as_deref(), &wanted.sha256);
    let home = folder.path().join(&name);
    if std::fs::symlink_metadata(&home).is_ok() {
        drop(std::fs::remove_dir_all(&staging));
        let detail =
            format!("{} is there, and og_package did not make it, or only its rest is left", home.display());
        return Err(Error::refused(detail).with_path(home.display()).hint("move it aside, and run it again"));
    }
    folder.rename(staging.file_name().unwrap_or_default(), name.as_ref())
}

async fn fill_folder(
    call: &Call,
    staging: &Path,
    package: &Path,
    size: u64,
    file: File,
    sha256: &str,
) -> Result<std::collections::BTreeMap<PathBuf, unpack::Made>, Error> {
    // Whatever the umask is, no other user may write into it.
    let made = std::fs::DirBuilder::new().mode(0o755).create(staging);
    made.map_err(|e| Error::io("make", staging, &e))?;
    let read = Arc::new(AtomicU64::new(0));
    let (own, root, count) = (package.to_owned(), staging.to_owned(), read.clone());
    let hash = sha256.to_owned();
    let work = run_blocking(move || unpack::unpack(&own, file, &root, count, &hash));
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done?,
            () = tokio::time::sleep(PROGRESS_INTERVAL) => {
                let bytes = Bytes::new(read.load(Ordering::Relaxed));
                call.record_progress(format!("unpack {}", package.display()), Some(bytes), Some(Bytes::new(size)));
            }
        }
    }
}

/// The version, by the package's own file, or else by its server program.
async fn read_version(call: &Call, home: &Path) -> Option<String> {
    let text = files::read(&home.join("version.cfg")).ok();
    let first = text.and_then(|text| String::from_utf8_lossy(&text).lines().next().map(str::to_owned));
    let told = first.and_then(|line| Some(line.trim().rsplit_once('-')?.1.to_owned()));
    let told = told.filter(|version| {
        version.starts_with(|c: char| c.is_ascii_digit())
            && version.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.')
    });
    match told {
        Some(version) => Some(version),
        None => Environment::with_home(home).version(call).await.map(|version| version.to_string()),
    }
}

fn check_libraries(output: &Output) -> Result<(), Error> {
    let missing = output.missing_libraries.as_deref().unwrap_or_default();
    if missing.is_empty() {
        return Ok(());
    }
    let home = output.current.as_ref().map(|current| current.path.display().to_string()).unwrap_or_default();
    Err(Error::not_found(format!(
        "the server program in {home} needs {}, which this machine has not",
        missing.join(", ")
    ))
    .with_path(home)
    .hint("install the packages of the operating system that hold them, and run it again")
    .with_output(output))
}

fn write_env(present: &Present) -> Result<(), Error> {
    let path = env_path(&present.path);
    match present.env_file {
        EnvFile::Missing => files::create(&path, &env_text(&present.path)),
        _ => files::replace(&path, &env_text(&present.path), false).map(drop),
    }
}

/// Lets the link lead there; it is never missing meanwhile.
fn exchange_link(folder: &OwnFolder, present: &Present, home: &Path) -> Result<(), Error> {
    let place = folder.path().join(UNFINISHED_LINK);
    // Relative, so that the folder may be moved as a whole.
    let to = home.file_name().unwrap_or_default();
    symlink(to, &place).map_err(|e| Error::io("make", &place, &e))?;
    folder.rename(UNFINISHED_LINK.as_ref(), present.path.file_name().unwrap_or_default())
}
