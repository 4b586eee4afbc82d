//! Memory that processes share: an anonymous file, inherited by its path under the judge's `/proc`.

use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;

use aqueduct_core::Region;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap};

/// A shared mapping that is never unmapped.
#[derive(Clone, Copy)]
pub(crate) struct Mapping {
    /// INVARIANT: `size` bytes from here are mapped read-write until the process ends, aligned to a
    /// page.
    base: NonNull<u8>,
    size: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and every access through it is
// atomic.
unsafe impl Send for Mapping {}

impl Mapping {
    /// A new file of `size` zeros; its path for other processes, and the descriptor that keeps the
    /// path alive.
    pub(crate) fn create(name: &str, size: usize) -> (Self, String, OwnedFd) {
        let fd = memfd_create(name, MemfdFlags::empty()).expect("memfd_create");
        ftruncate(&fd, size as u64).expect("ftruncate");
        let path = format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd());
        (Self::open(&path), path, fd)
    }

    /// Maps the whole file.
    pub(crate) fn open(path: &str) -> Self {
        let file =
            OpenOptions::new().read(true).write(true).open(path).expect("the file of the judge");
        let size = usize::try_from(file.metadata().expect("its size").len()).expect("it fits");
        // SAFETY: a fresh mapping at an address of the kernel's choice; nothing of ours is there.
        let base = unsafe {
            mmap(
                std::ptr::null_mut(),
                size,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &file,
                0,
            )
        };
        Self { base: NonNull::new(base.expect("mmap").cast()).expect("never null"), size }
    }

    /// A part of it, bytes; `from` is a multiple of 4096.
    pub(crate) fn region(self, from: usize, len: usize) -> Region<'static> {
        assert!(from.is_multiple_of(4096) && from + len <= self.size);
        // SAFETY: in bounds (checked).
        let base = unsafe { self.base.add(from) };
        // SAFETY: (1) mapped until the process ends, and nobody truncates the file; (2) aligned to
        // a page; (3) this process reaches the bytes through regions, and those of the journal
        // through `words`, by atomics only.
        unsafe { Region::from_raw(base, len) }
    }

    /// All of it.
    pub(crate) fn whole(self) -> Region<'static> {
        self.region(0, self.size)
    }

    /// All of it as atomic words.
    #[allow(clippy::disallowed_types, reason = "the journal is no part of the protocol")]
    pub(crate) fn words(self) -> &'static [std::sync::atomic::AtomicU64] {
        // SAFETY: mapped until the process ends, aligned to a page, only accessed atomically.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().cast(), self.size / 8) }
    }
}
