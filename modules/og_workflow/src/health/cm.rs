//! What openGauss CM says of a cluster that it runs, beside what was seen.

use og_common::gauss::cm_query::{CmInstance, CmView};

use super::{Finding, Severity};
use crate::cluster::Node;

/// Returns what CM says, of the answers of all nodes that of one which could ask a cm_server.
pub(super) fn view(nodes: &[Node]) -> Option<&CmView> {
    let views = || nodes.iter().filter_map(|n| n.seen.as_ref()?.cm.as_ref());
    views().find(|view| view.cluster_state.is_some()).or_else(|| views().next())
}

/// Returns what is not as it should be, and where CM sees a server otherwise than we do.
pub(super) fn findings(view: &CmView, nodes: &[Node]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |severity, id: &str, node: Option<&str>, message: String, fix: &str| {
        let finding =
            Finding { id: id.to_owned(), severity, node: node.map(str::to_owned), message, fix: None };
        found.push(if fix.is_empty() { finding } else { finding.with_fix(fix) });
    };
    if view.paused {
        let words = "CM is paused: it starts no server that ends and gives no role; a server that dies now may come back once, as \
                     pending";
        add(
            Severity::Warning,
            "cm.paused",
            None,
            words.to_owned(),
            "cm_ctl resume, when what it was paused for is done",
        );
    }
    let down: Vec<&str> =
        view.servers.iter().filter(|s| s.state == "Down").map(|s| s.node.as_str()).collect();
    if !view.has_majority() {
        let words = format!(
            "CM has no majority: of its {} servers {} down; a primary that ends stays pending until they are back, and \
             cm_ctl can neither switch over nor tell the state",
            view.servers.len(),
            names_are(&down)
        );
        add(
            Severity::Error,
            "cm.majority",
            None,
            words,
            "start CM there: om_monitor, which starts cm_agent and cm_server",
        );
    } else if !down.is_empty() {
        let words = format!("CM's server on {} down", names_are(&down));
        add(
            Severity::Warning,
            "cm.server",
            None,
            words,
            "start CM there: om_monitor, which starts cm_agent and cm_server",
        );
    } else if view.primary_server().is_none() && !view.servers.is_empty() {
        let words = "CM's servers have no primary among them now".to_owned();
        add(Severity::Warning, "cm.server", None, words, "look again in some seconds; then cm_ctl query -Cv");
    }
    match view.cluster_state.as_deref() {
        None | Some("Normal") => {}
        Some("Unavailable") => {
            let words = "CM says Unavailable, which it also does for two seconds after another cm_server became primary";
            add(
                Severity::Warning,
                "cm.state",
                None,
                words.to_owned(),
                "look again; what each node lacks stands with the nodes",
            );
        }
        Some(state) => add(Severity::Warning, "cm.state", None, format!("CM says {state}"), ""),
    }
    for instance in &view.instances {
        let is_it = |n: &&Node| n.state().managed_by.instance_id == Some(instance.instance_id);
        let Some(n) = nodes.iter().find(is_it) else { continue };
        if let Some((seen, fix)) = difference(instance, n) {
            let words = format!("CM says {}, and {seen}", instance.words());
            add(Severity::Warning, "cm.differs", Some(&n.name), words, fix);
        }
    }
    found
}

/// What was seen of the node that CM says otherwise, in words, and what to do.
fn difference(instance: &CmInstance, n: &Node) -> Option<(String, &'static str)> {
    let seen = n.seen.as_ref().filter(|seen| seen.unreachable.is_none() && seen.state_error.is_none())?;
    if !seen.state.running {
        let other = instance.role.is_some() && instance.state != "Starting";
        return other.then(|| {
            ("its server does not run".to_owned(), "look again in some seconds; then cm_ctl query -Cv")
        });
    }
    match instance.role {
        None if instance.is_stopped_by_hand() => Some((
            "its server runs".to_owned(),
            "cm_agent ends such a server within a second: cm_ctl start -n NODE -D DIR is what lets it run",
        )),
        None => Some((
            format!("its server runs as {}", seen.state.role),
            "cm_agent there does not report: see whether it runs (om_monitor starts it)",
        )),
        Some(role) if Some(role) != n.live_role() => Some((
            format!("its server runs as {}", seen.state.role),
            "look again in some seconds; then cm_ctl query -Cv",
        )),
        Some(_) => None,
    }
}

/// `n1 is`, `n1 and n2 are`.
fn names_are(names: &[&str]) -> String {
    match names {
        [] => "none are".to_owned(),
        [one] => format!("{one} is"),
        [first @ .., last] => format!("{} and {last} are", first.join(", ")),
    }
}

/// Returns what CM says in a line.
pub(super) fn line(view: &CmView) -> String {
    let servers: Vec<String> = view.servers.iter().map(|s| format!("{} {}", s.node, s.state)).collect();
    let servers = if servers.is_empty() { "none told".to_owned() } else { servers.join(", ") };
    let state = view.cluster_state.as_deref().unwrap_or("tells nothing of the cluster");
    let paused = if view.paused { ", paused" } else { "" };
    format!("CM: {state}{paused}; its servers: {servers}")
}
