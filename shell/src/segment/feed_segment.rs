//! The segment of a ring that one reader has for itself, for as long as it is attached.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aqueduct_core::memory::Span;
use aqueduct_core::{Memory, MemoryMut, Region};

use super::SegmentError;
use super::memfd::{map, memfd};
use super::ring_segment::{seal_mapped, wake_sleepers};

/// A ring segment that is unmapped when its last clone is dropped; sealed as every ring's.
#[derive(Clone)]
pub struct FeedSegment {
    mapping: Arc<Mapping>,
}

/// A mapping, unmapped when it is dropped.
struct Mapping {
    /// INVARIANT: its `'static` is not true: it lives as long as this value, and no copy of it
    /// leaves this module.
    region: Region<'static>,
    /// The same memfd, opened read-only and sealed against every write.
    handout: OwnedFd,
}

impl FeedSegment {
    /// Creates a zeroed segment of `bytes`, which are more than a ring's header, with all its pages
    /// present.
    pub fn create(ring: &str, bytes: usize) -> Result<Self, SegmentError> {
        let fd = memfd(&format!("aqueduct-feed-{ring}"), bytes)?;
        let base = map(fd.as_fd(), bytes)?;
        let handout = seal_mapped(fd.as_fd());
        // SAFETY: (1) `map` gave these bytes, and only `drop` unmaps them (invariant of the field);
        // the file is sealed against shrinking before anyone else knows it; (2) page-aligned; (3)
        // the address is known only to the `Region`.
        let region = unsafe { Region::from_raw(base, bytes) };
        match handout {
            Ok(handout) => Ok(Self { mapping: Arc::new(Mapping { region, handout }) }),
            Err(error) => {
                unmap(&region);
                Err(error)
            }
        }
    }

    /// Returns the read-only descriptor that the reader gets.
    pub fn handout(&self) -> BorrowedFd<'_> {
        self.mapping.handout.as_fd()
    }

    /// Wakes every thread, in any process, that sleeps on the `tail` word.
    pub fn wake_sleepers(&self) {
        // SAFETY: it is larger than a header (`create`), and mapped as long as `self` lives.
        unsafe { wake_sleepers(&self.mapping.region) };
    }
}

fn unmap(region: &Region<'static>) {
    // SAFETY: exactly the bytes that `map` gave; no other copy of the region exists (invariant), so
    // nothing refers to them any more.
    let unmapped = unsafe { rustix::mm::munmap(region.base().as_ptr().cast(), region.size()) };
    debug_assert!(unmapped.is_ok(), "{unmapped:?}");
}

impl Drop for Mapping {
    fn drop(&mut self) {
        unmap(&self.region);
    }
}

impl Memory for FeedSegment {
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

impl MemoryMut for FeedSegment {
    fn store(&self, at: usize, value: u32, order: Ordering) {
        self.mapping.region.store(at, value, order);
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        self.mapping.region.write(at, bytes);
    }
}
