//! Room for one record, claimed among others.

use crate::config::Meta;
use crate::error::GrantOverflow;
use crate::gate::Wake;
use crate::grant::Filling;
use crate::region::MemoryMut;
use crate::region::turns::{Backend, Word};
use crate::shared::{COMMITTED, Commit, GIVEN_UP, SharedProducer};
use core::sync::atomic::Ordering;

/// Room for one record, claimed among others. Dropped, it becomes a DISCARD record, and nobody is told whom to wake: see
/// [`abandon`](Self::abandon).
pub struct SharedGrant<'p, M, C, B, const CLAIMS: usize, const READERS: usize>
where
    M: MemoryMut + Clone,
    C: MemoryMut,
    B: Backend,
{
    pub(super) shared: &'p SharedProducer<M, C, B, CLAIMS, READERS>,
    pub(super) ticket: u32,
    /// `None` once committed.
    pub(super) filling: Option<Filling>,
}

impl<M, C, B, const CLAIMS: usize, const READERS: usize> SharedGrant<'_, M, C, B, CLAIMS, READERS>
where
    M: MemoryMut + Clone,
    C: MemoryMut,
    B: Backend,
{
    /// Payload bytes that may still be written.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.filling.as_ref().map_or(0, Filling::remaining)
    }

    /// Appends to the payload.
    ///
    /// # Errors
    /// More bytes than were claimed; nothing of them was taken.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), GrantOverflow> {
        match &mut self.filling {
            Some(filling) => filling.write(&self.shared.ring, bytes),
            None => Err(GrantOverflow { bytes: bytes.len(), remaining: 0 }),
        }
    }

    /// Commits what was written, which may be less than was claimed; what is left over becomes a DISCARD record. Published at once, unless
    /// a record claimed before it is not finished.
    #[allow(clippy::cast_possible_truncation, reason = "the halves of a u64; a length that was claimed as u32")]
    pub fn commit(mut self, meta: Meta) -> Commit {
        let (len, crc) = self.filling.take().map_or((0, 0), |filling| filling.finish(&self.shared.ring));
        let slot = self.shared.slot(self.ticket);
        for (word, value) in [
            (&slot.len, len as u32),
            (&slot.type_tag, u32::from(meta.type_tag)),
            (&slot.timestamp_low, meta.timestamp_ns as u32),
            (&slot.timestamp_high, (meta.timestamp_ns >> 32) as u32),
            (&slot.crc, crc),
        ] {
            // ORDER(commit): Relaxed; the Release of `state` orders it.
            word.store(value, Ordering::Relaxed);
        }
        self.shared.finish(self.ticket, COMMITTED);
        self.shared.drive(Some(self.ticket))
    }

    /// Gives the room up: a DISCARD record takes it, which readers skip. What was claimed and committed after it may be published by that; says
    /// whom to wake.
    pub fn abandon(mut self) -> Wake {
        self.filling = None;
        self.shared.finish(self.ticket, GIVEN_UP);
        self.shared.publish()
    }
}

impl<M, C, B, const CLAIMS: usize, const READERS: usize> Drop for SharedGrant<'_, M, C, B, CLAIMS, READERS>
where
    M: MemoryMut + Clone,
    C: MemoryMut,
    B: Backend,
{
    fn drop(&mut self) {
        if self.filling.is_some() {
            self.shared.finish(self.ticket, GIVEN_UP);
            // Whom to wake is told to the next one who can do it.
            self.shared.turns.run(|inner| {
                self.shared.turn(inner, None);
            });
        }
    }
}
