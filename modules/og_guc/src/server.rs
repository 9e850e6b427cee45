//! What the running server says of its parameters.

use std::collections::BTreeMap;

use og_common::{
    conf::same_value,
    gauss::{Node, gsql::literal},
    protocol::{Call, Error},
};

use crate::plan::Wanted;
use crate::spec::{Spec, size, truth};

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
    /// As [`Node::sql`].
    pub async fn ask(node: &Node, call: &Call, names: &[String]) -> Result<Self, Error> {
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
        Ok(Self::of(rows))
    }

    fn of(rows: Vec<Vec<String>>) -> Self {
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
    pub async fn check(&self, node: &Node, call: &Call, wanted: &Wanted) -> Result<(), Error> {
        for (name, value) in &wanted.set {
            let at = format!("/parameters/{name}");
            match self.get(name) {
                Some(fact) => fact.check(name, value).map_err(|e| e.at(at))?,
                // Names of classes (foo.bar) may be anything; some of the server's own are in no view.
                None if name.contains('.') => {}
                None => {
                    if let Err(error) = node.sql(call, &format!("show {name}")).await
                        && error.failure().detail.contains("unrecognized configuration parameter")
                    {
                        return Err(Error::bad_args(format!("this server has no parameter {name}")).at(at).hint(
                            "with one unknown name the server takes nothing of the file and does not start",
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// The parameters whose value in the file is not the one the server works with.
    pub fn pending(&self, file: &BTreeMap<String, Option<String>>) -> Vec<String> {
        let differs = |(name, value): (&String, &Option<String>)| {
            let (Some(fact), Some(value)) = (self.get(name), value) else { return None };
            // What a session may set for itself says nothing of the file.
            let global = matches!(fact.context.as_str(), "postmaster" | "sighup");
            (global && fact.works_with(value) == Some(false)).then(|| name.clone())
        };
        file.iter().filter_map(differs).collect()
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
    fn works_with(&self, value: &str) -> Option<bool> {
        match self.kind.as_str() {
            "bool" => Some(truth(value)? == truth(&self.setting)?),
            "integer" | "int64" | "real" => {
                let (number, unit) = amount(value)?;
                let (setting, _) = amount(&self.setting)?;
                let factor = if unit.is_empty() { 1.0 } else { size(unit)? / size(&self.unit)? };
                Some((number * factor - setting).abs() <= setting.abs() * 1e-9)
            }
            "enum" => Some(
                value.eq_ignore_ascii_case(&self.setting)
                    || same_value(value.as_bytes(), self.setting.as_bytes()),
            ),
            _ => Some(value == self.setting),
        }
    }
}

fn amount(value: &str) -> Option<(f64, &str)> {
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
        assert_eq!(fact("integer", "16384", "kB").works_with("16MB"), Some(true));
        assert_eq!(fact("integer", "4096", "8kB").works_with("32MB"), Some(true));
        assert_eq!(fact("integer", "600", "s").works_with("10min"), Some(true));
        assert_eq!(fact("integer", "600", "s").works_with("11min"), Some(false));
        assert_eq!(fact("integer", "40", "").works_with("41"), Some(false));
        assert_eq!(fact("integer", "40", "").works_with("1MB"), None);
        assert_eq!(fact("integer", "384", "").works_with("0600"), Some(true));
        assert_eq!(fact("bool", "on", "").works_with("true"), Some(true));
        assert_eq!(fact("enum", "hot_standby", "").works_with("HOT_STANDBY"), Some(true));
        assert_eq!(fact("string", "a", "").works_with("A"), Some(false));
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
        let facts = Facts::of(vec![
            row(["max_connections", "postmaster", "integer", "40", ""]),
            row(["port", "postmaster", "integer", "25000", ""]),
            row(["work_mem", "user", "integer", "16384", "kB"]),
        ]);
        let file = [("max_connections", "42"), ("port", "25000"), ("work_mem", "1MB")];
        let file = file.map(|(name, value)| (name.to_owned(), Some(value.to_owned()))).into();
        assert_eq!(facts.pending(&file), ["max_connections"]);
        assert!(facts.needs_restart("MAX_CONNECTIONS") && !facts.needs_restart("work_mem"));
    }
}
