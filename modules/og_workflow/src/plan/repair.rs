//! Findings and plan of repairing nodes: the cause of each, proved from what was seen, and the mildest step that serves.

mod access;
mod cause;
mod head;
mod own_log;

use std::collections::BTreeMap;

use og_common::gauss::managed::Act;
use og_common::gauss::{Fork, Obstacle, Role};
use og_common::hba::RuleFields;
use og_common::protocol::Lsn;
use og_common::standby_names::StandbyNames;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    DeferredRestore, Files, MOST_AVAILABLE, Outlook, SYNC_NAMES, Shared, deferred_restores, purpose_of, room,
    unreadable,
};
use crate::args::{BuildMode, Options};
use crate::cluster::{Cluster, Node, PeerArg, TargetKind, canonical, node_names, role_in_words};

pub use cause::{Case, Cause};
use cause::{RepairView, is_attached};
use head::Head;
use own_log::OwnLog;
pub(super) use own_log::has_open_fork;

/// What is to be done in one round. After it the nodes are inspected and planned for again.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Repair {
    /// What the changing workflows plan.
    #[serde(flatten)]
    pub shared: Shared,
    /// How `og_guc` is called before anything else, when a killed run left something changed.
    pub restore_now: Option<DeferredRestore>,
    /// The nodes that need repair, and why.
    pub cases: Vec<Case>,
    /// By node, the rules of a pg_hba.conf that is made anew.
    pub restored_rules: BTreeMap<String, Vec<RuleFields>>,
    /// By node whose server refuses its postgresql.conf, the copy that is brought back.
    pub restored_confs: BTreeMap<String, String>,
    /// By node, rules by which it lets others in.
    pub rules: BTreeMap<String, Vec<RuleFields>>,
    /// By node, replication channels that it lacks.
    pub channels: BTreeMap<String, Vec<PeerArg>>,
    /// By node whose server does not run, the role in which it is started.
    pub start: BTreeMap<String, Role>,
    /// By node that is forced to give up what it holds beside the primary, from where on its log is copied aside before; null
    /// where it is not known from where on that is its own.
    pub keep_logs: BTreeMap<String, Option<Lsn>>,
    /// By node whose server runs in another role, the one that it gets.
    pub restart: BTreeMap<String, Role>,
    /// Nodes that stream, and are stopped for their repair: one after the other.
    pub streaming: Vec<String>,
    /// By node that is named, or for which steps were made in this run, why it is not repaired any further.
    pub refused: BTreeMap<String, String>,
    /// Nodes that are given time to stream by themselves, or after what is done to them.
    pub settle: Vec<String>,
    /// Nodes that are built.
    pub builds: Vec<Build>,
    /// How many nodes are built side by side.
    pub builds_at_once: usize,
    /// By node that is built, its own pg_hba.conf rules, which the build replaces by the primary's; and what a run that was
    /// killed in a build left to be added again.
    pub own_rules: BTreeMap<String, Vec<RuleFields>>,
    /// The cluster's files, with the present roles.
    pub files: Files,
    /// Members that can be reached, which have these files.
    pub reachable: Vec<String>,
    /// By old primary that follows the primary, or does when this plan is carried out, the recorded failovers that replaced it
    /// and that it has not in its own files: they are over for it, and only newer ones count when it is repaired again.
    pub closed_forks: BTreeMap<String, Vec<Fork>>,
    /// Whether a node gets another role, which the files record.
    pub changes_roles: bool,
    /// Nodes that CM starts although their last role is not known: what they hold is proved to be the primary's, or was copied
    /// aside.
    pub by_cm: Vec<String>,
    /// Whether the primary itself is to be started first; nothing is known of the others before.
    pub starts_primary: bool,
}

/// The build of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Build {
    /// The node.
    pub node: String,
    /// Its role.
    pub role: Role,
    /// Incremental where that can serve, which is found out by trying it; full where it is known that it cannot.
    pub mode: BuildMode,
    /// Whether what it holds is given up.
    pub force: bool,
    /// Whether it streams now, and is built alone.
    pub streams: bool,
    /// Whether CM builds it, which has no build that is incremental and nothing else: it may copy everything.
    pub by_cm: bool,
}

impl Repair {
    /// Takes the steps that would stop the node, and what goes with them, out of the plan.
    fn forget(&mut self, node: &str) {
        self.streaming.retain(|name| name != node);
        self.restart.remove(node);
        self.builds.retain(|build| build.node != node);
        self.own_rules.remove(node);
        self.keep_logs.remove(node);
        self.closed_forks.remove(node);
        self.cases.retain(|case| case.node != node);
    }

    /// Has the node built from the primary, and its own rules added again afterwards.
    fn add_build(&mut self, primary: &Node, n: &Node, role: Role, mode: BuildMode, force: bool) {
        let by_cm = super::managed::is_acted_on_by_cm(n);
        let streams = n.is_streaming();
        self.builds.push(Build { node: n.name.clone(), role, mode, force, streams, by_cm });
        // Where a run was killed in a build, the file may be the primary's already.
        self.own_rules.entry(n.name.clone()).or_insert_with(|| access::own_rules(n, primary));
    }
}

/// Findings and plan of repairing these nodes, or all that need it. `tried`: nodes for which milder steps were made in this
/// run already.
#[must_use]
pub fn repair(nodes: &[Node], targets: &[String], options: &Options, tried: &[String]) -> Outlook<Repair> {
    let found = head::find(nodes, targets, options.og_repair_force);
    let head = found.as_ref().ok().copied();
    let mut c = Cluster::with_primary(nodes, targets, TargetKind::Repaired, head.map(Head::node));
    // Of hidden nodes nothing is known, and one of them may be the primary.
    if c.findings.is_empty() {
        c.findings.extend(found.err());
    }
    let Some(head) = head else { return Outlook::new(c, None) };
    c.check_places();
    super::managed::check(&mut c, Act::Start);
    let concerned = concerned(&c, head.node());
    let mut plan = match head {
        Head::Stopped(primary) => plan_primary(&mut c, primary, options),
        Head::Runs(primary) => plan_standbys(&mut c, primary, &concerned, options, tried),
    };
    check_backup(&mut c, &plan, options, tried);
    leave_roles_to_cm(&mut c, &mut plan, tried);
    Outlook::new(c, Some(plan))
}

/// Leaves the steps by which a node would get another role to CM where that gives the roles: a finding where the node was
/// named, or where nothing can be repaired without it; else it is warned about, and the others are repaired.
fn leave_roles_to_cm(c: &mut Cluster, plan: &mut Repair, tried: &[String]) {
    let why = |name: &str| {
        format!(
            "{name}: openGauss CM runs it, and gives the roles: leave it to cm_server (cm_ctl query -Cvidp), cm_ctl start -n \
             NODE_ID -D DATA_DIR for a server in manual stop, or pause CM first: cm_ctl pause, and cm_ctl resume afterwards"
        )
    };
    if plan.starts_primary {
        let first = &plan.shared.primary;
        if c.nodes.iter().any(|n| n.name == *first && super::managed::is_acted_on_by_cm(n)) {
            c.findings.push(why(first));
        }
    }
    let is_changed = |n: &&Node| plan.restart.contains_key(&n.name) && super::managed::is_acted_on_by_cm(n);
    let changed: Vec<&Node> = c.nodes.iter().filter(is_changed).collect();
    for n in changed {
        refuse(c, plan, n, why(&n.name), tried);
        plan.forget(&n.name);
    }
}

/// The nodes that may be repaired: those named, else the members and whoever has the primary's data and is recorded by it.
/// One that was dropped, or was cloned from a member, is none of them.
fn concerned<'a>(c: &Cluster<'a>, head: &Node) -> Vec<&'a Node> {
    if !c.targets.is_empty() {
        return c.targets.clone();
    }
    let same = |n: &Node| n.system_id().is_some() && n.system_id() == head.system_id();
    let recorded = |n: &Node| same(n) && Files::record_of(head, n).is_some();
    c.nodes.iter().filter(|n| c.members.contains(n) || recorded(n)).collect()
}

fn empty(c: &Cluster, primary: &Node, concerned: &[&Node]) -> Repair {
    let left = purpose_of(c.lock());
    let mut shared = Shared::new(c, primary, "repair", BTreeMap::new());
    shared.targets = node_names(concerned.iter().copied());
    "repair".clone_into(&mut shared.purpose.what);
    let deferred = deferred_restores(&left.restore);
    shared.purpose.restore = left.restore;
    shared.purpose.rules.clone_from(&left.rules);
    Repair {
        files: Files::new(primary, &c.members),
        restore_now: DeferredRestore::from_values(&deferred),
        shared,
        cases: Vec::new(),
        restored_rules: BTreeMap::new(),
        restored_confs: BTreeMap::new(),
        rules: BTreeMap::new(),
        channels: BTreeMap::new(),
        start: BTreeMap::new(),
        keep_logs: BTreeMap::new(),
        restart: BTreeMap::new(),
        streaming: Vec::new(),
        refused: BTreeMap::new(),
        settle: Vec::new(),
        builds: Vec::new(),
        builds_at_once: 1,
        own_rules: left.rules,
        reachable: node_names(c.members.iter().copied().filter(|n| n.is_reachable())),
        closed_forks: BTreeMap::new(),
        changes_roles: false,
        by_cm: Vec::new(),
        starts_primary: false,
    }
}

/// No primary runs: the one that was it last is started again, where nobody holds more.
fn plan_primary(c: &mut Cluster, primary: &Node, options: &Options) -> Repair {
    let mut plan = empty(c, primary, &[primary]);
    let name = primary.name.clone();
    let held = head::Held::new(primary).describe();
    let (cause, why) = match restored(c, primary, options) {
        None => (Cause::LastPrimary, "its server is stopped".to_owned()),
        Some((cause, why, rules)) => {
            plan.restored_rules.insert(name.clone(), rules);
            (cause, why)
        }
    };
    let said = primary.seen().diagnosis.as_ref().and_then(|d| d.last_error.clone());
    let said = said.map_or_else(String::new, |line| format!("; its log ends with: {line}"));
    let evidence =
        format!("no primary runs, {name} was it last, and nobody holds more than it ({held}); {why}{said}");
    let (cause, conf) = if let Some(words) = restored_conf(c, &mut plan, primary, options) {
        (Cause::BrokenConf, words)
    } else {
        c.findings.extend(cause::broken_conf(primary));
        (cause, String::new())
    };
    let first = if plan.restored_rules.is_empty() { "" } else { "make pg_hba.conf anew and " };
    let remedy = format!("{conf}{first}start it as primary");
    plan.cases.push(Case { node: name.clone(), cause, evidence, remedy });
    plan.start.insert(name, Role::Primary);
    plan.starts_primary = true;
    let others = node_names(c.members.iter().copied().filter(|n| *n != primary));
    if !others.is_empty() {
        c.warnings.push(format!("{}: what they need is seen when {} runs", others.join(", "), primary.name));
    }
    plan
}

/// Why a node's pg_hba.conf is to be made anew, and its rules then: its own good ones, or else those of another member.
fn restored(c: &mut Cluster, n: &Node, options: &Options) -> Option<(Cause, String, Vec<RuleFields>)> {
    let seen = n.seen();
    let (cause, why) = match (&seen.no_rules, access::broken_lines(n)) {
        (Some(why), _) => (Cause::NoHba, why.clone()),
        (None, Some(broken)) => (Cause::BrokenHba, broken),
        (None, None) => return None,
    };
    if n.is_streaming() && !c.targets.contains(&n) {
        c.warnings.push(format!(
            "{}: it streams by the rules that it read at its start, and does not start again: {why}; og repair {} makes \
             pg_hba.conf anew",
            n.name, n.name
        ));
        return None;
    }
    let good = |m: &&Node| !m.seen().rules.is_empty() && m.seen().broken_lines.is_empty();
    let mut others: Vec<&Node> = c.members.iter().copied().filter(|m| *m != n).filter(good).collect();
    others.sort_by_key(|m| (Some(*m) != c.primary, m.live_role().is_none(), m.id));
    let (base, from) = match others.first() {
        // Of a broken file the lines that are well count, for they are the node's own.
        _ if !seen.rules.is_empty() => (seen.rules.clone(), "its own rules that are well".to_owned()),
        Some(other) => (other.seen().rules.clone(), format!("the rules of {}", other.name)),
        None => (Vec::new(), "rules for the members alone".to_owned()),
    };
    let left_out = if cause == Cause::BrokenHba {
        let lines = access::describe_dropped_lines(n);
        format!("; {lines} left out, and a line that kept somebody out is gone, too: see it with -n --diff")
    } else {
        String::new()
    };
    c.warnings.push(format!(
        "{}: pg_hba.conf is made anew from {from}{left_out}; rules for clients that it had beside them must be added again (og_hba)",
        n.name
    ));
    let rules = access::rebuild_rules(c, n, &base, &options.og_hba_method);
    Some((cause, why, rules))
}

fn plan_standbys(
    c: &mut Cluster,
    primary: &Node,
    concerned: &[&Node],
    options: &Options,
    tried: &[String],
) -> Repair {
    let mut plan = empty(c, primary, concerned);
    let force = |n: &Node| options.og_repair_force && c.targets.contains(&n);
    let forced: Vec<String> = node_names(concerned.iter().copied().filter(|n| force(n)));
    if let Some(why) = hba_of_primary(primary) {
        c.warnings.push(why);
    }
    for n in concerned.iter().copied().filter(|n| *n != primary) {
        if !is_known(c, &mut plan, n, tried) {
            continue;
        }
        let force = forced.contains(&n.name);
        let has_copy = !options.og_repair_backup.is_empty() && c.targets.contains(&n);
        let view =
            RepairView { c: &*c, head: primary, tried, force, has_copy, method: &options.og_hba_method };
        match view.cause(n) {
            Err(why) => refuse(c, &mut plan, n, why, tried),
            Ok(None) => {
                plan_healthy(c, &mut plan, n, options);
                if follows(c, primary, n) {
                    close_forks(&mut plan, primary, n);
                }
            }
            Ok(Some((cause, evidence))) => {
                if let Some(why) = rebuilt_by_cm(c, primary, n, force) {
                    refuse(c, &mut plan, n, why, tried);
                    continue;
                }
                let again = tried.contains(&n.name);
                remedy(c, &mut plan, primary, n, (cause, evidence), (again, force), options);
            }
        }
    }
    spare_commits(c, &mut plan, primary, tried);
    let by_cm = |n: &&Node| plan.start.contains_key(&n.name) && super::managed::is_acted_on_by_cm(n);
    plan.by_cm = node_names(c.nodes.iter().filter(by_cm));
    let built: Vec<&Node> =
        c.nodes.iter().filter(|n| plan.builds.iter().any(|build| build.node == n.name)).collect();
    let all: Vec<&Node> = c.members.clone();
    if !built.is_empty() {
        let room = room::check_room(c, primary, &all, &built);
        let most = room.standbys.min(room.cascades.max(1));
        plan.builds_at_once = match options.og_build_parallel {
            0 => most,
            wanted => wanted.min(most),
        };
    }
    plan
}

/// Why a node whose server does not run must not be started where CM runs it: CM rebuilds a standby whose log has parted by
/// itself, and nobody has kept what only it holds.
fn rebuilt_by_cm(c: &Cluster, primary: &Node, n: &Node, force: bool) -> Option<String> {
    if force || n.state().running || !super::managed::is_run_by_cm(n) {
        return None;
    }
    let own_log = OwnLog::new(n, primary, c.nodes);
    if own_log == OwnLog::Nothing {
        return None;
    }
    let what = own_log.in_words(n).map_or_else(
        || {
            format!(
                "it is not proved that its log ({}) is a part of the log of {}",
                head::Held::new(n).describe(),
                primary.name
            )
        },
        |words| format!("it holds {words}"),
    );
    Some(format!(
        "{}: {what}, and openGauss CM rebuilds a server that it starts and whose log has parted; og_repair_force with this node \
         named keeps a copy of that log aside, and then starts it",
        n.name
    ))
}

/// Whether the node answered. One that was not named is left alone when it did not.
fn is_known(c: &mut Cluster, plan: &mut Repair, n: &Node, tried: &[String]) -> bool {
    let why = match (&n.seen().unreachable, &n.seen().state_error) {
        (Some(why), _) => format!("{}: cannot be reached: {why}", n.name),
        (None, Some(why)) => unreadable(n, why),
        (None, None) if n.seen.is_none() => return false,
        (None, None) => return true,
    };
    refuse(c, plan, n, why, tried);
    false
}

/// Adds why a node is not repaired: a finding when it was named; else the others are repaired all the same, and
/// so they are when the run has begun.
fn refuse(c: &mut Cluster, plan: &mut Repair, n: &Node, why: String, tried: &[String]) {
    let named = c.targets.contains(&n);
    if tried.contains(&n.name) || named && !tried.is_empty() {
        let own = why.strip_prefix(&format!("{}: ", n.name)).unwrap_or(&why);
        plan.refused.insert(n.name.clone(), own.to_owned());
    } else if named {
        c.findings.push(why);
    } else {
        c.warnings.push(format!("{why}; it is not repaired"));
    }
}

/// That the primary's own pg_hba.conf keeps it from starting again.
fn hba_of_primary(primary: &Node) -> Option<String> {
    let seen = primary.seen();
    let why = match (&seen.no_rules, seen.broken_lines.first()) {
        (Some(why), _) => why.clone(),
        (None, Some(broken)) => format!("line {} of pg_hba.conf: {}", broken.line, broken.message),
        (None, None) => return None,
    };
    Some(format!(
        "{}: the primary runs by the rules that it read at its start, and does not start again: {why}; set its rules with \
         og_hba (state: exact) before it is restarted",
        primary.name
    ))
}

/// A standby that streams may still be one that cannot start again.
fn plan_healthy(c: &mut Cluster, plan: &mut Repair, n: &Node, options: &Options) {
    let Some((cause, why, rules)) = restored(c, n, options) else { return };
    plan.restored_rules.insert(n.name.clone(), rules);
    let evidence =
        format!("it streams by the rules that it read at its start, and does not start again: {why}");
    let remedy = "make pg_hba.conf anew".to_owned();
    plan.cases.push(Case { node: n.name.clone(), cause, evidence, remedy });
}

/// Has the copy of postgresql.conf that is named brought back on the node, where its server refuses the present one. Returns
/// how the remedy begins then.
fn restored_conf(c: &Cluster, plan: &mut Repair, n: &Node, options: &Options) -> Option<String> {
    let copy = &options.og_repair_backup;
    let found = n.seen().diagnosis.as_ref();
    let is_refused = n.seen().conf_error.is_some()
        || found.is_some_and(|found| found.obstacle == Some(Obstacle::ConfRefused));
    // A server that runs has read the present file, and the log of its last start may be an old one.
    if copy.is_empty() || !is_refused || n.state().running || !c.targets.contains(&n) {
        return None;
    }
    plan.restored_confs.insert(n.name.clone(), copy.clone());
    Some(format!("bring {copy} back as postgresql.conf and "))
}

/// That the copy of postgresql.conf is named for nothing.
fn check_backup(c: &mut Cluster, plan: &Repair, options: &Options, tried: &[String]) {
    if options.og_repair_backup.is_empty() || !plan.restored_confs.is_empty() || !tried.is_empty() {
        return;
    }
    if c.targets.is_empty() {
        c.findings.push(
            "og_repair_backup is a copy of one node's postgresql.conf: name the node whose server refuses its file"
                .to_owned(),
        );
    } else {
        let names = node_names(c.targets.iter().copied()).join(", ");
        c.warnings.push(format!(
            "og_repair_backup is not used: no server of {names} is down for a postgresql.conf that it refuses"
        ));
    }
}

/// Whether the node receives from the primary, or as a cascade standby from a standby that does: one may still follow an old
/// primary that nobody reaches.
fn follows(c: &Cluster, primary: &Node, n: &Node) -> bool {
    let receives_from = |n: &Node, upstream: &Node| {
        is_attached(n) && n.upstream().is_some_and(|host| host == canonical(&upstream.address))
    };
    receives_from(n, primary) || c.members.iter().any(|m| receives_from(n, m) && receives_from(m, primary))
}

/// Has the failovers that replaced the node put on record there.
fn close_forks(plan: &mut Repair, primary: &Node, n: &Node) {
    // One that could not be read proves nothing, and cannot be put on record.
    let is_valid = |fork: &&Fork| fork.record.end > Lsn::default();
    let open: Vec<Fork> = own_log::open_forks(primary, n).filter(is_valid).cloned().collect();
    if !open.is_empty() {
        plan.closed_forks.insert(n.name.clone(), open);
    }
}

/// The role in which a node follows.
fn role_of(n: &Node, cause: Cause) -> Role {
    let state = n.state().role;
    let said = if n.role.is_following() { n.role } else { Role::Standby };
    if cause == Cause::WrongRole || !state.is_following() { said } else { state }
}

fn remedy(
    c: &mut Cluster,
    plan: &mut Repair,
    primary: &Node,
    n: &Node,
    (cause, evidence): (Cause, String),
    (again, force): (bool, bool),
    options: &Options,
) {
    let name = n.name.clone();
    let role = role_of(n, cause);
    let own_log = OwnLog::new(n, primary, c.nodes);
    let may_hold = matches!(cause, Cause::OldPrimary | Cause::Diverged | Cause::LogUnusable | Cause::WalGone)
            || (cause == Cause::NotConnected && again)
            // One that streams has written nothing itself.
            || (cause == Cause::TablespacesUnseen && !is_attached(n))
            // CM rebuilds what it starts, where that has parted.
            || (super::managed::is_run_by_cm(n) && !n.state().running);
    if force && may_hold && own_log != OwnLog::Nothing {
        let from = if let OwnLog::From(fork) = &own_log { Some(fork.record.end) } else { None };
        plan.keep_logs.insert(name.clone(), from);
    }
    // A build brings the primary's file.
    let is_built = |cause: Cause| {
        use Cause::{BeingBuilt, BuildDied, Diverged, LogUnusable, OtherSystem, TablespacesUnseen, WalGone};
        matches!(
            cause,
            BeingBuilt | BuildDied | Diverged | LogUnusable | OtherSystem | TablespacesUnseen | WalGone
        )
    };
    if let Some((_, _, rules)) = if is_built(cause) { None } else { restored(c, n, options) } {
        plan.restored_rules.insert(name.clone(), rules);
    }
    let remedy = match cause {
        Cause::CatchingUp | Cause::Starting => {
            plan.settle.push(name.clone());
            "wait until it has caught up".to_owned()
        }
        Cause::NotConnected if !again => {
            plan.settle.push(name.clone());
            c.warnings.push(format!(
                "{name}: why it does not receive cannot be told; it is given a moment{}",
                if force { ", and then rebuilt incrementally" } else { "" }
            ));
            "wait for a moment".to_owned()
        }
        Cause::BuildDied | Cause::TablespacesUnseen | Cause::OtherSystem => {
            plan.add_build(primary, n, role, BuildMode::Full, force);
            format!("rebuild it in full from {}", primary.name)
        }
        Cause::BeingBuilt => {
            plan.add_build(primary, n, role, BuildMode::Auto, force);
            "wait for its build".to_owned()
        }
        Cause::Diverged | Cause::WalGone | Cause::LogUnusable | Cause::NotConnected => {
            plan.add_build(primary, n, role, BuildMode::Incremental, force);
            format!("rebuild it incrementally from {}, or in full where that does not serve", primary.name)
        }
        Cause::NoHba | Cause::BrokenHba | Cause::BrokenConf | Cause::Stopped | Cause::Crashed => {
            let conf = restored_conf(c, plan, n, options).unwrap_or_default();
            plan.start.insert(name.clone(), role);
            let first =
                if plan.restored_rules.contains_key(&name) { "make pg_hba.conf anew and " } else { "" };
            format!("{conf}{first}start it as {}", role_in_words(role))
        }
        Cause::OldPrimary | Cause::LastPrimary | Cause::WrongRole => {
            let conf = restored_conf(c, plan, n, options).unwrap_or_default();
            if cause == Cause::OldPrimary {
                plan.changes_roles = true;
                close_forks(plan, primary, n);
                if own_log != OwnLog::Nothing {
                    c.warnings.push(format!(
                        "{name}: becomes a standby of {}; what it committed and {} did not receive is lost when it is \
                         rebuilt: {}",
                        primary.name,
                        primary.name,
                        own_log
                            .in_words(n)
                            .unwrap_or_else(|| format!("its log ends at {}", head::Held::new(n).describe()))
                    ));
                }
            }
            // It cannot follow, so it is not waited for. It is started all the same: a server that crashed mends its torn pages
            // then, which an incremental build takes for good ones.
            let parts = cause == Cause::OldPrimary && matches!(own_log, OwnLog::From(_) | OwnLog::Something);
            let then = if force && parts {
                plan.add_build(primary, n, role, BuildMode::Incremental, force);
                format!(
                    ", and rebuild it incrementally from {}, or in full where that does not serve",
                    primary.name
                )
            } else {
                String::new()
            };
            let verb = if n.state().running {
                plan.restart.insert(name.clone(), role);
                "restart"
            } else {
                plan.start.insert(name.clone(), role);
                "start"
            };
            format!("{conf}{verb} it as {}{then}", role_in_words(role))
        }
        Cause::NotLetIn | Cause::UpstreamDoesNotKnowIt | Cause::NoChannelToUpstream => {
            plan.settle.push(name.clone());
            "add the missing rules and replication channels".to_owned()
        }
    };
    // Rules that let in a second primary are for when it is none any more.
    let is_second = cause == Cause::OldPrimary && n.state().running;
    if !n.is_streaming() && cause != Cause::OtherSystem && !is_second {
        connect(c, plan, n, options);
    }
    plan.cases.push(Case { node: name, cause, evidence, remedy });
}

/// What lacks by which this node and the members reach each other.
fn connect(c: &Cluster, plan: &mut Repair, n: &Node, options: &Options) {
    let method = Some(options.og_hba_method.as_str());
    let others: Vec<&Node> = c.members.iter().copied().filter(|m| *m != n && m.is_reachable()).collect();
    for m in &others {
        let (rules, user) = (&m.seen().rules, c.os_user(n));
        let let_in = access::is_admitted(rules, &n.address, &user, &options.og_hba_method);
        let shut = !rules.is_empty() && let_in == Some(false);
        // A file that is made anew has them.
        if shut && !plan.restored_rules.contains_key(&m.name) {
            plan.rules.entry(m.name.clone()).or_default().push(c.rule(n, method));
        }
        if !access::has_channel(m, n) {
            plan.channels.entry(m.name.clone()).or_default().push(n.channel_end());
        }
    }
    let lacking = others.iter().filter(|m| !access::has_channel(n, m)).map(|m| m.channel_end());
    let lacking: Vec<PeerArg> = lacking.collect();
    // Of a file that cannot be read nothing is known; what lacks in the copy is seen when it is there.
    if !lacking.is_empty() && n.seen().conf_error.is_none() {
        plan.channels.insert(n.name.clone(), lacking);
    }
}

/// A node that streams is stopped only where commits do not wait for it.
fn spare_commits(c: &mut Cluster, plan: &mut Repair, primary: &Node, tried: &[String]) {
    let stops = |n: &&Node| {
        n.is_streaming()
            && (plan.restart.contains_key(&n.name) || plan.builds.iter().any(|build| build.node == n.name))
    };
    let stopped: Vec<&Node> = c.nodes.iter().filter(stops).collect();
    plan.streaming = self::node_names(stopped.iter().copied());
    let names = primary.works_with(SYNC_NAMES).and_then(|text| StandbyNames::parse(text).ok());
    let goes_on = primary.works_with(MOST_AVAILABLE).is_some_and(|value| value.eq_ignore_ascii_case("on"));
    let Some(names) = names.filter(|_| !goes_on) else { return };
    for n in stopped {
        let others = c.standbys(&c.members).into_iter().filter(|m| *m != n && m.is_streaming());
        let others: Vec<String> = others.map(|m| m.app_name.clone()).collect();
        if let Some(missing) = names.missing(&others) {
            let why = format!(
                "{}: commits wait for it, and it would be stopped: {missing}; start or repair another standby first, or \
                 take it out of synchronous_standby_names (og_guc)",
                n.name
            );
            refuse(c, plan, n, why, tried);
            plan.forget(&n.name);
        }
    }
}
