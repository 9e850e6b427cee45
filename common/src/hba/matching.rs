//! Which rule decides a connection (`check_hba` of openGauss's hba.cpp), and which rules are never reached.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::Path;

use super::address::{Address, Range, host_matches};
use super::lexer::{Token, entries};
use super::rule::{Column, HbaRule, Kind, Method, Name};
use super::{Brief, HbaFile, Reach};

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
const MAX_INCLUDE_DEPTH: usize = 16;

impl Surroundings {
    /// Reads the files that the rules of `file` and these others, standing in the folder `dir`, include, and, when one of
    /// them asks for it, the addresses of this machine.
    #[must_use]
    pub fn new(file: &HbaFile, others: &[&HbaRule], dir: &Path) -> Self {
        let mut included = HashMap::new();
        let mut near = others.iter().any(|rule| Reach::from(rule.address.as_ref()) == Reach::Near);
        let mut include = |rule: &HbaRule| {
            for name in rule.databases.iter().chain(&rule.users) {
                if let Name::Include(name) = name
                    && !included.contains_key(name)
                {
                    included.insert(name.clone(), read_list(dir, name, MAX_INCLUDE_DEPTH));
                }
            }
        };
        for (index, brief) in file.briefs() {
            near |= brief.reach == Reach::Near;
            if brief.includes
                && let Some(rule) = file.rule(index)
            {
                include(&rule);
            }
        }
        for rule in others {
            include(rule);
        }
        Self { included, interfaces: if near { interfaces() } else { Vec::new() } }
    }

    /// The names with what `@file` stands for put in its place.
    fn expand(&self, names: &[Name], column: Column) -> Vec<Name> {
        let mut all = Vec::with_capacity(names.len());
        for name in names {
            match name {
                Name::Include(file) => {
                    let tokens = self.included.get(file).and_then(Option::as_deref).unwrap_or_default();
                    all.extend(tokens.iter().map(|token| Name::from_token(column, token)));
                }
                other => all.push(other.clone()),
            }
        }
        all
    }

    /// Why the server refuses the rule on account of its `@file`: one that lists nothing ends the line for it.
    #[must_use]
    pub fn problem(&self, rule: &HbaRule) -> Option<String> {
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

/// Whether a rule is for a connection, or for all that another rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// Only the server can tell; what it depends on.
    Unknown(String),
}

impl Answer {
    fn and_then(self, other: impl FnOnce() -> Self) -> Self {
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
    fn any_of(answers: impl Iterator<Item = Self>) -> Self {
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

/// The decision on a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The index of the first line which is surely for the connection.
    pub line: Option<usize>,
    /// Lines before it that may be for the connection, and what that depends on.
    pub unknown: Vec<(usize, String)>,
}

impl HbaFile {
    /// Whether a line that is no reject covers the address of a node, and its number; `None` when that depends on names. `own`:
    /// the addresses of the machine.
    ///
    /// A server of a node which one of its channels names asks no more (`CheckClientIp`, `check_hba_replication`): neither
    /// database, user nor method count then.
    #[must_use]
    pub fn admits_node(&self, client: IpAddr, own: &[String]) -> (Option<bool>, Option<usize>) {
        let mut depends = false;
        for (index, rule) in self.rules().filter(|(_, rule)| rule.method != Method::Reject) {
            let covers = match &rule.address {
                None => false,
                Some(Address::All) => true,
                Some(Address::Range(range)) => range.contains(client),
                Some(Address::SameHost) => {
                    client.is_loopback() || own.iter().any(|own| own.parse() == Ok(client))
                }
                Some(Address::SameNet | Address::Host(_)) => {
                    depends = true;
                    false
                }
            };
            if covers {
                return (Some(true), Some(self.number(index)));
            }
        }
        (if depends { None } else { Some(false) }, None)
    }

    /// Which line decides the connection. When the server would refuse the file, the lines it cannot read are passed
    /// over.
    #[must_use]
    pub fn decide(&self, connection: &Connection<'_>, around: &Surroundings) -> Decision {
        let mut decision = Decision::default();
        for (index, brief) in self.briefs() {
            if !self.may_match(index, brief, connection) {
                continue;
            }
            let Some(rule) = self.rule(index) else { continue };
            match matches(&rule, connection, around) {
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

    /// Whether the rule can be for the connection, as far as that is told without parsing its line.
    fn may_match(&self, index: usize, brief: &Brief, connection: &Connection<'_>) -> bool {
        let there = match (brief.reach, connection.route) {
            (Reach::V4 { network, mask }, Route::Tcp { client, .. }) => {
                Range::V4 { network, mask }.contains(client)
            }
            _ => true,
        };
        if !there || !kind_matches(brief.kind, connection.route) {
            return false;
        }
        self.words(index, brief).is_none_or(|[database, user]| {
            (user == b"all" || user == connection.user)
                && (if connection.replication {
                    database == b"replication"
                } else {
                    is_keyword(database) || database == connection.database
                })
        })
    }
}

/// Whether a bare word is a keyword of the database column.
fn is_keyword(word: &[u8]) -> bool {
    [&b"all"[..], b"sameuser", b"samerole", b"samegroup", b"replication"].contains(&word)
}

/// What openGauss makes of a rule that trusts its clients, which is less than it says; `None` for other rules.
/// `initial` is the database's initial user.
///
/// Source: `check_hba` in hba.cpp of release 3.0.5.
#[must_use]
pub fn limit_of_trust(rule: &HbaRule, connection: &Connection<'_>, initial: Option<&str>) -> Option<String> {
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

fn matches(rule: &HbaRule, connection: &Connection<'_>, around: &Surroundings) -> Answer {
    Answer::from(kind_matches(rule.kind, connection.route))
        .and_then(|| match (&rule.address, connection.route) {
            (Some(address), Route::Tcp { client, .. }) => address_matches(address, client, around),
            _ => Answer::Yes,
        })
        .and_then(|| {
            let names = around.expand(&rule.databases, Column::Databases);
            Answer::any_of(names.iter().map(|n| database_matches(n, connection)))
        })
        .and_then(|| {
            let names = around.expand(&rule.users, Column::Users);
            Answer::any_of(names.iter().map(|n| user_matches(n, connection.user)))
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
        Address::SameHost => interfaces.any(|&(ip, _)| Range::from_ip(ip).contains(client)).into(),
        Address::SameNet => interfaces
            .any(|&(ip, mask)| Range::from_mask(ip, mask).is_some_and(|r| r.contains(client)))
            .into(),
        Address::Host(_) => Answer::Unknown(format!("whether {client} is called {address}")),
    }
}

fn database_matches(name: &Name, connection: &Connection<'_>) -> Answer {
    if connection.replication {
        return (*name == Name::Replication).into();
    }
    match name {
        Name::All => Answer::Yes,
        Name::SameUser => (connection.database == connection.user).into(),
        Name::SameRole => is_member(connection.user, connection.database),
        Name::Named(name) => (name == connection.database).into(),
        Name::Replication | Name::Role(_) | Name::Include(_) => Answer::No,
    }
}

fn user_matches(name: &Name, user: &[u8]) -> Answer {
    match name {
        Name::All => Answer::Yes,
        Name::Role(role) => is_member(user, role),
        Name::Named(name) => (name == user).into(),
        _ => Answer::No,
    }
}

/// A role is a member of itself; all else is in the server's catalogue.
fn is_member(user: &[u8], role: &[u8]) -> Answer {
    if user == role {
        return Answer::Yes;
    }
    Answer::Unknown(format!(
        "whether {} is a member of role {}",
        String::from_utf8_lossy(user),
        String::from_utf8_lossy(role)
    ))
}

impl Surroundings {
    /// Whether the rule is for the connection.
    #[must_use]
    pub fn is_for(&self, rule: &HbaRule, connection: &Connection<'_>) -> Answer {
        matches(rule, connection, self)
    }

    /// Whether `earlier`, standing first, decides every connection that `later` is for, so that the server never comes
    /// to that one.
    #[must_use]
    pub fn covers(&self, earlier: &HbaRule, later: &HbaRule) -> Answer {
        self.covers_place(earlier, later).and_then(|| {
            let users = self.atoms(&later.users, Column::Users);
            let mut all = Answer::Yes;
            for database in self.atoms(&later.databases, Column::Databases) {
                for user in &users {
                    all = all.and_then(|| self.covers_names(earlier, &database, user));
                }
            }
            all
        })
    }

    /// The names one by one; an `@file` that lists nothing here stands for itself.
    fn atoms(&self, names: &[Name], column: Column) -> Vec<Name> {
        let listed = |name: &Name| {
            let all = self.expand(std::slice::from_ref(name), column);
            if all.is_empty() { vec![name.clone()] } else { all }
        };
        names.iter().flat_map(listed).collect()
    }

    /// Whether it is for all clients of the other one.
    fn covers_place(&self, earlier: &HbaRule, later: &HbaRule) -> Answer {
        if !earlier.kind.covers(later.kind) {
            return Answer::No;
        }
        match (&earlier.address, &later.address) {
            (Some(mine), Some(its)) => self.covers_address(mine, its),
            (None, None) => Answer::Yes,
            _ => Answer::No,
        }
    }

    fn covers_address(&self, mine: &Address, its: &Address) -> Answer {
        let hosts = || self.interfaces.iter().map(|&(ip, _)| Range::from_ip(ip));
        let nets = || self.interfaces.iter().filter_map(|&(ip, mask)| Range::from_mask(ip, mask));
        let known = !self.interfaces.is_empty();
        match (mine, its) {
            (Address::All, _)
            | (Address::SameNet, Address::SameNet | Address::SameHost)
            | (Address::SameHost, Address::SameHost) => Answer::Yes,
            (Address::Range(a), Address::Range(b)) => a.covers(b).into(),
            (Address::SameHost, Address::Range(b)) => hosts().any(|a| a.covers(b)).into(),
            (Address::SameNet, Address::Range(b)) => nets().any(|a| a.covers(b)).into(),
            (Address::Range(a), Address::SameHost) => (known && hosts().all(|b| a.covers(&b))).into(),
            (Address::Range(a), Address::SameNet) => (known && nets().all(|b| a.covers(&b))).into(),
            (Address::Host(a), Address::Host(b)) => host_matches(a, b).into(),
            (Address::Host(_), Address::Range(b)) if b.is_single() => {
                Answer::Unknown(format!("whether the client at {its} is called {mine}"))
            }
            (Address::Range(_) | Address::SameHost | Address::SameNet, Address::Host(name))
                if !name.starts_with(b".") =>
            {
                Answer::Unknown(format!("whether {its} has addresses that are not in {mine}"))
            }
            _ => Answer::No,
        }
    }

    /// Whether it is for this database and user.
    fn covers_names(&self, earlier: &HbaRule, database: &Name, user: &Name) -> Answer {
        let either = |names: &[Name], column, covers: &dyn Fn(&Name) -> Answer| {
            Answer::any_of(names.iter().map(|name| match name {
                Name::Include(_) => {
                    Answer::any_of(self.atoms(std::slice::from_ref(name), column).iter().map(covers))
                }
                name => covers(name),
            }))
        };
        let databases = |mine: &Name| covers_database(mine, database, user);
        let users = |mine: &Name| covers_user(mine, user);
        either(&earlier.databases, Column::Databases, &databases)
            .and_then(|| either(&earlier.users, Column::Users, &users))
    }
}

/// Whether the name stands for every database that the other one stands for with this user.
fn covers_database(mine: &Name, its: &Name, user: &Name) -> Answer {
    match (mine, its, user) {
        _ if mine == its => Answer::Yes,
        (Name::All, Name::Replication, _) => Answer::No,
        (Name::All, ..) | (Name::SameRole, Name::SameUser, _) => Answer::Yes,
        (Name::SameUser, Name::Named(name), Name::Named(user))
        | (Name::Named(name), Name::SameUser, Name::Named(user)) => (name == user).into(),
        (Name::SameRole, Name::Named(name), Name::Named(user)) => is_member(user, name),
        (Name::SameRole, Name::Named(name), Name::Role(role)) => has_all_members(role, name),
        _ => Answer::No,
    }
}

/// Whether the name stands for every user that the other one stands for.
fn covers_user(mine: &Name, its: &Name) -> Answer {
    match (mine, its) {
        _ if mine == its => Answer::Yes,
        (Name::All, _) => Answer::Yes,
        (Name::Role(role), Name::Named(user)) => is_member(user, role),
        (Name::Role(role), Name::Role(other)) => has_all_members(other, role),
        _ => Answer::No,
    }
}

/// Whether all members of one role are members of another.
fn has_all_members(of: &[u8], role: &[u8]) -> Answer {
    if of == role {
        return Answer::Yes;
    }
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Answer::Unknown(format!("whether the members of role {} are members of role {}", shown(of), shown(role)))
}

/// What earlier lines leave for a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hidden {
    /// The index of the line with which nothing is left for it.
    pub line: Option<usize>,
    /// The first line before that which may leave nothing for it, to another effect, and what that depends on.
    pub unknown: Option<(usize, String)>,
}

/// More pairs of database and user than this are compared as a whole.
const MAX_PAIRS: usize = 4096;

/// A rule for which it is looked whether earlier lines hide it.
struct Later<'a> {
    rule: &'a HbaRule,
    /// The index of the first line that is no longer before it.
    limit: usize,
    /// The pairs of database and user that nothing has decided yet; `None` when there are too many.
    pairs: Option<Vec<(Name, Name)>>,
    hidden: Hidden,
}

impl<'a> Later<'a> {
    fn new(rule: &'a HbaRule, limit: usize, around: &Surroundings) -> Self {
        let (databases, users) =
            (around.atoms(&rule.databases, Column::Databases), around.atoms(&rule.users, Column::Users));
        let pair =
            |database: &Name| users.iter().map(|user| (database.clone(), user.clone())).collect::<Vec<_>>();
        let few = databases.len().saturating_mul(users.len()) <= MAX_PAIRS;
        let pairs = few.then(|| databases.iter().flat_map(pair).collect());
        Self { rule, limit, pairs, hidden: Hidden::default() }
    }

    /// Whether the earlier rule can be for some of it, as far as that is told without parsing its line.
    fn may_meet(&self, brief: &Brief, words: Option<[&[u8]; 2]>) -> bool {
        brief.kind.covers(self.rule.kind)
            && words.is_none_or(|[database, user]| {
                let user_is =
                    |name: &Name| matches!(name, Name::Include(_)) || name.is_word(Column::Users, user);
                let database_is = |name: &Name| {
                    matches!(name, Name::Include(_) | Name::SameUser)
                        || name.is_word(Column::Databases, database)
                };
                (user == b"all" || self.rule.users.iter().any(user_is))
                    && (is_keyword(database) || self.rule.databases.iter().any(database_is))
            })
    }

    /// Takes off it what the earlier rule on this line decides.
    fn exclude_decided(&mut self, index: usize, earlier: &HbaRule, around: &Surroundings) {
        let place = around.covers_place(earlier, self.rule);
        if place == Answer::No {
            return;
        }
        let mut every = place.clone();
        match &mut self.pairs {
            Some(pairs) => pairs.retain(|(database, user)| {
                let answer = around.covers_names(earlier, database, user);
                every = std::mem::replace(&mut every, Answer::No).and_then(|| answer.clone());
                !(place == Answer::Yes && answer == Answer::Yes)
            }),
            None => every = around.covers(earlier, self.rule),
        }
        match every {
            Answer::Yes => self.hidden.line = Some(index),
            Answer::Unknown(why) if self.hidden.unknown.is_none() && !earlier.same_method(self.rule) => {
                self.hidden.unknown = Some((index, why));
            }
            _ if self.pairs.as_ref().is_some_and(Vec::is_empty) => self.hidden.line = Some(index),
            _ => {}
        }
    }
}

impl HbaFile {
    /// For each of these rules, that stands before the line of an index, what the lines before it leave to it.
    #[must_use]
    pub fn find_hidden(&self, rules: &[(&HbaRule, usize)], around: &Surroundings) -> Vec<Hidden> {
        let mut later: Vec<Later<'_>> =
            rules.iter().map(|&(rule, limit)| Later::new(rule, limit, around)).collect();
        let mut places: Vec<(u32, usize)> = Vec::new();
        let (mut local, mut rest) = (Vec::new(), Vec::new());
        for (n, (rule, _)) in rules.iter().enumerate() {
            match Reach::from(rule.address.as_ref()) {
                Reach::Local => local.push(n),
                Reach::V4 { network, .. } => places.push((network, n)),
                _ => rest.push(n),
            }
        }
        places.sort_unstable();
        let end = rules.iter().map(|&(_, limit)| limit).max().unwrap_or(0);
        let mut candidates: Vec<usize> = Vec::new();
        for (index, brief) in self.briefs().take_while(|(index, _)| *index < end) {
            let (mut within, mut others): (&[(u32, usize)], &[usize]) = (&places, &rest);
            match brief.reach {
                Reach::Local => (within, others) = (&[], &local),
                Reach::V6 => within = &[],
                Reach::V4 { network, mask } if mask.leading_ones() + mask.trailing_zeros() >= 32 => {
                    let from = places.partition_point(|(place, _)| *place < network);
                    let to = places.partition_point(|(place, _)| *place <= network | !mask);
                    within = &places[from..to];
                }
                _ => {}
            }
            if within.is_empty() && others.is_empty() {
                continue;
            }
            let words = self.words(index, brief);
            candidates.clear();
            candidates.extend(within.iter().map(|(_, n)| *n).chain(others.iter().copied()).filter(|&n| {
                let one = &later[n];
                one.hidden.line.is_none() && index < one.limit && one.may_meet(brief, words)
            }));
            if candidates.is_empty() {
                continue;
            }
            let Some(earlier) = self.rule(index) else { continue };
            for &n in &candidates {
                later[n].exclude_decided(index, &earlier, around);
            }
        }
        later.into_iter().map(|one| one.hidden).collect()
    }
}

/// Rules by their address, to find quickly those which may cover another.
#[derive(Debug, Default)]
pub struct CoverIndex<'a> {
    all: Vec<(usize, &'a HbaRule)>,
    local: Vec<(usize, &'a HbaRule)>,
    /// Rules for `all`, `samehost`, `samenet` and host names.
    wide: Vec<(usize, &'a HbaRule)>,
    ranges: HashMap<Range, Vec<(usize, &'a HbaRule)>>,
    /// The masks that occur, so that only these need be tried.
    masks: BTreeSet<Mask>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mask {
    V4(u32),
    V6(u128),
}

impl<'a> CoverIndex<'a> {
    /// Adds a rule under a number of the caller's.
    pub fn add(&mut self, number: usize, rule: &'a HbaRule) {
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
        if rule.address.is_some() {
            self.all.push((number, rule));
        }
    }

    /// Whether one of the rules can cover another one of which no more is known.
    #[must_use]
    pub fn may_cover(&self, brief: &Brief) -> bool {
        match brief.reach {
            Reach::Local => !self.local.is_empty(),
            Reach::V4 { network, mask } => {
                !self.wide.is_empty() || self.wider(Range::V4 { network, mask }).next().is_some()
            }
            _ => !self.all.is_empty(),
        }
    }

    /// The rules for ranges that hold this one.
    fn wider(&self, range: Range) -> impl Iterator<Item = &[(usize, &'a HbaRule)]> {
        self.masks.iter().filter_map(move |&mask| {
            let wider = match (mask, range) {
                (Mask::V4(mask), Range::V4 { network, .. }) => Range::V4 { network: network & mask, mask },
                (Mask::V6(mask), Range::V6 { network, .. }) => Range::V6 { network: network & mask, mask },
                // An IPv4 range holds the IPv6 addresses ::ffff:a.b.c.d.
                (Mask::V4(mask), Range::V6 { network, .. }) if network >> 32 == 0xffff => {
                    let low = u32::try_from(network & u128::from(u32::MAX)).unwrap_or(0);
                    Range::V4 { network: low & mask, mask }
                }
                _ => return None,
            };
            self.ranges.get(&wider).map(Vec::as_slice)
        })
    }

    /// The numbers of the rules that surely cover this one, in no order.
    #[must_use]
    pub fn find_covering(&self, rule: &HbaRule, around: &Surroundings) -> Vec<usize> {
        let mut lists: Vec<&[(usize, &HbaRule)]> = Vec::new();
        match &rule.address {
            None => lists.push(&self.local),
            Some(Address::Range(range)) => {
                lists.push(&self.wide);
                lists.extend(self.wider(*range));
            }
            Some(_) => lists.push(&self.all),
        }
        let covers = |one: &HbaRule| around.covers(one, rule) == Answer::Yes;
        lists.into_iter().flatten().filter(|(_, one)| covers(one)).map(|&(number, _)| number).collect()
    }
}
