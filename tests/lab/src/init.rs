//! The first process of a node that has processes of its own.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::node::LabNode;

/// How long it may take until the node is as its script makes it.
const LIMIT: Duration = Duration::from_secs(60);

/// Gives the node its name, then, behind what makes it a machine, reaps what is orphaned there.
const NAME: &str = "echo \"$1\" >/proc/sys/kernel/hostname\n";
const REAP: &str = "echo up > \"$READY\"\nunset READY\nwhile :; do sleep 1000 & wait $!; done";
/// In place of that: becomes systemd, as in a container.
const SYSTEMD: &str = "echo up > \"$READY\"\nexec env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin \
                       /lib/systemd/systemd --system --unit=multi-user.target";

/// Starts it. `script` gets the node's name as its first word and these after it, and sees the machine still; it ends with
/// status 0 or with an error.
pub(crate) fn start(node: &LabNode, script: &str, words: &[&OsStr]) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &node.namespace, "unshare"]);
    begin(node, command, &format!("{script}{REAP}"), words)
}

/// The same with systemd for the first process, in this control group of its own, below which it makes others.
pub(crate) fn start_systemd(node: &LabNode, group: &Path, script: &str, words: &[&OsStr]) -> Result<()> {
    let mut command = Command::new("sh");
    command.args(["-c", r#"echo $$ >"$0/cgroup.procs"; exec "$@""#]).arg(group);
    command.args(["ip", "netns", "exec", &node.namespace, "unshare", "--cgroup"]);
    begin(node, command, &format!("{script}{SYSTEMD}"), words)
}

fn begin(node: &LabNode, mut command: Command, script: &str, words: &[&OsStr]) -> Result<()> {
    let ready = node.dir.join("init.up");
    drop(fs::remove_file(&ready));
    let path = node.dir.join("log/init.log");
    let log = fs::File::create(&path).map_err(|e| Error::from_io(&path, &e))?;
    command.args(["--pid", "--mount", "--uts", "--ipc", "--fork", "--mount-proc", "bash", "-c"]);
    command.arg(format!("{NAME}{script}")).args(["init", &node.name]).args(words);
    command.env("READY", &ready).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let mut child = command.spawn().map_err(|e| Error::new(format!("unshare: {e}")))?;
    let parent = child.id();
    let end = Instant::now() + LIMIT;
    while !ready.exists() {
        let ended = child.try_wait().is_ok_and(|status| status.is_some());
        if ended || Instant::now() >= end {
            let said = fs::read_to_string(&path).unwrap_or_default();
            return Err(Error::new(format!("{}: its first process does not come up: {said}", node.name)));
        }
        thread::sleep(Duration::from_millis(20));
    }
    // unshare is the one that was started: what is before it only becomes it.
    let children = PathBuf::from(format!("/proc/{parent}/task/{parent}/children"));
    let text = fs::read_to_string(&children).map_err(|e| Error::from_io(&children, &e))?;
    let path = node.init_file();
    fs::write(&path, text.trim()).map_err(|e| Error::from_io(&path, &e))
}
