//! The layers of this crate: a folder uses only what stands above it in the list of `src/lib.rs`.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The layers as the documentation of the crate lists them.
fn layers() -> Vec<String> {
    let lib = std::fs::read_to_string(source().join("lib.rs")).unwrap();
    let listed = lib.lines().filter_map(|line| line.strip_prefix("//! * "));
    let heads = listed.map(|line| line.split(':').next().unwrap().to_owned());
    heads.flat_map(|head| head.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

/// The first names of the paths that begin with `root`.
fn used<'a>(text: &'a str, root: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(root).skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

#[test]
fn a_folder_uses_only_what_stands_above_it() {
    let layers = layers();
    let mut folders: Vec<String> = std::fs::read_dir(source())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    folders.sort();
    let mut sorted = layers.clone();
    sorted.sort();
    assert_eq!(folders, sorted, "each folder of src stands once in the list of src/lib.rs");
    for (height, layer) in layers.iter().enumerate() {
        let mut found = Vec::new();
        files(&source().join(layer), &mut found);
        for path in found {
            let text = std::fs::read_to_string(&path).unwrap();
            let path = path.display();
            for name in used(&text, "crate::") {
                let place = layers.iter().position(|other| other == name);
                assert!(place.is_some(), "{path} uses crate::{name}: name a layer, one use for each");
                assert!(place <= Some(height), "{path} is in {layer} and uses {name}, which stands below it");
            }
            for name in used(&text, "super::") {
                assert!(!layers.iter().any(|other| other == name), "{path} leaves {layer} by super::{name}");
            }
        }
    }
}

/// The workflows judge the facts of all nodes by the checks of og_preflight.
const MAY_USE: [(&str, &str); 1] = [("og_workflow", "og_preflight")];

#[test]
fn no_module_uses_another_one() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../modules");
    let names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for module in &names {
        let manifest = std::fs::read_to_string(folder.join(module).join("Cargo.toml")).unwrap();
        let used = manifest.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
        for name in used.filter(|name| names.iter().any(|other| other == name && other != module)) {
            let may = MAY_USE.contains(&(module.as_str(), name));
            assert!(may, "{module} uses {name}: what two modules share belongs in og_common");
        }
    }
}
