//! The command line, and what the program prints of itself.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::result::write_stdout;
use super::schema::{args_help, args_schema, result_schema};
use super::{Module, hosts};
use crate::base::{Error, describe_version, secret};
use crate::files;

/// The command line that the program takes.
#[must_use]
pub fn command<M: Module>() -> Command {
    Command::new(M::NAME)
        .about(M::ABOUT)
        .version(describe_version())
        .arg(
            Arg::new("file")
                .value_name("ARGS.json")
                .value_parser(clap::value_parser!(PathBuf))
                .help("File with the JSON arguments; standard input when not given"),
        )
        .arg(flag("check").help("Change nothing; say what would change"))
        .arg(flag("diff").help("Return the texts before and after"))
        .arg(flag("progress").conflicts_with("host").help("Report progress as JSON lines on standard error"))
        .arg(
            flag("validate")
                .conflicts_with("host")
                .help("Only check the arguments, and say what is wrong with them"),
        )
        .arg(
            Arg::new("schema")
                .long("schema")
                .value_parser(["args", "result"])
                .help("Print the JSON Schema of the arguments or of the result"),
        )
        .arg(flag("examples").help("Print examples"))
        .args(hosts::flags())
        .group(clap::ArgGroup::new("views").args(M::VIEWS.iter().map(|v| v.flag)))
        .args(M::VIEWS.iter().map(|view| {
            Arg::new(view.flag)
                .long(view.flag)
                .value_name(view.value_name)
                .value_parser(clap::value_parser!(PathBuf))
                .conflicts_with_all(["file", "check", "diff", "validate", "schema", "examples"])
                .help(view.help)
        }))
        .args(M::EXPORTS.iter().map(|export| {
            Arg::new(export.flag)
                .long(export.flag)
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .conflicts_with_all(["host", "validate", "schema", "examples"])
                .help(export.help)
        }))
        .after_help("Prints exactly one JSON object. --help lists the arguments and examples.")
}

fn flag(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}

/// The list of arguments, made only when the long help is asked for: it costs more than a whole call.
pub(super) fn lazy_help<M: Module>() -> String {
    if std::env::args_os().any(|a| a == "--help") { args_help::<M>() } else { String::new() }
}

pub(super) fn document<M: Module>(matches: &ArgMatches) -> Option<String> {
    if let Some(which) = matches.get_one::<String>("schema") {
        let schema = if which == "args" { args_schema::<M>() } else { result_schema::<M>() };
        return Some(format!("{schema:#}"));
    }
    matches.get_flag("examples").then(|| {
        let one = |e: &super::Example| format!("# {}\necho '{}' | {}", e.title, e.args, M::NAME);
        M::EXAMPLES.iter().map(one).collect::<Vec<_>>().join("\n\n")
    })
}

/// The text of the view that is asked for.
pub(super) fn view<M: Module>(matches: &ArgMatches) -> Option<Result<String, Error>> {
    M::VIEWS.iter().find_map(|v| matches.get_one::<PathBuf>(v.flag).map(|file| (v.render)(file)))
}

/// Writes the files that are asked for beside the result.
pub(super) fn export<M: Module>(matches: &ArgMatches, output: &M::Output) -> Result<(), Error> {
    M::EXPORTS.iter().try_for_each(|export| match matches.get_one::<PathBuf>(export.flag) {
        Some(path) => files::publish(path, secret::mask_text(&(export.render)(output)).as_bytes()),
        None => Ok(()),
    })
}

pub(super) fn show(text: &str) -> ExitCode {
    write_stdout(|out| writeln!(out, "{text}"), ExitCode::SUCCESS)
}
