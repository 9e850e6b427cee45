//! A lab by hand: `lab up NAME ENGINE ROLE…`, `lab up-cm …` with openGauss CM, `lab up-machines …` of bare machines,
//! `lab down NAME`, `lab status NAME`, `lab on NAME NODE COMMAND…`, `lab ctl NAME COMMAND…`.
//!
//! `cargo build -p og_lab --bins && sudo target/debug/examples/lab up demo postgres primary standby spare`

use std::path::PathBuf;
use std::process::ExitCode;

use og_lab::{Engine, Error, Lab, LabOptions, NodeSpec, Result, Role};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<ExitCode> {
    match words {
        [up @ ("up" | "up-cm" | "up-machines"), name, engine, roles @ ..] => {
            let nodes = roles
                .iter()
                .zip(1..)
                .map(|(role, i)| Ok(NodeSpec::new(format!("node{i}"), self::role(role)?)));
            let options = LabOptions {
                name: (*name).to_owned(),
                engine: self::engine(engine)?,
                nodes: nodes.collect::<Result<_>>()?,
                base_dir: None,
                programs: std::env::current_exe()
                    .ok()
                    .and_then(|p| Some(p.parent()?.parent()?.to_owned()))
                    .unwrap_or_else(|| PathBuf::from("target/debug")),
            };
            let lab = match *up {
                "up-cm" => Lab::up_with_cm(&options, &og_lab::cm_for(options.engine)?)?,
                "up-machines" => Lab::up_machines(&options)?,
                _ => Lab::up(&options)?,
            };
            println!("{}", lab.inventory_path().display());
        }
        ["down", name] => Lab::remove(name)?,
        ["status", name] => {
            let lab = Lab::open(name)?;
            for node in lab.nodes() {
                println!(
                    "== {} {} {}\n{}",
                    node.name,
                    node.address,
                    node.role.word(),
                    lab.query(&node.name)?
                );
            }
        }
        ["on", name, node, command @ ..] => return exit(&mut Lab::open(name)?.exec_on(node, command)?),
        ["ctl", name, command @ ..] => return exit(&mut Lab::open(name)?.exec_ctl(command)),
        _ => {
            return Err(Error::new(
                "lab up|up-cm|up-machines NAME ENGINE ROLE… | down NAME | status NAME | on NAME NODE COMMAND… | ctl NAME COMMAND…",
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `postgres`, `opengauss` for the newest that is installed, or `opengauss-3.0.5`.
fn engine(word: &str) -> Result<Engine> {
    let fits = |engine: &Engine| word == "opengauss" || engine.to_string() == word;
    match word {
        "postgres" => Ok(Engine::Postgres),
        _ => Engine::all_opengauss()
            .into_iter()
            .rev()
            .find(fits)
            .ok_or_else(|| Error::new(format!("no {word} here"))),
    }
}

fn role(word: &str) -> Result<Role> {
    match word {
        "primary" => Ok(Role::Primary),
        "standby" => Ok(Role::Standby),
        "cascade_standby" => Ok(Role::CascadeStandby),
        "spare" => Ok(Role::Spare),
        "spare_cascade" => Ok(Role::SpareCascade),
        _ => Err(Error::new(format!("{word}: primary, standby, cascade_standby, spare or spare_cascade"))),
    }
}

fn exit(command: &mut std::process::Command) -> Result<ExitCode> {
    let status = command.status().map_err(|e| Error::new(e.to_string()))?;
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)))
}
