//! What the targets share: inputs of two halves, long ones, checksums put right, so that a changed byte gets past them, and clusters made of the
//! fuzzer's bytes.

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use og_common::cluster::{
    AGENT_GROUP, Cluster, ClusterAddress, ClusterNode, CmAgent, CmServer, ConfiguredRole, DataNode,
    MAX_DATA_NODES,
};

/// What parts two halves of an input, such as a file and what is wanted of it.
const MARK: &[u8] = b"\n====\n";

/// The two halves of an input.
#[must_use]
pub fn halves(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.windows(MARK.len()).position(|w| w == MARK)?;
    Some((&bytes[..at + 1], &bytes[at + MARK.len()..]))
}

/// The input again and again, about 64 KiB of it: what takes the square of its length runs into the time limit.
#[must_use]
pub fn repeated(bytes: &[u8]) -> Vec<u8> {
    bytes.repeat((64 * 1024 / bytes.len().max(1)).max(1))
}

const PAGE: usize = 8192;

/// The sizes of one of the two binary files, by which the checksums are found.
pub struct Layout {
    /// Bytes of the header, its checksum included.
    pub header: usize,
    /// From a record's beginning to its count of data nodes.
    pub count: usize,
    /// Bytes of a data node.
    pub data_node: usize,
    /// Bytes behind the last data node.
    pub tail: usize,
}

/// Puts all checksums of the file right, as far as it goes.
pub fn reseal(bytes: &mut [u8], layout: &Layout) {
    seal(bytes, 0, layout.header);
    let mut begin = PAGE;
    while let Some(count) = bytes.get(begin + layout.count..).and_then(|b| b.first_chunk()) {
        let count = u32::from_le_bytes(*count) as usize;
        if count > MAX_DATA_NODES {
            return;
        }
        let end = begin + layout.count + 4 + count * layout.data_node + layout.tail;
        seal(bytes, begin, end);
        begin = (end / PAGE + 1) * PAGE;
    }
}

fn seal(bytes: &mut [u8], begin: usize, end: usize) {
    if let Some(record) = bytes.get_mut(begin..end) {
        let crc = crc32fast::hash(&record[4..]).to_le_bytes();
        record[..4].copy_from_slice(&crc);
    }
}

fn text(u: &mut Unstructured, first: &str, most: usize) -> Result<String> {
    let chars = b"abcXYZ019._-/: \0,=\xc3";
    let mut text = first.to_owned();
    for _ in 0..u.int_in_range(0..=most)? {
        text.push(char::from(*u.choose(chars)?));
    }
    Ok(text)
}

fn role(u: &mut Unstructured) -> Result<ConfiguredRole> {
    Ok(*u.choose(&[
        ConfiguredRole::Primary,
        ConfiguredRole::Standby,
        ConfiguredRole::CascadeStandby,
        ConfiguredRole::DummyStandby,
    ])?)
}

fn addresses(u: &mut Unstructured, v6: bool) -> Result<Vec<ClusterAddress>> {
    let mut list = Vec::new();
    for _ in 0..u.int_in_range(0..=3)? {
        let n: u8 = u.arbitrary()?;
        list.push(ClusterAddress::from_verbatim(match u.int_in_range(0..=7)? {
            0 => text(u, "", 140)?,
            _ if v6 => format!("fd00::{n:x}:{:x}", u.arbitrary::<u16>()?),
            _ => format!("10.0.{n}.{}", u.arbitrary::<u8>()?),
        }));
    }
    Ok(list)
}

fn port(u: &mut Unstructured) -> Result<u32> {
    Ok(if u.ratio(1, 8)? { u.arbitrary()? } else { u.int_in_range(1024..=65534)? })
}

fn folder(u: &mut Unstructured) -> Result<String> {
    match u.int_in_range(0..=5)? {
        0 => Ok(String::new()),
        1 => Ok(format!("/{}", "x".repeat(u.int_in_range(1015..=1030)?))),
        _ => text(u, "/", 12),
    }
}

/// A cluster, more often right than wrong.
pub fn cluster(u: &mut Unstructured) -> Result<Cluster> {
    let v6 = u.arbitrary()?;
    let cm: bool = u.arbitrary()?;
    let mut nodes = Vec::new();
    for i in 0..u.int_in_range(1..=6u32)? {
        let id = if u.ratio(1, 12)? { u.arbitrary()? } else { i + 1 };
        let own = addresses(u, v6)?;
        let other = |u: &mut Unstructured| if u.ratio(1, 6)? { addresses(u, v6) } else { Ok(own.clone()) };
        let mut data_nodes = Vec::new();
        for k in 0..[1, 1, 1, 0, 2, 3][u.choose_index(6)?] {
            let port = port(u)?;
            data_nodes.push(DataNode {
                id: if u.ratio(1, 12)? { u.arbitrary()? } else { 6001 + 10 * i + k },
                group: if u.ratio(1, 6)? { u.arbitrary()? } else { k + 1 },
                data_dir: folder(u)?,
                xlog_dir: if u.ratio(1, 4)? { folder(u)? } else { String::new() },
                ssd_dir: if u.ratio(1, 12)? { folder(u)? } else { String::new() },
                listen_addresses: other(u)?,
                port,
                role: match (i, u.int_in_range(0..=7)?) {
                    (_, 0) => role(u)?,
                    (0, _) => ConfiguredRole::Primary,
                    _ => ConfiguredRole::Standby,
                },
                ha_addresses: other(u)?,
                ha_port: if u.ratio(1, 6)? { u.arbitrary()? } else { port.wrapping_add(1) },
                peers: Vec::new(),
            });
        }
        nodes.push(ClusterNode {
            id,
            name: if u.ratio(1, 8)? { text(u, "n", 70)? } else { format!("node{i}") },
            zone: if u.ratio(1, 8)? { text(u, "", 70)? } else { "AZ1".to_owned() },
            zone_priority: if u.ratio(1, 8)? { u.arbitrary()? } else { 1 },
            ssh_addresses: other(u)?,
            cm_dir: if cm { folder(u)? } else { String::new() },
            cm_server: if cm && !u.ratio(1, 6)? {
                Some(CmServer {
                    id: if u.ratio(1, 12)? { u.arbitrary()? } else { i + 1 },
                    group: if u.ratio(1, 12)? { u.arbitrary()? } else { 1 },
                    level: u.int_in_range(0..=2)?,
                    float_address: if u.ratio(1, 12)? { text(u, "10.0.0.", 3)? } else { String::new() },
                    listen_addresses: other(u)?,
                    port: port(u)?,
                    ha_addresses: other(u)?,
                    ha_port: port(u)?,
                    role: role(u)?,
                    peer_addresses: Vec::new(),
                    peer_port: 0,
                })
            } else {
                None
            },
            cm_agent: CmAgent {
                id: if u.ratio(1, 12)? { u.arbitrary()? } else { 10_001 + i },
                group: if u.ratio(1, 12)? { u.arbitrary()? } else { AGENT_GROUP },
                addresses: other(u)?,
            },
            data_nodes,
            addresses: own,
        });
    }
    Ok(Cluster { nodes }.with_linked_peers())
}
