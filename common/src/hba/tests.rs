#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

const VERDICTS: &str = include_str!("../../../tests/vectors/hba/verdicts.json");
const ODD: &str = include_str!("../../../tests/vectors/hba/odd.json");

#[test]
fn verdicts_are_those_of_a_real_server() {
    let cases: Vec<serde_json::Value> = serde_json::from_str(VERDICTS).unwrap();
    assert!(cases.len() > 70);
    let mut around = Surroundings::default();
    let token = |text: &str| Token { text: text.into(), quoted: false };
    around.included.insert(b"users.lst".to_vec(), Some(vec![token("mk"), token("omm")]));
    around.included.insert(b"nosuch.lst".to_vec(), None);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let file = HbaFile::parse(case["text"].as_str().unwrap().as_bytes());
        let ours = file.refusals(&around);
        let recorded: Vec<(u64, &str)> = case["errors"].as_array().map_or(Vec::new(), |errors| {
            errors.iter().map(|e| (e["line"].as_u64().unwrap(), e["message"].as_str().unwrap())).collect()
        });
        let build = file.rules().any(|(_, r)| r.method.depends_on_build());
        assert_eq!(ours.is_empty() && !build, case["accepted"].as_bool().unwrap(), "{name}: {ours:?}");
        // The recorded build knows fewer methods than others do, and what an @file lacks has other words here.
        let other_words = recorded.iter().any(|(_, m)| m.ends_with("not supported by this build"));
        if other_words || name.starts_with("at_") || recorded.is_empty() {
            continue;
        }
        let ours: Vec<(u64, &str)> = ours.iter().map(|r| (r.line as u64, r.message.as_str())).collect();
        assert_eq!(ours, recorded, "{name}");
    }
}

/// Lines put together at random, and what a real server made of them.
#[test]
fn verdicts_on_odd_lines_are_those_of_a_real_server() {
    let cases: Vec<serde_json::Value> = serde_json::from_str(ODD).unwrap();
    assert!(cases.len() > 50 && cases.iter().any(|c| c["accepted"] == true));
    for case in cases {
        let text = case["text"].as_str().unwrap();
        let refusals = HbaFile::parse(text.as_bytes()).refusals(&Surroundings::default());
        assert_eq!(refusals.is_empty(), case["accepted"].as_bool().unwrap(), "{text:?}: {refusals:?}");
    }
}

#[test]
fn long_lines_pass_and_long_tokens_do_not() {
    let users = |n: usize| (0..n).map(|i| format!("u{i:04}")).collect::<Vec<_>>().join(",");
    for n in [700, 1400, 3400] {
        let line = format!("host all {} 127.0.0.1/32 sha256\n#{}\n", users(n), "x".repeat(20_000));
        assert_eq!(HbaFile::parse(line.as_bytes()).refusals(&Surroundings::default()), []);
    }
    let line = format!("local all all peer map={}\n", "x".repeat(255));
    let refusals = HbaFile::parse(line.as_bytes()).refusals(&Surroundings::default());
    assert_eq!((refusals[0].line, refusals[0].column), (1, 20), "the server would cut it short");
}

#[test]
fn refusals_say_where() {
    let file = HbaFile::parse(b"# x\nlocal all all trust\nhost all all 1.2.3.4/33 trust\n\nhost all\n");
    let refusals: Vec<String> =
        file.refusals(&Surroundings::default()).iter().map(ToString::to_string).collect();
    assert_eq!(
        refusals,
        [
            "line 3, column 14: invalid CIDR mask in address \"1.2.3.4/33\"",
            "line 5, column 9: end-of-line before role specification"
        ]
    );
    let empty = HbaFile::parse(b"# nothing\n").refusals(&Surroundings::default());
    assert_eq!(empty[0].to_string(), "it contains no entries");
}

#[test]
fn a_joined_line_counts_as_the_lines_it_is_made_of() {
    let file = HbaFile::parse(b"host all a,\n10.0.0.1/33 trust\nlocal all all trust\n");
    assert_eq!(file.lines().len(), 2);
    assert_eq!(file.number(1), 3);
    assert_eq!(file.refusals(&Surroundings::default())[0].line, 2);
}

#[test]
fn identity_is_by_value() {
    let same = |a: &str, b: &str| HbaRule::parse(a).unwrap().key() == HbaRule::parse(b).unwrap().key();
    for (a, b) in [
        ("host all all 10.0.0.5/32 trust", "host\tall all 10.0.0.5 255.255.255.255 md5 # x"),
        ("host a,b all 10.1.2.3/8 trust", "host b, a,a all 10.0.0.0/8 trust"),
        ("host all all FE80::1/128 trust", "host all all fe80:0:0::1/128 trust"),
        ("host all all Some.Host trust", "host all all some.host trust"),
        ("host samerole u all trust", "host samegroup u all trust"),
    ] {
        assert!(same(a, b), "{a} | {b}");
    }
    for (a, b) in [
        ("host all all 192.168.0.1/32 trust", "host all all 192.168.0.12/32 trust"),
        ("host all \"all\" 10.0.0.5/32 trust", "host all all 10.0.0.5/32 trust"),
        ("host all Omm 10.0.0.5/32 trust", "host all omm 10.0.0.5/32 trust"),
        ("host all all 0.0.0.0/0 trust", "host all all all trust"),
        ("host all all ::ffff:1.2.3.4/128 trust", "host all all 1.2.3.4/32 trust"),
        ("host all all 1.2.3.4/32 trust", "hostssl all all 1.2.3.4/32 trust"),
    ] {
        assert!(!same(a, b), "{a} | {b}");
    }
}

#[test]
fn options_are_checked_as_the_server_does() {
    for good in [
        "hostssl all all all cert clientcert=1 map=x",
        "host all all all ldap ldapserver=h ldapprefix=cn=",
        "host all all all ldap ldapserver=h ldapbasedn=\"dc=x, dc=y\" ldapport=389",
        "local all all peer map=m",
        "host all all all gss include_realm=1 krb_realm=X",
    ] {
        HbaRule::parse(good).unwrap_or_else(|p| panic!("{good}: {p:?}"));
    }
    for bad in [
        "hostssl all all all cert clientcert=0",
        "host all all all sha256 clientcert=1",
        "host all all all ldap",
        "host all all all ldap ldapserver=h",
        "host all all all ldap ldapserver=h ldapprefix=a ldapbasedn=b",
        "host all all all ldap ldapserver=h ldapprefix=a ldapport=x",
        "host all all all md5 map=m",
        "host all all all trust,md5",
        "host,local all all all trust",
        "host all all 1.1.1.1/32,2.2.2.2/32 trust",
        "host all all 1.1.1.1 ::1 trust",
        "host all all @file trust",
    ] {
        assert!(HbaRule::parse(bad).is_err(), "{bad}");
    }
}

fn decide(file: &str, route: &str, database: &str, user: &str, replication: bool) -> (Option<usize>, usize) {
    let file = HbaFile::parse(file.as_bytes());
    let route = match route {
        "local" => Route::Local,
        client => Route::Tcp { client: client.parse().unwrap(), ssl: false },
    };
    let mut around = Surroundings::default();
    let ip = |s: &str| s.parse::<IpAddr>().unwrap();
    around.interfaces.push((ip("10.55.0.11"), ip("255.255.255.0")));
    let token = |text: &str, quoted| Token { text: text.into(), quoted };
    let list = vec![token("omm", false), token("all", true)];
    around.included.insert(b"list".to_vec(), Some(list));
    let connection = Connection { route, database: database.as_bytes(), user: user.as_bytes(), replication };
    let decision = file.decide(&connection, &around);
    (decision.line.map(|i| file.number(i)), decision.unknown.len())
}

#[test]
fn the_first_line_that_matches_decides() {
    let first = |file: &str, route, database, user| decide(file, route, database, user, false);
    let file = "# x\nlocal all all trust\nhost all mk 127.0.0.1/32 reject\nhost all all 127.0.0.1/32 md5\n";
    assert_eq!(first(file, "local", "postgres", "omm"), (Some(2), 0));
    assert_eq!(first(file, "127.0.0.1", "postgres", "mk"), (Some(3), 0));
    assert_eq!(first(file, "127.0.0.1", "postgres", "MK"), (Some(4), 0), "case counts");
    assert_eq!(first(file, "127.0.0.2", "postgres", "mk"), (None, 0));
    assert_eq!(first("host sameuser all all md5\n", "1.1.1.1", "mk", "mk"), (Some(1), 0));
    assert_eq!(first("host sameuser all all md5\n", "1.1.1.1", "postgres", "mk"), (None, 0));
    assert_eq!(first("host all \"all\" all md5\n", "1.1.1.1", "postgres", "mk"), (None, 0));
    assert_eq!(first("host all +grp all md5\nhost all all all md5\n", "1.1.1.1", "d", "mk"), (Some(2), 1));
    assert_eq!(first("host all +grp,mk all md5\n", "1.1.1.1", "d", "mk"), (Some(1), 0));
    assert_eq!(first("host all all h.example md5\n", "1.1.1.1", "d", "mk"), (None, 1));
    assert_eq!(first("host all all samehost md5\n", "10.55.0.11", "d", "mk"), (Some(1), 0));
    assert_eq!(first("host all all samehost md5\n", "10.55.0.12", "d", "mk"), (None, 0));
    assert_eq!(first("host all all samenet md5\n", "10.55.0.12", "d", "mk"), (Some(1), 0));
    assert_eq!(first("hostssl all all all md5\n", "10.55.0.12", "d", "mk"), (None, 0));
    assert_eq!(first("hostnossl all all all md5\n", "10.55.0.12", "d", "mk"), (Some(1), 0));
    assert_eq!(first("host all @list all md5\n", "10.55.0.12", "d", "omm"), (Some(1), 0));
    assert_eq!(
        first("host all @list all md5\n", "10.55.0.12", "d", "mk"),
        (None, 0),
        "the list's \"all\" is a name"
    );
}

#[test]
fn an_odd_host_is_printed_so_that_it_is_read_again() {
    let file = "host all all \"\" md5\nhost all all \"a b\" md5\nhost all all \"all\" md5\nhostssl all zz \x00\x00127.0.0.1/32 cert\n";
    let file = HbaFile::parse(file.as_bytes());
    assert_eq!(file.rules().count(), 4);
    for (_, rule) in file.rules() {
        assert_eq!(HbaRule::from_bytes(&rule.to_bytes()), Ok(rule));
    }
}

#[test]
fn trust_means_less_than_it_says() {
    let limit = |line: &str, route: &str, user: &str| {
        let route = match route {
            "local" => Route::Local,
            client => Route::Tcp { client: client.parse().unwrap(), ssl: false },
        };
        let (database, replication) = (&b"postgres"[..], false);
        let connection = Connection { route, database, user: user.as_bytes(), replication };
        limit_of_trust(&HbaRule::parse(line).unwrap(), &connection, Some("omm")).unwrap_or_default()
    };
    assert!(limit("local all all trust", "local", "omm").contains("operating system's user"));
    assert!(limit("local all all trust", "local", "app").contains("asks app for a password"));
    assert!(limit("local all all peer", "local", "app").contains("asks app for a password"));
    assert!(limit("host all all all trust", "::1", "omm").contains("loopback"));
    assert!(limit("host all all all trust", "10.0.0.5", "omm").contains("Forbid remote connection"));
    for (line, route) in [
        ("local all all peer", "local"),
        ("local all all sha256", "local"),
        ("host all all all sha256", "127.0.0.1"),
        ("host all all all reject", "10.0.0.5"),
    ] {
        assert_eq!(limit(line, route, "omm"), "", "{line}");
    }
}

#[test]
fn replication_and_databases_are_apart() {
    let file = "host all all all md5\nhost replication rep all trust\n";
    assert_eq!(decide(file, "10.0.0.1", "x", "rep", true), (Some(2), 0));
    assert_eq!(decide(file, "10.0.0.1", "x", "omm", true), (None, 0));
    assert_eq!(decide("host replication all all md5\n", "1.1.1.1", "replication", "u", false), (None, 0));
    assert_eq!(
        decide("host \"replication\" all all md5\n", "1.1.1.1", "replication", "u", false),
        (Some(1), 0)
    );
}

#[test]
fn what_covers_what() {
    let rule = |line: &str| HbaRule::parse(line).unwrap();
    for (wide, narrow) in [
        ("host all all 0.0.0.0/0 reject", "host all omm 10.0.0.5/32 trust"),
        ("host all all all md5", "hostssl db u samenet cert"),
        ("host a,b all all md5", "host b all fe80::/64 md5"),
        ("host all all .example.org md5", "host all all a.example.org md5"),
        ("local all all trust", "local a,sameuser +g trust"),
        ("host replication all all md5", "host replication u 1.1.1.1/32 md5"),
    ] {
        assert!(rule(wide).covers(&rule(narrow)), "{wide} | {narrow}");
        assert!(!rule(narrow).covers(&rule(wide)), "{narrow} | {wide}");
    }
    for (a, b) in [
        ("host all all all md5", "host replication u 1.1.1.1/32 md5"),
        ("host all all all md5", "host all,replication u 1.1.1.1/32 md5"),
        ("hostssl all all all md5", "host all u 1.1.1.1/32 md5"),
        ("host all u all md5", "host all +u all md5"),
        ("host all all 0.0.0.0/0 md5", "host all all samehost md5"),
        ("local all all trust", "host all all 127.0.0.1/32 trust"),
    ] {
        assert!(!rule(a).covers(&rule(b)), "{a} | {b}");
    }
}

/// Lines of all sorts, good and bad.
fn any_line() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("all".to_owned()),
        Just("\"all\"".to_owned()),
        Just("replication".to_owned()),
        Just("+grp".to_owned()),
        Just("a,b".to_owned()),
        Just("\"x y\"".to_owned()),
        "[a-z]{1,3}",
    ];
    let address = prop_oneof![
        (any::<u32>(), 0u32..34).prop_map(|(a, b)| format!("{}/{b}", std::net::Ipv4Addr::from_bits(a))),
        (0u32..4, 8u32..33).prop_map(|(a, b)| format!("10.0.0.{a}/{b}")),
        Just("10.0.0.0 255.0.0.255".to_owned()),
        Just("all".to_owned()),
        Just("samenet".to_owned()),
        Just("h.example".to_owned()),
        any::<u128>().prop_map(|a| format!("{}/64", std::net::Ipv6Addr::from_bits(a))),
    ];
    let kind = prop_oneof![Just("host"), Just("hostssl"), Just("hostnossl")];
    prop_oneof![
        (kind, word.clone(), word.clone(), address)
            .prop_map(|(k, d, u, a)| format!("{k} {d}\t{u}   {a} md5 # c")),
        (word.clone(), word).prop_map(|(d, u)| format!("local {d} {u} trust")),
        Just("# comment".to_owned()),
        Just(String::new()),
    ]
}

proptest! {
    #[test]
    fn printing_is_lossless(bytes in proptest::collection::vec(
        prop_oneof![Just(b'\n'), Just(b'#'), Just(b','), Just(b'"'), Just(b' '), any::<u8>()], 0..300))
    {
        prop_assert_eq!(HbaFile::parse(&bytes).to_bytes(), bytes);
    }

    #[test]
    fn what_a_rule_prints_reads_back_as_itself(line in any_line()) {
        if let Ok(rule) = HbaRule::parse(&line) {
            let again = HbaRule::parse(&rule.to_string()).map_err(|p| TestCaseError::fail(format!("{rule}: {p:?}")))?;
            prop_assert_eq!(&again, &rule);
        }
    }

    /// The quick reading of common lines and the scanner's are the same.
    #[test]
    fn quick_lines_are_read_as_the_scanner_reads_them(
        lines in proptest::collection::vec(any_line(), 0..12),
        cut in any::<proptest::sample::Index>(),
        byte in proptest::sample::select(&b" \t\r\n\0#,\"@+.:/0123456789alhostx-\xff"[..]),
    ) {
        let mut bytes = lines.join("\n").into_bytes();
        bytes.insert(cut.index(bytes.len() + 1), byte);
        let (quick, slow) = (HbaFile::read(bytes.clone(), true), HbaFile::read(bytes.clone(), false));
        prop_assert_eq!(quick.lines().len(), slow.lines().len());
        for (index, (mine, its)) in quick.lines().iter().zip(slow.lines()).enumerate() {
            prop_assert_eq!((quick.line(index), mine.number()), (slow.line(index), its.number()));
            match (&mine.kind, &its.kind) {
                (LineKind::Rule(mine), LineKind::Rule(its)) => {
                    let bare = |brief: &Brief| Brief { words: None, ..*brief };
                    prop_assert_eq!(bare(mine), bare(its));
                    let rule = quick.rule(index).unwrap();
                    prop_assert_eq!(&Some(rule.clone()), &slow.rule(index));
                    prop_assert!(quick.may_have_identity(index, mine, &rule));
                    if let Some([database, user]) = quick.words(index, mine) {
                        prop_assert!(rule.databases[0].is_word(Column::Databases, database));
                        prop_assert!(rule.users[0].is_word(Column::Users, user));
                    }
                }
                (mine, its) => prop_assert_eq!(mine, its),
            }
        }
    }

    #[test]
    fn the_index_finds_what_a_search_finds(lines in proptest::collection::vec(any_line(), 0..30), line in any_line()) {
        let file = HbaFile::parse(lines.join("\n").as_bytes());
        let around = Surroundings::default();
        if let Ok(rule) = HbaRule::parse(&line) {
            let rules: Vec<(usize, HbaRule)> = file.rules().collect();
            let mut index = CoverIndex::default();
            for (n, rule) in &rules {
                index.add(*n, rule);
            }
            let mut found = index.find_covering(&rule, &around);
            found.sort_unstable();
            let all: Vec<usize> = rules.iter().filter(|(_, r)| r.covers(&rule)).map(|(i, _)| *i).collect();
            prop_assert_eq!(&found, &all);
            prop_assert!(all.is_empty() || index.may_cover(&Brief::from(&rule)));
            // Of lines that decide all of it by themselves, hiding finds the first, or an earlier one that ends it.
            let hidden = file.find_hidden(&[(&rule, file.lines().len())], &around);
            if let Some(first) = all.first() {
                prop_assert!(hidden[0].line.is_some_and(|line| line <= *first));
            }
        }
    }
}
