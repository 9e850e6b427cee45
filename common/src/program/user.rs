//! As whom a call acts.

use std::path::Path;

use nix::unistd::{Gid, Uid, User};

use crate::base::{Common, Error, ErrorKind, environment_data_dir, not_root_error, run_as_hint};

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
    // What the call names counts more than what the environment happens to say.
    let place = common.data_dir.clone().or_else(|| anchor.map(Path::to_owned)).or_else(environment_data_dir);
    let Some(user) = named.or_else(|| place.as_deref().and_then(owner)) else { return Ok(false) };
    if user.uid.is_root() {
        return Ok(false);
    }
    let name = std::ffi::CString::new(user.name.clone())
        .map_err(|_| Error::bad_args("os_user has a NUL in it").with_path("/os_user"))?;
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

fn switch(name: &std::ffi::CStr, gid: Gid, uid: Uid) -> nix::Result<()> {
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

fn owner(path: &Path) -> Option<User> {
    let meta = std::fs::metadata(path).ok()?;
    User::from_uid(Uid::from_raw(std::os::unix::fs::MetadataExt::uid(&meta))).ok().flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

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
