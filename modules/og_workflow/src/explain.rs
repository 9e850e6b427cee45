//! What an id in a message means and what to do: kinds and reasons of errors, checks of og_preflight, findings of the state of a
//! cluster.

use std::borrow::Cow;
use std::fmt::Write as _;

use og_common::protocol::{Error, ErrorKind, Explanation, Reason, describe_word, nearest};
use og_preflight::checks;

use crate::args;
use crate::health::kinds::{FINDING_KINDS, find_kind};

/// The word that lists all ids.
pub const ALL: &str = "all";

/// The reasons of an outcome with what to do.
#[must_use]
pub fn outcome_reasons() -> [(&'static str, Explanation); 3] {
    let reason = |reason: args::Reason, advice, commands| {
        let word = reason.name();
        (word, Explanation { meaning: describe_word::<args::Reason>(word).into(), advice, commands })
    };
    [
        reason(
            args::Reason::OldRolesHold,
            "The primary is the same as before. The message says why the switchover failed: remove the cause, and switch over again.",
            &["og switchover -n n2"],
        ),
        reason(
            args::Reason::UnderWay,
            "How it ends is not known yet, and it is not tried again by itself. See which node is primary; the same command \
             continues from there.",
            &["og status"],
        ),
        reason(
            args::Reason::OtherPrimary,
            "CM, or a person, made a third node primary. See which one, and switch over again where it is to be another.",
            &["og status"],
        ),
    ]
}

/// Returns every id, in the order in which they are listed.
#[must_use]
pub fn ids() -> Vec<&'static str> {
    let kinds = ErrorKind::ALL.into_iter().map(ErrorKind::name);
    let reasons = Reason::ALL.into_iter().map(Reason::name);
    let outcomes = outcome_reasons().map(|(word, _)| word);
    let findings = FINDING_KINDS.iter().map(|kind| kind.id);
    let all = kinds.chain(reasons).chain(outcomes).chain(findings);
    all.chain(checks::all().map(|check| check.id)).collect()
}

/// Says what this id means and what to do; `all` lists them.
///
/// # Errors
/// `bad_args` when there is no such id.
pub fn explain(id: &str) -> Result<String, Error> {
    if id == ALL {
        return Ok(list());
    }
    if let Some(kind) = ErrorKind::ALL.into_iter().find(|kind| kind.name() == id) {
        return Ok(print("error.kind", id, &kind.explain()));
    }
    if let Some(reason) = Reason::ALL.into_iter().find(|reason| reason.name() == id) {
        return Ok(print("error.reason", id, &reason.explain()));
    }
    if let Some((_, told)) = outcome_reasons().into_iter().find(|(word, _)| *word == id) {
        return Ok(print("outcome.reason", id, &told));
    }
    if let Some(kind) = find_kind(id) {
        return Ok(print("finding of og status", id, &kind.explanation));
    }
    if checks::find(id).is_some() {
        return checks::explain(id);
    }
    let near = nearest(id, &ids()).map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
    Err(Error::bad_args(format!("there is no finding, check, reason or kind {id}{near}"))
        .hint("list all with: og explain"))
}

fn print(what: &str, id: &str, told: &Explanation) -> String {
    let mut out = format!("{id} ({what})\n\n{}\n\n{}\n", told.meaning, told.advice);
    if !told.commands.is_empty() {
        out.push('\n');
        for command in told.commands {
            let _ = writeln!(out, "    {command}");
        }
    }
    out.trim_end().to_owned()
}

fn list() -> String {
    let mut out = String::new();
    let mut part = |title: &str, lines: Vec<(&str, Cow<'static, str>)>| {
        let _ = writeln!(out, "{}{title}", if out.is_empty() { "" } else { "\n" });
        for (id, about) in lines {
            let _ = writeln!(out, "  {id:26}{about}");
        }
    };
    part("Kinds of errors", ErrorKind::ALL.map(|kind| (kind.name(), kind.explain().meaning)).into());
    let reasons = Reason::ALL.map(|reason| (reason.name(), reason.explain().meaning));
    let outcomes = outcome_reasons().map(|(word, told)| (word, told.meaning));
    part("Reasons", reasons.into_iter().chain(outcomes).collect());
    let findings = FINDING_KINDS.iter().map(|kind| (kind.id, kind.explanation.meaning.clone()));
    part("Findings of og status", findings.collect());
    let checks =
        checks::all().map(|check| (check.id, format!("{}: {}", check.severity.name(), check.what).into()));
    part("Checks of og_preflight", checks.collect());
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_id_is_explained_and_listed() {
        let all = explain(ALL).unwrap();
        for id in ids() {
            assert!(explain(id).unwrap().starts_with(&format!("{id} (")), "{id}");
            assert!(all.contains(&format!("\n  {id} ")), "{id}");
        }
    }

    #[test]
    fn each_id_has_its_section_in_the_documents() {
        let pages = [include_str!("../../../docs/errors.md"), include_str!("../../../docs/findings.md")];
        for id in ids() {
            let sections = pages.iter().map(|page| page.matches(&format!("\n### {id}\n")).count());
            assert_eq!(sections.sum::<usize>(), 1, "{id}");
        }
    }

    #[test]
    fn each_reason_of_an_outcome_is_explained() {
        let schema = schemars::schema_for!(args::Reason).to_value();
        assert_eq!(schema["oneOf"].as_array().map(Vec::len), Some(outcome_reasons().len()), "{schema}");
        assert!(outcome_reasons().iter().all(|(_, told)| told.meaning.ends_with('.')));
    }

    #[test]
    fn an_unknown_id_is_named_with_the_nearest_one() {
        let error = explain("not_streeming").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadArgs);
        assert!(error.to_string().contains("did you mean not_streaming?"), "{error}");
    }
}
