//! The unattended start of a server, as when its machine starts.
//!
//! A server that takes writes is started only when all others agree for a while, and is stopped again when another primary shows
//! up in the minute after that: a failover may have been under way. Who stops the node meanwhile ends the wait.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use og_common::files::MarkLock;
use og_common::gauss::peer::ChannelPeer;
use og_common::gauss::{Role, ServerNode, StopMode};
use og_common::protocol::{Call, Error, ErrorKind, Reason};

use crate::act;
use crate::args::{Args, State};
use crate::plan::{Present, Step, leads_when_started};
use crate::{inspect, managed};

/// The mark of a start that waits, in the data directory.
const WAIT_MARK_FILE: &str = "og_unattended.lock";
/// The poll interval.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// So long the others must agree: twice as long as a failover looks for the old primary, which this node may be.
const AGREEMENT_PERIOD: Duration = Duration::from_secs(10);
/// So long another primary is looked for after the start.
const WATCH_PERIOD: Duration = Duration::from_secs(60);

/// Returns the path of the mark of this node.
fn mark_path(node: &ServerNode) -> PathBuf {
    node.data_dir.join(WAIT_MARK_FILE)
}

/// Whether a start of the node waits, which may start it any time.
#[must_use]
pub fn is_waiting(data_dir: &Path) -> bool {
    MarkLock::is_held(&data_dir.join(WAIT_MARK_FILE))
}

/// Ends a start that waits, which notices it at its next poll, and before it starts anything.
///
/// # Errors
/// `io`.
pub fn end_wait(data_dir: &Path) -> Result<(), Error> {
    let mark = data_dir.join(WAIT_MARK_FILE);
    match std::fs::remove_file(&mark) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", &mark, &e)),
        _ => Ok(()),
    }
}

/// The wait of an unattended start.
#[derive(Debug)]
pub struct UnattendedWait {
    mark: PathBuf,
    lock: MarkLock,
    told: String,
    agreed_since: Option<Instant>,
}

impl UnattendedWait {
    /// Begins the wait; a node has one at a time.
    ///
    /// # Errors
    /// `busy` while another one waits; `io`.
    pub async fn begin(call: &Call, node: &ServerNode) -> Result<Self, Error> {
        let mark = mark_path(node);
        let lock = MarkLock::acquire(&mark, call).await?;
        Ok(Self { mark, lock, told: String::new(), agreed_since: None })
    }

    /// Whether somebody stopped the node meanwhile.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        !self.lock.is_at(&self.mark)
    }

    /// Waits until the node may be started, and returns what is there and the steps; none where somebody stopped the node.
    ///
    /// # Errors
    /// Those of the plan, but that the others do not answer.
    pub async fn wait_until_ready(
        &mut self,
        call: &Call,
        node: &ServerNode,
        args: &Args,
    ) -> Result<(Present, Vec<Step>), Error> {
        loop {
            let mut present = inspect(call, node, args).await?;
            if self.is_ended() {
                return Ok((present, Vec::new()));
            }
            match managed::plan_by_means(call, node, args, &mut present).await {
                Err(e) if is_passing(&e) => {
                    self.agreed_since = None;
                    self.record_wait(call, &e.failure().detail);
                }
                Ok(steps)
                    if !steps.is_empty() && leads_when_started(&present, args) && present.has_channel =>
                {
                    let since = *self.agreed_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= AGREEMENT_PERIOD {
                        return Ok((present, steps));
                    }
                    self.record_wait(
                        call,
                        "all others answer and none is primary; inspecting once more before the start",
                    );
                }
                planned => return Ok((present, planned?)),
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Notes that it goes on waiting after this error, where it does.
    ///
    /// # Errors
    /// The error, where waiting does not help.
    pub async fn continue_after(&mut self, call: &Call, error: Error) -> Result<(), Error> {
        if !is_passing(&error) {
            return Err(error);
        }
        self.agreed_since = None;
        self.record_wait(call, &error.failure().detail);
        tokio::time::sleep(POLL_INTERVAL).await;
        Ok(())
    }

    fn record_wait(&mut self, call: &Call, seen: &str) {
        if self.told != seen {
            tracing::info!("waiting: {seen}");
            seen.clone_into(&mut self.told);
        }
        call.record_seen(seen.to_owned());
    }
}

impl Drop for UnattendedWait {
    fn drop(&mut self) {
        if !self.is_ended() {
            // One that stays is held by nobody, and taken by the next start.
            drop(std::fs::remove_file(&self.mark));
        }
    }
}

/// Whether it may be over in a moment: a peer that does not answer, or another program at work on the node.
fn is_passing(error: &Error) -> bool {
    error.failure().reason == Some(Reason::PeersSilent)
        || error.kind() == ErrorKind::Busy && error.failure().reason == Some(Reason::LockHeld)
}

/// Looks for another primary for a while after a start as primary, and stops the server when there is one. A failed poll
/// is ignored.
///
/// # Errors
/// `refused` when it was stopped; those of the stop.
pub async fn watch(call: &Call, node: &ServerNode, args: &Args) -> Result<(), Error> {
    let end = Instant::now() + WATCH_PERIOD;
    while Instant::now() < end {
        tokio::time::sleep(POLL_INTERVAL).await;
        let Some(other) = second_primary(call, node).await else { continue };
        // In a switchover both may be seen for a moment.
        tokio::time::sleep(POLL_INTERVAL).await;
        if second_primary(call, node).await.is_none() {
            continue;
        }
        let stop = Args { state: State::Stopped, stop_mode: StopMode::Immediate, ..args.clone() };
        act::stop(call, node, &stop).await?;
        return Err(Error::refused(format!(
            "stopped again after its start: {other}, and there were two of them"
        ))
        .reason(Reason::SecondPrimary)
        .with_path("/unattended")
        .hint("have it repaired (og repair), which makes it a standby of the other one"));
    }
    Ok(())
}

/// The other primary, in words, where this node is one, too.
async fn second_primary(call: &Call, node: &ServerNode) -> Option<String> {
    let own = match node.query(call).await {
        Ok(own) => own,
        Err(e) => {
            tracing::warn!("the server cannot be inspected: {e}");
            return None;
        }
    };
    if !own.running || own.role != Role::Primary {
        return None;
    }
    node.peers().await.iter().find(|peer| peer.is_primary()).map(ChannelPeer::words)
}
