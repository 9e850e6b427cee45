//! The stand-in for `gs_ctl`: its commands, words and exit statuses (recorded.md, section 1).

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;

use super::agent::{self, Request};
use super::conf::Situation;
use super::server::{Server, Started};
use super::state::Mode;
use super::{build, query};

/// The command line, understood.
#[derive(Debug, Default)]
pub struct Ctl {
    /// The command.
    pub command: String,
    /// -D, else PGDATA.
    pub data: Option<PathBuf>,
    /// -M.
    pub mode: Option<String>,
    /// -m.
    pub stop_mode: Option<String>,
    /// -b.
    pub build_mode: Option<String>,
    /// -t.
    pub seconds: Option<u64>,
    /// -l.
    pub log: Option<PathBuf>,
    /// -q.
    pub no_start: bool,
    /// -W.
    pub no_wait: bool,
    /// -f.
    pub force: bool,
    /// -T.
    pub term: u64,
    /// What else stood there.
    pub rest: Vec<String>,
    /// The node's name once postgresql.conf is read.
    pub name: std::cell::RefCell<String>,
}

impl Ctl {
    fn parse(args: impl Iterator<Item = String>) -> Self {
        let mut ctl = Self { term: 1, ..Self::default() };
        let mut args = args;
        while let Some(arg) = args.next() {
            let mut value = |short: &str| {
                let glued = arg.strip_prefix(short).filter(|v| !v.is_empty());
                glued.map(str::to_owned).or_else(|| args.next())
            };
            match arg.get(..2) {
                Some("-D") => ctl.data = value("-D").map(PathBuf::from),
                Some("-M") => ctl.mode = value("-M"),
                Some("-m") => ctl.stop_mode = value("-m"),
                Some("-b") => ctl.build_mode = value("-b"),
                Some("-t") => ctl.seconds = value("-t").and_then(|v| v.parse().ok()),
                Some("-l") => ctl.log = value("-l").map(PathBuf::from),
                Some("-T") => ctl.term = value("-T").and_then(|v| v.parse().ok()).unwrap_or(1),
                Some("-U" | "-P" | "-Z" | "-o" | "-p" | "-r" | "-C" | "-L" | "-I" | "-Q") => {
                    value(&arg[..2]);
                }
                Some("-q") => ctl.no_start = true,
                Some("-W") => ctl.no_wait = true,
                Some("-f") => ctl.force = true,
                Some(option) if option.starts_with('-') => {}
                _ if ctl.command.is_empty() => ctl.command = arg,
                _ => ctl.rest.push(arg),
            }
        }
        ctl.data = ctl.data.or_else(|| std::env::var_os("PGDATA").map(PathBuf::from));
        ctl
    }

    /// A line in gs_ctl's form.
    pub fn say(&self, words: &str) {
        self.say_as("gs_ctl", words);
    }

    /// A line in gs_ctl's form, under another program's name.
    pub fn say_as(&self, program: &str, words: &str) {
        println!(
            "[{}][{}][{}][{program}]: {words}",
            super::server::timestamp(' '),
            std::process::id(),
            self.name.borrow()
        );
    }

    fn limit(&self, default: u64) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(default))
    }

    /// The lock that only one gs_ctl holds on a node, or the exit status and words for its absence.
    pub fn lock(&self, server: &Server, busy: &str, busy_status: u8) -> Result<Flock<File>, u8> {
        let path = server.data.join("pg_ctl.lock");
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(|error| {
            let words = error.to_string();
            let words = words.split(" (os error").next().unwrap_or_default();
            print!("{}", self.log_line(&format!("can't create lock file \"{}\" : {words}", path.display())));
            1
        })?;
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
            self.say(busy);
            busy_status
        })
    }

    fn log_line(&self, words: &str) -> String {
        format!(
            "[{}][{}][{}][gs_ctl]: {words}",
            super::server::timestamp(' '),
            std::process::id(),
            self.name.borrow()
        )
    }
}

/// `gs_ctl`.
#[must_use]
pub fn main() -> ExitCode {
    let ctl = Ctl::parse(std::env::args().skip(1));
    let all: Vec<String> = std::env::args().skip(1).collect();
    if all.iter().any(|a| a == "-V" || a == "--version") {
        println!("gs_ctl (openGauss) 9.2.4");
        return ExitCode::SUCCESS;
    }
    if all.iter().any(|a| a == "--help" || a == "-h" || a == "-?") {
        println!("gs_ctl is a utility to initialize, start, stop, or control a openGauss server.");
        return ExitCode::SUCCESS;
    }
    if nix::unistd::geteuid().is_root() {
        ctl.say(" cannot be run as root\nPlease log in (using, e.g., \"su\") as the (unprivileged) user that will\nown the server process.");
        return ExitCode::FAILURE;
    }
    if ctl.command == "kill" {
        return kill(&ctl);
    }
    let known = [
        "start",
        "stop",
        "restart",
        "reload",
        "status",
        "query",
        "querybuild",
        "build",
        "switchover",
        "failover",
        "notify",
        "finishredo",
        "internal-agent",
        "internal-start",
    ];
    if !known.contains(&ctl.command.as_str()) {
        ctl.say(&format!(
            " unrecognized operation mode \"{}\"\nTry \"gs_ctl --help\" for more information.",
            ctl.command
        ));
        return ExitCode::FAILURE;
    }
    let Some(data) = &ctl.data else {
        ctl.say(" no database directory specified and environment variable PGDATA unset\nTry \"gs_ctl --help\" for more information.");
        return ExitCode::FAILURE;
    };
    let server = Server::new(&data.canonicalize().unwrap_or_else(|_| data.clone()));
    ExitCode::from(match ctl.command.as_str() {
        "start" => start_command(&ctl, &server),
        "stop" => stop(&ctl, &server),
        "restart" => restart(&ctl, &server),
        "reload" => reload(&ctl, &server),
        "status" => status(&ctl, &server),
        "query" => query::query(&ctl, &server),
        "querybuild" => query::querybuild(&ctl, &server),
        "build" => build::build(&ctl, &server),
        "switchover" => switchover(&ctl, &server),
        "failover" => failover(&ctl, &server),
        "notify" => notify(&ctl, &server),
        "internal-agent" => return agent::main(server),
        "internal-start" => start(&ctl, &server, Mode::Standby),
        _ => {
            ctl.say(&format!("gs_ctl finish redo ,datadir is {} ", server.data.display()));
            0
        }
    })
}

fn kill(ctl: &Ctl) -> ExitCode {
    let name = ctl.rest.first().map_or("", String::as_str);
    let signal = ["ABRT", "HUP", "INT", "QUIT", "TERM", "USR1", "USR2"]
        .contains(&name)
        .then(|| format!("SIG{name}").parse::<Signal>().ok())
        .flatten();
    let Some(signal) = signal else {
        ctl.say(&format!(
            " unrecognized signal name \"{name}\"\nTry \"gs_ctl --help\" for more information."
        ));
        return ExitCode::FAILURE;
    };
    let pid = ctl.rest.get(1).and_then(|p| p.parse().ok()).filter(|p| *p > 1);
    let sent = pid.is_some_and(|p| nix::sys::signal::kill(nix::unistd::Pid::from_raw(p), signal).is_ok());
    if sent { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn start_command(ctl: &Ctl, server: &Server) -> u8 {
    ctl.say(&format!("gs_ctl started,datadir is {} ", server.data.display()));
    let _held = match ctl.lock(server, "Another gs_ctl command is still running,start failed !", 0) {
        Ok(held) => held,
        Err(status) => return status,
    };
    if server.pid().is_some() {
        ctl.say(" another server might be running; Please use the restart command");
        return 0;
    }
    if !server.data.join("postgresql.conf").exists() {
        ctl.say(&format!("{}/postgresql.conf cannot be opened.", server.data.display()));
        return 1;
    }
    let Some(mode) = ctl.mode.as_deref().map_or(Some(Mode::Normal), Mode::from_option) else {
        ctl.say("waiting for server to start...");
        println!(".0 [BACKEND] FATAL:  the options of -M is not recognized");
        return report_failed_start(ctl, 256);
    };
    start(ctl, server, mode)
}

/// Starts the server and says how that went.
pub fn start(ctl: &Ctl, server: &Server, mode: Mode) -> u8 {
    ctl.say("waiting for server to start...");
    match server.start(mode, ctl.log.as_deref(), ctl.limit(60)) {
        Ok(Started::Up) => {
            println!(".");
            ctl.say(" done");
            ctl.say(&format!("server started ({})", server.data.display()));
            println!();
            0
        }
        Ok(Started::Refused(words, code)) => {
            if let Some(log) = &ctl.log
                && let Ok(mut file) = OpenOptions::new().create(true).append(true).open(log)
            {
                for line in words {
                    let _ = writeln!(file, "{line}");
                }
                print!(".");
            } else {
                println!(".{}", words.join("\n"));
            }
            report_failed_start(ctl, code)
        }
        Ok(Started::Late) => {
            println!(".");
            ctl.say("stopped waiting");
            ctl.say("could not start server\nExamine the log output.");
            1
        }
        Err(error) => {
            println!(".FATAL:  {error}");
            report_failed_start(ctl, 256)
        }
    }
}

fn report_failed_start(ctl: &Ctl, code: u32) -> u8 {
    ctl.say(&format!("waitpid 0 failed, exitstatus is {code}, ret is 2\n"));
    ctl.say("stopped waiting");
    ctl.say("could not start server\nExamine the log output.");
    1
}

fn stop_signal(ctl: &Ctl) -> Result<Signal, u8> {
    match ctl.stop_mode.as_deref() {
        None | Some("fast" | "f") => Ok(Signal::SIGINT),
        Some("immediate" | "i") => Ok(Signal::SIGQUIT),
        Some(other) => {
            ctl.say(&format!(" unrecognized shutdown mode \"{other}\""));
            Err(1)
        }
    }
}

fn stop(ctl: &Ctl, server: &Server) -> u8 {
    let signal = match stop_signal(ctl) {
        Ok(signal) => signal,
        Err(status) => return status,
    };
    ctl.say(&format!("gs_ctl stopped ,datadir is {} ", server.data.display()));
    let pid_file = server.data.join("postmaster.pid");
    let text = server.read_text("postmaster.pid");
    if text.is_empty() {
        ctl.say(&format!(" PID file \"{}\" does not exist.", pid_file.display()));
        ctl.say("Is server running?");
        if signal == Signal::SIGQUIT {
            say_force(ctl, server);
            return 0;
        }
        return 1;
    }
    if server.pid().is_none() {
        let pid = text.lines().next().unwrap_or_default().trim();
        ctl.say(&format!(" cannot stop server; single-user server is running (PID: {pid})  No such process"));
        return 0;
    }
    if ctl.no_wait {
        server.tell_to_stop(signal);
        println!("server shutting down");
        return 0;
    }
    print!("waiting for server to shut down...");
    if server.stop(signal, ctl.limit(60)) {
        println!(". done\nserver stopped");
        return 0;
    }
    if signal == Signal::SIGQUIT {
        server.kill_server();
        say_force(ctl, server);
        return 0;
    }
    println!("..... failed");
    ctl.say(&format!(" server does not shut down ({})", server.data.display()));
    1
}

/// What gs_ctl says when it kills whatever is left, also when nothing is.
pub fn say_force(ctl: &Ctl, server: &Server) {
    ctl.say("stop failed, killing gaussdb by force ...");
    let data = server.data.display();
    ctl.say(&format!(
        "command [ps c -eo pid,euid,cmd | grep gaussdb | grep -v grep | awk '{{if($2 == curuid && $1!=\"-n\") print \"/proc/\"$1\"/cwd\"}}' curuid=`id -u`| xargs ls -l | awk '{{if ($NF==\"{data}\")  print $(NF-2)}}' | awk -F/ '{{print $3 }}' | xargs kill -9 >/dev/null 2>&1 ] path: [{data}] "
    ));
    ctl.say("server stopped");
}

fn restart(ctl: &Ctl, server: &Server) -> u8 {
    let signal = match stop_signal(ctl) {
        Ok(signal) => signal,
        Err(status) => return status,
    };
    ctl.say(&format!("gs_ctl restarted ,datadir is {} ", server.data.display()));
    let _held = match ctl.lock(server, "Another gs_ctl command is still running,restart failed !", 1) {
        Ok(held) => held,
        Err(status) => return status,
    };
    if server.pid().is_some() {
        print!("waiting for server to shut down...");
        if !server.stop(signal, ctl.limit(60)) {
            println!("..... failed");
            ctl.say(&format!(" server does not shut down ({})", server.data.display()));
            return 1;
        }
        println!(" done\nserver stopped");
    } else {
        ctl.say("Is server running?");
        ctl.say("starting server anyway");
        let opts = server.data.join("postmaster.opts");
        if !opts.exists() {
            ctl.say(&format!(" could not read file \"{}\"", opts.display()));
            return 1;
        }
    }
    let mode = ctl.mode.as_deref().map_or(Some(server.mode()), Mode::from_option);
    match mode {
        Some(mode) => start(ctl, server, mode),
        None => report_failed_start(ctl, 256),
    }
}

fn reload(ctl: &Ctl, server: &Server) -> u8 {
    ctl.say(&format!("gs_ctl reload ,datadir is {} ", server.data.display()));
    if server.pid().is_none() {
        ctl.say(&format!(" PID file \"{}\" does not exist", server.data.join("postmaster.pid").display()));
        ctl.say("Is server running?");
        return 1;
    }
    match server.reload() {
        Ok(()) => {
            println!("server signaled\n");
            0
        }
        Err(error) => {
            ctl.say(&format!(" could not send reload signal: {error}"));
            1
        }
    }
}

fn status(ctl: &Ctl, server: &Server) -> u8 {
    ctl.say(&format!("gs_ctl status,datadir is {} ", server.data.display()));
    if let Some(pid) = server.pid() {
        println!("gs_ctl: server is running (PID: {pid})");
        println!("{}", server.read_text("postmaster.opts"));
        return 0;
    }
    println!("no server running\n");
    3
}

/// The first lines of switchover and failover; the exit status if that is all.
fn lock_running(ctl: &Ctl, server: &Server, what: &str) -> Result<Flock<File>, u8> {
    ctl.say(&format!("gs_ctl {what} ,datadir is {} ", server.data.display()));
    let held = ctl.lock(server, &format!("Another gs_ctl command is still running,{what} failed !"), 1)?;
    ctl.say(&format!("{what} term ({})", ctl.term));
    if server.pid().is_none() {
        ctl.say(&format!(" PID file \"{}\" does not exist", server.data.join("postmaster.pid").display()));
        ctl.say("Is server running?");
        return Err(1);
    }
    Ok(held)
}

fn switchover(ctl: &Ctl, server: &Server) -> u8 {
    if ctl.force {
        ctl.say("Performing a Forced Switchover");
    }
    let _held = match lock_running(ctl, server, "switchover") {
        Ok(held) => held,
        Err(status) => return status,
    };
    let done = || {
        ctl.say(&format!("switchover completed ({})", server.data.display()));
        println!();
        0
    };
    let mode = server.mode();
    if !mode.is_in_recovery() {
        return done();
    }
    let seconds = ctl.seconds.unwrap_or(60);
    let end = Instant::now() + Duration::from_secs(seconds);
    println!("{}", ctl.log_line("waiting for server to switchover..."));
    while Instant::now() < end {
        let streams = server
            .ask("select 1 from pg_catalog.pg_stat_wal_receiver where status = 'streaming'")
            .is_ok_and(|rows| !rows.is_empty());
        if streams && wait_for_mode(server, mode, end) {
            ctl.say("done");
            return done();
        }
        sleep(Duration::from_millis(200));
    }
    ctl.say(&format!(
        "\n switchover timeout after {seconds} seconds. please manually check the cluster status.\n"
    ));
    0
}

/// Swaps roles with the upstream.
fn wait_for_mode(server: &Server, mode: Mode, end: Instant) -> bool {
    let upstream = server.upstream();
    let ask = |request: &Request| {
        agent::call(
            &upstream.host,
            upstream.port,
            request,
            end.saturating_duration_since(Instant::now()).max(Duration::from_secs(1)),
        )
        .is_ok_and(|reply| reply.refused.is_none())
    };
    if mode == Mode::Cascade {
        return ask(&Request::Swap)
            && server.set_mode(Mode::Standby).is_ok()
            && server.adapt_files(&Situation { upstream: None, ..server.situation() }).is_ok();
    }
    if !ask(&Request::Demote) {
        return false;
    }
    // The old primary is down and sent all it had; what arrived is replayed before this one leads.
    while Instant::now() < end {
        let replayed = server.ask("select pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()");
        if replayed.is_ok_and(|rows| rows.first().is_some_and(|r| r[0] == "t")) {
            break;
        }
        sleep(Duration::from_millis(20));
    }
    server.promote()
}

fn failover(ctl: &Ctl, server: &Server) -> u8 {
    let _held = match lock_running(ctl, server, "failover") {
        Ok(held) => held,
        Err(status) => return status,
    };
    if server.mode().is_in_recovery() {
        println!("{}", ctl.log_line(" waiting for server to failover..."));
        if !server.promote() {
            ctl.say(" failed");
            return 1;
        }
        print!(".");
        ctl.say(" done");
    }
    ctl.say(&format!(" failover completed ({})", server.data.display()));
    println!();
    0
}

fn notify(ctl: &Ctl, server: &Server) -> u8 {
    ctl.say(&format!("gs_ctl notify ,datadir is {} ", server.data.display()));
    let Some(mode) = ctl.mode.as_deref().and_then(Mode::from_option) else {
        ctl.say("the parameter of notify must be specified");
        return 1;
    };
    if server.pid().is_none() || server.mode() != Mode::Pending {
        ctl.say(" only support notify server in pending mode; current mode is not pending");
        return 1;
    }
    let done = if mode == Mode::Primary { server.promote() } else { server.set_mode(mode).is_ok() };
    ctl.say(&format!(" notify server completed, mode change to {}", mode.words()));
    u8::from(!done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_anywhere_and_take_their_value_glued_or_not() {
        let ctl = Ctl::parse(
            ["build", "-D", "/d", "-bfull", "-M", "standby", "-t", "5", "-q", "-w"]
                .map(str::to_owned)
                .into_iter(),
        );
        assert_eq!(ctl.command, "build");
        assert_eq!(ctl.data, Some(PathBuf::from("/d")));
        assert_eq!((ctl.build_mode.as_deref(), ctl.mode.as_deref()), (Some("full"), Some("standby")));
        assert_eq!((ctl.seconds, ctl.no_start), (Some(5), true));
    }
}
