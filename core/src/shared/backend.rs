//! What the private state of several producers is made of: atomic words, and cells.
//!
//! Nothing here is in shared memory. The traits are what lets a model checker, or a processor
//! without compare-and-swap, put something else underneath.

#![allow(
    clippy::disallowed_types,
    reason = "private words, which a model checker replaces by its own"
)]

use core::cell::UnsafeCell;
use core::sync::atomic::Ordering;

#[cfg(target_has_atomic = "32")]
use core::sync::atomic::AtomicU32;
#[cfg(not(target_has_atomic = "32"))]
use portable_atomic::AtomicU32;

/// One private atomic word.
///
/// # Safety
/// An implementation behaves as one atomic `u32` that is changed only through these methods.
pub unsafe trait Word {
    /// Makes a word with this value.
    fn new(value: u32) -> Self;
    /// Loads it.
    fn load(&self, order: Ordering) -> u32;
    /// Stores a value.
    fn store(&self, value: u32, order: Ordering);
    /// Compares and exchanges, strongly. Returns the value found.
    #[allow(clippy::missing_errors_doc, reason = "as in core")]
    fn compare_exchange(
        &self,
        current: u32,
        new: u32,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u32, u32>;
    /// Sets bits. Returns the value before.
    fn fetch_or(&self, bits: u32, order: Ordering) -> u32;
}

/// A value that is entered under mutual exclusion that somebody else provides.
///
/// # Safety
/// [`with`](Cell::with) lends the value given to [`new`](Cell::new), and nothing else touches it.
pub unsafe trait Cell<T> {
    /// Makes a cell around `value`.
    fn new(value: T) -> Self;
    /// Lends the value.
    ///
    /// # Safety
    /// 1. No other call is under way, and an earlier one happens before this one.
    unsafe fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R;
    /// Returns the value.
    fn into_inner(self) -> T;
}

/// What private state is made of.
pub trait Backend {
    /// The most spin hints that a `push` waits after it left its record to a party that is
    /// publishing, below 2^16. Threads that produce at the same time then continue for some
    /// thousand records each, instead of taking the ring's cache lines from each other for every
    /// record; threads that meet now and then wait for a few. 0, for none, where that party may
    /// have been interrupted by this one.
    const PAUSES: u32 = 0;
    /// Its atomic words.
    type Word: Word;
    /// Its cells.
    type Cell<T>: Cell<T>;
}

/// The processor's own atomics; where it has no compare-and-swap, those of `portable-atomic`. It
/// pauses only where there is an operating system.
#[derive(Clone, Copy, Debug)]
pub struct Native;

impl Backend for Native {
    const PAUSES: u32 = if cfg!(target_os = "none") { 0 } else { 2048 };
    type Word = AtomicU32;
    type Cell<T> = NativeCell<T>;
}

// SAFETY: it is an atomic `u32`.
unsafe impl Word for AtomicU32 {
    fn new(value: u32) -> Self {
        Self::new(value)
    }

    #[inline]
    fn load(&self, order: Ordering) -> u32 {
        self.load(order)
    }

    #[inline]
    fn store(&self, value: u32, order: Ordering) {
        self.store(value, order);
    }

    #[inline]
    fn compare_exchange(
        &self,
        current: u32,
        new: u32,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u32, u32> {
        self.compare_exchange(current, new, success, failure)
    }

    #[inline]
    fn fetch_or(&self, bits: u32, order: Ordering) -> u32 {
        self.fetch_or(bits, order)
    }
}

/// A cell without checks of its own.
pub struct NativeCell<T>(UnsafeCell<T>);

// SAFETY: the value is only lent, to one party at a time (the duty of `with`), so sharing the cell
// moves the value between threads.
unsafe impl<T: Send> Sync for NativeCell<T> {}

// SAFETY: the field is private; `with` and `into_inner` are the only ways to the value.
unsafe impl<T> Cell<T> for NativeCell<T> {
    fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    #[inline]
    unsafe fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: duty 1: no other reference to the value is alive.
        work(unsafe { &mut *self.0.get() })
    }

    fn into_inner(self) -> T {
        self.0.into_inner()
    }
}
