//! What the owner of a ring chooses, and what it is told of its subscriptions. Next: `error`.

use crate::layout::DATA_OFFSET_MIN;

/// What a new ring shall be.
#[derive(Clone, Copy, Debug)]
pub struct RingConfig<'a> {
    /// Name, at most 64 bytes.
    pub name: &'a str,
    /// Identity: random and not 0. Never reuse one: it is what makes foreign and stale bytes fail
    /// their checks.
    pub epoch: u64,
    /// Data area, bytes: 32 × a power of two, at least 128.
    pub capacity_bytes: usize,
    /// Largest payload, bytes; `None` for the most that the capacity allows.
    pub max_payload_bytes: Option<u32>,
    /// Offset of the data area, bytes: at least 256, a multiple of 64.
    pub data_offset_bytes: u32,
    /// Creation time, nanoseconds since the Unix epoch; 0 if unknown.
    pub created_ns: u64,
    /// Clock of the timestamps given to [`Producer::push`](crate::Producer::push), one of the
    /// `CLOCK_` constants of [`layout`](crate::layout).
    pub clock_id: u32,
    /// Position of the first record. 0, except in tests of the wrap-around at 2^32.
    pub first_position: u32,
}

impl<'a> RingConfig<'a> {
    /// A ring of the given data size behind the smallest possible header, without clock.
    #[must_use]
    pub const fn new(name: &'a str, epoch: u64, capacity_bytes: usize) -> Self {
        Self {
            name,
            epoch,
            capacity_bytes,
            max_payload_bytes: None,
            data_offset_bytes: DATA_OFFSET_MIN,
            created_ns: 0,
            clock_id: crate::layout::CLOCK_PRIVATE,
            first_position: 0,
        }
    }
}

/// The user's part of a record's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The user's tag.
    pub type_tag: u16,
    /// Nanoseconds by the ring's clock; 0 if unknown.
    pub timestamp_ns: u64,
}

/// Where a new subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record that is still whole.
    Oldest,
    /// Behind the last published record.
    Latest,
    /// At this record boundary, in the last lap and not overwritten: a cursor that was kept while
    /// the producer or the reader was away.
    At(u32),
}

/// A subscription as the producer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
