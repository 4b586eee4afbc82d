//! Many producers in one process: threads, or an interrupt handler and the main loop.
//!
//! A claim is one compare-and-swap; payloads are filled in parallel; records appear in the order of their claims. The state is private to the
//! process: the shared bytes are those of a single [`Producer`], which one party at a time drives. Nobody ever waits for anybody:
//!
//! 1. **claim**: ticket `t` is taken by setting slot `t % CLAIMS` from "free for `t`" to "claimed, ends at e". Whoever comes across a
//!    taken slot moves the ticket counter on, so a party that stops between the two steps stops nobody.
//! 2. **commit**: the slot says *committed* or *given up*, then [`Turns`] is asked for a turn: whoever is inside publishes every finished
//!    slot in the order of tickets, up to the first that is not finished.
//!
//! **A producer that stops** between claim and commit delays the publication of everything claimed after it, for as long as it stops; one
//! that is dropped, also by a panic, leaves a DISCARD record and delays nobody. Records claimed before it are published as usual. When `CLAIMS` claims wait
//! behind it, or the ring is full, further claims fail with [`ClaimError::Busy`] or [`ClaimError::Full`]. The owner sees it with
//! [`SharedProducer::unfinished`]. A party that stops while it publishes (it was preempted) delays publication until it goes on; what others
//! commit meanwhile is published by it.
//!
//! **Wake-ups**: whoever is inside publishes what others committed, so nearly every call says whom to wake: [`Commit`], [`Outcome`] and the
//! [`Wake`] of [`abandon`](SharedGrant::abandon) and [`publish`](SharedProducer::publish). Two cannot: a grant that is dropped, and a claim that fails. What they
//! publish is kept for the next call that can; after them call `publish`, unless [`want_space`](SharedProducer::want_space) or another claim comes next.
//! Next: nothing; this is the last module.

mod grant;
mod owner;

pub use grant::SharedGrant;
pub use owner::{Contended, Outcome};

use core::fmt;
use core::sync::atomic::Ordering;

use crate::config::Meta;
use crate::crc::Crc;
use crate::error::ClaimError;
use crate::gate::Wake;
use crate::grant::Filling;
use crate::layout::{Geometry, KIND_DISCARD, KIND_PAD, filler_payload, granules_for};
use crate::producer::Producer;
use crate::region::MemoryMut;
use crate::region::turns::{Backend, Native, Turns, Word};

/// A slot's top bit says for which parity of laps through the table it is taken; the rest is a position.
const CLAIMED: u32 = 1 << 31;
const POSITION: u32 = CLAIMED - 1;

/// How often a claim that finds no room, and another party publishing, asks again before it gives up.
const ATTEMPTS: u32 = 3;

/// States of a slot between claim and publication.
const FILLING: u32 = 0;
const COMMITTED: u32 = 1;
const GIVEN_UP: u32 = 2;

/// One claim in flight.
struct Slot<W> {
    /// Parity of the lap for which it is taken | low 31 bits of the position behind the claim. Changed by compare-and-swap only.
    claim: W,
    /// [`FILLING`] → [`COMMITTED`] or [`GIVEN_UP`], by the claimant; → [`FILLING`], by whoever publishes it.
    state: W,
    /// What the header will say. Written by the claimant before `state`.
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
/// `CLAIMS`: how many may be in flight, a power of two from 2 to 256. Rings of up to 2^22 granules (128 MiB).
pub struct SharedProducer<M, C = M, B: Backend = Native, const CLAIMS: usize = 64, const READERS: usize = 16> {
    ring: M,
    geometry: Geometry,
    /// Of no bytes yet.
    crc: Crc,
    /// It was closed before it was shared: there will be no claim.
    closed: bool,
    turns: Turns<B, Inner<M, C, READERS>>,
    /// Ticket of the next claim, or an earlier one if the claimant has not moved it on yet.
    ticket: B::Word,
    /// Ticket of the oldest claim that is not published. INVARIANT: only the party inside `turns` changes it.
    published: B::Word,
    /// Claims may end here, low 31 bits. Moved by the party inside `turns`.
    limit: B::Word,
    /// 0, or [`CLAIMED`] | where a claim wanted to end that found no room.
    wanted: B::Word,
    slots: [Slot<B::Word>; CLAIMS],
}

/// What became of a committed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "sleeping readers are woken only by the caller"]
pub struct Commit {
    /// Its number, if this call published it. `None`: another party publishes it, or it waits for a record claimed before it.
    pub seq: Option<u64>,
    /// Whom to wake.
    pub wake: Wake,
}

/// A claim that holds back what was claimed after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Its ticket; the same value again and again means the same claim.
    pub ticket: u32,
    /// Claims in flight, itself included.
    pub in_flight: u32,
}

/// A ring is too large to be shared: the claim table has 31-bit positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareError {
    /// Its capacity; 2^22 is the most.
    pub granules: u32,
}

impl fmt::Display for ShareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a ring of {} granules; shared producers take {}", self.granules, 1 << 22)
    }
}

impl core::error::Error for ShareError {}

/// What became of a slot.
enum Collected {
    /// It is not finished.
    No,
    /// It was given up.
    Filler,
    /// It is the record of this number.
    Record(u64),
}

/// Low 31 bits of a private position.
const fn low31(position: u64) -> u32 {
    crate::layout::shared(position) & POSITION
}

const fn distance31(from: u32, to: u32) -> u32 {
    to.wrapping_sub(from) & POSITION
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
    /// The ring is too large for the 31-bit positions of the claim table.
    pub fn new(mut producer: Producer<M, C, READERS>) -> Result<Self, ShareError> {
        const { assert!(CLAIMS.is_power_of_two() && CLAIMS >= 2 && CLAIMS <= 256) };
        // Two laps of the table then never move the positions by a whole turn of 31 bits, so a claimant that slept that long does not take
        // a later free slot for the one it saw. (Longer sleeps: by a coincidence of the same slot and exactly n × 64 GiB of records.)
        if producer.geometry.capacity() > 1 << 22 {
            return Err(ShareError { granules: producer.geometry.capacity() });
        }
        let wake = producer.publish();
        let head = low31(producer.head);
        let slot = |index| Slot {
            // Free for lap 0, which sets the top bit; the last slot stands for the claim before the first.
            claim: B::Word::new(if index == CLAIMS - 1 { head } else { 0 }),
            state: B::Word::new(FILLING),
            len: B::Word::new(0),
            type_tag: B::Word::new(0),
            timestamp_low: B::Word::new(0),
            timestamp_high: B::Word::new(0),
            crc: B::Word::new(0),
        };
        Ok(Self {
            ring: producer.ring.clone(),
            crc: producer.framing.empty_crc(),
            geometry: producer.geometry,
            closed: producer.closed,
            turns: Turns::new(Inner { producer, wake }),
            ticket: B::Word::new(0),
            published: B::Word::new(0),
            limit: B::Word::new(head),
            wanted: B::Word::new(0),
            slots: core::array::from_fn(slot),
        })
    }

    /// What is fixed for the life of the ring.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Room for one record of up to `payload_bytes`. It must be committed or dropped soon: later claims are published behind it.
    ///
    /// # Errors
    /// [`ClaimError::Full`]: readers hold the space. [`ClaimError::Busy`]: too many claims in flight, or another party is just making room;
    /// try again. Making room may have published what others committed: the next call that says whom to wake says it.
    pub fn claim(&self, payload_bytes: usize) -> Result<SharedGrant<'_, M, C, B, CLAIMS, READERS>, ClaimError> {
        let limit = self.geometry.max_payload();
        let len = u32::try_from(payload_bytes).ok().filter(|&len| len <= limit);
        let granules = granules_for(len.ok_or(ClaimError::TooLarge { bytes: payload_bytes, limit })?);
        if self.closed {
            return Err(ClaimError::Closed);
        }
        let (mut room_made_at, mut attempts) = (None, 0);
        loop {
            // ORDER(ticket): Acquire. Seeing ticket t, we see the slot of t - 1 taken. Pairs with `pass`.
            let ticket = self.ticket.load(Ordering::Acquire);
            // ORDER(slot): Acquire. Seeing a slot published, we see it emptied. Pairs with `collect`.
            let in_flight = ticket.wrapping_sub(self.published.load(Ordering::Acquire));
            if in_flight > u32::MAX / 2 {
                continue; // the ticket is an old one: others went on meanwhile
            }
            if in_flight >= Self::CLAIMS {
                return Err(ClaimError::Busy { in_flight });
            }
            let slot = self.slot(ticket);
            // ORDER(ticket): Acquire, so that moving the ticket on passes on what the claimant saw. Pairs with the exchange below.
            let free = slot.claim.load(Ordering::Acquire);
            // ORDER(ticket): Relaxed, behind the Acquire of `free`: only while the ticket is still the same is `free` of its lap. Others may have
            // gone more than a lap on since we looked at it first, and one of theirs looks free for us; whoever took it had seen a later ticket.
            if self.ticket.load(Ordering::Relaxed) != ticket {
                continue;
            }
            if free & CLAIMED == Self::claimed(ticket) {
                self.pass(ticket);
                continue;
            }
            // ORDER(ticket): Relaxed; the Acquire of the ticket orders it. It belongs to ticket - 1 as long as `slot` is free, which the exchange confirms.
            let head = self.slot(ticket.wrapping_sub(1)).claim.load(Ordering::Relaxed) & POSITION;
            let room = self.geometry.room_to_end(u64::from(head));
            let pad = if granules > room { room } else { 0 };
            let end = head.wrapping_add(pad + granules) & POSITION;
            // ORDER(limit): Acquire. What readers did with the bytes up to there, and `oldest` moved past them, comes before we write there.
            // Pairs with `make_room`.
            let free_granules = distance31(head, self.limit.load(Ordering::Acquire));
            let free_granules = if free_granules > self.geometry.capacity() { 0 } else { free_granules };
            if pad + granules > free_granules {
                // ORDER(none): an old ticket says nothing about room; one that passes for new costs an attempt.
                if self.ticket.load(Ordering::Relaxed) != ticket {
                    continue;
                }
                if room_made_at == Some(ticket) {
                    return Err(ClaimError::Full { needed: pad + granules, free: free_granules });
                }
                if self.ask_for_room(end) {
                    room_made_at = Some(ticket);
                } else if attempts < ATTEMPTS {
                    attempts += 1;
                } else {
                    return Err(ClaimError::Busy { in_flight });
                }
                continue;
            }
            // ORDER(ticket): Release. Whoever finds the slot taken knows the head and sees a ticket that is not before ours. What it was before,
            // the Acquire of `free` brought.
            let claim = slot.claim.compare_exchange(free, Self::claimed(ticket) | end, Ordering::Release, Ordering::Relaxed);
            if claim.is_err() {
                continue;
            }
            self.pass(ticket);
            // ORDER(oldest): Release. An observer that copies one of our bytes sees `oldest` past what stood there before. Pairs with the
            // fence in `Walk::copy_was_live`; the `oldest` came to us by `limit`.
            self.ring.fence(Ordering::Release);
            let record = self.geometry.offset_of(u64::from(if pad > 0 { head.wrapping_add(pad) } else { head }));
            return Ok(SharedGrant { shared: self, ticket, filling: Some(Filling::new(record, payload_bytes, self.crc.clone())) });
        }
    }

    /// Claims, fills and commits one record.
    ///
    /// # Errors
    /// As [`claim`](Self::claim); nothing was committed then.
    pub fn push(&self, meta: Meta, payload: &[u8]) -> Result<Commit, ClaimError> {
        let mut grant = self.claim(payload.len())?;
        if let Some(filling) = &mut grant.filling {
            let written = filling.write(&self.ring, payload);
            debug_assert!(written.is_ok(), "it was claimed with this length");
        }
        Ok(grant.commit(meta))
    }

    /// Publishes what is finished and not yet published, and tells whom to wake of earlier publications that nobody was told of.
    pub fn publish(&self) -> Wake {
        self.drive(None).wake
    }

    /// The claim that holds back all later ones, if there is one. Only a claim that is still the same after a while is a worry.
    #[must_use]
    pub fn unfinished(&self) -> Option<Unfinished> {
        // ORDER(none): a look from outside, old as soon as it is taken. Of words that do not fit together nothing is said.
        let ticket = self.published.load(Ordering::Relaxed);
        // ORDER(none): as above.
        let in_flight = self.ticket.load(Ordering::Relaxed).wrapping_sub(ticket);
        // ORDER(none): as above.
        let filling = self.slot(ticket).state.load(Ordering::Relaxed) == FILLING;
        (filling && in_flight > 0 && in_flight <= Self::CLAIMS).then_some(Unfinished { ticket, in_flight })
    }

    /// The single producer again, for [`Producer::close`] or a change of hands. No grant is alive, because it would borrow `self`.
    pub fn into_producer(self) -> (Producer<M, C, READERS>, Wake) {
        let wake = self.publish();
        (self.turns.into_inner().producer, wake)
    }

    // ---- inside

    #[allow(clippy::cast_possible_truncation, reason = "at most 256")]
    const CLAIMS: u32 = CLAIMS as u32;

    const fn claimed(ticket: u32) -> u32 {
        if (ticket / Self::CLAIMS).is_multiple_of(2) { CLAIMED } else { 0 }
    }

    const fn slot(&self, ticket: u32) -> &Slot<B::Word> {
        &self.slots[ticket as usize % CLAIMS]
    }

    /// Moves the ticket counter behind a taken slot; anybody may.
    fn pass(&self, ticket: u32) {
        // ORDER(ticket): Release. Whoever sees the next ticket sees this slot taken. Pairs with the load in `claim`. A failure says that somebody else did it.
        let _passed = self.ticket.compare_exchange(ticket, ticket.wrapping_add(1), Ordering::Release, Ordering::Relaxed);
    }

    /// Says where a claim wanted to end and asks for a turn. Whether this party took it.
    fn ask_for_room(&self, end: u32) -> bool {
        // ORDER(limit): Relaxed; asking for a turn orders it.
        self.wanted.store(CLAIMED | end, Ordering::Relaxed);
        let mut inside = false;
        self.turns.run(|inner| {
            inside = true;
            self.turn(inner, None);
            // What was wanted may be another's smaller end by now; this party will not ask again.
            self.extend(&mut inner.producer, end);
        });
        inside
    }

    /// Takes a turn if nobody else has it.
    fn drive(&self, mine: Option<u32>) -> Commit {
        let mut commit = Commit { seq: None, wake: Wake::NONE };
        self.turns.run(|inner| {
            commit.seq = commit.seq.or(self.turn(inner, mine));
            commit.wake = commit.wake.and(core::mem::take(&mut inner.wake));
        });
        commit
    }

    /// Publishes every finished claim up to the first unfinished one, and makes room if somebody found none.
    fn turn(&self, inner: &mut Inner<M, C, READERS>, mine: Option<u32>) -> Option<u64> {
        let mut seq = None;
        // ORDER(oldest): Release. An observer that copies a header written here sees every `oldest` stored before. We may use room that another party
        // made, whose own fence stands behind its `oldest` and not before our bytes. Pairs with the fence in `Walk::copy_was_live`.
        self.ring.fence(Ordering::Release);
        // ORDER(none): only the party inside changes it.
        let mut ticket = self.published.load(Ordering::Relaxed);
        for _ in 0..CLAIMS {
            match self.collect(&mut inner.producer, ticket) {
                Collected::No => break,
                Collected::Record(number) if mine == Some(ticket) => seq = Some(number),
                Collected::Record(_) | Collected::Filler => {}
            }
            ticket = ticket.wrapping_add(1);
            // ORDER(slot): Release. Whoever finds the slot published finds it emptied. Pairs with the load in `claim`.
            self.published.store(ticket, Ordering::Release);
        }
        inner.wake = inner.wake.and(inner.producer.publish());
        self.make_room(&mut inner.producer);
        seq
    }

    /// Turns one finished claim into records.
    fn collect(&self, producer: &mut Producer<M, C, READERS>, ticket: u32) -> Collected {
        let slot = self.slot(ticket);
        // ORDER(ticket): Relaxed. The turn brought its last claim and that one's emptied state, so it is that or ours, and `state` orders the rest.
        let claim = slot.claim.load(Ordering::Relaxed);
        if claim & CLAIMED != Self::claimed(ticket) {
            return Collected::No;
        }
        // ORDER(commit): Acquire. Seeing it finished, we see the payload and what the header shall say. Pairs with `finish`.
        let state = slot.state.load(Ordering::Acquire);
        if state == FILLING {
            return Collected::No;
        }
        let mut granules = distance31(low31(producer.head), claim & POSITION);
        let room = self.geometry.room_to_end(producer.head);
        if granules > room {
            producer.filler(KIND_PAD, filler_payload(room));
            granules -= room;
        }
        let mut collected = Collected::Filler;
        if state == COMMITTED {
            // ORDER(commit): Relaxed; the Acquire of `state` orders it.
            let word = |word: &B::Word| word.load(Ordering::Relaxed);
            let timestamp_ns = u64::from(word(&slot.timestamp_high)) << 32 | u64::from(word(&slot.timestamp_low));
            #[allow(clippy::cast_possible_truncation, reason = "it was stored from a u16")]
            let meta = Meta { type_tag: word(&slot.type_tag) as u16, timestamp_ns };
            let len = word(&slot.len);
            collected = Collected::Record(producer.commit(producer.head, meta, word(&slot.crc), len as usize));
            granules -= granules_for(len);
        }
        if granules > 0 {
            producer.filler(KIND_DISCARD, filler_payload(granules));
        }
        // ORDER(slot): Relaxed; the Release of `published` orders it.
        slot.state.store(FILLING, Ordering::Relaxed);
        collected
    }

    /// Moves the limit of claims if one found no room.
    fn make_room(&self, producer: &mut Producer<M, C, READERS>) {
        // ORDER(limit): Relaxed; the turn orders it.
        let wanted = self.wanted.load(Ordering::Relaxed);
        if wanted == 0 {
            return;
        }
        // ORDER(limit): Relaxed; a request that is overwritten here asks again.
        self.wanted.store(0, Ordering::Relaxed);
        self.extend(producer, wanted & POSITION);
    }

    /// Moves the limit of claims to `end` or further, if readers allow it.
    fn extend(&self, producer: &mut Producer<M, C, READERS>, end: u32) {
        let limit = producer.extend(u64::from(distance31(low31(producer.head), end)));
        // ORDER(limit): Release. Claims up to there come after what readers did with those bytes, and after `oldest`. Pairs with `claim`.
        self.limit.store(low31(limit), Ordering::Release);
    }

    /// The claimant's last word on its slot.
    fn finish(&self, ticket: u32, state: u32) {
        // ORDER(commit): Release. Whoever sees the state sees payload and header words. Pairs with `collect`.
        self.slot(ticket).state.store(state, Ordering::Release);
    }
}
