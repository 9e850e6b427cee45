//! What openGauss CM says of a cluster that it runs, beside what was seen.

use std::collections::BTreeSet;

use og_common::gauss::cm_query::{CmInstance, CmView};

use super::assess::finding;
use super::{Finding, Severity};
use crate::cluster::Node;

/// Returns what CM says, of the answers of all nodes that of one which could ask a cm_server.
pub(super) fn view(nodes: &[Node]) -> Option<&CmView> {
    let views = || nodes.iter().filter_map(|n| n.seen.as_ref()?.cm.as_ref());
    views().find(|view| view.cluster_state.is_some()).or_else(|| views().next())
}

/// How to get CM's programs back on a node that nobody stopped.
const START_CM: &str = "start om_monitor there, which starts cm_agent, which starts cm_server";
/// How to see whether CM and its servers agree in the end.
const ASK_AGAIN: &str = "run og status again in a few seconds; then cm_ctl query -Cv";

/// Returns what is wrong with CM itself, and where it reports another state of a server than was seen.
pub(super) fn findings(view: &CmView, nodes: &[Node]) -> Vec<Finding> {
    let mut found = Vec::new();
    if view.paused {
        let text = "CM is paused: it starts no server and assigns no role; a server that dies now may be started once, as pending";
        found.push(warning("cm.paused", text).with_fix("cm_ctl resume, when what it was paused for is done"));
    }
    found.extend(servers(view, nodes));
    match view.cluster_state.as_deref() {
        None | Some("Normal") => {}
        Some("Unavailable") => {
            let text = "CM reports Unavailable, which it also does for two seconds after another cm_server became primary";
            found.push(warning("cm.state", text).with_fix(ASK_AGAIN));
        }
        Some(state) => found.push(warning("cm.state", format!("CM reports {state}"))),
    }
    for instance in &view.instances {
        let is_it = |n: &&Node| n.state().managed_by.instance_id == Some(instance.instance_id);
        let Some(n) = nodes.iter().find(is_it) else { continue };
        if let Some((seen, fix)) = difference(instance, n) {
            let text = format!("CM reports {}, and {seen}", instance.words());
            found.push(Finding { node: Some(n.name.clone()), ..warning("cm.differs", text).with_fix(fix) });
        }
    }
    found
}

/// How to get CM's programs back on a node.
fn start_cm(n: Option<&Node>) -> String {
    let stopped = n.map(|n| &n.state().managed_by).filter(|managed| managed.is_node_stopped());
    match stopped.and_then(|managed| managed.node_id) {
        _ if stopped.is_some_and(|managed| managed.cluster_stopped) => {
            "cm_ctl start, which ends the manual stop of the cluster".to_owned()
        }
        Some(id) => format!("cm_ctl start -n {id}, which ends the manual stop of the node"),
        None => START_CM.to_owned(),
    }
}

/// That CM's own servers are down, or have no primary among them.
fn servers(view: &CmView, nodes: &[Node]) -> Option<Finding> {
    if view.servers.is_empty() {
        return None;
    }
    let down: Vec<_> = view.servers.iter().filter(|s| s.state == "Down").collect();
    let with_id = |id: u32| nodes.iter().find(|n| n.state().managed_by.node_id == Some(id));
    let fixes: BTreeSet<String> = down.iter().map(|s| start_cm(with_id(s.node_id))).collect();
    let fix = fixes.into_iter().collect::<Vec<_>>().join("; ");
    let down = down.iter().map(|s| s.node.as_str()).collect::<Vec<_>>().join(", ");
    if !view.has_majority() {
        let text = format!(
            "no majority of the {} cm_servers is up (down: {down}): a primary that ends stays pending until there is one, and cm_ctl \
             can neither switch over nor report the state",
            view.servers.len()
        );
        return Some(Finding { severity: Severity::Error, ..warning("cm.majority", text).with_fix(fix) });
    }
    if !down.is_empty() {
        return Some(warning("cm.server", format!("cm_server is down on {down}")).with_fix(fix));
    }
    view.primary_server()
        .is_none()
        .then(|| warning("cm.server", "the cm_servers have no primary at the moment").with_fix(ASK_AGAIN))
}

fn warning(id: &str, message: impl Into<String>) -> Finding {
    finding(Severity::Warning, id, None, message)
}

/// What was seen of a node otherwise than CM reports it, and what to do.
fn difference(instance: &CmInstance, n: &Node) -> Option<(String, String)> {
    let seen = n.seen.as_ref().filter(|seen| seen.unreachable.is_none() && seen.state_error.is_none())?;
    let runs = || format!("its server runs as {}", seen.state.role);
    if !seen.state.running {
        let is_up = instance.role.is_some() && instance.state != "Starting";
        return is_up.then(|| ("its server does not run".to_owned(), ASK_AGAIN.to_owned()));
    }
    match instance.role {
        None if instance.is_stopped_by_hand() => {
            let dir = instance.data_dir.as_deref().unwrap_or("DATA_DIR");
            Some((
                runs(),
                format!("cm_ctl start -n {} -D {dir}, or cm_agent ends it again", instance.node_id),
            ))
        }
        None => Some((runs(), format!("see whether cm_agent runs there; {}", start_cm(Some(n))))),
        Some(role) if Some(role) != n.live_role() => Some((runs(), ASK_AGAIN.to_owned())),
        Some(_) => None,
    }
}

/// Returns what CM says in a line.
pub(super) fn line(view: &CmView) -> String {
    let servers: Vec<String> = view.servers.iter().map(|s| format!("{} {}", s.node, s.state)).collect();
    let servers = if servers.is_empty() { "none told".to_owned() } else { servers.join(", ") };
    let state = view.cluster_state.as_deref().unwrap_or("tells nothing of the cluster");
    let paused = if view.paused { ", paused" } else { "" };
    format!("CM: {state}{paused}; cm_server: {servers}")
}
