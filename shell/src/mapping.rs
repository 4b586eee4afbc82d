//! Shared memory: sealed memfds, mapped so that no peer can take the pages away again.
//!
//! Knows nothing of records. All `unsafe` over memory of this crate is here. Next: `handoff`.
#![allow(unsafe_code)]

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
#[allow(
    clippy::disallowed_types,
    reason = "the type that the futex call takes; nothing is loaded or stored through it"
)]
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use aqueduct_core::layout::ring_word;
use aqueduct_core::{Memory, MemoryMut, Region};
use rustix::fs::{FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::thread::futex;

/// Size of a cursor segment, bytes: one page.
pub const CURSOR_BYTES: usize = 4096;

/// A ring segment: mapped read-write here and by nobody else.
pub struct RingSegment {
    /// INVARIANT: the mapping is never unmapped, so it lives for `'static`. A ring lives as long as
    /// its process.
    region: Region<'static>,
    /// The same memfd, opened read-only and sealed against every write.
    handout: OwnedFd,
}

impl RingSegment {
    /// Makes a zeroed segment of `bytes`, with all its pages present.
    pub fn create(name: &str, bytes: usize) -> Result<Self, MappingError> {
        let fd = memfd(&format!("aqueduct-ring-{name}"), bytes)?;
        let base = map(fd.as_fd(), bytes)?;
        // After the mapping: FUTURE_WRITE leaves it writable and forbids every other write, now and
        // through any reopened descriptor.
        seal(
            fd.as_fd(),
            SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL,
        )?;
        let handout = rustix::fs::open(
            format!("/proc/self/fd/{}", fd.as_raw_fd()),
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| MappingError::Reopen { errno })?;
        // SAFETY: (1) `map` gave `bytes` readable and writable bytes; the file is sealed against
        // shrinking, and neither this type nor anything else unmaps them; (2) a mapping is
        // page-aligned; (3) the address is known only to the `Region`.
        let region = unsafe { Region::from_raw(base, bytes) };
        Ok(Self { region, handout })
    }

    /// The bytes.
    pub fn region(&self) -> Region<'static> {
        self.region
    }

    /// The descriptor for readers.
    pub fn handout(&self) -> BorrowedFd<'_> {
        self.handout.as_fd()
    }

    /// Wakes everyone, in any process, who sleeps on the `tail` word.
    pub fn wake_sleepers(&self) {
        // SAFETY: a ring segment is larger than its header, so `TAIL` is inside it.
        let tail = unsafe { self.region.base().add(ring_word::TAIL) };
        // SAFETY: a control word: aligned to 4, alive for `'static`, and every access to it is
        // atomic.
        #[allow(clippy::disallowed_types, reason = "see the import")]
        let tail = unsafe { AtomicU32::from_ptr(tail.as_ptr().cast()) };
        // Not private: the sleepers are other processes. It fails only for a bad address or
        // operation.
        let woken = futex::wake(tail, futex::Flags::empty(), i32::MAX as u32);
        debug_assert!(woken.is_ok(), "{woken:?}");
    }
}

/// The producer's mapping of one reader's cursor segment; unmapped when it is dropped.
pub struct CursorSegment {
    /// INVARIANT: its `'static` is not true: it lives as long as this value, and no copy of it
    /// leaves this type.
    region: Region<'static>,
}

impl CursorSegment {
    /// Makes a zeroed segment and the descriptor to hand to its reader, who may write but not
    /// resize it.
    pub fn create(name: &str) -> Result<(Self, OwnedFd), MappingError> {
        let fd = memfd(&format!("aqueduct-cursor-{name}"), CURSOR_BYTES)?;
        let base = map(fd.as_fd(), CURSOR_BYTES)?;
        // SAFETY: (1) `map` gave these bytes, and only `drop` unmaps them (invariant of the field);
        // sealing comes next, before anyone else knows the file; (2) page-aligned; (3) the address
        // is known only to the `Region`.
        let region = unsafe { Region::from_raw(base, CURSOR_BYTES) };
        let page = Self { region };
        seal(fd.as_fd(), SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok((page, fd))
    }
}

impl Drop for CursorSegment {
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
        self.region.size()
    }

    fn load(&self, at: usize, order: Ordering) -> u32 {
        self.region.load(at, order)
    }

    fn read(&self, at: usize, into: &mut [u8]) {
        self.region.read(at, into);
    }

    fn fence(&self, order: Ordering) {
        self.region.fence(order);
    }
}

impl MemoryMut for CursorSegment {
    fn store(&self, at: usize, value: u32, order: Ordering) {
        self.region.store(at, value, order);
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        self.region.write(at, bytes);
    }
}

/// A memfd of `bytes` whose pages are allocated, so that touching them later cannot fail.
fn memfd(name: &str, bytes: usize) -> Result<OwnedFd, MappingError> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know NOEXEC_SEAL; newer ones may be set to insist on it.
    let fd = match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags),
        other => other,
    }
    .map_err(|errno| MappingError::Create { errno })?;
    rustix::fs::ftruncate(&fd, bytes as u64)
        .map_err(|errno| MappingError::Allocate { bytes, errno })?;
    rustix::fs::fallocate(&fd, FallocateFlags::empty(), 0, bytes as u64)
        .map_err(|errno| MappingError::Allocate { bytes, errno })?;
    Ok(fd)
}

fn map(fd: BorrowedFd<'_>, bytes: usize) -> Result<NonNull<u8>, MappingError> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: no address is asked for, so nothing that exists is replaced; no Rust reference to the
    // new bytes exists.
    let base = unsafe {
        rustix::mm::mmap(
            std::ptr::null_mut(),
            bytes,
            protection,
            MapFlags::SHARED | MapFlags::POPULATE,
            fd,
            0,
        )
    }
    .map_err(|errno| MappingError::Map { bytes, errno })?;
    NonNull::new(base.cast()).ok_or(MappingError::Map { bytes, errno: Errno::NOMEM })
}

fn seal(fd: BorrowedFd<'_>, seals: SealFlags) -> Result<(), MappingError> {
    rustix::fs::fcntl_add_seals(fd, seals).map_err(|errno| MappingError::Seal { errno })
}

/// Why a segment could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MappingError {
    /// No memfd: descriptors or memory are short, or the kernel lacks it.
    Create {
        /// What the system said.
        errno: Errno,
    },
    /// The pages are not to be had.
    Allocate {
        /// Asked for.
        bytes: usize,
        /// What the system said.
        errno: Errno,
    },
    /// The address space or the limit of mappings is short.
    Map {
        /// Asked for.
        bytes: usize,
        /// What the system said.
        errno: Errno,
    },
    /// The kernel refused the seals; `FUTURE_WRITE` needs Linux 5.1.
    Seal {
        /// What the system said.
        errno: Errno,
    },
    /// No read-only descriptor: is `/proc` mounted?
    Reopen {
        /// What the system said.
        errno: Errno,
    },
}

impl fmt::Display for MappingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { errno } => write!(f, "memfd_create: {errno}"),
            Self::Allocate { bytes, errno } => {
                write!(f, "allocating {bytes} bytes of shared memory: {errno}")
            }
            Self::Map { bytes, errno } => {
                write!(f, "mapping {bytes} bytes of shared memory: {errno}")
            }
            Self::Seal { errno } => {
                write!(f, "sealing shared memory (FUTURE_WRITE needs Linux 5.1): {errno}")
            }
            Self::Reopen { errno } => {
                write!(f, "reopening shared memory read-only through /proc/self/fd: {errno}")
            }
        }
    }
}

impl std::error::Error for MappingError {}
