//! The built program, with a gs_ctl of a few lines of shell.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use og_common::cluster::static_config::StaticConfig;
use serde_json::{Value, json};

/// A node with something that lives in its data directory as a server does.
struct TestNode {
    home: tempfile::TempDir,
    server: Child,
}

impl TestNode {
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

impl Drop for TestNode {
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
    let node = TestNode::new(GS_CTL, 0);
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
    let node = TestNode::new(LOSER, 0);
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
    let node = TestNode::new(LOSER, 0);
    // gs_ctl gives up by itself with exit status 0, or the call's own time is over before.
    let hasty = LOSER.replace("exec sleep 100", "echo 'switchover timeout after 5 seconds. please check'");
    let gives_up = TestNode::new(&hasty, 0);
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
    let node = TestNode::new(GS_CTL, 0);
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
    let node = TestNode::new(GS_CTL, 65534);
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
    let node = TestNode::new(GS_CTL, 65534);
    let data = node.home.path().join("data");
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700)).unwrap();
    // Where everybody may read it.
    let program = node.home.path().join("og_node_state");
    std::fs::copy(env!("CARGO_BIN_EXE_og_node_state"), &program).unwrap();
    for state in ["query", "stopped"] {
        let mut command = Command::new(&program);
        let result =
            TestNode::told(command.uid(65533).gid(65533), &json!({"data_dir": data, "state": state}));
        assert_eq!(result["error"]["kind"], "permission", "{result}");
        assert_eq!(result["error"]["path"], "/data_dir");
        assert!(result["error"]["hint"].as_str().unwrap().starts_with("run it as "), "{result}");
    }
}

/// A program of CM's that does nothing, of the node's own installation.
struct Idle(Child);

impl Idle {
    fn start(node: &TestNode, name: &str) -> Self {
        let path = node.home.path().join("bin").join(name);
        // Copied by a child, as this process forks in other tests meanwhile ("text file busy").
        assert!(Command::new("/bin/cp").arg("/bin/sleep").arg(&path).status().unwrap().success());
        let child = Command::new(path).arg("600").spawn().unwrap();
        // The kernel writes the words a moment after the program has begun.
        while std::fs::read(format!("/proc/{}/cmdline", child.id())).unwrap().is_empty() {
            std::thread::yield_now();
        }
        Self(child)
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn what_cm_runs_is_left_to_cm() {
    let node = TestNode::new(GS_CTL, 0);
    let home = node.home.path();
    let call = |mut args: Value| {
        args["gauss_home"] = json!(home);
        node.call(args, &[])
    };
    assert_eq!(call(json!({}))["node"]["managed_by"]["by"], "none");
    let agent = Idle::start(&node, "cm_agent");
    let seen = call(json!({}));
    let managed = &seen["ansible_facts"]["og_node"]["managed_by"];
    assert_eq!((&managed["by"], &managed["agent"]), (&json!("cm"), &json!(agent.0.id())), "{seen}");
    for args in [
        json!({"state": "stopped"}),
        json!({"state": "restarted"}),
        json!({"state": "restarted", "check_mode": true}),
        json!({"state": "standby", "force": true}),
        // The plan has another objection, whose advice would be wrong here.
        json!({"state": "started", "role": "standby"}),
    ] {
        let result = call(args.clone());
        assert_eq!(result["error"]["kind"], "refused", "{args} {result}");
        assert_eq!(
            (&result["changed"], &result["error"]["reason"]),
            (&json!(false), &json!("managed_by_cm"))
        );
        let (detail, hint) = (&result["error"]["detail"], result["error"]["hint"].as_str().unwrap());
        assert!(
            detail.as_str().unwrap().contains(&format!("cm_agent is process {}", agent.0.id())),
            "{detail}"
        );
        assert!(hint.contains("cm_ctl ") && hint.contains("cm_ctl pause"), "{hint}");
    }
    assert_eq!(call(json!({}))["node"]["running"], true);
    // Nothing is to be done: nobody minds.
    let same = call(json!({"state": "started"}));
    assert_eq!((&same["failed"], &same["changed"]), (&json!(false), &json!(false)), "{same}");
    std::fs::write(home.join("bin/cluster_manual_pause"), "").unwrap();
    let stopped = call(json!({"state": "stopped"}));
    assert_eq!(stopped["changed"], true, "{stopped}");
    assert_eq!(stopped["node"]["managed_by"]["paused"], true);
    assert!(stopped["warnings"][0].as_str().unwrap().contains("cm_ctl stop"), "{stopped}");
}

/// A node of a cluster that CM runs, with a gs_ctl and a cm_ctl that share a server's process, role and marks. What they are
/// told is in the file `calls`; `query` is what CM says of the server.
struct CmNode {
    node: TestNode,
    _agent: Idle,
}

/// Like gs_ctl on a server whose role is in the file `role`; whoever acts by it leaves a trace.
const GS_CTL_BESIDE_CM: &str = r#"home=$(dirname "$(dirname "$0")")
case "$1" in
--version) exit 1 ;;
stop) echo "gs_ctl stop" >> "$home/calls"; kill "$(head -n 1 "$3/postmaster.pid")"; rm "$3/postmaster.pid"; exit ;;
query) ;;
*) echo "gs_ctl $1" >> "$home/calls"; exit 1 ;;
esac
role=$(cat "$home/role")
printf ' HA state:           \n\tlocal_role                     : %s\n\tdb_state                       : Normal\n' "$role"
printf '\tdetail_information             : Normal\n\n Receiver info:      \n\treceiver_pid                   : 5\n'
printf '\tlocal_role                     : %s\n\tpeer_role                      : Primary\n' "$role"
printf '\tchannel                        : 10.0.0.2:40000<--10.0.0.1:26001\n'"#;

/// As CM 5.0.3 does it: `stop` leaves the mark, `start` removes it and brings the server up.
const CM_CTL: &str = r#"home=$(dirname "$(dirname "$0")"); mark="$home/bin/instance_manual_start_6001"
[ "$1" = query ] || echo "cm_ctl $*" >> "$home/calls"
state="S $(cat "$home/role") Normal"
[ -e "$home/data/postmaster.pid" ] || state='S Down    Unknown'
[ -e "$mark" ] && state='S Down    Manually stopped'
case "$1" in
query)
  [ -e "$home/settling" ] && { rm "$home/settling"; cluster=Unavailable; state='S Unknown Unknown'; }
  own=$(cat "$home/cm_server"); other=Standby
  [ "$own" = Primary ] || other=Down
  [ -e "$home/electing" ] && { rm "$home/electing"; own=Standby; }
  printf '[  CMServer State   ]\n\nnode instance state\n----------\n1  n1 1        %s\n2  n2 2        %s\n' "$own" "$other"
  [ "$own" = Primary ] || exit 255
  printf '\n[   Cluster State   ]\n\ncluster_state   : %s\nbalanced        : Yes\n\n' "${cluster:-Normal}"
  printf '[  Datanode State   ]\n\nnode instance state\n----------\n1  n1 6001     %s\n' "$state" ;;
stop)
  printf '0\n1\n0\n' > "$mark"
  kill "$(head -n 1 "$home/data/postmaster.pid")"; rm "$home/data/postmaster.pid"
  echo 'cm_ctl: stop instance successfully.' ;;
start)
  rm -f "$mark"; mv "$home/next.pid" "$home/data/postmaster.pid"
  echo 'cm_ctl: start instance successfully.' ;;
switchover)
  [ -e "$home/refuses" ] && { echo 'cm_ctl: can not do switchover at current role'; exit 255; }
  echo Primary > "$home/role"; echo 'cm_ctl: switchover successfully.' ;;
esac"#;

/// To a peer that does not listen.
const CHANNEL: &str = "replconninfo1 = 'localhost=127.0.0.1 localport=2 remotehost=127.0.0.1 remoteport=1'\n";

impl CmNode {
    fn new() -> Self {
        Self::with(CM_CTL)
    }

    fn with(cm_ctl: &str) -> Self {
        let node = TestNode::new(GS_CTL_BESIDE_CM, 0);
        let home = node.home.path();
        let write = r#"printf '#!/bin/sh\n%s\n' "$2" > "$1" && chmod 755 "$1""#;
        let program = home.join("bin/cm_ctl");
        let status = Command::new("/bin/sh").args(["-c", write, "sh"]).arg(program).arg(cm_ctl).status();
        assert!(status.unwrap().success());
        let bytes = include_bytes!("../../../tests/vectors/cluster/with_cm_1p2s/cluster_static_config");
        let mut config = StaticConfig::parse(bytes).unwrap();
        for data in config.cluster.nodes.iter_mut().flat_map(|node| &mut node.data_nodes) {
            data.data_dir = home.join("data").display().to_string();
        }
        std::fs::write(home.join("bin/cluster_static_config"), config.print().unwrap()).unwrap();
        std::fs::write(home.join("data/postgresql.conf"), CHANNEL).unwrap();
        let agent = Idle::start(&node, "cm_agent");
        let own = Self { node, _agent: agent };
        own.set("role", "Standby");
        own.set("cm_server", "Primary");
        own
    }

    fn set(&self, name: &str, words: &str) {
        std::fs::write(self.node.home.path().join(name), words).unwrap();
    }

    fn call(&self, mut args: Value) -> Value {
        args["gauss_home"] = json!(self.node.home.path());
        self.node.call(args, &[])
    }

    /// What was called to act since the last time.
    fn calls(&self) -> Vec<String> {
        let path = self.node.home.path().join("calls");
        let said = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_file(&path);
        let data = self.node.home.path().join("data").display().to_string();
        // How long cm_ctl may take is the call's time.
        let line = |line: &str| line.replace(&data, "DATA").split(" -t ").next().unwrap().to_owned();
        said.lines().map(line).collect()
    }
}

#[test]
fn what_cm_can_do_is_done_by_cm_ctl() {
    let cm = CmNode::new();
    let check = cm.call(json!({"state": "restarted", "check_mode": true}));
    let acts = json!([
        "stop the server by CM (cm_ctl stop), which keeps it stopped",
        "start the server by CM (cm_ctl start)"
    ]);
    assert_eq!((&check["changed"], &check["actions"]), (&json!(true), &acts), "{check}");
    assert_eq!(cm.calls(), Vec::<String>::new());
    let stopped = cm.call(json!({"state": "stopped"}));
    assert_eq!(
        (&stopped["changed"], &stopped["node"]["running"]),
        (&json!(true), &json!(false)),
        "{stopped}"
    );
    let held = json!(["instance_manual_start_6001"]);
    assert_eq!(stopped["node"]["managed_by"]["manual_start"], held);
    assert!(stopped["warnings"].is_null(), "CM sees it, too: {stopped}");
    assert_eq!(cm.calls(), ["cm_ctl stop -n 1 -D DATA"]);
    assert_eq!(cm.call(json!({"state": "stopped"}))["changed"], false);
    assert_eq!(cm.calls(), Vec::<String>::new());
    // The server that cm_agent starts.
    let data = cm.node.home.path().join("data");
    let mut server = Command::new("sleep").arg("600").current_dir(&data).spawn().unwrap();
    let pid = format!("{}\n{}\n1\n5432\n/tmp\n\n1 1\n", server.id(), data.display());
    cm.set("next.pid", &pid);
    let started = cm.call(json!({"state": "started", "role": "standby"}));
    assert_eq!(started["actions"], json!(["start the server by CM (cm_ctl start)"]), "{started}");
    assert_eq!(started["node"]["role"], "standby");
    assert_eq!(cm.calls(), ["cm_ctl start -n 1 -D DATA"]);
    assert_eq!(cm.call(json!({"state": "started"}))["changed"], false);
    // With the mark it goes down later.
    let mark = cm.node.home.path().join("bin/instance_manual_start_6001");
    std::fs::write(&mark, "0\n1\n0\n").unwrap();
    let taken_away = cm.call(json!({"state": "started"}));
    assert_eq!((&taken_away["changed"], mark.exists()), (&json!(true), false), "{taken_away}");
    assert_eq!(cm.calls(), ["cm_ctl start -n 1 -D DATA"]);
    // The cm_servers choose a primary, and one that has just become it sees nobody for a moment.
    cm.set("electing", "");
    cm.set("settling", "");
    let primary = cm.call(json!({"state": "primary"}));
    assert_eq!(
        (&primary["changed"], &primary["node"]["role"]),
        (&json!(true), &json!("primary")),
        "{primary}"
    );
    assert_eq!(cm.calls(), ["cm_ctl switchover -n 1 -D DATA"]);
    assert_eq!(cm.call(json!({"state": "primary"}))["changed"], false);
    let restarted = cm.call(json!({"state": "restarted"}));
    assert_eq!(restarted["error"]["reason"], "managed_by_cm", "{restarted}");
    assert_eq!(cm.calls(), Vec::<String>::new());
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn what_cm_did_not_do_is_seen() {
    let cm = CmNode::new();
    cm.set("refuses", "");
    let refused = cm.call(json!({"state": "primary", "timeout": 30}));
    assert_eq!(refused["error"]["kind"], "command_failed", "{refused}");
    assert!(refused["msg"].as_str().unwrap().contains("can not do switchover at current role"), "{refused}");
    assert_eq!(refused["changed"], false);
    // It says that all is well, and leaves no mark.
    let forgets = CM_CTL.replace("printf '0\\n1\\n0\\n' > \"$mark\"", "true");
    let cm = CmNode::with(&forgets);
    let stopped = cm.call(json!({"state": "stopped"}));
    assert_eq!(stopped["error"]["kind"], "command_failed", "{stopped}");
    let words = stopped["msg"].as_str().unwrap();
    assert!(words.contains("no instance_manual_start_6001") && words.contains("start it again"), "{words}");
    // It says that all is well, and the server stays.
    let cm = CmNode::with(
        &CM_CTL.replace("kill \"$(head -n 1 \"$home/data/postmaster.pid\")\"; rm", "exit 255; rm"),
    );
    let stopped = cm.call(json!({"state": "stopped"}));
    let words = stopped["msg"].as_str().unwrap();
    assert!(words.contains("the server still runs"), "{stopped}");
    // The mark that it left is a change, and brings the server down later.
    assert!(words.contains("(instance_manual_start_6001), by which the server goes down later"), "{words}");
    let acts = json!(["have CM hold the server stopped (instance_manual_start_6001)"]);
    assert_eq!((&stopped["changed"], &stopped["actions"]), (&json!(true), &acts), "{stopped}");
}

#[test]
fn a_server_that_is_down_and_that_cm_will_start_is_not_called_stopped() {
    let cm = CmNode::new();
    std::fs::remove_file(cm.node.home.path().join("data/postmaster.pid")).unwrap();
    let monitor = Idle::start(&cm.node, "om_monitor");
    let CmNode { node, _agent: agent } = cm;
    drop(agent);
    let call = |args: Value| node.call(args, &[]);
    let home = node.home.path();
    let stopped = call(json!({"state": "stopped", "gauss_home": home}));
    assert_eq!(stopped["error"]["reason"], "managed_by_cm", "{stopped}");
    assert!(stopped["msg"].as_str().unwrap().contains("its cm_agent does not run"), "{stopped}");
    std::fs::write(home.join("bin/instance_manual_start_6001"), "").unwrap();
    let held = call(json!({"state": "stopped", "gauss_home": home}));
    assert_eq!((&held["failed"], &held["changed"]), (&json!(false), &json!(false)), "{held}");
    drop(monitor);
}

#[test]
fn a_cm_agent_that_om_monitor_starts_again_is_waited_for() {
    let cm = CmNode::new();
    let monitor = Idle::start(&cm.node, "om_monitor");
    let CmNode { node, _agent: agent } = cm;
    drop(agent);
    let home = node.home.path().to_owned();
    let again = std::thread::spawn({
        let agent = home.join("bin/cm_agent");
        // The module looks, finds none, and looks again.
        move || Command::new(agent).arg("600").spawn().unwrap()
    });
    let stopped = node.call(json!({"state": "stopped", "gauss_home": home}), &[]);
    assert_eq!(
        (&stopped["failed"], &stopped["node"]["running"]),
        (&json!(false), &json!(false)),
        "{stopped}"
    );
    let mut agent = again.join().unwrap();
    agent.kill().unwrap();
    agent.wait().unwrap();
    drop(monitor);
}

#[test]
fn a_node_in_manual_stop_is_left_to_the_cm_that_runs_the_others() {
    let cm = CmNode::new();
    let _monitor = Idle::start(&cm.node, "om_monitor");
    let CmNode { node, _agent: agent } = cm;
    drop(agent);
    let home = node.home.path().to_owned();
    let (pid, mark) = (home.join("data/postmaster.pid"), home.join("bin/cluster_manual_start"));
    std::fs::remove_file(&pid).unwrap();
    let start = || {
        node.call(json!({"state": "started", "role": "standby", "check_mode": true, "gauss_home": home}), &[])
    };
    let own = json!(["start the server as standby"]);
    // What cm_ctl stop -n 1, and cm_ctl stop, wrote; a cm_server of the others answers, or none does.
    for (level, servers, is_refused) in
        [("1\n1\n1\n", "Down", true), ("0\n1\n2\n", "Primary", true), ("0\n1\n2\n", "Down", false)]
    {
        std::fs::write(&mark, level).unwrap();
        std::fs::write(home.join("cm_server"), servers).unwrap();
        let started = start();
        if is_refused {
            assert_eq!(started["error"]["reason"], "managed_by_cm", "{level:?} {servers}: {started}");
            let hint = started["error"]["hint"].as_str().unwrap();
            assert!(hint.contains("cm_ctl start -n 1, which starts the node"), "{hint}");
        } else {
            assert_eq!(started["actions"], own, "{level:?} {servers}: {started}");
        }
    }
}

#[test]
fn a_paused_cm_without_a_majority_makes_no_failover() {
    let cm = CmNode::new();
    std::fs::write(cm.node.home.path().join("bin/cluster_manual_pause"), "").unwrap();
    let failover = json!({"state": "primary", "transition": "failover", "force": true, "check_mode": true});
    assert_eq!(cm.call(failover.clone())["changed"], true);
    cm.set("cm_server", "Standby");
    let refused = cm.call(failover);
    assert_eq!(refused["error"]["reason"], "managed_by_cm", "{refused}");
    assert!(refused["error"]["hint"].as_str().unwrap().contains("bring the majority"), "{refused}");
    // In manual stop it would be killed by CM when that is resumed.
    std::fs::write(cm.node.home.path().join("bin/instance_manual_start_6001"), "").unwrap();
    let started = cm.call(json!({"state": "restarted"}));
    assert_eq!(started["error"]["reason"], "managed_by_cm", "{started}");
    assert_eq!(cm.calls(), Vec::<String>::new());
}

#[test]
fn a_server_that_cm_did_not_start_is_told_with_what_cm_says() {
    let cm = CmNode::with(&CM_CTL.replace("rm -f \"$mark\"; mv", "rm -f \"$mark\"; exit 255; mv"));
    cm.call(json!({"state": "stopped"}));
    let started = cm.call(json!({"state": "started", "timeout": 60}));
    assert_eq!(started["error"]["kind"], "command_failed", "{started}");
    let words = started["msg"].as_str().unwrap();
    assert!(
        words.contains("the server did not start") && words.contains("CM says of it: Down Unknown"),
        "{words}"
    );
    assert!(started["error"]["hint"].as_str().unwrap().contains("system_call-current.log"), "{started}");
}

#[test]
fn without_a_cm_server_a_server_is_stopped_and_none_switched_over() {
    let cm = CmNode::new();
    cm.set("cm_server", "Standby");
    let primary = cm.call(json!({"state": "primary"}));
    assert_eq!(primary["error"]["reason"], "managed_by_cm", "{primary}");
    assert!(
        primary["msg"].as_str().unwrap().contains("no majority of its servers (1 of 2 are up)"),
        "{primary}"
    );
    assert_eq!(cm.calls(), Vec::<String>::new());
    let failover = cm.call(json!({"state": "primary", "transition": "failover", "force": true}));
    assert_eq!(failover["error"]["reason"], "managed_by_cm", "{failover}");
    assert!(failover["error"]["hint"].as_str().unwrap().contains("leave it to cm_server"), "{failover}");
    let stopped = cm.call(json!({"state": "stopped"}));
    assert_eq!(
        (&stopped["failed"], &stopped["node"]["running"]),
        (&json!(false), &json!(false)),
        "{stopped}"
    );
    let warning = stopped["warnings"][0].as_str().unwrap();
    assert!(warning.contains("it is not known what CM makes of it"), "{warning}");
}

#[test]
fn what_cm_has_let_go_of_is_acted_on_by_gs_ctl() {
    let cm = CmNode::new();
    std::fs::write(cm.node.home.path().join("bin/cluster_manual_pause"), "").unwrap();
    assert_eq!(cm.call(json!({"state": "stopped"}))["changed"], true);
    assert_eq!(cm.calls(), ["gs_ctl stop"]);
    // CM started it, and left no role in gaussdb.state.
    let data = cm.node.home.path().join("data");
    std::fs::write(data.join("postmaster.opts"), "/g/bin/gaussdb \"-D\" \"/data\" \"-M\" \"pending\"\n")
        .unwrap();
    let started = cm.call(json!({"state": "started"}));
    assert_eq!(started["error"]["reason"], "wrong_role", "{started}");
    assert!(started["error"]["hint"].as_str().unwrap().contains("role: standby"), "{started}");
    let standby = cm.call(json!({"state": "started", "role": "standby", "check_mode": true}));
    assert_eq!(standby["actions"], json!(["start the server as standby"]), "{standby}");
    assert_eq!(cm.calls(), Vec::<String>::new());
}

#[test]
fn what_cm_says_of_the_cluster_is_told_when_asked() {
    let node = TestNode::new(GS_CTL, 0);
    let home = node.home.path();
    let call = || node.call(json!({"gauss_home": home, "cm_view": true}), &[]);
    assert_eq!(call()["cm"], Value::Null, "nothing of CM runs here");
    let _agent = Idle::start(&node, "cm_agent");
    let without = call();
    assert!(without["cm"].is_null() && without["failed"] == false, "{without}");
    assert!(without["warnings"][0].as_str().unwrap().contains("CM could not be asked"), "{without}");
    let recording =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/cm/query/5.0.3-g_pause-stop_standby-0.txt");
    let says = |words: &str| {
        let write = r#"printf '#!/bin/sh\n%s\n' "$2" > "$1" && chmod 755 "$1""#;
        let program = home.join("bin/cm_ctl");
        let status = Command::new("/bin/sh").args(["-c", write, "sh"]).arg(program).arg(words).status();
        assert!(status.unwrap().success());
    };
    says(&format!("[ \"$*\" = 'query -Cvidp' ] && cat '{recording}'"));
    let cm = &call()["cm"];
    assert_eq!((&cm["cluster_state"], &cm["paused"]), (&json!("Degraded"), &json!(true)), "{cm}");
    assert_eq!(cm["instances"][2]["state"], "Starting");
    assert_eq!(cm["instances"][0]["role"], "primary");
    says("echo 'cm_ctl: cannot open the static config'; exit 1");
    let broken = call();
    assert!(broken["warnings"][0].as_str().unwrap().contains("cannot open the static config"), "{broken}");
}

#[test]
fn dcf_and_shared_storage_are_left_to_themselves() {
    for (line, by, command) in
        [("enable_dcf = on", "dcf", "gs_ctl stop -D"), ("ss_enable_dms = on", "dss", "cm_ctl stop -n")]
    {
        let node = TestNode::new(GS_CTL, 0);
        std::fs::write(node.home.path().join("data/postgresql.conf"), format!("{line}\n")).unwrap();
        let result = node.call(json!({"state": "stopped", "gauss_home": node.home.path()}), &[]);
        assert_eq!(result["error"]["kind"], "refused", "{result}");
        assert!(result["error"]["hint"].as_str().unwrap().contains(command), "{result}");
        let seen = node.call(json!({"gauss_home": node.home.path()}), &[]);
        assert_eq!(seen["node"]["managed_by"]["by"], by, "{seen}");
    }
}

#[test]
fn tablespaces_that_the_server_does_not_see_are_told() {
    let node = TestNode::new(GS_CTL, 0);
    let home = node.home.path();
    std::fs::create_dir_all(home.join("place/PG_9.2_201611171_dn_6001")).unwrap();
    std::fs::create_dir(home.join("data/pg_tblspc")).unwrap();
    std::os::unix::fs::symlink(home.join("place"), home.join("data/pg_tblspc/16390")).unwrap();
    std::fs::write(home.join("data/postgresql.conf"), "pgxc_node_name = 'dn_6002'\n").unwrap();
    let seen = node.call(json!({"gauss_home": home}), &[]);
    assert_eq!(seen["node"]["tablespaces"]["damage"], "not_seen", "{seen}");
    assert_eq!(seen["node"]["tablespaces"]["names"], json!(["dn_6001"]));
    assert!(seen["warnings"][0].as_str().unwrap().contains("dn_6002"), "{seen}");
}

/// A full disk leaves gaussdb.state empty, and what the server says of it stands in its log alone.
#[test]
fn a_full_disk_is_told_by_the_log_and_an_empty_state_file_is_no_hindrance() {
    let gs_ctl = r#"case "$1" in
start)
    [ -e "$3/gaussdb.state" ] && exit 1
    echo 'x PANIC:  could not write to file "pg_xlog/xlogtemp.7": No space left on device' >> "$3/pg_log/a.log"
    exit 1 ;;
esac"#;
    let node = TestNode::new(gs_ctl, 0);
    let data = node.home.path().join("data");
    std::fs::remove_file(data.join("postmaster.pid")).unwrap();
    std::fs::create_dir(data.join("pg_log")).unwrap();
    std::fs::write(data.join("pg_log/a.log"), "x PANIC:  of an earlier day\n").unwrap();
    std::fs::write(data.join("gaussdb.state"), "").unwrap();
    let started = node.call(
        json!({"state": "started", "role": "normal", "timeout": 20}),
        &[("GAUSSHOME", node.home.path().to_owned())],
    );
    assert_eq!(started["error"]["reason"], "disk_full", "{started}");
    assert!(started["msg"].as_str().unwrap().contains("xlogtemp.7"), "{started}");
    assert!(!started["msg"].as_str().unwrap().contains("earlier"), "{started}");
    assert_eq!(started["actions"], json!(["remove the empty gaussdb.state"]), "{started}");
    assert!(!data.join("gaussdb.state").exists());
}

/// What was cleared away before it does not hide that the start goes on.
#[test]
fn a_start_after_a_full_disk_that_runs_out_of_time_goes_on() {
    let node = TestNode::new(GS_CTL, 0);
    let data = node.home.path().join("data");
    std::fs::remove_file(data.join("postmaster.pid")).unwrap();
    std::fs::write(data.join("gaussdb.state"), "").unwrap();
    let started = node.call(
        json!({"state": "started", "role": "normal", "timeout": 2}),
        &[("GAUSSHOME", node.home.path().to_owned())],
    );
    assert_eq!(started["error"]["reason"], "goes_on", "{started}");
    let actions = started["actions"].as_array().unwrap();
    assert_eq!(actions[0], "remove the empty gaussdb.state", "{started}");
    assert!(actions[1].as_str().unwrap().ends_with("(begun, and goes on)"), "{started}");
}

#[test]
fn the_state_is_written_as_metrics_that_the_collector_takes() {
    let node = TestNode::new(GS_CTL, 0);
    let data = node.home.path().join("data");
    std::fs::write(data.join("postgresql.conf"), "application_name = 'dn_6001'\n").unwrap();
    let file = node.home.path().join("og.prom");
    let call = |file: &std::path::Path, args: &Value| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_og_node_state"));
        TestNode::told(command.arg("--prometheus").arg(file), args)
    };
    let args = json!({"data_dir": data, "gauss_home": node.home.path()});
    let result = call(&file, &args);
    assert_eq!(result["failed"], false, "{result}");
    let text = std::fs::read_to_string(&file).unwrap();
    for line in [
        r#"opengauss_up{node="dn_6001"} 1"#,
        r#"opengauss_role{node="dn_6001",role="primary"} 1"#,
        r#"opengauss_db_state{node="dn_6001",state="Normal",detail=""} 1"#,
    ] {
        assert!(text.lines().any(|own| own == line), "{line} is not in\n{text}");
    }
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    // What cannot be read leaves the old values, which grow old.
    assert_eq!(call(&file, &json!({"data_dir": node.home.path().join("none")}))["failed"], true);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    let lost = call(&node.home.path().join("none/og.prom"), &args);
    assert_eq!(
        (&lost["error"]["kind"], &lost["node"]["running"]),
        (&json!("not_found"), &json!(true)),
        "{lost}"
    );
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(std::fs::File::open(&file).unwrap());
    match promtool.output() {
        Ok(told) => assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr)),
        Err(e) => println!("skipped: promtool check metrics: {e}"),
    }
}

#[test]
fn a_start_that_waits_for_a_silent_peer_ends_when_the_node_is_stopped() {
    let mut node = TestNode::new("case $1 in start) touch \"$3/started\" ;; esac", 0);
    let data = node.home.path().join("data");
    node.server.kill().unwrap();
    node.server.wait().unwrap();
    std::fs::remove_file(data.join("postmaster.pid")).unwrap();
    std::fs::write(data.join("postmaster.opts"), "/x/bin/gaussdb \"-D\" \"/d\" \"-M\" \"primary\"\n")
        .unwrap();
    // Nobody listens at the port of a discarded socket.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let channel = format!(
        "replconninfo1 = 'localhost=127.0.0.1 localport={port} localservice={port} remotehost=127.0.0.1 remoteport={port} remoteservice={port}'\n"
    );
    std::fs::write(data.join("postgresql.conf"), channel).unwrap();
    let start = json!({"state": "started", "unattended": true, "timeout": 600, "data_dir": data, "gauss_home": node.home.path()});
    let mut waiting = Command::new(env!("CARGO_BIN_EXE_og_node_state"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    waiting.stdin.take().unwrap().write_all(start.to_string().as_bytes()).unwrap();
    let mark = data.join("og_unattended.lock");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !og_common::files::MarkLock::is_held(&mark) {
        assert!(std::time::Instant::now() < end, "it does not wait");
        std::thread::yield_now();
    }
    let stop = json!({"state": "stopped", "gauss_home": node.home.path()});
    let foreseen =
        node.call(json!({"state": "stopped", "gauss_home": node.home.path(), "check_mode": true}), &[]);
    assert_eq!(foreseen["actions"], json!(["end the start that waits for the other nodes"]), "{foreseen}");
    assert!(mark.exists());
    let stopped = node.call(stop.clone(), &[]);
    assert_eq!((&stopped["failed"], &stopped["actions"]), (&json!(false), &foreseen["actions"]), "{stopped}");
    let ended: Value = serde_json::from_slice(&waiting.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!((&ended["failed"], &ended["changed"]), (&json!(false), &json!(false)), "{ended}");
    assert!(!data.join("started").exists() && !mark.exists());
    assert_eq!(node.call(stop, &[])["changed"], false);
    // What drops the node wants a process that it may end.
    node.server = Command::new("sleep").arg("600").spawn().unwrap();
}
