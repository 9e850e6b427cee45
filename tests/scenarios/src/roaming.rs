//! A client that commits rows on whichever node is the primary, as an application with several hosts in its connection
//! string does.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::client::TABLE;
use crate::cluster::{Cluster, Result};

/// After each commit, and before the next node is tried.
const PAUSE: Duration = Duration::from_millis(5);

/// What the client saw.
#[derive(Clone, Debug, Default)]
pub struct Roamed {
    /// The rows whose commit was acknowledged.
    pub rows: BTreeSet<u64>,
    /// The longest times between two acknowledged commits, the longest first.
    pub gaps: Vec<Duration>,
    /// When the first commit was acknowledged.
    pub first: Option<Instant>,
}

/// Runs `work` while the client commits rows; those that were acknowledged must then be on all of the nodes.
///
/// # Errors
/// What kept it from working; rows that are missing.
pub fn write_on_any<T>(c: &Cluster, nodes: &[&str], work: impl FnOnce() -> Result<T>) -> Result<(T, Roamed)> {
    let stop = AtomicBool::new(false);
    let commands = nodes.iter().map(|name| gsql(c, name)).collect::<Result<Vec<_>>>()?;
    let (done, seen) = std::thread::scope(|scope| {
        let client = scope.spawn(|| write_rows(commands, &stop));
        let done = work();
        stop.store(true, Ordering::Relaxed);
        (done, client.join().map_err(|_| "the client's thread panicked".to_owned()))
    });
    let (done, seen) = (done?, seen??);
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

fn gsql(c: &Cluster, name: &str) -> Result<Command> {
    let node = c.node(name)?;
    let port = node.base_port.to_string();
    Ok(node.exec(["sh", "-c", "exec gsql -X -d postgres -p \"$1\" 2>&1", "sh", &port]))
}

fn write_rows(mut nodes: Vec<Command>, stop: &AtomicBool) -> Result<Roamed> {
    let mut seen = Roamed::default();
    let epoch = std::time::SystemTime::UNIX_EPOCH.elapsed().map_err(|e| e.to_string())?;
    // Greater than those of a client before it.
    let mut n = u64::try_from(epoch.as_micros()).map_err(|e| e.to_string())?;
    let mut acknowledged: Option<Instant> = None;
    while !stop.load(Ordering::Relaxed) {
        for command in &mut nodes {
            let mut child = command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .map_err(|e| format!("cannot start gsql: {e}"))?;
            while !stop.load(Ordering::Relaxed) && insert(&mut child, n) {
                let now = Instant::now();
                seen.first.get_or_insert(now);
                if let Some(before) = acknowledged.replace(now) {
                    seen.gaps.push(now - before);
                    seen.gaps.sort_unstable_by(|a, b| b.cmp(a));
                    seen.gaps.truncate(5);
                }
                seen.rows.insert(n);
                n += 1;
                std::thread::sleep(PAUSE);
            }
            // Of a commit that was not answered it is not known whether it was made.
            n += 1;
            child.kill().and_then(|()| child.wait()).map_err(|e| format!("cannot end gsql: {e}"))?;
            std::thread::sleep(PAUSE);
        }
    }
    Ok(seen)
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
