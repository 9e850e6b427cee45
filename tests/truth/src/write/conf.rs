//! postgresql.conf, and values to be written into it.

use fastrand::Rng;

use super::{Dialect, choose_one, damage, once_in};

/// Parameters with any text as their value, which both servers take at a reload.
pub const TEXTS: [&str; 2] = ["log_line_prefix", "syslog_ident"];
/// Other parameters, and values that suit them.
const TYPED: [(&str, &[&str]); 9] = [
    ("work_mem", &["4MB", "4096", "'8 MB'", "64kB", "0x1000", "1GB"]),
    ("enable_seqscan", &["on", "off", "true", "no", "1", "'off'", "TRUE"]),
    ("enable_indexscan", &["on", "off", "yes", "0"]),
    ("random_page_cost", &["4.0", "1.5e0", "2", "'3.5'", "4."]),
    ("statement_timeout", &["0", "10min", "'2 h'", "30s", "1d"]),
    ("client_min_messages", &["notice", "WARNING", "'error'", "debug1"]),
    ("maintenance_work_mem", &["16MB", "65536", "'32MB'"]),
    ("lc_messages", &["C", "'C'"]),
    ("log_min_duration_statement", &["-1", "250ms", "'1s'"]),
];
const WORDS: [&str; 31] = [
    "abc",
    "'abc'",
    "''",
    "'it''s'",
    "'a\\'b'",
    "'a\\\\b'",
    "'tab\\there'",
    "'\\101\\7'",
    "'x # y'",
    "'a = b'",
    "12",
    "-3",
    "+4",
    "0x1F",
    "1.5",
    "1.5e3",
    "12kB",
    "a-b",
    "a.b",
    "a:b/c",
    "a/b",
    "on",
    "'  '",
    "'\"'",
    "_x",
    "'%m %p'",
    "1.5GB",
    ".log",
    "5.x",
    ".kB",
    "1.e3",
];
const MISTAKES: [&str; 22] = [
    "", "=", "'abc", "abc'", "\"abc\"", "a b", "1 2", "'a' 'b'", "a,b", "(a)", "*", "a=b", "-x", "1.2.3",
    "0x", "1e5", "=on", "'a''", "'a\\'", ".5", "5.kB", "$x",
];

/// A file.
pub fn conf(rng: &mut Rng, dialect: Dialect) -> Vec<u8> {
    loop {
        let file = lines(rng, dialect);
        if dialect == Dialect::OpenGauss || in_common(&file) {
            return file;
        }
    }
}

/// Whether both servers cut the file into the same words: openGauss alone takes a unit behind a number with a point, `5.kB`
/// (`REAL` in its guc-file.l).
fn in_common(file: &[u8]) -> bool {
    let digits = |from: usize| from + file[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let letter = |at: usize| file.get(at).is_some_and(u8::is_ascii_alphabetic);
    let unit_behind = |point: usize| {
        let mut end = digits(point + 1);
        if matches!(file.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(file.get(end + 1), Some(b'+' | b'-')));
            let exponent = digits(end + 1 + sign);
            end = if exponent > end + 1 + sign { exponent } else { end };
        }
        letter(end)
    };
    let in_name = |point: usize| point > 0 && (letter(point - 1) || file[point - 1] == b'_');
    (0..file.len()).all(|at| file[at] != b'.' || in_name(at) || !unit_behind(at))
}

fn lines(rng: &mut Rng, dialect: Dialect) -> Vec<u8> {
    let mut file = Vec::new();
    let mistakes = rng.bool();
    for _ in 0..rng.usize(1..=8) {
        let mistake = mistakes && once_in(rng, 5);
        let mut line = line(rng, dialect, mistake).into_bytes();
        if mistakes && once_in(rng, 6) {
            damage(rng, &mut line, b" \t'\\#=.-+:/\rax09_\"\xc3\x0b\x0c");
        }
        file.extend(line);
        file.extend(if once_in(rng, 12) { &b"\r\n"[..] } else { b"\n" });
    }
    if once_in(rng, 8) {
        file.pop();
    }
    file
}

fn line(rng: &mut Rng, dialect: Dialect, mistake: bool) -> String {
    if once_in(rng, 10) {
        return choose_one(rng, &["", "# a comment", "  \t", "#work_mem = 1", "\t# x = 'y'"]).to_owned();
    }
    let (mut name, mut value) = if rng.bool() {
        (choose_one(rng, &TEXTS), choose_one(rng, &WORDS))
    } else {
        let (name, values) = TYPED[rng.usize(..TYPED.len())];
        (name, choose_one(rng, values))
    };
    if dialect == Dialect::Common && once_in(rng, 4) {
        name = choose_one(rng, &["og.a", "og.b", "Og.A", "o_g.x1"]);
        value = choose_one(rng, &WORDS);
    }
    if mistake {
        if once_in(rng, 5) {
            let names = ["1a", "a b", "no_such_parameter", "a.b.c", "-a", "a.", "'a'", "a-b", "work_mem2"];
            name = choose_one(rng, &names);
        } else {
            value = choose_one(rng, &MISTAKES);
        }
    }
    let name = if once_in(rng, 6) { name.to_uppercase() } else { name.to_owned() };
    let equals = choose_one(rng, &[" = ", "=", " ", "  =  ", "\t", " =", "= "]);
    let before = if once_in(rng, 10) { choose_one(rng, &[" ", "\t"]) } else { "" };
    let behind = if once_in(rng, 6) { choose_one(rng, &[" # why", "# why", "\t", "#"]) } else { "" };
    format!("{before}{name}{equals}{value}{behind}")
}

/// Plain texts that look like something else than text.
const SHAPES: [&str; 24] = [
    "1.5GB", ".log", "5.x", ".kB", ".5", "5.", "+.5", "-7", "1.e3", "1e5", "0x1F", "0x", "007", "64MB",
    "1 MB", "a.b", "a-b", "a:b/c", "on", "_x", "é", "1.2.3", "-", ".",
];

/// A parameter and a value to be set, as plain text.
pub fn settings(rng: &mut Rng) -> (&'static str, String) {
    if rng.bool() {
        return (TEXTS[rng.usize(..TEXTS.len())], choose_one(rng, &SHAPES).to_owned());
    }
    let alphabet: Vec<char> = "ab'\\\"#=%mé \t,;$(){}[]0n".chars().collect();
    let value =
        (0..rng.usize(..12)).filter_map(|_| alphabet.get(rng.usize(..alphabet.len())).copied()).collect();
    (TEXTS[rng.usize(..TEXTS.len())], value)
}
