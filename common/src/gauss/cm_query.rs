//! What `cm_ctl query` tells: CM's servers, its judgement of the cluster, and its view of each server.
//!
//! Source: recordings of CM 5.0.3 and 6.0.2 (`tests/vectors/cm/query`); the words of roles and states are those of CM's
//! `cm_misc.cpp`. Which columns there are depends on the options (`-i` addresses, `-d` directories, `-p` ports, `-z` zones); the servers
//! stand in one line, in cells, or in a line each.

use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ServerNode;
use super::managed::Manager;
use super::process::time_left;
use super::state::Role;
use crate::base::{Call, Error, ErrorKind};

/// What CM says of its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CmView {
    /// CM's own servers, one for each node that has one.
    pub servers: Vec<CmServerView>,
    /// Its judgement: `Normal`, `Degraded`, `Unavailable`, `Starting`, …; `None` when no cm_server could be asked. For about
    /// two seconds after another cm_server became primary it is `Unavailable` though all is well.
    pub cluster_state: Option<String>,
    /// Whether every server has the role that the static config gives it.
    pub balanced: Option<bool>,
    /// Whether CM is paused, as the node where it was asked sees it.
    pub paused: bool,
    /// The database servers.
    pub instances: Vec<CmInstance>,
}

/// One of CM's own servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CmServerView {
    /// Number of its node.
    pub node_id: u32,
    /// Name of its node.
    pub node: String,
    /// `Primary`, `Standby`, `Down` or what else CM says.
    pub state: String,
}

/// A database server, as CM sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CmInstance {
    /// Number of its node.
    pub node_id: u32,
    /// Name of its node.
    pub node: String,
    /// Its own number, such as 6001.
    pub instance_id: u32,
    /// Its data directory, when it was asked for.
    pub data_dir: Option<String>,
    /// The role that the static config gives it.
    pub static_role: Role,
    /// The role that it has; `None` where CM says `Down`, `Offline` or nothing.
    pub role: Option<Role>,
    /// In CM's words: `Normal`, `Need repair`, `Manually stopped`, `Disk damaged`, `Starting`, `Unknown`, …
    pub state: String,
    /// What CM adds to it: `Connecting`, `Disconnected`, `100%`, …
    pub detail: Option<String>,
}

/// CM's words for roles, those of two words before those that they end with.
const ROLES: [(&str, Option<Role>); 12] = [
    ("Cascade Standby", Some(Role::CascadeStandby)),
    ("Main Standby", Some(Role::MainStandby)),
    ("Primary", Some(Role::Primary)),
    ("Standby", Some(Role::Standby)),
    ("Pending", Some(Role::Pending)),
    ("Normal", Some(Role::Normal)),
    ("Secondary", Some(Role::Unknown)),
    ("ReadOnly", Some(Role::Unknown)),
    ("Deleted", None),
    ("Offline", None),
    ("Unknown", None),
    ("Down", None),
];

impl CmView {
    /// Reads the output; `None` when it has none of the tables, as when cm_ctl could not be used at all.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (mut view, mut section) = (Self::default(), QuerySection::Other);
        let (mut found, mut in_rows) = (false, false);
        for line in text.lines() {
            let line = line.trim_end();
            if let Some(title) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                section = match title.trim() {
                    "CMServer State" => QuerySection::Servers,
                    "Cluster State" => QuerySection::Cluster,
                    "Datanode State" => QuerySection::Instances,
                    _ => QuerySection::Other,
                };
                found |= section != QuerySection::Other;
                in_rows = false;
                continue;
            }
            if line.len() > 3 && line.bytes().all(|b| b == b'-') {
                in_rows = true;
                continue;
            }
            match section {
                QuerySection::Servers if in_rows => view.servers.extend(CmServerView::parse(line)),
                QuerySection::Instances if in_rows => {
                    view.instances.extend(line.split(" | ").filter_map(CmInstance::parse));
                }
                QuerySection::Cluster => view.take_fact(line),
                _ => {}
            }
        }
        found.then_some(view)
    }

    fn take_fact(&mut self, line: &str) {
        let Some((key, value)) = line.split_once(':').map(|(key, value)| (key.trim(), value.trim())) else {
            return;
        };
        match key {
            "cluster_state" => self.cluster_state = Some(value.to_owned()),
            "balanced" => self.balanced = Some(value == "Yes"),
            "pausing" => self.paused = value == "Yes",
            _ => {}
        }
    }

    /// The node whose cm_server is the primary.
    #[must_use]
    pub fn primary_server(&self) -> Option<&CmServerView> {
        self.servers.iter().find(|server| server.state == "Primary")
    }

    /// Whether a majority of the cm_servers is up, without which they elect no primary.
    #[must_use]
    pub fn has_majority(&self) -> bool {
        let up = self.servers.iter().filter(|server| server.state != "Down").count();
        up * 2 > self.servers.len()
    }

    /// Whether none of the cm_servers is up, as when the whole cluster was stopped.
    #[must_use]
    pub fn has_no_server(&self) -> bool {
        !self.servers.is_empty() && self.servers.iter().all(|server| server.state == "Down")
    }

    /// Whether it calls the cluster unavailable.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        self.cluster_state.as_deref() == Some("Unavailable")
    }

    /// For how long such a view may be that of a healthy cluster whose cm_servers change their primary.
    fn settling_time(&self) -> Duration {
        let is_electing = self.primary_server().is_none() && self.has_majority();
        match (is_electing, self.is_unavailable()) {
            (true, _) => ELECTION,
            (false, true) => SETTLING,
            (false, false) => Duration::ZERO,
        }
    }

    /// The server of this number.
    #[must_use]
    pub fn instance(&self, id: u32) -> Option<&CmInstance> {
        self.instances.iter().find(|instance| instance.instance_id == id)
    }
}

impl CmServerView {
    /// `1  node1 10.66.0.1  1  /path/cm_server Primary`, with or without address and directory.
    fn parse(line: &str) -> Option<Self> {
        let (node_id, rest) = node_number(line)?;
        let mut words = rest.split_whitespace();
        let node = words.next()?.to_owned();
        Some(Self { node_id, node, state: words.last()?.to_owned() })
    }
}

impl CmInstance {
    /// `3  node3 10.66.0.3  6003 15400  /path/dn S Primary Normal`, with or without address, port and directory.
    fn parse(cell: &str) -> Option<Self> {
        let (node_id, rest) = node_number(cell)?;
        let (node, rest) = next_word(rest)?;
        let (word, after) = next_word(rest)?;
        let (instance_id, rest) = if let Ok(id) = word.parse::<u32>() {
            (id, after)
        } else {
            // The address comes first.
            let (id, after) = next_word(after)?;
            (id.parse().ok()?, after)
        };
        let rest = match next_word(rest)? {
            (port, after) if port.parse::<u16>().is_ok() => after,
            _ => rest,
        };
        // The directory may have blanks in it: it goes to the letter that a role follows.
        let (at, static_role, role, state) = rest.char_indices().find_map(|(at, letter)| {
            let static_role = match letter {
                'P' => Role::Primary,
                'S' => Role::Standby,
                'C' => Role::CascadeStandby,
                'R' => Role::Unknown,
                _ => return None,
            };
            let starts = at == 0 || rest[..at].ends_with(' ');
            let told = rest[at + 1..].strip_prefix(' ').filter(|_| starts)?.trim_start();
            let (role, state) = ROLES.iter().find_map(|(word, role)| {
                told.strip_prefix(word)
                    .filter(|rest| rest.is_empty() || rest.starts_with(' '))
                    .map(|rest| (*role, rest))
            })?;
            Some((at, static_role, role, state.trim()))
        })?;
        let data_dir = Some(rest[..at].trim()).filter(|dir| !dir.is_empty()).map(str::to_owned);
        let (state, detail) = match state.strip_suffix(')').and_then(|s| s.split_once('(')) {
            Some((state, detail)) => (state, Some(detail.to_owned())),
            None => (state, None),
        };
        Some(Self {
            node_id,
            node: node.to_owned(),
            instance_id,
            data_dir,
            static_role,
            role,
            state: state.to_owned(),
            detail,
        })
    }

    /// Whether CM holds it stopped because a person said so (`cm_ctl stop`).
    #[must_use]
    pub fn is_stopped_by_hand(&self) -> bool {
        self.state == "Manually stopped"
    }

    /// Whether CM can do nothing for it: its data directory was emptied, or cannot be written.
    #[must_use]
    pub fn is_disk_damaged(&self) -> bool {
        self.state == "Disk damaged"
    }

    /// Whether CM has made it read-only, because its disk is too full.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.state == "ReadOnly"
    }

    /// Whether it serves, and follows where it is a standby.
    #[must_use]
    pub fn is_normal(&self) -> bool {
        self.role.is_some() && self.state == "Normal"
    }

    /// Returns the state in CM's words, for messages.
    #[must_use]
    pub fn words(&self) -> String {
        let role = ROLES.iter().find(|(_, role)| *role == self.role).map_or("Down", |(word, _)| word);
        let role = if self.role.is_none() { "Down" } else { role };
        let detail = self.detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default();
        format!("{role} {}{detail}", self.state)
    }
}

/// How long cm_ctl may take: without a cm_server to ask it tries for some seconds.
const QUERY_TIMEOUT: Duration = Duration::from_secs(15);
/// For how long a cm_server that has just become primary calls a healthy cluster `Unavailable`.
const SETTLING: Duration = Duration::from_secs(3);
/// How long the cm_servers may take to have a primary again when theirs has ended.
const ELECTION: Duration = Duration::from_secs(10);
/// How long after such an answer it is asked again.
const RETRY_INTERVAL: Duration = Duration::from_millis(300);

impl ServerNode {
    /// What CM says of the cluster, by `cm_ctl query -Cvidp`; `None` where CM does not run the node. cm_ctl takes 0.7 s, and
    /// asks CM's servers, no database.
    ///
    /// # Errors
    /// As [`ServerNode::query_cm`].
    pub async fn cm_view(&self, call: &Call) -> Result<Option<CmView>, Error> {
        if self.managed_by(call, true).await.by != Manager::Cm {
            return Ok(None);
        }
        self.query_cm(call).await.map(Some)
    }

    /// What CM says of the cluster. That the cluster is unavailable, or that the cm_servers have no primary although they have
    /// their majority, is believed only when CM goes on saying so.
    ///
    /// # Errors
    /// `not_found` when there is no cm_ctl; `command_failed` with its words when it tells nothing of the cluster.
    pub async fn query_cm(&self, call: &Call) -> Result<CmView, Error> {
        let mut settling = Settling::begin(Instant::now());
        loop {
            let view = self.query_cm_once(call).await?;
            if settling.is_over(view.settling_time(), Instant::now()) {
                return Ok(view);
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    async fn query_cm_once(&self, call: &Call) -> Result<CmView, Error> {
        let program = self.env(call).await?.program("cm_ctl")?;
        let outcome =
            program.args(["query", "-Cvidp"]).with_limit(Some(time_left(call, QUERY_TIMEOUT))).run().await?;
        // Its exit status is 255 where CM has no majority, and the tables tell which of its servers are there.
        CmView::parse(&outcome.stdout).ok_or_else(|| {
            let detail = format!("cm_ctl query tells nothing of the cluster: {}", outcome.last_words());
            Error::new(ErrorKind::CommandFailed, detail).with_command(outcome.record())
        })
    }
}

/// For how long views have been such that they may pass.
struct Settling {
    begun: Instant,
    /// How long such a view as the last one may last, and since when there have been such.
    last: (Duration, Instant),
}

impl Settling {
    fn begin(now: Instant) -> Self {
        Self { begun: now, last: (Duration::ZERO, now) }
    }

    /// Whether a view that may last so long is to be believed: the time of a cm_server that was elected meanwhile counts from then
    /// on, for it has yet to hear from the nodes. Elections that go on and on are believed in the end.
    fn is_over(&mut self, limit: Duration, now: Instant) -> bool {
        if self.last.0 != limit {
            self.last = (limit, now);
        }
        now.duration_since(self.last.1) >= limit || now.duration_since(self.begun) >= ELECTION + SETTLING
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum QuerySection {
    Servers,
    Cluster,
    Instances,
    Other,
}

/// The number of the node with which a line begins, and the rest; with `-z` the zone comes before it.
fn node_number(text: &str) -> Option<(u32, &str)> {
    let (word, rest) = next_word(text)?;
    if let Ok(number) = word.parse() {
        return Some((number, rest));
    }
    let (word, rest) = next_word(rest)?;
    Some((word.parse().ok()?, rest))
}

fn next_word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    (!text.is_empty()).then(|| text.split_at(text.find(char::is_whitespace).unwrap_or(text.len())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Each recording, by its name.
    fn recordings() -> Vec<(String, String)> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/cm/query");
        let mut all: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                (
                    path.file_stem().unwrap().to_string_lossy().into_owned(),
                    std::fs::read_to_string(path).unwrap(),
                )
            })
            .collect();
        all.sort();
        all
    }

    #[test]
    fn every_recording_is_read() {
        let lines: Vec<String> = recordings()
            .iter()
            .map(|(name, text)| {
                let view = CmView::parse(text).unwrap();
                let servers: Vec<_> =
                    view.servers.iter().map(|s| format!("{}:{}", s.node_id, s.state)).collect();
                let instances: Vec<_> = view
                    .instances
                    .iter()
                    .map(|i| format!("{} {} ({})", i.instance_id, i.words(), i.static_role))
                    .collect();
                format!(
                    "{name}: {}{}; {}; {}",
                    view.cluster_state.as_deref().unwrap_or("-"),
                    if view.paused { ", paused" } else { "" },
                    servers.join(" "),
                    instances.join(", ")
                )
            })
            .collect();
        assert!(lines.len() > 70);
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn no_cell_of_a_recording_is_passed_over() {
        for (name, text) in recordings() {
            let view = CmView::parse(&text).unwrap();
            let cells =
                text.matches(" P ").count() + text.matches(" S ").count() + text.matches(" C ").count();
            assert_eq!(view.instances.len(), cells, "{name}");
        }
    }

    #[test]
    fn addresses_ports_and_directories_may_be_there_or_not() {
        let whole =
            "3  node3 10.66.0.3       6003 15400  /my data/S dn C Cascade Standby Need repair(Connecting)";
        let cell = CmInstance::parse(whole).unwrap();
        assert_eq!((cell.node_id, cell.node.as_str(), cell.instance_id), (3, "node3", 6003));
        assert_eq!(cell.data_dir.as_deref(), Some("/my data/S dn"));
        assert_eq!((cell.static_role, cell.role), (Role::CascadeStandby, Some(Role::CascadeStandby)));
        assert_eq!((cell.state.as_str(), cell.detail.as_deref()), ("Need repair", Some("Connecting")));
        assert_eq!(cell.words(), "Cascade Standby Need repair (Connecting)");
        let bare = CmInstance::parse("3  node3 6003     S Down    Manually stopped").unwrap();
        assert!(bare.is_stopped_by_hand() && bare.role.is_none() && bare.data_dir.is_none());
        let six = CmInstance::parse("1  n1 fd00::1 6001 15400 /d P Primary Normal").unwrap();
        assert!(six.is_normal() && six.data_dir.as_deref() == Some("/d"));
    }

    #[test]
    fn a_cm_server_that_was_just_elected_has_its_time_from_then_on() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut settling = Settling::begin(begun);
        assert!(!settling.is_over(ELECTION, at(1)) && !settling.is_over(ELECTION, at(6)));
        assert!(!settling.is_over(SETTLING, at(7)) && !settling.is_over(SETTLING, at(9)));
        assert!(settling.is_over(SETTLING, at(10)), "it goes on saying so");
        assert!(settling.is_over(Duration::ZERO, at(11)), "all is well");
        let mut settling = Settling::begin(begun);
        assert!(settling.is_over(Duration::ZERO, at(0)));
        assert!(!settling.is_over(ELECTION, at(0)) && settling.is_over(ELECTION, at(10)));
        // One election after the other.
        let mut settling = Settling::begin(begun);
        let last = (0..20)
            .find(|second| settling.is_over(if second % 2 == 0 { ELECTION } else { SETTLING }, at(*second)));
        assert_eq!(last, Some(13));
    }

    #[test]
    fn what_is_no_query_is_none() {
        assert_eq!(CmView::parse("cm_ctl: can't connect to cm_server.\n"), None);
        assert_eq!(CmView::parse(""), None);
    }

    fn recording(name: &str) -> CmView {
        let (_, text) = recordings().into_iter().find(|(own, _)| own.ends_with(name)).unwrap();
        CmView::parse(&text).unwrap()
    }

    #[test]
    fn a_change_of_the_primary_cm_server_is_waited_for() {
        // The primary was killed; then another one is, and has not heard of the servers yet.
        assert_eq!(recording("kill9_cm_server_primary-0").settling_time(), ELECTION);
        assert_eq!(recording("kill9_cm_server_primary-1").settling_time(), SETTLING);
        // Without a majority there will be none.
        assert_eq!(recording("query_minority").settling_time(), Duration::ZERO);
        assert_eq!(recording("query_after_start").settling_time(), Duration::ZERO);
    }

    #[test]
    fn a_cluster_that_was_stopped_as_a_whole_has_no_cm_server() {
        assert!(recording("query_stopped_all").has_no_server());
        for name in ["query_on_stopped_node", "query_minority", "kill9_cm_server_primary-0"] {
            assert!(!recording(name).has_no_server(), "{name}");
        }
        assert!(!CmView::default().has_no_server());
    }

    #[test]
    fn without_a_majority_only_cms_servers_are_told() {
        let (_, text) =
            recordings().into_iter().find(|(name, _)| name.ends_with("query_on_dead_node")).unwrap();
        let view = CmView::parse(&text).unwrap();
        assert!(view.cluster_state.is_none() && view.instances.is_empty());
        assert!(view.primary_server().is_none() && !view.has_majority());
    }
}
