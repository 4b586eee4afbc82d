//! Where a claim gets its slot and its room, and what is done with them.

use core::sync::atomic::Ordering;

use super::backend::{Backend, Word};
use super::claims::{Ahead, Free, POSITION};
use super::publishing::Audience;
use super::{Commit, Inner, Note, Open, SharedGrant, SharedProducer, WANTED, distance_low};
use crate::geometry::{granules_for, padding_payload_bytes};
use crate::layout::KIND_PAD;
use crate::memory::MemoryMut;
use crate::producer::{ClaimError, Filling};
use crate::record::Meta;

/// How often a claim that finds no room, while another party is publishing, asks again before it
/// gives up.
const ATTEMPTS: u32 = 1;

/// Low bits of `met`: the logarithm of how many spin hints the last pause had.
const STEP_BITS: u32 = 4;
const STEP_MASK: u32 = (1 << STEP_BITS) - 1;

/// A claim that has its room.
pub(super) struct Placed<H> {
    pub(super) held: H,
    /// Where the claim before it ends, low bits.
    pub(super) head: u32,
    /// Granules of PAD before the record.
    pub(super) pad: u32,
}

/// Returns the word `met` after pushes met at this ticket: a step longer if few records came since
/// the last time, otherwise a step shorter. A pause of 2^n hints is about as long as 2^n records
/// take.
const fn meet(met: u32, ticket: u32, longest: u32) -> u32 {
    let (step, ticket) = (met & STEP_MASK, ticket << STEP_BITS);
    let records = ticket.wrapping_sub(met & !STEP_MASK) >> STEP_BITS;
    let few = records < 4 << step;
    ticket | if few && step < longest { step + 1 } else { step.saturating_sub(!few as u32) }
}

impl<M, C, B, const CLAIMS: usize, const READERS: usize> SharedProducer<M, C, B, CLAIMS, READERS>
where
    M: MemoryMut + Clone,
    C: MemoryMut,
    B: Backend,
{
    pub(super) const fn note(&self, ticket: u32) -> &Note<B::Word> {
        &self.notes[ticket as usize % CLAIMS]
    }

    /// Takes the next slot with room for a payload, by `take`, which gets the end of the claim.
    #[inline]
    pub(super) fn place<'s, H>(
        &'s self,
        payload_bytes: usize,
        take: impl Fn(Free<'s, B, Inner<M, C, READERS>, CLAIMS>, u32) -> Option<H>,
    ) -> Result<Placed<H>, ClaimError> {
        let limit = self.geometry.max_payload();
        let len = u32::try_from(payload_bytes).ok().filter(|&len| len <= limit);
        let granules =
            granules_for(len.ok_or(ClaimError::TooLarge { bytes: payload_bytes, limit })?);
        if self.closed {
            return Err(ClaimError::Closed);
        }
        let (mut room_made, mut attempts) = (None, 0);
        loop {
            let free = self.claims.find().map_err(|in_flight| ClaimError::Busy { in_flight })?;
            let head = free.head();
            let room = self.geometry.room_to_end(u64::from(head));
            let pad = if granules > room { room } else { 0 };
            let end = head.wrapping_add(pad + granules) & POSITION;
            // ORDER(limit): Acquire. What readers did with the bytes up to there, and `oldest`
            // moved past them, comes before we write there. Pairs with `extend`.
            let limit = self.limit.load(Ordering::Acquire);
            let free_granules = distance_low(head, limit);
            let free_granules =
                if free_granules > self.geometry.capacity() { 0 } else { free_granules };
            if pad + granules > free_granules {
                // Room was made for this very head. An old one seems to have more room up to the
                // same limit, never less; to a later limit it means nothing.
                if room_made == Some((head, limit)) {
                    return Err(ClaimError::Full { needed: pad + granules, free: free_granules });
                }
                room_made = self.request_room(end).map(|limit| (head, limit));
                if room_made.is_some() {
                    continue;
                }
                if attempts < ATTEMPTS {
                    attempts += 1;
                } else {
                    return Err(ClaimError::Busy { in_flight: free.in_flight() });
                }
                continue;
            }
            let Some(taken) = take(free, end) else { continue };
            // ORDER(oldest): Release. An observer that copies one of our bytes sees `oldest` past
            // what stood there before. Pairs with the fence in `Walk::copy_was_live`; the `oldest`
            // came to us by `limit`.
            self.ring.fence(Ordering::Release);
            return Ok(Placed { held: taken, head, pad });
        }
    }

    pub(super) fn grant<'s>(
        &'s self,
        claim: Open<'s, M, C, B, CLAIMS, READERS>,
        start: u32,
        payload_bytes: usize,
    ) -> SharedGrant<'s, M, C, B, CLAIMS, READERS> {
        let filling = Filling::new(
            self.geometry.offset_of(u64::from(start)),
            payload_bytes,
            self.crc.clone(),
        );
        SharedGrant { shared: self, state: Some((claim, filling)) }
    }

    /// Writes a whole record as the holder of the token, after everything else that was claimed.
    #[inline]
    pub(super) fn append<'s>(
        &'s self,
        ahead: Ahead<'s, B, Inner<M, C, READERS>, CLAIMS>,
        pad: u32,
        meta: Meta,
        payload: &[u8],
    ) -> Commit {
        let (commit, token) = ahead.pass(|inner| {
            if pad > 0 {
                inner.producer.write_padding(KIND_PAD, padding_payload_bytes(pad));
            }
            let seq = inner.producer.append_at_head(meta, payload);
            let wake = inner.producer.publish();
            Commit { seq: Some(seq), wake: wake.and(self.take_pending_wake(inner)) }
        });
        commit.and(self.leave(token, Audience::Caller))
    }

    /// Finishes a claim: publishes it and what is finished after it, or leaves that to another
    /// party.
    pub(super) fn finish<'s>(
        &'s self,
        claim: Open<'s, M, C, B, CLAIMS, READERS>,
        audience: Audience,
    ) -> Commit {
        match (claim.finish(), audience) {
            (Some(token), _) => self.run(token, audience),
            // What others kept must be returned even if the claim before this one is never
            // finished.
            // ORDER(none): a call that comes after the one that kept it sees it.
            (None, Audience::Caller | Audience::Claimant(_))
                if self.pending.load(Ordering::Relaxed) != 0 =>
            {
                self.claims.pick_up().map_or(Commit::NOTHING, |token| self.run(token, audience))
            }
            (None, _) => Commit::NOTHING,
        }
    }

    /// Pauses after a push that left its record to a party that is publishing.
    #[inline]
    pub(super) fn pause_after(&self, ticket: u32, commit: Commit) {
        if B::PAUSES > 0 && commit.seq.is_none() && self.claims.is_token_held() {
            self.backoff(ticket);
        }
    }

    /// Pauses, because another party has the lines of the ring in its cache: taking them away for
    /// the next record at once costs both more than it gains. The fewer records came between two
    /// such meetings, the longer: threads that only meet now and then lose no time.
    #[cold]
    fn backoff(&self, ticket: u32) {
        // ORDER(none): a guess.
        let met = meet(self.met.load(Ordering::Relaxed), ticket, B::PAUSES.ilog2());
        // ORDER(none): a guess.
        self.met.store(met, Ordering::Relaxed);
        (0..1 << (met & STEP_MASK)).for_each(|_| core::hint::spin_loop());
    }

    /// Makes room for a claim that wants to end there. Returns the limit, if this party could.
    #[cold]
    fn request_room(&self, end: u32) -> Option<u32> {
        let Some(mut token) = self.claims.pick_up() else {
            // ORDER(none): who has the token looks for it when that is left. It may look too early;
            // the claim fails with `Busy` and is tried again.
            self.wanted.store(WANTED | end, Ordering::Relaxed);
            return None;
        };
        let limit = token.with(|inner| self.extend(&mut inner.producer, end));
        let _kept = self.leave(token, Audience::Nobody);
        Some(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes_that_meet_often_pause_longer_up_to_a_bound_and_those_that_seldom_meet_less() {
        for ticket in [0, 5, u32::MAX >> STEP_BITS, u32::MAX - 1] {
            for step in 0..=9 {
                let met = ticket << STEP_BITS | step;
                for (records, next) in [
                    (0, step + 1),
                    (1, step + 1),
                    ((4 << step) - 1, step + 1),
                    (4 << step, step.saturating_sub(1)),
                ] {
                    let ticket = ticket.wrapping_add(records);
                    assert_eq!(
                        meet(met, ticket, 9),
                        ticket << STEP_BITS | next.min(9),
                        "{records} records after {met:#x}"
                    );
                }
            }
        }
        let saturated = (0..20).fold(0, |met, meeting| meet(met, meeting * 2, 9));
        assert_eq!(saturated & STEP_MASK, 9);
        let calm = (0..20).fold(saturated, |met, meeting| meet(met, 1000 + meeting * 5000, 9));
        assert_eq!(calm & STEP_MASK, 0);
    }
}
