//! Ending a wait from another thread.
//!
//! An eventfd whose count is the interrupt that was not taken yet, so that one which comes just
//! before a sleep ends that sleep.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::EventfdFlags;

use crate::error::OpenError;

/// Ends waits of one client: the present one, or else the next.
///
/// Cheap to clone. Each client has one of its own ([`Client::interrupter`]); one that is made
/// before the client and given to [`Options::interrupter`] also ends the wait for a listener. Use
/// it with one client at a time: with several, any of them takes the interrupt.
///
/// [`Client::interrupter`]: crate::Client::interrupter
/// [`Options::interrupter`]: crate::Options::interrupter
#[derive(Clone)]
pub struct Interrupter {
    event: Arc<OwnedFd>,
}

impl Interrupter {
    /// Makes one.
    ///
    /// # Errors
    /// [`OpenError::System`]: no descriptor is left.
    pub fn new() -> Result<Self, OpenError> {
        let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
        let event = rustix::event::eventfd(0, flags).map_err(OpenError::system("eventfd"))?;
        Ok(Self { event: Arc::new(event) })
    }

    /// Makes the present or else the next wait of the client answer that it was interrupted. None
    /// is lost; several before a wait are one. May be called from any thread and, since it is one
    /// system call, from a signal handler. Never blocks.
    pub fn interrupt(&self) {
        // Fails only if the count is full, and then it is readable.
        let _ = rustix::io::write(&*self.event, &1_u64.to_ne_bytes());
    }

    /// Uses the interrupt up, if there is one.
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
