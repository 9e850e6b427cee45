//! The long comparison of our reading of configuration files with what servers do, and of the files of clusters with what
//! OM reads and writes.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};

use crate::setup;
use crate::shell::{Result, cargo, run};

/// `truth --count N --seed N --engine NAME --kind NAME --om FOLDER`.
pub fn command() -> Command {
    Command::new("truth")
        .about("Hold our reading of pg_hba.conf and postgresql.conf against real servers, with files made at random; with --om, the files of clusters against OM instead")
        .arg(number("count").default_value("2000").help("Files of each kind"))
        .arg(number("seed").default_value("1").help("Where to begin; a disagreement tells its own"))
        .arg(Arg::new("engine").long("engine").value_name("NAME").help("One engine alone: postgres, opengauss-3.0.5, …"))
        .arg(
            Arg::new("kind")
                .long("kind")
                .value_name("NAME")
                .value_parser(["pg_control", "pg_hba.conf", "postgresql.conf"])
                .help("One kind of file alone"),
        )
        .arg(
            Arg::new("om")
                .long("om")
                .value_name("FOLDER")
                .value_parser(value_parser!(PathBuf))
                .help("A checkout of openGauss-OM: compare cluster_static_config and the like with what it reads and writes"),
        )
}

fn number(name: &'static str) -> Arg {
    Arg::new(name).long(name).value_parser(value_parser!(u64))
}

/// Runs it on each engine that is there.
pub fn run_all(matches: &ArgMatches) -> Result {
    let om = matches.get_one::<PathBuf>("om");
    if om.is_none() {
        setup::lab()?;
        setup::postgres()?;
    }
    let given = |name: &str| matches.get_one::<u64>(name).map_or_else(String::new, u64::to_string);
    let mut command = cargo();
    command
        .args(["test", "--package", "og_truth", "--test", if om.is_some() { "om" } else { "truth" }])
        .env("OG_TRUTH_COUNT", given("count"))
        .env("OG_TRUTH_SEED", given("seed"));
    for (option, variable) in [("engine", "OG_TRUTH_ENGINE"), ("kind", "OG_TRUTH_KIND")] {
        if let Some(name) = matches.get_one::<String>(option) {
            command.env(variable, name);
        }
    }
    if let Some(folder) = om {
        let folder = folder.canonicalize().map_err(|e| format!("{}: {e}", folder.display()))?;
        command.env("OG_TRUTH_OM", folder);
    }
    run(&mut command)
}
