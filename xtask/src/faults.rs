//! The fault matrix, on the modules as they are shipped.

use clap::{Arg, ArgMatches, Command};

use crate::build::{self, Linking};
use crate::shell::{Result, cargo, run};

/// `faults [PART]`.
pub fn command() -> Command {
    Command::new("faults")
        .about("Print the fault matrix: module, fault, outcome")
        .arg(Arg::new("part").help("Only the lines whose `module: fault` has this in it").default_value(""))
}

/// Builds the modules and prints the table.
pub fn run_all(matches: &ArgMatches) -> Result {
    table(matches.get_one::<String>("part").map_or("", String::as_str))
}

/// Prints the lines of the table that have `part` in them; fails when one of them is red.
pub fn table(part: &str) -> Result {
    let modules = build::release(Linking::Dynamic)?;
    run(cargo().args(["run", "--quiet", "--package", "og_faults", "--", part]).env("OG_MODULES", modules))
}
