//! cluster_config.xml.

use super::*;

#[test]
fn the_samples_xml_gives_the_samples_bytes() {
    for name in FOLDERS {
        let xml = text(&format!("{name}/cluster_config.xml"));
        let cluster = Document::parse(&xml).unwrap().cluster().unwrap_or_else(|e| panic!("{name}: {e}"));
        let config = StaticConfig { layout: LAYOUT, time: TIME, local: 1, slots: PEER_SLOTS, cluster };
        assert!(config.print().unwrap() == vector(&format!("{name}/cluster_static_config")), "{name}");
    }
}

#[test]
fn paths_in_the_xml_mean_what_they_mean_to_om() {
    let xml = text("seed_1p2s1c/cluster_config.xml");
    for path in ["//gauss/data/db1", "/gauss/./data//db1/", "/gauss/x/../data/db1", " /gauss/data/db1 "] {
        let xml = xml.replace("value=\"/gauss/data/db1,", &format!("value=\"{path},"));
        assert!(Document::parse(&xml).unwrap().cluster().unwrap() == sample("seed_1p2s1c").cluster, "{path}");
    }
}

pub(super) fn globals() -> Globals {
    Globals {
        name: "dbCluster".into(),
        app_path: "/gauss/app".into(),
        log_path: Some("/gauss/log".into()),
        tmp_path: Some("/gauss/tmp".into()),
        tool_path: Some("/gauss/om".into()),
        core_path: Some("/gauss/corefile".into()),
    }
}

#[test]
fn a_fresh_xml_is_the_one_the_sample_was_made_from() {
    for name in FOLDERS {
        let xml = print_new(&sample(name).cluster, &globals()).unwrap();
        assert_eq!(xml.trim_end(), text(&format!("{name}/cluster_config.xml")).trim_end(), "{name}");
    }
}

#[test]
fn an_xml_in_agreement_stays_byte_for_byte() {
    for name in FOLDERS {
        let xml = text(&format!("{name}/cluster_config.xml")).replace('\n', "\r\n") + "<!-- end -->";
        assert_eq!(Document::parse(&xml).unwrap().edit_text(&sample(name).cluster).unwrap(), xml);
    }
}

/// The lines that only one of two texts has.
fn changed_lines(before: &str, after: &str) -> (Vec<String>, Vec<String>) {
    let only = |a: &str, b: &str| {
        let b: Vec<_> = b.lines().collect();
        a.lines().filter(|l| !b.contains(l)).map(|l| l.trim().to_owned()).collect()
    };
    (only(before, after), only(after, before))
}

#[test]
fn a_drop_and_an_addition_change_their_own_lines_of_the_xml() {
    let xml = text("seed_1p2s1c/cluster_config.xml")
        .replace("    <DEVICELIST>", "    <!-- who: ask ops -->\n    <DEVICELIST>")
        .replace("192.168.0.11,192.168.0.12", "192.168.0.11, 192.168.0.12");
    let old = sample("seed_1p2s1c").cluster;
    let drop = ["stb1.opengauss.com".to_owned()];
    let add = [NodeSpec { zone: Some("AZ2".into()), ..spec("new", "192.168.0.20") }];
    let new = edit(&old, Edit { drop: &drop, add: &add, primary: None }).unwrap();
    let edited = Document::parse(&xml).unwrap().edit_text(&new).unwrap();
    insta::assert_snapshot!(edited);
    let back = Document::parse(&edited).unwrap().edit_text(&new).unwrap();
    assert_eq!(back, edited);
}

#[test]
fn the_primary_moves_in_the_xml() {
    let xml = text("seed_1p2s1c/cluster_config.xml");
    let old = sample("seed_1p2s1c").cluster;
    let drop = ["prod.opengauss.com".to_owned()];
    let new =
        edit(&old, Edit { drop: &drop, primary: Some("casstb.opengauss.com"), ..Edit::default() }).unwrap();
    let edited = Document::parse(&xml).unwrap().edit_text(&new).unwrap();
    let (gone, come) = changed_lines(&xml, &edited);
    assert!(gone.iter().any(|l| l.contains("name=\"cascadeRole\" value=\"on\"")), "{gone:?}");
    assert!(
        come.iter().any(|l| l
            == "<PARAM name=\"dataNode1\" value=\"/gauss/data/db1,stb1.opengauss.com,/gauss/data/db1,stb2.opengauss.com,/gauss/data/db1\"/>"),
        "{edited}"
    );
    let said = Document::parse(&edited).unwrap().cluster().unwrap();
    assert_eq!(said.primary().unwrap().name, "casstb.opengauss.com");
}

#[test]
fn a_node_comes_into_the_lists_of_cm() {
    let xml = text("with_cm_1p2s/cluster_config.xml");
    let old = sample("with_cm_1p2s").cluster;
    let add = [spec("node4", "10.0.0.4")];
    let drop = ["node2".to_owned()];
    let new = edit(&old, Edit { add: &add, drop: &drop, primary: None }).unwrap();
    let edited = Document::parse(&xml).unwrap().edit_text(&new).unwrap();
    assert!(edited.contains(r#"name="cmServerRelation" value="node1,node3,node4""#), "{edited}");
    assert!(edited.contains(r#"name="cmServerListenIp1" value="10.0.0.1,10.0.0.3,10.0.0.4""#), "{edited}");
}

#[test]
fn a_damaged_xml_is_refused_with_its_place_or_read_and_never_a_panic() {
    let good = text("seed_1p2s1c/cluster_config.xml");
    let whole = sample("seed_1p2s1c").cluster;
    let read = |text: &str| match Document::parse(text).and_then(|d| d.cluster()) {
        Ok(cluster) => assert!(cluster.with_linked_peers().check().is_ok()),
        Err(e) => assert!(e.failure().detail.starts_with("line "), "{e}\n{text}"),
    };
    let last = good.rfind("</ROOT>").unwrap();
    for end in 0..last {
        assert!(Document::parse(&good[..end]).is_err(), "{end}");
    }
    assert!(Document::parse(&good[..last + 7]).unwrap().cluster().unwrap() == whole);
    for at in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[at] ^= 1 << (at % 7);
        read(std::str::from_utf8(&bytes).unwrap());
    }
}

#[test]
fn an_xml_that_disagrees_is_refused() {
    let xml = text("seed_1p2s1c/cluster_config.xml").replace("26000", "26001");
    let error = Document::parse(&xml).unwrap().edit_text(&sample("seed_1p2s1c").cluster).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(
        error.failure().detail.contains("base_port of node prod.opengauss.com: 26001 there, 26000 here"),
        "{error}"
    );
    let error = Document::parse(&xml).unwrap().edit_text(&sample("with_cm_1p2s").cluster).unwrap_err();
    assert!(error.failure().detail.contains("another cluster"), "{error}");
}

/// What is replaced by what, OM's number for it, and words of ours.
const MISTAKES: &[(&str, &str, &str, &str)] = &[
    (
        "<PARAM name=\"dataPortBase\"",
        "<PARAM name=\"a\"/><PARAM name=\"dataPortBase\"",
        "GAUSS-51258",
        "OM knows no parameter \"a\"",
    ),
    (
        "<PARAM name=\"dataPortBase\"",
        "<PARAM name=\"cmDir\"/><PARAM name=\"dataPortBase\"",
        "GAUSS-51236",
        "the PARAM cmDir has no value",
    ),
    (
        "<PARAM name=\"dataPortBase\"",
        "<PARAM value=\"a\"/><PARAM name=\"dataPortBase\"",
        "GAUSS-51236",
        "a PARAM needs a name",
    ),
    ("<ROOT>", "<!DOCTYPE a><ROOT>", "GAUSS-51236", "line 2, column 1: <!DOCTYPE"),
    ("</CLUSTER>", "</CLUSTERS>", "GAUSS-51234", "line 12, column 5"),
    (
        "name=\"tmpMppdbPath\"",
        "name=\"tmpMppdbPaht\"",
        "GAUSS-51258",
        "line 8, column 9: OM knows no parameter",
    ),
    ("name=\"clusterName\"", "name=\"corePath\"", "GAUSS-50204", "CLUSTER has no clusterName"),
    ("value=\"/gauss/app\"", "value=\"gauss/app\"", "GAUSS-50213", "line 6, column 9: gaussdbAppPath"),
    ("value=\"/gauss/app\"", "value=\"/gauss app\"", "GAUSS-50219", "gaussdbAppPath"),
    (
        "value=\"192.168.0.11,192.168.0.12,",
        "value=\"192.168.0.11,192.168.0.99,",
        "GAUSS-50625",
        "line 11, column 9: backIp1s has 192.168.0.99 for node stb1",
    ),
    ("value=\"192.168.0.12\"", "value=\"192.168.0.256\"", "GAUSS-50603", "line 28, column 13: backIp1"),
    ("name=\"azName\"", "name=\"cascadeRole\"", "GAUSS-50204", "has no azName"),
    (
        "name=\"azPriority\" value=\"1\"",
        "name=\"azPriority\" value=\"0\"",
        "GAUSS-53206",
        "azPriority of DEVICE prod",
    ),
    ("value=\"26000\"", "value=\"80\"", "GAUSS-51233", "line 21, column 13: dataPortBase of node prod"),
    ("value=\"26000\"", "value=\"x\"", "GAUSS-50204", "dataPortBase is \"x\""),
    (
        "/gauss/data/db1,stb1.",
        "/gauss/data/db1,nobody.",
        "GAUSS-50204",
        "\"nobody.opengauss.com\", which is no node",
    ),
    (
        ",stb2.opengauss.com,casstb",
        ",prod.opengauss.com,casstb",
        "GAUSS-50204",
        "nodeNames has \"prod.opengauss.com\" twice",
    ),
    (
        "name=\"name\" value=\"stb2",
        "name=\"name\" value=\"stb9",
        "GAUSS-51236",
        "line 31, column 9: DEVICE \"stb9",
    ),
    (
        "<PARAM name=\"dataPortBase\"",
        "<PARAM name=\"dataNode1_syncNum\" value=\"4\"/><PARAM name=\"dataPortBase\"",
        "GAUSS-50204",
        "dataNode1_syncNum is 4, there are 3 standbys",
    ),
    (
        "<PARAM name=\"dataPortBase\"",
        "<PARAM name=\"dataNode1_syncNum\" value=\" \"/><PARAM name=\"dataPortBase\"",
        "GAUSS-50204",
        "dataNode1_syncNum is empty, it must be a number",
    ),
    (
        "<PARAM name=\"dataPortBase\"",
        "<PARAM name=\"cmDir\" value=\"/cm\"/><PARAM name=\"dataPortBase\"",
        "GAUSS-51230",
        "has no cmDir, others have",
    ),
    ("name=\"dataNum\" value=\"1\"", "name=\"dataNum\" value=\"2\"", "GAUSS-50204", "dataNum of node prod"),
    ("name=\"dataNum\" value=\"1\"", "name=\"dataNum\" value=\"-1\"", "GAUSS-51208", "dataNum of node prod"),
    (
        "name=\"dataNum\" value=\"1\"",
        "name=\"dataNum\" value=\"0\"",
        "GAUSS-51230",
        "no DEVICE has a dataNode1",
    ),
    (
        "name=\"backIp1\" value=\"192.168.0.12\"/>",
        "name=\"backIp1\" value=\"192.168.0.12\"/><PARAM name=\"name\" value=\"x\"/>",
        "GAUSS-51236",
        "the DEVICE has two names",
    ),
    (
        "<PARAM name=\"dataPortBase\"",
        "<PARAM name=\"sshPort\" value=\"ssh\"/><PARAM name=\"dataPortBase\"",
        "GAUSS-50204",
        "sshPort is \"ssh\"",
    ),
    (
        "value=\"AZ1\"",
        "value=\"A Z\"",
        "",
        "line 14, column 9: node prod.opengauss.com: zone \"A Z\" holds ' '",
    ),
    (
        "name=\"sshIp1\" value=\"192.168.0.12\"",
        "name=\"sshIp1\" value=\"fd00::1\"",
        "GAUSS-50624",
        "column 9: IPv4 and IPv6 are mixed",
    ),
];

#[test]
fn xml_errors_have_line_column_parameter_and_number() {
    let good = text("seed_1p2s1c/cluster_config.xml");
    for (from, to, code, words) in MISTAKES {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        let error = Document::parse(&bad).and_then(|d| d.cluster()).unwrap_err();
        assert_eq!(error.failure().gauss_code.as_deref().unwrap_or_default(), *code, "{error}");
        assert!(error.failure().detail.starts_with("line "), "{error}");
        assert!(error.failure().detail.contains(words), "{error}, not {words}");
    }
    let error = Document::parse("<ROOT><CLUSTER></CLUSTER>").unwrap_err();
    assert!(error.failure().detail.contains("<ROOT> is not closed"), "{error}");
    assert!(
        crate::cluster::xml::decode_text(b"<ROOT>\n\xff")
            .unwrap_err()
            .failure()
            .detail
            .contains("line 2, column 1")
    );
}

#[test]
fn parameters_that_older_releases_passed_over_are_told_and_kept() {
    let good = text("seed_1p2s1c/cluster_config.xml");
    let old = good.replacen("</CLUSTER>", "<PARAM name=\"gtmNum\" value=\"0\"/>\n</CLUSTER>", 1);
    let old =
        old.replacen("name=\"sshIp1\"", "name=\"sshIp2\" value=\"10.9.9.9\"/><PARAM name=\"sshIp1\"", 1);
    let document = Document::parse_any(&old).unwrap();
    let told: Vec<_> = document.unknown_params().iter().map(|error| error.failure().detail.clone()).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].contains("OM knows no parameter \"gtmNum\"") && told[1].contains("\"sshIp2\""),
        "{told:?}"
    );
    let cluster = document.cluster().unwrap();
    assert!(cluster == Document::parse(&good).unwrap().cluster().unwrap());
    assert_eq!(document.edit_text(&cluster).unwrap(), old);
    assert_eq!(Document::parse(&old).unwrap_err().failure().gauss_code.as_deref(), Some("GAUSS-51258"));
}
