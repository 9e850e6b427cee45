//! pg_hba.conf, and clients that its rules are about.

use std::net::IpAddr;

use fastrand::Rng;
use og_common::hba::{Address, Column, HbaFile, HbaRule, Kind, Method, Name, Range};

use super::{Dialect, choose_one, damage, once_in};
use crate::server::{ADDRESSES, USERS};

const DATABASES: [&str; 12] = [
    "all",
    "all",
    "postgres",
    "d1",
    "d2",
    "d1,d2",
    "sameuser",
    "replication",
    "samerole",
    "\"all\"",
    "d2, all",
    "\"d 3\"",
];
const NAMES: [&str; 12] =
    ["all", "all", "u1", "u2", "u3", "u1,u2", "+g1", "\"all\"", "\"A_b\"", "u3, u1", "g1", "nobody"];
const MASKS: [&str; 8] = [
    "255.255.255.255",
    "255.255.255.0",
    "255.0.0.0",
    "0.0.0.0",
    "255.0.0.255",
    "255.255.255.240",
    "0.0.0.255",
    "255.255.255.254",
];
const WORDS: [&str; 6] = ["all", "samehost", "samenet", "\"all\"", "localhost", ".example.org"];
const ODD: [&str; 22] = [
    "10.0.0.1/33",
    "10.0.0.1/-1",
    "10.0.0.1/",
    "10.0.0.1/+8",
    "10.0.0.1/08",
    "10.0.0.1/8x",
    "10.0.0.300/32",
    "10.7/16",
    "0x0a.7.1/8",
    "012.7.0.1/32",
    "127.1/32",
    "fe80:::1/64",
    "::1/129",
    "::/0",
    "::ffff:10.7.0.1/128",
    "fd00:7::1",
    "10.7.0.1",
    "host/8",
    "0.0.0.0/0",
    "[::1]/128",
    "::1%lo/128",
    "10.7.0.1 255.255.255.300",
];
const GOOD_METHODS: [&str; 4] = ["trust", "reject", "md5", "\"trust\""];
const BAD_METHODS: [&str; 6] = ["TRUST", "md6", "trust,reject", "", "peer", "cert"];
const OWN_METHODS: [&str; 9] =
    ["sha256", "sm3", "gss", "krb5", "ident", "ldap", "pam", "sspi", "scram-sha-256"];
const OWN_OPTIONS: [&str; 7] = [
    "clientcert=1",
    "clientcert=0",
    "clientcert=x",
    "include_realm=1",
    "krb_realm=r",
    "ldapserver=s",
    "pamservice=p",
];
const OPTIONS: [&str; 6] = ["map=m", "\"map=a b\"", "map", "nosuch=1", "=", "map=m map=n"];

/// A file: a rule that lets the administrator in, so that the server can be asked, and a few others.
pub fn hba(rng: &mut Rng, dialect: Dialect, admin: &str) -> Vec<u8> {
    loop {
        let mut file = format!("local all {admin} trust\n").into_bytes();
        let mistakes = rng.bool();
        for _ in 0..rng.usize(1..=7) {
            let mistake = mistakes && once_in(rng, 4);
            let mut line = line(rng, dialect, mistake).into_bytes();
            if mistakes && once_in(rng, 6) {
                damage(rng, &mut line, b" \t,\"#/=+.:*\rax01-@\\\xc3");
            }
            file.extend(line);
            file.extend(if once_in(rng, 12) { &b"\r\n"[..] } else { b"\n" });
        }
        if once_in(rng, 10) {
            file.pop();
        }
        if once_in(rng, 60) {
            file = b"# nothing but a comment\n\n".to_vec();
        }
        if dialect == Dialect::OpenGauss || in_common(&file) {
            return file;
        }
    }
}

/// Whether both servers are meant to read the file alike. PostgreSQL cuts the file into lines before all else, and has
/// a backslash at a line's end join two; openGauss lets a comma do that. `@file` is read at other times.
fn in_common(file: &[u8]) -> bool {
    file.split(|b| *b == b'\n').all(|line| {
        let text = line.trim_ascii_end();
        let before_comment = text.split(|b| *b == b'#').next().unwrap_or_default().trim_ascii_end();
        !text.ends_with(b"\\")
            && !before_comment.ends_with(b",")
            && !text.contains(&b'@')
            && !text.windows(2).any(|pair| pair == b"\"#")
    })
}

/// A name as a caller may give it: every character, and often one of those that mean something in the file.
fn value(rng: &mut Rng, dialect: Dialect) -> String {
    const MARKS: [&str; 14] =
        [" ", ",", "#", "\"", "\"\"", "+", "@", "all", "A", "\t", "\r", "\\", "\u{e9}", "\u{6ce8}"];
    let mut name = String::new();
    for _ in 0..rng.usize(1..=5) {
        if rng.bool() {
            name.push_str(choose_one(rng, &MARKS));
        } else {
            name.push(char::from(rng.u8(0x20..0x7f)));
        }
    }
    // PostgreSQL takes such a name for a pattern.
    if dialect == Dialect::Common && name.starts_with('/') {
        name.insert(0, 'x');
    }
    name
}

/// A rule as og_hba writes it for an object: its fields are values, whatever they hold.
fn written(rng: &mut Rng, dialect: Dialect) -> Option<HbaRule> {
    let mut names = |column: Column, words: &[&str]| {
        let mut names = Vec::new();
        for _ in 0..rng.usize(1..=2) {
            let value = if once_in(rng, 3) { choose_one(rng, words).to_owned() } else { value(rng, dialect) };
            names.push(Name::from_value(column, &value).ok()?);
        }
        Some(names)
    };
    let databases = names(Column::Databases, &["all", "sameuser", "\"all\"", "d1", "replication"])?;
    let users = names(Column::Users, &["all", "+g1", "\"all\"", "u1", "\"+g1\""])?;
    let ip: IpAddr = choose_one(rng, &ADDRESSES).parse().ok()?;
    let range = Range::from_prefix(ip, rng.u32(..=if ip.is_ipv4() { 32 } else { 128 }))?;
    let local = once_in(rng, 3);
    Some(HbaRule {
        kind: if local { Kind::Local } else { Kind::Host },
        databases,
        users,
        address: (!local).then_some(Address::Range(range)),
        method: if rng.bool() { Method::Reject } else { Method::Md5 },
        options: Vec::new(),
    })
}

fn line(rng: &mut Rng, dialect: Dialect, mistake: bool) -> String {
    if once_in(rng, 3)
        && let Some(rule) = written(rng, dialect)
    {
        return rule.to_string();
    }
    if once_in(rng, 12) {
        return choose_one(rng, &["", "# a comment", "   ", "\t# host all all all trust", "#"]).to_owned();
    }
    let mut kind = choose_one(rng, &["host", "host", "host", "host", "local", "hostnossl", "hostssl"]);
    let (mut databases, mut users) = (choose_one(rng, &DATABASES), choose_one(rng, &NAMES));
    let mut address = if kind == "local" { String::new() } else { address(rng) };
    let mut method = choose_one(rng, &GOOD_METHODS);
    let mut option = "";
    if kind == "local" && once_in(rng, 4) {
        method = "peer";
        option = choose_one(rng, &["", "map=m"]);
    }
    if dialect == Dialect::OpenGauss && once_in(rng, 8) {
        method = choose_one(rng, &OWN_METHODS);
        option = choose_one(rng, &OWN_OPTIONS);
    }
    if dialect == Dialect::OpenGauss && once_in(rng, 30) {
        users = choose_one(rng, &["@nosuch", "u1,@nosuch", "\"@nosuch\""]);
    }
    let mut words = 9;
    if mistake {
        match rng.u8(..9) {
            0 => kind = choose_one(rng, &["hots", "HOST", "host,local", "hostgss", "\"host\""]),
            1 => databases = choose_one(rng, &["\"\"", ",", "d1,,d2", "\"d1", "d\"1\""]),
            2 => users = choose_one(rng, &["\"\"", "+", "\"u1", "u1,", "\"u\"\"1\""]),
            3 | 4 => choose_one(rng, &ODD).clone_into(&mut address),
            5 => method = choose_one(rng, &BAD_METHODS),
            6 => option = choose_one(rng, &OPTIONS),
            7 => choose_one(rng, &WORDS).clone_into(&mut address),
            _ => words = rng.usize(1..5),
        }
    }
    let gap = choose_one(rng, &[" ", "    ", "\t", " \t "]);
    let all = [kind, databases, users, &address, method, option];
    let mut line = all.iter().filter(|w| !w.is_empty()).take(words).copied().collect::<Vec<_>>().join(gap);
    if once_in(rng, 8) {
        line.push_str(choose_one(rng, &[" # why", "#why", "   ", "\t"]));
    }
    if once_in(rng, 20) {
        line.insert_str(0, choose_one(rng, &[" ", "\t", ",", "  "]));
    }
    line
}

fn address(rng: &mut Rng) -> String {
    let host = choose_one(rng, &ADDRESSES);
    let v6 = host.contains(':');
    match rng.u8(..10) {
        0 => choose_one(rng, &["all", "samehost", "samenet", "localhost"]).to_owned(),
        1 | 2 if !v6 => format!("{host} {}", choose_one(rng, &MASKS)),
        1 if v6 => format!(
            "{host} {}",
            choose_one(rng, &["ffff:ffff::", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff::ffff"])
        ),
        3..6 => format!("{host}/{}", if v6 { 128 } else { 32 }),
        _ => format!("{host}/{}", rng.u8(..=if v6 { 128 } else { 32 })),
    }
}

/// A client: through the local socket or from an address, as a user, to a database, perhaps for replication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address; none through the local socket.
    pub address: Option<IpAddr>,
    /// The user.
    pub user: String,
    /// The database.
    pub database: String,
    /// Whether for physical replication.
    pub replication: bool,
}

/// Clients that the file's rules are about, and some others.
pub fn knocks(rng: &mut Rng, dialect: Dialect, file: &HbaFile, many: usize) -> Vec<Client> {
    let rules: Vec<_> = file.rules().map(|(_, rule)| rule).collect();
    let text = |name: &Name| match name {
        Name::Named(name) | Name::Role(name) => String::from_utf8(name.clone()).ok(),
        _ => None,
    };
    let mut clients = Vec::new();
    while clients.len() < many {
        let mut user = choose_one(rng, &USERS).to_owned();
        let mut database = choose_one(rng, &["postgres", "d1", "d2", "d 3", "u1", "all"]).to_owned();
        let mut address = choose_one(rng, &ADDRESSES).parse().ok();
        if let Some(rule) = rules.get(rng.usize(..rules.len().max(1))).filter(|_| rng.bool()) {
            // openGauss asks no further for a user that does not exist.
            // Nor is such a user a member of the role of its name.
            let known = |name: &&Name| match (dialect, name) {
                (Dialect::Common, Name::Named(name)) => !name.is_empty(),
                (_, name) => text(name).is_some_and(|name| USERS.contains(&name.as_str())),
            };
            user = rule.users.iter().find(known).and_then(text).unwrap_or(user);
            database = rule.databases.iter().find_map(text).filter(|d| !d.is_empty()).unwrap_or(database);
            match &rule.address {
                None => address = None,
                Some(Address::Range(range)) => {
                    let inside = ADDRESSES.iter().filter_map(|a| a.parse().ok()).find(|a| range.contains(*a));
                    address = inside.or(address);
                }
                Some(_) => {}
            }
        } else if once_in(rng, 8) {
            address = None;
        }
        // openGauss lets replication in by its channels, and another door.
        let replication = dialect == Dialect::Common && once_in(rng, 8);
        clients.push(Client { address, user, database, replication });
    }
    clients
}
