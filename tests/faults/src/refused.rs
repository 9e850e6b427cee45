//! Disasters that need `force`, and files that others write while a module is at work on them.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cases::CASES;
use crate::sandbox::{Sandbox, Tried};

/// A primary from which one standby, dn_6002, receives.
const GS_CTL: &str = r#"case "$1" in
query)
    printf ' HA state:           \n\tlocal_role                     : Primary\n\tstatic_connections             : 1\n'
    printf '\tdb_state                       : Normal\n\tdetail_information             : Normal\n\n Senders info:       \n'
    printf '\tsender_pid                     : 7\n\tlocal_role                     : Primary\n'
    printf '\tpeer_role                      : Standby\n\tpeer_state                     : Normal\n'
    printf '\tstate                          : Streaming\n Receiver info:      \nNo information \n'
    ;;
esac"#;
const GSQL: &str = r#"for last; do :; done
case "$last" in
*pg_stat_replication*) echo 'WalSender to Standby[dn_6002]' ;;
esac"#;

fn primary() -> Tried<Sandbox> {
    let mut node = Sandbox::new()?;
    CASES[0].fill(&node)?;
    node.write_program("gs_ctl", GS_CTL)?;
    node.write_program("gsql", GSQL)?;
    node.start()?;
    Ok(node)
}

fn common(node: &Sandbox, mut own: Value) -> Value {
    own["data_dir"] = json!(node.data());
    own["gauss_home"] = json!(node.path(""));
    own["lock_timeout"] = json!(0);
    own["check_mode"] = json!(true);
    own
}

/// Refused with these words and nothing written; with `force` not refused.
fn check_refused(node: &Sandbox, module: &str, own: Value, words: &str) -> Tried {
    let before = node.files()?;
    let mut args = common(node, own);
    let ran = node.call(module, &args)?;
    ran.require_failure(&["refused"])?;
    let told = ran.result()?["msg"].to_string();
    if !told.contains(words) || !told.contains("force") || node.files()? != before {
        return Err(format!("expected {words:?} and nothing written, but {told}"));
    }
    args["force"] = json!(true);
    node.call(module, &args)?.require_success()?;
    Ok("refused; with force not".to_owned())
}

/// og_replconninfo: the last channel of a running primary.
pub fn last_channel() -> Tried {
    let channels = json!({"state": "exact", "peers": []});
    check_refused(&primary()?, "og_replconninfo", channels, "last channel of a running primary")
}

/// og_slot: one through which a standby streams. No `force` there.
pub fn used_slot() -> Tried {
    let node = primary()?;
    node.write_program(
        "gsql",
        r#"for last; do :; done
case "$last" in
*pg_drop_replication_slot*) echo x; touch "$home/dropped" ;;
*"order by place"*) printf '0/5000000\037\037\037\0370\036dn_6002\037physical\037t\0370/4000000\0371\n' ;;
esac"#,
    )?;
    let mut args = common(&node, json!({"state": "absent", "names": ["dn_6002"]}));
    args["check_mode"] = json!(false);
    node.call("og_slot", &args)?.require_failure(&["refused"])?;
    if node.path("dropped").exists() { Err("it was dropped".to_owned()) } else { Ok("refused".to_owned()) }
}

/// og_guc: more synchronous standbys than stream.
pub fn commits_that_hang() -> Tried {
    let node = primary()?;
    node.write("postgresql.conf", "synchronous_standby_names = 'dn_6002'\n")?;
    let names = |value: &str| json!({"parameters": {"synchronous_standby_names": value}});
    node.call("og_guc", &common(&node, names("ANY 1(dn_6002,dn_6003)")))?.require_success()?;
    let mut spared = names("ANY 2(dn_6002,dn_6003)");
    spared["parameters"]["most_available_sync"] = json!(true);
    node.call("og_guc", &common(&node, spared))?.require_success()?;
    // A workflow in check mode has built no standby yet; what it foresees is no way round the refusal.
    let mut foreseen = names("ANY 2(dn_6002,dn_6003)");
    foreseen["foreseen_standbys"] = json!(["dn_6003"]);
    let mut foreseen = common(&node, foreseen);
    let checked = node.call("og_guc", &foreseen)?;
    if checked
        .require_success()?
        .get("warnings")
        .and_then(Value::as_array)
        .is_some_and(|told| !told.is_empty())
    {
        return Err(format!("a false alarm: {}", checked.result()?["warnings"]));
    }
    foreseen["check_mode"] = json!(false);
    node.call("og_guc", &foreseen)?.require_failure(&["refused"])?;
    check_refused(&node, "og_guc", names("ANY 2(dn_6002,dn_6003)"), "2 of dn_6002, dn_6003 must confirm")
}

/// og_guc: commits that went on although nobody was there for them, and would begin to wait.
pub fn commits_let_go_on_no_more() -> Tried {
    let node = primary()?;
    let off = || json!({"parameters": {"most_available_sync": false}});
    let conf = |names: &str| format!("synchronous_standby_names = '{names}'\nmost_available_sync = on\n");
    node.write("postgresql.conf", conf("ANY 1(dn_6002,dn_6003)"))?;
    node.call("og_guc", &common(&node, off()))?.require_success()?;
    node.write("postgresql.conf", conf("ANY 1(dn_6003)"))?;
    check_refused(&node, "og_guc", off(), "1 of dn_6003 must confirm")
}

/// og_guc: a standby smaller than its primary.
pub fn small_standby() -> Tried {
    let node = Sandbox::new()?;
    CASES[0].fill(&node)?;
    let mut control = vec![0; 8192];
    let mut put = |at: usize, part: &[u8]| control[at..at + part.len()].copy_from_slice(part);
    put(8, &923_u32.to_le_bytes());
    for (at, number) in [(168, 250_u32), (172, 200), (176, 256)] {
        put(at, &number.to_le_bytes());
    }
    put(184, &1_234_567.0_f64.to_le_bytes());
    std::fs::create_dir(node.data().join("global")).map_err(|e| e.to_string())?;
    node.write("global/pg_control", control)?;
    let mut state = [0; 72];
    state[0] = 3;
    node.write("gaussdb.state", state)?;
    let fewer = json!({"parameters": {"max_connections": 199}});
    check_refused(&node, "og_guc", fewer, "less than the 200 of this standby's primary")
}

/// All that edit: a node in the middle of a switchover, or of a build, which `force` does not override.
pub fn not_at_rest() -> Tried {
    let node = primary()?;
    let edits = || CASES.iter().filter(|case| case.serves).map(|case| (case.module, case.args(&node)));
    let mut state = [0; 72];
    (state[0], state[8]) = (2, 5);
    node.write("gaussdb.state", state)?;
    for (module, own) in edits() {
        node.call(module, &common(&node, own))?.require_failure(&["busy"])?;
    }
    state[8] = 1;
    node.write("gaussdb.state", state)?;
    let mut build = Command::new("sh");
    std::os::unix::process::CommandExt::arg0(&mut build, "gs_ctl");
    let mut build = build.args(["-c", "read end; :"]).stdin(std::process::Stdio::piped()).spawn();
    let build = build.as_mut().map_err(|e| e.to_string())?;
    node.write("gs_build.pid", build.id().to_string())?;
    let mut tried = Ok(String::new());
    for (module, mut own) in edits() {
        own["force"] = json!(true);
        let ran = node.call(module, &common(&node, own));
        tried = tried.and_then(|_| ran?.require_failure(&["busy"]));
    }
    build.kill().and_then(|()| build.wait()).map_err(|e| e.to_string())?;
    tried.map(|_| "busy, also with force while it is built".to_owned())
}

/// Somebody else writes the file, or takes it away, between its reading and its replacing: a tracer holds the module at
/// the moment when its own new file is complete.
pub fn swap_file(module: &'static str, file: &'static str, gone: bool) -> Tried {
    if !crate::has("strace") {
        return Err("skipped: no strace".to_owned());
    }
    let case = CASES.into_iter().find(|case| case.module == module).ok_or("no such case")?;
    let node = case.node()?;
    let (path, args) = (node.data().join(file), case.args(&node));
    let ours = node.data().join(format!(".{file}.og_tmp"));
    let theirs = b"# theirs\n";
    let tracer = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=fsync",
        "-e",
        "inject=fsync:delay_enter=2s:when=1",
    ];
    let ran = std::thread::scope(|scope| {
        let running = scope.spawn(|| node.call_under(&tracer, module, &args));
        let seen = Instant::now();
        while !ours.exists() && seen.elapsed() < Duration::from_secs(60) {
            std::thread::yield_now();
        }
        let done = if gone { std::fs::remove_file(&path) } else { replace(&path, theirs) };
        let ran = running.join().map_err(|_| "the caller panicked".to_owned())?;
        done.map_err(|e| e.to_string())?;
        ran
    })?;
    ran.require_failure(&["busy"])?;
    let there = std::fs::read(&path).ok();
    if there.as_deref() != (!gone).then_some(&theirs[..]) || ours.exists() {
        return Err(format!("{file} is now {there:?}, and ours is left: {}", ours.exists()));
    }
    Ok("busy, and theirs stays".to_owned())
}

/// As an editor does it: by a new file.
fn replace(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, text)?;
    std::fs::rename(new, path)
}

/// Each row of docs/safety.md names a test, and that test is there.
pub fn check_documented() -> Tried {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join("docs/safety.md")).map_err(|e| e.to_string())?;
    let rows = text.lines().filter(|line| line.starts_with("| og_"));
    let mut sources: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
    let mut count = 0;
    for row in rows {
        let last = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default().trim();
        let (file, name) =
            last.trim_matches('`').split_once("::").ok_or(format!("no test is named in: {row}"))?;
        if !sources.contains_key(file) {
            let source = std::fs::read_to_string(root.join(file)).map_err(|e| format!("{file}: {e}"))?;
            sources.insert(file.to_owned(), source);
        }
        if !sources[file].contains(&format!("fn {name}(")) {
            return Err(format!("{file} has no {name}, which is named in: {row}"));
        }
        count += 1;
    }
    if count < 20 {
        Err(format!("only {count} rows"))
    } else {
        Ok(format!("{count} rows, each with its test"))
    }
}
