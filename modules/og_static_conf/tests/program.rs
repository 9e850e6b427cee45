//! The program as a caller sees it.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

fn vector(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/cluster").join(name)
}

/// A GAUSSHOME with a folder bin.
struct GaussHome(tempfile::TempDir);

impl GaussHome {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(home.path("bin")).unwrap();
        home
    }

    /// With the static config of a sample.
    fn from_sample(sample: &str) -> Self {
        let home = Self::new();
        let bytes = std::fs::read(vector(sample).join("cluster_static_config")).unwrap();
        std::fs::write(home.file(), bytes).unwrap();
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self) -> PathBuf {
        self.path("bin/cluster_static_config")
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.file()).unwrap()
    }

    /// The files in bin with what is in them.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<_> = std::fs::read_dir(self.path("bin"))
            .unwrap()
            .map(|e| e.unwrap())
            .map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap()))
            .collect();
        files.sort();
        files
    }

    fn names(&self) -> Vec<String> {
        self.files().into_iter().map(|(name, _)| name).collect()
    }

    fn call(&self, args: Value) -> Value {
        let mut args = args;
        args["gauss_home"] = json!(self.0.path());
        call(&args)
    }

    /// A call that changes something: nothing in check mode, and nothing when it is made again.
    fn change(&self, args: &Value) -> Value {
        let mut checked = args.clone();
        checked["check_mode"] = json!(true);
        let before = self.files();
        let would = self.call(checked);
        assert_eq!(would["changed"], true, "{would}");
        assert!(before == self.files(), "check mode changes nothing");
        let done = self.call(args.clone());
        assert_eq!(done["changed"], true, "{done}");
        assert_eq!(done["actions"], would["actions"]);
        let again = self.call(args.clone());
        assert_eq!(again["changed"], false, "{again}");
        assert_eq!(again["actions"], json!([]));
        done
    }
}

fn call(args: &Value) -> Value {
    let mut child = Command::new(env!("CARGO_BIN_EXE_og_static_conf"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .env_remove("PGDATA")
        .env_remove("GAUSSHOME")
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(args.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    let bad = result["error"]["kind"] == "bad_args";
    let expected = if bad { 2 } else { i32::from(result["failed"] == true) };
    assert_eq!(output.status.code(), Some(expected), "{result}");
    result
}

/// All but the time and the header's checksum.
fn timeless(bytes: &[u8]) -> Vec<u8> {
    [&bytes[4..12], &bytes[20..]].concat()
}

#[test]
fn from_the_xml_comes_the_file_that_om_writes() {
    let home = GaussHome::new();
    let args = json!({"xml": vector("seed_1p2s1c/cluster_config.xml"), "local": "stb1.opengauss.com"});
    let result = home.change(&args);
    assert_eq!(result["local"], "stb1.opengauss.com");
    assert_eq!(result["added"].as_array().unwrap().len(), 4);
    let theirs = std::fs::read(vector("seed_1p2s1c/cluster_static_config.node2")).unwrap();
    assert!(timeless(&home.bytes()) == timeless(&theirs));
    let mode = std::fs::metadata(home.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o750);
    assert_eq!(home.names(), ["cluster_static_config"]);
}

#[test]
fn nodes_given_back_change_nothing() {
    for sample in ["seed_1p2s1c", "with_cm_1p2s", "one_primary_eight_standbys"] {
        let home = GaussHome::from_sample(sample);
        let before = home.bytes();
        let query = home.call(json!({"state": "query"}));
        assert_eq!(query["changed"], false);
        let again = home.call(json!({"nodes": query["nodes"]}));
        assert_eq!(again["changed"], false, "{again}");
        assert!(home.bytes() == before);
        let elsewhere = GaussHome::new();
        elsewhere.change(&json!({"nodes": query["nodes"], "local": "1"}));
        assert!(timeless(&elsewhere.bytes()) == timeless(&before));
    }
}

#[test]
fn a_drop_leaves_its_hole_and_the_same_bytes_as_om() {
    let home = GaussHome::from_sample("seed_1p2s1c");
    let result = home.change(&json!({"drop": "stb1.opengauss.com", "diff": true}));
    assert_eq!(result["dropped"], json!(["stb1.opengauss.com"]));
    let theirs = std::fs::read(vector("seed_1p2s1c/cluster_static_config.after_drop_stb1")).unwrap();
    assert!(timeless(&home.bytes()) == timeless(&theirs));
    assert!(result["diff"][0]["before"].as_str().unwrap().contains("dn_6002"));
    assert!(!result["diff"][0]["after"].as_str().unwrap().contains("dn_6002"));
    let result = home.call(json!({"drop": "stb2.opengauss.com", "backup": true}));
    assert!(Path::new(result["backup_file"].as_str().unwrap()).exists());
}

#[test]
fn the_live_roles_go_beside_the_file() {
    let home = GaussHome::from_sample("seed_1p2s1c");
    let roles = json!({"prod.opengauss.com": "primary", "stb1.opengauss.com": "standby",
        "stb2.opengauss.com": "standby", "casstb.opengauss.com": "cascade_standby"});
    let result = home.change(&json!({"roles": roles}));
    assert_eq!(result["actions"].as_array().unwrap().len(), 2, "the static config stays: {result}");
    let dynamic = std::fs::read(home.path("bin/cluster_dynamic_config")).unwrap();
    let theirs = std::fs::read(vector("seed_1p2s1c/cluster_dynamic_config")).unwrap();
    assert!(timeless(&dynamic) == timeless(&theirs));
    assert_eq!(
        std::fs::read_to_string(home.path("bin/cluster_dnrole_config")).unwrap(),
        "prod.opengauss.com=0\nstb1.opengauss.com=1\nstb2.opengauss.com=1\ncasstb.opengauss.com=3\n"
    );
    let query = home.call(json!({"state": "query"}));
    assert_eq!(query["roles"]["dn_6004"], "cascade_standby");

    let dropped = home.call(json!({"drop": ["stb1.opengauss.com"]}));
    assert!(dropped["warnings"][0].as_str().unwrap().contains("gs_om -t start fails"), "{dropped}");
    home.change(&json!({"dynamic": "remove"}));
    assert_eq!(home.names(), ["cluster_static_config"]);

    let none = home.call(json!({"roles": {"prod.opengauss.com": "standby"}}));
    assert_eq!(none["error"]["kind"], "refused");
    assert_eq!(none["error"]["gauss_code"], "GAUSS-51230");
    let stranger = home.call(json!({"roles": {"stb1.opengauss.com": "primary"}}));
    assert_eq!(stranger["error"]["kind"], "bad_args");
    assert_eq!(home.names(), ["cluster_static_config"]);
}

#[test]
fn the_record_of_roles_that_cm_keeps_is_never_touched() {
    let roles = json!({"roles": {"prod.opengauss.com": "primary"}});
    let of_cm = std::fs::read(vector("../cm/cluster_dynamic_config")).unwrap();
    for (sample, bytes) in [
        ("with_cm_1p2s", None),
        ("with_cm_1p2s", Some(of_cm.as_slice())),
        // The static config may have been written anew without CM.
        ("seed_1p2s1c", Some(of_cm.as_slice())),
    ] {
        let home = GaussHome::from_sample(sample);
        if let Some(bytes) = bytes {
            std::fs::write(home.path("bin/cluster_dynamic_config"), bytes).unwrap();
        }
        let before = home.files();
        let mut asked = vec![roles.clone(), json!({"state": "absent"})];
        asked.extend(bytes.map(|_| json!({"dynamic": "remove"})));
        for args in asked {
            let result = home.call(args.clone());
            assert_eq!(result["error"]["kind"], "refused", "{sample} {args} {result}");
            assert_eq!(result["error"]["reason"], "managed_by_cm", "{sample} {args} {result}");
            assert_eq!(home.files(), before, "{sample} {args}");
        }
        if bytes.is_some() {
            let query = home.call(json!({"state": "query"}));
            assert!(query["warnings"][0].as_str().unwrap().contains("CM's own record"), "{query}");
        }
    }
}

#[test]
fn a_record_of_roles_that_cannot_be_read_is_not_overwritten() {
    let home = GaussHome::from_sample("seed_1p2s1c");
    std::fs::write(home.path("bin/cluster_dynamic_config"), "somebody's notes").unwrap();
    let before = home.files();
    let result = home.call(json!({"roles": {"prod.opengauss.com": "primary"}}));
    assert_eq!(result["error"]["kind"], "corrupt", "{result}");
    assert!(result["error"]["path"].as_str().unwrap().ends_with("bin/cluster_dynamic_config"));
    assert_eq!(home.files(), before);
    home.change(&json!({"dynamic": "remove"}));
    assert_eq!(home.names(), ["cluster_static_config"]);
}

#[test]
fn an_addition_goes_into_the_xml_and_to_every_copy() {
    let home = GaussHome::from_sample("seed_1p2s1c");
    let xml = home.path("cluster_config.xml");
    let text = std::fs::read_to_string(vector("seed_1p2s1c/cluster_config.xml")).unwrap();
    std::fs::write(&xml, text.replace("<CLUSTER>", "<CLUSTER><!-- mind the gap -->")).unwrap();
    let copies = home.path("copies");
    std::fs::create_dir(&copies).unwrap();
    let result = home.change(&json!({
        "add": [{"name": "stb3", "address": "192.168.0.15", "zone": "AZ2"}],
        "write_xml": xml, "for_all": copies,
    }));
    assert_eq!(result["added"], json!(["stb3"]));
    assert_eq!(result["nodes"][4]["instance_id"], 6005);
    assert_eq!(result["copies"].as_array().unwrap().len(), 5);
    let written = std::fs::read_to_string(&xml).unwrap();
    assert!(written.contains("<!-- mind the gap -->") && written.contains("casstb.opengauss.com,stb3"));
    let verify = |what: Value| home.call(json!({"state": "query", "verify": what}));
    assert_eq!(verify(json!({"xml": xml}))["differences"], json!([]));
    let old = verify(json!({"xml": vector("seed_1p2s1c/cluster_config.xml")}));
    let missing: Vec<_> =
        old["differences"].as_array().unwrap().iter().filter(|d| d["node"] == "stb3").collect();
    assert_eq!(missing, [&json!({"node": "stb3", "field": "node", "here": "stb3", "there": null})]);
    let copy = copies.join("cluster_static_config_stb3");
    assert_eq!(call(&json!({"state": "query", "path": copy}))["local"], "stb3");
    assert_eq!(verify(json!({"path": copy}))["differences"], json!([]));
}

#[test]
fn every_server_is_named_and_files_of_older_tools_differ_in_their_room() {
    let home = GaussHome::from_sample("seed_1p2s1c");
    let query =
        home.call(json!({"state": "query", "verify": {"path": vector("old_om/v2.1.0/seed_1p2s1c.bin")}}));
    assert_eq!(query["differences"], json!([{"node": "", "field": "peer_slots", "here": 8, "there": 7}]));
    let result = home.call(json!({"drop": ["stb1.opengauss.com"]}));
    let names: Vec<_> = result["instances"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| (&i["name"], &i["node"], &i["role"]))
        .collect();
    assert_eq!(
        names,
        [
            (&json!("dn_6001"), &json!("prod.opengauss.com"), &json!("primary")),
            (&json!("dn_6003"), &json!("stb2.opengauss.com"), &json!("standby")),
            (&json!("dn_6004"), &json!("casstb.opengauss.com"), &json!("cascade_standby")),
        ]
    );
}

#[test]
fn a_folder_that_is_not_there_is_said_before_anything_is_written() {
    let home = GaussHome::from_sample("seed_1p2s1c");
    let before = home.bytes();
    let missing = home.path("nowhere");
    for check in [true, false] {
        for args in [
            json!({"drop": ["4"], "for_all": missing, "check_mode": check}),
            json!({"drop": ["4"], "write_xml": missing.join("cluster_config.xml"), "cluster": {"app_path": "/a"}, "check_mode": check}),
        ] {
            let result = home.call(args);
            assert_eq!(result["error"]["kind"], "not_found", "{result}");
            assert!(result["msg"].as_str().unwrap().contains("nowhere is not there"), "{result}");
        }
    }
    assert!(home.bytes() == before);
}

#[test]
fn a_controller_without_opengauss_makes_copies_alone() {
    let folder = tempfile::tempdir().unwrap();
    let args = json!({"xml": vector("one_primary_one_standby/cluster_config.xml"), "for_all": folder.path(),
        "env_file": "/dev/null"});
    let result = call(&args);
    assert_eq!(result["changed"], true, "{result}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    assert_eq!(call(&args)["changed"], false);
}

#[test]
fn one_clear_error_and_the_old_file_untouched() {
    let home = GaussHome::from_sample("seed_1p2s1c");
    let before = home.bytes();
    let new = |name: &str, address: &str| json!([{"name": name, "address": address}]);
    let foreign = home.path("foreign.xml");
    std::fs::copy(vector("with_cm_1p2s/cluster_config.xml"), &foreign).unwrap();
    let own = std::fs::read_to_string(vector("seed_1p2s1c/cluster_config.xml")).unwrap();
    let put = |name: &str, text: String| {
        std::fs::write(home.path(name), &text).unwrap();
        (home.path(name), text)
    };
    let (typed, typed_text) = put("typed.xml", own.replace("<ROOT>", "<!DOCTYPE r []>\n<ROOT>"));
    let (other, other_text) = put("other.xml", own.replace("26000", "26001"));
    let cases = [
        (json!({}), "bad_args", "nothing is asked for"),
        (json!({"nodes": [], "xml": "/x"}), "bad_args", "xml"),
        (json!({"state": "query", "drop": ["1"]}), "bad_args", "drop"),
        (json!({"xml": "config.xml"}), "bad_args", "absolute"),
        (json!({"xml": "/nowhere/config.xml"}), "not_found", "/nowhere/config.xml"),
        (json!({"drop": ["1"]}), "refused", "is the primary and cannot be dropped"),
        (json!({"drop": ["1", "2", "3", "4"]}), "refused", "the last node cannot be dropped"),
        (
            json!({"add": [{"name": "n5", "address": "10.0.0.5"}, {"name": "n5", "address": "10.0.0.6"}]}),
            "bad_args",
            "n5 is listed twice",
        ),
        (json!({"xml": foreign}), "refused", "the file is of another cluster"),
        (json!({"xml": typed}), "corrupt", "typed.xml: line 2, column 1: <!DOCTYPE is not allowed"),
        (
            json!({"drop": ["4"], "write_xml": typed}),
            "corrupt",
            "typed.xml: line 2, column 1: <!DOCTYPE is not allowed",
        ),
        (
            json!({"drop": ["4"], "write_xml": other}),
            "refused",
            "disagree on base_port of node prod.opengauss.com: 26001 there, 26000 here",
        ),
        (json!({"drop": ["1"], "add": new("1", "10.0.0.1")}), "bad_args", "in add and in drop"),
        (json!({"primary": "nobody"}), "not_found", "node nobody is not in the file"),
        (json!({"local": "nobody"}), "bad_args", "local is nobody, which is none"),
        (json!({"add": new("n5", "192.168.0.12")}), "refused", "both have the address 192.168.0.12"),
        (json!({"add": new("n5", "db5")}), "refused", "is not an IP address"),
        (
            json!({"nodes": [{"name": "x", "address": "10.0.0.1", "data_dir": "/d"}]}),
            "refused",
            "another cluster",
        ),
        (json!({"add": [{"name": "n5", "adress": "10.0.0.1"}]}), "bad_args", "did you mean"),
        (json!({"add": new("n5", "192.168.0.15"), "write_xml": foreign}), "refused", "is of another cluster"),
    ];
    for (args, kind, words) in cases {
        let result = home.call(args.clone());
        assert_eq!(result["error"]["kind"], kind, "{args}: {result}");
        assert_eq!(result["changed"], false);
        assert!(result["msg"].as_str().unwrap().contains(words), "{args}: {result}");
    }
    assert!(home.bytes() == before);
    assert_eq!(home.names(), ["cluster_static_config"]);
    for (path, text) in [(typed, typed_text), (other, other_text)] {
        assert_eq!(std::fs::read_to_string(path).unwrap(), text);
    }
    // It cannot be another node's copy by accident: this machine is none of the nodes, and the copy's own node is gone.
    let mut strange = before;
    strange[24] = 9;
    let crc = crc32fast::hash(&strange[4..28]).to_le_bytes();
    strange[..4].copy_from_slice(&crc);
    std::fs::write(home.file(), &strange).unwrap();
    let query = home.call(json!({"state": "query"}));
    assert!(query["warnings"][0].as_str().unwrap().contains("node with id 9, which is not in it"), "{query}");
    let result = home.call(json!({"drop": ["4"]}));
    assert!(result["msg"].as_str().unwrap().contains("local is not given"), "{result}");
    assert!(home.bytes() == strange);
}

#[test]
fn a_link_in_the_xml_is_followed_as_om_does_and_stays_in_the_xml() {
    let home = GaussHome::new();
    let at = |name: &str| home.path(name).canonicalize().unwrap();
    std::fs::create_dir(home.path("disk")).unwrap();
    std::os::unix::fs::symlink(at("disk"), home.path("data")).unwrap();
    let link = at("").join("data/db1");
    let text = std::fs::read_to_string(vector("one_primary_one_standby/cluster_config.xml")).unwrap();
    let text = text.replace("/gauss/data/db1", link.to_str().unwrap());
    let xml = home.path("cluster_config.xml");
    std::fs::write(&xml, &text).unwrap();
    let result = home.change(&json!({"xml": xml, "local": "1", "write_xml": xml}));
    for node in result["nodes"].as_array().unwrap() {
        assert_eq!(node["data_dir"], json!(at("disk").join("db1")));
    }
    assert_eq!(std::fs::read_to_string(&xml).unwrap(), text);
    let verify = |home: &GaussHome| {
        home.call(json!({"state": "query", "verify": {"xml": xml}}))["differences"].clone()
    };
    assert_eq!(verify(&home), json!([]));
    home.change(&json!({"drop": ["2"], "write_xml": xml}));
    let text = std::fs::read_to_string(&xml).unwrap();
    assert!(text.contains(&format!("name=\"dataNode1\" value=\"{}\"", link.display())), "{text}");
    assert_eq!(verify(&home), json!([]));
    // What a static config has as it is written stays.
    let other = GaussHome::new();
    let node = json!([{"name": "prod.opengauss.com", "address": "192.168.0.11", "data_dir": link, "base_port": 26000}]);
    other.change(&json!({"nodes": node, "local": "1"}));
    assert_eq!(other.call(json!({"xml": xml, "write_xml": xml}))["changed"], false);
    assert_eq!(verify(&other), json!([]));
}

#[test]
fn a_damaged_file_is_named_and_never_rewritten() {
    let home = GaussHome::from_sample("one_primary_one_standby");
    let mut bytes = home.bytes();
    bytes[50000] ^= 1;
    std::fs::write(home.file(), &bytes).unwrap();
    let nodes = json!([{"name": "prod.opengauss.com", "address": "192.168.0.11", "data_dir": "/d"}]);
    for args in [json!({"state": "query"}), json!({"nodes": nodes}), json!({"drop": ["2"]})] {
        let result = home.call(args);
        assert_eq!(result["error"]["kind"], "corrupt", "{result}");
        let msg = result["msg"].as_str().unwrap();
        assert!(
            msg.contains("cluster_static_config") && msg.contains("checksum of node 2's record"),
            "{msg}"
        );
    }
    assert!(home.bytes() == bytes);
}

#[test]
fn what_is_not_there_is_said_and_no_error_for_a_query() {
    let home = GaussHome::new();
    let result = home.call(json!({"state": "query"}));
    assert_eq!((&result["exists"], &result["failed"]), (&json!(false), &json!(false)));
    assert_eq!(home.call(json!({"drop": ["x"]}))["error"]["kind"], "not_found");
    let verify = home.call(json!({"state": "query", "verify": {"path": "/x"}}));
    assert_eq!(verify["error"]["kind"], "not_found");
}

/// A primary here and a standby elsewhere, each with its data directory below this folder.
fn two_nodes(home: &GaussHome) -> Value {
    let data_dir = |name: &str| home.path(name).display().to_string();
    let nodes = json!([
        {"name": "node1", "address": "203.0.113.1", "data_dir": data_dir("dn1"), "role": "primary"},
        {"name": "node2", "address": "203.0.113.2", "data_dir": data_dir("dn2")},
    ]);
    json!({"nodes": nodes, "local": "node1"})
}

#[test]
fn the_files_of_a_node_go_and_nothing_else() {
    let home = GaussHome::new();
    home.change(&two_nodes(&home));
    home.change(&json!({"roles": {"node1": "primary", "node2": "standby"}}));
    std::fs::write(home.path("bin/gaussdb"), "program").unwrap();
    let drawn = home.call(json!({"state": "absent", "check_mode": true, "diff": true}));
    assert!(drawn["diff"][2]["before"].as_str().unwrap().contains("local node1"), "{drawn}");
    let gone = home.change(&json!({"state": "absent", "local": "1"}));
    assert_eq!(gone["actions"].as_array().unwrap().len(), 3, "{gone}");
    // The last: of what is left a second call could not tell whose it is.
    assert!(gone["actions"][2].as_str().unwrap().ends_with("cluster_static_config"), "{gone}");
    assert_eq!((&gone["exists"], &gone["local"]), (&json!(false), &json!("node1")));
    assert_eq!(gone["nodes"][1]["name"], "node2");
    assert_eq!(home.names(), ["gaussdb"]);
    let nowhere = call(&json!({"state": "absent", "path": home.path("none/cluster_static_config")}));
    assert_eq!((&nowhere["changed"], &nowhere["failed"]), (&json!(false), &json!(false)), "{nowhere}");
}

#[test]
fn files_that_another_node_needs_stay() {
    let home = GaussHome::new();
    let refused = |args: Value| {
        let before = home.files();
        let result = home.call(args);
        assert_eq!(result["error"]["kind"], "refused", "{result}");
        assert!(home.files() == before);
        result["msg"].as_str().unwrap().to_owned()
    };
    home.change(&two_nodes(&home));
    let told = refused(json!({"state": "absent", "local": "node2"}));
    assert!(told.contains("is the copy for node1, not for node2"), "{told}");
    refused(json!({"state": "absent", "local": "node3"}));
    // The other node's data directory is another machine's, whatever there is here of that name.
    for name in ["dn1", "dn2"] {
        std::fs::create_dir(home.path(name)).unwrap();
        std::fs::write(home.path(name).join("PG_VERSION"), "9.2").unwrap();
    }
    for own in [json!({}), json!({"data_dir": home.path("dn2")})] {
        let mut args = json!({"state": "absent"});
        args.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        let told = refused(args);
        assert!(told.contains("is also for the database in") && told.contains("dn1"), "{told}");
    }
    home.change(&json!({"state": "absent", "data_dir": home.path("dn1")}));
}

#[test]
fn a_query_reads_a_cluster_config_xml_too() {
    for cluster in ["seed_1p2s1c", "one_primary_eight_standbys", "with_cm_1p2s"] {
        let query =
            |file: &str| call(&json!({"state": "query", "path": vector(&format!("{cluster}/{file}"))}));
        let (xml, config) = (query("cluster_config.xml"), query("cluster_static_config"));
        assert_eq!((&xml["nodes"], &xml["primary"]), (&config["nodes"], &config["primary"]), "{cluster}");
        assert_eq!((&xml["exists"], xml.get("local")), (&json!(true), None));
    }
}

#[test]
fn a_link_stays_and_a_mode_stays() {
    let home = GaussHome::new();
    let real = home.path("real_config");
    std::fs::copy(vector("seed_1p2s1c/cluster_static_config"), &real).unwrap();
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink(&real, home.file()).unwrap();
    home.call(json!({"drop": ["stb2.opengauss.com"]}));
    assert!(home.file().is_symlink());
    assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o7777, 0o640);
    let query = call(&json!({"state": "query", "path": real}));
    assert_eq!(query["nodes"].as_array().unwrap().len(), 3);
}

#[test]
fn old_tools_files_keep_their_room_for_peers() {
    let home = GaussHome::new();
    std::fs::copy(vector("old_om/v2.1.0/seed_1p2s1c.bin"), home.file()).unwrap();
    let result = home.change(&json!({"drop": ["stb1.opengauss.com"]}));
    assert_eq!(result["peer_slots"], 7);
}

#[test]
fn the_views_print_a_table_or_a_picture_and_errors_on_standard_error() {
    let view = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_og_static_conf")).args(args).stdin(Stdio::null()).output().unwrap()
    };
    let file = vector("seed_1p2s1c/cluster_static_config");
    let file = file.to_str().unwrap();
    let table = view(&["--table", file]);
    assert!(table.status.success() && table.stderr.is_empty());
    assert_eq!(String::from_utf8(table.stdout).unwrap().lines().count(), 6);
    let svg = String::from_utf8(view(&["--svg", file]).stdout).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");

    let home = GaussHome::new();
    std::fs::write(home.file(), b"no static config at all, but long enough to have a header").unwrap();
    let bad = view(&["--table", home.file().to_str().unwrap()]);
    assert_eq!((bad.status.code(), bad.stdout.as_slice()), (Some(1), &b""[..]));
    let words = String::from_utf8(bad.stderr).unwrap();
    assert!(words.contains(home.file().to_str().unwrap()) && words.contains("checksum"), "{words}");
    for both in [&["--table", file, "--svg", file][..], &["--table", file, "--check"]] {
        assert_eq!(view(both).status.code(), Some(2), "{both:?}");
    }
}
