//! A client that commits rows on whichever node is the primary, as an application with several hosts in its connection
//! string does.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::client::TABLE;
use crate::cluster::{Cluster, Result};

/// Before the next node is tried, and after each commit of a client that is alone.
const PAUSE: Duration = Duration::from_millis(5);
/// How far apart the rows of two clients begin; more than one of them commits.
const STRIDE: u64 = 10_000_000_000_000_000;

/// What the client saw.
#[derive(Clone, Debug, Default)]
pub struct Roamed {
    /// The rows whose commit was acknowledged.
    pub rows: BTreeSet<u64>,
    /// The longest times between two acknowledged commits, the longest first.
    pub gaps: Vec<Duration>,
    /// When the first commit was acknowledged.
    pub first: Option<Instant>,
    /// When the last one was.
    last: Option<Instant>,
}

impl Roamed {
    /// Returns the acknowledged commits a second between the first and the last one, the gaps aside.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let Some((first, last)) = self.first.zip(self.last) else { return 0.0 };
        let seconds =
            (last - first).saturating_sub(self.gaps.first().copied().unwrap_or_default()).as_secs_f64();
        let rows = u32::try_from(self.rows.len()).map_or(f64::INFINITY, f64::from);
        if seconds > 0.0 { rows / seconds } else { 0.0 }
    }

    fn acknowledge(&mut self, n: u64) {
        let now = Instant::now();
        self.first.get_or_insert(now);
        if let Some(before) = self.last.replace(now) {
            self.gaps.push(now - before);
            self.gaps.sort_unstable_by(|a, b| b.cmp(a));
            self.gaps.truncate(5);
        }
        self.rows.insert(n);
    }
}

/// Runs `work` while the client commits rows, from its first commit on; those that were acknowledged must then be on all of the
/// nodes.
///
/// # Errors
/// What kept it from working; rows that are missing.
pub fn write_on_any<T>(c: &Cluster, nodes: &[&str], work: impl FnOnce() -> Result<T>) -> Result<(T, Roamed)> {
    write_by(c, nodes, 1, PAUSE, true, work)
}

/// The same from a moment on at which none of them takes a commit: those that are taken afterwards count.
///
/// # Errors
/// As [`write_on_any`].
pub fn write_when_possible<T>(
    c: &Cluster,
    nodes: &[&str],
    work: impl FnOnce() -> Result<T>,
) -> Result<(T, Roamed)> {
    write_by(c, nodes, 1, PAUSE, false, work)
}

/// The same with several clients, each of which begins a commit as soon as the one before was acknowledged; the gaps are
/// those in which none of them could commit.
///
/// # Errors
/// As [`write_on_any`].
pub fn write_busily<T>(
    c: &Cluster,
    nodes: &[&str],
    clients: u64,
    work: impl FnOnce() -> Result<T>,
) -> Result<(T, Roamed)> {
    write_by(c, nodes, clients, Duration::ZERO, true, work)
}

fn write_by<T>(
    c: &Cluster,
    nodes: &[&str],
    clients: u64,
    pause: Duration,
    commits_before: bool,
    work: impl FnOnce() -> Result<T>,
) -> Result<(T, Roamed)> {
    let stop = AtomicBool::new(false);
    let seen = Mutex::new(Roamed::default());
    // Greater than those of a client before it.
    let epoch = std::time::SystemTime::UNIX_EPOCH.elapsed().map_err(|e| e.to_string())?;
    let first = u64::try_from(epoch.as_micros()).map_err(|e| e.to_string())?;
    let mut commands = Vec::new();
    for _ in 0..clients {
        commands.push(nodes.iter().map(|name| gsql(c, name)).collect::<Result<Vec<_>>>()?);
    }
    let done = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..)
            .zip(commands)
            .map(|(number, commands)| {
                let (stop, seen) = (&stop, &seen);
                scope.spawn(move || write_rows(commands, first + number * STRIDE, pause, stop, seen))
            })
            .collect();
        // A gap can be seen only after a commit.
        let before = if commits_before { wait_for_commit(c, &seen) } else { Ok(()) };
        let done = before.and_then(|()| work());
        // A gap has ended when somebody could commit again.
        let goes_on = done.as_ref().map_or(Ok(()), |_| wait_for_commit(c, &seen));
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().map_err(|_| "the client's thread panicked".to_owned())??;
        }
        goes_on?;
        done
    })?;
    let seen = seen.into_inner().map_err(|e| e.to_string())?;
    if seen.rows.is_empty() {
        return Err("the client committed nothing".to_owned());
    }
    for name in nodes {
        c.wait_until(&format!("{name} holds all acknowledged rows"), || {
            let text = c.sql(name, &format!("select n from {TABLE}"))?;
            let there: BTreeSet<u64> = text.lines().filter_map(|n| n.trim().parse().ok()).collect();
            let missing: Vec<_> = seen.rows.difference(&there).take(5).collect();
            Ok(if missing.is_empty() { Ok(()) } else { Err(format!("missing {missing:?}")) })
        })?;
    }
    Ok((done, seen))
}

/// Waits until a commit was acknowledged that was not before.
fn wait_for_commit(c: &Cluster, seen: &Mutex<Roamed>) -> Result {
    let last = || Ok::<_, String>(seen.lock().map_err(|e| e.to_string())?.last);
    let before = last()?;
    c.wait_until("the client commits again", || {
        Ok(if last()? > before { Ok(()) } else { Err("no commit".to_owned()) })
    })
}

fn gsql(c: &Cluster, name: &str) -> Result<Command> {
    let node = c.node(name)?;
    let port = node.base_port.to_string();
    Ok(node.exec(["sh", "-c", "exec gsql -X -d postgres -p \"$1\" 2>&1", "sh", &port]))
}

/// Commits rows from number `n` on, on the node that takes them.
fn write_rows(
    mut nodes: Vec<Command>,
    mut n: u64,
    pause: Duration,
    stop: &AtomicBool,
    seen: &Mutex<Roamed>,
) -> Result {
    while !stop.load(Ordering::Relaxed) {
        for command in &mut nodes {
            let mut child = command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .map_err(|e| format!("cannot start gsql: {e}"))?;
            while !stop.load(Ordering::Relaxed) && insert(&mut child, n) {
                seen.lock().map_err(|e| e.to_string())?.acknowledge(n);
                n += 1;
                std::thread::sleep(pause);
            }
            // Of a commit that was not answered it is not known whether it was made.
            n += 1;
            child.kill().and_then(|()| child.wait()).map_err(|e| format!("cannot end gsql: {e}"))?;
            std::thread::sleep(PAUSE);
        }
    }
    Ok(())
}

/// Whether the row was committed there.
fn insert(child: &mut Child, n: u64) -> bool {
    let Some(input) = child.stdin.as_mut() else { return false };
    if writeln!(input, "insert into {TABLE} (n) values ({n});").and_then(|()| input.flush()).is_err() {
        return false;
    }
    // One byte at a time is read from the pipe, so that nothing of the next answer is lost in a buffer.
    let Some(output) = child.stdout.as_mut() else { return false };
    for line in BufReader::with_capacity(1, output).lines() {
        match line {
            Ok(line) if line == "INSERT 0 1" => return true,
            Ok(line)
                if ["WARNING:", "NOTICE:", "DETAIL:", "HINT:"].iter().any(|word| line.starts_with(word)) => {}
            _ => return false,
        }
    }
    false
}
