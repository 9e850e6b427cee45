//! postmaster.pid: what is told and written as the server writes it is read back equal; a file that is cut off, as it is
//! while the server starts, tells less and never something else.
#![no_main]

use libfuzzer_sys::fuzz_target;
use og_common::gauss::postmaster_pid::PostmasterPid;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let Some(found) = PostmasterPid::parse(&text) else { return };
    assert!(found.pid > 0);
    let number = |n: Option<u64>| n.map(|n| n.to_string()).unwrap_or_default();
    let folder = found.socket_dir.as_ref().map(|d| d.display().to_string()).unwrap_or_default();
    let written = format!(
        "{}\n/data\n{}\n{}\n{folder}\n{}\n",
        found.pid,
        number(found.started),
        number(found.port.map(u64::from)),
        found.listen.as_deref().unwrap_or_default(),
    );
    assert_eq!(PostmasterPid::parse(&written).as_ref(), Some(&found), "{written:?}");
    let mut sofar = PostmasterPid::default();
    for (at, _) in text.match_indices('\n') {
        let Some(part) = PostmasterPid::parse(&text[..at]) else { continue };
        assert_eq!(part.pid, found.pid);
        for (had, has, is) in [
            (
                sofar.started.map(|n| n.to_string()),
                part.started.map(|n| n.to_string()),
                found.started.map(|n| n.to_string()),
            ),
            (
                sofar.port.map(|n| n.to_string()),
                part.port.map(|n| n.to_string()),
                found.port.map(|n| n.to_string()),
            ),
            (sofar.listen.clone(), part.listen.clone(), found.listen.clone()),
        ] {
            assert!(has == had || had.is_none() && has == is, "{had:?} {has:?} {is:?}");
        }
        sofar = part;
    }
});
