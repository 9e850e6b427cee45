//! Findings and plan of a failover: the primary is lost, and the standby that holds most takes over.

use std::collections::BTreeMap;

use og_common::conf::is_on;
use og_common::gauss::managed::Act;
use og_common::gauss::{Fork, LogPosition, Role, WalRecord, is_lost_primary_detail};
use og_common::hba::RuleFields;
use og_common::protocol::Lsn;
use og_common::standby_names::{StandbyNames, StandbyNamesEdit};

use super::managed::is_run_by_cm;
use super::{Files, MOST_AVAILABLE, Outlook, Purpose, SYNC_NAMES, Shared, purpose_of};
use crate::args::Options;
use crate::cluster::{
    Cluster, Node, PeerArg, TargetKind, canonical, find_misplacements, find_strangers, node_names,
    related_nodes,
};
use crate::seen::LogRecords;

/// The variable that names the node.
pub const VARIABLE: &str = "og_failover";
/// What the record of a failover that came to its end begins with.
const COMPLETED_PURPOSE: &str = "failed over to";
/// What the lock of one under way begins with.
const UNDER_WAY_PURPOSE: &str = "failover of";
/// Seconds after a failover in which another one needs a person's word.
const REPEATED_FAILOVER_SECONDS: u64 = 3600;

/// What is known before how far each log goes.
#[derive(Clone, Debug)]
pub struct Failover {
    /// What the changing workflows plan; its primary is the first survivor as long as none is chosen.
    pub shared: Shared,
    /// A node that runs as primary already, made so by a failover that has not come to its end.
    pub done: Option<String>,
    /// The standby that is to take over, where one is named.
    pub wanted: Option<String>,
    /// Standbys that could take over.
    pub standbys: Vec<String>,
    /// All nodes that run and follow.
    pub survivors: Vec<String>,
    /// What may have been the primary and can be reached: it is stopped, and marked.
    pub stop: Vec<String>,
    /// What may have been the primary and cannot be reached.
    pub lost: Vec<String>,
    /// Its ends of replication channels.
    pub cut: Vec<PeerArg>,
    /// Its rules.
    pub rules: Vec<RuleFields>,
    /// All members.
    members: Vec<Node>,
}

/// Who takes over, and what that costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The new primary.
    pub to: String,
    /// Others that are to follow it.
    pub followers: Vec<String>,
    /// What is lost, in words.
    pub loss: String,
    /// Whether acknowledged commits are, or may be.
    pub loses: bool,
    /// Whether it takes over although another one, or the old primary, holds more, or its own guard cannot be passed.
    pub force: bool,
    /// What `synchronous_standby_names` is to be there; none where it may stay.
    pub sync_names: Option<String>,
    /// Where the log of the new primary begins to be its own, for the repair of the old one; none where that cannot be read.
    pub fork: Option<Fork>,
    /// The cluster's files.
    pub files: Files,
    /// What should be looked at.
    pub warnings: Vec<String>,
}

/// Findings and plan, as far as they do not depend on how far the logs go.
#[must_use]
pub fn failover(nodes: &[Node], targets: &[String], options: &Options) -> Outlook<Failover> {
    let mut c = Cluster::without_primary(nodes, targets, TargetKind::Kept(VARIABLE));
    let runs = |n: &&Node| n.is_reachable() && n.live_role().is_some();
    let follows = |n: &&Node| n.live_role().is_some_and(Role::is_following);
    let leads = |n: &&Node| matches!(n.live_role(), Some(Role::Primary | Role::Normal));
    let dead: Vec<&str> =
        options.og_confirm_dead.split(',').map(str::trim).filter(|n| !n.is_empty()).collect();
    let confirmed = |n: &Node| dead.contains(&&*n.name);
    for name in dead.iter().filter(|name| !nodes.iter().any(|n| n.name == **name)) {
        c.findings.push(format!("og_confirm_dead: {name} is no host of the inventory"));
    }
    if targets.len() > 1 {
        c.findings
            .push(format!("{VARIABLE}: {} are named, and one node becomes primary", targets.join(", ")));
    }
    let standbys: Vec<&Node> = nodes.iter().filter(runs).filter(follows).collect();
    let alive: Vec<&Node> = nodes.iter().filter(|n| leads(n) && !is_hung(n)).collect();
    let Some(root) = standbys.first().or(alive.first()).copied() else {
        c.findings.push("no standby runs that could take over; start one first (og_node_state)".to_owned());
        return Outlook::new(c, None);
    };
    let members = members_of(root, nodes);
    c.findings.extend(find_strangers(root, &members, nodes));
    c.members.clone_from(&members);
    super::managed::check(&mut c, Act::Failover);
    super::managed::check_all_let_go(&mut c);
    for n in &members {
        c.findings.extend(n.problems.iter().cloned());
        c.findings.extend(find_misplacements(n, nodes));
    }
    let is_member = |n: &Node| members.contains(&n);
    let silent = standbys.iter().filter(|n| is_member(n) && is_hung(n));
    c.findings.extend(silent.map(|n| silent_standby_finding(n)));
    let alive: Vec<&Node> = alive.into_iter().filter(|n| is_member(n)).collect();
    let resumed = find_resumed(&alive, targets);
    if let ([first, ..], None) = (&alive[..], resumed) {
        c.findings.push(format!(
            "{} runs as primary and answers, so nothing is lost; to exchange roles: og switchover NODE{}",
            node_names(alive.iter().copied()).join(" and "),
            if alive.len() > 1 { ", when one of them is stopped" } else { "" }
        ));
        c.primary = Some(first);
        return Outlook::new(c, None);
    }
    let survivors: Vec<&Node> = standbys.into_iter().filter(|n| is_member(n) && !is_hung(n)).collect();
    let able: Vec<&Node> =
        survivors.iter().copied().filter(|n| n.live_role() == Some(Role::Standby)).collect();
    if able.is_empty() && resumed.is_none() {
        c.findings.push("no standby of the lost primary runs that could take over".to_owned());
    }
    let open = |n: &&&Node| !n.is_reachable() || n.seen().state_error.is_some();
    let lost: Vec<&Node> = members.iter().copied().filter(|n| open(&n)).collect();
    let stop: Vec<&Node> = members
        .iter()
        .copied()
        .filter(|n| {
            n.is_reachable() && n.seen().state_error.is_none() && is_dead_primary(n) && Some(*n) != resumed
        })
        .collect();
    for n in stop.iter().filter(|n| is_hung(n) && !confirmed(n)) {
        c.findings.push(format!(
            "{}: its server (pid {}) runs and does not answer: it may go on at any moment; give og_confirm_dead={} to have it \
             ended, or end it yourself",
            n.name,
            n.state().pid.unwrap_or_default(),
            n.name
        ));
    }
    if resumed.is_none() {
        c.findings.extend(able.iter().filter_map(|n| receiver_finding(n)));
        let unproven = lost.iter().filter(|n| !confirmed(n));
        c.findings.extend(unproven.filter_map(|n| why_unproven(n, &able, lost.len())));
    }
    check_target(&mut c, targets, &able, resumed);
    if resumed.is_none() {
        warn_repeated_failover(&mut c, &members, options);
    }
    let first = resumed.or(able.first().copied()).unwrap_or(root);
    let what = format!("{UNDER_WAY_PURPOSE} {}", node_names(stop.iter().chain(&lost).copied()).join(","));
    let addresses: Vec<_> = survivors.iter().map(|n| canonical(&n.address)).collect();
    let alone = |n: &&&Node| !addresses.contains(&canonical(&n.address));
    let plan = Failover {
        shared: Shared::within_members(
            nodes,
            first,
            &members,
            targets,
            Purpose { what, ..Purpose::default() },
        ),
        done: resumed.map(|n| n.name.clone()),
        wanted: targets.first().cloned(),
        standbys: node_names(able.iter().copied()),
        survivors: node_names(survivors.iter().copied()),
        cut: lost.iter().map(|n| n.own_end()).collect(),
        rules: lost.iter().filter(alone).map(|n| c.rule(n, None)).collect(),
        stop: node_names(stop.into_iter()),
        lost: node_names(lost.into_iter()),
        members: members.into_iter().cloned().collect(),
    };
    // The lock that counts is the one of whoever is asked first.
    c.primary = Some(first);
    Outlook::new(c, Some(plan))
}

/// That a standby still receives.
fn receiver_finding(n: &Node) -> Option<String> {
    let host = n.upstream().filter(|_| n.is_streaming())?;
    Some(format!(
        "{}: still receives from {host}, so the primary lives; inspect it there, or stop it first",
        n.name
    ))
}

/// That it is not known whether a standby receives.
fn silent_standby_finding(n: &Node) -> String {
    format!(
        "{}: its server runs and does not answer, so whether it still receives from the primary cannot be told; let it answer \
         (its own addresses in its pg_hba.conf, kill -CONT), or stop it",
        n.name
    )
}

/// Whether its server runs and does not answer.
fn is_hung(n: &Node) -> bool {
    n.state().running && (n.state().frozen || !n.state().answered)
}

/// Whether it may have been the primary when it last ran, or may be one that does not answer: it is not known to follow.
fn is_dead_primary(n: &Node) -> bool {
    !n.state().role.is_following() && (!n.state().running || is_hung(n))
}

/// The members, as the first survivor, the cluster's files and the record of a failover that was broken off know them: a lost
/// node whose channels are cut already is one still.
fn members_of<'a>(root: &'a Node, nodes: &'a [Node]) -> Vec<&'a Node> {
    let near = related_nodes(root, nodes);
    let same = |n: &Node| n.system_id().is_some() && n.system_id() == root.system_id();
    let recorded = |n: &Node| Files::record_of(root, n).is_some();
    let named = |n: &Node| {
        nodes.iter().any(|m| {
            let seen = m.seen();
            let what = purpose_of(seen.lock.as_ref().or(seen.last_lock.as_ref())).what;
            let lost = what.strip_prefix(UNDER_WAY_PURPOSE).map(str::trim).unwrap_or_default();
            lost.split(',').any(|name| name == n.name)
        })
    };
    let follows = |n: &Node| n.live_role().is_some_and(Role::is_following);
    let is = |n: &&Node| near.contains(n) || (same(n) && follows(n)) || recorded(n) || named(n);
    nodes.iter().filter(is).collect()
}

/// The node that a failover made primary which has not come to its end.
fn find_resumed<'a>(alive: &[&'a Node], targets: &[String]) -> Option<&'a Node> {
    let [only] = alive else { return None };
    if only.live_role() != Some(Role::Primary) {
        return None;
    }
    let named = targets.len() == 1 && targets[0] == only.name;
    let seen = only.seen();
    let lock = seen.lock.as_ref().or(seen.last_lock.as_ref());
    let begun = targets.is_empty() && purpose_of(lock).what.starts_with(UNDER_WAY_PURPOSE);
    (named || begun).then_some(*only)
}

/// Why it cannot be excluded that a node which cannot be looked at is a primary that lives.
fn why_unproven(n: &Node, able: &[&Node], unseen: usize) -> Option<String> {
    let name = &n.name;
    if let Some(why) = &n.seen().state_error {
        return Some(format!(
            "{name}: whether its server runs cannot be told: {why}; make sure that it is stopped, then give og_confirm_dead={name}"
        ));
    }
    // Two standbys that have lost it are witnesses; one alone may itself be cut off.
    if unseen > 1 {
        return Some(format!(
            "{name}: cannot be reached from here, and {} other node{} neither: one of them may live as the primary, and another one \
             confirm what it commits; make sure that it is stopped, then give og_confirm_dead with all of them",
            unseen - 1,
            if unseen == 2 { "" } else { "s" }
        ));
    }
    (able.len() < 2).then(|| {
        let only = able.first().map_or("no standby", |n| n.name.as_str());
        format!(
            "{name}: cannot be reached from here, and {only} alone has lost it: it may live and take commits; make sure that it \
             is stopped, then give og_confirm_dead={name}"
        )
    })
}

/// Whether the standby that is named can be meant.
fn check_target(c: &mut Cluster, targets: &[String], able: &[&Node], resumed: Option<&Node>) {
    let Some(n) = c.targets.first().copied().filter(|_| !targets.is_empty()) else { return };
    if resumed.is_some() || able.contains(&n) {
        return;
    }
    let what = match n.live_role() {
        Some(Role::CascadeStandby) => "is a cascade standby, which cannot take over",
        Some(_) => "is no standby of the lost primary",
        None if n.is_reachable() => "does not run",
        None => "cannot be reached",
    };
    let others =
        if able.is_empty() { "none".to_owned() } else { node_names(able.iter().copied()).join(", ") };
    c.findings.push(format!("{} {what}; standbys that could take over: {others}", n.name));
}

/// A second failover soon after another one hints at something that a failover does not mend.
fn warn_repeated_failover(c: &mut Cluster, members: &[&Node], options: &Options) {
    let recent = members.iter().find_map(|n| {
        let what = purpose_of(n.seen().last_lock.as_ref()).what;
        let age = n.seen().lock_age.filter(|age| *age < REPEATED_FAILOVER_SECONDS)?;
        what.starts_with(COMPLETED_PURPOSE).then_some((what, age))
    });
    if let Some((what, age)) = recent.filter(|_| !options.og_failover_force) {
        c.findings.push(format!(
            "this cluster {what} {} minutes ago; find out first why it lost a primary again, then give og_failover_force=true",
            age / 60
        ));
    }
}

/// The cluster's files when this node is the primary.
#[must_use]
pub fn files_for(og: &Failover, to: &str) -> Files {
    let members: Vec<&Node> = og.members.iter().collect();
    let new = members.iter().find(|n| n.name == to).or(members.first());
    new.map_or_else(
        || Files { nodes: Vec::new(), roles: BTreeMap::new() },
        |new| Files::with_roles(new, &members),
    )
}

/// What the record says when the failover has come to its end.
#[must_use]
pub fn completed_purpose(to: &str) -> Purpose {
    Purpose { what: format!("{COMPLETED_PURPOSE} {to}"), ..Purpose::default() }
}

/// How far the logs go.
struct Ends<'a> {
    og: &'a Failover,
    positions: &'a BTreeMap<String, LogPosition>,
    /// The records that stand in each log where the last ones of the others begin.
    logs: &'a BTreeMap<String, LogRecords>,
}

/// What is lost.
struct Loss {
    /// Findings that refuse the failover without `og_accept_loss`.
    findings: Vec<String>,
    /// In words.
    words: Vec<String>,
    /// Whether acknowledged commits are, or may be, among it.
    is_costly: bool,
}

impl Ends<'_> {
    fn node(&self, name: &str) -> Option<&Node> {
        self.og.members.iter().find(|n| n.name == name)
    }

    /// Term and end of a log that was read to its end.
    fn log_end(&self, name: &str) -> Option<(Option<u64>, Lsn)> {
        let end = self.positions.get(name).filter(|end| end.is_end)?;
        Some((end.term, end.lsn?))
    }

    fn in_words(&self, name: &str) -> String {
        let lsn = self.positions.get(name).and_then(|end| end.lsn);
        lsn.map_or_else(|| "an unknown LSN".to_owned(), |lsn| lsn.to_string())
    }

    /// Whether it had ceased to follow; its log is one of its own then, which may be long.
    fn is_behind(&self, name: &str) -> bool {
        let detail = self.node(name).and_then(|n| n.state().detail.as_deref());
        detail.is_some_and(is_lost_primary_detail)
    }

    fn last_record(&self, name: &str) -> Option<&WalRecord> {
        self.positions.get(name).filter(|end| end.is_end)?.last_record.as_ref()
    }

    /// Whether the log of one node is a part of the other one's: that has its last record at the same LSN. None where that
    /// cannot be told.
    fn is_part_of(&self, name: &str, other: &str) -> Option<bool> {
        let end = self.log_end(other).map(|(_, lsn)| lsn);
        self.logs.get(other)?.has_record(self.last_record(name)?, end)
    }

    /// Whether two logs are proved to differ: neither is a part of the other.
    fn has_diverged(&self, one: &str, other: &str) -> bool {
        let parts = [self.is_part_of(one, other), self.is_part_of(other, one)];
        parts.contains(&Some(false)) && !parts.contains(&Some(true))
    }

    /// The old primary, where it can be read, whose log differs from this standby's.
    fn diverged_primary(&self, name: &str) -> Option<&String> {
        self.og.stop.iter().find(|old| self.has_diverged(name, old))
    }

    /// The standby that holds most; of equals the one that is named.
    fn farthest_standby(&self) -> Option<&String> {
        let known = self.og.standbys.iter().filter(|name| self.log_end(name).is_some());
        let followed =
            known.clone().filter(|name| !self.is_behind(name) && self.diverged_primary(name).is_none());
        let followed: Vec<&String> = followed.collect();
        let choice = if followed.is_empty() { known.collect() } else { followed };
        choice.into_iter().max_by_key(|name| {
            let named = self.og.wanted.as_ref() == Some(*name);
            (self.log_end(name), named, std::cmp::Reverse((*name).clone()))
        })
    }

    /// What others hold that the new primary lacks. `proves`: it holds most of all, and all could be read, without which
    /// nothing proves that it has the commits.
    fn loss(&self, to: &str, (term, lsn): (Option<u64>, Lsn), proves: bool) -> Loss {
        let og = self.og;
        let proof = |name: &String| self.node(name).filter(|_| proves).and_then(|n| commit_proof(n, og));
        let mut it = Loss { findings: Vec::new(), words: Vec::new(), is_costly: false };
        for name in &og.stop {
            // A torn record behind the last one is none that was acknowledged.
            let is_part = self.is_part_of(name, to);
            if is_part == Some(true) {
                it.words.push(format!("nothing of {name} is lost"));
                continue;
            }
            let what = match self.log_end(name).filter(|(its, _)| its.is_some() == term.is_some()) {
                Some((its, end)) if its > term || (its == term && end > lsn) => {
                    format!("{name} holds {} that {to} lacks", end.bytes_since(lsn))
                }
                Some(_) if is_part == Some(false) => {
                    format!("the log of {name} differs from that of {to}, which lacks its last record")
                }
                Some(_) => {
                    it.words.push(format!("nothing of {name} is lost"));
                    continue;
                }
                None => format!("how much {name} holds that {to} lacks cannot be read"),
            };
            if let Some(why) = proof(name) {
                it.words.push(format!("{what}, and no acknowledged commit is among them: {why}"));
                continue;
            }
            it.findings.push(format!(
                "{what}, acknowledged commits perhaps among them; start {name} again (og repair), or give og_accept_loss=true"
            ));
            it.is_costly = true;
            it.words.push(format!("{what}; they are lost"));
        }
        let covered = og.stop.iter().any(|name| proof(name).is_some());
        // Of several that cannot be reached all but one are standbys, any of which may hold more.
        let others = og.lost.len().saturating_sub(usize::from(og.stop.is_empty()));
        if others > 0 && !covered {
            it.findings.push(format!(
                "{}: cannot be reached, and a standby among them may hold more than {to}; bring it back, or give \
                 og_accept_loss=true",
                og.lost.join(", ")
            ));
        }
        for name in og.lost.iter().filter(|_| !covered) {
            it.is_costly = true;
            it.words.push(format!(
                "{to} holds the log up to {}; what {name} had not sent is lost",
                self.in_words(to)
            ));
        }
        it
    }
}

/// Who takes over, by how far the log of each goes.
///
/// # Errors
/// The findings.
pub fn choose(
    og: &Failover,
    ends: &BTreeMap<String, LogPosition>,
    logs: &BTreeMap<String, LogRecords>,
    options: &Options,
) -> Result<Choice, Vec<String>> {
    let held = Ends { og, positions: ends, logs };
    let all = og.standbys.iter().map(|name| format!("{name} {}", held.in_words(name)));
    let all = all.collect::<Vec<_>>().join(", ");
    let Some(best) = held.farthest_standby() else {
        return Err(vec![format!("how far the log of a standby goes cannot be read ({all})")]);
    };
    let to = og.wanted.clone().unwrap_or_else(|| best.clone());
    let (Some(new), Some(end)) = (held.node(&to), held.log_end(&to)) else {
        return Err(vec![format!("how far the log of {to} goes cannot be read")]);
    };
    let is_less = Some(end) < held.log_end(best);
    let unread: Vec<&str> =
        og.standbys.iter().filter(|name| held.log_end(name).is_none()).map(String::as_str).collect();
    let mut findings = Vec::new();
    if is_less {
        findings.push(format!(
            "{to} holds less of the log than {best} ({all}); choose {best}, or give og_accept_loss=true: what {to} lacks is lost"
        ));
    }
    if !unread.is_empty() {
        findings.push(format!(
            "how far the log of {} goes cannot be read, and it may hold more than {to}; repair that, or give og_accept_loss=true",
            unread.join(", ")
        ));
    }
    if held.is_behind(&to) {
        findings.push(format!(
            "{to} had ceased to follow before the primary was lost ({}); choose another standby, or give og_accept_loss=true",
            new.state().detail.as_deref().unwrap_or_default()
        ));
    }
    if let Some(old) = held.diverged_primary(&to) {
        findings.push(format!(
            "the log of {to} differs from that of {old}, the old primary, by LSN and checksum; choose another standby, or give \
             og_accept_loss=true: what {old} committed since is lost"
        ));
    }
    let differs = |name: &&String| **name != to && !held.is_behind(name) && held.has_diverged(name, &to);
    // One that differs from the old primary, too, holds nothing of that.
    let others: Vec<&String> =
        og.standbys.iter().filter(differs).filter(|name| held.diverged_primary(name).is_none()).collect();
    for name in &others {
        findings.push(format!(
            "the logs of {name} and {to} differ, by LSN and checksum, and which of them has what was committed cannot be told; \
             stop the one that has not, or give og_accept_loss=true"
        ));
    }
    let cost = held.loss(&to, end, findings.is_empty());
    findings.extend(cost.findings);
    if !findings.is_empty() && !options.og_accept_loss {
        return Err(findings);
    }
    let is_less = is_less || !others.is_empty() || held.diverged_primary(&to).is_some();
    let others: Vec<&Node> =
        og.survivors.iter().filter(|name| **name != to).filter_map(|name| held.node(name)).collect();
    let direct = others.iter().filter(|n| n.live_role() == Some(Role::Standby)).count();
    // Who holds more than the new primary, or had ceased to follow before, does not follow it.
    let follows = |n: &&Node| {
        let standby = n.live_role() == Some(Role::Standby) && !held.is_behind(&n.name);
        standby && held.log_end(&n.name).is_some_and(|own| own <= end) && !held.has_diverged(&n.name, &to)
    };
    let streaming: Vec<&Node> = others.iter().copied().filter(follows).collect();
    let (sync_names, warnings) = sync_names(og, new, &streaming);
    let members: Vec<&Node> = og.members.iter().collect();
    Ok(Choice {
        files: Files::with_roles(new, &members),
        followers: node_names(others.iter().copied()),
        loss: cost.words.join("; "),
        loses: cost.is_costly || is_less,
        fork: held.last_record(&to).map(|record| Fork {
            new_primary: to.clone(),
            old_primaries: og.stop.iter().chain(&og.lost).cloned().collect(),
            record: *record,
            term: end.0,
            at: String::new(),
        }),
        // With nobody left to ask, or a CM that is stopped, the server's own guard cannot be passed; the proof is this workflow's.
        force: is_less
            || held.is_behind(&to)
            || (direct == 0 && !og.lost.is_empty())
            || og.members.iter().any(is_run_by_cm),
        to,
        sync_names,
        warnings,
    })
}

/// Why every acknowledged commit of this primary is on one of the survivors; none where that cannot be said.
fn commit_proof(primary: &Node, og: &Failover) -> Option<String> {
    let off = |name: &str| primary.parameter(name).is_some_and(|value| !is_on(value));
    let is_off = primary.parameter(MOST_AVAILABLE).is_none() || off(MOST_AVAILABLE);
    let commits = primary.parameter(super::SYNC_COMMIT);
    let waits = commits.is_none_or(|value| {
        matches!(value, "on" | "remote_write" | "remote_receive" | "remote_apply" | "true")
    });
    if !is_off || !waits {
        return None;
    }
    let text = primary.parameter(SYNC_NAMES)?;
    let value = StandbyNames::parse(text).ok()?;
    let [group] = &value.groups[..] else { return None };
    // Any node to which the primary had a channel may have confirmed a commit.
    let cascades = og.members.iter().filter(|n| n.live_role() == Some(Role::CascadeStandby)).count();
    let members = og.members.len().saturating_sub(1).max(primary.seen().peers.len()).saturating_sub(cascades);
    let total = if value.is_star() { members } else { group.members.len() };
    let is_candidate =
        |n: &&Node| value.is_star() || group.members.iter().any(|m| m.eq_ignore_ascii_case(&n.app_name));
    let there = og.members.iter().filter(|n| og.standbys.contains(&n.name)).filter(is_candidate).count();
    let confirm = group.count() as usize;
    // Whichever of them confirmed: one of those that are here did.
    (confirm > 0 && there + confirm > total).then(|| {
        format!(
            "{SYNC_NAMES} = '{text}' in its postgresql.conf, and {there} of its {total} standbys are here"
        )
    })
}

/// What the names are to be on the new primary, so that commits do not wait for who is lost.
fn sync_names(og: &Failover, new: &Node, followers: &[&Node]) -> (Option<String>, Vec<String>) {
    let old = og.stop.iter().find_map(|name| og.members.iter().find(|n| n.name == *name));
    let own = new.parameter(SYNC_NAMES).and_then(|value| StandbyNames::parse(value).ok());
    let policy = old.and_then(|old| {
        let value = StandbyNames::parse(old.parameter(SYNC_NAMES)?).ok()?;
        Some(value.rename(&new.app_name, &old.app_name))
    });
    let Some(wanted) = policy.or_else(|| own.clone()) else { return (None, Vec::new()) };
    let streaming: Vec<String> = followers.iter().map(|n| n.app_name.clone()).collect();
    let mut warnings = Vec::new();
    let mut value = wanted;
    if value.missing(&streaming).is_some() {
        let follows = |n: &Node| followers.iter().any(|m| m.name == n.name);
        let gone = og.members.iter().filter(|n| !follows(n) && n.name != new.name);
        let remove: Vec<String> = gone.map(|n| n.app_name.clone()).chain([new.app_name.clone()]).collect();
        if value.is_star() && streaming.is_empty() {
            value = StandbyNames::default();
        } else if let Ok(edited) =
            value.edit(&StandbyNamesEdit { remove: remove.clone(), ..StandbyNamesEdit::default() })
        {
            value = edited;
        }
        warnings.push(format!(
            "{}: {SYNC_NAMES} becomes '{value}', so that commits do not wait for who is lost; put {} back when it streams again \
             (og_guc with synchronous_standbys: {{add: […]}})",
            new.name,
            remove[..remove.len() - 1].join(", ")
        ));
        if let Some(missing) = value.missing(&streaming) {
            warnings.push(format!("{}: synchronous commits will wait: {missing}", new.name));
        }
    }
    (Some(value.to_string()).filter(|_| own.as_ref() != Some(&value)), warnings)
}
