//! The postgresql.conf of a node: read, written whole under gs_guc's lock, and taken by the running server.

use std::path::{Path, PathBuf};

use super::{Exchange, Node, OwedReload, Reader, Reload};
use crate::base::{Call, Error, ErrorKind, secret};
use crate::conf::ConfFile;
use crate::files::{self, FileLock, NodeLock};

/// The postgresql.conf of a node.
#[derive(Debug)]
pub struct NodeConf {
    path: PathBuf,
    text: Vec<u8>,
    file: ConfFile,
    lock: Option<FileLock>,
    /// Keeps other programs of this suite from taking the file's lock while the server needs it to reload.
    node_lock: Option<NodeLock>,
}

/// What came of [`NodeConf::save`].
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
    /// Things to look at although it worked.
    pub warnings: Vec<String>,
}

/// How a file is to be saved.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The text wanted.
    pub text: &'a [u8],
    /// The parameters that change.
    pub names: &'a [String],
    /// What is done by it, for [`Call::did`].
    pub actions: &'a [String],
    /// Keep the old file.
    pub backup: bool,
    /// Tell a running server.
    pub reload: bool,
}

impl NodeConf {
    /// Reads the node's file, without a lock.
    ///
    /// # Errors
    /// As [`files::read`]; `corrupt` with line and column when the server could not understand the file.
    pub fn read(node: &Node) -> Result<Self, Error> {
        let path = node.data_dir.join("postgresql.conf");
        let text = files::read(&path)?;
        let file = ConfFile::parse(&text);
        secret::keep_named(&String::from_utf8_lossy(&text));
        file.settings().for_each(|setting| setting.keep_secrets());
        let file = file.sound(&path)?;
        Ok(Self { path, text, file, lock: None, node_lock: None })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// What it says.
    #[must_use]
    pub fn file(&self) -> &ConfFile {
        &self.file
    }

    /// Takes the lock that gs_guc and the server take, until the file is saved or this value dropped, and, if a running
    /// server is to `reload`, the node's. Then reads the file again: whoever planned before plans anew.
    ///
    /// # Errors
    /// As [`NodeLock::of`], [`FileLock::of`] and [`NodeConf::read`].
    pub async fn lock(self, node: &Node, call: &Call, reload: bool) -> Result<Self, Error> {
        let node_lock = match node.running() {
            Some(_) if reload => Some(NodeLock::of(&node.data_dir, call).await?),
            _ => None,
        };
        let lock = FileLock::of(&self.path, call).await?;
        Ok(Self { lock: Some(lock), node_lock, ..Self::read(node)? })
    }

    /// Whether a call that was cut short wrote the file and left its reload undone.
    #[must_use]
    pub fn owes_reload(&self) -> bool {
        self.owed().is_set()
    }

    /// Writes the file as `wish` has it and, if so wished and a server runs, makes the server take it. When it does not,
    /// the old file is put back, and the server told again.
    ///
    /// # Errors
    /// `permission` or `io`; `busy` when somebody changed the file since it was read; `command_failed` with the server's
    /// words when it refused the file or one of the values.
    pub async fn save(mut self, node: &Node, call: &Call, wish: Wish<'_>) -> Result<Saved, Error> {
        let Wish { text, names, actions, backup, reload } = wish;
        let exchange = Exchange { path: &self.path, old: Some(&self.text), new: text, backup, actions };
        if !reload || node.running().is_none() {
            return Ok(Saved { backup_file: exchange.write(call)?, ..Saved::default() });
        }
        let lock = self.lock.take();
        let tell = async || self.told(node, call, names).await;
        let (backup_file, saved) = exchange.make(node, call, (Reader::Conf, lock), tell).await?;
        Ok(Saved { backup_file, ..saved })
    }

    /// Makes the server take the file as it is: what a call that was cut short left undone.
    ///
    /// # Errors
    /// `command_failed` with the server's words when it refused the file.
    pub async fn reload(mut self, node: &Node, call: &Call) -> Result<Saved, Error> {
        self.lock = None;
        if self.node_lock.is_none() {
            self.node_lock = Some(NodeLock::of(&node.data_dir, call).await?);
        }
        let saved = self.told(node, call, &[]).await?;
        self.owed().settle();
        Ok(saved)
    }

    /// Tells the server, and finds out whether it took the file and the values of `names`.
    async fn told(&self, node: &Node, call: &Call, names: &[String]) -> Result<Saved, Error> {
        let (outcome, words) = node.reload_with_words(call).await?;
        let bad: Vec<String> = words.iter().filter(|word| disliked(word, names)).cloned().collect();
        if outcome.refused("postgresql.conf") || !bad.is_empty() {
            return Err(refused(&self.path, if bad.is_empty() { &words } else { &bad }));
        }
        let mut saved = Saved::default();
        match outcome {
            Reload::NotRunning => {}
            Reload::Taken => {
                saved.reloaded = true;
                saved.actions.push("reload the server".into());
            }
            Reload::Refused(words) if words.iter().any(|word| word.contains("lock failed")) => {
                return Err(
                    refused(&self.path, &words).hint("another program holds the file's lock: call again")
                );
            }
            Reload::Refused(words) => {
                saved.reloaded = true;
                saved.actions.push("reload the server".into());
                saved.warnings.push(format!(
                    "the server took postgresql.conf, but not another file: {}",
                    words.join("; ")
                ));
            }
            Reload::Unseen(why) => {
                saved.actions.push("reload the server".into());
                saved.warnings.push(format!(
                    "the server was told to reload, but whether it took the file was not seen: {why}"
                ));
            }
        }
        saved.restart =
            names.iter().filter(|name| words.iter().any(|word| waits(word, name))).cloned().collect();
        saved.warnings.extend(words.into_iter().filter(|word| word.contains("could not bind")));
        Ok(saved)
    }

    fn owed(&self) -> OwedReload {
        OwedReload::of(&self.path)
    }
}

fn refused(path: &Path, words: &[String]) -> Error {
    let detail = format!("the server did not take {}: {}", path.display(), words.join("; "));
    Error::new(ErrorKind::CommandFailed, detail).at(path.display()).hint("correct the value, then call again")
}

/// Whether this line of the server's log says that it did not like the value of one of these.
fn disliked(word: &str, names: &[String]) -> bool {
    const BAD: [&str; 4] =
        ["invalid value for", "outside the valid range for", "requires a", "permission denied to set"];
    // A value may have such words in it.
    let told = word.split("\" changed to ").next().unwrap_or(word);
    BAD.iter().any(|bad| told.contains(bad)) && names.iter().any(|name| about(told, name))
}

/// Whether this line of the server's log says that the parameter waits for a restart.
fn waits(word: &str, name: &str) -> bool {
    word.contains("cannot be changed without restarting") && about(word, name)
}

fn about(word: &str, name: &str) -> bool {
    word.to_ascii_lowercase().contains(&format!("parameter \"{}\"", name.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_words_on_a_value() {
        let names = ["work_mem".to_owned()];
        assert!(disliked("LOG:  invalid value for parameter \"work_mem\": \"7mb\"", &names));
        assert!(disliked(
            "LOG:  1 is outside the valid range for parameter \"work_mem\" (64 .. 2147483647)",
            &names
        ));
        assert!(disliked("LOG:  parameter \"work_mem\" requires a numeric value", &names));
        assert!(!disliked("LOG:  parameter \"WORK_MEM\" changed to \"invalid value for\"", &names));
        let removed = "LOG:  parameter \"work_mem\" removed from configuration file, reset to default";
        assert!(!disliked(removed, &names));
        assert!(!disliked("LOG:  invalid value for parameter \"port\": \"x\"", &names));
        let word = "LOG:  parameter \"port\" cannot be changed without restarting the server";
        assert!(waits(word, "port") && !waits(word, "por") && !disliked(word, &["port".to_owned()]));
    }
}
