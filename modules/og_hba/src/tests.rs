#![allow(clippy::unwrap_used)]

use og_common::protocol::ErrorKind;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const FILE: &str = "# head\n\
                    local   all   all                  trust\n\
                    # IPv4\n\
                    host    all   all   127.0.0.1/32   trust   # loop\n\
                    host all omm 192.168.0.11/32 trust\n\
                    host all all 192.168.0.12 255.255.255.255 sha256\n\
                    host all all 0.0.0.0/0 sha256\n\
                    # end\n";

fn args(value: Value) -> Args {
    serde_json::from_value(value).unwrap()
}

fn planned(file: &str, value: Value) -> Result<Plan, Error> {
    plan::plan(
        &HbaFile::parse(file.as_bytes()),
        &parse_goal(&args(value))?.unwrap(),
        &Surroundings::default(),
    )
}

/// The text that the plan makes of this one.
fn text(plan: &Plan, before: &str) -> String {
    plan.after.as_ref().map_or_else(|| before.to_owned(), |file| String::from_utf8(file.to_bytes()).unwrap())
}

/// The lines that differ, `-` and `+` before them; and nothing else differs.
fn change(file: &str, value: Value) -> Vec<String> {
    let plan = planned(file, value.clone()).unwrap();
    let after = text(&plan, file);
    assert!(planned(&after, value).unwrap().is_empty(), "twice is once");
    let (old, new): (Vec<_>, Vec<_>) = (file.lines().collect(), after.lines().collect());
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let rest = old[same..].iter().rev().zip(new[same..].iter().rev()).take_while(|(a, b)| a == b).count();
    let minus = old[same..old.len() - rest].iter().map(|l| format!("-{l}"));
    let plus = new[same..new.len() - rest].iter().map(|l| format!("+{l}"));
    std::iter::once(format!("@{}", same + 1)).chain(minus).chain(plus).collect()
}

#[test]
fn a_new_rule_goes_to_the_end_or_before_what_would_hide_it() {
    assert_eq!(
        change(FILE, json!({"rules": ["host replication omm 192.168.0.13/32 trust"]})),
        ["@9", "+host replication omm 192.168.0.13/32 trust"]
    );
    assert_eq!(
        change(FILE, json!({"rules": [{"users": "omm", "address": "192.168.0.13", "method": "trust"}]})),
        ["@7", "+host    all    omm    192.168.0.13/32    trust"]
    );
    assert_eq!(
        change(FILE, json!({"rules": ["host all all 10.0.0.0/8 md5", "host all u 10.1.0.0/16 md5"]})),
        ["@7", "+host all u 10.1.0.0/16 md5", "+host all all 10.0.0.0/8 md5"],
        "new rules do not hide each other either"
    );
}

#[test]
fn an_explicit_place_is_kept_and_warned_about() {
    let rule = "host all u 10.0.0.1/32 md5";
    let place = |insert: Value| json!({"rules": [rule], "insert": insert});
    assert_eq!(change(FILE, place(json!("first")))[0], "@2");
    assert_eq!(change(FILE, place(json!("last")))[0], "@9");
    assert_eq!(change(FILE, place(json!({"before": {"address": "192.168.0.12"}})))[0], "@6");
    assert_eq!(change(FILE, place(json!({"after": "host all all 127.0.0.1/32"})))[0], "@5");
    let plan = planned(FILE, place(json!("last"))).unwrap();
    assert_eq!(
        plan.warnings,
        ["line 9 is never reached: line 7 decides all that it is for: host all all 0.0.0.0/0 sha256"]
    );
    let plan = planned(FILE, json!({"rules": ["host all all all reject"], "insert": "first"})).unwrap();
    assert_eq!(plan.warnings.len(), 4, "{:?}", plan.warnings);
    assert!(plan.warnings[0].starts_with("line 5 is no longer reached: the new line 2 decides"));
    let error = planned(FILE, place(json!({"before": {"address": "1.1.1.1"}}))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_new_rule_is_not_hidden_by_words_roles_and_lists() {
    let added = |file: &str, rule: &str| {
        let plan = planned(file, json!({"rules": [rule]})).unwrap();
        (plan.added[0].number, plan.warnings.join("; "))
    };
    let rule = "host u u 10.0.0.1/32 md5";
    assert_eq!(added("host sameuser all all reject\n", rule), (1, String::new()));
    assert_eq!(added("host samerole all all reject\n", rule), (1, String::new()));
    assert_eq!(added("host all +u all reject\n", rule), (1, String::new()));
    assert_eq!(added("host all a,u 10.0.0.0/8 reject\n", rule), (1, String::new()));
    // Two lines together leave nothing.
    let both = "host all a 10.0.0.0/8 reject\nhost all u 10.0.0.0/8 reject\n";
    assert_eq!(added(both, "host d a,u 10.0.0.1/32 md5"), (2, String::new()));
    assert_eq!(added("host all a 10.0.0.0/8 reject\n", "host d a,u 10.0.0.1/32 md5"), (2, String::new()));
    for (file, why) in [
        ("host all +g all reject\n", "whether u is a member of role g"),
        ("host samerole all all reject\n", "whether u is a member of role d"),
        ("host all all h.example reject\n", "whether the client at 10.0.0.1/32 is called h.example"),
    ] {
        let (number, warning) = added(file, "host d u 10.0.0.1/32 md5");
        assert!(number == 2 && warning.contains(&format!("only the server knows {why}")), "{warning}");
        assert!(warning.starts_with("line 2 may never be reached: line 1 may decide"), "{warning}");
    }
    // To the same effect it matters to nobody.
    assert_eq!(added("host all +g all md5\n", "host d u 10.0.0.1/32 md5"), (2, String::new()));
    let (_, warning) = added("host all all 10.0.0.0/8 reject\n", "host d u db.example md5");
    assert!(warning.contains("whether db.example has addresses that are not in 10.0.0.0/8"), "{warning}");
}

#[test]
fn what_stands_outside_of_the_file_hides_too() {
    let ip = |text: &str| text.parse().unwrap();
    let mut around =
        Surroundings { interfaces: vec![(ip("10.0.0.1"), ip("255.255.255.0"))], ..Surroundings::default() };
    let token = |text: &str| og_common::hba::Token { text: text.into(), quoted: false };
    around.included.insert(b"list".to_vec(), Some(vec![token("a"), token("u")]));
    let number = |file: &str, rule: &str| {
        let goal = parse_goal(&args(json!({"rules": [rule]}))).unwrap().unwrap();
        plan::plan(&HbaFile::parse(file.as_bytes()), &goal, &around).unwrap().added[0].number
    };
    assert_eq!(number("host all @list all reject\n", "host d u 10.0.0.9/32 md5"), 1);
    assert_eq!(number("host all @list all reject\n", "host d v 10.0.0.9/32 md5"), 2);
    assert_eq!(number("host all a,u all reject\n", "host d @list 10.0.0.9/32 md5"), 1);
    assert_eq!(number("host all all samenet reject\n", "host d u 10.0.0.9/32 md5"), 1);
    assert_eq!(number("host all all samenet reject\n", "host d u 10.0.1.9/32 md5"), 2);
    assert_eq!(number("host all all samehost reject\n", "host d u 10.0.0.1/32 md5"), 1);
    assert_eq!(number("host all all 10.0.0.0/8 reject\n", "host d u samenet md5"), 1);
    assert_eq!(number("host all all 10.0.1.0/24 reject\n", "host d u samehost md5"), 2);
}

#[test]
fn the_same_rule_is_changed_in_place() {
    assert_eq!(
        change(FILE, json!({"rules": ["host all all 127.0.0.1 255.255.255.255 md5"]})),
        [
            "@4",
            "-host    all   all   127.0.0.1/32   trust   # loop",
            "+host    all   all   127.0.0.1/32   md5   # loop"
        ]
    );
    let plan = planned(FILE, json!({"rules": [{"address": "192.168.0.12/32", "method": "sha256"}]})).unwrap();
    assert!(plan.is_empty() && plan.after.is_none());
    let ldap = "host all all all ldap ldapserver=a ldapprefix=x # c\n";
    assert_eq!(
        change(ldap, json!({"rules": ["host all all all trust"]})),
        ["@1", "-host all all all ldap ldapserver=a ldapprefix=x # c", "+host all all all trust # c"]
    );
}

#[test]
fn absent_compares_values() {
    assert_eq!(change(FILE, json!({"state": "absent", "rules": [{"address": "192.168.0.1"}]})), ["@9"]);
    assert_eq!(
        change(FILE, json!({"state": "absent", "rules": [{"address": "192.168.0.12/32"}]})),
        ["@6", "-host all all 192.168.0.12 255.255.255.255 sha256"]
    );
    let twice =
        "local all all trust\nhost all all 1.1.1.1/32 md5\nhost all all 1.1.1.1 255.255.255.255 trust";
    assert_eq!(change(twice, json!({"state": "absent", "rules": ["host all all 1.1.1.1/32"]})).len(), 3);
}

#[test]
fn absent_takes_a_name_for_what_it_is() {
    let file =
        "local all all trust\nhost a all all md5\nhost \"a#b\" all all md5\nhost \"x,y\" all all md5\n";
    let gone = |name: &str| change(file, json!({"state": "absent", "rules": [{"databases": [name]}]}));
    assert_eq!(gone("a#b"), ["@3", "-host \"a#b\" all all md5"]);
    assert_eq!(gone("x,y"), ["@4", "-host \"x,y\" all all md5"]);
    assert_eq!(gone("\"all\""), ["@5"]);
    let place = |name: &str| json!({"rules": ["host all u 10.0.0.1/32 md5"], "insert": {"before": {"databases": [name]}}});
    assert_eq!(change(file, place("a#b"))[0], "@3");
}

#[test]
fn exact_keeps_comments_and_what_stands_in_order() {
    let rules = json!([
        "local all all trust",
        "host all all 0.0.0.0/0 sha256",
        "host all all 127.0.0.1/32 md5",
        "host all new 10.0.0.1/32 md5"
    ]);
    let plan = planned(FILE, json!({"state": "exact", "rules": rules})).unwrap();
    assert_eq!(
        text(&plan, FILE),
        "# head\n\
         local   all   all                  trust\n\
         # IPv4\n\
         host all all 0.0.0.0/0 sha256\n\
         host    all   all   127.0.0.1/32   md5   # loop\n\
         host all new 10.0.0.1/32 md5\n\
         # end\n"
    );
    assert_eq!((plan.added.len(), plan.removed.len(), plan.updated.len()), (1, 2, 1));
    assert_eq!((plan.updated[0].0.number, plan.updated[0].1.number), (4, 5));
    assert_eq!(plan.warnings.len(), 2, "the caller's own order hides rules: {:?}", plan.warnings);
    let mended = planned(
        "local all all trust\nrubbish\n",
        json!({"state": "exact", "rules": ["local all all trust"]}),
    );
    let mended = mended.unwrap();
    assert_eq!(text(&mended, ""), "local all all trust\n");
    assert_eq!(mended.removed[0].text, "rubbish");
}

#[test]
fn line_ends_and_foreign_bytes_stay() {
    let file = b"# \xc4\xe3\xba\xc3\r\nlocal all all trust";
    let goal = parse_goal(&args(json!({"rules": ["host all all 1.1.1.1/32 md5"]}))).unwrap().unwrap();
    let plan = plan::plan(&HbaFile::parse(file), &goal, &Surroundings::default()).unwrap();
    assert_eq!(
        plan.after.as_ref().unwrap().bytes(),
        b"# \xc4\xe3\xba\xc3\r\nlocal all all trust\r\nhost all all 1.1.1.1/32 md5\r\n"
    );
    assert_eq!(plan.added[0].number, 3);
}

#[test]
fn rules_that_contradict_each_other_are_refused() {
    let error = planned(
        FILE,
        json!({"rules": ["host all all 1.1.1.1/32 md5", {"address": "1.1.1.1", "method": "trust"}]}),
    );
    let error = error.unwrap_err();
    assert_eq!((error.kind(), error.failure().path.as_deref()), (ErrorKind::BadArgs, Some("/rules/1")));
}

fn checked(file: &str, value: Value, force: bool) -> Result<Vec<String>, Error> {
    let target = Target { path: "/nowhere/pg_hba.conf".into(), node: None, user: Some("omm".to_owned()) };
    let mut warnings = Vec::new();
    let goal = parse_goal(&args(value))?.unwrap();
    let seen = Seen::new(&target, Some(file.as_bytes().to_vec()), &goal)?;
    check(&target, &seen, force, &mut warnings)?;
    Ok(warnings)
}

#[test]
fn the_nodes_own_user_is_not_shut_out() {
    let absent = |rule: Value| json!({"state": "absent", "rules": [rule]});
    for value in [
        absent(json!({"type": "local"})),
        json!({"rules": ["local all omm reject"]}),
        json!({"rules": ["local all all reject"]}),
        json!({"state": "exact", "rules": ["host all all 127.0.0.1/32 trust"]}),
        json!({"state": "exact", "rules": ["local replication omm trust", "local all other trust"]}),
    ] {
        let error = checked(FILE, value.clone(), false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{value}");
        assert!(error.failure().detail.contains("line 2"), "{error}");
        checked(FILE, value, true).unwrap();
    }
    let two = "local all all trust\nlocal all omm peer\n";
    checked(two, absent(json!({"users": "all"})), false).unwrap();
    let warnings = checked(FILE, json!({"rules": ["local all all sha256"]}), false).unwrap();
    assert!(warnings[0].starts_with("omm now needs a password through the local socket (line 2, sha256)"));
    assert!(checked(FILE, json!({"rules": ["local all all peer"]}), false).unwrap().is_empty());
    // A role may take the user in, or turn it away: that is said.
    for file in ["local all +dba reject\n", ""] {
        let rules = json!([
            format!("{file}local all all trust\n").lines().map(str::to_owned).collect::<Vec<_>>(),
            []
        ]);
        let rules = if file.is_empty() { json!(["local all +dba trust"]) } else { rules[0].clone() };
        let warnings = checked(FILE, json!({"state": "exact", "rules": rules}), false).unwrap().join("; ");
        assert!(warnings.contains("only the server knows whether omm is a member of role dba"), "{warnings}");
    }
    let never = "local all other trust\nhost all all all md5\n";
    checked(never, absent(json!({"type": "local"})), false).unwrap();
}

#[test]
fn what_the_server_would_refuse_is_not_written() {
    let broken = "local all all trust\nhost all all 1.1.1.1/33 trust\n";
    let error = checked(broken, json!({"rules": ["host all all 1.1.1.1/32 md5"]}), false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.failure().detail.contains("line 2, column 14: invalid CIDR mask"), "{error}");
    let warnings = checked(broken, json!({"rules": ["local all all trust"]}), false).unwrap();
    assert_eq!(warnings.len(), 1, "nothing to write: a warning only");
    let joining = "local all all trust\nhost all omm ::1 trust,\n";
    let error = checked(joining, json!({"rules": ["host all all .example.org md5"]}), false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "a comma joins the new line to a bad one: not done already");
    assert!(error.failure().detail.contains("line 2"), "{error}");
    let error =
        checked("local all all trust\n", json!({"state": "absent", "rules": [{"type": "local"}]}), true);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Refused, "a file without rules");
    let error = checked(FILE, json!({"rules": ["host all @none 1.1.1.1/32 md5"]}), false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadArgs);
    let warnings = checked(FILE, json!({"rules": ["host all all 1.1.1.1/32 gss"]}), false).unwrap();
    assert!(warnings[0].contains("gss is known only to servers built with it"));
}

#[test]
fn results_as_json() {
    let target = Target { path: "/data/dn1/pg_hba.conf".into(), node: None, user: None };
    let shown = |value: Value| {
        let plan = planned(FILE, value).unwrap();
        let rules = HbaFile::parse(text(&plan, FILE).as_bytes()).rule_count();
        let report = super::report(&target, &plan, rules, Vec::new(), false);
        assert_eq!(report.changed, !plan.is_empty());
        assert_eq!(plan.is_empty(), text(&plan, FILE) == FILE);
        json!({"msg": report.msg, "actions": report.actions, "output": report.output})
    };
    insta::assert_json_snapshot!(shown(json!({"rules": [
        {"users": "omm", "address": "192.168.0.13", "method": "trust", "comment": "dn3"},
        "host all all 127.0.0.1/32 md5"
    ]})));
    insta::assert_json_snapshot!(shown(json!({"state": "absent", "rules": [{"address": "192.168.0.12"}]})));
}

/// Rules that often meet: few types, names and addresses.
fn any_rule() -> impl Strategy<Value = String> {
    let name = || prop_oneof![Just("all"), Just("a"), Just("b"), Just("a,b"), Just("\"all\""), Just("+g")];
    let address = prop_oneof![
        Just("10.0.0.1/32"),
        Just("10.0.0.1 255.255.255.255"),
        Just("10.0.0.0/8"),
        Just("0.0.0.0/0"),
        Just("::1/128"),
        Just("all"),
        Just("h.x"),
    ];
    let method = || prop_oneof![Just("trust"), Just("md5"), Just("reject")];
    prop_oneof![
        (prop_oneof![Just("host"), Just("hostssl")], name(), name(), address, method())
            .prop_map(|(k, d, u, a, m)| format!("{k} {d}  {u}\t{a} {m}")),
        (name(), name(), method()).prop_map(|(d, u, m)| format!("local {d} {u} {m}")),
    ]
}

fn any_file() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        5 => any_rule(),
        1 => any_rule().prop_map(|r| format!("  {r}  # note")),
        1 => any_rule().prop_map(|r| format!("#{r}")),
        1 => Just(String::new()),
    ];
    (proptest::collection::vec(line, 0..12), any::<bool>())
        .prop_map(|(lines, end)| lines.join("\n") + if end { "\n" } else { "" })
}

fn any_goal() -> impl Strategy<Value = Value> {
    let rules = proptest::collection::vec(any_rule(), 1..5);
    (
        rules,
        prop_oneof![Just("present"), Just("absent"), Just("exact")],
        prop_oneof![Just("auto"), Just("first"), Just("last")],
    )
        .prop_map(|(rules, state, insert)| json!({"state": state, "rules": rules, "insert": insert}))
}

proptest! {
    #[test]
    fn applied_twice_is_applied_once(file in any_file(), value in any_goal()) {
        let Ok(first) = planned(&file, value.clone()) else { return Ok(()) };
        let once = text(&first, &file);
        let second = planned(&once, value).unwrap();
        prop_assert!(second.is_empty() && second.after.is_none(), "{:?}", second);
    }

    #[test]
    fn what_is_not_reported_is_not_touched(file in any_file(), value in any_goal()) {
        let Ok(plan) = planned(&file, value) else { return Ok(()) };
        let after = text(&plan, &file);
        let skip = |lines: Vec<usize>, text: &str| -> Vec<String> {
            text.lines().enumerate().filter(|(n, _)| !lines.contains(&(n + 1))).map(|(_, l)| l.to_owned()).collect()
        };
        let gone = plan.removed.iter().map(|l| l.number).chain(plan.updated.iter().map(|(was, _)| was.number)).collect();
        let come = plan.added.iter().map(|l| l.number).chain(plan.updated.iter().map(|(_, now)| now.number)).collect();
        prop_assert_eq!(skip(gone, &file), skip(come, &after));
    }

    #[test]
    fn what_is_wanted_is_there_afterwards(file in any_file(), value in any_goal()) {
        let Ok(plan) = planned(&file, value.clone()) else { return Ok(()) };
        let after = HbaFile::parse(text(&plan, &file).as_bytes());
        let there: Vec<og_common::hba::HbaRule> = after.rules().map(|(_, r)| r).collect();
        match parse_goal(&args(value)).unwrap().unwrap() {
            Goal::Present(wanted, place) => for one in wanted {
                let first = there.iter().find(|r| r.key() == one.rule.key());
                prop_assert!(first.is_some_and(|r| r.same_method(&one.rule)));
                if place == Place::Auto && plan.added.iter().any(|a| a.rule.as_ref() == Some(&one.rule)) {
                    let at = there.iter().position(|r| r.key() == one.rule.key()).unwrap();
                    prop_assert!(!there[..at].iter().any(|r| r.covers(&one.rule)), "a new rule is never dead");
                }
            },
            Goal::Absent(patterns) => prop_assert!(!there.iter().any(|r| patterns.iter().any(|p| p.matches_rule(r)))),
            Goal::Exact(wanted) => {
                let mut keys: Vec<_> = wanted.iter().map(|w| w.rule.key()).collect();
                let mut seen = std::collections::HashSet::new();
                keys.retain(|k| seen.insert(k.clone()));
                prop_assert_eq!(there.iter().map(og_common::hba::HbaRule::key).collect::<Vec<_>>(), keys);
                prop_assert!(there.iter().all(|r| wanted.iter().any(|w| w.rule.key() == r.key() && w.rule.same_method(r))));
            }
        }
    }

    /// Also rules whose names have any byte in them, or are words of the file.
    #[test]
    fn whatever_a_query_tells_of_a_rule_is_taken_back(
        names in proptest::collection::vec(proptest::collection::vec(prop_oneof![
            any::<u8>(), proptest::sample::select(&b" ,#\"@+:xalA"[..]),
        ], 0..6), 3),
        word in proptest::sample::select(vec!["all", "sameuser", "samehost", "+g", "@f", "1.2.3.4", "x:y", "0x1"]),
        which in 0..4usize,
    ) {
        use og_common::hba::{Address, Name};
        let mut rule = og_common::hba::HbaRule::parse("host all all all md5").unwrap();
        let name = |n: usize| if which == n { word.as_bytes().to_vec() } else { names[n].clone() };
        rule.databases = vec![Name::Named(name(0))];
        rule.users = vec![Name::Named(name(1)), Name::Role(b"g h".to_vec())];
        rule.address = Some(Address::Host(name(2).to_ascii_lowercase()));
        // What no server reads so is no rule.
        if og_common::hba::HbaRule::from_bytes(&rule.to_bytes()).as_ref() != Ok(&rule) {
            return Ok(());
        }
        let Some(fields) = og_common::hba::RuleFields::from_rule(&rule) else {
            prop_assert!(std::str::from_utf8(&rule.to_bytes()).is_err());
            return Ok(());
        };
        if rule.to_string().contains('\u{fffd}') {
            return Ok(());
        }
        let fields = serde_json::to_value(fields).unwrap();
        let back = serde_json::from_value::<RuleArg>(fields).unwrap().wanted("/rules/0").unwrap();
        prop_assert_eq!(back.rule.clone(), rule);
        prop_assert_eq!(og_common::hba::HbaRule::from_bytes(&back.line).unwrap(), back.rule);
    }

    #[test]
    fn rules_from_a_query_are_taken_back(line in any_rule()) {
        let rule = og_common::hba::HbaRule::parse(&line).unwrap();
        let fields = serde_json::to_value(og_common::hba::RuleFields::from_rule(&rule).unwrap()).unwrap();
        let back = serde_json::from_value::<RuleArg>(fields).unwrap().wanted("/rules/0").unwrap();
        prop_assert_eq!(back.rule.key(), rule.key());
        prop_assert!(back.rule.same_method(&rule));
    }
}
