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

/// The column that a name stands in, which decides what is a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// `all`, `sameuser`, `samerole`, `replication`, `@file`.
    Databases,
    /// `all`, `+role`, `@file`.
    Users,
}

/// Words that are keywords in one of the two columns: names that are written in quotes.
const KEYWORDS: [&[u8]; 5] = [b"all", b"sameuser", b"samerole", b"samegroup", b"replication"];

impl Name {
    /// The value of a token of this column.
    #[must_use]
    pub fn from_token(column: Column, token: &Token) -> Self {
        if let Some(file) = token.included() {
            return Self::Include(file.to_vec());
        }
        if token.quoted {
            return Self::Named(token.text.clone());
        }
        Self::from_word(column, &token.text)
    }

    /// The value of a word without quotes that is no `@file`.
    fn from_word(column: Column, word: &[u8]) -> Self {
        match (column, word) {
            (_, b"all") => Self::All,
            (Column::Databases, b"sameuser") => Self::SameUser,
            (Column::Databases, b"samerole" | b"samegroup") => Self::SameRole,
            (Column::Databases, b"replication") => Self::Replication,
            (Column::Users, [b'+', role @ ..]) => Self::Role(role.to_vec()),
            (_, name) => Self::Named(name.to_vec()),
        }
    }

    /// The value of a token of the database column.
    #[must_use]
    pub fn database(token: &Token) -> Self {
        Self::from_token(Column::Databases, token)
    }

    /// The value of a token of the user column.
    #[must_use]
    pub fn user(token: &Token) -> Self {
        Self::from_token(Column::Users, token)
    }

    /// The name that a caller gives as a value of its own: nothing in it is parsed again. A keyword is meant when it
    /// stands alone; in double quotes, a quote inside them doubled, it is a name.
    ///
    /// # Errors
    /// Why it can be no name in the file.
    pub fn from_value(column: Column, value: &str) -> Result<Self, String> {
        let name = match value.as_bytes() {
            _ if is_in_quotes(value) => Self::Named(unquote(value)?.into_bytes()),
            [b'@', _, ..] => Self::Include(unquote(&value[1..])?.into_bytes()),
            [b'+', ..] if column == Column::Users => Self::Role(unquote(&value[1..])?.into_bytes()),
            [] => return Err("it is empty; an empty name is given as \"\" in double quotes".to_owned()),
            word => Self::from_word(column, word),
        };
        check_writable(value)?;
        if name.token_length() > MAX_TOKEN {
            return Err(format!("it is longer than the {MAX_TOKEN} bytes that the server takes"));
        }
        Ok(name)
    }

    /// The value that [`Name::from_value`] takes for this name; `None` for bytes that are no UTF-8.
    #[must_use]
    pub fn to_value(&self, column: Column) -> Option<String> {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        let marked = |mark: char, bytes: &[u8]| {
            let text = text(bytes)?;
            Some(if is_in_quotes(&text) {
                format!("{mark}{}", quote(&text))
            } else {
                format!("{mark}{text}")
            })
        };
        match self {
            Self::All => Some("all".to_owned()),
            Self::SameUser => Some("sameuser".to_owned()),
            Self::SameRole => Some("samerole".to_owned()),
            Self::Replication => Some("replication".to_owned()),
            Self::Role(role) => marked('+', role),
            Self::Include(file) => marked('@', file),
            Self::Named(name) => {
                let text = text(name)?;
                let itself = Self::from_value(column, &text).is_ok_and(|read| read == *self);
                Some(if itself { text } else { quote(&text) })
            }
        }
    }

    /// Whether a word without quotes in this column has this value.
    #[must_use]
    pub fn is_word(&self, column: Column, word: &[u8]) -> bool {
        match self {
            Self::Named(name) => name == word && matches!(Self::from_word(column, word), Self::Named(_)),
            other => *other == Self::from_word(column, word),
        }
    }

    /// The length of its token in the file, quotes aside.
    fn token_length(&self) -> usize {
        match self {
            Self::Role(name) | Self::Include(name) => 1 + name.len(),
            Self::Named(name) => name.len(),
            Self::All | Self::SameUser | Self::SameRole | Self::Replication => 0,
        }
    }

    /// Appends it as it stands in the file, quoted where it must be.
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::All => out.extend(b"all"),
            Self::SameUser => out.extend(b"sameuser"),
            Self::SameRole => out.extend(b"samerole"),
            Self::Replication => out.extend(b"replication"),
            Self::Role(role) => write_value(out, b"+", role),
            Self::Include(file) => write_value(out, b"@", file),
            Self::Named(name) => {
                let keyword = KEYWORDS.contains(&name.as_slice());
                if keyword || name.is_empty() || name.starts_with(b"+") || name.starts_with(b"@") {
                    write_quoted(out, name);
                } else {
                    write_value(out, b"", name);
                }
            }
        }
    }
}

/// Whether a value is given in double quotes.
#[must_use]
pub fn is_in_quotes(value: &str) -> bool {
    value.len() >= 2 && value.starts_with('"') && value.ends_with('"')
}

/// The value in double quotes.
#[must_use]
pub fn quote(value: &str) -> String {
    format!("\"{}\"", value.replace('"', "\"\""))
}

/// The value without its double quotes, where it has them.
///
/// # Errors
/// A quote inside them that is not doubled.
pub fn unquote(value: &str) -> Result<String, String> {
    if !is_in_quotes(value) {
        return Ok(value.to_owned());
    }
    let inner = &value[1..value.len() - 1];
    let name = inner.replace("\"\"", "\"");
    if name.replace('"', "\"\"") == inner {
        return Ok(name);
    }
    Err("a quote inside double quotes must be doubled".to_owned())
}

/// That the value can stand in a line of the file.
///
/// # Errors
/// Why not.
pub fn check_writable(value: &str) -> Result<(), String> {
    if value.contains(['\n', '\0']) {
        return Err("it holds a line break or NUL, which no line of the file can".to_owned());
    }
    if value.contains('\u{fffd}') {
        return Err("it holds U+FFFD, which stands for a byte that is not UTF-8; such a rule can only be edited by hand"
            .to_owned());
    }
    Ok(())
}

impl fmt::Display for Name {
    /// As it stands in the file, quoted where it must be; bytes that are no UTF-8 as replacement characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        f.write_str(&String::from_utf8_lossy(&bytes))
    }
}

/// Writes the mark and the text, the text in quotes where the scanner would otherwise cut it, and where it has capitals,
/// as the server's own programs do with names.
pub(super) fn write_value(out: &mut Vec<u8>, mark: &[u8], text: &[u8]) {
    out.extend(mark);
    let quoted = |c: &u8| *c <= b' ' || matches!(c, b',' | b'#' | b'"' | b'A'..=b'Z' | 0x7f);
    if text.iter().any(quoted) { write_quoted(out, text) } else { out.extend(text) }
}

/// Writes the text in quotes.
pub(super) fn write_quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for &c in text {
        if c == b'"' {
            out.push(c);
        }
        out.push(c);
    }
    out.push(b'"');
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
pub struct HbaRule {
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

impl HbaRule {
    /// Returns the identity of the rule, see [`Key`].
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

    /// Whether this rule, standing earlier, lets the server never come to `later`, as far as the two tell by
    /// themselves; see [`Surroundings::covers`](super::Surroundings::covers).
    #[must_use]
    pub fn covers(&self, later: &Self) -> bool {
        super::Surroundings::default().covers(self, later) == super::Answer::Yes
    }

    /// Method and options as they stand in the file.
    #[must_use]
    pub fn method_bytes(&self) -> Vec<u8> {
        let mut text = self.method.as_str().as_bytes().to_vec();
        for (name, value) in &self.options {
            let option = [name, &b"="[..], value].concat();
            text.extend(b"    ");
            if option.iter().any(|c| *c <= b' ' || matches!(c, b',' | b'#' | b'"'))
                || option.starts_with(b"@")
            {
                write_quoted(&mut text, &option);
            } else {
                text.extend(option);
            }
        }
        text
    }

    /// The rule as a line, without line end, as openGauss's own tools write it: four blanks between columns.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut line = self.kind.as_str().as_bytes().to_vec();
        for names in [&self.databases, &self.users] {
            line.extend(b"    ");
            for (n, name) in names.iter().enumerate() {
                if n > 0 {
                    line.push(b',');
                }
                name.write(&mut line);
            }
        }
        if let Some(address) = &self.address {
            line.extend(b"    ");
            address.write(&mut line);
        }
        line.extend(b"    ");
        line.extend(self.method_bytes());
        line
    }
}

impl fmt::Display for HbaRule {
    /// [`HbaRule::to_bytes`]; bytes that are no UTF-8 as replacement characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_bytes()))
    }
}

/// Why the server refuses a line, and with it the whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where in the file's bytes.
    pub offset: usize,
    /// The server's words where it has any.
    pub message: String,
    /// What of the rule it is about.
    pub part: ProblemPart,
}

/// What of a rule a [`Problem`] is about, as far as callers tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemPart {
    /// The line ends where the method should stand.
    MissingMethod,
    /// The method: unknown, or not for this type of connection.
    Method,
    /// Anything else.
    Other,
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
pub fn parse(entry: &Entry) -> Result<(HbaRule, Places), Problem> {
    let mut fields = Fields { entry, next: 0 };
    let token = fields.take_single("connection type", "")?;
    let Some(kind) = Kind::parse(&token.text) else {
        return Err(fields.problem(format!("invalid connection type \"{}\"", token.lossy())));
    };
    let databases = fields.take("database specification")?.tokens.iter().map(Name::database).collect();
    let users = fields.take("role specification")?.tokens.iter().map(Name::user).collect();
    let address = if kind == Kind::Local { None } else { Some(parse_address(&mut fields)?) };

    let ended = fields.next >= entry.fields.len() && entry.too_long.is_none();
    let token = fields
        .take_single("authentication type", "authentication method")
        .map_err(|p| if ended { Problem { part: ProblemPart::MissingMethod, ..p } } else { p })?;
    let place = fields.entry.fields[fields.next - 1].span.clone();
    let method =
        parse_method(kind, token).map_err(|m| Problem { part: ProblemPart::Method, ..fields.problem(m) })?;
    let mut places = Places { method: place.start, end: place.end };

    let mut options = Vec::new();
    while fields.next < entry.fields.len() {
        let field = fields.take("authentication option")?;
        places.end = field.span.end;
        for token in &field.tokens {
            options.push(parse_option(kind, method, token).map_err(|m| fields.problem(m))?);
        }
    }
    check_mandatory_options(method, &options).map_err(|m| fields.problem(m))?;
    if let Some(offset) = entry.too_long {
        // Cut short in its last column the line may still pass the server, but not mean what it says.
        return Err(too_long_error(offset));
    }
    Ok((HbaRule { kind, databases, users, address, method, options }, places))
}

fn too_long_error(offset: usize) -> Problem {
    Problem {
        offset,
        message: format!("authentication file token too long: the server takes at most {MAX_TOKEN} bytes"),
        part: ProblemPart::Other,
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
        Problem {
            offset: field.map_or(self.entry.span.start, |f| f.span.start),
            message: message.into(),
            part: ProblemPart::Other,
        }
    }

    /// The next field, whose absence the server calls `end-of-line before WHAT`.
    fn take(&mut self, what: &str) -> Result<&'a Field, Problem> {
        let Some(field) = self.entry.fields.get(self.next) else {
            if let Some(offset) = self.entry.too_long {
                return Err(too_long_error(offset));
            }
            let end = self.entry.fields.last().map_or(self.entry.span.start, |f| f.span.end);
            let message = format!("end-of-line before {what}");
            return Err(Problem { offset: end, message, part: ProblemPart::Other });
        };
        self.next += 1;
        Ok(field)
    }

    /// The next field, which must have one value only.
    fn take_single(&mut self, what: &str, missing: &str) -> Result<&'a Token, Problem> {
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

fn parse_address(fields: &mut Fields<'_>) -> Result<Address, Problem> {
    let token = fields.take_single("host address", "IP address specification")?;
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
        return Ok(Address::Host(token.text.to_ascii_lowercase()));
    };
    if let Some(bits) = halves.next() {
        return parse_bits(bits)
            .and_then(|bits| Range::from_prefix(ip, u32::try_from(bits).ok()?))
            .map(Address::Range)
            .ok_or_else(|| fields.problem(format!("invalid CIDR mask in address \"{}\"", token.lossy())));
    }
    let token = fields.take_single("netmask", "netmask specification")?;
    let Some(mask) = parse_ip(&token.text) else {
        return Err(
            fields.problem(format!("invalid IP mask \"{}\": Name or service not known", token.lossy()))
        );
    };
    Range::from_mask(ip, mask)
        .map(Address::Range)
        .ok_or_else(|| fields.problem("IP address and mask do not match"))
}

/// The method, if it may stand in a rule of this kind.
fn parse_method(kind: Kind, token: &Token) -> Result<Method, String> {
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
fn parse_option(kind: Kind, method: Method, token: &Token) -> Result<(Vec<u8>, Vec<u8>), String> {
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
fn check_mandatory_options(method: Method, options: &[(Vec<u8>, Vec<u8>)]) -> Result<(), String> {
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
