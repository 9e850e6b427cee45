//! Whether and how to build, from what is: pure.

use og_common::gauss::managed::Means;
use og_common::gauss::peer::{self, ChannelPeer, Found};
use og_common::gauss::source::Source;
use og_common::gauss::tablespaces::{NODE_NAME, Tablespaces};
use og_common::gauss::{BuildMode, DbState, NodeState, Role};
use og_common::protocol::{Bytes, Error, ErrorKind, Lsn, Reason};

use crate::args::{Args, Mode, State};
use crate::cause;

/// What is known before anything is done.
#[derive(Clone, Debug, Default)]
pub struct Present {
    /// The node.
    pub node: NodeState,
    /// The number of its database system; `None` when it has none.
    pub system_id: Option<u64>,
    /// What the other ends of its replication channels are.
    pub peers: Vec<ChannelPeer>,
    /// What a full copy could take: what is free and those of the old copy; asked only when `min_free` is given.
    pub room: Option<Bytes>,
    /// How far the log has come that the node holds.
    pub holds: Option<Lsn>,
    /// What the primary tells that would be copied from; not asked where no build is foreseen.
    pub source: Source,
    /// The node's `pgxc_node_name`, with which it starts next.
    pub node_name: Option<String>,
    /// Its tablespaces.
    pub tablespaces: Option<Tablespaces>,
}

/// A build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How.
    pub mode: BuildMode,
    /// As what.
    pub role: Role,
    /// The `pgxc_node_name` that the node gets before: its primary's, after which the tablespaces that it copies are named.
    pub node_name: Option<String>,
    /// By gs_ctl or by CM.
    pub means: Means,
}

impl Plan {
    /// As `actions` say it.
    #[must_use]
    pub fn describe(&self) -> String {
        let mode = match self.mode {
            BuildMode::Auto => "incrementally where that serves, else in full",
            BuildMode::Incremental => "incrementally",
            BuildMode::Full | BuildMode::StandbyFull => "in full",
        };
        let by = if self.means == Means::Own { "" } else { " by CM (cm_ctl build)" };
        format!("build the node as {} {mode}{by}", self.role)
    }

    /// All that is done, as `actions` say it.
    #[must_use]
    pub fn actions(&self) -> Vec<String> {
        let renames = self.node_name.as_deref().map(rename_action);
        renames.into_iter().chain([self.describe()]).collect()
    }
}

/// That the node gets its primary's name, as `actions` say it.
#[must_use]
pub fn rename_action(name: &str) -> String {
    format!("set {NODE_NAME} to {name}, the primary's: its tablespaces' directories are named after it")
}

/// The build to be done; `None` when none is needed.
///
/// # Errors
/// `busy` while another build runs; `refused` by a safety rule.
pub fn plan(present: &Present, args: &Args) -> Result<Option<Plan>, Error> {
    let node = &present.node;
    if args.state == State::Query {
        return Ok(None);
    }
    if let Some(pid) = node.build.as_ref().filter(|b| b.running).map(|b| b.pid.unwrap_or(0)) {
        return Err(Error::new(
            ErrorKind::Busy,
            format!("another build of this node runs already (process {pid})"),
        )
        .reason(Reason::Building)
        .hint("follow it with state: query"));
    }
    if needs_nothing(present, args) {
        return Ok(None);
    }
    refuse_unsafe_overwrite(node, args)?;
    refuse_changing_state(node, args)?;
    refuse_unanswered(node, args)?;
    let (peer, source) = choose_source(&present.peers)?;
    if !args.force {
        check_only_primary(&present.peers)?;
        check_source_is_newest(present, peer)?;
    }
    if let (Some(needed), Some(room)) = (args.min_free, present.room)
        && room < needed
    {
        return Err(Error::refused(format!("the copy needs {needed}, and there is room for {room} only"))
            .reason(Reason::DiskFull)
            .with_path("/min_free")
            .hint("make room on the file system of data_dir"));
    }
    let was = if node.role == Role::CascadeStandby { node.role } else { Role::Standby };
    let role = args.role.map_or(was, Role::from);
    let mode = choose_mode(present, args, source)?;
    if !args.force {
        check_senders_left(present, mode)?;
    }
    Ok(Some(Plan { mode, role, node_name: other_name(present).map(str::to_owned), means: Means::Own }))
}

/// Whether the node needs no build: it streams, and sees the tablespaces that it has.
#[must_use]
pub fn needs_nothing(present: &Present, args: &Args) -> bool {
    let blind = present.tablespaces.as_ref().is_some_and(Tablespaces::has_hidden_content);
    is_well(&present.node, args) && !blind
}

/// The primary's name, where the node's is another one and it matters: the primary has tablespaces, or does not tell.
fn other_name(present: &Present) -> Option<&str> {
    let name = present.source.node_name.as_deref()?;
    let matters = present.source.tablespaces != Some(0) || present.tablespaces.is_some();
    (matters && present.node_name.as_deref() != Some(name)).then_some(name)
}

/// Refuses a build for which the source has no WAL senders left: it would fail with the server stopped. One that streams
/// gives its own back.
fn check_senders_left(present: &Present, mode: BuildMode) -> Result<(), Error> {
    let Some(senders) = present.source.senders else { return Ok(()) };
    let needed = if mode == BuildMode::Full { 2 } else { 1 };
    let own = u32::from(present.node.receiver.is_some());
    if senders.allowed.saturating_sub(senders.used) + own >= needed {
        return Ok(());
    }
    Err(cause::no_senders_error(&present.source)
        .hint(format!("{}; force: true tries all the same", cause::RAISE_SENDERS_HINT)))
}

/// Whether the node needs no build, whatever its peers are. One that is behind and catches up needs none.
#[must_use]
pub fn is_well(node: &NodeState, args: &Args) -> bool {
    let catches_up = node.db_state == DbState::Catchup && node.receiver.is_some();
    is_left_if_streaming(node, args) && node.answered && (node.is_healthy() || catches_up)
}

/// Whether a standby is to be left as it is, if it streams.
fn is_left_if_streaming(node: &NodeState, args: &Args) -> bool {
    let as_wanted = args.role.is_none_or(|role| Role::from(role) == node.role);
    args.mode == Mode::Auto && node.running && node.role.is_following() && as_wanted
}

/// Whether the node may be well in a moment: for two seconds after a start, and some after its primary was out of reach, a
/// standby says that it needs repair.
#[must_use]
pub fn may_recover(node: &NodeState, args: &Args) -> bool {
    is_left_if_streaming(node, args)
        && !is_well(node, args)
        && node.build.is_none()
        && !node.has_lost_its_primary()
}

/// Refuses a standby that starts or changes its role: replaying its log after a crash may take minutes, and nothing is
/// wrong with it then.
fn refuse_changing_state(node: &NodeState, args: &Args) -> Result<(), Error> {
    let on_its_way = matches!(
        node.db_state,
        DbState::Starting | DbState::WaitPromoting | DbState::Promoting | DbState::Demoting
    );
    if !is_left_if_streaming(node, args) || !on_its_way {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Busy, format!("the server is {}", node.db_state.words().to_lowercase()))
        .with_path("/mode")
        .hint("wait until that is over (og_node_state with wait); mode: full or incremental builds all the same"))
}

/// Refuses a standby that last said that it streams, and does not let gs_ctl in to say it again.
fn refuse_unanswered(node: &NodeState, args: &Args) -> Result<(), Error> {
    if !is_left_if_streaming(node, args) || node.answered || node.db_state != DbState::Normal {
        return Ok(());
    }
    let why = node.detail.as_deref().unwrap_or_default().lines().next().unwrap_or_default();
    Err(Error::refused(format!("the server runs, and whether it streams cannot be asked: {why}"))
        .with_path("/mode")
        .hint("are its own addresses in its pg_hba.conf (og_hba)? mode: full or incremental builds all the same"))
}

fn refuse_unsafe_overwrite(node: &NodeState, args: &Args) -> Result<(), Error> {
    if node.running && node.role == Role::Primary {
        return Err(Error::refused("the node is a running primary, and a build would delete what it holds")
            .hint("make another node primary first: og_node_state with state primary there"));
    }
    if args.force || !matches!(node.role, Role::Primary | Role::Normal) {
        return Ok(());
    }
    let what = if node.role == Role::Primary { "was a primary" } else { "is a single server" };
    Err(Error::refused(format!(
        "the node {what} when it last ran, and a build deletes what its primary has not"
    ))
    .with_path("/force")
    .hint("force: true overrides, when all that it holds may go"))
}

/// Refuses to copy from a primary that is behind what this node holds: its copy may be the only one of that.
fn check_source_is_newest(present: &Present, peer: &ChannelPeer) -> Result<(), Error> {
    let Found::Server { system_id, lsn, term, .. } = &peer.found else { return Ok(()) };
    // Positions of different systems cannot be compared.
    if present.system_id.is_none() || present.system_id != *system_id {
        return Ok(());
    }
    let older = match (present.node.term, *term) {
        (Some(own), Some(there)) if own > there => {
            Some(format!("is of term {there}, and this node has followed one of term {own}"))
        }
        _ => None,
    };
    let behind = match (present.holds, *lsn) {
        (Some(own), Some(there)) if own > there => Some(format!(
            "has its log up to {} only, and this node holds {} more, up to {}",
            there,
            own.bytes_since(there),
            own
        )),
        _ => None,
    };
    let Some(why) = older.or(behind) else { return Ok(()) };
    Err(Error::refused(format!("{}, but {why}: this node may be the only up-to-date copy", peer.words()))
        .with_path("/force")
        .hint(
            "find out which node is to be primary; force: true builds, and what only this node holds is lost",
        ))
}

/// The primary that a build would copy from, and its system's number. A server that tells to be something else than a
/// primary or a standby is taken where there is no primary: gs_ctl will find out.
pub fn choose_source(peers: &[ChannelPeer]) -> Result<(&ChannelPeer, Option<u64>), Error> {
    let of = |wanted: &[Role]| {
        peers.iter().find_map(|peer| match &peer.found {
            Found::Server { role, system_id, .. } if wanted.contains(role) => Some((peer, *system_id)),
            _ => None,
        })
    };
    of(&[Role::Primary]).or_else(|| of(&[Role::Normal, Role::Unknown])).ok_or_else(|| {
        let error = Error::refused(format!(
            "no primary can be reached through this node's replication channels: {}",
            peer::describe_peers(peers)
        ));
        let full = peers
            .iter()
            .any(|peer| matches!(&peer.found, Found::Reserved(words) if cause::says_senders_full(words)));
        if full { error.reason(Reason::NotEnoughWalSenders) } else { error }
            .hint(cause::unreachable_hint(peers))
    })
}

/// Refuses when two servers say that they are the primary: gs_ctl copies from whichever answers first.
fn check_only_primary(peers: &[ChannelPeer]) -> Result<(), Error> {
    let primaries: Vec<_> = peers.iter().filter(|peer| peer.is_primary()).map(ChannelPeer::words).collect();
    if primaries.len() < 2 {
        return Ok(());
    }
    Err(Error::refused(format!("there is more than one primary: {}", primaries.join(", ")))
        .hint("stop the wrong one first; force: true builds from whichever gs_ctl finds"))
}

fn choose_mode(present: &Present, args: &Args, source: Option<u64>) -> Result<BuildMode, Error> {
    let interrupted = present.node.build.as_ref().is_some_and(|b| b.interrupted);
    let foreign = match (present.system_id, source) {
        (Some(own), Some(source)) => own != source,
        (None, _) => true,
        (Some(_), None) => false,
    };
    let misnamed = present.tablespaces.as_ref().is_some_and(|found| {
        found.needs_full_build()
            || present.source.node_name.as_ref().is_some_and(|name| !found.names.contains(name))
    });
    // openGauss would try in vain three times, with the server stopped, and leave it so.
    let only_full = match (interrupted, foreign) {
        (true, _) => Some("the last build died half done"),
        (_, true) => Some("the node's data is of another database system than its primary's"),
        _ if misnamed => Some("the node's tablespaces lie in directories of another name than its primary's"),
        _ => None,
    };
    match (args.mode, only_full) {
        (Mode::Full, _) | (Mode::Auto, Some(_)) => Ok(BuildMode::Full),
        (Mode::Auto, None) => Ok(BuildMode::Auto),
        (Mode::Incremental, None) => Ok(BuildMode::Incremental),
        (Mode::Incremental, Some(why)) => {
            Err(Error::refused(format!("an incremental build cannot serve: {why}"))
                .with_path("/mode")
                .hint("use mode: full or auto"))
        }
    }
}
