//! Clusters that somebody else is in charge of: openGauss CM, DCF, DSS.

use std::path::Path;

use og_common::gauss::managed::Act;

use crate::cluster::{Cluster, node_names};

/// Adds a finding for each way in which nodes of the cluster are somebody else's to change; nodes of which the same is
/// said share one.
pub fn check(c: &mut Cluster, act: Act) {
    let mut said: Vec<(String, String, Vec<String>)> = Vec::new();
    for n in c.involved_nodes() {
        let managed = &n.state().managed_by;
        // Only commands for one server name its data directory.
        let Some(found) = managed.objection(act, Path::new("")) else { continue };
        match said.iter_mut().find(|(_, hint, _)| *hint == found.hint) {
            Some((.., nodes)) => nodes.extend(node_names([n].into_iter())),
            None => said.push((found.detail, found.hint, node_names([n].into_iter()))),
        }
    }
    for (detail, hint, nodes) in said {
        c.findings.push(format!("{}: {detail}; {hint}", nodes.join(", ")));
    }
}
