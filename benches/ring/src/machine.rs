//! Cores, mappings and memfds: the only unsafe code of the benches.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::NonNull;

use aqueduct_core::{Memory, ReadRegion, Region};

/// The core on which the sender runs.
pub const SENDER: usize = 0;
/// The core on which receivers run.
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

/// The core of the receiver of this number: they share all cores but the sender's.
pub fn receiver_core(number: usize) -> usize {
    let cores = online_cores();
    if cores < 2 { SENDER } else { RECEIVER + number % (cores - 1) }
}

/// Not only those that the calling thread is tied to.
fn online_cores() -> usize {
    // SAFETY: no memory is involved.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }).unwrap_or(1)
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one `timespec`, which lives through the call.
    let outcome = unsafe { libc::clock_gettime(clock, &raw mut now) };
    assert!(outcome == 0, "a clock that every Linux has");
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// `CLOCK_MONOTONIC`, the same for all processes, ns.
pub fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// CPU time that all threads of this process have used, ns.
pub fn cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// Page faults of this process so far that needed no disk.
pub fn page_faults() -> u64 {
    // SAFETY: `rusage` is integers only, for which zeros are values.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one `rusage`, which lives through the call.
    let outcome = unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    assert!(outcome == 0, "a call that every Linux has");
    u64::try_from(usage.ru_minflt).unwrap_or(0)
}

/// Sleeps while this word of the region holds the value, `timeout_ms` at most. False: the timeout
/// ended it.
///
/// # Panics
/// The word is not in the region.
pub fn futex_wait(region: ReadRegion<'_>, at: usize, value: u32, timeout_ms: u32) -> bool {
    assert!(at.is_multiple_of(4) && at + 4 <= region.size(), "a word of the region");
    let timeout = libc::timespec {
        tv_sec: (timeout_ms / 1000).into(),
        tv_nsec: (timeout_ms % 1000 * 1_000_000).into(),
    };
    let word = region.base().as_ptr().wrapping_add(at);
    // SAFETY: the kernel reads the word, which is in the region (asserted) and so mapped,
    // atomically; and one `timespec`.
    let outcome = unsafe {
        libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, value, &raw const timeout)
    };
    outcome == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ETIMEDOUT)
}

/// Wakes everyone who sleeps on this word of the region.
///
/// # Panics
/// The word is not in the region.
pub fn futex_wake(region: Region<'_>, at: usize) {
    assert!(at.is_multiple_of(4) && at + 4 <= region.size(), "a word of the region");
    let word = region.base().as_ptr().wrapping_add(at);
    // SAFETY: the kernel takes the address for a name and touches nothing.
    unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, i32::MAX) };
}

/// What shared memory is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `memfd_create`: memory without a name.
    Memfd,
    /// `shm_open`: a file in a file system of memory.
    PosixShm,
    /// `shmget`.
    SystemV,
    /// A file on a disk, in the directory for temporary files.
    File,
}

/// Shared memory that can be mapped again and again; gone when dropped.
pub struct Shared {
    kind: Kind,
    bytes: usize,
    /// Of all kinds but System V.
    file: Option<File>,
    /// Of System V.
    id: i32,
}

impl Shared {
    /// New memory of this kind and size.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(kind: Kind, bytes: usize) -> io::Result<Self> {
        let name = format!("aqueduct-bench-{}", std::process::id());
        let file = match kind {
            Kind::SystemV => {
                // SAFETY: no memory is involved.
                let id = unsafe { libc::shmget(libc::IPC_PRIVATE, bytes, libc::IPC_CREAT | 0o600) };
                return if id < 0 {
                    Err(io::Error::last_os_error())
                } else {
                    Ok(Self { kind, bytes, file: None, id })
                };
            }
            Kind::Memfd => Mapping::memfd_file()?,
            Kind::PosixShm => Self::nameless(std::path::Path::new("/dev/shm").join(name))?,
            Kind::File => Self::nameless(
                std::env::var_os("AQUEDUCT_BENCH_DISK")
                    .map_or_else(std::env::temp_dir, Into::into)
                    .join(name),
            )?,
        };
        file.set_len(bytes as u64)?;
        Ok(Self { kind, bytes, file: Some(file), id: -1 })
    }

    fn nameless(path: std::path::PathBuf) -> io::Result<File> {
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        std::fs::remove_file(path)?;
        Ok(file)
    }

    /// Maps it, with all pages present if asked to.
    ///
    /// # Errors
    /// The kernel's.
    pub fn map(&self, writable: bool, prefault: bool) -> io::Result<Mapping> {
        if let Some(file) = &self.file {
            let flags =
                if prefault { libc::MAP_SHARED | libc::MAP_POPULATE } else { libc::MAP_SHARED };
            return Mapping::map(self.bytes, writable, flags, file.as_raw_fd());
        }
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
        let base = unsafe {
            libc::shmat(self.id, std::ptr::null(), if writable { 0 } else { libc::SHM_RDONLY })
        };
        if base as isize == -1 {
            return Err(io::Error::last_os_error());
        }
        let base =
            NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        let mapping = Mapping { base, bytes: self.bytes, writable, system_v: true };
        if prefault {
            let advice =
                if writable { libc::MADV_POPULATE_WRITE } else { libc::MADV_POPULATE_READ };
            // SAFETY: the range is the mapping made just now; populating changes no byte.
            if unsafe { libc::madvise(base.as_ptr().cast(), self.bytes, advice) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(mapping)
    }

    /// What it is made of.
    pub const fn kind(&self) -> Kind {
        self.kind
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.kind == Kind::SystemV {
            // SAFETY: the kernel keeps the memory until the last mapping is gone.
            unsafe { libc::shmctl(self.id, libc::IPC_RMID, std::ptr::null_mut()) };
        }
    }
}

/// Shared memory, unmapped when dropped.
pub struct Mapping {
    /// INVARIANT: `bytes` bytes from here are mapped, page-aligned, until the drop; they are only
    /// accessed through regions, so atomically.
    base: NonNull<u8>,
    bytes: usize,
    writable: bool,
    system_v: bool,
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
        Self::map(bytes, true, libc::MAP_SHARED | libc::MAP_POPULATE | libc::MAP_ANONYMOUS, -1)
    }

    /// A memfd of this size, which child processes inherit, and its mapping.
    ///
    /// # Errors
    /// The kernel's.
    pub fn memfd(bytes: usize) -> io::Result<(File, Self)> {
        let file = Self::memfd_file()?;
        file.set_len(bytes as u64)?;
        let mapping = Self::of(&file, true)?;
        Ok((file, mapping))
    }

    fn memfd_file() -> io::Result<File> {
        // SAFETY: the name is a C string; no other memory is involved.
        let fd = unsafe { libc::memfd_create(c"aqueduct-bench".as_ptr(), 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was opened just now and is nobody else's.
        Ok(unsafe { File::from_raw_fd(fd) })
    }

    /// Maps the whole of a memfd.
    ///
    /// # Errors
    /// The kernel's.
    pub fn of(file: &File, writable: bool) -> io::Result<Self> {
        let bytes = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        Self::map(bytes, writable, libc::MAP_SHARED | libc::MAP_POPULATE, file.as_raw_fd())
    }

    fn map(bytes: usize, writable: bool, flags: i32, fd: i32) -> io::Result<Self> {
        let protection =
            if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, fd, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base =
            NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { base, bytes, writable, system_v: false })
    }

    /// The bytes, to read and write.
    ///
    /// # Panics
    /// The mapping is read-only.
    pub fn region(&self) -> Region<'_> {
        assert!(self.writable, "a read-only mapping");
        // SAFETY: (1) mapped until the drop, which the borrow prevents, and writable (asserted);
        // the benches never shorten a memfd; (2) page-aligned; (3) only regions access the bytes
        // (invariant).
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
        if self.system_v {
            // SAFETY: mapped by `shmat` at this address, and no region borrows it any more.
            unsafe { libc::shmdt(self.base.as_ptr().cast()) };
        } else {
            // SAFETY: mapped by `map` with this size, and no region borrows it any more.
            unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
        }
    }
}

/// The descriptor that a parent process left open for this one under a number.
///
/// # Errors
/// No such descriptor is open.
pub fn inherited(number: &str) -> io::Result<File> {
    File::options().read(true).write(true).open(format!("/proc/self/fd/{number}"))
}
