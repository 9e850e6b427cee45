//! Program files that go.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use og_common::files::{NodeLock, OwnFolder};
use og_common::protocol::{Call, Error, Report};

use crate::args::{Args, Output};
use crate::present::{EnvFile, Present, RECORD, Record, env_path};
use crate::{describe, plan};

/// So many paths are named in a warning.
const MAX_SHOWN: usize = 5;

/// Takes away what the record in the folder names; the rest stays, and is told.
pub(crate) async fn remove(call: &Call, args: &Args, present: Present) -> Result<Report<Output>, Error> {
    let nothing = |present: &Present| {
        let msg = format!("no program files are there for {}", present.path.display());
        // Such as what a removal left that was killed when the link was gone.
        let is_unlinked = args.sha256.is_none() && present.linked().is_none();
        let others = present.installed.iter().filter(|_| is_unlinked).map(|(other, _)| {
            format!(
                "{} is there, and the link does not lead to it; give its sha256, {}",
                other.path.display(),
                other.sha256
            )
        });
        Report::unchanged(msg, describe(present, args.sha256.as_deref())).with_warnings(others)
    };
    if plan::plan_absent(&present, args).is_none() {
        return Ok(nothing(&present));
    }
    let folder = OwnFolder::open(&present.base)?;
    // In check mode nothing is changed, a lock included.
    let lock = if call.check { None } else { Some(NodeLock::acquire(folder.path(), call).await?) };
    let present = Present::read(&args.link)?;
    let Some((installed, record)) = plan::plan_absent(&present, args) else { return Ok(nothing(&present)) };
    let home = &installed.path;
    check_unused(home)?;
    let leads_there = present.linked().is_some_and(|(linked, _)| linked == installed);
    let mut actions = Vec::new();
    let mut done = |action: String| {
        if !call.check {
            call.record_action(&action);
        }
        actions.push(action);
    };
    // The link goes before what it leads to, and after what is known by it alone: a run that is killed is done again.
    let env = env_path(&present.path);
    let has_env = matches!(present.env_file, EnvFile::Good | EnvFile::Old);
    for path in [Some(&env).filter(|_| has_env), Some(&present.path)].into_iter().flatten() {
        if !leads_there {
            break;
        }
        if lock.is_some() {
            folder.remove(path.file_name().unwrap_or_default())?;
        }
        done(format!("remove {}", path.display()));
    }
    let rest = if lock.is_some() { remove_recorded(home, record)? } else { Vec::new() };
    done(format!("remove the program files in {}", home.display()));
    let warning = (!rest.is_empty()).then(|| {
        let mut shown: Vec<String> =
            rest.iter().take(MAX_SHOWN).map(|path| path.display().to_string()).collect();
        if rest.len() > MAX_SHOWN {
            shown.push(format!("{} more", rest.len() - MAX_SHOWN));
        }
        format!("{} keeps what is not from the package: {}", home.display(), shown.join(", "))
    });
    let now = if lock.is_some() { Some(Present::read(&args.link)?) } else { None };
    let verb = if call.check { "would be" } else { "are" };
    let msg = format!("the program files of {} {verb} gone", home.display());
    Ok(Report::new(actions, msg, describe(now.as_ref().unwrap_or(&present), args.sha256.as_deref()))
        .with_warnings(warning))
}

/// Refuses while a process runs a program of the folder.
fn check_unused(home: &Path) -> Result<(), Error> {
    let mut users = Vec::new();
    for entry in std::fs::read_dir("/proc").map_err(|e| Error::io("list", Path::new("/proc"), &e))?.flatten()
    {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if !pid.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        // Those of other users cannot be read; openGauss's server runs as the owner of its program files.
        let Ok(program) = std::fs::read_link(entry.path().join("exe")) else { continue };
        if program.starts_with(home) {
            let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
            users.push(format!("{name} (pid {pid})"));
        }
    }
    if users.is_empty() {
        return Ok(());
    }
    let detail = format!("{} is in use: {}", home.display(), users.join(", "));
    Err(Error::refused(detail).with_path(home.display()).hint("stop what runs, or keep these program files"))
}

/// Removes the files and folders of the record, itself last; returns what is left.
fn remove_recorded(home: &Path, record: &Record) -> Result<Vec<PathBuf>, Error> {
    let is_gone = |e: &std::io::Error| e.kind() == std::io::ErrorKind::NotFound;
    let mut ways = Ways::default();
    for path in &record.files {
        let place = home.join(path);
        let is_folder = std::fs::symlink_metadata(&place).is_ok_and(|meta| meta.is_dir());
        if is_folder || !ways.is_own(&place) {
            continue;
        }
        match std::fs::remove_file(&place) {
            Err(e) if !is_gone(&e) => return Err(Error::io("remove", &place, &e)),
            _ => {}
        }
    }
    for path in record.folders.iter().rev() {
        let place = home.join(path);
        if !ways.is_own(&place) {
            continue;
        }
        match std::fs::remove_dir(&place) {
            Err(e)
                if !is_gone(&e)
                    && !matches!(
                        e.kind(),
                        std::io::ErrorKind::DirectoryNotEmpty | std::io::ErrorKind::NotADirectory
                    ) =>
            {
                return Err(Error::io("remove", &place, &e));
            }
            _ => {}
        }
    }
    let mark = home.join(RECORD);
    std::fs::remove_file(&mark).map_err(|e| Error::io("remove", &mark, &e))?;
    match std::fs::remove_dir(home) {
        Ok(()) => Ok(Vec::new()),
        Err(e) if e.kind() == std::io::ErrorKind::DirectoryNotEmpty => Ok(files_in(home)),
        Err(e) => Err(Error::io("remove", home, &e)),
    }
}

/// The folders to what is removed. One that was replaced by a link leads to files that are not the package's, and one that others
/// can change may be replaced at any moment.
#[derive(Default)]
struct Ways {
    own: BTreeMap<PathBuf, bool>,
}

impl Ways {
    /// Whether only this user and root can change the way to it.
    fn is_own(&mut self, place: &Path) -> bool {
        let parent = place.parent().unwrap_or(Path::new("/"));
        if let Some(is_own) = self.own.get(parent) {
            return *is_own;
        }
        let is_own = OwnFolder::open(parent).is_ok();
        self.own.insert(parent.to_owned(), is_own);
        is_own
    }
}

/// What is below a folder, and is none itself.
fn files_in(home: &Path) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![home.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    files
}

/// Removes what killed runs left.
pub(crate) fn remove_unfinished(paths: &[PathBuf]) -> Result<(), Error> {
    for path in paths {
        let is_folder = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
        let removed = if is_folder { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        removed.map_err(|e| Error::io("remove", path, &e))?;
    }
    Ok(())
}
