//! Watches that no two nodes are primary at the same time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::cluster::{Cluster, Result};

/// Between two looks at all nodes.
const INTERVAL: Duration = Duration::from_millis(100);

/// Runs `work`, and looks meanwhile whether two of the nodes are primary at once.
///
/// # Errors
/// Those of `work`; two primaries.
pub fn watch_primaries<T>(c: &Cluster, nodes: &[&str], work: impl FnOnce() -> Result<T>) -> Result<T> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if let Some(two) = find_two_primaries(nodes, |name| is_primary(c, name)) {
                    return Some(two);
                }
                std::thread::sleep(INTERVAL);
            }
            None
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        match watcher.join() {
            Ok(None) => result,
            Ok(Some((one, other))) => Err(format!("{one} and {other} were primary at the same time")),
            Err(_) => Err("the watcher panicked".to_owned()),
        }
    })
}

fn is_primary(c: &Cluster, name: &str) -> bool {
    // A server that does not answer takes no writes.
    c.sql(name, "select local_role from pg_stat_get_stream_replications()")
        .is_ok_and(|role| role == "Primary")
}

/// Two nodes of which the first was primary before and after the other one was seen to be: the nodes are asked in turn, and a
/// role may change hands in between.
fn find_two_primaries<'a>(
    nodes: &[&'a str],
    mut is_primary: impl FnMut(&str) -> bool,
) -> Option<(&'a str, &'a str)> {
    let found: Vec<&str> = nodes.iter().copied().filter(|name| is_primary(name)).collect();
    let [one, other, ..] = found[..] else { return None };
    is_primary(one).then_some((one, other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_that_changes_hands_between_two_questions_is_not_two_primaries() {
        let look = |answers: &[bool]| {
            let mut answers = answers.iter();
            find_two_primaries(&["n1", "n2", "n3"], |_| answers.next().copied().unwrap_or(false))
        };
        assert_eq!(look(&[true, false, false]), None);
        assert_eq!(look(&[true, true, false, false]), None);
        assert_eq!(look(&[true, false, true, true]), Some(("n1", "n3")));
    }
}
