//! Private state under loom: the words and the cell that
//! [`SharedProducer`](aqueduct_core::shared::SharedProducer) is made of.
//!
//! A cell makes loom report two parties that have the token and that nothing orders. A word knows
//! its role, so that a model can spoil the orderings of one role and demand to be refused. Only
//! meaningful inside a loom model.

use std::cell::RefCell;
use std::sync::atomic::Ordering;

use aqueduct_core::shared::{Backend, Cell, Word};
use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicU32;

use crate::trace::trace;

/// What a word is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Where claims may end.
    Limit,
    /// Where a claim wanted to end.
    Wanted,
    /// Whether there is somebody to wake.
    Untold,
    /// Where pushes last met.
    Met,
    /// Ticket of the oldest claim that is not published.
    Published,
    /// A slot of the claim table.
    Slot,
    /// What the header of a claim's record will say.
    Note,
}

/// How a word is accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `load`.
    Load,
    /// `store`.
    Store,
    /// `compare_exchange` that succeeds and was to be an acquire and a release: a slot is taken.
    Take,
    /// One that was to be an acquire: the token is picked up.
    PickUp,
    /// `compare_exchange` that fails.
    Refused,
    /// `fetch_or` that was to be an acquire and a release: a claim is finished.
    Finish,
    /// Any other: the token is left.
    Leave,
}

/// Accesses of this kind to words of this role are made with this ordering instead of their own.
pub type Spoilt = (Role, Access, Ordering);

/// Words per slot: itself and five of its note.
const SLOT_WORDS: usize = 6;
/// Words before the slots: one each of the first five roles.
const FIRST_WORDS: usize = 5;

thread_local! {
    /// Words made in this run, slots, and what is spoilt. loom runs all threads of a model on one
    /// thread of the system.
    static RUN: RefCell<(usize, usize, &'static [Spoilt])> = const { RefCell::new((0, 0, &[])) };
}

/// The words that `make` makes get their roles, in the order in which `SharedProducer::new` makes
/// them, and spoilt orderings; `claims` is the size of its table.
///
/// # Panics
/// If there are more or fewer words than such a producer has: the roles would be wrong.
pub fn with_roles<T>(claims: usize, spoilt: &'static [Spoilt], make: impl FnOnce() -> T) -> T {
    with_words(0, FIRST_WORDS + SLOT_WORDS * claims, claims, spoilt, make)
}

/// As [`with_roles`], for a bare `Claims`.
///
/// # Panics
/// As there.
pub fn with_roles_of_claims<T>(
    claims: usize,
    spoilt: &'static [Spoilt],
    make: impl FnOnce() -> T,
) -> T {
    with_words(FIRST_WORDS - 1, FIRST_WORDS + claims, claims, spoilt, make)
}

fn with_words<T>(
    first: usize,
    end: usize,
    claims: usize,
    spoilt: &'static [Spoilt],
    make: impl FnOnce() -> T,
) -> T {
    RUN.set((first, claims, spoilt));
    let value = make();
    let words = RUN.with_borrow(|run| run.0);
    assert_eq!(words, end, "the words that were made are others than this module thinks");
    value
}

const fn role_of(index: usize, claims: usize) -> Role {
    match index {
        0 => Role::Limit,
        1 => Role::Wanted,
        2 => Role::Untold,
        3 => Role::Met,
        4 => Role::Published,
        _ if index < FIRST_WORDS + claims => Role::Slot,
        _ => Role::Note,
    }
}

/// loom's atomics and cells.
pub struct Loom;

impl Backend for Loom {
    type Word = LoomWord;
    type Cell<T> = LoomCell<T>;
}

/// One loom atomic.
pub struct LoomWord {
    word: AtomicU32,
    role: Role,
    spoilt: &'static [Spoilt],
}

impl LoomWord {
    fn order(&self, access: Access, order: Ordering) -> Ordering {
        self.spoilt
            .iter()
            .find(|spoilt| (spoilt.0, spoilt.1) == (self.role, access))
            .map_or(order, |spoilt| spoilt.2)
    }
}

// SAFETY: it is one loom atomic, behind a private field.
unsafe impl Word for LoomWord {
    fn new(value: u32) -> Self {
        let (index, claims, spoilt) = RUN.with_borrow_mut(|run| {
            run.0 += 1;
            (run.0 - 1, run.1, run.2)
        });
        Self { word: AtomicU32::new(value), role: role_of(index, claims), spoilt }
    }

    fn load(&self, order: Ordering) -> u32 {
        let value = self.word.load(self.order(Access::Load, order));
        trace(|| format!("load {:?} -> {value:#x}", self.role));
        value
    }

    fn store(&self, value: u32, order: Ordering) {
        trace(|| format!("store {:?} = {value:#x}", self.role));
        self.word.store(value, self.order(Access::Store, order));
    }

    fn compare_exchange(
        &self,
        current: u32,
        new: u32,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u32, u32> {
        let access = if success == Ordering::AcqRel { Access::Take } else { Access::PickUp };
        let (success, failure) =
            (self.order(access, success), self.order(Access::Refused, failure));
        let outcome = self.word.compare_exchange(current, new, success, failure);
        trace(|| format!("exchange {:?} {current:#x} for {new:#x}: {outcome:x?}", self.role));
        outcome
    }

    fn fetch_or(&self, bits: u32, order: Ordering) -> u32 {
        let access = if order == Ordering::AcqRel { Access::Finish } else { Access::Leave };
        let before = self.word.fetch_or(bits, self.order(access, order));
        trace(|| format!("set {bits:#x} of {:?}, which was {before:#x}", self.role));
        before
    }
}

/// One loom cell: an entry that is not ordered after the last one fails the model.
pub struct LoomCell<T>(UnsafeCell<T>);

// SAFETY: loom runs one thread at a time and reports unordered accesses before it makes them; the
// cell is reached by `with` only.
unsafe impl<T> Sync for LoomCell<T> {}

// SAFETY: the field is private; `with` and `into_inner` are the only ways to the value.
unsafe impl<T> Cell<T> for LoomCell<T> {
    fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    unsafe fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        self.0.with_mut(|value| {
            // SAFETY: loom has just checked that no other access is under way or unordered with
            // this one; the pointer is its own.
            work(unsafe { &mut *value })
        })
    }

    fn into_inner(self) -> T {
        self.0.into_inner()
    }
}
