//! What we read in pg_control, and what the server's own pg_controldata prints of it.

use og_common::gauss::control::ControlFile;
use og_common::protocol::Lsn;
use og_lab::Engine;

use crate::Result;
use crate::server::Server;

/// A server may write the file between two looks at it.
const LOOKS: usize = 5;

/// The fields that differ, each as a sentence; of how many that were compared.
///
/// # Errors
/// pg_controldata cannot be run, or does not print what it is known to.
pub fn compare(server: &Server) -> Result<(usize, Vec<String>)> {
    let mut differ = Vec::new();
    let mut count = 0;
    for _ in 0..LOOKS {
        let ours = ours(server).ok_or("there is no pg_control")?;
        let theirs = theirs(server)?;
        count = theirs.len();
        let both = ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs);
        differ = both
            .map(|((name, ours), (_, theirs))| format!("{name}: we read {ours}, pg_controldata {theirs}"))
            .collect();
        if ours.len() != count {
            differ.push(format!("we read {} fields, pg_controldata {count}", ours.len()));
        }
        if differ.is_empty() {
            break;
        }
    }
    Ok((count, differ))
}

fn ours(server: &Server) -> Option<Vec<(&'static str, u64)>> {
    let file = ControlFile::read(&server.data)?;
    let mut fields = vec![("system", file.system_id)];
    if let Some(more) = file.more {
        fields.push(("position", more.lsn.as_u64()));
        fields.push(("max_connections", more.max_connections.into()));
        fields.push(("max_prepared_transactions", more.max_prepared_transactions.into()));
        fields.push(("max_locks_per_transaction", more.max_locks_per_transaction.into()));
    }
    Some(fields)
}

fn theirs(server: &Server) -> Result<Vec<(&'static str, u64)>> {
    let said = server.program("pg_controldata", &[server.data.as_os_str()])?;
    let field = |name: &str| {
        let line = said.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim).ok_or_else(|| format!("pg_controldata prints no {name:?}"))
    };
    let number = |name: &str| field(name)?.parse::<u64>().map_err(|e| format!("{name}: {e}"));
    let position = |name: &str| {
        let text = field(name)?;
        Lsn::parse(text).map(Lsn::as_u64).ok_or_else(|| format!("{name}: {text:?} is no position"))
    };
    let system = ("system", number("Database system identifier")?);
    // PostgreSQL lays out the rest otherwise, and we do not read it.
    if server.engine() == Engine::Postgres {
        return Ok(vec![system]);
    }
    let lsn = position("Latest checkpoint location")?.max(position("Minimum recovery ending location")?);
    Ok(vec![
        system,
        ("position", lsn),
        ("max_connections", number("Current max_connections setting")?),
        ("max_prepared_transactions", number("Current max_prepared_xacts setting")?),
        ("max_locks_per_transaction", number("Current max_locks_per_xact setting")?),
    ])
}
