//! Memfds as a listener makes them, sealed as much as a test wants.

use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;

use aqueduct_core::Region;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

/// Seals of an honest listener.
pub const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// A memfd, mapped for ever, so that its region may be copied anywhere.
pub struct Segment {
    pub fd: OwnedFd,
    pub region: Region<'static>,
    pub bytes: usize,
}

impl Segment {
    pub fn new(name: &str, bytes: usize, seals: SealFlags) -> Self {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create(name, flags).expect("a memfd");
        rustix::fs::ftruncate(&fd, bytes as u64).expect("its size");
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: no address is asked for, so nothing is replaced.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                bytes,
                protection,
                MapFlags::SHARED,
                fd.as_fd(),
                0,
            )
        }
        .expect("mapped");
        rustix::fs::fcntl_add_seals(&fd, seals).expect("sealed");
        let base = NonNull::new(base.cast()).expect("never at 0");
        // SAFETY: (1) mapped for that many bytes, never unmapped, and not truncated by these tests;
        // (2) page-aligned; (3) used through regions only.
        let region = unsafe { Region::from_raw(base, bytes) };
        Self { fd, region, bytes }
    }
}
