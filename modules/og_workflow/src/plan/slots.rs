//! Slots that serve nobody: they hold back log until the disk is full.

use std::collections::BTreeMap;

use crate::cluster::{Node, canonical};

/// The names of such slots by node; `new` are nodes that the cluster did not know before.
///
/// openGauss makes a slot wherever a standby connects and never takes it away. So a cascade standby that changed its
/// upstream leaves one behind; a new node may bring old ones along. The slot of a node that does not stream at this
/// moment is left: it keeps what that node will want.
#[must_use]
pub fn idle_slots(nodes: &[Node], new: &[String]) -> Vec<(String, Vec<String>)> {
    let upstream: BTreeMap<&str, String> = nodes
        .iter()
        .filter(|n| n.is_streaming())
        .filter_map(|n| {
            let peer = n.state().receiver.as_ref()?.peer.as_ref()?;
            Some((n.app_name.as_str(), canonical(&peer.host)))
        })
        .collect();
    // Nobody sends to a primary; after a switchover the old one has the slot of the new one.
    let primary = super::current_primary(nodes).map(|n| n.app_name.as_str());
    let brought = |at: &Node, name: &str| new.contains(&at.name) && !nodes.iter().any(|n| n.app_name == name);
    let mut found = Vec::new();
    for n in nodes {
        let idle = n.state().slots.iter().flatten().filter(|s| !s.active && s.kind == "physical");
        let elsewhere = |name: &str| upstream.get(name).is_some_and(|host| *host != canonical(&n.address));
        let useless: Vec<_> = idle
            .map(|s| &s.name)
            .filter(|name| {
                let name = name.as_str();
                name == n.app_name || primary == Some(name) || elsewhere(name) || brought(n, name)
            })
            .cloned()
            .collect();
        if !useless.is_empty() {
            found.push((n.name.clone(), useless));
        }
    }
    found
}
