//! The ring's memory as its producer sees it: where records are published only once they are safe,
//! the words that readers go by are kept back.
//!
//! The producer appends and "publishes" as ever. What it stores into `tail` is only noted here;
//! [`RingMemory::publish`] stores it, up to where the journal has come.

use std::cell::Cell;
use std::sync::atomic::Ordering;

use aqueduct_core::layout::ring_word;
use aqueduct_core::memory::Span;
use aqueduct_core::{Memory, MemoryMut, Region};

/// The mapped ring, and what readers do not see of it yet.
pub(crate) struct RingMemory<M = Region<'static>> {
    region: M,
    /// Whether the words are kept back. False: everything goes through.
    holds: Cell<bool>,
    /// What the producer takes for published.
    appended: Cell<u32>,
    /// What readers see. INVARIANT: a record boundary, not past `appended`.
    published: Cell<u32>,
    /// What the producer takes for the oldest intact record.
    oldest: Cell<u32>,
}

impl<M: MemoryMut> RingMemory<M> {
    /// Wraps the ring; nothing is kept back.
    pub(crate) fn new(region: M) -> Self {
        Self {
            region,
            holds: Cell::new(false),
            appended: Cell::new(0),
            published: Cell::new(0),
            oldest: Cell::new(0),
        }
    }

    /// Keeps back everything from now on.
    pub(crate) fn hold(&self) {
        // ORDER(none): our own words.
        let word = |at| self.region.load(at, Ordering::Relaxed);
        self.appended.set(word(ring_word::TAIL));
        self.published.set(word(ring_word::TAIL));
        self.oldest.set(word(ring_word::OLDEST));
        self.holds.set(true);
    }

    /// Keeps nothing back any more. Everything that was is published.
    pub(crate) fn let_go(&self) {
        debug_assert!(self.is_whole(), "something is not safe yet");
        self.holds.set(false);
    }

    /// Returns just past the last record that the producer takes for published.
    pub(crate) fn tail(&self) -> u32 {
        if self.holds.get() {
            return self.appended.get();
        }
        // ORDER(none): our own word.
        self.region.load(ring_word::TAIL, Ordering::Relaxed)
    }

    /// Returns just past the last record that readers see.
    pub(crate) fn published(&self) -> u32 {
        if self.holds.get() { self.published.get() } else { self.tail() }
    }

    /// Returns whether readers see everything.
    pub(crate) fn is_whole(&self) -> bool {
        self.appended == self.published
    }

    /// Shows readers everything up to a record boundary; `next_seq` is the sequence number of the
    /// record that will be there.
    pub(crate) fn publish(&self, tail: u32, next_seq: u64) {
        debug_assert!(is_at_most(self.published.get(), tail) && is_at_most(tail, self.tail()));
        self.published.set(tail);
        #[allow(clippy::cast_possible_truncation, reason = "the word holds the low 32 bits")]
        let next_seq = next_seq as u32;
        // ORDER(publish): Relaxed; the next store orders it.
        self.region.store(ring_word::NEXT_SEQ, next_seq, Ordering::Relaxed);
        // ORDER(publish): Release. A reader that loads this tail sees the records before it. Pairs
        // with `Walk::refresh`.
        self.region.store(ring_word::TAIL, tail, Ordering::Release);
        self.show_oldest();
        // ORDER(sleep): SeqCst. Either whoever publishes sees `waiting`, or the reader sees this
        // tail. Pairs with the fence in `Reader::prepare_sleep`.
        self.region.fence(Ordering::SeqCst);
    }

    /// The producer moves `oldest` to a boundary that may be past what readers see.
    fn show_oldest(&self) {
        let (wanted, published) = (self.oldest.get(), self.published.get());
        let shown = if is_at_most(wanted, published) { wanted } else { published };
        // ORDER(oldest): Release. A reader that loads it sees a tail that is not before it. Pairs
        // with `Walk::skip_to_oldest`.
        self.region.store(ring_word::OLDEST, shown, Ordering::Release);
    }
}

/// Whether one position is not past another; they are less than half of all positions apart.
fn is_at_most(position: u32, other: u32) -> bool {
    other.wrapping_sub(position) < 1 << 31
}

impl<M: MemoryMut> Memory for RingMemory<M> {
    #[inline]
    fn size(&self) -> usize {
        self.region.size()
    }

    #[inline]
    fn load(&self, at: usize, order: Ordering) -> u32 {
        self.region.load(at, order)
    }

    #[inline]
    fn read(&self, at: usize, into: &mut [u8]) {
        self.region.read(at, into);
    }

    #[inline]
    fn span(&self, at: usize, len: usize) -> Option<Span<'_>> {
        self.region.span(at, len)
    }

    #[inline]
    fn fence(&self, order: Ordering) {
        self.region.fence(order);
    }
}

impl<M: MemoryMut> MemoryMut for RingMemory<M> {
    #[inline]
    fn store(&self, at: usize, value: u32, order: Ordering) {
        if !self.holds.get() {
            return self.region.store(at, value, order);
        }
        match at {
            ring_word::TAIL => self.appended.set(value),
            // Goes with `tail`.
            ring_word::NEXT_SEQ => {}
            ring_word::OLDEST => {
                self.oldest.set(value);
                self.show_oldest();
            }
            _ => self.region.store(at, value, order),
        }
    }

    #[inline]
    fn write(&self, at: usize, bytes: &[u8]) {
        self.region.write(at, bytes);
    }
}
