//! Carries the calls of a workflow out on the nodes, and brings the answers back, until there is an outcome.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use og_common::protocol::{Call, Error, ErrorKind, Module, Progress, error_result, take_in};
use og_common::remote::{Connection, Host, Program, Request, check_config};
use og_workflow::Workflows;
use og_workflow::args::{Next, NodeCall, Outcome};
use og_workflow::engine::{Engine, Turn, lock_to_leave};
use serde_json::{Map, Value, json};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::command::Invocation;
use crate::display::{Display, Event};

/// Sessions at once over one connection; sshd refuses more than its MaxSessions, which is 10 unless it is set.
const SESSIONS: usize = 8;
/// A call with its place in the step, and the program that it calls.
type HostCall = (usize, NodeCall, Arc<Program>);

/// What every program is run with.
const FLAGS: [&str; 1] = ["--progress"];
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
    },
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
}

/// Makes the calls of a run.
pub struct Runner<'a> {
    engine: &'a Engine,
    hosts: Arc<Hosts>,
    stop: watch::Receiver<bool>,
    programs: HashMap<String, Arc<Program>>,
    /// The calls made so far, in their order.
    made: Vec<NodeCall>,
}

/// The connections, kept for the whole run.
struct Hosts {
    config: Option<PathBuf>,
    forks: Semaphore,
    open: Mutex<HashMap<String, Arc<Connection>>>,
}

impl Hosts {
    fn get(&self, host: &str) -> Option<Arc<Connection>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get(host).cloned()
    }

    async fn connect(&self, host: &str, stop: watch::Receiver<bool>) -> Result<Arc<Connection>, Error> {
        // While other nodes are built, one may be left alone for so long that its connection ends.
        if let Some(there) = self.get(host)
            && there.is_open().await
        {
            return Ok(there);
        }
        let parsed: Host = host.parse().map_err(|e| Error::bad_args(format!("{host}: {e}")))?;
        let new = Arc::new(Connection::open(&parsed, self.config.as_deref(), stop).await?);
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(host.to_owned(), new.clone());
        Ok(new)
    }

    /// Forgets a connection that was lost: the next step tries it anew.
    fn forget(&self, host: &str) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(host);
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
        Ok(Self { engine, hosts: Arc::new(hosts), stop, programs: HashMap::new(), made: Vec::new() })
    }

    /// Runs the workflow to its end.
    ///
    /// # Errors
    /// A program cannot be found on this machine.
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
                return Ok(Ended::Interrupted { nodes: Vec::new() });
            }
            let new = self.make(&next, display).await?;
            if *self.stop.borrow() {
                let cut_off = |answer: &Value| answer["error"]["kind"] == json!(ErrorKind::Interrupted);
                let ended = next.calls.iter().zip(&new).filter(|(_, answer)| cut_off(answer));
                let ended: Vec<_> = ended.map(|(call, _)| call.clone()).collect();
                return Ok(Ended::Interrupted { nodes: nodes_of(&ended) });
            }
            answers.extend(new);
        }
    }

    /// Makes the calls of a step side by side; returns their answers in their order.
    async fn make(&mut self, next: &Next, display: &mut Display) -> Result<Vec<Value>, Error> {
        let begun = Instant::now();
        self.made.extend(next.calls.iter().cloned());
        display.show(&Event::Step {
            step: &next.step,
            nodes: &nodes_of(&next.calls),
            again: next.after.is_some(),
        });
        let (tell, mut news) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        let mut by_host: Vec<(String, Vec<HostCall>)> = Vec::new();
        for (at, call) in next.calls.iter().enumerate() {
            let Some(host) = call.host.clone() else {
                // It is all there is in its step, and takes no time.
                drop(tell.send(News::Answer(at, answer_here(call.args.clone()).await)));
                continue;
            };
            let program = self.program(&call.program)?;
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
                    answers[at] = answer;
                }
            }
        }
        while tasks.join_next().await.is_some() {}
        display.show(&Event::StepDone { elapsed: begun.elapsed() });
        Ok(answers)
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
        let Some(call) = lock_to_leave(&self.made) else { return LockLeft::None };
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

    /// Ends the connections.
    pub async fn close(self) {
        let open = std::mem::take(&mut *self.hosts.open.lock().unwrap_or_else(PoisonError::into_inner));
        for (_, connection) in open {
            // All calls have ended, and none holds it any more.
            if let Ok(connection) = Arc::try_unwrap(connection) {
                connection.close().await;
            }
        }
    }
}

/// Connects to a host and makes these calls there, side by side.
async fn call_host(
    hosts: Arc<Hosts>,
    host: String,
    calls: Vec<(usize, NodeCall, Arc<Program>)>,
    stop: watch::Receiver<bool>,
    tell: mpsc::UnboundedSender<News>,
) {
    let connection = {
        // The semaphore is never closed.
        let _place = hosts.forks.acquire().await;
        hosts.connect(&host, stop.clone()).await
    };
    let connection = match connection {
        Ok(connection) => connection,
        Err(e) => {
            for (at, ..) in calls {
                drop(tell.send(News::Answer(at, Value::Object(error_result(&e)))));
            }
            return;
        }
    };
    let sessions = Arc::new(Semaphore::new(SESSIONS));
    let mut tasks = JoinSet::new();
    for (at, call, program) in calls {
        let (hosts, host, connection) = (hosts.clone(), host.clone(), connection.clone());
        let (sessions, stop, tell) = (sessions.clone(), stop.clone(), tell.clone());
        tasks.spawn(async move {
            let _session = sessions.acquire().await;
            let _place = hosts.forks.acquire().await;
            let line = line(&call.args);
            let request = Request { program: &program, flags: &FLAGS, arguments: &line };
            let mut hear = |line: &str| match Progress::parse_line(line) {
                Some(progress) => tell.send(News::Progress(at, progress)).is_ok(),
                None => false,
            };
            let answer = connection.call(request, stop, &mut hear).await.unwrap_or_else(|e| {
                if e.kind() == ErrorKind::Unreachable {
                    hosts.forget(&host);
                }
                error_result(&e)
            });
            drop(connection);
            drop(tell.send(News::Answer(at, Value::Object(answer))));
        });
    }
    while tasks.join_next().await.is_some() {}
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
