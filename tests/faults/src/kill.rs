//! Kill at every step: the n-th system call that changes anything is the last, or it fails, for n = 1, 2, … to the end.

use og_lab::KillPoints;

use crate::cases::Case;
use crate::sandbox::{Files, Sandbox, Tried, brief};

/// The calls at which a run is killed.
pub const CHANGING: [&str; 24] = [
    "open",
    "openat",
    "creat",
    "write",
    "writev",
    "pwrite64",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "fsync",
    "fdatasync",
    "chmod",
    "fchmod",
    "fchmodat",
    "fchown",
    "link",
    "linkat",
    "ftruncate",
    "fork",
    "vfork",
    "clone",
    "clone3",
];
/// The calls that are made to fail: those of the work itself, not those by which a program is loaded.
const FAILING: [&str; 12] = [
    "write",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "fsync",
    "chmod",
    "fchmod",
    "fchown",
    "link",
    "linkat",
];
/// No run makes one call so often.
const MOST: usize = 500;

/// Kills the run at each step. In each case every file is the old or the new one, and the same call again ends as an
/// undisturbed one, with nothing left over.
pub fn run_killed(case: Case) -> Tried {
    let steps = disturb_each(case, &CHANGING, "signal=SIGKILL")?;
    Ok(format!("{steps} steps, old or new at each; again: done"))
}

/// Makes each step fail: the result is true, and nothing is half done.
pub fn run_failing(case: Case, error: &str) -> Tried {
    let steps = disturb_each(case, &FAILING, &format!("error={error}"))?;
    Ok(format!("{steps} steps, each told truly; again: done"))
}

/// Disturbs the first, second, … of each of these calls, as far as they are chosen, and returns how many there were.
fn disturb_each(case: Case, calls: &[&str], fault: &str) -> Tried<u32> {
    let wanted = run_undisturbed(case)?;
    let made = trace_calls(case)?;
    let points = KillPoints::from_env()?;
    let mut steps = 0;
    for (row, call) in calls.iter().filter(|call| made.contains(&format!(" {call}("))).enumerate() {
        for n in points.points_of_row(row) {
            if n > MOST {
                return Err(format!("more than {MOST} times {call}"));
            }
            if !disturb_one(case, &wanted, call, fault, n)? {
                break;
            }
            steps += 1;
        }
    }
    Ok(steps)
}

/// The calls of an undisturbed run, as strace prints them.
fn trace_calls(case: Case) -> Tried<String> {
    let node = case.node()?;
    let log = node.path("strace.log");
    let words = ["strace", "-f", "-qq", "-o", &log.display().to_string()];
    node.call_under(&words, case.module, &case.args(&node))?.require_success()?;
    std::fs::read_to_string(log).map_err(|e| e.to_string())
}

fn run_undisturbed(case: Case) -> Tried<Files> {
    if !crate::has("strace") {
        return Err("skipped: strace is not installed".to_owned());
    }
    let node = case.node()?;
    let probe = std::process::Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).output();
    if !probe.is_ok_and(|p| p.status.success()) {
        return Err("skipped: strace may not trace here".to_owned());
    }
    let args = case.args(&node);
    let first = node.call(case.module, &args)?;
    if first.require_success()?["changed"] != true {
        return Err("the undisturbed run changes nothing".to_owned());
    }
    check_settled(case, &node)?;
    node.files()
}

/// That the run is done: again changes nothing, and the server has loaded what is there.
fn check_settled(case: Case, node: &Sandbox) -> Tried<()> {
    let again = node.call(case.module, &case.args(node))?;
    let lock = case.module == "og_lock";
    if again.require_success()?["changed"] != false && !lock {
        return Err(format!("the same call once more: {}", brief(again.result()?)));
    }
    if case.serves {
        let loaded = std::fs::read(node.path("loaded").join(case.file)).unwrap_or_default();
        if loaded != std::fs::read(node.data().join(case.file)).unwrap_or_default() {
            return Err("the server has not loaded the file".to_owned());
        }
    }
    Ok(())
}

/// One run whose n-th such call is disturbed; whether there was one.
fn disturb_one(case: Case, wanted: &Files, name: &str, fault: &str, n: usize) -> Tried<bool> {
    let node = case.node()?;
    let args = case.args(&node);
    let old = node.files()?;
    let log = node.path("strace.log").display().to_string();
    // A call that this architecture does not have is none.
    let inject = format!("inject=?{name}:{fault}:when={n}");
    let trace = format!("trace=?{name}");
    let words = ["strace", "-f", "-qq", "-y", "-o", &log, "-e", &trace, "-e", &inject];
    let ran = node.call_under(&words, case.module, &args)?;
    let log = std::fs::read_to_string(&log).unwrap_or_default();
    let hit = log.contains("killed by SIGKILL") || log.contains("(INJECTED)");
    if !hit || wakes_the_runtime(&log) {
        return Ok(hit);
    }
    if ran.kind() == "internal" {
        return Err(format!("{name} {n}: {}", brief(ran.result()?)));
    }
    let at = |words: String| {
        let last = log.lines().rev().find(|l| l.contains("INJECTED") || l.contains('(')).unwrap_or_default();
        format!("{name} {n} ({}): {words}", last.chars().take(120).collect::<String>())
    };
    let now = node.files()?;
    for (name, before) in &old {
        let after = now.get(name).ok_or_else(|| at(format!("{name} is gone")))?;
        if after != before && Some(after) != wanted.get(name) {
            return Err(at(format!("{name} is neither the old nor the new one")));
        }
    }
    if ran.result.as_ref().is_some_and(|r| r["failed"] == false) && now != *wanted {
        let extra: Vec<_> = now.keys().filter(|k| !wanted.contains_key(*k)).collect();
        // A mark that could not be taken away costs a reload; it is no untruth.
        let harmless =
            extra.iter().all(|name| name.contains("reload")) && extra.len() + wanted.len() == now.len();
        if !harmless || extra.is_empty() {
            return Err(at(format!("it said that all was well, and left {extra:?}")));
        }
    }
    if let Some(told) = ran.result.as_ref().filter(|r| r["failed"] == true) {
        let new = now.get(case.file) == wanted.get(case.file) && old.get(case.file) != wanted.get(case.file);
        if new && told["changed"] != true {
            return Err(at(format!("it wrote the file and does not say so: {}", brief(told))));
        }
    }
    let again = node.call(case.module, &args)?;
    again.require_success().map_err(|e| at(format!("the same call again {e}")))?;
    let now = node.files()?;
    if now != *wanted {
        let names: Vec<_> = now.iter().filter(|(k, v)| wanted.get(*k) != Some(v)).map(|(k, _)| k).collect();
        return Err(at(format!("after the same call again differ: {names:?}")));
    }
    check_settled(case, &node).map_err(at)?;
    Ok(hit)
}

/// Whether the call that was made to fail is the runtime's own write to its eventfd, which no disk can fail. With several
/// threads strace prints such a call in two pieces: `7 write(6<…[eventfd]>, … <unfinished ...>`, and its end, marked as
/// injected, later.
fn wakes_the_runtime(log: &str) -> bool {
    let process = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
    let begun = |before: usize, pid: &str| {
        log.lines()
            .take(before)
            .filter(|line| process(line) == pid && line.contains("<unfinished ...>"))
            .last()
            .unwrap_or_default()
    };
    log.lines().enumerate().filter(|(_, line)| line.contains("INJECTED")).any(|(number, line)| {
        let call = if line.contains(" resumed>") { begun(number, &process(line)) } else { line };
        call.contains("[eventfd")
    })
}

#[cfg(test)]
mod tests {
    use super::wakes_the_runtime;

    #[test]
    fn a_write_to_the_runtimes_eventfd_is_known_in_one_piece_and_in_two() {
        let whole = r#"7 write(6<anon_inode:[eventfd]>, "\1\0\0\0\0\0\0\0", 8) = -1 EIO (Input/output error) (INJECTED)"#;
        assert!(wakes_the_runtime(whole));
        let pieces = "7 write(6<anon_inode:[eventfd]>, \"x\", 8 <unfinished ...>\n8 write(1</f>, \"y\", 1) = 1\n\
                      7 <... write resumed>) = -1 EIO (Input/output error) (INJECTED)";
        assert!(wakes_the_runtime(pieces));
    }

    #[test]
    fn a_write_to_a_file_is_none_though_another_thread_wakes_the_runtime() {
        let log = "7 write(6<anon_inode:[eventfd]>, \"x\", 8) = 8\n8 write(3</data/f>, \"y\", 1 <unfinished ...>\n\
                   7 write(6<anon_inode:[eventfd]>, \"x\", 8 <unfinished ...>\n\
                   8 <... write resumed>) = -1 EIO (Input/output error) (INJECTED)";
        assert!(!wakes_the_runtime(log));
    }
}
