//! What values a parameter may have.

use og_common::protocol::Error;

/// The type of a parameter, and its limits as far as they are known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spec {
    /// `bool`, `integer`, `int64`, `real`, `enum` or `string`; `int` as cluster_guc.conf has it.
    pub kind: String,
    /// The unit of a bare number; empty: the parameter has none.
    pub unit: String,
    /// The least and the greatest number, in that unit.
    pub range: Option<(f64, f64)>,
    /// The words of an `enum`, where all of them are known.
    pub words: Vec<String>,
}

impl Spec {
    /// Refuses a value of which it is sure that the server refuses it.
    ///
    /// # Errors
    /// `bad_args`, saying why.
    pub fn check(&self, name: &str, value: &str) -> Result<(), Error> {
        let is_no =
            |kind: &str| Err(Error::bad_args(format!("{name} is of type {kind}, which {value:?} is not")));
        match self.kind.as_str() {
            "bool" if parse_bool(value).is_none() => is_no("bool"),
            "int" | "integer" | "int64" => match integer(value) {
                Some((number, unit)) => self.check_range(name, value, number, unit),
                None => is_no("integer"),
            },
            "real" => match real(value) {
                Some((number, unit)) => self.check_range(name, value, number, unit),
                None => is_no("real"),
            },
            // The words of an enum that are not shown are other forms of yes and no.
            "enum" if !self.words.is_empty() && parse_bool(value).is_none() => {
                if self.words.iter().any(|word| word.eq_ignore_ascii_case(value)) {
                    return Ok(());
                }
                Err(Error::bad_args(format!("{name} is one of {}, and not {value:?}", self.words.join(", "))))
            }
            _ => Ok(()),
        }
    }

    fn check_range(&self, name: &str, value: &str, number: f64, unit: &str) -> Result<(), Error> {
        let factor = match (unit, unit_size(unit), unit_size(&self.unit)) {
            ("", ..) => 1.0,
            (_, None, _) => {
                return Err(Error::bad_args(format!("{value:?} has no unit that {name} knows"))
                    .hint("units are kB, MB, GB, or ms, s, min, h, d, with these letters"));
            }
            (_, Some(_), _) if self.unit.is_empty() => {
                return Err(Error::bad_args(format!("{name} has no unit, and {value:?} has one")));
            }
            (_, Some(given), Some(own)) => given / own,
            (_, Some(_), None) => return Ok(()),
        };
        match self.range {
            Some((least, most)) if number * factor < least || number * factor > most => Err(Error::bad_args(
                format!("{value} is outside the valid range of {name} ({least} .. {most})"),
            )),
            _ => Ok(()),
        }
    }
}

/// The server's parse_bool, which takes beginnings of the words too.
pub fn parse_bool(value: &str) -> Option<bool> {
    let value = value.trim().to_ascii_lowercase();
    let begins = |word: &str| !value.is_empty() && word.starts_with(&value);
    if value == "on" || value == "1" || begins("true") || begins("yes") {
        Some(true)
    } else if value == "0" || begins("false") || begins("no") || (value.len() > 1 && begins("off")) {
        Some(false)
    } else {
        None
    }
}

/// A number and its unit as the server's parse_int takes them: strtol with base 0, so no fraction.
fn integer(value: &str) -> Option<(f64, &str)> {
    let text = value.trim_start();
    let (sign, body) = match text.strip_prefix('-') {
        Some(body) => (-1.0, body),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match body.strip_prefix("0x").or_else(|| body.strip_prefix("0X")) {
        Some(hex) if hex.starts_with(|c: char| c.is_ascii_hexdigit()) => (16, hex),
        _ if body.starts_with('0') => (8, body),
        _ => (10, body),
    };
    let length = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    let number = i64::from_str_radix(&digits[..length], radix).ok()?;
    #[expect(clippy::cast_precision_loss, reason = "limits of 64 bits are not met to the last digit")]
    let number = sign * number as f64;
    Some((number, unit(&digits[length..])?))
}

/// A number and its unit as parse_real takes them: strtod.
fn real(value: &str) -> Option<(f64, &str)> {
    let text = value.trim_start();
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = |from: usize| from + body[from..].bytes().take_while(u8::is_ascii_digit).count();
    let mut end = digits(0);
    if body[end..].starts_with('.') {
        end = digits(end + 1);
    }
    if body[end..].starts_with(['e', 'E']) {
        let signed = end + 1 + usize::from(body[end + 1..].starts_with(['+', '-']));
        end = if digits(signed) > signed { digits(signed) } else { end };
    }
    let sign = text.len() - body.len();
    // Hexadecimal ones and the like are left to the server.
    let number = text[..sign + end].parse::<f64>().ok().filter(|number| number.is_finite())?;
    Some((number, unit(&body[end..])?))
}

/// What may stand behind a number: blanks, a unit, blanks.
fn unit(rest: &str) -> Option<&str> {
    let unit = rest.trim_matches(|c: char| c.is_ascii_whitespace());
    unit.bytes().all(|byte| byte.is_ascii_alphabetic()).then_some(unit)
}

/// A unit in bytes or milliseconds; pages are 8 kB.
pub fn unit_size(unit: &str) -> Option<f64> {
    let known = [
        ("kB", 1024.0),
        ("8kB", 8192.0),
        ("MB", 1_048_576.0),
        ("GB", 1_073_741_824.0),
        ("ms", 1.0),
        ("s", 1000.0),
        ("min", 60_000.0),
        ("h", 3_600_000.0),
        ("d", 86_400_000.0),
    ];
    known.iter().find(|(name, _)| *name == unit).map(|(_, size)| *size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(kind: &str, unit: &str, range: (f64, f64)) -> Spec {
        Spec { kind: kind.into(), unit: unit.into(), range: Some(range), ..Spec::default() }
    }

    /// As release 3.0.5 said of each at a reload.
    #[test]
    fn what_the_server_refuses_and_nothing_else() {
        let work_mem = spec("integer", "kB", (64.0, 2_147_483_647.0));
        for good in ["64", "64kB", "7 MB", " 0x1000 ", "0100", "2147483647", "1GB"] {
            assert!(work_mem.check("work_mem", good).is_ok(), "{good}");
        }
        for bad in ["", "abc", "1.5GB", ".kB", "7mb", "63", "08", "0x", "7MB x", "3000GB", "1 s x", "é"] {
            assert!(work_mem.check("work_mem", bad).is_err(), "{bad}");
        }
        let port = spec("int", "", (1.0, 65_535.0));
        for bad in ["abc", "99999999", "0", "1kB", "5432.0"] {
            assert!(port.check("port", bad).is_err(), "{bad}");
        }
        assert!(spec("integer", "", (0.0, 511.0)).check("unix_socket_permissions", "0700").is_ok());
        let cost = spec("real", "", (0.0, 1e300));
        for good in ["1", "1.5", ".5", "5.", "1e3", "2.5e-3"] {
            assert!(cost.check("random_page_cost", good).is_ok(), "{good}");
        }
        for bad in ["x", "-1", "1.5x", "1..2", "."] {
            assert!(cost.check("random_page_cost", bad).is_err(), "{bad}");
        }
        let words = vec!["minimal".to_owned(), "hot_standby".to_owned()];
        let level = Spec { kind: "enum".into(), words, ..Spec::default() };
        assert!(
            level.check("wal_level", "HOT_STANDBY").is_ok() && level.check("wal_level", "nosuch").is_err()
        );
        let flag = Spec { kind: "bool".into(), ..Spec::default() };
        assert!(flag.check("ssl", "y").is_ok() && flag.check("ssl", "maybe").is_err());
        assert!(Spec { kind: "string".into(), ..Spec::default() }.check("x", "").is_ok());
    }

    #[test]
    fn never_panics() {
        proptest::proptest!(|(value in "[+-]?[0-9a-fx.eEé ]{0,6}[a-zA-Z ]{0,3}", kind in "bool|integer|real|enum")| {
            let _ = spec(&kind, "kB", (0.0, 1.0)).check("x", &value);
        });
    }
}
