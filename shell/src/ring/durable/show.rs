//! Publication of what was kept back: readers see it, and those who sleep are found.

use std::sync::atomic::Ordering;

use aqueduct_core::layout::{WAITING_FUTEX, WAITING_MODE_MASK, WAITING_SOCKET, cursor_word};
use aqueduct_core::{Memory, MemoryMut, Wake};

use crate::ring::memory::RingMemory;
use crate::sync::{Fault, seeded};

/// A reader, as publication sees it.
pub(crate) struct Sleeper<'a, W> {
    /// Its cursor segment.
    pub(crate) words: &'a W,
    /// The sleep from which it was woken last.
    pub(crate) woken: &'a mut u32,
    /// Place of its subscription.
    pub(crate) index: usize,
}

/// Publishes up to a record boundary, where the record `next_seq` will be, and releases what the
/// journal's own `cursor` held. Returns whom to wake.
pub(crate) fn publish<'a, M: MemoryMut, W: Memory + 'a>(
    memory: &RingMemory<M>,
    cursor: &impl MemoryMut,
    (tail, next_seq): (u32, u64),
    mut readers: impl Iterator<Item = Sleeper<'a, W>>,
) -> Wake {
    let early = seeded(Fault::LooksBeforePublishing).then(|| sleepers(&mut readers, tail));
    memory.publish(tail, next_seq);
    // ORDER(release): Release, as a reader's. The bytes before it were copied by now.
    cursor.store(cursor_word::CURSOR, tail, Ordering::Release);
    early.unwrap_or_else(|| sleepers(&mut readers, tail))
}

/// Finds the readers that sleep on another tail than this one and were not woken from that yet:
/// what the core does when it publishes, for a tail that it does not know. To be called after the
/// tail was stored and a fence.
pub(crate) fn sleepers<'a, W: Memory + 'a>(
    readers: &mut impl Iterator<Item = Sleeper<'a, W>>,
    tail: u32,
) -> Wake {
    let mut wake = Wake::NONE;
    for reader in readers {
        // ORDER(sleep): Relaxed; the SeqCst fence of the publication orders it after that.
        let waiting = reader.words.load(cursor_word::WAITING, Ordering::Relaxed);
        if waiting == 0 || waiting >> 2 == tail & (u32::MAX >> 2) {
            *reader.woken = 0;
            continue;
        }
        if std::mem::replace(reader.woken, waiting) == waiting {
            continue;
        }
        match waiting & WAITING_MODE_MASK {
            WAITING_FUTEX => wake.futex = true,
            WAITING_SOCKET => wake.sockets |= 1 << reader.index,
            _ => {}
        }
    }
    wake
}
