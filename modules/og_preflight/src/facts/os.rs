//! The operating system: its name, the database's user, clock and memory.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use procfs_core::{FromRead, Meminfo};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Facts, Root};

/// The operating system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct System {
    /// Host name.
    pub host_name: Option<String>,
    /// Kernel release.
    pub kernel: Option<String>,
    /// Architecture, as `uname -m` says it.
    pub architecture: Option<String>,
    /// Bytes of a page of memory.
    pub page_size: Option<u64>,
    /// Time zone, such as `Asia/Shanghai`.
    pub time_zone: Option<String>,
    /// Whether systemd manages sessions here.
    pub systemd: bool,
    /// Whether SELinux refuses what its policy does not allow.
    pub selinux_enforcing: bool,
}

/// The database's user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct User {
    /// Name.
    pub name: Option<String>,
    /// Number.
    pub uid: Option<u32>,
    /// Name of the main group.
    pub group: Option<String>,
    /// Number of the main group.
    pub gid: Option<u32>,
    /// Home directory.
    pub home: Option<String>,
}

/// The node's clock when the facts were begun and done, and the caller's before and after: the node's is ahead by at least
/// `answered_at` - `received_at` and at most `read_at` - `sent_at`, however long the call took in between.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Clock {
    /// The node's clock, in milliseconds since 1970.
    pub read_at: Option<u64>,
    /// The node's clock when all else had been read, in milliseconds since 1970.
    pub answered_at: Option<u64>,
    /// The caller's clock when it sent the call, as the argument `sent_at` had it.
    pub sent_at: Option<u64>,
    /// The caller's clock when it had the answer; the caller fills it in. Null: the time that the call took is not known, and the
    /// difference has only an upper bound.
    pub received_at: Option<u64>,
    /// The program that keeps the clock right, such as `chronyd`; null when none runs.
    pub kept_by: Option<String>,
}

/// Memory in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Memory {
    /// All of it; the limit of the control group where that is less.
    pub total: Option<u64>,
    /// What new programs can have without swapping.
    pub available: Option<u64>,
    /// What the running server has in memory.
    pub server: Option<u64>,
    /// Swap.
    pub swap: Option<u64>,
    /// `vm.overcommit_memory`.
    pub overcommit: Option<u64>,
    /// With `vm.overcommit_memory` 2, what may still be promised.
    pub uncommitted: Option<u64>,
    /// `vm.min_free_kbytes`, in bytes.
    pub min_free: Option<u64>,
    /// Transparent huge pages: `always`, `madvise` or `never`.
    pub huge_pages: Option<String>,
}

/// The programs that keep a clock right.
const TIME_SERVICES: [&str; 6] =
    ["chronyd", "ntpd", "systemd-timesyncd", "systemd-timesyn", "openntpd", "ptp4l"];
/// Programs that start, stop or promote servers by themselves, CM aside.
const WATCHERS: [&str; 6] = ["mogha", "keepalived", "patroni", "pgautofailover", "corosync", "pacemakerd"];

/// Reads what [`System`], [`User`], [`Clock`] and [`Memory`] have. `pid` is the server's.
pub fn read(facts: &mut Facts, root: &Root, pid: Option<u32>, sent_at: Option<u64>) {
    facts.clock.read_at = now();
    read_system(facts, root);
    read_user(facts);
    let processes = processes(root);
    match &processes {
        Ok(names) => {
            facts.clock.kept_by =
                TIME_SERVICES.iter().find(|name| names.contains(**name)).map(ToString::to_string);
            facts.watchers =
                WATCHERS.iter().filter(|name| names.contains(**name)).map(ToString::to_string).collect();
        }
        Err(why) => facts.note_unknown("processes", why.clone()),
    }
    facts.clock.sent_at = sent_at;
    read_memory(facts, root, pid);
}

/// Returns the clock, in milliseconds since 1970.
#[must_use]
pub fn now() -> Option<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    now.and_then(|now| u64::try_from(now.as_millis()).ok())
}

fn read_system(facts: &mut Facts, root: &Root) {
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    let uname = nix::sys::utsname::uname().ok();
    let text = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
    facts.system = System {
        host_name: root.read("proc/sys/kernel/hostname").ok(),
        kernel: root.read("proc/sys/kernel/osrelease").ok(),
        architecture: uname.as_ref().map(|uname| text(uname.machine())),
        page_size: page.and_then(|bytes| u64::try_from(bytes).ok()),
        time_zone: time_zone(root),
        systemd: root.path("run/systemd/seats").exists() && runs_systemd(root),
        selinux_enforcing: root.read("sys/fs/selinux/enforce").is_ok_and(|text| text == "1"),
    };
}

fn runs_systemd(root: &Root) -> bool {
    root.read("proc/1/comm").is_ok_and(|name| name == "systemd")
}

fn time_zone(root: &Root) -> Option<String> {
    let link = std::fs::read_link(root.path("etc/localtime")).ok();
    let zone = link.and_then(|path| Some(path.to_str()?.split_once("zoneinfo/")?.1.to_owned()));
    zone.or_else(|| root.read("etc/timezone").ok().filter(|text| !text.is_empty()))
}

fn read_user(facts: &mut Facts) {
    let uid = nix::unistd::geteuid();
    let gid = nix::unistd::getegid();
    let user = nix::unistd::User::from_uid(uid).ok().flatten();
    let group = nix::unistd::Group::from_gid(gid).ok().flatten();
    facts.user = User {
        name: user.as_ref().map(|user| user.name.clone()),
        uid: Some(uid.as_raw()),
        group: group.map(|group| group.name),
        gid: Some(gid.as_raw()),
        home: user.map(|user| user.dir.display().to_string()),
    };
    if facts.user.name.is_none() {
        facts.note_unknown("user", format!("uid {uid} has no name on this machine"));
    }
}

/// The names of all processes.
fn processes(root: &Root) -> Result<BTreeSet<String>, String> {
    let folder = root.path("proc");
    let entries = std::fs::read_dir(&folder).map_err(|e| super::reason("list", &folder, &e))?;
    let number =
        |entry: &std::fs::DirEntry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit);
    let names =
        entries.flatten().filter(number).filter_map(|entry| std::fs::read(entry.path().join("comm")).ok());
    Ok(names.map(|name| String::from_utf8_lossy(&name).trim().to_owned()).collect())
}

fn read_memory(facts: &mut Facts, root: &Root, pid: Option<u32>) {
    match Meminfo::from_file(root.path("proc/meminfo")) {
        Ok(info) => {
            facts.memory.total = Some(info.mem_total);
            facts.memory.available = info.mem_available;
            facts.memory.swap = Some(info.swap_total);
            facts.memory.uncommitted = info.commit_limit.map(|limit| limit.saturating_sub(info.committed_as));
        }
        Err(e) => facts.note_unknown("memory", format!("cannot read /proc/meminfo: {e}")),
    }
    // The control group's own limit, which a container has.
    if let Ok(limit) = root.number("sys/fs/cgroup/memory.max") {
        facts.memory.total = facts.memory.total.map(|total| total.min(limit));
        if let Ok(used) = root.number("sys/fs/cgroup/memory.current") {
            // Pages of files that were not used of late are given back when something else needs them.
            let stat = root.read("sys/fs/cgroup/memory.stat").unwrap_or_default();
            let inactive =
                stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse().ok());
            let left = limit.saturating_sub(used.saturating_sub(inactive.unwrap_or(0)));
            facts.memory.available = facts.memory.available.map(|available| available.min(left));
        }
    }
    facts.memory.overcommit = root.number("proc/sys/vm/overcommit_memory").ok();
    facts.memory.min_free = root.number("proc/sys/vm/min_free_kbytes").ok().map(|kb| kb.saturating_mul(1024));
    // `always [madvise] never`: the one in brackets counts.
    let pages = root.read("sys/kernel/mm/transparent_hugepage/enabled").ok();
    facts.memory.huge_pages =
        pages.and_then(|text| Some(text.split_once('[')?.1.split_once(']')?.0.to_owned()));
    if let Some(pid) = pid {
        let pages = root.read(&format!("proc/{pid}/statm")).ok();
        let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
        facts.memory.server =
            pages.zip(facts.system.page_size).map(|(pages, size)| pages.saturating_mul(size));
    }
}
