//! Space for one record, filled piece by piece.

use core::fmt;

use super::Producer;
use crate::attributes::AttributeBlock;
use crate::crc::Crc;
use crate::layout::GRANULE_BYTES;
use crate::memory::MemoryMut;
use crate::record::Meta;
use crate::transfer::write_with_crc;

/// A payload that is being written into the ring past the published tail.
pub(crate) struct Filling {
    /// Byte offset of the payload, a multiple of 32.
    at: usize,
    /// Payload bytes claimed.
    limit: usize,
    /// INVARIANT: at most `limit`.
    written: usize,
    /// Over what was written.
    crc: Crc,
    /// The last `written % 8` bytes, which do not fill a word yet.
    carry: [u8; 8],
}

impl Filling {
    /// Begins an empty payload of up to `limit` bytes after the record header at byte offset
    /// `record`; `crc` is a fresh state.
    pub(crate) fn new(record: usize, limit: usize, crc: Crc) -> Self {
        Self { at: record + GRANULE_BYTES, limit, written: 0, crc, carry: [0; 8] }
    }

    /// Writes parts, one after the other, after the record header at byte offset `record`. Returns
    /// the bytes and their CRC.
    pub(crate) fn whole<M: MemoryMut, const PARTS: usize>(
        ring: &M,
        record: usize,
        parts: [&[u8]; PARTS],
        crc: Crc,
    ) -> (usize, u32) {
        let limit = parts.iter().map(|part| part.len()).sum();
        let mut filling = Self::new(record, limit, crc);
        for part in parts {
            let written = filling.write(ring, part);
            debug_assert!(written.is_ok(), "it was begun with their length");
        }
        filling.finish(ring)
    }

    pub(crate) const fn remaining(&self) -> usize {
        self.limit - self.written
    }

    /// Appends all of the bytes or nothing.
    pub(crate) fn write<M: MemoryMut>(
        &mut self,
        ring: &M,
        mut bytes: &[u8],
    ) -> Result<(), GrantOverflow> {
        if bytes.len() > self.remaining() {
            return Err(GrantOverflow { bytes: bytes.len(), remaining: self.remaining() });
        }
        let filled = self.written % 8;
        if filled > 0 {
            let (first, rest) = bytes.split_at(bytes.len().min(8 - filled));
            self.crc.update(first);
            self.carry[filled..filled + first.len()].copy_from_slice(first);
            self.written += first.len();
            if filled + first.len() < 8 {
                return Ok(());
            }
            ring.write(self.at + self.written - 8, &self.carry);
            bytes = rest;
        }
        let (whole, rest) = bytes.split_at(bytes.len() & !7);
        write_with_crc(ring, self.at + self.written, whole, &mut self.crc);
        self.crc.update(rest);
        self.written += bytes.len();
        self.carry[..rest.len()].copy_from_slice(rest);
        Ok(())
    }

    /// Writes what is left over. Returns the payload bytes and their CRC.
    pub(crate) fn finish<M: MemoryMut>(self, ring: &M) -> (usize, u32) {
        let filled = self.written % 8;
        if filled > 0 {
            ring.write(self.at + self.written - filled, &self.carry[..filled]);
        }
        (self.written, self.crc.finalize())
    }
}

/// More was written into a grant than was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantOverflow {
    /// Bytes of the refused write.
    pub bytes: usize,
    /// Bytes that would have fitted.
    pub remaining: usize,
}

impl fmt::Display for GrantOverflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes written into a grant with room for {}", self.bytes, self.remaining)
    }
}

impl core::error::Error for GrantOverflow {}

/// Space for one record that is not committed yet. Dropping it leaves no record.
pub struct Grant<'p, M, C, const READERS: usize> {
    pub(super) producer: &'p mut Producer<M, C, READERS>,
    pub(super) start: u64,
    pub(super) filling: Filling,
}

impl<M: MemoryMut, C: MemoryMut, const READERS: usize> Grant<'_, M, C, READERS> {
    /// Returns the payload bytes that may still be written.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.filling.remaining()
    }

    /// Appends to the payload.
    ///
    /// # Errors
    /// More bytes than are left of the claim; none of them was taken.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), GrantOverflow> {
        self.filling.write(self.producer.ring(), bytes)
    }

    /// Commits what was written, which may be less than was claimed. Returns the sequence number.
    /// The record is visible after the next [`publish`](Producer::publish).
    pub fn commit(self, meta: Meta) -> u64 {
        let (len, crc) = self.filling.finish(self.producer.ring());
        self.producer.commit(self.start, meta, crc, len, 0)
    }

    /// Commits what was written with attributes, for which room must be left of the claim. Returns
    /// the sequence number.
    ///
    /// # Errors
    /// The attributes have more bytes than are left; no record appears then.
    pub fn commit_with(
        mut self,
        meta: Meta,
        attributes: AttributeBlock<'_>,
    ) -> Result<u64, GrantOverflow> {
        self.filling.write(self.producer.ring(), attributes.as_bytes())?;
        let (len, crc) = self.filling.finish(self.producer.ring());
        Ok(self.producer.commit(self.start, meta, crc, len, attributes.units()))
    }
}
