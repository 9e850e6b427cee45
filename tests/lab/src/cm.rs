//! openGauss CM on a lab: where it is found, how a node becomes one that CM can run on, and how it is started.
//!
//! CM wants machines: every node has its own processes and the same GAUSSHOME on all. So such a node is a process
//! namespace with a first process of its own, and sees its own programs behind a path that is the same on all nodes. What
//! else OM would install (`pssh`, `py_pstree.py`) is stood in for by a few lines of shell.

use std::fmt::Write as _;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use og_common::cluster::static_config::{LAYOUT, PEER_SLOTS, StaticConfig};
use og_common::cluster::xml::Document;

use crate::engine::{Engine, set_parameter};
use crate::error::{Error, Result, output, run};
use crate::init;
use crate::node::LabNode;

/// The variable that names installations of CM, separated by colons.
const HOMES_VARIABLE: &str = "OG_LAB_CM";
/// Where they are looked for when it is not set: the folders here whose names begin with [`PREFIX`]. They hold no server,
/// and so nothing else of the lab takes them for an openGauss.
const PARENT: &str = "/opt";
const PREFIX: &str = "cm-";
/// The port of every cm_server.
const SERVER_PORT: u16 = 15300;
/// How long CM may take to find its cluster Normal.
const LIMIT: Duration = Duration::from_secs(180);

/// The installation of CM that fits this engine: of the same release, the folder that CM's own `make install` fills.
///
/// # Errors
/// Why there is none.
pub fn cm_for(engine: Engine) -> Result<PathBuf> {
    let Engine::OpenGauss(installation) = engine else {
        return Err(Error::new("CM runs openGauss only (--engine opengauss)"));
    };
    let named = std::env::var_os(HOMES_VARIABLE);
    let homes: Vec<PathBuf> = match &named {
        Some(paths) => std::env::split_paths(paths).collect(),
        None => fs::read_dir(PARENT)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX))
            .map(|entry| entry.path())
            .collect(),
    };
    let wanted = release(installation.version());
    homes.into_iter().find(|home| version(home).is_some_and(|found| release(&found) == wanted)).ok_or_else(|| {
        Error::new(format!(
            "no openGauss CM {wanted} (no {PARENT}/{PREFIX}* has bin/cm_ctl of that release; {HOMES_VARIABLE} may name one)"
        ))
    })
}

/// `6.0` of `lite-6.0.2`.
fn release(version: &str) -> String {
    let number = version.rsplit('-').next().unwrap_or_default();
    number.split('.').take(2).collect::<Vec<_>>().join(".")
}

/// What the cm_ctl of this installation says of its version. It does not run as root.
fn version(home: &Path) -> Option<String> {
    let program = home.join("bin/cm_ctl");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program).arg("-V");
    command.env("LD_LIBRARY_PATH", home.join("lib"));
    let said = output(&mut command).ok()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let (_, rest) = said.split_once("(openGauss CM ")?;
    rest.split_whitespace().next().map(|word| word.trim_end_matches(')').to_owned())
}

/// The GAUSSHOME that all nodes of such a lab see.
pub(crate) fn shared_home(base: &Path) -> PathBuf {
    base.join("app")
}

/// Makes a node one that CM can run on: with folders of its own behind paths that all nodes have. bash stands in for sh and
/// nothing for /etc/profile, for CM runs bash's commands by sh, and the profile of Debian sets another PATH.
const ENTER: &str = r#"mount --bind "$2" "$3" && mount --bind "$4" "$5" && mount --bind "$6" "$7" || exit 125
mount --bind /dev/null /etc/profile && mount --bind /bin/bash "$(readlink -f /bin/sh)" || exit 125
"#;

/// Starts the node's first process.
pub(crate) fn enter(base: &Path, node: &LabNode) -> Result<()> {
    let (sockets, tablespaces) = (node.dir.join("tmp"), node.own_tablespace_dir());
    let home = shared_home(base);
    let pairs = [&sockets, &node.socket_dir, &tablespaces, &node.tablespace_dir, &node.gauss_home, &home];
    init::start(node, ENTER, &pairs.map(|path| path.as_os_str()))
}

/// Runs a command on several hosts, as OM's pssh does as far as CM needs it.
const PSSH: &str = r#"#!/bin/bash
hosts=()
while [ $# -gt 0 ]; do
  case "$1" in
  -h) mapfile -t hosts < "$2"; shift 2 ;;
  -H) hosts+=("$2"); shift 2 ;;
  -t | -p | -o | -e | -O) shift 2 ;;
  -*) shift ;;
  *) break ;;
  esac
done
rc=0 n=0
for host in "${hosts[@]}"; do
  [ -n "$host" ] || continue
  n=$((n + 1))
  if ssh -F none -i BASE/cm/id -o IdentitiesOnly=yes -o BatchMode=yes -o UserKnownHostsFile=BASE/ssh/known_hosts "$host" "$*"; then
    echo "[$n] $(date +%T) [SUCCESS] $host"
  else
    echo "[$n] $(date +%T) [FAILURE] $host Exited with error code 1"; rc=5
  fi
done
exit $rc
"#;

/// Tells a process and its descendants, as OM's `py_pstree.py -c PID -s PID` does.
const PSTREE: &str = r#"#!/bin/bash
tree() { for child in $(pgrep -P "$1"); do tree "$child"; done; echo "$1"; }
tree "$2"
"#;

/// Lays CM out beside the servers: programs, configuration, and the static config that names its servers.
pub(crate) fn install(base: &Path, cm: &Path, nodes: &[LabNode]) -> Result<()> {
    let folder = base.join("cm");
    let io = |path: &Path| {
        let path = path.to_owned();
        move |e: std::io::Error| Error::from_io(&path, &e)
    };
    for dir in [folder.clone(), base.join("om/script"), shared_home(base)] {
        fs::create_dir_all(&dir).map_err(io(&dir))?;
    }
    let script = |path: &Path, text: &str| {
        fs::write(path, text)
            .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
            .map_err(|e| Error::from_io(path, &e))
    };
    script(&base.join("om/script/py_pstree.py"), PSTREE)?;
    // ssh wants a key that nobody else may read.
    let key = folder.join("id");
    fs::copy(base.join("ssh/id_ed25519"), &key).map_err(io(&key))?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).map_err(io(&key))?;
    let bytes = static_config(nodes)?;
    for node in nodes {
        let (uid, gid) = node.os_ids;
        let own = |path: &Path| chown(path, Some(uid), Some(gid)).map_err(|e| Error::from_io(path, &e));
        own(&key)?;
        let bin = node.gauss_home.join("bin");
        // Files of their own: CM knows its programs by the path that they were started from.
        run(Command::new("cp").arg("-a").arg(cm.join("bin/.")).arg(&bin))?;
        // cp gave it its source's owner, and CM writes its marks there.
        own(&bin)?;
        script(&bin.join("pssh"), &PSSH.replace("BASE", &base.display().to_string()))?;
        let config = bin.join("cluster_static_config");
        fs::write(&config, bytes.for_node(node.id).print().map_err(|e| Error::new(e.to_string()))?)
            .map_err(io(&config))?;
        own(&config)?;
        let log = node.dir.join("log/cm");
        for name in ["", "om_monitor", "cm_agent", "cm_server", "cm_ctl"] {
            make_dir(&log.join(name))?;
            own(&log.join(name))?;
        }
        for name in ["", "cm_agent", "cm_server", "gstor", "dcf_data"] {
            make_dir(&node.cm_dir().join(name))?;
            own(&node.cm_dir().join(name))?;
        }
        for program in ["cm_agent", "cm_server"] {
            let sample = cm.join("share/config").join(format!("{program}.conf.sample"));
            let mut text = fs::read_to_string(&sample).map_err(io(&sample))?;
            set_parameter(&mut text, "log_dir", &format!("'{}'", log.join(program).display()));
            set_parameter(&mut text, "log_min_messages", "LOG");
            set_parameter(&mut text, "enable_ssl", "off");
            if program == "cm_server" {
                // Its own store, of which no other program is needed.
                set_parameter(&mut text, "ddb_type", "1");
                set_parameter(&mut text, "cm_auth_method", "trust");
                // The nodes share the machine's disk, and whatever fills it is not theirs.
                set_parameter(&mut text, "enable_transaction_read_only", "off");
            } else {
                set_parameter(
                    &mut text,
                    "unix_socket_directory",
                    &format!("'{}'", node.socket_dir.display()),
                );
            }
            let path = node.cm_dir().join(program).join(format!("{program}.conf"));
            fs::write(&path, text).map_err(io(&path))?;
            own(&path)?;
        }
    }
    Ok(())
}

fn make_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| Error::from_io(path, &e))
}

/// The static config of these nodes, as OM makes it of the description that a person would write.
fn static_config(nodes: &[LabNode]) -> Result<StaticConfig> {
    let list = |of: &dyn Fn(&LabNode) -> String| nodes.iter().map(of).collect::<Vec<_>>().join(",");
    let names = list(&|node| node.name.clone());
    let addresses = list(&|node| node.address.clone());
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ROOT>\n<CLUSTER>\n");
    let param = |text: &mut String, name: &str, value: &str| {
        let _ = writeln!(text, "<PARAM name=\"{name}\" value=\"{value}\"/>");
    };
    for (name, value) in [
        ("clusterName", "lab"),
        ("nodeNames", names.as_str()),
        ("gaussdbAppPath", "/app"),
        ("gaussdbLogPath", "/log"),
        ("tmpMppdbPath", "/tmp"),
        ("gaussdbToolPath", "/om"),
        ("corePath", "/core"),
        ("backIp1s", addresses.as_str()),
    ] {
        param(&mut text, name, value);
    }
    text.push_str("</CLUSTER>\n<DEVICELIST>\n");
    for (node, n) in nodes.iter().zip(0..) {
        let _ = writeln!(text, "<DEVICE sn=\"{}\">", node.name);
        let port = SERVER_PORT.to_string();
        let cm_dir = node.cm_dir().display().to_string();
        for (name, value) in [
            ("name", node.name.as_str()),
            ("azName", "AZ1"),
            ("azPriority", "1"),
            ("backIp1", node.address.as_str()),
            ("sshIp1", node.address.as_str()),
            ("cmDir", cm_dir.as_str()),
        ] {
            param(&mut text, name, value);
        }
        if n > 0 {
            param(&mut text, "cmServerPortStandby", &port);
        } else {
            let dir = |node: &LabNode| node.data_dir.display().to_string();
            let rest = nodes.iter().skip(1).map(|node| format!(",{},{}", node.name, dir(node)));
            let data = std::iter::once(dir(node)).chain(rest).collect::<String>();
            let base_port = node.base_port.to_string();
            for (name, value) in [
                ("cmsNum", "1"),
                ("cmServerPortBase", port.as_str()),
                ("cmServerlevel", "1"),
                ("cmServerListenIp1", addresses.as_str()),
                ("cmServerHaIp1", addresses.as_str()),
                ("cmServerRelation", names.as_str()),
                ("dataNum", "1"),
                ("dataPortBase", base_port.as_str()),
                ("dataNode1", data.as_str()),
            ] {
                param(&mut text, name, value);
            }
        }
        text.push_str("</DEVICE>\n");
    }
    text.push_str("</DEVICELIST>\n</ROOT>\n");
    let read = || Document::parse(&text)?.cluster();
    let cluster = read().map_err(|e| Error::new(format!("the lab's own description of its cluster: {e}")))?;
    Ok(StaticConfig {
        layout: LAYOUT,
        time: 1_600_000_000,
        local: 1,
        slots: PEER_SLOTS,
        cluster: cluster.with_linked_peers(),
    })
}

/// Starts om_monitor on each node, which starts the rest, and waits until CM finds the cluster Normal.
pub(crate) fn start(nodes: &[LabNode]) -> Result<()> {
    for node in nodes {
        let line = "nohup om_monitor -L \"$GAUSSLOG/cm/om_monitor\" >/dev/null 2>&1 </dev/null &";
        run(&mut node.exec(["bash", "-c", line]))?;
    }
    let Some(first) = nodes.first() else { return Ok(()) };
    let end = Instant::now() + LIMIT;
    loop {
        let said = output(&mut first.exec(["cm_ctl", "query", "-Cv"]))?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let normal = said.lines().any(|line| line.starts_with("cluster_state") && line.ends_with(": Normal"));
        if normal {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(Error::new(format!("CM does not find the cluster Normal; last seen: {said}")));
        }
        thread::sleep(Duration::from_millis(500));
    }
}

/// Kills CM on a node, om_monitor first, which would start the others again.
pub(crate) fn kill(node: &LabNode) -> Result<()> {
    for program in ["om_monitor", "cm_agent", "cm_server"] {
        kill_program(node, program)?;
    }
    Ok(())
}

/// Kills one of CM's programs on a node. One that does not run is what is wanted.
pub(crate) fn kill_program(node: &LabNode, program: &str) -> Result<()> {
    output(&mut node.exec(["pkill", "-KILL", "-x", program])).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_decides_which_cm_fits() {
        assert_eq!(release("lite-6.0.2"), "6.0");
        assert_eq!(release("5.0.3"), release("5.0.1"));
    }
}
