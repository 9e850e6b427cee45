//! What the programs told of one node when it was looked at, as far as workflows want to know it.

use std::collections::{BTreeMap, BTreeSet};

use og_common::gauss::cm_query::CmView;
use og_common::gauss::managed::ManagedBy;
use og_common::gauss::tablespaces::Tablespaces;
use og_common::gauss::{BuildProgress, DbState, Diagnosis, Fork, Identity, LogRecord, Role};
use og_common::protocol::Lsn;
use og_preflight::facts::Facts;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::answer::Answer;
use crate::cluster::canonical;

/// The programs that are asked, in this order.
pub const PROGRAMS: [&str; 6] =
    ["og_node_state", "og_guc", "og_hba", "og_replconninfo", "og_static_conf", "og_lock"];
/// The program that tells what clients do.
pub const SESSIONS: &str = "og_session";
/// Those of them that need no more than what the server itself must be able to read.
const OF_THE_SERVER: [&str; 2] = ["og_node_state", "og_guc"];

/// What is known of one node.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Why it could not be reached.
    pub unreachable: Option<String>,
    /// What its programs could not do, each once.
    pub errors: Vec<String>,
    /// Why og_node_state could not tell its state.
    pub state_error: Option<String>,
    /// Why it was not let see the server's own files, being another user than the server's.
    pub denied: Option<String>,
    /// The owner of its data directory.
    pub os_user: Option<String>,
    /// Its server.
    pub state: ServerState,
    /// What tells it from other nodes.
    pub identity: Identity,
    /// Why its server is not well, where that was asked for and it is not.
    pub diagnosis: Option<Diagnosis>,
    /// The failovers that are recorded there, the newest last.
    pub forks: Vec<Fork>,
    /// The records of its log that it was asked for.
    pub log_records: LogRecords,
    /// What openGauss CM says of the cluster, where it was asked.
    pub cm: Option<CmView>,
    /// Why the host by which the others reach it is no address of its machine.
    pub not_here: Option<String>,
    /// Parameters in postgresql.conf, null where not set.
    pub parameters: BTreeMap<String, Option<String>>,
    /// Why the server takes nothing of its postgresql.conf, with the line.
    pub conf_error: Option<String>,
    /// Those of them that its server runs with.
    pub running: BTreeMap<String, String>,
    /// Parameters, of those asked for, whose value in postgresql.conf counts only after a restart that is still to come.
    pub pending_restart: BTreeSet<String>,
    /// That there is no pg_hba.conf, as one of `errors` says.
    pub no_rules: Option<String>,
    /// Rules of pg_hba.conf.
    pub rules: Vec<RuleRecord>,
    /// Lines of pg_hba.conf for which the server refuses the file.
    pub broken_lines: Vec<BrokenLine>,
    /// Far ends of its replication channels.
    pub peers: Vec<End>,
    /// Nodes of its static config as they are recorded.
    pub recorded: Vec<Map<String, Value>>,
    /// Whether it has live roles recorded.
    pub has_roles: bool,
    /// The lock that counts.
    pub lock: Option<Lock>,
    /// A lock that has ended by itself.
    pub last_lock: Option<Lock>,
    /// Seconds since either was taken.
    pub lock_age: Option<u64>,
    /// Transactions of clients that have been open for long, where they were asked for.
    pub transactions: Vec<Transaction>,
    /// What its preflight checks look at, where they were asked for.
    pub facts: Option<Box<Facts>>,
    /// Why these checks could not be made.
    pub unchecked: Option<String>,
}

/// Returns the facts of a node from the answer of og_preflight, with the times at which its caller sent the call and had the
/// answer.
///
/// # Errors
/// Why there are none.
pub fn facts_of(answer: &Answer) -> Result<Facts, String> {
    if let Some(why) = answer.error() {
        return Err(why);
    }
    let told: OfPreflight = answer.read().map_err(|e| format!("its facts cannot be read: {e}"))?;
    let mut facts = told.facts.ok_or("it told no facts")?;
    facts.clock.sent_at = told.sent_at.or(facts.clock.sent_at);
    facts.clock.received_at = told.received_at.or(facts.clock.received_at);
    Ok(facts)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OfPreflight {
    facts: Option<Facts>,
    sent_at: Option<u64>,
    received_at: Option<u64>,
}

/// How far a log goes, as og_node_state tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LogPosition {
    /// The end of its last record.
    pub lsn: Option<Lsn>,
    /// The newest term of a primary that the node knows.
    pub term: Option<u64>,
    /// Whether the log was read to its end.
    pub is_end: bool,
    /// The last record that recovery would replay.
    pub last_record: Option<LogRecord>,
}

/// The records of a log, as og_node_state tells them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LogRecords {
    /// By the place that was asked for, the record that begins there.
    #[serde(rename = "log_records")]
    pub records: BTreeMap<String, Option<LogRecord>>,
    /// Where the log begins that is still there.
    #[serde(rename = "log_begin")]
    pub begin: Option<Lsn>,
}

impl LogRecords {
    /// Whether this log, which goes up to `end`, has the other one's record; none where that cannot be told.
    #[must_use]
    pub fn have(&self, record: &LogRecord, end: Option<Lsn>) -> Option<bool> {
        if let Some(own) = self.records.get(&record.begin)? {
            // What lies behind the end of a log was left there by an older one, and may look the same.
            let is_within = || Some(Lsn::parse(&record.end)? <= end?);
            return if own == record { is_within().filter(|is| *is) } else { Some(false) };
        }
        // Not there, and neither removed nor still to come.
        let (begin, place) = (self.begin?, Lsn::parse(&record.begin)?);
        (begin <= place && place < end?).then_some(false)
    }
}

/// A transaction of a client, as og_session tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Transaction {
    /// The process, or thread, that serves the client.
    pub pid: u64,
    /// Who.
    pub user: String,
    /// In which database.
    pub database: String,
    /// Seconds since it began.
    pub age_s: u64,
}

/// A server, as `og_node_state` tells it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServerState {
    /// Whether it runs.
    pub running: bool,
    /// Its process.
    pub pid: Option<u32>,
    /// Whether the server itself answered.
    pub answered: bool,
    /// Whether its process is stopped (T).
    pub frozen: bool,
    /// Its role, of a stopped one that of its last run.
    pub role: Role,
    /// The release of its program, where it was asked for.
    pub version: Option<String>,
    /// Term of the primary that it knows.
    pub term: Option<u64>,
    /// Newest log position: written on a primary, replayed on a standby.
    pub lsn: Option<Lsn>,
    /// How it fares.
    pub db_state: Option<DbState>,
    /// Why.
    pub detail: Option<String>,
    /// Who receives from it.
    pub senders: Vec<Sender>,
    /// From whom it receives.
    pub receiver: Option<Receiver>,
    /// A build of it, where one runs or has died.
    pub build: Option<BuildProgress>,
    /// Its replication slots, where it was asked for them.
    pub slots: Option<Vec<SlotState>>,
    /// Who else is in charge of it.
    pub managed_by: ManagedBy,
    /// Its tablespaces, where it has any.
    pub tablespaces: Option<Tablespaces>,
}

/// One receiver.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Sender {
    /// The other end.
    pub peer: Option<PeerAddress>,
    /// What the other end is.
    pub peer_role: Role,
    /// `sync`, `async`, …
    pub sync_state: Option<String>,
    /// How far behind it is.
    pub lag_bytes: Option<u64>,
}

/// A connection by which a server receives.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Receiver {
    /// The other end.
    pub peer: Option<PeerAddress>,
    /// Log position that it has received.
    pub received: Option<Lsn>,
    /// That it has written to disk.
    pub flush: Option<Lsn>,
    /// That it has replayed.
    pub replay: Option<Lsn>,
}

/// An address.
#[derive(Clone, Debug, Deserialize)]
pub struct PeerAddress {
    /// The address.
    pub host: String,
}

/// A replication slot.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SlotState {
    /// Its name.
    pub name: String,
    /// `physical` or `logical`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether somebody is connected to it.
    pub active: bool,
    /// Bytes of log that it retains; null when it retains none.
    pub retained_bytes: Option<u64>,
}

/// A rule of pg_hba.conf, as `og_hba` tells and takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RuleRecord {
    /// `host` and so on.
    #[serde(rename = "type")]
    pub kind: String,
    /// The databases.
    pub databases: Vec<String>,
    /// The users.
    pub users: Vec<String>,
    /// From where they come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The address's mask, where it is not in the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netmask: Option<String>,
    /// How they show who they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The method's options.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Map<String, Value>>,
}

impl RuleRecord {
    /// What makes two rules of type host the same, their method aside.
    pub(crate) fn identity(&self) -> (BTreeSet<&str>, BTreeSet<&str>, String, &str) {
        fn set(list: &[String]) -> BTreeSet<&str> {
            list.iter().map(String::as_str).collect()
        }
        let address = self.address.as_deref().unwrap_or_default();
        let (host, bits) = address.split_once('/').unwrap_or((address, ""));
        (set(&self.databases), set(&self.users), canonical(host), bits)
    }
}

/// A line for which the server refuses pg_hba.conf.
#[derive(Clone, Debug, Deserialize)]
pub struct BrokenLine {
    /// Its number.
    pub line: u64,
    /// What is wrong.
    pub message: String,
}

/// One end of a replication channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The address.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A replication channel as og_replconninfo tells it.
#[derive(Clone, Debug, Deserialize)]
pub struct ChannelRecord {
    /// Its number.
    pub number: u32,
    /// The other node's end.
    pub remote: Option<End>,
}

/// A lock on the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Lock {
    /// Who holds it.
    pub owner: String,
    /// What for.
    pub purpose: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OfNodeState {
    node: Option<ServerState>,
    os_user: Option<String>,
    identity: Option<Identity>,
    diagnosis: Option<Diagnosis>,
    forks: Vec<Fork>,
    cm: Option<CmView>,
    #[serde(flatten)]
    log_records: LogRecords,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OfGuc {
    after: BTreeMap<String, Option<String>>,
    running: BTreeMap<String, String>,
    restart_required: BTreeSet<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OfHba {
    rules: Option<Vec<Entry>>,
    errors: Option<Vec<BrokenLine>>,
}

#[derive(Deserialize)]
struct Entry {
    rule: Option<RuleRecord>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OfReplconninfo {
    channels: Vec<ChannelRecord>,
    local: Option<LocalHost>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LocalHost {
    problem: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OfStaticConf {
    nodes: Option<Vec<Map<String, Value>>>,
    roles: Option<Map<String, Value>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OfSession {
    transactions: Vec<Transaction>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OfLock {
    lock: Option<Lock>,
    previous: Option<Lock>,
    age_s: Option<u64>,
}

impl Seen {
    /// From the answers of the programs by their names.
    #[must_use]
    pub fn from_answers(answers: &[(&str, Answer)]) -> Self {
        let mut seen = Self::default();
        // The checks are beside the rest: what the node told otherwise counts, though their answer is lost.
        let mut told = answers.iter().filter(|(program, _)| *program != crate::plan::PREFLIGHT);
        let lost = told.find_map(|(_, answer)| answer.unreachable_reason());
        if let Some(why) = lost {
            seen.unreachable = Some(if why.is_empty() { "no answer".to_owned() } else { why.to_owned() });
            return seen;
        }
        for (program, answer) in answers {
            if *program == crate::plan::PREFLIGHT {
                match facts_of(answer) {
                    Ok(facts) => seen.facts = Some(Box::new(facts)),
                    Err(why) => seen.unchecked = Some(why),
                }
                continue;
            }
            let error = answer.error().or_else(|| seen.read_answer(program, answer).err());
            if *program == PROGRAMS[0] {
                seen.state_error.clone_from(&error);
            }
            if OF_THE_SERVER.contains(program) && answer.of_error("kind") == "permission" {
                seen.denied = seen.denied.or_else(|| error.clone());
            }
            if *program == "og_guc" && answer.of_error("kind") == "corrupt" {
                seen.conf_error.clone_from(&error);
            }
            // Where nothing of the data directory is found it is not the file that lacks.
            if *program == "og_hba" && answer.of_error("kind") == "not_found" && seen.state_error.is_none() {
                seen.no_rules.clone_from(&error);
            }
            seen.errors.extend(error.filter(|text| !seen.errors.contains(text)));
        }
        seen
    }

    fn read_answer(&mut self, program: &str, answer: &Answer) -> Result<(), String> {
        let unreadable = |e: String| format!("the answer of {program} cannot be understood: {e}");
        match program {
            "og_node_state" => {
                let told: OfNodeState = answer.read().map_err(unreadable)?;
                self.state = told.node.unwrap_or_default();
                self.os_user = told.os_user;
                self.identity = told.identity.unwrap_or_default();
                self.diagnosis = told.diagnosis;
                self.cm = told.cm;
                (self.forks, self.log_records) = (told.forks, told.log_records);
            }
            "og_guc" => {
                let told: OfGuc = answer.read().map_err(unreadable)?;
                // It may be asked twice: for some parameters by name, and for all that are set.
                self.parameters.extend(told.after);
                self.running.extend(told.running);
                self.pending_restart.extend(told.restart_required);
            }
            "og_hba" => {
                let told: OfHba = answer.read().map_err(unreadable)?;
                self.rules = told.rules.unwrap_or_default().into_iter().filter_map(|e| e.rule).collect();
                self.broken_lines = told.errors.unwrap_or_default();
            }
            "og_replconninfo" => {
                let told: OfReplconninfo = answer.read().map_err(unreadable)?;
                self.peers = told.channels.into_iter().filter_map(|c| c.remote).collect();
                self.not_here = told.local.and_then(|local| local.problem);
            }
            "og_static_conf" => {
                let told: OfStaticConf = answer.read().map_err(unreadable)?;
                self.recorded = told.nodes.unwrap_or_default();
                self.has_roles = told.roles.is_some_and(|roles| !roles.is_empty());
            }
            SESSIONS => {
                let told: OfSession = answer.read().map_err(unreadable)?;
                self.transactions = told.transactions;
            }
            "og_lock" => {
                let told: OfLock = answer.read().map_err(unreadable)?;
                (self.lock, self.last_lock, self.lock_age) = (told.lock, told.previous, told.age_s);
            }
            _ => {}
        }
        Ok(())
    }
}
