//! Carries the calls of a workflow out on the nodes, and brings the answers back, until there is an outcome.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use og_common::protocol::{Call, Error, ErrorKind, Module, Progress, Reason, error_result, take_in};
use og_common::remote::{Connection, Program, Request, SshHost, Transfer, Transferred, check_config};
use og_workflow::Workflows;
use og_workflow::args::{Next, NodeCall, Outcome, PutFile};
use og_workflow::engine::{Engine, Turn};
use og_workflow::record::Recorder;
use serde_json::{Map, Value, json};
use tokio::sync::{Mutex as AsyncMutex, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::command::Invocation;
use crate::display::{Display, Event};

/// Sessions at once over one connection; sshd refuses more than its MaxSessions, which is 10 unless it is set.
const SESSIONS: usize = 8;
/// A call with its place in the step, and the program that it calls; none where it puts a file there.
type HostCall = (usize, NodeCall, Option<Arc<Program>>);

/// What every program is run with.
const FLAGS: [&str; 1] = ["--progress"];
/// A connection that was seen to stand so short a time ago is used without another look; it ends later than that where
/// nobody uses it.
const FRESH: Duration = Duration::from_secs(5);
/// How long the lock of an interrupted run may take to be left.
const LEAVING: Duration = Duration::from_secs(30);

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
    if call.args.get("state").is_some_and(|state| state == "query") {
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
    engine: &'a Engine,
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
            if seen.elapsed() < FRESH {
                return Ok(connection);
            }
            if connection.is_open().await {
                self.put(host, connection.clone());
                return Ok(connection);
            }
        }
        let parsed: SshHost = host.parse().map_err(|e| Error::bad_args(format!("{host}: {e}")))?;
        let new = Arc::new(Connection::open(&parsed, self.config.as_deref(), stop).await?);
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
    Progress(usize, Progress),
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
            let program =
                match call.put.as_ref().map_or_else(|| self.program(&call.program).map(Some), |_| Ok(None)) {
                    Ok(program) => program,
                    // What was done before may have to be taken back, which is for the workflow to say.
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
                        quiet: next.shown.may_fail,
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

    /// Lets the cluster's lock of an interrupted run end, where it may hold it.
    pub async fn leave_lock(&mut self) -> LockLeft {
        let mut left = LockLeft::None;
        for call in self.engine.locks_to_leave(&self.made) {
            match self.leave(&call).await {
                LockLeft::Released if matches!(left, LockLeft::None) => left = LockLeft::Released,
                LockLeft::Released | LockLeft::None => {}
                other => left = other,
            }
        }
        left
    }

    async fn leave(&mut self, call: &NodeCall) -> LockLeft {
        let leave = async {
            let program = self.program(&call.program)?;
            // The run's own wish to stop is fulfilled by now.
            let (_tell, stop) = watch::channel(false);
            let host = call.host.clone().unwrap_or_default();
            let connection = self.hosts.connect(&host, stop.clone()).await?;
            let line = line(&call.args);
            let request = Request { program: &program, flags: &[], arguments: &line };
            connection.call(request, stop, &mut |_| false).await
        };
        match tokio::time::timeout(LEAVING, leave).await {
            Ok(Ok(answer)) if answer.get("failed") == Some(&Value::Bool(false)) => LockLeft::Released,
            Ok(Ok(answer)) => {
                LockLeft::Failed(answer.get("msg").and_then(Value::as_str).unwrap_or_default().to_owned())
            }
            Ok(Err(e)) => LockLeft::Failed(e.to_string()),
            Err(_) => LockLeft::Failed(format!("no answer within {} s", LEAVING.as_secs())),
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

/// Makes these calls on a host, side by side. Each connects when it is its turn, as a connection that waits ends; the first
/// that cannot answers for all.
async fn call_host(
    hosts: Arc<Hosts>,
    host: String,
    calls: Vec<HostCall>,
    stop: watch::Receiver<bool>,
    tell: mpsc::UnboundedSender<News>,
) {
    let failed: Arc<AsyncMutex<Option<Map<String, Value>>>> = Arc::default();
    let sessions = Arc::new(Semaphore::new(SESSIONS));
    let mut tasks = JoinSet::new();
    for (at, call, program) in calls {
        let (hosts, host, failed) = (hosts.clone(), host.clone(), failed.clone());
        let (sessions, stop, tell) = (sessions.clone(), stop.clone(), tell.clone());
        tasks.spawn(async move {
            // The semaphores are never closed.
            let _session = sessions.acquire().await;
            let _place = hosts.forks.acquire().await;
            let connection = {
                // One connects, and the others find what came of it.
                let mut failed = failed.lock().await;
                match &*failed {
                    Some(answer) => Err(answer.clone()),
                    None => hosts
                        .connect(&host, stop.clone())
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
            let Some(program) = program else {
                let answer = put(&connection, &call, stop, at, tell.clone()).await;
                if answer["error"]["kind"] == json!(ErrorKind::Unreachable) {
                    hosts.forget(&host, &connection);
                }
                drop(connection);
                drop(tell.send(News::Answer(at, answer)));
                return;
            };
            let line = line(&call.args);
            let request = Request { program: &program, flags: &FLAGS, arguments: &line };
            let mut hear = |line: &str| match Progress::parse_line(line) {
                Some(progress) => tell.send(News::Progress(at, progress)).is_ok(),
                None => false,
            };
            let (mut answer, times) =
                connection.call_timed(request, stop, &mut hear).await.unwrap_or_else(|e| {
                    if e.kind() == ErrorKind::Unreachable {
                        hosts.forget(&host, &connection);
                    }
                    (error_result(&e), None)
                });
            if let Some((sent_at, received_at)) = times.filter(|_| call.timed) {
                answer.insert("sent_at".to_owned(), json!(milliseconds(sent_at)));
                answer.insert("received_at".to_owned(), json!(milliseconds(received_at)));
            }
            drop(connection);
            drop(tell.send(News::Answer(at, Value::Object(answer))));
        });
    }
    while tasks.join_next().await.is_some() {}
}

/// Puts the call's file on the host; returns the answer, which has the keys of a program's.
async fn put(
    connection: &Connection,
    call: &NodeCall,
    stop: watch::Receiver<bool>,
    at: usize,
    tell: mpsc::UnboundedSender<News>,
) -> Value {
    let Some(PutFile { from, to, sha256, mode, check_mode }) = call.put.clone() else { return Value::Null };
    let begun = Instant::now();
    let file = Transfer {
        from: PathBuf::from(&from),
        to: to.clone(),
        sha256,
        mode: mode.clone(),
        check: check_mode,
    };
    let hear = move |progress| drop(tell.send(News::Progress(at, progress)));
    let done = connection.put(&file, stop, hear).await;
    let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let changed =
        |action: String| json!({"changed": true, "failed": false, "msg": action, "actions": [action]});
    let mut answer = match done {
        Ok(Transferred::Present) => {
            json!({"changed": false, "failed": false, "msg": format!("{to} is there")})
        }
        Ok(Transferred::ModeSet) => changed(format!("set the mode of {to} to {mode}")),
        Ok(Transferred::Sent(bytes)) => changed(format!("transfer {to}: {bytes}")),
        Err(e) => Value::Object(error_result(&e)),
    };
    answer["elapsed_ms"] = json!(elapsed_ms);
    answer
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
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use og_common::protocol::Bytes;

    use super::*;

    /// A host h that this configuration of ssh alone knows, in the folder, without any port; none where no sshd is installed.
    fn make_host(root: &Path) -> Option<PathBuf> {
        const SSHD: &str = "/usr/sbin/sshd";
        if !Path::new(SSHD).exists() {
            return None;
        }
        // It wants this folder when it is run by root.
        drop(fs::create_dir_all("/run/sshd"));
        for key in ["key", "host_key"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(root.join(key))
                .status();
            assert!(made.unwrap().success());
        }
        let here = root.display();
        let server = format!(
            "HostKey {here}/host_key\nAuthorizedKeysFile {here}/key.pub\nUsePAM no\nStrictModes no\nSetEnv HOME={here}\n"
        );
        fs::write(root.join("sshd_config"), server).unwrap();
        let known = fs::read_to_string(root.join("host_key.pub")).unwrap();
        fs::write(root.join("known_hosts"), format!("h {known}")).unwrap();
        let client = format!(
            "Host h\n  ProxyCommand {SSHD} -i -f {here}/sshd_config\n  IdentityFile {here}/key\n  IdentitiesOnly yes\n  \
             UserKnownHostsFile {here}/known_hosts\n"
        );
        fs::write(root.join("config"), client).unwrap();
        Some(root.join("config"))
    }

    #[test]
    fn a_file_is_put_on_a_host_once_and_continued() {
        // 3 MiB of this, as sha256sum prints it.
        const HASH: &str = "5bcd44e1ae4d34173b36402d6b2f1ecdb3460aac1d66937a5fcc92beb5ec6779";
        let root = tempfile::tempdir().unwrap();
        let Some(config) = make_host(root.path()) else {
            eprintln!("skipped: no sshd");
            return;
        };
        let (from, to) = (root.path().join("from"), root.path().join("new/a file's"));
        let content = b"0123456789abcdef".repeat(3 << 16);
        fs::write(&from, &content).unwrap();
        let file = |sha256: &str, mode: &str, check_mode: bool| PutFile {
            from: from.display().to_string(),
            to: to.display().to_string(),
            sha256: sha256.to_owned(),
            mode: mode.to_owned(),
            check_mode,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_tell, stop) = watch::channel(false);
            let connection =
                Connection::open(&"h".parse().unwrap(), Some(&config), stop.clone()).await.unwrap();
            let (news, mut heard) = mpsc::unbounded_channel();
            let ask = async |file: PutFile| {
                let call = NodeCall {
                    node: Some("n1".to_owned()),
                    host: Some("h".to_owned()),
                    program: String::new(),
                    args: Map::new(),
                    put: Some(file),
                    timed: false,
                };
                put(&connection, &call, stop.clone(), 0, news.clone()).await
            };
            let told = async |file: PutFile| {
                let answer = ask(file).await;
                (answer["changed"] == json!(true), answer["msg"].as_str().unwrap().to_owned())
            };
            let sent = |size: &str| (true, format!("transfer {}: {size}", to.display()));
            assert_eq!(told(file(HASH, "0640", true)).await, sent("3.0 MiB"));
            assert!(!to.exists() && !to.parent().unwrap().exists());
            // What a transfer that broke off left.
            fs::create_dir(to.parent().unwrap()).unwrap();
            let part = to.with_file_name(format!("a file's.og-{}.part", &HASH[..16]));
            fs::write(&part, &content[..2 << 20]).unwrap();
            assert_eq!(told(file(HASH, "0640", false)).await, sent("1.0 MiB"));
            assert_eq!(fs::read(&to).unwrap(), content);
            assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o7777, 0o640);
            let Ok(News::Progress(0, progress)) = heard.try_recv() else { panic!("nothing was heard") };
            assert!(
                progress.bytes > Some(Bytes::new(2 << 20))
                    && progress.total_bytes == Some(Bytes::new(3 << 20))
            );
            assert_eq!(told(file(HASH, "640", false)).await, (false, format!("{} is there", to.display())));
            assert_eq!(
                told(file(HASH, "0600", false)).await.1,
                format!("set the mode of {} to 0600", to.display())
            );
            // Another content takes its place only when it is the right one.
            let other = ask(file(&"0".repeat(64), "0600", false)).await;
            assert_eq!(
                (&other["error"]["kind"], fs::read(&to).unwrap() == content),
                (&json!("corrupt"), true),
                "{other}"
            );
            assert_eq!(fs::read_dir(to.parent().unwrap()).unwrap().count(), 1);
            fs::remove_file(&to).unwrap();
            fs::create_dir(&to).unwrap();
            assert_eq!(ask(file(HASH, "0600", false)).await["error"]["kind"], json!("refused"));
            fs::remove_dir(&to).unwrap();
            // More than any disk has, of which nothing is stored.
            fs::File::options().write(true).open(&from).unwrap().set_len(1 << 43).unwrap();
            let full = ask(file(HASH, "0600", false)).await;
            assert_eq!(full["error"]["reason"], json!("disk_full"), "{full}");
            assert_eq!(fs::read_dir(to.parent().unwrap()).unwrap().count(), 0);
            fs::remove_file(&from).unwrap();
            assert_eq!(ask(file(HASH, "0600", false)).await["error"]["kind"], json!("not_found"));
            connection.close().await;
        });
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
