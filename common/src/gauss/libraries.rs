//! The libraries that the server program needs.

use std::time::Duration;

use super::env::Environment;
use super::process::time_left;
use super::version::SERVER_PROGRAM;
use crate::base::Call;

/// How long ldd may take.
const LIMIT: Duration = Duration::from_secs(20);

impl Environment {
    /// The libraries that the server program needs and the loader does not find; `None` where ldd does not tell. Starts a
    /// program.
    pub async fn missing_libraries(&self, call: &Call) -> Option<Vec<String>> {
        let server = self.find(SERVER_PROGRAM).ok()?;
        let program = self.program("ldd").ok()?.arg(&server).with_limit(Some(time_left(call, LIMIT)));
        let outcome = program.run().await.ok().filter(|outcome| !outcome.timed_out && outcome.rc == 0)?;
        let missing = outcome.stdout.lines().filter_map(|line| line.trim().strip_suffix("=> not found"));
        Some(missing.map(|name| name.trim().to_owned()).collect())
    }
}
