#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

fn parse(value: &str) -> StandbyNames {
    StandbyNames::parse(value).unwrap()
}

fn words(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn remove(value: &str, names: &[&str]) -> String {
    parse(value)
        .edit(&StandbyNamesEdit { remove: words(names), ..StandbyNamesEdit::default() })
        .unwrap()
        .to_string()
}

fn add(value: &str, names: &[&str]) -> String {
    parse(value)
        .edit(&StandbyNamesEdit { add: words(names), ..StandbyNamesEdit::default() })
        .unwrap()
        .to_string()
}

fn with(value: &str, method: Option<SyncMethod>, number: SyncNumber) -> String {
    parse(value)
        .edit(&StandbyNamesEdit { method, number, ..StandbyNamesEdit::default() })
        .unwrap()
        .to_string()
}

#[derive(Deserialize)]
struct Recorded {
    case: String,
    added: String,
    refused: bool,
}

/// What a server said to these values at reload.
#[test]
fn takes_what_the_server_took() {
    let cases: Vec<Recorded> =
        serde_json::from_str(include_str!("../../../tests/vectors/conf/reload-standby-names.json")).unwrap();
    assert!(cases.len() > 5);
    for Recorded { case, added, refused } in cases {
        let file = crate::conf::ConfFile::parse(added.as_bytes());
        let value = file.get("synchronous_standby_names").unwrap().text().into_owned();
        assert_eq!(StandbyNames::parse(&value).is_err(), refused, "{case}");
    }
}

#[test]
fn prints_what_it_parsed() {
    let values =
        ["", "*", "a", "a,b", "2(a,b,c)", "FIRST 1(a,b)", "ANY 2(a,b)", "ANY 1(a),ANY 1(b)", "ANY 0(a)"];
    for value in values {
        assert_eq!(parse(value).to_string(), value);
    }
    assert_eq!(parse(" ANY 1 ( a , \"b c\",\"d\"\"\" ) ").to_string(), "ANY 1(a,\"b c\",\"d\"\"\")");
    assert_eq!(parse("ANY 3(*)").to_string(), "ANY 3(*)");
    assert_eq!(parse("\"ANY\",\"first\"").to_string(), "\"ANY\",\"first\"");
    assert_eq!(parse("1,2").names().collect::<Vec<_>>(), ["1", "2"]);
}

#[test]
fn the_key_words_are_taken_in_any_case() {
    for value in ["any 1(a,b)", "Any 1(a,b)", "aNY 1 (a, b)"] {
        assert_eq!(parse(value).to_string(), "ANY 1(a,b)", "{value}");
    }
    assert_eq!(parse("First 2(a,b)").to_string(), "FIRST 2(a,b)");
    assert_eq!(parse("any 1(a), Any 1(b)").to_string(), "ANY 1(a),ANY 1(b)");
    // What only begins like one is a name.
    assert_eq!(parse("anyone,first_one").to_string(), "anyone,first_one");
    assert_eq!(with("any 1(a,b,c)", Some(SyncMethod::First), SyncNumber::Exactly(2)), "FIRST 2(a,b,c)");
}

#[test]
fn refuses_what_the_server_refuses() {
    let values = [
        " ",
        ",",
        "a,",
        "a b",
        "ANY 1(",
        "ANY (a)",
        "ANY 1()",
        "any,first",
        "ANY 2(a)",
        "a,*",
        "ANY 1(*),ANY 1(a)",
        "FIRST 1(a),FIRST 1(b)",
        "ANY 1(a),FIRST 1(b)",
        "a,A",
        "ANY 1(a),ANY 1(a)",
        "ANY 1(a),b",
        "1(a),2(b)",
        "\"a",
        "a;b",
        "ANY 99999999999(a)",
    ];
    for value in values {
        assert!(StandbyNames::parse(value).is_err(), "{value}");
    }
    assert_eq!(
        StandbyNames::parse("ANY 1(a;b)").unwrap_err().to_string(),
        "';' is not expected at character 8"
    );
}

#[test]
fn removing_shrinks_the_number_to_the_members_left() {
    let cases = [
        ("ANY 1(dn_6002,dn_6003)", "ANY 1(dn_6003)"),
        ("ANY 2(dn_6002,dn_6003,dn_6004)", "ANY 2(dn_6003,dn_6004)"),
        ("ANY 2(dn_6002,dn_6003)", "ANY 1(dn_6003)"),
        ("ANY 3(dn_6002,dn_6003,dn_6004,dn_6005)", "ANY 3(dn_6003,dn_6004,dn_6005)"),
        ("ANY 1(dn_6002)", ""),
        ("FIRST 1(dn_6002,dn_6003)", "FIRST 1(dn_6003)"),
        ("2(dn_6002,dn_6003,dn_6004)", "2(dn_6003,dn_6004)"),
        ("2(DN_6002,dn_6003)", "1(dn_6003)"),
        ("ANY 1 (dn_6002, dn_6004), ANY 2 (dn_6003, dn_6005)", "ANY 1(dn_6004),ANY 2(dn_6003,dn_6005)"),
        ("ANY 1(dn_6002),ANY 2(dn_6003,dn_6005)", "ANY 2(dn_6003,dn_6005)"),
        ("dn_6002,dn_6003", "dn_6003"),
        // A name that only begins alike is another name.
        ("dn_60020,dn_6003", "dn_60020,dn_6003"),
        ("dn_6003,dn_6004", "dn_6003,dn_6004"),
        ("ANY 2(AZ1,AZ2)", "ANY 2(AZ1,AZ2)"),
        ("*", "*"),
        ("", ""),
    ];
    for (before, after) in cases {
        assert_eq!(remove(before, &["dn_6002"]), after, "{before}");
    }
    assert_eq!(remove("ANY 2(a,b,c)", &["a", "b"]), "ANY 1(c)");
    assert_eq!(remove("ANY 2(a,b,c)", &["a", "b", "c"]), "");
}

#[test]
fn adding() {
    assert_eq!(add("", &["a"]), "ANY 1(a)");
    assert_eq!(add("*", &["a"]), "*");
    assert_eq!(add("a", &["b", "B", "a"]), "a,b");
    assert_eq!(add("FIRST 1(a)", &["b c"]), "FIRST 1(a,\"b c\")");
    assert!(
        parse("ANY 1(a),ANY 1(b)")
            .edit(&StandbyNamesEdit { add: words(&["c"]), ..StandbyNamesEdit::default() })
            .is_err()
    );
    // Those already there need no place.
    assert_eq!(add("ANY 1(a),ANY 1(b)", &["b"]), "ANY 1(a),ANY 1(b)");
    let edit = StandbyNamesEdit {
        method: Some(SyncMethod::Any),
        add: words(&["a", "b"]),
        ..StandbyNamesEdit::default()
    };
    assert_eq!(parse("*").edit(&edit).unwrap().to_string(), "ANY 1(a,b)");
    assert!(
        parse("")
            .edit(&StandbyNamesEdit {
                add: words(&["a"]),
                remove: words(&["A"]),
                ..StandbyNamesEdit::default()
            })
            .is_err()
    );
    assert!(parse("").edit(&StandbyNamesEdit { add: words(&["*"]), ..StandbyNamesEdit::default() }).is_err());
}

#[test]
fn new_members_take_the_places_of_all_old_ones() {
    let replace = |value: &str, remove: &[&str], add: &[&str]| {
        let edit = StandbyNamesEdit { remove: words(remove), add: words(add), ..StandbyNamesEdit::default() };
        parse(value).edit(&edit).map(|after| after.to_string())
    };
    for (before, after) in [
        ("ANY 2(a,b)", "ANY 2(c,d)"),
        ("FIRST 2(a,b)", "FIRST 2(c,d)"),
        ("2(a,b)", "2(c,d)"),
        ("a,b", "c,d"),
        ("ANY 1(a),ANY 1(b,x)", "ANY 1(x,c,d)"),
    ] {
        assert_eq!(replace(before, &["a", "b"], &["c", "d"]).unwrap(), after, "{before}");
    }
    assert_eq!(replace("ANY 2(a,b)", &["a", "b"], &["c"]).unwrap(), "ANY 1(c)");
    // Which of the groups is kept has no answer.
    assert!(replace("ANY 1(a),ANY 1(b)", &["a", "b"], &["c", "d"]).is_err());
    assert_eq!(replace("ANY 1(a),ANY 1(b)", &["a", "b"], &[]).unwrap(), "");
}

#[test]
fn method_and_number() {
    use SyncMethod::{Any, First};
    assert_eq!(with("a,b,c", Some(Any), SyncNumber::Keep), "ANY 1(a,b,c)");
    assert_eq!(with("a,b,c", Some(First), SyncNumber::Keep), "a,b,c");
    assert_eq!(with("a,b,c", None, SyncNumber::Exactly(2)), "FIRST 2(a,b,c)");
    assert_eq!(with("2(a,b,c)", None, SyncNumber::Exactly(3)), "3(a,b,c)");
    assert_eq!(with("ANY 1(a,b,c)", Some(First), SyncNumber::Exactly(9)), "FIRST 3(a,b,c)");
    assert_eq!(with("*", Some(Any), SyncNumber::Exactly(2)), "ANY 2(*)");
    let majority = |value| with(value, Some(Any), SyncNumber::Majority);
    assert_eq!(majority("a"), "ANY 1(a)");
    assert_eq!(majority("a,b"), "ANY 1(a,b)");
    assert_eq!(majority("a,b,c"), "ANY 2(a,b,c)");
    assert_eq!(majority("a,b,c,d"), "ANY 2(a,b,c,d)");
    assert_eq!(majority("a,b,c,d,e"), "ANY 3(a,b,c,d,e)");
}

fn value() -> impl Strategy<Value = String> {
    let names = proptest::sample::subsequence(
        vec!["a", "b", "c", "dn_6001", "\"x y\"", "\"q\"\"\"", "9", "\"any\""],
        1..7,
    );
    prop_oneof![
        Just(String::new()),
        Just("*".to_owned()),
        names.clone().prop_map(|names| names.join(", ")),
        (names.clone(), 0_usize..9, "(ANY |FIRST |any |First |)").prop_map(|(names, number, method)| {
            format!("{method}{}({})", number.min(names.len()), names.join(","))
        }),
        (names, 1_usize..6).prop_filter_map("two groups", |(names, at)| {
            let (one, other) = names.split_at_checked(at).filter(|(_, other)| !other.is_empty())?;
            Some(format!("ANY 1({}), ANY {}({})", one.join(","), other.len(), other.join(",")))
        }),
    ]
}

fn edit() -> impl Strategy<Value = StandbyNamesEdit> {
    let name = || proptest::sample::select(vec!["a", "B", "c", "new", "x y", "dn_6001", "dn_60"]);
    let names = move || proptest::collection::vec(name().prop_map(str::to_owned), 0..4);
    let method = prop_oneof![Just(None), Just(Some(SyncMethod::Any)), Just(Some(SyncMethod::First))];
    let number = prop_oneof![
        Just(SyncNumber::Keep),
        Just(SyncNumber::Majority),
        (1_u32..6).prop_map(SyncNumber::Exactly)
    ];
    (method, number, names(), names()).prop_map(|(method, number, add, remove)| StandbyNamesEdit {
        method,
        number,
        add,
        remove,
    })
}

proptest! {
    #[test]
    fn printed_and_parsed_again_it_is_the_same(value in value()) {
        let parsed = parse(&value);
        prop_assert_eq!(parse(&parsed.to_string()), parsed);
    }

    #[test]
    fn an_edit_gives_a_value_the_server_takes_and_is_done_once(value in value(), edit in edit()) {
        let Ok(after) = parse(&value).edit(&edit) else { return Ok(()) };
        prop_assert_eq!(&parse(&after.to_string()), &after);
        prop_assert_eq!(&after.edit(&edit).unwrap(), &after);
        for group in &after.groups {
            prop_assert!(after.is_star() || group.count() as usize <= group.members.len());
        }
        for name in &edit.remove {
            prop_assert!(!after.names().any(|left| left.eq_ignore_ascii_case(name)));
        }
        for name in &edit.add {
            prop_assert!(after.is_star() || after.names().any(|left| left.eq_ignore_ascii_case(name)));
        }
    }

    #[test]
    fn never_panics(value in ".{0,40}") {
        let _ = StandbyNames::parse(&value);
    }
}

#[test]
fn commits_wait_for_as_many_as_each_group_wants() {
    let missing = |value: &str, streaming: &[&str]| {
        let streaming: Vec<String> = streaming.iter().map(|name| (*name).to_owned()).collect();
        StandbyNames::parse(value).unwrap().missing(&streaming)
    };
    for (value, streaming, waits) in [
        ("", &[][..], false),
        ("*", &[], true),
        ("*", &["x"], false),
        ("a,b", &["B"], false),
        ("a,b", &["c"], true),
        ("ANY 2(a,b)", &["a", "c"], true),
        ("ANY 2(a,b)", &["a", "b"], false),
        ("FIRST 2(a,b,c)", &["a", "c"], false),
        ("2(*)", &["a"], true),
        ("ANY 1(a,b),ANY 1(c,d)", &["b", "a"], true),
        ("ANY 1(a,b),ANY 1(c,d)", &["a", "d"], false),
    ] {
        assert_eq!(missing(value, streaming).is_some(), waits, "{value} {streaming:?}");
    }
    assert_eq!(missing("ANY 2(a,b)", &["a"]).unwrap(), "2 of a, b must confirm each, and of these a streams");
}
