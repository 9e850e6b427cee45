//! What gs_ctl prints, as pure functions, and the gs_ctl commands.
//!
//! gs_ctl's exit status lies both ways, so a command's caller looks at the server afterwards.

use std::time::Duration;

use super::process::{Outcome, Program};
use super::state::{DbState, Endpoint, NodeState, Progress, Receiver, Role, Sender};
use super::{BuildMode, ServerNode};
use crate::base::{Call, Error, Lsn};

/// Takes gs_ctl's `[time][pid][node][gs_ctl]: ` from a line.
#[must_use]
pub fn strip_prefix(line: &str) -> &str {
    match line.split_once("[gs_ctl]: ") {
        Some((before, rest)) if before.starts_with('[') => rest,
        _ => line,
    }
}

/// A `key : value` row of a table and the lines that continue it.
struct Row<'a> {
    key: &'a str,
    value: String,
}

/// The tables of an output: title without its colon, rows.
fn tables(text: &str) -> Vec<(&str, Vec<Row<'_>>)> {
    let mut tables: Vec<(&str, Vec<Row<'_>>)> = Vec::new();
    for line in text.lines() {
        let line = line.trim_end();
        if line.starts_with('[') && line.contains("[gs_ctl]: ") {
            continue;
        }
        if let Some(title) =
            line.strip_prefix(' ').and_then(|l| l.strip_suffix(':')).filter(|l| !l.starts_with(' '))
        {
            tables.push((title, Vec::new()));
            continue;
        }
        let Some((_, rows)) = tables.last_mut() else { continue };
        let row = (line.starts_with('\t') || line.starts_with("        "))
            .then(|| line.split_once(':'))
            .flatten()
            .map(|(key, value)| (key.trim(), value.trim()))
            .filter(|(key, _)| !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        match (row, rows.last_mut()) {
            (Some((key, value)), _) => rows.push(Row { key, value: value.to_owned() }),
            // Only the reason may go over several lines: it is libpq's own text.
            (None, Some(last)) if last.key == "detail_information" && !line.trim().is_empty() => {
                last.value.push('\n');
                last.value.push_str(line.trim());
            }
            _ => {}
        }
    }
    tables
}

/// What `gs_ctl query` tells, of a server that runs; `None` when there is no table in it.
///
/// Two shapes occur. When gs_ctl could connect, rows are indented by a tab. When it could not, role and state come from
/// gaussdb.state, rows are indented by eight blanks, there is a row `sync_mode`, and the reason stands in
/// `detail_information` over several lines.
#[must_use]
pub fn parse_query(text: &str) -> Option<NodeState> {
    let tables = tables(text);
    let (_, head) = tables.iter().find(|(title, _)| *title == "HA state")?;
    let get = |key: &str| head.iter().find(|r| r.key == key).map(|r| r.value.as_str());
    let mut state = NodeState {
        running: true,
        role: Role::from_words(get("local_role")?),
        db_state: DbState::from_words(get("db_state")?),
        static_connections: get("static_connections").and_then(|v| v.parse().ok()),
        detail: get("detail_information").map(str::to_owned),
        answered: get("sync_mode").is_none(),
        ..NodeState::default()
    };
    for (title, rows) in &tables {
        match *title {
            "Senders info" => state.senders = blocks(rows, "sender_pid").into_iter().map(sender).collect(),
            "Receiver info" => state.receiver = blocks(rows, "receiver_pid").into_iter().map(receiver).next(),
            _ => {}
        }
    }
    Some(state)
}

/// Parts rows into blocks, each begun by `first`.
fn blocks<'a, 'r>(rows: &'a [Row<'r>], first: &str) -> Vec<&'a [Row<'r>]> {
    let starts: Vec<usize> = (0..rows.len()).filter(|i| rows[*i].key == first).collect();
    let ends = starts.iter().skip(1).copied().chain([rows.len()]);
    starts.iter().zip(ends).map(|(from, to)| &rows[*from..to]).collect()
}

fn value<'a>(rows: &'a [Row<'_>], key: &str) -> Option<&'a str> {
    rows.iter().find(|r| r.key == key).map(|r| r.value.as_str()).filter(|v| !v.is_empty())
}

fn progress(rows: &[Row<'_>]) -> Progress {
    let position = |key: &str| value(rows, key).and_then(Lsn::parse);
    let mut progress = Progress {
        sent: position("sender_sent_location"),
        sender_write: position("sender_write_location"),
        sender_flush: position("sender_flush_location"),
        sender_replay: position("sender_replay_location"),
        received: position("receiver_received_location"),
        write: position("receiver_write_location"),
        flush: position("receiver_flush_location"),
        replay: position("receiver_replay_location"),
        lag_bytes: None,
        sync_percent: value(rows, "sync_percent").and_then(|v| v.trim_end_matches('%').parse().ok()),
    };
    // What the sender has flushed is what can be lost; a position of 0/0 is one not known yet.
    let has = [progress.sender_flush, progress.sent].into_iter().flatten().max();
    let replayed = progress.replay.filter(|lsn| lsn.is_valid());
    progress.lag_bytes = has.zip(replayed).map(|(has, replayed)| has.bytes_since(replayed));
    progress
}

fn endpoint(text: &str) -> Option<Endpoint> {
    let (host, port) = text.trim().rsplit_once(':')?;
    Some(Endpoint { host: host.trim_matches(['[', ']']).to_owned(), port: port.parse().ok()? })
}

fn ends(rows: &[Row<'_>]) -> (Option<Endpoint>, Option<Endpoint>) {
    let channel = value(rows, "channel").unwrap_or("");
    let (local, peer) = channel.split_once("-->").or_else(|| channel.split_once("<--")).unwrap_or(("", ""));
    (endpoint(local), endpoint(peer))
}

fn sender(rows: &[Row<'_>]) -> Sender {
    let (local, peer) = ends(rows);
    Sender {
        pid: value(rows, "sender_pid").and_then(|v| v.parse().ok()),
        peer_role: Role::from_words(value(rows, "peer_role").unwrap_or("")),
        peer_state: DbState::from_words(value(rows, "peer_state").unwrap_or("")),
        state: value(rows, "state").unwrap_or("").to_ascii_lowercase(),
        progress: progress(rows),
        sync_state: value(rows, "sync_state").map(str::to_ascii_lowercase),
        sync_priority: value(rows, "sync_priority").and_then(|v| v.parse().ok()),
        local,
        peer,
    }
}

fn receiver(rows: &[Row<'_>]) -> Receiver {
    let (local, peer) = ends(rows);
    Receiver {
        pid: value(rows, "receiver_pid").and_then(|v| v.parse().ok()),
        peer_role: Role::from_words(value(rows, "peer_role").unwrap_or("")),
        peer_state: DbState::from_words(value(rows, "peer_state").unwrap_or("")),
        state: value(rows, "state").unwrap_or("").to_ascii_lowercase(),
        progress: progress(rows),
        local,
        peer,
    }
}

/// What `gs_ctl querybuild` tells: the state, and while a build runs its mode and kilobytes done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildQuery {
    /// `Building`, `Build completed` or `Build failed`.
    pub db_state: DbState,
    /// Role the node is built as.
    pub role: Role,
    /// Mode, while it runs.
    pub mode: Option<BuildMode>,
    /// Kilobytes copied, while it runs.
    pub done_kb: Option<u64>,
}

/// Parses the output of `gs_ctl querybuild`; `None` when there is no table in it.
#[must_use]
pub fn parse_querybuild(text: &str) -> Option<BuildQuery> {
    let tables = tables(text);
    let (_, head) = tables.iter().find(|(title, _)| *title == "HA state")?;
    let build = tables.iter().find(|(title, _)| *title == "Build state").map_or(&[][..], |(_, rows)| rows);
    Some(BuildQuery {
        db_state: DbState::from_words(value(head, "db_state")?),
        role: Role::from_words(value(head, "local_role")?),
        mode: match value(build, "build_mode").map(str::to_ascii_lowercase).as_deref() {
            Some("full") => Some(BuildMode::Full),
            Some("incremental") => Some(BuildMode::Incremental),
            Some("auto") => Some(BuildMode::Auto),
            Some("standby full") => Some(BuildMode::StandbyFull),
            _ => None,
        },
        done_kb: value(build, "data_synchronized").and_then(kilobytes),
    })
}

/// `874.11MB` in kilobytes.
fn kilobytes(text: &str) -> Option<u64> {
    let at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(at);
    let (whole, part) = number.trim().split_once('.').unwrap_or((number.trim(), "0"));
    let shift = match unit.trim() {
        "B" | "b" => return Some(0),
        "kB" | "KB" => 0,
        "MB" => 10,
        "GB" => 20,
        "TB" => 30,
        _ => return None,
    };
    let (whole, part): (u64, u64) = (whole.parse().ok()?, format!("{part:0<2}").get(..2)?.parse().ok()?);
    Some((whole << shift) + ((part << shift) / 100))
}

/// How a server is stopped.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum StopMode {
    /// Sessions are ended, everything is written.
    #[default]
    Fast,
    /// Everything is dropped; the next start recovers.
    Immediate,
}

impl StopMode {
    /// Returns the mode as `gs_ctl -m` takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Immediate => "immediate",
        }
    }
}

/// What gs_ctl says when it has done nothing, for another gs_ctl of the user was just opening the log file of both; from
/// 6.0 on, where GAUSSLOG is set.
///
/// Source: SRV `elog.cpp` v6.0.2:536.
const LOG_BUSY_MESSAGE: &str = "command is running, init_log failed!";
/// How often, and after how long each time, it is tried again: the other one needs the file for a moment only.
const MAX_ATTEMPTS: usize = 100;
/// The interval between them.
const RETRY_INTERVAL: Duration = Duration::from_millis(30);

/// Runs a gs_ctl, again where another one was in its way.
async fn run(program: &Program) -> Result<Outcome, Error> {
    for _ in 1..MAX_ATTEMPTS {
        let outcome = program.run().await?;
        if outcome.rc == 0 || !outcome.stdout.contains(LOG_BUSY_MESSAGE) {
            return Ok(outcome);
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
    program.run().await
}

/// The gs_ctl commands. Each returns what gs_ctl made of it and no verdict: look at the server afterwards.
impl ServerNode {
    /// gs_ctl with `command -D DATA_DIR`.
    pub(super) async fn gs_ctl(&self, call: &Call, command: &str) -> Result<Program, Error> {
        let program = self.env(call).await?.program("gs_ctl")?;
        Ok(program.without_env(super::gsql::DISTURBING).arg(command).arg("-D").arg(&self.data_dir))
    }

    /// `gs_ctl query`.
    ///
    /// # Errors
    /// `not_found` when there is no gs_ctl.
    pub async fn ctl_query(&self, call: &Call) -> Result<Outcome, Error> {
        // A server that does not answer holds gs_ctl for ten seconds.
        let limit = super::process::time_left(call, Duration::from_secs(30));
        run(&self.gs_ctl(call, "query").await?.with_limit(Some(limit))).await
    }

    /// `gs_ctl start`, in this role when one is given, waiting up to `limit` for it to come up.
    ///
    /// The server's own first words go to the file `og_start.log` in the data directory: it would otherwise hold our
    /// output open for as long as it runs.
    ///
    /// # Errors
    /// `not_found` when there is no gs_ctl.
    pub async fn ctl_start(
        &self,
        call: &Call,
        role: Option<Role>,
        limit: Duration,
    ) -> Result<Outcome, Error> {
        let log = self.start_log();
        match std::fs::remove_file(&log) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("remove", &log, &e)),
            _ => {}
        }
        let mut program = self.gs_ctl(call, "start").await?.arg("-l").arg(log);
        if let Some(role) = role {
            program = program.arg("-M").arg(role.name());
        }
        // gs_ctl gives up before we would end it; the server it started comes up all the same.
        let seconds = limit.as_secs().max(1);
        program = program.arg("-t").arg(seconds.to_string()).with_limit(Some(limit + Duration::from_secs(5)));
        run(&program.with_children_spared()).await
    }

    /// Where a server's first words go that [`ServerNode::ctl_start`] starts.
    #[must_use]
    pub fn start_log(&self) -> std::path::PathBuf {
        self.data_dir.join("og_start.log")
    }

    /// `gs_ctl stop`. With `fast` it only tells the server to stop: waiting, gs_ctl looks once a second, and a server is
    /// down in a fifth of that. With `immediate` it waits up to `limit` and then kills what is left.
    ///
    /// # Errors
    /// `not_found` when there is no gs_ctl.
    pub async fn ctl_stop(&self, call: &Call, mode: StopMode, limit: Duration) -> Result<Outcome, Error> {
        let seconds = limit.as_secs().max(1);
        let program =
            self.gs_ctl(call, "stop").await?.arg("-m").arg(mode.name()).arg("-t").arg(seconds.to_string());
        let program = if mode == StopMode::Fast { program.arg("-W") } else { program };
        run(&program.with_limit(Some(limit + Duration::from_secs(5)))).await
    }

    /// `gs_ctl switchover` or `gs_ctl failover`, run on the standby that is to become primary.
    ///
    /// # Errors
    /// `not_found` when there is no gs_ctl.
    pub async fn ctl_promote(&self, call: &Call, failover: bool, limit: Duration) -> Result<Outcome, Error> {
        if !failover {
            // When it waits, gs_ctl polls once a second, and three times more after the promotion; the caller polls more often.
            let program = self.gs_ctl(call, "switchover").await?;
            return run(&program.arg("-W").with_limit(Some(limit))).await;
        }
        let seconds = limit.as_secs().max(1);
        let program = self.gs_ctl(call, "failover").await?;
        run(&program.arg("-t").arg(seconds.to_string()).with_limit(Some(limit + Duration::from_secs(5))))
            .await
    }

    /// `gs_ctl notify`: tells a server in the pending role what to be.
    ///
    /// # Errors
    /// `not_found` when there is no gs_ctl.
    pub async fn ctl_notify(&self, call: &Call, role: Role) -> Result<Outcome, Error> {
        let limit = super::process::time_left(call, Duration::from_secs(60));
        run(&self.gs_ctl(call, "notify").await?.arg("-M").arg(role.name()).with_limit(Some(limit))).await
    }

    /// `gs_ctl reload`: only says that the signal went out.
    ///
    /// # Errors
    /// `not_found` when there is no gs_ctl.
    pub async fn ctl_reload(&self, call: &Call) -> Result<Outcome, Error> {
        let limit = super::process::time_left(call, Duration::from_secs(20));
        run(&self.gs_ctl(call, "reload").await?.with_limit(Some(limit))).await
    }

    /// Starts `gs_ctl build` in a session of its own, its words going to `log`.
    ///
    /// # Errors
    /// `not_found` when there is no gs_ctl.
    pub async fn ctl_build(
        &self,
        call: &Call,
        role: Role,
        mode: BuildMode,
        log: &std::fs::File,
    ) -> Result<super::process::Running, Error> {
        let mode = match mode {
            BuildMode::Auto => "auto",
            BuildMode::Full => "full",
            BuildMode::Incremental => "incremental",
            BuildMode::StandbyFull => "standby_full",
        };
        let program = self.gs_ctl(call, "build").await?;
        program.arg("-M").arg(role.name()).arg("-b").arg(mode).spawn_to(log)
    }
}
