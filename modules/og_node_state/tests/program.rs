//! The built program, with a gs_ctl of a few lines of shell.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// A node with something that lives in its data directory as a server does.
struct Node {
    home: tempfile::TempDir,
    server: Child,
}

impl Node {
    fn new(gs_ctl: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        std::fs::create_dir_all(home.path().join("bin")).unwrap();
        std::fs::create_dir_all(&data).unwrap();
        let program = home.path().join("bin/gs_ctl");
        std::fs::write(&program, format!("#!/bin/sh\n{gs_ctl}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let server = Command::new("sleep").arg("600").current_dir(&data).spawn().unwrap();
        let text = format!("{}\n{}\n1\n5432\n/tmp\n\n1 1\n", server.id(), data.display());
        std::fs::write(data.join("postmaster.pid"), text).unwrap();
        Self { home, server }
    }

    fn call(&self, mut args: Value) -> Value {
        args["data_dir"] = json!(self.home.path().join("data"));
        args["gauss_home"] = json!(self.home.path());
        let mut child = Command::new(env!("CARGO_BIN_EXE_og_node_state"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(args.to_string().as_bytes()).unwrap();
        serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

/// Understands `gs_ctl query` and `gs_ctl stop`; a start never ends.
const GS_CTL: &str = r#"pid="$3/postmaster.pid"
case "$1" in
query) printf ' HA state:           \n\tlocal_role                     : Primary\n\tdb_state                       : Normal\n' ;;
stop) kill "$(head -n 1 "$pid")"; rm "$pid" ;;
start) exec sleep 100 ;;
esac"#;

#[test]
fn a_restart_that_runs_out_of_time_says_that_the_server_was_stopped() {
    let node = Node::new(GS_CTL);
    let result = node.call(json!({"state": "restarted", "timeout": 2}));
    assert_eq!(result["error"]["kind"], "timeout", "{result}");
    assert_eq!((&result["changed"], &result["actions"]), (&json!(true), &json!(["stop the server"])));
}
