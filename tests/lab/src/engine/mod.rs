//! What runs in a lab, and how its nodes come to be.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::thread;

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, run};
use crate::node::{LabNode, Role};

pub mod opengauss;
pub mod postgres;

use opengauss::Installation;

/// What runs in a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// PostgreSQL behind stand-ins for openGauss's programs.
    Postgres,
    /// An openGauss that is installed here.
    OpenGauss(Installation),
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Postgres => f.write_str("postgres"),
            Self::OpenGauss(installation) => write!(f, "opengauss-{}", installation.version()),
        }
    }
}

impl Engine {
    /// Every openGauss on this machine, the oldest version first.
    #[must_use]
    pub fn all_opengauss() -> Vec<Self> {
        opengauss::installations().into_iter().map(Self::OpenGauss).collect()
    }

    /// Whether it is an openGauss, of whatever version.
    #[must_use]
    pub fn is_opengauss(self) -> bool {
        matches!(self, Self::OpenGauss(_))
    }

    /// Its name of lower-case letters and digits, for the names of labs.
    #[must_use]
    pub fn label(self) -> String {
        self.to_string().chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
    }

    /// What this machine lacks for it, in words.
    pub(crate) fn missing(self) -> Vec<String> {
        match self {
            Self::Postgres => postgres::bin_dir().err().map(|e| e.to_string()).into_iter().collect(),
            Self::OpenGauss(installation) => installation.missing(),
        }
    }

    /// Lays out each node's GAUSSHOME and environment file.
    pub(crate) fn install(
        self,
        base: &Path,
        built: &Path,
        nodes: &[LabNode],
        cm: Option<&Path>,
    ) -> Result<()> {
        let source = match self {
            Self::Postgres => install_stand_ins(base, built)?,
            Self::OpenGauss(installation) => installation.home().to_owned(),
        };
        for node in nodes {
            let bin = node.gauss_home.join("bin");
            if cm.is_some() {
                // CM looks for servers by the path of their program, which no link may lead elsewhere.
                run(std::process::Command::new("cp").arg("-a").arg(source.join("bin/.")).arg(&bin))?;
            } else {
                link_all(&source.join("bin"), &bin)?;
            }
            for dir in ["lib", "share", "etc"] {
                if source.join(dir).exists() {
                    let link = node.gauss_home.join(dir);
                    symlink(source.join(dir), &link).map_err(|e| Error::from_io(&link, &e))?;
                }
            }
            let shared = cm.map(|cm| (crate::cm::shared_home(base), cm.join("lib")));
            let home = shared.as_ref().map_or(&node.gauss_home, |(home, _)| home).display();
            let more = shared.as_ref().map_or_else(String::new, |(_, lib)| {
                let om = base.join("om");
                // CM's DCF before the empty one of a server without.
                format!(
                    "export LD_LIBRARY_PATH={}:$LD_LIBRARY_PATH\nexport GPHOME={}\n",
                    lib.display(),
                    om.display()
                )
            });
            let text = format!(
                "export GAUSSHOME={home}\nexport PATH={home}/bin:$PATH\nexport LD_LIBRARY_PATH={home}/lib:$LD_LIBRARY_PATH\n\
                 {more}export PGHOST={}\nexport GAUSSLOG={}\nexport GS_CLUSTER_NAME=lab\n",
                node.socket_dir.display(),
                node.dir.join("log").display(),
            );
            fs::write(&node.env_file, text).map_err(|e| Error::from_io(&node.env_file, &e))?;
        }
        Ok(())
    }

    /// The parameters which keep a server small.
    fn small_settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Postgres => &[],
            Self::OpenGauss(_) => opengauss::SMALL,
        }
    }

    /// What tells its build from another one's, for what is kept between labs.
    fn identity(self) -> Result<String> {
        match self {
            Self::Postgres => postgres::identity(),
            Self::OpenGauss(installation) => installation.identity(),
        }
    }

    /// Makes an initialised data directory; two of different `family` have different system identifiers. The first time
    /// it is made by gs_initdb and kept: that takes longer than all the rest of bringing up a lab.
    fn initdb(self, node: &LabNode, family: &str) -> Result<()> {
        let cache = Path::new(CACHE);
        fs::create_dir_all(cache).map_err(|e| Error::from_io(cache, &e))?;
        let stem = format!("{self}-{}-{}-{family}", self.identity()?, node.os_ids.0);
        let lock = cache.join(format!("{stem}.lock"));
        let file = fs::File::create(&lock).map_err(|e| Error::from_io(&lock, &e))?;
        let held =
            Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| Error::from_io(&lock, &e.into()))?;
        let template = cache.join(&stem);
        if !template.exists() {
            initdb(node, &node.data_dir)?;
            // Complete or not at all: a copy that was cut short must not be taken for a template.
            // Named after all of the template: with_extension would cut the name at a version's dot.
            let part = cache.join(format!("{stem}.part"));
            if part.exists() {
                fs::remove_dir_all(&part).map_err(|e| Error::from_io(&part, &e))?;
            }
            copy_tree(&node.data_dir, &part)?;
            return fs::rename(&part, &template).map_err(|e| Error::from_io(&template, &e));
        }
        drop(held);
        copy_tree(&template, &node.data_dir)
    }
}

/// Where initialised data directories are kept between labs. The folder may be removed at any time.
const CACHE: &str = "/var/cache/og-lab";

/// How many senders a server may have.
const SENDERS: &str = "16";

/// Makes all data directories and their configuration.
pub(crate) fn create(engine: Engine, nodes: &[LabNode]) -> Result<()> {
    let members: Vec<&LabNode> = nodes.iter().filter(|n| !n.role.is_spare()).collect();
    thread::scope(|scope| {
        // Nothing ran there yet: members that begin with the same data are what a build would give, in no time.
        let mut running = Vec::new();
        for node in nodes {
            let family = if node.role.is_spare() { "spare" } else { "cluster" };
            running.push(scope.spawn(move || engine.initdb(node, family)));
        }
        running
            .into_iter()
            .try_for_each(|t| t.join().unwrap_or_else(|_| Err(Error::new("initialising panicked"))))
    })?;
    for node in nodes {
        configure(engine, node, &members)?;
    }
    Ok(())
}

/// Runs the node's gs_initdb.
fn initdb(node: &LabNode, dir: &Path) -> Result<()> {
    let data = dir.display().to_string();
    let name = format!("--nodename={}", node.instance);
    run(&mut node.exec([
        "gs_initdb",
        "-D",
        &data,
        &name,
        "-w",
        "Lab_Passw0rd",
        "--locale=C",
        "-E",
        "UTF8",
        "-U",
        &node.os_user,
    ]))?;
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    // Of an openGauss's 630 MB half a gigabyte are zeros, for its double writes.
    run(std::process::Command::new("cp").args(["-a", "--sparse=always"]).arg(from).arg(to))?;
    Ok(())
}

/// The one name that OM gives to all members, `dn_6001_6002`; a spare has its own.
fn node_name(node: &LabNode, members: &[&LabNode]) -> String {
    if node.role.is_spare() {
        return node.instance.clone();
    }
    let numbers = members.iter().filter_map(|m| m.instance.strip_prefix("dn_"));
    format!("dn_{}", numbers.collect::<Vec<_>>().join("_"))
}

/// What OM's installation would have written: addresses, ports, names, and for members their channels and rules.
fn configure(engine: Engine, node: &LabNode, members: &[&LabNode]) -> Result<()> {
    let path = node.data_dir.join("postgresql.conf");
    let mut text = fs::read_to_string(&path).map_err(|e| Error::from_io(&path, &e))?;
    for (name, value) in engine.small_settings() {
        set_parameter(&mut text, name, value);
    }
    // As OM has it: the server's own four are too few for a third standby.
    set_parameter(&mut text, "max_wal_senders", SENDERS);
    set_parameter(&mut text, "port", &node.base_port.to_string());
    set_parameter(&mut text, "listen_addresses", &format!("'{}'", node.address));
    set_parameter(&mut text, "local_bind_address", &format!("'{}'", node.address));
    set_parameter(&mut text, "unix_socket_directory", &format!("'{}'", node.socket_dir.display()));
    set_parameter(&mut text, "application_name", &format!("'{}'", node.instance));
    let member = !node.role.is_spare();
    set_parameter(&mut text, "pgxc_node_name", &format!("'{}'", node_name(node, members)));
    set_parameter(&mut text, "available_zone", "'AZ1'");
    let peers = members.iter().filter(|p| member && p.name != node.name);
    for (peer, number) in peers.zip(1..) {
        let cascade = if peer.role == Role::CascadeStandby { " iscascade=true" } else { "" };
        let value = format!(
            "'localhost={} localport={} localheartbeatport={} localservice={} remotehost={} remoteport={} remoteheartbeatport={} remoteservice={}{cascade}'",
            node.address,
            node.base_port + 1,
            node.base_port + 5,
            node.base_port + 4,
            peer.address,
            peer.base_port + 1,
            peer.base_port + 5,
            peer.base_port + 4,
        );
        set_parameter(&mut text, &format!("replconninfo{number}"), &value);
    }
    fs::write(&path, text).map_err(|e| Error::from_io(&path, &e))?;

    let path = node.data_dir.join("pg_hba.conf");
    let mut text = fs::read_to_string(&path).map_err(|e| Error::from_io(&path, &e))?;
    let allowed = |p: &&&LabNode| p.name == node.name || member;
    for peer in [&node].into_iter().chain(members.iter()).filter(allowed) {
        let line = format!(
            "host    all             {}             {}/32           trust\n",
            node.os_user, peer.address
        );
        if !text.contains(&line) {
            text.push_str(&line);
        }
    }
    fs::write(&path, text).map_err(|e| Error::from_io(&path, &e))
}

/// Sets a parameter in the text of postgresql.conf: in its own line, commented or not, else at the end.
pub(crate) fn set_parameter(text: &mut String, name: &str, value: &str) {
    let is = |line: &str| {
        let line = line.trim_start().trim_start_matches('#').trim_start();
        line.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let new = format!("{name} = {value}");
    match lines.iter().rposition(|l| is(l)) {
        Some(i) => lines[i] = new,
        None => lines.push(new),
    }
    *text = lines.join("\n") + "\n";
}

/// Copies the built stand-ins to where the servers' user can run them, and returns their home.
fn install_stand_ins(base: &Path, built: &Path) -> Result<PathBuf> {
    let home = base.join("programs");
    let bin = home.join("bin");
    fs::create_dir_all(&bin).map_err(|e| Error::from_io(&bin, &e))?;
    for program in ["gs_ctl", "gsql", "gs_initdb"] {
        let from = built.join(program);
        fs::copy(&from, bin.join(program)).map_err(|e| {
            Error::new(format!(
                "{}: {e}; build the stand-ins with `cargo build -p og_lab --bins`",
                from.display()
            ))
        })?;
    }
    // The real program's version is asked for, and what it thinks of a postgresql.conf, of which PostgreSQL knows too
    // little to say no; the server itself is started by gs_ctl from libexec.
    let gaussdb = bin.join("gaussdb");
    let script = "#!/bin/sh\ncase $1 in\n-V|--version) echo 'gaussdb (openGauss 3.0.5 build 4db7019a) compiled at 2026-11-21 02:42:00 commit 0 last mr  ' ; exit ;;\nesac\n\
                  case \" $* \" in\n*\" -C \"*) cat >/dev/null ;;\n\
                  *) exec \"$(dirname \"$(readlink -f \"$0\")\")/../libexec/gaussdb\" \"$@\" ;;\nesac\n";
    fs::write(&gaussdb, script)
        .and_then(|()| fs::set_permissions(&gaussdb, fs::Permissions::from_mode(0o755)))
        .map_err(|e| Error::from_io(&gaussdb, &e))?;
    let libexec = home.join("libexec");
    fs::create_dir_all(&libexec).map_err(|e| Error::from_io(&libexec, &e))?;
    let server = postgres::bin_dir()?.join("postgres");
    symlink(&server, libexec.join("gaussdb")).map_err(|e| Error::from_io(&server, &e))?;
    Ok(home)
}

fn link_all(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).map_err(|e| Error::from_io(from, &e))? {
        let entry = entry.map_err(|e| Error::from_io(from, &e))?;
        let link = to.join(entry.file_name());
        symlink(entry.path(), &link).map_err(|e| Error::from_io(&link, &e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_parameter_is_set_in_its_own_line() {
        let mut text = "#port = 5432\t# c\nports = 1\nport = 1\n#port = 2".to_owned();
        super::set_parameter(&mut text, "port", "26000");
        super::set_parameter(&mut text, "new", "'x'");
        assert_eq!(text, "#port = 5432\t# c\nports = 1\nport = 1\nport = 26000\nnew = 'x'\n");
    }
}
