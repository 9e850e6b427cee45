//! One node: where it is, and how to act inside it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

/// What a node is when the lab comes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The primary; alone it is a single node.
    Primary,
    /// A standby which streams from the primary.
    Standby,
    /// A standby which streams from a standby.
    CascadeStandby,
    /// Installed and initialised, but no part of the cluster: a newcomer that is to be a standby.
    Spare,
    /// The same, to be a cascade standby.
    SpareCascade,
}

impl Role {
    /// Whether it is no part of the cluster yet.
    #[must_use]
    pub fn is_spare(self) -> bool {
        matches!(self, Self::Spare | Self::SpareCascade)
    }

    /// The word for what it is, or is to be, in inventories and on gs_ctl's command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Standby | Self::Spare => "standby",
            Self::CascadeStandby | Self::SpareCascade => "cascade_standby",
        }
    }
}

/// A node asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// Its name: lower-case letters, digits and underscores.
    pub name: String,
    /// What it shall be.
    pub role: Role,
}

impl NodeSpec {
    /// A node of this name and role.
    pub fn new(name: impl Into<String>, role: Role) -> Self {
        Self { name: name.into(), role }
    }
}

/// A node of a lab that is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabNode {
    /// Its name, which is its host name too.
    pub name: String,
    /// Its number, from 1.
    pub id: u32,
    /// What it was when the lab came up.
    pub role: Role,
    /// Its IPv4 address.
    pub address: String,
    /// Its port for clients; replication uses the next one.
    pub base_port: u16,
    /// The port of its sshd.
    pub ssh_port: u16,
    /// The user its server runs as.
    pub os_user: String,
    /// That user's number, and its first group's; 0 where the node knows them alone.
    pub os_ids: (u32, u32),
    /// That user's home.
    pub os_home: PathBuf,
    /// `application_name`, as OM would call it (dn_6001 …); of a spare `pgxc_node_name`, too, as gs_initdb gives it. Members
    /// have one `pgxc_node_name`, after which the folders of tablespaces are named.
    pub instance: String,
    /// The folder that holds all of the node.
    pub dir: PathBuf,
    /// The data directory.
    pub data_dir: PathBuf,
    /// GAUSSHOME.
    pub gauss_home: PathBuf,
    /// The file of the environment (`MPPDB_ENV_SEPARATE_PATH`).
    pub env_file: PathBuf,
    /// PGHOST: the folder of the server's socket as the node sees it, the same path on all nodes.
    pub socket_dir: PathBuf,
    /// The folder for tablespaces as the node sees it: the same path on all nodes, for a tablespace has one, and behind it
    /// the node's own.
    pub tablespace_dir: PathBuf,
    /// Its network namespace.
    pub namespace: String,
    /// The name of its wire at the bridge.
    pub port_name: String,
    /// How much of a machine it is.
    #[serde(default)]
    pub kind: NodeKind,
}

/// How much of a machine a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// It has a network, a host name and folders of its own.
    #[default]
    Shared,
    /// CM runs it, for which it has processes of its own, too.
    Cm,
    /// It has processes and a root of its own, and neither openGauss nor its user; ssh leads to root, and [`LabNode::data_dir`]
    /// and the like are paths as the node sees them.
    Machine,
}

/// Gives the node its host name and its own folders for the socket and for tablespaces, then runs the rest.
const ENTER: &str = r#"echo "$1" >/proc/sys/kernel/hostname 2>/dev/null
mount --bind "$2" "$3" && mount --bind "$4" "$5" || exit 125
shift 5
exec "$@""#;

/// Reads the node's environment, then runs the rest.
const LOGIN: &str = r#". "$MPPDB_ENV_SEPARATE_PATH"; cd; exec "$@""#;

impl LabNode {
    /// The folder behind [`LabNode::tablespace_dir`], as it is seen from outside of the node.
    #[must_use]
    pub fn own_tablespace_dir(&self) -> PathBuf {
        self.dir.join("tblspc")
    }

    /// The user to whom ssh leads.
    #[must_use]
    pub fn login(&self) -> &str {
        if self.kind == NodeKind::Machine { "root" } else { &self.os_user }
    }

    /// A path of the node as it is reached from outside of it.
    #[must_use]
    pub fn from_outside(&self, path: &Path) -> PathBuf {
        if self.kind != NodeKind::Machine {
            return path.to_owned();
        }
        let root = Path::new("/proc").join(self.init_pid()).join("root");
        root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The folder of a machine that holds what was written in it, as an overlay file system keeps that.
    #[must_use]
    pub fn written_dir(&self) -> PathBuf {
        crate::machine::upper(self)
    }

    /// The folder of CM's configuration and its own data.
    #[must_use]
    pub fn cm_dir(&self) -> PathBuf {
        self.dir.join("cm")
    }

    /// The file with the number of the node's first process, where it has processes of its own.
    pub(crate) fn init_file(&self) -> PathBuf {
        self.dir.join("init.pid")
    }

    fn init_pid(&self) -> String {
        std::fs::read_to_string(self.init_file()).unwrap_or_default().trim().to_owned()
    }

    /// Enters the node by its first process.
    fn enter_processes<I, S>(&self, argv: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.init_pid(), "--mount", "--uts", "--ipc", "--net", "--pid", "--"])
            .args(argv);
        command
    }

    /// A command inside the node, as root: its network, host name, shared memory, and folders for socket and tablespaces.
    pub fn exec_root<I, S>(&self, argv: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        if self.kind != NodeKind::Shared {
            return self.enter_processes(argv);
        }
        let mut command = Command::new("ip");
        command
            .args([
                "netns",
                "exec",
                &self.namespace,
                "unshare",
                "--uts",
                "--ipc",
                "--",
                "sh",
                "-c",
                ENTER,
                "sh",
            ])
            .arg(&self.name)
            .arg(self.dir.join("tmp"))
            .arg(&self.socket_dir)
            .arg(self.own_tablespace_dir())
            .arg(&self.tablespace_dir)
            .args(argv);
        command
    }

    /// A command inside the node as its OS user, with the environment of its env file.
    pub fn exec<I, S>(&self, argv: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let user = &self.os_user;
        // On a machine of its own, the node knows the user's number, which is made there.
        let (uid, gid) = match self.kind {
            NodeKind::Machine => (user.clone(), user.clone()),
            _ => (self.os_ids.0.to_string(), self.os_ids.1.to_string()),
        };
        let mut command = self.exec_root([
            "setpriv".to_owned(),
            format!("--reuid={uid}"),
            format!("--regid={gid}"),
            "--init-groups".to_owned(),
            "env".to_owned(),
            "-i".to_owned(),
            format!("HOME={}", self.os_home.display()),
            format!("USER={user}"),
            format!("LOGNAME={user}"),
            "LANG=C.UTF-8".to_owned(),
            "PATH=/usr/local/bin:/usr/bin:/bin".to_owned(),
            format!("MPPDB_ENV_SEPARATE_PATH={}", self.env_file.display()),
            "bash".to_owned(),
            "--noprofile".to_owned(),
            "--norc".to_owned(),
            "-c".to_owned(),
            LOGIN.to_owned(),
            "bash".to_owned(),
        ]);
        command.args(argv);
        command
    }
}
