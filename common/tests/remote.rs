//! `--host`, seen from outside: the example module `echo` at hosts that are sshd's of this test, each with a home of
//! its own. ssh talks to them through pipes, so no port is opened.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const SSHD: &str = "/usr/sbin/sshd";
const LIMIT: Duration = Duration::from_secs(60);

/// The client's side, and the folder of the hosts.
struct Hosts {
    dir: tempfile::TempDir,
    config: PathBuf,
}

impl Hosts {
    /// The hosts of these names, or a word on why there are none here.
    fn new(names: &[&str]) -> Option<Self> {
        if !Path::new(SSHD).exists() {
            println!("skipped: no sshd here; install openssh-server");
            return None;
        }
        if nix::unistd::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let dir = tempfile::Builder::new().prefix("ogr").tempdir_in("/tmp").unwrap();
        let config = dir.path().join("config");
        let hosts = Self { dir, config };
        keygen(&hosts.path("key"));
        fs::create_dir(hosts.path("tmp")).unwrap();
        for name in names {
            hosts.add(name, "exec", "");
        }
        Some(hosts)
    }

    /// Adds a host: `before` runs ahead of its sshd, `more` goes into sshd's configuration.
    fn add(&self, name: &str, before: &str, more: &str) {
        let home = self.home(name);
        fs::create_dir(&home).unwrap();
        let key = self.path(&format!("host_{name}"));
        keygen(&key);
        let public = fs::read_to_string(key.with_extension("pub")).unwrap();
        append(&self.path("known_hosts"), &format!("{name} {public}"));
        fs::write(
            self.path(&format!("sshd_{name}")),
            format!(
                "HostKey {}\nAuthorizedKeysFile {}\nUsePAM no\nStrictModes no\nSetEnv HOME={} {more}\n",
                key.display(),
                self.path("key.pub").display(),
                home.display()
            ),
        )
        .unwrap();
        let start = self.path(&format!("start_{name}"));
        let script = format!(
            "echo $$ >>{}\n{before} {SSHD} -i -f {}\n",
            self.path(&format!("pids_{name}")).display(),
            self.path(&format!("sshd_{name}")).display()
        );
        fs::write(&start, script).unwrap();
        self.configure(name, &format!("ProxyCommand sh {}", start.display()));
    }

    fn configure(&self, name: &str, lines: &str) {
        append(
            &self.config,
            &format!(
                "Host {name}\n  IdentityFile {}\n  IdentitiesOnly yes\n  UserKnownHostsFile {}\n  {lines}\n",
                self.path("key").display(),
                self.path("known_hosts").display()
            ),
        );
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn home(&self, name: &str) -> PathBuf {
        self.path(&format!("home_{name}"))
    }

    /// The process of each connection that was made to the host.
    fn connections(&self, name: &str) -> Vec<i32> {
        let pids = fs::read_to_string(self.path(&format!("pids_{name}"))).unwrap_or_default();
        pids.lines().map(|pid| pid.parse().unwrap()).collect()
    }

    /// The copy of the program in the host's cache.
    fn copy(&self, name: &str) -> PathBuf {
        let cache = self.home(name).join(".cache/opengauss-node");
        let mut folders: Vec<_> = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(folders.len(), 1, "{folders:?}");
        folders.remove(0).join("echo")
    }

    fn start(&self, hosts: &[&str], args: &str) -> Child {
        // Tests run from target/PROFILE/deps; cargo builds the examples beside it.
        let deps = std::env::current_exe().unwrap();
        let program = deps.parent().unwrap().parent().unwrap().join("examples/echo");
        let mut command = Command::new(program);
        command.arg("--ssh-config").arg(&self.config).env("TMPDIR", self.path("tmp")).env_remove("PGDATA");
        for host in hosts {
            command.args(["--host", host]);
        }
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        // Arguments of the command line that cannot be used end it before it reads.
        drop(std::io::Write::write_all(&mut child.stdin.take().unwrap(), args.as_bytes()));
        child
    }

    fn call(&self, hosts: &[&str], args: &str) -> (Vec<Value>, i32) {
        self.end(self.start(hosts, args))
    }

    /// The lines of the answer by host, and the exit status; no connection is left.
    fn end(&self, child: Child) -> (Vec<Value>, i32) {
        let (lines, code) = read_results(&child.wait_with_output().unwrap());
        let left: Vec<_> = fs::read_dir(self.path("tmp")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        (lines, code)
    }

    /// The one result for the one host.
    fn failed(&self, host: &str, kind: &str) -> String {
        let (lines, code) = self.call(&[host], "{}");
        assert_eq!((lines.len(), code), (1, 1), "{lines:?}");
        assert_eq!(
            (&lines[0]["host"], &lines[0]["error"]["kind"]),
            (&Value::from(host), &Value::from(kind)),
            "{lines:?}"
        );
        lines[0]["msg"].as_str().unwrap().to_owned()
    }

    /// Waits until the program runs, or runs no more, at the host.
    fn wait_until(&self, name: &str, runs: bool) {
        let home = self.home(name);
        let end = Instant::now() + LIMIT;
        loop {
            let found = fs::read_dir("/proc").unwrap().flatten().any(|entry| {
                fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe.starts_with(&home))
                    // It watches its input only after it has read the arguments from it.
                    && (!runs || fs::read_dir(entry.path().join("task")).is_ok_and(|tasks| tasks.count() > 1))
            });
            if found == runs {
                return;
            }
            assert!(Instant::now() < end, "{name}: running is still {found}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn read_results(output: &Output) -> (Vec<Value>, i32) {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.sort_by_key(|line| line["host"].to_string());
    (lines, output.status.code().unwrap())
}

fn keygen(path: &Path) {
    let done = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status();
    assert!(done.unwrap().success());
}

fn append(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
}

#[test]
fn several_hosts_at_once_and_the_program_is_carried_once() {
    let Some(hosts) = Hosts::new(&["a", "b"]) else { return };
    hosts.configure("down", "HostName 127.0.0.1\n  Port 1");
    let (lines, code) =
        hosts.call(&["a", "down", "b"], r#"{"words": ["it's", "$(id) \\ \"x\""], "_ansible_verbosity": 1}"#);
    assert_eq!((lines.len(), code), (3, 1), "{lines:?}");
    for (line, host) in [(&lines[0], "a"), (&lines[1], "b")] {
        assert_eq!(line["words"], serde_json::json!(["it's", "$(id) \\ \"x\""]), "{line}");
        assert_eq!(line.as_object().unwrap().iter().next(), Some((&"host".to_owned(), &Value::from(host))));
    }
    assert_eq!(lines[2]["error"]["kind"], "unreachable");
    assert!(lines[2]["msg"].as_str().unwrap().contains("Connection refused"), "{}", lines[2]);

    // The cache is nobody else's, and the second call leaves it as it is.
    let copy = hosts.copy("a");
    let stamp = |path: &Path| fs::metadata(path).map(|m| (m.ino(), m.mtime(), m.mode() & 0o7777)).unwrap();
    let first = stamp(&copy);
    assert_eq!((first.2, stamp(copy.parent().unwrap()).2), (0o700, 0o700));
    let (lines, code) = hosts.call(&["a"], "{}");
    assert_eq!((code, &lines[0]["failed"]), (0, &Value::from(false)), "{lines:?}");
    assert_eq!(stamp(&hosts.copy("a")), first);

    // A copy that is not what it was is replaced, one that may not be run, too.
    let good = fs::read(&copy).unwrap();
    fs::write(&copy, "#!/bin/sh\nexit 0\n").unwrap();
    assert_eq!(hosts.call(&["a"], "{}").1, 0);
    assert!(fs::read(&copy).unwrap() == good);
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(hosts.call(&["a"], "{}").1, 0);
    assert_eq!(stamp(&copy).2, 0o700);
}

#[test]
fn unusable_arguments_are_told_before_any_host_is_asked() {
    let Some(hosts) = Hosts::new(&["a"]) else { return };
    for (targets, args) in
        [(&["a"][..], r#"{"wrds": 1}"#), (&["a", "a"], "{}"), (&["-oProxyCommand=id"], "{}")]
    {
        let (lines, code) = hosts.call(targets, args);
        assert_eq!((lines.len(), code), (1, 2), "{lines:?}");
        assert_eq!((&lines[0]["error"]["kind"], lines[0].get("host")), (&Value::from("bad_args"), None));
    }
    assert!(hosts.connections("a").is_empty());
}

#[test]
fn a_failure_there_is_told_as_it_is_here() {
    let Some(hosts) = Hosts::new(&["a"]) else { return };
    let (lines, code) = hosts.call(&["a"], r#"{"state": "mistaken"}"#);
    assert_eq!((code, &lines[0]["error"]["kind"]), (1, &Value::from("internal")), "{lines:?}");
}

#[test]
fn ctrl_c_ends_it_there_too() {
    let Some(hosts) = Hosts::new(&["a", "b"]) else { return };
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let child = hosts.start(&["a", "b"], r#"{"state": "waiting"}"#);
        hosts.wait_until("a", true);
        hosts.wait_until("b", true);
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        let (lines, code) = hosts.end(child);
        assert_eq!((lines.len(), code), (2, 1), "{lines:?}");
        for line in lines {
            assert_eq!(line["error"]["kind"], "interrupted", "{line}");
            assert!(line.get("invocation").is_some(), "its own last word: {line}");
        }
        hosts.wait_until("a", false);
        hosts.wait_until("b", false);
    }
}

#[test]
fn a_connection_cut_in_the_middle_ends_both_sides() {
    let Some(hosts) = Hosts::new(&["a", "b"]) else { return };
    let child = hosts.start(&["a", "b"], r#"{"state": "waiting", "timeout": 5}"#);
    hosts.wait_until("a", true);
    for pid in hosts.connections("a") {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    hosts.wait_until("a", false);
    let (lines, code) = hosts.end(child);
    let kinds: Vec<_> = lines.iter().map(|line| &line["error"]["kind"]).collect();
    assert_eq!((kinds, code), (vec![&Value::from("unreachable"), &Value::from("timeout")], 1), "{lines:?}");
    assert!(lines[0]["msg"].as_str().unwrap().contains("carries on"), "{}", lines[0]);
}

#[test]
fn a_session_that_is_refused_is_asked_for_again_and_told_of() {
    let Some(hosts) = Hosts::new(&[]) else { return };
    // One at a time: a command is refused until sshd has ended the one before.
    hosts.add("narrow", "exec", "\nMaxSessions 1");
    for _ in 0..3 {
        let (lines, code) = hosts.call(&["narrow"], "{}");
        assert_eq!((lines.len(), code), (1, 0), "{lines:?}");
    }
    hosts.add("shut", "exec", "\nMaxSessions 0");
    let told = hosts.failed("shut", "unreachable");
    assert!(told.contains("refuses every session") && told.contains("MaxSessions"), "{told}");
}

#[test]
fn known_hosts_is_kept() {
    let Some(hosts) = Hosts::new(&["a", "b"]) else { return };
    let known = fs::read_to_string(hosts.path("known_hosts")).unwrap();
    let (a, b) = known.split_once('\n').unwrap();
    fs::write(hosts.path("known_hosts"), format!("a {}", b.strip_prefix("b ").unwrap())).unwrap();
    assert!(hosts.failed("a", "unreachable").contains("is not the one that known_hosts has"));
    assert!(hosts.failed("b", "unreachable").contains("is not in known_hosts"));
    assert!(!fs::read_to_string(hosts.path("known_hosts")).unwrap().contains(a));
}

#[test]
fn hosts_on_which_it_cannot_run_are_told() {
    let Some(hosts) = Hosts::new(&[]) else { return };
    let bin = hosts.path("bin");
    fs::create_dir(&bin).unwrap();
    fs::write(bin.join("uname"), "#!/bin/sh\n[ \"$1\" = -s ] && echo Linux || echo pdp11\n").unwrap();
    fs::set_permissions(bin.join("uname"), fs::Permissions::from_mode(0o755)).unwrap();
    hosts.add("pdp", "exec", &format!("PATH={}:/usr/bin:/bin", bin.display()));
    let told = hosts.failed("pdp", "unsupported");
    assert!(told.contains("the host is pdp11"), "{told}");

    let mount = |options: &str, home: PathBuf| {
        format!(
            "exec unshare -m sh -c 'mount -t tmpfs -o {options} tmpfs {} && exec \"$@\"' sh",
            home.display()
        )
    };
    if !Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|s| s.success()) {
        println!("skipped: no file systems of its own here (unshare -m)");
        return;
    }
    hosts.add("noexec", &mount("noexec,size=256m", hosts.home("noexec")), "");
    let told = hosts.failed("noexec", "permission");
    assert!(told.contains("noexec"), "{told}");
    hosts.add("full", &mount("size=64k", hosts.home("full")), "");
    let told = hosts.failed("full", "io");
    assert!(told.contains("No space left on device"), "{told}");
}

#[test]
fn a_connection_that_the_user_keeps_is_used() {
    let Some(hosts) = Hosts::new(&["a"]) else { return };
    let socket = hosts.path("master");
    append(&hosts.config, &format!("  ControlPath {}\n  ServerAliveInterval 5\n", socket.display()));
    let ssh = |more: &[&str]| {
        let done = Command::new("ssh")
            .arg("-F")
            .arg(&hosts.config)
            .args(more)
            .arg("a")
            .stderr(Stdio::null())
            .status();
        assert!(done.unwrap().success());
    };
    ssh(&["-M", "-f", "-N"]);
    let (lines, code) = hosts.call(&["a"], "{}");
    assert_eq!(code, 0, "{lines:?}");
    assert_eq!(hosts.connections("a").len(), 1);
    // And is left as it was.
    ssh(&["-O", "check"]);
    ssh(&["-O", "exit"]);
}
