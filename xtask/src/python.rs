//! The tests that are written in Python, for they use the programs as Ansible, Salt and a shell do.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::setup::Tools;
use crate::shell::{Result, cargo, root, run, target};

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
pub fn callers(tools: &Tools, salt: Option<&Path>, which: &str) -> Result {
    let mut tests = pytest(tools);
    tests
        .args(["tests/callers", "-k", which])
        .env("OG_PROGRAMS", target().join("modules").join(std::env::consts::ARCH));
    if let Some(programs) = salt {
        tests.env("OG_SALT", programs);
    }
    run(&mut tests)
}

/// Salt's programs, where they can be had.
pub fn salt(installed: Result<PathBuf>) -> Option<PathBuf> {
    installed.inspect_err(|why| println!("skipped: no salt ({why})")).ok()
}

/// `cargo xtask salt`: what is tested of Salt, under either release.
pub fn salt_alone(lts: bool) -> Result {
    let tools = crate::setup::for_tests()?;
    let programs = if lts { crate::setup::salt_lts() } else { crate::setup::salt() }?;
    run(Command::new(programs.join("salt-call")).arg("--version"))?;
    crate::build::release()?;
    callers(&tools, Some(&programs), "salt")?;
    run(cargo()
        .args(["test", "--package", "og_scenarios", "--", "salt"])
        .env("OG_ANSIBLE", &tools.ansible)
        .env("OG_SALT", programs))
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
