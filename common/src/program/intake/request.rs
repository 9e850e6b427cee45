//! The text of a call, split into the caller's own keys and those that Ansible adds.

use serde_json::{Map, Value};

use super::convert::{convert, kind_of};
use crate::base::{Error, json};

/// Arguments split from what Ansible adds to them.
#[derive(Debug, Default)]
pub(in crate::program) struct Request {
    /// The caller's own keys.
    pub args: Map<String, Value>,
    /// The keys that begin with `_ansible_`, without that prefix.
    pub ansible: Map<String, Value>,
}

impl Request {
    /// Parses the text of a call.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        if text.iter().all(u8::is_ascii_whitespace) {
            return Err(
                Error::bad_args("no arguments: the input is empty").hint("give one JSON object, at least {}")
            );
        }
        let text = std::str::from_utf8(text).map_err(|e| {
            Error::bad_args(format!("the arguments are not UTF-8: byte {} is wrong", e.valid_up_to() + 1))
        })?;
        let value = json::parse(text)
            .map_err(|e| Error::bad_args(format!("the arguments are not one JSON object: {e}")))?;
        let Value::Object(object) = value else {
            return Err(Error::bad_args(format!(
                "the arguments are {}, not one JSON object",
                kind_of(&value)
            )));
        };
        let mut request = Self::default();
        for (key, value) in object {
            match key.strip_prefix("_ansible_") {
                Some(key) => request.ansible.insert(key.to_owned(), value),
                None => request.args.insert(key, value),
            };
        }
        Ok(request)
    }

    /// A flag among Ansible's own keys, in any form that Ansible has for it.
    ///
    /// # Errors
    /// `bad_args` for anything else: it may have meant that nothing is to be changed, or shown.
    pub fn flag(&self, name: &str) -> Result<bool, Error> {
        let Some(value) = self.ansible.get(name).filter(|value| !value.is_null()) else { return Ok(false) };
        let flag = if let Value::Bool(flag) = value { Some(*flag) } else { None };
        flag.or_else(|| convert(value, "boolean")?.as_bool()).ok_or_else(|| {
            Error::bad_args(format!("{} is not true or false", kind_of(value)))
                .with_path(format!("/_ansible_{name}"))
        })
    }
}
