//! One rule, parsed from its fields in the server's order and with the server's words for what is wrong
//! (`parse_hba_line` of openGauss's hba.cpp).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use super::address::{Address, Range, parse_bits, parse_ip};
use super::lexer::{Entry, Field, MAX_TOKEN, Token};

/// How a connection comes: the first column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Through the local socket.
    Local,
    /// Over TCP.
    Host,
    /// Over TCP with SSL.
    HostSsl,
    /// Over TCP without SSL.
    HostNoSsl,
}

impl Kind {
    /// Reads the first column; the server minds case here.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        match text {
            b"local" => Some(Self::Local),
            b"host" => Some(Self::Host),
            b"hostssl" => Some(Self::HostSsl),
            b"hostnossl" => Some(Self::HostNoSsl),
            _ => None,
        }
    }

    /// As it stands in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Host => "host",
            Self::HostSsl => "hostssl",
            Self::HostNoSsl => "hostnossl",
        }
    }

    /// Whether every connection of the kind `other` is one of this kind.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self == other || (self == Self::Host && other != Self::Local)
    }
}

/// One item of the database or user column, as a value. `all` and `"all"` differ: the second is a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Name {
    /// `all`.
    All,
    /// Databases: `sameuser`, the one named as the user.
    SameUser,
    /// Databases: `samerole`, also written `samegroup`: one named as a role the user is in.
    SameRole,
    /// Databases: `replication`, a physical replication connection.
    Replication,
    /// Users: `+role`, any member of it.
    Role(Vec<u8>),
    /// `@file`: what the file lists.
    Include(Vec<u8>),
    /// This very name; the server minds case.
    Named(Vec<u8>),
}

impl Name {
    /// The value of a token of the database column.
    #[must_use]
    pub fn database(token: &Token) -> Self {
        if let Some(file) = token.included() {
            return Self::Include(file.to_vec());
        }
        match token.text.as_slice() {
            b"all" if !token.quoted => Self::All,
            b"sameuser" if !token.quoted => Self::SameUser,
            b"samerole" | b"samegroup" if !token.quoted => Self::SameRole,
            b"replication" if !token.quoted => Self::Replication,
            name => Self::Named(name.to_vec()),
        }
    }

    /// The value of a token of the user column.
    #[must_use]
    pub fn user(token: &Token) -> Self {
        if let Some(file) = token.included() {
            return Self::Include(file.to_vec());
        }
        match token.text.as_slice() {
            b"all" if !token.quoted => Self::All,
            [b'+', role @ ..] if !token.quoted => Self::Role(role.to_vec()),
            name => Self::Named(name.to_vec()),
        }
    }

    /// Whether whatever `other` stands for, this one stands for too.
    fn covers(&self, other: &Self) -> bool {
        self == other || (*self == Self::All && *other != Self::Replication)
    }
}

impl fmt::Display for Name {
    /// As it stands in the file, quoted where it must be; bytes that are no UTF-8 as replacement characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self {
            Self::All => f.write_str("all"),
            Self::SameUser => f.write_str("sameuser"),
            Self::SameRole => f.write_str("samerole"),
            Self::Replication => f.write_str("replication"),
            Self::Role(role) => write_value(f, "+", &text(role)),
            Self::Include(file) => write_value(f, "@", &text(file)),
            Self::Named(name) => {
                let name = text(name);
                let keyword =
                    ["all", "sameuser", "samerole", "samegroup", "replication"].contains(&name.as_str());
                if keyword || name.is_empty() || name.starts_with(['+', '@']) {
                    return write_quoted(f, &name);
                }
                write_value(f, "", &name)
            }
        }
    }
}

/// Writes the mark and the text, the text in quotes where the scanner would otherwise cut it.
pub(super) fn write_value(f: &mut fmt::Formatter<'_>, mark: &str, text: &str) -> fmt::Result {
    f.write_str(mark)?;
    if text.contains([' ', '\t', '\r', ',', '#', '"']) { write_quoted(f, text) } else { f.write_str(text) }
}

/// Writes the text in quotes.
pub(super) fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    write!(f, "\"{}\"", text.replace('"', "\"\""))
}

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Not at all.
    Trust,
    /// It is turned away.
    Reject,
    /// Password, MD5.
    Md5,
    /// Password, SHA-256.
    Sha256,
    /// Password, SM3.
    Sm3,
    /// Client certificate.
    Cert,
    /// The operating system's user at the other end of the socket.
    Peer,
    /// Kerberos by GSSAPI.
    Gss,
    /// Kerberos 5.
    Krb5,
    /// Ident server.
    Ident,
    /// LDAP.
    Ldap,
    /// PAM.
    Pam,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Trust,
        Self::Reject,
        Self::Md5,
        Self::Sha256,
        Self::Sm3,
        Self::Cert,
        Self::Peer,
        Self::Gss,
        Self::Krb5,
        Self::Ident,
        Self::Ldap,
        Self::Pam,
    ];

    /// Reads the method column; the server minds case here.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|m| m.as_str().as_bytes() == text)
    }

    /// As it stands in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trust => "trust",
            Self::Reject => "reject",
            Self::Md5 => "md5",
            Self::Sha256 => "sha256",
            Self::Sm3 => "sm3",
            Self::Cert => "cert",
            Self::Peer => "peer",
            Self::Gss => "gss",
            Self::Krb5 => "krb5",
            Self::Ident => "ident",
            Self::Ldap => "ldap",
            Self::Pam => "pam",
        }
    }

    /// Whether only some builds of the server know it; the others refuse the whole file.
    #[must_use]
    pub fn depends_on_build(self) -> bool {
        matches!(self, Self::Gss | Self::Krb5 | Self::Ident | Self::Ldap | Self::Pam)
    }
}

/// A rule: who may connect from where, and how they prove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The first column.
    pub kind: Kind,
    /// The databases, as written.
    pub databases: Vec<Name>,
    /// The users, as written.
    pub users: Vec<Name>,
    /// The clients; none for [`Kind::Local`], always there otherwise.
    pub address: Option<Address>,
    /// The method.
    pub method: Method,
    /// The method's options, name and value, as written.
    pub options: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What makes two rules the same rule: all but method and options, as values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key<'a> {
    kind: Kind,
    databases: Cow<'a, [Name]>,
    users: Cow<'a, [Name]>,
    address: Option<&'a Address>,
}

/// A list of names as a set.
#[must_use]
pub fn name_set(names: &[Name]) -> Cow<'_, [Name]> {
    if names.len() < 2 {
        return Cow::Borrowed(names);
    }
    let mut set = names.to_vec();
    set.sort_unstable();
    set.dedup();
    Cow::Owned(set)
}

impl Rule {
    /// Its identity.
    #[must_use]
    pub fn key(&self) -> Key<'_> {
        Key {
            kind: self.kind,
            databases: name_set(&self.databases),
            users: name_set(&self.users),
            address: self.address.as_ref(),
        }
    }

    /// Whether strangers get in by it without any proof of who they are.
    #[must_use]
    pub fn trusts_strangers(&self) -> bool {
        self.method == Method::Trust && self.address.as_ref().is_some_and(Address::holds_strangers)
    }

    /// Whether method and options are the same, as values.
    #[must_use]
    pub fn same_method(&self, other: &Self) -> bool {
        if self.options.is_empty() && other.options.is_empty() {
            return self.method == other.method;
        }
        // Of an option given twice the server keeps the last.
        let options = |rule: &Self| rule.options.iter().cloned().collect::<BTreeMap<_, _>>();
        self.method == other.method && options(self) == options(other)
    }

    /// Whether this rule, standing earlier, lets the server never come to `later`. Errs towards no: what depends on
    /// role membership, host names or listed files counts only when both say the same.
    #[must_use]
    pub fn covers(&self, later: &Self) -> bool {
        let address = match (&self.address, &later.address) {
            (Some(mine), Some(its)) => mine.covers(its),
            (None, None) => true,
            _ => false,
        };
        let each = |mine: &[Name], its: &[Name]| its.iter().all(|i| mine.iter().any(|m| m.covers(i)));
        self.kind.covers(later.kind)
            && address
            && each(&self.databases, &later.databases)
            && each(&self.users, &later.users)
    }

    /// Method and options as they stand in the file.
    #[must_use]
    pub fn method_text(&self) -> String {
        let mut text = self.method.as_str().to_owned();
        for (name, value) in &self.options {
            let option = format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value));
            text.push_str("    ");
            if option.contains([' ', '\t', '\r', ',', '#', '"']) {
                text.push('"');
                text.push_str(&option.replace('"', "\"\""));
                text.push('"');
            } else {
                text.push_str(&option);
            }
        }
        text
    }
}

impl fmt::Display for Rule {
    /// A line as openGauss's own tools write it: four blanks between columns.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[Name]| names.iter().map(Name::to_string).collect::<Vec<_>>().join(",");
        write!(f, "{}    {}    {}    ", self.kind.as_str(), list(&self.databases), list(&self.users))?;
        if let Some(address) = &self.address {
            write!(f, "{address}    ")?;
        }
        f.write_str(&self.method_text())
    }
}

/// Why the server refuses a line, and with it the whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where in the file's bytes.
    pub offset: usize,
    /// The server's words where it has any.
    pub message: String,
}

/// Where the changeable parts of a rule stand, counted from the beginning of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// Where the method begins.
    pub method: usize,
    /// Where the last option, or else the method, ends.
    pub end: usize,
}

/// Parses the fields of an entry which has some.
pub fn parse(entry: &Entry) -> Result<(Rule, Places), Problem> {
    let mut fields = Fields { entry, next: 0 };
    let token = fields.single("connection type", "")?;
    let Some(kind) = Kind::parse(&token.text) else {
        return Err(fields.problem(format!("invalid connection type \"{}\"", token.lossy())));
    };
    let databases = fields.take("database specification")?.tokens.iter().map(Name::database).collect();
    let users = fields.take("role specification")?.tokens.iter().map(Name::user).collect();
    let address = if kind == Kind::Local { None } else { Some(address(&mut fields)?) };

    let token = fields.single("authentication type", "authentication method")?;
    let place = fields.entry.fields[fields.next - 1].span.clone();
    let method = method(kind, token).map_err(|m| fields.problem(m))?;
    let mut places = Places { method: place.start, end: place.end };

    let mut options = Vec::new();
    while fields.next < entry.fields.len() {
        let field = fields.take("authentication option")?;
        places.end = field.span.end;
        for token in &field.tokens {
            options.push(option(kind, method, token).map_err(|m| fields.problem(m))?);
        }
    }
    mandatory(method, &options).map_err(|m| fields.problem(m))?;
    if let Some(offset) = entry.too_long {
        // Cut short in its last column the line may still pass the server, but not mean what it says.
        return Err(too_long(offset));
    }
    Ok((Rule { kind, databases, users, address, method, options }, places))
}

fn too_long(offset: usize) -> Problem {
    Problem {
        offset,
        message: format!("authentication file token too long: the server takes at most {MAX_TOKEN} bytes"),
    }
}

struct Fields<'a> {
    entry: &'a Entry,
    next: usize,
}

impl<'a> Fields<'a> {
    /// A problem with the field taken last.
    fn problem(&self, message: impl Into<String>) -> Problem {
        let field = self.entry.fields.get(self.next.saturating_sub(1));
        Problem { offset: field.map_or(self.entry.span.start, |f| f.span.start), message: message.into() }
    }

    /// The next field, whose absence the server calls `end-of-line before WHAT`.
    fn take(&mut self, what: &str) -> Result<&'a Field, Problem> {
        let Some(field) = self.entry.fields.get(self.next) else {
            if let Some(offset) = self.entry.too_long {
                return Err(too_long(offset));
            }
            let end = self.entry.fields.last().map_or(self.entry.span.start, |f| f.span.end);
            return Err(Problem { offset: end, message: format!("end-of-line before {what}") });
        };
        self.next += 1;
        Ok(field)
    }

    /// The next field, which must have one value only.
    fn single(&mut self, what: &str, missing: &str) -> Result<&'a Token, Problem> {
        let field = self.take(if missing.is_empty() { what } else { missing })?;
        match field.tokens.as_slice() {
            [token] if token.included().is_some() => {
                Err(self.problem(format!("an @file cannot stand for the {what}")))
            }
            [token] => Ok(token),
            _ => Err(self.problem(format!("multiple values specified for {what}"))),
        }
    }
}

fn address(fields: &mut Fields<'_>) -> Result<Address, Problem> {
    let token = fields.single("host address", "IP address specification")?;
    for (word, address) in
        [("all", Address::All), ("samehost", Address::SameHost), ("samenet", Address::SameNet)]
    {
        if token.is_keyword(word) {
            return Ok(address);
        }
    }
    let mut halves = token.text.splitn(2, |&c| c == b'/');
    let text = halves.next().unwrap_or_default();
    let Some(ip) = parse_ip(text) else {
        // What is no address is a host name for the server, `127.0.0.300` too.
        if halves.next().is_some() {
            return Err(fields.problem(format!(
                "specifying both host name and CIDR mask is invalid: \"{}\"",
                token.lossy()
            )));
        }
        return Ok(Address::Host(token.lossy().to_lowercase()));
    };
    if let Some(bits) = halves.next() {
        return parse_bits(bits)
            .and_then(|bits| Range::cidr(ip, u32::try_from(bits).ok()?))
            .map(Address::Range)
            .ok_or_else(|| fields.problem(format!("invalid CIDR mask in address \"{}\"", token.lossy())));
    }
    let token = fields.single("netmask", "netmask specification")?;
    let Some(mask) = parse_ip(&token.text) else {
        return Err(
            fields.problem(format!("invalid IP mask \"{}\": Name or service not known", token.lossy()))
        );
    };
    Range::of(ip, mask).map(Address::Range).ok_or_else(|| fields.problem("IP address and mask do not match"))
}

/// The method, if it may stand in a rule of this kind.
fn method(kind: Kind, token: &Token) -> Result<Method, String> {
    let Some(method) = Method::parse(&token.text) else {
        // sspi is known to every build and supported on Windows only.
        let why = if token.text == b"sspi" { ": not supported by this build" } else { "" };
        return Err(format!("invalid authentication method \"{}\"{why}", token.lossy()));
    };
    match (kind, method) {
        (Kind::Local, Method::Krb5) => {
            Err("krb5 authentication is not supported on local sockets".to_owned())
        }
        (Kind::Local, Method::Gss) => {
            Err("gssapi authentication is not supported on local sockets".to_owned())
        }
        (Kind::Host | Kind::HostSsl | Kind::HostNoSsl, Method::Peer) => {
            Err("peer authentication is only supported on local sockets".to_owned())
        }
        (Kind::Local | Kind::Host | Kind::HostNoSsl, Method::Cert) => {
            Err("cert authentication is only supported on hostssl connections".to_owned())
        }
        _ => Ok(method),
    }
}

/// One `name=value`, if it may stand behind this method.
fn option(kind: Kind, method: Method, token: &Token) -> Result<(Vec<u8>, Vec<u8>), String> {
    let Some(equals) = token.text.iter().position(|&c| c == b'=').filter(|_| token.included().is_none())
    else {
        return Err(format!("authentication option not in name=value format: {}", token.lossy()));
    };
    let (name, value) = (&token.text[..equals], &token.text[equals + 1..]);
    let text = String::from_utf8_lossy(name).into_owned();
    let only = |methods: &[Method], words: &str| {
        if methods.contains(&method) {
            return Ok(());
        }
        Err(format!("authentication option \"{text}\" is only valid for authentication methods {words}"))
    };
    match text.as_str() {
        "map" => only(
            &[Method::Ident, Method::Peer, Method::Krb5, Method::Gss, Method::Cert],
            "ident, peer, krb5, gssapi, sspi, and cert",
        )?,
        "clientcert" if kind != Kind::HostSsl => {
            return Err("clientcert can only be configured for \"hostssl\" rows".to_owned());
        }
        "clientcert" if method == Method::Cert && value != b"1" => {
            return Err("clientcert can not be set to 0 when using \"cert\" authentication".to_owned());
        }
        "clientcert" => {}
        "pamservice" => only(&[Method::Pam], "pam")?,
        "ldapport" => {
            only(&[Method::Ldap], "ldap")?;
            if !value
                .trim_ascii_start()
                .iter()
                .skip_while(|c| matches!(c, b'0' | b'+' | b'-'))
                .any(u8::is_ascii_digit)
            {
                return Err(format!("invalid LDAP port number: \"{}\"", String::from_utf8_lossy(value)));
            }
        }
        "ldaptls"
        | "ldapserver"
        | "ldapbinddn"
        | "ldapbindpasswd"
        | "ldapsearchattribute"
        | "ldapbasedn"
        | "ldapprefix"
        | "ldapsuffix" => only(&[Method::Ldap], "ldap")?,
        "krb_server_hostname" => only(&[Method::Krb5], "krb5")?,
        "krb_realm" | "include_realm" => only(&[Method::Krb5, Method::Gss], "krb5, gssapi, and sspi")?,
        _ => return Err(format!("unrecognized authentication option name: \"{text}\"")),
    }
    Ok((name.to_vec(), value.to_vec()))
}

/// Whether options are missing or exclude each other.
fn mandatory(method: Method, options: &[(Vec<u8>, Vec<u8>)]) -> Result<(), String> {
    if method != Method::Ldap {
        return Ok(());
    }
    let given = |names: &[&str]| options.iter().any(|(n, _)| names.iter().any(|name| name.as_bytes() == n));
    if !given(&["ldapserver"]) {
        return Err("authentication method \"ldap\" requires argument \"ldapserver\" to be set".to_owned());
    }
    if given(&["ldapprefix", "ldapsuffix"]) {
        if given(&["ldapbasedn", "ldapbinddn", "ldapbindpasswd", "ldapsearchattribute"]) {
            return Err(
                "cannot use ldapbasedn, ldapbinddn, ldapbindpasswd, or ldapsearchattribute together with \
                        ldapprefix"
                    .to_owned(),
            );
        }
    } else if !given(&["ldapbasedn"]) {
        return Err("authentication method \"ldap\" requires argument \"ldapbasedn\", \"ldapprefix\", or \
                    \"ldapsuffix\" to be set"
            .to_owned());
    }
    Ok(())
}
