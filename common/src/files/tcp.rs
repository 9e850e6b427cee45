//! The TCP connections of this machine, as the kernel lists them.

use std::path::Path;

use procfs_core::net::{TcpNetEntries, TcpNetEntry};
use procfs_core::{ExplicitSystemInfo, FromReadSI};

use crate::base::{Error, ErrorKind};

/// Reads a list of TCP sockets, such as `/proc/net/tcp` (proc_pid_net(5)).
///
/// # Errors
/// `io`, naming the file.
pub fn read_tcp(path: &Path) -> Result<Vec<TcpNetEntry>, Error> {
    // Only the order of bytes counts for this file.
    let system = ExplicitSystemInfo {
        boot_time_secs: 0,
        ticks_per_second: 100,
        page_size: 4096,
        is_little_endian: cfg!(target_endian = "little"),
    };
    let entries = TcpNetEntries::from_file(path, &system).map_err(|e| {
        Error::new(ErrorKind::Io, format!("cannot read {}: {e}", path.display())).with_path(path.display())
    })?;
    Ok(entries.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use procfs_core::net::TcpState;

    use super::*;

    #[test]
    fn states_and_addresses_of_both_families_are_read() {
        if cfg!(target_endian = "big") {
            println!("skipped: the lists are those of a machine of little endian");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str, line: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, format!("  sl  local_address rem_address   st\n{line}\n")).unwrap();
            let entry = read_tcp(&path).unwrap().remove(0);
            (entry.state, entry.remote_address.to_string())
        };
        let rest =
            "00000001:00000000 01:00000014 00000000     0        0 4711 2 0000000000000000 100 0 0 10 -1";
        let four = read("tcp", &format!("   0: 0100580A:A2F4 0E01580A:0016 02 {rest}"));
        assert_eq!(four, (TcpState::SynSent, "10.88.1.14:22".to_owned()));
        let own = "00000000000000000000000001000000:9E5C 0000000000000000FFFF00000500000A:0016";
        let six = read("tcp6", &format!("   0: {own} 01 {rest}"));
        assert_eq!(six, (TcpState::Established, "[::ffff:10.0.0.5]:22".to_owned()));
        assert!(read_tcp(&dir.path().join("none")).is_err());
    }
}
