//! The producer's side of joining and leaving: subscriptions, and the readers attached to them.

use core::fmt;
use core::sync::atomic::Ordering;

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use super::Producer;
use super::gate::{SubscriptionId, Violation};
use crate::geometry::{distance, low32};
use crate::layout::{
    ABI_MAJOR, ABI_MINOR, CURSOR_BYTES_MIN, CURSOR_MAGIC, CursorIdentity, NameError, cursor_word,
    name_field,
};
use crate::memory::MemoryMut;
use crate::plain_crc::hash;

/// Where a new subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Start {
    /// At the oldest record that is intact.
    Oldest,
    /// Just past the last published record.
    Latest,
    /// At this record boundary, which must be within the last lap and not overwritten: a cursor
    /// saved while the producer or the reader was away.
    At(u32),
}

/// The state of a subscription, as the producer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SubscriptionStatus {
    /// Whether a reader is attached.
    pub attached: bool,
    /// Granules published and not released.
    pub lag_granules: u32,
    /// The attached reader's count of damaged records and stretches, wrapping; 0 if none is
    /// attached.
    pub corrupt: u32,
    /// The attached reader's count of lost records, wrapping.
    pub lost: u32,
    /// The attached reader's count of sleeps that ended by timeout with data there, wrapping.
    pub missed_wakes: u32,
}

/// Why a subscription or an attachment was refused.
///
/// ```
/// use aqueduct_core::{Producer, Region, RingConfig, Segment, Start, SubscribeError};
///
/// let ring = Segment::<{ 256 + 1024 }>::new();
/// let config = RingConfig::new("events", 0x5eed_5f09, 1024);
/// let mut producer: Producer<Region, Region, 1> = Producer::create(ring.region(), &config).unwrap();
/// assert!(producer.subscribe(Start::Latest).is_ok());
/// let full = producer.subscribe(Start::Latest);
/// assert_eq!(full, Err(SubscribeError::TableFull { limit: 1 }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SubscribeError {
    /// No more subscriptions fit.
    TableFull {
        /// Size of the table.
        limit: usize,
    },
    /// No such subscription.
    Unknown,
    /// The position asked for is overwritten, or not published.
    Position {
        /// What was asked for.
        position: u32,
        /// The first position that is not overwritten.
        oldest: u32,
        /// Just past the last published record.
        tail: u32,
    },
    /// The cursor segment is too small.
    CursorSegmentTooSmall {
        /// Its size.
        bytes: usize,
    },
    /// The name does not fit.
    Name(NameError),
    /// No cursor segment was given.
    NoCursorSegment,
    /// The reader of another subscription has this very segment.
    CursorSegmentInUse {
        /// Its subscription.
        by: SubscriptionId,
    },
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TableFull { limit } => {
                write!(f, "all {limit} subscriptions of this ring are in use")
            }
            Self::Unknown => write!(f, "no such subscription"),
            Self::Position { position, oldest, tail } => {
                write!(f, "position {position:#x} is not in [{oldest:#x}, {tail:#x}]")
            }
            Self::CursorSegmentTooSmall { bytes } => {
                write!(f, "cursor segment of {bytes} bytes; it needs {CURSOR_BYTES_MIN}")
            }
            Self::Name(error) => error.fmt(f),
            Self::NoCursorSegment => f.write_str("no cursor segment was given"),
            Self::CursorSegmentInUse { by } => {
                write!(f, "the reader of subscription {} has this cursor segment", by.index())
            }
        }
    }
}

impl core::error::Error for SubscribeError {}

impl<M: MemoryMut, C: MemoryMut, const READERS: usize> Producer<M, C, READERS> {
    /// Adds a subscription. From now on, attached or not, it holds the producer back.
    ///
    /// # Errors
    /// The table of `READERS` is full.
    pub fn subscribe(&mut self, start: Start) -> Result<SubscriptionId, SubscribeError> {
        // `oldest` is rounded up to a sector boundary for observers, so a saved cursor before it
        // may still be intact. One granule stays free for `close`.
        let behind = self.head.max(self.granted) + 1;
        let whole = behind
            .saturating_sub(u64::from(self.geometry.capacity()))
            .max(self.first)
            .min(self.oldest);
        self.subscribe_within(start, whole)
    }

    /// Adds a subscription as [`subscribe`](Self::subscribe) does, where anything before `oldest`
    /// may just be overwritten.
    pub(crate) fn subscribe_from_oldest(
        &mut self,
        start: Start,
    ) -> Result<SubscriptionId, SubscribeError> {
        self.subscribe_within(start, self.oldest)
    }

    /// Adds a subscription that begins at `whole` at the earliest.
    fn subscribe_within(
        &mut self,
        start: Start,
        whole: u64,
    ) -> Result<SubscriptionId, SubscribeError> {
        let at = match start {
            Start::Oldest => self.oldest,
            Start::Latest => self.tail,
            Start::At(position) => {
                let behind = u64::from(distance(position, low32(self.tail)));
                if behind > self.tail - whole {
                    return Err(SubscribeError::Position {
                        position,
                        oldest: low32(whole),
                        tail: low32(self.tail),
                    });
                }
                self.tail - behind
            }
        };
        let id = self.gate.add(low32(at)).ok_or(SubscribeError::TableFull { limit: READERS })?;
        self.limit = self.head;
        self.clear = 0;
        Ok(id)
    }

    /// Ends a subscription, which no longer holds the producer back. Returns whether there was one.
    pub fn unsubscribe(&mut self, id: SubscriptionId) -> bool {
        self.gate.remove(id)
    }

    /// Formats a cursor segment for a reader of this subscription and watches it from now on. A
    /// segment attached before is forgotten.
    ///
    /// Use a segment that no earlier reader can still write to: two readers that store into one
    /// release records for each other. A segment of another subscription's attached reader is
    /// refused if this process has both at one address; nothing else of the kind can be seen.
    ///
    /// # Errors
    /// Unknown subscription, a segment of less than 256 bytes or in use, a name of more than 32
    /// bytes. The segment was not written to then.
    pub fn attach(
        &mut self,
        id: SubscriptionId,
        name: &str,
        segment: C,
    ) -> Result<(), SubscribeError> {
        let (seen, _) = self.gate.get(id).ok_or(SubscribeError::Unknown)?;
        if segment.size() < CURSOR_BYTES_MIN {
            return Err(SubscribeError::CursorSegmentTooSmall { bytes: segment.size() });
        }
        if let Some(by) = self.gate.other_with(id, &segment) {
            return Err(SubscribeError::CursorSegmentInUse { by });
        }
        let mut identity = CursorIdentity {
            magic: CURSOR_MAGIC,
            abi_major: U16::new(ABI_MAJOR),
            abi_minor: U16::new(ABI_MINOR),
            reserved0: U32::new(0),
            epoch: U64::new(self.geometry.epoch()),
            name: name_field(name).map_err(SubscribeError::Name)?,
            reserved1: U32::new(0),
            identity_crc: U32::new(0),
        };
        identity.identity_crc = U32::new(hash(&identity.as_bytes()[..60]));
        // ORDER(create): Relaxed; the fence below orders it before the identity.
        let set = |word, value| segment.store(word, value, Ordering::Relaxed);
        set(cursor_word::CURSOR, seen);
        set(cursor_word::WAITING, 0);
        set(cursor_word::CORRUPT, 0);
        set(cursor_word::LOST, 0);
        set(cursor_word::MISSED_WAKES, 0);
        // ORDER(create): Release. A reader that sees the identity sees the words. Pairs with the
        // fence in `Reader::attach`.
        segment.fence(Ordering::Release);
        segment.write(0, identity.as_bytes());
        self.gate.attach(id, segment);
        Ok(())
    }

    /// Detaches the reader; its subscription keeps gating at the cursor stored last. Returns the
    /// segment, to be reused or released.
    pub fn detach(&mut self, id: SubscriptionId) -> Option<C> {
        self.gate.detach(id, self.tail)
    }

    /// Returns the state of a subscription, by its cursor of this moment.
    pub fn subscription(&mut self, id: SubscriptionId) -> Option<SubscriptionStatus> {
        self.gate.refresh(self.tail);
        let (seen, attached) = self.gate.get(id)?;
        // ORDER(none): statistics; nothing is read because of them.
        let word =
            |at| self.gate.segment(id).map_or(0, |segment| segment.load(at, Ordering::Relaxed));
        Some(SubscriptionStatus {
            attached,
            lag_granules: distance(seen, low32(self.tail)),
            corrupt: word(cursor_word::CORRUPT),
            lost: word(cursor_word::LOST),
            missed_wakes: word(cursor_word::MISSED_WAKES),
        })
    }

    /// Returns the next reader that stored an impossible cursor since the last call. It is detached
    /// already.
    pub fn take_violation(&mut self) -> Option<Violation> {
        self.gate.take_violation()
    }
}
