//! What the workflows need of the answers of the programs.
//!
//! An older program that knows all arguments of a call may lack a key of its result that was added since. Read with a default,
//! that would be taken for nothing seen: no obstacle, no line that the server refuses, no parameter that waits for a restart. So an
//! answer without such a key is a failure. A key that is left out of a result where there is nothing to tell cannot be needed;
//! those that an argument asks for need no look, as an older program refuses the argument.

use std::sync::LazyLock;

use og_common::gauss::commits::{CommitGap, ProbedCommits};
use og_common::gauss::initdb::Directory;
use og_common::gauss::tablespaces::Tablespaces;
use og_common::gauss::{
    BuildProgress, ClientTransaction, ClusterLock, Identity, NodeState, Receiver, ReplicationSlot, Sender,
};
use og_preflight::facts::{
    Activity, Admission, ChannelFacts, Disk, Facts, HbaFacts, Leftover, Limits, LockHolder, Port, Reached,
};
use serde_json::{Map, Value, json};

/// What a workflow needs of the answer of a program.
#[derive(Debug)]
pub(crate) struct Needed {
    pub program: &'static str,
    /// Which calls of it.
    pub calls: CallKind,
    /// A value of the same shape: of an object each of its keys, of a list with one element each of its elements. What the answer
    /// has as null was not found there.
    pub shape: Value,
}

/// Which calls of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    All,
    /// Those that ask and change nothing.
    Query,
    /// Those of them with this argument.
    QueryWith(&'static str),
}

impl CallKind {
    fn has(self, args: &Map<String, Value>) -> bool {
        let asks = args.get("state").is_some_and(|state| state == "query");
        match self {
            Self::All => true,
            Self::Query => asks,
            Self::QueryWith(name) => asks && args.contains_key(name),
        }
    }
}

/// All of it.
pub(crate) static NEEDED: LazyLock<Vec<Needed>> = LazyLock::new(|| {
    let always = |program, shape| Needed { program, calls: CallKind::All, shape };
    let of_query = |program, shape| Needed { program, calls: CallKind::Query, shape };
    vec![
        always("og_node_state", json!({"node": node()})),
        of_query("og_node_state", json!({"identity": Identity::default()})),
        always("og_guc", json!({"after": {}, "pending": [], "restart_required": []})),
        always("og_hba", json!({"added": [{"line": 0, "text": ""}]})),
        of_query("og_hba", json!({"rules": [{"line": 0, "text": ""}], "errors": []})),
        always("og_replconninfo", json!({"added": [], "channels": []})),
        Needed {
            program: "og_replconninfo",
            calls: CallKind::QueryWith("local"),
            shape: json!({"local": {"is_here": true}}),
        },
        always("og_static_conf", json!({"nodes": []})),
        always("og_lock", json!({"lock": holder(), "previous": holder(), "age_s": 0})),
        always("og_session", json!({"transactions": [ClientTransaction::default()]})),
        always("og_initdb", json!({"directory": Directory::default(), "listing": [], "obstacles": []})),
        of_query("og_initdb", json!({"password_problem": null})),
        always("og_host", json!({"items": [{"kind": "", "seen": ""}]})),
        always("og_package", json!({"current": null, "other_links": []})),
        always("og_checkpoint", json!({"checkpoint_lsn": null})),
        always("og_probe", json!({"probe": probed(), "now": 0})),
        of_query("og_preflight", json!({"facts": facts()})),
    ]
});

/// A node of which each part that may be missing is there.
fn node() -> NodeState {
    NodeState {
        senders: vec![Sender::default()],
        receiver: Some(Receiver::default()),
        slots: Some(vec![ReplicationSlot::default()]),
        build: Some(BuildProgress::default()),
        tablespaces: Some(Tablespaces::default()),
        ..NodeState::default()
    }
}

/// A probe that has seen a time without a commit.
fn probed() -> ProbedCommits {
    ProbedCommits { gaps: vec![CommitGap::default()], ..ProbedCommits::default() }
}

fn holder() -> Value {
    let ClusterLock { owner, purpose, .. } = ClusterLock::default();
    json!({"owner": owner, "purpose": purpose})
}

/// The facts of og_preflight, the same way.
fn facts() -> Facts {
    Facts {
        server_limits: Some(Limits::default()),
        disks: vec![Disk::default()],
        ports: vec![Port::default()],
        channels: vec![ChannelFacts::default()],
        reached: vec![Reached::default()],
        leftovers: vec![Leftover::default()],
        hba: HbaFacts { admissions: vec![Admission::default()], ..HbaFacts::default() },
        server: node(),
        activity: Some(Activity::default()),
        lock: Some(LockHolder::default()),
        ..Facts::default()
    }
}

/// Returns the first key that the answer of this program lacks, such as `node.tablespaces`; `None` where it has all.
pub(crate) fn find_lacking(
    program: &str,
    args: &Map<String, Value>,
    answer: &Map<String, Value>,
) -> Option<String> {
    let needed = NEEDED.iter().filter(|needed| needed.program == program && needed.calls.has(args));
    needed.filter_map(|needed| needed.shape.as_object()).find_map(|shape| lacking_key(answer, shape))
}

fn lacking_key(told: &Map<String, Value>, shape: &Map<String, Value>) -> Option<String> {
    shape.iter().find_map(|(key, shape)| {
        let Some(value) = told.get(key) else { return Some(key.clone()) };
        let below = match (value, shape) {
            (Value::Object(told), Value::Object(shape)) => lacking_key(told, shape),
            (Value::Array(told), Value::Array(shape)) => {
                let shape = shape.first().and_then(Value::as_object)?;
                told.iter().filter_map(Value::as_object).find_map(|told| lacking_key(told, shape))
            }
            // Null, and what the one who reads it will complain of.
            _ => None,
        };
        below.map(|below| format!("{key}.{below}"))
    })
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::answer::Answer;

    /// What the programs say of what they did not find.
    fn blank(program: &str) -> Value {
        match program {
            "og_node_state" => json!({"node": NodeState::default(), "identity": Identity::default()}),
            "og_lock" => json!({"lock": null, "previous": null, "age_s": null}),
            "og_guc" => json!({"after": {}, "pending": [], "restart_required": []}),
            "og_hba" => json!({"added": [], "rules": [], "errors": []}),
            "og_replconninfo" => json!({"added": [], "channels": [], "local": {"is_here": true}}),
            "og_static_conf" => json!({"nodes": []}),
            "og_session" => json!({"transactions": []}),
            "og_initdb" => json!({"directory": Directory::default(), "listing": [], "obstacles": []}),
            "og_host" => json!({"items": []}),
            "og_preflight" => json!({"facts": Facts::default()}),
            "og_probe" => json!({"probe": null, "now": 0}),
            _ => json!({"current": null, "checkpoint_lsn": null}),
        }
    }

    /// The answer of a test, which tells what it is about, with all else that the program would tell.
    pub(crate) fn complete(program: &str, args: &Map<String, Value>, mut answer: Value) -> Value {
        // Checks without facts are what a test of them is about.
        let is_whole = program != "og_preflight" || answer.get("facts").is_some();
        if answer["failed"] != json!(true) && answer.is_object() && is_whole {
            for needed in NEEDED.iter().filter(|needed| needed.program == program && needed.calls.has(args)) {
                fill(&mut answer, &blank(program), &needed.shape);
            }
        }
        answer
    }

    fn fill(answer: &mut Value, blank: &Value, shape: &Value) {
        match (answer, shape) {
            (Value::Object(answer), Value::Object(shape)) => {
                for (key, shape) in shape {
                    let blank = blank.get(key).unwrap_or(shape);
                    match answer.get_mut(key) {
                        Some(value) => fill(value, if blank.is_null() { shape } else { blank }, shape),
                        None => drop(answer.insert(key.clone(), blank.clone())),
                    }
                }
            }
            (Value::Array(answer), Value::Array(shape)) => {
                let shape = shape.first().unwrap_or(&Value::Null);
                for item in answer.iter_mut() {
                    fill(item, shape, shape);
                }
            }
            _ => {}
        }
    }

    /// Every key of a shape, as a path to it, those within lists by their first element.
    fn paths(shape: &Value) -> Vec<String> {
        let mut out = Vec::new();
        match shape {
            Value::Object(keys) => {
                for (key, below) in keys {
                    let key = key.replace('~', "~0").replace('/', "~1");
                    out.push(format!("/{key}"));
                    out.extend(paths(below).into_iter().map(|path| format!("/{key}{path}")));
                }
            }
            Value::Array(list) => {
                let below = list.first().map(paths).unwrap_or_default();
                out.extend(below.into_iter().map(|path| format!("/0{path}")));
            }
            _ => {}
        }
        out
    }

    /// The arguments of a call for which this is needed.
    fn args_for(needed: &Needed) -> Map<String, Value> {
        let args = match needed.calls {
            CallKind::All => json!({}),
            CallKind::Query => json!({"state": "query"}),
            CallKind::QueryWith(name) => json!({"state": "query", name: {}}),
        };
        args.as_object().unwrap().clone()
    }

    #[test]
    fn an_answer_that_lacks_any_key_that_is_needed_is_one_of_another_version() {
        let mut count = 0;
        for needed in NEEDED.iter() {
            let args = args_for(needed);
            let whole = complete(needed.program, &args, needed.shape.clone());
            let told = |answer: &Value| Answer::from_call(needed.program, &args, answer);
            assert_eq!(told(&whole).error(), None, "{}", needed.program);
            for path in paths(&needed.shape) {
                let mut answer = whole.clone();
                let (parent, key) = path.rsplit_once('/').unwrap();
                answer.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key).unwrap();
                let told = told(&answer);
                let why = told.error().unwrap_or_default();
                let key = path.trim_start_matches('/').replace("/0/", "/").replace('/', ".");
                assert!(
                    why.starts_with(&format!("the answer of {} lacks {key}; ", needed.program)),
                    "{path}: {why}"
                );
                assert!(told.is_of_another_version(), "{path}");
                count += 1;
            }
        }
        assert!(count > 200, "{count}");
    }

    #[test]
    fn what_a_program_did_before_it_failed_still_counts() {
        let told =
            Answer::from_call("og_hba", &Map::new(), &json!({"changed": true, "failed": false, "msg": "m"}));
        assert!(told.has_changed() && told.error().is_some());
        // One that failed has its own reason.
        let told = Answer::from_call("og_hba", &Map::new(), &json!({"failed": true, "msg": "m"}));
        assert_eq!(told.error().as_deref(), Some("m"));
    }

    #[test]
    fn the_programs_have_these_keys() {
        for needed in NEEDED.iter() {
            let program = needed.program;
            let read = |path: String| -> Value {
                let path = format!("{}/../../schemas/{path}", env!("CARGO_MANIFEST_DIR"));
                serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap()
            };
            let schema = read(format!("v1/{program}.result.json"));
            for key in needed.shape.as_object().unwrap().keys() {
                assert!(schema["properties"].get(key).is_some(), "{program}: {key}");
            }
            // In what real calls said, though shortened.
            let samples = read(format!("samples/{program}.json"));
            for sample in samples.as_array().unwrap().iter().filter(|sample| sample["failed"] == json!(false))
            {
                let all = needed.shape.as_object().unwrap().keys().filter(|_| needed.calls == CallKind::All);
                let lacking: Vec<_> = all.filter(|key| sample.get(key).is_none()).collect();
                assert!(lacking.is_empty(), "{program}: {lacking:?} in {sample}");
            }
        }
    }

    /// Keys that the steps read and that are not needed, and why.
    const NOT_NEEDED: [(&str, &str); 10] = [
        ("certificates", "of og_workflow itself"),
        ("cm", "left out where no CM is; an argument asks for it"),
        ("data_bytes", "the step that reads it says so when it is not there"),
        ("diff", "left out where nothing is to be shown; an argument asks for it"),
        ("elapsed_ms", "without it a wait counts as a short one"),
        ("log_end", "an argument asks for it"),
        ("over", "of og_workflow itself"),
        ("package", "of og_workflow itself"),
        ("received_at", "the caller adds it; without it the node's clock counts"),
        ("sent_at", "the caller adds it; without it the node's clock counts"),
    ];

    #[test]
    fn each_key_that_a_step_reads_is_needed_or_is_known_not_to_be() {
        let folder = format!("{}/src/steps", env!("CARGO_MANIFEST_DIR"));
        let mut read = std::collections::BTreeSet::new();
        for file in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_none_or(|ending| ending != "rs") || file.ends_with("tests.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&file).unwrap();
            let calls = text.split("read_key").skip(1);
            read.extend(
                calls.filter_map(|rest| Some(rest.split_once("(\"")?.1.split_once('"')?.0.to_owned())),
            );
        }
        assert!(read.len() > 10, "{read:?}");
        let is_needed = |key: &str| NEEDED.iter().any(|needed| needed.shape.get(key).is_some());
        let left: Vec<_> = read
            .iter()
            .filter(|key| !is_needed(key) && !NOT_NEEDED.iter().any(|(known, _)| known == key))
            .collect();
        assert!(left.is_empty(), "{left:?}: add them to NEEDED, or here with the reason");
    }
}
