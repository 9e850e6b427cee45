//! Whether a server can see the tablespaces that lie in its data directory.
//!
//! A tablespace's files are in a directory named after the `pgxc_node_name` the server was started with
//! (`PG_9.2_201611171_dn_6001`). A build copies it under the source's name, so a standby that runs under another one does not
//! see what is in it, and what it replays goes to a directory of its own name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Role, ServerNode};
use crate::base::Call;
use crate::conf::ConfFile;

/// The parameter after whose value tablespace directories are named.
pub const NODE_NAME: &str = "pgxc_node_name";

/// What is wrong with the tablespaces of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Damage {
    /// Nothing.
    #[default]
    None,
    /// A tablespace has directories of two names: what is in one of them is not seen.
    TwoNames,
    /// The server's name becomes another one at its next start: it will not see what it sees now.
    NameChanges,
    /// A tablespace has no directory of the server's name: the server cannot read what is in it.
    NotSeen,
}

/// The tablespaces of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tablespaces {
    /// The node names in the names of their directories.
    pub names: Vec<String>,
    /// The `pgxc_node_name` that the server was started with; null when none runs, or it could not be asked.
    pub running: Option<String>,
    /// The one in postgresql.conf, with which it starts next.
    pub configured: Option<String>,
    /// What is wrong with them.
    pub damage: Damage,
}

impl Tablespaces {
    /// Whether the server does not see all that is in them, or will not after its next start. Two names alone may be a leftover
    /// of another life, beside which everything is seen.
    #[must_use]
    pub fn has_hidden_content(&self) -> bool {
        matches!(self.damage, Damage::NotSeen | Damage::NameChanges)
    }

    /// Judges the directories' names, one set for each tablespace; `None` when there are no tablespaces.
    #[must_use]
    pub fn new(
        spaces: &[BTreeSet<String>],
        running: Option<String>,
        configured: Option<String>,
    ) -> Option<Self> {
        let names: BTreeSet<&String> = spaces.iter().flatten().collect();
        if names.is_empty() {
            return None;
        }
        let own = running.as_ref().or(configured.as_ref());
        let unseen =
            own.is_some_and(|own| spaces.iter().any(|names| !names.is_empty() && !names.contains(own)));
        let changes = matches!((&running, &configured), (Some(now), Some(next)) if now != next);
        let damage = if unseen {
            Damage::NotSeen
        } else if changes {
            Damage::NameChanges
        } else if spaces.iter().any(|names| names.len() > 1) {
            Damage::TwoNames
        } else {
            Damage::None
        };
        Some(Self { names: names.into_iter().cloned().collect(), running, configured, damage })
    }

    /// Returns what is wrong and what cures it on a node of this role; `None` when nothing is wrong.
    #[must_use]
    pub fn warning(&self, role: Role) -> Option<String> {
        let named =
            |name: &Option<String>| name.as_deref().map_or("unknown".to_owned(), |n| format!("'{n}'"));
        let own = self.running.as_ref().or(self.configured.as_ref()).cloned();
        let there = self.names.join(" and ");
        let wrong = match self.damage {
            Damage::None => return None,
            Damage::NotSeen => format!(
                "tablespaces lie in directories named after {there}, and the server's {NODE_NAME} is {}: it cannot read \
                 what is in them, and what it writes goes elsewhere",
                named(&own)
            ),
            Damage::NameChanges => format!(
                "the server runs with {NODE_NAME} {} and starts next with {}, and tablespaces lie in directories named \
                 after {there}: what is in those that are not named after it is not seen",
                named(&self.running),
                named(&self.configured)
            ),
            Damage::TwoNames => format!(
                "a tablespace has directories named after {there}: what lies in the one that is not the server's own \
                 ({}) is not seen",
                named(&own)
            ),
        };
        let cure = match (role, self.damage) {
            (Role::Primary | Role::Normal, Damage::NameChanges) => {
                format!("set {NODE_NAME} back to {} before it is restarted (og_guc)", named(&self.running))
            }
            (Role::Primary | Role::Normal, Damage::NotSeen) => format!(
                "set {NODE_NAME} to the name of the directories (og_guc) and restart it before anything is written"
            ),
            (Role::Primary | Role::Normal, _) => {
                "find out what is in the other one, and save both before you remove anything".to_owned()
            }
            _ => "build it in full (og_build with mode full)".to_owned(),
        };
        Some(format!("{wrong}; {cure}"))
    }

    /// Whether only a full build makes a standby whole again.
    #[must_use]
    pub fn needs_full_build(&self) -> bool {
        self.damage != Damage::None
    }
}

impl ServerNode {
    /// Reads the tablespaces; `None` when the node has none. A server that runs is asked for its name only then.
    pub async fn tablespaces(&self, call: &Call) -> Option<Tablespaces> {
        let mut spaces = directories(&self.data_dir);
        if spaces.values().all(BTreeSet::is_empty) {
            return None;
        }
        let configured = self.node_name();
        let running = self.running_node_name(call).await;
        if spaces.values().any(|names| names.len() > 1) {
            disregard_neighbours(&self.data_dir, &mut spaces);
        }
        Tablespaces::new(&spaces.into_values().collect::<Vec<_>>(), running, configured)
    }

    /// The `pgxc_node_name` in postgresql.conf.
    #[must_use]
    pub fn node_name(&self) -> Option<String> {
        node_name_of(&self.data_dir)
    }

    async fn running_node_name(&self, call: &Call) -> Option<String> {
        self.running_pid()?;
        let rows = self.sql_within(call, "show pgxc_node_name", Duration::from_secs(10)).await.ok()?;
        rows.into_iter().flatten().next()
    }
}

fn node_name_of(data_dir: &Path) -> Option<String> {
    let text = crate::files::read(&data_dir.join("postgresql.conf")).ok()?;
    ConfFile::parse(&text).get(NODE_NAME).map(|setting| setting.text().trim().to_owned())
}

/// The node names of each tablespace's directories, by the tablespace's number.
fn directories(data_dir: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut spaces = BTreeMap::new();
    for entry in std::fs::read_dir(data_dir.join("pg_tblspc")).into_iter().flatten().flatten() {
        let Ok(number) = entry.file_name().into_string() else { continue };
        let inside = std::fs::read_dir(entry.path()).into_iter().flatten().flatten();
        let names = inside.filter_map(|inner| name_of(inner.file_name().to_str()?).map(str::to_owned));
        spaces.insert(number, names.collect());
    }
    spaces
}

/// Whether the server's own directory of some tablespace is empty while one of another name is not.
#[must_use]
pub fn has_directory_of_another_name(data_dir: &Path, own: &str) -> bool {
    let filled = |path: &Path| std::fs::read_dir(path).is_ok_and(|mut inside| inside.next().is_some());
    std::fs::read_dir(data_dir.join("pg_tblspc")).into_iter().flatten().flatten().any(|space| {
        let inside = std::fs::read_dir(space.path()).into_iter().flatten().flatten();
        let named: Vec<(bool, bool)> = inside
            .filter_map(|entry| Some((name_of(entry.file_name().to_str()?)? == own, filled(&entry.path()))))
            .collect();
        named.contains(&(false, true)) && !named.contains(&(true, true))
    })
}

/// The node's tablespace directories of this name.
#[must_use]
pub fn directories_of(data_dir: &Path, name: &str) -> Vec<std::path::PathBuf> {
    let spaces = std::fs::read_dir(data_dir.join("pg_tblspc")).into_iter().flatten().flatten();
    let inside = spaces.flat_map(|space| std::fs::read_dir(space.path()).into_iter().flatten().flatten());
    let named = |entry: &std::fs::DirEntry| entry.file_name().to_str().and_then(name_of) == Some(name);
    inside.filter(named).map(|entry| entry.path()).collect()
}

/// The node name in a directory's name such as `PG_9.2_201611171_dn_6001`; PostgreSQL's have none.
fn name_of(directory: &str) -> Option<&str> {
    let (release, rest) = directory.strip_prefix("PG_")?.split_once('_')?;
    let (catalog, name) = rest.split_once('_')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    (digits(release) && digits(catalog) && !name.is_empty()).then_some(name)
}

/// Takes away the names of other servers of this machine that have their tablespaces in the same places: that is what the
/// name in the directories is for.
fn disregard_neighbours(data_dir: &Path, spaces: &mut BTreeMap<String, BTreeSet<String>>) {
    let own = std::fs::canonicalize(data_dir).ok();
    let places: BTreeMap<_, _> = spaces
        .keys()
        .filter_map(|number| {
            Some((std::fs::canonicalize(data_dir.join("pg_tblspc").join(number)).ok()?, number.clone()))
        })
        .collect();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        // A server's working directory is its data directory.
        let Ok(other) = std::fs::canonicalize(entry.path().join("cwd")) else { continue };
        if Some(&other) == own.as_ref() || !other.join("postmaster.pid").exists() {
            continue;
        }
        let Some(name) = node_name_of(&other) else { continue };
        for entry in std::fs::read_dir(other.join("pg_tblspc")).into_iter().flatten().flatten() {
            let place = std::fs::canonicalize(entry.path()).ok();
            if let Some(names) = place.and_then(|place| spaces.get_mut(places.get(&place)?)) {
                names.remove(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn judged(spaces: &[&[&str]], running: Option<&str>, configured: Option<&str>) -> Option<Damage> {
        let sets: Vec<BTreeSet<String>> =
            spaces.iter().map(|names| names.iter().map(|name| (*name).to_owned()).collect()).collect();
        let of = |name: Option<&str>| name.map(str::to_owned);
        Tablespaces::new(&sets, of(running), of(configured)).map(|found| found.damage)
    }

    #[test]
    fn the_damage_is_told_by_the_names_of_directories_and_server() {
        let (one, two) = (Some("dn_6001"), Some("dn_6002"));
        assert_eq!(judged(&[], one, one), None);
        assert_eq!(judged(&[&[]], one, two), None, "a name that changes harms nobody without tablespaces");
        assert_eq!(judged(&[&["dn_6001"]], one, one), Some(Damage::None));
        assert_eq!(judged(&[&["dn_6001"]], None, one), Some(Damage::None));
        // Right after a build from a primary of another name.
        assert_eq!(judged(&[&["dn_6001"]], two, two), Some(Damage::NotSeen));
        assert_eq!(judged(&[&["dn_6001"]], two, one), Some(Damage::NotSeen));
        assert_eq!(judged(&[&["dn_6001"]], None, two), Some(Damage::NotSeen));
        assert_eq!(judged(&[&["dn_6001"], &["dn_6002"]], one, one), Some(Damage::NotSeen));
        // What it has replayed since.
        assert_eq!(judged(&[&["dn_6001", "dn_6002"]], two, one), Some(Damage::NameChanges));
        assert_eq!(judged(&[&["dn_6002"]], two, one), Some(Damage::NameChanges));
        // After a restart.
        assert_eq!(judged(&[&["dn_6001", "dn_6002"]], one, one), Some(Damage::TwoNames));
    }

    #[test]
    fn the_cure_is_that_of_the_role() {
        let broken = Tablespaces {
            names: vec!["dn_6001".to_owned()],
            running: Some("dn_6002".to_owned()),
            configured: Some("dn_6001".to_owned()),
            damage: Damage::NotSeen,
        };
        assert!(broken.warning(Role::Standby).unwrap().contains("og_build"));
        let changes = Tablespaces { damage: Damage::NameChanges, ..broken.clone() };
        let words = changes.warning(Role::Primary).unwrap();
        assert!(words.contains("set pgxc_node_name back to 'dn_6002'"), "{words}");
        assert_eq!(Tablespaces { damage: Damage::None, ..broken }.warning(Role::Standby), None);
    }

    #[test]
    fn directories_are_read_through_the_links() {
        let home = tempfile::tempdir().unwrap();
        let (data, place) = (home.path().join("data"), home.path().join("place"));
        std::fs::create_dir_all(data.join("pg_tblspc")).unwrap();
        for name in ["PG_9.2_201611171_dn_6001", "PG_9.2_201611171_dn_6002", "PG_17_202406281", "pgsql_tmp"] {
            std::fs::create_dir_all(place.join(name)).unwrap();
        }
        std::os::unix::fs::symlink(&place, data.join("pg_tblspc/16390")).unwrap();
        let found = directories(&data);
        let names: Vec<_> = found["16390"].iter().map(String::as_str).collect();
        assert_eq!(names, ["dn_6001", "dn_6002"]);
        assert_eq!(name_of("PG_9.2_201611171_"), None);
    }

    #[test]
    fn a_server_of_this_machine_that_shares_the_place_is_no_damage() {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join("place");
        for name in ["PG_9.2_201611171_dn_6001", "PG_9.2_201611171_dn_6002"] {
            std::fs::create_dir_all(place.join(name)).unwrap();
        }
        let node = |name: &str| {
            let data = home.path().join(name);
            std::fs::create_dir_all(data.join("pg_tblspc")).unwrap();
            std::os::unix::fs::symlink(&place, data.join("pg_tblspc/16390")).unwrap();
            std::fs::write(data.join("postgresql.conf"), format!("pgxc_node_name = '{name}'\n")).unwrap();
            std::fs::write(data.join("postmaster.pid"), "1\n").unwrap();
            data
        };
        let (own, other) = (node("dn_6001"), node("dn_6002"));
        let mut spaces = directories(&own);
        disregard_neighbours(&own, &mut spaces);
        assert_eq!(spaces["16390"].len(), 2, "nobody runs there");
        let mut server =
            std::process::Command::new("/bin/sleep").arg("600").current_dir(&other).spawn().unwrap();
        disregard_neighbours(&own, &mut spaces);
        server.kill().unwrap();
        server.wait().unwrap();
        assert_eq!(spaces["16390"].iter().collect::<Vec<_>>(), ["dn_6001"]);
    }
}
