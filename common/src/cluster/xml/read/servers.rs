//! The database servers: `dataNode1` and the lists beside it.

use std::collections::BTreeSet;

use super::super::super::{
    ClusterNode, ConfiguredRole, DEFAULT_PORT, DataNode, FIRST_INSTANCE, MAX_PEERS, next_free,
};
use super::super::{Device, Document, Param, normalize_path};
use super::{
    check_absolute, check_allowed, find_device, read_address_list, read_filled_param, read_number,
    read_param, read_port,
};
use crate::base::Error;

/// Between the ports of two primaries on one machine (OM `PORT_STEP_SIZE`).
const PORT_STEP: u32 = 20;

/// dataNode1 of each DEVICE that has a primary, and the lists beside it.
pub(super) fn read_data_nodes(doc: &Document, nodes: &mut [ClusterNode]) -> Result<(), Error> {
    let mut taken = BTreeSet::new();
    let mut group = 0;
    for main in 0..nodes.len() {
        let device = find_device(doc, &nodes[main].name)?;
        let at = device.element.start;
        match read_number(doc, device, "dataNum")?.unwrap_or(0) {
            0 => continue,
            1 => {}
            n => {
                return Err(doc.error(
                    device.param("dataNum").map_or(at, |p| p.element.start),
                    format!(
                        "dataNum of node {} is {n}; OM takes 0 or 1, for it knows no dataNode2",
                        device.name
                    ),
                    if n < 0 { "GAUSS-51208" } else { "GAUSS-50204" },
                ));
            }
        }
        group += 1;
        // A primary that came here as another group's standby counts for the ports of later ones.
        let step = u32::try_from(
            nodes[main].data_nodes.iter().filter(|d| d.role == ConfiguredRole::Primary).count(),
        )
        .unwrap_or(0);
        let port = read_port(doc, device, "dataPortBase", DEFAULT_PORT)? + step * PORT_STEP;
        let (param, items) = hosts_and_folders(doc, device)?;
        let count = items.len().div_ceil(2);
        sizes(doc, param, nodes, group, count)?;
        let xlogs = xlog_list(doc, device, count)?;
        sync_number(doc, device, count)?;
        float_map(doc, device, count)?;
        let listen = read_address_list(doc, device, "dataListenIp1", count)?;
        for i in 0..count {
            let (host, dir) = if i == 0 {
                (main, &items[0])
            } else {
                let host = nodes.iter().position(|n| n.name == items[2 * i - 1]).ok_or_else(|| {
                    doc.error(
                        param.element.start,
                        format!(
                            "dataNode1 of node {} has {:?}, which is no node",
                            device.name,
                            items[2 * i - 1]
                        ),
                        "GAUSS-50204",
                    )
                })?;
                (host, &items[2 * i])
            };
            let data_dir = resolve_links(dir);
            check_allowed(doc, param, &data_dir)?;
            check_absolute(doc, param, &data_dir)?;
            let id = next_free(FIRST_INSTANCE, &taken);
            taken.insert(id);
            let node = &mut nodes[host];
            if node.data_nodes.iter().any(|d| d.data_dir == data_dir) {
                return Err(doc.error(
                    param.element.start,
                    format!("node {} has {data_dir} twice in dataNode1", node.name),
                    "GAUSS-51638",
                ));
            }
            node.data_nodes.push(DataNode {
                id,
                group,
                data_dir,
                xlog_dir: xlogs.get(i).cloned().unwrap_or_default(),
                ssd_dir: String::new(),
                listen_addresses: listen
                    .as_ref()
                    .map_or_else(|| node.addresses.clone(), |l| vec![l[i].clone()]),
                port,
                role: if i == 0 { ConfiguredRole::Primary } else { ConfiguredRole::Standby },
                ha_addresses: node.addresses.clone(),
                ha_port: port + 1,
                peers: Vec::new(),
            });
            if i > 0 {
                cascade(doc, node)?;
            }
        }
    }
    Ok(())
}

/// dataNode1: the primary's folder, then host and folder of each standby.
fn hosts_and_folders<'d>(doc: &Document, device: &'d Device) -> Result<(&'d Param, Vec<String>), Error> {
    let (param, value) = read_param(device, "dataNode1").ok_or_else(|| {
        doc.error(
            device.element.start,
            format!("dataNum of node {} is 1, but it has no dataNode1", device.name),
            "GAUSS-50204",
        )
    })?;
    let bad = |what: &str, code| {
        doc.error(param.element.start, format!("dataNode1 of node {} {what}", device.name), code)
    };
    if value.is_empty() {
        return Err(bad("is empty", "GAUSS-51638"));
    }
    let items: Vec<String> = value.split(',').map(|i| i.trim().to_owned()).collect();
    if items.len().is_multiple_of(2) {
        return Err(bad("must be a folder, and a host and a folder for each standby", "GAUSS-50204"));
    }
    Ok((param, items))
}

/// Python's `os.path.realpath`, as far as the text alone tells.
fn resolve_links(path: &str) -> String {
    let path = normalize_path(path);
    if path.starts_with("//") { path[1..].to_owned() } else { path }
}

/// Groups of at most a primary and eight standbys, and all of one size.
fn sizes(
    doc: &Document,
    param: &Param,
    nodes: &[ClusterNode],
    group: u32,
    count: usize,
) -> Result<(), Error> {
    if count > MAX_PEERS + 1 {
        return Err(doc.error(
            param.element.start,
            format!("dataNode1 has {} standbys, there are at most {MAX_PEERS}", count - 1),
            "GAUSS-51230",
        ));
    }
    let first = nodes.iter().flat_map(|n| &n.data_nodes).filter(|d| d.group == 1).count();
    if group > 1 && first != count {
        return Err(doc.error(
            param.element.start,
            format!("dataNode1 has {} standbys, the one before has {}", count - 1, first.saturating_sub(1)),
            "GAUSS-53200",
        ));
    }
    Ok(())
}

/// With cascadeRole on, all servers of the node become cascade standbys.
fn cascade(doc: &Document, node: &mut ClusterNode) -> Result<(), Error> {
    let device = find_device(doc, &node.name)?;
    let Some((param, _)) = read_param(device, "cascadeRole").filter(|(_, v)| v == "on") else {
        return Ok(());
    };
    if doc.param("enable_dcf").is_some_and(|p| p.value.trim() == "on") {
        return Err(doc.error(param.element.start, "cascadeRole does not go with enable_dcf", "GAUSS-51244"));
    }
    for d in &mut node.data_nodes {
        d.role = ConfiguredRole::CascadeStandby;
    }
    Ok(())
}

fn xlog_list(doc: &Document, device: &Device, count: usize) -> Result<Vec<String>, Error> {
    let Some((param, value)) = read_filled_param(device, "dataNodeXlogPath1") else { return Ok(Vec::new()) };
    let list: Vec<String> = value.split(',').map(|p| p.trim().to_owned()).collect();
    if list.len() != count {
        return Err(doc.error(
            param.element.start,
            format!(
                "dataNodeXlogPath1 of node {} has {} folders for {count} servers",
                device.name,
                list.len()
            ),
            "GAUSS-50204",
        ));
    }
    for path in &list {
        check_allowed(doc, param, path)?;
        check_absolute(doc, param, path)?;
    }
    Ok(list)
}

fn sync_number(doc: &Document, device: &Device, count: usize) -> Result<(), Error> {
    let Some((param, value)) = read_param(device, "dataNode1_syncNum") else { return Ok(()) };
    if value.is_empty() {
        // Unlike other numbers, OM has no default for one that is there.
        let text = "dataNode1_syncNum is empty, it must be a number";
        return Err(doc.error(param.element.start, text.to_owned(), "GAUSS-50204"));
    }
    let Some(n) = read_number(doc, device, "dataNode1_syncNum")? else { return Ok(()) };
    if usize::try_from(n).is_ok_and(|n| n < count) {
        return Ok(());
    }
    Err(doc.error(
        param.element.start,
        format!("dataNode1_syncNum is {n}, there are {} standbys", count - 1),
        "GAUSS-50204",
    ))
}

fn float_map(doc: &Document, device: &Device, count: usize) -> Result<(), Error> {
    let Some((param, value)) = read_filled_param(device, "floatIpMap1") else { return Ok(()) };
    let names: Vec<&str> = value.split(',').map(str::trim).collect();
    if names.len() != count {
        return Err(doc.error(
            param.element.start,
            format!("floatIpMap1 has {} names for {count} servers", names.len()),
            "GAUSS-50204",
        ));
    }
    match names.iter().find(|n| doc.param(n).is_none()) {
        Some(name) => Err(doc.error(
            param.element.start,
            format!("floatIpMap1 has {name:?}, which CLUSTER does not have"),
            "GAUSS-50204",
        )),
        None => Ok(()),
    }
}
