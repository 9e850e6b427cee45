//! What a server answers on its replication port to one that asks what it is: `IDENTIFY_MODE` and `IDENTIFY_SYSTEM` of
//! openGauss's replication protocol, which `gs_ctl build` asks before anything else.

use std::io::{self, Read, Write};

/// More is no message of this conversation.
const MOST: usize = 64 * 1024;

/// What is told.
pub struct Identity {
    /// The number of its mode, or why nobody is told anything.
    pub mode: Result<u8, String>,
    /// Its system identifier.
    pub system_id: String,
    /// The end of its log: written, or received and replayed.
    pub position: Option<String>,
}

/// Holds the conversation: a start-up packet, then commands, until the other end says goodbye.
pub fn answer(mut stream: impl Read + Write, identity: &Identity) -> io::Result<()> {
    let length = word(&mut stream)?;
    skip(&mut stream, length)?;
    let mode = match &identity.mode {
        Ok(mode) => *mode,
        Err(refusal) => return stream.write_all(&error("FATAL", refusal)),
    };
    stream.write_all(&[message(b'R', &[0; 4]), ready()].concat())?;
    loop {
        let mut kind = [0];
        stream.read_exact(&mut kind)?;
        let length = word(&mut stream)?;
        let body = skip(&mut stream, length)?;
        let answer = match (kind[0], body.strip_suffix(b"\0")) {
            (b'X', _) => return Ok(()),
            (b'Q', Some(b"IDENTIFY_MODE")) => row(&[Some(&mode.to_string())]),
            (b'Q', Some(b"IDENTIFY_SYSTEM")) => {
                row(&[Some(&identity.system_id), Some("1"), identity.position.as_deref(), None])
            }
            _ => error("ERROR", "syntax error"),
        };
        stream.write_all(&[answer, ready()].concat())?;
    }
}

fn word(stream: &mut impl Read) -> io::Result<usize> {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes)?;
    usize::try_from(u32::from_be_bytes(bytes)).map_err(io::Error::other)
}

fn skip(stream: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    if !(4..=MOST).contains(&length) {
        return Err(io::Error::other("no message of this protocol"));
    }
    let mut body = vec![0; length - 4];
    stream.read_exact(&mut body)?;
    Ok(body)
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [&[kind], &length.to_be_bytes()[..], body].concat()
}

fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

/// A row of these columns, and the end of the command.
fn row(values: &[Option<&str>]) -> Vec<u8> {
    let mut body = u16::try_from(values.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    for value in values {
        let length = value.map_or(u32::MAX, |value| u32::try_from(value.len()).unwrap_or(u32::MAX));
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(value.unwrap_or_default().as_bytes());
    }
    [message(b'D', &body), message(b'C', b"SELECT\0")].concat()
}

fn error(severity: &str, words: &str) -> Vec<u8> {
    let words = words.trim_start_matches("FATAL:").trim();
    message(b'E', format!("S{severity}\0C28000\0M{words}\0\0").as_bytes())
}
