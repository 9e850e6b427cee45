#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};
use og_common::protocol::{Call, Common, ErrorKind, Reason};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::apply::carry_out;
use crate::args::ItemKind;
use crate::plan::{LOGIND, SETTINGS, Step, limits_file};
use crate::present::{DirectoryFacts, Process, UserFacts};
use crate::record::{MadeFile, Record};
use crate::wanted::{Directory, GroupWish, UserWish};

/// A user that each machine has.
const USER: &str = "nobody";

/// A machine of files alone.
struct Machine {
    root: tempfile::TempDir,
    call: Call,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { root: tempfile::tempdir().unwrap(), call: Call::default() };
        fs::set_permissions(machine.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for folder in ["etc/systemd", "etc/security", "var/lib", "run/systemd", "usr/bin"] {
            machine.folder(folder);
        }
        for (file, text) in [
            ("proc/sys/kernel/sem", "250\t32000\t100\t128\n"),
            ("proc/sys/kernel/shmmax", "18446744073692774399\n"),
            ("proc/sys/kernel/shmall", "18446744073692774399\n"),
            ("proc/sys/vm/overcommit_memory", "0\n"),
            ("proc/sys/vm/min_free_kbytes", "999999\n"),
            ("proc/sys/fs/aio-max-nr", "65536\n"),
            ("proc/sys/fs/nr_open", "1048576\n"),
            ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
            ("proc/sys/net/ipv4/ip_local_reserved_ports", "\n"),
            ("proc/meminfo", "MemTotal:        8000000 kB\n"),
            ("usr/bin/og_node_state", ""),
        ] {
            machine.write(file, text);
        }
        machine
    }

    fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        let below = below.as_ref();
        self.root.path().join(below.strip_prefix("/").unwrap_or(below))
    }

    fn folder(&self, below: &str) {
        fs::create_dir_all(self.path(below)).unwrap();
    }

    fn write(&self, below: impl AsRef<Path>, text: &str) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, below: impl AsRef<Path>) -> String {
        fs::read_to_string(self.path(below)).unwrap()
    }

    fn tree(&self) -> Tree {
        Tree::new(self.root.path())
    }

    fn run(&self, args: Value) -> Result<Report<Output>, Error> {
        self.run_as(&self.call, args)
    }

    fn run_as(&self, call: &Call, args: Value) -> Result<Report<Output>, Error> {
        block_on(run_in(&self.tree(), call, &serde_json::from_value(args).unwrap()))
    }

    /// All files and folders but those of the kernel, with their modes and contents.
    fn files(&self) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.root.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let (path, meta) = (entry.path(), entry.metadata().unwrap());
                let content = if meta.is_symlink() {
                    fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
                } else if meta.is_dir() {
                    folders.push(path.clone());
                    Vec::new()
                } else {
                    fs::read(&path).unwrap()
                };
                found.insert(path, (meta.mode(), content));
            }
        }
        found
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn is_root() -> bool {
    let is_root = Uid::effective().is_root();
    if !is_root {
        println!("skipped: this needs root");
    }
    is_root
}

/// All that does not need the programs of the system.
fn everything() -> Value {
    json!({"user": USER, "recommended": true, "base_ports": [40000], "unit": true,
        "limits": {"memlock": "unlimited"}, "sysctl": {"kernel.shmmax": 4_000_000}, "directories": [{"path": "/gauss/data", "owner": "root"}]})
}

/// A call about a node.
fn at_node() -> Call {
    let common = Common { data_dir: Some("/gauss/data/dn1".into()), ..Common::default() };
    let mut call = Call::default();
    call.common = common;
    call
}

#[test]
fn what_is_made_is_there_and_a_second_call_changes_nothing() {
    let machine = Machine::new();
    let call = at_node();
    let before = machine.files();
    let mut check = at_node();
    check.check = true;
    let foreseen = machine.run_as(&check, everything()).unwrap();
    assert_eq!(machine.files(), before, "check mode changes nothing");
    let done = machine.run_as(&call, everything()).unwrap();
    assert!(done.changed);
    assert_eq!(foreseen.actions, done.actions);
    let limits = machine.read(limits_file(USER));
    for line in
        ["- nofile 1000000", "- nproc unlimited", "- as unlimited", "soft stack 8192", "- memlock unlimited"]
    {
        assert!(limits.contains(&format!("{USER} {line}\n")), "{limits}");
    }
    let settings = machine.read(SETTINGS);
    for line in [
        "kernel.sem = 250 6400000 1000 25600",
        "kernel.shmmax = 4000000",
        "fs.aio-max-nr = 1048576",
        "net.ipv4.ip_local_reserved_ports = 40000-40005",
    ] {
        assert!(settings.contains(&format!("\n{line}\n")), "{settings}");
    }
    assert_eq!(machine.read("proc/sys/kernel/sem"), "250 6400000 1000 25600");
    assert_eq!(machine.read("proc/sys/kernel/shmmax"), "4000000");
    // Without systemd nobody reads it.
    assert!(!machine.path(LOGIND).exists());
    let unit = machine.read("etc/systemd/system/opengauss-gauss-data-dn1.service");
    assert!(
        unit.contains(
            "\nExecStart=/usr/bin/og_node_state /etc/opengauss-node/opengauss-gauss-data-dn1.start.json\n"
        ),
        "{unit}"
    );
    let start: Value =
        serde_json::from_str(&machine.read("etc/opengauss-node/opengauss-gauss-data-dn1.start.json"))
            .unwrap();
    assert_eq!(start, json!({"data_dir": "/gauss/data/dn1", "state": "started", "os_user": USER}));
    assert!(
        machine
            .path("etc/systemd/system/multi-user.target.wants/opengauss-gauss-data-dn1.service")
            .is_symlink()
    );
    assert_eq!(fs::metadata(machine.path("gauss/data")).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(fs::metadata(machine.path("gauss")).unwrap().mode() & 0o7777, 0o755);
    for (path, (mode, _)) in machine.files() {
        let is_ours = path.to_string_lossy().contains("opengauss") && path.is_file() && !path.is_symlink();
        assert!(
            !is_ours || mode & 0o7777 == 0o644 || path.ends_with("host.lock"),
            "{} {mode:o}",
            path.display()
        );
    }
    let after = machine.files();
    let again = machine.run_as(&call, everything()).unwrap();
    assert_eq!((again.changed, again.actions), (false, vec![]));
    assert_eq!(machine.files(), after);
}

#[test]
fn absent_takes_away_what_was_made_and_nothing_else() {
    let machine = Machine::new();
    machine.folder("etc/security/limits.d");
    machine.write("etc/security/limits.d/20-nproc.conf", "* soft nproc 4096\n");
    let before = machine.files();
    machine.run_as(&at_node(), everything()).unwrap();
    let query = machine.run(json!({"state": "query"})).unwrap();
    assert!(
        query.output.items.iter().any(|item| item.kind == ItemKind::Setting && item.name == "kernel.sem")
    );
    let gone = machine.run(json!({"state": "absent"})).unwrap();
    assert!(gone.changed && gone.output.kept.is_empty(), "{gone:?}");
    // The kernel's own line end aside.
    let trimmed = |files: BTreeMap<PathBuf, (u32, Vec<u8>)>| {
        files
            .into_iter()
            .map(|(path, (mode, text))| (path, mode, text.trim_ascii().to_vec()))
            .collect::<Vec<_>>()
    };
    let normal = |files: BTreeMap<PathBuf, (u32, Vec<u8>)>| {
        trimmed(files)
            .into_iter()
            .map(|(path, mode, text)| (path, mode, String::from_utf8_lossy(&text).replace('\t', " ")))
            .collect::<Vec<_>>()
    };
    assert_eq!(normal(machine.files()), normal(before));
    let again = machine.run(json!({"state": "absent"})).unwrap();
    assert_eq!((again.changed, again.output.kept), (false, vec![]));
}

#[test]
fn a_file_that_og_host_did_not_make_is_refused() {
    for entry in ["text", "link", "folder"] {
        let machine = Machine::new();
        machine.folder("etc/sysctl.d");
        let path = machine.path(SETTINGS);
        match entry {
            "text" => machine.write(SETTINGS, "kernel.sem = 1 2 3 4\n"),
            "link" => symlink("/etc/passwd", &path).unwrap(),
            _ => fs::create_dir(&path).unwrap(),
        }
        let before = machine.files();
        let args = json!({"user": USER, "limits": {"nofile": 1000}, "sysctl": {"kernel.shmmax": "5"}});
        let error = machine.run(args).unwrap_err();
        assert_eq!((error.kind(), error.failure().reason), (ErrorKind::Refused, Some(Reason::ForeignFile)));
        assert_eq!(machine.files(), before, "{entry}");
        let gone = machine.run(json!({"state": "absent"})).unwrap();
        assert!(!gone.changed);
        assert_eq!(machine.files(), before, "{entry}");
    }
}

#[test]
fn what_was_edited_since_is_told_and_not_taken_away() {
    let machine = Machine::new();
    machine.run(json!({"sysctl": {"kernel.shmmax": "5"}})).unwrap();
    machine.write(SETTINGS, "kernel.shmmax = 6\nkernel.shmall = 7\n");
    let gone = machine.run(json!({"state": "absent"})).unwrap();
    assert_eq!(gone.output.kept.len(), 2, "the file, and the folder that was made for it");
    assert_eq!(machine.read(SETTINGS), "kernel.shmmax = 6\nkernel.shmall = 7\n");
    let again = machine.run(json!({"sysctl": {"kernel.shmmax": "5"}})).unwrap();
    assert!(again.warnings[0].contains("was changed since og_host wrote it"), "{:?}", again.warnings);
    // Names that the call does not have stay.
    let text = machine.read(SETTINGS);
    assert!(text.contains("kernel.shmmax = 5\n") && text.contains("kernel.shmall = 7\n"), "{text}");
}

#[test]
fn a_setting_that_somebody_else_changed_is_not_set_back() {
    let machine = Machine::new();
    machine.run(json!({"sysctl": {"kernel.shmmax": "5"}})).unwrap();
    machine.write("proc/sys/kernel/shmmax", "9\n");
    machine.run(json!({"state": "absent"})).unwrap();
    assert_eq!(machine.read("proc/sys/kernel/shmmax"), "9\n");
    assert!(!machine.path(record::FOLDER).exists());
}

#[test]
fn a_setting_that_the_kernel_does_not_have_is_refused_before_anything_is_changed() {
    let machine = Machine::new();
    let before = machine.files();
    let args = json!({"sysctl": {"kernel.none": "5"}, "directories": [{"path": "/gauss"}]});
    assert_eq!(machine.run(args).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(machine.files(), before);
}

#[test]
fn a_run_that_ends_anywhere_is_finished_or_taken_away_by_the_next() {
    let undisturbed = {
        let machine = Machine::new();
        machine.run_as(&at_node(), everything()).unwrap();
        (machine.root.path().to_owned(), machine.files())
    };
    // The record has the paths in it, but no times.
    let below = |root: &Path, files: BTreeMap<PathBuf, (u32, Vec<u8>)>| -> Vec<_> {
        let text = |own: (u32, Vec<u8>)| (own.0, String::from_utf8_lossy(&own.1).into_owned());
        files
            .into_iter()
            .map(|(path, own)| (path.strip_prefix(root).unwrap().to_owned(), text(own)))
            .collect()
    };
    let wanted_files = below(&undisturbed.0, undisturbed.1);
    let mut steps = 1;
    for end in 0.. {
        if end > steps {
            break;
        }
        for removed in [false, true] {
            let machine = Machine::new();
            let call = at_node();
            let before: Vec<PathBuf> = machine.files().into_keys().collect();
            let args: Args = serde_json::from_value(everything()).unwrap();
            let wanted = Wanted::from_args(&args, &call).unwrap();
            let tree = machine.tree();
            block_on(async {
                let lock = HostLock::acquire(&tree, &call).await.unwrap();
                let mut plan = plan(&Present::read(&tree, &wanted).unwrap(), &wanted).unwrap();
                steps = plan.steps.len();
                let mut record = plan.record.clone();
                plan.steps.iter().for_each(|step| record.begin(step));
                record.write(&lock.folder).unwrap();
                // Here it is killed: nothing is written any more.
                plan.steps.truncate(end);
                carry_out(&call, (&tree, &lock.folder), &plan, &mut record, &mut Vec::new()).await.unwrap();
            });
            if removed {
                let gone = machine.run(json!({"state": "absent"})).unwrap();
                assert_eq!(gone.output.kept, [], "after {end} steps");
                assert_eq!(machine.files().into_keys().collect::<Vec<_>>(), before, "after {end} steps");
            } else {
                machine.run_as(&call, everything()).unwrap();
                assert_eq!(below(machine.root.path(), machine.files()), wanted_files, "after {end} steps");
            }
        }
    }
    assert!(steps > 10, "{steps}");
}

#[test]
fn two_calls_keep_each_other_out() {
    let machine = Machine::new();
    let mut call = Call::default();
    call.common.lock_timeout = Some(0);
    let _held = block_on(HostLock::acquire(&machine.tree(), &call)).unwrap();
    let error = machine.run_as(&call, json!({"directories": [{"path": "/gauss"}]})).unwrap_err();
    assert_eq!((error.kind(), error.failure().reason), (ErrorKind::Busy, Some(Reason::LockHeld)));
    assert!(!machine.path("gauss").exists());
}

#[test]
fn no_link_is_followed_where_somebody_else_may_write() {
    if !is_root() {
        return;
    }
    let machine = Machine::new();
    let user = User::from_name(USER).unwrap().unwrap();
    machine.folder("home");
    machine.folder("precious");
    chown(machine.path("home"), Some(user.uid.as_raw()), None).unwrap();
    symlink("/precious", machine.path("home/link")).unwrap();
    symlink("/precious", machine.path("trusted")).unwrap();
    let directory = |path: &str, owner: &str| json!({"directories": [{"path": path, "owner": owner}]});
    for path in ["/home/link/data", "/home/link"] {
        let error = machine.run(directory(path, USER)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{path}");
        assert!(error.to_string().contains("symbolic link"), "{error}");
    }
    // In a folder of another user nothing is made, be it without links.
    assert_eq!(machine.run(directory("/home/data", "root")).unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(fs::read_dir(machine.path("precious")).unwrap().count(), 0);
    // His own may be made there, and root's own links are followed.
    machine.run(directory("/home/a/b", USER)).unwrap();
    let made = fs::metadata(machine.path("home/a/b")).unwrap();
    assert_eq!((made.uid(), made.mode() & 0o7777), (user.uid.as_raw(), 0o700));
    assert_eq!(fs::metadata(machine.path("home/a")).unwrap().uid(), user.uid.as_raw());
    machine.run(directory("/trusted/data", USER)).unwrap();
    assert_eq!(fs::metadata(machine.path("precious/data")).unwrap().uid(), user.uid.as_raw());
    // A link that he puts in the place of a folder that was made is not followed when it is taken away.
    fs::remove_dir(machine.path("home/a/b")).unwrap();
    fs::remove_dir(machine.path("home/a")).unwrap();
    symlink("/precious", machine.path("home/a")).unwrap();
    machine.folder("precious/b");
    let gone = machine.run(json!({"state": "absent"})).unwrap();
    assert!(machine.path("precious/b").is_dir() && machine.path("home/a").is_symlink());
    assert!(!machine.path("precious/data").exists());
    assert_eq!(gone.output.kept.len(), 2, "{:?}", gone.output.kept);
}

#[test]
fn the_record_and_the_files_are_in_folders_of_root_alone() {
    for (folder, args) in [
        ("var/lib", json!({"directories": [{"path": "/gauss"}]})),
        ("etc/sysctl.d", json!({"sysctl": {"kernel.shmmax": "5"}})),
    ] {
        let machine = Machine::new();
        machine.folder(folder);
        fs::set_permissions(machine.path(folder), fs::Permissions::from_mode(0o777)).unwrap();
        let before = machine.files();
        let error = machine.run(args).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{folder}");
        assert!(error.to_string().contains("somebody else than root may write"), "{error}");
        assert_eq!(machine.files(), before, "{folder}");
    }
}

#[test]
fn a_directory_that_is_there_stays_as_it_is() {
    let machine = Machine::new();
    machine.folder("gauss/data");
    fs::set_permissions(machine.path("gauss/data"), fs::Permissions::from_mode(0o755)).unwrap();
    let own = Uid::effective().is_root();
    let report = machine.run(json!({"directories": [{"path": "/gauss/data", "mode": "0700"}]})).unwrap();
    assert!(!report.changed);
    assert!(report.warnings[0].contains("it stays as it is"), "{:?}", report.warnings);
    assert!(!own || report.warnings[0].contains("mode 0755"), "{:?}", report.warnings);
    // One that was made and is in use by now stays when the rest goes.
    machine.run(json!({"directories": [{"path": "/gauss/more/dn1"}]})).unwrap();
    machine.write("gauss/more/dn1/PG_VERSION", "9.2\n");
    let gone = machine.run(json!({"state": "absent"})).unwrap();
    assert_eq!(gone.output.kept.len(), 2, "{:?}", gone.output.kept);
    assert!(machine.path("gauss/more/dn1/PG_VERSION").exists());
}

#[test]
fn remove_ipc_is_set_where_systemd_would_remove_it() {
    let machine = Machine::new();
    machine.run(json!({"remove_ipc": false})).unwrap();
    assert!(machine.read(LOGIND).ends_with("[Login]\nRemoveIPC=no\n"));
    assert!(!machine.run(json!({"remove_ipc": false})).unwrap().changed);
}

fn present() -> Present {
    let user = UserFacts { uid: 1001, gid: 1001, home: "/home/omm".into() };
    Present {
        users: BTreeMap::from([("omm".to_owned(), user)]),
        groups: BTreeMap::from([("omm".to_owned(), 1001), ("dbgrp".to_owned(), 1002)]),
        most_open_files: Some(1 << 20),
        ..Present::default()
    }
}

fn omm(uid: Option<u32>) -> Wanted {
    let user = UserWish { name: "omm".to_owned(), uid, home: None, shell: "/bin/bash".into() };
    Wanted { user: Some(user), ..Wanted::default() }
}

#[test]
fn a_user_that_is_there_is_told_and_not_changed() {
    let group = Some(GroupWish { name: "dbgrp".to_owned(), gid: Some(7) });
    let plan = plan(&present(), &Wanted { group, ..omm(Some(1005)) }).unwrap();
    assert_eq!(plan.steps, []);
    assert_eq!(
        plan.warnings,
        [
            "the group dbgrp has the number 1002, not 7; it stays as it is",
            "the user omm has the number 1001, not 1005; the main group 1001, not dbgrp; it stays as it is"
        ]
    );
}

#[test]
fn a_missing_user_is_made_after_its_group_and_before_its_directories() {
    let mut there = present();
    there.users.clear();
    there.groups.clear();
    let path = PathBuf::from("/gauss/data");
    let missing = vec![PathBuf::from("/gauss"), path.clone()];
    there.directories.insert(path.clone(), DirectoryFacts::Missing { missing, untrusted: vec![] });
    let directory = Directory { path: path.clone(), owner: Some("omm".to_owned()), group: None, mode: 0o700 };
    let group = Some(GroupWish { name: "dbgrp".to_owned(), gid: None });
    let wanted = Wanted { group, directories: vec![directory.clone(), directory], ..omm(None) };
    let plan = plan(&there, &wanted).unwrap();
    let steps: Vec<String> = plan.steps.iter().map(Step::action).collect();
    assert_eq!(
        steps,
        [
            "make the group dbgrp",
            "make the user omm",
            "make the directory /gauss (owner root, mode 0755)",
            "make the directory /gauss/data (owner omm, mode 0700)"
        ]
    );
}

#[test]
fn a_limit_with_which_nobody_could_log_in_is_refused() {
    let limits = BTreeMap::from([("nofile".to_owned(), "2000000".to_owned())]);
    let wanted = Wanted { limits, ..omm(None) };
    assert_eq!(plan(&present(), &wanted).unwrap_err().kind(), ErrorKind::Refused);
    let raised = BTreeMap::from([("fs.nr_open".to_owned(), "2000000".to_owned())]);
    let mut there = present();
    there.settings.insert("fs.nr_open".to_owned(), "1048576".to_owned());
    plan(&there, &Wanted { settings: raised, ..wanted }).unwrap();
}

/// A machine on which og_host made the user.
fn with_own_user(id: Option<u32>) -> Present {
    let mut record = Record::default();
    record.users.insert("omm".to_owned(), id);
    Present { record, ..present() }
}

#[test]
fn a_user_goes_only_when_og_host_made_it_and_its_name_confirms_it() {
    let removed = |present: &Present, confirm| {
        plan_removal(present, confirm).map(|plan| {
            let is_removed = plan.steps.contains(&Step::RemoveUser { name: "omm".to_owned() });
            assert_ne!(is_removed, plan.kept.iter().any(|kept| kept.name == "omm"), "{plan:?}");
            is_removed
        })
    };
    let own = with_own_user(Some(1001));
    assert_eq!(removed(&own, Some("omm")), Ok(true));
    assert_eq!(removed(&own, None), Ok(false));
    // A number that is another one's, or was never written down.
    assert_eq!(removed(&with_own_user(Some(1005)), Some("omm")), Ok(false));
    assert_eq!(removed(&with_own_user(None), Some("omm")), Ok(false));
    let kind = |present: &Present, confirm| plan_removal(present, confirm).map_err(|e| e.kind()).map(drop);
    assert_eq!(kind(&present(), Some("omm")), Err(ErrorKind::Refused));
    let mut busy = own.clone();
    busy.processes = vec![Process { pid: 7, uid: 1001, name: "bash".to_owned() }];
    assert_eq!(kind(&busy, Some("omm")), Err(ErrorKind::Refused));
    // Somebody who is only logged in keeps nothing else.
    assert_eq!(kind(&busy, None), Ok(()));
}

#[test]
fn nothing_goes_while_a_server_runs_for_which_it_was_made() {
    let mut there = present();
    there.record.prepared.insert("omm".to_owned());
    there.record.files.insert(SETTINGS.into(), MadeFile::default());
    there.processes = vec![Process { pid: 7, uid: 1001, name: "gaussdb".to_owned() }];
    let error = plan_removal(&there, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("pid 7"), "{error}");
    there.processes[0].uid = 1002;
    plan_removal(&there, None).unwrap();
}

#[test]
fn what_a_file_or_a_program_of_the_system_would_misread_is_refused() {
    let machine = Machine::new();
    for args in [
        json!({"user": "root"}),
        json!({"user": "-m"}),
        json!({"user": "omm\nroot"}),
        json!({"user": "../omm"}),
        json!({"user": "Omm"}),
        json!({"group": "a:b"}),
        json!({"user": "omm", "home": "relative"}),
        json!({"user": "omm", "home": "/home/a:b"}),
        json!({"user": "omm", "shell": "/bin/sh\n"}),
        json!({"directories": [{"path": "/"}]}),
        json!({"directories": [{"path": "/a/../b"}]}),
        json!({"directories": [{"path": "/a", "mode": "0799"}]}),
        json!({"directories": [{"path": "/a", "mode": "17777"}]}),
        json!({"limits": {"nofile": 1}}),
        json!({"user": "omm", "limits": {"nofiles": 1}}),
        json!({"user": "omm", "limits": {"nofile": "unlimited"}}),
        json!({"user": "omm", "limits": {"nproc": "1\nroot - nproc 1"}}),
        json!({"sysctl": {"kernel.sem\n": "1"}}),
        json!({"sysctl": {"kernel/sem": "1"}}),
        json!({"sysctl": {"kernel..sem": "1"}}),
        json!({"sysctl": {"kernel.sem": "1\nkernel.core_pattern = x"}}),
        json!({"sysctl": {"kernel.sem": ""}}),
        json!({"unit": true}),
        json!({"user": "omm", "unit": true}),
        json!({"state": "absent", "confirm": "root"}),
    ] {
        let error = machine.run(args.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadArgs, "{args}: {error}");
    }
    let mut call = Call::default();
    for path in ["/gauss/\nUser=root", "relative", "/a/../b"] {
        call.common.data_dir = Some(path.into());
        let error = machine.run_as(&call, json!({"user": "omm", "unit": true})).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadArgs, "{path}");
    }
    assert!(!machine.path(record::FOLDER).exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a name or value is made of, it is refused or stands in its line as it is.
    #[test]
    fn a_setting_is_one_line(name in "[a-z./\n= -]{1,12}", value in "\\PC{0,12}|[\\x00-\\x7f]{0,8}") {
        let machine = Machine::new();
        let args = Args { sysctl: BTreeMap::from([(name.clone(), value)]), ..serde_json::from_value(json!({})).unwrap() };
        if Wanted::from_args(&args, &Call::default()).is_ok() {
            machine.write(present::setting_file(&name), "0\n");
            block_on(run_in(&machine.tree(), &Call::default(), &args)).unwrap();
            let text = machine.read(SETTINGS);
            prop_assert_eq!(text.lines().count(), 2);
            let lines: Vec<_> = text.lines().filter_map(plan::parse_setting).collect();
            prop_assert_eq!(lines, [(name, wanted::normalize(args.sysctl.values().next().unwrap()))]);
        }
    }
}
