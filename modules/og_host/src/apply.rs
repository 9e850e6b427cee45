//! Carries a plan out.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use og_common::files::MarkLock;
use og_common::gauss::process::{Outcome, Program};
use og_common::protocol::{Call, Error, ErrorKind};

use crate::args::{Cause, Kept};
use crate::plan::{MAIN_GROUP, Plan, Step, is_same};
use crate::present::{find_group, find_user, setting_file};
use crate::record::{self, Record};
use crate::tree::{
    Expected, FOLDER_MODE, Folder, Tree, split, swapped_error, temporary_name, untrusted_error,
};
use crate::unit;

/// Where the programs are that make users.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
/// How long one of them may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// So often the folder of the lock may go away while it is taken.
const MAX_TRIES: usize = 10;
/// Exit statuses of useradd(8) with which the user is made: no home directory, no mailbox, no mapping of SELinux.
const USER_MADE: [i32; 3] = [12, 13, 14];
/// Exit status of groupdel(8) for the main group of a user.
const IS_MAIN_GROUP: i32 = 8;
/// Exit status of groupdel(8) for a group that is not there.
const NO_SUCH_GROUP: i32 = 6;

/// Keeps other calls of og_host out. The programs of the system that a call runs hold it, too: what a killed call has begun is at its
/// end before the next call looks. It is no lock of og_common's `OwnFolder`, which goes through no link: /var may be one.
#[derive(Debug)]
pub struct HostLock {
    /// The folder of the record.
    pub folder: Folder,
    lock: MarkLock,
}

impl HostLock {
    /// Takes the lock, whose folder is made where it is missing.
    ///
    /// # Errors
    /// `busy`, naming the process that holds it; `refused` when somebody else may write into its folder.
    pub async fn acquire(tree: &Tree, call: &Call) -> Result<Self, Error> {
        let path = Path::new(record::FOLDER);
        let mut tries = 0;
        loop {
            tries += 1;
            let again = |e: &Error| {
                matches!(e.kind(), ErrorKind::NotFound)
                    || e.kind() == ErrorKind::Busy && e.failure().reason.is_none()
            };
            let taken = async {
                let folder = own_folder(tree, path)?;
                let mark = tree.path(record::FOLDER).join(record::LOCK);
                let lock = MarkLock::acquire(&mark, call).await?;
                Ok(Self { folder, lock })
            };
            match taken.await {
                // Another call made the folder, or removed it, in between.
                Err(e) if again(&e) && tries < MAX_TRIES => {}
                taken => return taken,
            }
        }
    }

    /// Removes the lock and its folder, where the record is gone.
    fn remove(&self, tree: &Tree) -> Result<(), Error> {
        self.folder.remove(&temporary_name(record::FILE.as_ref()))?;
        self.folder.remove(&OsString::from(record::LOCK))?;
        let (parent, name) = split(Path::new(record::FOLDER))?;
        // Something else in it keeps it.
        tree.trusted_folder(parent)?.remove_folder(name).map(drop)
    }
}

/// The folder, made with those on the way to it.
fn own_folder(tree: &Tree, path: &Path) -> Result<Folder, Error> {
    let walk = tree.walk(path)?;
    if let Some(other) = walk.untrusted.first() {
        return Err(untrusted_error(other));
    }
    let mut folder = walk.folder;
    for name in walk.missing {
        let made = folder.make_folder(&name)?;
        made.finish(None, None, FOLDER_MODE)?;
        folder.sync()?;
        folder = made;
    }
    // One that a killed run made is still closed.
    if folder.mode != FOLDER_MODE {
        folder.finish(None, None, FOLDER_MODE)?;
    }
    Ok(folder)
}

/// Carries the plan out, and keeps the record of it; returns what stays against the plan.
///
/// # Errors
/// A step that failed; those before it stay, and the record names them and what the failing one may have made.
pub async fn apply(call: &Call, tree: &Tree, lock: &HostLock, plan: &Plan) -> Result<Vec<Kept>, Error> {
    let mut record = plan.record.clone();
    plan.steps.iter().for_each(|step| record.begin(step, &plan.boot));
    record.write(&lock.folder)?;
    let mut kept = Vec::new();
    let mut finished = 0;
    let done = carry_out(call, (tree, lock), plan, &mut record, &mut finished, &mut kept).await;
    if done.is_err() {
        let reached = (finished + 1).min(plan.steps.len());
        record.abandon(&plan.steps[reached..], &plan.record);
    } else if plan.forgets_restart {
        record.reload = None;
    }
    // An error of the step itself counts more.
    let written = record.write(&lock.folder);
    let cleared = if record.is_empty() && written.is_ok() { lock.remove(tree) } else { Ok(()) };
    done?;
    written?;
    cleared?;
    Ok(kept)
}

/// Makes the changes of the plan, notes them in the record, and counts them in `finished`.
pub(crate) async fn carry_out(
    call: &Call,
    (tree, lock): (&Tree, &HostLock),
    plan: &Plan,
    record: &mut Record,
    finished: &mut usize,
    kept: &mut Vec<Kept>,
) -> Result<(), Error> {
    for path in &plan.leftovers {
        remove_leftover(tree, path)?;
    }
    for step in &plan.steps {
        // Why it stays, where it does.
        let mut why = None;
        match step {
            Step::AddGroup { name, gid } => {
                let number = gid.map(|gid| ["-g".to_owned(), gid.to_string()]);
                run(lock, "groupadd", number.into_iter().flatten().chain([name.clone()])).await?;
                let gid = find_group(name)?.ok_or_else(|| not_made_error("group", name))?;
                // By its number it is known for ours, whatever comes then.
                record.groups.insert(name.clone(), Some(gid));
                record.write(&lock.folder)?;
            }
            Step::AddUser { name, uid, group, home, shell } => {
                let outcome = start(lock, "useradd", user_words(name, *uid, group, home, shell)).await?;
                let is_made = has_succeeded(&outcome) || USER_MADE.contains(&outcome.rc);
                if let Some(user) = find_user(name)?.filter(|_| is_made) {
                    record.users.insert(name.clone(), Some(user.uid));
                    record.write(&lock.folder)?;
                } else if is_made {
                    return Err(not_made_error("user", name));
                }
                check("useradd", &outcome)?;
            }
            Step::MakeDirectory { path, owner, group, mode } => {
                make_directory(tree, path, owner.as_deref(), group.as_deref(), *mode)?;
            }
            Step::WriteFile { path, content, before } => {
                let (parent, name) = split(path)?;
                let expected = before.as_deref().map_or(Expected::Missing, Expected::Content);
                tree.trusted_folder(parent)?.write(name, content.as_bytes(), expected)?;
            }
            Step::Set { name, value, .. } | Step::Restore { name, value } => {
                write_setting(tree, name, value)?;
            }
            Step::RestartLogind => restart_logind(tree, lock).await?,
            Step::EnableUnit { path } => {
                run(lock, "systemctl", ["enable".to_owned(), unit::name(path)]).await?;
            }
            Step::DisableUnit { path } => {
                run(lock, "systemctl", ["disable".to_owned(), unit::name(path)]).await?;
            }
            Step::ReloadUnits => reload_units(tree, lock).await?,
            Step::RemoveFile { path, content } => {
                let (parent, name) = split(path)?;
                let is_gone = tree.trusted_folder(parent)?.remove_read(name, content)?;
                why = (!is_gone).then_some("it was changed since og_host wrote it");
            }
            Step::RemoveDirectory { path } => {
                why = (!remove_directory(tree, path)?).then_some("it is not empty, or is in use");
            }
            Step::RemoveUser { name } => run(lock, "userdel", [name.clone()]).await?,
            Step::RemoveGroup { name } => {
                // userdel has removed a group of the user's own name.
                if find_group(name)?.is_some() {
                    let outcome = start(lock, "groupdel", [name.clone()]).await?;
                    why = groupdel_kept_reason(&outcome)?;
                }
            }
        }
        *finished += 1;
        if let Some((why, name)) = why.zip(step.removed()) {
            kept.push(Kept { name, why: why.to_owned(), cause: Cause::Own });
        } else {
            record.finish(step);
            call.record_action(step.action());
        }
    }
    Ok(())
}

/// Returns why a group stays after groupdel, where it does: it may have become a user's since it was looked at.
pub(crate) fn groupdel_kept_reason(outcome: &Outcome) -> Result<Option<&'static str>, Error> {
    match outcome.rc {
        IS_MAIN_GROUP => Ok(Some(MAIN_GROUP)),
        NO_SUCH_GROUP => Ok(None),
        _ => check("groupdel", outcome).map(|()| None),
    }
}

/// The words of useradd.
fn user_words(name: &str, uid: Option<u32>, group: &str, home: &Path, shell: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["--create-home".into(), "--shell".into(), shell.into()];
    words.extend(["--gid".into(), group.into(), "--home-dir".into(), home.into()]);
    if let Some(uid) = uid {
        words.extend(["--uid".into(), uid.to_string().into()]);
    }
    words.push(name.into());
    words
}

fn not_made_error(what: &str, name: &str) -> Error {
    Error::new(ErrorKind::CommandFailed, format!("the {what} {name} is not there although it was made"))
        .hint("look into nsswitch.conf(5): the machine takes its users from elsewhere")
}

/// Runs a program of the system to its good end.
pub(crate) async fn run<S: AsRef<std::ffi::OsStr>>(
    lock: &HostLock,
    name: &str,
    words: impl IntoIterator<Item = S>,
) -> Result<(), Error> {
    check(name, &start(lock, name, words).await?)
}

/// Runs a program of the system, which holds the lock, too.
async fn start<S: AsRef<std::ffi::OsStr>>(
    lock: &HostLock,
    name: &str,
    words: impl IntoIterator<Item = S>,
) -> Result<Outcome, Error> {
    let found = FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file());
    let path: PathBuf = found.ok_or_else(|| {
        Error::not_found(format!("there is no program {name} in {}", FOLDERS.join(", ")))
            .hint("install the package that has it (shadow-utils, passwd or systemd)")
    })?;
    let program = Program::new(path)
        .args(words)
        .env("PATH", FOLDERS.join(":"))
        .with_limit(Some(COMMAND_LIMIT))
        .with_english_messages();
    lock.lock.run_with_inherited_lock(program.run()).await
}

fn has_succeeded(outcome: &Outcome) -> bool {
    outcome.rc == 0 && !outcome.timed_out
}

fn check(name: &str, outcome: &Outcome) -> Result<(), Error> {
    if has_succeeded(outcome) {
        return Ok(());
    }
    Err(Error::command(format!("{name} failed: {}", outcome.last_words()), outcome.record()))
}

fn make_directory(
    tree: &Tree,
    path: &Path,
    owner: Option<&str>,
    group: Option<&str>,
    mode: u32,
) -> Result<(), Error> {
    let owner = match owner {
        None => None,
        Some(name) => Some(find_user(name)?.ok_or_else(|| {
            Error::not_found(format!("there is no user {name} on this machine"))
                .with_path(path.display())
                .hint("let user make it, or name another owner")
        })?),
    };
    let gid = match group {
        None => owner.as_ref().map(|owner| owner.gid),
        Some(name) => Some(find_group(name)?.ok_or_else(|| {
            Error::not_found(format!("there is no group {name} on this machine"))
                .with_path(path.display())
                .hint("let group make it, or name another one")
        })?),
    };
    let uid = owner.as_ref().map(|owner| owner.uid);
    let walk = tree.walk(path)?;
    // Where the user may write himself nobody but he could have put something in the way, and that is noticed.
    let is_safe = |one: &crate::tree::Untrusted| uid.is_some_and(|uid| one.is_only_of(uid));
    if let Some(other) = walk.untrusted.iter().find(|one| !is_safe(one)) {
        return Err(untrusted_error(other));
    }
    let folder = match &walk.missing[..] {
        [] if walk.folder.is_unfinished(Some(mode))? => walk.folder,
        [] => return Err(swapped_error(path)),
        [name] => {
            let folder = walk.folder.make_folder(name)?;
            walk.folder.sync()?;
            folder
        }
        _ => return Err(Error::not_found(format!("the folder around {} is gone", path.display()))),
    };
    folder.finish(uid, gid, mode)
}

fn remove_directory(tree: &Tree, path: &Path) -> Result<bool, Error> {
    let (parent, name) = split(path)?;
    let walk = tree.walk(parent)?;
    if walk.missing.is_empty() { walk.folder.remove_folder(name) } else { Ok(true) }
}

/// Writes a setting of the running kernel, and reads it back.
fn write_setting(tree: &Tree, name: &str, value: &str) -> Result<(), Error> {
    let file = tree.path(&setting_file(name));
    let refused = |e: &std::io::Error| {
        Error::io("write", &file, e)
            .hint("the kernel refuses the value, or /proc/sys is read-only here, as in a container: set it on the host")
    };
    let mut open = OpenOptions::new().write(true).truncate(true).open(&file).map_err(|e| refused(&e))?;
    write_value(&mut open, value).map_err(|e| refused(&e))?;
    let seen = std::fs::read_to_string(&file).map_err(|e| Error::io("read", &file, &e))?;
    if is_same(name, &seen, value) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Io, format!("{name} is {} after it was set to {value}", seen.trim()))
        .with_path(file.display())
        .hint("give a value that the kernel takes as it is"))
}

/// Writes a value of a setting in one call, as the kernel wants it. Its line's end makes that call happen where the value is empty.
pub(crate) fn write_value(setting: &mut impl Write, value: &str) -> std::io::Result<()> {
    setting.write_all(format!("{value}\n").as_bytes())
}

/// Removes what a killed call may have left of this file while it wrote it.
fn remove_leftover(tree: &Tree, path: &Path) -> Result<(), Error> {
    let (parent, name) = split(path)?;
    match tree.trusted_folder(parent) {
        Ok(folder) => folder.remove(&temporary_name(name)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// Has systemd read its unit files again; where it does not run, none are loaded.
async fn reload_units(tree: &Tree, lock: &HostLock) -> Result<(), Error> {
    if !tree.path("run/systemd/system").is_dir() {
        return Ok(());
    }
    run(lock, "systemctl", ["daemon-reload"]).await
}

/// Lets systemd-logind read its files; where systemd does not run nobody has read them.
async fn restart_logind(tree: &Tree, lock: &HostLock) -> Result<(), Error> {
    if !tree.path("run/systemd/system").is_dir() {
        return Ok(());
    }
    run(lock, "systemctl", ["try-restart", "systemd-logind.service"]).await
}
