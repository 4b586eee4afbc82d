//! Private state that several producers of one process share: atomic words, and a value that one party at a time may enter.
//!
//! Nothing here is in shared memory. The traits are what lets a model checker put its own atomics and cells underneath.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, Ordering};

/// One private atomic word.
///
/// # Safety
/// An implementation behaves as one atomic `u32` that is changed only through these methods.
pub unsafe trait Word {
    /// A word with this value.
    fn new(value: u32) -> Self;
    /// An atomic load.
    fn load(&self, order: Ordering) -> u32;
    /// An atomic store.
    fn store(&self, value: u32, order: Ordering);
    /// Strong compare-and-exchange; the value found.
    #[allow(clippy::missing_errors_doc, reason = "as in core")]
    fn compare_exchange(&self, current: u32, new: u32, success: Ordering, failure: Ordering) -> Result<u32, u32>;
    /// Adds, wrapping; the value before.
    fn fetch_add(&self, value: u32, order: Ordering) -> u32;
}

/// A value that is entered under somebody else's mutual exclusion.
///
/// # Safety
/// [`with`](Cell::with) lends the value given to [`new`](Cell::new) and nothing else touches it.
pub unsafe trait Cell<T> {
    /// A cell around `value`.
    fn new(value: T) -> Self;
    /// Lends the value.
    ///
    /// # Safety
    /// 1. No other call is under way, and an earlier one happens before this one.
    unsafe fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R;
    /// The value.
    fn into_inner(self) -> T;
}

/// What private state is made of.
pub trait Backend {
    /// Its atomic words.
    type Word: Word;
    /// Its cells.
    type Cell<T>: Cell<T>;
}

/// The processor's own atomics. Needs compare-and-swap.
#[derive(Clone, Copy, Debug)]
pub struct Native;

impl Backend for Native {
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
    fn compare_exchange(&self, current: u32, new: u32, success: Ordering, failure: Ordering) -> Result<u32, u32> {
        self.compare_exchange(current, new, success, failure)
    }

    #[inline]
    fn fetch_add(&self, value: u32, order: Ordering) -> u32 {
        self.fetch_add(value, order)
    }
}

/// A cell without checks of its own.
pub struct NativeCell<T>(UnsafeCell<T>);

// SAFETY: the value is only lent, to one party at a time (the duty of `with`), so sharing the cell moves the value between threads.
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

/// A value whose users never wait for each other: who finds it in use leaves the work to the one inside.
///
/// States of `asked`: 0 nobody is inside; n > 0 somebody is, and n requests came since it was last 0 or were all seen. Only the one inside
/// brings it back to 0, and only if no request came since it last looked.
pub struct Turns<B: Backend, T> {
    asked: B::Word,
    /// INVARIANT: entered only by whoever brought `asked` from 0 to 1, until it brings it back to 0.
    value: B::Cell<T>,
}

impl<B: Backend, T> Turns<B, T> {
    /// Nobody is inside.
    pub fn new(value: T) -> Self {
        Self { asked: B::Word::new(0), value: B::Cell::new(value) }
    }

    /// Does `work` on the value, and again for every request that came meanwhile. False: somebody is inside and will do it.
    ///
    /// What the caller did before is seen by whoever does the work. Never waits; an interrupt handler may call it.
    pub fn run(&self, mut work: impl FnMut(&mut T)) -> bool {
        // ORDER(turn): AcqRel. Acquire: what was done to the value in earlier turns. Release: whoever is inside sees what we leave to it.
        // Pairs with the exchange below, in both directions.
        if self.asked.fetch_add(1, Ordering::AcqRel) != 0 {
            return false;
        }
        let mut seen = 1;
        loop {
            // SAFETY: (1) `asked` was 0 and we made it 1, and nobody else enters until we make it 0; the exchange by which it last became
            // 0 was a Release and our addition an Acquire.
            unsafe { self.value.with(&mut work) };
            // ORDER(turn): Release: the next one inside sees what we did. Acquire on failure: the work of those who asked meanwhile; a success finds
            // what a failure, or our own addition, has brought already. Pairs with the addition above.
            match self.asked.compare_exchange(seen, 0, Ordering::Release, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
    }

    /// The value, when nobody shares it any more.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}
