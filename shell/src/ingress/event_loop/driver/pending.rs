//! Wakes that add up to one: what those who wake an event loop agree on with it.

use std::sync::atomic::Ordering;

use crate::sync::Flag;

/// Whether a wake is on its way that the loop has not taken.
#[derive(Debug)]
pub(crate) struct Pending(Flag);

impl Pending {
    pub(crate) fn new() -> Self {
        Self(Flag::new(false))
    }

    /// Calls `write`, which ends the wait of the loop or its next one, unless a wake is on its way
    /// already. What was stored before is seen after [`Self::taken`].
    pub(crate) fn wake(&self, write: impl FnOnce()) {
        // ORDER(wake): AcqRel. The loop clears the flag and then looks at its mailbox; whoever
        // finds the flag set knows that it has yet to look. Pairs with `taken`.
        if !self.0.swap(true, Ordering::AcqRel) {
            write();
        }
    }

    /// Takes the wakes so far. `read` takes back all that was written.
    ///
    /// It comes first: between a cleared flag and a read, a wake would find the flag cleared, set
    /// it and write what is then read away. The flag would stay set without anything that ends a
    /// wait, and nobody would ever write again.
    pub(crate) fn taken(&self, read: impl FnOnce()) {
        read();
        // ORDER(wake): AcqRel. See `wake`.
        self.0.swap(false, Ordering::AcqRel);
    }
}
