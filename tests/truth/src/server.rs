//! A server of its own for each engine, in a network of its own with many addresses, that takes one file after the other.

use std::ffi::OsStr;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};
use og_lab::{Engine, Lab, LabOptions, NodeSpec, Role};

use crate::Result;
use crate::wire::{Door, Session};

/// How long a server may take for what takes it a moment.
const PATIENCE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(2);

/// The addresses that the network has, and so those from which clients can come: to an address of the machine itself one
/// comes from the same address.
pub const ADDRESSES: [&str; 10] = [
    "127.0.0.1",
    "10.7.0.1",
    "10.7.0.12",
    "10.7.1.5",
    "10.200.3.4",
    "192.168.0.1",
    "192.168.0.12",
    "::1",
    "fd00:7::1",
    "fd00:7::12",
];

/// The users that a server has beside the administrator; `g1` is a role with the member `u1`.
pub const USERS: [&str; 6] = ["u1", "u2", "u3", "g1", "all", "A_b"];

/// Their networks: that of one address of each kind has other members, for `samenet`; all others are alone, so that no
/// address is another one's second.
fn with_bits(address: &str) -> String {
    let bits = match (address, address.contains(':')) {
        ("10.7.0.1", _) => 24,
        ("fd00:7::1", _) => 64,
        (_, false) => 32,
        (_, true) => 128,
    };
    format!("{address}/{bits}")
}

/// A running server.
pub struct Server {
    engine: Engine,
    home: Home,
    /// Its data directory.
    pub data: PathBuf,
    admin: String,
    port: u16,
    socket: PathBuf,
    network: PathBuf,
    logs: Logs,
    marks: u32,
}

/// What ends the server when it is dropped.
enum Home {
    Lab(Option<Lab>),
    Own(Child, #[expect(dead_code, reason = "it goes with the server")] tempfile::TempDir),
}

/// Whether the server took a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it did.
    pub taken: bool,
    /// What its log says of it.
    pub words: String,
}

impl Server {
    /// A server of this engine.
    ///
    /// # Errors
    /// What kept it from coming up.
    pub fn up(engine: Engine) -> Result<Self> {
        let mut server = match engine {
            Engine::OpenGauss(_) => Self::opengauss(engine)?,
            Engine::Postgres => Self::postgres()?,
        };
        server.wait_until("lets us in", |s| s.ask("select 1").map(drop))?;
        for user in USERS {
            let how = if engine.is_opengauss() { " password 'Lab_Passw0rd'" } else { "" };
            server.ask(&format!("create user \"{user}\"{how}"))?;
        }
        server.ask("grant g1 to u1")?;
        server.marks = 0;
        Ok(server)
    }

    /// What this machine lacks for a server of this engine.
    #[must_use]
    pub fn missing(engine: Engine) -> Vec<String> {
        og_lab::missing(engine)
    }

    fn opengauss(engine: Engine) -> Result<Self> {
        let lab = Lab::up(&LabOptions {
            name: format!("truth{}", std::process::id()),
            engine,
            nodes: vec![NodeSpec::new("n1", Role::Primary)],
            base_dir: None,
            programs: PathBuf::new(),
        })
        .map_err(|e| e.to_string())?;
        let node = lab.nodes().first().ok_or("the lab has no node")?.clone();
        let network = Path::new("/run/netns").join(&node.namespace);
        for address in ADDRESSES {
            // The loopback's own are there already.
            let added = node.exec_root(["ip", "addr", "replace", &with_bits(address), "dev", "lo"]).output();
            added.map_err(|e| format!("ip: {e}"))?;
        }
        let server = Self {
            engine,
            data: node.data_dir.clone(),
            admin: node.os_user.clone(),
            port: node.base_port,
            socket: node.dir.join("tmp").join(format!(".s.PGSQL.{}", node.base_port)),
            network,
            logs: Logs::new(node.data_dir.join("pg_log")),
            home: Home::Lab(Some(lab)),
            marks: 0,
        };
        let conf = server.data.join("postgresql.conf");
        let text = fs::read_to_string(&conf).map_err(|e| e.to_string())?;
        fs::write(&conf, format!("{text}\nlisten_addresses = '*'\nlog_min_messages = log\n"))
            .map_err(|e| e.to_string())?;
        server.send_sighup()?;
        Ok(server)
    }

    fn postgres() -> Result<Self> {
        let user =
            User::from_name("postgres").map_err(|e| e.to_string())?.ok_or("there is no user postgres")?;
        let folder = tempfile::Builder::new().prefix("og-truth").tempdir().map_err(|e| e.to_string())?;
        let data = folder.path().join("data");
        let own = |path: &Path| {
            chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
                .map_err(|e| format!("{}: {e}", path.display()))
        };
        own(folder.path())?;
        let bin = og_lab::engine::postgres::bin_dir().map_err(|e| e.to_string())?;
        let as_user = |program: &str| {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(bin.join(program));
            command
        };
        let made = as_user("initdb")
            .args(["--no-sync", "--auth=trust", "--username=og", "--encoding=SQL_ASCII", "--locale=C", "-D"])
            .arg(&data)
            .output()
            .map_err(|e| format!("initdb: {e}"))?;
        if !made.status.success() {
            return Err(format!("initdb: {}", String::from_utf8_lossy(&made.stderr)));
        }
        let conf = data.join("postgresql.conf");
        let text = fs::read_to_string(&conf).map_err(|e| e.to_string())?;
        let small = "listen_addresses = '*'\nfsync = off\nautovacuum = off\nshared_buffers = 16MB\n";
        let socket = format!("unix_socket_directories = '{}'\n", folder.path().display());
        fs::write(&conf, [&text, small, &socket].concat()).map_err(|e| e.to_string())?;
        let logs = folder.path().join("log");
        fs::create_dir(&logs).map_err(|e| e.to_string())?;
        let log = fs::File::create(logs.join("server")).map_err(|e| e.to_string())?;
        let adds = ADDRESSES.map(|a| format!("ip addr replace {} dev lo; ", with_bits(a)));
        let script = format!("ip link set lo up; {}exec \"$@\"", adds.concat());
        // A network of its own, and an end when we end, however that comes.
        let child = Command::new("unshare")
            .args(["--net", "sh", "-c", &script, "sh", "setpriv", "--pdeathsig=KILL"])
            .args(["--reuid=postgres", "--regid=postgres", "--init-groups"])
            .arg(bin.join("postgres"))
            .arg("-D")
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| format!("cannot start PostgreSQL: {e}"))?;
        Ok(Self {
            engine: Engine::Postgres,
            data,
            admin: "og".to_owned(),
            port: 5432,
            socket: folder.path().join(".s.PGSQL.5432"),
            network: PathBuf::from(format!("/proc/{}/ns/net", child.id())),
            logs: Logs::new(logs),
            home: Home::Own(child, folder),
            marks: 0,
        })
    }

    /// What runs here.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// The administrator, by whom the server is asked.
    #[must_use]
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// The rows of a statement, asked by the administrator in a session of its own.
    ///
    /// # Errors
    /// The server's words.
    pub fn ask(&self, statement: &str) -> Result<Vec<Vec<Vec<u8>>>> {
        let Home::Lab(Some(lab)) = &self.home else {
            return Session::open(&self.socket, &self.admin)?.ask(statement);
        };
        // openGauss trusts its administrator only as the user of the operating system that it runs as.
        let text = lab.sql("n1", statement).map_err(|e| e.to_string())?;
        Ok(text
            .lines()
            .map(|line| line.split('|').map(|column| column.as_bytes().to_vec()).collect())
            .collect())
    }

    /// What one of the server's own programs prints.
    ///
    /// # Errors
    /// It cannot be run or says that it failed.
    pub fn program(&self, name: &str, args: &[&OsStr]) -> Result<String> {
        let mut command = match &self.home {
            Home::Lab(lab) => {
                let node = lab.as_ref().and_then(|lab| lab.nodes().first()).ok_or("the lab has no node")?;
                node.exec([OsStr::new(name)].iter().chain(args))
            }
            Home::Own(..) => {
                let bin = og_lab::engine::postgres::bin_dir().map_err(|e| e.to_string())?;
                let mut command = Command::new(bin.join(name));
                command.args(args);
                command
            }
        };
        let done = command.output().map_err(|e| format!("{name}: {e}"))?;
        if done.status.success() {
            return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
        }
        Err(format!("{name}: {}: {}", done.status, String::from_utf8_lossy(&done.stderr).trim()))
    }

    /// The door for a client from this address, or through the local socket.
    #[must_use]
    pub fn door_for(&self, client: Option<IpAddr>) -> Door {
        client.map_or_else(|| Door::Socket(self.socket.clone()), |ip| Door::Tcp(ip, self.port))
    }

    /// Runs `work` in the server's network.
    ///
    /// # Errors
    /// The network cannot be entered.
    pub fn run_in_namespace<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let network =
            fs::File::open(&self.network).map_err(|e| format!("{}: {e}", self.network.display()))?;
        // A thread has a network of its own.
        let done = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&network, CloneFlags::CLONE_NEWNET).map_err(|e| format!("setns: {e}"))?;
                Ok(work())
            });
            thread.join()
        });
        done.unwrap_or_else(|_| Err("a thread in the server's network panicked".to_owned()))
    }

    /// Replaces a file of the server's by this text, makes the server read its files again, and says whether it took
    /// this one.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub fn load_file(&mut self, name: &str, text: &[u8]) -> Result<Verdict> {
        let path = self.data.join(name);
        fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        let logs = self.logs.sizes();
        self.send_sighup()?;
        self.wait_until("says that it reads its files", |s| {
            let told = s.logs.text_since(&logs).contains("SIGHUP");
            if told { Ok(()) } else { Err("nothing in its log".to_owned()) }
        })?;
        // The signal is handled to its end before the next connection is taken.
        self.marks += 1;
        let mark = format!("mark {} of {}", self.marks, std::process::id());
        self.wait_until("lets us in", |s| {
            s.ask(&format!("do $$ begin raise log '{mark}'; end $$")).map(drop)
        })?;
        self.wait_until("has written its log", |s| {
            let told = s.logs.text_since(&logs).contains(&mark);
            if told { Ok(()) } else { Err("no mark in it".to_owned()) }
        })?;
        let said = self.logs.text_since(&logs);
        let about =
            ["hba", "configuration", "invalid", "rror", "end-of-line", "not supported", "token", "parameter"];
        let words: Vec<&str> =
            said.lines().filter(|l| about.iter().any(|a| l.contains(a)) && !l.contains(&mark)).collect();
        let refused = if name == "pg_hba.conf" {
            words.iter().any(|l| l.contains("not reloaded"))
        } else {
            // A value that is not liked, or needs a restart, does not keep the others out.
            words.iter().any(|l| l.contains("no changes were applied"))
        };
        Ok(Verdict { taken: !refused, words: words.join("\n") })
    }

    fn send_sighup(&self) -> Result {
        let path = self.data.join("postmaster.pid");
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let pid = text.lines().next().and_then(|l| l.parse().ok()).ok_or("no pid in postmaster.pid")?;
        kill(Pid::from_raw(pid), Signal::SIGHUP).map_err(|e| format!("cannot signal the server: {e}"))
    }

    fn wait_until<T>(&self, what: &str, look: impl Fn(&Self) -> Result<T>) -> Result<T> {
        let end = Instant::now() + PATIENCE;
        loop {
            match look(self) {
                Ok(found) => return Ok(found),
                Err(seen) if Instant::now() > end => {
                    return Err(format!(
                        "{}: expected that the server {what}; last seen: {seen}",
                        self.engine
                    ));
                }
                Err(_) => std::thread::sleep(INTERVAL),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        match &mut self.home {
            Home::Lab(lab) => {
                if let Some(Err(e)) = lab.take().map(Lab::down) {
                    eprintln!("the lab was not taken down: {e}");
                }
            }
            Home::Own(child, _) => {
                // SIGQUIT is an end at once, of the server's children too.
                let pid = i32::try_from(child.id()).map(Pid::from_raw);
                let ended = pid
                    .map_err(|e| e.to_string())
                    .and_then(|p| kill(p, Signal::SIGQUIT).map_err(|e| e.to_string()));
                if let Err(e) = ended.and_then(|()| child.wait().map_err(|e| e.to_string())) {
                    eprintln!("the server was not ended: {e}");
                }
            }
        }
    }
}

/// A folder of log files.
struct Logs(PathBuf);

impl Logs {
    fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    fn files(&self) -> impl Iterator<Item = PathBuf> {
        fs::read_dir(&self.0).into_iter().flatten().flatten().map(|e| e.path())
    }

    fn sizes(&self) -> Vec<(PathBuf, u64)> {
        self.files().map(|f| (f.clone(), fs::metadata(f).map_or(0, |m| m.len()))).collect()
    }

    /// What was written since the files had these sizes.
    fn text_since(&self, sizes: &[(PathBuf, u64)]) -> String {
        use std::io::{Read, Seek, SeekFrom};
        let mut text = Vec::new();
        for file in self.files() {
            let from = sizes.iter().find(|(f, _)| *f == file).map_or(0, |(_, size)| *size);
            let read = fs::File::open(&file).and_then(|mut f| {
                f.seek(SeekFrom::Start(from))?;
                f.read_to_end(&mut text)
            });
            if let Err(e) = read {
                text.extend(format!("{}: {e}\n", file.display()).bytes());
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}
