//! The operating system of the nodes, which og_host changes as root where the person wants that.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use std::collections::BTreeMap;

use super::{QUIET, Run, args, require_success};
use crate::answer::Answer;
use crate::cluster::{InventoryHost, Node};
use crate::plan::Clear;
use crate::replay::{Answered, Calls, Go};
use crate::seen::HOST;

/// The step that changes it.
const PREPARE: &str = "Prepare the operating system";
/// The step that takes away what was made.
const RESTORE: &str = "Restore the operating system";

/// As og_package makes the folder itself where it may.
const PACKAGE_MODE: &str = "0755";
/// The program that is asked whether it may act as a node's user; any would do that looks.
const LOCK: &str = "og_lock";

/// Makes the users and directories of all nodes, and sets what og_preflight advises; tells whether what comes then can be
/// inspected. All findings come before the first change.
pub(super) fn prepare(it: &mut Run) -> Go<bool> {
    let mut findings = Vec::new();
    if !it.how.options.og_host {
        if it.how.options.og_unit {
            findings.push("og_unit needs og_host, which writes the unit; give og_host=true, too".to_owned());
        }
        it.refuse(findings)?;
        return Ok(true);
    }
    let mut calls = Calls::new();
    let with_package = !it.how.options.og_package.is_empty();
    for host in it.hosts.iter().filter(|host| !it.how.left_out.contains(&host.name)) {
        match wanted(host, with_package) {
            Ok(mut own) => {
                if it.how.options.og_unit {
                    own["unit"] = unit(host);
                }
                calls.push((host.name.clone(), args(own)));
            }
            Err(why) => findings.push(why),
        }
    }
    let foreseen = it.foresee("Inspect the operating systems", HOST, calls.clone())?;
    findings.extend(super::failure_reasons(&[&foreseen]));
    it.refuse(findings)?;
    it.add_warnings(&foreseen);
    if foreseen.0.iter().all(|(_, answer)| !answer.has_changed()) {
        return Ok(true);
    }
    check_logins(it, &calls)?;
    if !it.how.check {
        require_success(&[&it.step(PREPARE, HOST, calls)?])?;
        return Ok(true);
    }
    it.record_answers(PREPARE, &foreseen);
    let without: Vec<String> =
        foreseen.0.iter().filter(|(_, answer)| makes_user(answer)).map(|(n, _)| n.clone()).collect();
    if without.is_empty() {
        return Ok(true);
    }
    it.warnings.push(format!(
        "{}: the user is still to be made, so what comes after that cannot be foreseen",
        without.join(", ")
    ));
    Ok(false)
}

/// Refuses logins from which the other programs cannot act as the nodes' users: og_host alone would do its work there, by sudo.
fn check_logins(it: &mut Run, calls: &Calls) -> Go {
    let asked: Vec<String> = calls.iter().map(|(node, _)| node.clone()).collect();
    it.replay.shown = QUIET;
    let done = it.replay.ask(
        "Check whether the logins may act as the nodes' users",
        LOCK,
        &super::calls_on(&asked, &json!({"state": "query"})),
    )?;
    let is_other = |answer: &Answer| {
        answer.error_text("kind") == "permission" && answer.error_text("path") == "/os_user"
    };
    let findings = done.0.iter().filter(|(_, answer)| is_other(answer));
    it.refuse(findings.filter_map(|(n, answer)| Some(format!("{n}: {}", answer.failure_reason()?))).collect())
}

/// What a node's machine is to have: also the folder that the package is unpacked in, for which the user may have no right.
fn wanted(host: &InventoryHost, with_package: bool) -> Result<Value, String> {
    let node = Node::new(host, None);
    let name = &node.name;
    let user = node.known_os_user().ok_or_else(|| {
        format!("{name}: og_host makes the user that the server is to run as; give os_user in the inventory")
    })?;
    let common = host.common();
    let data_dir = common.get("data_dir").and_then(Value::as_str).map(Path::new);
    let parent = data_dir.filter(|path| path.is_absolute()).and_then(Path::parent);
    let parent = parent.filter(|parent| parent.file_name().is_some()).map(PathBuf::from).ok_or_else(|| {
        format!(
            "{name}: og_host makes the folder around the data directory, which is to be a folder of the user's own; correct \
             data_dir"
        )
    })?;
    let mut directories = vec![(parent, None)];
    let link = common.get("gauss_home").and_then(Value::as_str).map(Path::new);
    // A link that og_package refuses is told by it.
    let around = link.filter(|link| with_package && link.is_absolute()).and_then(Path::parent);
    if let Some(around) = around.filter(|around| around.file_name().is_some()) {
        directories.push((around.to_owned(), Some(PACKAGE_MODE)));
    }
    // The outer one first, which is the user's then, and not root's on the way to the other.
    directories.sort();
    directories.dedup_by(|one, other| one.0 == other.0);
    let directory = |(path, mode): &(PathBuf, Option<&str>)| match mode {
        Some(mode) => json!({"path": path, "mode": mode}),
        None => json!({"path": path}),
    };
    Ok(json!({
        "state": "present",
        "user": user,
        "directories": directories.iter().map(directory).collect::<Vec<_>>(),
        "recommended": true,
        "base_ports": [node.base_port],
    }))
}

/// The unit that starts the node with its machine.
fn unit(host: &InventoryHost) -> Value {
    let common = host.common();
    let keys = ["data_dir", "env_file", "gauss_home"];
    keys.into_iter()
        .filter_map(|key| Some((key.to_owned(), common.get(key)?.clone())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Whether the user is still to be made.
fn makes_user(answer: &Answer) -> bool {
    let items: Vec<Value> = answer.read_key("items");
    items.iter().any(|item| item["kind"] == "user" && item["seen"].is_null())
}

/// What og_host would remove on the cleared nodes; nothing without `og_host_absent`. It is given the servers that are stopped and the
/// paths that are removed before. Why it would refuse is added to the findings.
pub(super) fn inspect_removal(
    it: &mut Run,
    og: &Clear,
    gone: &BTreeMap<String, Vec<PathBuf>>,
    findings: &mut Vec<String>,
) -> Go<Answered> {
    if !it.how.options.og_host_absent {
        return Ok(Answered::default());
    }
    let mut calls = removal(&og.shared.targets);
    for (node, own) in &mut calls {
        // Another server on the machine needs what og_host made, and is found so before anything is changed.
        if let Some(pids) = og.ended.get(node).filter(|pids| !pids.is_empty()) {
            own.insert("ended".to_owned(), json!(pids));
        }
        if let Some(paths) = gone.get(node) {
            own.insert("gone".to_owned(), json!(paths));
        }
    }
    let foreseen = it.foresee("Inspect the operating systems", HOST, calls)?;
    findings.extend(super::failure_reasons(&[&foreseen]));
    Ok(foreseen)
}

/// Takes away what og_host made on these nodes. Where something else went before, a directory may be empty now that was not.
pub(super) fn remove(it: &mut Run, foreseen: &Answered, gone: &BTreeMap<String, Vec<PathBuf>>) -> Go {
    if it.how.check {
        it.add_warnings(foreseen);
        it.record_answers(RESTORE, foreseen);
        return Ok(());
    }
    let (asked, others): (Vec<_>, Vec<_>) = foreseen
        .0
        .iter()
        .cloned()
        .partition(|(node, answer)| answer.has_changed() || gone.contains_key(node));
    // What stays there is told by no step.
    it.add_warnings(&Answered(others));
    let nodes: Vec<String> = asked.into_iter().map(|(node, _)| node).collect();
    require_success(&[&it.step(RESTORE, HOST, removal(&nodes))?])
}

fn removal(targets: &[String]) -> Calls {
    super::calls_on(targets, &json!({"state": "absent"}))
}
