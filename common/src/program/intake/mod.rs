//! From the text of the arguments to typed ones: unknown keys, coercion and the rules between arguments.
//!
//! The schema of a module's arguments is the one description of them: what is printed by `--schema args`, what the
//! help shows and what this folder checks are the same. So a value that passes here also passes serde.

mod convert;
mod nearest;
mod request;
mod rules;

use std::cmp::Reverse;

use serde_json::{Map, Value};

use self::convert::{convert, is_a, kind_of};
use self::nearest::LONGEST_NAME;
use super::ArgRule;
use crate::base::{Error, Reason, json, secret};

pub use self::nearest::nearest;
pub(super) use self::request::Request;

/// How many things wrong with the arguments are told; after so many nobody looks for more.
const MOST_PROBLEMS: usize = 20;

/// One thing wrong with the arguments.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// JSON pointer.
    pub at: String,
    /// What is wrong, without naming the place.
    pub what: String,
    /// Whether a newer version of the program may know what this one does not.
    is_unknown: bool,
}

impl Problem {
    fn new(at: &str, what: impl Into<String>) -> Self {
        Self { at: at.to_owned(), what: what.into(), is_unknown: false }
    }

    /// An argument, or a word as its value, that this version of the program does not know.
    fn unknown(at: &str, what: impl Into<String>) -> Self {
        Self { is_unknown: true, ..Self::new(at, what) }
    }
}

/// Checks the arguments against the schema and the rules and gives every value its type.
///
/// # Errors
/// `bad_args` with every problem found, each with its place.
pub(super) fn check(args: &mut Map<String, Value>, schema: &Value, rules: &[ArgRule]) -> Result<(), Error> {
    let mut problems = Vec::new();
    check_object(args, schema, "", &mut problems);
    if problems.is_empty() {
        for rule in rules {
            rule.check(args, schema, &mut problems);
        }
    }
    let Some(first) = problems.first() else { return Ok(()) };
    let rest = problems.len().saturating_sub(MOST_PROBLEMS);
    let mut detail: Vec<_> = problems
        .iter()
        .take(MOST_PROBLEMS)
        .map(|p| if p.at.is_empty() { p.what.clone() } else { format!("{}: {}", p.at, p.what) })
        .collect();
    if rest > 0 {
        detail.push("and more".to_owned());
    }
    let error =
        Error::bad_args(detail.join("; ")).with_path(if first.at.is_empty() { "/" } else { &first.at });
    let is_unknown = problems.iter().any(|problem| problem.is_unknown);
    Err(if is_unknown { error.reason(Reason::UnknownArgument) } else { error })
}

fn check_object(map: &mut Map<String, Value>, schema: &Value, at: &str, problems: &mut Vec<Problem>) {
    map.retain(|_, value| !value.is_null());
    let known = schema.get("properties").and_then(Value::as_object);
    let open = schema.get("additionalProperties").filter(|s| **s != Value::Bool(false));
    for (key, value) in map.iter_mut() {
        if problems.len() > MOST_PROBLEMS {
            return;
        }
        let (parent, at) = (at, pointer(at, key));
        match (known.and_then(|k| k.get(key)), open) {
            (Some(schema), _) | (None, Some(schema)) => coerce(value, schema, &at, problems),
            (None, None) => {
                problems.push(unknown_key_problem(parent, key, &keys(schema).collect::<Vec<_>>()));
            }
        }
    }
    for name in
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    {
        if !map.contains_key(name) {
            problems.push(Problem::new(&pointer(at, name), "is missing"));
        }
    }
}

/// Gives `value` the type that `schema` asks for, as Ansible's own modules do with theirs.
fn coerce(value: &mut Value, schema: &Value, at: &str, problems: &mut Vec<Problem>) {
    if *schema == Value::Bool(true) {
        // Anything may stand here, and is left as it is.
        return;
    }
    if let Some(variants) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
        return coerce_any_of(value, schema, variants, at, problems);
    }
    let wanted: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => {
            several.iter().filter_map(Value::as_str).filter(|t| *t != "null").collect()
        }
        _ => vec![],
    };
    if !wanted.is_empty() && !wanted.iter().any(|t| is_a(value, t)) {
        let converted = wanted.iter().find_map(|t| convert(value, t));
        let Some(converted) = converted else {
            problems.push(Problem::new(at, format!("{} is not {}", describe_value(value), article(&wanted))));
            return;
        };
        *value = converted;
    }
    if let Some(problem) = bounds_problem(value, schema) {
        problems.push(Problem::new(at, problem));
    }
    check_choices(value, schema, at, problems);
    match value {
        Value::Object(map) => check_object(map, schema, at, problems),
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                for (n, item) in items.iter_mut().enumerate() {
                    if problems.len() > MOST_PROBLEMS {
                        return;
                    }
                    coerce(item, schema, &format!("{at}/{n}"), problems);
                }
            }
        }
        _ => {}
    }
}

/// The first variant that takes the value as it is, else the first that takes it converted; when none does, the
/// problems of the one nearest to the value's own type.
fn coerce_any_of(
    value: &mut Value,
    schema: &Value,
    variants: &[Value],
    at: &str,
    problems: &mut Vec<Problem>,
) {
    let variants: Vec<_> = variants.iter().filter(|v| v.get("type") != Some(&Value::from("null"))).collect();
    // A list or an object given as text takes the way of a real one.
    if let Some(inner) = parse_contained(value).filter(|inner| variants.iter().any(|v| has_type_of(inner, v)))
    {
        *value = inner;
    }
    if variants.iter().all(|v| v.get("const").is_some() || v.get("enum").is_some()) {
        return check_choices(value, schema, at, problems);
    }
    let mut best: Option<(Nearness, Vec<Problem>)> = None;
    for same_type in [true, false] {
        for variant in &variants {
            let natural = has_type_of(value, variant);
            if natural != same_type {
                continue;
            }
            let mut attempt = value.clone();
            let mut found = Vec::new();
            coerce(&mut attempt, variant, at, &mut found);
            if found.is_empty() {
                *value = attempt;
                return;
            }
            let nearness =
                Nearness { natural, keys: common_keys(value, variant), problems: Reverse(found.len()) };
            if best.as_ref().is_none_or(|(best, _)| nearness > *best) {
                best = Some((nearness, found));
            }
        }
    }
    let words = choice_names(schema);
    let objects = variants.iter().filter(|variant| value.is_object() && has_type_of(value, variant));
    match best {
        // None of several is meant more than another one.
        Some((Nearness { keys: 0, .. }, _)) if objects.clone().count() > 1 => {
            let known: Vec<_> = objects.flat_map(|variant| keys(variant)).collect();
            let given = value.as_object().into_iter().flat_map(Map::keys);
            problems.extend(given.map(|key| unknown_key_problem(at, key, &known)));
        }
        Some((best, found)) if best.natural && (!value.is_string() || words.is_empty()) => {
            problems.extend(found);
        }
        _ if !words.is_empty() => check_choices(value, schema, at, problems),
        Some((_, found)) => problems.extend(found),
        None => {}
    }
}

/// How near a value is to a variant that does not take it: what counts most comes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Nearness {
    /// It has the variant's type.
    natural: bool,
    /// So many of its keys are the variant's.
    keys: usize,
    problems: Reverse<usize>,
}

/// The keys that an object of this schema may have.
fn keys(schema: &Value) -> impl Iterator<Item = &str> {
    schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys).map(String::as_str)
}

fn common_keys(value: &Value, schema: &Value) -> usize {
    keys(schema).filter(|key| value.get(key).is_some()).count()
}

fn unknown_key_problem(at: &str, key: &str, known: &[&str]) -> Problem {
    let hint = nearest(key, known)
        .map_or_else(|| format!("known: {}", known.join(", ")), |near| format!("did you mean {near}?"));
    Problem::unknown(&pointer(at, key), format!("unknown argument ({hint})"))
}

/// The list or object that a text is.
fn parse_contained(value: &Value) -> Option<Value> {
    let text = value.as_str().filter(|text| text.trim_start().starts_with(['[', '{']))?;
    json::parse(text).ok().filter(|value| value.is_array() || value.is_object())
}

/// Whether the value has the variant's JSON type without conversion.
fn has_type_of(value: &Value, variant: &Value) -> bool {
    if variant.get("const").is_some() || variant.get("enum").is_some() {
        return value.is_string();
    }
    match variant.get("type") {
        Some(Value::String(one)) => is_a(value, one),
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).any(|t| is_a(value, t)),
        _ => variant
            .get("anyOf")
            .or_else(|| variant.get("oneOf"))
            .and_then(Value::as_array)
            .is_none_or(|inner| inner.iter().any(|v| has_type_of(value, v))),
    }
}

/// Checks a value against the words that the schema allows, if it names any.
fn check_choices(value: &Value, schema: &Value, at: &str, problems: &mut Vec<Problem>) {
    let words = choice_names(schema);
    if words.is_empty() {
        return;
    }
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if !words.contains(&text.as_str()) {
        let near = nearest(&text, &words).map_or_else(String::new, |near| format!(" (did you mean {near}?)"));
        problems.push(Problem::unknown(
            at,
            format!("{} is not one of {}{near}", describe_value(value), words.join(", ")),
        ));
    }
}

/// The words that the schema allows: `enum`, `const`, or variants of these.
pub(super) fn choice_names(schema: &Value) -> Vec<&str> {
    if let Some(word) = schema.get("const").and_then(Value::as_str) {
        return vec![word];
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return words.iter().filter_map(Value::as_str).collect();
    }
    let variants = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array);
    variants.into_iter().flatten().flat_map(choice_names).collect()
}

fn bounds_problem(value: &Value, schema: &Value) -> Option<String> {
    let number = value.as_f64()?;
    let limit = |key| schema.get(key).and_then(Value::as_f64);
    if let Some(least) = limit("minimum").filter(|least| number < *least) {
        return Some(format!("{value} is less than {least}"));
    }
    limit("maximum").filter(|most| number > *most).map(|most| format!("{value} is more than {most}"))
}

fn pointer(at: &str, key: &str) -> String {
    let key = match key.char_indices().nth(LONGEST_NAME) {
        Some((end, _)) => format!("{}…", &key[..end]),
        None => key.to_owned(),
    };
    format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"))
}

fn article(types: &[&str]) -> String {
    let words: Vec<_> = types
        .iter()
        .map(|t| match *t {
            "integer" => "a whole number",
            "array" => "a list",
            "object" => "an object",
            "boolean" => "a boolean (yes or no)",
            "number" => "a number",
            _ => "a string",
        })
        .collect();
    words.join(" or ")
}

/// The value as an error shows it: short, and a container only by its kind.
fn describe_value(value: &Value) -> String {
    match value {
        Value::String(text) if text.chars().count() > 60 => {
            // Of a secret that is cut, the rest would not be known for one.
            let text = secret::mask_text(text);
            let cut: String = text.chars().take(60).collect();
            format!("\"{}…\"", cut.escape_debug())
        }
        Value::Object(_) | Value::Array(_) => kind_of(value).to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "state": { "oneOf": [{ "const": "present" }, { "const": "absent" }], "default": "present" },
                "rules": { "type": "array", "items": { "anyOf": [
                    { "type": "string" },
                    { "type": "object", "properties": { "address": { "type": "string" } }, "required": ["address"] },
                ] } },
                "insert": { "anyOf": [
                    { "enum": ["auto", "first"] },
                    { "type": "object", "properties": { "before": { "type": "string" } }, "additionalProperties": false },
                    { "type": "object", "properties": { "after": { "type": "object", "properties": { "users": {} },
                        "additionalProperties": false } }, "additionalProperties": false },
                ] },
                "backup": { "type": ["boolean", "null"] },
                "timeout": { "type": "integer", "minimum": 0 },
                "options": { "type": "object", "additionalProperties": true },
                "answers": { "type": "array", "items": true },
            },
        })
    }

    #[test]
    fn what_a_newer_version_may_know_has_a_reason() {
        for (given, reason) in [
            (json!({"adress": "x"}), Some(Reason::UnknownArgument)),
            (json!({"state": "renewed"}), Some(Reason::UnknownArgument)),
            (json!({"timeout": -1}), None),
        ] {
            let mut args = given.as_object().unwrap().clone();
            let error = check(&mut args, &schema(), &[]).unwrap_err();
            assert_eq!(error.failure().reason, reason, "{given}");
        }
    }

    fn checked(mut args: Value) -> Result<Value, String> {
        check(args.as_object_mut().unwrap(), &schema(), &[])
            .map(|()| args)
            .map_err(|e| e.failure().detail.clone())
    }

    #[test]
    fn values_are_converted_as_ansible_does() {
        let given = json!({"backup": "yes", "timeout": "3", "rules": "a,b", "options": "{\"x\": 1}", "insert": "auto", "state": null});
        let wanted =
            json!({"backup": true, "timeout": 3, "rules": ["a", "b"], "options": {"x": 1}, "insert": "auto"});
        assert_eq!(checked(given).unwrap(), wanted);
    }

    #[test]
    fn an_object_given_as_text_is_checked_as_a_real_one() {
        let text = json!({"rules": ["x", "{\"address\": 5}"]});
        assert_eq!(checked(text).unwrap(), json!({"rules": ["x", {"address": "5"}]}));
        for given in
            [json!({"rules": ["x", "{\"adress\": \"1\"}"]}), json!({"rules": "[\"x\", {\"adress\": \"1\"}]"})]
        {
            assert_eq!(
                checked(given).unwrap_err(),
                "/rules/1/adress: unknown argument (did you mean address?); /rules/1/address: is missing"
            );
        }
        let given = json!({"insert": "{\"befor\": \"x\"}"});
        assert_eq!(checked(given).unwrap_err(), "/insert/befor: unknown argument (did you mean before?)");
    }

    #[test]
    fn where_anything_may_stand_it_is_left_as_it_is() {
        let given = json!({"options": {"a": {"b": null, "c": "yes"}, "d": [{}]}, "answers": [null, {"e": {"f": null}}, "3"]});
        assert_eq!(checked(given.clone()).unwrap(), given);
    }

    #[test]
    fn an_unknown_key_is_named_with_place_and_nearest() {
        let error = checked(json!({"rules": ["x", {"adress": "1.2.3.4"}]})).unwrap_err();
        assert_eq!(
            error,
            "/rules/1/adress: unknown argument (did you mean address?); /rules/1/address: is missing"
        );
        let error = checked(json!({"zzz": 1})).unwrap_err();
        assert!(error.starts_with("/zzz: unknown argument (known: state, rules"), "{error}");
    }

    #[test]
    fn wrong_values_say_what_is_allowed() {
        for (args, message) in [
            (
                json!({"state": "presnt"}),
                "/state: \"presnt\" is not one of present, absent (did you mean present?)",
            ),
            (json!({"insert": "last"}), "/insert: \"last\" is not one of auto, first"),
            (json!({"insert": {"befor": "x"}}), "/insert/befor: unknown argument (did you mean before?)"),
            (
                json!({"insert": {"after": {"user": 1}}}),
                "/insert/after/user: unknown argument (did you mean users?)",
            ),
            (json!({"insert": {"xyz": 1}}), "/insert/xyz: unknown argument (known: before, after)"),
            (json!({"timeout": -1}), "/timeout: -1 is less than 0"),
            (json!({"timeout": "soon"}), "/timeout: \"soon\" is not a whole number"),
            (json!({"backup": "perhaps"}), "/backup: \"perhaps\" is not a boolean (yes or no)"),
            (json!({"rules": [["x"]]}), "/rules/0: a list is not a string"),
        ] {
            assert_eq!(checked(args).unwrap_err(), message);
        }
    }

    #[test]
    fn rules_between_arguments_hold() {
        let rules = [
            ArgRule::Exclusive(&["xml", "nodes"]),
            ArgRule::AnyOf(&["xml", "nodes"]),
            ArgRule::Together(&["a", "b"]),
            ArgRule::RequiredIf { key: "state", value: "present", needs: &["a"] },
            ArgRule::OnlyIf { key: "state", values: &["query"], allows: &["match"] },
        ];
        let schema = json!({"properties": {"state": {"type": "string", "default": "present"}, "xml": {"type": "string"},
            "nodes": {"type": "string"}, "a": {"type": "string"}, "b": {"type": "string"}, "match": {"type": "string"}}});
        let problems = |mut args: Value| {
            check(args.as_object_mut().unwrap(), &schema, &rules).map_err(|e| e.failure().detail.clone())
        };
        assert_eq!(
            problems(json!({"xml": "1", "nodes": "2", "a": "", "b": ""})).unwrap_err(),
            "xml and nodes exclude each other"
        );
        assert_eq!(problems(json!({"a": "1", "b": ""})).unwrap_err(), "one of xml, nodes is needed");
        assert_eq!(problems(json!({"xml": "1", "a": "1"})).unwrap_err(), "a and b go together");
        assert_eq!(problems(json!({"xml": "1"})).unwrap_err(), "/a: is needed with state: present");
        assert_eq!(
            problems(json!({"xml": "1", "state": "absent", "match": "x"})).unwrap_err(),
            "/match: means something only with state: query"
        );
        problems(json!({"xml": "1", "state": "query", "match": "x"})).unwrap();

        // What the program takes and what its schema takes are the same, also where the default counts.
        let printed = json!({"allOf": rules.map(|rule| rule.to_schema(&schema["properties"]))});
        let validator = jsonschema::validator_for(&printed).unwrap();
        for args in [
            json!({"xml": "1"}),
            json!({"xml": "1", "a": "", "b": ""}),
            json!({"xml": "1", "state": "present"}),
            json!({"xml": "1", "state": "absent"}),
            json!({"xml": "1", "a": "", "b": "", "match": "x"}),
            json!({"xml": "1", "state": "absent", "match": "x"}),
            json!({"xml": "1", "state": "query", "match": "x"}),
        ] {
            assert_eq!(validator.is_valid(&args), problems(args.clone()).is_ok(), "{args}");
        }
    }

    #[test]
    fn numbers_are_whole_or_refused() {
        let parsed = |text: &str| Request::parse(text.as_bytes()).map(|request| request.args["x"].clone());
        for (text, number) in
            [("18446744073709551615", json!(u64::MAX)), ("-9223372036854775808", json!(i64::MIN))]
        {
            assert_eq!(parsed(&format!("{{\"x\": {text}}}")).unwrap(), number);
        }
        for text in ["18446744073709551616", "-9223372036854775809", "1e19", "123456789012345678901234567890"]
        {
            let error = parsed(&format!("{{\"x\": {text}}}")).unwrap_err();
            assert!(error.failure().detail.contains("more than 64 bits: give it as a string"), "{error}");
        }
        assert_eq!(checked(json!({"timeout": "18446744073709551615"})).unwrap()["timeout"], json!(u64::MAX));
    }

    #[test]
    fn the_text_must_be_one_object() {
        let error = |text: &[u8]| Request::parse(text).unwrap_err().failure().detail.clone();
        assert_eq!(error(b" \n"), "no arguments: the input is empty");
        assert_eq!(error(b"[1]"), "the arguments are a list, not one JSON object");
        assert!(error(b"{\"a\":1,\"a\":2}").contains("key \"a\" is given twice"));
        assert!(error(b"{\"a\":1} x").contains("trailing characters"));
        assert!(error(b"{\"\xff\":1}").contains("not UTF-8: byte 3"));
        let request = Request::parse(b"{\"_ansible_diff\": true, \"x\": 1}").unwrap();
        assert_eq!((request.args.len(), request.ansible["diff"].as_bool()), (1, Some(true)));
    }

    #[test]
    fn ansibles_flags_are_taken_in_every_form() {
        let flag = |value: &str| {
            let request = Request::parse(format!("{{\"_ansible_check_mode\": {value}}}").as_bytes()).unwrap();
            request.flag("check_mode")
        };
        for (value, set) in
            [("true", true), ("\"yes\"", true), ("1", true), ("null", false), ("\"off\"", false)]
        {
            assert_eq!(flag(value).unwrap(), set, "{value}");
        }
        for value in ["\"perhaps\"", "2", "[true]"] {
            assert_eq!(flag(value).unwrap_err().failure().path.as_deref(), Some("/_ansible_check_mode"));
        }
        assert!(!Request::default().flag("check_mode").unwrap());
    }

    #[test]
    fn much_that_is_wrong_is_told_shortly_and_soon() {
        let schema = serde_json::json!({"properties": {"data_dir": {"type": "string"}}});
        let mut many: Map<String, Value> =
            (0..100_000).map(|n| (format!("key{n}"), Value::from(1))).collect();
        many.insert("x".repeat(1 << 20), Value::from(1));
        let error = check(&mut many, &schema, &[]).unwrap_err();
        assert!(error.failure().detail.len() < 4000 && error.failure().detail.ends_with("and more"));
        let mut long = Map::from_iter([("x".repeat(1 << 20), Value::from(1))]);
        let error = check(&mut long, &schema, &[]).unwrap_err();
        assert!(error.failure().detail.len() < 400, "{}", error.failure().detail);
    }
}
