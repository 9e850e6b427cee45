//! The workflows as documentation needs them: the registry's list, and the options from the schema of og_workflow.

use og_registry::{VARIABLES, WORKFLOWS, WorkflowEntry};

use super::model::{Field, Kind, Page};
use crate::shell::Result;

/// The workflows and their options.
pub struct Workflows {
    options: Vec<Field>,
}

impl Workflows {
    /// Takes the options from what og_workflow says of its arguments.
    pub fn new(pages: &[Page]) -> Result<Self> {
        let page = pages.iter().find(|page| page.name == "og_workflow").ok_or("no page of og_workflow")?;
        let options = page.args.iter().find(|arg| arg.name == "options");
        let options = options.ok_or("og_workflow has no options")?.fields.clone();
        Ok(Self { options })
    }

    /// Returns all options, those that every workflow takes first.
    pub fn all(&self) -> Vec<&Field> {
        let own = WORKFLOWS.iter().flat_map(|entry| entry.options).filter_map(|name| self.find(name));
        let mut all = self.common();
        for field in own {
            if !all.contains(&field) {
                all.push(field);
            }
        }
        all
    }

    /// Returns the options that every workflow takes.
    pub fn common(&self) -> Vec<&Field> {
        let named = |field: &Field| WORKFLOWS.iter().any(|entry| entry.options.contains(&&*field.name));
        self.options.iter().filter(|field| !named(field)).collect()
    }

    /// Returns the options of one workflow that not all take.
    pub fn own(&self, entry: &WorkflowEntry) -> Vec<&Field> {
        entry.options.iter().filter_map(|name| self.find(name)).collect()
    }

    fn find(&self, name: &str) -> Option<&Field> {
        self.options.iter().find(|field| field.name == name)
    }
}

/// Returns the variable that names the nodes of a workflow.
pub fn targets(entry: &WorkflowEntry) -> Option<Field> {
    let targets = entry.targets.as_ref()?;
    let about = format!("{}, as a list or as `{}`.", targets.about, targets.example);
    Some(Field { kind: Kind::Raw, ..text(targets.option, "", vec![about], &[]) })
}

/// Returns the variables of the role `install`, or those of all other roles.
pub fn variables(of_install: bool) -> Vec<Field> {
    let own = VARIABLES.iter().filter(|variable| variable.of_install == of_install);
    own.map(|it| text(it.name, it.default, it.about.iter().map(ToString::to_string).collect(), it.choices))
        .collect()
}

fn text(name: &str, default: &str, description: Vec<String>, choices: &[&str]) -> Field {
    Field {
        name: name.to_owned(),
        kind: Kind::Str,
        list: false,
        required: false,
        default: Some(default.into()),
        description,
        choices: choices.iter().map(ToString::to_string).collect(),
        fields: Vec::new(),
        states: None,
    }
}
