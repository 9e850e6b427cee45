//! The built program, with a gs_ctl of a few lines of shell.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// A node with something that lives in its data directory as a server does.
struct Node {
    home: tempfile::TempDir,
    server: Child,
}

impl Node {
    /// With this owner, when it is not root.
    fn new(gs_ctl: &str, owner: u32) -> Self {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        std::fs::create_dir_all(home.path().join("bin")).unwrap();
        std::fs::create_dir_all(&data).unwrap();
        let program = home.path().join("bin/gs_ctl");
        // Written by a child, as this process forks in other tests meanwhile ("text file busy").
        let write = r#"printf '#!/bin/sh\n%s\n' "$2" > "$1" && chmod 755 "$1""#;
        let write = Command::new("/bin/sh").args(["-c", write, "sh"]).arg(&program).arg(gs_ctl).status();
        assert!(write.unwrap().success());
        let mut server = Command::new("sleep");
        if owner > 0 {
            std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
            std::os::unix::fs::chown(&data, Some(owner), Some(owner)).unwrap();
            server.uid(owner);
        }
        let server = server.arg("600").current_dir(&data).spawn().unwrap();
        let text = format!("{}\n{}\n1\n5432\n/tmp\n\n1 1\n", server.id(), data.display());
        std::fs::write(data.join("postmaster.pid"), text).unwrap();
        Self { home, server }
    }

    fn call(&self, mut args: Value, env: &[(&str, PathBuf)]) -> Value {
        args["data_dir"] = json!(self.home.path().join("data"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_og_node_state"));
        Self::told(command.envs(env.iter().cloned()), &args)
    }

    fn told(command: &mut Command, args: &Value) -> Value {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
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
    let node = Node::new(GS_CTL, 0);
    let result = node.call(json!({"state": "restarted", "timeout": 2, "gauss_home": node.home.path()}), &[]);
    assert_eq!(result["error"]["kind"], "timeout", "{result}");
    assert_eq!((&result["changed"], &result["actions"]), (&json!(true), &json!(["stop the server"])));
}

#[test]
fn root_that_becomes_the_nodes_user_leaves_its_own_environment() {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("skipped: not root");
        return;
    }
    let node = Node::new(GS_CTL, 65534);
    let file = node.home.path().join("env");
    std::fs::write(&file, format!("export GAUSSHOME={}\n", node.home.path().display())).unwrap();
    let env = [("GAUSSHOME", "/of/another/cluster".into()), ("MPPDB_ENV_SEPARATE_PATH", file)];
    let result = node.call(json!({}), &env);
    assert_eq!(result["node"]["role"], "primary", "{result}");
}

#[test]
fn another_users_server_is_not_called_stopped() {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("skipped: not root");
        return;
    }
    let node = Node::new(GS_CTL, 65534);
    let data = node.home.path().join("data");
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700)).unwrap();
    // Where everybody may read it.
    let program = node.home.path().join("og_node_state");
    std::fs::copy(env!("CARGO_BIN_EXE_og_node_state"), &program).unwrap();
    for state in ["query", "stopped"] {
        let mut command = Command::new(&program);
        let result = Node::told(command.uid(65533).gid(65533), &json!({"data_dir": data, "state": state}));
        assert_eq!(result["error"]["kind"], "permission", "{result}");
        assert_eq!(result["error"]["path"], "/data_dir");
        assert!(result["error"]["hint"].as_str().unwrap().starts_with("run it as "), "{result}");
    }
}
