//! What the kernel must be able to do, tried.

use std::fs::File;
use std::io;
#[allow(clippy::disallowed_types, reason = "the word of a futex that nobody else has")]
use std::sync::atomic::AtomicU32;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::thread::futex;

use super::Check;

pub(super) fn checks() -> Vec<Check> {
    vec![kernel(), sealing(), futexes(), io_uring(), core_dumps()]
}

fn kernel() -> Check {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (5, 1) {
        let text = format!("Linux {release}: sealing against writes came with 5.1");
        return Check::failure("kernel", text, "boot a newer kernel");
    }
    Check::good("kernel", format!("Linux {release}"))
}

fn sealing() -> Check {
    let seal = || -> io::Result<()> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memory = rustix::fs::memfd_create("aqueduct-doctor", flags)?;
        rustix::fs::ftruncate(&memory, 4096)?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&memory, seals)?;
        if File::from(memory).set_len(0).is_ok() {
            return Err(io::Error::other("a sealed segment could be shortened"));
        }
        Ok(())
    };
    match seal() {
        Ok(()) => Check::good("memfd", "segments can be made and sealed"),
        Err(error) => {
            let mend = "allow memfd_create and fcntl in the seccomp profile of the container";
            Check::failure("memfd", format!("segments cannot be sealed: {error}"), mend)
        }
    }
}

fn futexes() -> Check {
    #[allow(clippy::disallowed_types, reason = "as above")]
    let word = AtomicU32::new(0);
    match futex::wake(&word, futex::Flags::empty(), 1) {
        Ok(_) => Check::good("futex", "sleeping readers can be woken"),
        Err(error) => {
            let text = format!("sleeping readers cannot be woken: {error}");
            Check::failure("futex", text, "allow futex in the seccomp profile of the container")
        }
    }
}

fn io_uring() -> Check {
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    let disabled = disabled.unwrap_or_default();
    match io_uring::IoUring::new(8) {
        Ok(_) => Check::good("io_uring", "it works"),
        Err(error) if !matches!(disabled.trim(), "" | "0") => {
            let text = format!("it is switched off ({error}); epoll is used and costs more");
            Check::warning("io_uring", text, "sysctl -w kernel.io_uring_disabled=0")
        }
        Err(error) => {
            let text = format!("it does not work ({error}); epoll is used and costs more");
            let mend = "allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp \
                        profile of the container";
            Check::warning("io_uring", text, mend)
        }
    }
}

/// Whether a crash would leave something for `aqueduct inspect`.
fn core_dumps() -> Check {
    let filter = std::fs::read_to_string("/proc/self/coredump_filter").unwrap_or_default();
    let filter = u32::from_str_radix(filter.trim(), 16).unwrap_or(2);
    if filter & 2 == 0 {
        let text = "rings would not be in a core dump";
        return Check::warning("core dumps", text, "echo 0x33 > /proc/self/coredump_filter");
    }
    Check::good("core dumps", "rings would be in one, if one is written")
}
