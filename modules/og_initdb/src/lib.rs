//! The data directory of this node: made by gs_initdb, looked at, moved aside or deleted.

pub mod args;
mod mark;
mod plan;
mod present;
#[cfg(test)]
mod tests;

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use og_common::clock;
use og_common::files::{self, MarkLock, NodeLock, sync_folder};
use og_common::gauss::ServerNode;
use og_common::gauss::initdb::{NewDatabase, Password};
use og_common::protocol::{ArgRule, Call, Error, ErrorKind, Example, Module, Report};

use args::{Args, Content, Mode, Output, State};
use mark::Mark;
use plan::{Plan, plan};
use present::Present;

/// The module `og_initdb`.
#[derive(Debug)]
pub struct Initdb;

impl Module for Initdb {
    const NAME: &'static str = "og_initdb";
    const ABOUT: &'static str = "The data directory of this node";
    const TIMEOUT: u64 = 1800;
    const EXAMPLES: &'static [Example] = &[
        Example {
            title: "Make the data directory of a node, with the password of the initial user from a file",
            args: r#"{"data_dir": "/gauss/data/dn1", "os_user": "omm", "node_name": "dn_6001", "password_file": "/home/omm/.og_password"}"#,
        },
        Example {
            title: "What is there, and what speaks against its removal?",
            args: r#"{"data_dir": "/gauss/data/dn1", "state": "query"}"#,
        },
        Example {
            title: "Move the data directory of a dropped node aside",
            args: r#"{"data_dir": "/gauss/data/dn1", "state": "absent"}"#,
        },
        Example {
            title: "Delete it",
            args: r#"{"data_dir": "/gauss/data/dn1", "state": "absent", "mode": "deleted", "confirm": "dn_6002"}"#,
        },
    ];
    const RULES: &'static [ArgRule] = &[
        ArgRule::RequiredIf { key: "state", value: "present", needs: &["node_name"] },
        ArgRule::OnlyIf {
            key: "state",
            values: &["present"],
            allows: &["node_name", "locale", "encoding", "compatibility", "password"],
        },
        ArgRule::OnlyIf { key: "state", values: &["present", "query"], allows: &["password_file"] },
        ArgRule::OnlyIf { key: "state", values: &["absent"], allows: &["mode", "confirm"] },
        ArgRule::OnlyIf { key: "state", values: &["absent", "query"], allows: &["peers"] },
        ArgRule::Exclusive(&["password", "password_file"]),
    ];
    type Args = Args;
    type Output = Output;

    async fn run(call: &Call, args: Args) -> Result<Report<Output>, Error> {
        let data_dir = call.planned_data_dir()?;
        match args.state {
            State::Present => {
                check_user()?;
                make(call, &data_dir, &args).await
            }
            State::Absent => remove(call, &data_dir, &args).await,
            State::Query => Ok(inspect(&data_dir, &args)),
        }
    }
}

/// Refuses to act as root, whom no server runs as.
fn check_user() -> Result<(), Error> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::bad_args("gs_initdb does not run as root, and os_user is not given")
        .with_path("/os_user")
        .hint("give os_user: the user that the server is to run as"))
}

fn output(present: Present) -> Output {
    let Present { directory, listing, obstacles, .. } = present;
    Output { directory, listing, obstacles, ..Output::default() }
}

fn inspect(data_dir: &Path, args: &Args) -> Report<Output> {
    let mut report = query(Present::read(data_dir).with_listing(&args.peers));
    report.output.password_problem = read_password(args).err().map(|e| e.to_string());
    report
}

fn query(present: Present) -> Report<Output> {
    let directory = &present.directory;
    let path = directory.path.display();
    let msg = match (directory.content, &directory.name) {
        (Content::Missing, _) => format!("{path} is not there"),
        (Content::Empty, _) => format!("{path} is empty"),
        (Content::Unfinished, _) => format!("{path}: gs_initdb was begun and broken off"),
        (Content::Other, _) => format!("{path} holds no database"),
        (Content::Database, Some(name)) => format!("{path} is the data directory of {name}"),
        (Content::Database, None) => format!("{path} holds a database"),
    };
    Report::unchanged(msg, output(present))
}

async fn make(call: &Call, data_dir: &Path, args: &Args) -> Result<Report<Output>, Error> {
    let node_name = args.node_name.as_deref().unwrap_or_default();
    let present = read_for_making(data_dir);
    let first = plan(&present, args, clock::now())?;
    if first == Plan::Nothing {
        return Ok(report_present(present, node_name));
    }
    let password = read_password(args)?;
    let exposed = args.password_file.as_deref().and_then(exposure_warning);
    // Of a program that is not there it is better known before a folder is made.
    let node = ServerNode::new(data_dir);
    node.env(call).await?.program("gs_initdb")?;
    let mut lock = None;
    let mut planned = (present, first);
    if !call.check {
        make_folder(planned.0.mark.parent().unwrap_or(data_dir))?;
        lock = Some(MarkLock::acquire(&planned.0.mark, call).await?);
        let present = read_for_making(data_dir);
        let again = plan(&present, args, clock::now())?;
        planned = (present, again);
    }
    let (present, planned) = planned;
    let actions = match &planned {
        &Plan::Initialise { clear } => {
            let mut actions = Vec::new();
            if clear {
                actions
                    .push(format!("remove what an earlier run of gs_initdb left in {}", data_dir.display()));
            }
            actions.push(format!("run gs_initdb for {} as {node_name}", data_dir.display()));
            if let Some(lock) = &mut lock {
                let done = initialise(call, &node, args, password.as_ref(), lock, &present, clear).await;
                done.map_err(|e| if clear { e.with_actions(actions[..1].to_vec()) } else { e })?;
            }
            actions
        }
        Plan::Unmark => vec![format!("remove the mark {}", present.mark.display())],
        _ => Vec::new(),
    };
    if lock.is_some() && !matches!(planned, Plan::Initialise { .. }) && !present.directory.made {
        remove_mark(&present.mark)?;
    }
    if actions.is_empty() || call.check {
        let mut report = report_present(present, node_name);
        report.warnings.extend(exposed);
        (report.changed, report.actions) = (!actions.is_empty(), actions);
        if report.changed {
            report.msg = format!("{} would be made", data_dir.display());
        }
        return Ok(report);
    }
    let present = Present::read(data_dir);
    let msg = format!("{} is the data directory of {node_name}", data_dir.display());
    Ok(Report::new(actions, msg, output(present)).with_warnings(exposed))
}

/// Returns a warning where others may read the file of a password.
fn exposure_warning(file: &Path) -> Option<String> {
    let mode = std::fs::metadata(file).ok()?.permissions().mode();
    (mode & 0o077 != 0).then(|| {
        format!(
            "password_file {} has the mode {:o}, so others may read it; chmod 600 it",
            file.display(),
            mode & 0o777
        )
    })
}

fn report_present(present: Present, node_name: &str) -> Report<Output> {
    let other = present.directory.node_name.clone().filter(|own| own != node_name);
    let warning = other.map(|own| {
        format!(
            "its pgxc_node_name is {own}, not {node_name}; og_guc changes it before there are tablespaces"
        )
    });
    let mut report = query(present);
    report.warnings.extend(warning);
    report
}

fn read_password(args: &Args) -> Result<Option<Password>, Error> {
    let (password, at) = match (&args.password, &args.password_file) {
        (Some(text), _) => (Password::new(text), "/password"),
        (None, Some(file)) => (read_password_file(file)?, "/password_file"),
        (None, None) => return Ok(None),
    };
    if !password.is_empty() {
        return Ok(Some(password));
    }
    let detail = match &args.password_file {
        Some(file) => format!("the first line of {}, which is the password, is empty", file.display()),
        None => "the password is empty".to_owned(),
    };
    Err(Error::bad_args(detail).with_path(at))
}

fn read_password_file(file: &Path) -> Result<Password, Error> {
    let at = |e: Error| e.with_path("/password_file");
    if !file.is_absolute() {
        let detail = format!("password_file must be an absolute path, not {}", file.display());
        return Err(at(Error::bad_args(detail)));
    }
    let text = files::read(file).map_err(|e| match e.kind() {
        ErrorKind::NotFound => {
            at(e).hint("write the password into it, in a line; only the node's user may read it")
        }
        _ => at(e),
    })?;
    Ok(Password::new(&String::from_utf8_lossy(&text)))
}

/// Makes a folder that nobody else may enter, and those above it.
fn make_folder(path: &Path) -> Result<(), Error> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(|e| Error::io("make", path, &e))
}

async fn initialise(
    call: &Call,
    node: &ServerNode,
    args: &Args,
    password: Option<&Password>,
    lock: &mut MarkLock,
    present: &Present,
    clear: bool,
) -> Result<(), Error> {
    let data_dir = &node.data_dir;
    let node_name = args.node_name.as_deref().unwrap_or_default();
    let was_missing = present.directory.content == Content::Missing;
    let io = |what: &'static str| move |e: std::io::Error| Error::io(what, data_dir, &e);
    if clear {
        empty_folder(data_dir)?;
    }
    make_folder(data_dir)?;
    std::fs::set_permissions(data_dir, std::fs::Permissions::from_mode(0o700))
        .map_err(io("set the mode of"))?;
    let mark = Mark::new(data_dir, node_name).map_err(io("inspect"))?;
    let text = serde_json::to_vec(&mark).map_err(|e| Error::new(ErrorKind::Internal, e.to_string()))?;
    lock.write(&present.mark, &text)?;
    sync_folder(present.mark.parent().unwrap_or(data_dir))?;
    call.record_seen(format!("gs_initdb is at work in {}", data_dir.display()));
    let new = NewDatabase {
        node_name,
        locale: &args.locale,
        encoding: &args.encoding,
        compatibility: args.compatibility,
        password,
    };
    let outcome = lock.run_with_inherited_lock(node.initdb(call, &new)).await?;
    let is_made = data_dir.join("PG_VERSION").exists() && node.system_id().is_some_and(|id| id != 0);
    if outcome.rc == 0 && is_made {
        let made = node.system_id().map(|id| id.to_string());
        let text = serde_json::to_vec(&Mark { made, ..mark })
            .map_err(|e| Error::new(ErrorKind::Internal, e.to_string()))?;
        lock.write(&present.mark, &text)?;
        return sync_folder(present.mark.parent().unwrap_or(data_dir));
    }
    // Whoever puts something into the folder now must not find it taken for what gs_initdb left.
    let is_empty = std::fs::read_dir(data_dir).is_ok_and(|mut entries| entries.next().is_none());
    let is_gone = std::fs::symlink_metadata(data_dir).is_err();
    if is_empty || is_gone {
        remove_mark(&present.mark)?;
        if was_missing && is_empty {
            std::fs::remove_dir(data_dir).map_err(io("remove"))?;
        }
    }
    let why = if outcome.timed_out { "did not end in time".to_owned() } else { outcome.initdb_complaint() };
    Err(Error::command(format!("gs_initdb failed: {why}"), outcome.record()))
}

/// What is there, as it matters for making a database.
fn read_for_making(data_dir: &Path) -> Present {
    let present = Present::read(data_dir);
    if present.directory.content.is_vacant() { present.with_obstacles() } else { present }
}

/// Removes the mark, also after a loss of power.
fn remove_mark(mark: &Path) -> Result<(), Error> {
    std::fs::remove_file(mark).map_err(|e| Error::io("remove", mark, &e))?;
    sync_folder(mark.parent().unwrap_or(mark))
}

/// Deletes all that is in a folder.
fn empty_folder(path: &Path) -> Result<(), Error> {
    let io = |e: std::io::Error| Error::io("empty", path, &e);
    for entry in std::fs::read_dir(path).map_err(io)? {
        let entry = entry.map_err(io)?;
        let is_folder = entry.file_type().map_err(io)?.is_dir();
        let place = entry.path();
        let removed = if is_folder { std::fs::remove_dir_all(&place) } else { std::fs::remove_file(&place) };
        removed.map_err(|e| Error::io("remove", &place, &e))?;
    }
    Ok(())
}

async fn remove(call: &Call, data_dir: &Path, args: &Args) -> Result<Report<Output>, Error> {
    let read = || Present::read(data_dir).with_listing(&args.peers);
    let (mut present, now) = (read(), clock::now());
    let failed = |present: &Present, e: Error| e.with_output(&output(present.clone()));
    let mut planned = plan(&present, args, now).map_err(|e| failed(&present, e))?;
    let is_there = !matches!(present.directory.content, Content::Missing | Content::Empty);
    let _lock = if call.check || planned == Plan::Nothing || !is_there {
        None
    } else {
        // Neither a server nor another module begins anything here meanwhile.
        let lock = NodeLock::acquire(data_dir, call).await?;
        present = read();
        planned = plan(&present, args, now).map_err(|e| failed(&present, e))?;
        Some(lock)
    };
    let mut actions = Vec::new();
    let mut moved_to = None;
    match planned {
        Plan::Move(to) => {
            actions.push(format!("rename {} to {}", data_dir.display(), to.display()));
            if !call.check {
                rename(data_dir, &to)?;
            }
            moved_to = Some(to);
        }
        Plan::Delete { aside, rest } => {
            let mut all = rest;
            actions.extend(all.iter().map(|path| format!("delete {}", path.display())));
            if let Some(aside) = aside {
                actions.push(format!("delete {}", data_dir.display()));
                if !call.check {
                    // From here on it is no data directory any more, however far the deletion comes.
                    rename(data_dir, &aside)?;
                }
                all.push(aside);
            }
            for path in all.iter().filter(|_| !call.check) {
                std::fs::remove_dir_all(path).map_err(|e| Error::io("delete", path, &e))?;
            }
        }
        Plan::Nothing | Plan::Unmark | Plan::Initialise { .. } => {}
    }
    if !call.check && !actions.is_empty() && present.marked.is_some() {
        remove_mark(&present.mark)?;
    }
    let path = data_dir.display();
    let msg = match (&moved_to, args.mode, actions.is_empty()) {
        (_, _, true) => format!("there is no data directory {path}"),
        (Some(to), ..) => format!("{path} is moved to {}", to.display()),
        (None, Mode::Deleted | Mode::Moved, _) => format!("{path} is deleted"),
    };
    let msg = if call.check && !actions.is_empty() { msg.replacen(" is ", " would be ", 1) } else { msg };
    Ok(Report::new(actions, msg, Output { moved_to, ..output(present) }))
}

/// Renames a folder; what is renamed is so after a loss of power, too.
fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::rename(from, to).map_err(|e| Error::io("rename", from, &e))?;
    sync_folder(from.parent().unwrap_or(from))
}
