//! The value of synchronous_standby_names: parsed, edited and printed, in all the forms the server takes.
//!
//! ```text
//! ''                         nobody is waited for
//! *                          any one standby
//! a,b                        as FIRST 1(a,b)
//! 2(a,b,c)                   as FIRST 2(a,b,c)
//! FIRST 2(a,b,c)             the first two of those which stream
//! ANY 2(a,b,c)               any two
//! ANY 1(a,b),ANY 1(c,d)      each group by itself
//! ```
//!
//! Names are compared without regard to case, as the server does. The grammar is `syncrep_scanner.l` and
//! `syncrep_gram.y`; what else the server refuses (`syncrep.cpp`, `transform_synchronous_standby_names`) is refused
//! here too.

mod parse;

use std::fmt;

use crate::base::Error;

/// Whom commits wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandbyNames {
    /// None: nobody.
    pub groups: Vec<Group>,
}

/// Members of whom a number must confirm each commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// How the number is written and meant.
    pub rule: SyncRule,
    /// The standbys' names; the single name `*` is any standby.
    pub members: Vec<String>,
}

/// Which members of a group are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncRule {
    /// `a,b`: the first one that streams.
    List,
    /// `N(a,b)`: the first N that stream.
    Count(u32),
    /// `FIRST N(a,b)`: the first N that stream.
    First(u32),
    /// `ANY N(a,b)`: any N.
    Any(u32),
}

/// What the names are chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMethod {
    /// Any N of the members.
    Any,
    /// The first N, in the order of the list, of the members that stream.
    First,
}

/// The number to wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncNumber {
    /// What it was, or the members left if they are fewer.
    #[default]
    Keep,
    /// With the primary itself, more than half of the primary and the members: half the members, rounded up.
    Majority,
    /// This many, or the members left if they are fewer.
    Exactly(u32),
}

/// An edit of the value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandbyNamesEdit {
    /// The method wanted; `None` keeps it.
    pub method: Option<SyncMethod>,
    /// The number wanted.
    pub number: SyncNumber,
    /// Names to be there.
    pub add: Vec<String>,
    /// Names not to be there.
    pub remove: Vec<String>,
}

/// Why a value is none that the server takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandbyNamesError {
    /// The character within the value, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for StandbyNamesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at character {}", self.message, self.column)
    }
}

impl StandbyNames {
    /// Reads the value as the server does.
    ///
    /// # Errors
    /// When the server would refuse it.
    pub fn parse(value: &str) -> Result<Self, StandbyNamesError> {
        parse::parse(value)
    }

    /// All names, `*` for any.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().flat_map(|group| group.members.iter().map(String::as_str))
    }

    /// Whether any standby counts.
    #[must_use]
    pub fn is_star(&self) -> bool {
        self.names().any(|name| name == "*")
    }

    /// What keeps commits waiting when the standbys of these names stream, in words; none when nothing does. As for the
    /// server a standby counts for the first group that has its name.
    #[must_use]
    pub fn missing(&self, streaming: &[String]) -> Option<String> {
        let has = |group: &Group, name: &String| {
            group.members.iter().any(|m| m == "*" || m.eq_ignore_ascii_case(name))
        };
        for (index, group) in self.groups.iter().enumerate() {
            let earlier = &self.groups[..index];
            let here = |name: &&String| has(group, name) && !earlier.iter().any(|other| has(other, name));
            let found: Vec<&str> = streaming.iter().filter(here).map(String::as_str).collect();
            if found.len() < group.count() as usize {
                let whom = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
                return Some(format!(
                    "{} of {} must confirm each, and of these {whom} streams",
                    group.count(),
                    group.members.join(", "),
                ));
            }
        }
        None
    }

    /// The value after the edit; the same edit once more changes nothing.
    ///
    /// Removed names go from every group, and a group without members goes too. Added names go to the end of the one
    /// group, also when all its members are removed: the new ones take their places, by the same method and number. They
    /// make `ANY 1(…)` when there is no group; `*` already has everybody and stays, unless a method is given, which makes
    /// it a list of the added names. The number is the one asked for or the one it was, but never more
    /// than the members left and, where a group is left, never less than one.
    ///
    /// # Errors
    /// `bad_args` when the edit has no single meaning for a value of several groups, or a name is added and removed.
    pub fn edit(&self, edit: &StandbyNamesEdit) -> Result<Self, Error> {
        if let Some(name) = edit.add.iter().find(|name| contains(&edit.remove, name)) {
            return Err(Error::bad_args(format!("{name} is to be added and to be removed")));
        }
        if let Some(name) =
            edit.add.iter().find(|name| name.is_empty() || *name == "*" || name.contains('\0'))
        {
            return Err(Error::bad_args(format!("{name:?} is no standby's name"))
                .hint("to wait for any standby set parameters: {synchronous_standby_names: \"*\"}"));
        }
        let mut after = self.clone();
        for group in &mut after.groups {
            group.members.retain(|member| !contains(&edit.remove, member));
        }
        if after.groups.iter().any(|group| !group.members.is_empty()) {
            after.groups.retain(|group| !group.members.is_empty());
        }
        after.add(edit)?;
        after.groups.retain(|group| !group.members.is_empty());
        if after.groups.len() > 1 && edit.method == Some(SyncMethod::First) {
            return Err(several_groups_error("the method FIRST cannot be used"));
        }
        for group in &mut after.groups {
            group.set_number(edit);
        }
        Ok(after)
    }

    /// The value with the member `to` in the place of `from`, as it serves when the two have exchanged their roles. A value
    /// that names `to` already, or any standby, stays.
    #[must_use]
    pub fn rename(&self, from: &str, to: &str) -> Self {
        let mut after = self.clone();
        if self.is_star() || self.names().any(|name| name.eq_ignore_ascii_case(to)) {
            return after;
        }
        for member in after.groups.iter_mut().flat_map(|group| &mut group.members) {
            if member.eq_ignore_ascii_case(from) {
                to.clone_into(member);
            }
        }
        after
    }

    fn add(&mut self, edit: &StandbyNamesEdit) -> Result<(), Error> {
        let mut new: Vec<String> = Vec::new();
        for name in &edit.add {
            if !self.names().any(|known| known.eq_ignore_ascii_case(name)) && !contains(&new, name) {
                new.push(name.clone());
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        if self.is_star() {
            if edit.method.is_none() {
                return Ok(());
            }
            self.groups[0].members.clear();
        }
        match self.groups.as_mut_slice() {
            [] => self.groups.push(Group { rule: SyncRule::Any(1), members: new }),
            [group] => group.members.extend(new),
            _ => return Err(several_groups_error(&format!("where to add {} is open", new.join(", ")))),
        }
        Ok(())
    }
}

impl Group {
    /// The number of members waited for.
    #[must_use]
    pub fn count(&self) -> u32 {
        match self.rule {
            SyncRule::List => 1,
            SyncRule::Count(n) | SyncRule::First(n) | SyncRule::Any(n) => n,
        }
    }

    /// Applies method and number; a rule that already means what is wanted stays as it is written.
    fn set_number(&mut self, edit: &StandbyNamesEdit) {
        let members = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        let any = matches!(self.rule, SyncRule::Any(_));
        let method = edit.method.unwrap_or(if any { SyncMethod::Any } else { SyncMethod::First });
        let number = match edit.number {
            SyncNumber::Keep => self.count(),
            SyncNumber::Majority => members.div_ceil(2),
            SyncNumber::Exactly(number) => number.max(1),
        };
        // Any number of standbys may be behind a star.
        let star = self.members.iter().any(|member| member == "*");
        let number = if star { number } else { number.min(members) };
        if (method == SyncMethod::Any) == any && number == self.count() {
            return;
        }
        self.rule = match (method, self.rule) {
            (SyncMethod::Any, _) => SyncRule::Any(number),
            (SyncMethod::First, SyncRule::Count(_)) => SyncRule::Count(number),
            (SyncMethod::First, _) => SyncRule::First(number),
        };
    }
}

impl fmt::Display for StandbyNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, group) in self.groups.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let members: Vec<_> = group.members.iter().map(|name| print_name(name)).collect();
            let members = members.join(",");
            match group.rule {
                SyncRule::List => write!(f, "{comma}{members}")?,
                SyncRule::Count(n) => write!(f, "{comma}{n}({members})")?,
                SyncRule::First(n) => write!(f, "{comma}FIRST {n}({members})")?,
                SyncRule::Any(n) => write!(f, "{comma}ANY {n}({members})")?,
            }
        }
        Ok(())
    }
}

/// Quoted where the server would not read the bare name as one name.
fn print_name(name: &str) -> String {
    if name == "*" || parse::is_bare_name(name) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

fn contains(names: &[String], name: &str) -> bool {
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// What to do with a value that is not edited.
pub const SET_WHOLE: &str = "set the whole value with parameters: {synchronous_standby_names: …}";

fn several_groups_error(what: &str) -> Error {
    Error::bad_args(format!("synchronous_standby_names has several groups: {what}")).hint(SET_WHOLE)
}

#[cfg(test)]
mod tests;
