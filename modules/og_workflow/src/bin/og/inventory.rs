//! An Ansible inventory: one in YAML is read here as far as it is plain; of any other, `ansible-inventory` is asked.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use og_common::protocol::Error;
use serde_json::{Map, Value, json};

use crate::cluster_file::Described;

/// The group that is the cluster where none is named, as in the playbooks.
const GROUP: &str = "opengauss";
/// Folders beside an inventory that have variables, too.
const VARIABLE_FOLDERS: [&str; 2] = ["group_vars", "host_vars"];
/// Variables by which Ansible reaches a host in a way that ssh's own configuration has to say here.
const WAYS: [&str; 6] = [
    "ansible_ssh_private_key_file",
    "ansible_private_key_file",
    "ansible_ssh_common_args",
    "ansible_ssh_extra_args",
    "ansible_password",
    "ansible_become",
];

/// Reads an inventory in YAML.
///
/// # Errors
/// It does not describe a cluster, or only Ansible can tell.
pub fn read(path: &Path, inventory: &Value, cluster: Option<&str>) -> Result<Described, Error> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let plain = !VARIABLE_FOLDERS.iter().any(|name| folder.join(name).exists());
    match plain.then(|| Groups::read(inventory)).flatten() {
        Some(groups) => groups.cluster(path, cluster.unwrap_or(GROUP)),
        None => ask_ansible(path, cluster),
    }
}

/// One group, or the same one where it is named again.
#[derive(Debug, Default)]
struct Group {
    name: String,
    parents: BTreeSet<usize>,
    hosts: Vec<(String, Map<String, Value>)>,
    vars: Map<String, Value>,
}

/// The groups of an inventory.
#[derive(Debug, Default)]
struct Groups(Vec<Group>);

impl Groups {
    /// Reads it; `None` when something of it means more than it says.
    fn read(inventory: &Value) -> Option<Self> {
        let mut groups = Self::default();
        for (name, group) in inventory.as_object()? {
            groups.add(name, group, None)?;
        }
        Some(groups)
    }

    fn add(&mut self, name: &str, group: &Value, parent: Option<usize>) -> Option<()> {
        let at = self.0.iter().position(|g| g.name == name).unwrap_or_else(|| {
            self.0.push(Group { name: name.to_owned(), ..Group::default() });
            self.0.len() - 1
        });
        self.0[at].parents.extend(parent);
        let empty = Map::new();
        let of =
            |value: &Value| if value.is_null() { Some(empty.clone()) } else { value.as_object().cloned() };
        let group = of(group)?;
        for (key, value) in &group {
            match key.as_str() {
                "hosts" => {
                    for (host, vars) in of(value)? {
                        let vars = of(&vars)?;
                        // A range of hosts, or a value that is a template or encrypted.
                        if host.contains('[') || !vars.values().all(is_plain) {
                            return None;
                        }
                        match self.0[at].hosts.iter_mut().find(|(name, _)| *name == host) {
                            Some((_, known)) => known.extend(vars),
                            None => self.0[at].hosts.push((host, vars)),
                        }
                    }
                }
                "vars" => {
                    let vars = of(value)?;
                    // Ansible lets a group weigh more by this.
                    if vars.contains_key("ansible_group_priority") || !vars.values().all(is_plain) {
                        return None;
                    }
                    self.0[at].vars.extend(vars);
                }
                "children" => {
                    for (child, group) in of(value)? {
                        self.add(&child, &group, Some(at))?;
                    }
                }
                _ => return None,
            }
        }
        Some(())
    }

    /// Steps from `all` to the group.
    fn depth(&self, at: usize) -> usize {
        // A group within itself has no depth; Ansible refuses it.
        fn walk(groups: &Groups, at: usize, left: usize) -> usize {
            if groups.0[at].name == "all" || left == 0 {
                return 0;
            }
            1 + groups.0[at].parents.iter().map(|p| walk(groups, *p, left - 1)).max().unwrap_or(0)
        }
        walk(self, at, self.0.len())
    }

    fn is_within(&self, at: usize, group: usize, left: usize) -> bool {
        at == group
            || (left > 0 && self.0[at].parents.iter().any(|parent| self.is_within(*parent, group, left - 1)))
    }

    fn cluster(&self, path: &Path, name: &str) -> Result<Described, Error> {
        let Some(group) = self.0.iter().position(|g| g.name == name) else {
            let known: Vec<_> = self.0.iter().map(|g| g.name.as_str()).collect();
            return Err(no_group(path, name, &known));
        };
        let count = self.0.len();
        let mut hosts: Vec<String> = Vec::new();
        for (at, g) in self.0.iter().enumerate() {
            let own = g.hosts.iter().filter(|_| self.is_within(at, group, count));
            hosts.extend(own.map(|(host, _)| host.clone()));
        }
        let mut all = Map::new();
        for host in hosts {
            if all.contains_key(&host) {
                continue;
            }
            // Those of a group that is nearer to the host count more, and of groups that are as near the later name.
            let mut around: Vec<usize> = (0..count)
                .filter(|at| {
                    self.0[*at].name == "all"
                        || self.0.iter().enumerate().any(|(own, g)| {
                            g.hosts.iter().any(|(name, _)| *name == host) && self.is_within(own, *at, count)
                        })
                })
                .collect();
            around.sort_by_key(|at| (self.depth(*at), self.0[*at].name.clone()));
            let mut vars = Map::new();
            for at in &around {
                vars.extend(self.0[*at].vars.clone());
            }
            for g in &self.0 {
                for (_, own) in g.hosts.iter().filter(|(name, _)| *name == host) {
                    vars.extend(own.clone());
                }
            }
            all.insert(host, Value::Object(vars));
        }
        described(all)
    }
}

fn is_plain(value: &Value) -> bool {
    match value {
        Value::String(text) => {
            !text.contains("{{") && !text.contains("{%") && !text.starts_with("$ANSIBLE_VAULT")
        }
        Value::Array(list) => list.iter().all(is_plain),
        Value::Object(map) => map.values().all(is_plain),
        _ => true,
    }
}

fn no_group(path: &Path, name: &str, known: &[&str]) -> Error {
    let known: Vec<_> = known.iter().filter(|group| !["all", "ungrouped"].contains(group)).copied().collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Error::bad_args(format!("{} has no group {name} (its groups: {known})", path.display()))
        .hint("name the group that is the cluster with --cluster")
}

/// The hosts as a cluster. Options count for all nodes and so have to be the same for all.
fn described(hosts: Map<String, Value>) -> Result<Described, Error> {
    let mut hosts = hosts;
    let mut vars = Map::new();
    let mut ways = BTreeSet::new();
    let others = og_workflow::variables::names();
    let mut options: BTreeSet<String> = BTreeSet::new();
    for own in hosts.values().filter_map(Value::as_object) {
        ways.extend(WAYS.iter().filter(|way| own.get(**way).is_some_and(|value| *value != json!(false))));
        let names = own.keys().filter(|key| key.starts_with("og_") && !others.contains(&key.as_str()));
        options.extend(names.cloned());
    }
    for option in options {
        // A host without it counts, too: the workflow would go by it there as well.
        let mut values = hosts
            .iter_mut()
            .filter_map(|(name, own)| Some((name, own.as_object_mut()?.remove(&option).unwrap_or_default())));
        let Some((first, value)) = values.next() else { continue };
        if let Some((name, other)) = values.find(|(_, other)| *other != value) {
            let shown =
                |value: &Value| if value.is_null() { "not set".to_owned() } else { value.to_string() };
            let detail =
                format!("{option} is {} for {first} and {} for {name}", shown(&value), shown(&other));
            return Err(Error::bad_args(detail).hint("set it for the whole group: it counts for all nodes"));
        }
        vars.insert(option, value);
    }
    let warnings = if ways.is_empty() {
        Vec::new()
    } else {
        let ways: Vec<&str> = ways.into_iter().copied().collect();
        vec![format!("only Ansible goes by {}; og goes by the configuration of ssh", ways.join(" and "))]
    };
    Ok((json!({ "hosts": hosts, "vars": vars }), warnings))
}

/// Has `ansible-inventory` read it.
///
/// # Errors
/// There is no such program, or it cannot.
pub fn ask_ansible(path: &Path, cluster: Option<&str>) -> Result<Described, Error> {
    let program = "ansible-inventory";
    let wrong = |why: String| Error::bad_args(format!("{}: {why}", path.display()));
    let done = Command::new(program).args(["--list", "-i"]).arg(path).stdin(Stdio::null()).output().map_err(
        |e| {
            wrong(format!("it takes {program} to read this inventory, and that cannot be run: {e}"))
                .hint("install ansible-core, or describe the cluster in a cluster.json")
        },
    )?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(wrong(format!("{program} failed: {}", said.trim().replace('\n', " / "))));
    }
    let list: Value =
        serde_json::from_slice(&done.stdout).map_err(|e| wrong(format!("{program} printed no JSON: {e}")))?;
    from_list(path, &list, cluster.unwrap_or(GROUP))
}

/// What `ansible-inventory --list` prints, as a cluster.
fn from_list(path: &Path, list: &Value, name: &str) -> Result<Described, Error> {
    if list.get(name).is_none() {
        let known: Vec<_> = list.as_object().into_iter().flat_map(Map::keys).map(String::as_str).collect();
        let known: Vec<_> = known.into_iter().filter(|group| *group != "_meta").collect();
        return Err(no_group(path, name, &known));
    }
    let mut hosts = Map::new();
    let (mut groups, mut at) = (vec![name.to_owned()], 0);
    while let Some(group) = groups.get(at).and_then(|name| list.get(name.as_str())) {
        at += 1;
        let texts = |key: &str| {
            let all = group[key].as_array().into_iter().flatten().filter_map(Value::as_str);
            all.map(str::to_owned).collect::<Vec<_>>()
        };
        for host in texts("hosts") {
            let vars = list["_meta"]["hostvars"].get(&host).cloned().unwrap_or_else(|| json!({}));
            if let Some((key, _)) =
                vars.as_object().into_iter().flatten().find(|(key, v)| !is_plain(v) && is_read(key))
            {
                let detail = format!(
                    "{}: {host}: {key} is a template, which only Ansible can fill in",
                    path.display()
                );
                return Err(Error::bad_args(detail).hint("give its value"));
            }
            hosts.entry(host).or_insert(vars);
        }
        groups.extend(
            texts("children").into_iter().filter(|child| !groups.contains(child)).collect::<Vec<_>>(),
        );
    }
    described(hosts)
}

/// Whether the workflows look at the variable; one that is named as their options are is looked at, to be refused.
fn is_read(name: &str) -> bool {
    og_workflow::variables::is_read(name) || name.starts_with("og_")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn find(inventory: &Value, name: &str) -> Result<Described, Error> {
        Groups::read(inventory).unwrap().cluster(Path::new("i.yml"), name)
    }

    #[test]
    fn a_cluster_is_a_group_with_its_children_and_the_variables_around_it() {
        let inventory = json!({"all": {"vars": {"ansible_user": "omm", "zone": "A"}, "children": {
            "fleet": {"children": {
                "blue": {"hosts": {"n1": {"id": 1}, "n2": null}, "vars": {"base_port": 26000, "og_rollback": false}},
                "green": {"hosts": {"n4": {"id": 1}, "n3": {"id": 2, "zone": "C"}}, "vars": {"zone": "B", "x": 1}}}}}}});
        let (blue, _) = find(&inventory, "blue").unwrap();
        assert_eq!(blue["hosts"]["n2"], json!({"ansible_user": "omm", "zone": "A", "base_port": 26000}));
        assert_eq!(blue["vars"], json!({"og_rollback": false}));
        let (green, _) = find(&inventory, "green").unwrap();
        assert_eq!(green["hosts"]["n3"]["zone"], json!("C"));
        // Its nodes of green do not have the option of blue.
        let fleet = find(&inventory, "fleet").unwrap_err().to_string();
        assert!(fleet.contains("og_rollback is false for n1 and not set for n4"), "{fleet}");
        let error = find(&inventory, "opengauss").unwrap_err().to_string();
        assert!(error.contains("no group opengauss (its groups: fleet, blue, green)"), "{error}");
    }

    #[test]
    fn an_option_has_one_value_for_the_cluster_and_other_variables_stay_with_their_host() {
        let of_two =
            |n3: &Value, n4: &Value| find(&json!({"opengauss": {"hosts": {"n3": n3, "n4": n4}}}), GROUP);
        for (n3, n4) in [
            (json!({"og_build_force": true}), json!({})),
            (json!({}), json!({"og_build_force": true})),
            (json!({"og_build_force": true}), json!({"og_build_force": false})),
        ] {
            let error = of_two(&n3, &n4).unwrap_err().to_string();
            assert!(error.contains("og_build_force is "), "{error}");
        }
        let both = json!({"og_build_force": true});
        assert_eq!(of_two(&both, &both).unwrap().0["vars"], both);
        let (described, _) = of_two(&json!({"og_bin_dir": "/b"}), &json!({})).unwrap();
        assert_eq!((&described["vars"], &described["hosts"]["n3"]["og_bin_dir"]), (&json!({}), &json!("/b")));
    }

    #[test]
    fn what_means_more_than_it_says_is_left_to_ansible() {
        for group in [
            json!({"hosts": {"n[1:3]": {}}}),
            json!({"hosts": {"n1": {"address": "{{ x }}"}}}),
            json!({"vars": {"ansible_group_priority": 5}}),
            json!({"plugin": "opengauss.node.og_cluster"}),
        ] {
            assert!(Groups::read(&json!({"opengauss": group})).is_none(), "{group}");
        }
        assert!(Groups::read(&json!({"plugin": "opengauss.node.og_cluster", "path": "x"})).is_none());
    }

    #[test]
    fn what_ansible_lists_is_a_cluster() {
        let list = json!({
            "_meta": {"hostvars": {"n1": {"id": 1, "ansible_ssh_common_args": "-F none"}, "n2": {"id": 2}}},
            "all": {"children": ["ungrouped", "opengauss"]},
            "opengauss": {"children": ["zone_a"], "hosts": ["n1"]},
            "zone_a": {"hosts": ["n1", "n2"]},
        });
        let (cluster, warnings) = from_list(Path::new("i"), &list, "opengauss").unwrap();
        assert_eq!(cluster["hosts"].as_object().unwrap().keys().collect::<Vec<_>>(), ["n1", "n2"]);
        assert!(warnings[0].starts_with("only Ansible goes by ansible_ssh_common_args;"), "{warnings:?}");
        assert!(from_list(Path::new("i"), &list, "blue").is_err());
    }
}
