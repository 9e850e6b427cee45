//! What the files set that a postgresql.conf includes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{ConfFile, Setting};
use crate::files;

/// How deep files may include each other (`ParseConfigFile` in the server's `guc-file.l`).
const MAX_DEPTH: usize = 10;

/// The settings of all included files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Includes {
    /// The last one of each name, in lower case.
    settings: HashMap<String, Included>,
    /// What keeps the server from taking the file, or us from reading it.
    pub problems: Vec<String>,
}

/// A setting of an included file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Included {
    /// The file it stands in.
    pub path: PathBuf,
    /// The setting; its line is that file's.
    pub setting: Setting,
    /// The line of the directive in the file that includes it, from 1.
    pub directive: usize,
}

impl Includes {
    /// Reads the files that `file`, which is the one at `path`, includes, and those that they include.
    #[must_use]
    pub fn read(file: &ConfFile, path: &Path) -> Self {
        let mut found = Self::default();
        for directive in file.includes() {
            found.follow_include(&directive, path, directive.line, 1);
        }
        found
    }

    /// The setting that an include makes of `name` after all that `file` itself sets of it, and that therefore counts.
    #[must_use]
    pub fn find_override(&self, file: &ConfFile, name: &str) -> Option<&Included> {
        let included = self.settings.get(&name.to_ascii_lowercase())?;
        file.get(name).is_none_or(|own| own.line < included.directive).then_some(included)
    }

    fn follow_include(&mut self, directive: &Setting, from: &Path, line: usize, depth: usize) {
        let name = directive.text();
        let path = from.parent().unwrap_or(Path::new("/")).join(&*name);
        let place = format!("line {} of {} includes {}", directive.line, from.display(), path.display());
        if depth > MAX_DEPTH {
            self.problems
                .push(format!("{place}: files include each other too deep, and the server refuses that"));
            return;
        }
        let optional = directive.name.eq_ignore_ascii_case("include_if_exists");
        let text = match files::read(&path) {
            Ok(text) => text,
            Err(_) if optional && !path.exists() => return,
            Err(error) => {
                self.problems.push(format!("{place}, which cannot be read: {error}"));
                return;
            }
        };
        let file = ConfFile::parse(&text);
        if let Some(error) = file.errors().first() {
            self.problems.push(format!(
                "{place}, of which the server takes nothing: line {}: {}",
                error.line, error.message
            ));
        }
        for setting in file.active_settings(|_| true) {
            if super::is_include(setting.name.as_bytes()) {
                self.follow_include(&setting, &path, line, depth + 1);
            } else {
                let name = setting.name.to_ascii_lowercase();
                self.settings.insert(name, Included { path: path.clone(), setting, directive: line });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_setting_behind_ours_counts_and_one_before_it_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        put("early.conf", "port = 1\n");
        put("late.conf", "include 'deep.conf'\nWork_Mem = 2MB\n");
        put("deep.conf", "# x\nmax_connections = 7\nwork_mem = 1MB\n");
        let text = b"include 'early.conf'\nport = 2\nmax_connections = 9\ninclude 'late.conf'\n\
                     include_if_exists 'none.conf'\n";
        let file = ConfFile::parse(text);
        let found = Includes::read(&file, &dir.path().join("postgresql.conf"));
        assert_eq!(found.problems, Vec::<String>::new());
        assert_eq!(found.find_override(&file, "port"), None);
        let deep = found.find_override(&file, "MAX_CONNECTIONS").unwrap();
        assert_eq!((deep.setting.line, deep.directive), (2, 4));
        assert!(deep.path.ends_with("deep.conf"));
        assert_eq!(found.find_override(&file, "work_mem").unwrap().setting.value, b"2MB");
        assert_eq!(found.find_override(&file, "ssl"), None);
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("postgresql.conf");
        std::fs::write(&path, "include 'postgresql.conf'\n").unwrap();
        std::fs::write(dir.path().join("bad.conf"), "a = b = c\n").unwrap();
        let told = |text: &str| Includes::read(&ConfFile::parse(text.as_bytes()), &path).problems.join("; ");
        assert!(told("include 'gone.conf'\n").contains("gone.conf, which cannot be read"));
        assert!(told("include 'bad.conf'\n").contains("takes nothing: line 1"));
        assert!(told("include 'postgresql.conf'\n").contains("too deep"));
    }
}
