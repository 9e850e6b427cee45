//! Findings and plan of making a cluster of nodes on which no database is there.
//!
//! The node that the inventory calls the primary is made first; the others are then added to it as expand adds nodes. A
//! database that is there is built over only when og_initdb made it and no server ran in it, or when it is a copy of the
//! primary's: so a run that was killed goes on from what is there, and nothing of anybody's is lost.

use std::collections::BTreeMap;
use std::net::IpAddr;

use og_common::gauss::initdb::{Content, check_node_name};
use og_common::gauss::managed::Act;
use og_common::gauss::{DbState, Role};
use og_common::hba::RuleFields;
use og_common::protocol::Bytes;
use og_preflight::checks::{MIN_PROCESS_MEMORY_BYTES, SYSTEM_RESERVE};
use og_preflight::facts::settings::bytes;
use schemars::JsonSchema;
use serde::Serialize;

use super::expand::{MOST_STANDBYS, rules_at};
use super::{Files, NODE_NAME, Outlook, Purpose, Settings, Shared, ZONE, current_primary, room, ssl};
use crate::args::Options;
use crate::cluster::{
    Cluster, Node, PeerArg, TargetKind, canonical, node_names, on_one_machine, several_primaries,
};

/// Of eight standbys each takes one sender, and a build of each beside them another one; the rest is for tools.
const SENDERS: &str = "20";
/// One for each of eight standbys, and as many for backups and logical replication.
const SLOTS: &str = "16";
/// What gs_initdb makes of `max_connections` where the machine does not forbid it.
const CONNECTIONS: &str = "200";
const MIB: u64 = 1 << 20;
/// `max_process_memory` in percent of the memory.
const PROCESS_MEMORY_PERCENT: u64 = 60;
/// `shared_buffers` likewise.
const SHARED_BUFFERS_PERCENT: u64 = 25;
/// `cstore_buffers` likewise: it is taken out of `max_process_memory`, and only tables by column use it.
const CSTORE_BUFFERS_PERCENT: u64 = 3;
/// The least that is given to either.
const MIN_BUFFERS_BYTES: u64 = 64 * MIB;

/// The plan of this workflow.
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
    /// Whether these are still to be written.
    pub record: bool,
}

impl Deploy {
    /// Whether all nodes are members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.add.is_empty() && !self.start && !self.record
    }
}

/// Whether the server of a node never ran: its data directory is still to be made, or og_initdb made it and no more.
#[must_use]
pub fn is_new(n: &Node) -> bool {
    let seen = n.seen();
    let never_ran = || {
        let state = n.state();
        seen.state_error.is_none() && !state.running && state.role == Role::Unknown && state.build.is_none()
    };
    let is_made = seen.directory.as_ref().is_some_and(|directory| directory.made);
    n.is_reachable() && (seen.is_vacant() || is_made && never_ran())
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
        check_node(&mut c, n, primary, options.og_build_force);
    }
    check_one_machine(&mut c, nodes);
    check_number(&mut c, nodes, primary);
    let Some(primary) = primary else { return Outlook::new(c, None) };
    let node_name = node_name_of(primary);
    if let (true, Err(wrong)) = (is_new(primary), check_node_name(&node_name)) {
        c.findings.push(format!(
            "{}: {node_name} would be the {NODE_NAME} of all nodes, and {wrong}; correct its application_name in the inventory",
            primary.name
        ));
    }
    if is_new(primary) && primary.seen().is_vacant() {
        let seen = primary.seen();
        c.findings.extend(password_finding(&primary.name, options, seen.password_problem.as_deref()));
    }
    let fresh: Vec<&Node> = nodes.iter().filter(|n| is_new(n)).collect();
    let (sizes, reasons) = size(&mut c, nodes, &fresh, options);
    check_senders(&mut c, &fresh, options);
    warn_of_unused(&mut c, primary, options);
    check_ssl(&mut c, options);
    for n in nodes.iter().filter(|n| !is_new(n) && !add.contains(n)) {
        ssl::warn_of_member(&mut c, n, options);
    }
    let parameters = fresh.iter().map(|n| {
        let mut own = sizes.clone();
        own.extend(replication(n));
        for (name, value) in &options.og_parameters {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            own.insert(name.to_ascii_lowercase(), value);
        }
        own.extend(ssl::settings(options));
        own.extend(identity(n, &node_name));
        (n.name.clone(), own)
    });
    let parameters: BTreeMap<String, Settings> = parameters.collect();
    if c.findings.is_empty() && !targets.is_empty() {
        let found = foresee_expand(nodes, primary, &targets, &parameters, options);
        c.findings.extend(found);
    }
    let others: Vec<&Node> = nodes.iter().filter(|n| *n != primary).collect();
    let all: Vec<&Node> = nodes.iter().collect();
    let mut by_id = others.clone();
    by_id.sort_by_key(|n| n.id.unwrap_or(0));
    let start = is_new(primary);
    let plan = Deploy {
        initdb: node_names(nodes.iter().filter(|n| n.is_reachable() && n.seen().is_vacant())),
        fresh: node_names(fresh.iter().copied()),
        parameters,
        sizes: reasons,
        rules: if start { rules_at(&mut c, primary, &all, &options.og_hba_method) } else { Vec::new() },
        peers: by_id.iter().map(|n| n.channel_end()).collect(),
        start,
        add: targets.clone(),
        files: Files::new(primary, &[primary]),
        record: targets.is_empty() && nodes.len() == 1 && (start || primary.seen().recorded.is_empty()),
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

/// What is wrong with the password of the initial user that is made on this node; `problem` is that of the file.
#[must_use]
pub fn password_finding(node: &str, options: &Options, problem: Option<&str>) -> Option<String> {
    if options.og_password_file.is_empty() {
        return Some(format!(
            "{node}: no password is given for the initial user of the new database, and openGauss refuses every statement of a \
             user without one; write it into a file there that only the user may read, and name that in og_password_file"
        ));
    }
    problem.map(|why| format!("{node}: og_password_file gives no password for the initial user: {why}"))
}

/// What expand will find when the data directories are made and the primary runs: better known before anything is.
fn foresee_expand(
    nodes: &[Node],
    primary: &Node,
    targets: &[String],
    parameters: &BTreeMap<String, Settings>,
    options: &Options,
) -> Vec<String> {
    let made = |n: &Node| {
        let mut n = n.clone();
        let (is_primary, is_new) = (n == *primary, is_new(&n));
        let planned = parameters.get(&n.name).cloned().unwrap_or_default();
        if let Some(seen) = n.seen.as_mut().filter(|_| is_new) {
            // What fails for want of a data directory will not.
            seen.errors.clear();
            (seen.state_error, seen.denied, seen.conf_error, seen.no_rules) = (None, None, None, None);
            seen.parameters.extend(planned.into_iter().map(|(name, value)| (name, Some(value))));
            if is_primary {
                (seen.state.running, seen.state.role) = (true, Role::Primary);
                seen.state.db_state = DbState::Normal;
            }
        }
        n
    };
    let made: Vec<Node> = nodes.iter().map(made).collect();
    super::expand::expand(&made, targets, options).findings
}

/// What is otherwise than it was when the run was planned: looked at again under the lock.
#[must_use]
pub fn find_changes(nodes: &[Node], og: &Deploy) -> Vec<String> {
    let mut found = Vec::new();
    for n in nodes {
        let name = &n.name;
        if let Some(why) = n.unseen_reason() {
            found.push(format!("{name}: is {why} now"));
        } else if og.fresh.contains(name) && !is_new(n) {
            found.push(format!(
                "{name}: somebody else has changed its data directory meanwhile, or its server runs by now"
            ));
        } else if n.live_role() == Some(Role::Primary) && (og.start || *name != og.shared.primary) {
            found.push(format!("{name}: has become a primary meanwhile"));
        }
    }
    found
}

/// Options that a data directory which is there already does not follow any more.
fn warn_of_unused(c: &mut Cluster, primary: &Node, options: &Options) {
    if !is_new(primary) || primary.seen().is_vacant() {
        return;
    }
    let usual = Options::default();
    let given = [
        ("og_password_file", !options.og_password_file.is_empty()),
        ("og_locale", options.og_locale != usual.og_locale),
        ("og_encoding", options.og_encoding != usual.og_encoding),
        ("og_compatibility", options.og_compatibility != usual.og_compatibility),
    ];
    let given: Vec<&str> = given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect();
    if !given.is_empty() {
        c.warnings.push(format!(
            "{}: its data directory was made by an earlier run with the options of that run; without effect in this run: {}; \
             set the password by ALTER USER, or clear the node (og_initdb with state: absent) and run it again",
            primary.name,
            given.join(", ")
        ));
    }
}

/// Finds nodes of one machine whose data directories are one, or of which one lies in the other.
fn check_one_machine(c: &mut Cluster, nodes: &[Node]) {
    let path = |n: &Node| n.seen().directory.as_ref().map(|directory| directory.path.clone());
    for (at, a) in nodes.iter().enumerate() {
        for b in &nodes[at + 1..] {
            let (Some(own), Some(other)) = (path(a), path(b)) else { continue };
            if on_one_machine(a, b) && (own.starts_with(&other) || other.starts_with(&own)) {
                c.findings.push(format!(
                    "{} and {} are on one machine, and their data directories are one or lie in each other ({} and {}); \
                     correct data_dir",
                    a.name,
                    b.name,
                    own.display(),
                    other.display()
                ));
            }
        }
    }
}

/// Why the database that a node holds must not be built over; none when it is a copy of the primary's.
fn foreign_database(n: &Node, primary: &Node) -> Option<String> {
    let directory = n.seen().directory.as_ref()?;
    let (name, path) = (&n.name, directory.path.display());
    if directory.content != Content::Database {
        return Some(format!(
            "{name}: {path} is not empty and holds no database; empty it, or correct data_dir"
        ));
    }
    let own = directory.system_id.as_deref().or(n.system_id());
    let system = primary.system_id().filter(|_| !is_new(primary));
    match (own, system) {
        (Some(own), Some(system)) if own == system => None,
        (own, system) => Some(format!(
            "{name}: {path} holds a database that deploy did not make (system identifier {}, that of the primary {} is {}), and \
             it would be lost; move it aside (og_initdb with state: absent), or correct data_dir",
            own.unwrap_or("unknown"),
            primary.name,
            system.unwrap_or("still to be made")
        )),
    }
}

/// Finds parameters that og_ssl sets, too.
fn check_ssl(c: &mut Cluster, options: &Options) {
    let is_set = |name: &&String| ssl::settings(options).contains_key(&name.to_ascii_lowercase());
    let twice: Vec<&str> = options.og_parameters.keys().filter(is_set).map(String::as_str).collect();
    if !twice.is_empty() {
        c.findings.push(format!("{}: set by og_ssl, too; leave it out of og_parameters", twice.join(", ")));
    }
}

/// Whether the primary has senders that its connections allow.
fn check_senders(c: &mut Cluster, fresh: &[&Node], options: &Options) {
    let number = |name: &str, usual: &str| {
        given(options, name).unwrap_or_else(|| usual.to_owned()).trim().parse::<u64>().ok()
    };
    let (senders, connections) = (number(room::SENDERS, SENDERS), number("max_connections", CONNECTIONS));
    if let (Some(senders), Some(connections), false) = (senders, connections, fresh.is_empty())
        && senders >= connections
    {
        c.findings.push(format!(
            "{}: {} = {senders} is not below max_connections = {connections}, and a server does not start so; correct \
             og_parameters",
            node_names(fresh.iter().copied()).join(", "),
            room::SENDERS
        ));
    }
}

/// What og_parameters sets a parameter to.
fn given(options: &Options, name: &str) -> Option<String> {
    let value = options.og_parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?.1;
    Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

/// The one name that all nodes get: the one that the primary has, or is made with.
fn node_name_of(primary: &Node) -> String {
    let own = primary.works_with(NODE_NAME).filter(|name| !name.is_empty() && !primary.seen().is_vacant());
    own.map_or_else(|| primary.app_name.clone(), str::to_owned)
}

fn check_node(c: &mut Cluster, n: &Node, primary: Option<&Node>, force: bool) {
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
    if seen.directory.is_none() {
        c.findings.push(format!(
            "{name}: og_initdb did not tell what its data directory holds; install the same release there"
        ));
        return;
    }
    if is_new(n) && n.known_os_user().is_none() {
        c.findings.push(format!(
            "{name}: as which user its server is to run is not known; give os_user in the inventory"
        ));
    }
    let member = primary.filter(|primary| *primary != n && !is_new(n) && !n.is_streaming());
    if let Some(primary) = member {
        if let Some(why) = foreign_database(n, primary) {
            c.findings.push(why);
            return;
        }
        if Files::record_of(primary, n).is_some() {
            c.findings.push(format!(
                "{name}: is a member by the static configuration file of {}, and does not stream; start it, or repair it (og \
                 repair {name}): deploy leaves members as they are",
                primary.name
            ));
            return;
        }
        super::expand::check_new_node(c, n, force);
    } else if !seen.is_vacant() {
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
    let is_whole = c.nodes.len() == 1 && n.live_role() == Some(Role::Normal);
    if primary == Some(n) && !is_new(n) && n.live_role() != Some(Role::Primary) && !is_whole {
        let what = match n.live_role() {
            None => {
                "it has a database that deploy did not make, or whose server ran before, and no server runs; start it, or \
                 repair it (og repair)"
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
            "{}: a cascade standby needs a standby as upstream, and there would be none",
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
    let on_machine =
        |n: &Node| nodes.iter().filter(|other| *other == n || on_one_machine(n, other)).count() as u64;
    // Nodes of one machine share it.
    let memory = |n: &Node| {
        let total = n.seen().facts.as_ref()?.memory.total?;
        Some((total / on_machine(n), n.name.clone(), total))
    };
    let Some((total, least, whole)) = nodes.iter().filter_map(memory).min() else {
        c.warnings.push(
            "how much memory the nodes have is not known, so the sizes of gs_initdb stay (shared_buffers and others)"
                .to_owned(),
        );
        return (Settings::new(), Vec::new());
    };
    let given = |name: &str| given(options, name);
    // Of what is given for the whole server the others are parts, as they are of the memory else.
    let process = given("max_process_memory").and_then(|text| bytes(&text, 1 << 10));
    let base = process.map_or(total, |process| (process / PROCESS_MEMORY_PERCENT * 100).min(total));
    let of = |percent: u64, floor: u64| (base / 100 * percent).max(floor) / MIB;
    let share = if total == whole {
        String::new()
    } else {
        format!(", of which each of its nodes has {}", Bytes::new(total))
    };
    let wanted = [
        ("max_process_memory", PROCESS_MEMORY_PERCENT, MIN_PROCESS_MEMORY_BYTES),
        ("shared_buffers", SHARED_BUFFERS_PERCENT, MIN_BUFFERS_BYTES),
        ("cstore_buffers", CSTORE_BUFFERS_PERCENT, MIN_BUFFERS_BYTES),
    ];
    let (mut sizes, mut reasons) = (Settings::new(), Vec::new());
    for (name, percent, floor) in wanted {
        if let Some(value) = given(name) {
            reasons.push(format!("{name} = {value}: given in og_parameters"));
            continue;
        }
        let value = format!("{}MB", of(percent, floor));
        let why = if let Some(process) = process.filter(|_| base < total) {
            format!(
                "{percent} parts of {PROCESS_MEMORY_PERCENT} of max_process_memory, {}, that is given",
                Bytes::new(process)
            )
        } else if total / 100 * percent < floor {
            format!("the least that is of use; {least} has {} of memory{share}", Bytes::new(whole))
        } else {
            format!("{percent} % of the {} of {least}, which has the least memory{share}", Bytes::new(total))
        };
        reasons.push(format!("{name} = {value}: {why}"));
        sizes.insert(name.to_owned(), value);
    }
    if given("max_process_memory").is_none() && total < MIN_PROCESS_MEMORY_BYTES + SYSTEM_RESERVE {
        c.findings.push(format!(
            "{least}: has {} of memory, and a server starts with no less than 2 GB for itself; give the machine more, or \
             set max_process_memory and shared_buffers yourself (og_parameters)",
            Bytes::new(total)
        ));
    }
    check_sizes(c, &sizes, (total, &least), options);
    for name in [room::SENDERS, room::SLOTS] {
        if given(name).is_none() {
            let value = if name == room::SENDERS { SENDERS } else { SLOTS };
            reasons.push(format!("{name} = {value}: for eight standbys, a build of each and tools"));
        }
    }
    (sizes, reasons)
}

/// Holds the sizes that the nodes get against what the checks memory.process and memory.shared_buffers will say of them.
fn check_sizes(c: &mut Cluster, sizes: &Settings, (total, least): (u64, &str), options: &Options) {
    let size = |name: &str, unit: u64| {
        given(options, name).or_else(|| sizes.get(name).cloned()).and_then(|text| bytes(&text, unit))
    };
    let accepts = |id: &str| options.og_accept.split(',').any(|one| one.trim() == id);
    let (process, buffers) = (size("max_process_memory", 1 << 10), size("shared_buffers", 8 << 10));
    let columns = size("cstore_buffers", 1 << 10).unwrap_or(0);
    if let Some(process) = process.filter(|process| process.saturating_add(SYSTEM_RESERVE) > total)
        && given(options, "max_process_memory").is_some()
        && !accepts("memory.process")
    {
        c.findings.push(format!(
            "{least}: max_process_memory would be {}, and its server's share of the memory is {}, {} of it for the system; \
             set it lower in og_parameters, or take it as it is (og_accept=memory.process)",
            Bytes::new(process),
            Bytes::new(total),
            Bytes::new(SYSTEM_RESERVE)
        ));
    }
    if let Some(buffers) = buffers.filter(|buffers| *buffers >= total)
        && !accepts("memory.shared_buffers")
    {
        c.findings.push(format!(
            "{least}: shared_buffers would be {}, and its server's share of the memory is {}; set it lower in og_parameters",
            Bytes::new(buffers),
            Bytes::new(total)
        ));
    }
    if let (Some(process), Some(buffers)) = (process, buffers)
        && buffers.saturating_add(columns) >= process
    {
        c.findings.push(format!(
            "shared_buffers and cstore_buffers would be {}, and max_process_memory {}, of which they are a part; correct \
             og_parameters",
            Bytes::new(buffers.saturating_add(columns)),
            Bytes::new(process)
        ));
    }
}
