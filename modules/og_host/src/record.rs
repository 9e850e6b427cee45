//! The record of what og_host made on this machine: what `absent` takes away, and nothing else.
//!
//! It is written before the first change, with all that is about to be made, and once more at the end, with what was made:
//! after a kill it names what may be there, never less.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use og_common::files::sha256_of_bytes;
use og_common::protocol::Error;
use serde::{Deserialize, Serialize};

use crate::plan::{LOGIND, Step, is_own_path, is_same};
use crate::tree::{Entry, Expected, Folder, is_trusted};
use crate::wanted::{check_name, check_path, check_setting_name};

/// The folder of the record.
pub const FOLDER: &str = "/var/lib/opengauss-node";
/// The record in it.
pub const FILE: &str = "host.json";
/// The lock in it.
pub const LOCK: &str = "host.lock";
/// The form of the record.
const VERSION: u32 = 1;

/// What og_host made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Record {
    version: u32,
    /// The users for whom the machine was prepared, whoever made them.
    pub prepared: BTreeSet<String>,
    /// Users it made, with their numbers; null while one is being made.
    pub users: BTreeMap<String, Option<u32>>,
    /// Groups it made, likewise.
    pub groups: BTreeMap<String, Option<u32>>,
    /// Directories it made, the outer ones first.
    pub directories: Vec<PathBuf>,
    /// Directories that are being made, home directories among them: a killed run may have left one without its owner.
    pub making: BTreeSet<PathBuf>,
    /// Files it wrote.
    pub files: BTreeMap<PathBuf, MadeFile>,
    /// Settings of the kernel that it changed.
    pub settings: BTreeMap<String, MadeSetting>,
    /// The boot of the machine (`boot_id`) since which logind.conf has changed and systemd-logind was not started again.
    pub reload: Option<String>,
}

/// A file that og_host wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MadeFile {
    /// SHA-256 of what it wrote last; none while it writes the first time.
    pub sha256: Option<String>,
    /// SHA-256 of what it is about to write.
    pub pending: Option<String>,
}

/// A setting that og_host changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MadeSetting {
    /// Its value before the first change.
    pub before: String,
    /// The value that it was given last; none while it is set the first time.
    pub value: Option<String>,
    /// The value that it is about to get.
    pub pending: Option<String>,
    /// Whether a run was about to give it its value before back: what it has is then nobody's wish any more.
    pub leaving: bool,
}

impl MadeSetting {
    /// Whether og_host gave the setting of this name this value, or was about to.
    #[must_use]
    pub fn is_as_set(&self, name: &str, seen: &str) -> bool {
        let given = [self.value.as_deref(), self.pending.as_deref()];
        given.into_iter().flatten().any(|value| is_same(name, seen, value))
    }
}

impl Record {
    /// Reads the record in its folder; an empty one where there is none.
    ///
    /// # Errors
    /// `corrupt` when it cannot be understood, or another user could have written it.
    pub fn read(folder: &Folder) -> Result<Self, Error> {
        let at = folder.path.join(FILE);
        let corrupt = |why: String| {
            Error::corrupt(format!("{} {why}", at.display())).with_path(at.display()).hint(
                "bring it back from a backup; without it og_host does not know what it made on this machine",
            )
        };
        match folder.read(OsStr::new(FILE))? {
            Entry::Missing => Ok(Self::default()),
            Entry::File { uid, mode, .. } if !is_trusted(uid, mode) => {
                Err(corrupt(format!("could have been written by others (uid {uid}, mode {mode:04o})")))
            }
            Entry::File { content, .. } => {
                let record: Self =
                    serde_json::from_slice(&content).map_err(|e| corrupt(format!("is no record: {e}")))?;
                if record.version != VERSION {
                    return Err(corrupt(format!(
                        "is a record of version {}, and this program knows {VERSION}",
                        record.version
                    )));
                }
                match record.foreign() {
                    None => Ok(record),
                    Some(what) => Err(corrupt(format!("names {what}, which og_host never makes"))),
                }
            }
            Entry::Other => Err(corrupt("is no regular file".to_owned())),
        }
    }

    /// Something in it that og_host could not have made.
    fn foreign(&self) -> Option<String> {
        let names = self.users.keys().chain(self.groups.keys()).chain(&self.prepared);
        let mut names = names.filter(|name| check_name(name, "").is_err());
        let mut paths =
            self.directories.iter().chain(&self.making).filter(|path| check_path(path, "").is_err());
        let mut files = self.files.keys().filter(|path| !is_own_path(path));
        let mut settings = self.settings.iter().filter(|(name, made)| {
            let values = [Some(&made.before), made.value.as_ref(), made.pending.as_ref()];
            check_setting_name(name).is_err()
                || values.into_iter().flatten().any(|value| value.chars().any(char::is_control))
        });
        let path = paths.next().or_else(|| files.next());
        names
            .next()
            .cloned()
            .or_else(|| path.map(|path| path.display().to_string()))
            .or_else(|| settings.next().map(|(name, _)| name.clone()))
    }

    /// Writes the record; one of nothing is removed.
    ///
    /// # Errors
    /// `permission` or `io`.
    pub fn write(&self, folder: &Folder) -> Result<(), Error> {
        if self.is_empty() {
            return folder.remove(OsStr::new(FILE));
        }
        let record = Self { version: VERSION, ..self.clone() };
        let text = serde_json::to_string_pretty(&record).unwrap_or_default();
        let text = format!("{text}\n");
        match folder.read(OsStr::new(FILE))? {
            Entry::File { content, .. } if content == text.as_bytes() => Ok(()),
            _ => folder.write(OsStr::new(FILE), text.as_bytes(), Expected::Any),
        }
    }

    /// Whether og_host made nothing, or nothing is left of it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { users, groups, directories, files, settings, reload, .. } = self;
        users.is_empty()
            && groups.is_empty()
            && directories.is_empty()
            && files.is_empty()
            && settings.is_empty()
            && reload.is_none()
    }

    /// Whether this content is the one that og_host wrote.
    #[must_use]
    pub fn is_as_written(&self, path: &Path, content: &[u8]) -> bool {
        let hash = Some(sha256_of_bytes(content));
        self.files.get(path).is_some_and(|made| made.sha256 == hash || made.pending == hash)
    }

    /// Notes that this is about to be done, in this boot of the machine.
    pub fn begin(&mut self, step: &Step, boot: &str) {
        if changes_logind(step) {
            self.reload = Some(boot.to_owned());
        }
        match step {
            // The number of one that is gone is none of the one that is made.
            Step::AddUser { name, home, .. } => {
                self.users.insert(name.clone(), None);
                self.making.insert(home.clone());
            }
            Step::AddGroup { name, .. } => {
                self.groups.insert(name.clone(), None);
            }
            Step::MakeDirectory { path, .. } => {
                self.making.insert(path.clone());
                if !self.directories.contains(path) {
                    self.directories.push(path.clone());
                }
            }
            Step::WriteFile { path, content, .. } => {
                self.files.entry(path.clone()).or_default().pending =
                    Some(sha256_of_bytes(content.as_bytes()));
            }
            Step::Set { name, value, before } => {
                let made = self
                    .settings
                    .entry(name.clone())
                    .or_insert_with(|| MadeSetting { before: before.clone(), ..MadeSetting::default() });
                made.pending = Some(value.clone());
                made.leaving = false;
            }
            Step::Restore { name, .. } => {
                if let Some(made) = self.settings.get_mut(name) {
                    made.leaving = true;
                }
            }
            _ => {}
        }
    }

    /// Takes back what [`Record::begin`] noted of these steps, which were not reached; `old` is the record before them.
    pub fn abandon(&mut self, steps: &[Step], old: &Self) {
        fn restore_entry<K: Ord + Clone, V: Clone>(map: &mut BTreeMap<K, V>, old: &BTreeMap<K, V>, key: &K) {
            match old.get(key) {
                Some(value) => drop(map.insert(key.clone(), value.clone())),
                None => drop(map.remove(key)),
            }
        }
        for step in steps {
            if changes_logind(step) {
                // What a killed run wrote is still to be read.
                self.reload.clone_from(&old.reload);
            }
            match step {
                Step::AddUser { name, home, .. } => {
                    restore_entry(&mut self.users, &old.users, name);
                    self.restore_making(home, old);
                }
                Step::AddGroup { name, .. } => restore_entry(&mut self.groups, &old.groups, name),
                Step::MakeDirectory { path, .. } => {
                    self.restore_making(path, old);
                    if !old.directories.contains(path) {
                        self.directories.retain(|own| own != path);
                    }
                }
                Step::WriteFile { path, .. } => restore_entry(&mut self.files, &old.files, path),
                Step::Set { name, .. } | Step::Restore { name, .. } => {
                    restore_entry(&mut self.settings, &old.settings, name);
                }
                _ => {}
            }
        }
    }

    fn restore_making(&mut self, path: &Path, old: &Self) {
        if !old.making.contains(path) {
            self.making.remove(path);
        }
    }

    /// Notes that what was to be written into this file is there.
    pub fn settle(&mut self, path: &Path) {
        if let Some(made) = self.files.get_mut(path)
            && let Some(written) = made.pending.take()
        {
            made.sha256 = Some(written);
        }
    }

    /// Notes that this setting has the value that it was to get.
    pub fn settle_setting(&mut self, name: &str) {
        if let Some(made) = self.settings.get_mut(name)
            && let Some(value) = made.pending.take()
        {
            made.value = Some(value);
        }
    }

    /// Notes that this was done.
    pub fn finish(&mut self, step: &Step) {
        match step {
            Step::WriteFile { path, .. } => self.settle(path),
            Step::Set { name, .. } => self.settle_setting(name),
            Step::AddUser { home, .. } => drop(self.making.remove(home)),
            Step::MakeDirectory { path, .. } => drop(self.making.remove(path)),
            Step::RestartLogind => self.reload = None,
            Step::RemoveFile { path, .. } => drop(self.files.remove(path)),
            Step::RemoveDirectory { path } => {
                self.making.remove(path);
                self.directories.retain(|own| own != path);
            }
            Step::Restore { name, .. } => drop(self.settings.remove(name)),
            Step::RemoveUser { name } => drop(self.users.remove(name)),
            Step::RemoveGroup { name } => drop(self.groups.remove(name)),
            Step::AddGroup { .. }
            | Step::EnableUnit { .. }
            | Step::DisableUnit { .. }
            | Step::ReloadUnits => {}
        }
    }
}

/// Whether it changes what systemd-logind reads when it starts.
#[must_use]
pub fn changes_logind(step: &Step) -> bool {
    matches!(step, Step::WriteFile { path, .. } | Step::RemoveFile { path, .. } if path == Path::new(LOGIND))
}
