//! What is to be done, from what is: pure.

use og_common::gauss::cm_ctl::CmAct;
use og_common::gauss::cm_query::CmView;
use og_common::gauss::managed::CmTarget;
use og_common::gauss::peer::ChannelPeer;
use og_common::gauss::{LogPosition, NodeState, Role, StopMode};
use og_common::protocol::{Bytes, Error, ErrorKind, Reason};
use og_common::replconn::ChannelHost;

use crate::args::{Args, StartRole, State, Transition, Wait};
use crate::transition::{By, Change, judge, leads, unclear_peers};

/// What is known before anything is done.
#[derive(Clone, Debug, Default)]
pub struct Present {
    /// The node.
    pub node: NodeState,
    /// The role that `postmaster.opts` tells of the last start.
    pub started_as: Option<Role>,
    /// What the other ends of the replication channels are; asked for only where [`needs_peers`] says so.
    pub peers: Vec<ChannelPeer>,
    /// How far the log goes that this node holds; read after the peers were asked, and only where they were.
    pub log: LogPosition,
    /// The number of its database system.
    pub system_id: Option<u64>,
    /// Whether postgresql.conf has a replconninfo1, without which a server is a single node.
    pub has_channel: bool,
    /// Whether a start of the node waits for the others.
    pub waits: bool,
    /// Whether the last run of a stopped standby ended without hope to follow its primary.
    pub left_behind: bool,
    /// The limits of which this node has less than its primary.
    pub low_limits: Vec<String>,
    /// The server as cm_ctl names it, where CM is to do the act.
    pub cm_target: CmTarget,
    /// What CM says of the cluster; asked only where a cm_server is to do the act.
    pub cm_view: Option<CmView>,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Start in this role; `None` leaves it to the configuration.
    Start(Option<Role>),
    /// Stop.
    Stop,
    /// End a start that waits for the other nodes.
    EndWait,
    /// Read the configuration files again.
    Reload,
    /// Take over from the living primary.
    Switchover,
    /// Take over from a dead primary.
    Failover,
    /// Tell a server in the pending role what to be.
    Notify(Role),
    /// Have CM do it.
    Cm(CmAct),
}

impl Step {
    /// What goes on without the call once it has been begun.
    #[must_use]
    pub fn goes_on(self) -> Option<&'static str> {
        match self {
            Self::Cm(_) => Some(
                "CM goes on with it: inspect it with state: query and cm_view: true before anything else",
            ),
            Self::Start(_) => {
                Some("the server comes up all the same: inspect it with state: query, or wait for it")
            }
            Self::Stop => Some("the server goes on stopping: inspect it with state: query, and call again"),
            Self::Switchover | Self::Failover => Some(
                "the server goes on with it: inspect this node and the old primary (state: query) before anything else",
            ),
            Self::Notify(_) => Some("the server takes its role all the same: inspect it with state: query"),
            Self::Reload | Self::EndWait => None,
        }
    }

    /// As `actions` say it.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Start(Some(role)) => format!("start the server as {role}"),
            Self::Start(None) => "start the server".to_owned(),
            Self::Stop => "stop the server".to_owned(),
            Self::EndWait => "end the start that waits for the other nodes".to_owned(),
            Self::Reload => "reload the configuration".to_owned(),
            Self::Switchover => "switch over: become primary in its place".to_owned(),
            Self::Failover => "fail over: become primary without the old one".to_owned(),
            Self::Notify(role) => format!("tell the pending server to be {role}"),
            Self::Cm(CmAct::Start) => "start the server by CM (cm_ctl start)".to_owned(),
            Self::Cm(CmAct::Stop(_)) => {
                "stop the server by CM (cm_ctl stop), which keeps it stopped".to_owned()
            }
            Self::Cm(CmAct::Switchover) => {
                "switch over by CM (cm_ctl switchover): become primary in its place".to_owned()
            }
        }
    }
}

/// Whether the plan may depend on the peers: whenever this server becomes a primary or may cease to be one.
#[must_use]
pub fn needs_peers(present: &Present, args: &Args) -> bool {
    let node = &present.node;
    let starts = || planned_start_role(present, args).1 || (node.running && leads(node.role));
    match args.state {
        State::Query | State::Stopped | State::Reloaded | State::ForkRecorded => false,
        State::Started => !node.running && starts(),
        State::Restarted => starts(),
        State::Primary => node.running && node.role != Role::Primary,
        State::Standby => node.running && leads(node.role),
    }
}

/// The role it runs in, or ran in last.
///
/// Where the two traces of the last run differ, the one that cannot make a second primary counts.
pub(crate) fn last_role(present: &Present) -> Role {
    let node = &present.node;
    let unsaid = if node.running { node.role == Role::Unknown } else { !node.role.is_following() };
    present.started_as.filter(|_| unsaid).unwrap_or(node.role)
}

/// What a start makes of the server: the role it is told, `None` leaves that to the configuration; and whether it takes
/// writes then.
///
/// Without `-M` a stopped standby would come up as primary as soon as it has a replconninfo1, so the role is always said.
fn planned_start_role(present: &Present, args: &Args) -> (Option<Role>, bool) {
    let role = args.role.map_or_else(|| last_role(present), Role::from);
    match role {
        // A single node that was given its first standby is a primary from now on.
        Role::Normal | Role::Unknown => (present.has_channel.then_some(Role::Primary), true),
        Role::Primary => (Some(role), true),
        Role::Standby | Role::CascadeStandby | Role::Pending => (Some(role), false),
        // Of a disaster recovery cluster, whose configuration decides.
        Role::Recovery | Role::MainStandby | Role::StandbyCluster => (None, false),
    }
}

/// Whether the server would take writes if it were started.
#[must_use]
pub fn leads_when_started(present: &Present, args: &Args) -> bool {
    planned_start_role(present, args).1
}

/// The steps from what is to what is wanted.
///
/// # Errors
/// `refused` when a safety rule forbids it; `busy` while the node is being built; `not_found` when a server that is not
/// there is to be reloaded or promoted.
pub fn plan(present: &Present, args: &Args) -> Result<Vec<Step>, Error> {
    let node = &present.node;
    refuse_busy(node, args)?;
    match args.state {
        State::Query | State::ForkRecorded => Ok(Vec::new()),
        State::Started if node.running => match args.role.map(Role::from) {
            Some(role) if !is_role(node.role, role) => {
                Err(Error::refused(format!("the server runs as {}, not as {role}", node.role))
                    .reason(Reason::WrongRole)
                    .with_path("/role")
                    .hint("use state restarted, primary or standby to change the role of a server that runs"))
            }
            _ => Ok(Vec::new()),
        },
        State::Started => start(present, args),
        State::Stopped => {
            let end = present.waits.then_some(Step::EndWait);
            Ok(end.into_iter().chain(node.running.then_some(Step::Stop)).collect())
        }
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

/// Refuses what a server that is being built, or whose process is stopped (T), cannot do.
pub(crate) fn refuse_busy(node: &NodeState, args: &Args) -> Result<(), Error> {
    if args.state != State::Query && node.build.as_ref().is_some_and(|b| b.running) {
        return Err(Error::new(
            ErrorKind::Busy,
            "the node is being built, and will be started at the end of it",
        )
        .reason(Reason::Building)
        .hint("wait for the build, or end it"));
    }
    if node.frozen { refuse_frozen(node, args) } else { Ok(()) }
}

fn not_running(what: &str) -> Error {
    Error::not_found(format!("no server runs here that could be {what}"))
        .hint("start it first: state started")
}

/// Whether a server that says it is `seen` is what was asked for: one without replconninfo says that it is normal,
/// whatever it was started as. But a primary is no single node.
#[must_use]
pub fn is_role(seen: Role, wanted: Role) -> bool {
    seen == wanted || (wanted == Role::Primary && seen == Role::Normal)
}

/// Refuses what a server whose process is stopped (T) cannot do.
fn refuse_frozen(node: &NodeState, args: &Args) -> Result<(), Error> {
    let ends = matches!(args.state, State::Stopped | State::Restarted | State::Standby);
    if args.state == State::Query || (ends && args.stop_mode == StopMode::Immediate) {
        return Ok(());
    }
    let pid = node.pid.unwrap_or_default();
    Err(Error::refused(format!("the server does not answer: its process {pid} is stopped (T)"))
        .reason(Reason::Frozen)
        .hint(format!(
            "let it go on (kill -CONT {pid}), or end it: state: stopped with stop_mode: immediate"
        )))
}

/// Checks a change of role against the safety table.
pub(crate) fn check_change(present: &Present, args: &Args, by: By, will_lead: bool) -> Result<(), Error> {
    if args.force {
        return Ok(());
    }
    let node = &present.node;
    let change = Change {
        running: node.running,
        is: last_role(present),
        will_lead,
        by,
        // A cascade standby receives from a standby.
        receives: node.receiver.is_some() && node.role == Role::Standby,
        streams: node.is_healthy(),
        lag_bytes: node
            .receiver
            .as_ref()
            .and_then(|receiver| receiver.progress.lag_bytes)
            .unwrap_or_default(),
        left_behind: node.has_lost_its_primary() || present.left_behind,
        unattended: args.unattended,
        log: present.log,
        system_id: present.system_id,
        peers: &present.peers,
    };
    judge(&change).map_err(|refusal| refusal.into_error(&change, &node.words()))
}

/// Refuses to start what a build has left half done.
pub(crate) fn refuse_half_built(node: &NodeState) -> Result<(), Error> {
    if node.build.as_ref().is_some_and(|b| b.interrupted) {
        return Err(Error::refused("a build of this node died half done, so its server cannot start")
            .reason(Reason::BuildIncomplete)
            .hint("build it again: og_build"));
    }
    Ok(())
}

fn start(present: &Present, args: &Args) -> Result<Vec<Step>, Error> {
    refuse_half_built(&present.node)?;
    if args.role == Some(StartRole::Normal) && present.has_channel {
        return Err(Error::refused("a server with a replconninfo1 is a primary, and no single node")
            .reason(Reason::WrongRole)
            .with_path("/role")
            .hint("use role: primary, or take its replication channels away first (og_replconninfo)"));
    }
    let (role, will_lead) = planned_start_role(present, args);
    if args.unattended && !will_lead && !present.has_channel {
        return Err(Error::refused(
            "the node has no replication channel: a server that followed would come up as a single one, and take writes",
        )
        .reason(Reason::WrongRole)
        .with_path("/unattended")
        .hint("add it to its cluster again (og expand), or remove the unit that starts it (og_host with state: absent)"));
    }
    check_change(present, args, By::Start, will_lead)?;
    Ok(vec![Step::Start(role)])
}

/// Of a primary that is started: the peers that could not tell whether one of them is primary, or holds more.
#[must_use]
pub fn unclear_peer_warnings(present: &Present, args: &Args, steps: &[Step]) -> Vec<String> {
    let starts = args.state != State::Standby && steps.iter().any(|step| matches!(step, Step::Start(_)));
    let starts = starts && planned_start_role(present, args).1;
    let told = |peer: &ChannelPeer| {
        format!("{}, so it is not known whether it is primary or holds more of the log", peer.words())
    };
    if starts { unclear_peers(&present.peers).map(told).collect() } else { Vec::new() }
}

fn promote(present: &Present, args: &Args) -> Result<Vec<Step>, Error> {
    let node = &present.node;
    if !node.running {
        return Err(not_running("made primary"));
    }
    let (by, step) = match (node.role, args.transition) {
        (Role::Primary, _) => return Ok(Vec::new()),
        (Role::Normal, _) => {
            return Err(Error::refused("a single node is no primary until it has a replconninfo1")
                .reason(Reason::WrongRole)
                .hint("give it a standby: og_replconninfo"));
        }
        (Role::CascadeStandby, Transition::Switchover) => {
            return Err(Error::refused(
                "a cascade standby cannot take over from the primary: a switchover would swap it with the standby it follows",
            )
            .reason(Reason::WrongRole)
            .with_path("/transition"));
        }
        (Role::Pending, _) => (By::Notify, Step::Notify(Role::Primary)),
        (_, Transition::Switchover) => (By::Switchover, Step::Switchover),
        (_, Transition::Failover) => (By::Failover, Step::Failover),
    };
    check_change(present, args, by, true)?;
    Ok(vec![step])
}

fn follow(present: &Present, args: &Args) -> Result<Vec<Step>, Error> {
    let node = &present.node;
    let role = args.role.map_or(Role::Standby, Role::from);
    if !role.is_following() {
        return Err(Error::bad_args(format!("state standby does not go with role {role}")).with_path("/role"));
    }
    if !node.running {
        let args = Args { role: args.role.or(Some(StartRole::Standby)), ..args.clone() };
        return start(present, &args);
    }
    // Without an explicit role a cascade standby is standby enough.
    if node.role == role || (args.role.is_none() && node.role.is_following()) {
        return Ok(Vec::new());
    }
    if node.role == Role::Pending {
        check_change(present, args, By::Notify, false)?;
        return Ok(vec![Step::Notify(role)]);
    }
    check_change(present, args, By::Start, false)?;
    Ok(vec![Step::Stop, Step::Start(Some(role))])
}

/// How a primary calls a receiver that `synchronous_standby_names` counts.
const SYNC_STATES: [&str; 3] = ["sync", "quorum", "potential"];

/// Returns the first condition that is not met yet.
#[must_use]
pub fn unmet_condition(node: &NodeState, wait: &Wait) -> Option<String> {
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
        sender.peer.as_ref().is_some_and(|p| ChannelHost::new(p.host.as_str()) == ChannelHost::new(host))
    };
    for host in wait.peers.iter().flatten() {
        if !streaming.iter().any(|sender| at(sender, host)) {
            return Some(format!("{host} does not stream yet"));
        }
    }
    let counts = |sender: &og_common::gauss::Sender| {
        sender.sync_state.as_deref().is_some_and(|state| SYNC_STATES.contains(&state))
    };
    for host in wait.sync_peers.iter().flatten() {
        if !streaming.iter().any(|sender| at(sender, host) && counts(sender)) {
            return Some(format!("{host} does not count for synchronous_standby_names yet"));
        }
    }
    let most = wait.max_lag_bytes?;
    let behind = |lag: Option<Bytes>| lag.is_none_or(|lag| lag > most);
    let lag_words = |lag: Option<Bytes>| lag.map_or("an unknown amount".to_owned(), |lag| lag.to_string());
    if let Some(receiver) = &node.receiver
        && behind(receiver.progress.lag_bytes)
    {
        return Some(format!("it is behind by {}", lag_words(receiver.progress.lag_bytes)));
    }
    if node.role.is_following() && node.receiver.is_none() {
        return Some(format!("{}; it does not receive", node.words()));
    }
    // A condition on standbys needs standbys.
    let least = wait.peer_count.unwrap_or(1);
    if leads(node.role) && wait.peers.is_none() && streaming.len() < least {
        return Some("no standby streams from it whose lag could be told".to_owned());
    }
    let wanted = |s: &&og_common::gauss::Sender| {
        wait.peers.as_ref().is_none_or(|hosts| hosts.iter().any(|host| at(s, host)))
    };
    let late = node.senders.iter().filter(wanted).find(|s| behind(s.progress.lag_bytes))?;
    let host = late.peer.as_ref().map_or("a receiver", |p| p.host.as_str());
    Some(format!("{host} is behind by {}", lag_words(late.progress.lag_bytes)))
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
