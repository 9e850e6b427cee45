//! The certificates of new nodes, carried to them before their servers start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{Run, args, require_success};
use crate::args::{CertificateFile, CertificateFolder, PutFile, Shown};
use crate::replay::{Calls, Go};

/// The program that receives them.
const FILE: &str = "og_file";
/// The server refuses a key, and a certificate as well, that others can read.
const MODE: &str = "0600";
/// The step that carries them.
const TRANSFER: &str = "Transfer the certificates";

/// The files on this machine, and where the nodes are to have them.
pub(super) struct Certificates {
    nodes: BTreeMap<String, Vec<CertificateFile>>,
    data_dirs: BTreeMap<String, PathBuf>,
}

/// Inspects the files of these nodes on this machine; none where the nodes get none. What is wrong with them is found before anything
/// is changed.
pub(super) fn inspect(it: &mut Run, nodes: &[String]) -> Go<Option<Certificates>> {
    let folder = &it.how.options.og_ssl;
    // A node that is not known is named when all are inspected.
    let hosts: Vec<_> = it.hosts.iter().filter(|host| nodes.contains(&host.name)).collect();
    if folder.is_empty() || hosts.is_empty() {
        return Ok(None);
    }
    let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
    let own = args(json!({"workflow": "certificates", "targets": names, "options": {"og_ssl": folder}}));
    let found: CertificateFolder = it
        .replay
        .ask_here("Inspect the certificates", "og_workflow", &own, |_| false)?
        .read_key("certificates");
    let (mut data_dirs, mut findings) = (BTreeMap::new(), Vec::new());
    findings.extend(found.problems.iter().map(|problem| format!("og_ssl: {problem}")));
    for host in &hosts {
        let (name, common) = (&host.name, host.common());
        let data_dir = common.get("data_dir").and_then(Value::as_str).map(Path::new);
        match data_dir.filter(|path| path.is_absolute()) {
            Some(path) => drop(data_dirs.insert(name.clone(), path.to_owned())),
            None => findings.push(format!(
                "{name}: has no data_dir in the inventory, so it is not known where its certificates go; give it one"
            )),
        }
        if found.problems.is_empty() && !found.nodes.contains_key(name) {
            findings.push(format!("og_ssl: nothing was told of the certificates of {name}"));
        }
    }
    it.refuse(findings)?;
    it.warnings.extend(found.warnings.iter().map(|warning| format!("og_ssl: {warning}")));
    Ok(Some(Certificates { nodes: found.nodes, data_dirs }))
}

/// Finds before any change what keeps these nodes from taking their files, such as a symbolic link on the way to the data directory.
pub(super) fn check(it: &mut Run, certificates: Option<&Certificates>, nodes: &[String]) -> Go {
    let Some(certificates) = certificates else { return Ok(()) };
    let foreseen =
        it.foresee("Check whether the nodes take the certificates", FILE, certificates.calls(nodes))?;
    it.refuse(super::failure_reasons(&[&foreseen]))
}

/// Brings these nodes their files, where they differ.
pub(super) fn bring(it: &mut Run, certificates: Option<&Certificates>, nodes: &[String]) -> Go {
    let Some(certificates) = certificates else { return Ok(()) };
    if it.how.check {
        return require_success(&[&it.step(TRANSFER, FILE, certificates.calls(nodes))?]);
    }
    it.replay.shown = Shown::default();
    let done = it.replay.put(TRANSFER, FILE, &certificates.files(nodes))?;
    it.add_warnings(&done);
    it.record_answers(TRANSFER, &done);
    require_success(&[&done])
}

impl Certificates {
    fn files(&self, nodes: &[String]) -> Vec<(String, Map<String, Value>, PutFile)> {
        let put = |node: &String, file: &CertificateFile| {
            let to = self.data_dirs.get(node)?.join(&file.name).display().to_string();
            let own = args(json!({"path": to, "sha256": file.sha256, "size": file.size, "mode": MODE}));
            let (from, sha256) = (file.path.clone(), file.sha256.clone());
            Some((node.clone(), own, PutFile { from, to, sha256, mode: MODE.to_owned() }))
        };
        let each = nodes.iter().filter_map(|node| Some((node, self.nodes.get(node)?)));
        each.flat_map(|(node, files)| files.iter().filter_map(move |file| put(node, file))).collect()
    }

    fn calls(&self, nodes: &[String]) -> Calls {
        self.files(nodes).into_iter().map(|(node, own, _)| (node, own)).collect()
    }
}
