//! What a person sees of a cluster: a table, or a picture ([`svg`]).

use std::fmt::Write as _;
use std::path::Path;

use og_common::clock;
use og_common::cluster::static_config::StaticConfig;
use og_common::cluster::{Cluster, ClusterAddress, ConfiguredRole};
use og_common::files;
use og_common::protocol::{Error, View};

use crate::{cluster_of, is_xml, locate_error, svg};

/// The flags and what they print.
pub const VIEWS: &[View] = &[
    View {
        flag: "table",
        value_name: "FILE",
        help: "Print the nodes of a cluster_static_config or cluster_config.xml as gs_om -t status --detail does",
        render: render_table,
    },
    View {
        flag: "svg",
        value_name: "FILE",
        help: "Print a picture of a cluster_static_config or cluster_config.xml: zones, primary, standbys, cascade standbys",
        render: render_svg,
    },
];

/// What is in a file, and what there is to say of the file itself.
struct Shown {
    cluster: Cluster,
    about: String,
}

fn read(path: &Path) -> Result<Shown, Error> {
    let bytes = files::read(path)?;
    if is_xml(&bytes) {
        return Ok(Shown {
            cluster: locate_error(path, cluster_of(&bytes))?,
            about: "from cluster_config.xml".to_owned(),
        });
    }
    let config = locate_error(path, StaticConfig::parse(&bytes))?;
    let local = config.local_node().map_or_else(|| format!("node {}", config.local), |n| n.name.clone());
    // A time before 1970 is none that anybody wrote.
    let time = u64::try_from(config.time).map_or_else(|_| config.time.to_string(), clock::rfc3339);
    Ok(Shown { about: format!("copy of {local}, written {time}"), cluster: config.cluster })
}

fn render_table(path: &Path) -> Result<String, Error> {
    read(path).map(|shown| table(&shown.cluster))
}

fn render_svg(path: &Path) -> Result<String, Error> {
    read(path).map(|shown| svg::draw(&shown.cluster, &shown.about))
}

/// The part of `gs_om -t status --detail` that the static config gives, with the same columns: up to the letter of the
/// configured role (OM `DbClusterInfo.queryClsInfo`).
#[must_use]
pub fn table(cluster: &Cluster) -> String {
    let longest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
    let servers = || cluster.data_nodes();
    let name = longest(&mut servers().map(|(n, _)| n.name.chars().count()));
    // OM measures the first path of each machine only; here the longest counts, so that columns stay columns.
    let path = longest(&mut servers().map(|(_, d)| d.data_dir.chars().count()));
    let addresses = servers().filter_map(|(_, d)| d.listen_addresses.first());
    // OM leaves room for an IPv4 address.
    let ip = longest(&mut addresses.map(|a| a.as_str().len())).max(15);
    let (node, node_ip, instance) = (name + 4, ip + 1, path + 9);
    let mut text =
        format!("{:<node$}{:<node_ip$}{:<10}{:<instance$}state\n", "    node", "node_ip", "port", "instance");
    text.extend(std::iter::repeat_n('-', node + node_ip + instance + 31));
    text.push('\n');
    for (n, d) in servers() {
        let address = d.listen_addresses.first().map_or("", ClusterAddress::as_str);
        // A String takes all that is written to it.
        let _ = writeln!(
            text,
            "{:<2} {:<name$} {address:<ip$} {:<10} {} {:<path$} {:>3}",
            n.id,
            n.name,
            d.port,
            d.id,
            d.data_dir,
            letter(d.role)
        );
    }
    text
}

/// OM's letter for a role.
fn letter(role: ConfiguredRole) -> char {
    match role {
        ConfiguredRole::Primary => 'P',
        ConfiguredRole::Standby => 'S',
        ConfiguredRole::DummyStandby => 'R',
        ConfiguredRole::CascadeStandby => 'C',
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn sample(name: &str) -> Cluster {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/cluster").join(name);
        read(&path).unwrap().cluster
    }

    /// What gs_om printed on real clusters of 2, 3 and 4 nodes and of 3 after a drop; `tests/vectors/om` has the tables.
    #[test]
    fn the_table_is_the_left_half_of_what_gs_om_prints() {
        for (file, nodes) in [
            ("status_detail", &[1, 2][..]),
            ("status_detail_3n", &[1, 2, 3]),
            ("status_detail_4n", &[1, 2, 3, 4]),
            ("status_detail_one_down", &[1, 2]),
            ("status_after_drop_og2", &[1, 3, 4]),
        ] {
            let path =
                Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/vectors/om/{file}.txt"));
            let theirs = std::fs::read_to_string(path).unwrap();
            let mut cluster = sample("seed_1p2s1c/cluster_static_config");
            cluster.nodes.retain(|n| nodes.contains(&n.id));
            for n in &mut cluster.nodes {
                n.name = format!("og{}", n.id);
                n.data_nodes[0].listen_addresses =
                    vec![ClusterAddress::from_verbatim(format!("10.56.0.{}", n.id))];
                if n.data_nodes[0].role == ConfiguredRole::CascadeStandby {
                    n.data_nodes[0].role = ConfiguredRole::Standby;
                }
            }
            let ours = table(&cluster);
            let theirs: Vec<&str> = theirs.lines().skip_while(|l| !l.contains("node_ip")).collect();
            assert_eq!(ours.lines().count(), theirs.len(), "{file}");
            for (i, (ours, theirs)) in ours.lines().zip(theirs).enumerate() {
                if i < 2 {
                    assert_eq!(ours, theirs, "{file}");
                } else {
                    assert!(theirs.starts_with(&format!("{ours} ")), "{file}:\n{ours}\n{theirs}");
                }
            }
        }
    }

    #[test]
    fn a_cascade_standby_is_a_c_and_columns_are_wide_enough() {
        let table = table(&sample("seed_1p2s1c/cluster_static_config"));
        assert_eq!(
            table.lines().last().unwrap(),
            "4  casstb.opengauss.com 192.168.0.14    26000      6004 /gauss/data/db1   C"
        );
        assert_eq!(table, super::table(&sample("seed_1p2s1c/cluster_config.xml")));
        let mut long = sample("one_primary_one_standby/cluster_static_config");
        long.nodes[0].data_nodes[0].listen_addresses =
            vec![ClusterAddress::from_verbatim("fd00:10:56:ffff:1234:5678:9abc:1")];
        let lines = super::table(&long);
        let ports: Vec<_> =
            lines.lines().filter_map(|l| l.find("port").or_else(|| l.find("26000"))).collect();
        assert_eq!(ports, [ports[0]; 3], "{lines}");
    }
}
