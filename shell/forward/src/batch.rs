//! Records that are held together until they are delivered: one allocation, bounded.
//! Knows nothing of where they come from or go to.

use std::ops::Range;

use aqueduct_client::{Attributes, Record};

/// Records of one epoch, in order, with their payloads and attributes.
#[derive(Debug, Default)]
pub struct Batch {
    epoch: u64,
    /// Payloads and attributes, one after the other, and room for one more.
    bytes: Vec<u8>,
    /// INVARIANT: at most the length of `bytes`; where the next record is put.
    used: usize,
    /// Each record, and where its bytes begin.
    records: Vec<(Record, usize)>,
}

impl Batch {
    /// Returns the number of records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Returns the bytes of payloads and attributes.
    pub const fn bytes(&self) -> usize {
        self.used
    }

    /// Forgets all records, and names the epoch of those that come.
    pub fn clear(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.used = 0;
        self.records.clear();
    }

    /// Lends at least `needed` bytes for the next record.
    pub fn room(&mut self, needed: usize) -> &mut [u8] {
        let end = self.used + needed;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        &mut self.bytes[self.used..]
    }

    /// Lends a record whose payload and attributes are at the start of the room.
    pub fn view(&self, record: Record) -> View<'_> {
        View::new(self.epoch, record, &self.bytes[self.used..self.used + record.bytes()])
    }

    /// Keeps the record whose payload and attributes are at the start of the room.
    pub fn keep(&mut self, record: Record) {
        debug_assert!(self.used + record.bytes() <= self.bytes.len(), "it was read into the room");
        self.records.push((record, self.used));
        self.used += record.bytes();
    }

    /// Adds a record from elsewhere, for tests and measurements.
    pub fn push(
        &mut self,
        seq: u64,
        type_tag: u16,
        timestamp_ns: u64,
        payload: &[u8],
        block: &[u8],
    ) {
        let bytes = payload.len() + block.len();
        let room = self.room(bytes);
        room[..payload.len()].copy_from_slice(payload);
        room[payload.len()..bytes].copy_from_slice(block);
        debug_assert!(block.len().is_multiple_of(16) && block.len() <= 4080, "units of 16 bytes");
        let attribute_units = u8::try_from(block.len() / 16).unwrap_or(u8::MAX);
        let len = payload.len();
        let record =
            Record { seq, timestamp_ns, len, type_tag, flags: 0, attribute_units, position: 0 };
        self.keep(record);
    }

    /// Forgets some records, which are counted from 0 and in order.
    pub fn forget(&mut self, some: &[usize]) {
        debug_assert!(some.is_sorted(), "in order");
        let mut at = 0;
        self.records.retain(|_| {
            at += 1;
            some.binary_search(&(at - 1)).is_err()
        });
    }

    /// Returns all of them.
    pub fn records(&self) -> Records<'_> {
        Records { batch: self, range: 0..self.records.len() }
    }
}

/// Consecutive records of a batch; never none.
#[derive(Clone, Debug)]
pub struct Records<'b> {
    batch: &'b Batch,
    range: Range<usize>,
}

impl<'b> Records<'b> {
    /// Returns their number.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Returns the epoch of all of them.
    pub const fn epoch(&self) -> u64 {
        self.batch.epoch
    }

    /// Returns one, counted from 0.
    ///
    /// # Panics
    /// There are not so many.
    pub fn get(&self, at: usize) -> View<'b> {
        let (record, begin) = self.batch.records[self.range.clone()][at];
        let bytes = &self.batch.bytes[begin..begin + record.bytes()];
        View::new(self.batch.epoch, record, bytes)
    }

    /// Returns one as it lies in the ring, counted from 0.
    ///
    /// # Panics
    /// There are not so many.
    pub fn record(&self, at: usize) -> Record {
        self.batch.records[self.range.clone()][at].0
    }

    /// Returns some of them, counted from 0.
    ///
    /// # Panics
    /// There are not so many.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len(), "{range:?} of {}", self.len());
        let begin = self.range.start;
        Self { batch: self.batch, range: begin + range.start..begin + range.end }
    }

    /// Walks them in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = View<'b>> {
        (0..self.len()).map(|at| self.get(at))
    }

    /// Returns the first and last sequence number; `None` if there is no record.
    pub fn span(&self) -> Option<(u64, u64)> {
        let last = self.len().checked_sub(1)?;
        Some((self.get(0).seq, self.get(last).seq))
    }

    /// Returns the bytes of their payloads.
    pub fn payload_bytes(&self) -> u64 {
        self.batch.records[self.range.clone()].iter().map(|(record, _)| record.len as u64).sum()
    }
}

/// One record, lent.
#[derive(Clone, Debug)]
pub struct View<'b> {
    /// With `seq`, names the record for ever.
    pub epoch: u64,
    /// Sequence number in the epoch, from 0.
    pub seq: u64,
    /// The sender's tag.
    pub type_tag: u16,
    /// Nanoseconds by the ring's clock, of a listener since 1970; 0 if unknown.
    pub timestamp_ns: u64,
    /// The payload.
    pub payload: &'b [u8],
    /// What was kept beside it.
    pub attributes: Attributes<'b>,
    /// The same as bytes (`core/ABI.md` §3.1).
    pub block: &'b [u8],
}

impl<'b> View<'b> {
    fn new(epoch: u64, record: Record, bytes: &'b [u8]) -> Self {
        Self {
            epoch,
            seq: record.seq,
            type_tag: record.type_tag,
            timestamp_ns: record.timestamp_ns,
            payload: record.payload(bytes),
            attributes: record.attributes(bytes),
            block: bytes.get(record.len..record.bytes()).unwrap_or_default(),
        }
    }

    /// Returns `epoch-seq`, 16 hexadecimal digits and a decimal number: the name of the record
    /// wherever one is needed.
    pub fn name(&self) -> String {
        format!("{:016x}-{}", self.epoch, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_lent_as_they_were_kept() {
        let mut batch = Batch::default();
        batch.clear(7);
        batch.push(3, 1, 10, b"one", b"");
        batch.push(4, 2, 11, b"", b"");
        batch.push(6, 3, 12, b"three", b"");
        let all = batch.records();
        assert_eq!((all.len(), all.epoch(), all.span()), (3, 7, Some((3, 6))));
        assert_eq!((all.payload_bytes(), batch.bytes()), (8, 8));
        let rest = all.slice(1..3);
        assert_eq!(rest.span(), Some((4, 6)));
        assert_eq!(rest.slice(1..2).get(0).payload, b"three");
        assert_eq!(rest.get(1).name(), "0000000000000007-6");
        let payloads: Vec<_> = all.iter().map(|record| record.payload.to_vec()).collect();
        assert_eq!(payloads, [&b"one"[..], b"", b"three"]);
        batch.forget(&[0, 2]);
        assert_eq!((batch.len(), batch.records().get(0).seq), (1, 4));
        batch.clear(8);
        assert!(batch.is_empty() && batch.records().span().is_none());
    }
}
