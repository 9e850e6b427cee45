//! `cargo xtask bench counts`: how many instructions hot paths take, counted by callgrind and held against a committed file.
//!
//! Time differs from run to run and from machine to machine; these counts hardly do, as long as the compiler and the
//! profile are the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::{Arg, ArgAction, ArgMatches};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::build::{self, Linking};
use crate::shell::{Result, has, output, root, target};

/// The subcommand of `bench`.
pub fn command() -> clap::Command {
    clap::Command::new("counts")
        .about("Count the instructions of hot paths; fail when one has grown by more than 5 %")
        .arg(
            Arg::new("write")
                .long("write")
                .action(ArgAction::SetTrue)
                .help("Write the counts to xtask/instructions.json instead"),
        )
}

/// A count may grow by so many hundredths.
const TOLERANCE_PERCENT: u64 = 5;

/// The committed file: by profile, the compiler and the counts.
type File = BTreeMap<String, Counts>;

/// What was counted with one profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counts {
    compiler: String,
    instructions: BTreeMap<String, u64>,
}

fn file() -> PathBuf {
    root().join("xtask/instructions.json")
}

/// Counts, and compares or writes.
pub fn run_all(matches: &ArgMatches) -> Result {
    if !has("valgrind") {
        return Err("valgrind is not installed (cargo xtask setup)".to_owned());
    }
    let programs = build::release(Linking::Dynamic)?;
    let counts = count(&programs)?;
    let mut known = read()?;
    if matches.get_flag("write") {
        known.insert(profile().to_owned(), counts);
        let text = serde_json::to_string_pretty(&known).map_err(|e| e.to_string())? + "\n";
        return std::fs::write(file(), text).map_err(|e| format!("cannot write {}: {e}", file().display()));
    }
    match known.get(profile()) {
        Some(known) => report(known, &counts),
        None => {
            Err(format!("no instructions of the profile {} are known; count them with --write", profile()))
        }
    }
}

/// The stage of `cargo xtask test`: on the programs that are there.
pub fn check() -> Result {
    if !has("valgrind") {
        println!("skipped: valgrind is not installed (cargo xtask setup)");
        return Ok(());
    }
    let known = read()?;
    let Some(known) = known.get(profile()) else {
        println!("skipped: no instructions of the profile {} are known", profile());
        return Ok(());
    };
    let compiler = compiler()?;
    if known.compiler != compiler {
        println!("skipped: instructions were counted with {}, here is {compiler}", known.compiler);
        return Ok(());
    }
    report(known, &count(&build::folder())?)
}

fn profile() -> &'static str {
    if build::is_for_tests() { "dev" } else { "release" }
}

/// What the counts depend on besides the programs: the compiler, and the widest registers that the libraries find.
fn compiler() -> Result<String> {
    let rustc = output(Command::new("rustc").arg("--version").current_dir(root()))?;
    Ok(format!("{}, {}", rustc.trim(), registers()))
}

#[cfg(target_arch = "x86_64")]
fn registers() -> &'static str {
    if std::arch::is_x86_feature_detected!("avx2") { "AVX2" } else { "no AVX2" }
}

#[cfg(not(target_arch = "x86_64"))]
fn registers() -> &'static str {
    std::env::consts::ARCH
}

fn read() -> Result<File> {
    match std::fs::read_to_string(file()) {
        Ok(text) => serde_json::from_str(&text).map_err(|e| format!("{}: {e}", file().display())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(File::new()),
        Err(e) => Err(format!("cannot read {}: {e}", file().display())),
    }
}

/// Prints the counts beside those that are known; fails when one has grown, or was not counted.
fn report(known: &Counts, now: &Counts) -> Result {
    let lost: Vec<&String> =
        known.instructions.keys().filter(|path| !now.instructions.contains_key(*path)).collect();
    if !lost.is_empty() {
        return Err(format!("{lost:?} are known and were not counted"));
    }
    let grown = grown_counts(&known.instructions, &now.instructions);
    for (path, count) in &now.instructions {
        let before = known.instructions.get(path).map_or_else(|| "?".to_owned(), u64::to_string);
        println!("{path:<45} {before:>12} {count:>12}");
    }
    println!("{} passed, {} failed", now.instructions.len() - grown.len(), grown.len());
    if grown.is_empty() {
        return Ok(());
    }
    Err(format!(
        "more than {TOLERANCE_PERCENT} % more instructions than xtask/instructions.json has: {}; make it cheaper again, or, where the work is \
         worth it, write the new counts (cargo xtask bench counts --write) and say why in the commit",
        grown.join(", ")
    ))
}

/// The paths that take more than they may, or are not known.
fn grown_counts(known: &BTreeMap<String, u64>, now: &BTreeMap<String, u64>) -> Vec<String> {
    let is_more = |path: &String, count: u64| {
        known.get(path).is_none_or(|before| count * 100 > before * (100 + TOLERANCE_PERCENT))
    };
    now.iter().filter(|(path, count)| is_more(path, **count)).map(|(path, _)| path.clone()).collect()
}

/// One hot path: its name, the program, its words and its input.
struct HotPath {
    name: &'static str,
    program: &'static str,
    words: &'static [&'static str],
    input: Value,
}

fn count(programs: &Path) -> Result<Counts> {
    let folder = target().join("counts");
    let data = folder.join("data");
    let failed = |e: std::io::Error| format!("{}: {e}", data.display());
    std::fs::create_dir_all(&data).map_err(failed)?;
    let mut rules = "local all all trust\n".to_owned();
    for n in 1..1000 {
        // A String takes whatever is written to it.
        let _ =
            writeln!(rules, "host    db{}    user{n}    10.0.{}.{}/32    sha256", n % 97, n / 250, n % 250);
    }
    let mut parameters = "port = 26000\n".to_owned();
    for n in 0..800 {
        let _ = writeln!(parameters, "#parameter_{n} = 10\t\t\t# what it is good for");
    }
    let (static_file, query) = super::static_conf::write_file(&folder, 64)?;
    let mut instructions = BTreeMap::new();
    for path in hot_paths(&data, &static_file, &query) {
        // Each begins with the same files.
        for (name, text) in
            [("PG_VERSION", "9.2\n"), ("pg_hba.conf", &*rules), ("postgresql.conf", &*parameters)]
        {
            std::fs::write(data.join(name), text).map_err(failed)?;
        }
        instructions.insert(path.name.to_owned(), instructions_of(programs, &folder, &path)?);
    }
    Ok(Counts { compiler: compiler()?, instructions })
}

fn hot_paths(data: &Path, static_file: &Path, static_query: &Value) -> Vec<HotPath> {
    let on = |mut args: Value| {
        args["data_dir"] = json!(data);
        // Else a login shell is asked for it.
        args["gauss_home"] = json!(data);
        // Ten to fifty times what it takes without valgrind.
        args["timeout"] = json!(3600);
        args
    };
    let peers: Vec<_> =
        (12..20).map(|n| json!({"host": format!("192.168.0.{n}"), "base_port": 26000})).collect();
    let local = json!({"host": "127.0.0.1", "base_port": 26000});
    let hosts = json!({
        "n1": {"id": 1, "address": "192.168.0.1"}, "n2": {"id": 2, "address": "192.168.0.2"}, "n3": {"id": 3, "address": "192.168.0.3"},
    });
    let cluster = json!({"hosts": hosts, "vars": {"data_dir": "/gauss/data/dn1", "base_port": 26000}});
    let path = |name, program, words, input| HotPath { name, program, words, input };
    let new = json!({"rules": ["host all omm 192.168.0.13/32 trust"], "reload": "never"});
    let there = json!({"rules": ["host db1 user1 10.0.0.1/32 sha256"], "reload": "never"});
    let twice = json!({"path": static_file, "verify": {"path": static_file}, "state": "query"});
    vec![
        path("og_hba: --version", "og_hba", &["--version"], Value::Null),
        path("og_hba: one rule among 1000 is added", "og_hba", &[], on(new)),
        path("og_hba: one rule among 1000 is there", "og_hba", &[], on(there)),
        path(
            "og_guc: one parameter in 800 lines",
            "og_guc",
            &[],
            on(json!({"parameters": {"wal_keep_segments": 256}, "reload": "never"})),
        ),
        path(
            "og_replconninfo: eight channels in 800 lines",
            "og_replconninfo",
            &[],
            on(json!({"local": local, "peers": peers, "reload": "never"})),
        ),
        path("og_static_conf: a file of 64 nodes is read", "og_static_conf", &[], static_query.clone()),
        path("og_static_conf: two files are compared", "og_static_conf", &[], twice),
        path(
            "og_workflow: the first call of a drop",
            "og_workflow",
            &[],
            json!({"workflow": "drop", "targets": ["n2"], "cluster": cluster, "owner": "dba"}),
        ),
    ]
}

fn instructions_of(programs: &Path, folder: &Path, path: &HotPath) -> Result<u64> {
    let input = folder.join("input.json");
    std::fs::write(&input, path.input.to_string())
        .map_err(|e| format!("cannot write {}: {e}", input.display()))?;
    let stdin = std::fs::File::open(&input).map_err(|e| format!("cannot read {}: {e}", input.display()))?;
    let told = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(programs.join(path.program))
        .args(path.words)
        // What stands in the environment is copied and looked through.
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::from(stdin))
        .output()
        .map_err(|e| format!("cannot run valgrind: {e}"))?;
    let text = String::from_utf8_lossy(&told.stderr);
    if !told.status.success() {
        return Err(format!(
            "{}: {}\n{}{text}",
            path.name,
            told.status,
            String::from_utf8_lossy(&told.stdout)
        ));
    }
    parse_collected(&text).ok_or_else(|| format!("{}: valgrind tells no count:\n{text}", path.name))
}

/// The number in valgrind's line `==7== Collected : 123`.
fn parse_collected(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_grown_is_named() {
        let counts = |pairs: &[(&str, u64)]| {
            pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect::<BTreeMap<_, _>>()
        };
        let known = counts(&[("a", 100), ("b", 100), ("c", 100)]);
        let now = counts(&[("a", 105), ("b", 106), ("c", 1), ("d", 1)]);
        assert_eq!(grown_counts(&known, &now), ["b", "d"]);
    }

    #[test]
    fn the_count_is_found() {
        assert_eq!(parse_collected("==12== Events    : Ir\n==12== Collected : 4567\n==12==\n"), Some(4567));
        assert_eq!(parse_collected("nothing"), None);
    }
}
