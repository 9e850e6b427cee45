//! What a call has done so far, for the result of one that ends before its end.

use std::cell::RefCell;
use std::rc::Rc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Call, Error};

/// What a call has done so far; it outlives the call, which a signal or its time limit may end anywhere.
#[derive(Clone, Debug, Default)]
pub(super) struct Done(Rc<RefCell<Changes>>);

#[derive(Debug, Default)]
struct Changes {
    actions: Vec<String>,
    keys: Map<String, Value>,
}

impl Done {
    /// The error, which says all that was done before it.
    pub(super) fn before(&self, error: Error) -> Error {
        let Changes { actions, keys } = &*self.0.borrow();
        let error = error.after(actions.clone());
        let changed = !error.failure().actions.is_empty();
        if changed { error.with_keys(keys.clone()) } else { error }
    }
}

impl Call {
    /// Notes what was done and stays done, as each step ends: a call that fails afterwards, or that a signal or the time
    /// limit ends, says so in its `actions`.
    pub fn did(&self, what: impl Into<String>) {
        self.done.0.borrow_mut().actions.push(what.into());
    }

    /// What was noted has been taken back.
    pub fn undid(&self) {
        self.done.0.borrow_mut().actions.clear();
    }

    /// What was noted.
    #[must_use]
    pub fn done(&self) -> Vec<String> {
        self.done.0.borrow().actions.clone()
    }

    /// Notes the module's own keys of the result, for a call that fails after it did something: whoever takes it back
    /// reads there what it was.
    pub fn keep(&self, output: &impl Serialize) {
        if let Ok(Value::Object(keys)) = serde_json::to_value(output) {
            self.done.0.borrow_mut().keys = keys;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::protocol::ErrorKind;

    #[test]
    fn an_error_says_what_was_done_before_it() {
        let (call, error) = (Call::default(), || Error::new(ErrorKind::Timeout, "late"));
        call.keep(&json!({"added": [1]}));
        assert_eq!(call.done.before(error()), error(), "nothing was done");
        call.did("a");
        let told = call.done.before(error().after(vec!["b".to_owned()]));
        assert_eq!(told.failure().actions, ["a", "b"]);
        assert_eq!(told.failure().keys["added"], json!([1]));
        call.undid();
        assert_eq!(call.done.before(error()), error());
    }
}
