//! replconninfo: what is written is read back equal; a plan of og_replconninfo that was carried out leaves nothing to
//! do, no hole, and no other parameter changed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use og_common::conf::ConfFile;
use og_common::gauss::version::Version;
use og_common::protocol::take_in;
use og_common::replconn::ReplicationChannel;
use og_fuzz::{halves, repeated};
use og_replconninfo::plan::{ChannelParameter, Wanted, max_channels, plan, read_channels};
use og_replconninfo::{ReplConnInfo, State};

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_last() else { return };
    match mode {
        0..128 => read(rest),
        255 => read(&repeated(rest)),
        _ => planned(rest),
    }
});

fn read(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(Some(channel)) = ReplicationChannel::parse(text) else { return };
    // A host which the server could not use is told before anything is written.
    if channel.local.host.problem().or(channel.remote.host.problem()).is_some() {
        return;
    }
    let written = channel.to_string();
    assert_eq!(
        ReplicationChannel::parse(&written).as_ref(),
        Ok(&Some(channel)),
        "{text:?} became {written:?}"
    );
}

/// Planned for a server of any release, and for one of which nothing is known.
fn planned(bytes: &[u8]) {
    let Some((release, bytes)) = bytes.split_first() else { return };
    let release = [None, Some("3.0.5"), Some("5.0.3"), Some("6.0.2")][usize::from(release % 4)];
    let release = release.map(|text| Version::parse(text).expect("a version"));
    let Some((bytes, args)) = halves(bytes) else { return };
    let Ok(taken) = take_in::<ReplConnInfo>(args) else { return };
    let Ok(wanted) = Wanted::from_args(&taken.args) else { return };
    let file = ConfFile::parse(bytes);
    let Ok(done) = plan(&file, &wanted, release.as_ref()) else { return };
    let read = ConfFile::parse(&done.file.to_bytes());
    assert!(read == done.file, "it reads otherwise than it was written");
    let again = plan(&read, &wanted, release.as_ref()).expect("what could be planned can be planned again");
    assert!(
        again.changed.is_empty(),
        "twice: {:?}\n{}",
        again.actions,
        String::from_utf8_lossy(&read.to_bytes())
    );
    if taken.args.state == State::Exact {
        let slots = read_channels(&read, max_channels(release.as_ref()));
        let used = slots.iter().take_while(|s| matches!(s, ChannelParameter::Channel(..))).count();
        assert_eq!(used, taken.args.peers.len());
        assert!(slots[used..].iter().all(|s| *s == ChannelParameter::Empty), "a hole: {slots:?}");
    }
    let others = |file: &ConfFile| {
        let all = file.settings().filter(|s| !s.name.to_ascii_lowercase().starts_with("replconninfo"));
        all.map(|s| (s.name, s.value)).collect::<Vec<_>>()
    };
    assert_eq!(others(&file), others(&read));
}
