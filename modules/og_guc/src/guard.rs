//! What is refused without `force`: commits that would wait for ever, and a standby smaller than its primary.

use std::time::{Duration, Instant};

use og_common::{
    conf::{ConfFile, is_on},
    gauss::{
        Role, ServerNode, Version,
        control::{ControlDetails, LIMITS},
        version::DEFAULT_MAX_CHANNELS,
    },
    protocol::{Call, Error},
    standby_names::StandbyNames,
};

use crate::args::Args;
use crate::plan::{Plan, STANDBY_NAMES};

/// How long a standby may take to come back, after a reload of the channels.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// Lets commits go on when nobody is there whom they would wait for.
const MOST_AVAILABLE: &str = "most_available_sync";
/// The poll interval.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Refuses a change that makes commits wait or sets a limit below the primary's; returns warnings.
///
/// # Errors
/// `refused`, unless `force`.
pub async fn check(
    call: &Call,
    node: &ServerNode,
    file: &ConfFile,
    plan: &Plan,
    (reload, args): (bool, &Args),
) -> Result<Vec<String>, Error> {
    let force = args.force;
    let foreseen = if call.check { &args.foreseen_standbys[..] } else { &[] };
    let mut warnings = Vec::new();
    let changes = |name: &str| plan.changed.iter().any(|changed| changed.eq_ignore_ascii_case(name));
    let role = node.state_file().map_or(Role::Unknown, |state| state.role);
    let control = node.control().and_then(|control| control.more);
    let touched: Vec<_> = LIMITS.into_iter().filter(|name| changes(name)).collect();
    for problem in find_limits(&touched, role, control.as_ref(), file, &plan.file) {
        match problem {
            Limit::Below(words) if !force => {
                return Err(Error::refused(words).with_path("/parameters").hint(
                    "set it on the primary, whose file this standby takes over; force: true sets it all the same",
                ));
            }
            Limit::Below(words) | Limit::Order(words) => warnings.push(words),
        }
    }
    let by = [STANDBY_NAMES, MOST_AVAILABLE].into_iter().find(|name| changes(name));
    if let Some(by) = by
        && let Some(words) = find_commit_waits(call, node, (file, &plan.file), foreseen).await
    {
        match words {
            Waits::Already(words) => warnings.push(words),
            Waits::Now(words) if force || !reload => warnings.push(words),
            Waits::Now(words) => {
                return Err(Error::refused(words).with_path(format!("/parameters/{by}")).hint(
                    "let the standbys stream first, ask for fewer, or have most_available_sync on; force: true overrides",
                ));
            }
        }
    }
    Ok(warnings)
}

/// Refuses what the installed release does not have, where releases differ: several groups of synchronous standbys,
/// channels beyond the eighth.
///
/// # Errors
/// `refused`, unless `force`; `bad_args` for a channel.
pub async fn check_release(call: &Call, node: &ServerNode, plan: &Plan, force: bool) -> Result<(), Error> {
    for name in &plan.changed {
        let lower = name.to_ascii_lowercase();
        let Some(Some(value)) = plan.after.get(name) else { continue };
        if lower == STANDBY_NAMES
            && StandbyNames::parse(value).is_ok_and(|names| names.groups.len() > 1)
            && let Some(release) =
                node.version(call).await.filter(|release| !release.has_several_sync_groups())
            && !force
        {
            return Err(Error::refused(format!(
                "openGauss {release} has no several groups in {STANDBY_NAMES}: its next start would fail"
            ))
            .with_path(format!("/parameters/{name}"))
            .hint("use one group; force: true overrides"));
        }
        let channel = lower.strip_prefix("replconninfo").and_then(|number| number.parse::<usize>().ok());
        if let Some(number) = channel.filter(|number| *number > DEFAULT_MAX_CHANNELS) {
            let most = node.version(call).await.map_or(DEFAULT_MAX_CHANNELS, Version::max_channels);
            if number > most {
                return Err(Error::bad_args(format!(
                    "there is no {name}; a server has replconninfo1 to {most}"
                ))
                .with_path(format!("/parameters/{name}")));
            }
        }
    }
    Ok(())
}

/// What is to be said of a limit that changes.
#[derive(Debug, PartialEq, Eq)]
enum Limit {
    /// It is below the primary's.
    Below(String),
    /// On a primary: in which order the servers are to be restarted.
    Order(String),
}

fn find_limits(
    changed: &[&str],
    role: Role,
    primary: Option<&ControlDetails>,
    old: &ConfFile,
    new: &ConfFile,
) -> Vec<Limit> {
    let number = |file: &ConfFile, name: &str| file.get(name)?.text().trim().parse::<u32>().ok();
    let mut found = Vec::new();
    for name in changed {
        let Some(wanted) = number(new, name) else { continue };
        if role == Role::Primary {
            let raised = number(old, name).is_some_and(|before| wanted > before);
            let first =
                if raised { "the standbys before the primary" } else { "the primary before the standbys" };
            found.push(Limit::Order(format!(
                "{name} counts from the next start, and a standby that has less of it than its primary may stop: \
                 restart {first}"
            )));
        }
        let below = primary
            .filter(|_| role.is_following())
            .and_then(|primary| primary.primary_limit_above(name, wanted, new));
        if let Some(there) = below {
            found.push(Limit::Below(format!(
                "{name} = {wanted} is less than the {there} of this standby's primary: with less the server may not \
                 start, and is too small to take the primary's place"
            )));
        }
    }
    found
}

/// That commits wait.
#[derive(Debug, PartialEq, Eq)]
enum Waits {
    /// They do so before the change as well.
    Already(String),
    /// From the change on.
    Now(String),
}

/// Whether commits on this running primary would wait for standbys that do not stream.
async fn find_commit_waits(
    call: &Call,
    node: &ServerNode,
    (old, new): (&ConfFile, &ConfFile),
    foreseen: &[String],
) -> Option<Waits> {
    if awaited_names(new).groups.is_empty() {
        return None;
    }
    node.running_pid()?;
    let role = match node.query(call).await {
        Ok(state) => state.role,
        Err(_) => node.state_file().map_or(Role::Unknown, |state| state.role),
    };
    if role != Role::Primary {
        return None;
    }
    let begun = Instant::now();
    loop {
        // A server that cannot be asked cannot be told of the change either, and says so then.
        let mut streaming = node.streaming_standbys(call).await.ok()?;
        streaming.extend_from_slice(foreseen);
        let (Waits::Already(words) | Waits::Now(words)) = &find_waits(old, new, &streaming)?;
        call.record_seen(words.clone());
        if begun.elapsed() >= RECONNECT_TIMEOUT {
            return find_waits(old, new, &streaming);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// What the new file makes of commits on a primary, when the standbys of these names stream.
fn find_waits(old: &ConfFile, new: &ConfFile, streaming: &[String]) -> Option<Waits> {
    let missing = awaited_names(new).missing(streaming)?;
    let words = format!("commits would wait for ever: {missing}");
    let already = awaited_names(old).missing(streaming).is_some();
    Some(if already { Waits::Already(words) } else { Waits::Now(words) })
}

/// Whom commits wait for by this file, also when nobody is there: none when `most_available_sync` lets them go on, or
/// when the names cannot be understood, of which others tell.
fn awaited_names(file: &ConfFile) -> StandbyNames {
    if file.get(MOST_AVAILABLE).is_some_and(|setting| is_on(&setting.text())) {
        return StandbyNames::default();
    }
    let value = file.get(STANDBY_NAMES).map_or_else(|| "*".into(), |setting| setting.text().into_owned());
    StandbyNames::parse(&value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use og_common::protocol::Lsn;

    use super::*;

    fn find_limits_of(role: Role, old: &str, new: &str) -> Vec<Limit> {
        let primary = ControlDetails {
            max_connections: 250,
            max_prepared_transactions: 200,
            max_locks_per_transaction: 256,
            lsn: Lsn::INVALID,
        };
        let file = |text: &str| ConfFile::parse(text.as_bytes());
        find_limits(&LIMITS, role, Some(&primary), &file(old), &file(new))
    }

    #[test]
    fn a_standby_is_not_made_smaller_than_its_primary() {
        let below = |new: &str| find_limits_of(Role::Standby, "", new).len();
        assert_eq!(below("max_connections = 200\n"), 0);
        assert_eq!(below("max_connections = 199\n"), 1);
        assert_eq!(below("max_connections = 199\nmax_inner_tool_connections = 60\n"), 0);
        // The threads of the pool may be what the primary wrote down.
        assert_eq!(below("max_connections = 199\nenable_thread_pool = on\n"), 0);
        assert_eq!(below("max_locks_per_transaction = 255\nmax_prepared_transactions = 199\n"), 2);
        assert_eq!(below("max_locks_per_transaction = 256\nmax_prepared_transactions = 999\n"), 0);
        assert!(
            matches!(&find_limits_of(Role::CascadeStandby, "", "max_connections = 1\n")[..], [Limit::Below(w)]
            if w.contains("max_connections = 1 is less than the 200"))
        );
    }

    #[test]
    fn on_a_primary_the_order_of_the_restarts_is_told() {
        let told = |old: &str, new: &str| match &find_limits_of(Role::Primary, old, new)[..] {
            [Limit::Order(words)] => words.clone(),
            other => format!("{other:?}"),
        };
        assert!(
            told("max_connections = 1\n", "max_connections = 9\n")
                .ends_with("the standbys before the primary")
        );
        assert!(
            told("max_connections = 9\n", "max_connections = 1\n")
                .ends_with("the primary before the standbys")
        );
        assert!(find_limits_of(Role::Normal, "", "max_connections = 1\n").is_empty());
    }

    #[test]
    fn commits_do_not_begin_to_wait_without_a_word() {
        let file = |text: &str| ConfFile::parse(text.as_bytes());
        let found = |old: &str, new: &str| find_waits(&file(old), &file(new), &["dn_6002".to_owned()]);
        let (on, off) = ("most_available_sync = on\n", "most_available_sync = off\n");
        let (served, not) =
            ("synchronous_standby_names = 'dn_6002'\n", "synchronous_standby_names = 'dn_6003'\n");
        let with = |names: &str, available: &str| format!("{names}{available}");
        let begin = |old: &str, new: &str| match found(old, new) {
            Some(Waits::Now(words)) => words.contains("1 of dn_6003 must confirm"),
            _ => false,
        };
        assert!(begin(served, not));
        // Names that nobody satisfied did no harm as long as it was on.
        assert!(begin(&with(not, on), &with(not, off)));
        assert!(begin(&with(not, on), not));
        let both = with("synchronous_standby_names = 'ANY 2(dn_6002,dn_6003)'\n", on);
        assert!(begin(&both, &with(not, off)));
        assert!(matches!(found(not, &with(not, off)), Some(Waits::Already(_))));
        for new in [with(served, off), with(not, on), with("synchronous_standby_names = ''\n", off)] {
            assert_eq!(found(&with(not, on), &new), None, "{new}");
        }
        // Without the line any standby will do.
        assert_eq!(found(on, ""), None);
    }
}
