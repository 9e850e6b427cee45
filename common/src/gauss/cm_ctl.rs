//! Commands of `cm_ctl`, which take the place of gs_ctl where openGauss CM manages a server.
//!
//! Source: recordings of CM 5.0.3 and 6.0.2. `cm_ctl stop -n -D` writes `instance_manual_start_ID` on the node and
//! waits for its cm_agent, `start` removes it: both need an agent and no cm_server. `switchover` and `build` are orders to
//! the primary cm_server. As with gs_ctl a caller looks at the server afterwards.

use std::path::Path;
use std::time::Duration;

use super::cm_query::CmView;
use super::managed::CmTarget;
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
    /// Build it; in full even when it streams.
    Build {
        /// Whether everything is copied.
        full: bool,
    },
}

impl CmAct {
    /// The command's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop(_) => "stop",
            Self::Switchover => "switchover",
            Self::Build { .. } => "build",
        }
    }

    /// The words after `cm_ctl`. `limit`: how long it may wait; a build that is not limited has cm_ctl's own two hours.
    #[must_use]
    pub fn arguments(self, node_id: u32, data_dir: &Path, limit: Option<Duration>) -> Vec<String> {
        let node = node_id.to_string();
        let dir = data_dir.display().to_string();
        let mut words = vec![self.name().to_owned(), "-n".to_owned(), node, "-D".to_owned(), dir];
        let own: &[&str] = match self {
            Self::Stop(StopMode::Immediate) => &["-m", "i"],
            Self::Build { full: true } => &["-b", "full", "-f"],
            Self::Start | Self::Stop(StopMode::Fast) | Self::Switchover | Self::Build { full: false } => &[],
        };
        words.extend(own.iter().map(|word| (*word).to_owned()));
        if let Some(limit) = limit {
            words.extend(["-t".to_owned(), limit.as_secs().max(1).to_string()]);
        }
        words
    }

    /// Whether only a cm_server can do it.
    #[must_use]
    pub fn needs_cm_server(self) -> bool {
        matches!(self, Self::Switchover | Self::Build { .. })
    }
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

impl ServerNode {
    async fn cm_program(
        &self,
        call: &Call,
        act: CmAct,
        target: &CmTarget,
        limit: Option<Duration>,
    ) -> Result<Program, Error> {
        // The static config's own spelling of the data directory: cm_ctl compares words.
        let words = act.arguments(target.node_id, &target.data_dir, limit);
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
        let program = self.cm_program(call, act, target, Some(limit)).await?;
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
        self.cm_program(call, CmAct::Build { full }, target, limit).await?.spawn_to(log)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::gauss::cm_query::CmServer;

    #[test]
    fn the_commands_are_those_of_the_recordings() {
        let line = |act: CmAct, limit| act.arguments(3, Path::new("/g/data/dn"), limit).join(" ");
        assert_eq!(line(CmAct::Stop(StopMode::Fast), None), "stop -n 3 -D /g/data/dn");
        assert_eq!(line(CmAct::Stop(StopMode::Immediate), None), "stop -n 3 -D /g/data/dn -m i");
        let limit = Some(Duration::from_secs(40));
        assert_eq!(line(CmAct::Start, limit), "start -n 3 -D /g/data/dn -t 40");
        assert_eq!(line(CmAct::Switchover, Some(Duration::ZERO)), "switchover -n 3 -D /g/data/dn -t 1");
        assert_eq!(line(CmAct::Build { full: false }, None), "build -n 3 -D /g/data/dn");
        assert_eq!(line(CmAct::Build { full: true }, None), "build -n 3 -D /g/data/dn -b full -f");
    }

    #[test]
    fn without_a_primary_cm_server_nobody_can_be_told() {
        let view = |states: &[&str]| CmView {
            servers: states
                .iter()
                .map(|state| CmServer { state: (*state).to_owned(), ..CmServer::default() })
                .collect(),
            ..CmView::default()
        };
        assert_eq!(missing_cm_server(&view(&["Standby", "Primary", "Down"])), None);
        let (detail, hint) = missing_cm_server(&view(&["Standby", "Down", "Down"])).unwrap();
        assert!(detail.contains("no majority of its servers (1 of 3 are up)"), "{detail}");
        assert!(hint.contains("om_monitor") && !hint.contains("cm_ctl pause"), "{hint}");
        let (detail, _) = missing_cm_server(&view(&["Standby", "Standby", "Down"])).unwrap();
        assert!(detail.contains("none of CM's servers is their primary"), "{detail}");
    }
}
