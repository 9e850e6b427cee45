//! Bringing a lab up, acting on it, and taking it down.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};
use serde::{Deserialize, Serialize};

use crate::engine::{self, Engine};
use crate::error::{Error, Result, output, run};
use crate::node::{LabNode, NodeKind, NodeSpec, Role};
use crate::{cm, inventory, machine, net, ssh};

/// Where labs leave word of themselves, so that another process can use them or clean up after a crash.
const STATE: &str = "/run/og-lab";
/// The OS user of the servers.
const USER: &str = "omm";
/// The port of every node, as on machines of their own.
const PORT: u16 = 26000;

/// What lab to bring up.
#[derive(Clone, Debug)]
pub struct LabOptions {
    /// Its name: lower-case letters, digits and underscores, at most 24.
    pub name: String,
    /// What runs in it.
    pub engine: Engine,
    /// Its nodes; at most one primary, and none of the other roles without one but spares.
    pub nodes: Vec<NodeSpec>,
    /// Where its files go; `/var/lib/og-lab/NAME` unless given. Removed by [`Lab::down`].
    pub base_dir: Option<PathBuf>,
    /// The folder of the built stand-ins `gs_ctl`, `gsql` and `gs_initdb`; unused by the engine openGauss.
    pub programs: PathBuf,
}

/// A lab that is up.
#[derive(Debug, Serialize, Deserialize)]
pub struct Lab {
    name: String,
    engine: Engine,
    index: u8,
    base: PathBuf,
    bridge: String,
    control: String,
    nodes: Vec<LabNode>,
}

/// Two characters that tell the labs of this checkout from those of another one on the same machine: a lab removes an
/// older one of its name.
#[must_use]
pub fn checkout_tag() -> String {
    let place = env!("CARGO_MANIFEST_DIR").bytes();
    let sum = place.fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    format!("{:02x}", sum % 251)
}

/// What this machine lacks for a lab with this engine, in words, or nothing.
#[must_use]
pub fn missing(engine: Engine) -> Vec<String> {
    let mut lacks = missing_tools();
    lacks.extend(engine.missing());
    lacks
}

/// What it lacks whatever runs in the lab.
fn missing_tools() -> Vec<String> {
    let mut lacks = Vec::new();
    if !nix::unistd::geteuid().is_root() {
        lacks.push("a lab needs root: it makes network namespaces".to_owned());
        return lacks;
    }
    for (program, package) in [
        ("ip", "iproute2"),
        ("sshd", "openssh-server"),
        ("ssh-keygen", "openssh-client"),
        ("setpriv", "util-linux"),
        ("unshare", "util-linux"),
        ("useradd", "passwd"),
        ("bash", "bash"),
    ] {
        if which(program).is_none() {
            lacks.push(format!("no {program} here: install the package {package}"));
        }
    }
    if lacks.is_empty()
        && output(Command::new("unshare").args(["--net", "true"])).is_ok_and(|o| !o.status.success())
    {
        lacks.push(
            "this machine does not allow network namespaces (a container without CAP_SYS_ADMIN?)".to_owned(),
        );
    }
    lacks
}

impl Lab {
    /// Brings a lab up; a stale one of the same name is removed first.
    ///
    /// When this returns, every standby streams and every node takes ssh connections.
    pub fn up(options: &LabOptions) -> Result<Self> {
        Self::bring_up(options, NodeKind::Shared, None)
    }

    /// As [`Lab::up`], with nodes that are machines, on which nothing of openGauss is: [`NodeKind::Machine`]. Their roles are
    /// what they are to become. [`crate::machines_obstacle`] tells where that cannot be.
    pub fn up_machines(options: &LabOptions) -> Result<Self> {
        Self::bring_up(options, NodeKind::Machine, None)
    }

    /// As [`Lab::up`], with openGauss CM on its nodes ([`crate::cm_for`] finds one). When this returns, CM finds the cluster
    /// Normal.
    pub fn up_with_cm(options: &LabOptions, cm: &Path) -> Result<Self> {
        let members = options.nodes.iter().filter(|node| !node.role.is_spare()).count();
        if members != options.nodes.len() || members < 3 {
            return Err(Error::new("a lab with CM has three or more nodes, all of the cluster"));
        }
        Self::bring_up(options, NodeKind::Cm, Some(cm))
    }

    fn bring_up(options: &LabOptions, kind: NodeKind, cm: Option<&Path>) -> Result<Self> {
        check(options)?;
        let lacks = match kind {
            NodeKind::Machine => {
                let tools = missing_tools();
                if tools.is_empty() { machine::machines_obstacle().into_iter().collect() } else { tools }
            }
            _ => missing(options.engine),
        };
        if !lacks.is_empty() {
            return Err(Error::new(lacks.join("; ")));
        }
        Self::remove(&options.name)?;
        let lab = Self::plan(options, kind)?;
        match lab.build(options, cm) {
            Ok(()) => Ok(lab),
            Err(error) => {
                // Kept on request only: a lab that failed to come up is seldom worth looking at.
                if std::env::var_os("OG_LAB_KEEP").is_none() {
                    Self::remove(&options.name)?;
                }
                Err(error)
            }
        }
    }

    /// A lab which is up already.
    pub fn open(name: &str) -> Result<Self> {
        let path = state_dir(name).join("state.json");
        let text = fs::read(&path)
            .map_err(|e| Error::new(format!("the lab \"{name}\" is not up ({}: {e})", path.display())))?;
        serde_json::from_slice(&text).map_err(|e| Error::new(format!("{}: {e}", path.display())))
    }

    /// Checks that no lab of this name is up: [`Lab::up`] would remove it, with all that was done in it.
    ///
    /// # Errors
    /// There is one; what to do about it.
    pub fn check_free(name: &str) -> Result<()> {
        if Self::open(name).is_err() {
            return Ok(());
        }
        Err(Error::new(format!(
            "the lab \"{name}\" is up already: cargo xtask lab shell goes into it, cargo xtask lab down ends it, --name gives \
             this one another name"
        )))
    }

    /// The names of all labs which are up, or were when their makers died.
    #[must_use]
    pub fn names() -> Vec<String> {
        let Ok(entries) = fs::read_dir(STATE) else { return Vec::new() };
        let mut names: Vec<String> = entries
            .filter_map(|e| e.ok()?.file_name().into_string().ok())
            .filter(|n| state_dir(n).is_dir())
            .collect();
        names.sort();
        names
    }

    /// Ends every process of this lab and removes its namespaces and folders.
    pub fn down(self) -> Result<()> {
        Self::remove(&self.name)
    }

    /// As [`Lab::down`], by name; works after a crash of whoever brought it up, and when there is nothing left of it.
    pub fn remove(name: &str) -> Result<()> {
        valid_name(name)?;
        let lab = Self::open(name).ok();
        for namespace in net::list(&prefix(name))? {
            end_processes(&namespace)?;
            machine::forget_groups(&namespace)?;
            net::delete(&namespace)?;
        }
        if let Some(lab) = lab
            && lab.base.join(MARKER).exists()
        {
            fs::remove_dir_all(&lab.base).map_err(|e| Error::from_io(&lab.base, &e))?;
        }
        let state = state_dir(name);
        if state.exists() {
            fs::remove_dir_all(&state).map_err(|e| Error::from_io(&state, &e))?;
        }
        Ok(())
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What runs in it.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Its nodes, in the order asked for.
    #[must_use]
    pub fn nodes(&self) -> &[LabNode] {
        &self.nodes
    }

    /// The node of this name.
    pub fn node(&self, name: &str) -> Result<&LabNode> {
        self.nodes
            .iter()
            .find(|n| n.name == name)
            .ok_or_else(|| Error::new(format!("the lab {} has no node {name}", self.name)))
    }

    /// The folder of all its files.
    #[must_use]
    pub fn base_dir(&self) -> &Path {
        &self.base
    }

    /// Its Ansible inventory (YAML); to be used from the control namespace.
    #[must_use]
    pub fn inventory_path(&self) -> PathBuf {
        self.base.join("inventory.yml")
    }

    /// A client configuration for `ssh -F`, with a Host for each node; to be used from the control namespace.
    #[must_use]
    pub fn ssh_config(&self) -> PathBuf {
        ssh::folder(&self.base).join("config")
    }

    /// A command inside a node, as its OS user with its environment.
    pub fn exec_on<I, S>(&self, node: &str, argv: I) -> Result<Command>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        Ok(self.node(node)?.exec(argv))
    }

    /// The address of the control host.
    #[must_use]
    pub fn control_address(&self) -> String {
        format!("10.88.{}.254", self.index)
    }

    /// A command in the control namespace, from which the nodes are reached over ssh.
    pub fn exec_ctl<I, S>(&self, argv: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.control]).args(argv);
        command
    }

    /// The rows of one SQL statement run by gsql on a node, columns apart by `|`.
    pub fn sql(&self, node: &str, statement: &str) -> Result<String> {
        let node = self.node(node)?;
        let port = node.base_port.to_string();
        Ok(run(&mut node.exec([
            "gsql",
            "-X",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            "postgres",
            "-p",
            &port,
            "-c",
            statement,
        ]))?
        .trim_end()
        .to_owned())
    }

    /// Fault: the node's wire is pulled.
    pub fn cut(&self, node: &str) -> Result<()> {
        net::set_link(&self.bridge, &self.node(node)?.port_name, false)
    }

    /// The wire of a node that was cut off is put back.
    pub fn reconnect(&self, node: &str) -> Result<()> {
        net::set_link(&self.bridge, &self.node(node)?.port_name, true)
    }

    /// Fault: the node's server is killed, as by the kernel when memory runs out. Returns when it and its children are gone.
    pub fn kill_server(&self, node: &str) -> Result<()> {
        let path = self.node(node)?.from_outside(&self.node(node)?.data_dir).join("postmaster.pid");
        let text = fs::read_to_string(&path).map_err(|e| Error::from_io(&path, &e))?;
        let pid: i32 = text
            .lines()
            .next()
            .and_then(|l| l.trim().parse().ok())
            .ok_or_else(|| Error::new(format!("{}: no pid in it", path.display())))?;
        let mut dying = net::pids(&self.node(node)?.namespace)?;
        // A node with processes of its own calls them by other numbers.
        let pid = dying.iter().copied().find(|other| own_number(*other) == Some(pid)).unwrap_or(pid);
        // A pid that is none of this node's processes would be somebody else's.
        if !dying.contains(&pid) {
            return Err(Error::new(format!(
                "no server runs on {node} (pid {pid} of {} is none of its)",
                path.display()
            )));
        }
        dying.retain(|other| *other == pid || is_child_of(*other, pid));
        kill(Pid::from_raw(pid), Signal::SIGKILL).map_err(|e| Error::new(format!("kill {pid}: {e}")))?;
        // A server of many threads still answers for a moment; PostgreSQL's children end by themselves without their postmaster.
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let alive = net::pids(&self.node(node)?.namespace)?;
            dying.retain(|pid| alive.contains(pid));
            if dying.is_empty() {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(Error::new(format!("{node}: these processes do not die: {dying:?}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Fault: CM's programs on a node are killed. Nobody starts them again but [`Lab::start_cm`].
    pub fn kill_cm(&self, node: &str) -> Result<()> {
        cm::kill(self.node(node)?)
    }

    /// Fault: one of CM's programs on a node is killed. om_monitor starts cm_agent again, and cm_agent cm_server.
    pub fn kill_cm_program(&self, node: &str, program: &str) -> Result<()> {
        cm::kill_program(self.node(node)?, program)
    }

    /// Starts CM on the nodes where it does not run, and waits until it finds the cluster Normal.
    pub fn start_cm(&self) -> Result<()> {
        cm::start(&self.nodes)
    }

    /// What `gs_ctl query` prints on a node.
    pub fn query(&self, node: &str) -> Result<String> {
        let node = self.node(node)?;
        let data = node.data_dir.display().to_string();
        let out = output(&mut node.exec(["gs_ctl", "query", "-D", &data]))?;
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }

    /// Waits until a node's `gs_ctl query` shows this `local_role` and `db_state`; says what it last saw if it does not.
    pub fn wait_for(&self, node: &str, local_role: &str, db_state: &str, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            let seen = self.query(node)?;
            if field(&seen, "local_role") == Some(local_role) && field(&seen, "db_state") == Some(db_state) {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(Error::new(format!(
                    "{node} did not become {local_role}, {db_state} within {} s; last seen: {seen}",
                    limit.as_secs()
                )));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Chooses everything there is to choose, and writes it down before anything is made.
    fn plan(options: &LabOptions, kind: NodeKind) -> Result<Self> {
        fs::create_dir_all(STATE).map_err(|e| Error::from_io(Path::new(STATE), &e))?;
        let lock = Path::new(STATE).join(".lock");
        let file = fs::File::create(&lock).map_err(|e| Error::from_io(&lock, &e))?;
        let _held =
            Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| Error::from_io(&lock, &e.into()))?;
        // Two useradd at once give the user's number and his home to different users.
        let is_machine = kind == NodeKind::Machine;
        let (os_ids, os_home) = if is_machine {
            ((0, 0), Path::new("/home").join(USER))
        } else {
            let user = os_user()?;
            ((user.uid.as_raw(), user.gid.as_raw()), user.dir)
        };
        let taken: Vec<u8> = Self::names().iter().filter_map(|n| Some(Self::open(n).ok()?.index)).collect();
        let index =
            (1..=254).find(|i| !taken.contains(i)).ok_or_else(|| Error::new("254 labs are up already"))?;
        let base =
            options.base_dir.clone().unwrap_or_else(|| Path::new("/var/lib/og-lab").join(&options.name));
        let nodes = options
            .nodes
            .iter()
            .zip(1_u32..)
            .map(|(spec, id)| {
                let dir = base.join(&spec.name);
                // A machine has its own paths, the others folders of their own below the lab's.
                let place = |of_machine: &str, own: PathBuf| match kind {
                    NodeKind::Machine => PathBuf::from(of_machine),
                    _ => own,
                };
                LabNode {
                    name: spec.name.clone(),
                    id,
                    role: spec.role,
                    address: format!("10.88.{index}.{}", 10 + id),
                    base_port: PORT,
                    ssh_port: 22,
                    os_user: USER.to_owned(),
                    os_ids,
                    os_home: os_home.clone(),
                    instance: format!("dn_{}", 6000 + id),
                    data_dir: place(machine::DATA_DIR, dir.join("data")),
                    gauss_home: place(machine::GAUSS_HOME, dir.join("gauss_home")),
                    env_file: place(machine::ENV_FILE, dir.join("env")),
                    socket_dir: place("/tmp", base.join("sock")),
                    tablespace_dir: place("/gauss/tblspc", base.join("tblspc")),
                    namespace: format!("{}{}", prefix(&options.name), spec.name),
                    port_name: format!("v{id}"),
                    kind,
                    dir,
                }
            })
            .collect();
        let lab = Self {
            name: options.name.clone(),
            engine: options.engine,
            index,
            base,
            bridge: format!("{}BR", prefix(&options.name)),
            control: format!("{}CTL", prefix(&options.name)),
            nodes,
        };
        let dir = state_dir(&lab.name);
        fs::create_dir_all(&dir).map_err(|e| Error::from_io(&dir, &e))?;
        let text = serde_json::to_vec_pretty(&lab).map_err(|e| Error::new(e.to_string()))?;
        fs::write(dir.join("state.json"), text).map_err(|e| Error::from_io(&dir, &e))?;
        Ok(lab)
    }

    fn build(&self, options: &LabOptions, cm: Option<&Path>) -> Result<()> {
        self.folders()?;
        self.network()?;
        ssh::prepare(&self.base, &self.nodes)?;
        let inventory = inventory::text(&self.base, &self.nodes);
        fs::write(self.inventory_path(), inventory)
            .map_err(|e| Error::from_io(&self.inventory_path(), &e))?;
        if self.nodes.iter().all(|node| node.kind == NodeKind::Machine) {
            return self.nodes.iter().try_for_each(|node| self.begin(node));
        }
        self.engine.install(&self.base, &options.programs, &self.nodes, cm)?;
        if let Some(cm) = cm {
            cm::install(&self.base, cm, &self.nodes)?;
            for node in &self.nodes {
                cm::enter(&self.base, node)?;
            }
        }
        for node in &self.nodes {
            ssh::start(&self.base, node)?;
        }
        engine::create(self.engine, &self.nodes)?;
        self.start()?;
        if cm.is_some() { cm::start(&self.nodes) } else { Ok(()) }
    }

    /// Starts a machine, on which nothing is.
    fn begin(&self, node: &LabNode) -> Result<()> {
        machine::enter(&self.base, node)?;
        ssh::start(&self.base, node)
    }

    /// Makes a node that is a machine one on which nothing is: its processes are ended, and whatever was written there is gone.
    pub fn make_bare(&self, node: &str) -> Result<()> {
        let node = self.node(node)?;
        if node.kind != NodeKind::Machine {
            return Err(Error::new(format!("{} is no machine of its own", node.name)));
        }
        self.power_off(&node.name)?;
        self.begin(node)
    }

    /// Fault: a node that is a machine loses its power. What was written there stays.
    pub fn power_off(&self, node: &str) -> Result<()> {
        let node = self.node(node)?;
        end_processes(&node.namespace)?;
        machine::forget_groups(&node.namespace)
    }

    /// Starts a node that is a machine, with systemd for its first process: what it has by now is there, and its units begin.
    /// [`crate::systemd_obstacle`] tells where that cannot be. One that runs loses its power before.
    pub fn boot(&self, node: &str) -> Result<()> {
        self.power_off(node)?;
        let node = self.node(node)?;
        machine::boot(&self.base, node)?;
        ssh::start(&self.base, node)
    }

    fn folders(&self) -> Result<()> {
        let make = |dir: &Path, mode: u32| {
            fs::create_dir_all(dir)
                .and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(mode)))
                .map_err(|e| Error::from_io(dir, &e))
        };
        if self.base.exists() && !self.base.join(MARKER).exists() {
            return Err(Error::new(format!("{} is there already and is no lab's", self.base.display())));
        }
        if self.base.exists() {
            fs::remove_dir_all(&self.base).map_err(|e| Error::from_io(&self.base, &e))?;
        }
        make(&self.base, 0o755)?;
        fs::write(self.base.join(MARKER), "").map_err(|e| Error::from_io(&self.base, &e))?;
        if self.nodes.iter().all(|node| node.kind == NodeKind::Machine) {
            return self.nodes.iter().try_for_each(|node| make(&node.dir.join("log"), 0o755));
        }
        let user = os_user()?;
        make(&self.base.join("sock"), 0o755)?;
        make(&self.base.join("tblspc"), 0o755)?;
        for node in &self.nodes {
            let own = ["tmp", "log", "tblspc"].map(|name| node.dir.join(name));
            for dir in [node.dir.clone(), node.gauss_home.join("bin")].into_iter().chain(own) {
                make(&dir, 0o750)?;
                chown_to(&dir, &user)?;
            }
            chown_to(&node.gauss_home, &user)?;
        }
        Ok(())
    }

    fn network(&self) -> Result<()> {
        net::add_namespace(&self.bridge)?;
        net::add_bridge(&self.bridge)?;
        net::add_namespace(&self.control)?;
        net::plug_in(&self.bridge, "ctl", &self.control, &self.control_address())?;
        for node in &self.nodes {
            net::add_namespace(&node.namespace)?;
            net::plug_in(&self.bridge, &node.port_name, &node.namespace, &node.address)?;
        }
        Ok(())
    }

    /// Starts the cluster, upstream before downstream, and waits until all of it is Normal.
    fn start(&self) -> Result<()> {
        let limit = Duration::from_secs(60);
        let members: Vec<&LabNode> = self.nodes.iter().filter(|n| !n.role.is_spare()).collect();
        let alone = members.len() == 1;
        for (role, seen) in [
            (Role::Primary, if alone { "Normal" } else { "Primary" }),
            (Role::Standby, "Standby"),
            (Role::CascadeStandby, "Cascade Standby"),
        ] {
            for node in members.iter().filter(|n| n.role == role) {
                let data = node.data_dir.display().to_string();
                let mut argv = vec!["gs_ctl", "start", "-D", &data];
                if !(alone && role == Role::Primary) {
                    argv.extend(["-M", role.word()]);
                }
                run(&mut node.exec(argv))?;
            }
            for node in members.iter().filter(|n| n.role == role) {
                self.wait_for(&node.name, seen, "Normal", limit)?;
            }
        }
        Ok(())
    }
}

/// A file in a lab's folder which says that it may be removed.
const MARKER: &str = ".og-lab";

fn state_dir(name: &str) -> PathBuf {
    Path::new(STATE).join(name)
}

fn prefix(name: &str) -> String {
    format!("og-{name}-")
}

fn valid_name(name: &str) -> Result<()> {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if (1..=24).contains(&name.len()) && name.chars().all(fine) {
        return Ok(());
    }
    Err(Error::new(format!("{name:?}: a name is 1 to 24 lower-case letters, digits and underscores")))
}

/// So many nodes have a place in a lab.
const MOST_NODES: usize = 128;
/// A primary, and the standbys that openGauss serves.
const MOST_MEMBERS: usize = 9;

fn check(options: &LabOptions) -> Result<()> {
    valid_name(&options.name)?;
    let count = |role| options.nodes.iter().filter(|n| n.role == role).count();
    // The last number of a node's address is 10 and its place.
    if options.nodes.is_empty() || options.nodes.len() > MOST_NODES {
        return Err(Error::new(format!("a lab has 1 to {MOST_NODES} nodes")));
    }
    if options.nodes.iter().filter(|n| !n.role.is_spare()).count() > MOST_MEMBERS {
        return Err(Error::new(format!("a cluster has at most {MOST_MEMBERS} nodes")));
    }
    if count(Role::Primary) > 1
        || (count(Role::Primary) == 0 && options.nodes.iter().any(|n| !n.role.is_spare()))
    {
        return Err(Error::new("a lab has one primary, or spares alone"));
    }
    if count(Role::CascadeStandby) > 0 && count(Role::Standby) == 0 {
        return Err(Error::new("a cascade standby needs a standby to stream from"));
    }
    for (i, node) in options.nodes.iter().enumerate() {
        valid_name(&node.name)?;
        if options.nodes[..i].iter().any(|n| n.name == node.name) {
            return Err(Error::new(format!("two nodes are called {}", node.name)));
        }
    }
    Ok(())
}

/// The servers' OS user, made if there is none. Its account is open to ssh keys but has no password.
fn os_user() -> Result<User> {
    let look = || User::from_name(USER).map_err(|e| Error::new(format!("looking for the user {USER}: {e}")));
    if look()?.is_none() {
        run(Command::new("useradd").args(["--create-home", "--user-group", "--shell", "/bin/bash", USER]))?;
    }
    // useradd writes '!', which sshd without PAM takes for a locked account; '*' is "no password" and no more.
    let shadow = Path::new("/etc/shadow");
    let locked = fs::read_to_string(shadow)
        .map_err(|e| Error::from_io(shadow, &e))?
        .lines()
        .any(|l| l.strip_prefix(USER).is_some_and(|l| l.starts_with(":!")));
    if locked {
        run(Command::new("usermod").args(["--password", "*", USER]))?;
    }
    look()?.ok_or_else(|| Error::new(format!("useradd made no user {USER}")))
}

fn chown_to(path: &Path, user: &User) -> Result<()> {
    chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).map_err(|e| Error::from_io(path, &e))
}

/// The number of a process as its own namespace has it.
fn own_number(pid: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_whitespace().last()?.parse().ok()
}

/// Whether `child` is a child process of `parent`; no longer, once it has ended.
fn is_child_of(child: i32, parent: i32) -> bool {
    // The name in parentheses may hold anything; after it come the state and the parent.
    fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| {
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        after.split_whitespace().nth(1).and_then(|ppid| ppid.parse().ok()) == Some(parent)
    })
}

/// Kills everything inside a namespace until nothing is left in it.
fn end_processes(namespace: &str) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let pids = net::pids(namespace)?;
        if pids.is_empty() {
            return Ok(());
        }
        for pid in &pids {
            // A process that is gone by now is what was wanted.
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        if Instant::now() >= end {
            return Err(Error::new(format!("{namespace}: these processes do not die: {pids:?}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn which(program: &str) -> Option<PathBuf> {
    std::env::var_os("PATH")
        .iter()
        .flat_map(std::env::split_paths)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

/// The value of a field in the output of `gs_ctl query`: its first occurrence, which is the node's own.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_that_could_be_mistaken_for_another_labs_are_refused() {
        assert!(valid_name("demo_1").is_ok());
        for bad in ["", "a-b", "A", "a b", "../x", "abcdefghijklmnopqrstuvwxyz"] {
            assert!(valid_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_field_is_the_first_of_its_name() {
        let text =
            " HA state:           \n\tlocal_role                     : Primary\n\tlocal_role : Standby\n";
        assert_eq!(field(text, "local_role"), Some("Primary"));
        assert_eq!(field(text, "peer_role"), None);
    }

    #[test]
    fn a_lab_without_a_primary_is_spares_alone() {
        let options = |roles: &[Role]| LabOptions {
            name: "t".into(),
            engine: Engine::Postgres,
            nodes: roles.iter().zip(1..).map(|(r, i)| NodeSpec::new(format!("node{i}"), *r)).collect(),
            base_dir: None,
            programs: PathBuf::new(),
        };
        assert!(check(&options(&[Role::Spare])).is_ok());
        assert!(check(&options(&[Role::Standby])).is_err());
        assert!(check(&options(&[Role::Primary, Role::Primary])).is_err());
        assert!(check(&options(&[Role::Primary, Role::CascadeStandby])).is_err());
        assert!(check(&options(&[Role::Primary, Role::Standby, Role::CascadeStandby])).is_ok());
    }
}
