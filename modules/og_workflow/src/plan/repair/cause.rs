//! Why a node needs repair, proved from what was seen.

use og_common::gauss::tablespaces::Damage;
use og_common::gauss::{DbState, Obstacle, Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access;
use super::head::Held;
use super::own_log::OwnLog;
use crate::cluster::{Cluster, Node, changes_role, describe_state, role_in_words};

/// Why a node does not serve or does not follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It streams and has not replayed all yet.
    CatchingUp,
    /// Its server starts, or changes its role.
    Starting,
    /// A build of it is under way.
    BeingBuilt,
    /// Its server was stopped.
    Stopped,
    /// Its server ended by a crash or a signal, or with its host.
    Crashed,
    /// It has no pg_hba.conf.
    NoHba,
    /// Its server refuses its pg_hba.conf.
    BrokenHba,
    /// Its server refuses its postgresql.conf.
    BrokenConf,
    /// No rule of its upstream's pg_hba.conf covers its address.
    NotLetIn,
    /// Its upstream has no replication channel to it.
    UpstreamDoesNotKnowIt,
    /// It has no replication channel to its upstream.
    NoChannelToUpstream,
    /// Its server runs in another role than it should.
    WrongRole,
    /// Its log and its upstream's differ from some LSN on.
    Diverged,
    /// Its upstream has removed the log that it needs.
    WalGone,
    /// It cannot follow its upstream's log; whether that differs or was removed is not known.
    LogUnusable,
    /// A build of it died half done.
    BuildDied,
    /// It ran as primary, or as a single node, beside or before the present primary.
    OldPrimary,
    /// No primary runs, and this node was it last.
    LastPrimary,
    /// Its tablespaces lie in directories of another name than its server's.
    TablespacesUnseen,
    /// Its data are of another database system.
    OtherSystem,
    /// It does not reach its upstream, and why is not known.
    NotConnected,
}

/// A node that needs repair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Case {
    /// The node.
    pub node: String,
    /// Why.
    pub cause: Cause,
    /// What shows it, in words: the server's own, positions, terms, identifiers.
    pub evidence: String,
    /// What is done about it first, in words.
    pub remedy: String,
}

impl Case {
    /// For a person: the node, why, what shows it, and what is done.
    #[must_use]
    pub fn in_words(&self) -> String {
        format!("{} ({}): {}; {}", self.node, self.cause.describe(), self.evidence, self.remedy)
    }
}

impl Cause {
    /// In a few words.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::CatchingUp => "it catches up",
            Self::Starting => "it starts",
            Self::BeingBuilt => "it is being built",
            Self::Stopped => "stopped",
            Self::Crashed => "crashed",
            Self::NoHba => "pg_hba.conf is missing",
            Self::BrokenHba => "pg_hba.conf is broken",
            Self::BrokenConf => "postgresql.conf is broken",
            Self::NotLetIn => "its upstream does not let it in",
            Self::UpstreamDoesNotKnowIt => "its upstream has no replication channel to it",
            Self::NoChannelToUpstream => "it has no replication channel to its upstream",
            Self::WrongRole => "it runs in the wrong role",
            Self::Diverged => "its log and its upstream's differ",
            Self::WalGone => "its upstream has removed the log that it needs",
            Self::LogUnusable => "its log differs from its upstream's, or what it needs of that was removed",
            Self::BuildDied => "a build of it died",
            Self::OldPrimary => "an old primary",
            Self::LastPrimary => "the last primary is stopped",
            Self::TablespacesUnseen => "it does not see its tablespaces",
            Self::OtherSystem => "its data are of another database system",
            Self::NotConnected => "it does not reach its upstream, and why cannot be told",
        }
    }
}

/// That the server of the node, which does not run, cannot read its postgresql.conf, and what to do.
pub(super) fn broken_conf(n: &Node) -> Option<Refusal> {
    let why = n.seen().conf_error.as_ref()?;
    Some(format!(
        "{}: its server does not start: {why}; or name a copy of the file that you trust: og repair {} og_repair_backup=PATH",
        n.name, n.name
    ))
}

/// What cannot be repaired, or not without being forced.
pub(super) type Refusal = String;

/// What is known beside the nodes, to tell a cause.
pub(super) struct RepairView<'a, 'c> {
    pub(super) c: &'c Cluster<'a>,
    pub(super) head: &'a Node,
    /// Nodes for which a mild remedy was tried in this run.
    pub(super) tried: &'c [String],
    /// Whether the node was named, and is forced to give up what it holds.
    pub(super) force: bool,
    /// Whether a copy of its postgresql.conf is named.
    pub(super) has_copy: bool,
    /// The method by which the nodes let each other in.
    pub(super) method: &'c str,
}

impl<'a> RepairView<'a, '_> {
    /// Tells why this node, which is not the primary, needs repair; none where it needs none.
    ///
    /// # Errors
    /// Why it is not repaired.
    pub(super) fn cause(&self, n: &'a Node) -> Result<Option<(Cause, String)>, Refusal> {
        let state = n.state();
        if state.build.as_ref().is_some_and(|build| build.running) {
            return Ok(Some((Cause::BeingBuilt, "a build of it runs".to_owned())));
        }
        if let (Some(own), Some(there)) = (n.system_id(), self.head.system_id())
            && own != there
        {
            return self.other_system(n, own, there);
        }
        if let (Some(own), Some(there)) = (&state.version, &self.head.state().version)
            && series(own) != series(there)
        {
            return Err(format!(
                "{}: its programs are of release {own}, those of {} of {there}: a standby follows a primary of its own \
                 release only; install {there} on it",
                n.name, self.head.name
            ));
        }
        if state.build.as_ref().is_some_and(|build| build.interrupted) {
            return Ok(Some((
                Cause::BuildDied,
                "a build of it died after it had begun to replace the data".to_owned(),
            )));
        }
        if !is_attached(n) {
            self.refuse_more_log(n)?;
        }
        match n.live_role() {
            None => self.stopped_cause(n).map(Some),
            Some(role @ (Role::Primary | Role::Normal)) => {
                let evidence = format!(
                    "it runs as {}, and {} is the primary: {}",
                    role_in_words(role),
                    self.head.name,
                    self.describe_logs(n)
                );
                self.refuse_loss(n, Cause::OldPrimary, &evidence)?;
                Ok(Some((Cause::OldPrimary, evidence)))
            }
            Some(Role::Pending) => {
                Ok(Some((Cause::WrongRole, "it runs as pending, waiting to be told its role".to_owned())))
            }
            Some(_) => self.standby_cause(n),
        }
    }

    fn describe_logs(&self, n: &Node) -> String {
        format!(
            "{} has {}, {} has {}",
            n.name,
            Held::new(n).describe(),
            self.head.name,
            Held::new(self.head).describe()
        )
    }

    fn other_system(&self, n: &Node, own: &str, there: &str) -> Result<Option<(Cause, String)>, Refusal> {
        let evidence = format!("its database system is {own}, that of {} is {there}", self.head.name);
        if self.force {
            return Ok(Some((Cause::OtherSystem, evidence)));
        }
        Err(format!(
            "{}: {evidence}: it holds another cluster's data, which a build deletes; og_repair_force with this node named \
             builds it all the same",
            n.name
        ))
    }

    /// Refuses a node that holds what the primary has not: a repair may end in a build, which deletes it.
    fn refuse_more_log(&self, n: &Node) -> Result<(), Refusal> {
        let (own, there) = (Held::new(n), Held::new(self.head));
        let newer = matches!((own.term, there.term), (Some(own), Some(there)) if own > there);
        let more = match (own.lsn, there.lsn) {
            (Some(own), Some(there)) if own > there => Some((own.bytes_since(there), there, own)),
            _ => None,
        };
        let own_log = self.own_log(n);
        if self.force || !(newer || more.is_some()) || (!newer && own_log == OwnLog::Nothing) {
            return Ok(());
        }
        let what =
            more.map_or_else(String::new, |(bytes, from, to)| format!(", {bytes} more, from {from} to {to}"));
        let what = own_log.in_words(n).map_or(what, |words| format!(", {words}"));
        Err(format!(
            "{}: holds what the primary has not: {}{what}; find out which node is to be the primary; og_repair_force with \
             this node named gives up what only it holds",
            n.name,
            self.describe_logs(n)
        ))
    }

    /// What it holds that the primary has not.
    fn own_log(&self, n: &Node) -> OwnLog {
        OwnLog::new(n, self.head, self.c.nodes)
    }

    /// Refuses what may end in a build of a node that may have been primary itself, unless its log is proved to be a part of
    /// the primary's.
    fn refuse_loss(&self, n: &Node, cause: Cause, evidence: &str) -> Result<(), Refusal> {
        let own_log = self.own_log(n);
        let is_harmless = self.force || own_log == OwnLog::Nothing;
        let loses = matches!(
            cause,
            Cause::OldPrimary | Cause::Diverged | Cause::LogUnusable | Cause::TablespacesUnseen
        );
        if is_harmless || !loses {
            return Ok(());
        }
        let head = &self.head.name;
        let what = own_log.in_words(n).map_or_else(
            || format!("what it wrote after {head} took over"),
            |words| format!("it holds {words}: that"),
        );
        let stop = if matches!(n.live_role(), Some(Role::Primary | Role::Normal)) {
            "; where it is stopped first, its log may prove that nothing of it is lost"
        } else {
            ""
        };
        Err(format!(
            "{}: {}: {evidence}; {what} exists only there; og_repair_force with this node named keeps a copy of that log aside, \
             gives it up and makes the node a standby of {head}{stop}",
            n.name,
            cause.describe()
        ))
    }

    /// Refuses a build for a reason that could not be told.
    fn refuse_untold_build(&self, n: &Node, cause: Cause, evidence: &str) -> Result<(), Refusal> {
        let is_tried = cause == Cause::NotConnected && self.tried.contains(&n.name);
        if self.force || !is_tried || self.own_log(n) == OwnLog::Nothing {
            return Ok(());
        }
        let head = &self.head.name;
        Err(format!(
            "{}: it does not receive, and why cannot be told: {evidence}; read its server's log, and check the network and \
             the firewall between it and {head}; what it may have written after {head} took over exists only there; keep a \
             copy of its pg_xlog if in doubt; og_repair_force with this node named rebuilds it all the same",
            n.name
        ))
    }

    fn stopped_cause(&self, n: &'a Node) -> Result<(Cause, String), Refusal> {
        let (seen, state) = (n.seen(), n.state());
        let found = seen.diagnosis.clone().unwrap_or_default();
        let said = found
            .last_error
            .as_deref()
            .map_or_else(String::new, |line| format!("; its log ends with: {line}"));
        if let Some(why) = broken_conf(n).filter(|_| !self.has_copy) {
            return Err(why);
        }
        if matches!(state.role, Role::Primary | Role::Normal) {
            let evidence = format!(
                "it last ran as {}, and {} is the primary: {}",
                role_in_words(state.role),
                self.head.name,
                self.describe_logs(n)
            );
            self.refuse_loss(n, Cause::OldPrimary, &evidence)?;
            let proof = match self.own_log(n) {
                OwnLog::Nothing => {
                    format!(
                        "; its log ends before the recorded failover, and its last record is in the log of {}, so nothing \
                         of it is lost",
                        self.head.name
                    )
                }
                own_log => {
                    own_log.in_words(n).map_or_else(String::new, |words| format!("; it holds {words}"))
                }
            };
            return Ok((Cause::OldPrimary, format!("{evidence}{proof}")));
        }
        if let Some(why) = &seen.no_rules {
            return Ok((
                Cause::NoHba,
                format!("its server is stopped, and without pg_hba.conf it does not start: {why}"),
            ));
        }
        if let Some(why) = &seen.conf_error {
            return Ok((Cause::BrokenConf, format!("its server is stopped, and does not start: {why}")));
        }
        if let Some(broken) = access::broken_lines(n) {
            let evidence = format!("its server is stopped, and does not start with {broken}");
            return Ok((Cause::BrokenHba, evidence));
        }
        if found.obstacle == Some(Obstacle::ConfRefused) && self.tried.contains(&n.name) {
            return Err(format!(
                "{}: its server refuses postgresql.conf{said}; mend that line (og_guc), or name a copy of the file that you \
                 trust: og repair {} og_repair_backup=PATH",
                n.name, n.name
            ));
        }
        Ok(match found.obstacle {
            Some(Obstacle::ConfRefused) => (Cause::BrokenConf, format!("its server does not run{said}")),
            _ if found.crashed => {
                (Cause::Crashed, format!("its server ended without stopping: postmaster.pid was left{said}"))
            }
            _ => (Cause::Stopped, format!("its server was stopped{said}")),
        })
    }

    fn standby_cause(&self, n: &'a Node) -> Result<Option<(Cause, String)>, Refusal> {
        let state = n.state();
        let detail = state.detail.as_deref().and_then(|text| text.lines().next()).unwrap_or_default().trim();
        if state.frozen {
            return Err(format!("{}: {detail}: it does nothing until it is let go on (kill -CONT)", n.name));
        }
        let db_state = state.db_state;
        if changes_role(db_state) || db_state == DbState::Starting {
            return Ok(Some((Cause::Starting, format!("its server is {}", describe_state(db_state)))));
        }
        if let Some(spaces) =
            state.tablespaces.as_ref().filter(|s| matches!(s.damage, Damage::NotSeen | Damage::NameChanges))
        {
            let evidence = spaces.warning(state.role).unwrap_or_default();
            if !is_attached(n) {
                self.refuse_loss(
                    n,
                    Cause::TablespacesUnseen,
                    &format!("{evidence}: {}", self.describe_logs(n)),
                )?;
            }
            return Ok(Some((Cause::TablespacesUnseen, evidence)));
        }
        if self.is_in_wrong_role(n) {
            let (live, wanted) = (role_in_words(state.role), role_in_words(n.role));
            return Ok(Some((
                Cause::WrongRole,
                format!("it runs as {live}, and the inventory says {wanted}"),
            )));
        }
        if is_attached(n) {
            let catches_up = db_state == DbState::Catchup;
            return Ok(catches_up.then(|| (Cause::CatchingUp, self.describe_logs(n))));
        }
        let (cause, evidence) = self.detached_cause(n, detail);
        self.refuse_loss(n, cause, &evidence)?;
        self.refuse_untold_build(n, cause, &evidence)?;
        Ok(Some((cause, evidence)))
    }

    /// Whether a standby runs as a cascade standby or the other way round. One that streams is taken for what it runs as,
    /// for a switchover changes roles, unless it was named.
    fn is_in_wrong_role(&self, n: &Node) -> bool {
        let differs = matches!(
            (n.state().role, n.role),
            (Role::Standby, Role::CascadeStandby) | (Role::CascadeStandby, Role::Standby)
        );
        differs && (!is_attached(n) || self.c.targets.contains(&n))
    }

    /// Why a standby does not receive from its upstream.
    fn detached_cause(&self, n: &'a Node, detail: &str) -> (Cause, String) {
        let found = n.seen().diagnosis.clone().unwrap_or_default();
        let said = found.last_error.as_deref().map_or_else(String::new, |line| format!("; its log: {line}"));
        let words = format!("it says {detail}{said}");
        let ups = upstreams(self.c, self.head, n);
        if !ups.is_empty() && !ups.iter().any(|up| access::has_channel(n, up)) {
            return (
                Cause::NoChannelToUpstream,
                format!("none of its replication channels leads to {}", list(&ups)),
            );
        }
        let unknown: Vec<&Node> = ups.iter().copied().filter(|up| !access::has_channel(up, n)).collect();
        if !ups.is_empty() && unknown.len() == ups.len() {
            return (
                Cause::UpstreamDoesNotKnowIt,
                format!("no replication channel of {} leads to it{said}", list(&ups)),
            );
        }
        let shut = |up: &&Node| {
            let rules = &up.seen().rules;
            !rules.is_empty()
                && access::is_admitted(rules, &n.address, &self.c.os_user(n), self.method) == Some(false)
        };
        let shut: Vec<&Node> = ups.iter().copied().filter(shut).collect();
        if !shut.is_empty() && shut.len() == ups.len() {
            return (
                Cause::NotLetIn,
                format!("no rule of pg_hba.conf on {} lets {} in{said}", list(&shut), n.address),
            );
        }
        let cause = match found.obstacle {
            Some(Obstacle::LogDiverged) => Cause::Diverged,
            Some(Obstacle::LogRemoved) => Cause::WalGone,
            Some(Obstacle::LogUnmatched) => Cause::LogUnusable,
            _ if detail.contains("Timeline not matched") => Cause::Diverged,
            _ if detail.contains("WAL segment removed") => Cause::LogUnusable,
            Some(Obstacle::NotLetIn) => Cause::NotLetIn,
            Some(Obstacle::NotInChannelList) => Cause::UpstreamDoesNotKnowIt,
            _ => Cause::NotConnected,
        };
        let both = self.describe_logs(n);
        let head = &self.head.name;
        let of_log = matches!(cause, Cause::Diverged | Cause::WalGone | Cause::LogUnusable);
        match self.own_log(n) {
            OwnLog::Nothing if of_log => (
                Cause::NotConnected,
                format!("{words}; but the last record of its log is in the log of {head}: {both}"),
            ),
            own_log @ (OwnLog::From(_) | OwnLog::Something) => {
                let what =
                    own_log.in_words(n).map_or_else(String::new, |words| format!("; it holds {words}"));
                let differ = format!(
                    "the last record of its log is not in the log of {head}, by LSN and checksum{what}"
                );
                (if of_log { Cause::Diverged } else { cause }, format!("{words}; {differ}: {both}"))
            }
            _ => (cause, format!("{words}; {both}")),
        }
    }
}

/// Whether the node receives from its upstream at this moment.
pub(super) fn is_attached(n: &Node) -> bool {
    n.is_streaming() && n.live_role().is_some_and(Role::is_following)
}

/// The members that this node may receive from: the primary, or, of a cascade standby, the standbys that run.
pub(super) fn upstreams<'a>(c: &Cluster<'a>, head: &'a Node, n: &Node) -> Vec<&'a Node> {
    if !n.becomes_cascade() {
        return vec![head];
    }
    let serves = |m: &&Node| *m != n && m.live_role() == Some(Role::Standby);
    c.members.iter().copied().filter(serves).collect()
}

fn list(nodes: &[&Node]) -> String {
    nodes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The part of a release number within which data directories are alike.
fn series(version: &str) -> String {
    version.split('.').take(2).collect::<Vec<_>>().join(".")
}
