//! What is there of all that is wanted, or that the record names.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, Gid, Group, Uid, User, access};
use og_common::files::limits::{self, Holder, LimitLine, parse_value};
use og_common::gauss::host;
use og_common::protocol::{Error, ErrorKind};

use crate::plan::{LOGIND, SETTINGS, limits_file, parse_setting};
use crate::record::{self, Record};
use crate::tree::{Entry, Tree, Untrusted};
use crate::unit;
use crate::wanted::{UserWish, Wanted, check_path, normalize};

/// The folders of settings; of files of one name that in the last of them counts.
const SETTING_FOLDERS: [&str; 4] =
    ["usr/lib/sysctl.d", "usr/local/lib/sysctl.d", "run/sysctl.d", "etc/sysctl.d"];

/// What is there.
#[derive(Clone, Debug, Default)]
pub struct Present {
    /// The record of what og_host made.
    pub record: Record,
    /// The users that are there, by name.
    pub users: BTreeMap<String, UserFacts>,
    /// The groups that are there, with their numbers.
    pub groups: BTreeMap<String, u32>,
    /// What stands under the names of files and links.
    pub files: BTreeMap<PathBuf, Entry>,
    /// Directories.
    pub directories: BTreeMap<PathBuf, DirectoryFacts>,
    /// Paths that will be gone before anything is removed.
    pub leaving: BTreeSet<PathBuf>,
    /// Settings of the running kernel.
    pub settings: BTreeMap<String, String>,
    /// What files set that count less than ours after a restart.
    pub earlier_settings: BTreeMap<String, String>,
    /// What files set that count more than ours after a restart, and which ones.
    pub later_settings: BTreeMap<String, (PathBuf, String)>,
    /// Those of the settings that cannot be written here.
    pub read_only_settings: BTreeSet<String>,
    /// The limits of the user in files that are not ours.
    pub limits: Vec<LimitLine>,
    /// The numbers of open files that any user or group gets, ours included, with the file of each.
    pub open_files: BTreeSet<(PathBuf, u64)>,
    /// The soft limit of the stack that the first process has.
    pub inherited_stack: Option<u64>,
    /// Committed memory and its limit where vm.overcommit_memory is 2.
    pub committed: Option<(u64, u64)>,
    /// The folder in which useradd makes home directories.
    pub homes: PathBuf,
    /// RemoveIPC of systemd; none where that is not known.
    pub remove_ipc: Option<bool>,
    /// The file that counts more than ours and sets RemoveIPC, and to what.
    pub later_remove_ipc: Option<(PathBuf, bool)>,
    /// What tells this start of the machine from others.
    pub boot: String,
    /// The main groups of the users in /etc/passwd.
    pub main_groups: BTreeMap<String, u32>,
    /// Whether systemd runs here.
    pub has_systemd: bool,
    /// The files of our units that start with the machine.
    pub enabled: BTreeSet<PathBuf>,
    /// The program that the wanted unit runs, where it is there.
    pub program: Option<PathBuf>,
    /// How many open files the kernel gives a process at most.
    pub most_open_files: Option<u64>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// The processes of the users that are looked at, and all servers.
    pub processes: Vec<Process>,
    /// Number and group of root; of whoever runs a test.
    pub root: (u32, u32),
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserFacts {
    /// Number.
    pub uid: u32,
    /// Main group.
    pub gid: u32,
    /// Home directory.
    pub home: PathBuf,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Whose it is.
    pub uid: u32,
    /// Its program's name.
    pub name: String,
}

impl Process {
    /// Whether it is a server of openGauss.
    #[must_use]
    pub fn is_server(&self) -> bool {
        self.name == "gaussdb"
    }
}

/// A directory, or how far the way to it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectoryFacts {
    /// It is there.
    Found {
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Permissions.
        mode: u32,
        /// The names in it.
        names: Vec<String>,
        /// Folders on the way, itself included, into which somebody else than root may write.
        untrusted: Vec<Untrusted>,
    },
    /// It is not there.
    Missing {
        /// The folders that are to be made, the outermost first, itself included.
        missing: Vec<PathBuf>,
        /// Folders on the way into which somebody else than root may write.
        untrusted: Vec<Untrusted>,
    },
}

impl Present {
    /// Reads what is there of what is wanted and of what the record names.
    ///
    /// # Errors
    /// What has to be known and cannot be read.
    pub fn read(tree: &Tree, wanted: &Wanted) -> Result<Self, Error> {
        let mut present = Self {
            record: read_record(tree)?,
            root: (Uid::effective().as_raw(), Gid::effective().as_raw()),
            has_systemd: tree.path("run/systemd/system").is_dir(),
            most_open_files: number(tree, "proc/sys/fs/nr_open"),
            memory: memory(tree, "MemTotal:"),
            committed: memory(tree, "Committed_AS:").zip(memory(tree, "CommitLimit:")),
            open_files: limits::read_open_files(&tree.path("/")),
            boot: boot(tree),
            main_groups: main_groups(tree),
            inherited_stack: inherited_stack(tree),
            homes: homes(tree),
            remove_ipc: host::remove_ipc(|below| tree.path(below)),
            later_remove_ipc: host::later_remove_ipc(Path::new(LOGIND), |below| tree.path(below)),
            ..Self::default()
        };
        present.read_users(wanted)?;
        present.read_files(tree, wanted)?;
        present.read_settings(tree, wanted);
        present.read_limits(tree, wanted);
        let uids: BTreeSet<u32> = present.users.values().map(|user| user.uid).collect();
        present.processes = processes(tree)?;
        present.processes.retain(|process| process.is_server() || uids.contains(&process.uid));
        Ok(present)
    }

    fn read_users(&mut self, wanted: &Wanted) -> Result<(), Error> {
        let record = &self.record;
        let owners = wanted.directories.iter().filter_map(|directory| directory.owner.clone());
        let users = wanted.user.iter().map(|user| user.name.clone()).chain(owners);
        let users = users.chain(record.users.keys().cloned()).chain(record.prepared.iter().cloned());
        let users: BTreeSet<String> = users.collect();
        let groups = wanted.directories.iter().filter_map(|directory| directory.group.clone());
        let groups = groups.chain(wanted.group.iter().map(|group| group.name.clone()));
        let groups: BTreeSet<String> =
            groups.chain(record.groups.keys().cloned()).chain(users.iter().cloned()).collect();
        for name in users {
            if let Some(user) = find_user(&name)? {
                self.users.insert(name, user);
            }
        }
        for name in groups {
            if let Some(gid) = find_group(&name)? {
                self.groups.insert(name, gid);
            }
        }
        Ok(())
    }

    fn read_files(&mut self, tree: &Tree, wanted: &Wanted) -> Result<(), Error> {
        let record = &self.record;
        let mut files: BTreeSet<PathBuf> = record.files.keys().cloned().collect();
        if let Some(user) = &wanted.user
            && wanted.has_limits()
        {
            files.insert(limits_file(&user.name));
        }
        if !wanted.settings.is_empty() || wanted.recommended {
            files.insert(PathBuf::from(SETTINGS));
        }
        if wanted.remove_ipc.is_some() || wanted.recommended {
            files.insert(PathBuf::from(LOGIND));
        }
        if let Some(unit) = &wanted.unit {
            files.insert(unit.path());
            let is_there = |path: &PathBuf| is_program(&tree.path(&path.to_string_lossy()));
            self.program = unit.programs().into_iter().find(is_there);
        }
        let is_enabled = |path: &&PathBuf| {
            let link = tree.path(&unit::link(path).to_string_lossy());
            unit::is_unit(path) && std::fs::symlink_metadata(link).is_ok()
        };
        self.enabled = files.iter().filter(is_enabled).cloned().collect();
        let is_wanted = |path: &Path| wanted.directories.iter().any(|directory| directory.path == path);
        let mut directories: BTreeSet<PathBuf> = record.directories.iter().cloned().collect();
        directories.extend(wanted.directories.iter().map(|directory| directory.path.clone()));
        if let Some(home) = wanted.user.as_ref().map(|user| self.home_of(user))
            && (record.making.contains(&home)
                || wanted.user.as_ref().is_some_and(|user| !self.users.contains_key(&user.name)))
        {
            directories.insert(home);
        }
        directories.extend(files.iter().filter_map(|path| path.parent()).map(Path::to_owned));
        for path in files {
            let entry = tree.read(&path)?;
            self.files.insert(path, entry);
        }
        for path in directories {
            match read_directory(tree, &path) {
                Ok(facts) => drop(self.directories.insert(path, facts)),
                // Its owner may have put a link in its place; that must not keep the rest from being taken away.
                Err(_) if self.record.directories.contains(&path) && !is_wanted(&path) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn read_settings(&mut self, tree: &Tree, wanted: &Wanted) {
        let own = wanted.settings.keys().chain(self.record.settings.keys()).map(String::as_str);
        let advised = host::SETTINGS.into_iter().filter(|_| wanted.recommended);
        let names: BTreeSet<String> = own.chain(advised).map(str::to_owned).collect();
        for name in names {
            // A setting that cannot be read is none that could be set.
            let file = tree.path(&setting_file(&name));
            if let Ok(text) = std::fs::read_to_string(&file) {
                if is_read_only(&file) {
                    self.read_only_settings.insert(name.clone());
                }
                self.settings.insert(name, normalize(&text));
            }
        }
        let own = Path::new(SETTINGS).file_name();
        let files = host::drop_in_files(&SETTING_FOLDERS, &|below| tree.path(below));
        let files = files.iter().map(|below| Path::new("/").join(below));
        // sysctl(8) reads the old main file last.
        for file in files.chain([PathBuf::from("/etc/sysctl.conf")]) {
            let text = std::fs::read_to_string(tree.path(&file.to_string_lossy())).unwrap_or_default();
            let lines = text.lines().filter_map(parse_setting);
            if file.file_name() > own || file.file_name() == Some("sysctl.conf".as_ref()) {
                self.later_settings.extend(lines.map(|(name, value)| (name, (file.clone(), value))));
            } else if file.file_name() < own {
                self.earlier_settings.extend(lines);
            }
        }
    }

    fn read_limits(&mut self, tree: &Tree, wanted: &Wanted) {
        let Some(user) = &wanted.user else { return };
        let wanted_group =
            || wanted.group.as_ref().map_or_else(|| user.name.clone(), |group| group.name.clone());
        let seen = self.users.get(&user.name);
        let main = match seen {
            Some(seen) => (self.group_name_of(seen.gid), Some(seen.gid)),
            None => (wanted_group(), None),
        };
        let mut groups = BTreeMap::from([main]);
        let text = std::fs::read_to_string(tree.path("etc/group")).unwrap_or_default();
        groups.extend(text.lines().filter_map(|line| {
            let parts: Vec<&str> = line.split(':').collect();
            let is_member = parts.get(3)?.split(',').any(|name| name.trim() == user.name);
            is_member.then(|| (parts[0].to_owned(), parts[2].parse().ok()))
        }));
        let holder = Holder { user: &user.name, uid: seen.map(|seen| seen.uid), groups };
        self.limits = limits::read_lines(&tree.path("/"), &holder, Some(&limits_file(&user.name)));
    }

    /// The home directory with which this user is made.
    #[must_use]
    pub fn home_of(&self, user: &UserWish) -> PathBuf {
        user.home.clone().unwrap_or_else(|| self.homes.join(&user.name))
    }

    /// A server that runs on this machine, whoever runs it.
    #[must_use]
    pub fn find_server(&self) -> Option<&Process> {
        self.processes.iter().find(|process| process.is_server())
    }

    /// Whether a process of one of the users runs that are looked at.
    #[must_use]
    pub fn has_sessions(&self) -> bool {
        self.processes.iter().any(|process| self.users.values().any(|user| user.uid == process.uid))
    }

    /// The name of a user by his number.
    #[must_use]
    pub fn name_of(&self, uid: u32) -> String {
        let known = self.users.iter().find(|(_, user)| user.uid == uid).map(|(name, _)| name.clone());
        known
            .or_else(|| User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name))
            .unwrap_or_else(|| uid.to_string())
    }

    /// The name of a group by its number.
    #[must_use]
    pub fn group_name_of(&self, gid: u32) -> String {
        let known = self.groups.iter().find(|(_, own)| **own == gid).map(|(name, _)| name.clone());
        known
            .or_else(|| Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| group.name))
            .unwrap_or_else(|| gid.to_string())
    }
}

/// The file of a setting of the kernel.
#[must_use]
pub fn setting_file(name: &str) -> String {
    format!("proc/sys/{}", name.replace('.', "/"))
}

/// The record; an empty one where og_host never was.
fn read_record(tree: &Tree) -> Result<Record, Error> {
    match tree.trusted_folder(Path::new(record::FOLDER)) {
        Ok(folder) => Record::read(&folder),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Record::default()),
        Err(e) => Err(e),
    }
}

/// Looks up a user.
///
/// # Errors
/// `io` when the machine's user database does not answer.
pub fn find_user(name: &str) -> Result<Option<UserFacts>, Error> {
    let found = User::from_name(name)
        .map_err(|e| Error::new(ErrorKind::Io, format!("cannot look up the user {name}: {}", e.desc())))?;
    Ok(found.map(|user| UserFacts { uid: user.uid.as_raw(), gid: user.gid.as_raw(), home: user.dir }))
}

/// Looks up a group.
///
/// # Errors
/// `io` when the machine's group database does not answer.
pub fn find_group(name: &str) -> Result<Option<u32>, Error> {
    let found = Group::from_name(name)
        .map_err(|e| Error::new(ErrorKind::Io, format!("cannot look up the group {name}: {}", e.desc())))?;
    Ok(found.map(|group| group.gid.as_raw()))
}

fn read_directory(tree: &Tree, path: &Path) -> Result<DirectoryFacts, Error> {
    let walk = tree.walk(path)?;
    if walk.missing.is_empty() {
        let names = walk.folder.names()?;
        return Ok(DirectoryFacts::Found {
            uid: walk.folder.uid,
            gid: walk.folder.gid,
            mode: walk.folder.mode,
            names: names.iter().map(|name| name.to_string_lossy().into_owned()).collect(),
            untrusted: walk.untrusted,
        });
    }
    // As they are named, not as links on the way to them lead.
    let mut missing: Vec<PathBuf> = path.ancestors().take(walk.missing.len()).map(Path::to_owned).collect();
    missing.reverse();
    Ok(DirectoryFacts::Missing { missing, untrusted: walk.untrusted })
}

fn number(tree: &Tree, below: &str) -> Option<u64> {
    std::fs::read_to_string(tree.path(below)).ok()?.trim().parse().ok()
}

/// Where useradd(8) makes home directories.
fn homes(tree: &Tree) -> PathBuf {
    let text = std::fs::read_to_string(tree.path("etc/default/useradd")).unwrap_or_default();
    let home = text.lines().rev().find_map(|line| line.trim().strip_prefix("HOME="));
    let home = home.map(|home| PathBuf::from(home.trim())).filter(|home| check_path(home, "").is_ok());
    home.unwrap_or_else(|| PathBuf::from("/home"))
}

/// Whether a setting cannot be written, be it that all of /proc/sys is read-only, as in a container, or that it belongs to the
/// machine around this one.
pub(crate) fn is_read_only(path: &Path) -> bool {
    access(path, AccessFlags::W_OK).is_err()
}

/// Whether it is a file that can be run.
fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn boot(tree: &Tree) -> String {
    let text = std::fs::read_to_string(tree.path("proc/sys/kernel/random/boot_id"));
    text.unwrap_or_default().trim().to_owned()
}

/// The main group of each user in /etc/passwd: who is known from elsewhere cannot be listed.
fn main_groups(tree: &Tree) -> BTreeMap<String, u32> {
    let text = std::fs::read_to_string(tree.path("etc/passwd")).unwrap_or_default();
    let entry = |line: &str| {
        let parts: Vec<&str> = line.split(':').collect();
        Some((parts.first()?.to_string(), parts.get(3)?.parse().ok()?))
    };
    text.lines().filter_map(entry).collect()
}

/// A line of /proc/meminfo, in bytes.
fn memory(tree: &Tree, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(tree.path("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// All processes; one that ends meanwhile is none.
fn processes(tree: &Tree) -> Result<Vec<Process>, Error> {
    let proc = tree.path("proc");
    let entries = std::fs::read_dir(&proc).map_err(|e| Error::io("list", &proc, &e))?;
    let process = |entry: std::fs::DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
        let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let uid = line("Uid:")?.split_whitespace().next()?.parse().ok()?;
        Some(Process { pid, uid, name: line("Name:")?.to_owned() })
    };
    Ok(entries.flatten().filter_map(process).collect())
}

/// The soft limit of the stack that the first process has, which others inherit.
fn inherited_stack(tree: &Tree) -> Option<u64> {
    let text = std::fs::read_to_string(tree.path("proc/1/limits")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max stack size"))?;
    let soft = parse_value(line.split_whitespace().next()?)?;
    Some(if soft == u64::MAX { soft } else { soft / 1024 })
}
