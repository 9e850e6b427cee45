//! Build this standby from its primary.

mod act;
mod args;
mod cause;
mod keep;
mod log;
mod managed;
mod names;
mod plan;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use og_common::files::NodeLock;
use og_common::files::free_space;
use og_common::gauss::ServerNode;
use og_common::gauss::disk::directory_size;
use og_common::gauss::managed::Means;
use og_common::gauss::source::Source;
use og_common::protocol::{ArgRule, Bytes, Call, Error, Example, Module, Report};

pub use args::{Args, BuildRole, Mode, Output, State, Status};
pub use plan::{Plan, Present, plan};

/// The module.
#[derive(Debug)]
pub struct Build;

impl Module for Build {
    const NAME: &'static str = "og_build";
    const ABOUT: &'static str = "Build this standby from its primary, where it needs it";
    const TIMEOUT: u64 = 0;
    const EXAMPLES: &'static [Example] = &[
        Example {
            title: "Make it stream, by whatever build that takes",
            args: r#"{"data_dir": "/gauss/data/dn1"}"#,
        },
        Example {
            title: "Build a new cascade standby",
            args: r#"{"data_dir": "/gauss/data/dn1", "mode": "full", "role": "cascade_standby"}"#,
        },
        Example {
            title: "Begin a build of 200 GiB and come back",
            args: r#"{"data_dir": "/gauss/data/dn1", "wait": false, "min_free": 214748364800}"#,
        },
        Example { title: "How far is it?", args: r#"{"data_dir": "/gauss/data/dn1", "state": "query"}"# },
    ];
    const RULES: &'static [ArgRule] = &[
        ArgRule::OnlyIf {
            key: "state",
            values: &["present"],
            allows: &["mode", "role", "force", "wait", "min_free", "stall_timeout"],
        },
        ArgRule::OnlyIf { key: "state", values: &["log_kept"], allows: &["keep_from"] },
    ];
    type Args = Args;
    type Output = Output;

    async fn run(call: &Call, args: Args) -> Result<Report<Output>, Error> {
        let node = ServerNode::from_call(call)?;
        match args.state {
            State::Query => return query(call, &node).await,
            State::LogKept => return keep::keep_log(call, &node, &args).await,
            State::Present => {}
        }
        node.await_build(call).await;
        let mut present = inspect(call, &node, &args).await?;
        let planned = plan(&present, &args);
        let mut plan = managed::plan_by_means(call, &node, &args, planned).await?;
        let mut output = Output::default();
        let mut actions = plan.as_ref().map(Plan::actions).unwrap_or_default();
        if plan.is_some() && !call.check {
            let _lock = NodeLock::acquire(&node.data_dir, call).await?;
            // Another module may have acted while we waited for the lock.
            present = inspect(call, &node, &args).await?;
            let planned = self::plan(&present, &args);
            plan = managed::plan_by_means(call, &node, &args, planned).await?;
            actions = match &plan {
                Some(plan) => build(call, &node, &args, (&present, plan), &mut output).await?,
                None => Vec::new(),
            };
        }
        output.node = node.query(call).await?;
        node.query_surroundings(call, &mut output.node).await;
        let msg = message(&output, plan.as_ref(), call.check);
        let unseen = output.node.tablespaces.as_ref().and_then(|found| found.warning(output.node.role));
        Ok(Report::new(actions, msg, output).with_warnings(unseen))
    }
}

/// Builds, with the node's name made its primary's before where it must be, and the tablespaces looked at afterwards.
/// Returns what was done.
async fn build(
    call: &Call,
    node: &ServerNode,
    args: &Args,
    (present, plan): (&Present, &Plan),
    output: &mut Output,
) -> Result<Vec<String>, Error> {
    let old = present.node_name.as_deref();
    let earlier = names::earlier_names(present.tablespaces.as_ref(), old);
    if let Some(name) = &plan.node_name {
        names::set_node_name(call, node, name).await?;
    }
    if let Err(error) = act::build(call, node, args, plan, output).await {
        if let Some(name) = &plan.node_name
            && let Err(e) = names::restore_node_name(call, node, old, name).await
        {
            let hint = error.failure().hint.clone().unwrap_or_default();
            return Err(error.hint(format!("{hint}; the node's earlier name could not be restored: {e}")));
        }
        return Err(error);
    }
    call.record_action(plan.describe());
    let mut actions = plan.actions();
    if output.build_status == Status::Completed {
        let full = output.mode_used == Some(og_common::gauss::BuildMode::Full);
        let source = present.source.node_name.as_deref();
        actions.extend(names::verify(call, node, full, &earlier, source).await?);
    }
    Ok(actions)
}

fn message(output: &Output, plan: Option<&Plan>, check: bool) -> String {
    let words = output.node.words();
    match (plan, check, output.build_status) {
        (None, ..) => format!("no build is needed: {words}"),
        (Some(plan), true, _) => format!("would {}; now {words}", plan.describe()),
        (Some(_), false, Status::Running) => "the build runs; follow it with state: query".to_owned(),
        (Some(plan), false, _) => {
            let how = match output.mode_used {
                Some(og_common::gauss::BuildMode::Incremental) => "incrementally",
                None if plan.means != Means::Own => {
                    "by CM, which does not say whether incrementally, in full or not at all,"
                }
                _ => "in full",
            };
            let seconds = output.duration_ms.unwrap_or(0) / 1000;
            format!("built {how} in {seconds} s ({} copied); {words}", output.bytes_copied)
        }
    }
}

/// How long a standby is given to find its primary again, before it is believed to need a build.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(8);

async fn inspect(call: &Call, node: &ServerNode, args: &Args) -> Result<Present, Error> {
    let mut state = node.query(call).await?;
    let end = Instant::now() + RECOVERY_TIMEOUT;
    while plan::may_recover(&state, args) && Instant::now() < end {
        call.record_seen(format!("it may yet find its primary: {}", state.words()));
        tokio::time::sleep(act::POLL_INTERVAL).await;
        state = node.query(call).await?;
    }
    let room = match args.min_free {
        Some(_) => Some(free_space(&node.data_dir)?.saturating_add(directory_size(&node.data_dir))),
        None => None,
    };
    let mut present = Present {
        node: state,
        system_id: node.system_id(),
        room,
        node_name: node.node_name(),
        tablespaces: node.tablespaces(call).await,
        ..Present::default()
    };
    // A node that streams needs nothing, and so nobody is asked. What it holds is looked at before its primary is.
    if !plan::needs_nothing(&present, args) {
        present.holds = node.log_position(call).await.lsn;
        present.peers = node.peers().await;
        present.source = match plan::choose_source(&present.peers) {
            Ok((peer, _)) => node.ask_source(&peer.channel).await,
            // The plan tells that there is none.
            Err(_) => Source::default(),
        };
    }
    Ok(present)
}

/// Tells how the last build stands.
async fn query(call: &Call, node: &ServerNode) -> Result<Report<Output>, Error> {
    let mut state = node.query(call).await?;
    node.query_surroundings(call, &mut state).await;
    let path = log::path(&node.data_dir);
    let text = log::read_tail(&path);
    let build_status = match &state.build {
        Some(build) if build.running => Status::Running,
        Some(_) => Status::Failed,
        None => match log::status(&text) {
            // A gs_ctl that cannot reach the primary stops the server and has no words for its own end.
            Status::None if !text.trim().is_empty() && !state.is_healthy() => Status::Failed,
            status => status,
        },
    };
    let bytes_copied = state.build.as_ref().map_or(Bytes::ZERO, |b| Bytes::new(b.done_kb * 1024));
    let msg = match build_status {
        Status::Running => format!("a build runs, {bytes_copied} copied"),
        Status::Failed => format!("the last build failed; {}", state.words()),
        Status::Completed => format!("the last build was completed; {}", state.words()),
        Status::None => format!("no build is known of; {}", state.words()),
    };
    let unseen = state.tablespaces.as_ref().and_then(|found| found.warning(state.role));
    let output = Output {
        log_copy: None,
        build_status,
        mode_used: log::mode_used(&text).filter(|_| build_status == Status::Completed),
        bytes_copied,
        duration_ms: None,
        data_bytes: Some(directory_size(&node.data_dir)),
        log_file: path.exists().then(|| path.display().to_string()),
        last_words: log::last_words(&text, 5),
        node: state,
    };
    Ok(Report::unchanged(msg, output).with_warnings(unseen))
}
