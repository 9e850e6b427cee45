//! The built program: JSON on standard input, one JSON object back, and what became of the file.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use serde_json::{Value, json};

const FILE: &str = "# \u{6ce8}\nlocal all all trust\nhost all all 127.0.0.1/32 trust # loop\nhost all all 0.0.0.0/0 sha256\n";

fn run(args: &Value) -> (i32, Value) {
    told(Command::new(env!("CARGO_BIN_EXE_og_hba")).env_remove("PGDATA"), args)
}

fn told(command: &mut Command, args: &Value) -> (i32, Value) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(args.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.matches('\n').count(), 1, "one object, one newline: {text}");
    (output.status.code().unwrap(), serde_json::from_str(&text).unwrap())
}

fn node(text: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("pg_hba.conf"), text).unwrap();
    dir
}

fn read(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("pg_hba.conf")).unwrap()
}

#[test]
fn present_then_nothing_then_absent() {
    let dir = node(FILE);
    let path = dir.path().join("pg_hba.conf");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let rules = json!([{"users": "omm", "address": "192.168.0.12", "method": "trust"}]);
    let mut args = json!({"data_dir": dir.path(), "rules": rules, "check_mode": true, "diff": true});

    let (status, result) = run(&args);
    assert_eq!((status, &result["changed"], &result["failed"]), (0, &json!(true), &json!(false)), "{result}");
    assert_eq!(read(dir.path()), FILE, "check mode writes nothing");
    let diff = result["diff"].clone();

    args["check_mode"] = json!(false);
    args["backup"] = json!("yes");
    let (_, result) = run(&args);
    assert_eq!(result["changed"], true, "{result}");
    assert_eq!(result["diff"], diff, "check mode and the real run draw the same");
    assert_eq!(result["added"][0]["line"], 4);
    assert_eq!(result["reloaded"], false);
    let after =
        FILE.replace("host all all 0", "host    all    omm    192.168.0.12/32    trust\nhost all all 0");
    assert_eq!(read(dir.path()), after);
    assert_eq!(diff[0]["after"], after);
    assert_eq!(std::fs::read_to_string(result["backup_file"].as_str().unwrap()).unwrap(), FILE);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);

    let inode = std::fs::metadata(&path).unwrap().ino();
    let (_, result) = run(&args);
    assert_eq!((&result["changed"], &result["actions"]), (&json!(false), &json!([])), "{result}");
    assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode, "the second call writes nothing");

    let (_, result) =
        run(&json!({"data_dir": dir.path(), "state": "absent", "rules": [{"address": "192.168.0.12"}]}));
    assert_eq!(result["removed"][0]["rule"]["users"], json!(["omm"]), "{result}");
    assert_eq!(read(dir.path()), FILE);
}

#[test]
fn query_needs_no_lock_and_no_server() {
    let dir = node(&FILE.replace("# loop", "# loop\nrubbish"));
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o555)).unwrap();
    let probe = json!({"user": "u", "address": "10.1.2.3"});
    let (status, result) = run(&json!({"data_dir": dir.path(), "state": "query", "match": probe}));
    assert_eq!(status, 0, "{result}");
    assert_eq!((&result["rule_count"], &result["matched"]["line"]), (&json!(3), &json!(5)));
    assert_eq!(result["errors"][0]["line"], 4);
    assert_eq!(result["changed"], false);
    let probe = json!({"user": "u", "address": "10.1.2.3", "replication": true});
    let path = dir.path().join("pg_hba.conf");
    let (_, result) = run(&json!({"path": path, "state": "query", "match": probe}));
    assert_eq!(result.get("matched"), Some(&Value::Null), "{result}");
    assert!(!dir.path().join("pg_hba.conf.lock").exists());
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn refusals_leave_the_file_alone() {
    let dir = node(FILE);
    let data_dir = dir.path();
    let mine = json!({"type": "local"});
    for (args, status, kind, path) in [
        (json!({"data_dir": data_dir, "state": "absent", "rules": [mine]}), 1, "refused", None),
        (
            json!({"data_dir": data_dir, "rules": [{"address": "1.1.1.300", "method": "md5"}]}),
            2,
            "bad_args",
            Some("/rules/0/address"),
        ),
        (
            json!({"data_dir": data_dir, "rules": [{"adress": "1.1.1.3", "method": "md5"}]}),
            2,
            "bad_args",
            Some("/rules/0/adress"),
        ),
        (
            json!({"data_dir": data_dir, "rules": ["host all all 1.1.1.1/32 scram-sha-256"]}),
            2,
            "bad_args",
            Some("/rules/0"),
        ),
        (json!({"data_dir": data_dir}), 2, "bad_args", None),
        (json!({"data_dir": data_dir, "state": "query", "insert": "last"}), 2, "bad_args", None),
        (json!({"path": "pg_hba.conf", "rules": ["local all all md5"]}), 2, "bad_args", Some("/path")),
        (json!({"path": data_dir.join("none"), "rules": ["local all all md5"]}), 1, "not_found", None),
    ] {
        let (code, result) = run(&args);
        assert_eq!((code, result["error"]["kind"].as_str().unwrap()), (status, kind), "{args}: {result}");
        if let Some(path) = path {
            assert_eq!(result["error"]["path"], path, "{result}");
        }
        assert_eq!(read(data_dir), FILE);
    }
}

#[test]
fn a_missing_file_is_made_when_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pg_hba.conf");
    let rules = json!(["local all all trust", "host all all 10.0.0.1/32 sha256"]);
    let call = |more: Value| {
        let mut args = json!({"data_dir": dir.path(), "rules": rules});
        args.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        run(&args).1
    };
    for state in ["present", "absent"] {
        let result = call(json!({"state": state}));
        assert_eq!(result["error"]["kind"], "not_found", "{result}");
        assert!(result["error"]["hint"].as_str().unwrap().contains("create: true"), "{result}");
    }
    assert!(!path.exists());
    for making in [json!({"create": true}), json!({"state": "exact"})] {
        let mut check = making.clone();
        check["check_mode"] = json!(true);
        let foreseen = call(check);
        assert!(!path.exists() && foreseen["changed"] == true, "{foreseen}");
        let made = call(making.clone());
        assert_eq!((&made["changed"], &made["actions"]), (&json!(true), &foreseen["actions"]), "{made}");
        assert_eq!(made["actions"][0], format!("create {}", path.display()));
        assert_eq!(read(dir.path()), "local all all trust\nhost all all 10.0.0.1/32 sha256\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(call(making)["changed"], false);
        std::fs::remove_file(&path).unwrap();
    }
    // Nobody could start such a server and then ask it anything.
    let host = json!({"data_dir": dir.path(), "rules": ["host all all 10.0.0.1/32 sha256"], "create": true});
    let (_, result) = run(&host);
    assert!(result["warnings"].to_string().contains("cannot connect through the local socket"), "{result}");
    let (_, result) = run(&json!({"path": "/nonexistent/pg_hba.conf", "rules": rules, "create": true}));
    assert_eq!(result["error"]["kind"], "not_found", "{result}");
}

#[test]
fn a_file_made_that_the_server_refuses_is_removed_again() {
    let served = Served::new(REFUSES);
    std::fs::remove_file(served.node.path().join("pg_hba.conf")).unwrap();
    let result = served
        .call(json!({"create": true, "rules": ["local all all trust", "host all all 10.0.0.1/32 gss"]}));
    assert_eq!((&result["error"]["kind"], &result["changed"]), (&json!("command_failed"), &json!(false)));
    let detail = result["error"]["detail"].as_str().unwrap();
    assert!(detail.contains("the new file is removed again"), "{detail}");
    assert!(served.files("pg_hba.conf").iter().all(|name| name != "pg_hba.conf"), "{result}");
}

#[test]
fn names_open_no_other_database() {
    let dir = node(FILE);
    for name in ["a#b", "all#x", "al\"l", "x,y", " all "] {
        let rule = json!({"databases": [name], "users": ["u"], "address": "10.0.0.1", "method": "md5"});
        let (_, result) = run(&json!({"data_dir": dir.path(), "rules": [rule], "insert": "first"}));
        assert_eq!(result["added"][0]["rule"]["databases"], json!([name]), "{result}");
        for database in ["a", "all", "x", "postgres"] {
            let probe = json!({"user": "u", "database": database, "address": "10.0.0.1"});
            let (_, result) = run(&json!({"data_dir": dir.path(), "state": "query", "match": probe}));
            assert_eq!(result["matched"]["text"], "host all all 0.0.0.0/0 sha256", "{name} opens {database}");
        }
        let rule = json!({"databases": [name], "users": ["u"]});
        let (_, result) = run(&json!({"data_dir": dir.path(), "state": "absent", "rules": [rule]}));
        assert_eq!((result["removed"].as_array().unwrap().len(), read(dir.path())), (1, FILE.to_owned()));
    }
    let object = |more: &str| format!("{{\"address\": \"10.0.0.7\", \"method\": \"md5\"{more}}}");
    let (_, result) =
        run(&json!({"data_dir": dir.path(), "rules": [object(", \"users\": 5")], "check_mode": true}));
    assert_eq!(result["added"][0]["rule"]["users"], json!(["5"]), "{result}");
    for rules in [json!([object(", \"user\": 5")]), json!(format!("[{}]", object(", \"user\": 5")))] {
        let (_, result) = run(&json!({"data_dir": dir.path(), "rules": rules}));
        assert_eq!(result["error"]["path"], "/rules/0/user", "{result}");
        assert!(result["msg"].as_str().unwrap().contains("did you mean users?"), "{result}");
    }
    let mask = json!({"address": "10.9.8.7", "netmask": 24, "method": "md5"});
    let (_, result) = run(&json!({"data_dir": dir.path(), "rules": [mask], "check_mode": true}));
    assert_eq!(result["added"][0]["rule"]["address"], "10.9.8.0/24", "{result}");
}

#[test]
fn names_that_are_no_utf8_are_kept_and_told() {
    let dir = node("");
    let file: &[u8] = b"local all all trust\nhost \xc4\xe3 all all md5\nhost \xc4\xe4 all all md5\n";
    std::fs::write(dir.path().join("pg_hba.conf"), file).unwrap();
    let (_, result) = run(&json!({"data_dir": dir.path(), "state": "query"}));
    assert_eq!(result["rules"][1]["rule"], Value::Null, "{result}");
    assert!(result["warnings"].to_string().contains("line 2 holds bytes that are not UTF-8"), "{result}");
    let (_, refused) = run(&json!({"data_dir": dir.path(), "rules": [result["rules"][1]["text"]]}));
    assert_eq!(refused["error"]["kind"], "bad_args", "{refused}");
    let (_, added) =
        run(&json!({"data_dir": dir.path(), "rules": ["host all u 10.0.0.1/32 md5"], "insert": "last"}));
    assert_eq!(added["changed"], true, "{added}");
    assert!(std::fs::read(dir.path().join("pg_hba.conf")).unwrap().starts_with(file));
}

#[test]
fn the_file_that_the_server_reads_is_the_one() {
    let (dir, other) = (node(FILE), node("local all all trust\n"));
    let path = other.path().join("pg_hba.conf");
    std::fs::write(dir.path().join("postgresql.conf"), format!("hba_file = '{}'\n", path.display())).unwrap();
    let (_, result) = run(&json!({"data_dir": dir.path(), "state": "query"}));
    assert_eq!((&result["path"], &result["rule_count"]), (&json!(path), &json!(1)), "{result}");
    let (_, result) = run(&json!({"data_dir": dir.path(), "rules": ["host all u 10.0.0.1/32 md5"]}));
    assert_eq!(result["changed"], true, "{result}");
    assert_eq!((read(dir.path()).as_str(), read(other.path()).lines().count()), (FILE, 2));
}

#[test]
fn rules_as_one_text() {
    let dir = node(FILE);
    let rules = "host a,b u 10.0.0.1/32 md5\n# not this\nhost a u 10.0.0.2/32 md5\n";
    let (_, result) = run(&json!({"data_dir": dir.path(), "rules": rules}));
    assert_eq!(result["added"].as_array().unwrap().len(), 2, "{result}");
    assert_eq!(result["added"][0]["rule"]["databases"], json!(["a", "b"]));
}

#[test]
fn examples_and_schema_fit_together() {
    let schema = Command::new(env!("CARGO_BIN_EXE_og_hba")).args(["--schema", "args"]).output().unwrap();
    let schema: Value = serde_json::from_slice(&schema.stdout).unwrap();
    assert!(schema["properties"]["rules"].is_object());
    let dir = node(FILE);
    for example in <og_hba::Hba as og_common::protocol::Module>::EXAMPLES {
        let mut args: Value = serde_json::from_str(example.args).unwrap();
        args["data_dir"] = json!(dir.path());
        let (_, result) = run(&args);
        assert_ne!(result["error"]["kind"], "bad_args", "{}: {result}", example.title);
    }
}

#[test]
fn the_world_is_not_let_in_without_a_password() {
    let dir = node(FILE);
    for rule in [
        json!("host all all 0.0.0.0/0 trust"),
        json!("host shop app 0.0.0.0 0.0.0.0 trust"),
        json!("hostssl all all ::/0 trust"),
        json!("host replication all all trust"),
        json!({"type": "host", "address": "128.0.0.0/1", "method": "trust"}),
        // The last line of the file, made so.
        json!({"users": "all", "databases": "all", "address": "0.0.0.0/0", "method": "trust"}),
    ] {
        let args = json!({"data_dir": dir.path(), "rules": ["host all all 10.0.0.1/32 trust", rule]});
        let (status, result) = run(&args);
        assert_eq!((status, &result["error"]["kind"]), (1, &json!("refused")), "{rule}: {result}");
        assert!(result["msg"].as_str().unwrap().contains("anyone in the world"), "{result}");
        assert_eq!(read(dir.path()), FILE, "nothing is written");
    }
    let args = json!({"data_dir": dir.path(), "rules": ["host all all 0.0.0.0/0 trust"], "force": true});
    let (_, result) = run(&args);
    assert_eq!(result["changed"], true, "{result}");
    assert!(result["warnings"].to_string().contains("line 4 lets anyone in the world in"), "{result}");
    // What was there before is warned about, and hinders nothing.
    let (_, result) = run(&json!({"data_dir": dir.path(), "rules": ["host all all 10.0.0.1/32 trust"]}));
    assert_eq!((&result["changed"], &result["failed"]), (&json!(true), &json!(false)), "{result}");
    assert!(result["warnings"].to_string().contains("anyone in the world"), "{result}");
}

#[test]
fn a_node_that_is_built_is_left_alone() {
    let dir = node(FILE);
    let build = std::os::unix::process::CommandExt::arg0(&mut Command::new("sleep"), "gs_ctl")
        .arg("100")
        .current_dir(dir.path())
        .spawn();
    let mut build = build.unwrap();
    std::fs::write(dir.path().join("gs_build.pid"), build.id().to_string()).unwrap();
    let comm = format!("/proc/{}/cmdline", build.id());
    while !std::fs::read(&comm).unwrap().starts_with(b"gs_ctl") {
        std::thread::yield_now();
    }
    let args = |rule: &str| json!({"data_dir": dir.path(), "rules": [rule], "force": true});
    let (_, there) = run(&args("local all all trust"));
    let (_, new) = run(&args("host all all 10.0.0.1/32 trust"));
    // A build takes the file away for a while.
    std::fs::remove_file(dir.path().join("pg_hba.conf")).unwrap();
    let (_, gone) = run(&args("host all all 10.0.0.1/32 trust"));
    build.kill().unwrap();
    build.wait().unwrap();
    assert_eq!(there["failed"], false, "{there}");
    for result in [new, gone] {
        assert_eq!(result["error"]["kind"], "busy", "{result}");
        assert!(result["msg"].as_str().unwrap().contains("is being built"), "{result}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let ldap = "ldap ldapserver=h ldapbasedn=b ldapbindpasswd=S3cret";
    let file =
        format!("local all all {ldap}\nhost all +staff 10.0.0.0/8 {ldap}\nhost all all 10.2.0.0/16 {ldap}\n");
    let probe = json!({"user": "app", "address": "10.1.1.1"});
    for (args, told) in [
        (json!({"state": "query", "match": probe}), "may decide before"),
        (json!({"rules": ["host all all 10.2.1.0/24 md5"], "insert": "last"}), "is never reached"),
        (json!({"rules": ["host all all 0.0.0.0/0 md5"], "insert": "first"}), "is no longer reached"),
        (json!({"state": "absent", "rules": [{"type": "local"}]}), "could no longer connect"),
        (json!({"rules": [format!("host all all 10.0.0.1/33 {ldap}")]}), "invalid CIDR mask"),
        (json!({"rules": [{"address": "10.0.0.1", "method": ldap}]}), "is no method"),
        (
            json!({"rules": [format!("host all all 10.0.0.1/32 {ldap},\"ldapbindpasswd=S3cret S3cret\"")]}),
            "ldap",
        ),
        (json!({"state": "exact", "rules": ["local all all trust"]}), "remove line 2"),
    ] {
        let dir = node(&file);
        let mut args = args;
        args["data_dir"] = json!(dir.path());
        args["diff"] = json!(true);
        let (_, result) = run(&args);
        let result = result.to_string();
        assert!(result.contains(told) && !result.contains("S3cret"), "{told}: {result}");
    }
    // A comma at the end of a file takes the new rule to itself.
    let dir = node("local all all trust\nhost a,");
    let rule = format!("host all all 10.0.0.1/32 {ldap}");
    let (_, result) = run(&json!({"data_dir": dir.path(), "rules": [rule], "insert": "last"}));
    assert!(result["failed"] == true && !result.to_string().contains("S3cret"), "{result}");
}

/// A node with something that lives in it as a server does, and stand-ins for the programs.
struct Served {
    node: tempfile::TempDir,
    home: tempfile::TempDir,
    server: std::process::Child,
}

impl Served {
    /// With what `gs_ctl reload` does, in lines of shell; `$data` is the node, `$log` the server's log.
    fn new(reload: &str) -> Self {
        const GSQL: &str = r#"for last; do :; done
case "$last" in
*"raise log"*) printf 'x LOG:  %s\n' "$last" >> "$log" ;;
*log_directory*) echo pg_log ;;
esac"#;
        let (node, home) = (node(FILE), tempfile::tempdir().unwrap());
        let data = node.path();
        std::fs::create_dir(data.join("pg_log")).unwrap();
        std::fs::create_dir(home.path().join("bin")).unwrap();
        let gs_ctl = format!("[ \"$1\" = reload ] || exit 1\n{reload}");
        for (name, lines) in [("gs_ctl", gs_ctl.as_str()), ("gsql", GSQL)] {
            let text = format!("#!/bin/sh\ndata={}\nlog=$data/pg_log/server.log\n{lines}\n", data.display());
            // By a child, as this process forks in other tests meanwhile ("text file busy").
            let script = r#"printf %s "$2" > "$1" && chmod 755 "$1""#;
            let mut child = Command::new("/bin/sh");
            child.args(["-c", script, "sh"]).arg(home.path().join("bin").join(name)).arg(text);
            assert!(child.status().unwrap().success());
        }
        let server = Command::new("sleep").arg("600").current_dir(data).spawn().unwrap();
        let text = format!("{}\n{}\n1\n5432\n/tmp\n\n1 1\n", server.id(), data.display());
        std::fs::write(data.join("postmaster.pid"), text).unwrap();
        Self { node, home, server }
    }

    fn call(&self, mut own: Value) -> Value {
        own["data_dir"] = json!(self.node.path());
        own["gauss_home"] = json!(self.home.path());
        run(&own).1
    }

    /// Files of the node whose names have this in them.
    fn files(&self, part: &str) -> Vec<String> {
        let names = std::fs::read_dir(self.node.path()).unwrap();
        let names = names.map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(part)).collect()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

const TAKES: &str = r#"echo "x LOG:  received SIGHUP, reloading configuration files" >> "$log""#;
const REFUSES: &str = r#"{
    echo "x LOG:  received SIGHUP, reloading configuration files"
    if grep -q gss "$data/pg_hba.conf"; then
        echo 'x LOG:  invalid authentication method "gss": not supported by this build'
        echo "x WARNING:  pg_hba.conf not reloaded"
    fi
} >> "$log""#;

/// A server that gs_ctl never ends to reload.
#[test]
fn a_call_that_ends_in_the_reload_says_what_it_wrote() {
    let served = Served::new("exec sleep 100");
    let result = served.call(json!({"timeout": 1, "rules": ["host all all 10.0.0.1/32 md5"]}));
    assert_eq!((&result["error"]["kind"], &result["changed"]), (&json!("timeout"), &json!(true)), "{result}");
    assert_eq!(result["actions"], json!(["add line 4: host all all 10.0.0.1/32 md5"]));
    // What a workflow reads that takes it back.
    assert_eq!(result["added"][0]["rule"]["address"], "10.0.0.1/32");
}

#[test]
fn root_takes_the_files_owner_before_an_environment_of_somebody_else() {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("skipped: not root");
        return;
    }
    let (dir, other) = (node(FILE), tempfile::tempdir().unwrap());
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(other.path(), Some(65533), Some(65533)).unwrap();
    let file = dir.path().join("pg_hba.conf");
    for path in [dir.path(), &file] {
        std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
    }
    let args = json!({"path": file, "rules": ["host all omm 192.168.0.12/32 trust"]});
    for pgdata in [other.path(), Path::new("/var/lib/gone"), Path::new("")] {
        let result = told(Command::new(env!("CARGO_BIN_EXE_og_hba")).env("PGDATA", pgdata), &args).1;
        assert_eq!(result["failed"], false, "{result}");
        assert_eq!(std::fs::metadata(dir.path().join("pg_hba.conf.lock")).unwrap().uid(), 65534);
    }
}

#[test]
fn root_makes_a_file_as_the_owner_of_its_folder() {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("skipped: not root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(dir.path(), Some(65534), Some(65534)).unwrap();
    let path = dir.path().join("pg_hba.conf");
    let (_, result) = run(&json!({"path": path, "rules": ["local all all trust"], "create": true}));
    assert_eq!(result["changed"], true, "{result}");
    assert_eq!(std::fs::metadata(path).unwrap().uid(), 65534);
}

#[test]
fn a_server_that_refuses_gets_its_old_file_back() {
    let served = Served::new(REFUSES);
    let args = json!({"rules": ["host all all 10.0.0.1/32 gss"], "backup": true});
    let result = served.call(args);
    let detail = result["error"]["detail"].as_str().unwrap();
    assert_eq!((&result["error"]["kind"], &result["changed"]), (&json!("command_failed"), &json!(false)));
    assert!(detail.contains("not supported by this build"), "{detail}");
    assert!(detail.contains("the old file is back in place"), "{detail}");
    assert_eq!(read(served.node.path()), FILE);
    // Nothing was changed, so nothing is left of it.
    assert!(served.files(".bak").is_empty() && served.files("og_reload").is_empty(), "{result}");
}

#[test]
fn a_refused_file_that_cannot_be_taken_back_is_told_with_the_refusal() {
    // A folder in the place of the temporary file stands for a disk that is full by now.
    let served = Served::new(&format!("{REFUSES}\nmkdir -p \"$data/.pg_hba.conf.og_tmp/x\""));
    let args = json!({"rules": ["host all all 10.0.0.1/32 gss"], "backup": true});
    let result = served.call(args.clone());
    let detail = result["error"]["detail"].as_str().unwrap();
    assert_eq!((&result["error"]["kind"], &result["changed"]), (&json!("command_failed"), &json!(true)));
    assert!(detail.contains("not supported by this build"), "{detail}");
    assert!(detail.contains("the old file could not be restored"), "{detail}");
    let [backup] = &served.files(".bak")[..] else { panic!("{result}") };
    assert!(detail.contains(backup), "{detail}");
    assert!(read(served.node.path()).contains("gss"));
    // Nor does the next call say that all is well.
    let again = served.call(args);
    assert!(again["failed"] == true && again["msg"].to_string().contains("not supported"), "{again}");
}

#[test]
fn check_mode_foresees_the_reload() {
    let served = Served::new(TAKES);
    let args = |check: bool| json!({"rules": ["host all all 10.0.0.1/32 md5"], "check_mode": check});
    let (foreseen, done) = (served.call(args(true)), served.call(args(false)));
    assert_eq!(done["reloaded"], true, "{done}");
    assert_eq!(foreseen["actions"], done["actions"], "{foreseen}");
    assert_eq!(done["actions"][1], "reload the server");
}

#[test]
fn whoever_works_on_the_node_is_waited_for() {
    let dir = node(FILE);
    let call = og_common::protocol::Call::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let lock = runtime.block_on(og_common::files::NodeLock::acquire(dir.path(), &call)).unwrap();
    let args = |rule: &str, check: bool| json!({"data_dir": dir.path(), "rules": [rule], "lock_timeout": 0, "check_mode": check});
    let (_, busy) = run(&args("host all all 10.0.0.1/32 md5", false));
    assert_eq!(busy["error"]["kind"], "busy", "{busy}");
    assert_eq!(read(dir.path()), FILE);
    // Whoever only looks, and whoever has nothing to do, is in nobody's way.
    assert_eq!(run(&args("host all all 10.0.0.1/32 md5", true)).1["failed"], false);
    assert_eq!(run(&args("local all all trust", false)).1["failed"], false);
    drop(lock);
    assert_eq!(run(&args("host all all 10.0.0.1/32 md5", false)).1["changed"], true);
}

/// All bytes that the program writes, its debugging output, too.
fn written(args: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_og_hba"))
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
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn no_byte_of_a_secret_is_written(head in "[a-z]{7}", special in "[\"\\\\';&,# =%:@/\u{e9}]{0,3}", tail in "[a-z]{7}") {
        let secret = format!("{head}{special}{tail}");
        let doubled = secret.replace('"', "\"\"");
        let bare = !special.contains(['"', ' ', ',', '#']);
        let mut spelled = vec![
            format!("ldapbindpasswd=\"{doubled}\""),
            format!("\"ldapbindpasswd={doubled}\""),
            format!("\"ldapbindpasswd\"=\"{doubled}\""),
            format!("ldapbind\"passwd={doubled}\""),
        ];
        if bare {
            spelled.push(format!("ldapbindpasswd={secret}"));
            spelled.push(format!("\"ldapbindpasswd\"={secret}"));
        }
        let line = |n: usize, method: &str| {
            format!("host all u{n} 10.0.0.1/32 {method} ldapserver=h ldapbasedn=x {} ldaptls=1", spelled[n])
        };
        let lines: Vec<String> = (0..spelled.len()).map(|n| line(n, "ldap")).collect();
        let text = format!("local all all trust\n#{}\n{}\n", line(0, "ldap"), lines.join("\n"));
        let fields = |users: &str, method: &str| json!({"users": users, "address": "10.0.0.1", "method": method,
            "options": {"ldapserver": "h", "ldapbasedn": "x", "ldapbindpasswd": secret}});
        let wrong = json!({"users": "u", "address": "10.0.0.1", "method": "ldap", "ldapbindpasswd": secret});
        let as_text = json!([fields("u", "ldap")]).to_string();
        let calls = [
            json!({"state": "query"}),
            json!({"state": "query", "match": {"user": "u0", "address": "10.0.0.1"}}),
            json!({"rules": lines}),
            json!({"rules": [fields("u0", "ldap"), fields("new", "ldap")]}),
            json!({"rules": as_text}),
            json!({"rules": [as_text[1..as_text.len() - 1]]}),
            json!({"rules": as_text[..as_text.len() - 2]}),
            json!({"rules": as_text[1..as_text.len() - 2]}),
            json!({"rules": [fields("u", "ldop"), fields("u", "trust")]}),
            json!({"rules": [wrong.clone()]}),
            json!({"rules": [wrong.to_string()]}),
            json!({"rules": [line(0, "ldop")]}),
            json!({"rules": [line(1, "trust")]}),
            json!({"rules": lines.join("\n")}),
            json!({"rules": fields("u", "ldap")}),
            json!({"state": "absent", "rules": lines}),
            json!({"state": "absent", "rules": [{"address": "10.0.0.1"}], "_ansible_verbosity": 3}),
            json!({"state": "absent", "rules": [{"options": {"ldapbindpasswd": secret}}]}),
            json!({"state": "exact", "rules": ["local all all trust"]}),
            json!({"rules": ["host all new 10.0.0.9/32 md5"], "insert": {"before": fields("u0", "ldap")}}),
            json!({"rules": ["host all new 10.0.0.9/32 md5"], "insert": {"after": lines[0]}}),
            json!({"rules": ["host all new 10.0.0.9/32 md5"], "insert": {"aftr": lines[0]}}),
            json!({"password": secret, "rules": format!("xx {secret}")}),
        ];
        for mut args in calls {
            let dir = node(&text);
            args["data_dir"] = json!(dir.path());
            args["diff"] = json!(true);
            let said = written(&args.to_string());
            prop_assert!(!said.contains(&head) && !said.contains(&tail), "{}: {}", args, said);
            let shown = args["state"] == "query" || said.contains("\"changed\":true");
            prop_assert!(!shown || said.contains("VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"), "{}: {}", args, said);
        }
        // A file that the server refuses, and arguments that are no JSON.
        let dir = node(&text.replace(" ldap ", " ldop "));
        let said = written(&json!({"data_dir": dir.path(), "state": "query"}).to_string());
        prop_assert!(!said.contains(&head) && !said.contains(&tail), "{}", said);
        let said = written(&format!("{{\"ldapbindpasswd\": {}, \"rules\": [x", json!(secret)));
        prop_assert!(!said.contains(&head) && !said.contains(&tail), "{}", said);
    }
}

#[test]
fn a_connection_is_asked_about_by_the_address_that_a_rule_has() {
    let dir = node(FILE);
    let ask = |address: &str| {
        run(&json!({"data_dir": dir.path(), "state": "query", "match": {"user": "u", "address": address}}))
    };
    for address in ["127.0.0.1", " 127.0.0.1/32 ", "::ffff:127.0.0.1/128"] {
        let (status, result) = ask(address);
        assert_eq!((status, &result["failed"]), (0, &json!(false)), "{address}: {result}");
    }
    assert_eq!(ask("127.0.0.1/32").1["matched"]["line"], 3);
    for address in ["127.0.0.0/8", "127.0.0.1/33", "localhost", "010.1.1.1"] {
        let (status, result) = ask(address);
        assert_eq!((status, &result["error"]["path"]), (2, &json!("/match/address")), "{address}");
    }
}
