//! plugins/modules/*.py of the action plugins that are no programs: what `ansible-doc` reads of them.

use serde_json::{Value, json};

use super::yaml;

/// The text of each file, by the name of its plugin.
pub fn files() -> Vec<(&'static str, String)> {
    vec![("og_programs", programs()), ("og_query", query()), ("og_step", step()), ("og_workflow", workflow())]
}

fn file(about: &Value, examples: &Value, returns: &Value) -> String {
    super::ansible::module_file(&yaml::block(about, 0), &yaml::block(examples, 0), &yaml::block(returns, 0))
}

/// What all have, filled with what is the plugin's own.
fn about(name: &str, short: &str, text: &Value, options: &Value, [check, diff]: [&str; 2]) -> Value {
    let attribute = |told: &str| {
        let (support, description) = told.split_once(": ").unwrap_or(("full", told));
        json!({"support": support, "description": description})
    };
    json!({
        "module": name,
        "short_description": short,
        "description": text,
        "version_added": super::FIRST_VERSION,
        "options": options,
        "attributes": {"check_mode": attribute(check), "diff_mode": attribute(diff)},
        "author": "The openGauss node suite",
    })
}

fn programs() -> String {
    let options = json!({
        "path": {
            "description": [
                "The folder. A leading C(~/) is the home of the user who does it.",
                "By default the folder that the tasks use, C(og_bin_dir); with O(state=absent) that folder with every version in it.",
            ],
            "type": "str",
        },
        "mode": {"description": "The programs' mode when O(path) is given.", "type": "str", "default": "0755"},
        "state": {
            "description": "Whether the programs are there.",
            "type": "str", "choices": ["present", "absent"], "default": "present",
        },
    });
    let text = json!([
        "Every task of the collection carries the programs to the node by itself, into a folder of its own. This is for those who want them in a folder of their choice as well, for a shell, Salt or cron; or want them there before the first task; or gone.",
        "Takes the programs for the node's machine from the folder that the variable C(og_binaries) names, or from those the collection ships, and verifies what was copied by its SHA-256. Needs no Python on the node.",
    ]);
    let support = [
        "Says by the same code what would be done, and does nothing.",
        "partial: Changes no text; shows what was done, or would be.",
    ];
    let mut about = about("og_programs", "Put the suite's programs onto a node", &text, &options, support);
    about["attributes"]["idempotent"] =
        json!({"support": "full", "description": "The same call again changes nothing."});
    let examples = json!([
        {"name": "The programs for the shell of the database user", "opengauss.node.og_programs": {"path": "~/bin"}},
        {"name": "Leave nothing behind", "opengauss.node.og_programs": {"state": "absent"}},
    ]);
    let list = |description: &str, sample: &Value| json!({"description": description, "type": "list", "elements": "str", "returned": "success", "sample": sample});
    let text = |description: &str, returned: &str, sample: &str| json!({"description": description, "type": "str", "returned": returned, "sample": sample});
    let returns = json!({
        "path": text("The folder.", "success", "/home/omm/bin"),
        "arch": text("The node's machine, as C(uname -m) prints it.", "success", "x86_64"),
        "programs": list("The programs that the folder has now.", &json!(["og_build", "og_guc", "og_hba"])),
        "actions": list("What was done, in order; in check mode, what would be.", &json!(["put og_hba into /home/omm/bin"])),
        "msg": text("One line for a person to read.", "always", "8 of 8 programs put into /home/omm/bin"),
    });
    file(&about, &examples, &returns)
}

fn query() -> String {
    let options = json!({
        "programs": {"description": "The programs by name, each with its own arguments.", "type": "dict", "required": true},
        "data_dir": {
            "description": [
                "The node's data directory; any other argument given here goes to every program as well.",
                "When it is not given, the variable C(data_dir) of the host counts.",
            ],
            "type": "path",
        },
    });
    let text = json!([
        "Runs the given programs of the collection with O(state=query), one after the other, in one remote command.",
        "Changes nothing. A program that fails does not make the task fail; its answer says so.",
    ]);
    let about = about(
        "og_query",
        "Ask several programs of one node in one remote command",
        &text,
        &options,
        ["Changes nothing.", "none: Changes nothing."],
    );
    let call =
        json!({"data_dir": "/gauss/data/db1", "programs": {"og_node_state": {}, "og_replconninfo": {}}});
    let examples =
        json!([{"name": "Inspect state and channels", "opengauss.node.og_query": call, "register": "seen"}]);
    let returns = json!({
        "og_node_state": {"description": "The answer of each program, by its name.", "type": "dict", "returned": "when asked"},
    });
    file(&about, &examples, &returns)
}

const OF_A_RUN: [&str; 2] =
    ["Nothing is changed; what would be is told.", "Changes of files are told as differences."];

fn step() -> String {
    let options = json!({
        "run": {"description": "The path of the run, as M(opengauss.node.og_workflow) returned it.", "type": "str", "required": true},
        "place": {"description": "Which step of the tasks that were included last, from 0 on.", "type": "int", "default": 0},
    });
    let text = json!([
        "For the role C(opengauss.node.workflow) alone.",
        "All of a node's calls in a step go in one remote command."
    ]);
    let about =
        about("og_step", "Make the calls which a workflow's step asks of a node", &text, &options, OF_A_RUN);
    let examples = json!([{"name": "What the workflow asks of this node", "opengauss.node.og_step": {"run": "{{ og_run.path }}"}}]);
    let returns = json!({
        "actions": {
            "description": "What was done on the node, or would be.",
            "type": "list", "elements": "str", "returned": "where something was, or would be",
        },
    });
    file(&about, &examples, &returns)
}

fn workflow() -> String {
    let names: Vec<_> =
        og_registry::WORKFLOWS.iter().map(|entry| format!("C(opengauss.node.{})", entry.name)).collect();
    let options = json!({
        "workflow": {"description": "The workflow to begin.", "type": "str"},
        "targets": {"description": "The nodes it is for, as a list or as C(n3,n4).", "type": "raw"},
        "cluster": {"description": "The inventory group that is the cluster.", "type": "str", "default": "opengauss"},
        "run": {"description": "The path of a run that was begun and has come to its end; its outcome is told.", "type": "str"},
    });
    let text = json!([
        format!(
            "For the role C(opengauss.node.workflow) alone; playbooks use the roles {}.",
            names.join(", ")
        ),
        "Asks the program C(og_workflow) on the controller, and calls no node.",
    ]);
    let about = about(
        "og_workflow",
        "Begin a workflow on a cluster, and tell what came of it",
        &text,
        &options,
        OF_A_RUN,
    );
    let call = json!({"workflow": "expand", "targets": "n3,n4"});
    let examples = json!([{"name": "Begin to expand a cluster", "opengauss.node.og_workflow": call, "register": "og_run", "run_once": true}]);
    let returns = json!({
        "path": {"description": "The folder of the run on the controller.", "type": "str", "returned": "with O(workflow)"},
        "cluster": {
            "description": "The cluster as lines of a table.",
            "type": "list", "elements": "str", "returned": "with O(run), when the workflow failed and the cluster was seen",
        },
    });
    file(&about, &examples, &returns)
}
