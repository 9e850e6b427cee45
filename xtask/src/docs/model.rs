//! A module's arguments, results and examples as documentation needs them, read from its JSON Schemas.

use og_registry::Program;
use serde_json::{Map, Value};

use crate::shell::Result;

/// Arguments by which a caller sets how the task is run; Ansible and Salt have their own words for these.
pub const CALL_ARGUMENTS: [&str; 2] = ["check_mode", "diff"];

/// What one module says of itself.
pub struct Page {
    /// Its name, such as `og_hba`.
    pub name: String,
    /// What it is for, in a line.
    pub about: String,
    /// Its arguments.
    pub args: Vec<Field>,
    /// The keys of its result.
    pub result: Vec<Field>,
    /// Calls to copy.
    pub examples: Vec<Example>,
    /// Whether it runs on a node, and so has a module for Ansible and a function for Salt.
    pub on_nodes: bool,
    /// Whether it returns texts before and after.
    pub diff: bool,
    /// Which calls change something every time.
    pub repeats: Option<&'static str>,
    /// A value that each key of the result had in a real call.
    pub samples: Map<String, Value>,
}

/// A call to copy.
pub struct Example {
    /// What it does.
    pub title: String,
    /// The arguments.
    pub args: Map<String, Value>,
    /// The call as a shell takes it.
    pub call: String,
}

/// An argument, or a key of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type, of a list the type of its items.
    pub kind: Kind,
    /// Whether it is a list of these.
    pub list: bool,
    /// Whether it must be given, or is always there.
    pub required: bool,
    /// What counts when it is not given.
    pub default: Option<Value>,
    /// Sentences about it; `words in backticks` are literal.
    pub description: Vec<String>,
    /// The values it can have, when these are few words.
    pub choices: Vec<String>,
    /// The fields of the dictionary that it is, or may be.
    pub fields: Vec<Field>,
    /// The values of `state` with which it may be given; none for all.
    pub states: Option<Vec<String>>,
}

/// A type in Ansible's names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A text.
    Str,
    /// A whole number.
    Int,
    /// Any number.
    Float,
    /// True or false.
    Bool,
    /// A dictionary.
    Dict,
    /// One of several types.
    Raw,
}

impl Kind {
    /// Ansible's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Str => "str",
            Self::Int => "int",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::Dict => "dict",
            Self::Raw => "raw",
        }
    }
}

impl Page {
    /// Reads the module's schemas, its `--examples`, and results that real calls had.
    pub fn new(
        program: &Program,
        args: &Value,
        result: &Value,
        examples: &str,
        recorded: &Value,
    ) -> Result<Self> {
        let about = args["description"].as_str().ok_or("the schema has no description")?.to_owned();
        let mut arguments = fields(args);
        rules(args, &mut arguments)?;
        name_repeated(&mut arguments, &mut Vec::new(), "");
        let mut results = fields(result);
        name_repeated(&mut results, &mut Vec::new(), "");
        let samples = samples(result, recorded)?;
        Ok(Self {
            samples,
            name: program.name.to_owned(),
            about,
            args: arguments,
            result: results,
            examples: examples_of(program.name, examples)?,
            on_nodes: program.on_nodes,
            diff: program.edits_text,
            repeats: program.repeats,
        })
    }

    /// The values of `state` that change something, the default first.
    pub fn states(&self) -> Vec<&str> {
        let Some(state) = self.args.iter().find(|f| f.name == "state") else { return Vec::new() };
        let default = state.default.as_ref().and_then(Value::as_str);
        let mut states: Vec<_> = state.choices.iter().map(String::as_str).filter(|s| *s != "query").collect();
        states.sort_by_key(|s| Some(*s) != default);
        states
    }
}

impl Example {
    /// The value of `state`, where the example has it.
    pub fn state(&self) -> Option<&str> {
        self.args.get("state").and_then(Value::as_str)
    }
}

/// Keys of every result; not each module ever has each of them.
const COMMON: [&str; 15] = [
    "changed",
    "failed",
    "msg",
    "actions",
    "diff",
    "warnings",
    "backup_file",
    "error",
    "cmd",
    "rc",
    "stdout",
    "stderr",
    "elapsed_ms",
    "ansible_facts",
    "invocation",
];

/// Of each key of the result the first value that tells something. All results must fit the schema, and each key that
/// is the module's own must have been seen.
fn samples(schema: &Value, recorded: &Value) -> Result<Map<String, Value>> {
    let mut strict = schema.clone();
    close_objects(&mut strict);
    let fits = jsonschema::validator_for(&strict).map_err(|e| e.to_string())?;
    let recorded = recorded.as_array().ok_or("the samples are no list of results")?;
    let mut samples = Map::new();
    for (number, result) in recorded.iter().enumerate() {
        if let Some(error) = fits.iter_errors(result).next() {
            return Err(format!("result {number}: {}: {error}", error.instance_path));
        }
        for (key, value) in result.as_object().into_iter().flatten() {
            let tells = match value {
                Value::Array(items) => !items.is_empty(),
                Value::Object(fields) => !fields.is_empty(),
                other => !other.is_null(),
            };
            if tells && !samples.contains_key(key) {
                samples.insert(key.clone(), value.clone());
            }
        }
    }
    let keys = schema["properties"].as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    let without: Vec<_> = keys.filter(|k| !COMMON.contains(k) && !samples.contains_key(*k)).collect();
    if without.is_empty() {
        return Ok(samples);
    }
    Err(format!("no result has {}; add one that a real call had", without.join(", ")))
}

/// Lets no object of the schema have keys that it does not name: what a program no longer prints stays in no sample.
fn close_objects(schema: &mut Value) {
    match schema {
        Value::Array(all) => all.iter_mut().for_each(close_objects),
        Value::Object(own) => {
            own.values_mut().for_each(close_objects);
            if own.get("properties").is_some_and(Value::is_object)
                && !own.contains_key("additionalProperties")
            {
                own.insert("unevaluatedProperties".into(), false.into());
            }
        }
        _ => {}
    }
}

/// Reads what `--examples` printed: paragraphs of a title behind `# ` and the call of a shell.
fn examples_of(name: &str, text: &str) -> Result<Vec<Example>> {
    let end = format!("' | {name}");
    text.split("\n# ")
        .map(|one| {
            let unreadable = || format!("an example that is not a title and a call: {one}");
            let (title, call) = one.split_once('\n').ok_or_else(unreadable)?;
            let args = call.trim().strip_prefix("echo '").and_then(|c| c.strip_suffix(&end));
            let args =
                serde_json::from_str(args.ok_or_else(unreadable)?).map_err(|e| format!("{one}: {e}"))?;
            Ok(Example {
                title: title.trim_start_matches("# ").to_owned(),
                args,
                call: call.trim().to_owned(),
            })
        })
        .collect()
}

/// The fields of an object schema.
fn fields(schema: &Value) -> Vec<Field> {
    let required: Vec<_> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object();
    properties
        .into_iter()
        .flatten()
        .map(|(name, schema)| field(name, schema, required.contains(&name.as_str())))
        .collect()
}

fn field(name: &str, schema: &Value, required: bool) -> Field {
    let mut shapes = Vec::new();
    collect_alternatives(schema, &mut shapes);
    let mut items = Vec::new();
    for array in shapes.iter().filter(|s| s["type"] == "array") {
        collect_alternatives(&array["items"], &mut items);
    }
    // What may be a list is documented as one: a text in its stead is split into one.
    let list = !items.is_empty() || shapes.iter().any(|s| s["type"] == "array");
    let shapes = if list { items } else { shapes };
    let words: Vec<_> = shapes.iter().flat_map(words).collect();
    let only_words = shapes.iter().all(|s| s.get("const").is_some() || s.get("enum").is_some());
    let mut description = sentences(schema);
    if only_words {
        let told: Vec<_> =
            description.iter().flat_map(|d| d.split(|c: char| !c.is_alphanumeric() && c != '_')).collect();
        if !words.iter().all(|w| told.contains(&w.as_str())) {
            let about = |s: &Value| {
                Some(format!("`{}`: {}", s["const"].as_str()?, join_lines(s["description"].as_str()?)))
            };
            description.extend(shapes.iter().filter_map(about).collect::<Vec<_>>());
        }
    } else if !words.is_empty() && !words.iter().all(|w| description.iter().any(|d| d.contains(w))) {
        description.push(format!("One of {}, or a dictionary.", quote_words(&words, "or")));
    }
    let mut inner: Vec<Field> = Vec::new();
    for object in shapes.iter().filter(|s| s.get("properties").is_some()) {
        for mut f in fields(object) {
            // Of several dictionaries that may stand here, no field is needed in all.
            f.required &= shapes.iter().filter(|s| s.get("properties").is_some()).count() == 1;
            if !inner.iter().any(|i| i.name == f.name) {
                inner.push(f);
            }
        }
    }
    Field {
        name: name.to_owned(),
        kind: kind(&shapes),
        list,
        required,
        default: schema.get("default").filter(|d| !d.is_null()).cloned(),
        description,
        choices: if only_words { words } else { Vec::new() },
        fields: inner,
        states: None,
    }
}

/// The shapes that a value may have, `null` aside, for that means "not given".
fn collect_alternatives(schema: &Value, shapes: &mut Vec<Value>) {
    if let Some(several) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
        for one in several {
            collect_alternatives(one, shapes);
        }
    } else if let Some(types) = schema["type"].as_array() {
        for one in types.iter().filter(|t| *t != "null") {
            let mut shape = schema.clone();
            shape["type"] = one.clone();
            shapes.push(shape);
        }
    } else if schema["type"] != "null" {
        shapes.push(schema.clone());
    }
}

fn words(shape: &Value) -> Vec<String> {
    let one = shape.get("const").into_iter();
    one.chain(shape["enum"].as_array().into_iter().flatten())
        .filter_map(Value::as_str)
        .map(ToOwned::to_owned)
        .collect()
}

fn kind(shapes: &[Value]) -> Kind {
    let mut kinds: Vec<_> = shapes
        .iter()
        .map(|s| match s["type"].as_str() {
            Some("string") => Kind::Str,
            Some("integer") => Kind::Int,
            Some("number") => Kind::Float,
            Some("boolean") => Kind::Bool,
            Some("object") => Kind::Dict,
            _ => Kind::Raw,
        })
        .collect();
    kinds.dedup();
    if let [one] = kinds[..] { one } else { Kind::Raw }
}

fn sentences(schema: &Value) -> Vec<String> {
    let text = schema["description"].as_str().unwrap_or_default();
    text.split("\n\n").map(join_lines).filter(|s| !s.is_empty()).collect()
}

fn join_lines(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `a`, `b` and `c`.
fn quote_words<T: AsRef<str>>(words: &[T], last: &str) -> String {
    let all: Vec<_> = words.iter().map(|w| format!("`{}`", w.as_ref())).collect();
    match &all[..] {
        [front @ .., end] if !front.is_empty() => format!("{} {last} {end}", front.join(", ")),
        _ => all.concat(),
    }
}

/// Adds to the arguments' texts what the schema says of several arguments together.
fn rules(schema: &Value, args: &mut [Field]) -> Result {
    /// For each key that decides: the argument, and the values of the key.
    type Notes = Vec<(String, String, Vec<String>)>;
    let mut needed = Notes::new();
    let mut only = Notes::new();
    let mut apart: Vec<(String, Vec<String>)> = Vec::new();
    let note = |notes: &mut Notes, arg: &str, key: &str, values: Vec<String>| match notes
        .iter_mut()
        .find(|(a, k, _)| a == arg && k == key)
    {
        Some((_, _, there)) => there.extend(values),
        None => notes.push((arg.to_owned(), key.to_owned(), values)),
    };
    for rule in schema["allOf"].as_array().into_iter().flatten() {
        let unknown = || format!("a rule that the documentation cannot tell: {rule}");
        if let Some((key, is)) = rule["if"]["properties"].as_object().and_then(|p| p.iter().next()) {
            let then = &rule["then"];
            if let Some(value) = is["const"].as_str() {
                for arg in names(&then["required"]) {
                    note(&mut needed, arg, key, vec![value.to_owned()]);
                }
            } else {
                let values: Vec<_> = names(&is["not"]["enum"]).into_iter().map(ToOwned::to_owned).collect();
                let listed = then["not"]["anyOf"].as_array().ok_or_else(unknown)?;
                for arg in listed.iter().flat_map(|r| names(&r["required"])) {
                    note(&mut only, arg, key, values.clone());
                }
            }
        } else {
            let pairs = rule["not"]["anyOf"].as_array().ok_or_else(unknown)?;
            for pair in pairs.iter().map(|p| names(&p["required"])) {
                for arg in &pair {
                    let others = pair.iter().filter(|o| *o != arg).map(|o| (*o).to_owned());
                    match apart.iter_mut().find(|(a, _)| a == arg) {
                        Some((_, there)) => there.extend(others),
                        None => apart.push(((*arg).to_owned(), others.collect())),
                    }
                }
            }
        }
    }
    for arg in args {
        let told = |notes: &Notes| -> Vec<String> {
            let mine = notes.iter().filter(|(a, _, _)| *a == arg.name);
            mine.map(|(_, key, values)| format!("when `{key}` is {}.", quote_words(values, "or"))).collect()
        };
        let (musts, mays) = (told(&needed), told(&only));
        arg.states =
            only.iter().find(|(a, key, _)| *a == arg.name && key == "state").map(|(_, _, v)| v.clone());
        if musts == mays {
            arg.description.extend(musts.iter().map(|when| format!("Needed {when} Not allowed otherwise.")));
        } else {
            arg.description.extend(musts.iter().map(|when| format!("Needed {when}")));
            arg.description.extend(mays.iter().map(|when| format!("Only {when}")));
        }
        if let Some((_, others)) = apart.iter().find(|(a, _)| *a == arg.name) {
            arg.description.push(format!("Not together with {}.", quote_words(others, "or")));
        }
    }
    Ok(())
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Says "as there" where a dictionary has the same fields as one before it.
fn name_repeated(fields: &mut [Field], seen: &mut Vec<(Vec<Field>, String)>, place: &str) {
    for field in fields {
        let here = format!("{place}{}", field.name);
        if field.fields.len() < 3 {
            name_repeated(&mut field.fields, seen, &format!("{here}."));
            continue;
        }
        if let Some((_, there)) = seen.iter().find(|(f, _)| *f == field.fields) {
            field.description.push(format!("Its fields are those of `{there}`."));
            field.fields.clear();
        } else {
            seen.push((field.fields.clone(), here.clone()));
            name_repeated(&mut field.fields, seen, &format!("{here}."));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_sample_has_no_key_that_is_printed_no_longer() {
        let inner = json!({"type": "object", "properties": {"pid": {"type": "integer"}}});
        let schema = json!({"type": "object", "properties": {"nodes": {"type": "array", "items": {"$ref": "#/$defs/node"}}}, "$defs": {"node": inner}});
        let told = |sample| super::samples(&schema, &json!([sample])).map(|found| found.len());
        assert_eq!(told(json!({"nodes": [{"pid": 1}]})), Ok(1));
        assert!(told(json!({"nodes": [{"pid": 1, "term": 2}]})).is_err_and(|why| why.contains("/nodes/0")));
        assert!(told(json!({"nodes": [{"pid": 1}], "term": 2})).is_err_and(|why| why.contains("term")));
        assert!(told(json!({"nodes": []})).is_err_and(|why| why.contains("no result has nodes")));
    }
}
