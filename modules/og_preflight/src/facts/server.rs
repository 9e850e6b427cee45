//! The server: its programs, files, and what it is doing.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use og_common::cluster::dynamic_config::DynamicConfig;
use og_common::cluster::static_config::StaticConfig;
use og_common::conf::{ConfFile, Includes};
use og_common::gauss::{SERVER_PROGRAM, ServerNode, standby_name};
use og_common::hba::{HbaFile, Surroundings};
use og_common::protocol::Call;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Admission, Facts, settings};

/// How long a statement or a program may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The programs of openGauss.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Programs {
    /// GAUSSHOME.
    pub gauss_home: Option<String>,
    /// Release of the server program.
    pub version: Option<String>,
    /// The commit it was built from.
    pub commit: Option<String>,
    /// The number of the catalogue of the data, from pg_control.
    pub catalog: Option<u32>,
    /// Libraries that the server program needs and the loader does not find; null when that is not known.
    pub missing_libraries: Option<Vec<String>>,
}

/// postgresql.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConfFacts {
    /// Whether it is there.
    pub exists: bool,
    /// Why the server would take nothing of it, each with its line.
    pub errors: Vec<String>,
    /// The files that it includes.
    pub includes: Vec<String>,
}

/// pg_hba.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HbaFacts {
    /// Whether it is there and can be read.
    pub readable: bool,
    /// Why the server would refuse it, each with its line.
    pub errors: Vec<String>,
    /// Whether clients that come for replication are let in.
    pub admissions: Vec<Admission>,
}

/// What the running server is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Activity {
    /// Transactions that have been running for more than 15 s.
    pub long_transactions: Option<u64>,
    /// Seconds that the oldest of them has been running.
    pub oldest_transaction: Option<u64>,
    /// Sessions idle in a transaction.
    pub idle_in_transaction: Option<u64>,
    /// Prepared transactions.
    pub prepared: Option<u64>,
    /// WAL senders in use.
    pub senders: Option<u64>,
    /// Tablespaces beside the server's own two.
    pub tablespaces: Option<u64>,
    /// The standbys that stream from this server.
    pub streaming: Vec<String>,
    /// Whether replay is paused.
    pub replay_paused: Option<bool>,
    /// Whether a backup in exclusive mode is under way.
    pub exclusive_backup: bool,
    /// WAL segments that wait to be archived.
    pub unarchived: u64,
    /// Dirty pages that a shutdown checkpoint would write.
    pub dirty_pages: Option<u64>,
}

/// The cluster's static and dynamic configuration files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ClusterFiles {
    /// The servers in cluster_static_config; null when there is no such file.
    pub static_config: Option<Vec<Member>>,
    /// The number of the node that cluster_static_config is for.
    pub local: Option<u32>,
    /// The roles in cluster_dynamic_config, by instance number; empty without such a file.
    pub roles: Vec<MemberRole>,
    /// Why a file cannot be read.
    pub problems: Vec<String>,
}

/// A server of cluster_static_config.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Member {
    /// The number of its node.
    pub node: u32,
    /// The name of its node.
    pub host: String,
    /// Its number.
    pub instance: u32,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// Its port.
    pub port: u32,
    /// Its data directory.
    pub data_dir: String,
}

/// A role of cluster_dynamic_config.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MemberRole {
    /// The server's number.
    pub instance: u32,
    /// Its role.
    pub role: String,
}

/// Who holds the cluster's lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LockHolder {
    /// Who.
    pub owner: String,
    /// What for.
    pub purpose: String,
    /// Until when, in UTC.
    pub until: String,
}

/// Reads postgresql.conf.
pub fn read_conf(facts: &mut Facts, data_dir: &Path) {
    let path = data_dir.join("postgresql.conf");
    let text = match og_common::files::read(&path) {
        Ok(text) => text,
        Err(e) => {
            facts.note_unknown("conf", e.failure().detail.clone());
            return;
        }
    };
    let conf = ConfFile::parse(&text);
    facts.conf.exists = true;
    let error =
        |e: og_common::conf::SyntaxError| format!("line {}, column {}: {}", e.line, e.column, e.message);
    facts.conf.errors = conf.errors().into_iter().map(error).collect();
    facts.conf.errors.extend(Includes::read(&conf, &path).problems);
    facts.conf.includes = conf.includes().map(|include| include.text().into_owned()).collect();
    for name in settings::NAMES {
        if let Some(setting) = conf.get(name) {
            facts.settings.insert_file(name, setting.text().into_owned());
        }
    }
    facts.name = conf.replication_name();
}

/// Reads pg_hba.conf, and asks it about these addresses, the node's own and those of its peers.
pub fn read_hba(facts: &mut Facts, data_dir: &Path, clients: &[String]) {
    let named = facts.settings.get("hba_file").filter(|name| !name.trim().is_empty());
    let path = named.map_or_else(|| data_dir.join("pg_hba.conf"), |name| data_dir.join(name.trim()));
    let text = match og_common::files::read(&path) {
        Ok(text) => text,
        Err(e) => {
            facts.note_unknown("hba", e.failure().detail.clone());
            return;
        }
    };
    let file = HbaFile::from_bytes(text);
    let around = Surroundings::new(&file, &[], path.parent().unwrap_or(data_dir));
    facts.hba.readable = true;
    facts.hba.errors = file.refusals(&around).iter().map(ToString::to_string).collect();
    let own = facts.channels.iter().map(|channel| channel.local_host.clone());
    let others = facts.channels.iter().map(|channel| channel.remote_host.clone());
    let asked: BTreeSet<String> = own.chain(others).chain(clients.iter().cloned()).collect();
    for address in asked {
        let Ok(client) = address.parse::<IpAddr>() else { continue };
        let (admitted, line) = file.admits_node(client, &facts.identity.addresses);
        facts.hba.admissions.push(Admission { address, admitted, line });
    }
}

/// Reads the cluster's configuration files of openGauss's OM.
pub fn read_cluster(facts: &mut Facts) {
    let Some(home) = &facts.programs.gauss_home else { return };
    let bin = Path::new(home).join("bin");
    let mut files = ClusterFiles::default();
    let mut read = |name: &str| match og_common::files::read(&bin.join(name)) {
        Ok(bytes) => Some(bytes),
        Err(e) if e.kind() == og_common::protocol::ErrorKind::NotFound => None,
        Err(e) => {
            files.problems.push(e.failure().detail.clone());
            None
        }
    };
    let (fixed, moving) = (read("cluster_static_config"), read("cluster_dynamic_config"));
    match fixed.map(|bytes| StaticConfig::parse(&bytes)) {
        Some(Ok(config)) => {
            let member =
                |(node, data): (&og_common::cluster::ClusterNode, &og_common::cluster::DataNode)| Member {
                    node: node.id,
                    host: node.name.clone(),
                    instance: data.id,
                    addresses: data.listen_addresses.iter().map(ToString::to_string).collect(),
                    port: data.port,
                    data_dir: data.data_dir.clone(),
                };
            files.local = Some(config.local);
            files.static_config = Some(config.cluster.data_nodes().map(member).collect());
        }
        Some(Err(e)) => files.problems.push(format!("cluster_static_config: {}", e.failure().detail)),
        None => {}
    }
    // CM keeps another record under the same name.
    match moving.filter(|bytes| !DynamicConfig::is_cm_file(bytes)).map(|bytes| DynamicConfig::parse(&bytes)) {
        Some(Ok(config)) => {
            let nodes = config.nodes.iter().flat_map(|node| &node.data_nodes);
            files.roles = nodes
                .map(|data| MemberRole { instance: data.id, role: data.role.name().to_owned() })
                .collect();
        }
        Some(Err(e)) => files.problems.push(format!("cluster_dynamic_config: {}", e.failure().detail)),
        None => {}
    }
    facts.cluster = files;
}

/// Reads who holds the cluster's lock.
pub fn read_lock(facts: &mut Facts, data_dir: &Path) {
    match og_common::gauss::cluster_lock::read(data_dir) {
        Ok(record) => {
            let held = record.filter(|record| record.is_held(og_common::clock::now()));
            facts.lock = held.map(|record| LockHolder {
                owner: record.owner,
                purpose: record.purpose,
                until: record.until,
            });
        }
        Err(e) => facts.note_unknown("lock", e.failure().detail.clone()),
    }
}

/// Reads what the server's files tell of its activity.
pub fn read_activity_files(activity: &mut Activity, data_dir: &Path) {
    activity.exclusive_backup = data_dir.join("backup_label").exists();
    for folder in ["pg_xlog/archive_status", "pg_wal/archive_status"] {
        let entries = std::fs::read_dir(data_dir.join(folder)).into_iter().flatten().flatten();
        let ready = entries.filter(|entry| entry.path().extension().is_some_and(|e| e == "ready"));
        activity.unarchived += ready.count() as u64;
    }
}

/// What the programs tell of themselves.
pub async fn programs(call: &Call, node: &ServerNode) -> Result<Programs, String> {
    let env = node.env(call).await.map_err(|e| e.failure().detail.clone())?;
    let mut programs = Programs {
        gauss_home: env.gauss_home().map(|home| home.display().to_string()),
        catalog: catalog(&node.data_dir),
        ..Programs::default()
    };
    if env.find(SERVER_PROGRAM).is_err() {
        return Ok(programs);
    }
    let (version, libraries) = tokio::join!(node.program_version(call), env.missing_libraries(call));
    if let Some(found) = version.filter(|found| found.program == SERVER_PROGRAM) {
        programs.version = Some(found.version.to_string());
        programs.commit = commit(&found.output);
    }
    programs.missing_libraries = libraries;
    Ok(programs)
}

/// The commit in `gaussdb (openGauss 3.0.5 build 4db7019a) compiled at …`.
fn commit(text: &str) -> Option<String> {
    let words = text.split_once(" build ")?.1;
    Some(words.split([')', ' ']).next()?.to_owned())
}

fn catalog(data_dir: &Path) -> Option<u32> {
    let bytes = og_common::files::read(&data_dir.join("global/pg_control")).ok()?;
    // `catalog_version_no` of ControlFileData, behind the system's number and the layout's.
    Some(u32::from_le_bytes(bytes.get(12..16)?.try_into().ok()?))
}

/// The parameters of the running server.
pub async fn running_settings(call: &Call, node: &ServerNode) -> Result<Vec<(String, String)>, String> {
    let names: Vec<String> =
        settings::NAMES.iter().map(|name| format!("'{}'", name.to_lowercase())).collect();
    let statement = format!(
        "select name, current_setting(name) from pg_settings where lower(name) in ({})",
        names.join(", ")
    );
    let rows = node.sql_within(call, &statement, LIMIT).await.map_err(|e| e.failure().detail.clone())?;
    let pair = |row: Vec<String>| <[String; 2]>::try_from(row).ok().map(|[name, value]| (name, value));
    Ok(rows.into_iter().filter_map(pair).collect())
}

/// Sessions of clients; the server's own threads have no port.
const ACTIVITY: &str = "select 'long', count(*)::text, coalesce(max(extract(epoch from now() - xact_start))::int8::text, '') \
     from pg_stat_activity where state = 'active' and client_port is not null and pid <> pg_backend_pid() \
     and now() - xact_start > interval '15 s' \
     union all select 'idle', count(*)::text, '' from pg_stat_activity where state like 'idle in transaction%' \
     union all select 'prepared', count(*)::text, '' from pg_prepared_xacts \
     union all select 'senders', count(*)::text, '' from pg_stat_get_wal_senders() \
     union all select 'streaming', application_name, '' from pg_stat_replication where lower(state) = 'streaming' \
     union all select 'tablespaces', count(*)::text, '' from pg_tablespace where oid >= 16384 \
     union all select 'paused', case when pg_is_in_recovery() then pg_is_xlog_replay_paused()::text else 'false' end, ''";

const DIRTY: &str = "select remain_dirty_page_num from local_pagewriter_stat()";

/// What the running server is doing; with `dirty`, how much a checkpoint has to write, too.
pub async fn activity(call: &Call, node: &ServerNode, dirty: bool) -> Result<Activity, String> {
    let pages = async {
        if !dirty {
            return None;
        }
        // A release without the function tells nothing of it.
        node.sql_within(call, DIRTY, LIMIT).await.ok()?.first()?.first()?.parse().ok()
    };
    let (rows, dirty_pages) = tokio::join!(node.sql_within(call, ACTIVITY, LIMIT), pages);
    let rows = rows.map_err(|e| e.failure().detail.clone())?;
    let find = |key: &str, at: usize| rows.iter().find(|row| row.first().is_some_and(|k| k == key))?.get(at);
    let number = |key: &str, at: usize| find(key, at)?.parse().ok();
    Ok(Activity {
        long_transactions: number("long", 1),
        oldest_transaction: number("long", 2),
        idle_in_transaction: number("idle", 1),
        prepared: number("prepared", 1),
        senders: number("senders", 1),
        tablespaces: number("tablespaces", 1),
        streaming: {
            let rows = rows.iter().filter(|row| row.first().is_some_and(|key| key == "streaming"));
            rows.filter_map(|row| row.get(1)).map(|name| standby_name(name).to_owned()).collect()
        },
        replay_paused: find("paused", 1).map(|text| text.starts_with('t')),
        dirty_pages,
        ..Activity::default()
    })
}

/// The folder of the server's sockets.
#[must_use]
pub fn socket_dir(facts: &Facts, pg_host: Option<PathBuf>) -> PathBuf {
    let set = facts.settings.next("unix_socket_directory").filter(|text| !text.trim().is_empty());
    set.map(|text| PathBuf::from(text.trim())).or(pg_host).unwrap_or_else(|| PathBuf::from("/tmp"))
}
