//! Making, mapping and sealing one memfd.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use super::SegmentError;

/// Creates a memfd of `bytes` whose pages are allocated, so that touching them later cannot fail.
pub(super) fn memfd(name: &str, bytes: usize) -> Result<OwnedFd, SegmentError> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know NOEXEC_SEAL; newer ones may be set to insist on it.
    let fd = match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags),
        other => other,
    }
    .map_err(|errno| SegmentError::Create { errno })?;
    rustix::fs::ftruncate(&fd, bytes as u64)
        .map_err(|errno| SegmentError::Allocate { bytes, errno })?;
    rustix::fs::fallocate(&fd, FallocateFlags::empty(), 0, bytes as u64)
        .map_err(|errno| SegmentError::Allocate { bytes, errno })?;
    Ok(fd)
}

/// Maps a whole memfd readable and writable, its pages present.
pub(super) fn map(fd: BorrowedFd<'_>, bytes: usize) -> Result<NonNull<u8>, SegmentError> {
    map_with(fd, bytes, ProtFlags::READ | ProtFlags::WRITE)
}

/// Maps a whole memfd readable, its pages present.
pub(super) fn map_to_read(fd: BorrowedFd<'_>, bytes: usize) -> Result<NonNull<u8>, SegmentError> {
    map_with(fd, bytes, ProtFlags::READ)
}

fn map_with(
    fd: BorrowedFd<'_>,
    bytes: usize,
    protection: ProtFlags,
) -> Result<NonNull<u8>, SegmentError> {
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
    .map_err(|errno| SegmentError::Map { bytes, errno })?;
    NonNull::new(base.cast()).ok_or(SegmentError::Map { bytes, errno: Errno::NOMEM })
}

/// Seals a memfd.
pub(super) fn seal(fd: BorrowedFd<'_>, seals: SealFlags) -> Result<(), SegmentError> {
    rustix::fs::fcntl_add_seals(fd, seals).map_err(|errno| SegmentError::Seal { errno })
}
