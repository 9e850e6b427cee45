#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use flate2::write::GzEncoder;
use og_common::protocol::Reason;
use tar::{EntryType, Header};

use super::*;

/// Stands for the server program.
const SERVER: &[u8] = b"#!/bin/sh\necho 'gaussdb (openGauss 6.0.2 build 4db7019a) compiled at 2024-11-27'\n";

/// One entry: path, kind, mode, content or target.
type Entry<'a> = (&'a str, EntryType, u32, &'a [u8]);

fn file<'a>(path: &'a str, content: &'a [u8]) -> Entry<'a> {
    (path, EntryType::Regular, 0o755, content)
}

fn link<'a>(path: &'a str, to: &'a str) -> Entry<'a> {
    (path, EntryType::Symlink, 0o777, to.as_bytes())
}

/// The program files of a server, as a package has them.
fn server(own: &[u8]) -> Vec<Entry<'_>> {
    vec![
        ("./", EntryType::Directory, 0o777, b""),
        ("bin/", EntryType::Directory, 0o755, b""),
        file("./bin/gaussdb", own),
        file("bin/gs_initdb", b"initdb"),
        ("bin/gs_ctl", EntryType::Regular, 0o4777, b"ctl"),
        ("lib/libpq.so.5.5", EntryType::Regular, 0o644, b"library"),
        link("lib/libpq.so", "libpq.so.5.5"),
        ("lib/libpq.so.5", EntryType::Link, 0o644, b"lib/libpq.so.5.5"),
        link("lib/up", "../bin"),
        link("lib/none", "nothing"),
    ]
}

/// An archive of these, with whatever names: the library itself would refuse some.
fn tar(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (path, kind, mode, content) in entries {
        let mut header = Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        if *kind == EntryType::GNUSparse {
            header.as_gnu_mut().unwrap().realsize = *b"00000000000\0";
        }
        let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
        if is_link {
            header.as_gnu_mut().unwrap().linkname[..content.len()].copy_from_slice(content);
        }
        let content: &[u8] = if is_link { b"" } else { content };
        header.set_size(content.len() as u64);
        header.set_cksum();
        out.extend(header.as_bytes());
        out.extend(content);
        out.resize(out.len().div_ceil(512) * 512, 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

struct Place {
    root: tempfile::TempDir,
    check: bool,
    /// Tests may be run by root.
    os_user: Option<String>,
}

impl Place {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), check: false, os_user: Some("root".to_owned()) }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn link(&self) -> PathBuf {
        self.at("app/current")
    }

    fn package(&self, name: &str, content: &[u8]) -> Args {
        fs::write(self.at(name), content).unwrap();
        Args { link: self.link(), package: Some(self.at(name)), ..Args::default() }
    }

    fn call(&self, args: Args) -> Result<Report<Output>, Error> {
        let mut call = Call::default();
        (call.check, call.switched) = (self.check, true);
        call.common.lock_timeout = Some(0);
        call.common.os_user = self.os_user.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Package::run(&call, args))
    }

    fn absent(&self) -> Result<Report<Output>, Error> {
        self.call(Args { state: State::Absent, link: self.link(), ..Args::default() })
    }

    fn absent_by_hash(&self, sha256: &str) -> Result<Report<Output>, Error> {
        let sha256 = Some(sha256.to_owned());
        self.call(Args { state: State::Absent, link: self.link(), sha256, ..Args::default() })
    }

    fn query(&self) -> Result<Report<Output>, Error> {
        self.call(Args { state: State::Query, link: self.link(), ..Args::default() })
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.at("app")).into_iter().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn refused(result: Result<Report<Output>, Error>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    error.to_string()
}

#[test]
fn a_package_is_unpacked_once_and_the_link_leads_to_it() {
    for (name, content) in [
        ("server.tar.bz2", bzip2(&tar(&server(SERVER)))),
        ("server.tar.gz", gzip(&tar(&server(SERVER)))),
        (
            "openGauss-All-6.0.2.tar.gz",
            gzip(&tar(&[
                file("openGauss-OM-6.0.2-x86_64.tar.gz", b"om"),
                file("openGauss-Server-6.0.2-x86_64.tar.bz2", &bzip2(&tar(&server(SERVER)))),
                file("openGauss-Server-6.0.2-x86_64.sha256", b"sum"),
                file("upgrade_sql.tar.gz", b"sql"),
            ])),
        ),
    ] {
        let mut place = Place::new();
        let args = || place.package(name, &content);
        let (first, second, third) = (args(), args(), args());
        place.check = true;
        let foreseen = place.call(first).unwrap();
        assert!(foreseen.changed && !place.at("app").exists(), "{name}");
        place.check = false;
        let done = place.call(second).unwrap();
        assert_eq!(done.actions, foreseen.actions);
        let current = done.output.current.unwrap();
        assert_eq!(current.version.as_deref(), Some("6.0.2"));
        let folder = format!("openGauss-6.0.2-{}", &current.sha256[..8]);
        assert_eq!(place.names(), ["current", "current.env", &folder]);
        assert_eq!(fs::read_link(place.link()).unwrap(), Path::new(&folder));
        let mode = |path: &str| fs::metadata(place.link().join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("bin/gs_ctl"), mode("lib/libpq.so")), (0o755, 0o644), "{name}");
        assert_eq!(fs::read(place.link().join("lib/up/gs_initdb")).unwrap(), b"initdb");
        let shell = format!(". {}/current.env; gaussdb", place.at("app").display());
        let told = Command::new("/bin/sh").args(["-c", &shell]).output().unwrap();
        assert!(String::from_utf8_lossy(&told.stdout).contains("openGauss 6.0.2"), "{told:?}");
        let again = place.call(third).unwrap();
        assert!(!again.changed, "{:?}", again.actions);
        // By its hash alone, when the package itself is gone.
        let known = Args { sha256: Some(current.sha256.clone()), link: place.link(), ..Args::default() };
        assert!(!place.call(known).unwrap().changed);
        assert_eq!(place.query().unwrap().output.current, Some(current));
    }
}

#[test]
fn a_package_tells_its_version_in_a_file() {
    let place = Place::new();
    let mut entries = server(b"no program");
    entries.push(file("version.cfg", b"openGauss-5.0.3\n92.921\n4db7019a\n"));
    let done = place.call(place.package("p", &gzip(&tar(&entries)))).unwrap();
    assert_eq!(done.output.current.unwrap().version.as_deref(), Some("5.0.3"));
}

#[test]
fn what_is_not_known_of_libraries_is_a_warning() {
    let place = Place::new();
    let args = || place.package("p", &gzip(&tar(&server(SERVER))));
    // Of a script ldd does not say.
    for done in [place.call(args()), place.call(args()), place.query()] {
        let done = done.unwrap();
        assert_eq!(done.output.missing_libraries, None);
        assert!(done.warnings[0].contains("not known which libraries"), "{:?}", done.warnings);
    }
    let place = Place::new();
    let real = fs::read("/bin/cat").unwrap();
    let done = place.call(place.package("p", &gzip(&tar(&server(&real))))).unwrap();
    assert_eq!((done.warnings, done.output.missing_libraries), (Vec::new(), Some(Vec::new())));
}

#[test]
fn root_runs_no_program_of_a_package_unless_it_is_named_as_the_user() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: not run by root");
        return;
    }
    let mut place = Place::new();
    let real = fs::read("/bin/cat").unwrap();
    let args = || place.package("p", &gzip(&tar(&server(&real))));
    let (first, second, third) = (args(), args(), args());
    place.os_user = None;
    for check in [true, false] {
        place.check = check;
        assert!(
            refused(place.call(Args {
                link: first.link.clone(),
                package: first.package.clone(),
                ..Args::default()
            }))
            .contains("os_user")
        );
        assert_eq!(place.names(), Vec::<String>::new());
    }
    place.os_user = Some("root".to_owned());
    place.call(second).unwrap();
    place.os_user = None;
    refused(place.call(third));
    let told = place.query().unwrap();
    assert_eq!((told.output.missing_libraries, told.warnings.len()), (None, 1));
    place.absent().unwrap();
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn a_hostile_package_writes_nothing_elsewhere_and_leaves_nothing() {
    let place = Place::new();
    let precious = place.at("precious");
    fs::write(&precious, "text").unwrap();
    let absolute = precious.to_str().unwrap();
    let hostile: &[(&str, Vec<Entry<'_>>)] = &[
        ("absolute", vec![file(absolute, b"x")]),
        ("upwards", vec![file("bin/../../../precious", b"x")]),
        ("absolute link", vec![link("lib/l", absolute)]),
        ("link upwards", vec![link("lib/l", "../../precious")]),
        ("empty link", vec![link("lib/l", "")]),
        ("through a link", vec![link("lib/l", ".."), file("lib/l/x", b"x")]),
        ("file over a link", vec![link("lib/l", "up"), file("lib/l", b"x")]),
        ("links through links", vec![link("lib/d", ".."), link("lib/l", "d/../../precious")]),
        ("links to nowhere and up", vec![link("lib/d", ".."), link("lib/l", "d/none/../../..")]),
        ("a loop", vec![link("lib/a", "b"), link("lib/b", "a")]),
        ("second name elsewhere", vec![("lib/h", EntryType::Link, 0o644, absolute.as_bytes())]),
        ("second name upwards", vec![("lib/h", EntryType::Link, 0o644, b"../precious")]),
        ("second name of a link", vec![("lib/h", EntryType::Link, 0o644, b"lib/libpq.so")]),
        ("device", vec![("dev", EntryType::Char, 0o666, b"")]),
        ("pipe", vec![("pipe", EntryType::Fifo, 0o666, b"")]),
        ("holes", vec![("holes", EntryType::GNUSparse, 0o644, b"")]),
        ("twice", vec![file("bin/gaussdb", b"x")]),
        ("below a file", vec![file("bin/gaussdb/x", b"x")]),
        ("record", vec![file(RECORD, b"{}")]),
    ];
    for (what, more) in hostile {
        let entries = [server(SERVER), more.clone()].concat();
        let message = refused(place.call(place.package("p", &gzip(&tar(&entries)))));
        assert!(message.contains(" holds "), "{what}: {message}");
        assert_eq!(fs::read(&precious).unwrap(), b"text", "{what}");
        assert_eq!(place.names(), Vec::<String>::new(), "{what}");
    }
    let message = refused(place.call(place.package("p", &gzip(&tar(&server(SERVER)[..4])))));
    assert!(message.contains("it has no bin/gs_ctl"), "{message}");
    let nested = gzip(&tar(&server(SERVER)));
    let two = [file("openGauss-1.tar.gz", &nested), file("openGauss-2.tar.gz", &nested)];
    assert!(
        refused(place.call(place.package("p", &gzip(&tar(&two)))))
            .contains("openGauss-1.tar.gz and openGauss-2.tar.gz")
    );
}

#[test]
fn what_is_no_package_or_damaged_is_told() {
    let place = Place::new();
    let whole = gzip(&tar(&server(SERVER)));
    let mut damaged = whole.clone();
    let at = damaged.len() - 6;
    damaged[at] ^= 1;
    let half = &whole[..whole.len() / 2];
    for content in [b"text".as_slice(), b"", half, &damaged, &bzip2(b"no archive")] {
        let error = place.call(place.package("p", content)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert_eq!(place.names(), Vec::<String>::new());
    }
    let args = Args { sha256: Some("0".repeat(64)), ..place.package("p", &whole) };
    assert_eq!(place.call(args).unwrap_err().kind(), ErrorKind::Corrupt);
    let none = Args { package: Some(place.at("none")), link: place.link(), ..Args::default() };
    assert_eq!(place.call(none).unwrap_err().kind(), ErrorKind::NotFound);
    let neither = Args { link: place.link(), ..Args::default() };
    assert_eq!(place.call(neither).unwrap_err().kind(), ErrorKind::BadArgs);
    let pipe = place.at("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let args = Args { package: Some(pipe), link: place.link(), ..Args::default() };
    assert_eq!(place.call(args).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_name_without_end_is_not_read_into_memory() {
    let place = Place::new();
    let name = vec![b'a'; 2 << 20];
    let entries =
        [vec![("././@LongLink", EntryType::GNULongName, 0o644, name.as_slice())], server(SERVER)].concat();
    let error = place.call(place.package("p", &gzip(&tar(&entries)))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("too large"), "{error}");
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn a_package_that_changes_while_it_is_unpacked_is_not_taken() {
    let place = Place::new();
    place.package("p", &gzip(&tar(&server(SERVER))));
    let (package, root) = (place.at("p"), place.at("root"));
    fs::create_dir(&root).unwrap();
    let unpack = |sha256: &str| {
        fs::remove_dir_all(&root).unwrap();
        fs::create_dir(&root).unwrap();
        unpack::unpack(&package, File::open(&package).unwrap(), &root, Arc::default(), sha256)
    };
    let error = unpack(&"0".repeat(64)).unwrap_err();
    assert!(error.to_string().contains("was changed"), "{error}");
    unpack(&files::sha256(File::open(&package).unwrap()).unwrap()).unwrap();
}

#[test]
fn a_package_that_others_can_change_is_taken_by_its_hash_alone() {
    let place = Place::new();
    let args = || place.package("p", &gzip(&tar(&server(SERVER))));
    let first = args();
    let sha256 = files::sha256(File::open(place.at("p")).unwrap()).unwrap();
    fs::set_permissions(place.at("p"), fs::Permissions::from_mode(0o666)).unwrap();
    assert!(refused(place.call(first)).contains("may be written by others"));
    if nix::unistd::geteuid().is_root() {
        let second = args();
        fs::set_permissions(place.at("p"), fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::chown(place.at("p"), Some(12345), None).unwrap();
        assert!(refused(place.call(second)).contains("belongs to uid 12345"));
    }
    place.call(Args { sha256: Some(sha256), ..args() }).unwrap();
}

#[test]
fn what_a_killed_run_left_is_replaced() {
    let place = Place::new();
    let args = place.package("p", &gzip(&tar(&server(SERVER))));
    fs::create_dir_all(place.at("app/.og_package-01234567/bin")).unwrap();
    std::os::unix::fs::symlink("nowhere", place.at("app/.og_package-link")).unwrap();
    // Somebody else's.
    fs::create_dir_all(place.at("app/.og_package-backup/bin")).unwrap();
    place.call(args).unwrap();
    let names = place.names();
    assert_eq!((&*names[0], names.len()), (".og_package-backup", 4), "{names:?}");
}

#[test]
fn another_run_at_work_is_busy() {
    let place = Place::new();
    fs::create_dir(place.at("app")).unwrap();
    let folder = File::open(place.at("app")).unwrap();
    let held = nix::fcntl::Flock::lock(folder, nix::fcntl::FlockArg::LockExclusiveNonblock).unwrap();
    let args = || place.package("p", &gzip(&tar(&server(SERVER))));
    assert_eq!(place.call(args()).unwrap_err().kind(), ErrorKind::Busy);
    drop(held);
    place.call(args()).unwrap();
}

#[test]
fn a_link_that_leads_elsewhere_is_exchanged_only_by_force() {
    let place = Place::new();
    let old = place.call(place.package("old", &gzip(&tar(&server(SERVER))))).unwrap().output.current.unwrap();
    let other = [server(SERVER), vec![file("share/new", b"new")]].concat();
    let new = || place.package("new", &gzip(&tar(&other)));
    assert!(refused(place.call(new())).contains(old.path.to_str().unwrap()));
    assert_eq!(place.names().len(), 3, "nothing was unpacked");
    let done = place.call(Args { force: true, ..new() }).unwrap();
    assert_eq!(done.output.installed.len(), 2);
    assert_eq!(fs::read(place.link().join("share/new")).unwrap(), b"new");
    // What the link does not lead to goes by its hash, and the link stays.
    let gone = place.call(Args {
        state: State::Absent,
        link: place.link(),
        sha256: Some(old.sha256),
        ..Args::default()
    });
    assert_eq!(gone.unwrap().actions.len(), 1);
    assert!(!old.path.exists() && place.link().join("bin/gaussdb").exists());
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let place = Place::new();
    let args = || place.package("p", &gzip(&tar(&server(SERVER))));
    fs::create_dir_all(place.link()).unwrap();
    assert!(refused(place.call(args())).contains("is no symbolic link"));
    fs::remove_dir(place.link()).unwrap();
    fs::write(place.at("app/current.env"), "export A=1\n").unwrap();
    assert!(refused(place.call(args())).contains("not as og_package writes it"));
    fs::remove_file(place.at("app/current.env")).unwrap();
    let done = place.call(args()).unwrap();
    let home = done.output.current.unwrap().path;
    fs::remove_file(place.link()).unwrap();
    fs::remove_file(home.join(RECORD)).unwrap();
    assert!(refused(place.call(args())).contains("did not make it"));
    assert!(home.join("bin/gaussdb").exists());
}

#[test]
fn a_file_for_a_shell_that_somebody_changed_stays() {
    let place = Place::new();
    let args = || place.package("p", &gzip(&tar(&server(SERVER))));
    place.call(args()).unwrap();
    let env = place.at("app/current.env");
    let own = fs::read(&env).unwrap();
    let changed = [&own[..], b"export PGPORT=26000\n"].concat();
    fs::write(&env, &changed).unwrap();
    assert!(refused(place.call(args())).contains("not as og_package writes it"));
    let gone = place.absent().unwrap();
    assert!(gone.warnings[0].contains("current.env stays"), "{:?}", gone.warnings);
    assert_eq!(fs::read(&env).unwrap(), changed);
    assert_eq!(place.names(), ["current.env"]);
    // What was written for a link of another path, as the folder was moved, is written anew.
    fs::write(&env, present::env_text(Path::new("/it's/elsewhere"))).unwrap();
    place.call(args()).unwrap();
    assert_eq!(fs::read(&env).unwrap(), own);
}

#[test]
fn a_record_that_cannot_be_used_is_told_and_a_foreign_one_is_none() {
    let place = Place::new();
    let args = || place.package("p", &gzip(&tar(&server(SERVER))));
    let home = place.call(args()).unwrap().output.current.unwrap().path;
    let text = fs::read_to_string(home.join(RECORD)).unwrap();
    for broken in ["{", &text.replace("bin/gs_ctl", "../gs_ctl")] {
        fs::write(home.join(RECORD), broken).unwrap();
        for result in [place.call(args()), place.absent(), place.query()] {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert!(error.to_string().contains(RECORD), "{error}");
        }
    }
    fs::write(home.join(RECORD), &text).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(place.query().unwrap().output.installed, []);
    fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(place.query().unwrap().output.installed.len(), 1);
}

#[test]
fn a_folder_that_others_may_write_into_is_refused() {
    let place = Place::new();
    let args = place.package("p", &gzip(&tar(&server(SERVER))));
    fs::create_dir(place.at("app")).unwrap();
    fs::set_permissions(place.at("app"), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(refused(place.call(args)).contains("others may write"));
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn a_package_that_finds_no_room_is_refused() {
    let place = Place::new();
    let present = Present::read(&place.link()).unwrap();
    for source in [Source::File(place.at("p"), 1 << 50), Source::Foreseen(1 << 50)] {
        let error = plan_present(&present, &Wanted { sha256: "0".repeat(64), source }, false).unwrap_err();
        assert_eq!(error.failure().reason, Some(Reason::DiskFull));
    }
}

#[test]
fn a_package_that_is_still_to_come_is_foreseen_in_check_mode_alone() {
    let mut place = Place::new();
    let args = |size| Args {
        link: place.link(),
        sha256: Some("0".repeat(64)),
        size: Some(Bytes::new(size)),
        ..Args::default()
    };
    let (small, large, now) = (args(1000), args(1 << 50), args(1000));
    place.check = true;
    let foreseen = place.call(small).unwrap();
    assert_eq!((foreseen.actions.len(), foreseen.output.current), (3, None));
    assert!(refused(place.call(large)).contains("are free"));
    place.check = false;
    assert_eq!(place.call(now).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn only_what_the_record_names_goes() {
    let mut place = Place::new();
    let entries =
        [server(SERVER), vec![("lib/empty/", EntryType::Directory, 0o755, b"".as_slice())]].concat();
    place.call(place.package("p", &gzip(&tar(&entries)))).unwrap();
    let home = fs::canonicalize(place.link()).unwrap();
    let own = home.join("bin/cluster_static_config");
    fs::write(&own, "ours").unwrap();
    // A folder of the package that somebody has replaced by a link.
    let elsewhere = place.at("elsewhere");
    fs::rename(home.join("lib"), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, home.join("lib")).unwrap();
    place.check = true;
    let foreseen = place.absent().unwrap();
    assert!(home.join("bin/gaussdb").exists());
    place.check = false;
    let gone = place.absent().unwrap();
    assert_eq!(gone.actions, foreseen.actions);
    assert!(own.exists() && elsewhere.join("libpq.so.5.5").exists() && !home.join("bin/gaussdb").exists());
    assert!(elsewhere.join("empty").exists());
    assert!(gone.warnings[0].contains("cluster_static_config"), "{:?}", gone.warnings);
    assert!(!place.absent().unwrap().changed);
    assert_eq!(place.names().len(), 1, "{:?}", place.names());
}

#[test]
fn the_record_stays_as_long_as_files_of_the_package_do() {
    let place = Place::new();
    let args = || place.package("p", &gzip(&tar(&server(SERVER))));
    let current = place.call(args()).unwrap().output.current.unwrap();
    let (home, sha256) = (current.path, current.sha256);
    let set = |mode| fs::set_permissions(home.join("lib"), fs::Permissions::from_mode(mode)).unwrap();
    set(0o777);
    let done = place.absent().unwrap();
    assert!(done.changed && done.warnings[0].contains("lib/libpq.so"), "{:?}", done.warnings);
    assert!(
        !home.join("bin").exists() && home.join("lib/libpq.so.5.5").exists() && home.join(RECORD).exists()
    );
    // What is left is told, is no package any more, and is not taken for one.
    let told = place.query().unwrap();
    assert_eq!((told.output.installed.len(), told.warnings.len()), (0, 1), "{:?}", told.warnings);
    assert!(refused(place.call(args())).contains("only a part of the package"));
    assert!(place.absent().unwrap().warnings[0].contains(&sha256));
    assert!(!place.absent_by_hash(&sha256).unwrap().changed);
    set(0o755);
    assert!(place.absent_by_hash(&sha256).unwrap().changed);
    assert_eq!(place.names(), Vec::<String>::new());
    place.call(args()).unwrap();
}

#[test]
fn a_removal_that_was_killed_anywhere_is_ended_by_the_same_call() {
    let mut place = Place::new();
    let args = || place.package("p", &gzip(&tar(&server(SERVER))));
    let (first, second) = (args(), args());
    let home = place.call(first).unwrap().output.current.unwrap().path;
    // Killed when the link was gone, and of the files some.
    let text = fs::read_to_string(home.join(RECORD)).unwrap();
    fs::write(home.join(RECORD), text.replace("\"removing\":false", "\"removing\":true")).unwrap();
    fs::remove_file(home.join("bin/gaussdb")).unwrap();
    for gone in ["app/current.env", "app/current"] {
        fs::remove_file(place.at(gone)).unwrap();
    }
    assert!(place.absent().unwrap().changed);
    assert_eq!(place.names(), Vec::<String>::new());
    // Killed when all that was in the folder was gone, and another one while it unpacked.
    for left in [home.clone(), place.at("app/.og_package-01234567/bin")] {
        fs::create_dir_all(left).unwrap();
    }
    // Those of others.
    for left in ["openGauss-data", "openGauss-6.0.2-01234567/bin"] {
        fs::create_dir_all(place.at("app").join(left)).unwrap();
    }
    place.check = true;
    let foreseen = place.absent().unwrap();
    assert_eq!((foreseen.actions.len(), place.names().len()), (2, 4), "{:?}", foreseen.actions);
    place.check = false;
    assert_eq!(place.absent().unwrap().actions, foreseen.actions);
    assert_eq!(place.names(), ["openGauss-6.0.2-01234567", "openGauss-data"]);
    assert!(!place.absent().unwrap().changed);
    // An empty folder of that name does not prevent unpacking.
    fs::create_dir(&home).unwrap();
    place.call(second).unwrap();
    assert!(home.join("bin/gaussdb").exists());
}

#[test]
fn program_files_stay_as_long_as_another_link_leads_to_them() {
    let mut place = Place::new();
    let args = || place.package("p", &gzip(&tar(&server(SERVER))));
    let home = place.call(args()).unwrap().output.current.unwrap().path;
    let second = place.at("app/second");
    let args = Args { link: second.clone(), ..args() };
    assert_eq!(place.call(args).unwrap().output.other_links, [place.link()]);
    for check in [true, false] {
        place.check = check;
        let gone = place.absent().unwrap();
        assert_eq!(gone.actions.len(), 2, "{:?}", gone.actions);
        assert_eq!(
            gone.warnings,
            [format!("{} stays: {} leads to it, too", home.display(), second.display())]
        );
        assert_eq!(gone.output.other_links.is_empty(), !check, "what was removed has none");
        assert_eq!(place.link().is_symlink(), check);
    }
    assert!(second.join("bin/gaussdb").exists());
    let again = place.absent().unwrap();
    assert_eq!((again.changed, again.warnings.len()), (false, 0), "{:?}", again.warnings);
    let last = Args { state: State::Absent, link: second, ..Args::default() };
    place.call(last).unwrap();
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn that_a_link_is_not_ours_and_stays_is_told() {
    let place = Place::new();
    let told = || {
        let done = place.absent().unwrap();
        assert!(!done.changed);
        done.warnings.join("\n")
    };
    assert_eq!(told(), "");
    fs::create_dir_all(place.at("app/theirs/bin")).unwrap();
    std::os::unix::fs::symlink("theirs", place.link()).unwrap();
    assert!(told().ends_with("theirs, which og_package did not unpack"), "{}", told());
    fs::remove_file(place.link()).unwrap();
    fs::create_dir(place.link()).unwrap();
    assert!(told().contains("it is no link"), "{}", told());
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn program_files_that_are_in_use_stay() {
    let mut place = Place::new();
    let program = fs::read("/bin/cat").unwrap();
    let done = place.call(place.package("p", &gzip(&tar(&server(&program))))).unwrap();
    assert_eq!(done.output.missing_libraries, Some(Vec::new()), "ldd tells of a real program");
    let server = Command::new(place.link().join("bin/gaussdb"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let server = Running(server);
    assert!(refused(place.absent()).contains(&format!("gaussdb (pid {})", server.0.id())));
    assert!(place.link().join("bin/gs_ctl").exists());
    // That it will have ended has an effect in check mode alone.
    let ending = |place: &Place| {
        let ended = vec![server.0.id()];
        place.call(Args { state: State::Absent, link: place.link(), ended, ..Args::default() })
    };
    refused(ending(&place));
    place.check = true;
    assert_eq!(ending(&place).unwrap().actions.len(), 3);
    refused(place.absent());
    place.check = false;
    drop(server);
    place.absent().unwrap();
    assert_eq!(place.names(), Vec::<String>::new());
}
