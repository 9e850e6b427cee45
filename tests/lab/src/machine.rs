//! Nodes that are machines: each has processes and a root of its own, in which nothing of openGauss is yet.
//!
//! The root is an overlay over the machine's own: programs and libraries of the system come from there, and whatever is
//! written goes into the node's folder. Users, files in /etc and leftovers are the node's alone.

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::stat::{Mode, SFlag, mknod};

use crate::error::{Error, Result, output, run};
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
/// are a copy, so that a change is seen on that node alone, but those that are the node's own by their namespaces.
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
"#;

/// No user $4 is there.
const WITHOUT_USER: &str = r#"for file in passwd shadow group gshadow subuid subgid; do
  [ ! -e "/etc/$file" ] || sed -i "/^$4:/d" "/etc/$file"
done
"#;
/// What systemd needs, which is then to begin only what is the node's own: nothing that the machine begins with itself, or that
/// would change it.
const FOR_SYSTEMD: &str = r#"mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
mkdir /sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd systemd /sys/fs/cgroup/systemd
mkdir -p /run/systemd/system
for unit in /etc/systemd/system/*.wants/* /lib/systemd/system/*.target.wants/*; do
  case "${unit##*/}" in
  opengauss-node-* | systemd-journal* | systemd-tmpfiles-setup.service) ;;
  *) ln -sf /dev/null "/run/systemd/system/${unit##*/}" ;;
  esac
done
"#;
/// Where the machine has the control groups that a systemd makes.
const GROUPS: &str = "/sys/fs/cgroup/systemd";

/// How long a systemd may take to begin its units.
const BOOT_LIMIT: Duration = Duration::from_secs(60);

/// Why nodes that are machines cannot have systemd for their first process here, or nothing.
#[must_use]
pub fn systemd_obstacle() -> Option<String> {
    if !Path::new("/lib/systemd/systemd").exists() {
        return Some("no systemd".to_owned());
    }
    let probe = Path::new(GROUPS).join(format!("og-lab-probe{}", std::process::id()));
    let made = fs::create_dir(&probe).and_then(|()| fs::remove_dir(&probe));
    made.err().map(|e| format!("no control groups for systemd in {GROUPS}: {e}"))
}

/// The control group of a machine's systemd.
fn group(node: &LabNode) -> PathBuf {
    Path::new(GROUPS).join(&node.namespace)
}

/// Starts the node's first process, which is systemd, on what it has by now.
pub(crate) fn boot(base: &Path, node: &LabNode) -> Result<()> {
    let group = group(node);
    fs::create_dir_all(&group).map_err(|e| Error::from_io(&group, &e))?;
    let script = format!("{ENTER}{FOR_SYSTEMD}");
    init::start_systemd(node, &group, &script, &[node.dir.as_os_str(), base.as_os_str()])?;
    let end = Instant::now() + BOOT_LIMIT;
    loop {
        let said = output(&mut node.exec_root(["systemctl", "is-system-running"]))?;
        let said = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        // A unit that failed is for the test to look at.
        if ["running", "degraded"].contains(&said.as_str()) {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(Error::new(format!("{}: systemd does not come up: {said}", node.name)));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Removes what control groups a machine's systemd has left.
pub(crate) fn forget_groups(namespace: &str) -> Result<()> {
    remove_groups(&Path::new(GROUPS).join(namespace))
}

fn remove_groups(group: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(group) else { return Ok(()) };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_groups(&entry.path())?;
    }
    // The processes have ended, and may still be on their way out of it.
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match fs::remove_dir(group) {
            Err(e) if e.kind() == ErrorKind::ResourceBusy && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(20));
            }
            done => return done.map_err(|e| Error::from_io(group, &e)),
        }
    }
}

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
    let mut script = format!("{ENTER}{WITHOUT_USER}");
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
