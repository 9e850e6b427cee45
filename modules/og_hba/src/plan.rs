//! From the file as it is and the rules wanted to the file as it shall be: pure functions.

use std::collections::{BTreeMap, HashMap, HashSet};

use og_common::hba::{CoverIndex, HbaFile, Key, Line, LineKind, Rule};
use og_common::protocol::{Error, secret};

use crate::args::{Pattern, Wanted};

/// What is asked for.
#[derive(Clone, Debug)]
pub enum Goal {
    /// These rules are there.
    Present(Vec<Wanted>, Place),
    /// No rule agrees with any of these.
    Absent(Vec<Pattern>),
    /// The rules are these, in this order.
    Exact(Vec<Wanted>),
}

/// Where a new rule goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// At the end, or before what would hide it.
    Auto,
    /// Before all other rules.
    First,
    /// At the end.
    Last,
    /// Before the first rule that agrees.
    Before(Pattern),
    /// After the last rule that agrees.
    After(Pattern),
}

/// A line of the file with its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// The line's number: in the new file, for a line taken away in the old one.
    pub number: usize,
    /// Its text, secrets masked.
    pub text: String,
    /// Its rule; none for a line which the server refuses.
    pub rule: Option<Rule>,
}

impl Numbered {
    /// A line as it stands in a file.
    #[must_use]
    pub fn of(line: &Line) -> Self {
        let rule = match &line.kind {
            LineKind::Rule(rule, _) => Some((**rule).clone()),
            _ => None,
        };
        Self { number: line.number, text: line.shown(), rule }
    }
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The whole file afterwards.
    pub after: Vec<u8>,
    /// New lines.
    pub added: Vec<Numbered>,
    /// Lines taken away.
    pub removed: Vec<Numbered>,
    /// Lines changed in place or moved: before, after.
    pub updated: Vec<(Numbered, Numbered)>,
    /// Things to look at.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.updated.is_empty()
    }
}

/// Plans what brings the file to the goal.
///
/// # Errors
/// `bad_args` for rules that contradict each other; `not_found` when `insert` names a rule which is not there.
pub fn plan(file: &HbaFile, goal: &Goal) -> Result<Plan, Error> {
    let mut edits = Edits::default();
    match goal {
        Goal::Present(wanted, place) => {
            let wanted = distinct(wanted)?;
            present(file, &wanted, place, &mut edits)?;
            Ok(edits.apply(file, &wanted, *place != Place::Auto))
        }
        Goal::Absent(patterns) => {
            absent(file, patterns, &mut edits);
            Ok(edits.apply(file, &[], false))
        }
        Goal::Exact(wanted) => {
            let wanted = distinct(wanted)?;
            exact(file, &wanted, &mut edits);
            Ok(edits.apply(file, &wanted, false))
        }
    }
}

/// The rules wanted, each once.
fn distinct(wanted: &[Wanted]) -> Result<Vec<&Wanted>, Error> {
    let mut seen: HashMap<Key<'_>, &Wanted> = HashMap::with_capacity(wanted.len());
    let mut rest = Vec::with_capacity(wanted.len());
    for one in wanted {
        match seen.get(&one.rule.key()) {
            None => {
                seen.insert(one.rule.key(), one);
                rest.push(one);
            }
            Some(first) if first.rule.same_method(&one.rule) => {}
            Some(first) => {
                let detail = format!("{} and {} are the same rule with different methods", first.at, one.at);
                return Err(Error::bad_args(detail).at(&one.at));
            }
        }
    }
    Ok(rest)
}

/// What happens to a line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Remove,
    Replace(Vec<u8>),
}

/// A line to be put in.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Insertion {
    text: Vec<u8>,
    /// The line of the old file that it was, when it only moves.
    moved: Option<usize>,
}

/// The line with another rule's method and options in place of its own; `None` when they are the same.
fn with_method(file: &HbaFile, index: usize, rule: &Rule) -> Option<Vec<u8>> {
    let line = &file.lines[index];
    match &line.kind {
        LineKind::Rule(old, at) if !old.same_method(rule) => {
            let method = rule.method_text().into_bytes();
            Some([&line.bytes[..at.method], &method, &line.bytes[at.end..]].concat())
        }
        _ => None,
    }
}

/// Changes by line index.
#[derive(Debug, Default)]
struct Edits {
    fates: BTreeMap<usize, Fate>,
    /// What comes before the line of this index; the number of lines is the file's end.
    inserts: BTreeMap<usize, Vec<Insertion>>,
}

fn present(file: &HbaFile, wanted: &[&Wanted], place: &Place, edits: &mut Edits) -> Result<(), Error> {
    let keys: HashMap<Key<'_>, usize> = wanted.iter().enumerate().map(|(n, w)| (w.rule.key(), n)).collect();
    let mut found: Vec<Option<usize>> = vec![None; wanted.len()];
    if !wanted.is_empty() {
        for (index, rule) in file.rules() {
            if let Some(&n) = keys.get(&rule.key()) {
                // The first decides; a later one is never reached.
                found[n].get_or_insert(index);
            }
        }
    }
    let mut new = Vec::new();
    for (&one, found) in wanted.iter().zip(&found) {
        match found {
            Some(index) => edits.set_method(file, *index, &one.rule),
            None => new.push(one),
        }
    }
    if new.is_empty() {
        return Ok(());
    }
    let end = file.lines.len();
    let agreeing = |pattern: &Pattern| {
        let found: Vec<usize> =
            file.rules().filter(|(_, r)| pattern.agrees(r)).map(|(index, _)| index).collect();
        let none = || Error::not_found("no rule agrees with the one that insert names").at("/insert");
        found.first().copied().zip(found.last().copied()).ok_or_else(none)
    };
    let at = match place {
        Place::Auto => {
            place_automatically(file, &new, edits);
            return Ok(());
        }
        Place::First => file.rules().next().map_or(end, |(index, _)| index),
        Place::Last => end,
        Place::Before(pattern) => agreeing(pattern)?.0,
        Place::After(pattern) => agreeing(pattern)?.1 + 1,
    };
    edits.inserts.entry(at).or_default().extend(new.iter().map(|one| Insertion::new(one)));
    Ok(())
}

/// Puts each new rule right before the first one that would hide it, else at the end.
fn place_automatically(file: &HbaFile, new: &[&Wanted], edits: &mut Edits) {
    let rules: Vec<&Rule> = new.iter().map(|one| &one.rule).collect();
    let mut before: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (n, first) in file.first_covering(&rules).into_iter().enumerate() {
        before.entry(first.unwrap_or(file.lines.len())).or_default().push(n);
    }
    // Only new rules at the same place can still hide each other: one that stands further up hides nothing which the
    // old rule below it would not hide as well.
    for (at, group) in before {
        let mut placed = CoverIndex::default();
        let mut order: Vec<usize> = Vec::with_capacity(group.len());
        for n in group {
            let hiding: HashSet<usize> = placed.covering(&new[n].rule).collect();
            let position =
                if hiding.is_empty() { None } else { order.iter().position(|o| hiding.contains(o)) };
            order.insert(position.unwrap_or(order.len()), n);
            placed.add(n, &new[n].rule);
        }
        edits.inserts.insert(at, order.into_iter().map(|n| Insertion::new(new[n])).collect());
    }
}

fn absent(file: &HbaFile, patterns: &[Pattern], edits: &mut Edits) {
    for (index, rule) in file.rules() {
        if patterns.iter().any(|p| p.agrees(rule)) {
            edits.fates.insert(index, Fate::Remove);
        }
    }
}

fn exact(file: &HbaFile, wanted: &[&Wanted], edits: &mut Edits) {
    let keys: HashMap<Key<'_>, usize> = wanted.iter().enumerate().map(|(n, w)| (w.rule.key(), n)).collect();
    // Which rule wanted each line is, if any; a line that the server refuses is none.
    let lines: Vec<(usize, Option<usize>)> = file
        .lines
        .iter()
        .enumerate()
        .filter_map(|(index, line)| match &line.kind {
            LineKind::Rule(rule, _) => Some((index, keys.get(&rule.key()).copied())),
            LineKind::Invalid(_) => Some((index, None)),
            LineKind::Blank | LineKind::Comment => None,
        })
        .collect();
    // The most lines that are in the wanted order already stay; the rest goes or moves.
    let kept: BTreeMap<usize, usize> = longest_rising(&lines).into_iter().collect();
    let mut spare: HashMap<usize, usize> = HashMap::new();
    for &(index, n) in &lines {
        match n {
            Some(n) if kept.get(&n) == Some(&index) => edits.set_method(file, index, &wanted[n].rule),
            _ => {
                edits.fates.insert(index, Fate::Remove);
                if let Some(n) = n {
                    spare.entry(n).or_insert(index);
                }
            }
        }
    }
    // A new rule follows the one before it in the list; the first ones stand before the first that stays.
    let start = kept.values().next().or(lines.first().map(|(index, _)| index)).copied();
    let mut at = start.unwrap_or(file.lines.len());
    for (n, one) in wanted.iter().enumerate() {
        if let Some(index) = kept.get(&n) {
            at = index + 1;
            continue;
        }
        let insertion = match spare.get(&n) {
            None => Insertion::new(one),
            Some(&index) => {
                let text = with_method(file, index, &one.rule);
                Insertion {
                    text: text.unwrap_or_else(|| file.lines[index].bytes.clone()),
                    moved: Some(index),
                }
            }
        };
        edits.inserts.entry(at).or_default().push(insertion);
    }
}

/// Of pairs (line, rank) in the order of lines, the longest choice whose ranks rise: rank to line.
fn longest_rising(lines: &[(usize, Option<usize>)]) -> Vec<(usize, usize)> {
    let ranked: Vec<(usize, usize)> = lines.iter().filter_map(|&(line, rank)| Some((rank?, line))).collect();
    // ends[l] is the pair, by number, with the lowest rank at which a choice of l + 1 pairs ends.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(ranked.len());
    for (n, &(rank, _)) in ranked.iter().enumerate() {
        let length = ends.partition_point(|&e| ranked[e].0 < rank);
        before.push(length.checked_sub(1).map(|l| ends[l]));
        if length == ends.len() {
            ends.push(n);
        } else {
            ends[length] = n;
        }
    }
    let mut chosen = Vec::with_capacity(ends.len());
    let mut next = ends.last().copied();
    while let Some(n) = next {
        chosen.push(ranked[n]);
        next = before[n];
    }
    chosen
}

impl Insertion {
    fn new(wanted: &Wanted) -> Self {
        Self { text: wanted.line.clone().into_bytes(), moved: None }
    }
}

impl Edits {
    /// Gives the rule on this line the method and options of another one, unless it has them.
    fn set_method(&mut self, file: &HbaFile, index: usize, rule: &Rule) {
        if let Some(bytes) = with_method(file, index, rule) {
            self.fates.insert(index, Fate::Replace(bytes));
        }
    }

    /// The plan that these edits make. Warns of the rules wanted that are never reached, and, when the caller chose
    /// the `place`, of old ones which the new ones hide.
    fn apply(mut self, file: &HbaFile, wanted: &[&Wanted], place: bool) -> Plan {
        let mut plan = Plan::default();
        if self.fates.is_empty() && self.inserts.is_empty() {
            plan.after = file.to_bytes();
            plan.warnings = hidden(file, wanted);
            return plan;
        }
        let mut out = Output { bytes: Vec::new(), line: 1, line_end: file.line_end() };
        let mut new_lines = Vec::new();
        let moved: HashSet<usize> = self.inserts.values().flatten().filter_map(|i| i.moved).collect();
        for (index, line) in file.lines.iter().map(Some).chain([None]).enumerate() {
            for insertion in self.inserts.remove(&index).unwrap_or_default() {
                let number = out.insert(&insertion.text);
                new_lines.push((number, insertion.moved));
            }
            let Some(line) = line else { break };
            match self.fates.remove(&index) {
                None => {
                    out.push(&line.bytes);
                }
                Some(Fate::Replace(bytes)) => {
                    let number = out.push(&bytes);
                    new_lines.push((number, Some(index)));
                }
                Some(Fate::Remove) if moved.contains(&index) => {}
                Some(Fate::Remove) => plan.removed.push(Numbered::of(line)),
            }
        }
        plan.after = out.bytes;
        let after = HbaFile::parse(&plan.after);
        for (number, old) in new_lines {
            let found = after.lines.partition_point(|l| l.number < number);
            // A comma at the end of the line before has joined it to that one: then it is no rule, and the server refuses the file.
            let new = match after.lines.get(found).filter(|line| line.number == number) {
                Some(line) => Numbered::of(line),
                None => Numbered { number, text: text_of(&plan.after, number), rule: None },
            };
            match old {
                Some(index) => plan.updated.push((Numbered::of(&file.lines[index]), new)),
                None => plan.added.push(new),
            }
        }
        plan.warnings = hidden(&after, wanted);
        if place {
            plan.warnings.extend(newly_hidden(&after, &plan.added));
        }
        plan
    }
}

/// The line of this number, from 1, for a person, secrets masked.
fn text_of(bytes: &[u8], number: usize) -> String {
    let line = bytes.split(|&c| c == b'\n').nth(number.saturating_sub(1)).unwrap_or_default();
    secret::text(String::from_utf8_lossy(line).trim_end_matches('\r')).into_owned()
}

/// The text that grows line by line.
struct Output {
    bytes: Vec<u8>,
    line: usize,
    line_end: &'static str,
}

impl Output {
    /// Adds a line as it is and returns its number.
    fn push(&mut self, bytes: &[u8]) -> usize {
        if self.bytes.last().is_some_and(|&c| c != b'\n') {
            self.bytes.extend_from_slice(self.line_end.as_bytes());
            self.line += 1;
        }
        let number = self.line;
        self.bytes.extend_from_slice(bytes);
        self.line += bytes.split(|&c| c == b'\n').count() - 1;
        number
    }

    /// Adds a line with a line end.
    fn insert(&mut self, bytes: &[u8]) -> usize {
        let number = self.push(bytes);
        if !bytes.ends_with(b"\n") {
            self.bytes.extend_from_slice(self.line_end.as_bytes());
            self.line += 1;
        }
        number
    }
}

/// Warnings about rules wanted that the server never comes to, because an earlier line decides all they are for.
fn hidden(file: &HbaFile, wanted: &[&Wanted]) -> Vec<String> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let keys: HashSet<Key<'_>> = wanted.iter().map(|w| w.rule.key()).collect();
    let (lines, rules): (Vec<usize>, Vec<&Rule>) =
        file.rules().filter(|(_, r)| keys.contains(&r.key())).unzip();
    let mut warnings = Vec::new();
    for (line, first) in lines.into_iter().zip(file.first_covering(&rules)) {
        // Every rule covers itself.
        if let Some(first) = first.filter(|&first| first < line) {
            warnings.push(format!(
                "line {} is never reached: line {} decides all that it is for: {}",
                file.lines[line].number,
                file.lines[first].number,
                file.lines[first].shown()
            ));
        }
    }
    warnings
}

/// Warnings about old rules which new ones hide.
fn newly_hidden(file: &HbaFile, added: &[Numbered]) -> Vec<String> {
    let mut index = CoverIndex::default();
    let mut new = HashSet::new();
    for line in added {
        if let Some(rule) = &line.rule {
            index.add(line.number, rule);
            new.insert(line.number);
        }
    }
    let mut warnings = Vec::new();
    for (line, rule) in file.rules() {
        let number = file.lines[line].number;
        if !new.contains(&number)
            && let Some(first) = index.covering(rule).filter(|&other| other < number).min()
        {
            warnings.push(format!(
                "line {number} is no longer reached: the new line {first} decides all that it is for: {}",
                file.lines[line].shown()
            ));
        }
    }
    warnings
}
