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
fn a_restart_that_runs_out_of_time_says_what_it_did_and_what_goes_on() {
    let node = Node::new(GS_CTL, 0);
    let result = node.call(json!({"state": "restarted", "timeout": 2, "gauss_home": node.home.path()}), &[]);
    assert_eq!(result["error"]["kind"], "timeout", "{result}");
    let actions = json!(["stop the server", "start the server as primary (begun, and goes on)"]);
    assert_eq!((&result["changed"], &result["actions"]), (&json!(true), &actions));
    assert_eq!(result["error"]["reason"], "goes_on");
}

/// A standby whose switchover hangs, as one does that another one has overtaken; `$3/upstream` is whom it follows.
const LOSER: &str = r#"case "$1" in
query) up=$(cat "$3/upstream" 2>/dev/null || echo 10.0.0.1)
printf ' HA state:           \n\tlocal_role                     : Standby\n\tdb_state                       : Normal\n'
printf '\tdetail_information             : Normal\n\n Receiver info:      \n\treceiver_pid                   : 5\n'
printf '\tlocal_role                     : Standby\n\tpeer_role                      : Primary\n'
printf '\tchannel                        : 10.0.0.2:40000<--%s:26001\n' "$up" ;;
switchover) touch "$3/asked"; exec sleep 100 ;;
esac"#;

#[test]
fn the_loser_of_two_switchovers_ends_when_its_role_is_clear() {
    let node = Node::new(LOSER, 0);
    let data = node.home.path().join("data");
    let other = {
        let data = data.clone();
        std::thread::spawn(move || {
            while !data.join("asked").exists() {
                std::thread::yield_now();
            }
            std::fs::write(data.join("upstream"), "10.0.0.3").unwrap();
        })
    };
    let begun = std::time::Instant::now();
    let result = node.call(json!({"state": "primary", "timeout": 60, "gauss_home": node.home.path()}), &[]);
    other.join().unwrap();
    assert_eq!(result["error"]["reason"], "overtaken", "{result}");
    assert!(result["msg"].as_str().unwrap().contains("10.0.0.3:26001 became primary meanwhile"), "{result}");
    assert_eq!(result["changed"], false);
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

#[test]
fn a_switchover_that_runs_out_of_time_says_that_it_goes_on() {
    let node = Node::new(LOSER, 0);
    // gs_ctl gives up by itself with exit status 0, or the call's own time is over before.
    let hasty = LOSER.replace("exec sleep 100", "echo 'switchover timeout after 5 seconds. please check'");
    let gives_up = Node::new(&hasty, 0);
    for (node, timeout) in [(&node, 3), (&gives_up, 20)] {
        let home = node.home.path();
        let result = node.call(json!({"state": "primary", "timeout": timeout, "gauss_home": home}), &[]);
        assert_eq!(result["error"]["kind"], "timeout", "{result}");
        assert_eq!(result["error"]["reason"], "goes_on", "{result}");
        let actions = json!(["switch over: become primary in its place (begun, and goes on)"]);
        assert_eq!((&result["changed"], &result["actions"]), (&json!(true), &actions));
        assert!(result["error"]["hint"].as_str().unwrap().contains("old primary"), "{result}");
    }
}

#[test]
fn a_frozen_server_is_neither_waited_for_nor_taken_for_started() {
    let node = Node::new(GS_CTL, 0);
    let pid = nix::unistd::Pid::from_raw(i32::try_from(node.server.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    let frozen = format!("process {pid} is stopped (T)");
    let call = |args: Value| node.call(args, &[("GAUSSHOME", node.home.path().to_owned())]);
    let seen = |result: &Value| result["node"]["frozen"] == true;
    while !seen(&call(json!({}))) {}
    let wait = call(json!({"wait": {"db_state": "normal"}, "timeout": 2}));
    let last = wait["error"]["detail"].as_str().unwrap();
    assert!(last.contains("last seen: does not answer for ") && last.ends_with(&frozen), "{wait}");
    for state in ["started", "stopped", "restarted", "reloaded", "primary"] {
        let result = call(json!({"state": state}));
        assert_eq!(result["error"]["reason"], "frozen", "{result}");
        assert!(result["msg"].as_str().unwrap().contains(&format!("kill -CONT {pid}")), "{result}");
    }
    let stopped = call(json!({"state": "stopped", "stop_mode": "immediate", "check_mode": true}));
    assert_eq!(stopped["actions"], json!(["stop the server"]), "{stopped}");
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
