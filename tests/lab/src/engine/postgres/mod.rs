//! PostgreSQL in openGauss's clothes.
//!
//! A node's data directory holds openGauss's files; the server in it is PostgreSQL, started on translated copies of
//! postgresql.conf and pg_hba.conf. Beside each server runs an agent (a process of the stand-in for `gs_ctl`) which does
//! what openGauss's server does and PostgreSQL's does not: it listens on port + 1, admits or refuses standbys by the
//! channels and rules, makes their slots, looks for another upstream when one is lost, hands the primary's
//! postgresql.conf to the standbys, and keeps gaussdb.state.
//!
//! Data really streams, slots really hold WAL back, builds are `pg_basebackup` and `pg_rewind`, commits really wait.

use std::path::PathBuf;

use crate::error::{Error, Result};

mod agent;
mod build;
mod conf;
mod ctl;
mod gsql;
mod hba;
mod identify;
mod initdb;
mod query;
mod server;
mod state;

pub use ctl::main as gs_ctl;
pub use gsql::main as gsql;
pub use initdb::main as gs_initdb;

/// The newest PostgreSQL server on this machine: the folder of its programs.
///
/// # Errors
/// Names the package to install.
pub fn bin_dir() -> Result<PathBuf> {
    std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|e| Some(e.ok()?.path()))
        .filter_map(|p| Some((p.file_name()?.to_str()?.parse::<u32>().ok()?, p.join("bin"))))
        .filter(|(version, bin)| {
            *version >= 15 && bin.join("postgres").is_file() && bin.join("pg_rewind").is_file()
        })
        .max()
        .map(|(_, bin)| bin)
        .ok_or_else(|| {
            Error::new(
                "no PostgreSQL server 15 or newer in /usr/lib/postgresql: install the package postgresql",
            )
        })
}

/// What tells one make of an initialised data directory from another.
pub(super) fn identity() -> Result<String> {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    use std::os::unix::fs::MetadataExt as _;
    let server = bin_dir()?.join("postgres");
    let meta = std::fs::metadata(&server).map_err(|e| Error::from_io(&server, &e))?;
    let mut hasher = DefaultHasher::new();
    (server, meta.size(), meta.mtime(), initdb::INGREDIENTS).hash(&mut hasher);
    Ok(format!("{:016x}", hasher.finish()))
}
