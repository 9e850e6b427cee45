//! The variables of Ansible's roles that are no options of a workflow: these tell where the cluster and the programs are.

use serde_json::{Map, Value};

use crate::args::Options;
use crate::steps::WORKFLOWS;

/// A variable of a role.
#[derive(Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What counts when it is not set.
    pub default: &'static str,
    /// The values that it can have; none where it is any text.
    pub choices: &'static [&'static str],
    /// Sentences about it.
    pub about: &'static [&'static str],
    /// Whether it is of the role `install` alone, which is no workflow.
    pub of_install: bool,
}

/// All of them, those that name a workflow's nodes aside.
pub const VARIABLES: &[Variable] = &[
    Variable {
        name: "og_cluster",
        default: "opengauss",
        choices: &[],
        about: &[
            "The inventory group that is the cluster, with the nodes that are to be added to it; it may be a group of groups.",
        ],
        of_install: false,
    },
    Variable {
        name: "og_binaries",
        default: "",
        choices: &[],
        about: &[
            "Folder on the controller that holds the programs, or a folder for each `uname -m`.",
            "Empty is what the collection ships.",
        ],
        of_install: false,
    },
    Variable {
        name: "og_bin_dir",
        default: "~/.cache/opengauss-node",
        choices: &[],
        about: &[
            "Where the programs are kept on the nodes, in a folder for each version that is made at need.",
        ],
        of_install: false,
    },
    Variable {
        name: "og_install_dir",
        default: "~/.local/bin",
        choices: &[],
        about: &["The folder on the nodes. A leading `~/` is the home of the user who does it."],
        of_install: true,
    },
    Variable {
        name: "og_install_mode",
        default: "0755",
        choices: &[],
        about: &["The programs' mode."],
        of_install: true,
    },
    Variable {
        name: "og_install_state",
        default: "present",
        choices: &["present", "absent"],
        about: &["Whether the programs are there."],
        of_install: true,
    },
];

/// Returns the names of all variables that are no options, those that name a workflow's nodes among them.
#[must_use]
pub fn names() -> Vec<&'static str> {
    let targets = WORKFLOWS.iter().filter_map(|entry| Some(entry.targets.as_ref()?.option));
    VARIABLES.iter().map(|variable| variable.name).chain(targets).collect()
}

/// Returns whether the suite reads the variable, of a cluster or of a host; what else an inventory or a pillar has is for others.
#[must_use]
pub fn is_read(name: &str) -> bool {
    crate::cluster::is_host_variable(name)
        || names().contains(&name)
        || OPTIONS.with(|known| known.contains_key(name))
}

thread_local! {
    /// The options by name.
    static OPTIONS: Map<String, Value> = match serde_json::to_value(Options::default()) {
        Ok(Value::Object(options)) => options,
        _ => Map::new(),
    };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::steps::Workflow;

    #[test]
    fn each_workflow_is_listed_by_its_name_and_with_options_that_there_are() {
        let schema = serde_json::to_value(schemars::schema_for!(Workflow)).unwrap();
        let names = schema["oneOf"].as_array().unwrap().iter().map(|one| one["const"].as_str().unwrap());
        let listed: Vec<_> = WORKFLOWS.iter().map(|entry| entry.name).collect();
        // What is asked of this machine alone is no workflow on nodes.
        let of_nodes = names.filter(|name| !["owner", "package", "certificates"].contains(name));
        assert_eq!(of_nodes.collect::<Vec<_>>(), listed);
        let options = serde_json::to_value(Options::default()).unwrap();
        for entry in WORKFLOWS {
            assert_eq!(serde_json::to_value(entry.workflow).unwrap(), entry.name);
            let unknown: Vec<_> = entry.options.iter().filter(|name| options.get(name).is_none()).collect();
            assert_eq!(unknown, Vec::<&&str>::new(), "{}", entry.name);
        }
        assert!(super::names().iter().all(|name| options.get(name).is_none()));
    }
}
