//! What the running server says of its parameters.

use std::collections::BTreeMap;

use og_common::{
    conf::is_same_value,
    gauss::{ServerNode, gsql::literal},
    protocol::{Call, Error, secret},
};

use crate::plan::Wanted;
use crate::spec::{Spec, parse_bool, unit_size};

/// One row of pg_settings.
#[derive(Clone, Debug, Default, PartialEq)]
struct Fact {
    context: String,
    kind: String,
    setting: String,
    unit: String,
    range: Option<(f64, f64)>,
}

/// Rows of pg_settings, by name in lower case.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts(BTreeMap<String, Fact>);

impl Facts {
    /// Asks the server about these parameters.
    ///
    /// # Errors
    /// As [`ServerNode::sql`].
    pub async fn from_server(node: &ServerNode, call: &Call, names: &[String]) -> Result<Self, Error> {
        let mut rows = Vec::new();
        // One argument of a program has at most 128 KiB.
        for names in names.chunks(1000) {
            let list: Vec<String> = names.iter().map(|name| literal(&name.to_ascii_lowercase())).collect();
            let statement = format!(
                "select lower(name), context, vartype, coalesce(setting, ''), coalesce(unit, ''), \
                 coalesce(min_val, ''), coalesce(max_val, '') from pg_settings where lower(name) in ({})",
                list.join(", ")
            );
            rows.extend(node.sql(call, &statement).await?);
        }
        Ok(Self::from_rows(rows))
    }

    fn from_rows(rows: Vec<Vec<String>>) -> Self {
        let row = |row: Vec<String>| {
            let [name, context, kind, setting, unit, least, most]: [String; 7] = row.try_into().ok()?;
            let range = least.parse().ok().zip(most.parse().ok());
            Some((name, Fact { context, kind, setting, unit, range }))
        };
        Self(rows.into_iter().filter_map(row).collect())
    }

    /// Whether the parameter counts only after a restart.
    pub fn needs_restart(&self, name: &str) -> bool {
        self.get(name).is_some_and(|fact| fact.context == "postmaster")
    }

    /// Refuses what this server would refuse, before anything is written: a primary hands a bad file on to its standbys,
    /// whose next start then fails, even if it is put right a moment later.
    ///
    /// # Errors
    /// `bad_args`, naming the parameter.
    pub async fn check(&self, node: &ServerNode, call: &Call, wanted: &Wanted) -> Result<(), Error> {
        for (name, value) in &wanted.set {
            let at = format!("/parameters/{name}");
            match self.get(name) {
                Some(fact) => fact.check(name, value).map_err(|e| e.with_path(at))?,
                // Names of classes (foo.bar) may be anything; some of the server's own are in no view.
                None if name.contains('.') => {}
                None => {
                    if let Err(error) = node.sql(call, &format!("show {name}")).await
                        && error.failure().detail.contains("unrecognized configuration parameter")
                    {
                        return Err(Error::bad_args(format!("this server has no parameter {name}")).with_path(at).hint(
                            "with one unknown name the server takes nothing of the file and does not start",
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// The parameters whose value in the file is not the one the server works with.
    pub fn pending_restart(&self, file: &BTreeMap<String, Option<String>>) -> Vec<String> {
        let differs = |(name, value): (&String, &Option<String>)| {
            let (Some(fact), Some(value)) = (self.get(name), value) else { return None };
            // What a session may set for itself says nothing of the file.
            let global = matches!(fact.context.as_str(), "postmaster" | "sighup");
            (global && fact.has_value(value) == Some(false)).then(|| name.clone())
        };
        file.iter().filter_map(differs).collect()
    }

    /// What the server works with, of these parameters. A session's own settings, such as application_name, are not the
    /// server's; secrets are masked.
    pub fn running_values(&self, names: &[String]) -> BTreeMap<String, String> {
        let value = |name: &String| {
            let fact = self.get(name).filter(|f| matches!(f.context.as_str(), "postmaster" | "sighup"))?;
            Some((name.clone(), secret::mask_value(name, &fact.setting).into_owned()))
        };
        names.iter().filter_map(value).collect()
    }

    fn get(&self, name: &str) -> Option<&Fact> {
        self.0.get(&name.to_ascii_lowercase())
    }
}

impl Fact {
    fn check(&self, name: &str, value: &str) -> Result<(), Error> {
        if self.context == "internal" {
            return Err(Error::bad_args(format!("{name} is the server's own and cannot be set")));
        }
        // Words of an enum that the server does not show may be taken all the same.
        let (kind, unit) = (self.kind.clone(), self.unit.clone());
        Spec { kind, unit, range: self.range, words: Vec::new() }.check(name, value)
    }

    /// Whether the server works with this value; `None` when that cannot be told.
    fn has_value(&self, value: &str) -> Option<bool> {
        match self.kind.as_str() {
            "bool" => Some(parse_bool(value)? == parse_bool(&self.setting)?),
            "integer" | "int64" | "real" => {
                let (number, unit) = parse_amount(value)?;
                let (setting, _) = parse_amount(&self.setting)?;
                let factor = if unit.is_empty() { 1.0 } else { unit_size(unit)? / unit_size(&self.unit)? };
                Some((number * factor - setting).abs() <= setting.abs() * 1e-9)
            }
            "enum" => Some(
                value.eq_ignore_ascii_case(&self.setting)
                    || is_same_value(value.as_bytes(), self.setting.as_bytes()),
            ),
            _ => Some(value == self.setting),
        }
    }
}

fn parse_amount(value: &str) -> Option<(f64, &str)> {
    let value = value.trim();
    if value.len() > 1 && value.starts_with('0') && value.bytes().all(|b| matches!(b, b'0'..=b'7')) {
        return Some((f64::from(u32::from_str_radix(value, 8).ok()?), ""));
    }
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &value[digits.len()..];
    Some((digits.trim_end().parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(kind: &str, setting: &str, unit: &str) -> Fact {
        Fact {
            context: "sighup".into(),
            kind: kind.into(),
            setting: setting.into(),
            unit: unit.into(),
            range: Some((0.0, 65_535.0)),
        }
    }

    #[test]
    fn values_are_compared_in_the_servers_units() {
        assert_eq!(fact("integer", "16384", "kB").has_value("16MB"), Some(true));
        assert_eq!(fact("integer", "4096", "8kB").has_value("32MB"), Some(true));
        assert_eq!(fact("integer", "600", "s").has_value("10min"), Some(true));
        assert_eq!(fact("integer", "600", "s").has_value("11min"), Some(false));
        assert_eq!(fact("integer", "40", "").has_value("41"), Some(false));
        assert_eq!(fact("integer", "40", "").has_value("1MB"), None);
        assert_eq!(fact("integer", "384", "").has_value("0600"), Some(true));
        assert_eq!(fact("bool", "on", "").has_value("true"), Some(true));
        assert_eq!(fact("enum", "hot_standby", "").has_value("HOT_STANDBY"), Some(true));
        assert_eq!(fact("string", "a", "").has_value("A"), Some(false));
    }

    #[test]
    fn values_of_another_type_are_refused() {
        assert!(fact("bool", "on", "").check("hot_standby", "maybe").is_err());
        assert!(fact("bool", "on", "").check("hot_standby", "y").is_ok());
        assert!(fact("integer", "1", "").check("port", "abc").is_err());
        assert!(fact("integer", "1", "").check("port", "70000").is_err());
        assert!(fact("integer", "1", "").check("unix_socket_permissions", "0700").is_ok());
        assert!(fact("string", "1", "").check("replconninfo1", "").is_ok());
        let internal = Fact { context: "internal".into(), ..fact("integer", "1", "") };
        assert!(internal.check("block_size", "8192").is_err());
    }

    #[test]
    fn pending_is_what_the_server_does_not_work_with() {
        let row =
            |words: [&str; 5]| [&words[..], &["", ""]].concat().into_iter().map(str::to_owned).collect();
        let facts = Facts::from_rows(vec![
            row(["max_connections", "postmaster", "integer", "40", ""]),
            row(["port", "postmaster", "integer", "25000", ""]),
            row(["work_mem", "user", "integer", "16384", "kB"]),
        ]);
        let file = [("max_connections", "42"), ("port", "25000"), ("work_mem", "1MB")];
        let file = file.map(|(name, value)| (name.to_owned(), Some(value.to_owned()))).into();
        assert_eq!(facts.pending_restart(&file), ["max_connections"]);
        let names = ["Port", "work_mem", "other"].map(str::to_owned);
        assert_eq!(facts.running_values(&names), [("Port".to_owned(), "25000".to_owned())].into());
        assert!(facts.needs_restart("MAX_CONNECTIONS") && !facts.needs_restart("work_mem"));
    }
}
