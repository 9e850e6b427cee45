//! The server's protocol, as far as it takes to see who is let in and to ask a simple question.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Result;

/// A server that takes longer to answer hangs.
const PATIENCE: Duration = Duration::from_secs(20);
/// Version 3.0, which both servers speak.
const VERSION: u32 = 196_608;

/// Where to knock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// The local socket.
    Socket(PathBuf),
    /// An address of this machine: the client then comes from the same one.
    Tcp(IpAddr, u16),
}

/// Who knocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knock {
    /// Where.
    pub door: Door,
    /// The user.
    pub user: String,
    /// The database.
    pub database: String,
    /// Whether for physical replication.
    pub replication: bool,
}

/// What the server says to a client, as far as it tells by which kind of rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is let in without a question.
    Free,
    /// It is asked for a password.
    Password,
    /// It would have to be that user of the operating system.
    Peer,
    /// A rule turns it away.
    Reject,
    /// No rule is for it.
    NoRule,
    /// Something else; the server's words.
    Other(String),
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A session of the administrator.
pub struct Session(Box<dyn Stream>);

struct Message {
    kind: u8,
    body: Vec<u8>,
}

/// Knocks and goes away again.
///
/// # Errors
/// The server does not answer at all.
pub fn knock(knock: &Knock) -> Result<Answer> {
    let mut stream = open(knock)?;
    let message = receive(&mut stream)?;
    Ok(match (message.kind, code(&message.body)) {
        (b'R', Some(0)) => Answer::Free,
        (b'R', _) => Answer::Password,
        (b'E', _) => refusal(words(&message.body)),
        (kind, _) => Answer::Other(format!("message {:?}", char::from(kind))),
    })
}

fn refusal(words: String) -> Answer {
    let says = |what: &str| words.contains(what);
    if says("pg_hba.conf rejects") {
        Answer::Reject
    } else if says("no pg_hba.conf entry") {
        Answer::NoRule
    } else if says("eer authentication failed") {
        Answer::Peer
    } else if says("Forbid remote connection with trust method") {
        // openGauss found a trust rule, and does not take it from another machine.
        Answer::Free
    } else {
        Answer::Other(words)
    }
}

impl Session {
    /// Comes in by the local socket, where a rule trusts the administrator.
    ///
    /// # Errors
    /// The server's words.
    pub fn open(socket: &Path, user: &str) -> Result<Self> {
        let knock = Knock {
            door: Door::Socket(socket.to_owned()),
            user: user.to_owned(),
            database: "postgres".to_owned(),
            replication: false,
        };
        let mut session = Self(open(&knock)?);
        session.until_ready()?;
        Ok(session)
    }

    /// The rows of a statement; a null is empty.
    ///
    /// # Errors
    /// The server's words.
    pub fn ask(&mut self, statement: &str) -> Result<Vec<Vec<Vec<u8>>>> {
        let mut message = vec![b'Q'];
        message.extend(length(statement.len() + 5)?);
        message.extend(statement.as_bytes());
        message.push(0);
        self.0.write_all(&message).map_err(|e| format!("cannot ask: {e}"))?;
        self.until_ready()
    }

    fn until_ready(&mut self) -> Result<Vec<Vec<Vec<u8>>>> {
        let mut rows = Vec::new();
        let mut failure = None;
        loop {
            let message = receive(&mut self.0)?;
            match message.kind {
                b'D' => rows.push(columns(&message.body).ok_or("a row that cannot be read")?),
                b'E' => failure = Some(words(&message.body)),
                b'R' if code(&message.body) != Some(0) => {
                    return Err(format!(
                        "the server wants a password: {:?}",
                        message.body.escape_ascii().to_string()
                    ));
                }
                b'Z' => return failure.map_or(Ok(rows), Err),
                _ => {}
            }
            // An error before the session is ready is the last word.
            if let Some(words) = failure.as_ref().filter(|w| w.starts_with("FATAL")) {
                return Err(words.clone());
            }
        }
    }
}

fn open(knock: &Knock) -> Result<Box<dyn Stream>> {
    let failed = |e: std::io::Error| format!("{:?}: {e}", knock.door);
    let mut stream: Box<dyn Stream> = match &knock.door {
        Door::Socket(path) => {
            let stream = UnixStream::connect(path).map_err(failed)?;
            stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
            Box::new(stream)
        }
        Door::Tcp(ip, port) => {
            let stream =
                TcpStream::connect_timeout(&SocketAddr::new(*ip, *port), PATIENCE).map_err(failed)?;
            stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
            Box::new(stream)
        }
    };
    let mut pairs = vec![("user", knock.user.as_str()), ("database", knock.database.as_str())];
    if knock.replication {
        pairs.push(("replication", "true"));
    }
    let mut body = VERSION.to_be_bytes().to_vec();
    for word in pairs.iter().flat_map(|(key, value)| [key, value]) {
        body.extend(word.as_bytes());
        body.push(0);
    }
    body.push(0);
    let message = [&length(body.len() + 4)?[..], &body].concat();
    stream.write_all(&message).map_err(failed)?;
    Ok(stream)
}

fn length(length: usize) -> Result<[u8; 4]> {
    u32::try_from(length).map(u32::to_be_bytes).map_err(|e| e.to_string())
}

fn receive(stream: &mut impl Read) -> Result<Message> {
    let failed = |e: std::io::Error| format!("the server does not answer: {e}");
    let mut head = [0; 5];
    stream.read_exact(&mut head).map_err(failed)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    let mut body = vec![0; length.saturating_sub(4) as usize];
    stream.read_exact(&mut body).map_err(failed)?;
    Ok(Message { kind: head[0], body })
}

fn code(body: &[u8]) -> Option<u32> {
    body.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// Severity and message of an error.
fn words(body: &[u8]) -> String {
    let fields = body.split(|b| *b == 0).filter_map(|f| f.split_first());
    let of =
        |kind: u8| fields.clone().find(|(k, _)| **k == kind).map(|(_, text)| String::from_utf8_lossy(text));
    format!("{}: {}", of(b'S').unwrap_or_default(), of(b'M').unwrap_or_default())
}

fn columns(body: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut columns = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>()?;
        // A null has the length -1.
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        columns.push(after.get(..length)?.to_vec());
        rest = &after[length..];
    }
    Some(columns)
}
