//! The module's own keys of the result.

use og_common::hba::{Refusal, RuleFields};
use schemars::JsonSchema;
use serde::Serialize;

use crate::plan::Numbered;

/// What `og_hba` says about the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Output {
    /// The file.
    pub path: String,
    /// How many rules it has; in check mode, would have.
    pub rule_count: usize,
    /// Whether the server was seen to take the new file.
    pub reloaded: bool,
    /// The new rules; `line` counts in the new file.
    pub added: Vec<Entry>,
    /// The rules taken away; `line` counts in the old file.
    pub removed: Vec<Entry>,
    /// The rules changed in place or moved; `line` counts in the new file.
    pub updated: Vec<Update>,
    /// With query: all rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<Entry>>,
    /// With query: the lines for which the server would refuse the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<Vec<Refusal>>,
    /// With match: the line that decides, or null when none does, which refuses the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matched: Option<Option<Entry>>,
}

/// A rule and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Entry {
    /// The line's number, from 1.
    pub line: usize,
    /// Its fields, as `rules` takes them; not there for a line that the server refuses, or with bytes that are no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleFields>,
    /// Its text.
    pub text: String,
}

/// A rule that was changed or moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Update {
    /// The rule as it is now.
    #[serde(flatten)]
    pub now: Entry,
    /// As it was.
    pub before: Entry,
}

impl From<&Numbered> for Entry {
    fn from(line: &Numbered) -> Self {
        Self {
            line: line.number,
            rule: line.rule.as_ref().and_then(RuleFields::from_rule),
            text: line.text.clone(),
        }
    }
}
