#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

mod oracle;

const INITDB: &[u8] = include_bytes!("../../../tests/vectors/conf/initdb-postgresql.conf");

fn after(text: &str, edit: impl FnOnce(&mut ConfFile)) -> String {
    let mut file = ConfFile::parse(text.as_bytes());
    edit(&mut file);
    String::from_utf8(file.to_bytes()).unwrap()
}

fn set(text: &str, name: &str, value: &str) -> String {
    after(text, |file| {
        file.set(name, value).unwrap();
    })
}

fn value(text: &str, name: &str) -> Option<String> {
    ConfFile::parse(text.as_bytes()).get(name).map(|setting| setting.text().into_owned())
}

#[derive(Deserialize)]
struct Recorded {
    case: String,
    added: String,
    syntax: String,
    near: Option<String>,
    #[serde(default)]
    show: std::collections::BTreeMap<String, String>,
}

/// What a server said when each of these texts was added to its file and it was told to reload.
#[test]
fn reads_syntax_as_the_server_did() {
    let cases: Vec<Recorded> =
        serde_json::from_str(include_str!("../../../tests/vectors/conf/reload-syntax.json")).unwrap();
    assert!(cases.len() > 20);
    for Recorded { case, added, syntax, near, show } in cases {
        let file = ConfFile::parse(added.as_bytes());
        let errors = file.errors();
        assert_eq!(errors.is_empty(), syntax == "accepted", "{case}: {errors:?}");
        if let Some(near) = near {
            let near = near.replace('\0', "");
            assert!(
                errors[0].message.replace('\0', "").ends_with(&near),
                "{case}: {} / {near}",
                errors[0].message
            );
        }
        // Values that took effect as written, but for the unit that the server adds.
        for (name, shown) in show {
            let Some(setting) = file.get(&name).filter(|_| syntax == "accepted") else { continue };
            let (read, shown) = (setting.text().replace(' ', ""), shown.replace(' ', ""));
            let refused = [
                "bad_value_reload",
                "units_lower",
                "bad_range",
                "dup_postmaster",
                "include_missing",
                "unknown_param",
            ]
            .contains(&case.as_str());
            assert!(refused || shown.starts_with(&read), "{case}: {name} is {shown}, we read {read}");
        }
    }
}

#[test]
fn the_initdb_file_is_sound_and_comes_out_as_it_went_in() {
    let file = ConfFile::parse(INITDB);
    assert_eq!(file.errors(), []);
    assert_eq!(file.to_bytes(), INITDB);
    assert_eq!(file.get("synchronous_standby_names").unwrap().text(), "*");
    assert_eq!(file.get("PORT").unwrap().line, 73);
}

#[test]
fn a_change_keeps_spacing_and_comment() {
    let text =
        "  port   =  5432   # my comment\n#port = 1\nPort=7\nmax_connections 50\n\twork_mem='4MB'#c\n\n# end";
    insta::assert_snapshot!(
        after(text, |file| {
            assert!(file.set("port", "6000").unwrap());
            assert!(file.set("work_mem", "8MB").unwrap());
            assert!(file.set("max_connections", "60").unwrap());
            assert!(file.set("application_name", "dn_6001").unwrap());
        }),
        @r"
      port   =  5432   # my comment
    #port = 1
    Port=6000
    max_connections = 60
    	work_mem='8MB'#c

    # end
    application_name = 'dn_6001'
    "
    );
}

#[test]
fn a_new_line_goes_below_the_commented_default_and_its_comment() {
    let text = "#listen_addresses = 'localhost'\t# what to listen on;\n\t\t\t# comma-separated\n#port = 1\n";
    assert_eq!(
        set(text, "listen_addresses", "*"),
        "#listen_addresses = 'localhost'\t# what to listen on;\n\t\t\t# comma-separated\nlisten_addresses = '*'\n#port = 1\n"
    );
    assert_eq!(set("#a = 1\r\n#b = 2\r\n", "a", "3"), "#a = 1\r\na = 3\r\n#b = 2\r\n");
    assert_eq!(set("#a = 1", "a", "3"), "#a = 1\na = 3\n");
    assert_eq!(set("", "a", "3"), "a = 3\n");
    assert_eq!(set("# about a = b\n", "a", "3"), "# about a = b\na = 3\n");
}

#[test]
fn the_last_line_is_not_lost() {
    assert_eq!(set("a = 1\n# end", "b", "2"), "a = 1\n# end\nb = 2\n");
    assert_eq!(set("port=1", "port", "2"), "port=2");
}

#[test]
fn unset_takes_all_occurrences_and_keeps_comments() {
    let text = "a = 1\nb = 2\nA = 3 # why\n a 4\n";
    assert_eq!(
        after(text, |file| assert!(file.unset("a"))),
        "b = 2\n#A = 3 # why\n a 4\n".replace(" a 4", " #a 4")
    );
    assert_eq!(after("#a = 0\na = 1\na = 2\n", |file| assert!(file.unset("a"))), "#a = 0\n");
    assert_eq!(after("a = 1\na = 2\n", |file| assert!(file.unset("a"))), "#a = 2\n");
    assert_eq!(after("#a = 1\n", |file| assert!(!file.unset("a"))), "#a = 1\n");
}

#[test]
fn setting_and_unsetting_in_turn_does_not_let_the_file_grow() {
    let text = "#a = 1 # default\n";
    let once = after(&set(text, "a", "2"), |file| assert!(file.unset("a")));
    assert_eq!(once, text);
    let once = after(&set("", "a", "2"), |file| assert!(file.unset("a")));
    assert_eq!(after(&set(&once, "a", "2"), |file| assert!(file.unset("a"))), once);
}

#[test]
fn quotes_are_kept_or_chosen() {
    assert_eq!(set("a = 'x'\n", "a", "it's \\ #1"), "a = 'it''s \\\\ #1'\n");
    assert_eq!(value(&set("", "a", "it's \\ #1"), "a").unwrap(), "it's \\ #1");
    assert_eq!(set("wal_level = minimal\n", "wal_level", "hot_standby"), "wal_level = hot_standby\n");
    assert_eq!(set("dir = pg_log\n", "dir", "/var/log"), "dir = '/var/log'\n");
    // The server does not take a bare a.b for a value, nor does it take a bare empty one.
    assert_eq!(set("dir = pg_log\n", "dir", "a.b"), "dir = 'a.b'\n");
    assert_eq!(set("", "a", ""), "a = ''\n");
    assert_eq!(set("", "a", "64MB"), "a = 64MB\n");
    assert_eq!(set("", "a", "1.5"), "a = 1.5\n");
    assert_eq!(set("", "a", "off"), "a = off\n");
    assert_eq!(set("", "a", "1.2.3.4"), "a = '1.2.3.4'\n");
    // Some scanners take a fraction with a unit for one token, others do not.
    for value in ["1.5GB", ".log", "5.x", ".kB", ".5", "5.", "+.5", "1.e3", "."] {
        assert_eq!(set("", "a", value), format!("a = '{value}'\n"));
        assert_eq!(set("a = 7\n", "a", value), format!("a = '{value}'\n"));
    }
    assert_eq!(set("a = 7\n", "a", "-0.25"), "a = -0.25\n");
}

#[test]
fn a_name_may_have_a_dot() {
    // As initdb of 5.0 and 6.0 writes it.
    let text = "#dolphin.nulls_minimal_policy = off\ndolphin.nulls_minimal_policy = on\n";
    assert_eq!(value(text, "Dolphin.Nulls_Minimal_Policy").as_deref(), Some("on"));
    let off = set(text, "dolphin.nulls_minimal_policy", "off");
    assert_eq!(off, "#dolphin.nulls_minimal_policy = off\ndolphin.nulls_minimal_policy = off\n");
    let unset = after(&off, |file| assert!(file.unset("dolphin.nulls_minimal_policy")));
    assert_eq!(unset, "#dolphin.nulls_minimal_policy = off\n");
}

#[test]
fn a_byte_order_mark_is_told() {
    for text in ["\u{feff}port = 5432\n", "\u{feff}# comment\n", "\u{feff}"] {
        let file = ConfFile::parse(text.as_bytes());
        assert_eq!(file.to_bytes(), text.as_bytes());
        let error = file.require_valid(Path::new("/d/postgresql.conf")).unwrap_err();
        assert!(error.failure().detail.contains("line 1, column 1: a byte order mark"), "{error}");
    }
}

#[test]
fn escapes_are_read_as_the_server_reads_them() {
    assert_eq!(value(r"a = 'x\ty\101\\z\q'", "a").unwrap(), "x\tyA\\zq");
    assert_eq!(value(r"a = 'x\0y'", "a").unwrap(), "x");
    assert_eq!(value("a = ''''", "a").unwrap(), "'");
    assert_eq!(value(r"a = '\777'", "a").unwrap(), "\u{fffd}");
}

#[test]
fn errors_have_line_and_column() {
    let file = ConfFile::parse(b"a = 1\nb = 'x\n  c = d.e\nf =\ng = 1 2\n7 = 8\n\xef\xbb\xbf# x\n");
    let at: Vec<_> = file.errors().into_iter().map(|e| (e.line, e.column, e.message)).collect();
    insta::assert_debug_snapshot!(at, @r#"
    [
        (
            2,
            5,
            "syntax error near token \"'\"",
        ),
        (
            3,
            7,
            "syntax error near token \"d.e\"",
        ),
        (
            4,
            4,
            "syntax error near end of line",
        ),
        (
            5,
            7,
            "syntax error near token \"2\"",
        ),
        (
            6,
            1,
            "syntax error near token \"7\"",
        ),
        (
            7,
            7,
            "syntax error near end of line",
        ),
    ]
    "#);
    let error = file.require_valid(Path::new("/d/postgresql.conf")).unwrap_err();
    assert_eq!(error.kind(), crate::base::ErrorKind::Corrupt);
    assert!(error.failure().detail.contains("line 2, column 5"), "{error}");
}

#[test]
fn includes_are_no_settings() {
    let file = ConfFile::parse(b"include 'a.conf'\nInclude_If_Exists = 'b.conf'\na = 1\n");
    assert_eq!(file.includes().map(|s| s.text().into_owned()).collect::<Vec<_>>(), ["a.conf", "b.conf"]);
    assert_eq!(file.settings().count(), 1);
    assert!(file.clone().set("include", "x").is_err());
    assert!(!file.clone().unset("include"));
}

#[test]
fn names_and_values_are_checked() {
    let mut file = ConfFile::default();
    for name in ["", "7a", "a b", "a.b.c", "a-b", "a=", "größe", ".a", "a.", "a\nb"] {
        assert!(file.set(name, "1").is_err(), "{name}");
    }
    for value in ["a\nb", "a\0b", "a\rb"] {
        assert!(file.set("a", value).is_err(), "{value:?}");
    }
    assert!(file.set("foo.bar", "1").unwrap());
}

#[test]
fn same_values() {
    let same = [
        ("on", "true"),
        ("ON", "yes"),
        ("0", "off"),
        ("7MB", "7 MB"),
        ("1.0", "1"),
        ("+5", "5"),
        ("0.5", ".5"),
    ];
    for (one, other) in same {
        assert!(is_same_value(one.as_bytes(), other.as_bytes()), "{one} {other}");
    }
    let different = [
        ("on", "off"),
        ("7MB", "7mb"),
        ("7MB", "7168kB"),
        ("0700", "700"),
        ("a", "A"),
        ("", "0"),
        ("9007199254740993", "9007199254740992"),
        ("1.2.3.4", "1.2.3.40"),
        ("abc", "abd"),
        ("2", "on"),
    ];
    for (one, other) in different {
        assert!(!is_same_value(one.as_bytes(), other.as_bytes()), "{one} {other}");
    }
}

/// Text that has the shape of a configuration, with all the ways to go wrong.
fn conf_text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => "(#? ?)(port|Port|a|b_c|x\\.y|include)[ \t]*(=|)[ \t]*('([^'\n\\\\]|''|\\\\[a-z0-7'])*'|[0-9]{1,4}(MB)?|[a-z]+|on)[ \t]*(#[^\n]*)?".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
    ];
    let end = prop_oneof![Just(&b"\n"[..]), Just(&b"\r\n"[..])];
    (proptest::collection::vec((piece, end), 0..12), any::<bool>()).prop_map(|(lines, ended)| {
        let mut text: Vec<u8> =
            lines.into_iter().flat_map(|(line, end)| [line, end.to_vec()].concat()).collect();
        if !ended {
            while text.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
                text.pop();
            }
        }
        text
    })
}

/// Lines out of the pieces of which tokens are made, in any order.
fn token_soup() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => "port|a|B_c|x\\.y|include|on|kB|e|E|x|0x1F|[0-9]{1,2}".prop_map(String::into_bytes),
        4 => "[ \t=.'#+:/_-]|''|\\\\".prop_map(String::into_bytes),
        1 => "\\\\[a-z0-7'\\\\]|\r|\x0b|\"|,|é".prop_map(String::into_bytes),
        1 => proptest::collection::vec(1_u8..=255, 1..3),
        1 => Just(b"\n".to_vec()),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// Values with the shapes that a scanner may take for something else.
fn a_value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[^\n\r\\x00]{0,20}",
        "[+-]?[0-9]{0,3}\\.?[0-9]{0,2}([eE][+-]?[0-9]?)?[a-zA-Z]{0,2}",
        "(0x)?[0-9a-fA-F]{1,3}[ .:/_-]?[a-zA-Z]{0,3}",
        "[a-zA-Z_.:/'\\\\# -]{0,6}",
    ]
}

/// What we read is what the scanner reads; a byte order mark and a NUL are told, whatever it makes of them.
fn agrees(text: &[u8]) -> Result<(), TestCaseError> {
    let file = ConfFile::parse(text);
    let read = oracle::read(text);
    let errors: Vec<_> = file.errors().into_iter().map(|error| error.line).collect();
    let ours: Vec<_> = file.active_settings(|_| true).map(|s| (s.name, s.value, s.line)).collect();
    let theirs: Vec<_> = read
        .settings
        .into_iter()
        .map(|(name, value, line)| (String::from_utf8_lossy(&name).into_owned(), value, line))
        .collect();
    if !text.starts_with(BYTE_ORDER_MARK) {
        prop_assert_eq!(errors, read.errors, "{}", text.escape_ascii());
        prop_assert_eq!(ours, theirs, "{}", text.escape_ascii());
    }
    Ok(())
}

proptest! {
    #[test]
    fn we_read_what_the_servers_scanner_reads(text in prop_oneof![token_soup(), conf_text().prop_filter("a NUL is ours to refuse", |t| !t.contains(&0))]) {
        agrees(&text)?;
    }

    #[test]
    fn the_servers_scanner_reads_back_what_we_write(value in a_value(), old in prop_oneof![
        Just(""), Just("a = 7\n"), Just("a 7\n"), Just("a = 'x'# c\n"), Just("a=x\n"), Just("#a = 1"), Just("a=x-y\r\n")
    ]) {
        let mut file = ConfFile::parse(old.as_bytes());
        file.set("a", &value).unwrap();
        let text = file.to_bytes();
        let read = oracle::read(&text);
        prop_assert_eq!(&read.errors, &Vec::<usize>::new(), "{}", text.escape_ascii());
        let [(name, found, _)] = &read.settings[..] else { return Err(TestCaseError::fail("one setting")) };
        prop_assert_eq!(&name[..], b"a");
        prop_assert!(is_same_value(found, value.as_bytes()), "{} is read as {}", value, found.escape_ascii());
        // Where nothing is to be done the old text stays, which may be another form of the same; else it is this value.
        if text != old.as_bytes() {
            prop_assert_eq!(&found[..], value.as_bytes());
        }
        // PostgreSQL's scanner, which has no unit behind a fraction, reads the same.
        prop_assert_eq!(oracle::read_without_units(&text), read);
    }

    #[test]
    fn printing_gives_what_was_parsed(text in prop_oneof![conf_text(), proptest::collection::vec(any::<u8>(), 0..200)]) {
        prop_assert_eq!(ConfFile::parse(&text).to_bytes(), text);
    }

    #[test]
    fn set_is_read_back_and_done_once(text in conf_text(), value in "[^\n\r\0]{0,20}", name in "port|new_one|a|x\\.y") {
        let mut file = ConfFile::parse(&text);
        let errors = file.errors().len();
        file.set(&name, &value).unwrap();
        prop_assert!(is_same_value(&file.get(&name).unwrap().value, value.as_bytes()));
        prop_assert_eq!(file.errors().len(), errors);
        // The text, read anew, says the same; and nothing is left to do.
        let mut again = ConfFile::parse(&file.to_bytes());
        prop_assert_eq!(&again, &file);
        prop_assert!(!again.set(&name, &value).unwrap());
    }

    #[test]
    fn many_are_set_as_one_after_the_other(text in conf_text(), value in "[a-z0-9' #]{0,10}", more in 0_usize..12) {
        let names = ["port", "B_C", "x.y", "a"].map(str::to_owned).into_iter();
        let wanted: Vec<(String, String)> =
            names.chain((0..more).map(|n| format!("new_{n}"))).map(|name| (name, value.clone())).collect();
        let mut one = ConfFile::parse(&text);
        let expected: Vec<bool> = wanted.iter().map(|(name, value)| one.set(name, value).unwrap()).collect();
        let mut all = ConfFile::parse(&text);
        prop_assert_eq!(all.set_all(&wanted).unwrap(), expected);
        // Only the order of new lines below one comment may be another one.
        let sorted = |file: &ConfFile| {
            let mut lines: Vec<Vec<u8>> = file.lines.iter().map(|line| line.bytes.to_vec()).collect();
            lines.sort();
            lines
        };
        prop_assert_eq!(sorted(&all), sorted(&one));
        prop_assert_eq!(&ConfFile::parse(&all.to_bytes()), &all);
        for (name, _) in &wanted {
            prop_assert_eq!(all.get(name).map(|s| s.value), one.get(name).map(|s| s.value));
            prop_assert_eq!(all.values().get(&name.to_ascii_lowercase()).map(|s| s.value.clone()), all.get(name).map(|s| s.value));
        }
        prop_assert!(!all.set_all(&wanted).unwrap().contains(&true));
    }

    #[test]
    fn only_the_line_concerned_changes(text in conf_text(), value in "[a-z0-9' #]{0,10}") {
        let before = ConfFile::parse(&text);
        let mut file = before.clone();
        file.set("port", &value).unwrap();
        let at = file.get("port").unwrap().line - 1;
        let mut rest = file.lines.clone();
        rest.remove(at);
        let mut old = before.lines.clone();
        if let Some(setting) = before.get("port") {
            old.remove(setting.line - 1);
        }
        // A last line without its end gets one when a line follows it.
        for lines in [&mut rest, &mut old] {
            if let Some(last) = lines.last_mut() {
                last.bytes = last.bytes.trim_ascii_end().to_vec().into();
            }
        }
        let bytes = |lines: &[ConfLine]| lines.iter().map(|line| line.bytes.clone()).collect::<Vec<_>>();
        prop_assert_eq!(bytes(&rest), bytes(&old));
    }

    #[test]
    fn unset_leaves_none_and_nothing_else_changes(text in conf_text()) {
        let mut file = ConfFile::parse(&text);
        let others: Vec<_> = file.settings().filter(|s| !s.name.eq_ignore_ascii_case("port")).map(|s| (s.name, s.value)).collect();
        let had = file.get("port").is_some();
        prop_assert_eq!(file.unset("port"), had);
        prop_assert_eq!(file.get("port"), None);
        prop_assert!(!file.unset("port"));
        let left: Vec<_> = file.settings().map(|s| (s.name, s.value)).collect();
        prop_assert_eq!(left, others);
    }
}
