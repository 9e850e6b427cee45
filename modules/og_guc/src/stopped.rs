//! What would keep a stopped server from starting: nobody else says so before it is started.

use std::collections::HashSet;

use og_common::gauss::{ServerNode, Trial};
use og_common::protocol::{Call, Error};

use crate::list::List;
use crate::plan::Wanted;

/// Holds the file as it shall be, and the parameters that change in it, against the server program's own knowledge; where
/// that cannot be asked, the values against gs_guc's list. Returns what is only to be looked at.
///
/// # Errors
/// `refused`, unless `force`, when one of the parameters that change would keep the server from starting.
pub async fn check(
    call: &Call,
    node: &ServerNode,
    (text, changed): (&[u8], &[String]),
    wanted: &Wanted,
    force: bool,
) -> Result<Vec<String>, Error> {
    let why = match node.try_conf(call, text).await {
        Trial::Good => return Ok(Vec::new()),
        Trial::Bad(words) => return judge_complaints(&words, changed, force),
        Trial::Unseen(why) => why,
    };
    let Some(list) = List::read(node, call).await else {
        return Ok(vec![format!(
            "whether the server knows these names and takes these values was not checked: {why}"
        )]);
    };
    let mut warnings = Vec::new();
    let changed: HashSet<&String> = changed.iter().collect();
    for (name, value) in wanted.set.iter().filter(|(name, _)| changed.contains(name)) {
        match list.check(name, value) {
            Ok(told) => warnings.extend(told),
            Err(error) if force => warnings.push(error.failure().detail.clone()),
            Err(error) => return Err(refused_error(name, &error.failure().detail)),
        }
    }
    Ok(warnings)
}

/// What the server's words on the whole file mean for a change of these parameters.
fn judge_complaints(words: &[String], changed: &[String], force: bool) -> Result<Vec<String>, Error> {
    let said = words.join("; ");
    let lower = said.to_ascii_lowercase();
    let concerns = |name: &&String| lower.contains(&format!("parameter \"{}\"", name.to_ascii_lowercase()));
    match changed.iter().find(concerns) {
        Some(name) if !force => Err(refused_error(name, &said)),
        Some(_) => Ok(vec![format!("the server will not start with this: {said}")]),
        None => Ok(vec![format!(
            "the server would not start with this file, before the change and after: {said}"
        )]),
    }
}

fn refused_error(name: &str, why: &str) -> Error {
    Error::refused(format!("the server would not start with this: {why}"))
        .with_path(format!("/parameters/{name}"))
        .hint("correct it; force: true writes it all the same")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use og_common::protocol::ErrorKind;

    use super::*;

    #[test]
    fn only_what_changes_is_refused() {
        let words = ["LOG:  invalid value for parameter \"port\": \"abc\"".to_owned()];
        let refused = judge_complaints(&words, &["Port".to_owned()], false).unwrap_err();
        assert_eq!(
            (refused.kind(), refused.failure().path.as_deref()),
            (ErrorKind::Refused, Some("/parameters/Port"))
        );
        assert!(judge_complaints(&words, &["Port".to_owned()], true).unwrap()[0].contains("will not start"));
        assert!(
            judge_complaints(&words, &["por".to_owned()], false).unwrap()[0]
                .contains("before the change and after")
        );
    }
}
