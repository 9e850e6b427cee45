//! What holds between arguments: checked at intake, written in the words of JSON Schema.

use serde_json::{Map, Value};

use super::super::ArgRule;
use super::{Problem, pointer};

impl ArgRule {
    pub(super) fn check(&self, args: &Map<String, Value>, schema: &Value, problems: &mut Vec<Problem>) {
        let given = |keys: &[&'static str]| -> Vec<&'static str> {
            keys.iter().copied().filter(|k| args.contains_key(*k)).collect()
        };
        let value_of = |key: &str| -> Option<String> {
            let value = args.get(key).or_else(|| schema.get("properties")?.get(key)?.get("default"))?;
            Some(word(value))
        };
        match *self {
            Self::Exclusive(keys) => {
                let given = given(keys);
                if given.len() > 1 {
                    problems.push(Problem::new("", format!("{} exclude each other", given.join(" and "))));
                }
            }
            Self::AnyOf(keys) => {
                if given(keys).is_empty() {
                    problems.push(Problem::new("", format!("one of {} is needed", keys.join(", "))));
                }
            }
            Self::Together(keys) => {
                let given = given(keys);
                if !given.is_empty() && given.len() < keys.len() {
                    problems.push(Problem::new("", format!("{} go together", keys.join(" and "))));
                }
            }
            Self::RequiredIf { key, value, needs } => {
                if value_of(key).as_deref() == Some(value) {
                    for need in needs.iter().filter(|need| !args.contains_key(**need)) {
                        problems
                            .push(Problem::new(&pointer("", need), format!("is needed with {key}: {value}")));
                    }
                }
            }
            Self::OnlyIf { key, values, allows } => {
                let now = value_of(key).unwrap_or_default();
                if !values.contains(&now.as_str()) {
                    for name in given(allows) {
                        let what = format!("means something only with {key}: {}", values.join(" or "));
                        problems.push(Problem::new(&pointer("", name), what));
                    }
                }
            }
        }
    }

    /// The rule in the words of JSON Schema.
    pub(in crate::program) fn to_schema(self, properties: &Value) -> Value {
        let required = |keys: &[&str]| serde_json::json!({ "required": keys });
        // The default counts where the argument is not given.
        let condition = |key: &str, value: Value, by_default: &dyn Fn(&str) -> bool| {
            let mut condition = serde_json::json!({ "properties": { key: value } });
            let default = properties.get(key).and_then(|p| p.get("default")).map(word);
            if !by_default(&default.unwrap_or_default()) {
                condition["required"] = serde_json::json!([key]);
            }
            condition
        };
        match self {
            Self::Exclusive(keys) => {
                let pairs: Vec<_> = keys
                    .iter()
                    .enumerate()
                    .flat_map(|(n, a)| keys[n + 1..].iter().map(move |b| [*a, *b]))
                    .map(|pair| required(&pair))
                    .collect();
                serde_json::json!({ "not": { "anyOf": pairs } })
            }
            Self::AnyOf(keys) => {
                serde_json::json!({ "anyOf": keys.iter().map(|k| required(&[k])).collect::<Vec<_>>() })
            }
            Self::Together(keys) => serde_json::json!({
                "dependentRequired": keys.iter().map(|k| ((*k).to_owned(), Value::from(
                    keys.iter().copied().filter(|o| o != k).collect::<Vec<_>>(),
                ))).collect::<Map<_, _>>()
            }),
            Self::RequiredIf { key, value, needs } => serde_json::json!({
                "if": condition(key, serde_json::json!({ "const": value }), &|default| default == value),
                "then": required(needs),
            }),
            Self::OnlyIf { key, values, allows } => serde_json::json!({
                "if": condition(key, serde_json::json!({ "not": { "enum": values } }), &|default| !values.contains(&default)),
                "then": { "not": { "anyOf": allows.iter().map(|k| required(&[k])).collect::<Vec<_>>() } },
            }),
        }
    }
}

/// A value as rules between arguments compare it.
fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
