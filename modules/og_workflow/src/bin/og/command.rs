//! The command line: a subcommand for each workflow, and an argument for each of its options.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, Error, ValueHint, error::ErrorKind};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use og_common::protocol::describe_version;
use og_workflow::args::Options;
use og_workflow::explain;
use og_workflow::steps::{WORKFLOWS, Workflow, WorkflowEntry};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::certificates::{self, CertificatesRequest};
use crate::cluster_file;
use crate::history::{self, HistoryRequest};
use crate::view::View;

/// Calls at once, unless `--forks` says otherwise.
const FORKS: &str = "32";
/// Seconds between two polls at the cluster with `--watch`.
const WATCH_INTERVAL: &str = "2";
/// The option that has parameters of the server, which on the command line are words.
const PARAMETERS: &str = "og_parameters";
/// The subcommand that tells what an id means.
const EXPLAIN: &str = "explain";
/// What every name of an option begins with where it is a variable.
const PREFIX: &str = "og_";

/// The options that the words of `og preflight` stand for: the change, and the nodes that it is about.
const PREFLIGHT: [&str; 2] = ["og_preflight_for", "og_preflight_nodes"];

/// What the command line asks for.
#[derive(Debug)]
pub enum Request {
    /// A run of a workflow.
    Run(Box<Invocation>),
    /// The records of earlier runs.
    History(HistoryRequest),
    /// What an id in a message means.
    Explain(String),
    /// Certificates for the nodes of a cluster.
    Certificates(CertificatesRequest),
}

/// A run of a workflow, as the command line asks for it.
#[derive(Debug)]
pub struct Invocation {
    /// The workflow.
    pub workflow: &'static WorkflowEntry,
    /// The nodes.
    pub targets: Vec<String>,
    /// Options by their names in a cluster's variables.
    pub options: Map<String, Value>,
    /// Change nothing.
    pub check: bool,
    /// Tell changes of files.
    pub diff: bool,
    /// The file that describes the cluster.
    pub file: Option<PathBuf>,
    /// The name of the cluster.
    pub cluster: Option<String>,
    /// What `ssh -F` takes.
    pub ssh_config: Option<PathBuf>,
    /// Calls at once.
    pub forks: usize,
    /// Tell events as lines of JSON.
    pub json: bool,
    /// Time between two polls.
    pub watch: Option<Duration>,
    /// How the state of the cluster is shown.
    pub view: View,
}

/// The command line that the program takes.
pub fn command() -> Command {
    Command::new("og")
        .about("Deploy, change, repair and inspect openGauss clusters over ssh")
        .version(describe_version())
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommands(WORKFLOWS.iter().map(subcommand))
        .subcommand(history::command())
        .subcommand(explain_command())
        .subcommand(certificates::command().args(cluster_args()))
        .after_help(
            "Exit status: 0 done, 1 failed or interrupted, 2 unusable arguments.\n\
             A run that failed, was interrupted or was killed is continued by the same command.",
        )
}

fn explain_command() -> Command {
    let complete = |current: &std::ffi::OsStr| {
        let ids: Vec<String> = explain::ids().into_iter().map(str::to_owned).collect();
        complete_words(&ids, current)
    };
    Command::new(EXPLAIN)
        .about("Say what an id in a message means, and what to do: a finding, a check, a reason or kind of an error")
        .arg(
            Arg::new("id")
                .value_name("ID")
                .default_value(explain::ALL)
                .hide_default_value(true)
                .help("The id, such as node.stopped, memory.process or not_streaming; without it all are listed")
                .add(ArgValueCompleter::new(complete)),
        )
}

fn subcommand(workflow: &'static WorkflowEntry) -> Command {
    let mut command = Command::new(workflow.name).about(workflow.about).args(shared());
    if !workflow.details.is_empty() {
        command = command.after_help(workflow.details.join(" "));
    }
    if workflow.changes {
        command = command
            .arg(flag("check").short('n').help("Change nothing; say what would be changed"))
            .arg(flag("diff").help("Show changes of files as unified diffs"));
    }
    if let Some(targets) = &workflow.targets {
        command = command.arg(
            words("NODE")
                .required(targets.required)
                .help(format!(
                    "{}, by their names in the cluster, such as {}",
                    targets.about, targets.example
                ))
                .add(ArgValueCompleter::new(complete_nodes)),
        );
    } else if workflow.workflow == Workflow::Preflight {
        let changes = changes();
        let help = format!(
            "The change that the nodes are checked for, as --preflight-for: {} [default: any]",
            changes.join(", ")
        );
        let complete = move |current: &std::ffi::OsStr| complete_words(&changes, current);
        command = command
            .override_usage("og preflight [OPTIONS] [CHANGE [NODE]...]")
            .arg(Arg::new("change").value_name("CHANGE").help(help).add(ArgValueCompleter::new(complete)));
        command = command.arg(
            words("NODE")
                .help("The nodes that the change is about, as --preflight-nodes, such as: expand n3,n4")
                .add(ArgValueCompleter::new(complete_nodes)),
        );
    } else if workflow.has_own(PARAMETERS) {
        command = command.arg(
            words("NAME=VALUE")
                .required(workflow.workflow == Workflow::Configure)
                .help("The parameters and their values, such as max_connections=500"),
        );
    } else {
        command = command.arg(words("og_OPTION=VALUE").help("Options by their names in the cluster file"));
    }
    if workflow.workflow == Workflow::Status {
        command = command.args(View::args()).arg(
            Arg::new("watch")
                .long("watch")
                .value_name("SECONDS")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value(WATCH_INTERVAL)
                .value_parser(clap::value_parser!(u64).range(1..=86_400))
                .help(format!("Show it again every SECONDS (default: {WATCH_INTERVAL}) until interrupted")),
        );
    }
    command.next_help_heading("Options of the workflow").args(
        options()
            .into_iter()
            .filter(|(name, _)| workflow.has_option(name) && name != PARAMETERS)
            .map(|(name, schema)| option(&name, &schema)),
    )
}

/// What says which cluster.
fn cluster_args() -> [Arg; 2] {
    [
        Arg::new("file")
            .short('f')
            .long("file")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .value_hint(ValueHint::AnyPath)
            .help(
                "The cluster: cluster.json or .yml, cluster_static_config, cluster_config.xml or an Ansible inventory \
                 [default: cluster.json or cluster.yml]",
            ),
        Arg::new("cluster").long("cluster").value_name("NAME").help(
            "Name of the cluster: the group in an inventory, or a file in ~/.config/opengauss-node or \
             /etc/opengauss-node",
        ),
    ]
}

/// What all workflows take.
fn shared() -> Vec<Arg> {
    let more = [
        Arg::new("ssh-config")
            .short('F')
            .long("ssh-config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .value_hint(ValueHint::FilePath)
            .help("Configuration file of ssh, in place of ~/.ssh/config"),
        Arg::new("forks")
            .long("forks")
            .value_name("N")
            .default_value(FORKS)
            .value_parser(clap::value_parser!(u16).range(1..=1024))
            .help("Maximum parallel calls"),
        flag("json").help("Print events as JSON lines, the outcome last"),
    ];
    cluster_args().into_iter().chain(more).collect()
}

fn flag(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}

fn words(name: &'static str) -> Arg {
    Arg::new("words").value_name(name).action(ArgAction::Append).num_args(1..)
}

/// The options with the schema of each.
fn options() -> Map<String, Value> {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Options>().to_value();
    crate::object(schema["properties"].take())
}

/// The words that a schema allows, with what each means.
fn choices(schema: &Value) -> Vec<(&str, &str)> {
    let one_of = schema["oneOf"].as_array().into_iter().flatten();
    let documented = one_of
        .filter_map(|one| Some((one["const"].as_str()?, one["description"].as_str().unwrap_or_default())));
    let plain = [schema].into_iter().chain(schema["anyOf"].as_array().into_iter().flatten());
    let plain = plain.flat_map(|one| one["enum"].as_array().into_iter().flatten());
    documented.chain(plain.filter_map(|one| Some((one.as_str()?, "")))).collect()
}

/// The changes that nodes may be checked for.
fn changes() -> Vec<String> {
    let options = options();
    let named = options.get(PREFLIGHT[0]).map(choices).unwrap_or_default();
    named.iter().map(|(word, _)| (*word).to_owned()).collect()
}

fn complete_words(words: &[String], current: &std::ffi::OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    words.iter().filter(|word| word.starts_with(&*current)).map(CompletionCandidate::new).collect()
}

fn option(name: &str, schema: &Value) -> Arg {
    // clap takes names that live as long as the program, which these do.
    let id: &'static str = name.to_owned().leak();
    let long: &'static str = id.strip_prefix(PREFIX).unwrap_or(id).replace('_', "-").leak();
    let text = schema["description"].as_str().unwrap_or_default();
    let text = text.split_once(": ").map_or(text, |(workflow, rest)| {
        if WORKFLOWS.iter().any(|entry| entry.name == workflow) { rest } else { text }
    });
    let mut words: Vec<String> = choices(schema).iter().map(|(word, _)| (*word).to_owned()).collect();
    if schema["type"] == "boolean" {
        words = vec!["yes".to_owned(), "no".to_owned()];
    }
    let has_number = |schema: &Value| schema["type"] == "integer";
    let number =
        has_number(schema) || schema["anyOf"].as_array().is_some_and(|any| any.iter().any(has_number));
    let (first, rest) = text.split_at(text.chars().next().map_or(0, char::len_utf8));
    let mut help = format!("{}{}", first.to_uppercase(), rest.trim_end_matches('.'));
    if !words.is_empty() {
        help = format!("{help} [{}{}]", if number { "N, " } else { "" }, words.join(", "));
    }
    match &schema["default"] {
        Value::Null => {}
        Value::Bool(yes) => help = format!("{help} [default: {}]", if *yes { "yes" } else { "no" }),
        Value::String(word) => help = format!("{help} [default: {word}]"),
        other => help = format!("{help} [default: {other}]"),
    }
    let completed = move |current: &std::ffi::OsStr| complete_words(&words, current);
    Arg::new(id)
        .long(long)
        .value_name(if number { "N" } else { "WORD" })
        .help(help)
        .add(ArgValueCompleter::new(completed))
}

/// Reads the command line.
///
/// # Errors
/// What clap says of it, and a word that is neither a node nor an option.
pub fn parse() -> Result<Request, Error> {
    let matches = command().try_get_matches()?;
    Ok(match matches.subcommand() {
        Some((certificates::NAME, own)) => Request::Certificates(CertificatesRequest::from_matches(own)),
        Some((history::NAME, own)) => Request::History(HistoryRequest::from_matches(own)),
        Some((EXPLAIN, own)) => {
            Request::Explain(own.get_one::<String>("id").cloned().unwrap_or_else(|| explain::ALL.to_owned()))
        }
        _ => Request::Run(Box::new(read(&matches)?)),
    })
}

fn read(matches: &ArgMatches) -> Result<Invocation, Error> {
    // clap asks for a subcommand, and knows no others.
    let (name, own) = matches.subcommand().unwrap_or(("", matches));
    let workflow = WORKFLOWS.iter().find(|entry| entry.name == name).unwrap_or(&WORKFLOWS[0]);
    let given = |name: &str| own.try_get_one::<bool>(name).ok().flatten().copied().unwrap_or(false);
    let mut options = Map::new();
    for name in crate::command::options().keys() {
        if let Ok(Some(value)) = own.try_get_one::<String>(name) {
            options.insert(name.clone(), Value::from(value.as_str()));
        }
    }
    let (mut targets, mut parameters) = (Vec::new(), Map::new());
    let change = own.try_get_one::<String>("change").ok().flatten();
    let rest = own.try_get_many::<String>("words").ok().flatten().into_iter().flatten();
    let has_words = workflow.targets.is_some() || workflow.workflow == Workflow::Preflight;
    for word in change.into_iter().chain(rest) {
        match word.split_once('=') {
            // What is no option at all is named later, with the nearest one.
            Some((option, _)) if option.starts_with(PREFIX) && !workflow.has_option(option) => {
                let text = format!("og {name} has no option {option}");
                return Err(command().error(ErrorKind::UnknownArgument, text));
            }
            Some((option, value)) if option.starts_with(PREFIX) => {
                if options.insert(option.to_owned(), Value::from(value)).is_some() {
                    let text = format!("the option {option} is given twice");
                    return Err(command().error(ErrorKind::ArgumentConflict, text));
                }
            }
            Some((name, value)) if workflow.has_own(PARAMETERS) && !name.is_empty() => {
                if parameters.insert(name.to_owned(), Value::from(value)).is_some() {
                    let text = format!("{name} is given twice");
                    return Err(command().error(ErrorKind::ArgumentConflict, text));
                }
            }
            None if has_words => {
                targets.extend(
                    word.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned),
                );
            }
            _ => {
                let known = if workflow.has_own(PARAMETERS) { "parameters are NAME=VALUE, " } else { "" };
                let text =
                    format!("unexpected argument '{word}': {known}options are og_NAME=VALUE or --NAME VALUE");
                return Err(command().error(ErrorKind::UnknownArgument, text));
            }
        }
    }
    if workflow.workflow == Workflow::Preflight {
        take_change(std::mem::take(&mut targets), &mut options)?;
    }
    if !parameters.is_empty() {
        options.insert(PARAMETERS.to_owned(), Value::from(parameters));
    }
    if workflow.targets.as_ref().is_some_and(|targets| targets.required) && targets.is_empty() {
        let text = format!("no node is named, such as: og {name} n3,n4");
        return Err(command().error(ErrorKind::MissingRequiredArgument, text));
    }
    Ok(Invocation {
        workflow,
        targets,
        options,
        check: given("check"),
        diff: given("diff"),
        file: own.get_one("file").cloned(),
        cluster: own.get_one("cluster").cloned(),
        ssh_config: own.get_one("ssh-config").cloned(),
        forks: usize::from(own.get_one::<u16>("forks").copied().unwrap_or(1)),
        json: given("json"),
        view: View::from_matches(own),
        watch: own.try_get_one::<u64>("watch").ok().flatten().map(|seconds| Duration::from_secs(*seconds)),
    })
}

/// Makes the words of `og preflight` the options that they stand for: the first is the change, the others are nodes.
fn take_change(words: Vec<String>, options: &mut Map<String, Value>) -> Result<(), Error> {
    let mut words = words.into_iter();
    let Some(change) = words.next() else { return Ok(()) };
    if let Some(option) = PREFLIGHT.iter().find(|option| options.contains_key(**option)) {
        let long = option.trim_start_matches(PREFIX).replace('_', "-");
        let text = format!("the change is given as the word '{change}' and by --{long}: give one of both");
        return Err(command().error(ErrorKind::ArgumentConflict, text));
    }
    let changes = changes();
    if !changes.contains(&change) {
        let text = format!("'{change}' is no change: give one of {}, then the nodes", changes.join(", "));
        return Err(command().error(ErrorKind::InvalidValue, text));
    }
    let nodes = words.collect::<Vec<_>>().join(",");
    options.insert(PREFLIGHT[0].to_owned(), Value::from(change));
    if !nodes.is_empty() {
        options.insert(PREFLIGHT[1].to_owned(), Value::from(nodes));
    }
    Ok(())
}

/// Names of nodes from the cluster file that the line to be completed names; the last one after a comma.
fn complete_nodes(current: &std::ffi::OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let (before, begin) = current.rsplit_once(',').map_or(("", &*current), |(before, begin)| (before, begin));
    let line: Vec<String> = std::env::args().collect();
    let after = |names: &[&str]| {
        let at = line.iter().position(|word| names.contains(&word.as_str()))?;
        line.get(at + 1).cloned()
    };
    let file = after(&["-f", "--file"]).map(PathBuf::from);
    let cluster = after(&["--cluster"]);
    let Ok(names) = cluster_file::node_names(file.as_deref(), cluster.as_deref()) else { return Vec::new() };
    let taken: Vec<&str> = before.split(',').collect();
    let lead = if before.is_empty() { String::new() } else { format!("{before},") };
    names
        .iter()
        .filter(|name| name.starts_with(begin) && !taken.contains(&name.as_str()))
        .map(|name| CompletionCandidate::new(format!("{lead}{name}")))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn parsed(line: &str) -> Result<Invocation, Error> {
        read(&command().try_get_matches_from(line.split_whitespace())?)
    }

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn an_option_is_given_by_either_of_its_names() {
        for line in [
            "og expand n3,n4 --sync-standbys any --rollback no -n --diff",
            "og expand -n n3 og_sync_standbys=any n4 --diff og_rollback=no",
        ] {
            let it = parsed(line).unwrap();
            assert_eq!((it.workflow.name, it.check, it.diff), ("expand", true, true), "{line}");
            assert_eq!(it.targets, ["n3", "n4"]);
            let given: Vec<_> =
                it.options.iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap())).collect();
            assert_eq!(given.len(), 2);
            assert!(given.contains(&"og_sync_standbys=any".to_owned()), "{given:?}");
            assert!(given.contains(&"og_rollback=no".to_owned()), "{given:?}");
        }
    }

    #[test]
    fn parameters_are_words_that_do_not_begin_as_an_option() {
        let it =
            parsed("og configure max_connections=500 og_configure_restart=yes archive_command= a.b=x=y -n")
                .unwrap();
        let wanted = serde_json::json!({"max_connections": "500", "archive_command": "", "a.b": "x=y"});
        assert_eq!(
            (&it.options[PARAMETERS], &it.options["og_configure_restart"]),
            (&wanted, &Value::from("yes"))
        );
        for line in
            ["og configure", "og configure n1", "og configure a=1 a=2", "og configure =1", "og restart a=1"]
        {
            assert!(parsed(line).is_err(), "{line}");
        }
        assert_eq!(parsed("og restart").unwrap().targets, Vec::<String>::new());
        assert_eq!(parsed("og restart n2,n1 --switch-back yes").unwrap().targets, ["n2", "n1"]);
    }

    #[test]
    fn every_option_belongs_to_a_workflow() {
        let own = |name: &String| WORKFLOWS.iter().any(|entry| entry.options.contains(&name.as_str()));
        let mut shared: Vec<_> = options().keys().filter(|name| !own(name)).cloned().collect();
        shared.sort();
        let wanted = [
            "og_lock_force",
            "og_lock_ttl",
            "og_look_timeout",
            "og_max_lag_bytes",
            "og_notify",
            "og_record",
            "og_wait_timeout",
        ];
        assert_eq!(shared, wanted);
    }

    #[test]
    fn words_that_mean_nothing_are_refused() {
        for line in [
            "og",
            "og expand",
            "og drop og_drop_clear=yes",
            "og status n1",
            "og expand n3 x=y",
            "og drop n2 --rollback no",
            "og drop n2 og_rollback=no",
            "og status og_build_mode=full",
            "og expand n3 og_rollback=no og_rollback=yes",
            "og expand n3 --rollback no og_rollback=no",
            "og status --watch=0",
            "og expand n3 --forks 0",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_preflight_takes_the_change_and_its_nodes_as_words() {
        let options = |line: &str| json!(parsed(line).unwrap().options);
        let wanted = json!({"og_preflight_for": "expand", "og_preflight_nodes": "n3,n4"});
        for line in [
            "og preflight expand n3,n4",
            "og preflight expand n3 --json n4",
            "og preflight --preflight-for expand --preflight-nodes n3,n4",
            "og preflight og_preflight_for=expand og_preflight_nodes=n3,n4",
        ] {
            assert_eq!(options(line), wanted, "{line}");
        }
        assert_eq!(options("og preflight restart"), json!({"og_preflight_for": "restart"}));
        let with_option =
            json!({"og_preflight_for": "drop", "og_preflight_nodes": "n2", "og_look_timeout": "5"});
        assert_eq!(options("og preflight og_look_timeout=5 drop n2"), with_option);
        assert_eq!(options("og preflight"), json!({}));
        for (line, text) in [
            ("og preflight n3", "'n3' is no change: give one of "),
            ("og preflight expand n3 --preflight-for drop", "by --preflight-for"),
            ("og preflight expand og_preflight_nodes=n3", "by --preflight-nodes"),
            ("og preflight expand n3=yes", "unexpected argument"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.use_stderr() && error.to_string().contains(text), "{line}: {error}");
        }
    }

    #[test]
    fn changes_and_options_are_completed_by_their_beginning() {
        let found = complete_words(&changes(), "switch".as_ref());
        assert_eq!(found.iter().map(CompletionCandidate::get_value).collect::<Vec<_>>(), ["switchover"]);
    }

    #[test]
    fn a_watch_has_an_interval() {
        assert_eq!(parsed("og status").unwrap().watch, None);
        assert_eq!(parsed("og status --watch").unwrap().watch, Some(Duration::from_secs(2)));
        assert_eq!(parsed("og status --watch=5").unwrap().watch, Some(Duration::from_secs(5)));
    }
}
