//! `cargo xtask bench callers`: what a task costs over ssh, ours beside `raw`, a trivial Python module and the module of
//! community.postgresql that does the same; and a play of many tasks on many nodes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use clap::{Arg, ArgMatches, Command};
use og_lab::{Engine, Lab, LabOptions, NodeSpec, Role};
use og_scenarios::cluster::Programs;
use serde_json::{Value, json};

use crate::lab::programs;
use crate::setup::{self, Tools};
use crate::shell::{Result, output, root};

const PEER: &str = "community.postgresql.postgresql_pg_hba";
/// Tasks of each kind that warm up connections and interpreters, and are not counted.
const WARM: usize = 3;

/// The subcommand of `bench`.
pub fn command() -> Command {
    let number = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .default_value(default)
            .value_parser(clap::value_parser!(u16).range(1..))
            .help(help)
    };
    Command::new("callers")
        .about("What an Ansible task costs over ssh, ours beside others'")
        .arg(number("runs", "30", "So many tasks of each kind; the medians are shown"))
        .arg(number("tasks", "60", "Tasks of the large play"))
        .arg(number("nodes", "20", "Nodes of the large play"))
}

/// Runs the bench and prints its tables.
pub fn run_all(matches: &ArgMatches) -> Result {
    let number = |name| usize::from(matches.get_one::<u16>(name).copied().unwrap_or(1));
    let programs = programs()?;
    setup::postgres()?;
    let tools = Tools { ansible: programs.ansible.clone() };
    let peer = setup::collection(&tools, "community/postgresql")
        .inspect_err(|why| println!("skipped: no {PEER} ({why})"))
        .ok();
    let nodes = number("nodes");
    let options = LabOptions {
        name: "callers".to_owned(),
        engine: Engine::Postgres,
        nodes: (1..=nodes).map(|n| NodeSpec::new(format!("n{n}"), Role::Spare)).collect(),
        base_dir: None,
        programs: programs.stand_ins.clone(),
    };
    let lab = Lab::up(&options).map_err(|e| e.to_string())?;
    let bench = Bench { lab: &lab, programs: &programs, tools: &tools, peer };
    let done = bench.medians(number("runs")).and_then(|()| bench.large(number("tasks"), nodes));
    done.and(lab.down().map_err(|e| e.to_string()))
}

struct Bench<'a> {
    lab: &'a Lab,
    programs: &'a Programs,
    tools: &'a Tools,
    peer: Option<PathBuf>,
}

/// One kind of task, and the same call each time: nothing is left to change after the first. Ours finds `data_dir` in
/// the node's variables. Its words are without `{{ }}` as `raw`'s are: a template costs any task as much as a call.
fn kinds(peers_file: Option<&Path>) -> Vec<(&'static str, Value)> {
    let rule = "host all omm 192.168.0.13/32 trust";
    let mut kinds = vec![
        ("opengauss.node.og_hba", json!({"rules": [rule], "reload": "never"})),
        ("ansible.builtin.raw", json!("true")),
        ("ansible.builtin.ping", json!({})),
    ];
    if let Some(file) = peers_file {
        let same = json!({"dest": file, "contype": "host", "users": "omm", "source": "192.168.0.14/32", "method": "trust"});
        kinds.push((PEER, same));
    }
    kinds
}

impl Bench<'_> {
    fn medians(&self, runs: usize) -> Result {
        let file = self.lab.node("n1").map_err(|e| e.to_string())?.data_dir.join("pg_hba.conf");
        let kinds = kinds(self.peer.as_ref().map(|_| file.as_path()));
        let mut table: BTreeMap<(usize, bool), Duration> = BTreeMap::new();
        for pipelining in [false, true] {
            // Each round in another order: what a task leaves to be tidied up weighs on the one after it.
            let tasks: Vec<_> = (0..runs + WARM)
                .flat_map(|round| {
                    let all = kinds.iter().enumerate().cycle().skip(round % kinds.len()).take(kinds.len());
                    all.map(|(n, (name, args))| task(n, name, args))
                })
                .collect();
            let (_, times) = self.play("n1", &tasks, pipelining)?;
            for n in 0..kinds.len() {
                let mut own: Vec<_> =
                    times.iter().filter(|(t, _)| *t == n.to_string()).map(|(_, d)| *d).skip(WARM).collect();
                own.sort();
                table.insert((n, pipelining), own.get(own.len() / 2).copied().unwrap_or_default());
            }
        }
        println!("\nA task over ssh, medians of {runs}, milliseconds (times `raw`)\n");
        println!("| module | pipelining off | pipelining on |\n|---|---|---|");
        for (n, (name, _)) in kinds.iter().enumerate() {
            let cell = |pipelining| {
                let of = |n| table.get(&(n, pipelining)).copied().unwrap_or_default().as_secs_f64() * 1e3;
                format!("{:.1} ({:.2})", of(n), of(n) / of(1))
            };
            println!("| {name} | {} | {} |", cell(false), cell(true));
        }
        let of = |n, pipelining| table.get(&(n, pipelining)).copied().unwrap_or_default().as_secs_f64();
        for (what, ratio, limit, at_most) in [
            ("ours / raw", of(0, true) / of(1, true), 1.15, true),
            ("pipelined Python module / ours", of(2, true) / of(0, true), 2.0, false),
            ("unpipelined Python module / ours", of(2, false) / of(0, false), 5.0, false),
        ] {
            let met = if at_most { ratio <= limit } else { ratio >= limit };
            let word = if at_most { "at most" } else { "at least" };
            println!("{what}: {ratio:.2} ({word} {limit}){}", if met { "" } else { "   MISSED" });
        }
        Ok(())
    }

    fn large(&self, tasks: usize, nodes: usize) -> Result {
        println!(
            "\nA play of {tasks} tasks on {nodes} nodes, 20 forks, seconds\n\n| module | pipelining | seconds |\n|---|---|---|"
        );
        for (kind, pipelining) in [(0, false), (1, false), (2, true)] {
            let (name, args) = &kinds(None)[kind];
            let list: Vec<_> = (0..tasks).map(|_| task(kind, name, args)).collect();
            let (took, _) = self.play("all", &list, pipelining)?;
            println!("| {name} | {} | {:.1} |", if pipelining { "on" } else { "off" }, took.as_secs_f64());
        }
        Ok(())
    }

    /// Runs the tasks and tells how long it took, and for each task its name and time until the last host's result.
    fn play(
        &self,
        hosts: &str,
        tasks: &[Value],
        pipelining: bool,
    ) -> Result<(Duration, Vec<(String, Duration)>)> {
        let folder = self.lab.base_dir().join("bench");
        let failed = |what: &Path, e: std::io::Error| format!("{}: {e}", what.display());
        std::fs::create_dir_all(&folder).map_err(|e| failed(&folder, e))?;
        let (book, record) = (folder.join("play.yml"), folder.join("record.jsonl"));
        let text = json!([{
            "hosts": hosts,
            "gather_facts": false,
            "vars": {"og_binaries": self.programs.modules},
            "tasks": tasks,
        }]);
        std::fs::write(&book, text.to_string()).map_err(|e| failed(&book, e))?;
        if record.exists() {
            std::fs::remove_file(&record).map_err(|e| failed(&record, e))?;
        }
        let paths = std::iter::once(self.programs.playbooks.clone()).chain(self.peer.clone());
        let paths = std::env::join_paths(paths).map_err(|e| e.to_string())?;
        let mut command = self.lab.exec_ctl(["env"]);
        command
            .arg(self.tools.ansible.join("ansible-playbook"))
            .arg("--inventory")
            .arg(self.lab.inventory_path())
            .arg(&book)
            .env("ANSIBLE_CONFIG", self.programs.playbooks.join("ansible.cfg"))
            .env("ANSIBLE_COLLECTIONS_PATH", paths)
            .env("ANSIBLE_CALLBACK_PLUGINS", root().join("tests/scenarios/callback_plugins"))
            .env("ANSIBLE_CALLBACKS_ENABLED", "og_record")
            .env("ANSIBLE_DISPLAY_OK_HOSTS", "false")
            .env("ANSIBLE_FORKS", "20")
            .env("ANSIBLE_HOME", folder.join("ansible"))
            .env("ANSIBLE_PIPELINING", pipelining.to_string())
            .env("OG_RECORD", &record)
            .stdin(Stdio::null());
        let start = Instant::now();
        output(&mut command)?;
        let took = start.elapsed();
        let text = std::fs::read_to_string(&record).map_err(|e| failed(&record, e))?;
        Ok((took, times(&text)?))
    }
}

fn task(kind: usize, module: &str, args: &Value) -> Value {
    json!({"name": kind.to_string(), module: args, "changed_when": false})
}

/// Each task's name, and the time from its start to its last result.
fn times(record: &str) -> Result<Vec<(String, Duration)>> {
    let mut times: Vec<(String, Duration)> = Vec::new();
    let mut began = 0.0;
    for line in record.lines() {
        let event: Value = serde_json::from_str(line).map_err(|e| format!("{line}: {e}"))?;
        let at = event["at"].as_f64().unwrap_or_default();
        match event["event"].as_str() {
            Some("task") => {
                began = at;
                times.push((event["name"].as_str().unwrap_or_default().to_owned(), Duration::ZERO));
            }
            Some("result") => {
                if let Some(last) = times.last_mut() {
                    last.1 = Duration::from_secs_f64((at - began).max(0.0));
                }
            }
            _ => {}
        }
    }
    Ok(times)
}
