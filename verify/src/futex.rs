//! The kernel's part of a sleep: a futex on one word, and a message that is kept until it is
//! fetched.
//!
//! A sleeper that nobody wakes is a deadlock, and loom reports it. There are no time-outs here, so
//! no missed wake-up can hide.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use aqueduct_core::Memory;
use loom::sync::{Condvar, Mutex, MutexGuard};

/// As in the kernel: the comparison with the word and the entry into the queue are one step under
/// the lock that a waker takes.
pub struct Futex {
    /// Number of wake calls so far.
    wakes: Mutex<usize>,
    queue: Condvar,
}

impl Futex {
    /// Nobody sleeps.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "only inside a model")]
    pub fn new() -> Self {
        Self { wakes: Mutex::new(0), queue: Condvar::new() }
    }

    /// `FUTEX_WAIT`: sleeps if the word at byte offset `at` holds `expected`. Whether it slept.
    pub fn wait(&self, memory: &impl Memory, at: usize, expected: u32) -> bool {
        let guard = lock(&self.wakes);
        // ORDER(none): the kernel's load under its lock; what it misses is what the protocol must
        // make up for.
        if memory.load(at, Ordering::Relaxed) != expected {
            return false;
        }
        drop(self.queue.wait(guard).unwrap_or_else(PoisonError::into_inner));
        true
    }

    /// `FUTEX_WAKE` of all waiters.
    pub fn wake(&self) {
        *lock(&self.wakes) += 1;
        self.queue.notify_all();
    }

    /// Wake calls so far.
    pub fn wakes(&self) -> usize {
        *lock(&self.wakes)
    }
}

/// A socket to which one byte is sent and never dropped unread: a message sent before the other
/// side waits is still there when it does.
pub struct Mailbox {
    unread: Mutex<usize>,
    arrived: Condvar,
}

impl Mailbox {
    /// Empty.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "only inside a model")]
    pub fn new() -> Self {
        Self { unread: Mutex::new(0), arrived: Condvar::new() }
    }

    /// One packet.
    pub fn send(&self) {
        *lock(&self.unread) += 1;
        self.arrived.notify_all();
    }

    /// `poll`, then one packet is read.
    pub fn receive(&self) {
        let mut unread = lock(&self.unread);
        while *unread == 0 {
            unread = self.arrived.wait(unread).unwrap_or_else(PoisonError::into_inner);
        }
        *unread -= 1;
    }

    /// Packets that nobody read.
    pub fn unread(&self) -> usize {
        *lock(&self.unread)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
