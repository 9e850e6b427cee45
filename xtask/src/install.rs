//! `cargo xtask install`: the programs and scripts, what a shell and man(1) know of them, and what Ansible and Salt need, below a
//! prefix. Written anew only where it differs, each file whole.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};
use clap_complete::Shell;

use crate::build::{self, Linking};
use crate::shell::{Result, output, root};
use crate::{docs, man};

/// The subcommand.
pub fn command() -> Command {
    Command::new("install")
        .about("Install programs, man pages, completions, and the Ansible and Salt parts")
        .arg(
            Arg::new("prefix")
                .long("prefix")
                .value_name("DIR")
                .default_value("/usr/local")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Where to: DIR/bin, DIR/share"),
        )
        .arg(Linking::flag())
}

/// Builds what is shipped and installs it; a second run finds nothing to do.
pub fn run(matches: &ArgMatches) -> Result {
    let prefix = matches.get_one::<PathBuf>("prefix").cloned().unwrap_or_default();
    let prefix = std::path::absolute(&prefix).map_err(|e| format!("{}: {e}", prefix.display()))?;
    let programs = build::release(Linking::from_matches(matches))?;
    let tree = lay_out(&prefix, &programs, &programs)?;
    println!("{} of {} files written below {}", tree.written, tree.files, tree.prefix.display());
    Ok(())
}

/// Puts the programs of this folder, and all that belongs to them, below the prefix. Those that run here are asked for their
/// help; they may be the same.
///
/// # Errors
/// What cannot be read or written.
pub fn lay_out(prefix: &Path, programs: &Path, runs_here: &Path) -> Result<Tree> {
    let mut tree = Tree { prefix: prefix.to_owned(), files: 0, written: 0 };
    for program in og_registry::PROGRAMS {
        let (name, mut command) = (program.name, (program.command)());
        tree.file(format!("bin/{name}"), &read(&programs.join(name))?, 0o755)?;
        let page = docs::page(program, runs_here)?;
        tree.file(format!("share/man/man1/{name}.1"), &man::page(&command, &page)?, 0o644)?;
        for (shell, file) in [
            (Shell::Bash, format!("share/bash-completion/completions/{name}")),
            (Shell::Zsh, format!("share/zsh/site-functions/_{name}")),
            (Shell::Fish, format!("share/fish/vendor_completions.d/{name}.fish")),
        ] {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut command, name, &mut text);
            tree.file(file, &text, 0o644)?;
        }
        // Where the collection looks for the programs when it is not told otherwise.
        let shipped = "share/opengauss-node/playbooks/ansible_collections/opengauss/node/files/bin";
        tree.link(format!("{shipped}/{name}"), &format!("../../../../../../../../bin/{name}"))?;
    }
    tree.copies(&root().join("schemas"), "share/opengauss-node/schemas")?;
    tree.copies(&root().join("playbooks"), "share/opengauss-node/playbooks")?;
    tree.file(format!("bin/{}", build::OG), &read(&programs.join(build::OG))?, 0o755)?;
    let help = |words: &[&str]| {
        output(std::process::Command::new(runs_here.join(build::OG)).args(words).arg("--help"))
    };
    tree.file("share/man/man1/og.1", &man::og_page(&help)?, 0o644)?;
    for (shell, file) in [
        ("bash", "share/bash-completion/completions/og"),
        ("zsh", "share/zsh/site-functions/_og"),
        ("fish", "share/fish/vendor_completions.d/og.fish"),
    ] {
        // It asks the program, which knows the nodes of the cluster.
        let mut og = std::process::Command::new(runs_here.join(build::OG));
        let script = output(og.arg0(build::OG).env("COMPLETE", shell))?;
        tree.file(file, script.as_bytes(), 0o644)?;
    }
    tree.copies(&root().join("docs"), "share/doc/opengauss-node/docs")?;
    for name in ["README.md", "CHANGELOG.md", "LICENSE"] {
        tree.file(format!("share/doc/opengauss-node/{name}"), &read(&root().join(name))?, 0o644)?;
    }
    Ok(tree)
}

/// What is below the prefix.
pub struct Tree {
    prefix: PathBuf,
    files: usize,
    written: usize,
}

impl Tree {
    /// Writes the file unless it is there with this content and mode.
    fn file(&mut self, to: impl AsRef<Path>, content: &[u8], mode: u32) -> Result {
        let path = self.place(to.as_ref())?;
        let told = |e: std::io::Error| format!("cannot write {}: {e}", path.display());
        self.files += 1;
        let there = std::fs::symlink_metadata(&path)
            .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o7777 == mode);
        if there && std::fs::read(&path).is_ok_and(|old| old == content) {
            return Ok(());
        }
        // Through a second name: a program that is being run is not written to.
        let part = part(&path);
        std::fs::write(&part, content)
            .and_then(|()| std::fs::set_permissions(&part, std::fs::Permissions::from_mode(mode)))
            .and_then(|()| std::fs::rename(&part, &path))
            .map_err(told)?;
        self.written += 1;
        Ok(())
    }

    /// Makes a symbolic link unless it is there.
    fn link(&mut self, to: impl AsRef<Path>, target: &str) -> Result {
        let path = self.place(to.as_ref())?;
        self.files += 1;
        if std::fs::read_link(&path).is_ok_and(|old| old == Path::new(target)) {
            return Ok(());
        }
        let part = part(&path);
        symlink(target, &part)
            .and_then(|()| std::fs::rename(&part, &path))
            .map_err(|e| format!("cannot make the link {}: {e}", path.display()))?;
        self.written += 1;
        Ok(())
    }

    /// Copies a folder of the project with what is in it, but for tests and what Python leaves behind.
    fn copies(&mut self, from: &Path, to: &str) -> Result {
        let told = |e: std::io::Error| format!("cannot read {}: {e}", from.display());
        let mut entries =
            std::fs::read_dir(from).and_then(Iterator::collect::<std::io::Result<Vec<_>>>).map_err(told)?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.')
                || name.starts_with("requirements-")
                || ["tests", "__pycache__"].contains(&&*name)
            {
                continue;
            }
            let (path, to) = (entry.path(), format!("{to}/{name}"));
            let kind = entry.file_type().map_err(told)?;
            if kind.is_symlink() {
                let target = std::fs::read_link(&path).map_err(told)?;
                self.link(to, &target.to_string_lossy())?;
            } else if kind.is_dir() {
                self.copies(&path, &to)?;
            } else {
                let runs = entry.metadata().map_err(told)?.permissions().mode() & 0o100 != 0;
                self.file(to, &read(&path)?, if runs { 0o755 } else { 0o644 })?;
            }
        }
        Ok(())
    }

    /// The path below the prefix, in a folder that is there.
    fn place(&self, to: &Path) -> Result<PathBuf> {
        let path = self.prefix.join(to);
        let folder = path.parent().unwrap_or(&path);
        std::fs::create_dir_all(folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
        Ok(path)
    }
}

/// A second name beside it, of this process alone.
fn part(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    name.into()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}
