//! Where secrets stand in a text that gives them names: `password=p`, `"token": "t"`, `https://user:p@host`.
//!
//! What the text is written in is not known: it may be a line of pg_hba.conf, a connection string, JSON, or a piece of
//! any. So where languages differ, the longest that one of them takes for the value is taken.

use super::{COLON, KEY, KINDS, QUOTE, contains_word, is_in_word, is_kind, is_secret};

/// Returns the byte ranges of the secrets in a text, in order and without overlap.
pub(super) fn find_secrets(text: &str) -> Vec<(usize, usize)> {
    let mut found = find_assigned(text);
    found.extend(find_in_addresses(text));
    found.extend(find_in_settings(text));
    found.sort_unstable();
    let mut apart: Vec<(usize, usize)> = Vec::with_capacity(found.len());
    for (start, end) in found {
        match apart.last_mut() {
            Some(last) if start < last.1 => last.1 = last.1.max(end),
            _ => apart.push((start, end)),
        }
    }
    apart
}

/// Whether a secret can be in the line: each has a name, in which quotes may stand, or is in an address. It costs a small part of
/// looking for them.
pub(crate) fn may_hold_secrets(line: &[u8]) -> bool {
    let is_white = |at: Option<usize>| at.and_then(|at| line.get(at)).is_none_or(u8::is_ascii_whitespace);
    let mut is_cut = false;
    for (at, &byte) in line.iter().enumerate() {
        match KINDS[usize::from(byte)] {
            0 => {}
            KEY => {
                if is_in_word(line, at) {
                    return true;
                }
            }
            COLON => {
                if line[at..].starts_with(b"://") {
                    return true;
                }
            }
            // A word that is cut by quotes has one between two letters.
            _ => is_cut |= !is_white(at.checked_sub(1)) && !is_white(Some(at + 1)),
        }
    }
    is_cut && contains_word(&line.iter().copied().filter(|&byte| !is_kind(byte, QUOTE)).collect::<Vec<u8>>())
}

/// Where the values of `NAME=VALUE` and `"NAME": VALUE` stand whose names are those of secrets.
fn find_assigned(text: &str) -> Vec<(usize, usize)> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut done = 0;
    for at in memchr::memchr2_iter(b'=', b':', bytes) {
        if at < done {
            continue;
        }
        let sign = bytes[at];
        let name = text[..at].trim_end_matches([' ', '\t']);
        let begin = name
            .bytes()
            .rposition(|c| !(c.is_ascii_alphanumeric() || matches!(c, b'_' | b'"' | b'\'' | b'\\')));
        let name = &name[begin.map_or(0, |begin| begin + 1)..];
        // Outside JSON a colon is punctuation.
        if sign == b':' && !name.ends_with(['"', '\'']) {
            continue;
        }
        let quotes = ['"', '\'', '\\'];
        if !(if name.contains(quotes) { is_secret(&name.replace(quotes, "")) } else { is_secret(name) }) {
            continue;
        }
        let mut start = at + 1;
        if sign == b'=' && bytes.get(start) == Some(&b'>') {
            start += 1;
        }
        while bytes.get(start).is_some_and(|c| matches!(c, b' ' | b'\t')) {
            start += 1;
        }
        // In pg_hba.conf all of it may be in double quotes.
        let around = name.matches('"').count() % 2 == 1;
        let word = text[..at].rfind(char::is_whitespace).map_or(0, |blank| blank + 1);
        let (start, end) = value_range(bytes, start, around, text[word..at].contains("://"));
        if end > start {
            found.push((start, end));
            done = end;
        }
    }
    found
}

/// Where the value that begins at `start` stands without the quotes around it.
fn value_range(bytes: &[u8], start: usize, around: bool, in_address: bool) -> (usize, usize) {
    let line = bytes[start..].iter().position(|c| *c == b'\n').map_or(bytes.len(), |n| start + n);
    let rest = &bytes[start..line];
    let closed = |quote: &[u8]| {
        let first = start + quote.len();
        let end = find_closing_quote(&bytes[first..line], quote).map_or(line, |n| first + n);
        let behind = bytes.get(end + quote.len()).filter(|_| end + quote.len() < line);
        // In pg_hba.conf a word goes on behind a quote.
        let more = behind.is_some_and(|c| !c.is_ascii_whitespace() && !b",;)]}'\"\\#".contains(c));
        if more { (first, word_end(bytes, end + quote.len(), line, false)) } else { (first, end) }
    };
    let opening: &[u8] = match rest {
        // Quotes within quotes are doubled or have backslashes.
        [b'\'', b'\'', next, ..] if !next.is_ascii_whitespace() && *next != b'\'' => b"''",
        [b'\\', b'\'', ..] => b"\\'",
        [b'\\', b'"', ..] => b"\\\"",
        [b'"', b'"', ..] if around => b"\"\"",
        [b'\'', ..] => b"'",
        [b'"', ..] if !around => b"\"",
        _ if around => {
            let end = find_closing_quote(rest, b"\"").map_or(line, |n| start + n);
            return (start, end);
        }
        _ => return (start, word_end(bytes, start, line, in_address)),
    };
    closed(opening)
}

/// Where the quote ends that was opened: one that is doubled or has a backslash before it is part of the value.
fn find_closing_quote(bytes: &[u8], quote: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < bytes.len() {
        let backslashes = bytes[at..].iter().take_while(|c| **c == b'\\').count();
        if let [b'\\', mark] = quote {
            let marked = backslashes > 0 && bytes.get(at + backslashes) == Some(mark);
            if marked && backslashes == 1 {
                return Some(at);
            }
            at += backslashes + usize::from(marked || backslashes == 0);
            continue;
        }
        let rest = &bytes[at + backslashes..];
        // In postgresql.conf libpq's backslash is doubled, and so is the quote behind it.
        let escaped = backslashes % 2 == 1 || backslashes > 0 && quote.len() > 1;
        if !rest.starts_with(quote) {
            at += backslashes + 1;
        } else if escaped {
            at += backslashes + quote.len();
        } else if rest[quote.len()..].starts_with(quote) {
            at += backslashes + 2 * quote.len();
        } else {
            return Some(at + backslashes);
        }
    }
    None
}

/// Where the word ends: at a blank that is neither in double quotes nor behind a backslash.
fn word_end(bytes: &[u8], start: usize, line: usize, in_address: bool) -> usize {
    let (mut at, mut in_quotes) = (start, false);
    while at < line {
        match bytes[at] {
            b'\\' => at += 1,
            b'"' if in_quotes || bytes[at + 1..line].contains(&b'"') => in_quotes = !in_quotes,
            b'&' if in_address => break,
            c if c.is_ascii_whitespace() && !in_quotes => break,
            _ => {}
        }
        at += 1;
    }
    let mut end = at.min(line);
    // What closes the text around it.
    while end > start && b"'\";,)]}".contains(&bytes[end - 1]) {
        end -= 1;
    }
    end
}

/// Where the passwords of `scheme://user:password@host` stand.
fn find_in_addresses(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for at in memchr::memchr_iter(b':', text.as_bytes()) {
        if !text[at..].starts_with("://") {
            continue;
        }
        let rest = &text[at + 3..];
        let rest =
            &rest[..rest.find(|c: char| c.is_whitespace() || matches!(c, '\'' | '"')).unwrap_or(rest.len())];
        let path = rest.find('/').unwrap_or(rest.len());
        let Some(colon) = rest[..path].find(':') else { continue };
        let port =
            !rest[colon + 1..path].is_empty() && rest[colon + 1..path].bytes().all(|c| c.is_ascii_digit());
        // A password ought to have no slash in it, but who knows.
        let end = rest[..path].rfind('@').or_else(|| rest.rfind('@').filter(|_| !port));
        if let Some(end) = end.filter(|end| colon + 1 < *end) {
            found.push((at + 3 + colon + 1, at + 3 + end));
        }
    }
    found
}

/// Where the values of postgresql.conf's lines `NAME VALUE` stand, also of those behind a `#`.
fn find_in_settings(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut next = 0;
    for end in memchr::memchr_iter(b'\n', text.as_bytes()).chain([text.len()]) {
        let (line, from) = (&text[next..end], next);
        next = end + 1;
        // Few lines have one, and this is asked of every line of every file.
        let bytes = line.as_bytes();
        let begin = bytes.iter().position(|c| !matches!(c, b' ' | b'\t' | b'#')).unwrap_or(bytes.len());
        let Some(length) = bytes[begin..].iter().position(|c| matches!(c, b' ' | b'\t')) else { continue };
        let name = &line[begin..begin + length];
        if !is_secret(name)
            || !name.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'$'))
        {
            continue;
        }
        let line = line.trim_end();
        // A name alone.
        if line.len() <= begin + length {
            continue;
        }
        let start = line.len() - line[begin + length..].trim_start().len();
        let value = &line[start..];
        if let Some(quoted) = value.strip_prefix('\'') {
            let end = find_closing_quote(quoted.as_bytes(), b"'").unwrap_or(quoted.len());
            found.push((from + start + 1, from + start + 1 + end));
        } else if name.contains(['_', '.']) && !value.starts_with('=') {
            let end = value.find([' ', '\t', '#']).unwrap_or(value.len());
            let alone = value[end..].trim_start();
            // More words make a sentence, and no line of the file.
            if alone.is_empty() || alone.starts_with('#') {
                found.push((from + start, from + start + end));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mask_all(text: &str) -> String {
        let (mut shown, mut from) = (String::new(), 0);
        for (start, end) in find_secrets(text) {
            shown.push_str(&text[from..start]);
            shown.push_str("<>");
            from = end;
        }
        shown.push_str(&text[from..]);
        shown
    }

    #[test]
    fn in_every_language_to_the_values_end() {
        for (text, wanted) in [
            ("host=h password=p port=1", "host=h password=<> port=1"),
            ("Passwd = 'a b' x", "Passwd = '<>' x"),
            // libpq
            ("password='a b\\'c' port=1", "password='<>' port=1"),
            ("password=a\\ b port=1", "password=<> port=1"),
            ("password=a;b&c port=1", "password=<> port=1"),
            // ... within postgresql.conf
            ("primary_conninfo = 'host=h password=p'", "primary_conninfo = 'host=h password=<>'"),
            ("x = 'host=h password=''a b'' port=1'", "x = 'host=h password=''<>'' port=1'"),
            ("x = 'host=h password=''a\\\\''b'' port=1'", "x = 'host=h password=''<>'' port=1'"),
            ("x = 'password=a''b port=1'", "x = 'password=<> port=1'"),
            ("app.token 'a ''b' # c", "app.token '<>' # c"),
            ("  #app.token ab\nx", "  #app.token <>\nx"),
            ("app.token = 'a\\'b c'", "app.token = '<>'"),
            // pg_hba.conf
            ("ldap \"ldapbindpasswd=a b\" ldaptls=1", "ldap \"ldapbindpasswd=<>\" ldaptls=1"),
            ("ldapbindpasswd=\"a b\" x", "ldapbindpasswd=\"<>\" x"),
            ("\"ldapbindpasswd\"=a x", "\"ldapbindpasswd\"=<> x"),
            ("\"ldapbindpasswd\"=\"a b\" x", "\"ldapbindpasswd\"=\"<>\" x"),
            ("\"ldapbindpasswd=a\"\"b c\" x", "\"ldapbindpasswd=<>\" x"),
            ("ldapbindpasswd=\"a\"\"b c\" x", "ldapbindpasswd=\"<>\" x"),
            ("ldapbindpasswd=a\"b c\"d x", "ldapbindpasswd=<> x"),
            ("ldapbindpasswd=\"a b\"c x", "ldapbindpasswd=\"<> x"),
            ("ldapbind\"passwd\"=a x", "ldapbind\"passwd\"=<> x"),
            ("ldapbindpass\"wd\"=a x", "ldapbindpass\"wd\"=<> x"),
            // JSON
            ("{\"ldapbindpasswd\": \"a\\\"b\", \"x\": 1}", "{\"ldapbindpasswd\": \"<>\", \"x\": 1}"),
            ("\"{\\\"token\\\": \\\"a b\\\"}\"", "\"{\\\"token\\\": \\\"<>\\\"}\""),
            ("{\"token\": 12}", "{\"token\": <>}"),
            // addresses
            ("curl 'https://u:p:q@host/%f?token=1&x=2'", "curl 'https://u:<>@host/%f?token=<>&x=2'"),
            ("https://u:p/q@host", "https://u:<>@host"),
        ] {
            assert_eq!(mask_all(text), wanted, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_line_has_the_secrets_that_it_has_alone(
            parts in proptest::collection::vec(
                prop_oneof![
                    Just("password"), Just("pass\"wd"), Just("Token"), Just("https://u:p@h"), Just("://"), Just("="), Just(" = "),
                    Just(": "), Just("'"), Just("\""), Just("\\"), Just("\n"), Just(" "), Just("#"), Just("a.secret "), Just("x"),
                    Just("\u{fc}"), Just("12")
                ],
                0..24,
            )
        ) {
            let text = parts.concat();
            let (mut at, mut each) = (0, Vec::new());
            for line in text.split_inclusive('\n') {
                each.extend(find_secrets(line).into_iter().map(|(from, to)| (at + from, at + to)));
                at += line.len();
            }
            prop_assert_eq!(find_secrets(&text), each, "{:?}", text);
            for line in text.split_inclusive('\n') {
                prop_assert!(may_hold_secrets(line.as_bytes()) || find_secrets(line).is_empty(), "{:?}", line);
            }
        }
    }

    #[test]
    fn ordinary_words_are_none() {
        for text in [
            "host=h port=1 password_policy=1",
            "password authentication failed for user \"u\"",
            "app.token is set in postgresql.conf line 3",
            "/password: is missing",
            "https://host:8080/x@y",
            "password=",
            "\"password=\" x",
        ] {
            assert_eq!(mask_all(text), text);
        }
    }
}
