//! What a call has done so far, for the result of one that ends before its end.

use std::cell::RefCell;
use std::rc::Rc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Call, Error, ErrorKind, Reason};

/// What a call has done so far; it outlives the call, which a signal or its time limit may end anywhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done(Rc<RefCell<Changes>>);

#[derive(Debug, Default)]
struct Changes {
    actions: Vec<String>,
    begun: Option<Begun>,
    keys: Map<String, Value>,
}

/// A step under way that nobody can call back.
#[derive(Debug)]
struct Begun {
    action: String,
    goes_on: String,
}

impl Done {
    /// The error, which says all that was done before it.
    pub(crate) fn complete_error(&self, error: Error) -> Error {
        let Changes { actions, begun, keys } = &*self.0.borrow();
        let mut actions = actions.clone();
        let mut error = error;
        // An error of the step itself says what became of it; these two came in its middle.
        let cut_off = matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Interrupted);
        if let Some(begun) = begun.as_ref().filter(|_| cut_off) {
            actions.push(format!("{} (begun, and goes on)", begun.action));
            error = error.reason(Reason::GoesOn).hint(&begun.goes_on);
        }
        let error = error.with_actions(actions);
        let changed = !error.failure().actions.is_empty();
        if changed { error.with_keys(keys.clone()) } else { error }
    }
}

impl Call {
    /// Notes what was done and stays done, as each step ends: a call that fails afterwards, or that a signal or the time
    /// limit ends, says so in its `actions`.
    pub fn record_action(&self, what: impl Into<String>) {
        let mut changes = self.done.0.borrow_mut();
        changes.begun = None;
        changes.actions.push(what.into());
    }

    /// Notes that `action` is about to be begun and can then not be called back: a call that a signal or the time limit
    /// ends before [`Call::record_action`] or [`Call::clear_begun`] says it in its `actions`, and `goes_on` as what goes on without it.
    pub fn record_begun(&self, action: impl Into<String>, goes_on: impl Into<String>) {
        let begun = Begun { action: action.into(), goes_on: goes_on.into() };
        self.done.0.borrow_mut().begun = Some(begun);
    }

    /// Clears the step of [`Call::record_begun`], which ended and changed nothing.
    pub fn clear_begun(&self) {
        self.done.0.borrow_mut().begun = None;
    }

    /// Clears the recorded actions: they were rolled back.
    pub fn clear_actions(&self) {
        self.done.0.borrow_mut().actions.clear();
    }

    /// Returns the recorded actions.
    #[must_use]
    pub fn recorded_actions(&self) -> Vec<String> {
        self.done.0.borrow().actions.clone()
    }

    /// Notes the module's own keys of the result, for a call that fails after it did something: whoever takes it back
    /// reads there what it was.
    pub fn record_output(&self, output: &impl Serialize) {
        if let Ok(Value::Object(keys)) = serde_json::to_value(output) {
            self.done.0.borrow_mut().keys = keys;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::base::ErrorKind;

    #[test]
    fn a_call_that_ends_in_the_middle_of_a_step_says_what_goes_on() {
        let call = Call::default();
        let told = |kind| call.done.complete_error(Error::new(kind, "x").hint("call again"));
        call.record_action("a");
        call.record_begun("b", "the server does b without us");
        for kind in [ErrorKind::Timeout, ErrorKind::Interrupted] {
            let error = told(kind);
            let failure = error.failure();
            assert_eq!(failure.actions, ["a", "b (begun, and goes on)"]);
            assert_eq!(failure.reason, Some(Reason::GoesOn));
            assert_eq!(failure.hint.as_deref(), Some("the server does b without us"));
        }
        assert_eq!(told(ErrorKind::CommandFailed).failure().actions, ["a"]);
        call.clear_begun();
        assert_eq!(told(ErrorKind::Timeout).failure().actions, ["a"]);
        call.record_begun("b", "");
        call.record_action("b");
        assert_eq!(told(ErrorKind::Timeout).failure().actions, ["a", "b"]);
    }

    #[test]
    fn an_error_says_what_was_done_before_it() {
        let (call, error) = (Call::default(), || Error::new(ErrorKind::Timeout, "late"));
        call.record_output(&json!({"added": [1]}));
        assert_eq!(call.done.complete_error(error()), error(), "nothing was done");
        call.record_action("a");
        let told = call.done.complete_error(error().with_actions(vec!["b".to_owned()]));
        assert_eq!(told.failure().actions, ["a", "b"]);
        assert_eq!(told.failure().keys["added"], json!([1]));
        call.clear_actions();
        assert_eq!(call.done.complete_error(error()), error());
    }
}
