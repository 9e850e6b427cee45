//! SQL through the local socket.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::task::JoinHandle;

use super::ServerNode;
use super::postmaster_pid::{PostmasterPid, is_frozen};
use super::process::{Outcome, Program, Running, time_left};
use crate::base::{Call, Error, ErrorKind, Reason};

/// Variables of a DBA's login that would send a client elsewhere or change what it does.
pub(super) const DISTURBING: &[&str] = &[
    "PGUSER",
    "PGDATABASE",
    "PGSERVICE",
    "PGOPTIONS",
    "PGSSLMODE",
    "PGCLIENTENCODING",
    "PGHOSTADDR",
    "PGTZ",
];
/// Parts columns; openGauss's text may hold anything a keyboard can type.
const COLUMN: char = '\x1f';
/// Parts rows.
const ROW: char = '\x1e';
/// How long a statement may take when the call has no limit of its own.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(120);
/// How much output a statement may give.
const MAX_OUTPUT_BYTES: usize = 16 * 1024 * 1024;
/// How long a gsql that has closed its output may take to end.
const GRACE: Duration = Duration::from_millis(300);

impl ServerNode {
    /// Runs one SQL statement as the initial user through the local socket and returns its rows of text columns; a null
    /// is an empty text.
    ///
    /// # Errors
    /// `not_found` when no server runs; `command_failed` with the server's words; `timeout`, at once where the server's process
    /// is stopped.
    pub async fn sql(&self, call: &Call, statement: &str) -> Result<Vec<Vec<String>>, Error> {
        self.sql_within(call, statement, STATEMENT_TIMEOUT).await
    }

    /// [`ServerNode::sql`], with at most this much time.
    ///
    /// # Errors
    /// As [`ServerNode::sql`].
    pub async fn sql_within(
        &self,
        call: &Call,
        statement: &str,
        most: Duration,
    ) -> Result<Vec<Vec<String>>, Error> {
        let pid = PostmasterPid::read(&self.data_dir).filter(|pid| pid.is_alive(&self.data_dir));
        let pid = pid.ok_or_else(|| {
            Error::not_found(format!("no server runs in {}, so it cannot be asked", self.data_dir.display()))
        })?;
        if is_frozen(pid.pid) {
            let detail = format!("the server does not answer: its process {} is stopped (T)", pid.pid);
            return Err(Error::new(ErrorKind::Timeout, detail)
                .reason(Reason::Frozen)
                .hint(format!("let it go on (kill -CONT {}), or end it", pid.pid)));
        }
        let outcome = self
            .gsql(call, &pid)
            .await?
            .arg("-c")
            .arg(statement)
            .with_limit(Some(time_left(call, most)))
            .run()
            .await?;
        if outcome.timed_out {
            return Err(Error::new(
                ErrorKind::Timeout,
                format!("the server did not answer within {} s", most.as_secs()),
            )
            .with_command(outcome.record()));
        }
        if outcome.rc != 0 {
            return Err(Error::command(format!("SQL failed: {}", error_words(&outcome)), outcome.record()));
        }
        if outcome.truncated {
            return Err(Error::command("SQL gave more output than can be taken in", outcome.record()));
        }
        Ok(rows(&outcome.stdout))
    }

    /// Opens a session through the local socket, as [`ServerNode::sql`] does for one statement.
    ///
    /// # Errors
    /// `not_found` when no server runs, or no gsql is there. Whether the server lets it in is known with the first statement.
    pub async fn sql_session(&self, call: &Call) -> Result<SqlSession, Error> {
        let pid = PostmasterPid::read(&self.data_dir).filter(|pid| pid.is_alive(&self.data_dir));
        let pid = pid.ok_or_else(|| {
            Error::not_found(format!("no server runs in {}, so it cannot be asked", self.data_dir.display()))
        })?;
        let (running, pipes) = self.gsql(call, &pid).await?.spawn_piped()?;
        Ok(SqlSession {
            running,
            input: pipes.stdin,
            output: BufReader::new(pipes.stdout).lines(),
            errors: Errors::read(pipes.stderr),
        })
    }

    async fn gsql(&self, call: &Call, pid: &PostmasterPid) -> Result<Program, Error> {
        let env = self.env(call).await?;
        let host = pid.socket_dir.clone().or_else(|| env.get("PGHOST").map(Into::into));
        let host = host.unwrap_or_else(|| Path::new("/tmp").to_owned());
        let port = pid.port.ok_or_else(|| {
            Error::not_found(format!("the server in {} does not listen yet", self.data_dir.display()))
        })?;
        Ok(env
            .program("gsql")?
            .without_env(DISTURBING)
            .env("PGCONNECT_TIMEOUT", "10")
            .with_kept_bytes(MAX_OUTPUT_BYTES)
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", "postgres"])
            .args(["-F", &COLUMN.to_string(), "-R", &ROW.to_string()])
            .arg("-p")
            .arg(port.to_string())
            .arg("-h")
            .arg(host))
    }
}

/// A gsql that stays connected and runs one statement after the other. It ends when this is dropped, and at the first statement
/// that fails.
#[derive(Debug)]
pub struct SqlSession {
    running: Running,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    errors: Errors,
}

impl SqlSession {
    /// Runs statements of which exactly one returns anything: one row of one column, a text without a line break. The answer is
    /// waited for as long as it takes.
    ///
    /// # Errors
    /// `command_failed` with the server's words; the session has ended then.
    pub async fn run(&mut self, statements: &str) -> Result<String, Error> {
        let line = format!("{statements};\n");
        // Where gsql has ended its output tells so, too, and its errors why.
        let sent = self.input.write_all(line.as_bytes()).await;
        let answer = match sent {
            Ok(()) => self.output.next_line().await,
            Err(e) => Err(e),
        };
        if let Ok(Some(line)) = answer {
            return Ok(line);
        }
        self.running.wait_up_to(GRACE).await;
        Err(Error::new(ErrorKind::CommandFailed, format!("SQL failed: {}", self.errors.last().await)))
    }
}

/// The errors of a gsql, read while it runs, so that it never waits for its reader.
#[derive(Debug)]
struct Errors(Option<JoinHandle<String>>);

impl Errors {
    fn read(stream: ChildStderr) -> Self {
        Self(Some(tokio::spawn(async move {
            let mut lines = BufReader::new(stream).lines();
            let mut last = String::new();
            while let Ok(Some(line)) = lines.next_line().await {
                // Of notices there may be one with each statement.
                if is_error(&line) || last.is_empty() {
                    line.trim().clone_into(&mut last);
                }
            }
            last
        })))
    }

    /// The last error; the stream is at its end, but for what a program that goes on holds of it.
    async fn last(&mut self) -> String {
        let nothing = || "gsql exited without an error message".to_owned();
        let Some(task) = self.0.take() else { return nothing() };
        let read = tokio::time::timeout(GRACE, task).await;
        read.ok().and_then(Result::ok).filter(|line| !line.is_empty()).unwrap_or_else(nothing)
    }
}

/// The rows of an output made with our separators; after the last row stands a newline.
fn rows(text: &str) -> Vec<Vec<String>> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    if text.is_empty() {
        return Vec::new();
    }
    text.split(ROW).map(|row| row.split(COLUMN).map(str::to_owned).collect()).collect()
}

/// The server's own words: its ERROR or FATAL line, and nothing of notices.
fn error_words(outcome: &Outcome) -> String {
    let line = outcome.stderr.lines().find(|line| is_error(line));
    line.map_or_else(|| outcome.last_words(), |l| l.trim().to_owned())
}

fn is_error(line: &str) -> bool {
    ["ERROR:", "FATAL:", "PANIC:"].iter().any(|word| line.contains(word))
}

/// A text as an SQL literal.
#[must_use]
pub fn literal(text: &str) -> String {
    // A backslash means itself only in a plain literal with standard_conforming_strings; E'' means the same everywhere.
    if text.contains('\\') {
        format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_columns_are_parted_by_our_separators_alone() {
        assert_eq!(rows(""), Vec::<Vec<String>>::new());
        assert_eq!(rows("1\x1fa|b\x1e2\x1fx\ny\n"), [["1", "a|b"], ["2", "x\ny"]]);
    }

    #[test]
    fn literals_hold_quotes_and_backslashes() {
        assert_eq!(literal("o'neil"), "'o''neil'");
        assert_eq!(literal(r"a\'b"), r"E'a\\''b'");
    }
}
