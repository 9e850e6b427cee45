//! The systemd unit of a node, and the files that it needs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use og_common::gauss::host;
use og_common::protocol::{Call, Error};
use serde_json::json;

use crate::args::Args;
use crate::wanted::check_path;

/// The folder of units that an administrator adds.
const UNITS: &str = "/etc/systemd/system";
/// The folder of those that the machine starts.
const STARTED: &str = "/etc/systemd/system/multi-user.target.wants";
/// The folder of the arguments of og_node_state.
const ARGUMENTS: &str = "/etc/opengauss-node";
/// Where og_node_state is looked for.
pub const PROGRAMS: [&str; 2] = ["/usr/local/bin/og_node_state", "/usr/bin/og_node_state"];

/// The unit of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its name, without `.service`.
    pub name: String,
    /// Who runs the server.
    pub user: String,
    /// og_node_state; none where it is to be found.
    pub program: Option<PathBuf>,
    data_dir: PathBuf,
    env_file: Option<PathBuf>,
    gauss_home: Option<PathBuf>,
}

impl Unit {
    /// The unit that the arguments ask for.
    ///
    /// # Errors
    /// `bad_args`.
    pub fn from_args(args: &Args, call: &Call, user: &str) -> Result<Self, Error> {
        let missing =
            || Error::bad_args("unit needs data_dir: the node that it starts").with_path("/data_dir");
        let data_dir: PathBuf = call.common.data_dir.as_ref().ok_or_else(missing)?.components().collect();
        check_path(&data_dir, "/data_dir")?;
        let own = [(&call.common.env_file, "/env_file"), (&call.common.gauss_home, "/gauss_home")];
        for (path, at) in own {
            path.as_deref().map(|path| check_path(path, at)).transpose()?;
        }
        if let Some(program) = &args.unit_program {
            check_path(program, "/unit_program")?;
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./+-".contains(c);
            if !program.to_string_lossy().chars().all(is_plain) {
                let detail =
                    format!("/unit_program: {} has a character that a unit cannot hold", program.display());
                return Err(Error::bad_args(detail).with_path("/unit_program"));
            }
        }
        Ok(Self {
            name: format!("opengauss-{}", escape(&data_dir)),
            user: user.to_owned(),
            program: args.unit_program.clone(),
            data_dir,
            env_file: call.common.env_file.clone(),
            gauss_home: call.common.gauss_home.clone(),
        })
    }

    /// The path of the unit.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(UNITS).join(format!("{}.service", self.name))
    }

    /// The link by which the machine starts it, and where it leads.
    #[must_use]
    pub fn link(&self) -> (PathBuf, PathBuf) {
        (Path::new(STARTED).join(format!("{}.service", self.name)), self.path())
    }

    /// The file of the arguments with which og_node_state starts or stops the node.
    fn arguments(&self, act: &str) -> PathBuf {
        Path::new(ARGUMENTS).join(format!("{}.{act}.json", self.name))
    }

    /// Its files and their contents; the unit is the last one.
    #[must_use]
    pub fn files(&self, program: &Path) -> Vec<(PathBuf, String)> {
        let arguments = |state: &str| {
            let mut own = json!({"data_dir": self.data_dir, "state": state, "os_user": self.user});
            for (key, path) in [("env_file", &self.env_file), ("gauss_home", &self.gauss_home)] {
                if let Some(path) = path {
                    own[key] = json!(path);
                }
            }
            format!("{own:#}\n")
        };
        let (start, stop) = (self.arguments("start"), self.arguments("stop"));
        let unit = format!(
            "{}[Unit]\nDescription=openGauss server of {}\nWants=network-online.target\n\
             After=network-online.target time-sync.target\n\n\
             [Service]\nType=oneshot\nRemainAfterExit=yes\nUser={}\nLimitNOFILE={}\nLimitNPROC=infinity\n\
             ExecStart={program} {}\nExecStop={program} {}\n\
             # og_node_state has limits of its own; a server is never killed for being slow to stop.\n\
             TimeoutSec=infinity\nSendSIGKILL=no\n\n\
             [Install]\nWantedBy=multi-user.target\n",
            crate::plan::HEADER,
            self.data_dir.display().to_string().replace('%', "%%"),
            self.user,
            host::OPEN_FILES,
            start.display(),
            stop.display(),
            program = program.display(),
        );
        vec![(start, arguments("started")), (stop, arguments("stopped")), (self.path(), unit)]
    }
}

/// The path as a part of a name that means nothing else in a unit; no two paths become one.
fn escape(path: &Path) -> String {
    let text = path.to_string_lossy();
    let bytes = text.trim_start_matches('/').as_bytes();
    let is_hex = |at: usize| bytes.get(at).is_some_and(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
    let mut out = String::new();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'/' => out.push('-'),
            b'_' if is_hex(at + 1) && is_hex(at + 2) => out.push_str("_5f"),
            b'_' | b'.' => out.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => out.push(char::from(*byte)),
            // A String takes whatever is written to it.
            byte => drop(write!(out, "_{byte:02x}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_data_directories_have_one_unit() {
        let paths = ["/a/b", "/a-b", "/a_2db", "/a_b", "/a b", "/a%b", "/a_5f2db", "/ä", "/a.b", "/a_2Db"];
        let names: BTreeSet<String> = paths.iter().map(|path| escape(Path::new(path))).collect();
        assert_eq!(names.len(), paths.len(), "{names:?}");
        assert_eq!(escape(Path::new("/gauss/data/dn1")), "gauss-data-dn1");
        assert!(names.iter().all(|name| !name.contains(['%', ' ', '\\', '/'])), "{names:?}");
    }
}
