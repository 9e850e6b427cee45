//! What a task asks for: nothing that it does not need.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::process::Command;

/// What the task says on a machine with no program on the PATH, and with a cargo that does nothing but fail.
fn run_setup(args: &[&str]) -> String {
    let empty = Path::new(env!("CARGO_TARGET_TMPDIR")).join("empty");
    std::fs::create_dir_all(&empty).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(args).env("PATH", empty).env("CARGO", "/bin/false");
    // Where a test run has programs already, none are built.
    let done = command.env_remove("OG_BUILT").output().unwrap();
    assert!(!done.status.success());
    String::from_utf8(done.stderr).unwrap()
}

#[test]
fn a_collection_needs_neither_a_lab_nor_what_the_tests_need() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    if !target.join("python/requirements.txt").exists() {
        println!("skipped: no ansible-core here (cargo xtask setup)");
        return;
    }
    let said = run_setup(&["collection"]);
    assert!(said.contains("/bin/false build"), "{said}");
}

#[test]
fn a_demo_needs_a_lab_and_no_more() {
    let said = run_setup(&["demo", "--engine", "opengauss"]);
    let asked = said.split_once("are missing: ").unwrap().1;
    assert!(asked.contains("iproute2"), "{said}");
    for other in ["postgresql", "strace", "mandoc", "shellcheck", "busybox", "sudo", "python3-dev"] {
        assert!(!asked.contains(other), "{said}");
    }
}
