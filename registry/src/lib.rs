//! The programs of the suite, one line each, and its workflows. What is installed, documented, offered to Ansible and Salt
//! and held against faults and hostile arguments is made of these lists; nothing else names all programs.

use clap::Command;
use og_common::protocol::{self, Example, Module};
pub use og_preflight::checks;
pub use og_workflow::cluster::HOST_VARIABLES;
pub use og_workflow::explain::outcome_reasons;
pub use og_workflow::health::kinds::FINDING_KINDS;
pub use og_workflow::steps::{Targets, WORKFLOWS, WorkflowEntry};
pub use og_workflow::variables::{VARIABLES, Variable};
use serde_json::{Value, json};

/// All programs, in the order of their names.
pub const PROGRAMS: &[Program] = &[
    program::<og_build::Build>()
        .repeats("With `mode` given it builds each time; by default only where the node does not stream."),
    program::<og_checkpoint::Checkpoint>()
        .repeats("`state: done` without `max_dirty_pages` makes a checkpoint each time."),
    program::<og_file::NodeFile>(),
    program::<og_guc::Guc>().edits_text().works_without_server(),
    program::<og_hba::Hba>().edits_text().works_without_server(),
    program::<og_host::Host>().edits_text(),
    program::<og_initdb::Initdb>(),
    program::<og_lock::Lock>().works_without_server().own_action_plugin(),
    program::<og_node_state::NodeStateModule>()
        .repeats("`state: restarted` and `state: reloaded` act each time."),
    program::<og_package::Package>(),
    program::<og_preflight::Preflight>().page_end(preflight_checks),
    program::<og_probe::CommitProbe>(),
    program::<og_replconninfo::ReplConnInfo>().edits_text(),
    program::<og_session::Sessions>(),
    program::<og_slot::ReplicationSlots>(),
    program::<og_static_conf::StaticConf>().edits_text(),
    program::<og_workflow::Workflows>().with_controller(),
];

/// Returns the names of the programs that act on the machine itself, as root.
pub fn programs_of_root() -> impl Iterator<Item = &'static str> {
    PROGRAMS.iter().filter(|program| program.needs_root).map(|program| program.name)
}

/// One program, and what others cannot learn from itself.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // Each is a fact of its own.
pub struct Program {
    /// Its name, such as `og_hba`.
    pub name: &'static str,
    /// What it is for, in a line without a final stop.
    pub about: &'static str,
    /// Calls to learn from.
    pub examples: &'static [Example],
    /// Its command line, as it parses it.
    pub command: fn() -> Command,
    /// Whether it runs on nodes, and so has a module for Ansible and functions for Salt; else where the administrator is.
    pub on_nodes: bool,
    /// Whether it edits files of text, and returns their texts before and after.
    pub edits_text: bool,
    /// Whether its examples work on a node whose server does not run.
    pub works_without_server: bool,
    /// Whether it acts on the machine itself, as root.
    pub needs_root: bool,
    /// Whether its action plugin for Ansible is written by hand.
    pub own_action_plugin: bool,
    /// Which calls change something every time.
    pub repeats: Option<&'static str>,
    /// What stands at the end of its page beside what its types say.
    pub page_end: Option<fn() -> String>,
}

const fn program<M: Module>() -> Program {
    Program {
        name: M::NAME,
        about: M::ABOUT,
        examples: M::EXAMPLES,
        command: protocol::command::<M>,
        on_nodes: true,
        edits_text: false,
        works_without_server: false,
        needs_root: M::NEEDS_ROOT,
        own_action_plugin: false,
        repeats: None,
        page_end: None,
    }
}

impl Program {
    const fn with_controller(mut self) -> Self {
        self.on_nodes = false;
        self
    }

    const fn edits_text(mut self) -> Self {
        self.edits_text = true;
        self
    }

    const fn works_without_server(mut self) -> Self {
        self.works_without_server = true;
        self
    }

    const fn own_action_plugin(mut self) -> Self {
        self.own_action_plugin = true;
        self
    }

    const fn repeats(mut self, which: &'static str) -> Self {
        self.repeats = Some(which);
        self
    }

    const fn page_end(mut self, text: fn() -> String) -> Self {
        self.page_end = Some(text);
        self
    }
}

/// Where og_preflight's page leads for its checks.
fn preflight_checks() -> String {
    "\n## Checks\n\n[Findings](../findings.md) has each check: what is looked at, why, and what to do. `og_preflight --explain ID` and \
     `og explain ID` print the same.\n"
        .to_owned()
}

/// Returns the programs that run on nodes.
pub fn node_programs() -> impl Iterator<Item = &'static Program> {
    PROGRAMS.iter().filter(|program| program.on_nodes)
}

/// Returns the program of this name.
#[must_use]
pub fn find_program(name: &str) -> Option<&'static Program> {
    PROGRAMS.iter().find(|program| program.name == name)
}

/// Returns both lists for readers that are not written in Rust.
#[must_use]
pub fn to_json() -> Value {
    let programs = PROGRAMS.iter().map(|program| {
        json!({
            "name": program.name,
            "about": program.about,
            "on_nodes": program.on_nodes,
            "edits_text": program.edits_text,
            "works_without_server": program.works_without_server,
            "needs_root": program.needs_root,
        })
    });
    let workflows = WORKFLOWS.iter().map(|entry| {
        json!({
            "name": entry.name,
            "title": entry.title,
            "about": entry.about,
            "targets": entry.targets.as_ref().map(|targets| targets.option),
            "options": entry.options,
        })
    });
    json!({"programs": programs.collect::<Vec<_>>(), "workflows": workflows.collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_folder_of_a_module_is_listed_once_and_in_order() {
        let modules = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../modules");
        let mut folders: Vec<_> = std::fs::read_dir(modules)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().join("Cargo.toml").is_file())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        folders.sort();
        assert_eq!(PROGRAMS.iter().map(|program| program.name).collect::<Vec<_>>(), folders);
    }

    #[test]
    fn the_program_that_needs_root_is_the_one_that_callers_run_so() {
        assert_eq!(programs_of_root().collect::<Vec<_>>(), [og_workflow::seen::HOST]);
    }
}
