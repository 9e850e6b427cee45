//! What we say of the files of clusters, and what OM says.

use std::collections::BTreeMap;
use std::fmt;

use fastrand::Rng;
use og_common::cluster::dynamic_config::{DynamicConfig, Roles, print_dnrole};
use og_common::cluster::static_config::{LAYOUT, PEER_SLOTS, StaticConfig};
use og_common::cluster::xml::Document;
use og_common::cluster::{Cluster, ClusterAddress, ConfiguredRole};
use og_common::protocol::Error;
use serde_json::{Value, json};

use super::{Answer, Om, TIME, write};
use crate::Result;

/// What came out of a comparison.
#[derive(Debug, Default)]
pub struct Tally {
    /// Clusters whose files were compared.
    pub clusters: usize,
    /// Files that were compared byte by byte.
    pub files: usize,
    /// XML files with a mistake that both refuse, with the same number where OM gives one.
    pub refused: usize,
    /// Those that both refuse with another number: there is more than one thing wrong with them. By our and OM's words.
    pub otherwise: BTreeMap<String, usize>,
    /// Those that both take, and write the same of.
    pub taken: usize,
    /// Those that we refuse and OM does not, by our words.
    pub stricter: BTreeMap<String, usize>,
    /// What differs.
    pub differ: Vec<Differ>,
}

/// One disagreement.
#[derive(Debug)]
pub struct Differ {
    /// The seed that makes it again, alone.
    pub seed: u64,
    /// What differs.
    pub what: String,
    /// The XML file, or another file's beginning.
    pub about: String,
}

impl fmt::Display for Differ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {}\n{}", self.seed, self.what, self.about)
    }
}

/// Compares `count` clusters from `seed` on, and ten times as many XML files with a mistake.
///
/// # Errors
/// When OM's code does not run.
pub fn compare_all(om: &mut Om, seed: u64, count: u64) -> Result<Tally> {
    let mut tally = Tally::default();
    for seed in seed..seed + count {
        let mut rng = Rng::with_seed(seed);
        let xml = write::xml(&mut rng);
        let about = xml.clone();
        let mut differ = |what: String| tally.differ.push(Differ { seed, what, about: about.clone() });
        let Some(cluster) = compare_good(om, &xml, &mut differ)? else { continue };
        tally.clusters += 1;
        let aged = write::vary_cluster(&mut rng, &cluster);
        if let Err(e) = aged.check() {
            return Err(format!("seed {seed} makes no good cluster: {e}"));
        }
        let files = static_config(om, &mut rng, &aged, &mut differ)?;
        tally.files += 1 + files + dynamic_config(om, &mut rng, &aged, &mut differ)?;
        for _ in 0..10 {
            let bad = write::add_mistake(&mut rng, &xml);
            compare_mistake(om, seed, &bad, &mut tally)?;
        }
    }
    Ok(tally)
}

fn static_config_of(cluster: Cluster, local: u32) -> StaticConfig {
    StaticConfig { layout: LAYOUT, time: TIME, local, slots: PEER_SLOTS, cluster }
}

fn ours(xml: &str) -> std::result::Result<Cluster, Error> {
    Document::parse(xml)?.cluster()
}

/// A good XML file: both read the same, and write the same bytes.
fn compare_good(om: &mut Om, xml: &str, differ: &mut impl FnMut(String)) -> Result<Option<Cluster>> {
    let cluster = match (ours(xml), om.xml(xml)?) {
        (Ok(cluster), Answer::Read(theirs)) => {
            // OM has what it read, not yet what it derives when it writes.
            check_same(&without_peers(as_om(&cluster)), &without_peers(theirs), differ);
            cluster
        }
        (ours, theirs) => {
            differ(format!("we: {:?}\nOM: {theirs:?}", ours.map(|_| "taken")));
            return Ok(None);
        }
    };
    let bytes = static_config_of(cluster.clone(), 1).print().map_err(|e| e.to_string())?;
    check_same_bytes("the static config from the XML file", &bytes, &om.written("by_om")?, differ);
    Ok(Some(cluster))
}

/// A static config of ours: OM reads the same in it, and writes it again as it is.
fn static_config(
    om: &mut Om,
    rng: &mut Rng,
    cluster: &Cluster,
    differ: &mut impl FnMut(String),
) -> Result<usize> {
    let local = cluster.nodes.get(rng.usize(..cluster.nodes.len())).map_or(1, |n| n.id);
    let config = static_config_of(cluster.clone(), local);
    let bytes = config.print().map_err(|e| e.to_string())?;
    match om.static_config(&bytes, local)? {
        Answer::Read(theirs) => {
            check_same(&as_om(cluster), &theirs, differ);
            check_same_bytes("a static config that OM read", &bytes, &om.written("by_om")?, differ);
        }
        Answer::Refused(words) => differ(format!("OM does not read a static config: {words}")),
    }
    let mut other = config;
    other.layout = 201;
    match om.static_config(&other.print().map_err(|e| e.to_string())?, local)? {
        Answer::Read(theirs) => check_same(&as_om(cluster), &theirs, differ),
        Answer::Refused(words) => differ(format!("OM does not read layout 201: {words}")),
    }
    Ok(1)
}

/// The dynamic config and the roles: the same bytes, and read as they were meant.
fn dynamic_config(
    om: &mut Om,
    rng: &mut Rng,
    cluster: &Cluster,
    differ: &mut impl FnMut(String),
) -> Result<usize> {
    let servers: Vec<(&str, &str, u32)> = cluster
        .data_nodes()
        .map(|(n, d)| (n.name.as_str(), d.listen_addresses.first().map_or("", ClusterAddress::as_str), d.id))
        .collect();
    let primaries = if rng.u32(..8) == 0 { [0, 2][rng.usize(..2)] } else { 1 };
    let first = rng.usize(..servers.len());
    let (mut roles, mut said, mut status) = (Roles::new(), serde_json::Map::new(), Vec::new());
    for (i, (name, ip, id)) in servers.iter().enumerate() {
        let at = (i + servers.len() - first) % servers.len();
        let (words, role) = match rng.u8(..6) {
            _ if at < primaries => ("Primary", Some(ConfiguredRole::Primary)),
            0 => ("Cascade Standby", Some(ConfiguredRole::CascadeStandby)),
            1 => (["Down", "Unknown"][rng.usize(..2)], None),
            _ => ("Standby", Some(ConfiguredRole::Standby)),
        };
        said.insert(id.to_string(), words.into());
        roles.extend(role.map(|r| (*id, r)));
        status.push(format!("{i}  {name} {ip} 26000      {id} /gauss/data/db1   P {words} Normal"));
    }
    let static_bytes = static_config_of(cluster.clone(), 1).print().map_err(|e| e.to_string())?;
    let ours = DynamicConfig::new(cluster, &roles, TIME);
    let theirs = om.roles(&static_bytes, &Value::Object(said), &status)?;
    let ours = match (ours, theirs) {
        (Ok(ours), Answer::Read(_)) => ours,
        (Err(_), Answer::Refused(words)) if words.contains("GAUSS-51230") => return Ok(0),
        (ours, theirs) => {
            differ(format!("roles {roles:?}\nwe: {:?}\nOM: {theirs:?}", ours.map(|_| "taken")));
            return Ok(0);
        }
    };
    let bytes = ours.print().map_err(|e| e.to_string())?;
    check_same_bytes("the dynamic config", &bytes, &om.written("cluster_dynamic_config")?, differ);
    let text = print_dnrole(cluster, &roles).map_err(|e| e.to_string())?;
    check_same_bytes("cluster_dnrole_config", text.as_bytes(), &om.written("cluster_dnrole_config")?, differ);
    match om.dynamic(&bytes)? {
        Answer::Read(theirs) => {
            let ours: Vec<Value> = ours
                .nodes
                .iter()
                .map(|n| {
                    let servers: Vec<Value> = n.data_nodes.iter().map(|d| {
                        json!({"id": d.id, "group": d.group, "role": d.role.code(), "data_dir": d.data_dir})
                    }).collect();
                    json!({"id": n.id, "name": n.name, "data_nodes": servers})
                })
                .collect();
            check_same(&Value::from(ours), &theirs, differ);
        }
        Answer::Refused(words) => differ(format!("OM does not read the dynamic config: {words}")),
    }
    Ok(2)
}

/// An XML file with a mistake: refused by both, or read alike.
fn compare_mistake(om: &mut Om, seed: u64, xml: &str, tally: &mut Tally) -> Result {
    let mut found = Vec::new();
    match (ours(xml), om.xml(xml)?) {
        (Ok(cluster), Answer::Read(_)) => {
            tally.taken += 1;
            let bytes = static_config_of(cluster, 1).print().map_err(|e| e.to_string())?;
            check_same_bytes(
                "the static config from the XML file",
                &bytes,
                &om.written("by_om")?,
                &mut |w| {
                    found.push(w);
                },
            );
        }
        (Err(e), Answer::Refused(words)) => {
            let code = e.failure().gauss_code.clone().unwrap_or_default();
            if !e.failure().detail.starts_with("line ") {
                found.push(format!("no place\nwe: {code} {e}\nOM: {words}"));
            } else if words.contains("GAUSS-") && !words.contains(&code) {
                let words = words.lines().next().unwrap_or_default();
                *tally
                    .otherwise
                    .entry(format!(
                        "{code} {}\n  OM: {}",
                        error_shape(&e.failure().detail),
                        error_shape(words)
                    ))
                    .or_default() += 1;
            } else {
                tally.refused += 1;
            }
        }
        (Ok(_), Answer::Refused(words)) => found.push(format!("OM refuses what we take: {words}")),
        (Err(e), Answer::Read(_)) => {
            *tally.stricter.entry(error_shape(&e.failure().detail)).or_default() += 1;
        }
    }
    tally.differ.extend(found.into_iter().map(|what| Differ { seed, what, about: xml.to_owned() }));
    Ok(())
}

/// Words without what is different each time: places, names, numbers.
fn error_shape(words: &str) -> String {
    let mut shape = String::new();
    for word in words.split(' ') {
        let word = if word.chars().any(|c| c.is_ascii_digit() || matches!(c, '"' | '\'' | '/')) {
            "…"
        } else {
            word
        };
        shape += word;
        shape.push(' ');
    }
    shape
}

fn check_same(ours: &Value, theirs: &Value, differ: &mut impl FnMut(String)) {
    if ours != theirs {
        let path = first_difference(ours, theirs, "");
        differ(format!("read otherwise{path}"));
    }
}

fn first_difference(ours: &Value, theirs: &Value, at: &str) -> String {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => a
            .keys()
            .chain(b.keys())
            .find(|k| a.get(*k) != b.get(*k))
            .map_or_else(String::new, |k| first_difference(&ours[k], &theirs[k], &format!("{at}/{k}"))),
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => (0..a.len())
            .find(|i| a[*i] != b[*i])
            .map_or_else(String::new, |i| first_difference(&a[i], &b[i], &format!("{at}/{i}"))),
        _ => format!(" at {at}\nwe: {ours}\nOM: {theirs}"),
    }
}

fn check_same_bytes(what: &str, ours: &[u8], theirs: &[u8], differ: &mut impl FnMut(String)) {
    if ours != theirs {
        let at = ours.iter().zip(theirs).position(|(a, b)| a != b);
        let from = at.unwrap_or_default().saturating_sub(8);
        let show = |bytes: &[u8]| {
            String::from_utf8_lossy(&bytes[from.min(bytes.len())..(from + 72).min(bytes.len())])
                .replace('\0', "·")
        };
        differ(format!(
            "{what}: {} bytes, OM's has {}; first other byte {at:?}\nwe: {}\nOM: {}",
            ours.len(),
            theirs.len(),
            show(ours),
            show(theirs)
        ));
    }
}

/// A cluster in the shape of `om.py`, as it stands in a file.
fn as_om(cluster: &Cluster) -> Value {
    let texts = |list: &[ClusterAddress]| list.iter().map(|a| Value::from(a.as_str())).collect::<Vec<_>>();
    let nodes = cluster.nodes.iter().map(|n| {
        let servers: Vec<Value> = n
            .data_nodes
            .iter()
            .map(|d| {
                let mut peers: Vec<Value> = d
                    .peers
                    .iter()
                    .map(|p| {
                        json!({"data_dir": p.data_dir, "ha": texts(&p.ha_addresses), "ha_port": p.ha_port, "role": p.role.code()})
                    })
                    .collect();
                peers.resize(PEER_SLOTS, json!({"data_dir": "", "ha": [], "ha_port": 0, "role": 0}));
                json!({"id": d.id, "group": d.group, "data_dir": d.data_dir, "xlog_dir": d.xlog_dir, "ssd_dir": d.ssd_dir,
                    "listen": texts(&d.listen_addresses), "port": d.port, "role": d.role.code(), "ha": texts(&d.ha_addresses),
                    "ha_port": d.ha_port, "peers": peers})
            })
            .collect();
        let cm: Vec<Value> = n
            .cm_server
            .iter()
            .map(|s| {
                json!({"id": s.id, "group": s.group, "level": s.level, "listen": texts(&s.listen_addresses), "port": s.port,
                    "ha": texts(&s.ha_addresses), "ha_port": s.ha_port, "role": s.role.code()})
            })
            .collect();
        let agent = json!([{"id": n.cm_agent.id, "group": n.cm_agent.group, "listen": texts(&n.cm_agent.addresses)}]);
        json!({"id": n.id, "name": n.name, "zone": n.zone, "zone_priority": n.zone_priority, "back": texts(&n.addresses),
            "ssh": texts(&n.ssh_addresses), "cm_dir": n.cm_dir, "cm_server": cm, "cm_agent": agent, "data_nodes": servers})
    });
    nodes.collect()
}

fn without_peers(mut nodes: Value) -> Value {
    for node in nodes.as_array_mut().into_iter().flatten() {
        for server in node["data_nodes"].as_array_mut().into_iter().flatten() {
            server["peers"] = Value::Null;
        }
    }
    nodes
}
