//! Who waits for space in a full ring: one queue, in order of arrival, for futures and event loops.
//!
//! It knows tickets, sizes and wakers; the ring decides when the first one may try again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::task::Waker;

use crate::sync::lock;

/// Most records that wait for space in one ring. Beyond it a full ring refuses at once.
pub const WAITING_MAX: usize = 65_536;

/// What a place in the queue waits for; it is asked for when the place is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// One record with so many bytes of payload.
    Record(usize),
    /// A batch of so many granules, as [`Turn::grant`](super::Turn::grant) counts them.
    Batch(u64),
}

/// One record, or batch, that waits.
struct Waiter {
    need: Need,
    waker: Waker,
}

/// The queue.
#[derive(Default)]
pub(super) struct Waiters {
    /// By ticket number, so in order of arrival. INVARIANT: at most [`WAITING_MAX`].
    queue: BTreeMap<u64, Waiter>,
    next: u64,
}

/// A place in the queue for space, given out by [`Turn::wait`](super::Turn::wait). Dropping it
/// gives the place up.
pub struct Ticket {
    waiters: Arc<Mutex<Waiters>>,
    number: u64,
}

impl Waiters {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Number and need of the one that may try next.
    pub(super) fn first(&self) -> Option<(u64, Need)> {
        self.queue.first_key_value().map(|(&number, waiter)| (number, waiter.need))
    }

    pub(super) fn first_waker(&self) -> Option<Waker> {
        self.queue.first_key_value().map(|(_, waiter)| waiter.waker.clone())
    }

    pub(super) fn all_wakers(&self) -> Vec<Waker> {
        self.queue.values().map(|waiter| waiter.waker.clone()).collect()
    }

    /// Ends a wait. Returns whether it was the first one's, and its waker, which is to be dropped
    /// when nothing is locked: it may be the last thing that keeps a task alive.
    pub(super) fn remove(&mut self, number: u64) -> Option<(bool, Waker)> {
        let was_first = self.queue.first_key_value().is_some_and(|(&first, _)| first == number);
        self.queue.remove(&number).map(|waiter| (was_first, waiter.waker))
    }

    /// Remembers what was tried last for a place.
    pub(super) fn resize(&mut self, number: u64, need: Need) {
        if let Some(waiter) = self.queue.get_mut(&number) {
            waiter.need = need;
        }
    }
}

impl Ticket {
    /// Queues up; `None` if the queue is full.
    pub(super) fn enter(waiters: &Arc<Mutex<Waiters>>, need: Need, waker: Waker) -> Option<Self> {
        let mut queue = lock(waiters);
        if queue.queue.len() >= WAITING_MAX {
            return None;
        }
        let number = queue.next;
        queue.next += 1;
        queue.queue.insert(number, Waiter { need, waker });
        Some(Self { waiters: Arc::clone(waiters), number })
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Replaces the waker that is called when this place may try again.
    pub fn set_waker(&self, waker: &Waker) {
        let waker = waker.clone();
        let replaced = lock(&self.waiters)
            .queue
            .get_mut(&self.number)
            .map(|waiter| std::mem::replace(&mut waiter.waker, waker));
        // Dropped when nothing is locked; see `Waiters::remove`.
        drop(replaced);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let (removed, next) = {
            let mut queue = lock(&self.waiters);
            match queue.remove(self.number) {
                Some((true, waker)) => (Some(waker), queue.first_waker()),
                other => (other.map(|(_, waker)| waker), None),
            }
        };
        drop(removed);
        if let Some(next) = next {
            next.wake();
        }
    }
}
