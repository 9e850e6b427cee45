//! An sshd for each node, and what a client in the control namespace needs to reach it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result, run};
use crate::node::{LabNode, NodeKind};

/// The folder of the lab's own keys.
pub(crate) fn folder(base: &Path) -> PathBuf {
    base.join("ssh")
}

/// Makes the client's key and everybody's host keys, `known_hosts` and a client configuration (`ssh -F … node1`).
pub(crate) fn prepare(base: &Path, nodes: &[LabNode]) -> Result<()> {
    let dir = folder(base);
    std::fs::create_dir_all(&dir).map_err(|e| Error::from_io(&dir, &e))?;
    keygen(&dir.join("id_ed25519"), "lab")?;
    let public = read(&dir.join("id_ed25519.pub"))?;
    // sshd reads it as the user who logs in.
    write(&dir.join("authorized_keys"), &public)?;
    let (mut known, mut config) = (String::new(), String::new());
    for node in nodes {
        let key = dir.join(format!("host_{}", node.name));
        keygen(&key, &node.name)?;
        let public = read(&key.with_extension("pub"))?;
        let mut words = public.split_whitespace();
        let (kind, data) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let _ = writeln!(known, "{},{} {kind} {data}", node.address, node.name);
        let _ = writeln!(
            config,
            "Host {} {address}\n  HostName {address}\n  Port {}\n  User {}\n  IdentityFile {key}\n  IdentitiesOnly yes\n  \
             UserKnownHostsFile {known}\n  StrictHostKeyChecking yes",
            node.name,
            node.ssh_port,
            node.login(),
            address = node.address,
            key = dir.join("id_ed25519").display(),
            known = dir.join("known_hosts").display(),
        );
        let who = if node.kind == NodeKind::Machine {
            // As on a host that was just installed: limits of users come by PAM.
            format!("UsePAM yes\nPermitRootLogin prohibit-password\nAllowUsers root {}\n", node.os_user)
        } else {
            format!(
                "UsePAM no\nPermitRootLogin no\nAllowUsers {}\nSetEnv MPPDB_ENV_SEPARATE_PATH={}\n",
                node.os_user,
                node.env_file.display(),
            )
        };
        write(
            &dir.join(format!("sshd_{}.conf", node.name)),
            &format!(
                "Port {}\nListenAddress {}\nHostKey {}\nPidFile {}\nAuthorizedKeysFile {}\n{who}StrictModes yes\n\
                 PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitUserEnvironment no\n\
                 UseDNS no\nMaxStartups 100\nMaxSessions 100\nSubsystem sftp internal-sftp\n",
                node.ssh_port,
                node.address,
                key.display(),
                node.dir.join("sshd.pid").display(),
                dir.join("authorized_keys").display(),
            ),
        )?;
    }
    write(&dir.join("known_hosts"), &known)?;
    write(&dir.join("config"), &config)
}

/// Starts the node's sshd; it listens when this returns.
pub(crate) fn start(base: &Path, node: &LabNode) -> Result<()> {
    // Privilege separation wants this folder, which a machine that never ran sshd has not.
    let run_dir = Path::new("/run/sshd");
    std::fs::create_dir_all(run_dir).map_err(|e| Error::from_io(run_dir, &e))?;
    run(node
        .exec_root(["/usr/sbin/sshd", "-f"])
        .arg(folder(base).join(format!("sshd_{}.conf", node.name)))
        .arg("-E")
        .arg(node.dir.join("log/sshd.log")))?;
    Ok(())
}

fn keygen(path: &Path, comment: &str) -> Result<()> {
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"]).arg(path))?;
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| Error::from_io(path, &e))
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|e| Error::from_io(path, &e))
}
