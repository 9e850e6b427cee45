//! Findings and plan of making a cluster of nodes on which no database is there.
//!
//! The node that the inventory calls the primary is made first; the others are then added to it as expand adds nodes. Nodes
//! that have a database whose server ran before are left to expand, so that a run that was killed goes on from what is there.

use std::collections::BTreeMap;
use std::net::IpAddr;

use og_common::gauss::Role;
use og_common::gauss::managed::Act;
use og_common::hba::RuleFields;
use og_common::protocol::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

use super::expand::{MOST_STANDBYS, rules_at};
use super::{Files, NODE_NAME, Outlook, Purpose, Settings, Shared, ZONE, current_primary, room};
use crate::args::Options;
use crate::cluster::{Cluster, Node, PeerArg, TargetKind, canonical, node_names, several_primaries};

/// The longest name that gs_initdb takes for `pgxc_node_name`.
const MAX_NAME_BYTES: usize = 22;
/// Of eight standbys each takes one sender, and a build of each beside them another one; the rest is for tools.
const SENDERS: &str = "20";
/// One for each of eight standbys, and as many for backups and logical replication.
const SLOTS: &str = "16";
const MIB: u64 = 1 << 20;
/// The least `max_process_memory` with which a server starts.
const LEAST_PROCESS_MEMORY: u64 = 2048 * MIB;
/// `max_process_memory` in percent of the memory.
const PROCESS_MEMORY: u64 = 60;
/// `shared_buffers` likewise.
const SHARED_BUFFERS: u64 = 25;
/// `cstore_buffers` likewise: it is taken out of `max_process_memory`, and only tables by column use it.
const CSTORE_BUFFERS: u64 = 3;
/// The least that is given to either.
const LEAST_BUFFERS: u64 = 64 * MIB;

/// What is to be done.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Deploy {
    /// What the changing workflows plan; `primary` is the node that is the primary, or is to be.
    #[serde(flatten)]
    pub shared: Shared,
    /// The `pgxc_node_name` that all nodes get.
    pub node_name: String,
    /// Nodes whose data directories are made.
    pub initdb: Vec<String>,
    /// Nodes whose servers never ran, which get parameters.
    pub fresh: Vec<String>,
    /// The parameters of each of these.
    pub parameters: BTreeMap<String, Settings>,
    /// How sizes were computed, a sentence each.
    pub sizes: Vec<String>,
    /// Rules of pg_hba.conf for the primary that is to be started.
    pub rules: Vec<RuleFields>,
    /// Its replication channels.
    pub peers: Vec<PeerArg>,
    /// Whether the primary is to be started.
    pub start: bool,
    /// Nodes that are to be added to the primary.
    pub add: Vec<String>,
    /// The cluster's files of a primary without standbys.
    pub files: Files,
}

impl Deploy {
    /// Whether all nodes are members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.add.is_empty() && !self.start
    }
}

/// Whether the server of a node never ran: its data directory is still to be made, or was only made.
#[must_use]
pub fn is_new(n: &Node) -> bool {
    let seen = n.seen();
    let never_ran = || {
        let state = n.state();
        seen.state_error.is_none() && !state.running && state.role == Role::Unknown && state.build.is_none()
    };
    n.is_reachable() && (seen.is_vacant() || seen.directory.is_some() && never_ran())
}

/// Findings and plan of deploying all nodes.
#[must_use]
pub fn deploy(nodes: &[Node], options: &Options) -> Outlook<Deploy> {
    let live: Vec<&Node> = nodes.iter().filter(|n| n.live_role() == Some(Role::Primary)).collect();
    let named: Vec<&Node> = nodes.iter().filter(|n| n.role == Role::Primary).collect();
    let primary = current_primary(nodes).or(match named[..] {
        [only] => Some(only),
        _ => None,
    });
    let is_member = |n: &&Node| primary != Some(*n) && n.is_streaming();
    let add: Vec<&Node> = nodes.iter().filter(|n| primary != Some(*n) && !is_member(n)).collect();
    let targets = node_names(add.iter().copied());
    let mut c = Cluster::with_primary(nodes, &targets, TargetKind::Added, primary);
    if live.len() > 1 {
        c.findings.push(several_primaries(&live));
    } else if primary.is_none() {
        c.findings.push(match named.len() {
            0 => "no host of the inventory has the role primary; give it to the one that is to be".to_owned(),
            _ => format!(
                "{} have the role primary in the inventory; leave it to one",
                node_names(named.iter().copied()).join(" and ")
            ),
        });
    }
    c.check_places();
    super::managed::check(&mut c, Act::Expand);
    for n in nodes {
        check_node(&mut c, n, primary);
    }
    check_number(&mut c, nodes, primary);
    let Some(primary) = primary else { return Outlook::new(c, None) };
    let node_name = node_name_of(primary);
    let is_plain = node_name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if is_new(primary) && (node_name.len() > MAX_NAME_BYTES || !is_plain) {
        c.findings.push(format!(
            "{}: {node_name} would be the {NODE_NAME} of all nodes, and gs_initdb takes at most {MAX_NAME_BYTES} letters, \
             digits and _; correct its application_name in the inventory",
            primary.name
        ));
    }
    let fresh: Vec<&Node> = nodes.iter().filter(|n| is_new(n)).collect();
    let (sizes, reasons) = size(&mut c, nodes, &fresh, options);
    let parameters = fresh.iter().map(|n| {
        let mut own = sizes.clone();
        own.extend(replication(n));
        for (name, value) in &options.og_parameters {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            own.insert(name.to_ascii_lowercase(), value);
        }
        own.extend(identity(n, &node_name));
        (n.name.clone(), own)
    });
    let others: Vec<&Node> = nodes.iter().filter(|n| *n != primary).collect();
    let all: Vec<&Node> = nodes.iter().collect();
    let mut by_id = others.clone();
    by_id.sort_by_key(|n| n.id.unwrap_or(0));
    let start = is_new(primary);
    let plan = Deploy {
        initdb: node_names(nodes.iter().filter(|n| n.is_reachable() && n.seen().is_vacant())),
        fresh: node_names(fresh.iter().copied()),
        parameters: parameters.collect(),
        sizes: reasons,
        rules: if start { rules_at(&mut c, primary, &all, &options.og_hba_method) } else { Vec::new() },
        peers: by_id.iter().map(|n| n.channel_end()).collect(),
        start,
        add: targets.clone(),
        files: Files::new(primary, &[primary]),
        shared: Shared::within_members(
            nodes,
            primary,
            &[primary],
            &targets,
            Purpose { what: "deploy".to_owned(), ..Purpose::default() },
        ),
        node_name,
    };
    Outlook::new(c, Some(plan))
}

/// The one name that all nodes get: the one that the primary has, or is made with.
fn node_name_of(primary: &Node) -> String {
    let own = primary.works_with(NODE_NAME).filter(|name| !name.is_empty() && !primary.seen().is_vacant());
    own.map_or_else(|| primary.app_name.clone(), str::to_owned)
}

fn check_node(c: &mut Cluster, n: &Node, primary: Option<&Node>) {
    let (name, seen) = (&n.name, n.seen());
    if n.seen.is_none() {
        // That it is hidden was found already.
        return;
    }
    if let Some(why) = &seen.unreachable {
        c.findings.push(format!("{name}: cannot be reached: {why}"));
        return;
    }
    if let Some(why) = &seen.directory_error {
        c.findings.push(format!("{name}: {why}"));
        return;
    }
    if !seen.is_vacant() {
        c.check_answered(n);
    } else if let (Ok(address), Some(facts)) = (canonical(&n.address).parse::<IpAddr>(), &seen.facts) {
        // What has files is held against them; here nobody but the machine itself can tell.
        let own = &facts.identity.addresses;
        if !address.is_loopback()
            && !own.is_empty()
            && !own.iter().any(|own| canonical(own) == address.to_string())
        {
            c.findings.push(format!(
                "{name}: ssh leads to another machine than its address {address}, which is none of that machine's (it has \
                 {}); correct address, or by what ssh goes there",
                own.join(", ")
            ));
        }
    }
    if primary == Some(n) && !is_new(n) && n.live_role() != Some(Role::Primary) {
        let what = match n.live_role() {
            None => {
                "it has a database whose server ran before and is down; start it, or repair it (og repair)"
                    .to_owned()
            }
            Some(Role::Normal) => {
                "its server runs as a single node; add the others to it with og expand".to_owned()
            }
            Some(role) => format!("its server runs as {}", crate::cluster::role_in_words(role)),
        };
        c.findings.push(format!("{name}: is to be the primary, and {what}"));
    }
}

/// Whether so many nodes can be one cluster.
fn check_number(c: &mut Cluster, nodes: &[Node], primary: Option<&Node>) {
    let others: Vec<&Node> = nodes.iter().filter(|n| primary != Some(*n)).collect();
    if others.len() > MOST_STANDBYS {
        c.findings
            .push(format!("there would be {} standbys; openGauss serves {MOST_STANDBYS}", others.len()));
    }
    let (cascades, standbys): (Vec<&Node>, Vec<&Node>) =
        others.into_iter().partition(|n| n.becomes_cascade());
    if !cascades.is_empty() && standbys.is_empty() {
        c.findings.push(format!(
            "{}: a cascade standby needs a standby to hang on, and there would be none",
            node_names(cascades.into_iter()).join(", ")
        ));
    }
}

/// What tells a node from the others, which nothing overrides.
fn identity(n: &Node, node_name: &str) -> Settings {
    let own = [
        ("application_name", n.app_name.clone()),
        ("local_bind_address", n.address.clone()),
        ("port", n.base_port.to_string()),
        (NODE_NAME, node_name.to_owned()),
        (ZONE, n.zone.clone()),
    ];
    own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What replication without openGauss's OM needs, beside the channels.
fn replication(n: &Node) -> Settings {
    let own = [
        ("listen_addresses", format!("localhost,{}", n.address)),
        ("replication_type", "1".to_owned()),
        ("enable_data_replicate", "off".to_owned()),
        // Without OM there are no certificates, and a standby that asks for them does not start.
        ("remote_read_mode", "non_authentication".to_owned()),
        (room::SENDERS, SENDERS.to_owned()),
        (room::SLOTS, SLOTS.to_owned()),
    ];
    own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The sizes by the memory of the node that has least, for a standby's file is replaced by its primary's; and the reason of
/// each.
fn size(c: &mut Cluster, nodes: &[Node], fresh: &[&Node], options: &Options) -> (Settings, Vec<String>) {
    if fresh.is_empty() {
        return (Settings::new(), Vec::new());
    }
    let memory = |n: &Node| Some((n.seen().facts.as_ref()?.memory.total?, n.name.clone()));
    let Some((total, least)) = nodes.iter().filter_map(memory).min() else {
        c.warnings.push(
            "how much memory the nodes have is not known, so the sizes of gs_initdb stay (shared_buffers and others)"
                .to_owned(),
        );
        return (Settings::new(), Vec::new());
    };
    let given = |name: &str| {
        let value = options.og_parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?.1;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let of = |percent: u64, floor: u64| (total / 100 * percent).max(floor) / MIB;
    let wanted = [
        ("max_process_memory", PROCESS_MEMORY, LEAST_PROCESS_MEMORY),
        ("shared_buffers", SHARED_BUFFERS, LEAST_BUFFERS),
        ("cstore_buffers", CSTORE_BUFFERS, LEAST_BUFFERS),
    ];
    let (mut sizes, mut reasons) = (Settings::new(), Vec::new());
    for (name, percent, floor) in wanted {
        if let Some(value) = given(name) {
            reasons.push(format!("{name} = {value}: given in og_parameters"));
            continue;
        }
        let value = format!("{}MB", of(percent, floor));
        let why = if total / 100 * percent < floor {
            format!("the least that is of use; {least} has {} of memory", Bytes::new(total))
        } else {
            format!("{percent} % of the {} of {least}, which has the least memory", Bytes::new(total))
        };
        reasons.push(format!("{name} = {value}: {why}"));
        sizes.insert(name.to_owned(), value);
    }
    if given("max_process_memory").is_none() && total < LEAST_PROCESS_MEMORY / PROCESS_MEMORY * 75 {
        c.findings.push(format!(
            "{least}: has {} of memory, and a server starts with no less than 2 GB for itself; give the machine more, or \
             set max_process_memory and shared_buffers yourself (og_parameters)",
            Bytes::new(total)
        ));
    }
    for name in [room::SENDERS, room::SLOTS] {
        if given(name).is_none() {
            let value = if name == room::SENDERS { SENDERS } else { SLOTS };
            reasons.push(format!("{name} = {value}: for eight standbys, a build of each and tools"));
        }
    }
    (sizes, reasons)
}
