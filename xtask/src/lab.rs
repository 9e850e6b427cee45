//! `cargo xtask lab up | status | shell | kill | down`: a cluster on this machine to try things on.

use std::path::Path;
use std::process;

use clap::{Arg, ArgAction, ArgMatches, Command};
use og_lab::{Engine, Lab, LabOptions, NodeSpec, Role};
use og_scenarios::cluster::{Cluster, Programs};
use og_scenarios::shell::Shell;

use crate::build::{self, Linking};
use crate::setup;
use crate::shell::{Result, root, target};

/// The subcommand.
pub fn command() -> Command {
    let name = || Arg::new("name").long("name").default_value("lab").help("Which lab");
    Command::new("lab")
        .about("A cluster on this machine")
        .subcommand_required(true)
        .subcommand(
            Command::new("up")
                .about("Bring up a cluster, and initialised nodes that belong to none")
                .arg(name())
                .arg(number("nodes", "2", "Nodes of the cluster: a primary and standbys"))
                .arg(number("cascade", "0", "Cascade standbys besides"))
                .arg(number(
                    "spare",
                    "2",
                    "Initialised nodes outside of the cluster; the last one is to be a cascade standby",
                ))
                .arg(
                    Arg::new("cm")
                        .long("cm")
                        .action(ArgAction::SetTrue)
                        .help("Run it under openGauss CM (/opt/cm-* or OG_LAB_CM); three nodes or more, and no spare ones"),
                )
                .arg(
                    Arg::new("machines")
                        .long("machines")
                        .action(ArgAction::SetTrue)
                        .conflicts_with_all(["cm", "engine"])
                        .help("Bare machines instead, with a root of their own and nothing of openGauss, to try og deploy on"),
                )
                .arg(engine_arg()),
        )
        .subcommand(Command::new("status").about("Show the cluster").arg(name()))
        .subcommand(
            Command::new("shell")
                .about("Open a shell on its control host, where og finds the cluster")
                .arg(name())
                .arg(
                    Arg::new("command")
                        .value_name("COMMAND")
                        .last(true)
                        .num_args(1..)
                        .help("Run this instead"),
                ),
        )
        .subcommand(
            Command::new("kill")
                .about("Kill the server of a node, as a crash does")
                .arg(name())
                .arg(Arg::new("node").value_name("NODE").required(true)),
        )
        .subcommand(Command::new("down").about("End it and remove all of it").arg(name()))
}

fn number(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .default_value(default)
        .help(help)
        .value_parser(clap::value_parser!(u8).range(0..=9))
}

/// `--engine`.
pub fn engine_arg() -> Arg {
    Arg::new("engine").long("engine").value_parser(clap::builder::NonEmptyStringValueParser::new()).help(
        "What runs in it: postgres; opengauss, the newest that is installed (/opt/openGauss* or OG_LAB_GAUSSHOME); or one of its versions, such as opengauss-3.0.5; default: openGauss where it is installed, else PostgreSQL",
    )
}

/// The engine asked for, or the best that is there; PostgreSQL is installed where it is to serve and missing.
pub fn engine(matches: &ArgMatches) -> Result<Engine> {
    let newest = || Engine::all_opengauss().into_iter().rev();
    let engine = match matches.get_one::<String>("engine").map(String::as_str) {
        Some("postgres") => Engine::Postgres,
        Some("opengauss") => newest().next().ok_or_else(og_lab::none_installed)?,
        Some(version) => newest()
            .find(|engine| engine.to_string() == version)
            .ok_or_else(|| format!("no {version} here; there is: {}", names(newest())))?,
        None => newest().find(|engine| og_lab::missing(*engine).is_empty()).unwrap_or(Engine::Postgres),
    };
    if engine == Engine::Postgres {
        setup::postgres()?;
    }
    Ok(engine)
}

fn names(engines: impl Iterator<Item = Engine>) -> String {
    engines.chain([Engine::Postgres]).map(|engine| engine.to_string()).collect::<Vec<_>>().join(", ")
}

/// Installs and builds what a lab needs beside its engine.
pub fn programs() -> Result<Programs> {
    let tools = setup::lab()?;
    let modules = build::release(Linking::Dynamic)?;
    Ok(Programs {
        ansible: tools.ansible,
        modules,
        stand_ins: target().join("release"),
        playbooks: root().join("playbooks"),
    })
}

/// Runs the subcommand.
pub fn run(matches: &ArgMatches) -> Result {
    match matches.subcommand() {
        Some(("up", m)) => start_lab(m),
        Some(("status", m)) => status(m),
        Some(("shell", m)) => shell(m),
        Some(("kill", m)) => kill(m),
        Some(("down", m)) => Lab::remove(&lab_name(m)).map_err(|e| e.to_string()),
        _ => unreachable!("clap asks for a subcommand"),
    }
}

fn lab_name(matches: &ArgMatches) -> String {
    matches.get_one::<String>("name").cloned().unwrap_or_default()
}

fn start_lab(matches: &ArgMatches) -> Result {
    let count = |name| matches.get_one::<u8>(name).copied().unwrap_or_default();
    let (mut nodes, cascade, mut spare) = (count("nodes").max(1), count("cascade"), count("spare"));
    let with_cm = matches.get_flag("cm");
    if with_cm {
        (nodes, spare) = (nodes.max(3), 0);
    } else if matches.get_flag("machines") {
        spare = 0;
    }
    let mut roles = vec![Role::Primary];
    roles.extend((1..nodes).map(|_| Role::Standby));
    roles.extend((0..cascade).map(|_| Role::CascadeStandby));
    roles.extend(
        (0..spare).map(|n| if n + 1 == spare && spare > 1 { Role::SpareCascade } else { Role::Spare }),
    );
    let nodes =
        roles.into_iter().enumerate().map(|(n, role)| NodeSpec::new(format!("n{}", n + 1), role)).collect();
    let name = lab_name(matches);
    Lab::check_free(&name).map_err(|e| e.to_string())?;
    let programs = programs()?;
    if matches.get_flag("machines") {
        return up_machines(name, nodes, &programs);
    }
    let options = LabOptions {
        name,
        engine: engine(matches)?,
        nodes,
        base_dir: None,
        programs: programs.stand_ins.clone(),
    };
    let lab = if with_cm {
        og_lab::cm_for(options.engine).and_then(|cm| Lab::up_with_cm(&options, &cm))
    } else {
        Lab::up(&options)
    }
    .map_err(|e| e.to_string())?;
    println!("engine     {}", lab.engine());
    println!("inventory  {}", lab.inventory_path().display());
    println!("modules    {}", programs.modules.display());
    println!(
        "\nexpand it, from the control host of the lab:\n  {}",
        playbook_line(&lab, &programs, "expand.yml -e og_add=NAME")
    );
    println!("show its state:\n  cargo xtask lab status --name {}", lab.name());
    println!("type og commands:\n  cargo xtask lab shell --name {}", lab.name());
    println!("end it:\n  cargo xtask lab down --name {}", lab.name());
    Ok(())
}

fn up_machines(name: String, nodes: Vec<NodeSpec>, programs: &Programs) -> Result {
    let options = LabOptions {
        name,
        // None runs there.
        engine: Engine::Postgres,
        nodes,
        base_dir: None,
        programs: programs.stand_ins.clone(),
    };
    let lab = Lab::up_machines(&options).map_err(|e| e.to_string())?;
    println!("inventory  {}", lab.inventory_path().display());
    println!("modules    {}", programs.modules.display());
    println!("\nmake a cluster of them, from the control host of the lab:");
    println!("  cargo xtask lab shell --name {}", lab.name());
    println!("  og deploy -n --host yes --package FILE");
    println!("or with Ansible:");
    println!("  {}", playbook_line(&lab, programs, "deploy.yml -e og_host=true -e og_package=FILE"));
    println!("end it:\n  cargo xtask lab down --name {}", lab.name());
    Ok(())
}

/// The command that runs a playbook on the lab, for a person to copy; it works from any folder.
pub fn playbook_line(lab: &Lab, programs: &Programs, playbook: &str) -> String {
    line(&lab.exec_ctl::<_, &str>([]), &lab.inventory_path(), programs, playbook)
}

fn line(within: &process::Command, inventory: &Path, programs: &Programs, playbook: &str) -> String {
    let words: Vec<_> =
        std::iter::once(within.get_program()).chain(within.get_args()).map(|w| w.to_string_lossy()).collect();
    let playbooks = programs.playbooks.display();
    format!(
        "{} env ANSIBLE_CONFIG={playbooks}/ansible.cfg {} -i {} -e og_binaries={} {playbooks}/{playbook}",
        words.join(" "),
        programs.ansible.join("ansible-playbook").display(),
        inventory.display(),
        programs.modules.display(),
    )
}

fn status(matches: &ArgMatches) -> Result {
    let programs = programs()?;
    let lab = Lab::open(&lab_name(matches)).map_err(|e| e.to_string())?;
    let cluster = Cluster::from_lab(lab, &programs)?;
    let run = cluster.run_playbook("status.yml", &[])?;
    cluster.keep();
    match run.must_work() {
        Ok(run) => run.show_table(),
        Err(e) => Err(e),
    }
}

fn shell(matches: &ArgMatches) -> Result {
    let programs = programs()?;
    let lab = Lab::open(&lab_name(matches)).map_err(|e| e.to_string())?;
    let words: Vec<String> = matches.get_many("command").into_iter().flatten().cloned().collect();
    let cluster = Cluster::from_lab(lab, &programs)?;
    let done = Shell::new(&cluster).and_then(|shell| shell.open(&words));
    cluster.keep();
    let status = done?;
    // The last command of a shell that a person leaves is their own affair.
    if status.success() || words.is_empty() { Ok(()) } else { Err(format!("{}: {status}", words.join(" "))) }
}

fn kill(matches: &ArgMatches) -> Result {
    let lab = Lab::open(&lab_name(matches)).map_err(|e| e.to_string())?;
    let node = matches.get_one::<String>("node").cloned().unwrap_or_default();
    lab.kill_server(&node).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_line_works_from_any_folder() {
        let ansible = target().join("python/bin");
        if !ansible.join("ansible-playbook").exists() {
            println!("skipped: no ansible-playbook in {} (cargo xtask setup)", ansible.display());
            return;
        }
        let (playbooks, modules) = (root().join("playbooks"), target().join("modules"));
        let inventory = playbooks.join("inventory.example.yml");
        let programs = Programs { ansible, modules, stand_ins: target(), playbooks };
        let line = line(&process::Command::new("nice"), &inventory, &programs, "expand.yml -e og_add=n3");
        let done = process::Command::new("sh")
            .args(["-c", &format!("{line} --syntax-check")])
            .current_dir("/")
            .env_remove("ANSIBLE_CONFIG")
            .env_remove("ANSIBLE_COLLECTIONS_PATH")
            .output()
            .expect("sh");
        assert!(done.status.success(), "{line}\n{}", String::from_utf8_lossy(&done.stderr));
    }
}
