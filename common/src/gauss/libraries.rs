//! The libraries that the server program needs.

use std::time::Duration;

use super::env::Environment;
use super::process::time_left;
use super::version::SERVER_PROGRAM;
use crate::base::Call;

/// How long ldd may take.
const LDD_TIMEOUT: Duration = Duration::from_secs(20);

impl Environment {
    /// The libraries that the server program needs and the loader does not find; `None` where ldd cannot be run or what it prints
    /// is not understood. Starts a program.
    pub async fn missing_libraries(&self, call: &Call) -> Option<Vec<String>> {
        let server = self.find(SERVER_PROGRAM).ok()?;
        let program =
            self.system_program("ldd").ok()?.arg(&server).with_limit(Some(time_left(call, LDD_TIMEOUT)));
        let outcome = program.run().await.ok().filter(|outcome| !outcome.timed_out && outcome.rc == 0)?;
        parse_ldd(&outcome.stdout)
    }
}

/// The libraries that ldd did not find; `None` where a line is none of ldd's, or there is none.
fn parse_ldd(text: &str) -> Option<Vec<String>> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).peekable();
    lines.peek()?;
    let mut missing = Vec::new();
    for line in lines {
        if let Some(name) = line.strip_suffix("=> not found") {
            missing.push(name.trim().to_owned());
        // `libc.so.6 => /lib/libc.so.6 (0x…)`, `linux-vdso.so.1 (0x…)`, `statically linked`.
        } else if !(line == "statically linked" || line.contains(" (0x") && line.ends_with(')')) {
            return None;
        }
    }
    Some(missing)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_systems_ldd_is_run_and_none_that_is_among_the_program_files() {
        let home = tempfile::tempdir().unwrap();
        let bin = home.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        std::fs::copy("/bin/cat", bin.join(SERVER_PROGRAM)).unwrap();
        let own = bin.join("ldd");
        std::fs::write(&own, "#!/bin/sh\necho 'libown.so => not found'\n").unwrap();
        std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o755)).unwrap();
        let env = Environment::with_home(home.path());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert_eq!(runtime.block_on(env.missing_libraries(&Call::default())), Some(Vec::new()));
    }

    #[test]
    fn what_ldd_prints_is_read_and_other_text_is_not_taken_for_it() {
        let found = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/libc.so.6 (0x00007f)\n";
        let lacking = format!("{found}\tlibaio.so.1 => not found\n");
        assert_eq!(parse_ldd(found), Some(Vec::new()));
        assert_eq!(parse_ldd("\tstatically linked\n"), Some(Vec::new()));
        assert_eq!(parse_ldd(&lacking), Some(vec!["libaio.so.1".to_owned()]));
        let mixed = format!("{found}exited with unknown exit code (139)\n");
        for text in ["", "\n", "not a dynamic executable", &mixed] {
            assert_eq!(parse_ldd(text), None, "{text}");
        }
    }
}
