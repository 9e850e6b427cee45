//! `cargo xtask bench static-conf`: reading cluster_static_config of 1 and of 1024 nodes, beside OM's own reader.

use std::path::{Path, PathBuf};
use std::process::Command;

use og_common::cluster::static_config::{LAYOUT, PEER_SLOTS, StaticConfig};
use og_common::cluster::{
    AGENT_GROUP, Cluster, ClusterAddress, ClusterNode, CmAgent, ConfiguredRole, DataNode, FIRST_AGENT,
    FIRST_INSTANCE,
};

use super::Depth;
use super::measure::{Cost, Turn, cost, peak_memory, take_turns};
use super::report::{Limit, Row, Section};
use crate::shell::{Result, cargo, root, run, target};

/// Measures all of it; `om` is a checkout of openGauss-OM.
pub fn sections(depth: Depth, om: Option<&Path>) -> Result<Vec<Section>> {
    run(cargo().args(["build", "--quiet", "--release", "--package", "og_static_conf"]))?;
    let program = target().join("release").join("og_static_conf");
    let folder = target().join("bench");
    std::fs::create_dir_all(&folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
    let mut section = Section::new("cluster_static_config", "Wall time of one call.");
    if om.is_none() {
        section.skipped.push("OM's reader: --om names no checkout of openGauss-OM".to_owned());
    }
    for (nodes, runs, limit) in [(1, depth.choose(300, 50), 2.0), (1024, depth.choose(30, 5), 60.0)] {
        let (file, args, size) = write_files(&folder, nodes)?;
        let text =
            std::fs::read_to_string(&args).map_err(|e| format!("cannot read {}: {e}", args.display()))?;
        let (file, folder) = (&file, &folder);
        let mut turns = vec![
            new_turn(|| cost(&mut Command::new(&program), &text)),
            new_turn(|| cost(Command::new(&program).arg("--table").arg(file), "")),
        ];
        if let Some(om) = om {
            turns.push(new_turn(move || {
                let mut reader = Command::new("python3");
                reader.arg(root().join("tests/truth/om/om.py")).arg(om);
                let ask = serde_json::json!({"do": "static", "path": file, "out": folder.join("by_om"), "local": 1});
                cost(&mut reader, &format!("{ask}\n"))
            }));
        }
        let costs = take_turns(runs, &turns)?;
        let walls = |at: usize| costs[at].iter().map(|c| c.wall).collect::<Vec<_>>();
        let what = |how: &str| format!("{how}, nodes: {nodes}, {:.2} MB", size_mb(size));
        let query = Row::new(what("state: query"), "ms", walls(0)).limit(Limit::Value(limit));
        let theirs = om.map(|_| Row::new(what("OM's reader"), "ms", walls(2)));
        section.rows.push(match &theirs {
            Some(theirs) => query.compared_with("OM's reader", theirs),
            None => query,
        });
        section.rows.extend(theirs);
        section.rows.push(Row::new(what("--table"), "ms", walls(1)).limit(Limit::Value(limit)));
        if nodes > 1 {
            let most = peak_memory(&args, &program, &[])?;
            let row = Row::new(what("state: query, peak memory"), "MB", vec![most]);
            section.rows.push(row.compared_with_value("the file", size_mb(size)).limit(Limit::Ratio(3.0)));
        }
    }
    Ok(vec![section])
}

fn new_turn<'a>(run: impl Fn() -> Result<Cost> + 'a) -> Turn<'a> {
    Turn { prepare: Box::new(|| Ok(())), run: Box::new(run) }
}

#[expect(clippy::cast_precision_loss, reason = "printed with two digits")]
fn size_mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Writes the file of a cluster of this size; returns it and the arguments that query it.
pub fn write_file(folder: &Path, nodes: u32) -> Result<(PathBuf, serde_json::Value)> {
    let (file, _, _) = write_files(folder, nodes)?;
    let query = serde_json::json!({"state": "query", "path": file});
    Ok((file, query))
}

/// Writes the file of a cluster of this size, and the arguments that query it.
fn write_files(folder: &Path, nodes: u32) -> Result<(PathBuf, PathBuf, u64)> {
    let cluster = cluster(nodes);
    cluster.check().map_err(|e| e.to_string())?;
    let config = StaticConfig { layout: LAYOUT, time: 1_611_212_345, local: 1, slots: PEER_SLOTS, cluster };
    let bytes = config.print().map_err(|e| e.to_string())?;
    let file = folder.join(format!("cluster_static_config.{nodes}"));
    let args = folder.join(format!("query.{nodes}.json"));
    let query = serde_json::json!({"state": "query", "path": file});
    let put = |path: &Path, bytes: &[u8]| {
        std::fs::write(path, bytes).map_err(|e| format!("cannot write {}: {e}", path.display()))
    };
    put(&file, &bytes)?;
    put(&args, query.to_string().as_bytes())?;
    Ok((file, args, bytes.len() as u64))
}

/// A cluster of machines with a server each, a primary and seven standbys to a group.
fn cluster(nodes: u32) -> Cluster {
    let node = |i: u32| {
        let addresses = vec![ClusterAddress::from_verbatim(format!("10.1.{}.{}", i / 250, i % 250 + 1))];
        ClusterNode {
            id: i + 1,
            name: format!("node{:04}.example.com", i + 1),
            zone: format!("AZ{}", i % 3 + 1),
            zone_priority: 1,
            ssh_addresses: addresses.clone(),
            cm_dir: String::new(),
            cm_server: None,
            cm_agent: CmAgent { id: FIRST_AGENT + i, group: AGENT_GROUP, addresses: addresses.clone() },
            data_nodes: vec![DataNode {
                id: FIRST_INSTANCE + i,
                group: i / 8 + 1,
                data_dir: "/gauss/data/db1".to_owned(),
                xlog_dir: String::new(),
                ssd_dir: String::new(),
                listen_addresses: addresses.clone(),
                port: 26000,
                role: if i.is_multiple_of(8) { ConfiguredRole::Primary } else { ConfiguredRole::Standby },
                ha_addresses: addresses.clone(),
                ha_port: 26001,
                peers: Vec::new(),
            }],
            addresses,
        }
    };
    Cluster { nodes: (0..nodes).map(node).collect() }.with_linked_peers()
}
