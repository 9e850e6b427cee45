//! What is to be done, from what is there and what is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use og_common::files::limits::{OPEN_FILES, Scope, find_limit, format_value, parse_value};
use og_common::gauss::host::{self, Machine};
use og_common::protocol::{Diff, Error, Reason};

use crate::args::{Cause, Item, ItemKind, Kept};
use crate::present::{DirectoryFacts, Present, UserFacts};
use crate::record::{MadeFile, MadeSetting, Record, changes_logind};
use crate::tree::{Entry, FILE_MODE, FOLDER_MODE, is_unfinished, temporary_name, untrusted_error};
use crate::unit;
use crate::wanted::{Directory, UserWish, Wanted, check_name, is_other_number, normalize};

/// The first line of each file of ours.
pub const HEADER: &str =
    "# Written by og_host, which removes it with state: absent, and leaves it alone once it is edited.\n";
/// Settings of the kernel that count after a restart. Files behind it in the order of their names count more.
pub const SETTINGS: &str = "/etc/sysctl.d/90-opengauss-node.conf";
/// RemoveIPC of systemd.
pub const LOGIND: &str = "/etc/systemd/logind.conf.d/90-opengauss-node.conf";
/// The setting that bounds the open files of a process, and so each limit of them.
pub const NR_OPEN: &str = "fs.nr_open";
/// What the kernel has for it where nothing sets it.
const DEFAULT_NR_OPEN: u64 = 1 << 20;
/// What it is at least where systemd has raised it when the machine started, as it does in most distributions.
const SYSTEMD_NR_OPEN: u64 = 1_073_741_816;
/// Why a group stays.
pub const MAIN_GROUP: &str = "it is the main group of a user that stays";
/// The mode of a home directory.
const HOME_MODE: u32 = 0o700;
/// The setting that lets the kernel promise more memory than there is, or not.
const OVERCOMMIT: &str = "vm.overcommit_memory";

/// How many entries of a directory a warning names at most.
const MAX_SHOWN: usize = 3;

/// The file of a user's limits.
#[must_use]
pub fn limits_file(user: &str) -> PathBuf {
    PathBuf::from(format!("/etc/security/limits.d/90-opengauss-node-{user}.conf"))
}

/// Whether og_host writes a file of this path.
#[must_use]
pub fn is_own_path(path: &Path) -> bool {
    let user = || {
        let name = path.file_name()?.to_str()?;
        name.strip_prefix("90-opengauss-node-")?.strip_suffix(".conf")
    };
    unit::is_unit(path)
        || path == Path::new(SETTINGS)
        || path == Path::new(LOGIND)
        || user().is_some_and(|user| check_name(user, "").is_ok() && path == limits_file(user))
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Makes a group.
    AddGroup {
        /// Name.
        name: String,
        /// Number.
        gid: Option<u32>,
    },
    /// Makes a user.
    AddUser {
        /// Name.
        name: String,
        /// Number.
        uid: Option<u32>,
        /// Main group.
        group: String,
        /// Home directory, which is made with him.
        home: PathBuf,
        /// Login shell.
        shell: PathBuf,
    },
    /// Makes a directory, or gives one that a killed run made its owner and mode.
    MakeDirectory {
        /// Its path.
        path: PathBuf,
        /// Its owner; none for root.
        owner: Option<String>,
        /// Its group; none for the owner's.
        group: Option<String>,
        /// Its permissions.
        mode: u32,
    },
    /// Writes a file.
    WriteFile {
        /// Its path.
        path: PathBuf,
        /// Its content.
        content: String,
        /// What is there; none when nothing is.
        before: Option<Vec<u8>>,
    },
    /// Sets a setting of the running kernel.
    Set {
        /// Its name.
        name: String,
        /// The value.
        value: String,
        /// The value before.
        before: String,
    },
    /// Starts systemd-logind again, which reads its files only then.
    RestartLogind,
    /// Has the unit in this file start with the machine, which systemd reads then.
    EnableUnit {
        /// The file.
        path: PathBuf,
    },
    /// Has it not start with the machine any more.
    DisableUnit {
        /// The file.
        path: PathBuf,
    },
    /// Lets systemd read its units again.
    ReloadUnits,
    /// Removes a file, if it holds that still.
    RemoveFile {
        /// Its path.
        path: PathBuf,
        /// What it holds.
        content: Vec<u8>,
    },
    /// Gives a setting of the running kernel its old value.
    Restore {
        /// Its name.
        name: String,
        /// The old value.
        value: String,
    },
    /// Removes an empty directory.
    RemoveDirectory {
        /// Its path.
        path: PathBuf,
    },
    /// Removes a user, without his home directory.
    RemoveUser {
        /// Name.
        name: String,
    },
    /// Removes a group.
    RemoveGroup {
        /// Name.
        name: String,
    },
}

impl Step {
    /// What it does, as results tell it.
    #[must_use]
    pub fn action(&self) -> String {
        match self {
            Self::AddGroup { name, .. } => format!("make the group {name}"),
            Self::AddUser { name, .. } => format!("make the user {name}"),
            Self::MakeDirectory { path, owner, mode, .. } => {
                let owner = owner.as_deref().unwrap_or("root");
                format!("make the directory {} (owner {owner}, mode {mode:04o})", path.display())
            }
            Self::WriteFile { path, before: None, .. } => format!("write {}", path.display()),
            Self::WriteFile { path, .. } => format!("write {} anew", path.display()),
            Self::Set { name, value, before } => format!("set {name} to {value} (it was {before})"),
            Self::RestartLogind => "restart systemd-logind".to_owned(),
            Self::EnableUnit { path } => format!("enable {}", unit::name(path)),
            Self::DisableUnit { path } => format!("disable {}", unit::name(path)),
            Self::ReloadUnits => "have systemd read its units".to_owned(),
            Self::RemoveFile { path, .. } => format!("remove {}", path.display()),
            Self::Restore { name, value } => format!("set {name} back to {value}"),
            Self::RemoveDirectory { path } => format!("remove the directory {}", path.display()),
            Self::RemoveUser { name } => format!("remove the user {name}"),
            Self::RemoveGroup { name } => format!("remove the group {name}"),
        }
    }

    /// What it takes away, where it may stay in the end.
    #[must_use]
    pub fn removed(&self) -> Option<String> {
        match self {
            Self::RemoveFile { path, .. } | Self::RemoveDirectory { path } => {
                Some(path.display().to_string())
            }
            Self::RemoveGroup { name } => Some(name.clone()),
            _ => None,
        }
    }

    /// The change of a text, where it is one.
    #[must_use]
    pub fn diff(&self) -> Option<Diff> {
        match self {
            Self::WriteFile { path, content, before } => {
                Some(Diff::new(path, before.as_deref().unwrap_or_default(), content.as_bytes()))
            }
            Self::RemoveFile { path, content } => Some(Diff::new(path, content, b"")),
            _ => None,
        }
    }
}

/// What is to be done, and what is told of it.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The changes, in order.
    pub steps: Vec<Step>,
    /// What was looked at.
    pub items: Vec<Item>,
    /// What og_host made and leaves.
    pub kept: Vec<Kept>,
    /// Things to look at.
    pub warnings: Vec<String>,
    /// Files of which a killed call may have left a half.
    pub leftovers: Vec<PathBuf>,
    /// The record, without what is already gone.
    pub record: Record,
    /// What tells this start of the machine from others.
    pub boot: String,
    /// Whether it is left open that systemd-logind is to start again: what it has read of ours harms nobody.
    pub forgets_restart: bool,
}

/// What brings the machine from `present` to `wanted`.
///
/// # Errors
/// `refused` for a file that is not ours and a folder that is not safe; `not_found` for a setting that the kernel does not have.
pub fn plan(present: &Present, wanted: &Wanted) -> Result<Plan, Error> {
    let mut planner = Planner {
        present,
        wanted,
        plan: Plan { record: present.record.clone(), boot: present.boot.clone(), ..Plan::default() },
        made: BTreeMap::new(),
        home: None,
        foreign: Vec::new(),
    };
    planner.plan_group();
    planner.plan_user()?;
    for directory in &wanted.directories {
        planner.plan_directory(directory)?;
    }
    // A limit above fs.nr_open lets nobody log in: where a run ends between the two there must be none.
    if planner.lowers_open_files() {
        planner.plan_limits()?;
        planner.plan_settings()?;
    } else {
        planner.plan_settings()?;
        planner.plan_limits()?;
    }
    planner.check_open_files_of_others()?;
    planner.plan_remove_ipc()?;
    planner.plan_unit()?;
    planner.plan.push_restart(present);
    let Planner { mut plan, foreign, .. } = planner;
    if let Some(first) = foreign.first() {
        let all: Vec<String> = foreign.iter().map(|path| path.display().to_string()).collect();
        return Err(Error::refused(format!(
            "og_host did not make {}, and would have to replace it",
            all.join(", ")
        ))
        .reason(Reason::ForeignFile)
        .with_path(first.display())
        .hint("inspect it, and move it away; or leave out the argument that needs it"));
    }
    if let Some(user) = wanted.user.as_ref().filter(|_| !plan.steps.is_empty()) {
        plan.record.prepared.insert(user.name.clone());
    }
    Ok(plan)
}

struct Planner<'a> {
    present: &'a Present,
    wanted: &'a Wanted,
    plan: Plan,
    /// Directories that are to be made, and whose.
    made: BTreeMap<PathBuf, Option<String>>,
    /// The home directory that useradd makes.
    home: Option<PathBuf>,
    /// Files that are not ours.
    foreign: Vec<PathBuf>,
}

impl Planner<'_> {
    fn push_item(
        &mut self,
        kind: ItemKind,
        name: &str,
        seen: Option<String>,
        wanted: Option<String>,
        made: bool,
    ) {
        self.plan.items.push(Item { kind, name: name.to_owned(), seen, wanted, made });
    }

    fn plan_group(&mut self) {
        let Some(group) = &self.wanted.group else { return };
        let seen = self.present.groups.get(&group.name).copied();
        if let (Some(gid), Some(wanted)) = (seen, group.gid.filter(|wanted| Some(*wanted) != seen)) {
            self.plan.warnings.push(format!(
                "the group {} has the number {gid}, not {wanted}; it stays as it is",
                group.name
            ));
        }
        let made = seen.is_none() || self.plan.record.groups.contains_key(&group.name);
        if let Some(gid) = seen.filter(|gid| group.gid.is_none_or(|wanted| wanted == *gid)) {
            adopt(&mut self.plan.record.groups, &group.name, gid);
        }
        let wanted = group.gid.or(seen).map_or_else(|| "a group".to_owned(), |gid| format!("gid {gid}"));
        self.push_item(
            ItemKind::Group,
            &group.name,
            seen.map(|gid| format!("gid {gid}")),
            Some(wanted),
            made,
        );
        if seen.is_none() {
            self.plan.steps.push(Step::AddGroup { name: group.name.clone(), gid: group.gid });
        }
    }

    fn plan_user(&mut self) -> Result<(), Error> {
        let Some(user) = &self.wanted.user else { return Ok(()) };
        let group = self.wanted.group.as_ref();
        let Some(seen) = self.present.users.get(&user.name) else {
            // Not by useradd, so that the record tells whether it is ours.
            let own_group = self.present.groups.get(&user.name).filter(|_| group.is_none());
            if let Some(gid) = own_group {
                adopt(&mut self.plan.record.groups, &user.name, *gid);
            } else if group.is_none() {
                self.push_item(ItemKind::Group, &user.name, None, Some("a group".to_owned()), true);
                self.plan.steps.push(Step::AddGroup { name: user.name.clone(), gid: self.wanted.gid });
            }
            let home = self.present.home_of(user);
            self.plan_home(&home)?;
            self.push_item(ItemKind::User, &user.name, None, Some("a user".to_owned()), true);
            self.plan.steps.push(Step::AddUser {
                name: user.name.clone(),
                uid: user.uid,
                group: group.map_or_else(|| user.name.clone(), |group| group.name.clone()),
                home,
                shell: user.shell.clone(),
            });
            return Ok(());
        };
        let gid = group.and_then(|group| self.present.groups.get(&group.name));
        let mut differs = Vec::new();
        if let Some(uid) = user.uid.filter(|uid| *uid != seen.uid) {
            differs.push(format!("the number {}, not {uid}", seen.uid));
        }
        if let Some(group) = group.filter(|_| gid != Some(&seen.gid)) {
            differs.push(format!("the main group {}, not {}", seen.gid, group.name));
        }
        if let Some(home) = user.home.as_ref().filter(|home| **home != seen.home) {
            differs.push(format!("the home directory {}, not {}", seen.home.display(), home.display()));
        }
        if differs.is_empty() {
            self.adopt_user(user, seen);
        } else {
            let differs = differs.join("; ");
            self.plan.warnings.push(format!("the user {} has {differs}; it stays as it is", user.name));
        }
        let shown = format!("uid {}, gid {}, home {}", seen.uid, seen.gid, seen.home.display());
        let made = self.plan.record.users.contains_key(&user.name);
        self.push_item(ItemKind::User, &user.name, Some(shown.clone()), Some(shown), made);
        self.plan_unfinished_home(user)
    }

    /// Notes the number of a user whom a killed run was making: it was ended before it could, or its useradd went on. One that is not
    /// as that makes him is somebody else's.
    fn adopt_user(&mut self, user: &UserWish, seen: &UserFacts) {
        let group = self.wanted.group.as_ref().map_or(&user.name, |group| &group.name);
        let gid = self.present.groups.get(group).copied();
        if gid != Some(seen.gid) || seen.home != self.present.home_of(user) {
            return;
        }
        adopt(&mut self.plan.record.users, &user.name, seen.uid);
        if self.wanted.group.is_none() {
            adopt(&mut self.plan.record.groups, group, seen.gid);
        }
    }

    /// Plans the home directory that a useradd did not come to make, or to give to its user.
    fn plan_unfinished_home(&mut self, user: &UserWish) -> Result<(), Error> {
        let home = self.present.home_of(user);
        if !self.plan.record.making.contains(&home) || self.present.users[&user.name].home != home {
            return Ok(());
        }
        let wish =
            Directory { path: home.clone(), owner: Some(user.name.clone()), group: None, mode: HOME_MODE };
        match self.present.directories.get(&home) {
            Some(DirectoryFacts::Missing { .. }) => self.plan_directory(&wish),
            Some(DirectoryFacts::Found { uid, mode, names, untrusted, .. })
                if is_unfinished((*uid, *mode), names, None) =>
            {
                if let Some(other) = untrusted.first() {
                    return Err(untrusted_error(other));
                }
                self.push_directory(&home, &wish);
                Ok(())
            }
            _ => {
                self.plan.record.making.remove(&home);
                Ok(())
            }
        }
    }

    /// Plans the folders around the home directory that useradd makes as root, who must not go through somebody else's.
    fn plan_home(&mut self, home: &Path) -> Result<(), Error> {
        self.finish_folders(home, None);
        match self.present.directories.get(home) {
            Some(DirectoryFacts::Missing { missing, untrusted }) => {
                if let Some(other) = untrusted.first() {
                    return Err(untrusted_error(other));
                }
                missing.iter().filter(|path| *path != home).for_each(|path| self.push_folder(path));
                self.home = Some(home.to_owned());
            }
            Some(DirectoryFacts::Found { uid, untrusted, .. }) => {
                if let Some(other) = untrusted.iter().find(|other| other.path != home) {
                    return Err(untrusted_error(other));
                }
                self.plan.warnings.push(format!(
                    "the home directory {} is there already (owner {}); it stays as it is",
                    home.display(),
                    self.present.name_of(*uid)
                ));
            }
            None => {}
        }
        Ok(())
    }

    fn plan_directory(&mut self, wish: &Directory) -> Result<(), Error> {
        self.finish_folders(&wish.path, Some(wish));
        let shown = |owner: &str, mode: u32| format!("owner {owner}, mode {mode:04o}");
        let owner = wish.owner.as_deref().unwrap_or("root");
        let name = wish.path.display().to_string();
        let made = self.made.contains_key(&wish.path) || self.plan.record.directories.contains(&wish.path);
        let wanted = Some(shown(owner, wish.mode));
        match self.present.directories.get(&wish.path) {
            None => {}
            Some(DirectoryFacts::Found { uid, gid, mode, names, .. }) => {
                let seen = shown(&self.present.name_of(*uid), *mode);
                self.push_item(ItemKind::Directory, &name, Some(seen.clone()), wanted, made);
                let own = self.uid_of(wish.owner.as_deref());
                let own_gid = match &wish.group {
                    Some(group) if group != "root" => self.present.groups.get(group).copied(),
                    Some(_) => Some(0),
                    None => self.gid_of(wish.owner.as_deref()),
                };
                let is_as_wanted = own == Some(*uid) && own_gid == Some(*gid) && *mode == wish.mode;
                // Only one that a killed run was about to make: another that looks so may be meant so.
                let is_half = self.plan.record.making.contains(&wish.path)
                    && is_unfinished((*uid, *mode), names, Some(wish.mode));
                if is_half && !is_as_wanted {
                    self.push_directory(&wish.path, wish);
                    return Ok(());
                }
                self.plan.record.making.remove(&wish.path);
                if !is_as_wanted {
                    let group =
                        wish.group.as_deref().map_or_else(String::new, |group| format!(", group {group}"));
                    self.plan.warnings.push(format!(
                        "{name} has {seen} and group {}, not {}{group}; it stays as it is",
                        self.present.group_name_of(*gid),
                        shown(owner, wish.mode),
                    ));
                }
            }
            Some(DirectoryFacts::Missing { missing, untrusted }) => {
                let owner = self.uid_of(wish.owner.as_deref());
                let is_own = |uid: u32| owner == Some(uid);
                if let Some(other) =
                    untrusted.iter().find(|one| !(is_own(one.uid) && one.is_only_of(one.uid)))
                {
                    return Err(untrusted_error(other));
                }
                self.push_item(ItemKind::Directory, &name, None, wanted, true);
                // Below a folder of the user all is his; what leads to it is root's.
                let mut within = !untrusted.is_empty();
                for path in missing {
                    if self.home.as_ref() == Some(path) {
                        // useradd has made it by then.
                        let user = self.wanted.user.as_ref().map(|user| &user.name);
                        if *path != wish.path && wish.owner.as_ref() != user {
                            return Err(home_error(&wish.path, path));
                        }
                        within = true;
                        continue;
                    }
                    if let Some(owner) = self.made.get(path) {
                        within |= owner.is_some() && *owner == wish.owner;
                        continue;
                    }
                    if within || *path == wish.path {
                        self.push_directory(path, wish);
                    } else {
                        self.push_folder(path);
                    }
                }
            }
        }
        Ok(())
    }

    /// Plans what a killed run left half made of the folders around this path; with a wish they are for its directory.
    fn finish_folders(&mut self, path: &Path, wish: Option<&Directory>) {
        let mut around: Vec<&Path> =
            path.ancestors().skip(1).filter(|path| self.plan.record.making.contains(*path)).collect();
        around.reverse();
        for folder in around {
            let Some(DirectoryFacts::Found { uid, mode, names, untrusted, .. }) =
                self.present.directories.get(folder)
            else {
                continue;
            };
            let wish = wish.filter(|_| !untrusted.is_empty());
            match wish {
                _ if !is_unfinished((*uid, *mode), names, wish.map(|wish| wish.mode)) => {
                    self.plan.record.making.remove(folder);
                }
                _ if self.made.contains_key(folder) => {}
                Some(wish) => self.push_directory(folder, wish),
                None => self.push_folder(folder),
            }
        }
    }

    fn push_directory(&mut self, path: &Path, wish: &Directory) {
        self.made.insert(path.to_owned(), wish.owner.clone());
        self.plan.steps.push(Step::MakeDirectory {
            path: path.to_owned(),
            owner: wish.owner.clone(),
            group: wish.group.clone(),
            mode: wish.mode,
        });
    }

    /// Makes a folder of root's.
    fn push_folder(&mut self, path: &Path) {
        if self.made.insert(path.to_owned(), None).is_none() {
            let path = path.to_owned();
            self.plan.steps.push(Step::MakeDirectory { path, owner: None, group: None, mode: FOLDER_MODE });
        }
    }

    fn uid_of(&self, owner: Option<&str>) -> Option<u32> {
        match owner {
            None => Some(self.present.root.0),
            Some(name) => self.present.users.get(name).map(|user| user.uid),
        }
    }

    fn gid_of(&self, owner: Option<&str>) -> Option<u32> {
        match owner {
            None => Some(self.present.root.1),
            Some(name) => self.present.users.get(name).map(|user| user.gid),
        }
    }

    /// Plans a file of ours, and the folders on the way to it; tells whether it changes.
    fn plan_file(&mut self, path: &Path, content: String) -> Result<bool, Error> {
        self.finish_folders(path, None);
        let before = match self.present.files.get(path) {
            None | Some(Entry::Missing) => None,
            Some(Entry::File { content: old, mode, .. }) => {
                if !self.plan.record.is_as_written(path, old) {
                    self.foreign.push(path.to_owned());
                    return Ok(false);
                }
                if old == content.as_bytes() && *mode == FILE_MODE {
                    // One that a killed run wrote.
                    self.plan.record.settle(path);
                    return Ok(false);
                }
                Some(old.clone())
            }
            Some(Entry::Other) => {
                self.foreign.push(path.to_owned());
                return Ok(false);
            }
        };
        self.folder_of(path)?;
        self.plan.steps.push(Step::WriteFile { path: path.to_owned(), content, before });
        Ok(true)
    }

    /// Plans the folders on the way to a file.
    fn folder_of(&mut self, path: &Path) -> Result<(), Error> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        match self.present.directories.get(parent) {
            Some(DirectoryFacts::Missing { missing, untrusted }) => {
                if let Some(other) = untrusted.first() {
                    return Err(untrusted_error(other));
                }
                for path in missing {
                    self.push_folder(path);
                }
            }
            Some(DirectoryFacts::Found { untrusted, .. }) => {
                if let Some(other) = untrusted.first() {
                    return Err(untrusted_error(other));
                }
            }
            None => {}
        }
        Ok(())
    }

    /// The names and values that our file has by now; none of one that is not ours.
    fn own_lines(
        &self,
        path: &Path,
        parse: fn(&str) -> Option<(String, String)>,
    ) -> BTreeMap<String, String> {
        match self.present.files.get(path) {
            Some(Entry::File { content, .. }) if self.plan.record.is_as_written(path, content) => {
                String::from_utf8_lossy(content).lines().filter_map(parse).collect()
            }
            _ => BTreeMap::new(),
        }
    }

    fn plan_limits(&mut self) -> Result<(), Error> {
        let Some(user) = self.wanted.user.as_ref().filter(|_| self.wanted.has_limits()) else {
            return Ok(());
        };
        let path = limits_file(&user.name);
        let own = self.own_lines(&path, parse_limit);
        let mut wanted = self.wanted.limits.clone();
        for (name, value) in self.wanted.advised_limits() {
            let least = parse_value(&value).unwrap_or(u64::MAX);
            let enough = |seen: Option<u64>| seen.is_some_and(|seen| seen >= least);
            let (mut soft, hard) = find_limit(&self.present.limits, &name);
            if name == "stack" {
                soft = soft.or(self.present.inherited_stack);
            }
            let is_enough = enough(soft) && (name == "stack" || enough(hard));
            let own_value = own.get(&name).and_then(|value| parse_value(value));
            if wanted.contains_key(&name) {
                continue;
            }
            if is_enough || enough(own_value) {
                let seen = own_value.or(soft).map(format_value);
                let made = own_value.is_some();
                self.push_item(ItemKind::Limit, &format!("{} {name}", user.name), seen, Some(value), made);
                continue;
            }
            // Nothing is lowered: of a soft and a hard limit the higher one stays.
            let mut most = least.max(soft.unwrap_or(0));
            if name != "stack" {
                most = most.max(hard.unwrap_or(0));
            }
            if name == "nofile" {
                most = most.min(self.present.most_open_files.unwrap_or(u64::MAX).max(least));
            }
            wanted.insert(name, format_value(most));
        }
        let mut all = own.clone();
        all.extend(wanted.clone());
        self.check_open_files(&all, &user.name)?;
        for (name, value) in &wanted {
            self.warn_of_limit(&user.name, name, value);
            let seen = own.get(name).cloned();
            self.push_item(
                ItemKind::Limit,
                &format!("{} {name}", user.name),
                seen,
                Some(value.clone()),
                true,
            );
        }
        if all.is_empty() {
            return Ok(());
        }
        let lines = all.iter().map(|(name, value)| {
            // The stack is no more than a default; who may raise it keeps that.
            let kind = if name == "stack" { "soft" } else { "-" };
            format!("{} {kind} {name} {value}\n", user.name)
        });
        let content: String = std::iter::once(HEADER.to_owned()).chain(lines).collect();
        self.plan_file(&path, content).map(drop)
    }

    /// `fs.nr_open` as it is wanted, where that is to be set.
    fn wanted_open_files(&self) -> Option<u64> {
        self.wanted.settings.get(NR_OPEN).and_then(|value| value.parse().ok())
    }

    fn lowers_open_files(&self) -> bool {
        self.wanted_open_files().zip(self.present.most_open_files).is_some_and(|(wanted, seen)| wanted < seen)
    }

    /// How many open files the kernel gives a process at most when all is done, and after a restart.
    fn most_open_files(&self) -> (u64, u64) {
        let number = |text: &str| text.parse::<u64>().ok();
        let wanted = self.wanted_open_files();
        let seen = self.present.most_open_files.unwrap_or(DEFAULT_NR_OPEN);
        let later = self.present.later_settings.get(NR_OPEN).and_then(|(_, value)| number(value));
        let own = self.own_lines(Path::new(SETTINGS), parse_setting);
        let own = own.get(NR_OPEN).and_then(|value| number(value));
        let earlier = self.present.earlier_settings.get(NR_OPEN).and_then(|value| number(value));
        // What no file sets is gone after a restart, but for what systemd sets then.
        let unset = if seen >= SYSTEMD_NR_OPEN { seen } else { seen.min(DEFAULT_NR_OPEN) };
        (wanted.unwrap_or(seen), later.or(wanted).or(own).or(earlier).unwrap_or(unset))
    }

    /// Refuses more open files than the kernel gives, now or after a restart.
    fn check_open_files(&self, all: &BTreeMap<String, String>, user: &str) -> Result<(), Error> {
        let (now, later) = self.most_open_files();
        let files = all.get(OPEN_FILES).and_then(|value| value.parse::<u64>().ok());
        let (most, when) = if later < now { (later, " after a restart") } else { (now, "") };
        match files.filter(|files| *files > most) {
            None => Ok(()),
            Some(files) => Err(Error::refused(format!(
                "nofile would be {files}, and the kernel gives no more than {most} ({NR_OPEN}){when}: nobody could log in as {user}"
            ))
            .with_path("/limits/nofile")
            .hint(format!("set {NR_OPEN} higher in sysctl, or nofile lower"))),
        }
    }

    /// Refuses to set `fs.nr_open` below a limit of open files that some user has by now.
    fn check_open_files_of_others(&self) -> Result<(), Error> {
        let Some(wanted) = self.wanted_open_files() else { return Ok(()) };
        let seen = self.present.most_open_files.unwrap_or(u64::MAX);
        // The file of this user is written anew, and was checked.
        let is_rewritten = |path: &PathBuf| {
            let user = self.wanted.user.as_ref().filter(|_| self.wanted.has_limits());
            user.is_some_and(|user| *path == limits_file(&user.name))
        };
        let mut others = self.present.open_files.iter().filter(|(path, _)| !is_rewritten(path));
        match others.find(|(_, files)| *files > wanted && *files <= seen) {
            None => Ok(()),
            Some((path, files)) => Err(Error::refused(format!(
                "{NR_OPEN} would be {wanted}, and {} gives {files} open files (nofile): those users could not log in",
                path.display()
            ))
            .with_path(format!("/sysctl/{NR_OPEN}"))
            .hint(format!("lower nofile there first, or set {NR_OPEN} higher"))),
        }
    }

    /// Tells where another file gives more, or counts more.
    fn warn_of_limit(&mut self, user: &str, name: &str, value: &str) {
        let wanted = parse_value(value);
        let own = limits_file(user);
        let later = self.present.limits.iter().rfind(|line| {
            line.name == name
                && line.scope == Scope::User
                && line.file > own
                && parse_value(&line.value) != wanted
        });
        if let Some(line) = later {
            self.plan.warnings.push(format!(
                "{} sets {name} of {user} to {}, which counts more; take the line out",
                line.file.display(),
                line.value
            ));
        }
        let (soft, hard) = find_limit(&self.present.limits, name);
        let most = if name == "stack" { soft } else { soft.max(hard) };
        if let Some(most) = most.filter(|most| wanted.is_some_and(|wanted| wanted < *most)) {
            self.plan.warnings.push(format!(
                "{name} of {user} is lowered to {value}: other files give {}",
                format_value(most)
            ));
        }
    }

    fn plan_settings(&mut self) -> Result<(), Error> {
        // What a killed run set.
        for (name, made) in &self.present.record.settings {
            let seen = self.present.settings.get(name);
            if seen.zip(made.pending.as_ref()).is_some_and(|(seen, pending)| is_same(name, seen, pending)) {
                self.plan.record.settle_setting(name);
            }
        }
        let mut wanted = self.wanted.settings.clone();
        if self.wanted.recommended {
            let machine = Machine { memory: self.present.memory, base_ports: &self.wanted.base_ports };
            for advice in host::advise_settings(|name| self.present.settings.get(name).cloned(), machine) {
                wanted.entry(advice.name.to_owned()).or_insert(advice.value);
            }
            // A killed run has set it, and not written it into the file.
            let own = self.own_lines(Path::new(SETTINGS), parse_setting);
            for (name, made) in &self.present.record.settings {
                // One that was to be taken away is left to whoever names it.
                let seen = self.present.settings.get(name).filter(|seen| made.is_as_set(name, seen));
                if let Some(seen) = seen.filter(|_| !own.contains_key(name) && !made.leaving) {
                    wanted.entry(name.clone()).or_insert_with(|| seen.clone());
                }
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        for name in wanted.keys() {
            if !self.present.settings.contains_key(name) {
                return Err(Error::not_found(format!("the kernel has no setting {name}"))
                    .with_path(format!("/sysctl/{name}"))
                    .hint("correct its name, or leave it out"));
            }
        }
        self.check_numbers()?;
        self.leave_read_only(&mut wanted)?;
        if wanted.is_empty() {
            return Ok(());
        }
        if wanted.get(OVERCOMMIT).is_some_and(|value| value == "2")
            && self.present.settings[OVERCOMMIT] != "2"
        {
            self.check_committed()?;
        }
        for (name, value) in &wanted {
            let seen = self.present.settings[name].clone();
            self.push_item(ItemKind::Setting, name, Some(seen.clone()), Some(value.clone()), true);
            let later = self.present.later_settings.get(name);
            if let Some((file, other)) = later.filter(|(_, other)| !is_same(name, other, value)) {
                self.plan.warnings.push(format!(
                    "{} sets {name} to {other}, which counts after the next restart; take the line out",
                    file.display()
                ));
            }
            if is_same(name, &seen, value) {
                continue;
            }
            if let Some(server) = self.present.find_server().filter(|_| name == host::MIN_FREE_KBYTES) {
                // It takes the memory at once, and the kernel may end the server for it.
                self.plan.warnings.push(format!(
                    "{name} stays {seen} until the machine restarts: a server runs (pid {}), and could be ended for want of memory",
                    server.pid
                ));
            } else {
                let (name, value) = (name.clone(), value.clone());
                self.plan.steps.push(Step::Set { name, value, before: seen });
            }
        }
        let path = Path::new(SETTINGS);
        let mut all = self.own_lines(path, parse_setting);
        all.extend(wanted);
        let lines = all.iter().map(|(name, value)| format!("{name} = {value}\n"));
        let content: String = std::iter::once(HEADER.to_owned()).chain(lines).collect();
        self.plan_file(path, content).map(drop)
    }

    /// Refuses numbers that the kernel would show otherwise than they are given, where it shows decimal ones.
    fn check_numbers(&self) -> Result<(), Error> {
        let has_other = |value: &str| value.split_whitespace().any(is_other_number);
        let mut other = self.wanted.settings.iter().filter(|(name, value)| {
            has_other(value) && !has_other(self.present.settings.get(*name).map_or("", String::as_str))
        });
        match other.next() {
            None => Ok(()),
            Some((name, value)) => Err(Error::bad_args(format!(
                "/sysctl/{name}: the kernel reads {value:?} as other numbers than it looks (0x: hexadecimal, 0: octal)"
            ))
            .with_path(format!("/sysctl/{name}"))
            .hint("write the numbers in decimal")),
        }
    }

    /// Takes away what cannot be set here: what is only advised is told, what was asked for is refused.
    fn leave_read_only(&mut self, wanted: &mut BTreeMap<String, String>) -> Result<(), Error> {
        let is_read_only = |name: &String| self.present.read_only_settings.contains(name);
        let left = wanted.iter().filter(|(name, value)| {
            is_read_only(name) && !is_same(name, &self.present.settings[*name], value)
        });
        let (asked, advised): (Vec<_>, Vec<_>) =
            left.partition(|(name, _)| self.wanted.settings.contains_key(*name));
        let listed = |all: &[(&String, &String)]| {
            all.iter().map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(", ")
        };
        if let Some((name, _)) = asked.first() {
            return Err(Error::refused(format!(
                "the kernel's settings cannot be written here, as in a container: {}",
                listed(&asked)
            ))
            .with_path(format!("/sysctl/{name}"))
            .hint("set them on the host around it, and leave them out here"));
        }
        if !advised.is_empty() {
            self.plan.warnings.push(format!(
                "the kernel's settings cannot be written here, as in a container; set on the host around it: {}",
                listed(&advised)
            ));
        }
        wanted.retain(|name, _| !is_read_only(name));
        Ok(())
    }

    /// Refuses vm.overcommit_memory = 2 where more memory is promised already than that lets.
    fn check_committed(&self) -> Result<(), Error> {
        match self.present.committed {
            Some((used, limit)) if used > limit => Err(Error::refused(format!(
                "{OVERCOMMIT} would be 2, and more memory is committed than that lets ({} of {} MiB): no program could start",
                used >> 20,
                limit >> 20
            ))
            .with_path(format!("/sysctl/{OVERCOMMIT}"))
            .hint("raise vm.overcommit_ratio first, or leave it out")),
            _ => Ok(()),
        }
    }

    fn plan_remove_ipc(&mut self) -> Result<(), Error> {
        let advised =
            self.wanted.recommended && self.present.has_systemd && self.present.remove_ipc != Some(false);
        let Some(wanted) = self.wanted.remove_ipc.or(advised.then_some(false)) else { return Ok(()) };
        let word = |on: bool| if on { "yes" } else { "no" };
        let seen = self.present.remove_ipc.map(|on| word(on).to_owned());
        self.push_item(ItemKind::RemoveIpc, "RemoveIPC", seen, Some(word(wanted).to_owned()), true);
        if let Some((file, other)) =
            self.present.later_remove_ipc.as_ref().filter(|(_, other)| *other != wanted)
        {
            self.plan.warnings.push(format!(
                "{} sets RemoveIPC to {}, which counts in place of this; take the line out",
                file.display(),
                word(*other)
            ));
        }
        let content = format!("{HEADER}[Login]\nRemoveIPC={}\n", word(wanted));
        self.plan_file(Path::new(LOGIND), content).map(drop)
    }

    fn plan_unit(&mut self) -> Result<(), Error> {
        let Some(unit) = &self.wanted.unit else { return Ok(()) };
        if !self.present.has_systemd {
            return Err(Error::refused("systemd does not run on this machine")
                .with_path("/unit")
                .hint("leave unit out, and start the node with the machine as its own init does that"));
        }
        let Some(program) = &self.present.program else {
            let programs: Vec<_> = unit.programs().iter().map(|path| path.display().to_string()).collect();
            return Err(Error::not_found(format!("{} is not there, or cannot be run", programs.join(" or ")))
                .with_path("/unit/program")
                .hint("put og_node_state there first, as the playbook install.yml and the packages do, or name its path"));
        };
        let path = unit.path();
        let is_enabled = self.present.enabled.contains(&path);
        let seen = matches!(self.present.files.get(&path), Some(Entry::File { .. }));
        let seen = seen.then(|| if is_enabled { "enabled" } else { "disabled" }.to_owned());
        self.push_item(ItemKind::Unit, &unit::name(&path), seen, Some("enabled".to_owned()), true);
        let mut limits = self.wanted.advised_limits();
        limits.extend(self.wanted.limits.clone());
        // A killed run may have written it, and not come to have systemd read it.
        let was_begun = self.plan.record.files.get(&path).is_some_and(|made| made.pending.is_some());
        let is_written = self.plan_file(&path, unit.content(program, &limits))? || was_begun;
        if !is_enabled {
            self.plan.steps.push(Step::EnableUnit { path });
        } else if is_written {
            self.plan.steps.push(Step::ReloadUnits);
        }
        Ok(())
    }
}

/// Gives what the record names without a number its number.
fn adopt(record: &mut BTreeMap<String, Option<u32>>, name: &str, number: u32) {
    if let Some(known @ None) = record.get_mut(name) {
        *known = Some(number);
    }
}

fn home_error(path: &Path, home: &Path) -> Error {
    Error::refused(format!(
        "{} is to be made for another owner, in the home directory {} of the user that is made",
        path.display(),
        home.display()
    ))
    .with_path(path.display())
    .hint("name the user as its owner, or give another path")
}

fn parse_limit(line: &str) -> Option<(String, String)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        [user, _, name, value] if !user.starts_with('#') => Some((name.to_owned(), value.to_owned())),
        _ => None,
    }
}

/// A line of sysctl.conf(5).
#[must_use]
pub fn parse_setting(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    if line.starts_with(['#', ';']) {
        return None;
    }
    let (name, value) = line.split_once('=')?;
    Some((name.trim().trim_start_matches('-').replace('/', "."), normalize(value)))
}

/// Whether two values of a setting are one: the kernel writes blanks and lists of ports in its own way.
#[must_use]
pub fn is_same(name: &str, a: &str, b: &str) -> bool {
    normalize(a) == normalize(b) || (name.ends_with("_ports") && host::parse_ports(a) == host::parse_ports(b))
}

/// What takes away all that og_host made. `confirm` is the name of a user that may go.
///
/// # Errors
/// `refused` while a server runs, or for a user that may not go.
pub fn plan_removal(present: &Present, confirm: Option<&str>) -> Result<Plan, Error> {
    let record = &present.record;
    let mut plan = Plan { record: record.clone(), boot: present.boot.clone(), ..Plan::default() };
    check_removal(present, confirm)?;
    plan.leftovers = record.files.keys().cloned().collect();
    for (path, made) in &record.files {
        plan.remove_file(present, path, made);
    }
    if plan.steps.iter().any(|step| matches!(step, Step::RemoveFile { path, .. } if unit::is_unit(path))) {
        plan.steps.push(Step::ReloadUnits);
    }
    for (name, made) in &record.settings {
        plan.restore(present, name, made);
    }
    let removed = plan.steps.iter().filter_map(|step| match step {
        Step::RemoveFile { path, .. } => Some(path.clone()),
        _ => None,
    });
    let mut gone: BTreeSet<PathBuf> = removed.collect();
    gone.extend(present.leaving.iter().cloned());
    gone.extend(
        record.files.keys().filter_map(|path| Some(path.with_file_name(temporary_name(path.file_name()?)))),
    );
    for path in record.directories.iter().rev() {
        match present.directories.get(path) {
            Some(DirectoryFacts::Found { names, .. }) => {
                let left: Vec<&String> =
                    names.iter().filter(|name| !gone.contains(&path.join(name))).collect();
                if left.is_empty() {
                    gone.insert(path.clone());
                    plan.steps.push(Step::RemoveDirectory { path: path.clone() });
                } else {
                    plan.keep_directory(path, &left);
                }
            }
            Some(DirectoryFacts::Missing { .. }) => {
                plan.record.making.remove(path);
                plan.record.directories.retain(|own| own != path);
            }
            None => plan.keep(&path.display().to_string(), "it cannot be opened without following a link"),
        }
    }
    plan.remove_users(present, confirm);
    // Home directories: they stay with the user's files.
    plan.record.making.retain(|path| record.directories.contains(path));
    plan.push_restart(present);
    plan.forgets_restart = !plan.steps.contains(&Step::RestartLogind);
    Ok(plan)
}

/// Refuses while a server of a user runs for whom the machine was prepared, and where the confirmed user may not go.
fn check_removal(present: &Present, confirm: Option<&str>) -> Result<(), Error> {
    let record = &present.record;
    let of_user = |name: &str| {
        let uid = present.users.get(name).map(|user| user.uid);
        present.processes.iter().filter(move |process| uid == Some(process.uid))
    };
    let prepared = record.prepared.iter().chain(record.users.keys());
    for name in prepared {
        if let Some(server) = of_user(name).find(|process| process.is_server()) {
            return Err(Error::refused(format!(
                "a server of {name} runs on this machine (pid {}), and needs what og_host made",
                server.pid
            ))
            .reason(Reason::ServerRuns)
            .hint("stop it first (og_node_state with state: stopped)"));
        }
    }
    let is_shared = !record.files.is_empty() || !record.settings.is_empty();
    if let Some(server) = present.find_server().filter(|_| is_shared) {
        return Err(Error::refused(format!(
            "a server runs on this machine (pid {}), and settings, limits and RemoveIPC are all servers'",
            server.pid
        ))
        .reason(Reason::ServerRuns)
        .hint("stop it first (og_node_state with state: stopped)"));
    }
    let Some(name) = confirm else { return Ok(()) };
    match record.users.get(name) {
        // A second call finds it gone.
        None if !present.users.contains_key(name) => Ok(()),
        None => Err(Error::refused(format!("og_host did not make the user {name}, and does not remove it"))
            .with_path("/confirm")
            .hint("leave confirm out; remove the user by hand where that is meant")),
        Some(_) => match of_user(name).next() {
            None => Ok(()),
            Some(process) => Err(Error::refused(format!(
                "a process of {name} runs: {} (pid {})",
                process.name, process.pid
            ))
            .with_path("/confirm")
            .hint("end it, or log out there; without confirm the user stays")),
        },
    }
}

impl Plan {
    fn keep(&mut self, name: &str, why: &str) {
        self.keep_for(name, why, Cause::Own);
    }

    fn keep_for(&mut self, name: &str, why: &str, cause: Cause) {
        self.kept.push(Kept { name: name.to_owned(), why: why.to_owned(), cause });
    }

    /// Keeps a directory in which these are left; those within it were looked at before.
    fn keep_directory(&mut self, path: &Path, left: &[&String]) {
        let is_kept = |name: &str| self.kept.iter().any(|kept| Path::new(&kept.name) == path.join(name));
        let own: Vec<String> =
            left.iter().filter(|name| !is_kept(name)).map(|name| (*name).clone()).collect();
        let why = format!("it is not empty: it has {}", left[0]);
        self.keep_for(&path.display().to_string(), &why, Cause::NotEmpty(own));
    }

    /// Plans what systemd-logind has to read, also what a killed run wrote. It is not restarted under sessions of the user: the
    /// record keeps that it is still to be until it was, or until the machine has started again.
    fn push_restart(&mut self, present: &Present) {
        if self.record.reload.as_ref().is_some_and(|boot| *boot != present.boot) {
            self.record.reload = None;
        }
        if self.record.reload.is_none() && !self.steps.iter().any(changes_logind) {
            return;
        }
        if present.has_systemd && present.has_sessions() {
            self.warnings.push(
                "RemoveIPC counts from the next start of systemd-logind on: sessions of the user run, and it is not restarted \
                 under them; call again when they have ended"
                    .to_owned(),
            );
        } else {
            self.steps.push(Step::RestartLogind);
        }
    }

    fn remove_file(&mut self, present: &Present, path: &Path, made: &MadeFile) {
        let shown = path.display().to_string();
        match present.files.get(path) {
            Some(Entry::File { content, .. }) if self.record.is_as_written(path, content) => {
                if present.enabled.contains(path) {
                    self.steps.push(Step::DisableUnit { path: path.to_owned() });
                }
                self.steps.push(Step::RemoveFile { path: path.to_owned(), content: content.clone() });
            }
            None | Some(Entry::Missing) => drop(self.record.files.remove(path)),
            // What stands there was made by somebody else before we could.
            Some(_) if made.sha256.is_none() => drop(self.record.files.remove(path)),
            Some(_) => self.keep(&shown, "it was changed since og_host wrote it"),
        }
    }

    fn restore(&mut self, present: &Present, name: &str, made: &MadeSetting) {
        match present.settings.get(name) {
            Some(seen) if made.is_as_set(name, seen) && !is_same(name, seen, &made.before) => {
                let is_full = present.committed.is_none_or(|(used, limit)| used > limit);
                if present.read_only_settings.contains(name) {
                    self.keep(name, "it cannot be written here, as in a container");
                } else if let Some(file) = self.needs_open_files(present, name, &made.before) {
                    self.keep(name, &format!("{} gives more open files than it was before", file.display()));
                } else if name == OVERCOMMIT && made.before == "2" && is_full {
                    self.keep(
                        name,
                        "it was 2, and more memory is committed than that lets: no program could start",
                    );
                } else {
                    self.steps.push(Step::Restore { name: name.to_owned(), value: made.before.clone() });
                }
            }
            // Somebody else has set it since, or it never was: there is nothing of ours to take away.
            _ => drop(self.record.settings.remove(name)),
        }
    }

    /// The file of a limit of open files that stays, and above which `fs.nr_open` would be no more.
    fn needs_open_files(&self, present: &Present, name: &str, value: &str) -> Option<PathBuf> {
        let value = value.parse::<u64>().ok().filter(|_| name == NR_OPEN)?;
        let stays = |path: &PathBuf| {
            !self.steps.iter().any(|step| matches!(step, Step::RemoveFile { path: own, .. } if own == path))
        };
        let seen = present.settings.get(name).and_then(|seen| seen.parse::<u64>().ok()).unwrap_or(u64::MAX);
        let mut others = present.open_files.iter().filter(|(path, _)| stays(path));
        others.find(|(_, files)| *files > value && *files <= seen).map(|(path, _)| path.clone())
    }

    fn remove_users(&mut self, present: &Present, confirm: Option<&str>) {
        let users = self.record.users.clone();
        for (name, id) in &users {
            let Some(seen) = present.users.get(name) else {
                self.record.users.remove(name);
                continue;
            };
            if *id != Some(seen.uid) {
                let why = "whether og_host made it is not known: the record has another number, or none";
                self.keep(name, why);
            } else if present.groups.get(name) == Some(&seen.gid) && !self.record.groups.contains_key(name) {
                let why = "its group of the same name was there before, and userdel would remove that, too; remove the user by hand";
                self.keep(name, why);
            } else if confirm == Some(name) {
                self.warnings.push(format!(
                    "{} and the other files of {name} stay; who gets the number {} next owns them",
                    seen.home.display(),
                    seen.uid
                ));
                self.steps.push(Step::RemoveUser { name: name.clone() });
            } else {
                let why = format!("the removal of a user is confirmed by its name (confirm: {name})");
                self.keep_for(name, &why, Cause::Unconfirmed);
            }
        }
        let stays = |name: &str| self.kept.iter().any(|kept| kept.name == name);
        let groups = self.record.groups.clone();
        let listed = present.main_groups.iter().map(|(name, gid)| (name, *gid));
        let in_use: Vec<u32> = listed
            .chain(present.users.iter().map(|(name, user)| (name, user.gid)))
            .filter(|(name, _)| !users.contains_key(*name) || stays(name))
            .map(|(_, gid)| gid)
            .collect();
        for (name, id) in groups {
            match present.groups.get(&name) {
                None => drop(self.record.groups.remove(&name)),
                Some(gid) if id != Some(*gid) => {
                    self.keep(&name, "whether og_host made this group is not known: the record has another number, or none");
                }
                Some(gid) if in_use.contains(gid) => self.keep_for(&name, MAIN_GROUP, Cause::MainGroup),
                Some(_) => self.steps.push(Step::RemoveGroup { name }),
            }
        }
    }
}

/// The warnings about items that are kept, as few as possible: a directory that holds only directories which are kept needs none, and
/// a user's group is named with the user.
#[must_use]
pub fn kept_warnings(kept: &[Kept]) -> Vec<String> {
    let directories = kept.iter().filter_map(|one| match &one.cause {
        Cause::NotEmpty(names) if !names.is_empty() => {
            Some(format!("{} (it has {})", one.name, shorten(names)))
        }
        _ => None,
    });
    let directories: Vec<String> = directories.collect();
    let named = |cause: &Cause| -> Vec<&str> {
        kept.iter().filter(|one| one.cause == *cause).map(|one| one.name.as_str()).collect()
    };
    let (users, groups) = (named(&Cause::Unconfirmed), named(&Cause::MainGroup));
    let mut warnings: Vec<String> = kept
        .iter()
        .filter(|one| one.cause == Cause::Own || one.cause == Cause::MainGroup && users.is_empty())
        .map(|one| format!("{} stays: {}", one.name, one.why))
        .collect();
    if !directories.is_empty() {
        warnings.push(format!("not empty, and left there: {}", directories.join(", ")));
    }
    for user in &users {
        let others: Vec<&str> = groups.iter().copied().filter(|group| group != user).collect();
        let what = match (groups.len() > others.len(), &others[..]) {
            (false, []) => format!("the user {user} stays"),
            (true, []) => format!("the user {user} and its group stay"),
            (_, others) => format!("the user {user} and the group {} stay", others.join(", ")),
        };
        let it = if groups.is_empty() { "it" } else { "them" };
        warnings.push(format!("{what}; og_host with state: absent and confirm: {user} removes {it}"));
    }
    warnings
}

/// The first of the names, and how many more there are.
fn shorten(names: &[String]) -> String {
    let more = names.len().saturating_sub(MAX_SHOWN);
    let shown = names[..names.len() - more].join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

/// What the record names, with what is there of it.
#[must_use]
pub fn items_of_record(present: &Present) -> Vec<Item> {
    let record = &present.record;
    let item = |kind, name: String, seen: Option<String>| Item { kind, name, seen, wanted: None, made: true };
    let users = record.users.keys().map(|name| {
        let seen = present.users.get(name).map(|user| format!("uid {}", user.uid));
        item(ItemKind::User, name.clone(), seen)
    });
    let groups = record.groups.keys().map(|name| {
        let seen = present.groups.get(name).map(|gid| format!("gid {gid}"));
        item(ItemKind::Group, name.clone(), seen)
    });
    let directories = record.directories.iter().map(|path| {
        let seen = match present.directories.get(path) {
            Some(DirectoryFacts::Found { uid, mode, .. }) => {
                Some(format!("owner {}, mode {mode:04o}", present.name_of(*uid)))
            }
            _ => None,
        };
        item(ItemKind::Directory, path.display().to_string(), seen)
    });
    let files = record.files.keys().map(|path| {
        let seen = match present.files.get(path) {
            None | Some(Entry::Missing) => None,
            Some(Entry::File { content, .. }) if record.is_as_written(path, content) => Some("as written"),
            Some(_) => Some("changed since"),
        };
        item(ItemKind::File, path.display().to_string(), seen.map(str::to_owned))
    });
    let settings = record
        .settings
        .keys()
        .map(|name| item(ItemKind::Setting, name.clone(), present.settings.get(name).cloned()));
    users.chain(groups).chain(directories).chain(files).chain(settings).collect()
}
