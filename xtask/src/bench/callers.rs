//! `cargo xtask bench callers`: what a task costs over ssh, ours beside `raw`, a trivial Python module and the module of
//! community.postgresql that does the same; and a play of many tasks on many nodes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use og_lab::{Engine, Lab, LabOptions, NodeSpec, Role};
use og_scenarios::cluster::Programs;
use serde_json::{Value, json};

use super::Depth;
use super::report::{Limit, Row, Section};
use crate::lab::programs;
use crate::setup::{self, Tools};
use crate::shell::{Result, output, root};

const PEER: &str = "community.postgresql.postgresql_pg_hba";
/// Tasks of each kind that warm up connections and interpreters, and are not counted.
const WARM: usize = 3;

/// Measures all of it.
pub fn sections(depth: Depth) -> Result<Vec<Section>> {
    let programs = programs()?;
    setup::postgres()?;
    setup::bench()?;
    let tools = Tools { ansible: programs.ansible.clone() };
    let mut section = Section::new(
        "A task over ssh",
        "From the start of an Ansible task to its result; each kind of task takes its turn. `raw` is the least that a task can cost.",
    );
    let peer = match setup::collection(&tools, "community/postgresql") {
        Ok(folder) => Some(folder),
        Err(why) => {
            section.skipped.push(format!("{PEER}: {why}"));
            None
        }
    };
    let nodes = depth.choose(100, 10);
    let options = LabOptions {
        name: "callers".to_owned(),
        engine: Engine::Postgres,
        nodes: (1..=nodes).map(|n| NodeSpec::new(format!("n{n}"), Role::Spare)).collect(),
        base_dir: None,
        programs: programs.stand_ins.clone(),
    };
    let lab = Lab::up(&options).map_err(|e| e.to_string())?;
    let bench = Bench { lab: &lab, programs: &programs, tools: &tools, peer };
    let done = bench
        .medians(depth.choose(30, 6), &mut section)
        .and_then(|()| bench.measure_many_nodes(depth, nodes))
        .and_then(|many| Ok(vec![section, bench.measure_large(depth)?, many]));
    let down = lab.down().map_err(|e| e.to_string());
    done.and_then(|sections| down.map(|()| sections))
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
    fn medians(&self, runs: usize, section: &mut Section) -> Result {
        let file = self.lab.node("n1").map_err(|e| e.to_string())?.data_dir.join("pg_hba.conf");
        let kinds = kinds(self.peer.as_ref().map(|_| file.as_path()));
        let mut table: BTreeMap<(usize, bool), Row> = BTreeMap::new();
        for pipelining in [false, true] {
            // Each round in another order: what a task leaves to be tidied up weighs on the one after it.
            let tasks: Vec<_> = (0..runs + WARM)
                .flat_map(|round| {
                    let all = kinds.iter().enumerate().cycle().skip(round % kinds.len()).take(kinds.len());
                    all.map(|(n, (name, args))| task(n, name, args))
                })
                .collect();
            let played = self.play("n1", &tasks, pipelining)?;
            for (n, (name, _)) in kinds.iter().enumerate() {
                let own = played.tasks.iter().filter(|(title, _)| *title == n.to_string()).skip(WARM);
                let values = own.map(|(_, time)| time.as_secs_f64() * 1e3).collect();
                let how = if pipelining { "on" } else { "off" };
                table.insert((n, pipelining), Row::new(format!("{name}, pipelining {how}"), "ms", values));
            }
        }
        let row = |n, pipelining: bool| table.get(&(n, pipelining)).cloned();
        for pipelining in [false, true] {
            for n in 0..kinds.len() {
                let (Some(own), Some(raw)) = (row(n, pipelining), row(1, pipelining)) else { continue };
                let own = if n == 1 { own } else { own.compared_with("raw", &raw) };
                section.rows.push(if n == 0 { own.limit(Limit::Ratio(1.15)) } else { own });
            }
        }
        for (title, pipelining, least) in
            [("a Python module with pipelining", true, 2.0), ("a Python module without", false, 5.0)]
        {
            let (Some(theirs), Some(ours)) = (row(2, pipelining), row(0, false)) else { continue };
            let row = theirs.renamed(title).compared_with("ours without pipelining", &ours);
            section.rows.push(row.limit(Limit::LeastRatio(least)));
        }
        Ok(())
    }

    fn measure_large(&self, depth: Depth) -> Result<Section> {
        let tasks = depth.choose(60, 10);
        let nodes: Vec<_> = self.lab.nodes().iter().take(20).map(|node| node.name.as_str()).collect();
        let title = format!("A play of {tasks} tasks on {} nodes", nodes.len());
        let mut section =
            Section::new(title, "20 forks; all of it, from the start of ansible-playbook to its end.");
        for (kind, pipelining) in [(0, false), (1, false), (2, true)] {
            let (name, args) = &kinds(None)[kind];
            let list: Vec<_> = (0..tasks).map(|_| task(kind, name, args)).collect();
            let played = self.play(&nodes.join(","), &list, pipelining)?;
            let how = if pipelining { "on" } else { "off" };
            section.rows.push(Row::new(
                format!("{name}, pipelining {how}"),
                "s",
                vec![played.took.as_secs_f64()],
            ));
        }
        Ok(section)
    }

    /// One call on ten and on all nodes, by `--host` and by Ansible: time and the controller's memory for each node.
    fn measure_many_nodes(&self, depth: Depth, all: usize) -> Result<Section> {
        let mut section = Section::new(
            "Many nodes",
            "One rule that is there, on many nodes at once; time and memory of the controller, for each node. The programs are on the nodes already.",
        );
        let few = (all / 10).max(1);
        for count in [few, all] {
            let nodes = &self.lab.nodes()[..count.min(self.lab.nodes().len())];
            // The programs are carried there before the first call counts.
            let (mut by_host, mut by_ansible) = (Vec::new(), Vec::new());
            for round in 0..=depth.choose(3, 1) {
                let hosts = self.measure_hosts(nodes)?;
                let names: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
                let (name, args) = &kinds(None)[0];
                let played = self.play(&names.join(","), &[task(0, name, args)], false)?;
                if round > 0 {
                    by_host.push(hosts);
                    by_ansible.push((played.took, played.memory));
                }
            }
            for (how, values) in [("--host", by_host), ("Ansible", by_ansible)] {
                let each = |value: f64| value / f64::from(u32::try_from(nodes.len()).unwrap_or(1));
                let times = values.iter().map(|(took, _)| each(took.as_secs_f64() * 1e3)).collect();
                let memory = values.iter().map(|(_, bytes)| each(*bytes)).collect();
                for (what, unit, values) in [("time", "ms", times), ("memory", "MB", memory)] {
                    section.rows.push(Row::new(
                        format!("{how}, {count} nodes: {what} for each"),
                        unit,
                        values,
                    ));
                }
            }
        }
        limit_rows(&mut section.rows);
        Ok(section)
    }

    /// The program on these nodes by `--host`: how long it took, and the controller's memory in megabytes.
    fn measure_hosts(&self, nodes: &[og_lab::LabNode]) -> Result<(Duration, f64)> {
        let folder = self.lab.base_dir().join("bench");
        std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let first = nodes.first().ok_or("no nodes")?;
        // Each node's data directory is its own; the file that all have is asked for.
        let args = json!({"path": first.data_dir.join("pg_hba.conf"), "state": "query"});
        let input = folder.join("hosts.json");
        std::fs::write(&input, args.to_string()).map_err(|e| format!("{}: {e}", input.display()))?;
        let hosts: Vec<_> =
            nodes.iter().map(|n| format!("{}@{}:{}", n.os_user, n.address, n.ssh_port)).collect();
        let mut command = self.lab.exec_ctl([TIME]);
        command
            .args(["--format", "%M", "--output"])
            .arg(folder.join("memory"))
            .arg(self.programs.modules.join("og_hba"))
            .args(hosts.iter().flat_map(|host| ["--host", host]))
            .args(["--forks", "20", "--ssh-config"])
            .arg(self.lab.ssh_config())
            .arg(&input)
            .stdin(Stdio::null());
        let start = Instant::now();
        output(&mut command)?;
        Ok((start.elapsed(), memory_in(&folder.join("memory"))?))
    }

    /// Runs the tasks on these hosts.
    fn play(&self, hosts: &str, tasks: &[Value], pipelining: bool) -> Result<Played> {
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
        let mut command = self.lab.exec_ctl([TIME]);
        command
            .args(["--format", "%M", "--output"])
            .arg(folder.join("memory"))
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
            .env("XDG_STATE_HOME", folder.join("state"))
            .stdin(Stdio::null());
        let start = Instant::now();
        output(&mut command)?;
        let took = start.elapsed();
        let text = std::fs::read_to_string(&record).map_err(|e| failed(&record, e))?;
        Ok(Played { took, tasks: times(&text)?, memory: memory_in(&folder.join("memory"))? })
    }
}

/// Prints the most memory that a program had; of Debian's package time.
const TIME: &str = "/usr/bin/time";

/// What a run of ansible-playbook took.
struct Played {
    took: Duration,
    /// Each task's name, and the time until the last host's result.
    tasks: Vec<(String, Duration)>,
    /// The most memory, in megabytes, that one of its processes had.
    memory: f64,
}

/// The megabytes that `time` wrote as kilobytes.
fn memory_in(file: &Path) -> Result<f64> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let last = text.lines().last().unwrap_or_default();
    last.trim().parse::<f64>().map(|kib| kib * 1024.0 / 1e6).map_err(|e| format!("{last:?}: {e}"))
}

/// Holds what each of all nodes costs against what each of a few does.
fn limit_rows(rows: &mut [Row]) {
    let half = rows.len() / 2;
    let (few, all) = rows.split_at_mut(half);
    for (few, all) in few.iter().zip(all) {
        *all = all.clone().compared_with("fewer nodes", few).limit(Limit::Ratio(1.1));
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
