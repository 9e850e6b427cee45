#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use og_common::protocol::Reason;
use proptest::prelude::*;

use super::*;

/// A folder that only this user can change, and what a sender knows of a file.
struct Place {
    root: tempfile::TempDir,
    content: Vec<u8>,
    check: bool,
}

impl Place {
    fn new(content: &[u8]) -> Self {
        Self { root: tempfile::tempdir().unwrap(), content: content.to_owned(), check: false }
    }

    fn path(&self) -> PathBuf {
        self.root.path().join("new/pkg")
    }

    fn args(&self) -> Args {
        let sha256 = files::sha256(&self.content[..]).unwrap();
        Args {
            path: self.path(),
            sha256: Some(sha256),
            size: Some(Bytes::new(self.content.len() as u64)),
            mode: "0640".to_owned(),
            ..Args::default()
        }
    }

    fn piece(&self, from: usize, to: usize) -> Args {
        let content = Some(STANDARD.encode(&self.content[from..to]));
        Args { offset: Some(from as u64), content, ..self.args() }
    }

    fn call(&self, args: Args) -> Result<Report<Output>, Error> {
        let mut call = Call::default();
        call.check = self.check;
        call.common.lock_timeout = Some(0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(NodeFile::run(&call, args))
    }

    /// Sends the whole as a caller does, in pieces of this size.
    fn send(&self, piece: usize) -> Result<Report<Output>, Error> {
        let mut answer = self.call(self.args());
        loop {
            let Some(offset) = answer.as_ref().err().and_then(wanted_offset) else { return answer };
            let from = usize::try_from(offset).unwrap();
            answer = self.call(self.piece(from, (from + piece).min(self.content.len())));
        }
    }

    fn names(&self) -> Vec<OsString> {
        fs::read_dir(self.path().parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }
}

fn wanted_offset(error: &Error) -> Option<u64> {
    let failure = error.failure();
    if failure.reason == Some(Reason::ContentWanted) { failure.keys["offset"].as_u64() } else { None }
}

fn kind(result: Result<Report<Output>, Error>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn a_file_is_received_piece_by_piece_once() {
    let mut place = Place::new(b"0123456789");
    place.check = true;
    let foreseen = place.call(place.args()).unwrap();
    assert!(foreseen.changed && !place.path().parent().unwrap().exists());
    place.check = false;
    let first = place.call(place.args()).unwrap_err();
    assert_eq!((wanted_offset(&first), first.failure().actions.len()), (Some(0), 0));
    let part = place.call(place.piece(0, 4)).unwrap_err();
    assert_eq!((wanted_offset(&part), part.failure().actions.len()), (Some(4), 1));
    assert!(!place.path().exists());
    let done = place.send(3).unwrap();
    assert_eq!(done.actions, foreseen.actions);
    assert_eq!(done.output.mode.as_deref(), Some("0640"));
    assert_eq!(fs::read(place.path()).unwrap(), place.content);
    assert_eq!(fs::metadata(place.path()).unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(place.names(), ["pkg"]);
    assert!(!place.call(place.args()).unwrap().changed);
    let moded = place.call(Args { mode: "600".to_owned(), ..place.args() }).unwrap();
    assert_eq!(moded.actions, [format!("set the mode of {} to 0600", place.path().display())]);
    let told = place.call(Args { state: State::Query, path: place.path(), ..Args::default() }).unwrap();
    assert_eq!((told.output.sha256, told.output.size), (place.args().sha256, place.args().size));
}

#[test]
fn a_transfer_that_broke_off_goes_on_and_two_senders_do_not_mix() {
    let (place, mut other) = (Place::new(b"0123456789"), Place::new(b"abcdefghij"));
    place.call(place.piece(0, 6)).unwrap_err();
    // The same content from another sender, who is behind: nothing is taken twice.
    let behind = place.call(place.piece(3, 6)).unwrap_err();
    assert_eq!((wanted_offset(&behind), behind.failure().actions.len()), (Some(6), 0));
    // A gap is not filled with anything.
    assert_eq!(wanted_offset(&place.call(place.piece(8, 10)).unwrap_err()), Some(6));
    // Another content for the same path.
    other.root = tempfile::TempDir::new_in(place.root.path()).unwrap();
    let to_same = |args: Args| Args { path: place.path(), ..args };
    assert_eq!(wanted_offset(&place.call(to_same(other.args())).unwrap_err()), Some(0));
    place.call(to_same(other.piece(0, 5))).unwrap_err();
    place.send(4).unwrap();
    assert_eq!(fs::read(place.path()).unwrap(), place.content);
    place.call(to_same(other.piece(5, 10))).unwrap();
    assert_eq!(fs::read(place.path()).unwrap(), other.content);
    assert_eq!(place.names(), ["pkg"]);
}

#[test]
fn a_file_of_pieces_that_somebody_writes_is_busy() {
    let place = Place::new(b"0123456789");
    place.call(place.piece(0, 6)).unwrap_err();
    let part = place.path().with_file_name(place.names().remove(0));
    let open = fs::File::open(&part).unwrap();
    let held = nix::fcntl::Flock::lock(open, nix::fcntl::FlockArg::LockExclusiveNonblock).unwrap();
    assert_eq!(kind(place.call(place.piece(6, 10))), ErrorKind::Busy);
    // Nor is it removed meanwhile, or the file that it may become.
    fs::write(place.path(), "old").unwrap();
    let absent = || Args { state: State::Absent, path: place.path(), ..Args::default() };
    assert_eq!(kind(place.call(absent())), ErrorKind::Busy);
    assert!(part.exists() && place.path().exists());
    drop(held);
    assert_eq!(place.call(absent()).unwrap().actions.len(), 2);
    assert!(place.names().is_empty(), "{:?}", place.names());
    place.send(5).unwrap();
}

#[test]
fn what_arrives_must_have_the_hash_and_leaves_nothing_otherwise() {
    let place = Place::new(b"0123456789");
    let mut damaged = Place::new(b"0123456780");
    damaged.root = tempfile::tempdir().unwrap();
    let args = Args { path: place.path(), sha256: place.args().sha256, ..damaged.piece(0, 10) };
    let error = place.call(args).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(place.names().is_empty(), "{:?}", place.names());
    place.send(10).unwrap();
}

#[test]
fn what_was_received_whole_and_got_no_name_is_finished() {
    let place = Place::new(b"0123456789");
    place.call(place.piece(0, 9)).unwrap_err();
    let part = place.path().with_file_name(place.names().remove(0));
    fs::write(&part, &place.content).unwrap();
    assert!(place.call(place.args()).unwrap().changed);
    // Longer than the whole: not written by this module.
    fs::remove_file(place.path()).unwrap();
    fs::write(&part, b"0123456789abc").unwrap();
    fs::set_permissions(&part, fs::Permissions::from_mode(0o600)).unwrap();
    place.send(10).unwrap();
    let empty = Place::new(b"");
    empty.send(1).unwrap();
    assert_eq!(fs::read(empty.path()).unwrap(), b"");
}

#[test]
fn links_and_what_is_no_file_are_refused() {
    let place = Place::new(b"0123456789");
    let precious = place.root.path().join("precious");
    fs::write(&precious, "text").unwrap();
    fs::create_dir(place.path().parent().unwrap()).unwrap();
    symlink(&precious, place.path()).unwrap();
    assert_eq!(kind(place.send(10)), ErrorKind::Refused);
    assert_eq!(
        kind(place.call(Args { state: State::Absent, path: place.path(), ..Args::default() })),
        ErrorKind::Refused
    );
    fs::remove_file(place.path()).unwrap();
    fs::create_dir(place.path()).unwrap();
    assert_eq!(kind(place.send(10)), ErrorKind::Refused);
    fs::remove_dir(place.path()).unwrap();
    // Also where the pieces go.
    place.call(place.piece(0, 5)).unwrap_err();
    let part = place.path().with_file_name(place.names().remove(0));
    fs::remove_file(&part).unwrap();
    symlink(&precious, &part).unwrap();
    assert_eq!(kind(place.send(10)), ErrorKind::Refused);
    assert_eq!(fs::read(&precious).unwrap(), b"text");
    fs::remove_file(&part).unwrap();
    // And on the way.
    let link = place.root.path().join("link");
    symlink(place.path().parent().unwrap(), &link).unwrap();
    assert_eq!(kind(place.call(Args { path: link.join("pkg"), ..place.args() })), ErrorKind::Refused);
    assert_eq!(place.names(), Vec::<OsString>::new());
}

#[test]
fn a_folder_that_others_may_write_into_is_refused() {
    let place = Place::new(b"0123456789");
    let parent = place.path().parent().unwrap().to_owned();
    fs::create_dir(&parent).unwrap();
    for mode in [0o777, 0o1777, 0o720] {
        fs::set_permissions(&parent, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(kind(place.send(10)), ErrorKind::Refused, "{mode:o}");
    }
    assert!(place.names().is_empty());
}

#[test]
fn a_file_that_finds_no_room_is_refused_before_a_byte_comes() {
    let place = Place::new(b"0123456789");
    for check in [true, false] {
        let mut place = Place { check, root: tempfile::tempdir().unwrap(), content: place.content.clone() };
        place.check = check;
        let error = place.call(Args { size: Some(Bytes::new(1 << 60)), ..place.args() }).unwrap_err();
        assert_eq!(error.failure().reason, Some(Reason::DiskFull));
        assert!(!place.path().parent().unwrap().exists());
    }
}

#[test]
fn arguments_that_cannot_be_used_are_refused() {
    let place = Place::new(b"0123456789");
    let piece = || place.piece(0, 5);
    for args in [
        Args { content: Some("no Base64".to_owned()), ..piece() },
        Args { content: Some(String::new()), ..piece() },
        Args { content: None, ..piece() },
        Args { offset: None, ..piece() },
        Args { offset: Some(8), ..piece() },
        Args { offset: Some(u64::MAX), ..piece() },
        Args { mode: "1777".to_owned(), ..piece() },
        Args { mode: "rw".to_owned(), ..piece() },
        Args { sha256: Some("0".repeat(63)), ..piece() },
        Args { sha256: Some("g".repeat(64)), ..piece() },
        Args { path: PathBuf::from("pkg"), ..piece() },
        Args { path: PathBuf::from("/"), ..piece() },
        Args { path: place.path().join("../pkg"), ..piece() },
    ] {
        let shown = format!("{args:?}");
        assert_eq!(kind(place.call(args)), ErrorKind::BadArgs, "{shown}");
    }
    assert!(!place.path().parent().unwrap().exists());
}

#[test]
fn what_goes_is_the_file_and_what_is_left_of_transfers() {
    let place = Place::new(b"0123456789");
    place.send(10).unwrap();
    let other = Place::new(b"abcdefghij");
    place.call(Args { path: place.path(), ..other.piece(0, 5) }).unwrap_err();
    let kept = [
        ".og_file-0123456789ABCDEF-pkg",
        ".og_file-0123456789abcdeX-pkg",
        ".og_file-0123456789abcdef-pkg2",
        "pkg.old",
    ];
    for name in kept {
        fs::write(place.path().with_file_name(name), "").unwrap();
    }
    let absent = || Args { state: State::Absent, path: place.path(), ..Args::default() };
    let gone = place.call(absent()).unwrap();
    assert_eq!(gone.actions.len(), 2);
    let mut names = place.names();
    names.sort();
    assert_eq!(names, kept);
    assert!(!place.call(absent()).unwrap().changed);
}

proptest! {
    #[test]
    fn any_content_arrives_in_pieces_of_any_size(content in proptest::collection::vec(any::<u8>(), 0..200), piece in 1_usize..64) {
        let place = Place::new(&content);
        place.send(piece).unwrap();
        prop_assert_eq!(fs::read(place.path()).unwrap(), content);
        prop_assert_eq!(place.names(), ["pkg"]);
    }
}
