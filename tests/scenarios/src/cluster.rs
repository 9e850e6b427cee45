//! A lab with the project's playbooks and modules at hand, and what every scenario checks at its end.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use og_lab::{Engine, Lab, LabNode, LabOptions, NodeSpec};
use serde_json::{Value, json};

use crate::client::{Client, Seen, TABLE, create_table};
use crate::deaths::Deaths;
use crate::workflow::{Ansible, Run};

/// What a scenario ends with: the message says what a user would miss.
pub type Result<T = ()> = std::result::Result<T, String>;

/// How long a state that comes by itself (streaming, catching up) may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

/// So many looks in a row without a change count as rest.
const QUIET: usize = 15;

/// Where the programs are that the scenarios run.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The folder with ansible-playbook.
    pub ansible: PathBuf,
    /// The folder with the modules.
    pub modules: PathBuf,
    /// The folder with the lab's stand-ins.
    pub stand_ins: PathBuf,
    /// The project's playbooks.
    pub playbooks: PathBuf,
}

/// A cluster that a scenario works on; it is taken down when dropped, unless kept.
#[derive(Debug)]
pub struct Cluster {
    lab: Option<Lab>,
    ansible: Ansible,
    /// Copies of the modules that the nodes' user can run.
    bin: PathBuf,
}

impl Cluster {
    /// Brings up a lab of this name.
    ///
    /// # Errors
    /// What kept it from coming up.
    pub fn up(name: &str, engine: Engine, nodes: Vec<NodeSpec>, programs: &Programs) -> Result<Self> {
        let lab = Lab::up(&options(name, engine, nodes, programs));
        Self::from_lab(lab.map_err(|e| e.to_string())?, programs)
    }

    /// Brings up a lab of this name under openGauss CM.
    ///
    /// # Errors
    /// What kept it from coming up.
    pub fn up_with_cm(name: &str, engine: Engine, nodes: Vec<NodeSpec>, programs: &Programs) -> Result<Self> {
        let options = options(name, engine, nodes, programs);
        let lab = og_lab::cm_for(engine).and_then(|cm| Lab::up_with_cm(&options, &cm));
        Self::from_lab(lab.map_err(|e| e.to_string())?, programs)
    }

    /// Brings up a lab of this name whose nodes are bare machines.
    ///
    /// # Errors
    /// What kept it from coming up.
    pub fn up_machines(
        name: &str,
        engine: Engine,
        nodes: Vec<NodeSpec>,
        programs: &Programs,
    ) -> Result<Self> {
        let lab = Lab::up_machines(&options(name, engine, nodes, programs));
        Self::from_lab(lab.map_err(|e| e.to_string())?, programs)
    }

    /// Takes over a lab that is up.
    ///
    /// # Errors
    /// The modules cannot be copied to where the nodes' user can run them.
    pub fn from_lab(lab: Lab, programs: &Programs) -> Result<Self> {
        let scratch = lab.base_dir().join("controller");
        let bin = lab.base_dir().join("modules");
        let copy = || -> std::io::Result<()> {
            std::fs::create_dir_all(&scratch)?;
            std::fs::create_dir_all(&bin)?;
            for entry in std::fs::read_dir(&programs.modules)? {
                let entry = entry?;
                if entry.file_name().to_string_lossy().starts_with("og_") {
                    std::fs::copy(entry.path(), bin.join(entry.file_name()))?;
                }
            }
            Ok(())
        };
        copy().map_err(|e| format!("cannot copy the modules into the lab: {e}"))?;
        let ansible = Ansible {
            bin: programs.ansible.clone(),
            playbooks: programs.playbooks.clone(),
            modules: programs.modules.clone(),
            inventory: lab.inventory_path(),
            scratch,
        };
        Ok(Self { lab: Some(lab), ansible, bin })
    }

    /// Leaves the lab running.
    pub fn keep(mut self) {
        self.lab = None;
    }

    /// The lab.
    ///
    /// # Panics
    /// Never: the lab is there until the cluster is dropped or kept.
    #[must_use]
    #[allow(clippy::expect_used)]
    pub fn lab(&self) -> &Lab {
        self.lab.as_ref().expect("the lab is there until drop or keep")
    }

    /// The folder of the modules, for copying onto nodes.
    #[must_use]
    pub fn modules(&self) -> &Path {
        &self.ansible.modules
    }

    /// The project's playbooks.
    #[must_use]
    pub fn playbooks(&self) -> &Path {
        &self.ansible.playbooks
    }

    /// A node by name.
    ///
    /// # Errors
    /// There is none.
    pub fn node(&self, name: &str) -> Result<&LabNode> {
        self.lab().node(name).map_err(|e| e.to_string())
    }

    /// Runs a playbook from the control host.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run_playbook(&self, playbook: &str, args: &[&str]) -> Result<Run> {
        self.ansible.run(self.lab().exec_ctl(["env"]), playbook, args, None)
    }

    /// Runs a playbook that is killed when `tasks` tasks are done.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run_playbook_killed(&self, playbook: &str, args: &[&str], tasks: usize) -> Result<Run> {
        self.ansible.run(self.lab().exec_ctl(["env"]), playbook, args, Some(tasks))
    }

    /// Stand-ins which let each call of a program on a node die once.
    ///
    /// # Errors
    /// As [`Deaths::arrange`].
    pub fn deaths(&self, name: &str) -> Result<Deaths> {
        Deaths::arrange(&self.lab().base_dir().join("deaths").join(name), &self.bin)
    }

    /// Runs SQL on a node through its socket and returns what gsql prints without decoration.
    ///
    /// # Errors
    /// The server's words.
    pub fn sql(&self, name: &str, statement: &str) -> Result<String> {
        let node = self.node(name)?;
        let port = node.base_port.to_string();
        let done = node
            .exec([
                "gsql",
                "-X",
                "-A",
                "-t",
                "-q",
                "-v",
                "ON_ERROR_STOP=1",
                "-d",
                "postgres",
                "-p",
                &port,
                "-c",
                statement,
            ])
            .stdin(Stdio::null())
            .output()
            .map_err(|e| format!("cannot run gsql on {name}: {e}"))?;
        if done.status.success() {
            return Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned());
        }
        Err(format!("gsql on {name}: {}", String::from_utf8_lossy(&done.stderr).trim()))
    }

    /// Runs one module on a node, as a shell user does, and returns its result.
    ///
    /// # Errors
    /// It printed no JSON object.
    pub fn module(&self, name: &str, module: &str, mut args: Value) -> Result<Value> {
        let node = self.node(name)?;
        args["data_dir"] = json!(node.data_dir);
        let program = self.bin.join(module);
        let mut child = node
            .exec([program.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot run {module} on {name}: {e}"))?;
        if let Some(mut input) = child.stdin.take() {
            drop(input.write_all(args.to_string().as_bytes()));
        }
        let done = child.wait_with_output().map_err(|e| e.to_string())?;
        serde_json::from_slice(&done.stdout)
            .map_err(|e| format!("{module} on {name}: {e}: {}", String::from_utf8_lossy(&done.stdout)))
    }

    /// Starts a client that writes rows on the primary, from the first number that is free, with this pause after each.
    ///
    /// # Errors
    /// The table cannot be made or the client not be started.
    pub fn client(&self, primary: &str, pause: Duration) -> Result<Client> {
        self.sql(primary, &create_table())?;
        let last = self.sql(primary, &format!("select coalesce(max(n), 0) from {TABLE}"))?;
        let first = last.parse::<u64>().map_err(|e| format!("{last}: {e}"))? + 1;
        let node = self.node(primary)?;
        let port = node.base_port.to_string();
        let gsql = node.exec(["sh", "-c", "exec gsql -X -d postgres -p \"$1\" 2>&1", "sh", &port]);
        Client::start(gsql, first, pause).map_err(|e| format!("cannot start the client: {e}"))
    }

    /// Waits until every one of these nodes holds every row whose commit was acknowledged.
    ///
    /// # Errors
    /// A node that does not get there, with what it has.
    pub fn wait_for_rows(&self, seen: &Seen, nodes: &[&str]) -> Result {
        for name in nodes {
            let wanted = seen.last.to_string();
            let statement = format!("select count(*) from {TABLE} where n <= {}", seen.last);
            self.wait_until(&format!("{name} holds all {wanted} rows"), || {
                let has = self.sql(name, &statement)?;
                Ok((has == wanted).then_some(()).ok_or(has))
            })?;
        }
        Ok(())
    }

    /// Waits until the node's role and state are these.
    ///
    /// # Errors
    /// What it was instead.
    pub fn wait_for_state(&self, name: &str, role: &str, db_state: &str) -> Result {
        self.wait_until(&format!("{name} is {role} {db_state}"), || {
            let node = &self.module(name, "og_node_state", json!({"state": "query"}))?["node"];
            let now = format!(
                "{} {}",
                node["role"].as_str().unwrap_or("?"),
                node["db_state"].as_str().unwrap_or("?")
            );
            Ok((now.eq_ignore_ascii_case(&format!("{role} {db_state}"))).then_some(()).ok_or(now))
        })
    }

    /// What must hold for a cluster at rest, whatever was done to it: the roles are these, every slot has a standby
    /// that streams through it, and `synchronous_standby_names` names members only.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn check_at_rest(&self, roles: &[(&str, &str)]) -> Result {
        for (name, role) in roles {
            self.wait_for_state(name, role, "Normal")?;
        }
        let members = roles
            .iter()
            .map(|(name, _)| Ok(self.node(name)?.instance.clone()))
            .collect::<Result<Vec<_>>>()?;
        for (name, _) in roles {
            self.wait_until(&format!("every slot on {name} is in use by a member"), || {
                let result = self.module(name, "og_slot", json!({"state": "query"}))?;
                let slots = result["slots"].as_array().cloned().unwrap_or_default();
                let idle = slots.iter().find(|slot| {
                    let known = slot["name"].as_str().is_some_and(|n| members.iter().any(|m| m == n));
                    !known || slot["active"] != true
                });
                Ok(idle.map_or(Ok(()), |slot| Err(slot.to_string())))
            })?;
        }
        let (primary, _) =
            roles.iter().find(|(_, r)| matches!(*r, "primary" | "normal")).ok_or("no primary")?;
        let names = self.sync_names(primary)?;
        match parse_names(&names).iter().find(|n| !members.contains(n)) {
            Some(stranger) => {
                Err(format!("synchronous_standby_names '{names}' names {stranger}, which is no member"))
            }
            None => Ok(()),
        }
    }

    /// The value of `synchronous_standby_names` that the server runs with.
    ///
    /// # Errors
    /// The server's words.
    pub fn sync_names(&self, primary: &str) -> Result<String> {
        self.sql(primary, "show synchronous_standby_names")
    }

    /// The content of all configuration files of all nodes, by path; two of these are equal when nothing was changed.
    ///
    /// # Errors
    /// A file that is there cannot be read.
    pub fn configuration(&self) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
        let mut files = BTreeMap::new();
        for node in self.lab().nodes() {
            let bin = node.from_outside(&node.gauss_home).join("bin");
            let own = ["pg_hba.conf", "postgresql.conf"].map(|f| node.from_outside(&node.data_dir).join(f));
            let cluster = ["cluster_static_config", "cluster_dynamic_config", "cluster_dnrole_config"];
            for path in own.into_iter().chain(cluster.map(|f| bin.join(f))) {
                match std::fs::read(&path) {
                    Ok(content) => drop(files.insert(path, content)),
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                    Err(e) => return Err(format!("cannot read {}: {e}", path.display())),
                }
            }
        }
        Ok(files)
    }

    /// The configuration when the servers have come to rest: a standby takes over its primary's postgresql.conf after
    /// every connect and reload, which is none of our doing.
    ///
    /// # Errors
    /// As [`Self::configuration`]; or they do not come to rest.
    pub fn settled_configuration(&self) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
        let mut looks = vec![self.configuration()?];
        self.wait_until("the servers leave their files alone", || {
            looks.push(self.configuration()?);
            let last = &looks[looks.len().saturating_sub(QUIET)..];
            let quiet = last.len() == QUIET && last.windows(2).all(|w| w[0] == w[1]);
            Ok(if quiet { Ok(last[0].clone()) } else { Err("they still change".to_owned()) })
        })
    }

    /// Waits until `look` finds what it wants; it returns what it saw instead when it does not.
    ///
    /// # Errors
    /// What was last seen, when it did not come within a minute.
    pub fn wait_until<T>(
        &self,
        what: &str,
        look: impl FnMut() -> Result<std::result::Result<T, String>>,
    ) -> Result<T> {
        self.wait_within(PATIENCE, what, look)
    }

    /// The same for what may take longer than a minute.
    ///
    /// # Errors
    /// As [`Self::wait_until`].
    pub fn wait_within<T>(
        &self,
        patience: Duration,
        what: &str,
        mut look: impl FnMut() -> Result<std::result::Result<T, String>>,
    ) -> Result<T> {
        let start = Instant::now();
        loop {
            let seen = match look() {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(seen)) | Err(seen) => seen,
            };
            if start.elapsed() > patience {
                return Err(format!("expected: {what}; last seen: {seen}"));
            }
            std::thread::sleep(INTERVAL);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(lab) = self.lab.take()
            && let Err(e) = lab.down()
        {
            eprintln!("the lab was not taken down: {e}");
        }
    }
}

fn options(name: &str, engine: Engine, nodes: Vec<NodeSpec>, programs: &Programs) -> LabOptions {
    LabOptions { name: name.into(), engine, nodes, base_dir: None, programs: programs.stand_ins.clone() }
}

/// Which files differ between two looks at the configuration.
#[must_use]
pub fn differing(before: &BTreeMap<PathBuf, Vec<u8>>, after: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<String> {
    let paths: std::collections::BTreeSet<&Path> =
        before.keys().chain(after.keys()).map(PathBuf::as_path).collect();
    let changed = paths.into_iter().filter(|p| before.get(*p) != after.get(*p));
    changed.map(|p| p.display().to_string()).collect()
}

/// The names in a value of `synchronous_standby_names`.
fn parse_names(value: &str) -> Vec<String> {
    let words = value.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    words.filter(|w| w.starts_with("dn_")).map(str::to_owned).collect()
}
