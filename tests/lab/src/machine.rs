//! Nodes that are machines: each has processes and a root of its own, in which nothing of openGauss is yet.
//!
//! The root is an overlay over the machine's own: programs and libraries of the system come from there, and whatever is
//! written goes into the node's folder. Users, files in /etc and leftovers are the node's alone.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::stat::{Mode, SFlag, mknod};

use crate::error::{Error, Result, run};
use crate::init;
use crate::node::LabNode;

/// Where a bare node's data directory is to be, as in the documents.
pub(crate) const DATA_DIR: &str = "/gauss/data/dn";
/// The link to the program files that are to come.
pub(crate) const GAUSS_HOME: &str = "/gauss/app/current";
/// The file that sets their environment.
pub(crate) const ENV_FILE: &str = "/gauss/app/current.env";

/// What a node has anew, with its permissions, whatever the machine has there; none for what it has not at all.
const FRESH: [(&str, Option<u32>); 7] = [
    ("opt", Some(0o755)),
    ("root", Some(0o700)),
    ("home", Some(0o755)),
    ("tmp", Some(0o1777)),
    ("gauss", None),
    ("var/lib/opengauss-node", None),
    ("var/tmp", Some(0o1777)),
];

/// Mounts the root ($2: the node's folder, $3: the lab's), moves into it, and leaves the old one. The settings of the kernel
/// are a copy, so that a change is seen on that node alone, but those that are the node's own by their namespaces. No user
/// $4 is there.
const ENTER: &str = r#"set -e
umask 022
mount -t overlay -o "lowerdir=/,upperdir=$2/upper,workdir=$2/work" machine "$2/root"
cd "$2/root"
mount -t proc proc proc
mkdir -p -m 755 "$2/sys"
mount -t tmpfs -o mode=755 settings "$2/sys"
cp -r --no-preserve=ownership,timestamps proc/sys/kernel proc/sys/vm proc/sys/fs "$2/sys" 2>/dev/null || :
mkdir "$2/sys/net"
mount --bind proc/sys/net "$2/sys/net"
for own in sem shmmax shmall shmmni hostname; do mount --bind "proc/sys/kernel/$own" "$2/sys/kernel/$own"; done
mount --rbind "$2/sys" proc/sys
mount -t sysfs -o ro sysfs sys
mount --rbind /dev dev
mount -t tmpfs -o mode=1777 shm dev/shm
mount -t tmpfs -o mode=755 run run
mkdir -p run/sshd run/lock run/old "./$3"
mount --bind "$3" "./$3"
pivot_root . run/old
cd /
umount -l /run/old
rmdir /run/old
for file in passwd shadow group gshadow subuid subgid; do
  [ ! -e "/etc/$file" ] || sed -i "/^$4:/d" "/etc/$file"
done
"#;

/// Why nodes cannot be machines here, or nothing.
#[must_use]
pub fn machines_obstacle() -> Option<String> {
    let probe = || -> Result<()> {
        let dir = Path::new("/var/lib/og-lab").join(format!(".probe{}", std::process::id()));
        let io = |e: std::io::Error| Error::from_io(&dir, &e);
        for name in ["upper", "work", "root"] {
            fs::create_dir_all(dir.join(name)).map_err(io)?;
        }
        let script =
            r#"mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" machine "$1/root""#;
        let done = run(Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "sh", "-c", script, "sh"])
            .arg(&dir));
        fs::remove_dir_all(&dir).map_err(io)?;
        done.map(drop)
    };
    probe()
        .err()
        .map(|why| format!("this machine gives a node no root of its own (overlay file system): {why}"))
}

/// Makes the node's root anew, without whatever was in it, and starts its first process.
pub(crate) fn enter(base: &Path, node: &LabNode) -> Result<()> {
    let upper = upper(node);
    for dir in [&upper, &node.dir.join("work"), &node.dir.join("root")] {
        if dir.exists() {
            fs::remove_dir_all(dir).map_err(|e| Error::from_io(dir, &e))?;
        }
        fs::create_dir_all(dir).map_err(|e| Error::from_io(dir, &e))?;
    }
    for (name, _) in FRESH {
        let path = upper.join(name);
        let parent = path.parent().unwrap_or(&upper);
        fs::create_dir_all(parent).map_err(|e| Error::from_io(parent, &e))?;
        // To an overlay this device says that nothing is there.
        mknod(&path, SFlag::S_IFCHR, Mode::empty(), 0).map_err(|e| Error::from_io(&path, &e.into()))?;
    }
    let mut script = ENTER.to_owned();
    for (name, mode) in FRESH {
        if let Some(mode) = mode {
            let _ = writeln!(script, "mkdir /{name} && chmod {mode:o} /{name}");
        }
    }
    init::start(node, &script, &[node.dir.as_os_str(), base.as_os_str(), node.os_user.as_ref()])
}

/// The folder of all that was written in the node, as an overlay keeps it.
pub(crate) fn upper(node: &LabNode) -> PathBuf {
    node.dir.join("upper")
}
