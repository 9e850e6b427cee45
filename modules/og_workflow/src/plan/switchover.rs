//! Findings and plan of a switchover: a standby and the primary exchange their roles.

use og_common::conf::is_on;
use og_common::gauss::managed::Act;
use og_common::gauss::{DbState, Role, fork};
use og_common::protocol::Bytes;
use og_common::standby_names::StandbyNames;
use schemars::JsonSchema;
use serde::Serialize;

use super::repair::has_open_fork;
use super::{
    DeferredRestore, Files, MOST_AVAILABLE, Outlook, SYNC_NAMES, Shared, deferred_restores, leftover_values,
};
use crate::args::{LongTransactions, Options};
use crate::cluster::{Cluster, Node, TargetKind, canonical, node_names, role_in_words};

/// The variable that names the node.
pub const VARIABLE: &str = "og_switchover";
/// A transaction that has been open for so many seconds is long: a switchover ends it.
pub const LONG_TRANSACTION_SECONDS: u64 = 15;

/// The plan of this workflow.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Switchover {
    /// What the changing workflows plan.
    #[serde(flatten)]
    pub shared: Shared,
    /// The change of roles, and what follows it.
    pub hand_over: HandOver,
    /// Whether long transactions are waited for, or ended, before.
    pub clear_transactions: bool,
    /// How `og_guc` is called first, to bring back what a killed run left.
    pub restore_now: Option<DeferredRestore>,
}

/// A change of roles, and what follows it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct HandOver {
    /// The old primary; where the new one is primary already, the new one.
    pub from: String,
    /// The new primary.
    pub to: String,
    /// Members that follow it afterwards, and can be reached.
    pub followers: Vec<String>,
    /// What `synchronous_standby_names` is to be on the new primary; none where it may stay.
    pub sync_names: Option<String>,
    /// Whether the change of roles is put on record beside the failovers, for the repair of a node that one of them replaced.
    pub is_recorded: bool,
    /// The cluster's files.
    pub files: Files,
}

impl HandOver {
    /// Whether the roles are as wanted already.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.from == self.to
    }
}

/// Findings and plan of making this node the primary.
#[must_use]
pub fn switchover(nodes: &[Node], targets: &[String], options: &Options) -> Outlook<Switchover> {
    let mut c = Cluster::new(nodes, targets, TargetKind::Kept(VARIABLE));
    let all = c.members.clone();
    exclude_members(&mut c, options);
    c.check();
    super::managed::check(&mut c, Act::Switchover);
    if targets.len() > 1 {
        c.findings
            .push(format!("{VARIABLE}: {} are named, and one node becomes primary", targets.join(", ")));
    }
    let (Some(primary), [to]) = (c.primary, &c.targets.clone()[..]) else {
        if targets.is_empty() {
            c.findings.push(format!("{VARIABLE} is not given: name the standby that becomes primary"));
        }
        return Outlook::new(c, None);
    };
    let to = *to;
    if primary != to {
        // Its name is the one that commits wait for afterwards.
        c.check_name(primary);
        check_ready(&mut c, primary, to, options.og_max_lag_bytes);
    }
    let hand_over = hand_over(&mut c, primary, to, &all);
    let long: Vec<String> = primary
        .seen()
        .transactions
        .iter()
        .map(|it| format!("of {} in {} (pid {}) for {} s", it.user, it.database, it.pid, it.age_s))
        .collect();
    if options.og_long_transactions == LongTransactions::Refuse && !long.is_empty() && primary != to {
        c.findings.push(format!(
            "{}: transactions have been open for more than {LONG_TRANSACTION_SECONDS} s, which a switchover ends: {}; wait for their end, or \
             give og_long_transactions=wait or cancel",
            primary.name,
            long.join(", ")
        ));
    }
    let left = leftover_values(&c);
    let shared = Shared::new(&c, primary, "switchover to", left.clone());
    let plan = Switchover {
        shared,
        clear_transactions: options.og_long_transactions != LongTransactions::Refuse && primary != to,
        hand_over,
        restore_now: DeferredRestore::from_values(&deferred_restores(&left)),
    };
    Outlook::new(c, Some(plan))
}

/// Plans that this standby takes the primary's place within another workflow, by every rule of [`switchover`] and of the
/// preflight checks that it is begun with. The second value tells which of these could not be made.
///
/// # Errors
/// Why a switchover to it would be refused.
pub(super) fn judge_candidate(
    nodes: &[Node],
    to: &str,
    options: &Options,
) -> Result<(HandOver, Vec<String>), Vec<String>> {
    let mut outlook = switchover(nodes, &[to.to_owned()], options);
    let unmade = super::preflight::check_candidate(&mut outlook, nodes, to, options);
    match outlook.plan {
        Some(plan) => Ok((plan.hand_over, unmade)),
        None => Err(outlook.findings),
    }
}

/// The names in `og_without`.
fn excluded_names(options: &Options) -> impl Iterator<Item = &str> {
    options.og_without.split(',').map(str::trim).filter(|name| !name.is_empty())
}

/// Whether the node cannot take part in the switchover, and the user does without it.
pub(super) fn is_excluded(n: &Node, options: &Options) -> bool {
    let is_missing = !n.is_reachable() || n.seen().state_error.is_some() || !n.state().running;
    is_missing && excluded_names(options).any(|name| name == n.name)
}

/// Takes those members out that cannot take part, and that the user does without.
fn exclude_members(c: &mut Cluster, options: &Options) {
    for name in excluded_names(options) {
        if !c.nodes.iter().any(|n| n.name == name) {
            let known = node_names(c.nodes.iter()).join(", ");
            c.findings.push(format!("og_without: {name} is no host of the inventory (it has {known})"));
        }
    }
    let given_up: Vec<&Node> = c.members.iter().copied().filter(|n| is_excluded(n, options)).collect();
    c.members.retain(|n| !given_up.contains(n));
    for n in given_up {
        c.warnings.push(format!(
            "{}: does not take part (og_without); its files still name the old primary: run this again when it is back",
            n.name
        ));
    }
}

/// Whether the standby can take over from the living primary.
fn check_ready(c: &mut Cluster, primary: &Node, to: &Node, most_lag: Bytes) {
    let name = &to.name;
    match to.live_role() {
        Some(Role::Standby) => {}
        Some(Role::CascadeStandby) => {
            let upstream = to.upstream().unwrap_or_else(|| "a standby".to_owned());
            c.findings.push(format!(
                "{name} is a cascade standby and follows {upstream}: a switchover there would only exchange it with that \
                 standby; choose a standby of the primary"
            ));
            return;
        }
        Some(role) => {
            c.findings.push(format!("{name} runs as {}, and no standby", role_in_words(role)));
            return;
        }
        // That it cannot be reached, or is down, is a finding where it is a member.
        None if c.members.contains(&to) => return,
        None => {
            c.findings.push(format!("{name} is no member of the cluster of {}; add it first", primary.name));
            return;
        }
    }
    let state = to.state();
    let address = canonical(&to.address);
    let sender = primary
        .state()
        .senders
        .iter()
        .find(|s| s.peer.as_ref().is_some_and(|peer| canonical(&peer.host) == address));
    if !to.is_streaming() || sender.is_none() || state.db_state != DbState::Normal {
        let state_words = crate::cluster::describe_state(state.db_state);
        c.findings.push(format!(
            "{name} does not stream from {} (it is {state_words}); repair it first, or choose another standby",
            primary.name
        ));
    } else if let Some(lag) = sender.and_then(|s| s.progress.lag_bytes).filter(|lag| *lag > most_lag) {
        c.findings.push(format!(
            "{name} is {lag} behind, and nobody could write until it has replayed that; wait until it has caught up, \
             or raise og_max_lag_bytes ({})",
            most_lag.as_u64()
        ));
    }
}

/// Whether a repair will ask how the role of the primary went on from here. What would push an older change out of a record is
/// left out: without it nothing is proved, and nothing is given up.
pub(super) fn needs_record(primary: &Node, nodes: &[Node]) -> bool {
    has_open_fork(primary, nodes) && nodes.iter().all(|n| n.seen().forks.len() + 1 < fork::MAX_FORKS)
}

/// The change of roles between a primary and a standby of it; `all` are the members, also those that do not take part.
/// Finds what would keep commits from being confirmed afterwards.
fn hand_over(c: &mut Cluster, primary: &Node, to: &Node, all: &[&Node]) -> HandOver {
    let followers = c.members.iter().copied().filter(|n| *n != to);
    let mut it = HandOver {
        from: primary.name.clone(),
        to: to.name.clone(),
        followers: node_names(followers),
        sync_names: None,
        is_recorded: needs_record(primary, c.nodes),
        files: Files::with_roles(to, all),
    };
    if it.is_done() {
        return it;
    }
    let Some(value) = primary.works_with(SYNC_NAMES) else { return it };
    let Ok(value) = StandbyNames::parse(value) else { return it };
    let wanted = value.rename(&to.app_name, &primary.app_name);
    let streams = |n: &&Node| n.live_role() == Some(Role::Standby) && n.is_streaming() && *n != to;
    let streaming = c.members.iter().copied().filter(streams);
    let streaming: Vec<String> = streaming.chain([primary]).map(|n| n.app_name.clone()).collect();
    if let Some(missing) = wanted.missing(&streaming) {
        let what = format!("{}: with it as primary synchronous commits would wait: {missing}", to.name);
        if primary.works_with(MOST_AVAILABLE).is_some_and(is_on) {
            c.warnings.push(format!("{what}; they go on alone (most_available_sync)"));
        } else {
            c.findings.push(format!(
                "{what}; start or repair what is missing, or change {SYNC_NAMES} of {} first (og_guc)",
                primary.name
            ));
        }
    }
    let has = to.parameter(SYNC_NAMES).and_then(|value| StandbyNames::parse(value).ok());
    it.sync_names = Some(wanted.to_string()).filter(|_| has.as_ref() != Some(&wanted));
    it
}
