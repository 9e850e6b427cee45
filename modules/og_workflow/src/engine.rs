//! One run of a workflow: made of its arguments once, and asked with the answers so far what comes next.

use std::collections::BTreeMap;

use og_common::protocol::Error;
use serde_json::{Value, json};

use crate::args::{Args, Next, NodeCall, Outcome, RecordRuns, Workflow};
use crate::cluster::InventoryHost;
use crate::owner::Owner;
use crate::replay::Replay;
use crate::seen::PROBE;
use crate::steps::{self, How};

/// Seconds until the lock of an interrupted run ends.
const LEFT_LOCK_TTL_SECONDS: u64 = 1;
/// Kinds of errors of a call that took no lock.
const NOT_TAKEN: [&str; 3] = ["busy", "refused", "bad_args"];

/// A run of a workflow.
#[derive(Debug)]
pub struct Engine {
    workflow: Workflow,
    targets: Vec<String>,
    hosts: Vec<InventoryHost>,
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
        hosts.iter().try_for_each(InventoryHost::check_ssh)?;
        let how = How {
            options,
            check,
            diff,
            left_out: crate::distinct(&args.left_out),
            owner: match (args.owner, args.pid) {
                (Some(owner), _) => owner,
                (None, Some(pid)) => Owner::from_pid(pid)?.to_string(),
                // It changes nothing, and takes no lock.
                (None, None) if args.workflow.entry().is_none_or(|entry| !entry.changes) => String::new(),
                (None, None) => {
                    return Err(Error::bad_args("who runs the workflow? one of owner and pid is needed"));
                }
            },
        };
        Ok(Self { workflow: args.workflow, targets: crate::distinct(&args.targets), hosts, how })
    }

    /// Whether the run leaves a record, where its caller writes one.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        match self.how.options.og_record {
            RecordRuns::All => true,
            RecordRuns::None => false,
            RecordRuns::Changes => {
                !self.how.check && self.workflow.entry().is_some_and(|entry| entry.changes)
            }
        }
    }

    /// Returns the nodes as they were described.
    #[must_use]
    pub fn hosts(&self) -> &[InventoryHost] {
        &self.hosts
    }

    /// Returns who runs the workflow; empty where it changes nothing.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.how.owner
    }

    /// Returns the command that is told what came of the run, with its arguments.
    #[must_use]
    pub fn notify(&self) -> &[String] {
        &self.how.options.og_notify
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
                    .with_path("/answers")
                    .hint("give the same arguments each time, and the answers in the order of the calls"))
            }
        }
    }

    /// Returns the calls by which a run that is broken off stops the probes that it may have started by these calls with their
    /// answers; null is no answer.
    #[must_use]
    pub fn probes_to_stop(&self, made: &[(NodeCall, Value)]) -> Vec<NodeCall> {
        let mut at_work: BTreeMap<Option<&str>, &NodeCall> = BTreeMap::new();
        for (call, answer) in made.iter().filter(|(call, _)| call.program == PROBE) {
            match call.args.get("state").and_then(Value::as_str) {
                Some("started") => drop(at_work.insert(call.node.as_deref(), call)),
                Some("stopped") if answer["failed"] == json!(false) => {
                    at_work.remove(&call.node.as_deref());
                }
                _ => {}
            }
        }
        let stop = |call: &NodeCall| {
            let mut call = call.clone();
            call.args.insert("state".to_owned(), json!("stopped"));
            call
        };
        at_work.into_values().map(stop).collect()
    }

    /// Returns the calls by which a run that is broken off lets the cluster's lock end at once, on each node where it may hold
    /// it after these calls with their answers, in their order; null is no answer. The record stays: the next run finds in it
    /// what is to be restored.
    #[must_use]
    pub fn locks_to_leave(&self, made: &[(NodeCall, Value)]) -> Vec<NodeCall> {
        if self.how.check {
            return Vec::new();
        }
        let mut held: BTreeMap<Option<&str>, &NodeCall> = BTreeMap::new();
        for (call, answer) in made.iter().filter(|(call, _)| call.program == "og_lock") {
            let is_own = call.args.get("owner").and_then(Value::as_str) == Some(&self.how.owner);
            let done = answer["failed"] == json!(false);
            let kind = answer["error"]["kind"].as_str().unwrap_or_default();
            match (call.args.get("state").and_then(Value::as_str), is_own) {
                // Nothing was taken; what was held before still is.
                (Some("held"), true) if NOT_TAKEN.contains(&kind) => {}
                (Some("held"), true) => drop(held.insert(call.node.as_deref(), call)),
                // Released, or given back to the run that had taken it in between.
                (Some("released"), true) | (Some("held"), false) if done => {
                    held.remove(&call.node.as_deref());
                }
                _ => {}
            }
        }
        let leave = |call: &NodeCall| {
            let mut call = call.clone();
            call.args.insert("ttl".to_owned(), json!(LEFT_LOCK_TTL_SECONDS));
            // Whoever took it meanwhile keeps it.
            call.args.remove("force");
            call
        };
        held.into_values().map(leave).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const OWN: &str = "dba@here pid 1 start 2";

    fn engine(check: bool) -> Engine {
        let args = json!({"workflow": "drop", "targets": ["n2"], "owner": OWN,
            "cluster": {"hosts": {"n1": {"id": 1}, "n2": {"id": 2}}, "vars": {"data_dir": "/d"}}});
        Engine::new(serde_json::from_value(args).unwrap(), check, false).unwrap()
    }

    fn call(program: &str, args: Value) -> NodeCall {
        let Value::Object(args) = args else { unreachable!() };
        NodeCall {
            node: Some("n1".to_owned()),
            host: None,
            program: program.to_owned(),
            args,
            put: None,
            timed: false,
        }
    }

    fn held(owner: &str) -> NodeCall {
        call("og_lock", json!({"state": "held", "owner": owner, "purpose": "p", "ttl": 900, "force": true}))
    }

    fn released() -> NodeCall {
        call("og_lock", json!({"state": "released", "owner": OWN}))
    }

    fn failed(kind: &str) -> Value {
        json!({"failed": true, "changed": false, "msg": "m", "error": {"kind": kind}})
    }

    fn done() -> Value {
        json!({"failed": false, "changed": true, "msg": "m"})
    }

    fn left(made: &[(NodeCall, Value)]) -> bool {
        !engine(false).locks_to_leave(made).is_empty()
    }

    #[test]
    fn a_lock_that_may_be_held_is_left_with_its_purpose() {
        let wanted = call("og_lock", json!({"state": "held", "owner": OWN, "purpose": "p", "ttl": 1}));
        for answer in [done(), Value::Null, failed("interrupted"), failed("unreachable"), failed("io")] {
            let other = (call("og_hba", json!({"state": "present"})), done());
            let made = [(held(OWN), answer), other];
            assert_eq!(engine(false).locks_to_leave(&made), std::slice::from_ref(&wanted), "{made:?}");
            assert_eq!(engine(true).locks_to_leave(&made), []);
        }
        assert!(!left(&[(call("og_lock", json!({"state": "query"})), done())]));
    }

    #[test]
    fn a_probe_that_may_be_at_work_is_stopped() {
        let probe = |state: &str| call("og_probe", json!({"state": state, "timeout": 60}));
        let stopped = |made: &[(NodeCall, Value)]| engine(false).probes_to_stop(made);
        for answer in [done(), Value::Null, failed("interrupted")] {
            assert_eq!(stopped(&[(held(OWN), done()), (probe("started"), answer)]), [probe("stopped")]);
        }
        assert_eq!(stopped(&[(probe("started"), done()), (probe("stopped"), done())]), []);
        assert_eq!(
            stopped(&[(probe("started"), done()), (probe("stopped"), Value::Null)]),
            [probe("stopped")]
        );
    }

    #[test]
    fn a_lock_that_was_not_taken_is_not_left() {
        for kind in ["busy", "refused", "bad_args"] {
            assert!(!left(&[(held(OWN), failed(kind))]), "{kind}");
            // A renewal that fails leaves what was held before.
            assert!(left(&[(held(OWN), done()), (held(OWN), failed(kind))]), "{kind}");
        }
    }

    #[test]
    fn a_lock_is_held_until_its_release_is_answered() {
        assert!(!left(&[(held(OWN), done()), (released(), done())]));
        for answer in [Value::Null, failed("interrupted"), failed("unreachable")] {
            assert!(left(&[(held(OWN), done()), (released(), answer)]));
        }
        assert!(left(&[(held(OWN), done()), (released(), done()), (held(OWN), done())]));
    }

    #[test]
    fn a_lock_that_is_given_back_to_another_run_is_left_alone() {
        let other = "other@here pid 5 start 6";
        let taken = [(held(OWN), failed("busy")), (held(OWN), done())];
        assert!(!left(&[(held(other), done())]));
        assert!(!left(&[&taken[..], &[(held(other), done())]].concat()));
        assert!(!left(&[&taken[..], &[(held(other), done()), (held(OWN), failed("busy"))]].concat()));
        let calls = engine(false).locks_to_leave(&[&taken[..], &[(held(other), Value::Null)]].concat());
        let [call] = &calls[..] else { panic!("{calls:?}") };
        assert_eq!((&call.args["owner"], call.args.get("force")), (&json!(OWN), None));
    }

    #[test]
    fn a_lock_is_left_on_each_node_that_has_it() {
        let on = |node: &str, call: NodeCall| NodeCall { node: Some(node.to_owned()), ..call };
        let both = [(on("n1", held(OWN)), done()), (on("n2", held(OWN)), done())];
        let nodes = |made: &[(NodeCall, Value)]| -> Vec<_> {
            engine(false).locks_to_leave(made).into_iter().filter_map(|call| call.node).collect()
        };
        assert_eq!(nodes(&both), ["n1", "n2"]);
        assert_eq!(nodes(&[&both[..], &[(on("n1", released()), done())]].concat()), ["n2"]);
    }
}
