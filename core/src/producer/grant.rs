//! Space for one record, filled piece by piece.

use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use super::Producer;
use crate::attributes::AttributeBlock;
use crate::crc::Crc;
use crate::layout::GRANULE_BYTES;
use crate::memory::MemoryMut;
use crate::record::Meta;
use crate::transfer::{read_with_crc, write_with_crc};

/// What was filled in place is read back in pieces of this many bytes.
const PIECE_BYTES: usize = 64;
const _: () = assert!(PIECE_BYTES.is_multiple_of(GRANULE_BYTES));

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

    /// Returns the place of the payload, if the memory can lend it, with what was written in it.
    pub(crate) fn place<M: MemoryMut>(&self, ring: &M) -> Option<NonNull<u8>> {
        let begun = self.written % 8;
        if let Some(bytes) = self.carry.get(..begun).filter(|bytes| !bytes.is_empty()) {
            ring.write(self.at + self.written - begun, bytes);
        }
        NonNull::new(ring.span(self.at, self.limit)?.writable(self.limit)?)
    }

    /// Takes the first `len` bytes of the place for the payload, filled by something else, with
    /// this CRC or that of what is read back. Returns the CRC.
    pub(crate) fn filled<M: MemoryMut>(
        self,
        ring: &M,
        len: usize,
        crc: Option<u32>,
        empty: Crc,
    ) -> Result<u32, GrantOverflow> {
        if len > self.limit {
            return Err(GrantOverflow { bytes: len, remaining: self.limit });
        }
        let at = self.at;
        // ORDER(filled): Acquire. What the filler stored before it was seen to be done is read
        // below. Pairs with whatever orders the filler's stores before its sign: hardware as
        // MICROCONTROLLERS.md has it, a thread its Release.
        ring.fence(Ordering::Acquire);
        // The last word is made whole with zeros, as every other way to write does.
        let (word, mut last) = (len & !7, [0; PIECE_BYTES]);
        let granule = word & !(GRANULE_BYTES - 1);
        if let Some(bytes) = last.get_mut(..len - granule).filter(|_| word < len) {
            ring.read(at + granule, bytes);
            if let Some(bytes) = bytes.get(word - granule..) {
                ring.write(at + word, bytes);
            }
        }
        if let Some(crc) = crc {
            return Ok(crc);
        }
        let (mut piece, mut done, mut computed) = ([0; PIECE_BYTES], 0, empty);
        while let Some(bytes) =
            piece.get_mut(..PIECE_BYTES.min(len - done)).filter(|b| !b.is_empty())
        {
            read_with_crc(ring, at + done, bytes, &mut computed);
            done += bytes.len();
        }
        Ok(computed.finalize())
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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
///
/// ```
/// use core::fmt::Write;
///
/// use aqueduct_core::{AttributeBlock, GrantOverflow, Meta, Next, Ring};
///
/// let ring = Ring::<1024>::new();
/// let (mut producer, [mut reader]) = ring.split().expect("nobody has split it");
///
/// let mut grant = producer.claim(32)?; // the most that it may take
/// write!(grant, "{:.1} degrees", 21.53)?;
/// assert_eq!(grant.remaining(), 20);
/// assert_eq!(grant.write(&[0; 21]), Err(GrantOverflow { bytes: 21, remaining: 20 }));
/// let mut room = [0; 16];
/// let unit = AttributeBlock::write([("unit", &b"C"[..])], &mut room)?;
/// assert_eq!(grant.commit_with(Meta::default(), unit)?, 0);
/// let _ = producer.publish();
///
/// drop(producer.claim(32)?); // no record
///
/// // Hardware, or a program that has the address, fills the place.
/// let grant = producer.claim(32)?;
/// let place = grant.payload_ptr().expect("memory of this program");
/// // SAFETY: 20 of the 32 bytes that were claimed; nobody else has them.
/// unsafe { place.write_bytes(7, 20) };
/// assert_eq!(grant.commit_filled(Meta::default(), 20, None)?, 1);
/// let Next::Record((record, payload)) = reader.next_in_place()? else { panic!("one was published") };
/// assert_eq!((record.seq, payload), (0, &b"21.5 degrees"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "without a commit there is no record"]
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

    /// Returns the address of the payload's place, aligned to 32 bytes, for hardware that fills it:
    /// as many bytes as were claimed. `None` if the memory cannot lend its bytes; that of a
    /// [`Region`](crate::Region) can. The address is good as long as the grant is. What was written
    /// before is there already; write nothing afterwards.
    ///
    /// It is a raw pointer because an observer may be loading from there: what stores through it is
    /// hardware, or does so by relaxed atomic words.
    #[must_use]
    pub fn payload_ptr(&self) -> Option<NonNull<u8>> {
        self.filling.place(self.producer.ring())
    }

    /// Commits the first `len` bytes of the payload's place, which something else has filled: a DMA
    /// transfer that is over, after what the processor's caches need (see the page on
    /// microcontrollers in `core/`). Their CRC is taken from `crc`, computed by a hardware unit
    /// say, or else from the bytes, which are read back. Returns the sequence number.
    ///
    /// A wrong CRC makes a record that readers report as damaged.
    ///
    /// # Errors
    /// `len` is more than was claimed. There is no record then.
    pub fn commit_filled(
        self,
        meta: Meta,
        len: usize,
        crc: Option<u32>,
    ) -> Result<u64, GrantOverflow> {
        let empty = self.producer.empty_crc();
        let crc = self.filling.filled(self.producer.ring(), len, crc, empty)?;
        Ok(self.producer.commit(self.start, meta, crc, len, 0))
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

impl<M: MemoryMut, C: MemoryMut, const READERS: usize> fmt::Write for Grant<'_, M, C, READERS> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

impl<M, C, const READERS: usize> fmt::Debug for Grant<'_, M, C, READERS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("written", &self.filling.written)
            .field("limit", &self.filling.limit)
            .finish_non_exhaustive()
    }
}
