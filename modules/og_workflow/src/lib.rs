//! The workflows: what to call next on which node: the workflows as a pure function, for callers
//! of any kind. It runs on the administrator's machine and makes no calls itself; the program `og` makes the calls.
//!
//! * [`cluster`], [`seen`]: the nodes, what is said of them and what was seen there
//! * [`plan`]: findings and plan
//! * [`health`]: the state of a cluster in one verdict, with the facts and what to do
//! * [`steps`]: the workflows step by step, run by [`replay`]
//! * [`engine`]: one run of a workflow, from its arguments to its outcome, for callers in the same process
//! * [`explain`]: what an id in a message means and what to do
//! * [`record`]: the record of a run on the controller, which is beside the engine
//! * [`bundle`]: the file that the workflow collect leaves there
//! * [`certificates`]: the certificates on the controller that the nodes get
//! * [`mod@owner`]: who holds the lock
//! * [`table`], [`text`]: what is told
//! * [`variables`]: what Ansible's roles take besides the options

pub mod answer;
pub mod args;
pub mod bundle;
pub mod certificates;
pub mod cluster;
pub mod engine;
pub mod explain;
pub mod health;
mod needed;
pub mod owner;
mod package;
pub mod plan;
pub mod record;
pub mod replay;
pub mod seen;
pub mod steps;
pub mod table;
pub mod text;
pub mod variables;

use std::path::Path;

use og_common::clock;
use og_common::protocol::{ArgRule, Call, Error, ErrorKind, Example, Module, Report, nearest};
use serde_json::{Map, Value};

use args::{Args, Described, Options, Output, Workflow};
use cluster::InventoryHost;
use engine::{Engine, Turn};
use owner::Owner;
use record::{Plan, Recording};

/// What each workflow needs, and the owner of a run.
const RULES: [ArgRule; steps::RULES.len() + 4] = {
    let mut rules = [ArgRule::Exclusive(&["owner", "pid"]); steps::RULES.len() + 4];
    let mut at = 0;
    while at < steps::RULES.len() {
        rules[at] = steps::RULES[at];
        at += 1;
    }
    rules[at] = ArgRule::RequiredIf { key: "workflow", value: "owner", needs: &["owner"] };
    rules[at + 1] = ArgRule::RequiredIf { key: "workflow", value: "package", needs: &["options"] };
    rules[at + 2] =
        ArgRule::RequiredIf { key: "workflow", value: "certificates", needs: &["options", "targets"] };
    rules
};

/// The module `og_workflow`.
#[derive(Debug)]
pub struct Workflows;

impl Module for Workflows {
    const NAME: &'static str = "og_workflow";
    const ABOUT: &'static str = "Return the next step of a workflow: what to call on which node";
    const TIMEOUT: u64 = 60;
    const EXAMPLES: &'static [Example] = &[
        Example {
            title: "What is asked first, to show a cluster?",
            args: r#"{"workflow": "status", "cluster": {"hosts": {"n1": {"address": "192.168.0.11", "id": 1}}, "vars": {"data_dir": "/gauss/data/dn1"}}}"#,
        },
        Example {
            title: "Is the run that holds a lock still at work?",
            args: r#"{"workflow": "owner", "owner": "dba@control pid 4711 start 918273"}"#,
        },
    ];
    const RULES: &'static [ArgRule] = &RULES;
    const PASSED_ON: &'static [&'static str] = &["next"];
    type Args = Args;
    type Output = Output;

    async fn run(call: &Call, mut args: Args) -> Result<Report<Output>, Error> {
        if args.workflow == Workflow::Owner {
            return owner(&args);
        }
        if args.workflow == Workflow::Package {
            let file =
                package::read(args.options.get("og_package").and_then(Value::as_str).unwrap_or_default());
            let msg = file.problem.clone().unwrap_or_else(|| format!("{}: {}", file.path, file.size));
            return Ok(Report::unchanged(msg, Output { package: Some(file), ..Output::default() }));
        }
        if args.workflow == Workflow::Certificates {
            let folder = args.options.get("og_ssl").and_then(Value::as_str).unwrap_or_default();
            let found = certificates::read(Path::new(folder), &args.targets, clock::now());
            let told = || format!("{folder}: the files of {} nodes", found.nodes.len());
            let msg = found.problems.first().cloned().unwrap_or_else(told);
            return Ok(Report::unchanged(msg, Output { certificates: Some(found), ..Output::default() }));
        }
        let answers = std::mem::take(&mut args.answers);
        // Of a call with no_log nothing is told, nor recorded.
        let record = args.record.take().filter(|_| !call.no_log);
        let plan = Plan::from_args(&args, call.check);
        let engine = Engine::new(args, call.check, call.diff)?;
        let record = record.filter(|_| engine.is_recorded());
        let mut recording = record.map(|name| Recording::from_name(&name, plan, &engine));
        if let Some(Recording::On(recorder)) = recording.as_mut().filter(|_| !answers.is_empty()) {
            recorder.write_answers(&answers);
        }
        let turn = match engine.advance(&answers) {
            Ok(turn) => turn,
            Err(e) => {
                if let Some(Recording::On(mut recorder)) = recording {
                    recorder.fail(&e.failure().detail);
                    // The answer is the error, which has no place for a warning; the record has it.
                    drop(recorder.notify().await);
                }
                return Err(e);
            }
        };
        match turn {
            Turn::Ask(next) => {
                let msg = format!("{}: {} calls", next.step, next.calls.len());
                if let Some(Recording::On(recorder)) = &mut recording {
                    recorder.write_step(&next);
                    recorder.update_report();
                }
                let record = recording.as_ref().map(Recording::name);
                Ok(Report::unchanged(msg, Output { next: Some(next), record, ..Output::default() }))
            }
            Turn::Done(mut outcome) => {
                bundle::finish(&mut outcome, &engine);
                match recording.map(Recording::recorder) {
                    Some(Ok(mut recorder)) => {
                        recorder.finish(&mut outcome);
                        outcome.warnings.extend(recorder.notify().await);
                    }
                    Some(Err(warning)) => outcome.warnings.push(warning),
                    None => {}
                }
                text::add_commits(&mut outcome);
                let msg = text::msg(&outcome, call.check);
                Ok(Report::unchanged(msg, Output { outcome: Some(*outcome), ..Output::default() }))
            }
        }
    }
}

fn owner(args: &Args) -> Result<Report<Output>, Error> {
    let text = args.owner.as_deref().unwrap_or_default();
    let unknown = || {
        Error::bad_args(format!("{text:?} is not of the form user@machine pid N start T")).with_path("/owner")
    };
    let owner = Owner::find(text).ok_or_else(unknown)?;
    let over = owner.is_over()?;
    let state = if over { "is no more" } else { "is at work, or was on another machine" };
    Ok(Report::unchanged(format!("{owner} {state}"), Output { over: Some(over), ..Output::default() }))
}

/// The options given, over those in the cluster's variables, over the defaults.
fn options(cluster: &Described, given: Map<String, Value>, names: &[String]) -> Result<Options, Error> {
    check_names(cluster, names)?;
    // What else the variables have is for others.
    let mut all = cluster.vars.clone();
    all.extend(given);
    serde_json::from_value(Value::Object(all)).map_err(|e| Error::new(ErrorKind::Internal, e.to_string()))
}

/// Looks for options that would count for nothing: a mistyped one, and one that is given for a single node.
fn check_names(cluster: &Described, names: &[String]) -> Result<(), Error> {
    let options = serde_json::to_value(Options::default())
        .map_err(|e| Error::new(ErrorKind::Internal, e.to_string()))?;
    let known: Vec<&str> = options.as_object().into_iter().flat_map(Map::keys).map(String::as_str).collect();
    let others = variables::names();
    let wrong = |at: String, what: String| Err(Error::bad_args(format!("{at}: {what}")).with_path(at));
    let vars = cluster.vars.keys().map(|name| ("/cluster/vars", name.as_str()));
    let all = vars.chain(names.iter().map(|name| ("/variables", name.as_str())));
    for (at, name) in all.filter(|(_, name)| name.starts_with("og_")) {
        if !known.contains(&name) && !others.contains(&name) {
            let near = nearest(name, &known).or_else(|| nearest(name, &others));
            let near = near.map_or_else(String::new, |near| format!("did you mean {near}? "));
            return wrong(
                format!("{at}/{name}"),
                format!("unknown option ({near}known: {})", known.join(", ")),
            );
        }
    }
    for (host, own) in &cluster.hosts {
        let mut own = own.as_object().into_iter().flat_map(Map::keys).map(String::as_str);
        if let Some(name) = own.find(|name| known.contains(name)) {
            let what = "counts for all nodes; give it in the cluster's vars, or in the call";
            return wrong(format!("/cluster/hosts/{host}/{name}"), what.to_owned());
        }
    }
    Ok(())
}

fn hosts(cluster: &Described) -> Result<Vec<InventoryHost>, Error> {
    let mut hosts = Vec::new();
    for (name, own) in &cluster.hosts {
        let mut vars = cluster.vars.clone();
        vars.extend(own.as_object().cloned().unwrap_or_default());
        let reached_by = cluster.reached_by.clone();
        hosts.push(InventoryHost { reached_by, ..InventoryHost::new(name, vars) });
    }
    if hosts.is_empty() {
        return Err(Error::bad_args("the cluster has no hosts").with_path("/cluster/hosts"));
    }
    Ok(hosts)
}

/// Each name once.
fn distinct(names: &[String]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for name in names.iter().map(|name| name.trim()).filter(|name| !name.is_empty()) {
        if !out.iter().any(|there| there == name) {
            out.push(name.to_owned());
        }
    }
    out
}
