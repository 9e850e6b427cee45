//! The mark beside a configuration file that a running server has yet to read it.
//!
//! It outlives a call that is killed between writing the file and making the server read it, so that the same call
//! again, which finds nothing to write, still does the reload.

use std::path::{Path, PathBuf};

use crate::base::Error;
use crate::files;

/// The mark of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeferredReload(PathBuf);

impl DeferredReload {
    /// The mark that belongs to `file`, set or not.
    #[must_use]
    pub fn new(file: &Path) -> Self {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Self(file.with_file_name(format!(".{name}.og_reload")))
    }

    /// Whether it is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.exists()
    }

    /// Sets it.
    ///
    /// # Errors
    /// `permission` or `io`.
    pub fn set(&self) -> Result<(), Error> {
        files::create_mark(&self.0)
    }

    /// Takes it away. One that stays costs a reload too many next time, and nothing else.
    pub fn clear(&self) {
        drop(std::fs::remove_file(&self.0));
    }
}
