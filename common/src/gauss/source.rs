//! What the server tells that a build copies from, beyond its role: its name, its tablespaces, its WAL senders.
//!
//! It is asked as gs_ctl asks it: by a replication command of `gs_ctl build`, and by SQL over the replication port, as
//! gs_rewind reads it. Both need nothing that a build does not need.

use std::time::Duration;

use tokio::time::timeout;

use super::ServerNode;
use super::peer::{CONNECT_TIMEOUT, ChannelEnds, connect, own_user};
use super::wire::{FOR_REPLICATION, WireConnection};

/// The server's WAL senders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Senders {
    /// How many are in use.
    pub used: u32,
    /// How many there may be: `max_wal_senders`.
    pub allowed: u32,
}

/// What the source of a build tells of itself; what it does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Its address, for messages.
    pub address: String,
    /// The `pgxc_node_name` it runs with, after which its tablespaces' directories are named.
    pub node_name: Option<String>,
    /// How many tablespaces it has beside its own two.
    pub tablespaces: Option<u32>,
    /// Its WAL senders.
    pub senders: Option<Senders>,
    /// Why it does not let a build in, in its words.
    pub refusal: Option<String>,
}

/// How a program says that it is gs_rewind, which a standby's address may be.
const FOR_SQL: &[(&str, &str)] = &[("database", "postgres"), ("application_name", "gs_rewind")];

const ASKED: &str = "select (select count(*) from pg_tablespace where oid >= 16384), \
     (select count(*) from pg_stat_get_wal_senders()), current_setting('max_wal_senders')";

impl ServerNode {
    /// Asks the server at the other end of this channel. Takes at most six seconds, and for a moment one of its senders.
    pub async fn ask_source(&self, channel: &ChannelEnds) -> Source {
        let address = format!("{}:{}", channel.remote_host, channel.remote_port);
        let mut source = Source { address, ..Source::default() };
        let user = own_user();
        // The senders are counted before one is taken.
        let rows = ask(channel, &user, FOR_SQL, ASKED, CONNECT_TIMEOUT).await;
        if let Ok(Ok(values)) = &rows {
            let number = |at: usize| values.get(at).and_then(|text| text.trim().parse().ok());
            source.tablespaces = number(0);
            source.senders = number(1).zip(number(2)).map(|(used, allowed)| Senders { used, allowed });
        }
        // Only openGauss knows this command: NAME|LSN.
        match ask(channel, &user, FOR_REPLICATION, "IDENTIFY_MAXLSN", CONNECT_TIMEOUT).await {
            Ok(Ok(values)) => source.node_name = values.first().and_then(|text| name_of(text)),
            Ok(Err(SourceError { fatal: true, words })) => source.refusal = Some(words),
            Ok(Err(_)) | Err(_) => {}
        }
        source
    }
}

/// `dn_6001|0/4000928` gives `dn_6001`.
fn name_of(text: &str) -> Option<String> {
    let (name, _) = text.split_once('|')?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// A server's error.
struct SourceError {
    /// Whether it did not let us in at all.
    fatal: bool,
    words: String,
}

/// The columns of the answer to one statement.
async fn ask(
    channel: &ChannelEnds,
    user: &str,
    parameters: &[(&str, &str)],
    statement: &str,
    limit: Duration,
) -> std::io::Result<Result<Vec<String>, SourceError>> {
    let talk = async {
        let stream = connect(channel).await?;
        let mut server = match WireConnection::log_in(stream, user, parameters).await? {
            Ok(server) => server,
            Err(words) => return Ok(Err(SourceError { fatal: true, words })),
        };
        let answer = server.ask(statement).await?;
        server.end().await;
        Ok(answer.map_err(|words| SourceError { fatal: false, words }))
    };
    timeout(limit, talk).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{Read, Write};

    use super::*;

    /// What is learnt of a server that gives these answers to each of the connections in turn.
    fn asked(connections: Vec<Vec<&'static [u8]>>) -> Source {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let remote_port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            for answers in connections {
                let (mut stream, _) = listener.accept().unwrap();
                let mut block = [0; 1000];
                for answer in answers {
                    if stream.read(&mut block).is_ok_and(|n| n > 0) {
                        stream.write_all(answer).unwrap();
                    }
                }
            }
        });
        let channel =
            ChannelEnds { remote_host: "127.0.0.1".to_owned(), remote_port, ..ChannelEnds::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let source = runtime.block_on(ServerNode::new("/").ask_source(&channel));
        server.join().unwrap();
        source
    }

    const IN: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";

    #[test]
    fn name_tablespaces_and_senders_are_learnt() {
        let source = asked(vec![
            vec![IN, b"D\0\0\0\x15\0\x03\0\0\0\x011\0\0\0\x013\0\0\0\x014Z\0\0\0\x05I"],
            vec![IN, b"D\0\0\0\x17\0\x01\0\0\0\x0ddn_6001|0/400Z\0\0\0\x05I"],
        ]);
        assert_eq!(source.node_name.as_deref(), Some("dn_6001"));
        assert_eq!(source.tablespaces, Some(1));
        assert_eq!(source.senders, Some(Senders { used: 3, allowed: 4 }));
        assert_eq!(source.refusal, None);
    }

    #[test]
    fn a_refusal_is_told_in_the_servers_words() {
        let source = asked(vec![
            vec![b"E\0\0\0\x17SFATAL\0C28000\0Mno!\0\0"],
            vec![b"R\0\0\0\x08\0\0\0\0E\0\0\0\x19SFATAL\0C53300\0Mfull!\0\0"],
        ]);
        assert_eq!(source.refusal.as_deref(), Some("full!"));
        assert_eq!((source.node_name, source.tablespaces, source.senders), (None, None, None));
    }

    #[test]
    fn a_server_that_does_not_know_the_command_has_no_name() {
        let source = asked(vec![vec![], vec![IN, b"E\0\0\0\x13SERROR\0Mwhat?\0\0Z\0\0\0\x05I"]]);
        assert_eq!((source.node_name, source.refusal), (None, None));
    }
}
