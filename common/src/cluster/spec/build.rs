//! A [`Cluster`] made of nodes given as JSON objects, or changed by them.

use std::collections::{BTreeSet, HashSet};

use super::super::{
    AGENT_GROUP, Cluster, ClusterAddress, ClusterNode, CmAgent, CmServer, ConfiguredRole, DEFAULT_PORT,
    DataNode, FIRST_AGENT, FIRST_INSTANCE, next_free,
};
use super::{Addresses, CmServerSpec, DataNodeSpec, NodeSpec};
use crate::base::Error;

/// Makes a cluster of exactly these nodes, in the order of their ids.
///
/// Nodes that `present` knows by name keep their ids, and their role where none is given. New ones take the ids they
/// give, else the next free ones, data nodes the primary first, as OM does.
///
/// # Errors
/// `bad_args` for a list that contradicts itself or lacks something; `refused` when it would move an id, for another
/// cluster than `present`, or for a cluster that openGauss's programs would not read ([`Cluster::check`]).
pub fn build(specs: &[NodeSpec], present: Option<&Cluster>) -> Result<Cluster, Error> {
    check_listed_once(specs)?;
    // A server that was installed alone has a file of its own, with its own ids, when it comes into a cluster.
    let present = present.filter(|p| !is_single_node_joining(specs, p));
    if let Some(present) = present {
        if !present.nodes.iter().any(|n| specs.iter().any(|s| s.name == n.name)) {
            return Err(Error::refused(format!(
                "the file is of another cluster: it has {}, and none of the nodes given",
                node_names(present)
            ))
            .hint("check the names and the path; if the file is to be replaced, move it away first"));
        }
        if present.has_cm() && !specs.iter().any(|s| s.cm_server.is_some()) {
            return Err(Error::refused("the file has CM servers, the nodes given have none")
                .hint("give the nodes as state: query prints them, with cm_dir and cm_server"));
        }
    }
    let mut cluster = assemble(specs, present, None)?;
    cluster.nodes.sort_by_key(|n| n.id);
    cluster.link_peers();
    cluster.check()?;
    Ok(cluster)
}

/// The cluster that `specs` describe, to be compared with `present`: an id that is not given is taken to be the one in
/// `present`, and nothing else is checked.
///
/// # Errors
/// `bad_args` for a list that contradicts itself or lacks something.
pub fn compare_with(specs: &[NodeSpec], present: &Cluster) -> Result<Cluster, Error> {
    check_listed_once(specs)?;
    let mut specs = specs.to_vec();
    for spec in &mut specs {
        let Some(node) = present.node(&spec.name) else { continue };
        spec.id.get_or_insert(node.id);
        spec.cm_agent_id.get_or_insert(node.cm_agent.id);
        if let (Some(spec), Some(server)) = (&mut spec.cm_server, &node.cm_server) {
            spec.id.get_or_insert(server.id);
        }
        match (&mut spec.data_nodes, node.data_nodes.as_slice()) {
            (None, [d]) => {
                spec.instance_id.get_or_insert(d.id);
                spec.role.get_or_insert(d.role);
            }
            (None, _) => {}
            (Some(list), olds) => {
                for d in list {
                    if let Some(old) = olds.iter().find(|o| o.data_dir == d.data_dir) {
                        d.instance_id.get_or_insert(old.id);
                        d.role.get_or_insert(old.role);
                    }
                }
            }
        }
    }
    let mut cluster = assemble(&specs, None, None)?;
    cluster.nodes.sort_by_key(|n| n.id);
    Ok(cluster.with_linked_peers())
}

/// What to change in a present cluster.
#[derive(Clone, Copy, Debug, Default)]
pub struct Edit<'a> {
    /// Nodes that must be there.
    pub add: &'a [NodeSpec],
    /// Names or ids of nodes that must not be there.
    pub drop: &'a [String],
    /// The name or id of the node that is the primary.
    pub primary: Option<&'a str>,
}

/// Changes a present cluster: first the primary, then drops, then additions. All other nodes stay as they are.
///
/// A node to drop that is not there is no error, it is gone; one to add that is there is brought to what is given.
///
/// # Errors
/// `bad_args` for a list that contradicts itself; `not_found` for a primary that is not there; `refused` for the drop of
/// the last node or of the primary, and as for [`build`].
pub fn edit(present: &Cluster, edit: Edit) -> Result<Cluster, Error> {
    check_listed_once(edit.add).map_err(|e| e.with_path("/add"))?;
    let mut cluster = present.clone();
    if let Some(primary) = edit.primary {
        make_primary(&mut cluster, primary)?;
    }
    let mut going = HashSet::new();
    for key in edit.drop {
        if edit.add.iter().any(|s| s.name == *key) {
            return Err(Error::bad_args(format!("node {key} is in add and in drop")).with_path("/drop"));
        }
        going.extend(cluster.find(key).map(|n| n.id));
    }
    let (going, staying): (Vec<ClusterNode>, Vec<ClusterNode>) =
        cluster.nodes.into_iter().partition(|n| going.contains(&n.id));
    if staying.is_empty() && !going.is_empty() {
        return Err(Error::refused("the last node cannot be dropped").with_path("/drop"));
    }
    if let Some(node) = going.iter().find(|n| n.data_nodes.iter().any(|d| d.role == ConfiguredRole::Primary))
    {
        return Err(Error::refused(format!("node {} is the primary and cannot be dropped", node.name))
            .with_path("/drop")
            .hint("switch over to another node first, and name that one in primary"));
    }
    cluster.nodes = staying;
    if !edit.add.is_empty() {
        let added = assemble(edit.add, Some(&cluster), Some(&cluster))?;
        for node in added.nodes {
            if let Some(old) = cluster.nodes.iter_mut().find(|n| n.name == node.name) {
                *old = node;
            } else {
                let at = cluster.nodes.iter().position(|n| n.id > node.id);
                cluster.nodes.insert(at.unwrap_or(cluster.nodes.len()), node);
            }
        }
    }
    if cluster == *present {
        // Nothing is asked for: a file that is odd in another way stays readable and stays as it is.
        return Ok(cluster);
    }
    cluster.link_peers();
    cluster.check()?;
    Ok(cluster)
}

fn node_names(cluster: &Cluster) -> String {
    cluster.nodes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn check_listed_once(specs: &[NodeSpec]) -> Result<(), Error> {
    let mut seen = HashSet::new();
    match specs.iter().find(|s| !seen.insert(s.name.as_str())) {
        Some(twice) => {
            Err(Error::bad_args(format!("node {} is listed twice", twice.name)).gauss_code("GAUSS-50204"))
        }
        None => Ok(()),
    }
}

/// Whether `present` is the file of a server that was installed alone and now comes into a cluster: with other ids, or,
/// where none is given, as a standby.
fn is_single_node_joining(specs: &[NodeSpec], present: &Cluster) -> bool {
    let [alone] = present.nodes.as_slice() else { return false };
    let Some(spec) = specs.iter().find(|s| s.name == alone.name) else { return false };
    let server = alone.data_nodes.first();
    let other_ids = spec.id.is_some_and(|id| id != alone.id)
        || spec.instance_id.is_some_and(|id| server.is_some_and(|d| d.id != id));
    let as_standby = spec.id.is_none()
        && spec.instance_id.is_none()
        && spec.role.is_some_and(|r| r != ConfiguredRole::Primary)
        && server.is_some_and(|d| d.role == ConfiguredRole::Primary);
    specs.len() > 1 && (other_ids || as_standby)
}

fn make_primary(cluster: &mut Cluster, key: &str) -> Result<(), Error> {
    let Some(node) = cluster.find(key) else {
        return Err(Error::not_found(format!(
            "node {key} is not in the file: it has {}",
            node_names(cluster)
        ))
        .with_path("/primary"));
    };
    let (id, groups): (u32, Vec<u32>) = (node.id, node.data_nodes.iter().map(|d| d.group).collect());
    let mut seen = HashSet::new();
    if groups.is_empty() || groups.iter().any(|g| !seen.insert(*g)) {
        return Err(Error::refused(format!(
            "node {} has {} data nodes, so it is not clear which is the primary",
            node.name,
            groups.len()
        ))
        .with_path("/primary"));
    }
    for node in &mut cluster.nodes {
        for d in node.data_nodes.iter_mut().filter(|d| groups.contains(&d.group)) {
            if node.id == id {
                d.role = ConfiguredRole::Primary;
            } else if d.role == ConfiguredRole::Primary {
                d.role = ConfiguredRole::Standby;
            }
        }
    }
    Ok(())
}

/// Ids in use, by kind.
struct Taken {
    nodes: BTreeSet<u32>,
    instances: BTreeSet<u32>,
    agents: BTreeSet<u32>,
    servers: BTreeSet<u32>,
}

impl Taken {
    fn from_cluster(cluster: &Cluster) -> Self {
        Self {
            nodes: cluster.nodes.iter().map(|n| n.id).collect(),
            instances: cluster.data_nodes().map(|(_, d)| d.id).collect(),
            agents: cluster.nodes.iter().map(|n| n.cm_agent.id).collect(),
            servers: cluster.nodes.iter().filter_map(|n| n.cm_server.as_ref()).map(|s| s.id).collect(),
        }
    }
}

/// Takes the next free id from `first` on.
fn take_free_id(taken: &mut BTreeSet<u32>, first: u32) -> u32 {
    let id = next_free(first, taken);
    taken.insert(id);
    id
}

/// The id to use: the one given, else the one it has, else 0, which is filled in later.
fn keep_id(node: &str, what: &str, given: Option<u32>, has: Option<u32>) -> Result<u32, Error> {
    match (given, has) {
        (Some(given), Some(has)) if given != has => {
            Err(Error::refused(format!("node {node}: the {what} is {has} in the file and cannot become {given}"))
                .hint("ids never move, as other files and programs know the node by them; leave the id out, or drop the node and add it again"))
        }
        (Some(0), _) => Err(Error::bad_args(format!("node {node}: the {what} must be 1 or more"))),
        (Some(id), _) | (None, Some(id)) => Ok(id),
        (None, None) => Ok(0),
    }
}

/// The nodes of `specs`. `present` tells what is known of them; `pattern` is the cluster they come into, whose primary
/// and CM they follow.
fn assemble(
    specs: &[NodeSpec],
    present: Option<&Cluster>,
    pattern: Option<&Cluster>,
) -> Result<Cluster, Error> {
    let mut nodes = Vec::with_capacity(specs.len());
    let primary = PrimarySettings::from_specs(specs, present, pattern);
    for (i, spec) in specs.iter().enumerate() {
        let old = present.and_then(|p| p.node(&spec.name));
        let single = specs.len() == 1 && pattern.is_none();
        let node = node(spec, old, pattern, &primary, single)
            .map_err(|e| if e.failure().path.is_none() { e.with_path(format!("/{i}")) } else { e })?;
        nodes.push(node);
    }
    let mut taken = Taken::from_cluster(&Cluster { nodes: nodes.clone() });
    if let Some(pattern) = pattern {
        let others = Taken::from_cluster(pattern);
        taken.nodes.extend(others.nodes);
        taken.instances.extend(others.instances);
        taken.agents.extend(others.agents);
        taken.servers.extend(others.servers);
    }
    assign_ids(&mut nodes, &mut taken);
    Ok(Cluster { nodes })
}

/// Gives an id to all that has none yet: data nodes group by group, the primary first.
fn assign_ids(nodes: &mut [ClusterNode], taken: &mut Taken) {
    for node in nodes.iter_mut() {
        if node.id == 0 {
            node.id = take_free_id(&mut taken.nodes, 1);
        }
        if node.cm_agent.id == 0 {
            node.cm_agent.id = take_free_id(&mut taken.agents, FIRST_AGENT);
        }
    }
    for primary in [true, false] {
        for server in nodes.iter_mut().filter_map(|n| n.cm_server.as_mut()) {
            if server.id == 0 && (server.role == ConfiguredRole::Primary) == primary {
                server.id = take_free_id(&mut taken.servers, 1);
            }
        }
    }
    let mut groups: Vec<u32> = nodes.iter().flat_map(|n| n.data_nodes.iter().map(|d| d.group)).collect();
    groups.sort_unstable();
    groups.dedup();
    for group in groups {
        for primary in [true, false] {
            for d in nodes.iter_mut().flat_map(|n| n.data_nodes.iter_mut()) {
                if d.id == 0 && d.group == group && (d.role == ConfiguredRole::Primary) == primary {
                    d.id = take_free_id(&mut taken.instances, FIRST_INSTANCE);
                }
            }
        }
    }
}

/// What standbys take from the primary when they do not say otherwise.
#[derive(Default)]
struct PrimarySettings {
    data_dir: Option<String>,
    port: Option<u32>,
    group_ports: Vec<(u32, u32)>,
}

impl PrimarySettings {
    fn from_specs(specs: &[NodeSpec], present: Option<&Cluster>, pattern: Option<&Cluster>) -> Self {
        if let Some(pattern) = pattern {
            let primaries: Vec<&DataNode> =
                pattern.data_nodes().map(|(_, d)| d).filter(|d| d.role == ConfiguredRole::Primary).collect();
            return Self {
                data_dir: primaries.first().map(|d| d.data_dir.clone()),
                port: primaries.first().map(|d| d.port),
                group_ports: primaries.iter().map(|d| (d.group, d.port)).collect(),
            };
        }
        let is_primary = |s: &&NodeSpec| match s.role {
            Some(role) => role == ConfiguredRole::Primary,
            None => present
                .and_then(|p| p.node(&s.name))
                .is_some_and(|n| n.data_nodes.iter().any(|d| d.role == ConfiguredRole::Primary)),
        };
        let primary = specs.iter().find(is_primary).or_else(|| specs.first());
        Self {
            data_dir: primary.and_then(|s| s.data_dir.clone()),
            port: primary.and_then(|s| s.base_port),
            group_ports: specs
                .iter()
                .flat_map(|s| s.data_nodes.iter().flatten())
                .filter(|d| d.role == Some(ConfiguredRole::Primary))
                .filter_map(|d| Some((d.group.unwrap_or(1), d.base_port?)))
                .collect(),
        }
    }

    fn port_of(&self, group: u32) -> u32 {
        self.group_ports
            .iter()
            .find(|(g, _)| *g == group)
            .map(|(_, p)| *p)
            .or(self.port)
            .unwrap_or(DEFAULT_PORT)
    }
}

fn node(
    spec: &NodeSpec,
    old: Option<&ClusterNode>,
    pattern: Option<&Cluster>,
    primary: &PrimarySettings,
    single: bool,
) -> Result<ClusterNode, Error> {
    let name = &spec.name;
    let addresses = spec.address.list();
    let or_address =
        |given: &Option<Addresses>| given.as_ref().map_or_else(|| addresses.clone(), Addresses::list);
    let settings = flat_settings(spec);
    if spec.data_nodes.is_some() && !settings.is_empty() {
        return Err(Error::bad_args(format!(
            "node {name}: data_nodes is given, so {} has no place",
            settings.join(", ")
        )));
    }
    let given: Vec<DataNodeSpec> = match &spec.data_nodes {
        Some(list) => list.clone(),
        None => vec![DataNodeSpec {
            instance_id: spec.instance_id,
            group: None,
            data_dir: spec.data_dir.clone().or_else(|| primary.data_dir.clone()).ok_or_else(|| {
                Error::bad_args(format!("node {name}: data_dir is missing, and the primary has none either"))
            })?,
            xlog_dir: spec.xlog_dir.clone(),
            ssd_dir: None,
            base_port: spec.base_port,
            role: spec.role,
            listen_address: spec.listen_address.clone(),
            ha_address: spec.ha_address.clone(),
            ha_port: spec.ha_port,
        }],
    };
    let olds = old.map_or(&[][..], |o| &o.data_nodes);
    let mut data_nodes = Vec::with_capacity(given.len());
    for d in &given {
        // The same server: the only one of the machine, or the one with this data directory.
        let has = match (olds, given.as_slice()) {
            ([one], [_]) => Some(one),
            _ => olds.iter().find(|o| o.data_dir == d.data_dir),
        };
        let group = d.group.unwrap_or_else(|| has.map_or(1, |h| h.group));
        let port = d.base_port.unwrap_or_else(|| primary.port_of(group));
        let default = if single { ConfiguredRole::Primary } else { ConfiguredRole::Standby };
        data_nodes.push(DataNode {
            id: keep_id(name, "instance_id", d.instance_id, has.map(|h| h.id))?,
            group,
            data_dir: d.data_dir.clone(),
            xlog_dir: d.xlog_dir.clone().unwrap_or_default(),
            ssd_dir: d.ssd_dir.clone().unwrap_or_default(),
            listen_addresses: or_address(&d.listen_address),
            port,
            role: d.role.or_else(|| has.map(|h| h.role)).unwrap_or(default),
            ha_addresses: or_address(&d.ha_address),
            ha_port: d.ha_port.unwrap_or_else(|| port.saturating_add(1)),
            peers: Vec::new(),
        });
    }
    // A node that comes into a cluster with CM gets what OM would give it: its cmServerRelation counts every node.
    let like = pattern.and_then(|p| p.primary().or_else(|| p.nodes.first()));
    let cm_dir = spec.cm_dir.clone().or_else(|| like.map(|l| l.cm_dir.clone())).unwrap_or_default();
    let cm_server = build_cm_server(spec, old, pattern, &addresses)?;
    Ok(ClusterNode {
        id: keep_id(name, "id", spec.id, old.map(|o| o.id))?,
        name: name.clone(),
        zone: spec.zone.clone().unwrap_or_else(|| "AZ1".to_owned()),
        zone_priority: spec.zone_priority.unwrap_or(1),
        ssh_addresses: or_address(&spec.ssh_address),
        cm_dir,
        cm_server,
        cm_agent: CmAgent {
            id: keep_id(name, "cm_agent_id", spec.cm_agent_id, old.map(|o| o.cm_agent.id))?,
            group: AGENT_GROUP,
            addresses: or_address(&spec.cm_agent_address),
        },
        data_nodes,
        addresses,
    })
}

/// The settings of the one server that are given.
fn flat_settings(spec: &NodeSpec) -> Vec<&'static str> {
    [
        ("base_port", spec.base_port.is_some()),
        ("data_dir", spec.data_dir.is_some()),
        ("xlog_dir", spec.xlog_dir.is_some()),
        ("role", spec.role.is_some()),
        ("instance_id", spec.instance_id.is_some()),
        ("listen_address", spec.listen_address.is_some()),
        ("ha_address", spec.ha_address.is_some()),
        ("ha_port", spec.ha_port.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, given)| given.then_some(name))
    .collect()
}

fn build_cm_server(
    spec: &NodeSpec,
    old: Option<&ClusterNode>,
    pattern: Option<&Cluster>,
    addresses: &[ClusterAddress],
) -> Result<Option<CmServer>, Error> {
    let has = old.and_then(|o| o.cm_server.as_ref());
    let like = pattern
        .and_then(|p| p.nodes.iter().find_map(|n| n.cm_server.as_ref()))
        .filter(|_| old.is_none() || has.is_some());
    let given = match (&spec.cm_server, like) {
        (Some(given), _) => given.clone(),
        (None, Some(like)) => CmServerSpec {
            group: Some(like.group),
            level: Some(like.level),
            port: Some(like.port),
            role: Some(has.map_or(ConfiguredRole::Standby, |h| h.role)),
            ..CmServerSpec::default()
        },
        (None, None) => return Ok(None),
    };
    let port = given.port.unwrap_or(5000);
    let or_address =
        |given: &Option<Addresses>| given.as_ref().map_or_else(|| addresses.to_vec(), Addresses::list);
    Ok(Some(CmServer {
        id: keep_id(&spec.name, "CM server's id", given.id, has.map(|h| h.id))?,
        group: given.group.unwrap_or(1),
        level: given.level.unwrap_or(1),
        float_address: given.float_address.clone().unwrap_or_default(),
        listen_addresses: or_address(&given.listen_address),
        port,
        ha_addresses: or_address(&given.ha_address),
        ha_port: given.ha_port.unwrap_or_else(|| port.saturating_add(1)),
        role: given.role.unwrap_or(ConfiguredRole::Standby),
        peer_addresses: Vec::new(),
        peer_port: 0,
    }))
}
