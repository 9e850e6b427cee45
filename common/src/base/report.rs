//! What a module that did not fail says.

use std::path::{Path, PathBuf};

use super::secret;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The text of one changed file before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Diff {
    /// The file.
    pub before_header: String,
    /// The file.
    pub after_header: String,
    /// Its text before; empty when it was not there.
    pub before: String,
    /// Its text after; empty when it is gone.
    pub after: String,
}

impl Diff {
    /// The change of the file at `path`, secrets masked; bytes that are no UTF-8 are shown as replacement characters.
    #[must_use]
    pub fn new(path: &Path, before: &[u8], after: &[u8]) -> Self {
        let header = path.display().to_string();
        Self {
            before_header: header.clone(),
            after_header: header,
            before: secret::mask_text(&String::from_utf8_lossy(before)).into_owned(),
            after: secret::mask_text(&String::from_utf8_lossy(after)).into_owned(),
        }
    }
}

/// The result of a call that did not fail; the protocol adds the common keys.
#[derive(Clone, Debug)]
pub struct Report<O> {
    /// Whether anything changed, or in check mode would change.
    pub changed: bool,
    /// One line for a person.
    pub msg: String,
    /// What was done, in order; in check mode, what would be.
    pub actions: Vec<String>,
    /// Changed texts; the protocol leaves them out unless asked for.
    pub diff: Vec<Diff>,
    /// What to look at although the call succeeded.
    pub warnings: Vec<String>,
    /// Where the old file went.
    pub backup_file: Option<PathBuf>,
    /// Facts for Ansible, name to value.
    pub ansible_facts: Option<serde_json::Map<String, serde_json::Value>>,
    /// The module's own keys.
    pub output: O,
}

impl<O> Report<O> {
    /// A report that nothing changed.
    pub fn unchanged(msg: impl Into<String>, output: O) -> Self {
        Self {
            changed: false,
            msg: msg.into(),
            actions: Vec::new(),
            diff: Vec::new(),
            warnings: Vec::new(),
            backup_file: None,
            ansible_facts: None,
            output,
        }
    }

    /// A report of what was done; `changed` is whether anything was.
    pub fn new(actions: Vec<String>, msg: impl Into<String>, output: O) -> Self {
        Self { changed: !actions.is_empty(), actions, ..Self::unchanged(msg, output) }
    }

    /// Adds the change of a file, where it was asked for.
    #[must_use]
    pub fn with_diff(mut self, diff: Option<Diff>) -> Self {
        self.diff.extend(diff);
        self
    }

    /// Adds warnings.
    #[must_use]
    pub fn with_warnings(mut self, warnings: impl IntoIterator<Item = String>) -> Self {
        self.warnings.extend(warnings);
        self
    }
}
