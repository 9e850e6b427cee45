//! The tablespaces of a node, as its data directory has them: `pg_tblspc/OID` leads to a folder in which each version and
//! each node has one of its own, `PG_9.2_201611171_dn_6001`.

use std::fs;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A tablespace of users' own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tablespace {
    /// Its number in `pg_tablespace`.
    pub oid: u32,
    /// The names of nodes that have a folder there, by pgxc_node_name; more than one where data of another node were
    /// copied, or the node was started under another name.
    pub node_names: Vec<String>,
}

/// The tablespaces below this data directory, by number; none where it cannot be read.
#[must_use]
pub fn tablespaces(data_dir: &Path) -> Option<Vec<Tablespace>> {
    let entries = fs::read_dir(data_dir.join("pg_tblspc")).ok()?;
    let mut found: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let oid = entry.file_name().to_str()?.parse().ok()?;
            // What the link leads to may be gone.
            let folders = fs::read_dir(entry.path()).into_iter().flatten().flatten();
            let names = folders.filter_map(|f| node_name(f.file_name().to_str()?).map(str::to_owned));
            let mut node_names: Vec<_> = names.collect();
            node_names.sort();
            node_names.dedup();
            Some(Tablespace { oid, node_names })
        })
        .collect();
    found.sort_by_key(|one| one.oid);
    Some(found)
}

/// `dn_6001` of `PG_9.2_201611171_dn_6001`.
fn node_name(folder: &str) -> Option<&str> {
    let mut parts = folder.strip_prefix("PG_")?.splitn(3, '_');
    parts.nth(2).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tablespaces_and_whose_folders_are_in_them() {
        let top = tempfile::tempdir().unwrap();
        let data = top.path().join("data");
        assert_eq!(tablespaces(&data), None);
        fs::create_dir_all(data.join("pg_tblspc")).unwrap();
        assert_eq!(tablespaces(&data), Some(Vec::new()));
        let place = top.path().join("ts");
        for folder in ["PG_9.2_201611171_dn_6002", "PG_9.2_201611171_dn_6001_6002", "PG_15_202209061", "x"] {
            fs::create_dir_all(place.join(folder)).unwrap();
        }
        std::os::unix::fs::symlink(&place, data.join("pg_tblspc/16390")).unwrap();
        std::os::unix::fs::symlink(top.path().join("gone"), data.join("pg_tblspc/16391")).unwrap();
        let names = ["dn_6001_6002", "dn_6002"].map(str::to_owned).to_vec();
        let wanted =
            vec![Tablespace { oid: 16390, node_names: names }, Tablespace { oid: 16391, node_names: vec![] }];
        assert_eq!(tablespaces(&data), Some(wanted));
    }
}
