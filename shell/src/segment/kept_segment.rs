//! A segment that an earlier process left: looked at while its records are copied.

use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

use aqueduct_core::memory::Span;
use aqueduct_core::{Memory, ReadRegion};
use rustix::fs::SealFlags;

use super::SegmentError;
use super::memfd::map_to_read;

/// A segment of which this process only reads; unmapped when it is dropped.
pub struct KeptSegment {
    /// INVARIANT: its `'static` is not true: it lives as long as this value, and no copy of it
    /// leaves this module.
    region: ReadRegion<'static>,
    bytes: usize,
}

impl KeptSegment {
    /// Maps a whole memfd. One that could shrink under the mapping is refused.
    pub fn open(fd: BorrowedFd<'_>) -> Result<Self, SegmentError> {
        let foreign = |errno| SegmentError::Foreign { errno };
        let seals = rustix::fs::fcntl_get_seals(fd).map_err(foreign)?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(SegmentError::Foreign { errno: rustix::io::Errno::PERM });
        }
        let size = rustix::fs::fstat(fd).map_err(foreign)?.st_size;
        let bytes = usize::try_from(size).unwrap_or(0);
        let base = map_to_read(fd, bytes)?;
        // SAFETY: (1) `map_to_read` gave these bytes, only `drop` unmaps them (invariant of the
        // field), and the file is sealed against shrinking; (2) page-aligned; (3) the address is
        // known only to the region.
        let region = unsafe { ReadRegion::from_raw(base, bytes) };
        Ok(Self { region, bytes })
    }
}

impl Drop for KeptSegment {
    fn drop(&mut self) {
        // SAFETY: exactly the bytes that `map_to_read` gave; no copy of the region exists
        // (invariant), so nothing refers to them any more.
        let unmapped =
            unsafe { rustix::mm::munmap(self.region.base().as_ptr().cast(), self.bytes) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}

impl Memory for KeptSegment {
    fn size(&self) -> usize {
        self.region.size()
    }

    fn load(&self, at: usize, order: Ordering) -> u32 {
        self.region.load(at, order)
    }

    fn read(&self, at: usize, into: &mut [u8]) {
        self.region.read(at, into);
    }

    fn span(&self, at: usize, len: usize) -> Option<Span<'_>> {
        self.region.span(at, len)
    }

    fn fence(&self, order: Ordering) {
        self.region.fence(order);
    }
}
