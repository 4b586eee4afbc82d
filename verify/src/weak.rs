//! A backend that spoils named orderings and leaves everything else alone.
//!
//! A model that still passes over it proves nothing about that ordering. One side of a ring can be
//! spoilt without the other. It also writes the trace of a run, since every access of a control
//! word passes here.

use std::sync::atomic::Ordering;

use aqueduct_core::memory::Span;
use aqueduct_core::{Memory, MemoryMut};

use crate::loom_memory::LoomMemory;
use crate::trace::trace;

/// What is spoilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakness {
    /// Loads of the control word at this byte offset are Relaxed.
    Load(usize),
    /// Stores of the control word at this byte offset are Relaxed.
    Store(usize),
    /// Fences of the first ordering are made with the second; left out if that is Relaxed.
    Fence(Ordering, Ordering),
}

/// One side's view of a segment.
#[derive(Clone)]
pub struct Weak {
    memory: LoomMemory,
    spoilt: &'static [Weakness],
}

impl Weak {
    /// The same memory as `memory`; `spoilt` is empty for the protocol as it ships.
    #[must_use]
    pub fn new(memory: &LoomMemory, spoilt: &'static [Weakness]) -> Self {
        Self { memory: memory.clone(), spoilt }
    }

    fn order(&self, order: Ordering, weakness: Weakness) -> Ordering {
        if self.spoilt.contains(&weakness) { Ordering::Relaxed } else { order }
    }
}

impl Memory for Weak {
    fn size(&self) -> usize {
        self.memory.size()
    }

    fn load(&self, at: usize, order: Ordering) -> u32 {
        let value = self.memory.load(at, self.order(order, Weakness::Load(at)));
        trace(|| format!("load {at} -> {value:#x}"));
        value
    }

    fn read(&self, at: usize, into: &mut [u8]) {
        self.memory.read(at, into);
    }

    /// As the memory behind it.
    fn span(&self, _: usize, _: usize) -> Option<Span<'_>> {
        None
    }

    fn fence(&self, order: Ordering) {
        let instead = self.spoilt.iter().find_map(|weakness| match *weakness {
            Weakness::Fence(spoilt, instead) if spoilt == order => Some(instead),
            _ => None,
        });
        let order = instead.unwrap_or(order);
        trace(|| format!("fence {order:?}"));
        if order != Ordering::Relaxed {
            self.memory.fence(order);
        }
    }
}

impl MemoryMut for Weak {
    fn store(&self, at: usize, value: u32, order: Ordering) {
        trace(|| format!("store {at} = {value:#x}"));
        self.memory.store(at, value, self.order(order, Weakness::Store(at)));
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        self.memory.write(at, bytes);
    }
}
