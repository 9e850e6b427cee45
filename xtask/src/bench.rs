//! `cargo xtask bench`: how long things take. Medians are printed and held against their limits for a person to read;
//! nothing fails by being slow.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::{Arg, ArgMatches};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};
use og_common::cluster::static_config::{LAYOUT, SLOTS, StaticConfig};
use og_common::cluster::{
    AGENT_GROUP, Address, Cluster, CmAgent, DataNode, FIRST_AGENT, FIRST_INSTANCE, Node, Role,
};

use crate::shell::{Result, cargo, output, run, target};
use crate::{callers, workflows};

/// The subcommand and those in it.
pub fn command() -> clap::Command {
    clap::Command::new("bench")
        .about("Measure how long things take")
        .subcommand_required(true)
        .subcommand(
            clap::Command::new("static-conf")
                .about("Reading cluster_static_config of 1 and of 1024 nodes: milliseconds and memory"),
        )
        .subcommand(workflows::command())
        .subcommand(callers::command())
        .subcommand(
            clap::Command::new("peak")
                .hide(true)
                .about("Run a program and print the most memory that it had, in KiB")
                .arg(Arg::new("words").num_args(1..).trailing_var_arg(true).required(true)),
        )
}

/// Runs the bench that is asked for.
pub fn run_one(matches: &ArgMatches) -> Result {
    match matches.subcommand() {
        Some(("static-conf", _)) => static_conf(),
        Some(("workflows", m)) => workflows::run(m),
        Some(("callers", m)) => callers::run_all(m),
        Some(("peak", m)) => peak(&m.get_many::<String>("words").into_iter().flatten().collect::<Vec<_>>()),
        _ => unreachable!("clap asks for a subcommand"),
    }
}

/// What runs took, sorted each for itself.
pub struct Times {
    wall: Vec<Duration>,
    /// On the processor in outside programs: what remains on a machine that has other things to do.
    cpu: Vec<Duration>,
}

/// Times `count` runs; a few more before them, which warm caches up, are not counted.
pub fn times(count: usize, mut work: impl FnMut() -> Result) -> Result<Times> {
    for _ in 0..count.div_ceil(10) {
        work()?;
    }
    let mut times = Times { wall: Vec::with_capacity(count), cpu: Vec::with_capacity(count) };
    for _ in 0..count {
        let (cpu, start) = (of_programs()?, Instant::now());
        work()?;
        times.wall.push(start.elapsed());
        times.cpu.push(of_programs()?.saturating_sub(cpu));
    }
    times.wall.sort();
    times.cpu.sort();
    Ok(times)
}

/// What all programs that were run up to now had of the processor.
fn of_programs() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(|e| e.to_string())?;
    let micros = |t: TimeVal| u64::try_from(t.num_microseconds()).unwrap_or(0);
    Ok(Duration::from_micros(micros(usage.user_time()) + micros(usage.system_time())))
}

/// Prints a line: what, the median, the fastest and the slowest run, and the limit that is aimed at.
pub fn print(what: &str, times: &Times, limit: Duration) {
    let ms = |t: Option<&Duration>| t.map_or(0.0, Duration::as_secs_f64) * 1e3;
    let middle = |all: &[Duration]| ms(all.get(all.len() / 2));
    let median = middle(&times.wall);
    println!(
        "{what:<38} median {median:>7.2} ms   {:>7.2} to {:>7.2}   processor {:>6.2} ms   limit {} ms{}",
        ms(times.wall.first()),
        ms(times.wall.last()),
        middle(&times.cpu),
        limit.as_millis(),
        if median <= limit.as_secs_f64() * 1e3 { "" } else { "   MISSED" }
    );
}

/// Runs a program to its end without its output.
fn quietly(program: &Path, words: &[&str]) -> Result {
    let status = Command::new(program).args(words).stdin(Stdio::null()).stdout(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{} failed: {status}", program.display())),
        Err(e) => Err(format!("cannot run {}: {e}", program.display())),
    }
}

fn peak(words: &[&String]) -> Result {
    let [program, words @ ..] = words else { return Err("no program".to_owned()) };
    let words: Vec<&str> = words.iter().map(|w| w.as_str()).collect();
    quietly(Path::new(program), &words)?;
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(|e| e.to_string())?;
    println!("{}", usage.max_rss());
    Ok(())
}

/// The most memory, in bytes, that a program has; asked of a process that has no other children.
fn memory(program: &Path, words: &[&str]) -> Result<u64> {
    let me = std::env::current_exe().map_err(|e| e.to_string())?;
    let text = output(Command::new(me).args(["bench", "peak"]).arg(program).args(words))?;
    text.trim().parse::<u64>().map(|kib| kib * 1024).map_err(|e| format!("{text:?}: {e}"))
}

fn static_conf() -> Result {
    run(cargo().args(["build", "--quiet", "--release", "--package", "og_static_conf"]))?;
    let program = target().join("release").join("og_static_conf");
    let folder = target().join("bench");
    std::fs::create_dir_all(&folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
    for (nodes, runs, limit) in [(1, 300, 2), (1024, 30, 60)] {
        let (file, args, size) = written(&folder, nodes)?;
        let limit = Duration::from_millis(limit);
        let query = [args.to_str().unwrap_or_default()];
        let what = |how: &str| format!("{how}, nodes: {nodes}, {:.2} MB", size_mb(size));
        print(&what("state: query"), &times(runs, || quietly(&program, &query))?, limit);
        let table = ["--table", file.to_str().unwrap_or_default()];
        print(&what("--table"), &times(runs, || quietly(&program, &table))?, limit);
        if nodes > 1 {
            let most = memory(&program, &query)?;
            let ratio = size_mb(most) / size_mb(size);
            let missed = if ratio <= 3.0 { "" } else { "   MISSED" };
            println!(
                "{:<38} {:.1} MB, {ratio:.2} times the file   limit 3{missed}",
                what("memory"),
                size_mb(most)
            );
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "printed with one digit")]
fn size_mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Writes the file of a cluster of this size, and the arguments that query it.
fn written(folder: &Path, nodes: u32) -> Result<(PathBuf, PathBuf, u64)> {
    let cluster = cluster(nodes);
    cluster.check().map_err(|e| e.to_string())?;
    let config = StaticConfig { layout: LAYOUT, time: 1_611_212_345, local: 1, slots: SLOTS, cluster };
    let bytes = config.print().map_err(|e| e.to_string())?;
    let file = folder.join(format!("cluster_static_config.{nodes}"));
    let args = folder.join(format!("query.{nodes}.json"));
    let query = serde_json::json!({"state": "query", "path": file});
    let put = |path: &Path, bytes: &[u8]| {
        std::fs::write(path, bytes).map_err(|e| format!("cannot write {}: {e}", path.display()))
    };
    put(&file, &bytes)?;
    put(&args, query.to_string().as_bytes())?;
    Ok((file, args, bytes.len() as u64))
}

/// A cluster of machines with a server each, a primary and seven standbys to a group.
fn cluster(nodes: u32) -> Cluster {
    let node = |i: u32| {
        let addresses = vec![Address::as_written(format!("10.1.{}.{}", i / 250, i % 250 + 1))];
        Node {
            id: i + 1,
            name: format!("node{:04}.example.com", i + 1),
            zone: format!("AZ{}", i % 3 + 1),
            zone_priority: 1,
            ssh_addresses: addresses.clone(),
            cm_dir: String::new(),
            cm_server: None,
            cm_agent: CmAgent { id: FIRST_AGENT + i, group: AGENT_GROUP, addresses: addresses.clone() },
            data_nodes: vec![DataNode {
                id: FIRST_INSTANCE + i,
                group: i / 8 + 1,
                data_dir: "/gauss/data/db1".to_owned(),
                xlog_dir: String::new(),
                ssd_dir: String::new(),
                listen_addresses: addresses.clone(),
                port: 26000,
                role: if i.is_multiple_of(8) { Role::Primary } else { Role::Standby },
                ha_addresses: addresses.clone(),
                ha_port: 26001,
                peers: Vec::new(),
            }],
            addresses,
        }
    };
    Cluster { nodes: (0..nodes).map(node).collect() }.linked()
}
