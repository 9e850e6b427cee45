//! The record that og_workflow writes for its callers.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// A caller of og_workflow whose nodes say nothing, with the folder for state.
struct Caller {
    state: PathBuf,
    asked: Value,
}

impl Caller {
    fn new(state: &Path, more: &Value) -> Self {
        let hosts = json!({"n1": {"id": 1, "vault_dsn": "s3cr3t-of-a-host"}, "n2": {"id": 2}});
        let mut asked = json!({"workflow": "drop", "targets": ["n2"], "pid": std::process::id(), "record": "new",
            "cluster": {"hosts": hosts, "vars": {"data_dir": "/d", "x_password": "s3cr3t-of-vars",
                "vault": {"dsn": ["s3cr3t-of-a-vault"]}}}});
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Self { state: state.to_owned(), asked }
    }

    fn ask(&self, answers: &[Value]) -> Value {
        self.ask_of(Command::new(env!("CARGO_BIN_EXE_og_workflow")), answers)
    }

    /// As on a full disk: no file takes more than it has.
    fn ask_without_room(&self, answers: &[Value]) -> Value {
        let mut command = Command::new("sh");
        let line = "trap '' XFSZ; ulimit -f 0; exec \"$0\"";
        command.args(["-c", line, env!("CARGO_BIN_EXE_og_workflow")]);
        self.ask_of(command, answers)
    }

    fn ask_of(&self, mut command: Command, answers: &[Value]) -> Value {
        let mut child = command
            .env("XDG_STATE_HOME", &self.state)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut asked = self.asked.clone();
        asked["answers"] = json!(answers);
        child.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
        serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap()
    }

    /// The outcome, when all calls were answered like this.
    fn run(mut self, answer: &Value) -> Value {
        let mut answers = Vec::new();
        loop {
            let told = self.ask(&answers);
            if let Some(record) = told.get("record") {
                self.asked["record"] = record.clone();
            }
            let Some(next) = told.get("next") else { return told };
            answers.truncate(usize::try_from(next["keep"].as_u64().unwrap()).unwrap());
            answers.extend(next["calls"].as_array().unwrap().iter().map(|_| answer.clone()));
        }
    }
}

fn runs(state: &Path) -> Vec<PathBuf> {
    let Ok(found) = std::fs::read_dir(state.join("opengauss-node/runs")) else { return Vec::new() };
    found.map(|entry| entry.unwrap().path()).collect()
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// An answer that has a secret in it, as no program of ours gives one.
fn leaky() -> Value {
    json!({"failed": true, "changed": false, "msg": "cannot go on with password=s3cr3t-of-answers",
        "elapsed_ms": 1500, "error": {"kind": "io", "detail": "token=s3cr3t-of-answers"}})
}

#[test]
fn a_run_is_recorded_for_its_user_alone_and_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let told = Caller::new(
        folder.path(),
        &json!({"options": {"og_look_timeout": "7", "og_lock_ttl": 86400,
            "og_notify": ["true", "s3cr3t-of-a-command"]}}),
    )
    .run(&leaky());
    let [run] = &runs(folder.path())[..] else { panic!("{told}") };
    assert_eq!(told["outcome"]["report"], run.join("report.html").display().to_string());
    assert_eq!(mode(run), 0o700);
    let mut names: Vec<_> = std::fs::read_dir(run).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["events.jsonl", "outcome.json", "plan.json", "report.html"]);
    for name in names {
        assert_eq!(mode(&run.join(&name)), 0o600, "{name:?}");
        let text = std::fs::read_to_string(run.join(&name)).unwrap();
        assert!(!text.contains("s3cr3t"), "{name:?}: {text}");
    }
    let plan = read(&run.join("plan.json"));
    assert_eq!(
        (&plan["workflow"], &plan["targets"], &plan["options"]),
        (&json!("drop"), &json!(["n2"]), &json!({"og_look_timeout": 7, "og_notify": ["true"]}))
    );
    assert_eq!(plan["cluster"]["vars"], json!({"data_dir": "/d"}));
    assert_eq!(plan["cluster"]["hosts"]["n2"], json!({"id": 2}));
    let events = std::fs::read_to_string(run.join("events.jsonl")).unwrap();
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&events[0]["event"], &events[0]["step"]), (&json!("step"), &json!("Inspect all nodes")));
    let answer = &events[1];
    assert_eq!(
        (&answer["event"], &answer["node"], &answer["failed"]),
        (&json!("answer"), &json!("n1"), &json!(true))
    );
    assert_eq!((&answer["changed"], &answer["elapsed_ms"]), (&json!(false), &json!(1500)));
    let times = ["start", "end"].map(|key| answer[key].as_str().unwrap());
    assert!(times[0] <= times[1], "{times:?}");
    let outcome = read(&run.join("outcome.json"));
    assert_eq!((&outcome["verdict"], &outcome["failed"]), (&json!("failed"), &json!(true)));
    assert!(outcome["msg"].as_str().is_some_and(|msg| !msg.is_empty()), "{outcome}");
    assert_eq!(outcome["msg"], told["outcome"]["msg"]);
    assert_eq!(outcome["timings"][0]["step"], "Inspect all nodes");
}

#[test]
fn what_changes_nothing_is_recorded_when_it_is_asked_for() {
    for (more, recorded) in [
        (json!({"check_mode": true}), 0),
        (json!({"workflow": "status", "targets": []}), 0),
        (json!({"options": {"og_record": "none"}}), 0),
        (json!({"record": null}), 0),
        (json!({"_ansible_no_log": true}), 0),
        (json!({"check_mode": true, "options": {"og_record": "all"}}), 1),
        (json!({"workflow": "status", "targets": [], "options": {"og_record": "all"}}), 1),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let told = Caller::new(folder.path(), &more).run(&Value::Null);
        assert_eq!(runs(folder.path()).len(), recorded, "{more} {told}");
        let outcome = told["outcome"].as_object().unwrap();
        assert_eq!(outcome.contains_key("report"), recorded == 1, "{more} {told}");
    }
}

#[test]
fn a_record_that_cannot_be_written_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("file");
    std::fs::write(&state, "").unwrap();
    let caller = || Caller::new(&state, &json!({}));
    let plain = Caller::new(folder.path(), &json!({"record": null})).run(&Value::Null);
    let told = caller().run(&Value::Null);
    let warning = told["outcome"]["warnings"].as_array().unwrap().last().unwrap().as_str().unwrap();
    assert!(warning.starts_with("this run is not recorded, or not wholly: cannot make "), "{warning}");
    assert!(plain["outcome"]["msg"].is_string(), "{plain}");
    assert_eq!(told["outcome"]["msg"], plain["outcome"]["msg"]);
    // One that is lost while the run goes on.
    let mut caller = Caller::new(folder.path(), &json!({}));
    caller.asked["record"] = caller.ask(&[])["record"].clone();
    std::fs::remove_dir_all(&runs(folder.path())[0]).unwrap();
    let told = caller.run(&Value::Null);
    assert!(
        told["outcome"]["warnings"].to_string().contains("this run is not recorded, or not wholly"),
        "{told}"
    );
}

#[test]
fn a_record_that_cannot_be_begun_leaves_nothing_and_is_warned_of_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut caller = Caller::new(folder.path(), &json!({}));
    let first = caller.ask_without_room(&[]);
    assert_eq!(runs(folder.path()), Vec::<PathBuf>::new(), "{first}");
    caller.asked["record"] = first["record"].clone();
    // There is room again, and no half of a run is recorded as a whole one.
    let told = caller.run(&Value::Null);
    assert_eq!(runs(folder.path()), Vec::<PathBuf>::new(), "{told}");
    let warnings = told["outcome"]["warnings"].as_array().unwrap();
    let of_record = warnings.iter().filter(|text| text.as_str().unwrap().contains("not recorded"));
    assert_eq!(of_record.count(), 1, "{warnings:?}");
}

#[test]
fn what_an_earlier_process_could_not_write_is_told_by_the_last_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut caller = Caller::new(folder.path(), &json!({}));
    let first = caller.ask(&[]);
    caller.asked["record"] = first["record"].clone();
    let answers: Vec<Value> = first["next"]["calls"].as_array().unwrap().iter().map(|_| leaky()).collect();
    caller.ask_without_room(&answers);
    let told = caller.run(&leaky());
    let warnings = told["outcome"]["warnings"].to_string();
    assert!(
        warnings.contains("this run is not recorded, or not wholly: something could not be written in "),
        "{told}"
    );
}

#[test]
fn a_command_is_told_what_came_of_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let told_to = folder.path().join("told");
    let script = folder.path().join("notify it");
    std::fs::write(
        &script,
        format!("#!/bin/sh\necho \"$1\" >'{0}'\ncat >>'{0}'\nexit $2\n", told_to.display()),
    )
    .unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let with = |command: Value| {
        Caller::new(folder.path(), &json!({"options": {"og_notify": command}})).run(&leaky())["outcome"]
            .clone()
    };
    let warned = |outcome: &Value| outcome["warnings"].as_array().map_or(0, Vec::len);
    let quiet = with(json!([]));
    let outcome = with(json!([script.display().to_string(), "a; b", "0"]));
    assert_eq!(warned(&outcome), warned(&quiet), "{outcome}");
    let text = std::fs::read_to_string(&told_to).unwrap();
    let (word, line) = text.split_once('\n').unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!((word, &line["verdict"], &line["msg"]), ("a; b", &json!("failed"), &outcome["msg"]));
    assert!(line["report"].as_str().is_some_and(|report| Path::new(report).exists()));
    // A command that fails, or is not there, changes nothing else.
    for (command, why) in [
        (json!([script.display().to_string(), "x", "3"]), "ended with status 3"),
        (json!(["no-such-command-of-og"]), "there is no command no-such-command-of-og on the PATH"),
    ] {
        let outcome = with(command);
        let warning = outcome["warnings"].as_array().unwrap().last().unwrap().as_str().unwrap();
        assert!(warning.starts_with("og_notify: ") && warning.contains(why), "{warning}");
        assert_eq!(outcome["msg"], quiet["msg"]);
        let report = PathBuf::from(outcome["report"].as_str().unwrap());
        assert!(std::fs::read_to_string(report).unwrap().contains("og_notify: "));
    }
}
