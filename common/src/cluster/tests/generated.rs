//! Clusters made at random, and damage.

use proptest::prelude::*;

use super::xml::globals;
use super::*;

prop_compose! {
    fn path()(parts in prop::collection::vec("[a-zA-Z0-9_.-]{1,20}x", 1..6), long in any::<bool>()) -> String {
        let mut path = format!("/{}", parts.join("/"));
        if long {
            path += "/";
            path += &"x".repeat(1023 - path.len());
        }
        path
    }
}

fn node_name(i: usize) -> impl Strategy<Value = String> {
    ("[a-z][a-z0-9.-]{0,40}", any::<bool>()).prop_map(move |(mut name, long)| {
        name.extend(["-", &i.to_string()]);
        if long {
            name += &"n".repeat(64 - name.len());
        }
        name
    })
}

/// A cluster within all limits: 1 to 40 machines, of which 1 to 9 have a server.
fn any_cluster() -> impl Strategy<Value = Cluster> {
    (1..=40usize, 1..=9usize, any::<bool>(), any::<bool>(), any::<bool>())
        .prop_flat_map(|(count, servers, v6, cm, xlog)| {
            let nodes: Vec<_> = (0..count)
                .map(|i| {
                    (node_name(i), "[A-Z][A-Z0-9]{0,5}", 1..=10u32, path(), 1..3u32, 1024..65535u32, 0..2u32)
                })
                .collect();
            (nodes, Just((servers.min(count), v6, cm && count > 1, xlog)), 0..count)
        })
        .prop_map(|(drawn, (servers, v6, cm, xlog), primary)| {
            let count = drawn.len();
            let mut id = 0;
            let mut instance = 6000;
            let nodes = drawn
                .into_iter()
                .enumerate()
                .map(|(i, (name, zone, zone_priority, dir, step, port, cascade))| {
                    id += step;
                    instance += step;
                    let address = if v6 { format!("fd00::{i:x}:1") } else { format!("10.0.{i}.1") };
                    let addresses = vec![ClusterAddress::from_verbatim(address)];
                    // The machines with a server: `servers` of them from the primary on.
                    let has_server = (i + count - primary) % count < servers;
                    ClusterNode {
                        id,
                        name,
                        zone,
                        zone_priority,
                        ssh_addresses: addresses.clone(),
                        cm_dir: if cm { "/cm".into() } else { String::new() },
                        cm_server: cm.then(|| CmServer {
                            id,
                            group: 1,
                            level: 1,
                            float_address: String::new(),
                            listen_addresses: addresses.clone(),
                            port: 15300,
                            ha_addresses: addresses.clone(),
                            ha_port: 15301,
                            role: if i == 0 { ConfiguredRole::Primary } else { ConfiguredRole::Standby },
                            peer_addresses: Vec::new(),
                            peer_port: 0,
                        }),
                        cm_agent: CmAgent {
                            id: 10000 + id,
                            group: AGENT_GROUP,
                            addresses: addresses.clone(),
                        },
                        data_nodes: if has_server {
                            vec![DataNode {
                                id: instance,
                                group: 1,
                                xlog_dir: if xlog {
                                    format!("{}/w", &dir[..dir.len().min(900)])
                                } else {
                                    String::new()
                                },
                                data_dir: dir,
                                ssd_dir: String::new(),
                                listen_addresses: addresses.clone(),
                                port,
                                role: match (i == primary, cascade) {
                                    (true, _) => ConfiguredRole::Primary,
                                    (false, 1) => ConfiguredRole::CascadeStandby,
                                    _ => ConfiguredRole::Standby,
                                },
                                ha_addresses: addresses.clone(),
                                ha_port: port + 1,
                                peers: Vec::new(),
                            }]
                        } else {
                            Vec::new()
                        },
                        addresses,
                    }
                })
                .collect();
            Cluster { nodes }.with_linked_peers()
        })
}

/// The same with more on each machine: a second group of servers, lists of up to three addresses, names that are not
/// ASCII, agents and ports of their own.
fn any_full_cluster() -> impl Strategy<Value = Cluster> {
    (any_cluster(), any::<bool>(), any::<bool>(), 1..=3usize, path()).prop_map(
        |(mut cluster, twice, wide, addresses, dir)| {
            let v6 = cluster.nodes[0].addresses[0].as_str().contains(':');
            let servers = cluster.data_nodes().count();
            let mut number = 0;
            for (i, node) in cluster.nodes.iter_mut().enumerate() {
                let more = |list: &mut Vec<ClusterAddress>, kind: usize| {
                    for n in list.len()..addresses {
                        let address = if v6 {
                            format!("fd01::{i:x}:{kind}:{n}")
                        } else {
                            format!("10.{}.{i}.{kind}", n + 100)
                        };
                        list.push(ClusterAddress::from_verbatim(address));
                    }
                };
                more(&mut node.addresses, 1);
                more(&mut node.ssh_addresses, 2);
                more(&mut node.cm_agent.addresses, 3);
                node.cm_agent.id += 7;
                if wide {
                    node.zone = "数据区".to_owned();
                    node.name = format!("größe{i}{}", "é".repeat(27));
                }
                for d in &mut node.data_nodes {
                    more(&mut d.listen_addresses, 4);
                    more(&mut d.ha_addresses, 5);
                    d.ha_port = d.port - 1 + 2 * u32::from(d.port == 1024);
                }
                if let (true, Some(d)) = (twice, node.data_nodes.first()) {
                    number += 1;
                    let role =
                        if number == servers { ConfiguredRole::Primary } else { ConfiguredRole::Standby };
                    let second = DataNode {
                        id: 40_000 + d.id,
                        group: 2,
                        data_dir: format!("/2{}", &dir[..dir.len().min(1000)]),
                        role,
                        ..d.clone()
                    };
                    node.data_nodes.push(second);
                }
            }
            cluster.with_linked_peers()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_written_is_read_again(
        cluster in prop_oneof![any_cluster(), any_full_cluster()],
        time in any::<i64>(),
        seven in any::<bool>(),
        layout in prop_oneof![Just(201), Just(LAYOUT)],
    ) {
        cluster.check().unwrap();
        let local = cluster.nodes[0].id;
        let most = cluster.data_nodes().map(|(_, d)| d.peers.len()).max().unwrap_or(0);
        let slots = if seven && most <= 7 { 7 } else { PEER_SLOTS };
        let config = StaticConfig { layout, time, local, slots, cluster };
        let bytes = config.print().unwrap();
        prop_assert_eq!(bytes.len() % 8192, 0);
        let read = StaticConfig::parse(&bytes).unwrap();
        prop_assert_eq!(&read, &config);
        prop_assert!(read.print().unwrap() == bytes);
    }

    #[test]
    fn the_description_gives_the_same_cluster(cluster in prop_oneof![any_cluster(), any_full_cluster()]) {
        let described = describe(&cluster);
        let json = serde_json::to_string(&described).unwrap();
        let again: Vec<NodeSpec> = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(&build(&again, None).unwrap(), &cluster);
        prop_assert_eq!(&build(&again, Some(&cluster)).unwrap(), &cluster);
        prop_assert_eq!(&edit(&cluster, Edit { add: &again, ..Edit::default() }).unwrap(), &cluster);
    }

    #[test]
    fn dynamic_configs_come_back(cluster in prop_oneof![any_cluster(), any_full_cluster()], time in any::<i64>()) {
        // Of two groups only one has its primary now.
        let live = |d: &DataNode| if d.group == 2 { ConfiguredRole::Standby } else { d.role };
        let roles: Roles = cluster.data_nodes().map(|(_, d)| (d.id, live(d))).collect();
        let config = DynamicConfig::new(&cluster, &roles, time).unwrap();
        let bytes = config.print().unwrap();
        prop_assert_eq!(DynamicConfig::parse(&bytes).unwrap(), config);
        prop_assert_eq!(parse_dnrole(&print_dnrole(&cluster, &roles).unwrap()).unwrap().len(), roles.len());
    }

    #[test]
    fn many_servers_on_a_machine_come_back(count in 0..160usize, time in any::<i64>()) {
        let servers = (0..u32::try_from(count).unwrap())
            .map(|i| LiveDataNode { id: 6001 + i, group: i, role: ConfiguredRole::Standby, data_dir: format!("/d{i}") })
            .collect();
        let node = LiveNode { id: 1, name: "n".into(), data_nodes: servers };
        let config = DynamicConfig { time, nodes: vec![node.clone(), LiveNode { id: 2, name: "m".into(), ..node }] };
        prop_assert_eq!(DynamicConfig::parse(&config.print().unwrap()).unwrap(), config);
    }

    #[test]
    fn the_xml_of_a_cluster_describes_it(cluster in any_cluster()) {
        let mut cluster = cluster;
        // What the XML cannot say: ports of their own, CM on another node than the first, a node without a server first.
        for d in cluster.nodes.iter_mut().flat_map(|n| n.data_nodes.iter_mut()) {
            d.port = 26000;
            d.ha_port = 26001;
        }
        cluster.link_peers();
        let xml = print_new(&cluster, &globals()).unwrap();
        let document = Document::parse(&xml).unwrap();
        prop_assert_eq!(document.edit_text(&cluster).unwrap(), xml.clone());
        // Without its last standby.
        let last = cluster.nodes.iter().rev().find(|n| n.data_nodes.iter().all(|d| d.role != ConfiguredRole::Primary));
        if let Some(last) = last.filter(|n| n.cm_server.is_none() || (n.id != cluster.nodes[0].id && cluster.nodes.len() > 2)) {
            let drop = [last.name.clone()];
            let smaller = edit(&cluster, Edit { drop: &drop, ..Edit::default() }).unwrap();
            let edited = document.edit_text(&smaller).unwrap();
            let fresh_again = print_new(&smaller, &globals()).unwrap();
            prop_assert_eq!(&edited, &fresh_again);
        }
    }

    #[test]
    fn random_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..20000), at in 0..40960usize) {
        prop_assert!(StaticConfig::parse(&bytes).is_err());
        prop_assert!(DynamicConfig::parse(&bytes).is_err());
        // Damage that the checksums do not show: the record's checksum is made right again.
        let mut good = vector("one_node/cluster_static_config");
        let n = bytes.len().min(64).min(good.len() - at);
        good[at..at + n].copy_from_slice(&bytes[..n]);
        for (from, to) in [(0, 28), (8192, 8192 + 26880)] {
            let crc = crc32fast::hash(&good[from + 4..to]);
            good[from..from + 4].copy_from_slice(&crc.to_le_bytes());
        }
        if let Ok(config) = StaticConfig::parse(&good) {
            prop_assert!(config.print().unwrap() == good);
        }
    }

    #[test]
    fn damaged_xml_is_no_panic(at in 0..2000usize, len in 0..40usize, new in "[<>\"'=&;a-z,/ -]{0,10}") {
        let good = text("seed_1p2s1c/cluster_config.xml");
        let end = (at + len).min(good.len());
        let bad = format!("{}{new}{}", &good[..at], &good[end..]);
        if let Ok(document) = Document::parse(&bad) {
            drop(document.cluster());
            drop(document.edit_text(&sample("seed_1p2s1c").cluster));
        }
    }
}
