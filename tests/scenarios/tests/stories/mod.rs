//! The stories, one file each.

mod boots;
mod broken_builds;
mod builds;
mod cm;
mod cm_faults;
mod crowd;
mod deploy;
mod growth;
mod handover;
mod interrupted;
mod machines;
mod refused;
mod repair;
mod roles;
mod rolling;
mod salt;
mod sessions;
mod shell;
mod ssl;
mod tablespaces;
mod tutorial;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use og_common::conf::ConfFile;
use og_lab::{Engine, Role};
use og_scenarios::client::Seen;
use og_scenarios::cluster::{Cluster, Result, differing};
use og_scenarios::workflow::Run;
use serde_json::Value;

use crate::Story;

/// A primary, two standbys and a cascade standby.
const FOUR_NODES: [(&str, Role); 4] =
    [("n1", Role::Primary), ("n2", Role::Standby), ("n3", Role::Standby), ("n4", Role::CascadeStandby)];

/// All stories, those that take longest first; of those whose numbers differ by three, one run of `cargo xtask test` tells
/// the same.
pub const ALL: &[Story] = &[
    handover::STORY,
    repair::STORY,
    interrupted::STORY,
    broken_builds::STORY,
    refused::STORY,
    rolling::STORY,
    builds::STORY,
    roles::STORY,
    cm::STORY,
    cm_faults::STORY,
    crowd::STORY,
    growth::STORY,
    deploy::STORY,
    machines::STORY,
    shell::STORY,
    ssl::STORY,
    tutorial::STORY,
    tablespaces::STORY,
    sessions::STORY,
    salt::STORY,
    boots::STORY,
];

/// Whether the story is told whole only when all are, or when it is named: it waits for moments that a busy machine may miss, or takes
/// longest where nothing but its beginning is the engine's own.
pub fn is_exhaustive(story: &Story, engine: Engine) -> bool {
    story.name == cm_faults::STORY.name || (story.name == handover::STORY.name && engine == Engine::Postgres)
}

/// The stories whose cluster openGauss CM runs.
pub const UNDER_CM: [&str; 2] = [cm::STORY.name, cm_faults::STORY.name];

/// The stories whose nodes are machines of their own, on which nothing of openGauss is.
pub const ON_MACHINES: [&str; 2] = [machines::STORY.name, boots::STORY.name];

/// What the story lacks beside an engine, in words.
pub fn missing_requirement(story: &Story, engine: Engine) -> Option<String> {
    let own_files = [repair::STORY.name, rolling::STORY.name, tutorial::STORY.name];
    if engine == Engine::Postgres && [deploy::STORY.name, ssl::STORY.name].contains(&story.name) {
        return Some("its parameters are openGauss's own".to_owned());
    }
    if engine == Engine::Postgres && own_files.contains(&story.name) {
        return Some("what a server refuses, and what it logs of that, is openGauss's own".to_owned());
    }
    if ON_MACHINES.contains(&story.name) {
        return match engine {
            Engine::Postgres => Some("it has no package of openGauss".to_owned()),
            Engine::OpenGauss(_) if story.name == boots::STORY.name => {
                og_lab::machines_obstacle().or_else(og_lab::systemd_obstacle)
            }
            Engine::OpenGauss(_) => og_lab::machines_obstacle(),
        };
    }
    if UNDER_CM.contains(&story.name) {
        return og_lab::cm_for(engine).err().map(|why| why.to_string());
    }
    if story.name == salt::STORY.name { salt::missing_requirement() } else { None }
}

/// After each commit of a client: without one, the clients of the clusters that run side by side have the processors for
/// themselves.
const PAUSE: Duration = Duration::from_millis(3);

/// Runs `work` while a client commits rows on the primary; every commit must be answered, and none may fail.
fn under_load<T>(cluster: &Cluster, primary: &str, work: impl FnOnce() -> Result<T>) -> Result<(T, Seen)> {
    let client = cluster.client(primary, PAUSE)?;
    let result = work();
    let seen = client.stop().map_err(|e| format!("the client: {e}"))?;
    let result = result?;
    if let Some(failure) = seen.failures.first() {
        return Err(format!("{} commits failed, the first: {failure}", seen.failures.len()));
    }
    if seen.rows() == 0 {
        return Err("the client committed nothing".to_owned());
    }
    Ok((result, seen))
}

/// A playbook under load; says how long it took and how long commits had to wait at most.
fn run_playbook(cluster: &Cluster, playbook: &str, args: &[&str]) -> Result<(Run, Seen)> {
    let (run, seen) = under_load(cluster, "n1", || cluster.run_playbook(playbook, args)?.must_work())?;
    let gap = seen.longest_gap(run.started, run.started + run.took);
    println!(
        "  {}: {playbook} {}: {:.1} s, {} tasks, {} changes, longest commit gap {:.3} s",
        cluster.lab().engine(),
        args.join(" "),
        run.took.as_secs_f64(),
        run.tasks,
        run.changes().len(),
        gap.as_secs_f64()
    );
    Ok((run, seen))
}

/// Runs `work` and watches meanwhile that the primary's `synchronous_standby_names` never names `gone` while that node's
/// server is not there: as long as it did, commits would wait for it.
fn check_never_waited_for<T>(cluster: &Cluster, gone: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let done = AtomicBool::new(false);
    let (primary, target) = (cluster.node("n1")?, cluster.node(gone)?);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen_stopped = None;
            while !done.load(Ordering::Relaxed) {
                // First the server, then the names: the other way round a name that has just gone would be held against it.
                let stopped = !is_serving(target);
                let text = std::fs::read(primary.data_dir.join("postgresql.conf")).unwrap_or_default();
                let names = ConfFile::parse(&text)
                    .get("synchronous_standby_names")
                    .map(|s| String::from_utf8_lossy(&s.value).into_owned());
                if stopped && names.as_ref().is_some_and(|names| names.contains(&target.instance)) {
                    seen_stopped = names;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            seen_stopped
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        match watcher.join() {
            Ok(None) => result,
            Ok(Some(names)) => Err(format!("{gone} was down while synchronous_standby_names was '{names}'")),
            Err(_) => Err("the watcher panicked".to_owned()),
        }
    })
}

/// Whether a server runs in the node's data directory.
fn is_serving(node: &og_lab::LabNode) -> bool {
    let pid = std::fs::read_to_string(node.data_dir.join("postmaster.pid")).unwrap_or_default();
    let pid = pid.lines().next().unwrap_or_default().trim().to_owned();
    !pid.is_empty() && std::path::Path::new("/proc").join(pid).join("cwd").read_link().is_ok()
}

/// The same playbook again must find nothing to do.
fn check_nothing_left(cluster: &Cluster, playbook: &str, args: &[&str]) -> Result {
    let run = cluster.run_playbook(playbook, args)?.must_work()?;
    match run.changes()[..] {
        [] => Ok(()),
        _ => Err(format!("the second {playbook} changed something: {:?}", run.changes())),
    }
}

/// In check mode the playbook changes no file of any node; returns what it says it would change.
fn predict_changes(cluster: &Cluster, playbook: &str, args: &[&str]) -> Result<Vec<String>> {
    let before = cluster.settled_configuration()?;
    let run = cluster.run_playbook(playbook, &[args, &["--check", "--diff"]].concat())?.must_work()?;
    match differing(&before, &cluster.configuration()?)[..] {
        [] => Ok(run.changes()),
        ref files => Err(format!("check mode changed {}", files.join(", "))),
    }
}

/// As Ansible's tasks are called without the role before their names.
fn shorten(changes: Vec<String>) -> Vec<String> {
    let without_role = |c: String| match c.split_once(": ") {
        Some((node, task)) => format!("{node}: {}", task.rsplit(" : ").next().unwrap_or(task)),
        None => c,
    };
    let mut changes: Vec<_> = changes.into_iter().map(without_role).collect();
    changes.sort();
    changes
}

/// What the configuration files of all nodes say; of the static config, which has the time of its writing, its nodes.
fn configuration_of_nodes(c: &Cluster) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = effective_lines(&c.settled_configuration()?);
    for node in c.lab().nodes() {
        let path = node.gauss_home.join("bin/cluster_static_config");
        if let Some(content) = files.get_mut(&path) {
            let said =
                c.module(&node.name, "og_static_conf", serde_json::json!({"state": "query", "path": path}))?;
            *content = said["nodes"].to_string().into_bytes();
        }
    }
    Ok(files)
}

/// The files without their comments: what a channel leaves behind when it is taken away is a comment, so that the
/// primary's line does not take its place.
fn effective_lines(files: &BTreeMap<PathBuf, Vec<u8>>) -> BTreeMap<PathBuf, Vec<u8>> {
    let lines = |text: &[u8]| -> Vec<u8> {
        let kept = text.split(|b| *b == b'\n').filter(|line| !line.trim_ascii_start().starts_with(b"#"));
        kept.collect::<Vec<_>>().join(&b'\n')
    };
    files.iter().map(|(path, text)| (path.clone(), lines(text))).collect()
}

/// Returns the result of a call that must not fail.
fn require_success(result: Value) -> Result<Value> {
    if result["failed"] == false { Ok(result) } else { Err(result.to_string()) }
}

/// Each key of the program's samples in the documentation is one that these results have.
fn has_sample_keys(program: &str, results: Vec<Value>) -> Result {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../schemas/samples/{program}.json"));
    let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let (mut shown, mut had) = (BTreeSet::new(), BTreeSet::new());
    collect_keys(
        &serde_json::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))?,
        "",
        &mut shown,
    );
    collect_keys(&results.into(), "", &mut had);
    // What only a failure has, or a node that CM runs: the lab has none.
    let is_elsewhere = |key: &&String| key.starts_with("/error") || *key == "/cm" || key.starts_with("/cm/");
    let left: Vec<_> = shown.difference(&had).filter(|key| !is_elsewhere(key)).collect();
    if left.is_empty() { Ok(()) } else { Err(format!("{}: keys that no call had: {left:?}", file.display())) }
}

/// The paths of all keys of a result, whatever its lists hold.
fn collect_keys(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    for one in value.as_array().into_iter().flatten() {
        collect_keys(one, path, found);
    }
    for (key, own) in value.as_object().into_iter().flatten() {
        // A place in the log is another one in each call.
        let path = if key.contains('/') { format!("{path}/LSN") } else { format!("{path}/{key}") };
        collect_keys(own, &path, found);
        found.insert(path);
    }
}
