#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::process::Program;
use super::*;
use crate::base::Bytes;
use crate::base::{Common, ErrorKind};

#[derive(Deserialize)]
struct Recorded {
    rc: i32,
    stdout: String,
}

fn recorded(text: &str) -> std::collections::BTreeMap<String, Recorded> {
    serde_json::from_str(text).unwrap()
}

fn queries() -> std::collections::BTreeMap<String, Recorded> {
    recorded(include_str!("../../../tests/vectors/gs_ctl/query.json"))
}

fn state(name: &str) -> NodeState {
    gs_ctl::parse_query(&queries()[name].stdout).unwrap()
}

/// A call with these common arguments.
fn call_with(common: Common) -> Call {
    let mut call = Call::default();
    call.common = common;
    call
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A folder with programs of a few lines of shell, and a node that uses them.
struct Fake {
    home: tempfile::TempDir,
    node: ServerNode,
    call: Call,
    server: Option<std::process::Child>,
}

impl Fake {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        for dir in ["bin", "lib", "data", "data/pg_log"] {
            std::fs::create_dir(home.path().join(dir)).unwrap();
        }
        let common = Common {
            data_dir: Some(data.clone()),
            gauss_home: Some(home.path().to_owned()),
            ..Common::default()
        };
        let node = ServerNode { env: Environment::with_home(home.path()).into(), ..ServerNode::new(data) };
        Self { home, node, call: call_with(common), server: None }
    }

    fn program(&self, name: &str, script: &str) -> &Self {
        let path = self.home.path().join("bin").join(name);
        // Written by a child: a file that this process had open for writing could be held by a fork of another test
        // just when it is to be run ("text file busy").
        let write = r#"printf '#!/bin/sh\n%s\n' "$2" > "$1" && chmod 755 "$1""#;
        let status =
            std::process::Command::new("/bin/sh").args(["-c", write, "sh"]).arg(&path).arg(script).status();
        assert!(status.unwrap().success());
        self
    }

    /// Something that lives in the data directory, as a server does.
    fn serve(&mut self) -> u32 {
        let server =
            std::process::Command::new("sleep").arg("600").current_dir(&self.node.data_dir).spawn().unwrap();
        let pid = server.id();
        let text = format!("{pid}\n{}\n1\n5432\n/tmp\n\n1 1\n", self.node.data_dir.display());
        std::fs::write(self.node.data_dir.join("postmaster.pid"), text).unwrap();
        self.server = Some(server);
        pid
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }
}

#[test]
fn every_recorded_query_is_understood() {
    let (mut with, mut without) = (0, 0);
    for (name, case) in queries() {
        if let Some(state) = gs_ctl::parse_query(&case.stdout) {
            with += 1;
            assert_eq!(case.rc, 0, "{name}");
            assert_ne!(state.role, Role::Unknown, "{name}");
            assert_ne!(state.db_state, DbState::Unknown, "{name}");
            assert!(state.detail.is_some_and(|d| !d.is_empty()), "{name}");
            assert_eq!(state.senders.len(), case.stdout.matches("sender_pid").count(), "{name}");
            assert_eq!(state.receiver.is_some(), case.stdout.contains("receiver_pid"), "{name}");
            for sender in &state.senders {
                assert!(sender.pid.is_some() && sender.local.is_some() && sender.peer.is_some(), "{name}");
                assert!(sender.progress.sent.is_some() && sender.sync_state.is_some(), "{name}");
                assert!(!sender.state.is_empty(), "{name}");
            }
        } else {
            without += 1;
            assert!(!case.stdout.contains("HA state"), "{name}");
        }
    }
    assert!(with > 40 && without > 5, "{with} {without}");
}

#[test]
fn a_primary_lists_its_standbys() {
    let state = state("A_query/after_build_on_primary_dn_6002");
    assert_eq!(
        (state.role, state.db_state, state.static_connections),
        (Role::Primary, DbState::Normal, Some(3))
    );
    assert!(state.answered && state.is_healthy());
    let [first, second] = &state.senders[..] else { panic!("{:?}", state.senders) };
    assert_eq!(first.peer, Some(Endpoint { host: "127.0.0.1".to_owned(), port: 35496 }));
    assert_eq!(
        (first.sync_state.as_deref(), second.sync_state.as_deref()),
        (Some("sync"), Some("potential"))
    );
    assert_eq!((first.state.as_str(), first.progress.lag_bytes), ("streaming", Some(Bytes::ZERO)));
    assert_eq!(state.receiver, None);
}

#[test]
fn a_standby_names_its_sender() {
    let state = state("A_query/after_build_auto");
    let receiver = state.receiver.clone().unwrap();
    assert_eq!(receiver.peer.unwrap().port, 20101);
    assert_eq!(receiver.peer_role, Role::Primary);
    assert_eq!(receiver.progress.lag_bytes, Some(Bytes::new(0x1001_ABA8 - 0x1001_A678)));
    assert!(state.is_healthy());
}

#[test]
fn a_server_that_could_not_be_asked_is_not_taken_for_well() {
    let state = state("I_netns/normal_query_primary");
    assert_eq!((state.role, state.db_state), (Role::Primary, DbState::Normal));
    assert!(!state.answered && !state.is_healthy());
    let detail = state.detail.unwrap();
    assert!(
        detail.starts_with("(connect to V5 server) FATAL:  no pg_hba.conf entry for host \"10.55.0.11\"")
    );
    assert_eq!(detail.lines().count(), 4);
}

#[test]
fn querybuild_tells_running_from_failed() {
    let cases = recorded(include_str!("../../../tests/vectors/gs_ctl/querybuild.json"));
    let running = gs_ctl::parse_querybuild(&cases["B_build/querybuild_during_build"].stdout).unwrap();
    assert_eq!(
        (running.db_state, running.mode, running.done_kb),
        (DbState::Building, Some(BuildMode::Full), Some(0))
    );
    let failed = gs_ctl::parse_querybuild(&cases["B_build/killed_full_1s_querybuild"].stdout).unwrap();
    assert_eq!((failed.db_state, failed.role, failed.mode), (DbState::BuildFailed, Role::Unknown, None));
    let text = " HA state:\n        local_role                    : Standby\n        db_state                      : Building\n \
        Build state:\n        build_mode                    : Full\n        data_synchronized             : 874.11MB\n";
    assert_eq!(gs_ctl::parse_querybuild(text).unwrap().done_kb, Some(874 * 1024 + 112));
}

#[test]
fn every_recorded_state_file_is_understood() {
    #[derive(Deserialize)]
    struct Dump {
        hex: String,
        dec: serde_json::Value,
    }
    let dumps: std::collections::BTreeMap<String, Option<Dump>> =
        serde_json::from_str(include_str!("../../../tests/vectors/gaussdb_state.json")).unwrap();
    let mut seen = 0;
    for (name, dump) in dumps {
        let Some(dump) = dump else { continue };
        let bytes: Vec<u8> = (0..dump.hex.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&dump.hex[i..i + 2], 16).unwrap())
            .collect();
        let file = StateFile::parse(&bytes).unwrap();
        let role = dump.dec["mode"].as_str().unwrap().to_ascii_lowercase();
        assert_eq!(file.role.name().split('_').next().unwrap(), role.split('_').next().unwrap(), "{name}");
        let words = file.db_state.words().replace(' ', "").to_ascii_uppercase();
        assert_eq!(words, dump.dec["state"].as_str().unwrap().replace('_', ""), "{name}");
        assert_eq!(file.lsn.to_string(), dump.dec["lsn"].as_str().unwrap(), "{name}");
        assert_eq!(Some(file.term), dump.dec["term"].as_u64(), "{name}");
        assert_eq!(Some(u64::from(file.connected_by)), dump.dec["idx"].as_u64(), "{name}");
        assert_eq!(StateFile::parse(&bytes[..71]), None);
        seen += 1;
    }
    assert!(seen > 30);
}

#[test]
fn postmaster_pid_is_read_as_far_as_it_is_written() {
    let full =
        PostmasterPid::parse("4711\n/gauss/data/dn1\n1763685000\n26000\n/gauss/sock\n10.55.0.11\n 1 2\n")
            .unwrap();
    assert_eq!((full.pid, full.port, full.listen.as_deref()), (4711, Some(26000), Some("10.55.0.11")));
    assert_eq!(full.socket_dir.as_deref(), Some(Path::new("/gauss/sock")));
    let loopback = PostmasterPid::parse("4711\n/d\n1\n26000\n/s\n\n 1 2\n").unwrap();
    assert_eq!(loopback.listen, None);
    let young = PostmasterPid::parse("4711\n/d\n1\n").unwrap();
    assert_eq!((young.pid, young.port), (4711, None));
    assert_eq!(PostmasterPid::parse(""), None);
    assert_eq!(PostmasterPid::parse("x\n"), None);
}

#[test]
fn a_server_is_one_that_lives_in_the_data_directory() {
    let mut fake = Fake::new();
    assert_eq!(fake.node.running_pid(), None);
    // A number that by now belongs to a process of another folder.
    let text = format!("{}\n/d\n1\n5432\n/tmp\n\n", std::process::id());
    std::fs::write(fake.node.data_dir.join("postmaster.pid"), text).unwrap();
    assert_eq!(fake.node.running_pid(), None);
    let pid = fake.serve();
    assert_eq!(fake.node.running_pid(), Some(pid));
}

#[test]
fn a_zombie_serves_nobody() {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let stat = format!("/proc/{}/stat", child.id());
    while !std::fs::read_to_string(&stat).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
    assert!(!postmaster_pid::is_process_alive(child.id()));
    child.wait().unwrap();
}

/// A server that was stopped is such a process while its last threads release its memory.
#[test]
fn a_server_whose_main_thread_is_a_zombie_lives_as_long_as_its_others() {
    let fake = Fake::new();
    // `exit` of the kernel ends the calling thread alone.
    let script = "import ctypes, platform, sys, threading\n\
        threading.Thread(target=sys.stdin.read).start()\n\
        ctypes.CDLL(None).syscall({'x86_64': 60}.get(platform.machine(), 93), 0)";
    let started = std::process::Command::new("python3")
        .args(["-c", script])
        .current_dir(&fake.node.data_dir)
        .stdin(std::process::Stdio::piped())
        .spawn();
    let Ok(mut child) = started else {
        println!("skipped: no python3");
        return;
    };
    let server = PostmasterPid::parse(&child.id().to_string()).unwrap();
    let stat = format!("/proc/{}/stat", child.id());
    while !std::fs::read_to_string(&stat).unwrap().contains(") Z ") {
        assert!(child.try_wait().unwrap().is_none(), "python3 cannot end its main thread alone");
        std::thread::yield_now();
    }
    assert!(server.is_alive(&fake.node.data_dir), "its reader lives");
    assert!(postmaster_pid::is_ending(child.id()) && !postmaster_pid::is_ending(std::process::id()));
    assert!(!server.is_alive(Path::new("/")), "elsewhere");
    assert!(postmaster_pid::process_start(child.id()).is_some());
    drop(child.stdin.take());
    child.wait().unwrap();
    assert!(!server.is_alive(&fake.node.data_dir));
}

#[test]
fn a_stopped_node_is_no_error_and_needs_no_programs() {
    let fake = Fake::new();
    let state = block_on(fake.node.query(&fake.call)).unwrap();
    assert!(!state.running && state.build.is_none());
    std::fs::write(fake.node.data_dir.join("build_completed.start"), "").unwrap();
    let state = block_on(fake.node.query(&fake.call)).unwrap();
    assert_eq!(
        (state.words().as_str(), state.build.unwrap().interrupted),
        ("stopped, with an uncompleted build", true)
    );
}

#[test]
fn the_newest_term_of_the_files_counts_where_cm_raises_it() {
    let fake = Fake::new();
    let term = || block_on(fake.node.query(&fake.call)).unwrap().term;
    let write = |of_state: u64, of_file: u32| {
        let mut state = vec![0; 72];
        state[24..32].copy_from_slice(&of_state.to_le_bytes());
        std::fs::write(fake.node.data_dir.join("gaussdb.state"), state).unwrap();
        std::fs::write(fake.node.data_dir.join("term_file"), of_file.to_le_bytes()).unwrap();
    };
    // Of a standby that a switchover of CM made primary, as recorded with 6.0.2; then the other way round.
    let newest = || fake.node.newest_term(fake.node.state_file().as_ref());
    for (of_state, of_file, wanted, alone) in [
        (107, 108, Some(108), Some(107)),
        (107, 106, Some(107), Some(107)),
        (0, 5, Some(5), Some(5)),
        (0, 0, None, None),
    ] {
        write(of_state, of_file);
        assert_eq!((newest(), term()), (wanted, alone));
    }
}

#[test]
fn garbage_of_gs_ctl_is_an_error_that_shows_it() {
    let mut fake = Fake::new();
    fake.serve();
    fake.program("gs_ctl", "echo something else; exit 0");
    let error = block_on(fake.node.query(&fake.call)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CommandFailed);
    let record = error.failure().command.clone().unwrap();
    assert_eq!((record.rc, record.stdout.as_str()), (0, "something else\n"));
    assert_eq!(&record.cmd[1..3], ["query", "-D"]);
}

#[test]
fn a_missing_gs_ctl_is_not_found_and_says_where_it_was_looked_for() {
    let mut fake = Fake::new();
    fake.serve();
    let error = block_on(fake.node.query(&fake.call)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("GAUSSHOME is"), "{error}");
}

#[test]
fn a_program_that_hangs_is_ended_with_all_it_started() {
    let fake = Fake::new();
    let pids = fake.home.path().join("pids");
    fake.program(
        "gs_ctl",
        &format!("trap '' TERM; sleep 600 & echo $! $$ > {}; echo begun; wait; wait", pids.display()),
    );
    let program = block_on(fake.node.env(&fake.call)).unwrap().program("gs_ctl").unwrap();
    let outcome = block_on(program.with_limit(Some(Duration::from_millis(300))).run()).unwrap();
    assert!(outcome.timed_out);
    assert_eq!((outcome.rc, outcome.stdout.as_str()), (128 + 9, "begun\n"));
    for pid in std::fs::read_to_string(pids).unwrap().split_whitespace() {
        let pid = pid.parse().unwrap();
        // The kernel takes a moment to take down a process whose kill has been sent.
        let gone = (0..1_000_000).any(|_| {
            std::thread::yield_now();
            !postmaster_pid::is_process_alive(pid)
        });
        assert!(gone, "{pid} still lives");
    }
}

#[test]
fn a_daemon_that_holds_the_output_is_not_waited_for() {
    let fake = Fake::new();
    let pid = fake.home.path().join("pid");
    fake.program("gs_ctl", &format!("sleep 600 & echo $! > {}; echo done; exit 3", pid.display()));
    let program = block_on(fake.node.env(&fake.call)).unwrap().program("gs_ctl").unwrap();
    let outcome = block_on(program.with_limit(Some(Duration::from_secs(60))).run()).unwrap();
    assert_eq!((outcome.rc, outcome.stdout.as_str(), outcome.timed_out), (3, "done\n", false));
    // What it left behind is left alone.
    let pid: i32 = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[test]
fn of_much_output_the_end_is_kept() {
    let program = Program::new("/bin/sh")
        .arg("-c")
        .arg("yes 0123456789 | head -c 50000000; echo the end")
        .with_kept_bytes(1000);
    let outcome = block_on(program.env("PATH", "/usr/bin:/bin").run()).unwrap();
    assert!(outcome.truncated && outcome.stdout.len() == 1000);
    assert!(outcome.stdout.ends_with("the end\n"));
}

#[test]
fn sql_comes_back_as_rows_and_its_errors_in_the_servers_words() {
    let mut fake = Fake::new();
    fake.program("gsql", r#"case "$*" in *broken*) echo 'ERROR:  relation "broken" does not exist' >&2; exit 3;; esac; printf '1\037a b\0362\037\n'"#);
    let error = block_on(fake.node.sql(&fake.call, "select 1")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    fake.serve();
    assert_eq!(block_on(fake.node.sql(&fake.call, "select 1")).unwrap(), [["1", "a b"], ["2", ""]]);
    let error = block_on(fake.node.sql(&fake.call, "select * from broken")).unwrap_err();
    assert_eq!(error.failure().detail, "SQL failed: ERROR:  relation \"broken\" does not exist");
}

/// A server that writes what a real one writes on SIGHUP, and whose sessions write their marks.
fn reloading(fake: &Fake, words: &str) {
    let log = fake.node.data_dir.join("pg_log/postgresql-1.log");
    std::fs::write(&log, "an old WARNING:  pg_hba.conf not reloaded\n").unwrap();
    let log = log.display();
    fake.program(
        "gs_ctl",
        &format!("printf 'LOG:  received SIGHUP, reloading configuration files\\n{words}' >> {log}"),
    );
    fake.program(
        "gsql",
        &format!("case \"$*\" in *log_directory*) echo pg_log;; *) echo \"LOG: $*\" >> {log};; esac"),
    );
}

#[test]
fn a_reload_that_the_log_does_not_complain_of_is_taken() {
    let mut fake = Fake::new();
    assert_eq!(block_on(fake.node.reload(&fake.call)).unwrap(), ReloadOutcome::NotRunning);
    fake.serve();
    let noise =
        "LOG:  configuration file \"/d/postgresql.conf\" contains errors; unaffected changes were applied\\n";
    reloading(&fake, noise);
    let (reload, words) = block_on(fake.node.reload_with_words(&fake.call)).unwrap();
    assert_eq!((reload, words.len()), (ReloadOutcome::Taken, 1));
}

#[test]
fn a_refused_reload_comes_with_the_servers_words() {
    let mut fake = Fake::new();
    fake.serve();
    reloading(&fake, "LOG:  invalid authentication method \"bogus\"\\nWARNING:  pg_hba.conf not reloaded\\n");
    let reload = block_on(fake.node.reload(&fake.call)).unwrap();
    assert!(reload.is_refused("pg_hba.conf") && !reload.is_refused("postgresql.conf"));
    assert!(matches!(&reload, ReloadOutcome::Refused(words) if words[0].contains("bogus")));
}

#[test]
fn a_reload_that_cannot_be_followed_is_not_called_taken() {
    let mut fake = Fake::new();
    fake.serve();
    reloading(&fake, "");
    fake.program("gsql", "echo 'failed to connect /tmp:5432.' >&2; exit 2");
    let reload = block_on(fake.node.reload(&fake.call)).unwrap();
    assert!(matches!(&reload, ReloadOutcome::Unseen(why) if why.contains("failed to connect")), "{reload:?}");
    fake.program("gsql", "echo 'gsql: FATAL:  can not accept connection in pending mode.' >&2; exit 2");
    assert_eq!(block_on(fake.node.reload(&fake.call)).unwrap(), ReloadOutcome::Taken);
}

#[test]
fn a_log_that_cannot_be_read_proves_nothing() {
    let mut fake = Fake::new();
    fake.serve();
    let log = fake.node.data_dir.join("pg_log/postgresql-1.csv");
    let log = log.display();
    let gsql = |mark: &str| {
        let script =
            format!("case \"$*\" in *log_directory*) echo pg_log;; *) echo \"{mark}$*\" >> {log};; esac");
        fake.program("gsql", &script);
    };
    let told = |sighup: &str| {
        fake.program("gs_ctl", &format!("printf '%s\\n' '{sighup}' >> {log}"));
        block_on(fake.node.reload(&fake.call)).unwrap()
    };
    gsql("t,,,LOG,00000,");
    let csv = "t,,,LOG,00000,\"received SIGHUP, reloading configuration files\"";
    assert!(matches!(told(csv), ReloadOutcome::Unseen(why) if why.contains("log_destination")));
    assert!(
        told(&format!("{csv}\nt,,,WARNING,01000,\"pg_hba.conf not reloaded\"")).is_refused("pg_hba.conf")
    );
    // What is written from the reload on is csv.
    let plain = "LOG:  received SIGHUP, reloading configuration files";
    assert!(matches!(told(plain), ReloadOutcome::Unseen(_)));
    gsql("LOG:  ");
    assert_eq!(told(plain), ReloadOutcome::Taken);
    let translated = "LOG:  SIGHUP empfangen, Konfigurationsdateien werden neu geladen\nWARNUNG:  pg_hba.conf wurde nicht neu geladen";
    assert!(matches!(told(translated), ReloadOutcome::Unseen(why) if why.contains("lc_messages")));
}

#[test]
fn a_reload_that_the_server_forgot_is_made_again() {
    let mut fake = Fake::new();
    fake.serve();
    let locked = "WARNING:  the last sigup signal is processing,get file lock failed.\\n";
    reloading(&fake, locked);
    fake.call.common.lock_timeout = Some(0);
    assert_eq!(block_on(fake.node.reload(&fake.call)).unwrap_err().kind(), ErrorKind::Busy);
    let log = fake.node.data_dir.join("pg_log/postgresql-1.log").display().to_string();
    let sighup = "LOG:  received SIGHUP, reloading configuration files\\n";
    let first = format!("[ -e \"$3/again\" ] || printf '{sighup}{locked}' >> {log}");
    let then = format!("[ ! -e \"$3/again\" ] || printf '{sighup}' >> {log}");
    fake.program("gs_ctl", &format!("{first}; {then}; touch \"$3/again\""));
    fake.call.common.lock_timeout = Some(10);
    assert_eq!(block_on(fake.node.reload(&fake.call)).unwrap(), ReloadOutcome::Taken);
}

#[test]
fn an_environment_file_is_read_in_a_clean_shell() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("app");
    std::fs::create_dir_all(home.join("bin")).unwrap();
    std::fs::copy("/bin/true", home.join("bin/gs_ctl")).unwrap();
    let file = dir.path().join("env file");
    let text = format!(
        "echo noise; read answer; export GAUSSHOME={}; export ODD='a\nb'; export PATH=$GAUSSHOME/bin:$PATH; false\n",
        home.display()
    );
    std::fs::write(&file, text).unwrap();
    let call = call_with(Common { env_file: Some(file), ..Common::default() });
    let env = block_on(Environment::from_call(&call)).unwrap();
    assert_eq!(env.gauss_home().as_deref(), Some(home.as_path()));
    assert_eq!(env.get("ODD").unwrap(), "a\nb");
    assert_eq!(env.find("gs_ctl").unwrap(), home.join("bin/gs_ctl"));

    let other = dir.path().join("other");
    let common = Common { gauss_home: Some(other.clone()), ..call.common.clone() };
    let call = call_with(common);
    let env = block_on(Environment::from_call(&call)).unwrap();
    assert_eq!(env.gauss_home(), Some(other));
}

#[test]
fn what_roots_environment_says_is_not_the_node_users() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("env");
    std::fs::write(&file, "export GAUSSHOME=/node\n").unwrap();
    let own =
        [("GAUSSHOME", "/root/s".into()), ("PATH", "/root/s/bin".into()), ("MPPDB_ENV_SEPARATE_PATH", file)];
    let own = own.map(|(key, value)| (key.into(), value.into_os_string()));
    let mut call = Call::default();
    for (switched, home) in [(false, "/root/s"), (true, "/node")] {
        call.switched = switched;
        let env = block_on(Environment::from_call_and_vars(&call, own.clone().into())).unwrap();
        assert_eq!(env.gauss_home().unwrap(), Path::new(home));
        assert_eq!(env.get("PATH").unwrap() == "/root/s/bin", !switched);
    }
}

#[test]
fn an_environment_file_that_ends_the_shell_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("env");
    std::fs::write(&file, "exit 7\n").unwrap();
    let call = call_with(Common { env_file: Some(file), ..Common::default() });
    assert_eq!(block_on(Environment::from_call(&call)).unwrap_err().kind(), ErrorKind::CommandFailed);
    let common = Common { env_file: Some(dir.path().join("none")), ..Common::default() };
    let call = call_with(common);
    assert_eq!(block_on(Environment::from_call(&call)).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn slots_carry_what_they_hold_back() {
    let row = ["dn_6002", "physical", "true", "0/1000", "1"].map(str::to_owned).to_vec();
    let slot = slot(row, position("(1,1/0)")).unwrap();
    assert!(slot.active && slot.retained_bytes == Some(Bytes::new(0x1_0000_0000 - 0x1000)));
}

#[test]
fn a_standby_is_known_by_the_name_it_gave_itself() {
    // As recorded of openGauss, and as PostgreSQL has it.
    assert_eq!(super::standby_name("WalSender to Standby[dn_6002]"), "dn_6002");
    assert_eq!(super::standby_name("dn_6002"), "dn_6002");
}

#[test]
fn a_program_speaks_english_whatever_the_login_has() {
    let program = |env: &[(&str, &str)]| {
        let mut program = Program::new("/bin/sh").args(["-c", "exec env"]);
        for (key, value) in env {
            program = program.env(key, value);
        }
        let outcome = block_on(program.with_english_messages().run()).unwrap();
        let mut lines: Vec<_> =
            outcome.stdout.lines().filter(|l| l.starts_with('L')).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let login =
        [("LC_ALL", "zh_CN.GBK"), ("LANGUAGE", "zh_CN"), ("LC_MESSAGES", "zh_CN"), ("LANG", "zh_CN.UTF-8")];
    assert_eq!(program(&login), ["LANG=zh_CN.UTF-8", "LC_CTYPE=zh_CN.GBK", "LC_MESSAGES=C"]);
    assert_eq!(program(&[]), ["LC_MESSAGES=C"]);
    // Each of openGauss's programs, at the one place where they are made.
    let script = "env > \"$3/env\"; exit 1";
    let fake = Fake::new();
    fake.program("gs_ctl", script);
    block_on(fake.node.ctl_stop(&fake.call, StopMode::Fast, Duration::from_secs(5))).unwrap();
    let env = std::fs::read_to_string(fake.node.data_dir.join("env")).unwrap();
    assert!(env.lines().any(|line| line == "LC_MESSAGES=C") && !env.contains("LC_ALL"), "{env}");
}

#[test]
fn a_frozen_server_is_named_as_such_and_not_waited_for() {
    let mut fake = Fake::new();
    fake.program("gs_ctl", "exec sleep 100");
    fake.serve();
    let pid = fake.node.running_pid().unwrap();
    let pid_of = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid_of, nix::sys::signal::Signal::SIGSTOP).unwrap();
    while !postmaster_pid::is_frozen(pid) {
        std::thread::yield_now();
    }
    let state = block_on(fake.node.query(&fake.call)).unwrap();
    assert!(state.running && state.frozen && !state.answered && !state.is_healthy(), "{state:?}");
    assert_eq!(state.words(), format!("unknown, does not answer; process {pid} is stopped (T)"));
    fake.program("gsql", "exec sleep 100");
    let error = block_on(fake.node.sql(&fake.call, "select 1")).unwrap_err();
    assert_eq!(error.failure().reason, Some(crate::base::Reason::Frozen), "{error:?}");
}

#[test]
fn a_gs_ctl_that_another_one_was_in_the_way_of_is_run_again() {
    let fake = Fake::new();
    let script = r#"if [ -e "$3/once" ]; then touch "$3/told"; exit 0; fi
touch "$3/once"; echo 'another gs_ctl command is running, init_log failed!'; exit 1"#;
    fake.program("gs_ctl", script);
    let outcome = block_on(fake.node.ctl_promote(&fake.call, false, Duration::from_secs(20))).unwrap();
    assert!(outcome.rc == 0 && fake.node.data_dir.join("told").exists(), "{outcome:?}");
}
