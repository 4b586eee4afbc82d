//! The signals that end the process, and the one that must not.
#![allow(unsafe_code)]

use std::io;

use async_signal::{Signal, Signals};

/// Listens for the signals that end the process, or have it read its configuration again.
pub(super) fn endings() -> io::Result<Signals> {
    Signals::new([Signal::Term, Signal::Int, Signal::Hup])
}

/// Has a write beyond `RLIMIT_FSIZE` fail instead of killing the process. Memfds count, and so does
/// a log that is a file.
pub fn ignore_file_size_signal() {
    // SAFETY: `SIG_IGN` is a valid disposition of a valid signal that nobody else in this process
    // handles; no handler runs.
    let before = unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    debug_assert!(before != libc::SIG_ERR);
}
