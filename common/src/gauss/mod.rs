//! The outside programs and files of one server. Only this folder starts gs_ctl, gs_initdb or gsql.
//!
//! * [`ServerNode`]: one data directory: is it served, what is its state, reload, SQL
//! * [`ConfigFile`]: a configuration file, and the transaction by which every module changes it
//! * [`env`](mod@env): the environment openGauss's programs need
//! * [`process`]: one outside program, with a limit and bounded output
//! * [`gs_ctl`], [`gsql`]: the two programs, and the parsers of what they print
//! * [`host`]: what a server needs of the operating system
//! * [`initdb`]: gs_initdb, which makes a data directory
//! * [`peer`]: what the servers at the other end of the replication channels are
//! * [`source`]: what the server tells that a build copies from
//! * [`diagnosis`]: why a server does not serve or does not follow
//! * [`fork`]: where the log of a new primary parts from its predecessor's
//! * [`cluster_lock`]: one workflow at a time on a cluster
//! * [`commits`]: what a probe sees of commits
//! * [`managed`]: who else is in charge of the server: CM, DCF, DSS
//! * [`cm_query`], [`cm_ctl`]: queries and commands of openGauss CM
//! * [`tablespaces`]: whether the server can see the tablespaces that it has
//! * [`certificates`]: when the server's certificates end, and who may read its keys
//! * [`disk`]: how large a node is, and how much room there is
//! * [`state_file`], [`postmaster_pid`], [`control`], [`wal`]: the files that tell of a server and its data
//! * [`version`]: what differs between the releases

pub mod certificates;
pub mod cluster_lock;
pub mod cm_ctl;
pub mod cm_query;
pub mod commits;
mod config_file;
pub mod control;
mod deferred_reload;
pub mod diagnosis;
pub mod disk;
pub mod env;
mod exchange;
pub mod fork;
pub mod gs_ctl;
pub mod gsql;
pub mod host;
mod identity;
pub mod initdb;
mod libraries;
mod loaded_hba;
pub mod managed;
pub mod peer;
pub mod postmaster_pid;
pub mod process;
mod reload;
mod rest;
pub mod running;
pub mod server_log;
mod session;
pub mod source;
pub mod state;
pub mod state_file;
pub mod tablespaces;
#[cfg(test)]
mod tests;
mod trial;
pub mod version;
pub mod wal;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

pub use certificates::{Certificate, KeyFile, Security};
pub use cluster_lock::ClusterLock;
pub use config_file::{
    ConfigFile, ConfigKind, ConfigPlan, EditPolicy, Guard, NewFile, RELOAD, Saved, Transaction,
    unseen_reload_warning,
};
use deferred_reload::DeferredReload;
pub use diagnosis::{Diagnosis, Obstacle};
pub use env::Environment;
pub use fork::Fork;
pub use gs_ctl::StopMode;
pub use identity::{Identity, NodeContent};
use postmaster_pid::PostmasterPid;
pub use session::ClientTransaction;
pub use state::{
    BuildMode, BuildProgress, DbState, Endpoint, NodeState, Progress, Receiver, ReplicationSlot, Role,
    Sender, is_lost_primary_detail,
};
pub use state_file::StateFile;
pub use trial::Trial;
pub use version::{ProgramVersion, SERVER_PROGRAM, Version};
pub use wal::{LogPosition, WalRecord};

use control::ControlFile;

use crate::base::{Call, Error, Lsn, run_blocking};

/// One node: its data directory, and how to reach its programs. The environment is read when a program is first needed.
#[derive(Debug)]
pub struct ServerNode {
    /// The data directory.
    pub data_dir: PathBuf,
    env: tokio::sync::OnceCell<Environment>,
    version: tokio::sync::OnceCell<Option<ProgramVersion>>,
}

/// What came of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// The server was seen to take the new files.
    Taken,
    /// No server runs here; the files count at its next start.
    NotRunning,
    /// The server kept the old file; its own words. [`ReloadOutcome::is_refused`] tells which file they are about.
    Refused(Vec<String>),
    /// The server was signalled, but nothing could be seen of what it made of it; why.
    Unseen(String),
}

impl ServerNode {
    /// The node that the call is about.
    ///
    /// # Errors
    /// As [`Call::data_dir`].
    pub fn from_call(call: &Call) -> Result<Self, Error> {
        Ok(Self::new(call.data_dir()?))
    }

    /// The node in this data directory.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            env: tokio::sync::OnceCell::new(),
            version: tokio::sync::OnceCell::new(),
        }
    }

    /// The environment of openGauss's programs, learnt once.
    ///
    /// # Errors
    /// As [`Environment::from_call`].
    pub async fn env(&self, call: &Call) -> Result<&Environment, Error> {
        self.env.get_or_try_init(|| Environment::from_call(call)).await
    }

    /// Whether a server runs in the data directory: its pid, when the postmaster.pid there names a live process whose
    /// working directory is this data directory.
    #[must_use]
    pub fn running_pid(&self) -> Option<u32> {
        PostmasterPid::read(&self.data_dir).filter(|pid| pid.is_alive(&self.data_dir)).map(|pid| pid.pid)
    }

    /// What gaussdb.state says, of this run or the last one.
    #[must_use]
    pub fn state_file(&self) -> Option<StateFile> {
        StateFile::read(&self.data_dir)
    }

    /// What pg_control says; `None` when the node has no data yet.
    #[must_use]
    pub fn control(&self) -> Option<ControlFile> {
        ControlFile::read(&self.data_dir)
    }

    /// The user whose data directory it is.
    #[must_use]
    pub fn owner(&self) -> Option<String> {
        let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&self.data_dir).ok()?);
        nix::unistd::User::from_uid(uid.into()).ok().flatten().map(|user| user.name)
    }

    /// The build of this node that runs or died; `None` when there is neither.
    #[must_use]
    pub fn build(&self) -> Option<BuildProgress> {
        let pid = std::fs::read_to_string(self.data_dir.join("gs_build.pid")).ok();
        let pid = pid.and_then(|text| text.split_whitespace().next()?.parse::<u32>().ok());
        let pid = pid.filter(|pid| *pid > 0 && is_gs_ctl(*pid));
        let interrupted =
            pid.is_none() && (self.data_dir.join("build_completed.start").exists() || self.is_half_deleted());
        if pid.is_none() && !interrupted {
            return None;
        }
        let build = self.state_file().map(|file| file.build).unwrap_or_default();
        Some(BuildProgress { running: pid.is_some(), pid, interrupted, ..build })
    }

    /// Whether a full build died while it deleted the old data, which it does before it leaves its mark: its state is still
    /// that of a build, and the log or pg_control is gone. One that died before has changed nothing.
    fn is_half_deleted(&self) -> bool {
        let builds = |file: StateFile| {
            file.db_state == DbState::Building
                && matches!(file.build.mode, Some(BuildMode::Full | BuildMode::Auto | BuildMode::StandbyFull))
        };
        self.data_dir.join("gs_build.pid").exists()
            && self.running_pid().is_none()
            && self.state_file().is_some_and(builds)
            && !(self.has_log() && self.data_dir.join("global/pg_control").exists())
    }

    /// Whether there is a segment of the log.
    #[must_use]
    pub fn has_log(&self) -> bool {
        let segment = |entry: std::fs::DirEntry| {
            let name = entry.file_name();
            name.len() == 24 && name.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit)
        };
        // PostgreSQL's is in pg_wal.
        ["pg_xlog", "pg_wal"]
            .iter()
            .flat_map(|folder| std::fs::read_dir(self.data_dir.join(folder)))
            .any(|entries| entries.flatten().any(segment))
    }

    /// The state of the node: what `gs_ctl query` tells of a server that runs, else what its files tell. A stopped node
    /// is no error, and needs no gs_ctl.
    ///
    /// # Errors
    /// `not_found` when a server runs and there is no gs_ctl; `command_failed` when gs_ctl tells nothing of a server that
    /// runs before and after.
    pub async fn query(&self, call: &Call) -> Result<NodeState, Error> {
        let build = self.build();
        let file = self.state_file();
        let Some(pid) = self.running_pid() else {
            return Ok(self.stopped_state(file.as_ref(), build));
        };
        if postmaster_pid::is_frozen(pid) {
            // gs_ctl would wait ten seconds for it, and say the same.
            let last = self.stopped_state(file.as_ref(), build);
            let db_state = file.map_or(DbState::Unknown, |file| file.db_state);
            let detail = Some(format!("process {pid} is stopped (T)"));
            return Ok(NodeState { running: true, frozen: true, pid: Some(pid), db_state, detail, ..last });
        }
        let outcome = self.ctl_query(call).await?;
        let Some(mut state) = gs_ctl::parse_query(&outcome.stdout) else {
            return match self.running_pid() {
                None => Ok(self.stopped_state(self.state_file().as_ref(), self.build())),
                Some(_) => Err(Error::command(
                    format!("gs_ctl query tells nothing of the server that runs: {}", outcome.last_words()),
                    outcome.record(),
                )),
            };
        };
        state.pid = Some(pid);
        state.build = build;
        state.term = self.known_term(file.as_ref());
        state.lsn = state.receiver.as_ref().and_then(|r| r.progress.replay);
        if state.lsn.is_none() {
            let sent = state.senders.iter().filter_map(|s| s.progress.sent).max();
            state.lsn = sent;
        }
        Ok(state)
    }

    /// [`ServerNode::query`], and what takes more to learn: version, log position and slots, and [`ServerNode::query_surroundings`].
    ///
    /// # Errors
    /// As [`ServerNode::query`].
    pub async fn query_all(&self, call: &Call) -> Result<NodeState, Error> {
        let mut state = self.query(call).await?;
        if state.answered {
            // A server in the pending role answers gs_ctl and nobody else, so a failure here is no failure.
            let (version, asked) = tokio::join!(self.version(call), self.newest_and_slots(call));
            state.version = version.map(ToString::to_string);
            if let Ok((newest, slots)) = asked {
                state.lsn = newest.or(state.lsn);
                state.slots = Some(slots);
            }
        } else {
            state.version = self.version(call).await.map(ToString::to_string);
        }
        self.query_surroundings(call, &mut state).await;
        Ok(state)
    }

    /// Fills in what is told beside the server's own state: who else is in charge of it, and its tablespaces.
    pub async fn query_surroundings(&self, call: &Call, state: &mut NodeState) {
        state.managed_by = self.managed_by(call, false).await;
        if state.managed_by.by == managed::Manager::Cm {
            state.term = self.newest_term(self.state_file().as_ref());
        }
        state.tablespaces = self.tablespaces(call).await;
    }

    fn stopped_state(&self, file: Option<&StateFile>, build: Option<BuildProgress>) -> NodeState {
        NodeState {
            role: file.map_or(Role::Unknown, |f| f.role),
            db_state: match &build {
                Some(build) if build.running => DbState::Building,
                Some(_) => DbState::BuildFailed,
                None => DbState::Unknown,
            },
            static_connections: file.map(|f| f.static_connections),
            term: self.known_term(file),
            lsn: file.map(|f| f.lsn).filter(|lsn| lsn.is_valid()),
            build,
            ..NodeState::default()
        }
    }

    /// The term in gaussdb.state, else that of the file `term_file`.
    fn known_term(&self, file: Option<&StateFile>) -> Option<u64> {
        file.map(|file| file.term).filter(|term| *term > 0).or_else(|| self.term_file())
    }

    /// The newest term in the files of a node that CM runs. gaussdb.state has that of the last run as a standby, which is older than its own
    /// on a node that CM has made primary since: CM raises the term with each change of roles.
    fn newest_term(&self, file: Option<&StateFile>) -> Option<u64> {
        file.map(|file| file.term).into_iter().chain(self.term_file()).max().filter(|term| *term > 0)
    }

    /// The term in the file `term_file`, four bytes.
    fn term_file(&self) -> Option<u64> {
        let bytes = std::fs::read(self.data_dir.join("term_file")).ok()?;
        let word: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
        Some(u64::from(u32::from_le_bytes(word))).filter(|term| *term > 0)
    }

    /// The names (`application_name`) of the standbys that stream from this server; not of those that catch up.
    ///
    /// # Errors
    /// As [`ServerNode::sql`].
    pub async fn streaming_standbys(&self, call: &Call) -> Result<Vec<String>, Error> {
        let rows = self.sql_within(call, STREAMING, Duration::from_secs(30)).await?;
        Ok(rows.into_iter().flatten().map(|name| standby_name(&name).to_owned()).collect())
    }

    /// Reads how far the log goes that this node holds, written or received, and the newest term in it or in the node's files.
    /// A stopped server's files are read as its recovery would read them.
    pub async fn log_position(&self, call: &Call) -> LogPosition {
        let control = self.control();
        let file = self.state_file();
        let mut known = vec![file.as_ref().map(|file| file.lsn)];
        known.push(control.as_ref().and_then(|control| control.more.as_ref()).map(|more| more.lsn));
        // Megabytes of log are read, so the call's time limit must not wait for it.
        let dir = self.data_dir.clone();
        let read = run_blocking(move || wal::find_end(&dir, &control?)).await;
        let read = read.ok().flatten();
        known.push(read.map(|end| end.lsn));
        let mut is_end = read.is_some();
        if self.running_pid().is_some_and(|pid| !postmaster_pid::is_frozen(pid)) {
            let asked = self.sql_within(call, HELD, Duration::from_secs(10)).await;
            let columns = asked.into_iter().flatten().flatten();
            let told: Vec<_> = columns.filter_map(|text| position(&text)).map(Some).collect();
            is_end |= !told.is_empty();
            known.extend(told);
        }
        let terms = [read.and_then(|end| end.term), file.map(|file| file.term), self.term_file()];
        let lsn = known.into_iter().flatten().filter(|lsn| lsn.is_valid()).max();
        LogPosition {
            lsn,
            term: terms.into_iter().flatten().max().filter(|term| *term > 0),
            is_end,
            // Where other files tell of more than was read, there is more behind the last record that was.
            last_record: read.filter(|end| Some(end.lsn) >= lsn).and_then(|end| end.last),
        }
    }

    /// Reads the records of the log that begin at these LSNs, none where there is none or it was removed; and where the first
    /// segment begins that is there.
    pub async fn log_records(&self, lsns: &[Lsn]) -> (Vec<Option<WalRecord>>, Option<Lsn>) {
        let nothing = (vec![None; lsns.len()], None);
        let Some(control) = self.control() else { return nothing };
        let (dir, lsns) = (self.data_dir.clone(), lsns.to_vec());
        let read = run_blocking(move || {
            (wal::read_records(&dir, &control, &lsns), wal::find_oldest_lsn(&dir, &control))
        });
        read.await.unwrap_or(nothing)
    }

    /// The replication slots, with what each keeps of the log.
    ///
    /// # Errors
    /// As [`ServerNode::sql`].
    pub async fn slots(&self, call: &Call) -> Result<Vec<ReplicationSlot>, Error> {
        Ok(self.newest_and_slots(call).await?.1)
    }

    /// The newest log position (written on a primary, replayed on a standby) and the slots.
    async fn newest_and_slots(&self, call: &Call) -> Result<(Option<Lsn>, Vec<ReplicationSlot>), Error> {
        let mut rows = self.sql_within(call, SLOTS, Duration::from_secs(30)).await?.into_iter();
        let newest = rows.next().and_then(|row| position(row.first()?));
        Ok((newest, rows.filter_map(|row| slot(row, newest)).collect()))
    }
}

const HELD: &str = "select pg_last_xlog_receive_location()::text, pg_last_xlog_replay_location()::text, \
     case when pg_is_in_recovery() then null else pg_current_xlog_location()::text end";

const STREAMING: &str =
    "select application_name from pg_stat_replication where lower(state) = 'streaming' order by 1";

/// openGauss shows the standby dn_6002 as `WalSender to Standby[dn_6002]`.
#[must_use]
pub fn standby_name(shown: &str) -> &str {
    let inside = shown.strip_suffix(']').and_then(|text| text.split_once('['));
    inside.map_or(shown, |(_, name)| name)
}

/// First a row with the newest position, then the slots.
const SLOTS: &str = "select case when pg_is_in_recovery() then pg_last_xlog_replay_location()::text \
     else pg_current_xlog_location()::text end, null, null, null, 0 as place \
     union all select slot_name::text, slot_type::text, active::text, restart_lsn::text, 1 \
     from pg_replication_slots order by place, 1";

/// A log position; on a standby openGauss gives a pair of timeline and position, `(1,0/4000928)`.
fn position(text: &str) -> Option<Lsn> {
    let text = text.trim_matches(['(', ')']);
    let text = text.rsplit(',').next().unwrap_or(text);
    Lsn::parse(text).filter(|lsn| lsn.is_valid())
}

fn slot(row: Vec<String>, newest: Option<Lsn>) -> Option<ReplicationSlot> {
    let [name, kind, active, restart, _] = <[String; 5]>::try_from(row).ok()?;
    let restart_lsn = position(&restart);
    let kept = restart_lsn.zip(newest);
    let retained_bytes = kept.map(|(old, new)| new.bytes_since(old));
    Some(ReplicationSlot { name, kind, active: active.starts_with('t'), restart_lsn, retained_bytes })
}

/// Whether this process is a gs_ctl: a number from a file may by now belong to somebody else.
fn is_gs_ctl(pid: u32) -> bool {
    postmaster_pid::is_process_alive(pid)
        && std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.split(|b| *b == 0).take(2).any(|word| word.ends_with(b"gs_ctl")))
}
