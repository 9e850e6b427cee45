//! Carries the calls of a workflow out on the nodes, and brings the answers back, until there is an outcome.

use std::collections::{BTreeSet, HashMap};
use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use og_common::protocol::{
    Bytes, Call, CallProgress, Error, ErrorKind, Module, Reason, error_result, take_in,
};
use og_common::remote::{Connection, Program, RemoteRequest, SILENCE_TIMEOUT, SshHost, check_config};
use og_workflow::Workflows;
use og_workflow::args::{Next, NodeCall, Outcome};
use og_workflow::engine::{Engine, Turn};
use og_workflow::record::Recorder;
use og_workflow::seen::HOST;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::{Mutex as AsyncMutex, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::command::Invocation;
use crate::display::{Display, Event};

/// Sessions at once over one connection; sshd refuses more than its MaxSessions, which is 10 unless it is set.
const MAX_SESSIONS: usize = 8;
/// A call with its place in the step, and the program that it calls.
type HostCall = (usize, NodeCall, Arc<Program>);

/// What every program is run with.
const FLAGS: [&str; 1] = ["--progress"];
/// A connection that was seen to stand so short a time ago is used without another look; it ends later than that where
/// nobody uses it.
const RECHECK_AFTER: Duration = Duration::from_secs(5);
/// So much of a file is sent at once.
const PIECE_BYTES: u64 = 8 << 20;
/// How long a host may leave unanswered what is sent to it where the cluster is only looked at: the first packet is sent twice by
/// then.
const QUERY_SILENCE_TIMEOUT: Duration = Duration::from_millis(1500);
/// How long the lock of an interrupted run may take to be left.
const LEAVE_LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// How a run ended.
#[derive(Debug)]
pub enum Ended {
    /// With what the workflow says.
    Outcome(Box<Outcome>),
    /// By a signal.
    Interrupted {
        /// The nodes on which something was ended.
        nodes: Vec<String>,
        /// The nodes on which something was under way whose end was not seen.
        unconfirmed: Vec<String>,
    },
}

impl Ended {
    /// By a signal, while these calls were under way, which answered this then.
    fn interrupted(calls: &[(NodeCall, Value)]) -> Self {
        let nodes = |of: fn(&NodeCall, &Value) -> bool| {
            let calls = calls.iter().filter(|(call, answer)| of(call, answer));
            nodes_of(&calls.map(|(call, _)| call.clone()).collect::<Vec<_>>())
        };
        let unconfirmed = nodes(may_go_on);
        let mut ended = nodes(|_, answer| answer["error"]["kind"] == json!(ErrorKind::Interrupted));
        ended.retain(|node| !unconfirmed.contains(node));
        Self::Interrupted { nodes: ended, unconfirmed }
    }
}

/// Whether what the call began may still be under way after this answer.
fn may_go_on(call: &NodeCall, answer: &Value) -> bool {
    // Nothing is changed by a question, however long it goes on.
    if call.is_inspection() {
        return false;
    }
    let error = &answer["error"];
    answer.is_null()
        || error["kind"] == json!(ErrorKind::Unreachable)
        || error["reason"] == json!(Reason::GoesOn)
}

/// What became of the lock of an interrupted run.
#[derive(Debug, PartialEq, Eq)]
pub enum LockLeft {
    /// The run held none.
    None,
    /// It is free.
    Released,
    /// It could not be released.
    Failed(String),
    /// It stays, as something may still be under way.
    Kept,
}

/// Makes the calls of a run.
pub struct Runner<'a> {
    /// What tells which calls come next.
    pub engine: &'a Engine,
    hosts: Arc<Hosts>,
    stop: watch::Receiver<bool>,
    programs: HashMap<String, Arc<Program>>,
    /// The calls made so far, in their order, with their answers; null is none.
    made: Vec<(NodeCall, Value)>,
    /// The run's record, where it leaves one.
    pub recorder: Option<Recorder>,
}

/// The connections, kept for the whole run.
struct Hosts {
    config: Option<PathBuf>,
    /// How long a host may leave unanswered what is sent to it.
    silence: Duration,
    forks: Semaphore,
    open: Mutex<HashMap<String, Open>>,
}

/// A connection, and when it was last seen to stand.
#[derive(Clone)]
struct Open {
    connection: Arc<Connection>,
    seen: Instant,
}

impl Hosts {
    fn get(&self, host: &str) -> Option<Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get(host).cloned()
    }

    fn put(&self, host: &str, connection: Arc<Connection>) {
        let open = Open { connection, seen: Instant::now() };
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(host.to_owned(), open);
    }

    async fn connect(&self, host: &str, stop: watch::Receiver<bool>) -> Result<Arc<Connection>, Error> {
        // While other nodes are built, one may be left alone for so long that its connection ends.
        if let Some(Open { connection, seen }) = self.get(host) {
            if seen.elapsed() < RECHECK_AFTER {
                return Ok(connection);
            }
            if connection.is_open().await {
                self.put(host, connection.clone());
                return Ok(connection);
            }
        }
        let parsed: SshHost = host.parse().map_err(|e| Error::bad_args(format!("{host}: {e}")))?;
        let new = Arc::new(Connection::open(&parsed, self.config.as_deref(), self.silence, stop).await?);
        self.put(host, new.clone());
        Ok(new)
    }

    /// Forgets this connection, which was lost, unless there is a new one by now.
    fn forget(&self, host: &str, lost: &Arc<Connection>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.get(host).is_some_and(|open| Arc::ptr_eq(&open.connection, lost)) {
            open.remove(host);
        }
    }
}

/// What comes from a call while it runs, and at its end.
enum News {
    Progress(usize, CallProgress),
    Answer(usize, Value),
}

impl<'a> Runner<'a> {
    /// For this run; connects to nobody yet.
    ///
    /// # Errors
    /// The configuration of ssh cannot be read.
    pub fn new(
        engine: &'a Engine,
        invocation: &Invocation,
        stop: watch::Receiver<bool>,
    ) -> Result<Self, Error> {
        if let Some(config) = &invocation.ssh_config {
            check_config(config).map_err(|e| Error::bad_args(e.failure().detail.clone()))?;
        }
        let hosts = Hosts {
            config: invocation.ssh_config.clone(),
            silence: if invocation.workflow.changes { SILENCE_TIMEOUT } else { QUERY_SILENCE_TIMEOUT },
            forks: Semaphore::new(invocation.forks),
            open: Mutex::default(),
        };
        let hosts = Arc::new(hosts);
        Ok(Self { engine, hosts, stop, programs: HashMap::new(), made: Vec::new(), recorder: None })
    }

    /// Runs the workflow to its end.
    ///
    /// # Errors
    /// The workflow cannot use the answers.
    pub async fn run(&mut self, display: &mut Display) -> Result<Ended, Error> {
        let mut answers: Vec<Value> = Vec::new();
        self.made.clear();
        loop {
            let next = match self.engine.advance(&answers)? {
                Turn::Done(outcome) => return Ok(Ended::Outcome(outcome)),
                Turn::Ask(next) => next,
            };
            answers.truncate(next.keep);
            if let Some(seconds) = next.after {
                let mut stop = self.stop.clone();
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
                    _ = stop.wait_for(|stop| *stop) => {}
                }
            }
            if *self.stop.borrow() {
                return Ok(Ended::interrupted(&[]));
            }
            let begin = self.made.len();
            let new = self.make_calls(&next, display).await;
            if *self.stop.borrow() {
                return Ok(Ended::interrupted(&self.made[begin..]));
            }
            answers.extend(new);
        }
    }

    /// Makes the calls of a step side by side; returns their answers in their order.
    async fn make_calls(&mut self, next: &Next, display: &mut Display) -> Vec<Value> {
        let begun = Instant::now();
        display.show(&Event::Step {
            step: &next.step,
            nodes: &nodes_of(&next.calls),
            again: next.after.is_some(),
        });
        if let Some(recorder) = &mut self.recorder {
            recorder.write_step(next);
            recorder.update_report();
        }
        let (tell, mut news) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        let mut by_host: Vec<(String, Vec<HostCall>)> = Vec::new();
        for (at, call) in next.calls.iter().enumerate() {
            let Some(host) = call.host.clone() else {
                // It is all there is in its step, and takes no time.
                drop(tell.send(News::Answer(at, answer_here(call.args.clone()).await)));
                continue;
            };
            let program = match self.program(&call.program) {
                Ok(program) => program,
                // What was done before may have to be rolled back, which is for the workflow to say.
                Err(e) => {
                    drop(tell.send(News::Answer(at, Value::Object(error_result(&e)))));
                    continue;
                }
            };
            match by_host.iter_mut().find(|(known, _)| *known == host) {
                Some((_, calls)) => calls.push((at, call.clone(), program)),
                None => by_host.push((host, vec![(at, call.clone(), program)])),
            }
        }
        for (host, calls) in by_host {
            tasks.spawn(call_host(self.hosts.clone(), host, calls, self.stop.clone(), tell.clone()));
        }
        drop(tell);
        let mut answers = vec![Value::Null; next.calls.len()];
        let mut open: Vec<bool> = vec![true; next.calls.len()];
        let mut stop = self.stop.clone();
        let mut stopping = false;
        loop {
            let one = tokio::select! {
                one = news.recv() => one,
                _ = stop.wait_for(|stop| *stop), if !stopping => {
                    stopping = true;
                    display.ending(&nodes_at_work(next, &open));
                    continue;
                }
            };
            let Some(one) = one else { break };
            match one {
                News::Progress(at, progress) => {
                    let node = next.calls[at].node.as_deref().unwrap_or_default();
                    display.show(&Event::Progress { node, progress: &progress });
                }
                News::Answer(at, answer) => {
                    open[at] = false;
                    let call = &next.calls[at];
                    let at_work = nodes_at_work(next, &open);
                    display.show(&Event::Answer {
                        call,
                        answer: &answer,
                        quiet: next.shown.may_fail || call.is_inspection(),
                        at_work: &at_work,
                    });
                    if let Some(recorder) = &mut self.recorder {
                        recorder.write_answer(at, &answer);
                    }
                    answers[at] = answer;
                }
            }
        }
        while tasks.join_next().await.is_some() {}
        display.show(&Event::StepDone { elapsed: begun.elapsed() });
        self.made.extend(next.calls.iter().cloned().zip(answers.iter().cloned()));
        answers
    }

    fn program(&mut self, name: &str) -> Result<Arc<Program>, Error> {
        if let Some(known) = self.programs.get(name) {
            return Ok(known.clone());
        }
        let program = Arc::new(Program::from_file(name, find_program(name)?)?);
        self.programs.insert(name.to_owned(), program.clone());
        Ok(program)
    }

    /// Lets the cluster's lock of an interrupted run end, where it may hold it, and stops its probes before.
    pub async fn leave_lock(&mut self) -> LockLeft {
        for call in self.engine.probes_to_stop(&self.made) {
            // One that cannot be stopped now ends by itself.
            self.leave_lock_on(&call).await;
        }
        let mut left = LockLeft::None;
        for call in self.engine.locks_to_leave(&self.made) {
            match self.leave_lock_on(&call).await {
                LockLeft::Released if matches!(left, LockLeft::None) => left = LockLeft::Released,
                LockLeft::Released | LockLeft::None => {}
                other => left = other,
            }
        }
        left
    }

    async fn leave_lock_on(&mut self, call: &NodeCall) -> LockLeft {
        let leave = async {
            let program = self.program(&call.program)?;
            // The run's own wish to stop is fulfilled by now.
            let (_tell, stop) = watch::channel(false);
            let host = call.host.clone().unwrap_or_default();
            let connection = self.hosts.connect(&host, stop.clone()).await?;
            let line = line(&call.args);
            let request = RemoteRequest { program: &program, flags: &[], arguments: &line, as_root: false };
            connection.call(request, stop, &mut |_| false).await
        };
        match tokio::time::timeout(LEAVE_LOCK_TIMEOUT, leave).await {
            Ok(Ok(answer)) if answer.get("failed") == Some(&Value::Bool(false)) => LockLeft::Released,
            Ok(Ok(answer)) => {
                LockLeft::Failed(answer.get("msg").and_then(Value::as_str).unwrap_or_default().to_owned())
            }
            Ok(Err(e)) => LockLeft::Failed(e.to_string()),
            Err(_) => LockLeft::Failed(format!("no answer within {} s", LEAVE_LOCK_TIMEOUT.as_secs())),
        }
    }

    /// What becomes of the lock of a run that may still be at work somewhere: it stays, where there is one.
    pub fn keep_lock(&self) -> LockLeft {
        if self.engine.locks_to_leave(&self.made).is_empty() { LockLeft::None } else { LockLeft::Kept }
    }

    /// Ends the connections.
    pub async fn close(self) {
        let open = std::mem::take(&mut *self.hosts.open.lock().unwrap_or_else(PoisonError::into_inner));
        for Open { connection, .. } in open.into_values() {
            // All calls have ended, and none holds it any more.
            if let Ok(connection) = Arc::try_unwrap(connection) {
                connection.close().await;
            }
        }
    }
}

/// Makes these calls on a host: those that only look side by side, those of a node of which one changes something one after the
/// other, for they are written in the order in which they are to be done. Each connects when it is its turn, as a connection that
/// waits ends; the first that cannot answers for all.
async fn call_host(
    hosts: Arc<Hosts>,
    host: String,
    calls: Vec<HostCall>,
    stop: watch::Receiver<bool>,
    tell: mpsc::UnboundedSender<News>,
) {
    let caller = Caller {
        hosts,
        host,
        failed: Arc::default(),
        sessions: Arc::new(Semaphore::new(MAX_SESSIONS)),
        stop,
        tell,
    };
    let mut tasks = JoinSet::new();
    for some in in_order(calls) {
        let caller = caller.clone();
        tasks.spawn(async move {
            for call in some {
                caller.make(call).await;
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

/// The calls in groups: those of a group are made one after the other.
fn in_order(calls: Vec<HostCall>) -> Vec<Vec<HostCall>> {
    let changes: BTreeSet<Option<String>> = calls
        .iter()
        .filter(|(_, call, _)| !call.is_inspection())
        .map(|(_, call, _)| call.node.clone())
        .collect();
    let mut groups: Vec<Vec<HostCall>> = Vec::new();
    for one in calls {
        let node = &one.1.node;
        let same = groups.iter_mut().find(|group| changes.contains(node) && group[0].1.node == *node);
        match same {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    groups
}

/// What all calls on a host share.
#[derive(Clone)]
struct Caller {
    hosts: Arc<Hosts>,
    host: String,
    /// Why the host cannot be reached.
    failed: Arc<AsyncMutex<Option<Map<String, Value>>>>,
    sessions: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
    tell: mpsc::UnboundedSender<News>,
}

impl Caller {
    async fn make(&self, (at, call, program): HostCall) {
        let Self { hosts, host, failed, sessions, stop, tell } = self;
        // The semaphores are never closed.
        let _session = sessions.acquire().await;
        let _place = hosts.forks.acquire().await;
        let connection = {
            // One connects, and the others find what came of it.
            let mut failed = failed.lock().await;
            match &*failed {
                Some(answer) => Err(answer.clone()),
                None => hosts
                    .connect(host, stop.clone())
                    .await
                    .map_err(|e| failed.insert(error_result(&e)).clone()),
            }
        };
        let connection = match connection {
            Ok(connection) => connection,
            Err(answer) => {
                drop(tell.send(News::Answer(at, Value::Object(answer))));
                return;
            }
        };
        let as_root = call.program == HOST;
        let mut hear = |line: &str| match CallProgress::parse_line(line) {
            Some(progress) => tell.send(News::Progress(at, progress)).is_ok(),
            None => false,
        };
        let mut ask = async |args: &Map<String, Value>| {
            let line = line(args);
            let request = RemoteRequest { program: &program, flags: &FLAGS, arguments: &line, as_root };
            connection.call_timed(request, stop.clone(), &mut hear).await.unwrap_or_else(|e| {
                if e.kind() == ErrorKind::Unreachable {
                    hosts.forget(host, &connection);
                }
                (error_result(&e), None)
            })
        };
        let (mut answer, times) = ask(&call.args).await;
        while let (Some(file), Some(offset)) = (&call.put, wanted_offset(&answer)) {
            let size = call.args.get("size").and_then(Value::as_u64).map(Bytes::new);
            let progress = CallProgress {
                msg: format!("transfer {}", file.to),
                bytes: Some(Bytes::new(offset)),
                total_bytes: size,
            };
            drop(tell.send(News::Progress(at, progress)));
            answer = match read_piece(Path::new(&file.from), offset).await {
                Ok(content) => {
                    let mut args = call.args.clone();
                    args.extend([
                        ("offset".to_owned(), json!(offset)),
                        ("content".to_owned(), json!(content)),
                    ]);
                    ask(&args).await.0
                }
                Err(e) => error_result(&e),
            };
        }
        if as_root && answer.get("changed") == Some(&Value::Bool(true)) {
            // The user's limits count from the next login on.
            hosts.forget(host, &connection);
        }
        if let Some((sent_at, received_at)) = times.filter(|_| call.timed) {
            answer.insert("sent_at".to_owned(), json!(milliseconds(sent_at)));
            answer.insert("received_at".to_owned(), json!(milliseconds(received_at)));
        }
        drop(connection);
        drop(tell.send(News::Answer(at, Value::Object(answer))));
    }
}

/// Where the file goes on that a program wants more of.
fn wanted_offset(answer: &Map<String, Value>) -> Option<u64> {
    let is_wanted = answer.get("error").is_some_and(|error| error["reason"] == json!(Reason::ContentWanted));
    answer.get("offset").filter(|_| is_wanted)?.as_u64()
}

/// The piece of a file on this machine that begins there, in Base64.
async fn read_piece(path: &Path, offset: u64) -> Result<String, Error> {
    let mut piece = Vec::new();
    let read = async {
        let mut file = tokio::fs::File::open(path).await?;
        file.seek(SeekFrom::Start(offset)).await?;
        file.take(PIECE_BYTES).read_to_end(&mut piece).await
    };
    read.await.map_err(|e| Error::io("read", path, &e))?;
    Ok(STANDARD.encode(piece))
}

/// This time in milliseconds since 1970; none before that.
fn milliseconds(time: SystemTime) -> Option<u64> {
    u64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// The arguments as a program takes them from its caller: one line.
fn line(args: &Map<String, Value>) -> String {
    format!("{}\n", Value::Object(args.clone()))
}

/// The answer to a call on this machine, which is og_workflow's own.
async fn answer_here(args: Map<String, Value>) -> Value {
    let done = async {
        let taken = take_in::<Workflows>(Value::Object(args).to_string().as_bytes())?;
        Workflows::run(&Call::default(), taken.args).await
    };
    match done.await {
        Ok(report) => {
            let mut answer = json!(report.output);
            answer["changed"] = json!(report.changed);
            answer["failed"] = json!(false);
            answer["msg"] = json!(report.msg);
            answer
        }
        Err(e) => Value::Object(error_result(&e)),
    }
}

/// The nodes of these calls, each once.
fn nodes_of(calls: &[NodeCall]) -> Vec<String> {
    let mut nodes: Vec<String> = Vec::new();
    for node in calls.iter().filter_map(|call| call.node.as_ref()) {
        if !nodes.contains(node) {
            nodes.push(node.clone());
        }
    }
    nodes
}

/// The nodes whose calls have not all ended.
fn nodes_at_work(next: &Next, open: &[bool]) -> Vec<String> {
    let rest = next.calls.iter().zip(open).filter(|(_, open)| **open);
    nodes_of(&rest.map(|(call, _)| call.clone()).collect::<Vec<_>>())
}

/// The file of a program on this machine: in the folder that `OG_BINARIES` names, beside this program, or on the PATH.
fn find_program(name: &str) -> Result<PathBuf, Error> {
    let named = std::env::var_os("OG_BINARIES").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let beside = std::env::current_exe().ok().and_then(|own| own.parent().map(Path::to_path_buf));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = named
        .into_iter()
        .flat_map(|folder| [folder.join(std::env::consts::ARCH), folder])
        .chain(beside)
        .chain(std::env::split_paths(&path));
    folders.map(|folder| folder.join(name)).find(|file| file.is_file()).ok_or_else(|| {
        Error::not_found(format!("there is no program {name} beside og or on the PATH"))
            .hint("set OG_BINARIES to the folder of the programs")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_changes_a_node_is_done_in_order_and_what_looks_side_by_side() {
        let program = Arc::new(Program::from_file("og_hba", std::env::current_exe().unwrap()).unwrap());
        let call = |at: usize, node: &str, state: &str| {
            let call = NodeCall {
                node: Some(node.to_owned()),
                host: None,
                program: "og_hba".to_owned(),
                args: crate::object(json!({"state": state})),
                put: None,
                timed: false,
            };
            (at, call, program.clone())
        };
        let places = |calls: Vec<HostCall>| -> Vec<Vec<usize>> {
            in_order(calls).iter().map(|group| group.iter().map(|(at, ..)| *at).collect()).collect()
        };
        let looks = vec![call(0, "n1", "query"), call(1, "n1", "query"), call(2, "n2", "query")];
        assert_eq!(places(looks), [vec![0], vec![1], vec![2]]);
        // Two nodes of one host; of n2 nothing is changed.
        let mixed = vec![
            call(0, "n1", "present"),
            call(1, "n2", "query"),
            call(2, "n1", "absent"),
            call(3, "n2", "query"),
            call(4, "n1", "query"),
        ];
        assert_eq!(places(mixed), [vec![0, 2, 4], vec![1], vec![3]]);
    }

    #[test]
    fn what_was_under_way_has_ended_only_where_that_was_seen() {
        let call = |node: &str, state: &str, answer: Value| {
            let args = crate::object(json!({"state": state}));
            let call = NodeCall {
                node: Some(node.to_owned()),
                host: None,
                program: "og_build".to_owned(),
                args,
                put: None,
                timed: false,
            };
            (call, answer)
        };
        let failed = |kind: &str, reason: &str| json!({"failed": true, "changed": false, "msg": "m", "error": {"kind": kind, "reason": reason}});
        let calls = [
            call("n1", "built", json!({"failed": false, "changed": true})),
            call("n2", "built", failed("interrupted", "")),
            call("n3", "built", failed("interrupted", "goes_on")),
            call("n4", "built", failed("unreachable", "")),
            call("n5", "built", Value::Null),
            call("n6", "query", failed("unreachable", "")),
            call("n7", "built", failed("not_found", "")),
        ];
        let Ended::Interrupted { nodes, unconfirmed } = Ended::interrupted(&calls) else { unreachable!() };
        assert_eq!(nodes, ["n2"]);
        assert_eq!(unconfirmed, ["n3", "n4", "n5"]);
    }
}
