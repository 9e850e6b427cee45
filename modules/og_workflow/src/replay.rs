//! A workflow is written as if it could call programs and wait for their answers. It is run from its beginning each
//! time, with the answers that there are so far; the first call that has none yet ends it, through `?`, with what is to
//! be asked. So it needs no state but these answers, and is a pure function of them.

use serde_json::{Map, Value};

use crate::answer::Answer;
use crate::args::{Next, NodeCall, PutFile, Shown};
use crate::cluster::InventoryHost;
use crate::plan::PREFLIGHT;
use crate::seen::PROBE;

/// Seconds until something that is not over yet is asked for once more.
const POLL_INTERVAL_SECONDS: u64 = 1;

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

/// What to ask of one node: programs and their arguments.
pub type Asked = Vec<(&'static str, Map<String, Value>)>;

/// What a node said: the programs and their answers.
pub type Told = Vec<(&'static str, Answer)>;

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
    hosts: &'a [InventoryHost],
    answers: &'a [Value],
    taken: usize,
    /// How the answers of the next calls are to be shown.
    pub shown: Shown,
    /// Seconds to wait before the next calls.
    pub pause: Option<u64>,
    /// Whether other calls follow the next ones.
    pub more: bool,
}

impl<'a> Replay<'a> {
    /// From the first answer on.
    #[must_use]
    pub fn new(hosts: &'a [InventoryHost], answers: &'a [Value]) -> Self {
        Self { hosts, answers, taken: 0, shown: Shown::default(), pause: None, more: false }
    }

    /// How many answers are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.answers.len() - self.taken
    }

    /// The answers of these calls, or the wish to have them.
    fn take_answers(&mut self, step: &str, calls: Vec<NodeCall>, again: Option<usize>) -> Go<Vec<Answer>> {
        let there = self.answers.get(self.taken..).unwrap_or_default();
        let pause = self.pause.take().filter(|_| there.is_empty());
        if there.len() < calls.len() {
            let keep = again.filter(|_| there.is_empty()).unwrap_or(self.answers.len());
            let calls = calls.into_iter().skip(there.len()).collect();
            let after = again.map(|_| POLL_INTERVAL_SECONDS).or(pause);
            let (step, more, shown) = (step.to_owned(), self.more, self.shown);
            return Err(Stop::Ask(Next { step, calls, keep, after, more, shown }));
        }
        let answers = calls
            .iter()
            .zip(there)
            .map(|(call, value)| Answer::from_call(&call.program, &call.args, value))
            .collect();
        self.taken += calls.len();
        Ok(answers)
    }

    /// Calls a program on these nodes.
    pub fn ask(&mut self, step: &str, program: &str, calls: &Calls) -> Go<Answered> {
        let [answered] = self.ask_programs(step, [(program, calls)])?;
        Ok(answered)
    }

    /// Calls several programs in one step; a node runs its own one after the other, in the order in which they stand here.
    pub fn ask_programs<const N: usize>(
        &mut self,
        step: &str,
        programs: [(&str, &Calls); N],
    ) -> Go<[Answered; N]> {
        let each = |(program, calls): (&str, &Calls)| -> Vec<NodeCall> {
            calls.iter().map(|(node, args)| self.call(node, program, args)).collect()
        };
        let asked = programs.into_iter().flat_map(each).collect();
        let mut answers = self.take_answers(step, asked, None)?.into_iter();
        let nodes = |calls: &Calls| calls.iter().map(|(node, _)| node.clone()).collect::<Vec<_>>();
        Ok(programs.map(|(_, calls)| Answered(nodes(calls).into_iter().zip(answers.by_ref()).collect())))
    }

    /// Has a program on these nodes receive files from this machine.
    pub fn put(
        &mut self,
        step: &str,
        program: &str,
        files: &[(String, Map<String, Value>, PutFile)],
    ) -> Go<Answered> {
        let call = |(node, args, file): &(String, Map<String, Value>, PutFile)| NodeCall {
            put: Some(file.clone()),
            ..self.call(node, program, args)
        };
        let asked = files.iter().map(call).collect();
        let answers = self.take_answers(step, asked, None)?;
        Ok(Answered(files.iter().map(|(node, ..)| node.clone()).zip(answers).collect()))
    }

    /// Asks several programs of each of these nodes at once, each with its arguments.
    pub fn inspect(&mut self, step: &str, nodes: &[(&str, Asked)]) -> Go<Vec<Told>> {
        Ok(self.inspect_after(step, ("", &Calls::new()), nodes)?.1)
    }

    /// The same in one step with the calls of another program, which a node runs before it is asked.
    pub fn inspect_after(
        &mut self,
        step: &str,
        (program, calls): (&str, &Calls),
        nodes: &[(&str, Asked)],
    ) -> Go<(Answered, Vec<Told>)> {
        let before = calls.iter().map(|(node, args)| self.call(node, program, args));
        let each = nodes.iter().flat_map(|(node, programs)| programs.iter().map(move |own| (*node, own)));
        let asked = each.map(|(node, (program, args))| self.call(node, program, args));
        let all = before.chain(asked).collect();
        let mut answers = self.take_answers(step, all, None)?.into_iter();
        let done = Answered(calls.iter().map(|(node, _)| node.clone()).zip(answers.by_ref()).collect());
        let names = |programs: &Asked| -> Told {
            programs.iter().map(|(program, _)| *program).zip(answers.by_ref()).collect()
        };
        Ok((done, nodes.iter().map(|(_, programs)| programs).map(names).collect()))
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
            let call = NodeCall {
                node: None,
                host: None,
                program: program.to_owned(),
                args: args.clone(),
                put: None,
                timed: false,
            };
            let begin = self.taken;
            let answer = self.take_answers(step, vec![call], again)?.pop().unwrap_or_default();
            if !not_yet(&answer) {
                return Ok(answer);
            }
            again = Some(begin);
        }
    }

    fn call(&self, node: &str, program: &str, args: &Map<String, Value>) -> NodeCall {
        let host = self.hosts.iter().find(|host| host.name == node);
        let mut all = host.map(InventoryHost::common).unwrap_or_default();
        all.extend(args.clone());
        NodeCall {
            node: Some(node.to_owned()),
            host: host.map(|host| host.ssh.clone()),
            program: program.to_owned(),
            args: all,
            put: None,
            // The clocks of the nodes are compared.
            timed: [PREFLIGHT, PROBE].contains(&program),
        }
    }
}
