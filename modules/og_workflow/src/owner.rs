//! Who holds a lock: `user@machine pid N start T`, T being the start time of process N as the kernel counts it.
//!
//! The one thing that is not a pure function: whether a process of this machine lives, its kernel alone knows.

use std::fmt;

use nix::unistd::{Uid, User, gethostname};
use og_common::gauss::postmaster_pid::process_start;
use og_common::protocol::{Error, ErrorKind};

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
    pub fn from_pid(pid: u32) -> Result<Self, Error> {
        let start = started(pid)
            .ok_or_else(|| Error::not_found(format!("there is no process {pid}")).with_path("/pid"))?;
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
}

fn machine() -> Result<String, Error> {
    let name = gethostname()
        .map_err(|e| Error::new(ErrorKind::Io, format!("this machine has no name: {}", e.desc())))?;
    Ok(name.to_string_lossy().into_owned())
}

/// The start time of the process, as text: a controller without /proc has another notation. None when there is no such process.
fn started(pid: u32) -> Option<String> {
    process_start(pid).map(|ticks| ticks.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::Command;

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
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let owner = Owner::from_pid(child.id()).unwrap();
        assert_eq!(Owner::find(&owner.to_string()), Some(owner.clone()));
        assert!(!owner.is_over().unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(owner.is_over().unwrap());
        assert!(!Owner { machine: "elsewhere".to_owned(), ..owner }.is_over().unwrap());
    }
}
