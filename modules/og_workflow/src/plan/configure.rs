//! Findings and plan of setting parameters on all nodes of a cluster.

use std::collections::{BTreeMap, BTreeSet};

use og_common::gauss::control::LIMITS;
use serde_json::{Map, Value, json};

use super::restart::{Pending, pending};
use super::{DeferredRestore, Outlook, SYNC_NAMES, Shared, deferred_restores, leftover_values};
use crate::args::Options;
use crate::cluster::{Cluster, Node, TargetKind, node_names};

/// The variable that has the parameters.
pub const VARIABLE: &str = "og_parameters";

/// The plan of this workflow.
#[derive(Clone, Debug)]
pub struct Configure {
    /// What the changing workflows plan.
    pub shared: Shared,
    /// The parameters, their names in lower case.
    pub parameters: Map<String, Value>,
    /// Those of them that are limits which are lowered: a standby takes them only after its primary.
    pub lowered: BTreeSet<String>,
    /// The members that follow a standby.
    pub cascades: Vec<String>,
    /// The members that follow the primary.
    pub standbys: Vec<String>,
    /// How `og_guc` is called first, to bring back what a killed run left.
    pub restore_now: Option<DeferredRestore>,
    /// The nodes as they were seen.
    pub nodes: Vec<Node>,
}

impl Configure {
    /// The parameters that a standby is given beside its primary.
    #[must_use]
    pub fn standby_parameters(&self) -> Map<String, Value> {
        let stays = |name: &&String| !self.lowered.contains(*name);
        let names = self.parameters.keys().filter(stays);
        names.map(|name| (name.clone(), self.parameters[name].clone())).collect()
    }

    /// The lowered limits and their values.
    #[must_use]
    pub fn lowered_limits(&self) -> Map<String, Value> {
        self.lowered.iter().map(|name| (name.clone(), self.parameters[name].clone())).collect()
    }

    /// The nodes as they are to be when each has the parameters in its file; `waiting` has those by node that count only
    /// after a restart.
    #[must_use]
    pub fn foresee_nodes(&self, waiting: &BTreeMap<String, BTreeSet<String>>) -> Vec<Node> {
        let set = |n: &Node| {
            let mut n = n.clone();
            let Some(seen) = n.seen.as_mut().filter(|_| self.shared.members.contains(&n.name)) else {
                return n;
            };
            for (name, value) in &self.parameters {
                seen.parameters.insert(name.clone(), Some(text(value)));
                // That it waited for another value counts no more.
                seen.pending_restart.remove(name);
            }
            seen.pending_restart.extend(waiting.get(&n.name).into_iter().flatten().cloned());
            n
        };
        self.nodes.iter().map(set).collect()
    }

    /// The settings of these nodes that wait for a restart.
    #[must_use]
    pub fn pending(&self, nodes: &[Node]) -> Vec<Pending> {
        pending(nodes.iter().filter(|n| self.shared.members.contains(&n.name)))
    }
}

/// Findings and plan of setting these parameters on all members.
#[must_use]
pub fn configure(nodes: &[Node], options: &Options) -> Outlook<Configure> {
    let mut c = Cluster::new(nodes, &[], TargetKind::Kept(VARIABLE));
    c.check();
    let parameters = parameters(&mut c, options);
    let Some(primary) = c.primary else { return Outlook::new(c, None) };
    for name in parameters.keys() {
        if let Some(instead) = of_one_node(name, primary) {
            c.findings.push(format!("{name} {instead}"));
        }
    }
    let lowers = |name: &&String| {
        let number = |text: Option<&str>| text?.trim().parse::<u64>().ok();
        let wanted = number(Some(&text(&parameters[*name])));
        LIMITS.contains(&name.as_str())
            && wanted.zip(number(primary.works_with(name))).is_some_and(|(a, b)| a < b)
    };
    let lowered = parameters.keys().filter(lowers).cloned().collect();
    let left = leftover_values(&c);
    let what = format!("configure {}", parameters.keys().cloned().collect::<Vec<_>>().join(","));
    let plan = Configure {
        shared: Shared::new(&c, primary, &what, left.clone()),
        lowered,
        cascades: node_names(c.members.iter().copied().filter(|n| *n != primary && n.becomes_cascade())),
        standbys: node_names(c.standbys(&c.members).into_iter()),
        restore_now: DeferredRestore::from_values(&deferred_restores(&left)),
        nodes: nodes.to_vec(),
        parameters,
    };
    Outlook::new(c, Some(plan))
}

/// The parameters under names in lower case, which is how the server compares them.
fn parameters(c: &mut Cluster, options: &Options) -> Map<String, Value> {
    if options.og_parameters.is_empty() {
        c.findings.push(format!(
            "{VARIABLE} names no parameter: give names and values, such as og configure max_connections=500, or \
             -e '{{\"{VARIABLE}\": {{\"max_connections\": 500}}}}'"
        ));
    }
    let mut all = Map::new();
    for (name, value) in &options.og_parameters {
        if all.insert(name.to_ascii_lowercase(), value.clone()).is_some() {
            c.findings
                .push(format!("{VARIABLE}: {} is given twice; give it once", name.to_ascii_lowercase()));
        }
    }
    all
}

/// A value as text, as og_guc writes it.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "on".to_owned(),
        Value::Bool(false) => "off".to_owned(),
        other => other.to_string(),
    }
}

/// Why a parameter is not set on all nodes alike, and what is done instead.
fn of_one_node(name: &str, primary: &Node) -> Option<String> {
    let og_guc = |own: Value| match own {
        Value::Object(own) => primary.command_with("og_guc", own),
        _ => String::new(),
    };
    let channel = name.strip_prefix("cross_cluster_").unwrap_or(name).strip_prefix("replconninfo");
    if channel.is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit())) {
        let command = primary.command("og_replconninfo", &[("state", "query")]);
        return Some(format!("is each node's own; og_replconninfo writes it on a node ({command})"));
    }
    Some(match name {
        SYNC_NAMES => {
            let own = json!({"synchronous_standbys": {"method": "any", "num": "majority", "add": ["dn_6002"]}});
            format!("is held against the standbys that stream, on the primary: {}", og_guc(own))
        }
        "port" | "comm_control_port" | "comm_sctp_port" => {
            "is each node's own, and all others know it; drop the node, change its base_port in the inventory, and expand \
             it again (og drop NODE, og expand NODE)"
                .to_owned()
        }
        "application_name" => {
            "is each node's own, and the others know the node by it; drop the node, change its id in the inventory, and \
             expand it again (og drop NODE, og expand NODE)"
                .to_owned()
        }
        "pgxc_node_name" => {
            "names the directories in tablespaces: with another one a standby must be rebuilt in full; set it on that \
             standby (og_guc), then rebuild it (og_build with mode: full)"
                .to_owned()
        }
        "listen_addresses" | "local_bind_address" | "available_zone" | "dcf_node_id" | "ss_instance_id" => {
            format!("is each node's own; set it node by node: {}", og_guc(json!({"parameters": {name: "VALUE"}})))
        }
        "data_directory" | "config_file" | "hba_file" | "ident_file" | "external_pid_file" => {
            "says where a node has its files; these programs find them in data_dir, which the inventory gives".to_owned()
        }
        _ => return None,
    })
}
