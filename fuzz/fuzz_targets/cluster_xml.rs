//! cluster_config.xml: a file that agrees with the cluster stays byte for byte; what is edited describes the wanted
//! cluster, and a second time changes nothing; a print_new file describes the cluster it was made of.
#![no_main]

use libfuzzer_sys::{arbitrary::Unstructured, fuzz_target};
use og_common::cluster::spec::{Edit, NodeSpec, compare_with, differences, edit, without_ids};
use og_common::cluster::static_config::{LAYOUT, PEER_SLOTS, StaticConfig};
use og_common::cluster::xml::{self, Document, Globals, print_new};
use og_common::cluster::{Cluster, ConfiguredRole};
use og_fuzz::cluster;

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_last() else { return };
    match mode % 4 {
        3 => drop(write(rest)),
        n => read(rest, n),
    }
});

fn read(bytes: &[u8], what: u8) {
    let Ok(text) = xml::decode_text(bytes) else { return };
    drop(xml::mask_values(text));
    let Ok(document) = Document::parse(text) else { return };
    assert_eq!(document.text(), text);
    let Ok(cluster) = document.cluster() else { return };
    cluster.check().expect("what is read passes the check");
    let config = StaticConfig { layout: LAYOUT, time: 0, local: 1, slots: PEER_SLOTS, cluster };
    let written = config.print().expect("a good cluster is written");
    assert_eq!(StaticConfig::parse(&written).expect("what is written can be read"), config);
    let cluster = config.cluster;
    match document.edit_text(&cluster) {
        Ok(same) => assert_eq!(same, text),
        Err(e) => panic!("the file disagrees with itself: {e}"),
    }
    changed(&document, &cluster, what);
}

/// Edits the file for a cluster that is a bit different.
fn changed(document: &Document, cluster: &Cluster, what: u8) {
    let standby =
        |n: &&og_common::cluster::ClusterNode| n.data_nodes.iter().all(|d| d.role != ConfiguredRole::Primary);
    let name = cluster.nodes.iter().rev().find(standby).map(|n| n.name.clone());
    let drop: Vec<String> = name.clone().into_iter().collect();
    let new = [NodeSpec {
        name: "new&<\"node".replace(['&', '<', '"'], ""),
        address: og_common::cluster::spec::Addresses::One("10.255.255.1".to_owned()),
        role: (what == 1).then_some(ConfiguredRole::CascadeStandby),
        ..NodeSpec::default()
    }];
    let wanted = edit(
        cluster,
        match what {
            0 => Edit { drop: &drop, ..Edit::default() },
            1 => Edit { add: &new, ..Edit::default() },
            _ => Edit { primary: name.as_deref(), ..Edit::default() },
        },
    );
    let Ok(wanted) = wanted else { return };
    let Ok(edited) = document.edit_text(&wanted) else { return };
    let again = Document::parse(&edited).expect("what is edited can be read");
    agrees(&again.cluster().expect("what is edited is a cluster"), &wanted);
    assert_eq!(again.edit_text(&wanted).expect("it agrees"), edited);
}

fn agrees(said: &Cluster, wanted: &Cluster) {
    let said = compare_with(&without_ids(said), wanted).expect("comparable");
    let found = differences(&said, wanted);
    assert!(found.is_empty(), "{found:?}");
}

fn write(data: &[u8]) -> libfuzzer_sys::arbitrary::Result<()> {
    let mut u = Unstructured::new(data);
    let cluster = cluster(&mut u)?;
    if cluster.check().is_err() {
        return Ok(());
    }
    let globals = Globals {
        name: "dbCluster".to_owned(),
        app_path: "/gauss/app".to_owned(),
        log_path: None,
        tmp_path: None,
        tool_path: None,
        core_path: None,
    };
    if let Ok(text) = print_new(&cluster, &globals) {
        let document = Document::parse(&text).expect("what is written can be read");
        agrees(&document.cluster().expect("what is written is a cluster"), &cluster);
        assert_eq!(document.edit_text(&cluster).expect("it agrees"), text);
        changed(&document, &cluster, 0);
    }
    Ok(())
}
