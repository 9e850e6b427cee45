//! A signal while og waits for a program on this machine that does not end, and what og then says.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A program that tells its process number through a pipe and then goes on for long.
const ENDLESS: &str = "#!/bin/sh\necho $$ >\"$WORLD/pipe\"\nexec sleep 600\n";

fn kill(signal: &str, pid: &str) {
    assert!(Command::new("kill").args([signal, pid]).status().unwrap().success());
}

/// What comes of og with these words when SIGTERM comes while it waits for `program`.
fn ended(program: &str, file: (&str, &str), words: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let world: &Path = folder.path();
    std::fs::write(world.join(file.0), file.1).unwrap();
    std::fs::write(world.join(program), ENDLESS).unwrap();
    std::fs::set_permissions(world.join(program), std::fs::Permissions::from_mode(0o755)).unwrap();
    // og reads a program before it connects.
    std::fs::write(world.join("og_node_state"), "").unwrap();
    assert!(Command::new("mkfifo").arg(world.join("pipe")).status().unwrap().success());
    let path = format!("{}:{}", world.display(), std::env::var("PATH").unwrap());
    let og = Command::new(env!("CARGO_BIN_EXE_og"))
        .args(words)
        .current_dir(world)
        .env("PATH", path)
        .env("WORLD", world)
        .env("OG_BINARIES", world)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The pipe opens when the program is there.
    let pid = std::fs::read_to_string(world.join("pipe")).unwrap();
    kill("-TERM", &og.id().to_string());
    let output = og.wait_with_output().unwrap();
    kill("-KILL", pid.trim());
    output
}

#[test]
fn a_signal_ends_it_while_ansible_reads_the_inventory() {
    let done = ended("ansible-inventory", ("hosts", "[opengauss]\nn1\n"), &["status", "-f", "hosts"]);
    assert_eq!(done.status.signal(), Some(15), "{done:?}");
}

#[test]
fn nagios_is_told_of_an_interruption() {
    let cluster = r#"{"hosts": {"n1": {"id": 1, "address": "192.0.2.1"}}, "vars": {"data_dir": "/d"}}"#;
    let done = ended("ssh", ("cluster.json", cluster), &["status", "--nagios"]);
    assert_eq!(String::from_utf8_lossy(&done.stdout), "OPENGAUSS UNKNOWN - interrupted\n", "{done:?}");
    assert_eq!(done.status.code(), Some(3));
}

#[test]
fn nagios_is_told_of_a_command_line_that_cannot_be_used() {
    let og = |words: &[&str]| Command::new(env!("CARGO_BIN_EXE_og")).args(words).output().unwrap();
    let done = og(&["status", "--nagios", "--wrong"]);
    let line = String::from_utf8_lossy(&done.stdout);
    assert!(line.starts_with("OPENGAUSS UNKNOWN - unexpected argument '--wrong'"), "{done:?}");
    assert_eq!((line.lines().count(), done.status.code()), (1, Some(3)));
    assert_eq!(og(&["status", "--wrong"]).status.code(), Some(2));
}
