//! A client in the server's own protocol, for stand-ins and tests that must see who is let in: log in without a password,
//! ask, read rows. `postgres_protocol` makes and reads the messages.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::{DataRowBody, ErrorResponseBody, Header, Message};
use postgres_protocol::message::frontend;

/// Length of a message's header: its kind, and a length that counts itself.
const HEADER: usize = 5;

/// Why a question has no answer.
#[derive(Debug)]
pub enum Failure {
    /// The server said no, in these words (`FATAL:  …`).
    Server(String),
    /// Nothing came within the limit.
    Timeout,
    /// The connection broke, or never was.
    Io(io::Error),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Server(words) => f.write_str(words),
            Self::Timeout => f.write_str("the server does not answer in time"),
            Self::Io(error) => write!(f, "the server does not answer: {error}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Io(error),
        }
    }
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// The local socket.
    Socket(PathBuf),
    /// An address of this machine: the client then comes from the same one.
    Tcp(IpAddr, u16),
}

/// What a server says first to a client that wants to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// The client is in without a question.
    LetIn,
    /// It is asked to prove who it is.
    Challenge,
    /// It is turned away, in these words (`FATAL:  …`).
    Refusal(String),
}

/// Rows of columns; a null is the empty string.
pub type Rows = Vec<Vec<String>>;

trait Stream: Read + Write {}
impl Stream for TcpStream {}
impl Stream for UnixStream {}

/// A connection.
pub struct Client(Box<dyn Stream>);

impl Client {
    /// A connection through this door on which nothing was said, with a limit for each answer.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(door: &Door, limit: Duration) -> Result<Self, Failure> {
        Ok(Self(match door {
            Door::Socket(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(limit))?;
                stream.set_write_timeout(Some(limit))?;
                Box::new(stream)
            }
            Door::Tcp(ip, port) => {
                let stream = TcpStream::connect_timeout(&SocketAddr::new(*ip, *port), limit)?;
                stream.set_read_timeout(Some(limit))?;
                stream.set_write_timeout(Some(limit))?;
                Box::new(stream)
            }
        }))
    }

    /// Logs in through the socket in this folder.
    ///
    /// # Errors
    /// The server is not there, or does not let the user in.
    pub fn unix(dir: &Path, port: u16, user: &str, limit: Duration) -> Result<Self, Failure> {
        Self::log_in(&Door::Socket(dir.join(format!(".s.PGSQL.{port}"))), user, limit)
    }

    /// Logs in through TCP.
    ///
    /// # Errors
    /// The server is not there, or does not let the user in.
    pub fn tcp(host: &str, port: u16, user: &str, limit: Duration) -> Result<Self, Failure> {
        let address = (host, port)
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such host"))?;
        Self::log_in(&Door::Tcp(address.ip(), address.port()), user, limit)
    }

    /// Logs in to the database `postgres`.
    ///
    /// # Errors
    /// The server is not there, or does not let the user in.
    pub fn log_in(door: &Door, user: &str, limit: Duration) -> Result<Self, Failure> {
        let mut client = Self::connect(door, limit)?;
        let parameters = [("user", user), ("database", "postgres"), ("application_name", "og_lab")];
        match client.greet(&parameters)? {
            Greeting::LetIn => {}
            Greeting::Challenge => {
                return Err(Failure::Server("FATAL:  the server asks for a password".into()));
            }
            Greeting::Refusal(words) => return Err(Failure::Server(words)),
        }
        client.read_rows()?;
        Ok(client)
    }

    /// Says who the client is, and returns what the server says to that.
    ///
    /// # Errors
    /// It says nothing, or something else.
    pub fn greet(&mut self, parameters: &[(&str, &str)]) -> Result<Greeting, Failure> {
        let mut message = BytesMut::new();
        frontend::startup_message(parameters.iter().copied(), &mut message)?;
        self.0.write_all(&message)?;
        match self.read_message()? {
            Some(Message::AuthenticationOk) => Ok(Greeting::LetIn),
            Some(Message::AuthenticationCleartextPassword) => Ok(Greeting::Challenge),
            Some(Message::ErrorResponse(body)) => Ok(Greeting::Refusal(error_words(&body))),
            _ => Err(Failure::Io(io::Error::other("no greeting of this protocol"))),
        }
    }

    /// Asks one statement; rows of text.
    ///
    /// # Errors
    /// The server refuses it, or does not answer.
    pub fn ask(&mut self, sql: &str) -> Result<Rows, Failure> {
        let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
        Ok(self.ask_bytes(sql)?.into_iter().map(|row| row.into_iter().map(text).collect()).collect())
    }

    /// Asks one statement; rows of bytes, a null is empty.
    ///
    /// # Errors
    /// The server refuses it, or does not answer.
    pub fn ask_bytes(&mut self, sql: &str) -> Result<Vec<Vec<Vec<u8>>>, Failure> {
        let mut message = BytesMut::new();
        frontend::query(sql, &mut message)?;
        self.0.write_all(&message)?;
        self.read_rows()
    }

    /// Reads until the server is ready for the next question.
    fn read_rows(&mut self) -> Result<Vec<Vec<Vec<u8>>>, Failure> {
        let (mut rows, mut error) = (Vec::new(), None);
        loop {
            match self.read_message() {
                Ok(Some(Message::DataRow(row))) => rows.push(columns(&row)?),
                Ok(Some(Message::ErrorResponse(body))) => error = Some(error_words(&body)),
                Ok(Some(Message::ReadyForQuery(_))) => {
                    return error.map_or(Ok(rows), |e| Err(Failure::Server(e)));
                }
                Ok(_) => {}
                // A server that ends the connection says why and hangs up.
                Err(failure) => return Err(error.map_or(failure, Failure::Server)),
            }
        }
    }

    /// The next message, when it is of a kind that counts here; every challenge is told as one for a password.
    fn read_message(&mut self) -> Result<Option<Message>, Failure> {
        let mut message = BytesMut::zeroed(HEADER);
        self.0.read_exact(&mut message)?;
        let strange = || io::Error::other("no message of this protocol");
        let header = Header::parse(&message)?.ok_or_else(strange)?;
        message.resize(usize::try_from(header.len()).map_err(io::Error::other)? + 1, 0);
        self.0.read_exact(&mut message[HEADER..])?;
        match header.tag() {
            // openGauss has ways to authenticate that the library does not know.
            b'R' if message[HEADER..] != [0; 4] => Ok(Some(Message::AuthenticationCleartextPassword)),
            b'R' | b'D' | b'E' | b'Z' => Ok(Message::parse(&mut message)?),
            _ => Ok(None),
        }
    }
}

fn columns(row: &DataRowBody) -> io::Result<Vec<Vec<u8>>> {
    let value = |range: Option<std::ops::Range<usize>>| {
        Ok(range.map_or_else(Vec::new, |range| row.buffer()[range].to_vec()))
    };
    row.ranges().map(value).collect()
}

/// Severity and message of an error, as psql prints them.
fn error_words(body: &ErrorResponseBody) -> String {
    let (mut severity, mut words) = (String::new(), String::new());
    let mut fields = body.fields();
    // What cannot be read of it is its end.
    while let Ok(Some(field)) = fields.next() {
        let text = String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'S' => severity = text,
            b'M' => words = text,
            _ => {}
        }
    }
    format!("{severity}:  {words}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rows_and_errors_are_read_as_the_protocol_lays_them_out() {
        let parse = |bytes: &[u8]| Message::parse(&mut BytesMut::from(bytes)).unwrap().unwrap();
        let Message::DataRow(row) = parse(b"D\0\0\0\x0f\0\x02\0\0\0\x01t\xff\xff\xff\xff") else {
            unreachable!()
        };
        assert_eq!(columns(&row).unwrap(), [b"t".to_vec(), Vec::new()]);
        let Message::ErrorResponse(body) = parse(b"E\0\0\0\x23SFATAL\0VFATAL\0C28000\0Mno entry\0\0") else {
            unreachable!()
        };
        assert_eq!(error_words(&body), "FATAL:  no entry");
    }
}
