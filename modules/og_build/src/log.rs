//! The build's own words: where they go, and what they say.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use og_common::gauss::gs_ctl::strip_prefix;
use og_common::gauss::{BuildMode, Environment};
use og_common::protocol::Error;

use crate::args::Status;

/// How much of the end is looked at.
const TAIL_BYTES: u64 = 256 * 1024;

/// The log of the last build of this data directory, in the OS user's cache: a build empties the data directory, and
/// nobody else may write where we do.
#[must_use]
pub fn path(data_dir: &Path) -> PathBuf {
    Environment::cache_file("og_build", data_dir, "log")
}

/// Creates a new log, readable by the owner alone.
///
/// # Errors
/// `permission` or `io`.
pub fn create_log(path: &Path) -> Result<File, Error> {
    if let Some(dir) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|e| Error::io("make the folder of the build's log", dir, &e))?;
    }
    // A new file, so that what an older build may still write does not come in between.
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("remove", path, &e)),
        _ => {}
    }
    File::options()
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| Error::io("make the build's log", path, &e))
}

/// The end of the log; empty when there is none.
#[must_use]
pub fn read_tail(path: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    last_states(&String::from_utf8_lossy(&read().unwrap_or_default()))
}

/// The text as a terminal shows it in the end: of a line that was overwritten in place, as release 6.0 does with its
/// progress, what it was overwritten with last.
fn last_states(text: &str) -> String {
    let shown = |line: &str| {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        let line = line.trim_end_matches('\r');
        [line.rsplit('\r').next().unwrap_or_default(), end].concat()
    };
    text.split_inclusive('\n').map(shown).collect()
}

/// What the log says of the build's end; `Status::None` when it says nothing of it.
#[must_use]
pub fn status(text: &str) -> Status {
    let said = text.lines().rev().find_map(|line| {
        if line.contains("build completed") || line.contains("build successfully") {
            Some(Status::Completed)
        } else if line.contains("build failed")
            || line.contains("skip full build")
            || line.contains("cannot be executed")
        {
            Some(Status::Failed)
        } else {
            None
        }
    });
    said.unwrap_or_default()
}

/// Which build it was that ended well.
#[must_use]
pub fn mode_used(text: &str) -> Option<BuildMode> {
    let line = text.lines().rev().find(|line| line.contains("build completed"))?;
    // An automatic build that ends as such has become a full one; an incremental end is told by gs_rewind.
    Some(if line.contains("incremental") { BuildMode::Incremental } else { BuildMode::Full })
}

/// The last words that say something, oldest first.
#[must_use]
pub fn last_words(text: &str, most: usize) -> Vec<String> {
    const IDLE: &[&str] = &[
        "[EXECUTOR]",
        "gs_build.pid",
        "Alarm Module",
        "feature control file",
        "waiting for server to start",
    ];
    let lines = text.lines().rev().map(|l| strip_prefix(l).trim()).filter(|l| l.len() > 5);
    let mut words: Vec<String> =
        lines.filter(|l| !IDLE.iter().any(|idle| l.contains(idle))).take(most).map(str::to_owned).collect();
    words.reverse();
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_overwritten_in_place_shows_its_last_state() {
        // As release 6.0.2 prints it.
        let text = "Begin Receiving files \nProgress: [      ] 0% (2/97103KB). (1/1)tablespaces. Receive files \r\
            Progress: [==    ] 69% (67466/97103KB). (1/1)tablespaces. Receive files \r\
            Progress: [======] 100% (97117/97117KB). (1/1)tablespaces. Receive files \nFinish Receiving files \n\
            [2026-11-28 09:48:41.329][1021][s1][gs_ctl]: full build build completed(/d).\n";
        let shown = last_states(text);
        assert_eq!(shown.lines().count(), 4);
        assert_eq!(status(&shown), Status::Completed);
        let words = last_words(&shown, 3);
        assert_eq!(words[0], "Progress: [======] 100% (97117/97117KB). (1/1)tablespaces. Receive files");
        // While it is under way.
        assert_eq!(last_states("a\nProgress: 1% \rProgress: 2% \r"), "a\nProgress: 2% ");
        assert_eq!(last_states("a\r\nb"), "a\nb");
    }
}
