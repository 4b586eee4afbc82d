//! Shared memory that a listener handed over, mapped as long as it is used.
//!
//! Takes only segments that nobody can shorten. All `unsafe` of this crate is here.
#![allow(unsafe_code, reason = "the one door to mapped memory; each block has its proof")]

use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering;

use aqueduct_core::memory::Span;
use aqueduct_core::{Memory, MemoryMut, ReadRegion, Region};
use rustix::fs::SealFlags;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use crate::error::{OpenError, SegmentKind};

/// A ring segment, mapped read-only; unmapped when it is dropped.
pub(crate) struct RingMapping {
    /// INVARIANT: its `'static` is not true: it lives as long as this value, and no copy of it
    /// leaves this type.
    region: ReadRegion<'static>,
}

/// A cursor segment, mapped for its reader; unmapped when it is dropped.
pub(crate) struct CursorMapping {
    /// INVARIANT: as [`RingMapping`]'s.
    region: Region<'static>,
}

impl RingMapping {
    /// Maps `bytes` of a sealed memfd.
    pub(crate) fn new(fd: BorrowedFd<'_>, bytes: u64) -> Result<Self, OpenError> {
        let (base, bytes) = map(SegmentKind::Ring, fd, bytes, ProtFlags::READ)?;
        // SAFETY: (1) `map` gave `bytes` readable bytes of a file that cannot shrink, and only
        // `drop` unmaps them (invariant); (2) a mapping is page-aligned; (3) the address is known
        // only to the region, whose accesses are atomic.
        let region = unsafe { ReadRegion::from_raw(base, bytes) };
        Ok(Self { region })
    }
}

impl CursorMapping {
    /// Maps `bytes` of a sealed memfd.
    pub(crate) fn new(fd: BorrowedFd<'_>, bytes: u64) -> Result<Self, OpenError> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let (base, bytes) = map(SegmentKind::Cursor, fd, bytes, protection)?;
        // SAFETY: (1) `map` gave `bytes` readable and writable bytes of a file that cannot shrink,
        // and only `drop` unmaps them (invariant); (2) a mapping is page-aligned; (3) the address
        // is known only to the region, whose accesses are atomic.
        let region = unsafe { Region::from_raw(base, bytes) };
        Ok(Self { region })
    }
}

impl Drop for RingMapping {
    fn drop(&mut self) {
        // SAFETY: (1) exactly the bytes that `map` gave; (2) no copy of the region exists
        // (invariant), so nothing refers to them any more.
        unsafe { unmap(self.region.base(), self.region.size()) };
    }
}

impl Drop for CursorMapping {
    fn drop(&mut self) {
        // SAFETY: as for `RingMapping`.
        unsafe { unmap(self.region.base(), self.region.size()) };
    }
}

/// Maps a segment after checking that it has these bytes and cannot lose them: without that seal
/// its owner could turn the next load into a SIGBUS.
fn map(
    segment: SegmentKind,
    fd: BorrowedFd<'_>,
    announced: u64,
    protection: ProtFlags,
) -> Result<(NonNull<u8>, usize), OpenError> {
    let found = bytes_of(fd)?;
    let bytes = usize::try_from(announced).unwrap_or(0);
    if bytes == 0 || found < announced {
        return Err(OpenError::Size { segment, found, announced });
    }
    if !rustix::fs::fcntl_get_seals(fd).is_ok_and(|seals| seals.contains(SealFlags::SHRINK)) {
        return Err(OpenError::NotSealed { segment });
    }
    // SAFETY: no address is asked for, so nothing that exists is replaced; no Rust reference to the
    // new bytes exists.
    let base =
        unsafe { rustix::mm::mmap(ptr::null_mut(), bytes, protection, MapFlags::SHARED, fd, 0) }
            .map_err(OpenError::system("mmap"))?;
    let base = NonNull::new(base.cast()).ok_or(Errno::NOMEM).map_err(OpenError::system("mmap"))?;
    Ok((base, bytes))
}

/// The size of a descriptor's file.
pub(crate) fn bytes_of(fd: impl AsFd) -> Result<u64, OpenError> {
    let about = rustix::fs::fstat(fd).map_err(OpenError::system("fstat"))?;
    Ok(u64::try_from(about.st_size).unwrap_or(0))
}

/// Gives a mapping back.
///
/// # Safety
/// 1. `base` and `bytes` are what [`map`] gave, and were not unmapped.
/// 2. Nothing refers to these bytes any more.
unsafe fn unmap(base: NonNull<u8>, bytes: usize) {
    // SAFETY: a whole mapping (1) that nothing refers to (2).
    let unmapped = unsafe { rustix::mm::munmap(base.as_ptr().cast(), bytes) };
    debug_assert!(unmapped.is_ok(), "{unmapped:?}");
}

impl Memory for RingMapping {
    #[inline]
    fn size(&self) -> usize {
        self.region.size()
    }

    #[inline]
    fn load(&self, at: usize, order: Ordering) -> u32 {
        self.region.load(at, order)
    }

    #[inline]
    fn read(&self, at: usize, into: &mut [u8]) {
        self.region.read(at, into);
    }

    #[inline]
    fn span(&self, at: usize, len: usize) -> Option<Span<'_>> {
        self.region.span(at, len)
    }

    #[inline]
    fn fence(&self, order: Ordering) {
        self.region.fence(order);
    }
}

impl Memory for CursorMapping {
    #[inline]
    fn size(&self) -> usize {
        self.region.size()
    }

    #[inline]
    fn load(&self, at: usize, order: Ordering) -> u32 {
        self.region.load(at, order)
    }

    #[inline]
    fn read(&self, at: usize, into: &mut [u8]) {
        self.region.read(at, into);
    }

    #[inline]
    fn span(&self, at: usize, len: usize) -> Option<Span<'_>> {
        self.region.span(at, len)
    }

    #[inline]
    fn fence(&self, order: Ordering) {
        self.region.fence(order);
    }
}

impl MemoryMut for CursorMapping {
    #[inline]
    fn store(&self, at: usize, value: u32, order: Ordering) {
        self.region.store(at, value, order);
    }

    #[inline]
    fn write(&self, at: usize, bytes: &[u8]) {
        self.region.write(at, bytes);
    }
}
