//! Limits that the files of pam_limits(8) give a user who logs in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The value of a limit that is none.
pub const UNLIMITED: &str = "unlimited";

/// The main file, which is read first.
const MAIN: &str = "/etc/security/limits.conf";
/// The folder of the others, which are read in the order of their names.
const FOLDER: &str = "/etc/security/limits.d";
/// The limit of open files, the only one that the kernel itself bounds (`fs.nr_open`).
pub const OPEN_FILES: &str = "nofile";

/// One limit in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitLine {
    /// The file.
    pub file: PathBuf,
    /// Whether it is for all users, for a group of the user, or for the user himself, which counts most.
    pub scope: Scope,
    /// `soft`, `hard` or `-` for both.
    pub kind: String,
    /// The limit's name, in small letters: pam_limits(8) takes either.
    pub name: String,
    /// Its value, likewise.
    pub value: String,
}

/// Whose limits are looked for.
#[derive(Clone, Debug, Default)]
pub struct Holder<'a> {
    /// The user's name.
    pub user: &'a str,
    /// The user's number; none where the user is still to be made.
    pub uid: Option<u32>,
    /// The groups of which the user is, with their numbers where these are known.
    pub groups: BTreeMap<String, Option<u32>>,
}

impl Holder<'_> {
    /// For whom of the user's a line of this domain is; none where it is for others.
    fn scope_of(&self, domain: &str) -> Option<Scope> {
        if let Some(group) = domain.strip_prefix('@') {
            let is_within = |gid: &u32| is_in_range(group, *gid);
            let is_own = self.groups.contains_key(group) || self.groups.values().flatten().any(is_within);
            return is_own.then_some(Scope::Group);
        }
        if domain == "*" {
            return Some(Scope::All);
        }
        let is_own = domain == self.user || self.uid.is_some_and(|uid| is_in_range(domain, uid));
        is_own.then_some(Scope::User)
    }
}

/// Whether a range of numbers as pam_limits(8) has it holds this one: `MIN:MAX`, `MIN:` for all from there on, `:ONE` for one.
fn is_in_range(range: &str, id: u32) -> bool {
    let Some((from, to)) = range.split_once(':') else { return false };
    match (from.parse::<u32>(), to.parse::<u32>()) {
        (Ok(from), Ok(to)) => (from..=to).contains(&id),
        (Ok(from), Err(_)) if to.is_empty() => from <= id,
        (Err(_), Ok(one)) if from.is_empty() => one == id,
        _ => false,
    }
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

/// Reads the lines for this user in the order in which they count, below this root of the file system, without those of the
/// file `except`. A file that cannot be read sets nothing.
#[must_use]
pub fn read_lines(root: &Path, holder: &Holder<'_>, except: Option<&Path>) -> Vec<LimitLine> {
    read_all(root, except, |domain| holder.scope_of(domain))
}

/// Reads the numbers of open files that any user or group gets, with the file of each.
#[must_use]
pub fn read_open_files(root: &Path) -> BTreeSet<(PathBuf, u64)> {
    let lines = read_all(root, None, |_| Some(Scope::All)).into_iter().filter(|line| line.name == OPEN_FILES);
    // One without end is as many as the kernel gives.
    lines
        .filter_map(|line| Some((line.file, parse_value(&line.value).filter(|most| *most < u64::MAX)?)))
        .collect()
}

/// Reads the lines for which there is a scope.
fn read_all(root: &Path, except: Option<&Path>, scope: impl Fn(&str) -> Option<Scope>) -> Vec<LimitLine> {
    let mut files = vec![PathBuf::from(MAIN)];
    let entries = std::fs::read_dir(below(root, Path::new(FOLDER))).into_iter().flatten().flatten();
    let mut others: Vec<PathBuf> = entries.map(|entry| Path::new(FOLDER).join(entry.file_name())).collect();
    others.retain(|path| path.extension().is_some_and(|end| end == "conf") && except != Some(path));
    others.sort();
    files.extend(others);
    let mut lines = Vec::new();
    for file in files {
        let text = std::fs::read(below(root, &file)).unwrap_or_default();
        for line in String::from_utf8_lossy(&text).lines() {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            let [domain, kind, name, value] = words[..] else { continue };
            let Some(scope) = scope(domain) else { continue };
            let [kind, name, value] = [kind, name, value].map(str::to_ascii_lowercase);
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

/// The path below this root of the file system.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// What a login makes of a soft and a hard limit of now when the files give these: what they leave out stays, and no soft
/// limit is above its hard one (`setup_limits` of pam_limits).
#[must_use]
pub fn limits_after_login(
    (soft, hard): (u64, u64),
    (soft_given, hard_given): (Option<u64>, Option<u64>),
) -> (u64, u64) {
    let hard = hard_given.unwrap_or(hard);
    (soft_given.unwrap_or(soft).min(hard), hard)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_are_read_as_pam_limits_reads_them() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("etc/security/limits.d");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(
            root.path().join("etc/security/limits.conf"),
            "* Hard NOFILE Unlimited # all\n65534: - nproc 7\n:65534 soft as 8\n@:5 - core 9\n1000:2000 - stack 1\n\
             @1:4 - data 1\n",
        )
        .unwrap();
        std::fs::write(folder.join("a.conf"), "nobody soft as 10\n").unwrap();
        std::fs::write(folder.join("b.conf"), "nobody soft as 11\n").unwrap();
        std::fs::write(folder.join("c.other"), "nobody soft as 12\n").unwrap();
        let groups = BTreeMap::from([("db".to_owned(), Some(5))]);
        let holder = Holder { user: "nobody", uid: Some(65534), groups };
        let own = Path::new("/etc/security/limits.d/b.conf");
        let lines = read_lines(root.path(), &holder, Some(own));
        let found: Vec<_> = lines
            .iter()
            .map(|line| format!("{:?} {} {} {}", line.scope, line.kind, line.name, line.value))
            .collect();
        assert_eq!(
            found,
            [
                "All hard nofile unlimited",
                "User - nproc 7",
                "User soft as 8",
                "Group - core 9",
                "User soft as 10"
            ]
        );
        assert_eq!(find_limit(&lines, "as"), (Some(10), None));
        assert_eq!(find_limit(&read_lines(root.path(), &holder, None), "as"), (Some(11), None));
    }

    #[test]
    fn a_soft_limit_stays_below_its_hard_one() {
        assert_eq!(limits_after_login((1024, 4096), (None, None)), (1024, 4096));
        assert_eq!(limits_after_login((1024, 4096), (Some(1_000_000), None)), (4096, 4096));
        assert_eq!(limits_after_login((1024, 4096), (None, Some(512))), (512, 512));
        let both = (Some(1_000_000), Some(1_000_000));
        assert_eq!(limits_after_login((1024, 4096), both), (1_000_000, 1_000_000));
    }
}
