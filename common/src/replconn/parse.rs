//! A value as the server takes it apart.

use super::{ChannelEnd, ChannelError, ChannelHost, ReplicationChannel};

/// Keys with a meaning of their own here; all others are kept as they are.
pub(super) const KNOWN: [&str; 10] = [
    "localhost",
    "localport",
    "localheartbeatport",
    "localservice",
    "remotehost",
    "remoteport",
    "remoteheartbeatport",
    "remoteservice",
    "iscascade",
    "iscrossregion",
];

/// Those of them that are not always written, so that the server may find one in a later word.
const OPTIONAL: [&str; 6] = [
    "localheartbeatport",
    "localservice",
    "remoteheartbeatport",
    "remoteservice",
    "iscascade",
    "iscrossregion",
];

pub(super) fn parse_value(value: &str) -> Result<Option<ReplicationChannel>, ChannelError> {
    if value.bytes().all(|byte| byte == b' ') {
        return Ok(None);
    }
    // strtok: empty parts are none.
    let mut parts = value.split(',').filter(|part| !part.is_empty());
    let Some(first) = parts.next() else { return Err(ChannelError("it holds no channel".into())) };
    let mut channel = parse_channel(first)?;
    for part in parts {
        parse_channel(part)?;
        channel.more.push(part.trim_matches(' ').to_owned());
    }
    Ok(Some(channel))
}

fn parse_channel(text: &str) -> Result<ReplicationChannel, ChannelError> {
    Ok(ReplicationChannel {
        local: parse_end(text, "local")?,
        remote: parse_end(text, "remote")?,
        cascade: parse_flag(text, "iscascade"),
        cross_region: parse_flag(text, "iscrossregion"),
        extra: unknown_words(text),
        more: Vec::new(),
    })
}

fn parse_end(text: &str, side: &str) -> Result<ChannelEnd, ChannelError> {
    let key = format!("{side}host");
    let host = find_value(text, &key).ok_or_else(|| ChannelError(format!("{key} is missing")))?;
    let port_key = format!("{side}port");
    let length = host.find(' ').unwrap_or(host.len()).min(host.find(&port_key).unwrap_or(host.len()));
    let host = &host[..length];
    if !host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == ':') {
        return Err(ChannelError(format!("{key} does not begin with a letter, a digit or a colon")));
    }
    let port = find_value(text, &port_key).ok_or_else(|| ChannelError(format!("{port_key} is missing")))?;
    let port = parse_number(port).ok_or_else(|| ChannelError(format!("{port_key} is not a number")))?;
    let other = |key: &str| find_value(text, &format!("{side}{key}")).and_then(parse_number);
    Ok(ChannelEnd {
        host: ChannelHost::new(host),
        port,
        heartbeat_port: other("heartbeatport"),
        service_port: other("service"),
    })
}

/// What follows the first occurrence of `key` and the `=` and blanks behind it.
fn find_value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let at = text.find(key)? + key.len();
    Some(text[at..].trim_start_matches([' ', '=']))
}

/// atoi, which never fails on what begins with a digit.
fn parse_number(text: &str) -> Option<u32> {
    let digits = &text[..text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())];
    (!digits.is_empty()).then(|| digits.parse().unwrap_or(u32::MAX))
}

fn parse_flag(text: &str, key: &str) -> bool {
    find_value(text, key).is_some_and(|value| value.starts_with("true"))
}

/// The words of the text that belong to none of the known keys, `key = value` drawn together.
fn unknown_words(text: &str) -> Vec<String> {
    let spaced = text.replace('=', " = ");
    let mut words = spaced.split(' ').filter(|word| !word.is_empty()).peekable();
    let mut extra = Vec::new();
    while let Some(key) = words.next() {
        let mut value = None;
        let mut equals = false;
        while words.next_if_eq(&"=").is_some() {
            equals = true;
        }
        // The server takes a known key's value also without "=".
        if equals || KNOWN.contains(&key) {
            value = words.next();
        }
        if KNOWN.contains(&key) || key == "=" {
            continue;
        }
        let word = match (equals, value) {
            (true, value) => format!("{key}={}", value.unwrap_or_default()),
            (false, _) => key.to_owned(),
        };
        // The server has read it as that key already, or passes it over for an earlier one that will be gone.
        if !OPTIONAL.iter().any(|key| word.contains(key)) {
            extra.push(word);
        }
    }
    extra
}
