//! A workflow is written as if it could call programs and wait for their answers. It is run from its beginning each
//! time, with the answers that there are so far; the first call that has none yet ends it, through `?`, with what is to
//! be asked. So it needs no state but these answers, and is a pure function of them.

use serde_json::{Map, Value};

use crate::answer::Answer;
use crate::args::{Next, NodeCall, Shown};
use crate::cluster::Host;

/// Seconds until something that is not over yet is asked for once more.
const INTERVAL: u64 = 1;

/// What ends a workflow, or a part of it, before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// These calls have no answers yet.
    Ask(Next),
    /// It cannot go on; says why, for a person.
    Failed(String),
}

/// What every step ends with.
pub type Go<T = ()> = Result<T, Stop>;

/// What to do on each node.
pub type Calls = Vec<(String, Map<String, Value>)>;

/// The answers of one step, by node.
#[derive(Clone, Debug, Default)]
pub struct Answered(pub Vec<(String, Answer)>);

impl Answered {
    /// The answer of this node.
    #[must_use]
    pub fn get(&self, node: &str) -> Option<&Answer> {
        self.0.iter().find(|(n, _)| n == node).map(|(_, answer)| answer)
    }

    fn put(&mut self, node: String, answer: Answer) {
        match self.0.iter_mut().find(|(n, _)| *n == node) {
            Some((_, old)) => *old = answer,
            None => self.0.push((node, answer)),
        }
    }

    /// Takes in those of another round.
    pub fn update(&mut self, other: Self) {
        for (node, answer) in other.0 {
            self.put(node, answer);
        }
    }
}

/// The answers, as far as they were taken.
#[derive(Debug)]
pub struct Replay<'a> {
    hosts: &'a [Host],
    answers: &'a [Value],
    taken: usize,
    /// How the answers of the next calls are to be shown.
    pub shown: Shown,
}

impl<'a> Replay<'a> {
    /// From the first answer on.
    #[must_use]
    pub fn new(hosts: &'a [Host], answers: &'a [Value]) -> Self {
        Self { hosts, answers, taken: 0, shown: Shown::default() }
    }

    /// How many answers are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.answers.len() - self.taken
    }

    /// The answers of these calls, or the wish to have them.
    fn take(&mut self, step: &str, calls: Vec<NodeCall>, again: Option<usize>) -> Go<Vec<Answer>> {
        let there = self.answers.get(self.taken..).unwrap_or_default();
        if there.len() < calls.len() {
            let keep = again.filter(|_| there.is_empty()).unwrap_or(self.answers.len());
            let calls = calls.into_iter().skip(there.len()).collect();
            let after = again.map(|_| INTERVAL);
            return Err(Stop::Ask(Next { step: step.to_owned(), calls, keep, after, shown: self.shown }));
        }
        let answers = calls.iter().zip(there).map(|(call, value)| Answer::of(&call.program, value)).collect();
        self.taken += calls.len();
        Ok(answers)
    }

    /// Calls a program on these nodes.
    pub fn ask(&mut self, step: &str, program: &str, calls: &Calls) -> Go<Answered> {
        self.ask_once(step, program, calls, None)
    }

    fn ask_once(&mut self, step: &str, program: &str, calls: &Calls, again: Option<usize>) -> Go<Answered> {
        let asked = calls.iter().map(|(node, args)| self.call(node, program, args)).collect();
        let answers = self.take(step, asked, again)?;
        Ok(Answered(calls.iter().map(|(node, _)| node.clone()).zip(answers).collect()))
    }

    /// Calls a program on these nodes, and again where its answer is `not_yet`, until it is so nowhere.
    pub fn ask_until(
        &mut self,
        step: &str,
        program: &str,
        mut calls: Calls,
        not_yet: impl Fn(&Answer) -> bool,
    ) -> Go<Answered> {
        let mut begin = self.taken;
        let mut all = self.ask(step, program, &calls)?;
        loop {
            let count = calls.len();
            calls.retain(|(node, _)| all.get(node).is_some_and(&not_yet));
            if calls.is_empty() {
                return Ok(all);
            }
            // The answers of a round that asked the same need not be kept.
            let keep = if calls.len() == count { begin } else { self.taken };
            begin = self.taken;
            all.update(self.ask_once(step, program, &calls, Some(keep))?);
        }
    }

    /// Asks several programs of each of these nodes at once; `args` are what each gets beside what is common.
    pub fn look(
        &mut self,
        step: &str,
        programs: &[(&'static str, Map<String, Value>)],
        nodes: &[&str],
    ) -> Go<Vec<Vec<(&'static str, Answer)>>> {
        let mut calls = Vec::new();
        for node in nodes {
            calls.extend(programs.iter().map(|(program, args)| self.call(node, program, args)));
        }
        let answers = self.take(step, calls, None)?;
        let by_node = answers.chunks(programs.len().max(1));
        Ok(by_node.map(|own| programs.iter().map(|(p, _)| *p).zip(own.iter().cloned()).collect()).collect())
    }

    /// Calls a program on this machine, and again while its answer is `not_yet`.
    pub fn ask_here(
        &mut self,
        step: &str,
        program: &str,
        args: &Map<String, Value>,
        not_yet: impl Fn(&Answer) -> bool,
    ) -> Go<Answer> {
        let mut again = None;
        loop {
            let call = NodeCall { node: None, host: None, program: program.to_owned(), args: args.clone() };
            let begin = self.taken;
            let answer = self.take(step, vec![call], again)?.pop().unwrap_or_default();
            if !not_yet(&answer) {
                return Ok(answer);
            }
            again = Some(begin);
        }
    }

    fn call(&self, node: &str, program: &str, args: &Map<String, Value>) -> NodeCall {
        let host = self.hosts.iter().find(|host| host.name == node);
        let mut all = host.map(Host::common).unwrap_or_default();
        all.extend(args.clone());
        NodeCall {
            node: Some(node.to_owned()),
            host: host.map(|host| host.ssh.clone()),
            program: program.to_owned(),
            args: all,
        }
    }
}
