//! From the parameters to a cluster, as OM's `initFromXml` does it.

mod servers;

use super::super::check::{self, FORBIDDEN};
use super::super::{
    AGENT_GROUP, Cluster, ClusterAddress, ClusterNode, CmAgent, CmServer, ConfiguredRole, FIRST_AGENT,
};
use super::{Device, Document, Param, normalize_path};
use crate::base::{Error, ErrorKind};

pub(super) fn read_cluster(doc: &Document) -> Result<Cluster, Error> {
    check_globals(doc)?;
    let names = read_node_names(doc)?;
    let back_ips = read_back_ips(doc)?;
    let mut nodes = Vec::with_capacity(names.len());
    for (id, name) in (1..).zip(&names) {
        nodes.push(read_basics(doc, id, name)?);
    }
    for (i, node) in nodes.iter().enumerate() {
        if back_ips.get(i) != node.addresses.first() {
            let at = doc.param("backIp1s").map_or(0, |p| p.element.start);
            return Err(doc.error(
                at,
                format!(
                    "backIp1s has {} for node {}, whose backIp1 is {}",
                    back_ips.get(i).map_or("nothing", ClusterAddress::as_str),
                    node.name,
                    node.addresses.first().map_or("", ClusterAddress::as_str)
                ),
                "GAUSS-50625",
            ));
        }
    }
    read_cm_dirs(doc, &nodes)?;
    read_cm_servers(doc, &mut nodes)?;
    servers::read_data_nodes(doc, &mut nodes)?;
    for node in &mut nodes {
        node.data_nodes.sort_by_key(|d| d.id);
    }
    let cluster = Cluster { nodes }.with_linked_peers();
    check_complete(doc, &cluster)?;
    cluster.check()?;
    Ok(cluster)
}

/// What [`Cluster::check`] asks, with the place of the DEVICE that it is about.
fn check_complete(doc: &Document, cluster: &Cluster) -> Result<(), Error> {
    for (i, node) in cluster.nodes.iter().enumerate() {
        let found = check::check_node(node).and_then(|()| check::check_nodes_together(&cluster.nodes[..=i]));
        found.map_err(|e| {
            let at = doc.device(&node.name).map_or(doc.cluster_at, |d| d.element.start);
            doc.locate_error(at, &e)
        })?;
    }
    if cluster.data_nodes().next().is_none() {
        return Err(doc.error(doc.cluster_at, "no DEVICE has a dataNode1", "GAUSS-51230"));
    }
    Ok(())
}

fn check_globals(doc: &Document) -> Result<(), Error> {
    for (name, is_path) in [("clusterName", false), ("gaussdbAppPath", true)] {
        let param = doc
            .param(name)
            .ok_or_else(|| doc.error(doc.cluster_at, format!("CLUSTER has no {name}"), "GAUSS-50204"))?;
        check_allowed(doc, param, param.value.trim())?;
        if is_path {
            check_absolute(doc, param, param.value.trim())?;
        }
    }
    if let Some(param) = doc.param("gaussdbLogPath").filter(|p| !p.value.trim().is_empty()) {
        check_allowed(doc, param, param.value.trim())?;
        check_absolute(doc, param, param.value.trim())?;
    }
    for name in ["enable_dcf", "enable_dss", "enable_uwal"] {
        if let Some(param) = doc.param(name).filter(|p| !["", "on", "off"].contains(&p.value.trim())) {
            return Err(doc.error(
                param.element.start,
                format!("{name} is {:?}, it must be on or off", param.value),
                "GAUSS-50011",
            ));
        }
    }
    if doc.param("enable_dcf").is_some_and(|p| p.value == "on") {
        let param = doc.param("dcf_config").ok_or_else(|| {
            doc.error(doc.cluster_at, "enable_dcf is on, but there is no dcf_config", "GAUSS-50204")
        })?;
        let count = |word: &str| param.value.matches(word).count();
        if count("role").saturating_sub(count("PASSIVE")) < 3 {
            return Err(doc.error(
                param.element.start,
                "dcf_config needs three nodes or more that are not PASSIVE",
                "GAUSS-50011",
            ));
        }
    }
    match doc.param("clusterType") {
        Some(param) if param.value.trim() == "single-inst-one-node" => Err(Error::new(
            ErrorKind::Unsupported,
            "clusterType single-inst-one-node (all servers on one machine) is not supported",
        )),
        _ => Ok(()),
    }
}

/// OM's `checkPathVaild`.
fn check_allowed(doc: &Document, param: &Param, value: &str) -> Result<(), Error> {
    match value.chars().find(|c| FORBIDDEN.contains(*c) || matches!(c, ' ' | '\n')) {
        Some(c) => Err(doc.error(
            param.element.start,
            format!("{} {value:?} holds {c:?}, which OM refuses", param.name),
            "GAUSS-50219",
        )),
        None => Ok(()),
    }
}

fn check_absolute(doc: &Document, param: &Param, value: &str) -> Result<(), Error> {
    if value.starts_with('/') {
        return Ok(());
    }
    Err(doc.error(
        param.element.start,
        format!("{} {value:?} is not an absolute path", param.name),
        "GAUSS-50213",
    ))
}

fn read_node_names(doc: &Document) -> Result<Vec<String>, Error> {
    let param = doc
        .param("nodeNames")
        .ok_or_else(|| doc.error(doc.cluster_at, "CLUSTER has no nodeNames", "GAUSS-50204"))?;
    let at = param.element.start;
    let names: Vec<String> = param.value.split(',').map(|n| n.trim().to_owned()).collect();
    if let Some(twice) = names.iter().enumerate().find_map(|(i, n)| names[..i].contains(n).then_some(n)) {
        return Err(doc.error(at, format!("nodeNames has {twice:?} twice"), "GAUSS-50204"));
    }
    for device in &doc.devices {
        if device.name.is_empty() {
            return Err(doc.error(device.element.start, "the DEVICE has no name", "GAUSS-51236"));
        }
        if let [_, second, ..] = device.params.iter().filter(|p| p.name == "name").collect::<Vec<_>>()[..] {
            return Err(doc.error(second.element.start, "the DEVICE has two names", "GAUSS-51236"));
        }
        if !names.contains(&device.name) {
            return Err(doc.error(
                device.element.start,
                format!("DEVICE {:?} is not in nodeNames", device.name),
                "GAUSS-51236",
            ));
        }
        if doc.devices.iter().filter(|d| d.name == device.name).count() > 1 {
            return Err(doc.error(
                device.element.start,
                format!("there are two DEVICEs named {:?}", device.name),
                "GAUSS-51236",
            ));
        }
    }
    match names.iter().find(|n| doc.device(n).is_none()) {
        Some(name) => {
            Err(doc.error(at, format!("nodeNames has {name:?}, for which there is no DEVICE"), "GAUSS-51236"))
        }
        None => Ok(names),
    }
}

fn read_back_ips(doc: &Document) -> Result<Vec<ClusterAddress>, Error> {
    let param = doc
        .param("backIp1s")
        .ok_or_else(|| doc.error(doc.cluster_at, "CLUSTER has no backIp1s", "GAUSS-50204"))?;
    param.value.split(',').map(|ip| parse_address(doc, param, ip)).collect()
}

fn parse_address(doc: &Document, param: &Param, text: &str) -> Result<ClusterAddress, Error> {
    let address = ClusterAddress::from_canonicalized(text);
    if address.ip().is_none() {
        return Err(doc.error(
            param.element.start,
            format!("{}: {:?} is not an IP address", param.name, text.trim()),
            "GAUSS-50603",
        ));
    }
    Ok(address)
}

/// A DEVICE's parameter as OM reads it; `None` when it is not there.
fn read_param<'d>(device: &'d Device, name: &str) -> Option<(&'d Param, String)> {
    let param = device.param(name)?;
    let value = param.value.trim();
    let path = name.starts_with("dataNode") || name.find("Dir").is_some_and(|at| at > 0);
    Some((param, if path && !value.is_empty() { normalize_path(value) } else { value.to_owned() }))
}

/// A DEVICE's parameter when it is there and not empty.
fn read_filled_param<'d>(device: &'d Device, name: &str) -> Option<(&'d Param, String)> {
    read_param(device, name).filter(|(_, value)| !value.is_empty())
}

fn read_number(doc: &Document, device: &Device, name: &str) -> Result<Option<i64>, Error> {
    let Some((param, value)) = read_filled_param(device, name) else { return Ok(None) };
    value.parse().map(Some).map_err(|_| {
        doc.error(param.element.start, format!("{name} is {value:?}, it must be a number"), "GAUSS-50204")
    })
}

/// A port, `default` when it is not given.
fn read_port(doc: &Document, device: &Device, name: &str, default: u32) -> Result<u32, Error> {
    let Some(value) = read_number(doc, device, name)? else { return Ok(default) };
    // The next port is used, too.
    u32::try_from(value).ok().filter(|p| (1024..65535).contains(p)).ok_or_else(|| {
        let at = device.param(name).map_or(device.element.start, |p| p.element.start);
        doc.error(
            at,
            format!("{name} of node {} is {value}, it must be 1024 to 65534", device.name),
            "GAUSS-51233",
        )
    })
}

fn find_device<'d>(doc: &'d Document, name: &str) -> Result<&'d Device, Error> {
    doc.device(name)
        .ok_or_else(|| doc.error(doc.cluster_at, format!("there is no DEVICE {name:?}"), "GAUSS-51236"))
}

fn read_basics(doc: &Document, id: u32, name: &str) -> Result<ClusterNode, Error> {
    let device = find_device(doc, name)?;
    let at = device.element.start;
    let missing = |what: &str, code| doc.error(at, format!("DEVICE {name} has no {what}"), code);
    let (back, ip) = read_filled_param(device, "backIp1").ok_or_else(|| missing("backIp1", "GAUSS-51207"))?;
    let addresses = vec![parse_address(doc, back, &ip)?];
    let ssh_addresses = match read_filled_param(device, "sshIp1") {
        Some((param, ip)) => vec![parse_address(doc, param, &ip)?],
        None => addresses.clone(),
    };
    // OM connects by it; the static config has no room for it.
    read_number(doc, device, "sshPort")?;
    let (named, zone) = read_param(device, "azName").ok_or_else(|| missing("azName", "GAUSS-50204"))?;
    if zone.is_empty() {
        return Err(doc.error(
            named.element.start,
            format!("azName of DEVICE {name} is empty"),
            "GAUSS-51212",
        ));
    }
    let priority = read_number(doc, device, "azPriority")?.unwrap_or(0);
    let zone_priority = u32::try_from(priority).ok().filter(|p| (1..=10).contains(p)).ok_or_else(|| {
        let at = device.param("azPriority").map_or(at, |p| p.element.start);
        doc.error(at, format!("azPriority of DEVICE {name} is {priority}, it must be 1 to 10"), "GAUSS-53206")
    })?;
    Ok(ClusterNode {
        id,
        name: name.to_owned(),
        zone,
        zone_priority,
        ssh_addresses,
        cm_dir: read_param(device, "cmDir").map(|(_, dir)| dir).unwrap_or_default(),
        cm_server: None,
        cm_agent: CmAgent { id: FIRST_AGENT + id - 1, group: AGENT_GROUP, addresses: addresses.clone() },
        data_nodes: Vec::new(),
        addresses,
    })
}

fn read_cm_dirs(doc: &Document, nodes: &[ClusterNode]) -> Result<(), Error> {
    let (with, without): (Vec<&ClusterNode>, Vec<&ClusterNode>) =
        nodes.iter().partition(|n| !n.cm_dir.is_empty());
    match (without.first(), with.is_empty()) {
        (Some(lacks), false) => Err(doc.error(
            doc.device(&lacks.name).map_or(doc.cluster_at, |d| d.element.start),
            format!("DEVICE {} has no cmDir, others have", lacks.name),
            "GAUSS-51230",
        )),
        _ => Ok(()),
    }
}

/// A list with an address for each of `count` servers; `None` when it is not given.
fn read_address_list(
    doc: &Document,
    device: &Device,
    name: &str,
    count: usize,
) -> Result<Option<Vec<ClusterAddress>>, Error> {
    let Some((param, value)) = read_filled_param(device, name) else { return Ok(None) };
    let list: Vec<ClusterAddress> =
        value.split(',').map(|ip| parse_address(doc, param, ip)).collect::<Result<_, _>>()?;
    if list.len() == count {
        return Ok(Some(list));
    }
    Err(doc.error(
        param.element.start,
        format!("{name} of node {} has {} addresses for {count} servers", device.name, list.len()),
        "GAUSS-50204",
    ))
}

fn read_cm_servers(doc: &Document, nodes: &mut [ClusterNode]) -> Result<(), Error> {
    let mut next = 1;
    let mut group = 0;
    for main in 0..nodes.len() {
        let device = find_device(doc, &nodes[main].name)?;
        let at = device.element.start;
        match read_number(doc, device, "cmsNum")?.unwrap_or(0) {
            0 => continue,
            1 => {}
            n => {
                return Err(doc.error(
                    at,
                    format!("cmsNum of node {} is {n}, it must be 0 or 1", device.name),
                    "GAUSS-50204",
                ));
            }
        }
        group += 1;
        let (param, relation) = read_filled_param(device, "cmServerRelation").ok_or_else(|| {
            doc.error(at, format!("DEVICE {} has no cmServerRelation", device.name), "GAUSS-50204")
        })?;
        let hosts: Vec<&str> = relation.split(',').map(str::trim).collect();
        if hosts.len() != nodes.len() {
            return Err(doc.error(
                param.element.start,
                format!("cmServerRelation has {} hosts, it must have all {} nodes", hosts.len(), nodes.len()),
                "GAUSS-50204",
            ));
        }
        let level = match read_number(doc, device, "cmServerlevel")? {
            Some(level) => Some(level),
            None => read_number(doc, device, "cmServerLevel")?,
        };
        let level = level.and_then(|l| u32::try_from(l).ok()).ok_or_else(|| {
            doc.error(at, format!("DEVICE {} has no cmServerlevel", device.name), "GAUSS-50204")
        })?;
        // OM looks at cmServerPortBase only on the first two nodes (`check_conf_cm_state`).
        let port = if main < 2 { read_port(doc, device, "cmServerPortBase", 5000)? } else { 5000 };
        let listen = read_address_list(doc, device, "cmServerListenIp1", hosts.len())?;
        let ha = read_address_list(doc, device, "cmServerHaIp1", hosts.len())?;
        for (i, host) in hosts.iter().enumerate() {
            // The first one is this node, whatever the list says.
            let place = if i == 0 { Some(main) } else { nodes.iter().position(|n| n.name == **host) };
            let node = place.and_then(|p| nodes.get_mut(p)).ok_or_else(|| {
                doc.error(
                    param.element.start,
                    format!("cmServerRelation has {host:?}, which is no node"),
                    "GAUSS-50204",
                )
            })?;
            if node.cm_server.is_some() {
                return Err(doc.error(
                    param.element.start,
                    format!("node {} would have two CM servers", node.name),
                    "GAUSS-51638",
                ));
            }
            let pick = |list: &Option<Vec<ClusterAddress>>| {
                list.as_ref().map_or_else(|| node.addresses.clone(), |l| vec![l[i].clone()])
            };
            let (listen_addresses, ha_addresses) = (pick(&listen), pick(&ha));
            if listen_addresses != node.addresses {
                return Err(doc.error(
                    device.param("cmServerListenIp1").map_or(at, |p| p.element.start),
                    format!(
                        "the CM server of node {} must listen on its backIp1 {}",
                        node.name, node.addresses[0]
                    ),
                    "GAUSS-51220",
                ));
            }
            node.cm_server = Some(CmServer {
                id: next,
                group,
                level,
                float_address: String::new(),
                listen_addresses,
                port,
                ha_addresses,
                ha_port: port + 1,
                role: if i == 0 { ConfiguredRole::Primary } else { ConfiguredRole::Standby },
                peer_addresses: Vec::new(),
                peer_port: 0,
            });
            next += 1;
        }
    }
    Ok(())
}
