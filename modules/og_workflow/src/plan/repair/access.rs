//! Whether nodes let each other in, by their pg_hba.conf and their replication channels.

use std::net::IpAddr;

use og_common::hba::{self, Address, Answer, Connection, Method, Route, RuleFields, Surroundings};

use crate::cluster::{Cluster, Node, canonical, rule_identity};

/// Whether the rules let a server of this user come from this address: the first rule that is for it decides. `own`: the
/// method by which the nodes let each other in. None where a rule before that may be for it, or where its method may let it in.
pub(super) fn is_admitted(rules: &[RuleFields], address: &str, user: &str, own: &str) -> Option<bool> {
    let client: IpAddr = canonical(address).parse().ok()?;
    for rule in rules {
        // A line that cannot be read is none for the server either.
        let Ok(parsed) = hba::HbaRule::parse(&line(rule)) else { continue };
        match is_for(&parsed, client, user) {
            Answer::Yes => return admits(parsed.method, own),
            Answer::No => {}
            Answer::Unknown(_) => return None,
        }
    }
    Some(false)
}

/// Whether a rule is for the server of another node, which comes without SSL.
fn is_for(rule: &hba::HbaRule, client: IpAddr, user: &str) -> Answer {
    let connection = |replication| Connection {
        route: Route::Tcp { client, ssl: false },
        database: b"postgres",
        user: user.as_bytes(),
        replication,
    };
    let around = Surroundings::default();
    // What these stand for is known on that node alone.
    let is_near = matches!(rule.address, Some(Address::SameHost | Address::SameNet));
    let includes = rule.databases.iter().chain(&rule.users).any(|name| matches!(name, hba::Name::Include(_)));
    if is_near || includes {
        return Answer::Unknown(String::new());
    }
    match around.is_for(rule, &connection(true)) {
        Answer::No => around.is_for(rule, &connection(false)),
        answer => answer,
    }
}

/// Whether a rule of this method admits a WAL receiver, which has no password unless `own`, the method that the nodes use
/// among themselves, is one that needs it.
fn admits(method: Method, own: &str) -> Option<bool> {
    match method {
        Method::Trust => Some(true),
        method if method.as_str() == own => Some(true),
        Method::Reject | Method::Cert | Method::Peer | Method::Md5 | Method::Sha256 | Method::Sm3 => {
            Some(false)
        }
        Method::Gss | Method::Krb5 | Method::Ident | Method::Ldap | Method::Pam => None,
    }
}

/// The rule as a line of the file; its options do not matter here.
fn line(rule: &RuleFields) -> String {
    let list = |names: &[String]| names.join(",");
    let optional = |text: &Option<String>| text.clone().unwrap_or_default();
    format!(
        "{} {} {} {} {} {}",
        rule.kind,
        list(&rule.databases),
        list(&rule.users),
        optional(&rule.address),
        optional(&rule.netmask),
        optional(&rule.method)
    )
}

/// The rules of a pg_hba.conf of this node that is made anew: those of `base`, and for each member one, where `base` has none.
pub(super) fn rebuild_rules(c: &Cluster, own: &Node, base: &[RuleFields], method: &str) -> Vec<RuleFields> {
    let mut rules = base.to_vec();
    let local = RuleFields {
        kind: "local".to_owned(),
        databases: vec!["all".to_owned()],
        users: vec![c.os_user(own)],
        method: Some("trust".to_owned()),
        ..RuleFields::default()
    };
    // gs_ctl and every tool come through the socket, as the server's own user; nobody else was let in there before.
    if !rules.iter().any(|rule| rule.kind == "local") {
        rules.insert(0, local);
    }
    for n in &c.members {
        let is_in =
            |rules: &[RuleFields]| is_admitted(rules, &n.address, &c.os_user(n), method) == Some(true);
        if !is_in(&rules) {
            rules.push(c.rule(n, Some(method)));
        }
        // Behind a rule that turns it away it does not count.
        if !is_in(&rules)
            && let Some(own) = rules.pop()
        {
            rules.insert(usize::from(rules.first().is_some_and(|rule| rule.kind == "local")), own);
        }
    }
    rules
}

/// Why the server refuses pg_hba.conf, where it does, with the numbers of all lines that are left out when the file is made
/// anew.
pub(super) fn broken_lines(n: &Node) -> Option<String> {
    let lines = &n.seen().broken_lines;
    let first = lines.first()?;
    Some(format!(
        "line {} of pg_hba.conf: {} ({} left out)",
        first.line,
        first.message,
        describe_dropped_lines(n)
    ))
}

/// The lines that are left out of a pg_hba.conf that is made anew: `line 4 is` or `lines 4, 7 are`.
pub(super) fn describe_dropped_lines(n: &Node) -> String {
    let numbers: Vec<_> = n.seen().broken_lines.iter().map(|broken| broken.line.to_string()).collect();
    let (line, is) = if numbers.len() == 1 { ("line", "is") } else { ("lines", "are") };
    format!("{line} {} {is}", numbers.join(", "))
}

/// Rules of this node that the other one has not.
pub(super) fn own_rules(n: &Node, other: &Node) -> Vec<RuleFields> {
    let key = |rule: &RuleFields| (rule.kind.clone(), rule.netmask.clone());
    let there = |rule: &&RuleFields| {
        let same =
            |other: &RuleFields| key(other) == key(rule) && rule_identity(other) == rule_identity(rule);
        !other.seen().rules.iter().any(same)
    };
    n.seen().rules.iter().filter(there).cloned().collect()
}

/// Whether this node has a channel to the other one.
pub(super) fn has_channel(n: &Node, to: &Node) -> bool {
    n.peers().any(|key| key == to.key())
}
