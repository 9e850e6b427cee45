//! What is not Rust: Python and shell scripts; and which packages the crates are made of.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::{Result, cargo, has, output, root, run, target};

/// The folders with Python files.
const PYTHON: [&str; 2] = ["playbooks", "tests"];

/// ruff and shellcheck find nothing; says which of them is not installed.
pub fn check_scripts() -> Result {
    let ruff = target().join("python/bin/ruff");
    let python = if ruff.exists() {
        run(Command::new(ruff).args(["check", "--quiet", "--no-cache"]).args(PYTHON).current_dir(root()))
    } else {
        println!("skipped: ruff is not installed (cargo xtask setup)");
        Ok(())
    };
    let shell = if has("shellcheck") {
        run(Command::new("shellcheck")
            .args(["--external-sources", "--source-path", "SCRIPTDIR"])
            .args(shell_scripts()?)
            .current_dir(root()))
    } else {
        println!("skipped: shellcheck is not installed (cargo xtask setup)");
        Ok(())
    };
    python.and(shell)
}

/// A program of the PATH, or of the environment that `cargo xtask setup` makes.
pub fn installed(program: &str) -> Option<PathBuf> {
    let own = target().join("python/bin").join(program);
    if has(program) { Some(program.into()) } else { own.is_file().then_some(own) }
}

/// The files under version control whose first line names a shell.
fn shell_scripts() -> Result<Vec<String>> {
    let mut scripts = Vec::new();
    for name in output(Command::new("git").arg("ls-files").current_dir(root()))?.lines() {
        let content = std::fs::read(root().join(name)).unwrap_or_default();
        let first = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
        if first.starts_with(b"#!") && (first.ends_with(b"sh") || first.ends_with(b"bash")) {
            scripts.push(name.to_owned());
        }
    }
    if scripts.is_empty() { Err("git names no shell script".to_owned()) } else { Ok(scripts) }
}

/// Every dependency is used, and, where cargo-deny is installed, its licence and source are allowed.
pub fn check_dependencies() -> Result {
    let used = unused_dependencies().and_then(|unused| {
        if unused.is_empty() {
            return Ok(());
        }
        Err(format!("dependencies that no source file names: {}", unused.join(", ")))
    });
    let allowed = if let Some(deny) = installed("cargo-deny") {
        run(Command::new(deny)
            .args(["--log-level", "error", "check", "bans", "licenses", "sources"])
            .current_dir(root()))
    } else {
        println!("skipped: cargo-deny is not installed (cargo xtask setup)");
        Ok(())
    };
    used.and(allowed)
}

/// The dependencies that no source file of their crate names, as `CRATE: DEPENDENCY`.
fn unused_dependencies() -> Result<Vec<String>> {
    let text = output(cargo().args(["metadata", "--format-version", "1", "--no-deps", "--offline"]))?;
    let metadata: serde_json::Value =
        serde_json::from_str(&text).map_err(|e| format!("cargo metadata: {e}"))?;
    let mut unused = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        let words = words_of_sources(manifest.parent().unwrap_or(manifest))?;
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let named = dependency["rename"].as_str().or(dependency["name"].as_str()).unwrap_or_default();
            if !words.contains(&named.replace('-', "_")) {
                unused.push(format!("{name}: {named}"));
            }
        }
    }
    Ok(unused)
}

/// The words that stand before `::` or after `use` or `extern crate` in the Rust files of a crate.
fn words_of_sources(folder: &Path) -> Result<BTreeSet<String>> {
    let mut words = BTreeSet::new();
    for file in rust_files(folder)? {
        let text =
            std::fs::read_to_string(&file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
        words.extend(crate_names(&text));
    }
    Ok(words)
}

fn crate_names(text: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut names = BTreeSet::new();
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    for line in code {
        let pieces: Vec<&str> = line.split("::").collect();
        for before in pieces.iter().take(pieces.len().saturating_sub(1)) {
            names.extend(before.rsplit(|c| !is_word(c)).next().map(str::to_owned));
        }
        if let Some(rest) = line.trim_start().trim_start_matches("pub ").strip_prefix("use ") {
            names.extend(rest.split(|c| !is_word(c)).next().map(str::to_owned));
        }
    }
    names
}

/// The Rust files below the folder, without those of crates within it.
fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let failed = |e: std::io::Error| format!("cannot read {}: {e}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            if !path.join("Cargo.toml").exists() && !path.ends_with("target") {
                files.extend(rust_files(&path)?);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_named_by_paths_and_imports() {
        let text =
            "// not::here\nuse serde::Serialize;\npub use nix;\nlet x = tempfile::tempdir(); a(sha2::b)";
        let names = crate_names(text);
        for name in ["serde", "nix", "tempfile", "sha2"] {
            assert!(names.contains(name), "{names:?}");
        }
        assert!(!names.contains("not"), "{names:?}");
    }
}
