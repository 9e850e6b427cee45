//! Whether a node is at rest: neither built nor changing its role, so that its files may be edited.

use std::time::{Duration, Instant};

use super::{DbState, ServerNode};
use crate::base::{Call, Error, ErrorKind, Reason};

/// The poll interval while a server changes its role.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The poll interval while a build runs, for minutes or hours.
const BUILD_POLL_INTERVAL: Duration = Duration::from_millis(200);

impl ServerNode {
    /// Waits until no build of the node runs, when the call says `if_building: wait`; the call's `timeout` limits it.
    pub async fn await_build(&self, call: &Call) {
        while call.waits_for_build()
            && let Some(build) = self.build().filter(|build| build.running)
        {
            call.record_seen(format!("a build of the node runs (process {})", build.pid.unwrap_or_default()));
            tokio::time::sleep(BUILD_POLL_INTERVAL).await;
        }
    }

    /// Waits until the node is neither built nor changing its role, before its files are edited: a build replaces some of
    /// them, and a server that changes its role reads and writes others. Waits up to `lock_timeout` for the end of a
    /// switchover; with `force` not at all. A build may take hours, and is waited for only with `if_building: wait`; nothing
    /// overrides it.
    ///
    /// # Errors
    /// `busy`, naming what goes on.
    pub async fn wait_until_at_rest(&self, call: &Call, force: bool) -> Result<(), Error> {
        self.await_build(call).await;
        if let Some(build) = self.build().filter(|build| build.running) {
            let pid = build.pid.unwrap_or_default();
            return Err(Error::new(
                ErrorKind::Busy,
                format!("the node is being built (process {pid}), which replaces its files"),
            )
            .reason(Reason::Building)
            .with_path(self.data_dir.join("gs_build.pid").display())
            .hint("wait for the build (if_building: wait); og_build with state: query follows it"));
        }
        let begun = Instant::now();
        while let Some(state) = self.changing_state().filter(|_| !force) {
            call.record_seen(format!("the server changes its role ({state})"));
            if begun.elapsed() >= call.lock_timeout() {
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!(
                        "the server changes its role ({state}) and may lose what is written meanwhile; waited {} s",
                        begun.elapsed().as_secs()
                    ),
                )
                .with_path(self.data_dir.join("gaussdb.state").display())
                .hint("wait for the end of the switchover, or raise lock_timeout; force: true does it at once"));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// The state of a server that is about to be primary, or to be it no longer.
    fn changing_state(&self) -> Option<DbState> {
        self.running_pid()?;
        let state = self.state_file()?.db_state;
        matches!(state, DbState::WaitPromoting | DbState::Promoting | DbState::Demoting).then_some(state)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};

    use super::*;

    /// A process that dies with the test.
    struct Process(Child);

    impl Drop for Process {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    fn sleeper(name: &str, dir: &std::path::Path) -> Process {
        Process(Command::new("sleep").arg0(name).arg("100").current_dir(dir).spawn().unwrap())
    }

    fn at_rest(node: &ServerNode, force: bool) -> Result<(), Error> {
        let mut call = Call::default();
        call.common.lock_timeout = Some(0);
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(node.wait_until_at_rest(&call, force))
    }

    #[test]
    fn a_node_that_is_built_is_not_at_rest() {
        let dir = tempfile::tempdir().unwrap();
        let node = ServerNode::new(dir.path());
        let build = sleeper("gs_ctl", dir.path());
        std::fs::write(dir.path().join("gs_build.pid"), build.0.id().to_string()).unwrap();
        // The name is the process's own only after its exec.
        while node.build().is_none() {
            std::thread::yield_now();
        }
        for force in [false, true] {
            let error = at_rest(&node, force).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Busy);
            assert!(error.to_string().contains(&format!("process {}", build.0.id())), "{error}");
        }
        // What a build that died left behind keeps nobody.
        drop(build);
        at_rest(&node, false).unwrap();
    }

    #[test]
    fn a_build_is_waited_for_when_the_call_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let node = ServerNode::new(dir.path());
        let build = sleeper("gs_ctl", dir.path());
        std::fs::write(dir.path().join("gs_build.pid"), build.0.id().to_string()).unwrap();
        while node.build().is_none() {
            std::thread::yield_now();
        }
        let mut call = Call::default();
        call.common.if_building = Some(crate::base::IfBuilding::Wait);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut rest = std::pin::pin!(node.wait_until_at_rest(&call, false));
            // It waits as long as the build runs, and no longer.
            let end_build = async {
                tokio::task::yield_now().await;
                drop(build);
            };
            let (rest, ()) = tokio::join!(&mut rest, end_build);
            rest.unwrap();
        });
        assert!(call.last_seen().starts_with("a build of the node runs (process "), "{}", call.last_seen());
        // Check mode waits for nothing.
        call.check = true;
        assert!(!call.waits_for_build());
    }

    #[test]
    fn a_server_that_changes_its_role_is_not_at_rest() {
        let dir = tempfile::tempdir().unwrap();
        let node = ServerNode::new(dir.path());
        let state = |number: i32| {
            let mut bytes = [0; super::super::state_file::FILE_BYTES];
            bytes[8..12].copy_from_slice(&number.to_le_bytes());
            std::fs::write(dir.path().join("gaussdb.state"), bytes).unwrap();
        };
        let server = sleeper("gaussdb", dir.path());
        let text = format!("{}\n{}\n1\n5432\n/tmp\n\n1 1\n", server.0.id(), dir.path().display());
        std::fs::write(dir.path().join("postmaster.pid"), text).unwrap();
        while node.running_pid().is_none() {
            std::thread::yield_now();
        }
        for number in [4, 5, 6] {
            state(number);
            assert_eq!(at_rest(&node, false).unwrap_err().kind(), ErrorKind::Busy, "{number}");
            at_rest(&node, true).unwrap();
        }
        for number in [1, 2, 3, 8] {
            state(number);
            at_rest(&node, false).unwrap();
        }
        // Of a server that is gone the file tells nothing.
        state(5);
        drop(server);
        at_rest(&node, false).unwrap();
    }
}
