//! Shared memory: sealed memfds, mapped so that no peer can take the pages away again.
//!
//! Knows nothing of records. All `unsafe` over memory of this crate is here.
#![allow(unsafe_code)]

mod cursor_segment;
mod kept_segment;
mod memfd;
mod ring_segment;

use std::fmt;

use rustix::io::Errno;
use rustix::process::Resource;

pub use cursor_segment::{CURSOR_BYTES, CursorSegment};
pub use kept_segment::KeptSegment;
pub use ring_segment::RingSegment;

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
                match rustix::process::getrlimit(Resource::Fsize).current {
                    Some(limit) if *errno == Errno::FBIG => {
                        write!(f, "; the limit of file sizes (RLIMIT_FSIZE) is {limit} bytes")
                    }
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
