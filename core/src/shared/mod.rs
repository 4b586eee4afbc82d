//! Many producers in one process: threads, or an interrupt handler and the main loop.
//!
//! A claim is one compare-and-swap; payloads are filled in parallel; records appear in the order of
//! their claims. The state is private to the process: the shared bytes are those of a single
//! [`Producer`], which one party at a time drives: the one that has the turn. Nobody ever has to
//! wait for anybody:
//!
//! 1. **claim**: ticket `t` is taken by setting slot `t % CLAIMS` from "free for `t`" to "taken,
//!    ends at e". The tickets that are taken follow one another, so the next one is found from the
//!    oldest unpublished on.
//! 2. **commit**: the slot says that it is finished. If the turn rests there, whoever finishes has
//!    it now, and publishes every finished slot in the order of tickets, up to the first that is
//!    not finished; there the turn rests again. If it does not rest there, somebody has it who is
//!    on the way to this slot, or it waits on an earlier one.
//!
//! [`push`](SharedProducer::push) does both at once if nothing is in flight: it takes slot and turn
//! by one exchange, writes what the single producer would write, and leaves the turn by another.
//! Threads that push at the same time would take these words and the producer's state from each
//! other for every record; so a push that leaves its record to a party that is publishing pauses
//! behind that ([`Backend::PAUSES`], none on bare metal), and the other goes on alone.
//!
//! **A producer that stops** between claim and commit delays the publication of everything claimed
//! after it, for as long as it stops; one that is dropped, also by a panic, leaves a DISCARD record
//! and delays nobody. Records claimed before it are published as usual. When `CLAIMS` claims wait
//! behind it, or the ring is full, further claims fail with [`ClaimError::Busy`] or
//! [`ClaimError::Full`]. The owner sees it with [`SharedProducer::unfinished`]. A party that stops
//! while it publishes (it was preempted; a push copies its payload then) delays publication until
//! it goes on; what others commit meanwhile is published by it.
//!
//! **Wake-ups**: whoever is inside publishes what others committed, so nearly every call says whom
//! to wake: [`Commit`], [`Outcome`] and the [`Wake`] of [`abandon`](SharedGrant::abandon) and
//! [`publish`](SharedProducer::publish). Two cannot: a grant that is dropped, and a claim that
//! fails. What they publish is kept for the next call that can; after them call `publish`, unless
//! [`want_space`](SharedProducer::want_space) or another claim comes next.

mod grant;
mod owner;
#[allow(unsafe_code, reason = "a value that one party at a time enters; each block has its proof")]
pub(crate) mod turns;

pub use grant::SharedGrant;
pub use owner::{Contended, Outcome};
pub use turns::{Backend, Cell, Native, NativeCell, Word};

use core::fmt;
use core::sync::atomic::Ordering;

use self::turns::{Ahead, Claim, Held, POSITION, Turn, Turns};
use crate::crc::Crc;
use crate::error::ClaimError;
use crate::geometry::{Geometry, granules_for, padding_payload_bytes};
use crate::layout::{KIND_DISCARD, KIND_PAD};
use crate::memory::MemoryMut;
use crate::producer::Filling;
use crate::producer::Producer;
use crate::producer::Wake;
use crate::record::Meta;

/// How often a claim that finds no room, and another party publishing, asks again before it gives
/// up.
const ATTEMPTS: u32 = 1;

/// Low bits of `met`: the logarithm of how many spin hints the last pause had.
const STEP_BITS: u32 = 4;
const STEP_MASK: u32 = (1 << STEP_BITS) - 1;

/// In `wanted`: somebody wants room.
const WANTED: u32 = 1 << 31;

/// Instead of a payload's length: the claim was given up.
const GIVEN_UP: u32 = u32::MAX;

/// What the header of a claim's record will say. Written by the claimant before it finishes, read
/// by who has the turn.
struct Note<W> {
    /// Or [`GIVEN_UP`].
    len: W,
    type_tag: W,
    timestamp_low: W,
    timestamp_high: W,
    crc: W,
}

/// What one party at a time drives.
struct Inner<M, C, const READERS: usize> {
    producer: Producer<M, C, READERS>,
    /// Readers to wake that nobody was told of yet.
    wake: Wake,
}

/// A producer that many may use at once. Each of them needs only `&self`.
///
/// `CLAIMS`: how many may be in flight, a power of two from 2 to 256. Rings of up to 2^28 /
/// `CLAIMS` granules, 2^22 (128 MiB) at most.
pub struct SharedProducer<
    M,
    C = M,
    B: Backend = Native,
    const CLAIMS: usize = 64,
    const READERS: usize = 16,
> {
    ring: M,
    geometry: Geometry,
    /// Of no bytes yet.
    crc: Crc,
    /// It was closed before it was shared: there will be no claim.
    closed: bool,
    /// Claims may end here, low bits. Moved by who has the turn.
    limit: B::Word,
    /// 0, or [`WANTED`] | where a claim wanted to end that found no room while another party had
    /// the turn.
    wanted: B::Word,
    /// 1 if there are readers to wake that nobody was told of. Stored by who has the turn.
    untold: B::Word,
    /// Where pushes last met: the low bits of the ticket, and in [`STEP_BITS`] how long they stood
    /// back.
    met: B::Word,
    turns: Turns<B, Inner<M, C, READERS>, CLAIMS>,
    notes: [Note<B::Word>; CLAIMS],
}

/// What became of a committed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "sleeping readers are woken only by the caller"]
pub struct Commit {
    /// Its number, if this call published it. `None`: another party publishes it, or it waits for a
    /// record claimed before it.
    pub seq: Option<u64>,
    /// Whom to wake.
    pub wake: Wake,
}

impl Commit {
    const NOTHING: Self = Self { seq: None, wake: Wake::NONE };

    /// Both together; of the number, whichever knows it.
    const fn and(self, other: Self) -> Self {
        Self {
            seq: if self.seq.is_some() { self.seq } else { other.seq },
            wake: self.wake.and(other.wake),
        }
    }
}

/// A claim that holds back what was claimed after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Its ticket; the same value again and again means the same claim.
    pub ticket: u32,
    /// Claims in flight, itself included.
    pub in_flight: u32,
}

/// A ring is too large to be shared: the claim table has 29-bit positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareError {
    /// Its capacity.
    pub granules: u32,
    /// The most that so many claims allow.
    pub limit: u32,
}

impl fmt::Display for ShareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a ring of {} granules; shared producers with that many claims take {}",
            self.granules, self.limit
        )
    }
}

impl core::error::Error for ShareError {}

/// Low bits of a private position.
const fn low(position: u64) -> u32 {
    crate::geometry::low32(position) & POSITION
}

const fn distance_low(from: u32, to: u32) -> u32 {
    to.wrapping_sub(from) & POSITION
}

/// The word `met` after pushes met at this ticket: a step longer if few records came since the last
/// time, else a step shorter. A pause of 2^n hints is about as long as 2^n records take.
const fn meet(met: u32, ticket: u32, longest: u32) -> u32 {
    let (step, ticket) = (met & STEP_MASK, ticket << STEP_BITS);
    let records = ticket.wrapping_sub(met & !STEP_MASK) >> STEP_BITS;
    let few = records < 4 << step;
    ticket | if few && step < longest { step + 1 } else { step.saturating_sub(!few as u32) }
}

/// Whom a party that has the turn tells what came of it.
#[derive(Clone, Copy)]
enum Telling {
    /// Nobody; whom to wake is kept for the next one that can tell.
    Nobody,
    /// Its caller, whom to wake.
    Caller,
    /// And the number of the record of this ticket.
    Claimant(u32),
}

/// A claim of such a producer.
type Open<'p, M, C, B, const CLAIMS: usize, const READERS: usize> =
    Claim<'p, B, Inner<M, C, READERS>, CLAIMS>;

/// A claim that has its room.
struct Placed<H> {
    held: H,
    /// Where the claim before it ends, low bits.
    head: u32,
    /// Granules of PAD before the record.
    pad: u32,
}

impl<M, C, B, const CLAIMS: usize, const READERS: usize> SharedProducer<M, C, B, CLAIMS, READERS>
where
    M: MemoryMut + Clone,
    C: MemoryMut,
    B: Backend,
{
    /// Shares a producer. What it has committed is published.
    ///
    /// # Errors
    /// The ring is too large for the 29-bit positions of the claim table.
    pub fn new(mut producer: Producer<M, C, READERS>) -> Result<Self, ShareError> {
        const { assert!(B::PAUSES < 1 << 16, "`met` has four bits for their logarithm") };
        // Two laps of the table then never move the positions by a whole turn of 29 bits, so a
        // claimant that slept that long does not take a later free slot for the one it saw. (Longer
        // sleeps: by a coincidence of the same slot and exactly n × 16 GiB of records.)
        #[allow(clippy::cast_possible_truncation, reason = "at most 256")]
        let (granules, limit) =
            (producer.geometry.capacity(), ((1 << 28) / CLAIMS as u32).min(1 << 22));
        if granules > limit {
            return Err(ShareError { granules, limit });
        }
        let wake = producer.publish();
        let head = low(producer.head);
        let word = || B::Word::new(0);
        Ok(Self {
            ring: producer.ring.clone(),
            crc: producer.framing.empty_crc(),
            geometry: producer.geometry,
            closed: producer.closed,
            limit: B::Word::new(head),
            wanted: word(),
            untold: B::Word::new(u32::from(!wake.is_none())),
            met: word(),
            turns: Turns::new(Inner { producer, wake }, head),
            notes: core::array::from_fn(|_| Note {
                len: word(),
                type_tag: word(),
                timestamp_low: word(),
                timestamp_high: word(),
                crc: word(),
            }),
        })
    }

    /// What is fixed for the life of the ring.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Room for one record of up to `payload_bytes`. It must be committed or dropped soon: later
    /// claims are published behind it.
    ///
    /// # Errors
    /// [`ClaimError::Full`]: readers hold the space. [`ClaimError::Busy`]: too many claims in
    /// flight, or another party is just making room; try again. Making room may have published what
    /// others committed: the next call that says whom to wake says it.
    pub fn claim(
        &self,
        payload_bytes: usize,
    ) -> Result<SharedGrant<'_, M, C, B, CLAIMS, READERS>, ClaimError> {
        let Placed { held, head, pad } = self.place(payload_bytes, false)?;
        match held {
            Held::Claim(claim) => Ok(self.grant(claim, head.wrapping_add(pad), payload_bytes)),
            Held::Ahead(_) => unreachable!("it was not wanted"),
        }
    }

    /// Claims, fills and commits one record. If another party is just publishing, that one
    /// publishes it, and this call pauses behind that: for up to some fifty microseconds if it
    /// happens again and again, see [`Backend::PAUSES`].
    ///
    /// # Errors
    /// As [`claim`](Self::claim); nothing was committed then.
    pub fn push(&self, meta: Meta, payload: &[u8]) -> Result<Commit, ClaimError> {
        let Placed { held, head, pad } = self.place(payload.len(), true)?;
        let claim = match held {
            Held::Ahead(ahead) => return Ok(self.append(ahead, pad, meta, payload)),
            Held::Claim(claim) => claim,
        };
        let ticket = claim.ticket();
        let mut grant = self.grant(claim, head.wrapping_add(pad), payload.len());
        let written = grant.write(payload);
        debug_assert!(written.is_ok(), "it was claimed with this length");
        let commit = grant.commit(meta);
        if B::PAUSES > 0 && commit.seq.is_none() && self.turns.is_had() {
            self.stand_back(ticket);
        }
        Ok(commit)
    }

    /// Publishes what is finished and not yet published, and tells whom to wake of earlier
    /// publications that nobody was told of.
    pub fn publish(&self) -> Wake {
        self.turns.pick_up().map_or(Wake::NONE, |turn| self.run(turn, Telling::Caller).wake)
    }

    /// The claim that holds back all later ones, if there is one. Only a claim that is still the
    /// same after a while is a worry.
    #[must_use]
    pub fn unfinished(&self) -> Option<Unfinished> {
        self.turns.unfinished().map(|(ticket, in_flight)| Unfinished { ticket, in_flight })
    }

    /// The single producer again, for [`Producer::close`] or a change of hands. No grant is alive,
    /// because it would borrow `self`; one that was forgotten takes what was committed behind it
    /// along.
    pub fn into_producer(self) -> (Producer<M, C, READERS>, Wake) {
        let wake = self.publish();
        let forgotten = self.turns.unfinished().is_some();
        let mut producer = self.turns.into_inner().producer;
        if forgotten {
            producer.granted = producer.granted.max(producer.limit);
        }
        (producer, wake)
    }

    // ---- inside

    const fn note(&self, ticket: u32) -> &Note<B::Word> {
        &self.notes[ticket as usize % CLAIMS]
    }

    /// Takes the next slot with room for a payload; with the turn, if that is wanted and rests
    /// there.
    #[inline]
    #[allow(clippy::type_complexity, reason = "what is held says so")]
    fn place(
        &self,
        payload_bytes: usize,
        with_turn: bool,
    ) -> Result<Placed<Held<'_, B, Inner<M, C, READERS>, CLAIMS>>, ClaimError> {
        let limit = self.geometry.max_payload();
        let len = u32::try_from(payload_bytes).ok().filter(|&len| len <= limit);
        let granules =
            granules_for(len.ok_or(ClaimError::TooLarge { bytes: payload_bytes, limit })?);
        if self.closed {
            return Err(ClaimError::Closed);
        }
        let (mut room_made, mut attempts) = (None, 0);
        loop {
            let free = self.turns.find().map_err(|in_flight| ClaimError::Busy { in_flight })?;
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
                room_made = self.ask_for_room(end).map(|limit| (head, limit));
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
            let Some(taken) = free.take(end, with_turn) else { continue };
            // ORDER(oldest): Release. An observer that copies one of our bytes sees `oldest` past
            // what stood there before. Pairs with the fence in `Walk::copy_was_live`; the `oldest`
            // came to us by `limit`.
            self.ring.fence(Ordering::Release);
            return Ok(Placed { held: taken, head, pad });
        }
    }

    fn grant<'s>(
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

    /// A whole record, by the party that has the turn, behind everything else that was claimed.
    #[inline]
    fn append<'s>(
        &'s self,
        ahead: Ahead<'s, B, Inner<M, C, READERS>, CLAIMS>,
        pad: u32,
        meta: Meta,
        payload: &[u8],
    ) -> Commit {
        let (commit, turn) = ahead.pass(|inner| {
            if pad > 0 {
                inner.producer.write_padding(KIND_PAD, padding_payload_bytes(pad));
            }
            let seq = inner.producer.append_at_head(meta, payload);
            let wake = inner.producer.publish();
            Commit { seq: Some(seq), wake: wake.and(self.told(inner)) }
        });
        commit.and(self.leave(turn, Telling::Caller))
    }

    /// A claimant is done: it publishes its claim and what is finished behind it, or leaves that to
    /// another party.
    fn finish<'s>(&'s self, claim: Open<'s, M, C, B, CLAIMS, READERS>, telling: Telling) -> Commit {
        match (claim.finish(), telling) {
            (Some(turn), _) => self.run(turn, telling),
            // What others kept must be told even if the claim before this one is never finished.
            // ORDER(none): whoever comes after the call that kept it sees it.
            (None, Telling::Caller | Telling::Claimant(_))
                if self.untold.load(Ordering::Relaxed) != 0 =>
            {
                self.turns.pick_up().map_or(Commit::NOTHING, |turn| self.run(turn, telling))
            }
            (None, _) => Commit::NOTHING,
        }
    }

    /// Pauses, because another party has the lines of the ring in its cache: taking them away for
    /// the next record at once costs both more than it gains. The longer, the fewer records came
    /// between two such meetings: threads that only meet now and then do not lose time by it.
    #[cold]
    fn stand_back(&self, ticket: u32) {
        // ORDER(none): a guess.
        let met = meet(self.met.load(Ordering::Relaxed), ticket, B::PAUSES.ilog2());
        // ORDER(none): a guess.
        self.met.store(met, Ordering::Relaxed);
        (0..1 << (met & STEP_MASK)).for_each(|_| core::hint::spin_loop());
    }

    /// Makes room for a claim that wanted to end there. The limit, if this party could.
    #[cold]
    fn ask_for_room(&self, end: u32) -> Option<u32> {
        let Some(mut turn) = self.turns.pick_up() else {
            // ORDER(none): who has the turn looks for it when that is left. It may look too early;
            // the claim is told to try again.
            self.wanted.store(WANTED | end, Ordering::Relaxed);
            return None;
        };
        let limit = turn.with(|inner| self.extend(&mut inner.producer, end));
        let _kept = self.leave(turn, Telling::Nobody);
        Some(limit)
    }

    /// Publishes every finished claim up to the first unfinished one, and leaves the turn there.
    fn run<'s>(
        &'s self,
        mut turn: Turn<'s, B, Inner<M, C, READERS>, CLAIMS>,
        telling: Telling,
    ) -> Commit {
        let commit = self.publish_finished(&mut turn, telling);
        commit.and(self.leave(turn, telling))
    }

    /// Leaves the turn, and what is to be done before it can be.
    #[inline]
    fn leave<'s>(
        &'s self,
        mut turn: Turn<'s, B, Inner<M, C, READERS>, CLAIMS>,
        telling: Telling,
    ) -> Commit {
        let mut commit = Commit::NOTHING;
        loop {
            let Some(again) = turn.leave().or_else(|| self.requested()) else { return commit };
            turn = again;
            commit = commit.and(self.publish_finished(&mut turn, telling));
        }
    }

    /// The turn again, if somebody wanted room while another party had it; the room is made.
    #[inline]
    fn requested(&self) -> Option<Turn<'_, B, Inner<M, C, READERS>, CLAIMS>> {
        // ORDER(none): a request that is seen too late, or overwritten, is made again.
        let wanted = self.wanted.load(Ordering::Relaxed);
        if wanted == 0 {
            return None;
        }
        let mut turn = self.turns.pick_up()?;
        // ORDER(none): as above.
        self.wanted.store(0, Ordering::Relaxed);
        turn.with(|inner| self.extend(&mut inner.producer, wanted & POSITION));
        Some(turn)
    }

    /// Makes records of the finished claims and publishes them.
    fn publish_finished(
        &self,
        turn: &mut Turn<'_, B, Inner<M, C, READERS>, CLAIMS>,
        telling: Telling,
    ) -> Commit {
        let mut commit = Commit::NOTHING;
        // ORDER(oldest): Release. An observer that copies a header written here sees every `oldest`
        // stored before. We may use room that another party made, whose own fence stands behind its
        // `oldest` and not before our bytes. Pairs with the fence in `Walk::copy_was_live`.
        self.ring.fence(Ordering::Release);
        let mut collect = |inner: &mut Inner<M, C, READERS>, ticket, end| {
            let number = self.collect(&mut inner.producer, ticket, end);
            if matches!(telling, Telling::Claimant(mine) if mine == ticket) {
                commit.seq = number;
            }
        };
        while turn.pass_finished(&mut collect).is_some() {}
        turn.with(|inner| {
            let wake = inner.producer.publish();
            if !matches!(telling, Telling::Nobody) {
                commit.wake = wake.and(self.told(inner));
            } else if !wake.is_none() {
                inner.wake = inner.wake.and(wake);
                // ORDER(none): as where it is loaded.
                self.untold.store(1, Ordering::Relaxed);
            }
        });
        commit
    }

    /// Whom to wake of what nobody was told, for a call that tells it.
    #[inline]
    fn told(&self, inner: &mut Inner<M, C, READERS>) -> Wake {
        let wake = core::mem::take(&mut inner.wake);
        if !wake.is_none() {
            // ORDER(none): as where it is loaded.
            self.untold.store(0, Ordering::Relaxed);
        }
        wake
    }

    /// Turns one finished claim into records; its number, if it is not a padding record.
    fn collect(
        &self,
        producer: &mut Producer<M, C, READERS>,
        ticket: u32,
        end: u32,
    ) -> Option<u64> {
        let mut granules = distance_low(low(producer.head), end);
        let room = self.geometry.room_to_end(producer.head);
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
            #[allow(clippy::cast_possible_truncation, reason = "it was stored from a u16")]
            let meta = Meta { type_tag: word(&note.type_tag) as u16, timestamp_ns };
            granules -= granules_for(len);
            producer.commit(producer.head, meta, word(&note.crc), len as usize)
        });
        if granules > 0 {
            producer.write_padding(KIND_DISCARD, padding_payload_bytes(granules));
        }
        number
    }

    /// Moves the limit of claims to `end` or further, if readers allow it. Where it is then.
    fn extend(&self, producer: &mut Producer<M, C, READERS>, end: u32) -> u32 {
        let limit = low(producer.extend(u64::from(distance_low(low(producer.head), end))));
        // ORDER(limit): Release. Claims up to there come after what readers did with those bytes,
        // and after `oldest`. Pairs with `place`.
        self.limit.store(limit, Ordering::Release);
        limit
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
