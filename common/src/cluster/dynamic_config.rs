//! The roles as last seen: `cluster_dynamic_config` (binary; `gs_om -t start` starts each server by it) and
//! `cluster_dnrole_config` (text; gs_guc reads it). OM writes both in `gs_om -t refreshconf`.

use std::collections::BTreeMap;

use super::page::{
    NAME_BYTES, PAGE_BYTES, PATH_BYTES, Reader, Writer, check_data_nodes, next_page, read_header,
    read_node_count, u32_at, wrong_checksum,
};
use super::static_config::LAYOUT;
use super::{Cluster, ConfiguredRole, MAX_DATA_NODES, MAX_NODES};
use crate::base::Error;

const HEADER_BYTES: usize = 24;
const WHEN_DAMAGED: &str = "write it anew from the live roles, or remove it: openGauss does without";
const DATA_NODE_BYTES: usize = 12 + PATH_BYTES;

/// A whole cluster_dynamic_config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicConfig {
    /// When it was written: seconds since 1970. OM takes the newest of all nodes' files.
    pub time: i64,
    /// The nodes.
    pub nodes: Vec<LiveNode>,
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveNode {
    /// Its number in the static config.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its servers.
    pub data_nodes: Vec<LiveDataNode>,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveDataNode {
    /// Its number, such as 6001.
    pub id: u32,
    /// Its group.
    pub group: u32,
    /// The role it had.
    pub role: ConfiguredRole,
    /// Its data directory.
    pub data_dir: String,
}

/// The live role of each server by its number; a server that is not there is down or could not be asked.
pub type Roles = BTreeMap<u32, ConfiguredRole>;

impl DynamicConfig {
    /// The file for a cluster whose servers have these roles now.
    ///
    /// A server without a role counts as standby, as for OM.
    ///
    /// # Errors
    /// `refused` unless exactly one server is the primary (OM: GAUSS-51230).
    pub fn new(cluster: &Cluster, roles: &Roles, time: i64) -> Result<Self, Error> {
        check_single_primary(cluster, roles)?;
        let nodes = cluster
            .nodes
            .iter()
            .map(|n| LiveNode {
                id: n.id,
                name: n.name.clone(),
                data_nodes: n
                    .data_nodes
                    .iter()
                    .map(|d| LiveDataNode {
                        id: d.id,
                        group: d.group,
                        role: roles.get(&d.id).copied().unwrap_or(ConfiguredRole::Standby),
                        data_dir: d.data_dir.clone(),
                    })
                    .collect(),
            })
            .collect();
        Ok(Self { time, nodes })
    }

    /// Whether a file is in the layout of CM, which keeps another record under the same name: neither checksum nor length,
    /// then a version; a page for the header, and a time line and the groups of servers behind it.
    #[must_use]
    pub fn is_cm_file(bytes: &[u8]) -> bool {
        const CHECKSUM_AND_LENGTH: [u8; 8] = [0; 8];
        bytes.len() > PAGE_BYTES
            && bytes[..8] == CHECKSUM_AND_LENGTH
            && bytes[8..12] != [0; 4]
            && bytes.get(24..28).is_some_and(|nodes| nodes != [0; 4])
    }

    /// Reads a file.
    ///
    /// # Errors
    /// `corrupt` as for the static config; `unsupported` for another layout than 301.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes, 0);
        read_header(&mut r, HEADER_BYTES, WHEN_DAMAGED)?;
        let layout = r.u32("the header")?;
        if layout != LAYOUT {
            return Err(Error::new(
                crate::base::ErrorKind::Unsupported,
                format!("the file's layout is {layout}; {LAYOUT} is read"),
            ));
        }
        let time = r.i64("the header")?;
        let count = read_node_count(&mut r)?;
        let mut nodes = Vec::with_capacity(count);
        for n in 1..=count {
            r.zeros("the room behind a record", next_page(r.at()) - r.at())?;
            nodes.push(live_node(bytes, &mut r, n)?);
        }
        r.zeros("the room behind a record", r.at().next_multiple_of(PAGE_BYTES) - r.at())?;
        if r.at() != bytes.len() {
            return Err(Error::corrupt(format!(
                "{} bytes follow the last node's record",
                bytes.len() - r.at()
            )));
        }
        Ok(Self { time, nodes })
    }

    /// The file's bytes, as OM writes them.
    ///
    /// # Errors
    /// `refused` when something does not fit into its room.
    pub fn print(&self) -> Result<Vec<u8>, Error> {
        let mut w = Writer::default();
        let begin = w.begin();
        w.u32(24);
        w.u32(LAYOUT);
        w.i64(self.time);
        w.u32(count(self.nodes.len(), MAX_NODES)?);
        w.seal(begin);
        for node in &self.nodes {
            w.fill_to(next_page(w.at()));
            let begin = w.begin();
            w.u32(node.id);
            w.string("name", &node.name, NAME_BYTES)?;
            w.u32(count(node.data_nodes.len(), MAX_DATA_NODES)?);
            for d in &node.data_nodes {
                w.u32(d.id);
                w.u32(d.group);
                w.u32(d.role.code());
                w.string("data_dir", &d.data_dir, PATH_BYTES)?;
            }
            w.zeros(8);
            w.seal(begin);
        }
        Ok(w.finish())
    }

    /// Whether its servers are those of the cluster: gs_om start fails on a node which the file lacks, or has too many.
    #[must_use]
    pub fn fits(&self, cluster: &Cluster) -> bool {
        let here =
            |n: &LiveNode| (n.id, n.name.clone(), n.data_nodes.iter().map(|d| d.id).collect::<Vec<_>>());
        let there = |n: &super::ClusterNode| {
            (n.id, n.name.clone(), n.data_nodes.iter().map(|d| d.id).collect::<Vec<_>>())
        };
        self.nodes.iter().map(here).eq(cluster.nodes.iter().map(there))
    }
}

fn count(n: usize, max: usize) -> Result<u32, Error> {
    u32::try_from(n)
        .ok()
        .filter(|_| n <= max)
        .ok_or_else(|| Error::refused(format!("{n} entries, a file has room for {max}")))
}

fn live_node(bytes: &[u8], r: &mut Reader, n: usize) -> Result<LiveNode, Error> {
    let begin = r.at();
    let record = bytes.get(begin..).unwrap_or_default();
    let servers = u32_at(record, 72) as usize;
    check_data_nodes(n, begin, servers)?;
    let body = record.get(4..76 + servers * DATA_NODE_BYTES + 8).ok_or_else(|| {
        Error::corrupt(format!("the file ends at byte {} within the record of node {n}", bytes.len()))
    })?;
    if crc32fast::hash(body) != r.u32("the checksum")? {
        return Err(wrong_checksum(n, begin, WHEN_DAMAGED));
    }
    let id = r.u32("the node's id")?;
    let name = r.string("the node's name", NAME_BYTES)?;
    r.u32("the count of data nodes")?;
    let mut data_nodes = Vec::with_capacity(servers);
    for _ in 0..servers {
        let id = r.u32("the data node's id")?;
        let group = r.u32("the data node's group")?;
        let code = r.u32("the data node's role")?;
        let role = ConfiguredRole::from_code(code).ok_or_else(|| {
            Error::corrupt(format!("node {name}: role {code} of dn_{id}, it must be 0 to 3"))
                .gauss_code("GAUSS-51204")
        })?;
        data_nodes.push(LiveDataNode {
            id,
            group,
            role,
            data_dir: r.string("the data directory", PATH_BYTES)?,
        });
    }
    r.zeros("the end of the record", 8)?;
    Ok(LiveNode { id, name, data_nodes })
}

fn check_single_primary(cluster: &Cluster, roles: &Roles) -> Result<(), Error> {
    let primaries: Vec<String> = cluster
        .data_nodes()
        .filter(|(_, d)| roles.get(&d.id) == Some(&ConfiguredRole::Primary))
        .map(|(n, d)| format!("{} ({})", n.name, d.name()))
        .collect();
    match primaries.as_slice() {
        [_] => Ok(()),
        [] => Err(Error::refused("none of the roles is primary; exactly one server must be")
            .gauss_code("GAUSS-51230")),
        many => Err(Error::refused(format!(
            "{} servers are primary, exactly one must be: {}",
            many.len(),
            many.join(", ")
        ))
        .gauss_code("GAUSS-51230")
        .hint("find out which one the others stream from, and stop or rebuild the other")),
    }
}

/// cluster_dnrole_config for servers with these roles: a line `name=role` for each, 9 for a server without one.
///
/// # Errors
/// `refused` unless exactly one server is the primary.
pub fn print_dnrole(cluster: &Cluster, roles: &Roles) -> Result<String, Error> {
    check_single_primary(cluster, roles)?;
    let mut text = String::new();
    for (n, d) in cluster.data_nodes() {
        let code = roles.get(&d.id).map_or(9, |r| r.code());
        text.extend([n.name.as_str(), "=", &code.to_string(), "\n"]);
    }
    Ok(text)
}

/// Reads a cluster_dnrole_config: name and role of each line; `None` where the role was unknown (9).
///
/// # Errors
/// `corrupt`, naming the line.
pub fn parse_dnrole(text: &str) -> Result<Vec<(String, Option<ConfiguredRole>)>, Error> {
    text.lines()
        .enumerate()
        .map(|(i, line)| {
            let bad = || Error::corrupt(format!("line {}: {line:?} is not name=role", i + 1));
            let (name, code) = line.split_once('=').filter(|(n, _)| !n.is_empty()).ok_or_else(bad)?;
            let role = match code {
                "9" => None,
                _ => Some(code.parse().ok().and_then(ConfiguredRole::from_code).ok_or_else(bad)?),
            };
            Ok((name.to_owned(), role))
        })
        .collect()
}
