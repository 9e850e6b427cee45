//! `global/pg_control`: which database system the data are of, and what the primary that wrote their log was set to.

use std::path::Path;

use crate::base::Lsn;
use crate::conf::{ConfFile, is_on};

/// `PG_CONTROL_VERSION` of the layout below, in every release so far.
const VERSION: u32 = 923;
/// The server's own proof that a reader and the writer lay numbers out alike.
const FLOAT: f64 = 1_234_567.0;

/// The fields of pg_control.
///
/// Source of the layout: `ControlFileData` in the server's `catalog/pg_control.h` on x86-64 and aarch64 (both little
/// endian). Only the number of the system stands at the same place in whatever layout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlFile {
    /// The number of the database system, the same on all nodes of a cluster.
    pub system_id: u64,
    /// The number of the layout.
    pub version: u32,
    /// Where the record of the last checkpoint begins. The same place in PostgreSQL's layouts.
    pub checkpoint: Lsn,
    /// Where recovery would begin: the redo position of the last checkpoint.
    pub redo: Lsn,
    /// What else is known, when the layout is the one that is known.
    pub more: Option<ControlDetails>,
}

/// The fields that depend on the layout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlDetails {
    /// The log position which the data surely need: the last checkpoint, or what recovery came to.
    pub lsn: Lsn,
    /// `max_connections` together with `max_inner_tool_connections`, or the threads of the pool when they are more.
    pub max_connections: u32,
    /// `max_prepared_transactions`.
    pub max_prepared_transactions: u32,
    /// `max_locks_per_transaction`.
    pub max_locks_per_transaction: u32,
}

impl ControlFile {
    /// Reads the file of the node in `data_dir`; `None` when there is none yet.
    #[must_use]
    pub fn read(data_dir: &Path) -> Option<Self> {
        Self::parse(&crate::files::read(&data_dir.join("global/pg_control")).ok()?)
    }

    /// Decodes the file; `None` when it is too short to be one.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let word =
            |at: usize| -> Option<u32> { Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?)) };
        let long =
            |at: usize| -> Option<u64> { Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?)) };
        let known = word(8)? == VERSION && long(184).map(f64::from_bits) == Some(FLOAT);
        let more = || {
            Some(ControlDetails {
                lsn: Lsn::new(long(32)?.max(long(136)?)),
                max_connections: word(168)?,
                max_prepared_transactions: word(172)?,
                max_locks_per_transaction: word(176)?,
            })
        };
        let more = if known { more() } else { None };
        // openGauss has the checkpoint before in between; PostgreSQL has not since release 11.
        let redo = Lsn::new(long(if word(8)? == VERSION { 48 } else { 40 })?);
        Some(Self { system_id: long(0)?, version: word(8)?, checkpoint: Lsn::new(long(32)?), redo, more })
    }

    /// Whether openGauss wrote it, and not PostgreSQL.
    #[must_use]
    pub fn is_opengauss(&self) -> bool {
        self.version == VERSION
    }
}

/// `max_inner_tool_connections` where the file does not say.
const DEFAULT_INNER_CONNECTIONS: u32 = 50;

impl ControlDetails {
    /// What the primary has, when a standby with `wanted` of the limit `name`, and all else as in `conf`, has less of it.
    /// With a thread pool nothing is known of `max_connections`.
    #[must_use]
    pub fn primary_limit_above(&self, name: &str, wanted: u32, conf: &ConfFile) -> Option<u32> {
        let there = match name {
            "max_connections" => {
                let text = |name: &str| conf.get(name).map(|setting| setting.text().trim().to_owned());
                let pool = text("enable_thread_pool").is_some_and(|text| is_on(&text));
                let inner = text("max_inner_tool_connections")
                    .and_then(|text| text.parse().ok())
                    .unwrap_or(DEFAULT_INNER_CONNECTIONS);
                if pool { 0 } else { self.max_connections.saturating_sub(inner) }
            }
            "max_prepared_transactions" => self.max_prepared_transactions,
            "max_locks_per_transaction" => self.max_locks_per_transaction,
            _ => 0,
        };
        (wanted < there).then_some(there)
    }

    /// The limits of which a standby with this file has less than its primary, each in a few words.
    #[must_use]
    pub fn limits_below_primary(&self, conf: &ConfFile) -> Vec<String> {
        let short = |name: &&str| {
            let own = conf.get(name)?.text().trim().parse().ok()?;
            let there = self.primary_limit_above(name, own, conf)?;
            Some(format!("{name} = {own} is less than its primary's {there}"))
        };
        LIMITS.iter().filter_map(short).collect()
    }
}

/// What a primary writes into its log for its standbys to compare theirs with.
///
/// Release 3.0.5 lets a standby that has less of `max_locks_per_transaction` neither start nor replay on; others do so
/// with all three.
pub const LIMITS: [&str; 3] = ["max_connections", "max_prepared_transactions", "max_locks_per_transaction"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(version: u32) -> Vec<u8> {
        let mut bytes = vec![0; 8192];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(0, &77_u64.to_le_bytes());
        put(8, &version.to_le_bytes());
        put(32, &0x4000_u64.to_le_bytes());
        put(40, &0x3f80_u64.to_le_bytes());
        put(48, &0x3fc0_u64.to_le_bytes());
        put(136, &0x5000_u64.to_le_bytes());
        for (at, number) in [(168, 250_u32), (172, 200), (176, 256)] {
            put(at, &number.to_le_bytes());
        }
        put(184, &FLOAT.to_le_bytes());
        bytes
    }

    #[test]
    fn the_known_layout_is_read_and_of_others_only_the_number() {
        let known = ControlFile::parse(&file(VERSION)).unwrap();
        assert_eq!((known.checkpoint, known.redo), (Lsn::new(0x4000), Lsn::new(0x3fc0)));
        let more = known.more.unwrap();
        assert_eq!((more.lsn, more.max_connections), (Lsn::new(0x5000), 250));
        assert_eq!((more.max_prepared_transactions, more.max_locks_per_transaction), (200, 256));
        let other = ControlFile {
            system_id: 77,
            version: 1300,
            checkpoint: Lsn::new(0x4000),
            redo: Lsn::new(0x3f80),
            more: None,
        };
        assert_eq!(ControlFile::parse(&file(1300)), Some(other));
        assert_eq!(ControlFile::parse(&[0; 11]), None);
    }
}
