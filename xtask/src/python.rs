//! The tests that are written in Python, for they use the programs as Ansible, Salt and a shell do.

use std::path::Path;
use std::process::Command;

use crate::setup::{Tools, salt};
use crate::shell::{Result, root, run, target};

/// The collection: its playbooks' syntax, ansible-lint, its own tests.
pub fn playbooks(tools: &Tools) -> Result {
    let folder = root().join("playbooks");
    let mut syntax = program(tools, "ansible-playbook");
    syntax.args(["--syntax-check", "--inventory", "inventory.example.yml"]);
    for entry in std::fs::read_dir(&folder).map_err(|e| format!("cannot read {}: {e}", folder.display()))? {
        let name = entry.map_err(|e| e.to_string())?.file_name();
        let is_playbook = Path::new(&name).extension().is_some_and(|e| e == "yml");
        if is_playbook && !name.to_string_lossy().starts_with("inventory") {
            syntax.arg(name);
        }
    }
    run(syntax.current_dir(&folder).stdout(std::process::Stdio::null()))?;
    run(program(tools, "ansible-lint").arg("-q").current_dir(&folder))?;
    run(pytest(tools).arg("playbooks/ansible_collections/opengauss/node/tests"))
}

/// The programs as their callers run them; needs the release build.
pub fn callers(tools: &Tools) -> Result {
    let mut tests = pytest(tools);
    tests.arg("tests/callers").env("OG_PROGRAMS", target().join("modules").join(std::env::consts::ARCH));
    match salt() {
        Ok(programs) => {
            tests.env("OG_SALT", programs);
        }
        Err(why) => println!("skipped: no salt ({why})"),
    }
    run(&mut tests)
}

fn pytest(tools: &Tools) -> Command {
    let mut command = program(tools, "pytest");
    command.args(["--quiet", "--numprocesses", "auto", "-p", "no:cacheprovider"]).current_dir(root());
    command
}

/// A program of the environment, which finds the others there.
fn program(tools: &Tools, name: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(tools.ansible.clone()).chain(std::env::split_paths(&path));
    let mut command = Command::new(tools.ansible.join(name));
    if let Ok(path) = std::env::join_paths(folders) {
        command.env("PATH", path);
    }
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("ANSIBLE_NOCOLOR", "1");
    command
}
