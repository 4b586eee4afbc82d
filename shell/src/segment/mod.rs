//! Shared memory: sealed memfds, mapped so that no peer can take the pages away again.
//!
//! Knows nothing of records. All `unsafe` over memory of this crate is here.
#![allow(unsafe_code)]

mod cursor_segment;
mod feed_segment;
mod kept_segment;
mod memfd;
mod ring_segment;

use std::fmt;

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::process::Resource;

use crate::limits;

pub use cursor_segment::{CURSOR_BYTES, CursorSegment};
pub use feed_segment::FeedSegment;
pub use kept_segment::KeptSegment;
pub use ring_segment::RingSegment;

/// Whether the system may refuse memory: by a limit of address space or of data (`RLIMIT_AS`,
/// `RLIMIT_DATA`), or because it gives no more than it has (`vm.overcommit_memory = 2`). Elsewhere
/// it always says yes, and ends a process when there is none.
pub fn memory_may_be_refused() -> bool {
    let is_limited =
        |resource| rustix::process::getrlimit(resource).current.is_some_and(|most| most < 1 << 46);
    let overcommit = std::fs::read_to_string("/proc/sys/vm/overcommit_memory");
    is_limited(Resource::As)
        || is_limited(Resource::Data)
        || overcommit.is_ok_and(|mode| mode.trim() == "2")
}

/// Whether the system would give so many bytes of memory now.
pub fn has_memory(bytes: u64) -> bool {
    let Ok(bytes) = usize::try_from(bytes) else { return false };
    let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: no address is asked for, so nothing that exists is replaced.
    let mapped =
        unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), bytes, protection, flags) };
    let Ok(start) = mapped else { return false };
    // SAFETY: exactly what was just mapped, which nobody else knows of.
    let unmapped = unsafe { rustix::mm::munmap(start, bytes) };
    debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    true
}

/// Why a segment could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentError {
    /// No memfd: descriptors or memory are short, or the kernel lacks it.
    Create {
        /// What the system said.
        errno: Errno,
    },
    /// The memory cannot be allocated.
    Allocate {
        /// The size that was asked for.
        bytes: usize,
        /// What the system said.
        errno: Errno,
    },
    /// The address space or the limit of mappings is short.
    Map {
        /// The size that was asked for.
        bytes: usize,
        /// What the system said.
        errno: Errno,
    },
    /// The kernel refused the seals; `FUTURE_WRITE` needs Linux 5.1.
    Seal {
        /// What the system said.
        errno: Errno,
    },
    /// It is no segment of ours, or could shrink.
    Foreign {
        /// What the system said.
        errno: Errno,
    },
    /// No read-only descriptor: is `/proc` mounted?
    Reopen {
        /// What the system said.
        errno: Errno,
    },
}

impl fmt::Display for SegmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { errno } => write!(f, "memfd_create: {errno}"),
            Self::Allocate { bytes, errno } => {
                write!(f, "allocating {bytes} bytes of shared memory: {errno}")?;
                match limits::of_file_sizes() {
                    Some(limit) if *errno == Errno::FBIG => write!(f, "; {limit}"),
                    _ => Ok(()),
                }
            }
            Self::Map { bytes, errno } => {
                write!(f, "mapping {bytes} bytes of shared memory: {errno}")
            }
            Self::Seal { errno } => {
                write!(f, "sealing shared memory (FUTURE_WRITE needs Linux 5.1): {errno}")
            }
            Self::Foreign { errno } => write!(f, "no sealed segment: {errno}"),
            Self::Reopen { errno } => {
                write!(f, "reopening shared memory read-only through /proc/self/fd: {errno}")
            }
        }
    }
}

impl std::error::Error for SegmentError {}

#[cfg(test)]
mod tests;
