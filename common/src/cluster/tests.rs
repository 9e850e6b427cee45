//! The codecs held to files that OM's own tools wrote, and to themselves on generated clusters.
#![allow(clippy::unwrap_used)]

mod generated;
mod xml;

use std::path::PathBuf;

use serde_json::Value;

use super::dynamic_config::{DynamicConfig, LiveDataNode, LiveNode, Roles, parse_dnrole, print_dnrole};
use super::spec::{Edit, NodeSpec, build, describe, differences, edit};
use super::static_config::{LAYOUT, PEER_SLOTS, StaticConfig};
use super::xml::{Document, Globals, print_new};
use super::*;
use crate::base::ErrorKind;

/// The time in all samples.
const TIME: i64 = 1_611_212_345;
const FOLDERS: [&str; 5] =
    ["one_node", "one_primary_one_standby", "one_primary_eight_standbys", "seed_1p2s1c", "with_cm_1p2s"];

fn vector(name: &str) -> Vec<u8> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/cluster")).join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn text(name: &str) -> String {
    String::from_utf8(vector(name)).unwrap()
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&vector(name)).unwrap()
}

fn sample(name: &str) -> StaticConfig {
    StaticConfig::parse(&vector(&format!("{name}/cluster_static_config"))).unwrap()
}

/// All static configs among the vectors, with the room for peers that each has.
fn samples() -> Vec<(String, usize)> {
    let mut all: Vec<_> = FOLDERS.iter().map(|f| (format!("{f}/cluster_static_config"), 8)).collect();
    for end in ["after_drop_stb1", "node1", "node2", "node3", "node4"] {
        all.push((format!("seed_1p2s1c/cluster_static_config.{end}"), 8));
    }
    for (version, slots) in [("v1.1.0", 7), ("v2.1.0", 7), ("v3.0.0", 8)] {
        for name in ["one_primary_one_standby", "seed_1p2s1c"] {
            if version != "v3.0.0" || name != "one_primary_one_standby" {
                all.push((format!("old_om/{version}/{name}.bin"), slots));
            }
        }
        // Eight peers have eight places, also in files of old tools.
        all.push((format!("old_om/{version}/one_primary_eight_standbys.bin"), 8));
    }
    all
}

#[test]
fn every_sample_is_printed_as_it_was_and_its_derived_parts_are_derived_alike() {
    for (name, slots) in samples() {
        let bytes = vector(&name);
        let parsed = StaticConfig::parse(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(parsed.print().unwrap(), bytes, "{name}");
        assert_eq!(parsed.cluster.clone().with_linked_peers(), parsed.cluster, "{name}");
        parsed.cluster.check().unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((parsed.time, parsed.layout, parsed.slots), (TIME, LAYOUT, slots), "{name}");
    }
}

fn texts(list: &[ClusterAddress]) -> Vec<&str> {
    list.iter().map(ClusterAddress::as_str).collect()
}

/// What our reader found, in the words of OM's reader.
fn as_om_reads(cluster: &Cluster, slots: usize) -> Value {
    let nodes = cluster.nodes.iter().map(|n| {
        let datanodes = n.data_nodes.iter().map(|d| {
            let mut peers: Vec<Value> = d
                .peers
                .iter()
                .map(|p| {
                    serde_json::json!({"peerDataPath": p.data_dir, "peerHAIPs": texts(&p.ha_addresses),
                        "peerHAPort": p.ha_port, "peerRole": p.role.code()})
                })
                .collect();
            peers.resize(
                slots,
                serde_json::json!({"peerDataPath": "", "peerHAIPs": [], "peerHAPort": 0, "peerRole": 0}),
            );
            serde_json::json!({"instanceId": d.id, "mirrorId": d.group, "hostname": n.name,
                "listenIps": texts(&d.listen_addresses), "haIps": texts(&d.ha_addresses), "port": d.port,
                "haPort": d.ha_port, "datadir": d.data_dir, "xlogdir": d.xlog_dir, "ssdDir": d.ssd_dir,
                "instanceType": d.role.code(), "azName": n.zone, "azPriority": n.zone_priority, "peers": peers})
        });
        let cmservers = n.cm_server.iter().map(|s| {
            serde_json::json!({"instanceId": s.id, "mirrorId": s.group, "hostname": n.name,
                "listenIps": texts(&s.listen_addresses), "haIps": texts(&s.ha_addresses), "port": s.port,
                "haPort": s.ha_port, "instanceType": s.role.code(), "level": s.level})
        });
        let cmagent = serde_json::json!({"instanceId": n.cm_agent.id, "mirrorId": n.cm_agent.group,
            "hostname": n.name, "listenIps": texts(&n.cm_agent.addresses)});
        serde_json::json!({"id": n.id, "name": n.name, "azName": n.zone, "azPriority": n.zone_priority,
            "backIps": texts(&n.addresses), "sshIps": texts(&n.ssh_addresses), "cmDataDir": n.cm_dir,
            "datanodes": datanodes.collect::<Vec<_>>(), "cmservers": cmservers.collect::<Vec<_>>(),
            "cmagents": [cmagent]})
    });
    nodes.collect()
}

/// `theirs` cut down to the keys that `ours` has, so that nothing of ours goes unchecked.
fn keep_keys(theirs: &Value, ours: &Value) -> Value {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => theirs
            .iter()
            .filter_map(|(k, v)| Some((k.clone(), keep_keys(v, ours.get(k)?))))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        (Value::Array(theirs), Value::Array(ours)) if theirs.len() == ours.len() => {
            theirs.iter().zip(ours).map(|(t, o)| keep_keys(t, o)).collect()
        }
        _ => theirs.clone(),
    }
}

#[test]
fn our_reader_sees_what_the_readers_of_om_and_of_the_server_see() {
    for name in FOLDERS {
        let ours = as_om_reads(&sample(name).cluster, PEER_SLOTS);
        let theirs = json(&format!("{name}/readback.json"));
        pretty_assertions(&ours, &keep_keys(&theirs["nodes"], &ours), name);

        let server = json(&format!("{name}/c_readback.json"));
        let config = sample(name);
        assert_eq!(server["time"], config.time, "{name}");
        assert_eq!(server["node"], config.local, "{name}");
        let nodes = server["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), config.cluster.nodes.len(), "{name}");
        for (theirs, ours) in nodes.iter().zip(&config.cluster.nodes) {
            assert_eq!(theirs["cmServerId"], ours.cm_server.as_ref().map_or(0, |s| s.id), "{name}");
            assert_eq!(theirs["cmsPort"], ours.cm_server.as_ref().map_or(0, |s| s.port), "{name}");
            assert_eq!(
                theirs["datanodes"][0]["peers"].as_array().unwrap().len(),
                ours.data_nodes[0].peers.len()
            );
        }
    }
}

fn pretty_assertions(ours: &Value, theirs: &Value, name: &str) {
    // serde_json compares maps in any order; the texts are only for reading.
    assert!(ours == theirs, "{name}:\nours   {ours}\ntheirs {theirs}");
}

#[test]
fn each_nodes_copy_differs_in_the_local_node_alone() {
    let one = sample("seed_1p2s1c");
    for id in 1..=4 {
        let copy = one.for_node(id).print().unwrap();
        assert!(copy == vector(&format!("seed_1p2s1c/cluster_static_config.node{id}")), "{id}");
    }
}

#[test]
fn a_drop_gives_the_bytes_that_om_gives() {
    let mut config = sample("seed_1p2s1c");
    let drop = ["stb1.opengauss.com".to_owned()];
    config.cluster = edit(&config.cluster, Edit { drop: &drop, ..Edit::default() }).unwrap();
    assert!(config.print().unwrap() == vector("seed_1p2s1c/cluster_static_config.after_drop_stb1"));
    let ids: Vec<_> = config.cluster.data_nodes().map(|(n, d)| (n.id, d.id)).collect();
    assert_eq!(ids, [(1, 6001), (3, 6003), (4, 6004)]);
}

fn spec(name: &str, address: &str) -> NodeSpec {
    NodeSpec {
        name: name.to_owned(),
        address: spec::Addresses::One(address.to_owned()),
        ..NodeSpec::default()
    }
}

#[test]
fn an_added_node_fills_the_hole_and_follows_the_primary() {
    let old =
        StaticConfig::parse(&vector("seed_1p2s1c/cluster_static_config.after_drop_stb1")).unwrap().cluster;
    let add = [spec("new", "192.168.0.20"), spec("newer", "192.168.0.21")];
    let new = edit(&old, Edit { add: &add, ..Edit::default() }).unwrap();
    let ids: Vec<_> = new.data_nodes().map(|(n, d)| (n.name.as_str(), n.id, d.id, n.cm_agent.id)).collect();
    assert_eq!(
        ids,
        [
            ("prod.opengauss.com", 1, 6001, 10001),
            ("new", 2, 6002, 10002),
            ("stb2.opengauss.com", 3, 6003, 10003),
            ("casstb.opengauss.com", 4, 6004, 10004),
            ("newer", 5, 6005, 10005),
        ]
    );
    let node = new.node("new").unwrap();
    assert_eq!((node.data_nodes[0].port, node.data_nodes[0].data_dir.as_str()), (26000, "/gauss/data/db1"));
    assert_eq!(edit(&new, Edit { add: &add, ..Edit::default() }).unwrap(), new);
}

#[test]
fn a_node_added_to_a_cluster_with_cm_gets_a_cm_server_like_the_others() {
    let old = sample("with_cm_1p2s").cluster;
    let add = [spec("node4", "10.0.0.4")];
    let new = edit(&old, Edit { add: &add, ..Edit::default() }).unwrap();
    let node = new.node("node4").unwrap();
    let server = node.cm_server.as_ref().unwrap();
    assert_eq!((server.id, server.port, server.role), (4, 15300, ConfiguredRole::Standby));
    assert_eq!(node.cm_dir, "/gauss/data/cm");
    // The writer's slip: the peer of a CM server is the first data node.
    assert_eq!((server.peer_addresses[0].as_str(), server.peer_port), ("10.0.0.1", 15401));
}

#[test]
fn roles_move_with_the_primary_and_ids_do_not() {
    let old = sample("one_primary_one_standby").cluster;
    let new = edit(&old, Edit { primary: Some("2"), ..Edit::default() }).unwrap();
    let roles: Vec<_> = new.data_nodes().map(|(_, d)| (d.id, d.role)).collect();
    assert_eq!(roles, [(6001, ConfiguredRole::Standby), (6002, ConfiguredRole::Primary)]);
    assert_eq!(new.nodes[0].data_nodes[0].peers[0].role, ConfiguredRole::Primary);
}

#[test]
fn what_must_not_be_is_refused_and_said() {
    let old = sample("seed_1p2s1c").cluster;
    let primary = ["prod.opengauss.com".to_owned()];
    let cases: Vec<(Edit, ErrorKind, &str)> = vec![
        (
            Edit { drop: &primary, ..Edit::default() },
            ErrorKind::Refused,
            "node prod.opengauss.com is the primary and cannot be dropped",
        ),
        (
            Edit { primary: Some("nobody"), ..Edit::default() },
            ErrorKind::NotFound,
            "node nobody is not in the file",
        ),
    ];
    for (given, kind, words) in cases {
        let error = edit(&old, given).unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.failure().detail.contains(words), "{error}");
    }
    let add_cases = [
        (spec("new", "192.168.0.12"), "nodes stb1.opengauss.com and new both have the address 192.168.0.12"),
        (spec("new", "fe80::1"), "IPv4 and IPv6 are mixed"),
        (spec("new", "db7.example"), "is not an IP address"),
        (spec("a b", "192.168.0.20"), "holds ' '"),
        (NodeSpec { id: Some(2), ..spec("new", "192.168.0.20") }, "both have the id 2"),
        (
            NodeSpec { instance_id: Some(6002), ..spec("new", "192.168.0.20") },
            "both have the instance_id 6002",
        ),
        (
            NodeSpec { role: Some(ConfiguredRole::Primary), ..spec("new", "192.168.0.20") },
            "more than one node is the primary",
        ),
        (NodeSpec { id: Some(9), ..spec("stb1.opengauss.com", "192.168.0.12") }, "cannot become 9"),
        (NodeSpec { data_dir: Some("/a b".into()), ..spec("new", "192.168.0.20") }, "holds ' '"),
        (NodeSpec { data_dir: Some("data".into()), ..spec("new", "192.168.0.20") }, "not an absolute path"),
        (NodeSpec { base_port: Some(80), ..spec("new", "192.168.0.20") }, "it must be 1024 to 65535"),
        (NodeSpec { base_port: Some(65535), ..spec("new", "192.168.0.20") }, "ha_port is 65536"),
        (NodeSpec { zone_priority: Some(11), ..spec("new", "192.168.0.20") }, "it must be 1 to 10"),
        (spec(&"n".repeat(65), "192.168.0.20"), "has room for 64"),
    ];
    for (node, words) in add_cases {
        let error = edit(&old, Edit { add: &[node], ..Edit::default() }).unwrap_err();
        assert!(error.failure().detail.contains(words), "{error}, not {words}");
    }
    let nine = sample("one_primary_eight_standbys").cluster;
    let error = edit(&nine, Edit { add: &[spec("tenth", "192.168.0.200")], ..Edit::default() }).unwrap_err();
    assert_eq!(error.failure().gauss_code.as_deref(), Some("GAUSS-51230"));

    let other = [spec("x", "10.1.1.1"), spec("y", "10.1.1.2")];
    let error = build(&other, Some(&old)).unwrap_err();
    assert!(error.failure().detail.contains("another cluster"), "{error}");
    let error = build(&[spec("x", "10.1.1.1"), spec("x", "10.1.1.2")], None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadArgs);
    let error =
        edit(&sample("one_node").cluster, Edit { drop: &["1".to_owned()], ..Edit::default() }).unwrap_err();
    assert!(error.failure().detail.contains("the last node cannot be dropped"), "{error}");
}

#[test]
fn a_server_that_was_alone_takes_the_ids_of_the_cluster_it_joins() {
    let alone = sample("one_node").cluster;
    let nodes = [
        NodeSpec {
            id: Some(1),
            role: Some(ConfiguredRole::Primary),
            data_dir: Some("/gauss/data/db1".into()),
            ..spec("first", "192.168.0.1")
        },
        NodeSpec {
            id: Some(2),
            role: Some(ConfiguredRole::Standby),
            ..spec("prod.opengauss.com", "192.168.0.11")
        },
    ];
    let joined = build(&nodes, Some(&alone)).unwrap();
    let ids: Vec<_> = joined.data_nodes().map(|(n, d)| (n.id, d.id)).collect();
    assert_eq!(ids, [(1, 6001), (2, 6002)]);
    let nameless: Vec<_> = nodes.iter().map(|n| NodeSpec { id: None, ..n.clone() }).collect();
    assert_eq!(build(&nameless, Some(&alone)).unwrap(), joined);
}

#[test]
fn the_largest_cluster_gets_its_ids_and_is_read_again() {
    let nodes: Vec<NodeSpec> = (0..1024u32)
        .map(|i| NodeSpec {
            data_nodes: Some(vec![spec::DataNodeSpec {
                group: Some(i / 8 + 1),
                data_dir: "/d".into(),
                role: i.is_multiple_of(8).then_some(ConfiguredRole::Primary),
                ..spec::DataNodeSpec::default()
            }]),
            ..spec(&format!("n{i}"), &format!("10.1.{}.{}", i / 250, i % 250 + 1))
        })
        .collect();
    let cluster = build(&nodes, None).unwrap();
    let ids: Vec<u32> = cluster.data_nodes().map(|(_, d)| d.id).collect();
    // After 7000 come 40001 and so on, as OM counts.
    assert_eq!((ids[0], ids[999], ids[1000], ids[1023]), (6001, 7000, 40001, 40024));
    let config = StaticConfig { layout: LAYOUT, time: TIME, local: 1024, slots: PEER_SLOTS, cluster };
    let bytes = config.print().unwrap();
    assert_eq!(bytes.len(), 8192 + 1024 * 32768);
    assert!(StaticConfig::parse(&bytes).unwrap() == config);
    let one_more = NodeSpec { data_dir: Some("/d".into()), ..spec("more", "10.2.0.1") };
    let more = [nodes, vec![one_more]].concat();
    assert!(build(&more, None).unwrap_err().failure().detail.contains("at most 1024"));
}

#[test]
fn no_id_is_nought_and_agents_have_their_group() {
    type Spoil = fn(&mut ClusterNode);
    let good = sample("with_cm_1p2s").cluster;
    let spoil: [(&str, Spoil); 4] = [
        ("the id", |n| n.id = 0),
        ("the CM agent's id", |n| n.cm_agent.id = 0),
        ("the CM server's id", |n| n.cm_server.as_mut().unwrap().id = 0),
        ("the instance_id", |n| n.data_nodes[0].id = 0),
    ];
    for (what, spoil) in spoil {
        let mut bad = good.clone();
        spoil(&mut bad.nodes[1]);
        let error = bad.check().unwrap_err();
        assert!(error.failure().detail.contains(&format!("{what} must be 1 or more")), "{error}");
    }
    let mut bad = good;
    bad.nodes[1].cm_agent.group = 1;
    assert!(bad.check().unwrap_err().failure().detail.contains("group is 1, it must be -3"));
}

#[test]
fn the_last_port_of_all_has_no_next_one_and_is_described() {
    let mut cluster = sample("with_cm_1p2s").cluster;
    cluster.nodes[0].data_nodes[0].port = u32::MAX;
    cluster.nodes[1].cm_server.as_mut().unwrap().port = u32::MAX;
    let described = describe(&cluster);
    assert_eq!(described[0].base_port, Some(u32::MAX));
    assert_eq!(described[0].ha_port, Some(cluster.nodes[0].data_nodes[0].ha_port));
    assert!(build(&described, None).unwrap_err().failure().detail.contains("4294967295"));
}

#[test]
fn differences_name_node_and_field() {
    let here = sample("seed_1p2s1c").cluster;
    let mut there = here.clone();
    there.nodes[1].zone = "AZ2".to_owned();
    there.nodes.remove(3);
    there.link_peers();
    let found = differences(&here, &there);
    let short: Vec<_> = found.iter().map(|d| (d.node.as_str(), d.field.as_str())).collect();
    assert_eq!(
        short,
        [
            ("prod.opengauss.com", "peers"),
            ("stb1.opengauss.com", "zone"),
            ("stb2.opengauss.com", "peers"),
            ("casstb.opengauss.com", "node"),
        ]
    );
    assert_eq!((&found[1].here, &found[1].there), (&Value::from("AZ1"), &Value::from("AZ2")));
    assert!(differences(&here, &here).is_empty());

    let mut turned = here.clone();
    turned.nodes.swap(1, 3);
    turned.link_peers();
    let found = differences(&here, &turned);
    let places: Vec<_> =
        found.iter().filter(|d| d.field == "place").map(|d| (d.node.as_str(), &d.here, &d.there)).collect();
    assert_eq!(
        places,
        [("stb1.opengauss.com", &2.into(), &4.into()), ("casstb.opengauss.com", &4.into(), &2.into())]
    );

    // The peer of a CM server, which the description leaves out as it is derived.
    let here = sample("with_cm_1p2s").cluster;
    let mut there = here.clone();
    there.nodes[1].cm_server.as_mut().unwrap().peer_port = 7;
    let found = differences(&here, &there);
    assert_eq!((found.len(), found[0].field.as_str()), (1, "peers"));
    assert_eq!(
        (&found[0].here["cm_server"], &found[0].there["cm_server"]),
        (&"10.0.0.1:15401".into(), &"10.0.0.1:7".into())
    );
}

#[test]
fn dynamic_configs_are_read_and_written_as_om_does() {
    for (folder, file) in [
        ("one_primary_one_standby", "cluster_dynamic_config"),
        ("seed_1p2s1c", "cluster_dynamic_config"),
        ("seed_1p2s1c", "cluster_dynamic_config.after_switchover"),
    ] {
        let bytes = vector(&format!("{folder}/{file}"));
        let parsed = DynamicConfig::parse(&bytes).unwrap();
        assert!(parsed.print().unwrap() == bytes, "{folder}/{file}");
        let cluster = sample(folder).cluster;
        assert!(parsed.fits(&cluster));
        let roles: Roles = parsed.nodes.iter().flat_map(|n| &n.data_nodes).map(|d| (d.id, d.role)).collect();
        let made = DynamicConfig::new(&cluster, &roles, TIME).unwrap();
        assert_eq!(made, parsed, "{folder}/{file}");
        if !file.ends_with("switchover") {
            let theirs = json(&format!("{folder}/dynamic_readback.json"));
            let servers: Vec<_> = parsed
                .nodes
                .iter()
                .flat_map(|n| n.data_nodes.iter().map(move |d| (n.id, d.id, d.role.code())))
                .collect();
            let expected: Vec<_> = theirs["nodes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|n| {
                    let d = &n["datanodes"][0];
                    let get = |v: &Value| u32::try_from(v.as_u64().unwrap()).unwrap();
                    (get(&n["id"]), get(&d["instanceId"]), get(&d["instanceType"]))
                })
                .collect();
            assert_eq!(servers, expected);
        }
    }
}

#[test]
fn live_roles_need_exactly_one_primary() {
    let cluster = sample("seed_1p2s1c").cluster;
    let roles = |list: &[(u32, ConfiguredRole)]| list.iter().copied().collect::<Roles>();
    let good = roles(&[
        (6001, ConfiguredRole::Standby),
        (6002, ConfiguredRole::Primary),
        (6004, ConfiguredRole::CascadeStandby),
    ]);
    let text = print_dnrole(&cluster, &good).unwrap();
    assert_eq!(
        text,
        "prod.opengauss.com=1\nstb1.opengauss.com=0\nstb2.opengauss.com=9\ncasstb.opengauss.com=3\n"
    );
    let read = parse_dnrole(&text).unwrap();
    assert_eq!(read[2], ("stb2.opengauss.com".to_owned(), None));
    assert_eq!(read[1].1, Some(ConfiguredRole::Primary));
    for bad in [
        roles(&[(6001, ConfiguredRole::Standby)]),
        roles(&[(6001, ConfiguredRole::Primary), (6002, ConfiguredRole::Primary)]),
    ] {
        let error = DynamicConfig::new(&cluster, &bad, TIME).unwrap_err();
        assert_eq!(error.failure().gauss_code.as_deref(), Some("GAUSS-51230"));
    }
    assert!(parse_dnrole("a=7\n").unwrap_err().failure().detail.contains("line 1"));
}

#[test]
fn every_flipped_byte_is_seen() {
    for (name, bytes) in [
        ("static", vector("one_node/cluster_static_config")),
        ("dynamic", vector("one_primary_one_standby/cluster_dynamic_config")),
    ] {
        let parse = |b: &[u8]| match name {
            "static" => StaticConfig::parse(b).map(|_| ()),
            _ => DynamicConfig::parse(b).map(|_| ()),
        };
        parse(&bytes).unwrap();
        let mut damaged = bytes.clone();
        for at in 0..bytes.len() {
            let bit = 1 << (at % 8);
            damaged[at] ^= bit;
            let error = parse(&damaged).expect_err(&format!("{name}: byte {at} flipped is not seen"));
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}: byte {at}: {error}");
            damaged[at] ^= bit;
        }
    }
}

#[test]
fn every_truncation_is_seen() {
    let bytes = vector("one_primary_one_standby/cluster_static_config");
    for len in 0..bytes.len() {
        let error = StaticConfig::parse(&bytes[..len]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{len}");
    }
    let bytes = vector("one_primary_one_standby/cluster_dynamic_config");
    for len in 0..bytes.len() {
        assert_eq!(DynamicConfig::parse(&bytes[..len]).unwrap_err().kind(), ErrorKind::Corrupt, "{len}");
    }
    let mut longer = vector("one_node/cluster_static_config");
    longer.extend([0; 8192]);
    assert_eq!(StaticConfig::parse(&longer).unwrap_err().kind(), ErrorKind::Corrupt);
}

/// The file with bytes of its header set and the header's checksum made right again.
fn with_header(at: usize, value: u32) -> Vec<u8> {
    let mut bytes = vector("one_node/cluster_static_config");
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    let crc = crc32fast::hash(&bytes[4..28]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn other_layouts_and_parts_that_opengauss_has_not_are_unsupported() {
    for layout in [2, 101, 202, 302, 500] {
        let error = StaticConfig::parse(&with_header(8, layout)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{layout}");
    }
    assert_eq!(StaticConfig::parse(&with_header(8, 201)).unwrap().layout, 201);
    for count in [0, 2, 1025, u32::MAX] {
        assert_eq!(StaticConfig::parse(&with_header(20, count)).unwrap_err().kind(), ErrorKind::Corrupt);
    }
    // A GTM's id.
    let mut bytes = vector("one_node/cluster_static_config");
    bytes[8192 + 3656] = 1;
    let crc = crc32fast::hash(&bytes[8196..8192 + 26880]);
    bytes[8192..8196].copy_from_slice(&crc.to_le_bytes());
    let error = StaticConfig::parse(&bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    // Checksums of eight bytes: four bytes more in front.
    let old = vector("one_node/cluster_static_config");
    let wide = [&old[..4], &[0; 4], &old[4..]].concat();
    assert_eq!(StaticConfig::parse(&wide).unwrap_err().kind(), ErrorKind::Unsupported);
}
