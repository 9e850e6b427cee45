//! The client authentication rules that a server has loaded, of releases that show them: the proof of a reload.

use std::time::Duration;

use super::{ReloadOutcome, ServerNode};
use crate::base::{Call, Error};
use crate::hba::{Address, HbaFile, HbaRule, Name, Range, parse_ip};

const RULES: &str = "select type, database, users, address, method from gs_get_hba_conf()";
/// How long the server may take to answer.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

impl ServerNode {
    /// [`ServerNode::reload`], and where the log does not show what the server made of its pg_hba.conf, which is `wanted` now,
    /// what the server itself shows of its rules.
    ///
    /// # Errors
    /// As [`ServerNode::reload`].
    pub async fn reload_hba(&self, call: &Call, wanted: &HbaFile) -> Result<ReloadOutcome, Error> {
        let outcome = self.reload(call).await?;
        let ReloadOutcome::Unseen(why) = outcome else { return Ok(outcome) };
        Ok(match self.has_loaded(call, wanted).await {
            Some(true) => ReloadOutcome::Taken,
            Some(false) => ReloadOutcome::Unseen(format!("{why}; and gs_get_hba_conf() shows other rules")),
            None => ReloadOutcome::Unseen(why),
        })
    }

    /// Whether the running server has the rules of this file loaded; `None` when its release does not show them, or it
    /// cannot be asked.
    pub async fn has_loaded(&self, call: &Call, wanted: &HbaFile) -> Option<bool> {
        self.version(call).await.filter(|release| release.shows_hba_rules())?;
        let rows = self.sql_within(call, RULES, QUERY_TIMEOUT).await.ok()?;
        let wanted: Vec<HbaRule> = wanted.rules().map(|(_, rule)| rule).collect();
        Some(has_rules(&wanted, &rows))
    }
}

/// Whether these rows of type, databases, users, address and method show these rules, in their order. Names are shown
/// without their escapes, addresses as values; what is not shown, such as most options, is not compared.
fn has_rules(wanted: &[HbaRule], rows: &[Vec<String>]) -> bool {
    let same = |rule: &HbaRule, row: &Vec<String>| {
        let [kind, databases, users, address, method] = row.as_slice() else { return false };
        rule.kind.as_str() == kind
            && names(&rule.databases, databases)
            && names(&rule.users, users)
            && is_address(rule.address.as_ref(), address.trim())
            && method.split(' ').next() == Some(rule.method.as_str())
    };
    wanted.len() == rows.len() && wanted.iter().zip(rows).all(|(rule, row)| same(rule, row))
}

/// Whether the list is shown so. Where it names a file the server shows what that lists.
fn names(list: &[Name], shown: &str) -> bool {
    let lists_file = list.iter().any(|name| matches!(name, Name::Include(_)));
    let bare = |text: &str| text.chars().filter(|c| !matches!(c, '"' | ' ')).collect::<String>();
    let ours: Vec<String> = list.iter().map(ToString::to_string).collect();
    lists_file || bare(&ours.join(",")) == bare(&shown.replace("samegroup", "samerole"))
}

fn is_address(address: Option<&Address>, shown: &str) -> bool {
    match address {
        None => shown.is_empty(),
        Some(Address::All) => shown == "all",
        Some(Address::SameHost) => shown == "samehost",
        Some(Address::SameNet) => shown == "samenet",
        Some(Address::Host(name)) => {
            let shown = shown.split_once('/').map_or(shown, |(name, _)| name);
            shown.as_bytes().eq_ignore_ascii_case(name)
        }
        Some(Address::Range(range)) => {
            let Some((text, bits)) = shown.split_once('/') else { return false };
            let (Some(ip), Ok(bits)) = (parse_ip(text.as_bytes()), bits.parse::<u32>()) else { return false };
            // Of a mask with holes only the number of its ones is shown.
            match *range {
                Range::V4 { mask, .. } if mask.leading_ones() != mask.count_ones() => {
                    bits == mask.count_ones()
                }
                Range::V6 { mask, .. } if mask.leading_ones() != mask.count_ones() => {
                    bits == mask.count_ones()
                }
                whole => Range::from_prefix(ip, bits) == Some(whole),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shown(file: &str, rows: &[[&str; 5]]) -> bool {
        let file = HbaFile::parse(file.as_bytes());
        let rules: Vec<HbaRule> = file.rules().map(|(_, rule)| rule).collect();
        let rows: Vec<Vec<String>> = rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect();
        has_rules(&rules, &rows)
    }

    #[test]
    fn rules_are_compared_as_values() {
        let file = "# x\nlocal all all trust\nhost all,\"a b\" +g,u 10.1.2.3 255.255.255.0 sha256 # why\n\
            hostssl \"replication\" all ::1/128 cert clientcert=1\nhost all all samenet reject\n\
            host all @users .Example.org md5\nhost all all 0.0.0.0/0 sha256\n";
        let rows = [
            ["local", "all", "all", " ", "trust"],
            ["host", "all,\"a b\"", "+g,u", "10.1.2.3/24", "sha256"],
            ["hostssl", "\"replication\"", "all", "::1/128", "cert clientcert=1"],
            ["host", "all", "all", "samenet", "reject"],
            ["host", "all", "x,y", ".example.org", "md5"],
            ["host", "all", "all", "0.0.0.0/0", "sha256"],
        ];
        assert!(shown(file, &rows));
        let changed = |at: usize, column: usize, text: &'static str| {
            let mut rows = rows;
            rows[at][column] = text;
            shown(file, &rows)
        };
        for (at, column, text) in [
            (0, 4, "reject"),
            (1, 0, "hostssl"),
            (1, 1, "all"),
            (1, 2, "u"),
            (1, 3, "10.1.2.3/32"),
            (1, 3, "10.1.3.3/24"),
            (3, 3, "samehost"),
            (4, 3, "example.org"),
        ] {
            assert!(!changed(at, column, text), "{at} {column} {text}");
        }
        assert!(!shown(file, &rows[..5]));
        assert!(shown("", &[]));
    }
}
