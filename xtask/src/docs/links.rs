//! Whether the links of all documents lead to something.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::book::{prose, resolve};
use crate::shell::{output, root};

/// The document that `cargo xtask test --all` writes, which may not be there yet.
const WRITTEN_BY_RUNS: &str = "docs/last-full-test.md";

/// Files that are named and are not the project's: what a reader writes, what fuzzing leaves, what only the package has.
const ELSEWHERE: [&str; 3] = ["playbooks/inventory.yml", "fuzz/artifacts", "docs/inventory.example.yml"];

/// The page from which each other one in docs/ is reached.
const CONTENTS: &str = "docs/README.md";

/// The project's documents, by their path in it.
fn documents() -> BTreeMap<PathBuf, String> {
    let mut git = std::process::Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard", "*.md"]).current_dir(root());
    let listed = output(&mut git).unwrap_or_else(|e| panic!("{e}"));
    let files = listed.lines().map(PathBuf::from).filter(|file| root().join(file).exists());
    files
        .map(|file| {
            let text = std::fs::read_to_string(root().join(&file)).unwrap_or_else(|e| panic!("{e}"));
            (file, text)
        })
        .collect()
}

/// The targets of links and pictures of a line, but for what stands between backticks.
fn targets(line: &str) -> Vec<String> {
    let text: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
    let after = |mark: &str, end: char| -> Vec<String> {
        text.split(mark).skip(1).filter_map(|rest| Some(rest.split_once(end)?.0.to_owned())).collect()
    };
    [after("](", ')'), after("src=\"", '"'), after("srcset=\"", '"'), after("href=\"", '"')].concat()
}

/// The anchor of a heading, as those make it who show Markdown.
fn anchor(heading: &str) -> String {
    let kept = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | ' ');
    heading
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| kept(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let heading = |line: &&str| line.starts_with('#') && line.trim_start_matches('#').starts_with(' ');
    prose(text).into_iter().filter(heading).map(|line| anchor(line.trim_start_matches('#'))).collect()
}

/// Each link of the document to something in the project: its line, the path, and the anchor.
fn links(file: &Path, text: &str) -> Vec<(usize, PathBuf, Option<String>)> {
    let mut found = Vec::new();
    for (number, line) in prose(text).into_iter().enumerate() {
        for target in targets(line) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) =
                target.split_once('#').map_or((&*target, None), |(p, a)| (p, Some(a.to_owned())));
            let path = if path.is_empty() { file.to_path_buf() } else { resolve(file, path) };
            found.push((number + 1, path, anchor));
        }
    }
    found
}

fn is_written_by_runs(path: &Path) -> bool {
    path == Path::new(WRITTEN_BY_RUNS)
}

#[test]
fn each_link_leads_to_a_file_and_an_anchor() {
    let documents = documents();
    let mut broken = Vec::new();
    let mut count = 0;
    for (file, text) in &documents {
        for (line, path, anchor) in links(file, text) {
            count += 1;
            let there = root().join(&path).exists() || is_written_by_runs(&path);
            let named = anchor
                .as_ref()
                .is_none_or(|anchor| documents.get(&path).is_some_and(|text| anchors(text).contains(anchor)));
            if !there || !named {
                let anchor = anchor.map_or_else(String::new, |anchor| format!("#{anchor}"));
                broken.push(format!("{}:{line}: {}{anchor}", file.display(), path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
    assert!(count > 100, "{count}");
}

#[test]
fn each_page_is_reached_from_the_table_of_contents() {
    let documents = documents();
    let mut reached = BTreeSet::from([PathBuf::from(CONTENTS)]);
    let mut open = vec![PathBuf::from(CONTENTS)];
    while let Some(file) = open.pop() {
        let Some(text) = documents.get(&file) else { continue };
        for (_, path, _) in links(&file, text) {
            if reached.insert(path.clone()) {
                open.push(path);
            }
        }
    }
    let pages = documents.keys().filter(|file| file.starts_with("docs") && !file.ends_with("SUMMARY.md"));
    let missed: Vec<_> = pages.filter(|file| !reached.contains(*file)).collect();
    assert!(missed.is_empty(), "no way from {CONTENTS} to {missed:?}");
}

/// A path between backticks that begins with one of the project's folders is there; a word in capitals stands for a name.
#[test]
fn each_file_that_is_named_is_there() {
    const FOLDERS: [&str; 9] =
        ["common/", "docs/", "fuzz/", "modules/", "playbooks/", "registry/", "schemas/", "tests/", "xtask/"];
    let mut missing = Vec::new();
    for (file, text) in documents().iter().filter(|(file, _)| !file.ends_with("CHANGELOG.md")) {
        for (number, line) in prose(text).into_iter().enumerate() {
            for word in line.split('`').skip(1).step_by(2) {
                let path = word.split("::").next().unwrap_or_default();
                let is_path = FOLDERS.iter().any(|folder| path.starts_with(folder))
                    && !path.contains([' ', '*', '…', '{', '$'])
                    && !path.contains("NAME")
                    && !ELSEWHERE.contains(&path);
                let bases = [root(), root().join(file.parent().unwrap_or(Path::new("")))];
                let is_there = bases.iter().any(|base| base.join(path).exists());
                if is_path && !is_there && !is_written_by_runs(Path::new(path)) {
                    missing.push(format!("{}:{}: {path}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(missing.is_empty(), "files that are named and not there:\n{}", missing.join("\n"));
}

/// The version stands in Cargo.toml; what names a file of a release follows it.
#[test]
fn files_of_a_release_are_named_with_this_version() {
    let mut texts = documents();
    for file in ["playbooks/examples/execution-environment.yml", "docs/contract.md"] {
        let text = std::fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{e}"));
        texts.insert(file.into(), text);
    }
    let mut named = 0;
    for (file, text) in &texts {
        for mark in ["opengauss-node-", "opengauss-node_", "og_hba "] {
            for rest in text.split(mark).skip(1).filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
            {
                assert!(
                    rest.starts_with(env!("CARGO_PKG_VERSION")),
                    "{}: {mark}{:.12}",
                    file.display(),
                    rest
                );
                named += 1;
            }
        }
    }
    assert!(named >= 5, "{named}");
}

#[test]
fn links_and_anchors_are_found_and_code_is_none() {
    let text =
        "# A `b`, c\n\nSee [x](y.md#z) and `[no](no.md)`.\n\n    [no](no.md)\n\n```\n[no](no.md)\n```\n";
    let found = links(Path::new("docs/a.md"), text);
    assert_eq!(found, [(3, PathBuf::from("docs/y.md"), Some("z".to_owned()))]);
    assert_eq!(anchors(text), BTreeSet::from(["a-b-c".to_owned()]));
}
