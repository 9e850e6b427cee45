//! The file that describes a cluster, whatever wrote it.

use std::path::{Path, PathBuf};

use og_common::cluster::dynamic_config::DynamicConfig;
use og_common::cluster::static_config::StaticConfig;
use og_common::cluster::{Cluster, ConfiguredRole, FIRST_INSTANCE, xml};
use og_common::files;
use og_common::protocol::{Error, ErrorKind};
use serde_json::{Map, Value, json};

use crate::inventory;

/// Names of the file where none is given.
const DEFAULTS: [&str; 3] = ["cluster.json", "cluster.yml", "cluster.yaml"];
/// Endings of the file of a cluster that is given by its name.
const ENDINGS: [&str; 3] = ["json", "yml", "yaml"];
/// Where the files of clusters that are given by their names lie, for all users of the machine.
const SYSTEM_FOLDER: &str = "/etc/opengauss-node";
/// Options that count only in a file that was named.
const MACHINE_OPTIONS: [&str; 2] = ["og_notify", "og_record"];
/// The length of a static config's header, by which it is known.
const STATIC_HEADER: [u8; 4] = [28, 0, 0, 0];

/// The cluster as og_workflow takes it, `{hosts, vars, reached_by}`, and what should be looked at.
pub type Described = (Value, Vec<String>);

/// Reads the file, or that of the cluster of this name, or the one in this folder.
///
/// # Errors
/// There is none, or it cannot be understood.
pub fn read(file: Option<&Path>, cluster: Option<&str>) -> Result<Described, Error> {
    match (file, cluster) {
        (Some(file), cluster) => read_known(file, cluster),
        // The name has found the file, and means nothing within it.
        (None, Some(name)) => read_known(&find_named(name)?, None),
        (None, None) => match DEFAULTS.iter().map(Path::new).find(|path| path.exists()) {
            Some(file) => read_known(file, None).map(|described| without_commands(file, described)),
            None => Err(Error::bad_args(
                "there is no cluster.json or cluster.yml here, which would describe the cluster",
            )
            .hint("name the file with -f, or the cluster with --cluster")),
        },
    }
}

/// The cluster without what decides what runs and is written on this machine: a file that merely lies in the folder may be
/// anybody's.
fn without_commands(file: &Path, (mut cluster, mut warnings): Described) -> Described {
    let vars = cluster.get_mut("vars").and_then(Value::as_object_mut);
    let taken = vars.map(|vars| MACHINE_OPTIONS.iter().filter(|name| vars.remove(**name).is_some()).copied());
    for name in taken.into_iter().flatten() {
        let file = file.display();
        warnings.push(format!("{file}: {name} does not count in a file that was not named; give -f {file}"));
    }
    (cluster, warnings)
}

/// The names of the nodes in it.
///
/// # Errors
/// As for [`read`].
pub fn node_names(file: Option<&Path>, cluster: Option<&str>) -> Result<Vec<String>, Error> {
    let (described, _) = read(file, cluster)?;
    Ok(described["hosts"].as_object().into_iter().flat_map(Map::keys).cloned().collect())
}

fn find_named(name: &str) -> Result<PathBuf, Error> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(Error::bad_args(format!("--cluster: {name:?} is no name of a cluster")));
    }
    let home = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|folder| !folder.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")));
    let folders: Vec<PathBuf> =
        home.map(|home| home.join("opengauss-node")).into_iter().chain([SYSTEM_FOLDER.into()]).collect();
    let all = folders.iter().flat_map(|folder| ENDINGS.map(|ending| folder.join(format!("{name}.{ending}"))));
    all.into_iter().find(|path| path.exists()).ok_or_else(|| {
        let looked: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
        Error::bad_args(format!(
            "--cluster: there is no {name}.json or {name}.yml in {}",
            looked.join(" or ")
        ))
    })
}

/// Reads the file, and adds its name for the message that none of its nodes could be reached.
fn read_known(path: &Path, cluster: Option<&str>) -> Result<Described, Error> {
    let (mut described, warnings) = read_file(path, cluster)?;
    described["reached_by"] = json!(format!("the addresses, ssh users and ports in {}", path.display()));
    Ok((described, warnings))
}

fn read_file(path: &Path, cluster: Option<&str>) -> Result<Described, Error> {
    if path.is_dir() {
        return inventory::ask_ansible(path, cluster);
    }
    let bytes = std::fs::read(path).map_err(|e| {
        Error::bad_args(format!("cannot read {}, which describes the cluster: {e}", path.display()))
    })?;
    let named = |e: Error| {
        let failure = e.failure();
        let error = Error::bad_args(format!("{}: {}", path.display(), failure.detail));
        match &failure.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    };
    let of_opengauss = |cluster: &Cluster, roles: &[(u32, ConfiguredRole)]| {
        let (hosts, empty) = hosts(cluster, roles);
        let without = |name: String| format!("{}: {name} has no server, and is left out", path.display());
        (json!({ "hosts": hosts, "vars": {} }), empty.into_iter().map(without).collect::<Vec<String>>())
    };
    if bytes.get(4..8) == Some(&STATIC_HEADER) {
        single(path, cluster)?;
        let config = StaticConfig::parse(&bytes).map_err(named)?;
        let (roles, warning) = live_roles(&path.with_file_name("cluster_dynamic_config"))?;
        let (described, mut warnings) = of_opengauss(&config.cluster, &roles);
        warnings.extend(warning);
        return Ok((described, warnings));
    }
    if bytes.trim_ascii_start().first() == Some(&b'<') {
        single(path, cluster)?;
        let parsed = xml::decode_text(&bytes)
            .and_then(xml::Document::parse_any)
            .and_then(|document| document.cluster());
        return Ok(of_opengauss(&parsed.map_err(named)?, &[]));
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        Error::bad_args(format!("{} is no text, and no cluster_static_config", path.display()))
    })?;
    match parse_text(path, &text) {
        Ok(value) => match described(path, &value)? {
            Some(described) => single(path, cluster).map(|()| (described, Vec::new())),
            None => inventory::read(path, &value, cluster),
        },
        // Such as an inventory in INI, or a script.
        Err(_) if !text.trim_start().starts_with('{') && !is_yaml(path) => {
            inventory::ask_ansible(path, cluster)
        }
        Err(e) => Err(e),
    }
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known))
}

fn parse_text(path: &Path, text: &str) -> Result<Value, Error> {
    let wrong = |why: String| Error::bad_args(format!("{}: {why}", path.display()));
    let value: Value = if text.trim_start().starts_with('{') {
        serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?
    } else {
        serde_saphyr::from_str(text).map_err(|e| wrong(e.to_string()))?
    };
    if value.is_object() { Ok(value) } else { Err(wrong("it does not describe a cluster".to_owned())) }
}

/// A file in the shape that og_workflow takes: `hosts` and `vars` and nothing else. `None` for one without `hosts`, which
/// may be an inventory.
fn described(path: &Path, value: &Value) -> Result<Option<Value>, Error> {
    let Some(all) = value.as_object().filter(|all| all.contains_key("hosts")) else { return Ok(None) };
    match all.keys().find(|key| !["hosts", "vars"].contains(&key.as_str())) {
        Some(key) => Err(Error::bad_args(format!("{}: unknown key {key:?} beside hosts", path.display()))
            .hint("give what counts for all nodes under vars")),
        None => Ok(Some(value.clone())),
    }
}

/// Refuses a cluster's name for a file that describes one cluster, which has none there.
fn single(path: &Path, cluster: Option<&str>) -> Result<(), Error> {
    let Some(name) = cluster else { return Ok(()) };
    let what = format!("--cluster: {} describes one cluster, and has none named {name}", path.display());
    Err(Error::bad_args(what).hint("leave out -f or --cluster"))
}

/// Roles by instance, and what is to be told of the file.
type LiveRoles = (Vec<(u32, ConfiguredRole)>, Option<String>);

/// The roles that cluster_dynamic_config records, by instance; a switchover changes no static config.
fn live_roles(path: &Path) -> Result<LiveRoles, Error> {
    let bytes = match files::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok((Vec::new(), None)),
        Err(e) => return Err(e),
    };
    match DynamicConfig::parse(&bytes) {
        Ok(dynamic) => {
            Ok((dynamic.nodes.iter().flat_map(|n| &n.data_nodes).map(|d| (d.id, d.role)).collect(), None))
        }
        // CM's own record says nothing that can be relied on; who is the primary is asked of the servers anyway.
        Err(_) if DynamicConfig::is_cm_file(&bytes) => Ok((Vec::new(), None)),
        Err(e) => Ok((Vec::new(), Some(format!("{}: {}", path.display(), e.failure().detail)))),
    }
}

/// One host for each server, as the inventory plugin of the Ansible collection names them; and the machines without one.
fn hosts(cluster: &Cluster, roles: &[(u32, ConfiguredRole)]) -> (Map<String, Value>, Vec<String>) {
    let mut hosts = Map::new();
    for (n, d) in cluster.data_nodes() {
        let single = n.data_nodes.len() == 1;
        let id = if single { n.id } else { d.id.saturating_sub(FIRST_INSTANCE - 1) };
        let role = roles.iter().find(|(instance, _)| *instance == d.id).map_or(d.role, |(_, role)| *role);
        let first = |lists: [&[og_common::cluster::ClusterAddress]; 2]| {
            lists.into_iter().flatten().next().map(ToString::to_string).unwrap_or_default()
        };
        let mut own = json!({
            "ansible_host": first([&n.ssh_addresses, &n.addresses]),
            "address": first([&d.ha_addresses, &n.addresses]),
            "hostname": n.name,
            "id": id,
            "role": role,
            "zone": if n.zone.is_empty() { "AZ1" } else { &n.zone },
            "data_dir": d.data_dir,
            "base_port": d.port,
        });
        if d.id != FIRST_INSTANCE - 1 + id {
            own["application_name"] = json!(d.name());
        }
        hosts.insert(if single { n.name.clone() } else { format!("{}_{}", n.name, d.name()) }, own);
    }
    let empty = cluster.nodes.iter().filter(|n| n.data_nodes.is_empty()).map(|n| n.name.clone()).collect();
    (hosts, empty)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn written(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    const YAML: &str = "hosts:\n  n1: {address: 10.0.0.1, id: 1, role: primary}\n  n2: {address: 10.0.0.2, id: 2}\nvars:\n  data_dir: /d\n";

    #[test]
    fn json_yaml_and_an_inventory_describe_the_same_cluster() {
        let (_yaml, yaml) = written("cluster.yml", YAML);
        let wanted = read_file(&yaml, None).unwrap().0;
        let (_json, json) = written("cluster.json", &wanted.to_string());
        assert_eq!(read_file(&json, None).unwrap().0, wanted);
        let named = format!("the addresses, ssh users and ports in {}", json.display());
        assert_eq!(read(Some(&json), None).unwrap().0["reached_by"], json!(named));
        let indented = YAML.lines().flat_map(|line| ["  ", line, "\n"]).collect::<String>();
        let (_inventory, inventory) = written("inventory.yml", &format!("opengauss:\n{indented}"));
        assert_eq!(node_names(Some(&inventory), None).unwrap(), ["n1", "n2"]);
        let of_one = read(Some(&inventory), None).unwrap().0;
        assert_eq!(
            of_one["hosts"]["n1"],
            json!({"data_dir": "/d", "address": "10.0.0.1", "id": 1, "role": "primary"})
        );
    }

    #[test]
    fn a_file_that_was_not_named_decides_nothing_of_this_machine() {
        let vars =
            json!({"data_dir": "/d", "og_notify": ["touch", "/x"], "og_record": "none", "og_lock_ttl": 7});
        let described = (json!({"hosts": {"n1": {"id": 1}}, "vars": vars}), Vec::new());
        let (cluster, warnings) = without_commands(Path::new("cluster.json"), described);
        assert_eq!(cluster["vars"], json!({"data_dir": "/d", "og_lock_ttl": 7}));
        assert_eq!(
            warnings[0],
            "cluster.json: og_notify does not count in a file that was not named; give -f cluster.json"
        );
        assert_eq!(warnings.len(), 2);
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_with_the_place() {
        for (name, text, why) in [
            ("c.json", "{\"hosts\": 1,}", "line 1"),
            ("c.yml", "hosts: [", "c.yml: "),
            ("c.yml", "- n1\n", "it does not describe a cluster"),
            ("c.xml", "<ROOT>", "c.xml: "),
        ] {
            let (_folder, path) = written(name, text);
            let error = read(Some(&path), None).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BadArgs);
            assert!(error.to_string().contains(why), "{error}");
        }
        let (_folder, path) = written("c.yml", &format!("{YAML}og_rollback: false\n"));
        let error = read(Some(&path), None).unwrap_err().to_string();
        assert!(error.contains("unknown key \"og_rollback\" beside hosts"), "{error}");
        let (_folder, path) = written("c.yml", YAML);
        let error = read(Some(&path), Some("blue")).unwrap_err().to_string();
        assert!(error.contains("describes one cluster, and has none named blue"), "{error}");
        for name in ["../x", "", ".x", "nowhere-to-be-found"] {
            assert!(read(None, Some(name)).unwrap_err().to_string().contains("--cluster"), "{name}");
        }
    }
}
