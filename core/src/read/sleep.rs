//! How a reader falls asleep without missing the record that should wake it.

use core::sync::atomic::Ordering;

use super::{ReadError, Reader};
use crate::geometry::low32;
use crate::layout::{WAITING_FUTEX, WAITING_SOCKET, cursor_word};
use crate::memory::{Memory, MemoryMut};

/// How a reader will sleep, so that the producer knows how to wake it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum WaitMode {
    /// `FUTEX_WAIT` (not private) on the `tail` word.
    Futex,
    /// `poll` on the control socket.
    Socket,
}

/// Whether to sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Sleep {
    /// Something was published: do not sleep.
    Ready,
    /// Sleep now, with a timeout, as long as the `tail` word holds this value; then call
    /// [`Reader::finish_sleep`].
    Wait {
        /// Expected value for the futex call.
        tail: u32,
    },
}

impl<R: Memory, C: MemoryMut> Reader<R, C> {
    /// Announces that this reader is about to sleep, and returns whether it may. Release first: a
    /// producer without space never publishes.
    ///
    /// # Errors
    /// [`ReadError::TailOutOfRange`]; the reader is not announced then.
    pub fn prepare_sleep(&mut self, mode: WaitMode) -> Result<Sleep, ReadError> {
        if self.walk.position != self.walk.tail {
            return Ok(Sleep::Ready);
        }
        let mode = match mode {
            WaitMode::Futex => WAITING_FUTEX,
            WaitMode::Socket => WAITING_SOCKET,
        };
        // ORDER(sleep): Relaxed; the fence orders it before the tail is looked at.
        self.segment.store(
            cursor_word::WAITING,
            (low32(self.walk.position) << 2) | mode,
            Ordering::Relaxed,
        );
        // ORDER(sleep): SeqCst. Either the producer sees `waiting`, and with it a waker that was
        // registered before, or we see its tail below. Pairs with the fence in `Producer::publish`.
        self.segment.fence(Ordering::SeqCst);
        let refreshed = self.walk.refresh();
        if refreshed.is_ok() && self.walk.tail == self.walk.position {
            return Ok(Sleep::Wait { tail: low32(self.walk.tail) });
        }
        self.awake();
        refreshed.map(|()| Sleep::Ready)
    }

    /// Ends a sleep. `timed_out` says that nobody woke the reader; if there is something to read
    /// all the same, that is counted.
    ///
    /// # Errors
    /// [`ReadError::TailOutOfRange`].
    pub fn finish_sleep(&mut self, timed_out: bool) -> Result<(), ReadError> {
        self.awake();
        self.walk.refresh()?;
        if timed_out && self.walk.tail != self.walk.position {
            self.missed_wakes = self.missed_wakes.wrapping_add(1);
            // ORDER(none): a statistic.
            self.segment.store(cursor_word::MISSED_WAKES, self.missed_wakes, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(crate) fn awake(&self) {
        // ORDER(sleep): Relaxed; seen late it costs a wake-up too many, never one too few.
        self.segment.store(cursor_word::WAITING, 0, Ordering::Relaxed);
    }
}
