//! Commands of `cm_ctl`, which take the place of gs_ctl where openGauss CM manages a server.
//!
//! Source: recordings of CM 5.0.3 and 6.0.2. `cm_ctl stop -n -D` writes `instance_manual_start_ID` on the node and
//! waits for its cm_agent, `start` removes it: both need an agent and no cm_server. `switchover` and `build` are orders to
//! the primary cm_server. As with gs_ctl a caller looks at the server afterwards.

use std::time::Duration;

use super::cm_query::CmView;
use super::managed::{CmTarget, refuse_for_cm};
use super::process::{Outcome, Program, Running};
use super::{ServerNode, StopMode};
use crate::base::{Call, Error};

/// A command of `cm_ctl` for one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CmAct {
    /// Start it, and watch it again.
    Start,
    /// Stop it, and keep it stopped.
    Stop(StopMode),
    /// Make it primary in place of the living one.
    Switchover,
}

impl CmAct {
    /// The command's name, and its own options.
    fn words(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Start => ("start", &[]),
            Self::Stop(StopMode::Fast) => ("stop", &[]),
            Self::Stop(StopMode::Immediate) => ("stop", &["-m", "i"]),
            Self::Switchover => ("switchover", &[]),
        }
    }
}

/// The command that builds a server, and its own options; in full even one that streams.
fn build_words(full: bool) -> (&'static str, &'static [&'static str]) {
    ("build", if full { &["-b", "full", "-f"] } else { &[] })
}

/// The words after `cm_ctl`. `limit`: how long it may wait; a build that is not limited has cm_ctl's own two hours.
fn arguments((name, own): (&str, &[&str]), target: &CmTarget, limit: Option<Duration>) -> Vec<String> {
    // The static config's own spelling of the data directory: cm_ctl compares words.
    let dir = target.data_dir.display().to_string();
    let mut words = vec![name.to_owned(), "-n".to_owned(), target.node_id.to_string(), "-D".to_owned(), dir];
    words.extend(own.iter().map(|word| (*word).to_owned()));
    if let Some(limit) = limit {
        words.extend(["-t".to_owned(), limit.as_secs().max(1).to_string()]);
    }
    words
}

/// Why no cm_server can be told to act, and what to do about it; `None` when one can.
#[must_use]
pub fn missing_cm_server(view: &CmView) -> Option<(String, String)> {
    if view.primary_server().is_some() {
        return None;
    }
    let up = view.servers.iter().filter(|server| server.state != "Down").count();
    let all = view.servers.len();
    let detail = if view.has_majority() {
        format!("none of CM's servers is their primary just now ({up} of {all} are up)")
    } else {
        format!(
            "CM has no majority of its servers ({up} of {all} are up), so no server gets a role and none is built"
        )
    };
    // cm_ctl pause does not work on nodes that it cannot reach, and a CM paused in part may make another primary.
    let hint =
        "start CM's programs on the other nodes again (om_monitor starts them), and call again".to_owned();
    Some((detail, hint))
}

/// Refuses what only a cm_server can do where none can be told.
///
/// # Errors
/// `refused` with the reason `managed_by_cm`.
pub fn require_cm_server(view: &CmView) -> Result<(), Error> {
    let missing = missing_cm_server(view);
    missing.map_or(Ok(()), |(detail, hint)| Err(refuse_for_cm(detail).hint(hint)))
}

/// Why a server that CM has started has no role yet, and what to do about it. `view`: what CM says, where it could be asked.
#[must_use]
pub fn missing_role(view: Option<&CmView>) -> (String, String) {
    if view.is_some_and(|view| view.paused) {
        let detail = "CM is paused, and gives no role before it is resumed";
        return (detail.to_owned(), "resume CM (cm_ctl resume), which gives the server its role".to_owned());
    }
    view.and_then(missing_cm_server).unwrap_or_else(|| {
        ("no cm_server has given it a role".to_owned(), "read the log of cm_server".to_owned())
    })
}

impl ServerNode {
    async fn cm_program(&self, call: &Call, words: Vec<String>) -> Result<Program, Error> {
        Ok(self.env(call).await?.program("cm_ctl")?.args(words))
    }

    /// Has CM start, stop or promote the server, waiting up to `limit`.
    ///
    /// # Errors
    /// `not_found` when there is no cm_ctl.
    pub async fn cm_act(
        &self,
        call: &Call,
        act: CmAct,
        target: &CmTarget,
        limit: Duration,
    ) -> Result<Outcome, Error> {
        let program = self.cm_program(call, arguments(act.words(), target, Some(limit))).await?;
        program.with_limit(Some(limit + Duration::from_secs(5))).run().await
    }

    /// Has CM build the server; cm_ctl's words go to `log`. Its end ends no build: cm_agent does that.
    ///
    /// # Errors
    /// `not_found` when there is no cm_ctl.
    pub async fn cm_build(
        &self,
        call: &Call,
        full: bool,
        target: &CmTarget,
        log: &std::fs::File,
    ) -> Result<Running, Error> {
        let limit = call.deadline.map(|end| end.saturating_duration_since(std::time::Instant::now()));
        self.cm_program(call, arguments(build_words(full), target, limit)).await?.spawn_to(log)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::base::Reason;
    use crate::gauss::cm_query::CmServerView;

    #[test]
    fn the_commands_are_those_of_the_recordings() {
        let target = CmTarget { node_id: 3, instance_id: 6003, data_dir: "/g/data/dn".into() };
        let line = |words, limit| arguments(words, &target, limit).join(" ");
        assert_eq!(line(CmAct::Stop(StopMode::Fast).words(), None), "stop -n 3 -D /g/data/dn");
        assert_eq!(line(CmAct::Stop(StopMode::Immediate).words(), None), "stop -n 3 -D /g/data/dn -m i");
        let limit = Some(Duration::from_secs(40));
        assert_eq!(line(CmAct::Start.words(), limit), "start -n 3 -D /g/data/dn -t 40");
        let none_left = Some(Duration::ZERO);
        assert_eq!(line(CmAct::Switchover.words(), none_left), "switchover -n 3 -D /g/data/dn -t 1");
        assert_eq!(line(build_words(false), None), "build -n 3 -D /g/data/dn");
        assert_eq!(line(build_words(true), None), "build -n 3 -D /g/data/dn -b full -f");
    }

    #[test]
    fn without_a_primary_cm_server_nobody_can_be_told() {
        let view = |states: &[&str]| CmView {
            servers: states
                .iter()
                .map(|state| CmServerView { state: (*state).to_owned(), ..CmServerView::default() })
                .collect(),
            ..CmView::default()
        };
        assert_eq!(missing_cm_server(&view(&["Standby", "Primary", "Down"])), None);
        let (detail, hint) = missing_cm_server(&view(&["Standby", "Down", "Down"])).unwrap();
        assert!(detail.contains("no majority of its servers (1 of 3 are up)"), "{detail}");
        assert!(hint.contains("om_monitor") && !hint.contains("cm_ctl pause"), "{hint}");
        let (detail, _) = missing_cm_server(&view(&["Standby", "Standby", "Down"])).unwrap();
        assert!(detail.contains("none of CM's servers is their primary"), "{detail}");
        let error = require_cm_server(&view(&["Standby", "Down", "Down"])).unwrap_err();
        assert_eq!(error.failure().reason, Some(Reason::ManagedByCm));
    }

    #[test]
    fn a_server_without_a_role_is_told_why() {
        let told = |text: &str| missing_role(CmView::parse(text).as_ref());
        let recorded = |name: &str| {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/cm/query");
            std::fs::read_to_string(format!("{folder}/{name}.txt")).unwrap()
        };
        // A server that was killed in a pause was started once, as pending.
        let (detail, hint) = told(&recorded("5.0.3-g_pause-kill9_primary_paused-0"));
        assert!(detail.contains("CM is paused") && hint.contains("cm_ctl resume"), "{detail}; {hint}");
        let (detail, _) = told(&recorded("5.0.3-i_quorum-query_minority"));
        assert!(detail.contains("no majority"), "{detail}");
        let (detail, hint) = told(&recorded("6.0.2-b_first-query_after_start"));
        assert!(
            detail.contains("no cm_server has given it a role") && hint.contains("cm_server"),
            "{detail}"
        );
    }
}
