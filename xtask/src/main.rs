//! What a maintainer runs: `cargo xtask demo | check | test | salt | faults | truth | lab | docs | bench | install | dist`.

mod bench;
mod build;
mod changelog;
mod check;
mod collection;
mod demo;
mod dist;
mod docs;
mod faults;
mod install;
mod lab;
mod lines;
mod lint;
mod man;
mod python;
mod schemas;
mod setup;
mod shell;
mod stage;
mod tally;
mod test;
mod truth;

use std::process::ExitCode;

use build::Linking;
use clap::{Arg, ArgAction, Command};
// See Cargo.toml.
use getrandom as _;

fn command() -> Command {
    Command::new("xtask")
        .about("What a maintainer runs")
        .subcommand_required(true)
        .subcommand(bench::command())
        .subcommand(demo::command())
        .subcommand(dist::command())
        .subcommand(faults::command())
        .subcommand(install::command())
        .subcommand(lab::command())
        .subcommand(truth::command())
        .subcommand(
            Command::new("build")
                .about("Build the modules and the lab's programs as they are shipped")
                .arg(Linking::flag()),
        )
        .subcommand(
            Command::new("salt").about("Run what is tested of Salt alone").arg(
                Arg::new("lts")
                    .long("lts")
                    .action(ArgAction::SetTrue)
                    .help("Under the release with long-term support instead of the newest"),
            ),
        )
        .subcommand(
            Command::new("collection")
                .about(
                    "Build the Ansible collection, with the modules in it, as one package for ansible-galaxy",
                )
                .arg(Linking::flag()),
        )
        .subcommand(Command::new("lines").about("Count the lines below playbooks/ that are written by hand"))
        .subcommand(
            Command::new("setup").about("Install what the demo and the tests need").arg(
                Arg::new("dist")
                    .long("dist")
                    .action(ArgAction::SetTrue)
                    .help("Instead, what `dist` needs for .rpm, for other machines and for older glibcs"),
            ),
        )
        .subcommand(Command::new("check").about(
            "Run what needs no server and no root: format, lints, unit tests, documents; under a minute",
        ))
        .subcommand(test::command())
        .subcommand(
            Command::new("schemas")
                .about("Write schemas/ from the modules' types")
                .arg(Arg::new("check").long("check").action(ArgAction::SetTrue).help("Fail if they differ")),
        )
        .subcommand(
            Command::new("docs")
                .about("Write schemas/, and what is made of them and of the registry: documents, roles, playbooks, Salt's files")
                .arg(Arg::new("check").long("check").action(ArgAction::SetTrue).help("Fail if they differ"))
                .arg(
                    Arg::new("built")
                        .long("built")
                        .action(ArgAction::SetTrue)
                        .help("Ask the programs in target/debug as they are"),
                )
                .arg(
                    Arg::new("book")
                        .long("book")
                        .action(ArgAction::SetTrue)
                        .conflicts_with_all(["check", "built"])
                        .help("Build the documents as they are as a book, by mdBook, and check its links"),
                ),
        )
}

fn main() -> ExitCode {
    let matches = command().get_matches();
    let result = match matches.subcommand() {
        Some(("bench", m)) => bench::run_one(m),
        Some(("demo", m)) => demo::run(m),
        Some(("dist", m)) => dist::run_all(m),
        Some(("faults", m)) => faults::run_all(m),
        Some(("install", m)) => install::run(m),
        Some(("lab", m)) => lab::run(m),
        Some(("truth", m)) => truth::run_all(m),
        Some(("build", m)) => {
            build::release(Linking::from_matches(m)).map(|folder| println!("{}", folder.display()))
        }
        Some(("salt", m)) => python::salt_alone(m.get_flag("lts")),
        Some(("collection", m)) => collection::run_all(Linking::from_matches(m)),
        Some(("lines", _)) => lines::run(),
        Some(("setup", m)) if m.get_flag("dist") => setup::dist(),
        Some(("setup", _)) => setup::for_tests().and_then(|_| setup::salt()).map(drop),
        Some(("check", _)) => check::run_all(),
        Some(("test", m)) => test::run_all(m),
        Some(("docs", m)) if m.get_flag("book") => docs::build_book(),
        Some(("docs", m)) => docs::run_all(m.get_flag("check"), m.get_flag("built")),
        Some(("schemas", m)) => schemas::run_all(m.get_flag("check")),
        _ => unreachable!("clap asks for a subcommand"),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    #[test]
    fn what_the_documents_tell_to_type_is_understood() {
        let root = crate::shell::root();
        let named =
            ["README.md", "CONTRIBUTING.md", "playbooks/ansible_collections/opengauss/node/README.md"];
        let mut files: Vec<_> = named.into_iter().map(|file| root.join(file)).collect();
        for entry in std::fs::read_dir(root.join("docs")).unwrap() {
            files.push(entry.unwrap().path());
        }
        let texts: Vec<_> = files
            .iter()
            .filter(|file| file.extension().is_some_and(|ending| ending == "md"))
            .map(|file| std::fs::read_to_string(file).unwrap())
            .collect();
        let mut typed = 0;
        for line in texts.iter().flat_map(|text| text.lines()) {
            // A line of its own, or words between backticks.
            let pieces = if line.starts_with("    ") { vec![line.trim()] } else { line.split('`').collect() };
            for piece in pieces.into_iter().filter(|piece| piece.starts_with("cargo xtask ")) {
                let words = piece.split(" #").next().unwrap_or_default().split_whitespace().skip(1);
                super::command().try_get_matches_from(words).unwrap_or_else(|e| panic!("{piece}: {e}"));
                typed += 1;
            }
        }
        assert!(typed > 15, "{typed}");
    }
}
