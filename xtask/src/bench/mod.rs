//! `cargo xtask bench`: how long things take, ours and others' in turn on the same input. What is measured is held against
//! its limits in docs/performance.md; nothing fails by being slow. What goes wrong is named there, and does not
//! keep the rest from being measured.

mod callers;
pub mod counts;
mod failovers;
mod measure;
mod programs;
mod report;
mod static_conf;
mod workflows;

use std::path::PathBuf;
use std::time::Instant;

use clap::{Arg, ArgAction, ArgMatches, value_parser};

use crate::lab::engine_arg;
use crate::shell::Result;
use report::Section;

/// How many runs are made of each thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// As many as the medians need to be worth writing down.
    Full,
    /// A few, to see whether it works and what has become of a change.
    Short,
}

impl Depth {
    /// The number of this depth.
    pub fn choose(self, full: usize, short: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Short => short,
        }
    }
}

/// The groups in the order in which they are run and written down.
const GROUPS: [&str; 4] = ["programs", "callers", "workflows", "static-conf"];

/// `bench [GROUP ...]`, and what it calls itself for.
pub fn command() -> clap::Command {
    clap::Command::new("bench")
        .about("Measure how long things take, beside gs_guc, gs_ctl, Ansible's modules and OM; all groups: write docs/performance.md")
        .args_conflicts_with_subcommands(true)
        .arg(Arg::new("group").num_args(0..).value_parser(GROUPS).help("Only these groups; nothing is written then"))
        .arg(Arg::new("short").long("short").action(ArgAction::SetTrue).help("Few runs of each, on fewer nodes"))
        .arg(
            Arg::new("om")
                .long("om")
                .value_name("FOLDER")
                .value_parser(value_parser!(PathBuf))
                .help("A checkout of openGauss-OM, whose reader of cluster_static_config takes its turn"),
        )
        .arg(engine_arg())
        .subcommand(counts::command())
        .subcommand(
            clap::Command::new("peak")
                .hide(true)
                .about("Run a program with a file as its input and print the most memory that it had, in KiB")
                .arg(Arg::new("words").num_args(2..).trailing_var_arg(true).required(true)),
        )
}

/// Runs the groups that are asked for, or all of them and writes docs/performance.md.
pub fn run_one(matches: &ArgMatches) -> Result {
    match matches.subcommand() {
        Some(("counts", m)) => return counts::run_all(m),
        Some(("peak", m)) => {
            let words: Vec<_> = m.get_many::<String>("words").into_iter().flatten().collect();
            return measure::print_peak(&words);
        }
        _ => {}
    }
    let short = matches.get_flag("short");
    let depth = if short { Depth::Short } else { Depth::Full };
    let asked: Vec<&String> = matches.get_many("group").into_iter().flatten().collect();
    let mut sections = Vec::new();
    for group in GROUPS.into_iter().filter(|group| asked.is_empty() || asked.iter().any(|one| one == group)) {
        let start = Instant::now();
        let measured = measure_group(group, depth, matches).unwrap_or_else(|why| {
            let mut section = Section::new(group, "Nothing of it could be measured.");
            section.keep_failure(group, Err(why));
            vec![section]
        });
        println!("{}== {group}: {} s\n", report::tables(&measured), start.elapsed().as_secs());
        sections.extend(measured);
    }
    if asked.is_empty() {
        report::write(&sections, short)?;
    }
    let failed = sections.iter().flat_map(|section| &section.failed).count();
    if failed == 0 { Ok(()) } else { Err(format!("{failed} measurements failed; they are marked above")) }
}

/// What was measured of the group.
fn measure_group(group: &str, depth: Depth, matches: &ArgMatches) -> Result<Vec<Section>> {
    match group {
        "programs" => programs::sections(depth),
        "callers" => callers::sections(depth),
        "workflows" => workflows::sections(depth, crate::lab::engine(matches)?),
        _ => static_conf::sections(depth, matches.get_one::<PathBuf>("om").map(PathBuf::as_path)),
    }
}
