//! A ring that one reader has for itself: its words, and the reader's.
//!
//! Records come into it as they were in the ring of all, each at its position. Only its own reader
//! holds them back.

use std::sync::atomic::Ordering;

use aqueduct_core::geometry::low32;
use aqueduct_core::internals::{Framing, Header};
use aqueduct_core::layout::{GRANULE_BYTES, KIND_DISCARD, STATE_CLOSED, cursor_word, ring_word};
use aqueduct_core::{Memory, MemoryMut, Wake};

use crate::ring::durable::show::{Sleeper, sleepers};
use crate::sync::{Fault, seeded};

/// A ring and its reader's cursor segment.
pub(crate) struct Feed<M, W> {
    memory: M,
    words: W,
    /// Offset of the data area.
    data: usize,
    capacity: u32,
    /// What the reader has released, as far as it was believed.
    released: u64,
    /// Just past the last record in it.
    tail: u64,
    /// Number of the record that comes there.
    next_seq: u64,
    /// The sleep from which the reader was woken last.
    woken: u32,
    /// The last request for space.
    wanted: u32,
}

/// A cursor that no honest reader has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lied {
    pub(crate) cursor: u32,
}

impl<M: MemoryMut + Clone, W: Memory> Feed<M, W> {
    /// Takes over segments that were formatted as an empty ring, and its reader's, at this
    /// position. `next_seq` is the number of the record that comes there.
    pub(crate) fn new(
        (memory, words): (M, W),
        (data, capacity): (usize, u32),
        (position, next_seq): (u64, u64),
    ) -> Self {
        // ORDER(none): nobody has mapped it yet.
        memory.store(ring_word::NEXT_SEQ, low32(next_seq), Ordering::Relaxed);
        let (released, tail) = (position, position);
        Self { memory, words, data, capacity, released, tail, next_seq, woken: 0, wanted: 0 }
    }

    /// Returns its memory.
    pub(crate) fn memory(&self) -> &M {
        &self.memory
    }

    /// Returns the granules of its data area.
    pub(crate) fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Returns the words of its reader.
    pub(crate) fn words(&self) -> &W {
        &self.words
    }

    /// Returns up to where the reader has released, by its cursor that was believed last.
    pub(crate) fn released(&self) -> u64 {
        if seeded(Fault::FeedForgetsUnreleased) { self.tail } else { self.released }
    }

    /// Returns just past the last record in it.
    pub(crate) fn tail(&self) -> u64 {
        self.tail
    }

    /// Returns the number of the record that comes there.
    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Looks at the cursor; returns whether it has moved.
    ///
    /// # Errors
    /// It is not within what the reader can have released.
    pub(crate) fn look(&mut self) -> Result<bool, Lied> {
        // ORDER(release): Acquire. The reader has finished with the bytes before it. Pairs with
        // its store-release of the cursor.
        let cursor = self.words.load(cursor_word::CURSOR, Ordering::Acquire);
        let ahead = u64::from(cursor.wrapping_sub(low32(self.released)));
        if ahead > self.tail - self.released {
            return Err(Lied { cursor });
        }
        self.released += ahead;
        Ok(ahead > 0)
    }

    /// Returns how many granules may be put after the tail; one stays for the end.
    pub(crate) fn room(&self) -> u64 {
        u64::from(self.capacity - 1) - (self.tail - self.released)
    }

    /// Returns whether the reader sleeps because it has read everything.
    pub(crate) fn is_slept_on(&self) -> bool {
        // ORDER(none): a hint; one that comes too late is found at the next look.
        let waiting = self.words.load(cursor_word::WAITING, Ordering::Relaxed);
        waiting != 0 && waiting >> 2 == low32(self.tail) & (u32::MAX >> 2)
    }

    /// Asks the reader to tell when it has released something. Returns whether it has just now.
    pub(crate) fn want_space(&mut self) -> Result<bool, Lied> {
        self.wanted = self.wanted.checked_add(1).unwrap_or(1);
        // ORDER(space): Relaxed; the fence orders it before the look.
        self.memory.store(ring_word::SPACE_WANTED, self.wanted, Ordering::Relaxed);
        // ORDER(space): SeqCst. Either the reader sees the request, or this look its cursor. Pairs
        // with the fence in `Reader::release`.
        self.memory.fence(Ordering::SeqCst);
        if seeded(Fault::FeedAsksAndSleeps) {
            return Ok(false);
        }
        self.look()
    }

    /// Returns what puts records past the tail, for whoever makes room sure before.
    pub(crate) fn hand(&self) -> Hand<M> {
        // ORDER(oldest): Release. A reader that loads it sees a tail that is not before it. Pairs
        // with `Walk::skip_to_oldest`. The fence orders it before the bytes that come next.
        self.memory.store(ring_word::OLDEST, low32(self.tail), Ordering::Release);
        self.memory.fence(Ordering::Release);
        Hand { memory: self.memory.clone(), data: self.data, capacity: self.capacity }
    }

    /// Shows the reader what was put; returns whom to wake.
    pub(crate) fn publish(&mut self, tail: u64, next_seq: u64) -> Wake {
        (self.tail, self.next_seq) = (tail, next_seq);
        let early = seeded(Fault::FeedLooksFirst).then(|| self.sleeper(tail));
        // ORDER(publish): Relaxed; the next store orders it.
        self.memory.store(ring_word::NEXT_SEQ, low32(next_seq), Ordering::Relaxed);
        // ORDER(publish): Release. A reader that loads this tail sees the records before it. Pairs
        // with `Walk::refresh`.
        self.memory.store(ring_word::TAIL, low32(tail), Ordering::Release);
        // ORDER(sleep): SeqCst. Either this sees `waiting`, or the reader sees this tail. Pairs
        // with the fence in `Reader::prepare_sleep`.
        self.memory.fence(Ordering::SeqCst);
        early.unwrap_or_else(|| self.sleeper(tail))
    }

    /// Finds whether the reader sleeps on another tail than this one.
    fn sleeper(&mut self, tail: u64) -> Wake {
        let reader = Sleeper { words: &self.words, woken: &mut self.woken, index: 0 };
        sleepers(&mut std::iter::once(reader), low32(tail))
    }

    /// Says that no record will follow; returns whom to wake.
    pub(crate) fn close(&mut self, epoch: u64) -> Wake {
        // ORDER(close): Release. Pairs with the reader's load; the tail that moves wakes it.
        self.memory.store(ring_word::STATE, STATE_CLOSED, Ordering::Release);
        let last = Header::padding(KIND_DISCARD, 0, self.next_seq);
        let last = Framing::new(epoch).encode(low32(self.tail), &last);
        self.hand().put(self.tail, &last);
        self.publish(self.tail + 1, self.next_seq)
    }
}

/// What puts records into a ring where nobody looks yet.
pub(crate) struct Hand<M> {
    memory: M,
    data: usize,
    capacity: u32,
}

impl<M: MemoryMut> Hand<M> {
    /// Puts the bytes of whole records at a position.
    pub(crate) fn put(&self, position: u64, bytes: &[u8]) {
        let granule = (low32(position) & (self.capacity - 1)) as usize;
        let to_end = (self.capacity as usize - granule) * GRANULE_BYTES;
        let (front, back) = bytes.split_at(bytes.len().min(to_end));
        self.memory.write(self.data + granule * GRANULE_BYTES, front);
        if !back.is_empty() {
            self.memory.write(self.data, back);
        }
    }
}
