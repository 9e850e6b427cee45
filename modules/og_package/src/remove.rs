//! Program files that go.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use og_common::files::{self, NodeLock, OwnFolder};
use og_common::gauss::running;
use og_common::protocol::{self, Call, Error, Report};

use crate::args::{Args, Installed, Output};
use crate::describe;
use crate::plan::{Leaving, plan_absent};
use crate::present::{EnvFile, Link, Present, RECORD, Record, env_path, is_unfinished};

/// So many paths are named in a warning.
const MAX_SHOWN: usize = 5;

/// Takes away what the record in the folder names; the rest stays, and is told.
pub(crate) async fn remove(call: &Call, args: &Args, present: Present) -> Result<Report<Output>, Error> {
    if plan_absent(&present, args).is_empty() {
        return Ok(report_nothing_removed(&present, args));
    }
    let folder = OwnFolder::open(&present.base)?;
    // In check mode nothing is changed, a lock included.
    let lock = if call.check { None } else { Some(NodeLock::acquire(folder.path(), call).await?) };
    let present = Present::read(&args.link)?;
    let leaving = plan_absent(&present, args);
    if leaving.is_empty() {
        return Ok(report_nothing_removed(&present, args));
    }
    let ended = if call.check { &args.ended[..] } else { &[] };
    for own in leaving.homes.iter().map(|(own, _)| own).chain(leaving.shared.iter().copied()) {
        check_unused(&own.path, ended)?;
    }
    let removals = leaving.homes.iter().map(|(own, record)| Removal::plan(&own.path, record));
    let removals: Vec<Removal> = removals.collect::<Result<_, _>>()?;
    let mut actions = Vec::new();
    let mut done = |action: String| {
        if !call.check {
            call.record_action(&action);
        }
        actions.push(action);
    };
    let homes = || leaving.homes.iter().zip(&removals).map(|((own, record), removal)| (own, record, removal));
    // What is left of a run that is killed is not taken for a whole package, and is known by that when the link is gone.
    for (own, record, removal) in homes().filter(|_| lock.is_some()) {
        removal.begin(&own.path, record)?;
    }
    // The link goes before what it leads to, and after what is known by it alone.
    let env = env_path(&present.path);
    let mut warnings = Vec::new();
    if leaving.link {
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
    for (own, record, removal) in homes() {
        let mut rest = Vec::new();
        if removal.has_effect() {
            if lock.is_some() {
                rest = removal.apply(&own.path, record)?;
            }
            done(format!("remove the program files in {}", own.path.display()));
        }
        warnings.extend(removal.warning(own, &rest));
    }
    for path in &leaving.leftovers {
        if lock.is_some() {
            remove_leftover(path)?;
        }
        done(format!("remove {}, which a killed run left", path.display()));
    }
    warnings.extend(shared_warnings(&present, &leaving));
    let now = if lock.is_some() { Some(Present::read(&args.link)?) } else { None };
    let output = describe(now.as_ref().unwrap_or(&present), args.sha256.as_deref());
    let msg = summary(&present, &leaving, &removals, call.check);
    Ok(Report::new(actions, msg, output).with_warnings(warnings))
}

/// Reports that nothing is to be taken away, and what is to be known of what is there.
fn report_nothing_removed(present: &Present, args: &Args) -> Report<Output> {
    let link = present.path.display();
    let leaving = plan_absent(present, args);
    let mut warnings = shared_warnings(present, &leaving);
    match &present.link {
        _ if args.sha256.is_some() => {}
        Link::Other => warnings.push(format!("{link} stays: it is no link, so og_package did not make it")),
        Link::To(target) => warnings
            .push(format!("{link} stays: it leads to {}, which og_package did not unpack", target.display())),
        // Such as what the link led to before somebody removed it.
        Link::Missing => {
            let is_unused = |own: &&(Installed, _)| present.other_links_to(&own.0.path).next().is_none();
            warnings.extend(present.installed.iter().filter(is_unused).map(|(other, _)| {
                format!(
                    "{} is there, and the link does not lead to it; give its sha256, {}",
                    other.path.display(),
                    other.sha256
                )
            }));
        }
    }
    warnings.extend(present.rest_warnings());
    let msg = format!("no program files are there for {link}");
    Report::unchanged(msg, describe(present, args.sha256.as_deref())).with_warnings(warnings)
}

/// Which program files stay, as other links lead to them.
fn shared_warnings(present: &Present, leaving: &Leaving<'_>) -> Vec<String> {
    let stays = |own: &&Installed| {
        let links: Vec<PathBuf> = present.other_links_to(&own.path).cloned().collect();
        format!("{} stays: {} leads to it, too", own.path.display(), shorten(&links))
    };
    leaving.shared.iter().map(stays).collect()
}

/// What came of it, in a line.
fn summary(present: &Present, leaving: &Leaving<'_>, removals: &[Removal], check: bool) -> String {
    let homes: Vec<String> = leaving.homes.iter().map(|(own, _)| own.path.display().to_string()).collect();
    let is_whole = removals.iter().all(|removal| removal.staying.is_empty());
    let gone = if is_whole { "gone" } else { "gone in part" };
    let are = if check { "would be" } else { "are" };
    match (&homes[..], leaving.link) {
        ([], true) => {
            let is = if check { "would be" } else { "is" };
            format!("the link {} {is} gone", present.path.display())
        }
        ([], false) => format!("the leftovers of killed runs beside {} {are} gone", present.path.display()),
        (homes, _) => format!("the program files of {} {are} {gone}", homes.join(", ")),
    }
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

/// Refuses while a process other than `ended` runs a program of the folder. Processes of other users cannot be read; openGauss's
/// server runs as the owner of its program files.
fn check_unused(home: &Path, ended: &[u32]) -> Result<(), Error> {
    let mut users = running::programs_below(home)?;
    users.retain(|(pid, _)| !ended.contains(pid));
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
            let list = match removal.ways.find_way(&place)? {
                Way::Own => &mut removal.files,
                Way::Open => &mut removal.staying,
                Way::Elsewhere => continue,
            };
            match std::fs::symlink_metadata(&place) {
                // Whoever put a folder in its place has removed the package's.
                Ok(meta) if meta.is_dir() => {}
                Ok(_) => list.push(place),
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(Error::io("inspect", &place, &e)),
            }
        }
        Ok(removal)
    }

    /// Whether anything would go. Where all of the package's files are gone, their record is to go.
    fn has_effect(&self) -> bool {
        !self.files.is_empty() || self.staying.is_empty()
    }

    /// Notes in the record that the files go.
    fn begin(&self, home: &Path, record: &Record) -> Result<(), Error> {
        if record.removing || !self.has_effect() {
            return Ok(());
        }
        let text = Record { removing: true, ..record.clone() }.to_json()?;
        files::replace(&home.join(RECORD), &text, false).map(drop)
    }

    /// What is to be known of what stays: files of the package, or `rest`, which are not.
    fn warning(&self, own: &Installed, rest: &[PathBuf]) -> Option<String> {
        let home = own.path.display();
        if !self.staying.is_empty() {
            return Some(format!(
                "{home} keeps files of the package, as others may write into their folders: {}; chmod go-w these folders, \
                 and run it again with sha256 {}",
                shorten(&self.staying),
                own.sha256
            ));
        }
        (!rest.is_empty()).then(|| format!("{home} keeps what is not from the package: {}", shorten(rest)))
    }

    /// Removes the files, the folders that are empty then, and at last the record; returns what is left that is not the package's.
    /// As long as files of the package stay, so does the record, which is what they are known by.
    fn apply(&self, home: &Path, record: &Record) -> Result<Vec<PathBuf>, Error> {
        let mark = home.join(RECORD);
        for place in &self.files {
            match std::fs::remove_file(place) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io("remove", place, &e)),
                _ => {}
            }
        }
        let mut ways = Ways::default();
        for path in record.folders.iter().rev() {
            let place = home.join(path);
            if ways.find_way(&place)? != Way::Own {
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
    /// Returns the way to the place, which is below a folder that is reached without links.
    fn find_way(&mut self, place: &Path) -> Result<Way, Error> {
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
            Err(e) => return Err(Error::io("inspect", parent, &e)),
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

/// Removes what a killed run left: of an unpacking all that is in it, of a removal the empty folder.
pub(crate) fn remove_leftover(path: &Path) -> Result<(), Error> {
    let is_folder = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    let removed = match path.file_name() {
        Some(name) if is_unfinished(name) && is_folder => std::fs::remove_dir_all(path),
        Some(name) if is_unfinished(name) => std::fs::remove_file(path),
        _ => std::fs::remove_dir(path),
    };
    match removed {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", path, &e)),
        _ => Ok(()),
    }
}
