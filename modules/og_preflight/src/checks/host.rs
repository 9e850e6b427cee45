//! Checks of the machine: memory, disks, ports, leftovers, limits, kernel, user, certificates.

use og_common::gauss::NodeContent;
use og_common::gauss::certificates::CERTIFICATE_WARN_DAYS;
use og_common::gauss::host;
use og_common::gauss::managed::Manager;
use og_common::protocol::Bytes;

use super::{Check, Context, FixableBy, Judge, Severity, why_unknown};
use crate::args::Purpose::{self, Build, Deploy, Expand, Restart};
use crate::facts::{LeftoverKind, Limit, Limits, PortState};

const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;
const STARTS: &[Purpose] = &[Expand, Build, Deploy, Restart];
const COPIES: &[Purpose] = &[Expand, Build];

/// The least `max_process_memory` that a server takes.
pub const MIN_PROCESS_MEMORY_BYTES: u64 = 2 * GIB;
/// What the operating system keeps for itself.
pub const SYSTEM_RESERVE: u64 = GIB / 2;
/// Bytes of stack that openGauss's check list asks for.
const MIN_STACK_BYTES: u64 = host::MIN_STACK_KIB * KIB;
/// A port below is used by other services.
const FIRST_PORT: u16 = 1024;
/// Server threads beside the sessions that have semaphores, too.
const OTHER_THREADS: u64 = 100;
/// Semaphores that the server puts into one set, one of its own among them.
const SEMAPHORES_PER_SET: u64 = 17;
/// The last number of a user that systemd counts among the system's (`SYS_UID_MAX`).
const LAST_SYSTEM_USER: u32 = 999;

/// The checks.
pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "memory.process",
        severity: Severity::Error,
        what: "memory against max_process_memory",
        threshold: "max_process_memory and 512 MiB for the system fit into the memory that is available",
        why: "A server whose max_process_memory the machine cannot give is not started, or is killed under load.",
        fix: "give the machine more memory, or set max_process_memory and shared_buffers lower",
        fixable_by: FixableBy::Configure,
        purposes: &[],
        run: memory_process,
    },
    Check {
        id: "memory.minimum",
        severity: Severity::Error,
        what: "max_process_memory",
        threshold: "at least 2 GB",
        why: "openGauss refuses to start with less.",
        fix: "set max_process_memory to 2GB or more",
        fixable_by: FixableBy::Configure,
        purposes: &[],
        run: memory_minimum,
    },
    Check {
        id: "memory.shared_buffers",
        severity: Severity::Error,
        what: "memory against shared_buffers",
        threshold: "shared_buffers is at most 40 % of the memory, and less than what is available",
        why: "The server takes shared_buffers when it starts; a standby is Manually stopped where that cannot be had.",
        fix: "set shared_buffers lower, or give the machine more memory",
        fixable_by: FixableBy::Configure,
        purposes: &[],
        run: memory_shared_buffers,
    },
    Check {
        id: "memory.overcommit",
        severity: Severity::Error,
        what: "vm.overcommit_memory",
        threshold: "0 or 1, or 2 with room for max_process_memory",
        why: "With 2 the kernel refuses memory that it could give, and the server ends or does not start.",
        fix: "set vm.overcommit_memory to 0",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: memory_overcommit,
    },
    Check {
        id: "memory.swap",
        severity: Severity::Warning,
        what: "swap",
        threshold: "none, or no more than the memory",
        why: "A server that swaps looks frozen to its peers, which then take over.",
        fix: "switch swap off, or make it smaller",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: memory_swap,
    },
    Check {
        id: "memory.huge_pages",
        severity: Severity::Warning,
        what: "transparent huge pages",
        threshold: "never or madvise",
        why: "Their defragmentation stalls sessions for seconds.",
        fix: "write never to /sys/kernel/mm/transparent_hugepage/enabled, at each boot",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: memory_huge_pages,
    },
    Check {
        id: "memory.min_free",
        severity: Severity::Info,
        what: "vm.min_free_kbytes",
        threshold: "5 % of the memory",
        why: "With less, network buffers cannot be had under load, and connections of a cluster break.",
        fix: "set vm.min_free_kbytes to 5 % of the memory",
        fixable_by: FixableBy::Deploy,
        purposes: &[],
        run: memory_min_free,
    },
    Check {
        id: "disk.room",
        severity: Severity::Error,
        what: "room for the copy of the data",
        threshold: "1.1 times the primary's data, and its WAL",
        why: "A build that fills the disk leaves a data directory that cannot be started.",
        fix: "make room, or move the data directory to a larger file system",
        fixable_by: FixableBy::You,
        purposes: COPIES,
        run: disk_room,
    },
    Check {
        id: "disk.use",
        severity: Severity::Error,
        what: "use of the file systems",
        threshold: "below 70 % (warning), below 90 % (error), below 85 % under CM",
        why: "A server ends when it cannot write WAL; CM makes the cluster read-only at 85 %.",
        fix: "remove what is not needed; check the slots and archiving first, and never remove files of pg_xlog",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: disk_use,
    },
    Check {
        id: "disk.inodes",
        severity: Severity::Error,
        what: "use of inodes",
        threshold: "below 60 % (warning), below 80 % (error)",
        why: "Without free inodes no file can be made, however much room there is.",
        fix: "remove small files, or make the file system with more inodes",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: disk_inodes,
    },
    Check {
        id: "disk.file_system",
        severity: Severity::Warning,
        what: "kind of file system of data and WAL",
        threshold: "xfs or ext4",
        why: "openGauss is tested on these; network and memory file systems lose what was flushed.",
        fix: "put the data directory on xfs or ext4",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: disk_file_system,
    },
    Check {
        id: "disk.writable",
        severity: Severity::Error,
        what: "rights on the directories",
        threshold: "mounted for writing, and writable for the database's user",
        why: "A file system that had errors is mounted again for reading only.",
        fix: "look into the kernel's log, and mount it again for writing; or give the directory to the database's user",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: disk_writable,
    },
    Check {
        id: "ports.free",
        severity: Severity::Error,
        what: "the server's ports",
        threshold: "no other process listens on the port or the five after it",
        why: "A server whose port is taken does not start; one whose replication port is taken is never followed.",
        fix: "stop the other program, or choose another port",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: ports_free,
    },
    Check {
        id: "ports.ephemeral",
        severity: Severity::Error,
        what: "the server's ports and net.ipv4.ip_local_port_range",
        threshold: "outside the range, or in net.ipv4.ip_local_reserved_ports",
        why: "Any outgoing connection may take such a port, and the server's next start then fails.",
        fix: "put the ports into net.ipv4.ip_local_reserved_ports",
        fixable_by: FixableBy::Deploy,
        purposes: &[],
        run: ports_ephemeral,
    },
    Check {
        id: "leftovers.data_dir",
        severity: Severity::Error,
        what: "what is in the data directory",
        threshold: "a database, or nothing; nothing for deploy",
        why: "A build or gs_initdb would delete or refuse what is there.",
        fix: "correct data_dir, or move away what is there",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: leftovers_data_dir,
    },
    Check {
        id: "leftovers.sockets",
        severity: Severity::Error,
        what: "socket and lock files of a server that does not run",
        threshold: "none that another process or user holds",
        why: "The server does not start while such a file belongs to somebody else.",
        fix: "find out which program they belong to; remove them when it is gone",
        fixable_by: FixableBy::You,
        purposes: STARTS,
        run: leftovers_sockets,
    },
    Check {
        id: "leftovers.processes",
        severity: Severity::Error,
        what: "server processes that no postmaster.pid tells of",
        threshold: "none in this data directory",
        why: "Two servers on the same files destroy them.",
        fix: "end the process, and only then start or build",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: leftovers_processes,
    },
    Check {
        id: "leftovers.environment",
        severity: Severity::Warning,
        what: "variables of openGauss's installer (GAUSS_ENV, GPHOME)",
        threshold: "not set before a deploy",
        why: "They come from an earlier installation, and openGauss's tools then take its paths.",
        fix: "remove their lines from /etc/profile and ~/.bashrc",
        fixable_by: FixableBy::You,
        purposes: &[Deploy],
        run: leftovers_environment,
    },
    Check {
        id: "leftovers.cron",
        severity: Severity::Warning,
        what: "om_monitor in the user's crontab",
        threshold: "only with openGauss CM",
        why: "It starts CM's agent, which starts and stops servers.",
        fix: "remove the line with crontab -e, unless CM is in use",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: leftovers_cron,
    },
    Check {
        id: "limits.open_files",
        severity: Severity::Error,
        what: "open files of the database's user",
        threshold: "at least 640000 (error under CM, whose om_monitor refuses less), better 1000000",
        why: "A server that runs out of them fails in the middle of a session or a promotion.",
        fix: "set nofile in /etc/security/limits.d and log in anew",
        fixable_by: FixableBy::Deploy,
        purposes: &[],
        run: limits_open_files,
    },
    Check {
        id: "limits.open_files_running",
        severity: Severity::Error,
        what: "open files of the running server",
        threshold: "at least 640000, whatever the user's limit is now",
        why: "A limit counts from the start of a process on: a server started before it was raised has the old one.",
        fix: "restart the server from a session that has the limit; under CM start om_monitor from it first",
        fixable_by: FixableBy::Repair,
        purposes: &[],
        run: limits_open_files_running,
    },
    Check {
        id: "limits.running",
        severity: Severity::Warning,
        what: "stack, processes and threads of the running server",
        threshold: "a stack of at least 3072 kB, and more processes than the server's sessions",
        why: "A limit counts from the start of a process on: a server started before it was raised has the old one.",
        fix: "restart the server from a session that has the limits; under CM start om_monitor from it first",
        fixable_by: FixableBy::Repair,
        purposes: &[],
        run: limits_running,
    },
    Check {
        id: "limits.stack",
        severity: Severity::Warning,
        what: "stack of the database's user",
        threshold: "at least 3072 kB",
        why: "Deep queries end with an error, or the server.",
        fix: "set stack to 3072 or more in /etc/security/limits.d",
        fixable_by: FixableBy::Deploy,
        purposes: &[],
        run: limits_stack,
    },
    Check {
        id: "limits.processes",
        severity: Severity::Warning,
        what: "processes and threads of the database's user",
        threshold: "unlimited, or more than the server's sessions",
        why: "A primary that cannot make threads hangs in Demoting.",
        fix: "set nproc to unlimited in /etc/security/limits.d",
        fixable_by: FixableBy::Deploy,
        purposes: &[],
        run: limits_processes,
    },
    Check {
        id: "limits.address_space",
        severity: Severity::Warning,
        what: "address space of the database's user",
        threshold: "unlimited",
        why: "The server reserves more than it uses.",
        fix: "set as to unlimited in /etc/security/limits.d",
        fixable_by: FixableBy::Deploy,
        purposes: &[],
        run: limits_address_space,
    },
    Check {
        id: "kernel.semaphores",
        severity: Severity::Error,
        what: "kernel.sem",
        threshold: "sets of 17, and one set for 16 sessions; 250 6400000 1000 25600 is advised",
        why: "The server does not start when it cannot have a semaphore for each session.",
        fix: "set kernel.sem to '250 6400000 1000 25600'",
        fixable_by: FixableBy::Deploy,
        purposes: &[],
        run: kernel_semaphores,
    },
    Check {
        id: "kernel.shared_memory",
        severity: Severity::Error,
        what: "kernel.shmmax and kernel.shmall",
        threshold: "both above shared_buffers",
        why: "The server does not start when its segment of shared memory is larger.",
        fix: "set kernel.shmmax to 18446744073709551615 and kernel.shmall to 1152921504606846720",
        fixable_by: FixableBy::Deploy,
        purposes: &[],
        run: kernel_shared_memory,
    },
    Check {
        id: "kernel.remove_ipc",
        severity: Severity::Error,
        what: "RemoveIPC of systemd",
        threshold: "no, for a user above number 999 that does not linger",
        why: "When the user's last session ends systemd removes the running server's shared memory and semaphores.",
        fix: "set RemoveIPC=no in /etc/systemd/logind.conf and restart systemd-logind",
        fixable_by: FixableBy::Deploy,
        purposes: &[],
        run: kernel_remove_ipc,
    },
    Check {
        id: "kernel.aio",
        severity: Severity::Info,
        what: "fs.aio-max-nr",
        threshold: "at least 1048576",
        why: "Several servers of a machine share it.",
        fix: "set fs.aio-max-nr to 1048576",
        fixable_by: FixableBy::Deploy,
        purposes: &[],
        run: kernel_aio,
    },
    Check {
        id: "kernel.selinux",
        severity: Severity::Info,
        what: "SELinux",
        threshold: "permissive, disabled, or with a policy for openGauss",
        why: "Its policy may refuse what the server or its tools do, without a word in their logs.",
        fix: "look into /var/log/audit/audit.log when something is refused without a reason",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: kernel_selinux,
    },
    Check {
        id: "clock.service",
        severity: Severity::Warning,
        what: "what keeps the clock right",
        threshold: "chronyd, ntpd or systemd-timesyncd runs",
        why: "Clocks that drift apart falsify timeouts: a primary was demoted by one.",
        fix: "install and start chronyd",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: clock_service,
    },
    Check {
        id: "hosts.file_mode",
        severity: Severity::Warning,
        what: "mode of /etc/hostname",
        threshold: "readable for all (0644)",
        why: "openGauss's OM reads it as the database's user.",
        fix: "chmod 0644 /etc/hostname",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: hosts_file_mode,
    },
    Check {
        id: "security.certificates",
        severity: Severity::Error,
        what: "the ends of certificates",
        threshold: "readable, and more than 90 days off (warning), more than 7 days (error)",
        why: "Connections with SSL fail from that moment on, and the server does not start without the file.",
        fix: "have the certificate renewed, put it in place, and restart the server",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: security_certificates,
    },
    Check {
        id: "security.keys",
        severity: Severity::Error,
        what: "modes and owners of key files",
        threshold: "0600, of the database's user",
        why: "The server does not start with a key that others can read.",
        fix: "chmod 0600 the file, and give it to the database's user",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: security_keys,
    },
];

fn process_memory(c: &Context<'_>) -> Option<u64> {
    c.facts.settings.next_bytes("max_process_memory", KIB)
}

fn shared_buffers(c: &Context<'_>) -> Option<u64> {
    c.facts.settings.next_bytes("shared_buffers", 8 * KIB)
}

fn memory_process(c: &Context<'_>, j: &mut Judge) {
    let memory = &c.facts.memory;
    let Some(needed) = process_memory(c) else {
        if c.facts.conf.exists {
            j.unknown("max_process_memory is not set in postgresql.conf");
        } else {
            j.skip();
        }
        return;
    };
    let (Some(total), Some(available)) = (memory.total, memory.available) else {
        return j.unknown(why_unknown(c.facts, "memory"));
    };
    let needed_in_all = needed.saturating_add(SYSTEM_RESERVE);
    // What the server has it need not get once more.
    let available = available.saturating_add(memory.server.unwrap_or(0));
    let seen = format!(
        "max_process_memory {}, memory {}, available {}",
        Bytes::new(needed),
        Bytes::new(total),
        Bytes::new(available)
    );
    if needed_in_all > total {
        let message = format!(
            "max_process_memory is {}, and the machine has {}",
            Bytes::new(needed),
            Bytes::new(total)
        );
        // A server that runs with it has shown that it starts.
        let runs_with = c.facts.settings.runs_with("max_process_memory", KIB);
        if c.facts.server.running && (runs_with || !c.starts_here()) {
            j.warning("", message, seen);
        } else {
            j.error("", message, seen);
        }
    } else if needed_in_all > available {
        let message = format!(
            "max_process_memory is {}, and {} of the memory is available",
            Bytes::new(needed),
            Bytes::new(available)
        );
        if c.starts_here() && !c.facts.server.running {
            j.error("", message, seen);
        } else {
            j.warning("", message, seen);
        }
    }
}

fn memory_minimum(c: &Context<'_>, j: &mut Judge) {
    match process_memory(c) {
        None if c.facts.conf.exists => j.unknown("max_process_memory is not set in postgresql.conf"),
        None => j.skip(),
        Some(bytes) if bytes < MIN_PROCESS_MEMORY_BYTES => {
            j.error(
                "",
                format!("max_process_memory is {}, and the server refuses less than 2 GB", Bytes::new(bytes)),
                Bytes::new(bytes),
            );
        }
        Some(_) => {}
    }
}

fn memory_shared_buffers(c: &Context<'_>, j: &mut Judge) {
    let Some(buffers) = shared_buffers(c) else {
        if c.facts.conf.exists {
            j.unknown("shared_buffers is not set in postgresql.conf");
        } else {
            j.skip();
        }
        return;
    };
    let (Some(total), Some(available)) = (c.facts.memory.total, c.facts.memory.available) else {
        return j.unknown(why_unknown(c.facts, "memory"));
    };
    let seen = format!(
        "shared_buffers {}, memory {}, available {}",
        Bytes::new(buffers),
        Bytes::new(total),
        Bytes::new(available)
    );
    if buffers >= total || (!c.facts.server.running && buffers > available) {
        let message = format!(
            "shared_buffers is {}, and {} of the memory is available",
            Bytes::new(buffers),
            Bytes::new(available)
        );
        j.error("", message, seen);
    } else if buffers / 2 > total / 5 {
        j.warning(
            "",
            format!("shared_buffers is more than 40 % of the memory of {}", Bytes::new(total)),
            seen,
        );
    }
}

fn memory_overcommit(c: &Context<'_>, j: &mut Judge) {
    match (c.facts.memory.overcommit, c.facts.memory.uncommitted) {
        (None, _) => j.unknown("/proc/sys/vm/overcommit_memory could not be read"),
        (Some(2), Some(left)) => {
            let needed = process_memory(c).unwrap_or(MIN_PROCESS_MEMORY_BYTES);
            let seen = format!("2, with {} not yet promised", Bytes::new(left));
            if left < needed && !c.facts.server.running {
                j.error(
                    "",
                    format!("vm.overcommit_memory is 2, and only {} may still be promised", Bytes::new(left)),
                    seen,
                );
            } else {
                j.warning(
                    "",
                    "vm.overcommit_memory is 2: the kernel refuses memory that it could give",
                    seen,
                );
            }
        }
        (Some(2), None) => j.unknown("CommitLimit and Committed_AS of /proc/meminfo could not be read"),
        _ => {}
    }
}

fn memory_swap(c: &Context<'_>, j: &mut Judge) {
    match (c.facts.memory.swap, c.facts.memory.total) {
        (Some(swap), Some(total)) if swap > total => {
            j.warning(
                "",
                format!("there is more swap ({}) than memory ({})", Bytes::new(swap), Bytes::new(total)),
                Bytes::new(swap),
            );
        }
        (Some(_), Some(_)) => {}
        _ => j.unknown(why_unknown(c.facts, "memory")),
    }
}

fn memory_huge_pages(c: &Context<'_>, j: &mut Judge) {
    match c.facts.memory.huge_pages.as_deref() {
        Some("always") => {
            j.warning("", "transparent huge pages are always used", "always");
        }
        Some(_) => {}
        // A kernel without them has no such file.
        None => j.skip(),
    }
}

fn memory_min_free(c: &Context<'_>, j: &mut Judge) {
    match (c.facts.memory.min_free, c.facts.memory.total) {
        (Some(free), Some(total)) if free < total / host::MIN_FREE_DIVISOR => {
            j.info(
                "",
                format!("vm.min_free_kbytes keeps {} of {} free", Bytes::new(free), Bytes::new(total)),
                Bytes::new(free),
            );
        }
        (Some(_), Some(_)) => {}
        _ => j.unknown("/proc/sys/vm/min_free_kbytes could not be read"),
    }
}

fn disk_room(c: &Context<'_>, j: &mut Judge) {
    if !c.copies_here() && c.purpose != Purpose::Any {
        return j.skip();
    }
    let copied = |primary: &crate::facts::Facts| {
        let data = primary.data_bytes?;
        let tenth = Bytes::new(data.as_u64() / 10);
        Some(data.saturating_add(tenth).saturating_add(primary.wal_bytes.unwrap_or_default()))
    };
    let Some(needed) = c.wanted.bytes.or_else(|| copied(c.other_primary()?)) else {
        if c.purpose == Purpose::Any || c.facts.is_primary() {
            return j.skip();
        }
        return match c.other_primary() {
            Some(primary) => {
                j.unknown(format!("the size of {}: {}", primary.label(), why_unknown(primary, "sizes")));
            }
            None => j.unknown("the primary's facts are not among the peers, and wanted.bytes is not given"),
        };
    };
    let Some(disk) = c.facts.disks.iter().find(|disk| disk.holds.iter().any(|what| what == "data")) else {
        return j.unknown(why_unknown(c.facts, "disks"));
    };
    // What is there is deleted before the copy.
    let own = c.facts.data_bytes.unwrap_or_default().saturating_add(c.facts.wal_bytes.unwrap_or_default());
    let room = disk.free.saturating_add(own);
    if room < needed && c.facts.unknown.contains_key("sizes") {
        j.unknown(why_unknown(c.facts, "sizes"));
    } else if room < needed {
        let message = format!("{needed} are needed for the copy, and there is room for {room}");
        j.error(&disk.path, message, room);
    }
}

fn disk_use(c: &Context<'_>, j: &mut Judge) {
    if c.facts.disks.is_empty() {
        return j.unknown(why_unknown(c.facts, "disks"));
    }
    let most = if c.facts.managed_by.by == Manager::Cm { 85 } else { 90 };
    for disk in &c.facts.disks {
        // As df(1) has it: what is kept for root is neither used nor free.
        let used = percent(disk.used.saturating_add(disk.free).as_u64(), disk.free.as_u64());
        let message = format!("{used} % are used, {} are free", disk.free);
        if used >= most {
            j.error(&disk.path, message, format!("{used} %"));
        } else if used >= 70 {
            j.warning(&disk.path, message, format!("{used} %"));
        }
    }
}

fn disk_inodes(c: &Context<'_>, j: &mut Judge) {
    if c.facts.disks.is_empty() {
        return j.unknown(why_unknown(c.facts, "disks"));
    }
    for disk in &c.facts.disks {
        let used = percent(disk.inodes, disk.free_inodes);
        let message = format!("{used} % of the inodes are used");
        if used >= 80 {
            j.error(&disk.path, message, format!("{used} %"));
        } else if used >= 60 {
            j.warning(&disk.path, message, format!("{used} %"));
        }
    }
}

/// How much of all is not free.
fn percent(all: u64, free: u64) -> u64 {
    if all == 0 {
        0
    } else {
        u64::try_from(u128::from(all.saturating_sub(free)) * 100 / u128::from(all)).unwrap_or(100)
    }
}

fn disk_file_system(c: &Context<'_>, j: &mut Judge) {
    if c.facts.disks.is_empty() {
        return j.unknown(why_unknown(c.facts, "disks"));
    }
    let holds = |what: &String| what == "data" || what == "wal";
    for disk in c.facts.disks.iter().filter(|disk| disk.holds.iter().any(holds)) {
        match disk.kind.as_deref() {
            Some("xfs" | "ext4") => {}
            Some(kind) => {
                j.warning(&disk.path, format!("it is on {kind}"), kind);
            }
            None => j.unknown(why_unknown(c.facts, "mounts")),
        }
    }
}

fn disk_writable(c: &Context<'_>, j: &mut Judge) {
    if c.facts.disks.is_empty() {
        return j.unknown(why_unknown(c.facts, "disks"));
    }
    for disk in &c.facts.disks {
        let writes = disk.holds.iter().any(|what| what != "programs");
        if writes && disk.options.iter().any(|option| option == "ro") {
            j.error(&disk.path, "its file system is mounted for reading only", "ro");
        } else if writes && !disk.writable {
            let path = disk.unwritable.as_ref().unwrap_or(&disk.path);
            j.error(path, "the database's user may not write into it", "not writable");
        }
    }
}

fn ports_free(c: &Context<'_>, j: &mut Judge) {
    if c.facts.ports.is_empty() {
        return j.skip();
    }
    // A server that runs on its port and the one for replication has those that it needs, and had them when it started.
    let serves =
        c.facts.server.running && c.facts.ports.iter().take(2).all(|port| port.state == PortState::Own);
    for port in &c.facts.ports {
        match port.state {
            PortState::Free | PortState::Own => {}
            PortState::Taken => {
                let message = format!("another process listens on {}", port.addresses.join(", "));
                let subject = format!("port {}", port.number);
                // A running server has the ports that it needs.
                if serves || (c.facts.server.running && !c.starts_here()) {
                    j.warning(&subject, message, "taken");
                } else {
                    j.error(&subject, message, "taken");
                }
            }
            PortState::Unknown => return j.unknown(why_unknown(c.facts, "ports")),
        }
    }
}

fn ports_ephemeral(c: &Context<'_>, j: &mut Judge) {
    let Some(first) = c.facts.ports.first() else { return j.skip() };
    let Some([from, to]) = c.facts.kernel.local_ports else {
        return j.unknown("/proc/sys/net/ipv4/ip_local_port_range could not be read");
    };
    let reserved = c.facts.kernel.reserved_ports.as_deref().unwrap_or_default();
    let reserved = host::parse_ports(reserved);
    let inside = |number: u16| (from..=to).contains(&number) && !reserved.contains(&number);
    let found: Vec<String> =
        c.facts.ports.iter().map(|port| port.number).filter(|n| inside(*n)).map(|n| n.to_string()).collect();
    let seen = format!("{from}-{to}");
    if first.number < FIRST_PORT {
        j.error("", format!("port {} is one that only root may listen on", first.number), first.number);
    } else if !found.is_empty() {
        let message = format!("ports {} may be taken by any outgoing connection", found.join(", "));
        if c.facts.server.running && !c.starts_here() {
            j.warning("", message, seen);
        } else {
            j.error("", message, seen);
        }
    }
}

fn leftovers_data_dir(c: &Context<'_>, j: &mut Judge) {
    let path = c.facts.identity.data_dir.as_str();
    match c.facts.identity.content {
        NodeContent::Other => {
            j.error(path, "the data directory holds something that is no database", "other files");
        }
        NodeContent::Database if c.purpose == Deploy => {
            j.error(path, "there is a database already", "a database");
        }
        NodeContent::Unknown => j.unknown("the data directory cannot be listed"),
        _ => {}
    }
}

fn leftovers_of<'a>(
    c: &'a Context<'_>,
    kind: LeftoverKind,
) -> impl Iterator<Item = &'a crate::facts::Leftover> {
    c.facts.leftovers.iter().filter(move |leftover| leftover.kind == kind)
}

fn leftovers_sockets(c: &Context<'_>, j: &mut Judge) {
    if c.facts.server.running {
        return j.skip();
    }
    for leftover in leftovers_of(c, LeftoverKind::Socket) {
        let message = format!("no server runs here, and this is left: {}", leftover.detail);
        // The server itself removes what nobody holds.
        if leftover.stale {
            j.info(&leftover.subject, message, &leftover.detail);
        } else {
            j.error(&leftover.subject, message, &leftover.detail);
        }
    }
}

fn leftovers_processes(c: &Context<'_>, j: &mut Judge) {
    for leftover in leftovers_of(c, LeftoverKind::Process) {
        j.error(&leftover.subject, leftover.detail.clone(), "runs");
    }
}

fn leftovers_environment(c: &Context<'_>, j: &mut Judge) {
    if c.purpose != Deploy {
        return j.skip();
    }
    for leftover in leftovers_of(c, LeftoverKind::Environment) {
        j.warning(&leftover.subject, "an earlier installation has left this variable", &leftover.detail);
    }
}

fn leftovers_cron(c: &Context<'_>, j: &mut Judge) {
    let cm = &c.facts.managed_by;
    if cm.cron && !cm.installed {
        j.warning("", "cron starts om_monitor, and CM is not installed", "om_monitor");
    }
}

fn limit_below(limit: Limit, least: u64) -> Option<u64> {
    limit.soft.filter(|soft| limit.known && *soft < least)
}

fn limits_open_files(c: &Context<'_>, j: &mut Judge) {
    let limit = c.facts.limits.open_files;
    if !limit.known {
        return j.unknown(why_unknown(c.facts, "limits"));
    }
    if let Some(soft) = limit_below(limit, host::MIN_OPEN_FILES) {
        let hard = limit.hard.map_or("unlimited".to_owned(), |hard| hard.to_string());
        let message = format!("the user may open {soft} files (hard limit {hard})");
        let seen = format!("soft {soft}, hard {hard}");
        if c.facts.managed_by.by == Manager::Cm {
            j.error("", message, seen);
        } else {
            j.warning("", message, seen);
        }
    }
}

/// The limits of the running server; where they are not known that is noted, and without a server the check is skipped.
fn limits_of_server(c: &Context<'_>, j: &mut Judge) -> Option<Limits> {
    if c.facts.server_limits.is_none() {
        if c.facts.server.running {
            j.unknown(why_unknown(c.facts, "server_limits"));
        } else {
            j.skip();
        }
    }
    c.facts.server_limits
}

fn limits_open_files_running(c: &Context<'_>, j: &mut Judge) {
    let Some(limits) = limits_of_server(c, j) else { return };
    if let Some(soft) = limit_below(limits.open_files, host::MIN_OPEN_FILES) {
        let message = format!("the running server may open {soft} files");
        if c.facts.managed_by.by == Manager::Cm {
            j.error("", message, soft);
        } else {
            j.warning("", message, soft);
        }
    }
}

fn limits_running(c: &Context<'_>, j: &mut Judge) {
    let Some(limits) = limits_of_server(c, j) else { return };
    if !limits.stack.known || !limits.processes.known {
        return j.unknown(why_unknown(c.facts, "server_limits"));
    }
    if let Some(soft) = limit_below(limits.stack, MIN_STACK_BYTES) {
        j.warning(
            "",
            format!("the stack of the running server is limited to {}", Bytes::new(soft)),
            Bytes::new(soft),
        );
    }
    if let Some(soft) = limit_below(limits.processes, least_processes(c)) {
        j.warning("", format!("the running server may have {soft} processes and threads"), soft);
    }
}

fn limits_stack(c: &Context<'_>, j: &mut Judge) {
    if !c.facts.limits.stack.known {
        return j.unknown(why_unknown(c.facts, "limits"));
    }
    if let Some(soft) = limit_below(c.facts.limits.stack, MIN_STACK_BYTES) {
        j.warning("", format!("the stack is limited to {}", Bytes::new(soft)), Bytes::new(soft));
    }
}

/// The processes and threads that the server's user must be allowed.
fn least_processes(c: &Context<'_>) -> u64 {
    sessions(c).unwrap_or(0).saturating_mul(2).max(4096)
}

fn sessions(c: &Context<'_>) -> Option<u64> {
    let settings = &c.facts.settings;
    let number = |name| settings.next(name).and_then(|text| text.trim().parse::<u64>().ok());
    // Any number may stand in postgresql.conf.
    let tools = number("max_inner_tool_connections").unwrap_or(50);
    Some(number("max_connections")?.saturating_add(tools).saturating_add(OTHER_THREADS))
}

fn limits_processes(c: &Context<'_>, j: &mut Judge) {
    let limit = c.facts.limits.processes;
    if !limit.known {
        return j.unknown(why_unknown(c.facts, "limits"));
    }
    let needed = sessions(c).unwrap_or(0);
    if let Some(soft) = limit_below(limit, least_processes(c)) {
        j.warning(
            "",
            format!("the user may have {soft} processes and threads, and the server has up to {needed}"),
            soft,
        );
    }
}

fn limits_address_space(c: &Context<'_>, j: &mut Judge) {
    let limit = c.facts.limits.address_space;
    match limit.soft {
        _ if !limit.known => j.unknown(why_unknown(c.facts, "limits")),
        Some(bytes) => {
            j.warning(
                "",
                format!("the address space is limited to {}", Bytes::new(bytes)),
                Bytes::new(bytes),
            );
        }
        None => {}
    }
}

fn kernel_semaphores(c: &Context<'_>, j: &mut Judge) {
    let Some([of_set, all, operations, sets]) = c.facts.kernel.semaphores else {
        return j.unknown("/proc/sys/kernel/sem could not be read");
    };
    let Some(sessions) = sessions(c) else {
        if c.facts.conf.exists {
            j.unknown("max_connections is not set in postgresql.conf");
        } else {
            j.skip();
        }
        return;
    };
    let needed = sessions.div_ceil(SEMAPHORES_PER_SET - 1);
    if of_set < SEMAPHORES_PER_SET || sets < needed || all < needed.saturating_mul(SEMAPHORES_PER_SET) {
        let message =
            format!("{sessions} sessions and threads need {needed} sets of {SEMAPHORES_PER_SET} semaphores");
        j.error("", message, format!("{of_set} {all} {operations} {sets}"));
    }
}

fn kernel_shared_memory(c: &Context<'_>, j: &mut Judge) {
    let (Some(most), Some(pages), Some(page)) =
        (c.facts.kernel.shmmax, c.facts.kernel.shmall, c.facts.system.page_size)
    else {
        return j.unknown("/proc/sys/kernel/shmmax or shmall could not be read");
    };
    let Some(buffers) = shared_buffers(c) else { return j.skip() };
    if most <= buffers {
        j.error(
            "kernel.shmmax",
            format!("shared_buffers is {}, and a segment may have {}", Bytes::new(buffers), Bytes::new(most)),
            most,
        );
    }
    let all = pages.saturating_mul(page);
    if all <= buffers {
        j.error(
            "kernel.shmall",
            format!(
                "shared_buffers is {}, and all segments may have {}",
                Bytes::new(buffers),
                Bytes::new(all)
            ),
            pages,
        );
    }
}

fn kernel_remove_ipc(c: &Context<'_>, j: &mut Judge) {
    let own = c.facts.user.uid.is_some_and(|uid| uid > LAST_SYSTEM_USER);
    if !c.facts.system.systemd || !own || c.facts.kernel.lingers {
        return j.skip();
    }
    match c.facts.kernel.remove_ipc {
        Some(true) => {
            j.error(
                "",
                "systemd removes the server's shared memory when the user's last session ends",
                "yes",
            );
        }
        Some(false) => {}
        None => j.unknown("no logind.conf that can be read sets RemoveIPC or shows its default"),
    }
}

fn kernel_aio(c: &Context<'_>, j: &mut Judge) {
    match c.facts.kernel.aio_max {
        Some(most) if most < host::AIO_REQUESTS => {
            j.info("", format!("fs.aio-max-nr is {most}"), most);
        }
        Some(_) => {}
        None => j.unknown("/proc/sys/fs/aio-max-nr could not be read"),
    }
}

fn kernel_selinux(c: &Context<'_>, j: &mut Judge) {
    if c.facts.system.selinux_enforcing {
        j.info("", "SELinux enforces its policy", "enforcing");
    }
}

fn clock_service(c: &Context<'_>, j: &mut Judge) {
    if let Some(why) = c.facts.unknown.get("processes") {
        return j.unknown(why.clone());
    }
    if c.facts.clock.kept_by.is_none() {
        j.warning("", "no program keeps the clock right", "none");
    }
}

fn hosts_file_mode(c: &Context<'_>, j: &mut Judge) {
    match c.facts.hosts.hostname_mode {
        Some(mode) if mode & 0o444 != 0o444 => {
            j.warning("/etc/hostname", "not everybody can read it", format!("{mode:04o}"));
        }
        Some(_) => {}
        None => j.skip(),
    }
}

fn security_certificates(c: &Context<'_>, j: &mut Judge) {
    if c.facts.security.certificates.is_empty() {
        return j.skip();
    }
    let Some(now) = c.facts.clock.read_at.map(|ms| ms / 1000) else {
        return j.unknown("the node's clock could not be read");
    };
    for certificate in &c.facts.security.certificates {
        let Some(end) = certificate.not_after else {
            let why = certificate.problem.clone().unwrap_or_default();
            j.error(&certificate.path, format!("SSL is on, and the certificate cannot be used: {why}"), "");
            continue;
        };
        let seen = og_common::clock::rfc3339(end);
        let days = end.saturating_sub(now) / 86_400;
        if end <= now {
            j.error(&certificate.path, format!("it expired at {seen}"), seen.clone());
        } else if days < 7 {
            j.error(&certificate.path, format!("it expires in {days} days, at {seen}"), seen.clone());
        } else if days < CERTIFICATE_WARN_DAYS {
            j.warning(&certificate.path, format!("it expires in {days} days, at {seen}"), seen.clone());
        }
    }
}

fn security_keys(c: &Context<'_>, j: &mut Judge) {
    if c.facts.security.keys.is_empty() {
        return j.skip();
    }
    for key in &c.facts.security.keys {
        match key.mode {
            None => {
                j.error(&key.path, "SSL is on, and the key is not there", "");
            }
            Some(mode) if mode & 0o077 != 0 => {
                j.error(&key.path, "others may read it", format!("{mode:04o}"));
            }
            Some(_) if key.uid != c.facts.user.uid => {
                j.error(
                    &key.path,
                    "it belongs to another user",
                    format!("uid {}", key.uid.unwrap_or_default()),
                );
            }
            Some(_) => {}
        }
    }
}
