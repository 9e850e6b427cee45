//! The tests that are written in Python, for they use the programs as Ansible, Salt and a shell do.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::build::Linking;
use crate::setup::{self, Tools};
use crate::shell::{Result, cargo, root, run};

/// The collection: its playbooks' syntax, ansible-lint, its own tests; needs the programs built.
pub fn playbooks(tools: &Tools) -> Result {
    let folder = root().join("playbooks");
    let mut syntax = program(tools, "ansible-playbook");
    syntax.args(["--syntax-check", "--inventory", "inventory.example.yml"]);
    syntax.args(playbook_names()?);
    run(syntax.current_dir(&folder).stdout(std::process::Stdio::null()))?;
    run(program(tools, "ansible-lint").arg("-q").current_dir(&folder))?;
    let mut tests = pytest(tools);
    tests.arg("playbooks/ansible_collections/opengauss/node/tests").env("OG_PROGRAMS", modules());
    run(thin_out(&mut tests))
}

/// The names of the playbooks.
pub fn playbook_names() -> Result<Vec<OsString>> {
    let folder = root().join("playbooks");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(|e| format!("cannot read {}: {e}", folder.display()))? {
        let name = entry.map_err(|e| e.to_string())?.file_name();
        let is_yaml = Path::new(&name).extension().is_some_and(|e| e == "yml");
        if is_yaml && !name.to_string_lossy().starts_with("inventory") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The programs as their callers run them; needs them built, and the package of the collection.
pub fn callers(tools: &Tools, salt: &Path, which: &str) -> Result {
    let package = crate::collection::package_file();
    let mut tests = pytest(tools);
    if which.is_empty() {
        match setup::collection(tools, "ansible/netcommon") {
            Ok(folder) => drop(tests.env("OG_OTHERS", folder)),
            Err(why) => println!("skipped: tasks over libssh: {why}"),
        }
    }
    tests
        .args(["tests/callers", "-k", which])
        .env("OG_COLLECTION", package)
        .env("OG_PROGRAMS", modules())
        .env("OG_SALT", salt);
    run(thin_out(&mut tests))
}

/// Without `--all`, leaves out the tests that name the unit test which holds the same.
fn thin_out(tests: &mut Command) -> &mut Command {
    if crate::test::is_thinned() {
        println!(
            "skipped: tests whose logic a unit test holds, as their mark `exhaustive` names (cargo xtask test --all)"
        );
        println!("skipped: tests marked `in_turn` whose turn it is not (cargo xtask test --all)");
        tests.args(["-m", "not exhaustive"]);
    }
    tests
}

/// `cargo xtask salt`: what is tested of Salt, under either release.
pub fn salt_alone(lts: bool) -> Result {
    let tools = setup::for_tests()?;
    let programs = if lts { setup::salt_lts() } else { setup::salt() }?;
    run(Command::new(programs.join("salt-call")).arg("--version"))?;
    crate::build::release(Linking::Dynamic)?;
    crate::collection::package(&tools, Linking::Dynamic)?;
    callers(&tools, &programs, "salt")?;
    run(cargo()
        .args(["test", "--package", "og_scenarios", "--", "salt"])
        .env("OG_ANSIBLE", &tools.ansible)
        .env("OG_SALT", programs))
}

/// The collection with an older release of ansible-core: the tests that are marked for it.
pub fn older_ansible(tools: &Tools, version: &str) -> Result {
    let Some(programs) = setup::older_ansible(version)? else { return Ok(()) };
    let mut tests = pytest(tools);
    tests.args(["-m", "versions", "tests/callers", "playbooks/ansible_collections/opengauss/node/tests"]);
    tests.env("OG_COLLECTION", crate::collection::package_file()).env("OG_PROGRAMS", modules());
    run(tests.env("PATH", path(&programs)?))
}

fn modules() -> PathBuf {
    crate::build::folder()
}

/// The PATH with this folder before all others.
fn path(first: &Path) -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(first.to_path_buf()).chain(std::env::split_paths(&path));
    std::env::join_paths(folders).map_err(|e| e.to_string())
}

/// The marks of tests.
const MARKERS: &str = "markers=versions: run with every release of ansible-core that the collection is for
exhaustive(test): run with --all alone; the named unit test holds the same logic
in_turn: run by one of three runs, and with --all";

fn pytest(tools: &Tools) -> Command {
    let mut command = program(tools, "pytest");
    command
        .args([
            "--quiet",
            "-rs",
            "--durations=8",
            "--numprocesses",
            "auto",
            "--dist",
            "worksteal",
            "-p",
            "no:cacheprovider",
        ])
        .args(["--override-ini", MARKERS]);
    command.current_dir(root());
    command
}

/// A program of the environment, which finds the others there.
pub fn program(tools: &Tools, name: &str) -> Command {
    let mut command = Command::new(tools.ansible.join(name));
    if let Ok(path) = path(&tools.ansible) {
        command.env("PATH", path);
    }
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("ANSIBLE_NOCOLOR", "1");
    command
}
