//! As whom a call acts.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use crate::base::{Common, Error, ErrorKind, environment_data_dir, not_root_error, run_as_hint};
use crate::files::limits::{Holder, OPEN_FILES, find_limit, limits_after_login, read_lines};

/// The limits of pam_limits(8) which a login sets for a process: the name in its files, the kernel's, and how many of the
/// kernel's units one of the file's is. Those of priorities (`nice`, `priority`, `rtprio`) and of logins are not among them.
const LIMITS: [(&str, Resource, u64); 12] = [
    ("core", Resource::RLIMIT_CORE, 1024),
    ("data", Resource::RLIMIT_DATA, 1024),
    ("fsize", Resource::RLIMIT_FSIZE, 1024),
    ("memlock", Resource::RLIMIT_MEMLOCK, 1024),
    (OPEN_FILES, Resource::RLIMIT_NOFILE, 1),
    ("rss", Resource::RLIMIT_RSS, 1024),
    ("stack", Resource::RLIMIT_STACK, 1024),
    ("cpu", Resource::RLIMIT_CPU, 60),
    ("nproc", Resource::RLIMIT_NPROC, 1),
    ("as", Resource::RLIMIT_AS, 1024),
    ("sigpending", Resource::RLIMIT_SIGPENDING, 1),
    ("msgqueue", Resource::RLIMIT_MSGQUEUE, 1),
];

/// Run by root, becomes the node's user, and tells whether that is another one; run by anyone else, checks that it is that
/// user.
pub(super) fn become_user(common: &Common, anchor: Option<&Path>) -> Result<bool, Error> {
    let me = Uid::effective();
    let named = common.os_user.as_deref().map(find_user).transpose();
    if !me.is_root() {
        if let Some(name) = &common.os_user {
            check_is_user(name, named, me)?;
        }
        return Ok(false);
    }
    let named = named?;
    let owner = || {
        // Root's own name is of no interest.
        let uid = owner_of_call(common.data_dir.as_deref(), anchor).filter(|uid| !uid.is_root())?;
        User::from_uid(uid).ok().flatten()
    };
    let Some(user) = named.or_else(owner) else { return Ok(false) };
    if user.uid.is_root() {
        return Ok(false);
    }
    let name = std::ffi::CString::new(user.name.clone())
        .map_err(|_| Error::bad_args("os_user has a NUL in it").with_path("/os_user"))?;
    // Else a server that this starts would have root's limits.
    limit_as_login(Path::new("/"), &name, &user);
    switch(&name, user.gid, user.uid).map_err(|e| {
        Error::new(ErrorKind::Permission, format!("cannot become the user {}: {}", user.name, e.desc()))
    })?;
    Ok(true)
}

/// Checks that the user of this name, as found, is the one that this runs as; one that is not there is another one.
fn check_is_user(name: &str, found: Result<Option<User>, Error>, me: Uid) -> Result<(), Error> {
    match found {
        Ok(Some(user)) if user.uid == me => Ok(()),
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Err(Error::new(ErrorKind::Permission, format!("os_user is {name}, but this runs as uid {me}"))
            .with_path("/os_user")
            .hint(run_as_hint(name))),
    }
}

/// Checks that the program of this name, which acts on the machine itself, runs as root.
pub(super) fn check_root(program: &str) -> Result<(), Error> {
    let me = Uid::effective();
    if me.is_root() {
        return Ok(());
    }
    Err(not_root_error(format!("{program} changes the operating system, and this runs as uid {me}")))
}

/// Gives this process the limits that the user's login would have. One that the kernel refuses (in a container it may refuse
/// root) stays as it is, as the log says; og_preflight finds what is too little.
fn limit_as_login(root: &Path, name: &CStr, user: &User) {
    let groups = getgrouplist(name, user.gid).unwrap_or_default();
    let named = |gid: Gid| Some((Group::from_gid(gid).ok().flatten()?.name, Some(gid.as_raw())));
    let groups: BTreeMap<_, _> = groups.into_iter().filter_map(named).collect();
    let holder = Holder { user: &user.name, uid: Some(user.uid.as_raw()), groups };
    let lines = read_lines(root, &holder, None);
    if lines.is_empty() {
        return;
    }
    for (name, resource, unit) in LIMITS {
        let given = match find_limit(&lines, name) {
            (None, None) => continue,
            (soft, hard) => [soft, hard].map(|value| value.map(|value| kernel_limit(name, value, unit))),
        };
        let set = getrlimit(resource).and_then(|now| {
            let (soft, hard) = limits_after_login(now, given.into());
            if (soft, hard) == now { Ok(()) } else { setrlimit(resource, soft, hard) }
        });
        if let Err(e) = set {
            tracing::warn!("the limit {name} of {} stays: {}", user.name, e.desc());
        }
    }
}

/// The value of a limit in the kernel's units. Of open files it has no limit that is none, but `fs.nr_open`.
fn kernel_limit(name: &str, value: u64, unit: u64) -> u64 {
    if name == OPEN_FILES && value == u64::MAX {
        let most = std::fs::read_to_string("/proc/sys/fs/nr_open");
        return most.ok().and_then(|most| most.trim().parse().ok()).unwrap_or(value);
    }
    value.saturating_mul(unit)
}

fn switch(name: &CStr, gid: Gid, uid: Uid) -> nix::Result<()> {
    nix::unistd::initgroups(name, gid)?;
    nix::unistd::setgid(gid)?;
    nix::unistd::setuid(uid)
}

fn find_user(name: &str) -> Result<User, Error> {
    match User::from_name(name) {
        Ok(Some(user)) => Ok(user),
        Ok(None) => {
            Err(Error::not_found(format!("there is no user {name} on this machine")).with_path("/os_user"))
        }
        Err(e) => Err(Error::new(ErrorKind::Io, format!("cannot look up the user {name}: {}", e.desc()))),
    }
}

/// The owner of the data directory, or where that is gone of the call's anchor. What the call names counts more than what the
/// environment happens to say.
fn owner_of_call(data_dir: Option<&Path>, anchor: Option<&Path>) -> Option<Uid> {
    let mut named = [data_dir, anchor].into_iter().flatten().peekable();
    if named.peek().is_none() {
        return owner(&environment_data_dir()?);
    }
    named.find_map(owner)
}

fn owner(path: &Path) -> Option<Uid> {
    let meta = std::fs::metadata(path).ok()?;
    Some(Uid::from_raw(std::os::unix::fs::MetadataExt::uid(&meta)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn where_the_data_directory_is_gone_the_anchor_says_as_whom_to_act() {
        let dir = tempfile::tempdir().unwrap();
        let mut other = PathBuf::from("/etc");
        if Uid::effective().is_root() {
            other = dir.path().join("other");
            std::fs::create_dir(&other).unwrap();
            let nobody = User::from_name("nobody").unwrap().unwrap();
            std::os::unix::fs::chown(&other, Some(nobody.uid.as_raw()), None).unwrap();
        }
        let gone = dir.path().join("gone");
        let (own, of_other) = (Some(Uid::effective()), owner(&other));
        assert_ne!(own, of_other);
        assert_eq!(owner_of_call(Some(dir.path()), Some(&other)), own);
        assert_eq!(owner_of_call(Some(&gone), Some(&other)), of_other);
        assert_eq!(owner_of_call(Some(&gone), None), None);
    }

    #[test]
    fn a_user_that_is_not_there_is_another_one_than_who_runs_this() {
        let root = || User::from_uid(Uid::from_raw(0)).unwrap();
        let missing = Error::not_found("there is no user omm on this machine");
        for found in [Ok(root()), Err(missing)] {
            let error = check_is_user("omm", found, Uid::from_raw(1000)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Permission);
            assert_eq!(error.failure().path.as_deref(), Some("/os_user"));
        }
        check_is_user("root", Ok(root()), Uid::from_raw(0)).unwrap();
        let unknown = Err(Error::new(ErrorKind::Io, "no answer"));
        assert_eq!(check_is_user("omm", unknown, Uid::from_raw(1000)).unwrap_err().kind(), ErrorKind::Io);
    }
}
