//! Space for one record, claimed among others.

use super::backend::{Backend, Word};
use super::publishing::Audience;
use super::{Commit, GIVEN_UP, Open, SharedProducer};
use crate::attributes::AttributeBlock;
use crate::memory::MemoryMut;
use crate::producer::Filling;
use crate::producer::GrantOverflow;
use crate::producer::Wake;
use crate::record::Meta;
use core::sync::atomic::Ordering;

/// Space for one record, claimed among others. Dropping it leaves a DISCARD record and returns no
/// readers to wake: see [`abandon`](Self::abandon).
pub struct SharedGrant<'p, M, C, B, const CLAIMS: usize, const READERS: usize>
where
    M: MemoryMut + Clone,
    C: MemoryMut,
    B: Backend,
{
    pub(super) shared: &'p SharedProducer<M, C, B, CLAIMS, READERS>,
    /// `None` once it is finished.
    pub(super) state: Option<(Open<'p, M, C, B, CLAIMS, READERS>, Filling)>,
}

impl<M, C, B, const CLAIMS: usize, const READERS: usize> SharedGrant<'_, M, C, B, CLAIMS, READERS>
where
    M: MemoryMut + Clone,
    C: MemoryMut,
    B: Backend,
{
    /// Returns the payload bytes that may still be written.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.state.as_ref().map_or(0, |(_, filling)| filling.remaining())
    }

    /// Appends to the payload.
    ///
    /// # Errors
    /// More bytes than are left of the claim; none of them was taken.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), GrantOverflow> {
        match &mut self.state {
            Some((_, filling)) => filling.write(&self.shared.ring, bytes),
            None => Err(GrantOverflow { bytes: bytes.len(), remaining: 0 }),
        }
    }

    /// Commits what was written, which may be less than was claimed; what is left over becomes a
    /// DISCARD record. Published at once, unless a record claimed before it is not finished.
    pub fn commit(mut self, meta: Meta) -> Commit {
        self.finish(meta, 0)
    }

    /// Does what [`commit`](Self::commit) does with attributes, for which room must be left of the
    /// claim.
    ///
    /// # Errors
    /// The attributes have more bytes than are left; the claim was dropped then.
    pub fn commit_with(
        mut self,
        meta: Meta,
        attributes: AttributeBlock<'_>,
    ) -> Result<Commit, GrantOverflow> {
        self.write(attributes.as_bytes())?;
        Ok(self.finish(meta, attributes.units()))
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "the halves of a u64; a length that was claimed as u32"
    )]
    fn finish(&mut self, meta: Meta, units: u8) -> Commit {
        let Some((claim, filling)) = self.state.take() else { return Commit::NOTHING };
        let (len, crc) = filling.finish(&self.shared.ring);
        let (ticket, note) = (claim.ticket(), self.shared.note(claim.ticket()));
        for (word, value) in [
            (&note.len, len as u32),
            (&note.form, u32::from(units) << 16 | u32::from(meta.type_tag)),
            (&note.timestamp_low, meta.timestamp_ns as u32),
            (&note.timestamp_high, (meta.timestamp_ns >> 32) as u32),
            (&note.crc, crc),
        ] {
            // ORDER(commit): Relaxed; the Release of the slot orders it.
            word.store(value, Ordering::Relaxed);
        }
        self.shared.finish(claim, Audience::Claimant(ticket))
    }

    /// Gives the space up to a DISCARD record, which readers skip. What was claimed and committed
    /// after it may be published by this call, which returns the readers to wake.
    pub fn abandon(mut self) -> Wake {
        self.give_up(Audience::Caller).wake
    }

    fn give_up(&mut self, audience: Audience) -> Commit {
        let Some((claim, _)) = self.state.take() else { return Commit::NOTHING };
        // ORDER(commit): Relaxed; the Release of the slot orders it.
        self.shared.note(claim.ticket()).len.store(GIVEN_UP, Ordering::Relaxed);
        self.shared.finish(claim, audience)
    }
}

impl<M, C, B, const CLAIMS: usize, const READERS: usize> Drop
    for SharedGrant<'_, M, C, B, CLAIMS, READERS>
where
    M: MemoryMut + Clone,
    C: MemoryMut,
    B: Backend,
{
    fn drop(&mut self) {
        // The readers to wake are kept for the next call that can return them.
        let _kept = self.give_up(Audience::Nobody);
    }
}
