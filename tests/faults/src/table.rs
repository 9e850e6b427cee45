//! The fault matrix: module, fault, outcome.

use std::fmt;

/// What came of one fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The module bore it; a few words on how.
    Held(String),
    /// It did not; what went wrong.
    Broken(String),
    /// It could not be tried here; why.
    Skipped(String),
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// Module, and what it was doing where that matters.
    pub module: String,
    /// What was done to it.
    pub fault: String,
    /// What came of it.
    pub outcome: Outcome,
}

impl Row {
    /// A line from what a trial returned.
    pub fn new(module: &str, fault: &str, tried: Result<String, String>) -> Self {
        let outcome = match tried {
            Ok(words) => Outcome::Held(words),
            Err(words) => match words.strip_prefix("skipped: ") {
                Some(why) => Outcome::Skipped(why.to_owned()),
                None => Outcome::Broken(words),
            },
        };
        Self { module: module.to_owned(), fault: fault.to_owned(), outcome }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mark, words) = match &self.outcome {
            Outcome::Held(words) => ("ok  ", words),
            Outcome::Broken(words) => ("FAIL", words),
            Outcome::Skipped(words) => ("skip", words),
        };
        write!(f, "{mark}  {:<32} {:<34} {words}", self.module, self.fault)
    }
}
