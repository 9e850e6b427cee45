//! Findings and plan of a rolling restart.

use std::collections::{BTreeMap, BTreeSet};

use og_common::conf::is_on;
use og_common::gauss::Role;
use og_common::gauss::control::LIMITS;
use og_common::gauss::managed::Act;
use og_common::protocol::Bytes;
use og_common::standby_names::StandbyNames;

use super::switchover::{judge_candidate, needs_record};
use super::{
    DeferredRestore, Files, HandOver, MOST_AVAILABLE, Outlook, SYNC_NAMES, Shared, deferred_restores,
    leftover_values,
};
use crate::args::{Options, RestartCommits};
use crate::cluster::{Cluster, Node, TargetKind, canonical, node_names};
use crate::health::ClusterHealth;
use crate::health::assess::assess;

/// The variable that names the nodes.
pub const VARIABLE: &str = "og_restart";

/// The plan of this workflow.
#[derive(Clone, Debug)]
pub struct Restart {
    /// What the changing workflows plan.
    pub shared: Shared,
    /// Where the lock is taken: on the primary, on whoever may take its place, and where a killed run has left one.
    pub locks: Vec<String>,
    /// Cascade standbys, then standbys, in the order in which they are restarted.
    pub standbys: Vec<RestartedStandby>,
    /// What becomes of the primary.
    pub primary: OfPrimary,
    /// Members that follow the primary or another standby.
    pub followers: Vec<String>,
    /// The change of roles back, when a killed run has left it to be made, or the one after the restart of the old primary.
    pub back: Option<HandOver>,
    /// How `og_guc` is called first, to bring back what a killed run left.
    pub restore_now: Option<DeferredRestore>,
}

/// A standby that is restarted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartedStandby {
    /// The node.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Its address, when commits count it and are to count it again afterwards.
    pub counted: Option<String>,
}

/// What becomes of the primary.
#[derive(Clone, Debug, PartialEq)]
pub enum OfPrimary {
    /// It runs on.
    Stays,
    /// It is restarted where it is, before its standbys when `first`.
    InPlace {
        /// Whether it is restarted before its standbys.
        first: bool,
    },
    /// A standby takes its place, then it is restarted as a standby.
    HandsOver {
        /// The changes of roles that could be made, by the new primary.
        to: BTreeMap<String, HandOver>,
        /// The old primary afterwards.
        old: RestartedStandby,
    },
}

/// Settings of a node that count only after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The node.
    pub node: String,
    /// The parameters.
    pub parameters: Vec<String>,
}

impl Restart {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.standbys.is_empty() && self.primary == OfPrimary::Stays && self.back.is_none()
    }
}

/// The parameters of which a standby needs as much as its primary has.
#[must_use]
pub fn limits() -> Vec<String> {
    LIMITS.map(str::to_owned).to_vec()
}

/// The settings of these nodes that wait for a restart.
pub fn pending<'a>(nodes: impl Iterator<Item = &'a Node>) -> Vec<Pending> {
    let of = |n: &Node| Pending {
        node: n.name.clone(),
        parameters: n.seen().pending_restart.iter().cloned().collect(),
    };
    nodes.map(of).filter(|pending| !pending.parameters.is_empty()).collect()
}

/// These settings, and that they wait, in one sentence for each list of parameters.
#[must_use]
pub fn pending_in_words(pending: &[Pending]) -> Vec<String> {
    let mut said: Vec<(&[String], Vec<&str>)> = Vec::new();
    for one in pending {
        match said.iter_mut().find(|(parameters, _)| *parameters == &one.parameters[..]) {
            Some((_, nodes)) => nodes.push(&one.node),
            None => said.push((&one.parameters, vec![&one.node])),
        }
    }
    let words = |(parameters, nodes): (&[String], Vec<&str>)| {
        let count = if parameters.len() == 1 { "counts" } else { "count" };
        format!(
            "{}: {} {count} only after a restart; restart with og restart",
            nodes.join(", "),
            parameters.join(", ")
        )
    };
    said.into_iter().map(words).collect()
}

/// Findings and plan of restarting these nodes, or those of which settings wait for a restart.
#[must_use]
pub fn restart(nodes: &[Node], targets: &[String], options: &Options) -> Outlook<Restart> {
    let mut c = Cluster::new(nodes, targets, TargetKind::Kept(VARIABLE));
    c.check();
    super::managed::check(&mut c, Act::Restart);
    let Some(primary) = c.primary else { return Outlook::new(c, None) };
    let strangers = node_names(c.targets.iter().copied().filter(|n| !c.members.contains(n)));
    if !strangers.is_empty() {
        c.findings.push(format!(
            "{}: no member of the cluster of {}; restart it by itself (og_node_state with state: restarted)",
            strangers.join(", "),
            primary.name
        ));
    }
    let wanted = |n: &&Node| {
        if targets.is_empty() { !n.seen().pending_restart.is_empty() } else { c.targets.contains(n) }
    };
    let chosen: Vec<&Node> = c.members.iter().copied().filter(wanted).collect();
    let health = assess(nodes, options.og_max_lag_bytes);
    let mut standbys: Vec<&Node> = chosen.iter().copied().filter(|n| *n != primary).collect();
    standbys.sort_by_key(|n| (!n.becomes_cascade(), n.id));
    let members = c.members.clone();
    let order = Order { primary, standbys: &standbys, members: &members };
    let of_primary = if chosen.contains(&primary) {
        plan_primary(&mut c, &order, &health, options)
    } else {
        if let Some(why) = order.problem(&order.restarts()) {
            c.findings.push(format!("{why}; name all nodes, or none (og restart)"));
        }
        OfPrimary::Stays
    };
    if matches!(of_primary, OfPrimary::InPlace { .. }) && super::managed::is_acted_on_by_cm(primary) {
        c.findings.push(format!(
            "{}: would be restarted in place, and openGauss CM makes a standby primary as soon as it is stopped; \
             pause CM for it: cm_ctl pause, and cm_ctl resume afterwards",
            primary.name
        ));
    }
    let followers: Vec<RestartedStandby> =
        standbys.iter().map(|n| RestartedStandby::new(n, &health)).collect();
    if options.og_restart_commits == RestartCommits::Refuse {
        find_commit_waits(&mut c, primary, &standbys);
    }
    let left = leftover_values(&c);
    let back = plan_switch_back(&mut c, primary, &of_primary, options);
    let mut shared = Shared::new(&c, primary, "restart", left.clone());
    if options.og_switch_back && matches!(of_primary, OfPrimary::HandsOver { .. }) {
        shared.purpose.switch_back = Some(primary.name.clone());
    } else if let Some(back) = &back {
        shared.purpose.switch_back = Some(back.to.clone());
    }
    let may_lead =
        |n: &Node| matches!(&of_primary, OfPrimary::HandsOver { to, .. } if to.contains_key(&n.name));
    let is_back = |n: &Node| back.as_ref().is_some_and(|back| back.to == n.name);
    let others = members.iter().copied().filter(|n| *n != primary);
    let others = others.filter(|n| may_lead(n) || is_back(n) || n.seen().lock.is_some());
    let plan = Restart {
        locks: node_names([primary].into_iter().chain(others)),
        shared,
        standbys: followers,
        primary: of_primary,
        followers: node_names(members.iter().copied().filter(|n| *n != primary)),
        back,
        restore_now: DeferredRestore::from_values(&deferred_restores(&left)),
    };
    Outlook::new(c, Some(plan))
}

impl RestartedStandby {
    fn new(n: &Node, health: &ClusterHealth) -> Self {
        let required = health.commits.required.is_some_and(|required| required > 0);
        let counted = required && health.commits.candidates.contains(&n.name);
        Self {
            name: n.name.clone(),
            role: if n.becomes_cascade() { Role::CascadeStandby } else { Role::Standby },
            counted: counted.then(|| n.address.clone()),
        }
    }
}

/// How the primary is restarted, with what speaks against it.
fn plan_primary(c: &mut Cluster, order: &Order, health: &ClusterHealth, options: &Options) -> OfPrimary {
    let primary = order.primary;
    if c.standbys(order.members).is_empty() {
        c.warnings.push(format!(
            "{}: has no standby to hand over to, and is restarted in place: its clients are cut off, and no client can write \
             until it is back",
            primary.name
        ));
        return OfPrimary::InPlace { first: false };
    }
    let found = candidates(&nodes_restarted(c.nodes, order.standbys), health, options);
    let rolling = |to: &&Node| {
        let mut events = order.restarts();
        events.push(RestartEvent::HandsOver(to));
        if options.og_switch_back {
            events.push(RestartEvent::Leads(primary));
        }
        order.problem(&events)
    };
    let nodes = c.nodes;
    let ready: Vec<&Node> =
        found.ready.iter().filter_map(|own| nodes.iter().find(|n| n.name == own.to)).collect();
    let some = ready.first().copied().or_else(|| c.standbys(order.members).first().copied());
    if let Some(why) = some.as_ref().and_then(rolling) {
        // A limit that is lowered: standbys may have less only when their primary has.
        let mut events = vec![RestartEvent::Restart(primary)];
        events.extend(order.restarts());
        if order.problem(&events).is_some() {
            c.findings.push(format!(
                "{why}, and the other way round with another limit; change one of them, restart, then change the other"
            ));
        } else {
            c.warnings.push(format!(
                "{}: is restarted in place and before its standbys, for a limit is lowered ({why}): its clients are cut off, \
                 and no client can write until it is back",
                primary.name
            ));
        }
        return OfPrimary::InPlace { first: true };
    }
    if found.ready.is_empty() {
        // What keeps the whole cluster from it may have been found already.
        let why = found.in_words(&c.findings);
        c.findings.extend(why.into_iter().map(|why| {
            format!("{}: no standby could take its place while it is restarted ({why})", primary.name)
        }));
        return OfPrimary::Stays;
    }
    // Of several that could, those count against which nothing speaks.
    let (mut to, mut against) = (BTreeMap::new(), Vec::new());
    for (n, own) in ready.iter().zip(found.ready) {
        let waits = options.og_restart_commits == RestartCommits::Refuse;
        match waits.then(|| commit_wait_warning(primary, n, order.members)).flatten() {
            Some(why) => against.push(why),
            None => drop(to.insert(n.name.clone(), own)),
        }
    }
    if to.is_empty() {
        c.findings.extend(against.into_iter().take(1));
    }
    c.warnings.extend(found.unmade);
    let sync = sync_names(primary);
    let counted = sync.is_some_and(|names| {
        let named = ready.iter().any(|to| {
            let names = names.rename(&to.app_name, &primary.app_name);
            names.names().any(|name| name.eq_ignore_ascii_case(&primary.app_name))
        });
        names.is_star() || named
    });
    let old = RestartedStandby {
        name: primary.name.clone(),
        role: Role::Standby,
        counted: counted.then(|| primary.address.clone()),
    };
    OfPrimary::HandsOver { to, old }
}

/// The standbys of a primary, by whether a switchover to them would be made.
#[derive(Debug, Default)]
pub struct Candidates {
    /// The changes of roles that would be made, the first choice first.
    pub ready: Vec<HandOver>,
    /// The standbys to which a switchover would be refused, and why.
    pub refused: Vec<(String, Vec<String>)>,
    /// Which checks of those that are ready could not be made.
    pub unmade: Vec<String>,
}

impl Candidates {
    /// Why none of them can take the primary's place, by name; without what was `found` otherwise, and none where that is all.
    #[must_use]
    pub fn in_words(&self, found: &[String]) -> Option<String> {
        let mut said: Vec<(&String, Vec<&str>)> = Vec::new();
        for (name, reasons) in &self.refused {
            for reason in reasons.iter().filter(|reason| !found.contains(reason)) {
                match said.iter_mut().find(|(other, _)| *other == reason) {
                    Some((_, names)) => names.push(name),
                    None => said.push((reason, vec![name])),
                }
            }
        }
        let words = |(reason, names): &(&String, Vec<&str>)| {
            format!("a switchover to {} is refused: {reason}", names.join(" or "))
        };
        (!said.is_empty()).then(|| said.iter().map(words).collect::<Vec<_>>().join("; "))
    }
}

/// Judges which standbys could take the primary's place, by the rules of a switchover. The first choice are those that commits
/// wait for, then those that are least behind.
#[must_use]
pub fn candidates(nodes: &[Node], health: &ClusterHealth, options: &Options) -> Candidates {
    let mut it = Candidates::default();
    let cluster = Cluster::new(nodes, &[], TargetKind::Kept(VARIABLE));
    let mut ready = Vec::new();
    for n in cluster.standbys(&cluster.members) {
        match judge_candidate(nodes, &n.name, options) {
            Ok((own, unmade)) => ready.push((n, own, unmade)),
            Err(why) => it.refused.push((n.name.clone(), why)),
        }
    }
    let counted = |n: &Node| health.commits.candidates.contains(&n.name);
    let required = health.commits.required.is_some_and(|required| required > 0);
    if required && ready.iter().any(|(n, ..)| counted(n)) {
        // Another one may lack the last commits.
        ready.retain(|(n, ..)| counted(n));
    }
    ready.sort_by_key(|(n, ..)| {
        let own = health.node(&n.name);
        let lag = own.and_then(|own| own.replay_lag_bytes).unwrap_or(Bytes::MAX);
        (health.commits.in_reserve.contains(&n.name), lag, n.id)
    });
    for (_, own, unmade) in ready {
        it.ready.push(own);
        it.unmade.extend(unmade);
    }
    it
}

/// The nodes as they are when these were restarted: what is in their files is what they run with.
fn nodes_restarted(nodes: &[Node], restarted: &[&Node]) -> Vec<Node> {
    let mut nodes = nodes.to_vec();
    for n in nodes.iter_mut().filter(|n| restarted.contains(&&**n)) {
        if let Some(facts) = n.seen.as_mut().and_then(|seen| seen.facts.as_mut()) {
            let settings = &mut facts.settings;
            let known = settings.file.iter().filter(|(name, _)| settings.running.contains_key(*name));
            let known: Vec<_> = known.map(|(name, value)| (name.clone(), value.clone())).collect();
            settings.running.extend(known);
        }
    }
    nodes
}

/// For whom commits on the primary wait; none when they wait for nobody, or go on alone.
fn sync_names(primary: &Node) -> Option<StandbyNames> {
    if primary.works_with(MOST_AVAILABLE).is_some_and(is_on) || primary.live_role() == Some(Role::Normal) {
        return None;
    }
    StandbyNames::parse(primary.works_with(SYNC_NAMES).unwrap_or("*"))
        .ok()
        .filter(|names| !names.groups.is_empty())
}

/// Whom synchronous commits lack when only these stream.
fn missing_sync_standbys<'a>(
    names: &StandbyNames,
    streaming: impl Iterator<Item = &'a Node>,
) -> Option<String> {
    names.missing(&streaming.map(|n| n.app_name.clone()).collect::<Vec<_>>())
}

/// The standbys that receive from the primary.
fn streaming<'a>(primary: &'a Node, members: &'a [&'a Node]) -> impl Iterator<Item = &'a Node> {
    let receives = |n: &&Node| {
        n.live_role() == Some(Role::Standby)
            && n.is_streaming()
            && n.upstream().is_none_or(|upstream| upstream == canonical(&primary.address))
    };
    members.iter().copied().filter(move |n| *n != primary).filter(receives)
}

/// Finds standbys without which commits wait while they are restarted.
fn find_commit_waits(c: &mut Cluster, primary: &Node, standbys: &[&Node]) {
    let Some(sync) = sync_names(primary) else { return };
    let members = c.members.clone();
    for n in standbys.iter().filter(|n| !n.becomes_cascade()) {
        if let Some(missing) = missing_sync_standbys(&sync, streaming(primary, &members).filter(|m| *m != *n))
        {
            c.findings.push(format!(
                "{}: commits wait while it is restarted: {missing}; give og_restart_commits=wait to have them wait, or let \
                 fewer be waited for ({SYNC_NAMES}), or have {MOST_AVAILABLE} on",
                n.name
            ));
        }
    }
}

/// That commits on the new primary wait while the old one is restarted.
fn commit_wait_warning(primary: &Node, to: &Node, members: &[&Node]) -> Option<String> {
    let sync = sync_names(primary)?.rename(&to.app_name, &primary.app_name);
    let missing = missing_sync_standbys(&sync, streaming(primary, members).filter(|n| *n != to))?;
    Some(format!(
        "{}: commits on {} wait while the old primary is restarted: {missing}; give og_restart_commits=wait to have them \
         wait, or let fewer be waited for ({SYNC_NAMES}), or have {MOST_AVAILABLE} on",
        primary.name, to.name
    ))
}

/// The switchover back: after the restart of the old primary, or the one that a killed run has left.
fn plan_switch_back(
    c: &mut Cluster,
    primary: &Node,
    of_primary: &OfPrimary,
    options: &Options,
) -> Option<HandOver> {
    if !options.og_switch_back {
        return None;
    }
    let (members, nodes) = (c.members.clone(), c.nodes);
    let exchange = |from: &Node, to: &Node| HandOver {
        from: from.name.clone(),
        to: to.name.clone(),
        followers: node_names(members.iter().copied().filter(|n| *n != to)),
        // It has its own still.
        sync_names: None,
        is_recorded: needs_record(primary, nodes),
        files: Files::with_roles(to, &members),
    };
    if matches!(of_primary, OfPrimary::HandsOver { .. }) {
        // The name of the one it comes from is known when it was chosen.
        return Some(exchange(primary, primary));
    }
    let recorded = |n: &&&Node| {
        let seen = n.seen();
        let lock = seen.lock.as_ref().or(seen.last_lock.as_ref());
        super::purpose_of(lock).switch_back.is_some_and(|name| name == n.name)
    };
    let old = members.iter().filter(|n| **n != primary).find(recorded)?;
    if let Err(why) = judge_candidate(c.nodes, &old.name, options) {
        let new: Vec<_> = why.into_iter().filter(|why| !c.findings.contains(why)).collect();
        c.findings.extend(new.into_iter().map(|why| {
            format!(
                "{}: the switchover back to it, which an earlier run has left, is refused: {why}",
                old.name
            )
        }));
    }
    Some(exchange(primary, old))
}

/// The nodes of which some are restarted.
struct Order<'a> {
    primary: &'a Node,
    standbys: &'a [&'a Node],
    members: &'a [&'a Node],
}

/// What happens to a node.
#[derive(Clone, Copy)]
enum RestartEvent<'a> {
    /// It begins to run with what is in its file.
    Restart(&'a Node),
    /// It becomes the primary, and the old one is restarted, which until then may have stopped by itself.
    HandsOver(&'a Node),
    /// It becomes the primary.
    Leads(&'a Node),
}

impl<'a> Order<'a> {
    fn restarts(&self) -> Vec<RestartEvent<'a>> {
        self.standbys.iter().map(|n| RestartEvent::Restart(n)).collect()
    }

    /// The first moment at which a standby has less of a limit than its primary, and had not before.
    fn problem(&self, events: &[RestartEvent<'a>]) -> Option<String> {
        let number = |text: Option<&str>| text?.trim().parse::<u64>().ok();
        LIMITS.into_iter().find_map(|limit| {
            let running = |n: &&Node| (n.name.clone(), number(n.works_with(limit)));
            let mut values: BTreeMap<String, Option<u64>> = self.members.iter().map(running).collect();
            let mut primary = self.primary;
            let short = |values: &BTreeMap<String, Option<u64>>, primary: &Node| -> BTreeSet<String> {
                let there = values.get(&primary.name).copied().flatten();
                let less = |own: &Option<u64>| own.zip(there).is_some_and(|(own, there)| own < there);
                values.iter().filter(|(_, own)| less(own)).map(|(name, _)| name.clone()).collect()
            };
            let before = short(&values, primary);
            for event in events {
                let restarted = match event {
                    RestartEvent::Restart(n) => Some(*n),
                    RestartEvent::HandsOver(n) => Some(std::mem::replace(&mut primary, n)),
                    RestartEvent::Leads(n) => {
                        primary = n;
                        None
                    }
                };
                if let Some(n) = restarted
                    && let Some(in_file) = number(n.parameter(limit))
                {
                    values.insert(n.name.clone(), Some(in_file));
                }
                let now = short(&values, primary);
                if let Some(name) = now.difference(&before).next() {
                    let value = |name: &str| values.get(name).copied().flatten().unwrap_or_default();
                    return Some(format!(
                        "{name} would have {limit} = {}, less than the {} of its primary {}, and would stop or not start",
                        value(name),
                        value(&primary.name),
                        primary.name
                    ));
                }
            }
            None
        })
    }
}
