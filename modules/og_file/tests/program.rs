//! The program as a caller sees it.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

fn call(args: &Value) -> Value {
    let mut child = Command::new(env!("CARGO_BIN_EXE_og_file"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(args.to_string().as_bytes()).unwrap();
    serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn a_piece_is_neither_searched_for_secrets_nor_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("Secret@123").display().to_string();
    // Elsewhere its value would be masked in all of the result, the path included.
    let content = r#"{"password": "Secret@123"}"#;
    let args = json!({"path": path, "sha256": "0".repeat(64), "size": 26, "offset": 0, "content": content});
    let told = call(&args);
    assert_eq!(told["error"]["kind"], "bad_args", "{told}");
    let echoed = &told["invocation"]["module_args"];
    assert_eq!(echoed["path"], path, "{told}");
    assert_eq!(echoed.get("content"), None, "{told}");
}
