//! Symbolic links in the data directories of a cluster_config.xml. OM follows those of the machine it runs on before it
//! writes them into the static config, so that the two files may name one folder differently.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use og_common::cluster::{Cluster, ClusterNode};

/// Data directories as they are written, and where they lead.
pub type Links = BTreeMap<String, String>;

/// Where the data directories of a cluster lead on this machine; only those that lead elsewhere.
pub fn find_links(cluster: &Cluster) -> Links {
    let dirs = cluster.data_nodes().map(|(_, d)| d.data_dir.as_str());
    dirs.map(|dir| (dir.to_owned(), resolve_path(dir))).filter(|(dir, real)| dir != real).collect()
}

/// Python's `os.path.realpath`: what is not there is taken as it is written.
fn resolve_path(path: &str) -> String {
    let mut rest: Vec<Component> = Vec::new();
    let mut known = Path::new(path);
    loop {
        if let Ok(found) = known.canonicalize() {
            let whole: PathBuf = found.components().chain(rest.into_iter().rev()).collect();
            return whole.to_str().unwrap_or(path).to_owned();
        }
        let (Some(last), Some(parent)) = (known.components().next_back(), known.parent()) else {
            return path.to_owned();
        };
        rest.push(last);
        known = parent;
    }
}

/// The cluster of an XML file as a static config has it: links followed, but for a folder that `present` names as the XML
/// file does.
pub fn follow_links(mut said: Cluster, links: &Links, present: Option<&Cluster>) -> Cluster {
    for node in &mut said.nodes {
        let old = present.and_then(|p| p.node(&node.name));
        for d in &mut node.data_nodes {
            if let Some(real) = links.get(&d.data_dir).filter(|_| !has_data_dir(old, &d.data_dir)) {
                d.data_dir.clone_from(real);
            }
        }
    }
    said.with_linked_peers()
}

/// The cluster in the words of the XML file, which says `said`: a folder that is another only by links is named as there.
pub fn restore_links(said: &Cluster, links: &Links, wanted: &Cluster) -> Cluster {
    let mut wanted = wanted.clone();
    for node in &mut wanted.nodes {
        let Some(there) = said.node(&node.name) else { continue };
        for d in &mut node.data_nodes {
            let named = there.data_nodes.iter().find(|t| links.get(&t.data_dir) == Some(&d.data_dir));
            if let Some(named) = named.filter(|_| !has_data_dir(Some(there), &d.data_dir)) {
                d.data_dir.clone_from(&named.data_dir);
            }
        }
    }
    wanted.with_linked_peers()
}

fn has_data_dir(node: Option<&ClusterNode>, dir: &str) -> bool {
    node.is_some_and(|n| n.data_nodes.iter().any(|d| d.data_dir == dir))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_leads_where_its_links_lead_whether_its_end_is_there_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        std::fs::create_dir(folder.join("disk")).unwrap();
        symlink(folder.join("disk"), folder.join("data")).unwrap();
        symlink("nowhere", folder.join("dead")).unwrap();
        let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        for (path, leads) in
            [("data", "disk"), ("data/db1/x", "disk/db1/x"), ("disk/a", "disk/a"), ("no/a", "no/a")]
        {
            assert_eq!(resolve_path(&at(path)), at(leads));
        }
        assert_eq!(resolve_path("/"), "/");
    }
}
