//! What is refused without `force`, and what is warned about.

use og_common::hba::{Connection, HbaFile, LineKind, Method, Route, Surroundings};
use og_common::protocol::Error;

use crate::Target;
use crate::plan::{Numbered, Plan};

/// How many lines of one sort are told.
const SHOWN: usize = 5;

/// Refuses to shut out the node's own user, whom gs_ctl and all the tools come as; warns when it needs a password now.
pub fn own_user(
    target: &Target,
    user: &str,
    old: &HbaFile,
    new: &HbaFile,
    around: &Surroundings,
) -> Result<Option<String>, Error> {
    let connection =
        Connection { route: Route::Local, database: b"postgres", user: user.as_bytes(), replication: false };
    let gets_in = |file: &HbaFile, around: &Surroundings| -> Option<(usize, Method)> {
        let decision = file.decide(&connection, around);
        // What depends on a role may let the user in: not for us to forbid.
        let mut lines = decision.line.into_iter().chain(decision.unknown.iter().map(|(line, _)| *line));
        lines.find_map(|line| match &file.lines[line].kind {
            LineKind::Rule(rule, _) if rule.method != Method::Reject => Some((line, rule.method)),
            _ => None,
        })
    };
    let freely = |method| matches!(method, Method::Trust | Method::Peer);
    let Some((line, was)) = gets_in(old, &target.surroundings(old)) else { return Ok(None) };
    let line = &old.lines[line];
    match gets_in(new, around) {
        None => Err(Error::refused(format!(
            "{user} could no longer connect through the local socket, as gs_ctl does; line {} lets it in now: {}",
            line.number,
            line.shown()
        ))
        .at(target.path.display())
        .hint("keep a rule such as \"local all all trust\", or pass force: true")),
        Some((line, method)) if freely(was) && !freely(method) => Ok(Some(format!(
            "{user} now needs a password through the local socket (line {}, {}): tools that have none, such as gsql in \
             scripts, no longer get in",
            new.lines[line].number,
            method.as_str()
        ))),
        Some(_) => Ok(None),
    }
}

/// Warns when a file that is made has no rule by which the node's own user gets in through the local socket.
pub fn own_user_in_new_file(target: &Target, plan: &Plan) -> Option<String> {
    let user = target.user.as_ref()?;
    let file = HbaFile::parse(&plan.after);
    let connection =
        Connection { route: Route::Local, database: b"postgres", user: user.as_bytes(), replication: false };
    let decision = file.decide(&connection, &target.surroundings(&file));
    let mut lines = decision.line.into_iter().chain(decision.unknown.iter().map(|(line, _)| *line));
    let gets_in = lines.any(
        |line| matches!(&file.lines[line].kind, LineKind::Rule(rule, _) if rule.method != Method::Reject),
    );
    (!gets_in).then(|| {
        format!(
            "by the rules of the new file {user} cannot connect through the local socket, as gs_ctl does; add a rule \
             such as \"local all all trust\""
        )
    })
}

/// Refuses a rule, added or made so, by which strangers get in without proof; warns of those that were there before, or
/// came by `force`.
pub fn strangers(target: &Target, file: &HbaFile, plan: &Plan, force: bool) -> Result<Vec<String>, Error> {
    let open = |line: &Numbered| line.rule.as_ref().is_some_and(og_common::hba::Rule::trusts_strangers);
    let made =
        plan.updated.iter().filter(|(was, now)| !(open(was) && was.text == now.text)).map(|(_, now)| now);
    if let Some(line) = plan.added.iter().chain(made).find(|line| open(line) && !force) {
        return Err(Error::refused(format!(
            "{}: by this rule anyone in the world gets in without a password",
            line.text.trim()
        ))
        .at(target.path.display())
        .hint("name the networks of your own, or a method that asks for a proof, such as sha256; force: true overrides"));
    }
    let lines: Vec<_> = file.rules().filter(|(_, rule)| rule.trusts_strangers()).collect();
    let mut warnings: Vec<String> = lines
        .iter()
        .take(SHOWN)
        .map(|(index, _)| {
            let line = &file.lines[*index];
            format!("line {} lets anyone in the world in without a password: {}", line.number, line.shown())
        })
        .collect();
    if lines.len() > SHOWN {
        warnings.push(format!("{} more such lines", lines.len() - SHOWN));
    }
    Ok(warnings)
}
