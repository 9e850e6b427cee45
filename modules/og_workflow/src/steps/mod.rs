//! The workflows, step by step, and the list of them, [`WORKFLOWS`]. What each step needs is decided in [`crate::plan`].

mod clear;
mod collect;
mod configure;
mod deploy;
mod drop;
mod expand;
mod failover;
mod host;
mod package;
mod preflight;
mod probe;
mod repair;
mod restart;
mod ssl;
mod status;
mod switchover;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use og_common::gauss::managed::Manager;
use og_common::gauss::{ClusterLock, DbState, NodeState, Role};
use og_common::hba::RuleFields;
use og_common::protocol::{ArgRule, Lsn};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use collect::Collected;
pub use preflight::NodePreflight;

use crate::answer::Answer;
use crate::args::{Change, Commits, Counts, Options, Outcome, Reason, Shown};
use crate::cluster::{InventoryHost, Node, NoneReached};
use crate::health::ClusterHealth;
use crate::health::assess::{PARAMETERS as OF_STATUS, assess};
use crate::owner;
use crate::plan::preflight::Policy;
use crate::plan::{self, Case, Files, Outlook, PARAMETERS, PREFLIGHT, Purpose, Shared};
use crate::replay::{Answered, Calls, Go, Replay, Stop};
use crate::seen::{INITDB, LogRecords, PROGRAMS, SESSIONS, Seen};
use crate::table::table;
use crate::text::unified;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Workflow {
    /// Add standbys and cascade standbys to a running cluster, or the first standby to a single node.
    Expand,
    /// Remove standbys or cascade standbys from a cluster, dead or alive.
    Drop,
    /// Make a cluster of nodes on which openGauss is installed and no database exists.
    Deploy,
    /// Remove what a dropped node left on its host.
    Clear,
    /// Find why nodes are down or do not follow, and repair them by the mildest step that helps.
    Repair,
    /// Set parameters on all nodes of the cluster.
    Configure,
    /// Restart the nodes of the cluster one by one.
    Restart,
    /// Make a standby the primary, and the primary a standby.
    Switchover,
    /// Make a standby the primary when the primary is lost.
    Failover,
    /// Show the state of the cluster.
    Status,
    /// Check the nodes before a change.
    Preflight,
    /// Collect what somebody needs to help from afar.
    Collect,
    /// Tell whether the run that `owner` stands for is no more; it must have been on this machine.
    Owner,
    /// Tell of the file of a package on this machine, which `og_package` names.
    Package,
    /// Tell of the certificates on this machine, in the folder that `og_ssl` names, for the nodes in `targets`.
    Certificates,
}

/// The workflows that callers offer. Roles, playbooks, Salt's functions and states, documents and tests are made of this
/// list by `cargo xtask docs`.
pub const WORKFLOWS: &[WorkflowEntry] = &[
    expand::ENTRY,
    drop::ENTRY,
    deploy::ENTRY,
    clear::ENTRY,
    repair::ENTRY,
    configure::ENTRY,
    restart::ENTRY,
    switchover::ENTRY,
    failover::ENTRY,
    status::ENTRY,
    preflight::ENTRY,
    collect::ENTRY,
];

/// What callers and documents know of a workflow, and what runs it.
#[derive(Debug)]
pub struct WorkflowEntry {
    /// The workflow.
    pub workflow: Workflow,
    /// Its name, as in the arguments.
    pub name: &'static str,
    /// What it does to the cluster, in a few words.
    pub title: &'static str,
    /// What it does, in a line without a final stop.
    pub about: &'static str,
    /// What a user should know before it runs, in sentences.
    pub details: &'static [&'static str],
    /// Whether it changes anything of the cluster, and so takes the lock.
    pub changes: bool,
    /// The nodes that it is for; none where it is for the whole cluster.
    pub targets: Option<Targets>,
    /// The options that only the workflows take which name them.
    pub options: &'static [&'static str],
    /// Which findings of og_preflight refuse it, and which are told; none where it makes no such checks.
    pub(crate) preflight: Option<Policy>,
    run: fn(&mut Run, &[String]) -> Go,
}

/// How callers name the nodes that a workflow is for.
#[derive(Debug)]
pub struct Targets {
    /// The variable that names them.
    pub option: &'static str,
    /// Which nodes these are, without a final stop.
    pub about: &'static str,
    /// Some nodes, for examples.
    pub example: &'static str,
    /// The function of Salt's state `og_cluster`.
    pub state: &'static str,
    /// What is so when that state is reached, without a final stop.
    pub state_about: &'static str,
    /// Whether they must be named; else the workflow finds them itself.
    pub required: bool,
}

impl Workflow {
    /// Returns what callers know of it; nothing of what is no workflow on nodes.
    #[must_use]
    pub fn entry(self) -> Option<&'static WorkflowEntry> {
        WORKFLOWS.iter().find(|entry| entry.workflow == self)
    }
}

impl WorkflowEntry {
    /// Whether the option of this name is one of its own.
    #[must_use]
    pub fn has_own(&self, option: &str) -> bool {
        self.options.contains(&option)
    }

    /// Whether it takes the option of this name: one of its own, or one that no workflow names.
    #[must_use]
    pub fn has_option(&self, option: &str) -> bool {
        self.options.contains(&option) || !WORKFLOWS.iter().any(|entry| entry.options.contains(&option))
    }
}

/// What each workflow needs of the arguments of og_workflow.
pub const RULES: [ArgRule; WORKFLOWS.len()] = {
    const CLUSTER: &[&str] = &["cluster"];
    let mut rules = [ArgRule::AnyOf(CLUSTER); WORKFLOWS.len()];
    let mut at = 0;
    while at < WORKFLOWS.len() {
        let entry = &WORKFLOWS[at];
        let needs = match &entry.targets {
            Some(targets) if targets.required => &["cluster", "targets"],
            _ => CLUSTER,
        };
        rules[at] = ArgRule::RequiredIf { key: "workflow", value: entry.name, needs };
        at += 1;
    }
    rules
};

/// How a workflow is to be run.
#[derive(Debug)]
pub struct How {
    /// Its options.
    pub options: Options,
    /// Change nothing.
    pub check: bool,
    /// Tell changes of files.
    pub diff: bool,
    /// Who holds the lock.
    pub owner: String,
    /// Hosts that the caller cannot call.
    pub left_out: Vec<String>,
}

/// The title of the inspection with which each workflow begins.
const INSPECT: &str = "Inspect all nodes";
/// The inspection with which most end.
const INSPECT_AGAIN: &str = "Inspect the cluster again";
/// What is asked by it.
const AT_REST: [&str; 2] = ["og_node_state", "og_replconninfo"];
/// The answers of a step that changes nothing of the cluster; what a failure means is told by the workflow.
const QUIET: Shown = Shown { counts: Counts::Never, may_fail: true };

/// Runs the workflow as far as the answers reach: what to ask next, or what came of it.
///
/// # Errors
/// What to ask next.
pub fn run(
    workflow: Workflow,
    targets: &[String],
    hosts: &[InventoryHost],
    how: &How,
    replay: Replay,
) -> Result<(Outcome, usize), crate::args::Next> {
    let mut it = Run {
        workflow,
        targets,
        checks: false,
        checked: false,
        how,
        hosts,
        replay,
        steps: Vec::new(),
        warnings: Vec::new(),
        findings: Vec::new(),
        table: Vec::new(),
        cluster: None,
        before: None,
        after: None,
        preflight: None,
        collected: None,
        causes: Vec::new(),
        diagnoses: false,
        primary: None,
        more_parameters: None,
        deferred_rules: BTreeMap::new(),
        streamed: BTreeSet::new(),
        reason: None,
        serving: Vec::new(),
        probed: Vec::new(),
        commits: None,
    };
    let done = match workflow.entry() {
        Some(entry) => (entry.run)(&mut it, targets),
        None => Err(Stop::Failed("this is no workflow on nodes".to_owned())),
    };
    let why = match done {
        Ok(()) => None,
        Err(Stop::Failed(why)) => Some(why),
        Err(Stop::Ask(next)) => return Err(next),
    };
    // Of a run that ends without releasing its lock, as of a switchover that is under way.
    if let Err(Stop::Ask(next)) = it.stop_probe() {
        return Err(next);
    }
    let left = it.replay.remaining();
    Ok((it.outcome(why), left))
}

/// How many times, a second apart, a standby is inspected that streamed before, or whose run was killed: openGauss 5.0.3 ends the connection
/// of a standby when a cascade standby connects to it of which the primary has a slot, and the standby connects again within
/// five seconds.
const MAX_RECONNECT_INSPECTIONS: usize = 10;

/// Milliseconds after which what the other nodes said is old.
const LONG_WAIT_MS: u64 = 2_000;

/// What one step did on one node.
struct Done {
    step: String,
    node: String,
    answer: Answer,
}

/// One run.
struct Run<'a> {
    workflow: Workflow,
    /// The nodes that it is about.
    targets: &'a [String],
    /// Whether the next inspection makes the preflight checks, too.
    checks: bool,
    /// Whether they were made.
    checked: bool,
    how: &'a How,
    hosts: &'a [InventoryHost],
    replay: Replay<'a>,
    steps: Vec<Done>,
    warnings: Vec<String>,
    findings: Vec<String>,
    table: Vec<String>,
    cluster: Option<ClusterHealth>,
    before: Option<Box<ClusterHealth>>,
    after: Option<Box<ClusterHealth>>,
    preflight: Option<Vec<NodePreflight>>,
    collected: Option<Collected>,
    causes: Vec<Case>,
    /// Whether nodes that are not well are asked why.
    diagnoses: bool,
    /// Who ran as primary when the nodes were last inspected, where it was one node.
    primary: Option<String>,
    /// The parameters that are asked for beside [`PARAMETERS`] when all programs are asked, and which of all that are set
    /// wait for a restart.
    more_parameters: Option<Vec<String>>,
    /// By node, pg_hba.conf rules of its own that a build replaced, and which are still to be added again.
    deferred_rules: BTreeMap<String, Vec<RuleFields>>,
    /// Nodes that streamed when a step of this run had them wait for it.
    streamed: BTreeSet<String>,
    /// What came of a change of roles that failed.
    reason: Option<Reason>,
    /// The nodes that took commits, or may by a change of roles, when they were last inspected.
    serving: Vec<String>,
    /// The nodes on which a probe is at work.
    probed: Vec<String>,
    /// What the probes saw.
    commits: Option<Commits>,
}

/// Arguments of a program.
fn args(value: Value) -> Map<String, Value> {
    if let Value::Object(map) = value { map } else { Map::new() }
}

impl Run<'_> {
    // What was seen, and what follows from it.

    /// Ends the workflow where there are findings.
    fn refuse(&mut self, findings: Vec<String>) -> Go {
        if findings.is_empty() {
            return Ok(());
        }
        let why = plan::list_findings(&findings, &self.describe_changes());
        self.findings = findings;
        Err(Stop::Failed(why))
    }

    /// What follows the number of findings: that nothing was changed, or which steps changed something before.
    fn describe_changes(&self) -> String {
        let mut changed: Vec<(&str, Vec<&str>)> = Vec::new();
        for done in self.steps.iter().filter(|done| done.answer.has_changed() && !self.how.check) {
            match changed.iter_mut().find(|(step, _)| *step == done.step) {
                Some((_, nodes)) if nodes.contains(&done.node.as_str()) => {}
                Some((_, nodes)) => nodes.push(&done.node),
                None => changed.push((&done.step, vec![&done.node])),
            }
        }
        if changed.is_empty() {
            return "; nothing was changed".to_owned();
        }
        let listed = changed.iter().map(|(step, nodes)| format!("{step} ({})", nodes.join(", ")));
        format!("; done before: {}", listed.collect::<Vec<_>>().join("; "))
    }

    fn inspect(&mut self, step: &str, programs: &[&'static str], gone: &[String]) -> Go<Vec<Node>> {
        self.replay.shown = QUIET;
        Ok(self.inspect_after(step, ("", Calls::new()), programs, gone)?.1)
    }

    /// The same in one step with calls of another program, which a node runs before it is asked.
    fn inspect_after(
        &mut self,
        step: &str,
        (program, calls): (&str, Calls),
        programs: &[&'static str],
        gone: &[String],
    ) -> Go<(Answered, Vec<Node>)> {
        let calls = self.complete(calls);
        let purpose = plan::preflight::purpose(self.workflow).filter(|_| self.checks);
        let targets = self.targets;
        let (timeout, hosts, diagnoses) = (self.how.options.og_look_timeout, self.hosts, self.diagnoses);
        let more = self.more_parameters.clone().filter(|_| programs.starts_with(&PROGRAMS));
        let more = more.as_deref();
        let asks_all = more.is_some() || programs == status::PROGRAMS;
        let makes = self.workflow == Workflow::Deploy;
        let password = if makes { deploy::password_file(&self.how.options) } else { Map::new() };
        let password = &password;
        let asked = |host: &InventoryHost| {
            let node = Node::new(host, None);
            // To look through a data directory takes its time.
            let is_asked = |program: &&&'static str| {
                **program != INITDB || self.workflow != Workflow::Clear || targets.contains(&host.name)
            };
            let asked = programs.iter().filter(is_asked).map(move |program| {
                let mut own = args(json!({"state": "query", "timeout": timeout}));
                match *program {
                    "og_node_state" if diagnoses => {
                        own.insert("diagnose".to_owned(), json!(true));
                    }
                    "og_guc" => {
                        let names: &[&str] =
                            if programs.starts_with(&PROGRAMS) { &PARAMETERS } else { &OF_STATUS };
                        let more = more.iter().copied().flatten().map(String::as_str);
                        // By name og_guc tells of no other parameter that waits for a restart.
                        let all = asks_all.then_some("*");
                        let names: Vec<&str> = names.iter().copied().chain(more).chain(all).collect();
                        own.insert("names".to_owned(), json!(names));
                    }
                    // The file is checked where the first database may be made.
                    INITDB if node.role == Role::Primary => own.extend(password.clone()),
                    // Whether ssh leads to the machine that has this address.
                    "og_replconninfo" => {
                        own.insert("local".to_owned(), json!({"host": node.address}));
                    }
                    SESSIONS => {
                        own.insert("min_age".to_owned(), json!(plan::LONG_TRANSACTION_SECONDS));
                    }
                    _ => {}
                }
                (*program, own)
            });
            let checks = purpose.map(|purpose| {
                let wanted = plan::preflight::wanted(host, hosts, targets, purpose);
                (PREFLIGHT, args(preflight::preflight_args(purpose, &wanted, timeout)))
            });
            asked.chain(checks).collect::<Vec<_>>()
        };
        let aside = |name: &String| gone.contains(name) || self.how.left_out.contains(name);
        let there = hosts.iter().filter(|h| !aside(&h.name)).map(|h| (h.name.as_str(), asked(h)));
        let there: Vec<_> = there.collect();
        let (done, answers) = self.replay.inspect_after(step, (program, &calls), &there)?;
        let mut answers = answers.into_iter();
        let mut seen = |host: &InventoryHost| {
            let own = if aside(&host.name) { None } else { answers.next() };
            own.map(|own| Seen::from_answers(&own))
        };
        let mut nodes: Vec<_> = hosts.iter().map(|host| Node::new(host, seen(host))).collect();
        if diagnoses && programs.starts_with(&PROGRAMS) {
            self.compare_logs(&mut nodes)?;
        }
        self.primary = plan::current_primary(&nodes).map(|n| n.name.clone());
        self.note_serving(&nodes);
        if self.before.is_none() && programs.contains(&"og_node_state") {
            self.before = Some(Box::new(self.assess(&nodes)));
        }
        Ok((done, nodes))
    }

    fn assess(&self, nodes: &[Node]) -> ClusterHealth {
        assess(nodes, self.how.options.og_max_lag_bytes)
    }

    /// Looks in the logs of the nodes for the last record of each that is not well, and for the recorded forks.
    fn compare_logs(&mut self, nodes: &mut [Node]) -> Go {
        let last = |n: &Node| n.seen().diagnosis.as_ref().and_then(|d| d.last_record);
        let mut places: Vec<Lsn> = nodes.iter().filter_map(last).map(|record| record.begin).collect();
        if places.is_empty() {
            return Ok(());
        }
        places.extend(nodes.iter().flat_map(|n| &n.seen().forks).map(|fork| fork.record.begin));
        let has_log =
            |n: &&Node| n.is_reachable() && n.seen().state_error.is_none() && n.system_id().is_some();
        let asked: Vec<String> = nodes.iter().filter(has_log).map(|n| n.name.clone()).collect();
        for (name, records) in self.log_records(&asked, places)? {
            if let Some(seen) = nodes.iter_mut().find(|n| n.name == name).and_then(|n| n.seen.as_mut()) {
                seen.log_records = records;
            }
        }
        Ok(())
    }

    /// Asks these nodes for the records of their logs at these places.
    fn log_records(&mut self, nodes: &[String], mut places: Vec<Lsn>) -> Go<BTreeMap<String, LogRecords>> {
        places.sort();
        places.dedup();
        let own = json!({
            "state": "query",
            "log_records": places,
            "timeout": self.how.options.og_look_timeout,
        });
        self.replay.shown = QUIET;
        let done = self.replay.ask("Compare the logs", "og_node_state", &calls_on(nodes, &own))?;
        let told = |(name, answer): (String, Answer)| Some((name, answer.read().ok()?));
        Ok(done.0.into_iter().filter_map(told).collect())
    }

    /// Looks who is the primary by now: somebody else may have switched over. In words, when it is another one.
    fn describe_primary_change(&mut self, og: &Shared) -> Go<Option<String>> {
        let nodes = self.inspect("Find the current primary", &["og_node_state"], &[])?;
        Ok(plan::describe_primary_change(&nodes, &og.primary))
    }

    /// Has nodes wait for a state by these calls of og_node_state, and looks in the same step who is the primary by now, as
    /// [`Self::describe_primary_change`] does; once more where the others were asked long before the wait was over.
    fn wait_and_describe_primary_change(
        &mut self,
        name: &str,
        og: &Shared,
        calls: Calls,
    ) -> Go<(Answered, Option<String>)> {
        self.replay.shown = Shown::default();
        let asked = ["og_node_state"];
        let (waited, nodes) = self.inspect_after(name, ("og_node_state", calls), &asked, &[])?;
        self.add_warnings(&waited);
        self.record_answers(name, &waited);
        self.note_streaming(&waited);
        let long = |(_, answer): &(String, Answer)| answer.read_key::<u64>("elapsed_ms") > LONG_WAIT_MS;
        let moved = if failure_reasons(&[&waited]).is_empty() && waited.0.iter().any(long) {
            self.describe_primary_change(og)?
        } else {
            plan::describe_primary_change(&nodes, &og.primary)
        };
        Ok((waited, moved))
    }

    /// Inspects the nodes and plans.
    ///
    /// # Errors
    /// All findings, before anything is changed.
    fn begin<P>(&mut self, plan: impl Fn(&[Node], &Options) -> Outlook<P>) -> Go<P> {
        self.begin_asking(INSPECT, &PROGRAMS, plan)
    }

    /// The same with these programs, which begin with those that all workflows ask.
    fn begin_asking<P>(
        &mut self,
        step: &str,
        programs: &[&'static str],
        plan: impl Fn(&[Node], &Options) -> Outlook<P>,
    ) -> Go<P> {
        let mut inspections = 0;
        // Once: a later inspection of the same run is after the same hosts.
        let checks = !std::mem::replace(&mut self.checked, true);
        loop {
            self.checks = checks;
            let nodes = self.inspect(step, programs, &[])?;
            self.checks = false;
            // Hidden ones are for the plan to name.
            if let Some(it) = NoneReached::find(&nodes).filter(|_| nodes.iter().all(|n| n.seen.is_some())) {
                self.refuse(vec![it.in_words()])?;
            }
            let mut outlook = plan(&nodes, &self.how.options);
            if checks {
                plan::add_preflight(
                    &mut outlook,
                    &nodes,
                    self.workflow,
                    self.targets,
                    &self.how.options,
                    self.how.check,
                );
            }
            let owner = outlook.lock.as_ref().map(|lock| lock.owner.clone()).unwrap_or_default();
            let over = self.is_over(&owner)?;
            // What a killed run had begun goes on for a moment, which changes what was just seen.
            inspections += 1;
            let reconnects = |n: &Node| {
                n.live_role().is_some_and(Role::is_following) && n.state().db_state == DbState::NeedRepair
            };
            let goes_on = outlook.plan.is_none()
                && inspections < MAX_RECONNECT_INSPECTIONS
                && nodes.iter().any(reconnects);
            if over && (inspections == 1 || goes_on) {
                self.replay.pause = goes_on.then_some(1);
                continue;
            }
            let Some(plan) = outlook.plan else {
                let refusal = outlook.refusal(over, &self.describe_changes());
                self.findings = outlook.findings;
                return Err(Stop::Failed(refusal));
            };
            self.warnings.extend(outlook.warnings);
            return Ok(plan);
        }
    }

    /// Whether the owner of a lock is a run on this machine that is no more; waits until it has left nothing at work. What
    /// it left says a caller whose calls outlive it: Salt's runner adds it as `left`, the jobs on the minions.
    fn is_over(&mut self, text: &str) -> Go<bool> {
        let Some(owner) = owner::Owner::find(text) else { return Ok(false) };
        let asked = args(json!({"workflow": "owner", "owner": owner.to_string()}));
        let left = |answer: &Answer| answer.texts("left").next().is_some();
        let answer = self.replay.ask_here(
            "Check whether the run that holds the lock is alive",
            "og_workflow",
            &asked,
            left,
        )?;
        Ok(answer.read_key("over"))
    }

    // Steps.

    /// Arguments with what counts for all calls of this run.
    fn complete(&self, calls: Calls) -> Calls {
        let flags = [("check_mode", self.how.check), ("diff", self.how.diff)];
        let set = || flags.iter().filter(|(_, set)| *set).map(|(name, _)| ((*name).to_owned(), json!(true)));
        calls.into_iter().map(|(node, own)| (node, own.into_iter().chain(set()).collect())).collect()
    }

    /// One step on some nodes at once, of which nothing is told in the end.
    fn ask_quietly(&mut self, name: &str, program: &str, calls: Calls) -> Go<Answered> {
        self.ask(name, program, calls, QUIET)
    }

    /// Asks what a step would do on some nodes. Nothing of it is told in the end, nor its warnings.
    fn foresee(&mut self, name: &str, program: &str, calls: Calls) -> Go<Answered> {
        let mut calls = self.complete(calls);
        for (_, own) in &mut calls {
            own.insert("check_mode".to_owned(), json!(true));
        }
        self.replay.shown = QUIET;
        self.replay.ask(name, program, &calls)
    }

    fn ask(&mut self, name: &str, program: &str, calls: Calls, shown: Shown) -> Go<Answered> {
        let [done] = self.ask_programs(name, [(program, calls)], shown)?;
        Ok(done)
    }

    fn ask_programs<const N: usize>(
        &mut self,
        name: &str,
        programs: [(&str, Calls); N],
        shown: Shown,
    ) -> Go<[Answered; N]> {
        let programs = programs.map(|(program, calls)| (program, self.complete(calls)));
        self.replay.shown = shown;
        let done =
            self.replay.ask_programs(name, programs.each_ref().map(|(program, calls)| (*program, calls)))?;
        for ((program, _), done) in programs.iter().zip(&done) {
            self.add_warnings(done);
            if *program == "og_node_state" {
                self.note_streaming(done);
            }
        }
        Ok(done)
    }

    /// Remembers the nodes that stream by these answers.
    fn note_streaming(&mut self, done: &Answered) {
        let streams = |answer: &Answer| {
            let node: Option<NodeState> = answer.read_key("node");
            node.is_some_and(|n| n.role.is_following() && n.db_state == DbState::Normal)
        };
        let now = done.0.iter().filter(|(_, answer)| streams(answer)).map(|(name, _)| name.clone());
        self.streamed.extend(now);
    }

    /// One step on some nodes at once. What failed there is in what it returns; a gate looks at that.
    fn step(&mut self, name: &str, program: &str, calls: Calls) -> Go<Answered> {
        let [done] = self.step_of(name, [(program, calls)])?;
        Ok(done)
    }

    /// The same of several programs, which a node runs one after the other in this order, each whatever became of those before.
    fn step_of<const N: usize>(&mut self, name: &str, programs: [(&str, Calls); N]) -> Go<[Answered; N]> {
        let done = self.ask_programs(name, programs, Shown::default())?;
        for done in &done {
            self.record_answers(name, done);
        }
        Ok(done)
    }

    fn add_warnings(&mut self, done: &Answered) {
        let told = done
            .0
            .iter()
            .flat_map(|(n, answer)| answer.texts("warnings").map(move |text| format!("{n}: {text}")));
        self.warnings.extend(told);
    }

    fn record_answers(&mut self, step: &str, done: &Answered) {
        self.steps.extend(done.0.iter().map(|(node, answer)| Done {
            step: step.to_owned(),
            node: node.clone(),
            answer: answer.clone(),
        }));
    }

    /// A step on one node, without which nothing goes on. `changes`: it will change something, though not yet.
    fn run_required_step(&mut self, name: &str, program: &str, node: &str, own: Value, changes: bool) -> Go {
        let foreseen = changes && self.how.check;
        let counts = if foreseen { Counts::Always } else { Counts::Changed };
        let shown = Shown { counts, may_fail: false };
        let mut done = self.ask(name, program, vec![(node.to_owned(), args(own))], shown)?;
        if foreseen {
            done.0.iter_mut().for_each(|(_, answer)| answer.mark_changed());
        }
        self.record_answers(name, &done);
        require_success(&[&done])
    }

    // Steps that the workflows share.

    /// Takes the lock; one left by a run on this machine that is no more keeps nobody out.
    fn lock(&mut self, og: &Shared) -> Go {
        self.lock_nodes(og, std::slice::from_ref(&og.primary))
    }

    /// Takes the lock on each of these nodes, or on none.
    fn lock_nodes(&mut self, og: &Shared, nodes: &[String]) -> Go {
        self.deferred_rules.clone_from(&og.purpose.rules);
        let o = &self.how.options;
        let own = json!({
            "state": "held",
            "purpose": serde_json::to_string(&og.purpose).unwrap_or_default(),
            "ttl": o.og_lock_ttl,
            "force": o.og_lock_force,
            "owner": self.how.owner,
        });
        for (index, node) in nodes.iter().enumerate() {
            let answer = self.take_lock(node, &own)?;
            if let Err(Stop::Failed(why)) = require_success(&[&Answered(vec![(node.clone(), answer)])]) {
                if index > 0 {
                    self.unlock_nodes(&nodes[..index])?;
                }
                return Err(Stop::Failed(why));
            }
        }
        // Its release, at the least. In these workflows it may be root's.
        self.replay.more = ![Workflow::Deploy, Workflow::Clear].contains(&self.workflow);
        self.start_probe(&og.members)
    }

    fn take_lock(&mut self, node: &str, own: &Value) -> Go<Answer> {
        let call = |it: &mut Self, own: &Value| -> Go<Answer> {
            let calls = vec![(node.to_owned(), args(own.clone()))];
            let mut done = it.ask_quietly("Acquire the cluster lock", "og_lock", calls)?;
            Ok(done.0.pop().map(|(_, answer)| answer).unwrap_or_default())
        };
        let with = |owner: &str, purpose: &str| {
            let mut forced = own.clone();
            forced["force"] = json!(true);
            forced["owner"] = json!(owner);
            forced["purpose"] = json!(purpose);
            forced
        };
        let answer = call(self, own)?;
        if answer.error_text("kind") != "busy" {
            return Ok(answer);
        }
        let holder = answer.read_key::<Option<ClusterLock>>("lock").map(|lock| lock.owner);
        let holder = owner::Owner::find(holder.as_deref().unwrap_or(answer.error_text("detail")));
        let Some(dead) = holder.map(|owner| owner.to_string()) else { return Ok(answer) };
        if !self.is_over(&dead)? {
            return Ok(answer);
        }
        let taken = call(self, &with(&self.how.owner, own["purpose"].as_str().unwrap_or_default()))?;
        let before: ClusterLock = taken.read_key("previous");
        let expected = ["", &dead, &self.how.owner];
        if taken.error().is_some() || expected.contains(&before.owner.as_str()) {
            return Ok(taken);
        }
        // Another run took it in between: it keeps it.
        call(self, &with(&before.owner, &before.purpose))?;
        call(self, own)
    }

    fn unlock(&mut self, og: &Shared) -> Go {
        self.unlock_nodes(std::slice::from_ref(&og.primary))
    }

    /// Releases the lock on these nodes; with rules that are still to be added again it ends by itself, for the next repair
    /// to find them in its record.
    fn unlock_nodes(&mut self, nodes: &[String]) -> Go {
        self.stop_probe()?;
        if !self.deferred_rules.is_empty() {
            let what = "repair".to_owned();
            let record = Purpose { what, rules: self.deferred_rules.clone(), ..Purpose::default() };
            for node in nodes {
                self.leave_lock_on("Record the nodes' own pg_hba.conf rules in the lock", node, &record)?;
            }
            return Ok(());
        }
        self.replay.more = false;
        let own = json!({"state": "released", "owner": self.how.owner});
        let done = self.ask_quietly("Release the cluster lock", "og_lock", calls_on(nodes, &own))?;
        require_success(&[&done])
    }

    /// Releases the lock on these nodes, whatever came of the steps.
    fn end_and_unlock(&mut self, locked: &[String], done: Go) -> Go {
        self.end_with(done, |it| it.unlock_nodes(locked))
    }

    /// Ends a run by `release`, whatever came of the steps; says so when that fails too.
    fn end_with(&mut self, done: Go, release: impl FnOnce(&mut Self) -> Go) -> Go {
        let why = match done {
            Ok(()) => return release(self),
            Err(Stop::Failed(why)) => why,
            ask => return ask,
        };
        Err(Stop::Failed(match release(self) {
            Ok(()) => why,
            Err(Stop::Failed(too)) => format!("{why}; and the lock was not released: {too}"),
            Err(ask) => return Err(ask),
        }))
    }

    /// Lets the lock of a run that failed end by itself at once, so that the next run finds in it what is to be restored.
    fn leave_lock(&mut self, og: &Shared, note: &Purpose) -> Go {
        self.leave_lock_on("Record the deferred restore in the lock", &og.primary, note)
    }

    /// The same on any node, for any record that a later run is to find.
    fn leave_lock_on(&mut self, name: &str, node: &str, record: &Purpose) -> Go {
        self.stop_probe()?;
        self.replay.more = false;
        let record = Purpose { rules: self.deferred_rules.clone(), ..record.clone() };
        let own = args(json!({
            "state": "held",
            "purpose": serde_json::to_string(&record).unwrap_or_default(),
            "ttl": 1,
            "owner": self.how.owner,
        }));
        let done = self.ask_quietly(name, "og_lock", vec![(node.to_owned(), own)])?;
        require_success(&[&done])
    }

    /// Asks openGauss CM, where it runs nodes, what it says of the cluster.
    fn ask_cm(&mut self, nodes: &mut [Node]) -> Go {
        let is_run = |n: &&Node| n.is_reachable() && n.state().managed_by.by == Manager::Cm;
        let asked: Vec<String> = nodes.iter().filter(is_run).map(|n| n.name.clone()).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let own = json!({"state": "query", "cm_view": true, "timeout": self.how.options.og_look_timeout});
        self.replay.shown = QUIET;
        let done = self.replay.ask("Ask CM", "og_node_state", &calls_on(&asked, &own))?;
        for (name, answer) in &done.0 {
            if let Some(seen) = nodes.iter_mut().find(|n| n.name == *name).and_then(|n| n.seen.as_mut()) {
                seen.cm = answer.read_key("cm");
            }
        }
        Ok(())
    }

    /// The cluster as a table; returns the slots that serve nobody. With the primary that a run began with, it is still
    /// to be that.
    fn show(
        &mut self,
        newcomers: &[String],
        gone: &[String],
        primary: Option<&str>,
    ) -> Go<Vec<(String, Vec<String>)>> {
        let nodes = self.inspect_at_rest(gone)?;
        self.show_nodes(&nodes, newcomers, gone, primary)
    }

    /// The same of what was seen of the nodes just now.
    fn show_nodes(
        &mut self,
        nodes: &[Node],
        newcomers: &[String],
        gone: &[String],
        primary: Option<&str>,
    ) -> Go<Vec<(String, Vec<String>)>> {
        self.table = table(nodes, gone);
        let members: Vec<Node> = nodes.iter().filter(|n| !gone.contains(&n.name)).cloned().collect();
        self.after = Some(Box::new(self.assess(&members)));
        match primary.and_then(|primary| plan::describe_primary_change(nodes, primary)) {
            Some(moved) => Err(Stop::Failed(moved)),
            None => Ok(plan::idle_slots(nodes, newcomers)),
        }
    }

    /// The nodes once those that streamed in this run stream again, or will not for a while.
    fn inspect_at_rest(&mut self, gone: &[String]) -> Go<Vec<Node>> {
        let nodes = self.inspect(INSPECT_AGAIN, &AT_REST, gone)?;
        self.await_rest(nodes, gone)
    }

    /// Writes the cluster's files by these calls of og_static_conf, and inspects the nodes in the same step.
    ///
    /// # Errors
    /// What was not written.
    fn write_and_inspect(&mut self, calls: Calls) -> Go<Vec<Node>> {
        if calls.is_empty() {
            return self.inspect_at_rest(&[]);
        }
        let name = "Update cluster_static_config and inspect the cluster again";
        self.replay.shown = Shown::default();
        let (written, nodes) = self.inspect_after(name, ("og_static_conf", calls), &AT_REST, &[])?;
        self.add_warnings(&written);
        self.record_answers(name, &written);
        require_success(&[&written])?;
        self.await_rest(nodes, &[])
    }

    /// Inspects the nodes again until those that streamed in this run stream again, or will not for a while.
    fn await_rest(&mut self, mut nodes: Vec<Node>, gone: &[String]) -> Go<Vec<Node>> {
        for _ in 1..MAX_RECONNECT_INSPECTIONS {
            let reconnects =
                |n: &Node| self.streamed.contains(&n.name) && n.state().db_state == DbState::NeedRepair;
            if !nodes.iter().any(reconnects) {
                break;
            }
            self.replay.pause = Some(1);
            nodes = self.inspect(INSPECT_AGAIN, &AT_REST, gone)?;
        }
        Ok(nodes)
    }

    /// These slots go. What fails here is found again by the next run; it is no reason to undo the workflow.
    fn drop_idle_slots(&mut self, idle: Vec<(String, Vec<String>)>) -> Go {
        let calls = idle
            .into_iter()
            .map(|(n, names)| (n, args(json!({"state": "absent", "names": names, "if_active": "skip"}))))
            .collect();
        let done = self.step("Drop unused replication slots", "og_slot", calls)?;
        self.warnings.extend(failure_reasons(&[&done]));
        Ok(())
    }

    // What is told in the end.

    fn outcome(self, why: Option<String>) -> Outcome {
        let changes = changes_of(self.steps);
        let mut warnings: Vec<String> = Vec::new();
        for text in self.warnings {
            if !warnings.contains(&text) {
                warnings.push(text);
            }
        }
        Outcome {
            failed: why.is_some(),
            incomplete: why.is_some() && !changes.is_empty() && !self.how.check,
            reason: self.reason.filter(|_| why.is_some()),
            msg: why,
            changed: !changes.is_empty(),
            changes,
            warnings,
            findings: self.findings,
            table: self.causes.iter().map(Case::in_words).chain(self.table).collect(),
            before: self.before.filter(|_| self.cluster.is_none()),
            after: self.after,
            cluster: self.cluster,
            commits: self.commits,
            timings: Vec::new(),
            report: None,
            causes: Some(self.causes).filter(|causes| !causes.is_empty()),
            preflight: self.preflight,
            collected: self.collected,
        }
    }
}

/// What the steps changed, in their order; what several programs changed on a node in one step is one change.
fn changes_of(steps: Vec<Done>) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for done in steps.into_iter().filter(|done| done.answer.has_changed()) {
        let mut actions: Vec<_> = done.answer.texts("actions").map(str::to_owned).collect();
        if actions.is_empty() {
            actions.push(done.answer.text("msg").to_owned());
        }
        let diff = Some(unified(&done.answer.read_key::<Vec<_>>("diff"))).filter(|text| !text.is_empty());
        match changes.iter_mut().find(|known| known.node == done.node && known.step == done.step) {
            Some(known) => {
                known.actions.extend(actions);
                known.diff = [known.diff.take(), diff].into_iter().flatten().reduce(|a, b| a + &b);
            }
            None => changes.push(Change { node: done.node, step: done.step, actions, diff }),
        }
    }
    changes
}

/// What keeps the workflow from going on after these steps; once where it is the same of several calls, as of a node that was
/// lost.
fn failure_reasons(steps: &[&Answered]) -> Vec<String> {
    let all = steps.iter().flat_map(|done| &done.0);
    let reasons = all.filter_map(|(n, answer)| Some(format!("{n}: {}", answer.failure_reason()?)));
    crate::distinct(&reasons.collect::<Vec<_>>())
}

/// Goes on only when these steps went well on every node.
fn require_success(steps: &[&Answered]) -> Go {
    let found = failure_reasons(steps);
    if found.is_empty() { Ok(()) } else { Err(Stop::Failed(found.join("\n"))) }
}

/// og_static_conf on each of these nodes; none where the files are left as they are.
fn write_static(og: &Shared, names: &[String], files: &Files) -> Calls {
    if files.nodes.is_empty() {
        return Vec::new();
    }
    let mut own = json!({"nodes": files.nodes});
    if !files.roles.is_empty() {
        own["roles"] = json!(files.roles);
    }
    let at = |n: &String| {
        let mut own = args(own.clone());
        own.insert("local".to_owned(), json!(og.file_ids[n]));
        (n.clone(), own)
    };
    names.iter().map(at).collect()
}

/// The same arguments on each of these nodes.
fn calls_on(names: &[String], own: &Value) -> Calls {
    names.iter().map(|n| (n.clone(), args(own.clone()))).collect()
}
