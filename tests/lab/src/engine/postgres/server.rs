//! One server: its files, its configuration as loaded, its start, stop and reload.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::conf::{LabChannel, Settings, Situation};
use super::hba::Rules;
use super::state::{DbState, Mode, State};
use crate::wire::{Client, Failure, Rows};

/// One server, by its data directory. What the stand-ins know about it is kept beside that, in `DATA_DIR.lab`, so that
/// neither a build nor a curious module trips over it.
#[derive(Clone, Debug)]
pub struct Server {
    /// The data directory.
    pub data: PathBuf,
    /// The folder beside it.
    pub side: PathBuf,
}

/// What the agent last found out about the upstream of a standby.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// `detail_information` while it does not stream, when there is a better word than Connecting... and Disconnected.
    pub detail: Option<String>,
    /// Address of the upstream.
    pub host: String,
    /// Its port for replication, as the channel names it.
    pub port: u16,
    /// Its role, as it says.
    pub role: String,
    /// Its db_state, as it says.
    pub state: String,
    /// The number of the channel.
    pub channel: u32,
}

/// How a start ended.
#[derive(Debug)]
pub enum Started {
    /// It takes connections.
    Up,
    /// It went down again, or did not try; its words, and the exit status that gs_ctl names.
    Refused(Vec<String>, u32),
    /// Not up within the limit; it goes on trying.
    Late,
}

impl Server {
    /// The server of this data directory.
    pub fn new(data: &Path) -> Self {
        let mut side = data.as_os_str().to_owned();
        side.push(".lab");
        Self { data: data.to_owned(), side: side.into() }
    }

    /// The pid of its postmaster: the first line of postmaster.pid, if that process lives.
    pub fn pid(&self) -> Option<i32> {
        let text = fs::read_to_string(self.data.join("postmaster.pid")).ok()?;
        let pid = text.lines().next()?.trim().parse().ok()?;
        is_process_alive(pid).then_some(pid)
    }

    /// The settings in the file as it stands now.
    pub fn read_settings(&self) -> Settings {
        Settings::parse(&self.read_text("postgresql.conf"), "").unwrap_or_default()
    }

    /// The settings the running server was given; those of the file if it never ran.
    pub fn loaded_settings(&self) -> Settings {
        match fs::read(self.side.join("loaded.conf")) {
            Ok(text) => Settings::parse(&String::from_utf8_lossy(&text), "").unwrap_or_default(),
            Err(_) => self.read_settings(),
        }
    }

    /// The rules the running server was given.
    pub fn loaded_rules(&self) -> Rules {
        let text = fs::read(self.side.join("loaded.hba")).unwrap_or_default();
        Rules::parse(&String::from_utf8_lossy(&text), "").unwrap_or_default()
    }

    /// A file of the data directory, as text.
    pub fn read_text(&self, name: &str) -> String {
        fs::read(self.data.join(name)).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    /// A file of the folder beside it, as text.
    pub fn read_note(&self, name: &str) -> String {
        fs::read_to_string(self.side.join(name)).unwrap_or_default()
    }

    /// Writes a file of the folder beside it, whole.
    pub fn set_note(&self, name: &str, text: &str) -> io::Result<()> {
        let part = self.side.join(format!("{name}.{}.part", std::process::id()));
        fs::write(&part, text)?;
        fs::rename(part, self.side.join(name))
    }

    /// How it was started.
    pub fn mode(&self) -> Mode {
        Mode::from_option(self.read_note("mode").trim()).unwrap_or(Mode::Normal)
    }

    /// Notes a mode, as postmaster.opts too, so that a restart keeps it.
    pub fn set_mode(&self, mode: Mode) -> io::Result<()> {
        self.set_note("mode", mode.option().unwrap_or("normal"))?;
        let mut opts = format!("{} \"-D\" \"{}\"", gaussdb().display(), self.data.display());
        if let Some(option) = mode.option() {
            let _ = write!(opts, " \"-M\" \"{option}\"");
        }
        fs::write(self.data.join("postmaster.opts"), opts + "\n")
    }

    /// The mode as seen: a server which is no standby is a primary where it has a first channel, else normal.
    pub fn role(&self) -> Mode {
        match self.mode() {
            mode if mode.is_in_recovery() => mode,
            _ if self.loaded_settings().has_channel() => Mode::Primary,
            _ => Mode::Normal,
        }
    }

    /// What the server is doing.
    pub fn situation(&self) -> Situation {
        serde_json::from_str(&self.read_note("situation")).unwrap_or_default()
    }

    /// What the agent knows of the upstream.
    pub fn upstream(&self) -> Upstream {
        serde_json::from_str(&self.read_note("upstream")).unwrap_or_default()
    }

    /// `static_connections`: grows with the channels at once, shrinks at a restart alone.
    pub fn connections(&self) -> u32 {
        self.read_note("connections").trim().parse().unwrap_or(0)
    }

    /// A connection of the stand-ins' own.
    pub fn connect(&self) -> Result<Client, Failure> {
        let dir = self.loaded_settings().socket_dir(&socket_dir()).to_owned();
        Client::unix(Path::new(&dir), self.loaded_settings().port(), "og_lab", Duration::from_secs(5))
    }

    /// One statement on a connection of its own.
    pub fn ask(&self, sql: &str) -> Result<Rows, Failure> {
        self.connect()?.ask(sql)
    }

    /// Adds a line to the server's log, in the newest file there.
    pub fn log(&self, words: &str) {
        let dir = self.data.join("pg_log");
        let newest = newest_log(&dir).unwrap_or_else(|| dir.join("postgresql-0.log"));
        let _ = fs::create_dir_all(&dir);
        if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(newest) {
            let prefix = format!("{} omm [unknown] localhost 0 0[0:0#0]  0 [BACKEND] ", timestamp(' '));
            // A log that cannot be written is no reason to fail what is logged.
            let _ = file.write_all(format!("{prefix}{words}\n").as_bytes());
        }
    }

    /// The lock on what the stand-ins write beside the data directory.
    fn lock(&self) -> io::Result<Flock<File>> {
        fs::create_dir_all(&self.side)?;
        Flock::lock(File::create(self.side.join("lock"))?, FlockArg::LockExclusive).map_err(|(_, e)| e.into())
    }

    /// Writes the translated files for a situation; true if they changed.
    fn render(&self, settings: &Settings, rules: &Rules, now: &Situation) -> io::Result<bool> {
        let conf =
            settings.to_postgres(&self.data.display().to_string(), &self.side.display().to_string(), now);
        let mut peers: Vec<IpAddr> = Vec::new();
        for channel in settings.channels() {
            peers.extend(channel.remote_host.parse::<IpAddr>().ok());
            peers.extend(channel.local_host.parse::<IpAddr>().ok());
        }
        peers.sort_unstable();
        peers.dedup();
        let hba = rules.translated(&peers, &user());
        let changed = self.read_note("postgresql.conf") != conf || self.read_note("pg_hba.conf") != hba;
        if changed {
            self.set_note("postgresql.conf", &conf)?;
            self.set_note("pg_hba.conf", &hba)?;
        }
        self.set_note("settings", &settings.table())?;
        self.set_note("situation", &serde_json::to_string(now)?)?;
        Ok(changed)
    }

    /// Brings the running server in line with a new situation.
    pub fn adapt_files(&self, now: &Situation) -> io::Result<()> {
        let _held = self.lock()?;
        if self.render(&self.loaded_settings(), &self.loaded_rules(), now)? {
            self.signal(Signal::SIGHUP);
        }
        Ok(())
    }

    /// Sends the postmaster a signal, if it lives.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// What `gs_ctl reload` and the arrival of the primary's file do. Refusals go to the log alone, as with openGauss.
    pub fn reload(&self) -> io::Result<()> {
        let held = self.lock()?;
        let old = self.loaded_settings();
        let text = self.read_text("postgresql.conf");
        // Sent to the standbys even if this server refuses it.
        self.set_note("sighup.conf", &text)?;
        let conf = Settings::parse(&text, &self.data.join("postgresql.conf").display().to_string());
        let hba_text = self.read_text("pg_hba.conf");
        let hba = Rules::parse(&hba_text, &self.data.join("pg_hba.conf").display().to_string());
        let mut words = Vec::new();
        let mut signal = false;
        let settings = match conf {
            Ok(new) => {
                signal = true;
                let new = old.with_start_values_kept(new);
                self.set_note("loaded.conf", &new.dump())?;
                self.set_note("connections", &self.connections().max(count_connections(&new)).to_string())?;
                new
            }
            Err(refused) => {
                words.extend(refused);
                old.clone()
            }
        };
        match hba {
            Ok(_) => self.set_note("loaded.hba", &hba_text)?,
            Err(refused) => {
                words.extend(refused);
                words.push("WARNING:  pg_hba.conf not reloaded".to_owned());
            }
        }
        let before = self.loaded_at();
        signal |= self.render(&settings, &self.loaded_rules(), &self.situation())?;
        if signal {
            self.signal(Signal::SIGHUP);
        } else {
            words.insert(0, "LOG:  received SIGHUP, reloading configuration files".to_owned());
        }
        for line in words {
            self.log(&line);
        }
        drop(held);
        // A channel that changes or goes ends every walsender and the walreceiver of this server.
        if !channels_kept(&old.channels(), &settings.channels()) {
            let end = Instant::now() + Duration::from_secs(2);
            while self.loaded_at() == before && Instant::now() < end {
                sleep(Duration::from_millis(20));
            }
            let sender = "select pg_terminate_backend(pid) from pg_catalog.pg_stat_replication";
            let _ = self.ask(sender);
            let receiver = self.ask("select pid from pg_catalog.pg_stat_wal_receiver");
            for pid in receiver.into_iter().flatten().flatten().filter_map(|p| p.parse().ok()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
        }
        Ok(())
    }

    /// When the server last took its configuration, in its own words.
    fn loaded_at(&self) -> String {
        self.ask("select pg_conf_load_time()")
            .ok()
            .and_then(|r| r.into_iter().flatten().next())
            .unwrap_or_default()
    }

    /// Starts the server and its agent.
    pub fn start(&self, mode: Mode, log: Option<&Path>, limit: Duration) -> io::Result<Started> {
        let (settings, rules) = match self.read_valid_files() {
            Ok(both) => both,
            Err(refused) => return Ok(refused),
        };
        fs::create_dir_all(&self.side)?;
        self.stop_agent();
        self.settle_files();
        self.set_note("loaded.conf", &settings.dump())?;
        self.set_note("sighup.conf", &self.read_text("postgresql.conf"))?;
        self.set_note("loaded.hba", &self.read_text("pg_hba.conf"))?;
        self.set_note("connections", &count_connections(&settings).to_string())?;
        self.set_note("upstream", "{}")?;
        let signal = self.data.join("standby.signal");
        if mode.is_in_recovery() {
            fs::write(&signal, "")?;
        } else if signal.exists() {
            fs::remove_file(&signal)?;
        }
        let now =
            Situation { recovery: mode.is_in_recovery(), socket_dir: socket_dir(), ..Situation::default() };
        {
            let _held = self.lock()?;
            self.render(&settings, &rules, &now)?;
        }
        let output_path = log.map_or_else(|| self.side.join("start.log"), Path::to_owned);
        let output = OpenOptions::new().create(true).append(true).open(&output_path)?;
        let at = output.metadata()?.len();
        let mut child = Command::new(program())
            .arg("-D")
            .arg(&self.data)
            // In one word with -F, which turns fsync off as the file does: gaussdb's command line names no files, and who
            // looks there for a server's files, as og_hba does, must not be led to those of the lab.
            .arg(format!("-Fcconfig_file={}", self.side.join("postgresql.conf").display()))
            .env_remove("PGDATA")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = child.try_wait()? {
                let text = fs::read(&output_path)?;
                let said = String::from_utf8_lossy(&text[usize::try_from(at).unwrap_or(0).min(text.len())..])
                    .into_owned();
                let code = u32::try_from(status.code().unwrap_or(1)).unwrap_or(1);
                return Ok(Started::Refused(said.lines().map(str::to_owned).collect(), code * 256));
            }
            // Line 8 of postmaster.pid is the word pg_ctl itself waits for.
            let text = self.read_text("postmaster.pid");
            let up = text.lines().nth(7).is_some_and(|w| matches!(w.trim(), "ready" | "standby"));
            if up && text.lines().next().is_some_and(|p| p.trim() == child.id().to_string()) {
                break;
            }
            if Instant::now() >= end {
                self.set_mode(mode)?;
                self.start_agent()?;
                return Ok(Started::Late);
            }
            sleep(Duration::from_millis(20));
        }
        self.set_mode(mode)?;
        let state = if mode.is_in_recovery() { DbState::NeedRepair } else { DbState::Normal };
        State::new(self.role(), state, self.connections()).write(&self.data)?;
        self.start_agent()?;
        Ok(Started::Up)
    }

    /// The files a start reads, or what openGauss says of them before it goes down.
    fn read_valid_files(&self) -> Result<(Settings, Rules), Started> {
        if self.data.join("build_completed.start").exists() {
            let words = "gaussdb: Uncompleted build is detected, please build again and then start database after its success.";
            return Err(Started::Refused(vec![words.to_owned()], 512));
        }
        let refuse = |mut words: Vec<String>, last: String| {
            words.push(last);
            for line in &words {
                self.log(line);
            }
            Started::Refused(words, 256)
        };
        let path = self.data.join("postgresql.conf").display().to_string();
        let settings = Settings::parse(&self.read_text("postgresql.conf"), &path).map_err(|words| {
            refuse(words, format!("FATAL:  configuration file \"{path}\" contains errors"))
        })?;
        for channel in settings.channels() {
            // Any address of this machine can be bound; no other can.
            if let Ok(ip) = channel.local_host.parse::<IpAddr>()
                && UdpSocket::bind((ip, 0)).is_err()
            {
                let words =
                    vec![format!("LOG:  could not bind IPv4 socket: Cannot assign requested address")];
                let last = format!(
                    "FATAL:  could not create Ha listen socket for ReplConnInfoArr[{}]",
                    channel.number
                );
                return Err(refuse(words, last));
            }
        }
        let path = self.data.join("pg_hba.conf").display().to_string();
        let text = fs::read(&path).map_err(|_| {
            let words = vec![format!(
                "LOG:  could not open configuration file \"{path}\": No such file or directory"
            )];
            refuse(words, "FATAL:  could not load pg_hba.conf".to_owned())
        })?;
        let rules = Rules::parse(&String::from_utf8_lossy(&text), &path)
            .map_err(|words| refuse(words, "FATAL:  could not load pg_hba.conf".to_owned()))?;
        Ok((settings, rules))
    }

    /// Stops the server; false if it still runs after the limit.
    pub fn stop(&self, signal: Signal, limit: Duration) -> bool {
        let Some(pid) = self.pid() else { return true };
        let _ = kill(Pid::from_raw(pid), signal);
        let end = Instant::now() + limit;
        while is_process_alive(pid) {
            if Instant::now() >= end {
                return false;
            }
            sleep(Duration::from_millis(20));
        }
        self.stop_agent();
        true
    }

    /// Sends this signal to the server and does not wait.
    pub fn tell_to_stop(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            let _ = kill(Pid::from_raw(pid), signal);
        }
        self.stop_agent();
    }

    /// Clears away what a killed server left: its children end by themselves, its pid file does not.
    pub fn settle_files(&self) {
        let pid_file = self.data.join("postmaster.pid");
        if !pid_file.exists() || self.pid().is_some() {
            return;
        }
        let lives_here =
            |entry: fs::DirEntry| fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == self.data);
        let end = Instant::now() + Duration::from_secs(10);
        while fs::read_dir("/proc").is_ok_and(|mut entries| entries.any(|e| e.is_ok_and(lives_here))) {
            if Instant::now() >= end {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        // PostgreSQL would take the number for a living server where nobody has reaped the dead one yet.
        let settings = self.read_settings();
        let lock = format!(".s.PGSQL.{}.lock", settings.port());
        let lock = Path::new(settings.socket_dir(&socket_dir())).join(lock);
        let owner = fs::read_to_string(&lock).ok().and_then(|t| t.lines().next()?.trim().parse().ok());
        if owner.is_some_and(|pid| !is_process_alive(pid)) {
            let _ = fs::remove_file(lock);
        }
        let _ = fs::remove_file(pid_file);
    }

    /// Kills what is left of the server.
    pub fn kill_server(&self) {
        self.signal(Signal::SIGKILL);
        let end = Instant::now() + Duration::from_secs(5);
        while self.pid().is_some() && Instant::now() < end {
            sleep(Duration::from_millis(20));
        }
        self.stop_agent();
    }

    /// Starts the agent and waits until it listens.
    pub fn start_agent(&self) -> io::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.side.join("agent.log"))?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["internal-agent", "-D"])
            .arg(&self.data)
            .current_dir("/")
            .stdin(Stdio::null())
            .stderr(log);
        // Its own group: what ends the caller's must not end the server's.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        self.set_note("agent.pid", &child.id().to_string())?;
        let mut word = [0; 5];
        if let Some(mut out) = child.stdout.take() {
            let _ = io::Read::read(&mut out, &mut word)?;
        }
        Ok(())
    }

    /// Ends the agent and waits until it is gone; never the caller itself.
    fn stop_agent(&self) {
        let Ok(pid) = self.read_note("agent.pid").trim().parse::<i32>() else { return };
        let is_agent = fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|c| String::from_utf8_lossy(&c).contains("internal-agent"));
        if !is_agent || u32::try_from(pid) == Ok(std::process::id()) {
            return;
        }
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        let end = Instant::now() + Duration::from_secs(2);
        while is_process_alive(pid) && Instant::now() < end {
            sleep(Duration::from_millis(5));
        }
    }

    /// Promotes a standby; true when it is seen to have left recovery.
    pub fn promote(&self) -> bool {
        // The partner is assumed to be there until the agent knows better: a commit waits rather than goes unsafe.
        let promoted = self
            .ask("select pg_promote(true, 30)")
            .is_ok_and(|rows| rows.first().and_then(|r| r.first()).is_some_and(|v| v == "t"));
        if promoted {
            let _ = self.set_mode(Mode::Primary);
            let now = Situation { recovery: false, upstream: None, partner: true, ..self.situation() };
            let _ = self.adapt_files(&now);
            let _ = State::new(self.role(), DbState::Normal, self.connections()).write(&self.data);
        }
        promoted
    }
}

/// Whether nothing that was there has changed or gone; an addition disturbs nobody.
fn channels_kept(old: &[LabChannel], new: &[LabChannel]) -> bool {
    old.iter().all(|channel| new.contains(channel))
}

fn count_connections(settings: &Settings) -> u32 {
    u32::try_from(settings.channels().len()).unwrap_or(0)
}

/// Whether a process of this pid lives and is no zombie.
pub fn is_process_alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|s| s.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with(['Z', 'X'])))
}

/// The newest file in the log folder.
pub fn newest_log(dir: &Path) -> Option<PathBuf> {
    fs::read_dir(dir)
        .ok()?
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|x| x == "log"))
        .max()
}

/// The server program as the world sees it.
fn gaussdb() -> PathBuf {
    std::env::var_os("GAUSSHOME")
        .map_or_else(|| PathBuf::from("gaussdb"), |home| PathBuf::from(home).join("bin/gaussdb"))
}

/// The server program as it is: PostgreSQL's, called gaussdb so that a process list shows that name.
fn program() -> PathBuf {
    std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.canonicalize().ok()?.parent()?.parent()?.join("libexec/gaussdb")))
        .filter(|p| p.exists())
        .unwrap_or_else(|| super::bin_dir().unwrap_or_default().join("postgres"))
}

/// PGHOST, where a socket goes unless a file says otherwise.
pub fn socket_dir() -> String {
    std::env::var("PGHOST").unwrap_or_else(|_| "/tmp".to_owned())
}

/// The OS user, who is the initial database user.
pub fn user() -> String {
    nix::unistd::User::from_uid(nix::unistd::geteuid())
        .ok()
        .flatten()
        .map_or_else(|| "omm".to_owned(), |u| u.name)
}

/// The time as in logs: date, `between`, time with milliseconds, in UTC.
pub fn timestamp(between: char) -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = (since.as_secs(), since.subsec_millis());
    let (mut days, of_day) = (seconds / 86400, seconds % 86400);
    let mut year = 1970;
    let leap = |y: u64| (y.is_multiple_of(4) && !y.is_multiple_of(100)) || y.is_multiple_of(400);
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 0;
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    format!(
        "{year:04}-{:02}-{:02}{between}{:02}:{:02}:{:02}.{millis:03}",
        month + 1,
        days + 1,
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}
