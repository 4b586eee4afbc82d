//! A reader's cursor segment: written by the reader, mapped here to see how far it has released.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aqueduct_core::memory::Span;
use aqueduct_core::{Memory, MemoryMut, Region};
use rustix::fs::SealFlags;

use super::SegmentError;
use super::memfd::{map, memfd, seal};

/// Size of a cursor segment, bytes: one page.
pub const CURSOR_BYTES: usize = 4096;

/// The producer's mapping of one reader's cursor segment; unmapped when its last clone is dropped.
#[derive(Clone)]
pub struct CursorSegment {
    mapping: Arc<Mapping>,
}

/// A mapping, unmapped when it is dropped.
struct Mapping {
    /// INVARIANT: its `'static` is not true: it lives as long as this value, and no copy of it
    /// leaves this module.
    region: Region<'static>,
}

impl CursorSegment {
    /// Creates a zeroed segment and the descriptor to hand to its reader, who may write but not
    /// resize it.
    pub fn create(name: &str) -> Result<(Self, OwnedFd), SegmentError> {
        Self::with_name(&format!("aqueduct-cursor-{name}"))
    }

    /// Creates a zeroed page for another purpose; the name is the whole one of the memfd.
    pub fn with_name(name: &str) -> Result<(Self, OwnedFd), SegmentError> {
        let fd = memfd(name, CURSOR_BYTES)?;
        let base = map(fd.as_fd(), CURSOR_BYTES)?;
        // SAFETY: (1) `map` gave these bytes, and only `drop` unmaps them (invariant of the field);
        // sealing comes next, before anyone else knows the file; (2) page-aligned; (3) the address
        // is known only to the `Region`.
        let region = unsafe { Region::from_raw(base, CURSOR_BYTES) };
        let segment = Self { mapping: Arc::new(Mapping { region }) };
        seal(fd.as_fd(), SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok((segment, fd))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the bytes that `map` gave; no copy of the region exists (invariant), so
        // nothing refers to them any more.
        let unmapped =
            unsafe { rustix::mm::munmap(self.region.base().as_ptr().cast(), CURSOR_BYTES) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}

impl Memory for CursorSegment {
    fn size(&self) -> usize {
        self.mapping.region.size()
    }

    fn load(&self, at: usize, order: Ordering) -> u32 {
        self.mapping.region.load(at, order)
    }

    fn read(&self, at: usize, into: &mut [u8]) {
        self.mapping.region.read(at, into);
    }

    fn span(&self, at: usize, len: usize) -> Option<Span<'_>> {
        self.mapping.region.span(at, len)
    }

    fn fence(&self, order: Ordering) {
        self.mapping.region.fence(order);
    }
}

impl MemoryMut for CursorSegment {
    fn store(&self, at: usize, value: u32, order: Ordering) {
        self.mapping.region.store(at, value, order);
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        self.mapping.region.write(at, bytes);
    }
}
