//! Locking, once for all modules, and values that a reload replaces.
//!
//! The files of the hand-over to the journal, and that of the wake-ups of event loops, take from
//! here whatever they lock, wait and count with: `verify/models/handover.rs` and `loom_pending.rs`
//! compile them once more over a model checker.

use std::sync::{Arc, MutexGuard};

pub(crate) use std::sync::{Condvar, Mutex, PoisonError};

/// A number that several threads see.
#[allow(clippy::disallowed_types, reason = "inside the process, not in shared memory")]
pub(crate) type Counter = std::sync::atomic::AtomicU64;

/// A fact that several threads see.
#[allow(clippy::disallowed_types, reason = "inside the process, not in shared memory")]
pub(crate) type Flag = std::sync::atomic::AtomicBool;

/// Mistakes that the models of the hand-over and of feeding make on purpose, to see that they would
/// notice them.
#[allow(dead_code, reason = "made by a test only")]
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// Records are published before they are safe.
    PublishesBeforeCommit,
    /// Sleeping readers are looked for before the records are published.
    LooksBeforePublishing,
    /// A bell that rings while nobody waits is not heard.
    BellForgets,
    /// A thread that appended commits by itself although the other is at it.
    CommitsTogether,
    /// A reader that is asked for space is not looked at once more.
    FeedAsksAndSleeps,
    /// It is looked for whether a reader sleeps before its records are shown.
    FeedLooksFirst,
    /// What a reader was shown is taken for released.
    FeedForgetsUnreleased,
}

/// Whether this mistake is to be made: never in a program.
#[inline]
pub(crate) const fn seeded(_: Fault) -> bool {
    false
}

/// Locks a mutex even after a panic: no value guarded in this crate is ever left half changed.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A value that is replaced as a whole while others use it. Not for every record: it is locked.
pub(crate) struct Live<T>(Mutex<Arc<T>>);

impl<T> Live<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(Arc::new(value)))
    }

    /// Returns what it is now.
    pub(crate) fn get(&self) -> Arc<T> {
        Arc::clone(&lock(&self.0))
    }

    /// Replaces it for whoever asks from now on.
    pub(crate) fn set(&self, value: T) {
        *lock(&self.0) = Arc::new(value);
    }
}
