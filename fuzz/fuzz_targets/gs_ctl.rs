//! What `gs_ctl query` and `gs_ctl querybuild` print: lines of another program between say nothing, the result goes
//! through JSON unchanged, and what is told of receivers is in the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use og_common::gauss::NodeState;
use og_common::gauss::gs_ctl::{parse_query, parse_querybuild, strip_prefix};
use og_fuzz::repeated;

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_last() else { return };
    let long;
    let bytes = if *mode == 255 {
        long = repeated(rest);
        &long
    } else {
        rest
    };
    // As the modules do with a program's output.
    let text = String::from_utf8_lossy(bytes);
    let query = parse_query(&text);
    let build = parse_querybuild(&text);
    let prefix = "[2026-11-21 01:15:15.846][15421][dn_6001][gs_ctl]: ";
    let noisy: String = text.split_inclusive('\n').flat_map(|l| [prefix, "a word\n", l]).collect();
    assert_eq!(parse_query(&noisy), query);
    assert_eq!(parse_querybuild(&noisy), build);
    for line in text.lines() {
        assert!(line.ends_with(strip_prefix(line)));
    }
    assert!(build.is_none() || text.contains("HA state"));
    let Some(state) = query else { return };
    assert!(state.senders.len() <= text.matches("sender_pid").count());
    assert_eq!(state.receiver.is_some(), state.receiver.is_some() && text.contains("receiver_pid"));
    let json = serde_json::to_string(&state).expect("it can be written");
    assert_eq!(serde_json::from_str::<NodeState>(&json).expect("it can be read"), state);
    assert!(!state.words().is_empty());
});
