//! Which rule decides a connection (`check_hba` of openGauss's hba.cpp), and which rules are never reached.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::Path;

use super::address::{Address, Range};
use super::lexer::{Token, entries};
use super::rule::{Kind, Method, Name, Rule};
use super::{HbaFile, LineKind};

/// How a client comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Through the local socket.
    Local,
    /// Over TCP.
    Tcp {
        /// The client's address.
        client: IpAddr,
        /// Whether with SSL.
        ssl: bool,
    },
}

/// A connection to be decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection<'a> {
    /// How it comes.
    pub route: Route,
    /// The database asked for; without meaning for physical replication.
    pub database: &'a [u8],
    /// The user.
    pub user: &'a [u8],
    /// Whether it is a physical replication connection.
    pub replication: bool,
}

/// What rules refer to outside of their file.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The values listed in each `@file`; `None` for a file that cannot be read.
    pub included: HashMap<Vec<u8>, Option<Vec<Token>>>,
    /// The addresses of this machine and the networks they are in, for `samehost` and `samenet`.
    pub interfaces: Vec<(IpAddr, IpAddr)>,
}

/// How deep `@file` may lead to another; the server has no limit and dies of a circle.
const DEPTH: usize = 16;

impl Surroundings {
    /// Reads the files that the rules of `file`, standing in the folder `dir`, include, and asks for the addresses of
    /// this machine.
    #[must_use]
    pub fn of(file: &HbaFile, dir: &Path) -> Self {
        let mut included = HashMap::new();
        for (_, rule) in file.rules() {
            for name in rule.databases.iter().chain(&rule.users) {
                if let Name::Include(name) = name
                    && !included.contains_key(name)
                {
                    included.insert(name.clone(), read_list(dir, name, DEPTH));
                }
            }
        }
        Self { included, interfaces: interfaces() }
    }

    /// The names with what `@file` stands for put in its place.
    fn expand(&self, names: &[Name], value: fn(&Token) -> Name) -> Vec<Name> {
        let mut all = Vec::with_capacity(names.len());
        for name in names {
            match name {
                Name::Include(file) => {
                    let tokens = self.included.get(file).and_then(Option::as_deref).unwrap_or_default();
                    all.extend(tokens.iter().map(value));
                }
                other => all.push(other.clone()),
            }
        }
        all
    }

    /// Why the server refuses the rule on account of its `@file`: one that lists nothing ends the line for it.
    #[must_use]
    pub fn problem(&self, rule: &Rule) -> Option<String> {
        for names in [&rule.databases, &rule.users] {
            let empty = |name: &Name| match name {
                Name::Include(file) => {
                    self.included.get(file).is_some_and(|t| t.as_ref().is_none_or(Vec::is_empty))
                }
                _ => false,
            };
            if let Some(name) = names.first()
                && names.iter().all(empty)
            {
                return Some(format!("{name} cannot be read or lists nothing"));
            }
        }
        None
    }
}

/// The values that a file lists, those of the files it includes among them.
fn read_list(dir: &Path, name: &[u8], depth: usize) -> Option<Vec<Token>> {
    use std::os::unix::ffi::OsStrExt;
    let path = dir.join(std::ffi::OsStr::from_bytes(name));
    let bytes = crate::files::read(&path).ok()?;
    let dir = path.parent().unwrap_or(dir);
    let mut tokens = Vec::new();
    for token in entries(&bytes).flat_map(|e| e.fields).flat_map(|f| f.tokens) {
        match token.included() {
            Some(name) if depth > 0 => tokens.extend(read_list(dir, name, depth - 1).unwrap_or_default()),
            Some(_) => {}
            None => tokens.push(token),
        }
    }
    Some(tokens)
}

/// The addresses of this machine with their masks; none when the system does not tell.
fn interfaces() -> Vec<(IpAddr, IpAddr)> {
    let ip = |address: Option<nix::sys::socket::SockaddrStorage>| {
        let address = address?;
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    };
    let all = nix::ifaddrs::getifaddrs().into_iter().flatten();
    all.filter_map(|i| Some((ip(i.address)?, ip(i.netmask)?))).collect()
}

/// The name of the database's initial user: openGauss calls it as the owner of its files.
#[must_use]
pub fn initial_user(owned: &Path) -> Option<String> {
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(owned).ok()?);
    Some(nix::unistd::User::from_uid(uid.into()).ok()??.name)
}

/// Whether a rule is for a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
    /// Only the server can tell; what it depends on.
    Unknown(String),
}

impl Answer {
    fn and(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Yes => other(),
            Self::No => Self::No,
            Self::Unknown(why) => match other() {
                Self::No => Self::No,
                _ => Self::Unknown(why),
            },
        }
    }

    /// One of several names.
    fn any(answers: impl Iterator<Item = Self>) -> Self {
        let mut result = Self::No;
        for answer in answers {
            match answer {
                Self::Yes => return Self::Yes,
                Self::No => {}
                unknown @ Self::Unknown(_) => result = unknown,
            }
        }
        result
    }
}

impl From<bool> for Answer {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// Which line decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The index of the first line which is surely for the connection.
    pub line: Option<usize>,
    /// Lines before it that may be for the connection, and what that depends on.
    pub unknown: Vec<(usize, String)>,
}

impl HbaFile {
    /// Which line decides the connection. When the server would refuse the file, the lines it cannot read are passed
    /// over.
    #[must_use]
    pub fn decide(&self, connection: &Connection<'_>, around: &Surroundings) -> Decision {
        let mut decision = Decision::default();
        for (index, rule) in self.rules() {
            match matches(rule, connection, around) {
                Answer::Yes => {
                    decision.line = Some(index);
                    break;
                }
                Answer::No => {}
                Answer::Unknown(why) => decision.unknown.push((index, why)),
            }
        }
        decision
    }
}

/// What openGauss makes of a rule that trusts its clients, which is less than it says; `None` for other rules.
/// `initial` is the database's initial user.
///
/// Source: `check_hba` in hba.cpp of release 3.0.5.
#[must_use]
pub fn limit_of_trust(rule: &Rule, connection: &Connection<'_>, initial: Option<&str>) -> Option<String> {
    let first = initial.is_some_and(|name| name.as_bytes() == connection.user);
    match (connection.route, &rule.method) {
        (Route::Local, Method::Trust) if first => Some(
            "openGauss trusts its initial user only when the client runs as the operating system's user of that name, \
             and asks others for a password"
                .to_owned(),
        ),
        (Route::Local, Method::Trust | Method::Peer) if !first => Some(format!(
            "openGauss asks {} for a password all the same: without one it lets in its initial user only",
            String::from_utf8_lossy(connection.user)
        )),
        (Route::Tcp { client, .. }, Method::Trust) if client.is_loopback() => {
            Some("openGauss asks for a password all the same, as of every client at a loopback address".to_owned())
        }
        (Route::Tcp { .. }, Method::Trust) => Some(
            "openGauss lets in only standbys and its own tools by it, such as gs_ctl, and refuses ordinary clients: \
             \"Forbid remote connection with trust method!\""
                .to_owned(),
        ),
        _ => None,
    }
}

fn matches(rule: &Rule, connection: &Connection<'_>, around: &Surroundings) -> Answer {
    Answer::from(kind_matches(rule.kind, connection.route))
        .and(|| match (&rule.address, connection.route) {
            (Some(address), Route::Tcp { client, .. }) => address_matches(address, client, around),
            _ => Answer::Yes,
        })
        .and(|| {
            let names = around.expand(&rule.databases, Name::database);
            Answer::any(names.iter().map(|n| database_matches(n, connection)))
        })
        .and(|| {
            let names = around.expand(&rule.users, Name::user);
            Answer::any(names.iter().map(|n| user_matches(n, connection.user)))
        })
}

fn kind_matches(kind: Kind, route: Route) -> bool {
    match route {
        Route::Local => kind == Kind::Local,
        Route::Tcp { ssl: true, .. } => matches!(kind, Kind::Host | Kind::HostSsl),
        Route::Tcp { ssl: false, .. } => matches!(kind, Kind::Host | Kind::HostNoSsl),
    }
}

fn address_matches(address: &Address, client: IpAddr, around: &Surroundings) -> Answer {
    let mut interfaces = around.interfaces.iter();
    match address {
        Address::All => Answer::Yes,
        Address::Range(range) => range.contains(client).into(),
        Address::SameHost => interfaces.any(|&(ip, _)| Range::single(ip).contains(client)).into(),
        Address::SameNet => {
            interfaces.any(|&(ip, mask)| Range::of(ip, mask).is_some_and(|r| r.contains(client))).into()
        }
        Address::Host(name) => Answer::Unknown(format!("whether {client} is called {name}")),
    }
}

fn database_matches(name: &Name, connection: &Connection<'_>) -> Answer {
    if connection.replication {
        return (*name == Name::Replication).into();
    }
    match name {
        Name::All => Answer::Yes,
        Name::SameUser => (connection.database == connection.user).into(),
        Name::SameRole => member(connection.user, connection.database),
        Name::Named(name) => (name == connection.database).into(),
        Name::Replication | Name::Role(_) | Name::Include(_) => Answer::No,
    }
}

fn user_matches(name: &Name, user: &[u8]) -> Answer {
    match name {
        Name::All => Answer::Yes,
        Name::Role(role) => member(user, role),
        Name::Named(name) => (name == user).into(),
        _ => Answer::No,
    }
}

/// A role is a member of itself; all else is in the server's catalogue.
fn member(user: &[u8], role: &[u8]) -> Answer {
    if user == role {
        return Answer::Yes;
    }
    Answer::Unknown(format!(
        "whether {} is a member of role {}",
        String::from_utf8_lossy(user),
        String::from_utf8_lossy(role)
    ))
}

/// Rules by their address, to find quickly those which may cover another.
#[derive(Debug, Default)]
pub struct CoverIndex<'a> {
    local: Vec<(usize, &'a Rule)>,
    /// Rules for `all`, `samehost`, `samenet` and host names.
    wide: Vec<(usize, &'a Rule)>,
    ranges: HashMap<Range, Vec<(usize, &'a Rule)>>,
    /// The masks that occur, so that only these need be tried.
    masks: BTreeSet<Mask>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mask {
    V4(u32),
    V6(u128),
}

impl<'a> CoverIndex<'a> {
    /// All rules of a file, by the index of their line.
    #[must_use]
    pub fn of(file: &'a HbaFile) -> Self {
        let mut index = Self::default();
        for (line, rule) in file.rules() {
            index.add(line, rule);
        }
        index
    }

    /// Adds a rule under a number of the caller's.
    pub fn add(&mut self, number: usize, rule: &'a Rule) {
        match &rule.address {
            None => self.local.push((number, rule)),
            Some(Address::Range(range)) => {
                self.masks.insert(match *range {
                    Range::V4 { mask, .. } => Mask::V4(mask),
                    Range::V6 { mask, .. } => Mask::V6(mask),
                });
                self.ranges.entry(*range).or_default().push((number, rule));
            }
            Some(_) => self.wide.push((number, rule)),
        }
    }

    /// The numbers of the rules that cover this one, in no order.
    pub fn covering(&self, rule: &Rule) -> impl Iterator<Item = usize> {
        let mut lists: Vec<&[(usize, &Rule)]> = Vec::new();
        match &rule.address {
            None => lists.push(&self.local),
            Some(address) => {
                lists.push(&self.wide);
                if let Address::Range(range) = address {
                    lists.extend(self.masks.iter().filter_map(|&mask| {
                        let wider = match (mask, *range) {
                            (Mask::V4(mask), Range::V4 { network, .. }) => {
                                Range::V4 { network: network & mask, mask }
                            }
                            (Mask::V6(mask), Range::V6 { network, .. }) => {
                                Range::V6 { network: network & mask, mask }
                            }
                            // An IPv4 range holds the IPv6 addresses ::ffff:a.b.c.d.
                            (Mask::V4(mask), Range::V6 { network, .. }) if network >> 32 == 0xffff => {
                                let low = u32::try_from(network & u128::from(u32::MAX)).unwrap_or(0);
                                Range::V4 { network: low & mask, mask }
                            }
                            _ => return None,
                        };
                        self.ranges.get(&wider).map(Vec::as_slice)
                    }));
                }
            }
        }
        let found: Vec<usize> =
            lists.into_iter().flatten().filter(|(_, r)| r.covers(rule)).map(|&(n, _)| n).collect();
        found.into_iter()
    }
}

impl HbaFile {
    /// The rules with the index of their line, in order.
    pub fn rules(&self) -> impl Iterator<Item = (usize, &Rule)> {
        self.lines.iter().enumerate().filter_map(|(index, line)| match &line.kind {
            LineKind::Rule(rule, _) => Some((index, &**rule)),
            _ => None,
        })
    }
}

/// How many comparisons are cheaper than an index over the whole file.
const FEW: usize = 2_000_000;

impl HbaFile {
    /// For each of these rules the index of the first line whose rule covers it.
    #[must_use]
    pub fn first_covering(&self, rules: &[&Rule]) -> Vec<Option<usize>> {
        if rules.len().saturating_mul(self.lines.len()) > FEW {
            let index = CoverIndex::of(self);
            return rules.iter().map(|rule| index.covering(rule).min()).collect();
        }
        let first =
            |rule: &&Rule| self.rules().find(|(_, earlier)| earlier.covers(rule)).map(|(index, _)| index);
        rules.iter().map(first).collect()
    }
}
