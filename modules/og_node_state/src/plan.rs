//! What is to be done, from what is: pure.

use og_common::gauss::disk::human;
use og_common::gauss::peer::{self, Found, Peer};
use og_common::gauss::{NodeState, Role, lsn_text};
use og_common::protocol::{Error, ErrorKind, Reason};
use og_common::replconn::Host;

use crate::args::{Args, State, Transition, Wait};

/// What is known before anything is done.
#[derive(Clone, Debug, Default)]
pub struct Present {
    /// The node.
    pub node: NodeState,
    /// The role that `postmaster.opts` tells of the last start.
    pub started_as: Option<Role>,
    /// What the other ends of the replication channels are; asked for only where [`needs_peers`] says so.
    pub peers: Vec<Peer>,
    /// How far the log has come that this node holds; asked for only before a failover.
    pub holds: Option<u64>,
    /// The limits of which this node has less than its primary.
    pub short: Vec<String>,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Start in this role; `None` leaves it to the configuration.
    Start(Option<Role>),
    /// Stop.
    Stop,
    /// Read the configuration files again.
    Reload,
    /// Take over from the living primary.
    Switchover,
    /// Take over from a dead primary.
    Failover,
    /// Tell a server in the pending role what to be.
    Notify(Role),
}

impl Step {
    /// As `actions` say it.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Start(Some(role)) => format!("start the server as {role}"),
            Self::Start(None) => "start the server".to_owned(),
            Self::Stop => "stop the server".to_owned(),
            Self::Reload => "reload the configuration".to_owned(),
            Self::Switchover => "switch over: become primary in its place".to_owned(),
            Self::Failover => "fail over: become primary without the old one".to_owned(),
            Self::Notify(role) => format!("tell the pending server to be {role}"),
        }
    }
}

/// Whether the plan may depend on the peers: whenever this server may become a primary or cease to be one.
#[must_use]
pub fn needs_peers(present: &Present, args: &Args) -> bool {
    let node = &present.node;
    match args.state {
        State::Query | State::Stopped | State::Reloaded => false,
        State::Started if node.running => false,
        State::Started | State::Restarted => {
            !matches!(start_role(present, args), Some(role) if role.follows() || role == Role::Pending)
        }
        State::Primary => node.running && node.role != Role::Primary,
        State::Standby => node.running && !node.role.follows(),
    }
}

/// The role a start would be in.
///
/// Without `-M` a stopped standby would come up as primary as soon as it has a replconninfo1, so the role is always said.
/// Where the two traces of the last run differ, the one that cannot make a second primary counts.
fn start_role(present: &Present, args: &Args) -> Option<Role> {
    if let Some(role) = args.role {
        return Some(role.into());
    }
    let node = &present.node;
    let last = if node.running {
        Some(node.role)
    } else {
        match present.started_as {
            Some(role) if !node.role.follows() => Some(role),
            _ => Some(node.role),
        }
    };
    last.filter(|role| matches!(role, Role::Primary | Role::Standby | Role::CascadeStandby | Role::Pending))
}

/// The steps from what is to what is wanted.
///
/// # Errors
/// `refused` when a safety rule forbids it; `busy` while the node is being built; `not_found` when a server that is not
/// there is to be reloaded or promoted.
pub fn plan(present: &Present, args: &Args) -> Result<Vec<Step>, Error> {
    let node = &present.node;
    if args.state != State::Query && node.build.as_ref().is_some_and(|b| b.running) {
        return Err(Error::new(
            ErrorKind::Busy,
            "the node is being built, and will be started at the end of it",
        )
        .reason(Reason::Building)
        .hint("wait for the build, or end it"));
    }
    match args.state {
        State::Query => Ok(Vec::new()),
        State::Started if node.running => {
            let wanted = args.role.map(Role::from);
            // A server without replconninfo says that it is normal, whatever it was started as.
            let single = [Role::Primary, Role::Normal];
            match wanted {
                Some(role) if role != node.role && !(single.contains(&role) && single.contains(&node.role)) => {
                    Err(Error::refused(format!("the server runs as {}, not as {role}", node.role))
                        .at("/role")
                        .hint("use state restarted, primary or standby to change the role of a server that runs"))
                }
                _ => Ok(Vec::new()),
            }
        }
        State::Started => start(present, args),
        State::Stopped => Ok(if node.running { vec![Step::Stop] } else { Vec::new() }),
        State::Restarted => {
            let start = start(present, args)?;
            let stop = node.running.then_some(Step::Stop);
            Ok(stop.into_iter().chain(start).collect())
        }
        State::Reloaded if node.running => Ok(vec![Step::Reload]),
        State::Reloaded => Err(not_running("reloaded")),
        State::Primary => promote(present, args),
        State::Standby => follow(present, args),
    }
}

fn not_running(what: &str) -> Error {
    Error::not_found(format!("no server runs here that could be {what}"))
        .hint("start it first: state started")
}

fn start(present: &Present, args: &Args) -> Result<Vec<Step>, Error> {
    if present.node.build.as_ref().is_some_and(|b| b.interrupted) {
        return Err(Error::refused("a build of this node died half done, so its server cannot start")
            .hint("build it again: og_build"));
    }
    let role = start_role(present, args);
    let leads = !role.is_some_and(|role| role.follows() || role == Role::Pending);
    // A primary that merely restarts is the one its standbys know; else it would be a second one.
    let leads_already = present.node.running && present.node.role == Role::Primary;
    if leads && !leads_already && !args.force {
        no_other_primary(&present.peers, "started as primary")?;
    }
    Ok(vec![Step::Start(role.filter(|role| *role != Role::Normal))])
}

/// Refuses when one of the peers is a primary.
fn no_other_primary(peers: &[Peer], what: &str) -> Result<(), Error> {
    match peers.iter().find(|peer| peer.is_primary()) {
        Some(peer) => {
            Err(Error::refused(format!("not {what}: {}, and there would be two of them", peer.words()))
                .hint("start this one as standby (role: standby), or build it; force overrides"))
        }
        None => Ok(()),
    }
}

fn promote(present: &Present, args: &Args) -> Result<Vec<Step>, Error> {
    let node = &present.node;
    if !node.running {
        return Err(not_running("made primary"));
    }
    match (node.role, args.transition) {
        (Role::Primary, _) => Ok(Vec::new()),
        (Role::Normal, _) => Err(Error::refused("a single node is no primary until it has a replconninfo1")
            .hint("give it a standby: og_replconninfo")),
        (Role::Pending, _) => {
            if !args.force {
                no_other_primary(&present.peers, "made primary")?;
            }
            Ok(vec![Step::Notify(Role::Primary)])
        }
        (Role::CascadeStandby, Transition::Switchover) => Err(Error::refused(
            "a cascade standby cannot take over from the primary: a switchover would swap it with the standby it follows",
        )
        .at("/transition")),
        (_, Transition::Switchover) => switchover(present, args),
        (_, Transition::Failover) => {
            if !args.force {
                primary_is_gone(present)?;
                has_followed(node)?;
                nobody_has_more(present)?;
            }
            Ok(vec![Step::Failover])
        }
    }
}

/// So much log is replayed in seconds; more keeps everybody waiting, for the old primary is none any more meanwhile.
const MOST_LAG: u64 = 128 << 20;

/// A switchover of a standby that does not stream hangs for its whole time and then says that all is well.
fn switchover(present: &Present, args: &Args) -> Result<Vec<Step>, Error> {
    let node = &present.node;
    if args.force {
        return Ok(vec![Step::Switchover]);
    }
    if node.healthy() {
        let lag = node.receiver.as_ref().and_then(|receiver| receiver.progress.lag_bytes).unwrap_or(0);
        if lag <= MOST_LAG {
            return Ok(vec![Step::Switchover]);
        }
        return Err(Error::refused(format!(
            "the standby is behind by {} ({lag} bytes), and nobody can write until it has replayed that",
            human(lag)
        ))
        .hint(
            "wait until it has caught up (wait: max_lag_bytes), or take another one; force: true overrides",
        ));
    }
    let peers = peer::words(&present.peers);
    Err(Error::refused(format!(
        "the standby does not stream ({}), so it cannot take over; {peers}",
        node.words()
    ))
    .hint("repair it first (og_build), or, when the primary is lost, use transition: failover"))
}

fn primary_is_gone(present: &Present) -> Result<(), Error> {
    let peers = &present.peers;
    let alive = peers.iter().find(|peer| peer.is_primary());
    let unclear = peers.iter().find(|peer| matches!(&peer.found, Found::Reserved(_)));
    // A cascade standby receives from a standby.
    let receives = present.node.receiver.is_some() && present.node.role == Role::Standby;
    let why = match alive.or(unclear) {
        Some(peer) => peer.words(),
        None if receives => "this standby still receives from it".to_owned(),
        None if peers.is_empty() => format!("it cannot be asked, for {}", peer::words(peers)),
        None => return Ok(()),
    };
    Err(Error::refused(format!("no failover while the old primary may be alive: {why}"))
        .at("/transition")
        .hint("use transition: switchover, or stop the old primary first; force makes a second primary"))
}

/// Refuses a standby that had ceased to follow before its primary was lost: it lacks all that was written since.
fn has_followed(node: &NodeState) -> Result<(), Error> {
    if !node.has_lost_its_primary() {
        return Ok(());
    }
    Err(Error::refused(format!(
        "the standby had ceased to follow before the primary was lost ({}); its log ends at {}",
        node.words(),
        node.lsn.as_deref().unwrap_or("an unknown place")
    ))
    .at("/transition")
    .hint("make another standby primary; force: true takes this one, and what was written since is lost"))
}

/// Refuses a standby when another one holds more of the lost primary's log: commits that were confirmed may be in that.
fn nobody_has_more(present: &Present) -> Result<(), Error> {
    let Some(own) = present.holds else { return Ok(()) };
    let end = |peer: &Peer| match peer.found {
        Found::Server { role, lsn, .. } if role.follows() => lsn,
        _ => None,
    };
    let best = present.peers.iter().filter_map(|peer| Some((end(peer)?, peer))).max_by_key(|(lsn, _)| *lsn);
    match best {
        Some((lsn, peer)) if lsn > own => Err(Error::refused(format!(
            "this standby lags behind another one by {} bytes: {}, and holds the log up to {}, this one up to {}",
            lsn - own,
            peer.words(),
            lsn_text(lsn),
            lsn_text(own)
        ))
        .at("/transition")
        .hint("make that one primary; force: true takes this one, and what it lacks is lost")),
        _ => Ok(()),
    }
}

fn follow(present: &Present, args: &Args) -> Result<Vec<Step>, Error> {
    let node = &present.node;
    let role = args.role.map_or(Role::Standby, Role::from);
    if !role.follows() {
        return Err(Error::bad_args(format!("state standby does not go with role {role}")).at("/role"));
    }
    if !node.running {
        let args = Args { role: args.role.or(Some(crate::args::StartRole::Standby)), ..args.clone() };
        return start(present, &args);
    }
    // Without an explicit role a cascade standby is standby enough.
    if node.role == role || (args.role.is_none() && node.role.follows()) {
        return Ok(Vec::new());
    }
    if node.role == Role::Pending {
        return Ok(vec![Step::Notify(role)]);
    }
    if !node.role.follows() && !args.force && !present.peers.iter().any(Peer::is_primary) {
        return Err(Error::refused(format!(
            "this is the {}, and no other primary is to be seen: {}",
            node.role,
            peer::words(&present.peers)
        ))
        .hint("make another node primary first (state: primary there), which turns this one into a standby; force overrides"));
    }
    Ok(vec![Step::Stop, Step::Start(Some(role))])
}

/// What is still missing of the conditions; `None` when nothing is.
#[must_use]
pub fn missing(node: &NodeState, wait: &Wait) -> Option<String> {
    if !node.running {
        return Some(format!("the server is {}", node.words()));
    }
    if let Some(role) = wait.role
        && node.role != role
    {
        return Some(format!("it is {}, not yet {role}", node.role));
    }
    if let Some(state) = wait.db_state
        && (node.db_state != state || !node.answered)
    {
        return Some(format!("{}; not yet {state}", node.words()));
    }
    let streams = |s: &&og_common::gauss::Sender| s.state == "streaming";
    let streaming: Vec<_> = node.senders.iter().filter(streams).collect();
    if let Some(count) = wait.peer_count
        && streaming.len() < count
    {
        return Some(format!("{} of {count} receivers stream", streaming.len()));
    }
    let at = |sender: &og_common::gauss::Sender, host: &str| {
        sender.peer.as_ref().is_some_and(|p| Host::new(p.host.as_str()) == Host::new(host))
    };
    for host in wait.peers.iter().flatten() {
        if !streaming.iter().any(|sender| at(sender, host)) {
            return Some(format!("{host} does not stream yet"));
        }
    }
    let most = wait.max_lag_bytes?;
    let behind = |lag: Option<u64>| lag.is_none_or(|lag| lag > most);
    let lag_words = |lag: Option<u64>| lag.map_or("unknown".to_owned(), |lag| lag.to_string());
    if let Some(receiver) = &node.receiver
        && behind(receiver.progress.lag_bytes)
    {
        return Some(format!("it is behind by {} bytes", lag_words(receiver.progress.lag_bytes)));
    }
    if node.role.follows() && node.receiver.is_none() {
        return Some(format!("{}; it does not receive", node.words()));
    }
    let wanted = |s: &&og_common::gauss::Sender| {
        wait.peers.as_ref().is_none_or(|hosts| hosts.iter().any(|host| at(s, host)))
    };
    let late = node.senders.iter().filter(wanted).find(|s| behind(s.progress.lag_bytes))?;
    let host = late.peer.as_ref().map_or("a receiver", |p| p.host.as_str());
    Some(format!("{host} is behind by {} bytes", lag_words(late.progress.lag_bytes)))
}

/// The role in a `postmaster.opts`: one line of the server's arguments, each in double quotes.
#[must_use]
pub fn role_of_opts(text: &str) -> Option<Role> {
    let mut words = text.split_whitespace().map(|word| word.trim_matches('"'));
    words.find(|word| *word == "-M")?;
    match words.next()? {
        "primary" => Some(Role::Primary),
        "standby" => Some(Role::Standby),
        "cascade_standby" => Some(Role::CascadeStandby),
        "pending" => Some(Role::Pending),
        _ => None,
    }
}
