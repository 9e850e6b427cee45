//! What is refused without `force`, and what is warned about.

use og_common::hba::{
    Address, Brief, Connection, HbaFile, HbaRule, Method, Range, Reach, Route, Surroundings,
};
use og_common::protocol::Error;

use crate::Target;
use crate::plan::{Numbered, Plan};

/// How many lines of one sort are told.
const MAX_SHOWN_LINES: usize = 5;

/// How the node's own user gets in through the local socket.
enum Entrance {
    /// By this line and method.
    Line(usize, Method),
    /// Only the server knows: the line, what that depends on, and a line and method by which it may get in.
    Unknown(usize, String, (usize, Method)),
    /// Not at all.
    Closed,
}

impl Entrance {
    fn find(user: &str, file: &HbaFile, around: &Surroundings) -> Self {
        let connection = Connection {
            route: Route::Local,
            database: b"postgres",
            user: user.as_bytes(),
            replication: false,
        };
        let decision = file.decide(&connection, around);
        let open = |line: usize| {
            file.rule(line).filter(|rule| rule.method != Method::Reject).map(|rule| (line, rule.method))
        };
        let sure = decision.line.and_then(open);
        let contrary = |(line, _): &&(usize, String)| open(*line).is_some() != sure.is_some();
        match (sure, decision.unknown.iter().find(contrary)) {
            (Some((line, method)), None) => Self::Line(line, method),
            (None, None) => Self::Closed,
            (sure, Some((line, why))) => match sure.or_else(|| open(*line)) {
                Some(by) => Self::Unknown(*line, why.clone(), by),
                None => Self::Closed,
            },
        }
    }

    /// The line and method by which the user gets in, or may.
    fn line_and_method(&self) -> Option<(usize, Method)> {
        match *self {
            Self::Line(line, method) | Self::Unknown(_, _, (line, method)) => Some((line, method)),
            Self::Closed => None,
        }
    }
}

/// Refuses to shut out the node's own user, whom gs_ctl and all the tools come as; warns when it needs a password now, and
/// when only the server knows whether it still gets in.
pub fn check_own_user(
    target: &Target,
    user: &str,
    old: &HbaFile,
    new: &HbaFile,
    around: &Surroundings,
) -> Result<Option<String>, Error> {
    let freely = |method| matches!(method, Method::Trust | Method::Peer);
    let before = Entrance::find(user, old, around);
    let Some((line, was)) = before.line_and_method() else { return Ok(None) };
    Ok(match Entrance::find(user, new, around) {
        Entrance::Closed => {
            return Err(Error::refused(format!(
                "{user} could no longer connect through the local socket, as gs_ctl does; line {} lets it in now: {}",
                old.number(line),
                old.masked_text(line)
            ))
            .with_path(target.path.display())
            .hint("keep a rule such as \"local all all trust\", or pass force: true"));
        }
        Entrance::Unknown(line, why, _) if matches!(before, Entrance::Line(..)) => Some(format!(
            "{user} may no longer be able to connect through the local socket, as gs_ctl does: only the server knows \
             {why} (line {}: {})",
            new.number(line),
            new.masked_text(line)
        )),
        Entrance::Line(line, method) if freely(was) && !freely(method) => Some(format!(
            "{user} now needs a password through the local socket (line {}, {}): tools that have none, such as gsql in \
             scripts, no longer get in",
            new.number(line),
            method.as_str()
        )),
        _ => None,
    })
}

/// Warns when a file that is made has no rule by which the node's own user gets in through the local socket.
pub fn check_own_user_in_new_file(user: &str, new: &HbaFile, around: &Surroundings) -> Option<String> {
    matches!(Entrance::find(user, new, around), Entrance::Closed).then(|| {
        format!(
            "by the rules of the new file {user} cannot connect through the local socket, as gs_ctl does; add a rule \
             such as \"local all all trust\""
        )
    })
}

/// Whether strangers may get in by the rule without any proof of who they are, as far as that is told without parsing
/// its line.
fn may_trust_strangers(brief: &Brief) -> bool {
    brief.method == Method::Trust
        && match brief.reach {
            Reach::Local | Reach::Near => false,
            Reach::V4 { network, mask } => Address::Range(Range::V4 { network, mask }).holds_strangers(),
            Reach::All | Reach::V6 | Reach::Host => true,
        }
}

/// Refuses a rule, added or made so, by which strangers get in without proof; warns of those that were there before, or
/// came by `force`.
pub fn check_strangers(
    target: &Target,
    file: &HbaFile,
    plan: &Plan,
    force: bool,
) -> Result<Vec<String>, Error> {
    let open = |line: &Numbered| line.rule.as_ref().is_some_and(HbaRule::trusts_strangers);
    let made =
        plan.updated.iter().filter(|(was, now)| !(open(was) && was.text == now.text)).map(|(_, now)| now);
    if let Some(line) = plan.added.iter().chain(made).find(|line| open(line) && !force) {
        return Err(Error::refused(format!(
            "{}: by this rule anyone in the world gets in without a password",
            line.text.trim()
        ))
        .with_path(target.path.display())
        .hint("name the networks of your own, or a method that asks for a proof, such as sha256; force: true overrides"));
    }
    let open = |index: &usize| file.rule(*index).is_some_and(|rule| rule.trusts_strangers());
    let lines: Vec<usize> = file
        .briefs()
        .filter(|(_, brief)| may_trust_strangers(brief))
        .map(|(index, _)| index)
        .filter(open)
        .collect();
    let mut warnings: Vec<String> = lines
        .iter()
        .take(MAX_SHOWN_LINES)
        .map(|&index| {
            format!(
                "line {} lets anyone in the world in without a password: {}",
                file.number(index),
                file.masked_text(index)
            )
        })
        .collect();
    if lines.len() > MAX_SHOWN_LINES {
        warnings.push(format!("{} more such lines", lines.len() - MAX_SHOWN_LINES));
    }
    Ok(warnings)
}
