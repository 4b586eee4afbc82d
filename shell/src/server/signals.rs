//! The signals that end the process, and the one that must not.
#![allow(unsafe_code)]

use std::io;

use async_signal::{Signal, Signals};
use rustix::event::{EventfdFlags, eventfd};

/// Descriptors of the runtime and of the pipe that signals come through.
const DESCRIPTORS: usize = 5;

/// Listens for the signals that end a program, or have it read its configuration again: those of a
/// terminal that is closed, too. Starts the runtime.
///
/// # Errors
/// The system refuses the runtime a descriptor or a thread.
pub fn endings() -> io::Result<Signals> {
    listen(&[Signal::Term, Signal::Int, Signal::Hup])
}

/// The same for a program that outlives its terminal when it is started so (`nohup`): a hangup that
/// is ignored stays ignored.
///
/// # Errors
/// As of [`endings`].
pub fn endings_unless_nohup() -> io::Result<Signals> {
    if ignores_hangup() { listen(&[Signal::Term, Signal::Int]) } else { endings() }
}

fn listen(signals: &[Signal]) -> io::Result<Signals> {
    check_runtime()?;
    #[allow(clippy::disallowed_methods, reason = "the runtime has what it needs")]
    Signals::new(signals)
}

/// Whether this process ignores `SIGHUP`. Without `/proc` it is not known, and taken for no.
fn ignores_hangup() -> bool {
    // Source: proc_pid_status(5), SigIgn: a mask in hexadecimal, whose lowest bit is signal 1.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 << (libc::SIGHUP - 1) != 0)
}

/// Checks that the system grants what the runtime would panic without.
fn check_runtime() -> io::Result<()> {
    let taken: Result<Vec<_>, _> =
        (0..DESCRIPTORS).map(|_| eventfd(0, EventfdFlags::CLOEXEC)).collect();
    taken?;
    let thread = std::thread::Builder::new().name("aqueduct-check".to_owned()).spawn(|| ())?;
    // It does nothing that can panic.
    let _ = thread.join();
    Ok(())
}

/// Has a write beyond `RLIMIT_FSIZE` fail instead of killing the process. Memfds count, and so does
/// a log that is a file.
pub fn ignore_file_size_signal() {
    // SAFETY: `SIG_IGN` is a valid disposition of a valid signal that nobody else in this process
    // handles; no handler runs.
    let before = unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    debug_assert!(before != libc::SIG_ERR);
}
