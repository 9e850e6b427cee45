//! `cluster_guc.conf`, the list of parameters that gs_guc goes by: names and values are held against it where the server
//! program itself cannot be asked.
//!
//! Its lines are `name|type|range|unit|message|`, in sections. It lacks a few parameters that the server has, so an unknown
//! name is no proof.

use std::collections::HashMap;

use og_common::gauss::ServerNode;
use og_common::protocol::{Call, Error};

use crate::spec::Spec;

/// The parameters of the server, by name in lower case.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct List(HashMap<String, Spec>);

impl List {
    /// The list of the installation; `None` when it cannot be read.
    pub async fn read(node: &ServerNode, call: &Call) -> Option<Self> {
        let home = node.env(call).await.ok()?.gauss_home()?;
        let text = og_common::files::read(&home.join("bin/cluster_guc.conf")).ok()?;
        let list = Self::parse(&String::from_utf8_lossy(&text));
        (!list.0.is_empty()).then_some(list)
    }

    fn parse(text: &str) -> Self {
        let mut ours = false;
        let mut list = HashMap::new();
        for line in text.lines() {
            if line.starts_with('[') {
                ours = line.contains("datanode");
            } else if ours
                && !line.starts_with('#')
                && let [name, kind, range, unit, ..] = line.split('|').collect::<Vec<_>>()[..]
            {
                list.insert(name.trim().to_ascii_lowercase(), spec(kind, range, unit));
            }
        }
        Self(list)
    }

    /// Refuses a value that the parameter cannot have; says of a name that the list has not got it.
    ///
    /// # Errors
    /// `bad_args`.
    pub fn check(&self, name: &str, value: &str) -> Result<Option<String>, Error> {
        match self.0.get(&name.to_ascii_lowercase()) {
            Some(spec) => spec.check(name, value).map(|()| None),
            None if name.contains('.') => Ok(None),
            None => Ok(Some(format!(
                "gs_guc's list of this release has no parameter {name}; with an unknown name the server does not start"
            ))),
        }
    }
}

fn spec(kind: &str, range: &str, unit: &str) -> Spec {
    let unit = if unit == "NULL" { "" } else { unit };
    let words: Vec<String> = match kind {
        "enum" => range.split(',').map(|word| word.trim().to_owned()).collect(),
        _ => Vec::new(),
    };
    // The unit of the range is the server's own, which for pages is not the unit that stands here.
    let range = range.split_once(',').filter(|_| unit.is_empty() && kind != "enum");
    let range = range.and_then(|(least, most)| Some((least.trim().parse().ok()?, most.trim().parse().ok()?)));
    Spec { kind: kind.to_owned(), unit: unit.to_owned(), range, words }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TEXT: &str = "# name|type|range|unit|message|\n[coordinator/datanode]\nport|int|1,65535|NULL|NULL|\n\
        wal_level|enum|minimal,archive,hot_standby,logical|NULL|Set it.|\nshared_buffers|int|16,1073741823|kB|NULL|\n\
        ssl|bool|0,0|NULL|NULL|\nrandom_page_cost|real|0,1.79769e+308|NULL|NULL|\nDateStyle|string|0,0|NULL|NULL|\n\
        [cmserver]\nlog_min_messages|enum|debug5,log|NULL|NULL|\n[end]\n";

    #[test]
    fn names_and_values_are_held_against_the_list() {
        let list = List::parse(TEXT);
        for (name, value) in [
            ("Port", "5432"),
            ("wal_level", "Archive"),
            ("shared_buffers", "1GB"),
            ("ssl", "off"),
            ("random_page_cost", "4.5"),
            ("datestyle", "iso"),
            ("dolphin.nulls_minimal_policy", "on"),
        ] {
            assert_eq!(list.check(name, value).unwrap(), None, "{name}");
        }
        for (name, value) in
            [("port", "abc"), ("port", "0"), ("wal_level", "nosuch"), ("shared_buffers", "1.5GB")]
        {
            assert!(list.check(name, value).is_err(), "{name}");
        }
        for name in ["max_conections", "log_min_messages"] {
            assert!(list.check(name, "1").unwrap().is_some(), "{name}");
        }
    }
}
