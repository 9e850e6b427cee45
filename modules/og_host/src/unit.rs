//! The unit of systemd that starts a node with its machine.
//!
//! It does that once: a server that goes down later, by itself or because somebody stopped it, stays down, so that
//! the unit does not interfere with a repair, a build or a drop. When the machine shuts down, it stops the server (fast).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use og_common::files::limits::UNLIMITED;
use og_common::gauss::host;
use og_common::protocol::Error;
use serde_json::json;

use crate::args::UnitWish;
use crate::plan::HEADER;
use crate::wanted::check_path;

/// Where units are written.
const FOLDER: &str = "/etc/systemd/system";
/// Where the links are of those that start with the machine.
const ENABLED: &str = "/etc/systemd/system/multi-user.target.wants";
/// How the names of ours begin, before the escaped data directory.
const PREFIX: &str = "opengauss-node-";
/// How they end.
const SUFFIX: &str = ".service";
/// Where the program is that a unit runs: put there by hand or by a playbook, or by a package.
const PROGRAMS: [&str; 2] = ["/usr/local/bin/og_node_state", "/usr/bin/og_node_state"];
/// Seconds that the start waits for peers which do not answer: a year.
const START_TIMEOUT: u64 = 31_536_000;
/// Seconds that the server has to stop at the shutdown of the machine.
const STOP_TIMEOUT: u64 = 600;
/// The characters that a path may have beside letters and digits: systemd and sh leave these as they are.
const PLAIN: &str = "/._-+@:,=";
/// The limits that systemd sets, by their names in limits.conf(5), and what a number is there beside here.
const LIMITS: [(&str, &str, &str); 13] = [
    ("as", "AS", "K"),
    ("core", "CORE", "K"),
    ("data", "DATA", "K"),
    ("fsize", "FSIZE", "K"),
    ("locks", "LOCKS", ""),
    ("memlock", "MEMLOCK", "K"),
    ("msgqueue", "MSGQUEUE", ""),
    ("nofile", "NOFILE", ""),
    ("nproc", "NPROC", ""),
    ("rss", "RSS", "K"),
    ("rtprio", "RTPRIO", ""),
    ("sigpending", "SIGPENDING", ""),
    ("stack", "STACK", "K"),
];

/// A unit that is to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    wish: UnitWish,
    user: String,
}

impl Unit {
    /// The unit of this user's node.
    ///
    /// # Errors
    /// `bad_args` for a path that could not stand in it.
    pub fn new(wish: &UnitWish, user: &str) -> Result<Self, Error> {
        let paths = [
            (Some(&wish.data_dir), "/unit/data_dir"),
            (wish.env_file.as_ref(), "/unit/env_file"),
            (wish.gauss_home.as_ref(), "/unit/gauss_home"),
            (wish.program.as_ref(), "/unit/program"),
        ];
        for (path, at) in paths {
            if let Some(path) = path {
                check_path(path, at)?;
                let is_plain = |c: char| c.is_ascii_alphanumeric() || PLAIN.contains(c);
                if !path.to_string_lossy().chars().all(is_plain) {
                    return Err(Error::bad_args(format!(
                        "{at}: {} has a character that has a meaning in a unit; letters, digits and {PLAIN} have none",
                        path.display()
                    ))
                    .with_path(at));
                }
            }
        }
        Ok(Self { wish: wish.clone(), user: user.to_owned() })
    }

    /// The file of the unit.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(format!("{PREFIX}{}{SUFFIX}", escape(&self.wish.data_dir)))
    }

    /// The programs that it may run; the first that is there counts.
    #[must_use]
    pub fn programs(&self) -> Vec<PathBuf> {
        self.wish.program.clone().map_or_else(|| PROGRAMS.map(PathBuf::from).to_vec(), |own| vec![own])
    }

    /// What the file says with this program; `limits` by their names in limits.conf(5), which systemd does not read.
    #[must_use]
    pub fn content(&self, program: &Path, limits: &BTreeMap<String, String>) -> String {
        let mut own = json!({"data_dir": self.wish.data_dir});
        for (key, path) in [("env_file", &self.wish.env_file), ("gauss_home", &self.wish.gauss_home)] {
            if let Some(path) = path {
                own[key] = json!(path);
            }
        }
        let (mut start, mut stop) = (own.clone(), own);
        start["state"] = json!("started");
        start["unattended"] = json!(true);
        start["timeout"] = json!(START_TIMEOUT);
        stop["state"] = json!("stopped");
        stop["unattended"] = json!(true);
        stop["timeout"] = json!(STOP_TIMEOUT);
        let (data_dir, program, user) = (self.wish.data_dir.display(), program.display(), &self.user);
        let mut all = advised_limits();
        all.extend(limits.clone());
        let mut limits = String::new();
        for (name, value) in &all {
            limits.push_str(&limit_line(name, value).unwrap_or_default());
        }
        let wait = STOP_TIMEOUT + 30;
        format!(
            "{HEADER}[Unit]\n\
             Description=openGauss node in {data_dir}\n\
             Wants=network-online.target\n\
             After=network-online.target remote-fs.target nss-user-lookup.target time-sync.target\n\
             RequiresMountsFor={data_dir}\n\
             ConditionPathExists={data_dir}/postgresql.conf\n\
             \n\
             [Service]\n\
             # It starts the server in its last role, once. One that was primary waits until each other node answers and none\n\
             # is primary; a server that goes down later stays down.\n\
             Type=simple\n\
             RemainAfterExit=yes\n\
             User={user}\n\
             UMask=0077\n\
             # What it waits for stands in the journal.\n\
             Environment=OG_LOG=info\n\
             Environment='OG_START={start}'\n\
             Environment='OG_STOP={stop}'\n\
             ExecStart=/bin/sh -c 'echo \"$$OG_START\" | exec {program}'\n\
             ExecStop=/bin/sh -c 'echo \"$$OG_STOP\" | exec {program}'\n\
             # Whatever becomes of these programs, the server is ended by its own alone.\n\
             KillMode=process\n\
             TimeoutStopSec={wait}\n\
             # No file of limits.conf(5) counts for a unit.\n\
             TasksMax=infinity\n\
             {limits}\n\
             [Install]\n\
             WantedBy=multi-user.target\n"
        )
    }
}

/// What a server needs in any case.
fn advised_limits() -> BTreeMap<String, String> {
    let advised = [("nofile", host::OPEN_FILES.to_string()), ("nproc", UNLIMITED.to_owned())];
    advised.map(|(name, value)| (name.to_owned(), value)).into()
}

/// The line for a limit; none for what systemd has no line for.
fn limit_line(name: &str, value: &str) -> Option<String> {
    let (_, word, unit) = LIMITS.into_iter().find(|(known, ..)| *known == name)?;
    let value = if value == UNLIMITED { "infinity".to_owned() } else { format!("{value}{unit}") };
    let mut line = String::new();
    // The stack is no more than a default; who may raise it keeps that. Writing to a String cannot fail.
    let _ = if name == "stack" {
        writeln!(line, "Limit{word}={value}:infinity")
    } else {
        writeln!(line, "Limit{word}={value}")
    };
    Some(line)
}

/// The path as `systemd-escape --path` writes it.
fn escape(path: &Path) -> String {
    let text = path.to_string_lossy();
    let mut out = String::new();
    for (at, c) in text.trim_matches('/').char_indices() {
        match c {
            '/' => out.push('-'),
            'a'..='z' | 'A'..='Z' | '0'..='9' | ':' | '_' => out.push(c),
            '.' if at > 0 => out.push(c),
            // Those of a path of ours have one byte.
            _ => drop(write!(out, "\\x{:02x}", u32::from(c))),
        }
    }
    out
}

/// Whether this is the file of a unit of ours.
#[must_use]
pub fn is_unit(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_ours = name.strip_prefix(PREFIX).and_then(|name| name.strip_suffix(SUFFIX));
    path.parent() == Some(Path::new(FOLDER)) && is_ours.is_some_and(|name| !name.is_empty())
}

/// The link by which the unit in this file starts with the machine.
#[must_use]
pub fn link(path: &Path) -> PathBuf {
    Path::new(ENABLED).join(path.file_name().unwrap_or_default())
}

/// The name of the unit in this file.
#[must_use]
pub fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn unit(data_dir: &str) -> Result<Unit, Error> {
        let wish = UnitWish {
            data_dir: data_dir.into(),
            env_file: Some("/home/omm/env".into()),
            ..UnitWish::default()
        };
        Unit::new(&wish, "omm")
    }

    #[test]
    fn it_starts_the_node_unattended_and_stops_it_in_order() {
        let limits = [("stack", "8192"), ("memlock", "unlimited"), ("maxlogins", "5"), ("nofile", "70000")];
        let limits = limits.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        insta::assert_snapshot!(unit("/gauss/data/dn1").unwrap().content(Path::new(PROGRAMS[0]), &limits));
    }

    #[test]
    fn its_name_is_that_of_the_data_directory_as_systemd_escapes_it() {
        for (data_dir, name) in [
            ("/gauss/data/dn1", "gauss-data-dn1"),
            ("/gauss/.data/db-1/", "gauss-.data-db\\x2d1"),
            ("/.g/a@b", "\\x2eg-a\\x40b"),
        ] {
            let path = unit(data_dir).unwrap().path();
            assert_eq!(path, Path::new(FOLDER).join(format!("opengauss-node-{name}.service")));
            assert!(is_unit(&path));
        }
        for other in [
            "/etc/systemd/system/sshd.service",
            "/etc/opengauss-node-x.service",
            "/etc/systemd/system/opengauss-node-.service",
        ] {
            assert!(!is_unit(Path::new(other)), "{other}");
        }
    }

    #[test]
    fn a_path_that_means_something_in_a_unit_is_refused() {
        for data_dir in ["/a b", "/a%b", "/a$b", "/a'b", "/a\\b", "/a\"b", "/a;b", "relative", "/", "/a/../b"]
        {
            assert!(unit(data_dir).is_err(), "{data_dir}");
        }
    }
}
