//! The clock of a connection that a task serves.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use smol::Timer;

/// A timer that is set anew only when it must ring earlier.
pub(super) struct Watchdog {
    armed: Option<Instant>,
    timer: Timer,
}

impl Watchdog {
    pub(super) fn new() -> Self {
        Self { armed: None, timer: Timer::never() }
    }

    /// Waits until the deadline; without one, for ever.
    pub(super) fn poll(&mut self, deadline: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = deadline else {
            // It may ring for nothing; that is cheaper than taking it back for every request.
            if self.armed.is_some() && Pin::new(&mut self.timer).poll(cx).is_ready() {
                self.armed = None;
            }
            return Poll::Pending;
        };
        loop {
            if self.armed.is_none_or(|armed| deadline < armed) {
                self.armed = Some(deadline);
                self.timer.set_at(deadline);
            }
            if Pin::new(&mut self.timer).poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.armed = None;
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
        }
    }
}
