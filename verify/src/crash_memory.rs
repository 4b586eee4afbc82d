//! Memory that survives its writer: a [`Fuse`] kills one party before its (k+1)-th store, for every
//! k that a test likes.
//!
//! A store is one control word or one machine word of data. The party dies by unwinding with
//! [`Killed`], which [`survive`] catches; stores of its destructors on the way are dropped, as
//! those of a dead process. [`Fuse::lose_unordered`] then takes back stores that no release orders
//! before what is visible: what a compiler or a processor may have left undone. One thread.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::Ordering;

use aqueduct_core::layout::CONTROL_BYTES;
use aqueduct_core::memory::Span;
use aqueduct_core::{Memory, MemoryMut};

use crate::rng::Rng;

/// Bytes that several parties share. Clones are the same bytes.
#[derive(Clone)]
pub struct Bytes(Rc<RefCell<Vec<u8>>>);

impl Bytes {
    /// All zero.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self(Rc::new(RefCell::new(vec![0; size])))
    }

    /// Other bytes with the same content.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(Rc::new(RefCell::new(self.0.borrow().clone())))
    }

    /// The view of a party that lives for ever.
    #[must_use]
    pub fn immortal(&self) -> CrashMemory {
        CrashMemory { bytes: self.clone(), fuse: None }
    }

    /// The view of the party that this fuse kills.
    #[must_use]
    pub fn mortal(&self, fuse: &Rc<Fuse>) -> CrashMemory {
        CrashMemory { bytes: self.clone(), fuse: Some(fuse.clone()) }
    }

    /// The control word at this offset.
    #[must_use]
    pub fn word(&self, at: usize) -> u32 {
        let bytes = self.0.borrow();
        u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    }

    /// Changes one byte by exclusive or.
    pub fn flip(&self, at: usize, mask: u8) {
        self.0.borrow_mut()[at] ^= mask;
    }

    fn replace(&self, at: usize, new: &[u8]) -> Vec<u8> {
        let place = &mut self.0.borrow_mut()[at..at + new.len()];
        let old = place.to_vec();
        place.copy_from_slice(new);
        old
    }
}

/// What a killed party unwinds with.
pub struct Killed;

/// Does `work` until it ends (`Some`) or its fuse burns through (`None`). Other panics go on.
pub fn survive<R>(work: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => Some(done),
        Err(panic) if panic.is::<Killed>() => None,
        Err(panic) => resume_unwind(panic),
    }
}

/// One store that was made.
struct Made {
    bytes: Bytes,
    at: usize,
    old: Vec<u8>,
    new: Vec<u8>,
    /// Whether it was a release store.
    release: bool,
    /// Release fences before it.
    fences: u64,
}

/// Kills a party after a number of stores, over all memory it writes.
pub struct Fuse {
    stores: Cell<u64>,
    /// Bytes of data that one store moves.
    word_bytes: usize,
    made: Cell<u64>,
    fences: Cell<u64>,
    dead: Cell<bool>,
    /// The latest stores.
    log: RefCell<Vec<Made>>,
}

/// Stores that may still be on their way, at most.
const WINDOW: usize = 24;

impl Fuse {
    /// Burns through after `stores` stores; data moves in words of 4 or 8 bytes.
    #[must_use]
    pub fn new(stores: u64, word_bytes: usize) -> Rc<Self> {
        let (made, fences, dead, log) =
            (Cell::new(0), Cell::new(0), Cell::new(false), RefCell::default());
        Rc::new(Self { stores: Cell::new(stores), word_bytes, made, fences, dead, log })
    }

    /// Stores made so far.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.made.get()
    }

    /// Whether the party is dead.
    #[must_use]
    pub fn dead(&self) -> bool {
        self.dead.get()
    }

    /// Burns through after `stores` more stores. What was stored before is history.
    pub fn arm(&self, stores: u64) {
        self.made.set(0);
        self.stores.set(stores);
        self.settle();
    }

    /// From now on the party lives for ever.
    pub fn disarm(&self) {
        self.stores.set(u64::MAX);
    }

    /// Another party looked: what it may have seen has been made and stays.
    pub fn settle(&self) {
        self.log.borrow_mut().clear();
    }

    /// Takes back a random set of the last stores, as far as the orderings allow: a store goes if
    /// one goes that a release orders before it. Gives how many.
    pub fn lose_unordered(&self, rng: &mut Rng) -> usize {
        let log = self.log.replace(Vec::new());
        for made in log.iter().rev() {
            made.bytes.replace(made.at, &made.old);
        }
        // Release fences before the earliest store that is gone.
        let mut first_lost = None;
        let mut lost = 0;
        for made in &log {
            let ordered = first_lost.is_some_and(|fences| made.release || made.fences > fences);
            if ordered || rng.once_in(3) {
                first_lost = first_lost.or(Some(made.fences));
                lost += 1;
            } else {
                made.bytes.replace(made.at, &made.new);
            }
        }
        lost
    }

    fn store(&self, bytes: &Bytes, at: usize, new: &[u8], release: bool) {
        if self.dead.get() {
            return;
        }
        if self.made.get() == self.stores.get() {
            self.dead.set(true);
            resume_unwind(Box::new(Killed));
        }
        self.made.set(self.made.get() + 1);
        let old = bytes.replace(at, new);
        let mut log = self.log.borrow_mut();
        if log.len() == WINDOW {
            log.remove(0);
        }
        log.push(Made {
            bytes: bytes.clone(),
            at,
            old,
            new: new.to_vec(),
            release,
            fences: self.fences.get(),
        });
    }
}

/// A segment as one party sees it.
#[derive(Clone)]
pub struct CrashMemory {
    bytes: Bytes,
    fuse: Option<Rc<Fuse>>,
}

const fn releases(order: Ordering) -> bool {
    matches!(order, Ordering::Release | Ordering::AcqRel | Ordering::SeqCst)
}

impl Memory for CrashMemory {
    fn size(&self) -> usize {
        self.bytes.0.borrow().len()
    }

    fn load(&self, at: usize, _: Ordering) -> u32 {
        assert!(at.is_multiple_of(4), "control word at {at}");
        self.bytes.word(at)
    }

    fn read(&self, at: usize, into: &mut [u8]) {
        into.copy_from_slice(&self.bytes.0.borrow()[at..at + into.len()]);
    }

    /// Every store is one at which the party may die.
    fn span(&self, _: usize, _: usize) -> Option<Span<'_>> {
        None
    }

    fn fence(&self, order: Ordering) {
        if let (Some(fuse), true) = (&self.fuse, releases(order)) {
            fuse.fences.set(fuse.fences.get() + 1);
        }
    }
}

impl MemoryMut for CrashMemory {
    fn store(&self, at: usize, value: u32, order: Ordering) {
        assert!(at.is_multiple_of(4), "control word at {at}");
        match &self.fuse {
            Some(fuse) => fuse.store(&self.bytes, at, &value.to_le_bytes(), releases(order)),
            None => drop(self.bytes.replace(at, &value.to_le_bytes())),
        }
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        assert!(at.is_multiple_of(8), "data at {at}");
        // Control bytes are always stored by fours, as in `Region`.
        let fuse_bytes = self.fuse.as_ref().map_or(8, |fuse| fuse.word_bytes);
        let word_bytes = if at < CONTROL_BYTES { 4 } else { fuse_bytes };
        // Filled up with zeros, as the trait asks.
        let mut filled = bytes.to_vec();
        filled.resize(bytes.len().next_multiple_of(8), 0);
        for (index, word) in filled.chunks(word_bytes).enumerate() {
            let at = at + index * word_bytes;
            match &self.fuse {
                Some(fuse) => fuse.store(&self.bytes, at, word, false),
                None => drop(self.bytes.replace(at, word)),
            }
        }
    }
}
