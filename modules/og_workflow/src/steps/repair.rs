//! Repairing nodes.

use og_preflight::args::Purpose;
use std::collections::{BTreeMap, BTreeSet};

use og_common::gauss::Role;
use og_common::hba::RuleFields;
use og_common::protocol::{Bytes, Lsn};
use serde_json::{Value, json};

use super::{QUIET, Run, Targets, Workflow, WorkflowEntry, args, require_success, write_static};
use crate::args::{BuildMode, Counts, Shown};
use crate::plan::preflight::{On, Policy, warn_on_findings};
use crate::plan::{self, Build, Repair, list_findings};
use crate::replay::{Answered, Calls, Go, Stop};
use crate::seen::PROGRAMS;

/// The registry entry of this workflow: description, preflight checks and function.
pub(super) const ENTRY: WorkflowEntry = WorkflowEntry {
    workflow: Workflow::Repair,
    name: "repair",
    title: "Repair nodes of the cluster",
    about: "Find why nodes are down or do not follow, and repair them by the mildest step that helps",
    details: &[
        "The cause is proved and reported for each node: by log positions, terms, system identifiers and the server's log.",
        "Interrupted at any point, it can be run again. A node that holds what the primary has not is never overwritten \
         unless it is forced.",
    ],
    changes: true,
    targets: Some(Targets {
        option: "og_repair",
        about: "The nodes to repair (without names, all that need it)",
        example: "n2",
        state: "repaired",
        state_about: "These nodes follow the primary",
        required: false,
    }),
    options: &[
        "og_repair_force",
        "og_repair_backup",
        "og_hba_method",
        "og_build_room",
        "og_build_parallel",
        "og_probe",
    ],
    preflight: Some(Policy {
        purpose: Purpose::Restart,
        rules: &[warn_on_findings(
            On::All,
            &[
                "memory.process",
                "memory.minimum",
                "memory.shared_buffers",
                "memory.overcommit",
                "disk.use",
                "disk.inodes",
                "disk.writable",
                "ports.free",
                "leftovers.sockets",
                "leftovers.processes",
                "kernel.semaphores",
                "kernel.shared_memory",
                "programs.libraries",
                "conf.syntax",
                "security.keys",
                "clock.difference",
                "server.replay_paused",
                "managed.watchers",
            ],
        )],
    }),
    run: repair,
};

/// Rounds of inspecting, planning and repairing: the primary, the mild steps, and the builds that these were in vain for.
const ROUNDS: usize = 4;
/// Seconds that a node gets to stream after a mild step, before it is inspected again: a start takes three.
const SETTLE_TIMEOUT_SECONDS: u64 = 15;
/// Seconds that a build, or the wait for one that runs, may take; og_build itself gives up one that makes no progress.
const BUILD_TIMEOUT_SECONDS: u64 = 86_400;

/// What a run has done so far.
#[derive(Default)]
struct Progress {
    /// Nodes for which mild steps were made.
    tried: BTreeSet<String>,
    /// By node, why it could not be repaired.
    failed: BTreeMap<String, String>,
    /// By node, its own rules, which a build replaced.
    own_rules: BTreeMap<String, Vec<RuleFields>>,
    /// The last node that streamed and was stopped.
    stopped: Option<String>,
    /// The one of them that did not stream again.
    away: Option<String>,
    /// Nodes that were repaired.
    repaired: BTreeSet<String>,
    /// Whether the recorded roles may be stale.
    roles_changed: bool,
}

pub(super) fn repair(it: &mut Run, targets: &[String]) -> Go {
    it.diagnoses = true;
    let og = it.begin(|nodes, options| plan::repair(nodes, targets, options, &[]))?;
    report_plan(it, &og);
    let is_done = og.cases.is_empty() && og.own_rules.is_empty() && og.closed_forks.is_empty();
    if is_done && og.restore_now.is_none() {
        it.show(&[], &[], None)?;
        return Ok(());
    }
    it.lock(&og.shared)?;
    if let Some(own) = &og.restore_now {
        let name = "Carry out the deferred restore of an earlier run";
        it.run_required_step(name, "og_guc", &og.shared.primary, json!(own), false)?;
    }
    let done = run_rounds(it, targets, &og);
    it.end_with(done, |it| it.unlock(&og.shared))
}

/// Keeps the causes for the outcome, each node's first one for the same reason once.
fn report_plan(it: &mut Run, og: &Repair) {
    for case in &og.cases {
        let known = it.causes.iter().any(|told| told.node == case.node && told.cause == case.cause);
        if !known {
            it.causes.push(case.clone());
        }
    }
}

fn run_rounds(it: &mut Run, targets: &[String], first: &Repair) -> Go {
    // What a run that was killed in a build left is added again, too.
    let left = first.shared.purpose.rules.clone();
    let mut done = Progress { own_rules: left, ..Progress::default() };
    let mut og = first.clone();
    for round in 0..ROUNDS {
        if round > 0 {
            let nodes = it.inspect("Inspect the nodes again", &PROGRAMS, &[])?;
            let tried: Vec<String> = done.tried.iter().cloned().collect();
            let outlook = plan::repair(&nodes, targets, &it.how.options, &tried);
            it.warnings.extend(outlook.warnings);
            let Some(next) = outlook.plan else {
                return Err(Stop::Failed(list_findings(&outlook.findings, "")));
            };
            og = next;
            report_plan(it, &og);
        }
        for (node, why) in &og.refused {
            done.failed.entry(node.clone()).or_insert_with(|| why.clone());
        }
        og.cases.retain(|case| !done.failed.contains_key(&case.node));
        if og.cases.is_empty() {
            break;
        }
        done.roles_changed |= og.changes_roles;
        configure(it, &og, &mut done)?;
        keep_logs(it, &og, &mut done)?;
        start(it, &og, &mut done)?;
        build(it, &og, &mut done)?;
        done.repaired.extend(og.cases.iter().map(|case| case.node.clone()));
        if it.how.check {
            break;
        }
        wait_for_streaming(it, &og, &mut done)?;
        done.tried.extend(og.cases.iter().map(|case| case.node.clone()));
    }
    finish(it, &og, done)
}

/// Takes down whose call of a step failed; the others go on.
fn note_failures(done: &mut Progress, answered: &Answered) {
    for (node, answer) in &answered.0 {
        if let Some(why) = answer.failure_reason() {
            done.failed.entry(node.clone()).or_insert(why);
        }
    }
}

/// The calls on nodes of which no step failed yet.
fn calls(done: &Progress, each: impl Iterator<Item = (String, Value)>) -> Calls {
    each.filter(|(node, _)| !done.failed.contains_key(node)).map(|(node, own)| (node, args(own))).collect()
}

fn step(it: &mut Run, done: &mut Progress, name: &str, program: &str, calls: Calls) -> Go {
    if calls.is_empty() {
        return Ok(());
    }
    let answered = it.step(name, program, calls)?;
    note_failures(done, &answered);
    Ok(())
}

/// The files: a copy of postgresql.conf brought back, pg_hba.conf made anew, the rules and channels that lack.
fn configure(it: &mut Run, og: &Repair, done: &mut Progress) -> Go {
    let restored =
        |(n, copy): (&String, &String)| (n.clone(), json!({"state": "restored", "backup_file": copy}));
    let own = calls(done, og.restored_confs.iter().map(restored));
    step(it, done, "Restore postgresql.conf", "og_guc", own)?;
    let anew = |(n, rules): (&String, &Vec<RuleFields>)| {
        (n.clone(), json!({"state": "exact", "rules": rules, "create": true, "backup": true}))
    };
    let own = calls(done, og.restored_rules.iter().map(anew));
    step(it, done, "Make pg_hba.conf anew", "og_hba", own)?;
    let own = calls(done, og.rules.iter().map(|(n, rules)| (n.clone(), json!({"rules": rules}))));
    step(it, done, "Add pg_hba.conf rules for the nodes", "og_hba", own)?;
    let channel = |(n, peers): (&String, &Vec<crate::cluster::PeerArg>)| {
        (n.clone(), json!({"state": "present", "local": og.shared.locals[n], "peers": peers}))
    };
    let own = calls(done, og.channels.iter().map(channel));
    step(it, done, "Add replication channels for the nodes", "og_replconninfo", own)
}

/// Copies aside the logs of nodes that are forced to give up what they hold, as long as nobody writes there.
fn keep_logs(it: &mut Run, og: &Repair, done: &mut Progress) -> Go {
    let writes = og.keep_logs.keys().filter(|n| og.restart.contains_key(*n));
    let own = calls(done, writes.map(|n| (n.clone(), json!({"state": "stopped"}))));
    step(it, done, "Stop the old primary", "og_node_state", own)?;
    let keep = |(n, from): (&String, &Option<Lsn>)| {
        let own = json!({"state": "log_kept"});
        (n.clone(), if let Some(from) = from { with_from(own, *from) } else { own })
    };
    // In check mode those are not stopped, and write on.
    let is_still = |n: &String| !(it.how.check && og.restart.contains_key(n));
    let own = calls(done, og.keep_logs.iter().filter(|(n, _)| is_still(n)).map(keep));
    if own.is_empty() {
        return Ok(());
    }
    let name = "Copy the log aside that only the node holds";
    let answered = it.step(name, "og_build", own)?;
    for (node, answer) in answered.0.iter().filter(|(_, answer)| answer.failure_reason().is_none()) {
        it.warnings.push(format!("{node}: {}", answer.text("msg")));
    }
    note_failures(done, &answered);
    Ok(())
}

fn with_force(mut own: Value) -> Value {
    own["force"] = json!(true);
    own
}

fn with_from(mut own: Value, from: Lsn) -> Value {
    own["keep_from"] = json!(from);
    own
}

/// The servers: started, or restarted in the right role.
fn start(it: &mut Run, og: &Repair, done: &mut Progress) -> Go {
    let as_role = |(n, role): (&String, &Role)| {
        let own = json!({"state": "started", "role": role});
        (n.clone(), if og.by_cm.contains(n) { with_force(own) } else { own })
    };
    let own = calls(done, og.start.iter().map(as_role));
    let title = if og.starts_primary { "Start the primary" } else { "Start the servers" };
    step(it, done, title, "og_node_state", own)?;
    let change = |(n, role): (&String, &Role)| (n.clone(), json!({"state": "standby", "role": role}));
    let own = calls(done, og.restart.iter().map(change));
    for call in own {
        if may_stop(it, og, done, &call.0)? {
            step(it, done, "Restart servers in the right role", "og_node_state", vec![call])?;
        }
    }
    Ok(())
}

/// Whether this node may be stopped: one that streams only when the last one that did streams again, so that never two
/// standbys are away at once.
fn may_stop(it: &mut Run, og: &Repair, done: &mut Progress, node: &str) -> Go<bool> {
    if !og.streaming.iter().any(|name| name == node) || it.how.check {
        return Ok(true);
    }
    if let Some(last) = done.stopped.clone().filter(|last| done.away.is_none() && *last != node) {
        let is_back = if done.failed.contains_key(&last) {
            false
        } else {
            let wait = json!({"wait": {"db_state": "normal"}, "timeout": it.how.options.og_wait_timeout});
            it.replay.shown = QUIET;
            let own = vec![(last.clone(), args(wait))];
            super::failure_reasons(&[&it.replay.ask("Wait until it streams", "og_node_state", &own)?])
                .is_empty()
        };
        done.away = Some(last).filter(|_| !is_back);
    }
    if let Some(away) = done.away.as_ref().filter(|away| *away != node) {
        done.failed.entry(node.to_owned()).or_insert_with(|| format!("not done, {away} is away"));
        return Ok(false);
    }
    done.stopped = Some(node.to_owned());
    Ok(true)
}

/// The builds: incremental where that can serve, in full where it did not.
fn build(it: &mut Run, og: &Repair, done: &mut Progress) -> Go {
    let builds: Vec<&Build> = og.builds.iter().filter(|b| !done.failed.contains_key(&b.node)).collect();
    if builds.is_empty() {
        return Ok(());
    }
    let size = size_of(it, &og.shared.primary)?;
    let source = &og.shared.primary;
    for build in &builds {
        let how = match build.mode {
            BuildMode::Full => format!("is rebuilt in full: {size} are copied from {source}"),
            BuildMode::Incremental => format!(
                "is rebuilt incrementally from {source}; where that does not serve, in full: {size} are copied"
            ),
            BuildMode::Auto => continue,
        };
        it.warnings.push(format!("{}: {how}", build.node));
    }
    if builds.iter().any(|build| build.mode == BuildMode::Incremental) {
        // It is from the last checkpoint on that the two logs are compared.
        let own = vec![(source.clone(), args(json!({"state": "done"})))];
        let answered = it.step("Checkpoint the primary", "og_checkpoint", own)?;
        let failed = super::failure_reasons(&[&answered]);
        it.warnings
            .extend(failed.iter().map(|why| format!("the checkpoint before the build was not made: {why}")));
    }
    for build in &builds {
        if let Some(rules) = og.own_rules.get(&build.node).filter(|rules| !rules.is_empty()) {
            done.own_rules.entry(build.node.clone()).or_insert_with(|| rules.clone());
        }
    }
    record_rules_in_lock(it, og, done)?;
    // Those that stream one after the other, so that commits never lack more than one of them.
    let (alone, together): (Vec<_>, Vec<_>) = builds.iter().copied().partition(|build| build.streams);
    for some in together.chunks(og.builds_at_once.max(1)) {
        build_some(it, done, some, size)?;
    }
    for one in alone.chunks(1) {
        if may_stop(it, og, done, &one[0].node)? {
            build_some(it, done, one, size)?;
        }
    }
    Ok(())
}

/// Writes into the lock what the builds replace, for the next run in case that this one is killed.
fn record_rules_in_lock(it: &mut Run, og: &Repair, done: &Progress) -> Go {
    let mut purpose = og.shared.purpose.clone();
    if done.own_rules.is_empty() || purpose.rules == done.own_rules {
        return Ok(());
    }
    purpose.rules.clone_from(&done.own_rules);
    it.deferred_rules.clone_from(&done.own_rules);
    let own = json!({
        "state": "held",
        "purpose": serde_json::to_string(&purpose).unwrap_or_default(),
        "ttl": it.how.options.og_lock_ttl,
        "owner": it.how.owner,
    });
    let own = vec![(og.shared.primary.clone(), args(own))];
    require_success(&[&it.ask_quietly(
        "Record the nodes' own pg_hba.conf rules in the lock",
        "og_lock",
        own,
    )?])
}

fn build_some(it: &mut Run, done: &mut Progress, builds: &[&Build], size: Bytes) -> Go {
    let mode = |mode: BuildMode| builds.iter().filter(move |build| build.mode == mode).copied();
    let running: Vec<_> = mode(BuildMode::Auto).collect();
    let (by_cm, incremental): (Vec<_>, Vec<_>) = mode(BuildMode::Incremental).partition(|build| build.by_cm);
    let room = it.how.options.og_build_room.then_some(size);
    let mut full: Vec<_> = mode(BuildMode::Full).collect();
    call_build(it, "Wait for builds that run", &running, BuildMode::Auto, None)
        .map(|answered| note_failures(done, &answered))?;
    // By which means, CM chooses.
    call_build(it, "Rebuild standbys by CM", &by_cm, BuildMode::Auto, room)
        .map(|answered| note_failures(done, &answered))?;
    let answered =
        call_build(it, "Rebuild standbys incrementally", &incremental, BuildMode::Incremental, None)?;
    let mut refused = Answered::default();
    for (node, answer) in answered.0 {
        let Some(why) = answer.failure_reason() else { continue };
        // What no other build would do either is no reason for a full one.
        let in_vain = ["disk_full", "not_enough_wal_senders"].contains(&answer.error_text("reason"));
        let harder = ["command_failed", "timeout"].contains(&answer.error_text("kind")) && !in_vain;
        match incremental.iter().find(|build| build.node == node).filter(|_| harder) {
            Some(build) => {
                it.warnings.push(format!(
                    "{node}: the incremental build did not serve, {size} are copied in full: {why}"
                ));
                full.push(build);
            }
            None => refused.0.push((node, answer)),
        }
    }
    note_failures(done, &refused);
    let title = format!("Rebuild standbys in full ({size} each)");
    let answered = call_build(it, &title, &full, BuildMode::Full, room)?;
    note_failures(done, &answered);
    Ok(())
}

fn call_build(
    it: &mut Run,
    name: &str,
    builds: &[&Build],
    mode: BuildMode,
    room: Option<Bytes>,
) -> Go<Answered> {
    if builds.is_empty() {
        return Ok(Answered::default());
    }
    let check = it.how.check;
    let call = |build: &&Build| {
        let mut own = json!({"mode": mode, "role": build.role, "force": build.force});
        if let Some(room) = room {
            own["min_free"] = json!(room);
        }
        if !check {
            own["if_building"] = json!("wait");
            own["timeout"] = json!(BUILD_TIMEOUT_SECONDS);
        }
        (build.node.clone(), args(own))
    };
    // In check mode the steps before it were not made, without which it may not be let in.
    let counts = if check { Counts::Failed } else { Counts::Changed };
    let shown = Shown { counts, may_fail: true };
    let mut answered = it.ask(name, "og_build", builds.iter().map(call).collect(), shown)?;
    if check {
        for (node, answer) in &mut answered.0 {
            if !answer.error_text("kind").is_empty() && answer.unreachable_reason().is_none() {
                let msg = format!("would build {node}");
                *answer = crate::answer::Answer::from_foreseen(&msg, &msg);
            }
        }
    }
    it.record_answers(name, &answered);
    Ok(answered)
}

/// The bytes that a full copy of the primary takes.
fn size_of(it: &mut Run, primary: &str) -> Go<Bytes> {
    let own = json!({"state": "query", "timeout": it.how.options.og_look_timeout});
    it.replay.shown = QUIET;
    let own = vec![(primary.to_owned(), args(own))];
    let told = it.replay.ask("Measure the size of the primary", "og_build", &own)?;
    require_success(&[&told])?;
    let size = told.get(primary).and_then(|answer| answer.read_key("data_bytes"));
    size.ok_or_else(|| Stop::Failed(format!("{primary}: og_build does not tell how large its data is")))
}

/// Gives the nodes time to stream; whether they do is seen by the next inspection.
fn wait_for_streaming(it: &mut Run, og: &Repair, done: &mut Progress) -> Go {
    let started = og.start.keys().chain(og.restart.keys()).chain(&og.settle);
    let nodes: BTreeSet<&String> = started.filter(|n| !done.failed.contains_key(*n)).collect();
    let wait = json!({"wait": {"db_state": "normal"}, "timeout": SETTLE_TIMEOUT_SECONDS});
    let own: Calls = nodes.iter().map(|n| ((*n).clone(), args(wait.clone()))).collect();
    if own.is_empty() {
        return Ok(());
    }
    let name =
        if og.starts_primary { "Wait until the primary is well" } else { "Wait for the nodes to stream" };
    // Not `quiet`, whose warnings are those of an answer that is not final.
    it.replay.shown = QUIET;
    it.replay.ask(name, "og_node_state", &own)?;
    Ok(())
}

/// Waits for what must be so in the end, restores the nodes' own rules, and tells what failed.
fn finish(it: &mut Run, og: &Repair, mut done: Progress) -> Go {
    let nodes: Vec<String> =
        done.repaired.iter().filter(|n| !done.failed.contains_key(*n)).cloned().collect();
    if !it.how.check && !nodes.is_empty() {
        let wait = json!({"wait": {"db_state": "normal"}, "timeout": it.how.options.og_wait_timeout});
        let own = calls(&done, nodes.iter().map(|n| (n.clone(), wait.clone())));
        step(it, &mut done, "Wait until the repaired nodes stream", "og_node_state", own)?;
    }
    close_forks(it, og, &mut done)?;
    restore_rules(it, &mut done)?;
    if done.roles_changed && !og.files.roles.is_empty() {
        let own = write_static(&og.shared, &og.reachable, &og.files);
        step(it, &mut done, "Update cluster_static_config", "og_static_conf", own)?;
    }
    let primary = Some(og.shared.primary.as_str()).filter(|_| !it.how.check);
    let idle = it.show(&[], &[], primary)?;
    if !it.how.check {
        it.drop_idle_slots(idle)?;
    }
    let failed: Vec<_> = done.failed.iter().map(|(n, why)| format!("{n}: {why}")).collect();
    if failed.is_empty() { Ok(()) } else { Err(Stop::Failed(failed.join("\n"))) }
}

/// Puts on record, on old primaries that follow again, the failovers that replaced them, one after the other as they were.
fn close_forks(it: &mut Run, og: &Repair, done: &mut Progress) -> Go {
    // One that still needed repair when it was inspected last has not been seen to follow.
    let follows = |n: &String| it.how.check || og.cases.iter().all(|case| case.node != *n);
    let closed: Vec<_> = og.closed_forks.iter().filter(|(n, _)| follows(n)).collect();
    let most = closed.iter().map(|(_, forks)| forks.len()).max().unwrap_or(0);
    for nth in 0..most {
        let own = closed.iter().filter_map(|(n, forks)| Some(((*n).clone(), forks.get(nth)?)));
        let own = own.map(|(n, fork)| (n, json!({"state": "fork_recorded", "fork": fork})));
        let own = calls(done, own);
        step(it, done, "Record the failover on the old primary", "og_node_state", own)?;
    }
    Ok(())
}

/// The nodes' own rules, also of those whose repair failed. What is not restored stays in the record of the lock.
fn restore_rules(it: &mut Run, done: &mut Progress) -> Go {
    let back = |(n, rules): (&String, &Vec<RuleFields>)| (n.clone(), args(json!({"rules": rules})));
    let own: Calls = done.own_rules.iter().map(back).collect();
    if own.is_empty() {
        return Ok(());
    }
    let answered = it.step("Restore the nodes' own pg_hba.conf rules", "og_hba", own)?;
    note_failures(done, &answered);
    it.deferred_rules.clone_from(&done.own_rules);
    it.deferred_rules.retain(|n, _| answered.get(n).is_none_or(|answer| answer.failure_reason().is_some()));
    Ok(())
}
