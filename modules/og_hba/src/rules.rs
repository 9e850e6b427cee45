//! The typed rules made of the arguments.

use std::collections::BTreeMap;

use og_common::hba::{
    self, Address, Brief, Column, HbaFile, HbaRule, Kind, Method, Name, ProblemPart, Range, Reach,
};
use og_common::protocol::{Error, secret};

use crate::args::{Fields, Items, RuleArg};

/// A rule that shall be in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its value.
    pub rule: HbaRule,
    /// The line to write when it is new, without line end.
    pub line: Vec<u8>,
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
    pub fn matches_rule(&self, rule: &HbaRule) -> bool {
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
            && self.options.as_ref().is_none_or(|o| *o == sort_options(&rule.options))
    }
}

impl Pattern {
    /// Whether the rule on a line of the file agrees; it is parsed only where it may.
    #[must_use]
    pub fn matches_line(&self, file: &HbaFile, index: usize, brief: &Brief) -> bool {
        let may = self.kind.is_none_or(|kind| kind == brief.kind)
            && self.method.is_none_or(|method| method == brief.method)
            && self.address.as_ref().is_none_or(|address| Reach::from(Some(address)) == brief.reach);
        may && file.rule(index).is_some_and(|rule| self.matches_rule(&rule))
    }
}

fn sort_options(options: &[(Vec<u8>, Vec<u8>)]) -> Vec<(Vec<u8>, Vec<u8>)> {
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
                let line = text.trim();
                let rule = parse_written(at, line)?;
                if let Some(option) = find_masked(&rule.options) {
                    return Err(masked_option_error(at, option));
                }
                Ok(Wanted { rule, line: line.as_bytes().to_vec(), at: at.to_owned() })
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
        hba::check_writable(text).map_err(|why| line_error(at, text, &why))?;
        // As for gs_guc a line may end before the method.
        let (rule, method) = match HbaRule::parse(text) {
            Ok(rule) => (rule, true),
            Err(problem) if problem.part == ProblemPart::MissingMethod => {
                (HbaRule::parse(&format!("{text} trust")).map_err(|_| bad_line(at, text, &problem))?, false)
            }
            Err(problem) => return Err(bad_line(at, text, &problem)),
        };
        Ok(Pattern {
            kind: Some(rule.kind),
            databases: Some(hba::name_set(&rule.databases).into_owned()),
            users: Some(hba::name_set(&rule.users).into_owned()),
            address: rule.address,
            method: method.then_some(rule.method),
            options: (method && !rule.options.is_empty()).then(|| sort_options(&rule.options)),
        })
    }
}

fn bad_line(at: &str, text: &str, problem: &hba::Problem) -> Error {
    Error::bad_args(format!(
        "{at}: {} at column {} of \"{}\"",
        problem.message,
        problem.offset + 1,
        secret::mask_text(text.trim())
    ))
    .with_path(at)
    .hint("write it as in pg_hba.conf: TYPE DATABASES USERS ADDRESS METHOD [OPTIONS]")
}

/// The rule that a line says.
fn parse_written(at: &str, line: &str) -> Result<HbaRule, Error> {
    let rule = HbaRule::parse(line).map_err(|p| bad_line(at, line, &p))?;
    hba::check_writable(line).map_err(|why| line_error(at, line, &why))?;
    Ok(rule)
}

fn line_error(at: &str, line: &str, why: &str) -> Error {
    Error::bad_args(format!("{at}: {why}: \"{}\"", secret::mask_text(line))).with_path(at)
}

/// The option that has the mask of a secret for its value, as results show it.
fn find_masked(options: &[(Vec<u8>, Vec<u8>)]) -> Option<&[u8]> {
    options.iter().find(|(_, value)| value == secret::MASK.as_bytes()).map(|(name, _)| name.as_slice())
}

fn masked_option_error(at: &str, option: &[u8]) -> Error {
    let option = String::from_utf8_lossy(option);
    Error::bad_args(format!("{at}: {option} is the mask under which results hide a secret"))
        .with_path(at)
        .hint(format!("give {option} itself, or leave the rule out"))
}

fn bad_key(at: &str, key: &str, what: impl std::fmt::Display) -> Error {
    let at = format!("{at}/{key}");
    // It may be a piece of a rule, such as the options behind a method.
    Error::bad_args(format!("{at}: {}", secret::mask_text(&what.to_string()))).with_path(at)
}

impl Fields {
    fn wanted(&self, at: &str) -> Result<Wanted, Error> {
        let pattern = self.pattern(at)?;
        let all = || vec![Name::All];
        let kind = pattern.kind.unwrap_or(Kind::Host);
        if kind == Kind::Local && pattern.address.is_some() {
            return Err(bad_key(at, "address", "a local rule has no address"));
        }
        if kind != Kind::Local && pattern.address.is_none() {
            return Err(bad_key(at, "address", "is missing")
                .hint("give an address, such as 10.0.0.5/32, or type: local"));
        }
        let Some(method) = pattern.method else {
            return Err(bad_key(at, "method", "is missing").hint("such as sha256, trust or reject"));
        };
        let rule = HbaRule {
            kind,
            databases: parse_names(at, "databases", self.databases.as_ref(), Column::Databases)?
                .unwrap_or_else(all),
            users: parse_names(at, "users", self.users.as_ref(), Column::Users)?.unwrap_or_else(all),
            address: pattern.address,
            method,
            options: pattern.options.unwrap_or_default(),
        };
        if let Some(option) = find_masked(&rule.options) {
            return Err(masked_option_error(&format!("{at}/options"), option));
        }
        let mut line = rule.to_bytes();
        // The server's own checks: what goes with what.
        match HbaRule::from_bytes(&line) {
            Ok(read) if read == rule => {}
            Ok(_) => return Err(bad_key(at, "options", "an option does not read back as it was given")),
            Err(problem) => {
                let key = if self.options.is_some() && problem.part != ProblemPart::Method {
                    "options"
                } else {
                    "method"
                };
                return Err(bad_key(at, key, problem.message));
            }
        }
        if let Some(comment) = &self.comment {
            if comment.contains(['\n', '\r', '\0']) {
                return Err(bad_key(at, "comment", "must be one line"));
            }
            line.extend(b"    # ");
            line.extend(comment.trim().trim_start_matches('#').trim_start().as_bytes());
        }
        Ok(Wanted { rule, line, at: at.to_owned() })
    }

    fn pattern(&self, at: &str) -> Result<Pattern, Error> {
        let method = self.method.as_deref().map(|text| {
            Method::parse(text.as_bytes()).ok_or_else(|| {
                let known: Vec<_> = Method::ALL.iter().map(|m| m.as_str()).collect();
                bad_key(at, "method", format!("\"{text}\" is no method of openGauss"))
                    .hint(format!("known: {}", known.join(", ")))
            })
        });
        let options = self.options.as_ref().map(|options| {
            options
                .iter()
                .map(|(n, v)| (n.clone().into_bytes(), normalize_switch(n, v).into_bytes()))
                .collect()
        });
        let pattern = Pattern {
            kind: self.kind.map(Kind::from),
            databases: parse_names(at, "databases", self.databases.as_ref(), Column::Databases)?
                .map(|n| hba::name_set(&n).into_owned()),
            users: parse_names(at, "users", self.users.as_ref(), Column::Users)?
                .map(|n| hba::name_set(&n).into_owned()),
            address: self.parse_address(at)?,
            method: method.transpose()?,
            options,
        };
        if pattern == Pattern::default() {
            return Err(Error::bad_args(format!("{at}: a rule without any field")).with_path(at));
        }
        Ok(pattern)
    }

    fn parse_address(&self, at: &str) -> Result<Option<Address>, Error> {
        let netmask = self.netmask.as_deref().map(str::trim);
        let Some(text) = self.address.as_deref().map(str::trim) else {
            return match netmask {
                Some(_) => Err(bad_key(at, "netmask", "a netmask without an address")),
                None => Ok(None),
            };
        };
        let no_mask = |what: &str| match netmask {
            Some(_) => Err(bad_key(at, "netmask", format!("does not go with {what}"))),
            None => Ok(()),
        };
        for (word, address) in
            [("all", Address::All), ("samehost", Address::SameHost), ("samenet", Address::SameNet)]
        {
            if text == word {
                return no_mask(word).map(|()| Some(address));
            }
        }
        if hba::is_in_quotes(text) {
            no_mask("a host name")?;
            let name = hba::unquote(text).and_then(|name| hba::check_writable(&name).map(|()| name));
            let name = name.map_err(|why| bad_key(at, "address", format!("{text}: {why}")))?;
            return Ok(Some(Address::Host(name.to_ascii_lowercase().into_bytes())));
        }
        let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let Some(ip) = hba::parse_whole_ip(ip) else {
            if let Some(other) = hba::parse_ip(ip.as_bytes()) {
                return Err(bad_key(
                    at,
                    "address",
                    format!("\"{ip}\" is not a whole address, the server would read {other}"),
                )
                .hint("give four decimal parts without leading zeros"));
            }
            if bits.is_some() || !hba::is_host_name(text) {
                return Err(bad_key(
                    at,
                    "address",
                    format!("\"{text}\" is neither an address nor a host name"),
                ));
            }
            no_mask("a host name")?;
            return Ok(Some(Address::Host(text.to_ascii_lowercase().into_bytes())));
        };
        let prefix = |key: &str, bits: &str| {
            let digits = bits.bytes().all(|c| c.is_ascii_digit());
            let bits = bits.parse().ok().filter(|_| digits).and_then(|bits| Range::from_prefix(ip, bits));
            bits.ok_or_else(|| bad_key(at, key, format!("is no mask length for {ip}")))
        };
        let range = match (bits, netmask) {
            (Some(_), Some(_)) => return Err(bad_key(at, "netmask", "the address has a /mask already")),
            (Some(bits), None) => prefix("address", bits)?,
            (None, Some(mask)) if !mask.is_empty() && mask.bytes().all(|c| c.is_ascii_digit()) => {
                prefix("netmask", mask)?
            }
            (None, Some(mask)) => {
                let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
                let mask = hba::parse_whole_ip(mask);
                mask.and_then(|mask| Range::from_mask(ip, mask)).ok_or_else(|| {
                    bad_key(at, "netmask", format!("is no whole {family} mask and no number of bits"))
                })?
            }
            (None, None) => Range::from_ip(ip),
        };
        Ok(Some(Address::Range(range)))
    }
}

/// The server knows only 1 for yes in these; whatever else it silently takes for no.
fn normalize_switch(name: &str, value: &str) -> String {
    match (name, value) {
        ("clientcert" | "ldaptls" | "include_realm", "true") => "1".to_owned(),
        ("clientcert" | "ldaptls" | "include_realm", "false") => "0".to_owned(),
        _ => value.to_owned(),
    }
}

fn parse_names(
    at: &str,
    key: &str,
    items: Option<&Items>,
    column: Column,
) -> Result<Option<Vec<Name>>, Error> {
    let name = |value: &str, at: &str, key: &str| {
        Name::from_value(column, value).map_err(|why| bad_key(at, key, format!("\"{value}\": {why}")))
    };
    let names: Vec<Name> = match items {
        None => return Ok(None),
        Some(Items::Text(text)) => {
            split_list(text).into_iter().map(|value| name(value, at, key)).collect::<Result<_, _>>()?
        }
        Some(Items::List(items)) => {
            let at = format!("{at}/{key}");
            let each = items.iter().enumerate();
            each.map(|(n, value)| name(value, &at, &n.to_string())).collect::<Result<_, _>>()?
        }
    };
    if names.is_empty() {
        return Err(bad_key(at, key, "the list is empty"));
    }
    Ok(Some(names))
}

/// A list written as text: names with commas between them, and blanks around; in double quotes both belong to a name.
fn split_list(text: &str) -> Vec<&str> {
    let mut quoted = false;
    let comma = |c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    };
    text.split(comma).map(str::trim).filter(|name| !name.is_empty()).collect()
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
            (
                json!({"address": "10.0.0.5", "netmask": "24", "method": "md5"}),
                "host all all 10.0.0.0/24 md5",
            ),
            (json!({"address": "fe80::1", "netmask": "64", "method": "md5"}), "host all all fe80::/64 md5"),
            (json!({"address": "\"x:y\"", "method": "md5"}), "host all all x:y md5"),
            (json!({"address": "\"all\"", "method": "md5"}), "host all all \"all\" md5"),
        ] {
            let object = rule(object).unwrap();
            assert_eq!(object.rule, HbaRule::parse(line).unwrap(), "{line}");
            assert_eq!(HbaRule::from_bytes(&object.line).unwrap(), object.rule);
        }
        let line =
            rule(json!({"address": "1.2.3.4", "method": "trust", "comment": "#  for x"})).unwrap().line;
        assert_eq!(line, b"host    all    all    1.2.3.4/32    trust    # for x");
    }

    #[test]
    fn a_value_is_the_name_whatever_is_in_it() {
        let names = |value: Value| {
            let rule = rule(json!({"databases": value, "address": "all", "method": "md5"})).unwrap();
            // What is written means the same to the server.
            assert_eq!(HbaRule::from_bytes(&rule.line).unwrap(), rule.rule);
            rule.rule.databases
        };
        let plain = |name: &str| Name::Named(name.into());
        for name in
            ["a#b", "all#x", "al\"l", "x,y", " all", "a b", "A", "all,", "\"", "a\"", "+g", "sameuserx", "@"]
        {
            assert_eq!(names(json!([name])), [plain(name)], "{name}");
        }
        for (value, name) in [("\"all\"", "all"), ("\"al\"\"l\"", "al\"l"), ("\"\"", ""), ("\"@f\"", "@f")] {
            assert_eq!(names(json!([value])), [plain(name)], "{value}");
        }
        assert_eq!(
            names(json!(["all", "sameuser", "samegroup"])),
            [Name::All, Name::SameUser, Name::SameRole]
        );
        assert_eq!(names(json!(["@a b", "replication"])), [Name::Include(b"a b".into()), Name::Replication]);
        // As a text it is a list with commas, and no more than that.
        assert_eq!(names(json!("a#b, \"c, d\",all")), [plain("a#b"), plain("c, d"), Name::All]);
        assert_eq!(
            names(json!(["a#b"])),
            hba::name_set(&HbaRule::parse("host \"a#b\" all all md5").unwrap().databases).into_owned()
        );
        let role = rule(json!({"users": ["+a b", "all"], "address": "all", "method": "md5"})).unwrap();
        assert_eq!(role.rule.users, [Name::Role(b"a b".into()), Name::All]);
    }

    proptest::proptest! {
        #[test]
        fn any_name_is_written_so_that_it_is_read_back(
            bytes in proptest::collection::vec(proptest::prop_oneof![
                proptest::prelude::any::<u8>(),
                proptest::sample::select(&b" ,#\"@+\\\tAa=/"[..]),
            ], 0..12),
            place in 0..2usize,
        ) {
            let plain = !bytes.iter().any(|c| matches!(c, b'\n' | 0));
            let column = [Column::Databases, Column::Users][place];
            let mut rule = HbaRule::parse("host all all all md5").unwrap();
            let name = Name::Named(bytes.clone());
            if place == 0 { rule.databases = vec![name.clone()] } else { rule.users = vec![name.clone()] }
            if plain {
                proptest::prop_assert_eq!(HbaRule::from_bytes(&rule.to_bytes()).unwrap(), rule);
            }
            match name.to_value(column) {
                None => proptest::prop_assert!(std::str::from_utf8(&bytes).is_err()),
                Some(value) if plain && !value.contains('\u{fffd}') => {
                    proptest::prop_assert_eq!(Name::from_value(column, &value), Ok(name));
                }
                Some(value) => proptest::prop_assert!(Name::from_value(column, &value).is_err()),
            }
            // As an object's value it is the name as it is, but for the words and marks of the column.
            if let Ok(text) = std::str::from_utf8(&bytes)
                && let Ok(read) = Name::from_value(column, text)
            {
                let word = hba::is_in_quotes(text) || text == "all" || text.starts_with('@') && text.len() > 1
                    || place == 0 && ["sameuser", "samerole", "samegroup", "replication"].contains(&text)
                    || place == 1 && text.starts_with('+');
                proptest::prop_assert_eq!(matches!(&read, Name::Named(n) if *n == bytes), !word);
            }
        }
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
            (json!({"address": "1.1.1.1", "method": "cert", "options": {"map": "x"}}), "/rules/3/method"),
            (json!({"address": "1.1.1.1", "method": "md5", "users": ["a", "b\nc"]}), "/rules/3/users/1"),
            (json!({"address": "1.1.1.1", "method": "md5", "users": ["a", "b\u{fffd}"]}), "/rules/3/users/1"),
            (json!({"address": "1.1.1.1", "method": "md5", "users": [""]}), "/rules/3/users/0"),
            (json!({"address": "1.1.1.1", "method": "md5", "users": ["\"a\"b\""]}), "/rules/3/users/0"),
            (json!({"address": "1.1.1.1", "method": "md5", "users": ["x".repeat(255)]}), "/rules/3/users/0"),
            (json!({"address": "10.1", "method": "md5"}), "/rules/3/address"),
            (json!({"address": "10.1/16", "method": "md5"}), "/rules/3/address"),
            (json!({"address": "010.1.1.1", "method": "md5"}), "/rules/3/address"),
            (json!({"address": "12345", "method": "md5"}), "/rules/3/address"),
            (json!({"address": "1.1.1.1/+8", "method": "md5"}), "/rules/3/address"),
            (json!({"address": "1.1.1.1", "netmask": "33", "method": "md5"}), "/rules/3/netmask"),
            (json!({"address": "1.1.1.1", "netmask": "255.255", "method": "md5"}), "/rules/3/netmask"),
            (json!({"address": "1.1.1.1", "netmask": "", "method": "md5"}), "/rules/3/netmask"),
            (
                json!({"address": "1.1.1.1", "method": "ldap", "options": {"ldapserver": "h", "ldapbasedn": "b",
                       "ldapbindpasswd": "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"}}),
                "/rules/3/options",
            ),
            (json!("local all \u{fffd} trust"), "/rules/3"),
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
        let rule = HbaRule::parse("host a,b omm 192.168.0.1 255.255.255.255 trust").unwrap();
        for yes in [
            json!({"address": "192.168.0.1"}),
            json!({"databases": "b,a"}),
            json!({"type": "host", "method": "trust", "users": "omm"}),
            json!("host b,a omm 192.168.0.1/32"),
            json!("host b,a omm 192.168.0.1/32 trust"),
        ] {
            assert!(pattern(yes.clone()).matches_rule(&rule), "{yes}");
        }
        for no in [
            json!({"address": "192.168.0.12"}),
            json!({"address": "192.168.0.0/24"}),
            json!({"databases": "a"}),
            json!({"users": "\"all\""}),
            json!("host b,a omm 192.168.0.1/32 md5"),
        ] {
            assert!(!pattern(no.clone()).matches_rule(&rule), "{no}");
        }
    }
}
