//! A file that is received, and one that goes.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::fcntl::Flock;
use og_common::files::{self, OwnFolder};
use og_common::protocol::{Bytes, Call, Error, ErrorKind, Reason, Report};

use crate::args::{Args, Output};
use crate::format_mode;

/// A piece is at most so large.
const MAX_PIECE_BYTES: usize = 16 << 20;
/// Digits of the hash in the name of the file that takes the pieces.
const HASH_DIGITS: usize = 16;
/// What that file's name begins with, before the target's own name.
const PART_PREFIX: &str = ".og_file-";

/// What the file is to be.
struct Wanted<'a> {
    path: &'a Path,
    name: &'a OsStr,
    sha256: String,
    size: u64,
    mode: u32,
    piece: Option<(u64, Vec<u8>)>,
}

impl<'a> Wanted<'a> {
    fn from_args(args: &'a Args) -> Result<Self, Error> {
        let sha256 = files::parse_sha256(args.sha256.as_deref().unwrap_or_default())?;
        let mode = u32::from_str_radix(&args.mode, 8).ok().filter(|mode| *mode <= 0o777);
        let mode = mode.ok_or_else(|| {
            Error::bad_args(format!("mode {:?} is no mode of a file in octal", args.mode))
                .with_path("/mode")
                .hint("give one such as 0644")
        })?;
        let size = args.size.unwrap_or_default().as_u64();
        let piece = match (args.offset, &args.content) {
            (Some(offset), Some(content)) => Some((offset, decode(content, offset, size)?)),
            (None, None) => None,
            _ => {
                return Err(Error::bad_args("offset and content are given together or not at all")
                    .with_path("/offset"));
            }
        };
        Ok(Self { path: &args.path, name: file_name(&args.path)?, sha256, size, mode, piece })
    }

    /// The name of the file that takes the pieces.
    fn part(&self) -> OsString {
        part_name(self.name, &self.sha256[..HASH_DIGITS])
    }

    fn output(&self, offset: Option<u64>) -> Output {
        let present = offset.is_none();
        Output {
            path: self.path.to_owned(),
            present,
            size: present.then_some(Bytes::new(self.size)),
            sha256: present.then(|| self.sha256.clone()),
            mode: present.then(|| format_mode(self.mode)),
            offset,
        }
    }

    /// More of the content is wanted.
    fn wanted_error(&self, received: u64) -> Error {
        let detail = format!(
            "{}: {} of {} are there",
            self.path.display(),
            Bytes::new(received),
            Bytes::new(self.size)
        );
        Error::not_found(detail)
            .reason(Reason::ContentWanted)
            .with_path(self.path.display())
            .hint(format!("send the content from offset {received} on"))
            .with_output(&self.output(Some(received)))
    }
}

fn file_name(path: &Path) -> Result<&OsStr, Error> {
    path.file_name()
        .ok_or_else(|| Error::bad_args(format!("{} is no path of a file", path.display())).with_path("/path"))
}

fn part_name(name: &OsStr, hash: &str) -> OsString {
    let mut part = OsString::from(format!("{PART_PREFIX}{hash}-"));
    part.push(name);
    part
}

fn decode(content: &str, offset: u64, size: u64) -> Result<Vec<u8>, Error> {
    let wrong = |detail: String| Err(Error::bad_args(detail).with_path("/content"));
    let bytes = match STANDARD.decode(content.as_bytes()) {
        Ok(bytes) => bytes,
        Err(e) => return wrong(format!("content is not Base64: {e}")),
    };
    if bytes.len() > MAX_PIECE_BYTES {
        return wrong(format!("content is larger than {} MiB", MAX_PIECE_BYTES >> 20));
    }
    if bytes.is_empty() && size > 0 {
        return wrong("content is empty".to_owned());
    }
    let end = offset.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    if end > size {
        return wrong(format!("the content would end at {end}, and its size is {size}"));
    }
    Ok(bytes)
}

/// What has the target's name.
enum TargetState {
    /// Nothing, or a file of another content.
    Other,
    /// The content, with this mode.
    Content(File, u32),
}

/// Receives a piece of the file, or says where the next one begins.
pub(crate) async fn receive(call: &Call, args: &Args) -> Result<Report<Output>, Error> {
    let wanted = Wanted::from_args(args)?;
    let parent = wanted.path.parent().unwrap_or(Path::new("/"));
    let (folder, missing) = OwnFolder::reach(parent)?;
    let (received, there) = if missing.is_empty() {
        (folder.file_size(&wanted.part())?.unwrap_or_default(), inspect_target(&folder, &wanted).await?)
    } else {
        (0, TargetState::Other)
    };
    if let TargetState::Content(file, mode) = there {
        return set_mode(call, &wanted, &file, mode);
    }
    let action = format!("receive {} ({})", wanted.path.display(), Bytes::new(wanted.size));
    check_space(&folder, &wanted, received)?;
    if call.check {
        let msg = format!("{} would be received", wanted.path.display());
        return Ok(Report::new(vec![action], msg, wanted.output(None)));
    }
    if wanted.piece.is_none() && received < wanted.size {
        return Err(wanted.wanted_error(received));
    }
    let folder = folder.create(&missing, 0o700)?;
    let mut part = folder.lock_file(&wanted.part(), call).await?;
    // Another sender of the same content may have finished it while this one waited.
    if let TargetState::Content(file, mode) = inspect_target(&folder, &wanted).await? {
        folder.remove(&wanted.part())?;
        return set_mode(call, &wanted, &file, mode);
    }
    let begun = add_piece(call, &folder, &wanted, &mut part)?;
    finish(&folder, &wanted, &part).await.map_err(|e| e.with_actions(begun))?;
    Ok(Report::new(vec![action], format!("{} is there", wanted.path.display()), wanted.output(None)))
}

/// Inspects what has the target's name; what could not be replaced is refused at once.
async fn inspect_target(folder: &OwnFolder, wanted: &Wanted<'_>) -> Result<TargetState, Error> {
    let Some(file) = folder.open_file(wanted.name)? else { return Ok(TargetState::Other) };
    let fail = |e: std::io::Error| Error::io("inspect", wanted.path, &e);
    let meta = file.metadata().map_err(fail)?;
    if meta.len() != wanted.size {
        return Ok(TargetState::Other);
    }
    let own = file.try_clone().map_err(fail)?;
    if files::sha256_of(own, wanted.path).await? != wanted.sha256 {
        return Ok(TargetState::Other);
    }
    Ok(TargetState::Content(file, meta.permissions().mode() & 0o7777))
}

fn set_mode(call: &Call, wanted: &Wanted<'_>, file: &File, mode: u32) -> Result<Report<Output>, Error> {
    let msg = format!("{} is there", wanted.path.display());
    if mode == wanted.mode {
        return Ok(Report::unchanged(msg, wanted.output(None)));
    }
    if !call.check {
        file.set_permissions(Permissions::from_mode(wanted.mode))
            .map_err(|e| Error::io("set the mode of", wanted.path, &e))?;
    }
    let action = format!("set the mode of {} to {}", wanted.path.display(), format_mode(wanted.mode));
    Ok(Report::new(vec![action], msg, wanted.output(None)))
}

fn check_space(folder: &OwnFolder, wanted: &Wanted<'_>, received: u64) -> Result<(), Error> {
    let (free, needed) = (folder.free_space()?, Bytes::new(wanted.size.saturating_sub(received)));
    if needed <= free {
        return Ok(());
    }
    let detail = format!("{} takes {needed} more, and {free} are free there", wanted.path.display());
    Err(Error::refused(detail)
        .reason(Reason::DiskFull)
        .with_path(wanted.path.display())
        .hint("make room there, or give a path on another file system"))
}

/// Adds the piece where it belongs; returns what was done. It is an error when more is wanted then.
fn add_piece(
    call: &Call,
    folder: &OwnFolder,
    wanted: &Wanted<'_>,
    part: &mut Flock<File>,
) -> Result<Vec<String>, Error> {
    let part_path = folder.path().join(wanted.part());
    let fail = |e: std::io::Error| Error::io("write", &part_path, &e);
    let mut received = part.metadata().map_err(fail)?.len();
    if received > wanted.size {
        // No piece makes it longer than the whole: this was not written here.
        part.set_len(0).map_err(fail)?;
        received = 0;
    }
    let mut done = Vec::new();
    // Whoever sends the same content at the same time may have been here first; the next piece begins behind theirs.
    if let Some((_, bytes)) = wanted.piece.as_ref().filter(|(offset, _)| *offset == received) {
        part.seek(SeekFrom::Start(received)).map_err(fail)?;
        part.write_all(bytes).map_err(fail)?;
        received += u64::try_from(bytes.len()).unwrap_or_default();
        done.push(format!("receive {} of {}", Bytes::new(received), wanted.path.display()));
    }
    if received == wanted.size {
        return Ok(done);
    }
    call.record_output(&wanted.output(Some(received)));
    Err(wanted.wanted_error(received).with_actions(done))
}

/// Gives what was received the target's name, if it is the content that was meant.
async fn finish(folder: &OwnFolder, wanted: &Wanted<'_>, part: &Flock<File>) -> Result<(), Error> {
    let part_path = folder.path().join(wanted.part());
    let fail = |e: std::io::Error| Error::io("write", &part_path, &e);
    part.sync_all().map_err(fail)?;
    let mut own = part.try_clone().map_err(fail)?;
    own.seek(SeekFrom::Start(0)).map_err(fail)?;
    let sha256 = files::sha256_of(own, &part_path).await?;
    if sha256 != wanted.sha256 {
        folder.remove(&wanted.part())?;
        let detail = format!(
            "what was received as {} has the SHA-256 {sha256}, and {} was to come",
            wanted.path.display(),
            wanted.sha256
        );
        return Err(Error::new(ErrorKind::Corrupt, detail).with_path(wanted.path.display()).hint(
            "compare the file at its source; where that is right, the same call again receives it anew",
        ));
    }
    // It may have become a folder or a link meanwhile, of which the one cannot and the other must not be replaced.
    folder.open_file(wanted.name)?;
    folder.rename(&wanted.part(), wanted.name)?;
    // Last: a run that is killed before finds the content there, and sets the mode. Without the right to write, the file of the
    // pieces could not be opened again.
    part.set_permissions(Permissions::from_mode(wanted.mode)).and_then(|()| part.sync_all()).map_err(fail)
}

/// Removes the file and what is left of transfers to it, when nobody sends any more.
pub(crate) async fn remove(call: &Call, path: &Path) -> Result<Report<Output>, Error> {
    let name = file_name(path)?;
    let output = Output { path: path.to_owned(), ..Output::default() };
    let (folder, missing) = OwnFolder::reach(path.parent().unwrap_or(Path::new("/")))?;
    let mut parts = Vec::new();
    if missing.is_empty() {
        parts.extend(folder.names()?.into_iter().filter(|other| is_part_of(name, other)));
        // All who wait for several of them do so in the same order.
        parts.sort();
    }
    // Held to the end: a sender that is in the middle of a piece is waited for, and one that comes then begins anew.
    let mut locks = Vec::new();
    let mut actions = Vec::new();
    for part in &parts {
        // Only a file of this user goes.
        if folder.open_file(part)?.is_some() {
            if !call.check {
                locks.push(folder.lock_file(part, call).await?);
            }
            remove_file(call, &folder, part, &mut actions)?;
        }
    }
    // Last: a sender that was waited for has given it its name.
    if missing.is_empty() && folder.open_file(name)?.is_some() {
        remove_file(call, &folder, name, &mut actions)?;
    }
    Ok(Report::new(actions, format!("{} is not there", path.display()), output))
}

fn remove_file(
    call: &Call,
    folder: &OwnFolder,
    name: &OsStr,
    actions: &mut Vec<String>,
) -> Result<(), Error> {
    let action = format!("remove {}", folder.path().join(name).display());
    if !call.check {
        folder.remove(name)?;
        call.record_action(&action);
    }
    actions.push(action);
    Ok(())
}

/// Whether `part` is the name of a file that takes the pieces of the file `name`.
fn is_part_of(name: &OsStr, part: &OsStr) -> bool {
    let rest = part.as_encoded_bytes().strip_prefix(PART_PREFIX.as_bytes());
    rest.and_then(|rest| rest.split_at_checked(HASH_DIGITS)).is_some_and(|(hash, rest)| {
        files::is_hexadecimal(hash, HASH_DIGITS) && rest.strip_prefix(b"-") == Some(name.as_encoded_bytes())
    })
}
