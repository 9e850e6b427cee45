//! Who else is in charge of a node's server: openGauss CM, DCF, or DSS with DMS.
//!
//! Under CM a server that is stopped is started again within seconds, and roles are given by cm_server; under DCF they are
//! elected; under DSS the data are shared. Whoever changes such a server by gs_ctl works against it.
//!
//! Source: CM 5.0.3 and 6.0.2 beside real servers (processes, files and what CM does to a server stopped behind its back);
//! CM's `cma_instance_management.cpp` and `ctl_query.cpp`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::process::time_left;
use super::running::{self, program_of};
use super::{ServerNode, postmaster_pid::is_process_alive};
use crate::base::{Call, Error, Reason};
use crate::cluster::static_config::StaticConfig;
use crate::conf::{ConfFile, is_on};

/// Who is in charge of a server beside the administrator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Manager {
    /// Nobody.
    #[default]
    None,
    /// openGauss CM: cm_agent starts and stops the server, cm_server gives roles.
    Cm,
    /// DCF (`enable_dcf`): the servers elect their primary.
    Dcf,
    /// Shared storage (`ss_enable_dss`, `ss_enable_dms`).
    Dss,
}

/// Who is in charge of the node's server, and what was seen of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(clippy::struct_excessive_bools)] // Each is a fact of its own.
pub struct ManagedBy {
    /// Who; CM before DSS before DCF where there are several.
    pub by: Manager,
    /// The process cm_agent.
    pub agent: Option<u32>,
    /// The process om_monitor, which starts cm_agent.
    pub monitor: Option<u32>,
    /// The process cm_server; some nodes have none.
    pub server: Option<u32>,
    /// Whether CM is installed: the static config has CM servers, and cm_agent.conf is in its cm_dir.
    pub installed: bool,
    /// Whether cron starts om_monitor; asked only where nothing else tells of CM.
    pub cron: bool,
    /// The files in `$GAUSSHOME/bin` that keep CM from running the server: `cluster_manual_start`, `instance_manual_start_ID`.
    pub manual_start: Vec<String>,
    /// Whether the whole cluster is in manual stop (`cm_ctl stop`), and not this node alone (`cm_ctl stop -n`).
    pub cluster_stopped: bool,
    /// Whether CM is paused: `$GAUSSHOME/bin/cluster_manual_pause` is there.
    pub paused: bool,
    /// The node's number in the static config, which cm_ctl takes for `-n`.
    pub node_id: Option<u32>,
    /// The server's number in the static config, such as 6001.
    pub instance_id: Option<u32>,
    /// The data directory as the static config spells it, which cm_ctl takes for `-D`.
    pub data_dir: Option<String>,
    /// Why it cannot be told by which numbers CM knows the server: installations (GAUSSHOME) that contradict each other.
    pub conflict: Option<String>,
    /// Whether `enable_dcf` is on in postgresql.conf.
    pub dcf: bool,
    /// Whether `ss_enable_dss` or `ss_enable_dms` is on in postgresql.conf.
    pub dss: bool,
}

/// A change of a server or its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Start the server.
    Start,
    /// Stop it.
    Stop,
    /// Stop it without its checkpoint.
    StopImmediate,
    /// Stop and start it.
    Restart,
    /// Make it primary in place of the living one.
    Switchover,
    /// Make it primary without the old one.
    Failover,
    /// Make it standby.
    Follow,
    /// Build it.
    Build,
    /// Build it in full.
    BuildFull,
    /// Add nodes to its cluster.
    Expand,
    /// Drop nodes from its cluster.
    Drop,
}

/// Why an act must be left to whoever is in charge, and what to do instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// Who is in charge.
    pub reason: Reason,
    /// Why, with what was seen.
    pub detail: String,
    /// What to do instead.
    pub hint: String,
}

/// By what means an act on a server is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Means {
    /// By gs_ctl: nothing else manages the server, or CM is paused or its node stopped.
    Own,
    /// By cm_ctl, with CM's own name for the server.
    Cm(CmTarget),
}

/// A server as cm_ctl names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CmTarget {
    /// Its node's number, for `-n`.
    pub node_id: u32,
    /// Its own number, such as 6001.
    pub instance_id: u32,
    /// Its data directory, for `-D`.
    pub data_dir: PathBuf,
}

impl Objection {
    /// The refusal, which nothing overrides.
    #[must_use]
    pub fn into_error(self) -> Error {
        Error::refused(self.detail).reason(self.reason).hint(self.hint)
    }
}

/// The refusal of what must be left to CM.
#[must_use]
pub fn refuse_for_cm(detail: impl Into<String>) -> Error {
    Error::refused(detail).reason(Reason::ManagedByCm)
}

/// The file that pauses CM.
const PAUSE: &str = "cluster_manual_pause";
/// The file that keeps CM from running any server of the node.
const CLUSTER_STOP: &str = "cluster_manual_start";
/// The level in that file by which all nodes were stopped, and not this one alone (`ALL_NODES` in CM's `ctl_stop.cpp`).
const ALL_NODES: &str = "2";
/// How long om_monitor may take to start a cm_agent that has ended; it was seen to take one second.
const AGENT_LIMIT: Duration = Duration::from_secs(3);
/// How often it is looked at.
const AGENT_INTERVAL: Duration = Duration::from_millis(100);

impl ManagedBy {
    /// Returns why `act` on the server in `data_dir` must be left to CM, DSS or DCF; `None` when it need not.
    ///
    /// CM lets go of a server in two cases only. While it is paused it neither starts nor stops a server nor gives roles; but
    /// one in manual stop is killed when CM is resumed, and a switchover leaves the other standbys behind.
    /// In manual stop it keeps the server stopped: cm_agent kills one that is started. `cm_ctl stop` of the whole cluster ends
    /// cm_agent on each node, and no CM program interferes; after `cm_ctl stop -n` the others still run the cluster.
    #[must_use]
    pub fn objection(&self, act: Act, data_dir: &Path) -> Option<Objection> {
        let cm = self.by == Manager::Cm;
        if cm && let Some(why) = &self.conflict {
            let detail = format!(
                "openGauss CM runs this node ({}), and by which numbers it knows the server cannot be told: {why}",
                self.describe_manager()
            );
            let hint = "give the gauss_home, or the env_file, of the installation that runs the server, and move a \
                cluster_static_config that is out of date aside";
            return Some(Objection { reason: Reason::ManagedByCm, detail, hint: hint.to_owned() });
        }
        if cm && let Some(why) = self.cm_reaction(act) {
            let seen = self.describe_manager();
            let command = self.cm_command(act, data_dir);
            let hint = match (self.paused, self.is_node_stopped()) {
                (true, true) => format!("resume CM (cm_ctl resume), then {command}"),
                (true, false) if self.manual_start.is_empty() => {
                    "resume CM (cm_ctl resume), and call again".to_owned()
                }
                (true, false) => {
                    "resume CM (cm_ctl resume), and start the server then, which takes the manual stop away"
                        .to_owned()
                }
                (false, true) => command,
                // A pause lets none pass.
                (false, false) if act == Act::Switchover => command,
                (false, false) => {
                    format!("{command}; or pause CM first: cm_ctl pause, and cm_ctl resume afterwards")
                }
            };
            let detail = format!("openGauss CM runs this node ({seen}): {why}");
            return Some(Objection { reason: Reason::ManagedByCm, detail, hint });
        }
        if self.dss {
            let detail = "this node is on shared storage (ss_enable_dss, ss_enable_dms): its data, its log and its role are \
                not its own"
                .to_owned();
            let hint = self.cm_command(act, data_dir);
            return Some(Objection { reason: Reason::SharedStorage, detail, hint });
        }
        if self.dcf {
            let detail = "this node is a member of a DCF group (enable_dcf is on): the servers elect their primary and \
                keep their own list of members"
                .to_owned();
            let hint = dcf_command(act, data_dir);
            return Some(Objection { reason: Reason::ManagedByDcf, detail, hint });
        }
        None
    }

    /// Refuses `act` where it must be left to CM, DSS or DCF.
    ///
    /// # Errors
    /// `refused`, which nothing overrides.
    pub fn permit(&self, act: Act, data_dir: &Path) -> Result<(), Error> {
        self.objection(act, data_dir).map_or(Ok(()), |objection| Err(objection.into_error()))
    }

    /// Returns by what means `act` on the server in `data_dir` is done: by CM's where CM would undo ours.
    ///
    /// cm_ctl serves to start, stop, switch over and build. It needs a cm_agent that runs and a static config that names
    /// the data directory; a server in manual stop is started first, a node in manual stop as a whole.
    ///
    /// # Errors
    /// Why neither may do it, and what to do instead.
    pub fn means(&self, act: Act, data_dir: &Path) -> Result<Means, Objection> {
        let Some(objection) = self.objection(act, data_dir) else { return Ok(Means::Own) };
        let by_cm = matches!(
            act,
            Act::Start
                | Act::Stop
                | Act::StopImmediate
                | Act::Restart
                | Act::Switchover
                | Act::Build
                | Act::BuildFull
        );
        if objection.reason != Reason::ManagedByCm || self.dss || self.dcf || !by_cm {
            return Err(objection);
        }
        let seen = format!("openGauss CM runs this node ({})", self.describe_manager());
        let because = |why: &str, hint: String| Objection {
            detail: format!("{seen}: {why}"),
            hint,
            ..objection.clone()
        };
        // While CM is paused a server that it starts stays pending.
        if self.is_node_stopped() || self.paused || self.conflict.is_some() {
            return Err(objection);
        }
        let held = !self.manual_start.is_empty();
        if held && !matches!(act, Act::Start | Act::Restart | Act::Stop | Act::StopImmediate) {
            return Err(objection);
        }
        if self.agent.is_none() {
            let why = "its cm_agent does not run, without which cm_ctl can do nothing here";
            let hint = "start om_monitor, which starts cm_agent (OM's line in cron does within a minute), and call again";
            return Err(because(why, hint.to_owned()));
        }
        let (Some(node_id), Some(instance_id), Some(dir)) = (self.node_id, self.instance_id, &self.data_dir)
        else {
            let why =
                "which of its servers this is cannot be told, for no static config names the data directory";
            return Err(because(why, objection.hint.clone()));
        };
        Ok(Means::Cm(CmTarget { node_id, instance_id, data_dir: dir.into() }))
    }

    /// Whether CM does nothing about the server, whatever becomes of it: there is none, it is paused, or the whole cluster is
    /// stopped.
    #[must_use]
    pub fn has_let_go(&self) -> bool {
        self.by != Manager::Cm || self.paused || (self.cluster_stopped && self.agent.is_none())
    }

    /// Whether no cm_agent runs, and om_monitor will start one.
    fn is_about_to_have_agent(&self) -> bool {
        self.by == Manager::Cm && self.agent.is_none() && self.monitor.is_some() && !self.is_node_stopped()
    }

    fn read_files(&mut self, of: &Installation) {
        self.node_id = of.node_id;
        self.instance_id = of.server.as_ref().map(|(id, _)| *id);
        self.data_dir = of.server.as_ref().map(|(_, dir)| dir.clone());
        self.manual_start.clone_from(&of.manual_start);
        self.cluster_stopped = of.cluster_stopped;
        self.paused = of.paused;
    }

    /// Whether CM keeps every server of the node stopped.
    #[must_use]
    pub fn is_node_stopped(&self) -> bool {
        self.manual_start.iter().any(|file| file == CLUSTER_STOP)
    }

    /// Returns what may still come in between although `act` is permitted.
    #[must_use]
    pub fn caution(&self, act: Act) -> Option<String> {
        let stops = matches!(act, Act::Stop | Act::StopImmediate);
        (self.by == Manager::Cm && self.paused && self.manual_start.is_empty() && stops).then(|| {
            "CM is paused, and its cm_agent still starts a server once that it has not started itself: \
             cm_ctl stop keeps this one stopped"
                .to_owned()
        })
    }

    /// What CM would do about `act`; `None` when it lets it pass.
    fn cm_reaction(&self, act: Act) -> Option<String> {
        let stops = matches!(act, Act::Stop | Act::StopImmediate);
        // om_monitor starts no cm_agent while the node is stopped.
        if self.is_node_stopped() && self.agent.is_none() {
            return (!self.cluster_stopped && !stops).then(|| {
                format!(
                    "the node is in manual stop ({CLUSTER_STOP}), while CM may run the rest of the cluster, and it takes the \
                     server back when it starts the node"
                )
            });
        }
        if let Some(file) = self.manual_start.first() {
            let when = if self.paused { " as soon as CM is resumed" } else { "" };
            return (!stops).then(|| {
                format!("it is in manual stop ({file}), and cm_agent kills a server started there{when}")
            });
        }
        if self.paused {
            // Seen with CM 6.0.2: cm_agent names the one primary that a standby may connect to, and none while CM is paused;
            // and the terms are those that cm_server gave.
            return (act == Act::Switchover).then(|| {
                "CM is paused, and until it is resumed the other standbys stay with the old primary, which has a newer term than \
                 the one that is made primary beside it"
                    .to_owned()
            });
        }
        Some(
            match act {
                Act::Stop | Act::StopImmediate => {
                    "cm_agent starts a stopped server again within seconds, and cm_server replaces a stopped primary"
                }
                Act::Start | Act::Restart => "cm_agent starts the server itself, and cm_server gives it its role",
                Act::Switchover | Act::Failover | Act::Follow => "roles are given by cm_server",
                Act::Build | Act::BuildFull => {
                    "it starts a second server beside one that comes up behind its back, and orders builds itself"
                }
                Act::Expand | Act::Drop => "it keeps its own record of the members and their roles",
            }
            .to_owned(),
        )
    }

    /// What tells of CM, in words.
    fn describe_manager(&self) -> String {
        let process = |name: &str, pid: Option<u32>| pid.map(|pid| format!("{name} is process {pid}"));
        let mut seen: Vec<String> = [
            process("cm_agent", self.agent),
            process("om_monitor", self.monitor),
            process("cm_server", self.server),
        ]
        .into_iter()
        .flatten()
        .collect();
        if seen.is_empty() && self.installed {
            seen.push("it is installed, and none of its programs runs just now".to_owned());
        }
        if seen.is_empty() && self.cron {
            seen.push("cron starts om_monitor".to_owned());
        }
        seen.join(", ")
    }

    /// The command that has CM or OM do it.
    fn cm_command(&self, act: Act, data_dir: &Path) -> String {
        let node = self.node_id.map_or_else(|| "NODE_ID".to_owned(), |id| id.to_string());
        let at = format!("-n {node} -D {}", data_dir.display());
        match act {
            Act::Expand => "use OM's gs_expansion, which tells CM of the new node".to_owned(),
            Act::Drop => "use OM's gs_dropnode, which tells CM of it".to_owned(),
            _ if self.is_node_stopped() => {
                format!("use cm_ctl start -n {node}, which starts the node with its servers")
            }
            Act::Start => format!("use cm_ctl start {at}"),
            Act::Stop => format!("use cm_ctl stop {at}"),
            Act::StopImmediate => format!("use cm_ctl stop {at} -m i"),
            Act::Restart => format!("use cm_ctl stop {at}, then cm_ctl start {at}"),
            Act::Switchover => format!("use cm_ctl switchover {at}"),
            Act::Failover => format!(
                "leave it to cm_server, which promotes a standby by itself (cm_ctl query -Cvidp), or use cm_ctl switchover {at}"
            ),
            Act::Follow => {
                "use cm_ctl switchover -n NODE_ID -D DATA_DIR with the node that is to be primary".to_owned()
            }
            Act::Build => format!("use cm_ctl build {at}"),
            Act::BuildFull => format!("use cm_ctl build {at} -b full -f"),
        }
    }
}

fn dcf_command(act: Act, data_dir: &Path) -> String {
    let at = format!("-D {}", data_dir.display());
    match act {
        Act::Start => format!("use gs_ctl start {at}"),
        Act::Stop => format!("use gs_ctl stop {at}"),
        Act::StopImmediate => format!("use gs_ctl stop {at} -m immediate"),
        Act::Restart => format!("use gs_ctl restart {at}"),
        Act::Switchover => format!("use gs_ctl switchover {at}"),
        Act::Failover => {
            format!("leave it to the election; gs_ctl query {at} tells its outcome (Paxos replication info)")
        }
        Act::Follow => {
            format!("use gs_ctl changerole {at}, or gs_ctl switchover on the node that is to be primary")
        }
        Act::Build | Act::BuildFull => format!("use gs_ctl build {at} -b full, the only build DCF has"),
        Act::Expand => "use gs_ctl member --operation=add on the leader".to_owned(),
        Act::Drop => "use gs_ctl member --operation=remove on the leader".to_owned(),
    }
}

/// One of CM's programs that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct CmProgram {
    name: String,
    pid: u32,
    /// The GAUSSHOME it was started from, where that can be told.
    home: Option<PathBuf>,
}

/// What the static config of an installation, and CM's files beside it, tell of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // Each is a fact of its own.
struct Installation {
    /// Its GAUSSHOME, links followed.
    home: PathBuf,
    /// Whether CM is installed there, or one of its programs runs from there.
    has_cm: bool,
    node_id: Option<u32>,
    /// The server's number, and its data directory as it is spelled there; `None` where the data directory is not named.
    server: Option<(u32, String)>,
    installed: bool,
    manual_start: Vec<String>,
    cluster_stopped: bool,
    paused: bool,
}

impl Installation {
    /// Reads the static config and CM's files of the installation in `home`.
    fn read(home: &Path, data_dir: &Path) -> Self {
        let bin = home.join("bin");
        let mut found = Self { home: home.to_owned(), ..Self::default() };
        let config = crate::files::read(&bin.join("cluster_static_config"))
            .ok()
            .and_then(|bytes| StaticConfig::parse(&bytes).ok());
        if let Some(local) = config.as_ref().and_then(StaticConfig::local_node) {
            found.node_id = Some(local.id);
            let own = std::fs::canonicalize(data_dir).ok();
            let is_same = |dir: &str| {
                Path::new(dir) == data_dir || (own.is_some() && std::fs::canonicalize(dir).ok() == own)
            };
            let server = local.data_nodes.iter().find(|d| is_same(&d.data_dir));
            found.server = server.map(|d| (d.id, d.data_dir.clone()));
            found.installed = config.as_ref().is_some_and(|c| c.cluster.has_cm())
                && Path::new(&local.cm_dir).join("cm_agent/cm_agent.conf").exists();
        }
        let own = found.server.as_ref().map(|(id, _)| format!("instance_manual_start_{id}"));
        let files = [CLUSTER_STOP.to_owned()].into_iter().chain(own);
        found.manual_start = files.filter(|name| bin.join(name).exists()).collect();
        // The third line is the level of the stop: one server, one node, all nodes.
        let stop = std::fs::read_to_string(bin.join(CLUSTER_STOP)).unwrap_or_default();
        found.cluster_stopped = stop.lines().nth(2).is_some_and(|level| level.trim() == ALL_NODES);
        found.paused = bin.join(PAUSE).exists();
        found
    }

    /// The numbers by which CM knows the server.
    fn ids(&self) -> Option<(u32, u32)> {
        Some((self.node_id?, self.server.as_ref()?.0))
    }
}

/// Returns the installations whose CM runs the server, the one to read its files from first: those that name its data
/// directory, of these those with CM. None where several are known and none names it. `own` is the GAUSSHOME whose programs
/// would be called.
///
/// # Errors
/// Why that cannot be told: they give the server different numbers, or `own` is none of them.
fn installations_in_charge<'a>(
    found: &'a [Installation],
    own: Option<&Path>,
) -> Result<Vec<&'a Installation>, String> {
    if let [only] = found {
        return Ok(vec![only]);
    }
    let naming = || found.iter().filter(|it| it.ids().is_some());
    let with_cm = naming().any(|it| it.has_cm);
    let mut named: Vec<_> = naming().filter(|it| it.has_cm || !with_cm).collect();
    let Some(first) = named.first().copied() else { return Ok(Vec::new()) };
    if let Some(other) = named.iter().find(|it| it.ids() != first.ids()) {
        let in_words = |it: &Installation| {
            let (node, server) = it.ids().unwrap_or_default();
            format!("server {server} of node {node} in {}", it.home.display())
        };
        return Err(format!(
            "two cluster_static_config files name its data directory: as {}, and as {}",
            in_words(first),
            in_words(other)
        ));
    }
    if let Some(own) = own {
        if with_cm && !named.iter().any(|it| it.home == own) {
            return Err(format!(
                "its cluster_static_config is in {}, and GAUSSHOME is {}, whose cm_ctl does not know the server",
                first.home.display(),
                own.display()
            ));
        }
        // The files that cm_ctl writes are those of its own GAUSSHOME.
        named.sort_by_key(|it| it.home != own);
    }
    Ok(named)
}

impl ServerNode {
    /// Reads who is in charge of the node's server. Nothing is started but `crontab -l`, and that only where CM's programs
    /// are installed and neither run nor are configured.
    ///
    /// `learn`: whether the environment of openGauss's programs is learnt to find GAUSSHOME; without, what is known of it
    /// already must do, and the folder of the server's program.
    pub async fn managed_by(&self, call: &Call, learn: bool) -> ManagedBy {
        if learn {
            // Who cannot learn it cannot run gs_ctl either, which tells so.
            let _ = self.env(call).await;
        }
        let homes = self.gauss_homes(call);
        let conf =
            ConfFile::parse(&crate::files::read(&self.data_dir.join("postgresql.conf")).unwrap_or_default());
        let on = |name: &str| conf.get(name).is_some_and(|setting| is_on(setting.text().trim()));
        let mut managed = ManagedBy {
            dcf: on("enable_dcf"),
            dss: on("ss_enable_dss") || on("ss_enable_dms"),
            ..ManagedBy::default()
        };
        let uid =
            std::fs::metadata(&self.data_dir).map(|meta| std::os::unix::fs::MetadataExt::uid(&meta)).ok();
        self.read_cm(call, &homes, uid, &mut managed).await;
        managed.by = match &managed {
            m if m.agent.or(m.monitor).or(m.server).is_some() || m.installed || m.cron => Manager::Cm,
            m if m.dss => Manager::Dss,
            m if m.dcf => Manager::Dcf,
            _ => Manager::None,
        };
        managed.conflict = managed.conflict.filter(|_| managed.by == Manager::Cm);
        managed
    }

    /// As [`ServerNode::managed_by`], before a change: waits for a cm_agent that om_monitor is about to start again, and asks
    /// CM's servers whether the whole cluster is stopped where the node's own mark says so.
    pub async fn managed_for_change(&self, call: &Call) -> ManagedBy {
        let end = Instant::now() + time_left(call, AGENT_LIMIT);
        let mut managed = self.managed_by(call, true).await;
        while managed.is_about_to_have_agent() && Instant::now() < end {
            tokio::time::sleep(AGENT_INTERVAL).await;
            managed = self.managed_by(call, true).await;
        }
        if managed.cluster_stopped && managed.agent.is_none() {
            // The cluster may have been started again on other nodes.
            let view = self.query_cm(call).await;
            managed.cluster_stopped = view.is_ok_and(|view| view.has_no_server());
        }
        managed
    }

    async fn read_cm(
        &self,
        call: &Call,
        homes: &BTreeSet<PathBuf>,
        uid: Option<u32>,
        managed: &mut ManagedBy,
    ) {
        let has_programs = |home: &&PathBuf| {
            ["om_monitor", "cm_agent"].iter().any(|name| home.join("bin").join(name).exists())
        };
        // Where CM is not installed nothing of it can run, and no process is looked at.
        if !homes.is_empty() && !homes.iter().any(|home| has_programs(&home)) {
            return;
        }
        let mut programs: Vec<CmProgram> =
            programs(uid).into_iter().filter(|program| belongs_to_home(program, homes)).collect();
        let mut folders: BTreeSet<PathBuf> = homes.clone();
        folders.extend(programs.iter().filter_map(|program| program.home.clone()));
        let found: Vec<Installation> = folders
            .iter()
            .filter(|home| has_programs(home) || home.join("bin/cluster_static_config").exists())
            .map(|home| {
                let mut found = Installation::read(home, &self.data_dir);
                let runs = programs.iter().any(|program| program.home.as_ref() == Some(home));
                found.has_cm = found.installed || runs;
                found
            })
            .collect();
        let own = self.own_home(call).and_then(|home| std::fs::canonicalize(home).ok());
        match installations_in_charge(&found, own.as_deref()) {
            Ok(in_charge) if !in_charge.is_empty() => {
                managed.read_files(in_charge[0]);
                managed.installed = in_charge.iter().any(|it| it.installed);
                folders = in_charge.iter().map(|it| it.home.clone()).collect();
                programs.retain(|program| belongs_to_home(program, &folders));
            }
            undecided => {
                managed.conflict = undecided.err();
                managed.installed = found.iter().any(|it| it.installed);
                managed.paused = !found.is_empty() && found.iter().all(|it| it.paused);
                managed.cluster_stopped = !found.is_empty() && found.iter().all(|it| it.cluster_stopped);
                let marks: BTreeSet<&String> = found.iter().flat_map(|it| &it.manual_start).collect();
                managed.manual_start = marks.into_iter().cloned().collect();
            }
        }
        let pid =
            |name: &str| programs.iter().find(|program| program.name == name).map(|program| program.pid);
        (managed.agent, managed.monitor, managed.server) =
            (pid("cm_agent"), pid("om_monitor"), pid("cm_server"));
        let runs = managed.agent.or(managed.monitor).or(managed.server).is_some();
        if !runs && !managed.installed && folders.iter().any(|home| has_programs(&home)) {
            managed.cron = crontab(call).await.lines().any(|line| starts_monitor(line, &folders));
        }
    }

    /// The GAUSSHOME whose programs are called, where it is known.
    fn own_home(&self, call: &Call) -> Option<PathBuf> {
        let learnt = || self.env.get().and_then(super::Environment::gauss_home);
        call.common.gauss_home.clone().or_else(learnt)
    }

    /// Every GAUSSHOME that is known to be this node's, links followed.
    fn gauss_homes(&self, call: &Call) -> BTreeSet<PathBuf> {
        // The first word of postmaster.opts is the server's program.
        let opts = std::fs::read_to_string(self.data_dir.join("postmaster.opts")).unwrap_or_default();
        let started = opts.split_whitespace().next().map(PathBuf::from).filter(|path| path.is_absolute());
        let running = self.running_pid().and_then(program_of);
        let homes = [started, running].into_iter().flatten();
        let homes = homes.filter_map(|path| Some(path.parent()?.parent()?.to_owned()));
        let homes = homes.chain(self.own_home(call));
        homes.filter_map(|home| std::fs::canonicalize(home).ok()).collect()
    }
}

/// Whether a program of CM is of one of these installations; one whose own cannot be told counts.
fn belongs_to_home(program: &CmProgram, homes: &BTreeSet<PathBuf>) -> bool {
    homes.is_empty() || program.home.as_ref().is_none_or(|home| homes.contains(home))
}

/// The programs of CM that this user runs.
fn programs(uid: Option<u32>) -> Vec<CmProgram> {
    let mut found = Vec::new();
    for pid in running::pids().unwrap_or_default() {
        let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { continue };
        let first = String::from_utf8_lossy(line.split(|b| *b == 0).next().unwrap_or_default()).into_owned();
        let Some(name) = name_of(&first) else { continue };
        if !is_process_alive(pid) || uid.is_some_and(|uid| user_of(pid).is_some_and(|own| own != uid)) {
            continue;
        }
        // Where that may not be read, its first word, when that is a whole path.
        let program =
            program_of(pid).or_else(|| Some(PathBuf::from(&first)).filter(|path| path.is_absolute()));
        let home = program.and_then(|path| Some(path.parent()?.parent()?.to_owned()));
        let home = home.map(|home| std::fs::canonicalize(&home).unwrap_or(home));
        found.push(CmProgram { name: name.to_owned(), pid, home });
    }
    found.sort_by_key(|program| program.pid);
    found
}

/// The name of CM's program that is started by this word; CM blanks the words behind it.
fn name_of(first: &str) -> Option<&'static str> {
    let name = first.trim_end().rsplit('/').next()?;
    ["om_monitor", "cm_agent", "cm_server"].into_iter().find(|known| *known == name)
}

/// The effective user of a process; the owner of its folder is root's where the program has capabilities.
fn user_of(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The user's crontab; empty when there is none or cron is not installed.
async fn crontab(call: &Call) -> String {
    let Some(program) = ["/usr/bin/crontab", "/bin/crontab"].iter().map(Path::new).find(|path| path.exists())
    else {
        return String::new();
    };
    let limit = time_left(call, Duration::from_secs(5));
    let outcome = super::process::Program::new(program).arg("-l").with_limit(Some(limit)).run().await;
    outcome.map(|outcome| outcome.stdout).unwrap_or_default()
}

/// Whether a line of a crontab starts om_monitor of one of these installations; OM writes the whole path.
fn starts_monitor(line: &str, homes: &BTreeSet<PathBuf>) -> bool {
    let line = line.trim();
    let word = |word: &str| {
        let path = Path::new(word);
        path.file_name().is_some_and(|name| name == "om_monitor")
            && path.parent().and_then(Path::parent).is_some_and(|home| {
                // A path that does not lead anywhere is a variable's, such as $GAUSSHOME.
                std::fs::canonicalize(home).map_or(!path.is_absolute(), |home| homes.contains(&home))
            })
    };
    !line.starts_with('#') && line.split([' ', '\t', ';', '"', '\'', '(', ')']).any(word)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::{Child, Command};

    use super::*;
    use crate::base::ErrorKind;

    const ACTS: [Act; 11] = [
        Act::Start,
        Act::Stop,
        Act::StopImmediate,
        Act::Restart,
        Act::Switchover,
        Act::Failover,
        Act::Follow,
        Act::Build,
        Act::BuildFull,
        Act::Expand,
        Act::Drop,
    ];

    fn under_cm() -> ManagedBy {
        ManagedBy {
            by: Manager::Cm,
            agent: Some(252),
            monitor: Some(186),
            node_id: Some(2),
            instance_id: Some(6002),
            data_dir: Some("/data".to_owned()),
            ..ManagedBy::default()
        }
    }

    /// The acts that are done by cm_ctl, and those that are done by gs_ctl.
    fn means(managed: &ManagedBy) -> (Vec<Act>, Vec<Act>) {
        let of = |wanted: fn(&Means) -> bool| {
            let done = |act: &Act| managed.means(*act, Path::new("/data")).is_ok_and(|means| wanted(&means));
            ACTS.into_iter().filter(done).collect()
        };
        (of(|means| *means != Means::Own), of(|means| *means == Means::Own))
    }

    const BY_CM: [Act; 7] = [
        Act::Start,
        Act::Stop,
        Act::StopImmediate,
        Act::Restart,
        Act::Switchover,
        Act::Build,
        Act::BuildFull,
    ];

    fn permitted(managed: &ManagedBy) -> Vec<Act> {
        ACTS.into_iter().filter(|act| managed.objection(*act, Path::new("/data")).is_none()).collect()
    }

    #[test]
    fn what_is_ours_alone_is_permitted() {
        assert_eq!(permitted(&ManagedBy::default()), ACTS);
    }

    #[test]
    fn every_change_under_cm_is_refused_with_the_command_for_it() {
        let managed = under_cm();
        assert_eq!(permitted(&managed), []);
        let error = managed.permit(Act::Stop, Path::new("/data")).unwrap_err();
        assert_eq!((error.kind(), error.failure().reason), (ErrorKind::Refused, Some(Reason::ManagedByCm)));
        let words = error.to_string();
        assert!(words.contains("cm_agent is process 252, om_monitor is process 186"), "{words}");
        assert!(words.contains("use cm_ctl stop -n 2 -D /data;"), "{words}");
        let told = |act| managed.objection(act, Path::new("/data")).unwrap().hint;
        assert!(told(Act::StopImmediate).contains("cm_ctl stop -n 2 -D /data -m i"));
        assert!(told(Act::BuildFull).contains("cm_ctl build -n 2 -D /data -b full -f"));
        assert!(told(Act::Switchover).contains("cm_ctl switchover -n 2 -D /data"));
        // Its programs are killed and cron brings them back.
        let dead = ManagedBy { agent: None, monitor: None, installed: true, ..managed };
        assert_eq!(permitted(&dead), []);
    }

    fn all_but(act: Act) -> Vec<Act> {
        ACTS.iter().copied().filter(|other| *other != act).collect()
    }

    #[test]
    fn what_cm_can_do_is_done_by_cm_ctl() {
        assert_eq!(means(&ManagedBy::default()), (vec![], ACTS.to_vec()));
        assert_eq!(means(&under_cm()), (BY_CM.to_vec(), vec![]));
        let target = CmTarget { node_id: 2, instance_id: 6002, data_dir: "/data".into() };
        // As the static config spells it, whatever way led here.
        assert_eq!(under_cm().means(Act::Stop, Path::new("/link")), Ok(Means::Cm(target)));
        let failover = under_cm().means(Act::Failover, Path::new("/data")).unwrap_err();
        assert!(failover.hint.contains("leave it to cm_server"), "{}", failover.hint);
        assert_eq!(means(&ManagedBy { paused: true, ..under_cm() }), (vec![], all_but(Act::Switchover)));
    }

    #[test]
    fn without_an_agent_or_a_name_cm_can_do_nothing() {
        let dead = ManagedBy { agent: None, ..under_cm() };
        assert_eq!(means(&dead), (vec![], vec![]));
        let error = dead.means(Act::Stop, Path::new("/data")).unwrap_err();
        assert!(
            error.detail.contains("cm_agent does not run") && error.hint.contains("om_monitor"),
            "{error:?}"
        );
        let nameless = ManagedBy { instance_id: None, data_dir: None, ..under_cm() };
        assert_eq!(means(&nameless), (vec![], vec![]));
        let error = nameless.means(Act::Stop, Path::new("/data")).unwrap_err();
        assert!(error.detail.contains("no static config names the data directory"), "{error:?}");
    }

    #[test]
    fn an_agent_comes_back_where_om_monitor_runs_and_nobody_stopped_the_node() {
        let dead = ManagedBy { agent: None, ..under_cm() };
        assert!(dead.is_about_to_have_agent());
        assert!(!under_cm().is_about_to_have_agent());
        assert!(!ManagedBy { monitor: None, ..dead.clone() }.is_about_to_have_agent());
        assert!(!ManagedBy { manual_start: vec![CLUSTER_STOP.to_owned()], ..dead }.is_about_to_have_agent());
    }

    #[test]
    fn what_is_in_manual_stop_is_started_and_nothing_else() {
        let instance =
            ManagedBy { manual_start: vec!["instance_manual_start_6002".to_owned()], ..under_cm() };
        assert_eq!(means(&instance), (vec![Act::Start, Act::Restart], vec![Act::Stop, Act::StopImmediate]));
        let node = ManagedBy { manual_start: vec![CLUSTER_STOP.to_owned()], ..under_cm() };
        assert_eq!(means(&node), (vec![], vec![Act::Stop, Act::StopImmediate]), "cm_agent is still ending");
        let hint = node.means(Act::Start, Path::new("/data")).unwrap_err().hint;
        assert!(hint.starts_with("use cm_ctl start -n 2, which"), "{hint}");
        // No cm_agent runs, and none is started; the others run the cluster, unless all was stopped.
        let alone = ManagedBy { agent: None, ..node.clone() };
        assert_eq!(means(&alone), (vec![], vec![Act::Stop, Act::StopImmediate]));
        for act in [Act::Start, Act::Switchover, Act::Failover, Act::Build] {
            let refused = alone.means(act, Path::new("/data")).unwrap_err();
            assert!(refused.detail.contains("in manual stop (cluster_manual_start)"), "{refused:?}");
            assert!(refused.hint.starts_with("use cm_ctl start -n 2, which starts the node"), "{refused:?}");
        }
        assert_eq!(means(&ManagedBy { cluster_stopped: true, ..alone }), (vec![], ACTS.to_vec()));
        // What a pause lets pass, CM would kill when it is resumed.
        let stops = vec![Act::Stop, Act::StopImmediate];
        for (held, then) in [(instance, "and start the server then"), (node, "then use cm_ctl start -n 2,")] {
            let paused = ManagedBy { paused: true, ..held };
            assert_eq!(means(&paused), (vec![], stops.clone()));
            let refused = paused.means(Act::Start, Path::new("/data")).unwrap_err();
            assert!(refused.detail.contains("as soon as CM is resumed"), "{refused:?}");
            assert!(refused.hint.starts_with("resume CM (cm_ctl resume)"), "{refused:?}");
            assert!(refused.hint.contains(then), "{refused:?}");
        }
    }

    #[test]
    fn a_paused_cm_lets_everything_pass_but_a_switchover() {
        let managed = ManagedBy { paused: true, ..under_cm() };
        assert_eq!(permitted(&managed), all_but(Act::Switchover));
        let refused = managed.objection(Act::Switchover, Path::new("/data")).unwrap();
        assert!(refused.detail.contains("the other standbys stay with the old primary"), "{refused:?}");
        assert_eq!(refused.hint, "resume CM (cm_ctl resume), and call again");
        assert!(managed.caution(Act::Stop).unwrap().contains("cm_ctl stop"));
        assert_eq!(managed.caution(Act::Start), None);
    }

    #[test]
    fn in_manual_stop_a_server_may_be_stopped_and_not_started() {
        let instance =
            ManagedBy { manual_start: vec!["instance_manual_start_6002".to_owned()], ..under_cm() };
        assert_eq!(permitted(&instance), [Act::Stop, Act::StopImmediate]);
        let words = instance.objection(Act::Start, Path::new("/data")).unwrap().detail;
        assert!(words.contains("instance_manual_start_6002") && words.contains("kills"), "{words}");
        // om_monitor brings cm_agent back, which then kills what was started.
        assert_eq!(permitted(&ManagedBy { agent: None, ..instance }).len(), 2);
        let node = ManagedBy { manual_start: vec![CLUSTER_STOP.to_owned()], ..under_cm() };
        assert_eq!(permitted(&node), [Act::Stop, Act::StopImmediate], "cm_agent is still ending");
        let node = ManagedBy { agent: None, ..node };
        assert_eq!(permitted(&node), [Act::Stop, Act::StopImmediate], "CM runs the others");
        assert_eq!(permitted(&ManagedBy { cluster_stopped: true, ..node }), ACTS);
    }

    #[test]
    fn dcf_and_shared_storage_are_refused_whatever_cm_does() {
        for (dcf, dss, word) in [(true, false, "gs_ctl"), (false, true, "cm_ctl")] {
            let by = if dcf { Manager::Dcf } else { Manager::Dss };
            let managed = ManagedBy { by, dcf, dss, ..ManagedBy::default() };
            assert_eq!(permitted(&managed), []);
            assert!(managed.objection(Act::Switchover, Path::new("/data")).unwrap().hint.contains(word));
            assert_eq!(permitted(&ManagedBy { dcf, dss, paused: true, ..under_cm() }), []);
            assert_eq!(means(&ManagedBy { dcf, dss, ..under_cm() }), (vec![], vec![]));
        }
    }

    #[test]
    fn the_recorded_processes_are_known() {
        let recorded: std::collections::BTreeMap<String, Vec<(u32, String)>> =
            serde_json::from_str(include_str!("../../../tests/vectors/cm/processes.json")).unwrap();
        let found = |case: &str| -> Vec<&str> {
            recorded[case].iter().filter_map(|(_, line)| name_of(line.split(' ').next()?)).collect()
        };
        assert_eq!(found("runs"), ["om_monitor", "cm_agent", "cm_server"]);
        assert_eq!(found("manual_start"), ["om_monitor"]);
        assert_eq!(found("node_stopped"), ["om_monitor"]);
    }

    fn installation(home: &str, has_cm: bool, ids: Option<(u32, u32)>) -> Installation {
        Installation {
            home: home.into(),
            has_cm,
            node_id: ids.map(|it| it.0),
            server: ids.map(|it| (it.1, "/data".to_owned())),
            ..Installation::default()
        }
    }

    #[test]
    fn of_several_installations_the_one_that_names_the_data_directory_is_in_charge() {
        let chosen = |found: &[Installation], own: &str| {
            let chosen = installations_in_charge(found, Some(Path::new(own)))?;
            Ok::<_, String>(chosen.iter().map(|it| it.home.display().to_string()).collect::<Vec<_>>())
        };
        let a = installation("/a", true, Some((1, 6001)));
        let other = installation("/b", true, None);
        assert_eq!(chosen(&[a.clone(), other.clone()], "/a").unwrap(), ["/a"]);
        // cm_ctl of the other one would act on another cluster.
        let why = chosen(&[a.clone(), other.clone()], "/b").unwrap_err();
        assert!(why.contains("in /a, and GAUSSHOME is /b"), "{why}");
        // A release that is being exchanged: both name it alike, and cm_ctl's own files count.
        let newer = installation("/c", true, Some((1, 6001)));
        assert_eq!(chosen(&[a.clone(), newer.clone()], "/c").unwrap(), ["/c", "/a"]);
        // One without CM has no say where another one has it, and is in charge where none has.
        let plain = installation("/d", false, Some((3, 6003)));
        assert_eq!(chosen(&[a.clone(), plain.clone()], "/a").unwrap(), ["/a"]);
        assert_eq!(chosen(&[other.clone(), plain.clone()], "/b").unwrap(), ["/d"]);
        let why = chosen(&[a.clone(), installation("/e", true, Some((3, 6003)))], "/a").unwrap_err();
        assert!(why.contains("server 6001 of node 1 in /a, and as server 6003 of node 3 in /e"), "{why}");
        // Alone it needs no name.
        assert_eq!(chosen(std::slice::from_ref(&other), "/b").unwrap(), ["/b"]);
        assert_eq!(chosen(&[other, installation("/f", true, None)], "/b").unwrap(), [""; 0]);
    }

    #[test]
    fn installations_that_contradict_each_other_are_refused_whatever_is_asked() {
        let conflict = Some("two static configs name it".to_owned());
        for managed in [
            ManagedBy { conflict: conflict.clone(), ..under_cm() },
            ManagedBy { conflict: conflict.clone(), paused: true, ..under_cm() },
            ManagedBy { conflict, agent: None, cluster_stopped: true, ..under_cm() },
        ] {
            assert_eq!(means(&managed), (vec![], vec![]));
            let refused = managed.means(Act::Start, Path::new("/data")).unwrap_err();
            assert!(refused.hint.contains("gauss_home"), "{refused:?}");
        }
    }

    /// A node with CM installed beside it, and programs of CM's names.
    struct Fake {
        home: tempfile::TempDir,
        running: Vec<Child>,
    }

    impl Fake {
        fn new() -> Self {
            let home = tempfile::tempdir().unwrap();
            for folder in ["bin", "data", "cm/cm_agent"] {
                std::fs::create_dir_all(home.path().join(folder)).unwrap();
            }
            let opts = format!("{}/bin/gaussdb \"-D\"\n", home.path().display());
            std::fs::write(home.path().join("data/postmaster.opts"), opts).unwrap();
            Self { home, running: Vec::new() }
        }

        /// Starts one that does nothing. Copied by a child: a file open for writing here could be held by a fork.
        fn start(&mut self, name: &str) -> u32 {
            let path = self.home.path().join("bin").join(name);
            let status = Command::new("/bin/cp").arg("/bin/sleep").arg(&path).status().unwrap();
            assert!(status.success());
            let child = Command::new(&path).arg("600").spawn().unwrap();
            let pid = child.id();
            self.running.push(child);
            // The kernel writes the words a moment after the program has begun.
            while std::fs::read(format!("/proc/{pid}/cmdline")).unwrap().is_empty() {
                std::thread::yield_now();
            }
            pid
        }

        fn touch(&self, name: &str) {
            std::fs::write(self.home.path().join(name), "").unwrap();
        }

        /// OM's file of a cluster with CM, whose paths are made this node's.
        fn static_config(&self) {
            let bytes = include_bytes!("../../../tests/vectors/cluster/with_cm_1p2s/cluster_static_config");
            let mut config = StaticConfig::parse(bytes).unwrap();
            for node in &mut config.cluster.nodes {
                node.cm_dir = self.home.path().join("cm").display().to_string();
                for data in &mut node.data_nodes {
                    data.data_dir = self.home.path().join("data").display().to_string();
                }
            }
            std::fs::write(self.home.path().join("bin/cluster_static_config"), config.print().unwrap())
                .unwrap();
        }

        fn look(&self) -> ManagedBy {
            self.look_from(None)
        }

        /// With this GAUSSHOME, which is another one's.
        fn look_from(&self, gauss_home: Option<&Path>) -> ManagedBy {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let node = ServerNode::new(self.home.path().join("data"));
            let mut call = Call::default();
            call.common.gauss_home = gauss_home.map(Path::to_owned);
            runtime.block_on(node.managed_by(&call, false))
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            for child in &mut self.running {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }

    #[test]
    fn cm_is_known_by_its_processes() {
        let mut fake = Fake::new();
        assert_eq!(fake.look(), ManagedBy::default());
        let monitor = fake.start("om_monitor");
        let agent = fake.start("cm_agent");
        let seen = fake.look();
        assert_eq!((seen.by, seen.agent, seen.monitor), (Manager::Cm, Some(agent), Some(monitor)));
        // The programs of another installation are not this node's.
        let other = Fake::new();
        other.touch("bin/om_monitor");
        assert_eq!(other.look(), ManagedBy::default());
    }

    #[test]
    fn cm_is_known_by_its_files_and_they_tell_how_far_it_is_held_back() {
        let fake = Fake::new();
        fake.static_config();
        fake.touch("bin/om_monitor");
        assert_eq!(fake.look().by, Manager::None, "its agent has no configuration");
        fake.touch("cm/cm_agent/cm_agent.conf");
        let seen = fake.look();
        assert_eq!((seen.by, seen.node_id, seen.instance_id), (Manager::Cm, Some(1), Some(6001)));
        assert_eq!(seen.data_dir, Some(fake.home.path().join("data").display().to_string()));
        assert!(seen.manual_start.is_empty() && !seen.paused);
        // Another instance's is not this one's.
        fake.touch("bin/instance_manual_start_6002");
        assert!(fake.look().manual_start.is_empty());
        fake.touch("bin/instance_manual_start_6001");
        assert_eq!(fake.look().manual_start, ["instance_manual_start_6001"]);
        fake.touch("bin/cluster_manual_start");
        fake.touch("bin/cluster_manual_pause");
        let seen = fake.look();
        assert_eq!(seen.manual_start, ["cluster_manual_start", "instance_manual_start_6001"]);
        assert!(seen.paused);
    }

    #[test]
    fn the_files_of_another_installation_are_not_taken_for_the_servers_own() {
        let mut fake = Fake::new();
        fake.static_config();
        for name in ["bin/om_monitor", "cm/cm_agent/cm_agent.conf"] {
            fake.touch(name);
        }
        let agent = fake.start("cm_agent");
        let mut other = Fake::new();
        other.static_config();
        for name in ["bin/om_monitor", "cm/cm_agent/cm_agent.conf", "bin/cluster_manual_pause"] {
            other.touch(name);
        }
        other.touch("bin/instance_manual_start_6001");
        other.start("cm_agent");
        let seen = fake.look_from(Some(other.home.path()));
        assert_eq!((seen.by, seen.node_id, seen.instance_id), (Manager::Cm, None, None));
        assert!(!seen.paused && seen.manual_start.is_empty(), "{seen:?}");
        let why = seen.conflict.as_ref().unwrap();
        assert!(why.contains("whose cm_ctl does not know the server"), "{why}");
        assert_eq!(permitted(&seen), []);
        assert_eq!(fake.look().conflict, None);
        // With this one's own GAUSSHOME beside a server program of the other one's.
        let opts = format!("{}/bin/gaussdb \"-D\"\n", other.home.path().display());
        std::fs::write(fake.home.path().join("data/postmaster.opts"), opts).unwrap();
        let seen = fake.look_from(Some(fake.home.path()));
        assert_eq!((seen.agent, seen.instance_id, seen.conflict), (Some(agent), Some(6001), None));
    }

    #[test]
    fn the_level_of_a_stop_tells_a_node_from_the_whole_cluster() {
        let fake = Fake::new();
        fake.static_config();
        for name in ["bin/om_monitor", "cm/cm_agent/cm_agent.conf"] {
            fake.touch(name);
        }
        // As cm_ctl stop -n 3 and cm_ctl stop wrote it; as touch does.
        for (text, whole) in [("1\n1\n1\n", false), ("0\n1\n2\n", true), ("", false)] {
            std::fs::write(fake.home.path().join("bin/cluster_manual_start"), text).unwrap();
            let seen = fake.look();
            assert_eq!((seen.manual_start.len(), seen.cluster_stopped), (1, whole), "{text:?}");
        }
    }

    #[test]
    fn dcf_and_dss_are_known_by_postgresql_conf() {
        let fake = Fake::new();
        let with = |text: &str| {
            std::fs::write(fake.home.path().join("data/postgresql.conf"), text).unwrap();
            fake.look().by
        };
        assert_eq!(with("#enable_dcf = on\nenable_dcf = off\n"), Manager::None);
        assert_eq!(with("enable_dcf = on\n"), Manager::Dcf);
        assert_eq!(with("ss_enable_dss = 'on'\n"), Manager::Dss);
        assert_eq!(with("ss_enable_dms = true\nenable_dcf = off\n"), Manager::Dss);
    }

    #[test]
    fn a_crontab_that_starts_om_monitor_is_known() {
        let home = tempfile::tempdir().unwrap();
        let homes = BTreeSet::from([std::fs::canonicalize(home.path()).unwrap()]);
        let line = |path: &str| {
            format!(
                "*/1 * * * * source /etc/profile;source ~/.bashrc;nohup {path}/bin/om_monitor -L /log >>/dev/null 2>&1 &"
            )
        };
        let own = home.path().display().to_string();
        assert!(starts_monitor(&line(&own), &homes));
        assert!(starts_monitor(&line("$GAUSSHOME"), &homes));
        assert!(!starts_monitor(&line("/"), &homes));
        assert!(!starts_monitor(&format!("# {}", line(&own)), &homes));
    }
}
