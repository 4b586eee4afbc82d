//! Sleeping and waking: by the control socket, by an interrupt, by looking again (ABI §4.5).

use std::io;
use std::time::Duration;

use aqueduct_core::Record;
use rustix::io::Errno;

use super::{Client, Event, Phase};
use crate::error::WaitError;
use crate::link::{Deadline, SLEEP_SLICE};

/// The first sleep of those whom nobody wakes.
pub(super) const LOOK_AGAIN_MIN: Duration = Duration::from_millis(1);
/// Their longest.
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(32);

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// There is something to read, or was: a reading call may still give [`Event::Empty`] if only
    /// padding records came.
    Ready,
    /// The time is over, or a signal handler ran.
    Elapsed,
    /// An [`Interrupter`](crate::Interrupter) was used, before or meanwhile; this answer uses it
    /// up.
    Interrupted,
}

/// Whether an event loop may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Armed {
    /// It may not: read.
    Ready,
    /// It may, until the descriptor is readable, but no longer than this: at most 500 ms, so that
    /// no lost wake-up can cost more.
    Sleep(Duration),
    /// An [`Interrupter`](crate::Interrupter) was used; this answer uses it up, and nothing is
    /// announced.
    Interrupted,
}

impl Client {
    /// Blocks until a reading call has something to say, at most for `timeout` (`None`: for ever).
    /// Reconnects meanwhile. [`release`](Self::release) first: a full ring waits for it.
    ///
    /// # Errors
    /// The system cannot poll, for lack of memory.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Waited> {
        self.wait_until(timeout.map_or(Deadline::never(), Deadline::after))
    }

    fn wait_until(&mut self, deadline: Deadline) -> io::Result<Waited> {
        loop {
            let time = match self.arm() {
                Armed::Sleep(time) => time,
                Armed::Ready => return Ok(Waited::Ready),
                Armed::Interrupted => return Ok(Waited::Interrupted),
            };
            let slept = self.link.sleep(deadline.left(time));
            self.settle(slept == Ok(false));
            match slept {
                Ok(_) => {}
                // A handler ran; it may have been one that interrupts.
                Err(Errno::INTR) => return Ok(self.waited(Waited::Elapsed)),
                Err(errno) => return Err(errno.into()),
            }
            if deadline.is_over() {
                let news = if self.has_news() { Waited::Ready } else { Waited::Elapsed };
                return Ok(self.waited(news));
            }
        }
    }

    /// Takes the oldest unread record as [`next`](Self::next) does, and waits for it for `timeout`
    /// (`None`: for ever). [`Event::Empty`]: the wait ended without one, by time, by an interrupt,
    /// or because a signal handler ran. Releases nothing: do that before, or a full ring waits for
    /// it and this call for the ring.
    ///
    /// # Errors
    /// [`WaitError::Read`] as [`next`](Self::next), [`WaitError::System`] as [`wait`](Self::wait).
    pub fn next_wait(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Event<(Record, &[u8])>, WaitError> {
        let deadline = timeout.map_or(Deadline::never(), Deadline::after);
        let mut event = self.take()?;
        while matches!(event, Event::Empty) && self.wait_until(deadline)? == Waited::Ready {
            event = self.take()?;
        }
        Ok(self.lend(event))
    }

    /// Announces a sleep, for an event loop of the program's own instead of [`wait`](Self::wait).
    /// Never blocks.
    ///
    /// 1. Read until [`Event::Empty`], [`release`](Self::release), then arm.
    /// 2. [`Armed::Ready`]: back to 1 without sleeping. [`Armed::Sleep`]: sleep until the client's
    ///    descriptor ([`AsFd`](std::os::fd::AsFd)) is readable or that time is over.
    /// 3. Back to 1, whatever ended the sleep. Readable does not promise a record.
    ///
    /// Level-triggered, the descriptor is readable while a wake-up, the listener's end or an
    /// interrupt has not been taken; arming and reading take them. Edge-triggered works too:
    /// [`Armed::Sleep`] is given only after everything was taken that would be no new edge. The
    /// producer wakes once for each time armed, so a sleep without it is a sleep until the timeout.
    pub fn arm(&mut self) -> Armed {
        self.settle(false);
        if self.link.interrupter().take() {
            return Armed::Interrupted;
        }
        if self.has_news() {
            return Armed::Ready;
        }
        let time = if self.phase != Phase::Attached {
            if !self.is_still_down() {
                return Armed::Ready;
            }
            self.time_to_next_step()
        } else if self.is_woken() {
            if !self.source.prepare_sleep() {
                return Armed::Ready;
            }
            SLEEP_SLICE
        } else {
            self.look_again_after
        };
        self.armed = true;
        self.totals.sleeps += 1;
        Armed::Sleep(time)
    }

    /// Ends what `arm` began.
    pub(super) fn settle(&mut self, timed_out: bool) {
        if !self.armed {
            return;
        }
        self.armed = false;
        if self.phase != Phase::Attached {
            return; // What lies in the socket is the listener's answer.
        }
        if self.is_woken() {
            self.source.finish_sleep(timed_out);
        } else if self.source.is_ready() {
            self.look_again_after = LOOK_AGAIN_MIN;
        } else {
            self.look_again_after = (2 * self.look_again_after).min(LOOK_AGAIN_MAX);
        }
        if !timed_out && self.link.drain() {
            self.hung_up = true;
        }
    }

    /// Whether a reading call would say something else than nothing, as far as can be told without
    /// making a step.
    fn has_news(&self) -> bool {
        match self.phase {
            _ if self.untold.is_some() => true,
            Phase::Over => true,
            Phase::Attached => self.hung_up || self.source.is_ready(),
            Phase::Down { .. } | Phase::Greeted { .. } => false,
        }
    }

    /// Whether the producer wakes this client.
    const fn is_woken(&self) -> bool {
        self.controlled && self.source.is_gating()
    }

    fn waited(&self, otherwise: Waited) -> Waited {
        if self.link.interrupter().take() { Waited::Interrupted } else { otherwise }
    }
}
