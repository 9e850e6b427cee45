//! What a server needs of the operating system: the one home of these thresholds, which og_preflight checks and og_host sets.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Open files that CM's om_monitor asks for, and that openGauss's manual advises at least.
pub const MIN_OPEN_FILES: u64 = 640_000;
/// Open files that the manual advises.
pub const OPEN_FILES: u64 = 1_000_000;
/// KiB of stack that openGauss's check list asks for.
pub const MIN_STACK_KIB: u64 = 3072;
/// Soft limit of the stack in KiB: Linux's default, so that no user gets less than before.
pub const STACK_KIB: u64 = 8192;
/// `kernel.sem`: semaphores of a set, of all, operations of a call, sets.
pub const SEMAPHORES: [u64; 4] = [250, 6_400_000, 1000, 25_600];
/// `kernel.shmmax`, bytes of a segment of shared memory.
pub const SHMMAX: u64 = u64::MAX;
/// `kernel.shmall`, pages of all shared memory.
pub const SHMALL: u64 = 1_152_921_504_606_846_720;
/// `fs.aio-max-nr`: requests of asynchronous input and output of all processes.
pub const AIO_REQUESTS: u64 = 1_048_576;
/// The memory divided by this is the least that `vm.min_free_kbytes` keeps free: 5 %.
pub const MIN_FREE_DIVISOR: u64 = 20;

/// The setting by which the kernel keeps a part of the memory free.
pub const MIN_FREE_KBYTES: &str = "vm.min_free_kbytes";
/// The ports from which outgoing connections take theirs.
const PORT_RANGE: &str = "net.ipv4.ip_local_port_range";
/// The ports that outgoing connections leave alone.
const RESERVED_PORTS: &str = "net.ipv4.ip_local_reserved_ports";
/// The settings of the kernel that [`advise_settings`] asks for: all that it advises on, and what it needs to know for that.
pub const SETTINGS: [&str; 7] = [
    MIN_FREE_KBYTES,
    "kernel.sem",
    "kernel.shmmax",
    "kernel.shmall",
    "fs.aio-max-nr",
    PORT_RANGE,
    RESERVED_PORTS,
];
/// The folders of logind's drop-in files below the root; of files of one name that in the last of them counts.
const LOGIND_FOLDERS: [&str; 4] = [
    "usr/lib/systemd/logind.conf.d",
    "usr/local/lib/systemd/logind.conf.d",
    "run/systemd/logind.conf.d",
    "etc/systemd/logind.conf.d",
];

/// The ports of a node: its own and the five after it.
pub const NODE_PORTS: u16 = 6;

/// A setting of the kernel that is not as a server needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// The check of og_preflight that finds it.
    pub check: &'static str,
    /// The setting, as sysctl(8) names it.
    pub name: &'static str,
    /// The value it should have.
    pub value: String,
}

/// What [`advise_settings`] needs to know beside the settings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine<'a> {
    /// Memory in bytes; none where it is not known.
    pub memory: Option<u64>,
    /// The first port of each node on it.
    pub base_ports: &'a [u16],
}

/// The checks of og_preflight whose findings og_host puts right (`fixable_by: deploy`).
pub const CHECKS: [&str; 10] = [
    "memory.min_free",
    "ports.ephemeral",
    "limits.open_files",
    "limits.stack",
    "limits.processes",
    "limits.address_space",
    "kernel.semaphores",
    "kernel.shared_memory",
    "kernel.remove_ipc",
    "kernel.aio",
];

/// Returns the settings of the kernel that a server needs otherwise than they are; nothing that is enough is changed, and nothing
/// is lowered. `current` tells a setting by its name; one that it does not know is left alone.
#[must_use]
pub fn advise_settings(current: impl Fn(&str) -> Option<String>, machine: Machine<'_>) -> Vec<Advice> {
    let number = |name: &str| current(name)?.trim().parse::<u64>().ok();
    let mut advice = Vec::new();
    let mut add = |check, name, value: String| advice.push(Advice { check, name, value });
    if let (Some(memory), Some(free)) = (machine.memory, number(MIN_FREE_KBYTES)) {
        // Rounded up: og_preflight compares bytes.
        let wanted = memory.div_ceil(MIN_FREE_DIVISOR).div_ceil(1024);
        if free < wanted {
            add("memory.min_free", MIN_FREE_KBYTES, wanted.to_string());
        }
    }
    if let Some(present) = current("kernel.sem").and_then(|text| numbers(&text)) {
        let wanted: Vec<u64> = present.iter().zip(SEMAPHORES).map(|(own, least)| *own.max(&least)).collect();
        if present.len() == SEMAPHORES.len() && wanted != present {
            add("kernel.semaphores", "kernel.sem", join(&wanted));
        }
    }
    // Both must be above shared_buffers, which is a part of the memory.
    if let (Some(memory), Some(most)) = (machine.memory, number("kernel.shmmax"))
        && most < memory
    {
        add("kernel.shared_memory", "kernel.shmmax", SHMMAX.to_string());
    }
    // The smallest page that there is has 4 KiB.
    if let (Some(memory), Some(pages)) = (machine.memory, number("kernel.shmall"))
        && pages.saturating_mul(4096) < memory
    {
        add("kernel.shared_memory", "kernel.shmall", SHMALL.to_string());
    }
    if number("fs.aio-max-nr").is_some_and(|most| most < AIO_REQUESTS) {
        add("kernel.aio", "fs.aio-max-nr", AIO_REQUESTS.to_string());
    }
    if let Some(list) = reserved_ports(&current, machine.base_ports) {
        add("ports.ephemeral", RESERVED_PORTS, list);
    }
    advice
}

/// The ports that outgoing connections must leave alone, where one of the nodes' is not among them.
fn reserved_ports(current: &impl Fn(&str) -> Option<String>, base_ports: &[u16]) -> Option<String> {
    let range = numbers(&current(PORT_RANGE)?)?;
    let [from, to] = range[..] else { return None };
    let own = base_ports.iter().flat_map(|base| *base..=base.saturating_add(NODE_PORTS - 1));
    let used: BTreeSet<u16> = own.filter(|port| (from..=to).contains(&u64::from(*port))).collect();
    let reserved = parse_ports(&current(RESERVED_PORTS)?);
    if used.is_subset(&reserved) {
        return None;
    }
    Some(format_ports(&reserved.union(&used).copied().collect()))
}

/// Reads a list of ports such as `8080,9000-9010`; what is no port is passed over.
#[must_use]
pub fn parse_ports(list: &str) -> BTreeSet<u16> {
    let range = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<u16>().ok();
        number(from).zip(number(to)).map(|(from, to)| from..=to)
    };
    list.split(',').filter_map(range).flatten().collect()
}

/// Writes a list of ports as the kernel shows it.
fn format_ports(ports: &BTreeSet<u16>) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for port in ports {
        match ranges.last_mut() {
            Some((_, to)) if to.checked_add(1) == Some(*port) => *to = *port,
            _ => ranges.push((*port, *port)),
        }
    }
    let range = |(from, to): &(u16, u16)| if from == to { from.to_string() } else { format!("{from}-{to}") };
    ranges.iter().map(range).collect::<Vec<_>>().join(",")
}

/// `RemoveIPC` of logind.conf and its drop-in files, of which the last counts. Where none sets it, the commented line of the file
/// that came with systemd tells the default that it was compiled with: distributions differ in it. `None` where that line is
/// missing, too, or a file cannot be read. `place` makes the path of a file from its path below the root.
#[must_use]
pub fn remove_ipc(place: impl Fn(&str) -> PathBuf) -> Option<bool> {
    // Of the main file only the first counts.
    let main =
        ["etc", "run", "usr/local/lib", "usr/lib"].map(|folder| format!("{folder}/systemd/logind.conf"));
    let main = main.map(|file| place(&file));
    let mut files: Vec<_> = main.iter().find(|path| path.exists()).cloned().into_iter().collect();
    files.extend(drop_in_files(&LOGIND_FOLDERS, &place).into_iter().map(|below| place(&below)));
    let mut set = None;
    for file in files {
        match std::fs::read_to_string(&file) {
            Ok(text) => set = last_remove_ipc(text.lines()).or(set),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(_) => return None,
        }
    }
    set.or_else(|| {
        let mut texts = main.iter().filter_map(|file| std::fs::read_to_string(file).ok());
        texts.find_map(|text| last_remove_ipc(text.lines().filter_map(|line| line.trim().strip_prefix('#'))))
    })
}

/// The last drop-in file of logind.conf behind `own` in the order of their names that sets `RemoveIPC`, as an absolute path, and to
/// what: it counts in place of `own`.
#[must_use]
pub fn later_remove_ipc(own: &Path, place: impl Fn(&str) -> PathBuf) -> Option<(PathBuf, bool)> {
    let later = drop_in_files(&LOGIND_FOLDERS, &place).into_iter().rev();
    later.take_while(|below| Path::new(below).file_name() > own.file_name()).find_map(|below| {
        let text = std::fs::read_to_string(place(&below)).ok()?;
        Some((Path::new("/").join(&below), last_remove_ipc(text.lines())?))
    })
}

/// The files `*.conf` of these folders, below the root, in the order of their names, as systemd and sysctl(8) read them: of several
/// of one name that in the last folder alone. `place` makes the path of a file from its path below the root.
#[must_use]
pub fn drop_in_files(folders: &[&str], place: &impl Fn(&str) -> PathBuf) -> Vec<String> {
    let mut found: BTreeMap<OsString, String> = BTreeMap::new();
    for folder in folders {
        for entry in std::fs::read_dir(place(folder)).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if Path::new(&name).extension().is_some_and(|end| end == "conf") {
                let below = format!("{folder}/{}", name.to_string_lossy());
                found.insert(name, below);
            }
        }
    }
    found.into_values().collect()
}

/// The value of the last of the lines that sets `RemoveIPC`.
fn last_remove_ipc<'a>(lines: impl Iterator<Item = &'a str>) -> Option<bool> {
    let values =
        lines.filter_map(|line| line.trim().strip_prefix("RemoveIPC")?.trim_start().strip_prefix('='));
    values.last().map(|value| crate::conf::is_on(value.trim()))
}

fn numbers(text: &str) -> Option<Vec<u64>> {
    text.split_whitespace().map(|word| word.parse().ok()).collect()
}

fn join(numbers: &[u64]) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn usual() -> BTreeMap<&'static str, String> {
        [
            ("vm.min_free_kbytes", "67584"),
            ("kernel.sem", "32000\t1024000000\t500\t32000"),
            ("kernel.shmmax", "18446744073692774399"),
            ("kernel.shmall", "18446744073692774399"),
            ("fs.aio-max-nr", "65536"),
            ("net.ipv4.ip_local_port_range", "32768\t60999"),
            ("net.ipv4.ip_local_reserved_ports", ""),
        ]
        .into_iter()
        .map(|(name, value)| (name, value.to_owned()))
        .collect()
    }

    fn advise(settings: &BTreeMap<&'static str, String>, base_ports: &[u16]) -> Vec<(&'static str, String)> {
        let machine = Machine { memory: Some(8 * GIB), base_ports };
        let advice = advise_settings(|name| settings.get(name).cloned(), machine);
        advice.into_iter().map(|one| (one.name, one.value)).collect()
    }

    #[test]
    fn only_what_is_not_enough_is_raised() {
        let advice = advise(&usual(), &[26000]);
        let expected = [
            ("vm.min_free_kbytes", "419431"),
            ("kernel.sem", "32000 1024000000 1000 32000"),
            ("fs.aio-max-nr", "1048576"),
        ];
        assert_eq!(advice, expected.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn ports_among_those_of_outgoing_connections_are_reserved_beside_the_others() {
        let mut settings = usual();
        settings.insert("net.ipv4.ip_local_reserved_ports", "40001,40010-40011".to_owned());
        let ports = advise(&settings, &[40000, 26000]).pop();
        assert_eq!(ports, Some(("net.ipv4.ip_local_reserved_ports", "40000-40005,40010-40011".to_owned())));
    }

    #[test]
    fn the_settings_that_are_asked_for_are_those_of_the_list() {
        let asked = std::cell::RefCell::new(BTreeSet::new());
        let machine = Machine { memory: Some(8 * GIB), base_ports: &[40000] };
        let current = |name: &str| {
            asked.borrow_mut().insert(name.to_owned());
            usual().get(name).cloned()
        };
        assert_eq!(advise_settings(current, machine).len(), 4);
        assert_eq!(asked.into_inner(), SETTINGS.map(str::to_owned).into());
    }

    #[test]
    fn of_drop_in_files_of_one_name_one_counts_and_a_later_name_counts_more() {
        let dir = tempfile::tempdir().unwrap();
        let place = |below: &str| dir.path().join(below);
        let own = Path::new("/etc/systemd/logind.conf.d/50-own.conf");
        for (file, value) in [
            ("usr/lib/systemd/logind.conf.d/60-site.conf", "yes"),
            ("etc/systemd/logind.conf.d/40-early.conf", "yes"),
            ("etc/systemd/logind.conf.d/50-own.conf", "no"),
        ] {
            std::fs::create_dir_all(place(file).parent().unwrap()).unwrap();
            std::fs::write(place(file), format!("[Login]\nRemoveIPC={value}\n")).unwrap();
        }
        let later = PathBuf::from("/usr/lib/systemd/logind.conf.d/60-site.conf");
        assert_eq!(later_remove_ipc(own, place), Some((later, true)));
        assert_eq!(remove_ipc(place), Some(true));
        // The file of the same name in /etc stands in its place.
        std::fs::write(place("etc/systemd/logind.conf.d/60-site.conf"), "").unwrap();
        assert_eq!(later_remove_ipc(own, place), None);
        assert_eq!(remove_ipc(place), Some(false));
    }

    #[test]
    fn what_the_kernel_does_not_tell_is_left_alone() {
        assert_eq!(advise(&BTreeMap::new(), &[40000]), []);
    }

    proptest! {
        #[test]
        fn what_was_advised_is_enough(base in 1024_u16..65_000, sem in proptest::array::uniform4(1_u64..99_999_999),
                                      free in 0_u64..9_999_999, aio in 0_u64..9_999_999, shmmax: u64) {
            let mut settings = usual();
            settings.insert("kernel.sem", join(&sem));
            settings.insert("vm.min_free_kbytes", free.to_string());
            settings.insert("fs.aio-max-nr", aio.to_string());
            settings.insert("kernel.shmmax", shmmax.to_string());
            for (name, value) in advise(&settings, &[base]) {
                settings.insert(name, value);
            }
            let free: u64 = settings["vm.min_free_kbytes"].parse().unwrap();
            prop_assert!(free * 1024 >= 8 * GIB / MIN_FREE_DIVISOR, "{}", free);
            prop_assert_eq!(advise(&settings, &[base]), []);
        }

        #[test]
        fn ports_are_read_as_they_were_written(ports in proptest::collection::btree_set(any::<u16>(), 0..40)) {
            prop_assert_eq!(parse_ports(&format_ports(&ports)), ports);
        }
    }
}
