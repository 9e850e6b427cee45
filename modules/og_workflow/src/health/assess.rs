//! From what was seen to a verdict.

use std::collections::BTreeMap;

use og_common::gauss::state::is_lost_primary_detail;
use og_common::gauss::{DbState, Role, Sender};
use og_common::protocol::{Bytes, Lsn};
use og_common::standby_names::StandbyNames;
use serde_json::json;

use super::cm;
use super::kinds::find_kind;
use super::{ClusterHealth, CommitWait, Finding, NodeHealth, Readiness, ReadyVerdict, Severity, Verdict};
use crate::cluster::{Node, NoneReached, canonical, node_names as names_of, primaries, related_nodes};
use crate::plan::{self, MOST_AVAILABLE, SYNC_NAMES};

/// The parameters that are asked for beside the nodes' states.
pub const PARAMETERS: [&str; 3] = [SYNC_NAMES, MOST_AVAILABLE, COMMIT];
/// At which point of a commit its session is answered.
const COMMIT: &str = "synchronous_commit";
/// Values of it by which no commit waits for a standby.
const LOCAL: [&str; 5] = ["off", "local", "false", "no", "0"];
/// Unused slots that retain more than this are a finding.
const MAX_RETAINED: Bytes = Bytes::new(1 << 30);

/// Assesses these nodes; a standby that is more than `max_lag` behind is a finding, and not ready for a switchover.
#[must_use]
pub fn assess(nodes: &[Node], max_lag: Bytes) -> ClusterHealth {
    let heads = writable_nodes(nodes);
    let primary = if let [only] = heads[..] { Some(only) } else { None };
    let it = Inspection { nodes, primary, max_lag };
    let mut health: Vec<NodeHealth> = it.sorted_nodes().map(|n| it.node(n)).collect();
    let commits = it.commits();
    for own in &mut health {
        it.set_readiness(own, &commits, heads.len());
    }
    let mut findings = it.findings(&health, &commits);
    findings.sort_by_key(|finding| finding.severity);
    let failures_tolerated = it.failures_tolerated(&health, &commits);
    let loss_bytes = it.loss(&health, &commits);
    let mut whole = ClusterHealth {
        verdict: verdict(&findings, heads.len(), nodes),
        sentence: String::new(),
        primary: primary.map(|n| n.name.clone()),
        commits,
        failures_tolerated,
        loss_bytes,
        cm: cm::view(nodes).cloned(),
        nodes: health,
        findings,
    };
    whole.sentence = summarize(&whole);
    whole
}

/// The nodes that take writes: the primaries; where there is none, the single node that the inventory calls primary. Another
/// one is a spare, and the primary may run on a node that was not seen.
fn writable_nodes(nodes: &[Node]) -> Vec<&Node> {
    let found = primaries(nodes);
    let is_single = |n: &&Node| n.live_role() == Some(Role::Normal) && n.role == Role::Primary;
    if found.is_empty() { nodes.iter().filter(is_single).collect() } else { found }
}

fn error(id: &str, node: Option<&str>, message: impl Into<String>) -> Finding {
    finding(Severity::Error, id, node, message)
}

pub(super) fn finding(
    severity: Severity,
    id: &str,
    node: Option<&str>,
    message: impl Into<String>,
) -> Finding {
    debug_assert!(find_kind(id).is_some(), "{id} is explained nowhere");
    Finding { id: id.to_owned(), severity, node: node.map(str::to_owned), message: message.into(), fix: None }
}

impl Finding {
    pub(super) fn with_fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }
}

/// What was seen of a cluster, while it is assessed.
struct Inspection<'a> {
    nodes: &'a [Node],
    primary: Option<&'a Node>,
    max_lag: Bytes,
}

impl<'a> Inspection<'a> {
    /// The nodes in the order in which they are shown.
    fn sorted_nodes(&self) -> impl Iterator<Item = &'a Node> {
        let mut sorted: Vec<&Node> = self.nodes.iter().collect();
        sorted.sort_by_key(|n| (n.id.unwrap_or(i64::MAX), n.name.clone()));
        sorted.into_iter()
    }

    fn node(&self, n: &Node) -> NodeHealth {
        let (seen, state) = (n.seen(), n.state());
        let readable = n.is_reachable() && seen.state_error.is_none();
        let why = n.unseen_reason().map(|word| match &seen.unreachable {
            Some(why) => why.clone(),
            None => word.to_owned(),
        });
        let sender = self.sender_to(n).filter(|_| n.is_streaming());
        let written = self.primary.and_then(|p| p.state().lsn);
        let behind = |own: Option<Lsn>| Some(written?.bytes_since(own?));
        let progress = state.receiver.as_ref().map(|receiver| &receiver.progress);
        let follows = readable && state.running && n.live_role().is_some_and(Role::is_following);
        let flushed = progress.and_then(|p| p.flush.or(p.received));
        let replayed = progress.and_then(|p| p.replay).or(state.lsn);
        let upstream = n.upstream().map(|address| {
            let known = self.nodes.iter().find(|m| canonical(&m.address) == address);
            known.map_or(address, |m| m.name.clone())
        });
        NodeHealth {
            name: n.name.clone(),
            address: format!("{}:{}", n.address, n.base_port),
            member: self.is_member(n),
            role: readable.then_some(state.role).filter(|role| *role != Role::Unknown),
            inspected: n.seen.is_some(),
            reachable: n.is_reachable(),
            running: readable.then_some(state.running),
            db_state: (readable && state.running).then_some(state.db_state),
            detail: why.or_else(|| seen.state_error.clone()).or_else(|| state.detail.clone()),
            upstream: upstream.filter(|_| follows),
            streaming: follows.then(|| n.is_streaming()),
            sync_state: sender.and_then(|s| s.sync_state.clone()),
            receive_lag_bytes: behind(flushed).filter(|_| follows),
            replay_lag_bytes: behind(replayed).filter(|_| follows),
            slot_retained_bytes: state
                .slots
                .as_ref()
                .map(|slots| slots.iter().filter_map(|slot| slot.retained_bytes).max().unwrap_or_default()),
            version: state.version.clone(),
            pending_restart: (readable && state.running && !seen.running.is_empty())
                .then(|| seen.pending_restart.iter().cloned().collect()),
            switchover_ready: Readiness::new(Vec::new(), Vec::new()),
            failover_ready: Readiness::new(Vec::new(), Vec::new()),
        }
    }

    /// Whether the node belongs to the cluster; not known without a primary, or where the primary's channels may be unread.
    fn is_member(&self, n: &Node) -> Option<bool> {
        let primary = self.primary?;
        let is_kin = related_nodes(primary, self.nodes).contains(&n);
        (is_kin || primary.seen().errors.is_empty()).then_some(is_kin)
    }

    /// The connection by which another node sends to this one.
    fn sender_to(&self, n: &Node) -> Option<&Sender> {
        self.nodes.iter().filter(|m| *m != n).find_map(|m| sender_to(&m.state().senders, n))
    }

    /// A node that receives from the primary, which lists no receiver.
    fn hidden_receiver(&self) -> Option<&'a Node> {
        let primary = self.primary.filter(|primary| primary.state().senders.is_empty())?;
        let address = canonical(&primary.address);
        self.nodes.iter().find(|n| n.is_streaming() && n.upstream().as_ref() == Some(&address))
    }

    fn commits(&self) -> CommitWait {
        let Some(primary) = self.primary else { return CommitWait::default() };
        let names = primary.works_with(SYNC_NAMES).map(str::to_owned);
        // Where it is not set any standby counts, by openGauss's default.
        let is_read = primary.seen().parameters.contains_key(SYNC_NAMES);
        let names = names.or_else(|| is_read.then(|| "*".to_owned()));
        let local = primary
            .works_with(COMMIT)
            .is_some_and(|value| LOCAL.iter().any(|word| value.trim().eq_ignore_ascii_case(word)));
        // A single node waits for nobody, whatever the names.
        let alone = primary.live_role() == Some(Role::Normal);
        let parsed = names.as_deref().and_then(|text| StandbyNames::parse(text).ok());
        let required = parsed.as_ref().map(|names| {
            if local || alone {
                0
            } else {
                names.groups.iter().map(|group| group.count() as usize).sum::<usize>()
            }
        });
        // As the primary sees them: a standby that cannot be asked may stream all the same.
        let with = |states: &[&str]| {
            let counts = |n: &&Node| {
                let state = sender_to(&primary.state().senders, n).and_then(|s| s.sync_state.as_deref());
                state.is_some_and(|state| states.contains(&state))
            };
            names_of(self.sorted_nodes().filter(counts))
        };
        CommitWait {
            candidates: with(&["sync", "quorum", "potential"]),
            candidates_known: self.hidden_receiver().is_none(),
            in_reserve: with(&["potential"]),
            required,
            names,
            most_available: primary.works_with(MOST_AVAILABLE).map(|value| {
                ["on", "true", "yes", "1"].iter().any(|word| value.trim().eq_ignore_ascii_case(word))
            }),
        }
    }

    fn set_readiness(&self, own: &mut NodeHealth, commits: &CommitWait, heads: usize) {
        let (mut no, mut unknown) = (Vec::new(), Vec::new());
        match (own.running, own.role) {
            (None, _) => unknown
                .push(format!("its state is not known: {}", own.detail.as_deref().unwrap_or("no answer"))),
            (Some(false), _) => no.push("its server is stopped".to_owned()),
            (_, Some(Role::Primary)) => no.push("it is the primary".to_owned()),
            (_, Some(Role::Normal)) => no.push("it is a single node".to_owned()),
            (_, Some(Role::Standby)) => {}
            (_, Some(role)) => no.push(format!("it runs as {}", crate::cluster::role_in_words(role))),
            (_, None) => unknown.push("its role is not known".to_owned()),
        }
        let mut take_over = (no.clone(), unknown.clone());
        if no.is_empty() && unknown.is_empty() {
            if own.db_state != Some(DbState::Normal) {
                no.push(format!("it is {}", own.db_state.unwrap_or_default()));
            }
            if own.streaming == Some(false) {
                no.push("it does not stream".to_owned());
            }
            take_over.0.clone_from(&no);
            match own.replay_lag_bytes {
                Some(lag) if lag > self.max_lag => {
                    no.push(format!("it is {lag} behind"));
                }
                Some(_) => {}
                None => unknown.push("its replication lag is not known".to_owned()),
            }
            let waited_for =
                commits.candidates.contains(&own.name) && !commits.in_reserve.contains(&own.name);
            if commits.required.is_some_and(|required| required > 0) && !waited_for {
                take_over.1.push(if commits.candidates_known {
                    "commits do not wait for it: it may lack the last ones".to_owned()
                } else {
                    "whether commits wait for it is not known: it may lack the last ones".to_owned()
                });
            }
        }
        match heads {
            1 => {}
            0 if !self.nodes.iter().any(Node::is_reachable) => {}
            // It may run on one of those.
            0 if !self.unseen().is_empty() => no.push("no primary was seen".to_owned()),
            0 => no.push("no primary runs".to_owned()),
            _ => no.push("more than one primary runs".to_owned()),
        }
        own.switchover_ready = Readiness::new(no, unknown);
        own.failover_ready = Readiness::new(take_over.0, take_over.1);
    }

    fn findings(&self, health: &[NodeHealth], commits: &CommitWait) -> Vec<Finding> {
        let mut found = Vec::new();
        let inspected = plan::inspect(self.nodes);
        found.extend(inspected.several_primaries.map(|text| error("cluster.two_primaries", None, text)));
        let none_reached = NoneReached::find(self.nodes);
        found.extend(match &none_reached {
            Some(it) => Some(error(NoneReached::ID, None, &*it.message).with_fix(&*it.fix)),
            None => self.no_primary(),
        });
        found.extend(inspected.findings.into_iter().map(|text| error("cluster.inventory", None, text)));
        let warnings = inspected.warnings.into_iter();
        found.extend(warnings.map(|text| finding(Severity::Warning, "cluster.inventory", None, text)));
        for (own, n) in
            health.iter().filter_map(|own| Some((own, self.nodes.iter().find(|n| n.name == own.name)?)))
        {
            // Of all that were asked it was said above.
            if none_reached.is_none() || !own.inspected {
                found.extend(self.node_findings(own, n));
            }
        }
        found.extend(self.commit_wait_finding(commits));
        found.extend(Self::versions(health));
        found.extend(cm::view(self.nodes).into_iter().flat_map(|view| cm::findings(view, self.nodes)));
        found
    }

    /// The nodes of which it is not known whether they run as primary.
    fn unseen(&self) -> Vec<String> {
        names_of(self.nodes.iter().filter(|n| !n.is_reachable() || n.seen().state_error.is_some()))
    }

    fn no_primary(&self) -> Option<Finding> {
        if !writable_nodes(self.nodes).is_empty() {
            return None;
        }
        let unseen = self.unseen();
        let message = if unseen.is_empty() {
            "no primary runs".to_owned()
        } else {
            format!("no primary was seen; not known of {}", unseen.join(", "))
        };
        let fix = "start the last primary, if no node holds more: og repair; where it is lost, the standby that holds most takes \
                   over: og failover";
        Some(error("cluster.no_primary", None, message).with_fix(fix))
    }

    /// That commits wait, or go on alone, for a standby that is not there.
    fn commit_wait_finding(&self, commits: &CommitWait) -> Option<Finding> {
        let primary = self.primary?;
        // A server that tells of a standby without its place among the synchronous ones leaves it open.
        let open = primary.state().senders.iter().any(|sender| sender.sync_state.is_none());
        if let Some(n) = self.hidden_receiver() {
            return Some(receivers_hidden(primary, n));
        }
        if open || commits.required? == 0 {
            return None;
        }
        let streaming: Vec<String> = self
            .nodes
            .iter()
            .filter(|n| commits.candidates.contains(&n.name))
            .map(|n| n.app_name.clone())
            .collect();
        let missing = StandbyNames::parse(commits.names.as_ref()?).ok()?.missing(&streaming)?;
        let (severity, what) = if commits.most_available == Some(true) {
            (Severity::Warning, "commits go on without a synchronous standby (most_available_sync)")
        } else {
            (Severity::Error, "commits wait")
        };
        let fix = "repair the missing standby: og repair; to let commits go on meanwhile, remove it from \
                   synchronous_standby_names (og_guc with synchronous_standbys: {remove: […]})";
        let message = format!("{what}: {missing}");
        Some(finding(severity, "commits.standby_missing", Some(&primary.name), message).with_fix(fix))
    }

    fn node_findings(&self, own: &NodeHealth, n: &Node) -> Vec<Finding> {
        match absence_findings(own, n) {
            Some(found) => found,
            None => self.server_findings(own, n),
        }
    }

    /// What is found of a node whose server runs.
    fn server_findings(&self, own: &NodeHealth, n: &Node) -> Vec<Finding> {
        let (name, state) = (Some(own.name.as_str()), n.state());
        let detail = own.detail.as_deref().and_then(|text| text.lines().next()).unwrap_or_default();
        let mut found = Vec::new();
        match state.db_state {
            DbState::Normal => {}
            DbState::NeedRepair if is_lost_primary_detail(detail) => {
                let fix = format!("repair it: og repair {}", n.name);
                found.push(error("node.need_repair", name, format!("needs repair: {detail}")).with_fix(fix));
            }
            // So it says for as long as nobody sends to it.
            DbState::NeedRepair => found.push(
                error("node.disconnected", name, format!("does not reach its upstream: {detail}")).with_fix(
                    match self.primary {
                        Some(_) => format!("repair it: og repair {}", n.name),
                        None => "it follows again when there is a primary".to_owned(),
                    },
                ),
            ),
            other => found.push(
                finding(Severity::Warning, "node.not_normal", name, format!("is {other}: {detail}"))
                    .with_fix("wait, then run og status again"),
            ),
        }
        if own.streaming == Some(false) && state.db_state == DbState::Normal {
            let fix = format!("repair it: og repair {}", n.name);
            found.push(error("node.not_streaming", name, "does not stream").with_fix(fix));
        }
        if let Some(lag) = own.replay_lag_bytes.filter(|lag| *lag > self.max_lag) {
            found.push(
                finding(Severity::Warning, "node.lagging", name, format!("is {lag} behind the primary"))
                    .with_fix("look for a slow disk or network, or a long query that holds replay back"),
            );
        }
        let idle = state.slots.iter().flatten().filter(|slot| !slot.active);
        let retained = idle.filter_map(|slot| Some((slot, slot.retained_bytes?)));
        for (slot, held) in retained.filter(|(_, held)| *held > MAX_RETAINED) {
            found.push(
                finding(
                    Severity::Warning,
                    "slot.retains_wal",
                    name,
                    format!("the unused slot {} retains {held} of WAL", slot.name),
                )
                .with_fix(format!(
                    "bring its standby back, or drop it: {}",
                    n.command("og_slot", &[("state", "absent"), ("names", &slot.name)])
                )),
            );
        }
        if let Some(waiting) = own.pending_restart.as_deref().filter(|waiting| !waiting.is_empty()) {
            let message =
                format!("changed in postgresql.conf, to count after a restart: {}", waiting.join(", "));
            let fix = format!("restart it: og restart {}", own.name);
            found.push(finding(Severity::Info, "node.pending_restart", name, message).with_fix(fix));
        }
        let damage = state.tablespaces.as_ref().and_then(|t| t.warning(state.role));
        found.extend(damage.map(|text| error("node.tablespaces", name, text)));
        // What could not be read there is missing in what is said of the node and of the cluster.
        found.extend(
            n.seen().errors.iter().map(|text| finding(Severity::Warning, "node.unread", name, text.as_str())),
        );
        found
    }

    fn versions(health: &[NodeHealth]) -> Option<Finding> {
        let mut by_version: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for own in health {
            if let Some(version) = &own.version {
                by_version.entry(version).or_default().push(&own.name);
            }
        }
        (by_version.len() > 1).then(|| {
            let told: Vec<_> =
                by_version.iter().map(|(version, on)| format!("{version} on {}", on.join(", "))).collect();
            finding(
                Severity::Warning,
                "cluster.versions",
                None,
                format!("the nodes run different releases: {}", told.join("; ")),
            )
            .with_fix("bring all nodes to one release")
        })
    }

    /// Standbys that could take over one after the other, as long as commits are not made to wait by their absence.
    fn failures_tolerated(&self, health: &[NodeHealth], commits: &CommitWait) -> Option<usize> {
        self.primary?;
        let standbys = health
            .iter()
            .filter(|own| own.streaming == Some(true) && own.role == Some(Role::Standby))
            .count();
        let spare = commits.candidates.len().saturating_sub(commits.required?);
        let waits = commits.required? > 0 && commits.most_available != Some(true);
        if waits && !commits.candidates_known {
            return None;
        }
        Some(if waits { standbys.min(spare) } else { standbys })
    }

    /// What only the primary has: nothing where enough standbys confirm each commit, else the least that any standby lacks.
    fn loss(&self, health: &[NodeHealth], commits: &CommitWait) -> Option<Bytes> {
        self.primary?;
        let required = commits.required?;
        if required > 0 && commits.candidates.len() >= required {
            return Some(Bytes::ZERO);
        }
        let standbys =
            health.iter().filter(|own| own.role == Some(Role::Standby) && own.streaming == Some(true));
        standbys.filter_map(|own| own.receive_lag_bytes).min()
    }
}

/// The primary lists no receiver, although this node receives from it.
fn receivers_hidden(primary: &Node, n: &Node) -> Finding {
    let message = format!(
        "lists no receiver, although {} receives from it: its pg_hba.conf does not let in its own address, by which gs_ctl \
         asks it; for whom commits wait is not known",
        n.name
    );
    let user = primary.seen().os_user.as_deref().unwrap_or("omm");
    let address = canonical(&primary.address);
    let bits = if address.contains(':') { 128 } else { 32 };
    let rules = json!([format!("host all {user} {address}/{bits} trust")]);
    let own = serde_json::Map::from_iter([("rules".to_owned(), rules)]);
    finding(Severity::Warning, "commits.unknown", Some(&primary.name), message)
        .with_fix(format!("let it in: {}", primary.command_with("og_hba", own)))
}

/// The one of these connections by which a server sends to this node.
fn sender_to<'a>(senders: &'a [Sender], n: &Node) -> Option<&'a Sender> {
    let address = canonical(&n.address);
    senders.iter().find(|s| s.peer.as_ref().is_some_and(|peer| canonical(&peer.host) == address))
}

/// What is found of a node whose server does not run, or of which that is not known; `None` when it runs.
fn absence_findings(own: &NodeHealth, n: &Node) -> Option<Vec<Finding>> {
    let name = Some(own.name.as_str());
    let (seen, state) = (n.seen(), n.state());
    let one = |finding| Some(vec![finding]);
    if n.seen.is_none() {
        let message = "was not inspected, hidden by --limit";
        return one(finding(Severity::Warning, "node.not_inspected", name, message));
    }
    if seen.state_error.is_some() {
        // Told by the inspection, with its remedy.
        return Some(Vec::new());
    }
    // A spare that nobody added yet may be as it is.
    if own.member == Some(false) && !state.running {
        return one(finding(Severity::Info, "node.no_member", name, "is no member of the cluster"));
    }
    if let Some(why) = &seen.unreachable {
        let fix = "bring the host or its network back; to take the node out of the cluster, drop it";
        return one(error("node.unreachable", name, format!("unreachable: {why}")).with_fix(fix));
    }
    match &state.build {
        Some(build) if build.running => {
            let message = format!("is being built, {} copied", Bytes::new(build.done_kb * 1024));
            one(finding(Severity::Warning, "node.building", name, message))
        }
        Some(build) if build.interrupted => {
            let message = "a build died half done; the server does not start";
            let fix = format!("repair it, which builds it again: og repair {}", n.name);
            one(error("node.build_interrupted", name, message).with_fix(fix))
        }
        _ if !state.running => {
            let fix = format!("repair it, which starts it in its role: og repair {}", n.name);
            one(error("node.stopped", name, "its server is stopped").with_fix(fix))
        }
        _ => None,
    }
}

fn verdict(findings: &[Finding], heads: usize, nodes: &[Node]) -> Verdict {
    let open = nodes.iter().any(|n| !n.is_reachable() || n.seen().state_error.is_some());
    let waits = |f: &Finding| f.id == "commits.standby_missing" && f.severity == Severity::Error;
    match heads {
        0 if open => Verdict::Unknown,
        0 | 2.. => Verdict::Broken,
        1 if findings.iter().any(waits) => Verdict::Broken,
        1 if findings.iter().any(|f| f.severity != Severity::Info) => Verdict::Degraded,
        1 => Verdict::Healthy,
    }
}

fn summarize(it: &ClusterHealth) -> String {
    let standbys: Vec<&NodeHealth> = it
        .nodes
        .iter()
        .filter(|own| own.member != Some(false) && Some(&own.name) != it.primary.as_ref())
        .collect();
    let well = |own: &&&NodeHealth| own.streaming == Some(true) && own.db_state == Some(DbState::Normal);
    let missing: Vec<&str> = standbys.iter().filter(|own| !well(own)).map(|own| own.name.as_str()).collect();
    let Some(primary) = &it.primary else {
        let first = it.findings.iter().find(|f| f.severity == Severity::Error);
        let what = first.map_or("no primary was seen", |f| f.message.as_str());
        if it.reaches_no_node() {
            return format!("{}.", capitalize(what));
        }
        let whole = if it.verdict == Verdict::Unknown { "Not known whether it serves" } else { "Not usable" };
        return format!("{whole}: {what}.");
    };
    let what = match (standbys.len(), missing.len()) {
        (0, _) => format!("primary {primary} runs alone, without a standby"),
        (1, 0) => format!("primary {primary} and its standby are well"),
        (all, 0) => format!("primary {primary} and its {all} standbys are well"),
        (1, _) => format!("the only standby is missing ({})", missing[0]),
        (all, lost) => format!(
            "{lost} of {all} standbys {} missing ({})",
            if lost == 1 { "is" } else { "are" },
            missing.join(", ")
        ),
    };
    let tolerated = match it.failures_tolerated {
        None => "how many failures are tolerated is not known".to_owned(),
        Some(0) => "no failure is tolerated".to_owned(),
        Some(1) => "1 failure is tolerated".to_owned(),
        Some(n) => format!("{n} failures are tolerated"),
    };
    let lost = match it.loss_bytes {
        Some(Bytes::ZERO) => "the loss of the primary would lose nothing".to_owned(),
        Some(bytes) => format!("the loss of the primary would lose up to {bytes}"),
        None if standbys.is_empty() => {
            "the loss of the primary would lose everything since the last backup".to_owned()
        }
        None => "what the loss of the primary would lose is not known".to_owned(),
    };
    let waits = match it.commits.required {
        None => "for whom commits wait is not known".to_owned(),
        Some(0) => "commits wait for no standby".to_owned(),
        Some(_) if !it.commits.candidates_known => "for whom commits wait is not known".to_owned(),
        Some(n) if it.commits.candidates.is_empty() => {
            format!("commits need {n} standby to confirm, and none can")
        }
        Some(n) => {
            let reserve = &it.commits.in_reserve;
            let now: Vec<&str> = it
                .commits
                .candidates
                .iter()
                .filter(|name| !reserve.contains(name))
                .map(String::as_str)
                .collect();
            let of = if n < now.len() { format!("{n} of {}", now.join(", ")) } else { now.join(" and ") };
            let then = if reserve.is_empty() {
                String::new()
            } else {
                format!(", in reserve {}", reserve.join(", "))
            };
            format!("commits wait for {of}{then}")
        }
    };
    let hangs = if it.verdict == Verdict::Broken { "commits hang; " } else { "" };
    capitalize(&format!("{hangs}{what}; {tolerated}, {lost}; {waits}."))
}

/// The text with a capital at its beginning.
fn capitalize(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |c| c.to_uppercase().chain(letters).collect())
}

/// Whether the answer is yes.
#[must_use]
pub fn is_yes(readiness: &Readiness) -> bool {
    readiness.verdict == ReadyVerdict::Yes
}
