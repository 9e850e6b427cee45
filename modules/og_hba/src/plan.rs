//! From the file as it is and the rules wanted to the file as it shall be: pure functions.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;

use og_common::hba::{Brief, CoverIndex, HbaFile, HbaRule, Key, Kind, LineKind, Reach, Surroundings};
use og_common::protocol::{Error, secret};

use crate::rules::{Pattern, Wanted};

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
    pub rule: Option<HbaRule>,
}

impl Numbered {
    /// A line as it stands in a file.
    #[must_use]
    pub fn from_line(file: &HbaFile, index: usize) -> Self {
        Self { number: file.number(index), text: file.masked_text(index), rule: file.rule(index) }
    }
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The whole file afterwards, read again; none when it stays as it is.
    pub after: Option<HbaFile>,
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

impl Goal {
    /// The rules that shall be there.
    #[must_use]
    pub fn wanted(&self) -> &[Wanted] {
        match self {
            Self::Present(wanted, _) | Self::Exact(wanted) => wanted,
            Self::Absent(_) => &[],
        }
    }
}

/// Plans what brings the file to the goal.
///
/// # Errors
/// `bad_args` for rules that contradict each other; `not_found` when `insert` names a rule which is not there.
pub fn plan(file: &HbaFile, goal: &Goal, around: &Surroundings) -> Result<Plan, Error> {
    let mut edits = Edits::default();
    match goal {
        Goal::Present(wanted, place) => {
            let wanted = distinct(wanted)?;
            plan_present(file, &wanted, place, around, &mut edits)?;
            Ok(edits.apply(file, &wanted, *place != Place::Auto, around))
        }
        Goal::Absent(patterns) => {
            plan_absent(file, patterns, &mut edits);
            Ok(edits.apply(file, &[], false, around))
        }
        Goal::Exact(wanted) => {
            let wanted = distinct(wanted)?;
            plan_exact(file, &wanted, &mut edits);
            Ok(edits.apply(file, &wanted, false, around))
        }
    }
}

/// The rules wanted, to be found by what is known of a line without parsing it.
struct Sought<'a> {
    wanted: &'a [&'a Wanted],
    places: HashMap<(Kind, Reach), Vec<usize>>,
    /// The places, when they are few: then no line's place need be hashed.
    few: Option<Vec<(Kind, Reach)>>,
    /// By their whole identity: only as many at one address take it.
    keys: HashMap<Key<'a>, usize>,
}

/// So many are compared one by one.
const FEW: usize = 8;

impl<'a> Sought<'a> {
    fn new(wanted: &'a [&'a Wanted]) -> Self {
        let mut places: HashMap<(Kind, Reach), Vec<usize>> = HashMap::new();
        for (n, one) in wanted.iter().enumerate() {
            let reach = Reach::from(one.rule.address.as_ref());
            places.entry((one.rule.kind, reach)).or_default().push(n);
        }
        let keys = wanted.iter().enumerate().map(|(n, one)| (one.rule.key(), n)).collect();
        let few = (places.len() <= FEW).then(|| places.keys().copied().collect());
        Self { wanted, places, few, keys }
    }

    /// Which of them is the rule on this line.
    fn find_wanted(&self, file: &HbaFile, index: usize, brief: &Brief) -> Option<usize> {
        let place = (brief.kind, brief.reach);
        if self.few.as_ref().is_some_and(|few| !few.contains(&place)) {
            return None;
        }
        let near = self.places.get(&place)?;
        if near.len() <= FEW
            && !near.iter().any(|&n| file.may_have_identity(index, brief, &self.wanted[n].rule))
        {
            return None;
        }
        self.keys.get(&file.rule(index)?.key()).copied()
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
                return Err(Error::bad_args(detail).with_path(&one.at));
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
fn with_method(file: &HbaFile, index: usize, rule: &HbaRule) -> Option<Vec<u8>> {
    let line = file.line(index);
    let (old, at) = file.rule_at(index)?;
    (!old.same_method(rule)).then(|| [&line[..at.method], &rule.method_bytes(), &line[at.end..]].concat())
}

/// Changes by line index.
#[derive(Debug, Default)]
struct Edits {
    fates: BTreeMap<usize, Fate>,
    /// What comes before the line of this index; the number of lines is the file's end.
    inserts: BTreeMap<usize, Vec<Insertion>>,
}

fn plan_present(
    file: &HbaFile,
    wanted: &[&Wanted],
    place: &Place,
    around: &Surroundings,
    edits: &mut Edits,
) -> Result<(), Error> {
    let sought = Sought::new(wanted);
    let mut found: Vec<Option<usize>> = vec![None; wanted.len()];
    if !wanted.is_empty() {
        for (index, brief) in file.briefs() {
            if let Some(n) = sought.find_wanted(file, index, brief) {
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
    let end = file.lines().len();
    let agreeing = |pattern: &Pattern| {
        let found: Vec<usize> = file
            .briefs()
            .filter(|(index, b)| pattern.matches_line(file, *index, b))
            .map(|(index, _)| index)
            .collect();
        let none = || Error::not_found("no rule agrees with the one that insert names").with_path("/insert");
        found.first().copied().zip(found.last().copied()).ok_or_else(none)
    };
    let at = match place {
        Place::Auto => {
            place_rules(file, &new, around, edits);
            return Ok(());
        }
        Place::First => file.briefs().next().map_or(end, |(index, _)| index),
        Place::Last => end,
        Place::Before(pattern) => agreeing(pattern)?.0,
        Place::After(pattern) => agreeing(pattern)?.1 + 1,
    };
    edits.inserts.entry(at).or_default().extend(new.iter().map(|one| Insertion::new(one)));
    Ok(())
}

/// Puts each new rule right before the first one that would hide it, else at the end.
fn place_rules(file: &HbaFile, new: &[&Wanted], around: &Surroundings, edits: &mut Edits) {
    let end = file.lines().len();
    let rules: Vec<(&HbaRule, usize)> = new.iter().map(|one| (&one.rule, end)).collect();
    let mut before: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (n, hidden) in file.find_hidden(&rules, around).into_iter().enumerate() {
        before.entry(hidden.line.unwrap_or(end)).or_default().push(n);
    }
    // Only new rules at the same place can still hide each other: one that stands further up hides nothing which the
    // old rule below it would not hide as well.
    for (at, group) in before {
        let mut placed = CoverIndex::default();
        let mut order: Vec<usize> = Vec::with_capacity(group.len());
        for n in group {
            let hiding: HashSet<usize> = placed.find_covering(&new[n].rule, around).into_iter().collect();
            let position =
                if hiding.is_empty() { None } else { order.iter().position(|o| hiding.contains(o)) };
            order.insert(position.unwrap_or(order.len()), n);
            placed.add(n, &new[n].rule);
        }
        edits.inserts.insert(at, order.into_iter().map(|n| Insertion::new(new[n])).collect());
    }
}

fn plan_absent(file: &HbaFile, patterns: &[Pattern], edits: &mut Edits) {
    for (index, brief) in file.briefs() {
        if patterns.iter().any(|p| p.matches_line(file, index, brief)) {
            edits.fates.insert(index, Fate::Remove);
        }
    }
}

fn plan_exact(file: &HbaFile, wanted: &[&Wanted], edits: &mut Edits) {
    let sought = Sought::new(wanted);
    // Which rule wanted each line is, if any; a line that the server refuses is none.
    let lines: Vec<(usize, Option<usize>)> = file
        .lines()
        .iter()
        .enumerate()
        .filter_map(|(index, line)| match &line.kind {
            LineKind::Rule(brief) => Some((index, sought.find_wanted(file, index, brief))),
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
    let mut at = start.unwrap_or(file.lines().len());
    for (n, one) in wanted.iter().enumerate() {
        if let Some(index) = kept.get(&n) {
            at = index + 1;
            continue;
        }
        let insertion = match spare.get(&n) {
            None => Insertion::new(one),
            Some(&index) => {
                let text = with_method(file, index, &one.rule);
                Insertion { text: text.unwrap_or_else(|| file.line(index).to_vec()), moved: Some(index) }
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
        Self { text: wanted.line.clone(), moved: None }
    }
}

impl Edits {
    /// Gives the rule on this line the method and options of another one, unless it has them.
    fn set_method(&mut self, file: &HbaFile, index: usize, rule: &HbaRule) {
        if let Some(bytes) = with_method(file, index, rule) {
            self.fates.insert(index, Fate::Replace(bytes));
        }
    }

    /// The plan that these edits make. Warns of the rules wanted that are never reached, and, when the caller chose
    /// the `place`, of old ones which the new ones hide.
    fn apply(self, file: &HbaFile, wanted: &[&Wanted], place: bool, around: &Surroundings) -> Plan {
        let mut plan = Plan::default();
        if self.fates.is_empty() && self.inserts.is_empty() {
            plan.warnings = find_hidden(file, wanted, &[], around);
            return plan;
        }
        let mut out = RuleWriter::new(file);
        let mut new_lines = Vec::new();
        let moved: HashSet<usize> = self.inserts.values().flatten().filter_map(|i| i.moved).collect();
        let touched: BTreeSet<usize> = self.fates.keys().chain(self.inserts.keys()).copied().collect();
        let mut from = 0;
        for index in touched {
            out.push_lines(file, from..index);
            from = index;
            for insertion in self.inserts.get(&index).into_iter().flatten() {
                let number = out.insert(&insertion.text);
                new_lines.push((number, insertion.moved));
            }
            match self.fates.get(&index) {
                None => continue,
                Some(Fate::Replace(bytes)) => {
                    let number = out.push(bytes);
                    new_lines.push((number, Some(index)));
                }
                Some(Fate::Remove) if moved.contains(&index) => {}
                Some(Fate::Remove) => plan.removed.push(Numbered::from_line(file, index)),
            }
            from = index + 1;
        }
        out.push_lines(file, from..file.lines().len());
        let after = HbaFile::from_bytes(out.bytes);
        let lines = after.lines();
        let mut added = Vec::new();
        for (number, old) in new_lines {
            let found = lines.partition_point(|l| l.number() < number);
            // A comma at the end of the line before has joined it to that one: then it is no rule, and the server refuses the file.
            let new = match lines.get(found).filter(|line| line.number() == number) {
                Some(_) => Numbered::from_line(&after, found),
                None => Numbered { number, text: text_of(after.bytes(), number), rule: None },
            };
            if let Some(index) = old {
                plan.updated.push((Numbered::from_line(file, index), new));
            } else {
                added.push(found);
                plan.added.push(new);
            }
        }
        plan.warnings = find_hidden(&after, wanted, &added, around);
        if place {
            plan.warnings.extend(find_newly_hidden(&after, &plan.added, around));
        }
        plan.after = Some(after);
        plan
    }
}

/// The line of this number, from 1, for a person, secrets masked.
fn text_of(bytes: &[u8], number: usize) -> String {
    let line = bytes.split(|&c| c == b'\n').nth(number.saturating_sub(1)).unwrap_or_default();
    secret::mask_text(String::from_utf8_lossy(line).trim_end_matches('\r')).into_owned()
}

/// The text that grows line by line.
struct RuleWriter {
    bytes: Vec<u8>,
    line: usize,
    line_end: &'static str,
}

impl RuleWriter {
    fn new(file: &HbaFile) -> Self {
        let room = file.bytes().len() + file.bytes().len() / 64 + 256;
        Self { bytes: Vec::with_capacity(room), line: 1, line_end: file.line_end() }
    }

    /// Adds lines of the file as they are.
    fn push_lines(&mut self, file: &HbaFile, lines: Range<usize>) {
        if let Some(last) = lines.end.checked_sub(1).filter(|_| !lines.is_empty()) {
            self.end_line();
            self.bytes.extend_from_slice(file.slice(lines.clone()));
            // The numbers are known: only in the last line the ends are counted.
            self.line += file.number(last) - file.number(lines.start) + line_ends(file.line(last));
        }
    }

    /// Adds a line as it is and returns its number.
    fn push(&mut self, bytes: &[u8]) -> usize {
        self.end_line();
        let number = self.line;
        self.bytes.extend_from_slice(bytes);
        self.line += line_ends(bytes);
        number
    }

    /// Gives the last line a line end, when it has none.
    fn end_line(&mut self) {
        if self.bytes.last().is_some_and(|&c| c != b'\n') {
            self.bytes.extend_from_slice(self.line_end.as_bytes());
            self.line += 1;
        }
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

fn line_ends(bytes: &[u8]) -> usize {
    bytes.split(|&c| c == b'\n').count() - 1
}

/// Warnings about rules wanted that the server never comes to, because earlier lines decide all they are for, and about
/// those on the lines `added` of which only the server knows.
fn find_hidden(file: &HbaFile, wanted: &[&Wanted], added: &[usize], around: &Surroundings) -> Vec<String> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let sought = Sought::new(wanted);
    let found: Vec<(usize, &HbaRule)> = file
        .briefs()
        .filter_map(|(index, brief)| Some((index, &wanted[sought.find_wanted(file, index, brief)?].rule)))
        .collect();
    let rules: Vec<(&HbaRule, usize)> = found.iter().map(|&(index, rule)| (rule, index)).collect();
    let added: HashSet<usize> = added.iter().copied().collect();
    let mut warnings = Vec::new();
    for ((line, _), hidden) in found.iter().zip(file.find_hidden(&rules, around)) {
        let number = file.number(*line);
        match (hidden.line, hidden.unknown) {
            (Some(first), _) => warnings.push(format!(
                "line {number} is never reached: line {} decides all that it is for: {}",
                file.number(first),
                file.masked_text(first)
            )),
            (None, Some((first, why))) if added.contains(line) => warnings.push(format!(
                "line {number} may never be reached: line {} may decide all that it is for, only the server knows {why}: {}",
                file.number(first),
                file.masked_text(first)
            )),
            _ => {}
        }
    }
    warnings
}

/// Warnings about old rules which new ones hide.
fn find_newly_hidden(file: &HbaFile, added: &[Numbered], around: &Surroundings) -> Vec<String> {
    let mut index = CoverIndex::default();
    let mut new = HashSet::new();
    for line in added {
        if let Some(rule) = &line.rule {
            index.add(line.number, rule);
            new.insert(line.number);
        }
    }
    let mut warnings = Vec::new();
    for (line, brief) in file.briefs() {
        let number = file.number(line);
        if new.contains(&number) || !index.may_cover(brief) {
            continue;
        }
        let Some(rule) = file.rule(line) else { continue };
        let first = index.find_covering(&rule, around).into_iter().filter(|&other| other < number).min();
        if let Some(first) = first {
            warnings.push(format!(
                "line {number} is no longer reached: the new line {first} decides all that it is for: {}",
                file.masked_text(line)
            ));
        }
    }
    warnings
}
