//! cluster_static_config: what is read is printed to the same bytes; a cluster that passes the check is written, and
//! read back equal; its description gives the same cluster again.
#![no_main]

use libfuzzer_sys::{arbitrary::Unstructured, fuzz_target};
use og_common::cluster::spec::{build, describe, differences};
use og_common::cluster::static_config::StaticConfig;
use og_fuzz::{Layout, cluster, reseal};

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_last() else { return };
    match mode % 4 {
        0 => read(data),
        n @ (1 | 2) => {
            let slots = if n == 1 { 8 } else { 7 };
            let mut bytes = rest.to_vec();
            let layout = Layout { header: 28, count: 9756, data_node: 3868 + slots * 1420, tail: 1892 };
            reseal(&mut bytes, &layout);
            read(&bytes);
        }
        _ => drop(write(rest)),
    }
});

fn read(bytes: &[u8]) {
    let Ok(config) = StaticConfig::parse(bytes) else { return };
    assert!(config.print().expect("what is read can be written") == bytes, "other bytes");
    // Must end, whatever it says.
    let described = describe(&config.cluster);
    assert!(differences(&config.cluster, &config.cluster).is_empty());
    if config.cluster.check().is_ok() {
        let again = build(&described, None).expect("the description of a good cluster is good");
        let mut sorted = config.cluster.clone();
        sorted.nodes.sort_by_key(|n| n.id);
        assert_eq!(again, sorted.with_linked_peers());
    }
}

fn write(data: &[u8]) -> libfuzzer_sys::arbitrary::Result<()> {
    let mut u = Unstructured::new(data);
    let (time, local, seven) = (u.arbitrary()?, u.arbitrary()?, u.arbitrary()?);
    let cluster = cluster(&mut u)?;
    let good = cluster.check().is_ok();
    let slots = if seven { 7 } else { 8 };
    let config = StaticConfig { layout: 301, time, local, slots, cluster };
    match config.print() {
        Ok(bytes) if good => {
            let again = StaticConfig::parse(&bytes).expect("what is written can be read");
            let mut expected = config;
            // A file does not tell when no data node is in it or all eight places are taken.
            expected.slots = again.slots;
            assert_eq!(again, expected);
            read(&bytes);
        }
        Ok(bytes) => read(&bytes),
        Err(e) => assert!(!good, "a good cluster is not written: {e}"),
    }
    Ok(())
}
