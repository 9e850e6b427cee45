//! The workflows, run for real by Ansible on the lab: on every openGauss that is installed, and on PostgreSQL.
//!
//! A story is one cluster and the scenarios it goes through, one after the other, while a client commits rows on the
//! primary all the while. `cargo test -p og_scenarios -- WORD …` runs the stories whose name, as in
//! `postgres/growth` and `opengauss-3.0.5/growth`, contains every WORD.

mod stories;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use og_lab::{Engine, Role};
use og_scenarios::cluster::{Cluster, Programs, Result};

/// What happens to a cluster, and what must hold afterwards.
type Scenario = fn(&Cluster) -> Result;

/// One cluster and what happens to it.
struct Story {
    name: &'static str,
    nodes: &'static [(&'static str, Role)],
    /// So many of its scenarios, from the first, are gone through in every run; the others in one of three.
    always: usize,
    scenarios: &'static [(&'static str, Scenario)],
}

/// A story on an engine, and which of its scenarios.
type Job = (&'static Story, Engine, &'static [(&'static str, Scenario)]);

/// Stories that run side by side: most of their time is waiting for servers.
const AT_ONCE: usize = 2;

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<String>,
    skipped: usize,
}

fn main() -> ExitCode {
    if std::env::args().any(|a| a == "--list") {
        // A test runner asks which tests there are; none is to be ignored.
        if !std::env::args().any(|a| a == "--ignored") {
            for engine in engines() {
                for story in stories::ALL {
                    println!("{engine}/{}: test", story.name);
                }
            }
        }
        return ExitCode::SUCCESS;
    }
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let wanted = |story: &Story, engine: Engine| {
        let name = format!("{engine}/{}", story.name);
        words.iter().all(|w| name.contains(w.as_str()))
    };
    let mut tally = Tally::default();
    let mut jobs: Vec<Job> = Vec::new();
    let programs = programs();
    if !engines().iter().any(|engine| engine.is_opengauss()) {
        println!("opengauss ... skipped: {}", og_lab::none_installed());
        tally.skipped += stories::ALL.iter().map(|story| story.scenarios.len()).sum::<usize>();
    }
    let mut later = 0;
    // Who names stories wants them whole.
    let is_named = words.iter().any(|word| word.contains('/'));
    let is_whole = |number, story: &Story, engine| match is_named {
        true => Ok(true),
        false if stories::is_exhaustive(story, engine) => Ok(!og_lab::has_turns()),
        false => og_lab::is_turn_of(number),
    };
    for engine in engines() {
        let lacks = og_lab::missing(engine);
        let why_not =
            if lacks.is_empty() { programs.as_ref().err().cloned() } else { Some(lacks.join("; ")) };
        for (number, story) in stories::ALL.iter().enumerate().filter(|(_, story)| wanted(story, engine)) {
            let scenarios = match is_whole(number, story, engine) {
                Ok(true) => story.scenarios,
                Ok(false) => &story.scenarios[..story.always],
                Err(e) => {
                    println!("{e}");
                    return ExitCode::FAILURE;
                }
            };
            let why_not = why_not.clone().or_else(|| stories::missing_requirement(story, engine));
            match &why_not {
                None => {
                    later += story.scenarios.len() - scenarios.len();
                    if !scenarios.is_empty() {
                        jobs.push((story, engine, scenarios));
                    }
                }
                Some(why) => {
                    println!("{engine}/{} ... skipped: {why}", story.name);
                    tally.skipped += story.scenarios.len();
                }
            }
        }
    }
    if later > 0 {
        println!("skipped: {later} scenarios whose turn it is not (cargo xtask test --all)");
        tally.skipped += later;
    }
    if let Ok(programs) = &programs {
        let waiting = Mutex::new(jobs.into_iter());
        let told = Mutex::new(&mut tally);
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    while let Some(job) = next_job(&waiting) {
                        run_story(job, programs, &told);
                    }
                });
            }
        });
    }
    for failure in &tally.failed {
        println!("failed: {failure}");
    }
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed.len(), tally.skipped);
    if tally.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Every openGauss that is installed, the newest first, for its stories take longest; and PostgreSQL.
fn engines() -> Vec<Engine> {
    let mut engines = Engine::all_opengauss();
    engines.reverse();
    engines.push(Engine::Postgres);
    engines
}

fn next_job(waiting: &Mutex<impl Iterator<Item = Job>>) -> Option<Job> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).next()
}

fn run_story((story, engine, scenarios): Job, programs: &Programs, told: &Mutex<&mut Tally>) {
    let count = |how: &dyn Fn(&mut Tally)| how(&mut told.lock().unwrap_or_else(PoisonError::into_inner));
    let engine_label = engine.label().replace("opengauss", "o").replace("postgres", "p");
    let lab = format!("t{}{engine_label}{}", og_lab::checkout_tag(), story.name);
    let start = Instant::now();
    let nodes = story.nodes.iter().map(|(name, role)| og_lab::NodeSpec::new(*name, *role)).collect();
    let up = match story.name {
        name if stories::UNDER_CM.contains(&name) => Cluster::up_with_cm,
        name if stories::ON_MACHINES.contains(&name) => Cluster::up_machines,
        _ => Cluster::up,
    };
    let cluster = match up(&lab, engine, nodes, programs) {
        Ok(cluster) => cluster,
        Err(e) => {
            println!("{engine}/{} ... FAILED: the lab did not come up: {e}", story.name);
            count(&|tally| tally.failed.push(format!("{engine}/{}", story.name)));
            return;
        }
    };
    println!("{engine}/{}: lab up in {:.1} s", story.name, start.elapsed().as_secs_f64());
    let mut broken = false;
    for (title, scenario) in scenarios {
        let name = format!("{engine}/{}: {title}", story.name);
        if broken {
            println!("{name} ... not run: the scenario before it failed");
            count(&|tally| tally.failed.push(name.clone()));
            continue;
        }
        let start = Instant::now();
        match scenario(&cluster) {
            Ok(()) => {
                println!("{name} ... ok ({:.1} s)", start.elapsed().as_secs_f64());
                count(&|tally| tally.passed += 1);
            }
            Err(e) => {
                println!("{name} ... FAILED\n{e}");
                count(&|tally| tally.failed.push(name.clone()));
                broken = true;
            }
        }
    }
    if broken && std::env::var_os("OG_KEEP").is_some() {
        println!("the lab {lab} is left as it is: OG_KEEP is set");
        cluster.keep();
    }
}

/// Where the programs are: `OG_ANSIBLE`, `OG_BUILT` and `OG_STAND_INS` name the folders of ansible-playbook, the modules
/// and the lab's programs; else they are where xtask puts them.
fn programs() -> Result<Programs> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().map_err(|e| format!("{}: {e}", root.display()))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let ansible = std::env::var_os("OG_ANSIBLE").map_or_else(|| target.join("python/bin"), PathBuf::from);
    let named =
        |variable, folder| std::env::var_os(variable).map_or_else(|| target.join(folder), PathBuf::from);
    let programs = Programs {
        ansible,
        modules: named("OG_BUILT", "modules").join(std::env::consts::ARCH),
        stand_ins: named("OG_STAND_INS", "release"),
        playbooks: root.join("playbooks"),
    };
    for (file, remedy) in [
        (programs.ansible.join("ansible-playbook"), "cargo xtask setup"),
        (programs.modules.join("og_hba"), "cargo xtask build"),
        (programs.stand_ins.join("gs_ctl"), "cargo xtask build"),
    ] {
        if !file.exists() {
            return Err(format!("{} is not there; run: {remedy}", file.display()));
        }
    }
    Ok(programs)
}
