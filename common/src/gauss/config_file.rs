//! A node's configuration file and the transaction that edits it: read, plan, lock, read again and plan again if the file
//! changed, write, reload, verify; if the server refuses the new file, restore the old one.

use std::cell::Cell;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use super::exchange::Exchange;
use super::{DeferredReload, ReloadOutcome, ServerNode};
use crate::base::{Call, Error, ErrorKind, secret};
use crate::conf::ConfFile;
use crate::files::{self, FileLock, NodeLock};
use crate::hba::HbaFile;

/// Which file it is, and so how the server comes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigKind {
    /// pg_hba.conf, which the server reads without a lock.
    Hba,
    /// postgresql.conf: the server takes the file's lock itself, and forgets the reload when it cannot.
    Conf,
}

impl ConfigKind {
    /// The file's name in the data directory.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Hba => "pg_hba.conf",
            Self::Conf => "postgresql.conf",
        }
    }
}

/// What keeps the node at rest while its file is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The transaction: it refuses a node that is being built or changes its role; with `force` only the former.
    AtRest {
        /// Whether a change of the role is no obstacle.
        force: bool,
    },
    /// The caller, who holds the node's lock and acts on the node.
    HeldByCaller,
}

/// How a file is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EditPolicy {
    /// Whether a running server is made to read the new file.
    pub reload: bool,
    /// What keeps the node at rest meanwhile.
    pub guard: Guard,
}

/// A configuration file, and the node whose server reads it.
#[derive(Debug)]
pub struct ConfigFile<'n> {
    path: PathBuf,
    kind: ConfigKind,
    node: Option<&'n ServerNode>,
    policy: EditPolicy,
    /// Of the text whose secrets are known.
    registered: Cell<Option<u64>>,
}

/// What is to become of a file, made from its text.
pub trait ConfigPlan {
    /// The text that the plan was made from; `None` when there is no file.
    fn text(&self) -> Option<&[u8]>;

    /// Whether the file stays as it is.
    fn is_empty(&self) -> bool;
}

/// The locks of a change, taken in this order.
#[derive(Debug)]
struct Locks {
    /// Keeps other programs of this suite from taking the file's lock while the server needs it to reload.
    node: Option<NodeLock>,
    /// The lock that gs_guc and the server take.
    file: FileLock,
}

/// A change under way; its locks, if any, are held until it ends.
#[derive(Debug)]
pub struct Transaction<'f> {
    file: &'f ConfigFile<'f>,
    locks: Option<Locks>,
}

/// The new file, and what is done by it.
#[derive(Clone, Copy, Debug)]
pub struct NewFile<'a> {
    /// The text before; `None` when there is no file.
    pub old: Option<&'a [u8]>,
    /// The text wanted.
    pub new: &'a [u8],
    /// The parameters that change, of postgresql.conf.
    pub names: &'a [String],
    /// What is done by it, for [`Call::record_action`].
    pub actions: &'a [String],
    /// Whether to keep the old file.
    pub backup: bool,
}

/// What came of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Where the old file went.
    pub backup_file: Option<PathBuf>,
    /// The server was seen to take the new file.
    pub reloaded: bool,
    /// Parameters which the server said it will take only when it restarts.
    pub restart: Vec<String>,
    /// What was done besides writing.
    pub actions: Vec<String>,
    /// What to look at although the call succeeded.
    pub warnings: Vec<String>,
}

impl<'n> ConfigFile<'n> {
    /// The pg_hba.conf at `path`, which the server of `node` reads, if any does.
    #[must_use]
    pub fn new_hba(path: PathBuf, node: Option<&'n ServerNode>, policy: EditPolicy) -> Self {
        Self { path, kind: ConfigKind::Hba, node, policy, registered: Cell::new(None) }
    }

    /// The node's postgresql.conf.
    #[must_use]
    pub fn new_conf(node: &'n ServerNode, policy: EditPolicy) -> Self {
        let path = node.data_dir.join(ConfigKind::Conf.file_name());
        Self { path, kind: ConfigKind::Conf, node: Some(node), policy, registered: Cell::new(None) }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The node whose running server is made to read the new file.
    #[must_use]
    pub fn server(&self) -> Option<&'n ServerNode> {
        self.node.filter(|node| self.policy.reload && node.running_pid().is_some())
    }

    /// Reads the file, without a lock. The secrets in a pg_hba.conf are known from then on, those in a postgresql.conf as soon as it
    /// is [parsed](ConfigFile::parse).
    ///
    /// # Errors
    /// As [`files::read`].
    pub fn read(&self) -> Result<Vec<u8>, Error> {
        let text = files::read(&self.path)?;
        if self.kind == ConfigKind::Conf {
            return Ok(text);
        }
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        // Under the lock it is read again, and is nearly always the same.
        if self.registered.replace(Some(hasher.finish())) != Some(hasher.finish()) {
            // That a text is valid is learnt faster than what of it is.
            match std::str::from_utf8(&text) {
                Ok(text) => secret::register_named(text),
                Err(_) => secret::register_named(&String::from_utf8_lossy(&text)),
            }
        }
        Ok(text)
    }

    /// What a postgresql.conf of this text says; the secrets in it are known from then on.
    ///
    /// # Errors
    /// `corrupt` with line and column when the server could not understand it.
    pub fn parse(&self, text: &[u8]) -> Result<ConfFile, Error> {
        let file = ConfFile::parse(text);
        file.register_secrets();
        file.require_valid(&self.path)
    }

    /// Reads the file and plans, and, if there is something to do, takes the locks, reads the file again, and plans anew
    /// where somebody changed it meanwhile. In check mode no lock is taken.
    ///
    /// # Errors
    /// Those of `read` and `plan`; `busy` when the node is being built or changes its role, or a lock is held.
    pub async fn begin<P: ConfigPlan>(
        &self,
        call: &Call,
        read: impl Fn() -> Result<Option<Vec<u8>>, Error>,
        plan: impl AsyncFn(Option<Vec<u8>>) -> Result<P, Error>,
    ) -> Result<(Transaction<'_>, P), Error> {
        let text = match read() {
            Ok(text) => text,
            Err(error) => {
                // A build takes it away for a while.
                self.wait_until_at_rest(call).await?;
                return Err(error);
            }
        };
        let mut planned = plan(text).await?;
        if !planned.is_empty() {
            self.wait_until_at_rest(call).await?;
        }
        if call.check || (planned.is_empty() && !self.has_deferred_reload()) {
            return Ok((Transaction { file: self, locks: None }, planned));
        }
        let locks = self.lock(call).await?;
        let text = read()?;
        if text.as_deref() != planned.text() {
            planned = plan(text).await?;
        }
        if !planned.is_empty() {
            self.wait_until_at_rest(call).await?;
        }
        Ok((Transaction { file: self, locks: Some(locks) }, planned))
    }

    /// Waits until the node is neither built nor changing its role.
    async fn wait_until_at_rest(&self, call: &Call) -> Result<(), Error> {
        match (self.policy.guard, self.node) {
            (Guard::AtRest { force }, Some(node)) => node.wait_until_at_rest(call, force).await,
            (Guard::HeldByCaller, _) | (_, None) => Ok(()),
        }
    }

    /// Takes the node's lock, then the file's.
    async fn lock(&self, call: &Call) -> Result<Locks, Error> {
        let held = self.policy.guard == Guard::HeldByCaller;
        // A build replaces pg_hba.conf, and keeps postgresql.conf.
        let needed = self.node.filter(|_| !held && (self.kind == ConfigKind::Hba || self.server().is_some()));
        let node_lock = match needed {
            Some(node) => match NodeLock::acquire(&node.data_dir, call).await {
                Ok(lock) => Some(lock),
                Err(error) => {
                    // A build holds it, too, and may take hours.
                    self.wait_until_at_rest(call).await?;
                    return Err(error);
                }
            },
            None => None,
        };
        Ok(Locks { node: node_lock, file: FileLock::acquire(&self.path, call).await? })
    }

    /// Whether a call that was cut short wrote the file and left its reload undone, which this one may do.
    fn has_deferred_reload(&self) -> bool {
        self.server().is_some() && DeferredReload::new(&self.path).is_set()
    }

    /// Reloads the server and verifies that it accepted the file and the new values of `names`.
    async fn reload_and_verify(
        &self,
        node: &ServerNode,
        call: &Call,
        names: &[String],
    ) -> Result<Saved, Error> {
        let (outcome, words) = match self.kind {
            ConfigKind::Hba => {
                let wanted = HbaFile::from_bytes(files::read(&self.path)?);
                (node.reload_hba(call, &wanted).await?, Vec::new())
            }
            ConfigKind::Conf => node.reload_with_words(call).await?,
        };
        self.verify(outcome, words, names)
    }

    /// What a reload means for the file, by the server's words of it.
    fn verify(&self, outcome: ReloadOutcome, words: Vec<String>, names: &[String]) -> Result<Saved, Error> {
        let name = self.kind.file_name();
        let disliked: Vec<String> = words.iter().filter(|word| rejects_value(word, names)).cloned().collect();
        let locked = is_locked_out(&outcome);
        if locked || !disliked.is_empty() || outcome.is_refused(name) {
            return Err(self.refusal(&outcome, &words, &disliked, locked));
        }
        let mut saved = Saved::default();
        match outcome {
            ReloadOutcome::NotRunning => return Ok(saved),
            ReloadOutcome::Taken => saved.reloaded = true,
            // It reads one file whatever it thinks of the other.
            ReloadOutcome::Refused(words) => {
                saved.reloaded = true;
                let fault = words.join("; ");
                saved.warnings.push(format!(
                    "the server reloaded {name}, but reported errors in another file: {fault}"
                ));
            }
            ReloadOutcome::Unseen(why) => saved.warnings.push(unseen_reload_warning(&why)),
        }
        saved.actions.push(RELOAD.to_owned());
        saved.restart = names
            .iter()
            .filter(|name| words.iter().any(|word| waits_for_restart(word, name)))
            .cloned()
            .collect();
        saved.warnings.extend(words.into_iter().filter(|word| word.contains("could not bind")));
        Ok(saved)
    }

    /// The error for a file that the server did not take.
    fn refusal(&self, outcome: &ReloadOutcome, words: &[String], disliked: &[String], locked: bool) -> Error {
        let path = self.path.display();
        let words: Vec<&str> = match (self.kind, outcome) {
            (ConfigKind::Hba, ReloadOutcome::Refused(words)) => {
                // With every reload the server repeats what it thinks of postgresql.conf.
                let about = |word: &&str| !word.contains("postgresql.conf") && !word.contains("parameter \"");
                words.iter().map(String::as_str).filter(about).collect()
            }
            _ if disliked.is_empty() => words.iter().map(String::as_str).collect(),
            _ => disliked.iter().map(String::as_str).collect(),
        };
        let hint = match self.kind {
            _ if locked => "another program holds the lock of postgresql.conf: call again",
            ConfigKind::Hba => "the server keeps its old rules; correct what it names and call again",
            ConfigKind::Conf => "correct the value, then call again",
        };
        let detail = format!("the server did not take {path}: {}", words.join("; "));
        Error::new(ErrorKind::CommandFailed, detail).with_path(path).hint(hint)
    }
}

impl Transaction<'_> {
    /// Whether the server has yet to read a file that an earlier call wrote, and this call is to reload it. A transaction
    /// without locks leaves that to the one that holds them.
    #[must_use]
    pub fn has_deferred_reload(&self, call: &Call) -> bool {
        (call.check || self.locks.is_some()) && self.file.has_deferred_reload()
    }

    /// Makes the server read the file as it is, which a call that was cut short left undone.
    ///
    /// # Errors
    /// `command_failed` with the server's words when it refused the file.
    pub async fn settle_reload(self, call: &Call) -> Result<Saved, Error> {
        let Some(node) = self.file.server() else { return Ok(Saved::default()) };
        let _locks = self.locks.map(|locks| (locks.node, self.file.lock_during_reload(locks.file)));
        let saved = self.file.reload_and_verify(node, call, &[]).await?;
        DeferredReload::new(&self.file.path).clear();
        Ok(saved)
    }

    /// Writes the file and, if so wished and a server runs, makes the server take it. When it does not, the old file is
    /// restored, and the server told again.
    ///
    /// # Errors
    /// `permission` or `io`; `busy` when somebody changed the file since it was read; `command_failed` with the server's
    /// words when it refused the file or one of the values.
    pub async fn commit(self, call: &Call, file: NewFile<'_>) -> Result<Saved, Error> {
        let NewFile { old, new, names, actions, backup } = file;
        let exchange = Exchange { path: &self.file.path, old, new, backup, actions };
        let Some(node) = self.file.server() else {
            return Ok(Saved { backup_file: exchange.write(call)?, ..Saved::default() });
        };
        let (_node_lock, lock) = self.locks.map(|locks| (locks.node, locks.file)).unzip();
        let tell = async || self.file.reload_and_verify(node, call, names).await;
        let (backup_file, saved) =
            exchange.exchange_and_reload(node, call, (self.file.kind, lock), tell).await?;
        Ok(Saved { backup_file, ..saved })
    }
}

impl ConfigFile<'_> {
    /// The file's lock, as far as it may be held while the server reads the file.
    fn lock_during_reload(&self, lock: FileLock) -> Option<FileLock> {
        Some(lock).filter(|_| self.kind == ConfigKind::Hba)
    }
}

/// What making a server read its files is called among the actions.
pub const RELOAD: &str = "reload the server";

/// The warning that a reload had no effect that could be seen.
#[must_use]
pub fn unseen_reload_warning(why: &str) -> String {
    format!("the server was signalled to reload, but its log does not confirm it: {why}")
}

/// Whether the server did not come to the files at all, for somebody held the lock of postgresql.conf.
fn is_locked_out(outcome: &ReloadOutcome) -> bool {
    matches!(outcome, ReloadOutcome::Refused(words) if words.iter().any(|word| word.contains("lock failed")))
}

/// Whether this line of the server's log says that it did not like the value of one of these.
fn rejects_value(word: &str, names: &[String]) -> bool {
    const BAD: [&str; 4] =
        ["invalid value for", "outside the valid range for", "requires a", "permission denied to set"];
    // A value may have such words in it.
    let told = word.split("\" changed to ").next().unwrap_or(word);
    BAD.iter().any(|bad| told.contains(bad)) && names.iter().any(|name| is_about_parameter(told, name))
}

/// Whether this line of the server's log says that the parameter waits for a restart.
fn waits_for_restart(word: &str, name: &str) -> bool {
    word.contains("cannot be changed without restarting") && is_about_parameter(word, name)
}

fn is_about_parameter(word: &str, name: &str) -> bool {
    word.to_ascii_lowercase().contains(&format!("parameter \"{}\"", name.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const POLICY: EditPolicy = EditPolicy { reload: true, guard: Guard::HeldByCaller };

    fn hba() -> ConfigFile<'static> {
        ConfigFile::new_hba("/d/pg_hba.conf".into(), None, POLICY)
    }

    #[test]
    fn only_the_words_about_this_file_are_passed_on() {
        let words = [
            "LOG:  parameter \"port\" cannot be changed without restarting the server",
            "LOG:  configuration file \"/d/postgresql.conf\" contains errors; unaffected changes were applied",
            "LOG:  invalid authentication method \"gss\": not supported by this build",
            "CONTEXT:  line 4 of configuration file \"/d/pg_hba.conf\"",
            "WARNING:  pg_hba.conf not reloaded",
        ];
        let outcome = ReloadOutcome::Refused(words.map(str::to_owned).to_vec());
        let error = hba().verify(outcome, Vec::new(), &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CommandFailed);
        assert_eq!(
            error.failure().detail,
            format!("the server did not take /d/pg_hba.conf: {}", words[2..].join("; "))
        );
    }

    #[test]
    fn a_fault_of_another_file_is_a_warning() {
        let word = "LOG:  configuration file \"/d/postgresql.conf\" contains errors; no changes were applied";
        let saved = hba().verify(ReloadOutcome::Refused(vec![word.to_owned()]), Vec::new(), &[]).unwrap();
        assert!(saved.reloaded && saved.warnings[0].contains("another file"));
        let saved = hba().verify(ReloadOutcome::Unseen("no log".to_owned()), Vec::new(), &[]).unwrap();
        assert!(!saved.reloaded && saved.warnings[0].contains("no log") && saved.actions == [RELOAD]);
        let saved = hba().verify(ReloadOutcome::NotRunning, Vec::new(), &[]).unwrap();
        assert!(!saved.reloaded && saved.actions.is_empty());
    }

    #[test]
    fn a_reload_that_a_lock_prevented_says_so() {
        let outcome = ReloadOutcome::Refused(vec!["LOG:  lock failed".to_owned()]);
        let error = hba().verify(outcome, Vec::new(), &[]).unwrap_err();
        assert!(error.failure().hint.as_deref().unwrap().contains("call again"));
    }

    #[test]
    fn the_servers_words_on_a_value() {
        let names = ["work_mem".to_owned()];
        assert!(rejects_value("LOG:  invalid value for parameter \"work_mem\": \"7mb\"", &names));
        assert!(rejects_value(
            "LOG:  1 is outside the valid range for parameter \"work_mem\" (64 .. 2147483647)",
            &names
        ));
        assert!(rejects_value("LOG:  parameter \"work_mem\" requires a numeric value", &names));
        assert!(!rejects_value("LOG:  parameter \"WORK_MEM\" changed to \"invalid value for\"", &names));
        let removed = "LOG:  parameter \"work_mem\" removed from configuration file, reset to default";
        assert!(!rejects_value(removed, &names));
        assert!(!rejects_value("LOG:  invalid value for parameter \"port\": \"x\"", &names));
        let word = "LOG:  parameter \"port\" cannot be changed without restarting the server";
        assert!(
            waits_for_restart(word, "port")
                && !waits_for_restart(word, "por")
                && !rejects_value(word, &["port".to_owned()])
        );
    }
}
