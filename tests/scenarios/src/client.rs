//! A client that commits rows on the primary, one after the other.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The table that the client writes to; its rows are 1, 2, 3, ….
pub const TABLE: &str = "og_client";

/// The statement that makes the table, if it is not there.
#[must_use]
pub fn create_table() -> String {
    format!(
        "create table if not exists {TABLE} (n bigint primary key, at timestamptz default clock_timestamp())"
    )
}

/// A client at work; [`Client::stop`] tells what it saw.
#[derive(Debug)]
pub struct Client {
    stop: Arc<AtomicBool>,
    worker: JoinHandle<std::io::Result<Seen>>,
}

/// What a client saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The number of the last row whose commit was acknowledged; rows `first..=last` are to be found everywhere.
    pub last: u64,
    /// The number of the first row it wrote.
    pub first: u64,
    /// What the server said to commits that failed.
    pub failures: Vec<String>,
    /// Moments between which no commit was acknowledged, the longest first, at most ten.
    pub gaps: Vec<Gap>,
    /// When the last commit was acknowledged.
    pub acknowledged: Option<Instant>,
    /// Why it ended by itself, when it did.
    pub ended: Option<String>,
}

/// A time without an acknowledged commit.
#[derive(Clone, Copy, Debug)]
pub struct Gap {
    /// When the last commit before it was acknowledged.
    pub from: Instant,
    /// How long it lasted.
    pub length: Duration,
}

impl Seen {
    /// The longest time without an acknowledged commit that began within the span.
    #[must_use]
    pub fn longest_gap(&self, from: Instant, to: Instant) -> Duration {
        let within = self.gaps.iter().filter(|g| g.from <= to && g.from + g.length >= from);
        within.map(|g| g.length).max().unwrap_or_default()
    }

    /// Rows whose commit was acknowledged.
    #[must_use]
    pub fn rows(&self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }
}

impl Client {
    /// Starts writing rows from `first` on, with this `pause` after each; `gsql` is a gsql that reads statements from its
    /// standard input, set up to run on the primary. The table must be there.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(mut gsql: Command, first: u64, pause: Duration) -> std::io::Result<Self> {
        let mut child = gsql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
        let stop = Arc::new(AtomicBool::new(false));
        let seen_stop = Arc::clone(&stop);
        let worker = std::thread::spawn(move || {
            let input = child.stdin.take().ok_or_else(|| std::io::Error::other("no input"))?;
            let output = child.stdout.take().ok_or_else(|| std::io::Error::other("no output"))?;
            let seen = write_rows(input, BufReader::new(output), first, pause, &seen_stop)?;
            child.wait()?;
            Ok(seen)
        });
        Ok(Self { stop, worker })
    }

    /// Ends the client after the row that it is writing and tells what it saw.
    ///
    /// # Errors
    /// The program ended by itself, or its pipes broke.
    pub fn stop(self) -> std::io::Result<Seen> {
        let seen = self.finish()?;
        seen.ended.clone().map_or(Ok(seen), |why| Err(std::io::Error::other(why)))
    }

    /// The same of a client that may have lost its server.
    ///
    /// # Errors
    /// Its thread panicked.
    pub fn finish(self) -> std::io::Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.worker.join().map_err(|_| std::io::Error::other("the client's thread panicked"))?
    }
}

/// One row at a time: the next one is sent when the last one was answered.
fn write_rows(
    mut input: impl Write,
    output: impl BufRead,
    first: u64,
    pause: Duration,
    stop: &AtomicBool,
) -> std::io::Result<Seen> {
    let mut seen = Seen { first, last: first - 1, ..Seen::default() };
    let mut answers = output.lines();
    let mut acknowledged = Instant::now();
    let mut n = first;
    while !stop.load(Ordering::Relaxed) {
        let sent = writeln!(input, "insert into {TABLE} (n) values ({n});").and_then(|()| input.flush());
        let mut answer = String::new();
        // With most_available_sync a commit warns that it did not wait for a standby, and is one all the same.
        let mut read = || {
            while answer.is_empty() || is_notice(&answer) {
                answer = answers.next().ok_or_else(|| std::io::Error::other("gsql ended"))??;
            }
            Ok::<_, std::io::Error>(())
        };
        if let Err(e) = sent.and_then(|()| read()) {
            seen.ended = Some(e.to_string());
            return Ok(seen);
        }
        if answer == "INSERT 0 1" {
            let now = Instant::now();
            note_gap(&mut seen.gaps, Gap { from: acknowledged, length: now - acknowledged });
            acknowledged = now;
            seen.acknowledged = Some(now);
            seen.last = n;
            n += 1;
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
        } else {
            seen.failures.push(answer);
            if seen.failures.len() > 1000 {
                return Err(std::io::Error::other(format!(
                    "a thousand failures, the last: {:?}",
                    seen.failures.pop()
                )));
            }
        }
    }
    Ok(seen)
}

/// Whether the server says this besides its answer.
fn is_notice(line: &str) -> bool {
    ["WARNING:", "NOTICE:", "DETAIL:", "HINT:"].iter().any(|word| line.starts_with(word))
}

/// Keeps the ten longest gaps.
fn note_gap(gaps: &mut Vec<Gap>, gap: Gap) {
    let place = gaps.partition_point(|g| g.length >= gap.length);
    if place < 10 {
        gaps.insert(place, gap);
        gaps.truncate(10);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rows_and_failures_are_counted() {
        let stop = AtomicBool::new(false);
        let answers: &[u8] = b"INSERT 0 1\nERROR:  no\nINSERT 0 1\n";
        let seen = write_rows(std::io::sink(), answers, 5, Duration::ZERO, &stop).unwrap();
        assert_eq!((seen.ended.as_deref(), seen.last), (Some("gsql ended"), 6));
        let mut sent = Vec::new();
        let _ = write_rows(&mut sent, answers, 5, Duration::ZERO, &stop);
        let sent = String::from_utf8(sent).unwrap();
        // The row that failed is sent again.
        assert_eq!(sent.matches("values (6)").count(), 2, "{sent}");
    }

    #[test]
    fn a_commit_with_a_warning_is_a_commit() {
        let stop = AtomicBool::new(false);
        let answers: &[u8] =
            b"WARNING:  canceling wait for synchronous replication\nINSERT 0 1\nINSERT 0 1\n";
        let mut sent = Vec::new();
        let _ = write_rows(&mut sent, answers, 5, Duration::ZERO, &stop);
        let sent = String::from_utf8(sent).unwrap();
        assert_eq!(sent.lines().count(), 3, "{sent}");
        assert_eq!(sent.matches("values (5)").count(), 1, "{sent}");
    }

    #[test]
    fn the_longest_gaps_are_kept() {
        let from = Instant::now();
        let mut gaps = Vec::new();
        for ms in 0..30 {
            note_gap(&mut gaps, Gap { from, length: Duration::from_millis(ms * 7 % 31) });
        }
        assert_eq!(gaps.len(), 10);
        assert!(gaps.is_sorted_by(|a, b| a.length >= b.length));
        assert_eq!(gaps[0].length, Duration::from_millis(30));
    }
}
