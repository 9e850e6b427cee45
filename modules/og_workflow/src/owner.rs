//! Who holds a lock: `user@machine pid N start T`, T being the start time of process N as the kernel counts it.
//!
//! The one thing that is not a pure function: whether a process of this machine lives, its kernel alone knows.

use std::fmt;
use std::fs;
use std::path::Path;

use nix::unistd::{Uid, User, gethostname};
use og_common::protocol::{Error, ErrorKind};

/// The variable by which the processes of a run are known; it has the run's own process number.
const MARK: &str = "OG_RUN";

/// A run of a workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    user: String,
    machine: String,
    pid: u32,
    start: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} pid {} start {}", self.user, self.machine, self.pid, self.start)
    }
}

impl Owner {
    /// The first owner of this form that the text names.
    #[must_use]
    pub fn find(text: &str) -> Option<Self> {
        text.match_indices(" pid ").find_map(|(at, words)| {
            let name = text[..at].rsplit(char::is_whitespace).next()?;
            let (user, machine) =
                name.split_once('@').filter(|(user, host)| !user.is_empty() && !host.is_empty())?;
            let (pid, rest) = text[at + words.len()..].split_once(" start ")?;
            let start: String =
                rest.chars().take_while(|c| c.is_alphanumeric() || "_:.-".contains(*c)).collect();
            Some(Self {
                user: user.to_owned(),
                machine: machine.to_owned(),
                pid: pid.parse().ok()?,
                start: Some(start).filter(|start| !start.is_empty())?,
            })
        })
    }

    /// The owner that stands for this process.
    ///
    /// # Errors
    /// `not_found` when there is no such process.
    pub fn of_process(pid: u32) -> Result<Self, Error> {
        let start =
            started(pid).ok_or_else(|| Error::not_found(format!("there is no process {pid}")).at("/pid"))?;
        let uid = Uid::effective();
        let user = User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
        Ok(Self { user, machine: machine()?, pid, start })
    }

    /// Whether it was a run on this machine, and is no more.
    ///
    /// # Errors
    /// This machine does not tell its name.
    pub fn is_over(&self) -> Result<bool, Error> {
        Ok(self.machine == machine()? && started(self.pid).as_ref() != Some(&self.start))
    }

    /// Calls of its that are still at work; those of other users are not seen. A connection that is kept open for a while
    /// is none.
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        self.processes().into_iter().filter(|name| name.starts_with("og_")).collect()
    }

    fn processes(&self) -> Vec<String> {
        let mark = format!("{MARK}={}", self.pid);
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut left: Vec<_> = processes
            .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit()))
            .filter(|entry| carries(&entry.path(), mark.as_bytes()))
            .map(|entry| {
                let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
                format!("{} (process {})", name.trim(), entry.file_name().display())
            })
            .collect();
        left.sort();
        left
    }
}

fn machine() -> Result<String, Error> {
    let name = gethostname()
        .map_err(|e| Error::new(ErrorKind::Io, format!("this machine has no name: {}", e.desc())))?;
    Ok(name.to_string_lossy().into_owned())
}

fn carries(process: &Path, mark: &[u8]) -> bool {
    fs::read(process.join("environ")).is_ok_and(|environ| environ.split(|b| *b == 0).any(|one| one == mark))
}

/// When the process began; none when there is no such process, or only what its parent has not taken note of yet.
fn started(pid: u32) -> Option<String> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&stat);
    // The name before it may have any character.
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<_> = fields.split_whitespace().collect();
    let gone = fields.first().is_none_or(|state| "ZX".contains(state));
    fields.get(19).filter(|_| !gone).map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn an_owner_is_found_in_a_message() {
        let text =
            "the lock is held by dba@control.example pid 47 start 918273 since 2026-11-21T09:43:07Z for: x";
        assert_eq!(Owner::find(text).unwrap().to_string(), "dba@control.example pid 47 start 918273");
        let mac = Owner::find("me@mac pid 5 start Sat-Nov-21-10:00:00-2026").unwrap();
        assert_eq!(mac.start, "Sat-Nov-21-10:00:00-2026");
        for text in [
            "dba@control",
            "dba pid 1 start 2",
            "@control pid 1 start 2",
            "a@b pid x start 2",
            "a@b pid 1 start ",
        ] {
            assert_eq!(Owner::find(text), None, "{text}");
        }
    }

    #[test]
    fn a_process_lives_until_it_is_no_more() {
        let mut child = Command::new("sleep").arg("60").env(MARK, "1").spawn().unwrap();
        let owner = Owner::of_process(child.id()).unwrap();
        assert_eq!(Owner::find(&owner.to_string()), Some(owner.clone()));
        assert!(!owner.is_over().unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(owner.is_over().unwrap());
        assert!(!Owner { machine: "elsewhere".to_owned(), ..owner }.is_over().unwrap());
    }

    #[test]
    fn what_a_run_left_at_work_is_known_by_its_mark() {
        let run = Owner {
            user: "u".to_owned(),
            machine: "m".to_owned(),
            pid: std::process::id(),
            start: "1".to_owned(),
        };
        assert_eq!(run.processes(), Vec::<String>::new());
        let (mut child, mut told) = (Command::new("cat"), [0]);
        let child = child.env(MARK, run.pid.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = child.spawn().unwrap();
        // A process that is just being started has no environment yet.
        child.stdin.as_mut().unwrap().write_all(b"!").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut told).unwrap();
        let (there, left) = (run.processes(), run.left());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(there, [format!("cat (process {})", child.id())]);
        // It is no program of ours.
        assert_eq!(left, Vec::<String>::new());
    }
}
