//! The arguments as they come, and the typed rules made of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use og_common::hba::{self, Address, Kind, Method, Name, Range, Rule};
use og_common::protocol::{Error, secret};
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
    pub reload: Reload,
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
pub enum Reload {
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

/// A rule as it comes.
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
    /// How the connection comes: local, host (TCP), hostssl or hostnossl. Default: host.
    #[serde(rename = "type")]
    pub kind: Option<Type>,
    /// The databases: names, all, sameuser, samerole, replication, @file; a list, or a text with commas. Default: all.
    pub databases: Option<Items>,
    /// The users: names, all, +role, @file; a list, or a text with commas. Default: all.
    pub users: Option<Items>,
    /// The clients, not for local: `10.0.0.0/8`, one address alone, all, samehost, samenet, a host name, or .suffix.
    pub address: Option<String>,
    /// The mask of `address`, such as `255.255.255.0`, when it has no `/bits`.
    pub netmask: Option<String>,
    /// trust, reject, md5, sha256, sm3, cert, peer, or, where the server is built with it, gss, krb5, ident, ldap, pam.
    /// Needed for present and exact.
    pub method: Option<String>,
    /// Options of the method, name to value.
    pub options: Option<BTreeMap<String, String>>,
    /// A comment to write behind the rule when it is added; never compared.
    pub comment: Option<String>,
}

/// How a connection comes.
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
    /// How it comes: local; host or hostnossl: TCP without SSL; hostssl: TCP with SSL. Default: host when `address` is
    /// given, else local.
    #[serde(rename = "type", default)]
    pub kind: Option<Type>,
    /// The database asked for.
    #[serde(default = "postgres")]
    pub database: String,
    /// The user.
    pub user: String,
    /// The client's address; needed unless it comes through the local socket.
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
        // A template may give the list as text.
        if text.trim_start().starts_with('[') {
            let value: serde_json::Value = serde_json::from_str(&text).map_err(de::Error::custom)?;
            return from_json(value).map(Self);
        }
        let lines = text.lines().filter(|l| !l.trim().is_empty() && !l.trim_start().starts_with('#'));
        Ok(Self(lines.map(|l| RuleArg::Line(l.to_owned())).collect()))
    }
}

fn from_json<T: DeserializeOwned, E: de::Error>(value: serde_json::Value) -> Result<T, E> {
    T::deserialize(value.into_deserializer()).map_err(|e: serde_json::Error| E::custom(e))
}

/// A rule that shall be in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its value.
    pub rule: Rule,
    /// The line to write when it is new, without line end.
    pub line: String,
    /// The argument it came from, a JSON pointer.
    pub at: String,
}

/// What some rules of a file agree with: only what is given is compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pattern {
    /// The first column.
    pub kind: Option<Kind>,
    /// The set of databases.
    pub databases: Option<Vec<Name>>,
    /// The set of users.
    pub users: Option<Vec<Name>>,
    /// The clients.
    pub address: Option<Address>,
    /// The method.
    pub method: Option<Method>,
    /// The options, sorted.
    pub options: Option<Vec<(Vec<u8>, Vec<u8>)>>,
}

impl Pattern {
    /// Whether a rule agrees with all that is given.
    #[must_use]
    pub fn agrees(&self, rule: &Rule) -> bool {
        let set = |names: &Option<Vec<Name>>, of: &[Name]| {
            names
                .as_ref()
                .is_none_or(|names| of.len() == 1 && of == names.as_slice() || *names == *hba::name_set(of))
        };
        self.kind.is_none_or(|k| k == rule.kind)
            && self.method.is_none_or(|m| m == rule.method)
            && self.address.as_ref().is_none_or(|a| rule.address.as_ref() == Some(a))
            && set(&self.databases, &rule.databases)
            && set(&self.users, &rule.users)
            && self.options.as_ref().is_none_or(|o| *o == sorted(&rule.options))
    }
}

fn sorted(options: &[(Vec<u8>, Vec<u8>)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    options.iter().cloned().collect::<BTreeMap<_, _>>().into_iter().collect()
}

impl RuleArg {
    /// The rule that shall be there, complete.
    ///
    /// # Errors
    /// `bad_args`, naming the place `at` or one below it.
    pub fn wanted(&self, at: &str) -> Result<Wanted, Error> {
        match self {
            Self::Line(text) => {
                let line = text.trim().to_owned();
                let rule = Rule::parse(&line).map_err(|p| bad_line(at, text, &p))?;
                Ok(Wanted { rule, line, at: at.to_owned() })
            }
            Self::Fields(fields) => fields.wanted(at),
        }
    }

    /// What rules of the file are compared with.
    ///
    /// # Errors
    /// `bad_args`, naming the place `at` or one below it.
    pub fn pattern(&self, at: &str) -> Result<Pattern, Error> {
        let text = match self {
            Self::Line(text) => text.trim(),
            Self::Fields(fields) => return fields.pattern(at),
        };
        // As for gs_guc a line may end before the method.
        let (rule, method) = match Rule::parse(text) {
            Ok(rule) => (rule, true),
            Err(problem) if problem.message == "end-of-line before authentication method" => {
                (Rule::parse(&format!("{text} trust")).map_err(|_| bad_line(at, text, &problem))?, false)
            }
            Err(problem) => return Err(bad_line(at, text, &problem)),
        };
        Ok(Pattern {
            kind: Some(rule.kind),
            databases: Some(hba::name_set(&rule.databases).into_owned()),
            users: Some(hba::name_set(&rule.users).into_owned()),
            address: rule.address,
            method: method.then_some(rule.method),
            options: (method && !rule.options.is_empty()).then(|| sorted(&rule.options)),
        })
    }
}

fn bad_line(at: &str, text: &str, problem: &hba::Problem) -> Error {
    Error::bad_args(format!(
        "{at}: {} at column {} of \"{}\"",
        problem.message,
        problem.offset + 1,
        secret::text(text.trim())
    ))
    .at(at)
    .hint("write it as in pg_hba.conf: TYPE DATABASES USERS ADDRESS METHOD [OPTIONS]")
}

fn bad(at: &str, key: &str, what: impl std::fmt::Display) -> Error {
    let at = format!("{at}/{key}");
    // It may be a piece of a rule, such as the options behind a method.
    Error::bad_args(format!("{at}: {}", secret::text(&what.to_string()))).at(at)
}

impl Fields {
    fn wanted(&self, at: &str) -> Result<Wanted, Error> {
        let pattern = self.pattern(at)?;
        let all = || vec![Name::All];
        let kind = pattern.kind.unwrap_or(Kind::Host);
        if kind == Kind::Local && pattern.address.is_some() {
            return Err(bad(at, "address", "a local rule has no address"));
        }
        if kind != Kind::Local && pattern.address.is_none() {
            return Err(
                bad(at, "address", "is missing").hint("give an address, such as 10.0.0.5/32, or type: local")
            );
        }
        let Some(method) = pattern.method else {
            return Err(bad(at, "method", "is missing").hint("such as sha256, trust or reject"));
        };
        let rule = Rule {
            kind,
            databases: names(at, "databases", self.databases.as_ref(), Name::database)?.unwrap_or_else(all),
            users: names(at, "users", self.users.as_ref(), Name::user)?.unwrap_or_else(all),
            address: pattern.address,
            method,
            options: pattern.options.unwrap_or_default(),
        };
        let mut line = rule.to_string();
        // The server's own checks: what goes with what.
        match Rule::parse(&line) {
            Ok(read) if read == rule => {}
            Ok(_) => return Err(bad(at, "options", "an option does not read back as it was given")),
            Err(problem) => {
                let key = if self.options.is_some() && !problem.message.ends_with("sockets") {
                    "options"
                } else {
                    "method"
                };
                return Err(bad(at, key, problem.message));
            }
        }
        if let Some(comment) = &self.comment {
            if comment.contains(['\n', '\r', '\0']) {
                return Err(bad(at, "comment", "must be one line"));
            }
            line = format!("{line}    # {}", comment.trim().trim_start_matches('#').trim_start());
        }
        Ok(Wanted { rule, line, at: at.to_owned() })
    }

    fn pattern(&self, at: &str) -> Result<Pattern, Error> {
        let method = self.method.as_deref().map(|text| {
            Method::parse(text.as_bytes()).ok_or_else(|| {
                let known: Vec<_> = Method::ALL.iter().map(|m| m.as_str()).collect();
                bad(at, "method", format!("\"{text}\" is no method of openGauss"))
                    .hint(format!("known: {}", known.join(", ")))
            })
        });
        let options = self.options.as_ref().map(|options| {
            options.iter().map(|(n, v)| (n.clone().into_bytes(), switch(n, v).into_bytes())).collect()
        });
        let pattern = Pattern {
            kind: self.kind.map(Kind::from),
            databases: names(at, "databases", self.databases.as_ref(), Name::database)?
                .map(|n| hba::name_set(&n).into_owned()),
            users: names(at, "users", self.users.as_ref(), Name::user)?
                .map(|n| hba::name_set(&n).into_owned()),
            address: self.address(at)?,
            method: method.transpose()?,
            options,
        };
        if pattern == Pattern::default() {
            return Err(Error::bad_args(format!("{at}: a rule without any field")).at(at));
        }
        Ok(pattern)
    }

    fn address(&self, at: &str) -> Result<Option<Address>, Error> {
        let netmask = self.netmask.as_deref().map(str::trim);
        let Some(text) = self.address.as_deref().map(str::trim) else {
            return match netmask {
                Some(_) => Err(bad(at, "netmask", "a netmask without an address")),
                None => Ok(None),
            };
        };
        let no_mask = |what: &str| match netmask {
            Some(_) => Err(bad(at, "netmask", format!("does not go with {what}"))),
            None => Ok(()),
        };
        for (word, address) in
            [("all", Address::All), ("samehost", Address::SameHost), ("samenet", Address::SameNet)]
        {
            if text == word {
                return no_mask(word).map(|()| Some(address));
            }
        }
        let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let range = match (hba::parse_ip(ip.as_bytes()), bits, netmask) {
            (Some(ip), Some(bits), None) => bits
                .parse()
                .ok()
                .and_then(|bits| Range::cidr(ip, bits))
                .ok_or_else(|| bad(at, "address", format!("\"{bits}\" is no mask length for {ip}")))?,
            (Some(_), Some(_), Some(_)) => return Err(bad(at, "netmask", "the address has a /mask already")),
            (Some(ip), None, Some(mask)) => {
                let mask = hba::parse_ip(mask.as_bytes());
                mask.and_then(|mask| Range::of(ip, mask)).ok_or_else(|| {
                    bad(at, "netmask", format!("is no {} mask", if ip.is_ipv4() { "IPv4" } else { "IPv6" }))
                })?
            }
            (Some(ip), None, None) => Range::single(ip),
            (None, ..) => {
                if !is_host_name(text) {
                    return Err(bad(
                        at,
                        "address",
                        format!("\"{text}\" is neither an address nor a host name"),
                    ));
                }
                no_mask("a host name")?;
                return Ok(Some(Address::Host(text.to_lowercase())));
            }
        };
        Ok(Some(Address::Range(range)))
    }
}

/// The server knows only 1 for yes in these; whatever else it silently takes for no.
fn switch(name: &str, value: &str) -> String {
    match (name, value) {
        ("clientcert" | "ldaptls" | "include_realm", "true") => "1".to_owned(),
        ("clientcert" | "ldaptls" | "include_realm", "false") => "0".to_owned(),
        _ => value.to_owned(),
    }
}

/// Whether it can be a host name, or with a leading dot the end of one. Numbers and dots alone are a mistyped address,
/// which the server would quietly take for a name.
fn is_host_name(text: &str) -> bool {
    let text = text.strip_prefix('.').unwrap_or(text);
    text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
        })
        && text.chars().any(|c| c.is_alphabetic() || c == '_')
        && !text.rsplit('.').next().is_some_and(|last| last.bytes().all(|c| c.is_ascii_digit()))
}

fn names(
    at: &str,
    key: &str,
    items: Option<&Items>,
    value: fn(&hba::Token) -> Name,
) -> Result<Option<Vec<Name>>, Error> {
    let read = |text: &str, at: &str, key: &str| {
        hba::tokens(text.trim()).map_err(|why| bad(at, key, format!("\"{text}\": {why}")))
    };
    let mut names: Vec<Name> = Vec::new();
    match items {
        None => return Ok(None),
        Some(Items::Text(text)) => names.extend(read(text, at, key)?.iter().map(value)),
        Some(Items::List(items)) => {
            for (n, item) in items.iter().enumerate() {
                names.extend(read(item, &format!("{at}/{key}"), &n.to_string())?.iter().map(value));
            }
        }
    }
    if names.is_empty() {
        return Err(bad(at, key, "the list is empty"));
    }
    Ok(Some(names))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn rule(value: Value) -> Result<Wanted, Error> {
        serde_json::from_value::<RuleArg>(value).unwrap().wanted("/rules/3")
    }

    #[test]
    fn objects_and_lines_are_the_same_rules() {
        for (object, line) in [
            (json!({"address": "10.0.0.5", "method": "trust"}), "host all all 10.0.0.5/32 trust"),
            (
                json!({"type": "hostssl", "databases": "a, b", "users": ["omm", "+grp"], "address": "10.0.0.0",
                       "netmask": "255.0.0.0", "method": "cert", "options": {"clientcert": "true"}}),
                "hostssl a,b omm,+grp 10.0.0.0/8 cert clientcert=1",
            ),
            (
                json!({"type": "local", "users": "\"My User\"", "method": "peer"}),
                "local all \"My User\" peer",
            ),
            (json!({"address": "::1", "users": "\"all\"", "method": "md5"}), "host all \"all\" ::1/128 md5"),
            (json!({"address": ".Example.org", "method": "md5"}), "host all all .example.org md5"),
        ] {
            let object = rule(object).unwrap();
            assert_eq!(object.rule, Rule::parse(line).unwrap(), "{line}");
            assert_eq!(Rule::parse(&object.line).unwrap(), object.rule);
        }
        let line =
            rule(json!({"address": "1.2.3.4", "method": "trust", "comment": "#  for x"})).unwrap().line;
        assert_eq!(line, "host    all    all    1.2.3.4/32    trust    # for x");
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let at = |value: Value| {
            let error = rule(value).unwrap_err();
            (error.failure().path.clone().unwrap(), error.failure().detail.clone())
        };
        for (value, place) in [
            (json!({"address": "10.0.0.300", "method": "trust"}), "/rules/3/address"),
            (json!({"address": "10.0.0.1/33", "method": "trust"}), "/rules/3/address"),
            (json!({"address": "fe80:::1", "method": "trust"}), "/rules/3/address"),
            (json!({"address": "10.0.0.1", "netmask": "ffff::", "method": "trust"}), "/rules/3/netmask"),
            (
                json!({"address": "10.0.0.1/32", "netmask": "255.0.0.0", "method": "trust"}),
                "/rules/3/netmask",
            ),
            (json!({"method": "trust"}), "/rules/3/address"),
            (json!({"type": "local", "address": "1.1.1.1", "method": "trust"}), "/rules/3/address"),
            (json!({"address": "1.1.1.1"}), "/rules/3/method"),
            (json!({"address": "1.1.1.1", "method": "SHA256"}), "/rules/3/method"),
            (json!({"address": "1.1.1.1", "method": "peer"}), "/rules/3/method"),
            (json!({"address": "1.1.1.1", "method": "md5", "options": {"map": "x"}}), "/rules/3/options"),
            (json!({"address": "1.1.1.1", "method": "md5", "users": ["a", "b c"]}), "/rules/3/users/1"),
            (json!({"address": "1.1.1.1", "method": "md5", "users": []}), "/rules/3/users"),
            (json!({"address": "1.1.1.1", "method": "md5", "comment": "a\nb"}), "/rules/3/comment"),
            (json!({}), "/rules/3"),
            (json!("host all all 1.1.1.1/33 trust"), "/rules/3"),
            (json!("# host all all 1.1.1.1/32 trust"), "/rules/3"),
            (json!("local all all trust\nlocal all all trust"), "/rules/3"),
        ] {
            assert_eq!(at(value.clone()).0, place, "{value}");
        }
    }

    #[test]
    fn a_pattern_compares_what_is_given() {
        let pattern = |value: Value| serde_json::from_value::<RuleArg>(value).unwrap().pattern("/x").unwrap();
        let rule = Rule::parse("host a,b omm 192.168.0.1 255.255.255.255 trust").unwrap();
        for yes in [
            json!({"address": "192.168.0.1"}),
            json!({"databases": "b,a"}),
            json!({"type": "host", "method": "trust", "users": "omm"}),
            json!("host b,a omm 192.168.0.1/32"),
            json!("host b,a omm 192.168.0.1/32 trust"),
        ] {
            assert!(pattern(yes.clone()).agrees(&rule), "{yes}");
        }
        for no in [
            json!({"address": "192.168.0.12"}),
            json!({"address": "192.168.0.0/24"}),
            json!({"databases": "a"}),
            json!({"users": "\"all\""}),
            json!("host b,a omm 192.168.0.1/32 md5"),
        ] {
            assert!(!pattern(no.clone()).agrees(&rule), "{no}");
        }
    }

    #[test]
    fn a_text_holds_one_rule_a_line() {
        let rules = |value: Value| serde_json::from_value::<Rules>(value).unwrap().0.len();
        assert_eq!(rules(json!("host a,b all all md5")), 1);
        assert_eq!(rules(json!("# head\nlocal all all trust\n\nhost all all all md5\n")), 2);
        assert_eq!(rules(json!("[\"local all all trust\", {\"users\": \"x\"}]")), 2);
    }
}
