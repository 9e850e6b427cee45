//! The secrets that a call has met, as values: whatever holds one is masked, however it is written there.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value};

use super::{MASK, is_secret};
use crate::base::json;

/// Shorter values are masked only where they stand by the name of a secret: as values they would be found in any word.
const MIN_SECRET_BYTES: usize = 4;
/// Of more secrets only the simple spellings are looked for: a file with as many is large, and its lines are masked by the
/// names in them, too.
const MAX_FULL_SECRETS: usize = 1000;
/// Of a longer one, too: each spelling within another may double it.
const MAX_NESTED_BYTES: usize = 64 << 10;
/// Spellings within spellings: libpq's quoting in postgresql.conf's quoting in JSON text.
const MAX_QUOTING_DEPTH: usize = 3;
/// What is said everywhere and is nobody's secret.
const NO_SECRETS: [&str; 5] = ["true", "false", "null", "none", "default"];

thread_local! {
    /// A call runs on one thread, and so does its panic hook; each test has its own.
    static KNOWN: RefCell<Known> = RefCell::new(Known::default());
}

#[derive(Default)]
struct Known {
    values: HashSet<String>,
    /// Every spelling by its first four bytes, the longest first.
    spellings: HashMap<[u8; MIN_SECRET_BYTES], Vec<Box<[u8]>>>,
}

/// Keeps this value out of all that the program writes, as it is and in every quoting that a result may show it in.
pub fn register(value: &str) {
    let add = |known: &mut Known, value: &str| {
        let lower = value.to_ascii_lowercase();
        if value.trim().len() < MIN_SECRET_BYTES || value == MASK || NO_SECRETS.contains(&lower.as_str()) {
            return;
        }
        if known.values.insert(value.to_owned()) {
            let depth = if known.values.len() > MAX_FULL_SECRETS || value.len() > MAX_NESTED_BYTES {
                1
            } else {
                MAX_QUOTING_DEPTH
            };
            for spelling in spellings(value, depth) {
                known.add_spelling(spelling);
            }
        }
    };
    KNOWN.with_borrow_mut(|known| {
        add(known, value);
        // A text may be shown line by line.
        if value.contains('\n') {
            value.lines().map(str::trim).for_each(|line| add(known, line));
        }
    });
}

/// Keeps each secret in a text that gives it a name, such as `password=p`: the whole of a file, or an argument.
pub fn register_named(text: &str) {
    for (start, end) in super::find::find_secrets(text) {
        let written = &text[start..end];
        register(written);
        for value in read_back(written) {
            register(&value);
        }
    }
}

/// Keeps each secret among arguments: what is under the name of one, and what is named within a text.
pub fn register_args(args: &Map<String, Value>) {
    for (name, value) in args {
        if is_secret(name) { register_value(value) } else { register_within(value) }
    }
}

/// Keeps every text and number of the value.
pub fn register_value(value: &Value) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => register(&number.to_string()),
        Value::String(text) => {
            register(text);
            // In JSON text its values are secrets, too; its names may be.
            if let Some(value) = json_text(text) {
                register_value(&value);
            }
        }
        Value::Array(items) => items.iter().for_each(register_value),
        Value::Object(map) => map.values().for_each(register_value),
    }
}

fn register_within(value: &Value) {
    match value {
        Value::String(text) => {
            if let Some(value) = json_text(text) {
                register_within(&value);
            }
            register_named(text);
        }
        Value::Array(items) => items.iter().for_each(register_within),
        Value::Object(map) => register_args(map),
        _ => {}
    }
}

/// The object or list that is given as text.
fn json_text(text: &str) -> Option<Value> {
    text.trim_start().starts_with(['{', '[']).then(|| json::parse(text).ok()).flatten()
}

/// The text without the secrets that are known.
pub(super) fn mask(text: &str) -> Cow<'_, str> {
    KNOWN.with_borrow(|known| known.mask(text))
}

impl Known {
    fn add_spelling(&mut self, spelling: String) {
        let Some(head) = first_bytes(spelling.as_bytes()) else { return };
        let list = self.spellings.entry(head).or_default();
        let at = list.partition_point(|other| other.len() >= spelling.len());
        list.insert(at, spelling.into_bytes().into_boxed_slice());
    }

    fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.spellings.is_empty() {
            return Cow::Borrowed(text);
        }
        let bytes = text.as_bytes();
        let (mut shown, mut from, mut at) = (String::new(), 0, 0);
        while let Some(head) = first_bytes(&bytes[at..]) {
            // A spelling is UTF-8, and so begins and ends where characters of the text do.
            match self.spellings.get(&head).and_then(|list| list.iter().find(|s| matches_at(bytes, at, s))) {
                Some(spelling) => {
                    shown.push_str(&text[from..at]);
                    shown.push_str(MASK);
                    at += spelling.len();
                    from = at;
                }
                None => at += 1,
            }
        }
        if from == 0 {
            return Cow::Borrowed(text);
        }
        shown.push_str(&text[from..]);
        Cow::Owned(shown)
    }
}

fn first_bytes(bytes: &[u8]) -> Option<[u8; MIN_SECRET_BYTES]> {
    bytes.first_chunk::<MIN_SECRET_BYTES>().copied()
}

/// Whether the secret stands at this place; digits are none within a longer number.
fn matches_at(text: &[u8], at: usize, secret: &[u8]) -> bool {
    let digit = |at: Option<usize>| at.and_then(|at| text.get(at)).is_some_and(u8::is_ascii_digit);
    text[at..].starts_with(secret)
        && !(secret.iter().all(u8::is_ascii_digit)
            && (digit(at.checked_sub(1)) || digit(Some(at + secret.len()))))
}

/// How a value may be written: as it is, and in the quoting of each language that a result has texts of, one within another.
fn spellings(value: &str, depth: usize) -> BTreeSet<String> {
    let mut all = BTreeSet::from([value.to_owned()]);
    let mut last = vec![value.to_owned()];
    for _ in 0..depth {
        let mut next = Vec::new();
        for text in &last {
            for spelled in quotings(text) {
                if all.insert(spelled.clone()) {
                    next.push(spelled);
                }
            }
        }
        last = next;
    }
    all
}

fn quotings(text: &str) -> Vec<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~');
    if text.chars().all(plain) {
        return Vec::new();
    }
    let debug = format!("{text:?}");
    let percent = text.bytes().map(|byte| match char::from(byte) {
        c if plain(c) => c.to_string(),
        _ => format!("%{byte:02X}"),
    });
    let mut all = vec![
        // libpq, and postgresql.conf as people write it.
        text.replace('\\', "\\\\").replace('\'', "\\'"),
        // libpq without quotes.
        text.replace('\\', "\\\\").replace('\'', "\\'").replace(' ', "\\ "),
        // postgresql.conf as og_guc and gs_guc write it.
        text.replace('\\', "\\\\").replace('\'', "''"),
        text.replace('\'', "''"),
        // pg_hba.conf.
        text.replace('"', "\"\""),
        // JSON, and Rust's own.
        debug[1..debug.len() - 1].to_owned(),
        percent.collect(),
        // A message is one line.
        text.replace('\n', " "),
    ];
    if let Ok(json) = serde_json::to_string(text) {
        all.push(json[1..json.len() - 1].to_owned());
    }
    all
}

/// The values that the written one may stand for.
fn read_back(written: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut last = vec![written.to_owned()];
    for _ in 0..2 {
        let mut next = Vec::new();
        for text in &last {
            let read = [
                unescape(text),
                text.replace("''", "'"),
                text.replace("\"\"", "\""),
                text.replace("\"\"", "\0").replace('"', "").replace('\0', "\""),
                text.trim_matches(['\'', '"', '\\']).to_owned(),
                decode_percent(text),
            ];
            for value in read {
                if value != *text && all.insert(value.clone()) {
                    next.push(value);
                }
            }
        }
        last = next;
    }
    all
}

/// Each backslash taken away, and the character behind it as it is.
fn unescape(text: &str) -> String {
    let mut chars = text.chars();
    std::iter::from_fn(|| match chars.next()? {
        '\\' => Some(chars.next().unwrap_or('\\')),
        c => Some(c),
    })
    .collect()
}

fn decode_percent(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut read, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let code = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        let code = code.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| byte == b'%');
        read.push(code.unwrap_or(byte));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&read).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_masked_however_it_is_quoted() {
        register("a\"b'c\\d e");
        for text in [
            "x a\"b'c\\d e y",
            "x a\"\"b'c\\d e y",
            "x a\"b''c\\\\d e y",
            "x a\"b\\'c\\\\d\\ e y",
            "x a\\\"b'c\\\\d e y",
            "x a%22b%27c%5Cd%20e y",
            // libpq's in postgresql.conf's in JSON text.
            "x a\\\"b\\\\\\\\''c\\\\\\\\\\\\\\\\d e y",
        ] {
            assert_eq!(mask(text), format!("x {MASK} y"), "{text}");
        }
        assert_eq!(mask("a\"b"), "a\"b");
    }

    #[test]
    fn a_long_value_does_not_grow_by_its_quotings() {
        let value = "'\n".repeat(MAX_NESTED_BYTES);
        assert!(spellings(&value, 1).iter().map(String::len).sum::<usize>() < 40 * value.len());
        register(&value);
        let known =
            KNOWN.with_borrow(|known| known.spellings.values().flatten().map(|s| s.len()).sum::<usize>());
        assert!(known < 40 * value.len(), "{known}");
        assert_eq!(mask(&value), MASK);
    }

    #[test]
    fn what_would_be_found_in_any_word_is_no_value() {
        for value in ["", "abc", "   ", "true", "None", MASK] {
            register(value);
            assert_eq!(mask("abc True none    x"), "abc True none    x");
        }
        register("1234");
        assert_eq!(mask("line 12345, 1234, 51234"), format!("line 12345, {MASK}, 51234"));
    }

    #[test]
    fn the_longest_of_several_is_masked() {
        register("ab-cd");
        register("ab-cd-ef");
        assert_eq!(mask("ab-cd-ef ab-cd"), format!("{MASK} {MASK}"));
        register("line one\nline two");
        assert_eq!(mask("  line two"), format!("  {MASK}"));
        assert_eq!(mask("line one line two"), MASK);
    }

    #[test]
    fn arguments_tell_their_secrets() {
        let args = json!({"password": 123_456, "rules": ["host ldap ldapbindpasswd=\"q\"\"x y\""],
            "text": "[{\"x_token\": [\"in-json\"]}]", "broken": "[{\"ldapbindpasswd\": \"half\\\"broken\"",
            "conninfo": "host=h password='it\\'s here'"});
        let Value::Object(args) = args else { return };
        register_args(&args);
        for secret in ["123456", "q\"x y", "in-json", "half\"broken", "it's here"] {
            assert_eq!(mask(&format!("<{secret}>")), format!("<{MASK}>"));
        }
        assert_eq!(mask("host"), "host");
    }
}
