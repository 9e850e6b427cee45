//! The long comparison of our reading of configuration files with what servers do.

use clap::{Arg, ArgMatches, Command, value_parser};

use crate::setup;
use crate::shell::{Result, cargo, run};

/// `truth --count N --seed N`.
pub fn command() -> Command {
    Command::new("truth")
        .about("Hold our reading of pg_hba.conf and postgresql.conf against real servers, with files made at random")
        .arg(number("count").default_value("2000").help("Files of each kind"))
        .arg(number("seed").default_value("1").help("Where to begin; a disagreement tells its own"))
}

fn number(name: &'static str) -> Arg {
    Arg::new(name).long(name).value_parser(value_parser!(u64))
}

/// Runs it on each engine that is there.
pub fn run_all(matches: &ArgMatches) -> Result {
    setup::all()?;
    let given = |name: &str| matches.get_one::<u64>(name).map_or_else(String::new, u64::to_string);
    run(cargo()
        .args(["test", "--package", "og_truth", "--test", "truth"])
        .env("OG_TRUTH_COUNT", given("count"))
        .env("OG_TRUTH_SEED", given("seed")))
}
