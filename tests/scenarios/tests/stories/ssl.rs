//! A cluster whose nodes have certificates, made on the controller, and one that joins it: clients and standbys come by SSL.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use og_lab::{LabNode, Role};
use og_scenarios::cluster::{Cluster, Result};
use og_scenarios::shell::Shell;
use serde_json::{Value, json};

use super::deploy::{remove_data, write_password};
use super::{require_success, run_playbook, shorten};
use crate::Story;

pub const STORY: Story = Story {
    name: "ssl",
    nodes: &[("n1", Role::Primary), ("n2", Role::Standby), ("n3", Role::Spare)],
    always: 2,
    scenarios: &[
        ("deploy gives each node its certificate, and clients and standbys come by SSL", deployed),
        ("a node that joins has its own certificate after a build", expanded),
    ],
};

/// What the servers of a lab take.
const SIZES: &str = "max_process_memory=2GB shared_buffers=64MB cstore_buffers=16MB max_connections=100";
const USER: &str = "app";
const PASSWORD: &str = "App_Passw0rd";
/// The files of a node.
const FILES: [&str; 3] = ["cacert.pem", "server.crt", "server.key"];

/// The folder where lines of og are typed.
fn typed_in(c: &Cluster) -> PathBuf {
    c.lab().base_dir().join("shell")
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// The node has the files of the folder under its name, for its user alone, and runs with them.
fn check_files(c: &Cluster, name: &str) -> Result {
    let node = c.node(name)?;
    for file in FILES {
        let source = if file == FILES[0] { PathBuf::from(file) } else { Path::new(name).join(file) };
        let (own, given) = (node.data_dir.join(file), typed_in(c).join("ssl").join(source));
        if read(&own)? != read(&given)? {
            return Err(format!("{name}: {} is not {}", own.display(), given.display()));
        }
        let stat = node.exec(["stat".as_ref(), "-c".as_ref(), "%U %a".as_ref(), own.as_os_str()]).output();
        let said = String::from_utf8_lossy(&stat.map_err(|e| e.to_string())?.stdout).into_owned();
        if said.trim() != format!("{} 600", node.os_user) {
            return Err(format!("{name}: {} is of {said}", own.display()));
        }
    }
    let on = c.sql(name, "show ssl")?;
    if on == "on" { Ok(()) } else { Err(format!("{name}: ssl is {on}")) }
}

/// What a client on one node says that comes to another one with this mode of SSL, and verifies by its own node's file.
fn come(from: &LabNode, to: &LabNode, mode: &str) -> Result<String> {
    let authority = from.data_dir.join(FILES[0]);
    let whom = format!(
        "host={} port={} dbname=postgres user={USER} password={PASSWORD} sslmode={mode} sslrootcert={}",
        to.address,
        to.base_port,
        authority.display()
    );
    let done = from
        .exec(["gsql", "-X", "-A", "-t", "-d", &whom, "-c", "select 'here'"])
        .stdin(Stdio::null())
        .output();
    let done = done.map_err(|e| format!("cannot run gsql: {e}"))?;
    Ok(format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))
        .trim()
        .to_owned())
}

/// By rules for SSL alone a client comes in, and without SSL it does not.
fn check_clients(c: &Cluster, from: &str, to: &str) -> Result {
    let (from, to) = (c.node(from)?, c.node(to)?);
    for mode in ["require", "verify-ca"] {
        let said = come(from, to, mode)?;
        if said != "here" {
            return Err(format!("{} to {} with sslmode={mode}: {said}", from.name, to.name));
        }
    }
    let said = come(from, to, "disable")?;
    if said.contains("here") {
        return Err(format!("{} to {} came in without SSL", from.name, to.name));
    }
    Ok(())
}

/// Waits for the first connection of an address to a port, in which it is said who comes: ends well where that is encrypted.
const WATCH: &str = r#"
import socket, sys, time
wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
wire.settimeout(1)
print("ready", flush=True)
end = time.monotonic() + 60
while time.monotonic() < end:
    try:
        packet = wire.recv(65535)
    except TimeoutError:
        continue
    tcp = packet[(packet[0] & 15) * 4 : int.from_bytes(packet[2:4], "big")]
    if packet[9] != 6 or socket.inet_ntoa(packet[12:16]) != sys.argv[1] or int.from_bytes(tcp[2:4], "big") != int(sys.argv[2]):
        continue
    said = tcp[(tcp[12] >> 4) * 4 :]
    if said.startswith(b"\x16\x03\x01"):
        sys.exit("it comes by SSL")
    if b"replication\0true" in said:
        sys.exit("it comes without SSL")
sys.exit("nobody came")
"#;

/// A standby that connects anew does so by SSL, and streams.
fn check_stream(c: &Cluster, upstream: &str, standby: &str) -> Result {
    let (from, to) = (c.node(standby)?, c.node(upstream)?);
    let port = (to.base_port + 1).to_string();
    let mut watch = to
        .exec_root(["python3", "-c", WATCH, &from.address, &port])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cannot watch {upstream}: {e}"))?;
    let mut ready = String::new();
    watch.stdout.as_mut().map(BufReader::new).map(|mut told| told.read_line(&mut ready));
    let restarted = c.module(standby, "og_node_state", json!({"state": "restarted"}));
    let seen = watch.wait_with_output().map_err(|e| e.to_string())?;
    require_success(restarted?)?;
    let said = String::from_utf8_lossy(&seen.stderr).into_owned();
    if said.trim() != "it comes by SSL" {
        return Err(format!("{standby} connects to {upstream}: {ready}{said}"));
    }
    c.wait_for_state(standby, "standby", "Normal")
}

/// Nothing that a run leaves on the controller has a part of a key.
fn check_keys_are_kept(c: &Cluster, told: &str) -> Result {
    let folder = typed_in(c);
    for node in ["n1", "n2", "n3"] {
        let key = read(&folder.join("ssl").join(node).join(FILES[2]))?;
        let line = key.lines().nth(1).unwrap_or_default();
        if line.len() < 32 || told.contains(line) {
            return Err(format!("the key of {node} was told: {told}"));
        }
        // What og and Ansible leave.
        let left = [folder.join("state"), c.lab().base_dir().join("controller")];
        let found = std::process::Command::new("grep").args(["-rlF", line]).args(left).output();
        let found = found.map_err(|e| e.to_string())?;
        if !found.stdout.is_empty() {
            return Err(format!("the key of {node} is in {}", String::from_utf8_lossy(&found.stdout)));
        }
    }
    Ok(())
}

fn deployed(c: &Cluster) -> Result {
    let shell = Shell::new(c)?;
    let folder = typed_in(c);
    // Without n3, which joins later.
    let mut two: Value =
        serde_json::from_str(&read(&folder.join("cluster.json"))?).map_err(|e| e.to_string())?;
    if let Some(hosts) = two["hosts"].as_object_mut() {
        hosts.shift_remove("n3");
    }
    std::fs::write(folder.join("two.json"), two.to_string()).map_err(|e| e.to_string())?;
    for name in ["n1", "n2"] {
        remove_data(c, c.node(name)?)?;
    }
    let file = write_password(c)?;
    let made = shell.type_line("og certificates ssl")?.must_work()?;
    let kept = shell.type_line("og certificates ssl")?.must_work()?;
    if made.output.matches("made ").count() != 8 || kept.output.contains("made ") {
        return Err(format!("og certificates: {}{}", made.output, kept.output));
    }
    let line = format!("og deploy -f two.json --ssl ssl --password-file {} {SIZES}", file.display());
    let foreseen = shell.run(&format!("{line} -n --diff"))?.must_work()?;
    if !foreseen.output.contains("n2: Transfer the certificates") || c.node("n1")?.data_dir.exists() {
        return Err(format!("check mode shall foretell the files and make nothing: {}", foreseen.output));
    }
    shell.run_killed(&line, "Transfer the certificates")?;
    shell.run_killed(&line, "Start the primary")?;
    let done = shell.run(&format!("{line} --diff"))?.must_work()?;
    check_keys_are_kept(c, &format!("{}{}", foreseen.output, done.output))?;
    c.check_at_rest(&[("n1", "primary"), ("n2", "standby")])?;
    check_files(c, "n1")?;
    check_files(c, "n2")?;
    let again = shell.run(&line)?.must_work()?;
    if !again.changes.is_empty() {
        return Err(format!("the second deploy changed something: {:?}", again.changes));
    }
    c.sql("n1", &format!("create user {USER} password '{PASSWORD}'"))?;
    let rules: Vec<String> =
        c.lab().nodes().iter().map(|node| format!("hostssl all {USER} {}/32 sha256", node.address)).collect();
    for name in ["n1", "n2"] {
        require_success(c.module(name, "og_hba", json!({"rules": rules, "insert": "first"}))?)?;
    }
    check_clients(c, "n2", "n1")?;
    check_clients(c, "n1", "n2")?;
    check_stream(c, "n1", "n2")
}

fn expanded(c: &Cluster) -> Result {
    let shell = Shell::new(c)?;
    let line = "og expand n3 --ssl ssl";
    let foreseen = shell.run(&format!("{line} -n"))?.must_work()?;
    let ssl = format!("og_ssl={}", typed_in(c).join("ssl").display());
    // At this verbosity Ansible tells all that it does.
    let (run, seen) = run_playbook(c, "expand.yml", &["-e", "og_add=n3", "-e", &ssl, "-vvvv"])?;
    let (mut foretold, done) = (foreseen.changes, shorten(run.changes()));
    // Of several calls of a step on a node, Ansible tells one.
    foretold.dedup();
    if foretold != done {
        return Err(format!("check mode foretold {foretold:#?}, the run did {done:#?}"));
    }
    c.wait_for_rows(&seen, &["n1", "n2", "n3"])?;
    c.check_at_rest(&[("n1", "primary"), ("n2", "standby"), ("n3", "standby")])?;
    for name in ["n1", "n2", "n3"] {
        check_files(c, name)?;
    }
    check_keys_are_kept(c, &run.output)?;
    let again = shell.run(line)?.must_work()?;
    if !again.changes.is_empty() {
        return Err(format!("the second expand changed something: {:?}", again.changes));
    }
    check_clients(c, "n1", "n3")?;
    check_stream(c, "n1", "n3")
}
