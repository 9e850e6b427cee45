//! Has openGauss CM do a step, and looks at the server and at what CM says until it is seen to be done.

use std::cell::Cell;
use std::time::{Duration, Instant};

use og_common::gauss::cm_ctl::{CmAct, missing_cm_server, missing_role};
use og_common::gauss::cm_query::CmInstance;
use og_common::gauss::managed::Act;
use og_common::gauss::process::{Outcome, time_left};
use og_common::gauss::{NodeState, Role, ServerNode, StopMode};
use og_common::protocol::{Call, Error, ErrorKind, Reason};

use crate::act::{
    CM_REFUSED_GRACE_PERIOD, DEFAULT_STEP_TIMEOUT, Ending, Promotion, STOP_GRACE_PERIOD, is_accepting,
    promote, reason, wait_until,
};
use crate::args::Args;
use crate::plan::{Present, is_role};

/// How long cm_server may take to give a role to a server that has come up.
const ROLE_LIMIT: Duration = Duration::from_secs(60);
/// How long CM may take to see a server as it is.
const VIEW_LIMIT: Duration = Duration::from_secs(10);
/// Between two questions to CM, of which each takes most of a second.
const VIEW_INTERVAL: Duration = Duration::from_millis(300);
/// What cm_ctl is left of the call's time, less this, so that we can tell what became of the act.
const TIMEOUT_RESERVE: Duration = Duration::from_secs(2);

/// Has CM do the act. Returns what is to be looked at.
///
/// # Errors
/// `command_failed` or `timeout` when it is not seen to be done on the node; that CM does not see it yet is a warning.
pub async fn act(
    call: &Call,
    node: &ServerNode,
    args: &Args,
    present: &Present,
    act: CmAct,
) -> Result<Vec<String>, Error> {
    let before = node.managed_by(call, true).await.manual_start;
    let done = carry_out(call, node, args, present, act).await;
    // Of an error that came in the middle of the act the protocol says what was begun.
    if done.as_ref().is_err_and(|e| e.kind() != ErrorKind::Timeout) {
        let now = node.managed_by(call, true).await.manual_start;
        for file in now.iter().filter(|file| !before.contains(file)) {
            call.record_action(format!("have CM hold the server stopped ({file})"));
        }
        for file in before.iter().filter(|file| !now.contains(file)) {
            call.record_action(format!("have CM no longer hold the server stopped ({file})"));
        }
    }
    done
}

async fn carry_out(
    call: &Call,
    node: &ServerNode,
    args: &Args,
    present: &Present,
    act: CmAct,
) -> Result<Vec<String>, Error> {
    match act {
        CmAct::Stop(mode) => stop(call, node, present, mode).await,
        CmAct::Start => start(call, node, args, present).await,
        CmAct::Switchover => {
            promote(call, node, args, present, Promotion::CmSwitchover).await?;
            let primary = |seen: &CmInstance| seen.role == Some(Role::Primary);
            Ok(await_view(call, node, present, primary).await)
        }
    }
}

fn limit(call: &Call) -> Duration {
    time_left(call, DEFAULT_STEP_TIMEOUT).saturating_sub(TIMEOUT_RESERVE).max(Duration::from_secs(1))
}

async fn stop(
    call: &Call,
    node: &ServerNode,
    present: &Present,
    mode: StopMode,
) -> Result<Vec<String>, Error> {
    call.record_seen("CM stops the server");
    let ending = Ending::new(node);
    let outcome = node.cm_act(call, CmAct::Stop(mode), &present.cm_target, limit(call)).await?;
    if !ending.await_end(if outcome.rc == 0 { STOP_GRACE_PERIOD } else { CM_REFUSED_GRACE_PERIOD }).await {
        let held = node.managed_by(call, true).await.manual_start;
        let (mark, hint) = match held.first() {
            Some(file) => (
                format!(
                    "; CM has its mark in $GAUSSHOME/bin ({file}), by which the server goes down later and stays down"
                ),
                "; state: started takes the mark away",
            ),
            None => (String::new(), ""),
        };
        return Err(Error::command(
            format!("the server still runs{mark}: {}", outcome.last_words()),
            outcome.record(),
        )
        .hint(format!(
            "stop_mode: immediate ends a server that does not react, and its next start recovers{hint}"
        )));
    }
    if node.managed_by(call, true).await.manual_start.is_empty() {
        let detail = format!(
            "the server does not run, and CM does not hold it stopped (there is no instance_manual_start_{}), so it will \
             start it again: {}",
            present.cm_target.instance_id,
            outcome.last_words()
        );
        return Err(Error::command(detail, outcome.record()).hint("read the logs of cm_ctl and cm_agent"));
    }
    Ok(await_view(call, node, present, CmInstance::is_stopped_by_hand).await)
}

async fn start(call: &Call, node: &ServerNode, args: &Args, present: &Present) -> Result<Vec<String>, Error> {
    call.record_seen("CM starts the server");
    let log = node.watch_log();
    let outcome = node.cm_act(call, CmAct::Start, &present.cm_target, limit(call)).await?;
    // cm_ctl returns before the server has its role, may give up on one that recovers, and says that all is well of one
    // that dies at once. One that is not there may be between two tries of cm_agent.
    let begun = Instant::now();
    let patience = if outcome.rc == 0 { VIEW_LIMIT } else { CM_REFUSED_GRACE_PERIOD };
    let pending_since = Cell::new(None);
    let settles = |state: &NodeState| {
        let is_pending = state.role == Role::Pending;
        let waits = if !state.running {
            begun.elapsed() < patience
        } else if !is_accepting(state) {
            true
        } else {
            let since: Instant = pending_since.get().unwrap_or_else(Instant::now);
            pending_since.set(Some(since));
            is_pending && since.elapsed() < ROLE_LIMIT
        };
        waits.then(|| state.words())
    };
    let state =
        wait_until(call, node, args, DEFAULT_STEP_TIMEOUT, settles).await?.unwrap_or_else(|state| state);
    if !state.running {
        return Err(not_started(call, node, present, &outcome, &log.fatal_lines()).await);
    }
    if state.role == Role::Pending {
        let (detail, hint) = missing_role(node.query_cm(call).await.ok().as_ref());
        return Err(Error::new(
            ErrorKind::Timeout,
            format!("the server runs and waits for its role: {detail}"),
        )
        .with_command(outcome.record())
        .hint(hint));
    }
    if let Some(wanted) = args.role.map(Role::from).filter(|wanted| !is_role(state.role, *wanted)) {
        return Err(Error::command(
            format!("CM made the server {}, and not {wanted}", state.words()),
            outcome.record(),
        )
        .reason(Reason::WrongRole));
    }
    let role = state.role;
    Ok(await_view(call, node, present, |seen| seen.role == Some(role)).await)
}

/// Whether CM starts the server and gives it its role now.
///
/// # Errors
/// `refused` where CM, which was resumed meanwhile, holds the server stopped: it kills one that is started.
pub(crate) async fn is_in_charge(call: &Call, node: &ServerNode) -> Result<bool, Error> {
    let managed = node.managed_by(call, true).await;
    if managed.has_let_go() {
        return Ok(false);
    }
    if !managed.manual_start.is_empty() {
        managed.permit(Act::Start, &node.data_dir)?;
    }
    Ok(true)
}

/// Waits until CM, which was resumed in the middle of an act, has started the server and given it its role: a second server
/// would be started beside its own.
pub(crate) async fn await_start(
    call: &Call,
    node: &ServerNode,
    args: &Args,
    role: Option<Role>,
) -> Result<Vec<String>, Error> {
    let settles = |state: &NodeState| {
        let is_settled = state.running && is_accepting(state) && state.role != Role::Pending;
        (!is_settled).then(|| state.words())
    };
    match wait_until(call, node, args, ROLE_LIMIT, settles).await? {
        Ok(state) => match role.filter(|wanted| !is_role(state.role, *wanted)) {
            Some(wanted) => {
                let words = format!(
                    "CM was resumed meanwhile, and made the server {}, and not {wanted}",
                    state.words()
                );
                Err(Error::new(ErrorKind::CommandFailed, words).reason(Reason::WrongRole))
            }
            None => Ok(vec!["CM was resumed meanwhile, and started the server itself".to_owned()]),
        },
        Err(state) => {
            let (detail, hint) = missing_role(node.query_cm(call).await.ok().as_ref());
            let words = format!("CM was resumed meanwhile, and the server is {}: {detail}", state.words());
            Err(Error::new(ErrorKind::Timeout, words).hint(hint))
        }
    }
}

/// Why a server is not there after CM was told to start it: its own log, and what CM says of it.
async fn not_started(
    call: &Call,
    node: &ServerNode,
    present: &Present,
    outcome: &Outcome,
    fatal: &[String],
) -> Error {
    let view = node.query_cm(call).await.ok();
    let seen = view.as_ref().and_then(|view| view.instance(present.cm_target.instance_id));
    let said = seen.map(|seen| format!("; CM says of it: {}", seen.words())).unwrap_or_default();
    let why = reason("", fatal).unwrap_or_else(|| outcome.last_words());
    let error = Error::command(format!("the server did not start: {why}{said}"), outcome.record());
    if seen.is_some_and(CmInstance::is_disk_damaged) {
        return error.hint("its data directory was emptied or cannot be written: mount it, or make a new one (gs_initdb), which CM builds by itself");
    }
    error
        .hint("its first words are in $GAUSSLOG/cm/cm_agent/system_call-current.log, the rest in its own log")
}

/// Asks CM until it sees the server so. In vain: a warning, for the server itself is as it was to be.
async fn await_view(
    call: &Call,
    node: &ServerNode,
    present: &Present,
    as_wanted: impl Fn(&CmInstance) -> bool,
) -> Vec<String> {
    let end = Instant::now() + time_left(call, VIEW_LIMIT);
    loop {
        let view = match node.query_cm(call).await {
            Ok(view) => view,
            Err(e) => return vec![format!("it is not known what CM makes of it: {e}")],
        };
        let Some(seen) = view.instance(present.cm_target.instance_id) else {
            let (detail, _) = missing_cm_server(&view)
                .unwrap_or_else(|| ("it does not list the server".to_owned(), String::new()));
            return vec![format!("it is not known what CM makes of it: {detail}")];
        };
        if as_wanted(seen) {
            return Vec::new();
        }
        if Instant::now() >= end {
            return vec![format!("CM sees the server otherwise: {}", seen.words())];
        }
        tokio::time::sleep(VIEW_INTERVAL).await;
    }
}
