//! Ending a wait from another thread.
//!
//! An eventfd whose count is the interrupt not consumed yet, so that one which comes just before a
//! sleep ends that sleep.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::EventfdFlags;

use crate::error::OpenError;

/// Interrupts the waits of a client: the present one, or else the next.
///
/// Cheap to clone. Each client has its own ([`Client::interrupter`]); one that is made first and
/// passed to [`Options::interrupter`] can also end the wait for a listener. Use it with one client
/// at a time: with several, any one of them consumes the interrupt.
///
/// [`Client::interrupter`]: crate::Client::interrupter
/// [`Options::interrupter`]: crate::Options::interrupter
#[derive(Clone)]
pub struct Interrupter {
    event: Arc<OwnedFd>,
}

impl Interrupter {
    /// Creates an interrupter for [`Options::interrupter`](crate::Options::interrupter).
    ///
    /// # Errors
    /// [`OpenError::System`]: no descriptor is left.
    pub fn new() -> Result<Self, OpenError> {
        let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
        let event = rustix::event::eventfd(0, flags).map_err(OpenError::system("eventfd"))?;
        Ok(Self { event: Arc::new(event) })
    }

    /// Makes the client's present wait, or else its next one, return that it was interrupted. No
    /// interrupt is lost; several before one wait count as one. May be called from any thread and,
    /// being a single system call, from a signal handler. Never blocks.
    pub fn interrupt(&self) {
        // Fails only if the count is full, and then it is readable.
        let _ = rustix::io::write(&*self.event, &1_u64.to_ne_bytes());
    }

    /// Consumes the interrupt, if there is one.
    pub(crate) fn take(&self) -> bool {
        rustix::io::read(&*self.event, &mut [0; 8]) == Ok(8)
    }
}

impl AsFd for Interrupter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl fmt::Debug for Interrupter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupter").finish_non_exhaustive()
    }
}
