//! A node: what is said of it, and what was seen there.

use og_common::gauss::{NodeState, Role};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::host::{InventoryHost, MINION, canonical, text, variable};
use crate::seen::Seen;

/// openGauss's own names of servers: instance 6001 is dn_6001.
const INSTANCE_BASE: i64 = 6000;
/// The database's port where none is given.
const BASE_PORT: i64 = 26000;

/// One end of a channel, as `og_replconninfo` takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PeerArg {
    /// The address.
    pub host: String,
    /// The database's port, by which the others are known.
    pub base_port: i64,
    /// Whether it is a cascade standby.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cascade: bool,
}

/// One node, with what is known of it.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// What is wrong with the variables.
    pub problems: Vec<String>,
    /// What was seen there; none when nobody looked.
    pub seen: Option<Seen>,
    /// By which the nodes reach each other.
    pub address: String,
    /// Its number in the cluster.
    pub id: Option<i64>,
    /// The database's port.
    pub base_port: i64,
    /// Its name among the servers.
    pub app_name: String,
    /// What it is meant to be.
    pub role: Role,
    /// Its availability zone.
    pub zone: String,
    /// Its machine's name in the cluster's files.
    pub hostname: String,
    /// Where its program files are, where the inventory says.
    pub gauss_home: Option<String>,
    data_dir: Option<Value>,
    pub(super) ssh: String,
    pub(super) minion: Option<String>,
    pub(super) reached_by: Option<String>,
    pub(super) os_user: Option<String>,
    nothing: Seen,
}

/// Two nodes are the same when their names are.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Node {
    /// The node of this host.
    #[must_use]
    pub fn new(host: &InventoryHost, seen: Option<Seen>) -> Self {
        let (name, vars) = (&host.name, &host.vars);
        let mut problems = Vec::new();
        let base_port = number(name, vars, "base_port", &mut problems).unwrap_or(BASE_PORT);
        let id = number(name, vars, "id", &mut problems);
        if id.is_none() && problems.is_empty() {
            problems.push(format!(
                "{name}: the inventory gives it no id (a number from 1; its application_name is dn_{{6000+id}})"
            ));
        }
        let word = text(vars, &["role"]).unwrap_or_else(|| "standby".to_owned());
        let role = match word.to_lowercase().replace(' ', "_").as_str() {
            "primary" => Role::Primary,
            // A spare stands ready, and is not in the cluster.
            "standby" | "spare" => Role::Standby,
            "cascade_standby" => Role::CascadeStandby,
            other => {
                let known = "primary, standby, cascade_standby";
                problems.push(format!("{name}: role {other} in the inventory is none of {known}"));
                Role::Unknown
            }
        };
        let os_user = seen.as_ref().and_then(|s| s.os_user.clone()).or_else(|| text(vars, &["os_user"]));
        // Where no data directory is yet, the user as whom it will be made: never root.
        let os_user = os_user.or_else(|| {
            let facts = seen.as_ref().filter(|seen| seen.is_vacant())?.facts.as_ref()?;
            facts.user.name.clone().filter(|name| name != "root")
        });
        let app_name = text(vars, &["application_name"]);
        Self {
            name: name.clone(),
            problems,
            seen,
            address: text(vars, &["address", "ansible_host"]).unwrap_or_else(|| name.clone()),
            id,
            base_port,
            app_name: app_name.unwrap_or_else(|| format!("dn_{}", INSTANCE_BASE + id.unwrap_or(0))),
            role,
            zone: text(vars, &["zone"]).unwrap_or_else(|| "AZ1".to_owned()),
            hostname: text(vars, &["hostname"]).unwrap_or_else(|| name.clone()),
            gauss_home: text(vars, &["gauss_home"]),
            data_dir: vars.get("data_dir").cloned(),
            ssh: host.ssh.clone(),
            minion: vars.get(MINION).and_then(Value::as_str).map(str::to_owned),
            reached_by: host.reached_by.clone(),
            os_user,
            nothing: Seen::default(),
        }
    }

    /// The user of its server, where it is known.
    #[must_use]
    pub fn known_os_user(&self) -> Option<&str> {
        self.os_user.as_deref()
    }

    /// What was seen there; of a node that nobody saw, nothing.
    #[must_use]
    pub fn seen(&self) -> &Seen {
        self.seen.as_ref().unwrap_or(&self.nothing)
    }

    /// Whether it answered.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.unseen_reason().is_none()
    }

    /// Why nothing is known of it, in a word or two.
    #[must_use]
    pub fn unseen_reason(&self) -> Option<&'static str> {
        match &self.seen {
            None => Some("not inspected"),
            Some(seen) => seen.unreachable.as_ref().map(|_| "unreachable"),
        }
    }

    /// Its server.
    #[must_use]
    pub fn state(&self) -> &NodeState {
        &self.seen().state
    }

    /// The identifier of its database system, where it has one.
    #[must_use]
    pub fn system_id(&self) -> Option<&str> {
        self.seen().identity.system_id.as_deref()
    }

    /// The address of the server that it receives from.
    #[must_use]
    pub fn upstream(&self) -> Option<String> {
        let peer = self.state().receiver.as_ref()?.peer.as_ref()?;
        Some(canonical(&peer.host))
    }

    /// The role in which its server runs.
    #[must_use]
    pub fn live_role(&self) -> Option<Role> {
        self.state().running.then_some(self.state().role)
    }

    /// Whether it runs and receives from another server.
    #[must_use]
    pub fn is_streaming(&self) -> bool {
        let follows = matches!(self.live_role(), Some(Role::Standby | Role::CascadeStandby));
        follows && self.state().receiver.is_some()
    }

    /// Its replication address as the channels name it.
    #[must_use]
    pub fn key(&self) -> (String, i64) {
        (canonical(&self.address), self.base_port + 1)
    }

    /// The same of each node it has a channel to.
    pub fn peers(&self) -> impl Iterator<Item = (String, i64)> {
        self.seen().peers.iter().map(|end| (canonical(end.host.text()), i64::from(end.port)))
    }

    /// A parameter's value in postgresql.conf, where it is set.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.seen().parameters.get(name)?.as_deref()
    }

    /// The value of a parameter that its server runs with, where it told.
    #[must_use]
    pub fn running(&self, name: &str) -> Option<&str> {
        self.seen().running.get(name).map(String::as_str)
    }

    /// The same; of a server that did not tell, the one in its file.
    #[must_use]
    pub fn works_with(&self, name: &str) -> Option<&str> {
        self.running(name).or_else(|| self.parameter(name))
    }

    /// The number that a parameter limits its server to.
    #[must_use]
    pub fn limit(&self, name: &str) -> Option<usize> {
        self.works_with(name)?.trim().parse().ok()
    }

    /// Whether it is, or is to be, a cascade standby: what runs counts before what is planned.
    #[must_use]
    pub fn becomes_cascade(&self) -> bool {
        match self.live_role() {
            Some(role @ (Role::Primary | Role::Standby | Role::CascadeStandby)) => {
                role == Role::CascadeStandby
            }
            _ => self.role == Role::CascadeStandby,
        }
    }

    /// Returns what a person types to call a program on this node, with these arguments.
    #[must_use]
    pub fn command(&self, program: &str, own: &[(&str, &str)]) -> String {
        let own = own.iter().map(|(key, value)| ((*key).to_owned(), json!(value)));
        self.command_with(program, own.collect())
    }

    /// The same with arguments of any type.
    #[must_use]
    pub fn command_with(&self, program: &str, own: Map<String, Value>) -> String {
        let dir = self.data_dir.iter().map(|dir| ("data_dir".to_owned(), dir.clone()));
        let args: Map<String, Value> = dir.chain(own).collect();
        let args = json!(args).to_string().replace('\'', "'\\''");
        format!("echo '{args}' | {program} --host {}", self.ssh)
    }

    /// As og_replconninfo takes it as the node's own end.
    #[must_use]
    pub fn own_end(&self) -> PeerArg {
        PeerArg { host: self.address.clone(), base_port: self.base_port, cascade: false }
    }

    /// As og_replconninfo takes it as a peer.
    #[must_use]
    pub fn channel_end(&self) -> PeerArg {
        PeerArg { cascade: self.becomes_cascade(), ..self.own_end() }
    }

    /// Its record for a static config that does not have it yet.
    #[must_use]
    pub fn record(&self) -> Map<String, Value> {
        let number = self.app_name.rsplit('_').next().and_then(|text| text.parse().ok());
        let record = json!({
            "name": self.hostname,
            "id": self.id,
            "instance_id": number.unwrap_or(INSTANCE_BASE + self.id.unwrap_or(0)),
            "address": self.address,
            "base_port": self.base_port,
            "data_dir": self.data_dir,
            "zone": self.zone,
        });
        if let Value::Object(record) = record { record } else { Map::new() }
    }
}

fn number(name: &str, vars: &Map<String, Value>, key: &str, problems: &mut Vec<String>) -> Option<i64> {
    let value = variable(vars, key)?;
    let number = value.as_i64().or_else(|| value.as_str()?.trim().parse().ok());
    if number.is_none() {
        problems.push(format!("{name}: {key} in the inventory is {value}, not a number"));
    }
    number
}
