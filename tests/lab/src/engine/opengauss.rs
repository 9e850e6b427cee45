//! openGauss itself: where its programs are, and what keeps it small.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::error::{Error, Result};

/// What keeps a server small enough for four of them on a small machine; and as many senders as OM gives it, for the
/// server's own four are too few for a third standby.
pub(super) const SMALL: &[(&str, &str)] = &[
    ("max_connections", "50"),
    ("shared_buffers", "'32MB'"),
    ("cstore_buffers", "'16MB'"),
    ("bulk_write_ring_size", "'16MB'"),
    ("max_process_memory", "'2GB'"),
    ("max_prepared_transactions", "10"),
    ("enable_alarm", "off"),
    ("audit_enabled", "off"),
    ("use_workload_manager", "off"),
    ("job_queue_processes", "2"),
    ("max_wal_senders", "16"),
];

/// GAUSSHOME of the openGauss that labs run.
pub(super) fn home() -> PathBuf {
    std::env::var_os("OG_LAB_GAUSSHOME").map_or_else(|| PathBuf::from("/opt/openGauss"), PathBuf::from)
}

/// What is missing for it, in words.
pub(super) fn missing() -> Vec<String> {
    let bin = home().join("bin");
    let lacks: Vec<_> =
        ["gaussdb", "gs_ctl", "gs_initdb", "gsql"].into_iter().filter(|p| !bin.join(p).is_file()).collect();
    if lacks.is_empty() {
        return Vec::new();
    }
    let hint = "install it there, or set OG_LAB_GAUSSHOME";
    vec![format!("no openGauss ({} has no {}; {hint})", bin.display(), lacks.join(", "))]
}

/// What tells one build of openGauss from another.
pub(super) fn identity() -> Result<String> {
    let server = home().join("bin/gaussdb");
    let meta = std::fs::metadata(&server).map_err(|e| Error::at(&server, &e))?;
    Ok(format!("{}-{}", meta.size(), meta.mtime()))
}
