#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use og_common::protocol::{Call, Common, ErrorKind};

use super::*;
use crate::args::{Args, Content, ObstacleKind, PeerChannel, PeerFacts};
use crate::present::mounts_in;

/// Stands for gs_initdb: it keeps its arguments and its input, makes what is looked for, or fails as gs_initdb does.
const PROGRAM: &str = "#!/bin/bash\n\
    home=$(dirname \"$0\")/..; printf '%s\\n' \"$@\" > \"$home/args\"; env > \"$home/env\"; cat > \"$home/input\"\n\
    dir=$2; [ -z \"$(ls -A \"$dir\")\" ] || { echo 'exists but is not empty' >&2; exit 1; }\n\
    if [ -e \"$home/weak\" ]; then echo 'passwd must contain at least eight characters'; \
    echo \"gs_initdb: removing contents of data directory \\\"$dir\\\"\"; exit 1; fi\n\
    mkdir -p \"$dir/global\" \"$dir/base/1\"; echo 9.2 > \"$dir/PG_VERSION\"\n\
    [ -e \"$home/half\" ] && kill -9 $$\n\
    { printf 12345678; head -c 8184 /dev/zero; } > \"$dir/global/pg_control\"\n\
    echo \"pgxc_node_name = '${3#*=}'\" > \"$dir/postgresql.conf\"\n";

struct Place {
    root: tempfile::TempDir,
    call: Call,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("home/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("gs_initdb"), PROGRAM).unwrap();
        fs::set_permissions(bin.join("gs_initdb"), fs::Permissions::from_mode(0o755)).unwrap();
        let common =
            Common { gauss_home: Some(root.path().join("home")), lock_timeout: Some(0), ..Common::default() };
        let mut call = Call::default();
        (call.common, call.switched) = (common, true);
        Self { root, call }
    }

    fn data_dir(&self) -> PathBuf {
        self.root.path().join("data/dn1")
    }

    fn home(&self, name: &str) -> PathBuf {
        self.root.path().join("home").join(name)
    }

    fn present(&self) -> Present {
        Present::read(&self.data_dir())
    }

    fn make(&self) -> Result<Report<Output>, Error> {
        let args = Args { password: Some("Secret@123".to_owned()), ..wanted() };
        block_on(make(&self.call, &self.data_dir(), &args))
    }

    fn remove(&self, args: &Args) -> Result<Report<Output>, Error> {
        block_on(remove(&self.call, &self.data_dir(), args))
    }

    fn database(&self, conf: &str) -> PathBuf {
        let dir = self.data_dir();
        fs::create_dir_all(dir.join("global")).unwrap();
        fs::write(dir.join("PG_VERSION"), "9.2\n").unwrap();
        fs::write(dir.join("global/pg_control"), vec![1; 8192]).unwrap();
        fs::write(dir.join("postgresql.conf"), conf).unwrap();
        dir
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.path().join("data")).unwrap().flatten();
        let mut names: Vec<String> = entries.map(|e| e.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn wanted() -> Args {
    Args {
        node_name: Some("dn_6001".to_owned()),
        locale: "C".to_owned(),
        encoding: "UTF8".to_owned(),
        ..Args::default()
    }
}

fn absent() -> Args {
    Args { state: State::Absent, ..Args::default() }
}

fn deleted(confirm: &str) -> Args {
    Args { mode: Mode::Deleted, confirm: Some(confirm.to_owned()), ..absent() }
}

fn kinds(present: &Present) -> Vec<ObstacleKind> {
    present.obstacles.iter().map(|obstacle| obstacle.kind).collect()
}

#[test]
fn a_data_directory_is_made_once_and_the_password_goes_to_standard_input_alone() {
    let place = Place::new();
    let report = place.make().unwrap();
    assert!(report.changed);
    assert_eq!(report.output.directory.content, Content::Database);
    assert_eq!(report.output.directory.name.as_deref(), Some("dn_6001"));
    assert!(report.output.directory.made, "no server ran in it");
    assert_eq!(place.names(), [".dn1.og_initdb", "dn1"]);
    assert_eq!(fs::metadata(place.data_dir()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::read_to_string(place.home("input")).unwrap(), "Secret@123\n");
    for seen in ["args", "env"] {
        assert!(!fs::read_to_string(place.home(seen)).unwrap().contains("Secret@123"), "{seen}");
    }
    let again = place.make().unwrap();
    assert!(!again.changed && again.warnings.is_empty(), "{again:?}");
    let other = Args { node_name: Some("dn_6002".to_owned()), ..wanted() };
    let other = block_on(make(&place.call, &place.data_dir(), &other)).unwrap();
    assert!(!other.changed && other.warnings[0].contains("is dn_6001, not dn_6002"), "{other:?}");
}

#[test]
fn of_a_password_file_the_first_line_counts_and_others_shall_not_read_it() {
    let place = Place::new();
    let file = place.home("password");
    fs::write(&file, "Secret@456\n\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let args = Args { password_file: Some(file.clone()), ..wanted() };
    let report = block_on(make(&place.call, &place.data_dir(), &args)).unwrap();
    assert_eq!(fs::read_to_string(place.home("input")).unwrap(), "Secret@456\n");
    assert!(report.warnings[0].contains("has the mode 644"), "{report:?}");
    fs::write(&file, "\n").unwrap();
    fs::remove_dir_all(place.data_dir()).unwrap();
    let error = block_on(make(&place.call, &place.data_dir(), &args)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadArgs);
    assert!(!place.data_dir().exists());
}

#[test]
fn a_query_tells_what_is_wrong_with_a_password_file_and_not_what_is_in_it() {
    let place = Place::new();
    let file = place.home("password");
    let told = |file: &Path| {
        let args = Args { state: State::Query, password_file: Some(file.to_owned()), ..Args::default() };
        let report = inspect(&place.data_dir(), &args);
        assert_eq!(report.output.directory.content, Content::Missing);
        report.output.password_problem.unwrap_or_default()
    };
    assert!(told(&file).contains("no such file") && told(&file).contains("write the password into it"));
    assert!(told(Path::new("password")).contains("must be an absolute path"));
    assert!(told(place.root.path()).contains("is not a regular file"));
    fs::write(&file, "\nSecret@456\n").unwrap();
    assert!(told(&file).ends_with("password, which is the password, is empty"), "{}", told(&file));
    fs::write(&file, "Secret@456\n").unwrap();
    assert_eq!(told(&file), "");
    let without = Args { state: State::Query, ..Args::default() };
    assert_eq!(inspect(&place.data_dir(), &without).output.password_problem, None);
}

#[test]
fn check_mode_makes_nothing() {
    let mut place = Place::new();
    place.call.check = true;
    assert!(place.make().unwrap().changed);
    assert!(!place.root.path().join("data").exists());
}

#[test]
fn what_gs_initdb_says_of_its_failure_is_told_and_nothing_is_left() {
    let place = Place::new();
    fs::write(place.home("weak"), "").unwrap();
    let error = place.make().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CommandFailed);
    assert_eq!(error.failure().detail, "gs_initdb failed: passwd must contain at least eight characters");
    assert_eq!(place.names(), [""; 0]);
}

#[test]
fn a_failure_in_a_folder_that_was_there_leaves_no_mark() {
    let place = Place::new();
    fs::create_dir_all(place.data_dir()).unwrap();
    fs::write(place.home("weak"), "").unwrap();
    place.make().unwrap_err();
    assert_eq!(place.names(), ["dn1"]);
    // What is put there now is somebody else's.
    fs::create_dir_all(place.data_dir().join("base/1")).unwrap();
    fs::remove_file(place.home("weak")).unwrap();
    assert_eq!(place.make().unwrap_err().kind(), ErrorKind::Refused);
    assert!(place.data_dir().join("base/1").exists());
}

#[test]
fn only_what_a_killed_gs_initdb_leaves_is_taken_for_unfinished() {
    let place = Place::new();
    let begin = || {
        drop(fs::remove_dir_all(place.root.path().join("data")));
        fs::write(place.home("half"), "").unwrap();
        place.make().unwrap_err();
        fs::remove_file(place.home("half")).unwrap();
        assert_eq!(place.present().directory.content, Content::Unfinished);
        place.data_dir()
    };
    let put = |name: &str, size: usize| {
        let dir = begin();
        let file = dir.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, vec![1; size]).unwrap();
        let error = place.make().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{name}: {error}");
        assert!(file.exists(), "{name}");
    };
    // A database system; a base backup that is being copied, of which pg_control comes last; a tablespace.
    begin();
    place.database("");
    let error = place.make().unwrap_err();
    assert!(error.to_string().contains("holds a database system by now"), "{error}");
    for name in ["backup_label", "base/16384/PG_VERSION", "pg_tblspc/16385", "gs_build.pid"] {
        put(name, 8192);
    }
    // What would be emptied with the rest: another node's data, and what a link leads to.
    put("pg_location/dn2/global/pg_control", 8192);
    let dir = begin();
    fs::create_dir(dir.join("pg_xlog")).unwrap();
    symlink(place.root.path(), dir.join("pg_xlog/out")).unwrap();
    assert!(place.make().unwrap_err().to_string().contains("leads out of the data directory"));
    assert!(dir.join("PG_VERSION").exists());
}

#[test]
fn what_is_made_is_known_until_a_server_runs_or_another_database_is_there() {
    let place = Place::new();
    place.make().unwrap();
    let (dir, made) = (place.data_dir(), || place.present().directory.made);
    let control = dir.join("global/pg_control");
    let own = fs::read(&control).unwrap();
    fs::write(&control, vec![2; 8192]).unwrap();
    assert!(!made(), "a backup was restored, or a build copied the primary");
    fs::write(&control, own).unwrap();
    assert!(made());
    fs::write(dir.join("postmaster.opts"), "x").unwrap();
    assert!(!made());
}

#[test]
fn a_folder_without_a_database_system_is_no_database() {
    let place = Place::new();
    let dir = place.database("");
    for (name, content) in [("global/pg_control", vec![0; 8192]), ("global/pg_control", vec![1; 3])] {
        fs::write(dir.join(name), content).unwrap();
        assert_eq!(place.present().directory.content, Content::Other);
        assert_eq!(place.make().unwrap_err().kind(), ErrorKind::Refused);
        assert_eq!(place.remove(&absent()).unwrap_err().kind(), ErrorKind::Refused);
    }
}

#[test]
fn a_folder_within_another_data_directory_is_neither_made_nor_removed() {
    let mut place = Place::new();
    let outer = place.root.path().join("data");
    fs::create_dir_all(outer.join("global")).unwrap();
    fs::write(outer.join("PG_VERSION"), "9.2\n").unwrap();
    let error = place.make().unwrap_err();
    assert!(error.to_string().contains("lies in another data directory"), "{error}");
    place.call.check = true;
    assert_eq!(place.make().unwrap_err().kind(), ErrorKind::Refused);
    place.call.check = false;
    let dir = place.database("application_name = 'dn_6002'\n");
    for args in [absent(), deleted("dn_6002")] {
        assert!(place.remove(&args).unwrap_err().to_string().contains("lies in another data directory"));
    }
    assert!(dir.exists());
    // By a link, too.
    let link = place.root.path().join("link");
    symlink(&outer, &link).unwrap();
    assert!(present::enclosing_directory_obstacle(&link.join("dn9/deep")).is_some());
}

#[test]
fn what_a_killed_run_left_is_begun_again() {
    let place = Place::new();
    fs::write(place.home("half"), "").unwrap();
    place.make().unwrap_err();
    assert_eq!(place.present().directory.content, Content::Unfinished);
    assert_eq!(place.present().directory.name.as_deref(), Some("dn_6001"));
    fs::remove_file(place.home("half")).unwrap();
    let report = place.make().unwrap();
    assert_eq!(report.actions.len(), 2, "{report:?}");
    assert!(!place.make().unwrap().changed);
}

#[test]
fn another_run_at_work_is_not_disturbed() {
    let place = Place::new();
    fs::create_dir(place.root.path().join("data")).unwrap();
    let mark = mark::mark_path(&place.data_dir());
    let held = block_on(MarkLock::acquire(&mark, &place.call)).unwrap();
    assert_eq!(place.make().unwrap_err().kind(), ErrorKind::Busy);
    drop(held);
    assert!(place.make().unwrap().changed);
}

#[test]
fn a_mark_of_another_folder_or_of_a_database_that_ran_does_not_count() {
    let place = Place::new();
    fs::write(place.home("half"), "").unwrap();
    place.make().unwrap_err();
    let dir = place.data_dir();
    // Somebody put a backup in the place of what was begun.
    fs::rename(&dir, place.root.path().join("aside")).unwrap();
    place.database("application_name = 'dn_6001'\n");
    assert_eq!(place.present().directory.content, Content::Database);
    assert!(!place.make().unwrap().changed);
    fs::remove_dir_all(&dir).unwrap();
    fs::rename(place.root.path().join("aside"), &dir).unwrap();
    assert_eq!(place.present().directory.content, Content::Unfinished);
    // Somebody finished it, and its server ran.
    place.database("");
    let mut state = vec![0; 72];
    state[0] = 1;
    fs::write(dir.join("gaussdb.state"), state).unwrap();
    assert_eq!(place.present().directory.content, Content::Database);
    assert_eq!(place.make().unwrap().actions.len(), 1, "only the mark goes");
    assert!(dir.join("PG_VERSION").exists() && !mark::mark_path(&dir).exists());
}

#[test]
fn a_folder_with_something_else_is_refused() {
    let place = Place::new();
    fs::create_dir_all(place.data_dir().join("lost+found")).unwrap();
    let error = place.make().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("it has lost+found"), "{error}");
    assert_eq!(place.remove(&absent()).unwrap_err().kind(), ErrorKind::Refused);
    assert!(place.data_dir().join("lost+found").exists());
}

#[test]
fn names_that_gs_initdb_would_cut_or_quote_are_refused() {
    let of =
        |name: &str| plan(&Present::default(), &Args { node_name: Some(name.to_owned()), ..wanted() }, 0);
    for name in ["", "dn_6001_6002_6003_6004_6005", "dn'1", "dn 1", "d\u{fc}"] {
        assert_eq!(of(name).unwrap_err().kind(), ErrorKind::BadArgs, "{name}");
    }
    assert_eq!(of("dn_6001_6002_6003_6004").unwrap(), Plan::Initialise { clear: false });
}

#[test]
fn a_data_directory_is_moved_aside_with_all_it_holds() {
    let mut place = Place::new();
    let dir = place.database("application_name = 'dn_6002'\npgxc_node_name = 'dn_6001'\n");
    let listing = place.present().with_listing(&[]).listing;
    assert_eq!(listing.len(), 1);
    assert!(listing[0].path == dir && listing[0].why.contains("data_dir of dn_6002"), "{listing:?}");
    place.call.check = true;
    assert!(place.remove(&absent()).unwrap().changed && dir.exists());
    place.call.check = false;
    let report = place.remove(&absent()).unwrap();
    let moved = report.output.moved_to.unwrap();
    assert!(moved.file_name().unwrap().to_str().unwrap().starts_with("dn1.moved-20"), "{}", moved.display());
    assert!(moved.join("postgresql.conf").exists() && !dir.exists());
    assert!(!place.remove(&absent()).unwrap().changed);
}

#[test]
fn nothing_is_deleted_without_the_nodes_name() {
    let place = Place::new();
    let dir = place.database("application_name = 'dn_6002'\n");
    let without = Args { confirm: None, ..deleted("") };
    for args in [without, deleted("dn_6001"), deleted("dn_600"), deleted("DN_6002")] {
        let error = place.remove(&args).unwrap_err();
        assert_eq!((error.kind(), error.failure().path.as_deref()), (ErrorKind::Refused, Some("/confirm")));
    }
    fs::write(dir.join("postgresql.conf"), "").unwrap();
    assert_eq!(place.remove(&deleted("")).unwrap_err().kind(), ErrorKind::Refused);
    fs::write(dir.join("postgresql.conf"), "application_name = dn_6002\n").unwrap();
    assert!(place.remove(&deleted("dn_6002")).unwrap().changed);
    assert_eq!(place.names(), [""; 0]);
    assert!(!place.remove(&deleted("dn_6002")).unwrap().changed);
}

#[test]
fn a_deletion_that_was_broken_off_is_finished() {
    let place = Place::new();
    let rest = place.root.path().join("data/.dn1.og_deleted-1795254187");
    let other = place.root.path().join("data/.dn1.og_deleted-old");
    for dir in [&rest, &other] {
        fs::create_dir_all(dir.join("base")).unwrap();
    }
    assert!(!place.remove(&absent()).unwrap().changed, "what is moved keeps all");
    let report = place.remove(&deleted("dn_6002")).unwrap();
    assert_eq!(report.actions, [format!("delete {}", rest.display())]);
    assert!(!rest.exists() && other.exists());
}

#[test]
fn what_is_left_of_a_deletion_stays_where_something_is_mounted_in_it() {
    let rest = PathBuf::from("/gauss/data/.dn1.og_deleted-1");
    let left = Present { half_deleted: vec![rest.clone()], ..Present::default() };
    let done = plan(&left, &deleted("dn_6001"), 7);
    assert_eq!(done.unwrap(), Plan::Delete { aside: None, rest: vec![rest] });
    let mounted = Present { obstacles: mounts_in(Path::new("/proc")), ..left };
    assert_eq!(plan(&mounted, &deleted("dn_6001"), 7).unwrap_err().kind(), ErrorKind::Refused);
    // Where it is only moved, it stays anyway.
    assert_eq!(plan(&mounted, &absent(), 7).unwrap(), Plan::Nothing);
}

#[test]
fn each_thing_that_speaks_against_a_removal_is_found() {
    let place = Place::new();
    let dir = place.database("application_name = 'dn_6002'\n");
    let found = || kinds(&place.present().with_listing(&[]));
    assert_eq!(found(), []);
    // Inside, and so going along.
    fs::create_dir_all(dir.join("pg_location/ts")).unwrap();
    fs::create_dir_all(dir.join("pg_tblspc")).unwrap();
    symlink(dir.join("pg_location/ts"), dir.join("pg_tblspc/16384")).unwrap();
    fs::create_dir_all(dir.join("pg_rewind_bak/global")).unwrap();
    fs::write(dir.join("pg_rewind_bak/global/pg_control"), "").unwrap();
    assert_eq!(found(), []);
    let elsewhere = place.root.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink("../../../elsewhere", dir.join("pg_tblspc/16385")).unwrap();
    symlink(place.root.path().join("gone"), dir.join("pg_tblspc/16386")).unwrap();
    assert_eq!(found(), [ObstacleKind::Link, ObstacleKind::Link]);
    fs::create_dir_all(dir.join("dn2/global")).unwrap();
    fs::write(dir.join("dn2/global/pg_control"), "").unwrap();
    assert_eq!(found(), [ObstacleKind::Link, ObstacleKind::Link, ObstacleKind::OtherData]);
    let error = place.remove(&deleted("dn_6002")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("dn2 is a data directory of its own"), "{error}");
    assert!(elsewhere.exists() && dir.exists());
    let link = place.root.path().join("data/link");
    symlink(&dir, &link).unwrap();
    assert!(kinds(&Present::read(&link).with_listing(&[])).contains(&ObstacleKind::Link));
    // The system's own mount points, of which no test can make one without root.
    assert_eq!(kinds_at("/proc"), [ObstacleKind::NoDatabase]);
}

fn kinds_at(path: &str) -> Vec<ObstacleKind> {
    kinds(&Present::read(Path::new(path)).with_listing(&[]))
}

#[test]
fn mount_points_at_a_folder_and_below_it_are_known() {
    assert!(present::mount_points(Path::new("/")).unwrap().contains(&PathBuf::from("/proc")));
    assert!(present::mount_points(Path::new("/proc")).unwrap().contains(&PathBuf::from("/proc")));
    let place = Place::new();
    assert_eq!(present::mount_points(place.root.path()).unwrap(), [""; 0].map(PathBuf::from));
}

#[test]
fn a_channel_of_another_node_keeps_the_data_directory() {
    let place = Place::new();
    place.database("application_name = 'dn_6002'\nport = 26000\n");
    let Some(own) = og_common::replconn::addresses().first().map(ToString::to_string) else {
        eprintln!("skipped: this machine has no address");
        return;
    };
    let peer = |host: &str, port| PeerFacts {
        name: Some("dn_6001".to_owned()),
        channels: vec![PeerChannel { number: 2, remote_host: host.to_owned(), remote_port: port }],
        ..PeerFacts::default()
    };
    let with = |peer: PeerFacts| Args { peers: vec![peer], ..absent() };
    let error = place.remove(&with(peer(&own, 26001))).unwrap_err();
    assert!(
        error.to_string().contains("dn_6001 has a replication channel to this node, replconninfo2"),
        "{error}"
    );
    // A name that leads to this machine, and one of which nobody knows where it leads.
    for (host, told) in
        [("localhost", "replication channel to this node"), ("no-such-host.invalid", "cannot be told")]
    {
        let error = place.remove(&with(peer(host, 26001))).unwrap_err();
        assert!(error.to_string().contains(told), "{host}: {error}");
        assert_eq!(kinds(&place.present().with_listing(&[peer(host, 36001)])), []);
    }
    let own_directory = ServerNode::new(place.data_dir()).identity().directory;
    let mut same = peer(&own, 26001);
    same.identity.directory = own_directory;
    assert_eq!(kinds(&place.present().with_listing(&[same])), []);
    assert_eq!(kinds(&place.present().with_listing(&[peer(&own, 36001), peer("192.0.2.7", 26001)])), []);
    assert!(place.remove(&with(peer("192.0.2.7", 26001))).unwrap().changed);
}
