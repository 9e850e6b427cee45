//! One run of a workflow: made of its arguments once, and asked with the answers so far what comes next.

use og_common::protocol::Error;
use serde_json::{Value, json};

use crate::args::{Args, Next, NodeCall, Outcome, Workflow};
use crate::cluster::Host;
use crate::owner::Owner;
use crate::replay::Replay;
use crate::steps::{self, How};

/// Seconds until the lock of an interrupted run ends.
const LEFT_LOCK_TTL: u64 = 1;

/// A run of a workflow.
#[derive(Debug)]
pub struct Engine {
    workflow: Workflow,
    targets: Vec<String>,
    hosts: Vec<Host>,
    how: How,
}

/// What a run is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// These calls are to be made.
    Ask(Next),
    /// It has ended.
    Done(Box<Outcome>),
}

impl Engine {
    /// A run by these arguments, whose `answers` are passed over.
    ///
    /// # Errors
    /// `bad_args` for a cluster or options that cannot be used.
    pub fn new(mut args: Args, check: bool, diff: bool) -> Result<Self, Error> {
        let cluster = args.cluster.take().unwrap_or_default();
        let hosts = crate::hosts(&cluster)?;
        let options = crate::options(&cluster, std::mem::take(&mut args.options), &args.variables)?;
        hosts.iter().try_for_each(Host::check_ssh)?;
        let how = How {
            options,
            check,
            diff,
            left_out: crate::distinct(&args.left_out),
            owner: match (args.owner, args.pid) {
                (Some(owner), _) => owner,
                (None, Some(pid)) => Owner::of_process(pid)?.to_string(),
                // It changes nothing, and takes no lock.
                (None, None) if args.workflow.entry().is_none_or(|entry| !entry.changes) => String::new(),
                (None, None) => {
                    return Err(Error::bad_args("who runs the workflow? one of owner and pid is needed"));
                }
            },
        };
        Ok(Self { workflow: args.workflow, targets: crate::distinct(&args.targets), hosts, how })
    }

    /// What comes after these answers.
    ///
    /// # Errors
    /// `bad_args` when there are more answers than were asked for.
    pub fn advance(&self, answers: &[Value]) -> Result<Turn, Error> {
        let replay = Replay::new(&self.hosts, answers);
        match steps::run(self.workflow, &self.targets, &self.hosts, &self.how, replay) {
            Err(next) => Ok(Turn::Ask(next)),
            Ok((outcome, 0)) => Ok(Turn::Done(Box::new(outcome))),
            Ok((_, left)) => {
                Err(Error::bad_args(format!("there are {left} answers more than were asked for"))
                    .at("/answers")
                    .hint("give the same arguments each time, and the answers in the order of the calls"))
            }
        }
    }
}

/// The call by which a run that is broken off lets the cluster's lock end at once, when these calls of it, in their
/// order, may have taken it. The record stays: the next run finds in it what is to be put back.
#[must_use]
pub fn lock_to_leave(calls: &[NodeCall]) -> Option<NodeCall> {
    let last = calls.iter().rfind(|call| {
        call.program == "og_lock" && ["held", "released"].iter().any(|state| call.args["state"] == *state)
    })?;
    let flag = |name: &str| last.args.get(name).and_then(Value::as_bool).unwrap_or(false);
    if last.args["state"] == "released" || flag("check_mode") {
        return None;
    }
    let mut call = last.clone();
    call.args.insert("ttl".to_owned(), json!(LEFT_LOCK_TTL));
    // Whoever took it meanwhile keeps it.
    call.args.remove("force");
    Some(call)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(program: &str, args: Value) -> NodeCall {
        let Value::Object(args) = args else { unreachable!() };
        NodeCall { node: Some("n1".to_owned()), host: None, program: program.to_owned(), args }
    }

    #[test]
    fn a_lock_that_may_be_held_is_left_with_its_purpose() {
        let held = call(
            "og_lock",
            json!({"state": "held", "owner": "o", "purpose": "p", "ttl": 900, "force": true}),
        );
        let other = call("og_hba", json!({"state": "present"}));
        let left = call("og_lock", json!({"state": "held", "owner": "o", "purpose": "p", "ttl": 1}));
        assert_eq!(lock_to_leave(&[held.clone(), other.clone()]), Some(left));
        let query = call("og_lock", json!({"state": "query"}));
        let released = call("og_lock", json!({"state": "released", "owner": "o"}));
        let checked = call("og_lock", json!({"state": "held", "owner": "o", "check_mode": true}));
        for calls in [vec![query, other], vec![held, released], vec![checked]] {
            assert_eq!(lock_to_leave(&calls), None);
        }
    }
}
