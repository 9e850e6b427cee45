//! The findings that the state of a cluster can have, by their ids: what each means, and what to do.

use std::borrow::Cow;

use og_common::protocol::Explanation;

/// A kind of finding of `og status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindingKind {
    /// Its id, such as `node.stopped`.
    pub id: &'static str,
    /// What it means and what to do; without a command where that depends on what is found.
    pub explanation: Explanation,
}

const fn kind(
    id: &'static str,
    meaning: &'static str,
    advice: &'static str,
    commands: &'static [&'static str],
) -> FindingKind {
    FindingKind { id, explanation: Explanation { meaning: Cow::Borrowed(meaning), advice, commands } }
}

/// Every kind, those of the cluster first.
pub const FINDING_KINDS: &[FindingKind] = &[
    kind(
        "cluster.unreachable",
        "No node could be reached: nothing is known of the cluster, which may serve all the same.",
        "Check the addresses, users and ports of the nodes (with Salt, their minions) in the file that describes the cluster, and that ssh lets this user in \
         without a password.",
        &["ssh -o BatchMode=yes omm@192.168.0.11 true", "og status"],
    ),
    kind(
        "cluster.two_primaries",
        "Two nodes run as primary: both may take writes, and their logs diverge.",
        "Stop the clients. Find out which one has the newer term and the writes that count, stop the other one, and repair it.",
        &["og repair -n n1"],
    ),
    kind(
        "cluster.no_primary",
        "No node takes writes, or none was seen that does.",
        "Start the last primary where no node holds more. Where it is lost, fail over.",
        &["og repair -n"],
    ),
    kind(
        "cluster.inventory",
        "The description of the cluster and what the servers report do not agree, or the nodes belong to two clusters.",
        "Correct the address, port, data directory or name that the message names.",
        &[],
    ),
    kind(
        "cluster.versions",
        "The nodes run different releases of openGauss.",
        "Bring all nodes to one release.",
        &[],
    ),
    kind(
        "commits.standby_missing",
        "synchronous_standby_names asks for more standbys than stream: commits wait for ever, or, with \
         most_available_sync, go on with no second copy.",
        "Repair the missing standby. To let commits go on meanwhile, take it off synchronous_standby_names with og_guc.",
        &["og repair"],
    ),
    kind(
        "commits.unknown",
        "The primary lists no receiver, although a standby receives from it: its pg_hba.conf does not let in its own \
         address, by which gs_ctl asks it.",
        "Add the rule that the finding shows.",
        &[],
    ),
    kind(
        "node.unreachable",
        "The host does not answer over ssh.",
        "Bring the host or its network back. To take the node out of the cluster, drop it.",
        &["og drop n2"],
    ),
    kind(
        "node.stopped",
        "The server of the node does not run.",
        "Have it started in its role.",
        &["og repair n2"],
    ),
    kind(
        "node.need_repair",
        "The server says Need repair: it cannot follow by itself, as its log and that of the primary differ or WAL that it \
         needs is removed.",
        "Ask for the cause, then repair it.",
        &["og repair -n n2"],
    ),
    kind(
        "node.disconnected",
        "The standby does not reach the server that it follows. It also says so for as long as there is no primary.",
        "Where a primary runs, repair the standby: a rule or channel may be missing.",
        &["og repair -n n2"],
    ),
    kind(
        "node.not_streaming",
        "The server is Normal and receives nothing from its upstream.",
        "Ask for the cause, then repair it.",
        &["og repair -n n2"],
    ),
    kind(
        "node.not_normal",
        "The server starts, catches up, promotes or waits for its role.",
        "Run og status again in a few seconds. Where it stays so, ask for the cause.",
        &["og repair -n n2"],
    ),
    kind(
        "node.lagging",
        "The standby is further behind the primary than `og_max_lag_bytes`.",
        "Look for a slow disk or network, or for a long query on the standby that holds replay back.",
        &["og status -v"],
    ),
    kind(
        "node.building",
        "A build of the node is under way; its server is started at the end of it.",
        "Wait.",
        &["og status --watch"],
    ),
    kind(
        "node.build_interrupted",
        "A build of the node died half done, and its server cannot start.",
        "Build it again.",
        &["og repair n2"],
    ),
    kind(
        "node.pending_restart",
        "A parameter was changed in postgresql.conf and counts only after a restart.",
        "Restart the node at a time of your choice.",
        &["og restart n2"],
    ),
    kind(
        "node.tablespaces",
        "The directories of tablespaces are named after another pgxc_node_name than the server's: it does not see what is \
         in them, or will not after its next start.",
        "Rebuild a standby in full; on a primary set pgxc_node_name back before its next start.",
        &["og repair n2"],
    ),
    kind(
        "node.unread",
        "Something on the node could not be read, such as a file without permission.",
        "Let the database user read what the message names. What was not read is missing in the verdict.",
        &[],
    ),
    kind(
        "node.not_inspected",
        "The run left the node out (`--limit` of Ansible).",
        "Run it without the limit.",
        &[],
    ),
    kind(
        "node.no_member",
        "The node is described and belongs to no cluster yet, or any more.",
        "Add it, clear it, or take it out of the description.",
        &["og expand n2"],
    ),
    kind(
        "slot.retains_wal",
        "An unused replication slot retains more than 1 GiB of WAL; it fills the disk in the end.",
        "Bring its standby back, or drop the slot with og_slot.",
        &[],
    ),
    kind(
        "cm.paused",
        "CM is paused: it starts no server and assigns no role.",
        "Resume it when what it was paused for is done.",
        &["cm_ctl resume"],
    ),
    kind(
        "cm.state",
        "CM calls the cluster something else than Normal.",
        "Ask CM again in a few seconds.",
        &["cm_ctl query -Cv"],
    ),
    kind(
        "cm.differs",
        "CM reports another state of a server than was seen on its node.",
        "Run og status again in a few seconds; then see whether cm_agent runs on the node.",
        &["cm_ctl query -Cv"],
    ),
    kind(
        "cm.majority",
        "Half of CM's servers or fewer are up, so CM can neither promote nor switch over.",
        "Start om_monitor on the nodes that are down, which starts the others. Where a node is in manual stop, or the whole cluster \
         is, start it with cm_ctl; the finding says which.",
        &[],
    ),
    kind(
        "cm.server",
        "One of CM's servers is down, or they have no primary at the moment.",
        "Start om_monitor on the node that is down; else run og status again in a few seconds.",
        &["cm_ctl query -Cv"],
    ),
];

/// Returns the kind of this id.
#[must_use]
pub fn find_kind(id: &str) -> Option<&'static FindingKind> {
    FINDING_KINDS.iter().find(|kind| kind.id == id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_no_check_of_og_preflight_has_one() {
        let ids: BTreeSet<&str> = FINDING_KINDS.iter().map(|kind| kind.id).collect();
        assert_eq!(ids.len(), FINDING_KINDS.len());
        let taken: Vec<_> = og_preflight::checks::all().filter(|check| ids.contains(check.id)).collect();
        assert!(taken.is_empty(), "{taken:?}");
    }

    #[test]
    fn texts_are_sentences() {
        for kind in FINDING_KINDS {
            let texts = [&*kind.explanation.meaning, kind.explanation.advice];
            assert!(texts.iter().all(|text| text.ends_with('.') && !text.contains("  ")), "{kind:?}");
        }
    }
}
