//! gaussdb.state: what is read is what stands at its place, and what comes behind changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use og_common::gauss::StateFile;
use og_common::gauss::state::Role;
use og_common::gauss::state_file::FILE_BYTES;

fuzz_target!(|data: &[u8]| {
    let Some(state) = StateFile::parse(data) else {
        assert!(data.len() < FILE_BYTES);
        return;
    };
    assert_eq!(StateFile::parse(&data[..FILE_BYTES]).as_ref(), Some(&state));
    assert_eq!(StateFile::parse(&data[..FILE_BYTES - 1]), None);
    let number = |at: usize, length: usize| {
        data[at..at + length].iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    assert_eq!(number(16, 8), state.lsn.as_u64());
    assert_eq!(number(24, 8), state.term);
    assert_eq!((number(40, 8), number(48, 8)), (state.build.done_kb, state.build.total_kb));
    assert_eq!(state.role != Role::Unknown, (1..=8).contains(&number(0, 4)));
    assert_eq!(state.build.mode.is_some(), (1..=4).contains(&number(32, 4)));
    assert!(!state.detail.is_empty() && !state.build.running && !state.build.interrupted);
});
