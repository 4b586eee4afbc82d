//! Bytes of unknown state: a file after power loss, a core dump, a ring whose producer was killed.
//!
//! [`recover`] finds the longest prefix of intact records and says what was cut and why; [`scan`]
//! lists everything for a person. Both only read. [`Producer::resume`](crate::Producer::resume)
//! continues in the same epoch, and is the only one that writes.
//!
//! ```
//! use aqueduct_core::recovery::{Bound, Checkpoint, Cut, Item, RecoverError, Recovery, Scan, recover, scan};
//! use aqueduct_core::{Memory, MemoryMut, Meta, Producer, Region, RingConfig, Segment};
//!
//! let ring = Segment::<{ 256 + 1024 }>::new();
//! let config = RingConfig::new("log", 0x5eed_5f04, 1024);
//! let mut log: Producer<Region> = Producer::create(ring.region(), &config)?;
//! for line in [&b"one"[..], b"two", b"three"] {
//!     let _ = log.push(Meta::default(), line)?;
//! }
//! drop(log); // killed, and a bit of the last line is wrong
//! let (region, mut word) = (ring.region(), [0; 8]);
//! region.read(256 + 5 * 32, &mut word);
//! word[0] ^= 1;
//! region.write(256 + 5 * 32, &word);
//!
//! let found: Result<Recovery, RecoverError> = recover(&region, Checkpoint::oldest(&region), Bound::Tail);
//! let found = found?;
//! assert_eq!((found.records, found.next_seq, found.cut_granules), (2, Some(2), 2));
//! assert!(matches!(found.cut, Cut::Payload { seq: 2, .. }));
//! let items: Scan<_> = scan(region)?; // for a person
//! assert_eq!(items.filter(|item| matches!(item, Item::Record(_))).count(), 2);
//!
//! let mut log: Producer<Region> = Producer::resume(region, &found)?; // what was cut is erased
//! assert_eq!(log.push(Meta::default(), b"again")?.0, 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use core::sync::atomic::Ordering;

use crate::geometry::{GeometryError, distance, low32};
use crate::layout::ring_word;
use crate::memory::Memory;
use crate::read::view::{Located, View};
use crate::record::HeaderCrc;

/// A record boundary that is known to be good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Checkpoint {
    /// A position where a record begins: a saved cursor, or the ring's own `oldest`. Not more than
    /// a lap before the producer's last position: records of an earlier lap that lie untouched
    /// inside a later padding record or payload are intact, and an older checkpoint finds them
    /// again.
    pub position: u32,
    /// Sequence number of the first DATA record from there on, if it is known; a prefix that begins
    /// with another one is not accepted.
    pub seq: Option<u64>,
}

impl Checkpoint {
    /// Returns the ring's own `oldest`, for want of a better one. It is rounded up to a sector
    /// boundary for observers: what a gating reader has not released may begin before it, so where
    /// cursors were saved, the one farthest back is the better checkpoint.
    pub fn oldest<R: Memory>(ring: &R) -> Self {
        // ORDER(none): nobody else uses these bytes any more, or `recover` sees by their CRCs that
        // somebody does.
        Self { position: ring.load(ring_word::OLDEST, Ordering::Relaxed), seq: None }
    }
}

/// How far a prefix may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Bound {
    /// To the `tail` word: what was published and no more. Right after a killed process, whose
    /// memory is as it left it.
    Tail,
    /// As far as records are intact, at most one lap. Right after power loss, when the memory page
    /// of `tail` may be older than the data.
    Longest,
}

/// Why a prefix ends where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Cut {
    /// At the bound, with everything before it intact.
    None,
    /// There is no valid header.
    Header(HeaderCrc),
    /// The payload of this record is damaged.
    Payload {
        /// Its sequence number.
        seq: u64,
        /// CRC in its header.
        stored: u32,
        /// CRC of its payload.
        computed: u32,
    },
    /// The next record's sequence number does not follow.
    Sequence {
        /// The sequence number that should follow.
        expected: u64,
        /// The sequence number found.
        found: u64,
    },
}

/// A prefix of intact records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Recovery {
    /// The checkpoint's position, where the prefix begins.
    pub start: u32,
    /// Just past its last record.
    pub end: u32,
    /// DATA records in it.
    pub records: u64,
    /// Sequence number of the next DATA record; `None` if neither a record nor the checkpoint says
    /// it.
    pub next_seq: Option<u64>,
    /// Why it ends there.
    pub cut: Cut,
    /// Granules from the end to the `tail` word: published and cut off. 0 if the prefix reaches it
    /// or passes it.
    pub cut_granules: u32,
    /// Position and sequence number of the next valid record past the cut, if there is one within
    /// the lap: what is lost lies between.
    pub survivor: Option<(u32, u64)>,
}

/// Why nothing could be recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RecoverError {
    /// The ring's header is not acceptable.
    Geometry(GeometryError),
    /// The `tail` word is not within a lap of the checkpoint, so [`Bound::Tail`] means nothing.
    Tail {
        /// The checkpoint's position.
        checkpoint: u32,
        /// The word.
        tail: u32,
    },
    /// The sequence number of the next record is not known; set [`Recovery::next_seq`].
    UnknownSeq,
}

impl core::fmt::Display for RecoverError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Geometry(error) => error.fmt(f),
            Self::Tail { checkpoint, tail } => {
                write!(f, "tail {tail:#x} is not within a lap of the checkpoint {checkpoint:#x}")
            }
            Self::UnknownSeq => write!(f, "the sequence number of the next record is not known"),
        }
    }
}

impl core::error::Error for RecoverError {}

impl From<GeometryError> for RecoverError {
    fn from(error: GeometryError) -> Self {
        Self::Geometry(error)
    }
}

/// Finds the longest prefix of intact records from a checkpoint. Reads only, each granule once or
/// twice.
///
/// # Errors
/// The segment is not a ring, or its `tail` word does not fit the checkpoint. Damage is not an
/// error; it is part of the answer.
pub fn recover<R: Memory>(
    ring: &R,
    checkpoint: Checkpoint,
    bound: Bound,
) -> Result<Recovery, RecoverError> {
    let view = View::open(ring)?;
    Ok(prefix(&view, checkpoint, bound, |_| {})?.0)
}

/// Does what [`recover`] does, calls `each` for every record of the prefix, and returns the private
/// position of its end.
pub(crate) fn prefix<R: Memory>(
    view: &View<R>,
    checkpoint: Checkpoint,
    bound: Bound,
    mut each: impl FnMut(&Located),
) -> Result<(Recovery, u64), RecoverError> {
    let capacity = u64::from(view.geometry().capacity());
    let start = u64::from(checkpoint.position);
    // ORDER(none): as in `Checkpoint::oldest`.
    let tail_word = view.ring().load(ring_word::TAIL, Ordering::Relaxed);
    let published = u64::from(distance(checkpoint.position, tail_word));
    let limit = match bound {
        Bound::Longest => start + capacity,
        Bound::Tail if published <= capacity => start + published,
        Bound::Tail => {
            return Err(RecoverError::Tail { checkpoint: checkpoint.position, tail: tail_word });
        }
    };
    let (mut end, mut records, mut next_seq, mut cut) = (start, 0, checkpoint.seq, Cut::None);
    while end < limit {
        let located = match view.header_at(end, limit) {
            Ok(located) => located,
            Err(crc) => {
                cut = Cut::Header(crc);
                break;
            }
        };
        let header = located.header();
        if let Some(expected) = next_seq.filter(|&expected| expected != header.seq) {
            cut = Cut::Sequence { expected, found: header.seq };
            break;
        }
        if header.is_data() {
            let computed = view.crc_of_payload(&located);
            if computed != header.payload_crc {
                cut = Cut::Payload { seq: header.seq, stored: header.payload_crc, computed };
                break;
            }
            records += 1;
        }
        next_seq = Some(header.seq.wrapping_add(u64::from(header.is_data())));
        each(&located);
        end = located.end();
    }
    // With nothing cut, the end is the limit and nothing comes after it.
    let survivor = view
        .next_valid(end, limit)
        .map(|located| (low32(located.position()), located.header().seq));
    let cut_granules =
        if published <= capacity { (start + published).saturating_sub(end) } else { 0 };
    let recovery = Recovery {
        start: checkpoint.position,
        end: low32(end),
        records,
        next_seq,
        cut,
        cut_granules: u32::try_from(cut_granules).unwrap_or(u32::MAX),
        survivor,
    };
    Ok((recovery, end))
}

/// One thing found in a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Item {
    /// An intact user's record.
    Record(crate::record::Record),
    /// A PAD, a DISCARD or a record of unknown kind.
    Padding {
        /// Its position.
        position: u32,
        /// What it is.
        kind: u8,
        /// Granules that it takes.
        granules: u32,
    },
    /// A record with a valid header and a damaged payload.
    Payload {
        /// What its header says.
        record: crate::record::Record,
        /// CRC in its header.
        stored: u32,
        /// CRC of its payload.
        computed: u32,
    },
    /// Granules in which no record begins though one should.
    Damage {
        /// Where it begins.
        position: u32,
        /// How many.
        granules: u32,
    },
}

/// Lists what is between the `oldest` and the `tail` word, or from `oldest` on for one lap if these
/// make no sense. Reads only.
///
/// # Errors
/// The segment is not a ring.
pub fn scan<R: Memory>(ring: R) -> Result<Scan<R>, GeometryError> {
    let view = View::open(ring)?;
    let position = Checkpoint::oldest(view.ring()).position;
    // ORDER(none): as in `Checkpoint::oldest`.
    let published = distance(position, view.ring().load(ring_word::TAIL, Ordering::Relaxed));
    let position = u64::from(position);
    Ok(Scan {
        position,
        end: position + u64::from(published.min(view.geometry().capacity())),
        view,
    })
}

/// Iterator of [`scan`].
pub struct Scan<R> {
    view: View<R>,
    position: u64,
    end: u64,
}

impl<R> core::fmt::Debug for Scan<R> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Scan")
            .field("position", &self.position)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl<R: Memory> Iterator for Scan<R> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        if self.position >= self.end {
            return None;
        }
        let from = self.position;
        let Ok(located) = self.view.header_at(from, self.end) else {
            self.position =
                self.view.next_valid(from, self.end).map_or(self.end, |located| located.position());
            let granules = u32::try_from(self.position - from).unwrap_or(u32::MAX);
            return Some(Item::Damage { position: low32(from), granules });
        };
        self.position = located.end();
        if !located.header().is_data() {
            let granules = u32::try_from(located.end() - from).unwrap_or(u32::MAX);
            return Some(Item::Padding {
                position: low32(from),
                kind: located.header().kind,
                granules,
            });
        }
        let (record, stored) = (located.record(), located.header().payload_crc);
        let computed = self.view.crc_of_payload(&located);
        Some(if stored == computed {
            Item::Record(record)
        } else {
            Item::Payload { record, stored, computed }
        })
    }
}
