//! pg_hba.conf: what is read is printed to the same bytes; a rule that is written is read back equal; no rule decides
//! a connection that an earlier one covers; a plan that was carried out leaves nothing to do, and other lines alone.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use og_common::hba::{
    Address, Brief, Connection, HbaFile, HbaRule, LineKind, Name, Range, Route, RuleFields, Surroundings,
};
use og_fuzz::{halves, repeated};
use og_hba::args::RuleArg;
use og_hba::plan::{Goal, Place, Plan, plan};
use og_hba::rules::{Pattern, Wanted};

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_last() else { return };
    match mode {
        0..32 => read(rest),
        32..96 => decide(rest),
        255 => read(&repeated(rest)),
        254 => change(&repeated(rest), 2),
        n => change(rest, *n),
    }
});

fn read(bytes: &[u8]) {
    let file = HbaFile::parse(bytes);
    assert!(file.to_bytes() == bytes, "other bytes");
    let lines = bytes.split(|c| *c == b'\n').count();
    for pair in file.lines().windows(2) {
        assert!(pair[0].number() < pair[1].number());
    }
    for refusal in file.refusals(&Surroundings::default()) {
        assert!(refusal.line <= lines, "{refusal} of {lines}");
    }
    for index in 0..file.lines().len() {
        let line = &file.lines()[index];
        assert_eq!(matches!(line.kind, LineKind::Rule(_)), file.rule(index).is_some());
        let Some((rule, at)) = file.rule_at(index) else { continue };
        let text = file.line(index);
        assert!(
            text[at.method..at.end].starts_with(rule.method.as_str().as_bytes())
                || text[at.method..].contains(&b'"')
        );
        assert_eq!(HbaRule::from_bytes(&rule.to_bytes()).as_ref(), Ok(&rule), "{rule}");
        let brief = Brief::from(&rule);
        assert!(file.may_have_identity(index, &brief, &rule));
        // What a query tells is taken back as the rule it was.
        if let Some(fields) = RuleFields::from_rule(&rule).filter(|_| !rule.to_string().contains('\u{fffd}'))
        {
            let fields = serde_json::to_value(fields).expect("fields are JSON");
            let arg: RuleArg = serde_json::from_value(fields).expect("a rule's fields");
            if let Ok(back) = arg.wanted("/rules/0") {
                assert_eq!(back.rule.key(), rule.key());
            }
        }
    }
}

/// Connections that the rules themselves are about.
fn decide(bytes: &[u8]) {
    let file = HbaFile::parse(bytes);
    let rules: Vec<(usize, HbaRule)> = file.rules().take(24).collect();
    let around = Surroundings {
        interfaces: vec![("10.0.0.1".parse().expect("v4"), "255.0.0.0".parse().expect("v4"))],
        ..Surroundings::default()
    };
    for (_, rule) in &rules {
        let name = |names: &[Name]| match names.first() {
            Some(Name::Named(name) | Name::Role(name)) => name.clone(),
            _ => b"x".to_vec(),
        };
        let (database, user) = (name(&rule.databases), name(&rule.users));
        let client = match &rule.address {
            Some(Address::Range(Range::V4 { network, .. })) => IpAddr::V4((*network).into()),
            Some(Address::Range(Range::V6 { network, .. })) => IpAddr::V6((*network).into()),
            _ => IpAddr::V4([10, 0, 0, 1].into()),
        };
        let routes = [Route::Local, Route::Tcp { client, ssl: false }, Route::Tcp { client, ssl: true }];
        for (route, replication) in routes.into_iter().flat_map(|r| [(r, false), (r, true)]) {
            let connection = Connection { route, database: &database, user: &user, replication };
            let decision = file.decide(&connection, &around);
            let Some(line) = decision.line else { continue };
            let (_, decided) = file.rules().find(|(index, _)| *index == line).expect("a rule decides");
            for (index, earlier) in file.rules().take_while(|(index, _)| *index < line).take(24) {
                let unsure = decision.unknown.iter().any(|(other, _)| *other == index);
                assert!(
                    unsure || !earlier.covers(&decided),
                    "{earlier} is before {decided}, for {connection:?}"
                );
            }
        }
    }
}

fn change(bytes: &[u8], what: u8) {
    let Some((bytes, rules)) = halves(bytes) else { return };
    let Ok(rules) = std::str::from_utf8(rules) else { return };
    let rules: Vec<RuleArg> = rules.lines().map(|l| RuleArg::Line(l.to_owned())).collect();
    let wanted = || rules.iter().map(|r| r.wanted("/rules")).collect::<Result<Vec<Wanted>, _>>();
    let patterns = || rules.iter().map(|r| r.pattern("/rules")).collect::<Result<Vec<Pattern>, _>>();
    let goal = match what % 7 {
        0 => patterns().map(Goal::Absent),
        1 => wanted().map(Goal::Exact),
        2 => wanted().map(|w| Goal::Present(w, Place::Auto)),
        3 => wanted().map(|w| Goal::Present(w, Place::First)),
        4 => wanted().map(|w| Goal::Present(w, Place::Last)),
        n => patterns().and_then(|p| {
            let first = p.first().cloned().unwrap_or_default();
            let place = if n == 5 { Place::Before(first) } else { Place::After(first) };
            wanted().map(|w| Goal::Present(w, place))
        }),
    };
    let Ok(goal) = goal else { return };
    let file = HbaFile::parse(bytes);
    let Ok(done) = plan(&file, &goal, &Surroundings::default()) else { return };
    if done.is_empty() {
        assert!(done.after.is_none(), "nothing to do, but other bytes");
        return;
    }
    let after = done.after.clone().expect("a new file");
    // Nothing is written then.
    if !after.refusals(&Surroundings::default()).is_empty() {
        return;
    }
    let again =
        plan(&after, &goal, &Surroundings::default()).expect("what could be planned can be planned again");
    assert!(again.is_empty(), "twice: {goal:?}\n{again:?}\n{}", String::from_utf8_lossy(after.bytes()));
    reached(&after, &goal);
    untouched(&file, &after, &done);
}

/// The file says what was wanted.
fn reached(after: &HbaFile, goal: &Goal) {
    let has = |w: &Wanted| after.rules().any(|(_, r)| r.key() == w.rule.key() && r.same_method(&w.rule));
    match goal {
        Goal::Present(wanted, _) => assert!(wanted.iter().take(50).all(has)),
        Goal::Absent(patterns) => {
            assert!(after.rules().take(50).all(|(_, r)| !patterns.iter().any(|p| p.matches_rule(&r))));
        }
        Goal::Exact(wanted) => {
            assert!(
                after
                    .rules()
                    .take(50)
                    .zip(wanted)
                    .all(|((_, r), w)| wanted.len() > 1 || r.key() == w.rule.key())
            );
            assert!(after.rules().count() <= wanted.len());
        }
    }
}

/// Every line of the old file that the plan does not name stands in the new one, in the old order.
fn untouched(before: &HbaFile, after: &HbaFile, done: &Plan) {
    let named: std::collections::HashSet<usize> =
        done.removed.iter().chain(done.updated.iter().map(|(was, _)| was)).map(|l| l.number).collect();
    let bare = |bytes: &[u8]| {
        bytes.strip_suffix(b"\n").map(|b| b.strip_suffix(b"\r").unwrap_or(b)).unwrap_or(bytes).to_vec()
    };
    let mut lines = 0..after.lines().len();
    for index in (0..before.lines().len()).filter(|index| !named.contains(&before.number(*index))) {
        let line = before.line(index);
        // The last line may get the line end that it lacked.
        assert!(
            lines.any(|other| after.line(other) == line || bare(after.line(other)) == bare(line)),
            "line {} is gone: {}",
            before.number(index),
            before.text(index)
        );
    }
}
