//! Whether a node is the one that the inventory says: its machine, its data directory, its port and its name.

use std::collections::BTreeSet;
use std::net::IpAddr;

use og_common::gauss::{NodeContent, Role};
use serde_json::{Map, Value};

use super::{Cluster, Node, canonical, node_names};
impl Cluster<'_> {
    /// What the inventory says of these nodes, held against what was seen there.
    pub(super) fn check_identity(&mut self, involved: &[&Node]) {
        for n in involved {
            self.findings.extend(find_misplacements(n, self.nodes));
        }
        self.findings.extend(same_directory(self.nodes, involved));
        for n in self.targets.clone() {
            // A server that was stopped before it ever followed may have any name in its file.
            if !self.is_adding() || n.live_role().is_some_and(Role::is_following) {
                self.check_name(n);
            }
            let recorded = self.primary.and_then(|primary| record_elsewhere(primary, n));
            self.findings.extend(recorded.map(|id| {
                format!(
                    "{}: its address and port are recorded in the static configuration file as those of node {id}; \
                     correct its id in the inventory",
                    n.name
                )
            }));
        }
    }

    /// Whether the server's name is the one that follows from the inventory.
    pub(crate) fn check_name(&mut self, n: &Node) {
        let live = n.parameter("application_name");
        if let Some(live) = live.filter(|live| !live.is_empty() && *live != n.app_name) {
            self.findings.push(format!(
                "{}: its application_name is {live}, by its id in the inventory it would be {}; \
                 correct the id, or set the host variable application_name",
                n.name, n.app_name
            ));
        }
    }
}

/// What shows that a node is not where the inventory says.
#[must_use]
pub fn find_misplacements(n: &Node, nodes: &[Node]) -> Vec<String> {
    let (name, seen, mut found) = (&n.name, n.seen(), Vec::new());
    if !n.is_reachable() {
        return found;
    }
    let own = &seen.identity.addresses;
    let has = if own.is_empty() { String::new() } else { format!(" (it has {})", own.join(", ")) };
    let address = canonical(&n.address);
    let elsewhere = match address.parse::<IpAddr>() {
        Ok(ip) if ip.is_loopback() => false,
        Ok(_) if !own.is_empty() => !own.iter().any(|own| canonical(own) == address),
        _ => false,
    };
    if elsewhere {
        found.push(format!(
            "{name}: ssh leads to another machine than its address {address}, which is none of that machine's{has}; \
             correct address, or by what ssh goes there"
        ));
    } else if let Some(why) = &seen.not_here {
        found.push(format!(
            "{name}: ssh leads to another machine than its address: {why}{has}; correct address, or by what ssh goes there"
        ));
    }
    let port = |what: &str, port: &str| {
        format!("{name}: {what} {port}, the inventory says base_port {}; correct the inventory", n.base_port)
    };
    let in_file = n.parameter("port").and_then(|text| text.trim().parse::<i64>().ok());
    match (seen.identity.listen_port, in_file) {
        (Some(live), _) if i64::from(live) != n.base_port => {
            found.push(port("its server listens on port", &live.to_string()));
        }
        (_, Some(file)) if file != n.base_port => {
            found.push(port("its postgresql.conf sets port", &file.to_string()));
        }
        _ => {}
    }
    if seen.identity.content == NodeContent::Other {
        found.push(format!(
            "{name}: {} is no data directory, so whether its server runs is not known; correct data_dir",
            seen.identity.data_dir
        ));
    } else if let Some(upstream) = received_from(n, nodes) {
        found.push(format!(
            "{name}: no server runs in its data_dir {}, yet {upstream} sends to a standby at {address}; correct data_dir",
            seen.identity.data_dir
        ));
    }
    found
}

/// The node that sends to the address of one in whose data directory no server runs. Where several nodes have that address
/// nothing follows from it.
pub(super) fn received_from<'a>(n: &Node, nodes: &'a [Node]) -> Option<&'a str> {
    let stopped = n.is_reachable() && n.seen().state_error.is_none() && !n.state().running;
    let address = canonical(&n.address);
    if !stopped || nodes.iter().filter(|other| canonical(&other.address) == address).count() > 1 {
        return None;
    }
    let sends = |other: &&Node| {
        let mut peers = other.state().senders.iter().filter_map(|sender| sender.peer.as_ref());
        peers.any(|peer| canonical(&peer.host) == address)
    };
    nodes.iter().find(sends).map(|other| other.name.as_str())
}

/// Nodes that are the same data directory of the same machine, one of `involved` among them.
#[must_use]
pub fn same_directory(nodes: &[Node], involved: &[&Node]) -> Vec<String> {
    let directory = |n: &Node| n.seen().identity.directory.clone();
    let mut found = Vec::new();
    let mut done: Vec<String> = Vec::new();
    for n in involved {
        let Some(own) = directory(n).filter(|own| !done.contains(own)) else { continue };
        let same = node_names(nodes.iter().filter(|other| directory(other).as_ref() == Some(&own)));
        if same.len() > 1 {
            found.push(format!(
                "{} are one node under several names: the data directory {} of one machine; take all names but one out \
                 of the inventory",
                same.join(" and "),
                n.seen().identity.data_dir
            ));
        }
        done.push(own);
    }
    found
}

/// The number under which the primary's static configuration file has another node at this one's address and port.
fn record_elsewhere(primary: &Node, n: &Node) -> Option<i64> {
    let same = primary.seen().recorded.iter().find(|record| is_record_of(record, n))?;
    same.get("id").and_then(Value::as_i64).filter(|id| n.id.is_some_and(|own| own != *id))
}

/// Whether two nodes are on one machine: at one address, or the machine of one has that of the other, or both machines have the
/// same addresses. An address that two machines have, as that of a bridge for containers, says nothing.
#[must_use]
pub fn on_one_machine(a: &Node, b: &Node) -> bool {
    let addresses = |n: &Node| -> BTreeSet<String> {
        let facts = n.seen().facts.iter().flat_map(|facts| &facts.identity.addresses);
        n.seen().identity.addresses.iter().chain(facts).map(|address| canonical(address)).collect()
    };
    let (own, other) = (addresses(a), addresses(b));
    let (at, other_at) = (canonical(&a.address), canonical(&b.address));
    at == other_at || own.contains(&other_at) || other.contains(&at) || !own.is_empty() && own == other
}

/// Whether a record of a static configuration file is of the node at this one's address and port.
#[must_use]
pub fn is_record_of(record: &Map<String, Value>, n: &Node) -> bool {
    let address = canonical(&n.address);
    let has = |value: &Value| match value {
        Value::String(text) => text.split(',').any(|one| canonical(one) == address),
        Value::Array(list) => list.iter().filter_map(Value::as_str).any(|one| canonical(one) == address),
        _ => false,
    };
    record.get("address").is_some_and(has)
        && record.get("base_port").and_then(Value::as_i64) == Some(n.base_port)
}
