//! The arguments of a call, held against a module's schema: what is taken in is taken in again and is the same, in
//! check order or not, with and without what Ansible adds; a key given twice, depth and length are told and not followed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use og_common::protocol::{CallArguments, Error, ErrorKind, Module, take_in};
use og_fuzz::repeated;
use serde_json::{Map, Value};

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_last() else { return };
    match mode % 8 {
        0 | 1 => call::<og_hba::Hba>(rest, *mode),
        2 | 3 => call::<og_replconninfo::ReplConnInfo>(rest, *mode),
        4 | 5 => call::<og_guc::Guc>(rest, *mode),
        6 => call::<og_static_conf::StaticConf>(rest, *mode),
        _ => call::<og_node_state::NodeStateModule>(rest, *mode),
    }
});

fn told(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::BadArgs);
    let detail = &error.failure().detail;
    assert!(!detail.is_empty());
    // The words of the caller may be long, but not all of them.
    assert!(detail.len() < 16 * 1024, "{} bytes of error", detail.len());
}

fn call<M: Module>(text: &[u8], mode: u8) {
    if mode / 8 == 31 {
        return long::<M>(text);
    }
    let taken = take_in::<M>(text);
    if let Ok(Value::Object(object)) = serde_json::from_slice::<Value>(text) {
        twice::<M>(&object);
    }
    match taken {
        Err(error) => told(&error),
        Ok(taken) => same::<M>(taken),
    }
}

/// Its values are arguments too, and the same ones.
fn same<M: Module>(taken: CallArguments<M::Args>) {
    let text = Value::Object(taken.values.clone()).to_string();
    let again = take_in::<M>(text.as_bytes()).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!(again.values, taken.values);
    let mut backwards = Map::new();
    for (key, value) in taken.values.iter().rev() {
        backwards.insert(key.clone(), value.clone());
    }
    backwards.insert("_ansible_version".to_owned(), "2.19".into());
    backwards.insert("backup".to_owned(), taken.values.get("backup").cloned().unwrap_or(Value::Null));
    let again =
        take_in::<M>(Value::Object(backwards).to_string().as_bytes()).expect("the same in another order");
    assert!(again.values == taken.values, "another order");
}

/// The first key once more at the end, with the same value: refused, however deep it stands.
fn twice<M: Module>(object: &Map<String, Value>) {
    let Some((key, value)) = object.iter().next() else { return };
    let rest = Value::Object(object.clone()).to_string();
    let key = Value::from(key.clone());
    let text = format!("{},{key}:{value}}}", &rest[..rest.len() - 1]);
    let nested = format!("{{\"_ansible_x\":[{text}]}}");
    for text in [text, nested] {
        let error = take_in::<M>(text.as_bytes()).err().expect("a key that is given twice");
        assert!(error.failure().detail.contains("given twice"), "{error}");
    }
}

/// The text again and again, and as deep: as list, as object, as text in text.
fn long<M: Module>(text: &[u8]) {
    let unit = String::from_utf8_lossy(text);
    let unit = &unit[..unit.char_indices().nth(64).map_or(unit.len(), |(at, _)| at)];
    let word = Value::from(unit);
    let many = String::from_utf8_lossy(&repeated(word.to_string().as_bytes())).replace("\"\"", "\",\"");
    let deep = 40_000 / unit.len().max(1);
    for text in [
        format!("{{\"rules\":[{many}]}}"),
        format!("{{\"names\":[{many}]}}"),
        format!("{{\"add\":[{many}]}}"),
        format!(
            "{{{}}}",
            (0..4000)
                .map(|n| format!("\"{n}{}\":1", unit.replace(['"', '\\'], "").replace(char::is_control, "")))
                .collect::<Vec<_>>()
                .join(",")
        ),
        format!("{{\"rules\":{}", "[".repeat(deep)),
        format!("{{\"match\":{}", "{\"a\":".repeat(deep)),
        unit.repeat(deep),
    ] {
        if let Err(error) = take_in::<M>(text.as_bytes()) {
            told(&error);
        }
    }
}
