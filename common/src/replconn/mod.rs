//! The value of one replconninfoN parameter: a replication channel between this node and another.
//!
//! ```text
//! localhost=10.0.0.1 localport=26001 localheartbeatport=26005 localservice=26004
//! remotehost=10.0.0.2 remoteport=26001 remoteheartbeatport=26005 remoteservice=26004 iscascade=true
//! ```
//!
//! Read as the server does (`guc_storage.cpp` `ParseReplConnInfo`, `guc.cpp` `CheckReplChannel`): a key counts wherever
//! it first occurs, in any order, even inside another word; blanks may stand around `=`; unknown keys are passed over,
//! and kept here. Several channels, parted by commas, are further addresses of the same pair.

mod local;
mod parse;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

pub use local::{addresses, is_local};

/// Longest host the server has room for.
pub const MAX_HOST: usize = 62;

/// A host as it is written; compared as a value: `::1` and `0:0:0:0:0:0:0:1` are one host, `::ffff:10.0.0.1` is `10.0.0.1`.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct ChannelHost {
    text: String,
    #[serde(skip)]
    address: Option<IpAddr>,
}

impl ChannelHost {
    /// The host that this text names: an address, or else a name.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let address = text.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        Self { text, address }
    }

    /// As it is written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The address, IPv4 in IPv6 form given as IPv4; `None` for a name.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Why the server could not use this host in a channel.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let text = &self.text;
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | '_' | '%');
        let first = text.chars().next()?;
        if let Some(bad) = text.chars().find(|&c| !good(c)) {
            Some(format!("{bad:?} cannot be part of a host"))
        } else if !first.is_ascii_alphanumeric() && first != ':' {
            Some("a host begins with a letter, a digit or a colon".into())
        } else if let Some(problem) = self.single_machine_problem() {
            Some(problem)
        } else if text.len() > MAX_HOST {
            Some(format!("a host has at most {MAX_HOST} characters"))
        } else if parse::KNOWN.iter().any(|key| *key != "localhost" && text.contains(key)) {
            // The server looks for the first occurrence of each key, and ours come in one order: localhost first.
            Some("the server would take a part of it for a key".into())
        } else {
            None
        }
    }

    /// Why a text that has the shape of an address is none, or none of a single machine. A server takes all of them.
    fn single_machine_problem(&self) -> Option<String> {
        let text = &self.text;
        match self.address {
            Some(address) if address.is_unspecified() => {
                Some("it stands for all addresses of a machine".into())
            }
            Some(address) if address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) => {
                Some("it is the address of many machines".into())
            }
            None if text.contains(':') => {
                let (address, scope) = text.split_once('%').unwrap_or((text, "scope"));
                let whole = address.parse::<Ipv6Addr>().is_ok() && !scope.is_empty();
                let with_port = text.rsplit_once(':').is_some_and(|(host, port)| {
                    !host.contains(':') && port.bytes().all(|byte| byte.is_ascii_digit())
                });
                match (whole, with_port) {
                    (true, _) => None,
                    (false, true) => Some("the port stands in a field of its own".into()),
                    (false, false) => Some("it is no whole IPv6 address".into()),
                }
            }
            None if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => {
                Some("it is no whole IPv4 address".into())
            }
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for ChannelHost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl PartialEq for ChannelHost {
    fn eq(&self, other: &Self) -> bool {
        match (self.address, other.address) {
            (Some(one), Some(other)) => one == other,
            (None, None) => self.text.eq_ignore_ascii_case(&other.text),
            _ => false,
        }
    }
}

impl Eq for ChannelHost {}

impl fmt::Display for ChannelHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// One end of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChannelEnd {
    /// Address or name.
    pub host: ChannelHost,
    /// Port of the log stream: the port for clients and 1.
    pub port: u32,
    /// Port of the heartbeat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_port: Option<u32>,
    /// Port of the data receiver, which servers since 2.1.0 pass over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_port: Option<u32>,
}

impl ChannelEnd {
    /// Whether it is the same place: host and port.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.host == other.host && self.port == other.port
    }
}

/// A channel between this node and another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplicationChannel {
    /// This node's end.
    #[serde(default)]
    #[schemars(!default)]
    pub local: ChannelEnd,
    /// The other node's end.
    pub remote: ChannelEnd,
    /// The other node is a cascade standby.
    #[serde(default)]
    #[schemars(!default)]
    pub cascade: bool,
    /// The other node is of another region's cluster.
    #[serde(default)]
    #[schemars(!default)]
    pub cross_region: bool,
    /// Keys this program does not know, as they are written, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra: Vec<String>,
    /// Further channels of the same value: other addresses of the same pair, as they are written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<String>,
}

/// A channel and its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NumberedChannel {
    /// The N of replconninfoN.
    pub number: usize,
    /// The channel.
    #[serde(flatten)]
    pub channel: ReplicationChannel,
}

/// Why the server would not take a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelError(String);

impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ReplicationChannel {
    /// Reads a value; blanks alone are no channel.
    ///
    /// # Errors
    /// When the server would refuse the value, and with it the file when it starts.
    pub fn parse(value: &str) -> Result<Option<Self>, ChannelError> {
        parse::parse_value(value)
    }
}

impl fmt::Display for ReplicationChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (side, end) in [("local", &self.local), ("remote", &self.remote)] {
            let gap = if side == "local" { "" } else { " " };
            write!(f, "{gap}{side}host={} {side}port={}", end.host, end.port)?;
            if let Some(port) = end.heartbeat_port {
                write!(f, " {side}heartbeatport={port}")?;
            }
            if let Some(port) = end.service_port {
                write!(f, " {side}service={port}")?;
            }
        }
        if self.cascade {
            f.write_str(" iscascade=true")?;
        }
        if self.cross_region {
            f.write_str(" iscrossregion=true")?;
        }
        for extra in &self.extra {
            write!(f, " {extra}")?;
        }
        for more in &self.more {
            write!(f, ", {more}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
