//! Long transactions of clients on this node.
//!
//! A switchover and a restart end every session, and the transactions in them are lost. Those that have run for long are
//! waited for, or ended by intent, before. Sessions that are no client's are left alone: WAL senders, autovacuum and other
//! threads of the server, and our own.

pub mod args;
pub mod plan;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use og_common::gauss::{ClientTransaction, ServerNode};
use og_common::protocol::{ArgRule, Call, Error, ErrorKind, Example, Module, Reason, Report};

use args::{Args, Method, Output, State};
use plan::{Activity, Dialect};

/// How often the sessions are read again.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// What must be left of the time limit for the sessions to be read once more.
const TIMEOUT_MARGIN: Duration = Duration::from_millis(500);

/// The module `og_session`.
#[derive(Debug)]
pub struct Sessions;

impl Module for Sessions {
    const NAME: &'static str = "og_session";
    const ABOUT: &'static str = "Long transactions of clients on this node";
    const TIMEOUT: u64 = 120;
    const EXAMPLES: &'static [Example] = &[
        Example {
            title: "Which transactions have run for longer than a minute?",
            args: r#"{"data_dir": "/data/dn1", "min_age": 60}"#,
        },
        Example {
            title: "Wait up to five minutes until no transaction older than 15 seconds is left",
            args: r#"{"data_dir": "/data/dn1", "state": "absent", "timeout": 300}"#,
        },
        Example {
            title: "End the sessions whose transactions are older than an hour",
            args: r#"{"data_dir": "/data/dn1", "state": "absent", "min_age": 3600, "method": "terminate"}"#,
        },
    ];
    const RULES: &'static [ArgRule] =
        &[ArgRule::OnlyIf { key: "state", values: &["absent"], allows: &["method"] }];
    type Args = Args;
    type Output = Output;

    async fn run(call: &Call, args: Args) -> Result<Report<Output>, Error> {
        let node = ServerNode::from_call(call)?;
        let dialect = match node.control() {
            Some(control) if !control.is_opengauss() => Dialect::PostgreSql,
            _ => Dialect::OpenGauss,
        };
        let mut told = BTreeSet::new();
        let mut ended: Vec<ClientTransaction> = Vec::new();
        let mut activity = inspect(call, &node, dialect, &args, &told).await?;
        if call.check && args.state == State::Absent && args.method == Method::Terminate {
            ended = activity.sessions.iter().map(|session| session.transaction.clone()).collect();
            activity.sessions.clear();
        }
        while args.state == State::Absent && !call.check && !activity.sessions.is_empty() {
            if args.method == Method::Terminate {
                let chosen: BTreeSet<_> =
                    activity.not_yet_ended(&told).map(|session| session.key.clone()).collect();
                let now_told = terminate(call, &node, dialect, &args, &chosen).await?;
                for session in activity.not_yet_ended(&told).filter(|session| now_told.contains(&session.key))
                {
                    call.record_action(plan::end_action(&session.transaction));
                    ended.push(session.transaction.clone());
                }
                told.extend(now_told);
                call.record_output(&activity.output(&ended));
            }
            call.record_seen(activity.describe_awaited());
            if call.deadline.is_some_and(|end| Instant::now() + POLL_INTERVAL + TIMEOUT_MARGIN > end) {
                return Err(sessions_left_error(&activity, &ended, &args));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
            activity = inspect(call, &node, dialect, &args, &told).await?;
        }
        let actions = ended.iter().map(plan::end_action).collect();
        let output = activity.output(&ended);
        let msg = message(&output, &args, call.check);
        let stay = if args.state == State::Absent { plan::prepared_warning(&output.prepared) } else { None };
        Ok(Report::new(actions, msg, output).with_warnings(stay))
    }
}

async fn inspect(
    call: &Call,
    node: &ServerNode,
    dialect: Dialect,
    args: &Args,
    told: &BTreeSet<String>,
) -> Result<Activity, Error> {
    let rows = node.sql(call, &dialect.inspect_statement(args.min_age, told)).await?;
    Ok(Activity::parse(rows, args.min_age))
}

/// Tells these sessions to end, and returns which of them were there to be told.
async fn terminate(
    call: &Call,
    node: &ServerNode,
    dialect: Dialect,
    args: &Args,
    keys: &BTreeSet<String>,
) -> Result<BTreeSet<String>, Error> {
    if keys.is_empty() {
        return Ok(BTreeSet::new());
    }
    let rows = node.sql(call, &dialect.terminate_statement(args.min_age, keys)).await?;
    Ok(rows.into_iter().filter_map(|row| row.into_iter().next()).collect())
}

fn sessions_left_error(activity: &Activity, ended: &[ClientTransaction], args: &Args) -> Error {
    let hint = match args.method {
        Method::Wait => {
            "raise timeout, end these transactions in their applications, or use method: terminate"
        }
        Method::Terminate => {
            "call again: a session ends only after its transaction is rolled back; if it stays, look into the server's log"
        }
    };
    let n = activity.sessions.len();
    let detail = match args.method {
        Method::Wait => format!("{n} transactions of {} s or older are left", args.min_age),
        Method::Terminate => {
            format!("{n} sessions with transactions of {} s or older are left", args.min_age)
        }
    };
    Error::new(ErrorKind::Timeout, format!("{detail}: {}", activity.describe_awaited()))
        .reason(Reason::LongTransactions)
        .hint(hint)
        .with_output(&activity.output(ended))
}

fn message(output: &Output, args: &Args, check: bool) -> String {
    let Output { transactions, prepared, ended } = output;
    let age = args.min_age;
    let prepared = if prepared.is_empty() { String::new() } else { format!(", {} prepared", prepared.len()) };
    let there = format!("{} transactions of {age} s or older{prepared}", transactions.len());
    match (args.state, check) {
        (State::Absent, true) if !ended.is_empty() => format!("{} sessions would be ended", ended.len()),
        (State::Absent, true) if !transactions.is_empty() => format!("would be waited for: {there}"),
        (State::Absent, false) if !ended.is_empty() => {
            format!("ended {} sessions; {there} left", ended.len())
        }
        _ => there,
    }
}
