//! The only door to shared memory: a small trait of atomic words, copies and fences, and its
//! production backend.
//!
//! What is built on it is safe code over [`Memory`]. The trait is what lets the same algorithms run
//! under a model checker, whose atomics cannot be laid over bytes.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "this module is the one door to atomics"
)]

mod region;
mod segment;

pub use self::region::{ReadRegion, Region, TrustedRegion};
pub use self::segment::Segment;

use core::sync::atomic::Ordering;

use crate::crc::Crc;
use crate::layout::GRANULE_BYTES;
use crate::record::{Framing, Header, HeaderCrc, Record};

/// Loads from a segment that other parties may be writing.
///
/// An access beyond [`size`](Memory::size) is a bug of the caller, never of the peer, because every
/// offset comes from a checked [`Geometry`](crate::geometry::Geometry). A backend asserts it in debug
/// builds and must stay in bounds in release builds.
pub trait Memory {
    /// Bytes in the segment.
    fn size(&self) -> usize;

    /// One atomic load of the little-endian control word at byte offset `at`, a multiple of 4.
    fn load(&self, at: usize, order: Ordering) -> u32;

    /// Copies `into.len()` bytes from byte offset `at`, a multiple of 32, by relaxed atomic word
    /// loads.
    fn read(&self, at: usize, into: &mut [u8]);

    /// [`read`](Memory::read), and appends what was copied to `crc`.
    #[inline]
    fn read_with_crc(&self, at: usize, into: &mut [u8], crc: &mut Crc) {
        self.read(at, into);
        crc.update(into);
    }

    /// Copies the record header at byte offset `at`, a multiple of 32, once, and checks the copy;
    /// gives it with its CRC.
    ///
    /// # Errors
    /// It is not a header written for this ring and this position.
    #[inline]
    fn read_header(
        &self,
        at: usize,
        framing: &Framing,
        position: u32,
    ) -> Result<(Header, u32), HeaderCrc> {
        let mut bytes = [0; GRANULE_BYTES];
        self.read(at, &mut bytes);
        framing.decode_with_crc(position, &bytes)
    }

    /// Copies the payload of the record at byte offset `at`, a multiple of 32, to the start of
    /// `into` and describes it, if it is what a reader mostly finds: DATA with number `seq` that
    /// stands at `position`, whose payload fits, and both CRCs right. `None`: it is not, and what
    /// `into` holds means nothing; [`read_header`](Memory::read_header) and
    /// [`read_with_crc`](Memory::read_with_crc) say more.
    #[inline]
    fn read_record(
        &self,
        at: usize,
        framing: &Framing,
        position: u32,
        seq: u64,
        into: &mut [u8],
    ) -> Option<Record> {
        record_by_steps(self, at, framing, position, seq, into)
    }

    /// Says that the two cache lines of byte offset `at` will be read soon.
    #[inline]
    fn prefetch(&self, at: usize) {
        let _ = at;
    }

    /// An atomic fence; the pair is named where it is called.
    fn fence(&self, order: Ordering);
}

/// Stores into a segment.
pub trait MemoryMut: Memory {
    /// One atomic store of the little-endian control word at byte offset `at`, a multiple of 4.
    fn store(&self, at: usize, value: u32, order: Ordering);

    /// Copies `bytes` to byte offset `at`, a multiple of 8, by relaxed atomic word stores; filled
    /// up with zeros to a multiple of 8 bytes, so that the same records give the same bytes
    /// whatever the machine's word.
    fn write(&self, at: usize, bytes: &[u8]);

    /// Writes `header`, which stands at `position`, with its CRC to byte offset `at`, a multiple of
    /// 32.
    #[inline]
    fn write_header(&self, at: usize, framing: &Framing, position: u32, header: &Header) {
        self.write(at, &framing.encode(position, header));
    }

    /// Writes a whole record that stands at `position` to byte offset `at`, a multiple of 32: its
    /// payload, and before it `header` with the CRC of the payload in it.
    #[inline]
    fn write_record(
        &self,
        at: usize,
        framing: &Framing,
        position: u32,
        header: Header,
        payload: &[u8],
    ) {
        let mut crc = framing.empty_crc();
        self.write_with_crc(at + GRANULE_BYTES, payload, &mut crc);
        self.write_header(at, framing, position, &Header { payload_crc: crc.finalize(), ..header });
    }

    /// [`write`](MemoryMut::write), and appends `bytes` to `crc`.
    #[inline]
    fn write_with_crc(&self, at: usize, bytes: &[u8], crc: &mut Crc) {
        self.write(at, bytes);
        crc.update(bytes);
    }
}

/// A segment whose bytes may be lent out in place.
pub trait InPlace: Memory {
    /// The bytes themselves. Only as good as the promise made to [`TrustedRegion::from_raw`].
    fn slice(&self, at: usize, len: usize) -> &[u8];
}

/// [`Memory::read_record`], header first.
#[inline]
pub(crate) fn record_by_steps<M: Memory + ?Sized>(
    memory: &M,
    at: usize,
    framing: &Framing,
    position: u32,
    seq: u64,
    into: &mut [u8],
) -> Option<Record> {
    let (header, _) = memory.read_header(at, framing, position).ok()?;
    let payload = into.get_mut(..header.len as usize)?;
    if !header.is_data() || header.seq != seq {
        return None;
    }
    let mut crc = framing.empty_crc();
    memory.read_with_crc(at + GRANULE_BYTES, payload, &mut crc);
    (crc.finalize() == header.payload_crc).then(|| header.record_at(position))
}

impl<T: Memory + ?Sized> Memory for &T {
    #[inline]
    fn size(&self) -> usize {
        (**self).size()
    }

    #[inline]
    fn load(&self, at: usize, order: Ordering) -> u32 {
        (**self).load(at, order)
    }

    #[inline]
    fn read(&self, at: usize, into: &mut [u8]) {
        (**self).read(at, into);
    }

    #[inline]
    fn read_with_crc(&self, at: usize, into: &mut [u8], crc: &mut Crc) {
        (**self).read_with_crc(at, into, crc);
    }

    #[inline]
    fn read_header(
        &self,
        at: usize,
        framing: &Framing,
        position: u32,
    ) -> Result<(Header, u32), HeaderCrc> {
        (**self).read_header(at, framing, position)
    }

    #[inline]
    fn read_record(
        &self,
        at: usize,
        framing: &Framing,
        position: u32,
        seq: u64,
        into: &mut [u8],
    ) -> Option<Record> {
        (**self).read_record(at, framing, position, seq, into)
    }

    #[inline]
    fn prefetch(&self, at: usize) {
        (**self).prefetch(at);
    }

    #[inline]
    fn fence(&self, order: Ordering) {
        (**self).fence(order);
    }
}

impl<T: MemoryMut + ?Sized> MemoryMut for &T {
    #[inline]
    fn store(&self, at: usize, value: u32, order: Ordering) {
        (**self).store(at, value, order);
    }

    #[inline]
    fn write(&self, at: usize, bytes: &[u8]) {
        (**self).write(at, bytes);
    }

    #[inline]
    fn write_with_crc(&self, at: usize, bytes: &[u8], crc: &mut Crc) {
        (**self).write_with_crc(at, bytes, crc);
    }

    #[inline]
    fn write_header(&self, at: usize, framing: &Framing, position: u32, header: &Header) {
        (**self).write_header(at, framing, position, header);
    }

    #[inline]
    fn write_record(
        &self,
        at: usize,
        framing: &Framing,
        position: u32,
        header: Header,
        payload: &[u8],
    ) {
        (**self).write_record(at, framing, position, header, payload);
    }
}
