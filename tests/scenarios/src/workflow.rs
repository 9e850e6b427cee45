//! Runs a playbook from the lab's control host and tells what it did.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;

/// A run that takes longer hangs; nine nodes on two busy processors take minutes.
const MOST_SECONDS: &str = "600";

/// How to run a playbook.
#[derive(Clone, Debug)]
pub struct Ansible {
    /// The folder with ansible-playbook.
    pub bin: PathBuf,
    /// The project's playbooks folder.
    pub playbooks: PathBuf,
    /// The folder with the modules' programs, for the collection to copy onto the nodes.
    pub modules: PathBuf,
    /// The inventory.
    pub inventory: PathBuf,
    /// Where runs leave their records and logs.
    pub scratch: PathBuf,
}

/// What one run did.
#[derive(Clone, Debug)]
pub struct Run {
    /// Whether ansible-playbook exited 0.
    pub ok: bool,
    /// All it printed.
    pub output: String,
    /// The tasks' results, in order.
    pub results: Vec<TaskResult>,
    /// How many tasks began.
    pub tasks: usize,
    /// How long each task took that began, until the next one did; in order.
    pub task_times: Vec<(String, Duration)>,
    /// When it began.
    pub started: Instant,
    /// How long it took.
    pub took: Duration,
}

/// One task's result on one host.
#[derive(Clone, Debug, Deserialize)]
pub struct TaskResult {
    /// The host.
    pub host: String,
    /// The task's name.
    pub task: String,
    /// The module.
    pub action: String,
    /// Whether it changed something.
    pub changed: bool,
    /// Whether it failed.
    pub failed: bool,
    /// Whether the host could not be reached.
    pub unreachable: bool,
    /// Its message.
    pub msg: String,
}

impl Run {
    /// The results that changed something, as `host: task`, in a stable order.
    #[must_use]
    pub fn changes(&self) -> Vec<String> {
        let of_note = self.results.iter().filter(|r| r.changed);
        let mut changes: Vec<_> = of_note.map(|r| format!("{}: {}", r.host, r.task)).collect();
        changes.sort();
        changes
    }

    /// Prints the cluster table that the playbook showed.
    ///
    /// # Errors
    /// It showed none.
    pub fn show_table(&self) -> Result<(), String> {
        let table = self.results.iter().rev().find(|r| r.task.ends_with("Cluster"));
        println!("{}", table.ok_or_else(|| format!("no table was shown:\n{}", self.output))?.msg);
        Ok(())
    }

    /// Ends the test with everything that was printed, unless the run was good.
    ///
    /// # Errors
    /// The output of a run that failed.
    pub fn must_work(self) -> Result<Self, String> {
        if self.ok { Ok(self) } else { Err(format!("the playbook failed:\n{}", self.output)) }
    }

    /// Ends the test unless the run failed.
    ///
    /// # Errors
    /// The output of a run that worked.
    pub fn must_fail(self) -> Result<Self, String> {
        if self.ok { Err(format!("the playbook should have failed:\n{}", self.output)) } else { Ok(self) }
    }
}

impl Ansible {
    /// Runs `playbook` with these arguments; `wrap` is a command that runs its arguments on the control host.
    /// With `kill_after`, the run is killed when that many tasks are done.
    ///
    /// # Errors
    /// It cannot be started, or its record cannot be read.
    pub fn run(
        &self,
        mut wrap: Command,
        playbook: &str,
        args: &[&str],
        kill_after: Option<usize>,
    ) -> Result<Run, String> {
        static RUNS: AtomicUsize = AtomicUsize::new(0);
        let record = self.scratch.join(format!("run{}.jsonl", RUNS.fetch_add(1, Ordering::Relaxed)));
        let callbacks = Path::new(env!("CARGO_MANIFEST_DIR")).join("callback_plugins");
        wrap.args(["timeout", "--signal=KILL", MOST_SECONDS])
            .arg(self.bin.join("ansible-playbook"))
            .arg(self.playbooks.join(playbook))
            .arg("--inventory")
            .arg(&self.inventory)
            .arg("--extra-vars")
            .arg(serde_json::json!({ "og_binaries": self.modules }).to_string())
            .args(args)
            .current_dir(&self.playbooks)
            .env("ANSIBLE_CALLBACK_PLUGINS", callbacks)
            .env("ANSIBLE_CALLBACKS_ENABLED", "og_record")
            .env("ANSIBLE_COLLECTIONS_PATH", &self.playbooks)
            .env("ANSIBLE_HOME", self.scratch.join("ansible"))
            .env("ANSIBLE_NOCOLOR", "1")
            .env("OG_RECORD", &record)
            .env("XDG_STATE_HOME", self.scratch.join("state"))
            .stdin(Stdio::null());
        if let Some(n) = kill_after {
            wrap.env("OG_RECORD_KILL_AFTER", n.to_string());
        }
        // A killed run kills its whole process group, which must not be ours.
        std::os::unix::process::CommandExt::process_group(&mut wrap, 0);
        let started = Instant::now();
        let done = wrap.output().map_err(|e| format!("cannot run ansible-playbook: {e}"))?;
        let took = started.elapsed();
        let text = std::fs::read_to_string(&record).unwrap_or_default();
        let mut results = Vec::new();
        let mut began: Vec<(String, f64)> = Vec::new();
        for line in text.lines() {
            let event: serde_json::Value = serde_json::from_str(line).map_err(|e| format!("{line}: {e}"))?;
            match event["event"].as_str() {
                Some("task" | "stats") => {
                    let name = event["name"].as_str().unwrap_or_default().to_owned();
                    began.push((name, event["at"].as_f64().unwrap_or_default()));
                }
                Some("result") => {
                    results.push(serde_json::from_value(event).map_err(|e| format!("{line}: {e}"))?);
                }
                _ => {}
            }
        }
        let output =
            format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        let tasks = began.iter().filter(|(name, _)| !name.is_empty()).count();
        let task_times = began
            .windows(2)
            .map(|pair| (pair[0].0.clone(), Duration::from_secs_f64((pair[1].1 - pair[0].1).max(0.0))))
            .collect();
        Ok(Run { ok: done.status.success(), output, results, tasks, task_times, started, took })
    }
}
