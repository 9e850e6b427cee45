//! The program as a caller sees it, on a node whose server does not run.
#![allow(clippy::unwrap_used)]

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use proptest::prelude::*;
use serde_json::{Value, json};

const CONF: &str = "# a comment: gr\u{fc}n\n\
                    port = 5432\t\t# (change requires restart)\n\
                    #wal_keep_segments = 16\t\t# in logfile segments\n\
                    synchronous_standby_names = 'ANY 2(dn_6002,dn_6003,dn_6004)'\t# who\n\
                    \n\
                    # end";

struct TestNode(tempfile::TempDir);

impl TestNode {
    fn new(conf: &[u8]) -> Self {
        let node = Self(tempfile::tempdir().unwrap());
        std::fs::write(node.conf(), conf).unwrap();
        node
    }

    fn conf(&self) -> std::path::PathBuf {
        self.0.path().join("postgresql.conf")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.conf()).unwrap()
    }

    /// A folder as openGauss is installed in, whose server program is this script.
    fn home(&self, gaussdb: &str) -> std::path::PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let home = self.0.path().join("home");
        let bin = home.join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        // Moved into place: a file open for writing could be held by a fork of another test.
        let new = bin.join("new");
        std::fs::write(&new, format!("#!/bin/sh\n{gaussdb}\n")).unwrap();
        std::fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::rename(new, bin.join("gaussdb")).unwrap();
        home
    }

    fn call(&self, args: Value) -> Value {
        let mut args = args;
        args["data_dir"] = json!(self.0.path());
        call(&args)
    }
}

fn call(args: &Value) -> Value {
    let mut child = Command::new(env!("CARGO_BIN_EXE_og_guc"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .env_remove("PGDATA")
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(args.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    let bad = result["error"]["kind"] == "bad_args";
    let expected = if bad { 2 } else { i32::from(result["failed"] == true) };
    assert_eq!(output.status.code(), Some(expected), "{result}");
    result
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn sets_once_and_keeps_all_else() {
    let node = TestNode::new(CONF.as_bytes());
    let args = json!({"parameters": {"port": 6000, "wal_keep_segments": "64", "most_available_sync": true,
        "log_line_prefix": "it's %m"}, "diff": true});
    let result = node.call(args.clone());
    assert_eq!(result["changed"], true, "{result}");
    assert_eq!(
        node.text(),
        "# a comment: gr\u{fc}n\n\
         port = 6000\t\t# (change requires restart)\n\
         #wal_keep_segments = 16\t\t# in logfile segments\n\
         wal_keep_segments = 64\n\
         synchronous_standby_names = 'ANY 2(dn_6002,dn_6003,dn_6004)'\t# who\n\
         \n\
         # end\n\
         most_available_sync = on\n\
         log_line_prefix = 'it''s %m'\n"
    );
    assert_eq!(result["diff"][0]["before"], CONF);
    assert_eq!(result["diff"][0]["after"], node.text());
    assert_eq!(
        result["before"],
        json!({"log_line_prefix": null, "most_available_sync": null, "port": "5432", "wal_keep_segments": null})
    );
    assert_eq!(result["after"]["log_line_prefix"], "it's %m");
    assert_eq!(result["restart_required"], json!(["port"]));
    assert_eq!(result["reloaded"], false);

    let modified = std::fs::metadata(node.conf()).unwrap().modified().unwrap();
    let again = node.call(args);
    assert_eq!(again["changed"], false, "{again}");
    assert_eq!(std::fs::metadata(node.conf()).unwrap().modified().unwrap(), modified);
}

#[test]
fn check_mode_says_the_same_and_writes_nothing() {
    let node = TestNode::new(CONF.as_bytes());
    let args = |check: bool| json!({"parameters": {"port": 6000}, "check_mode": check, "diff": true});
    let said = node.call(args(true));
    assert_eq!((node.text().as_str(), files(node.0.path())), (CONF, vec!["postgresql.conf".to_owned()]));
    let done = node.call(args(false));
    for key in ["changed", "actions", "diff", "before", "after", "restart_required"] {
        assert_eq!(said[key], done[key], "{key}");
    }
}

#[test]
fn synchronous_standbys_shrink_before_a_node_goes() {
    let node = TestNode::new(CONF.as_bytes());
    let edit = |edit: Value| node.call(json!({"synchronous_standbys": edit}));
    let value = |result: &Value| result["after"]["synchronous_standby_names"].as_str().unwrap().to_owned();
    assert_eq!(value(&edit(json!({"remove": ["dn_6003"]}))), "ANY 2(dn_6002,dn_6004)");
    assert!(node.text().contains("= 'ANY 2(dn_6002,dn_6004)'\t# who\n"));
    assert_eq!(edit(json!({"remove": ["dn_6003", "dn_600"]}))["changed"], false);
    assert_eq!(value(&edit(json!({"remove": "dn_6002"}))), "ANY 1(dn_6004)");
    assert_eq!(value(&edit(json!({"remove": ["dn_6004"]}))), "");
    assert_eq!(
        value(&edit(json!({"add": "dn_6002,dn_6003,dn_6004", "num": "majority"}))),
        "ANY 2(dn_6002,dn_6003,dn_6004)"
    );
    let result = edit(json!({"num": 9}));
    assert_eq!(value(&result), "ANY 3(dn_6002,dn_6003,dn_6004)");
    assert!(result["warnings"][0].as_str().unwrap().contains("3 is the most"), "{result}");
    assert_eq!(edit(json!({"num": 9}))["changed"], false);
}

#[test]
fn absent_and_query() {
    let node = TestNode::new(CONF.as_bytes());
    let result = node.call(json!({"state": "absent", "names": ["port", "nothing"]}));
    assert_eq!(result["before"], json!({"port": "5432", "nothing": null}));
    assert_eq!(result["after"], json!({"port": null, "nothing": null}));
    assert!(node.text().contains("\n#port = 5432\t\t# (change requires restart)\n"));
    assert_eq!(node.call(json!({"state": "absent", "parameters": {"port": 1}}))["changed"], false);
    let all = node.call(json!({"state": "query"}));
    assert_eq!(all["after"], json!({"synchronous_standby_names": "ANY 2(dn_6002,dn_6003,dn_6004)"}));
    let one = node.call(json!({"state": "query", "names": "port"}));
    assert_eq!((&one["changed"], &one["after"]), (&json!(false), &json!({"port": null})));
    // Those named, set or not, and all that are set, each once.
    let both = node.call(json!({"state": "query", "names": ["*", "port", "Synchronous_Standby_Names"]}));
    let names = "ANY 2(dn_6002,dn_6003,dn_6004)";
    assert_eq!(both["after"], json!({"port": null, "Synchronous_Standby_Names": names}));
    assert_eq!(node.call(json!({"state": "query", "names": "*"}))["after"], all["after"]);
    let absent = node.call(json!({"state": "absent", "names": "*"}));
    assert_eq!(
        (&absent["error"]["kind"], &absent["error"]["path"]),
        (&json!("bad_args"), &json!("/names/0"))
    );
}

#[test]
fn backup_and_bytes_that_are_no_utf8() {
    let old = b"# \xd6\xd0\xce\xc4\r\nport = 1\r\n";
    let node = TestNode::new(old);
    let result = node.call(json!({"parameters": {"port": 2, "a_new": "x"}, "backup": true}));
    assert_eq!(std::fs::read(node.conf()).unwrap(), b"# \xd6\xd0\xce\xc4\r\nport = 2\r\na_new = 'x'\r\n");
    assert_eq!(std::fs::read(result["backup_file"].as_str().unwrap()).unwrap(), old);
}

/// A server program that takes any file but one with a line that is wrong.
const TAKES_GOOD: &str =
    "if grep -q 'is wrong'; then echo '0 FATAL:  the file contains errors' >&2; exit 1; fi";
/// A file that the server refuses.
const BROKEN: &str = "port = 5432\nthis is wrong\nwal_keep_segments = 16\n";

#[test]
fn a_copy_is_brought_back_and_the_old_file_kept() {
    let node = TestNode::new(BROKEN.as_bytes());
    let home = node.home(TAKES_GOOD);
    let copy = node.0.path().join("copy");
    std::fs::write(&copy, CONF).unwrap();
    let args = |check: bool| json!({"state": "restored", "backup_file": copy, "gauss_home": home, "check_mode": check, "diff": true});
    let foretold = node.call(args(true));
    assert_eq!(node.text(), BROKEN);
    let done = node.call(args(false));
    assert_eq!(node.text(), CONF);
    for key in ["changed", "actions", "diff", "before", "after", "warnings"] {
        assert_eq!(foretold[key], done[key], "{key}");
    }
    assert_eq!(done["before"], json!({"synchronous_standby_names": null, "wal_keep_segments": "16"}));
    assert_eq!(done["after"]["wal_keep_segments"], json!(null));
    let kept = done["backup_file"].as_str().unwrap();
    assert_eq!(std::fs::read_to_string(kept).unwrap(), BROKEN);
    assert_eq!(node.call(args(false))["changed"], false);
    // There is no file any more.
    std::fs::remove_file(node.conf()).unwrap();
    let made = node.call(args(false));
    assert_eq!((&made["changed"], node.text().as_str()), (&json!(true), CONF), "{made}");
}

#[test]
fn a_copy_that_is_broken_or_another_nodes_is_refused() {
    let node = TestNode::new(BROKEN.as_bytes());
    let copy = node.0.path().join("copy");
    let restore = |text: &str, more: Value| {
        std::fs::write(&copy, text).unwrap();
        let mut args = json!({"state": "restored", "backup_file": copy});
        args.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        node.call(args)
    };
    let said = |result: &Value| result["error"]["detail"].as_str().unwrap_or_default().to_owned();
    let broken = restore(BROKEN, json!({}));
    assert_eq!(broken["changed"], false, "the same file: {broken}");
    let broken = restore("port = 5432\nso is this\n", json!({}));
    assert_eq!(broken["error"]["kind"], "corrupt");
    assert!(said(&broken).contains("copy") && said(&broken).contains("line 2"), "{broken}");
    let other = restore("port = 5433\n", json!({}));
    assert_eq!(other["error"]["kind"], "refused");
    assert!(said(&other).contains("port is 5433 there and 5432 in the file"), "{other}");
    // An older copy, from before the standbys.
    let waiting = TestNode::new(format!("{BROKEN}synchronous_standby_names = 'dn_6002'\n").as_bytes());
    let old = waiting.0.path().join("old");
    std::fs::write(&old, "port = 5432\nsynchronous_standby_names = ''\n").unwrap();
    let alone = waiting.call(json!({"state": "restored", "backup_file": old}));
    assert!(said(&alone).contains("changes for what commits wait: synchronous_standby_names"), "{alone}");
    // A file that the server takes is left.
    let taken = TestNode::new(CONF.as_bytes());
    let home = taken.home(TAKES_GOOD);
    let other = taken.0.path().join("other");
    std::fs::write(&other, CONF.replace("16", "17")).unwrap();
    let left = taken.call(json!({"state": "restored", "backup_file": other, "gauss_home": home}));
    assert!(said(&left).contains("would start with") && taken.text() == CONF, "{left}");
    let home = node.home(WORDS);
    let unfit = restore("port = 5432\nlisten_addresses = 'x'\n", json!({"gauss_home": home}));
    assert_eq!(unfit["error"]["kind"], "refused");
    assert!(said(&unfit).contains("would not start with"), "{unfit}");
    assert_eq!(node.call(json!({"state": "restored"}))["error"]["kind"], "bad_args");
    assert_eq!(
        node.call(json!({"state": "restored", "backup_file": "copy"}))["error"]["path"],
        "/backup_file"
    );
    assert_eq!(
        node.call(json!({"backup_file": copy, "parameters": {"port": 1}}))["error"]["kind"],
        "bad_args"
    );
    // A server with this process runs, as far as its file says.
    let pid = std::process::id();
    std::fs::write(node.0.path().join("postmaster.pid"), format!("{pid}\n{}\n", node.0.path().display()))
        .unwrap();
    assert_eq!(node.text(), BROKEN);
    std::fs::remove_file(node.0.path().join("postmaster.pid")).unwrap();
    let forced = restore("port = 5433\n", json!({"gauss_home": home, "force": true}));
    assert_eq!(forced["changed"], true);
    assert_eq!(forced["warnings"].as_array().unwrap().len(), 2, "{forced}");
}

#[test]
fn refuses_and_says_where() {
    let broken = TestNode::new(b"port = 1\nthis is wrong\n");
    let result = broken.call(json!({"parameters": {"port": 2}}));
    assert_eq!(result["error"]["kind"], "corrupt");
    assert!(result["error"]["detail"].as_str().unwrap().contains("line 2, column 9"), "{result}");
    assert_eq!(broken.text(), "port = 1\nthis is wrong\n");

    let node = TestNode::new(CONF.as_bytes());
    for (args, at) in [
        (json!({"parameters": {"po rt": 1}}), "/parameters/po rt"),
        (json!({"parameters": {"a": "x\ny"}}), "/parameters/a"),
        (json!({"parameters": {"replconninfo1": "hello"}}), "/parameters/replconninfo1"),
        (json!({"parameters": {"replconninfo9": ""}}), "/parameters/replconninfo9"),
        (
            json!({"parameters": {"synchronous_standby_names": "ANY 2(a)"}}),
            "/parameters/synchronous_standby_names",
        ),
        (json!({"parameters": {"port": 1, "PORT": 2}}), "/parameters/port"),
        (
            json!({"parameters": {"synchronous_standby_names": ""}, "synchronous_standbys": {"add": "a"}}),
            "/synchronous_standbys",
        ),
        (json!({"synchronous_standbys": {"add": "a", "remove": "a"}}), "/synchronous_standbys"),
    ] {
        let result = node.call(args.clone());
        assert_eq!(result["error"]["kind"], "bad_args", "{result}");
        assert_eq!(result["error"]["path"], at, "{args}");
    }
    assert_eq!(node.call(json!({}))["error"]["kind"], "bad_args");
    assert_eq!(node.call(json!({"synchronous_standbys": {"num": 0}}))["error"]["kind"], "bad_args");
    assert_eq!(node.call(json!({"names": ["port"]}))["error"]["kind"], "bad_args");
    assert_eq!(node.text(), CONF);

    let empty = tempfile::tempdir().unwrap();
    let result = call(&json!({"data_dir": empty.path(), "state": "query"}));
    assert_eq!(result["error"]["kind"], "not_found");
}

#[test]
fn a_standby_is_told_that_its_primary_overwrites() {
    let node = TestNode::new(CONF.as_bytes());
    let mut state = [0_u8; 72];
    state[0] = 3;
    std::fs::write(node.0.path().join("gaussdb.state"), state).unwrap();
    let home = node.home("exit 0");
    let call = |parameters: Value| node.call(json!({"parameters": parameters, "gauss_home": home}));
    let result = call(json!({"work_mem": "8MB", "wal_keep_segments": 3, "application_name": "x"}));
    let warning = result["warnings"][0].as_str().unwrap();
    assert!(warning.contains("work_mem, wal_keep_segments here"), "{warning}");
    let kept = call(json!({"application_name": "y"}));
    assert_eq!(kept["warnings"].as_array().map_or(0, Vec::len), 0, "{kept}");
    // What a standby keeps depends on its release.
    let says = |release: &str| {
        node.home(&format!(
            "[ $1 = --version ] && echo 'gaussdb (openGauss {release} build 1) compiled at x'; exit 0"
        ))
    };
    for (release, told) in [("5.0.3", 1), ("6.0.2", 0)] {
        let args = json!({"parameters": {"uwal_log_path": release}, "gauss_home": says(release)});
        let result = node.call(args);
        assert_eq!(result["warnings"].as_array().map_or(0, Vec::len), told, "{result}");
    }
}

/// What release 3.0.5 says of a file that it would not start with.
const WORDS: &str = "cat >/dev/null\necho '0 LOG:  invalid value for parameter \"port\": \"abc\"' >&2\n\
    echo '0 FATAL:  configuration file \"/dev/stdin\" contains errors' >&2\nexit 1";

#[test]
fn what_would_keep_a_stopped_server_from_starting_is_refused() {
    let node = TestNode::new(CONF.as_bytes());
    let home = node.home(WORDS);
    let args = |force: bool, check: bool| json!({"parameters": {"port": "abc"}, "gauss_home": home, "force": force, "check_mode": check});
    for check in [true, false] {
        let refused = node.call(args(false, check));
        assert_eq!(refused["error"]["kind"], "refused", "{refused}");
        assert_eq!(refused["error"]["path"], "/parameters/port");
        assert!(
            refused["error"]["detail"].as_str().unwrap().contains("invalid value for parameter"),
            "{refused}"
        );
    }
    assert_eq!(node.text(), CONF);
    let forced = node.call(args(true, false));
    assert!(
        forced["changed"] == true && forced["warnings"][0].as_str().unwrap().contains("will not start"),
        "{forced}"
    );
    // An error that was there before does not keep anybody from changing something else.
    let other = node.call(json!({"parameters": {"wal_keep_segments": 9}, "gauss_home": home}));
    assert!(
        other["changed"] == true && other["warnings"][0].as_str().unwrap().contains("before the change"),
        "{other}"
    );
}

#[test]
fn the_server_program_is_given_the_file_as_it_shall_be() {
    let node = TestNode::new(CONF.as_bytes());
    let home = node.home("printf '%s ' \"$@\" >\"$(dirname \"$0\")/args\"; cat >\"$(dirname \"$0\")/given\"");
    let result = node.call(json!({"parameters": {"port": 6000}, "gauss_home": home}));
    assert_eq!((&result["changed"], &result["warnings"]), (&json!(true), &Value::Null), "{result}");
    let read = |name: &str| std::fs::read_to_string(home.join("bin").join(name)).unwrap();
    assert_eq!(read("given"), node.text());
    assert_eq!(read("args"), format!("-c config_file=/dev/stdin -C port -D {} ", node.0.path().display()));
}

#[test]
fn the_log_tells_of_outside_programs_and_written_files_when_asked() {
    let node = TestNode::new(CONF.as_bytes());
    let home = node.home("cat >/dev/null; echo the-words-of-the-server");
    let log = |level: &str, port: u16| {
        let args = json!({"data_dir": node.0.path(), "parameters": {"port": port}, "gauss_home": home});
        let mut command = Command::new(env!("CARGO_BIN_EXE_og_guc"));
        command.env_remove("PGDATA").env("OG_LOG", level).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(args.to_string().as_bytes()).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap()
    };
    let told = log("debug", 6000);
    assert!(
        told.contains("bin/gaussdb -c config_file=/dev/stdin") && told.contains("exit status 0, after "),
        "{told}"
    );
    assert!(told.contains("postgresql.conf") && told.contains(" bytes written for "), "{told}");
    assert!(!told.contains("the-words-of-the-server"), "{told}");
    assert!(log("trace", 6001).contains("the-words-of-the-server"));
    assert_eq!(log("", 6002), "");
    assert!(log("much", 6003).contains("OG_LOG is no level of the log"));
}

#[test]
fn where_the_server_program_cannot_run_values_are_held_against_gs_gucs_list() {
    let node = TestNode::new(CONF.as_bytes());
    let home = node.home("echo 'error while loading shared libraries' >&2; exit 127");
    let set = |parameters: Value| node.call(json!({"parameters": parameters, "gauss_home": home}));
    let unchecked = set(json!({"port": "abd"}));
    assert!(unchecked["warnings"][0].as_str().unwrap().contains("was not checked"), "{unchecked}");
    let list = "[coordinator/datanode]\nport|int|1,65535|NULL|NULL|\nwal_level|enum|minimal,hot_standby|NULL|NULL|\n";
    std::fs::write(home.join("bin/cluster_guc.conf"), list).unwrap();
    for parameters in [json!({"port": "abc"}), json!({"wal_level": "nosuch"})] {
        let refused = set(parameters);
        assert_eq!(refused["error"]["kind"], "refused", "{refused}");
    }
    let unknown = set(json!({"max_conections": 100}));
    assert!(unknown["warnings"][0].as_str().unwrap().contains("no parameter max_conections"), "{unknown}");
    assert_eq!(set(json!({"port": 5433}))["warnings"], Value::Null);
}

#[test]
fn what_an_include_sets_again_is_told() {
    let node = TestNode::new(b"port = 1\nwork_mem = 1MB\ninclude 'more.conf'\n");
    std::fs::write(node.0.path().join("more.conf"), "# x\nport = 7\n").unwrap();
    let home = node.home("exit 0");
    let told = |args: Value| {
        let mut args = args;
        args["gauss_home"] = json!(home);
        let result = node.call(args);
        result["warnings"].to_string()
    };
    for args in [
        json!({"parameters": {"port": 2}}),
        json!({"parameters": {"port": 2}}),
        json!({"state": "query", "names": ["port"]}),
        json!({"state": "absent", "names": ["port"]}),
    ] {
        assert!(told(args.clone()).contains("more.conf line 2, which line 3 includes"), "{args}");
    }
    assert!(!told(json!({"parameters": {"work_mem": "2MB"}})).contains("more.conf line"));
    // A new line goes behind the include, and counts.
    assert!(!told(json!({"parameters": {"ssl": true}})).contains("more.conf line"));
}

#[test]
fn bytes_that_are_no_utf8_are_told_and_never_rewritten() {
    let node = TestNode::new(b"log_line_prefix = '\xd6\xd0'\nsynchronous_standby_names = 'a,\xff'\n");
    let query = node.call(json!({"state": "query"}));
    for line in [1, 2] {
        assert!(query["warnings"].to_string().contains(&format!("in line {line} is not UTF-8")), "{query}");
    }
    let edit = node.call(json!({"synchronous_standbys": {"add": ["b"]}}));
    assert_eq!(edit["error"]["kind"], "corrupt", "{edit}");
    let mark = TestNode::new(b"\xef\xbb\xbfport = 1\n");
    assert!(
        mark.call(json!({"state": "query"}))["error"]["detail"].as_str().unwrap().contains("byte order mark")
    );
}

#[test]
fn several_groups_are_refused_where_the_release_has_none() {
    let node = TestNode::new(CONF.as_bytes());
    let groups = |release: &str, names: &str| {
        let home = node.home(&format!("echo 'gaussdb (openGauss {release} build 1) compiled at x'"));
        node.call(json!({"parameters": {"synchronous_standby_names": names}, "gauss_home": home}))
    };
    assert_eq!(groups("2.1.0", "ANY 1(a),ANY 1(b)")["error"]["kind"], "refused");
    assert_eq!(groups("2.1.0", "ANY 1(a,b)")["changed"], true);
    assert_eq!(groups("3.0.5", "ANY 1(a),ANY 1(b)")["changed"], true);
    let told = node.call(json!({"synchronous_standbys": {"num": 2}}));
    assert!(
        told["warnings"].to_string().contains("2 synchronous standbys of a were asked for, 1 is the most"),
        "{told}"
    );
}

#[test]
fn channels_beyond_the_eighth_are_of_three_releases() {
    let node = TestNode::new(CONF.as_bytes());
    let ninth = |release: &str| {
        let home = node.home(&format!("echo 'gaussdb (openGauss {release} build 1) compiled at x'"));
        node.call(json!({"parameters": {"replconninfo9": ""}, "gauss_home": home}))
    };
    for release in ["2.1.0", "3.0.5", "6.0.2"] {
        assert_eq!(ninth(release)["error"]["path"], "/parameters/replconninfo9");
    }
    assert_eq!(ninth("3.0.2")["changed"], true);
}

/// A process that looks like the node's server, ended with the test.
struct Server(std::process::Child);

impl Server {
    fn new(node: &TestNode) -> Self {
        let child = Command::new("sleep").arg("600").current_dir(node.0.path()).spawn().unwrap();
        std::fs::write(
            node.0.path().join("postmaster.pid"),
            format!("{}\n{}\n", child.id(), node.0.path().display()),
        )
        .unwrap();
        Self(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_server_that_cannot_be_told_gets_its_old_file_back() {
    let node = TestNode::new(CONF.as_bytes());
    let _server = Server::new(&node);
    // There is no gs_ctl in this folder.
    let args = |reload: &str| {
        json!({"parameters": {"wal_keep_segments": 9}, "gauss_home": node.0.path(), "reload": reload,
        "backup": reload == "auto"})
    };
    let result = node.call(args("auto"));
    assert_eq!(result["failed"], true, "{result}");
    assert!(
        result["error"]["detail"].as_str().unwrap().contains("the old file is back in place"),
        "{result}"
    );
    assert_eq!(node.text(), CONF);
    // Nor is anything left of it.
    let left = |name: &String| name.contains("og_reload") || name.contains(".bak");
    assert!(!files(node.0.path()).iter().any(left));

    let written = node.call(args("never"));
    assert_eq!(
        (&written["changed"], &written["pending"]),
        (&json!(true), &json!(["wal_keep_segments"])),
        "{written}"
    );
    assert_eq!(node.call(args("auto"))["changed"], false);
}

#[test]
fn a_reload_left_undone_is_made_up_for() {
    let node = TestNode::new(CONF.as_bytes());
    std::fs::write(node.0.path().join(".postgresql.conf.og_reload"), "").unwrap();
    let args =
        |check: bool| json!({"parameters": {"port": 5432}, "gauss_home": node.0.path(), "check_mode": check});
    // No server, nothing to tell.
    assert_eq!(node.call(args(false))["changed"], false);
    let _server = Server::new(&node);
    let said = node.call(args(true));
    assert_eq!(said["changed"], true, "{said}");
    assert!(said["actions"][0].as_str().unwrap().contains("reload"), "{said}");
    assert_eq!(node.call(args(false))["failed"], true);
    assert!(files(node.0.path()).iter().any(|name| name.contains("og_reload")));
}

#[test]
fn a_restart_that_is_due_is_told_again() {
    use std::os::unix::fs::PermissionsExt;
    let node = TestNode::new(CONF.as_bytes());
    let pid = node.0.path().join("postmaster.pid");
    let _server = Server::new(&node);
    let text = std::fs::read_to_string(&pid).unwrap();
    std::fs::write(&pid, format!("{text}1795276947\n26000\n/tmp\n127.0.0.1\n")).unwrap();
    let bin = node.0.path().join("home/bin");
    std::fs::create_dir_all(&bin).unwrap();
    let says = |value: u16| {
        // Moved into place: a file open for writing could be held by a fork of another test.
        let (new, gsql) = (bin.join("new"), bin.join("gsql"));
        let script = format!(
            "#!/bin/sh\nprintf 'port\\037postmaster\\037integer\\037{value}\\037\\0371\\03765535\\n'\n"
        );
        std::fs::write(&new, script).unwrap();
        std::fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::rename(new, gsql).unwrap();
    };
    let call = || node.call(json!({"parameters": {"port": 5432}, "gauss_home": node.0.path().join("home")}));
    says(26000);
    let due = call();
    let told = |result: &Value| {
        [result["changed"].clone(), result["pending"].clone(), result["restart_required"].clone()]
    };
    assert_eq!(told(&due), [json!(false), json!(["port"]), json!(["port"])], "{due}");
    says(5432);
    let done = call();
    assert_eq!(told(&done), [json!(false), json!([]), json!([])], "{done}");
}

#[test]
fn secrets_are_not_shown() {
    let conf = "archive_command = 'curl https://u:old-secret@h/%f'\napp.api_token = 'old-secret'\npassword_policy = 1\n";
    let node = TestNode::new(conf.as_bytes());
    let args = json!({"parameters": {"app.api_token": "new-secret", "app.conninfo": "host=h password=new-secret",
        "password_policy": 0}, "diff": true});
    let result = node.call(args);
    assert_eq!((&result["changed"], &result["after"]["password_policy"]), (&json!(true), &json!("0")));
    assert!(!result.to_string().contains("-secret"), "{result}");
    assert!(node.text().contains("app.conninfo = 'host=h password=new-secret'"), "{}", node.text());
    let all = node.call(json!({"state": "query"}));
    assert!(!all.to_string().contains("-secret") && all.to_string().contains("curl https://u:"), "{all}");
    let wrong = node.call(json!({"parameters": {"app.password": ["new-secret"]}}));
    assert!(wrong["error"]["kind"] == "bad_args" && !wrong.to_string().contains("-secret"), "{wrong}");
}

/// All bytes that the program writes, its debugging output, too.
fn written(args: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_og_guc"))
        .env_remove("PGDATA")
        .env("OG_LOG", "debug")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(args.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn no_byte_of_a_secret_is_written(head in "[a-z]{7}", special in "[\"\\\\';&,# =%:@/\u{e9}]{0,3}", tail in "[a-z]{7}") {
        let secret = format!("{head}{special}{tail}");
        let conf = |value: &str| value.replace('\\', "\\\\").replace('\'', "''");
        let libpq = secret.replace('\\', "\\\\").replace('\'', "\\'");
        let blank = libpq.replace(' ', "\\ ");
        let percent: Vec<String> = special.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let percent = percent.concat();
        let percent = format!("{head}{percent}{tail}");
        let conninfo = format!("host=h password='{libpq}' port=1");
        let unquoted = format!("host=h password = {blank} port=1");
        let address = format!("curl https://u:{percent}@h/%f");
        let text = format!(
            "app.token = '{0}'\napp.other_token '{0}' # {1}\n#app.password '{0}'\nx.conninfo = '{2}'\nx.info = '{3}'\n\
             x.address='{4}'\napp.passwd = '{5}'\n",
            conf(&secret), "comment", conf(&conninfo), conf(&unquoted), address, libpq
        );
        let parameters = json!({"app.password": secret, "x.conninfo": conninfo, "x.info": format!("{unquoted} x=1"),
            "x.address": address});
        let calls = [
            json!({"state": "query"}),
            json!({"parameters": parameters}),
            json!({"parameters": parameters.to_string()}),
            json!({"parameters": parameters.to_string().trim_end_matches('}')}),
            json!({"parameters": {"app.token": "new", "x.conninfo": "new", "app.other_token": "", "x.info": "", "app.password": "n"}}),
            json!({"parameters": {"app.token": [secret], "x.info": 1}}),
            json!({"parameters": {"app.token": format!("{secret}\nx")}}),
            json!({"parameters": {"app token": secret, "x": conninfo}}),
            json!({"parametrs": {"app.token": secret}, "x": unquoted}),
            json!({"state": "absent", "names": ["app.token", "x.conninfo", "x.info", "app.other_token", "app.passwd"]}),
            json!({"parameters": {"app.note": format!("say {secret}")}}),
        ];
        for mut args in calls {
            let node = TestNode::new(text.as_bytes());
            args["data_dir"] = json!(node.0.path());
            args["diff"] = json!(true);
            let said = written(&args.to_string());
            prop_assert!(!said.contains(&head) && !said.contains(&tail), "{}: {}", args, said);
        }
        // A file that the server refuses.
        let node = TestNode::new(format!("{text}=\n").as_bytes());
        let said = written(&json!({"data_dir": node.0.path(), "state": "query"}).to_string());
        prop_assert!(!said.contains(&head) && !said.contains(&tail), "{}", said);
    }
}
