//! postgresql.conf as openGauss reads it, and what PostgreSQL is given in its place.
//!
//! The reader is the lab's own on purpose: what judges the modules must not share their parser.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::OnceLock;

/// The parameters of openGauss 3.0.5 as its pg_settings has them: `name|context|vartype|unit|boot_val`, a line each.
const KNOWN: &str = include_str!("parameters.txt");

/// Names a standby keeps when the primary's file replaces its own (recorded.md, section 6).
const RESERVED: &[&str] = &[
    "application_name",
    "archive_command",
    "audit_directory",
    "available_zone",
    "comm_control_port",
    "comm_sctp_port",
    "listen_addresses",
    "log_directory",
    "port",
    "repl_uuid",
    "repl_auth_mode",
    "ssl_cert_file",
    "ssl_key_file",
    "ssl_ca_file",
    "ssl_crl_file",
    "ssl_ciphers",
    "ssl_cert_notify_time",
    "ssl_renegotiation_limit",
    "synchronous_standby_names",
    "local_bind_address",
    "perf_directory",
    "query_log_directory",
    "asp_log_directory",
    "streaming_router_port",
    "enable_upsert_to_merge",
    "archive_dest",
    "cluster_run_mode",
    "stream_cluster_run_mode",
    "xlog_file_size",
    "xlog_file_path",
    "xlog_lock_file_path",
    "auto_csn_barrier",
    "enable_huge_pages",
    "huge_page_size",
    "recovery_min_apply_delay",
    "sync_config_strategy",
];

/// The settings of a file: lower-case name to value, the last occurrence counting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings(BTreeMap<String, String>);

/// One replication channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabChannel {
    /// Its number: 3 of replconninfo3.
    pub number: u8,
    /// `localhost`.
    pub local_host: String,
    /// `remotehost`.
    pub remote_host: String,
    /// `remoteport`.
    pub remote_port: u16,
    /// `iscascade`.
    pub cascade: bool,
}

/// What the server is doing, as far as its configuration depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Situation {
    /// It is in recovery.
    pub recovery: bool,
    /// Whom it streams from: address and the port of that server's SQL.
    pub upstream: Option<(String, u16)>,
    /// A synchronous standby is there to be waited for (matters with `most_available_sync`).
    pub partner: bool,
    /// PGHOST, where the socket goes unless the file says otherwise.
    pub socket_dir: String,
}

impl Settings {
    /// Reads a file; what openGauss would refuse at a reload comes back as its log lines.
    pub fn parse(text: &str, path: &str) -> Result<Self, Vec<String>> {
        let (mut settings, mut errors) = (BTreeMap::new(), Vec::new());
        for (line, number) in text.lines().zip(1_u32..) {
            match assignment(line) {
                Ok(None) => {}
                Ok(Some((name, value))) => {
                    let name = name.to_ascii_lowercase();
                    if !name.contains('.')
                        && !name.starts_with("include")
                        && !known_parameters().contains_key(name.as_str())
                    {
                        errors.push(format!(
                            "LOG:  unrecognized configuration parameter \"{name}\" in file \"{path}\" line {number}"
                        ));
                    } else if let Some(why) = bad_value(&name, &value) {
                        errors.push(why);
                    }
                    settings.insert(name, value);
                }
                Err(near) => {
                    errors.push(format!(
                        "LOG:  syntax error in file \"{path}\" line {number}, near token \"{near}\""
                    ));
                }
            }
        }
        if errors.is_empty() {
            Ok(Self(settings))
        } else {
            errors.push(format!(
                "LOG:  configuration file \"{path}\" contains errors; no changes were applied"
            ));
            Err(errors)
        }
    }

    /// A parameter's value, if the file has it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn get_or<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.get(name).unwrap_or(default)
    }

    fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|v| matches!(v.to_ascii_lowercase().as_str(), "on" | "true" | "yes" | "1"))
    }

    /// The port for clients.
    pub fn port(&self) -> u16 {
        self.get_or("port", "5432").parse().unwrap_or(5432)
    }

    /// The name by which its upstream knows it.
    pub fn application_name(&self) -> &str {
        self.get_or("application_name", "")
    }

    /// The node's name in gs_ctl's output.
    pub fn node_name(&self) -> &str {
        self.get_or("pgxc_node_name", "")
    }

    /// The folder of its socket.
    pub fn socket_dir<'a>(&'a self, default: &'a str) -> &'a str {
        self.get("unix_socket_directory").filter(|d| !d.is_empty()).unwrap_or(default)
    }

    /// Whether `most_available_sync` is on.
    pub fn most_available(&self) -> bool {
        self.is_on("most_available_sync")
    }

    /// `synchronous_standby_names`, which is `*` where the file is silent.
    pub fn standby_names(&self) -> &str {
        self.get_or("synchronous_standby_names", "*")
    }

    /// The replication channels, by number.
    pub fn channels(&self) -> Vec<LabChannel> {
        (1..=8)
            .filter_map(|number| channel(number, self.get(&format!("replconninfo{number}"))?).ok().flatten())
            .collect()
    }

    /// Whether the first channel is set: then a server that is no standby is a primary.
    pub fn has_channel(&self) -> bool {
        self.channels().iter().any(|c| c.number == 1)
    }

    /// Keeps what only a start can change.
    pub fn with_start_values_kept(&self, mut new: Self) -> Self {
        for name in known_parameters().iter().filter(|(_, p)| p.context == "postmaster").map(|(name, _)| name)
        {
            match self.0.get(*name) {
                Some(value) => new.0.insert((*name).to_owned(), value.clone()),
                None => new.0.remove(*name),
            };
        }
        new
    }

    /// The text PostgreSQL is given in place of the file.
    pub fn to_postgres(&self, data_dir: &str, side: &str, now: &Situation) -> String {
        let mut text = String::from("# Written by the lab at each start and reload.\n");
        let mut put = |name: &str, value: &str| {
            let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
        };
        put("data_directory", data_dir);
        put("hba_file", &format!("{side}/pg_hba.conf"));
        put("port", &self.port().to_string());
        put("listen_addresses", self.get_or("listen_addresses", "localhost"));
        put("unix_socket_directories", self.socket_dir(&now.socket_dir));
        put("password_encryption", "scram-sha-256");
        for (name, value) in FIXED {
            put(name, value);
        }
        for name in ["wal_sender_timeout", "wal_receiver_timeout"] {
            put(name, self.get_or(name, "6s"));
        }
        put("wal_receiver_status_interval", "1s");
        let segments: u64 = self.get_or("wal_keep_segments", "16").parse().unwrap_or(16);
        put("wal_keep_size", &format!("{}MB", segments.min(65536) * 16));
        if let Some(kib) =
            self.get("max_size_for_xlog_prune").and_then(|v| v.trim_end_matches("kB").parse::<u64>().ok())
            && kib < 2_147_483_647
        {
            put("max_slot_wal_keep_size", &format!("{kib}kB"));
        }
        let waits = !now.recovery && self.has_channel() && (!self.most_available() || now.partner);
        put("synchronous_standby_names", if waits { first_group(self.standby_names()) } else { "" });
        if let Some((host, port)) = &now.upstream {
            let name = self.application_name();
            put(
                "primary_conninfo",
                &format!(
                    "host={host} port={port} application_name={name} connect_timeout=2 sslmode=disable gssencmode=disable"
                ),
            );
            put("primary_slot_name", &slot_name(name));
        }
        text
    }

    /// The settings as a file that reads back to them.
    pub fn dump(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "{name} = '{}'", value.replace('\\', "\\\\").replace('\'', "''"));
            text
        })
    }

    /// All parameters, a line each: what the lab's `pg_settings` shows, and whether the file has it.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for (name, known) in known_parameters() {
            let value =
                known.canonical_value(self.get_or(name, known.default)).replace(['\t', '\n', '\r'], " ");
            let _ = writeln!(
                text,
                "{name}\t{value}\t{}\t{}\t{}\t{}\t{}",
                known.context,
                known.kind,
                known.unit,
                known.default,
                self.get(name).is_some()
            );
        }
        text
    }
}

/// What never depends on the file. What WAL remembers (connections, workers) is as initdb has it or more, so that a cold
/// copy starts as a standby. Nothing is synced: a lab lives no longer than its machine.
const FIXED: &[(&str, &str)] = &[
    ("max_connections", "100"),
    ("max_wal_senders", "16"),
    ("max_replication_slots", "10"),
    ("max_worker_processes", "8"),
    ("max_parallel_workers", "0"),
    ("shared_buffers", "16MB"),
    ("dynamic_shared_memory_type", "mmap"),
    ("wal_level", "replica"),
    ("wal_log_hints", "on"),
    ("hot_standby", "on"),
    ("fsync", "off"),
    ("autovacuum", "off"),
    ("min_wal_size", "32MB"),
    ("max_wal_size", "256MB"),
    ("jit", "off"),
    ("wal_retrieve_retry_interval", "500ms"),
    ("recovery_target_timeline", "latest"),
    ("logging_collector", "on"),
    ("log_directory", "pg_log"),
    ("log_filename", "postgresql-%Y-%m-%d_%H%M%S.log"),
    ("log_timezone", "UTC"),
    ("log_file_mode", "0600"),
    ("log_line_prefix", "%m %u %d %h %p 0[0:0#0]  0 [BACKEND] "),
    ("lc_messages", "C"),
    ("ssl", "off"),
    // After public, so that nothing is created in it; before pg_catalog, so that its views win.
    ("search_path", "\"$user\", public, og_lab, pg_catalog"),
];

/// PostgreSQL has one group where openGauss takes several.
fn first_group(names: &str) -> &str {
    match names.find(')') {
        Some(end) if names[end + 1..].trim_start().starts_with(',') => &names[..=end],
        _ => names,
    }
}

/// A standby's name as a name PostgreSQL takes for a slot.
pub fn slot_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}

/// What the standby's file becomes when its upstream's file arrives: that text, but for the reserved parameters.
pub fn merge_upstream_file(own: &str, upstream: &str) -> String {
    let mut mine: BTreeMap<String, &str> = BTreeMap::new();
    for line in own.lines() {
        if let Ok(Some((name, _))) = assignment(line)
            && reserved(&name)
        {
            mine.insert(name.to_ascii_lowercase(), line);
        }
    }
    let mut text = String::with_capacity(upstream.len());
    for line in upstream.lines() {
        let name = assignment(line.trim_start().trim_start_matches('#'))
            .ok()
            .flatten()
            .map(|(name, _)| name.to_ascii_lowercase())
            .filter(|name| reserved(name));
        let active = !line.trim_start().starts_with('#');
        match name {
            Some(name) => match mine.remove(&name) {
                Some(own) => text.push_str(own),
                None if active => {
                    text.push('#');
                    text.push_str(line);
                }
                None => text.push_str(line),
            },
            None => text.push_str(line),
        }
        text.push('\n');
    }
    for line in mine.values() {
        text.push_str(line);
        text.push('\n');
    }
    text
}

fn reserved(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    RESERVED.contains(&name.as_str())
        || name.starts_with("dcf_")
        || name.strip_prefix("cross_cluster_").unwrap_or(&name).starts_with("replconninfo")
}

/// A parameter as openGauss describes it.
struct Parameter {
    context: &'static str,
    kind: &'static str,
    unit: &'static str,
    default: &'static str,
}

fn known_parameters() -> &'static BTreeMap<&'static str, Parameter> {
    static MAP: OnceLock<BTreeMap<&'static str, Parameter>> = OnceLock::new();
    MAP.get_or_init(|| {
        KNOWN
            .lines()
            .filter_map(|line| {
                let mut parts = line.splitn(5, '|');
                let mut next = || parts.next();
                let (name, context, kind, unit, default) = (next()?, next()?, next()?, next()?, next()?);
                Some((name, Parameter { context, kind, unit, default }))
            })
            .collect()
    })
}

impl Parameter {
    /// A value of the file as pg_settings shows it: in the parameter's own unit, `on` for every way to say so.
    fn canonical_value(&self, value: &str) -> String {
        if self.kind == "bool" {
            let on = ["on", "true", "yes", "1", "t", "y"].contains(&value.to_ascii_lowercase().as_str());
            return if on { "on" } else { "off" }.to_owned();
        }
        let size = |unit: &str| {
            Some(match unit {
                "kB" => 1024.0,
                "8kB" => 8192.0,
                "MB" => 1_048_576.0,
                "GB" => 1_073_741_824.0,
                "ms" => 1.0,
                "s" => 1000.0,
                "min" => 60_000.0,
                "h" => 3_600_000.0,
                "d" => 86_400_000.0,
                _ => return None,
            })
        };
        let digits = value.trim().find(|c: char| !c.is_ascii_digit()).unwrap_or(value.trim().len());
        let (number, unit) = value.trim().split_at(digits);
        match (number.parse::<f64>(), size(unit.trim()), size(self.unit)) {
            (Ok(number), Some(from), Some(to)) => format!("{}", (number * from / to).round()),
            _ => value.to_owned(),
        }
    }
}

/// The name and value a line assigns, `None` for a blank or a comment, or the token that cannot be understood.
fn assignment(line: &str) -> Result<Option<(String, String)>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(line.chars().take(1).collect());
    }
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
    let (value, rest) = if let Some(quoted) = rest.strip_prefix('\'') {
        let (mut value, mut chars, mut end) = (String::new(), quoted.char_indices().peekable(), None);
        while let Some((i, c)) = chars.next() {
            match c {
                '\'' if chars.peek().is_some_and(|(_, c)| *c == '\'') => {
                    chars.next();
                    value.push('\'');
                }
                '\'' => {
                    end = Some(i + 1);
                    break;
                }
                '\\' => value.extend(chars.next().map(|(_, c)| c)),
                c => value.push(c),
            }
        }
        let end = end.ok_or_else(|| rest.to_owned())?;
        (value, &quoted[end..])
    } else {
        let end = rest.find(|c: char| c.is_whitespace() || c == '#').unwrap_or(rest.len());
        let word = &rest[..end];
        if word.is_empty() || word.contains(['"', '\'', '(', ',']) {
            return Err(word.to_owned());
        }
        (word.to_owned(), &rest[end..])
    };
    let rest = rest.trim_start();
    if rest.is_empty() || rest.starts_with('#') {
        Ok(Some((name.to_owned(), value)))
    } else {
        Err(rest.to_owned())
    }
}

/// Why openGauss would refuse a value; only where the lab depends on it, PostgreSQL judges its own parameters itself.
fn bad_value(name: &str, value: &str) -> Option<String> {
    let invalid = || Some(format!("LOG:  invalid value for parameter \"{name}\": \"{value}\""));
    if let Some(number) = name.strip_prefix("replconninfo").and_then(|n| n.parse().ok()) {
        return channel(number, value).is_err().then(invalid).flatten();
    }
    if name == "synchronous_standby_names" {
        let depth = value.chars().fold(0_i32, |depth, c| match c {
            '(' => depth + 1,
            ')' => depth - 1,
            _ => depth,
        });
        let wanted = value.trim_start().strip_prefix("ANY ").and_then(|v| {
            let (number, list) = v.split_once('(')?;
            Some((number.trim().parse::<usize>().ok()?, list.split(')').next()?.split(',').count()))
        });
        if depth != 0 || wanted.is_some_and(|(number, members)| number > members) {
            return invalid();
        }
    }
    None
}

/// The channel a value names; `None` for the empty value.
fn channel(number: u8, value: &str) -> Result<Option<LabChannel>, ()> {
    if value.trim().is_empty() {
        return Ok(None);
    }
    // Blanks are allowed around the equals signs.
    let spaced = value.replace('=', " = ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut pairs = BTreeMap::new();
    for three in words.chunks(3) {
        let [key, "=", value] = three else { return Err(()) };
        pairs.insert(*key, *value);
    }
    let port = |key| pairs.get(key).and_then(|v: &&str| v.parse::<u32>().ok()).ok_or(());
    port("localport")?;
    let remote_port = port("remoteport")?;
    let local_host = pairs.get("localhost").filter(|h| !h.contains(['*', ',', '\''])).ok_or(())?;
    let remote_host = pairs.get("remotehost").filter(|h| !h.contains([',', '\''])).ok_or(())?;
    Ok(Some(LabChannel {
        number,
        local_host: (*local_host).to_owned(),
        remote_host: (*remote_host).to_owned(),
        // openGauss does not check the range; such a port is reached by nobody.
        remote_port: u16::try_from(remote_port).unwrap_or(0),
        cascade: pairs.get("iscascade").is_some_and(|v| v.eq_ignore_ascii_case("true")),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_last_occurrence_counts_and_an_unknown_name_refuses_the_whole_file() {
        let settings = Settings::parse("port = 1\n#port = 3\nPort 2 # c\nreplconninfo1='a''b'\n", "p");
        assert!(settings.is_err(), "a channel that is none");
        let settings =
            Settings::parse("port = 1\n#port = 3\nPort 2 # c\npgxc_node_name='a''b # c'\n", "p").unwrap();
        assert_eq!((settings.port(), settings.node_name()), (2, "a'b # c"));
        let errors = Settings::parse("port = 1\nnosuch_thing = 1\n", "/d/postgresql.conf").unwrap_err();
        assert_eq!(
            errors,
            [
                "LOG:  unrecognized configuration parameter \"nosuch_thing\" in file \"/d/postgresql.conf\" line 2",
                "LOG:  configuration file \"/d/postgresql.conf\" contains errors; no changes were applied"
            ]
        );
        assert!(Settings::parse("port = \"1\"\n", "p").is_err());
        assert!(Settings::parse("port = '1\n", "p").is_err());
    }

    #[test]
    fn channels_as_opengauss_takes_them() {
        let text = "replconninfo1 = 'localhost=10.0.0.1 localport = 1 remotehost=10.0.0.2 remoteport=26001 x=y iscascade=true'";
        let channels = Settings::parse(text, "p").unwrap().channels();
        assert_eq!(channels.len(), 1);
        assert_eq!(
            (channels[0].remote_host.as_str(), channels[0].remote_port, channels[0].cascade),
            ("10.0.0.2", 26001, true)
        );
        for bad in [
            "hello",
            "localhost=a localport=1 remotehost=b",
            "localhost=a,localport=1,remotehost=b,remoteport=2",
            "localhost=* localport=1 remotehost=b remoteport=2",
            "localhost=a localport=x remotehost=b remoteport=2",
        ] {
            assert!(channel(1, bad).is_err(), "{bad}");
        }
        assert_eq!(channel(1, " "), Ok(None));
    }

    #[test]
    fn values_are_shown_in_the_parameters_own_unit() {
        let table =
            Settings::parse("wal_sender_timeout = 2s\nmost_available_sync = 1\n", "p").unwrap().table();
        assert!(table.contains("\nwal_sender_timeout\t2000\tsighup\tinteger\tms\t6000\ttrue\n"));
        assert!(table.contains("\nmost_available_sync\ton\tsighup\tbool\t\toff\ttrue\n"));
        assert!(table.contains("\nport\t5432\tpostmaster\tinteger\t\t5432\tfalse\n"));
    }

    #[test]
    fn a_single_node_waits_for_nobody_and_a_primary_does() {
        let channel = "replconninfo1='localhost=10.0.0.1 localport=1 remotehost=10.0.0.2 remoteport=2'\n";
        let names = |text: &str, partner| {
            let now = Situation { partner, ..Situation::default() };
            let text = Settings::parse(text, "p").unwrap().to_postgres("/d", "/s", &now);
            text.lines().find_map(|l| l.strip_prefix("synchronous_standby_names = ")).unwrap().to_owned()
        };
        assert_eq!(names("", false), "''");
        assert_eq!(names(channel, false), "'*'");
        assert_eq!(
            names(&format!("{channel}synchronous_standby_names='ANY 1(a,b),ANY 1(c)'"), false),
            "'ANY 1(a,b)'"
        );
        assert_eq!(names(&format!("{channel}most_available_sync=on"), false), "''");
        assert_eq!(names(&format!("{channel}most_available_sync=on"), true), "'*'");
    }

    #[test]
    fn a_standby_keeps_its_reserved_parameters_and_takes_the_rest() {
        let own = "port = 2\nwork_mem = 1MB\nreplconninfo1 = ''\napplication_name = 'b'\n";
        let upstream = "# c\nport = 1\nwork_mem = 2MB\n#application_name = ''\nreplconninfo2 = 'x'\n";
        assert_eq!(
            merge_upstream_file(own, upstream),
            "# c\nport = 2\nwork_mem = 2MB\napplication_name = 'b'\n#replconninfo2 = 'x'\nreplconninfo1 = ''\n"
        );
    }

    #[test]
    fn refused_lists_of_standbys() {
        for bad in ["ANY 1(", "ANY 3(a)"] {
            assert!(bad_value("synchronous_standby_names", bad).is_some(), "{bad}");
        }
        for fine in ["", "*", "a,b", "ANY 0(a)", "ANY 1(a),ANY 1(b)", "FIRST 1(a,b)"] {
            assert!(bad_value("synchronous_standby_names", fine).is_none(), "{fine}");
        }
    }
}
