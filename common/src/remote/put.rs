//! A file that is carried to a host: left alone where it is there already, continued where a transfer broke off.
//!
//! The scripts are those of Ansible's action plugin as well, in `plugin_utils/og_put.py`.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};

use tokio::io::AsyncSeekExt;
use tokio::sync::watch;

use super::link::{Input, Output, connection_lost_error, not_ended_error};
use super::{Connection, interrupted_error, wait_until_true};
use crate::base::{Bytes, Error, ErrorKind, Progress, Reason};

/// Tells of the file `$1`, which is to have the hash `$2`, whether it is there, with which mode, how much of it is in `$3`, the
/// file that a transfer fills, and how many KiB are free.
const INSPECT: &str = r#"d=$(dirname "$1"); until [ -d "$d" ]; do d=$(dirname "$d"); done; s=absent; if [ -d "$1" ]; then s=folder; elif [ -f "$1" ] && [ "$(sha256sum <"$1")" = "$2  -" ]; then s=present; fi; m=$(stat -c %a "$1" 2>/dev/null); h=0; if [ -f "$3" ]; then h=$(wc -c <"$3"); fi; set -- $(df -Pk "$d" | tail -n 1); echo og-put $s ${m:-0} $h $4"#;
/// Adds standard input to `$3`; when it has all `$4` bytes with the hash `$2`, makes it the file `$1` with the mode `$5`.
const TAKE: &str = r#"umask 077; if mkdir -p "$(dirname "$1")" && cat >>"$3"; then n=$(wc -c <"$3"); if [ "$n" -lt "$4" ]; then echo "og-put-short $n"; elif [ "$(sha256sum <"$3")" = "$2  -" ]; then chmod "$5" "$3" && if [ "$(id -u)" -eq 0 ]; then chown --reference="$(dirname "$1")" "$3"; fi && sync "$3" && mv -fT "$3" "$1" && echo og-put-done; else rm -f "$3"; echo og-put-other; fi; fi"#;
/// Gives the file `$1` the mode `$2`.
const SET_MODE: &str = r#"chmod "$2" "$1" && echo og-put-done"#;

/// What a host says of the file.
const SEEN: &str = "og-put ";
/// It is there as it should be now.
const DONE: &str = "og-put-done";
/// It has another content than it should.
const OTHER: &str = "og-put-other";

/// A file that is to be on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Its path on this machine.
    pub from: PathBuf,
    /// Its absolute path on the host.
    pub to: String,
    /// The SHA-256 of its content in hexadecimal, as sha256sum prints it.
    pub sha256: String,
    /// Its mode in octal.
    pub mode: String,
    /// Whether nothing is to be changed.
    pub check: bool,
}

/// What came of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transferred {
    /// The file was there.
    Present,
    /// It was there, and got its mode; in check mode, it would.
    ModeSet,
    /// So many bytes were sent; in check mode, they would be.
    Sent(Bytes),
}

/// What is on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    present: bool,
    is_folder: bool,
    mode: u32,
    /// Bytes of a transfer that broke off.
    begun: u64,
    free: Option<Bytes>,
}

impl Seen {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix(SEEN)?.split(' ');
        let mut next = || words.next().filter(|word| !word.is_empty());
        let word = next()?;
        Some(Self {
            present: word == "present",
            is_folder: word == "folder",
            mode: u32::from_str_radix(next()?, 8).ok()?,
            begun: next()?.parse().ok()?,
            free: next().and_then(|kib| kib.parse::<u64>().ok()?.checked_mul(1024)).map(Bytes::new),
        })
    }
}

impl Transfer {
    /// The file that the transfer fills, beside the one that it becomes: of one content alone, so that no two are mixed.
    fn part(&self) -> String {
        format!("{}.og-{}.part", self.to, self.sha256.get(..16).unwrap_or(&self.sha256))
    }

    fn check(&self) -> Result<u32, Error> {
        if !self.to.starts_with('/') {
            return Err(Error::bad_args(format!("{} is no absolute path on the host", self.to)));
        }
        if self.sha256.len() != 64 || !self.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(Error::bad_args(format!("{} is no SHA-256 in 64 hexadecimal digits", self.sha256)));
        }
        u32::from_str_radix(&self.mode, 8)
            .ok()
            .filter(|mode| *mode <= 0o7777)
            .ok_or_else(|| Error::bad_args(format!("{} is no mode of a file in octal", self.mode)))
    }
}

impl Connection {
    /// Carries the file there; when `stop` turns true, ends that, and what has arrived stays for the next time. `tell` gets how far
    /// it is.
    ///
    /// # Errors
    /// `not_found` or `io` of the file here; `refused` for a folder in its place, and with the reason `disk_full` where there is no
    /// room; `corrupt` when it has another content; `unreachable`, `interrupted`.
    pub async fn put(
        &self,
        file: &Transfer,
        mut stop: watch::Receiver<bool>,
        mut tell: impl FnMut(Progress) + Send + 'static,
    ) -> Result<Transferred, Error> {
        let mode = file.check()?;
        let part = file.part();
        let mut source = open(&file.from).await?;
        let size = source.metadata().await.map_err(|e| Error::io("read", &file.from, &e))?.len();
        let seen = self.sh(&[INSPECT, "sh", &file.to, &file.sha256, &part], &mut stop).await?;
        let seen = last_line(&seen).and_then(Seen::parse).ok_or_else(|| failed_error(file, &seen))?;
        if seen.is_folder {
            return Err(Error::refused(format!("{} is a folder there", file.to))
                .hint("take it away, or name another path"));
        }
        if seen.present && seen.mode == mode {
            return Ok(Transferred::Present);
        }
        if seen.present {
            if !file.check {
                let done = self.sh(&[SET_MODE, "sh", &file.to, &file.mode], &mut stop).await?;
                if last_line(&done) != Some(DONE) {
                    return Err(failed_error(file, &done));
                }
            }
            return Ok(Transferred::ModeSet);
        }
        // More than there is to send is of no use; TAKE finds its content wrong and removes it.
        let begun = seen.begun.min(size);
        let left = Bytes::new(size - begun);
        if let Some(free) = seen.free.filter(|free| *free < left) {
            return Err(Error::refused(format!("{} takes {left} more there, and {free} are free", file.to))
                .reason(Reason::DiskFull)
                .hint("make room there, or name a path on another file system"));
        }
        if file.check {
            return Ok(Transferred::Sent(left));
        }
        source.seek(SeekFrom::Start(begun)).await.map_err(|e| Error::io("read", &file.from, &e))?;
        let msg = format!("transferring {}", file.from.display());
        let mut told = begun;
        let sent = move |bytes: u64| {
            told += bytes;
            tell(Progress {
                msg: msg.clone(),
                bytes: Some(Bytes::new(told)),
                total_bytes: Some(Bytes::new(size)),
            });
        };
        let length = size.to_string();
        let words = [TAKE, "sh", &file.to, &file.sha256, &part, &length, &file.mode];
        let link = &self.0;
        let output = link
            .run_from(
                &words,
                Box::new(source),
                Box::new(sent),
                Input::Closed,
                wait_until_true(&mut stop),
                &mut |_| false,
            )
            .await?;
        match (last_line(&output), ended(&output)) {
            (Some(DONE), _) => Ok(Transferred::Sent(left)),
            (_, Err(e)) => Err(e),
            (Some(OTHER), _) => Err(Error::corrupt(format!(
                "what arrived as {} has not the SHA-256 {}",
                file.to, file.sha256
            ))
            .hint(format!(
                "compare {} with it; where that is right, the same call again sends it anew",
                file.from.display()
            ))),
            _ => Err(failed_error(file, &output)),
        }
    }

    async fn sh(&self, words: &[&str], stop: &mut watch::Receiver<bool>) -> Result<Output, Error> {
        let output = self.0.run(words, &[], Input::Closed, wait_until_true(stop), &mut |_| false).await?;
        ended(&output).map(|()| output)
    }
}

async fn open(path: &Path) -> Result<tokio::fs::File, Error> {
    tokio::fs::File::open(path).await.map_err(|e| Error::io("read", path, &e))
}

/// Whether the command came to its end.
fn ended(output: &Output) -> Result<(), Error> {
    match (&output.lost, output.stopped) {
        (Some(why), true) => Err(not_ended_error(why)),
        (Some(why), false) => Err(connection_lost_error(why)),
        (None, true) => Err(interrupted_error()),
        (None, false) => Ok(()),
    }
}

fn last_line(output: &Output) -> Option<&str> {
    output.stdout.lines().next_back().map(str::trim)
}

fn failed_error(file: &Transfer, output: &Output) -> Error {
    Error::new(ErrorKind::Io, format!("cannot put {} there: {}", file.to, output.last_output()))
        .hint("what has arrived stays there, and the same call again continues")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::{Command, Stdio};

    use super::*;

    const CONTENT: &str = "abcdefgh";
    const HASH: &str = "9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab";

    fn run(input: &str, words: &[&str]) -> String {
        use std::io::Write;
        let mut child = Command::new("sh")
            .arg("-c")
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    }

    #[test]
    fn a_transfer_is_continued_and_its_content_compared() {
        let root = tempfile::tempdir().unwrap();
        let to = root.path().join("a b/it's.tar").display().to_string();
        let file = Transfer {
            from: PathBuf::new(),
            to: to.clone(),
            sha256: HASH.to_owned(),
            mode: "0640".to_owned(),
            check: false,
        };
        assert_eq!(file.check().unwrap(), 0o640);
        let part = file.part();
        let seen = || Seen::parse(run("", &[INSPECT, "sh", &to, HASH, &part]).trim()).unwrap();
        let take = |text: &str| run(text, &[TAKE, "sh", &to, HASH, &part, "8", "0640"]).trim().to_owned();
        let first = seen();
        assert_eq!((first.present, first.is_folder, first.begun), (false, false, 0));
        assert!(first.free.unwrap() > Bytes::new(0));
        assert_eq!(take("abcde"), "og-put-short 5");
        assert_eq!((seen().present, seen().begun), (false, 5));
        assert_eq!(take("xyz"), OTHER);
        assert_eq!(seen().begun, 0);
        assert_eq!(
            (take(&CONTENT[..6]), take(&CONTENT[6..])),
            ("og-put-short 6".to_owned(), DONE.to_owned())
        );
        assert_eq!((seen().present, seen().mode, seen().begun), (true, 0o640, 0));
        assert_eq!(std::fs::read_to_string(&to).unwrap(), CONTENT);
        assert_eq!(run("", &[SET_MODE, "sh", &to, "0600"]).trim(), DONE);
        assert_eq!(seen().mode, 0o600);
        std::fs::remove_file(&to).unwrap();
        std::fs::create_dir(&to).unwrap();
        assert!(seen().is_folder);
        assert!(Seen::parse("og-put present x 0 1").is_none());
        for wrong in [
            Transfer { to: "a".to_owned(), ..file.clone() },
            Transfer { sha256: "x".repeat(64), ..file.clone() },
            Transfer { mode: "0888".to_owned(), ..file.clone() },
        ] {
            assert_eq!(wrong.check().unwrap_err().kind(), ErrorKind::BadArgs);
        }
    }

    #[test]
    fn the_scripts_are_plain_and_those_of_ansible() {
        let plugin = include_str!(
            "../../../playbooks/ansible_collections/opengauss/node/plugins/plugin_utils/og_put.py"
        );
        for script in [INSPECT, TAKE, SET_MODE] {
            // fish reads a backslash, csh a new line or an exclamation mark inside of quotes.
            assert!(!script.contains(['\\', '\n', '!']), "{script}");
            assert!(plugin.contains(script), "{script}");
        }
    }
}
