//! What the two binary files have in common: pages of 8192 bytes, little-endian integers packed without gaps, strings
//! of fixed width filled up with NUL, and a CRC-32 before each record.

use super::{ClusterAddress, MAX_ADDRESSES, MAX_DATA_NODES, MAX_NODES};
use crate::base::Error;

/// Every record begins on a page of its own.
pub(super) const PAGE_BYTES: usize = 8192;
/// Room for one address.
pub(super) const ADDRESS_BYTES: usize = 128;
/// Room for a node's or zone's name.
pub(super) const NAME_BYTES: usize = 64;
/// Room for a path.
pub(super) const PATH_BYTES: usize = 1024;
/// Bytes of a list of addresses: its count and the room.
pub(super) const ADDRESSES_BYTES: usize = 4 + MAX_ADDRESSES * ADDRESS_BYTES;

/// The first page that begins after `position`, as OM's writer counts: a record that ends on a page's end is followed by
/// a free page.
pub(super) fn next_page(position: usize) -> usize {
    (position / PAGE_BYTES + 1) * PAGE_BYTES
}

/// `bytes[at..at + 4]` as a number; 0 when the slice is shorter.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}

/// Reads the checksum and the length of a file's header of `size` bytes; `hint` says what to do with a damaged file.
pub(super) fn read_header(r: &mut Reader, size: usize, hint: &str) -> Result<(), Error> {
    let crc = r.u32("the header")?;
    let header = r.bytes.get(4..size).ok_or_else(|| {
        Error::corrupt(format!("the file has {} bytes, too few for the header", r.bytes.len()))
    })?;
    if crc32fast::hash(header) != crc {
        return Err(Error::corrupt("the header's checksum is wrong").hint(hint));
    }
    let length = r.u32("the header")?;
    if length as usize != size {
        return Err(Error::corrupt(format!("the header says its length is {length}, it must be {size}")));
    }
    Ok(())
}

/// Reads how many nodes the file has.
pub(super) fn read_node_count(r: &mut Reader) -> Result<usize, Error> {
    let count = r.u32("the header")? as usize;
    if (1..=MAX_NODES).contains(&count) {
        return Ok(count);
    }
    Err(Error::corrupt(format!("the header says {count} nodes, there are 1 to {MAX_NODES}")))
}

/// Refuses a record that says more data nodes than there can be.
pub(super) fn check_data_nodes(node: usize, begin: usize, count: usize) -> Result<(), Error> {
    if count <= MAX_DATA_NODES {
        return Ok(());
    }
    Err(Error::corrupt(format!(
        "the record of node {node} at byte {begin} says {count} data nodes, there are at most {MAX_DATA_NODES}"
    )))
}

/// The error of a record with a wrong checksum.
pub(super) fn wrong_checksum(node: usize, begin: usize, hint: &str) -> Error {
    Error::corrupt(format!("the checksum of node {node}'s record at byte {begin} is wrong")).hint(hint)
}

/// Where the first byte is that is not 0. Nearly all of a file is 0: whole pages are compared at a time.
fn used_length(bytes: &[u8]) -> Option<usize> {
    const NONE: [u8; PAGE_BYTES] = [0; PAGE_BYTES];
    let page = bytes.chunks(PAGE_BYTES).position(|page| page != &NONE[..page.len()])? * PAGE_BYTES;
    bytes[page..].iter().position(|b| *b != 0).map(|at| page + at)
}

/// Reads fields one after another.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Begins at `at`.
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Where the next field begins.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The next `len` bytes.
    pub(super) fn take(&mut self, what: &str, len: usize) -> Result<&'a [u8], Error> {
        let field =
            self.at.checked_add(len).and_then(|end| self.bytes.get(self.at..end)).ok_or_else(|| {
                Error::corrupt(format!("the file ends at byte {} within {what}", self.bytes.len()))
            })?;
        self.at += len;
        Ok(field)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, Error> {
        self.take(what, 4).map(|b| u32_at(b, 0))
    }

    pub(super) fn i32(&mut self, what: &str) -> Result<i32, Error> {
        self.u32(what).map(u32::cast_signed)
    }

    pub(super) fn i64(&mut self, what: &str) -> Result<i64, Error> {
        let low = self.u32(what)?;
        let high = self.u32(what)?;
        Ok((u64::from(high) << 32 | u64::from(low)).cast_signed())
    }

    /// A string of `width` bytes; what follows its first NUL must be NUL.
    pub(super) fn string(&mut self, what: &str, width: usize) -> Result<String, Error> {
        let at = self.at;
        let field = self.take(what, width)?;
        let end = field.iter().position(|b| *b == 0).unwrap_or(width);
        let (text, rest) = field.split_at(end);
        if used_length(rest).is_some() {
            return Err(Error::corrupt(format!("{what} at byte {at} has bytes behind its end")));
        }
        String::from_utf8(text.to_vec())
            .map_err(|e| Error::corrupt(format!("{what} at byte {at} is not UTF-8: {e}")))
    }

    /// A list of addresses.
    pub(super) fn addresses(&mut self, what: &str) -> Result<Vec<ClusterAddress>, Error> {
        let at = self.at;
        let count = self.u32(what)? as usize;
        if count > MAX_ADDRESSES {
            return Err(Error::corrupt(format!(
                "{what} at byte {at} says {count} addresses, there is room for {MAX_ADDRESSES}"
            )));
        }
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            list.push(ClusterAddress::from_verbatim(self.string(what, ADDRESS_BYTES)?));
        }
        self.zeros(what, (MAX_ADDRESSES - count) * ADDRESS_BYTES)?;
        Ok(list)
    }

    /// `len` bytes that must be 0.
    pub(super) fn zeros(&mut self, what: &str, len: usize) -> Result<(), Error> {
        let at = self.at;
        match used_length(self.take(what, len)?) {
            Some(n) => Err(Error::corrupt(format!("{what}: byte {} should be 0", at + n))),
            None => Ok(()),
        }
    }
}

/// Writes fields one after another.
#[derive(Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// A writer with room for `capacity` bytes.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity) }
    }

    /// Fills up with 0 to `position`.
    pub(super) fn fill_to(&mut self, position: usize) {
        self.bytes.resize(position, 0);
    }

    pub(super) fn at(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn zeros(&mut self, len: usize) {
        self.bytes.resize(self.bytes.len() + len, 0);
    }

    /// A string in `width` bytes. OM cuts a longer one off in silence; here it is an error.
    pub(super) fn string(&mut self, what: &str, text: &str, width: usize) -> Result<(), Error> {
        if text.len() > width || text.contains('\0') {
            return Err(Error::refused(format!(
                "{what} {text:?} has {} bytes, the file has room for {width} without NUL",
                text.len()
            )));
        }
        self.bytes.extend_from_slice(text.as_bytes());
        self.zeros(width - text.len());
        Ok(())
    }

    pub(super) fn addresses(&mut self, what: &str, list: &[ClusterAddress]) -> Result<(), Error> {
        let count =
            u32::try_from(list.len()).ok().filter(|n| *n as usize <= MAX_ADDRESSES).ok_or_else(|| {
                Error::refused(format!(
                    "{what}: {} addresses, the file has room for {MAX_ADDRESSES}",
                    list.len()
                ))
            })?;
        self.u32(count);
        for address in list {
            self.string(what, address.as_str(), ADDRESS_BYTES)?;
        }
        self.zeros((MAX_ADDRESSES - list.len()) * ADDRESS_BYTES);
        Ok(())
    }

    /// Begins a record: room for its checksum. Returns what [`Writer::seal`] needs.
    pub(super) fn begin(&mut self) -> usize {
        self.u32(0);
        self.bytes.len()
    }

    /// Ends a record: puts the checksum of all that was written since `begin` in front of it.
    pub(super) fn seal(&mut self, begin: usize) {
        let crc = crc32fast::hash(&self.bytes[begin..]).to_le_bytes();
        self.bytes[begin - 4..begin].copy_from_slice(&crc);
    }

    /// The whole, filled up to full pages.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let full = self.bytes.len().next_multiple_of(PAGE_BYTES);
        self.fill_to(full);
        self.bytes
    }
}
