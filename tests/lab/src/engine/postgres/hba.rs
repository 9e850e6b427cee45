//! pg_hba.conf as openGauss reads it, and what PostgreSQL is given in its place.
//!
//! The reader is the lab's own on purpose: what judges the modules must not share their parser.

use std::fmt::Write as _;
use std::net::IpAddr;

/// The rules of a file, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<HbaLine>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct HbaLine {
    kind: String,
    databases: String,
    users: String,
    /// None for `local`.
    address: Option<Address>,
    method: String,
    options: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    Net(IpAddr, IpAddr),
    /// A host name, or one of the words all, samehost, samenet.
    Name(String),
}

impl Rules {
    /// Reads a file; what openGauss would refuse comes back as its log lines.
    pub fn parse(text: &str, path: &str) -> Result<Self, Vec<String>> {
        let (mut rules, mut errors) = (Vec::new(), Vec::new());
        for (line, number) in text.lines().zip(1_u32..) {
            match rule(line) {
                Ok(None) => {}
                Ok(Some(rule)) => rules.push(rule),
                Err(why) => {
                    errors.push(format!("LOG:  {why}"));
                    errors.push(format!("CONTEXT:  line {number} of configuration file \"{path}\""));
                }
            }
        }
        if rules.is_empty() && errors.is_empty() {
            errors.push(format!("LOG:  configuration file \"{path}\" contains no entries"));
        }
        if errors.is_empty() { Ok(Self(rules)) } else { Err(errors) }
    }

    /// Whether any line for host connections covers the address, whatever its database, user and method.
    pub fn covers(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|r| r.address.as_ref().is_some_and(|a| a.covers(ip)))
    }

    /// Whether a rule for replication connections lets the address in.
    pub fn replicates(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|r| {
            r.databases.split(',').any(|d| d.trim_matches('"') == "replication")
                && r.method != "reject"
                && r.address.as_ref().is_some_and(|a| a.covers(ip))
        })
    }

    /// The text PostgreSQL is given in place of the file. `peers`: the addresses named in the replication channels,
    /// and the server's own.
    pub fn translated(&self, peers: &[IpAddr], user: &str) -> String {
        let mut text =
            String::from("# Written by the lab at each start and reload.\nlocal all og_lab trust\n");
        // openGauss: a replication connection from a channel's address needs no more than to be covered by any line.
        for ip in peers.iter().filter(|ip| self.covers(**ip)) {
            let width = if ip.is_ipv4() { 32 } else { 128 };
            let _ = writeln!(text, "host replication {user} {ip}/{width} trust");
            let _ = writeln!(text, "host all og_lab {ip}/{width} trust");
        }
        for rule in &self.0 {
            // The server it stands for has ssl off.
            if rule.kind == "hostssl" {
                continue;
            }
            let address = match &rule.address {
                None => String::new(),
                Some(Address::Net(net, mask)) => format!("{net} {mask} "),
                Some(Address::Name(name)) => format!("{name} "),
            };
            let method = match rule.method.as_str() {
                "sha256" | "sm3" | "md5" => "scram-sha-256",
                other => other,
            };
            let _ = writeln!(
                text,
                "{} {} {} {address}{method} {}",
                rule.kind,
                rule.databases,
                rule.users,
                rule.options.join(" ")
            );
        }
        text
    }
}

impl Address {
    fn covers(&self, ip: IpAddr) -> bool {
        match (self, ip) {
            (Self::Net(IpAddr::V4(net), IpAddr::V4(mask)), IpAddr::V4(ip)) => {
                u32::from(*net) & u32::from(*mask) == u32::from(ip) & u32::from(*mask)
            }
            (Self::Net(IpAddr::V6(net), IpAddr::V6(mask)), IpAddr::V6(ip)) => {
                u128::from(*net) & u128::from(*mask) == u128::from(ip) & u128::from(*mask)
            }
            // Name look-ups are not the lab's business; in its network the two words mean the same.
            (Self::Name(name), _) => matches!(name.as_str(), "all" | "samenet"),
            _ => false,
        }
    }
}

/// The rule in a line, nothing for a blank or a comment, or openGauss's words against it.
fn rule(line: &str) -> Result<Option<HbaLine>, String> {
    let words = words(line)?;
    let mut words = words.into_iter();
    let Some(kind) = words.next() else { return Ok(None) };
    if !matches!(kind.as_str(), "local" | "host" | "hostssl" | "hostnossl") {
        return Err(format!("invalid connection type \"{kind}\""));
    }
    let databases = words.next().ok_or("end-of-line before database specification")?;
    let users = words.next().ok_or("end-of-line before role specification")?;
    let address = if kind == "local" {
        None
    } else {
        let text = words.next().ok_or("end-of-line before IP address specification")?;
        Some(address(&text, &mut words)?)
    };
    let method = words.next().ok_or("end-of-line before authentication method")?;
    let bare = method.trim_matches('"');
    match bare {
        "trust" | "reject" | "md5" | "sha256" | "sm3" => {}
        "cert" if kind == "hostssl" => {}
        "peer" if kind == "local" => {}
        "cert" => return Err("cert authentication is only supported on hostssl connections".into()),
        "peer" => return Err("peer authentication is only supported on local sockets".into()),
        "gss" | "sspi" | "ident" | "ldap" | "pam" | "krb5" => {
            return Err(format!("invalid authentication method \"{bare}\": not supported by this build"));
        }
        _ => return Err(format!("invalid authentication method \"{bare}\"")),
    }
    let options: Vec<String> = words.collect();
    if let Some(bad) = options.iter().find(|o| !o.contains('=')) {
        return Err(format!("authentication option not in name=value format: {bad}"));
    }
    Ok(Some(HbaLine { kind, databases, users, address, method: bare.to_owned(), options }))
}

fn address(text: &str, words: &mut impl Iterator<Item = String>) -> Result<Address, String> {
    let (host, width) = text.split_once('/').map_or((text, None), |(h, w)| (h, Some(w)));
    let Ok(ip) = host.parse::<IpAddr>() else {
        let name = host.trim_matches('"');
        // Digits and dots, or colons, are meant as an address.
        if width.is_some() || name.contains(':') || name.chars().all(|c| c.is_ascii_digit() || c == '.') {
            return Err(format!("invalid IP address \"{host}\": Name or service not known"));
        }
        return Ok(Address::Name(name.to_owned()));
    };
    let mask = if let Some(width) = width {
        let limit = if ip.is_ipv4() { 32 } else { 128 };
        let width: u32 = width
            .parse()
            .ok()
            .filter(|w| *w <= limit)
            .ok_or_else(|| format!("invalid CIDR mask in address \"{text}\""))?;
        match ip {
            IpAddr::V4(_) => IpAddr::from(u32::MAX.checked_shl(32 - width).unwrap_or(0).to_be_bytes()),
            IpAddr::V6(_) => IpAddr::from(u128::MAX.checked_shl(128 - width).unwrap_or(0).to_be_bytes()),
        }
    } else {
        let mask = words.next().ok_or("end-of-line before netmask specification")?;
        mask.parse::<IpAddr>()
            .ok()
            .filter(|m| m.is_ipv4() == ip.is_ipv4())
            .ok_or_else(|| format!("invalid IP mask \"{mask}\""))?
    };
    Ok(Address::Net(ip, mask))
}

/// The words of a line. Commas join words into lists; quotes hold blanks; `#` begins a comment.
fn words(line: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quoted, mut started, mut joins) =
        (Vec::new(), String::new(), false, false, false);
    for c in line.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.push(c);
                started = true;
                joins = false;
            }
            '#' if !quoted => break,
            c if c.is_whitespace() && !quoted => {
                if started && !joins {
                    words.push(std::mem::take(&mut word));
                    started = false;
                }
            }
            c => {
                word.push(c);
                started = true;
                joins = c == ',' && !quoted;
            }
        }
    }
    if started {
        words.push(word);
    }
    if let Some(long) = words.iter().find(|w| w.len() > 1000) {
        return Err(format!(
            "authentication file token too long, skipping: \"{}\"",
            &long[..100.min(long.len())]
        ));
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_bad_line_refuses_the_file_in_the_servers_words() {
        let errors =
            Rules::parse("local all all trust\n\nhost all all 127.0.0.1/33 trust\n", "/d/pg_hba.conf")
                .unwrap_err();
        assert_eq!(
            errors,
            [
                "LOG:  invalid CIDR mask in address \"127.0.0.1/33\"",
                "CONTEXT:  line 3 of configuration file \"/d/pg_hba.conf\""
            ]
        );
        for bad in [
            "hosts all all 1.1.1.1/32 trust",
            "host all all 1.1.1.1 trust",
            "host all all 127.0.0.300/32 trust",
            "host all all 1.1.1.1/32 scram-sha-256",
            "host all all 1.1.1.1/32 SHA256",
            "host all all 1.1.1.1/32 peer",
            "host all all fe80:::1/128 trust",
            "host all all 1.1.1.1/32 trust trailing",
            "host all",
        ] {
            assert!(Rules::parse(bad, "p").is_err(), "{bad}");
        }
        for fine in [
            "host all all 10.0.0.0 255.0.0.0 \"sha256\"",
            "host a, b all samenet md5 # c",
            "local all \"a b\" peer",
            "host all all somewhere trust",
            "host all all ::1/128 trust",
        ] {
            assert!(Rules::parse(fine, "p").is_ok(), "{fine}");
        }
    }

    #[test]
    fn a_channel_lets_replication_in_only_where_a_line_covers_it() {
        let rules =
            Rules::parse("host all omm 10.0.0.1/32 sha256\nhost all all 10.0.1.0/24 trust", "p").unwrap();
        let peers = ["10.0.0.1".parse().unwrap(), "10.0.0.12".parse().unwrap()];
        let text = rules.translated(&peers, "omm");
        assert!(text.contains("host replication omm 10.0.0.1/32 trust"));
        assert!(!text.contains("10.0.0.12"));
        assert!(text.contains("host all omm 10.0.0.1 255.255.255.255 scram-sha-256"));
        assert!(rules.covers("10.0.1.77".parse().unwrap()));
        assert!(!rules.replicates("10.0.0.1".parse().unwrap()));
    }
}
