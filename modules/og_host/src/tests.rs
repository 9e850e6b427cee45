#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};
use og_common::protocol::{Call, ErrorKind, Reason};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::apply::{carry_out, groupdel_kept_reason};
use crate::args::ItemKind;
use crate::plan::{LOGIND, NR_OPEN, SETTINGS, Step, limits_file};
use crate::present::{DirectoryFacts, Process, UserFacts};
use crate::record::{MadeFile, MadeSetting, Record};
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
    json!({"user": USER, "recommended": true, "base_ports": [40000],
        "limits": {"memlock": "unlimited"}, "sysctl": {"kernel.shmmax": 4_000_000}, "directories": [{"path": "/gauss/data", "owner": "root"}]})
}

#[test]
fn what_is_made_is_there_and_a_second_call_changes_nothing() {
    let machine = Machine::new();
    let call = Call::default();
    let before = machine.files();
    let mut check = Call::default();
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
    assert_eq!(machine.read("proc/sys/kernel/sem"), "250 6400000 1000 25600\n");
    assert_eq!(machine.read("proc/sys/kernel/shmmax"), "4000000\n");
    // Without systemd nobody reads it.
    assert!(!machine.path(LOGIND).exists());
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
    machine.run_as(&Call::default(), everything()).unwrap();
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
fn what_was_edited_since_is_somebody_elses() {
    let machine = Machine::new();
    machine.run(json!({"sysctl": {"kernel.shmmax": "5"}})).unwrap();
    machine.write(SETTINGS, "kernel.shmmax = 6\nkernel.shmall = 7\n");
    let error = machine.run(json!({"sysctl": {"kernel.shmmax": "5"}})).unwrap_err();
    assert_eq!(error.failure().reason, Some(Reason::ForeignFile));
    let gone = machine.run(json!({"state": "absent"})).unwrap();
    assert_eq!(gone.output.kept.len(), 2, "the file, and the folder that was made for it");
    assert_eq!(machine.read(SETTINGS), "kernel.shmmax = 6\nkernel.shmall = 7\n");
}

#[test]
fn an_empty_value_is_written_to_the_kernel_in_one_call_that_is_not_empty() {
    /// As files of /proc/sys are: each call is a value of its own, and one without bytes is none.
    struct Setting(Vec<Vec<u8>>);
    impl std::io::Write for Setting {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            assert!(!bytes.is_empty());
            self.0.push(bytes.to_vec());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    for (value, written) in [("", "\n"), ("40000-40005", "40000-40005\n")] {
        let mut setting = Setting(Vec::new());
        crate::apply::write_value(&mut setting, value).unwrap();
        assert_eq!(setting.0, [written.as_bytes()]);
    }
}

#[test]
fn a_failure_leaves_no_more_in_the_record_than_what_was_made() {
    let machine = Machine::new();
    machine.write("proc/sys/kernel/shmmax", "1\n");
    machine.run(json!({"sysctl": {"kernel.shmmax": "5"}})).unwrap();
    // The second step fails: a folder stands where the setting was.
    let wanted = Wanted::from_args(
        &serde_json::from_value(json!({"sysctl": {"kernel.sem": "1 2 3 4",
        "kernel.shmmax": "6"}, "remove_ipc": false}))
        .unwrap(),
    )
    .unwrap();
    let tree = machine.tree();
    block_on(async {
        let call = Call::default();
        let lock = HostLock::acquire(&tree, &call).await.unwrap();
        let plan = plan(&Present::read(&tree, &wanted).unwrap(), &wanted).unwrap();
        fs::remove_file(machine.path("proc/sys/kernel/shmmax")).unwrap();
        fs::create_dir(machine.path("proc/sys/kernel/shmmax")).unwrap();
        apply(&call, &tree, &lock, &plan).await.unwrap_err();
    });
    let record = Record::read(&tree.trusted_folder(Path::new(record::FOLDER)).unwrap()).unwrap();
    assert_eq!(record.files.keys().collect::<Vec<_>>(), [Path::new(SETTINGS)]);
    assert_eq!(record.files[Path::new(SETTINGS)].pending, None);
    assert_eq!(record.reload, None);
    let made = &record.settings["kernel.shmmax"];
    assert_eq!((&*made.before, made.value.as_deref(), made.pending.as_deref()), ("1", Some("5"), Some("6")));
    // What it had got from us before is set back.
    fs::remove_dir(machine.path("proc/sys/kernel/shmmax")).unwrap();
    machine.write("proc/sys/kernel/shmmax", "5\n");
    machine.run(json!({"state": "absent"})).unwrap();
    assert_eq!(machine.read("proc/sys/kernel/shmmax"), "1\n");
    assert_eq!(machine.read("proc/sys/kernel/sem"), "250 32000 100 128\n");
    assert!(!machine.path(record::FOLDER).exists());
}

#[test]
fn a_record_that_others_could_have_written_or_that_names_what_og_host_never_makes_is_refused() {
    let machine = Machine::new();
    machine.folder("var/lib/opengauss-node");
    let file = "var/lib/opengauss-node/host.json";
    for (mode, record) in [
        (0o666, json!({"version": 1})),
        (0o644, json!({"version": 1, "files": {"/etc/shadow": {"sha256": "0"}}})),
        (0o644, json!({"version": 1, "files": {"/etc/security/limits.d/90-opengauss-node-../x.conf": {}}})),
        (0o644, json!({"version": 1, "directories": ["/gauss/../etc"]})),
        (0o644, json!({"version": 1, "users": {"root": 0}})),
        (0o644, json!({"version": 1, "settings": {"kernel/../x": {"before": "1", "value": "2"}}})),
    ] {
        machine.write(file, &record.to_string());
        fs::set_permissions(machine.path(file), fs::Permissions::from_mode(mode)).unwrap();
        let error = machine.run(json!({"state": "absent"})).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{record}");
    }
}

#[test]
fn what_a_killed_call_left_under_a_temporary_name_goes_with_the_rest() {
    let machine = Machine::new();
    let before = machine.files();
    let mut record = Record::default();
    for path in [PathBuf::from(SETTINGS), limits_file(USER)] {
        record.directories.push(path.parent().unwrap().to_owned());
        machine.write(path.with_file_name(tree::temporary_name(path.file_name().unwrap())), "half");
        record.files.insert(path, MadeFile { pending: Some("0".to_owned()), ..MadeFile::default() });
    }
    machine.folder("var/lib/opengauss-node");
    record.write(&machine.tree().trusted_folder(Path::new(record::FOLDER)).unwrap()).unwrap();
    machine.write("var/lib/opengauss-node/.host.json.og_tmp", "half");
    let gone = machine.run(json!({"state": "absent"})).unwrap();
    assert_eq!(gone.output.kept, []);
    assert_eq!(machine.files(), before);
}

#[test]
fn limits_that_other_files_give_are_not_lowered() {
    let machine = Machine::new();
    machine.write(
        "proc/1/limits",
        "Max stack size            unlimited            unlimited            bytes\n",
    );
    machine.write(
        "etc/security/limits.conf",
        "* - nofile 5\nnobody hard nproc unlimited\n* soft as unlimited\n* hard as unlimited\n",
    );
    machine.write("etc/security/limits.d/20-more.conf", "nobody - nofile 1040000 # enough\n* - nofile 7\n");
    machine.run(json!({"user": USER, "recommended": true})).unwrap();
    let text = machine.read(limits_file(USER));
    assert_eq!(text.lines().skip(1).collect::<Vec<_>>(), ["nobody - nproc unlimited"]);
    // One that is given is set, and what that lowers or does not count is told.
    machine.write("etc/security/limits.d/99-more.conf", "nobody soft nproc 100\n");
    let told = machine.run(json!({"user": USER, "limits": {"nofile": 1000, "nproc": 200}})).unwrap();
    assert!(
        told.warnings.iter().any(|one| one.contains("nofile of nobody is lowered")),
        "{:?}",
        told.warnings
    );
    assert!(told.warnings.iter().any(|one| one.contains("99-more.conf sets nproc")), "{:?}", told.warnings);
}

#[test]
fn a_setting_that_another_file_sets_later_is_told() {
    let machine = Machine::new();
    machine.write("etc/sysctl.d/99-site.conf", "kernel.shmmax = 7\n");
    machine.write("etc/sysctl.d/10-site.conf", "kernel.shmall = 7\n");
    let told = machine.run(json!({"sysctl": {"kernel.shmmax": "5", "kernel.shmall": "6"}})).unwrap();
    assert_eq!(told.warnings.len(), 1, "{:?}", told.warnings);
    assert!(told.warnings[0].contains("/etc/sysctl.d/99-site.conf sets kernel.shmmax to 7"));
}

/// The changes that the call would make.
fn foreseen(machine: &Machine, args: Value) -> Result<Vec<String>, Error> {
    let mut call = Call::default();
    call.check = true;
    machine.run_as(&call, args).map(|report| report.actions)
}

#[test]
fn a_unit_is_written_and_enabled_and_goes_with_the_rest() {
    let machine = Machine::new();
    let wanted = || json!({"user": USER, "unit": {"data_dir": "/gauss/dn1"}});
    // Both are needed: systemd, and the program that the unit runs.
    assert_eq!(foreseen(&machine, wanted()).unwrap_err().kind(), ErrorKind::Refused);
    machine.folder("run/systemd/system");
    assert_eq!(foreseen(&machine, wanted()).unwrap_err().kind(), ErrorKind::NotFound);
    machine.write("usr/bin/og_node_state", "");
    fs::set_permissions(machine.path("usr/bin/og_node_state"), fs::Permissions::from_mode(0o755)).unwrap();
    let (name, file) =
        ("opengauss-node-gauss-dn1.service", "/etc/systemd/system/opengauss-node-gauss-dn1.service");
    let link = format!("etc/systemd/system/multi-user.target.wants/{name}");
    let made = foreseen(&machine, wanted()).unwrap();
    let (write, enable) = (format!("write {file}"), format!("enable {name}"));
    assert_eq!(made.last_chunk(), Some(&[write, enable.clone()]), "{made:?}");
    // As a run leaves it that was killed before it was enabled.
    let args: Args = serde_json::from_value(wanted()).unwrap();
    let content = unit::Unit::new(&args.unit.unwrap(), USER)
        .unwrap()
        .content(Path::new("/usr/bin/og_node_state"), &BTreeMap::new());
    machine.write(file, &content);
    let sha256 = Some(og_common::files::sha256_of_bytes(content.as_bytes()));
    let made = MadeFile { sha256, pending: None };
    let mut record = Record::default();
    record.files.insert(file.into(), made);
    write_record(&machine, &record);
    assert_eq!(foreseen(&machine, wanted()).unwrap(), [enable]);
    machine.folder("etc/systemd/system/multi-user.target.wants");
    symlink(file, machine.path(&link)).unwrap();
    assert_eq!(foreseen(&machine, wanted()).unwrap(), [""; 0]);
    // As a run leaves it that was killed after it had written it anew.
    let text = machine.read(format!("{}/{}", record::FOLDER, record::FILE));
    write_pending(&machine, file, &record);
    let reload = "have systemd read its units".to_owned();
    assert_eq!(foreseen(&machine, wanted()).unwrap(), [reload]);
    machine.write(format!("{}/{}", record::FOLDER, record::FILE), &text);
    // Other paths are another content, which systemd has to read.
    let other = json!({"user": USER, "unit": {"data_dir": "/gauss/dn1", "env_file": "/e"}});
    assert_eq!(
        foreseen(&machine, other).unwrap(),
        [format!("write {file} anew"), "have systemd read its units".to_owned()]
    );
    assert_eq!(
        foreseen(&machine, json!({"state": "absent"})).unwrap(),
        [format!("disable {name}"), format!("remove {file}"), "have systemd read its units".to_owned()]
    );
    // One that was edited is somebody's own.
    machine.write(file, "[Service]\n");
    assert_eq!(foreseen(&machine, wanted()).unwrap_err().failure().reason, Some(Reason::ForeignFile));
    assert_eq!(foreseen(&machine, json!({"state": "absent"})).unwrap(), [""; 0]);
}

/// Writes the record as of a run that was about to write this file, and had done it.
fn write_pending(machine: &Machine, file: &str, record: &Record) {
    let mut record = record.clone();
    if let Some(made) = record.files.get_mut(Path::new(file)) {
        made.pending = made.sha256.clone();
    }
    write_record(machine, &record);
}

#[test]
fn a_unit_without_a_user_is_refused() {
    let error = Machine::new().run(json!({"unit": {"data_dir": "/gauss/dn1"}})).unwrap_err();
    assert_eq!((error.kind(), error.failure().path.as_deref()), (ErrorKind::BadArgs, Some("/user")));
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
        machine.run_as(&Call::default(), everything()).unwrap();
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
            let call = Call::default();
            let before: Vec<PathBuf> = machine.files().into_keys().collect();
            let args: Args = serde_json::from_value(everything()).unwrap();
            let wanted = Wanted::from_args(&args).unwrap();
            let tree = machine.tree();
            block_on(async {
                let lock = HostLock::acquire(&tree, &call).await.unwrap();
                let mut plan = plan(&Present::read(&tree, &wanted).unwrap(), &wanted).unwrap();
                steps = plan.steps.len();
                let mut record = plan.record.clone();
                plan.steps.iter().for_each(|step| record.begin(step, ""));
                record.write(&lock.folder).unwrap();
                // Here it is killed: nothing is written any more.
                plan.steps.truncate(end);
                carry_out(&call, (&tree, &lock), &plan, &mut record, &mut 0, &mut Vec::new()).await.unwrap();
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
    assert!(steps > 8, "{steps}");
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
        homes: "/home".into(),
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

#[test]
fn what_lies_in_the_home_directory_of_a_user_to_be_made_comes_after_it() {
    let mut there = present();
    there.users.clear();
    there.groups.clear();
    let (home, path) = (PathBuf::from("/srv/home/omm"), PathBuf::from("/srv/home/omm/data"));
    let ways = ["/srv/home", "/srv/home/omm", "/srv/home/omm/data"].map(PathBuf::from);
    for (at, missing) in [(&home, &ways[..2]), (&path, &ways[..])] {
        let facts = DirectoryFacts::Missing { missing: missing.to_vec(), untrusted: vec![] };
        there.directories.insert(at.clone(), facts);
    }
    let user =
        UserWish { name: "omm".to_owned(), uid: None, home: Some(home.clone()), shell: "/bin/bash".into() };
    let directory = |owner: Option<&str>| Directory {
        path: path.clone(),
        owner: owner.map(str::to_owned),
        group: None,
        mode: 0o700,
    };
    let wanted =
        |owner| Wanted { user: Some(user.clone()), directories: vec![directory(owner)], ..Wanted::default() };
    let planned = plan(&there, &wanted(Some("omm"))).unwrap();
    let steps: Vec<String> = planned.steps.iter().map(Step::action).collect();
    assert_eq!(
        steps,
        [
            "make the group omm",
            "make the directory /srv/home (owner root, mode 0755)",
            "make the user omm",
            "make the directory /srv/home/omm/data (owner omm, mode 0700)"
        ]
    );
    assert_eq!(plan(&there, &wanted(None)).unwrap_err().kind(), ErrorKind::Refused);
    // useradd goes as root where somebody else may write no more than mkdir does.
    let untrusted = vec![crate::tree::Untrusted { path: "/srv".into(), uid: 1005, mode: 0o755 }];
    there.directories.insert(home, DirectoryFacts::Missing { missing: ways[..2].to_vec(), untrusted });
    assert_eq!(plan(&there, &wanted(Some("omm"))).unwrap_err().kind(), ErrorKind::Refused);
}

#[test]
fn the_memory_that_is_kept_free_is_not_raised_under_a_server() {
    let mut there = present();
    there.memory = Some(8 << 30);
    there.settings.insert("vm.min_free_kbytes".to_owned(), "67584".to_owned());
    there.processes = vec![Process { pid: 7, uid: 1005, name: "gaussdb".to_owned() }];
    let planned = plan(&there, &Wanted { recommended: true, ..Wanted::default() }).unwrap();
    assert!(planned.steps.iter().all(|step| !matches!(step, Step::Set { .. })), "{:?}", planned.steps);
    assert!(planned.steps.iter().any(|step| matches!(step, Step::WriteFile { .. })));
    assert!(planned.warnings[0].contains("until the machine restarts"), "{:?}", planned.warnings);
}

#[test]
fn the_kernel_is_not_set_to_promise_less_memory_than_it_has_promised() {
    let mut there = present();
    let made = MadeSetting { before: "2".to_owned(), value: Some("0".to_owned()), ..MadeSetting::default() };
    there.record.settings.insert("vm.overcommit_memory".to_owned(), made);
    there.settings.insert("vm.overcommit_memory".to_owned(), "0".to_owned());
    let restored = |there: &Present| !plan_removal(there, None).unwrap().steps.is_empty();
    for (committed, expected) in [(None, false), (Some((9, 8)), false), (Some((8, 9)), true)] {
        there.committed = committed;
        assert_eq!(restored(&there), expected, "{committed:?}");
    }
    there.committed = Some((9, 8));
    let settings = BTreeMap::from([("vm.overcommit_memory".to_owned(), "2".to_owned())]);
    assert_eq!(
        plan(&there, &Wanted { settings, ..Wanted::default() }).unwrap_err().kind(),
        ErrorKind::Refused
    );
    // One that is there is left alone.
    there.settings.insert("vm.overcommit_memory".to_owned(), "2".to_owned());
    assert_eq!(plan(&there, &Wanted { recommended: true, ..Wanted::default() }).unwrap().steps, []);
}

#[test]
fn what_cannot_be_set_here_is_refused_where_it_was_asked_for_and_else_told() {
    let read_only = |name: &str| present::is_read_only(&PathBuf::from("/").join(present::setting_file(name)));
    // Root may write nothing into it, whatever its mode says of root.
    assert!(read_only("kernel.ostype"));
    let there = Present {
        read_only_settings: ["kernel.sem".to_owned()].into(),
        settings: [("kernel.sem", "1 2 3 4"), ("kernel.shmmax", "1")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        memory: Some(8 << 30),
        ..present()
    };
    let settings = BTreeMap::from([("kernel.sem".to_owned(), "250 6400000 1000 25600".to_owned())]);
    let limits = BTreeMap::from([("nofile".to_owned(), "1000".to_owned())]);
    let asked = Wanted { limits: limits.clone(), settings, ..omm(None) };
    let error = plan(&there, &asked).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("kernel.sem = 250"), "{error}");
    // One that is as it should be needs no writing.
    let same = BTreeMap::from([("kernel.sem".to_owned(), "1 2 3 4".to_owned())]);
    plan(&there, &Wanted { settings: same, ..omm(None) }).unwrap();
    let advised = plan(&there, &Wanted { recommended: true, limits, ..omm(None) }).unwrap();
    assert!(advised.warnings[0].contains("kernel.sem = 250"), "{:?}", advised.warnings);
    let set: Vec<_> = advised.steps.iter().filter(|step| matches!(step, Step::Set { .. })).collect();
    assert!(matches!(set[..], [Step::Set { name, .. }] if name == "kernel.shmmax"), "{set:?}");
    assert!(
        advised
            .steps
            .iter()
            .any(|step| matches!(step, Step::WriteFile { path, .. } if *path == limits_file("omm")))
    );
}

#[test]
fn systemd_logind_is_not_restarted_under_sessions_of_the_user() {
    let mut there = Present { has_systemd: true, ..present() };
    let wanted = Wanted { remove_ipc: Some(false), ..omm(None) };
    let reloads = |there: &Present| plan(there, &wanted).unwrap().steps.contains(&Step::RestartLogind);
    assert!(reloads(&there));
    there.processes = vec![Process { pid: 7, uid: 1001, name: "bash".to_owned() }];
    assert!(!reloads(&there));
}

#[test]
fn a_group_that_was_there_before_does_not_go_with_its_user() {
    let mut own = with_own_user(Some(1001));
    own.record.groups.insert("omm".to_owned(), Some(1001));
    let steps = |present: &Present| plan_removal(present, Some("omm")).unwrap().steps;
    let (user, group) =
        (Step::RemoveUser { name: "omm".to_owned() }, Step::RemoveGroup { name: "omm".to_owned() });
    assert_eq!(steps(&own), [user, group]);
    own.record.groups.clear();
    assert_eq!(steps(&own), []);
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
    let mut own = with_own_user(Some(1001));
    own.record.groups.insert("omm".to_owned(), Some(1001));
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
fn a_user_whom_a_killed_run_was_making_is_known_for_ours_when_a_later_run_names_him() {
    let mut there = with_own_user(None);
    there.record.groups.insert("omm".to_owned(), None);
    let planned = plan(&there, &omm(None)).unwrap();
    assert_eq!(planned.steps, []);
    assert_eq!((planned.record.users["omm"], planned.record.groups["omm"]), (Some(1001), Some(1001)));
    // One that is otherwise than useradd would have made him is somebody else's.
    let kept = |change: &dyn Fn(&mut Present), wanted: &Wanted| {
        let mut there = there.clone();
        change(&mut there);
        plan(&there, wanted).unwrap().record.users["omm"]
    };
    assert_eq!(kept(&|_| (), &omm(Some(1005))), None);
    let other_group = |there: &mut Present| there.groups.extend([("omm".to_owned(), 7)]);
    assert_eq!(kept(&other_group, &omm(None)), None);
    assert_eq!(kept(&|there| there.homes = "/srv".into(), &omm(None)), None);
    let group = Some(GroupWish { name: "dbgrp".to_owned(), gid: None });
    assert_eq!(kept(&|_| (), &Wanted { group: group.clone(), ..omm(None) }), None);
    let in_group = |there: &mut Present| there.users.get_mut("omm").unwrap().gid = 1002;
    assert_eq!(kept(&in_group, &Wanted { group, ..omm(None) }), Some(1001));
    // The group alone was made.
    let mut alone = there.clone();
    alone.users.clear();
    assert_eq!(plan(&alone, &omm(None)).unwrap().record.groups["omm"], Some(1001));
    // Not named in the call, or recorded with another uid: the record stays as it is.
    assert_eq!(kept(&|_| (), &Wanted::default()), None);
    assert_eq!(plan(&with_own_user(Some(1005)), &omm(None)).unwrap().record.users["omm"], Some(1005));
    // One who was removed by hand, and is made again by a run that is killed.
    let mut record = with_own_user(Some(1005)).record;
    let (name, group, home) = ("omm".to_owned(), "omm".to_owned(), "/home/omm".into());
    record.begin(&Step::AddUser { name, uid: None, group, home, shell: "/bin/bash".into() }, "");
    assert_eq!(record.users["omm"], None);
}

#[test]
fn what_stays_is_told_in_few_words() {
    let mut there = with_own_user(Some(1001));
    for name in ["omm", "dbgrp"] {
        there.record.groups.insert(name.to_owned(), there.groups.get(name).copied());
    }
    let found = |names: &[&str]| DirectoryFacts::Found {
        uid: 0,
        gid: 0,
        mode: 0o755,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        untrusted: vec![],
    };
    for (path, names) in [
        ("/gauss", &["app", "data"][..]),
        ("/gauss/app", &["a", "b", "c", "d"]),
        ("/gauss/data", &["dn1.moved-20260101T000000Z"]),
    ] {
        there.record.directories.push(path.into());
        there.directories.insert(path.into(), found(names));
    }
    let told = |there: &Present| {
        let planned = plan_removal(there, None).unwrap();
        (planned.kept.len(), plan::kept_warnings(&planned.kept))
    };
    let user = "the user omm and its group stay; og_host with state: absent and confirm: omm removes them";
    let data = "/gauss/data (it has dn1.moved-20260101T000000Z)";
    assert_eq!(
        told(&there),
        (
            5,
            vec![
                format!("not empty, and left there: {data}, /gauss/app (it has a, b, c and 1 more)"),
                user.to_owned()
            ]
        )
    );
    // What will be gone by then keeps nothing.
    there.leaving = ["a", "b", "c", "d"].map(|name| Path::new("/gauss/app").join(name)).into();
    assert_eq!(told(&there), (4, vec![format!("not empty, and left there: {data}"), user.to_owned()]));
    there.users.get_mut("omm").unwrap().gid = 1002;
    assert!(told(&there).1[1].starts_with("the user omm and the group dbgrp stay;"), "{:?}", told(&there));
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
    // Settings of the kernel, limits and RemoveIPC are those of all servers, whoever runs them.
    there.processes[0].uid = 1002;
    assert_eq!(plan_removal(&there, None).unwrap_err().failure().reason, Some(Reason::ServerRuns));
    there.record.files.clear();
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
        json!({"user": "omm", "limits": {"NOFILE": 1000}}),
        json!({"user": "omm", "limits": {"nofile": "+1000"}}),
        json!({"user": "omm", "limits": {"nofile": 10}}),
        json!({"user": "omm", "limits": {"maxlogins": 0}}),
        json!({"sysctl": {"fs.nr_open": "0x100000"}}),
        json!({"sysctl": {"fs.nr_open": 2_147_483_648_u64}}),
        json!({"sysctl": {"kernel.shmmax": "0x10"}}),
        json!({"sysctl": {"kernel.sem": "250 010 1 1"}}),
        json!({"sysctl": {"kernel.sem\n": "1"}}),
        json!({"sysctl": {"kernel/sem": "1"}}),
        json!({"sysctl": {"kernel..sem": "1"}}),
        json!({"sysctl": {"kernel.sem": "1\nkernel.core_pattern = x"}}),
        json!({"sysctl": {"kernel.sem": ""}}),
        json!({"state": "absent", "confirm": "root"}),
    ] {
        let error = machine.run(args.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadArgs, "{args}: {error}");
    }
    assert!(!machine.path(record::FOLDER).exists());
}

fn texts<const N: usize>(all: [(&str, &str); N]) -> BTreeMap<String, String> {
    all.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

#[test]
fn the_kernels_bound_of_open_files_is_not_set_below_a_limit_that_somebody_has() {
    let args = json!({"sysctl": {"fs.nr_open": 65536}, "directories": [{"path": "/gauss"}]});
    for (file, line) in [
        ("etc/security/limits.conf", "root hard NOFILE 100000"),
        ("etc/security/limits.d/90-opengauss-node-omm.conf", "omm - nofile 1000000"),
    ] {
        let machine = Machine::new();
        machine.write(file, &format!("{line}\n* - nofile 1000\n* - nofile unlimited\n"));
        let before = machine.files();
        let error = machine.run(args.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{line}");
        assert!(error.to_string().contains(file), "{error}");
        assert_eq!(machine.files(), before);
    }
    let machine = Machine::new();
    machine.write("etc/security/limits.conf", "* - nofile 65536\nomm - nofile 99999999\n");
    machine.run(args).unwrap();
    // Set back it would be below a limit of ours that somebody has edited.
    let machine = Machine::new();
    machine
        .run(json!({"user": USER, "limits": {"nofile": 2_000_000}, "sysctl": {"fs.nr_open": 2_000_000}}))
        .unwrap();
    machine.write(limits_file(USER), "nobody - nofile 1999999\n");
    let gone = machine.run(json!({"state": "absent"})).unwrap();
    assert!(gone.output.kept.iter().any(|one| one.name == "fs.nr_open"), "{:?}", gone.output.kept);
    assert_eq!(machine.read("proc/sys/fs/nr_open"), "2000000\n");
}

#[test]
fn a_limit_of_open_files_is_never_above_the_kernels_not_even_between_two_steps() {
    let steps = |seen: &str, from: &str, to: &str, bound: &str| {
        let machine = Machine::new();
        machine.write("proc/sys/fs/nr_open", &format!("{seen}\n"));
        let limits = |files: &str, bound: &str| json!({"user": USER, "limits": {"nofile": files}, "sysctl": {"fs.nr_open": bound}});
        machine.run(limits(from, seen)).unwrap();
        let done = machine.run(limits(to, bound)).unwrap().actions;
        let at = |text: &str| done.iter().position(|action| action.contains(text)).unwrap();
        at("set fs.nr_open") < at("limits.d")
    };
    assert!(steps("1048576", "1000", "2000000", "2000000"), "first the bound, then the limit");
    assert!(!steps("1048576", "1000000", "1000", "65536"), "first the limit, then the bound");
}

#[test]
fn what_the_kernel_gives_after_a_restart_bounds_open_files_too() {
    let limits = texts([("nofile", "2000000")]);
    let asks = |there: &Present, settings| {
        plan(there, &Wanted { limits: limits.clone(), settings, ..omm(None) }).map(drop)
    };
    let set = |value: &str| (NR_OPEN.to_owned(), value.to_owned());
    let mut there = present();
    there.settings.extend([set("3000000")]);
    there.most_open_files = Some(3_000_000);
    let error = asks(&there, BTreeMap::new()).unwrap_err();
    assert!(error.to_string().contains("after a restart"), "{error}");
    // A file sets it, be it ours; or systemd does when the machine starts.
    asks(&there, [set("3000000")].into()).unwrap();
    asks(&Present { earlier_settings: [set("3000000")].into(), ..there.clone() }, BTreeMap::new()).unwrap();
    asks(&Present { most_open_files: Some(1_073_741_816), ..there.clone() }, BTreeMap::new()).unwrap();
    let later = |value: &str| {
        BTreeMap::from([(NR_OPEN.to_owned(), (PathBuf::from("/etc/sysctl.conf"), value.to_owned()))])
    };
    asks(&Present { later_settings: later("1048576"), ..there.clone() }, [set("3000000")].into())
        .unwrap_err();
    // Where it cannot be set it does not count.
    there.most_open_files = Some(1 << 20);
    there.settings.extend([set("1048576")]);
    asks(&there, [set("3000000")].into()).unwrap();
    there.read_only_settings.insert(NR_OPEN.to_owned());
    asks(&there, [set("3000000")].into()).unwrap_err();
}

#[test]
fn a_limit_that_our_file_has_by_now_counts_as_one_that_is_given() {
    let machine = Machine::new();
    machine.run(json!({"user": USER, "limits": {"nofile": 1_040_000}})).unwrap();
    machine.write("proc/sys/fs/nr_open", "65536\n");
    let error = machine.run(json!({"user": USER, "limits": {"nproc": 1000}})).unwrap_err();
    assert!(error.to_string().contains("nofile would be 1040000"), "{error}");
    machine.run(json!({"user": USER, "limits": {"nproc": 1000, "nofile": 65536}})).unwrap();
}

#[test]
fn a_folder_that_only_looks_like_a_half_made_one_stays_as_it_is() {
    let directory = |mode: &str| json!({"directories": [{"path": "/gauss", "owner": "root", "mode": mode}]});
    let machine = Machine::new();
    machine.run(directory("0700")).unwrap();
    let again = machine.run(directory("0750")).unwrap();
    assert!(!again.changed && again.warnings[0].contains("it stays as it is"), "{again:?}");
    // A run that was killed while it made it, before or after it gave it its mode.
    for (killed, seen) in [("0750", 0o700), ("0750", 0o750), ("0700", 0o500)] {
        let machine = Machine::new();
        machine.folder("gauss");
        fs::set_permissions(machine.path("gauss"), fs::Permissions::from_mode(seen)).unwrap();
        let mut record = Record::default();
        let step = Step::MakeDirectory { path: "/gauss".into(), owner: None, group: None, mode: 0o750 };
        record.begin(&step, "");
        write_record(&machine, &record);
        machine.run(directory(killed)).unwrap();
        let mode = u32::from_str_radix(killed, 8).unwrap();
        assert_eq!(fs::metadata(machine.path("gauss")).unwrap().mode() & 0o7777, mode, "{seen:o}");
        assert_eq!(read_record(&machine).making, [].into());
    }
}

#[test]
fn a_folder_on_the_way_that_a_killed_run_left_half_made_is_finished() {
    let machine = Machine::new();
    machine.folder("gauss/");
    fs::set_permissions(machine.path("gauss"), fs::Permissions::from_mode(0o700)).unwrap();
    let mut record = Record::default();
    let step = Step::MakeDirectory { path: "/gauss".into(), owner: None, group: None, mode: 0o755 };
    record.begin(&step, "");
    write_record(&machine, &record);
    machine.run(json!({"directories": [{"path": "/gauss/data"}, {"path": "/gauss/more"}]})).unwrap();
    // Else nobody but root would come to what is in it.
    assert_eq!(fs::metadata(machine.path("gauss")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(read_record(&machine).making, [].into());
}

fn write_record(machine: &Machine, record: &Record) {
    machine.folder("var/lib/opengauss-node");
    record.write(&machine.tree().trusted_folder(Path::new(record::FOLDER)).unwrap()).unwrap();
}

fn read_record(machine: &Machine) -> Record {
    Record::read(&machine.tree().trusted_folder(Path::new(record::FOLDER)).unwrap()).unwrap()
}

#[test]
fn a_setting_that_a_killed_run_was_to_take_away_is_not_wished_for_again() {
    let set = |leaving| {
        let mut there = present();
        let made = MadeSetting {
            before: "1".to_owned(),
            value: Some("5".to_owned()),
            leaving,
            ..MadeSetting::default()
        };
        there.record.settings.insert("kernel.shmmni".to_owned(), made);
        there.settings = texts([("kernel.shmmni", "5")]);
        let planned = plan(&there, &Wanted { recommended: true, ..Wanted::default() }).unwrap();
        planned
            .steps
            .iter()
            .any(|step| matches!(step, Step::WriteFile { path, .. } if path == Path::new(SETTINGS)))
    };
    assert!(set(false), "a run that was killed while it made the setting had not written the file yet");
    assert!(!set(true));
    let mut record = Record::default();
    record.settings.insert("a.b".to_owned(), MadeSetting::default());
    let old = record.clone();
    let restore = Step::Restore { name: "a.b".to_owned(), value: "1".to_owned() };
    record.begin(&restore, "");
    assert!(record.settings["a.b"].leaving);
    record.abandon(&[restore], &old);
    assert_eq!(record, old);
}

#[test]
fn that_logind_is_still_to_be_restarted_is_kept_until_it_was_or_the_machine_was() {
    let wanted = Wanted { remove_ipc: Some(false), ..omm(None) };
    let mut there = Present { has_systemd: true, boot: "b1".to_owned(), ..present() };
    there.processes = vec![Process { pid: 7, uid: 1001, name: "bash".to_owned() }];
    let planned = plan(&there, &wanted).unwrap();
    let [write] = &planned.steps[..] else { panic!("{:?}", planned.steps) };
    // Sessions run, or the run is killed behind the writing.
    let mut record = planned.record.clone();
    record.begin(write, &planned.boot);
    record.finish(write);
    assert_eq!(record.reload.as_deref(), Some("b1"));
    let Step::WriteFile { content, .. } = write.clone() else { panic!("{write:?}") };
    there.record = record.clone();
    there
        .files
        .insert(LOGIND.into(), tree::Entry::File { content: content.into_bytes(), uid: 0, mode: 0o644 });
    let still = plan(&there, &wanted).unwrap();
    assert_eq!((still.steps.len(), still.record.reload.as_deref(), still.warnings.len()), (0, Some("b1"), 1));
    there.processes.clear();
    assert_eq!(plan(&there, &wanted).unwrap().steps, [Step::RestartLogind]);
    // Another run that ends before it comes to write the file leaves it in the record.
    let mut later = record.clone();
    later.begin(write, "b2");
    later.abandon(std::slice::from_ref(write), &record);
    assert_eq!(later.reload.as_deref(), Some("b1"));
    there.boot = "b2".to_owned();
    let after = plan(&there, &wanted).unwrap();
    assert_eq!((after.steps.len(), after.record.reload), (0, None));
}

#[test]
fn what_somebody_edits_while_a_call_is_at_work_is_not_lost() {
    let machine = Machine::new();
    machine.run(json!({"sysctl": {"kernel.shmmax": "5"}})).unwrap();
    let tree = machine.tree();
    let call = Call::default();
    let theirs = "kernel.shmmax = 6\n";
    let carry = |planned: &Plan| {
        block_on(async {
            let lock = HostLock::acquire(&tree, &call).await.unwrap();
            apply(&call, &tree, &lock, planned).await
        })
    };
    let wanted = |value| Wanted { settings: texts([("kernel.shmmax", value)]), ..Wanted::default() };
    let planned = plan(&Present::read(&tree, &wanted("7")).unwrap(), &wanted("7")).unwrap();
    let removal = plan_removal(&Present::read(&tree, &wanted("7")).unwrap(), None).unwrap();
    machine.write(SETTINGS, theirs);
    assert_eq!(carry(&planned).unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(machine.read(SETTINGS), theirs);
    let kept = carry(&removal).unwrap();
    assert!(kept.iter().any(|one| one.name == SETTINGS && one.why.contains("was changed")), "{kept:?}");
    assert_eq!(machine.read(SETTINGS), theirs);
    // One that was not there when the plan was made.
    let machine = Machine::new();
    let tree = machine.tree();
    let planned = plan(&Present::read(&tree, &wanted("7")).unwrap(), &wanted("7")).unwrap();
    machine.write(SETTINGS, theirs);
    let done = block_on(async {
        let lock = HostLock::acquire(&tree, &call).await.unwrap();
        apply(&call, &tree, &lock, &planned).await
    });
    assert_eq!(done.unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(machine.read(SETTINGS), theirs);
    assert_eq!(fs::read_dir(machine.path("etc/sysctl.d")).unwrap().count(), 1, "no half is left");
}

#[test]
fn a_file_that_sets_remove_ipc_after_ours_is_told() {
    let machine = Machine::new();
    machine.write("etc/systemd/logind.conf.d/95-site.conf", "[Login]\nRemoveIPC=yes\n");
    let told = machine.run(json!({"remove_ipc": false})).unwrap();
    assert!(
        told.warnings[0].contains("/etc/systemd/logind.conf.d/95-site.conf sets RemoveIPC to yes"),
        "{:?}",
        told.warnings
    );
    let told = machine.run(json!({"remove_ipc": true})).unwrap();
    assert_eq!(told.warnings, [""; 0]);
}

#[test]
fn the_programs_of_the_system_hold_the_lock_too() {
    let machine = Machine::new();
    block_on(async {
        let lock = HostLock::acquire(&machine.tree(), &Call::default()).await.unwrap();
        crate::apply::run(&lock, "sh", ["-c", "ls -l /proc/$$/fd | grep -q host.lock"]).await.unwrap();
    });
}

#[test]
fn a_group_that_became_a_users_main_group_stays() {
    let outcome = |rc| og_common::gauss::process::Outcome { rc, ..Default::default() };
    assert!(groupdel_kept_reason(&outcome(8)).unwrap().is_some());
    assert_eq!((groupdel_kept_reason(&outcome(6)), groupdel_kept_reason(&outcome(0))), (Ok(None), Ok(None)));
    assert_eq!(groupdel_kept_reason(&outcome(10)).unwrap_err().kind(), ErrorKind::CommandFailed);
    let mut own = with_own_user(Some(1001));
    own.record.groups.insert("omm".to_owned(), Some(1001));
    own.record.groups.insert("dbgrp".to_owned(), Some(1002));
    own.main_groups = BTreeMap::from([("omm".to_owned(), 1001), ("app".to_owned(), 1002)]);
    let planned = plan_removal(&own, Some("omm")).unwrap();
    assert!(planned.steps.contains(&Step::RemoveGroup { name: "omm".to_owned() }), "{:?}", planned.steps);
    assert!(planned.kept.iter().any(|one| one.name == "dbgrp"), "{:?}", planned.kept);
}

#[test]
fn the_home_directory_that_a_killed_useradd_did_not_come_to_make_is_made() {
    let home = PathBuf::from("/home/omm");
    let found = |uid, mode, names: &[&str]| DirectoryFacts::Found {
        uid,
        gid: uid,
        mode,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        untrusted: vec![],
    };
    let own = Uid::effective().as_raw();
    let missing = DirectoryFacts::Missing { missing: vec![home.clone()], untrusted: vec![] };
    let step =
        Step::MakeDirectory { path: home.clone(), owner: Some("omm".to_owned()), group: None, mode: 0o700 };
    for (facts, begun, expected) in [
        (missing.clone(), true, vec![step.clone()]),
        (found(own, 0, &[]), true, vec![step]),
        (found(own, 0, &["file"]), true, vec![]),
        (found(1001, 0o700, &[]), true, vec![]),
        (missing, false, vec![]),
    ] {
        let mut there = with_own_user(None);
        if begun {
            let add = Step::AddUser {
                name: "omm".to_owned(),
                uid: None,
                group: "omm".to_owned(),
                home: home.clone(),
                shell: "/bin/bash".into(),
            };
            there.record.begin(&add, "");
        }
        there.directories.insert(home.clone(), facts.clone());
        let planned = plan(&there, &omm(None)).unwrap();
        assert_eq!(planned.steps, expected, "{facts:?}");
        assert_eq!(planned.record.making.is_empty(), expected.is_empty());
    }
}

#[test]
fn a_server_that_will_have_ended_counts_in_check_mode_alone() {
    let machine = Machine::new();
    machine.run(json!({"sysctl": {"kernel.shmmax": "5"}})).unwrap();
    let server = |pid: u32| machine.write(format!("proc/{pid}/status"), "Name:\tgaussdb\nUid:\t1\t1\t1\t1\n");
    server(7);
    let mut check = Call::default();
    check.check = true;
    let args = json!({"state": "absent", "ended": [7]});
    assert!(machine.run_as(&check, args.clone()).unwrap().changed);
    let runs = |call: &Call| machine.run_as(call, args.clone()).unwrap_err().failure().reason;
    assert_eq!(runs(&machine.call), Some(Reason::ServerRuns));
    // Another instance on the machine still needs it then.
    server(8);
    assert_eq!(runs(&check), Some(Reason::ServerRuns));
}

#[test]
fn what_og_host_does_not_use_of_the_common_arguments_says_so() {
    let schema = og_common::protocol::args_schema::<Host>();
    let said = |name: &str| schema["properties"][name]["description"].as_str().unwrap().to_owned();
    for name in ["data_dir", "env_file", "gauss_home", "os_user", "if_building"] {
        assert!(said(name).contains("no effect"), "{name}: {}", said(name));
    }
    assert!(!said("lock_timeout").contains("no effect"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a name or value is made of, it is refused or stands in its line as it is.
    #[test]
    fn a_setting_is_one_line(name in prop_oneof!["[a-z./\n= -]{1,12}", "[a-z]{1,4}(\\.[a-z_-]{1,4}){1,2}"], value in "\\PC{0,12}|[\\x00-\\x7f]{0,8}") {
        let machine = Machine::new();
        let args = Args { sysctl: BTreeMap::from([(name.clone(), value)]), ..serde_json::from_value(json!({})).unwrap() };
        if Wanted::from_args(&args).is_ok() {
            machine.write(present::setting_file(&name), "0\n");
            block_on(run_in(&machine.tree(), &Call::default(), &args)).unwrap();
            let text = machine.read(SETTINGS);
            prop_assert_eq!(text.lines().count(), 2);
            let lines: Vec<_> = text.lines().filter_map(plan::parse_setting).collect();
            prop_assert_eq!(lines, [(name, wanted::normalize(args.sysctl.values().next().unwrap()))]);
        }
    }
}
