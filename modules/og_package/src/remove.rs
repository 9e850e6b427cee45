//! Program files that go.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use og_common::files::{self, NodeLock, OwnFolder};
use og_common::gauss::running;
use og_common::protocol::{self, Call, Error, Report};

use crate::args::{Args, Output};
use crate::present::{EnvFile, Link, Present, RECORD, Record, env_path};
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
        let others = others.chain(present.rest_warnings());
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
    let removal = Removal::plan(home, record)?;
    let mut actions = Vec::new();
    let mut done = |action: String| {
        if !call.check {
            call.record_action(&action);
        }
        actions.push(action);
    };
    // The link goes before what it leads to, and after what is known by it alone: a run that is killed is done again.
    let env = env_path(&present.path);
    let mut warnings = Vec::new();
    if present.link == Link::To(home.clone()) {
        let has_env = matches!(present.env_file, EnvFile::Good | EnvFile::Old);
        if present.env_file == EnvFile::Foreign {
            warnings.push(format!("{} stays: it is not as og_package writes it", env.display()));
        }
        for path in [Some(&env).filter(|_| has_env), Some(&present.path)].into_iter().flatten() {
            if lock.is_some() {
                folder.remove(path.file_name().unwrap_or_default())?;
            }
            done(format!("remove {}", path.display()));
        }
    }
    let mut rest = Vec::new();
    if removal.has_effect() {
        if lock.is_some() {
            rest = removal.apply(home, record)?;
        }
        done(format!("remove the program files in {}", home.display()));
    }
    if !removal.staying.is_empty() {
        warnings.push(format!(
            "{} keeps files of the package, as others may write into their folders: {}; chmod go-w these folders, and run it \
             again with sha256 {}",
            home.display(),
            shorten(&removal.staying),
            installed.sha256
        ));
    } else if !rest.is_empty() {
        warnings.push(format!("{} keeps what is not from the package: {}", home.display(), shorten(&rest)));
    }
    let now = if lock.is_some() { Some(Present::read(&args.link)?) } else { None };
    let (verb, state) = match (call.check, removal.staying.is_empty()) {
        (true, true) => ("would be", "gone"),
        (false, true) => ("are", "gone"),
        (true, false) => ("would be", "gone in part"),
        (false, false) => ("are", "gone in part"),
    };
    let msg = format!("the program files of {} {verb} {state}", home.display());
    let output = describe(now.as_ref().unwrap_or(&present), args.sha256.as_deref());
    Ok(Report::new(actions, msg, output).with_warnings(warnings))
}

/// The first of the paths, and how many more there are.
fn shorten(paths: &[PathBuf]) -> String {
    let mut shown: Vec<String> =
        paths.iter().take(MAX_SHOWN).map(|path| path.display().to_string()).collect();
    if paths.len() > MAX_SHOWN {
        shown.push(format!("{} more", paths.len() - MAX_SHOWN));
    }
    shown.join(", ")
}

/// Refuses while a process runs a program of the folder. Those of other users cannot be read; openGauss's server runs as the owner
/// of its program files.
fn check_unused(home: &Path) -> Result<(), Error> {
    let users = running::programs_below(home)?;
    if users.is_empty() {
        return Ok(());
    }
    let users = users.iter().map(|(pid, program)| {
        format!("{} (pid {pid})", program.file_name().unwrap_or_default().to_string_lossy())
    });
    let detail = format!("{} is in use: {}", home.display(), users.collect::<Vec<_>>().join(", "));
    Err(Error::refused(detail).with_path(home.display()).hint("stop what runs, or keep these program files"))
}

/// What becomes of the files of a record.
#[derive(Debug, Default)]
struct Removal {
    /// Those that go.
    files: Vec<PathBuf>,
    /// Those that stay, as others may write into their folders and could exchange them at any moment.
    staying: Vec<PathBuf>,
    ways: Ways,
}

impl Removal {
    /// Looks what is there of the record.
    ///
    /// # Errors
    /// `permission` or `io`.
    fn plan(home: &Path, record: &Record) -> Result<Self, Error> {
        let mut removal = Self::default();
        for path in &record.files {
            let place = home.join(path);
            let list = match removal.ways.to(&place)? {
                Way::Own => &mut removal.files,
                Way::Open => &mut removal.staying,
                Way::Elsewhere => continue,
            };
            match std::fs::symlink_metadata(&place) {
                // Whoever put a folder in its place has removed the package's.
                Ok(meta) if meta.is_dir() => {}
                Ok(_) => list.push(place),
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(Error::io("look at", &place, &e)),
            }
        }
        Ok(removal)
    }

    /// Whether anything would go. Where all of the package's files are gone, their record is to go.
    fn has_effect(&self) -> bool {
        !self.files.is_empty() || self.staying.is_empty()
    }

    /// Removes the files, the folders that are empty then, and at last the record; returns what is left that is not the package's.
    /// As long as files of the package stay, so does the record, which is what they are known by.
    fn apply(&self, home: &Path, record: &Record) -> Result<Vec<PathBuf>, Error> {
        let mark = home.join(RECORD);
        if !record.removing {
            // What is left of a run that is killed is not taken for a whole package.
            let text = Record { removing: true, ..record.clone() }.to_json()?;
            files::replace(&mark, &text, false)?;
        }
        for place in &self.files {
            match std::fs::remove_file(place) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io("remove", place, &e)),
                _ => {}
            }
        }
        let mut ways = Ways::default();
        for path in record.folders.iter().rev() {
            let place = home.join(path);
            if ways.to(&place)? != Way::Own {
                continue;
            }
            match std::fs::remove_dir(&place) {
                Err(e)
                    if !matches!(
                        e.kind(),
                        ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty | ErrorKind::NotADirectory
                    ) =>
                {
                    return Err(Error::io("remove", &place, &e));
                }
                _ => {}
            }
        }
        if !self.staying.is_empty() {
            return Ok(Vec::new());
        }
        std::fs::remove_file(&mark).map_err(|e| Error::io("remove", &mark, &e))?;
        match std::fs::remove_dir(home) {
            Ok(()) => Ok(Vec::new()),
            Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => Ok(files_in(home)),
            Err(e) => Err(Error::io("remove", home, &e)),
        }
    }
}

/// How a place is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Only this user and root can change it.
    Own,
    /// Others can change it.
    Open,
    /// There is none, or it leads elsewhere: a folder was replaced by a link.
    Elsewhere,
}

/// The folders to what is removed. One that was replaced by a link leads to files that are not the package's, and one that others
/// can change may be replaced at any moment.
#[derive(Debug, Default)]
struct Ways {
    known: BTreeMap<PathBuf, Way>,
}

impl Ways {
    /// The way to the place, which is below a folder that is reached without links.
    fn to(&mut self, place: &Path) -> Result<Way, Error> {
        let parent = place.parent().unwrap_or(Path::new("/"));
        if let Some(way) = self.known.get(parent) {
            return Ok(*way);
        }
        let way = match std::fs::canonicalize(parent) {
            Ok(real) if real == parent && real.is_dir() => match OwnFolder::open(parent) {
                Ok(_) => Way::Own,
                Err(e) if e.kind() == protocol::ErrorKind::Refused => Way::Open,
                Err(e) => return Err(e),
            },
            Ok(_) => Way::Elsewhere,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Way::Elsewhere,
            // Links in a circle.
            Err(_) if parent.is_symlink() => Way::Elsewhere,
            Err(e) => return Err(Error::io("look at", parent, &e)),
        };
        self.known.insert(parent.to_owned(), way);
        Ok(way)
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
