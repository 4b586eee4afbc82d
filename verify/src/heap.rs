//! The production backend with an owner: a [`Segment`] behind a reference count, so that tests can
//! keep rings and pages in structs.
//!
//! Every method of the traits goes to [`Region`], those with defaults too; nothing is added.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aqueduct_core::crc::Crc;
use aqueduct_core::record::{Framing, Header, HeaderCrc};
use aqueduct_core::{Memory, MemoryMut, Record, Region, Segment};

/// Shared ownership of `BYTES` zeroed bytes. Clones are the same memory.
#[derive(Clone, Default)]
pub struct Heap<const BYTES: usize>(Arc<Segment<BYTES>>);

impl<const BYTES: usize> Heap<BYTES> {
    /// All zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The production backend itself.
    #[must_use]
    pub fn region(&self) -> Region<'_> {
        self.0.region()
    }

    /// A copy of all bytes.
    #[must_use]
    pub fn image(&self) -> Vec<u8> {
        let mut bytes = vec![0; BYTES];
        self.region().read(0, &mut bytes);
        bytes
    }

    /// Overwrites the bytes from `at`, a multiple of 8, with whole words: the last one is filled up
    /// with zeros.
    pub fn fill_at(&self, at: usize, bytes: &[u8]) {
        self.region().write(at, bytes);
    }

    /// Changes one byte by exclusive or.
    pub fn flip(&self, at: usize, mask: u8) {
        let (granule, within) = (at & !31, at & 31);
        let mut bytes = [0; 32];
        self.region().read(granule, &mut bytes);
        bytes[within] ^= mask;
        self.region().write(granule, &bytes);
    }
}

impl<const BYTES: usize> Memory for Heap<BYTES> {
    fn size(&self) -> usize {
        BYTES
    }

    fn load(&self, at: usize, order: Ordering) -> u32 {
        self.region().load(at, order)
    }

    fn read(&self, at: usize, into: &mut [u8]) {
        self.region().read(at, into);
    }

    fn read_with_crc(&self, at: usize, into: &mut [u8], crc: &mut Crc) {
        self.region().read_with_crc(at, into, crc);
    }

    fn read_header(
        &self,
        at: usize,
        framing: &Framing,
        position: u32,
    ) -> Result<(Header, u32), HeaderCrc> {
        self.region().read_header(at, framing, position)
    }

    fn read_record(
        &self,
        at: usize,
        framing: &Framing,
        position: u32,
        seq: u64,
        into: &mut [u8],
    ) -> Option<Record> {
        self.region().read_record(at, framing, position, seq, into)
    }

    fn prefetch(&self, at: usize) {
        self.region().prefetch(at);
    }

    fn fence(&self, order: Ordering) {
        self.region().fence(order);
    }
}

impl<const BYTES: usize> MemoryMut for Heap<BYTES> {
    fn store(&self, at: usize, value: u32, order: Ordering) {
        self.region().store(at, value, order);
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        self.region().write(at, bytes);
    }

    fn write_with_crc(&self, at: usize, bytes: &[u8], crc: &mut Crc) {
        self.region().write_with_crc(at, bytes, crc);
    }

    fn write_header(&self, at: usize, framing: &Framing, position: u32, header: &Header) {
        self.region().write_header(at, framing, position, header);
    }

    fn write_record(
        &self,
        at: usize,
        framing: &Framing,
        position: u32,
        header: Header,
        payload: &[u8],
    ) {
        self.region().write_record(at, framing, position, header, payload);
    }
}
