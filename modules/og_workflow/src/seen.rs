//! What the programs told of one node when it was looked at, as far as workflows want to know it.

use std::collections::{BTreeMap, BTreeSet};

use og_common::gauss::cm_query::CmView;
use og_common::gauss::initdb::{Directory, Listed, RemovalObstacle};
use og_common::gauss::{ClientTransaction, ClusterLock, Diagnosis, Fork, Identity, NodeState, WalRecord};
use og_common::hba::{Refusal, RuleFields};
use og_common::protocol::{Lsn, deserialize_or_default};
use og_common::replconn::{ChannelEnd, NumberedChannel};
use og_preflight::facts::Facts;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::answer::Answer;

/// The programs that are asked, in this order.
pub const PROGRAMS: [&str; 6] =
    ["og_node_state", "og_guc", "og_hba", "og_replconninfo", "og_static_conf", "og_lock"];
/// The program that tells what clients do.
pub const SESSIONS: &str = "og_session";
/// The program that commits, and tells the times without a commit.
pub const PROBE: &str = "og_probe";
/// The program that tells of a data directory, whether one is there or not.
pub const INITDB: &str = "og_initdb";
/// The program that changes the operating system, as root: callers run it so.
pub const HOST: &str = "og_host";
/// Those of them that need no more than what the server itself must be able to read.
const SERVER_PROGRAMS: [&str; 2] = ["og_node_state", "og_guc"];

/// What is known of one node.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Why it could not be reached.
    pub unreachable: Option<String>,
    /// What to do about that, with which `unreachable` ends; none where its caller says nothing of it.
    pub unreachable_hint: Option<String>,
    /// What its programs could not do, each once.
    pub errors: Vec<String>,
    /// Why og_node_state could not tell its state.
    pub state_error: Option<String>,
    /// Whether that is as og_node_state is of another version there.
    pub has_other_version: bool,
    /// Why it was not let see the server's own files, being another user than the server's.
    pub denied: Option<String>,
    /// The owner of its data directory.
    pub os_user: Option<String>,
    /// Its server.
    pub state: NodeState,
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
    pub rules: Vec<RuleFields>,
    /// Lines of pg_hba.conf for which the server refuses the file.
    pub broken_lines: Vec<Refusal>,
    /// Far ends of its replication channels.
    pub peers: Vec<ChannelEnd>,
    /// Nodes of its static config as they are recorded.
    pub recorded: Vec<Map<String, Value>>,
    /// Whether it has live roles recorded.
    pub has_roles: bool,
    /// The lock that counts.
    pub lock: Option<ClusterLock>,
    /// A lock that has ended by itself.
    pub last_lock: Option<ClusterLock>,
    /// Seconds since either was taken.
    pub lock_age: Option<u64>,
    /// Transactions of clients that have been open for long, where they were asked for.
    pub transactions: Vec<ClientTransaction>,
    /// Its data directory, where it was asked for.
    pub directory: Option<Directory>,
    /// Why its data directory could not be looked at.
    pub directory_error: Option<String>,
    /// What belongs to the node, where that was asked for.
    pub listing: Vec<Listed>,
    /// What speaks against the removal of its data directory, where that was asked for.
    pub obstacles: Vec<RemovalObstacle>,
    /// Why the file of a password gives none, where one was asked for.
    pub password_problem: Option<String>,
    /// Whether there is no data directory, by what og_node_state said.
    pub no_directory: bool,
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

/// The records of a log, as og_node_state tells them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LogRecords {
    /// By the place that was asked for, the record that begins there.
    #[serde(rename = "log_records", deserialize_with = "deserialize_or_default")]
    pub records: BTreeMap<Lsn, Option<WalRecord>>,
    /// Where the log begins that is still there.
    #[serde(rename = "log_begin")]
    pub begin: Option<Lsn>,
}

impl LogRecords {
    /// Whether this log, which goes up to `end`, has the other one's record; none where that cannot be told.
    #[must_use]
    pub fn has_record(&self, record: &WalRecord, end: Option<Lsn>) -> Option<bool> {
        if let Some(own) = self.records.get(&record.begin)? {
            // What lies behind the end of a log was left there by an older one, and may look the same.
            let is_within = || end.is_some_and(|end| record.end <= end);
            return if own == record { is_within().then_some(true) } else { Some(false) };
        }
        // Not there, and neither removed nor still to come.
        (self.begin? <= record.begin && record.begin < end?).then_some(false)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OfNodeState {
    node: Option<NodeState>,
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
    errors: Option<Vec<Refusal>>,
}

#[derive(Deserialize)]
struct Entry {
    rule: Option<RuleFields>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OfReplconninfo {
    channels: Vec<NumberedChannel>,
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
    transactions: Vec<ClientTransaction>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OfInitdb {
    directory: Option<Directory>,
    listing: Vec<Listed>,
    obstacles: Vec<RemovalObstacle>,
    password_problem: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OfLock {
    lock: Option<ClusterLock>,
    previous: Option<ClusterLock>,
    age_s: Option<u64>,
}

impl Seen {
    /// Whether its data directory is still to be made.
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        self.directory.as_ref().is_some_and(|directory| directory.content.is_vacant())
    }

    /// Whether the node was reached, by one of its answers, of which nothing else is read.
    #[must_use]
    pub fn from_reach(answer: &Answer) -> Self {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let unreachable =
            answer.unreachable_reason().map(|why| text(why).unwrap_or_else(|| "no answer".to_owned()));
        let unreachable_hint = unreachable.as_ref().and_then(|_| text(answer.error_text("hint")));
        Self { unreachable, unreachable_hint, ..Self::default() }
    }

    /// From the answers of the programs by their names.
    #[must_use]
    pub fn from_answers(answers: &[(&str, Answer)]) -> Self {
        // The checks are beside the rest: what the node told otherwise counts, though their answer is lost.
        let mut told = answers.iter().filter(|(program, _)| *program != crate::plan::PREFLIGHT);
        let lost = told.find(|(_, answer)| answer.unreachable_reason().is_some());
        if let Some((_, answer)) = lost {
            return Self::from_reach(answer);
        }
        let mut seen = Self::default();
        for (program, answer) in answers {
            if *program == crate::plan::PREFLIGHT {
                match facts_of(answer) {
                    Ok(facts) => seen.facts = Some(Box::new(facts)),
                    Err(why) => seen.unchecked = Some(why),
                }
                continue;
            }
            let error = answer.error().or_else(|| seen.read_answer(program, answer).err());
            if *program == INITDB {
                seen.directory_error.clone_from(&error);
            }
            if *program == PROGRAMS[0] {
                seen.no_directory = answer.error_text("kind") == "not_found"
                    && answer.error_text("detail").starts_with("cannot open data_dir");
                seen.state_error.clone_from(&error);
                seen.has_other_version = answer.is_of_another_version();
            }
            if SERVER_PROGRAMS.contains(program) && answer.error_text("kind") == "permission" {
                seen.denied = seen.denied.or_else(|| error.clone());
            }
            if *program == "og_guc" && answer.error_text("kind") == "corrupt" {
                seen.conf_error.clone_from(&error);
            }
            // Where nothing of the data directory is found it is not the file that lacks.
            if *program == "og_hba" && answer.error_text("kind") == "not_found" && seen.state_error.is_none()
            {
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
                (self.parameters, self.running) = (told.after, told.running);
                self.pending_restart = told.restart_required;
            }
            "og_hba" => {
                let told: OfHba = answer.read().map_err(unreadable)?;
                self.rules = told.rules.unwrap_or_default().into_iter().filter_map(|e| e.rule).collect();
                self.broken_lines = told.errors.unwrap_or_default();
            }
            "og_replconninfo" => {
                let told: OfReplconninfo = answer.read().map_err(unreadable)?;
                self.peers = told.channels.into_iter().map(|numbered| numbered.channel.remote).collect();
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
            INITDB => {
                let told: OfInitdb = answer.read().map_err(unreadable)?;
                (self.directory, self.listing, self.obstacles) =
                    (told.directory, told.listing, told.obstacles);
                self.password_problem = told.password_problem;
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
