//! Where the log of a node ends, read from its files as the server's own recovery would: the only thing that tells how
//! much a stopped server holds.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::control::ControlFile;
use crate::base::{Lsn, deserialize_or_default};

/// `XLOG_BLCKSZ`.
const PAGE: u64 = 8192;
/// The size of one read.
const READ_BLOCK_BYTES: u64 = 1 << 20;
/// Length of a page's header, and of the one at the begin of a segment, which says how long segments are.
const PAGE_HEADER: u64 = 24;
const LONG_HEADER: u64 = 40;
/// Flags of a page's header: it begins with the rest of a record; its header is a long one.
const CONTINUED_FLAG: u16 = 1;
const LONG_HEADER_FLAG: u16 = 2;
/// `XLogRecordMaxSize`.
const MAX_RECORD_BYTES: u32 = 0x3fff_e000;

/// How far the log goes that a node holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(!default)]
pub struct LogPosition {
    /// The end of its last record, such as `0/1001ABA8`; null where it cannot be read.
    pub lsn: Option<Lsn>,
    /// The newest term of a primary that the node knows; null where it knows none.
    pub term: Option<u64>,
    /// Whether the log was read to its end; else it may go further.
    pub is_end: bool,
    /// The last record that recovery would replay; null where it cannot be read.
    #[serde(deserialize_with = "deserialize_or_default")]
    pub last_record: Option<WalRecord>,
}

/// How far a log goes, by its files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogEnd {
    /// The end of the last record.
    pub lsn: Lsn,
    /// The term of the primary that wrote it; PostgreSQL has none.
    pub term: Option<u64>,
    /// The last record that recovery would replay; none where that is not known.
    pub last: Option<WalRecord>,
}

/// A record of the log, whose checksum is right.
///
/// The server itself compares its log with its upstream's by one record, when it begins to receive. That the same record
/// stands at the same place of two logs is no proof that they are the same up to there, though: a record names the place of
/// the one before it, not its content, and the last one of a quiet server (a snapshot of its transactions) is the same on two
/// servers that have written much alike since they parted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WalRecord {
    /// Where it begins, such as `0/1001AB40`, behind a page's header.
    pub begin: Lsn,
    /// Where the next one may begin.
    pub end: Lsn,
    /// Its checksum.
    pub crc: u32,
}

/// How a record's header is laid out.
///
/// Source: `XLogRecord` in the server's `access/xlog_basic.h`, the same from 3.0.5 to 6.0.2, and in PostgreSQL's
/// `access/xlogrecord.h`.
#[derive(Clone, Copy, Debug)]
struct RecordLayout {
    length: u64,
    term: Option<usize>,
    previous: usize,
    info: usize,
    manager: usize,
    /// The checksum (CRC-32C), the header's last field: of what follows the header, and of the header before it.
    crc: usize,
}

const OPENGAUSS: RecordLayout =
    RecordLayout { length: 32, term: Some(4), previous: 16, info: 24, manager: 25, crc: 28 };
const POSTGRESQL: RecordLayout =
    RecordLayout { length: 24, term: None, previous: 8, info: 16, manager: 17, crc: 20 };

/// Follows the log from the last checkpoint, which `control` names, to its end. `None` when the files cannot be read so: a disk
/// that fails in the middle is no end.
///
/// Each record names the one before it, so that what an older log left in the same files is not taken for a part of it.
/// A record that is torn counts for how far the log goes, and ends what recovery would replay. Where pages of the log lie
/// behind its end, the end is damage rather than an end, and the last record is not known.
#[must_use]
pub fn find_end(data_dir: &Path, control: &ControlFile) -> Option<LogEnd> {
    let mut log = Log::open(data_dir, control)?;
    let mut found = log.follow(control.checkpoint.as_u64())?;
    if log.has_pages_behind(found.lsn.as_u64()) {
        found.last = None;
    }
    (!log.fails).then_some(found)
}

/// Reads the record that begins at each of these LSNs; `None` where there is none, or its segment was removed.
#[must_use]
pub fn read_records(data_dir: &Path, control: &ControlFile, lsns: &[Lsn]) -> Vec<Option<WalRecord>> {
    let Some(mut log) = Log::open(data_dir, control) else { return vec![None; lsns.len()] };
    lsns.iter().map(|lsn| log.record_at(lsn.as_u64())).collect()
}

/// Returns where the first segment of the log begins that is there.
#[must_use]
pub fn find_oldest_lsn(data_dir: &Path, control: &ControlFile) -> Option<Lsn> {
    let log = Log::open(data_dir, control)?;
    segments(&log.dir).iter().filter_map(|name| log.begin_of(name)).min().map(Lsn::new)
}

/// The files of the segments that have a part of the log from this LSN on, in order; `None` when there is no log. A file
/// that was given the name of a segment to come, and has an older one's pages in it yet, has none; one that cannot be read
/// counts, for what is in it is not known.
#[must_use]
pub fn segments_from(data_dir: &Path, control: &ControlFile, from: Lsn) -> Option<Vec<PathBuf>> {
    let log = Log::open(data_dir, control)?;
    let mut names = segments(&log.dir);
    names.sort_by(|a, b| (&a[8..], &a[..8]).cmp(&(&b[8..], &b[..8])));
    let is_in = |name: &String| {
        log.begin_of(name).is_some_and(|begin| {
            from.as_u64() < begin.saturating_add(log.segment)
                && has_own_page(&log.dir.join(name), begin, log.segment)
        })
    };
    Some(names.into_iter().filter(is_in).map(|name| log.dir.join(name)).collect())
}

/// Whether a page of the file is of the segment that begins there, or that cannot be told.
fn has_own_page(file: &Path, begin: u64, segment: u64) -> bool {
    let Ok(open) = File::open(file) else { return true };
    let length = open.metadata().map_or(segment, |meta| meta.len());
    (0..length / PAGE).any(|page| {
        let mut header = [0; 16];
        open.read_exact_at(&mut header, page * PAGE).is_err()
            || u64_at(&header, 8) == Some(begin + page * PAGE)
    })
}

/// The log's files, and the part of them that is looked at.
struct Log {
    dir: PathBuf,
    segment: u64,
    layout: RecordLayout,
    file: Option<(u64, File)>,
    block: Vec<u8>,
    block_at: u64,
    /// Whether a file could not be read, not for having come to its end.
    fails: bool,
}

impl Log {
    fn open(data_dir: &Path, control: &ControlFile) -> Option<Self> {
        let layout = if control.is_opengauss() { OPENGAUSS } else { POSTGRESQL };
        let dir = ["pg_xlog", "pg_wal"].iter().map(|name| data_dir.join(name)).find(|dir| dir.is_dir())?;
        let segment = segment_size(&dir)?;
        Some(Self { dir, segment, layout, file: None, block: Vec::new(), block_at: u64::MAX, fails: false })
    }

    /// Where the segment of this file begins.
    fn begin_of(&self, name: &str) -> Option<u64> {
        let number = |part: Option<&str>| u64::from_str_radix(part?, 16).ok();
        let in_one = (1_u64 << 32) / self.segment;
        Some((number(name.get(8..16))? * in_one + number(name.get(16..24))?) * self.segment)
    }

    fn record_at(&mut self, lsn: u64) -> Option<WalRecord> {
        let (header, begin) = self.record(lsn, None).filter(|(_, begin)| *begin == lsn)?;
        let end = self.end_of(&header, begin).ok()?;
        self.check(&header, begin, end)
    }

    /// The end of the record that begins so; else the end of its last page that is there.
    fn end_of(&mut self, header: &[u8], begin: u64) -> Result<u64, u64> {
        let end = self.skip(begin, u32_at(header, 0).map_or(0, u64::from))?;
        Ok(if self.switches(header) { end.next_multiple_of(self.segment) } else { end })
    }

    /// The record, where its checksum is right.
    fn check(&mut self, header: &[u8], begin: u64, end: u64) -> Option<WalRecord> {
        let stated = u32_at(header, self.layout.crc)?;
        let (mut at, mut rest, mut skip) = (begin, u64::from(u32_at(header, 0)?), self.layout.length);
        let mut crc = 0;
        while rest > 0 {
            if at.is_multiple_of(PAGE) {
                at += header_length(self.page(at)?)?;
            }
            let length = (PAGE - at % PAGE).min(rest);
            let from = usize::try_from(at % PAGE).ok()?;
            let own = skip.min(length);
            let part = self
                .page(at)?
                .get(from + usize::try_from(own).ok()?..from + usize::try_from(length).ok()?)?;
            crc = crc32c::crc32c_append(crc, part);
            (at, rest, skip) = (at + length, rest - length, skip - own);
        }
        crc = crc32c::crc32c_append(crc, header.get(..self.layout.crc)?);
        (crc == stated).then_some(WalRecord { begin: Lsn::new(begin), end: Lsn::new(end), crc })
    }

    fn follow(&mut self, checkpoint: u64) -> Option<LogEnd> {
        let mut found: Option<LogEnd> = None;
        // A record that is torn has none behind it that is whole; else the disk has spoiled it, and what lies behind counts.
        let (mut is_torn, mut is_spoiled) = (false, false);
        let (mut at, mut previous) = (checkpoint, None);
        loop {
            let Some((header, begin)) = self.record(at, previous) else {
                return found.map(|found| LogEnd { last: found.last.filter(|_| !is_spoiled), ..found });
            };
            let term = self.layout.term.and_then(|at| u32_at(&header, at)).filter(|term| *term > 0);
            let term = term.map(u64::from).or(found.and_then(|found| found.term));
            match self.end_of(&header, begin) {
                Ok(end) => {
                    let before = found.and_then(|found| found.last);
                    let record = self.check(&header, begin, end);
                    is_spoiled |= is_torn && record.is_some();
                    is_torn |= record.is_none();
                    found = Some(LogEnd { lsn: Lsn::new(end), term, last: record.or(before) });
                    (at, previous) = (end, Some(begin));
                }
                // The begin of a record, up to a page that was not written any more.
                Err(end) => {
                    return found.map(|found| {
                        let last = found.last.filter(|_| !is_spoiled);
                        LogEnd { lsn: found.lsn.max(Lsn::new(end)), last, ..found }
                    });
                }
            }
        }
    }

    /// The header of the record at `at`, or behind the page header that stands there, and where it begins. `None` when
    /// there is none which follows `previous`.
    fn record(&mut self, at: u64, previous: Option<u64>) -> Option<(Vec<u8>, u64)> {
        let mut begin = at.next_multiple_of(8);
        if begin.is_multiple_of(PAGE) {
            begin += header_length(self.page(begin)?)?;
        }
        let length = usize::try_from(self.layout.length).ok()?;
        let mut header = Vec::with_capacity(length);
        let mut from = begin;
        while header.len() < length {
            if from.is_multiple_of(PAGE) {
                from += header_length(self.page(from)?)?;
            }
            let page = self.page(from)?;
            let rest = &page[usize::try_from(from % PAGE).ok()?..];
            let part = &rest[..rest.len().min(length - header.len())];
            header.extend_from_slice(part);
            from += part.len() as u64;
        }
        let total = u32_at(&header, 0)?;
        let before = u64_at(&header, self.layout.previous)?;
        let follows = previous.map_or(before < begin, |previous| previous == before);
        let sane = u64::from(total) >= self.layout.length && total < MAX_RECORD_BYTES;
        (follows && sane).then_some((header, begin))
    }

    /// The end of a record of `length` bytes that begins at `from`; else the end of its last page that is there.
    fn skip(&mut self, from: u64, length: u64) -> Result<u64, u64> {
        let (mut at, mut rest) = (from, length);
        loop {
            let room = PAGE - at % PAGE;
            if rest <= room {
                return Ok((at + rest).next_multiple_of(8));
            }
            at += room;
            rest -= room;
            let page = self.page(at).ok_or(at)?;
            let continues = u16_at(page, 2).is_some_and(|flags| flags & CONTINUED_FLAG != 0);
            let matches = u32_at(page, 16).map(u64::from) == Some(rest);
            let header = header_length(page).filter(|_| continues && matches).ok_or(at)?;
            at += header;
        }
    }

    /// Whether the rest of the segment behind this record is empty: `XLOG_SWITCH` of the log's own resource manager.
    fn switches(&self, header: &[u8]) -> bool {
        let byte = |at: usize| header.get(at).copied();
        byte(self.layout.manager) == Some(0) && byte(self.layout.info).map(|info| info & 0xF0) == Some(0x40)
    }

    /// The page in which `at` lies, when it is one of this place of the log.
    fn page(&mut self, at: u64) -> Option<&[u8]> {
        let page = at - at % PAGE;
        let within =
            self.block_at <= page && page + PAGE <= self.block_at.saturating_add(self.block.len() as u64);
        if !within {
            self.read_block(page)?;
        }
        let from = usize::try_from(page - self.block_at).ok()?;
        let bytes = self.block.get(from..from + usize::try_from(PAGE).ok()?)?;
        (u64_at(bytes, 8) == Some(page)).then_some(bytes)
    }

    fn read_block(&mut self, at: u64) -> Option<()> {
        let number = at / self.segment;
        if self.file.as_ref().is_none_or(|(open, _)| *open != number) {
            let opened = File::open(self.path(number)?);
            self.fails |= opened.as_ref().is_err_and(|e| e.kind() != std::io::ErrorKind::NotFound);
            self.file = Some((number, opened.ok()?));
        }
        let (_, file) = self.file.as_ref()?;
        let begin = at - at % READ_BLOCK_BYTES;
        self.block.resize(usize::try_from(READ_BLOCK_BYTES).ok()?, 0);
        self.block_at = u64::MAX;
        let mut filled = 0;
        while filled < self.block.len() {
            match file.read_at(&mut self.block[filled..], begin % self.segment + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.fails = true;
                    return None;
                }
            }
        }
        self.block.truncate(filled);
        self.block_at = begin;
        Some(())
    }

    /// Whether a page of the log lies behind the page in which `end` is: in the same segment, or at the begin of a later one.
    fn has_pages_behind(&mut self, end: u64) -> bool {
        let next_page = (end + 1).next_multiple_of(PAGE);
        let next_segment = (end + 1).next_multiple_of(self.segment);
        let later: Vec<u64> = segments(&self.dir).iter().filter_map(|name| self.begin_of(name)).collect();
        let mut same = (next_page..next_segment).step_by(usize::try_from(PAGE).unwrap_or(usize::MAX));
        same.any(|at| self.page(at).is_some())
            || later.into_iter().any(|begin| begin >= next_segment && self.page(begin).is_some())
    }

    /// The file of this segment; of several timelines, the latest.
    fn path(&self, number: u64) -> Option<PathBuf> {
        let in_one = (1_u64 << 32) / self.segment;
        let place = format!("{:08X}{:08X}", number / in_one, number % in_one);
        let names = segments(&self.dir);
        names.into_iter().filter(|name| name[8..] == place).max().map(|name| self.dir.join(name))
    }
}

/// The names of the log's files: timeline, and place in two parts.
fn segments(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.len() == 24 && name.bytes().all(|b| b.is_ascii_hexdigit())).collect()
}

/// How long the segments are, as the first of them says that has been written.
fn segment_size(dir: &Path) -> Option<u64> {
    segments(dir).into_iter().find_map(|name| {
        let mut header = [0; 40];
        File::open(dir.join(name)).ok()?.read_exact_at(&mut header, 0).ok()?;
        let size = u32_at(&header, 32).map(u64::from)?;
        let known = u16_at(&header, 2)? & LONG_HEADER_FLAG != 0 && u64::from(u32_at(&header, 36)?) == PAGE;
        (known && size.is_power_of_two() && (READ_BLOCK_BYTES..=1 << 30).contains(&size)).then_some(size)
    })
}

fn header_length(page: &[u8]) -> Option<u64> {
    Some(if u16_at(page, 2)? & LONG_HEADER_FLAG != 0 { LONG_HEADER } else { PAGE_HEADER })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]
    use super::*;

    const SEGMENT: u64 = 1 << 20;
    const FIRST: u64 = 3 * SEGMENT;

    /// Writes a log of two segments as a server does.
    struct Writer {
        bytes: Vec<u8>,
        at: u64,
        previous: u64,
        records: Vec<u64>,
    }

    impl Writer {
        fn new() -> Self {
            let bytes = vec![0; usize::try_from(2 * SEGMENT).unwrap()];
            let mut log = Self { bytes, at: FIRST, previous: FIRST - 100, records: Vec::new() };
            log.header(0);
            log
        }

        fn put(&mut self, at: u64, part: &[u8]) {
            let at = usize::try_from(at - FIRST).unwrap();
            self.bytes[at..at + part.len()].copy_from_slice(part);
        }

        fn header(&mut self, rest: u64) {
            let long = self.at.is_multiple_of(SEGMENT);
            let flags = u16::from(rest > 0) * CONTINUED_FLAG + u16::from(long) * LONG_HEADER_FLAG;
            let at = self.at;
            self.put(at, &0xD074_u16.to_le_bytes());
            self.put(at + 2, &flags.to_le_bytes());
            self.put(at + 8, &at.to_le_bytes());
            self.put(at + 16, &(rest as u32).to_le_bytes());
            if long {
                self.put(at + 32, &(SEGMENT as u32).to_le_bytes());
                self.put(at + 36, &(PAGE as u32).to_le_bytes());
            }
            self.at += if long { LONG_HEADER } else { PAGE_HEADER };
        }

        fn record(&mut self, length: u64, term: u32, [info, manager]: [u8; 2]) {
            if self.at.is_multiple_of(PAGE) {
                self.header(0);
            }
            let mut record = vec![7; usize::try_from(length).unwrap()];
            record[..4].copy_from_slice(&(length as u32).to_le_bytes());
            record[4..8].copy_from_slice(&term.to_le_bytes());
            record[16..24].copy_from_slice(&self.previous.to_le_bytes());
            (record[24], record[25]) = (info, manager);
            let crc = crc32c::crc32c_append(crc32c::crc32c(&record[32..]), &record[..28]);
            record[28..32].copy_from_slice(&crc.to_le_bytes());
            self.previous = self.at;
            self.records.push(self.at);
            let mut rest = &record[..];
            while !rest.is_empty() {
                let room = usize::try_from(PAGE - self.at % PAGE).unwrap();
                let (part, later) = rest.split_at(room.min(rest.len()));
                let at = self.at;
                self.put(at, part);
                self.at += part.len() as u64;
                rest = later;
                if !rest.is_empty() {
                    self.header(rest.len() as u64);
                }
            }
            self.at = self.at.next_multiple_of(8);
        }

        fn end(&self) -> Option<LogEnd> {
            self.read(find_end)
        }

        fn read<T>(&self, read: impl FnOnce(&Path, &ControlFile) -> T) -> T {
            let dir = tempfile::tempdir().unwrap();
            let folder = dir.path().join("pg_xlog");
            std::fs::create_dir(&folder).unwrap();
            for (number, part) in self.bytes.chunks(usize::try_from(SEGMENT).unwrap()).enumerate() {
                std::fs::write(folder.join(format!("0000000100000000{:08X}", number + 3)), part).unwrap();
            }
            let checkpoint = self.records.first().copied().unwrap_or(FIRST);
            read(
                dir.path(),
                &ControlFile {
                    system_id: 1,
                    version: 923,
                    checkpoint: Lsn::new(checkpoint),
                    redo: Lsn::INVALID,
                    more: None,
                },
            )
        }
    }

    #[test]
    fn the_log_is_followed_over_pages_and_segments_to_its_last_record() {
        let mut log = Writer::new();
        for length in [80, 33, 8100, 40, 30_000, 700, 8192, 51] {
            log.record(length, 3, [0, 10]);
            let end = log.end().unwrap();
            assert_eq!((end.lsn.as_u64(), end.term), (log.at, Some(3)), "{length}");
            let last = end.last.map(|last| (last.begin.as_u64(), last.end.as_u64()));
            assert_eq!(last, Some((log.previous, log.at)), "{length}");
        }
        // Over the end of the segment, and at a page's very end.
        log.record(SEGMENT - 60_000, 3, [0, 10]);
        log.record(100_000, 4, [0, 10]);
        assert_eq!(log.end().map(|end| (end.lsn.as_u64(), end.term)), Some((log.at, Some(4))));
        let fill = PAGE - log.at % PAGE;
        log.record(if fill < 32 { fill + PAGE - PAGE_HEADER } else { fill }, 4, [0, 10]);
        assert!(log.at.is_multiple_of(PAGE));
        assert_eq!(log.end().unwrap().lsn.as_u64(), log.at);
        log.record(32, 4, [0, 10]);
        assert_eq!(log.end().unwrap().lsn.as_u64(), log.at);
    }

    #[test]
    fn what_an_older_log_left_in_the_same_file_is_no_part_of_it() {
        let mut log = Writer::new();
        log.record(80, 1, [0, 10]);
        let (end, previous) = (log.at, log.previous);
        log.previous = 77;
        log.record(80, 1, [0, 10]);
        assert_eq!(log.end().unwrap().lsn.as_u64(), end);
        // Nor a page of another place.
        (log.at, log.previous) = (end, previous);
        log.record(20_000, 1, [0, 10]);
        let second = FIRST + PAGE;
        log.put(second + 8, &5_u64.to_le_bytes());
        assert_eq!(log.end().unwrap().lsn.as_u64(), second, "up to the page that is missing");
    }

    #[test]
    fn a_torn_record_ends_what_recovery_replays() {
        let mut log = Writer::new();
        log.record(80, 1, [0, 10]);
        log.record(9000, 1, [0, 10]);
        let (whole, torn) = (log.records[0], log.records[1]);
        log.put(torn + 8190, &[9]);
        let end = log.end().unwrap();
        assert_eq!((end.lsn.as_u64(), end.last.unwrap().begin), (log.at, Lsn::new(whole)));
        // With more behind it that is whole, where the log ends cannot be said.
        let at = log.at;
        log.record(60, 1, [0, 10]);
        assert_eq!(log.end().unwrap().last, None);
        (log.at, log.previous) = (at, torn);
        assert_eq!(log.read(|dir, control| read_records(dir, control, &[Lsn::new(torn)])), [None]);
    }

    #[test]
    fn two_logs_are_told_apart_by_a_record_at_the_same_place() {
        let mut log = Writer::new();
        log.record(80, 1, [0, 10]);
        let mut other = Writer { bytes: log.bytes.clone(), records: log.records.clone(), ..log };
        log.record(9000, 1, [0, 10]);
        other.record(9000, 2, [0, 10]);
        let last = log.end().unwrap().last.unwrap();
        let (begin, end) = (last.begin.as_u64(), last.end.as_u64());
        let lsns = [log.records[0], begin, begin + 8, end, FIRST + 9 * SEGMENT].map(Lsn::new);
        let at = |log: &Writer| log.read(|dir, control| read_records(dir, control, &lsns));
        let (own, its) = (at(&log), at(&other));
        assert_eq!(own[0], its[0]);
        assert_eq!(own[1], Some(last));
        assert!(its[1].is_some_and(|there| there != last && there.end == last.end));
        assert_eq!(own[2..], [None, None, None]);
        assert_eq!(log.read(find_oldest_lsn), Some(Lsn::new(FIRST)));
    }

    #[test]
    fn the_end_of_a_damaged_log_is_not_vouched_for() {
        let written = || {
            let mut log = Writer::new();
            for _ in 0..60 {
                log.record(1000, 1, [0, 10]);
            }
            assert!(log.end().unwrap().last.is_some());
            log
        };
        // A page that was lost, with more behind it.
        let mut log = written();
        log.put(FIRST + 3 * PAGE, &vec![0; usize::try_from(PAGE).unwrap()]);
        let end = log.end().unwrap();
        assert!(end.lsn.as_u64() <= FIRST + 3 * PAGE && end.last.is_none(), "{end:?}");
        // The header of a record: its length, then the place of the one before it.
        for (at, byte) in [(0, 0), (16, 1)] {
            let mut log = written();
            log.put(log.records[9] + at, &[byte, byte]);
            assert_eq!(log.end().unwrap().last, None, "byte {at}");
        }
        // A segment that ends too early, or is not there, with the next one behind it.
        let mut log = written();
        log.record(SEGMENT, 1, [0, 10]);
        log.record(80, 1, [0, 10]);
        assert!(log.end().unwrap().last.is_some());
        for page in 5..SEGMENT / PAGE {
            log.put(FIRST + page * PAGE, &vec![0; usize::try_from(PAGE).unwrap()]);
        }
        assert_eq!(log.end().unwrap().last, None);
        let files =
            |from| log.read(|dir, control| segments_from(dir, control, Lsn::new(from)).unwrap().len());
        assert_eq!(
            (files(0), files(FIRST + SEGMENT)),
            (2, 1),
            "what lies behind the damage is a part of the log"
        );
    }

    #[test]
    fn a_segment_to_come_is_no_part_of_the_log() {
        let mut log = Writer::new();
        log.record(80, 1, [0, 10]);
        assert_eq!(log.read(|dir, control| segments_from(dir, control, Lsn::INVALID).unwrap().len()), 1);
    }

    #[test]
    fn a_switch_fills_its_segment() {
        let mut log = Writer::new();
        log.record(80, 1, [0, 10]);
        log.record(32, 1, [0x40, 0]);
        assert_eq!(log.end().unwrap().lsn.as_u64(), FIRST + SEGMENT);
    }

    #[test]
    fn what_is_no_log_tells_nothing() {
        let log = Writer { records: vec![FIRST + 40], ..Writer::new() };
        assert_eq!(log.end(), None);
        assert_eq!(find_end(Path::new("/nonexistent"), &ControlFile::default()), None);
    }
}
