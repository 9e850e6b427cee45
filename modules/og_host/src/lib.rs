//! What a node's operating system must have: user, directories, limits, settings of the kernel. The one module that runs as root.
//!
//! It writes files of its own alone, into folders that nobody but root may write, and keeps a record of what it made: `absent`
//! takes away that and nothing else.

mod apply;
pub mod args;
mod plan;
mod present;
mod record;
#[cfg(test)]
mod tests;
mod tree;
mod unit;
mod wanted;

use std::path::{Path, PathBuf};

use og_common::protocol::{ArgRule, Call, Error, Example, Module, Report};

use apply::{HostLock, apply};
use args::{Args, Output, State};
use plan::{Plan, items_of_record, kept_warnings, plan, plan_removal};
use present::Present;
use tree::Tree;
use wanted::Wanted;

/// The module `og_host`.
#[derive(Debug)]
pub struct Host;

impl Module for Host {
    const NAME: &'static str = "og_host";
    const ABOUT: &'static str = "What a node's operating system must have";
    const TIMEOUT: u64 = 300;
    const NEEDS_ROOT: bool = true;
    const EXAMPLES: &'static [Example] = &[
        Example {
            title: "Make the user and the directory of a node, and set what og_preflight advises",
            args: r#"{"user": "omm", "group": "dbgrp", "directories": [{"path": "/gauss/data"}], "recommended": true, "base_ports": [26000]}"#,
        },
        Example {
            title: "Set limits and settings of the kernel",
            args: r#"{"user": "omm", "limits": {"nofile": 1000000, "nproc": "unlimited"}, "sysctl": {"kernel.sem": "250 6400000 1000 25600"}}"#,
        },
        Example {
            title: "Have a node start with the machine",
            args: r#"{"user": "omm", "unit": {"data_dir": "/gauss/data/dn1", "env_file": "/home/omm/env"}}"#,
        },
        Example { title: "What did og_host make on this machine?", args: r#"{"state": "query"}"# },
        Example {
            title: "Take it away, the user included",
            args: r#"{"state": "absent", "confirm": "omm"}"#,
        },
    ];
    const RULES: &'static [ArgRule] = &[
        ArgRule::OnlyIf {
            key: "state",
            values: &["present"],
            allows: &[
                "user",
                "uid",
                "group",
                "gid",
                "home",
                "shell",
                "directories",
                "recommended",
                "base_ports",
                "limits",
                "sysctl",
                "remove_ipc",
                "unit",
            ],
        },
        ArgRule::OnlyIf { key: "state", values: &["absent"], allows: &["confirm", "ended", "gone"] },
    ];
    type Args = Args;
    type Output = Output;

    async fn run(call: &Call, args: Args) -> Result<Report<Output>, Error> {
        run_in(&Tree::new("/"), call, &args).await
    }
}

/// Runs the call in this tree.
async fn run_in(tree: &Tree, call: &Call, args: &Args) -> Result<Report<Output>, Error> {
    let wanted = Wanted::from_args(args)?;
    let record = PathBuf::from(record::FOLDER).join(record::FILE);
    if args.state == State::Query {
        let present = Present::read(tree, &wanted)?;
        let items = items_of_record(&present);
        let msg = match items.len() {
            0 => "og_host made nothing on this machine".to_owned(),
            n => format!("made by og_host on this machine: {n}"),
        };
        return Ok(Report::unchanged(msg, Output { items, kept: Vec::new(), record }));
    }
    let make_plan = |present: &Present| match args.state {
        State::Absent => {
            let items = items_of_record(present);
            Ok(Plan { items, ..plan_removal(present, args.confirm.as_deref())? })
        }
        _ => plan(present, &wanted),
    };
    let mut present = Present::read(tree, &wanted)?;
    if call.check {
        present.processes.retain(|process| !args.ended.contains(&process.pid));
        present.leaving.extend(args.gone.iter().cloned());
    }
    let mut plan = make_plan(&present)?;
    let mut kept = Vec::new();
    // A killed run may have left the record of it, or no more than the lock.
    let is_left = || present.record.is_empty() && holds_no_more_than_the_lock(&tree.path(record::FOLDER));
    let is_stale = plan.record != present.record || args.state == State::Absent && is_left();
    if !call.check && (!plan.steps.is_empty() || is_stale) {
        let lock = HostLock::acquire(tree, call).await?;
        // Another call may have been at work until now.
        plan = make_plan(&Present::read(tree, &wanted)?)?;
        kept = apply(call, tree, &lock, &plan).await?;
    }
    let is_done = |step: &&plan::Step| {
        step.removed().is_none_or(|name| kept.iter().all(|one: &args::Kept| one.name != name))
    };
    let actions: Vec<String> = plan.steps.iter().filter(is_done).map(plan::Step::action).collect();
    let diff = plan.steps.iter().filter(is_done).filter_map(plan::Step::diff).collect();
    plan.kept.append(&mut kept);
    let msg = match (args.state, actions.len(), plan.kept.len()) {
        (State::Absent, 0, 0) => "nothing is left of what og_host made on this machine".to_owned(),
        (State::Absent, n, 0) => format!("taken away of what og_host made on this machine: {n}"),
        (State::Absent, n, kept) => {
            format!("taken away of what og_host made on this machine: {n}; left there: {kept}")
        }
        (_, 0, _) => "the machine has what is wanted".to_owned(),
        (_, 1, _) => "1 change of the operating system".to_owned(),
        (_, n, _) => format!("{n} changes of the operating system"),
    };
    let warnings: Vec<String> = plan.warnings.iter().cloned().chain(kept_warnings(&plan.kept)).collect();
    let output = Output { items: plan.items, kept: plan.kept, record };
    let mut report = Report::new(actions, msg, output).with_warnings(warnings);
    report.diff = diff;
    Ok(report)
}

/// Whether the folder of the record is there, and nothing in it but the lock and what a killed call wrote of the record.
fn holds_no_more_than_the_lock(folder: &Path) -> bool {
    let names = std::fs::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.file_name()));
    let is_own = |name: std::ffi::OsString| {
        name == record::LOCK || name == tree::temporary_name(record::FILE.as_ref())
    };
    names.is_ok_and(|mut names| names.all(is_own))
}
