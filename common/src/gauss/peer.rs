//! Asks the servers at the other end of this node's replication channels what they are, as `gs_ctl build` does: a
//! replication connection, then `IDENTIFY_MODE` and `IDENTIFY_SYSTEM`.
//!
//! gsql cannot make such a connection.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;

use super::version::LARGEST_MAX_CHANNELS;
use super::wire::{FOR_REPLICATION, WireConnection};
use super::{Role, ServerNode};
use crate::base::Lsn;
use crate::conf::ConfFile;
use crate::replconn;

/// How long a peer may take to be reached; a lost packet is sent again after one second.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long after it ended a connection a peer is asked again.
const AFTER_END: Duration = Duration::from_millis(300);
/// How many times as long a peer that was reached may take to answer.
const ANSWER_FACTOR: u32 = 4;
/// The two ends of a replication channel, as far as a connection needs them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelEnds {
    /// Which replconninfo it is.
    pub number: u8,
    /// Our address: what the other end's rules look at.
    pub local_host: String,
    /// The other end's address.
    pub remote_host: String,
    /// The other end's replication port.
    pub remote_port: u16,
}

/// What was found at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// No connection could be made; why.
    Silent(String),
    /// Something listens, but does not tell what it is; its words.
    Reserved(String),
    /// A server that tells its role.
    Server {
        /// Its role.
        role: Role,
        /// The number of its database system, the same on all nodes of a cluster.
        system_id: Option<u64>,
        /// The end of its log: written on a primary, received on a standby.
        lsn: Option<Lsn>,
        /// Its term: grows with each failover.
        term: Option<u64>,
    },
}

/// A channel and what was found at its other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelPeer {
    /// The channel.
    pub channel: ChannelEnds,
    /// What is there.
    pub found: Found,
}

impl ChannelPeer {
    /// Whether it tells that it is a primary.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        matches!(self.found, Found::Server { role: Role::Primary, .. })
    }

    /// Whether it tells that it is a single server.
    #[must_use]
    pub fn is_single(&self) -> bool {
        matches!(self.found, Found::Server { role: Role::Normal, .. })
    }

    /// Whether the peer answered with its role.
    #[must_use]
    pub fn has_told_role(&self) -> bool {
        matches!(self.found, Found::Server { role, .. } if role != Role::Unknown)
    }

    /// In a few words, for messages.
    #[must_use]
    pub fn words(&self) -> String {
        let ChannelEnds { remote_host, remote_port, .. } = &self.channel;
        match &self.found {
            Found::Silent(why) => format!("{remote_host}:{remote_port} cannot be reached ({why})"),
            Found::Reserved(why) => format!("{remote_host}:{remote_port} does not tell what it is ({why})"),
            Found::Server { role, .. } => format!("{remote_host}:{remote_port} is {role}"),
        }
    }
}

/// Returns what all peers are, for messages.
#[must_use]
pub fn describe_peers(peers: &[ChannelPeer]) -> String {
    if peers.is_empty() {
        return "postgresql.conf has no replconninfo".to_owned();
    }
    peers.iter().map(ChannelPeer::words).collect::<Vec<_>>().join(", ")
}

impl ServerNode {
    /// The replication channels in the node's postgresql.conf.
    #[must_use]
    pub fn channels(&self) -> Vec<ChannelEnds> {
        let text = crate::files::read(&self.data_dir.join("postgresql.conf")).unwrap_or_default();
        channels(&text)
    }

    /// Asks all peers at once, giving each three seconds to be reached and twelve to tell what it is; one that ends the
    /// connection without a word is asked once more, for a shorter time.
    pub async fn peers(&self) -> Vec<ChannelPeer> {
        let user = own_user();
        let mut asked = Vec::new();
        for channel in self.channels() {
            let user = user.clone();
            asked.push(tokio::spawn(async move {
                let found = ask(&channel, &user, CONNECT_TIMEOUT).await;
                ChannelPeer { channel, found }
            }));
        }
        let mut peers = Vec::new();
        for peer in asked {
            // A task that panicked has nothing to say; it cannot happen without a mistake of ours.
            peers.extend(peer.await.ok());
        }
        peers
    }

    /// The number of this node's database system; `None` when it has none yet.
    #[must_use]
    pub fn system_id(&self) -> Option<u64> {
        self.control().map(|control| control.system_id)
    }
}

/// The channels in the text of a postgresql.conf; a value that the server would refuse is none.
fn channels(text: &[u8]) -> Vec<ChannelEnds> {
    let conf = ConfFile::parse(text);
    let channel = |number: usize| {
        let value = conf.get(&format!("replconninfo{number}"))?;
        let channel = replconn::ReplicationChannel::parse(&value.text()).ok().flatten()?;
        Some(ChannelEnds {
            number: u8::try_from(number).ok()?,
            local_host: channel.local.host.text().to_owned(),
            remote_host: channel.remote.host.text().to_owned(),
            remote_port: u16::try_from(channel.remote.port).ok()?,
        })
    };
    // Releases differ in how many there are; one that a release does not know is not in its file.
    (1..=LARGEST_MAX_CHANNELS).filter_map(channel).collect()
}

/// Asks a peer, and asks it once more if it ends the connection without a word: a server that is shutting down resets new
/// connections, and is gone a moment later.
async fn ask(channel: &ChannelEnds, user: &str, limit: Duration) -> Found {
    match ask_once(channel, user, limit, ANSWER_FACTOR).await {
        Err(e) if matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) => {
            tokio::time::sleep(AFTER_END).await;
            ask_once(channel, user, limit, 1).await
        }
        answer => answer,
    }
    .unwrap_or_else(|e| Found::Reserved(e.to_string().to_lowercase()))
}

/// Asks a peer once: `limit` to be reached, `answer_factor` times that to answer.
///
/// # Errors
/// Of a peer that took the connection.
async fn ask_once(
    channel: &ChannelEnds,
    user: &str,
    limit: Duration,
    answer_factor: u32,
) -> std::io::Result<Found> {
    let stream = match timeout(limit, connect(channel)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(e)) => {
            let words = e.to_string();
            return Ok(Found::Silent(words.split(" (os error").next().unwrap_or_default().to_lowercase()));
        }
        Err(_) => return Ok(Found::Silent(format!("no answer within {} s", limit.as_secs_f32()))),
    };
    // It is there, and may have much to do, such as starting eight builds at once.
    let patience = limit * answer_factor;
    match timeout(patience, identify_server(stream, user)).await {
        Ok(answer) => answer,
        // The machine lives, for its kernel took the connection: a server that swaps or is frozen is not gone.
        Err(_) => Ok(Found::Reserved(format!(
            "it takes connections and said nothing within {} s",
            patience.as_secs_f32()
        ))),
    }
}

pub(super) async fn connect(channel: &ChannelEnds) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for remote in lookup_host((channel.remote_host.as_str(), channel.remote_port)).await? {
        let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // The other end judges us by our address, so we come from the one that a standby would come from.
        if let Ok(local) = channel.local_host.parse::<IpAddr>()
            && local.is_ipv4() == remote.is_ipv4()
            && let Err(e) = socket.bind(SocketAddr::new(local, 0))
        {
            tracing::debug!("cannot bind to {local}: {e}");
        }
        match socket.connect(remote).await {
            Ok(stream) => return Ok(stream),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// The user we run as.
pub(super) fn own_user() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid());
    user.ok().flatten().map(|user| user.name).unwrap_or_default()
}

async fn identify_server(stream: TcpStream, user: &str) -> std::io::Result<Found> {
    let mut server = match WireConnection::log_in(stream, user, FOR_REPLICATION).await? {
        Ok(server) => server,
        Err(words) => return Ok(Found::Reserved(words)),
    };
    let role = if let Ok(values) = server.ask("IDENTIFY_MODE").await? {
        values.first().and_then(|v| v.parse().ok()).map_or(Role::Unknown, Role::from_number)
    } else {
        // PostgreSQL has no such command, and tells a standby by this.
        let values = server.ask("SHOW transaction_read_only").await?.unwrap_or_default();
        match values.first().map(String::as_str) {
            Some("off") => Role::Primary,
            Some("on") => Role::Standby,
            _ => Role::Unknown,
        }
    };
    let values = server.ask("IDENTIFY_SYSTEM").await?.unwrap_or_default();
    let system_id = values.first().and_then(|v| v.parse().ok());
    // Number, timeline, position.
    let lsn = values.get(2).and_then(|v| Lsn::parse(v)).filter(|lsn| lsn.is_valid());
    // Server, protocol, term; who does not know the command has told what it is all the same.
    let values = server.ask("IDENTIFY_VERSION").await.ok().and_then(Result::ok).unwrap_or_default();
    let term = values.get(2).and_then(|v| v.parse().ok()).filter(|term| *term > 0);
    server.end().await;
    Ok(Found::Server { role, system_id, lsn, term })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn channels_are_read_as_the_server_reads_them() {
        let text = "replconninfo1 = 'localhost=10.0.0.1 localport=26001 remotehost=10.0.0.2 remoteport=26001'\n\
            #replconninfo2 = 'localhost=10.0.0.1 remotehost=10.0.0.9 remoteport=1'\n\
            replconninfo3 = ''\n\
            replconninfo1 = ' localhost = 10.0.0.1 localport=26001 remotehost= 10.0.0.3 remoteport =26101 '\n";
        let found = channels(text.as_bytes());
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].remote_host.as_str(), found[0].remote_port, found[0].number),
            ("10.0.0.3", 26101, 1)
        );
    }

    /// Answers one connection with these bytes at each message, as a server of this role.
    fn answer(bytes: &'static [&'static [u8]]) -> Found {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let remote_port = listener.local_addr().unwrap().port();
            let channel =
                ChannelEnds { remote_host: "127.0.0.1".to_owned(), remote_port, ..ChannelEnds::default() };
            let server = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                for answer in bytes {
                    let mut block = [0; 1000];
                    if stream.read(&mut block).await.unwrap() == 0 || stream.write_all(answer).await.is_err()
                    {
                        break;
                    }
                }
            };
            tokio::join!(ask(&channel, "omm", CONNECT_TIMEOUT), server).0
        })
    }

    #[test]
    fn a_server_that_is_being_killed_is_gone() {
        let found =
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let remote_port = listener.local_addr().unwrap().port();
                let channel = ChannelEnds {
                    remote_host: "127.0.0.1".to_owned(),
                    remote_port,
                    ..ChannelEnds::default()
                };
                let server = async move {
                    let (stream, _) = listener.accept().await.unwrap();
                    // Closed before it is read, a connection is reset.
                    stream.readable().await.unwrap();
                    drop((stream, listener));
                };
                tokio::join!(ask(&channel, "omm", CONNECT_TIMEOUT), server).0
            });
        assert_eq!(found, Found::Silent("connection refused".to_owned()));
    }

    #[test]
    fn a_peer_tells_role_and_system() {
        let found = answer(&[
            b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I",
            b"D\0\0\0\x0b\0\x01\0\0\0\x012C\0\0\0\x0bSELECT\0Z\0\0\0\x05I",
            b"D\0\0\0\x1a\0\x03\0\0\0\x0277\0\0\0\x011\0\0\0\x050/1F8Z\0\0\0\x05I",
            b"D\0\0\0\x16\0\x03\0\0\0\x019\0\0\0\x011\0\0\0\x023\x34Z\0\0\0\x05I",
        ]);
        let (lsn, term) = (Some(Lsn::new(0x1F8)), Some(34));
        assert_eq!(found, Found::Server { role: Role::Primary, system_id: Some(77), lsn, term });
        // As a primary of release 3.0.5 told it, a column without a value among them.
        let found = answer(&[
            b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I",
            b"D\0\0\0\x0b\0\x01\0\0\0\x012Z\0\0\0\x05I",
            b"D\0\0\0\x33\0\x04\0\0\0\x136785152480852224290\0\0\0\x011\0\0\0\x090/22A09E0\xff\xff\xff\xffZ\0\0\0\x05I",
            b"D\0\0\0\x1d\0\x03\0\0\0\x0590204\0\0\0\x05MPPDB\0\0\0\x011Z\0\0\0\x05I",
        ]);
        let (lsn, term, system_id) = (Some(Lsn::new(0x22A_09E0)), Some(1), Some(6_785_152_480_852_224_290));
        assert_eq!(found, Found::Server { role: Role::Primary, system_id, lsn, term });
        // One that has no such commands.
        let found = answer(&[
            b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I",
            b"D\0\0\0\x0b\0\x01\0\0\0\x013Z\0\0\0\x05I",
            b"D\0\0\0\x0c\0\x01\0\0\0\x0277Z\0\0\0\x05I",
            b"E\0\0\0\x13SERROR\0Mwhat?\0\0Z\0\0\0\x05I",
        ]);
        assert_eq!(found, Found::Server { role: Role::Standby, system_id: Some(77), lsn: None, term: None });
    }

    #[test]
    fn a_peer_that_refuses_or_is_something_else_is_not_taken_for_gone() {
        let found = answer(&[b"E\0\0\0\x17SFATAL\0C28000\0Mno!\0\0"]);
        assert_eq!(found, Found::Reserved("no!".to_owned()));
        let found = answer(&[b"SSH-2.0-OpenSSH_9.2\r\n"]);
        assert_eq!(found, Found::Reserved("it does not speak the server's protocol".to_owned()));
    }

    #[test]
    fn a_peer_that_takes_the_connection_and_says_nothing_is_not_taken_for_gone() {
        let found =
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let remote_port = listener.local_addr().unwrap().port();
                let channel = ChannelEnds {
                    remote_host: "127.0.0.1".to_owned(),
                    remote_port,
                    ..ChannelEnds::default()
                };
                ask(&channel, "omm", Duration::from_millis(20)).await
            });
        let words = "it takes connections and said nothing within 0.08 s";
        assert_eq!(found, Found::Reserved(words.to_owned()));
    }

    #[test]
    fn a_closed_port_is_silent() {
        let found =
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let remote_port = listener.local_addr().unwrap().port();
                drop(listener);
                let channel = ChannelEnds {
                    remote_host: "127.0.0.1".to_owned(),
                    remote_port,
                    ..ChannelEnds::default()
                };
                ask(&channel, "omm", CONNECT_TIMEOUT).await
            });
        assert_eq!(found, Found::Silent("connection refused".to_owned()));
    }
}
