//! Does the steps, each until it is seen to be done.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use og_common::files::free_space;
use og_common::gauss::cm_ctl::CmAct;
use og_common::gauss::postmaster_pid::{PostmasterPid, is_ending, is_frozen};
use og_common::gauss::process::Outcome;
use og_common::gauss::process::time_left;
use og_common::gauss::server_log::{ServerLog, is_out_of_room, last_complaints};
use og_common::gauss::{
    DbState, Endpoint, NodeState, ReloadOutcome, Role, ServerNode, StateFile, StopMode, unseen_reload_warning,
};
use og_common::protocol::{Bytes, Call, CommandRecord, Error, ErrorKind, Reason, secret};

use crate::args::{Args, Output, StartRole};
use crate::cm;
use crate::plan::{Present, Step, is_role};
use crate::unattended;

/// For steps of a call that has no limit.
pub(crate) const DEFAULT_STEP_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// How long a server may take to end that gs_ctl has stopped, or could not stop.
pub(crate) const STOP_GRACE_PERIOD: Duration = Duration::from_secs(10);
/// The poll interval while a server stops.
const STOP_INTERVAL: Duration = Duration::from_millis(10);
/// How long a server that has been promoted may take to say so, after gs_ctl has ended.
const PROMOTION_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a server may take to do all the same what cm_ctl has said that it does not.
pub(crate) const CM_REFUSED_GRACE_PERIOD: Duration = Duration::from_secs(3);
/// How long another node must have been this standby's upstream for it to be clear that this one was not promoted.
const OVERTAKEN_PERIOD: Duration = Duration::from_secs(2);
/// How long gs_ctl may wait for a frozen server to end before it kills it.
const FROZEN_STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Does one step. A call that ends in the middle of it says what goes on.
pub async fn step(
    call: &Call,
    node: &ServerNode,
    args: &Args,
    present: &Present,
    step: Step,
    output: &mut Output,
) -> Result<Vec<String>, Error> {
    if matches!(step, Step::Start(_)) {
        let path = node.data_dir.join("gaussdb.state");
        if StateFile::remove_empty(&node.data_dir).map_err(|e| Error::io("remove", &path, &e))? {
            call.record_action("remove the empty gaussdb.state");
        }
    }
    if let Some(goes_on) = step.goes_on() {
        // Before this nothing is begun, and it may take its time.
        node.env(call).await?;
        call.record_begun(step.words(), goes_on);
    }
    let done = match step {
        Step::Start(role) => start(call, node, args, role).await,
        Step::Stop => stop(call, node, args).await.map(|()| Vec::new()),
        Step::EndWait => unattended::end_wait(&node.data_dir).map(|()| Vec::new()),
        Step::Reload => reload(call, node, output).await,
        Step::Switchover => {
            promote(call, node, args, present, Promotion::Switchover).await.map(|()| Vec::new())
        }
        Step::Failover => promote(call, node, args, present, Promotion::Failover).await.map(|()| Vec::new()),
        Step::Notify(role) => notify(call, node, args, role).await.map(|()| Vec::new()),
        Step::Cm(act) => cm::act(call, node, args, present, act).await,
    };
    // Of an error that came in its middle the protocol says what was begun.
    if done.as_ref().is_err_and(|e| e.kind() != ErrorKind::Timeout) {
        call.clear_begun();
    }
    done
}

/// Polls the node until `done` returns `None`; after `patience`, `Err` with the last state.
pub async fn wait_until(
    call: &Call,
    node: &ServerNode,
    args: &Args,
    patience: Duration,
    done: impl Fn(&NodeState) -> Option<String>,
) -> Result<Result<NodeState, NodeState>, Error> {
    let end = Instant::now() + patience;
    let mut answered = Instant::now();
    loop {
        let state = node.query(call).await?;
        if state.answered || !state.running {
            answered = Instant::now();
        }
        let Some(missing) = done(&state) else { return Ok(Ok(state)) };
        call.record_seen(last_seen(&state, missing, answered.elapsed()));
        if Instant::now() >= end {
            return Ok(Err(state));
        }
        tokio::time::sleep(Duration::from_millis(args.interval_ms)).await;
    }
}

/// What a wait last saw: of a server that keeps silent, for how long.
fn last_seen(state: &NodeState, missing: String, silent: Duration) -> String {
    let seconds = silent.as_secs();
    if state.frozen {
        let why = state.detail.as_deref().unwrap_or_default();
        return format!("does not answer for {seconds} s; {why}");
    }
    if seconds == 0 { missing } else { format!("{missing}; does not answer for {seconds} s") }
}

async fn start(
    call: &Call,
    node: &ServerNode,
    args: &Args,
    role: Option<Role>,
) -> Result<Vec<String>, Error> {
    // It was not when this was planned.
    if cm::is_in_charge(call, node).await? {
        return cm::await_start(call, node, args, role).await;
    }
    call.record_seen("the server is being started");
    let log = node.watch_log();
    let outcome = node.ctl_start(call, role, time_left(call, DEFAULT_STEP_TIMEOUT)).await?;
    // Starting may go on after gs_ctl has given up; and gs_ctl says that all is well when it did nothing.
    let starting = |state: &NodeState| (state.running && !is_accepting(state)).then(|| state.words());
    let seen = wait_until(call, node, args, DEFAULT_STEP_TIMEOUT, starting).await?;
    let state = seen.unwrap_or_else(|state| state);
    if !state.running {
        return Err(not_started(node, &outcome, &log));
    }
    let mut warnings = Vec::new();
    if !state.answered {
        let why = state.detail.as_deref().unwrap_or_default().lines().next().unwrap_or_default();
        let hint = if is_shut_out(&state) { "; are its own addresses in its pg_hba.conf?" } else { "" };
        warnings.push(format!("the server runs, but does not let gs_ctl in: {why}{hint}"));
    }
    let wrong = |wanted: Role| {
        Error::command(
            format!("the server was started as {wanted} and is {}", state.words()),
            outcome.record(),
        )
        .reason(Reason::WrongRole)
    };
    match role {
        Some(_) if state.role == Role::Pending && cm::is_in_charge(call, node).await? => {
            cm::await_start(call, node, args, role).await
        }
        Some(role) if !is_role(state.role, role) => Err(wrong(role)),
        // It would be no single node, whoever asked for one.
        _ if args.role == Some(StartRole::Normal) && state.role != Role::Normal => Err(wrong(Role::Normal)),
        _ => Ok(warnings),
    }
}

/// Why a server is not there after it was started: what it said before its logger ran stands in the start log, the rest
/// in its own.
fn not_started(node: &ServerNode, outcome: &Outcome, log: &ServerLog) -> Error {
    let first = std::fs::read(node.start_log()).unwrap_or_default();
    let first = String::from_utf8_lossy(&first);
    let fatal = log.fatal_lines();
    let full = [&*first, outcome.stdout.as_str(), outcome.stderr.as_str()].into_iter().any(is_out_of_room)
        || fatal.iter().any(|line| is_out_of_room(line));
    let reason = reason(&first, &fatal).unwrap_or_else(|| outcome.last_words());
    let free = free_space(&node.data_dir).ok();
    start_error(&node.start_log().display().to_string(), &reason, (full, free), outcome.record())
}

/// The server's reason for not starting. A panic stands in its log alone; `first`, its words before its logger ran, tell of
/// what it finds in its files; a FATAL line of its log may be of another thread that could not go on, and comes last.
pub(crate) fn reason(first: &str, fatal: &[String]) -> Option<String> {
    let panic = || fatal.iter().rfind(|line| line.starts_with("PANIC")).cloned();
    let last_line = || first.lines().map(str::trim).rfind(|line| !line.is_empty());
    panic()
        .or_else(|| last_complaints(first))
        .or_else(|| fatal.last().cloned())
        .or_else(|| last_line().map(|line| secret::mask_line(line).into_owned()))
}

/// Less than this, and a server cannot even write its own files.
const DISK_FULL_BELOW: Bytes = Bytes::new(64 * 1024);

/// `(full, free)`: whether anybody said that the disk is full, and what is left there.
fn start_error(log: &str, reason: &str, (full, free): (bool, Option<Bytes>), record: CommandRecord) -> Error {
    if full || free.is_some_and(|free| free < DISK_FULL_BELOW) {
        let left = free.map_or_else(String::new, |free| format!(" ({free} left)"));
        return Error::command(
            format!("the server did not start, for its disk is full{left}: {reason}"),
            record,
        )
        .reason(Reason::DiskFull)
        .hint("make room on the file systems of data_dir, its tablespaces and its log, then start it again");
    }
    Error::command(format!("the server did not start: {reason}"), record)
        .hint(format!("its first words are in {log}, the rest in its log"))
}

/// Whether it accepts connections, from some at least.
pub(crate) fn is_accepting(state: &NodeState) -> bool {
    if state.answered {
        return state.db_state != DbState::Starting;
    }
    // Before it listens, gaussdb.state may be that of the last run.
    let detail = state.detail.as_deref().unwrap_or_default();
    let silent = ["Connection refused", "No such file or directory", "timeout expired"];
    let written = !matches!(state.db_state, DbState::Starting | DbState::Unknown);
    !state.frozen && (is_shut_out(state) || (written && !silent.iter().any(|words| detail.contains(words))))
}

/// Whether the server did not let gs_ctl in for what its pg_hba.conf says. From 5.0 on it closes such a connection
/// without a word.
fn is_shut_out(state: &NodeState) -> bool {
    const WORDS: [&str; 4] = [
        "pg_hba.conf entry",
        "Forbid remote connection",
        "could not receive data from server",
        "server closed the connection",
    ];
    let detail = state.detail.as_deref().unwrap_or_default();
    let closed = !matches!(state.db_state, DbState::Starting | DbState::Unknown);
    WORDS[..2].iter().any(|words| detail.contains(words))
        || (closed && WORDS[2..].iter().any(|words| detail.contains(words)))
}

/// Stops the server.
pub(crate) async fn stop(call: &Call, node: &ServerNode, args: &Args) -> Result<(), Error> {
    call.record_seen("the server is being stopped");
    let ending = Ending::new(node);
    let mut limit = time_left(call, DEFAULT_STEP_TIMEOUT)
        .saturating_sub(Duration::from_secs(2))
        .max(Duration::from_secs(1));
    if ending.server.as_ref().is_some_and(|server| is_frozen(server.pid)) {
        limit = limit.min(FROZEN_STOP_TIMEOUT);
    }
    let outcome = node.ctl_stop(call, args.stop_mode, limit).await?;
    // gs_ctl kills without waiting.
    let is_told = args.stop_mode == StopMode::Fast && outcome.rc == 0;
    if ending.await_end(if is_told { limit } else { STOP_GRACE_PERIOD }).await {
        return Ok(());
    }
    Err(Error::command(format!("the server still runs: {}", outcome.last_words()), outcome.record())
        .hint("stop_mode: immediate ends a server that does not react; its next start recovers"))
}

/// A server that is told to end: its process lives on for a moment when its pid file is gone.
pub(crate) struct Ending<'a> {
    node: &'a ServerNode,
    server: Option<PostmasterPid>,
}

impl<'a> Ending<'a> {
    /// The server that runs now.
    pub(crate) fn new(node: &'a ServerNode) -> Self {
        Self { node, server: PostmasterPid::read(&node.data_dir) }
    }

    /// Waits until no server runs, and returns whether that is so within the limit. A server whose main thread has ended only
    /// releases its memory, which may take longer: the timeout of the call alone ends that wait.
    pub(crate) async fn await_end(&self, limit: Duration) -> bool {
        let dir = &self.node.data_dir;
        let lives =
            || self.server.as_ref().is_some_and(|s| s.is_alive(dir)) || self.node.running_pid().is_some();
        let end = Instant::now() + limit;
        while lives() {
            let is_ending = || self.server.as_ref().is_some_and(|server| is_ending(server.pid));
            if Instant::now() >= end && !is_ending() {
                return false;
            }
            tokio::time::sleep(STOP_INTERVAL).await;
        }
        true
    }
}

async fn reload(call: &Call, node: &ServerNode, output: &mut Output) -> Result<Vec<String>, Error> {
    let (reload, log) = node.reload_with_words(call).await?;
    output.log = log;
    match reload {
        ReloadOutcome::Taken => {
            output.reloaded = Some(true);
            Ok(Vec::new())
        }
        ReloadOutcome::NotRunning => Err(Error::not_found("the server ended before it could be reloaded")),
        ReloadOutcome::Refused(words) => Err(Error::new(
            ErrorKind::CommandFailed,
            format!("the server refused its files: {}", words.join("; ")),
        )
        .hint("the old configuration is in force, but the next start would fail; correct the file")),
        ReloadOutcome::Unseen(why) => Ok(vec![unseen_reload_warning(&why)]),
    }
}

/// By what a standby is made primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promotion {
    /// `gs_ctl switchover`.
    Switchover,
    /// `gs_ctl failover`.
    Failover,
    /// `cm_ctl switchover`.
    CmSwitchover,
}

impl Promotion {
    async fn run(
        self,
        call: &Call,
        node: &ServerNode,
        present: &Present,
        limit: Duration,
    ) -> Result<Outcome, Error> {
        match self {
            Self::Switchover => node.ctl_promote(call, false, limit).await,
            Self::Failover => node.ctl_promote(call, true, limit).await,
            Self::CmSwitchover => node.cm_act(call, CmAct::Switchover, &present.cm_target, limit).await,
        }
    }
}

/// Makes the node primary, and waits until it is seen to be.
///
/// # Errors
/// `command_failed` or `timeout` when it is not.
pub(crate) async fn promote(
    call: &Call,
    node: &ServerNode,
    args: &Args,
    present: &Present,
    promotion: Promotion,
) -> Result<(), Error> {
    let failover = promotion == Promotion::Failover;
    let what = if failover { "failover" } else { "switchover" };
    call.record_seen(format!("the {what} runs"));
    // gs_ctl's own limit ends before ours, so that we can tell what became of it.
    let limit = time_left(call, Duration::from_secs(120))
        .saturating_sub(Duration::from_secs(10))
        .max(Duration::from_secs(5));
    let end = Instant::now() + limit;
    let before = upstream(&present.node).filter(|_| !failover);
    let outcome = tokio::select! {
        outcome = promotion.run(call, node, present, limit) => outcome?,
        // A gs_ctl that does not come back is none to wait for.
        other = wait_until_overtaken(call, node, args, before.clone()) => {
            return Err(overtaken_error(&other, promotion));
        }
    };
    let late = outcome.timed_out || outcome.last_words().contains("timeout");
    let patience = match (failover, late) {
        // The server was told, no more.
        (false, false) if outcome.rc == 0 => end.saturating_duration_since(Instant::now()),
        (_, true) => Duration::from_secs(3),
        // cm_ctl says so at once when cm_server does not take the order.
        _ if promotion == Promotion::CmSwitchover && outcome.rc != 0 => CM_REFUSED_GRACE_PERIOD.min(limit),
        _ => PROMOTION_TIMEOUT.min(limit),
    };
    let settled = Settled::default();
    let lost = RefCell::new(None);
    let primary = |state: &NodeState| {
        let other = before.as_ref().and_then(|before| settled.other_primary(state, before));
        if other.is_some() {
            *lost.borrow_mut() = other.map(|other| (state.clone(), other));
            return None;
        }
        let done = state.role == Role::Primary && state.db_state == DbState::Normal;
        (state.running && !done).then(|| state.words())
    };
    let seen = wait_until(call, node, args, patience, primary).await?;
    if let Some(other) = lost.into_inner() {
        return Err(overtaken_error(&other, promotion));
    }
    let state = match seen {
        Ok(state) if state.running => return Ok(()),
        Ok(state) | Err(state) => state,
    };
    let words = format!(
        "the {what} did not make this node primary: it is {}; {}",
        state.words(),
        outcome.last_words()
    );
    // The server was told, and gs_ctl's end calls nothing back.
    let told = outcome.rc == 0 || late;
    let kind = if told && state.running { ErrorKind::Timeout } else { ErrorKind::CommandFailed };
    Err(Error::new(kind, words)
        .with_command(outcome.record())
        .hint("inspect the old primary, too: og_node_state with state query there"))
}

/// Returns the error that another node has become primary in place of this one, which is a standby of it.
fn overtaken_error((state, primary): &(NodeState, Endpoint), promotion: Promotion) -> Error {
    let hint = match promotion {
        Promotion::CmSwitchover => {
            "openGauss CM gave the role to another server, as it does when a primary fails: inspect the cluster (cm_ctl query -Cvidp) \
             before you call again"
        }
        Promotion::Switchover | Promotion::Failover => {
            "somebody else switched over at the same time: agree on one primary, then call again"
        }
    };
    Error::new(
        ErrorKind::CommandFailed,
        format!(
            "the switchover did not make this node primary: {}:{} became primary meanwhile, and this node is {}",
            primary.host,
            primary.port,
            state.words()
        ),
    )
    .reason(Reason::Overtaken)
    .hint(hint)
}

/// Where a standby receives from.
fn upstream(state: &NodeState) -> Option<Endpoint> {
    state.receiver.as_ref()?.peer.clone()
}

/// Ends when this node has settled down as a standby of another primary than `before`: gs_ctl would go on waiting for a
/// promotion that does not come. Without `before` it never ends.
async fn wait_until_overtaken(
    call: &Call,
    node: &ServerNode,
    args: &Args,
    before: Option<Endpoint>,
) -> (NodeState, Endpoint) {
    let Some(before) = before else { return std::future::pending().await };
    let settled = Settled::default();
    loop {
        tokio::time::sleep(Duration::from_millis(args.interval_ms)).await;
        // In the middle of a switchover gs_ctl may have nothing to tell.
        let Ok(state) = node.query(call).await else { continue };
        if let Some(other) = settled.other_primary(&state, &before) {
            return (state, other);
        }
    }
}

/// Since when a standby has followed another primary.
#[derive(Default)]
struct Settled(Cell<Option<Instant>>);

impl Settled {
    /// The other primary, when the standby has followed it for long enough.
    fn other_primary(&self, state: &NodeState, before: &Endpoint) -> Option<Endpoint> {
        let other = upstream(state)
            .filter(|other| state.is_healthy() && state.role.is_following() && other != before);
        if other.is_none() {
            self.0.set(None);
            return None;
        }
        let since = self.0.get().unwrap_or_else(Instant::now);
        self.0.set(Some(since));
        other.filter(|_| since.elapsed() >= OVERTAKEN_PERIOD)
    }
}

async fn notify(call: &Call, node: &ServerNode, args: &Args, role: Role) -> Result<(), Error> {
    let outcome = node.ctl_notify(call, role).await?;
    let changing = |state: &NodeState| (state.role != role).then(|| state.words());
    let told = wait_until(call, node, args, Duration::from_secs(30), changing).await?;
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
        let first = "x LOG:  a\nx FATAL:  could not load pg_hba.conf\nx LOG:  b\n";
        let fatal = ["FATAL:  could not write to audit index file".to_owned()];
        let panic = [
            fatal[0].clone(),
            "PANIC:  could not write: No space left on device".to_owned(),
            fatal[0].clone(),
        ];
        assert_eq!(reason(first, &[]).unwrap(), "FATAL:  could not load pg_hba.conf");
        assert_eq!(reason(first, &fatal).unwrap(), "FATAL:  could not load pg_hba.conf");
        assert_eq!(reason(first, &panic).unwrap(), panic[1]);
        assert_eq!(reason("a\n", &fatal).unwrap(), fatal[0]);
        assert_eq!(reason("a\nb\n\n", &[]).unwrap(), "b");
        assert_eq!(reason("", &[]), None);
    }

    #[test]
    fn a_full_disk_is_told_as_that_and_only_then() {
        let error =
            |full, free| start_error("/d/og_start.log", "FATAL:  x", (full, free), CommandRecord::default());
        for (full, free) in [(true, Some(Bytes::new(5 << 30))), (false, Some(Bytes::new(4096))), (true, None)]
        {
            let failure = error(full, free).failure().clone();
            assert_eq!(failure.reason, Some(Reason::DiskFull), "{full} {free:?}");
            assert!(failure.hint.unwrap().starts_with("make room"));
        }
        let other = error(false, Some(Bytes::new(1 << 30))).failure().clone();
        assert_eq!((other.reason, other.detail.as_str()), (None, "the server did not start: FATAL:  x"));
    }

    #[tokio::test]
    async fn a_server_whose_last_threads_end_is_waited_for_beyond_the_limit() {
        let home = tempfile::tempdir().unwrap();
        // `exit` of the kernel ends the calling thread alone; another one waits for the end of the input.
        let script = "import ctypes, platform, sys, threading\n\
            threading.Thread(target=sys.stdin.read).start()\n\
            ctypes.CDLL(None).syscall({'x86_64': 60}.get(platform.machine(), 93), 0)";
        let started = std::process::Command::new("python3")
            .args(["-c", script])
            .current_dir(home.path())
            .stdin(std::process::Stdio::piped())
            .spawn();
        let Ok(mut child) = started else {
            println!("skipped: no python3");
            return;
        };
        std::fs::write(home.path().join("postmaster.pid"), child.id().to_string()).unwrap();
        while !is_ending(child.id()) {
            assert!(child.try_wait().unwrap().is_none(), "python3 cannot end its main thread alone");
            std::thread::yield_now();
        }
        let node = ServerNode::new(home.path());
        let ending = Ending::new(&node);
        let (has_ended, ()) =
            tokio::join!(ending.await_end(Duration::ZERO), async { drop(child.stdin.take()) });
        assert!(has_ended);
        child.wait().unwrap();
    }

    #[test]
    fn a_silent_server_is_named_with_the_time_it_kept_silent() {
        let eight = Duration::from_secs(8);
        let frozen = NodeState {
            running: true,
            frozen: true,
            detail: Some("process 77 is stopped (T)".to_owned()),
            ..NodeState::default()
        };
        let seen = last_seen(&frozen, "not yet primary".to_owned(), eight);
        assert_eq!(seen, "does not answer for 8 s; process 77 is stopped (T)");
        let seen = |silent| last_seen(&NodeState::default(), "not yet primary".to_owned(), silent);
        assert_eq!(seen(Duration::ZERO), "not yet primary");
        assert_eq!(seen(eight), "not yet primary; does not answer for 8 s");
    }

    #[test]
    fn a_standby_in_need_of_repair_is_up() {
        let state = NodeState {
            running: true,
            answered: true,
            db_state: DbState::NeedRepair,
            ..NodeState::default()
        };
        assert!(is_accepting(&state));
        assert!(!is_accepting(&NodeState { db_state: DbState::Starting, ..state.clone() }));
        // gs_ctl could not ask it, so what counts is what the server wrote, and whether it listens.
        let told = |db_state, detail: &str| NodeState {
            answered: false,
            db_state,
            detail: Some(detail.to_owned()),
            ..state.clone()
        };
        let closed = "could not receive data from server: Connection reset by peer";
        assert!(is_accepting(&told(DbState::Normal, closed)), "as CheckClientIp does from 5.0 on");
        assert!(is_accepting(&told(DbState::NeedRepair, "server closed the connection unexpectedly")));
        assert!(is_accepting(&told(DbState::Starting, "FATAL:  no pg_hba.conf entry for host \"10.0.0.1\"")));
        assert!(!is_accepting(&told(DbState::Starting, closed)));
        assert!(!is_accepting(&told(DbState::Unknown, closed)));
        for detail in ["could not connect to server: Connection refused", "wait /tmp:5432 timeout expired"] {
            assert!(!is_accepting(&told(DbState::Normal, detail)), "{detail}");
        }
        assert!(!is_accepting(&NodeState {
            frozen: true,
            ..told(DbState::Normal, "process 5 is stopped (T)")
        }));
    }
}
