//! The server's own log: what it wrote since a moment, and what it complained of.

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::ServerNode;
use crate::base::{Call, Error, secret};
use crate::conf::ConfFile;

/// The poll interval while the log is watched.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How much of each file of the log is read at a time.
const READ_BLOCK_BYTES: u64 = 4 * 1024 * 1024;
/// So many of the newest files are read for lines to show.
const MOST_FILES: usize = 8;
/// What a system that has no room left makes the server say, in the C locale (ENOSPC and EDQUOT).
const NO_ROOM: [&str; 2] = ["No space left on device", "Disk quota exceeded"];

impl ServerNode {
    /// The folder of the server's log: asked from the server, else read from its postgresql.conf.
    pub(super) async fn log_dir(&self, call: &Call) -> PathBuf {
        let asked = self.sql_within(call, "show log_directory", Duration::from_secs(10)).await;
        match asked.ok().and_then(|rows| rows.into_iter().flatten().next()) {
            Some(named) if !named.is_empty() => self.data_dir.join(named),
            _ => self.log_dir_in_file(),
        }
    }

    /// The folder of the server's log by its postgresql.conf; relative ones are below the data directory.
    fn log_dir_in_file(&self) -> PathBuf {
        let named = crate::files::read(&self.data_dir.join("postgresql.conf")).ok().and_then(|text| {
            // The log may quote them.
            secret::register_named(&String::from_utf8_lossy(&text));
            let file = ConfFile::parse(&text);
            file.register_secrets();
            Some(file.get("log_directory")?.text().into_owned())
        });
        self.data_dir.join(named.filter(|dir| !dir.is_empty()).unwrap_or_else(|| "pg_log".to_owned()))
    }

    /// Returns the newest lines of the server's log, at most `most`, as [`lines_to_show`] leaves them; from several files where
    /// the newest one has fewer.
    ///
    /// # Errors
    /// `permission` or `io`: a file of the log cannot be read.
    pub async fn log_tail(&self, call: &Call, most: usize) -> Result<Vec<String>, Error> {
        // Its secrets are known then, as the log may quote them.
        let in_file = self.log_dir_in_file();
        if let Ok(rules) = crate::files::read(&self.data_dir.join("pg_hba.conf")) {
            secret::register_named(&String::from_utf8_lossy(&rules));
        }
        let asked = self.log_dir(call).await;
        let dir = if asked.is_dir() { asked } else { in_file };
        newest_lines(&dir, &self.start_log(), most)
    }

    /// Returns the log of the node's server from now on; the server need not run.
    #[must_use]
    pub fn watch_log(&self) -> ServerLog {
        ServerLog::watch(&self.log_dir_in_file())
    }
}

/// Returns the lines in a text of the server's log that may be shown to somebody who is to help: secrets are masked, and what
/// quotes SQL or rows is left out, with the lines that go on with it.
///
/// A line that begins with a tab goes on with the one before, as the server writes them. Of a level that is not known, such as a
/// translated one, nothing is shown.
#[must_use]
pub fn lines_to_show(text: &str) -> Vec<String> {
    const LEVELS: [&str; 13] = [
        "LOG:",
        "FATAL:",
        "PANIC:",
        "ERROR:",
        "WARNING:",
        "NOTICE:",
        "INFO:",
        "DEBUG",
        "DETAIL:",
        "HINT:",
        "CONTEXT:",
        "STATEMENT:",
        "QUERY:",
    ];
    const WITH_SQL: [&str; 3] = ["CONTEXT:", "STATEMENT:", "QUERY:"];
    const QUOTING: [&str; 6] = ["statement:", "execute ", "duration:", "parameters:", "Key (", "Failing row"];
    let mut lines = Vec::new();
    // The first line may be the rest of one that quotes.
    let mut is_shown = false;
    for line in text.lines() {
        if !line.starts_with('\t') {
            let level = LEVELS.iter().filter_map(|level| Some((line.find(level)?, *level))).min();
            is_shown = level.is_some_and(|(at, level)| {
                !WITH_SQL.contains(&level) && !QUOTING.iter().any(|quoting| line[at..].contains(quoting))
            });
        }
        if is_shown && !line.trim().is_empty() {
            lines.push(secret::mask_line(line.trim_end()).into_owned());
        }
    }
    lines
}

/// The newest lines that may be shown, at most `most`, of the log files in this folder and `other`.
fn newest_lines(dir: &Path, other: &Path, most: usize) -> Result<Vec<String>, Error> {
    let written = |path: &PathBuf| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let other = std::fs::metadata(other).ok().map(|meta| (other.to_owned(), meta.len()));
    let mut files: Vec<_> = files(dir).chain(other).collect();
    files.sort_by_key(|(path, _)| (written(path), path.clone()));
    let mut lines: Vec<String> = Vec::new();
    for (path, size) in files.iter().rev().take(MOST_FILES) {
        let text = read_tail(path, *size, READ_BLOCK_BYTES).map_err(|e| Error::io("read", path, &e))?;
        let mut own = lines_to_show(&text);
        own.append(&mut lines);
        lines = own;
        if lines.len() >= most {
            break;
        }
    }
    lines.drain(..lines.len().saturating_sub(most));
    Ok(lines)
}

/// The end of a file that had this size, at most `most` bytes.
fn read_tail(path: &Path, size: u64, most: u64) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(size.saturating_sub(most)))?;
    file.take(most).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns the last three complaints in a text of the server's (FATAL, PANIC and ERROR lines, and those of a lower level
/// that tell the reason), without secrets.
#[must_use]
pub fn last_complaints(text: &str) -> Option<String> {
    const COMPLAINTS: [&str; 4] = ["FATAL:", "PANIC:", "ERROR:", "Uncompleted build"];
    /// Lines of a lower level that tell the reason of a FATAL one which does not.
    const CLUES: [&str; 4] = ["unrecognized", "invalid", "syntax error", "could not"];
    let lines: Vec<_> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let complaint = |line: &str| {
        let level = COMPLAINTS.iter().filter_map(|word| line.find(word)).min();
        let clue = || CLUES.iter().any(|word| line.contains(word)).then(|| line.find("LOG:").unwrap_or(0));
        level.or_else(clue).map(|at| secret::mask_line(&line[at..]).into_owned())
    };
    let mut said: Vec<_> = lines.iter().rev().filter_map(|l| complaint(l)).take(3).collect();
    said.reverse();
    said.dedup();
    if said.is_empty() { None } else { Some(said.join("; ")) }
}

/// Whether a text of the server's or of one of its tools says that a disk is full.
#[must_use]
pub fn is_out_of_room(text: &str) -> bool {
    NO_ROOM.iter().any(|words| text.contains(words))
}

/// A folder of log files, and where each ended when we began to look.
#[derive(Debug)]
pub struct ServerLog {
    dir: PathBuf,
    sizes: HashMap<PathBuf, u64>,
}

impl ServerLog {
    /// Returns the folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Begins to watch the log in a folder, which need not be there yet.
    pub(super) fn watch(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), sizes: files(dir).collect() }
    }

    /// Returns what was written since, the end of each file.
    #[must_use]
    pub fn text(&self) -> String {
        let mut bytes = Vec::new();
        let mut files: Vec<_> = files(&self.dir).collect();
        // In the order of writing: where the log changes files meanwhile, what it says of the signal stands in the older one.
        files
            .sort_by_key(|(path, _)| (std::fs::metadata(path).and_then(|m| m.modified()).ok(), path.clone()));
        for (path, size) in files {
            let before = self.sizes.get(&path).copied().unwrap_or(0);
            // A file that became shorter was begun anew.
            let from = if size < before { 0 } else { before };
            if size > from {
                let read = std::fs::File::open(&path).and_then(|mut file| {
                    file.seek(SeekFrom::Start(from.max(size.saturating_sub(READ_BLOCK_BYTES))))?;
                    file.take(READ_BLOCK_BYTES).read_to_end(&mut bytes)
                });
                // A file that was taken away meanwhile has nothing to say.
                if read.is_ok() {
                    bytes.push(b'\n');
                }
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns the FATAL and PANIC lines logged since, each once, from the level on and with secrets masked. Those of
    /// rejected sessions ("the database system is …") are left out.
    #[must_use]
    pub fn fatal_lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for line in self.text().lines() {
            let Some(at) = ["FATAL:", "PANIC:"].iter().filter_map(|level| line.find(level)).min() else {
                continue;
            };
            let line = secret::mask_line(line[at..].trim()).into_owned();
            if !lines.contains(&line) && !line.contains("the database system is ") {
                lines.push(line);
            }
        }
        lines
    }

    /// Waits until what was written since is as wanted; in vain: what was written all the same.
    pub(super) async fn wait_for_text(
        &self,
        wanted: impl Fn(&str) -> bool,
        patience: Duration,
    ) -> Result<String, String> {
        let end = Instant::now() + patience;
        loop {
            let text = self.text();
            if wanted(&text) {
                return Ok(text);
            }
            if Instant::now() >= end {
                return Err(text);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// Returns the end of the file that was written last, of those in this folder and `other`; empty where there is none.
#[must_use]
pub(super) fn newest_tail(dir: &Path, other: &Path) -> String {
    /// A standby that looks for its primary says the same every few seconds.
    const TAIL_BYTES: u64 = 256 << 10;
    let written = |path: &PathBuf| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    let other = std::fs::metadata(other).ok().map(|meta| (other.to_owned(), meta.len()));
    let newest = files(dir).chain(other).max_by_key(|(path, _)| (written(path), path.clone()));
    let Some((path, size)) = newest else {
        return String::new();
    };
    // What is not read tells nothing, as where there is no file.
    read_tail(&path, size, TAIL_BYTES).unwrap_or_default()
}

fn files(dir: &Path) -> impl Iterator<Item = (PathBuf, u64)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let meta = entry.metadata().ok()?;
        meta.is_file().then(|| (entry.path(), meta.len()))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_quotes_sql_or_rows_is_not_shown() {
        let text = "rest of a statement with 'data'\n\
            2026 [BACKEND] LOG:  checkpoint starting\n\
            2026 [BACKEND] ERROR:  duplicate key value violates unique constraint\n\
            2026 [BACKEND] DETAIL:  Key (name)=(Miller) already exists.\n\
            2026 [BACKEND] STATEMENT:  insert into t\n\tvalues ('Miller')\n\
            2026 [BACKEND] LOG:  duration: 1 ms  statement: select 'Miller'\n\
            2026 [BACKEND] LOG:  execute p: select $1\n\
            2026 [BACKEND] FATAL:  could not connect to host=h password=p\n\
            2026 [BACKEND] HINT:  Is it running?\n\n";
        let masked = format!("2026 [BACKEND] FATAL:  could not connect to host=h password={}", secret::MASK);
        let wanted = [
            "2026 [BACKEND] LOG:  checkpoint starting",
            "2026 [BACKEND] ERROR:  duplicate key value violates unique constraint",
            &masked,
            "2026 [BACKEND] HINT:  Is it running?",
        ];
        assert_eq!(lines_to_show(text), wanted);
        assert_eq!(lines_to_show(""), Vec::<String>::new());
    }

    #[test]
    fn a_statement_that_looks_like_a_line_of_the_log_is_not_shown() {
        let text = "2026 STATEMENT:  insert into t\n\tvalues ('LOG:  Miller')\n\tand HINT: more\n\
            2026 LOG:  shown\n\tand its second line\n2026 ANWEISUNG:  select 'Miller'\n\t, 'Smith'\n2026 LOG:  shown again\n";
        let shown = ["2026 LOG:  shown", "\tand its second line", "2026 LOG:  shown again"];
        assert_eq!(lines_to_show(text), shown);
    }

    #[test]
    fn lines_come_from_older_files_where_the_newest_has_few() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("a.log", "x LOG:  one\nx LOG:  two\n"), ("b.log", "x LOG:  three\n")] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let none = dir.path().join("none");
        assert_eq!(newest_lines(dir.path(), &none, 2).unwrap(), ["x LOG:  two", "x LOG:  three"]);
        assert_eq!(newest_lines(dir.path(), &none, 9).unwrap().len(), 3);
        assert_eq!(newest_lines(&none, &none, 9).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn only_what_was_written_since_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("postgresql-1.log");
        std::fs::write(&file, "x [BACKEND] FATAL:  could not write: No space left on device\n").unwrap();
        let log = ServerLog::watch(dir.path());
        assert_eq!(log.fatal_lines(), Vec::<String>::new());
        let more = "x LOG:  begin\ny [BACKEND] PANIC:  could not write to file \"pg_xlog/xlogtemp.7\": No space left on device\n";
        std::fs::write(dir.path().join("postgresql-2.log"), more.repeat(2)).unwrap();
        let said = log.fatal_lines();
        assert_eq!(said, ["PANIC:  could not write to file \"pg_xlog/xlogtemp.7\": No space left on device"]);
        assert!(is_out_of_room(&said[0]));
    }

    #[test]
    fn fatal_lines_hold_no_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let log = ServerLog::watch(dir.path());
        let text = "x FATAL:  invalid connection string \"host=a password=S3cret\"\n";
        std::fs::write(dir.path().join("a.log"), text).unwrap();
        assert!(!log.fatal_lines().concat().contains("S3cret"), "{:?}", log.fatal_lines());
    }
}
