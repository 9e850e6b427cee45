//! Limits that files of pam_limits(8) other than ours give a user.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::tree::Tree;
use crate::wanted::UNLIMITED;

/// The main file, which is read first.
const MAIN: &str = "/etc/security/limits.conf";
/// The folder of the others, which are read in the order of their names.
const FOLDER: &str = "/etc/security/limits.d";

/// One limit of the user in a file that is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitLine {
    /// The file.
    pub file: PathBuf,
    /// Whether it is for all users, for a group of the user, or for the user himself, which counts most.
    pub scope: Scope,
    /// `soft`, `hard` or `-` for both.
    pub kind: String,
    /// The limit's name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// For whom a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// For all users.
    All,
    /// For a group.
    Group,
    /// For one user.
    User,
}

/// Reads the lines for this user, of these groups, in the order in which they count. A file that cannot be read sets nothing.
#[must_use]
pub fn read_lines(tree: &Tree, user: &str, groups: &BTreeSet<String>, own: &Path) -> Vec<LimitLine> {
    let mut files = vec![PathBuf::from(MAIN)];
    let entries = std::fs::read_dir(tree.path(FOLDER)).into_iter().flatten().flatten();
    let mut others: Vec<PathBuf> = entries.map(|entry| Path::new(FOLDER).join(entry.file_name())).collect();
    others.retain(|path| path.extension().is_some_and(|end| end == "conf") && path != own);
    others.sort();
    files.extend(others);
    let mut lines = Vec::new();
    for file in files {
        let text = std::fs::read(tree.path(&file.to_string_lossy())).unwrap_or_default();
        for line in String::from_utf8_lossy(&text).lines() {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            let [domain, kind, name, value] = words[..] else { continue };
            let scope = match domain.strip_prefix('@') {
                Some(group) if groups.contains(group) => Scope::Group,
                None if domain == user => Scope::User,
                None if domain == "*" => Scope::All,
                _ => continue,
            };
            let (kind, name, value) = (kind.to_owned(), name.to_owned(), value.to_owned());
            lines.push(LimitLine { file: file.clone(), scope, kind, name, value });
        }
    }
    lines
}

/// The soft and the hard limit that these lines give: of one scope the last counts.
#[must_use]
pub fn find_limit(lines: &[LimitLine], name: &str) -> (Option<u64>, Option<u64>) {
    let find = |kind: &str| {
        let fits = lines.iter().filter(|line| line.name == name && (line.kind == kind || line.kind == "-"));
        // Of several that are the greatest it is the last one.
        fits.max_by_key(|line| line.scope).and_then(|line| parse_value(&line.value))
    };
    (find("soft"), find("hard"))
}

/// A value as a number that can be compared.
#[must_use]
pub fn parse_value(value: &str) -> Option<u64> {
    match value {
        UNLIMITED | "infinity" | "-1" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// The value as it is written.
#[must_use]
pub fn format_value(value: u64) -> String {
    if value == u64::MAX { UNLIMITED.to_owned() } else { value.to_string() }
}

/// The soft limit of the stack that the first process has, which others inherit.
#[must_use]
pub fn inherited_stack(tree: &Tree) -> Option<u64> {
    let text = std::fs::read_to_string(tree.path("proc/1/limits")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max stack size"))?;
    let soft = parse_value(line.split_whitespace().next()?)?;
    Some(if soft == u64::MAX { soft } else { soft / 1024 })
}
