//! Tokens, exactly as the server's own scanner takes them (`next_token` of openGauss's hba.cpp).

use std::ops::Range;

/// The longest token the server takes, in bytes; of a longer one it keeps this much and drops the rest of the line.
pub const MAX_TOKEN: usize = 254;

/// One value of a field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// Its bytes without quotes, up to the first NUL.
    pub text: Vec<u8>,
    /// Whether a quote stood before its first character: then it is never a keyword, `+role` or `@file`.
    pub quoted: bool,
}

impl Token {
    /// Whether it is this keyword.
    #[must_use]
    pub fn is_keyword(&self, keyword: &str) -> bool {
        !self.quoted && self.text == keyword.as_bytes()
    }

    /// The file it includes, when it is `@file`.
    #[must_use]
    pub fn included(&self) -> Option<&[u8]> {
        match self.text.split_first() {
            Some((b'@', name)) if !self.quoted && !name.is_empty() => Some(name),
            _ => None,
        }
    }

    /// Its text for a person.
    #[must_use]
    pub fn lossy(&self) -> String {
        String::from_utf8_lossy(&self.text).into_owned()
    }
}

/// The values between two blanks: one token, or several with commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// At least one.
    pub tokens: Vec<Token>,
    /// Where it stands in the scanned bytes.
    pub span: Range<usize>,
}

/// What the server takes for one line: nearly always one line of the file, but a comma at the end of a line joins the
/// next line to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands in the scanned bytes, line end included.
    pub span: Range<usize>,
    /// Its fields; none for a blank line or a comment.
    pub fields: Vec<Field>,
    /// Where a token begins that is longer than [`MAX_TOKEN`].
    pub too_long: Option<usize>,
}

/// Cuts the bytes of a file into entries, without a gap: their spans joined are the whole file. One at a time, for a
/// big file's tokens are many.
pub fn entries(bytes: &[u8]) -> impl Iterator<Item = Entry> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let entry = entry_at(bytes, at)?;
        at = entry.span.end;
        Some(entry)
    })
}

/// The entry that begins at this byte; `None` at the end.
pub fn entry_at(bytes: &[u8], start: usize) -> Option<Entry> {
    if start >= bytes.len() {
        return None;
    }
    let mut scanner = Scanner { bytes, at: start, too_long: None };
    let mut fields = Vec::with_capacity(6);
    while let Some(field) = scanner.field() {
        fields.push(field);
        if scanner.at >= bytes.len() {
            break;
        }
    }
    Some(Entry { span: start..scanner.at, fields, too_long: scanner.too_long })
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    too_long: Option<usize>,
}

fn is_blank(c: u8) -> bool {
    matches!(c, b' ' | b'\t' | b'\r')
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The next field of this entry, or `None` once its end is passed.
    fn field(&mut self) -> Option<Field> {
        let mut tokens = Vec::new();
        let mut span = 0..0;
        while let Some((token, start, comma)) = self.token() {
            if tokens.is_empty() {
                span.start = start;
            }
            span.end = self.at;
            tokens.push(token);
            if !comma {
                break;
            }
        }
        (!tokens.is_empty()).then_some(Field { tokens, span })
    }

    /// The next token, where it starts, and whether a comma ends it; `None` at the line's end, which is then passed.
    fn token(&mut self) -> Option<(Token, usize, bool)> {
        while self.peek().is_some_and(|c| is_blank(c) || c == b',') {
            self.at += 1;
        }
        if self.peek().is_none_or(|c| c == b'\n') {
            self.at = self.bytes.len().min(self.at + 1);
            return None;
        }
        let start = self.at;
        let mut text = Vec::new();
        let (mut in_quote, mut was_quote, mut saw_quote) = (false, false, false);
        let (mut quoted, mut comma) = (false, false);
        while let Some(c) = self.peek() {
            if c == b'\n' || (is_blank(c) && !in_quote) {
                break;
            }
            if c == b'#' && !in_quote {
                self.skip_to_line_end();
                // The server passes the line end here whenever it has no text yet, even after an empty "".
                if text.is_empty() && self.peek().is_some() {
                    self.at += 1;
                }
                break;
            }
            if text.len() >= MAX_TOKEN {
                self.too_long.get_or_insert(start);
                self.skip_to_line_end();
                break;
            }
            if c == b',' && !in_quote {
                comma = true;
                break;
            }
            if c != b'"' || was_quote {
                text.push(c);
            }
            was_quote = in_quote && c == b'"' && !was_quote;
            if c == b'"' {
                in_quote = !in_quote;
                saw_quote = true;
                quoted |= text.is_empty();
            }
            self.at += 1;
        }
        if text.is_empty() && !saw_quote {
            return None;
        }
        if let Some(nul) = text.iter().position(|&c| c == 0) {
            text.truncate(nul);
        }
        Some((Token { text, quoted }, start, comma))
    }

    fn skip_to_line_end(&mut self) {
        let rest = &self.bytes[self.at..];
        self.at += rest.iter().position(|&c| c == b'\n').unwrap_or(rest.len());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn fields(text: &str) -> Vec<Vec<String>> {
        let entries: Vec<Entry> = entries(text.as_bytes()).collect();
        assert_eq!(entries.len(), 1, "{entries:?}");
        entries[0].fields.iter().map(|f| f.tokens.iter().map(Token::lossy).collect()).collect()
    }

    #[test]
    fn blanks_commas_and_comments() {
        assert_eq!(fields("a\tb,c, d \r e#x\n"), [vec!["a"], vec!["b", "c", "d"], vec!["e"]]);
        assert_eq!(fields(" ,, a\n"), [vec!["a"]]);
        assert!(fields("  # only, this\n").is_empty());
    }

    #[test]
    fn quotes() {
        assert_eq!(
            fields("\"a b\" \"c\"\"d\" \"e,f\" \"g#h\" \"\"\n"),
            [vec!["a b"], vec!["c\"d"], vec!["e,f"], vec!["g#h"], vec![""]]
        );
        let all: Vec<Entry> = entries(b"\"all\" all a\"ll\" @x \"@x\" @\"x y\"\n").collect();
        let token = |i: usize| &all[0].fields[i].tokens[0];
        assert!(!token(0).is_keyword("all") && token(1).is_keyword("all"));
        assert!(token(2).is_keyword("all"), "a quote further in leaves it a keyword");
        assert_eq!(token(3).included(), Some(&b"x"[..]));
        assert_eq!(token(4).included(), None);
        assert_eq!(token(5).included(), Some(&b"x y"[..]));
    }

    #[test]
    fn a_comma_at_the_end_joins_the_next_line() {
        let entries: Vec<Entry> = entries(b"host all a,\n10.0.0.1/32 trust\nnext\n").collect();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].fields.len(), 5);
        assert_eq!(entries[1].fields.len(), 1);
    }

    #[test]
    fn the_longest_token() {
        let fits = format!("{} b\n", "x".repeat(MAX_TOKEN));
        assert_eq!(entries(fits.as_bytes()).next().unwrap().too_long, None);
        let long = format!("a {} b\nc\n", "x".repeat(MAX_TOKEN + 1));
        let entries: Vec<Entry> = entries(long.as_bytes()).collect();
        assert_eq!(entries[0].too_long, Some(2));
        assert_eq!(entries[0].fields.len(), 2, "the rest of the line is dropped");
        assert_eq!(entries[1].fields.len(), 1);
    }

    proptest! {
        #[test]
        fn spans_join_to_the_whole(bytes in proptest::collection::vec(
            prop_oneof![Just(b'\n'), Just(b'#'), Just(b','), Just(b'"'), Just(b' '), Just(b'a'), any::<u8>()], 0..200))
        {
            let mut at = 0;
            for entry in entries(&bytes) {
                prop_assert_eq!(entry.span.start, at);
                prop_assert!(entry.span.end > at);
                at = entry.span.end;
                for field in &entry.fields {
                    prop_assert!(!field.tokens.is_empty());
                    prop_assert!(field.span.end <= entry.span.end);
                }
            }
            prop_assert_eq!(at, bytes.len());
        }
    }
}
