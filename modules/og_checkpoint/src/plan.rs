//! What the server tells of its checkpoints, and whether one more is needed.

use og_common::protocol::{Bytes, Lsn};

use crate::args::{Args, Output, State};

/// Dirty pages, the newest LSN and whether it is a standby, of openGauss. With full checkpoints the page writer keeps no
/// queue, and its count is 0 whatever is dirty.
pub const OPENGAUSS: &str = "select case when current_setting('enable_incremental_checkpoint') = 'on' \
     then (select remain_dirty_page_num from local_pagewriter_stat())::text end, \
     case when pg_is_in_recovery() then pg_last_xlog_replay_location()::text \
     else pg_current_xlog_location()::text end, pg_is_in_recovery()::text";

/// The same of a server that has no count of dirty pages.
pub const UNCOUNTED: &str = "select null, case when pg_is_in_recovery() then pg_last_xlog_replay_location()::text \
     else pg_current_xlog_location()::text end, pg_is_in_recovery()::text";

/// What a server tells of its checkpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Dirty pages, where the server counts them.
    pub dirty_pages: Option<u64>,
    /// The newest LSN, written or replayed.
    pub newest: Option<Lsn>,
    /// Whether the server is a standby.
    pub standby: bool,
    /// The last checkpoint.
    pub checkpoint: Option<Lsn>,
    /// Its redo position.
    pub redo: Option<Lsn>,
}

impl Progress {
    /// Reads the row of [`OPENGAUSS`] or [`UNCOUNTED`].
    #[must_use]
    pub fn parse(row: &[String]) -> Self {
        let column = |at: usize| row.get(at).map_or("", String::as_str);
        // On a standby it is a pair of timeline and position, `(1,0/4000928)`.
        let newest = column(1).trim_matches(['(', ')']).rsplit(',').next().and_then(Lsn::parse);
        Self {
            dirty_pages: column(0).parse().ok(),
            newest: newest.filter(|lsn| lsn.is_valid()),
            standby: column(2).starts_with('t'),
            ..Self::default()
        }
    }

    /// Returns how much WAL crash recovery would replay.
    #[must_use]
    pub fn redo_bytes(&self) -> Option<Bytes> {
        Some(self.newest?.bytes_since(self.redo?))
    }

    /// Returns the result of a call that began at `before` and ended at `self`.
    #[must_use]
    pub fn output(&self, before: &Self) -> Output {
        Output {
            dirty_pages_before: before.dirty_pages,
            dirty_pages_after: self.dirty_pages,
            redo_bytes: self.redo_bytes(),
            checkpoint_lsn: self.checkpoint,
        }
    }
}

/// Whether one more checkpoint is to be made after `made` ones.
#[must_use]
pub fn needs_checkpoint(now: &Progress, args: &Args, made: u64) -> bool {
    args.state == State::Done
        && match args.max_dirty_pages.zip(now.dirty_pages) {
            Some((most, dirty)) => dirty > most,
            None => made == 0,
        }
}

/// Returns what a user should know although the checkpoint was made, or would be.
#[must_use]
pub fn warnings(before: &Progress, after: &Progress, args: &Args, made: u64) -> Vec<String> {
    let mut warnings = Vec::new();
    if args.state == State::Done && args.max_dirty_pages.is_some() && after.dirty_pages.is_none() {
        warnings.push(
            "the server does not count its dirty pages, so max_dirty_pages cannot be judged; one checkpoint is made"
                .to_owned(),
        );
    }
    if made > 0 && after.standby && after.checkpoint.is_some() && before.checkpoint == after.checkpoint {
        warnings.push(
            "the standby's restartpoint did not move: it comes no further than the last checkpoint of the primary that was replayed"
                .to_owned(),
        );
    }
    warnings
}

/// Returns the line for a person.
#[must_use]
pub fn message(output: &Output, made: u64, check: bool) -> String {
    let dirty = output
        .dirty_pages_after
        .map_or("an unknown number of dirty pages".to_owned(), |pages| format!("{pages} dirty pages"));
    let at = output.checkpoint_lsn.map_or_else(|| "an unknown LSN".to_owned(), |lsn| lsn.to_string());
    match made {
        0 => format!("{dirty}; the last checkpoint is at {at}"),
        _ if check => format!("a checkpoint would be made: {dirty}"),
        1 => format!("made a checkpoint at {at}: {dirty} left"),
        n => format!("made {n} checkpoints, the last at {at}: {dirty} left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_dirty_pages(dirty_pages: Option<u64>) -> Progress {
        Progress { dirty_pages, ..Progress::default() }
    }

    fn row(columns: [&str; 3]) -> Progress {
        Progress::parse(&columns.map(str::to_owned))
    }

    #[test]
    fn what_servers_print_is_read() {
        let primary = row(["21462", "0/B76C638", "false"]);
        assert_eq!(
            primary,
            Progress { newest: Some(Lsn::new(0x0B76_C638)), ..with_dirty_pages(Some(21462)) }
        );
        let standby = row(["0", "(1,0/D000148)", "true"]);
        assert_eq!(
            standby,
            Progress { newest: Some(Lsn::new(0x0D00_0148)), standby: true, ..with_dirty_pages(Some(0)) }
        );
        // Full checkpoints, or PostgreSQL; nothing replayed yet.
        assert_eq!(row(["", "(0,0/0)", "t"]), Progress { standby: true, ..with_dirty_pages(None) });
        assert_eq!(Progress::parse(&[]), Progress::default());
    }

    #[test]
    fn recovery_begins_at_the_redo_position() {
        let now = Progress {
            newest: Some(Lsn::new(500)),
            redo: Some(Lsn::new(200)),
            checkpoint: Some(Lsn::new(300)),
            ..with_dirty_pages(Some(3))
        };
        let output = now.output(&with_dirty_pages(Some(9)));
        assert_eq!((output.dirty_pages_before, output.dirty_pages_after), (Some(9), Some(3)));
        assert_eq!((output.redo_bytes, output.checkpoint_lsn), (Some(Bytes::new(300)), Lsn::parse("0/12C")));
        assert_eq!(with_dirty_pages(None).redo_bytes(), None);
    }

    #[test]
    fn a_checkpoint_is_made_while_too_many_pages_are_dirty() {
        let args = |max_dirty_pages| Args { state: State::Done, max_dirty_pages };
        assert!(needs_checkpoint(&with_dirty_pages(Some(11)), &args(Some(10)), 5));
        assert!(!needs_checkpoint(&with_dirty_pages(Some(10)), &args(Some(10)), 0));
        assert!(needs_checkpoint(&with_dirty_pages(Some(0)), &args(None), 0));
        assert!(!needs_checkpoint(&with_dirty_pages(Some(9)), &args(None), 1));
        let query = Args { state: State::Query, max_dirty_pages: Some(0) };
        assert!(!needs_checkpoint(&with_dirty_pages(Some(9)), &query, 0));
    }

    #[test]
    fn pages_that_are_not_counted_cost_one_checkpoint_and_a_warning() {
        let args = Args { state: State::Done, max_dirty_pages: Some(10) };
        assert!(needs_checkpoint(&with_dirty_pages(None), &args, 0));
        assert!(!needs_checkpoint(&with_dirty_pages(None), &args, 1));
        assert_eq!(warnings(&with_dirty_pages(None), &with_dirty_pages(None), &args, 1).len(), 1);
        assert!(warnings(&with_dirty_pages(Some(1)), &with_dirty_pages(Some(0)), &args, 1).is_empty());
    }

    #[test]
    fn a_restartpoint_that_did_not_come_is_told() {
        let standby =
            |lsn| Progress { standby: true, checkpoint: Some(Lsn::new(lsn)), ..with_dirty_pages(Some(0)) };
        assert_eq!(warnings(&standby(1), &standby(1), &Args::default(), 1).len(), 1);
        assert!(warnings(&standby(1), &standby(2), &Args::default(), 1).is_empty());
        assert!(warnings(&standby(1), &standby(1), &Args::default(), 0).is_empty());
    }
}
