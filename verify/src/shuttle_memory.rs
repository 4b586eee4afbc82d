//! Segments and private state under shuttle: every access is a point where the schedule may change.
//!
//! shuttle is sequentially consistent: it finds races of logic in larger runs than loom can, and no
//! weak ordering. Only meaningful inside a shuttle test.

use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aqueduct_core::memory::Span;
use aqueduct_core::shared::{Backend, Cell, Word};
use aqueduct_core::{Memory, MemoryMut};
use shuttle::sync::atomic::{AtomicBool, AtomicU32};

/// A segment of zeroed words. Clones are the same memory.
#[derive(Clone)]
pub struct ShuttleMemory(Arc<[AtomicU32]>);

impl ShuttleMemory {
    /// `bytes` zero bytes, a multiple of 8.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self((0..bytes / 4).map(|_| AtomicU32::new(0)).collect())
    }
}

// Ordering plays no part in shuttle, which warns of every weaker one than this.
impl Memory for ShuttleMemory {
    fn size(&self) -> usize {
        self.0.len() * 4
    }

    fn load(&self, at: usize, _: Ordering) -> u32 {
        self.0[at / 4].load(Ordering::SeqCst)
    }

    fn read(&self, at: usize, into: &mut [u8]) {
        for (word, bytes) in self.0[at / 4..].iter().zip(into.chunks_mut(4)) {
            bytes.copy_from_slice(&word.load(Ordering::SeqCst).to_le_bytes()[..bytes.len()]);
        }
    }

    /// The words are the model checker's own.
    fn span(&self, _: usize, _: usize) -> Option<Span<'_>> {
        None
    }

    fn fence(&self, _: Ordering) {}
}

impl MemoryMut for ShuttleMemory {
    fn store(&self, at: usize, value: u32, _: Ordering) {
        self.0[at / 4].store(value, Ordering::SeqCst);
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        let mut filled = bytes.to_vec();
        filled.resize(bytes.len().next_multiple_of(8), 0);
        for (word, bytes) in self.0[at / 4..].iter().zip(filled.chunks_exact(4)) {
            word.store(
                u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
                Ordering::SeqCst,
            );
        }
    }
}

/// shuttle's atomics, and a cell that knows who is inside.
pub struct Shuttle;

impl Backend for Shuttle {
    type Word = ShuttleWord;
    type Cell<T> = ShuttleCell<T>;
}

/// One shuttle atomic.
pub struct ShuttleWord(AtomicU32);

// SAFETY: it is one atomic, behind a private field.
unsafe impl Word for ShuttleWord {
    fn new(value: u32) -> Self {
        Self(AtomicU32::new(value))
    }

    fn load(&self, _: Ordering) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    fn store(&self, value: u32, _: Ordering) {
        self.0.store(value, Ordering::SeqCst);
    }

    fn compare_exchange(
        &self,
        current: u32,
        new: u32,
        _: Ordering,
        _: Ordering,
    ) -> Result<u32, u32> {
        self.0.compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst)
    }

    fn fetch_or(&self, bits: u32, _: Ordering) -> u32 {
        self.0.fetch_or(bits, Ordering::SeqCst)
    }
}

/// A cell that fails the test if two parties are inside.
pub struct ShuttleCell<T> {
    inside: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is lent by `with` only, which lends it to one party at a time.
unsafe impl<T: Send> Sync for ShuttleCell<T> {}

// SAFETY: the fields are private; `with` and `into_inner` are the only ways to the value.
unsafe impl<T> Cell<T> for ShuttleCell<T> {
    fn new(value: T) -> Self {
        Self { inside: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    unsafe fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        assert!(!self.inside.swap(true, Ordering::SeqCst), "two parties inside");
        // SAFETY: nobody else is inside (checked just now), so no other reference is alive.
        let done = work(unsafe { &mut *self.value.get() });
        self.inside.store(false, Ordering::SeqCst);
        done
    }

    fn into_inner(self) -> T {
        self.value.into_inner()
    }
}
