//! Ports, names and ways to other hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use og_common::files::read_tcp;
use og_common::gauss::peer;
use og_common::gauss::source::Source;
use procfs_core::net::TcpState;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use super::{Facts, Root};
use crate::args::Target;

/// How long a name or a connection may take.
const LIMIT: Duration = Duration::from_millis(1500);

/// A port that the server uses or will use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// Who listens on it.
    pub state: PortState,
    /// On which addresses somebody listens.
    pub addresses: Vec<String>,
}

/// Who listens on a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PortState {
    /// Nobody.
    Free,
    /// The node's own server.
    Own,
    /// Another process.
    Taken,
    /// It could not be read.
    #[default]
    Unknown,
}

/// A replication channel of postgresql.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ChannelFacts {
    /// Which replconninfo it is.
    pub number: u8,
    /// The node's own address in it.
    pub local_host: String,
    /// Whether that is an address of this machine.
    pub local: LocalEnd,
    /// The other end's address.
    pub remote_host: String,
    /// The other end's port.
    pub remote_port: u16,
    /// What the server at the other end says to a build; asked only for an expand or a build of this node.
    pub source: SourceAnswer,
}

/// What a server says to a build that asks for its data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceAnswer {
    /// It was not asked.
    #[default]
    NotAsked,
    /// It did not answer, or not as a server of openGauss does.
    NoAnswer,
    /// It lets the build in.
    LetIn,
    /// It refuses, in these words.
    Refused(String),
}

impl From<Source> for SourceAnswer {
    fn from(source: Source) -> Self {
        match (source.refusal, source.node_name) {
            (Some(words), _) => Self::Refused(words),
            (None, Some(_)) => Self::LetIn,
            (None, None) => Self::NoAnswer,
        }
    }
}

/// Where the node's own end of a channel is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LocalEnd {
    /// On this machine.
    Here,
    /// On another one.
    Elsewhere,
    /// Its name has no address.
    NoAddress,
    /// The resolver did not answer in time.
    #[default]
    Unknown,
}

/// Whether a port of another host is reached from here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Reached {
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Why not; null when it is reached.
    pub problem: Option<String>,
    /// Whether the connection was refused: the host is reached, and nobody listens on the port.
    pub refused: bool,
}

/// What names lead to here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Hosts {
    /// The addresses of each name; empty when it leads nowhere.
    pub names: BTreeMap<String, Vec<String>>,
    /// The mode of /etc/hostname.
    pub hostname_mode: Option<u32>,
    /// The MTU of the interface with the node's first address.
    pub mtu: Option<u64>,
}

/// What pg_hba.conf says of a client that comes for replication.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Admission {
    /// The client's address.
    pub address: String,
    /// Whether a line that is no reject covers its address, which is what a server asks of a node that one of its channels
    /// names; null when only the server can tell.
    pub admitted: Option<bool>,
    /// That line; null when there is none.
    pub line: Option<usize>,
}

/// Reads who listens on the ports. `pid` is the server's.
pub fn read_ports(facts: &mut Facts, root: &Root, wanted: &[u16], pid: Option<u32>) {
    let listening = match listening(root) {
        Ok(listening) => listening,
        Err(why) => {
            facts.note_unknown("ports", why);
            facts.ports = wanted.iter().map(|number| Port { number: *number, ..Port::default() }).collect();
            return;
        }
    };
    let own = match pid.map(|pid| sockets(root, pid)).transpose() {
        Ok(own) => Some(own.unwrap_or_default()),
        Err(why) => {
            facts.note_unknown("ports", why);
            None
        }
    };
    for number in wanted {
        let here: Vec<_> = listening.iter().filter(|(address, _)| address.port() == *number).collect();
        let state = if here.is_empty() {
            PortState::Free
        } else {
            match &own {
                None => PortState::Unknown,
                Some(own) if here.iter().all(|(_, inode)| own.contains(inode)) => PortState::Own,
                Some(_) => PortState::Taken,
            }
        };
        let addresses = here.iter().map(|(address, _)| address.ip().to_string()).collect();
        facts.ports.push(Port { number: *number, state, addresses });
    }
}

/// The addresses on which somebody listens, with the inodes of the sockets.
fn listening(root: &Root) -> Result<Vec<(SocketAddr, u64)>, String> {
    let mut all = Vec::new();
    for file in ["proc/net/tcp", "proc/net/tcp6"] {
        let path = root.path(file);
        // A kernel without IPv6 has no second file.
        if file.ends_with('6') && !path.exists() {
            continue;
        }
        let entries = read_tcp(&path).map_err(|e| e.to_string())?;
        let listens = entries.into_iter().filter(|entry| entry.state == TcpState::Listen);
        all.extend(listens.map(|entry| (entry.local_address, entry.inode)));
    }
    Ok(all)
}

/// The inodes of the sockets of a process.
fn sockets(root: &Root, pid: u32) -> Result<BTreeSet<u64>, String> {
    let folder = root.path(format!("proc/{pid}/fd"));
    let files = std::fs::read_dir(&folder).map_err(|e| super::reason("list", &folder, &e))?;
    let links = files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
    let inode =
        |link: std::path::PathBuf| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    Ok(links.filter_map(inode).collect())
}

/// Takes in the channels.
pub fn read_channels(facts: &mut Facts, channels: &[peer::ChannelEnds]) {
    for channel in channels {
        facts.channels.push(ChannelFacts {
            number: channel.number,
            local_host: channel.local_host.clone(),
            local: LocalEnd::Unknown,
            remote_host: channel.remote_host.clone(),
            remote_port: channel.remote_port,
            source: SourceAnswer::NotAsked,
        });
    }
}

/// Finds where the channels' own ends are, side by side.
pub async fn find_local_ends(channels: &[peer::ChannelEnds]) -> Vec<LocalEnd> {
    let mut asked = Vec::new();
    for channel in channels {
        let host = og_common::replconn::ChannelHost::new(channel.local_host.clone());
        // The resolver blocks.
        asked.push(tokio::spawn(run_detached(LIMIT, move || match og_common::replconn::is_local(&host) {
            Ok(true) => LocalEnd::Here,
            Ok(false) => LocalEnd::Elsewhere,
            Err(_) => LocalEnd::NoAddress,
        })));
    }
    let mut ends = Vec::new();
    for one in asked {
        ends.push(one.await.ok().flatten().unwrap_or_default());
    }
    ends
}

/// Runs what blocks on a thread of its own. Nothing is returned when it takes longer; the end of the program does not wait for it
/// then, as that of a runtime does for its blocking tasks.
pub(crate) async fn run_detached<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().spawn(move || sender.send(work())).ok()?;
    timeout(limit, receiver).await.ok()?.ok()
}

/// Reads what this machine says of itself on the network.
pub fn read_hosts(facts: &mut Facts, root: &Root) {
    use std::os::unix::fs::PermissionsExt;
    let file = std::fs::metadata(root.path("etc/hostname")).ok();
    facts.hosts.hostname_mode = file.map(|meta| meta.permissions().mode() & 0o777);
    let own: Option<IpAddr> = facts
        .channels
        .first()
        .map(|channel| channel.local_host.as_str())
        .or(facts.identity.addresses.first().map(String::as_str))
        .and_then(|text| text.parse().ok());
    let all = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let interface = all.filter(|interface| {
        let address = interface.address.as_ref();
        let v4 = address.and_then(|a| a.as_sockaddr_in()).map(|a| IpAddr::V4(a.ip()));
        let v6 = address.and_then(|a| a.as_sockaddr_in6()).map(|a| IpAddr::V6(a.ip()));
        own.is_some() && v4.or(v6) == own
    });
    let name = interface.map(|interface| interface.interface_name).next();
    facts.hosts.mtu = name.and_then(|name| root.number(&format!("sys/class/net/{name}/mtu")).ok());
}

/// Resolves these names, side by side.
pub async fn resolve_names(names: BTreeSet<String>) -> BTreeMap<String, Vec<String>> {
    let mut asked = Vec::new();
    for name in names {
        asked.push(tokio::spawn(async move {
            let found = timeout(LIMIT, tokio::net::lookup_host((name.as_str(), 0))).await;
            let mut addresses: Vec<String> =
                found.into_iter().flatten().flatten().map(|address| address.ip().to_string()).collect();
            addresses.sort();
            addresses.dedup();
            (name, addresses)
        }));
    }
    let mut names = BTreeMap::new();
    for one in asked {
        names.extend(one.await.ok());
    }
    names
}

/// Tries to connect to each target, side by side, from the address given with it.
pub async fn reach_targets(targets: Vec<(Target, Option<IpAddr>)>) -> Vec<Reached> {
    let mut asked = Vec::new();
    for (target, from) in targets {
        asked.push(tokio::spawn(async move {
            let (problem, refused) = match timeout(LIMIT, connect(&target, from)).await {
                Ok(Ok(())) => (None, false),
                Ok(Err(e)) => {
                    let words = e.to_string().split(" (os error").next().unwrap_or_default().to_lowercase();
                    (Some(words), e.kind() == std::io::ErrorKind::ConnectionRefused)
                }
                Err(_) => (Some(format!("no answer within {} s", LIMIT.as_secs_f32())), false),
            };
            Reached { host: target.host, port: target.port, problem, refused }
        }));
    }
    let mut all = Vec::new();
    for one in asked {
        all.extend(one.await.ok());
    }
    all
}

async fn connect(target: &Target, from: Option<IpAddr>) -> std::io::Result<()> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host((target.host.as_str(), target.port)).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(from) = from.filter(|from| from.is_ipv4() == address.is_ipv4()) {
            // An address that is not this machine's is a finding of its own.
            let _ = socket.bind(SocketAddr::new(from, 0));
        }
        match socket.connect(address).await {
            Ok(_) => return Ok(()),
            Err(e) => last = e,
        }
    }
    Err(last)
}
