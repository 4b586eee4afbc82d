//! What the party with the token does: makes records of finished claims, publishes them, and makes
//! room for others.

use core::sync::atomic::Ordering;

use super::backend::{Backend, Word};
use super::claims::{POSITION, Token};
use super::{Commit, GIVEN_UP, Inner, SharedProducer, distance_low, low};
use crate::geometry::{granules_for, padding_payload_bytes};
use crate::layout::{KIND_DISCARD, KIND_PAD};
use crate::memory::MemoryMut;
use crate::producer::{Producer, Wake};
use crate::record::Meta;

/// To whom the holder of the token can report the outcome.
#[derive(Clone, Copy)]
pub(super) enum Audience {
    /// Nobody; the readers to wake are kept for the next call that can return them.
    Nobody,
    /// Its caller, which gets the readers to wake.
    Caller,
    /// Its caller, which also gets the sequence number of the record of this ticket.
    Claimant(u32),
}

impl<M, C, B, const CLAIMS: usize, const READERS: usize> SharedProducer<M, C, B, CLAIMS, READERS>
where
    M: MemoryMut + Clone,
    C: MemoryMut,
    B: Backend,
{
    /// Publishes every finished claim up to the first unfinished one, and leaves the token there.
    pub(super) fn run<'s>(
        &'s self,
        mut token: Token<'s, B, Inner<M, C, READERS>, CLAIMS>,
        audience: Audience,
    ) -> Commit {
        let commit = self.publish_finished(&mut token, audience);
        commit.and(self.leave(token, audience))
    }

    /// Leaves the token, after doing what must be done before it can be left.
    #[inline]
    pub(super) fn leave<'s>(
        &'s self,
        mut token: Token<'s, B, Inner<M, C, READERS>, CLAIMS>,
        audience: Audience,
    ) -> Commit {
        let mut commit = Commit::NOTHING;
        loop {
            let Some(again) = token.leave().or_else(|| self.take_request()) else { return commit };
            token = again;
            commit = commit.and(self.publish_finished(&mut token, audience));
        }
    }

    /// Takes the token again, if a party wanted room while another held it, and makes the room.
    #[inline]
    fn take_request(&self) -> Option<Token<'_, B, Inner<M, C, READERS>, CLAIMS>> {
        // ORDER(none): a request that is seen too late, or overwritten, is made again.
        let wanted = self.wanted.load(Ordering::Relaxed);
        if wanted == 0 {
            return None;
        }
        let mut token = self.claims.pick_up()?;
        // ORDER(none): as above.
        self.wanted.store(0, Ordering::Relaxed);
        token.with(|inner| self.extend(&mut inner.producer, wanted & POSITION));
        Some(token)
    }

    /// Makes records of the finished claims and publishes them.
    fn publish_finished(
        &self,
        token: &mut Token<'_, B, Inner<M, C, READERS>, CLAIMS>,
        audience: Audience,
    ) -> Commit {
        let mut commit = Commit::NOTHING;
        // ORDER(oldest): Release. An observer that copies a header written here sees every `oldest`
        // stored before. We may use room that another party made, whose own fence comes after its
        // `oldest` and not before our bytes. Pairs with the fence in `Walk::copy_was_live`.
        self.ring.fence(Ordering::Release);
        let mut collect = |inner: &mut Inner<M, C, READERS>, ticket, end| {
            let number = self.collect(&mut inner.producer, ticket, end);
            if matches!(audience, Audience::Claimant(mine) if mine == ticket) {
                commit.seq = number;
            }
        };
        while token.pass_finished(&mut collect).is_some() {}
        token.with(|inner| {
            let wake = inner.producer.publish();
            if !matches!(audience, Audience::Nobody) {
                commit.wake = wake.and(self.take_pending_wake(inner));
            } else if !wake.is_none() {
                inner.pending_wake = inner.pending_wake.and(wake);
                // ORDER(none): as where it is loaded.
                self.pending.store(1, Ordering::Relaxed);
            }
        });
        commit
    }

    /// Returns the readers to wake that no call has returned, for one that will.
    #[inline]
    pub(super) fn take_pending_wake(&self, inner: &mut Inner<M, C, READERS>) -> Wake {
        let wake = core::mem::take(&mut inner.pending_wake);
        if !wake.is_none() {
            // ORDER(none): as where it is loaded.
            self.pending.store(0, Ordering::Relaxed);
        }
        wake
    }

    /// Makes records of one finished claim. Returns its sequence number, unless it is a padding
    /// record.
    fn collect(
        &self,
        producer: &mut Producer<M, C, READERS>,
        ticket: u32,
        end: u32,
    ) -> Option<u64> {
        let mut granules = distance_low(low(producer.head()), end);
        let room = self.geometry.room_to_end(producer.head());
        if granules > room {
            producer.write_padding(KIND_PAD, padding_payload_bytes(room));
            granules -= room;
        }
        let note = self.note(ticket);
        // ORDER(commit): Relaxed; the Acquire of the slot orders it.
        let word = |word: &B::Word| word.load(Ordering::Relaxed);
        let len = word(&note.len);
        let number = (len != GIVEN_UP).then(|| {
            let timestamp_ns =
                u64::from(word(&note.timestamp_high)) << 32 | u64::from(word(&note.timestamp_low));
            let form = word(&note.form);
            #[allow(clippy::cast_possible_truncation, reason = "stored from a u16 and a u8")]
            let (type_tag, units) = (form as u16, (form >> 16) as u8);
            granules -= granules_for(len);
            let meta = Meta { type_tag, timestamp_ns };
            producer.commit_at_head(meta, word(&note.crc), len as usize, units)
        });
        if granules > 0 {
            producer.write_padding(KIND_DISCARD, padding_payload_bytes(granules));
        }
        number
    }

    /// Moves the limit of claims to `end` or further, if readers allow it, and returns it.
    pub(super) fn extend(&self, producer: &mut Producer<M, C, READERS>, end: u32) -> u32 {
        let limit = low(producer.extend(u64::from(distance_low(low(producer.head()), end))));
        // ORDER(limit): Release. Claims up to there come after what readers did with those bytes,
        // and after `oldest`. Pairs with `place`.
        self.limit.store(limit, Ordering::Release);
        limit
    }
}
