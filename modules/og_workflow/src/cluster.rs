//! The nodes of a cluster: what is said of each, and what was seen there.

use std::net::IpAddr;

use og_common::gauss::{DbState, Role};
use og_common::protocol::Error;
use serde_json::{Map, Value, json};

use crate::seen::{Lock, Seen, State};

/// openGauss's own names of servers: instance 6001 is dn_6001.
const INSTANCE_BASE: i64 = 6000;
/// The database's port where none is given.
const BASE_PORT: i64 = 26000;
/// What reaches the programs of every node from its variables.
const COMMON: [&str; 4] = ["data_dir", "env_file", "gauss_home", "os_user"];

/// A node as the caller describes it.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its variables, over those of the cluster.
    pub vars: Map<String, Value>,
    /// What `--host` takes.
    pub ssh: String,
}

impl Host {
    /// The host of this name.
    ///
    /// # Errors
    /// `bad_args` when ssh cannot go there by what its variables say.
    pub fn new(name: &str, vars: Map<String, Value>) -> Result<Self, Error> {
        let ssh = ssh(name, &vars);
        ssh.parse::<og_common::remote::Host>().map_err(|e| {
            Error::bad_args(format!("ssh cannot go to {ssh}: {e}")).at(format!("/cluster/hosts/{name}"))
        })?;
        Ok(Self { name: name.to_owned(), vars, ssh })
    }

    /// The arguments that each program gets there.
    #[must_use]
    pub fn common(&self) -> Map<String, Value> {
        let given =
            |key: &&str| Some(((*key).to_owned(), self.vars.get(*key).filter(|v| truthy(v))?.clone()));
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

/// The first of these variables that is given, as text.
fn text(vars: &Map<String, Value>, names: &[&str]) -> Option<String> {
    let value = names.iter().find_map(|name| vars.get(*name).filter(|v| truthy(v)))?;
    Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

/// An address as a value, so that it compares equal however it is written; a name in lower case.
#[must_use]
pub fn canonical(host: &str) -> String {
    let text = host.trim().trim_matches(['[', ']']);
    let address = text.split('/').next().unwrap_or_default();
    address.parse::<IpAddr>().map_or_else(|_| text.to_lowercase(), |ip| ip.to_string())
}

/// One node, with what is known of it.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// What stands against what the variables say.
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
    data_dir: Option<Value>,
    os_user: Option<String>,
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
    pub fn new(host: &Host, seen: Option<Seen>) -> Self {
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
            data_dir: vars.get("data_dir").cloned(),
            os_user,
            nothing: Seen::default(),
        }
    }

    /// What was seen there; of a node that nobody saw, nothing.
    #[must_use]
    pub fn seen(&self) -> &Seen {
        self.seen.as_ref().unwrap_or(&self.nothing)
    }

    /// Whether it answered.
    #[must_use]
    pub fn reachable(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.unreachable.is_none())
    }

    /// Its server.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.seen().state
    }

    /// The role in which its server runs.
    #[must_use]
    pub fn live_role(&self) -> Option<Role> {
        self.state().running.then_some(self.state().role)
    }

    /// Whether it runs and receives from another server.
    #[must_use]
    pub fn streams(&self) -> bool {
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
        self.seen().peers.iter().map(|end| (canonical(&end.host), i64::from(end.port)))
    }

    /// A parameter's value in postgresql.conf, where it is set.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.seen().parameters.get(name)?.as_deref()
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

    /// As og_replconninfo takes it as the node's own end.
    #[must_use]
    pub fn end(&self) -> Value {
        json!({"host": self.address, "base_port": self.base_port})
    }

    /// As og_replconninfo takes it as a peer.
    #[must_use]
    pub fn channel(&self) -> Value {
        let mut end = self.end();
        if self.becomes_cascade() {
            end["cascade"] = json!(true);
        }
        end
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
    let value = vars.get(key).filter(|v| truthy(v))?;
    let number = value.as_i64().or_else(|| value.as_str()?.trim().parse().ok());
    if number.is_none() {
        problems.push(format!("{name}: {key} in the inventory is {value}, not a number"));
    }
    number
}

/// The nodes sorted by what they are now.
#[derive(Debug)]
pub struct Cluster<'a> {
    /// All nodes.
    pub nodes: &'a [Node],
    /// What stands against the workflow.
    pub findings: Vec<String>,
    /// What should be looked at.
    pub warnings: Vec<String>,
    /// The nodes that come or go.
    pub targets: Vec<&'a Node>,
    /// The one that runs as primary, or the single node.
    pub primary: Option<&'a Node>,
    /// The primary and those that follow it, targets aside.
    pub members: Vec<&'a Node>,
    adding: bool,
}

impl<'a> Cluster<'a> {
    /// Sorts the nodes; `adding` says whether the targets come or go.
    #[must_use]
    pub fn new(nodes: &'a [Node], targets: &[String], adding: bool) -> Self {
        let (findings, warnings) = (Vec::new(), Vec::new());
        let mut it = Self {
            nodes,
            findings,
            warnings,
            targets: Vec::new(),
            primary: None,
            members: Vec::new(),
            adding,
        };
        let word = if adding { "og_add" } else { "og_drop" };
        if targets.is_empty() {
            it.findings.push(format!("{word} is not given: name the nodes, such as -e {word}=n3,n4"));
            return it;
        }
        for name in targets {
            if let Some(node) = nodes.iter().find(|n| n.name == *name) {
                it.targets.push(node);
            } else {
                let known = names(nodes.iter()).join(", ");
                it.findings.push(format!("{word}: {name} is no host of the inventory (it has {known})"));
            }
        }
        it.primary = it.find_primary();
        it.members = it.find_members();
        it
    }

    fn find_primary(&mut self) -> Option<&'a Node> {
        let aside = |n: &&Node| self.adding && self.targets.contains(n);
        let others: Vec<&Node> = self.nodes.iter().filter(|n| !aside(n) && n.state().running).collect();
        let with = |role: Role| others.iter().copied().filter(move |n| n.live_role() == Some(role));
        let mut found: Vec<&Node> = with(Role::Primary).collect();
        if found.is_empty() {
            found = with(Role::Normal).filter(|n| n.role == Role::Primary).collect();
            if found.is_empty() {
                found = with(Role::Normal).collect();
            }
        }
        let wrong = self.targets.iter().filter(|n| self.adding && n.live_role() == Some(Role::Primary));
        let mut findings: Vec<String> = wrong
            .map(|n| {
                let what = if found.is_empty() {
                    "it is the primary of this cluster already"
                } else {
                    "a second primary must be looked at by a person"
                };
                format!("{} is to be added, but its server runs as primary: {what}", n.name)
            })
            .collect();
        let told = names(found.iter().copied()).join(" and ");
        match found[..] {
            [_] => {}
            [first, ..] if first.live_role() == Some(Role::Normal) => findings.push(format!(
                "no primary runs, and {told} run as single nodes; which of them is the cluster is not known"
            )),
            [_, ..] => findings
                .push(format!("more than one primary: {told} run as primary; stop the wrong one first")),
            [] => {
                let looked = self.nodes.iter().filter(|n| !aside(n));
                let looked: Vec<_> = looked.map(|n| format!("{} {}", n.name, in_words(n))).collect();
                let looked = if looked.is_empty() { "no other node".to_owned() } else { looked.join(", ") };
                findings.push(format!("no primary runs ({looked})"));
            }
        }
        let primary = if let [only] = found[..] { Some(only) } else { None };
        self.findings.append(&mut findings);
        primary
    }

    /// The primary and every node it has a channel to, targets aside.
    fn find_members(&mut self) -> Vec<&'a Node> {
        let Some(primary) = self.primary else { return Vec::new() };
        let mut keys: Vec<_> = primary.peers().collect();
        keys.sort();
        keys.dedup();
        for (host, port) in keys.iter().filter(|key| !self.nodes.iter().any(|n| n.key() == **key)) {
            let text = format!(
                "{} has a replication channel to {host}:{port}, which is no host of the inventory's group opengauss; add it there",
                primary.name
            );
            // A cluster is not expanded by half its inventory; taking a node away does not need the whole of it.
            if self.adding { &mut self.findings } else { &mut self.warnings }.push(text);
        }
        let belongs = |n: &&Node| *n == primary || keys.contains(&n.key()) || n.streams();
        self.nodes.iter().filter(|n| !self.targets.contains(n)).filter(belongs).collect()
    }

    /// Findings that both workflows share.
    pub fn check(&mut self) {
        let involved: Vec<&Node> = self.members.iter().chain(&self.targets).copied().collect();
        self.findings.extend(involved.iter().flat_map(|n| n.problems.iter().cloned()));
        self.unique("id", &involved, |n| n.id.map(|id| id.to_string()));
        self.unique("address and port", &involved, |n| {
            Some(format!("{}:{}", canonical(&n.address), n.base_port))
        });
        let mut ids: Vec<_> = involved.iter().map(|n| n.id).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() == involved.len() {
            self.unique("application_name", &involved, |n| Some(n.app_name.clone()));
        }
        for n in self.members.clone() {
            self.check_member(n);
        }
    }

    fn check_member(&mut self, n: &Node) {
        let name = &n.name;
        if !self.answered(n) || n.seen().state_error.is_some() {
            return;
        }
        let state = n.state();
        let fares = state.db_state.map(fares);
        if !state.running {
            self.findings.push(format!("{name}: its server is down; start it, or drop it too"));
        } else if let Some(what) = state.db_state.filter(|s| is_busy(*s)) {
            self.findings.push(format!("{name}: is {}; wait until that is over", self::fares(what)));
        } else if let Some(fares) = fares.filter(|_| state.db_state != Some(DbState::Normal))
            && Some(n) != self.primary
        {
            let why = state.detail.as_deref().filter(|d| !d.is_empty()).unwrap_or("no reason given");
            self.warnings.push(format!("{name}: {fares} ({why})"));
        }
        if let Some(live) =
            n.parameter("application_name").filter(|live| !live.is_empty() && *live != n.app_name)
            && Some(n) != self.primary
        {
            self.findings.push(format!(
                "{name}: its application_name is {live}, by its id in the inventory it would be {}; \
                 correct the id, or set the host variable application_name",
                n.app_name
            ));
        }
    }

    /// Whether the node answered; what it could not tell is a finding.
    pub fn answered(&mut self, n: &Node) -> bool {
        let name = &n.name;
        let Some(seen) = &n.seen else {
            self.findings.push(format!("{name}: was not looked at; run without --limit"));
            return false;
        };
        if let Some(why) = &seen.unreachable {
            self.findings.push(format!("{name}: cannot be reached: {why}"));
            return false;
        }
        self.findings.extend(seen.errors.iter().map(|text| format!("{name}: {text}")));
        self.findings.extend(seen.broken_lines.iter().map(|broken| {
            format!(
                "{name}: line {} of pg_hba.conf: {}; for that line the server refuses the whole file",
                broken.line, broken.message
            )
        }));
        true
    }

    fn unique(&mut self, what: &str, nodes: &[&Node], key: impl Fn(&Node) -> Option<String>) {
        let mut seen: Vec<(String, Vec<&str>)> = Vec::new();
        for n in nodes {
            let Some(value) = key(n) else { continue };
            match seen.iter_mut().find(|(v, _)| *v == value) {
                Some((_, names)) => names.push(&n.name),
                None => seen.push((value, vec![&n.name])),
            }
        }
        for (value, names) in seen.into_iter().filter(|(_, names)| names.len() > 1) {
            self.findings
                .push(format!("{} have the same {what} {value} in the inventory", names.join(" and ")));
        }
    }

    /// Those of the nodes that stream from the primary itself.
    #[must_use]
    pub fn standbys(&self, nodes: &[&'a Node]) -> Vec<&'a Node> {
        nodes.iter().copied().filter(|n| Some(*n) != self.primary && !n.becomes_cascade()).collect()
    }

    /// The user of a node's server; one that was not seen has the user that all of them have.
    #[must_use]
    pub fn os_user(&self, n: &Node) -> String {
        let own = n.os_user.clone().or_else(|| self.primary.and_then(|p| p.os_user.clone()));
        own.unwrap_or_else(|| "omm".to_owned())
    }

    /// The rule of pg_hba.conf by which the node is let in.
    #[must_use]
    pub fn rule(&self, n: &Node, method: Option<&str>) -> Value {
        let mut address = canonical(&n.address);
        match address.parse() {
            Ok(IpAddr::V4(_)) => address += "/32",
            Ok(IpAddr::V6(_)) => address += "/128",
            Err(_) => {}
        }
        let mut rule =
            json!({"type": "host", "databases": ["all"], "users": [self.os_user(n)], "address": address});
        if let Some(method) = method {
            rule["method"] = json!(method);
        }
        rule
    }

    /// The lock on the primary as it is recorded there, whether it still counts or not.
    #[must_use]
    pub fn lock(&self) -> Option<&Lock> {
        let seen = self.primary?.seen();
        seen.lock.as_ref().or(seen.last_lock.as_ref())
    }
}

/// The names of these nodes.
pub fn names<'a>(nodes: impl Iterator<Item = &'a Node>) -> Vec<String> {
    nodes.map(|n| n.name.clone()).collect()
}

/// States that pass by themselves.
fn is_busy(state: DbState) -> bool {
    changes_role(state) || matches!(state, DbState::Building | DbState::Starting)
}

/// Whether a server in this state becomes primary or ceases to be it.
#[must_use]
pub fn changes_role(state: DbState) -> bool {
    matches!(state, DbState::Promoting | DbState::WaitPromoting | DbState::Demoting)
}

/// How a server fares, in the middle of a sentence.
#[must_use]
pub fn fares(state: DbState) -> String {
    state.words().to_lowercase()
}

/// A role, in the middle of a sentence.
#[must_use]
pub fn role_in_words(role: Role) -> String {
    role.name().replace('_', " ")
}

fn in_words(n: &Node) -> String {
    if !n.reachable() {
        return "unreachable".to_owned();
    }
    n.live_role().map_or_else(|| "not running".to_owned(), role_in_words)
}
