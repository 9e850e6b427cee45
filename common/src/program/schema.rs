//! The schemas of a module's arguments and result, and the help made from them.

use std::fmt::Write;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::Module;
use super::intake::choice_names;
use crate::base::{Common, Diff, ErrorKind, LOCK_TIMEOUT_SECONDS, Reason};

fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    if let Some(map) = schema.as_object_mut() {
        map.shift_remove("$schema");
        map.shift_remove("title");
    }
    schema
}

/// What [`intake_schema`] says of the arguments that this call gives; of the others no more than their names and
/// defaults. Writing out a whole schema would take most of a call's time.
pub(super) fn call_schema<M: Module>(args: &Map<String, Value>) -> Value {
    // Not freed, for the reason that `input::check` gives.
    let mut body = std::mem::ManuallyDrop::new(schema_with_defs::<M::Args>());
    let own = properties(&mut body);
    let common = common_schema();
    let mut all = Map::new();
    for (key, mut schema) in own.into_iter().chain(common) {
        if all.contains_key(&key) {
            continue;
        }
        if args.contains_key(&key) {
            inline_defs(&mut schema, body.get("$defs").unwrap_or(&Value::Null), MOST_NESTED);
        }
        all.insert(key, schema);
    }
    let mut schema = Map::new();
    schema.insert("type".to_owned(), Value::from("object"));
    schema.insert("properties".to_owned(), Value::Object(all));
    schema.insert("additionalProperties".to_owned(), Value::Bool(false));
    schema.extend(body.get_mut("required").map(|r| ("required".to_owned(), r.take())));
    Value::Object(schema)
}

/// The properties of the common arguments.
pub(super) fn common_schema() -> Map<String, Value> {
    properties(&mut schema_with_defs::<Common>())
}

/// Types within types; no module has as many.
const MOST_NESTED: usize = 16;

/// The schema with each type of its own once, in `$defs`.
fn schema_with_defs<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value()
}

/// Adds what is said of a type to what is said of the argument that has it, which counts more.
fn merge_type_into(said: &mut Map<String, Value>, of_type: Value) {
    if let Value::Object(of_type) = of_type {
        for (key, value) in of_type {
            said.entry(key).or_insert(value);
        }
    }
}

/// Puts the types of `defs` in the places that refer to them, as [`schema_of`] has them.
fn inline_defs(schema: &mut Value, defs: &Value, depth: usize) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| inline_defs(item, defs, depth)),
        Value::Object(map) => {
            let name = map.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/$defs/"));
            if let Some(def) = name.and_then(|name| defs.get(name)).filter(|_| depth > 0) {
                let mut def = def.clone();
                inline_defs(&mut def, defs, depth - 1);
                map.shift_remove("$ref");
                merge_type_into(map, def);
                return;
            }
            // An optional type; null is taken away before anything is checked.
            let optional = map.get_mut("anyOf").and_then(Value::as_array_mut).filter(|list| {
                list.len() == 2 && list[1].get("type").and_then(Value::as_str) == Some("null")
            });
            if let Some(only) = optional.map(|list| list.swap_remove(0)) {
                map.shift_remove("anyOf");
                merge_type_into(map, only);
                return inline_defs(schema, defs, depth);
            }
            map.values_mut().for_each(|value| inline_defs(value, defs, depth));
        }
        _ => {}
    }
}

fn properties(schema: &mut Value) -> Map<String, Value> {
    match schema.get_mut("properties").map(Value::take) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// The common arguments that a program which needs root takes and does not use: it is about the machine, not about a node.
const NODE_ARGUMENTS: [&str; 5] = ["data_dir", "env_file", "gauss_home", "os_user", "if_building"];

/// The schema of the arguments: the module's own, then the common ones. Without the rules between arguments, which
/// [`args_schema`] adds for readers.
pub(super) fn intake_schema<M: Module>() -> Value {
    let mut own = schema_of::<M::Args>();
    let mut all = properties(&mut own);
    for (key, mut schema) in properties(&mut schema_of::<Common>()) {
        if let Some(map) = schema.as_object_mut() {
            map.shift_remove("default");
            if M::NEEDS_ROOT && NODE_ARGUMENTS.contains(&&*key) {
                let unused = "Has no effect here: the program is about the machine, not about a node. Callers may give it to all programs.";
                map.insert("description".to_owned(), unused.into());
            }
        }
        all.entry(key).or_insert(schema);
    }
    let mut schema = json!({ "type": "object", "properties": all, "additionalProperties": false });
    if let Some(required) = own.get("required") {
        schema["required"] = required.clone();
    }
    schema
}

/// Writes down what counts where the common arguments are not given, which their types do not say.
fn show_defaults<M: Module>(schema: &mut Value) {
    let defaults: [(&str, Value); 5] = [
        ("timeout", M::TIMEOUT.into()),
        ("lock_timeout", LOCK_TIMEOUT_SECONDS.into()),
        ("if_building", "fail".into()),
        ("check_mode", false.into()),
        ("diff", false.into()),
    ];
    for (name, default) in defaults {
        if let Some(map) = schema["properties"].get_mut(name).and_then(Value::as_object_mut) {
            map.entry("default").or_insert(default);
        }
    }
}

/// What `--schema args` prints.
#[must_use]
pub fn args_schema<M: Module>() -> Value {
    let mut body = intake_schema::<M>();
    #[cfg(debug_assertions)]
    assert_calls_follow::<M>(&body);
    show_defaults::<M>(&mut body);
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("{} arguments", M::NAME),
        "description": M::ABOUT,
    });
    // Ansible adds keys of its own, which differ from version to version.
    body["patternProperties"] = json!({ "^_ansible_": true });
    let rules: Vec<_> = M::RULES.iter().map(|rule| rule.to_schema(&body["properties"])).collect();
    if let (Some(to), Some(from)) = (schema.as_object_mut(), body.as_object_mut()) {
        to.append(from);
        if !rules.is_empty() {
            to.insert("allOf".to_owned(), Value::Array(rules));
        }
    }
    schema
}

/// What `--schema result` prints.
#[must_use]
pub fn result_schema<M: Module>() -> Value {
    let mut all = json!({
        "changed": { "type": "boolean", "description": "Whether anything changed; in check mode, whether it would." },
        "failed": { "type": "boolean", "description": "Whether the call failed." },
        "msg": { "type": "string", "description": "One line for a person to read." },
        "actions": { "type": "array", "items": { "type": "string" },
            "description": "What was done, in order; in check mode, what would be." },
        "diff": { "type": "array", "items": schema_of::<Diff>(),
            "description": "Texts before and after of the changed files; only when asked for." },
        "warnings": { "type": "array", "items": { "type": "string" },
            "description": "What to look at although the call succeeded." },
        "backup_file": { "type": "string", "description": "Where the old file went." },
        "error": { "type": "object", "description": "With failed: what went wrong.", "properties": {
            "kind": schema_of::<ErrorKind>(),
            "reason": schema_of::<Reason>(),
            "detail": { "type": "string", "description": "What is wrong." },
            "hint": { "type": "string", "description": "What to do." },
            "path": { "type": "string", "description": "The file, or the JSON pointer of the argument." },
            "gauss_code": { "type": "string", "description": "openGauss's own error number." },
        }, "required": ["kind", "detail"] },
        "cmd": { "type": "array", "items": { "type": "string" }, "description": "The outside command that failed." },
        "rc": { "type": "integer", "description": "Its exit status; only with failed." },
        "stdout": { "type": "string", "description": "The end of its output, at most 16 KiB." },
        "stderr": { "type": "string", "description": "The end of its errors, at most 16 KiB." },
        "host": { "type": "string", "description": "With --host: the host that this is the result of." },
        "elapsed_ms": { "type": "integer", "description": "Milliseconds that the call took." },
        "ansible_facts": { "type": "object", "description": "Facts that Ansible adds to the host's variables." },
        "invocation": { "type": "object", "description": "The arguments, secrets masked." },
    });
    let mut own = schema_of::<M::Output>();
    let own = properties(&mut own);
    if let Some(map) = all.as_object_mut() {
        map.extend(own);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("{} result", M::NAME),
        "description": M::ABOUT,
        "type": "object",
        "properties": all,
        "required": ["changed", "failed", "msg"],
        "additionalProperties": false,
        "if": { "properties": { "failed": { "const": true } } },
        "then": { "required": ["error"] },
    })
}

/// The arguments as the help lists them.
pub(super) fn args_help<M: Module>() -> String {
    let mut schema = intake_schema::<M>();
    show_defaults::<M>(&mut schema);
    let mut text = String::from("Arguments (keys of the JSON object):\n");
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        let words = choice_names(schema);
        let kind = if words.is_empty() { type_name(schema) } else { words.join("|") };
        let default =
            schema.get("default").filter(|d| !d.is_null()).map_or(String::new(), |d| format!(" [{d}]"));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name}: {kind}{default}");
        for line in schema["description"].as_str().unwrap_or_default().lines() {
            let _ = writeln!(text, "      {line}");
        }
    }
    let _ = write!(text, "\nExamples:\n");
    for example in M::EXAMPLES {
        let _ = writeln!(text, "  {}\n    echo '{}' | {}", example.title, example.args, M::NAME);
    }
    text
}

fn type_name(schema: &Value) -> String {
    let variants = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array);
    if let Some(variants) = variants {
        let names: Vec<_> = variants.iter().map(type_name).filter(|n| n != "null").collect();
        return names.join(" or ");
    }
    match schema.get("type") {
        Some(Value::String(one)) if one == "array" => match schema.get("items") {
            Some(items) => format!("list of {}", type_name(items)),
            None => "list".to_owned(),
        },
        Some(Value::String(one)) => one.clone(),
        Some(Value::Array(several)) => {
            let names: Vec<_> = several.iter().filter_map(Value::as_str).filter(|t| *t != "null").collect();
            names.join(" or ")
        }
        _ => "value".to_owned(),
    }
}

/// Asserts that a call is checked against the same schema as is printed; so `cargo xtask schemas` asserts it of each
/// module.
#[cfg(debug_assertions)]
fn assert_calls_follow<M: Module>(printed: &Value) {
    let names: Vec<&String> = printed["properties"].as_object().into_iter().flat_map(Map::keys).collect();
    let args = names.iter().map(|name| ((*name).clone(), Value::Bool(true))).collect();
    let (mut printed, mut checked) = (printed.clone(), call_schema::<M>(&args));
    strip_annotations(&mut printed);
    strip_annotations(&mut checked);
    assert_eq!(printed, checked, "{}", M::NAME);
}

#[cfg(debug_assertions)]
/// Takes away what the intake does not look at: words, and that null may be given.
fn strip_annotations(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(strip_annotations),
        Value::Object(map) => {
            for key in ["description", "title", "format", "examples"] {
                if map.get(key).is_some_and(|v| !v.is_object()) {
                    map.shift_remove(key);
                }
            }
            if map.get("default").is_some_and(Value::is_null) {
                map.shift_remove("default");
            }
            for key in ["type", "anyOf", "oneOf", "enum"] {
                let Some(Value::Array(list)) = map.get_mut(key) else { continue };
                list.retain(|v| !v.is_null() && v != "null" && v.get("type").is_none_or(|t| t != "null"));
                if key == "type" && list.len() == 1 {
                    let only = list.remove(0);
                    map.insert(key.to_owned(), only);
                }
            }
            map.values_mut().for_each(strip_annotations);
            for key in ["anyOf", "oneOf"] {
                if let Some(Value::Array(list)) =
                    map.get_mut(key).filter(|l| l.as_array().is_some_and(|l| l.len() == 1))
                {
                    let only = list.remove(0);
                    map.shift_remove(key);
                    merge_type_into(map, only);
                }
            }
            // Variants of a variant are variants.
            if let Some(Value::Array(list)) = map.get_mut("anyOf") {
                let inner = |v: &Value| v.get("anyOf").and_then(Value::as_array).cloned();
                *list = list.iter().flat_map(|v| inner(v).unwrap_or_else(|| vec![v.clone()])).collect();
            }
        }
        _ => {}
    }
}
