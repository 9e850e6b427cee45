//! Lossless pg_hba.conf: the server's own reading of it, as values, with every byte kept.
//!
//! What the server takes and what it refuses is in openGauss's `src/common/backend/libpq/hba.cpp`; one line that it
//! cannot take makes it keep all its old rules at a reload, and not start at all.

mod address;
mod fields;
mod lexer;
mod matching;
mod quick;
mod rule;
#[cfg(test)]
mod tests;

use std::ops::Range as Span;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::secret;

pub use address::{Address, Range, is_host_name, parse_ip, parse_whole_ip};
pub use fields::RuleFields;
pub use lexer::{MAX_TOKEN, Token};
pub use matching::{
    Answer, Connection, CoverIndex, Decision, Hidden, Route, Surroundings, initial_user, limit_of_trust,
};
pub use quick::{Brief, Reach};
pub use rule::{
    Column, HbaRule, Key, Kind, Method, Name, Places, Problem, ProblemPart, check_writable, is_in_quotes,
    name_set, quote, unquote,
};

/// A pg_hba.conf: its bytes, and what each line is. A rule is parsed into values when it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HbaFile {
    bytes: Vec<u8>,
    lines: Vec<Line>,
}

/// One line, or, where a comma at its end joins the next one to it, what the server takes for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    start: u32,
    number: u32,
    /// What it says.
    pub kind: LineKind,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineKind {
    /// Nothing.
    Blank,
    /// A comment.
    Comment,
    /// A rule.
    Rule(Brief),
    /// What the server refuses, where in the line's bytes, and why.
    Invalid(Box<Problem>),
}

/// A line that the server refuses, and with it the whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// The line's number, from 1; 0 for the file as a whole.
    pub line: usize,
    /// The byte in the line, from 1; 0 for the line as a whole.
    #[serde(default)]
    #[schemars(!default)]
    pub column: usize,
    /// Why, in the server's words where it has any.
    pub message: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.line, self.column) {
            (0, _) => f.write_str(&self.message),
            (line, 0) => write!(f, "line {line}: {}", self.message),
            (line, column) => write!(f, "line {line}, column {column}: {}", self.message),
        }
    }
}

impl HbaFile {
    /// Reads a file; there is none it cannot read, see [`HbaFile::refusals`].
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        Self::from_bytes(bytes.to_vec())
    }

    /// [`HbaFile::parse`] of bytes that it keeps. A file beyond 4 GiB is cut there; [`crate::files::read`] gives none.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self::read(bytes, true)
    }

    fn read(mut bytes: Vec<u8>, quick: bool) -> Self {
        bytes.truncate(u32::MAX as usize);
        // Most lines are longer.
        let mut lines = Vec::with_capacity(bytes.len() / 32);
        let (mut at, mut number) = (0, 1);
        while at < bytes.len() {
            let (kind, end, ended) = match quick::parse_line(&bytes, at).filter(|_| quick) {
                Some((quick::Quick::Blank, end)) => (LineKind::Blank, end, 1),
                Some((quick::Quick::Comment, end)) => (LineKind::Comment, end, 1),
                Some((quick::Quick::Rule(brief), end)) => (LineKind::Rule(brief), end, 1),
                None => {
                    let (kind, end) = scan_line(&bytes, at);
                    (kind, end, line_ends(&bytes[at..end]))
                }
            };
            lines.push(Line { start: narrow_index(at), number: narrow_index(number), kind });
            number += ended;
            at = end;
        }
        lines.shrink_to_fit();
        Self { bytes, lines }
    }

    /// The file's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The file's bytes: `parse(x).to_bytes() == x`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.bytes.clone()
    }

    /// Its lines; joined they are the file.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The bytes of the line of this index, line end included where there is one.
    #[must_use]
    pub fn line(&self, index: usize) -> &[u8] {
        self.slice(index..index + 1)
    }

    /// The bytes of some lines that follow each other.
    #[must_use]
    pub fn slice(&self, lines: Span<usize>) -> &[u8] {
        let edge = |index: usize| self.lines.get(index).map_or(self.bytes.len(), |line| line.start as usize);
        &self.bytes[edge(lines.start)..edge(lines.end)]
    }

    /// The text of a line without its line end; bytes that are no UTF-8 as replacement characters.
    #[must_use]
    pub fn text(&self, index: usize) -> String {
        String::from_utf8_lossy(self.line(index)).trim_end_matches(['\r', '\n']).to_owned()
    }

    /// [`HbaFile::text`] as it may be shown, secrets masked.
    #[must_use]
    pub fn masked_text(&self, index: usize) -> String {
        secret::mask_text(&self.text(index)).into_owned()
    }

    /// The number of the line of this index.
    #[must_use]
    pub fn number(&self, index: usize) -> usize {
        self.lines[index].number()
    }

    /// The rule on the line of this index, and where its method stands in the line's bytes.
    #[must_use]
    pub fn rule_at(&self, index: usize) -> Option<(HbaRule, Places)> {
        let line = self.lines.get(index)?;
        if !matches!(line.kind, LineKind::Rule(_)) {
            return None;
        }
        // A quick line's last byte may not be the last the scanner needs: it ends at the line end itself.
        let entry = lexer::entry_at(self.line(index), 0)?;
        rule::parse(&entry).ok()
    }

    /// The rule on the line of this index.
    #[must_use]
    pub fn rule(&self, index: usize) -> Option<HbaRule> {
        self.rule_at(index).map(|(rule, _)| rule)
    }

    /// The rules with the index of their line, in order, each parsed when its turn comes.
    pub fn rules(&self) -> impl Iterator<Item = (usize, HbaRule)> {
        self.briefs().filter_map(|(index, _)| Some((index, self.rule(index)?)))
    }

    /// What is known of each rule at once, with the index of its line, in order.
    pub fn briefs(&self) -> impl Iterator<Item = (usize, &Brief)> {
        self.lines.iter().enumerate().filter_map(|(index, line)| match &line.kind {
            LineKind::Rule(brief) => Some((index, brief)),
            _ => None,
        })
    }

    /// How many rules there are.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.briefs().count()
    }

    /// The words that stand for database and user on a line, when each is one word without quotes, `+` or `@`.
    fn words(&self, index: usize, brief: &Brief) -> Option<[&[u8]; 2]> {
        let line = self.line(index);
        brief.words.map(|words| words.map(|(from, to)| &line[usize::from(from)..usize::from(to)]))
    }

    /// Whether the rule on the line can have this identity, as far as that is told without parsing it.
    #[must_use]
    pub fn may_have_identity(&self, index: usize, brief: &Brief, rule: &HbaRule) -> bool {
        if brief.kind != rule.kind || brief.reach != Reach::from(rule.address.as_ref()) {
            return false;
        }
        self.words(index, brief).is_none_or(|[database, user]| {
            let is = |names: &[Name], column, word| names.iter().all(|name| name.is_word(column, word));
            is(&rule.databases, Column::Databases, database) && is(&rule.users, Column::Users, user)
        })
    }

    /// All for which the server would refuse this file, in the order of lines; none when it takes it.
    ///
    /// Not seen here: methods that this build of the server does not know ([`Method::depends_on_build`]), and a
    /// `clientcert` while the server has no root certificates.
    #[must_use]
    pub fn refusals(&self, around: &Surroundings) -> Vec<Refusal> {
        let mut refusals: Vec<Refusal> = Vec::new();
        let mut rules = false;
        for (index, line) in self.lines.iter().enumerate() {
            match &line.kind {
                LineKind::Invalid(problem) => refusals.push(self.refusal(index, problem)),
                LineKind::Rule(brief) => {
                    rules = true;
                    if brief.includes
                        && let Some(message) = self.rule(index).and_then(|rule| around.problem(&rule))
                    {
                        refusals.push(Refusal { line: line.number(), column: 0, message });
                    }
                }
                LineKind::Blank | LineKind::Comment => {}
            }
        }
        if refusals.is_empty() && !rules {
            refusals.push(Refusal { line: 0, column: 0, message: "it contains no entries".to_owned() });
        }
        refusals
    }

    /// The problem of a line with its place in the file.
    fn refusal(&self, index: usize, problem: &Problem) -> Refusal {
        let bytes = self.line(index);
        let before = &bytes[..problem.offset.min(bytes.len())];
        let newlines = line_ends(before);
        let last = before.iter().rposition(|&c| c == b'\n').map_or(0, |at| at + 1);
        Refusal {
            line: self.number(index) + newlines,
            column: before.len() - last + 1,
            message: problem.message.clone(),
        }
    }

    /// Whether lines end in CR LF here: whether the first one does.
    #[must_use]
    pub fn line_end(&self) -> &'static str {
        if !self.lines.is_empty() && self.line(0).ends_with(b"\r\n") { "\r\n" } else { "\n" }
    }
}

/// Reads a line with the scanner: what it is, and where it ends.
fn scan_line(bytes: &[u8], at: usize) -> (LineKind, usize) {
    let Some(entry) = lexer::entry_at(bytes, at) else { return (LineKind::Blank, bytes.len()) };
    let end = entry.span.end;
    if entry.fields.is_empty() {
        let comment = bytes[at..end].contains(&b'#');
        return (if comment { LineKind::Comment } else { LineKind::Blank }, end);
    }
    let kind = match rule::parse(&entry) {
        Ok((rule, _)) => LineKind::Rule(Brief::from(&rule)),
        Err(problem) => LineKind::Invalid(Box::new(Problem { offset: problem.offset - at, ..problem })),
    };
    (kind, end)
}

/// A place in a file, which is never as long.
fn narrow_index(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// How many lines end in these bytes.
fn line_ends(bytes: &[u8]) -> usize {
    bytes.split(|&c| c == b'\n').count() - 1
}

impl Line {
    /// Its number in the file, from 1.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number as usize
    }
}

impl From<&HbaRule> for Brief {
    fn from(rule: &HbaRule) -> Self {
        let includes = rule.databases.iter().chain(&rule.users).any(|name| matches!(name, Name::Include(_)));
        let reach = Reach::from(rule.address.as_ref());
        Self { kind: rule.kind, method: rule.method, reach, includes, words: None }
    }
}

impl From<Option<&Address>> for Reach {
    fn from(address: Option<&Address>) -> Self {
        match address {
            None => Self::Local,
            Some(Address::All) => Self::All,
            Some(Address::SameHost | Address::SameNet) => Self::Near,
            Some(Address::Range(Range::V4 { network, mask })) => Self::V4 { network: *network, mask: *mask },
            Some(Address::Range(Range::V6 { .. })) => Self::V6,
            Some(Address::Host(_)) => Self::Host,
        }
    }
}

impl HbaRule {
    /// Reads one line as it stands in a file.
    ///
    /// # Errors
    /// Where and why the server would refuse it; also when it is no line of its own, or no rule.
    pub fn parse(line: &str) -> Result<Self, Problem> {
        Self::from_bytes(line.as_bytes())
    }

    /// [`HbaRule::parse`] of bytes that may be no UTF-8.
    ///
    /// # Errors
    /// As [`HbaRule::parse`].
    pub fn from_bytes(line: &[u8]) -> Result<Self, Problem> {
        let problem =
            |message: &str| Problem { offset: 0, message: message.to_owned(), part: ProblemPart::Other };
        if line.iter().any(|c| matches!(c, b'\n' | 0)) {
            return Err(problem("a rule is one line of text"));
        }
        match lexer::entry_at(line, 0) {
            Some(entry) if !entry.fields.is_empty() => rule::parse(&entry).map(|(rule, _)| rule),
            _ => Err(problem("there is no rule in it")),
        }
    }
}
