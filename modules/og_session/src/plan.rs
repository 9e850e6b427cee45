//! The statements, their rows, and which sessions are to be ended.

use std::collections::BTreeSet;

use og_common::base::secret;
use og_common::gauss::ClientTransaction;
use og_common::gauss::gsql::literal;

use crate::args::{Output, Prepared};

/// How many characters of a statement are told.
const MAX_SHOWN_CHARS: usize = 200;

/// What differs between the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// openGauss: a session has a number of its own, and threads of a pool serve it.
    OpenGauss,
    /// PostgreSQL.
    PostgreSql,
}

impl Dialect {
    fn session_id(self) -> &'static str {
        match self {
            Self::OpenGauss => "sessionid",
            Self::PostgreSql => "null",
        }
    }

    /// What tells a session from one that has the same number later.
    fn key(self) -> &'static str {
        match self {
            Self::OpenGauss => "sessionid::text || '@' || extract(epoch from backend_start)::text",
            Self::PostgreSql => "pid::text || '@' || extract(epoch from backend_start)::text",
        }
    }

    /// Sessions of clients, without our own. openGauss shows its own threads, such as those of autovacuum, among them; they
    /// have no client's port.
    fn is_client(self) -> &'static str {
        match self {
            Self::OpenGauss => {
                "client_port is not null and pid <> pg_backend_pid() \
                 and pid not in (select pid from pg_stat_replication where pid is not null)"
            }
            Self::PostgreSql => "backend_type = 'client backend' and pid <> pg_backend_pid()",
        }
    }

    /// Without a thread pool it does what `pg_terminate_backend` does; with one, that knows no sessions.
    fn terminate(self) -> &'static str {
        match self {
            Self::OpenGauss => "pg_terminate_session(pid, sessionid)",
            Self::PostgreSql => "pg_terminate_backend(pid)",
        }
    }

    /// Reads transactions of `min_age` and older, the sessions with these keys whatever they do, and prepared transactions.
    #[must_use]
    pub fn inspect_statement(self, min_age: u32, keys: &BTreeSet<String>) -> String {
        let asked = if keys.is_empty() { String::new() } else { format!(" or {}", self.is_one_of(keys)) };
        format!(
            "select 's', {key}, pid::text, {sid}::text, usename::text, datname::text, host(client_addr), \
             application_name::text, state, {AGE}::text, query from pg_stat_activity \
             where {client} and ({AGE} >= {min_age}{asked}) \
             union all select 'p', gid, null, null, owner::text, database::text, null, null, null, {PREPARED}::text, null \
             from pg_prepared_xacts where {PREPARED} >= {min_age}",
            key = self.key(),
            sid = self.session_id(),
            client = self.is_client(),
        )
    }

    /// Ends the sessions with these keys, as long as their transactions are that old still; gives the keys of those that
    /// were told to end.
    #[must_use]
    pub fn terminate_statement(self, min_age: u32, keys: &BTreeSet<String>) -> String {
        format!(
            "select key from (select {key} as key, {end} as told from pg_stat_activity \
             where {client} and {AGE} >= {min_age} and {chosen}) as sessions where told",
            key = self.key(),
            end = self.terminate(),
            client = self.is_client(),
            chosen = self.is_one_of(keys),
        )
    }

    fn is_one_of(self, keys: &BTreeSet<String>) -> String {
        let keys: Vec<_> = keys.iter().map(|key| literal(key)).collect();
        format!("{} in ({})", self.key(), keys.join(", "))
    }
}

const AGE: &str = "floor(extract(epoch from clock_timestamp() - xact_start))";
const PREPARED: &str = "floor(extract(epoch from clock_timestamp() - prepared))";

/// A session of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// What tells it from a later one with the same number.
    pub key: String,
    /// Its transaction.
    pub transaction: ClientTransaction,
    /// Whether the transaction is of the age asked for; else it is here for its key.
    pub is_long: bool,
}

/// What there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Sessions, the oldest transaction first.
    pub sessions: Vec<Session>,
    /// Prepared transactions, the oldest first.
    pub prepared: Vec<Prepared>,
}

impl Activity {
    /// Reads the rows of [`Dialect::inspect_statement`].
    #[must_use]
    pub fn parse(rows: Vec<Vec<String>>, min_age: u32) -> Self {
        let mut activity = Self::default();
        for row in rows {
            let Ok([kind, key, pid, sid, user, database, client, application, state, age, query]) =
                <[String; 11]>::try_from(row)
            else {
                continue;
            };
            let age = age.parse::<i64>().ok().map(|age| u64::try_from(age).unwrap_or(0));
            let age_s = age.unwrap_or(0);
            if kind == "p" {
                activity.prepared.push(Prepared { gid: key, owner: user, database, age_s });
                continue;
            }
            let transaction = ClientTransaction {
                pid: pid.parse().unwrap_or(0),
                session_id: sid.parse().ok(),
                user,
                database,
                client: if client.is_empty() { "local".to_owned() } else { client },
                application,
                state,
                age_s,
                query: shorten_query(&query),
            };
            let is_long = age.is_some_and(|age| age >= u64::from(min_age));
            activity.sessions.push(Session { key, transaction, is_long });
        }
        activity.sessions.sort_by_key(|session| std::cmp::Reverse(session.transaction.age_s));
        activity.prepared.sort_by_key(|prepared| std::cmp::Reverse(prepared.age_s));
        activity
    }

    /// Returns the sessions that are to be told to end: their transactions are long, and they were not told yet.
    pub fn not_yet_ended(&self, told: &BTreeSet<String>) -> impl Iterator<Item = &Session> {
        self.sessions.iter().filter(|session| session.is_long && !told.contains(&session.key))
    }

    /// Returns the result of a call that ended these sessions.
    #[must_use]
    pub fn output(&self, ended: &[ClientTransaction]) -> Output {
        let long = self.sessions.iter().filter(|session| session.is_long);
        Output {
            transactions: long.map(|session| session.transaction.clone()).collect(),
            prepared: self.prepared.clone(),
            ended: ended.to_vec(),
        }
    }

    /// Returns what is waited for, in words; empty when there is nothing.
    #[must_use]
    pub fn describe_awaited(&self) -> String {
        let named: Vec<_> =
            self.sessions.iter().take(3).map(|session| describe_transaction(&session.transaction)).collect();
        match self.sessions.len() {
            0 => String::new(),
            1..=3 => named.join("; "),
            n => format!("{} and {} more", named.join("; "), n - 3),
        }
    }
}

/// Names a transaction.
#[must_use]
pub fn describe_transaction(of: &ClientTransaction) -> String {
    let ClientTransaction { pid, user, database, client, state, age_s, .. } = of;
    let session = of.session_id.filter(|id| id != pid).map_or(String::new(), |id| format!(", session {id}"));
    format!("pid {pid}{session} of {user} from {client} on {database} ({state}, {age_s} s)")
}

/// Returns the action that ends the session of a transaction.
#[must_use]
pub fn end_action(of: &ClientTransaction) -> String {
    // Without its age, which the next call would tell otherwise.
    let ClientTransaction { pid, user, database, client, .. } = of;
    format!("end session of {user} from {client} on {database} (pid {pid})")
}

/// Returns what a user should know of prepared transactions that stay.
#[must_use]
pub fn prepared_warning(prepared: &[Prepared]) -> Option<String> {
    let gids: Vec<_> = prepared.iter().take(3).map(|one| format!("{:?}", one.gid)).collect();
    let more = if prepared.len() > gids.len() { ", …" } else { "" };
    (!gids.is_empty()).then(|| {
        format!(
            "{} prepared transactions stay: {}{more}; only COMMIT PREPARED or ROLLBACK PREPARED ends them",
            prepared.len(),
            gids.join(", ")
        )
    })
}

/// Words behind which a literal of SQL is a secret: `PASSWORD 'p'`, `IDENTIFIED BY 'p' REPLACE 'q'`, `gs_encrypt('t', 'k')`.
const SECRET_WORDS: [&str; 9] =
    ["password", "passwd", "identified", "encrypt", "decrypt", "secret", "access_key", "token", "credential"];

/// Returns the statement as it may be told: masked first, for of a secret that is cut the rest would not be known for one.
fn shorten_query(query: &str) -> String {
    let masked = secret::mask_text(query);
    let lower = masked.to_ascii_lowercase();
    let word = SECRET_WORDS.iter().filter_map(|word| lower.find(word)).min();
    // The server may have cut the statement within the literal, so all that follows is left out.
    let quote = word.and_then(|at| Some(at + lower[at..].find(['\'', '"', '$'])?));
    let shown = quote.map_or_else(|| masked.to_string(), |at| format!("{}{}", &masked[..at], secret::MASK));
    shown.chars().take(MAX_SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn row(columns: [&str; 11]) -> Vec<String> {
        columns.map(str::to_owned).to_vec()
    }

    fn session(key: &str, age: &str, query: &str) -> Vec<String> {
        row(["s", key, "7", "3", "app", "db", "10.0.0.9", "psql", "active", age, query])
    }

    fn keys(keys: &[&str]) -> BTreeSet<String> {
        keys.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_oldest_come_first_and_prepared_ones_apart() {
        let local = row(["s", "2@1", "8", "", "omm", "db", "", "gsql", "idle in transaction", "90", "x"]);
        let prepared = row(["p", "gid 1", "", "", "omm", "db", "", "", "", "33", ""]);
        let read =
            Activity::parse(vec![session("1@1", "20", "y"), prepared, local, vec!["short".into()]], 15);
        let output = read.output(&[]);
        assert_eq!(output.transactions.iter().map(|t| t.age_s).collect::<Vec<_>>(), [90, 20]);
        assert_eq!((&*output.transactions[0].client, output.transactions[0].session_id), ("local", None));
        assert_eq!(
            (&*output.transactions[1].client, output.transactions[1].session_id),
            ("10.0.0.9", Some(3))
        );
        assert_eq!(output.prepared[0].gid, "gid 1");
        assert!(prepared_warning(&output.prepared).unwrap().contains("\"gid 1\""));
        assert_eq!(prepared_warning(&[]), None);
    }

    #[test]
    fn a_session_told_to_end_is_waited_for_and_told_no_more() {
        let rows = || vec![session("1@1", "20", ""), session("2@1", "", ""), session("3@1", "16", "")];
        let read = Activity::parse(rows(), 15);
        let told = keys(&["1@1", "2@1"]);
        assert_eq!(read.not_yet_ended(&told).map(|s| &*s.key).collect::<Vec<_>>(), ["3@1"]);
        // The second one has no transaction any more, but is there: waited for, and no long transaction.
        assert_eq!(read.sessions.len(), 3);
        assert_eq!(read.output(&[]).transactions.len(), 2);
    }

    #[test]
    fn statements_are_told_masked_and_cut() {
        assert_eq!(shorten_query(&"é".repeat(300)).chars().count(), 200);
        assert_eq!(shorten_query("select 'a' from t"), "select 'a' from t");
        for secret in [
            "alter user u identified by 'Gauss@123' replace 'Gauss@124'",
            "CREATE ROLE r PASSWORD \"Gauss@123",
            "select gs_encrypt('x', 'Gauss@123')",
            "select dblink('host=h password=Gauss@123')",
            "alter role r password $$Gauss@123$$",
            "create foreign table f () server s options (secret_access_key 'Gauss@123')",
            "create server s options (ACCESS_KEY 'Gauss@123')",
            "select set_config('app.token', 'Gauss@123', true)",
            "create server s options (credentials 'Gauss@123')",
        ] {
            assert!(!shorten_query(secret).contains("Gauss"), "{}", shorten_query(secret));
        }
    }

    #[test]
    fn only_sessions_of_clients_are_ended_and_only_while_they_are_old() {
        for dialect in [Dialect::OpenGauss, Dialect::PostgreSql] {
            let end = dialect.terminate_statement(15, &keys(&["1@1.5"]));
            assert!(
                end.contains(dialect.is_client()) && end.contains(">= 15") && end.contains("'1@1.5'"),
                "{end}"
            );
            assert!(!dialect.inspect_statement(0, &keys(&[])).contains(" in ()"), "no empty list");
        }
    }
}
