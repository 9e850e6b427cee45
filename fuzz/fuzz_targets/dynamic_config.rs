//! cluster_dynamic_config and cluster_dnrole_config: what is read is printed to the same bytes, what is written is read
//! back equal, and a file made of live roles holds them.
#![no_main]

use libfuzzer_sys::{arbitrary::Unstructured, fuzz_target};
use og_common::cluster::ConfiguredRole;
use og_common::cluster::dynamic_config::{DynamicConfig, Roles, parse_dnrole, print_dnrole};
use og_fuzz::{Layout, cluster, reseal};

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_last() else { return };
    match mode % 4 {
        0 => read(data),
        1 => {
            let mut bytes = rest.to_vec();
            reseal(&mut bytes, &Layout { header: 24, count: 72, data_node: 1036, tail: 8 });
            read(&bytes);
        }
        2 => drop(write(rest)),
        _ => dnrole(rest),
    }
});

fn read(bytes: &[u8]) {
    if let Ok(config) = DynamicConfig::parse(bytes) {
        assert!(config.print().expect("what is read can be written") == bytes, "other bytes");
    }
}

fn write(data: &[u8]) -> libfuzzer_sys::arbitrary::Result<()> {
    let mut u = Unstructured::new(data);
    let time = u.arbitrary()?;
    let mut roles = Roles::new();
    for _ in 0..u.int_in_range(0..=6)? {
        let role = *u.choose(&[
            ConfiguredRole::Primary,
            ConfiguredRole::Standby,
            ConfiguredRole::Standby,
            ConfiguredRole::CascadeStandby,
        ])?;
        roles.insert(6001 + 10 * u.int_in_range(0..=6)?, role);
    }
    let cluster = cluster(&mut u)?;
    let Ok(config) = DynamicConfig::new(&cluster, &roles, time) else { return Ok(()) };
    assert!(config.fits(&cluster));
    if let Ok(bytes) = config.print() {
        assert_eq!(DynamicConfig::parse(&bytes).expect("what is written can be read"), config);
    } else {
        assert!(cluster.check().is_err(), "a good cluster is not written");
    }
    if cluster.check().is_ok() {
        let text = print_dnrole(&cluster, &roles).expect("one primary");
        let expected: Vec<_> =
            cluster.data_nodes().map(|(n, d)| (n.name.clone(), roles.get(&d.id).copied())).collect();
        assert_eq!(parse_dnrole(&text).expect("what is written can be read"), expected);
    }
    Ok(())
}

fn dnrole(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(lines) = parse_dnrole(text) else { return };
    assert_eq!(lines.len(), text.lines().count());
}
