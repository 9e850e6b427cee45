//! What is said of a node.

use std::net::IpAddr;

use og_common::protocol::Error;
use serde_json::{Map, Value};

/// What reaches the programs of every node from its variables.
const COMMON: [&str; 4] = ["data_dir", "env_file", "gauss_home", "os_user"];

/// The variables of a host that describe its node, under any caller; the arguments of its programs are among them.
pub const HOST_VARIABLES: [&str; 12] = [
    "data_dir",
    "env_file",
    "gauss_home",
    "os_user",
    "address",
    "ansible_host",
    "base_port",
    "id",
    "role",
    "zone",
    "hostname",
    "application_name",
];
/// Those by which `og` goes there; other callers have ways of their own.
const SSH_VARIABLES: [&str; 5] = ["ssh", "ssh_user", "ssh_port", "ansible_user", "ansible_port"];

/// By which minion Salt goes there.
pub(super) const MINION: &str = "minion";

/// Returns whether the variable describes a node, or how to go there.
#[must_use]
pub fn is_host_variable(name: &str) -> bool {
    name == MINION || HOST_VARIABLES.contains(&name) || SSH_VARIABLES.contains(&name)
}

/// A node as the caller describes it.
#[derive(Clone, Debug)]
pub struct InventoryHost {
    /// Its name.
    pub name: String,
    /// Its variables, over those of the cluster.
    pub vars: Map<String, Value>,
    /// What `--host` takes.
    pub ssh: String,
    /// By what the nodes are reached and where that stands, where the caller says it.
    pub reached_by: Option<String>,
}

impl InventoryHost {
    /// The host of this name.
    #[must_use]
    pub fn new(name: &str, vars: Map<String, Value>) -> Self {
        let ssh = ssh(name, &vars);
        Self { name: name.to_owned(), vars, ssh, reached_by: None }
    }

    /// Whether ssh can go there by what its variables say.
    ///
    /// # Errors
    /// `bad_args` when it cannot.
    pub fn check_ssh(&self) -> Result<(), Error> {
        let Self { name, ssh, .. } = self;
        let wrong = |e| {
            Error::bad_args(format!("ssh cannot go to {ssh}: {e}"))
                .with_path(format!("/cluster/hosts/{name}"))
        };
        ssh.parse::<og_common::remote::SshHost>().map(drop).map_err(wrong)
    }

    /// The arguments that each program gets there.
    #[must_use]
    pub fn common(&self) -> Map<String, Value> {
        let given = |key: &&str| Some(((*key).to_owned(), variable(&self.vars, key)?.clone()));
        COMMON.iter().filter_map(given).collect()
    }
}

/// `[user@]host[:port]` by the variables; Ansible's names of them do, too.
fn ssh(name: &str, vars: &Map<String, Value>) -> String {
    if let Some(given) = text(vars, &["ssh"]) {
        return given;
    }
    let mut host = text(vars, &["ansible_host", "address"]).unwrap_or_else(|| name.to_owned());
    if host.contains(':') {
        host = format!("[{}]", host.trim_matches(['[', ']']));
    }
    let user = text(vars, &["ssh_user", "ansible_user"]).map(|user| format!("{user}@")).unwrap_or_default();
    match text(vars, &["ssh_port", "ansible_port"]) {
        Some(port) => format!("{user}{host}:{port}"),
        None => format!("{user}{host}"),
    }
}

fn truthy(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false)) && value.as_str() != Some("")
}

/// The variable, where it is given.
pub(super) fn variable<'a>(vars: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    // Ansible hands over those of the list alone.
    debug_assert!(HOST_VARIABLES.contains(&name) || SSH_VARIABLES.contains(&name), "{name} is in no list");
    vars.get(name).filter(|value| truthy(value))
}

/// The first of these variables that is given, as text.
pub(super) fn text(vars: &Map<String, Value>, names: &[&str]) -> Option<String> {
    let value = names.iter().find_map(|name| variable(vars, name))?;
    Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

/// An address as a value, so that it compares equal however it is written; a name in lower case.
#[must_use]
pub fn canonical(host: &str) -> String {
    let text = host.trim().trim_matches(['[', ']']);
    let address = text.split('/').next().unwrap_or_default();
    address.parse::<IpAddr>().map_or_else(|_| text.to_lowercase(), |ip| ip.to_string())
}
