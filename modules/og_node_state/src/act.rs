//! Does the steps, each until it is seen to be done.

use std::time::{Duration, Instant};

use og_common::gauss::postmaster_pid::PostmasterPid;
use og_common::gauss::process::time_left;
use og_common::gauss::{DbState, Node, NodeState, Reload, Role, StopMode};
use og_common::protocol::{Call, Error, ErrorKind, secret};

use crate::args::{Args, Output};
use crate::plan::Step;

/// For steps of a call that has no limit.
const LONG: Duration = Duration::from_secs(24 * 3600);
/// How long a server may take to end that gs_ctl has stopped, or could not stop.
const AFTER_GS_CTL: Duration = Duration::from_secs(10);
/// Between two looks at a server that stops.
const STOP_INTERVAL: Duration = Duration::from_millis(10);
/// How long a server that has been promoted may take to say so, after gs_ctl has ended.
const AFTERWARDS: Duration = Duration::from_secs(60);

/// Does one step.
pub async fn step(
    call: &Call,
    node: &Node,
    args: &Args,
    step: Step,
    output: &mut Output,
) -> Result<Vec<String>, Error> {
    match step {
        Step::Start(role) => start(call, node, args, role).await,
        Step::Stop => stop(call, node, args).await.map(|()| Vec::new()),
        Step::Reload => reload(call, node, output).await,
        Step::Switchover => promote(call, node, args, false).await.map(|()| Vec::new()),
        Step::Failover => promote(call, node, args, true).await.map(|()| Vec::new()),
        Step::Notify(role) => notify(call, node, args, role).await.map(|()| Vec::new()),
    }
}

/// Looks until `done` says so. In vain for `patience`: what was seen last.
pub async fn until(
    call: &Call,
    node: &Node,
    args: &Args,
    patience: Duration,
    done: impl Fn(&NodeState) -> Option<String>,
) -> Result<Result<NodeState, NodeState>, Error> {
    let end = Instant::now() + patience;
    loop {
        let state = node.query(call).await?;
        let Some(missing) = done(&state) else { return Ok(Ok(state)) };
        call.saw(missing);
        if Instant::now() >= end {
            return Ok(Err(state));
        }
        tokio::time::sleep(Duration::from_millis(args.interval_ms)).await;
    }
}

async fn start(call: &Call, node: &Node, args: &Args, role: Option<Role>) -> Result<Vec<String>, Error> {
    call.saw("the server is being started");
    let outcome = node.ctl_start(call, role, time_left(call, LONG)).await?;
    // Starting may go on after gs_ctl has given up; and gs_ctl says that all is well when it did nothing.
    let up =
        until(call, node, args, LONG, |state| (state.running && !up(state)).then(|| state.words())).await?;
    let state = up.unwrap_or_else(|state| state);
    if !state.running {
        let reason = reason(&std::fs::read(node.start_log()).unwrap_or_default());
        let reason = reason.unwrap_or_else(|| outcome.last_words());
        return Err(Error::command(format!("the server did not start: {reason}"), outcome.record())
            .hint(format!("its first words are in {}, the rest in its log", node.start_log().display())));
    }
    let mut warnings = Vec::new();
    if !state.answered {
        let why = state.detail.as_deref().unwrap_or_default().lines().next().unwrap_or_default();
        warnings.push(format!(
            "the server runs, but does not let gs_ctl in: {why}; are its own addresses in its pg_hba.conf?"
        ));
    }
    let single = [Role::Primary, Role::Normal];
    match role {
        Some(role) if role != state.role && !(single.contains(&role) && single.contains(&state.role)) => {
            Err(Error::command(
                format!("the server was started as {role} and is {}", state.words()),
                outcome.record(),
            ))
        }
        _ => Ok(warnings),
    }
}

/// Whether it accepts connections, from some at least.
fn up(state: &NodeState) -> bool {
    let detail = state.detail.as_deref().unwrap_or_default();
    if state.answered {
        return state.db_state != DbState::Starting;
    }
    detail.contains("pg_hba.conf entry") || detail.contains("Forbid remote connection")
}

/// The server's reasons for not starting: its last complaints, else its last line.
fn reason(log: &[u8]) -> Option<String> {
    const COMPLAINTS: [&str; 4] = ["FATAL:", "PANIC:", "ERROR:", "Uncompleted build"];
    /// Lines of a lower level that tell the reason of a FATAL one which does not.
    const CLUES: [&str; 4] = ["unrecognized", "invalid", "syntax error", "could not"];
    let log = String::from_utf8_lossy(log);
    let lines: Vec<_> = log.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let complaint = |line: &str| {
        let level = COMPLAINTS.iter().filter_map(|word| line.find(word)).min();
        let clue = || CLUES.iter().any(|word| line.contains(word)).then(|| line.find("LOG:").unwrap_or(0));
        level.or_else(clue).map(|at| secret::words(&line[at..]).into_owned())
    };
    let mut said: Vec<_> = lines.iter().rev().filter_map(|l| complaint(l)).take(3).collect();
    said.reverse();
    said.dedup();
    if said.is_empty() { lines.last().map(|l| secret::words(l).into_owned()) } else { Some(said.join("; ")) }
}

async fn stop(call: &Call, node: &Node, args: &Args) -> Result<(), Error> {
    call.saw("the server is being stopped");
    let server = PostmasterPid::read(&node.data_dir);
    let limit = time_left(call, LONG).saturating_sub(Duration::from_secs(2)).max(Duration::from_secs(1));
    let outcome = node.ctl_stop(call, args.stop_mode, limit).await?;
    // The process lives on for a moment when its pid file is gone, and gs_ctl kills without waiting.
    let told = args.stop_mode == StopMode::Fast && outcome.rc == 0;
    let end = Instant::now() + if told { limit } else { AFTER_GS_CTL };
    let lives = || server.as_ref().is_some_and(|s| s.alive(&node.data_dir)) || node.running().is_some();
    while lives() {
        if Instant::now() >= end {
            return Err(Error::command(
                format!("the server still runs: {}", outcome.last_words()),
                outcome.record(),
            )
            .hint("stop_mode: immediate ends a server that does not react; its next start recovers"));
        }
        tokio::time::sleep(STOP_INTERVAL).await;
    }
    Ok(())
}

async fn reload(call: &Call, node: &Node, output: &mut Output) -> Result<Vec<String>, Error> {
    let (reload, log) = node.reload_with_words(call).await?;
    output.log = log;
    match reload {
        Reload::Taken => {
            output.reloaded = Some(true);
            Ok(Vec::new())
        }
        Reload::NotRunning => Err(Error::not_found("the server ended before it could be reloaded")),
        Reload::Refused(words) => Err(Error::new(
            ErrorKind::CommandFailed,
            format!("the server refused its files: {}", words.join("; ")),
        )
        .hint("the old configuration is in force, but the next start would fail; correct the file")),
        Reload::Unseen(why) => {
            Ok(vec![format!("the server was told to reload, but whether it did is not known: {why}")])
        }
    }
}

async fn promote(call: &Call, node: &Node, args: &Args, failover: bool) -> Result<(), Error> {
    let what = if failover { "failover" } else { "switchover" };
    call.saw(format!("the {what} runs"));
    // gs_ctl's own limit ends before ours, so that we can tell what became of it.
    let limit = time_left(call, Duration::from_secs(120))
        .saturating_sub(Duration::from_secs(10))
        .max(Duration::from_secs(5));
    let outcome = node.ctl_promote(call, failover, limit).await?;
    let patience = if outcome.last_words().contains("timeout") { Duration::from_secs(3) } else { AFTERWARDS };
    let primary = |state: &NodeState| {
        let done = state.role == Role::Primary && state.db_state == DbState::Normal;
        (state.running && !done).then(|| state.words())
    };
    match until(call, node, args, patience, primary).await? {
        Ok(state) if state.running => Ok(()),
        Ok(state) | Err(state) => Err(Error::command(
            format!(
                "the {what} did not make this node primary: it is {}; {}",
                state.words(),
                outcome.last_words()
            ),
            outcome.record(),
        )
        .hint("look at the old primary, too: og_node_state with state query there")),
    }
}

async fn notify(call: &Call, node: &Node, args: &Args, role: Role) -> Result<(), Error> {
    let outcome = node.ctl_notify(call, role).await?;
    let told =
        until(call, node, args, Duration::from_secs(30), |state| (state.role != role).then(|| state.words()))
            .await?;
    match told {
        Ok(_) => Ok(()),
        Err(state) => {
            Err(Error::command(format!("the server is {}, not {role}", state.words()), outcome.record()))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_reason_is_the_servers_last_fatal_line() {
        let log = b"x LOG:  a\nx FATAL:  could not load pg_hba.conf\nx LOG:  b\n";
        assert_eq!(reason(log).unwrap(), "FATAL:  could not load pg_hba.conf");
        assert_eq!(reason(b"a\nb\n\n").unwrap(), "b");
        assert_eq!(reason(b""), None);
    }

    #[test]
    fn a_standby_in_need_of_repair_is_up() {
        let state = NodeState {
            running: true,
            answered: true,
            db_state: DbState::NeedRepair,
            ..NodeState::default()
        };
        assert!(up(&state));
        assert!(!up(&NodeState { db_state: DbState::Starting, ..state.clone() }));
        assert!(!up(&NodeState { answered: false, ..state }));
    }
}
