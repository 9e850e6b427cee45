//! A configuration file exchanged for a new one: the running server is seen to take it, or the old one comes back.

use std::path::{Path, PathBuf};

use super::{ConfigKind, DeferredReload, ReloadOutcome, ServerNode};
use crate::base::{Call, Error, ErrorKind};
use crate::files::{self, FileLock};

/// An exchange of one file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange<'a> {
    /// The file.
    pub path: &'a Path,
    /// What was read of it; `None` when there is no file yet.
    pub old: Option<&'a [u8]>,
    /// What it shall be.
    pub new: &'a [u8],
    /// Keep the old file beside the new one.
    pub backup: bool,
    /// What is done by it, for [`Call::record_action`].
    pub actions: &'a [String],
}

impl Exchange<'_> {
    /// Writes the file, of which no server is told; returns where the old one went. The caller holds its lock.
    ///
    /// # Errors
    /// As [`files::replace_read`] and [`files::create`].
    pub(super) fn write(&self, call: &Call) -> Result<Option<PathBuf>, Error> {
        let backup = match self.old {
            Some(old) => files::replace_read(self.path, old, self.new, self.backup)?,
            None => files::create(self.path, self.new).map(|()| None)?,
        };
        self.actions.iter().for_each(|action| call.record_action(action));
        Ok(backup)
    }

    /// Writes the file and lets `tell` make the node's server take it; returns where the old file went, and what `tell`
    /// said. When that fails the old file is restored, and the server told again. Until one of the two has come to its
    /// end a mark stands that the server has yet to read the file.
    ///
    /// # Errors
    /// As [`Exchange::write`]; that of `tell`, and in the same words what then became of the file.
    pub(super) async fn exchange_and_reload<T>(
        &self,
        node: &ServerNode,
        call: &Call,
        (kind, lock): (ConfigKind, Option<FileLock>),
        tell: impl AsyncFnOnce() -> Result<T, Error>,
    ) -> Result<(Option<PathBuf>, T), Error> {
        self.deferred_reload().set()?;
        let backup = self.write(call)?;
        let lock = lock.filter(|_| kind == ConfigKind::Hba);
        let error = match tell().await {
            Ok(told) => {
                self.deferred_reload().clear();
                return Ok((backup, told));
            }
            Err(error) => error,
        };
        let mut words = match self.restore_file(call, lock).await {
            Ok(()) => {
                let again = reload_restored_file(node, call, kind, self.restored_note(), &error).await;
                self.deferred_reload().clear();
                call.clear_actions();
                // It is the file that is there.
                let left = backup.filter(|backup| std::fs::remove_file(backup).is_err());
                return Err(extend_error(&error, self.path, &(again + &backup_note(left.as_deref()))));
            }
            Err(e) if e.kind() == ErrorKind::Busy => {
                format!("the old file was not restored: {}", e.failure().detail)
            }
            Err(e) => format!(
                "the old file could not be restored, and at its next start the server reads the new one: {e}"
            ),
        };
        words += &backup_note(backup.as_deref());
        Err(extend_error(&error, self.path, &words))
    }

    /// Puts the old text back, or removes the file where there was none, unless someone else has changed the file since.
    async fn restore_file(&self, call: &Call, lock: Option<FileLock>) -> Result<(), Error> {
        let _lock = match lock {
            Some(lock) => lock,
            None => FileLock::acquire(self.path, call).await?,
        };
        match self.old {
            Some(old) => files::replace_read(self.path, self.new, old, false).map(drop),
            None => files::remove_read(self.path, self.new),
        }
    }

    /// What [`Exchange::restore_file`] has done, in words.
    fn restored_note(&self) -> &'static str {
        if self.old.is_some() { "the old file is back in place" } else { "the new file is removed again" }
    }

    fn deferred_reload(&self) -> DeferredReload {
        DeferredReload::new(self.path)
    }
}

/// Tells the server of the old file, and says how that went.
async fn reload_restored_file(
    node: &ServerNode,
    call: &Call,
    kind: ConfigKind,
    restored: &str,
    first: &Error,
) -> String {
    if first.kind() == ErrorKind::Busy {
        // It did not come to the new one.
        return restored.to_owned();
    }
    let file = kind.file_name();
    match node.reload(call).await {
        Ok(outcome) if outcome.is_refused(file) => {
            let words =
                if let ReloadOutcome::Refused(words) = outcome { words.join("; ") } else { String::new() };
            format!("{restored}, which it does not take either: {words}")
        }
        Ok(_) => restored.to_owned(),
        Err(e) if e.failure().detail == first.failure().detail => {
            format!("{restored}, of which the server was not told either")
        }
        Err(e) => format!("{restored}, but the server was not told: {e}"),
    }
}

/// Where the old file is kept.
fn backup_note(backup: Option<&Path>) -> String {
    backup.map_or_else(String::new, |path| format!("; the old file is in {}", path.display()))
}

/// The error, and what became of the file.
fn extend_error(error: &Error, path: &Path, words: &str) -> Error {
    let failure = error.failure();
    let hint = failure.hint.as_deref().unwrap_or("reload: never leaves the reload to you");
    let mut told = Error::new(failure.kind, format!("{}; {words}", failure.detail))
        .with_path(failure.path.clone().unwrap_or_else(|| path.display().to_string()))
        .hint(hint);
    if let Some(reason) = failure.reason {
        told = told.reason(reason);
    }
    if let Some(code) = &failure.gauss_code {
        told = told.gauss_code(code);
    }
    if let Some(record) = &failure.command {
        told = told.with_command(record.clone());
    }
    told
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// An exchange by a server that says this, after `meanwhile` was done to the folder; the error's words, and whether
    /// the call says that something was changed.
    fn refused(kind: ConfigKind, meanwhile: impl Fn(&Path)) -> (tempfile::TempDir, String, bool) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "old").unwrap();
        let (node, mut call) = (ServerNode::new(dir.path()), Call::default());
        call.common.lock_timeout = Some(0);
        let actions = ["change it".to_owned()];
        let exchange =
            Exchange { path: &path, old: Some(b"old"), new: b"new", backup: true, actions: &actions };
        let made =
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let lock = FileLock::acquire(&path, &call).await.unwrap();
                let tell = async || -> Result<(), Error> {
                    assert_eq!(std::fs::read(&path).unwrap(), b"new");
                    assert!(DeferredReload::new(&path).is_set());
                    meanwhile(dir.path());
                    Err(Error::new(ErrorKind::CommandFailed, "not taken").hint("do better"))
                };
                exchange.exchange_and_reload(&node, &call, (kind, Some(lock)), tell).await
            });
        let error = made.unwrap_err();
        assert_eq!(
            (error.kind(), error.failure().hint.as_deref()),
            (ErrorKind::CommandFailed, Some("do better"))
        );
        (dir, error.failure().detail.clone(), !call.recorded_actions().is_empty())
    }

    fn backups(dir: &Path) -> usize {
        let names = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(".bak")).count()
    }

    #[test]
    fn what_the_server_does_not_take_is_taken_back() {
        for kind in [ConfigKind::Hba, ConfigKind::Conf] {
            let (dir, detail, changed) = refused(kind, |_| {});
            assert_eq!((detail.as_str(), changed), ("not taken; the old file is back in place", false));
            assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), b"old");
            assert!(!DeferredReload::new(&dir.path().join("f")).is_set() && backups(dir.path()) == 0);
        }
    }

    #[test]
    fn what_cannot_be_taken_back_is_told_beside_the_refusal() {
        // As on a full disk the temporary file cannot be made.
        let full = |dir: &Path| std::fs::create_dir(dir.join(".f.og_tmp")).unwrap();
        let theirs = |dir: &Path| std::fs::write(dir.join("f"), "theirs").unwrap();
        for (meanwhile, words, text) in [
            (&full as &dyn Fn(&Path), "not taken; the old file could not be restored", "new"),
            (&theirs, "not taken; the old file was not restored", "theirs"),
        ] {
            let (dir, detail, changed) = refused(ConfigKind::Conf, meanwhile);
            assert!(detail.starts_with(words) && detail.contains("; the old file is in /"), "{detail}");
            assert!(changed && backups(dir.path()) == 1);
            assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), text.as_bytes());
            // The next call tells the server again, and hears the same.
            assert!(DeferredReload::new(&dir.path().join("f")).is_set());
        }
    }
}
