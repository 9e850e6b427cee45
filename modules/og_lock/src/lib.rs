//! One workflow at a time on a cluster: a lock that is kept on a node, survives a crash of whoever took it, and ends by
//! itself.

use og_common::clock;
use og_common::files::FileLock;
use og_common::gauss::{ClusterLock, cluster_lock};
use og_common::protocol::{ArgRule, Call, Error, ErrorKind, Example, Module, Reason, Report};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The module `og_lock`.
#[derive(Debug)]
pub struct Lock;

/// The wanted state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// `owner` holds the lock; held already by the same owner, it is renewed.
    #[default]
    Held,
    /// `owner` does not hold the lock.
    Released,
    /// Return who holds it.
    Query,
}

/// The arguments.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Args {
    /// The wanted state.
    #[serde(default)]
    pub state: State,
    /// Who takes or releases the lock, such as `dba@control`.
    pub owner: Option<String>,
    /// What for; others are told, and whoever takes the lock next gets it in `previous`.
    #[serde(default)]
    pub purpose: String,
    /// Seconds after which the lock ends by itself unless it is taken again.
    #[serde(default = "default_ttl")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub ttl: u64,
    /// Take the lock from whoever holds it, or release it for whoever holds it.
    #[serde(default)]
    pub force: bool,
}

fn default_ttl() -> u64 {
    900
}

/// The module's own keys of the result.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Output {
    /// The lock as it is after the call; null when nobody holds it.
    pub lock: Option<ClusterLock>,
    /// The lock as it was found, also when it had expired; null when there was none.
    pub previous: Option<ClusterLock>,
    /// Seconds since the lock was taken that was found; null when there was none.
    pub age_s: Option<u64>,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Nothing,
    Write(ClusterLock),
    Remove,
}

impl Module for Lock {
    const NAME: &'static str = "og_lock";
    const ABOUT: &'static str = "One workflow at a time on a cluster";
    const TIMEOUT: u64 = 60;
    const EXAMPLES: &'static [Example] = &[
        Example {
            title: "Take the lock before a change of the cluster",
            args: r#"{"data_dir": "/data/dn1", "owner": "dba@control", "purpose": "add node 3"}"#,
        },
        Example {
            title: "Give it back",
            args: r#"{"data_dir": "/data/dn1", "state": "released", "owner": "dba@control"}"#,
        },
        Example { title: "Who holds it?", args: r#"{"data_dir": "/data/dn1", "state": "query"}"# },
    ];
    const RULES: &'static [ArgRule] = &[
        ArgRule::RequiredIf { key: "state", value: "held", needs: &["owner"] },
        ArgRule::RequiredIf { key: "state", value: "released", needs: &["owner"] },
    ];
    type Args = Args;
    type Output = Output;

    async fn run(call: &Call, args: Args) -> Result<Report<Output>, Error> {
        let data_dir = call.data_dir()?;
        let write = !call.check && args.state != State::Query;
        let _lock = if write {
            Some(FileLock::acquire(&data_dir.join(cluster_lock::FILE), call).await?)
        } else {
            None
        };
        let present = match cluster_lock::read(&data_dir) {
            // With force even a record that nobody can read is replaced.
            Err(e) if args.force && e.kind() == ErrorKind::Corrupt => None,
            read => read?,
        };
        let now = clock::now();
        let plan = plan(present.as_ref(), &args, now)?;
        let held = |record: &Option<ClusterLock>| record.clone().filter(|r| r.is_held(now));
        let owner = args.owner.as_deref().unwrap_or_default();
        let (lock, actions, msg) = match plan {
            Plan::Nothing => {
                let lock = held(&present);
                let msg = match &lock {
                    Some(r) => held_by(r),
                    None => "the lock is free".to_owned(),
                };
                (lock, vec![], msg)
            }
            Plan::Write(record) => {
                if !call.check {
                    cluster_lock::write(&data_dir, &record)?;
                }
                let actions = match held(&present) {
                    // Who holds it and what for is as before; that it now ends later is no change to anybody.
                    Some(r) if r.owner == record.owner && r.purpose == record.purpose => vec![],
                    Some(r) if r.owner == record.owner => {
                        vec![format!("changed the purpose of {owner}'s lock")]
                    }
                    Some(r) => vec![format!("took the lock from {} for {owner}", r.owner)],
                    None => vec![format!("took the lock for {owner}")],
                };
                let msg = format!("held by {owner} until {}{}", record.until, purpose_clause(&record));
                (Some(record), actions, msg)
            }
            Plan::Remove => {
                if !call.check {
                    cluster_lock::remove(&data_dir)?;
                }
                (None, vec!["released the lock".to_owned()], "the lock is free".to_owned())
            }
        };
        let since = present.as_ref().and_then(|record| record.since_epoch);
        let age_s = since.map(|since| now.saturating_sub(since));
        Ok(Report::new(actions, msg, Output { lock, previous: present, age_s }))
    }
}

fn plan(present: Option<&ClusterLock>, args: &Args, now: u64) -> Result<Plan, Error> {
    let owner = args.owner.as_deref().unwrap_or_default();
    let other = present.filter(|r| r.is_held(now) && r.owner != owner);
    match args.state {
        State::Query => Ok(Plan::Nothing),
        State::Held => match other {
            Some(holder) if !args.force => Err(busy_error(holder)),
            _ => Ok(Plan::Write(ClusterLock::new(owner, &args.purpose, args.ttl, now, present))),
        },
        State::Released => match (present, other) {
            (None, _) => Ok(Plan::Nothing),
            (Some(_), Some(holder)) if !args.force => Err(busy_error(holder)),
            // One that had expired is cleared away too.
            (Some(_), _) => Ok(Plan::Remove),
        },
    }
}

fn held_by(r: &ClusterLock) -> String {
    format!("held by {} since {} until {}{}", r.owner, r.since, r.until, purpose_clause(r))
}

fn busy_error(holder: &ClusterLock) -> Error {
    let detail = format!("the lock is {}", held_by(holder));
    Error::new(ErrorKind::Busy, detail)
        .reason(Reason::LockHeld)
        .hint("wait until it is released, or take it with force: true")
}

fn purpose_clause(record: &ClusterLock) -> String {
    if record.purpose.is_empty() { String::new() } else { format!(" for: {}", record.purpose) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn args(state: State, owner: &str, force: bool) -> Args {
        Args { state, owner: Some(owner.into()), purpose: "p".into(), ttl: 100, force }
    }

    fn record(owner: &str, from: u64) -> ClusterLock {
        ClusterLock::new(owner, "p", 100, from, None)
    }

    #[test]
    fn a_free_or_expired_lock_is_taken() {
        for present in [None, Some(record("b", 0))] {
            let plan = plan(present.as_ref(), &args(State::Held, "a", false), 1000).unwrap();
            assert_eq!(plan, Plan::Write(record("a", 1000)));
        }
    }

    #[test]
    fn a_lock_that_holds_is_busy_unless_forced() {
        let present = record("b", 950);
        let error = plan(Some(&present), &args(State::Held, "a", false), 1000).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert_eq!(
            error.failure().detail,
            "the lock is held by b since 1970-01-01T00:15:50Z until 1970-01-01T00:17:30Z for: p"
        );
        assert!(plan(Some(&present), &args(State::Released, "a", false), 1000).is_err());
        let forced = plan(Some(&present), &args(State::Held, "a", true), 1000).unwrap();
        assert_eq!(forced, Plan::Write(record("a", 1000)));
        assert_eq!(plan(Some(&present), &args(State::Released, "a", true), 1000).unwrap(), Plan::Remove);
    }

    #[test]
    fn the_same_owner_renews_and_keeps_since() {
        let present = record("a", 950);
        let Plan::Write(renewed) = plan(Some(&present), &args(State::Held, "a", false), 1000).unwrap() else {
            panic!("renewed");
        };
        assert_eq!((renewed.since.as_str(), renewed.until_epoch), (present.since.as_str(), 1100));
    }

    #[test]
    fn released_twice_is_released() {
        assert_eq!(plan(None, &args(State::Released, "a", false), 1).unwrap(), Plan::Nothing);
        assert_eq!(
            plan(Some(&record("b", 0)), &args(State::Released, "a", false), 500).unwrap(),
            Plan::Remove
        );
    }

    #[test]
    fn a_copy_on_another_node_does_not_count() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let held = record("a", clock::now());
        cluster_lock::write(here.path(), &held).unwrap();
        assert_eq!(cluster_lock::read(here.path()).unwrap(), Some(held));
        std::fs::copy(here.path().join(cluster_lock::FILE), there.path().join(cluster_lock::FILE)).unwrap();
        assert_eq!(cluster_lock::read(there.path()).unwrap(), None);
    }

    #[test]
    fn a_file_of_something_else_is_corrupt() {
        let here = tempfile::tempdir().unwrap();
        std::fs::write(here.path().join(cluster_lock::FILE), "{}").unwrap();
        assert_eq!(cluster_lock::read(here.path()).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
