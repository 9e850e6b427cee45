//! openGauss's own programs hang, die, babble and lie: the result tells the truth all the same.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};

use crate::cases::CASES;
use crate::sandbox::{Ran, Sandbox, Tried, brief};

/// What gs_ctl or gsql does instead of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    Hangs,
    Dies,
    Babbles,
    DoesNothing,
    DoesItAndFails,
}

/// All of them, and how the table names them.
pub const LIES: [(Lie, &str); 5] = [
    (Lie::Hangs, "hangs"),
    (Lie::Dies, "is killed"),
    (Lie::Babbles, "prints 200 MB and does nothing"),
    (Lie::DoesNothing, "exits 0 having done nothing"),
    (Lie::DoesItAndFails, "exits 1 having done it"),
];

/// What is asked for while it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// og_hba, og_guc or og_replconninfo on a server that runs.
    Reload(&'static str),
    /// og_node_state.
    Start,
    Stop,
    Failover,
    /// og_build.
    Build,
    /// og_slot.
    DropSlot,
}

/// All works, with the module and the command in the table's words.
pub const WORKS: [(Work, &str, &str); 8] = [
    (Work::Reload("og_hba"), "og_hba", "gs_ctl reload"),
    (Work::Reload("og_guc"), "og_guc", "gs_ctl reload"),
    (Work::Reload("og_replconninfo"), "og_replconninfo", "gs_ctl reload"),
    (Work::Start, "og_node_state", "gs_ctl start"),
    (Work::Stop, "og_node_state", "gs_ctl stop"),
    (Work::Failover, "og_node_state", "gs_ctl failover"),
    (Work::Build, "og_build", "gs_ctl build"),
    (Work::DropSlot, "og_slot", "gsql"),
];

/// Memory that a module may have, in KiB: far less than what is babbled. What counts are addresses, of which glibc reserves 64 MiB
/// for each thread that allocates, unless it is told to have one arena for all.
const MEMORY: &str = r#"ulimit -v 150000; export MALLOC_ARENA_MAX=1; exec "$@""#;

impl Lie {
    /// The lines of shell in the place of the honest ones.
    fn script(self, honest: &str) -> String {
        match self {
            Self::Hangs => "exec sleep 100".to_owned(),
            Self::Dies => "kill -9 $$".to_owned(),
            Self::Babbles => "yes babble | head -c 200000000".to_owned(),
            Self::DoesNothing => "exit 0".to_owned(),
            Self::DoesItAndFails => format!("{honest}\nexit 1"),
        }
    }
}

const START: &str = r#"cd "$home/data"; sleep 100 >/dev/null 2>&1 </dev/null &
printf '%s\n%s\n1\n5432\n/tmp\n\n1 1\n' "$!" "$home/data" > postmaster.pid; cd /"#;
const STOP: &str = r#"kill "$(head -n 1 "$home/data/postmaster.pid")"; rm "$home/data/postmaster.pid""#;
const RELOAD: &str = r#"cp "$home"/data/*.conf "$home/loaded/"
echo "x LOG:  received SIGHUP, reloading configuration files" >> "$home/data/pg_log/server.log""#;
/// A standby that streams, or whatever the file `role` says.
const QUERY: &str = r#"role=$(cat "$home/role")
printf ' HA state:           \n\tlocal_role                     : %s\n\tstatic_connections             : 1\n' "$role"
printf '\tdb_state                       : Normal\n\tdetail_information             : Normal\n\n Senders info:       \n'
printf 'No information \n Receiver info:      \n'
[ "$role" = Standby ] && printf '\treceiver_pid                   : 1\n\tlocal_role                     : Standby\n'
exit 0"#;
const SLOTS: &str = r#"for last; do :; done
case "$last" in
*pg_drop_replication_slot*) DROP ;;
*"order by place"*)
    printf '0/5000000\037\037\037\0370'
    [ -e "$home/slot" ] && printf '\036dn_6002\037physical\037f\0370/4000000\0371'
    echo ;;
esac"#;
const DROP: &str = r#"[ -e "$home/slot" ] && echo x; rm -f "$home/slot""#;

/// Tells the lie, and looks at the result and at what is.
pub fn run_with_lie(work: Work, lie: Lie) -> Tried {
    let mut stage = Stage::new(work)?;
    let before = stage.node.files()?;
    stage.install_lie(lie)?;
    let limit = ["sh", "-c", MEMORY, "sh"];
    let ran = stage.node.call_under(&limit, stage.module, &stage.args)?;
    let told = ran.result()?.clone();
    if ran.kind() == "internal" || ran.took.as_secs() > 20 {
        return Err(format!("after {} s: {}", ran.took.as_secs(), brief(&told)));
    }
    let done = stage.is_done();
    let said = judge_result(work, lie, &ran, &told, done)?;
    if let Work::Reload(_) = work
        && told["failed"] == true
        && ran.kind() != "timeout"
        && (stage.node.files()? != before || stage.is_changed(&stage.loaded_rules()))
    {
        return Err(format!("failed, but the old file is not what counts: {}", brief(&told)));
    }
    if matches!(work, Work::Reload(_)) && stage.node.files()? != before && told["changed"] != true {
        return Err(format!("it wrote the file and does not say so: {}", brief(&told)));
    }
    stage.install_honest_programs()?;
    if work == Work::Build {
        // The listener stands for a primary; what it would be built from is of no matter here.
        return Ok(said);
    }
    let again = stage.node.call(stage.module, &stage.args)?;
    again.require_success().map_err(|e| format!("{said}; then, by an honest one, {e}"))?;
    // A reload that nobody saw is owed by nobody: the result said so.
    let unseen = told["failed"] == false && told["reloaded"] == false;
    if !stage.is_done() && !unseen {
        return Err(format!("{said}; then, by an honest one, not done: {}", brief(again.result()?)));
    }
    Ok(format!("{said}; then done"))
}

/// Whether what it said is what is.
fn judge_result(work: Work, lie: Lie, ran: &Ran, told: &Value, done: bool) -> Tried {
    let failed = told["failed"] == true;
    let kinds: &[&str] = if lie == Lie::Hangs { &["timeout"] } else { &["command_failed", "timeout"] };
    match (work, lie) {
        // The signal may have gone out; that it was not seen is said.
        (Work::Reload(_), Lie::DoesNothing | Lie::Babbles) if !failed => {
            let warned = told["warnings"].as_array().is_some_and(|w| !w.is_empty());
            if told["reloaded"] == false && warned {
                Ok("not seen to be loaded, and says so".to_owned())
            } else {
                Err(format!("it claims a reload: {}", brief(told)))
            }
        }
        // The statement may have been undone with the session; the next call sees.
        (Work::DropSlot, Lie::DoesItAndFails) => ran.require_failure(kinds),
        _ if done && failed => Err(format!("it was done, but {}", brief(told))),
        _ if !done && !failed => Err(format!("it was not done, but {}", brief(told))),
        _ if done => Ok("done, and says so".to_owned()),
        _ => ran.require_failure(kinds),
    }
}

/// A node with programs that can be made to lie.
struct Stage {
    work: Work,
    module: &'static str,
    node: Sandbox,
    args: Value,
}

impl Stage {
    fn new(work: Work) -> Tried<Self> {
        let mut node = Sandbox::new()?;
        CASES[0].fill(&node)?;
        let text = |e: std::io::Error| e.to_string();
        std::fs::create_dir(node.data().join("pg_log")).map_err(text)?;
        let role = if matches!(work, Work::Failover | Work::Build) { "Standby" } else { "Primary" };
        std::fs::write(node.path("role"), role).map_err(text)?;
        std::fs::write(node.path("slot"), "").map_err(text)?;
        let mut common = json!({"data_dir": node.data(), "gauss_home": node.path(""), "timeout": 4});
        let (module, own) = match work {
            Work::Reload(module) => {
                let case = CASES.into_iter().find(|c| c.module == module).ok_or("no such case")?;
                // Time enough for the patience with which a log is read.
                common["timeout"] = json!(9);
                (module, case.args(&node))
            }
            Work::Start => ("og_node_state", json!({"state": "started", "role": "primary"})),
            Work::Stop => ("og_node_state", json!({"state": "stopped"})),
            Work::Failover => {
                ("og_node_state", json!({"state": "primary", "transition": "failover", "force": true}))
            }
            Work::Build => {
                common["timeout"] = json!(8);
                let port = primary()?;
                node.write("postgresql.conf", format!(
                    "replconninfo1 = 'localhost=127.0.0.1 localport=1 localheartbeatport=2 localservice=3 \
                     remotehost=127.0.0.1 remoteport={port} remoteheartbeatport=2 remoteservice=3'\n"
                ))?;
                ("og_build", json!({"stall_timeout": 2}))
            }
            Work::DropSlot => ("og_slot", json!({"state": "absent", "names": ["dn_6002"]})),
        };
        let mut args = own;
        for (key, value) in common.as_object().into_iter().flatten() {
            args[key] = value.clone();
        }
        if !matches!(work, Work::Start | Work::Build) {
            node.start()?;
        }
        let stage = Self { work, module, node, args };
        stage.install_honest_programs()?;
        Ok(stage)
    }

    fn install_honest_programs(&self) -> Tried<()> {
        self.programs(&|honest| honest.to_owned())
    }

    fn install_lie(&mut self, lie: Lie) -> Tried<()> {
        self.programs(&|honest| lie.script(honest))
    }

    /// Writes the programs; the one command that the work is about goes through `bend`.
    fn programs(&self, bend: &dyn Fn(&str) -> String) -> Tried<()> {
        let (command, honest) = match self.work {
            Work::Reload(_) => ("reload", RELOAD.to_owned()),
            Work::Start => ("start", START.to_owned()),
            Work::Stop => ("stop", STOP.to_owned()),
            Work::Failover => ("failover", r#"echo Primary > "$home/role""#.to_owned()),
            Work::Build => ("build", START.to_owned()),
            Work::DropSlot => ("none", String::new()),
        };
        let lines = bend(&honest);
        self.node.write_program(
            "gs_ctl",
            &format!("case \"$1\" in\nquery)\n{QUERY} ;;\n{command})\n{lines} ;;\nesac"),
        )?;
        let gsql = match self.work {
            Work::DropSlot => SLOTS.replace("DROP", &bend(DROP)),
            _ => crate::sandbox::GSQL.to_owned(),
        };
        self.node.write_program("gsql", &gsql)
    }

    /// Whether the work is done.
    fn is_done(&self) -> bool {
        let pid = std::fs::read_to_string(self.node.data().join("postmaster.pid")).unwrap_or_default();
        let runs = pid.lines().next().is_some_and(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
        });
        match self.work {
            Work::Reload(module) => {
                let file = std::fs::read(self.node.data().join(file_of(module))).unwrap_or_default();
                file == self.loaded_rules() && self.is_changed(&file)
            }
            Work::Start | Work::Build => runs,
            Work::Stop => !runs,
            Work::Failover => {
                std::fs::read_to_string(self.node.path("role")).is_ok_and(|r| r.trim() == "Primary")
            }
            Work::DropSlot => !self.node.path("slot").exists(),
        }
    }

    /// What the server has loaded of the module's file.
    fn loaded_rules(&self) -> Vec<u8> {
        std::fs::read(self.node.path("loaded").join(file_of(self.module))).unwrap_or_default()
    }

    /// Whether this text is the one that was wanted.
    fn is_changed(&self, text: &[u8]) -> bool {
        let text = String::from_utf8_lossy(text);
        match self.module {
            "og_hba" => text.contains("192.168.0.12"),
            "og_guc" => text.contains("max_connections = 200"),
            _ => text.contains("replconninfo2"),
        }
    }
}

fn file_of(module: &str) -> &'static str {
    if module == "og_hba" { "pg_hba.conf" } else { "postgresql.conf" }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // The server that a stand-in started.
        if matches!(self.work, Work::Start | Work::Build) {
            let pid = std::fs::read_to_string(self.node.data().join("postmaster.pid")).unwrap_or_default();
            if let Some(pid) = pid.lines().next().and_then(|pid| pid.parse().ok()) {
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
        }
        if self.work == Work::Build
            && let Some(user) = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten()
        {
            // The build's log, which goes to the user's cache.
            let name = self.node.data().to_string_lossy().trim_matches('/').replace('/', "_");
            drop(std::fs::remove_file(user.dir.join(".cache/og_build").join(format!("{name}.log"))));
        }
    }
}

/// Something at the other end of a replication channel that says it is a primary; its port.
fn primary() -> Tried<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    let port = listener.local_addr().map_err(|e| e.to_string())?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A caller who hangs up in the middle is none of its business.
            drop(answer(stream));
        }
    });
    Ok(port)
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    const READY: &[u8] = b"Z\0\0\0\x05I";
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    skip(&mut stream, length)?;
    stream.write_all(b"R\0\0\0\x08\0\0\0\0")?;
    stream.write_all(READY)?;
    let mut kind = [0; 1];
    while stream.read_exact(&mut kind).is_ok() && kind != *b"X" {
        stream.read_exact(&mut length)?;
        skip(&mut stream, length)?;
        // One row of one column: 2, which is a primary's role, and a system's number.
        stream.write_all(b"D\0\0\0\x0b\0\x01\0\0\0\x012")?;
        stream.write_all(READY)?;
    }
    Ok(())
}

fn skip(stream: &mut TcpStream, length: [u8; 4]) -> std::io::Result<()> {
    let rest = u64::from(u32::from_be_bytes(length)).saturating_sub(4);
    std::io::copy(&mut stream.take(rest), &mut std::io::sink()).map(drop)
}
