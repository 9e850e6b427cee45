//! What the programs are made of: a bill of materials in CycloneDX, and the licences of all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::toolchain::MACHINES;
use super::{NAME, VERSION};
use crate::build;
use crate::shell::{Result, cargo, output};

/// What `cargo metadata` tells of a package, as far as it is needed.
#[derive(Debug, Deserialize)]
struct Crate {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    repository: Option<String>,
    manifest_path: PathBuf,
    source: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Crate>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Debug, Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

/// The crates that are linked into the programs and are not ours.
pub struct Bill {
    crates: Vec<Crate>,
}

/// Asks cargo what the programs are made of.
///
/// # Errors
/// When cargo fails, or tells something else than it does today.
pub fn from_cargo_metadata() -> Result<Bill> {
    let mut command = cargo();
    command.args(["metadata", "--format-version", "1", "--locked"]);
    for machine in MACHINES {
        command.args(["--filter-platform", &format!("{machine}-unknown-linux-gnu")]);
    }
    let told = output(&mut command)?;
    let told: Metadata = serde_json::from_str(&told).map_err(|e| format!("cargo metadata: {e}"))?;
    Ok(Bill { crates: linked(told, &build::modules().collect()) })
}

/// The crates of others that these crates of ours are linked with, in the order of their names.
fn linked(told: Metadata, ours: &BTreeSet<&str>) -> Vec<Crate> {
    let nodes: BTreeMap<&str, &Node> =
        told.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let is_ours = |it: &&Crate| it.source.is_none() && ours.contains(it.name.as_str());
    let mut next: Vec<&str> = told.packages.iter().filter(is_ours).map(|it| it.id.as_str()).collect();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    while let Some(id) = next.pop() {
        if !seen.insert(id.to_owned()) {
            continue;
        }
        // What only builds or tests something is in no program.
        let is_linked = |it: &&Dependency| it.dep_kinds.iter().any(|kind| kind.kind.is_none());
        let deps = nodes.get(id).map(|node| node.deps.iter().filter(is_linked));
        next.extend(deps.into_iter().flatten().map(|it| it.pkg.as_str()));
    }
    let mut crates: Vec<Crate> =
        told.packages.into_iter().filter(|it| it.source.is_some() && seen.contains(&it.id)).collect();
    crates.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    crates
}

impl Bill {
    /// Writes the bill of materials and the licences beside what is released.
    ///
    /// # Errors
    /// What cannot be read or written.
    pub fn write(&self, folder: &Path) -> Result {
        let bill = serde_json::to_string_pretty(&self.cyclonedx()).map_err(|e| e.to_string())? + "\n";
        write(&folder.join(format!("{NAME}-{VERSION}.cdx.json")), &bill)?;
        self.add_to(folder)
    }

    /// Writes the licences of what is in the programs, which go where these go.
    ///
    /// # Errors
    /// What cannot be read or written.
    pub fn add_to(&self, folder: &Path) -> Result {
        write(&folder.join("THIRD-PARTY-LICENSES.txt"), &self.licences()?)
    }

    fn cyclonedx(&self) -> Value {
        let components: Vec<Value> = self
            .crates
            .iter()
            .map(|it| {
                let purl = format!("pkg:cargo/{}@{}", it.name, it.version);
                let mut component = json!({
                    "type": "library",
                    "bom-ref": purl,
                    "name": it.name,
                    "version": it.version,
                    "purl": purl,
                });
                if let Some(licence) = &it.license {
                    component["licenses"] = json!([{"expression": licence.replace('/', " OR ")}]);
                }
                if let Some(at) = &it.repository {
                    component["externalReferences"] = json!([{"type": "vcs", "url": at}]);
                }
                component
            })
            .collect();
        json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": {"component": {
                "type": "application",
                "bom-ref": NAME,
                "name": NAME,
                "version": VERSION,
                "licenses": [{"expression": "Apache-2.0"}],
            }},
            "components": components,
        })
    }

    /// The words of the licences: each text once, with the crates that come under it.
    fn licences(&self) -> Result<String> {
        let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut told = format!("{NAME} {VERSION} is licensed under Apache-2.0. Its programs contain:\n\n");
        for it in &self.crates {
            let terms = it.license.as_deref().unwrap_or("see its licence");
            let _ = writeln!(told, "  {} {}: {terms}", it.name, it.version);
            for text in licence_texts(it)? {
                texts.entry(text).or_default().push(format!("{} {}", it.name, it.version));
            }
        }
        for (text, crates) in texts {
            let _ = write!(told, "\n{}\n{}\n\n{}\n", "-".repeat(78), crates.join(", "), text.trim_end());
        }
        Ok(told)
    }
}

/// The files beside the manifest of a crate that are its licence.
fn licence_texts(it: &Crate) -> Result<Vec<String>> {
    let folder = it.manifest_path.parent().unwrap_or(Path::new("/"));
    let mut texts = Vec::new();
    for file in super::files(folder)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        if file.is_file()
            && ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"].iter().any(|it| name.starts_with(it))
        {
            let text =
                std::fs::read_to_string(&file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
            texts.push(text.replace("\r\n", "\n"));
        }
    }
    Ok(texts)
}

fn write(path: &Path, text: &str) -> Result {
    std::fs::write(path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_bill_has_what_is_linked_and_not_what_builds_or_tests() {
        let crates = from_cargo_metadata().unwrap().crates;
        let has = |name: &str| crates.iter().any(|it| it.name == name);
        assert!(has("serde_json") && has("tokio") && has("openssh"));
        // Shipped binaries validate by themselves.
        assert!(!has("jsonschema") && !has("insta") && !has("proptest") && !has("og_common"));
        assert!(crates.iter().all(|it| it.license.is_some()));
    }
}
