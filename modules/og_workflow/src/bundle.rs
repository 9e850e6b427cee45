//! The file that the workflow collect leaves on the controller: what the programs on the nodes answered, the state of the
//! cluster, and the records of its newest runs, for somebody who is to help from afar.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use og_common::clock::now_millis;
use og_common::files;
use og_common::protocol::{Error, ErrorKind, secret};
use serde::Deserialize;
use tar::{Builder, Header};

use crate::args::{Described, Outcome};
use crate::cluster::{InventoryHost, Node};
use crate::engine::Engine;
use crate::health::lines::lines;
use crate::record::history::{self, RecordedRun};
use crate::record::{RECORD_FILES, make_new, make_parent, runs_folder, state_folder, time_stamp, to_pretty};
use crate::steps::Collected;

/// In the folder of the suite's state.
const FOLDER: &str = "collected";
/// How many of the newest runs on the cluster go into the file.
const MAX_RUNS: usize = 10;
const ABOUT: &str = "\
What `og collect` found.

status.txt, status.json     the cluster: verdict, nodes, findings
preflight.json              what the checks found on each node
nodes/NODE/PROGRAM.json     what each program says of a node; og_node_state has the newest lines of the server's log
runs/ID/                    the records of the newest runs on this cluster

Secrets are masked, and lines of the log that quote SQL or rows are left out. Host names, addresses, paths, names of
users and databases, and what error messages quote are in here: look through it before you send it.
";

/// A file in the bundle: its path there, and its content.
type BundleEntry = (String, Vec<u8>);

/// Writes what the run of this engine collected, where it did; the outcome tells where it is, or has failed.
pub fn finish(outcome: &mut Outcome, engine: &Engine) {
    let Some(collected) = outcome.collected.take() else { return };
    let written = entries(outcome, &collected, engine.hosts())
        .and_then(|entries| write(&state_folder()?.join(FOLDER), &entries));
    // All of it is in the file.
    (outcome.cluster, outcome.preflight) = (None, None);
    outcome.table = list_answers(&collected);
    let silent: Vec<&str> = collected
        .iter()
        .filter(|(_, answers)| answers.values().all(is_failure))
        .map(|(node, _)| node.as_str())
        .collect();
    match written {
        Ok(path) if silent.len() == collected.len() => {
            outcome.failed = true;
            outcome.msg =
                Some(format!("no node answered; {} has the records of earlier runs alone", path.display()));
            outcome.report = Some(path.display().to_string());
        }
        Ok(path) => {
            outcome.report = Some(path.display().to_string());
            if !silent.is_empty() {
                outcome.warnings.push(format!("nothing was collected from {}", silent.join(", ")));
            }
        }
        Err(e) => {
            outcome.failed = true;
            outcome.msg = Some(e.to_string());
        }
    }
}

fn is_failure(answer: &serde_json::Value) -> bool {
    answer["failed"] == true
}

/// Of each node, what answered there.
fn list_answers(collected: &Collected) -> Vec<String> {
    let line = |(node, answers): (&String, &std::collections::BTreeMap<String, serde_json::Value>)| {
        let failed: Vec<String> = answers
            .iter()
            .filter(|(_, answer)| is_failure(answer))
            .map(|(program, answer)| {
                format!("{program}: {}", answer["msg"].as_str().unwrap_or_default().trim())
            })
            .collect();
        match failed.len() {
            0 => format!("{node}: all {} answers", answers.len()),
            // Where a node cannot be reached, all of them say the same.
            n if n == answers.len() => format!("{node}: nothing: {}", failed[0]),
            n => format!("{node}: {} of {} answers; {}", answers.len() - n, answers.len(), failed.join("; ")),
        }
    };
    collected.iter().map(line).collect()
}

fn entries(
    outcome: &Outcome,
    collected: &Collected,
    hosts: &[InventoryHost],
) -> Result<Vec<BundleEntry>, Error> {
    let table = outcome.cluster.as_ref().map(|cluster| lines(cluster, true, None)).unwrap_or_default();
    let table = secret::mask_text(&table.join("\n")).into_owned();
    let mut entries = vec![
        ("README.txt".to_owned(), ABOUT.as_bytes().to_vec()),
        ("status.txt".to_owned(), format!("{table}\n").into_bytes()),
        ("status.json".to_owned(), to_pretty(&outcome.cluster)?),
        ("preflight.json".to_owned(), to_pretty(&outcome.preflight)?),
    ];
    for (node, answers) in collected {
        for (program, answer) in answers {
            entries.push((format!("nodes/{}/{program}.json", file_name(node)), to_pretty(answer)?));
        }
    }
    let (runs, unreadable) = history::list(&runs_folder()?)?;
    let own = places(hosts);
    for run in runs.iter().rev().filter(|run| is_of_cluster(run, &own)).take(MAX_RUNS) {
        for name in RECORD_FILES {
            match files::read(&run.folder.join(name)) {
                Ok(content) => entries.push((format!("runs/{}/{name}", file_name(&run.plan.id)), content)),
                // Not every run has every file.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => entries.push((
                    format!("runs/{}/{name}.error", file_name(&run.plan.id)),
                    e.to_string().into_bytes(),
                )),
            }
        }
    }
    if !unreadable.is_empty() {
        let lines: Vec<String> = unreadable.iter().map(ToString::to_string).collect();
        entries.push(("runs/unreadable.txt".to_owned(), format!("{}\n", lines.join("\n")).into_bytes()));
    }
    Ok(entries)
}

/// Where the servers of these hosts are: address and port, and data directory. Clusters on the same hosts differ in those.
fn places(hosts: &[InventoryHost]) -> BTreeSet<((String, i64), String)> {
    let place = |host: &InventoryHost| {
        let data_dir = host.vars.get("data_dir").map(ToString::to_string);
        (Node::new(host, None).key(), data_dir.unwrap_or_default())
    };
    hosts.iter().map(place).collect()
}

/// Whether a run was for a cluster with one of these servers.
fn is_of_cluster(run: &RecordedRun, own: &BTreeSet<((String, i64), String)>) -> bool {
    let described = Described::deserialize(&run.plan.cluster);
    let hosts = described.ok().and_then(|cluster| crate::hosts(&cluster).ok());
    hosts.is_some_and(|hosts| !places(&hosts).is_disjoint(own))
}

/// The name as that of a file, which neither leads elsewhere nor hides.
fn file_name(name: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    let name: String = name.chars().map(keep).collect();
    if name.starts_with('.') || name.is_empty() { format!("_{name}") } else { name }
}

/// Writes a file of these, readable by its user alone, under a name that is new in the folder.
fn write(folder: &Path, entries: &[BundleEntry]) -> Result<PathBuf, Error> {
    make_parent(folder)?;
    let now = now_millis();
    let root = format!("og-collect-{}", time_stamp(now));
    let packed = pack(&root, now / 1000, entries).map_err(|e| Error::io("pack", folder, &e))?;
    let create = |path: &Path| OpenOptions::new().create_new(true).write(true).mode(0o600).open(path);
    let (path, _, mut file) = make_new(folder, &root, ".tar.gz", create)?;
    match file.write_all(&packed).and_then(|()| file.sync_all()) {
        Ok(()) => Ok(path),
        Err(e) => {
            // Half of it would be taken for all of it.
            drop(std::fs::remove_file(&path));
            Err(Error::io("write", &path, &e))
        }
    }
}

fn pack(root: &str, now: u64, entries: &[BundleEntry]) -> std::io::Result<Vec<u8>> {
    let mut archive = Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (name, content) in entries {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now);
        archive.append_data(&mut header, format!("{root}/{name}"), content.as_slice())?;
    }
    archive.into_inner()?.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    use flate2::read::GzDecoder;
    use serde_json::{Value, json};

    use super::*;

    fn collected(node: &str, answer: Value) -> Collected {
        let answers = BTreeMap::from([
            ("og_hba".to_owned(), answer),
            ("og_slot".to_owned(), json!({"failed": false, "msg": "no slots"})),
        ]);
        Collected::from([(node.to_owned(), answers)])
    }

    fn unpack(path: &Path) -> BTreeMap<String, String> {
        let mut archive = tar::Archive::new(GzDecoder::new(std::fs::File::open(path).unwrap()));
        let mut found = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            found.insert(name.split_once('/').unwrap().1.to_owned(), text);
        }
        found
    }

    #[test]
    fn what_is_written_is_for_its_user_alone_and_has_no_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let answer = json!({"failed": false, "rules": ["host all all 10.0.0.1/32 ldap ldapbindpasswd=s3cret"],
            "parameters": {"app.password": "s3cret"}});
        let own = collected("n1", answer);
        let outcome = Outcome::default();
        let folder = dir.path().join("state");
        let entries = entries(&outcome, &own, &[]).unwrap();
        let path = write(&folder, &entries).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&path)), (0o700, 0o600));
        let found = unpack(&path);
        for name in [
            "README.txt",
            "status.txt",
            "status.json",
            "preflight.json",
            "nodes/n1/og_hba.json",
            "nodes/n1/og_slot.json",
        ] {
            assert!(found.contains_key(name), "{name}: {:?}", found.keys());
        }
        let with_secret: Vec<_> = found.iter().filter(|(_, text)| text.contains("s3cret")).collect();
        assert!(with_secret.is_empty(), "{with_secret:?}");
        let second = write(&folder, &entries).unwrap();
        assert_ne!(path, second);
    }

    #[test]
    fn a_run_on_another_cluster_of_the_same_hosts_is_left_out() {
        let described = |port: u32, dir: &str, address: &str| json!({"hosts": {"n1": {"id": 1, "address": address}}, "vars": {"base_port": port, "data_dir": dir}});
        let own = described(26000, "/d1", "10.0.0.1");
        let own = places(&crate::hosts(&serde_json::from_value(own).unwrap()).unwrap());
        let is_own = |cluster: Value| {
            let plan = crate::record::Plan { cluster, ..Default::default() };
            is_of_cluster(&RecordedRun { plan, ..Default::default() }, &own)
        };
        assert!(is_own(described(26000, "/d1", "10.0.0.1")));
        assert!(!is_own(described(27000, "/d1", "10.0.0.1")));
        assert!(!is_own(described(26000, "/d2", "10.0.0.1")));
        assert!(!is_own(described(26000, "/d1", "10.0.0.2")));
        assert!(!is_own(json!({"hosts": {}})));
        assert!(!is_own(Value::Null));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_a_failure_that_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let in_the_way = dir.path().join("state");
        std::fs::write(&in_the_way, "").unwrap();
        let error = write(&in_the_way, &[]).unwrap_err();
        assert!(error.to_string().contains(&in_the_way.display().to_string()), "{error}");
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        for (name, wanted) in
            [("n1", "n1"), ("../n1", "_.._n1"), ("a/b", "a_b"), ("", "_"), (".", "_."), ("n\u{fc}", "n_")]
        {
            assert_eq!(file_name(name), wanted);
        }
    }

    #[test]
    fn what_did_not_answer_is_told() {
        let gone = json!({"failed": true, "msg": "no route to host"});
        assert_eq!(list_answers(&collected("n1", gone)), ["n1: 1 of 2 answers; og_hba: no route to host"]);
        assert_eq!(list_answers(&collected("n1", json!({}))), ["n1: all 2 answers"]);
    }
}
