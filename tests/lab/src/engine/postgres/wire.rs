//! The few messages of PostgreSQL's protocol which the stand-ins need: log in without a password, ask, read rows.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

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

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Io(error),
        }
    }
}

/// Rows of columns; a null is the empty string.
pub type Rows = Vec<Vec<String>>;

trait Stream: Read + Write {}
impl Stream for TcpStream {}
impl Stream for UnixStream {}

/// A connection.
pub struct Client(Box<dyn Stream>);

impl Client {
    /// Through the socket in this folder.
    pub fn unix(dir: &Path, port: u16, user: &str, limit: Duration) -> Result<Self, Failure> {
        let stream = UnixStream::connect(dir.join(format!(".s.PGSQL.{port}")))?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        Self::login(Box::new(stream), user)
    }

    /// Through TCP.
    pub fn tcp(host: &str, port: u16, user: &str, limit: Duration) -> Result<Self, Failure> {
        let address = (host, port)
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such host"))?;
        let stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        Self::login(Box::new(stream), user)
    }

    fn login(mut stream: Box<dyn Stream>, user: &str) -> Result<Self, Failure> {
        let mut body = 196_608_u32.to_be_bytes().to_vec();
        for word in ["user", user, "database", "postgres", "application_name", "og_lab"] {
            body.extend_from_slice(word.as_bytes());
            body.push(0);
        }
        body.push(0);
        stream.write_all(&length(&body))?;
        stream.write_all(&body)?;
        let mut client = Self(stream);
        client.read_rows()?;
        Ok(client)
    }

    /// Asks one statement.
    pub fn ask(&mut self, sql: &str) -> Result<Rows, Failure> {
        let mut body = sql.as_bytes().to_vec();
        body.push(0);
        self.0.write_all(b"Q")?;
        self.0.write_all(&length(&body))?;
        self.0.write_all(&body)?;
        self.read_rows()
    }

    /// Reads until the server is ready for the next question.
    fn read_rows(&mut self) -> Result<Rows, Failure> {
        let (mut rows, mut error) = (Rows::new(), None);
        loop {
            let mut head = [0; 5];
            if let Err(e) = self.0.read_exact(&mut head) {
                // A server that refuses a login says why and hangs up.
                return Err(error.map_or_else(|| e.into(), Failure::Server));
            }
            let size = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let mut body = vec![0; size.saturating_sub(4)];
            self.0.read_exact(&mut body)?;
            match head[0] {
                b'D' => rows.push(columns(&body)),
                b'E' => error = Some(words(&body)),
                b'R' if body.get(..4) != Some(&[0; 4]) => {
                    return Err(Failure::Server("FATAL:  the server asks for a password".into()));
                }
                b'Z' => return error.map_or(Ok(rows), |e| Err(Failure::Server(e))),
                _ => {}
            }
        }
    }
}

fn length(body: &[u8]) -> [u8; 4] {
    u32::try_from(body.len() + 4).unwrap_or(u32::MAX).to_be_bytes()
}

/// The columns of a `DataRow`.
fn columns(body: &[u8]) -> Vec<String> {
    let (mut columns, mut rest) = (Vec::new(), body.get(2..).unwrap_or_default());
    while let Some((head, tail)) = rest.split_first_chunk::<4>() {
        let size = usize::try_from(i32::from_be_bytes(*head)).unwrap_or(0).min(tail.len());
        columns.push(String::from_utf8_lossy(&tail[..size]).into_owned());
        rest = &tail[size..];
    }
    columns
}

/// Severity and message of an `ErrorResponse`.
fn words(body: &[u8]) -> String {
    let part = |kind: u8| {
        body.split(|b| *b == 0)
            .find(|field| field.first() == Some(&kind))
            .map(|field| String::from_utf8_lossy(&field[1..]).into_owned())
            .unwrap_or_default()
    };
    format!("{}:  {}", part(b'S'), part(b'M'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_errors_are_read_as_the_protocol_lays_them_out() {
        assert_eq!(columns(&[0, 2, 0, 0, 0, 1, b't', 255, 255, 255, 255]), ["t", ""]);
        assert_eq!(words(b"SFATAL\0VFATAL\0C28000\0Mno entry\0\0"), "FATAL:  no entry");
    }
}
