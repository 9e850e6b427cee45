//! Arguments and result.

use std::collections::BTreeMap;

use og_common::{
    protocol::Error,
    replconn::{ChannelEnd, ChannelHost, NumberedChannel},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Arguments of og_replconninfo.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Args {
    /// `exact`: the channels are those to `peers`, numbered from 1 in this order, and no others. `present`: there is a
    /// channel to each of `peers`; one that is there keeps its number, a new one takes the first free one. `absent`:
    /// there is none to any of `peers`; later ones move up, but on openGauss 6.0 and later, where only the connections of
    /// changed channels end, they keep their numbers, and the last one fills number 1. `query`: nothing changes; the
    /// channels are returned.
    pub state: State,
    /// This node's end of every channel. With `query` only its host is looked at: whether this machine has that address.
    pub local: Option<Local>,
    /// The other nodes. With `absent` a host alone means whatever port it has.
    pub peers: Vec<PeerArg>,
    /// Whether a running server is told to read the file when it changed.
    pub reload: ReloadPolicy,
    /// Keep the old file beside the new one when it changes.
    pub backup: bool,
    /// Do it even if the last channel of a running primary goes while standbys receive from it, a new channel lacks the
    /// keys of uwal where `enable_uwal` is on, or a switchover is under way.
    pub force: bool,
    /// Values that parameters of postgresql.conf will have by then; counts in check mode alone, where the steps before this
    /// one changed nothing.
    pub foreseen: BTreeMap<String, String>,
}

/// What is wanted of the channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// These and no others.
    #[default]
    Exact,
    /// These, and others may be there.
    Present,
    /// None of these.
    Absent,
    /// Nothing changes.
    Query,
}

/// Whether to reload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReloadPolicy {
    /// When the file changed and the server runs.
    #[default]
    Auto,
    /// Not at all.
    Never,
}

/// This node's end. A port that is neither given nor follows from `base_port` stays as it is in a channel that is there,
/// and is left out of a new one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Local {
    /// Address or name, IPv4 or IPv6; one of this machine's.
    pub host: String,
    /// The port for clients; stands for `port` = base + 1, `service_port` = base + 4, `heartbeat_port` = base + 5.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65_530))]
    pub base_port: Option<u16>,
    /// Port of the log stream (`localport`): the port for clients + 1.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65_535))]
    pub port: Option<u16>,
    /// Port of the heartbeat (`localheartbeatport`).
    #[serde(default)]
    #[schemars(range(min = 1, max = 65_535))]
    pub heartbeat_port: Option<u16>,
    /// Port of the data receiver (`localservice`), which servers since 2.1.0 pass over.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65_535))]
    pub service_port: Option<u16>,
}

/// Another node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct PeerArg {
    /// Address or name, IPv4 or IPv6.
    pub host: String,
    /// The port for clients; stands for `port` = base + 1, `service_port` = base + 4, `heartbeat_port` = base + 5.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65_530))]
    pub base_port: Option<u16>,
    /// Port of the log stream (`remoteport`): the port for clients + 1.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65_535))]
    pub port: Option<u16>,
    /// Port of the heartbeat (`remoteheartbeatport`).
    #[serde(default)]
    #[schemars(range(min = 1, max = 65_535))]
    pub heartbeat_port: Option<u16>,
    /// Port of the data receiver (`remoteservice`), which servers since 2.1.0 pass over.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65_535))]
    pub service_port: Option<u16>,
    /// It is a cascade standby. Not given: no, or with `present` as it is.
    #[serde(default)]
    pub cascade: Option<bool>,
    /// It belongs to another region's cluster. Not given: no, or with `present` as it is.
    #[serde(default)]
    pub cross_region: Option<bool>,
}

/// An end as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The host.
    pub host: ChannelHost,
    /// Port of the log stream; only with `absent` it may be open.
    pub port: Option<u32>,
    /// Port of the heartbeat, if it is to be one.
    pub heartbeat_port: Option<u32>,
    /// Port of the data receiver, if it is to be one.
    pub service_port: Option<u32>,
}

impl Place {
    fn new(at: &str, host: &str, [base, port, heartbeat, service]: [Option<u16>; 4]) -> Result<Self, Error> {
        let host = ChannelHost::new(host.trim());
        if host.text().is_empty() {
            return Err(Error::bad_args("host is empty").with_path(format!("{at}/host")));
        }
        if let Some(problem) = host.problem() {
            return Err(Error::bad_args(format!("{:?} is no host: {problem}", host.text()))
                .with_path(format!("{at}/host")));
        }
        let or = |given: Option<u16>, offset: u32| {
            given.map(u32::from).or(base.map(|base| u32::from(base) + offset))
        };
        let place =
            Self { host, port: or(port, 1), heartbeat_port: or(heartbeat, 5), service_port: or(service, 4) };
        match (base, port) {
            (Some(base), Some(port)) if u32::from(port) != u32::from(base) + 1 => {
                Err(Error::bad_args(format!(
                    "port {port} and base_port {base}, which stands for port {}, are two things",
                    base + 1
                ))
                .with_path(format!("{at}/port")))
            }
            _ => Ok(place),
        }
    }

    /// As `Place::new` this node's end; the port must be known.
    pub fn from_local(local: &Local) -> Result<Self, Error> {
        let ports = [local.base_port, local.port, local.heartbeat_port, local.service_port];
        Self::new("/local", &local.host, ports)?.require_port("/local")
    }

    /// As `Place::new` the other end; the port must be known unless `open`.
    pub fn from_peer(index: usize, peer: &PeerArg, open: bool) -> Result<Self, Error> {
        let at = format!("/peers/{index}");
        let ports = [peer.base_port, peer.port, peer.heartbeat_port, peer.service_port];
        let place = Self::new(&at, &peer.host, ports)?;
        if open { Ok(place) } else { place.require_port(&at) }
    }

    fn require_port(self, at: &str) -> Result<Self, Error> {
        if self.port.is_none() {
            return Err(Error::bad_args(format!("{at}: one of port, base_port is needed")).with_path(at));
        }
        Ok(self)
    }

    /// Whether this is the place of that end; an open port is any.
    #[must_use]
    pub fn is_at_end(&self, end: &ChannelEnd) -> bool {
        self.host == end.host && self.port.is_none_or(|port| port == end.port)
    }
}

/// Result of og_replconninfo.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Output {
    /// The channels after the call, or in check mode what they would be.
    pub channels: Vec<NumberedChannel>,
    /// Numbers which had no channel and have one.
    pub added: Vec<usize>,
    /// Numbers which had a channel and have none.
    pub removed: Vec<usize>,
    /// Numbers whose channel is another one or has other values.
    pub updated: Vec<usize>,
    /// The running server was seen to take the changed file.
    pub reloaded: bool,
    /// With `query` and `local`: its host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalHost>,
}

/// The host of this node's end, as this machine sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LocalHost {
    /// The host.
    pub host: String,
    /// Whether it is an address, or the name of one, of this machine.
    pub is_here: bool,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
