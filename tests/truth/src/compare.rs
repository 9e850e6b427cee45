//! Our answer and the server's.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fastrand::Rng;
use og_common::conf::ConfFile;
use og_common::hba::{Connection, Decision, HbaFile, HbaRule, Method, Route, Surroundings, limit_of_trust};
use og_lab::Engine;

use crate::Result;
use crate::server::{Server, Verdict};
use crate::wire::{Answer, Knock, knock};
use crate::write::{self, Dialect};

/// Clients that come after each pg_hba.conf which was taken.
const CLIENTS: usize = 12;

/// What was compared, and where the two disagreed.
#[derive(Debug, Default)]
pub struct Tally {
    /// Files the server took.
    pub taken: usize,
    /// Files it refused.
    pub refused: usize,
    /// Single questions: clients, values.
    pub asked: usize,
    /// Disagreements, in full.
    pub differ: Vec<String>,
    /// What the server said of the last file.
    pub words: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl Tally {
    fn count_verdict(&mut self, verdict: &Verdict) {
        self.words = Some(verdict.words.clone());
        if verdict.taken {
            self.taken += 1;
        } else {
            self.refused += 1;
        }
    }
}

fn dialect(server: &Server) -> Dialect {
    if server.engine().is_opengauss() { Dialect::OpenGauss } else { Dialect::Common }
}

/// Whether the server takes each pg_hba.conf, and whom it then lets in.
///
/// # Errors
/// The server cannot be asked.
pub fn hba(server: &mut Server, seed: u64, count: usize) -> Result<Tally> {
    let start = Instant::now();
    let mut tally = Tally::default();
    let path = server.data.join("pg_hba.conf");
    let before = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    for number in 0..count {
        // Each file has a seed of its own, so that it can be made again alone.
        let own = seed.wrapping_add(number as u64);
        let mut rng = Rng::with_seed(own);
        let bytes = write::hba(&mut rng, dialect(server), server.admin());
        let file = HbaFile::parse(&bytes);
        let around = {
            let (file, data) = (&file, &server.data);
            server.run_in_namespace(|| Surroundings::new(file, &[], data))?
        };
        let refusals = file.refusals(&around);
        let verdict = server.load_file("pg_hba.conf", &bytes)?;
        tally.count_verdict(&verdict);
        let told = |what: String| format!("seed {own}: {what}\n{}\n", show_bytes(&bytes));
        // What a server lacks cannot be seen in the file: a method that was not built in, root certificates.
        let lacking =
            ["not supported by this build", "ssl_ca_file"].iter().any(|words| verdict.words.contains(words));
        if verdict.taken != refusals.is_empty() && !(lacking && refusals.is_empty()) {
            let ours = refusals.first().map_or("we would take it".to_owned(), |r| format!("we say {r}"));
            tally.differ.push(told(format!("{ours}; the server says {:?}", verdict.words)));
            continue;
        }
        if !verdict.taken {
            continue;
        }
        for client in write::knocks(&mut rng, dialect(server), &file, CLIENTS) {
            tally.asked += 1;
            let route = client.address.map_or(Route::Local, |client| Route::Tcp { client, ssl: false });
            let connection = Connection {
                route,
                database: client.database.as_bytes(),
                user: client.user.as_bytes(),
                replication: client.replication,
            };
            let decision = file.decide(&connection, &around);
            let (user, database) = (client.user.clone(), client.database.clone());
            let at = Knock {
                door: server.door_for(client.address),
                user,
                database,
                replication: client.replication,
            };
            let answer = server.run_in_namespace(|| knock(&at))??;
            let expected = answers(&file, &decision, server, &connection);
            if !expected.contains(&answer) {
                tally.differ.push(told(format!(
                    "{client:?}: we say {decision:?}, so one of {expected:?}; the server says {answer:?}"
                )));
            }
        }
    }
    server.load_file("pg_hba.conf", &before)?;
    tally.took = start.elapsed();
    Ok(tally)
}

/// What the server may answer when this line decides, or one of those that only it can tell of.
fn answers(file: &HbaFile, decision: &Decision, server: &Server, connection: &Connection<'_>) -> Vec<Answer> {
    // From another machine, a client that openGauss turns away for coming by such a rule tells that it is the rule.
    let here = matches!(connection.route, Route::Local)
        || matches!(connection.route, Route::Tcp { client, .. } if client.is_loopback());
    let asks = |rule: &HbaRule| {
        server.engine().is_opengauss()
            && here
            && limit_of_trust(rule, connection, Some(server.admin())).is_some()
    };
    let unsure = decision.unknown.iter().map(|(line, _)| Some(*line));
    let of = |line: Option<usize>| match line.and_then(|line| file.rule(line)) {
        Some(rule) => match rule.method {
            Method::Trust | Method::Peer if asks(&rule) => Answer::Password,
            Method::Trust => Answer::Free,
            Method::Reject => Answer::Reject,
            Method::Peer => Answer::Peer,
            _ => Answer::Password,
        },
        None => Answer::NoRule,
    };
    unsure.chain([decision.line]).map(of).collect()
}

/// Whether the server understands each postgresql.conf, and which values it reads; and whether what we set is what it
/// reads then.
///
/// # Errors
/// The server cannot be asked.
pub fn conf(server: &mut Server, seed: u64, count: usize) -> Result<Tally> {
    let start = Instant::now();
    let mut tally = Tally::default();
    let path = server.data.join("postgresql.conf");
    let own = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    for number in 0..count {
        let seed = seed.wrapping_add(number as u64);
        let mut rng = Rng::with_seed(seed);
        let bytes = write::conf(&mut rng, dialect(server));
        let told = |bytes: &[u8], what: String| format!("seed {seed}: {what}\n{}\n", show_bytes(bytes));
        if let Some(why) = compare_conf(server, &own, &bytes, &mut tally)? {
            tally.differ.push(told(&bytes, why));
        }
        let mut file = ConfFile::parse(&bytes);
        if !file.errors().is_empty() {
            continue;
        }
        let (name, value) = write::settings(&mut rng);
        if file.set(name, &value).is_err() {
            continue;
        }
        let bytes = file.to_bytes();
        let read = file.get(name).map(|s| s.value);
        if read.as_deref() != Some(value.as_bytes()) {
            tally.differ.push(told(&bytes, format!("we set {name} to {value:?} and read {read:?}")));
        } else if let Some(why) = compare_conf(server, &own, &bytes, &mut tally)? {
            tally.differ.push(told(&bytes, format!("after we set {name} to {value:?}: {why}")));
        }
    }
    server.load_file("postgresql.conf", &own)?;
    tally.took = start.elapsed();
    Ok(tally)
}

/// Gives the server these lines behind its own file; says where it reads them otherwise than we do.
fn compare_conf(server: &mut Server, own: &[u8], bytes: &[u8], tally: &mut Tally) -> Result<Option<String>> {
    let whole = [own, b"\n", bytes].concat();
    let file = ConfFile::parse(&whole);
    let errors = file.errors();
    let verdict = server.load_file("postgresql.conf", &whole)?;
    let syntax = verdict.words.contains("syntax error");
    tally.count_verdict(&verdict);
    if syntax == errors.is_empty() {
        return Ok(Some(format!("we say {errors:?}; the server says {:?}", verdict.words)));
    }
    if !errors.is_empty() {
        return Ok(None);
    }
    let values = read_by(server, &file, verdict.taken)?;
    tally.asked += values.len();
    let differ = values.into_iter().find_map(|(name, server)| {
        let ours = file.get(&name).map(|s| s.value);
        (ours.as_ref() != Some(&server)).then(|| {
            format!(
                "{name}: we read {:?}, the server {:?}",
                ours.map(|v| show_bytes(&v)),
                show_bytes(&server)
            )
        })
    });
    Ok(differ)
}

/// The values that the server reads in its file: PostgreSQL tells of all, as they stand there; openGauss of those it
/// took.
fn read_by(server: &Server, file: &ConfFile, taken: bool) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut values = BTreeMap::new();
    if server.engine() == Engine::Postgres {
        let rows =
            server.ask("select name, setting from pg_file_settings where name is not null order by seqno")?;
        for mut row in rows {
            if let (Some(value), Some(name)) = (row.pop(), row.pop()) {
                values.insert(String::from_utf8_lossy(&name).to_ascii_lowercase(), value);
            }
        }
        return Ok(values);
    }
    if !taken {
        return Ok(values);
    }
    for name in write::TEXTS {
        if file.get(name).is_some() {
            // In brackets, for gsql's last blanks are cut off.
            let rows = server.ask(&format!("select '[' || current_setting('{name}') || ']'"))?;
            let shown = rows.concat().join(&b'|');
            let value = shown.strip_prefix(b"[").and_then(|v| v.strip_suffix(b"]"));
            values.insert(name.to_owned(), value.ok_or("an answer without its brackets")?.to_vec());
        }
    }
    Ok(values)
}

/// Bytes for a person: what is no plain text is escaped, line ends stay.
fn show_bytes(bytes: &[u8]) -> String {
    let lines = bytes.split(|b| *b == b'\n').map(|line| format!("    {}", line.escape_ascii()));
    lines.collect::<Vec<_>>().join("\n")
}
