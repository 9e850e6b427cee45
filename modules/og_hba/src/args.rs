//! The arguments as they come.

use std::collections::BTreeMap;
use std::path::PathBuf;

use og_common::hba::Kind;
use schemars::JsonSchema;
use serde::de::{self, DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Deserializer, Serialize};

/// The arguments of `og_hba`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Args {
    /// present: the rules are in the file; absent: no rule of the file agrees with them; exact: the rules of the file
    /// are these, in this order; query: change nothing and return the rules of the file.
    pub state: State,
    /// The rules. Each is a line as it stands in the file, or an object. As one text: a line, or several lines.
    pub rules: Rules,
    /// This `pg_hba.conf` instead of the one in `data_dir`. The server is reloaded only when `data_dir` is given, too.
    pub path: Option<PathBuf>,
    /// Where a new rule goes. auto: at the end, or right before the first rule that would hide it; first: before all
    /// other rules; last: at the end; or before or after the rule given.
    pub insert: Insert,
    /// With `present`: make the file when there is none. With `exact` a missing file is always made.
    pub create: bool,
    /// Keep the old file beside the new one.
    pub backup: bool,
    /// auto: reload the server when the file changed and the server runs; never: leave that to the caller.
    pub reload: ReloadPolicy,
    /// Do it even if `os_user` can then no longer connect through the local socket, strangers get in without a password,
    /// or a switchover is under way.
    pub force: bool,
    /// With `query`: a connection; `matched` is then the line that decides it.
    #[serde(rename = "match")]
    pub probe: Option<Match>,
}

/// What the file shall be like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The rules are in it.
    #[default]
    Present,
    /// No rule agrees with these.
    Absent,
    /// Its rules are these, in this order.
    Exact,
    /// As it is.
    Query,
}

/// Whether to reload the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReloadPolicy {
    /// When the file changed and the server runs.
    #[default]
    Auto,
    /// Never.
    Never,
}

/// Where new rules go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Insert {
    /// At the end, or before what would hide it.
    #[default]
    Auto,
    /// Before all other rules.
    First,
    /// At the end.
    Last,
    /// Before the first rule that agrees with this one; its fields may be left out as with absent.
    Before(RuleArg),
    /// After the last rule that agrees with this one; its fields may be left out as with absent.
    After(RuleArg),
}

/// A rule, as a line or an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum RuleArg {
    /// A line as it stands in the file.
    Line(String),
    /// Its fields.
    Fields(Box<Fields>),
}

/// The fields of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Fields {
    /// The type of connection: local, host (TCP), hostssl or hostnossl. Default: host.
    #[serde(rename = "type")]
    pub kind: Option<Type>,
    /// The databases: a list, or a text with commas. Each is a name as it is, or all, sameuser, samerole, replication,
    /// @file; in double quotes these words are names, too. Default: all.
    pub databases: Option<Items>,
    /// The users: a list, or a text with commas. Each is a name as it is, or all, +role, @file; in double quotes these
    /// are names, too. Default: all.
    pub users: Option<Items>,
    /// The clients, not for local: `10.0.0.0/8`, one whole address alone, all, samehost, samenet, a host name, or .suffix;
    /// in double quotes always a host name.
    pub address: Option<String>,
    /// The mask of `address`, such as `255.255.255.0`, or its number of leading bits, when that has no `/bits`.
    pub netmask: Option<String>,
    /// trust, reject, md5, sha256, sm3, cert, peer, or, where the server is built with it, gss, krb5, ident, ldap, pam.
    /// Needed for present and exact.
    pub method: Option<String>,
    /// Options of the method, name to value.
    pub options: Option<BTreeMap<String, String>>,
    /// A comment to write behind the rule when it is added; never compared.
    pub comment: Option<String>,
}

/// The type of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// Through the local socket.
    Local,
    /// Over TCP.
    Host,
    /// Over TCP with SSL.
    HostSsl,
    /// Over TCP without SSL.
    HostNoSsl,
}

impl From<Type> for Kind {
    fn from(kind: Type) -> Self {
        match kind {
            Type::Local => Self::Local,
            Type::Host => Self::Host,
            Type::HostSsl => Self::HostSsl,
            Type::HostNoSsl => Self::HostNoSsl,
        }
    }
}

/// Databases or users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Items {
    /// With commas between them, as in the file.
    Text(String),
    /// One each.
    List(Vec<String>),
}

/// The rules as they come.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(transparent)]
pub struct Rules(#[schemars(with = "RulesShape")] pub Vec<RuleArg>);

/// What `rules` may look like.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum RulesShape {
    /// Rules.
    List(Vec<RuleArg>),
    /// One line, or several.
    Text(String),
}

/// A connection to be decided.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// Its type: local; host or hostnossl: TCP without SSL; hostssl: TCP with SSL. Default: host when `address` is
    /// given, else local.
    #[serde(rename = "type", default)]
    pub kind: Option<Type>,
    /// The database asked for.
    #[serde(default = "postgres")]
    pub database: String,
    /// The user.
    pub user: String,
    /// The client's address, as rules have it: `10.0.0.5` or `10.0.0.5/32`; needed unless it comes through the local socket.
    #[serde(default)]
    pub address: Option<String>,
    /// Whether it is a physical replication connection.
    #[serde(default)]
    pub replication: bool,
}

fn postgres() -> String {
    "postgres".to_owned()
}

impl<'de> Deserialize<'de> for RuleArg {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(line) => Ok(Self::Line(line)),
            value => from_json(value).map(|fields| Self::Fields(Box::new(fields))),
        }
    }
}

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self::Text(text)),
            value => from_json(value).map(Self::List),
        }
    }
}

impl<'de> Deserialize<'de> for Rules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => text,
            value => return from_json(value).map(Self),
        };
        // JSON that can be read was made a list before; the text itself may hold secrets.
        if text.trim_start().starts_with(['[', '{']) {
            let why = serde_json::from_str::<serde_json::Value>(&text).err();
            let why = why.map_or_else(|| "it is no list of rules".to_owned(), |e| e.to_string());
            return Err(de::Error::custom(format!(
                "rules begin like JSON, but cannot be read as such: {why}"
            )));
        }
        let lines = text.lines().filter(|l| !l.trim().is_empty() && !l.trim_start().starts_with('#'));
        Ok(Self(lines.map(|l| RuleArg::Line(l.to_owned())).collect()))
    }
}

fn from_json<T: DeserializeOwned, E: de::Error>(value: serde_json::Value) -> Result<T, E> {
    T::deserialize(value.into_deserializer()).map_err(|e: serde_json::Error| E::custom(e))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_text_holds_one_rule_a_line() {
        let rules = |value: Value| serde_json::from_value::<Rules>(value).unwrap().0.len();
        assert_eq!(rules(json!("host a,b all all md5")), 1);
        assert_eq!(rules(json!("# head\nlocal all all trust\n\nhost all all all md5\n")), 2);
        let error =
            serde_json::from_value::<Rules>(json!("[\"ldapbindpasswd=S3cret\", ")).unwrap_err().to_string();
        assert!(error.contains("line 1") && !error.contains("S3cret"), "{error}");
    }
}
