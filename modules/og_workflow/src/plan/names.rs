//! `pgxc_node_name`. The folder of a tablespace is named after the one with which the server was started, and a build
//! copies it under the primary's: a standby that runs under another name cannot see what is in tablespaces, loses what
//! is written there, and ends when it becomes primary. So all nodes of a cluster have one name. `application_name`, by
//! which standbys, their slots and `synchronous_standby_names` are told apart, stays each node's own.

use super::NODE_NAME;
use crate::cluster::{Cluster, Node};

/// The name under which the primary runs, which every node that is built gets before; none when it is not known.
pub(super) fn newcomer_name(primary: &Node) -> Option<&str> {
    primary.works_with(NODE_NAME).filter(|name| !name.is_empty())
}

/// Looks for nodes that run under another name than the primary, and for a primary that will run under another one.
pub(super) fn check_names(c: &mut Cluster, primary: &Node, fresh: &[&Node]) {
    let Some(name) = primary.running(NODE_NAME).filter(|name| !name.is_empty()) else { return };
    let has_tablespaces = primary.state().tablespaces.is_some();
    let in_file = primary.parameter(NODE_NAME);
    if has_tablespaces && in_file.is_some_and(|in_file| in_file != name) {
        c.findings.push(format!(
            "{}: runs under pgxc_node_name {name}, its file has {}: after a restart it would not find what is in its \
             tablespaces; put the name back (og_guc there with parameters: {{{NODE_NAME}: {name}}})",
            primary.name,
            in_file.unwrap_or_default()
        ));
    }
    let others: Vec<&Node> =
        c.members.iter().chain(&c.targets).copied().filter(|n| *n != primary && !fresh.contains(n)).collect();
    for n in others {
        let Some(own) = n.running(NODE_NAME).filter(|own| *own != name) else { continue };
        let other =
            format!("{}: runs under pgxc_node_name {own}, the primary {} under {name}", n.name, primary.name);
        let set = format!("og_guc on {} with parameters: {{{NODE_NAME}: {name}}}", n.name);
        if has_tablespaces {
            c.findings.push(format!(
                "{other}: it cannot read what is in tablespaces, and loses it when it becomes primary; give it the \
                 primary's name ({set}) and rebuild it in full (og_build with mode: full)"
            ));
        } else {
            c.warnings.push(format!(
                "{other}: it would lose what is written to a tablespace; before one is made give it the primary's name \
                 ({set}) and restart it"
            ));
        }
    }
}
