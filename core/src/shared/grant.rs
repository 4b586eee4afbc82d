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
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

/// Space for one record, claimed among others. Dropping it leaves a DISCARD record and returns no
/// readers to wake: see [`abandon`](Self::abandon).
///
/// ```
/// use aqueduct_core::{AttributeBlock, Meta, Ring};
///
/// let ring = Ring::<1024>::new();
/// let (shared, [_reader]) = ring.split_shared::<8>().expect("nobody has split it");
/// let mut grant = shared.claim(32)?; // the most that it may take
/// grant.write(b"payload")?;
/// assert_eq!(grant.remaining(), 25);
/// let mut room = [0; 16];
/// let block = AttributeBlock::write([("a", &b"b"[..])], &mut room)?;
/// assert_eq!(grant.commit_with(Meta::default(), block)?.seq, Some(0));
///
/// let grant = shared.claim(8)?;
/// let place = grant.payload_ptr().expect("memory of this program");
/// // SAFETY: the 8 bytes that were claimed; nobody else has them.
/// unsafe { place.write_bytes(7, 8) };
/// assert_eq!(grant.commit_filled(Meta::default(), 8, None)?.seq, Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "without a commit there is no record, only a DISCARD"]
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

impl<'p, M, C, B, const CLAIMS: usize, const READERS: usize>
    SharedGrant<'p, M, C, B, CLAIMS, READERS>
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

    /// Returns the address of the payload's place for hardware that fills it: see
    /// [`Grant::payload_ptr`](crate::Grant::payload_ptr).
    #[must_use]
    pub fn payload_ptr(&self) -> Option<NonNull<u8>> {
        self.state.as_ref().and_then(|(_, filling)| filling.place(&self.shared.ring))
    }

    /// Commits the first `len` bytes of the payload's place, filled by something else, with this
    /// CRC or that of what is read back: see [`Grant::commit_filled`](crate::Grant::commit_filled).
    /// Keep such transfers short, because later claims are published after it.
    ///
    /// # Errors
    /// `len` is more than was claimed. It is a DISCARD record then, as of a grant that is dropped.
    pub fn commit_filled(
        mut self,
        meta: Meta,
        len: usize,
        crc: Option<u32>,
    ) -> Result<Commit, GrantOverflow> {
        let Some((claim, filling)) = self.state.take() else { return Ok(Commit::NOTHING) };
        match filling.filled(&self.shared.ring, len, crc, self.shared.crc.clone()) {
            Ok(crc) => Ok(self.note(claim, meta, 0, len, crc)),
            Err(overflow) => {
                let _kept = self.discard(claim, Audience::Nobody);
                Err(overflow)
            }
        }
    }

    fn finish(&mut self, meta: Meta, units: u8) -> Commit {
        let Some((claim, filling)) = self.state.take() else { return Commit::NOTHING };
        let (len, crc) = filling.finish(&self.shared.ring);
        self.note(claim, meta, units, len, crc)
    }

    /// Writes down what the record will be, and finishes the claim.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the halves of a u64; a length that was claimed as u32"
    )]
    fn note(
        &self,
        claim: Open<'p, M, C, B, CLAIMS, READERS>,
        meta: Meta,
        units: u8,
        len: usize,
        crc: u32,
    ) -> Commit {
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
        self.discard(claim, audience)
    }

    fn discard(&self, claim: Open<'p, M, C, B, CLAIMS, READERS>, audience: Audience) -> Commit {
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

impl<M, C, B, const CLAIMS: usize, const READERS: usize> fmt::Write
    for SharedGrant<'_, M, C, B, CLAIMS, READERS>
where
    M: MemoryMut + Clone,
    C: MemoryMut,
    B: Backend,
{
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

impl<M, C, B, const CLAIMS: usize, const READERS: usize> fmt::Debug
    for SharedGrant<'_, M, C, B, CLAIMS, READERS>
where
    M: MemoryMut + Clone,
    C: MemoryMut,
    B: Backend,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedGrant").field("remaining", &self.remaining()).finish_non_exhaustive()
    }
}
