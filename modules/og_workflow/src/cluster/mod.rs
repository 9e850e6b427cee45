//! The nodes of a cluster, sorted by what they are now.

mod host;
mod identity;
mod kinship;
mod node;
mod reach;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use og_common::gauss::{ClusterLock, DbState, Role};
use og_common::hba::RuleFields;

pub use host::{HOST_VARIABLES, InventoryHost, canonical, is_host_variable};
pub use identity::{find_misplacements, is_record_of, on_one_machine, same_directory};
pub use kinship::{find_strangers, foreign_cluster_reason, related_nodes};
pub use node::{Node, PeerArg};
use reach::Causes;
pub use reach::NoneReached;

/// What becomes of the nodes that a workflow is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// They are added.
    Added,
    /// They are dropped.
    Dropped,
    /// They were dropped, and what they left is removed.
    Cleared,
    /// They are members and stay it. The variable that names them.
    Kept(&'static str),
    /// They are to be repaired, whatever became of them.
    Repaired,
}

impl TargetKind {
    /// The variable that names the nodes.
    fn variable(self) -> &'static str {
        match self {
            Self::Added => "og_add",
            Self::Dropped => "og_drop",
            Self::Cleared => "og_clear",
            Self::Kept(variable) => variable,
            Self::Repaired => "og_repair",
        }
    }

    /// Whether the nodes are members before and afterwards.
    fn stays(self) -> bool {
        matches!(self, Self::Kept(_) | Self::Repaired)
    }
}

/// The nodes sorted by what they are now.
#[derive(Debug)]
pub struct Cluster<'a> {
    /// All nodes.
    pub nodes: &'a [Node],
    /// Why the workflow is refused.
    pub findings: Vec<String>,
    /// What should be looked at.
    pub warnings: Vec<String>,
    /// The nodes that the workflow is for.
    pub targets: Vec<&'a Node>,
    /// The one that runs as primary, or the single node.
    pub primary: Option<&'a Node>,
    /// The primary and those that follow it; without the targets where these come or go.
    pub members: Vec<&'a Node>,
    kind: TargetKind,
}

impl<'a> Cluster<'a> {
    /// Sorts the nodes.
    #[must_use]
    pub fn new(nodes: &'a [Node], targets: &[String], kind: TargetKind) -> Self {
        let mut it = Self::empty(nodes, kind);
        if targets.is_empty() && !kind.stays() {
            let word = kind.variable();
            it.findings.push(format!("{word} is not given: name the nodes, such as -e {word}=n3,n4"));
            return it;
        }
        it.find_targets(targets);
        it.check_hidden();
        it.primary = it.find_primary();
        it.members = it.find_members();
        it
    }

    /// The same around a node of which the caller knows that it is the primary, whether it runs or not.
    #[must_use]
    pub fn with_primary(
        nodes: &'a [Node],
        targets: &[String],
        kind: TargetKind,
        primary: Option<&'a Node>,
    ) -> Self {
        let mut it = Self::without_primary(nodes, targets, kind);
        it.primary = primary;
        it.members = it.find_members();
        it
    }

    /// The same of a cluster whose primary is not looked for: it has no members yet.
    #[must_use]
    pub fn without_primary(nodes: &'a [Node], targets: &[String], kind: TargetKind) -> Self {
        let mut it = Self::empty(nodes, kind);
        it.find_targets(targets);
        it.check_hidden();
        it
    }

    fn empty(nodes: &'a [Node], kind: TargetKind) -> Self {
        Self {
            nodes,
            findings: Vec::new(),
            warnings: Vec::new(),
            targets: Vec::new(),
            primary: None,
            members: Vec::new(),
            kind,
        }
    }

    fn find_targets(&mut self, targets: &[String]) {
        let word = self.kind.variable();
        for name in targets {
            if let Some(node) = self.nodes.iter().find(|n| n.name == *name) {
                self.targets.push(node);
            } else {
                let known = node_names(self.nodes.iter()).join(", ");
                self.findings.push(format!("{word}: {name} is no host of the inventory (it has {known})"));
            }
        }
    }

    fn is_adding(&self) -> bool {
        self.kind == TargetKind::Added
    }

    /// Nodes that nobody looked at: of one of them it may be that it is the primary, or another one's member.
    fn check_hidden(&mut self) {
        let hidden = node_names(self.nodes.iter().filter(|n| n.seen.is_none()));
        if !hidden.is_empty() {
            let (who, were) = (hidden.join(", "), if hidden.len() == 1 { "was" } else { "were" });
            self.findings
                .push(format!("{who}: {were} not inspected, hidden by --limit; run without --limit"));
        }
    }

    fn find_primary(&mut self) -> Option<&'a Node> {
        let aside = |n: &&Node| self.is_adding() && self.targets.contains(n);
        let others: Vec<&Node> = self.nodes.iter().filter(|n| !aside(n) && n.state().running).collect();
        let with = |role: Role| others.iter().copied().filter(move |n| n.live_role() == Some(role));
        let mut found: Vec<&Node> = with(Role::Primary).collect();
        if found.is_empty() {
            found = with(Role::Normal).filter(|n| n.role == Role::Primary).collect();
            if found.is_empty() {
                found = with(Role::Normal).collect();
            }
        }
        let wrong = self.targets.iter().filter(|n| self.is_adding() && n.live_role() == Some(Role::Primary));
        let mut findings: Vec<String> = wrong
            .map(|n| {
                let what = if found.is_empty() {
                    "it is the primary of this cluster already"
                } else {
                    "there would be two; decide which of them is right, and stop the other"
                };
                format!("{} is to be added, but its server runs as primary: {what}", n.name)
            })
            .collect();
        let told = node_names(found.iter().copied()).join(" and ");
        match found[..] {
            [_] => {}
            [first, ..] if first.live_role() == Some(Role::Normal) => findings.push(format!(
                "no primary runs, and {told} run as single nodes; which of them is the cluster is not known"
            )),
            [_, ..] => findings.push(several_primaries(&found)),
            // Which of them is the primary is not known as long as some are hidden, which is a finding.
            [] if self.nodes.iter().any(|n| n.seen.is_none()) => {}
            [] => {
                let asked: Vec<&Node> = self.nodes.iter().filter(|n| !aside(n)).collect();
                let told: Vec<_> = asked.iter().map(|n| format!("{} {}", n.name, in_words(n))).collect();
                let told = if told.is_empty() { "no other node".to_owned() } else { told.join(", ") };
                // It may be one of those of which nothing is known.
                let is_known = |n: &Node| n.is_reachable() && n.seen().state_error.is_none();
                let what = if asked.iter().all(|n| is_known(n)) { "runs" } else { "was seen" };
                let why = Causes::find(asked.into_iter()).map_or(String::new(), |Causes { told, hint }| {
                    format!("; {told}{}", hint.map_or(String::new(), |hint| format!("; {hint}")))
                });
                findings.push(format!("no primary {what} ({told}){why}"));
            }
        }
        let primary = if let [only] = found[..] { Some(only) } else { None };
        self.findings.append(&mut findings);
        primary
    }

    /// The members, and targets that are none.
    #[must_use]
    pub fn involved_nodes(&self) -> Vec<&'a Node> {
        let others = self.targets.iter().filter(|n| !self.members.contains(n));
        self.members.iter().chain(others).copied().collect()
    }

    /// Findings that the workflows share.
    pub fn check(&mut self) {
        let involved = self.check_inventory();
        for n in self.members.clone() {
            self.check_member(n);
        }
        self.check_identity(&involved);
    }

    /// The findings of [`Cluster::check`] that are about what the inventory says, however the members' servers are.
    pub fn check_places(&mut self) {
        let involved = self.check_inventory();
        self.check_identity(&involved);
    }

    /// Finds what the inventory gives to two nodes. Returns the nodes that the workflow is about.
    fn check_inventory(&mut self) -> Vec<&'a Node> {
        let involved = self.involved_nodes();
        self.findings.extend(involved.iter().flat_map(|n| n.problems.iter().cloned()));
        self.check_unique("id", &involved, |n| n.id.map(|id| id.to_string()));
        self.check_unique("address and port", &involved, |n| {
            Some(format!("{}:{}", canonical(&n.address), n.base_port))
        });
        let mut ids: Vec<_> = involved.iter().map(|n| n.id).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() == involved.len() {
            self.check_unique("application_name", &involved, |n| Some(n.app_name.clone()));
        }
        involved
    }

    fn check_member(&mut self, n: &Node) {
        let name = &n.name;
        if !self.check_answered(n) || n.seen().state_error.is_some() {
            return;
        }
        let state = n.state();
        let db_state = describe_state(state.db_state);
        if !state.running {
            // One that receives is not down, but elsewhere, which is told with the rest of what is misplaced.
            if identity::received_from(n, self.nodes).is_none() {
                let way_out = match self.kind {
                    TargetKind::Kept(_) | TargetKind::Repaired | TargetKind::Cleared => {
                        "start it, or repair it"
                    }
                    TargetKind::Added | TargetKind::Dropped => "start it, or drop it too",
                };
                self.findings.push(format!("{name}: its server is stopped; {way_out}"));
            }
        } else if is_busy(state.db_state) {
            self.findings.push(format!("{name}: is {db_state}; wait until that is over"));
        } else if state.db_state != DbState::Normal && Some(n) != self.primary {
            let why = state.detail.as_deref().filter(|d| !d.is_empty()).unwrap_or("no reason given");
            self.warnings.push(format!("{name}: {db_state} ({why})"));
        }
        if Some(n) != self.primary {
            self.check_name(n);
        }
    }

    /// Whether the node answered; what it could not tell is a finding.
    pub fn check_answered(&mut self, n: &Node) -> bool {
        let name = &n.name;
        // That it is hidden was found already.
        let Some(seen) = &n.seen else { return false };
        if let Some(why) = &seen.unreachable {
            self.findings.push(format!("{name}: cannot be reached: {why}"));
            return false;
        }
        // A build that was broken off leaves a node without pg_hba.conf; one that is added gets a new one.
        let coming = self.is_adding() && self.targets.contains(&n) && !n.is_streaming();
        let expected = |text: &&String| coming && seen.no_rules.as_ref() == Some(*text);
        let errors = seen.errors.iter().filter(|text| !expected(text));
        self.findings.extend(errors.map(|text| format!("{name}: {text}")));
        self.findings.extend(seen.broken_lines.iter().map(|broken| {
            format!(
                "{name}: line {} of pg_hba.conf: {}; for that line the server refuses the whole file",
                broken.line, broken.message
            )
        }));
        true
    }

    fn check_unique(&mut self, what: &str, nodes: &[&Node], key: impl Fn(&Node) -> Option<String>) {
        let mut seen: Vec<(String, Vec<&str>)> = Vec::new();
        for n in nodes {
            let Some(value) = key(n) else { continue };
            match seen.iter_mut().find(|(v, _)| *v == value) {
                Some((_, names)) => names.push(&n.name),
                None => seen.push((value, vec![&n.name])),
            }
        }
        for (value, names) in seen.into_iter().filter(|(_, names)| names.len() > 1) {
            self.findings
                .push(format!("{} have the same {what} {value} in the inventory", names.join(" and ")));
        }
    }

    /// Those of the nodes that stream from the primary itself.
    #[must_use]
    pub fn standbys(&self, nodes: &[&'a Node]) -> Vec<&'a Node> {
        nodes.iter().copied().filter(|n| Some(*n) != self.primary && !n.becomes_cascade()).collect()
    }

    /// The user of a node's server; one that was not seen has the user that all of them have.
    #[must_use]
    pub fn os_user(&self, n: &Node) -> String {
        let own = n.os_user.clone().or_else(|| self.primary.and_then(|p| p.os_user.clone()));
        own.unwrap_or_else(|| "omm".to_owned())
    }

    /// The rule of pg_hba.conf by which the node is let in.
    #[must_use]
    pub fn rule(&self, n: &Node, method: Option<&str>) -> RuleFields {
        let mut address = canonical(&n.address);
        match address.parse() {
            Ok(IpAddr::V4(_)) => address += "/32",
            Ok(IpAddr::V6(_)) => address += "/128",
            Err(_) => {}
        }
        RuleFields {
            kind: "host".to_owned(),
            databases: vec!["all".to_owned()],
            users: vec![self.os_user(n)],
            address: Some(address),
            netmask: None,
            method: method.map(str::to_owned),
            options: BTreeMap::new(),
        }
    }

    /// The lock on the primary as it is recorded there, whether it still counts or not.
    #[must_use]
    pub fn lock(&self) -> Option<&ClusterLock> {
        let seen = self.primary?.seen();
        seen.lock.as_ref().or(seen.last_lock.as_ref())
    }
}

/// What makes two rules of one type the same, their method aside.
#[must_use]
pub fn rule_identity(rule: &RuleFields) -> (BTreeSet<&str>, BTreeSet<&str>, String, &str) {
    fn set(list: &[String]) -> BTreeSet<&str> {
        list.iter().map(String::as_str).collect()
    }
    let address = rule.address.as_deref().unwrap_or_default();
    let (host, bits) = address.split_once('/').unwrap_or((address, ""));
    (set(&rule.databases), set(&rule.users), canonical(host), bits)
}

/// The names of these nodes.
pub fn node_names<'a>(nodes: impl Iterator<Item = &'a Node>) -> Vec<String> {
    nodes.map(|n| n.name.clone()).collect()
}

/// States that pass by themselves.
fn is_busy(state: DbState) -> bool {
    changes_role(state) || matches!(state, DbState::Building | DbState::Starting)
}

/// Whether a server in this state becomes primary or ceases to be it.
#[must_use]
pub fn changes_role(state: DbState) -> bool {
    matches!(state, DbState::Promoting | DbState::WaitPromoting | DbState::Demoting)
}

/// Returns the server state in words, for the middle of a sentence.
#[must_use]
pub fn describe_state(state: DbState) -> String {
    state.words().to_lowercase()
}

/// A role, in the middle of a sentence.
#[must_use]
pub fn role_in_words(role: Role) -> String {
    role.name().replace('_', " ")
}

/// The nodes that run as primary.
#[must_use]
pub fn primaries(nodes: &[Node]) -> Vec<&Node> {
    nodes.iter().filter(|n| n.live_role() == Some(Role::Primary)).collect()
}

/// That several servers run as primary, and what to do.
#[must_use]
pub fn several_primaries(primaries: &[&Node]) -> String {
    let told = node_names(primaries.iter().copied()).join(" and ");
    let systems: BTreeSet<&str> = primaries.iter().filter_map(|n| n.system_id()).collect();
    if systems.len() > 1 {
        let systems: Vec<_> = systems.into_iter().collect();
        return format!(
            "two clusters in one group of the inventory: {told} run as primary, of the database systems {}; give each \
             cluster a group, or an inventory, of its own",
            systems.join(" and ")
        );
    }
    format!(
        "more than one primary: {told} run as primary, and both may take writes; stop the wrong one first (the one with \
         the lower node.term, or whose writes may be lost: og_node_state with state: stopped), then rebuild it as a \
         standby (og_build with force: true)"
    )
}

fn in_words(n: &Node) -> String {
    if n.seen().state_error.is_some() {
        return "cannot be read".to_owned();
    }
    let known = || n.live_role().map_or_else(|| "not running".to_owned(), role_in_words);
    n.unseen_reason().map_or_else(known, str::to_owned)
}
