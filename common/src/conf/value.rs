//! Names and values: which may be written, how, and which are the same.

use super::lexer::{self, Token};
use crate::base::Error;

/// Whether `name` can be a parameter's name: letters, digits and `_`, not beginning with a digit, and at most one dot
/// (`class.name`).
///
/// # Errors
/// `bad_args`, naming it.
pub fn check_name(name: &str) -> Result<(), Error> {
    let named = name.is_ascii()
        && name.len() <= 63
        && matches!(lexer::scan_whole(name.as_bytes()), Some(Token::Id | Token::QualifiedId));
    if !named {
        return Err(Error::bad_args(format!("{name:?} is not a name a parameter can have"))
            .hint("a name has letters, digits and _, and may have one dot"));
    }
    if super::is_include(name.as_bytes()) {
        return Err(Error::bad_args(format!("{name} is a directive, not a parameter")));
    }
    Ok(())
}

pub(super) fn check_value(name: &str, value: &str) -> Result<(), Error> {
    let what = match value.chars().find(|c| matches!(c, '\0' | '\n' | '\r')) {
        None => return Ok(()),
        Some('\0') => "NUL",
        Some(_) => "line break",
    };
    Err(Error::bad_args(format!("the value of {name} holds a {what}, which postgresql.conf cannot hold")))
}

/// Whether two values (plain text, without quotes) mean the same to the server whatever the parameter's type.
///
/// Equal bytes are; so are two words for true or two for false (`on`, `true`, `yes`, `1`), and equal numbers with equal
/// units (`7 MB`, `7MB`). `7MB` and `7168kB` are not: whether a unit counts depends on the parameter.
#[must_use]
pub fn is_same_value(one: &[u8], other: &[u8]) -> bool {
    if one == other {
        return true;
    }
    let (Ok(one), Ok(other)) = (std::str::from_utf8(one), std::str::from_utf8(other)) else { return false };
    match (parse_bool(one), parse_bool(other)) {
        (Some(one), Some(other)) => one == other,
        _ => {
            matches!((NumberWithUnit::parse(one), NumberWithUnit::parse(other)), (Some(one), Some(other)) if one == other)
        }
    }
}

/// The value as it is written in a new line: numbers and truth words bare, all else quoted.
pub(super) fn print_new(value: &str) -> String {
    if is_plain_number(value) || parse_bool(value).is_some() { value.to_owned() } else { quote(value) }
}

/// The value as it is written in the place of `old`: bare only where the old one was bare too.
pub(super) fn print_like(old: &[u8], value: &str) -> String {
    if old.starts_with(b"'") {
        return quote(value);
    }
    let word = lexer::scan_whole(value.as_bytes()) == Some(Token::Id);
    if word || is_plain_number(value) { value.to_owned() } else { quote(value) }
}

/// Whether every scanner of such a file reads the bare text as one number: an integer, with a unit or without, or a
/// fraction without one. The token of openGauss's scanner for a fraction takes much that is none (`.log`, `5.x`), and that
/// of PostgreSQL's has no unit.
fn is_plain_number(text: &str) -> bool {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, rest) = text.split_at(digits(text));
    if whole.is_empty() {
        return false;
    }
    match rest.strip_prefix('.') {
        Some(fraction) => !fraction.is_empty() && digits(fraction) == fraction.len(),
        None => rest.bytes().all(|byte| byte.is_ascii_alphabetic()),
    }
}

/// In single quotes, so that the server reads `value` back: it takes `''` for a quote and a backslash for an escape.
fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

/// Whether the value is one of the words for true.
#[must_use]
pub fn is_on(value: &str) -> bool {
    parse_bool(value.trim()) == Some(true)
}

fn parse_bool(word: &str) -> Option<bool> {
    let is = |words: [&str; 4]| words.iter().any(|known| word.eq_ignore_ascii_case(known));
    if is(["on", "true", "yes", "1"]) {
        Some(true)
    } else if is(["off", "false", "no", "0"]) {
        Some(false)
    } else {
        None
    }
}

/// A number with its unit. Integers with leading zeros are left out: the server reads them as octal for some types.
#[derive(PartialEq)]
struct NumberWithUnit<'a> {
    amount: f64,
    unit: &'a str,
}

impl<'a> NumberWithUnit<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim_ascii();
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = &text[digits.len()..];
        let digits = digits.trim_ascii_end();
        let plain = digits.strip_prefix(['+', '-']).unwrap_or(digits);
        let decimal = plain.bytes().all(|b| b.is_ascii_digit() || b == b'.')
            && plain.bytes().any(|b| b.is_ascii_digit());
        let octal = plain.len() > 1 && plain.starts_with('0') && !plain.starts_with("0.");
        if !decimal || octal {
            return None;
        }
        // Beyond 2^53 two different integers would look equal.
        let amount: f64 = digits.parse().ok()?;
        (amount.abs() < 9_007_199_254_740_992.0).then_some(Self { amount, unit })
    }
}
