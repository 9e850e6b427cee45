//! The module's own keys of the result.

use std::collections::BTreeMap;

use og_common::hba::{Address, Column, HbaRule, Kind, Name, Range, Refusal, is_host_name, quote};
use og_common::protocol::secret;
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
    pub errors: Option<Vec<LineError>>,
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

/// The fields of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RuleFields {
    /// local, host, hostssl or hostnossl.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The databases.
    pub databases: Vec<String>,
    /// The users.
    pub users: Vec<String>,
    /// The clients; not there for local.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Their mask, where no number of bits can say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netmask: Option<String>,
    /// The method.
    pub method: &'static str,
    /// Its options.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// A line that the server refuses, and with it the whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LineError {
    /// The line's number, from 1; 0 for the file as a whole.
    pub line: usize,
    /// The byte in the line, from 1; 0 for the line as a whole.
    pub column: usize,
    /// Why, in the server's words where it has any.
    pub message: String,
}

impl From<Refusal> for LineError {
    fn from(refusal: Refusal) -> Self {
        Self { line: refusal.line, column: refusal.column, message: refusal.message }
    }
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

impl RuleFields {
    /// The fields that give this rule again as an argument; `None` when something in it is no UTF-8.
    #[must_use]
    pub fn from_rule(rule: &HbaRule) -> Option<Self> {
        let list =
            |names: &[Name], column| names.iter().map(|name| name.to_value(column)).collect::<Option<_>>();
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        let (address, netmask) = match &rule.address {
            Some(Address::Range(range)) if range.prefix().is_none() => split(range),
            Some(Address::Host(name)) => {
                let name = text(name)?;
                (Some(if is_plain_host(&name) { name } else { quote(&name) }), None)
            }
            address => (address.as_ref().map(Address::to_string), None),
        };
        let options = rule.options.iter().map(|(name, value)| Some(option(&text(name)?, &text(value)?)));
        Some(Self {
            kind: Kind::as_str(rule.kind),
            databases: list(&rule.databases, Column::Databases)?,
            users: list(&rule.users, Column::Users)?,
            address,
            netmask,
            method: rule.method.as_str(),
            options: options.collect::<Option<_>>()?,
        })
    }
}

/// Whether the name is taken for a host name without quotes.
fn is_plain_host(name: &str) -> bool {
    is_host_name(name)
        && !["all", "samehost", "samenet"].contains(&name)
        && og_common::hba::parse_ip(name.as_bytes()).is_none()
}

/// An option as it may be shown.
fn option(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), secret::mask_value(name, value).into_owned())
}

/// Address and mask of a range, each by itself.
fn split(range: &Range) -> (Option<String>, Option<String>) {
    let text = range.to_string();
    let (address, mask) = text.split_once(' ').unwrap_or((&text, ""));
    (Some(address.to_owned()), Some(mask.to_owned()))
}
