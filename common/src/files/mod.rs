//! Files of a node: read them, lock them as gs_guc does, replace them whole.

mod folder;
pub mod limits;
mod lock;
mod replace;
mod tcp;

use std::fs::{File, OpenOptions};
use std::io::{Read, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use sha2::{Digest, Sha256};

use crate::base::{Bytes, Error, ErrorKind, run_blocking};

pub use folder::{OTHERS_WRITE, OwnFolder};
pub use lock::{FileLock, MarkLock, NodeLock};
pub use replace::{create, remove_read, replace, replace_read, sync_folder};
pub use tcp::read_tcp;

/// No file of a node that these programs read is so large; one that is must not take the machine's memory.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// Hashed at once.
const HASH_BUFFER_BYTES: usize = 1 << 20;
/// Hexadecimal digits of a SHA-256.
const HASH_DIGITS: usize = 64;

/// Reads the whole file.
///
/// # Errors
/// `not_found`, `permission` or `io`, naming the file; `io` also for what is no regular file (a pipe in its place would
/// never end) or larger than 256 MiB.
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let fail = |e: std::io::Error| Error::io("read", path, &e);
    // Without O_NONBLOCK the opening of a pipe waits for somebody to write into it.
    let mut file =
        OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).map_err(fail)?;
    let meta = file.metadata().map_err(fail)?;
    let wrong = |what: &str| {
        Error::new(ErrorKind::Io, format!("{} {what}", path.display())).with_path(path.display())
    };
    if !meta.is_file() {
        return Err(wrong("is not a regular file"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len().min(MAX_FILE_BYTES)).unwrap_or_default());
    let read = Read::by_ref(&mut file).take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(fail)?;
    if read as u64 > MAX_FILE_BYTES {
        return Err(wrong(&format!("is larger than {} MiB", MAX_FILE_BYTES >> 20)));
    }
    Ok(bytes)
}

/// Returns the SHA-256 of all that is still to be read, in hexadecimal, as sha256sum prints it.
///
/// # Errors
/// Those of reading.
pub fn sha256(mut source: impl Read) -> std::io::Result<String> {
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; HASH_BUFFER_BYTES]);
    loop {
        match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => hash.update(&buffer[..read]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(hexadecimal(&hash.finalize()))
}

/// Returns the SHA-256 of a file's content from where it is at, as [`sha256`]; the call hears signals meanwhile.
///
/// # Errors
/// `permission` or `io`, naming `path`.
pub async fn sha256_of(file: File, path: &Path) -> Result<String, Error> {
    run_blocking(move || sha256(file)).await?.map_err(|e| Error::io("read", path, &e))
}

/// Returns the SHA-256 of these bytes, as [`sha256`] does.
#[must_use]
pub fn sha256_of_bytes(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// Returns the bytes in lower-case hexadecimal, two digits each.
#[must_use]
pub fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether the text is as many hexadecimal digits as [`hexadecimal`] writes them.
#[must_use]
pub fn is_hexadecimal(text: &[u8], digits: usize) -> bool {
    text.len() == digits && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Parses the argument `sha256`: 64 hexadecimal digits; returns them as [`sha256`] writes them.
///
/// # Errors
/// `bad_args`.
pub fn parse_sha256(text: &str) -> Result<String, Error> {
    let digits = text.to_ascii_lowercase();
    if is_hexadecimal(digits.as_bytes(), HASH_DIGITS) {
        return Ok(digits);
    }
    Err(Error::bad_args(format!("sha256 is not {HASH_DIGITS} hexadecimal digits"))
        .with_path("/sha256")
        .hint("give what sha256sum prints"))
}

/// Whether these first bytes of a file are those of one that gzip or bzip2 compressed.
#[must_use]
pub fn is_compressed(head: &[u8]) -> bool {
    head.starts_with(&[0x1f, 0x8b]) || head.starts_with(b"BZh")
}

/// Returns what this user may still write to the file system of the folder.
///
/// # Errors
/// `permission` or `io`, naming the folder.
pub fn free_space(folder: &Path) -> Result<Bytes, Error> {
    let stat = nix::sys::statvfs::statvfs(folder);
    let stat = stat.map_err(|e| Error::io("learn the free space of", folder, &e.into()))?;
    Ok(Bytes::new(stat.blocks_available() * stat.fragment_size()))
}

/// Makes an empty file that stands for something to be done, readable by the owner alone. A link in its place is not
/// followed.
///
/// # Errors
/// `permission` or `io`.
pub fn create_mark(path: &Path) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    options.custom_flags(flags.bits()).open(path).map(drop).map_err(|e| Error::io("write", path, &e))
}

/// Writes a file for others to read, such as a collector of metrics or a web server: whole or not at all, and readable for all.
/// It takes the place of what is there: a link is not followed, for the folder may be another user's. Of several that write
/// at once the last one's stays, whole.
///
/// # Errors
/// `permission` or `io`.
pub fn publish(path: &Path, content: &[u8]) -> Result<(), Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".og_").suffix(".tmp");
    let write = || {
        let mut file = builder.tempfile_in(folder)?;
        file.write_all(content)?;
        // Set, not asked for: the umask would take it away.
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
        file.as_file().sync_all()?;
        file.persist(path).map(drop).map_err(|e| e.error)
    };
    write().map_err(|e| Error::io("write", path, &e))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_hash_is_that_of_sha256sum() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256(&b""[..]).unwrap(), empty);
        assert_eq!(sha256_of_bytes(b""), empty);
        let long = vec![b'a'; HASH_BUFFER_BYTES + 1];
        assert_eq!(sha256(&long[..]).unwrap(), sha256(std::io::Read::chain(&long[1..], &b"a"[..])).unwrap());
        assert_eq!(parse_sha256(&empty.to_ascii_uppercase()).unwrap(), empty);
        for wrong in
            ["", &empty[1..], &format!("{empty}0"), &empty.replace('e', "g"), &empty.replace('e', "é")]
        {
            assert_eq!(parse_sha256(wrong).unwrap_err().kind(), ErrorKind::BadArgs, "{wrong}");
        }
    }

    #[test]
    fn a_compressed_file_is_known_by_its_first_bytes() {
        for (head, compressed) in [
            (&b"\x1f\x8b\x08"[..], true),
            (b"BZh9", true),
            (b"BZ", false),
            (b"PK\x03\x04", false),
            (b"", false),
        ] {
            assert_eq!(is_compressed(head), compressed, "{head:?}");
        }
    }

    #[test]
    fn what_is_published_is_readable_for_all_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("og.prom");
        for text in ["a 1\n", "a 2\n"] {
            publish(&path, text.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_published_goes_where_no_link_leads() {
        let dir = tempfile::tempdir().unwrap();
        let (precious, path) = (dir.path().join("precious"), dir.path().join("og.prom"));
        std::fs::write(&precious, "text").unwrap();
        std::os::unix::fs::symlink(&precious, &path).unwrap();
        publish(&path, b"a 1\n").unwrap();
        assert_eq!(std::fs::read(&precious).unwrap(), b"text");
        assert_eq!(std::fs::read(&path).unwrap(), b"a 1\n");
        // What a killed run left closed is opened.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        publish(&path, b"a 2\n").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert!(publish(&dir.path().join("none/og.prom"), b"").is_err());
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [folder.path(), &pipe, Path::new("/dev/zero")] {
            assert_eq!(read(path).unwrap_err().kind(), ErrorKind::Io, "{}", path.display());
        }
        let huge = folder.path().join("huge");
        std::fs::File::create(&huge).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
        assert!(read(&huge).unwrap_err().to_string().contains("larger than 256 MiB"));
        assert_eq!(read(&folder.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_mark_does_not_go_where_a_link_leads() {
        let folder = tempfile::tempdir().unwrap();
        let (precious, link) = (folder.path().join("precious"), folder.path().join("mark"));
        std::fs::write(&precious, "text").unwrap();
        std::os::unix::fs::symlink(&precious, &link).unwrap();
        assert!(create_mark(&link).is_err());
        assert_eq!(std::fs::read(&precious).unwrap(), b"text");
        std::fs::remove_file(&link).unwrap();
        create_mark(&link).unwrap();
        create_mark(&link).unwrap();
    }
}
