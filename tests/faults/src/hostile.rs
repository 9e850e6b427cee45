//! Arguments are data: whatever they are, one result, no panic, no hang, bounded memory, nothing run, nothing written
//! outside the node.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::cases::CASES;
use crate::sandbox::{Sandbox, Tried, brief};

/// Memory that a module may have, in KiB.
const MEMORY: &str = r#"ulimit -v 400000; exec "$@""#;
/// A call that was not asked to wait takes no longer.
const LONGEST: Duration = Duration::from_secs(60);

/// Of the hostile values each place gets every so manieth, each place others; all of them with `OG_FAULTS=all`.
const STRIDE: usize = 10;

/// Calls that go through as much of a module as can be without a server.
fn calls(module: &str, node: &Sandbox) -> Tried<Vec<Value>> {
    let data = node.data();
    let open = node.path("open");
    let peer =
        json!({"host": "127.0.0.2", "port": 2, "heartbeat_port": 3, "service_port": 4, "cascade": true});
    Ok(match module {
        "og_hba" => vec![
            json!({"rules": [{"type": "host", "databases": ["all"], "users": ["app"], "address": "10.0.0.1/32",
                "method": "sha256", "comment": "c"}, "host all all 10.0.0.2/32 trust"],
                "insert": {"before": {"address": "127.0.0.1/32"}}, "reload": "never"}),
            json!({"state": "absent", "rules": [{"users": ["app"], "netmask": "255.0.0.0", "address": "10.0.0.0"}]}),
            json!({"state": "query", "match": {"type": "host", "database": "d", "user": "u", "address": "10.0.0.1"}}),
            json!({"path": data.join("pg_hba.conf"), "rules": "local all all trust"}),
        ],
        "og_guc" => vec![
            json!({"parameters": {"application_name": "a", "work_mem": "1MB", "a.b": 1},
                "synchronous_standbys": {"method": "any", "num": 1, "add": ["dn_6004"], "remove": ["dn_6002"]}}),
            json!({"state": "absent", "names": ["port"]}),
        ],
        "og_replconninfo" => vec![
            json!({"local": {"host": "127.0.0.1", "port": 1, "heartbeat_port": 2, "service_port": 3}, "peers": [peer]}),
            json!({"state": "absent", "peers": [{"host": "127.0.0.2", "base_port": 26000}]}),
        ],
        "og_static_conf" => vec![
            json!({"path": data.join("cluster_static_config"), "local": "a", "nodes": [
                {"name": "a", "address": "10.0.0.1", "zone": "AZ1", "role": "primary"}, {"name": "b", "address": "10.0.0.2"}]}),
            json!({"path": data.join("cluster_static_config"), "drop": ["stb1.opengauss.com"], "for_all": open,
                "add": [{"name": "n", "address": "10.0.0.9"}], "write_xml": data.join("cluster_config.xml")}),
            json!({"state": "query", "path": data.join("cluster_static_config"),
                "verify": {"xml": data.join("cluster_config.xml")}}),
            json!({"path": data.join("new"), "xml": data.join("cluster_config.xml"), "local": "stb1.opengauss.com",
                "roles": {"a": "primary"}, "dynamic": "remove"}),
        ],
        "og_node_state" => vec![
            json!({"state": "query", "interval_ms": 20}),
            json!({"state": "started", "role": "standby", "wait": {"role": "standby", "db_state": "normal",
                "peer_count": 1, "peers": ["127.0.0.2"], "max_lag_bytes": 1}, "timeout": 1}),
        ],
        "og_build" => vec![
            json!({"mode": "full", "role": "standby", "wait": false, "min_free": 1, "stall_timeout": 1}),
            json!({"state": "query"}),
        ],
        "og_preflight" => vec![
            json!({"for": "any"}),
            json!({"for": "switchover", "wanted": {"target": true}, "fail_on": "never"}),
        ],
        "og_slot" => vec![json!({"state": "absent", "names": ["dn_6002"], "if_active": "skip"})],
        "og_lock" => vec![json!({"owner": "a", "purpose": "p", "ttl": 10, "force": false})],
        // One that begins ends within a second.
        "og_probe" => {
            vec![json!({"state": "started", "interval_ms": 20, "limit": 1}), json!({"state": "stopped"})]
        }
        // Nothing of these comes to its end: one that writes the canary would have been asked to.
        "og_file" => vec![
            json!({"path": data.join("f"), "sha256": "0".repeat(64), "size": 9, "mode": "0600", "offset": 0,
                "content": "aGkK"}),
            json!({"state": "query", "path": data.join("f")}),
            json!({"state": "absent", "path": data.join("f")}),
        ],
        "og_package" => vec![
            json!({"link": data.join("current"), "package": data.join("none"), "sha256": "0".repeat(64)}),
            json!({"link": data.join("current"), "state": "query"}),
            json!({"link": data.join("current"), "state": "absent"}),
        ],
        // Of a module without calls of its own here those that it shows.
        _ => {
            let examples = og_registry::find_program(module).map_or(&[][..], |program| program.examples);
            let args = examples.iter().map(|example| serde_json::from_str(example.args));
            args.collect::<Result<Vec<Value>, _>>()
                .map_err(|e| format!("an example of {module}: {e}"))?
                .into_iter()
                .map(|mut args| {
                    args["data_dir"] = json!(data);
                    args
                })
                .collect()
        }
    })
}

/// What is put in the place of each value.
fn values(canary: &Path) -> Vec<Value> {
    let canary = canary.display();
    let mut values: Vec<Value> = [
        "",
        "-",
        "--help",
        "x'y\"z\\",
        "\n",
        "a\nb",
        "a\0b",
        "\u{202e}\u{7f}\u{1}",
        "%s%n%x",
        "#",
        "a=b",
        "a,b,,",
        "*",
        "..",
        "../../open/canary",
        "/",
        "/dev/zero",
        "/proc/self/mem",
        "/nonexistent/x",
        "99999999999999999999",
        "-1",
        "1e999",
        "{\"a\":",
        "[1",
        "{\"a\": {\"a\": 1}}",
    ]
    .into_iter()
    .map(Value::from)
    .collect();
    for text in ["; touch C", "$(touch C)", "`touch C`", "'; \\! touch C", "C"] {
        values.push(Value::from(text.replace('C', &canary.to_string())));
    }
    for long in ["A", "'\n", "[", "10.0.0.1/32 "] {
        values.push(Value::from(long.repeat((1 << 20) / long.len())));
    }
    let mut deep = json!("x");
    for _ in 0..100 {
        deep = json!([deep]);
    }
    let mut deeper = json!("x");
    for _ in 0..100 {
        deeper = json!({"address": deeper});
    }
    values.extend([
        deep,
        deeper,
        json!([]),
        json!({}),
        Value::Null,
        json!(true),
        json!(-1),
        json!(0),
        json!(0.5),
    ]);
    values.extend([json!(u64::MAX), json!(i64::MIN), json!(1e308), json!(65_536), json!(vec!["x"; 500])]);
    values.push(Value::Object((0..500).map(|n| (format!("k{n}"), json!(n))).collect()));
    values
}

/// Puts each hostile value in the place of each value of each call, and of each argument that the calls do not give.
pub fn arguments(module: &str) -> Tried {
    let mut node = node(module)?;
    node.disown(module)?;
    let known = schema(module, &node)?;
    let canary = node.path("open/canary");
    let values = values(&canary);
    let stride = if std::env::var_os("OG_FAULTS").is_some_and(|v| v == "all") { 1 } else { STRIDE };
    let mut tried = 0;
    for call in calls(module, &node)? {
        let mut call = call;
        for (key, value) in common(&node).as_object().into_iter().flatten() {
            if call.get(key).is_none() {
                call[key] = value.clone();
            }
        }
        let mut places = Vec::new();
        leaves(&call, "", &mut places);
        let missing =
            known.iter().filter(|key| call.get(key.as_str()).is_none()).map(|key| format!("/{key}"));
        places.extend(missing.collect::<Vec<_>>());
        for (n, place) in places.into_iter().enumerate() {
            for value in values.iter().skip(n % stride).step_by(stride) {
                // A time-out of a thousand years is what was asked for.
                if place == "/timeout" && value.as_f64() != Some(-1.0) && !value.is_array() {
                    continue;
                }
                let mut hostile = call.clone();
                put_value(&mut hostile, &place, value.clone());
                check_unharmed(&node, module, hostile.to_string().as_bytes())
                    .map_err(|e| format!("{place} = {}: {e}", shown(value)))?;
                tried += 1;
            }
        }
        // And as names of arguments.
        for name in values.iter().filter_map(Value::as_str).step_by(stride) {
            let mut hostile = call.clone();
            hostile[name] = json!(1);
            check_unharmed(&node, module, hostile.to_string().as_bytes())
                .map_err(|e| format!("an argument {}: {e}", shown(&json!(name))))?;
            tried += 1;
        }
    }
    Ok(format!("{tried} calls"))
}

/// Arguments that are no arguments.
pub fn garbage(module: &str) -> Tried {
    let mut node = node(module)?;
    node.disown(module)?;
    let data = node.data().display().to_string();
    let mut inputs: Vec<Vec<u8>> = [
        "",
        "{",
        "[]",
        "null",
        "3",
        "\"x\"",
        "{}{}",
        "{\"state\": \"query\", \"state\": \"present\"}",
        "\u{feff}{}",
        "{\"a\": 1e999}",
        "{\"data_dir\": \"\\ud800\"}",
        "{\"\\u0000\": 1}",
        "{'a': 1}",
        "{\"a\": 01}",
        "\0\0\0",
        "{\"_ansible_check_mode\": \"maybe\"}",
    ]
    .into_iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    inputs.push(b"{\"data_dir\": \"\xff\xfe\"}".to_vec());
    inputs.push(vec![b'['; 1 << 20]);
    inputs.push("{\"a\":".repeat(1 << 18).into_bytes());
    inputs.push(vec![b' '; (64 << 20) + 1]);
    inputs.push(vec![0; 1 << 20]);
    let many: Map<String, Value> = (0..100_000).map(|n| (format!("key{n}"), json!(1))).collect();
    inputs.push(Value::Object(many).to_string().into_bytes());
    inputs.push(
        format!("{{\"data_dir\": \"{data}\", \"check_mode\": \"{}\"}}", "yes".repeat(1 << 20)).into_bytes(),
    );
    for input in &inputs {
        let text = String::from_utf8_lossy(&input[..input.len().min(40)]).into_owned();
        check_unharmed(&node, module, input).map_err(|e| format!("{text:?}: {e}"))?;
    }
    Ok(format!("{} inputs", inputs.len()))
}

/// An environment file that does what it likes: it is the node owner's own, but it must not hang or crash the module.
pub fn environment() -> Tried {
    const FILES: [&str; 16] = [
        "sleep 100",
        "exit 3",
        "kill -9 $$",
        "exec cat",
        "read answer",
        "yes | head -c 200000000",
        "yes | head -c 200000000 >&2",
        "set -eu; false",
        "exec 1>&-",
        "trap 'printf \"\\0og-env\\0GAUSSHOME=/evil\"' EXIT; exit 0",
        "export GAUSSHOME=$'\\xff\\xfe'",
        "export GAUSSHOME=$'/a\\nb'",
        "export LD_PRELOAD=/nonexistent.so LD_LIBRARY_PATH=$PWD",
        "unset PATH HOME; readonly PATH",
        "export BIG=$(head -c 100000 /dev/zero | tr '\\0' x)",
        "printf() { :; }; env() { echo evil; }; export -f printf env",
    ];
    let mut node = Sandbox::new()?;
    CASES[0].fill(&node)?;
    node.disown("og_node_state")?;
    node.start()?;
    let file = node.path("open/env");
    for text in FILES {
        std::fs::write(&file, text).map_err(|e| e.to_string())?;
        crate::sandbox::set_mode(&file, 0o644)?;
        let args = json!({"data_dir": node.data(), "env_file": file, "timeout": 2});
        check_unharmed(&node, "og_node_state", args.to_string().as_bytes())
            .map_err(|e| format!("{text}: {e}"))?;
        std::fs::remove_file(&file).map_err(|e| e.to_string())?;
    }
    Ok(format!("{} files", FILES.len()))
}

fn node(module: &str) -> Tried<Sandbox> {
    let mut node = Sandbox::new()?;
    for case in CASES.iter().filter(|c| !c.serves) {
        if case.module != "og_lock" {
            case.fill(&node)?;
        }
    }
    if ["og_checkpoint", "og_session", "og_slot"].contains(&module) {
        node.serve()?;
    }
    Ok(node)
}

fn common(node: &Sandbox) -> Value {
    json!({"data_dir": node.data(), "gauss_home": node.path(""), "lock_timeout": 1, "timeout": 5})
}

/// The names of the module's arguments.
fn schema(module: &str, node: &Sandbox) -> Tried<Vec<String>> {
    let output =
        std::process::Command::new(node.path("bin").join(module)).args(["--schema", "args"]).output();
    let schema: Value =
        serde_json::from_slice(&output.map_err(|e| e.to_string())?.stdout).map_err(|e| e.to_string())?;
    Ok(schema["properties"].as_object().into_iter().flat_map(Map::keys).cloned().collect())
}

/// JSON pointers of all values, containers among them.
fn leaves(value: &Value, at: &str, places: &mut Vec<String>) {
    if !at.is_empty() {
        places.push(at.to_owned());
    }
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| leaves(value, &format!("{at}/{key}"), places));
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(n, value)| leaves(value, &format!("{at}/{n}"), places));
        }
        _ => {}
    }
}

fn put_value(args: &mut Value, place: &str, value: Value) {
    match args.pointer_mut(place) {
        Some(there) => *there = value,
        None => args[place.trim_start_matches('/')] = value,
    }
}

/// Calls the module: one result that is no mistake of the program, in time, and nothing outside the node is touched.
fn check_unharmed(node: &Sandbox, module: &str, args: &[u8]) -> Tried<()> {
    let ran = node.call_with(&["sh", "-c", MEMORY, "sh"], module, args)?;
    let told = ran.result()?;
    let expected = if ran.kind() == "bad_args" { 2 } else { i32::from(told["failed"] == true) };
    if ran.kind() == "internal" || ran.status != expected {
        return Err(format!("exit status {}: {}", ran.status, brief(told)));
    }
    if ran.took > LONGEST {
        return Err(format!("it took {} s: {}", ran.took.as_secs(), brief(told)));
    }
    let length = told.to_string().len();
    if length > 8 << 20 {
        return Err(format!("the result has {length} bytes"));
    }
    let outside: Vec<_> = std::fs::read_dir(node.path("open"))
        .map_err(|e| e.to_string())?
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with("cluster_static_config_") && name != "env")
        .collect();
    if outside.is_empty() { Ok(()) } else { Err(format!("outside the node now stand {outside:?}")) }
}

fn shown(value: &Value) -> String {
    value.to_string().chars().take(60).collect()
}
