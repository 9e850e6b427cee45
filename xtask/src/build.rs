//! Builds the modules and puts them where the Ansible collection takes them from.

use std::path::PathBuf;

use crate::shell::{Result, cargo, root, run, target};

/// The names of all modules: the folders of modules/.
pub fn modules() -> Result<Vec<String>> {
    let folder = root().join("modules");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(|e| format!("cannot read {}: {e}", folder.display()))? {
        let entry = entry.map_err(|e| e.to_string())?;
        if entry.path().join("Cargo.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Builds all modules as they are shipped, and the lab's programs; returns the folder with the modules only.
pub fn release() -> Result<PathBuf> {
    let names = modules()?;
    let mut command = cargo();
    command.args(["build", "--quiet", "--release", "--package", "og_lab"]);
    for name in &names {
        command.args(["--package", name]);
    }
    run(&mut command)?;
    let built = target().join("release");
    let folder = target().join("modules").join(std::env::consts::ARCH);
    std::fs::create_dir_all(&folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
    for name in &names {
        let (from, to) = (built.join(name), folder.join(name));
        if matches!((std::fs::read(&from), std::fs::read(&to)), (Ok(new), Ok(old)) if new == old) {
            continue;
        }
        // Through a second name, so that a copy that is being run is not written to.
        let part = folder.join(format!(".{name}.{}", std::process::id()));
        std::fs::copy(&from, &part)
            .and_then(|_| std::fs::rename(&part, &to))
            .map_err(|e| format!("cannot copy {} to {}: {e}", from.display(), to.display()))?;
    }
    Ok(folder)
}
