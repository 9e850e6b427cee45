//! One line as the server's scanner and parser read it (`guc-file.l`): the same tokens, longest match first.

use std::borrow::Cow;
use std::ops::Range;

/// Where a line's setting stands.
pub(super) struct SettingSpan {
    pub(super) name: Range<usize>,
    pub(super) value: Range<usize>,
    pub(super) equals: bool,
    /// A comment follows on the line.
    pub(super) comment: bool,
}

pub(super) struct LineError {
    /// From 1, in bytes.
    pub(super) column: usize,
    pub(super) message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Id,
    QualifiedId,
    String,
    Unquoted,
    Integer,
    Real,
    Equals,
    Unknown,
}

/// What a line without its `\n` holds: nothing but blanks and a comment, or one setting.
pub(super) fn scan_line(text: &[u8]) -> Result<Option<SettingSpan>, LineError> {
    let Some((token, name)) = next_token(text, 0) else { return Ok(None) };
    if !matches!(token, Token::Id | Token::QualifiedId) {
        return Err(error_near(text, Some(name)));
    }
    let mut after = next_token(text, name.end);
    let equals = after.as_ref().is_some_and(|(token, _)| *token == Token::Equals);
    if let (true, Some((_, at))) = (equals, &after) {
        after = next_token(text, at.end);
    }
    let value = match after {
        Some((Token::Id | Token::String | Token::Integer | Token::Real | Token::Unquoted, at)) => at,
        other => return Err(error_near(text, other.map(|(_, at)| at))),
    };
    if let Some((_, at)) = next_token(text, value.end) {
        return Err(error_near(text, Some(at)));
    }
    let raw = &text[value.clone()];
    if let Some(nul) = raw.iter().position(|&byte| byte == 0) {
        // The server would cut the value there, and its last character with it.
        return Err(LineError { column: value.start + nul + 1, message: "NUL byte in a value".into() });
    }
    // No token follows, so what is not blank is a comment.
    let comment = value.end + count(&text[value.end..], is_blank) < text.len();
    Ok(Some(SettingSpan { name, value, equals, comment }))
}

/// A value as it is written, without quotes and escapes.
pub(super) fn decode(raw: &[u8]) -> Cow<'_, [u8]> {
    if raw.first() == Some(&b'\'') { unquote(raw).into() } else { raw.into() }
}

/// The name of a commented setting: `#name = …`; blanks may stand in what is none.
pub(super) fn commented_name(text: &[u8]) -> Option<&[u8]> {
    let rest = text.trim_ascii_start().strip_prefix(b"#")?.trim_ascii_start();
    let equals = rest.iter().position(|&byte| byte == b'=')?;
    Some(rest[..equals].trim_ascii_end())
}

/// The one token that `text` is from its first to its last byte.
pub(super) fn scan_whole(text: &[u8]) -> Option<Token> {
    match next_token(text, 0) {
        Some((token, at)) if at == (0..text.len()) => Some(token),
        _ => None,
    }
}

fn error_near(text: &[u8], at: Option<Range<usize>>) -> LineError {
    match at {
        Some(at) => LineError {
            column: at.start + 1,
            message: format!("syntax error near token \"{}\"", String::from_utf8_lossy(&text[at])),
        },
        None => LineError {
            column: text.trim_ascii_end().len() + 1,
            message: "syntax error near end of line".into(),
        },
    }
}

/// The next token at or after `from`; `None` at the end of the line or at a comment.
fn next_token(text: &[u8], from: usize) -> Option<(Token, Range<usize>)> {
    let start = from + count(&text[from..], is_blank);
    let rest = &text[start..];
    let (token, length) = match *rest.first()? {
        b'#' => return None,
        b'=' => (Token::Equals, 1),
        b'\'' => string(rest).map_or((Token::Unknown, 1), |length| (Token::String, length)),
        first if is_letter(first) => word(rest),
        _ => number(rest).unwrap_or((Token::Unknown, 1)),
    };
    Some((token, start..start + length))
}

/// `{LETTER}({LETTER_OR_DIGIT}|[-._:/])*`, of which names are a part.
fn word(rest: &[u8]) -> (Token, usize) {
    let id = count(rest, is_word);
    let length = id + count(&rest[id..], |b| CLASSES[usize::from(b)] & (LETTER | DIGIT | SIGN) != 0);
    let qualified = match rest.get(id..id + 2) {
        Some([b'.', letter]) if is_letter(*letter) => id + 1 + count(&rest[id + 1..], is_word),
        _ => 0,
    };
    let token = if id == length {
        Token::Id
    } else if qualified == length {
        Token::QualifiedId
    } else {
        Token::Unquoted
    };
    (token, length)
}

/// Length of `'([^'\\\n]|\\.|'')*'`, the longest there is.
fn string(rest: &[u8]) -> Option<usize> {
    let mut ended = None;
    let mut at = 1;
    while let Some(special) = rest.get(at..).and_then(|rest| memchr::memchr2(b'\'', b'\\', rest)) {
        at += special;
        if rest[at] == b'\'' {
            ended = Some(at + 1);
            if rest.get(at + 1) != Some(&b'\'') {
                break;
            }
        }
        at += 2;
    }
    ended
}

/// Integers (decimal or hex) and reals, each with a unit of letters behind.
fn number(rest: &[u8]) -> Option<(Token, usize)> {
    let sign = usize::from(matches!(rest[0], b'+' | b'-'));
    let body = &rest[sign..];
    let digits = count(body, |b| b.is_ascii_digit());
    let letters = |from: usize| from + count(&body[from..], |b| b.is_ascii_alphabetic());
    let mut integer = if digits > 0 { letters(digits) } else { 0 };
    if body.starts_with(b"0x") {
        let hex = count(&body[2..], |b| b.is_ascii_hexdigit());
        if hex > 0 {
            integer = integer.max(letters(2 + hex));
        }
    }
    let mut real = 0;
    if body.get(digits) == Some(&b'.') {
        let fraction = digits + 1 + count(&body[digits + 1..], |b| b.is_ascii_digit());
        real = letters(exponent(body, fraction).unwrap_or(fraction));
    }
    match integer.max(real) {
        0 => None,
        length if real > integer => Some((Token::Real, sign + length)),
        length => Some((Token::Integer, sign + length)),
    }
}

/// Where `[Ee]{SIGN}?{DIGIT}+` at `from` ends.
fn exponent(body: &[u8], from: usize) -> Option<usize> {
    body.get(from).filter(|b| matches!(b, b'e' | b'E'))?;
    let digits = from + 1 + usize::from(body.get(from + 1).is_some_and(|b| matches!(b, b'+' | b'-')));
    let length = count(body.get(digits..)?, |b| b.is_ascii_digit());
    (length > 0).then_some(digits + length)
}

/// A quoted string without its quotes, `''` and backslash escapes resolved; the server stops at a NUL made by one.
fn unquote(quoted: &[u8]) -> Vec<u8> {
    let inner = &quoted[1..quoted.len() - 1];
    let mut plain = Vec::with_capacity(inner.len());
    let mut at = 0;
    while let Some(&byte) = inner.get(at) {
        at += 1;
        let decoded = match (byte, inner.get(at).copied()) {
            (b'\'', _) => {
                at += 1;
                b'\''
            }
            (b'\\', Some(b'0'..=b'7')) => {
                let digits = count(&inner[at..], |b| matches!(b, b'0'..=b'7')).min(3);
                let octal = inner[at..at + digits].iter().fold(0_u8, |sum, digit| {
                    // Three digits can exceed a byte; the server cuts them the same way.
                    sum.wrapping_shl(3) | (digit - b'0')
                });
                at += digits;
                octal
            }
            (b'\\', Some(escaped)) => {
                at += 1;
                match escaped {
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => other,
                }
            }
            (other, _) => other,
        };
        if decoded == 0 {
            break;
        }
        plain.push(decoded);
    }
    plain
}

fn count(text: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    text.iter().position(|&byte| !belongs(byte)).unwrap_or(text.len())
}

/// A letter, an underscore, or a byte that is not ASCII.
const LETTER: u8 = 1;
/// A decimal digit.
const DIGIT: u8 = 2;
/// What may stand in an unquoted value beside letters and digits.
const SIGN: u8 = 4;

/// Which of these each byte is: every byte of a file is asked about.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte {
            0x30..=0x39 => DIGIT,
            0x41..=0x5A | 0x61..=0x7A | 0x5F | 0x80.. => LETTER,
            // -./:
            0x2D | 0x2E | 0x2F | 0x3A => SIGN,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
}

fn is_letter(byte: u8) -> bool {
    CLASSES[usize::from(byte)] == LETTER
}

fn is_word(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & (LETTER | DIGIT) != 0
}
