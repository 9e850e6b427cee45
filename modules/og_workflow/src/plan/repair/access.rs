//! Whether nodes let each other in, by their pg_hba.conf and their replication channels.

use std::net::IpAddr;

use og_common::hba::{Range, parse_whole_ip};

use crate::cluster::{Cluster, Node, canonical};
use crate::seen::RuleRecord;

/// Whether the rules let a server of this user come from this address: the first rule that matches decides. None where a
/// rule before that may match, by a name.
pub(super) fn lets_in(rules: &[RuleRecord], address: &str, user: &str) -> Option<bool> {
    let client: IpAddr = canonical(address).parse().ok()?;
    let any = |list: &[String], words: &[&str]| list.iter().any(|item| words.contains(&item.as_str()));
    for rule in rules.iter().filter(|rule| matches!(rule.kind.as_str(), "host" | "hostnossl")) {
        if !any(&rule.databases, &["all", "replication"]) || !any(&rule.users, &["all", user]) {
            continue;
        }
        match range(rule) {
            Some(range) if range.contains(client) => return Some(rule.method.as_deref() != Some("reject")),
            Some(_) => {}
            None if rule.address.as_deref() == Some("all") => {
                return Some(rule.method.as_deref() != Some("reject"));
            }
            None => return None,
        }
    }
    Some(false)
}

fn range(rule: &RuleRecord) -> Option<Range> {
    let address = rule.address.as_deref()?;
    let (host, bits) = address.split_once('/').map_or((address, None), |(host, bits)| (host, Some(bits)));
    let ip = parse_whole_ip(host)?;
    match (bits, rule.netmask.as_deref()) {
        (Some(bits), _) => Range::from_prefix(ip, bits.parse().ok()?),
        (None, Some(mask)) => match mask.parse() {
            Ok(bits) => Range::from_prefix(ip, bits),
            Err(_) => Range::from_mask(ip, parse_whole_ip(mask)?),
        },
        (None, None) => Some(Range::from_ip(ip)),
    }
}

/// The rules of a pg_hba.conf of this node that is made anew: those of `base`, and for each member one, where `base` has none.
pub(super) fn made_anew(c: &Cluster, own: &Node, base: &[RuleRecord], method: &str) -> Vec<RuleRecord> {
    let mut rules = base.to_vec();
    let local = RuleRecord {
        kind: "local".to_owned(),
        databases: vec!["all".to_owned()],
        users: vec![c.os_user(own)],
        method: Some("trust".to_owned()),
        ..RuleRecord::default()
    };
    // gs_ctl and every tool come through the socket, as the server's own user; nobody else was let in there before.
    if !rules.iter().any(|rule| rule.kind == "local") {
        rules.insert(0, local);
    }
    for n in &c.members {
        if lets_in(&rules, &n.address, &c.os_user(n)) != Some(true) {
            rules.push(c.rule(n, Some(method)));
        }
    }
    rules
}

/// Why the server refuses pg_hba.conf, where it does, with the numbers of all lines that are left out when the file is made
/// anew.
pub(super) fn broken_lines(n: &Node) -> Option<String> {
    let lines = &n.seen().broken_lines;
    let first = lines.first()?;
    Some(format!("line {} of pg_hba.conf: {} ({} left out)", first.line, first.message, left_out(n)))
}

/// The lines that are left out of a pg_hba.conf that is made anew: `line 4 is` or `lines 4, 7 are`.
pub(super) fn left_out(n: &Node) -> String {
    let numbers: Vec<_> = n.seen().broken_lines.iter().map(|broken| broken.line.to_string()).collect();
    let (line, is) = if numbers.len() == 1 { ("line", "is") } else { ("lines", "are") };
    format!("{line} {} {is}", numbers.join(", "))
}

/// Rules of this node that the other one has not.
pub(super) fn own_rules(n: &Node, other: &Node) -> Vec<RuleRecord> {
    let key = |rule: &RuleRecord| (rule.kind.clone(), rule.netmask.clone());
    let there = |rule: &&RuleRecord| {
        let same = |other: &RuleRecord| key(other) == key(rule) && other.identity() == rule.identity();
        !other.seen().rules.iter().any(same)
    };
    n.seen().rules.iter().filter(there).cloned().collect()
}

/// Whether this node has a channel to the other one.
pub(super) fn has_channel(n: &Node, to: &Node) -> bool {
    n.peers().any(|key| key == to.key())
}
