//! `gs_ctl query` and `gs_ctl querybuild`, in openGauss's layout.

use std::fs;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::ctl::Ctl;
use super::server::{Server, socket_dir, user};
use super::state::{DbState, Mode, State};
use crate::wire::{Client, Failure};

const SENDERS: &str = "select s.pid, s.state, s.sent_lsn, coalesce(s.write_lsn, s.sent_lsn), coalesce(s.flush_lsn, s.sent_lsn), \
     coalesce(s.replay_lsn, s.sent_lsn), s.sync_state, s.sync_priority, s.client_addr, s.client_port, \
     case when pg_is_in_recovery() then pg_last_wal_receive_lsn() else pg_current_wal_lsn() end, \
     case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end, \
     coalesce(s.flush_lsn, s.sent_lsn) - '0/0'::pg_lsn, s.application_name \
     from pg_catalog.pg_stat_replication s order by s.backend_start";

const RECEIVER: &str = "select pid, latest_end_lsn, greatest(written_lsn, flushed_lsn), flushed_lsn, pg_last_wal_replay_lsn(), \
     flushed_lsn - '0/0'::pg_lsn, latest_end_lsn - '0/0'::pg_lsn from pg_catalog.pg_stat_wal_receiver where status = 'streaming'";

/// `gs_ctl query`; the exit status.
pub fn query(ctl: &Ctl, server: &Server) -> u8 {
    ctl.say(&format!("gs_ctl query ,datadir is {} ", server.data.display()));
    let pid_file = server.data.join("postmaster.pid");
    let Ok(pid_text) = fs::read_to_string(&pid_file) else {
        ctl.say(&format!(" PID file \"{}\" does not exist", pid_file.display()));
        ctl.say("Is server running?");
        return 1;
    };
    if server.pid().is_none() {
        let pid = pid_text.lines().next().unwrap_or_default().trim();
        ctl.say(&format!(
            " could not connect to the local server, the postmaster process {pid} is not running"
        ));
        return 1;
    }
    match describe_server(server, &pid_text) {
        Ok(text) => print!("{text}"),
        Err(words) => print!("{}", second_shape(server, &words)),
    }
    0
}

/// What the server shows, or why it could not be asked.
fn describe_server(server: &Server, pid_text: &str) -> Result<String, String> {
    let mut client = connect(pid_text)?;
    let mut ask = |sql: &str| client.ask(sql).map_err(|f| describe_failure(f, "", 0));
    let role = server.role();
    let receiver = ask(RECEIVER)?;
    let (state, detail) = match role {
        Mode::Standby | Mode::Cascade if receiver.is_empty() => (DbState::NeedRepair, detail(server)),
        Mode::Pending => (DbState::NeedRepair, "Disconnected".to_owned()),
        _ => (DbState::Normal, "Normal".to_owned()),
    };
    let mut text = String::from(" HA state:           \n");
    let mut put = |key: &str, value: &str| text.push_str(&tab_line(key, value));
    put("local_role", role.words());
    put("static_connections", &server.connections().to_string());
    put("db_state", state.words());
    put("detail_information", &detail);
    text.push_str("\n Senders info:       \n");
    let senders = ask(SENDERS)?;
    let most = if server.loaded_settings().most_available() { "On" } else { "Off" };
    let local_ip = pid_text.lines().nth(5).map_or("", str::trim);
    let ha_port = server.loaded_settings().port() + 1;
    for (i, row) in senders.iter().filter(|r| r.len() == 14).enumerate() {
        if i > 0 {
            text.push('\n');
        }
        let mut put = |key: &str, value: &str| text.push_str(&tab_line(key, value));
        let build = row[1] == "backup";
        let state = match row[1].as_str() {
            "streaming" => "Streaming",
            "catchup" | "startup" => "Catchup",
            _ => "Backup",
        };
        put("sender_pid", &row[0]);
        put("local_role", role.words());
        put("peer_role", if role.is_in_recovery() && !build { "Cascade Standby" } else { "Standby" });
        put("peer_state", if state == "Streaming" { "Normal" } else { "Catchup" });
        put("state", state);
        for (key, column) in [("sent", 2), ("write", 10), ("flush", 10), ("replay", 11)] {
            put(&format!("sender_{key}_location"), &row[column]);
        }
        for (key, column) in [("received", 3), ("write", 3), ("flush", 4), ("replay", 5)] {
            put(&format!("receiver_{key}_location"), &row[column]);
        }
        put("sync_percent", if row[4] == row[10] || state == "Streaming" { "100%" } else { "99%" });
        put("sync_state", &capitalize(&row[6]));
        put("sync_priority", &row[7]);
        put("sync_most_available", most);
        put("channel", &format!("{local_ip}:{ha_port}-->{}:{}", row[8], row[9]));
    }
    if senders.is_empty() {
        text.push_str("No information \n");
    } else {
        text.push('\n');
    }
    text.push_str(" Receiver info:      \n");
    if let Some(row) = receiver.first().filter(|r| r.len() == 7) {
        let upstream = server.upstream();
        let mut put = |key: &str, value: &str| text.push_str(&tab_line(key, value));
        put("receiver_pid", &row[0]);
        put("local_role", role.words());
        put("peer_role", if upstream.role.is_empty() { "Unknown" } else { &upstream.role });
        put("peer_state", if upstream.state.is_empty() { "Unknown" } else { &upstream.state });
        put("state", "Normal");
        for key in ["sent", "write", "flush", "replay"] {
            put(&format!("sender_{key}_location"), &row[1]);
        }
        for (key, column) in [("received", 2), ("write", 2), ("flush", 3), ("replay", 4)] {
            put(&format!("receiver_{key}_location"), &row[column]);
        }
        put("sync_percent", &percent(&row[5], &row[6]));
        let port = local_port(&row[0], &upstream.host).unwrap_or(0);
        put("channel", &format!("{local_ip}:{port}<--{}:{}", upstream.host, upstream.port));
        text.push('\n');
    } else {
        text.push_str("No information \n");
    }
    Ok(text)
}

/// gs_ctl goes through the listen address of postmaster.pid when that is no loopback: the node's own rules count.
fn connect(pid_text: &str) -> Result<Client, String> {
    let mut lines = pid_text.lines().skip(3).map(str::trim);
    let port: u16 = lines.next().and_then(|p| p.parse().ok()).unwrap_or(0);
    let dir = lines.next().filter(|d| !d.is_empty()).map_or_else(socket_dir, str::to_owned);
    let host = lines.next().unwrap_or_default();
    let limit = Duration::from_secs(5);
    let outside = host.parse::<IpAddr>().is_ok_and(|ip| !ip.is_loopback() && !ip.is_unspecified());
    let both = |words: &str| format!("(connect to V5 server) {words}\n(connect to V1 server) {words}\n");
    let try_once = || {
        if outside {
            Client::tcp(host, port, &user(), limit).map_err(|f| describe_failure(f, host, port))
        } else {
            Client::unix(dir.as_ref(), port, &user(), limit).map_err(|f| describe_failure(f, &dir, port))
        }
    };
    match try_once() {
        Ok(client) => Ok(client),
        // It tries twice, once for each version of the protocol.
        Err(words) if words.starts_with("wait ") => {
            let _ = try_once();
            Err(both(&words))
        }
        Err(words) => Err(both(&words)),
    }
}

fn describe_failure(failure: Failure, host: &str, port: u16) -> String {
    match failure {
        Failure::Server(words) => words.replace("no encryption", "SSL off"),
        Failure::Timeout => format!("wait {host}:{port} timeout expired"),
        Failure::Io(error) => format!(
            "could not connect to server: {error}\n\tIs the server running on host \"{host}\" and accepting\n\tTCP/IP connections on port {port}?"
        ),
    }
}

/// With the upstream gone the word flips, about two seconds Connecting... and one Disconnected.
fn detail(server: &Server) -> String {
    server.upstream().detail.unwrap_or_else(|| {
        let second = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        if second % 3 < 2 { "Connecting...".to_owned() } else { "Disconnected".to_owned() }
    })
}

fn second_shape(server: &Server, words: &str) -> String {
    let state = State::read(&server.data).unwrap_or(State::new(Mode::Unknown, DbState::Starting, 0));
    let line = |key: &str, value: &str| format!("        {key:<30}: {value}\n");
    format!(
        " HA state:\n{}{}{}{}{}\n Senders info:\n        No information\n Receiver info:\n        No information\n",
        line("local_role", state.mode.words()),
        line("static_connections", &state.connections.to_string()),
        line("db_state", state.word.words()),
        line("detail_information", words),
        line("sync_mode", "Async"),
    )
}

/// `gs_ctl querybuild`; the exit status.
pub fn querybuild(ctl: &Ctl, server: &Server) -> u8 {
    ctl.say(&format!("gs_ctl build query ,datadir is {} ", server.data.display()));
    let path = server.data.join("gaussdb.state");
    let Some(state) = State::read(&server.data) else {
        ctl.say(&format!(" file \"{}\" is not exist", path.display()));
        return 1;
    };
    let running = fs::read_to_string(server.data.join("gs_build.pid"))
        .ok()
        .and_then(|p| p.trim().parse().ok())
        .is_some_and(|pid: i32| pid > 0 && super::server::is_process_alive(pid));
    let line = |key: &str, value: &str| println!("        {key:<30}: {value}");
    println!(" HA state:");
    let (role, word) = match (state.word, running) {
        (DbState::Building, true) => (state.mode, "Building"),
        (DbState::Building, false) => (Mode::Unknown, "Build failed"),
        _ => (state.mode, "Build completed"),
    };
    line("local_role", role.words());
    line("static_connections", &state.connections.to_string());
    line("db_state", word);
    line("sync_mode", "Async");
    if word == "Building" {
        println!(" Build state:");
        line("build_mode", if state.build_mode == 3 { "Incremental" } else { "Full" });
        let size = if state.done < 1024 {
            format!("{}.00kB", state.done)
        } else {
            format!("{}MB", state.done / 1024)
        };
        line("data_synchronized", &size);
        line("estimated_total_data", &size);
        line("process_schedule", if state.done == 0 { "0%" } else { "100%" });
        line("estimated_remaining_time", "00:00:00");
    }
    println!();
    0
}

/// A line of the first shape.
fn tab_line(key: &str, value: &str) -> String {
    format!("\t{key:<31}: {value}\n")
}

fn capitalize(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

fn percent(have: &str, want: &str) -> String {
    let (have, want) = (have.parse::<u128>().unwrap_or(0), want.parse::<u128>().unwrap_or(0));
    if have >= want { "100%".to_owned() } else { format!("{}%", have * 100 / want.max(1)) }
}

/// The local port of the connection that a process has to an address: its sockets, looked up in the kernel's table.
fn local_port(pid: &str, host: &str) -> Option<u16> {
    let IpAddr::V4(host) = host.parse().ok()? else { return None };
    let remote = format!("{:08X}:", u32::from(host).swap_bytes());
    let sockets: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .ok()?
        .filter_map(|e| fs::read_link(e.ok()?.path()).ok())
        .filter_map(|l| Some(l.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned()))
        .collect();
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).ok()?;
    table.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mine = words.get(2)?.starts_with(&remote) && sockets.iter().any(|s| s == words[9]);
        mine.then(|| u16::from_str_radix(words[1].split(':').nth(1)?, 16).ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn small_words() {
        assert_eq!(super::capitalize("potential"), "Potential");
        assert_eq!(super::percent("50", "100"), "50%");
        assert_eq!(super::percent("0", "0"), "100%");
    }
}
