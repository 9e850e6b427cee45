//! og as an administrator types it on the control host.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use og_lab::NodeKind;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Result};

/// A command that takes longer hangs.
const MOST_SECONDS: &str = "300";

/// A folder with a cluster.json, where commands are typed.
#[derive(Debug)]
pub struct Shell<'a> {
    cluster: &'a Cluster,
    folder: PathBuf,
}

/// What one command did.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its exit status.
    pub status: i32,
    /// All it printed.
    pub output: String,
    /// What it says that it changed, or would change, as `node: step`, in a stable order.
    pub changes: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl Told {
    /// Ends the test with everything that was printed, unless the command was good.
    ///
    /// # Errors
    /// The output of a command that failed.
    pub fn must_work(self) -> Result<Self> {
        if self.status == 0 {
            Ok(self)
        } else {
            Err(format!("exit status {}:\n{}", self.status, self.output))
        }
    }
}

impl<'a> Shell<'a> {
    /// Describes the lab's cluster in a file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn new(cluster: &'a Cluster) -> Result<Self> {
        let lab = cluster.lab();
        let folder = lab.base_dir().join("shell");
        let host = |n: &og_lab::LabNode| {
            let ssh = format!("{}@{}:{}", n.login(), n.address, n.ssh_port);
            let mut own = json!({"address": n.address, "ssh": ssh, "id": n.id, "role": n.role.word(),
                "data_dir": n.data_dir, "base_port": n.base_port});
            if n.kind == NodeKind::Machine {
                (own["os_user"], own["gauss_home"]) = (json!(n.os_user), json!(n.gauss_home));
            } else {
                own["env_file"] = json!(n.env_file);
            }
            (n.name.clone(), own)
        };
        let hosts: serde_json::Map<String, Value> = lab.nodes().iter().map(host).collect();
        let described = json!({"hosts": hosts, "vars": {"zone": "AZ1"}});
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(folder.join("cluster.json"), format!("{described:#}")))
            .map_err(|e| format!("cannot write {}: {e}", folder.display()))?;
        Ok(Self { cluster, folder })
    }

    /// Types a line of og, which goes by the lab's configuration of ssh.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run(&self, line: &str) -> Result<Told> {
        self.type_line(&self.with_config(line))
    }

    /// Types a line.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn type_line(&self, line: &str) -> Result<Told> {
        let begun = Instant::now();
        let done = self
            .command(&["timeout", "--signal=KILL", MOST_SECONDS, "sh", "-c"], line)
            .output()
            .map_err(|e| format!("cannot run {line}: {e}"))?;
        let (stdout, stderr) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        Ok(self.told(done.status, &stdout, &stderr, begun.elapsed()))
    }

    fn told(&self, status: ExitStatus, stdout: &str, stderr: &str, took: Duration) -> Told {
        let nodes = self.cluster.lab().nodes();
        let change = |text: &str| {
            let mut parts = text.splitn(3, ": ");
            let (node, step) = (parts.next()?, parts.next()?);
            nodes.iter().any(|n| n.name == node).then(|| format!("{node}: {step}"))
        };
        let mut changes: Vec<_> = stdout.lines().filter_map(change).collect();
        changes.sort();
        Told { status: status.code().unwrap_or(-1), output: format!("{stdout}{stderr}"), changes, took }
    }

    /// Types a line of og, and lets this happen once, while og goes on, as soon as it tells that this step begins.
    ///
    /// # Errors
    /// It cannot be started, it ends without having come there, or what was to happen does not.
    pub fn run_disturbed(&self, line: &str, step: &str, fault: impl FnOnce() -> Result) -> Result<Told> {
        let failed = |e: std::io::Error| format!("cannot run {line}: {e}");
        let begun = Instant::now();
        let mut child = self
            .command(&["timeout", "--signal=KILL", MOST_SECONDS, "sh", "-c"], &self.with_config(line))
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (stderr, mut stdout) = (child.stderr.take(), child.stdout.take());
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let mut text = String::new();
                stdout.as_mut().map_or(Ok(0), |from| from.read_to_string(&mut text)).map(|_| text)
            });
            let (mut told, mut fault, mut done) = (String::new(), Some(fault), Ok(()));
            let lines = stderr.map(BufReader::new).into_iter().flat_map(BufRead::lines);
            for text in lines.map_while(std::io::Result::ok) {
                told.push_str(&text);
                told.push('\n');
                if text.contains(step)
                    && let Some(fault) = fault.take()
                {
                    done = fault();
                }
            }
            let status = child.wait().map_err(failed)?;
            let stdout = reader.join().map_err(|_| "the reader panicked".to_owned())?.map_err(failed)?;
            if fault.is_some() {
                return Err(format!("{line} never came to {step:?}: {stdout}{told}"));
            }
            done.map_err(|why| format!("{why}; {line}: {stdout}{told}"))?;
            Ok(self.told(status, &stdout, &told, begun.elapsed()))
        })
    }

    /// Types a line, and kills og, and nothing else, as soon as it tells that this step begins.
    ///
    /// # Errors
    /// It ends without having come there.
    pub fn run_killed(&self, line: &str, step: &str) -> Result {
        let failed = |e: std::io::Error| format!("cannot run {line}: {e}");
        let mut child = self
            .command(&["sh", "-c"], &format!("exec {}", self.with_config(line)))
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let mut told = Vec::new();
        let stderr = child.stderr.take().map(BufReader::new);
        for text in stderr.into_iter().flat_map(BufRead::lines).map_while(std::io::Result::ok) {
            told.push(text);
            if told.last().is_some_and(|text| text.contains(step)) {
                return child.kill().and_then(|()| child.wait()).map(drop).map_err(failed);
            }
        }
        child.wait().map_err(failed)?;
        Err(format!("{line} never came to {step:?}: {told:#?}"))
    }

    /// Opens a shell for a person, or runs these words in its place. `og`, the cluster's file and an `ssh` that knows the nodes
    /// are at hand.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn open(&self, words: &[String]) -> Result<ExitStatus> {
        let lab = self.cluster.lab();
        let (bin, config) = (self.folder.join("bin"), lab.ssh_config());
        let ssh = bin.join("ssh");
        let script = format!("#!/bin/sh\nexec /usr/bin/ssh -F {} \"$@\"\n", config.display());
        fs::create_dir_all(&bin)
            .and_then(|()| fs::write(&ssh, script))
            .and_then(|()| fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)))
            .map_err(|e| format!("cannot write {}: {e}", ssh.display()))?;
        let path = std::env::var("PATH").unwrap_or_default();
        let interactive = ["bash", "--norc"].map(str::to_owned);
        lab.exec_ctl(if words.is_empty() { &interactive[..] } else { words })
            .current_dir(&self.folder)
            .env("PATH", format!("{}:{}:{path}", bin.display(), self.cluster.modules().display()))
            .env("PS1", format!("{}$ ", lab.name()))
            .env("XDG_STATE_HOME", self.folder.join("state"))
            .status()
            .map_err(|e| format!("cannot open a shell: {e}"))
    }

    fn with_config(&self, line: &str) -> String {
        format!("{line} -F {}", self.cluster.lab().ssh_config().display())
    }

    fn command(&self, shell: &[&str], line: &str) -> Command {
        let lab = self.cluster.lab();
        let mut command = lab.exec_ctl(shell);
        command.arg(line).current_dir(&self.folder).stdin(Stdio::null());
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("PATH", format!("{}:{path}", self.cluster.modules().display()))
            .env("SSH_CONFIG", lab.ssh_config())
            .env("XDG_STATE_HOME", self.folder.join("state"));
        command
    }
}
