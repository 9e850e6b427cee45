//! The process beside a server: what openGauss's server does and PostgreSQL's does not.

use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::conf::{LabChannel, Situation, merge_upstream_file, slot_name};
use super::identify::{self, Identity};
use super::server::{Server, Upstream, newest_log, user};
use super::state::{DbState, Mode, State};
use crate::wire::Client;

/// The end of the log, as openGauss tells it.
const POSITION: &str = "select (case when pg_is_in_recovery() \
     then greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn()) \
     else pg_catalog.pg_current_wal_lsn() end)::text";

/// How often the agent looks.
const TICK: Duration = Duration::from_millis(150);
/// How long a peer may take to answer; openGauss's `wal_receiver_connect_timeout`.
const PATIENCE: Duration = Duration::from_secs(2);

/// What one agent, or a build, asks another server's agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// May I stream from you? Makes the slot of that name.
    Stream {
        /// The `application_name`; empty to look only.
        name: String,
        /// It is a cascade standby.
        cascade: bool,
    },
    /// May I be built from you?
    Build,
    /// Your postgresql.conf as of your last reload.
    Conf,
    /// Your pg_hba.conf, as a build copies it.
    Rules,
    /// Whether you still have this WAL segment.
    Wal(String),
    /// Become a standby; answered when the server is down.
    Demote,
    /// Swap roles with me, your cascade standby.
    Swap,
}

/// The answer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Reply {
    /// The refusal, in the server's words.
    pub refused: Option<String>,
    /// Its `local_role`.
    pub role: String,
    /// Its `db_state`.
    pub state: String,
    /// Its system identifier.
    pub system_id: String,
    /// Where its SQL is.
    pub sql_port: u16,
    /// Changes with each other postgresql.conf.
    pub generation: u64,
    /// What was asked for.
    pub body: String,
}

/// Asks the agent at a replication port.
pub fn call(host: &str, port: u16, request: &Request, patience: Duration) -> io::Result<Reply> {
    let address = (host, port)
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such host"))?;
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(format!("{}\n", serde_json::to_string(request)?).as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

struct Agent {
    server: Server,
    postmaster: i32,
    /// The server goes down and comes up again by this agent's own doing.
    turning: AtomicBool,
}

/// Runs until its server is gone.
pub fn main(server: Server) -> ExitCode {
    let Some(postmaster) = server.pid() else { return ExitCode::FAILURE };
    let port = server.loaded_settings().port() + 1;
    let end = Instant::now() + Duration::from_secs(5);
    let listener = loop {
        match TcpListener::bind(("0.0.0.0", port)) {
            Ok(listener) => break listener,
            Err(error) if Instant::now() >= end => {
                server
                    .log(&format!("LOG:  could not create Ha listen socket for ReplConnInfoArr[1]: {error}"));
                return ExitCode::FAILURE;
            }
            Err(_) => sleep(Duration::from_millis(20)),
        }
    };
    println!("ready");
    let agent = Arc::new(Agent { server, postmaster, turning: AtomicBool::new(false) });
    let listening = Arc::clone(&agent);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let agent = Arc::clone(&listening);
            thread::spawn(move || {
                // A peer that hung up has no use for the answer.
                let _ = agent.answer(&stream);
            });
        }
    });
    let following = Arc::clone(&agent);
    thread::spawn(move || following.run_standby());
    loop {
        if !agent.turning.load(Ordering::SeqCst) && agent.server.pid() != Some(agent.postmaster) {
            return ExitCode::SUCCESS;
        }
        sleep(Duration::from_millis(50));
    }
}

impl Agent {
    /// Reads one request, answers it, and does what must come after the answer.
    fn answer(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut first = [0];
        stream.peek(&mut first)?;
        // The length that begins a start-up packet; a request is JSON.
        if first[0] == 0 {
            return identify::answer(stream, &self.identity(stream)?);
        }
        let mut line = String::new();
        BufReader::new(stream).take(65536).read_line(&mut line)?;
        let Ok(request) = serde_json::from_str::<Request>(&line) else { return Ok(()) };
        let peer = stream.peer_addr()?;
        let reply = match self.check_admission(&request, peer, stream.local_addr()?) {
            Ok(()) => self.reply(&request, peer.ip()),
            Err(refused) => {
                self.server.log(&refused);
                Reply { refused: Some(refused), ..Reply::default() }
            }
        };
        let done = reply.refused.is_none();
        let mut stream = stream;
        stream.write_all(format!("{}\n", serde_json::to_string(&reply)?).as_bytes())?;
        if matches!(request, Request::Demote) && done {
            Command::new(std::env::current_exe()?)
                .args(["internal-start", "-D"])
                .arg(&self.server.data)
                .args(["-M", "standby"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()?;
            // The port has to be free for the next agent.
            std::process::exit(0);
        }
        Ok(())
    }

    /// What one is told who speaks the server's own protocol: no more than a build would be.
    fn identity(&self, stream: &TcpStream) -> io::Result<Identity> {
        let admitted = self.check_admission(&Request::Build, stream.peer_addr()?, stream.local_addr()?);
        if let Err(refused) = &admitted {
            self.server.log(refused);
        }
        let reply = self.reply(&Request::Build, stream.peer_addr()?.ip());
        let mode = admitted.and(reply.refused.map_or(Ok(()), Err)).map(|()| self.server.role() as u8);
        let position = self.server.ask(POSITION).ok().and_then(|rows| rows.into_iter().flatten().next());
        Ok(Identity { mode, system_id: reply.system_id, position: position.filter(|lsn| !lsn.is_empty()) })
    }

    /// openGauss's two checks of a peer: the rules, and the channels.
    fn check_admission(&self, request: &Request, peer: SocketAddr, own: SocketAddr) -> Result<(), String> {
        let ip = peer.ip();
        if ip == own.ip() {
            return Ok(());
        }
        let rules = self.server.loaded_rules();
        if !rules.covers(ip) {
            return Err(format!("FATAL:  no pg_hba.conf entry for host \"{ip}\"."));
        }
        let listed = self
            .server
            .loaded_settings()
            .channels()
            .iter()
            .any(|c| c.remote_host.parse::<IpAddr>().is_ok_and(|host| host == ip));
        if listed
            || (matches!(request, Request::Build | Request::Rules | Request::Wal(_)) && rules.replicates(ip))
        {
            return Ok(());
        }
        self.server.log("WARNING:  the ha connection is not in the channel list");
        Err(format!(
            "FATAL:  no pg_hba.conf entry for replication connection from host \"{ip}\", user \"{}\", SSL off",
            user()
        ))
    }

    fn reply(&self, request: &Request, peer: IpAddr) -> Reply {
        let server = &self.server;
        let mut reply = Reply {
            role: server.role().words().to_owned(),
            state: State::read(&server.data).map_or("", |s| s.word.words()).to_owned(),
            sql_port: server.loaded_settings().port(),
            generation: hash(&server.read_note("sighup.conf")),
            ..Reply::default()
        };
        match server.ask("select system_identifier from pg_control_system()") {
            Ok(rows) => reply.system_id = rows.into_iter().flatten().next().unwrap_or_default(),
            Err(_) => reply.refused = Some("FATAL:  the database system is not ready".to_owned()),
        }
        match request {
            Request::Build => {}
            Request::Stream { name, cascade } => {
                let slot = slot_name(name);
                // The walsender of a lost connection holds the slot until it notices; its standby is here again.
                let sql = format!(
                    "select pg_terminate_backend(pid) from pg_catalog.pg_stat_replication where client_addr = '{peer}' and application_name = '{name}' \
                     and backend_start < now() - interval '2 s';\
                     select pg_catalog.pg_create_physical_replication_slot('{slot}', true) \
                     where not exists (select from pg_catalog.pg_replication_slots where slot_name = '{slot}')"
                );
                let asker = if *cascade { Mode::Cascade } else { Mode::Standby };
                if serves(asker, &reply, false) && !slot.is_empty() {
                    let _ = server.ask(&sql);
                }
            }
            Request::Conf => reply.body = server.read_note("sighup.conf"),
            Request::Rules => reply.body = server.read_text("pg_hba.conf"),
            Request::Wal(segment) => {
                let there = segment.chars().all(|c| c.is_ascii_hexdigit())
                    && server.data.join("pg_wal").join(segment).exists();
                there.to_string().clone_into(&mut reply.body);
            }
            Request::Demote => reply.refused = self.demote_server(),
            Request::Swap => {
                if server.role() == Mode::Standby {
                    let _ = server.set_mode(Mode::Cascade);
                    let _ = server.adapt_files(&Situation { upstream: None, ..server.situation() });
                } else {
                    reply.refused = Some("FATAL:  only a standby swaps with its cascade standby".to_owned());
                }
            }
        }
        reply
    }

    /// Takes the primary down in order: its walsenders send all there is before they go.
    fn demote_server(&self) -> Option<String> {
        if self.server.role() != Mode::Primary {
            return Some("FATAL:  only a primary can be demoted".to_owned());
        }
        self.turning.store(true, Ordering::SeqCst);
        let _ =
            State::new(Mode::Primary, DbState::Demoting, self.server.connections()).write(&self.server.data);
        if self.server.stop(Signal::SIGINT, Duration::from_secs(60)) {
            return None;
        }
        self.turning.store(false, Ordering::SeqCst);
        Some("FATAL:  the primary does not go down".to_owned())
    }

    /// Keeps the server where it belongs, for ever.
    fn run_standby(&self) {
        let mut client: Option<Client> = None;
        let mut memory = Memory::default();
        loop {
            if self.turning.load(Ordering::SeqCst) {
                return;
            }
            if client.is_none() {
                client = self.server.connect().ok();
            }
            if let Some(asked) = &mut client
                && self.observe_upstream(asked, &mut memory).is_none()
            {
                client = None;
            }
            sleep(TICK);
        }
    }

    /// One look at the server, and what follows from it. None if it does not answer.
    fn observe_upstream(&self, client: &mut Client, memory: &mut Memory) -> Option<()> {
        let server = &self.server;
        let rows = client
            .ask(
                "select (select system_identifier from pg_control_system()), pg_is_in_recovery(), \
                 (select status from pg_catalog.pg_stat_wal_receiver), \
                 exists (select from pg_catalog.pg_stat_replication where state = 'streaming' and sync_priority + 1 > 0)",
            )
            .ok()?;
        let row = rows.first()?;
        let (mode, recovery) = (server.mode(), row[1] == "t");
        let mut state = State::new(server.role(), DbState::Normal, server.connections());
        if mode.is_in_recovery() && recovery {
            let streams = row[2] == "streaming";
            if mode != Mode::Pending {
                self.follow_upstream(&row[0], streams, memory);
            }
            if !streams {
                state.word = DbState::NeedRepair;
                state.reason = match server.upstream().detail.as_deref() {
                    Some("WAL segment removed") => 1,
                    Some(_) => 4,
                    None => 2,
                };
            }
            state.channel = server.upstream().channel.max(1);
        } else if !mode.is_in_recovery() {
            let partner = row[3] == "t";
            let now = server.situation();
            if now.partner != partner {
                let _ = server.adapt_files(&Situation { partner, ..now });
            }
        } else {
            // Left recovery, and whoever did it has not noted it yet.
            return Some(());
        }
        let _ = state.write(&server.data);
        Some(())
    }

    /// A standby's business with its upstream.
    fn follow_upstream(&self, system_id: &str, streams: bool, memory: &mut Memory) {
        let server = &self.server;
        let now = server.situation();
        if streams {
            if memory.asked.is_some_and(|at| at.elapsed() < Duration::from_millis(400)) {
                return;
            }
            (memory.asked, memory.sent) = (Some(Instant::now()), None);
            let mut known = server.upstream();
            let Ok(reply) = call(
                &known.host,
                known.port,
                &Request::Stream { name: String::new(), cascade: false },
                PATIENCE,
            ) else {
                return;
            };
            if reply.refused.is_some() {
                // openGauss checks at connecting alone.
                return;
            }
            if !serves(server.mode(), &reply, true) {
                let _ = server.adapt_files(&Situation { upstream: None, ..now });
                return;
            }
            (known.role, known.state, known.detail) = (reply.role, reply.state, None);
            self.remember_upstream(&known);
            if memory.generation != Some(reply.generation)
                && let Ok(conf) = call(&known.host, known.port, &Request::Conf, PATIENCE)
                && self.take_upstream_file(&conf.body).is_ok()
            {
                memory.generation = Some(reply.generation);
            }
            return;
        }
        // It is sent anew at every connect.
        memory.generation = None;
        // The walreceiver gets a second to connect where it was just sent.
        if memory.sent.is_some_and(|at| at.elapsed() < Duration::from_secs(1)) {
            return;
        }
        let mut detail = memory.scan_log(&server.data.join("pg_log"));
        let settings = server.loaded_settings();
        let cascade = server.mode() == Mode::Cascade;
        let request = Request::Stream { name: settings.application_name().to_owned(), cascade };
        let mut channels: Vec<LabChannel> = settings.channels();
        channels.sort_by_key(|c| c.cascade);
        for channel in channels {
            let Ok(reply) = call(&channel.remote_host, channel.remote_port, &request, PATIENCE) else {
                continue;
            };
            if reply.refused.is_some() || !serves(server.mode(), &reply, false) {
                continue;
            }
            if reply.system_id != system_id {
                detail = Some("System id not matched".to_owned());
                continue;
            }
            self.remember_upstream(&Upstream {
                detail: detail.clone(),
                host: channel.remote_host.clone(),
                port: channel.remote_port,
                role: reply.role,
                state: reply.state,
                channel: u32::from(channel.number),
            });
            memory.sent = Some(Instant::now());
            let upstream = Some((channel.remote_host, reply.sql_port));
            if now.upstream != upstream {
                let _ = server.adapt_files(&Situation { upstream, ..now });
            }
            return;
        }
        self.remember_upstream(&Upstream { detail, ..server.upstream() });
        if now.upstream.is_some() {
            let _ = server.adapt_files(&Situation { upstream: None, ..now });
        }
    }

    fn remember_upstream(&self, known: &Upstream) {
        if *known != self.server.upstream()
            && let Ok(text) = serde_json::to_string(known)
        {
            let _ = self.server.set_note("upstream", &text);
        }
    }

    /// Takes over the upstream's postgresql.conf, under gs_guc's lock.
    fn take_upstream_file(&self, upstream: &str) -> io::Result<()> {
        let path = self.server.data.join("postgresql.conf");
        let _held = record_lock(&self.server.data.join("postgresql.conf.lock"))?;
        let own = self.server.read_text("postgresql.conf");
        let new = merge_upstream_file(&own, upstream);
        if new == own {
            return Ok(());
        }
        self.server.log(&format!("LOG:  walreceiver received gaussdb config file size: {}", upstream.len()));
        let part = self.server.data.join("postgresql.conf.wal.bak");
        OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&part)?
            .write_all(new.as_bytes())?;
        fs::rename(part, path)?;
        self.server.reload()
    }
}

/// Whether a server that answers so can be streamed from in this mode.
fn serves(mode: Mode, reply: &Reply, already: bool) -> bool {
    match mode {
        Mode::Standby => reply.role == Mode::Primary.words(),
        // A cascade standby stays with an upstream which has lost its own.
        Mode::Cascade => {
            reply.role == Mode::Standby.words() && (already || reply.state == DbState::Normal.words())
        }
        _ => false,
    }
}

/// What the agent remembers from one look to the next.
#[derive(Default)]
struct Memory {
    asked: Option<Instant>,
    sent: Option<Instant>,
    generation: Option<u64>,
    log: Option<(PathBuf, u64)>,
}

impl Memory {
    /// Why the server cannot stream, from what its log says newly; `None` if it does not say.
    fn scan_log(&mut self, dir: &std::path::Path) -> Option<String> {
        let newest = newest_log(dir)?;
        let at = match &self.log {
            Some((path, at)) if *path == newest => *at,
            _ => 0,
        };
        let mut text = Vec::new();
        let mut file = File::open(&newest).ok()?;
        // The last word counts while nothing new is said.
        let from = at.saturating_sub(4096);
        file.seek(SeekFrom::Start(from)).ok()?;
        file.read_to_end(&mut text).ok()?;
        self.log = Some((newest, from + text.len() as u64));
        let text = String::from_utf8_lossy(&text);
        let lost = [
            "has already been removed",
            "is not in this server's history",
            "forked off current database system timeline",
        ];
        lost.iter().any(|words| text.contains(words)).then(|| "WAL segment removed".to_owned())
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// The POSIX record lock that gs_guc takes; an error if somebody holds it.
fn record_lock(path: &std::path::Path) -> io::Result<File> {
    let file =
        OpenOptions::new().create(true).read(true).write(true).truncate(false).mode(0o600).open(path)?;
    let range = nix::libc::flock {
        l_type: i16::try_from(nix::libc::F_WRLCK).unwrap_or(1),
        l_whence: i16::try_from(nix::libc::SEEK_SET).unwrap_or(0),
        l_start: 0,
        l_len: 1024,
        l_pid: 0,
    };
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETLK(&range))?;
    Ok(file)
}
