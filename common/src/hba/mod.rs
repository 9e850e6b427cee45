//! Lossless pg_hba.conf: the server's own reading of it, as values, with every byte kept.
//!
//! What the server takes and what it refuses is in openGauss's `src/common/backend/libpq/hba.cpp`; one line that it
//! cannot take makes it keep all its old rules at a reload, and not start at all.

mod address;
mod lexer;
mod matching;
mod rule;
#[cfg(test)]
mod tests;

use crate::protocol::secret;

pub use address::{Address, Range, parse_ip};
pub use lexer::{MAX_TOKEN, Token};
pub use matching::{Connection, CoverIndex, Decision, Route, Surroundings, initial_user, limit_of_trust};
pub use rule::{Key, Kind, Method, Name, Places, Problem, Rule, name_set};

/// A pg_hba.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HbaFile {
    /// Its lines.
    pub lines: Vec<Line>,
}

/// One line, or, where a comma at its end joins the next one to it, what the server takes for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its bytes, line end included where there is one.
    pub bytes: Vec<u8>,
    /// Its number in the file, from 1.
    pub number: usize,
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
    /// A rule, and where in the line's bytes its method stands.
    Rule(Box<Rule>, Places),
    /// What the server refuses, where in the line's bytes, and why.
    Invalid(Problem),
}

/// What the server refuses in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// The byte in the line, from 1; 0 for the line as a whole.
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
        let mut number = 1;
        let mut lines = Vec::new();
        for entry in lexer::entries(bytes) {
            let start = entry.span.start;
            let text = &bytes[entry.span.clone()];
            let kind = if entry.fields.is_empty() {
                if text.contains(&b'#') { LineKind::Comment } else { LineKind::Blank }
            } else {
                match rule::parse(&entry) {
                    Ok((rule, at)) => {
                        let at = Places { method: at.method - start, end: at.end - start };
                        LineKind::Rule(Box::new(rule), at)
                    }
                    Err(problem) => LineKind::Invalid(Problem { offset: problem.offset - start, ..problem }),
                }
            };
            lines.push(Line { bytes: text.to_vec(), number, kind });
            number += line_ends(text);
        }
        Self { lines }
    }

    /// The file's bytes: `parse(x).to_bytes() == x`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.lines.iter().map(|l| l.bytes.len()).sum());
        for line in &self.lines {
            bytes.extend_from_slice(&line.bytes);
        }
        bytes
    }

    /// All for which the server would refuse this file, in the order of lines; none when it takes it.
    ///
    /// Not seen here: methods that this build of the server does not know ([`Method::depends_on_build`]), and a
    /// `clientcert` while the server has no root certificates.
    #[must_use]
    pub fn refusals(&self, around: &Surroundings) -> Vec<Refusal> {
        let mut refusals: Vec<Refusal> = Vec::new();
        for line in &self.lines {
            match &line.kind {
                LineKind::Invalid(problem) => refusals.push(line.refusal(problem)),
                LineKind::Rule(rule, _) => refusals.extend(around.problem(rule).map(|message| Refusal {
                    line: line.number,
                    column: 0,
                    message,
                })),
                LineKind::Blank | LineKind::Comment => {}
            }
        }
        if refusals.is_empty() && self.rules().next().is_none() {
            refusals.push(Refusal { line: 0, column: 0, message: "it contains no entries".to_owned() });
        }
        refusals
    }

    /// Whether lines end in CR LF here: whether the first one does.
    #[must_use]
    pub fn line_end(&self) -> &'static str {
        if self.lines.first().is_some_and(|l| l.bytes.ends_with(b"\r\n")) { "\r\n" } else { "\n" }
    }
}

/// How many lines end in these bytes.
fn line_ends(bytes: &[u8]) -> usize {
    bytes.split(|&c| c == b'\n').count() - 1
}

impl Line {
    /// The line's problem with its place in the file.
    #[must_use]
    pub fn refusal(&self, problem: &Problem) -> Refusal {
        let before = &self.bytes[..problem.offset.min(self.bytes.len())];
        let newlines = line_ends(before);
        let last = before.iter().rposition(|&c| c == b'\n').map_or(0, |at| at + 1);
        Refusal {
            line: self.number + newlines,
            column: before.len() - last + 1,
            message: problem.message.clone(),
        }
    }

    /// Keeps the secrets in it out of what is told.
    pub fn keep_secrets(&self) {
        secret::keep_named(&self.text());
        if let LineKind::Rule(rule, _) = &self.kind {
            let text = |bytes| String::from_utf8_lossy(bytes);
            for (_, value) in rule.options.iter().filter(|(name, _)| secret::is_secret(&text(name))) {
                secret::keep(&text(value));
            }
        }
    }

    /// The text without its line end; bytes that are no UTF-8 as replacement characters.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).trim_end_matches(['\r', '\n']).to_owned()
    }

    /// [`Line::text`] as it may be shown, secrets masked.
    #[must_use]
    pub fn shown(&self) -> String {
        secret::text(&self.text()).into_owned()
    }
}

impl Rule {
    /// Reads one line as it stands in a file.
    ///
    /// # Errors
    /// Where and why the server would refuse it; also when it is no line of its own, or no rule.
    pub fn parse(line: &str) -> Result<Self, Problem> {
        let problem = |message: &str| Problem { offset: 0, message: message.to_owned() };
        if line.contains(['\n', '\0']) {
            return Err(problem("a rule is one line of text"));
        }
        let file = HbaFile::parse(line.as_bytes());
        match file.lines.into_iter().next().map(|l| l.kind) {
            Some(LineKind::Rule(rule, _)) => Ok(*rule),
            Some(LineKind::Invalid(problem)) => Err(problem),
            Some(LineKind::Blank | LineKind::Comment) | None => Err(problem("there is no rule in it")),
        }
    }
}

/// Reads the items of one column, as they stand in the file.
///
/// # Errors
/// Why they cannot stand there.
pub fn tokens(column: &str) -> Result<Vec<Token>, String> {
    if column.contains(['\n', '\0']) {
        return Err("it holds a line break or NUL".to_owned());
    }
    let mut entries = lexer::entries(column.as_bytes());
    match (entries.next(), entries.next()) {
        (Some(entry), None) if entry.too_long.is_some() => {
            Err(format!("it is longer than the {MAX_TOKEN} bytes the server takes"))
        }
        (Some(mut entry), None) if entry.fields.len() == 1 => Ok(entry.fields.remove(0).tokens),
        (Some(entry), None) if entry.fields.len() > 1 => {
            Err("it holds a blank; put a name with blanks in double quotes".to_owned())
        }
        _ => Err("it is empty".to_owned()),
    }
}
