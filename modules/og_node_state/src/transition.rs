//! What a node is and what a call makes of it: the one table through which every state, role and transition passes.
//!
//! docs/safety.md has a row for each [`Refusal`]; a test holds the two together, and another one walks all combinations.

use og_common::gauss::peer::{self, ChannelPeer, Found};
use og_common::gauss::{LogPosition, Role};
use og_common::protocol::{Bytes, Error, Lsn, Reason};

/// How the node comes to its new role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Its server is started, or stopped and started.
    Start,
    /// Its server waits for a role, and is told.
    Notify,
    /// It takes over from the living primary, which becomes a standby.
    Switchover,
    /// It takes over from a dead primary.
    Failover,
}

/// A change of a node, and what is known of it and of the others.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // Each is a fact of its own.
pub struct Change<'a> {
    /// Whether its server runs.
    pub running: bool,
    /// Its role; of a stopped node, that of its last run.
    pub is: Role,
    /// Whether it is a primary, or a single node, afterwards.
    pub will_lead: bool,
    /// How.
    pub by: By,
    /// Whether it receives from a primary now.
    pub receives: bool,
    /// Whether it is well and streams.
    pub streams: bool,
    /// Bytes that it has not replayed.
    pub lag_bytes: Bytes,
    /// Whether it had ceased to follow its primary for good.
    pub left_behind: bool,
    /// Whether it is an unattended start.
    pub unattended: bool,
    /// How far its log goes.
    pub log: LogPosition,
    /// The number of its database system.
    pub system_id: Option<u64>,
    /// What the other ends of its replication channels are.
    pub peers: &'a [ChannelPeer],
}

/// Why a change is refused unless it is forced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal<'a> {
    /// There would be two primaries.
    SecondPrimary(&'a ChannelPeer),
    /// The old primary may live; what was seen.
    PrimaryMayBeAlive(String),
    /// It is an unattended start, and this peer does not tell its role.
    PeersSilent(&'a ChannelPeer),
    /// Somebody holds more of the log.
    HoldsLess {
        /// The peer.
        peer: &'a ChannelPeer,
        /// Up to where.
        theirs: Lsn,
        /// Up to where this node holds it.
        own: Lsn,
    },
    /// Somebody has followed a newer primary.
    OlderTerm {
        /// The peer.
        peer: &'a ChannelPeer,
        /// The term of its primary.
        theirs: u64,
        /// The newest term that this node knows.
        own: u64,
    },
    /// How far the node's own log goes is not known, and somebody's is.
    LogUnknown(&'a ChannelPeer),
    /// It lacks what was written after it had ceased to follow.
    LeftBehind,
    /// No primary would be left.
    OnlyPrimary,
    /// A switchover of a standby that does not stream hangs for its whole time, and then says that all is well.
    NotStreaming,
    /// A switchover of a standby so far behind keeps everybody waiting; bytes.
    Lagging(Bytes),
}

/// So much log is replayed in seconds; more keeps everybody waiting, for the old primary is none any more meanwhile.
pub const MAX_SWITCHOVER_LAG: Bytes = Bytes::new(128 << 20);

/// Whether a server of this role takes writes. Of a role that nobody knows it cannot be excluded: so starts a data
/// directory that never ran.
#[must_use]
pub fn leads(role: Role) -> bool {
    matches!(role, Role::Primary | Role::Normal | Role::Unknown)
}

/// Judges whether a change of role is allowed: the safety table.
///
/// * Who leads already, or led when it last ran, may come back as that, unless another primary is seen or somebody holds
///   more. Peers that do not answer keep it from nothing, else a cluster could not be started; but an unattended start waits
///   for them, for one of them may have become primary meanwhile.
/// * Who followed may lead only when the primary is proven gone as well: every peer answers that it is none, or cannot be
///   reached; it receives nothing; and it had not been left behind.
/// * A switchover is the primary's own doing, so the standby must only be fit for it.
/// * Who leads may become something else only when another primary is seen.
///
/// # Errors
/// The first reason against it.
pub fn judge<'a>(change: &Change<'a>) -> Result<(), Refusal<'a>> {
    let mut primaries = change.peers.iter().filter(|peer| peer.is_primary());
    if !change.will_lead {
        let leaves = change.running && leads(change.is) && primaries.next().is_none();
        return if leaves { Err(Refusal::OnlyPrimary) } else { Ok(()) };
    }
    if change.by == By::Switchover {
        return match primaries.nth(1) {
            Some(second) => Err(Refusal::SecondPrimary(second)),
            None if !change.streams => Err(Refusal::NotStreaming),
            None if change.lag_bytes > MAX_SWITCHOVER_LAG => Err(Refusal::Lagging(change.lag_bytes)),
            None => Ok(()),
        };
    }
    if let Some(other) = primaries.next() {
        return Err(Refusal::SecondPrimary(other));
    }
    if !leads(change.is) {
        check_primary_is_dead(change)?;
        if change.left_behind {
            return Err(Refusal::LeftBehind);
        }
    }
    check_holds_most(change)?;
    // A single server may have been a primary that lost its channels; a standby that starts may call itself one for a moment.
    let is_silent = |peer: &&ChannelPeer| !peer.has_told_role() || peer.is_single();
    let silent = change.peers.iter().find(is_silent).filter(|_| change.unattended);
    silent.map_or(Ok(()), |peer| Err(Refusal::PeersSilent(peer)))
}

fn check_primary_is_dead<'a>(change: &Change<'a>) -> Result<(), Refusal<'a>> {
    let unclear = unclear_peers(change.peers).next();
    let why = match unclear {
        Some(peer) => peer.words(),
        None if change.receives => "this standby still receives from it".to_owned(),
        None if change.peers.is_empty() => {
            format!("it cannot be asked, for {}", peer::describe_peers(change.peers))
        }
        None => return Ok(()),
    };
    Err(Refusal::PrimaryMayBeAlive(why))
}

/// The peers at which something listens that does not tell what it is.
pub fn unclear_peers(peers: &[ChannelPeer]) -> impl Iterator<Item = &ChannelPeer> {
    peers.iter().filter(|peer| match peer.found {
        Found::Reserved(_) => true,
        Found::Server { role, .. } => role == Role::Unknown,
        Found::Silent(_) => false,
    })
}

/// Positions and terms can be compared only within one system.
fn check_holds_most<'a>(change: &Change<'a>) -> Result<(), Refusal<'a>> {
    let mut most: Option<(Lsn, &ChannelPeer)> = None;
    for peer in change.peers {
        let Found::Server { system_id, lsn, term, .. } = peer.found else { continue };
        if change.system_id.zip(system_id).is_some_and(|(own, theirs)| own != theirs) {
            continue;
        }
        if let (Some(own), Some(theirs)) = (change.log.term, term)
            && theirs > own
        {
            return Err(Refusal::OlderTerm { peer, theirs, own });
        }
        if let Some(lsn) = lsn
            && most.is_none_or(|(most, _)| lsn > most)
        {
            most = Some((lsn, peer));
        }
    }
    // A primary that restarts has what its standbys have; when it cannot be asked, its restart may be the cure.
    let stays = change.running && leads(change.is);
    match (most, change.log.lsn) {
        (Some((_, peer)), None) if !stays => Err(Refusal::LogUnknown(peer)),
        (Some((theirs, peer)), Some(own)) if theirs > own => Err(Refusal::HoldsLess { peer, theirs, own }),
        _ => Ok(()),
    }
}

impl Refusal<'_> {
    /// Every reason of the table.
    pub const REASONS: [Reason; 10] = [
        Reason::SecondPrimary,
        Reason::PrimaryMayBeAlive,
        Reason::PeersSilent,
        Reason::HoldsLess,
        Reason::OlderTerm,
        Reason::LogUnknown,
        Reason::LeftBehind,
        Reason::OnlyPrimary,
        Reason::NotStreaming,
        Reason::Lagging,
    ];

    /// Returns the reason of the error.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::SecondPrimary(_) => Reason::SecondPrimary,
            Self::PrimaryMayBeAlive(_) => Reason::PrimaryMayBeAlive,
            Self::PeersSilent(_) => Reason::PeersSilent,
            Self::HoldsLess { .. } => Reason::HoldsLess,
            Self::OlderTerm { .. } => Reason::OlderTerm,
            Self::LogUnknown(_) => Reason::LogUnknown,
            Self::LeftBehind => Reason::LeftBehind,
            Self::OnlyPrimary => Reason::OnlyPrimary,
            Self::NotStreaming => Reason::NotStreaming,
            Self::Lagging(_) => Reason::Lagging,
        }
    }

    /// Converts the refusal into the error of the call.
    #[must_use]
    pub fn into_error(self, change: &Change<'_>, node: &str) -> Error {
        let reason = self.reason();
        let what = match change.by {
            By::Switchover => "no switchover",
            By::Failover => "no failover",
            By::Notify => "not made primary",
            By::Start => "not started as primary",
        };
        let over = change.by == By::Failover || change.by == By::Switchover;
        let (detail, hint) = match self {
            Self::SecondPrimary(_) if change.by == By::Switchover => (
                format!("{what} while there are two primaries: {}", peer::describe_peers(change.peers)),
                "find out which one holds what must not be lost, and stop the other".to_owned(),
            ),
            Self::SecondPrimary(peer) if change.by == By::Failover => (
                format!("{what} while the old primary may be alive: {}", peer.words()),
                "use transition: switchover, or stop the old primary first; force makes a second primary".to_owned(),
            ),
            Self::SecondPrimary(peer) if change.running && !leads(change.is) => (
                format!("{what}: {}, and there would be two of them", peer.words()),
                "use state: primary, which makes the two change places; force makes a second primary".to_owned(),
            ),
            Self::SecondPrimary(peer) => (
                format!("{what}: {}, and there would be two of them", peer.words()),
                "start this one as standby (role: standby), or build it; force overrides".to_owned(),
            ),
            Self::PrimaryMayBeAlive(why) => (
                format!("{what} while the old primary may be alive: {why}"),
                format!(
                    "{} the old primary first; force makes a second primary",
                    if over { "use transition: switchover, or stop" } else { "stop" }
                ),
            ),
            Self::PeersSilent(peer) => (
                format!("{what} unattended: {}, and may have become primary meanwhile", peer.words()),
                "bring that node up, or start this one without unattended when you know that no other is primary"
                    .to_owned(),
            ),
            Self::HoldsLess { peer, theirs, own } => (
                format!(
                    "{what}, for this node lags behind another one by {}: {}, and holds the log up to {}, this one up to {}",
                    theirs.bytes_since(own),
                    peer.words(),
                    theirs,
                    own
                ),
                "make that one primary; force: true takes this one, and what it lacks is lost".to_owned(),
            ),
            Self::OlderTerm { peer, theirs, own } => (
                format!(
                    "{what}, for another node has been primary since: {}, and is of term {theirs}, this node of term {own}",
                    peer.words()
                ),
                "make a node of the newer term primary; force: true takes this one, and what was written since is lost"
                    .to_owned(),
            ),
            Self::LogUnknown(peer) => (
                format!("{what}, for how far its own log goes cannot be read, and {}", peer.words()),
                "make that one primary, or build this one; force: true takes this one whatever it lacks".to_owned(),
            ),
            Self::LeftBehind => (
                format!(
                    "the standby had ceased to follow before the primary was lost ({node}); its log ends at {}",
                    change.log.lsn.map_or_else(|| "an unknown LSN".to_owned(), |lsn| lsn.to_string())
                ),
                "make another standby primary; force: true takes this one, and what was written since is lost".to_owned(),
            ),
            Self::OnlyPrimary => (
                format!(
                    "this is the {}, and no other primary is to be seen: {}",
                    change.is,
                    peer::describe_peers(change.peers)
                ),
                "make another node primary first (state: primary there), which turns this one into a standby; force overrides"
                    .to_owned(),
            ),
            Self::NotStreaming => (
                format!(
                    "the standby does not stream ({node}), so it cannot take over; {}",
                    peer::describe_peers(change.peers)
                ),
                "repair it first (og_build), or, when the primary is lost, use transition: failover".to_owned(),
            ),
            Self::Lagging(lag) => (
                format!(
                    "the standby is behind by {lag}, and no client can write until it has replayed that"
                ),
                "wait until it has caught up (wait: max_lag_bytes), or take another one; force: true overrides".to_owned(),
            ),
        };
        let error = Error::refused(detail).reason(reason).hint(hint);
        match change.by {
            By::Failover | By::Switchover => error.with_path("/transition"),
            By::Start | By::Notify => error.with_path("/state"),
        }
    }
}
