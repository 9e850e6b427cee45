//! Findings and plan of adding nodes.

use std::collections::BTreeMap;

use og_common::gauss::Role;
use og_common::gauss::managed::Act;
use og_common::gauss::tablespaces::Tablespaces;
use og_common::hba::RuleFields;
use og_common::standby_names::StandbyNames;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    DeferredRestore, Files, NODE_NAME, Outlook, PARAMETERS, Purpose, SYNC_NAMES, Settings, Shared, Values,
    ZONE, by_id, deferred_restores, leftover_values, names, room, ssl, zones,
};
use crate::args::{BuildMode, Options, SyncStandbys};
use crate::cluster::{
    Cluster, Node, PeerArg, TargetKind, canonical, changes_role, describe_state, node_names, role_in_words,
    rule_identity,
};

/// So many standbys openGauss serves.
pub(super) const MOST_STANDBYS: usize = 8;

/// The plan of this workflow.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Expand {
    /// What both workflows plan.
    #[serde(flatten)]
    pub shared: Shared,
    /// How `og_guc` is called before anything else, when a killed run left something changed.
    pub restore_now: Option<DeferredRestore>,
    /// New nodes that follow the primary.
    pub standbys: Vec<String>,
    /// New nodes that follow a standby.
    pub cascades: Vec<String>,
    /// The members and the new nodes.
    pub nodes: Vec<String>,
    /// Nodes of which a build runs, left by a run that was killed.
    pub building: Vec<String>,
    /// New nodes that do not stream yet.
    pub fresh: Vec<String>,
    /// New nodes that stream, are well and see their tablespaces.
    pub sound: Vec<String>,
    /// Those of `fresh` that the cluster did not know before; a run that fails takes them away again.
    pub newcomers: Vec<String>,
    /// The application_name of each of these.
    pub newcomer_names: Vec<String>,
    /// The nodes that are left when they are removed again.
    pub staying: Vec<String>,
    /// Whether `synchronous_standby_names` must be empty until a standby streams.
    pub empty_sync: bool,
    /// Names to be added to it.
    pub sync_add: Vec<String>,
    /// The application_name of each new node that follows the primary: in check mode `og_guc` is told that they stream.
    pub foreseen_standbys: Vec<String>,
    /// How `og_guc` brings it back.
    pub deferred_sync: Option<DeferredRestore>,
    /// What it was.
    pub sync_before: Option<String>,
    /// Whether it stays empty when the new nodes are removed again: no other standby streams, and it was not empty.
    pub sync_stays_empty: bool,
    /// How `og_guc` then makes it what it can be without them.
    pub undo_sync: DeferredRestore,
    /// What the lock then keeps, when it has ended: the next run restores it.
    pub note: Purpose,
    /// By new node, the parameters that get back the values which they had.
    pub undo_set: BTreeMap<String, Settings>,
    /// By new node, the parameters that were not set.
    pub undo_unset: BTreeMap<String, Vec<String>>,
    /// By new node, rules of its own that get another method from this run.
    pub undo_rules: BTreeMap<String, Vec<RuleFields>>,
    /// Rules for each node.
    pub rules: BTreeMap<String, Vec<RuleFields>>,
    /// Those of them that it does not have.
    pub new_rules: BTreeMap<String, Vec<RuleFields>>,
    /// Channels for each node.
    pub peers: BTreeMap<String, Vec<PeerArg>>,
    /// Those of them that it does not have.
    pub new_peers: BTreeMap<String, Vec<PeerArg>>,
    /// Parameters for each new node.
    pub own: BTreeMap<String, Settings>,
    /// How each new node is built.
    pub build_modes: BTreeMap<String, BuildMode>,
    /// How many standbys are built side by side.
    pub standbys_at_once: usize,
    /// How many cascade standbys.
    pub cascades_at_once: usize,
    /// Whether the cascade standbys are built at the same time as the standbys: a standby that streams is there for
    /// them to follow, and the primary has senders for all.
    pub build_together: bool,
    /// New nodes that may get a full copy, and are built only where there is room for it.
    pub room_for: Vec<String>,
    /// The cluster's files with the new nodes.
    pub files: Files,
    /// The cluster's files without the newcomers.
    pub files_before: Files,
}

/// Findings and plan of adding these nodes.
#[must_use]
pub fn expand(nodes: &[Node], targets: &[String], options: &Options) -> Outlook<Expand> {
    let mut c = Cluster::new(nodes, targets, TargetKind::Added);
    c.check();
    super::managed::check(&mut c, Act::Expand);
    for n in c.targets.clone() {
        check_new_node(&mut c, n, options.og_build_force);
    }
    let Some(primary) = c.primary else { return Outlook::new(c, None) };
    let all: Vec<&Node> = c.members.iter().chain(&c.targets).copied().collect();
    if all.len() - 1 > MOST_STANDBYS {
        c.findings
            .push(format!("there would be {} standbys; openGauss serves {MOST_STANDBYS}", all.len() - 1));
    }
    let (cascades, standbys): (Vec<&Node>, Vec<&Node>) = c.targets.iter().partition(|n| n.becomes_cascade());
    let (cascades, standbys) = (node_names(cascades.into_iter()), node_names(standbys.into_iter()));
    if !cascades.is_empty() && c.standbys(&all).is_empty() {
        let told = cascades.join(", ");
        c.findings
            .push(format!("{told}: a cascade standby needs a standby as upstream, and there would be none"));
    }
    let follow = c.standbys(&all);
    let apart = c.targets.iter().filter(|n| n.becomes_cascade() && !n.is_streaming());
    let apart: Vec<String> = apart.filter_map(|n| zones::mismatch(n, &follow)).collect();
    c.findings.extend(apart);
    let sync = plan_sync(&mut c, primary, &all, options.og_sync_standbys);
    let fresh: Vec<&Node> = c.targets.iter().copied().filter(|n| !n.is_streaming()).collect();
    names::check_names(&mut c, primary, &fresh);
    for n in c.targets.clone().into_iter().filter(|n| n.is_streaming()) {
        ssl::warn_of_member(&mut c, n, options);
    }
    let at_once = room::check_room(&mut c, primary, &all, &fresh);
    let asked = if options.og_build_parallel == 0 { usize::MAX } else { options.og_build_parallel };
    let build_together = at_once.together && asked >= fresh.len() && has_upstreams(&c, &fresh);
    let own: BTreeMap<String, Settings> = c
        .targets
        .iter()
        .map(|n| (n.name.clone(), own_parameters(n, primary, fresh.contains(n), &sync, options)))
        .collect();
    // One that streams stays as it is: while it is built anew, each commit that waits for it waits.
    let mode = |n: &Node| if n.is_streaming() { BuildMode::Auto } else { options.og_build_mode };
    let build_modes = c.targets.iter().map(|n| (n.name.clone(), mode(n))).collect();
    let (mut rules, mut new_rules) = (BTreeMap::new(), BTreeMap::new());
    let (mut peers, mut new_peers) = (BTreeMap::new(), BTreeMap::new());
    for n in &all {
        let own_rules = rules_at(&mut c, n, &all, &options.og_hba_method);
        let own_peers = peers_of(&c, primary, n, &all);
        new_rules.insert(n.name.clone(), lacking_rules(n, &own_rules));
        new_peers.insert(n.name.clone(), lacking_peers(n, &own_peers));
        rules.insert(n.name.clone(), own_rules);
        peers.insert(n.name.clone(), own_peers);
    }
    let in_full = options.og_build_room && options.og_build_mode != BuildMode::Incremental;
    let room_for = node_names(fresh.iter().copied().filter(|_| in_full));
    let newcomers: Vec<&Node> = fresh.iter().copied().filter(|n| !is_known(primary, n)).collect();
    let (undo_set, undo_unset) = previous_parameters(&c.targets, &newcomers, options);
    let undo_rules = c.targets.iter().map(|n| (n.name.clone(), replaced_rules(n, &rules[&n.name]))).collect();
    let recorded = |n: &Node| Files::record_of(primary, n).is_some();
    let before: Vec<&Node> = all.iter().copied().filter(|n| !newcomers.contains(n) || recorded(n)).collect();
    let shared = Shared::new(&c, primary, "expand", sync.restore);
    let note = Values::from([(SYNC_NAMES.to_owned(), sync.before.clone())]);
    let plan = Expand {
        note: Purpose { restore: note, ..shared.purpose.clone() },
        undo_set,
        undo_unset,
        undo_rules,
        standbys_at_once: at_once.standbys.min(asked),
        cascades_at_once: at_once.cascades.min(asked),
        build_together,
        shared,
        restore_now: DeferredRestore::from_values(&deferred_restores(&leftover_values(&c))),
        standbys,
        cascades,
        nodes: node_names(all.iter().copied()),
        building: node_names(
            all.iter().copied().filter(|n| n.state().build.as_ref().is_some_and(|b| b.running)),
        ),
        sound: node_names(c.targets.iter().copied().filter(|n| is_sound(n))),
        fresh: node_names(fresh.into_iter()),
        newcomer_names: newcomers.iter().map(|n| n.app_name.clone()).collect(),
        newcomers: node_names(newcomers.iter().copied()),
        staying: node_names(all.iter().copied().filter(|n| !newcomers.contains(n))),
        empty_sync: sync.empty,
        sync_add: sync.add,
        foreseen_standbys: c.standbys(&c.targets).iter().map(|n| n.app_name.clone()).collect(),
        deferred_sync: sync.deferred,
        sync_before: sync.before,
        sync_stays_empty: sync.stays_empty,
        undo_sync: sync.undo,
        rules,
        new_rules,
        peers,
        new_peers,
        own,
        build_modes,
        room_for,
        files: Files::new(primary, &all),
        files_before: Files::new(primary, &before),
    };
    Outlook::new(c, Some(plan))
}

/// The parameters that the new node gets; `fresh`: it does not stream yet.
fn own_parameters(n: &Node, primary: &Node, fresh: bool, sync: &Sync, options: &Options) -> Settings {
    let mut own = Settings::new();
    own.insert("application_name".to_owned(), n.app_name.clone());
    own.insert(ZONE.to_owned(), n.zone.clone());
    if !fresh {
        return own;
    }
    if let Some(names) = &sync.of_newcomers {
        own.insert(SYNC_NAMES.to_owned(), names.clone());
    }
    // Before the build: the server that it starts finds what is in tablespaces under this name alone.
    if let Some(name) = names::newcomer_name(primary) {
        own.insert(NODE_NAME.to_owned(), name.to_owned());
    }
    // A build keeps the files of these names.
    own.extend(ssl::settings(options));
    own
}

/// Whether og_build would leave the node as it is.
fn is_sound(n: &Node) -> bool {
    let state = n.state();
    n.is_streaming()
        && state.is_healthy()
        && !state.tablespaces.as_ref().is_some_and(Tablespaces::has_hidden_content)
}

/// Whether each new cascade standby has a standby to follow before the new standbys are built: one that streams already,
/// and of its zone where the server compares them.
fn has_upstreams(c: &Cluster, fresh: &[&Node]) -> bool {
    let members = c.standbys(&c.members).into_iter().filter(|n| n.is_streaming());
    let streaming: Vec<&Node> = members.collect();
    let mut cascades = fresh.iter().filter(|n| n.becomes_cascade());
    !streaming.is_empty() && cascades.all(|n| zones::mismatch(n, &streaming).is_none())
}

/// Whether a node that does not stream belonged to the cluster before: it and the primary know each other. One that a
/// killed run brought may, too, but is not recorded, which is done last; a cluster may have no records at all.
fn is_known(primary: &Node, n: &Node) -> bool {
    let recorded = primary.seen().recorded.is_empty() || Files::record_of(primary, n).is_some();
    let knows = |a: &Node, b: &Node| a.peers().any(|key| key == b.key());
    recorded && knows(primary, n) && knows(n, primary)
}

/// What becomes of `synchronous_standby_names`.
struct Sync {
    before: Option<String>,
    empty: bool,
    add: Vec<String>,
    deferred: Option<DeferredRestore>,
    stays_empty: bool,
    undo: DeferredRestore,
    restore: Values,
    of_newcomers: Option<String>,
}

fn plan_sync(c: &mut Cluster, primary: &Node, all: &[&Node], mode: SyncStandbys) -> Sync {
    // A primary without standbys hangs every commit as soon as it has a channel, so the names wait until one streams.
    let alone = !all.iter().any(|n| *n != primary && n.is_streaming() && !n.becomes_cascade());
    let mut left = leftover_values(c);
    // initdb leaves the line commented, and the server's own default is every standby.
    let now = primary.parameter(SYNC_NAMES).map(str::to_owned);
    let empty = alone && now.as_deref() != Some("");
    // What was noted when the names were emptied counts as long as nobody has set them since.
    if now.as_deref() != Some("") {
        left.remove(SYNC_NAMES);
    }
    let before = left.get(SYNC_NAMES).cloned().unwrap_or(now);
    let mut restore = deferred_restores(&left);
    let changes = empty || left.contains_key(SYNC_NAMES);
    if changes {
        restore.insert(SYNC_NAMES.to_owned(), before.clone());
    }
    let keep = changes && mode == SyncStandbys::Keep;
    let deferred = keep.then(|| DeferredRestore::one(SYNC_NAMES, before.as_deref()));
    // With the name of a standby that the rollback removes, every commit would hang.
    let undo = DeferredRestore::one(SYNC_NAMES, if alone { Some("") } else { before.as_deref() });
    let stays_empty = alone && before.as_deref() != Some("");
    let mut add: Vec<_> = match mode {
        SyncStandbys::Any | SyncStandbys::First => {
            c.targets.iter().filter(|n| !n.becomes_cascade()).map(|n| n.app_name.clone()).collect()
        }
        SyncStandbys::Keep | SyncStandbys::None => Vec::new(),
    };
    if !add.is_empty()
        && !empty
        && !left.contains_key(SYNC_NAMES)
        && is_any_standby(current_sync_names(primary))
    {
        add.extend(counted_standbys(c, primary));
    }
    add.sort();
    add.dedup();
    let of_newcomers =
        before.clone().map(|names| if mode == SyncStandbys::None { String::new() } else { names });
    Sync { before, empty, add, deferred, stays_empty, undo, restore, of_newcomers }
}

/// The names as they are in the primary's file; null where they are not set.
fn current_sync_names(primary: &Node) -> Option<&str> {
    primary.parameter(SYNC_NAMES)
}

/// Whether any standby counts, as it does where the names are not set.
fn is_any_standby(names: Option<&str>) -> bool {
    names.is_none_or(|names| StandbyNames::parse(names).is_ok_and(|names| names.is_star()))
}

/// The application names of the standbys that count for `*`. A list in its place must have them, too, else commits
/// would wait for the new ones alone.
fn counted_standbys(c: &mut Cluster, primary: &Node) -> Vec<String> {
    let members = c.standbys(&c.members);
    for n in members.iter().filter(|n| n.is_reachable()) {
        if !n.is_streaming() {
            c.warnings.push(format!(
                "{}: does not stream, and {SYNC_NAMES} of {}, which is any standby now, will not name it; \
                 expand with og_add={} when it is back",
                n.name, primary.name, n.name
            ));
        } else if n.parameter("application_name").is_none_or(str::is_empty) {
            c.findings.push(format!(
                "{}: has no application_name, by which {SYNC_NAMES} would name it; set it there (og_guc with \
                 parameters: {{application_name: {}}}), or leave the names as they are (og_sync_standbys=keep)",
                n.name, n.app_name
            ));
        }
    }
    members.iter().filter(|n| n.is_streaming()).map(|n| n.app_name.clone()).collect()
}

/// What the parameters that this run writes on the new nodes were: their values, and which were not set.
#[allow(clippy::type_complexity)] // Both by node.
fn previous_parameters(
    targets: &[&Node],
    newcomers: &[&Node],
    options: &Options,
) -> (BTreeMap<String, Settings>, BTreeMap<String, Vec<String>>) {
    let (mut set, mut unset) = (BTreeMap::new(), BTreeMap::new());
    for n in targets {
        // Of the channels of a node that stays in the cluster only those go that this run brought.
        let written = |name: &str| match name {
            SYNC_NAMES => !n.is_streaming(),
            NODE_NAME | "application_name" | "available_zone" => true,
            _ if ssl::is_own(name) => !options.og_ssl.is_empty() && !n.is_streaming(),
            _ => name.starts_with("replconninfo") && newcomers.contains(n),
        };
        let names = PARAMETERS.into_iter().filter(|name| written(name));
        let (there, missing): (Vec<_>, Vec<_>) = names.partition(|name| n.parameter(name).is_some());
        let value = |name: &str| (name.to_owned(), n.parameter(name).unwrap_or_default().to_owned());
        set.insert(n.name.clone(), there.into_iter().map(value).collect());
        unset.insert(n.name.clone(), missing.into_iter().map(str::to_owned).collect());
    }
    (set, unset)
}

/// The node's own rules that get another method when these are written.
fn replaced_rules(n: &Node, rules: &[RuleFields]) -> Vec<RuleFields> {
    let same = |own: &RuleFields, rule: &RuleFields| {
        own.kind == rule.kind && rule_identity(own) == rule_identity(rule)
    };
    let changes = |own: &&RuleFields| rules.iter().any(|rule| same(own, rule) && own.method != rule.method);
    n.seen().rules.iter().filter(changes).cloned().collect()
}

pub(super) fn check_new_node(c: &mut Cluster, n: &Node, force: bool) {
    if !c.check_answered(n) {
        return;
    }
    let (name, state) = (&n.name, n.state());
    let live = n.live_role();
    if n.role == Role::Primary {
        c.findings.push(format!(
            "{name} is to be added, but its role in the inventory is primary; make it standby or cascade_standby"
        ));
    }
    if changes_role(state.db_state) {
        c.findings.push(format!("{name}: is {}; wait until that is over", describe_state(state.db_state)));
    } else if n.is_streaming() && live != Some(n.role) && n.role != Role::Primary {
        c.findings.push(format!(
            "{name}: already runs as {}, the inventory says {}; correct the inventory, or drop it first",
            role_in_words(state.role),
            role_in_words(n.role)
        ));
    } else if matches!(state.role, Role::Normal | Role::Primary) && live != Some(Role::Primary) && !force {
        let what = if state.running { "runs" } else { "last ran" };
        let role = if state.role == Role::Normal { "single server" } else { "primary" };
        c.findings.push(format!(
            "{name}: {what} as a {role}, and a build deletes what it holds; og_build_force=true overrides, when all of it may go"
        ));
    }
}

/// The rules that let all nodes in at one of them; a rule that is there with another method is left to who wrote it.
pub(super) fn rules_at(c: &mut Cluster, at: &Node, nodes: &[&Node], method: &str) -> Vec<RuleFields> {
    let seen = at.seen().rules.iter();
    let there: Vec<_> = seen
        .filter(|r| r.kind == "host" && r.netmask.as_deref().is_none_or(str::is_empty))
        .map(|r| (rule_identity(r), r.method.as_deref().unwrap_or_default()))
        .collect();
    let mut rules = Vec::new();
    for n in by_id(nodes) {
        let rule = c.rule(n, Some(method));
        let same = rule_identity(&rule);
        let present = there.iter().rev().find(|(id, _)| *id == same).map(|(_, method)| *method);
        match present.filter(|present| *present != method && c.members.contains(&at)) {
            None => rules.push(rule),
            Some(present) => c.warnings.push(format!(
                "{}: pg_hba.conf has `host all {} {}` with {present} instead of {method}; left as it is",
                at.name,
                c.os_user(n),
                rule.address.as_deref().unwrap_or_default()
            )),
        }
    }
    rules
}

/// Those of the rules that the node does not have.
fn lacking_rules(n: &Node, rules: &[RuleFields]) -> Vec<RuleFields> {
    let has = |rule: &RuleFields| {
        let is_same = |own: &RuleFields| own.kind == rule.kind && rule_identity(own) == rule_identity(rule);
        n.seen().rules.iter().any(is_same)
    };
    rules.iter().filter(|rule| !has(rule)).cloned().collect()
}

/// Those of the other ends to which the node has no channel.
fn lacking_peers(n: &Node, peers: &[PeerArg]) -> Vec<PeerArg> {
    let key = |end: &PeerArg| (canonical(&end.host), end.base_port + 1);
    peers.iter().filter(|end| !n.peers().any(|known| known == key(end))).cloned().collect()
}

/// A newcomer gets everybody; a member only what is new, for any other change would cut those who stream from it.
fn peers_of(c: &Cluster, primary: &Node, n: &Node, nodes: &[&Node]) -> Vec<PeerArg> {
    let among = if c.targets.contains(&n) { nodes } else { &c.targets };
    let mut peers: Vec<_> = among.iter().filter(|p| **p != n).collect();
    peers.sort_by_key(|p| (**p != primary, p.id.unwrap_or(0)));
    peers.iter().map(|p| p.channel_end()).collect()
}
