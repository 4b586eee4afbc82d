//! Sleeping and waking: by the control socket, by an interrupt, by looking again (ABI §4.5).

use std::io;
use std::time::Duration;

use aqueduct_core::Record;
use rustix::io::Errno;

use super::{Client, Event, Phase};
use crate::error::WaitError;
use crate::link::{Deadline, SLEEP_SLICE};

/// The first sleep of a client that the producer does not wake.
pub(super) const LOOK_AGAIN_MIN: Duration = Duration::from_millis(1);
/// Its longest.
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(32);

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// There is something to read. A reading call may still return [`Event::Empty`] if only padding
    /// records arrived.
    Ready,
    /// The timeout elapsed, or a signal handler ran.
    Elapsed,
    /// An [`Interrupter`](crate::Interrupter) interrupted this wait, or did before it began.
    Interrupted,
}

/// Whether an event loop may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Armed {
    /// It must not: there is something to read.
    Ready,
    /// It may, until the descriptor is readable but no longer than this. At most 500 ms, so that a
    /// lost wake-up costs no more.
    Sleep(Duration),
    /// An [`Interrupter`](crate::Interrupter) was used; no sleep is announced.
    Interrupted,
}

impl Client {
    /// Blocks until a reading call has something to return, at most for `timeout` (`None`: without
    /// limit). Reconnects meanwhile. Call [`release`](Self::release) first: a full ring waits for
    /// it.
    ///
    /// # Errors
    /// `poll` failed, for lack of memory.
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

    /// Takes the oldest unread record as [`next`](Self::next) does, and waits for it at most for
    /// `timeout` (`None`: without limit). Returns [`Event::Empty`] if the wait ended without one:
    /// by the timeout or a signal handler. Releases nothing: call [`release`](Self::release) first,
    /// or a full ring and this call wait for each other.
    ///
    /// # Errors
    /// [`WaitError::Interrupted`]; [`WaitError::Read`] as [`next`](Self::next);
    /// [`WaitError::System`] as [`wait`](Self::wait).
    pub fn next_wait(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Event<(Record, &[u8])>, WaitError> {
        let deadline = timeout.map_or(Deadline::never(), Deadline::after);
        let mut event = self.take()?;
        while matches!(event, Event::Empty) {
            match self.wait_until(deadline)? {
                Waited::Ready => event = self.take()?,
                Waited::Elapsed => break,
                Waited::Interrupted => return Err(WaitError::Interrupted),
            }
        }
        Ok(self.lend(event))
    }

    /// Announces a sleep, for an event loop of the program's own instead of [`wait`](Self::wait).
    /// Never blocks.
    ///
    /// 1. Read until [`Event::Empty`], [`release`](Self::release), then arm.
    /// 2. On [`Armed::Ready`], go back to 1 without sleeping. On [`Armed::Sleep`], sleep until the
    ///    client's descriptor ([`AsFd`](std::os::fd::AsFd)) is readable or that time has passed.
    /// 3. Go back to 1, whatever ended the sleep. Readable does not promise a record.
    ///
    /// The descriptor stays readable (level-triggered) while a wake-up, the listener's end or an
    /// interrupt has not been consumed; arming and reading consume them. Edge-triggered polling
    /// works too: [`Armed::Sleep`] is returned only after everything was consumed that would cause
    /// no new edge. The producer wakes a reader once each time it is armed, so a sleep without
    /// arming lasts until its timeout.
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

    /// Announces a sleep as [`arm`](Self::arm) does, and keeps its time: the descriptor also
    /// becomes readable when the sleep is over, so that the event loop needs no timer of its own.
    /// Costs two more system calls a sleep. Never blocks.
    ///
    /// # Errors
    /// The timer cannot be made: no descriptor is left. No sleep is announced.
    pub fn arm_with_timer(&mut self) -> io::Result<Armed> {
        let armed = self.arm();
        if let Armed::Sleep(time) = armed
            && let Err(errno) = self.link.set_timer(time)
        {
            self.settle(false);
            return Err(errno.into());
        }
        Ok(armed)
    }

    /// Ends what `arm` began.
    pub(super) fn settle(&mut self, timed_out: bool) {
        if !self.armed {
            return;
        }
        self.armed = false;
        let timed_out_by_timer = self.link.take_timer();
        if self.phase != Phase::Attached {
            return; // What lies in the socket is the listener's answer.
        }
        if self.is_woken() {
            self.source.finish_sleep(timed_out || timed_out_by_timer);
        } else if self.source.is_ready() {
            self.look_again_after = LOOK_AGAIN_MIN;
        } else {
            self.look_again_after = (2 * self.look_again_after).min(LOOK_AGAIN_MAX);
        }
        if !timed_out && self.link.drain() {
            self.hung_up = true;
        }
    }

    /// Whether a reading call would return something other than nothing, as far as is known without
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
