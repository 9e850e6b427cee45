//! The arguments, held against what may be written into files of the system and given to its programs.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};

use og_common::files::limits::UNLIMITED;
use og_common::gauss::host;
use og_common::protocol::Error;

use crate::args::{Args, DirectoryWish};
use crate::plan::NR_OPEN;
use crate::unit::Unit;

/// The limits that pam_limits(8) knows.
const LIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "maxlogins",
    "memlock",
    "msgqueue",
    "nofile",
    "nproc",
    "priority",
    "rss",
    "rtprio",
    "sigpending",
    "stack",
];
/// The least that a login and a server do with; with less nobody could log in to put it right.
const LEAST: [(&str, u64); 7] = [
    ("nofile", 256),
    ("nproc", 64),
    ("as", 1 << 17),
    ("data", 1 << 17),
    ("stack", 128),
    ("cpu", 1),
    ("maxlogins", 1),
];
/// The numbers of open files that the kernel takes for `fs.nr_open`.
const NR_OPEN_RANGE: RangeInclusive<u64> = 64..=2_147_483_584;
/// No name of a user or group is longer.
const MAX_NAME: usize = 31;
/// No value of a setting is longer: the kernel takes no more than a page.
const MAX_VALUE: usize = 4000;

/// What is wanted of the machine.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The user.
    pub user: Option<UserWish>,
    /// The group.
    pub group: Option<GroupWish>,
    /// Directories.
    pub directories: Vec<Directory>,
    /// Limits of the user.
    pub limits: BTreeMap<String, String>,
    /// Settings of the kernel.
    pub settings: BTreeMap<String, String>,
    /// RemoveIPC of systemd.
    pub remove_ipc: Option<bool>,
    /// Whether what og_preflight advises is set, too.
    pub recommended: bool,
    /// The first ports of the nodes.
    pub base_ports: Vec<u16>,
    /// The number of the user's own group, where that is made.
    pub gid: Option<u32>,
    /// A unit of systemd.
    pub unit: Option<Unit>,
}

/// A user that is to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserWish {
    /// Name.
    pub name: String,
    /// Number.
    pub uid: Option<u32>,
    /// Home directory.
    pub home: Option<PathBuf>,
    /// Login shell.
    pub shell: PathBuf,
}

/// A group that is to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupWish {
    /// Name.
    pub name: String,
    /// Number.
    pub gid: Option<u32>,
}

/// A directory that is to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Its path.
    pub path: PathBuf,
    /// Its owner; none for root.
    pub owner: Option<String>,
    /// Its group; none for the owner's.
    pub group: Option<String>,
    /// Its permissions.
    pub mode: u32,
}

impl Wanted {
    /// What the arguments say.
    ///
    /// # Errors
    /// `bad_args`.
    pub fn from_args(args: &Args) -> Result<Self, Error> {
        if let Some(name) = args.confirm.as_ref() {
            check_name(name, "/confirm")?;
        }
        let user = match &args.user {
            None => None,
            Some(name) => {
                check_name(name, "/user")?;
                args.home.as_deref().map(|home| check_login_path(home, "/home")).transpose()?;
                check_login_path(&args.shell, "/shell")?;
                Some(UserWish {
                    name: name.clone(),
                    uid: args.uid,
                    home: args.home.as_deref().map(plain),
                    shell: args.shell.clone(),
                })
            }
        };
        if let Some(name) = &args.group {
            check_name(name, "/group")?;
        }
        if user.is_none() && !args.limits.is_empty() {
            return Err(Error::bad_args("limits needs user: whose they are")
                .with_path("/user")
                .hint("give user: the user that servers run as"));
        }
        let unit = match (&args.unit, &args.user) {
            (None, _) => None,
            (Some(wish), Some(user)) => Some(Unit::new(wish, user)?),
            (Some(_), None) => {
                return Err(Error::bad_args("unit needs user: whom the server runs as")
                    .with_path("/user")
                    .hint("give user: the user that servers run as"));
            }
        };
        args.limits.iter().try_for_each(|(name, value)| check_limit(name, value))?;
        args.sysctl.iter().try_for_each(|(name, value)| check_setting(name, value))?;
        let directories = args.directories.iter().enumerate();
        let owner = args.user.as_deref();
        let directories = directories.map(|(n, wish)| directory(wish, owner, &format!("/directories/{n}")));
        Ok(Self {
            group: args.group.clone().map(|name| GroupWish { name, gid: args.gid }),
            directories: directories.collect::<Result<_, _>>()?,
            limits: args.limits.clone(),
            settings: args.sysctl.iter().map(|(name, value)| (name.clone(), normalize(value))).collect(),
            remove_ipc: args.remove_ipc,
            recommended: args.recommended,
            base_ports: args.base_ports.clone(),
            gid: args.gid,
            unit,
            user,
        })
    }

    /// Whether any limits are wanted.
    #[must_use]
    pub fn has_limits(&self) -> bool {
        !self.limits.is_empty() || self.user.is_some() && self.recommended
    }

    /// The limits that are advised.
    #[must_use]
    pub fn advised_limits(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        if self.recommended && self.user.is_some() {
            let advised = [
                ("nofile", host::OPEN_FILES.to_string()),
                ("stack", host::STACK_KIB.to_string()),
                ("nproc", UNLIMITED.to_owned()),
                ("as", UNLIMITED.to_owned()),
            ];
            all.extend(advised.map(|(name, value)| (name.to_owned(), value)));
        }
        all
    }
}

/// A value with one blank between its words, as it is compared and written.
#[must_use]
pub fn normalize(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn directory(wish: &DirectoryWish, user: Option<&str>, at: &str) -> Result<Directory, Error> {
    check_path(&wish.path, &format!("{at}/path"))?;
    for (name, key) in [(&wish.owner, "owner"), (&wish.group, "group")] {
        match name.as_deref() {
            // Root is no user that is made, and may own a directory.
            None | Some("root") => {}
            Some(name) => check_name(name, &format!("{at}/{key}"))?,
        }
    }
    let digits = wish.mode.trim_start_matches("0o");
    let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o7777);
    let mode = mode.ok_or_else(|| {
        Error::bad_args(format!("{at}/mode: {:?} are no permissions in octal such as 0750", wish.mode))
            .with_path(format!("{at}/mode"))
    })?;
    let owner = wish.owner.as_deref().or(user).filter(|name| *name != "root").map(str::to_owned);
    Ok(Directory { path: plain(&wish.path), owner, group: wish.group.clone(), mode })
}

/// The path without doubled separators and one at its end.
fn plain(path: &Path) -> PathBuf {
    path.components().collect()
}

/// Refuses what is no name of a user or group that servers may have.
pub fn check_name(name: &str, at: &str) -> Result<(), Error> {
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    if starts && name.chars().all(is_plain) && name.len() <= MAX_NAME && name != "root" {
        return Ok(());
    }
    Err(Error::bad_args(format!(
        "{at}: {name:?} is no name of a user or group that servers may have: small letters, digits, _ and -, at most {MAX_NAME}, and not \
         root"
    ))
    .with_path(at))
}

/// Refuses what is no absolute path, or could be two lines in a file.
pub fn check_path(path: &Path, at: &str) -> Result<(), Error> {
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control));
    let is_plain = path.is_absolute()
        && path.file_name().is_some()
        && !path.components().any(|part| part == Component::ParentDir);
    if text.is_some() && is_plain {
        return Ok(());
    }
    Err(Error::bad_args(format!(
        "{at}: {:?} is no absolute path of something below /, or has `..` in it",
        path.to_string_lossy()
    ))
    .with_path(at))
}

/// A path that stands in a line of passwd(5).
fn check_login_path(path: &Path, at: &str) -> Result<(), Error> {
    check_path(path, at)?;
    if path.to_string_lossy().contains([':', ',']) {
        return Err(Error::bad_args(format!(
            "{at}: {} has a character that passwd(5) cannot hold",
            path.display()
        ))
        .with_path(at));
    }
    Ok(())
}

fn check_limit(name: &str, value: &str) -> Result<(), Error> {
    let at = format!("/limits/{name}");
    if !LIMITS.contains(&name) {
        return Err(
            Error::bad_args(format!("{at}: no such limit (known: {})", LIMITS.join(", "))).with_path(at)
        );
    }
    if name == "nofile" && value == UNLIMITED {
        return Err(Error::bad_args(format!(
            "{at}: the kernel has no such limit, and nobody could log in; give a number such as {}",
            host::OPEN_FILES
        ))
        .with_path(at));
    }
    let number = value.parse::<u64>().ok().filter(|_| value.bytes().all(|c| c.is_ascii_digit()));
    if value == UNLIMITED {
        return Ok(());
    }
    let Some(number) = number else {
        return Err(
            Error::bad_args(format!("{at}: {value:?} is neither a number nor {UNLIMITED}")).with_path(at)
        );
    };
    match LEAST.into_iter().find(|(own, least)| *own == name && number < *least) {
        None => Ok(()),
        Some((_, least)) => Err(Error::bad_args(format!(
            "{at}: with {number} nobody could log in or start a server; give {least} at least"
        ))
        .with_path(at)),
    }
}

/// Refuses what is no name of a setting.
pub fn check_setting_name(name: &str) -> Result<(), Error> {
    let at = format!("/sysctl/{name}");
    let is_word = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    };
    if !name.contains('.') || !name.split('.').all(is_word) {
        return Err(Error::bad_args(format!("{at}: {name:?} is no name of a setting such as kernel.sem"))
            .with_path(at));
    }
    Ok(())
}

fn check_setting(name: &str, value: &str) -> Result<(), Error> {
    check_setting_name(name)?;
    let at = format!("/sysctl/{name}");
    let is_printable = value.chars().all(|c| c == '\t' || !c.is_control());
    if normalize(value).is_empty() || !is_printable || value.len() > MAX_VALUE {
        return Err(Error::bad_args(format!("{at}: {value:?} is no value in one line")).with_path(at));
    }
    let number = value.trim().parse::<u64>().ok();
    if name == NR_OPEN && !number.is_some_and(|number| NR_OPEN_RANGE.contains(&number)) {
        return Err(Error::bad_args(format!(
            "{at}: the kernel takes a number from {} to {}, not {value:?}",
            NR_OPEN_RANGE.start(),
            NR_OPEN_RANGE.end()
        ))
        .with_path(at));
    }
    Ok(())
}

/// Whether a word is a number that the kernel reads otherwise than it looks: hexadecimal, octal, or with a sign of plus.
#[must_use]
pub fn is_other_number(word: &str) -> bool {
    let word = word.strip_prefix('-').unwrap_or(word);
    let (rest, is_hexadecimal) = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(rest) => (rest, true),
        None => (word.strip_prefix('0').or_else(|| word.strip_prefix('+')).unwrap_or_default(), false),
    };
    !rest.is_empty()
        && rest.chars().all(|c| if is_hexadecimal { c.is_ascii_hexdigit() } else { c.is_ascii_digit() })
}
