//! The lines that nearly every file is made of, read without an allocation: a rule of bare words with an IPv4 address,
//! a blank line, a comment. Whatever else stands in a line is the scanner's.

use super::rule::{Kind, Method};

/// The clients that a rule's address lets in, as far as they are read before its line is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// The local socket.
    Local,
    /// `all`.
    All,
    /// `samehost` or `samenet`.
    Near,
    /// A range of IPv4 addresses.
    V4 {
        /// The address, the bits outside the mask being 0.
        network: u32,
        /// The mask.
        mask: u32,
    },
    /// A range of IPv6 addresses.
    V6,
    /// A host name.
    Host,
}

/// What is known of a rule without parsing its line again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brief {
    /// The first column.
    pub kind: Kind,
    /// The method.
    pub method: Method,
    /// Whom it lets in.
    pub reach: Reach,
    /// Whether an `@file` is among its names.
    pub includes: bool,
    /// Where database and user stand in the line, when each is one bare word.
    pub(super) words: Option<[(u8, u8); 2]>,
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quick {
    /// Nothing.
    Blank,
    /// A comment.
    Comment,
    /// A rule.
    Rule(Brief),
}

const WORD: u8 = 0;
const BLANK: u8 = 1;
const END: u8 = 2;
const COMMENT: u8 = 3;
const ODD: u8 = 4;

/// What each byte is.
static CLASS: [u8; 256] = {
    let mut class = [WORD; 256];
    let mut byte = 0;
    while byte < 0x20 {
        class[byte] = ODD;
        byte += 1;
    }
    class[b' ' as usize] = BLANK;
    class[b'\t' as usize] = BLANK;
    class[b'\r' as usize] = BLANK;
    class[b'\n' as usize] = END;
    class[b'#' as usize] = COMMENT;
    class[b'"' as usize] = ODD;
    class[b',' as usize] = ODD;
    class[b'@' as usize] = ODD;
    class[b'+' as usize] = ODD;
    class
};

/// Longer words are the scanner's, which has a limit for them.
const LONGEST: usize = 250;

struct Words<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Words<'_> {
    fn class(&self) -> u8 {
        self.bytes.get(self.at).map_or(END, |&byte| CLASS[byte as usize])
    }

    fn skip_blanks(&mut self) {
        while self.class() == BLANK {
            self.at += 1;
        }
    }

    /// The next word: where it stands. `None` at a line's end, a comment, or where something odd stands.
    fn next(&mut self) -> Option<(usize, usize)> {
        self.skip_blanks();
        let start = self.at;
        while self.class() == WORD {
            self.at += 1;
        }
        let length = self.at - start;
        (length > 0 && length <= LONGEST && matches!(self.class(), BLANK | END)).then_some((start, self.at))
    }
}

/// Reads the line that begins at `start`, and where it ends, its line end included; `None` when it is one for the
/// scanner.
pub fn parse_line(bytes: &[u8], start: usize) -> Option<(Quick, usize)> {
    let mut words = Words { bytes, at: start };
    words.skip_blanks();
    match words.class() {
        END => return Some((Quick::Blank, skip_line_end(bytes, words.at))),
        COMMENT => return Some((Quick::Comment, line_end(bytes, words.at))),
        ODD => return None,
        _ => {}
    }
    let (from, to) = words.next()?;
    let kind = Kind::parse(&bytes[from..to])?;
    let (database, user) = (words.next()?, words.next()?);
    let reach = if kind == Kind::Local { Reach::Local } else { parse_reach(&mut words)? };
    let (from, to) = words.next()?;
    let method = match &bytes[from..to] {
        b"trust" => Method::Trust,
        b"reject" => Method::Reject,
        b"md5" => Method::Md5,
        b"sha256" => Method::Sha256,
        b"sm3" => Method::Sm3,
        _ => return None,
    };
    words.skip_blanks();
    let end = match words.class() {
        END => skip_line_end(bytes, words.at),
        COMMENT => line_end(bytes, words.at),
        _ => return None,
    };
    let place =
        |(from, to): (usize, usize)| Some((u8::try_from(from - start).ok()?, u8::try_from(to - start).ok()?));
    let names = Some([place(database)?, place(user)?]);
    Some((Quick::Rule(Brief { kind, method, reach, includes: false, words: names }), end))
}

/// Returns the position behind the line end that stands here, if one does.
fn skip_line_end(bytes: &[u8], at: usize) -> usize {
    bytes.len().min(at + 1)
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|&c| c == b'\n').map_or(bytes.len(), |n| at + n + 1)
}

fn parse_reach(words: &mut Words<'_>) -> Option<Reach> {
    let (from, to) = words.next()?;
    let text = &words.bytes[from..to];
    if text == b"all" {
        return Some(Reach::All);
    }
    let (address, rest) = parse_ipv4(text)?;
    let mask = match rest {
        [b'/', bits @ ..] => {
            let bits = u32::from(parse_number(bits, 32)?);
            u32::MAX.checked_shl(32 - bits).unwrap_or(0)
        }
        [] => {
            let (from, to) = words.next()?;
            match parse_ipv4(&words.bytes[from..to])? {
                (mask, []) => mask,
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(Reach::V4 { network: address & mask, mask })
}

/// Four decimal parts without leading zeros, and what follows them.
fn parse_ipv4(text: &[u8]) -> Option<(u32, &[u8])> {
    let (mut address, mut rest) = (0, text);
    for part in 0..4 {
        let digits = rest.iter().take(4).position(|c| !c.is_ascii_digit()).unwrap_or(rest.len().min(4));
        address = address << 8 | u32::from(parse_number(&rest[..digits], 255)?);
        rest = &rest[digits..];
        if part < 3 {
            rest = rest.strip_prefix(b".")?;
        }
    }
    Some((address, rest))
}

/// A decimal number of at most `most`, without leading zeros.
fn parse_number(digits: &[u8], most: u16) -> Option<u16> {
    if digits.is_empty() || digits.len() > 3 || (digits[0] == b'0' && digits.len() > 1) {
        return None;
    }
    let mut number = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number * 10 + u16::from(digit - b'0');
    }
    (number <= most).then_some(number)
}
