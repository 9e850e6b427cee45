//! Does the build and watches it.

use std::path::Path;
use std::time::{Duration, Instant};

use og_common::files::free_space;
use og_common::gauss::disk::directory_size;
use og_common::gauss::managed::Means;
use og_common::gauss::server_log::ServerLog;
use og_common::gauss::source::Source;
use og_common::gauss::{BuildMode, DbState, NodeState, ServerNode};
use og_common::protocol::{Bytes, Call, CommandRecord, Error, ErrorKind};

use crate::args::{Args, Mode, Output, Status};
use crate::cause::{Cause, closed_source, find_cause};
use crate::log;
use crate::plan::{self, Plan};

/// The poll interval.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Walking through a large data directory costs, so it is done seldom.
const SIZE_POLL_INTERVAL: Duration = Duration::from_secs(15);
/// How long a standby may say that it needs repair after its start, before it is believed.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a build that is not waited for is watched: one that cannot begin says so at once.
const START_WATCH_PERIOD: Duration = Duration::from_secs(2);

/// What it takes to end a build before the call's own end.
const END_RESERVE: Duration = Duration::from_millis(900);
/// What to do about a build that was ended.
const STALLED_HINT: &str = "the same call again begins anew; raise timeout or stall_timeout when the primary is merely slow, \
    or use wait: false";

/// What to do about a build that CM does.
const CM_BUILD_HINT: &str = "CM goes on with it, and builds until the standby follows: inspect it with state: query, and \
    read the log of cm_agent; raise timeout or stall_timeout when the primary is merely slow, or use wait: false";

/// Builds, and fills in what came of it.
pub async fn build(
    call: &Call,
    node: &ServerNode,
    args: &Args,
    plan: &Plan,
    output: &mut Output,
) -> Result<(), Error> {
    let path = log::path(&node.data_dir);
    let server_log = node.watch_log();
    let file = log::create_log(&path)?;
    output.log_file = Some(path.display().to_string());
    let begun = Instant::now();
    let server = node.running_pid();
    let mut running = match &plan.means {
        Means::Own => node.ctl_build(call, plan.role, plan.mode, &file).await?,
        Means::Cm(target) => node.cm_build(call, plan.mode == BuildMode::Full, target, &file).await?,
    };
    let by_cm = plan.means != Means::Own;
    let tool = if by_cm { "cm_ctl" } else { "gs_ctl" };
    // Even a build that fails has stopped the server.
    call.record_action(format!("began to {}", plan.describe()));
    drop(file);
    let mut watch = Watch::new(args.stall_timeout);
    watch.total = args.min_free;
    let rc = loop {
        if let Some(rc) = running.try_wait()? {
            break rc;
        }
        if !args.wait && (begun.elapsed() >= START_WATCH_PERIOD || node.build().is_some_and(|b| b.running)) {
            running.detach();
            output.build_status = Status::Running;
            return Ok(());
        }
        // cm_ctl prints a dot each second, whatever the build does.
        let stalls = watch.watch_build(call, node, (!by_cm).then_some(path.as_path()));
        let late = call.deadline.is_some_and(|end| Instant::now() + END_RESERVE >= end);
        if stalls || late {
            let words = log::last_words(&log::read_tail(&path), 3).join("; ");
            let cmd = running.cmd.clone();
            running.kill().await;
            let why = if stalls {
                format!("the build made no progress for {} s", args.stall_timeout)
            } else if by_cm {
                format!("the build was not waited for any longer; {}", call.last_seen())
            } else {
                format!("the build was ended by the call's timeout; {}", call.last_seen())
            };
            let hint = if by_cm { CM_BUILD_HINT } else { STALLED_HINT };
            let mut error =
                Error::new(ErrorKind::Timeout, format!("{why}; its last words: {words}")).hint(hint);
            if let Some(Cause { reason: Some(reason), detail, hint }) =
                find_cause(&log::read_tail(&path), &Source::default(), free_space(&node.data_dir).ok())
            {
                error = Error::new(ErrorKind::Timeout, format!("{why}: {detail}")).reason(reason).hint(hint);
            }
            return Err(error.with_command(record(cmd, -1, &path)));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    };
    output.bytes_copied = Bytes::new(watch.done_kb * 1024);
    let text = log::read_tail(&path);
    output.last_words = log::last_words(&text, 5);
    output.mode_used = log::mode_used(&text);
    let record = record(running.cmd.clone(), rc, &path);
    let state = wait_until_streaming(call, node, args, rc).await?;
    if !state.is_healthy() {
        output.build_status = Status::Failed;
        let what = format!("the node does not stream after the build: it is {}", state.words());
        return Err(build_error(node, &what, (tool, &output.last_words), (&path, &server_log))
            .await
            .with_command(record));
    }
    // A gs_ctl that ended before it touched anything leaves a standby that streams as before: no build was done.
    let untouched = server.is_some() && node.running_pid() == server;
    // cm_ctl says that all is well of a build that it did not order; each build stops the server.
    if by_cm && untouched && plan.mode == BuildMode::Full {
        output.build_status = Status::Failed;
        let what = format!(
            "{tool} built nothing, for the server has never been away (process {}): it is {}",
            server.unwrap_or_default(),
            state.words()
        );
        return Err(build_error(node, &what, (tool, &output.last_words), (&path, &server_log))
            .await
            .with_command(record));
    }
    if rc != 0 && (untouched || args.mode != Mode::Auto) && log::status(&text) != Status::Completed {
        output.build_status = Status::Failed;
        let what = format!("{tool} ended before the build was done; the node is {}", state.words());
        return Err(build_error(node, &what, (tool, &output.last_words), (&path, &server_log))
            .await
            .with_command(record));
    }
    if state.role != plan.role {
        output.build_status = Status::Failed;
        let detail = format!("after the build the node is {}, not {}", state.words(), plan.role);
        return Err(Error::command(detail, record));
    }
    output.build_status = Status::Completed;
    // The words may be another release's; what was asked for is known all the same.
    output.mode_used = output.mode_used.or(Some(plan.mode).filter(|mode| *mode != BuildMode::Auto));
    output.duration_ms = u64::try_from(begun.elapsed().as_millis()).ok();
    Ok(())
}

/// The error of a build that failed, with the cause that gs_ctl or cm_ctl, the built server's own log, the disk or the primary tells.
async fn build_error(
    node: &ServerNode,
    what: &str,
    (tool, words): (&str, &[String]),
    (log, server_log): (&Path, &ServerLog),
) -> Error {
    let text = log::read_tail(log) + "\n" + &server_log.fatal_lines().join("\n");
    let free = free_space(&node.data_dir).ok();
    let peers = node.peers().await;
    let (source, lost) = match plan::choose_source(&peers) {
        Ok((peer, _)) => (node.ask_source(&peer.channel).await, None),
        Err(error) => (closed_source(&peers), Some(error)),
    };
    let told = find_cause(&text, &source, free).or_else(|| {
        let failure = lost.as_ref()?.failure();
        let hint = failure.hint.clone().unwrap_or_default();
        Some(Cause { reason: failure.reason, detail: failure.detail.clone(), hint })
    });
    let log = format!("the build's words are in {}", log.display());
    let words = words.join("; ");
    match told {
        None => Error::new(ErrorKind::CommandFailed, format!("{what}; {tool}: {words}")).hint(log),
        Some(Cause { reason, detail, hint }) => {
            let error = Error::new(ErrorKind::CommandFailed, format!("{what}; {detail}; {tool}: {words}"))
                .hint(format!("{hint}; {log}"));
            if let Some(reason) = reason { error.reason(reason) } else { error }
        }
    }
}

/// Waits until the built node streams, or will not.
async fn wait_until_streaming(
    call: &Call,
    node: &ServerNode,
    args: &Args,
    rc: i32,
) -> Result<NodeState, Error> {
    let mut watch = Watch::new(args.stall_timeout);
    let begun = Instant::now();
    loop {
        let state = node.query(call).await?;
        call.record_seen(format!("after the build: {}", state.words()));
        // A failed build leaves the server stopped; one that never ran may have left it running as it was.
        if state.is_healthy() || !state.running || (rc != 0 && begun.elapsed() > Duration::from_secs(5)) {
            return Ok(state);
        }
        let needs_repair = state.db_state == DbState::NeedRepair || !state.answered;
        if needs_repair && begun.elapsed() > SETTLE_TIMEOUT.min(Duration::from_secs(args.stall_timeout)) {
            return Ok(state);
        }
        if watch.is_stalled(&format!("{} {:?}", state.db_state, state.lsn)) {
            return Ok(state);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn record(cmd: Vec<String>, rc: i32, path: &Path) -> CommandRecord {
    CommandRecord::new(cmd, rc, &log::read_tail(path), "")
}

/// Notices when nothing changes any more.
struct Watch {
    limit: Duration,
    seen: String,
    since: Instant,
    walked: Instant,
    size: Bytes,
    done_kb: u64,
    /// What is to be copied, taken from `min_free`; gs_ctl's own total grows during the copy.
    total: Option<Bytes>,
}

impl Watch {
    fn new(seconds: u64) -> Self {
        let limit = Duration::from_secs(seconds);
        let now = Instant::now();
        Self {
            limit,
            seen: String::new(),
            since: now,
            walked: now,
            size: Bytes::ZERO,
            done_kb: 0,
            total: None,
        }
    }

    /// Whether what is seen has been the same for too long.
    fn is_stalled(&mut self, seen: &str) -> bool {
        if self.seen != seen {
            seen.clone_into(&mut self.seen);
            self.since = Instant::now();
        }
        self.since.elapsed() >= self.limit
    }

    /// Looks at a build that runs: what it counts, what it says, and, when both are silent, the size of the folder.
    fn watch_build(&mut self, call: &Call, node: &ServerNode, log: Option<&Path>) -> bool {
        let done_kb = node.state_file().map_or(0, |file| file.build.done_kb);
        self.done_kb = self.done_kb.max(done_kb);
        let said = log.and_then(|log| std::fs::metadata(log).ok()).map_or(0, |m| m.len());
        if self.since.elapsed() > SIZE_POLL_INTERVAL && self.walked.elapsed() > SIZE_POLL_INTERVAL {
            self.size = directory_size(&node.data_dir);
            self.walked = Instant::now();
        }
        let done = Bytes::new(self.done_kb * 1024);
        call.record_progress(format!("the build runs, {done} copied"), Some(done), self.total);
        self.is_stalled(&format!("{done_kb} {said} {}", self.size))
    }
}
