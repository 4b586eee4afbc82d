//! Ends a driver's wait from another thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use rustix::event::{EventfdFlags, eventfd};

#[allow(clippy::disallowed_types, reason = "inside the process, not in shared memory")]
type Flag = std::sync::atomic::AtomicBool;

/// Wakes one event loop. Wakes add up to one until the loop takes them.
#[derive(Debug)]
pub struct Waker {
    event: OwnedFd,
    /// Whether a wake is on its way that the loop has not taken.
    pending: Flag,
}

impl Waker {
    /// Makes a waker that no driver waits for yet.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { event, pending: Flag::new(false) })
    }

    /// Ends the wait of the driver, or its next one. What was stored before is seen after
    /// [`Self::taken`].
    pub fn wake(&self) {
        // ORDER(wake): AcqRel. The loop clears the flag and then looks at its mailbox; whoever
        // finds the flag set knows that it has yet to look. Pairs with `taken`.
        if !self.pending.swap(true, Ordering::AcqRel) {
            // Fails only if the counter is full, and then the driver is awake.
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
    }

    /// Takes the wakes so far. To be called before the loop looks at what others left for it.
    pub fn taken(&self) {
        // ORDER(wake): AcqRel. See `wake`.
        if self.pending.swap(false, Ordering::AcqRel) {
            // Nothing to read if the write is yet to come; it then wakes for nothing.
            let _ = rustix::io::read(&self.event, &mut [0; 8]);
        }
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
