//! Cores, mappings and memfds: the only unsafe code of the benches. Next: `work`.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::NonNull;

use aqueduct_core::{ReadRegion, Region};

/// Core on which whoever sends runs.
pub const SENDER: usize = 0;
/// Core on which whoever receives runs.
pub const RECEIVER: usize = 1;

/// Ties the calling thread to one core.
///
/// # Errors
/// There is no such core, or it is not ours to use.
pub fn pin(core: usize) -> io::Result<()> {
    let mut set = [0_u64; 16];
    set[core / 64] |= 1 << (core % 64);
    // SAFETY: the kernel reads `size_of_val(&set)` bytes from `set`, which lives through the call.
    let outcome = unsafe { libc::sched_setaffinity(0, size_of_val(&set), set.as_ptr().cast()) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Shared memory, unmapped when dropped.
pub struct Mapping {
    /// INVARIANT: `bytes` bytes from here are mapped, page-aligned, until the drop; they are only accessed through regions, so atomically.
    base: NonNull<u8>,
    bytes: usize,
    writable: bool,
}

// SAFETY: the bytes are only accessed atomically (invariant), and the mapping belongs to no thread.
unsafe impl Send for Mapping {}
// SAFETY: as for `Send`.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Zeroed memory of this process, its pages present.
    ///
    /// # Errors
    /// The kernel's.
    pub fn anonymous(bytes: usize) -> io::Result<Self> {
        Self::map(bytes, true, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1)
    }

    /// A memfd of this size, which child processes inherit, and its mapping.
    ///
    /// # Errors
    /// The kernel's.
    pub fn memfd(bytes: usize) -> io::Result<(File, Self)> {
        // SAFETY: the name is a C string; no other memory is involved.
        let fd = unsafe { libc::memfd_create(c"aqueduct-bench".as_ptr(), 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was opened just now and is nobody else's.
        let file = unsafe { File::from_raw_fd(fd) };
        file.set_len(bytes as u64)?;
        let mapping = Self::of(&file, true)?;
        Ok((file, mapping))
    }

    /// Maps the whole of a memfd.
    ///
    /// # Errors
    /// The kernel's.
    pub fn of(file: &File, writable: bool) -> io::Result<Self> {
        let bytes = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        Self::map(bytes, writable, libc::MAP_SHARED, file.as_raw_fd())
    }

    fn map(bytes: usize, writable: bool, flags: i32, fd: i32) -> io::Result<Self> {
        let protection = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags | libc::MAP_POPULATE, fd, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { base, bytes, writable })
    }

    /// The bytes, to read and write.
    ///
    /// # Panics
    /// The mapping is read-only.
    pub fn region(&self) -> Region<'_> {
        assert!(self.writable, "a read-only mapping");
        // SAFETY: (1) mapped until the drop, which the borrow prevents, and writable (asserted); the benches never shorten a memfd;
        // (2) page-aligned; (3) only regions access the bytes (invariant).
        unsafe { Region::from_raw(self.base, self.bytes) }
    }

    /// The bytes, to read.
    pub fn read_only(&self) -> ReadRegion<'_> {
        // SAFETY: as in `region`, with reads alone.
        unsafe { ReadRegion::from_raw(self.base, self.bytes) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this size, and no region borrows it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// The descriptor that a parent process left open for this one under a number.
///
/// # Errors
/// No such descriptor is open.
pub fn inherited(number: &str) -> io::Result<File> {
    File::options().read(true).write(true).open(format!("/proc/self/fd/{number}"))
}
