//! The server of this node: what it is, and what it shall be.

mod act;
mod args;
mod cm;
mod managed;
#[cfg(test)]
mod managed_tests;
mod metrics;
mod plan;
#[cfg(test)]
mod tests;
mod transition;
mod unattended;
#[cfg(test)]
mod walk;

use std::fmt::Write as _;
use std::time::Duration;

use og_common::clock;
use og_common::conf::ConfFile;
use og_common::files::{FileLock, NodeLock};
use og_common::gauss::{Fork, NodeState, Role, ServerNode, fork};
use og_common::protocol::{ArgRule, Call, Error, Example, Export, Lsn, Module, Report};

pub use args::{Args, Output, StartRole, State, Transition, Wait};
pub use plan::{Present, Step, needs_peers, plan, role_of_opts, unclear_peer_warnings, unmet_condition};
pub use transition::{By, Change, Refusal, judge};

/// The module.
#[derive(Debug)]
pub struct NodeStateModule;

impl Module for NodeStateModule {
    const NAME: &'static str = "og_node_state";
    const ABOUT: &'static str =
        "Show the state of a node's openGauss server; start, stop, reload or promote it";
    const TIMEOUT: u64 = 300;
    const EXAMPLES: &'static [Example] = &[
        Example { title: "Tell what the node is", args: r#"{"data_dir": "/gauss/data/dn1"}"# },
        Example {
            title: "Start it as standby and wait until it streams",
            args: r#"{"data_dir": "/gauss/data/dn1", "state": "started", "role": "standby", "wait": {"db_state": "normal"}}"#,
        },
        Example {
            title: "Wait on the primary until two receivers have caught up",
            args: r#"{"data_dir": "/gauss/data/dn1", "wait": {"role": "primary", "peer_count": 2, "max_lag_bytes": 1048576}, "timeout": 60}"#,
        },
        Example {
            title: "Make this standby the primary",
            args: r#"{"data_dir": "/gauss/data/dn1", "state": "primary"}"#,
        },
        Example {
            title: "Make this standby the primary when the old one is lost",
            args: r#"{"data_dir": "/gauss/data/dn1", "state": "primary", "transition": "failover"}"#,
        },
    ];
    const RULES: &'static [ArgRule] = &[
        ArgRule::OnlyIf { key: "state", values: &["started", "restarted", "standby"], allows: &["role"] },
        ArgRule::OnlyIf { key: "state", values: &["started", "stopped"], allows: &["unattended"] },
        ArgRule::OnlyIf { key: "state", values: &["primary"], allows: &["transition"] },
        ArgRule::OnlyIf {
            key: "state",
            values: &["query"],
            allows: &["log_end", "diagnose", "log_records", "log_lines", "cm_view"],
        },
        ArgRule::RequiredIf { key: "state", value: "fork_recorded", needs: &["fork"] },
        ArgRule::OnlyIf { key: "state", values: &["fork_recorded"], allows: &["fork"] },
    ];
    const EXPORTS: &'static [Export<Output>] = &[metrics::PROMETHEUS];
    type Args = Args;
    type Output = Output;

    async fn run(call: &Call, args: Args) -> Result<Report<Output>, Error> {
        let node = ServerNode::from_call(call)?;
        if let (State::ForkRecorded, Some(wanted)) = (args.state, &args.fork) {
            return record_fork(call, &node, wanted).await;
        }
        if args.state != State::Query {
            node.await_build(call).await;
        }
        let mut report = Report::unchanged("", Output::default());
        carry_out(call, &node, &args, &mut report).await?;
        report.changed = !report.actions.is_empty();
        // What check mode did not do cannot be waited for.
        if let Some(wait) = args.wait.as_ref().filter(|_| !call.check) {
            act::wait_until(call, &node, &args, MAX_WAIT, |state| unmet_condition(state, wait)).await?.ok();
        }
        report.output.node = node.query_all(call).await?;
        report.warnings.extend(managed::warnings(&report.output.node, &args, report.changed));
        report.output.os_user = node.owner();
        let mut words = report.output.node.words();
        let lacks = args.wait.as_ref().filter(|_| call.check);
        if let Some(lacks) = lacks.and_then(|wait| unmet_condition(&report.output.node, wait)) {
            let _ = write!(words, "; would wait: {lacks}");
        }
        report.msg = match (report.changed, call.check) {
            (false, _) => words,
            (true, false) => format!("{}; now {words}", report.actions.join(", ")),
            (true, true) => format!("would {}; now {words}", report.actions.join(", ")),
        };
        if args.state == State::Query {
            report.output.identity = Some(node.identity());
            let diagnoses = args.diagnose && !report.output.node.is_healthy();
            if diagnoses || args.log_end {
                let log = node.log_position(call).await;
                if diagnoses {
                    report.output.diagnosis = Some(node.diagnose(call, &log).await);
                }
                report.output.log_end = Some(log).filter(|_| args.log_end);
            }
            if args.cm_view {
                match node.cm_view(call).await {
                    Ok(view) => report.output.cm = view,
                    Err(e) => report.warnings.push(format!("CM could not be asked: {e}")),
                }
            }
            if !args.log_records.is_empty() {
                read_log_records(&node, &args, &mut report.output).await?;
            }
            if args.log_lines > 0 {
                match node.log_tail(call, args.log_lines).await {
                    Ok(lines) => report.output.log_lines = Some(lines),
                    Err(e) => report.warnings.push(format!("the server's log was not read: {e}")),
                }
            }
            match fork::read(&node.data_dir) {
                Ok(forks) => report.output.forks = forks,
                Err(e) => report.warnings.push(e.to_string()),
            }
            let mut facts = serde_json::Map::new();
            if let Ok(value) = serde_json::to_value(&report.output.node) {
                facts.insert("og_node".to_owned(), value);
            }
            report.ansible_facts = Some(facts);
        }
        Ok(report)
    }
}

/// Puts the failover on record, unless it is the last one there.
async fn record_fork(call: &Call, node: &ServerNode, wanted: &Fork) -> Result<Report<Output>, Error> {
    if !wanted.record.begin.is_valid() || !wanted.record.end.is_valid() {
        let detail = "the record of the failover has no begin or no end such as 0/1001ABA8";
        return Err(Error::bad_args(detail).with_path("/fork/record"));
    }
    let path = node.data_dir.join(fork::FILE);
    let _lock = if call.check { None } else { Some(FileLock::acquire(&path, call).await?) };
    let known = fork::read(&node.data_dir)?.last().is_some_and(|last| last.is_same(wanted));
    let actions = if known {
        Vec::new()
    } else {
        if !call.check {
            let mut fork = wanted.clone();
            if fork.at.is_empty() {
                fork.at = clock::rfc3339(clock::now());
            }
            fork::add(&node.data_dir, fork)?;
        }
        vec![format!(
            "record that the log of {} is its own from {} on",
            wanted.new_primary, wanted.record.end
        )]
    };
    let output = Output { node: node.query(call).await?, ..Output::default() };
    Ok(Report::new(actions, output.node.words(), output))
}

/// Reads the records of the log that were asked for.
async fn read_log_records(node: &ServerNode, args: &Args, output: &mut Output) -> Result<(), Error> {
    let parse_lsn = |text: &String| {
        Lsn::parse(text)
            .ok_or_else(|| Error::bad_args(format!("{text:?} is no LSN")).with_path("/log_records"))
    };
    let lsns: Vec<Lsn> = args.log_records.iter().map(parse_lsn).collect::<Result<_, _>>()?;
    let (records, begin) = node.log_records(&lsns).await;
    output.log_records = Some(args.log_records.iter().cloned().zip(records).collect());
    output.log_begin = begin;
    Ok(())
}

/// Returns warnings about limits that a standby being started has lower than its primary.
fn lower_limit_warnings(steps: &[Step], low_limits: &[String]) -> Vec<String> {
    if !steps.iter().any(|step| matches!(step, Step::Start(Some(role)) if role.is_following())) {
        return Vec::new();
    }
    let told = |words: &String| {
        format!(
            "{words}: with less the server may not start as a standby, or stop; set it on the primary, or here with force"
        )
    };
    low_limits.iter().map(told).collect()
}

/// Adds what had been noticed before to the hint of the error.
fn add_noticed_hint(error: Error, noticed: &[String]) -> Error {
    let Some(first) = noticed.first() else { return error };
    let hint = error.failure().hint.clone().map_or_else(|| first.clone(), |hint| format!("{first}; {hint}"));
    error.hint(hint)
}

/// The call's own limit ends a wait; this only keeps the clock from running over.
const MAX_WAIT: Duration = Duration::from_secs(365 * 24 * 3600);

async fn inspect(call: &Call, node: &ServerNode, args: &Args) -> Result<Present, Error> {
    let opts = std::fs::read_to_string(node.data_dir.join("postmaster.opts")).unwrap_or_default();
    let mut present =
        Present { node: node.query(call).await?, started_as: role_of_opts(&opts), ..Present::default() };
    // A standby that has just been started does not stream for two seconds; a switchover can wait for that.
    if args.state == State::Primary && args.transition == Transition::Switchover && !args.force {
        let settling = |state: &NodeState| {
            let settles = state.running && state.role.is_following() && !state.is_healthy();
            settles.then(|| state.words())
        };
        let seen = act::wait_until(call, node, args, SETTLE_TIMEOUT, settling).await?;
        present.node = seen.unwrap_or_else(|state| state);
    }
    present.waits = args.state == State::Stopped && unattended::is_waiting(&node.data_dir);
    present.has_channel = node.channels().iter().any(|channel| channel.number == 1);
    if needs_peers(&present, args) {
        present.peers = node.peers().await;
        // After the peers: what they have received of this node's log meanwhile, it has itself.
        present.log = node.log_position(call).await;
        present.system_id = node.system_id();
    }
    if !present.node.running {
        let lost = |detail: &str| NodeState { detail: Some(detail.to_owned()), ..NodeState::default() };
        present.left_behind = node.state_file().is_some_and(|file| lost(file.detail).has_lost_its_primary());
    }
    if !present.node.running
        && let Some(primary) = node.control().and_then(|control| control.more)
    {
        let text = std::fs::read(node.data_dir.join("postgresql.conf")).unwrap_or_default();
        present.low_limits = primary.limits_below_primary(&ConfFile::parse(&text));
    }
    Ok(present)
}

/// Does what brings the server to the wanted state, and notes it in the report.
async fn carry_out(
    call: &Call,
    node: &ServerNode,
    args: &Args,
    report: &mut Report<Output>,
) -> Result<(), Error> {
    let unattended = args.unattended && args.state == State::Started && !call.check;
    let mut wait = if unattended { Some(unattended::UnattendedWait::begin(call, node).await?) } else { None };
    loop {
        let (mut present, mut steps) = match &mut wait {
            Some(wait) => wait.wait_until_ready(call, node, args).await?,
            None => inspect_and_plan(call, node, args).await?,
        };
        if steps.is_empty() || call.check {
            report.actions = steps.iter().map(|step| step.words()).collect();
            report.warnings = unclear_peer_warnings(&present, args, &steps);
            report.warnings.extend(managed::consequence(&present, &steps));
            report.warnings.extend(lower_limit_warnings(&steps, &present.low_limits));
            return Ok(());
        }
        let begun = async {
            let lock = NodeLock::acquire(&node.data_dir, call).await?;
            // Another module may have acted while we waited for the lock.
            Ok::<_, Error>((lock, inspect_and_plan(call, node, args).await?))
        };
        let lock = match (begun.await, &mut wait) {
            (Ok((lock, seen)), _) => {
                (present, steps) = seen;
                lock
            }
            (Err(e), Some(wait)) => {
                wait.continue_after(call, e).await?;
                continue;
            }
            (Err(e), None) => return Err(e),
        };
        if wait.as_ref().is_some_and(unattended::UnattendedWait::is_ended) {
            steps.clear();
        }
        let limit_warnings = lower_limit_warnings(&steps, &present.low_limits);
        report.warnings = unclear_peer_warnings(&present, args, &steps);
        report.warnings.extend(managed::consequence(&present, &steps));
        report.warnings.extend(limit_warnings.iter().cloned());
        for step in &steps {
            let done = act::step(call, node, args, &present, *step, &mut report.output).await;
            report.warnings.extend(done.map_err(|e| add_noticed_hint(e, &limit_warnings))?);
            call.record_action(step.words());
        }
        report.actions = call.recorded_actions();
        drop(lock);
        let is_primary = steps.iter().any(|step| matches!(step, Step::Start(Some(Role::Primary))));
        if wait.take().is_some() && is_primary {
            unattended::watch(call, node, args).await?;
        }
        return Ok(());
    }
}

async fn inspect_and_plan(
    call: &Call,
    node: &ServerNode,
    args: &Args,
) -> Result<(Present, Vec<Step>), Error> {
    let mut present = inspect(call, node, args).await?;
    let steps = managed::plan_by_means(call, node, args, &mut present).await?;
    Ok((present, steps))
}

/// How long a standby may take to stream after its start.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(8);
