//! The package of openGauss, carried to the nodes and unpacked there; and the removal of its program files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{Answered, Run, args, require_success};
use crate::answer::Answer;
use crate::args::{PackageFile, PutFile, Shown};
use crate::cluster::{Node, is_record_of};
use crate::plan::{Clear, ProgramFiles};
use crate::replay::{Calls, Go};

/// The program that unpacks it.
const PACKAGE: &str = "og_package";
/// The program that removes the cluster's files beside its program files.
const STATIC: &str = "og_static_conf";
/// The program that receives it.
const FILE: &str = "og_file";
/// Seconds to wait for another run that carries or unpacks the same package.
const LOCK_TIMEOUT_SECONDS: u64 = 1800;
/// Digits of its hash in the name of its file on the nodes.
const HASH_DIGITS: usize = 16;
/// The file is for nobody but the user who unpacks it.
const MODE: &str = "0600";

/// A node and the link to its program files.
type ProgramFolder = (String, String);

/// The package on this machine, and where the nodes are to have it.
pub(super) struct Package {
    file: PackageFile,
    sha256: String,
    places: Vec<ProgramFolder>,
}

/// Inspects the package on this machine; none where the program files are there without one. What is wrong with it is found before
/// anything is changed.
pub(super) fn inspect(it: &mut Run) -> Go<Option<Package>> {
    if it.how.options.og_package.is_empty() {
        return Ok(None);
    }
    let own = args(json!({"workflow": "package", "options": {"og_package": it.how.options.og_package}}));
    let file: PackageFile =
        it.replay.ask_here("Inspect the package", "og_workflow", &own, |_| false)?.read_key("package");
    let (places, findings) = find_places(it, &file);
    it.refuse(findings)?;
    // Without it there was a finding.
    let sha256 = file.sha256.clone().unwrap_or_default();
    Ok(Some(Package { file, sha256, places }))
}

/// Brings the package to the nodes that lack it; says whether the program files are there now, which they are not in check mode
/// where they lack.
pub(super) fn bring(it: &mut Run, package: &Package) -> Go<bool> {
    let Package { file, sha256, places } = package;
    let call = |(node, link): &ProgramFolder| {
        let own = json!({"link": link, "sha256": sha256, "size": file.size, "check_mode": true});
        (node.clone(), args(own))
    };
    let calls = places.iter().map(call).collect();
    let foreseen = it.ask_quietly("Check whether the nodes have the package", PACKAGE, calls)?;
    it.refuse(super::failure_reasons(&[&foreseen]))?;
    let lacks =
        |place: &&ProgramFolder| foreseen.get(&place.0).is_some_and(crate::answer::Answer::has_changed);
    let lacking: Vec<ProgramFolder> = places.iter().filter(lacks).cloned().collect();
    if it.how.check && !lacking.is_empty() {
        // Asked once more, as a step: it counts as a change of these nodes with every caller.
        require_success(&[&it.step("Unpack the package", PACKAGE, lacking.iter().map(call).collect())?])?;
        it.table.push("What else would be done can be told when the program files are there.".to_owned());
        return Ok(false);
    }
    if !lacking.is_empty() {
        transfer_and_unpack(it, file, sha256, &foreseen, &lacking)?;
    }
    if it.how.check {
        return Ok(true);
    }
    // Also what a run left that was killed before this. What was for the time of a run alone is no change of the node.
    let call = |(node, link): &ProgramFolder| {
        (node.clone(), args(json!({"state": "absent", "path": place_of_file(link, sha256)})))
    };
    let calls = places.iter().map(call).collect();
    require_success(&[&it.ask_quietly("Remove the file of the package", FILE, calls)?])?;
    Ok(true)
}

/// Carries the package to these nodes and unpacks it.
fn transfer_and_unpack(
    it: &mut Run,
    file: &PackageFile,
    sha256: &str,
    foreseen: &Answered,
    lacking: &[ProgramFolder],
) -> Go {
    // Where it was unpacked before, only the link may be missing.
    let is_unpacked = |node: &str| {
        let current = foreseen.get(node).map(|answer| answer.read_key::<Value>("current"));
        current.is_some_and(|current| current.is_object())
    };
    let receiving: Vec<ProgramFolder> =
        lacking.iter().filter(|(node, _)| !is_unpacked(node)).cloned().collect();
    transfer(it, file, sha256, &receiving)?;
    let call = |place: &ProgramFolder| {
        let mut own = args(json!({"link": place.1, "sha256": sha256, "lock_timeout": LOCK_TIMEOUT_SECONDS}));
        if receiving.contains(place) {
            own.insert("package".to_owned(), json!(place_of_file(&place.1, sha256)));
        }
        (place.0.clone(), own)
    };
    require_success(&[&it.step("Unpack the package", PACKAGE, lacking.iter().map(call).collect())?])
}

/// The nodes and where their program files are to be; and the findings.
fn find_places(it: &Run, file: &PackageFile) -> (Vec<ProgramFolder>, Vec<String>) {
    let (mut places, mut findings) = (Vec::new(), Vec::new());
    if let Some(problem) = &file.problem {
        findings.push(format!("og_package: {problem}"));
    } else if file.sha256.is_none() {
        findings.push(format!("og_package: nothing was told of {}", it.how.options.og_package));
    }
    // That a node cannot be asked is found when all are inspected.
    for host in it.hosts.iter().filter(|host| !it.how.left_out.contains(&host.name)) {
        match host.common().get("gauss_home").and_then(Value::as_str) {
            Some(link) => places.push((host.name.clone(), link.to_owned())),
            None => findings.push(format!(
                "{}: has no gauss_home in the inventory, so it is not known where the package goes; give it a path such as \
                 /gauss/app/current, which becomes a link to the program files",
                host.name
            )),
        }
    }
    (places, findings)
}

/// Where the file of the package is for the time of the run: beside the link.
fn place_of_file(link: &str, sha256: &str) -> String {
    let folder = Path::new(link).parent().unwrap_or(Path::new("/"));
    let digits = sha256.get(..HASH_DIGITS).unwrap_or(sha256);
    folder.join(format!("openGauss-{digits}.package")).display().to_string()
}

fn transfer(it: &mut Run, file: &PackageFile, sha256: &str, places: &[ProgramFolder]) -> Go {
    let put = |(node, link): &ProgramFolder| -> (String, Map<String, Value>, PutFile) {
        let to = place_of_file(link, sha256);
        let own = json!({
            "path": to,
            "sha256": sha256,
            "size": file.size,
            "mode": MODE,
            "lock_timeout": LOCK_TIMEOUT_SECONDS,
            "timeout": LOCK_TIMEOUT_SECONDS,
        });
        let put = PutFile { from: file.path.clone(), to, sha256: sha256.to_owned(), mode: MODE.to_owned() };
        (node.clone(), args(own), put)
    };
    let name = "Transfer the package";
    let files: Vec<_> = places.iter().map(put).collect();
    it.replay.shown = Shown::default();
    let done = it.replay.put(name, FILE, &files)?;
    it.add_warnings(&done);
    it.record_answers(name, &done);
    require_success(&[&done])
}

/// What is taken away of the program files of cleared nodes.
#[derive(Default)]
pub(super) struct Removal {
    /// The nodes on which og_package would remove something.
    pub nodes: Vec<String>,
    /// The nodes on which the cluster's files beside the program files go, and the name that each has in them.
    configs: Vec<(String, String)>,
    /// By node, what would be gone.
    pub gone: BTreeMap<String, Vec<PathBuf>>,
}

/// What would be removed; nothing without `og_package_absent`. Why it would be refused is added to the findings.
pub(super) fn inspect_removal(it: &mut Run, og: &Clear, findings: &mut Vec<String>) -> Go<Removal> {
    let mut removal = Removal::default();
    let all: Vec<String> = og.program_files.keys().cloned().collect();
    let foreseen =
        it.foresee("Check whether the program files may go", PACKAGE, removal_calls(og, &all, true))?;
    findings.extend(super::failure_reasons(&[&foreseen]));
    let (changing, others): (Vec<_>, Vec<_>) =
        foreseen.0.into_iter().partition(|(_, answer)| answer.has_changed());
    // What stays is told by no step.
    it.add_warnings(&Answered(others));
    let mut going = Vec::new();
    for (node, answer) in changing {
        let keys = ["link", "env_file"];
        let mut gone: Vec<PathBuf> =
            keys.iter().filter_map(|key| answer.read_key::<Option<_>>(key)).collect();
        if answer.read_key::<Vec<PathBuf>>("other_links").is_empty() {
            gone.extend(answer.read_key::<Value>("current")["path"].as_str().map(PathBuf::from));
            going.push(node.clone());
        }
        removal.gone.insert(node.clone(), gone);
        removal.nodes.push(node);
    }
    let told =
        it.foresee("Inspect the cluster's files beside them", STATIC, static_calls(og, &going, |_| None))?;
    findings.extend(super::failure_reasons(&[&told]));
    for (node, answer) in told.0.iter().filter(|(_, answer)| answer.has_changed()) {
        match local_of(it, og, answer) {
            Some(local) => removal.configs.push((node.clone(), local)),
            None => findings.push(format!(
                "{node}: cluster_static_config beside its program files in {} is that of another node or cluster, which may use \
                 them; leave og_package_absent out",
                og.program_files[node].link
            )),
        }
    }
    Ok(removal)
}

/// The node that the static configuration file is for, where that is one of the cleared ones, in the cluster of the inventory.
fn local_of(it: &Run, og: &Clear, answer: &Answer) -> Option<String> {
    let local: String = answer.read_key("local");
    let records: Vec<Map<String, Value>> = answer.read_key("nodes");
    let own = records.iter().find(|record| record.get("name").and_then(Value::as_str) == Some(&*local))?;
    let (cleared, others): (Vec<Node>, Vec<Node>) =
        it.hosts.iter().map(|host| Node::new(host, None)).partition(|n| og.shared.targets.contains(&n.name));
    let is_own = cleared.iter().any(|n| is_record_of(own, n));
    let knows = |n: &Node| records.iter().any(|record| is_record_of(record, n));
    (is_own && (records.len() == 1 || others.iter().any(knows))).then_some(local)
}

/// Takes the program files away, and before them the cluster's files among them, which og_package would leave.
pub(super) fn remove(it: &mut Run, og: &Clear, removal: &Removal) -> Go {
    let nodes: Vec<String> = removal.configs.iter().map(|(node, _)| node.clone()).collect();
    let local = |node: &str| removal.configs.iter().find(|(n, _)| n == node).map(|(_, local)| local.clone());
    let calls = static_calls(og, &nodes, local);
    require_success(&[&it.step("Remove cluster_static_config", STATIC, calls)?])?;
    let calls = removal_calls(og, &removal.nodes, it.how.check);
    require_success(&[&it.step("Remove the program files", PACKAGE, calls)?])
}

/// og_package on these nodes; where it changes nothing, with the servers that will be stopped by then.
fn removal_calls(og: &Clear, nodes: &[String], check: bool) -> Calls {
    let call = |node: &String| {
        let files = &og.program_files[node];
        let mut own = as_user(files, json!({"state": "absent", "link": files.link}));
        if let Some(pids) = og.ended.get(node).filter(|pids| check && !pids.is_empty()) {
            own.insert("ended".to_owned(), json!(pids));
        }
        (node.clone(), own)
    };
    nodes.iter().map(call).collect()
}

/// og_static_conf on these nodes, for the copy that is for the node of this name.
fn static_calls(og: &Clear, nodes: &[String], local: impl Fn(&str) -> Option<String>) -> Calls {
    let call = |node: &String| {
        let files = &og.program_files[node];
        let path = Path::new(&files.link).join("bin/cluster_static_config");
        let mut own = as_user(files, json!({"state": "absent", "path": path}));
        own.extend(local(node).map(|name| ("local".to_owned(), json!(name))));
        (node.clone(), own)
    };
    nodes.iter().map(call).collect()
}

/// These arguments, for the user of the node's server.
fn as_user(files: &ProgramFiles, own: Value) -> Map<String, Value> {
    let user = files.os_user.iter().map(|user| ("os_user".to_owned(), json!(user)));
    args(own).into_iter().chain(user).collect()
}
