//! Many at once on one file: nobody's change is lost.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::cases::CASES;
use crate::sandbox::{Sandbox, Tried, brief, program};

const MANY: usize = 50;
/// openGauss, where it is installed.
const OPENGAUSS: &str = "/opt/openGauss";

/// Calls the module with all these arguments at once.
fn call_at_once(node: &Sandbox, module: &str, all: &[Value]) -> Tried<Vec<Value>> {
    let mut children = Vec::new();
    for (n, args) in all.iter().enumerate() {
        let file = node.path(&format!("args{n}.json"));
        std::fs::write(&file, args.to_string()).map_err(|e| e.to_string())?;
        let child =
            Command::new(program(module)).arg(file).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        children.push(child.map_err(|e| e.to_string())?);
    }
    let told = |child: std::process::Child| -> Tried<Value> {
        let output = child.wait_with_output().map_err(|e| e.to_string())?;
        serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())
    };
    children.into_iter().map(told).collect()
}

/// A node, and arguments that are the same but for what `vary` makes of their number.
fn call_many(module: &str, vary: impl Fn(&mut Value, usize)) -> Tried<(Sandbox, Vec<Value>)> {
    let case = CASES.into_iter().find(|c| c.module == module).ok_or("no such case")?;
    let node = case.node()?;
    let base = json!({"data_dir": node.data(), "gauss_home": node.path(""), "lock_timeout": 60});
    let all = (0..MANY).map(|n| {
        let mut args = base.clone();
        vary(&mut args, n);
        args
    });
    let all = all.collect();
    Ok((node, all))
}

fn require_all_succeeded(results: &[Value]) -> Tried<()> {
    match results.iter().find(|r| r["failed"] != false || r["changed"] != true) {
        Some(bad) => Err(brief(bad)),
        None => Ok(()),
    }
}

/// Each adds a rule.
pub fn add_rules() -> Tried {
    let (node, all) =
        call_many("og_hba", |args, n| args["rules"] = json!([format!("host all all 10.1.0.{n}/32 trust")]))?;
    require_all_succeeded(&call_at_once(&node, "og_hba", &all)?)?;
    let text = std::fs::read_to_string(node.data().join("pg_hba.conf")).map_err(|e| e.to_string())?;
    let there = (0..MANY).filter(|n| text.contains(&format!(" 10.1.0.{n}/32 "))).count();
    if there == MANY {
        Ok(format!("all {MANY} rules are there"))
    } else {
        Err(format!("{there} of {MANY} are there"))
    }
}

/// Each sets a parameter.
pub fn parameters() -> Tried {
    let (node, all) = call_many("og_guc", |args, n| args["parameters"] = json!({format!("app.p{n}"): n}))?;
    require_all_succeeded(&call_at_once(&node, "og_guc", &all)?)?;
    let text = std::fs::read_to_string(node.data().join("postgresql.conf")).map_err(|e| e.to_string())?;
    let there = (0..MANY).filter(|n| text.lines().any(|l| l == format!("app.p{n} = {n}"))).count();
    if there == MANY {
        Ok(format!("all {MANY} are there"))
    } else {
        Err(format!("{there} of {MANY} are there: {text}"))
    }
}

/// Each wants the cluster's lock: one gets it, the others are told who has it.
pub fn owners() -> Tried {
    let (node, all) = call_many("og_lock", |args, n| args["owner"] = json!(format!("owner{n}")))?;
    let results = call_at_once(&node, "og_lock", &all)?;
    let (held, busy): (Vec<_>, Vec<_>) = results.iter().partition(|r| r["failed"] == false);
    let [winner] = held[..] else { return Err(format!("{} hold it", held.len())) };
    let name = winner["lock"]["owner"].as_str().unwrap_or("?");
    match busy.iter().find(|r| r["error"]["kind"] != "busy" || !r["msg"].to_string().contains(name)) {
        Some(bad) => Err(brief(bad)),
        None => Ok(format!("one holds it, {} are told who", busy.len())),
    }
}

/// og_hba and openGauss's own gs_guc on one file.
pub fn beside_gs_guc() -> Tried {
    const EACH: usize = 10;
    let omm = nix::unistd::User::from_name("omm").ok().flatten();
    let (true, Some(omm)) = (Path::new(OPENGAUSS).join("bin/gs_guc").exists(), omm) else {
        return Err("skipped: no openGauss".to_owned());
    };
    if !nix::unistd::Uid::effective().is_root() {
        return Err("skipped: needs root".to_owned());
    }
    let node = Sandbox::new()?;
    let lines: Vec<_> = (0..200).map(|n| format!("host all all 10.9.{n}.0/24 sha256\n")).collect();
    let lines = lines.concat();
    node.write("pg_hba.conf", format!("local all all trust\nhost all all 127.0.0.1/32 trust\n{lines}"))?;
    node.write("postgresql.conf", "port = 26000\n")?;
    let owner = |path: &Path| {
        std::os::unix::fs::chown(path, Some(omm.uid.as_raw()), Some(omm.gid.as_raw()))
            .map_err(|e| e.to_string())
    };
    owner(&node.data())?;
    for name in ["pg_hba.conf", "postgresql.conf"] {
        owner(&node.data().join(name))?;
    }
    let gs_guc = |n: usize| {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(format!("{OPENGAUSS}/bin/gs_guc"));
        command
            .args(["set", "-D"])
            .arg(node.data())
            .arg("-h")
            .arg(format!("host all all 10.3.0.{n}/32 trust"));
        command.env_clear().env("GAUSSHOME", OPENGAUSS).env("LD_LIBRARY_PATH", format!("{OPENGAUSS}/lib"));
        command.env("PATH", "/usr/bin:/bin").env("HOME", &omm.dir).env("USER", "omm").current_dir("/");
        command.uid(omm.uid.as_raw()).gid(omm.gid.as_raw()).stdin(Stdio::null()).stderr(Stdio::null());
        command.stdout(Stdio::null()).status().is_ok_and(|s| s.success())
    };
    let all: Vec<_> = (0..EACH)
        .map(|n| json!({"data_dir": node.data(), "lock_timeout": 60, "rules": [format!("host all all 10.2.0.{n}/32 trust")]}))
        .collect();
    let (ours, theirs) = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| (0..EACH).filter(|n| gs_guc(*n)).collect::<Vec<_>>());
        let mut ours = Vec::new();
        for pair in all.chunks(2) {
            ours.push(call_at_once(&node, "og_hba", pair));
        }
        (ours, theirs.join().unwrap_or_default())
    });
    for results in ours {
        require_all_succeeded(&results?)?;
    }
    let text = std::fs::read_to_string(node.data().join("pg_hba.conf")).map_err(|e| e.to_string())?;
    // gs_guc writes its rules with blanks and tabs of its own.
    let there = |address: String| text.split_whitespace().any(|word| word == address);
    let mine = (0..EACH).filter(|n| there(format!("10.2.0.{n}/32"))).count();
    let lost: Vec<_> = theirs.iter().filter(|n| !there(format!("10.3.0.{n}/32"))).collect();
    if mine == EACH && lost.is_empty() && !theirs.is_empty() {
        return Ok(format!("{mine} rules of og_hba and {} of gs_guc, all there", theirs.len()));
    }
    Err(format!("{mine} of {EACH} of og_hba; of gs_guc's {} lost {lost:?}", theirs.len()))
}
