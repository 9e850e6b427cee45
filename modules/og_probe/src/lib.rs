//! Commits of a probe on this node.
//!
//! A probe is a client of ours: a process that outlives the call, changes the one row of a table of its own again and again, each
//! time in a commit of its own, and records when the server acknowledged none: how long nobody could commit while a cluster was
//! changed. It writes to the database, so it runs only where it was asked for, ends by itself after a while,
//! and leaves nothing behind.

pub mod args;
pub mod file;
pub mod table;
pub mod worker;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use og_common::clock::now_millis;
use og_common::files::MarkLock;
use og_common::gauss::ServerNode;
use og_common::gauss::commits::ProbedCommits;
use og_common::protocol::{ArgRule, Call, CommandRecord, Error, ErrorKind, Example, Module, Report, View};
use tokio::process::Child;

use args::{Args, Output, State};
use file::{Phase, ProbeFile, Process};

/// Polling interval while a probe starts or exits.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long a probe may take to begin.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long its first commit is waited for, from which on times without one are known.
const FIRST_COMMIT: Duration = Duration::from_secs(3);
/// How long a probe may take to end before it is killed.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// The module `og_probe`.
#[derive(Debug)]
pub struct CommitProbe;

impl Module for CommitProbe {
    const NAME: &'static str = "og_probe";
    const ABOUT: &'static str = "Commits of a probe on this node, and the longest times without one";
    const TIMEOUT: u64 = 60;
    const EXAMPLES: &'static [Example] = &[
        Example { title: "What has the probe seen so far?", args: r#"{"data_dir": "/data/dn1"}"# },
        Example {
            title: "Begin to commit every 20 milliseconds, for a quarter of an hour at most",
            args: r#"{"data_dir": "/data/dn1", "state": "started", "limit": 900}"#,
        },
        Example {
            title: "End the probe, drop its table, and tell the longest times without a commit",
            args: r#"{"data_dir": "/data/dn1", "state": "stopped"}"#,
        },
    ];
    const RULES: &'static [ArgRule] =
        &[ArgRule::OnlyIf { key: "state", values: &["started"], allows: &["interval_ms", "limit"] }];
    const VIEWS: &'static [View] = &[View {
        flag: worker::FLAG,
        value_name: "FILE",
        help: "Be the probe whose file this is, until it is ended; state: started runs it so",
        render: worker::run,
    }];
    type Args = Args;
    type Output = Output;

    async fn run(call: &Call, args: Args) -> Result<Report<Output>, Error> {
        let node = ServerNode::from_call(call)?;
        let path = file::path(&node.data_dir)?;
        match args.state {
            State::Query => {
                let output = output(ProbeFile::read(&path)?.as_ref());
                Ok(Report::unchanged(message(output.probe.as_ref()), output))
            }
            State::Started => start(call, &node, &args, &path).await,
            State::Stopped => stop(call, &node, &path).await,
        }
    }
}

fn output(file: Option<&ProbeFile>) -> Output {
    Output { probe: file.map(ProbeFile::probed), now: now_millis() }
}

async fn start(call: &Call, node: &ServerNode, args: &Args, path: &Path) -> Result<Report<Output>, Error> {
    // Else a probe would wait for ever for a program that is not there.
    node.env(call).await?.find("gsql")?;
    let _lock = lock(call, path).await?;
    let found = ProbeFile::read(path)?;
    if let Some(file) = found.as_ref().filter(|file| file.is_at_work()) {
        let output = output(Some(file));
        return Ok(Report::unchanged(message(output.probe.as_ref()), output));
    }
    let actions = vec!["start the probe".to_owned()];
    if call.check {
        return Ok(Report::new(actions, "a probe would be started", output(None)));
    }
    let file = ProbeFile {
        data_dir: node.data_dir.clone(),
        env_file: call.common.env_file.clone(),
        gauss_home: call.common.gauss_home.clone(),
        switched: call.switched,
        interval_ms: args.interval_ms,
        limit: args.limit,
        ..ProbeFile::default()
    };
    file.write(path)?;
    let mut child = worker::spawn(call, path)?;
    call.record_action("start the probe");
    let file = wait_until_begun(&mut child, path).await?;
    let output = output(Some(&file));
    Ok(Report::new(actions, message(output.probe.as_ref()), output))
}

/// Waits until the probe is at work, and a while for its first commit where its server takes any.
async fn wait_until_begun(child: &mut Child, path: &Path) -> Result<ProbeFile, Error> {
    let begun = Instant::now();
    loop {
        let file = ProbeFile::read(path)?.unwrap_or_default();
        let has_begun = file.is_at_work() && file.phase != Phase::Starting;
        if has_begun || (file.is_at_work() && begun.elapsed() >= FIRST_COMMIT) {
            return Ok(file);
        }
        let ended = child.try_wait().map_err(|e| Error::io("wait for the probe of", path, &e))?;
        if let Some(status) = ended {
            let rc = status.code().unwrap_or(-1);
            let record = CommandRecord::new(vec![CommitProbe::NAME.to_owned()], rc, "", "");
            return Err(Error::command(format!("the probe ended at once ({status})"), record).hint(format!(
                "run {} --{} {}, which says why",
                CommitProbe::NAME,
                worker::FLAG,
                path.display()
            )));
        }
        if begun.elapsed() >= BEGIN_TIMEOUT {
            return Err(Error::new(
                ErrorKind::Timeout,
                format!("the probe did not begin within {} s", BEGIN_TIMEOUT.as_secs()),
            )
            .hint("stop it (state: stopped), and try again when the machine has less to do"));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn stop(call: &Call, node: &ServerNode, path: &Path) -> Result<Report<Output>, Error> {
    if !path.exists() {
        return Ok(Report::unchanged(message(None), output(None)));
    }
    let _lock = lock(call, path).await?;
    let actions = vec!["stop the probe".to_owned()];
    let file = ProbeFile::read(path)?;
    if call.check {
        let output = output(file.as_ref());
        return Ok(Report::new(actions, "the probe would be stopped", output));
    }
    if let Some(process) = file.as_ref().and_then(|file| file.process) {
        stop_process(process).await?;
    }
    let file = ProbeFile::read(path)?.or(file);
    call.record_action("stop the probe");
    let mut warnings = Vec::new();
    if node.running_pid().is_some()
        && let Err(e) = table::drop_own(call, node).await
    {
        let table = table::TABLE;
        warnings.push(format!(
            "the table {table} of the database postgres may be left, drop it: {}",
            e.failure().detail
        ));
    }
    file::remove(path)?;
    // As long as it is held: who waits for it makes a new one.
    file::remove(&lock_path(path))?;
    let output = output(file.as_ref());
    let msg = message(output.probe.as_ref());
    Ok(Report::new(actions, msg, output).with_warnings(warnings))
}

/// The lock of those who start and stop the probe, beside its file.
async fn lock(call: &Call, path: &Path) -> Result<Option<MarkLock>, Error> {
    if call.check {
        return Ok(None);
    }
    file::make_folder(path)?;
    MarkLock::acquire(&lock_path(path), call).await.map(Some)
}

fn lock_path(path: &Path) -> PathBuf {
    path.with_extension("lock")
}

/// Stops the process by SIGTERM, and by SIGKILL when it does not exit within [`END_TIMEOUT`].
async fn stop_process(process: Process) -> Result<(), Error> {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        if !process.is_alive() {
            return Ok(());
        }
        let pid = Pid::from_raw(i32::try_from(process.pid).unwrap_or(i32::MAX));
        // One that has ended in this moment is what is wanted.
        let _ = kill(pid, signal);
        let begun = Instant::now();
        while process.is_alive() && begun.elapsed() < END_TIMEOUT {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
    if process.is_alive() {
        return Err(Error::new(
            ErrorKind::Timeout,
            format!("the probe (process {}) does not end", process.pid),
        ));
    }
    Ok(())
}

/// What the probe saw, in one line.
fn message(probe: Option<&ProbedCommits>) -> String {
    let Some(probe) = probe else { return "there is no probe".to_owned() };
    let state = if probe.running { "a probe is at work" } else { "the probe has ended" };
    let span = probe.first.zip(probe.last).map_or(0, |(first, last)| last.saturating_sub(first));
    let gap = probe
        .gaps
        .first()
        .map_or(String::new(), |gap| format!(", the longest time without one {}", seconds(gap.length())));
    let why = probe.last_failure.as_ref().filter(|_| probe.commits == 0);
    let why = why.map_or(String::new(), |why| format!("; it failed: {why}"));
    format!("{state}: {} commits in {}{gap}{why}", probe.commits, seconds(span))
}

fn seconds(millis: u64) -> String {
    format!("{}.{:02} s", millis / 1000, millis % 1000 / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_told_in_a_line() {
        assert_eq!(message(None), "there is no probe");
        let mut probe = ProbedCommits { running: true, ..ProbedCommits::default() };
        probe.add_failure("FATAL:  no");
        assert_eq!(message(Some(&probe)), "a probe is at work: 0 commits in 0.00 s; it failed: FATAL:  no");
        for at in [1000, 1500, 3090] {
            probe.add_commit(at);
        }
        probe.running = false;
        assert_eq!(
            message(Some(&probe)),
            "the probe has ended: 3 commits in 2.09 s, the longest time without one 1.59 s"
        );
    }
}
