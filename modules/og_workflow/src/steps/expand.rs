//! Adding nodes.

use og_preflight::args::Purpose;
use std::fmt::Write as _;

use og_common::protocol::Bytes;
use og_common::replconn::NumberedChannel;
use serde_json::{Map, Value, json};

use super::ssl::{self, Certificates};
use super::{
    QUIET, Run, Targets, Workflow, WorkflowEntry, args, calls_on, failure_reasons, require_success,
    write_static,
};
use crate::answer::Answer;
use crate::args::{Counts, Shown};
use crate::plan::preflight::{On, Policy, refuse_on_errors, warn_on_findings};
use crate::plan::{self, Expand, SYNC_NAMES};
use crate::replay::{Answered, Calls, Go, Stop};

/// The registry entry of this workflow: description, preflight checks and function.
pub(super) const ENTRY: WorkflowEntry = WorkflowEntry {
    workflow: Workflow::Expand,
    name: "expand",
    title: "Expand the cluster",
    about: "Add standbys and cascade standbys to a running cluster, or the first standby to a single node",
    details: &[
        "The primary is not restarted and the other standbys keep streaming.",
        "Interrupted at any point, it can be run again.",
    ],
    changes: true,
    targets: Some(Targets {
        option: "og_add",
        about: "The nodes to add",
        example: "n3,n4",
        state: "expanded",
        state_about: "These nodes are standbys or cascade standbys of the cluster, as the pillar says",
        required: true,
    }),
    options: &[
        "og_ssl",
        "og_sync_standbys",
        "og_sync_num",
        "og_hba_method",
        "og_build_mode",
        "og_build_force",
        "og_build_room",
        "og_build_parallel",
        "og_rollback",
        "og_accept",
        "og_probe",
    ],
    preflight: Some(Policy {
        purpose: Purpose::Expand,
        rules: &[
            // Its server is started by the build, on a host that the cluster does not know.
            refuse_on_errors(
                On::Targets,
                &[
                    "memory.process",
                    "memory.minimum",
                    "memory.shared_buffers",
                    "memory.overcommit",
                    "memory.peers",
                    "disk.room",
                    "disk.inodes",
                    "ports.free",
                    "ports.ephemeral",
                    "leftovers.sockets",
                    "leftovers.processes",
                    "limits.open_files",
                    "kernel.semaphores",
                    "kernel.shared_memory",
                    "kernel.remove_ipc",
                    "programs.release",
                    "programs.libraries",
                    "conf.include",
                    "security.keys",
                    "same.release",
                    "same.architecture",
                    "same.page_size",
                    "same.user",
                    "clock.difference",
                ],
            ),
            refuse_on_errors(On::All, &["disk.writable", "conf.syntax", "channels.reached"]),
            refuse_on_errors(On::Others, &["settings.replication"]),
            warn_on_findings(
                On::Targets,
                &[
                    // How full a disk is tells nothing of whether the copy fits, which disk.room looks at.
                    "disk.use",
                    "memory.swap",
                    "memory.huge_pages",
                    "disk.file_system",
                    "leftovers.cron",
                    "limits.stack",
                    "limits.processes",
                    "limits.address_space",
                    "clock.service",
                    "hosts.file_mode",
                    "security.certificates",
                    "same.time_zone",
                    "same.uid",
                    "network.mtu",
                ],
            ),
            warn_on_findings(On::Others, &["sync.now", "server.backup"]),
            warn_on_findings(On::All, &["names.hosts", "managed.paused"]),
        ],
    }),
    run: expand,
};

/// What the run did at the nodes that stay, to be rolled back when it fails.
#[derive(Default)]
struct Brought {
    rules: Answered,
    channels: Answered,
    parameters: Answered,
    /// What og_build made.
    built: Answered,
    /// Whether synchronous_standby_names is what it was.
    names: bool,
    files: bool,
    /// That another node became primary: what is to be rolled back, and where, is not known any more.
    moved: bool,
}

pub(super) fn expand(it: &mut Run, targets: &[String]) -> Go {
    let certificates = ssl::inspect(it, targets)?;
    let og = plan_expand(it, targets)?;
    ssl::check(it, certificates.as_ref(), &og.fresh)?;
    carry_out(it, &og, certificates.as_ref())
}

/// Inspects the nodes and plans; nothing is changed.
pub(super) fn plan_expand(it: &mut Run, targets: &[String]) -> Go<Expand> {
    it.begin(|nodes, options| plan::expand(nodes, targets, options))
}

/// Does what is planned, under a lock that is released whatever becomes of it.
pub(super) fn carry_out(it: &mut Run, og: &Expand, certificates: Option<&Certificates>) -> Go {
    it.lock(&og.shared)?;
    if let Some(own) = &og.restore_now {
        let name = "Carry out the deferred restore of an earlier run";
        it.run_required_step(name, "og_guc", &og.shared.primary, json!(own), false)?;
    }
    let mut brought = Brought::default();
    match steps(it, og, certificates, &mut brought) {
        Err(Stop::Failed(why)) => return handle_failure(it, og, &brought, why),
        done => done?,
    }
    it.unlock(&og.shared)
}

/// Calls on these nodes, each with its own arguments.
fn calls_each(nodes: &[String], own: impl Fn(&String) -> Value) -> Calls {
    nodes.iter().map(|n| (n.clone(), args(own(n)))).collect()
}

fn steps(it: &mut Run, og: &Expand, certificates: Option<&Certificates>, brought: &mut Brought) -> Go {
    let (shared, options) = (&og.shared, &it.how.options);
    let size = if og.room_for.is_empty() { None } else { Some(size_of(it, &shared.primary)?) };
    // A single node becomes primary as soon as it has a channel, and then each commit waits for the standbys named here,
    // of which none streams yet.
    if og.empty_sync {
        let own = json!({"parameters": {SYNC_NAMES: ""}});
        it.run_required_step(
            "Empty synchronous_standby_names until a standby streams",
            "og_guc",
            &shared.primary,
            own,
            false,
        )?;
    }
    configure(it, og, certificates, brought)?;
    for builds in builds(og, |n| needs_build(og, brought, n)) {
        build(it, og, size, &mut brought.built, &builds)?;
    }
    if !it.how.check {
        let calls = calls_each(&shared.targets, |n| {
            let wait = json!({"role": role_of(og, n), "db_state": "normal", "max_lag_bytes": options.og_max_lag_bytes});
            json!({"wait": wait, "timeout": options.og_wait_timeout})
        });
        let name = "Wait until the new nodes have caught up, and find the primary";
        let (waited, moved) = it.wait_and_describe_primary_change(name, shared, calls)?;
        require_success(&[&waited])?;
        if let Some(moved) = moved {
            brought.moved = true;
            return Err(Stop::Failed(moved));
        }
    }
    if let Some(own) = &og.deferred_sync {
        let name = "Restore synchronous_standby_names";
        it.run_required_step(
            name,
            "og_guc",
            &shared.primary,
            with_foreseen(it, og, json!(own)),
            og.empty_sync,
        )?;
        brought.names = true;
    }
    if !og.sync_add.is_empty() {
        let edit =
            json!({"method": options.og_sync_standbys, "num": options.og_sync_num, "add": og.sync_add});
        let own = with_foreseen(it, og, json!({"synchronous_standbys": edit}));
        it.run_required_step(
            "Add the new standbys to synchronous_standby_names",
            "og_guc",
            &shared.primary,
            own,
            false,
        )?;
    }
    brought.files = true;
    let nodes = it.write_and_inspect(write_static(shared, &og.nodes, &og.files))?;
    let idle = it.show_nodes(&nodes, &og.newcomers, &[], Some(&shared.primary));
    brought.moved = matches!(idle, Err(Stop::Failed(_)));
    it.drop_idle_slots(idle?)
}

/// The arguments with the standbys that will stream by then: in check mode none of them was built.
fn with_foreseen(it: &Run, og: &Expand, mut own: Value) -> Value {
    if it.how.check {
        own["foreseen_standbys"] = json!(og.foreseen_standbys);
    }
    own
}

/// Seconds to wait for the end of a build that a killed run left running.
const BUILD_TIMEOUT_SECONDS: u64 = 86_400;

/// Edits the files of all nodes: rules, channels, and the new nodes' parameters, before which come the certificates that they
/// name.
///
/// # Errors
/// What a node did not do; a build of it might be under way.
fn configure(it: &mut Run, og: &Expand, certificates: Option<&Certificates>, brought: &mut Brought) -> Go {
    let shared = &og.shared;
    // A newcomer that runs as a single node would turn primary by a reload: what is written counts from its build on.
    let reload = |n: &String| if og.fresh.contains(n) { "never" } else { "auto" };
    // A build copies the primary's pg_hba.conf over the standby's own, so every node gets the rules of all.
    let rules = calls_each(&og.nodes, |n| {
        // A build that was broken off leaves a new node without the file.
        json!({"rules": og.rules[n], "reload": reload(n), "create": shared.targets.contains(n)})
    });
    let channels = calls_each(&og.nodes, |n| {
        let state = if og.newcomers.contains(n) { "exact" } else { "present" };
        let mut own =
            json!({"state": state, "local": shared.locals[n], "peers": og.peers[n], "reload": reload(n)});
        if it.how.check && og.empty_sync && *n == shared.primary {
            // In check mode the file still has them.
            own["foreseen"] = json!({SYNC_NAMES: ""});
        }
        own
    });
    let parameters = calls_each(&shared.targets, |n| json!({"parameters": og.own[n], "reload": reload(n)}));
    let mut programs = [("og_hba", rules), ("og_replconninfo", channels), ("og_guc", parameters)];
    if !it.how.check {
        let all = programs.iter_mut().flat_map(|(_, calls)| calls);
        all.for_each(|(node, own)| wait_for_build(og, node, own));
    }
    let later = if certificates.is_some() { std::mem::take(&mut programs[2].1) } else { Calls::new() };
    let name = "Configure rules, replication channels and parameters";
    [brought.rules, brought.channels, brought.parameters] = it.step_of(name, programs)?;
    require_success(&[&brought.rules, &brought.channels, &brought.parameters])?;
    if certificates.is_some() {
        ssl::bring(it, certificates, &og.fresh)?;
        brought.parameters = it.step("Configure the new nodes' parameters", "og_guc", later)?;
        require_success(&[&brought.parameters])?;
    }
    Ok(())
}

/// Where a killed run left a build running, nobody edits the node's files meanwhile.
fn wait_for_build(og: &Expand, node: &String, own: &mut Map<String, Value>) {
    own.insert("if_building".to_owned(), json!("wait"));
    if og.building.contains(node) {
        own.insert("timeout".to_owned(), json!(BUILD_TIMEOUT_SECONDS));
    }
}

/// The bytes that a full copy of the primary takes.
fn size_of(it: &mut Run, primary: &str) -> Go<Bytes> {
    let own = json!({"state": "query", "timeout": it.how.options.og_look_timeout});
    let calls = vec![(primary.to_owned(), args(own))];
    it.replay.shown = QUIET;
    let told = it.replay.ask("Measure the size of the primary", "og_build", &calls)?;
    require_success(&[&told])?;
    let size = told.get(primary).and_then(|answer| answer.read_key("data_bytes"));
    size.ok_or_else(|| Stop::Failed(format!("{primary}: og_build does not tell how large its data is")))
}

/// The builds of a step, and how many of them are made side by side.
struct Builds<'a> {
    title: &'static str,
    nodes: Vec<&'a String>,
    at_once: usize,
}

/// Whether og_build is to see to the node: one that is well already, and of which nothing had to be changed, is what it is to be.
fn needs_build(og: &Expand, brought: &Brought, node: &String) -> bool {
    let changed = |done: &Answered| done.get(node).is_none_or(Answer::has_changed);
    !og.sound.contains(node)
        || [&brought.rules, &brought.channels, &brought.parameters].into_iter().any(changed)
}

/// The builds of these nodes in their order. Cascade standbys wait for the standbys, unless there is one for them to follow.
fn builds<'a>(og: &'a Expand, needed: impl Fn(&String) -> bool) -> Vec<Builds<'a>> {
    let those = |nodes: &'a [String]| -> Vec<&String> { nodes.iter().filter(|n| needed(n)).collect() };
    let (standbys, cascades) = (those(&og.standbys), those(&og.cascades));
    if og.build_together && !standbys.is_empty() && !cascades.is_empty() {
        let nodes = [standbys, cascades].concat();
        return vec![Builds { title: "Build standbys and cascade standbys", at_once: nodes.len(), nodes }];
    }
    vec![
        Builds { title: "Build standbys", nodes: standbys, at_once: og.standbys_at_once },
        Builds { title: "Build cascade standbys", nodes: cascades, at_once: og.cascades_at_once },
    ]
}

/// The role that a new node gets.
fn role_of(og: &Expand, node: &String) -> &'static str {
    if og.cascades.contains(node) { "cascade_standby" } else { "standby" }
}

/// Builds side by side; one that a killed run left running is waited for, and what it made is taken.
/// `size` is what a full copy needs.
fn build(it: &mut Run, og: &Expand, size: Option<Bytes>, begun: &mut Answered, builds: &Builds<'_>) -> Go {
    let name = builds.title;
    let (o, check) = (&it.how.options, it.how.check);
    let at = |n: &&String| {
        let n = *n;
        let mut own = json!({"mode": og.build_modes[n], "role": role_of(og, n), "force": o.og_build_force});
        if let Some(size) = size.filter(|_| og.room_for.contains(n)) {
            own["min_free"] = json!(size);
        }
        if !check {
            own["if_building"] = json!("wait");
        }
        (n.clone(), args(own))
    };
    // Before its channels are written a node has nothing to be built from; that it would be built is known all the same.
    let counts = if check { Counts::Failed } else { Counts::Changed };
    let shown = Shown { counts, may_fail: check };
    let mut built = Answered::default();
    for some in builds.nodes.chunks(builds.at_once.max(1)) {
        built.update(it.ask(name, "og_build", some.iter().map(at).collect(), shown)?);
    }
    begun.update(built.clone());
    if it.how.check {
        for (node, answer) in &mut built.0 {
            if !answer.error_text("kind").is_empty() && answer.unreachable_reason().is_none() {
                let role = role_of(og, node).replace('_', " ");
                *answer = Answer::from_foreseen("would be built", &format!("build it as {role}"));
            }
        }
    }
    it.record_answers(name, &built);
    require_success(&[&built])
}

/// Rolls back what the run added, releases the lock, and fails with the reason.
fn handle_failure(it: &mut Run, og: &Expand, brought: &Brought, mut why: String) -> Go {
    let wanted = it.how.options.og_rollback && !it.how.check;
    // With another primary nothing is rolled back: it may wait for the new nodes, and its own file counts.
    let moved = if wanted && !brought.moved { it.describe_primary_change(&og.shared)? } else { None };
    let undone = wanted && !brought.moved && moved.is_none();
    why += match &moved {
        Some(_) => " (nothing was rolled back: ",
        None if !undone => " (nothing was rolled back)",
        None if roll_back(it, og, brought)? => " (rolled back)",
        None => " (not completely rolled back, see warnings)",
    };
    if let Some(moved) = moved {
        why += &moved;
        why.push(')');
    }
    if og.sync_stays_empty && (undone || !brought.names) && !it.how.check {
        let before = og.sync_before.as_deref().filter(|names| !names.is_empty()).unwrap_or("'*'");
        let primary = &og.shared.primary;
        // Writing to a String cannot fail.
        let _ =
            write!(why, ", {SYNC_NAMES} of {primary} is empty until the next expand restores it to {before}");
        return it.end_with(Err(Stop::Failed(why)), |it| it.leave_lock(&og.shared, &og.note));
    }
    it.end_with(Err(Stop::Failed(why)), |it| it.unlock(&og.shared))
}

/// Each step is done whatever became of the one before; returns whether all went well.
fn roll_back(it: &mut Run, og: &Expand, brought: &Brought) -> Go<bool> {
    let shared = &og.shared;
    let (staying, names) = (&og.staying, &og.newcomer_names);
    let mut well = true;
    let mut step = |it: &mut Run, name: &str, program: &str, calls: Calls| -> Go {
        // A new node whose build failed may have no pg_hba.conf any more, and so none of the rules.
        let gone = |n: &String, a: &Answer| {
            program == "og_hba" && a.error_text("kind") == "not_found" && shared.targets.contains(n)
        };
        let mut done = it.step(name, program, calls)?;
        done.0.retain(|(n, answer)| !gone(n, answer));
        let found = failure_reasons(&[&done]);
        well &= found.is_empty();
        if !found.is_empty() {
            it.warnings.push(format!("{name}: {}", found.join("\n")));
        }
        Ok(())
    };
    let mut own = json!(og.undo_sync);
    own["force"] = json!(true);
    step(
        it,
        "Remove the new nodes from synchronous_standby_names",
        "og_guc",
        vec![(shared.primary.clone(), args(own))],
    )?;
    // Others were not touched: a server that runs there has not read what was written.
    let begun: Vec<_> = og.newcomers.iter().filter(|n| brought.built.get(n).is_some()).cloned().collect();
    step(
        it,
        "Stop the new nodes",
        "og_node_state",
        calls_on(&begun, &json!({"state": "stopped", "stop_mode": "fast"})),
    )?;
    let channels = staying.iter().filter_map(|n| {
        let peers = peers_added(og, n, brought.channels.get(n)?);
        // Also the last one, of a primary that was a single node before, from a new node that could not be stopped.
        let own = json!({"state": "absent", "local": shared.locals[n], "peers": peers, "force": true});
        (!peers.is_empty()).then(|| (n.clone(), args(own)))
    });
    step(it, "Remove the new replication channels", "og_replconninfo", channels.collect())?;
    let reload = |n: &String| if og.fresh.contains(n) { "never" } else { "auto" };
    let rules = og.nodes.iter().filter_map(|n| {
        let rules = rules_added(og, n, brought.rules.get(n)?);
        let own = json!({"state": "absent", "rules": rules, "reload": reload(n)});
        (!rules.is_empty()).then(|| (n.clone(), args(own)))
    });
    step(it, "Remove the new pg_hba.conf rules", "og_hba", rules.collect())?;
    let written = |n: &&String| brought.channels.get(n).is_some();
    let calls = shared.targets.iter().filter(|n| brought.rules.get(n).is_some()).filter_map(|n| {
        let rules = og.undo_rules.get(n).filter(|rules| !rules.is_empty())?;
        Some((n.clone(), args(json!({"rules": rules, "reload": reload(n)}))))
    });
    step(it, "Restore the new nodes' pg_hba.conf rules", "og_hba", calls.collect())?;
    let calls = shared.targets.iter().filter(written).filter_map(|n| {
        let values = og.undo_set.get(n).filter(|values| !values.is_empty())?;
        Some((n.clone(), args(json!({"parameters": values, "reload": reload(n), "force": true}))))
    });
    step(it, "Restore the new nodes' parameters", "og_guc", calls.collect())?;
    let calls = shared.targets.iter().filter(written).filter_map(|n| {
        let names = og.undo_unset.get(n).filter(|names| !names.is_empty())?;
        Some((
            n.clone(),
            args(json!({"state": "absent", "names": names, "reload": reload(n), "force": true})),
        ))
    });
    step(it, "Unset the new nodes' parameters", "og_guc", calls.collect())?;
    if !names.is_empty() {
        let own = json!({"state": "absent", "names": names, "if_active": "wait"});
        step(it, "Drop the new nodes' replication slots", "og_slot", calls_on(staying, &own))?;
    }
    if brought.files {
        let calls = write_static(shared, staying, &og.files_before);
        step(it, "Update cluster_static_config after the rollback", "og_static_conf", calls)?;
    }
    Ok(well)
}

/// The rules that a call of og_hba added, as it takes them. Of a node that was lost meanwhile, with what it did: those that it
/// may have added.
fn rules_added(og: &Expand, node: &str, answer: &Answer) -> Vec<Value> {
    if answer.unreachable_reason().is_some() {
        return og.new_rules[node].iter().map(|rule| json!(rule)).collect();
    }
    let added: Vec<Value> = answer.read_key("added");
    added.into_iter().map(|entry| entry.get("rule").cloned().unwrap_or(entry)).collect()
}

/// The other ends of the channels that a call of og_replconninfo added, as it takes them; of a node that was lost as above.
fn peers_added(og: &Expand, node: &str, answer: &Answer) -> Vec<Value> {
    if answer.unreachable_reason().is_some() {
        return og.new_peers[node].iter().map(|end| json!(end)).collect();
    }
    let added: Vec<usize> = answer.read_key("added");
    let channels: Vec<NumberedChannel> = answer.read_key("channels");
    let ends = channels.into_iter().filter(|c| added.contains(&c.number)).map(|c| c.channel.remote);
    ends.map(|end| json!({"host": end.host, "port": end.port})).collect()
}
