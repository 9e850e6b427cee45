//! The fields of a rule as JSON: what modules and workflows tell each other of it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Address, Column, HbaRule, Name, Range, is_host_name, parse_ip, quote};
use crate::base::secret;

/// The fields of a rule, as og_hba tells and takes it.
///
/// A rule of a file has a method; without one it stands for all rules that agree with the others of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(!default)]
pub struct RuleFields {
    /// local, host, hostssl or hostnossl.
    #[serde(rename = "type")]
    pub kind: String,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub method: Option<String>,
    /// Its options.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
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
            kind: rule.kind.as_str().to_owned(),
            databases: list(&rule.databases, Column::Databases)?,
            users: list(&rule.users, Column::Users)?,
            address,
            netmask,
            method: Some(rule.method.as_str().to_owned()),
            options: options.collect::<Option<_>>()?,
        })
    }
}

/// Whether the name is taken for a host name without quotes.
fn is_plain_host(name: &str) -> bool {
    is_host_name(name)
        && !["all", "samehost", "samenet"].contains(&name)
        && parse_ip(name.as_bytes()).is_none()
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
