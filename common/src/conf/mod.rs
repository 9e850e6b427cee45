//! Lossless postgresql.conf: what the server reads in it, and the smallest change that makes it read something else.
//!
//! The grammar is the server's own (`guc-file.l`): one setting a line, `name [=] value [# comment]`, names without
//! regard to case, the last occurrence counts. Every byte that is not part of a changed value stays: comments, order,
//! spacing, CRLF, a missing final newline, bytes which are no UTF-8. A file with syntax errors can be
//! read, but the server rejects it as a whole: call [`ConfFile::require_valid`] before changing it.

mod include;
mod lexer;
mod value;

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    ops::Range,
    path::Path,
};

use bytes::Bytes;

use crate::base::{Error, secret};

pub use include::{Included, Includes};
pub use value::{check_name, is_on, is_same_value};

/// A line which the server cannot understand. One such line, and it takes nothing of the whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// The line, from 1.
    pub line: usize,
    /// The byte within the line, from 1.
    pub column: usize,
    /// What the server would say: `syntax error near token "x"` or `… near end of line`.
    pub message: String,
}

/// So few settings are each looked for by themselves.
const MAX_LINEAR_NAMES: usize = 8;
/// What editors of other systems put before a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One active setting of the file, as the server reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The name as it is written.
    pub name: String,
    /// The value without quotes and escapes; any bytes but NUL.
    pub value: Vec<u8>,
    /// The line, from 1.
    pub line: usize,
}

impl Setting {
    /// The value as text; bytes that are no UTF-8 are shown as replacement characters.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.value)
    }

    /// Whether [`Setting::text`] is the value and does not only stand for it.
    #[must_use]
    pub fn is_text(&self) -> bool {
        std::str::from_utf8(&self.value).is_ok()
    }
}

/// The text of one postgresql.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfFile {
    lines: Vec<ConfLine>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ConfLine {
    /// With its end (`\n`), which only the last line may lack; a slice of the text that was read, but for a changed line.
    bytes: Bytes,
    content: LineContent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum LineContent {
    /// Blank or only a comment.
    Nothing,
    Setting {
        name_at: Range<usize>,
        value_at: Range<usize>,
        equals: bool,
        comment: bool,
    },
    Error {
        column: usize,
        message: String,
    },
}

impl ConfFile {
    /// Reads the text; never fails, see [`ConfFile::errors`].
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let all = Bytes::copy_from_slice(text);
        let ends = memchr::memchr_iter(b'\n', text).map(|at| at + 1);
        let ends = ends.chain((!text.ends_with(b"\n")).then_some(text.len()));
        let mut from = 0;
        let mut lines: Vec<ConfLine> = ends
            .map(|end| ConfLine::new(all.slice(std::mem::replace(&mut from, end)..end)))
            .filter(|line| !line.bytes.is_empty())
            .collect();
        if let Some(first) = lines.first_mut().filter(|line| line.bytes.starts_with(BYTE_ORDER_MARK)) {
            let message = "a byte order mark, which the server takes for the beginning of a name".into();
            first.content = LineContent::Error { column: 1, message };
        }
        Self { lines }
    }

    /// The text, byte for byte what was parsed but for the changes made since.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.lines.iter().map(|line| line.bytes.len()).sum());
        self.lines.iter().for_each(|line| text.extend_from_slice(&line.bytes));
        text
    }

    /// The lines for which the server would refuse the whole file.
    #[must_use]
    pub fn errors(&self) -> Vec<SyntaxError> {
        let error = |(index, line): (usize, &ConfLine)| match &line.content {
            LineContent::Error { column, message } => {
                Some(SyntaxError { line: index + 1, column: *column, message: message.clone() })
            }
            _ => None,
        };
        self.lines.iter().enumerate().filter_map(error).collect()
    }

    /// This file, read from `path`, if the server can understand it.
    ///
    /// # Errors
    /// `corrupt` with line and column of the first error.
    pub fn require_valid(self, path: &Path) -> Result<Self, Error> {
        let errors = self.errors();
        let Some(first) = errors.first() else { return Ok(self) };
        let more = match errors.len() - 1 {
            0 => String::new(),
            1 => " (and one more line)".into(),
            n => format!(" (and {n} more lines)"),
        };
        Err(Error::corrupt(format!(
            "{}: line {}, column {}: {}{more}; the server takes nothing of a file with such a line",
            path.display(),
            first.line,
            first.column,
            first.message
        ))
        .hint("correct the line or put a # before it, then call again")
        .with_path(path.display()))
    }

    /// Every active setting in the order of the file, repeated ones too, `include` directives left out.
    pub fn settings(&self) -> impl Iterator<Item = Setting> + '_ {
        self.active_settings(|name| !is_include(name))
    }

    /// The `include` and `include_if_exists` directives: what the files they name set is not known here.
    pub fn includes(&self) -> impl Iterator<Item = Setting> + '_ {
        self.active_settings(is_include)
    }

    /// Every active occurrence of these names in the order of the file, by name in lower case; of a few names without making
    /// the settings of all others.
    #[must_use]
    pub fn occurrences_of(&self, names: &[&str]) -> HashMap<String, Vec<Setting>> {
        let few = (names.len() < MAX_LINEAR_NAMES).then_some(names);
        let is_asked = |found: &[u8]| {
            few.is_none_or(|few| few.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(found)))
        };
        let mut found: HashMap<String, Vec<Setting>> = HashMap::new();
        for setting in self.active_settings(|name| is_asked(name) && !is_include(name)) {
            found.entry(setting.name.to_ascii_lowercase()).or_default().push(setting);
        }
        found
    }

    /// Registers the secrets in its values and comments, so that no result or log shows them.
    pub(crate) fn register_secrets(&self) {
        for line in &self.lines {
            // With a backslash any byte can be written otherwise.
            if !secret::may_hold_secrets(&line.bytes) && memchr::memchr(b'\\', &line.bytes).is_none() {
                continue;
            }
            secret::register_named(&String::from_utf8_lossy(&line.bytes));
            let (Some(name), Some(value)) = (line.name(), line.value()) else { continue };
            let text = String::from_utf8_lossy(&value);
            if secret::is_secret(&String::from_utf8_lossy(name)) {
                secret::register(&text);
            } else {
                secret::register_named(&text);
            }
        }
    }

    /// The setting that counts for `name`: its last occurrence.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Setting> {
        if is_include(name.as_bytes()) {
            return None;
        }
        let index = self.last_active(name)?;
        self.lines[index].setting(index)
    }

    /// The name under which the node replicates: `application_name`, else `pgxc_node_name`.
    #[must_use]
    pub fn replication_name(&self) -> Option<String> {
        let name =
            |name| self.get(name).map(|setting| setting.text().into_owned()).filter(|name| !name.is_empty());
        name("application_name").or_else(|| name("pgxc_node_name"))
    }

    /// Sets `name` to `value` (plain text, without quotes) and returns whether the text changed.
    ///
    /// The last active occurrence is changed in place, its spacing and comment kept. Is there none, a new line goes
    /// right below the last commented default (`#name = …`) with its comment lines, else to the end of the file. A
    /// value which is [the same](is_same_value) is left as it is written.
    ///
    /// # Errors
    /// `bad_args` when the name is no parameter's name or the value holds a newline or NUL.
    pub fn set(&mut self, name: &str, value: &str) -> Result<bool, Error> {
        check_name(name)?;
        value::check_value(name, value)?;
        if let Some(index) = self.last_active(name) {
            return Ok(self.change_line(index, value));
        }
        let (at, like) = match self.last_commented(name) {
            Some(index) => (self.index_after_comment(index), index),
            None => (self.lines.len(), self.lines.len().saturating_sub(1)),
        };
        let end = self.line_end(like);
        if at > 0 && !self.lines[at - 1].bytes.ends_with(b"\n") {
            // A comment stays a comment whatever ends it; a setting is read the same.
            let bytes = [&self.lines[at - 1].bytes[..], end].concat();
            self.lines[at - 1] = ConfLine::new(bytes.into());
        }
        let text = [name.as_bytes(), b" = ", value::print_new(value).as_bytes(), end].concat();
        self.lines.insert(at, ConfLine::new(text.into()));
        Ok(true)
    }

    /// [`ConfFile::set`] of many, by names that differ, in the time that reading the file takes. Returns of each whether
    /// its text changed.
    ///
    /// # Errors
    /// As [`ConfFile::set`]; nothing is changed then.
    pub fn set_all(&mut self, wanted: &[(String, String)]) -> Result<Vec<bool>, Error> {
        for (name, value) in wanted {
            check_name(name)?;
            value::check_value(name, value)?;
        }
        if wanted.len() < MAX_LINEAR_NAMES {
            return wanted.iter().map(|(name, value)| self.set(name, value)).collect();
        }
        let (mut active, mut commented) = (HashMap::new(), HashMap::new());
        for (index, line) in self.lines.iter().enumerate() {
            if let Some(name) = line.name() {
                active.insert(name.to_ascii_lowercase(), index);
            } else if let Some(name) = line.commented_name() {
                commented.insert(name.to_ascii_lowercase(), index);
            }
        }
        let mut changed = Vec::with_capacity(wanted.len());
        let mut new: BTreeMap<usize, Vec<ConfLine>> = BTreeMap::new();
        for (name, value) in wanted {
            let lower = name.to_ascii_lowercase();
            if let Some(index) = active.get(lower.as_bytes()) {
                changed.push(self.change_line(*index, value));
                continue;
            }
            let (at, like) = match commented.get(lower.as_bytes()) {
                Some(index) => (self.index_after_comment(*index), *index),
                None => (self.lines.len(), self.lines.len().saturating_sub(1)),
            };
            let end = self.line_end(like);
            let text = [name.as_bytes(), b" = ", value::print_new(value).as_bytes(), end].concat();
            new.entry(at).or_default().push(ConfLine::new(text.into()));
            changed.push(true);
        }
        if new.contains_key(&self.lines.len())
            && let Some(last) = self.lines.last().filter(|line| !line.bytes.ends_with(b"\n"))
        {
            let ended = [&last.bytes[..], self.line_end(self.lines.len() - 1)].concat();
            self.lines.pop();
            self.lines.push(ConfLine::new(ended.into()));
        }
        let old = std::mem::take(&mut self.lines);
        for (index, line) in old.into_iter().enumerate() {
            self.lines.extend(new.remove(&index).unwrap_or_default());
            self.lines.push(line);
        }
        self.lines.extend(new.into_values().flatten());
        Ok(changed)
    }

    /// The settings that count of these names, by name in lower case; of many names those of others, too.
    #[must_use]
    pub fn values_of(&self, names: &[&str]) -> HashMap<String, Setting> {
        let last = |(name, mut found): (String, Vec<Setting>)| Some((name, found.pop()?));
        self.occurrences_of(names).into_iter().filter_map(last).collect()
    }

    /// The settings that count, by name in lower case.
    #[must_use]
    pub fn values(&self) -> HashMap<String, Setting> {
        self.settings().map(|setting| (setting.name.to_ascii_lowercase(), setting)).collect()
    }

    /// Takes every active occurrence of `name` away, so that the default counts, and returns whether the text changed.
    ///
    /// A line which carries a comment is commented out as a whole, for comments stay; so is the last occurrence when no
    /// commented `#name = …` would be left, as gs_guc does. Other lines are removed. That one comment matters on a
    /// standby: taking over its primary's file it keeps its own line of a reserved parameter, also a commented one. Where
    /// it has none, release 3.0.5 comments the primary's line out; nothing is known of the others.
    pub fn unset(&mut self, name: &str) -> bool {
        let concerns = |line: &ConfLine| line.sets(name) && !is_include(name.as_bytes());
        let Some(last) = self.lines.iter().rposition(concerns) else { return false };
        let mut commented = self.last_commented(name).is_some();
        for index in (0..=last).rev() {
            if !concerns(&self.lines[index]) {
                continue;
            }
            let LineContent::Setting { name_at, comment, .. } = &self.lines[index].content else { continue };
            let start = name_at.start;
            if *comment || (index == last && !commented) {
                let (before, rest) = self.lines[index].bytes.split_at(start);
                let bytes = [before, b"#", rest].concat();
                self.lines[index] = ConfLine::new(bytes.into());
                commented = true;
            } else {
                self.lines.remove(index);
            }
        }
        true
    }

    /// The active settings whose names the filter takes.
    fn active_settings<'a>(
        &'a self,
        takes: impl Fn(&[u8]) -> bool + 'a,
    ) -> impl Iterator<Item = Setting> + 'a {
        let named = move |line: &ConfLine| line.name().is_some_and(&takes);
        self.lines
            .iter()
            .enumerate()
            .filter(move |(_, line)| named(line))
            .filter_map(|(index, line)| line.setting(index))
    }

    fn last_active(&self, name: &str) -> Option<usize> {
        self.lines.iter().rposition(|line| line.sets(name))
    }

    fn last_commented(&self, name: &str) -> Option<usize> {
        self.lines.iter().rposition(|line| {
            let found = line.commented_name();
            found.is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()))
        })
    }

    /// The place below the comment at `index`: the indented comment lines which follow it belong to it.
    fn index_after_comment(&self, index: usize) -> usize {
        let belongs = |line: &&ConfLine| {
            line.bytes.first().is_some_and(|b| matches!(b, b' ' | b'\t'))
                && line.bytes.trim_ascii_start().starts_with(b"#")
        };
        index + 1 + self.lines[index + 1..].iter().take_while(belongs).count()
    }

    /// How lines end, at this line and, if it lacks its end, in the file.
    fn line_end(&self, index: usize) -> &'static [u8] {
        let ended = |line: &&ConfLine| line.bytes.ends_with(b"\n");
        let like = self.lines.get(index).filter(ended).or_else(|| self.lines.iter().rfind(ended));
        if like.is_some_and(|line| line.bytes.ends_with(b"\r\n")) { b"\r\n" } else { b"\n" }
    }

    fn change_line(&mut self, index: usize, wanted: &str) -> bool {
        let line = &mut self.lines[index];
        let LineContent::Setting { name_at, value_at, equals, .. } = &line.content else { return false };
        if is_same_value(&lexer::decode(&line.bytes[value_at.clone()]), wanted.as_bytes()) {
            return false;
        }
        let (before, rest) = line.bytes.split_at(value_at.start);
        let (old, after) = rest.split_at(value_at.len());
        let text = value::print_like(old, wanted);
        // gs_guc, and the copying of the primary's file to a standby, do not see a setting without "=".
        let before: Cow<'_, [u8]> =
            if *equals { before.into() } else { [&before[..name_at.end], b" = "].concat().into() };
        let bytes = [&before, text.as_bytes(), after].concat();
        *line = ConfLine::new(bytes.into());
        true
    }
}

impl ConfLine {
    fn new(bytes: Bytes) -> Self {
        let content = match lexer::scan_line(bytes.strip_suffix(b"\n").unwrap_or(&bytes)) {
            Ok(None) => LineContent::Nothing,
            Ok(Some(found)) => LineContent::Setting {
                name_at: found.name,
                value_at: found.value,
                equals: found.equals,
                comment: found.comment,
            },
            Err(error) => LineContent::Error { column: error.column, message: error.message },
        };
        Self { bytes, content }
    }

    /// The name of its setting, as it is written.
    fn name(&self) -> Option<&[u8]> {
        match &self.content {
            LineContent::Setting { name_at, .. } => Some(&self.bytes[name_at.clone()]),
            _ => None,
        }
    }

    /// The value of its setting, without quotes and escapes.
    fn value(&self) -> Option<Cow<'_, [u8]>> {
        match &self.content {
            LineContent::Setting { value_at, .. } => Some(lexer::decode(&self.bytes[value_at.clone()])),
            _ => None,
        }
    }

    /// Whether it sets what has this name.
    fn sets(&self, name: &str) -> bool {
        self.name().is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// The name that it sets in a comment.
    fn commented_name(&self) -> Option<&[u8]> {
        if matches!(self.content, LineContent::Nothing) { lexer::commented_name(&self.bytes) } else { None }
    }

    /// Its setting, if it has one; `index` is its place in the file.
    fn setting(&self, index: usize) -> Option<Setting> {
        let name = String::from_utf8_lossy(self.name()?).into_owned();
        Some(Setting { name, value: self.value()?.into_owned(), line: index + 1 })
    }
}

fn is_include(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"include") || name.eq_ignore_ascii_case(b"include_if_exists")
}

#[cfg(test)]
mod tests;
