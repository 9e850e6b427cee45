//! Arguments and result.

use std::collections::BTreeMap;

use og_common::gauss::initdb::Compatibility;
use og_common::hba::Method;
use og_common::protocol::Bytes;
use og_preflight::args::Purpose;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::health::ClusterHealth;
use crate::plan::Case;
use crate::steps::{Collected, NodePreflight};

pub use crate::steps::Workflow;

/// Arguments of og_workflow.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Args {
    /// What to do.
    pub workflow: Workflow,
    /// The nodes to add, to drop or to repair, by their names in the cluster.
    #[serde(default)]
    pub targets: Vec<String>,
    /// Options of the workflow; those that are not given may stand in the cluster's `vars`.
    #[serde(default)]
    #[schemars(with = "Options")]
    pub options: Map<String, Value>,
    /// The cluster.
    pub cluster: Option<Described>,
    /// Who runs the workflow and holds the lock meanwhile, as `user@machine pid N start T`.
    pub owner: Option<String>,
    /// The process on this machine that runs the workflow, in place of `owner`.
    pub pid: Option<u32>,
    /// What the calls that were asked for so far have answered, in their order; null stands for one that said nothing.
    #[serde(default)]
    pub answers: Vec<Value>,
    /// The record of the run, which is written on this machine: `new` in the first call, then what the result says as `record`,
    /// which is no path where it could not be begun.
    /// Without it nothing is written.
    pub record: Option<String>,
    /// Hosts of the cluster that the caller cannot call in this run, such as those outside Ansible's `--limit`.
    #[serde(default)]
    pub left_out: Vec<String>,
    /// The names of the variables that the caller was given, of all nodes and whatever their values; a name that begins as an
    /// option's and is none is refused.
    #[serde(default)]
    pub variables: Vec<String>,
}

/// A cluster, in the shape of Ansible's inventory and Salt's pillar.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Described {
    /// The nodes by name, and of each: `id` (its number, from 1), `role` (`primary`, `standby`, `cascade_standby`),
    /// `address` (by which the nodes reach each other), `ssh` (`[user@]host[:port]`, where that is not enough) and what
    /// `vars` may have.
    #[schemars(with = "BTreeMap<String, BTreeMap<String, Value>>")]
    pub hosts: Map<String, Value>,
    /// What counts for all nodes: `data_dir`, `base_port` (26000), `ssh_user`, `ssh_port`, `zone` (AZ1), `env_file`,
    /// `gauss_home`, `os_user`, and options.
    #[schemars(schema_with = "vars")]
    pub vars: Map<String, Value>,
    /// By what the nodes are reached and where that stands, for the message that none of them could be: such as
    /// `the addresses, ssh users and ports in cluster.json`.
    pub reached_by: Option<String>,
}

/// The options among the variables have their types, which whoever writes them as text gets them in, too; the rest is
/// left as it is.
fn vars(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = Options::json_schema(generator);
    schema.remove("description");
    schema.insert("additionalProperties".to_owned(), true.into());
    schema
}

/// The options, by the names that they have with every caller. Which workflow takes which says
/// [`WORKFLOWS`](crate::steps::WORKFLOWS); what no workflow names there all of them take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(clippy::struct_excessive_bools)] // They are variables of the callers, one by one.
pub struct Options {
    /// Seconds after which a node that does not answer counts as unreachable.
    pub og_look_timeout: u64,
    /// Seconds after which the lock of a run on another controller ends by itself. A run that was killed on this
    /// controller is recognised and keeps nobody out.
    pub og_lock_ttl: u64,
    /// Take the lock from whoever holds it.
    pub og_lock_force: bool,
    /// Seconds to wait for a node to stream and catch up.
    pub og_wait_timeout: u64,
    /// Bytes that a node may be behind and still count as caught up; a switchover to a standby further behind is refused.
    pub og_max_lag_bytes: Bytes,
    /// `synchronous_standby_names` of the primary. A new node gets what the primary had; the other standbys keep theirs.
    pub og_sync_standbys: SyncStandbys,
    /// How many synchronous standbys a commit waits for, with `any` and `first`: a number, `majority` or `keep`.
    #[serde(deserialize_with = "word")]
    #[schemars(schema_with = "how_many")]
    pub og_sync_num: String,
    /// Method of the pg_hba.conf rules by which the nodes let each other in; an existing rule with another method is kept.
    #[schemars(schema_with = "method")]
    pub og_hba_method: String,
    /// How to build the new nodes; one that streams already is not built again.
    pub og_build_mode: BuildMode,
    /// Build over a node that last ran as a primary or a single server of its own; what it holds is lost.
    pub og_build_force: bool,
    /// Build a node only if it has room for the primary's data; what its old copy occupies counts as free.
    pub og_build_room: bool,
    /// Maximum number of nodes that are built in parallel; 0: as many as the primary has WAL senders for.
    pub og_build_parallel: usize,
    /// Roll back when a step fails: the new nodes are stopped, their channels, rules and slots are removed, and their
    /// parameters are restored; nodes that were members before stay. There is no rollback when another node has become
    /// primary meanwhile.
    pub og_rollback: bool,
    /// The change that the nodes are checked for.
    pub og_preflight_for: Purpose,
    /// The nodes that the change is about, such as `n3,n4`: those to be added, dropped or rebuilt, or the standby that is to
    /// become primary.
    pub og_preflight_nodes: String,
    /// Ids of og_preflight checks whose errors do not stop the workflow, such as `clock.difference,same.user`; they are reported as
    /// accepted. `preflight` accepts that the checks could not be made on a node.
    pub og_accept: String,
    /// What synchronous commits do while a channel is removed: openGauss before 6.0 then ends all replication connections of that
    /// server, and its standbys are back after two to three seconds.
    pub og_drop_commits: DropCommits,
    /// Clear the replication channels of the dropped node, so that it cannot come back by itself.
    pub og_drop_clear: bool,
    /// Also repair the named nodes where that discards data that the primary may not have: an old primary,
    /// a log that differs or may differ, a longer one, a newer term, or data of another database system; and, of two
    /// primaries, the one that is named.
    pub og_repair_force: bool,
    /// Absolute path, on the node that is named, of a copy of its postgresql.conf: it is brought back where the server refuses
    /// the present file, which is kept beside it.
    pub og_repair_backup: String,
    /// What happens to the data directory of a node that is cleared.
    pub og_clear_mode: ClearMode,
    /// The names in the data directories of the cleared nodes, such as `dn_6002`: they confirm that these may be deleted for good,
    /// or cleared although they last ran as a single node or never ran. An old primary is refused all the same.
    pub og_confirm_clear: String,
    /// Locale of the databases of a new cluster.
    pub og_locale: String,
    /// Encoding of the databases of a new cluster.
    pub og_encoding: String,
    /// SQL compatibility of the databases of a new cluster: Oracle (`A`), MySQL (`B`), Teradata (`C`) or PostgreSQL (`PG`).
    pub og_compatibility: Compatibility,
    /// Absolute path, on the node that becomes the primary of a new cluster, of a file whose first line is the password of the
    /// initial user. A new cluster needs it: openGauss refuses every statement of an initial user without a password.
    pub og_password_file: String,
    /// The file of openGauss's package on the controller, of the server or of a whole release. It is carried to the nodes that lack it
    /// and unpacked beside `gauss_home`, which becomes a link to it. Without it the program files must be there already.
    pub og_package: String,
    /// A folder on the controller with certificates: `cacert.pem`, and for each node, by its name, `NODE/server.crt` and
    /// `NODE/server.key`, such as `og certificates` makes. New nodes get their files and have SSL on. Without it they get none.
    pub og_ssl: String,
    /// Absolute path, on all nodes, of a cluster_config.xml that is written for openGauss's OM tools.
    pub og_xml: String,
    /// Also prepare the operating system of the nodes: deploy makes the user and the folder around the data directory and sets what
    /// og_preflight advises. og_host does it as root: by `become` of Ansible, by Salt's minion,
    /// and by `sudo` without a password where ssh does not lead to root.
    pub og_host: bool,
    /// With `og_host`: each node starts with its machine, in its last role, by a unit of systemd that og_host writes; the program
    /// og_node_state must be in `/usr/local/bin` or `/usr/bin` of the nodes. A node that was primary waits until all others answer.
    pub og_unit: bool,
    /// Also remove what og_host made on the machines of the cleared nodes; og_host does it as root.
    pub og_host_absent: bool,
    /// Also remove the program files of the cleared nodes and the cluster's files beside them, where og_package unpacked them and no
    /// other node of the host uses them.
    pub og_package_absent: bool,
    /// Names and values of the parameters to set, such as `{"max_connections": 500}`; the value is plain text, number or
    /// bool, without quotes.
    #[schemars(schema_with = "parameters")]
    pub og_parameters: Map<String, Value>,
    /// When the parameters are set, restart the nodes on which one of them counts only after a restart, as the workflow restart does.
    pub og_configure_restart: bool,
    /// What to do when commits would wait for a standby while it is restarted, as too few others stream for
    /// `synchronous_standby_names`.
    pub og_restart_commits: RestartCommits,
    /// Seconds to wait, before a node is restarted, until no client has an open transaction there; if one is still open then, the
    /// node is not restarted. 0: do not wait; the restart ends open transactions.
    pub og_wait_sessions: u64,
    /// After the old primary was restarted, make it primary again, by a second switchover.
    pub og_switch_back: bool,
    /// What to do about transactions that clients have had open for more than 15 seconds; the change of roles ends them.
    pub og_long_transactions: LongTransactions,
    /// A node that is the primary, or may be, and is known to be dead, such as `n1`: its host was switched off, or its server may be
    /// ended.
    pub og_confirm_dead: String,
    /// Fail over even if that loses commits that another node holds.
    pub og_accept_loss: bool,
    /// Fail over although another failover was made within the last hour.
    pub og_failover_force: bool,
    /// Members that cannot take part, such as `n4`: the workflow goes on without them.
    pub og_without: String,
    /// Commit while the cluster is changed, about 50 times a second, and tell the longest time without a commit. On each member a client
    /// of ours changes the one row of its table `og_probe` in the database postgres; the table is dropped at the end.
    pub og_probe: bool,
    /// Which runs leave a record on the controller, a folder in `$XDG_STATE_HOME/opengauss-node/runs` that `og history` shows.
    pub og_record: RecordRuns,
    /// Command on the controller with its arguments, such as `["/usr/local/bin/notify", "dba"]`, that gets the outcome of a recorded
    /// run as a line of JSON on its standard input.
    pub og_notify: Vec<String>,
    /// How many of the newest lines of each server's log are collected.
    #[schemars(range(max = 5_000))]
    pub og_log_lines: usize,
}

/// Parameters and their values.
fn parameters(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } })
}

/// As og_guc takes it. What it would refuse is refused here: the nodes are built before it is asked.
fn how_many(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "anyOf": [
            { "type": "integer", "minimum": 1, "maximum": 1000 },
            { "type": "string", "enum": ["majority", "keep"] }
        ]
    })
}

/// The methods that let a host in and may stand in a line for one.
fn method(_: &mut SchemaGenerator) -> Schema {
    let others = [Method::Reject, Method::Peer, Method::Cert];
    let words: Vec<_> = Method::ALL.into_iter().filter(|m| !others.contains(m)).map(Method::as_str).collect();
    json_schema!({ "type": "string", "enum": words })
}

/// A word, or a number as a word.
fn word<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::String(text) => text,
        other => other.to_string(),
    })
}

impl Default for Options {
    fn default() -> Self {
        Self {
            og_look_timeout: 60,
            og_lock_ttl: 86400,
            og_lock_force: false,
            og_wait_timeout: 300,
            og_max_lag_bytes: Bytes::new(16 << 20),
            og_sync_standbys: SyncStandbys::Keep,
            og_sync_num: "majority".to_owned(),
            og_hba_method: "trust".to_owned(),
            og_build_mode: BuildMode::Auto,
            og_build_force: false,
            og_build_room: true,
            og_build_parallel: 0,
            og_rollback: true,
            og_preflight_for: Purpose::Any,
            og_preflight_nodes: String::new(),
            og_accept: String::new(),
            og_drop_commits: DropCommits::Protected,
            og_drop_clear: false,
            og_repair_force: false,
            og_repair_backup: String::new(),
            og_clear_mode: ClearMode::Moved,
            og_confirm_clear: String::new(),
            og_locale: "C".to_owned(),
            og_encoding: "UTF8".to_owned(),
            og_compatibility: Compatibility::A,
            og_password_file: String::new(),
            og_package: String::new(),
            og_ssl: String::new(),
            og_xml: String::new(),
            og_host: false,
            og_unit: false,
            og_host_absent: false,
            og_package_absent: false,
            og_parameters: Map::new(),
            og_configure_restart: false,
            og_restart_commits: RestartCommits::Refuse,
            og_wait_sessions: 0,
            og_switch_back: false,
            og_long_transactions: LongTransactions::Refuse,
            og_confirm_dead: String::new(),
            og_accept_loss: false,
            og_failover_force: false,
            og_without: String::new(),
            og_probe: false,
            og_record: RecordRuns::Changes,
            og_notify: Vec::new(),
            og_log_lines: 500,
        }
    }
}

/// What becomes of synchronous_standby_names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SyncStandbys {
    /// It stays as it was; it is empty only while a single node gets its first standby.
    Keep,
    /// It stays empty where it had to be emptied.
    None,
    /// The new standbys are added to it in the form ANY; in place of `*` with all that stream.
    Any,
    /// The same in the form FIRST.
    First,
}

/// How to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BuildMode {
    /// Incremental where that is possible, else full.
    Auto,
    /// What differs is copied.
    Incremental,
    /// Everything is copied.
    Full,
}

/// What happens to the data directory of a node that is cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClearMode {
    /// It is renamed, with `.moved-` and the time behind its name, and keeps all that it holds.
    Moved,
    /// It is deleted; `og_confirm_clear` must name the node as its data directory does.
    Deleted,
}

/// What commits do while a channel is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DropCommits {
    /// They wait for that long, and none is without its second copy.
    Protected,
    /// They go on, with `most_available_sync`, and for that long none has a second copy.
    Available,
}

/// What becomes of commits while a node is restarted for which they wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestartCommits {
    /// Restart nothing, and name the node that they would wait for.
    Refuse,
    /// They wait until it streams again.
    Wait,
}

/// What becomes of transactions that have been open for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LongTransactions {
    /// Do not begin while there are any.
    Refuse,
    /// Wait until they end.
    Wait,
    /// End their sessions.
    Cancel,
}

/// Which runs leave a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordRuns {
    /// Those of workflows that change the cluster, but not in check mode.
    Changes,
    /// All, status, preflight and check mode included.
    All,
    /// None.
    None,
}

/// The module's own keys of the result; one of `next`, `outcome` and `plan` is there, or what `owner` asks for.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Output {
    /// What is to be called now. The same call with the answers added says what comes then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
    /// What came of the workflow, at its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// With workflow: owner: whether the run is no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over: Option<bool>,
    /// With workflow: package: the file that `og_package` names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<PackageFile>,
    /// With workflow: certificates: what is in the folder that `og_ssl` names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates: Option<CertificateFolder>,
    /// The record of the run, for the next call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
}

/// The file of a package on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PackageFile {
    /// Its absolute path.
    pub path: String,
    /// Its size.
    pub size: Bytes,
    /// SHA-256 of its content; none where it cannot be a package.
    pub sha256: Option<String>,
    /// Why it cannot be one.
    pub problem: Option<String>,
}

/// A folder with the certificates of nodes on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CertificateFolder {
    /// By node, the files that it gets.
    pub nodes: BTreeMap<String, Vec<CertificateFile>>,
    /// Why they cannot be used.
    pub problems: Vec<String>,
    /// What to look at although they can.
    pub warnings: Vec<String>,
}

/// One of these files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CertificateFile {
    /// Its absolute path.
    pub path: String,
    /// Its name in the node's data directory.
    pub name: String,
    /// Its size.
    pub size: Bytes,
    /// SHA-256 of its content.
    pub sha256: String,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Next {
    /// Its name, which it has in the playbooks, too.
    pub step: String,
    /// The calls, which go side by side; their answers are wanted in this order.
    pub calls: Vec<NodeCall>,
    /// So many answers still count; the later ones are to be left away.
    pub keep: usize,
    /// Seconds to wait before the calls: something is not over yet, and is asked for once more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Whether another step on the nodes, of the same user, follows whatever the answers are, for a caller that prepares steps
    /// beforehand; it is no promise, for a step that fails may end the run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// What a caller that shows the nodes' answers makes of them.
    #[serde(flatten)]
    pub shown: Shown,
}

/// How the answers of a step are to be shown; what they mean is decided by the workflow alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Shown {
    /// Which of the answers count as a change of their node.
    pub counts: Counts,
    /// A call that fails is no failure of its node; the workflow tells what comes of it.
    pub may_fail: bool,
}

/// Which answers count as a change of their node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Counts {
    /// Those that say `changed`.
    #[default]
    Changed,
    /// None: nothing of the cluster changes.
    Never,
    /// All: in check mode, of what will change something only after the steps before it were made.
    Always,
    /// Those that say `changed`, and those that fail: in check mode, of what needs the steps before it.
    Failed,
}

impl Counts {
    /// Whether an answer that says this counts as a change.
    #[must_use]
    pub fn is_change(self, changed: bool, failed: bool) -> bool {
        match self {
            Self::Changed => changed,
            Self::Never => false,
            Self::Always => true,
            Self::Failed => changed || failed,
        }
    }
}

/// One call of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NodeCall {
    /// The node; none for a call on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// What the program's `--host` takes; none for a call on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The program.
    pub program: String,
    /// Its arguments.
    pub args: Map<String, Value>,
    /// The file that the program receives, which is og_file: as long as its answer has the reason `content_wanted`, the caller calls
    /// it again with the same arguments and the piece of `from` that begins at the answer's `offset`, as `offset` and `content`. The
    /// last answer counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub put: Option<PutFile>,
    /// Whether the caller adds to the answer between which times the program ran, by the caller's own clock: `sent_at` and
    /// `received_at`, in milliseconds since 1970. The closer they are, the more exactly are the clocks of the nodes compared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub timed: bool,
}

impl NodeCall {
    /// Whether it is one that changes nothing, and of which a failure means nothing by itself.
    #[must_use]
    pub fn is_inspection(&self) -> bool {
        self.args.get("state").is_some_and(|state| state == "query")
    }
}

/// A file that a caller carries from its own machine to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PutFile {
    /// Its path on the caller's machine.
    pub from: String,
    /// Its absolute path on the node.
    pub to: String,
    /// The SHA-256 of its content.
    pub sha256: String,
    /// Its mode there, such as `0600`.
    pub mode: String,
}

/// What came of a workflow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Outcome {
    /// Whether it failed.
    pub failed: bool,
    /// Whether something was done and not all of it; running it again goes on.
    pub incomplete: bool,
    /// Why it failed, for programs, where there is a word for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg: Option<String>,
    /// Whether it changed anything; in check mode, whether it would.
    pub changed: bool,
    /// What was changed, or would be, in order.
    pub changes: Vec<Change>,
    /// Things to look at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What stood against the workflow before its first change, one sentence each; with workflow: status, what is wrong with
    /// the cluster. `msg` has all of them.
    pub findings: Vec<String>,
    /// The cluster as lines of a table.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub table: Vec<String>,
    /// With workflow: repair, the nodes that needed repair, and why, in the order in which it was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causes: Option<Vec<Case>>,
    /// With workflow: preflight, what was found on each node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preflight: Option<Vec<NodePreflight>>,
    /// With workflow: collect, what the programs on the nodes answered, until it is written into a file.
    #[serde(skip)]
    pub collected: Option<Collected>,
    /// With workflow: status, the health of the cluster: the verdict and the facts of each node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterHealth>,
    /// The cluster when it was first inspected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<ClusterHealth>>,
    /// The cluster when it was inspected after the steps; its parameters are not looked at then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Box<ClusterHealth>>,
    /// With `og_probe`: the commits while the run was at work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commits: Option<Commits>,
    /// How long each step took, where the run is recorded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timings: Vec<StepTime>,
    /// The report on the controller, a page for a browser, where the run is recorded; with workflow: collect, the file that was
    /// written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
}

/// The commits of the probes on the nodes, from when they were started to when they were stopped. Times are by the controller's
/// clock, as far as it is known by how much those of the nodes differ from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Commits {
    /// How many commits were acknowledged.
    pub commits: u64,
    /// How many by each node.
    pub nodes: BTreeMap<String, u64>,
    /// When the first one was, in RFC 3339; null when there was none.
    pub first: Option<String>,
    /// When the last one was.
    pub last: Option<String>,
    /// From when the probes began to when they were stopped.
    pub elapsed_ms: u64,
    /// From when the probes began to the first commit; null when there was none.
    pub before_first_ms: Option<u64>,
    /// From the last commit to when the probes were stopped.
    pub after_last_ms: Option<u64>,
    /// The longest time between two commits, on whichever nodes; null when there were not two.
    pub longest: Option<CommitPause>,
}

/// A time in which no node acknowledged a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommitPause {
    /// How long it lasted.
    pub elapsed_ms: u64,
    /// When the commit before was acknowledged, in RFC 3339.
    pub from: String,
    /// When the next one was.
    pub to: String,
    /// The node that acknowledged the commit before.
    pub node_before: String,
    /// The node that acknowledged the next one.
    pub node_after: String,
    /// The title of the step that it fell in, the most of it; null where the run is not recorded.
    pub step: Option<String>,
}

/// How long a step took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepTime {
    /// Its title.
    pub step: String,
    /// Until the last of its calls was answered.
    pub elapsed_ms: u64,
}

/// What came of a change of roles that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The switchover did not take place; the old roles hold.
    OldRolesHold,
    /// The switchover did not take place; a third node has become primary.
    OtherPrimary,
    /// The switchover has not come to an end.
    UnderWay,
}

impl Reason {
    /// As the outcome writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OldRolesHold => "old_roles_hold",
            Self::OtherPrimary => "other_primary",
            Self::UnderWay => "under_way",
        }
    }
}

/// What a step changed on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// The node.
    pub node: String,
    /// The step.
    pub step: String,
    /// What was done there.
    pub actions: Vec<String>,
    /// The changed files as unified diffs, where these were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}
