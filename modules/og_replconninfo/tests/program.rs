//! The program as a caller sees it, on a node whose server does not run.
#![allow(clippy::unwrap_used)]

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

struct TestNode(tempfile::TempDir);

impl TestNode {
    fn new(conf: &str) -> Self {
        let node = Self(tempfile::tempdir().unwrap());
        std::fs::write(node.0.path().join("postgresql.conf"), conf).unwrap();
        node
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.0.path().join("postgresql.conf")).unwrap()
    }

    fn call(&self, mut args: Value) -> Value {
        args["data_dir"] = json!(self.0.path());
        let mut child = Command::new(env!("CARGO_BIN_EXE_og_replconninfo"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
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
}

const CONF: &str = "#replconninfo1 = ''\t\t# who to connect to\n\t\t\t# e.g. …\nport = 26000\n";

fn wanted() -> Value {
    json!({
        "local": {"host": "127.0.0.1", "base_port": 26000},
        "peers": [{"host": "10.0.0.2", "base_port": 26000}, {"host": "fe80::3", "base_port": "26000", "cascade": "yes"}],
    })
}

#[test]
fn writes_reads_and_clears() {
    let node = TestNode::new(CONF);
    let result = node.call(wanted());
    assert_eq!(result["changed"], true, "{result}");
    assert_eq!(
        node.text(),
        "#replconninfo1 = ''\t\t# who to connect to\n\t\t\t# e.g. …\n\
         replconninfo1 = 'localhost=127.0.0.1 localport=26001 localheartbeatport=26005 localservice=26004 \
         remotehost=10.0.0.2 remoteport=26001 remoteheartbeatport=26005 remoteservice=26004'\n\
         port = 26000\n\
         replconninfo2 = 'localhost=127.0.0.1 localport=26001 localheartbeatport=26005 localservice=26004 \
         remotehost=fe80::3 remoteport=26001 remoteheartbeatport=26005 remoteservice=26004 iscascade=true'\n"
    );
    assert_eq!(node.call(wanted())["changed"], false);

    let query = node.call(json!({"state": "query"}));
    assert_eq!(query["channels"], result["channels"]);
    insta::assert_json_snapshot!(query["channels"][1], @r#"
    {
      "number": 2,
      "local": {
        "host": "127.0.0.1",
        "port": 26001,
        "heartbeat_port": 26005,
        "service_port": 26004
      },
      "remote": {
        "host": "fe80::3",
        "port": 26001,
        "heartbeat_port": 26005,
        "service_port": 26004
      },
      "cascade": true,
      "cross_region": false
    }
    "#);

    let gone = node.call(json!({"state": "absent", "peers": [{"host": "10.0.0.2"}]}));
    assert_eq!((&gone["removed"], &gone["updated"]), (&json!([2]), &json!([1])));
    assert_eq!(gone["channels"][0]["remote"]["host"], "fe80::3");
    let cleared = node.call(json!({"peers": []}));
    assert_eq!((&cleared["removed"], &cleared["channels"]), (&json!([1]), &json!([])));
    // A commented line is left of each, which a standby keeps when it takes over its primary's file.
    assert!(node.text().starts_with(&CONF[..CONF.len() - "port = 26000\n".len()]));
    assert!(node.text().contains("\n#replconninfo2 = "));
}

#[test]
fn check_mode_says_the_same_and_writes_nothing() {
    let node = TestNode::new(CONF);
    let mut args = wanted();
    args["diff"] = json!(true);
    args["check_mode"] = json!(true);
    let said = node.call(args.clone());
    assert_eq!(node.text(), CONF);
    args["check_mode"] = json!(false);
    let done = node.call(args);
    for key in ["changed", "actions", "diff", "channels", "added"] {
        assert_eq!(said[key], done[key], "{key}");
    }
}

#[test]
fn refuses_before_anything_is_written() {
    let node = TestNode::new(CONF);
    let mut foreign = wanted();
    // Set aside for documents (RFC 5737): nobody's.
    foreign["local"]["host"] = json!("192.0.2.77");
    let result = node.call(foreign);
    assert_eq!(
        (&result["error"]["kind"], &result["error"]["path"]),
        (&json!("refused"), &json!("/local/host"))
    );
    let peers: Vec<_> = (1..10).map(|n| json!({"host": format!("10.0.0.{n}"), "port": 1})).collect();
    let result = node.call(json!({"local": {"host": "127.0.0.1", "port": 1}, "peers": peers}));
    assert_eq!(result["error"]["kind"], "refused");
    for args in [json!({}), json!({"state": "present", "peers": []}), json!({"state": "absent"})] {
        assert_eq!(node.call(args)["error"]["kind"], "bad_args");
    }
    assert_eq!(node.text(), CONF);
}

#[test]
fn query_tells_what_would_not_start() {
    let node = TestNode::new(
        "replconninfo2 = 'hello'\nreplconninfo3 = 'localhost=192.0.2.77 localport=1 remotehost=a remoteport=1'\n",
    );
    let result = node.call(json!({"state": "query"}));
    let warnings = result["warnings"].to_string();
    for words in ["'hello' is no channel", "192.0.2.77 is no address", "replconninfo1 is empty"] {
        assert!(warnings.contains(words), "{warnings}");
    }
}

#[test]
fn query_tells_whether_the_local_host_is_this_machine() {
    let node = TestNode::new(CONF);
    let told = |host: &str| node.call(json!({"state": "query", "local": {"host": host}}))["local"].clone();
    assert_eq!(told("127.0.0.1"), json!({"host": "127.0.0.1", "is_here": true}));
    let other = told("192.0.2.77");
    assert_eq!(
        (&other["is_here"], &other["problem"]),
        (&json!(false), &json!("192.0.2.77 is no address of this machine"))
    );
    assert_eq!(told("nobody.invalid")["is_here"], false);
    assert_eq!(node.call(json!({"state": "query"})).get("local"), None);
}

/// A server that gs_ctl never ends to reload.
#[test]
fn a_call_that_ends_in_the_reload_says_what_it_wrote() {
    let node = TestNode::new(CONF);
    let (data, home) = (node.0.path(), tempfile::tempdir().unwrap());
    let bin = home.path().join("bin");
    // Written by a child, as this process forks in other tests meanwhile ("text file busy").
    let script = r#"mkdir "$1"; printf '#!/bin/sh\n[ "$1" = reload ] && exec sleep 100\nexit 1\n' > "$1/gs_ctl"; chmod 755 "$1/gs_ctl""#;
    assert!(Command::new("/bin/sh").args(["-c", script, "sh"]).arg(&bin).status().unwrap().success());
    let mut server = Command::new("sleep").arg("600").current_dir(data).spawn().unwrap();
    let text = format!("{}\n{}\n1\n5432\n/tmp\n\n1 1\n", server.id(), data.display());
    std::fs::write(data.join("postmaster.pid"), text).unwrap();
    let mut args = wanted();
    args["gauss_home"] = json!(home.path());
    args["timeout"] = json!(1);
    let result = node.call(args);
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!((&result["error"]["kind"], &result["changed"]), (&json!("timeout"), &json!(true)), "{result}");
    // What a workflow reads that takes it back.
    assert_eq!(
        (&result["added"], &result["channels"][1]["remote"]["host"]),
        (&json!([1, 2]), &json!("fe80::3"))
    );
}
