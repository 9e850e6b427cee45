//! What a program said when it was called.

use og_common::protocol::{ErrorKind, Reason};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::needed::find_lacking;

/// What to do where the program of a node does not know what a workflow asks for.
const OLDER: &str = concat!(
    "the programs on this node are of another version than og_workflow ",
    env!("CARGO_PKG_VERSION"),
    ": install those of the same version there"
);

/// The object that a program printed.
#[derive(Clone, Debug, Default)]
pub struct Answer(Map<String, Value>);

impl Answer {
    /// The answer of `program`; one that is no object means that it ended without a word.
    #[must_use]
    pub fn new(program: &str, value: &Value) -> Self {
        match value {
            Value::Object(object) => Self(object.clone()),
            _ => Self::failed_with(&format!("{program} ended without an answer")),
        }
    }

    /// The answer of `program`, called with these arguments; one that lacks what the workflows need is a failure.
    #[must_use]
    pub fn from_call(program: &str, args: &Map<String, Value>, value: &Value) -> Self {
        let mut answer = Self::new(program, value);
        if answer.error().is_none()
            && let Some(key) = find_lacking(program, args, &answer.0)
        {
            let detail = format!("the answer of {program} lacks {key}");
            // Whether it changed something still counts.
            answer.0.insert("failed".to_owned(), json!(true));
            answer.0.insert("msg".to_owned(), json!(format!("{detail}; {OLDER}")));
            let error = json!({"kind": ErrorKind::Unsupported, "detail": detail, "hint": OLDER});
            answer.0.insert("error".to_owned(), error);
        }
        answer
    }

    fn failed_with(text: &str) -> Self {
        let mut object = Map::new();
        object.insert("failed".to_owned(), json!(true));
        object.insert("msg".to_owned(), json!(text));
        Self(object)
    }

    /// One that stands for a change that would be made.
    #[must_use]
    pub fn from_foreseen(msg: &str, action: &str) -> Self {
        let mut object = Map::new();
        object.insert("changed".to_owned(), json!(true));
        object.insert("msg".to_owned(), json!(msg));
        object.insert("actions".to_owned(), json!([action]));
        Self(object)
    }

    /// Returns all of it.
    #[must_use]
    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    /// Says that it changed something.
    pub fn mark_changed(&mut self) {
        self.0.insert("changed".to_owned(), json!(true));
    }

    /// Whether it changed something, or would.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.is_true("changed")
    }

    fn is_true(&self, key: &str) -> bool {
        self.0.get(key) == Some(&Value::Bool(true))
    }

    fn has_failed(&self) -> bool {
        self.is_true("failed")
    }

    /// A text of its own.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.0.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// A text of the error.
    #[must_use]
    pub fn error_text(&self, key: &str) -> &str {
        self.0.get("error").and_then(|e| e.get(key)).and_then(Value::as_str).unwrap_or_default()
    }

    /// Texts in a list.
    pub fn texts(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    /// Why the node could not be reached, when it could not.
    #[must_use]
    pub fn unreachable_reason(&self) -> Option<&str> {
        (self.is_true("unreachable") || self.error_text("kind") == "unreachable")
            .then(|| self.text("msg").trim())
    }

    /// Why it failed, with the reason in brackets, by which it is explained, and with what to do; none when it did not.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        if !self.has_failed() {
            return None;
        }
        let words = [self.error_text("detail"), self.text("msg"), "failed without an error message"];
        let text = words.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
        let reason = self.error_text("reason");
        let reason = if reason.is_empty() { String::new() } else { format!(" [{reason}]") };
        let hint = if self.is_of_another_version() { OLDER } else { self.error_text("hint") };
        let hint = if hint.is_empty() || text.contains(hint) { String::new() } else { format!("; {hint}") };
        Some(format!("{text}{reason}{hint}"))
    }

    /// Whether it failed as its program is of another version than the workflow, whose calls fit the programs of its own.
    #[must_use]
    pub fn is_of_another_version(&self) -> bool {
        self.error_text("reason") == Reason::UnknownArgument.name() || self.error_text("hint") == OLDER
    }

    /// What keeps a workflow from going on after this answer, when anything does.
    #[must_use]
    pub fn failure_reason(&self) -> Option<String> {
        match self.unreachable_reason() {
            Some(why) => Some(format!("cannot be reached any more: {why}")),
            None => self.error(),
        }
    }

    /// Its own keys, typed.
    ///
    /// # Errors
    /// What does not fit.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_value(Value::Object(self.0.clone())).map_err(|e| e.to_string())
    }

    /// A key of its own, typed; the default when it is not there or of another type.
    #[must_use]
    pub fn read_key<T: DeserializeOwned + Default>(&self, key: &str) -> T {
        self.0.get(key).cloned().and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value)]
    use super::*;

    fn answer(value: Value) -> Answer {
        Answer::new("og_hba", &value)
    }

    #[test]
    fn an_error_is_told_with_what_to_do_once() {
        let told = |error: Value| answer(json!({"failed": true, "msg": "m", "error": error})).error();
        assert_eq!(told(json!({"detail": "d", "hint": "h"})).as_deref(), Some("d; h"));
        assert_eq!(told(json!({"detail": "do h", "hint": "h"})).as_deref(), Some("do h"));
        // By which `og explain` says more.
        let held = json!({"detail": "d", "hint": "h", "reason": "lock_held"});
        assert_eq!(told(held).as_deref(), Some("d [lock_held]; h"));
        assert_eq!(told(json!(null)).as_deref(), Some("m"));
        assert_eq!(answer(json!({"failed": false, "msg": "m"})).error(), None);
        assert_eq!(answer(Value::Null).error().as_deref(), Some("og_hba ended without an answer"));
    }

    #[test]
    fn programs_of_another_version_are_named_as_such() {
        let error = json!({"kind": "bad_args", "reason": "unknown_argument", "detail": "d", "hint": "h"});
        let told = answer(json!({"failed": true, "msg": "m", "error": error})).error().unwrap_or_default();
        assert!(
            told.starts_with("d [unknown_argument]; the programs on this node are of another version"),
            "{told}"
        );
    }

    #[test]
    fn a_host_out_of_reach_is_told_as_such() {
        let lost = answer(json!({"failed": true, "msg": "no route; look", "error": {"kind": "unreachable"}}));
        assert_eq!(lost.failure_reason().as_deref(), Some("cannot be reached any more: no route; look"));
        assert_eq!(answer(json!({"unreachable": true, "msg": "x"})).unreachable_reason(), Some("x"));
    }
}
