//! The protocol, seen from outside: the example module `echo` run as a process.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn echo() -> Command {
    // Tests run from target/PROFILE/deps; cargo builds the examples beside it.
    let deps = std::env::current_exe().unwrap();
    let program: PathBuf = deps.parent().unwrap().parent().unwrap().join("examples/echo");
    let mut command = Command::new(program);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).env_remove("PGDATA");
    command
}

fn run(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    // A program that rejects its command line reads no input.
    drop(child.stdin.take().unwrap().write_all(input));
    child.wait_with_output().unwrap()
}

/// The one object on standard output, and the exit status.
fn call(input: &str) -> (Value, i32) {
    read_result(&run(&mut echo(), input.as_bytes()))
}

fn read_result(output: &Output) -> (Value, i32) {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    assert_eq!(text.matches('\n').count(), 1, "one line: {text:?}");
    (serde_json::from_str(text).unwrap(), output.status.code().unwrap())
}

#[test]
fn success_is_exit_0() {
    let (result, code) = call(r#"{"words": "a,b", "_ansible_whatever": 1, "password": "x"}"#);
    assert_eq!(code, 0);
    assert_eq!(result["words"], serde_json::json!(["a", "b"]));
    assert_eq!(result["failed"], false);
    assert!(result.get("rc").is_none());
    assert!(!result.to_string().contains(":\"x\""), "a secret is masked: {result}");
}

#[test]
fn a_secret_in_an_object_given_as_text_is_masked_too() {
    for text in
        [r#"{\"app.password\": \"S3cret\"}"#, r#"[[{\"token\": \"S3cret\"}]]"#, r#"{\"secret\": \"S3cret\""#]
    {
        let (result, _) = call(&format!("{{\"words\": \"{text}\"}}"));
        let invocation = result["invocation"].to_string();
        assert!(invocation.contains("words") && !invocation.contains("S3cret"), "{invocation}");
    }
    let (result, _) = call(r#"{"words": "[::1]"}"#);
    assert_eq!(result["invocation"]["module_args"]["words"], "[::1]");
}

#[test]
fn a_secret_is_masked_wherever_it_comes_back() {
    let args =
        serde_json::json!({"password": "it's \"S3cret\"", "words": ["say it's \"S3cret\" twice", "a"]});
    let output = run(echo().env("OG_LOG", "debug"), args.to_string().as_bytes());
    assert!(!output.stderr.is_empty() && !String::from_utf8_lossy(&output.stderr).contains("S3cret"));
    let (result, _) = read_result(&output);
    assert_eq!(result["words"], serde_json::json!(["say VALUE_SPECIFIED_IN_NO_LOG_PARAMETER twice", "a"]));
    assert!(!result.to_string().contains("S3cret"), "{result}");
    // Also in what is said of arguments that cannot be used, and of a call that ended in the middle.
    let long = format!("{} S3cret-with-more", "x".repeat(50));
    let args = serde_json::json!({"password": "S3cret-with-more", "timeout": long});
    assert!(!call(&args.to_string()).0.to_string().contains("S3cr"));
    let args =
        serde_json::json!({"password": "S3cret", "words": ["S3cret"], "state": "waiting", "timeout": 1});
    let (result, _) = call(&args.to_string());
    assert!(
        result["actions"][0].as_str().unwrap().contains("VALUE") && !result.to_string().contains("S3cret")
    );
    let (result, _) = call(r#"{"password": "S3cret", "password": "S3cret"}"#);
    assert!(
        result["msg"].as_str().unwrap().contains("given twice") && !result.to_string().contains("S3cret")
    );
}

#[test]
fn what_stands_for_a_secret_is_not_taken_for_one() {
    for words in
        [r#""VALUE_SPECIFIED_IN_NO_LOG_PARAMETER""#, r#"["a", "x=VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"]"#]
    {
        let (result, code) = call(&format!(r#"{{"words": {words}}}"#));
        assert_eq!((code, &result["error"]["path"]), (2, &Value::from("/words")), "{result}");
        assert!(result["error"]["hint"].as_str().unwrap().contains("the secret itself"));
    }
}

#[test]
fn no_log_keeps_the_arguments_out_of_the_whole_result() {
    let (result, code) = call(r#"{"words": ["Muenchen", "ab"], "_ansible_no_log": true, "timeout": 50}"#);
    assert_eq!((code, &result["invocation"]["module_args"]), (0, &serde_json::json!({})));
    assert!(!result.to_string().contains("Muenchen"), "{result}");
    let (result, _) =
        call(r#"{"words": ["Muenchen"], "state": "waiting", "timeout": 1, "_ansible_no_log": true}"#);
    assert!(!result.to_string().contains("Muenchen") && !result["actions"].as_array().unwrap().is_empty());
    let (result, _) = call(r#"{"state": "Muenchen", "_ansible_no_log": true}"#);
    assert!(!result.to_string().contains("Muenchen") && result["error"]["kind"] == "bad_args", "{result}");
}

#[test]
fn a_result_that_cannot_be_written_is_no_success() {
    for args in [&[][..], &["--schema", "args"], &["--examples"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = run(echo().stdout(full).args(args), b"{}");
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with("cannot write the result to standard output: "), "{said}");
    }
}

#[test]
fn a_signal_that_comes_before_the_first_instruction_is_told_too() {
    // The signal is pending when the program begins: it was sent to the shell that becomes the program.
    let program = echo().get_program().to_owned();
    let mut child = Command::new("env")
        .args(["--block-signal=TERM", "sh", "-c", "kill -TERM $$; exec \"$0\""])
        .arg(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Nothing comes through it, so only the signal can end the program.
    let open = child.stdin.take();
    let (result, code) = read_result(&child.wait_with_output().unwrap());
    drop(open);
    assert_eq!((code, &result["error"]["kind"]), (1, &Value::from("interrupted")), "{result}");
    assert!(result["msg"].as_str().unwrap().contains("SIGTERM"));
}

#[test]
fn a_limit_that_no_clock_reaches_is_none() {
    for limit in ["4000000000000000000", "9223372036854775807", "18446744073709551615"] {
        let (result, code) = call(&format!(r#"{{"timeout": {limit}, "lock_timeout": {limit}}}"#));
        assert_eq!((code, &result["failed"]), (0, &Value::from(false)), "{result}");
    }
}

#[test]
fn unusable_arguments_are_exit_2() {
    for input in ["", "[]", "{", "{\"wrds\": 1}", "{\"words\": {}}", "{\"a\": 1, \"a\": 1}"] {
        let (result, code) = call(input);
        assert_eq!((code, &result["error"]["kind"]), (2, &Value::from("bad_args")), "{input}");
        assert_eq!(result["failed"], true);
    }
    let (result, code) = read_result(&run(echo().arg("--nonsense"), b""));
    assert_eq!((code, &result["error"]["kind"]), (2, &Value::from("bad_args")));
}

#[test]
fn arguments_can_be_checked_without_doing_anything() {
    let (wrong, code) = read_result(&run(echo().arg("--validate"), b"{\"wrds\": 1}"));
    assert_eq!((code, &wrong["error"]), (2, &call("{\"wrds\": 1}").0["error"]));
    let (fine, code) =
        read_result(&run(echo().arg("--validate"), b"{\"words\": \"a\", \"data_dir\": \"/nonexistent\"}"));
    assert_eq!((code, fine.get("words")), (0, None));
    // Elsewhere it would be done.
    let (wrong, code) = read_result(&run(echo().args(["--validate", "--host", "n1"]), b"{\"words\": \"a\"}"));
    assert_eq!((code, &wrong["error"]["kind"]), (2, &Value::from("bad_args")));
}

#[test]
fn a_missing_file_of_arguments_is_said() {
    let (result, code) = read_result(&run(echo().arg("/nonexistent/args.json"), b""));
    assert_eq!((code, &result["error"]["kind"]), (1, &Value::from("not_found")));
}

#[test]
fn a_panic_is_a_result_too() {
    let (result, code) = call(r#"{"state": "mistaken"}"#);
    assert_eq!((code, &result["error"]["kind"]), (1, &Value::from("internal")));
    assert!(result["msg"].as_str().unwrap().contains("on purpose"));
}

#[test]
fn the_whole_call_has_a_limit() {
    let (result, code) = call(r#"{"state": "waiting", "timeout": 1}"#);
    assert_eq!((code, &result["error"]["kind"]), (1, &Value::from("timeout")));
    assert!(result["error"]["detail"].as_str().unwrap().contains("nothing yet"), "{result}");
}

#[test]
fn what_was_done_before_the_end_is_told() {
    let (result, _) = call(r#"{"state": "waiting", "timeout": 1, "words": "a,b"}"#);
    assert_eq!(result["error"]["kind"], "timeout");
    assert_eq!(result["actions"], serde_json::json!(["gave a back", "gave b back"]), "{result}");
    assert_eq!((&result["changed"], &result["words"]), (&true.into(), &serde_json::json!(["a", "b"])));
    let (result, _) = call(r#"{"state": "waiting", "timeout": 1}"#);
    assert_eq!((&result["changed"], result.get("words")), (&false.into(), None), "nothing was done");
}

#[test]
fn signals_end_it_with_a_result() {
    for (signal, name) in [(nix::sys::signal::SIGTERM, "SIGTERM"), (nix::sys::signal::SIGINT, "SIGINT")] {
        let mut child = echo().stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(br#"{"state": "waiting", "words": "a"}"#).unwrap();
        let mut said = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "waiting\n");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
        let (result, code) = read_result(&child.wait_with_output().unwrap());
        assert_eq!((code, &result["error"]["kind"]), (1, &Value::from("interrupted")));
        assert!(result["msg"].as_str().unwrap().contains(name));
        assert_eq!((&result["changed"], &result["actions"][0]), (&true.into(), &"gave a back".into()));
    }
}

#[test]
fn closed_standard_output_is_no_panic() {
    let mut child = echo().stdin(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(b"{}").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stderr, b"");
}

#[test]
fn results_are_what_their_schema_says() {
    let schema = run(echo().args(["--schema", "result"]), b"").stdout;
    let schema: Value = serde_json::from_slice(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for input in
        [r#"{"words": "a"}"#, "{}", "[]", r#"{"state": "mistaken"}"#, r#"{"state": "waiting", "timeout": 1}"#]
    {
        let (result, _) = call(input);
        assert!(validator.is_valid(&result), "{result}");
    }
}

#[test]
fn examples_fit_the_schema_of_the_arguments() {
    let schema = run(echo().args(["--schema", "args"]), b"").stdout;
    let schema: Value = serde_json::from_slice(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(validator.is_valid(&serde_json::json!({"words": ["a"], "_ansible_check_mode": false})));
    assert!(!validator.is_valid(&serde_json::json!({"wrds": ["a"]})));
}
