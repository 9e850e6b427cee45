//! A node to do harm to: a data directory, stand-ins for openGauss's programs, and a module called on it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::chown;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::{Uid, User};
use serde_json::Value;

/// What a trial returns: a few words, or what went wrong.
pub type Tried<T = String> = Result<T, String>;

/// A call that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(90);

/// A folder with `data` (the node) and `bin` (its GAUSSHOME is the folder).
pub struct Sandbox {
    dir: tempfile::TempDir,
    server: Option<Child>,
    /// Whom the modules are run as; ourselves when none is named.
    user: Option<User>,
}

/// The files of a node by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What came of one call.
pub struct Ran {
    /// The JSON object it printed; none when it was killed before.
    pub result: Option<Value>,
    /// Its exit status, or 128 + the signal that ended it.
    pub status: i32,
    /// How long it took.
    pub took: Duration,
}

impl Ran {
    /// The result.
    pub fn result(&self) -> Tried<&Value> {
        self.result.as_ref().ok_or_else(|| format!("no result, exit status {}", self.status))
    }

    /// `error.kind`, empty when it did not fail.
    pub fn kind(&self) -> &str {
        self.result.as_ref().and_then(|r| r["error"]["kind"].as_str()).unwrap_or_default()
    }

    /// That it did not fail.
    pub fn require_success(&self) -> Tried<&Value> {
        let told = self.result()?;
        if told["failed"] == false { Ok(told) } else { Err(format!("failed: {}", told["msg"])) }
    }

    /// That it failed with one of these kinds, and said why.
    pub fn require_failure(&self, kinds: &[&str]) -> Tried {
        let told = self.result()?;
        let detail = told["error"]["detail"].as_str().unwrap_or_default();
        if told["failed"] != true || !kinds.contains(&self.kind()) || detail.len() < 10 {
            return Err(format!("expected {}, but {}", kinds.join(" or "), brief(told)));
        }
        Ok(self.kind().to_owned())
    }
}

/// A result in one line.
pub fn brief(result: &Value) -> String {
    let text = format!(
        "changed {}, failed {}, {}: {}",
        result["changed"], result["failed"], result["error"]["kind"], result["msg"]
    );
    text.chars().take(300).collect()
}

impl Sandbox {
    /// An empty node.
    pub fn new() -> Tried<Self> {
        let dir = tempfile::Builder::new().prefix("og_faults").tempdir().map_err(|e| e.to_string())?;
        let sandbox = Self { dir, server: None, user: None };
        // Another user must come through to the data directory.
        set_mode(sandbox.dir.path(), 0o755)?;
        for name in ["bin", "lib", "data", "loaded", "open"] {
            let folder = sandbox.path(name);
            fs::create_dir(&folder).map_err(|e| e.to_string())?;
        }
        set_mode(&sandbox.data(), 0o700)?;
        Ok(sandbox)
    }

    /// Makes modules run as the user nobody from here on, who owns the node then. Who is not root runs them as himself.
    ///
    /// The modules are copied beside the node: nobody may not come to where they are built.
    pub fn disown(&mut self, module: &str) -> Tried<()> {
        let text = |e: std::io::Error| e.to_string();
        // By a child, for the reason given in `program`.
        let copied = Command::new("cp").arg(program(module)).arg(self.path("bin").join(module)).status();
        if !copied.is_ok_and(|status| status.success()) {
            return Err(format!("cannot copy {module}"));
        }
        if !Uid::effective().is_root() {
            return Ok(());
        }
        let user = User::from_name("nobody").ok().flatten().ok_or("skipped: there is no user nobody")?;
        let mut folders = vec![self.data(), self.path("loaded"), self.path("open")];
        while let Some(path) = folders.pop() {
            chown(&path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).map_err(text)?;
            if path.is_dir() {
                for entry in fs::read_dir(&path).map_err(text)? {
                    folders.push(entry.map_err(text)?.path());
                }
            }
        }
        self.user = Some(user);
        Ok(())
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// A path beside the data directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of the data directory.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> Tried<()> {
        let path = self.data().join(name);
        fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o600)))
            .map_err(|e| format!("cannot write {name}: {e}"))
    }

    /// Writes a program of a few lines of shell. `$home` is the sandbox in it.
    pub fn write_program(&self, name: &str, script: &str) -> Tried<()> {
        let text = format!("#!/bin/sh\nhome={}\n{script}\n", self.dir.path().display());
        let path = self.path("bin").join(name);
        // By a child: a file that this process had open for writing could be held by the fork of another thread.
        let status = Command::new("/bin/sh")
            .args(["-c", r#"printf %s "$2" > "$1" && chmod 755 "$1""#, "sh"])
            .arg(&path)
            .arg(text)
            .status();
        if status.is_ok_and(|s| s.success()) { Ok(()) } else { Err(format!("cannot write {name}")) }
    }

    /// Programs that behave, and something that lives in the data directory as a server does: `gs_ctl reload` copies what
    /// the server has loaded to `loaded`.
    pub fn serve(&mut self) -> Tried<()> {
        self.write_program("gs_ctl", GS_CTL)?;
        self.write_program("gsql", GSQL)?;
        fs::create_dir_all(self.data().join("pg_log")).map_err(|e| e.to_string())?;
        self.start()
    }

    /// The process alone.
    pub fn start(&mut self) -> Tried<()> {
        let server =
            Command::new("sleep").arg("600").current_dir(self.data()).spawn().map_err(|e| e.to_string())?;
        let text = format!("{}\n{}\n1\n5432\n/tmp\n\n1 1\n", server.id(), self.data().display());
        self.server = Some(server);
        self.write("postmaster.pid", text)
    }

    /// The files of the data directory, but for locks and what the server writes.
    pub fn files(&self) -> Tried<Files> {
        let mut files = Files::new();
        read_into(&self.data(), "", &mut files).map_err(|e| format!("cannot read the node: {e}"))?;
        Ok(files)
    }

    /// Calls a module.
    pub fn call(&self, module: &str, args: &Value) -> Tried<Ran> {
        self.call_under(&[], module, args)
    }

    /// Calls a module by another program, such as a tracer.
    pub fn call_under(&self, under: &[&str], module: &str, args: &Value) -> Tried<Ran> {
        self.call_with(under, module, args.to_string().as_bytes())
    }

    /// Calls a module with these bytes as its arguments.
    pub fn call_with(&self, under: &[&str], module: &str, args: &[u8]) -> Tried<Ran> {
        let file = self.path("args.json");
        fs::write(&file, args).map_err(|e| e.to_string())?;
        set_mode(&file, 0o644)?;
        let out = self.path("out.json");
        let stdout = fs::File::create(&out).map_err(|e| e.to_string())?;
        let own = self.path("bin").join(module);
        let program = if own.exists() { own } else { program(module) };
        let words: Vec<_> = under.iter().map(PathBuf::from).chain([program, file]).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::null());
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir(self.path("open"));
        if let Some(user) = &self.user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        let start = Instant::now();
        let mut child = command.spawn().map_err(|e| format!("cannot run {}: {e}", words[0].display()))?;
        let status = loop {
            match child.try_wait().map_err(|e| e.to_string())? {
                Some(status) => break status,
                None if start.elapsed() > PATIENCE => {
                    child.kill().and_then(|()| child.wait()).map_err(|e| e.to_string())?;
                    return Err(format!("{module} hangs"));
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let took = start.elapsed();
        let text = fs::read(&out).map_err(|e| e.to_string())?;
        let status = status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(-1);
        let result = match text.strip_suffix(b"\n") {
            None if text.is_empty() => None,
            None => return Err(format!("{module} printed half a result")),
            Some(line) => Some(
                serde_json::from_slice(line).map_err(|e| format!("{module} printed no JSON object: {e}"))?,
            ),
        };
        Ok(Ran { result, status, took })
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            // One that a stand-in has ended is gone already.
            drop(server.kill());
            drop(server.wait());
        }
    }
}

/// The program of a module.
pub fn program(module: &str) -> PathBuf {
    let folder = std::env::var_os("OG_MODULES").map_or_else(|| PathBuf::from("target/debug"), PathBuf::from);
    std::path::absolute(folder.join(module)).unwrap_or_default()
}

/// Sets a mode.
pub fn set_mode(path: &Path, mode: u32) -> Tried<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|e| format!("{}: {e}", path.display()))
}

fn read_into(folder: &Path, prefix: &str, files: &mut Files) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if Path::new(&name).extension().is_some_and(|e| e == "lock")
            || ["postmaster.pid", "pg_log", "filler"].contains(&name.as_str())
        {
            continue;
        }
        let meta = fs::metadata(entry.path())?;
        if meta.is_dir() {
            read_into(&entry.path(), &format!("{name}/"), files)?;
        } else if meta.is_file() {
            let bytes = fs::read(entry.path())?;
            let bytes = strip_times(&name, bytes);
            files.insert(name, bytes);
        }
    }
    Ok(())
}

/// A file's content without what depends on when it was written.
fn strip_times(name: &str, mut bytes: Vec<u8>) -> Vec<u8> {
    if name.contains("cluster_") && !name.contains("xml") && bytes.len() > 20 {
        // The header's checksum and its time.
        bytes[0..4].fill(0);
        bytes[12..20].fill(0);
    } else if name == "og_lock.json"
        && let Ok(record) = serde_json::from_slice::<Value>(&bytes)
    {
        return format!("{} {}", record["owner"], record["purpose"]).into_bytes();
    }
    bytes
}

/// Reloads as a server does: everything is read, and the log says so.
const GS_CTL: &str = r#"case "$1" in
reload)
    cp "$home"/data/*.conf "$home/loaded/" || exit 1
    echo "x LOG:  received SIGHUP, reloading configuration files" >> "$home/data/pg_log/server.log"
    ;;
query)
    printf ' HA state:           \n\tlocal_role                     : Primary\n\tstatic_connections             : 1\n'
    printf '\tdb_state                       : Normal\n\tdetail_information             : Normal\n\n'
    printf ' Senders info:       \nNo information \n Receiver info:      \nNo information \n'
    ;;
esac"#;

/// Puts a mark into the log where it is told to, and knows one answer.
pub const GSQL: &str = r#"for last; do :; done
case "$last" in
*"raise log"*) printf 'x LOG:  %s\n' "$last" >> "$home/data/pg_log/server.log" ;;
*log_directory*) echo pg_log ;;
*pg_stat_replication*) echo 'WalSender to Standby[dn_6002]' ;;
esac"#;
