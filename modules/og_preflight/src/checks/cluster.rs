//! Checks of a node against its peers.

use std::net::IpAddr;

use og_common::gauss::version::{Version, ZoneCheck};
use og_common::gauss::{NodeContent, Role};
use og_common::protocol::Bytes;

use super::{Check, Context, FixableBy, Judge, Severity};
use crate::args::Purpose::Expand;
use crate::facts::{Clock, Facts};

/// How much clocks may differ.
const CLOCK_WARNING_MS: i64 = 1_000;
const CLOCK_ERROR_MS: i64 = 60_000;
/// Limits of which a standby may have no less than its primary.
const LIMITS: [&str; 3] = ["max_connections", "max_prepared_transactions", "max_locks_per_transaction"];

/// The checks.
pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "cluster.one_primary",
        severity: Severity::Error,
        what: "primaries among the nodes",
        threshold: "no other primary of the same database system",
        why: "Two primaries take writes that can never be brought together.",
        fix: "find out which of them has the clients, stop the other one, and rebuild it (og_build)",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: one_primary,
    },
    Check {
        id: "cluster.system",
        severity: Severity::Error,
        what: "the identifier of the database system",
        threshold: "the primary's",
        why: "A node of another database system cannot follow; what it has is lost when it is rebuilt.",
        fix: "correct the list of nodes, or rebuild the node in full (og_build)",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: same_system,
    },
    Check {
        id: "cluster.directory",
        severity: Severity::Error,
        what: "the data directory of the node",
        threshold: "not that of another node",
        why: "What is done to one node would be done to both.",
        fix: "correct data_dir or the address of one of the nodes",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: own_directory,
    },
    Check {
        id: "names.unique",
        severity: Severity::Error,
        what: "the name under which the node replicates (application_name, pgxc_node_name)",
        threshold: "no other node has it, and it is the wanted one",
        why: "Two standbys of one name share a slot, and count once for synchronous_standby_names.",
        fix: "set application_name to the node's own name (og_guc)",
        fixable_by: FixableBy::Configure,
        purposes: &[],
        run: unique_name,
    },
    Check {
        id: "names.node_name",
        severity: Severity::Error,
        what: "pgxc_node_name where there are tablespaces",
        threshold: "the primary's",
        why: "A build keeps the primary's name in the directories of tablespaces: a server of another name sees nothing in them.",
        fix: "set pgxc_node_name to the primary's (og_guc), then rebuild the node in full (og_build)",
        fixable_by: FixableBy::Configure,
        purposes: &[],
        run: node_name,
    },
    Check {
        id: "names.hosts",
        severity: Severity::Warning,
        what: "host names",
        threshold: "they lead to the same addresses on all nodes",
        why: "A node that knows a peer under another address builds from it, or waits for it, in vain.",
        fix: "make /etc/hosts or the name service alike on all nodes",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: same_hosts,
    },
    Check {
        id: "same.release",
        severity: Severity::Error,
        what: "release and commit of openGauss",
        threshold: "the primary's",
        why: "WAL of another release cannot be replayed; of the same release and another commit it may not.",
        fix: "install the same package of openGauss on all nodes",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: same_release,
    },
    Check {
        id: "same.catalog",
        severity: Severity::Error,
        what: "the number of the catalogue",
        threshold: "the primary's",
        why: "A server does not start on data of another catalogue.",
        fix: "install the same package of openGauss on all nodes, and rebuild the node in full (og_build)",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: same_catalog,
    },
    Check {
        id: "same.architecture",
        severity: Severity::Error,
        what: "architecture of the machine",
        threshold: "the primary's",
        why: "Data files of another architecture cannot be read.",
        fix: "use machines of one architecture",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: same_architecture,
    },
    Check {
        id: "same.page_size",
        severity: Severity::Error,
        what: "pages of the database and of memory",
        threshold: "the primary's",
        why: "Data files with other pages cannot be read.",
        fix: "use servers and kernels that were built alike",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: same_page_size,
    },
    Check {
        id: "same.encoding",
        severity: Severity::Error,
        what: "encoding of the database",
        threshold: "the primary's",
        why: "Text of another encoding cannot be read.",
        fix: "rebuild the node in full (og_build)",
        fixable_by: FixableBy::Repair,
        purposes: &[],
        run: same_encoding,
    },
    Check {
        id: "same.locale",
        severity: Severity::Warning,
        what: "locale of the database",
        threshold: "the primary's",
        why: "Indexes of text are sorted by it: with another one they find nothing.",
        fix: "install the same locales on all nodes, and rebuild the node in full (og_build)",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: same_locale,
    },
    Check {
        id: "same.time_zone",
        severity: Severity::Warning,
        what: "time zone",
        threshold: "the primary's",
        why: "After a change of roles now() and the log show another time.",
        fix: "timedatectl set-timezone, and TimeZone of postgresql.conf (og_guc)",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: same_time_zone,
    },
    Check {
        id: "same.kernel",
        severity: Severity::Info,
        what: "kernel release",
        threshold: "the primary's",
        why: "What works on one node may not on the other.",
        fix: "update the machines to the same release",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: same_kernel,
    },
    Check {
        id: "same.user",
        severity: Severity::Error,
        what: "name and group of the database's user",
        threshold: "the primary's",
        why: "The initial user of the database has its name, and replication connects under it.",
        fix: "run the node as a user of the same name",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: same_user,
    },
    Check {
        id: "same.uid",
        severity: Severity::Warning,
        what: "number of the database's user",
        threshold: "the primary's",
        why: "Files on shared or restored disks belong to the number, not to the name.",
        fix: "give the user the same number on all nodes",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: same_uid,
    },
    Check {
        id: "memory.peers",
        severity: Severity::Error,
        what: "memory against the primary's",
        threshold: "more than the primary's max_process_memory and shared_buffers; as much memory as the primary",
        why: "A standby gets the primary's max_process_memory and shared_buffers with its postgresql.conf, and is then Manually stopped.",
        fix: "give the machine as much memory as the primary's, or set the primary's parameters lower",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: memory_of_primary,
    },
    Check {
        id: "settings.limits",
        severity: Severity::Error,
        what: "max_connections, max_prepared_transactions, max_locks_per_transaction",
        threshold: "no less than the primary's",
        why: "A standby with less does not start, or stops when it replays the primary's change.",
        fix: "set them to the primary's values (og_guc) before the server is started",
        fixable_by: FixableBy::Configure,
        purposes: &[],
        run: limits_of_primary,
    },
    Check {
        id: "clock.difference",
        severity: Severity::Error,
        what: "difference of the clocks",
        threshold: "at most 1 s (warning), at most 60 s (error)",
        why: "Timeouts of replication are told by clocks: a primary was demoted by a wrong one.",
        fix: "let chronyd keep the clocks of all nodes by the same source",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: clocks,
    },
    Check {
        id: "channels.from_peers",
        severity: Severity::Error,
        what: "connections from the other nodes",
        threshold: "this node's replication port takes connections from all of them",
        why: "Nodes follow this one when it becomes primary.",
        fix: "open the port for the peers (firewalld, security groups), or start the server",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: reached_by_peers,
    },
    Check {
        id: "channels.both_ways",
        severity: Severity::Error,
        what: "channels of the other nodes",
        threshold: "a peer to which this node has a channel has one to it",
        why: "A server sends to a standby only when one of its own channels names it.",
        fix: "add the channel on the other node (og_replconninfo)",
        fixable_by: FixableBy::Configure,
        purposes: &[],
        run: both_ways,
    },
    Check {
        id: "network.mtu",
        severity: Severity::Warning,
        what: "MTU of the network",
        threshold: "the primary's",
        why: "Large packets vanish between machines that differ, and a build stalls.",
        fix: "set the same MTU on the interfaces of all nodes",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: same_mtu,
    },
    Check {
        id: "zones.cascade",
        severity: Severity::Error,
        what: "available_zone of a cascade standby",
        threshold: "that of a standby which it can follow, where the release checks it",
        why: "A standby turns away a cascade standby of another zone.",
        fix: "set available_zone to the upstream's (og_guc)",
        fixable_by: FixableBy::Configure,
        purposes: &[],
        run: cascade_zone,
    },
    Check {
        id: "cluster.files_alike",
        severity: Severity::Warning,
        what: "cluster_static_config of the nodes",
        threshold: "the same servers as the primary's",
        why: "gs_om on the node that was forgotten works on the old cluster.",
        fix: "bring them up to date on all nodes (og_static_conf)",
        fixable_by: FixableBy::Configure,
        purposes: &[],
        run: same_files,
    },
];

/// Compares a value that must be equal with the reference node's.
fn compare<T: PartialEq + ToString>(
    c: &Context<'_>,
    j: &mut Judge,
    what: &str,
    weight: Severity,
    value: impl Fn(&Facts) -> Option<T>,
) {
    let Some(other) = c.reference() else { return j.skip() };
    match (value(c.facts), value(other)) {
        (Some(own), Some(theirs)) if own == theirs => {}
        (Some(own), Some(theirs)) => {
            let message =
                format!("{what} is {}, and {} on {}", own.to_string(), theirs.to_string(), other.label());
            j.find(weight, "", message, own).wanted = theirs.to_string();
        }
        (None, _) => j.unknown(format!("{what} is not known here")),
        (_, None) => j.unknown(format!("{what} of {} is not known", other.label())),
    }
}

/// As [`compare`], where a node without a database has no value yet.
fn compare_data<T: PartialEq + ToString>(
    c: &Context<'_>,
    j: &mut Judge,
    what: &str,
    value: impl Fn(&Facts) -> Option<T>,
) {
    let empty = |facts: &Facts| facts.identity.content != NodeContent::Database;
    // What is built takes the primary's.
    if empty(c.facts) || c.reference().is_some_and(empty) {
        return j.skip();
    }
    compare(c, j, what, Severity::Error, value);
}

fn one_primary(c: &Context<'_>, j: &mut Judge) {
    if c.peers.is_empty() {
        return j.skip();
    }
    if c.facts.server.role != Role::Primary || !c.facts.server.running {
        return;
    }
    let same = |peer: &Facts| match (&peer.identity.system_id, &c.facts.identity.system_id) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    };
    for peer in
        c.peers.iter().filter(|peer| peer.server.running && peer.server.role == Role::Primary && same(peer))
    {
        j.error("", format!("this node is primary, and {} is, too", peer.label()), "two primaries");
    }
}

fn same_system(c: &Context<'_>, j: &mut Judge) {
    // A node that is rebuilt in full becomes one of this system.
    if c.copies_here() && !c.facts.server.running {
        return j.skip();
    }
    compare_data(c, j, "the system identifier", |facts| facts.identity.system_id.clone());
}

fn own_directory(c: &Context<'_>, j: &mut Judge) {
    if c.peers.is_empty() {
        return j.skip();
    }
    let Some(own) = &c.facts.identity.directory else {
        return j.unknown("the data directory cannot be identified");
    };
    for peer in c.peers.iter().filter(|peer| peer.identity.directory.as_ref() == Some(own)) {
        let path = &c.facts.identity.data_dir;
        j.error("", format!("it has the same data directory as {}", peer.label()), path);
    }
}

fn unique_name(c: &Context<'_>, j: &mut Judge) {
    let Some(name) = c.facts.name.as_ref().filter(|name| !name.is_empty()) else {
        let needed = c.facts.identity.content == NodeContent::Database && !c.facts.channels.is_empty();
        if needed {
            j.error("", "the node has neither application_name nor pgxc_node_name", "none");
        } else {
            j.skip();
        }
        return;
    };
    if let Some(wanted) = c.wanted.name.as_ref().filter(|wanted| *wanted != name) {
        // What is added gets its name by the change.
        if c.purpose != Expand || c.facts.server.running {
            j.error("", format!("it is named {name}, and {wanted} is wanted"), name)
                .wanted
                .clone_from(wanted);
        }
    }
    for peer in c.members().filter(|peer| peer.name.as_ref().is_some_and(|n| n.eq_ignore_ascii_case(name))) {
        // Names before the change do not count for a node that is added.
        if c.purpose == Expand && c.wanted.target && !c.facts.server.running {
            continue;
        }
        let host = peer.system.host_name.as_deref().unwrap_or(&peer.identity.data_dir);
        j.error("", format!("the node on {host} is named {name}, too"), name);
    }
}

fn node_name(c: &Context<'_>, j: &mut Judge) {
    let Some(primary) = c.other_primary() else { return j.skip() };
    match primary.activity.as_ref().and_then(|activity| activity.tablespaces) {
        Some(0) => return j.skip(),
        Some(_) => {}
        None => return j.unknown(format!("{} does not tell whether it has tablespaces", primary.label())),
    }
    if c.facts.identity.content != NodeContent::Database {
        return j.skip();
    }
    compare(c, j, "pgxc_node_name", Severity::Error, |facts| {
        facts.settings.next("pgxc_node_name").map(str::to_owned)
    });
}

fn same_hosts(c: &Context<'_>, j: &mut Judge) {
    let Some(other) = c.reference().filter(|_| !c.facts.hosts.names.is_empty()) else { return j.skip() };
    let is_loopback = |text: &String| text.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    for (name, addresses) in &c.facts.hosts.names {
        let Some(theirs) = other.hosts.names.get(name) else { continue };
        // A machine's own name often leads to its loopback.
        let own =
            c.facts.system.host_name.as_ref() == Some(name) || other.system.host_name.as_ref() == Some(name);
        if addresses == theirs
            || (own && (addresses.iter().all(is_loopback) || theirs.iter().all(is_loopback)))
        {
            continue;
        }
        let list = |all: &[String]| if all.is_empty() { "nowhere".to_owned() } else { all.join(", ") };
        let message =
            format!("{name} leads to {}, and to {} on {}", list(addresses), list(theirs), other.label());
        j.warning(name, message, list(addresses));
    }
}

fn same_release(c: &Context<'_>, j: &mut Judge) {
    let release = |facts: &Facts| {
        let version = facts.programs.version.as_ref()?;
        let commit = facts.programs.commit.as_ref().map(|commit| format!(" build {commit}"));
        Some(format!("{version}{}", commit.unwrap_or_default()))
    };
    compare(c, j, "the release of openGauss", Severity::Error, release);
}

fn same_catalog(c: &Context<'_>, j: &mut Judge) {
    compare_data(c, j, "the number of the catalogue", |facts| facts.programs.catalog);
}

fn same_architecture(c: &Context<'_>, j: &mut Judge) {
    compare(c, j, "the architecture", Severity::Error, |facts| facts.system.architecture.clone());
}

fn same_page_size(c: &Context<'_>, j: &mut Judge) {
    compare(c, j, "the size of a page of memory", Severity::Error, |facts| facts.system.page_size);
    compare_running(c, j, "block_size", Severity::Error);
}

/// Compares a parameter of servers that run.
fn compare_running(c: &Context<'_>, j: &mut Judge, name: &str, weight: Severity) {
    let runs = |facts: &Facts| !facts.settings.running.is_empty();
    if runs(c.facts) && c.reference().is_some_and(runs) {
        compare(c, j, name, weight, |facts| facts.settings.running.get(name).cloned());
    } else if c.facts.server.running && c.reference().is_some_and(|other| other.server.running) {
        j.unknown("one of the servers does not tell its parameters");
    } else {
        j.skip();
    }
}

fn same_encoding(c: &Context<'_>, j: &mut Judge) {
    compare_running(c, j, "server_encoding", Severity::Error);
}

fn same_locale(c: &Context<'_>, j: &mut Judge) {
    compare_running(c, j, "lc_collate", Severity::Warning);
    compare_running(c, j, "lc_ctype", Severity::Warning);
}

/// The names of one time zone, with and without `Etc/`: gs_initdb calls `UCT` what the system has as `Etc/UTC`.
const UTC: [&str; 4] = ["UTC", "UCT", "Universal", "Zulu"];

fn same_time_zone(c: &Context<'_>, j: &mut Judge) {
    let zone = |facts: &Facts| {
        let own = facts.settings.get("TimeZone").or(facts.system.time_zone.as_deref());
        own.map(|name| if UTC.contains(&name.trim_start_matches("Etc/")) { "UTC" } else { name }.to_owned())
    };
    if zone(c.facts).is_none() || c.reference().is_some_and(|other| zone(other).is_none()) {
        return j.skip();
    }
    compare(c, j, "the time zone", Severity::Warning, zone);
}

fn same_kernel(c: &Context<'_>, j: &mut Judge) {
    compare(c, j, "the kernel", Severity::Info, |facts| facts.system.kernel.clone());
}

fn same_user(c: &Context<'_>, j: &mut Judge) {
    compare(c, j, "the database's user", Severity::Error, |facts| facts.user.name.clone());
    compare(c, j, "its group", Severity::Error, |facts| facts.user.group.clone());
}

fn same_uid(c: &Context<'_>, j: &mut Judge) {
    compare(c, j, "the number of the database's user", Severity::Warning, |facts| facts.user.uid);
}

fn memory_of_primary(c: &Context<'_>, j: &mut Judge) {
    let Some(primary) = c.other_primary() else { return j.skip() };
    let (Some(own), Some(theirs)) = (c.facts.memory.total, primary.memory.total) else {
        return j.unknown("the memory of one of the nodes is not known");
    };
    let needed = [("max_process_memory", 1 << 10), ("shared_buffers", 8 << 10)];
    for (name, unit) in needed {
        let Some(bytes) = primary.settings.next_bytes(name, unit) else { continue };
        if bytes > own {
            let message = format!(
                "the memory is {}, and {name} of {} is {}",
                Bytes::new(own),
                primary.label(),
                Bytes::new(bytes)
            );
            // max_process_memory is a bound: a server that runs has shown that it starts.
            if c.starts_here() && !c.facts.server.running {
                j.error("", message, Bytes::new(own));
            } else {
                j.warning("", message, Bytes::new(own));
            }
        }
    }
    // A difference of a few percent is the kernel's own.
    if own < theirs - theirs / 10 {
        j.warning(
            "",
            format!("the memory is {}, and {} on {}", Bytes::new(own), Bytes::new(theirs), primary.label()),
            Bytes::new(own),
        );
    }
}

fn limits_of_primary(c: &Context<'_>, j: &mut Judge) {
    let Some(primary) = c.other_primary() else { return j.skip() };
    if !c.facts.conf.exists {
        return j.skip();
    }
    for name in LIMITS {
        let number = |text: Option<&str>| text.and_then(|text| text.trim().parse::<u64>().ok());
        let (own, theirs) = (number(c.facts.settings.next(name)), number(primary.settings.get(name)));
        match (own, theirs) {
            (Some(own), Some(theirs)) if own < theirs => {
                let message = format!("{name} is {own}, and {theirs} on {}", primary.label());
                j.error(name, message, own).wanted = format!("at least {theirs}");
            }
            (Some(_), Some(_)) => {}
            _ => j.unknown(format!("{name} is not known here, or not on {}", primary.label())),
        }
    }
}

/// How much the clock of a node is ahead of another's, in milliseconds: not less and not more than this. Below 0 it is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockDifference {
    /// Not less.
    pub least: i64,
    /// Not more; none when the time that the calls took is not known.
    pub most: Option<i64>,
}

impl ClockDifference {
    /// Returns the difference that there is at least, whichever clock is ahead.
    #[must_use]
    pub fn at_least(self) -> i64 {
        match self.most {
            Some(most) if self.least <= 0 && most >= 0 => 0,
            Some(most) => self.least.saturating_abs().min(most.saturating_abs()),
            None => self.least.max(0),
        }
    }

    /// Returns the difference that there is at most; none when that is not known.
    #[must_use]
    pub fn at_most(self) -> Option<i64> {
        self.most.map(|most| self.least.saturating_abs().max(most.saturating_abs()))
    }
}

/// Returns how much the clock of a node is ahead of another's, from what the same caller saw of both: each answer was read
/// between its sending and its coming back. The accuracy is the time that both calls were on their way together.
#[must_use]
pub fn clock_difference(one: &Clock, other: &Clock) -> Option<ClockDifference> {
    let bounds = |clock: &Clock| -> Option<(i64, i64)> {
        let number = |ms: Option<u64>| i64::try_from(ms?).ok();
        let (read, sent, received) =
            (number(clock.read_at)?, number(clock.sent_at)?, number(clock.received_at)?);
        // The answer of another version tells only when it was begun.
        let answered = number(clock.answered_at).unwrap_or(read);
        Some((answered - received, read - sent))
    };
    let ((least, most), (other_least, other_most)) = (bounds(one)?, bounds(other)?);
    Some(ClockDifference {
        least: least.saturating_sub(other_most),
        most: Some(most.saturating_sub(other_least)),
    })
}

fn clocks(c: &Context<'_>, j: &mut Judge) {
    let Some(other) = c.reference() else { return j.skip() };
    let difference = clock_difference(&c.facts.clock, &other.clock).or_else(|| read_before(c, other));
    let Some(difference) = difference else {
        return j.unknown(
            "the facts do not say when the calls were sent and when their answers came (sent_at, received_at)",
        );
    };
    let (least, most) = (difference.at_least(), difference.at_most());
    let bounds = most.map_or_else(|| format!("at least {least} ms"), |most| format!("{least} to {most} ms"));
    let message = format!("the clock differs from that of {} by {bounds}", other.label());
    if least > CLOCK_ERROR_MS {
        j.error("", message, format!("{least} ms"));
    } else if least > CLOCK_WARNING_MS {
        j.warning("", message, format!("{least} ms"));
    } else if most.is_none_or(|most| most > CLOCK_WARNING_MS) {
        let known = most.map_or_else(|| "is not bounded".to_owned(), |most| format!("is up to {most} ms"));
        j.unknown(format!("the calls took too long to tell: the difference from {} {known}", other.label()));
    }
}

/// A peer's facts that came as an argument were read before this node's: a clock that was later then is ahead. Of nodes that
/// are read side by side neither order is known.
fn read_before(c: &Context<'_>, other: &Facts) -> Option<ClockDifference> {
    let (own, theirs) = (c.facts.clock.read_at?, other.clock.read_at?);
    let behind = i64::try_from(theirs).ok()?.checked_sub(i64::try_from(own).ok()?)?;
    // Only a peer's answer that is complete has no `received_at` by mistake.
    (c.peers_read_before && c.facts.clock.received_at.is_none() && behind > 0)
        .then_some(ClockDifference { least: behind, most: None })
}

/// Whether a host of a channel is one of this node's addresses.
pub(super) fn leads_to(host: &str, facts: &Facts) -> bool {
    let own = facts.identity.addresses.iter().chain(facts.channels.iter().map(|channel| &channel.local_host));
    let address = host.parse::<IpAddr>().ok();
    own.into_iter().any(|own| own == host || (address.is_some() && own.parse::<IpAddr>().ok() == address))
        || facts.system.host_name.as_deref() == Some(host)
}

fn reached_by_peers(c: &Context<'_>, j: &mut Judge) {
    if c.peers.is_empty() || !c.facts.server.running {
        return j.skip();
    }
    let ports: Vec<u16> = c.facts.ports.iter().map(|port| port.number).collect();
    for peer in c.peers {
        for reached in &peer.reached {
            let here = leads_to(&reached.host, c.facts) && ports.contains(&reached.port);
            if let Some(problem) = reached.problem.as_ref().filter(|_| here) {
                let message =
                    format!("{} does not reach port {} here: {problem}", peer.label(), reached.port);
                j.error(&format!("port {}", reached.port), message, problem);
            }
        }
    }
}

fn both_ways(c: &Context<'_>, j: &mut Judge) {
    if c.peers.is_empty() || c.facts.channels.is_empty() {
        return j.skip();
    }
    for channel in &c.facts.channels {
        let to = |peer: &&&Facts| leads_to(&channel.remote_host, peer) && has_port(peer, channel.remote_port);
        let Some(peer) = c.peers.iter().find(to) else { continue };
        // What is added gets its channels by the change.
        if peer.channels.is_empty() && (c.purpose == Expand || peer.identity.content != NodeContent::Database)
        {
            continue;
        }
        if !peer.channels.iter().any(|back| leads_to(&back.remote_host, c.facts)) {
            let subject = format!("replconninfo{}", channel.number);
            j.error(&subject, format!("{} has no channel to this node", peer.label()), "one way");
        }
    }
}

/// Whether the node's server has the port; where its ports are not known, any may be its own.
pub(super) fn has_port(facts: &Facts, port: u16) -> bool {
    facts.ports.is_empty() || facts.ports.iter().any(|own| own.number == port)
}

fn same_mtu(c: &Context<'_>, j: &mut Judge) {
    let unknown = |facts: &Facts| facts.hosts.mtu.is_none();
    if unknown(c.facts) || c.reference().is_some_and(unknown) {
        return j.skip();
    }
    compare(c, j, "the MTU", Severity::Warning, |facts| facts.hosts.mtu);
}

fn cascade_zone(c: &Context<'_>, j: &mut Judge) {
    if c.facts.server.role != Role::CascadeStandby || c.peers.is_empty() {
        return j.skip();
    }
    let Some(version) = c.facts.programs.version.as_deref().and_then(Version::parse) else {
        return j.unknown("the release is not known");
    };
    let checked = match version.zone_check() {
        ZoneCheck::Always => true,
        ZoneCheck::IfEnabled => c.facts.settings.is_on("enable_availablezone").unwrap_or(false),
    };
    if !checked {
        return;
    }
    let zone = |facts: &Facts| facts.settings.get("available_zone").map(|zone| zone.trim().to_owned());
    let Some(own) = zone(c.facts) else { return j.unknown("available_zone is not known") };
    let upstream = |peer: &&&Facts| peer.server.role == Role::Standby;
    let zones: Vec<String> = c.peers.iter().filter(upstream).filter_map(|peer| zone(peer)).collect();
    if !zones.is_empty() && !zones.contains(&own) {
        let message = format!("its zone is '{own}', and the standbys have {}", zones.join(", "));
        j.error("available_zone", message, own);
    }
}

fn same_files(c: &Context<'_>, j: &mut Judge) {
    let Some(other) = c.reference() else { return j.skip() };
    let (Some(own), Some(theirs)) = (&c.facts.cluster.static_config, &other.cluster.static_config) else {
        return j.skip();
    };
    let servers = |members: &[crate::facts::server::Member]| {
        let mut all: Vec<String> = members.iter().map(|m| format!("{} on {}", m.instance, m.host)).collect();
        all.sort();
        all.join(", ")
    };
    let (own, theirs) = (servers(own), servers(theirs));
    if own != theirs {
        j.warning("cluster_static_config", format!("it has {own}, and {theirs} on {}", other.label()), own);
    }
}
