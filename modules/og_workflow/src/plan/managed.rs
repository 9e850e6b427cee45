//! Clusters that somebody else is in charge of: openGauss CM, DCF, DSS.

use std::path::Path;

use og_common::gauss::managed::{Act, Manager, Means};

use crate::cluster::{Cluster, Node, node_names};

/// The acts that workflows do through CM. Each step of theirs was tried there.
const THROUGH_CM: [Act; 3] = [Act::Switchover, Act::Restart, Act::Start];

/// Whether CM runs the node, paused or not.
#[must_use]
pub fn is_run_by_cm(n: &Node) -> bool {
    n.state().managed_by.by == Manager::Cm
}

/// Whether a restart of the node goes through CM.
#[must_use]
pub fn is_acted_on_by_cm(n: &Node) -> bool {
    matches!(n.state().managed_by.means(Act::Restart, Path::new("")), Ok(Means::Cm(_)))
}

/// Adds a finding for a failover where CM runs the nodes and is not known to have let go of each of them: where it has not, it
/// makes another server primary by itself as soon as its majority is back.
pub fn check_all_let_go(c: &mut Cluster) {
    if !c.members.iter().any(|n| is_run_by_cm(n)) {
        return;
    }
    let unseen = |n: &&Node| !n.is_reachable() || n.seen().state_error.is_some();
    let names = node_names(c.members.iter().copied().filter(unseen));
    if !names.is_empty() {
        c.findings.push(format!(
            "{}: openGauss CM runs the cluster, and whether it has let go of these nodes cannot be seen; it makes a standby \
             primary by itself where it has a majority of its servers: bring that back (om_monitor starts them)",
            names.join(", ")
        ));
    }
}

/// Adds a finding for each way in which nodes of the cluster are somebody else's to change; nodes of which the same is
/// said share one.
pub fn check(c: &mut Cluster, act: Act) {
    let mut said: Vec<(String, String, Vec<String>)> = Vec::new();
    let (mut by_cm, mut paused) = (Vec::new(), Vec::new());
    for n in c.involved_nodes() {
        let managed = &n.state().managed_by;
        // Only commands for one server name its data directory.
        let found = if THROUGH_CM.contains(&act) {
            match managed.means(act, Path::new("")) {
                Ok(Means::Cm(_)) => {
                    by_cm.push(n);
                    None
                }
                Ok(Means::Own) => {
                    if is_run_by_cm(n) {
                        paused.push(n);
                    }
                    None
                }
                Err(found) => Some(found),
            }
        } else {
            managed.objection(act, Path::new(""))
        };
        let Some(found) = found else { continue };
        match said.iter_mut().find(|(_, hint, _)| *hint == found.hint) {
            Some((.., nodes)) => nodes.extend(node_names([n].into_iter())),
            None => said.push((found.detail, found.hint, node_names([n].into_iter()))),
        }
    }
    if !by_cm.is_empty() && !paused.is_empty() {
        c.findings.push(format!(
            "{}: CM has let go of these nodes (it is paused, or they are in manual stop), and it runs {}: resume it \
             everywhere (cm_ctl resume, cm_ctl start -n NODE_ID), or pause it on every node (cm_ctl pause)",
            node_names(paused.into_iter()).join(", "),
            node_names(by_cm.into_iter()).join(", ")
        ));
    }
    for (detail, hint, nodes) in said {
        c.findings.push(format!("{}: {detail}; {hint}", nodes.join(", ")));
    }
}
