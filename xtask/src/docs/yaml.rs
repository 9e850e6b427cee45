//! JSON values as YAML in block style, lines kept short.

use std::fmt::Write as _;

use serde_json::Value;

/// Where long texts are folded.
const WIDTH: usize = 112;

/// Words that YAML 1.1 does not read as text.
const NOT_TEXT: [&str; 10] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "~"];

/// The value, each line behind `indent` spaces.
pub fn block(value: &Value, indent: usize) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let _ = write!(out, "{:indent$}{}:", "", text(key));
                write_after_key(&mut out, value, indent);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for item in list {
                if matches!(item, Value::Object(m) if !m.is_empty()) {
                    let inner = block(item, indent + 2);
                    let _ = write!(out, "{:indent$}- {}", "", inner.trim_start());
                } else {
                    let _ = write!(out, "{:indent$}-", "");
                    write_after_key(&mut out, item, indent);
                }
            }
        }
        scalar => {
            let _ = writeln!(out, "{:indent$}{}", "", inline(scalar));
        }
    }
    out
}

/// What stands behind `key:` or `-`.
fn write_after_key(out: &mut String, value: &Value, indent: usize) {
    let nested = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => false,
    };
    if nested {
        out.push('\n');
        out.push_str(&block(value, indent + 2));
    } else if let Some(long) = value.as_str().filter(|t| is_foldable(t, indent)) {
        out.push_str(" >-\n");
        fold(out, long, indent + 2);
    } else {
        let _ = writeln!(out, " {}", inline(value));
    }
}

fn inline(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), text)
}

/// The text as a scalar on one line: plain where nobody can take it for something else, else in quotes.
fn text(words: &str) -> String {
    let plain = words.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_')
        && !words.ends_with([' ', ':'])
        && words.chars().all(|c| c.is_ascii_alphanumeric() || "_ ./-(),;'+".contains(c))
        && !NOT_TEXT.contains(&words.to_ascii_lowercase().as_str());
    if plain { words.to_owned() } else { Value::from(words).to_string() }
}

/// Whether the text is long, and folding gives it back unchanged.
fn is_foldable(words: &str, indent: usize) -> bool {
    words.chars().count() + indent > WIDTH
        && !words.starts_with(' ')
        && !words.ends_with(' ')
        && !words.contains("  ")
        && !words.chars().any(char::is_control)
}

fn fold(out: &mut String, words: &str, indent: usize) {
    let mut width = 0;
    for word in words.split(' ') {
        let more = word.chars().count() + 1;
        if width == 0 {
            let _ = write!(out, "{:indent$}{word}", "");
            width = indent + more;
        } else if width + more > WIDTH {
            let _ = write!(out, "\n{:indent$}{word}", "");
            width = indent + more;
        } else {
            let _ = write!(out, " {word}");
            width += more;
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nests_and_quotes() {
        let value =
            json!({"a": [{"b": 1, "c": ["x"]}, "no", "1:2", ""], "d": {}, "e": [], "f": null, "g": "# x"});
        let yaml = "a:\n  - b: 1\n    c:\n      - x\n  - \"no\"\n  - \"1:2\"\n  - \"\"\nd: {}\ne: []\nf: null\ng: \"# x\"\n";
        assert_eq!(block(&value, 0), yaml);
    }

    #[test]
    fn folds_what_is_long() {
        let long = "word ".repeat(40);
        let folded = block(&json!({ "a": long.trim() }), 2);
        assert!(folded.starts_with("  a: >-\n    word word"));
        assert!(folded.lines().all(|l| l.len() <= WIDTH));
        let back: Vec<_> = folded.lines().skip(1).map(str::trim).collect();
        assert_eq!(back.join(" "), long.trim());
    }
}
