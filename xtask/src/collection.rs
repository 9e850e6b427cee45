//! `cargo xtask collection`: the Ansible collection as one package that installs without a network: its plugins and roles,
//! the playbooks, and the programs that it carries to the nodes.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::build::{self, Linking};
use crate::changelog;
use crate::docs::yaml;
use crate::python;
use crate::setup::{self, Tools};
use crate::shell::{Result, root, run, target};

/// Galaxy takes no larger package.
const MOST_BYTES: u64 = 20_000_000;

/// The collection in the project.
const SOURCE: &str = "playbooks/ansible_collections/opengauss/node";

/// Builds the package and says where it is.
pub fn run_all(linking: Linking) -> Result {
    let tools = setup::ansible()?;
    build::release(linking)?;
    let package = package(&tools, linking)?;
    println!("{}", package.display());
    Ok(())
}

/// Builds the package of the programs that are built, for every machine that they are built for.
pub fn package(tools: &Tools, linking: Linking) -> Result<PathBuf> {
    let tree = tree(&target().join("collection"), linking)?;
    let out = target().join("collection");
    run(python::program(tools, "ansible-galaxy")
        .args(["collection", "build", "--force", "--output-path"])
        .arg(&out)
        .current_dir(&tree)
        .stdout(std::process::Stdio::null()))?;
    let package = package_file();
    let size = package.metadata().map_err(|e| format!("{}: {e}", package.display()))?.len();
    if size > MOST_BYTES && !build::is_for_tests() {
        eprintln!(
            "note: {} has {size} bytes; Galaxy takes {MOST_BYTES}: it is installed from the file",
            package.display()
        );
    }
    Ok(package)
}

/// Where the package is once it is built.
pub fn package_file() -> PathBuf {
    target().join("collection").join(format!("opengauss-node-{}.tar.gz", env!("CARGO_PKG_VERSION")))
}

/// Lays out what goes into the package, as `ansible-test` wants it: in ansible_collections/NAMESPACE/NAME.
fn tree(within: &Path, linking: Linking) -> Result<PathBuf> {
    let tree = within.join("ansible_collections/opengauss/node");
    if tree.exists() {
        std::fs::remove_dir_all(&tree).map_err(|e| format!("cannot remove {}: {e}", tree.display()))?;
    }
    copy(&root().join(SOURCE), &tree)?;
    // The project's own tests run in the project.
    let tests = tree.join("tests");
    std::fs::remove_dir_all(&tests).map_err(|e| format!("cannot remove {}: {e}", tests.display()))?;
    copy(&linking.folder(), &tree.join("files/bin"))?;
    remove_og(&tree.join("files/bin"))?;
    for file in ["CHANGELOG.md", "LICENSE"] {
        copy(&root().join(file), &tree.join(file))?;
    }
    write_changelog(&tree)?;
    let playbooks = root().join("playbooks");
    for playbook in python::playbook_names()? {
        copy(&playbooks.join(&playbook), &tree.join("playbooks").join(&playbook))?;
    }
    copy(&playbooks.join("inventory.example.yml"), &tree.join("docs/inventory.example.yml"))?;
    Ok(tree)
}

/// Writes the changes of all versions as Ansible's tools read them.
fn write_changelog(tree: &Path) -> Result {
    let failed = |e: std::io::Error| format!("cannot write the changelog of the collection: {e}");
    let text = std::fs::read_to_string(root().join("CHANGELOG.md")).map_err(failed)?;
    let changes = changelog::to_yaml(&text, env!("CARGO_PKG_VERSION"))?;
    let folder = tree.join("changelogs");
    std::fs::create_dir_all(&folder)
        .and_then(|()| {
            std::fs::write(folder.join("changelog.yaml"), format!("---\n{}", yaml::block(&changes, 0)))
        })
        .map_err(failed)
}

/// Takes `og` away: it is for a terminal, and Ansible has no use for it.
fn remove_og(programs: &Path) -> Result {
    let failed = |e: std::io::Error| format!("cannot take og out of {}: {e}", programs.display());
    for machine in std::fs::read_dir(programs).map_err(failed)? {
        let og = machine.map_err(failed)?.path().join(build::OG);
        if og.exists() {
            std::fs::remove_file(og).map_err(failed)?;
        }
    }
    Ok(())
}

/// Copies a file or a folder, without what Python and hidden files leave there.
fn copy(from: &Path, to: &Path) -> Result {
    let failed = |e: std::io::Error| format!("cannot copy {} to {}: {e}", from.display(), to.display());
    if !from.is_dir() {
        std::fs::create_dir_all(to.parent().unwrap_or(to)).map_err(failed)?;
        return std::fs::copy(from, to).map(drop).map_err(failed);
    }
    for entry in std::fs::read_dir(from).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let hidden = name.to_string_lossy().starts_with('.');
        if !hidden && name != "__pycache__" {
            copy(&from.join(&name), &to.join(&name))?;
        }
    }
    Ok(())
}

/// The tests of `ansible-test sanity` that need nothing but ansible-core and one Python.
const SANITY: [&str; 12] = [
    "action-plugin-docs",
    "empty-init",
    "line-endings",
    "no-assert",
    "no-get-exception",
    "no-illegal-filenames",
    "no-smart-quotes",
    "replace-urlopen",
    "shebang",
    "symlinks",
    "use-argspec-type-path",
    "use-compat-six",
];

/// `ansible-test sanity` on the package's files.
pub fn sanity(tools: &Tools) -> Result {
    // Outside of the project: within it, ansible-test asks git which files there are, and git ignores target/.
    let folder = std::env::temp_dir().join(format!("og-sanity-{}", std::process::id()));
    let done = tree(&folder, Linking::Dynamic).and_then(|tree| check(tools, &tree));
    std::fs::remove_dir_all(&folder).map_err(|e| format!("cannot remove {}: {e}", folder.display()))?;
    done
}

fn check(tools: &Tools, tree: &Path) -> Result {
    let mut command: Command = python::program(tools, "ansible-test");
    command.args(["sanity", "--color", "no", "--python", "default"]);
    for test in SANITY {
        command.args(["--test", test]);
    }
    let told = command.current_dir(tree).output().map_err(|e| format!("cannot run ansible-test: {e}"))?;
    let text = format!("{}{}", String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
    if told.status.success() && !text.contains("targets skipped") {
        return Ok(());
    }
    Err(format!("ansible-test: {}\n{text}", told.status))
}
