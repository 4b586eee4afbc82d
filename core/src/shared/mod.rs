//! Many producers in one process: threads, or an interrupt handler and the main loop.
//!
//! A claim is one compare-and-swap; payloads are filled in parallel; records appear in the order of
//! their claims. The state is private to the process: the shared bytes are those of a single
//! [`Producer`], which one party at a time drives: the holder of the publisher's token. Nobody ever
//! has to wait for anybody:
//!
//! 1. **claim**: ticket `t` is taken by setting slot `t % CLAIMS` from "free for `t`" to "taken,
//!    ends at e". The tickets that are taken follow one another, so the next one is found from the
//!    oldest unpublished one on.
//! 2. **commit**: the slot says that it is finished. If the token rests there, the party that
//!    finishes takes it and publishes every finished slot in the order of tickets, up to the first
//!    that is not finished; there the token rests again. If it does not rest there, either another
//!    party holds it and is on the way to this slot, or it waits on an earlier one.
//!
//! [`push`](SharedProducer::push) does both at once if nothing is in flight: it takes slot and
//! token by one exchange, writes what the single producer would write, and leaves the token by
//! another. Threads that push at the same time would take these words and the producer's state from
//! each other for every record; so a push that leaves its record to a party that is publishing
//! pauses afterwards ([`Backend::PAUSES`], none on bare metal), and the other continues alone.
//!
//! **A producer that stops** between claim and commit delays the publication of everything claimed
//! after it, for as long as it stops. One that is dropped, also by a panic, leaves a DISCARD record
//! and delays nobody. Records claimed before it are published as usual. When `CLAIMS` claims wait
//! after it, or the ring is full, further claims fail with [`ClaimError::Busy`] or
//! [`ClaimError::Full`]. The owner sees it with [`SharedProducer::unfinished`]. A party that stops
//! while it publishes (it was preempted; a push copies its payload at that time) delays publication
//! until it continues, and then publishes what others have committed meanwhile.
//!
//! **Wake-ups**: the holder of the token publishes what others committed, so nearly every call
//! returns the readers to wake: [`Commit`], [`Outcome`] and the [`Wake`] of
//! [`abandon`](SharedGrant::abandon) and [`publish`](SharedProducer::publish). Two cannot: a grant
//! that is dropped, and a claim that fails. The wake-ups of what they publish are kept for the next
//! call that can return them. After such a call, call `publish`, unless
//! [`want_space`](SharedProducer::want_space) or another claim comes next.

#[allow(unsafe_code, reason = "cells that others guard; each block has its proof")]
mod backend;
#[allow(unsafe_code, reason = "a value that one party at a time enters; each block has its proof")]
pub(crate) mod claims;

mod grant;
mod owner;
mod place;
mod publishing;
mod typed;

pub use backend::{Backend, Cell, Native, NativeCell, Word};
pub use grant::SharedGrant;
pub use owner::{Contended, Outcome};

use core::fmt;

use self::claims::{Claim, Claims, Free, Held, POSITION};
use self::place::Placed;
use self::publishing::Audience;
use crate::attributes::AttributeBlock;
use crate::crc::Crc;
use crate::geometry::{Geometry, low32};
use crate::memory::MemoryMut;
use crate::producer::{ClaimError, Producer, Wake};
use crate::record::Meta;

/// In `wanted`: somebody wants room.
const WANTED: u32 = 1 << 31;

/// Instead of a payload's length: the claim was given up.
const GIVEN_UP: u32 = u32::MAX;

/// What the header of a claim's record will say. Written by the claimant before it finishes, read
/// by the holder of the token.
struct Note<W> {
    /// Or [`GIVEN_UP`].
    len: W,
    /// The type tag; in the upper half, the units of its attributes.
    form: W,
    timestamp_low: W,
    timestamp_high: W,
    crc: W,
}

/// What one party at a time drives.
struct Inner<M, C, const READERS: usize> {
    producer: Producer<M, C, READERS>,
    /// Readers to wake that no call has returned yet.
    pending_wake: Wake,
}

/// A producer that many may use at once. Each of them needs only `&self`.
///
/// `CLAIMS`: how many may be in flight, a power of two from 2 to 256. Rings of up to 2^28 /
/// `CLAIMS` granules, 2^22 (128 MiB) at most.
///
/// ```
/// use aqueduct_core::shared::{Commit, Contended, Native, Outcome, SharedGrant, Unfinished};
/// use aqueduct_core::typed::Tagged;
/// use aqueduct_core::{
///     AttributeBlock, Meta, Producer, Region, RingConfig, Segment, SharedProducer, Start, Wake,
/// };
///
/// #[derive(Clone, Copy, bytemuck::NoUninit, zerocopy::IntoBytes, zerocopy::Immutable)]
/// #[repr(transparent)]
/// struct Celsius(f32);
/// impl Tagged for Celsius {
///     const TYPE_TAG: u16 = 7;
/// }
///
/// let (ring, cursor) = (Segment::<{ 256 + 4096 }>::new(), Segment::<256>::new());
/// let config = RingConfig::new("events", 0x5eed_5f01, 4096);
/// let producer: Producer<Region> = Producer::create(ring.region(), &config)?;
/// let shared: SharedProducer<Region> = SharedProducer::new(producer)?;
///
/// // Any number of threads and interrupt handlers, each by `&shared`.
/// let Commit { seq, wake } = shared.push_pod(0, &Celsius(21.5))?;
/// assert_eq!((seq, wake), (Some(0), Wake::NONE));
/// let mut room = [0; 16];
/// let block = AttributeBlock::write([("a", &b"b"[..])], &mut room)?;
/// assert_eq!(shared.push_with(Meta::default(), b"with a name", block)?.seq, Some(1));
///
/// // What was claimed first is published first.
/// let mut first: SharedGrant<_, _, Native, 64, 16> = shared.claim(32)?;
/// assert_eq!(shared.push(Meta::default(), b"later")?.seq, None);
/// assert!(matches!(shared.unfinished(), Some(Unfinished { in_flight: 2, .. })));
/// first.write(b"sooner")?;
/// assert_eq!((first.remaining(), first.commit_with(Meta::default(), block)?.seq), (26, Some(2)));
/// let filled = shared.claim(8)?;
/// assert!(filled.payload_ptr().is_some()); // where hardware stores it
/// assert_eq!(filled.commit_filled(Meta::default(), 0, None)?.seq, Some(4));
/// assert_eq!(shared.push_bytes_of(0, &Celsius(22.0))?.seq, Some(5)); // by `zerocopy`
///
/// // What only one party at a time can do fails while another publishes: try again then.
/// let Ok::<_, Contended>(Outcome { value: id, wake: _ }) = shared.subscribe(Start::Latest) else { panic!() };
/// let id = id?;
/// shared.attach(id, "reader", &mut Some(cursor.region()))?.value?;
/// assert!(shared.subscription(id)?.value.is_some_and(|status| status.attached));
/// assert!(shared.want_space(shared.geometry().max_payload() as usize)?.value?);
/// assert!(shared.take_violation()?.value.is_none() && shared.detach(id)?.value.is_some());
/// assert!(shared.unsubscribe(id)?.value && shared.publish().is_none());
///
/// let (mut producer, _wake) = shared.into_producer();
/// let _ = producer.close();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
    /// Claims may end here, low bits. Moved by the holder of the token.
    limit: B::Word,
    /// 0, or [`WANTED`] | the end of a claim that found no room while another party held the token.
    wanted: B::Word,
    /// 1 if there are readers to wake that no call has returned. Stored by the holder of the token.
    pending: B::Word,
    /// Where pushes last met: the low bits of the ticket, and in the low four bits how long they
    /// paused.
    met: B::Word,
    claims: Claims<B, Inner<M, C, READERS>, CLAIMS>,
    notes: [Note<B::Word>; CLAIMS],
}

/// The fate of a committed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use = "sleeping readers are woken only by the caller"]
pub struct Commit {
    /// Its sequence number, if this call published it. `None`: another party publishes it, or it
    /// waits for a record claimed before it.
    pub seq: Option<u64>,
    /// The readers to wake.
    pub wake: Wake,
}

impl Commit {
    const NOTHING: Self = Self { seq: None, wake: Wake::NONE };

    /// Combines two; of the sequence number, the one that is known.
    const fn and(self, other: Self) -> Self {
        Self {
            seq: if self.seq.is_some() { self.seq } else { other.seq },
            wake: self.wake.and(other.wake),
        }
    }
}

/// A claim that holds back what was claimed after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Unfinished {
    /// Its ticket; the same value again and again means the same claim.
    pub ticket: u32,
    /// Claims in flight, itself included.
    pub in_flight: u32,
}

/// A ring is too large to be shared: the claim table has 29-bit positions.
///
/// ```
/// use aqueduct_core::shared::ShareError;
///
/// let error = ShareError { granules: 1 << 23, limit: 1 << 22 }; // 256 MiB
/// assert!(error.to_string().starts_with("a ring of 8388608 granules"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ShareError {
    /// Its capacity.
    pub granules: u32,
    /// The most that so many claims allow.
    pub limit: u32,
}

impl ShareError {
    /// Says whether a ring of so many granules is too large for `CLAIMS` claims.
    ///
    /// Two laps of the table then never move the positions by a whole token of 29 bits, so a
    /// claimant that slept that long does not take a later free slot for the one it saw. (Longer
    /// sleeps: by a coincidence of the same slot and exactly n × 16 GiB of records.)
    #[allow(clippy::cast_possible_truncation, reason = "at most 256")]
    pub(crate) const fn check<const CLAIMS: usize>(granules: u32) -> Result<(), Self> {
        let limit = (1 << 28) / CLAIMS as u32;
        let limit = if limit < 1 << 22 { limit } else { 1 << 22 };
        if granules > limit { Err(Self { granules, limit }) } else { Ok(()) }
    }
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

/// Returns the low bits of a private position.
const fn low(position: u64) -> u32 {
    low32(position) & POSITION
}

const fn distance_low(from: u32, to: u32) -> u32 {
    to.wrapping_sub(from) & POSITION
}

/// A claim of such a producer.
type Open<'p, M, C, B, const CLAIMS: usize, const READERS: usize> =
    Claim<'p, B, Inner<M, C, READERS>, CLAIMS>;

impl<M, C, B, const CLAIMS: usize, const READERS: usize> SharedProducer<M, C, B, CLAIMS, READERS>
where
    M: MemoryMut + Clone,
    C: MemoryMut,
    B: Backend,
{
    /// Shares a producer, and publishes what it has committed.
    ///
    /// # Errors
    /// The ring is too large for the 29-bit positions of the claim table.
    pub fn new(mut producer: Producer<M, C, READERS>) -> Result<Self, ShareError> {
        const { assert!(B::PAUSES < 1 << 16, "`met` has four bits for their logarithm") };
        ShareError::check::<CLAIMS>(producer.geometry().capacity())?;
        let wake = producer.publish();
        let head = low(producer.head());
        let word = || B::Word::new(0);
        Ok(Self {
            ring: producer.ring().clone(),
            crc: producer.empty_crc(),
            geometry: *producer.geometry(),
            closed: producer.is_closed(),
            limit: B::Word::new(head),
            wanted: word(),
            pending: B::Word::new(u32::from(!wake.is_none())),
            met: word(),
            claims: Claims::new(Inner { producer, pending_wake: wake }, head),
            notes: core::array::from_fn(|_| Note {
                len: word(),
                form: word(),
                timestamp_low: word(),
                timestamp_high: word(),
                crc: word(),
            }),
        })
    }

    /// Returns what never changes in the life of the ring.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Reserves space for one record of up to `payload_bytes`. The grant must be committed or
    /// dropped soon, because later claims are published after it.
    ///
    /// # Errors
    /// [`ClaimError::Full`]: readers hold the space. [`ClaimError::Busy`]: too many claims in
    /// flight, or another party is just making room; try again. Making room may have published what
    /// others committed: the next call that returns readers to wake returns these too.
    pub fn claim(
        &self,
        payload_bytes: usize,
    ) -> Result<SharedGrant<'_, M, C, B, CLAIMS, READERS>, ClaimError> {
        let Placed { held, head, pad } = self.place(payload_bytes, Free::take_claim)?;
        Ok(self.grant(held, head.wrapping_add(pad), payload_bytes))
    }

    /// Claims, fills and commits one record. If another party is just publishing, that party
    /// publishes it, and this call pauses afterwards: for up to some fifty microseconds if that
    /// happens again and again, see [`Backend::PAUSES`].
    ///
    /// # Errors
    /// As [`claim`](Self::claim); nothing was committed then.
    pub fn push(&self, meta: Meta, payload: &[u8]) -> Result<Commit, ClaimError> {
        let Placed { held, head, pad } =
            self.place(payload.len(), |free, end| free.take(end, true))?;
        let claim = match held {
            Held::Ahead(ahead) => return Ok(self.append(ahead, pad, meta, payload)),
            Held::Claim(claim) => claim,
        };
        let ticket = claim.ticket();
        let mut grant = self.grant(claim, head.wrapping_add(pad), payload.len());
        let written = grant.write(payload);
        debug_assert!(written.is_ok(), "it was claimed with this length");
        let commit = grant.commit(meta);
        self.pause_after(ticket, commit);
        Ok(commit)
    }

    /// Does what [`push`](Self::push) does with a record that has attributes, the pause included.
    /// Payload and block together may be as long as a payload.
    ///
    /// # Errors
    /// As [`claim`](Self::claim), for both together; nothing was committed then.
    pub fn push_with(
        &self,
        meta: Meta,
        payload: &[u8],
        attributes: AttributeBlock<'_>,
    ) -> Result<Commit, ClaimError> {
        if attributes.is_empty() {
            return self.push(meta, payload);
        }
        let bytes = payload.len().saturating_add(attributes.as_bytes().len());
        let Placed { held, head, pad } = self.place(bytes, Free::take_claim)?;
        let ticket = held.ticket();
        let mut grant = self.grant(held, head.wrapping_add(pad), bytes);
        let written = grant.write(payload).and_then(|()| grant.commit_with(meta, attributes));
        debug_assert!(written.is_ok(), "it was claimed with this length");
        let commit = written.unwrap_or(Commit::NOTHING);
        self.pause_after(ticket, commit);
        Ok(commit)
    }

    /// Publishes what is finished and not yet published. Returns the readers to wake, also those of
    /// earlier publications that no call has returned.
    pub fn publish(&self) -> Wake {
        self.claims.pick_up().map_or(Wake::NONE, |token| self.run(token, Audience::Caller).wake)
    }

    /// Returns the claim that holds back all later ones, if there is one. Only a claim that is
    /// still the same after a while is a concern.
    #[must_use]
    pub fn unfinished(&self) -> Option<Unfinished> {
        self.claims.unfinished().map(|(ticket, in_flight)| Unfinished { ticket, in_flight })
    }

    /// Returns the single producer again, for [`Producer::close`] or a change of hands. No grant is
    /// alive, because it would borrow `self`; one that was forgotten takes what was committed after
    /// it along.
    pub fn into_producer(self) -> (Producer<M, C, READERS>, Wake) {
        let wake = self.publish();
        let forgotten = self.claims.unfinished().is_some();
        let mut producer = self.claims.into_inner().producer;
        if forgotten {
            producer.forget_claims();
        }
        (producer, wake)
    }
}

impl<M, C, B: Backend, const CLAIMS: usize, const READERS: usize> fmt::Debug
    for SharedProducer<M, C, B, CLAIMS, READERS>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedProducer").field("geometry", &self.geometry).finish_non_exhaustive()
    }
}
