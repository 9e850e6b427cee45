//! The modules' documentation for their users, from their schemas and examples: what `ansible-doc` reads, docs/modules,
//! and the functions of the Salt modules with their texts.

mod ansible;
mod markdown;
pub mod model;
mod salt;
mod yaml;

use std::path::{Path, PathBuf};

use model::Page;

use crate::build::modules;
use crate::shell::{Result, output, root, target};

/// Writes the documentation, and the schemas before it; with `check` says which committed files are not what they give.
pub fn run_all(check: bool) -> Result {
    crate::schemas::build()?;
    make(check)
}

/// Says which committed files are not what the programs give that are built already.
pub fn check_built() -> Result {
    make(true)
}

fn make(check: bool) -> Result {
    crate::schemas::make(check)?;
    let mut pages = Vec::new();
    for name in modules()? {
        pages.push(page(&name, &target().join("debug"))?);
    }
    let mut stale = Vec::new();
    for (file, text) in files(&pages)? {
        let path = root().join(&file);
        if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
            continue;
        }
        if check {
            stale.push(file.display().to_string());
        } else {
            write(&path, &text)?;
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    Err(format!("{} are not what the modules say of themselves; run: cargo xtask docs", stale.join(", ")))
}

/// What the module, whose program is in this folder, says of itself.
pub fn page(name: &str, programs: &Path) -> Result<Page> {
    let schema = |which: &str| -> Result<serde_json::Value> {
        let file = root().join(format!("schemas/{name}.{which}.json"));
        serde_json::from_str(&read(&file)?).map_err(|e| format!("{}: {e}", file.display()))
    };
    let examples = output(std::process::Command::new(programs.join(name)).arg("--examples"))?;
    Page::new(name, &schema("args")?, &schema("result")?, &examples, &samples(name)?)
        .map_err(|e| format!("{name}: {e}"))
}

/// Results that real calls had, shortened: schemas/samples/NAME.json, and for what all modules have all.json.
fn samples(name: &str) -> Result<serde_json::Value> {
    let mut all = Vec::new();
    for file in [format!("schemas/samples/{name}.json"), "schemas/samples/all.json".to_owned()] {
        let results: Vec<serde_json::Value> =
            serde_json::from_str(&read(&root().join(&file))?).map_err(|e| format!("{file}: {e}"))?;
        all.extend(results);
    }
    Ok(all.into())
}

/// All generated files, by their path in the project.
fn files(pages: &[Page]) -> Result<Vec<(PathBuf, String)>> {
    let mut files = Vec::new();
    for page in pages {
        let mut text = markdown::page(page);
        if page.name == "og_preflight" {
            text.push_str("\n## Checks\n\n`og_preflight --explain ID` says why a check is there. The severity is the worst that a finding can have.\n\n");
            text.push_str(&og_preflight::checks::table());
        }
        files.push((format!("docs/modules/{}.md", page.name).into(), text));
        if !page.on_nodes {
            continue;
        }
        let plugin = format!("playbooks/ansible_collections/opengauss/node/plugins/modules/{}.py", page.name);
        files.push((plugin.into(), ansible::documentation(page)));
    }
    let nodes: Vec<&Page> = pages.iter().filter(|page| page.on_nodes).collect();
    for (file, functions) in [
        ("playbooks/salt/_modules/og.py", salt::execution_functions(&nodes)),
        ("playbooks/salt/_states/og.py", salt::state_functions(&nodes)),
    ] {
        let text = read(&root().join(file))?;
        let (written, _) = text.split_once(salt::MARK).ok_or_else(|| {
            format!("{file} has no line {:?} for the generated part", salt::MARK.trim_end())
        })?;
        files.push((file.into(), format!("{written}{}{functions}", salt::MARK)));
    }
    Ok(files)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}

fn write(path: &Path, text: &str) -> Result {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(path, text))
        .map_err(|e| format!("cannot write {}: {e}", path.display()))
}
