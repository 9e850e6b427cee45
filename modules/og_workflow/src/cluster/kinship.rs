//! Which nodes belong to the cluster of the primary, and which to another one.

use std::collections::BTreeSet;
use std::net::IpAddr;

use og_common::gauss::Role;

use super::{Cluster, Node, TargetKind, canonical};

impl<'a> Cluster<'a> {
    /// The primary and the nodes of its cluster, without targets that come or go. What belongs to no cluster that is known here, and what
    /// belongs to another one, is found.
    pub(super) fn find_members(&mut self) -> Vec<&'a Node> {
        let Some(primary) = self.primary else { return Vec::new() };
        let kin = related_nodes(primary, self.nodes);
        self.findings.extend(find_strangers(primary, &kin, self.nodes));
        for n in self.nodes.iter().filter(|n| !kin.contains(n)) {
            let target = self.targets.contains(&n);
            if target && self.kind == TargetKind::Repaired {
                // What becomes of it is decided by what is wrong with it.
            } else if let Some(why) = foreign_cluster_reason(n, primary, &kin) {
                let way_out = if target && self.is_adding() {
                    "drop it there first, with og_drop_clear=true"
                } else {
                    "take that cluster's nodes out of the group opengauss, which is one cluster"
                };
                self.findings.push(format!("{}: belongs to another cluster: {why}; {way_out}", n.name));
            } else if !target {
                self.check_unknown(n, primary);
            }
        }
        let stays = self.kind.stays();
        kin.into_iter().filter(|n| stays || !self.targets.contains(n)).collect()
    }

    /// A node of which nothing is known, and which the primary does not know: it may be of another cluster.
    fn check_unknown(&mut self, n: &Node, primary: &Node) {
        let Some(seen) = &n.seen else { return };
        let (name, primary) = (&n.name, &primary.name);
        let not_known = format!("and {primary} does not know it: which cluster it belongs to cannot be told");
        match (&seen.unreachable, &seen.state_error) {
            (Some(why), _) if self.is_adding() && n.role == Role::Primary => self.findings.push(format!(
                "{name}: is the primary by its role in the inventory, cannot be reached ({why}), {not_known}; correct its \
                 role, or take it out of the group opengauss"
            )),
            (Some(why), _) => {
                self.warnings.push(format!("{name}: cannot be reached ({why}), {not_known}"));
            }
            (None, Some(why)) => {
                let text = format!(
                    "{name}: cannot be read, {not_known}: {why}; correct its data_dir or the user who logs in there, or \
                     take it out of the group opengauss"
                );
                if self.is_adding() { &mut self.findings } else { &mut self.warnings }.push(text);
            }
            (None, None) => {}
        }
    }
}

/// The primary, the nodes that it has a channel to, and those that receive from one of these.
#[must_use]
pub fn related_nodes<'a>(primary: &'a Node, nodes: &'a [Node]) -> Vec<&'a Node> {
    let keys: BTreeSet<_> = primary.peers().collect();
    let mut kin = vec![primary];
    loop {
        let belongs = |n: &Node| {
            if is_following(n) && same_system(n, primary) == Some(false) {
                return false;
            }
            let received = || match (same_system(n, primary), n.upstream()) {
                (Some(same), _) => same,
                (None, Some(host)) => kin.iter().any(|m| has_address(m, &host)),
                (None, None) => leads_to(n, &kin),
            };
            keys.contains(&n.key()) || n.is_streaming() && received()
        };
        let more: Vec<_> = nodes.iter().filter(|n| !kin.contains(n) && belongs(n)).collect();
        if more.is_empty() {
            break;
        }
        kin.extend(more);
    }
    nodes.iter().filter(|n| kin.contains(n)).collect()
}

/// Why a node that is none of `kin`, the cluster of `primary`, belongs to another cluster; none when nothing says so.
#[must_use]
pub fn foreign_cluster_reason(n: &Node, primary: &Node, kin: &[&Node]) -> Option<String> {
    let same = same_system(n, primary);
    let systems = || match (n.system_id(), primary.system_id()) {
        (Some(own), Some(other)) => {
            format!("its database system is {own}, that of {} is {other}", primary.name)
        }
        _ => String::new(),
    };
    if same == Some(false)
        && (is_following(n) || n.role == Role::Primary && n.live_role() != Some(Role::Primary))
    {
        return Some(systems());
    }
    if same == Some(true) || !n.state().role.is_following() {
        return None;
    }
    if let Some(host) = n.upstream().filter(|_| n.is_streaming()) {
        return Some(format!("it receives from {host}, which is none of the cluster of {}", primary.name));
    }
    let peers: Vec<_> = n.peers().map(|(host, port)| format!("{host}:{port}")).collect();
    (!peers.is_empty() && !leads_to(n, kin)).then(|| {
        format!(
            "its replication channels lead to {}, and none to the cluster of {}",
            peers.join(", "),
            primary.name
        )
    })
}

/// Members of the cluster that are no hosts of the inventory: the primary has a channel to them, or a member sends to them.
#[must_use]
pub fn find_strangers(primary: &Node, kin: &[&Node], nodes: &[Node]) -> Vec<String> {
    const ADD: &str = "which is no host of the inventory's group opengauss; add it there";
    let mut keys: Vec<_> = primary.peers().filter(|key| !nodes.iter().any(|n| n.key() == *key)).collect();
    keys.sort();
    keys.dedup();
    let mut found: Vec<_> = keys
        .iter()
        .map(|(host, port)| format!("{} has a replication channel to {host}:{port}, {ADD}", primary.name))
        .collect();
    // A name says nothing of the address by which its node comes, unless it was looked at.
    let by_name = |n: &Node| canonical(&n.address).parse::<IpAddr>().is_err();
    if nodes.iter().any(|n| by_name(n) && n.seen().identity.addresses.is_empty()) {
        return found;
    }
    let mut told: BTreeSet<String> = keys.into_iter().map(|(host, _)| host).collect();
    for n in kin {
        for sender in n.state().senders.iter().filter(|sender| sender.peer_role.is_following()) {
            let Some(host) = sender.peer.as_ref().map(|peer| canonical(&peer.host)) else { continue };
            let strange = host.parse::<IpAddr>().is_ok_and(|ip| !ip.is_loopback())
                && !nodes.iter().any(|n| has_address(n, &host));
            if strange && told.insert(host.clone()) {
                found.push(format!("{} sends to a standby at {host}, {ADD}", n.name));
            }
        }
    }
    found
}

/// Whether its server runs as a follower of another one.
fn is_following(n: &Node) -> bool {
    n.live_role().is_some_and(Role::is_following)
}

/// Whether two nodes hold the same database system; none when that is not known.
fn same_system(a: &Node, b: &Node) -> Option<bool> {
    Some(a.system_id()? == b.system_id()?)
}

/// Whether one of its channels leads to one of these nodes.
fn leads_to(n: &Node, kin: &[&Node]) -> bool {
    n.peers().any(|key| kin.iter().any(|m| m.key() == key))
}

/// Whether this is an address of the node.
fn has_address(n: &Node, host: &str) -> bool {
    canonical(&n.address) == host || n.seen().identity.addresses.iter().any(|own| canonical(own) == host)
}
