//! The ring's segment: written by this process, read by everyone who attaches.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
#[allow(
    clippy::disallowed_types,
    reason = "the type that the futex call takes; nothing is loaded or stored through it"
)]
use std::sync::atomic::AtomicU32;

use aqueduct_core::Region;
use aqueduct_core::layout::ring_word;
use rustix::fs::{Mode, OFlags, SealFlags};
use rustix::thread::futex;

use super::SegmentError;
use super::memfd::{map, memfd, seal};

/// A ring segment: mapped read-write here and by nobody else.
pub struct RingSegment {
    /// INVARIANT: the mapping is never unmapped, so it lives for `'static`. A ring lives as long as
    /// its process.
    region: Region<'static>,
    /// The same memfd, opened read-only and sealed against every write.
    handout: OwnedFd,
}

impl RingSegment {
    /// Creates a zeroed segment of `bytes`, with all its pages present.
    pub fn create(name: &str, bytes: usize) -> Result<Self, SegmentError> {
        let fd = memfd(&format!("aqueduct-ring-{name}"), bytes)?;
        let base = map(fd.as_fd(), bytes)?;
        let handout = seal_mapped(fd.as_fd())?;
        // SAFETY: (1) `map` gave `bytes` readable and writable bytes; the file is sealed against
        // shrinking, and neither this type nor anything else unmaps them; (2) a mapping is
        // page-aligned; (3) the address is known only to the `Region`.
        let region = unsafe { Region::from_raw(base, bytes) };
        Ok(Self { region, handout })
    }

    /// Returns the mapped bytes.
    pub fn region(&self) -> Region<'static> {
        self.region
    }

    /// Returns the read-only descriptor that readers get.
    pub fn handout(&self) -> BorrowedFd<'_> {
        self.handout.as_fd()
    }

    /// Wakes every thread, in any process, that sleeps on the `tail` word.
    pub fn wake_sleepers(&self) {
        // SAFETY: a ring segment is larger than its header, and is never unmapped.
        unsafe { wake_sleepers(&self.region) };
    }
}

/// Seals the memfd of a ring that is mapped already, so that nobody else can ever write to it:
/// `FUTURE_WRITE` leaves that mapping writable and forbids every other write, now and through any
/// reopened descriptor. Returns a descriptor that is read-only.
pub(super) fn seal_mapped(fd: BorrowedFd<'_>) -> Result<OwnedFd, SegmentError> {
    seal(fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| SegmentError::Reopen { errno })
}

/// Wakes every thread, in any process, that sleeps on the `tail` word of a ring.
///
/// # Safety
/// The region is mapped as long as this runs, and larger than a ring's header.
pub(super) unsafe fn wake_sleepers(region: &Region<'_>) {
    // SAFETY: `TAIL` is inside the header, which the caller vouches for.
    let tail = unsafe { region.base().add(ring_word::TAIL) };
    // SAFETY: a control word: aligned to 4, mapped as long as this runs, and every access to it is
    // atomic.
    #[allow(clippy::disallowed_types, reason = "see the import")]
    let tail = unsafe { AtomicU32::from_ptr(tail.as_ptr().cast()) };
    // Not private: the sleepers are other processes. It fails only for a bad address or operation.
    let woken = futex::wake(tail, futex::Flags::empty(), i32::MAX as u32);
    debug_assert!(woken.is_ok(), "{woken:?}");
}
