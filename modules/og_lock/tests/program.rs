//! The program, run as a user runs it.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

fn og_lock(args: &Value) -> Value {
    let mut child = Command::new(env!("CARGO_BIN_EXE_og_lock"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(args.to_string().as_bytes()).unwrap();
    serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn taken_renewed_refused_and_released() {
    let dir = tempfile::tempdir().unwrap();
    let call = |state: &str, owner: &str| {
        og_lock(&json!({"data_dir": dir.path(), "state": state, "owner": owner, "purpose": "test"}))
    };
    let checked = og_lock(&json!({"data_dir": dir.path(), "owner": "a", "check_mode": true}));
    assert_eq!((&checked["changed"], std::fs::read_dir(dir.path()).unwrap().count()), (&json!(true), 0));
    let taken = call("held", "a");
    assert_eq!(
        (&taken["changed"], &taken["lock"]["owner"], &taken["previous"]),
        (&json!(true), &json!("a"), &Value::Null)
    );
    let renewed = call("held", "a");
    assert_eq!((&renewed["changed"], &renewed["previous"]["purpose"]), (&json!(false), &json!("test")));
    let other = call("held", "b");
    assert_eq!((&other["failed"], &other["error"]["kind"]), (&json!(true), &json!("busy")));
    assert!(other["msg"].as_str().unwrap().contains("held by a"), "{other}");
    assert_eq!(call("query", "b")["lock"]["owner"], "a");
    assert_eq!(call("released", "a")["changed"], true);
    assert_eq!(call("released", "a")["changed"], false);
}
