//! Findings and plan of removing what dropped nodes left.

use std::collections::BTreeMap;
use std::path::Path;

use og_common::gauss::Role;
use og_common::gauss::initdb::{Content, Listed, ObstacleKind};
use og_common::hba::RuleFields;
use og_common::standby_names::StandbyNames;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Outlook, SYNC_NAMES, Shared, leftover_values};
use crate::args::{ClearMode, Options};
use crate::cluster::{
    Cluster, Node, TargetKind, canonical, changes_role, describe_state, is_record_of, node_names,
    on_one_machine, rule_identity,
};

/// The plan of this workflow.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Clear {
    /// What the changing workflows plan.
    #[serde(flatten)]
    pub shared: Shared,
    /// Nodes whose servers are stopped.
    pub stop: Vec<String>,
    /// By cleared node, the processes of these servers on its machine.
    pub ended: BTreeMap<String, Vec<u32>>,
    /// Nodes whose data directories go, each with the name by which the person confirmed that; empty where it is not confirmed.
    pub remove: BTreeMap<String, String>,
    /// What goes with them.
    pub listing: BTreeMap<String, Vec<Listed>>,
    /// Whether the data directories are moved or deleted.
    pub mode: ClearMode,
    /// The channels of the other nodes, as og_initdb takes them under `peers`.
    pub peers: Vec<Value>,
    /// Rules of pg_hba.conf that a member still has for one of the nodes.
    pub rules: BTreeMap<String, Vec<RuleFields>>,
    /// Replication slots that a member still has for one of the nodes.
    pub slots: BTreeMap<String, Vec<String>>,
    /// Where the program files of the nodes are that are to go; none where they stay.
    pub program_files: BTreeMap<String, ProgramFiles>,
}

/// The program files of a node.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ProgramFiles {
    /// The link to them.
    pub link: String,
    /// The user of the node's server, where that is known: when the data directory is gone it tells no more.
    pub os_user: Option<String>,
}

impl Clear {
    /// Whether nothing is left of the nodes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stop.is_empty() && self.remove.is_empty() && self.rules.is_empty() && self.slots.is_empty()
    }
}

/// Findings and plan of clearing these nodes.
#[must_use]
pub fn clear(nodes: &[Node], targets: &[String], options: &Options) -> Outlook<Clear> {
    let mut c = Cluster::new(nodes, targets, TargetKind::Cleared);
    let confirmed: Vec<&str> = options.og_confirm_clear.split(',').map(str::trim).collect();
    for n in c.targets.clone() {
        let is_confirmed = own_name(n).is_some_and(|own| confirmed.contains(&own));
        check_target(&mut c, n, is_confirmed);
        if options.og_clear_mode == ClearMode::Deleted && !is_confirmed {
            c.findings.push(match own_name(n) {
                Some(own) => format!(
                    "{}: its data directory would be deleted for good; og_confirm_clear={own}, the name that is in it, \
                     confirms that",
                    n.name
                ),
                None => format!(
                    "{}: its data directory has no name of a node, so nothing can confirm its deletion; use \
                     og_clear_mode=moved",
                    n.name
                ),
            });
        }
    }
    c.check();
    let others: Vec<&Node> = nodes.iter().filter(|n| !c.targets.contains(n)).collect();
    for n in &others {
        check_other(&mut c, n);
    }
    for n in c.targets.clone() {
        check_machine(&mut c, n, &others, options);
    }
    let Some(primary) = c.primary else { return Outlook::new(c, None) };
    let addresses: Vec<_> = others.iter().map(|n| canonical(&n.address)).collect();
    let gone: Vec<RuleFields> = c
        .targets
        .iter()
        .filter(|n| !addresses.contains(&canonical(&n.address)))
        .map(|n| c.rule(n, None))
        .collect();
    let has = |at: &Node, rule: &RuleFields| {
        at.seen().rules.iter().any(|own| own.kind == rule.kind && rule_identity(own) == rule_identity(rule))
    };
    let rules_left = |at: &&Node| {
        let left: Vec<_> = gone.iter().filter(|rule| has(at, rule)).cloned().collect();
        (!left.is_empty()).then(|| (at.name.clone(), left))
    };
    let slots_left = |at: &&Node| {
        let slots = at.state().slots.iter().flatten().map(|slot| &slot.name);
        let left: Vec<_> =
            slots.filter(|name| c.targets.iter().any(|n| n.app_name == **name)).cloned().collect();
        (!left.is_empty()).then(|| (at.name.clone(), left))
    };
    let is_there = |n: &&&Node| {
        n.seen().directory.as_ref().is_some_and(|d| {
            matches!(d.content, Content::Database | Content::Unfinished)
                || !listed_for_removal(n, options.og_clear_mode).is_empty()
        })
    };
    let running = || c.targets.iter().copied().filter(|n| n.state().running);
    let ended = |n: &Node| {
        let here = running().filter(|other| *other == n || on_one_machine(other, n));
        here.filter_map(|other| other.state().pid).collect()
    };
    let program_files = c.targets.iter().filter(|_| options.og_package_absent).filter_map(|n| {
        let os_user = n.known_os_user().map(str::to_owned);
        Some((n.name.clone(), ProgramFiles { link: n.gauss_home.clone()?, os_user }))
    });
    let plan = Clear {
        stop: node_names(running()),
        ended: c.targets.iter().map(|n| (n.name.clone(), ended(n))).collect(),
        remove: c
            .targets
            .iter()
            .filter(is_there)
            .map(|n| {
                let given = own_name(n).filter(|own| confirmed.contains(own));
                (n.name.clone(), given.unwrap_or_default().to_owned())
            })
            .collect(),
        listing: c
            .targets
            .iter()
            .map(|n| (n.name.clone(), listed_for_removal(n, options.og_clear_mode)))
            .collect(),
        mode: options.og_clear_mode,
        peers: others.iter().map(|n| channels_of(n)).collect(),
        rules: c.members.iter().filter_map(rules_left).collect(),
        slots: c.members.iter().filter_map(slots_left).collect(),
        program_files: program_files.collect(),
        shared: Shared::new(&c, primary, "clear", leftover_values(&c)),
    };
    Outlook::new(c, Some(plan))
}

/// The name of the node as its data directory has it; where there is none, the one that the inventory gives it.
fn own_name(n: &Node) -> Option<&str> {
    match &n.seen().directory {
        Some(directory) if !matches!(directory.content, Content::Missing | Content::Empty) => {
            directory.name.as_deref()
        }
        _ => Some(&n.app_name),
    }
}

/// What of the node goes: what is left of a deletion stays where data directories are moved.
fn listed_for_removal(n: &Node, mode: ClearMode) -> Vec<Listed> {
    let own = n.seen().directory.as_ref().map(|directory| &directory.path);
    let mut listing = n.seen().listing.clone();
    listing.retain(|one| mode == ClearMode::Deleted || own == Some(&one.path));
    listing
}

/// What og_initdb takes of another node's facts.
fn channels_of(n: &Node) -> Value {
    let channel = |(index, end): (usize, (String, i64))| json!({"number": index + 1, "remote_host": end.0, "remote_port": end.1});
    json!({
        "name": n.app_name,
        "identity": {
            "data_dir": n.seen().identity.data_dir,
            "directory": n.seen().identity.directory,
        },
        "channels": n.peers().enumerate().map(channel).collect::<Vec<_>>(),
    })
}

/// What speaks against it at the node itself.
fn check_target(c: &mut Cluster, n: &Node, is_confirmed: bool) {
    let (name, seen) = (&n.name, n.seen());
    if n.seen.is_none() {
        // That it is hidden was found already.
        return;
    }
    if let Some(why) = &seen.unreachable {
        c.findings.push(format!("{name}: cannot be reached, so nothing there can be removed: {why}"));
        return;
    }
    if let Some(why) = seen.denied.as_ref().or(seen.directory_error.as_ref()) {
        c.findings.push(format!("{name}: {why}"));
        return;
    }
    if seen.is_vacant() {
        return;
    }
    let live = n.live_role();
    if Some(n) == c.primary || live == Some(Role::Primary) {
        c.findings.push(format!("{name} is a primary, and a primary is not cleared"));
    } else if live == Some(Role::Normal) {
        c.findings
            .push(format!("{name} runs as a single node of its own; stop it yourself if that is meant"));
    } else if changes_role(n.state().db_state) {
        let what = describe_state(n.state().db_state);
        c.findings.push(format!("{name}: is {what}; wait until that is over"));
    } else if let Some(upstream) = n.upstream().filter(|_| n.is_streaming()) {
        c.findings.push(format!("{name}: receives from {upstream}; drop it first (og drop {name})"));
    }
    if let Some(why) = &seen.state_error {
        c.findings.push(format!("{name}: whether its server runs cannot be told: {why}"));
    } else if seen.listing.is_empty() && seen.directory.is_none() {
        c.findings.push(format!(
            "{name}: og_initdb did not tell what its data directory holds; install the same release there"
        ));
    } else {
        check_origin(c, n, is_confirmed);
    }
    // The server is stopped first; whose channels lead here is looked up at the others.
    let passes = |kind: ObstacleKind| matches!(kind, ObstacleKind::Running | ObstacleKind::Channel);
    let obstacles = seen.obstacles.iter().filter(|obstacle| !passes(obstacle.kind));
    c.findings.extend(obstacles.map(|obstacle| format!("{name}: {}; {}", obstacle.detail, obstacle.fix)));
}

/// Whether what it holds is a copy of the primary's database, and not one of its own.
fn check_origin(c: &mut Cluster, n: &Node, is_confirmed: bool) {
    let (name, Some(directory), Some(primary)) = (&n.name, &n.seen().directory, c.primary) else { return };
    // Of what og_initdb made and no server ran in nothing is lost.
    if directory.content != Content::Database || directory.made {
        return;
    }
    let own = directory.system_id.as_deref().or(n.system_id());
    match (own, primary.system_id()) {
        (Some(own), Some(system)) if own == system => {}
        (Some(own), Some(system)) => c.findings.push(format!(
            "{name}: holds the database system {own}, that of {} is {system}: it is none of this cluster's; correct its \
             data_dir, or move it aside by hand (og_initdb with state: absent)",
            primary.name
        )),
        _ => c.findings.push(format!(
            "{name}: whether it holds a copy of the database of {} is not known, for one of both told no system \
             identifier; move it aside by hand (og_initdb with state: absent)",
            primary.name
        )),
    }
    if n.state().running {
        return;
    }
    match n.state().role {
        Role::Primary => c.findings.push(format!(
            "{name}: last ran as a primary, and may hold commits that {0} has not; repair it first (og repair {name}), or \
             keep its log (og_build with state: log_kept) and move it aside by hand (og_initdb with state: absent)",
            primary.name
        )),
        role if role.is_following() || is_confirmed => {}
        _ => {
            let own = own_name(n).unwrap_or(name);
            c.findings.push(format!(
                "{name}: did not last run as a standby, so what it holds may be its own; og_confirm_clear={own} goes on in \
                 spite of it"
            ));
        }
    }
}

/// Whether another node still counts one of the targets among its cluster.
fn check_other(c: &mut Cluster, at: &Node) {
    let seen = at.seen();
    if let Some(why) = &seen.unreachable {
        let targets = node_names(c.targets.iter().copied()).join(", ");
        // Of a member that was found already.
        if !c.members.contains(&at) {
            c.findings.push(format!(
                "{}: cannot be reached, so whether it still knows {targets} is not known: {why}; take it out of the \
                 inventory if it is no more",
                at.name
            ));
        }
        return;
    }
    // A member's were found already. Where there is no data directory there is nothing that could know a node.
    if !c.members.contains(&at) && !seen.no_directory {
        let targets = node_names(c.targets.iter().copied()).join(", ");
        c.findings.extend(seen.errors.iter().map(|why| {
            format!(
                "{}: whether it still knows {targets} is not known: {why}; mend that, or take it out of the inventory if it is \
                 no more",
                at.name
            )
        }));
    }
    for n in c.targets.clone() {
        let mut ties: Vec<String> = Vec::new();
        if at.peers().any(|(host, port)| port == n.key().1 && may_lead_to(&host, n, c.nodes)) {
            ties.push("a replication channel to it".to_owned());
        }
        if seen.recorded.iter().any(|record| is_record_of(record, n)) {
            ties.push("it in cluster_static_config".to_owned());
        }
        let names = at.parameter(SYNC_NAMES).map(StandbyNames::parse);
        match names {
            Some(Ok(names)) if names.names().any(|name| name == n.app_name) => {
                ties.push("it in synchronous_standby_names".to_owned());
            }
            Some(Err(_)) => ties.push("synchronous_standby_names that cannot be understood".to_owned()),
            _ => {}
        }
        if !ties.is_empty() {
            c.findings.push(format!(
                "{}: {} has {}, so it is a member still; drop it first (og drop {})",
                n.name,
                at.name,
                ties.join(", and "),
                n.name
            ));
        }
    }
}

/// Whether what is to go of a node's machine serves another node there, or may.
fn check_machine(c: &mut Cluster, n: &Node, others: &[&Node], options: &Options) {
    let name = &n.name;
    let here = || others.iter().filter(|other| on_one_machine(n, other));
    if options.og_host_absent {
        c.findings.extend(here().map(|other| {
            format!(
                "{name}: {} is on the same machine, and needs what og_host made there; leave og_host_absent out",
                other.name
            )
        }));
    }
    if !options.og_package_absent {
        return;
    }
    let Some(home) = &n.gauss_home else {
        c.findings.push(format!(
            "{name}: has no gauss_home in the inventory, so it is not known which program files are to go; give it, or leave \
             og_package_absent out"
        ));
        return;
    };
    let uses = |other: &&Node| match &other.gauss_home {
        Some(own) if Path::new(own) == Path::new(home) => {
            Some(format!("uses the program files in {home}, too"))
        }
        Some(_) => None,
        None => Some("has no gauss_home in the inventory, so it may use the same program files".to_owned()),
    };
    c.findings.extend(here().filter_map(|other| {
        let what = uses(other)?;
        Some(format!("{name}: {} is on the same machine and {what}; leave og_package_absent out", other.name))
    }));
}

/// Whether a channel to this host may lead to the node: one that is known to lead to another does not.
fn may_lead_to(host: &str, n: &Node, nodes: &[Node]) -> bool {
    let is_of = |node: &Node| {
        canonical(&node.address) == host
            || [&node.name, &node.hostname].into_iter().any(|name| name == host)
            || node.seen().identity.addresses.iter().any(|own| canonical(own) == host)
    };
    if is_of(n) {
        return true;
    }
    let is_address = |text: &str| canonical(text).parse::<std::net::IpAddr>().is_ok();
    let is_known = is_address(host) && (is_address(&n.address) || !n.seen().identity.addresses.is_empty());
    !is_known && !nodes.iter().any(|other| other != n && is_of(other))
}
