//! Every check is made to fail on purpose, and a healthy cluster has no findings.
// One node, and one line for each way to break it.
#![allow(clippy::unwrap_used, clippy::too_many_lines)]

use std::collections::{BTreeMap, BTreeSet};

use og_common::gauss::managed::{ManagedBy, Manager};
use og_common::gauss::tablespaces::{Damage, Tablespaces};
use og_common::gauss::{
    BuildProgress, DbState, Identity, NodeContent, NodeState, Progress, Receiver, ReplicationSlot, Role,
};
use og_common::protocol::Bytes;

use super::Severity::{Error, Info, Unknown, Warning};
use super::*;
use crate::args::Purpose::{Any, Build, Deploy, Drop, Expand, Failover, Restart, Switchover};
use crate::facts::server::{ClusterFiles, Member, MemberRole};
use crate::facts::{
    Activity, Admission, Certificate, ChannelFacts, Clock, ConfFacts, Disk, HbaFacts, Hosts, Kernel, KeyFile,
    Leftover, LeftoverKind, Limit, Limits, LocalEnd, LockHolder, Memory, Port, PortState, Programs, Reached,
    Security, Settings, SourceAnswer, System, User,
};

const GIB: u64 = 1 << 30;
const NOW: u64 = 1_800_000_000_000;
const DAY: u64 = 86_400;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A node that is well: `n` 1 is the primary, 2 its standby.
fn node(n: u8) -> Facts {
    let other = 3 - n;
    let address = |n: u8| format!("10.0.0.{n}");
    let unlimited = Limit { known: true, ..Limit::default() };
    let limits =
        Limits { open_files: unlimited, stack: unlimited, processes: unlimited, address_space: unlimited };
    let parameters = map(&[
        ("application_name", &format!("dn_600{n}")),
        ("pgxc_node_name", "dn_6001"),
        ("port", "26000"),
        ("max_process_memory", "12GB"),
        ("shared_buffers", "1GB"),
        ("max_connections", "200"),
        ("max_prepared_transactions", "200"),
        ("max_locks_per_transaction", "256"),
        ("max_wal_senders", "16"),
        ("max_replication_slots", "8"),
        ("wal_level", "hot_standby"),
        ("hot_standby", "on"),
        ("enable_stream_replication", "on"),
        ("full_page_writes", "on"),
        ("enable_double_write", "on"),
        ("enable_incremental_checkpoint", "on"),
        ("most_available_sync", "off"),
        ("synchronous_standby_names", "ANY 1(dn_6001,dn_6002)"),
        ("server_encoding", "UTF8"),
        ("block_size", "8192"),
        ("lc_collate", "C"),
        ("lc_ctype", "C"),
        ("TimeZone", "Asia/Shanghai"),
        ("available_zone", "AZ1"),
        ("enable_availablezone", "off"),
        ("ssl", "on"),
    ]);
    let member = |n: u8| Member {
        node: u32::from(n),
        host: format!("host{n}"),
        instance: 6000 + u32::from(n),
        data_dir: "/data/dn1".to_owned(),
        ..Member::default()
    };
    let standby = n == 2;
    let role = |n: u8| if n == 2 { Role::Standby } else { Role::Primary };
    Facts {
        name: Some(format!("dn_600{n}")),
        identity: Identity {
            addresses: vec![address(n)],
            data_dir: "/data/dn1".to_owned(),
            content: NodeContent::Database,
            directory: Some(format!("boot{n}:1:1")),
            system_id: Some("77".to_owned()),
            listen_port: Some(26000),
        },
        system: System {
            host_name: Some(format!("host{n}")),
            kernel: Some("6.1".to_owned()),
            architecture: Some("x86_64".to_owned()),
            page_size: Some(4096),
            time_zone: Some("Asia/Shanghai".to_owned()),
            systemd: true,
            selinux_enforcing: false,
        },
        user: User {
            name: Some("omm".to_owned()),
            uid: Some(1001),
            group: Some("dbgrp".to_owned()),
            gid: Some(1001),
            home: Some("/home/omm".to_owned()),
        },
        clock: Clock {
            read_at: Some(NOW),
            answered_at: Some(NOW),
            sent_at: Some(NOW - 50),
            received_at: Some(NOW + 50),
            kept_by: Some("chronyd".to_owned()),
        },
        memory: Memory {
            total: Some(32 * GIB),
            available: Some(24 * GIB),
            server: Some(2 * GIB),
            swap: Some(0),
            overcommit: Some(0),
            uncommitted: Some(8 * GIB),
            min_free: Some(2 * GIB),
            huge_pages: Some("never".to_owned()),
        },
        limits,
        server_limits: Some(limits),
        kernel: Kernel {
            semaphores: Some([250, 6_400_000, 1000, 25600]),
            shmmax: Some(u64::MAX),
            shmall: Some(1_152_921_504_606_846_720),
            remove_ipc: Some(false),
            lingers: false,
            local_ports: Some([32768, 60999]),
            reserved_ports: Some(String::new()),
            aio_max: Some(2_000_000),
        },
        disks: vec![Disk {
            holds: vec!["data".to_owned(), "wal".to_owned()],
            path: "/data/dn1".to_owned(),
            mounted_at: Some("/data".to_owned()),
            kind: Some("xfs".to_owned()),
            options: vec!["rw".to_owned()],
            size: Bytes::new(1000 * GIB),
            used: Bytes::new(200 * GIB),
            free: Bytes::new(800 * GIB),
            inodes: 1000,
            free_inodes: 900,
            writable: true,
            unwritable: None,
        }],
        data_bytes: Some(Bytes::new(100 * GIB)),
        wal_bytes: Some(Bytes::new(GIB)),
        ports: (26000..=26005)
            .map(|number| Port { number, state: PortState::Own, addresses: vec![] })
            .collect(),
        channels: vec![ChannelFacts {
            number: 1,
            local_host: address(n),
            local: LocalEnd::Here,
            remote_host: address(other),
            remote_port: 26001,
            source: SourceAnswer::LetIn,
        }],
        reached: vec![Reached { host: address(other), port: 26001, problem: None, refused: false }],
        hosts: Hosts {
            names: BTreeMap::from([("db".to_owned(), vec!["10.0.0.9".to_owned()])]),
            hostname_mode: Some(0o644),
            mtu: Some(1500),
        },
        leftovers: Vec::new(),
        programs: Programs {
            gauss_home: Some("/opt/openGauss".to_owned()),
            version: Some("3.0.5".to_owned()),
            commit: Some("4db7019a".to_owned()),
            catalog: Some(201_611_171),
            missing_libraries: Some(Vec::new()),
        },
        conf: ConfFacts { exists: true, ..ConfFacts::default() },
        settings: Settings {
            file: parameters.clone(),
            running: parameters,
            initial_login_blocked: Some(false),
        },
        hba: HbaFacts {
            readable: true,
            errors: Vec::new(),
            admissions: [n, other]
                .map(|n| Admission { address: address(n), admitted: Some(true), line: Some(90) })
                .to_vec(),
        },
        server: NodeState {
            running: true,
            answered: true,
            pid: Some(77),
            role: role(n),
            db_state: DbState::Normal,
            receiver: standby.then(|| Receiver {
                progress: Progress { lag_bytes: Some(Bytes::ZERO), ..Progress::default() },
                ..Receiver::default()
            }),
            slots: Some(if standby {
                Vec::new()
            } else {
                vec![ReplicationSlot {
                    name: "dn_6002".to_owned(),
                    kind: "physical".to_owned(),
                    active: true,
                    ..ReplicationSlot::default()
                }]
            }),
            ..NodeState::default()
        },
        activity: Some(Activity {
            long_transactions: Some(0),
            idle_in_transaction: Some(0),
            prepared: Some(0),
            senders: Some(1),
            tablespaces: Some(1),
            streaming: if standby { Vec::new() } else { vec!["dn_6002".to_owned()] },
            replay_paused: Some(false),
            dirty_pages: Some(0),
            ..Activity::default()
        }),
        security: Security {
            certificates: vec![Certificate {
                path: "/data/dn1/server.crt".to_owned(),
                not_after: Some(NOW / 1000 + 365 * DAY),
                problem: None,
            }],
            keys: vec![KeyFile {
                path: "/data/dn1/server.key".to_owned(),
                mode: Some(0o600),
                uid: Some(1001),
            }],
        },
        managed_by: ManagedBy::default(),
        watchers: Vec::new(),
        cluster: ClusterFiles {
            static_config: Some(vec![member(1), member(2)]),
            local: Some(u32::from(n)),
            roles: vec![
                MemberRole { instance: 6001, role: "primary".to_owned() },
                MemberRole { instance: 6002, role: "standby".to_owned() },
            ],
            problems: Vec::new(),
        },
        lock: None,
        unknown: BTreeMap::new(),
    }
}

/// What a check looks at, to be broken.
struct Case {
    node: Facts,
    peer: Facts,
    wanted: Wanted,
}

impl Case {
    fn standby() -> Self {
        Self { node: node(2), peer: node(1), wanted: Wanted::default() }
    }

    fn primary() -> Self {
        Self { node: node(1), peer: node(2), wanted: Wanted::default() }
    }

    fn context<'a>(&'a self, peers: &'a [&'a Facts], purpose: Purpose) -> Context<'a> {
        Context { facts: &self.node, peers, purpose, wanted: &self.wanted, peers_read_before: false }
    }

    fn judge(&self, purpose: Purpose) -> Judgement {
        judge(&self.context(&[&self.peer], purpose))
    }

    fn set(&mut self, name: &str, value: &str) {
        for settings in [&mut self.node.settings.file, &mut self.node.settings.running] {
            settings.insert(name.to_owned(), value.to_owned());
        }
    }

    fn disk(&mut self) -> &mut Disk {
        &mut self.node.disks[0]
    }

    fn fill(&mut self, used: u64) {
        (self.disk().used, self.disk().free) = (Bytes::new(used * GIB), Bytes::new((1000 - used) * GIB));
    }

    fn activity(&mut self) -> &mut Activity {
        self.node.activity.as_mut().unwrap()
    }

    fn stop(&mut self) {
        self.node.server = NodeState { role: self.node.server.role, ..NodeState::default() };
        self.node.settings.running.clear();
        self.node.activity = None;
        self.node.server_limits = None;
        for port in &mut self.node.ports {
            port.state = PortState::Free;
        }
    }

    fn target(&mut self) -> &mut Self {
        self.wanted.target = true;
        self
    }

    fn leave(&mut self, kind: LeftoverKind, subject: &str, detail: &str) {
        let (subject, detail) = (subject.to_owned(), detail.to_owned());
        self.node.leftovers.push(Leftover { kind, subject, detail, stale: false });
    }
}

type Break = fn(&mut Case);

/// One way to break a node: what is found then, of which weight, for which change; and whether the node is the primary.
struct Broken(&'static str, Severity, Purpose, bool, Break);

const PRIMARY: bool = true;
const STANDBY: bool = false;

fn limit(soft: u64) -> Limit {
    Limit { soft: Some(soft), hard: Some(soft), known: true }
}

fn broken() -> Vec<Broken> {
    vec![
        Broken("memory.process", Error, Restart, STANDBY, |c| {
            c.node.settings.file.insert("max_process_memory".to_owned(), "64GB".to_owned());
        }),
        Broken("memory.process", Warning, Restart, STANDBY, |c| c.node.memory.total = Some(8 * GIB)),
        Broken("memory.process", Warning, Any, STANDBY, |c| c.node.memory.total = Some(8 * GIB)),
        Broken("memory.process", Warning, Any, STANDBY, |c| c.node.memory.available = Some(GIB)),
        Broken("memory.process", Error, Restart, STANDBY, |c| {
            c.stop();
            c.node.memory.available = Some(GIB);
        }),
        Broken("memory.process", Unknown, Any, STANDBY, |c| c.node.memory.available = None),
        Broken("memory.minimum", Error, Any, STANDBY, |c| c.set("max_process_memory", "2097151")),
        Broken("memory.shared_buffers", Warning, Any, STANDBY, |c| c.set("shared_buffers", "16GB")),
        Broken("memory.shared_buffers", Error, Any, STANDBY, |c| c.set("shared_buffers", "40GB")),
        Broken("memory.overcommit", Warning, Any, STANDBY, |c| c.node.memory.overcommit = Some(2)),
        Broken("memory.overcommit", Error, Restart, STANDBY, |c| {
            c.stop();
            c.node.memory.overcommit = Some(2);
        }),
        Broken("memory.overcommit", Unknown, Any, STANDBY, |c| {
            (c.node.memory.overcommit, c.node.memory.uncommitted) = (Some(2), None);
        }),
        Broken("memory.swap", Warning, Any, STANDBY, |c| c.node.memory.swap = Some(64 * GIB)),
        Broken("memory.huge_pages", Warning, Any, STANDBY, |c| {
            c.node.memory.huge_pages = Some("always".to_owned());
        }),
        Broken("memory.min_free", Info, Any, STANDBY, |c| c.node.memory.min_free = Some(1 << 20)),
        Broken("disk.room", Error, Build, STANDBY, |c| {
            c.fill(995);
        }),
        Broken("disk.room", Error, Build, STANDBY, |c| c.wanted.bytes = Some(Bytes::new(2000 * GIB))),
        Broken("disk.room", Unknown, Build, STANDBY, |c| {
            c.fill(995);
            (c.node.data_bytes, c.node.wal_bytes) = (None, None);
            c.node.note_unknown("sizes", "it took too long");
        }),
        Broken("disk.room", Unknown, Build, STANDBY, |c| c.peer.data_bytes = None),
        Broken("disk.use", Warning, Any, STANDBY, |c| c.fill(700)),
        Broken("disk.use", Error, Any, STANDBY, |c| c.fill(900)),
        Broken("disk.use", Error, Any, STANDBY, |c| {
            c.fill(850);
            c.node.managed_by.by = Manager::Cm;
        }),
        Broken("disk.use", Unknown, Any, STANDBY, |c| c.node.disks.clear()),
        Broken("disk.inodes", Warning, Any, STANDBY, |c| c.disk().free_inodes = 400),
        Broken("disk.inodes", Error, Any, STANDBY, |c| c.disk().free_inodes = 200),
        Broken("disk.file_system", Warning, Any, STANDBY, |c| c.disk().kind = Some("nfs4".to_owned())),
        Broken("disk.file_system", Unknown, Any, STANDBY, |c| c.disk().kind = None),
        Broken("disk.writable", Error, Any, STANDBY, |c| c.disk().options = vec!["ro".to_owned()]),
        Broken("disk.writable", Error, Any, STANDBY, |c| c.disk().writable = false),
        Broken("ports.free", Error, Restart, STANDBY, |c| c.node.ports[1].state = PortState::Taken),
        Broken("ports.free", Warning, Restart, STANDBY, |c| c.node.ports[3].state = PortState::Taken),
        Broken("ports.free", Warning, Any, STANDBY, |c| c.node.ports[5].state = PortState::Taken),
        Broken("ports.free", Unknown, Any, STANDBY, |c| c.node.ports[0].state = PortState::Unknown),
        Broken("ports.ephemeral", Error, Restart, STANDBY, |c| {
            c.node.kernel.local_ports = Some([1024, 60999]);
        }),
        Broken("ports.ephemeral", Warning, Any, STANDBY, |c| {
            c.node.kernel.local_ports = Some([26005, 60999]);
        }),
        Broken("ports.ephemeral", Unknown, Any, STANDBY, |c| c.node.kernel.local_ports = None),
        Broken("leftovers.data_dir", Error, Any, STANDBY, |c| c.node.identity.content = NodeContent::Other),
        Broken("leftovers.data_dir", Error, Deploy, STANDBY, |_| {}),
        Broken("leftovers.data_dir", Unknown, Any, STANDBY, |c| {
            c.node.identity.content = NodeContent::Unknown;
        }),
        Broken("leftovers.sockets", Error, Restart, STANDBY, |c| {
            c.stop();
            c.leave(LeftoverKind::Socket, "/tmp/.s.PGSQL.26000.lock", "process 9 lives");
        }),
        Broken("leftovers.sockets", Info, Restart, STANDBY, |c| {
            c.stop();
            c.leave(LeftoverKind::Socket, "/tmp/.s.PGSQL.26000", "nobody has it");
            c.node.leftovers[0].stale = true;
        }),
        Broken("leftovers.processes", Error, Any, STANDBY, |c| {
            c.leave(LeftoverKind::Process, "process 9", "a server");
        }),
        Broken("leftovers.environment", Warning, Deploy, STANDBY, |c| {
            c.leave(LeftoverKind::Environment, "GAUSS_ENV", "2");
        }),
        Broken("leftovers.cron", Warning, Any, STANDBY, |c| c.node.managed_by.cron = true),
        Broken("limits.open_files", Warning, Any, STANDBY, |c| c.node.limits.open_files = limit(1024)),
        Broken("limits.open_files", Error, Any, STANDBY, |c| {
            c.node.limits.open_files = limit(1024);
            c.node.managed_by.by = Manager::Cm;
        }),
        Broken("limits.open_files", Unknown, Any, STANDBY, |c| c.node.limits = Limits::default()),
        Broken("limits.open_files_running", Warning, Any, STANDBY, |c| {
            c.node.server_limits.as_mut().unwrap().open_files = limit(1024);
        }),
        Broken("limits.open_files_running", Error, Any, STANDBY, |c| {
            c.node.server_limits.as_mut().unwrap().open_files = limit(1024);
            c.node.managed_by.by = Manager::Cm;
        }),
        Broken("limits.open_files_running", Unknown, Any, STANDBY, |c| c.node.server_limits = None),
        Broken("limits.running", Warning, Any, STANDBY, |c| {
            c.node.server_limits.as_mut().unwrap().stack = limit(1 << 20);
        }),
        Broken("limits.running", Warning, Any, STANDBY, |c| {
            c.node.server_limits.as_mut().unwrap().processes = limit(300);
        }),
        Broken("limits.running", Unknown, Any, STANDBY, |c| c.node.server_limits = None),
        Broken("limits.stack", Warning, Any, STANDBY, |c| c.node.limits.stack = limit(1 << 20)),
        Broken("limits.processes", Warning, Any, STANDBY, |c| c.node.limits.processes = limit(300)),
        Broken("limits.address_space", Warning, Any, STANDBY, |c| c.node.limits.address_space = limit(GIB)),
        Broken("kernel.semaphores", Error, Any, STANDBY, |c| {
            c.node.kernel.semaphores = Some([250, 32000, 32, 10]);
        }),
        // A server would refuse it; the check must not be ended by it.
        Broken("kernel.semaphores", Error, Any, STANDBY, |c| {
            c.set("max_connections", "18446744073709551615");
        }),
        Broken("kernel.semaphores", Unknown, Any, STANDBY, |c| c.node.kernel.semaphores = None),
        Broken("kernel.shared_memory", Error, Any, STANDBY, |c| c.node.kernel.shmmax = Some(GIB / 2)),
        Broken("kernel.shared_memory", Error, Any, STANDBY, |c| c.node.kernel.shmall = Some(1000)),
        Broken("kernel.remove_ipc", Error, Any, STANDBY, |c| c.node.kernel.remove_ipc = Some(true)),
        Broken("kernel.remove_ipc", Unknown, Any, STANDBY, |c| c.node.kernel.remove_ipc = None),
        Broken("kernel.aio", Info, Any, STANDBY, |c| c.node.kernel.aio_max = Some(65_536)),
        Broken("kernel.selinux", Info, Any, STANDBY, |c| c.node.system.selinux_enforcing = true),
        Broken("clock.service", Warning, Any, STANDBY, |c| c.node.clock.kept_by = None),
        Broken("clock.service", Unknown, Any, STANDBY, |c| c.node.note_unknown("processes", "no /proc")),
        Broken("hosts.file_mode", Warning, Any, STANDBY, |c| c.node.hosts.hostname_mode = Some(0o600)),
        Broken("security.certificates", Warning, Any, STANDBY, |c| {
            c.node.security.certificates[0].not_after = Some(NOW / 1000 + 89 * DAY);
        }),
        Broken("security.certificates", Error, Any, STANDBY, |c| {
            c.node.security.certificates[0].not_after = Some(NOW / 1000 + 6 * DAY);
        }),
        Broken("security.certificates", Error, Any, STANDBY, |c| {
            c.node.security.certificates[0].not_after = Some(NOW / 1000 - DAY);
        }),
        Broken("security.certificates", Error, Any, STANDBY, |c| {
            c.node.security.certificates[0].not_after = None;
        }),
        Broken("security.keys", Error, Any, STANDBY, |c| c.node.security.keys[0].mode = Some(0o640)),
        Broken("security.keys", Error, Any, STANDBY, |c| c.node.security.keys[0].mode = None),
        Broken("security.keys", Error, Any, STANDBY, |c| c.node.security.keys[0].uid = Some(0)),
        Broken("programs.release", Error, Any, STANDBY, |c| c.wanted.version = Some("5.0.3".to_owned())),
        Broken("programs.release", Error, Expand, STANDBY, |c| {
            c.target().stop();
            c.node.programs = Programs::default();
        }),
        Broken("programs.release", Unknown, Any, STANDBY, |c| c.node.note_unknown("programs", "no env_file")),
        Broken("programs.libraries", Error, Any, STANDBY, |c| {
            c.node.programs.missing_libraries = Some(vec!["libaio.so.1".to_owned()]);
        }),
        Broken("programs.libraries", Unknown, Any, STANDBY, |c| c.node.programs.missing_libraries = None),
        Broken("conf.syntax", Error, Any, STANDBY, |c| c.node.conf.errors = vec!["line 3: x".to_owned()]),
        Broken("conf.syntax", Unknown, Any, STANDBY, |c| c.node.conf.exists = false),
        Broken("conf.include", Error, Build, STANDBY, |c| c.node.conf.includes = vec!["a.conf".to_owned()]),
        Broken("conf.include", Warning, Any, PRIMARY, |c| {
            c.wanted.target = false;
            c.node.conf.includes = vec!["a.conf".to_owned()];
        }),
        Broken("hba.syntax", Error, Any, STANDBY, |c| c.node.hba.errors = vec!["line 3: x".to_owned()]),
        Broken("hba.syntax", Unknown, Any, STANDBY, |c| c.node.hba.readable = false),
        Broken("hba.own_address", Error, Any, STANDBY, |c| c.node.hba.admissions[0].admitted = Some(false)),
        Broken("hba.clients", Error, Any, PRIMARY, |c| c.node.hba.admissions[1].admitted = Some(false)),
        Broken("hba.clients", Warning, Any, STANDBY, |c| c.node.hba.admissions[1].admitted = Some(false)),
        Broken("hba.clients", Error, Switchover, STANDBY, |c| {
            c.target().node.hba.admissions[1].admitted = Some(false);
        }),
        Broken("hba.clients", Error, Expand, STANDBY, |c| {
            let address = "10.0.0.3".to_owned();
            c.wanted.clients = vec![address.clone()];
            c.node.hba.admissions.push(Admission { address, admitted: Some(false), line: None });
        }),
        Broken("hba.clients", Unknown, Any, PRIMARY, |c| c.node.hba.admissions[1].admitted = None),
        Broken("channels.local", Error, Any, STANDBY, |c| c.node.channels[0].local = LocalEnd::Elsewhere),
        Broken("channels.local", Error, Any, STANDBY, |c| c.node.channels[0].local = LocalEnd::NoAddress),
        Broken("channels.local", Unknown, Any, STANDBY, |c| c.node.channels[0].local = LocalEnd::Unknown),
        Broken("channels.reached", Error, Any, STANDBY, |c| {
            c.node.reached[0].problem = Some("refused".to_owned());
        }),
        Broken("channels.reached", Warning, Failover, STANDBY, |c| {
            c.node.reached[0].problem = Some("refused".to_owned());
        }),
        Broken("channels.source", Error, Build, STANDBY, |c| {
            c.node.channels[0].source = SourceAnswer::Refused("no pg_hba.conf entry".to_owned());
        }),
        Broken("channels.source", Warning, Build, STANDBY, |c| {
            let source = SourceAnswer::Refused("it is a standby".to_owned());
            let (number, remote_host) = (2, "10.0.0.3".to_owned());
            let other = ChannelFacts { number, remote_host, source, ..c.node.channels[0].clone() };
            c.node.channels.push(other);
        }),
        Broken("channels.source", Unknown, Build, STANDBY, |c| {
            c.stop();
            c.node.channels[0].source = SourceAnswer::NotAsked;
        }),
        Broken("channels.source", Unknown, Build, STANDBY, |c| {
            c.stop();
            c.node.channels[0].source = SourceAnswer::NoAnswer;
        }),
        Broken("settings.senders", Error, Any, PRIMARY, |c| {
            c.set("max_wal_senders", "2");
            c.wanted.standbys = ["dn_6002", "dn_6003", "dn_6004"].map(str::to_owned).to_vec();
            c.wanted.synchronous_standby_names = Some(String::new());
        }),
        Broken("settings.senders", Error, Expand, PRIMARY, |c| c.set("max_wal_senders", "2")),
        Broken("settings.senders", Error, Restart, PRIMARY, |c| {
            c.node.settings.file.insert("max_wal_senders".to_owned(), "0".to_owned());
        }),
        Broken("settings.senders", Warning, Any, PRIMARY, |c| c.set("max_wal_senders", "2")),
        Broken("settings.senders", Error, Any, PRIMARY, |c| c.wanted.senders = Some(17)),
        Broken("settings.senders", Unknown, Any, PRIMARY, |c| c.set("max_wal_senders", "")),
        Broken("settings.slots", Error, Expand, PRIMARY, |c| c.set("max_replication_slots", "2")),
        Broken("settings.slots", Error, Restart, PRIMARY, |c| {
            c.node.settings.file.insert("max_replication_slots".to_owned(), "0".to_owned());
        }),
        Broken("settings.slots", Warning, Any, PRIMARY, |c| c.set("max_replication_slots", "2")),
        Broken("settings.slots", Error, Any, PRIMARY, |c| c.wanted.slots = Some(9)),
        Broken("settings.slots", Unknown, Any, PRIMARY, |c| c.set("max_replication_slots", "")),
        Broken("settings.replication", Error, Any, PRIMARY, |c| c.set("wal_level", "minimal")),
        Broken("settings.replication", Error, Any, STANDBY, |c| c.set("hot_standby", "off")),
        Broken("settings.replication", Error, Any, STANDBY, |c| c.set("enable_stream_replication", "off")),
        Broken("settings.replication", Error, Restart, STANDBY, |c| {
            c.node.settings.file.insert("wal_level".to_owned(), "minimal".to_owned());
        }),
        Broken("settings.replication", Error, Restart, STANDBY, |c| {
            c.node.settings.file.insert("hot_standby".to_owned(), "off".to_owned());
        }),
        Broken("settings.page_writes", Error, Any, PRIMARY, |c| {
            c.set("full_page_writes", "off");
            c.set("enable_incremental_checkpoint", "off");
        }),
        Broken("settings.page_writes", Error, Any, PRIMARY, |c| {
            c.set("full_page_writes", "off");
            c.set("enable_double_write", "off");
        }),
        Broken("settings.page_writes", Unknown, Any, PRIMARY, |c| {
            c.set("full_page_writes", "off");
            c.node.settings.file.remove("enable_double_write");
            c.node.settings.running.remove("enable_double_write");
        }),
        Broken("settings.page_writes", Unknown, Any, PRIMARY, |c| {
            for settings in [&mut c.node.settings.file, &mut c.node.settings.running] {
                settings.remove("full_page_writes");
            }
            c.set("enable_incremental_checkpoint", "off");
        }),
        Broken("settings.pending_restart", Warning, Any, PRIMARY, |c| {
            c.node.settings.file.insert("max_connections".to_owned(), "500".to_owned());
        }),
        Broken("settings.pending_restart", Unknown, Any, PRIMARY, |c| c.node.settings.running.clear()),
        Broken("settings.initial_password", Warning, Any, PRIMARY, |c| {
            c.node.settings.initial_login_blocked = Some(true);
        }),
        Broken("names.tablespaces", Error, Any, STANDBY, |c| {
            c.node.server.tablespaces = Some(Tablespaces {
                names: vec!["dn_6001".to_owned()],
                running: Some("dn_6002".to_owned()),
                configured: None,
                damage: Damage::NotSeen,
            });
        }),
        Broken("sync.now", Error, Any, PRIMARY, |c| c.activity().streaming.clear()),
        Broken("sync.now", Warning, Any, PRIMARY, |c| {
            c.set("most_available_sync", "on");
            c.activity().streaming.clear();
        }),
        Broken("sync.now", Warning, Any, PRIMARY, |c| {
            c.set("synchronous_commit", "local");
            c.activity().streaming.clear();
        }),
        Broken("sync.now", Error, Any, PRIMARY, |c| {
            c.set("synchronous_commit", "remote_apply");
            c.activity().streaming.clear();
        }),
        Broken("sync.now", Error, Any, PRIMARY, |c| c.set("synchronous_standby_names", "ANY 3(")),
        Broken("sync.now", Unknown, Any, PRIMARY, |c| c.node.activity = None),
        Broken("sync.after", Error, Drop, PRIMARY, |c| c.wanted.standbys = vec!["dn_6003".to_owned()]),
        Broken("sync.after", Error, Drop, PRIMARY, |c| {
            c.wanted.synchronous_standby_names = Some("FIRST 1(dn_6002)".to_owned());
        }),
        Broken("server.state", Error, Any, STANDBY, Case::stop),
        Broken("server.state", Warning, Failover, STANDBY, Case::stop),
        Broken("server.state", Error, Any, STANDBY, |c| c.node.server.db_state = DbState::NeedRepair),
        Broken("server.state", Error, Failover, STANDBY, |c| {
            c.node.server.db_state = DbState::NeedRepair;
            c.node.server.detail = Some("WAL segment removed".to_owned());
        }),
        Broken("server.state", Warning, Any, STANDBY, |c| c.node.server.db_state = DbState::Catchup),
        Broken("server.state", Error, Any, PRIMARY, |c| c.node.server.db_state = DbState::Demoting),
        Broken("server.state", Error, Any, PRIMARY, |c| c.node.server.frozen = true),
        Broken("server.state", Unknown, Any, PRIMARY, |c| c.node.server.answered = false),
        Broken("server.state", Unknown, Any, PRIMARY, |c| {
            c.node.note_unknown("server", "gs_ctl is not found");
        }),
        Broken("server.role", Error, Switchover, PRIMARY, |c| c.wanted.target = true),
        Broken("server.role", Error, Failover, STANDBY, |c| {
            c.target().node.server.role = Role::CascadeStandby;
        }),
        Broken("server.role", Error, Switchover, STANDBY, |c| c.target().stop()),
        Broken("server.role", Unknown, Switchover, STANDBY, |c| c.target().node.server.role = Role::Unknown),
        Broken("server.role", Error, Build, PRIMARY, |_| {}),
        Broken("server.role", Error, Build, STANDBY, |c| c.node.channels.clear()),
        Broken("server.role", Error, Build, PRIMARY, Case::stop),
        Broken("server.role", Error, Build, PRIMARY, |c| {
            c.stop();
            c.node.server.role = Role::Normal;
        }),
        Broken("server.role", Warning, Build, PRIMARY, |c| {
            c.stop();
            c.peer.server.role = Role::Primary;
        }),
        Broken("server.lag", Warning, Any, STANDBY, |c| {
            c.node.server.receiver.as_mut().unwrap().progress.lag_bytes = Some(Bytes::new(GIB));
        }),
        Broken("server.lag", Error, Switchover, STANDBY, |c| {
            c.target().node.server.receiver.as_mut().unwrap().progress.lag_bytes = Some(Bytes::new(GIB));
        }),
        Broken("server.lag", Unknown, Switchover, STANDBY, |c| c.node.server.receiver = None),
        Broken("server.replay_paused", Error, Any, STANDBY, |c| c.activity().replay_paused = Some(true)),
        Broken("server.replay_paused", Unknown, Any, STANDBY, |c| c.activity().replay_paused = None),
        Broken("server.backup", Error, Any, PRIMARY, |c| c.activity().exclusive_backup = true),
        Broken("server.archiving", Warning, Any, PRIMARY, |c| c.activity().unarchived = 16),
        Broken("server.archiving", Error, Any, PRIMARY, |c| c.activity().unarchived = 128),
        Broken("transactions.long", Warning, Switchover, PRIMARY, |c| {
            c.activity().long_transactions = Some(2);
        }),
        Broken("transactions.long", Unknown, Restart, PRIMARY, |c| c.activity().long_transactions = None),
        Broken("transactions.idle", Warning, Restart, PRIMARY, |c| {
            c.activity().idle_in_transaction = Some(2);
        }),
        Broken("transactions.prepared", Warning, Any, PRIMARY, |c| c.activity().prepared = Some(1)),
        Broken("server.dirty_pages", Info, Switchover, PRIMARY, |c| c.activity().dirty_pages = Some(9000)),
        Broken("slots.inactive", Warning, Any, PRIMARY, |c| {
            c.node.server.slots.as_mut().unwrap()[0].active = false;
        }),
        Broken("slots.inactive", Unknown, Any, PRIMARY, |c| c.node.server.slots = None),
        Broken("slots.logical", Warning, Any, PRIMARY, |c| {
            c.node.server.slots.as_mut().unwrap()[0].kind = "logical".to_owned();
        }),
        Broken("managed.by", Error, Switchover, STANDBY, |c| c.node.managed_by.by = Manager::Cm),
        Broken("managed.by", Error, Restart, STANDBY, |c| {
            c.node.managed_by = ManagedBy { by: Manager::Dcf, dcf: true, ..ManagedBy::default() };
        }),
        Broken("managed.by", Info, Any, STANDBY, |c| c.node.managed_by.by = Manager::Cm),
        Broken("managed.by", Info, Switchover, STANDBY, |c| {
            c.node.managed_by = ManagedBy {
                by: Manager::Cm,
                agent: Some(252),
                node_id: Some(2),
                instance_id: Some(6002),
                data_dir: Some("/data/dn1".to_owned()),
                ..ManagedBy::default()
            };
        }),
        Broken("managed.paused", Warning, Any, STANDBY, |c| {
            c.node.managed_by = ManagedBy { by: Manager::Cm, paused: true, ..ManagedBy::default() };
        }),
        Broken("managed.watchers", Warning, Any, STANDBY, |c| {
            c.node.watchers = vec!["keepalived".to_owned()];
        }),
        Broken("managed.watchers", Unknown, Any, STANDBY, |c| c.node.note_unknown("processes", "no /proc")),
        Broken("run.lock", Error, Any, PRIMARY, |c| {
            c.node.lock = Some(LockHolder { owner: "a@b".to_owned(), ..LockHolder::default() });
            c.wanted.owner = Some("me@here".to_owned());
        }),
        Broken("run.lock", Unknown, Any, PRIMARY, |c| c.node.note_unknown("lock", "it is no lock")),
        Broken("run.build", Error, Any, STANDBY, |c| {
            c.node.server.build = Some(BuildProgress { running: true, ..BuildProgress::default() });
        }),
        Broken("run.build", Error, Any, STANDBY, |c| {
            c.node.server.build = Some(BuildProgress { interrupted: true, ..BuildProgress::default() });
            c.wanted.target = false;
            c.node.server.running = false;
        }),
        Broken("run.build", Info, Build, STANDBY, |c| {
            c.node.server.build = Some(BuildProgress { interrupted: true, ..BuildProgress::default() });
        }),
        Broken("cluster.files", Warning, Any, STANDBY, |c| c.node.cluster.local = Some(1).filter(|_| false)),
        Broken("cluster.files", Warning, Any, STANDBY, |c| {
            c.node.cluster.roles[1].role = "primary".to_owned();
        }),
        Broken("cluster.files", Warning, Any, STANDBY, |c| {
            c.node.cluster.problems = vec!["checksum".to_owned()];
        }),
        Broken("cluster.one_primary", Error, Any, PRIMARY, |c| c.peer.server.role = Role::Primary),
        Broken("cluster.system", Error, Any, STANDBY, |c| c.node.identity.system_id = Some("78".to_owned())),
        Broken("cluster.system", Unknown, Any, STANDBY, |c| c.node.identity.system_id = None),
        Broken("cluster.directory", Error, Any, STANDBY, |c| {
            c.node.identity.directory.clone_from(&c.peer.identity.directory);
        }),
        Broken("cluster.directory", Unknown, Any, STANDBY, |c| c.node.identity.directory = None),
        Broken("names.unique", Error, Any, STANDBY, |c| c.node.name = Some("DN_6001".to_owned())),
        Broken("names.unique", Error, Any, STANDBY, |c| c.node.name = None),
        Broken("names.unique", Error, Any, STANDBY, |c| c.wanted.name = Some("dn_6003".to_owned())),
        Broken("names.node_name", Error, Any, STANDBY, |c| c.set("pgxc_node_name", "dn_6002")),
        Broken("names.node_name", Unknown, Any, STANDBY, |c| c.peer.activity = None),
        Broken("names.hosts", Warning, Any, STANDBY, |c| {
            c.node.hosts.names.insert("db".to_owned(), vec!["10.0.0.8".to_owned()]);
        }),
        Broken("same.release", Error, Any, STANDBY, |c| c.node.programs.version = Some("5.0.3".to_owned())),
        Broken("same.release", Error, Any, STANDBY, |c| c.node.programs.commit = Some("0".to_owned())),
        Broken("same.release", Unknown, Any, STANDBY, |c| c.peer.programs.version = None),
        Broken("same.catalog", Error, Any, STANDBY, |c| c.node.programs.catalog = Some(1)),
        Broken("same.architecture", Error, Any, STANDBY, |c| {
            c.node.system.architecture = Some("aarch64".to_owned());
        }),
        Broken("same.page_size", Error, Any, STANDBY, |c| c.node.system.page_size = Some(65_536)),
        Broken("same.page_size", Error, Any, STANDBY, |c| c.set("block_size", "16384")),
        Broken("same.encoding", Error, Any, STANDBY, |c| c.set("server_encoding", "GBK")),
        Broken("same.encoding", Unknown, Any, STANDBY, |c| c.node.settings.running.clear()),
        Broken("same.locale", Warning, Any, STANDBY, |c| c.set("lc_collate", "en_US.UTF-8")),
        Broken("same.time_zone", Warning, Any, STANDBY, |c| c.set("TimeZone", "UTC")),
        Broken("same.kernel", Info, Any, STANDBY, |c| c.node.system.kernel = Some("5.10".to_owned())),
        Broken("same.user", Error, Any, STANDBY, |c| c.node.user.name = Some("gauss".to_owned())),
        Broken("same.user", Error, Any, STANDBY, |c| c.node.user.group = Some("users".to_owned())),
        Broken("same.user", Unknown, Any, STANDBY, |c| c.node.user.name = None),
        Broken("same.uid", Warning, Any, STANDBY, |c| {
            c.node.user.uid = Some(1002);
            c.node.security.keys.clear();
        }),
        Broken("memory.peers", Warning, Restart, STANDBY, |c| {
            c.node.memory.total = Some(16 * GIB);
            c.peer.settings.file.insert("max_process_memory".to_owned(), "24GB".to_owned());
        }),
        Broken("memory.peers", Error, Restart, STANDBY, |c| {
            c.stop();
            c.node.memory.total = Some(16 * GIB);
            c.peer.settings.file.insert("max_process_memory".to_owned(), "24GB".to_owned());
        }),
        Broken("memory.peers", Warning, Any, STANDBY, |c| c.node.memory.total = Some(16 * GIB)),
        Broken("memory.peers", Unknown, Any, STANDBY, |c| c.peer.memory.total = None),
        Broken("settings.limits", Error, Any, STANDBY, |c| c.set("max_connections", "100")),
        Broken("settings.limits", Error, Any, STANDBY, |c| c.set("max_locks_per_transaction", "100")),
        Broken("settings.limits", Unknown, Any, STANDBY, |c| c.set("max_connections", "")),
        Broken("clock.difference", Warning, Any, STANDBY, |c| {
            (c.node.clock.read_at, c.node.clock.answered_at) = (Some(NOW + 2_000), Some(NOW + 2_000));
        }),
        Broken("clock.difference", Error, Any, STANDBY, |c| {
            (c.node.clock.read_at, c.node.clock.answered_at) = (Some(NOW - 61_000), Some(NOW - 61_000));
        }),
        Broken("clock.difference", Unknown, Any, STANDBY, |c| c.node.clock.sent_at = None),
        Broken("clock.difference", Unknown, Any, STANDBY, |c| c.node.clock.received_at = Some(NOW + 5_000)),
        Broken("channels.from_peers", Error, Any, STANDBY, |c| {
            c.peer.reached[0].problem = Some("refused".to_owned());
        }),
        Broken("channels.both_ways", Error, Any, STANDBY, |c| c.peer.channels.clear()),
        Broken("network.mtu", Warning, Any, STANDBY, |c| c.node.hosts.mtu = Some(9000)),
        Broken("zones.cascade", Error, Any, STANDBY, |c| {
            c.node.server.role = Role::CascadeStandby;
            c.peer.server.role = Role::Standby;
            c.set("enable_availablezone", "on");
            c.set("available_zone", "AZ2");
        }),
        Broken("zones.cascade", Unknown, Any, STANDBY, |c| {
            c.node.server.role = Role::CascadeStandby;
            c.node.programs.version = None;
        }),
        Broken("cluster.files_alike", Warning, Any, STANDBY, |c| {
            c.peer.cluster.static_config.as_mut().unwrap().truncate(1);
        }),
    ]
}

#[test]
fn every_check_is_made_to_fail() {
    let mut failed = BTreeSet::new();
    let mut worst: BTreeMap<&str, Severity> = BTreeMap::new();
    let mut told = BTreeMap::<&str, Vec<String>>::new();
    for (index, Broken(id, severity, purpose, primary, hurt)) in broken().into_iter().enumerate() {
        let mut case = if primary { Case::primary() } else { Case::standby() };
        hurt(&mut case);
        let judgement = case.judge(purpose);
        let found: Vec<&Finding> = judgement.findings.iter().filter(|finding| finding.id == id).collect();
        let one = found.iter().find(|finding| finding.severity == severity);
        let one = one.unwrap_or_else(|| panic!("{index}: {id} is not {severity:?}: {found:?}"));
        assert!(!one.fix.is_empty() && !one.message.is_empty() && !one.wanted.is_empty(), "{one:?}");
        assert!(one.subject.starts_with(case.node.label()), "{one:?}");
        assert!(!judgement.passed.contains(&id), "{index}: {id} has passed, too");
        failed.insert(id);
        let when = serde_json::to_value(purpose).unwrap();
        told.entry(id).or_default().push(format!(
            "  {:?}, for {}: {}: {}; wanted: {}; fix: {}",
            one.severity,
            when.as_str().unwrap(),
            one.subject,
            one.message,
            one.wanted,
            one.fix
        ));
        let worst = worst.entry(id).or_insert(severity);
        *worst = (*worst).min(severity);
    }
    let all: BTreeSet<&str> = all().map(|check| check.id).collect();
    assert_eq!(failed, all, "every check has a way to fail, and none a way that is no check");
    for check in super::all() {
        assert!(worst[check.id] <= check.severity, "{} never weighs {:?}", check.id, check.severity);
    }
    let told = told.iter().map(|(id, findings)| format!("{id}\n{}", findings.join("\n")));
    insta::assert_snapshot!("findings", told.collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_healthy_cluster_has_no_findings() {
    for purpose in [Any, Expand, Drop, Switchover, Failover, Restart] {
        for case in [Case::primary(), Case::standby()] {
            let judgement = case.judge(purpose);
            assert_eq!(judgement.findings, [], "{purpose:?} on {}", case.node.label());
            assert!(judgement.passed.len() > 40);
        }
    }
    assert_eq!(Case::standby().judge(Build).findings, []);
    let (one, two, wanted) = (node(1), node(2), Wanted::default());
    let all = judge_all(&[(&one, &wanted), (&two, &wanted)], Any);
    assert!(all.iter().all(|judgement| judgement.findings.is_empty()));
}

#[test]
fn the_names_of_utc_are_one_time_zone() {
    let mut case = Case::standby();
    case.set("TimeZone", "Etc/UTC");
    case.peer.settings.running.insert("TimeZone".to_owned(), "UCT".to_owned());
    let judgement = case.judge(Purpose::Any);
    assert!(judgement.passed.contains(&"same.time_zone"), "{:?}", judgement.findings);
}

#[test]
fn a_frozen_primary_is_not_let_go_on_beside_another() {
    let fix = |case: &Case, purpose| {
        let judgement = case.judge(purpose);
        judgement.findings.into_iter().find(|finding| finding.id == "server.state").unwrap().fix
    };
    let mut case = Case::primary();
    case.node.server.frozen = true;
    assert!(fix(&case, Any).contains("kill -CONT"));
    assert!(fix(&case, Failover).contains("before the failover") && !fix(&case, Failover).contains("-CONT"));
    case.peer.server.role = Role::Primary;
    assert!(fix(&case, Any).contains("never let it go on"), "{}", fix(&case, Any));
}

#[test]
fn memory_of_the_primary_is_no_error_for_a_server_that_runs() {
    let mut case = Case::standby();
    case.node.memory.total = Some(16 * GIB);
    case.peer.settings.file.insert("max_process_memory".to_owned(), "24GB".to_owned());
    for purpose in [Any, Switchover, Restart] {
        let judgement = case.judge(purpose);
        let error = |f: &&Finding| f.id == "memory.peers" && f.severity == Error;
        assert_eq!(judgement.findings.iter().find(error), None, "{purpose:?}");
    }
}

#[test]
fn what_could_not_be_read_is_never_passed() {
    let judgement = judge(&Context {
        facts: &Facts {
            identity: Identity { content: NodeContent::Database, ..Identity::default() },
            server: NodeState { running: true, ..NodeState::default() },
            ..Facts::default()
        },
        peers: &[&node(1)],
        purpose: Any,
        wanted: &Wanted::default(),
        peers_read_before: false,
    });
    // Only checks whose facts say by themselves that there is nothing: no lock, no build, nobody in charge, nothing left.
    let empty = [
        "leftovers.data_dir",
        "leftovers.processes",
        "leftovers.cron",
        "kernel.selinux",
        "managed.by",
        "managed.watchers",
        "run.lock",
        "run.build",
        "cluster.one_primary",
        "channels.from_peers",
    ];
    let wrong: Vec<_> = judgement.passed.iter().filter(|id| !empty.contains(id)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(judgement.has(Severity::Unknown));
}

#[test]
fn readiness_has_reasons() {
    let case = Case::standby();
    let ready = |case: &Case| readiness(&case.context(&[&case.peer], Any));
    let well = ready(&case);
    let verdicts = |ready: &Ready| [ready.switchover.verdict, ready.failover.verdict, ready.build.verdict];
    assert_eq!(verdicts(&well), [Verdict::Yes; 3], "{well:?}");
    let primary = ready(&Case::primary());
    assert_eq!(verdicts(&primary), [Verdict::No; 3]);
    assert!(primary.switchover.reasons[0].contains("only a standby becomes primary"), "{primary:?}");
    let mut behind = Case::standby();
    behind.node.server.receiver.as_mut().unwrap().progress.lag_bytes = Some(Bytes::new(GIB));
    assert_eq!(verdicts(&ready(&behind)), [Verdict::No, Verdict::Yes, Verdict::Yes]);
    let mut silent = Case::standby();
    silent.node.server.role = Role::Unknown;
    assert_eq!(verdicts(&ready(&silent))[..2], [Verdict::Unknown; 2]);
}

#[test]
fn readiness_is_decided_by_what_matters_for_the_act() {
    let verdicts = |case: &Case| {
        let ready = readiness(&case.context(&[&case.peer], Any));
        [ready.switchover.verdict, ready.failover.verdict, ready.build.verdict]
    };
    let mut case = Case::standby();
    case.node.security.certificates[0].not_after = Some(NOW / 1000 + 6 * DAY);
    case.activity().unarchived = 1000;
    assert!(case.judge(Failover).has(Error));
    assert_eq!(verdicts(&case), [Verdict::Yes; 3]);
    let mut case = Case::standby();
    case.activity().replay_paused = Some(true);
    assert_eq!(verdicts(&case), [Verdict::No, Verdict::No, Verdict::Yes]);
    let mut case = Case::standby();
    case.fill(995);
    assert_eq!(verdicts(&case), [Verdict::Yes, Verdict::Yes, Verdict::No]);
    let mut case = Case::standby();
    case.node.server.answered = false;
    assert_eq!(verdicts(&case)[..2], [Verdict::Unknown; 2]);
    // A stopped node may hold the last data.
    let mut case = Case::primary();
    case.stop();
    assert_eq!(verdicts(&case)[2], Verdict::No);
    for purpose in [Switchover, Failover, Build] {
        let all: Vec<&str> = deciding_checks(purpose).collect();
        assert_eq!(all.len(), all.iter().collect::<BTreeSet<_>>().len(), "{all:?}");
        assert_eq!(all.iter().find(|id| find(id).is_none()), None);
        let own = super::all().filter(|check| check.severity == Error && check.purposes.contains(&purpose));
        let missing: Vec<&str> = own.map(|check| check.id).filter(|id| !all.contains(id)).collect();
        assert_eq!(missing, Vec::<&str>::new(), "{purpose:?}");
    }
}

#[test]
fn a_spare_is_no_error_of_a_change_that_leaves_it_alone() {
    let mut case = Case::standby();
    case.stop();
    assert!(case.judge(Any).has(Error), "a member that is stopped");
    case.peer.channels.clear();
    case.node.identity.system_id = Some("78".to_owned());
    case.node.name = Some("dn_6001".to_owned());
    for purpose in [Any, Expand, Drop, Switchover, Failover] {
        let judgement = case.judge(purpose);
        assert!(!judgement.has(Error) && judgement.has(Warning), "{purpose:?}: {:?}", judgement.findings);
    }
    let wanted = Wanted::default();
    let all = judge_all(&[(&case.peer, &wanted), (&case.node, &wanted)], Any);
    assert!(!all[0].findings.iter().any(|finding| finding.id == "names.unique"), "{:?}", all[0].findings);
    assert!(case.target().judge(Switchover).has(Error));
    // The primary still has a channel to it: a member that lost its data.
    let mut lost = Case::standby();
    lost.stop();
    lost.node.identity.system_id = Some("78".to_owned());
    assert!(lost.judge(Any).has(Error));
}

#[test]
fn clocks_are_compared_as_exactly_as_the_calls_took() {
    let clock = |read_at, sent_at, received_at| Clock {
        read_at: Some(read_at),
        answered_at: None,
        sent_at: Some(sent_at),
        received_at: Some(received_at),
        kept_by: None,
    };
    // Both calls from 0 to 100 by the caller's clock; one node's is 5000 ahead.
    let difference =
        clock_difference(&clock(15_050, 10_000, 10_100), &clock(10_050, 10_000, 10_100)).unwrap();
    assert_eq!(difference, ClockDifference { least: 4_900, most: Some(5_100) });
    assert_eq!((difference.at_least(), difference.at_most()), (4_900, Some(5_100)));
    let back = clock_difference(&clock(10_050, 10_000, 10_100), &clock(15_050, 10_000, 10_100)).unwrap();
    assert_eq!((back.at_least(), back.at_most()), (4_900, Some(5_100)));
    let same = clock_difference(&clock(10_050, 10_000, 10_100), &clock(10_010, 10_000, 10_100)).unwrap();
    assert_eq!((same.at_least(), same.at_most()), (0, Some(140)));
    assert_eq!(clock_difference(&Clock::default(), &clock(1, 1, 1)), None);
    // A call that takes 5 s on the node, of which it is 20 ms on its way, tells as much as a short one.
    let long = Clock { answered_at: Some(15_050 + 5_000), ..clock(15_050, 10_000, 15_020) };
    let difference = clock_difference(&long, &clock(10_000, 10_000, 10_000)).unwrap();
    assert_eq!(difference, ClockDifference { least: 5_030, most: Some(5_050) });
}

#[test]
fn clocks_of_nodes_that_are_read_side_by_side_need_the_times_of_the_calls() {
    let (mut one, mut two, wanted) = (node(1), node(2), Wanted::default());
    for facts in [&mut one, &mut two] {
        (facts.clock.sent_at, facts.clock.received_at) = (None, None);
    }
    one.clock.read_at = Some(NOW + 70_000);
    let found = |judgement: Judgement| -> Vec<Severity> {
        let found = judgement.findings.into_iter().filter(|finding| finding.id == "clock.difference");
        found.map(|finding| finding.severity).collect()
    };
    let all = judge_all(&[(&one, &wanted), (&two, &wanted)], Any);
    let all: Vec<Vec<Severity>> = all.into_iter().map(found).collect();
    assert_eq!(all, [vec![], vec![Unknown]]);
    // Facts of an argument were there before: what was later then is ahead.
    let case = Case { node: two, peer: one, wanted };
    let peers = [&case.peer];
    let context = Context { peers_read_before: true, ..case.context(&peers, Any) };
    assert_eq!(found(judge(&context)), [Error]);
}

#[test]
fn what_a_deploy_puts_right_is_what_og_host_sets() {
    use og_common::gauss::host;
    let by_deploy = all().filter(|check| check.fixable_by == FixableBy::Deploy).map(|check| check.id);
    assert_eq!(by_deploy.collect::<BTreeSet<_>>(), BTreeSet::from(host::CHECKS));
    // What the checks say in words are the values that og_host sets.
    let said = |id: &str, value: &str| {
        let check = all().find(|check| check.id == id).unwrap();
        let text = format!("{} {}", check.threshold, check.fix);
        assert!(text.contains(value), "{id}: {text} has no {value}");
    };
    let semaphores: Vec<String> = host::SEMAPHORES.iter().map(u64::to_string).collect();
    said("kernel.semaphores", &semaphores.join(" "));
    said("kernel.shared_memory", &host::SHMMAX.to_string());
    said("kernel.shared_memory", &host::SHMALL.to_string());
    said("kernel.aio", &host::AIO_REQUESTS.to_string());
    said("limits.open_files", &host::OPEN_FILES.to_string());
    said("limits.open_files", &host::MIN_OPEN_FILES.to_string());
    said("limits.stack", &host::MIN_STACK_KIB.to_string());
}

#[test]
fn each_check_is_explained() {
    let mut ids = BTreeSet::new();
    for check in all() {
        assert!(ids.insert(check.id), "{} is there twice", check.id);
        let text = explain(check.id).unwrap();
        assert!(text.contains(check.why) && text.contains(check.fix) && text.contains(check.threshold));
        assert!(!check.changes().is_empty());
        // A fix is an imperative without a final stop, a reason a sentence with one.
        assert!(!check.fix.ends_with('.') && check.why.ends_with('.'), "{}", check.id);
    }
    let error = explain("memory.proces").unwrap_err();
    assert!(error.failure().detail.contains("did you mean memory.process?"), "{error}");
    assert_eq!(explain("all").unwrap().lines().count(), ids.len());
}

#[test]
fn facts_are_read_back_as_they_were_written() {
    let facts = node(2);
    let text = serde_json::to_string(&facts).unwrap();
    assert_eq!(serde_json::from_str::<Facts>(&text).unwrap(), facts);
}

/// The tests of the workflows have their nodes from there.
#[test]
fn the_healthy_node_of_the_vectors_is_the_one_of_these_tests() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/preflight/healthy.json");
    let there: Facts = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let text = serde_json::to_string_pretty(&node(2)).unwrap();
    assert_eq!(there, node(2), "{path} is to hold:\n{text}");
}
