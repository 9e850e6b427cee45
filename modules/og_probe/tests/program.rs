//! The program, run as a user runs it, with a gsql of a few lines of shell.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use og_probe::file::{ProbeFile, Process, path};
use serde_json::{Value, json};

/// Answers what a probe asks, in one statement or one after the other: `standby` has whether it is one, `table` whose the table is.
const GSQL: &str = r#"said() {
case "$1" in
*"create table"*) echo own > "$GAUSSHOME/table"; echo made ;;
*"drop table"*) rm "$GAUSSHOME/table" ;;
*"update public"*)
    echo "NOTICE: much" >&2
    if [ -e "$GAUSSHOME/refuses" ]; then echo "ERROR:  read-only" >&2; exit 3; fi
    echo 1 ;;
*obj_description*) if [ -e "$GAUSSHOME/table" ]; then cat "$GAUSSHOME/table"; else echo none; fi ;;
*pg_is_in_recovery*) cat "$GAUSSHOME/standby" ;;
*) echo "ERROR:  what is $1" >&2; exit 3 ;;
esac
}
case " $* " in
*" -c "*) for last; do :; done; said "$last" ;;
*) while read -r line; do said "$line"; done ;;
esac"#;

/// A node with something that lives in its data directory as a server does.
struct Node {
    home: tempfile::TempDir,
    server: Child,
}

impl Node {
    fn new(standby: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        std::fs::create_dir_all(home.path().join("bin")).unwrap();
        std::fs::create_dir_all(&data).unwrap();
        // Written by a child, as this process forks in other tests meanwhile ("text file busy").
        let write = r#"printf '#!/bin/sh\n%s\n' "$2" > "$1" && chmod 755 "$1""#;
        let program = home.path().join("bin/gsql");
        let write = Command::new("/bin/sh").args(["-c", write, "sh"]).arg(&program).arg(GSQL).status();
        assert!(write.unwrap().success());
        let server = Command::new("sleep").arg("600").current_dir(&data).spawn().unwrap();
        let text = format!("{}\n{}\n1\n5432\n/tmp\n\n1 1\n", server.id(), data.display());
        std::fs::write(data.join("postmaster.pid"), text).unwrap();
        let node = Self { home, server };
        node.write("standby", standby);
        node
    }

    fn write(&self, name: &str, text: &str) {
        // Replaced whole, for it is read meanwhile.
        let new = self.home.path().join("new");
        std::fs::write(&new, format!("{text}\n")).unwrap();
        std::fs::rename(new, self.home.path().join(name)).unwrap();
    }

    fn has_table(&self) -> bool {
        self.home.path().join("table").exists()
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn call(&self, mut args: Value) -> Value {
        args["data_dir"] = json!(self.data());
        args["gauss_home"] = json!(self.home.path());
        let mut child = Command::new(env!("CARGO_BIN_EXE_og_probe"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(args.to_string().as_bytes()).unwrap();
        // This reads until end of file, which never comes if the detached probe keeps a pipe open.
        serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap()
    }

    fn started(&self) -> Value {
        self.call(json!({"state": "started", "interval_ms": 1}))
    }

    fn stopped(&self) -> Value {
        self.call(json!({"state": "stopped"}))
    }

    fn file(&self) -> Option<ProbeFile> {
        ProbeFile::read(&path(&self.data()).unwrap()).unwrap()
    }

    fn process(&self) -> Process {
        self.file().unwrap().process.unwrap()
    }

    /// Waits until the probe's file says so.
    fn wait_for(&self, is_so: impl Fn(&ProbeFile) -> bool) -> ProbeFile {
        loop {
            if let Some(file) = self.file().filter(&is_so) {
                return file;
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let stopped = self.stopped();
        self.server.kill().unwrap();
        self.server.wait().unwrap();
        assert!(std::thread::panicking() || stopped["failed"] == json!(false), "{stopped}");
    }
}

fn wait_until_gone(process: Process) {
    while process.is_alive() {
        std::thread::yield_now();
    }
}

#[test]
fn a_probe_commits_until_it_is_stopped_and_leaves_nothing() {
    let node = Node::new("f");
    let started = node.started();
    assert_eq!(
        (&started["changed"], &started["probe"]["running"]),
        (&json!(true), &json!(true)),
        "{started}"
    );
    assert!(started["probe"]["commits"].as_u64().unwrap() > 0 && node.has_table(), "{started}");
    let process = node.process();
    // Twice is once.
    let again = node.started();
    assert_eq!((&again["changed"], node.process()), (&json!(false), process), "{again}");
    node.wait_for(|file| file.probed.commits > 20);
    let told = node.call(json!({}));
    assert_eq!((&told["changed"], &told["probe"]["running"]), (&json!(false), &json!(true)));
    let folder = path(&node.data()).unwrap().parent().unwrap().to_owned();
    let stopped = node.stopped();
    assert_eq!(
        (&stopped["changed"], &stopped["probe"]["running"]),
        (&json!(true), &json!(false)),
        "{stopped}"
    );
    assert!(stopped["probe"]["commits"].as_u64().unwrap() > 20 && !process.is_alive(), "{stopped}");
    let gaps = stopped["probe"]["gaps"].as_array().unwrap();
    let length = |gap: &Value| gap["to"].as_u64().unwrap() - gap["from"].as_u64().unwrap();
    assert!(!gaps.is_empty() && gaps.is_sorted_by(|a, b| length(a) >= length(b)), "{stopped}");
    assert!(!node.has_table());
    let name = path(&node.data()).unwrap().file_stem().unwrap().to_string_lossy().into_owned();
    let left = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|entry| entry.to_string_lossy().starts_with(&name)).collect();
    assert_eq!(left, Vec::<std::ffi::OsString>::new());
    let again = node.stopped();
    assert_eq!((&again["changed"], &again["probe"]), (&json!(false), &Value::Null));
}

#[test]
fn a_standby_takes_no_commit_until_it_is_the_primary() {
    let node = Node::new("t");
    let started = node.started();
    assert_eq!((&started["changed"], &started["probe"]["commits"]), (&json!(true), &json!(0)), "{started}");
    assert_eq!(started["probe"]["failures"], 0);
    assert!(!node.has_table());
    node.write("standby", "f");
    node.wait_for(|file| file.probed.commits > 0);
    // What a standby has of the table is for the primary to drop.
    node.write("standby", "t");
    let stopped = node.stopped();
    assert!(stopped["probe"]["commits"].as_u64().unwrap() > 0 && node.has_table(), "{stopped}");
}

#[test]
fn a_statement_that_fails_is_told_and_tried_again() {
    let node = Node::new("f");
    node.write("refuses", "");
    node.started();
    let file = node.wait_for(|file| file.probed.failures > 1);
    assert_eq!(file.probed.last_failure.as_deref(), Some("SQL failed: ERROR:  read-only"));
    assert_eq!(file.probed.commits, 0);
    std::fs::remove_file(node.home.path().join("refuses")).unwrap();
    node.wait_for(|file| file.probed.commits > 0);
}

#[test]
fn a_table_of_somebody_else_is_left_alone() {
    let node = Node::new("f");
    node.write("table", "other");
    let started = node.started();
    assert_eq!(started["failed"], false, "{started}");
    let file = node.wait_for(|file| file.probed.failures > 0);
    let why = file.probed.last_failure.unwrap();
    assert!(why.contains("public.og_probe of the database postgres is not one of a probe"), "{why}");
    let stopped = node.stopped();
    assert_eq!((&stopped["probe"]["commits"], node.has_table()), (&json!(0), true), "{stopped}");
    assert!(stopped["msg"].as_str().unwrap().contains("it failed: the table"), "{stopped}");
}

#[test]
fn a_probe_ends_when_its_time_is_over_or_its_file_is_gone() {
    let node = Node::new("f");
    node.call(json!({"state": "started", "limit": 1}));
    wait_until_gone(node.process());
    assert!(!node.has_table());
    let told = node.call(json!({"state": "query"}));
    assert_eq!(told["probe"]["running"], false);
    assert!(told["probe"]["commits"].as_u64().unwrap() > 0, "{told}");
    // The next one begins anew.
    assert_eq!(node.started()["changed"], true);
    let process = node.process();
    std::fs::remove_file(path(&node.data()).unwrap()).unwrap();
    wait_until_gone(process);
    assert!(!node.has_table() && node.file().is_none());
}

#[test]
fn what_a_killed_probe_saw_is_told_and_its_table_is_dropped() {
    let node = Node::new("f");
    node.started();
    node.wait_for(|file| file.probed.commits > 5);
    let process = node.process();
    assert!(Command::new("kill").args(["-KILL", &process.pid.to_string()]).status().unwrap().success());
    wait_until_gone(process);
    let stopped = node.stopped();
    assert_eq!((&stopped["changed"], node.has_table()), (&json!(true), false), "{stopped}");
    assert!(stopped["probe"]["commits"].as_u64().unwrap() > 5, "{stopped}");
}

#[test]
fn check_mode_and_a_node_without_gsql_start_nothing() {
    let node = Node::new("f");
    let checked = node.call(json!({"state": "started", "check_mode": true}));
    assert_eq!((&checked["changed"], node.file()), (&json!(true), None), "{checked}");
    std::fs::remove_file(node.home.path().join("bin/gsql")).unwrap();
    let failed = node.call(json!({"state": "started"}));
    assert_eq!(failed["error"]["kind"], "not_found", "{failed}");
    assert_eq!(node.file(), None);
}
