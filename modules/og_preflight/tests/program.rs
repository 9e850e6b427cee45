//! The built program, on data directories without a server.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

fn call(args: &Value) -> (Value, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_og_preflight"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(args.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (serde_json::from_slice(&output.stdout).unwrap(), output.status.code())
}

fn findings<'a>(result: &'a Value, id: &str) -> Vec<&'a Value> {
    result["findings"].as_array().unwrap().iter().filter(|finding| finding["id"] == id).collect()
}

/// Every file below a folder, with its content.
fn tree(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            all.extend(tree(&entry.path()));
        } else {
            all.push((entry.path().display().to_string(), std::fs::read(entry.path()).unwrap()));
        }
    }
    all.sort();
    all
}

#[test]
fn a_stopped_node_is_checked_and_left_as_it_was() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    std::fs::create_dir_all(data.join("global")).unwrap();
    let conf = "port = 26000\nmax_process_memory = 1GB\nshared_buffers = 32MB\nmax_connections = 100\n";
    std::fs::write(data.join("postgresql.conf"), conf).unwrap();
    std::fs::write(data.join("pg_hba.conf"), "host all all 10.0.0.1/33 trust\n").unwrap();
    let before = tree(home.path());
    let args = json!({"data_dir": data, "gauss_home": home.path(), "for": "restart"});
    let (result, status) = call(&args);
    assert_eq!((status, &result["failed"], &result["changed"]), (Some(1), &json!(true), &json!(false)));
    assert_eq!(result["error"]["kind"], "refused");
    assert_eq!(findings(&result, "memory.minimum")[0]["severity"], "error");
    assert_eq!(findings(&result, "hba.syntax")[0]["severity"], "error");
    assert_eq!(findings(&result, "programs.libraries")[0]["severity"], "unknown");
    assert_eq!(result["findings"][0]["severity"], "error", "the worst comes first");
    assert_eq!(result["ready"]["switchover"]["verdict"], "no");
    assert_eq!(tree(home.path()), before, "nothing is written");

    // Whoever judges for himself gets the same, and no failure.
    let mut never = args.clone();
    never["fail_on"] = json!("never");
    let (judged, status) = call(&never);
    assert_eq!((status, &judged["failed"]), (Some(0), &json!(false)));
    assert_eq!(judged["findings"].as_array().unwrap().len(), result["findings"].as_array().unwrap().len());
    assert_eq!(judged["facts"]["settings"]["file"]["max_connections"], "100");

    // Its facts serve as those of a peer.
    let mut peer = judged["facts"].clone();
    peer["system"]["architecture"] = json!("vax");
    peer["server"]["running"] = json!(true);
    peer["server"]["role"] = json!("primary");
    let mut compared = never.clone();
    compared["peers"] = json!([peer]);
    let (compared, _) = call(&compared);
    assert_eq!(findings(&compared, "same.architecture")[0]["severity"], "error", "{compared}");
    assert_eq!(findings(&compared, "cluster.directory")[0]["severity"], "error");
}

#[test]
fn the_server_program_is_asked_for_its_release_once() {
    let home = tempfile::tempdir().unwrap();
    let (bin, data, asked) = (home.path().join("bin"), home.path().join("data"), home.path().join("asked"));
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("postgresql.conf"), "port = 26000\n").unwrap();
    for (name, words) in [
        ("gaussdb", "gaussdb (openGauss 6.0.2 build 41b2f0c2) compiled at T"),
        ("gs_ctl", "gs_ctl (openGauss) 9.2.4"),
    ] {
        let script = format!("#!/bin/sh\necho {name} \"$@\" >>{}\necho '{words}'\n", asked.display());
        std::fs::write(bin.join(name), script).unwrap();
        std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let (result, _) = call(&json!({"data_dir": data, "gauss_home": home.path(), "fail_on": "never"}));
    let programs = &result["facts"]["programs"];
    assert_eq!((&programs["version"], &programs["commit"]), (&json!("6.0.2"), &json!("41b2f0c2")));
    assert_eq!(result["facts"]["server"]["version"], "6.0.2");
    assert_eq!(std::fs::read_to_string(&asked).unwrap(), "gaussdb --version\n");
}

#[test]
fn an_empty_directory_is_one_to_deploy_to() {
    let home = tempfile::tempdir().unwrap();
    let args =
        json!({"data_dir": home.path(), "gauss_home": home.path(), "for": "deploy", "fail_on": "never"});
    let (result, status) = call(&args);
    assert_eq!(status, Some(0));
    assert_eq!(result["facts"]["identity"]["content"], "empty");
    assert_eq!(findings(&result, "leftovers.data_dir"), Vec::<&Value>::new());
    std::fs::write(home.path().join("notes"), "").unwrap();
    let (result, _) = call(&args);
    assert_eq!(findings(&result, "leftovers.data_dir")[0]["severity"], "error");
}

#[test]
fn a_check_is_explained() {
    let explain =
        |id: &str| Command::new(env!("CARGO_BIN_EXE_og_preflight")).args(["--explain", id]).output().unwrap();
    let output = explain("memory.process");
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("Fix: "));
    let output = explain("memory.proces");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("memory.process"));
}
