//! A Salt master on the lab's control host and a minion on each node, and the commands that users type on the master.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use og_lab::{Lab, LabNode};
use serde_json::{Map, Value, json};

use crate::cluster::{Cluster, Result};

/// How long the minions may take to come up and answer; importing Salt takes seconds on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long they may take to end.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// A command that takes longer hangs.
const MOST_SECONDS: &str = "600";

/// A master and minions that run; they are ended when this is dropped.
#[derive(Debug)]
pub struct Salt<'a> {
    cluster: &'a Cluster,
    /// The folder of salt-run and the rest.
    bin: PathBuf,
    /// Where everything of Salt's is; on a machine of its own it would be `/`.
    root: PathBuf,
    daemons: Vec<Child>,
}

/// What one command did.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Whether it exited 0.
    pub ok: bool,
    /// What it returned.
    pub value: Value,
    /// All it printed.
    pub output: String,
}

impl Answer {
    /// The changes that the runner tells, as `node: step`, in a stable order.
    #[must_use]
    pub fn changes(&self) -> Vec<String> {
        let mut changes = Vec::new();
        for (node, steps) in self.value["changes"].as_object().into_iter().flatten() {
            let steps = steps.as_array().into_iter().flatten().filter_map(Value::as_object);
            changes.extend(steps.flat_map(Map::keys).map(|step| format!("{node}: {step}")));
        }
        changes.sort();
        changes
    }

    /// Ends the test with everything that was printed, unless the command was good.
    ///
    /// # Errors
    /// The output of a command that failed.
    pub fn must_work(self) -> Result<Self> {
        if self.ok { Ok(self) } else { Err(format!("Salt failed:\n{}", self.output)) }
    }
}

impl<'a> Salt<'a> {
    /// Starts a master and a minion on each node, whose keys the master knows already. The minion of the last node runs
    /// as the user of its server, the others as root.
    ///
    /// # Errors
    /// What kept them from answering.
    pub fn up(cluster: &'a Cluster, bin: &Path) -> Result<Self> {
        let lab = cluster.lab();
        let root = lab.base_dir().join("salt");
        let mut salt = Self { cluster, bin: bin.to_path_buf(), root, daemons: Vec::new() };
        salt.prepare().map_err(|e| format!("cannot prepare Salt: {e}"))?;
        salt.keys()?;
        let master = salt.master(&["salt-master"]).spawn();
        salt.daemons.push(master.map_err(|e| format!("cannot start salt-master: {e}"))?);
        for (node, last) in nodes(lab) {
            let minion = salt.minion(node, last).spawn();
            salt.daemons.push(minion.map_err(|e| format!("cannot start the minion of {}: {e}", node.name))?);
        }
        salt.wait_for_minions()?;
        Ok(salt)
    }

    /// Where the master's files are, `/srv/salt` on a machine of its own.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.root.join("srv/salt")
    }

    /// Where the pillar is, `/srv/pillar` on a machine of its own.
    #[must_use]
    pub fn pillar(&self) -> PathBuf {
        self.root.join("srv/pillar")
    }

    /// Runs one of Salt's programs on the master with these words.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run(&self, program: &str, words: &[&str]) -> Result<Answer> {
        Self::run_command(self.master(&["timeout", "--signal=KILL", MOST_SECONDS, program]).args(words))
    }

    /// Runs a line of shell on the master, as a user types it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn shell(&self, line: &str) -> Result<Answer> {
        self.run("sh", &["-c", line])
    }

    /// Types a line that calls the runner, and kills it as soon as it tells that this step begins.
    ///
    /// # Errors
    /// It ends without having come there.
    pub fn run_killed(&self, line: &str, step: &str) -> Result {
        let mut child = self
            .master(&["sh", "-c", &format!("exec {line}")])
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot run {line}: {e}"))?;
        let mut told = Vec::new();
        let stderr = child.stderr.take().map(BufReader::new);
        for text in stderr.into_iter().flat_map(BufRead::lines).map_while(std::io::Result::ok) {
            told.push(text);
            if told.last().is_some_and(|text| text.starts_with(step)) {
                return child.kill().and_then(|()| child.wait()).map(drop).map_err(|e| e.to_string());
            }
        }
        child.wait().map_err(|e| e.to_string())?;
        Err(format!("{line} never came to {step:?}: {told:#?}"))
    }

    fn run_command(command: &mut Command) -> Result<Answer> {
        let done = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .map_err(|e| format!("cannot run {}: {e}", command.get_program().display()))?;
        let stdout = String::from_utf8_lossy(&done.stdout);
        // One object from the runner, one a minion from `salt`.
        let mut value = Map::new();
        for line in stdout.lines() {
            value.extend(serde_json::from_str::<Map<_, _>>(line).unwrap_or_default());
        }
        Ok(Answer {
            ok: done.status.success(),
            value: value.into(),
            output: format!("{stdout}{}", String::from_utf8_lossy(&done.stderr)),
        })
    }

    /// What all minions have written to their logs, at the level debug.
    ///
    /// # Errors
    /// A log cannot be read.
    pub fn minion_logs(&self) -> Result<String> {
        let mut text = String::new();
        for (node, _) in nodes(self.cluster.lab()) {
            let path = self.root.join(&node.name).join("log");
            text += &fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        Ok(text)
    }

    /// A command on the control host.
    fn master(&self, words: &[&str]) -> Command {
        let mut command = self.cluster.lab().exec_ctl(words);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.root.join("bin").display())).env("HOME", &self.root);
        command.current_dir(env!("CARGO_MANIFEST_DIR").trim_end_matches("tests/scenarios"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Salt's programs as they are on a machine whose only master this is; they print JSON.
    fn programs(&self) -> std::io::Result<()> {
        let folder = self.root.join("bin");
        fs::create_dir_all(&folder)?;
        for (name, more) in [
            ("salt", "--out=json --out-indent=-1"),
            ("salt-run", "--out=json --out-indent=-1"),
            ("salt-key", ""),
            ("salt-master", ""),
        ] {
            let program = self.bin.join(name);
            let config = self.root.join("master");
            let text =
                format!("#!/bin/sh\nexec {} -c {} {more} \"$@\"\n", program.display(), config.display());
            fs::write(folder.join(name), text)?;
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    }

    fn minion(&self, node: &LabNode, as_user: bool) -> Command {
        // The user of the servers may not enter the folder that Salt was installed into.
        let here = self.root.join("python");
        let user = [
            "setpriv".to_owned(),
            format!("--reuid={}", node.os_ids.0),
            format!("--regid={}", node.os_ids.1),
            "--init-groups".to_owned(),
        ];
        let mut command =
            node.exec_root(["sh", "-c", r#"mount --bind "$1" "$2" && shift 2 && exec "$@""#, "sh"]);
        command.arg(self.bin.join("..")).arg(&here);
        if as_user {
            command.args(user).arg("env").arg(format!("HOME={}", node.os_home.display()));
        }
        command.arg(here.join("bin/python3")).arg(here.join("bin/salt-minion"));
        command.arg("-c").arg(self.root.join(&node.name)).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Configuration and folders.
    fn prepare(&self) -> std::io::Result<()> {
        let lab = self.cluster.lab();
        self.programs()?;
        let write = |path: PathBuf, value: &Value| fs::write(path, value.to_string());
        let master = self.root.join("master");
        for folder in [&master.join("pki/minions"), &self.root.join("python"), &self.files(), &self.pillar()]
        {
            fs::create_dir_all(folder)?;
        }
        let address = lab.control_address();
        write(
            master.join("master"),
            // JSON is YAML.
            &json!({
                "interface": address, "root_dir": master, "pki_dir": "pki", "log_file": "log", "user": "root",
                "file_roots": {"base": [self.files()]}, "pillar_roots": {"base": [self.pillar()]},
                "worker_threads": 3, "timeout": 30, "gather_job_timeout": 30, "log_level_logfile": "warning",
            }),
        )?;
        for (node, last) in nodes(lab) {
            let folder = self.root.join(&node.name);
            fs::create_dir_all(folder.join("pki"))?;
            write(
                folder.join("minion"),
                &json!({
                    "id": node.name, "master": address, "root_dir": folder, "pki_dir": "pki", "log_file": "log",
                    "log_level_logfile": "debug", "user": if last { &node.os_user } else { "root" },
                    // A job that is no process of its own need not load all modules anew; the last minion works as by default.
                    "multiprocessing": last,
                }),
            )?;
        }
        Ok(())
    }

    /// The minions' keys, all made at once, and known to the master.
    fn keys(&self) -> Result {
        let generate = |name: &str| {
            let folder = self.root.join(name).join("pki");
            self.master(&["salt-key", "--gen-keys=minion", "--gen-keys-dir"]).arg(folder).spawn()
        };
        let names: Vec<_> = nodes(self.cluster.lab()).map(|(n, _)| n.name.clone()).collect();
        let made = names.iter().map(|n| generate(n)).collect::<std::io::Result<Vec<_>>>();
        for mut child in made.map_err(|e| format!("cannot run salt-key: {e}"))? {
            let status = child.wait().map_err(|e| e.to_string())?;
            if !status.success() {
                return Err(format!("salt-key made no key: {status}"));
            }
        }
        for (node, last) in nodes(self.cluster.lab()) {
            let folder = self.root.join(&node.name);
            let known = self.root.join("master/pki/minions").join(&node.name);
            fs::copy(folder.join("pki/minion.pub"), known)
                .and_then(|_| if last { chown_to_node(&folder, node) } else { Ok(()) })
                .map_err(|e| format!("the key of {}: {e}", node.name))?;
        }
        Ok(())
    }

    fn wait_for_minions(&self) -> Result {
        let end = Instant::now() + PATIENCE;
        loop {
            let seen = self.run("salt", &["*", "test.ping"])?;
            let all = nodes(self.cluster.lab()).all(|(node, _)| seen.value[&node.name] == true);
            if all {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(format!("the minions do not answer: {}", seen.output));
            }
        }
    }
}

impl Drop for Salt<'_> {
    fn drop(&mut self) {
        for child in &mut self.daemons {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap_or(0));
            // Asked so, they end their own children; what is left of these ends with the lab's namespaces.
            if pid.as_raw() > 0
                && let Err(e) = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)
            {
                eprintln!("a daemon of Salt was gone already: {e}");
            }
        }
        let end = Instant::now() + LAST_WORDS;
        for child in &mut self.daemons {
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(50));
            }
            if matches!(child.try_wait(), Ok(None))
                && let Err(e) = child.kill().and_then(|()| child.wait())
            {
                eprintln!("a daemon of Salt does not end: {e}");
            }
        }
    }
}

/// The nodes, the last of them marked.
fn nodes(lab: &Lab) -> impl Iterator<Item = (&LabNode, bool)> {
    let count = lab.nodes().len();
    lab.nodes().iter().enumerate().map(move |(i, node)| (node, i + 1 == count))
}

/// Makes the node's user the owner of a folder and all in it.
fn chown_to_node(path: &Path, node: &LabNode) -> std::io::Result<()> {
    std::os::unix::fs::chown(path, Some(node.os_ids.0), Some(node.os_ids.1))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            chown_to_node(&entry?.path(), node)?;
        }
    }
    Ok(())
}
