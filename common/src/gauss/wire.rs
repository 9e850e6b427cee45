//! Conversations with a server in its own protocol, for what gsql cannot say: replication commands, and logins that are
//! not ours. Messages are made and read by `postgres_protocol`; protocol 3.0 is spoken by every release.

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::{DataRowBody, ErrorResponseBody, Header, Message};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer is a few hundred bytes; more is no server of this kind.
const LONGEST_MESSAGE: usize = 64 * 1024;
/// Length of a message's header: its kind, and a length that counts itself.
const HEADER: usize = 5;

/// Startup parameters of a replication connection, the same as those of `gs_ctl build`.
pub(super) const FOR_REPLICATION: &[(&str, &str)] =
    &[("database", "replication"), ("replication", "true"), ("application_name", "gs_ctl")];

/// A connection that has begun.
pub(super) struct WireConnection {
    stream: TcpStream,
}

/// The answer to a command: the columns of its rows, nulls left out, or the message of the error.
pub(super) type WireAnswer = Result<Vec<String>, String>;

impl WireConnection {
    /// Logs in as `user` with these parameters; the words of a server that does not let us in.
    pub(super) async fn log_in(
        stream: TcpStream,
        user: &str,
        parameters: &[(&str, &str)],
    ) -> std::io::Result<Result<Self, String>> {
        let mut connection = Self { stream };
        let mut message = BytesMut::new();
        frontend::startup_message([("user", user)].iter().chain(parameters).copied(), &mut message)?;
        connection.stream.write_all(&message).await?;
        Ok(connection.read_answer().await?.map(|_| connection))
    }

    /// Sends a command and reads the answer to its end.
    pub(super) async fn ask(&mut self, command: &str) -> std::io::Result<WireAnswer> {
        let mut message = BytesMut::new();
        frontend::query(command, &mut message)?;
        self.stream.write_all(&message).await?;
        self.read_answer().await
    }

    /// Closes the connection with a Terminate message; the server closes it all the same when that is lost.
    pub(super) async fn end(mut self) {
        let mut message = BytesMut::new();
        frontend::terminate(&mut message);
        let _ = self.stream.write_all(&message).await;
    }

    /// Reads until the server is ready for the next command, or closes the connection with its last words.
    async fn read_answer(&mut self) -> std::io::Result<WireAnswer> {
        let (mut values, mut refusal) = (Vec::new(), None);
        loop {
            match self.read_message().await? {
                Some(Message::ReadyForQuery(_)) => return Ok(refusal.map_or(Ok(values), Err)),
                Some(Message::ErrorResponse(body)) => {
                    let (words, is_fatal) = read_error(&body);
                    if is_fatal {
                        return Ok(Err(words));
                    }
                    refusal = Some(words);
                }
                Some(Message::DataRow(row)) => values.extend(read_columns(&row)?),
                Some(Message::AuthenticationOk) | None => {}
                // Any other authentication request.
                Some(_) => return Ok(Err("it wants a password".to_owned())),
            }
        }
    }

    /// The next message, when it is of a kind that counts here: some kinds are the server's own.
    async fn read_message(&mut self) -> std::io::Result<Option<Message>> {
        let mut message = BytesMut::zeroed(HEADER);
        self.stream.read_exact(&mut message).await?;
        let strange = || std::io::Error::other("it does not speak the server's protocol");
        let header = Header::parse(&message).ok().flatten().ok_or_else(strange)?;
        let length =
            usize::try_from(header.len()).ok().filter(|n| *n <= LONGEST_MESSAGE).ok_or_else(strange)?;
        message.resize(length + 1, 0);
        self.stream.read_exact(&mut message[HEADER..]).await?;
        match header.tag() {
            // openGauss has ways to authenticate that the library does not know.
            b'R' if message[HEADER..] != [0; 4] => Ok(Some(Message::AuthenticationCleartextPassword)),
            b'R' | b'D' | b'E' | b'Z' => Message::parse(&mut message),
            _ => Ok(None),
        }
    }
}

/// The message of an error, and whether the server closes the connection after it.
fn read_error(body: &ErrorResponseBody) -> (String, bool) {
    let (mut words, mut is_fatal) = ("it refuses".to_owned(), false);
    let mut fields = body.fields();
    // A field that cannot be parsed ends the list.
    while let Ok(Some(field)) = fields.next() {
        match field.type_() {
            b'M' => String::from_utf8_lossy(field.value_bytes()).trim().clone_into(&mut words),
            b'S' | b'V' => is_fatal |= [&b"FATAL"[..], b"PANIC"].contains(&field.value_bytes()),
            _ => {}
        }
    }
    (words, is_fatal)
}

/// The columns of a row; a null is left out.
fn read_columns(row: &DataRowBody) -> std::io::Result<Vec<String>> {
    let text = |range| String::from_utf8_lossy(&row.buffer()[range]).into_owned();
    row.ranges().filter_map(|range| Ok(range.map(text))).collect()
}
