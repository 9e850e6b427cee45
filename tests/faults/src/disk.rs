//! Disks that are full, read-only or somebody else's, and files that are not what they should be.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{Uid, User};

use crate::cases::Case;
use crate::sandbox::{Sandbox, Tried, set_mode};

/// What is wrong with the disk or the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Full,
    NoInodes,
    ReadOnly,
    ClosedFolder,
    ClosedFile,
    OtherOwner,
    Immutable,
    Vanished,
    Folder,
    Pipe,
    LinkedFolder,
    LinkedFile,
    LinkToNothing,
}

/// All of them, and how the table names them.
pub const FAULTS: [(Fault, &str); 13] = [
    (Fault::Full, "disk full"),
    (Fault::NoInodes, "no inodes left"),
    (Fault::ReadOnly, "read-only file system"),
    (Fault::ClosedFolder, "no permission for the folder"),
    (Fault::ClosedFile, "no permission for the file"),
    (Fault::OtherOwner, "file of another user"),
    (Fault::Immutable, "immutable file"),
    (Fault::Vanished, "file vanished"),
    (Fault::Folder, "a folder in the file's place"),
    (Fault::Pipe, "a pipe in the file's place"),
    (Fault::LinkedFolder, "data directory behind a link"),
    (Fault::LinkedFile, "file behind a link"),
    (Fault::LinkToNothing, "a link to nothing"),
];

/// Whether mounts are ours alone.
pub static MAY_MOUNT: AtomicBool = AtomicBool::new(false);

/// A mount of our own namespace, gone when dropped.
pub struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    /// Mounts a small file system there.
    pub fn mount(path: &'a Path, options: &str) -> Tried<Self> {
        if !MAY_MOUNT.load(Ordering::SeqCst) {
            return Err("skipped: no mount namespace of our own".to_owned());
        }
        let mounted = mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some(options));
        mounted.map_err(|e| format!("skipped: cannot mount a tmpfs: {}", e.desc()))?;
        set_mode(path, 0o700)?;
        Ok(Self(path))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // What stays goes with our namespace.
        let _ = umount2(self.0, MntFlags::MNT_DETACH);
    }
}

/// Does the harm, calls the module, and looks at what it said and left. Where the harm can be undone, the same call then
/// does its work.
pub fn run_harmed(case: Case, fault: Fault) -> Tried {
    if !Uid::effective().is_root() && !matches!(fault, Fault::Vanished | Fault::Folder | Fault::Pipe) {
        return Err("skipped: needs root".to_owned());
    }
    let node = Sandbox::new()?;
    let data = node.data();
    let file = data.join(case.file);
    let _mounted = match fault {
        Fault::Full | Fault::NoInodes | Fault::ReadOnly => {
            Some(Mounted::mount(&data, "size=1m,nr_inodes=64")?)
        }
        _ => None,
    };
    case.fill(&node)?;
    let (kinds, undo) = harm(&node, case, fault, &data, &file)?;
    let mut args = case.args(&node);
    if fault == Fault::LinkedFolder {
        let (from, to) = (data.display().to_string(), node.path("linked").display().to_string());
        args = serde_json::from_str(&args.to_string().replace(&from, &to)).map_err(|e| e.to_string())?;
    }
    let broken_link = fault == Fault::LinkToNothing;
    let before = if broken_link { None } else { Some(node.files()?) };
    let ran = node.call(case.module, &args);
    let judged = ran.and_then(|ran| {
        let after = if broken_link { None } else { Some(node.files()?) };
        if kinds.is_empty() {
            if ran.require_success()?["changed"] != true || after == before {
                return Err("it changed nothing".to_owned());
            }
            if fault == Fault::LinkedFile && !file.is_symlink() {
                return Err("the link is a file now".to_owned());
            }
            return Ok("done as ever".to_owned());
        }
        let kind = ran.require_failure(kinds)?;
        if after != before {
            return Err(format!("{kind}, but the node was changed"));
        }
        Ok(kind)
    });
    undo()?;
    let kind = judged?;
    if kinds.is_empty()
        || matches!(fault, Fault::Vanished | Fault::Folder | Fault::Pipe | Fault::LinkToNothing)
    {
        return Ok(kind);
    }
    let done = node.call(case.module, &args)?;
    done.require_success().map_err(|e| format!("afterwards it {e}"))?;
    Ok(format!("{kind}, nothing changed; then done"))
}

/// Makes a harm good again.
type Undo = Box<dyn Fn() -> Tried<()>>;

/// Does the harm; returns the kinds of error that may come of it, none when the work is to be done all the same.
fn harm(
    node: &Sandbox,
    case: Case,
    fault: Fault,
    data: &Path,
    file: &Path,
) -> Tried<(&'static [&'static str], Undo)> {
    let io = |e: std::io::Error| e.to_string();
    let mut undo: Undo = Box::new(|| Ok(()));
    let kinds: &'static [&'static str] = match fault {
        Fault::Full => {
            // Full to the last byte, whatever write(2) made of it.
            let filler = data.join("filler");
            drop(fs::write(&filler, vec![b'x'; 2 << 20]));
            undo = Box::new(move || fs::remove_file(&filler).map_err(io));
            &["io"]
        }
        Fault::NoInodes => {
            let filler = data.join("filler");
            fs::create_dir(&filler).map_err(io)?;
            while fs::write(filler.join(format!("{}", fs::read_dir(&filler).map_err(io)?.count())), [])
                .is_ok()
            {}
            undo = Box::new(move || fs::remove_dir_all(&filler).map_err(io));
            &["io"]
        }
        Fault::ReadOnly => {
            let again = |flags| {
                mount(None::<&str>, &node.data(), None::<&str>, MsFlags::MS_REMOUNT | flags, None::<&str>)
                    .map_err(|e| e.desc().to_owned())
            };
            again(MsFlags::MS_RDONLY)?;
            let data = node.data();
            undo = Box::new(move || {
                mount(None::<&str>, &data, None::<&str>, MsFlags::MS_REMOUNT, None::<&str>)
                    .map_err(|e| e.desc().to_owned())
            });
            &["io"]
        }
        Fault::ClosedFolder => {
            give_ownership(data, &[])?;
            set_mode(data, 0o500)?;
            let data = data.to_path_buf();
            undo = Box::new(move || set_mode(&data, 0o700));
            &["permission"]
        }
        Fault::ClosedFile | Fault::OtherOwner => {
            give_ownership(data, &[case.file])?;
            let closed = fault == Fault::ClosedFile;
            set_mode(file, if closed { 0o600 } else { 0o644 })?;
            let (file, owner) = (file.to_path_buf(), nobody()?);
            undo = Box::new(move || {
                chown(&file, Some(owner.uid.as_raw()), Some(owner.gid.as_raw())).map_err(io)
            });
            &["permission"]
        }
        Fault::Immutable => {
            let chattr = |flag: &str, file: &Path| -> Tried<()> {
                let done = Command::new("chattr").arg(flag).arg(file).output();
                if done.is_ok_and(|d| d.status.success()) {
                    Ok(())
                } else {
                    Err("skipped: chattr cannot".to_owned())
                }
            };
            chattr("+i", file)?;
            let file = file.to_path_buf();
            undo = Box::new(move || chattr("-i", &file));
            &["permission"]
        }
        Fault::Vanished => {
            fs::remove_file(file).map_err(io)?;
            if case.makes { &[] } else { &["not_found", "bad_args"] }
        }
        Fault::Folder => {
            fs::remove_file(file).and_then(|()| fs::create_dir(file)).map_err(io)?;
            &["io"]
        }
        Fault::Pipe => {
            fs::remove_file(file).map_err(io)?;
            nix::unistd::mkfifo(file, nix::sys::stat::Mode::S_IRWXU).map_err(|e| e.desc().to_owned())?;
            &["io"]
        }
        Fault::LinkedFolder => {
            let link = node.path("linked");
            symlink(data, &link).map_err(io)?;
            &[]
        }
        Fault::LinkedFile => {
            let real = node.path("real");
            fs::rename(file, &real).and_then(|()| symlink(&real, file)).map_err(io)?;
            &[]
        }
        Fault::LinkToNothing => {
            fs::remove_file(file).and_then(|()| symlink("/nonexistent/x", file)).map_err(io)?;
            &["not_found", "bad_args"]
        }
    };
    Ok((kinds, undo))
}

fn nobody() -> Tried<User> {
    User::from_name("nobody").ok().flatten().ok_or_else(|| "skipped: there is no user nobody".to_owned())
}

/// Gives the data directory to a user without rights, but for some files.
fn give_ownership(data: &Path, but: &[&str]) -> Tried<()> {
    let user = nobody()?;
    let (uid, gid) = (Some(user.uid.as_raw()), Some(user.gid.as_raw()));
    for entry in fs::read_dir(data).map_err(|e| e.to_string())? {
        let entry = entry.map_err(|e| e.to_string())?;
        if !but.iter().any(|name| entry.file_name() == *name) {
            chown(entry.path(), uid, gid).map_err(|e| e.to_string())?;
        }
    }
    chown(data, uid, gid).map_err(|e| e.to_string())
}
