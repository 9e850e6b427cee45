//! Collectors on a root made for the test.
#![allow(clippy::unwrap_used)]

use og_common::protocol::Bytes;
use std::path::Path;

use super::*;

/// A root with these files.
fn root(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path());
    for (name, text) in files {
        let path = root.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    (dir, root)
}

const MEMINFO: &str = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\nBuffers: 1 kB\n\
    Cached: 1 kB\nSwapCached: 0 kB\nActive: 1 kB\nInactive: 1 kB\nSwapTotal: 2000000 kB\nSwapFree: 1 kB\nDirty: 0 kB\n\
    Writeback: 0 kB\nMapped: 1 kB\nSlab: 1 kB\nCommitLimit: 9000000 kB\nCommitted_AS: 4000000 kB\nVmallocTotal: 1 kB\n\
    VmallocUsed: 1 kB\nVmallocChunk: 0 kB\n";

#[test]
fn memory_is_the_least_of_machine_and_control_group() {
    let (_dir, machine) = root(&[
        ("proc/meminfo", MEMINFO),
        ("proc/sys/vm/overcommit_memory", "2\n"),
        ("proc/sys/vm/min_free_kbytes", "65536\n"),
        ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
        ("proc/77/statm", "100 20 3 1 0 5 0\n"),
        ("proc/77/comm", "chronyd\n"),
    ]);
    let mut facts = Facts::default();
    os::read(&mut facts, &machine, Some(77), Some(5));
    let memory = &facts.memory;
    assert_eq!(memory.total, Some(16_000_000 << 10));
    assert_eq!(memory.available, Some(8_000_000 << 10));
    assert_eq!(memory.uncommitted, Some(5_000_000 << 10));
    assert_eq!((memory.overcommit, memory.min_free), (Some(2), Some(64 << 20)));
    assert_eq!(memory.huge_pages.as_deref(), Some("madvise"));
    assert_eq!(memory.server, facts.system.page_size.map(|size| size * 20));
    assert_eq!((facts.clock.kept_by.as_deref(), facts.clock.sent_at), (Some("chronyd"), Some(5)));
    assert_eq!(facts.unknown, std::collections::BTreeMap::new());

    let (_dir, container) = root(&[
        ("proc/meminfo", MEMINFO),
        ("sys/fs/cgroup/memory.max", "4096000000\n"),
        ("sys/fs/cgroup/memory.current", "96000000\n"),
    ]);
    let mut facts = Facts::default();
    os::read(&mut facts, &container, None, None);
    assert_eq!((facts.memory.total, facts.memory.available), (Some(4_096_000_000), Some(4_000_000_000)));
    std::fs::write(container.path("sys/fs/cgroup/memory.current"), "3096000000\n").unwrap();
    std::fs::write(container.path("sys/fs/cgroup/memory.stat"), "anon 5\ninactive_file 2000000000\n")
        .unwrap();
    os::read(&mut facts, &container, None, None);
    assert_eq!(facts.memory.available, Some(3_000_000_000), "the page cache is given back");
    assert_eq!(facts.clock.kept_by, None);
}

#[test]
fn what_is_not_there_is_unknown() {
    let (_dir, empty) = root(&[]);
    let mut facts = Facts::default();
    os::read(&mut facts, &empty, Some(77), None);
    limits::read(&mut facts, &empty, Some(77));
    network::read_ports(&mut facts, &empty, &[26000], None);
    for subject in ["memory", "processes", "limits", "server_limits", "ports"] {
        assert!(facts.unknown.contains_key(subject), "{subject}: {:?}", facts.unknown);
    }
    assert_eq!(facts.memory, Memory::default());
    assert_eq!(facts.ports[0].state, PortState::Unknown);
    assert!(!facts.limits.open_files.known);
    assert_eq!(facts.kernel.semaphores, None);
}

const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
    Max cpu time              unlimited            unlimited            seconds   \n\
    Max file size             unlimited            unlimited            bytes     \n\
    Max data size             unlimited            unlimited            bytes     \n\
    Max stack size            8388608              unlimited            bytes     \n\
    Max core file size        0                    unlimited            bytes     \n\
    Max resident set          unlimited            unlimited            bytes     \n\
    Max processes             96000                96000                processes \n\
    Max open files            1024                 1048576              files     \n\
    Max locked memory         8388608              8388608              bytes     \n\
    Max address space         unlimited            unlimited            bytes     \n\
    Max file locks            unlimited            unlimited            locks     \n\
    Max pending signals       96000                96000                signals   \n\
    Max msgqueue size         819200               819200               bytes     \n\
    Max nice priority         0                    0                    \n\
    Max realtime priority     0                    0                    \n\
    Max realtime timeout      unlimited            unlimited            us        \n";

#[test]
fn limits_of_user_and_server_are_read() {
    let (_dir, root) = root(&[
        ("proc/self/limits", LIMITS),
        ("proc/77/limits", &LIMITS.replace("1024  ", "640000")),
        ("proc/sys/kernel/sem", "250\t6400000\t1000\t25600\n"),
        ("proc/sys/kernel/shmmax", "18446744073692774399\n"),
        ("proc/sys/kernel/shmall", "4096\n"),
        ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
        ("proc/sys/net/ipv4/ip_local_reserved_ports", "\n"),
        ("etc/systemd/logind.conf", "[Login]\n#RemoveIPC=yes\nRemoveIPC=yes\n"),
        ("etc/systemd/logind.conf.d/10.conf", "[Login]\nRemoveIPC = no\n"),
        ("usr/lib/systemd/logind.conf.d/05.conf", "[Login]\nRemoveIPC=yes\n"),
        ("var/lib/systemd/linger/omm", ""),
    ]);
    let mut facts =
        Facts { user: User { name: Some("omm".to_owned()), ..User::default() }, ..Facts::default() };
    limits::read(&mut facts, &root, Some(77));
    let open = facts.limits.open_files;
    assert_eq!((open.soft, open.hard, open.known), (Some(1024), Some(1_048_576), true));
    assert_eq!(facts.server_limits.unwrap().open_files.soft, Some(640_000));
    assert_eq!(facts.limits.address_space, Limit { soft: None, hard: None, known: true });
    assert_eq!(facts.kernel.semaphores, Some([250, 6_400_000, 1000, 25600]));
    assert_eq!(facts.kernel.local_ports, Some([32768, 60999]));
    assert_eq!((facts.kernel.remove_ipc, facts.kernel.lingers), (Some(false), true));
}

#[test]
fn remove_ipc_is_the_compiled_default_where_nothing_sets_it() {
    let read = |files: &[(&str, &str)]| {
        let (_dir, root) = root(files);
        let mut facts = Facts::default();
        limits::read(&mut facts, &root, None);
        facts.kernel.remove_ipc
    };
    let (own, shipped) = ("etc/systemd/logind.conf", "usr/lib/systemd/logind.conf");
    assert_eq!(read(&[(own, "[Login]\n#RemoveIPC=no\n")]), Some(false));
    assert_eq!(read(&[(own, "[Login]\n#RemoveIPC=yes\n")]), Some(true));
    assert_eq!(read(&[(own, "[Login]\n"), (shipped, "[Login]\n#RemoveIPC=no\n")]), Some(false));
    assert_eq!(read(&[(shipped, "[Login]\nRemoveIPC=yes\n")]), Some(true));
    assert_eq!(read(&[(own, "[Login]\n"), (shipped, "[Login]\nRemoveIPC=yes\n")]), None);
    assert_eq!(read(&[]), None);
}

const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
    \x20  0: 0100007F:6590 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 4711 1 0 100 0 0 10 0\n\
    \x20  1: 00000000:6591 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n\
    \x20  2: 0100007F:6592 0100007F:1234 01 00000000:00000000 00:00000000 00000000  1001        0 4713 1 0 100 0 0 10 0\n";

#[test]
fn ports_are_free_own_or_taken() {
    let (_dir, root) = root(&[("proc/net/tcp", TCP), ("proc/77/comm", "gaussdb\n")]);
    let files = root.path("proc/77/fd");
    std::fs::create_dir(&files).unwrap();
    std::os::unix::fs::symlink("socket:[4711]", files.join("5")).unwrap();
    let mut facts = Facts::default();
    network::read_ports(&mut facts, &root, &[26000, 26001, 26002], Some(77));
    let states: Vec<PortState> = facts.ports.iter().map(|port| port.state).collect();
    assert_eq!(states, [PortState::Own, PortState::Taken, PortState::Free]);
    assert_eq!(facts.ports[0].addresses, ["127.0.0.1"]);
    // Whose sockets cannot be listed may have any of them.
    let mut facts = Facts::default();
    network::read_ports(&mut facts, &root, &[26000, 26002], Some(78));
    let states: Vec<PortState> = facts.ports.iter().map(|port| port.state).collect();
    assert_eq!(states, [PortState::Unknown, PortState::Free]);
    assert!(facts.unknown.contains_key("ports"));
}

#[test]
fn a_disk_has_its_mount_and_what_it_holds() {
    let (dir, root) = root(&[(
        "proc/self/mountinfo",
        "20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n30 20 8:2 / /nonexistent ro - xfs /dev/sdb ro\n",
    )]);
    let mut facts = Facts::default();
    let places = [("data", dir.path().join("data/dn1")), ("sockets", dir.path().to_owned())];
    disk::read(&mut facts, &root, &places);
    let [disk] = &facts.disks[..] else { panic!("{:?}", facts.disks) };
    assert_eq!(disk.holds, ["data", "sockets"]);
    assert_eq!((disk.kind.as_deref(), disk.mounted_at.as_deref()), (Some("ext4"), Some("/")));
    assert!(disk.writable && disk.size > Bytes::ZERO && disk.options.contains(&"rw".to_owned()));
    let mut disk = disk.clone();
    disk.add("programs", Some("/opt".to_owned()));
    assert!(disk.writable, "the programs are only read");
    disk.add("wal", Some("/wal".to_owned()));
    disk.add("sockets", None);
    assert_eq!((disk.writable, disk.unwritable.as_deref()), (false, Some("/wal")));
    let mut disk = Disk { holds: vec!["programs".to_owned()], writable: false, ..Disk::default() };
    disk.add("data", None);
    assert!(disk.writable);
}

#[test]
fn sizes_count_wal_apart() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in [("base/1/a", 100_000), ("pg_xlog/1", 300_000)] {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, vec![1; bytes]).unwrap();
    }
    let (data, wal) = disk::sizes(dir.path());
    assert!(
        (100_000..200_000).contains(&data.as_u64()) && (300_000..400_000).contains(&wal.as_u64()),
        "{data} {wal}"
    );
}

#[test]
fn what_blocks_for_too_long_is_left_alone() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_held, never) = std::sync::mpsc::channel::<()>();
    let limit = std::time::Duration::from_millis(1);
    let blocked = network::run_detached(limit, move || never.recv().is_ok());
    assert_eq!(runtime.block_on(blocked), None);
    let limit = std::time::Duration::from_secs(600);
    assert_eq!(runtime.block_on(network::run_detached(limit, || 5)), Some(5));
    let channel = |host: &str| og_common::gauss::peer::ChannelEnds {
        local_host: host.to_owned(),
        ..og_common::gauss::peer::ChannelEnds::default()
    };
    let channels = [channel("127.0.0.1"), channel("192.0.2.1")];
    let ends = runtime.block_on(network::find_local_ends(&channels));
    assert_eq!(ends, [LocalEnd::Here, LocalEnd::Elsewhere]);
}

#[test]
fn leftovers_of_a_stopped_server_are_found() {
    let (dir, root) = root(&[("proc/77/comm", "gaussdb\n")]);
    let data = dir.path().canonicalize().unwrap().join("data");
    std::fs::create_dir(&data).unwrap();
    std::os::unix::fs::symlink(&data, root.path("proc/77/cwd")).unwrap();
    std::fs::write(dir.path().join(".s.PGSQL.26000.lock"), format!("{}\n", std::process::id())).unwrap();
    let own = nix::unistd::geteuid().as_raw();
    let mut facts = Facts { user: User { uid: Some(own), ..User::default() }, ..Facts::default() };
    disk::read_leftovers(&mut facts, &root, &data, dir.path(), Some(26000));
    let kinds: Vec<LeftoverKind> = facts.leftovers.iter().map(|leftover| leftover.kind).collect();
    assert_eq!(kinds, [LeftoverKind::Socket, LeftoverKind::Process]);
    assert!(facts.leftovers[0].detail.ends_with("lives"), "{:?}", facts.leftovers);
    assert!(!facts.leftovers[0].stale);
    std::fs::write(dir.path().join(".s.PGSQL.26000.lock"), "").unwrap();
    facts.leftovers.clear();
    disk::read_leftovers(&mut facts, &root, &data, dir.path(), Some(26000));
    assert!(facts.leftovers[0].stale, "{:?}", facts.leftovers);
    facts.leftovers.clear();
    facts.server.running = true;
    disk::read_leftovers(&mut facts, &root, &data, dir.path(), Some(26000));
    assert_eq!(facts.leftovers, []);
}

#[test]
fn files_of_the_server_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let conf = "port = 26000\napplication_name = 'dn_6002'\ninclude 'more.conf'\nreplconninfo1 = 'localhost=10.0.0.2 \
        localport=26001 remotehost=10.0.0.1 remoteport=26001'\n";
    std::fs::write(dir.path().join("postgresql.conf"), conf).unwrap();
    let hba =
        "local all all trust\nhost all all 10.0.0.1/32 reject\nhost all,replication all 10.0.0.2/32 trust\n";
    std::fs::write(dir.path().join("pg_hba.conf"), hba).unwrap();
    let mut facts =
        Facts { user: User { name: Some("omm".to_owned()), ..User::default() }, ..Facts::default() };
    server::read_conf(&mut facts, dir.path());
    assert_eq!((facts.name.as_deref(), facts.settings.number("port")), (Some("dn_6002"), Some(26000)));
    assert_eq!(facts.conf.includes, ["more.conf"]);
    assert!(!facts.conf.errors.is_empty(), "the included file is not there");
    let node = og_common::gauss::ServerNode::new(dir.path());
    network::read_channels(&mut facts, &node.channels());
    assert_eq!(facts.channels[0].remote_host, "10.0.0.1");
    let clients = ["10.0.0.3".to_owned()];
    server::read_hba(&mut facts, dir.path(), &clients);
    let said: Vec<_> =
        facts.hba.admissions.iter().map(|a| (a.address.as_str(), a.admitted, a.line)).collect();
    assert_eq!(
        said,
        [("10.0.0.1", Some(false), None), ("10.0.0.2", Some(true), Some(3)), ("10.0.0.3", Some(false), None)]
    );
    server::read_hba(&mut facts, Path::new("/nonexistent"), &[]);
    assert!(facts.unknown.contains_key("hba"));
}

#[test]
fn sizes_of_parameters_are_read_with_their_units() {
    for (text, unit, bytes) in [
        ("12GB", 1024, Some(12 << 30)),
        ("2097152", 1024, Some(2 << 30)),
        (" 32 MB ", 8192, Some(32 << 20)),
        ("131072", 8192, Some(1 << 30)),
        ("1TB", 1, None),
        ("", 1, None),
    ] {
        assert_eq!(settings::bytes(text, unit), bytes, "{text}");
    }
}
