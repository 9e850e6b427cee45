//! Making a cluster: the primary here, the others as expand adds them.

use og_common::gauss::Role;
use og_common::gauss::initdb::Directory;
use og_preflight::args::Purpose;
use serde_json::{Map, Value, json};

use super::expand::{carry_out, plan_expand};
use super::ssl::{self, Certificates};
use super::{
    Answered, INSPECT, QUIET, Run, Workflow, WorkflowEntry, args, calls_on, require_success, write_static,
};
use crate::answer::Answer;
use crate::args::Options;
use crate::cluster::Node;
use crate::plan::preflight::{On, Policy, refuse_on_errors, warn_on_findings};
use crate::plan::{self, Deploy, Expand};
use crate::replay::{Go, Stop};
use crate::seen::{INITDB, PROGRAMS};

/// The registry entry of this workflow: description, preflight checks and function.
pub(super) const ENTRY: WorkflowEntry = WorkflowEntry {
    workflow: Workflow::Deploy,
    name: "deploy",
    title: "Deploy the cluster",
    about: "Make a cluster of nodes on which openGauss is installed and no database exists yet",
    details: &[
        "openGauss's program files must be on each node already, as `gauss_home` or `env_file` says, or come from the package \
         that `og_package` names.",
        "Nodes that are members stay as they are, and nodes that are new in the inventory are added. Interrupted at any point, it can be run again.",
    ],
    changes: true,
    targets: None,
    options: &[
        "og_package",
        "og_ssl",
        "og_locale",
        "og_encoding",
        "og_compatibility",
        "og_password_file",
        "og_xml",
        "og_parameters",
        "og_sync_standbys",
        "og_sync_num",
        "og_hba_method",
        "og_build_mode",
        "og_build_force",
        "og_build_room",
        "og_build_parallel",
        "og_rollback",
        "og_host",
        "og_unit",
        "og_accept",
    ],
    preflight: Some(Policy {
        purpose: Purpose::Deploy,
        rules: &[
            // The targets are the nodes whose servers never ran.
            refuse_on_errors(
                On::Targets,
                &[
                    "memory.process",
                    "memory.minimum",
                    "memory.shared_buffers",
                    "memory.overcommit",
                    "disk.inodes",
                    "disk.writable",
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
                    "same.release",
                    "same.architecture",
                    "same.page_size",
                    "same.user",
                    "clock.difference",
                ],
            ),
            warn_on_findings(
                On::Targets,
                &[
                    "disk.use",
                    "memory.swap",
                    "memory.huge_pages",
                    "disk.file_system",
                    "leftovers.cron",
                    "leftovers.environment",
                    "limits.stack",
                    "limits.processes",
                    "limits.address_space",
                    "clock.service",
                    "hosts.file_mode",
                    "same.time_zone",
                    "same.uid",
                    "network.mtu",
                ],
            ),
            warn_on_findings(On::All, &["names.hosts", "managed.paused"]),
        ],
    }),
    run: |it, _| deploy(it),
};

pub(super) fn deploy(it: &mut Run) -> Go {
    let package = super::package::inspect(it)?;
    let asked = it.hosts.iter().filter(|host| !it.how.left_out.contains(&host.name));
    let asked: Vec<String> = asked.map(|host| host.name.clone()).collect();
    let certificates = ssl::inspect(it, &asked)?;
    let certificates = certificates.as_ref();
    check_password(it)?;
    if !super::host::prepare(it)? {
        return Ok(());
    }
    if let Some(package) = package
        && !super::package::bring(it, &package)?
    {
        return Ok(());
    }
    let programs: Vec<_> = PROGRAMS.into_iter().chain([INITDB]).collect();
    let og = it.begin_asking(INSPECT, &programs, plan::deploy)?;
    let built = og.add.iter().filter(|n| !og.fresh.contains(n));
    let new: Vec<String> = og.fresh.iter().chain(built).cloned().collect();
    ssl::check(it, certificates, &new)?;
    if it.how.check && !og.fresh.is_empty() {
        initialise(it, &og)?;
        ssl::bring(it, certificates, &og.fresh)?;
        foresee(it, &og);
        return Ok(());
    }
    let primary = std::slice::from_ref(&og.shared.primary);
    let locked = og.start || og.record || !og.fresh.is_empty();
    if og.start {
        // The lock lies in a data directory: that is made first, and og_initdb keeps others out while it works.
        initialise(it, &og)?;
    }
    if locked {
        it.lock(&og.shared)?;
    }
    match prepare(it, &og, certificates) {
        // Expand takes the lock once more and releases it; before that nothing of it is left.
        Ok(Some(more)) => carry_out(it, &more, certificates)?,
        Ok(None) if locked => it.end_and_unlock(primary, Ok(()))?,
        Ok(None) => {}
        Err(Stop::Failed(why)) if locked => return it.end_and_unlock(primary, Err(Stop::Failed(why))),
        Err(why) => return Err(why),
    }
    if og.add.is_empty() {
        it.show(&[], &[], Some(&og.shared.primary))?;
    }
    write_xml(it, &og)?;
    if !og.fresh.is_empty() {
        it.table.push(String::new());
        it.table.extend(og.sizes.iter().cloned());
    }
    Ok(())
}

/// The file of the initial user's password, where one is named, as og_initdb takes it.
pub(super) fn password_file(options: &Options) -> Map<String, Value> {
    let named = !options.og_password_file.is_empty();
    if named { args(json!({"password_file": options.og_password_file})) } else { Map::new() }
}

/// Finds that a new cluster would have no password before the operating system and the package are touched; else it is found
/// with all the rest. The file cannot be there yet where its user is still to be made.
fn check_password(it: &mut Run) -> Go {
    let options = &it.how.options;
    if !options.og_host && options.og_package.is_empty() {
        return Ok(());
    }
    let asked = it.hosts.iter().filter(|host| !it.how.left_out.contains(&host.name));
    let nodes: Vec<Node> = asked.map(|host| Node::new(host, None)).collect();
    let primaries: Vec<&Node> = nodes.iter().filter(|n| n.role == Role::Primary).collect();
    let [primary] = primaries[..] else { return Ok(()) };
    let query = |n: &Node| {
        let mut own = args(json!({"state": "query", "timeout": options.og_look_timeout}));
        if n == primary {
            own.extend(password_file(options));
        }
        (n.name.clone(), own)
    };
    let calls = nodes.iter().map(query).collect();
    it.replay.shown = QUIET;
    let told = it.replay.ask("Inspect the data directories", INITDB, &calls)?;
    let directory =
        |answer: &Answer| answer.error().is_none().then(|| answer.read_key::<Directory>("directory"));
    // A cluster that is there has an initial user, and one of which a node is silent may be.
    let is_there = |answer: &Answer| {
        answer.unreachable_reason().is_some()
            || directory(answer).is_some_and(|directory| !directory.content.is_vacant() && !directory.made)
    };
    let Some(own) = told.get(&primary.name).filter(|_| !told.0.iter().any(|(_, answer)| is_there(answer)))
    else {
        return Ok(());
    };
    let lacks_user = own.error_text("kind") == "not_found" && own.error_text("path") == "/os_user";
    let is_made = directory(own).is_some_and(|directory| directory.content.is_vacant());
    let problem: Option<String> = own.read_key("password_problem");
    let finding = plan::password_finding(&primary.name, options, problem.as_deref());
    it.refuse(finding.filter(|_| lacks_user || is_made).into_iter().collect())
}

/// Makes the nodes ready under the lock, and plans how the others are added.
fn prepare(it: &mut Run, og: &Deploy, certificates: Option<&Certificates>) -> Go<Option<Expand>> {
    if !og.fresh.is_empty() {
        let asked: Vec<_> = PROGRAMS.into_iter().chain([INITDB]).collect();
        let nodes = it.inspect("Inspect all nodes under the lock", &asked, &[])?;
        let changed = plan::find_changes(&nodes, og);
        if !changed.is_empty() {
            return Err(Stop::Failed(plan::list_findings(&changed, "; run it again")));
        }
        if !og.start {
            initialise(it, og)?;
        }
        // Before the parameters that name them: a server does not start without the files.
        ssl::bring(it, certificates, &og.fresh)?;
        configure(it, og)?;
    }
    if og.start {
        start(it, og)?;
    }
    if og.record {
        let primary = std::slice::from_ref(&og.shared.primary);
        let calls = write_static(&og.shared, primary, &og.files);
        require_success(&[&it.step("Update cluster_static_config", "og_static_conf", calls)?])?;
    }
    if og.add.is_empty() { Ok(None) } else { plan_expand(it, &og.add).map(Some) }
}

/// Makes the data directories.
fn initialise(it: &mut Run, og: &Deploy) -> Go {
    let options = &it.how.options;
    let calls = og.initdb.iter().map(|n| {
        let own = json!({
            "node_name": og.node_name,
            "locale": options.og_locale,
            "encoding": options.og_encoding,
            "compatibility": options.og_compatibility,
        });
        // What another node is made with is replaced by the primary's.
        let mut own = args(own);
        if *n == og.shared.primary {
            own.extend(password_file(options));
        }
        (n.clone(), own)
    });
    require_success(&[&it.step("Initialise data directories", INITDB, calls.collect())?])
}

/// Configures what was made; the servers never ran.
fn configure(it: &mut Run, og: &Deploy) -> Go {
    let calls = og
        .fresh
        .iter()
        .map(|n| (n.clone(), args(json!({"parameters": og.parameters[n], "reload": "never"}))));
    require_success(&[&it.step("Configure the new nodes' parameters", "og_guc", calls.collect())?])
}

/// Gives the primary rules and channels, and starts it.
fn start(it: &mut Run, og: &Deploy) -> Go {
    let primary = &og.shared.primary;
    let own = json!({"rules": og.rules, "reload": "never", "create": true});
    it.run_required_step("Configure pg_hba.conf rules of the primary", "og_hba", primary, own, false)?;
    if !og.peers.is_empty() {
        let own = json!({
            "state": "exact",
            "local": og.shared.locals[primary],
            "peers": og.peers,
            "reload": "never",
        });
        it.run_required_step(
            "Configure replication channels of the primary",
            "og_replconninfo",
            primary,
            own,
            false,
        )?;
    }
    let own = json!({"state": "started", "role": first_role(og), "timeout": it.how.options.og_wait_timeout});
    it.run_required_step("Start the primary", "og_node_state", primary, own, false)
}

/// The role in which the primary is started: a single node is none without standbys.
fn first_role(og: &Deploy) -> &'static str {
    if og.peers.is_empty() { "normal" } else { "primary" }
}

/// Writes cluster_config.xml on all nodes, where that is wanted.
fn write_xml(it: &mut Run, og: &Deploy) -> Go {
    let path = it.how.options.og_xml.clone();
    if path.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = it.hosts.iter().map(|host| host.name.clone()).collect();
    let nodes = it.inspect("Inspect the cluster's files", &["og_node_state", "og_static_conf"], &[])?;
    let Some(primary) = nodes.iter().find(|n| n.name == og.shared.primary) else { return Ok(()) };
    let own = json!({"nodes": primary.seen().recorded, "write_xml": path});
    let mut calls = calls_on(&names, &own);
    for (n, own) in &mut calls {
        own.insert("local".to_owned(), json!(og.shared.file_ids[n]));
    }
    require_success(&[&it.step("Write cluster_config.xml", "og_static_conf", calls)?])
}

/// Tells what would be done with data directories that are not there yet.
fn foresee(it: &mut Run, og: &Deploy) {
    let mut tell = |step: &str, node: &str, actions: &[String]| {
        let answers =
            actions.iter().map(|action| (node.to_owned(), Answer::from_foreseen("would be done", action)));
        it.record_answers(step, &Answered(answers.collect()));
    };
    for n in &og.fresh {
        let actions: Vec<String> =
            og.parameters[n].iter().map(|(name, value)| format!("set {name} = {value}")).collect();
        tell("Configure the new nodes' parameters", n, &actions);
    }
    let primary = &og.shared.primary;
    if og.start {
        let rules = og
            .rules
            .iter()
            .map(|rule| format!("add a rule for {}", rule.address.as_deref().unwrap_or("the local socket")));
        tell("Configure pg_hba.conf rules of the primary", primary, &rules.collect::<Vec<_>>());
        let channels = og.peers.iter().map(|peer| format!("add a replication channel to {}", peer.host));
        tell("Configure replication channels of the primary", primary, &channels.collect::<Vec<_>>());
        tell("Start the primary", primary, &[format!("start the server as {}", first_role(og))]);
    }
    if og.record {
        tell("Update cluster_static_config", primary, &["write the file of a single node".to_owned()]);
    }
    for n in &og.add {
        tell("Build standbys", n, &[format!("build it from {primary}")]);
    }
    it.table.clone_from(&og.sizes);
}
