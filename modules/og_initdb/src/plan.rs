//! What is to be done.

use std::path::PathBuf;

use og_common::clock;
use og_common::gauss::initdb::check_node_name;
use og_common::protocol::Error;

use crate::args::{Args, Content, Mode, RemovalObstacle, State};
use crate::present::{Present, deleted_prefix, entries};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing.
    Nothing,
    /// Run gs_initdb; `clear`: what a killed run left goes first.
    Initialise {
        /// Whether what is there goes first.
        clear: bool,
    },
    /// Remove the mark of a run that was killed after its work was done.
    Unmark,
    /// Rename the data directory.
    Move(PathBuf),
    /// Delete the data directory, and what is left of one of which the deletion was broken off.
    Delete {
        /// The name that the data directory gets first; none when only the rest of a deletion goes.
        aside: Option<PathBuf>,
        /// What is left of earlier deletions.
        rest: Vec<PathBuf>,
    },
}

/// Plans from what is there. `now`: seconds since 1970.
///
/// # Errors
/// `refused`, `bad_args`.
pub fn plan(present: &Present, args: &Args, now: u64) -> Result<Plan, Error> {
    match args.state {
        State::Query => Ok(Plan::Nothing),
        State::Present => plan_present(present, args),
        State::Absent => plan_absent(present, args, now),
    }
}

fn plan_present(present: &Present, args: &Args) -> Result<Plan, Error> {
    check_name(args.node_name.as_deref().unwrap_or_default())?;
    let directory = &present.directory;
    // What is emptied is held against all that speaks against a removal.
    if directory.content.is_vacant() && !present.obstacles.is_empty() {
        return Err(refusal(present));
    }
    let begun = present.marked.as_ref().is_some_and(|mark| mark.made.is_none());
    match directory.content {
        Content::Missing | Content::Empty => Ok(Plan::Initialise { clear: false }),
        Content::Unfinished => Ok(Plan::Initialise { clear: true }),
        Content::Database if directory.made => Ok(Plan::Nothing),
        Content::Database if begun && !present.started => {
            let path = directory.path.display();
            let detail = format!(
                "gs_initdb was begun in {path} and broken off, and the folder holds a database system by now: whether it is \
                 complete, or somebody else's, cannot be told"
            );
            let hint = format!(
                "inspect it; when it is not needed, move it aside (state: absent), else remove {}",
                present.mark.display()
            );
            Err(Error::refused(detail).with_path(path).hint(hint))
        }
        Content::Database if present.marked.is_some() => Ok(Plan::Unmark),
        Content::Database => Ok(Plan::Nothing),
        Content::Other => {
            let path = &directory.path;
            let detail = format!("{} is not empty and holds no database: {}", path.display(), entries(path));
            let hint = "give a data_dir that is empty or not there, or remove by hand what is there";
            Err(Error::refused(detail).with_path(path.display()).hint(hint))
        }
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    check_node_name(name).map_err(|wrong| {
        Error::bad_args(format!("node_name {name:?} {wrong}"))
            .with_path("/node_name")
            .hint("give a name such as dn_6001")
    })
}

fn plan_absent(present: &Present, args: &Args, now: u64) -> Result<Plan, Error> {
    let directory = &present.directory;
    let path = &directory.path;
    let is_there = !matches!(directory.content, Content::Missing | Content::Empty);
    let is_left = args.mode == Mode::Deleted && !present.half_deleted.is_empty();
    if (is_there || is_left) && !present.obstacles.is_empty() {
        return Err(refusal(present));
    }
    match args.mode {
        Mode::Moved if is_there => {
            let stamp: String = clock::rfc3339(now).chars().filter(|c| !matches!(c, '-' | ':')).collect();
            let mut aside = path.as_os_str().to_owned();
            aside.push(format!(".moved-{stamp}"));
            Ok(Plan::Move(PathBuf::from(aside)))
        }
        Mode::Deleted if is_there || is_left => {
            if is_there {
                check_confirmation(present, args.confirm.as_deref())?;
            }
            let aside = is_there.then(|| path.with_file_name(format!("{}{now}", deleted_prefix(path))));
            Ok(Plan::Delete { aside, rest: present.half_deleted.clone() })
        }
        Mode::Moved | Mode::Deleted => Ok(Plan::Nothing),
    }
}

fn refusal(present: &Present) -> Error {
    let details: Vec<&str> = present.obstacles.iter().map(|obstacle| obstacle.detail.as_str()).collect();
    let mut fixes: Vec<&str> = Vec::new();
    for RemovalObstacle { fix, .. } in &present.obstacles {
        if !fixes.contains(&fix.as_str()) {
            fixes.push(fix);
        }
    }
    Error::refused(details.join("; ")).with_path(present.directory.path.display()).hint(fixes.join("; "))
}

fn check_confirmation(present: &Present, confirm: Option<&str>) -> Result<(), Error> {
    let path = present.directory.path.display();
    let Some(name) = present.directory.name.as_deref() else {
        let detail = format!(
            "{path} has no name of a node in its postgresql.conf, so nothing can confirm its deletion"
        );
        return Err(Error::refused(detail).hint("use mode: moved, and delete by hand what was moved"));
    };
    if confirm == Some(name) {
        return Ok(());
    }
    let given =
        confirm.map_or_else(|| "confirm is not given".to_owned(), |given| format!("confirm is {given:?}"));
    Err(Error::refused(format!("{path} is the data directory of {name}, and {given}"))
        .with_path("/confirm")
        .hint(format!("give confirm: {name} when all that it holds may be lost, or use mode: moved")))
}
