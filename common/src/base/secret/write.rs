//! The one place where a result becomes text: no string of it is written with a secret in it.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};

use super::{MASK, is_secret, mask_text};

/// Words from a closed list, which no secret is and which programs read.
const CLOSED: [&str; 2] = ["kind", "reason"];

/// The value as JSON on one line, secrets masked but for what is under the top-level keys `passed_on`, which are for a
/// program that needs it as it is.
///
/// # Errors
/// What the value's own serialisation fails with.
pub fn to_json(value: &impl Serialize, passed_on: &[&str]) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::new();
    let masking = Masking { passed_on, ..Masking::default() };
    value.serialize(&mut Serializer::with_formatter(&mut out, masking))?;
    Ok(out)
}

#[derive(Default)]
struct Masking<'a> {
    passed_on: &'a [&'a str],
    /// The string or key that is being written, without quotes and escapes.
    string: Option<String>,
    in_key: bool,
    /// The keys that lead to the value that is being written.
    keys: Vec<String>,
}

impl Masking<'_> {
    fn mask_string(&self, string: &str) -> String {
        let passed_on = self.keys.first().is_some_and(|key| self.passed_on.contains(&key.as_str()));
        let closed = self.keys.last().is_some_and(|key| CLOSED.contains(&key.as_str()));
        if self.in_key || passed_on || closed || string.is_empty() {
            return string.to_owned();
        }
        if self.keys.iter().any(|key| is_secret(key)) {
            MASK.to_owned()
        } else {
            mask_text(string).into_owned()
        }
    }

    /// Whether what is being written is under the name of a secret.
    fn is_secret(&self) -> bool {
        let passed_on = self.keys.first().is_some_and(|key| self.passed_on.contains(&key.as_str()));
        !passed_on && self.keys.iter().any(|key| is_secret(key))
    }

    /// Writes a number, which may be a key.
    fn write_number<W: ?Sized + Write>(&mut self, writer: &mut W, number: &str) -> io::Result<()> {
        if self.string.is_none() && self.is_secret() {
            return serde_json::to_writer(writer, MASK).map_err(io::Error::from);
        }
        self.write_plain(writer, number)
    }

    /// Writes a number or a word, which may be a key and then stands in quotes.
    fn write_plain<W: ?Sized + Write>(&mut self, writer: &mut W, plain: &str) -> io::Result<()> {
        match &mut self.string {
            Some(string) => {
                string.push_str(plain);
                Ok(())
            }
            None => writer.write_all(plain.as_bytes()),
        }
    }
}

macro_rules! numbers {
    ($($name:ident: $type:ty),*) => {
        $(fn $name<W: ?Sized + Write>(&mut self, writer: &mut W, value: $type) -> io::Result<()> {
            self.write_number(writer, &value.to_string())
        })*
    };
}

impl Formatter for Masking<'_> {
    fn write_bool<W: ?Sized + Write>(&mut self, writer: &mut W, value: bool) -> io::Result<()> {
        self.write_plain(writer, if value { "true" } else { "false" })
    }

    numbers!(write_i8: i8, write_i16: i16, write_i32: i32, write_i64: i64, write_i128: i128,
        write_u8: u8, write_u16: u16, write_u32: u32, write_u64: u64, write_u128: u128);

    fn write_f32<W: ?Sized + Write>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        self.write_number(writer, &serde_json::to_string(&value)?)
    }

    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        self.write_number(writer, &serde_json::to_string(&value)?)
    }

    fn write_number_str<W: ?Sized + Write>(&mut self, writer: &mut W, value: &str) -> io::Result<()> {
        self.write_number(writer, value)
    }

    fn begin_string<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.string = Some(String::new());
        Ok(())
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        self.write_plain(writer, fragment)
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        let char = match escape {
            CharEscape::Quote => '"',
            CharEscape::ReverseSolidus => '\\',
            CharEscape::Solidus => '/',
            CharEscape::Backspace => '\u{8}',
            CharEscape::FormFeed => '\u{c}',
            CharEscape::LineFeed => '\n',
            CharEscape::CarriageReturn => '\r',
            CharEscape::Tab => '\t',
            CharEscape::AsciiControl(byte) => char::from(byte),
        };
        self.write_plain(writer, char.encode_utf8(&mut [0; 4]))
    }

    fn end_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        let string = self.string.take().unwrap_or_default();
        serde_json::to_writer(&mut *writer, &self.mask_string(&string))?;
        if self.in_key {
            self.keys.push(string);
        }
        Ok(())
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.in_key = true;
        if first { Ok(()) } else { writer.write_all(b",") }
    }

    fn end_object_key<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.in_key = false;
        Ok(())
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.keys.pop();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::base::secret;

    fn written(value: &impl Serialize, passed_on: &[&str]) -> Value {
        serde_json::from_slice(&to_json(value, passed_on).unwrap()).unwrap()
    }

    #[test]
    fn what_has_no_secret_is_written_as_it_is() {
        let value = json!({"a": [1, -2, 0.5, true, null, "x\"\\/\u{8}\u{c}\n\r\t\u{1}\u{fc}"], "b": {}, "c": {"d": [{}]}});
        assert_eq!(written(&value, &[]), value);
        assert_eq!(to_json(&value, &[]).unwrap(), serde_json::to_vec(&value).unwrap());
        let numbers = BTreeMap::from([(1, true), (2, false)]);
        assert_eq!(written(&numbers, &[]), json!({"1": true, "2": false}));
    }

    #[test]
    fn secrets_are_masked_by_value_by_name_and_by_key() {
        secret::register("S3cr\"et");
        let value = json!({"msg": "it is S3cr\"et", "list": [["password=p q"]], "app.token": ["t", ""], "n": {"token": {"x": "y"}},
            "x_password": 123_456, "pin_secret": [1.5, -2, true, null], "password_policy": 1,
            "next": {"args": {"password": "S3cr\"et"}}, "error": {"kind": "busy"}, "S3cr\"et": 1});
        let masked = json!({"msg": format!("it is {MASK}"), "list": [[format!("password={MASK} q")]], "app.token": [MASK, ""],
            "x_password": MASK, "pin_secret": [MASK, MASK, true, null], "password_policy": 1,
            "n": {"token": {"x": MASK}}, "next": {"args": {"password": "S3cr\"et"}}, "error": {"kind": "busy"}, "S3cr\"et": 1});
        assert_eq!(written(&value, &["next"]), masked);
        assert_eq!(written(&value, &[])["next"]["args"]["password"], MASK);
    }
}
