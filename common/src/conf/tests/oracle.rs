//! A scanner and parser of its own make, from the token rules and the loop of openGauss's `guc-file.l` (v3.0.5; the rules
//! are the same from v2.0.5 to v7.0.0-RC1): slow, and as near to their text as can be.

/// What the server reads.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// Name, value and line of each setting and directive.
    pub(super) settings: Vec<(Vec<u8>, Vec<u8>, usize)>,
    /// The lines with syntax errors.
    pub(super) errors: Vec<usize>,
}

/// A regular expression over bytes.
#[derive(Clone)]
enum Re {
    One(fn(u8) -> bool),
    Seq(Vec<Re>),
    Or(Vec<Re>),
    Star(Box<Re>),
}

impl Re {
    fn maybe(self) -> Self {
        Self::Or(vec![self, Self::Seq(Vec::new())])
    }

    fn star(self) -> Self {
        Self::Star(Box::new(self))
    }

    fn plus(self) -> Self {
        Self::Seq(vec![self.clone(), self.star()])
    }

    /// All places where a match that begins at one of `starts` can end.
    fn ends(&self, text: &[u8], starts: &[usize]) -> Vec<usize> {
        let mut ends: Vec<usize> = match self {
            Self::One(is) => {
                starts.iter().filter(|at| text.get(**at).is_some_and(|b| is(*b))).map(|at| at + 1).collect()
            }
            Self::Seq(parts) => parts.iter().fold(starts.to_vec(), |starts, part| part.ends(text, &starts)),
            Self::Or(parts) => parts.iter().flat_map(|part| part.ends(text, starts)).collect(),
            Self::Star(part) => {
                let mut all = starts.to_vec();
                let mut new = starts.to_vec();
                while !new.is_empty() {
                    new = part.ends(text, &new);
                    new.retain(|at| !all.contains(at));
                    all.extend(&new);
                }
                all
            }
        };
        ends.sort_unstable();
        ends.dedup();
        ends
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Eol,
    Nothing,
    Id,
    QualifiedId,
    String,
    UnquotedString,
    Integer,
    Real,
    Equals,
    Error,
}

/// The rules in their order; the longest match counts, of equal ones the first.
fn rules(unit_of_real: bool) -> Vec<(Token, Re)> {
    let one = Re::One;
    let sign = || one(|b| b == b'-' || b == b'+');
    let digit = || one(|b| b.is_ascii_digit());
    let hex = || one(|b| b.is_ascii_hexdigit());
    let unit = || one(|b| b.is_ascii_alphabetic());
    let dot = || one(|b| b == b'.');
    let zero_x = Re::Seq(vec![one(|b| b == b'0'), one(|b| b == b'x')]);
    let hexadecimal = Re::Seq(vec![zero_x, hex().plus()]);
    let integer = Re::Seq(vec![sign().maybe(), Re::Or(vec![digit().plus(), hexadecimal]), unit().star()]);
    let exponent = Re::Seq(vec![one(|b| b == b'E' || b == b'e'), sign().maybe(), digit().plus()]);
    let mut real = vec![sign().maybe(), digit().star(), dot(), digit().star(), exponent.maybe()];
    if unit_of_real {
        real.push(unit().star());
    }
    let letter = || one(|b| b.is_ascii_alphabetic() || b == b'_' || b >= 0x80);
    let letter_or_digit = || one(|b| b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80);
    let id = || Re::Seq(vec![letter(), letter_or_digit().star()]);
    let within = one(|b| b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80 || b"-._:/".contains(&b));
    let quote = || one(|b| b == b'\'');
    let any = || one(|b| b != b'\n');
    let inside = Re::Or(vec![
        one(|b| !matches!(b, b'\'' | b'\\' | b'\n')),
        Re::Seq(vec![one(|b| b == b'\\'), any()]),
        Re::Seq(vec![quote(), quote()]),
    ]);
    vec![
        (Token::Eol, one(|b| b == b'\n')),
        (Token::Nothing, one(|b| matches!(b, b' ' | b'\t' | b'\r')).plus()),
        (Token::Nothing, Re::Seq(vec![one(|b| b == b'#'), any().star()])),
        (Token::Id, id()),
        (Token::QualifiedId, Re::Seq(vec![id(), dot(), id()])),
        (Token::String, Re::Seq(vec![quote(), inside.star(), quote()])),
        (Token::UnquotedString, Re::Seq(vec![letter(), within.star()])),
        (Token::Integer, integer),
        (Token::Real, Re::Seq(real)),
        (Token::Equals, one(|b| b == b'=')),
        (Token::Error, any()),
    ]
}

/// `yylex`: the tokens with what they match; blanks and comments left out.
fn scan<'a>(text: &'a [u8], rules: &[(Token, Re)]) -> Vec<(Token, &'a [u8])> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let mut best = (Token::Error, at);
        for (token, rule) in rules {
            if let Some(end) = rule.ends(text, &[at]).pop()
                && end > best.1
            {
                best = (*token, end);
            }
        }
        if best.0 != Token::Nothing {
            tokens.push((best.0, &text[at..best.1]));
        }
        at = best.1;
    }
    tokens
}

/// `GUC_scanstr`.
fn scanstr(quoted: &[u8]) -> Vec<u8> {
    let s = &quoted[1..];
    let mut new: Vec<u8> = Vec::new();
    let mut i = 0;
    while i < s.len() {
        if s[i] == b'\\' {
            i += 1;
            match s[i] {
                b'b' => new.push(8),
                b'f' => new.push(12),
                b'n' => new.push(b'\n'),
                b'r' => new.push(b'\r'),
                b't' => new.push(b'\t'),
                b'0'..=b'7' => {
                    let mut value: u32 = 0;
                    let mut k = 0;
                    while k < 3 && matches!(s.get(i + k), Some(b'0'..=b'7')) {
                        value = (value << 3) + u32::from(s[i + k] - b'0');
                        k += 1;
                    }
                    i += k - 1;
                    new.push(value.to_le_bytes()[0]);
                }
                other => new.push(other),
            }
        } else if s[i] == b'\'' && s.get(i + 1) == Some(&b'\'') {
            i += 1;
            new.push(s[i]);
        } else {
            new.push(s[i]);
        }
        i += 1;
    }
    // The ending quote was copied too; and a C string ends at its first NUL.
    new.pop();
    let length = new.iter().position(|b| *b == 0).unwrap_or(new.len());
    new.truncate(length);
    new
}

pub(super) fn read(text: &[u8]) -> Reading {
    parse(&scan(text, &rules(true)))
}

/// [`read`] as PostgreSQL's scanner does it.
pub(super) fn read_without_units(text: &[u8]) -> Reading {
    parse(&scan(text, &rules(false)))
}

/// `ParseConfigFp`.
fn parse(tokens: &[(Token, &[u8])]) -> Reading {
    let mut reading = Reading::default();
    let mut tokens = tokens.iter().copied();
    let mut line = 1;
    while let Some((token, name)) = tokens.next() {
        if token == Token::Eol {
            line += 1;
            continue;
        }
        let mut last = Some((token, name));
        let setting = 'setting: {
            if token != Token::Id && token != Token::QualifiedId {
                break 'setting None;
            }
            last = tokens.next();
            if matches!(last, Some((Token::Equals, _))) {
                last = tokens.next();
            }
            let value = match last {
                Some((Token::String, text)) => scanstr(text),
                Some((Token::Id | Token::Integer | Token::Real | Token::UnquotedString, text)) => {
                    text.to_vec()
                }
                _ => break 'setting None,
            };
            last = tokens.next();
            matches!(last, None | Some((Token::Eol, _))).then(|| (name.to_vec(), value, line))
        };
        match setting {
            Some(setting) => reading.settings.push(setting),
            None => reading.errors.push(line),
        }
        while last.is_some_and(|(token, _)| token != Token::Eol) {
            last = tokens.next();
        }
        line += 1;
    }
    reading
}
