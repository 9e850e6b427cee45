//! Limits of processes, and settings of the kernel that a server needs.

use og_common::gauss::host;
use procfs_core::FromRead;
use procfs_core::process::{LimitValue, Limits as ProcessLimits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Facts, Root};

/// A limit; null is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Limit {
    /// What counts.
    pub soft: Option<u64>,
    /// What the process may raise it to.
    pub hard: Option<u64>,
    /// Whether it was read at all.
    pub known: bool,
}

/// Limits of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Limits {
    /// Open files.
    pub open_files: Limit,
    /// Bytes of the stack.
    pub stack: Limit,
    /// Processes and threads of the user.
    pub processes: Limit,
    /// Bytes of address space.
    pub address_space: Limit,
}

/// Settings of the kernel and of systemd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Kernel {
    /// `kernel.sem`: semaphores of a set, of all, operations of a call, sets.
    pub semaphores: Option<[u64; 4]>,
    /// `kernel.shmmax`, bytes of a segment of shared memory.
    pub shmmax: Option<u64>,
    /// `kernel.shmall`, pages of all shared memory.
    pub shmall: Option<u64>,
    /// Whether systemd removes the user's shared memory and semaphores when its last session ends; null when that is not
    /// known.
    pub remove_ipc: Option<bool>,
    /// Whether the user's sessions never end for systemd (`loginctl enable-linger`).
    pub lingers: bool,
    /// `net.ipv4.ip_local_port_range`: from which ports outgoing connections are made.
    pub local_ports: Option<[u16; 2]>,
    /// `net.ipv4.ip_local_reserved_ports`: those of them that are left out.
    pub reserved_ports: Option<String>,
    /// `fs.aio-max-nr`.
    pub aio_max: Option<u64>,
}

impl From<procfs_core::process::Limit> for Limit {
    fn from(limit: procfs_core::process::Limit) -> Self {
        let value = |value| match value {
            LimitValue::Unlimited => None,
            LimitValue::Value(number) => Some(number),
        };
        Self { soft: value(limit.soft_limit), hard: value(limit.hard_limit), known: true }
    }
}

/// Reads the limits and settings. `pid` is the server's.
pub fn read(facts: &mut Facts, root: &Root, pid: Option<u32>) {
    match of_process(root, "self") {
        Ok(limits) => facts.limits = limits,
        Err(why) => facts.note_unknown("limits", why),
    }
    if let Some(pid) = pid {
        match of_process(root, &pid.to_string()) {
            Ok(limits) => facts.server_limits = Some(limits),
            Err(why) => facts.note_unknown("server_limits", why),
        }
    }
    let numbers = |path: &str| -> Option<Vec<u64>> {
        root.read(path).ok()?.split_whitespace().map(|word| word.parse().ok()).collect()
    };
    let range = numbers("proc/sys/net/ipv4/ip_local_port_range");
    let range = range
        .and_then(|range| Some([u16::try_from(*range.first()?).ok()?, u16::try_from(*range.get(1)?).ok()?]));
    facts.kernel = Kernel {
        semaphores: numbers("proc/sys/kernel/sem").and_then(|all| all.try_into().ok()),
        shmmax: root.number("proc/sys/kernel/shmmax").ok(),
        shmall: root.number("proc/sys/kernel/shmall").ok(),
        remove_ipc: host::remove_ipc(|below| root.path(below)),
        lingers: facts
            .user
            .name
            .as_ref()
            .is_some_and(|name| root.path(format!("var/lib/systemd/linger/{name}")).exists()),
        local_ports: range,
        reserved_ports: root.read("proc/sys/net/ipv4/ip_local_reserved_ports").ok(),
        aio_max: root.number("proc/sys/fs/aio-max-nr").ok(),
    };
}

fn of_process(root: &Root, process: &str) -> Result<Limits, String> {
    let path = root.path(format!("proc/{process}/limits"));
    let limits = ProcessLimits::from_file(&path).map_err(|e| format!("cannot read the limits: {e}"))?;
    Ok(Limits {
        open_files: limits.max_open_files.into(),
        stack: limits.max_stack_size.into(),
        processes: limits.max_processes.into(),
        address_space: limits.max_address_space.into(),
    })
}
