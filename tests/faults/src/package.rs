//! A file that is received and a package that is unpacked: killed at every step, on a full disk, many at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use og_lab::KillPoints;
use serde_json::{Value, json};

use crate::disk::Mounted;
use crate::kill::CHANGING;
use crate::sandbox::{Sandbox, Tried, brief, program};

/// Who sends or unpacks at once.
const MANY: usize = 10;
/// What is sent: three pieces, the last one shorter.
const CONTENT: &[u8] = b"0123456789abcdef0123456789abcdef01234";
const PIECE: usize = 16;
/// `CONTENT` as sha256sum prints it.
const HASH: &str = "4a173cd7acd257f2f767ab886fdd61f4c9acea76315695b1dd3592f1d2f59a4b";
/// Its pieces in Base64.
const PIECES: [&str; 3] = ["MDEyMzQ1Njc4OWFiY2RlZg==", "MDEyMzQ1Njc4OWFiY2RlZg==", "MDEyMzQ="];

fn text(e: impl std::fmt::Display) -> String {
    e.to_string()
}

/// A folder of root's that nobody else can change.
fn own_folder() -> Tried<tempfile::TempDir> {
    tempfile::Builder::new().prefix("og_faults").tempdir().map_err(text)
}

fn file_args(path: &Path) -> Value {
    json!({"path": path, "sha256": HASH, "size": CONTENT.len(), "mode": "0644", "lock_timeout": 60})
}

/// Sends the file as a caller does; the last answer.
fn send(node: &Sandbox, under: &[&str], path: &Path) -> Tried<Value> {
    let args = file_args(path);
    let mut ran = node.call_under(under, "og_file", &args)?;
    loop {
        let told = ran.result()?;
        if told["error"]["reason"] != "content_wanted" {
            return Ok(told.clone());
        }
        let at =
            told["offset"].as_u64().and_then(|offset| usize::try_from(offset).ok()).ok_or("no offset")?;
        // What a killed call wrote may end in the middle of a piece.
        let Some(piece) = PIECES.get(at / PIECE).filter(|_| at % PIECE == 0) else {
            return Err(format!("a piece was wanted from {at} on"));
        };
        let mut next = args.clone();
        (next["offset"], next["content"]) = (json!(at), json!(piece));
        ran = node.call_under(under, "og_file", &next)?;
    }
}

fn require_sent(told: &Value, path: &Path) -> Tried<()> {
    let is_whole = fs::read(path).is_ok_and(|content| content == CONTENT);
    if told["failed"] == false && is_whole { Ok(()) } else { Err(brief(told)) }
}

/// The words that kill the traced program at its n-th such call.
fn killer(log: &str, call: &str, n: usize) -> Vec<String> {
    let words = [
        "strace",
        "-f",
        "-qq",
        "-o",
        log,
        "-e",
        &format!("trace=?{call}"),
        "-e",
        &format!("inject=?{call}:signal=SIGKILL:when={n}"),
    ];
    words.into_iter().map(str::to_owned).collect()
}

/// Calls `one` with the words of each kill, until none is hit any more; returns how many were.
fn kill_each(mut one: impl FnMut(&[&str]) -> Tried<()>) -> Tried<usize> {
    if !crate::has("strace") {
        return Err("skipped: strace is not installed".to_owned());
    }
    let logs = own_folder()?;
    let log = logs.path().join("strace.log").display().to_string();
    let more = ["mkdir", "mkdirat", "rmdir", "symlink", "symlinkat"];
    let points = KillPoints::from_env()?;
    let mut hits = 0;
    for (row, call) in CHANGING.iter().chain(&more).enumerate() {
        for n in points.points_of_row(row) {
            drop(fs::remove_file(&log));
            let words = killer(&log, call, n);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            one(&words).map_err(|e| format!("{call} {n}: {e}"))?;
            let traced =
                fs::read_to_string(&log).map_err(|e| format!("skipped: strace traces nothing: {e}"))?;
            if !traced.contains("killed by SIGKILL") {
                break;
            }
            hits += 1;
        }
    }
    Ok(hits)
}

/// Kills og_file at each step of each piece: the file is there whole or not at all, and sending it again makes it so.
pub fn file_killed() -> Tried {
    let node = Sandbox::new()?;
    let steps = kill_each(|words| {
        let folder = own_folder()?;
        let path = folder.path().join("new/file");
        for (n, piece) in PIECES.iter().enumerate() {
            let mut args = file_args(&path);
            (args["offset"], args["content"]) = (json!(n * PIECE), json!(piece));
            let under = if n + 1 == PIECES.len() { words } else { &[][..] };
            node.call_under(under, "og_file", &args)?;
        }
        if fs::read(&path).is_ok_and(|content| content != CONTENT) {
            return Err("half of the file has its name".to_owned());
        }
        require_sent(&send(&node, &[], &path)?, &path)?;
        let left = names(&folder.path().join("new"))?;
        if left == ["file"] { Ok(()) } else { Err(format!("left are {left:?}")) }
    })?;
    Ok(format!("{steps} steps, whole or not there at each; again: done"))
}

/// Many send the same file at once, and as many another content to the same path.
pub fn file_at_once() -> Tried {
    let folder = own_folder()?;
    let path = folder.path().join("file");
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..MANY)
            .map(|_| {
                scope.spawn(|| {
                    let node = Sandbox::new()?;
                    require_sent(&send(&node, &[], &path)?, &path)
                })
            })
            .collect();
        senders
            .into_iter()
            .try_for_each(|sender| sender.join().map_err(|_| "a sender panicked".to_owned())?)
    })?;
    let left = names(folder.path())?;
    if left == ["file"] { Ok(format!("{MANY} senders, one file")) } else { Err(format!("left are {left:?}")) }
}

/// A disk that becomes full in the middle.
pub fn file_on_a_full_disk() -> Tried {
    let (node, folder) = (Sandbox::new()?, own_folder()?);
    let _mounted = Mounted::mount(folder.path(), "size=64k,nr_inodes=16")?;
    let path = folder.path().join("file");
    let filler = folder.path().join("filler");
    drop(fs::write(&filler, vec![b'x'; 1 << 20]));
    let told = send(&node, &[], &path)?;
    if told["error"]["reason"] != "disk_full" || path.exists() {
        return Err(brief(&told));
    }
    fs::remove_file(&filler).map_err(text)?;
    require_sent(&send(&node, &[], &path)?, &path)?;
    Ok("refused, nothing there; then done".to_owned())
}

fn names(folder: &Path) -> Tried<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(text)?;
    let mut names = entries
        .map(|entry| Ok(entry.map_err(text)?.file_name().to_string_lossy().into_owned()))
        .collect::<Tried<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// A package of a server whose programs are scripts, and a folder for it.
fn package() -> Tried<(tempfile::TempDir, PathBuf)> {
    let folder = own_folder()?;
    let files = folder.path().join("files");
    for (name, content) in
        [("bin/gaussdb", "#!/bin/sh"), ("bin/gs_initdb", "x"), ("bin/gs_ctl", "x"), ("lib/a", "x")]
    {
        let path = files.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&files)).map_err(text)?;
        fs::write(&path, content).map_err(text)?;
        crate::sandbox::set_mode(&path, 0o755)?;
    }
    fs::write(files.join("version.cfg"), "openGauss-6.0.2\n").map_err(text)?;
    let path = folder.path().join("openGauss.tar.gz");
    let packed = Command::new("tar").arg("-czf").arg(&path).arg("-C").arg(&files).arg(".").status();
    if packed.is_ok_and(|status| status.success()) {
        Ok((folder, path))
    } else {
        Err("tar failed".to_owned())
    }
}

fn require_unpacked(told: &Value, link: &Path) -> Tried<()> {
    if told["failed"] != false {
        return Err(brief(told));
    }
    for name in ["bin/gaussdb", "bin/gs_initdb", "bin/gs_ctl", "lib/a", "version.cfg"] {
        if !link.join(name).is_file() {
            return Err(format!("{name} is missing"));
        }
    }
    let left = names(link.parent().unwrap_or(link))?;
    if left.len() == 3 { Ok(()) } else { Err(format!("left are {left:?}")) }
}

/// Kills og_package at each step: the link leads to all of the program files or nowhere, and the same call again makes it so.
pub fn package_killed() -> Tried {
    let node = Sandbox::new()?;
    let (_folder, package) = package()?;
    let steps = kill_each(|words| {
        let base = own_folder()?;
        let link = base.path().join("app/current");
        let args = json!({"link": link, "package": package, "os_user": "root"});
        node.call_under(words, "og_package", &args)?;
        if link.exists() && !(link.join("bin/gaussdb").is_file() && link.join("version.cfg").is_file()) {
            return Err("the link leads to half of the program files".to_owned());
        }
        require_unpacked(node.call("og_package", &args)?.result()?, &link)?;
        let again = node.call("og_package", &args)?;
        if again.require_success()?["changed"] == false {
            Ok(())
        } else {
            Err("it changes something once more".to_owned())
        }
    })?;
    Ok(format!("{steps} steps, all or nothing at each; again: done"))
}

/// Kills the removal at each step: the same call again ends it.
pub fn removal_killed() -> Tried {
    let node = Sandbox::new()?;
    let (_folder, package) = package()?;
    let steps = kill_each(|words| {
        let base = own_folder()?;
        let link = base.path().join("app/current");
        let unpacked =
            node.call("og_package", &json!({"link": link, "package": package, "os_user": "root"}))?;
        unpacked.require_success()?;
        let args = json!({"link": link, "state": "absent"});
        node.call_under(words, "og_package", &args)?;
        node.call("og_package", &args)?.require_success()?;
        let left = names(&base.path().join("app"))?;
        if left.is_empty() { Ok(()) } else { Err(format!("left are {left:?}")) }
    })?;
    Ok(format!("{steps} steps; again: done"))
}

/// Many unpack the same package at once.
pub fn packages_at_once() -> Tried {
    let ((_folder, package), base) = (package()?, own_folder()?);
    let link = base.path().join("app/current");
    let args = json!({"link": link, "package": package, "os_user": "root", "lock_timeout": 60}).to_string();
    let children: Vec<_> = (0..MANY)
        .map(|_| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", r#"printf %s "$2" | "$1""#, "sh"]).arg(program("og_package")).arg(&args);
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(text)
        })
        .collect::<Tried<_>>()?;
    let mut changed = 0;
    for child in children {
        let output = child.wait_with_output().map_err(text)?;
        let told: Value = serde_json::from_slice(&output.stdout).map_err(text)?;
        require_unpacked(&told, &link)?;
        changed += usize::from(told["actions"].as_array().is_some_and(|actions| actions.len() == 3));
    }
    if changed == 1 {
        Ok(format!("{MANY} at once, one has unpacked it"))
    } else {
        Err(format!("{changed} unpacked it"))
    }
}

/// A disk that becomes full while a package is unpacked, which its size did not foretell.
pub fn package_on_a_full_disk() -> Tried {
    let node = Sandbox::new()?;
    let folder = own_folder()?;
    let (files, path) = (folder.path().join("files"), folder.path().join("openGauss.tar.gz"));
    fs::create_dir_all(files.join("share")).map_err(text)?;
    // It becomes a thousandth of that.
    fs::write(files.join("share/zeros"), vec![0; 8 << 20]).map_err(text)?;
    let packed = Command::new("tar").arg("-czf").arg(&path).arg("-C").arg(&files).arg(".").status();
    if !packed.is_ok_and(|status| status.success()) {
        return Err("tar failed".to_owned());
    }
    let base = own_folder()?;
    let _mounted = Mounted::mount(base.path(), "size=1m,nr_inodes=64")?;
    let told = node.call(
        "og_package",
        &json!({"link": base.path().join("current"), "package": path, "os_user": "root"}),
    )?;
    let told = told.result()?;
    let left = names(base.path())?;
    if told["error"]["reason"] == "disk_full" && left.is_empty() {
        Ok("refused, and the room given back".to_owned())
    } else {
        Err(format!("{}; left are {left:?}", brief(told)))
    }
}
