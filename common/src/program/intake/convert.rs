//! A value given as another type than the one that is asked for, as Ansible converts it.

use serde_json::Value;

use crate::base::json;

pub(super) fn is_a(value: &Value, wanted: &str) -> bool {
    match wanted {
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

pub(super) fn convert(value: &Value, wanted: &str) -> Option<Value> {
    match (wanted, value) {
        ("boolean", Value::String(s)) => boolean(s).map(Value::Bool),
        ("boolean", Value::Number(n)) => match n.as_f64() {
            Some(0.0) => Some(Value::Bool(false)),
            Some(1.0) => Some(Value::Bool(true)),
            _ => None,
        },
        ("integer", Value::String(s)) => {
            let text = s.trim();
            text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<u64>().map(Value::from)).ok()
        }
        ("integer", Value::Number(n)) => {
            let float = n.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9e15)?;
            format!("{float:.0}").parse::<i64>().ok().map(Value::from)
        }
        ("number", Value::String(s)) => {
            s.trim().parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Value::Number)
        }
        ("string", Value::Number(n)) => Some(Value::String(n.to_string())),
        ("string", Value::Bool(b)) => Some(Value::String(b.to_string())),
        ("array", Value::String(s)) => Some(list(s)),
        ("array", Value::Number(_) | Value::Bool(_)) => Some(Value::Array(vec![value.clone()])),
        ("object", Value::String(s)) => json::parse(s).ok().filter(Value::is_object),
        _ => None,
    }
}

/// The words that Ansible takes for true and false.
fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "yes" | "on" | "true" | "t" | "y" | "1" => Some(true),
        "no" | "off" | "false" | "f" | "n" | "0" => Some(false),
        _ => None,
    }
}

/// A list written as text: a JSON array, or items with commas between them.
fn list(text: &str) -> Value {
    if let Some(array) = text.trim_start().starts_with('[').then(|| json::parse(text).ok()).flatten() {
        return array;
    }
    if text.trim().is_empty() {
        return Value::Array(Vec::new());
    }
    Value::Array(text.split(',').map(|item| Value::from(item.trim())).collect())
}

pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
