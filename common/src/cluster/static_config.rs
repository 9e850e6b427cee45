//! `cluster_static_config`: the binary record of a cluster.
//!
//! One page of 8192 bytes with a header, then a record for each node, each from the beginning of a page; after OM's
//! `DbClusterInfo.saveToStaticConfig` and the server's `lib/config/cm_config.cpp`. The layouts 201 and 301 are the same.
//! OM before 3.0 leaves room for 7 peers of a data node, later ones for 8, without saying which; the checksum tells.
//! Neither OM nor the server looks at the checksums; here a file whose checksums fail is not understood.

use std::collections::HashSet;

use super::page::{
    ADDRESSES_BYTES, NAME_BYTES, PAGE_BYTES, PATH_BYTES, Reader, Writer, check_data_nodes, next_page,
    read_header, read_node_count, u32_at, wrong_checksum,
};
use super::spec::{self, Difference};
use super::{
    Cluster, ClusterNode, CmAgent, CmServer, ConfiguredRole, DataNode, MAX_DATA_NODES, MAX_NODES, MAX_PEERS,
    PeerRecord,
};
use crate::base::{Error, ErrorKind};

/// The layout that openGauss's OM writes: only data nodes, one primary and its standbys.
pub const LAYOUT: u32 = 301;
/// Peer slots that OM has written since 3.0.0.
pub const PEER_SLOTS: usize = 8;
/// Peer slots that OM wrote before.
const OLD_PEER_SLOTS: usize = 7;
const HEADER_BYTES: usize = 28;
const WHEN_DAMAGED: &str =
    "take the file from another node of the cluster, or move it away and write it anew from nodes or xml";
/// From a record's beginning to its count of data nodes.
const DATA_NODE_COUNT: usize = 9756;
/// A data node's record without its peers.
const DATA_NODE_BYTES: usize = 3868;
const PEER_BYTES: usize = PATH_BYTES + ADDRESSES_BYTES + 8;
const GTM_BYTES: usize = 3240;
const GTM_PROXY_BYTES: usize = 404;
const COORDINATOR_BYTES: usize = 2456;
/// The etcd block and the two sctp ports.
const ETCD_BYTES: usize = 1884 + 8;

/// A whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticConfig {
    /// 301, or 201 in files of GaussDB's own tools.
    pub layout: u32,
    /// When it was written: seconds since 1970.
    pub time: i64,
    /// The number of the node that this copy is for; copies of one cluster differ in nothing else.
    pub local: u32,
    /// Room for peers in each data node's record: 7 (OM before 3.0.0) or 8.
    pub slots: usize,
    /// The nodes.
    pub cluster: Cluster,
}

/// Bytes of a node's record with `data_nodes` data nodes.
fn record_len(data_nodes: usize, slots: usize) -> usize {
    DATA_NODE_COUNT + 4 + data_nodes * (DATA_NODE_BYTES + slots * PEER_BYTES) + ETCD_BYTES
}

impl StaticConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// `corrupt` when a checksum fails, a field is out of its limits or bytes that should be 0 are not, saying at which
    /// byte; `unsupported` for layouts and parts that openGauss's OM does not write.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes, 0);
        if let Some(error) = eight_byte_checksums(bytes) {
            return Err(error);
        }
        read_header(&mut r, HEADER_BYTES, WHEN_DAMAGED)?;
        let layout = r.u32("the header")?;
        if !matches!(layout, 201 | LAYOUT) {
            return Err(unknown_layout(layout));
        }
        let time = r.i64("the header")?;
        let count = read_node_count(&mut r)?;
        let local = r.u32("the header")?;

        let mut slots = None;
        let mut nodes = Vec::with_capacity(count);
        for n in 1..=count {
            r.zeros("the room behind a record", next_page(r.at()) - r.at())?;
            let begin = r.at();
            let found = record_slots(bytes, begin, n)?;
            if let Some(new) = found {
                if slots.is_some_and(|s| s != new) {
                    return Err(Error::corrupt(format!(
                        "the record of node {n} at byte {begin} has room for {new} peers, others have not"
                    )));
                }
                slots = Some(new);
            }
            nodes.push(read_node(&mut r, found.unwrap_or(PEER_SLOTS)).map_err(|e| locate_error(n, &e))?);
        }
        r.zeros("the room behind a record", r.at().next_multiple_of(PAGE_BYTES) - r.at())?;
        if r.at() != bytes.len() {
            return Err(Error::corrupt(format!(
                "{} bytes follow the last node's record at byte {}",
                bytes.len() - r.at(),
                r.at()
            )));
        }
        let cluster = Cluster { nodes };
        check_unambiguous(&cluster)?;
        Ok(Self { layout, time, local, slots: slots.unwrap_or(PEER_SLOTS), cluster })
    }

    /// The file's bytes, as OM writes them. `parse` of them gives the same again.
    ///
    /// # Errors
    /// `refused` when something does not fit into its room.
    pub fn print(&self) -> Result<Vec<u8>, Error> {
        let count = u32::try_from(self.cluster.nodes.len())
            .ok()
            .filter(|n| (1..=MAX_NODES).contains(&(*n as usize)))
            .ok_or_else(|| {
                Error::refused(format!("{} nodes, a file has 1 to {MAX_NODES}", self.cluster.nodes.len()))
            })?;
        let mut w = Writer::with_capacity(PAGE_BYTES * (1 + 4 * self.cluster.nodes.len()));
        let begin = w.begin();
        w.u32(28);
        w.u32(self.layout);
        w.i64(self.time);
        w.u32(count);
        w.u32(self.local);
        w.seal(begin);
        for node in &self.cluster.nodes {
            w.fill_to(next_page(w.at()));
            put_node(&mut w, node, self.slots)?;
        }
        Ok(w.finish())
    }

    /// The node that this copy is for, if it is in the file.
    #[must_use]
    pub fn local_node(&self) -> Option<&ClusterNode> {
        self.cluster.node_by_id(self.local)
    }

    /// The copy for another node.
    #[must_use]
    pub fn for_node(&self, id: u32) -> Self {
        Self { local: id, ..self.clone() }
    }

    /// Every difference from another node's copy, or another cluster's file.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let whole = |field: &str, here: usize, there: usize| {
            (here != there).then(|| Difference {
                node: String::new(),
                field: field.to_owned(),
                here: here.into(),
                there: there.into(),
            })
        };
        let layout = whole("layout", self.layout as usize, other.layout as usize);
        let slots = whole("peer_slots", self.slots, other.slots);
        let mut list = spec::differences(&self.cluster, &other.cluster);
        list.extend(layout.into_iter().chain(slots));
        list
    }

    /// Whether both say the same, whenever they were written.
    #[must_use]
    pub fn same_but_time(&self, other: &Self) -> bool {
        self.layout == other.layout
            && self.local == other.local
            && self.slots == other.slots
            && self.cluster == other.cluster
    }
}

fn locate_error(n: usize, error: &Error) -> Error {
    let mut new = Error::new(error.kind(), format!("in the record of node {n}: {}", error.failure().detail));
    if let Some(hint) = &error.failure().hint {
        new = new.hint(hint);
    }
    new
}

fn unknown_layout(layout: u32) -> Error {
    let what = match layout {
        101..=200 => "one primary with a standby and a dummy standby, of GaussDB",
        0..=100 => "older than openGauss",
        _ => "unknown",
    };
    Error::new(
        ErrorKind::Unsupported,
        format!("the file's layout is {layout} ({what}); 201 and 301 are read"),
    )
    .gauss_code("GAUSS-51637")
}

/// Servers up to 92.200 had checksums of 8 bytes, so that everything stands 4 bytes further.
fn eight_byte_checksums(bytes: &[u8]) -> Option<Error> {
    let header = bytes.get(8..32)?;
    let crc = (0..8).rev().fold(0u64, |n, i| n << 8 | u64::from(bytes[i]));
    (u32_at(header, 0) == 28 && u64::from(crc32fast::hash(header)) == crc).then(|| {
        Error::new(
            ErrorKind::Unsupported,
            "the file has checksums of 8 bytes, as versions before openGauss 1.1.0 wrote them",
        )
    })
}

/// How many peer slots the record at `begin` has, found by its checksum; `None` when it has no data node to tell by.
fn record_slots(bytes: &[u8], begin: usize, n: usize) -> Result<Option<usize>, Error> {
    let record = bytes.get(begin..).unwrap_or_default();
    if record.len() < record_len(0, PEER_SLOTS) {
        return Err(Error::corrupt(format!(
            "the file ends at byte {} within the record of node {n}, which begins at byte {begin}",
            bytes.len()
        )));
    }
    let crc = u32_at(record, 0);
    let data_nodes = u32_at(record, DATA_NODE_COUNT) as usize;
    check_data_nodes(n, begin, data_nodes)?;
    for slots in [PEER_SLOTS, OLD_PEER_SLOTS] {
        let body = record.get(4..record_len(data_nodes, slots));
        if body.is_some_and(|b| crc32fast::hash(b) == crc) {
            return Ok((data_nodes > 0).then_some(slots));
        }
    }
    Err(wrong_checksum(n, begin, WHEN_DAMAGED))
}

fn read_role(r: &mut Reader, what: &str) -> Result<ConfiguredRole, Error> {
    let at = r.at();
    let code = r.u32(what)?;
    ConfiguredRole::from_code(code).ok_or_else(|| {
        Error::corrupt(format!("{what} at byte {at} is {code}, it must be 0 to 3")).gauss_code("GAUSS-51204")
    })
}

/// A part of the record that openGauss's OM leaves empty.
fn read_absent(r: &mut Reader, what: &str, len: usize) -> Result<(), Error> {
    let at = r.at();
    r.zeros(what, len).map_err(|e| match e.kind() {
        ErrorKind::Corrupt if r.at() >= at + len => {
            Error::new(ErrorKind::Unsupported, format!("{what} at byte {at} is in use; openGauss has none"))
        }
        _ => e,
    })
}

fn read_node(r: &mut Reader, slots: usize) -> Result<ClusterNode, Error> {
    r.u32("the checksum")?;
    let id = r.u32("the node's id")?;
    let name = r.string("the node's name", NAME_BYTES)?;
    let zone = r.string("azName", NAME_BYTES)?;
    let zone_priority = r.u32("azPriority")?;
    let addresses = r.addresses("backIp")?;
    let ssh_addresses = r.addresses("sshIp")?;
    let (cm_dir, cm_server) = read_cm_server(r)?;
    let cm_agent = CmAgent {
        id: r.u32("the CM agent's id")?,
        group: r.i32("the CM agent's group")?,
        addresses: r.addresses("the CM agent's addresses")?,
    };
    read_absent(r, "the GTM", GTM_BYTES)?;
    read_absent(r, "the GTM proxy", GTM_PROXY_BYTES)?;
    read_absent(r, "the coordinator", COORDINATOR_BYTES)?;
    let count = r.u32("the count of data nodes")?;
    let mut data_nodes = Vec::new();
    for _ in 0..count {
        data_nodes.push(read_data_node(r, slots)?);
    }
    read_absent(r, "etcd", ETCD_BYTES)?;
    Ok(ClusterNode {
        id,
        name,
        zone,
        zone_priority,
        addresses,
        ssh_addresses,
        cm_dir,
        cm_server,
        cm_agent,
        data_nodes,
    })
}

fn read_cm_server(r: &mut Reader) -> Result<(String, Option<CmServer>), Error> {
    let at = r.at();
    let id = r.u32("the CM server's id")?;
    let group = r.u32("the CM server's group")?;
    let cm_dir = r.string("cmDir", PATH_BYTES)?;
    let server = CmServer {
        id,
        group,
        level: r.u32("the CM server's level")?,
        float_address: r.string("the CM server's floating address", super::page::ADDRESS_BYTES)?,
        listen_addresses: r.addresses("the CM server's addresses")?,
        port: r.u32("the CM server's port")?,
        ha_addresses: r.addresses("the CM server's HA addresses")?,
        ha_port: r.u32("the CM server's HA port")?,
        role: read_role(r, "the CM server's role")?,
        peer_addresses: r.addresses("the CM server's peer")?,
        peer_port: r.u32("the CM server's peer")?,
    };
    if server.id != 0 {
        return Ok((cm_dir, Some(server)));
    }
    let none = CmServer {
        id: 0,
        group: 0,
        level: 0,
        float_address: String::new(),
        listen_addresses: Vec::new(),
        port: 0,
        ha_addresses: Vec::new(),
        ha_port: 0,
        role: ConfiguredRole::Primary,
        peer_addresses: Vec::new(),
        peer_port: 0,
    };
    if server == none {
        Ok((cm_dir, None))
    } else {
        Err(Error::corrupt(format!("the CM server at byte {at} has no id, but settings")))
    }
}

fn read_data_node(r: &mut Reader, slots: usize) -> Result<DataNode, Error> {
    let mut d = DataNode {
        id: r.u32("the data node's id")?,
        group: r.u32("the data node's group")?,
        data_dir: r.string("the data directory", PATH_BYTES)?,
        xlog_dir: r.string("the xlog folder", PATH_BYTES)?,
        ssd_dir: r.string("the ssd folder", PATH_BYTES)?,
        listen_addresses: r.addresses("the data node's addresses")?,
        port: r.u32("the port")?,
        role: read_role(r, "the data node's role")?,
        ha_addresses: r.addresses("the HA addresses")?,
        ha_port: r.u32("the HA port")?,
        peers: Vec::with_capacity(slots),
    };
    if !d.ssd_dir.is_empty() && !d.ssd_dir.starts_with('/') {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "the ssd folder is no path: OM would read this record in an older layout",
        ));
    }
    for _ in 0..slots {
        d.peers.push(PeerRecord {
            data_dir: r.string("a peer's data directory", PATH_BYTES)?,
            ha_addresses: r.addresses("a peer's HA addresses")?,
            ha_port: r.u32("a peer's HA port")?,
            role: read_role(r, "a peer's role")?,
        });
    }
    while d.peers.last().is_some_and(is_free) {
        d.peers.pop();
    }
    Ok(d)
}

/// An unused slot.
fn is_free(peer: &PeerRecord) -> bool {
    peer.data_dir.is_empty()
        && peer.ha_addresses.is_empty()
        && peer.ha_port == 0
        && peer.role == ConfiguredRole::Primary
}

/// What the rest relies on: names and ids say which node is meant.
fn check_unambiguous(cluster: &Cluster) -> Result<(), Error> {
    let mut names = HashSet::new();
    let mut ids = HashSet::new();
    for node in &cluster.nodes {
        if node.name.is_empty() {
            return Err(Error::corrupt(format!("the node with id {} has no name", node.id)));
        }
        if !names.insert(node.name.as_str()) {
            return Err(Error::corrupt(format!("node {} is there twice", node.name)));
        }
        if !ids.insert(node.id) {
            return Err(Error::corrupt(format!("two nodes have the id {}", node.id)));
        }
    }
    let mut ids = HashSet::new();
    match cluster.data_nodes().find(|(_, d)| !ids.insert(d.id)) {
        Some((node, d)) => {
            Err(Error::corrupt(format!("node {}: another data node has the id {}, too", node.name, d.id)))
        }
        None => Ok(()),
    }
}

fn put_node(w: &mut Writer, node: &ClusterNode, slots: usize) -> Result<(), Error> {
    let begin = w.begin();
    w.u32(node.id);
    w.string("name", &node.name, NAME_BYTES)?;
    w.string("zone", &node.zone, NAME_BYTES)?;
    w.u32(node.zone_priority);
    w.addresses("address", &node.addresses)?;
    w.addresses("ssh_address", &node.ssh_addresses)?;
    if let Some(s) = &node.cm_server {
        w.u32(s.id);
        w.u32(s.group);
        w.string("cm_dir", &node.cm_dir, PATH_BYTES)?;
        w.u32(s.level);
        w.string("the CM server's floating address", &s.float_address, super::page::ADDRESS_BYTES)?;
        w.addresses("the CM server's addresses", &s.listen_addresses)?;
        w.u32(s.port);
        w.addresses("the CM server's HA addresses", &s.ha_addresses)?;
        w.u32(s.ha_port);
        w.u32(s.role.code());
        w.addresses("the CM server's peer", &s.peer_addresses)?;
        w.u32(s.peer_port);
    } else {
        w.zeros(8);
        w.string("cm_dir", &node.cm_dir, PATH_BYTES)?;
        w.zeros(4 + super::page::ADDRESS_BYTES + 2 * (ADDRESSES_BYTES + 4) + 4 + ADDRESSES_BYTES + 4);
    }
    w.u32(node.cm_agent.id);
    w.u32(node.cm_agent.group.cast_unsigned());
    w.addresses("the CM agent's addresses", &node.cm_agent.addresses)?;
    w.zeros(GTM_BYTES + GTM_PROXY_BYTES + COORDINATOR_BYTES);
    let count = u32::try_from(node.data_nodes.len())
        .ok()
        .filter(|n| *n as usize <= MAX_DATA_NODES)
        .ok_or_else(|| {
            Error::refused(format!(
                "node {} has {} data nodes, a file has room for {MAX_DATA_NODES}",
                node.name,
                node.data_nodes.len()
            ))
        })?;
    w.u32(count);
    for d in &node.data_nodes {
        put_data_node(w, d, slots)?;
    }
    w.zeros(ETCD_BYTES);
    w.seal(begin);
    Ok(())
}

fn put_data_node(w: &mut Writer, d: &DataNode, slots: usize) -> Result<(), Error> {
    if d.peers.len() > MAX_PEERS {
        return Err(Error::refused(format!(
            "{} has {} peers, a file has room for {MAX_PEERS}",
            d.name(),
            d.peers.len()
        ))
        .gauss_code("GAUSS-51230"));
    }
    w.u32(d.id);
    w.u32(d.group);
    w.string("data_dir", &d.data_dir, PATH_BYTES)?;
    w.string("xlog_dir", &d.xlog_dir, PATH_BYTES)?;
    w.string("ssd_dir", &d.ssd_dir, PATH_BYTES)?;
    w.addresses("listen_address", &d.listen_addresses)?;
    w.u32(d.port);
    w.u32(d.role.code());
    w.addresses("ha_address", &d.ha_addresses)?;
    w.u32(d.ha_port);
    for peer in &d.peers {
        w.string("a peer's data_dir", &peer.data_dir, PATH_BYTES)?;
        w.addresses("a peer's ha_address", &peer.ha_addresses)?;
        w.u32(peer.ha_port);
        w.u32(peer.role.code());
    }
    // OM before 3.0 leaves room for 7 peers, yet writes 8 where there are 8.
    w.zeros(slots.saturating_sub(d.peers.len()) * PEER_BYTES);
    Ok(())
}
