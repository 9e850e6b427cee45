//! Makes a server read its files again, and finds out whether it took them.
//!
//! The server answers a reload with its log alone. The order of things in it can be relied on: the postmaster's one main
//! thread handles the signal to its end (pg_hba.conf is tried three times, 200 ms apart) before it accepts the next
//! connection (`SIGHUP_handler` in postmaster.cpp, and the main loop of PostgreSQL alike). So: remember where the log
//! ends, signal, see the log say that the signal is being handled, then connect and have the new session write a mark into
//! the log. All that the server had to say stands before the mark.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::server_log::ServerLog;
use super::{ReloadOutcome, ServerNode};
use crate::base::{Call, Error, ErrorKind, Reason, secret};

/// How long the server may take to begin with the signal, and the logger to write.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server that was signalled by a gs_ctl which then failed may take to say so.
const SIGNAL_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a refusal takes to be logged: three tries, 200 ms apart, and the logger.
const REFUSAL_TIMEOUT: Duration = Duration::from_millis(1500);
/// The files that a server may refuse.
const REFUSABLE: [&str; 2] = ["pg_hba.conf", "postgresql.conf"];
/// After which the signal is sent again to a server that could not have the file's lock.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// What the logger gets to write what it has, and another of its files.
const LOGGER_DELAY: Duration = Duration::from_millis(300);

impl ReloadOutcome {
    /// Whether the server refused this file, such as `pg_hba.conf`; the words may be about another one.
    #[must_use]
    pub fn is_refused(&self, file: &str) -> bool {
        matches!(self, Self::Refused(words) if words.iter().any(|w| says_refused(w, file)))
    }
}

/// Whether this line of the log says that the whole of `file` is not taken.
fn says_refused(line: &str, file: &str) -> bool {
    match file {
        "pg_hba.conf" => line.contains("hba") && line.contains("not reloaded"),
        "postgresql.conf" => line.contains("no changes were applied"),
        _ => line.contains(file) && line.contains("not reloaded"),
    }
}

/// Whether this line says it of any file.
fn says_any_refused(line: &str) -> bool {
    REFUSABLE.iter().any(|file| says_refused(line, file))
}

/// Whether it was the server that did not let us in, and not that we did not reach it.
fn was_refused(error: &Error) -> bool {
    let stderr = error.failure().command.as_ref().map_or("", |command| command.stderr.as_str());
    stderr.contains("FATAL") || stderr.contains("can not accept connection")
}

/// Whether the server says that it could not have the lock of postgresql.conf, and so forgets the reload.
fn was_locked_out(text: &str) -> bool {
    text.contains("the last sigup signal is processing")
}

/// Whether the server says that it has begun to read its files.
fn says_begun(text: &str) -> bool {
    text.contains("SIGHUP") || was_locked_out(text)
}

/// What a server says of a log that we cannot read.
const UNREADABLE: &str = "is not in plain English, as log_destination and lc_messages have it";

/// Whether the server wrote this as a line of text: with another log_destination the level stands elsewhere.
fn is_plain(line: &str) -> bool {
    line.contains("LOG:")
}

/// Whether the postmaster's words in this text are those that we know.
fn is_readable(text: &str) -> bool {
    text.lines().any(|line| is_plain(line) && line.contains("received SIGHUP"))
}

/// Whether this line is about something that did not keep the server from taking a file.
fn is_noise(line: &str) -> bool {
    ["cannot be changed without restarting", "\" changed to \"", "unaffected changes were applied"]
        .iter()
        .any(|noise| line.contains(noise))
}

impl ServerNode {
    /// Makes the server read its files again, and finds out whether it took them.
    ///
    /// Do not hold the lock of postgresql.conf meanwhile: the server needs it, and forgets the reload when it is taken.
    ///
    /// # Errors
    /// `not_found` or `command_failed` when gs_ctl cannot be run or does not signal; `busy` when postgresql.conf stays
    /// locked for `lock_timeout`.
    pub async fn reload(&self, call: &Call) -> Result<ReloadOutcome, Error> {
        Ok(self.reload_with_words(call).await?.0)
    }

    /// [`ServerNode::reload`], and what the server's log said of its files on this occasion, also when it took them: that a
    /// parameter needs a restart, or has a value it did not like.
    ///
    /// # Errors
    /// As [`ServerNode::reload`].
    pub async fn reload_with_words(&self, call: &Call) -> Result<(ReloadOutcome, Vec<String>), Error> {
        if self.running_pid().is_none() {
            return Ok((ReloadOutcome::NotRunning, Vec::new()));
        }
        let dir = self.log_dir(call).await;
        let begun = Instant::now();
        loop {
            let log = ServerLog::watch(&dir);
            let outcome = self.ctl_reload(call).await?;
            // What counts is what the server says, and not what gs_ctl says of it.
            if outcome.rc != 0 && log.wait_for_text(says_begun, SIGNAL_TIMEOUT).await.is_err() {
                if self.running_pid().is_none() {
                    return Ok((ReloadOutcome::NotRunning, Vec::new()));
                }
                return Err(Error::command(
                    format!("gs_ctl reload did not signal the server: {}", outcome.last_words()),
                    outcome.record(),
                ));
            }
            let (text, unseen) = match self.observe(call, &log).await {
                Ok(observed) => observed,
                Err(why) => return Ok((ReloadOutcome::Unseen(why), Vec::new())),
            };
            if !was_locked_out(&text) {
                let words = complaints_in(&text);
                let refused = words.iter().any(|w| says_any_refused(w));
                let reasons = || words.iter().filter(|w| !is_noise(w)).cloned().collect();
                let seen = || unseen.map_or(ReloadOutcome::Taken, ReloadOutcome::Unseen);
                return Ok((if refused { ReloadOutcome::Refused(reasons()) } else { seen() }, words));
            }
            // Somebody (gs_guc, another module) held the lock of postgresql.conf, and the server forgot the reload.
            call.record_seen("the server cannot reload while postgresql.conf is locked");
            if begun.elapsed() >= call.lock_timeout() {
                let file = self.data_dir.join("postgresql.conf.lock");
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!("the server cannot reload: another process holds {}", file.display()),
                )
                .reason(Reason::LockHeld)
                .with_path(file.display())
                .hint("try again when it has ended, or raise lock_timeout"));
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    /// What the log says from the signal to the mark, and why that is no proof of a file that was taken, when it is none;
    /// or why it cannot be known.
    async fn observe(&self, call: &Call, log: &ServerLog) -> Result<(String, Option<String>), String> {
        let text = log.wait_for_text(says_begun, RELOAD_TIMEOUT).await.map_err(|_| {
            format!("its log in {} does not say that it reads its files again", log.dir().display())
        })?;
        if was_locked_out(&text) {
            return Ok((text, None));
        }
        let told = |what: &str| Some(format!("its log in {} {what}", log.dir().display()));
        let stamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let mark = format!("og_node reload check {}-{stamp}", std::process::id());
        let statement = format!("do $og$ begin raise log '{mark}'; end $og$");
        let asked = self.sql_within(call, &statement, Duration::from_secs(15)).await;
        if self.running_pid().is_none() {
            return Err("the server ended while it was reading its files".to_owned());
        }
        let text = match &asked {
            Ok(_) => {
                if let Err(text) = log.wait_for_text(|text| text.contains(&mark), RELOAD_TIMEOUT).await {
                    return Ok((text, told("does not show a session that came afterwards")));
                }
                // Where it is written in two forms, the other one may come first.
                let plain = |text: &str| text.lines().any(|l| is_plain(l) && l.contains(&mark));
                match log.wait_for_text(plain, LOGGER_DELAY).await {
                    Ok(text) => text,
                    Err(text) => return Ok((text, told(UNREADABLE))),
                }
            }
            // A session that the server refuses (pending role, no rule for us any more) proves the order of things as
            // well, but leaves no mark that is ours; then the logger gets a moment.
            Err(error) if was_refused(error) => {
                log.wait_for_text(|_| false, LOGGER_DELAY).await.unwrap_or_else(|text| text)
            }
            Err(error) => {
                let seen =
                    log.wait_for_text(|text| text.lines().any(says_any_refused), REFUSAL_TIMEOUT).await;
                seen.map_err(|_| format!("it could not be asked afterwards: {error}"))?
            }
        };
        let unseen = if is_readable(&text) { None } else { told(UNREADABLE) };
        Ok((text, unseen))
    }
}

/// What the log says of the files, without the lines' own prefixes, each line once.
fn complaints_in(text: &str) -> Vec<String> {
    let from = text.find("SIGHUP").unwrap_or(0);
    let lines = || text[from..].lines().skip(1);
    let words =
        lines_about_files(lines().filter_map(|line| cut_to_level(line, ["", ":"])).map(str::to_owned));
    if !words.is_empty() {
        return words;
    }
    // A csvlog alone, in which a quote is two.
    let unquoted = |line: &str| line.trim_start_matches(',').replace("\"\"", "\"");
    lines_about_files(lines().filter_map(|line| cut_to_level(line, [",", ","])).map(unquoted))
}

/// What a server program that reads its files at a start says of them on its standard error.
pub(super) fn start_complaints(text: &str) -> Vec<String> {
    lines_about_files(text.lines().filter_map(|line| cut_to_level(line, ["", ":"])).map(str::to_owned))
}

/// The line from its level on, which stands between these marks.
fn cut_to_level<'a>(line: &'a str, [before, after]: [&str; 2]) -> Option<&'a str> {
    let levels = ["LOG", "WARNING", "ERROR", "FATAL", "CONTEXT", "DETAIL", "HINT"];
    let start = levels.iter().filter_map(|level| line.find(&format!("{before}{level}{after}"))).min()?;
    Some(line[start..].trim())
}

/// Those that are about the files, each once, without secrets.
fn lines_about_files(said: impl Iterator<Item = String>) -> Vec<String> {
    const ABOUT: &[&str] = &[
        "hba",
        "configuration file",
        "configuration parameter",
        "parameter \"",
        "invalid",
        "syntax error",
        "not reloaded",
        "not supported",
        "missing",
        "could not open",
        "could not bind",
        "end-of-line",
    ];
    let mut words: Vec<String> = Vec::new();
    for word in said.map(|word| secret::mask_line(&word).into_owned()) {
        if ABOUT.iter().any(|about| word.contains(about)) && !words.contains(&word) && words.len() < 50 {
            words.push(word);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const REFUSED: &str = "2026-11-21 01:02:03.1 [unknown] LOG:  received SIGHUP, reloading configuration files\n\
        2026-11-21 01:02:03.1 [unknown] LOG:  parameter \"max_connections\" cannot be changed without restarting the server\n\
        2026-11-21 01:02:03.1 [unknown] LOG:  configuration file \"/d/postgresql.conf\" contains errors; unaffected changes were applied\n\
        x LOG:  invalid CIDR mask in address \"127.0.0.1/33\"\n\
        x CONTEXT:  line 3 of configuration file \"/d/pg_hba.conf\"\n\
        x LOG:  invalid CIDR mask in address \"127.0.0.1/33\"\n\
        x CONTEXT:  line 3 of configuration file \"/d/pg_hba.conf\"\n\
        x WARNING:  pg_hba.conf not reloaded\n";

    #[test]
    fn a_refused_hba_file_is_told_from_the_noise_of_duplicates() {
        let words = complaints_in(REFUSED);
        assert_eq!(words.len(), 5);
        let reload = ReloadOutcome::Refused(words);
        assert!(reload.is_refused("pg_hba.conf"));
        assert!(!reload.is_refused("postgresql.conf"));
    }

    #[test]
    fn words_hold_no_secrets() {
        let text = "LOG:  received SIGHUP\nLOG:  parameter \"x.password\" changed to \"S3cret\"\n\
            LOG:  parameter \"archive_command\" changed to \"curl https://u:S3cret@h\"\n\
            DETAIL:  pg_hba.conf line 3: \"host all all all ldap ldapbindpasswd=S3cret\"\n";
        let words = complaints_in(text);
        assert_eq!(words.len(), 3);
        assert!(!words.concat().contains("S3cret"), "{words:?}");
    }

    #[test]
    fn what_is_said_after_a_change_of_the_log_comes_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let (older, newer) = (dir.path().join("b.log"), dir.path().join("a.log"));
        let log = ServerLog::watch(dir.path());
        std::fs::write(&older, "LOG:  received SIGHUP, reloading configuration files\n").unwrap();
        std::fs::write(&newer, "WARNING:  pg_hba.conf not reloaded\n").unwrap();
        let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
        std::fs::File::options().append(true).open(&older).unwrap().set_modified(an_hour_ago).unwrap();
        assert!(complaints_in(&log.text()).iter().any(|word| says_any_refused(word)), "{}", log.text());
    }

    #[test]
    fn a_csvlog_is_searched_too() {
        let csv = "2026-11-21 01:02:03.1 UTC,,,9,,6,1,,,,0,LOG,00000,\"received SIGHUP, reloading\",,,\"\"\n\
            2026-11-21 01:02:03.1 UTC,,,9,,6,2,,,,0,LOG,00000,\"parameter \"\"port\"\" requires\",,,\"\"\n\
            2026-11-21 01:02:03.1 UTC,,,9,,6,3,,,,0,WARNING,01000,\"pg_hba.conf not reloaded\",,,\"\"\n";
        let words = complaints_in(csv);
        assert!(words[0].starts_with("LOG,00000,\"parameter \"port\" requires"), "{words:?}");
        assert!(words.len() == 2 && says_any_refused(&words[1]) && !is_readable(csv));
    }

    #[test]
    fn postgresqls_own_words_are_understood() {
        assert!(says_refused("LOG:  pg_hba.conf was not reloaded", "pg_hba.conf"));
        assert!(says_refused("LOG:  /d/pg_hba.conf was not reloaded", "pg_hba.conf"));
        let line = "LOG:  configuration file \"/d/postgresql.conf\" contains errors; no changes were applied";
        assert!(says_refused(line, "postgresql.conf"));
        let line = "LOG:  configuration file \"/d/postgresql.conf\" contains errors; unaffected changes were applied";
        assert!(!says_refused(line, "postgresql.conf"));
    }
}
