//! `gs_ctl build`: full by `pg_basebackup`, incremental by `pg_rewind`.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::agent::{self, Reply, Request};
use super::conf::LabChannel;
use super::ctl::{Ctl, say_force, start};
use super::server::{Server, user};
use super::state::{DbState, Mode, State};

/// What a full build leaves in the data directory (openGauss's list).
const KEPT: &[&str] = &[
    "postgresql.conf",
    "postgresql.conf.lock",
    "postgresql.conf.bak",
    "postgresql.conf.guc.bak",
    "pg_ctl.lock",
    "build_completed.start",
    "gs_build.pid",
    "postmaster.opts",
    "gaussdb.state",
    "rewind_lable",
    "gs_gazelle.conf",
    "server.crt",
    "server.key",
    "server.key.cipher",
    "server.key.rand",
    "cacert.pem",
    "disc_readonly_test",
];

/// How an attempt at an incremental build ended.
enum Rewound {
    Done,
    NoPrimary,
    Failed,
}

/// `gs_ctl build`; the exit status.
pub fn build(ctl: &Ctl, server: &Server) -> u8 {
    let full = matches!(ctl.build_mode.as_deref(), Some("full" | "standby_full"));
    let kind = if full { "full" } else { "incremental" };
    ctl.say(&format!("gs_ctl {kind} build ,datadir is {}", server.data.display()));
    let _held = match ctl.lock(server, "Another gs_ctl command is still running,build failed !", 1) {
        Ok(held) => held,
        Err(status) => return status,
    };
    if note_pid(ctl, server, &std::process::id().to_string()).is_err() {
        return 1;
    }
    if server.pid().is_some() && !server.mode().is_in_recovery() && server.role() == Mode::Primary {
        ctl.say("The local server run as Primary,build cannot be executed.");
        return 1;
    }
    if server.pid().is_some() {
        print!("waiting for server to shut down...");
        if !server.stop(Signal::SIGINT, Duration::from_secs(60)) {
            server.kill_server();
        }
        println!(". done\nserver stopped");
    } else {
        server.settle_files();
        say_force(ctl, server);
    }
    if !server.data.join("postgresql.conf").exists() {
        ctl.say(&format!("{}/postgresql.conf cannot be opened.", server.data.display()));
        return 1;
    }
    if let Err(error) = fs::create_dir_all(&server.side) {
        ctl.say(&format!("{}: {error}", server.side.display()));
        return 1;
    }
    let mode = ctl
        .mode
        .as_deref()
        .and_then(Mode::from_option)
        .filter(|m| *m == Mode::Cascade)
        .unwrap_or(Mode::Standby);
    let built =
        if full { full_build(ctl, server, mode, "full") } else { incremental_build(ctl, server, mode) };
    if !built {
        return 1;
    }
    let status = if ctl.no_start { 0 } else { start(ctl, server, mode) };
    if note_pid(ctl, server, "0").is_err() {
        return 1;
    }
    status
}

fn note_pid(ctl: &Ctl, server: &Server, pid: &str) -> io::Result<()> {
    let path = server.data.join("gs_build.pid");
    fs::write(&path, pid)?;
    for done in ["fopen", "fprintf", "fsync"] {
        ctl.say(&format!("{done} build pid file \"{}\" success", path.display()));
    }
    Ok(())
}

fn note_state(server: &Server, mode: Mode, build_mode: u32, done: u64) {
    let connections = u32::try_from(server.read_settings().channels().len()).unwrap_or(0);
    let state = State { build_mode, done, ..State::new(mode, DbState::Building, connections) };
    let _ = state.write(&server.data);
}

/// The first channel whose peer is a primary that lets this node be built.
fn find_source(ctl: &Ctl, server: &Server, program: &str) -> Option<(LabChannel, Reply)> {
    server.read_settings().node_name().clone_into(&mut ctl.name.borrow_mut());
    ctl.say("Get repl_auth_mode is  and repl_uuid is ");
    for channel in server.read_settings().channels() {
        let (host, port) = (&channel.remote_host, channel.remote_port);
        let reply = agent::call(host, port, &Request::Build, Duration::from_secs(2));
        let words = match reply {
            Ok(reply) if reply.refused.is_none() => {
                if reply.role == Mode::Primary.words() || reply.role == Mode::Normal.words() {
                    ctl.say_as(program, &format!("build try host({host}) port({port}) success"));
                    return Some((channel, reply));
                }
                String::new()
            }
            Ok(reply) => reply.refused.unwrap_or_default(),
            Err(_) => format!(
                "could not connect to server: Operation now in progress\n\tIs the server running on host \"{host}\" and accepting\n\tTCP/IP connections on port {port}?"
            ),
        };
        if !words.is_empty() {
            ctl.say(&format!(
                "build connection to {host} failed cause (connect to V5 server) {words}\n(connect to V1 server) {words}\n."
            ));
        }
        ctl.say(&format!("build try host({host}) port({port}) failed"));
    }
    ctl.say("could not connect to server.");
    None
}

fn full_build(ctl: &Ctl, server: &Server, mode: Mode, name: &str) -> bool {
    ctl.say("current workdir is (/).");
    ctl.say("set gaussdb state file when full build build:db state(BUILDING_STATE), server mode(STANDBY_MODE), build mode(FULL_BUILD).");
    note_state(server, mode, 2, 0);
    let data = server.data.display();
    let Some((channel, reply)) = find_source(ctl, server, "gs_ctl") else {
        ctl.say(&format!("full build failed({data})."));
        return false;
    };
    ctl.say("connected to server success, build started.");
    match full_copy(ctl, server, mode, &channel.remote_host, reply.sql_port) {
        Ok(()) => {
            ctl.say(&format!("{name} build build completed({data})."));
            true
        }
        Err(error) => {
            ctl.say(&format!("{error}"));
            ctl.say(&format!("full build failed({data})."));
            false
        }
    }
}

fn full_copy(ctl: &Ctl, server: &Server, mode: Mode, host: &str, port: u16) -> io::Result<()> {
    let data = &server.data;
    fs::write(data.join("build_completed.start"), "")?;
    for link in fs::read_dir(data.join("pg_tblspc")).into_iter().flatten() {
        for folder in fs::read_dir(link?.path()).into_iter().flatten() {
            remove(&folder?.path())?;
        }
    }
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        if !KEPT.iter().any(|k| entry.file_name() == *k) {
            remove(&entry.path())?;
        }
    }
    fs::write(data.join("backup_label"), "")?;
    for words in [
        "clear old target dir success",
        "create build tag file success",
        "create build tag file again success",
        "get system identifier success",
        "receiving and unpacking files...",
        "create backup label success",
        "begin build tablespace list",
        "finish build tablespace list",
        "begin get xlog by xlogstream",
        "starting background WAL receiver",
        "starting walreceiver",
        "begin receive tar files",
    ] {
        ctl.say(words);
    }
    // Beside the data directory, for pg_basebackup takes an empty one only; then moved in.
    for entry in fs::read_dir(&server.side)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with("base.") {
            remove(&entry.path())?;
        }
    }
    let base = server.side.join(format!("base.{}", std::process::id()));
    let mut copy = Command::new(find_program("pg_basebackup")?)
        .args([
            "--checkpoint=fast",
            "--wal-method=stream",
            "--no-sync",
            "--no-manifest",
            "--no-password",
            "-d",
        ])
        .arg(format!(
            "host={host} port={port} user={} connect_timeout=5 sslmode=disable gssencmode=disable",
            user()
        ))
        .arg("-D")
        .arg(&base)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut waited = 0;
    while copy.try_wait()?.is_none() {
        waited += 1;
        if waited % 10 == 0 {
            note_state(server, mode, 2, size_of_tree(&base) / 1024);
        }
        sleep(Duration::from_millis(20));
    }
    let output = copy.wait_with_output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    note_state(server, mode, 2, size_of_tree(&base) / 1024);
    ctl.say("finish receive tar files");
    ctl.say("waiting for background process to finish streaming...");
    fs::remove_file(data.join("backup_label"))?;
    for entry in fs::read_dir(&base)? {
        let entry = entry?;
        let name = entry.file_name();
        // Its own: the parameters, the state, the locks; nobody's: the primary's logs and notes.
        let own = KEPT.iter().any(|k| name == *k);
        if !own
            && !["pg_log", "standby.signal", "build_completed.done", "full_backup_label"]
                .iter()
                .any(|k| name == *k)
        {
            fs::rename(entry.path(), data.join(name))?;
        }
    }
    remove(&base)?;
    fs::create_dir_all(data.join("pg_log"))?;
    ctl.say("starting fsync all files come from source.");
    ctl.say("finish fsync all files.");
    ctl.say("build dummy dw file success");
    fs::write(data.join("full_backup_label"), "START WAL LOCATION: 0/0\n")?;
    fs::write(data.join("rewind_lable"), "FULL_BUILD")?;
    fs::rename(data.join("build_completed.start"), data.join("build_completed.done"))?;
    ctl.say("rename build status file success");
    finish_build(server, mode);
    Ok(())
}

fn finish_build(server: &Server, mode: Mode) {
    let connections = u32::try_from(server.read_settings().channels().len()).unwrap_or(0);
    let _ = State::new(mode, DbState::Starting, connections).write(&server.data);
}

/// Up to three attempts; in the modes that allow it, a full build after them.
fn incremental_build(ctl: &Ctl, server: &Server, mode: Mode) -> bool {
    let alone = ctl.build_mode.as_deref() == Some("incremental");
    let mut unreachable = false;
    for _ in 0..3 {
        match rewind(ctl, server, mode) {
            Ok(Rewound::Done) => {
                ctl.say_as("gs_rewind", "dn incremental build completed.");
                return true;
            }
            Ok(Rewound::NoPrimary) => unreachable = true,
            Ok(Rewound::Failed) => {
                unreachable = false;
                ctl.say("inc build failed.");
            }
            Err(error) => {
                unreachable = false;
                ctl.say_as("gs_rewind", &format!("{error}\n \ngs_rewind receive FATAL, it will exit"));
                ctl.say("inc build failed.");
            }
        }
    }
    if unreachable {
        if !alone {
            ctl.say("inc build failed due to primary connection failure, skip full build.");
        }
        return false;
    }
    if alone {
        return false;
    }
    ctl.say("inc build failed, change to full build.");
    full_build(ctl, server, mode, "auto")
}

fn rewind(ctl: &Ctl, server: &Server, mode: Mode) -> io::Result<Rewound> {
    let Some((channel, reply)) = find_source(ctl, server, "gs_ctl") else { return Ok(Rewound::NoPrimary) };
    let fatal = |words: &str| {
        ctl.say_as("gs_rewind", &format!("{words} \n \ngs_rewind receive FATAL, it will exit"));
        Ok(Rewound::Failed)
    };
    if server.data.join("build_completed.start").exists() {
        return fatal("last build uncompleted, change to full build.");
    }
    ctl.say_as(
        "gs_rewind",
        "set gaussdb state file when incremental build:db state(BUILDING_STATE), server mode(STANDBY_MODE), build mode(INC_BUILD).",
    );
    note_state(server, mode, 3, 0);
    let host = &channel.remote_host;
    let control = Command::new(find_program("pg_controldata")?)
        .arg("-D")
        .arg(&server.data)
        .env("LC_ALL", "C")
        .output()?;
    let control = String::from_utf8_lossy(&control.stdout).into_owned();
    let value = |key: &str| {
        control.lines().find_map(|l| l.strip_prefix(key)).map(str::trim).unwrap_or_default().to_owned()
    };
    if value("Database system identifier:") != reply.system_id {
        return fatal("source and target clusters are from different systems");
    }
    // Without a divergence there is nothing to rewind; what is behind has to be streamed, if it is still there.
    let segment = value("Latest checkpoint's REDO WAL file:");
    let there = agent::call(host, channel.remote_port, &Request::Wal(segment), Duration::from_secs(5))?;
    if there.body != "true" {
        return fatal("could not find previous WAL record: read xlog page failed");
    }
    ctl.say_as("gs_rewind", "connect to primary success");
    ctl.say_as("gs_rewind", "get pg_control success");
    // pg_rewind makes everything as it is on the source; these are the node's own.
    let keep = server.side.join("keep");
    if keep.exists() {
        remove(&keep)?;
    }
    fs::create_dir_all(&keep)?;
    let own = ["postgresql.conf", "gaussdb.state", "postmaster.opts", "gs_build.pid"];
    for name in own {
        if server.data.join(name).exists() {
            fs::copy(server.data.join(name), keep.join(name))?;
        }
    }
    let logs = server.data.join("pg_log");
    if logs.exists() {
        fs::rename(&logs, keep.join("pg_log"))?;
    }
    let output = Command::new(find_program("pg_rewind")?)
        .arg("-D")
        .arg(&server.data)
        .arg(format!("--config-file={}", server.side.join("postgresql.conf").display()))
        .arg(format!(
            "--source-server=host={host} port={} user=og_lab dbname=postgres connect_timeout=5 sslmode=disable gssencmode=disable",
            reply.sql_port
        ))
        .arg("--no-sync")
        .stdin(Stdio::null())
        .output()?;
    for name in own {
        if keep.join(name).exists() {
            fs::copy(keep.join(name), server.data.join(name))?;
        }
    }
    if logs.exists() {
        remove(&logs)?;
    }
    if keep.join("pg_log").exists() {
        fs::rename(keep.join("pg_log"), &logs)?;
    }
    if !output.status.success() {
        return fatal(String::from_utf8_lossy(&output.stderr).trim());
    }
    // Where nothing was rewound no file was copied, the rules neither.
    let rules = agent::call(host, channel.remote_port, &Request::Rules, Duration::from_secs(5))?;
    if rules.refused.is_none() {
        fs::write(server.data.join("pg_hba.conf"), rules.body)?;
    }
    ctl.say_as("gs_rewind", "execute file map success");
    finish_build(server, mode);
    Ok(Rewound::Done)
}

fn remove(path: &Path) -> io::Result<()> {
    if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

/// The bytes under a folder which changes meanwhile.
fn size_of_tree(path: &Path) -> u64 {
    fs::read_dir(path).map_or(0, |entries| {
        entries
            .flatten()
            .map(|e| match e.metadata() {
                Ok(meta) if meta.is_dir() => size_of_tree(&e.path()),
                Ok(meta) => meta.len(),
                Err(_) => 0,
            })
            .sum()
    })
}

fn find_program(program: &str) -> io::Result<std::path::PathBuf> {
    super::bin_dir().map(|dir| dir.join(program)).map_err(io::Error::other)
}
