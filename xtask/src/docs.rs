//! What is made of the programs' schemas and examples and of the registry: what `ansible-doc` reads, docs/modules, the functions
//! of the Salt modules with their texts; roles, playbooks and Salt's files of the workflows, with their options.

mod ansible;
mod ansible_only;
mod markdown;
pub mod model;
mod readme;
mod roles;
mod salt;
mod salt_workflows;
mod workflow;
mod yaml;

use std::path::{Path, PathBuf};

use model::Page;
use og_registry::Program;
use workflow::Workflows;

use crate::shell::{Result, output, root, target};

/// Writes the documentation, and the schemas before it; with `check` says which committed files are not what they give.
/// With `built` the programs are there already.
pub fn run_all(check: bool, built: bool) -> Result {
    if !built {
        crate::schemas::build()?;
    }
    make(check)
}

/// Says which committed files are not what the programs give that are built already.
pub fn check_built() -> Result {
    make(true)
}

fn make(check: bool) -> Result {
    crate::schemas::make(check)?;
    let mut pages = Vec::new();
    for program in og_registry::PROGRAMS {
        pages.push(page(program, &target().join("debug"))?);
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
pub fn page(program: &Program, programs: &Path) -> Result<Page> {
    let name = program.name;
    let schema = |which: &str| -> Result<serde_json::Value> {
        let file = root().join(format!("schemas/{name}.{which}.json"));
        serde_json::from_str(&read(&file)?).map_err(|e| format!("{}: {e}", file.display()))
    };
    let examples = output(std::process::Command::new(programs.join(name)).arg("--examples"))?;
    Page::new(program, &schema("args")?, &schema("result")?, &examples, &samples(name)?)
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

/// The folder of the collection.
const COLLECTION: &str = "playbooks/ansible_collections/opengauss/node";

/// All generated files, by their path in the project.
fn files(pages: &[Page]) -> Result<Vec<(PathBuf, String)>> {
    let registry = serde_json::to_string_pretty(&og_registry::to_json()).map_err(|e| e.to_string())?;
    let mut files = vec![("schemas/registry.json".into(), format!("{registry}\n"))];
    for page in pages {
        let end = og_registry::find_program(&page.name).and_then(|program| program.page_end);
        let text = markdown::page(page) + &end.map_or_else(String::new, |end| end());
        files.push((format!("docs/modules/{}.md", page.name).into(), text));
        if page.on_nodes {
            let plugin = format!("{COLLECTION}/plugins/modules/{}.py", page.name);
            files.push((plugin.into(), ansible::documentation(page)));
        }
    }
    for program in og_registry::node_programs().filter(|program| !program.own_action_plugin) {
        let plugin = format!("{COLLECTION}/plugins/action/{}.py", program.name);
        files.push((plugin.into(), ansible::action_plugin(program.name)));
    }
    for (name, text) in ansible_only::files() {
        files.push((format!("{COLLECTION}/plugins/modules/{name}.py").into(), text));
    }
    let workflows = Workflows::new(pages)?;
    files.extend(roles::files(&workflows).into_iter().map(|(file, text)| (file.into(), text)));
    files.extend(salt_workflows::files(&workflows).into_iter().map(|(file, text)| (file.into(), text)));
    let nodes: Vec<&Page> = pages.iter().filter(|page| page.on_nodes).collect();
    for (file, generated) in [
        ("playbooks/salt/_modules/og.py", salt::execution_functions(&nodes)),
        ("playbooks/salt/_states/og.py", salt::state_functions(&nodes)),
        ("playbooks/salt/_runners/og.py", salt_workflows::runner_functions(&workflows)),
        ("playbooks/salt/_states/og_cluster.py", salt_workflows::state_functions(&workflows)),
        ("playbooks/salt/pillar.example", salt_workflows::pillar(&workflows)),
    ] {
        let text = read(&root().join(file))?;
        let (written, _) = text.split_once(salt::MARK).ok_or_else(|| {
            format!("{file} has no line {:?} for the generated part", salt::MARK.trim_end())
        })?;
        files.push((file.into(), format!("{written}{}{generated}", salt::MARK)));
    }
    for (file, tables) in [
        ("README.md", vec![("programs".to_owned(), readme::programs(pages))]),
        (&format!("{COLLECTION}/README.md"), readme::variables_tables(&workflows)),
    ] {
        let mut text = read(&root().join(file))?;
        for (name, table) in tables {
            text = readme::replace(&text, &name, &table).map_err(|e| format!("{file}: {e}"))?;
        }
        files.push((file.into(), text));
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
