//! og_host on a machine of its own: namespaces of mounts, shared memory and network with a copy of /etc, where users are made
//! for real.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::unistd::Uid;
use og_lab::KillPoints;
use serde_json::{Value, json};

use crate::sandbox::{Tried, brief, program};

const MODULE: &str = "og_host";
const USER: &str = "ogfault";
/// The calls at which a run is killed: those that change something.
const CALLS: [&str; 11] = [
    "write",
    "rename",
    "renameat",
    "renameat2",
    "linkat",
    "unlinkat",
    "fsync",
    "fchmod",
    "fchown",
    "mkdirat",
    "clone3",
];
/// The calls that are made to fail.
const FAILING: [&str; 8] =
    ["rename", "renameat", "renameat2", "linkat", "fsync", "fchmod", "fchown", "mkdirat"];
/// No run makes one call so often.
const MOST: usize = 500;
/// So many calls at once.
const MANY: usize = 10;

/// Makes the machine: what a call may change is a copy, and stays below `$1`.
const MACHINE: &str = r#"set -e
cd "$1"
mkdir etc home lib mail log vm fs
cp -a /etc/. etc/ 2>/dev/null || :
rm -rf etc/sysctl.d etc/security/limits.d etc/systemd/system
mkdir -p etc/sysctl.d etc/security etc/systemd/system
mount --bind etc /etc
mount --bind home /home
mount --bind lib /var/lib
mount --bind mail /var/mail
mount --bind log /var/log
echo 0 > vm/overcommit_memory; echo 67584 > vm/min_free_kbytes
echo 65536 > fs/aio-max-nr; echo 1048576 > fs/nr_open
mount --bind vm /proc/sys/vm
mount --bind fs /proc/sys/fs
for one in sem shmmax shmall; do
    if ! cat /proc/sys/kernel/$one > /proc/sys/kernel/$one; then
        cat /proc/sys/kernel/$one > $one; mount --bind $one /proc/sys/kernel/$one
    fi
done 2>/dev/null
echo ready
exec cat"#;

struct Machine {
    dir: tempfile::TempDir,
    shell: Child,
}

impl Machine {
    fn new() -> Tried<Self> {
        if !Uid::effective().is_root() {
            return Err("skipped: it needs root".to_owned());
        }
        for needed in ["unshare", "nsenter", "useradd", "cp", "mount"] {
            if !crate::has(needed) {
                return Err(format!("skipped: there is no {needed}"));
            }
        }
        let dir = tempfile::Builder::new().prefix("og_host").tempdir().map_err(|e| e.to_string())?;
        crate::sandbox::set_mode(dir.path(), 0o755)?;
        let mut shell = Command::new("unshare")
            .args(["--mount", "--ipc", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["--propagation", "private", "sh", "-c", MACHINE, "sh"])
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot run unshare: {e}"))?;
        let mut said = String::new();
        let out = shell.stdout.take().ok_or("no output")?;
        BufReader::new(out).read_line(&mut said).map_err(|e| e.to_string())?;
        let machine = Self { dir, shell };
        if said.trim() == "ready" {
            Ok(machine)
        } else {
            Err("skipped: namespaces cannot be made here".to_owned())
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command in the machine.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        let shell = self.shell.id().to_string();
        // Its servers are not those of this machine.
        let pids = format!("--pid=/proc/{shell}/ns/pid_for_children");
        command.args(["--target", &shell, "--mount", "--ipc", "--net", &pids, "--"]).args(words);
        command
    }

    fn shell(&self, line: &str) -> Tried {
        let done = self.command(&["sh", "-c", line]).output().map_err(|e| e.to_string())?;
        if done.status.success() {
            Ok(String::from_utf8_lossy(&done.stdout).into_owned())
        } else {
            Err(format!("{line}: {}", String::from_utf8_lossy(&done.stderr)))
        }
    }

    fn begin(&self, under: &[&str], args: &Value, number: usize) -> Tried<Child> {
        let file = self.path(&format!("args{number}.json"));
        fs::write(&file, args.to_string()).map_err(|e| e.to_string())?;
        let (program, file) = (program(MODULE).display().to_string(), file.display().to_string());
        let words: Vec<&str> = under.iter().copied().chain([&*program, &*file]).collect();
        let mut command = self.command(&words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().map_err(|e| e.to_string())
    }

    /// What the call says; null when it was killed.
    fn call_under(&self, under: &[&str], args: &Value) -> Tried<Value> {
        let out = self.begin(under, args, 0)?.wait_with_output().map_err(|e| e.to_string())?;
        if out.stdout.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&out.stdout).map_err(|e| format!("no JSON object: {e}"))
    }

    fn call(&self, args: &Value) -> Tried<Value> {
        let told = self.call_under(&[], args)?;
        if told["failed"] == false { Ok(told) } else { Err(brief(&told)) }
    }

    /// Run by another user than root it says so. That user comes to no folder of programs of root's.
    fn refused_to_others(&self) -> Tried<()> {
        if !crate::has("setpriv") {
            return Ok(());
        }
        let copy = self.path(MODULE);
        fs::copy(program(MODULE), &copy).map_err(|e| e.to_string())?;
        crate::sandbox::set_mode(&copy, 0o755)?;
        let args = self.path("args.json");
        fs::write(&args, json!({"state": "query"}).to_string()).map_err(|e| e.to_string())?;
        let (copy, args) = (copy.display().to_string(), args.display().to_string());
        let words = ["setpriv", "--reuid", USER, "--clear-groups", &copy, &args];
        let out = self.command(&words).output().map_err(|e| e.to_string())?;
        let told: Value = serde_json::from_slice(&out.stdout)
            .map_err(|e| format!("as {USER}: {e}: {}", String::from_utf8_lossy(&out.stderr)))?;
        if told["error"]["reason"] == "not_root" {
            Ok(())
        } else {
            Err(format!("as {USER}: {}", brief(&told)))
        }
    }

    /// What og_host may have made, with its content; users without their numbers.
    fn state(&self) -> Tried<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        for folder in ["etc/sysctl.d", "etc/security", "etc/systemd", "lib/opengauss-node", "home/gauss"] {
            read_into(&self.path(folder), folder, &mut found)?;
        }
        let settings = self.shell("cat /proc/sys/kernel/sem /proc/sys/fs/aio-max-nr")?;
        found.insert("settings".to_owned(), settings.split_whitespace().collect::<Vec<_>>().join(" "));
        found.insert("user".to_owned(), self.has_entry("passwd")?.to_string());
        // Its record has the user's number, which is the next free one.
        found.remove("lib/opengauss-node/host.json");
        Ok(found)
    }

    /// Whether the user, or the group of the same name, is in this list, `passwd` or `group`.
    fn has_entry(&self, list: &str) -> Tried<bool> {
        let entries = fs::read_to_string(self.path(&format!("etc/{list}"))).map_err(|e| e.to_string())?;
        Ok(entries.lines().any(|line| line.starts_with(&format!("{USER}:"))))
    }

    /// Waits for programs that a killed call left at work.
    fn settle(&self) -> Tried<()> {
        let line = format!(
            "n=0; while cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -q '[u]seradd.*{USER}'; do \
             n=$((n + 1)); [ $n -lt 3000 ] || exit 1; done"
        );
        self.shell(&line).map(drop)
    }

    /// Takes all away; a user of whom a killed call did not write down that it made it stays, and is removed by hand.
    fn clear(&self) -> Tried<Value> {
        let gone = self.call(&json!({"state": "absent", "confirm": USER}))?;
        // Killed before it could note the number, it does not know whether it made the user or the group: both stay, and that is told.
        for (list, remove) in [("passwd", "userdel"), ("group", "groupdel")] {
            if !self.has_entry(list)? {
                continue;
            }
            let kept = gone["kept"].as_array().into_iter().flatten();
            if !kept.clone().any(|one| one["name"] == USER) {
                return Err(format!("{list} has {USER}, and that is not told: {gone}"));
            }
            self.shell(&format!("{remove} {USER}"))?;
        }
        let again = self.call(&json!({"state": "absent"}))?;
        if self.path("lib/opengauss-node/host.json").exists() {
            return Err(format!("its record stays: {again}; before: {gone}"));
        }
        self.shell(&format!("rm -rf /home/{USER}"))?;
        Ok(gone)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The namespaces end with the shell.
        drop(self.shell.kill());
        drop(self.shell.wait());
    }
}

fn read_into(path: &Path, name: &str, found: &mut BTreeMap<String, String>) -> Tried<()> {
    let Ok(meta) = fs::symlink_metadata(path) else { return Ok(()) };
    let text = |e: std::io::Error| e.to_string();
    if meta.is_symlink() {
        found.insert(name.to_owned(), fs::read_link(path).map_err(text)?.display().to_string());
    } else if meta.is_dir() {
        found.insert(name.to_owned(), String::new());
        for entry in fs::read_dir(path).map_err(text)? {
            let entry = entry.map_err(text)?;
            read_into(&entry.path(), &format!("{name}/{}", entry.file_name().to_string_lossy()), found)?;
        }
    } else {
        found.insert(name.to_owned(), String::from_utf8_lossy(&fs::read(path).map_err(text)?).into_owned());
    }
    Ok(())
}

fn wanted() -> Value {
    json!({"user": USER, "directories": [{"path": "/home/gauss/data"}], "limits": {"nofile": 1000}, "remove_ipc": false,
        "sysctl": {"kernel.sem": "250 6400000 1000 25600", "fs.aio-max-nr": "1048576"}})
}

/// Made, made again, and taken away: nothing is left.
pub fn make_and_remove() -> Tried {
    let machine = Machine::new()?;
    let before = machine.state()?;
    let foreseen = machine.call(&json!({"check_mode": true, "user": USER, "recommended": true}))?;
    if foreseen["changed"] != true || machine.state()? != before {
        return Err(format!("check mode: {}", brief(&foreseen)));
    }
    machine.call(&wanted())?;
    let owner = machine.shell("stat -c '%U %a' /home/gauss/data")?;
    if owner.trim() != format!("{USER} 700") {
        return Err(format!("the directory is {owner}"));
    }
    let again = machine.call(&wanted())?;
    if again["changed"] != false {
        return Err(format!("the same call once more: {}", brief(&again)));
    }
    machine.refused_to_others()?;
    let gone = machine.clear()?;
    if gone["kept"].as_array().is_none_or(|kept| !kept.is_empty()) {
        return Err(format!("kept: {}", gone["kept"]));
    }
    check_equal(&machine.state()?, &before)?;
    Ok("made, made again, taken away".to_owned())
}

fn check_equal(now: &BTreeMap<String, String>, before: &BTreeMap<String, String>) -> Tried<()> {
    let names = now.keys().chain(before.keys());
    let differ: Vec<_> = names.filter(|name| now.get(*name) != before.get(*name)).collect();
    if differ.is_empty() { Ok(()) } else { Err(format!("these differ: {differ:?}")) }
}

/// Kills the run at each call that changes something: the same call again ends as an undisturbed one, or all is taken away.
pub fn run_killed() -> Tried {
    disturb_each(&CALLS, "signal=SIGKILL").map(|steps| format!("{steps} steps; again: done, or taken away"))
}

/// Makes each step fail: the result is true, and the same call again ends as an undisturbed one.
pub fn run_failing() -> Tried {
    disturb_each(&FAILING, "error=EIO").map(|steps| format!("{steps} steps, each told truly; again: done"))
}

fn disturb_each(calls: &[&str], fault: &str) -> Tried<usize> {
    if !crate::has("strace") {
        return Err("skipped: strace is not installed".to_owned());
    }
    let machine = Machine::new()?;
    let before = machine.state()?;
    machine.call(&wanted())?;
    let undisturbed = machine.state()?;
    machine.clear()?;
    check_equal(&machine.state()?, &before).map_err(|e| format!("after an undisturbed run: {e}"))?;
    let points = KillPoints::from_env()?;
    let mut steps = 0;
    for (row, call) in calls.iter().enumerate() {
        for n in points.points_of_row(row) {
            if n > MOST {
                return Err(format!("more than {MOST} times {call}"));
            }
            if !disturb_one(&machine, call, fault, n, &before, &undisturbed)
                .map_err(|e| format!("{call} {n}: {e}"))?
            {
                break;
            }
            steps += 1;
        }
    }
    if steps == 0 { Err("nothing was disturbed".to_owned()) } else { Ok(steps) }
}

/// One run whose n-th such call is disturbed; whether there was one.
fn disturb_one(
    machine: &Machine,
    call: &str,
    fault: &str,
    n: usize,
    before: &BTreeMap<String, String>,
    undisturbed: &BTreeMap<String, String>,
) -> Tried<bool> {
    let log = machine.path("strace.log").display().to_string();
    // Only og_host itself: useradd is not ours to mend.
    let (trace, inject) = (format!("trace=?{call}"), format!("inject=?{call}:{fault}:when={n}"));
    let words = ["strace", "-qq", "-y", "-o", &log, "-e", &trace, "-e", &inject];
    let told = machine.call_under(&words, &wanted())?;
    machine.settle()?;
    // A plain file loses its content when it is opened to be written; one of the kernel's does not.
    let setting = machine.path("fs/aio-max-nr");
    if fs::read_to_string(&setting).is_ok_and(|text| text.is_empty()) {
        fs::write(&setting, "65536\n").map_err(|e| e.to_string())?;
    }
    let log = fs::read_to_string(&log).map_err(|e| e.to_string())?;
    let hit = log.contains("killed by SIGKILL") || log.contains("(INJECTED)");
    if told["error"]["kind"] == "internal" {
        return Err(brief(&told));
    }
    for (name, now) in machine.state()? {
        let (old, new) = (before.get(&name), undisturbed.get(&name));
        let is_half = name.ends_with(".og_tmp") || name.ends_with("host.lock");
        if name != "settings" && !is_half && Some(&now) != old && Some(&now) != new {
            return Err(format!("{name} is neither the old nor the new one: {now:?}"));
        }
    }
    if told["failed"] == false {
        check_equal(&machine.state()?, undisturbed).map_err(|e| format!("it said that all was well: {e}"))?;
    }
    // By turns it is done once more, or taken away at once.
    let is_again = n.is_multiple_of(2);
    if is_again {
        machine.call(&wanted()).map_err(|e| format!("the same call again: {e}"))?;
        check_equal(&machine.state()?, undisturbed).map_err(|e| format!("after the same call again: {e}"))?;
    }
    let gone = machine.clear().map_err(|e| format!("taken away: {e}"))?;
    // What a later call has named is known for its own, whenever the first one was killed.
    if is_again && gone["kept"].as_array().is_none_or(|kept| !kept.is_empty()) {
        return Err(format!("made once more, and then kept: {}", gone["kept"]));
    }
    check_equal(&machine.state()?, before).map_err(|e| format!("after it was taken away: {e}"))?;
    Ok(hit)
}

/// Several calls at once, each with a setting of its own: nothing is lost.
pub fn at_once() -> Tried {
    let machine = Machine::new()?;
    let args = |n: usize| {
        json!({"lock_timeout": 60, "user": USER, "directories": [{"path": format!("/home/gauss/data{n}")}],
            "limits": {"nofile": 1000}, "sysctl": {"kernel.sem": "250 6400000 1000 25600"}})
    };
    let children: Vec<Child> = (0..MANY).map(|n| machine.begin(&[], &args(n), n)).collect::<Tried<_>>()?;
    for child in children {
        let out = child.wait_with_output().map_err(|e| e.to_string())?;
        let told: Value = serde_json::from_slice(&out.stdout).map_err(|e| e.to_string())?;
        if told["failed"] != false {
            return Err(brief(&told));
        }
    }
    for n in 0..MANY {
        let again = machine.call(&args(n))?;
        if again["changed"] != false {
            return Err(format!("call {n} once more: {}", brief(&again)));
        }
    }
    machine.clear()?;
    Ok(format!("{MANY} calls, each done"))
}

/// A full disk: the result says so, nothing is half done, and with room the same call ends it.
pub fn full_disk() -> Tried {
    let machine = Machine::new()?;
    machine.shell(
        "mount -t tmpfs -o size=4k,mode=755 none /etc/sysctl.d && head -c 4096 /dev/zero > /etc/sysctl.d/filler",
    )?;
    let told = machine.call_under(&[], &wanted())?;
    if told["failed"] != true || told["error"]["reason"] != "disk_full" || told["changed"] != true {
        return Err(brief(&told));
    }
    let names = machine.shell("ls -A /etc/sysctl.d")?;
    if names.trim() != "filler" {
        return Err(format!("left behind: {names}"));
    }
    machine.shell("rm /etc/sysctl.d/filler")?;
    machine.call(&wanted())?;
    machine.clear()?;
    Ok("told; again: done".to_owned())
}
