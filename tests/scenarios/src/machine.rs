//! Nodes that are machines: what was written on them, and the package that they get openGauss from.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use og_lab::{Installation, LabNode};

use crate::cluster::Result;

/// What was written on a machine: paths below its root, and what tells whether one was written to again.
pub type Written = BTreeMap<PathBuf, (u32, u32, u64, i64, i64)>;

/// All that was written on the machine since it came up bare.
///
/// # Errors
/// It cannot be read.
pub fn written(node: &LabNode) -> Result<Written> {
    fn walk(root: &Path, folder: &Path, found: &mut Written) -> std::io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            let own = path.strip_prefix(root).unwrap_or(&path);
            let (size, secs, nanos) =
                if meta.is_dir() { (0, 0, 0) } else { (meta.size(), meta.mtime(), meta.mtime_nsec()) };
            found.insert(Path::new("/").join(own), (meta.mode(), meta.uid(), size, secs, nanos));
            if meta.is_dir() {
                walk(root, &path, found)?;
            }
        }
        Ok(())
    }
    let (root, mut found) = (node.written_dir(), Written::new());
    walk(&root, &root, &mut found).map_err(|e| format!("cannot read {}: {e}", root.display()))?;
    Ok(found)
}

/// Packs an installation as the server of a release is packed.
///
/// # Errors
/// What tar says.
pub fn make_package(installation: Installation, folder: &Path) -> Result<PathBuf> {
    let (edition, number) = installation.version().rsplit_once('-').unwrap_or(("", installation.version()));
    let product = if edition.is_empty() { "openGauss".to_owned() } else { format!("openGauss-{edition}") };
    let package = folder.join(format!("openGauss-Server-{number}.tar.gz"));
    if package.exists() {
        return Ok(package);
    }
    let stage = folder.join("package");
    let cfg = stage.with_extension("cfg");
    fs::write(&cfg, format!("{product}-{number}\n92.854\n00000000\n"))
        .map_err(|e| format!("cannot write {}: {e}", cfg.display()))?;
    let home = installation.home();
    let parts = ["bin", "etc", "include", "lib", "share"].into_iter().filter(|part| home.join(part).exists());
    // A release has the system's libraries as files, where an installation may have links to them.
    let script = r#"set -e
package=$1 home=$2 stage=$3; shift 3
mkdir "$stage" && cp "$stage.cfg" "$stage/version.cfg"
cd "$home" && cp -a "$@" "$stage"
find "$stage" -type l -lname '/*' | while read -r link; do cp --remove-destination "$(readlink -f "$link")" "$link"; done
tar --owner=0 --group=0 --use-compress-program='gzip -1' -cf "$package.part" -C "$stage" .
rm -rf "$stage" && mv "$package.part" "$package""#;
    let done = Command::new("sh")
        .args(["-c", script, "sh"])
        .args([package.as_path(), home, &stage])
        .args(parts)
        .output()
        .map_err(|e| format!("cannot pack {}: {e}", home.display()))?;
    if done.status.success() { Ok(package) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
}
