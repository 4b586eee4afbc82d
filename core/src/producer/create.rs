//! How a ring begins: created, or resumed after a recovery.

use core::fmt;
use core::sync::atomic::Ordering;

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use super::Producer;
use super::boundaries::Boundaries;
use super::gate::Gate;
use crate::geometry::{Geometry, GeometryError, distance, low32, max_payload_for};
use crate::layout::{
    ABI_MAJOR, ABI_MINOR, CLOCK_PRIVATE, DATA_OFFSET_MIN, GRANULE_BYTES, NameError, RING_MAGIC,
    RingHeader, STATE_CLOSED, STATE_RUNNING, name_field, ring_word,
};
use crate::memory::MemoryMut;
use crate::plain_crc::hash;
use crate::read::view::View;
use crate::record::Framing;
use crate::recovery::{RecoverError, Recovery};

/// The properties of a new ring: [`new`](Self::new), then any field changed.
///
/// ```
/// let mut config = aqueduct_core::RingConfig::new("events", 0x5eed_5ef2, 64 * 1024);
/// config.max_payload_bytes = Some(1024);
/// config.clock_id = aqueduct_core::layout::CLOCK_REALTIME;
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RingConfig<'a> {
    /// Name, at most 64 bytes.
    pub name: &'a str,
    /// Identity: random and not 0. Never reuse one: foreign and stale bytes fail their checks
    /// because the epoch differs.
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
    /// Describes a ring with this data size, the smallest header and no clock.
    #[must_use]
    pub const fn new(name: &'a str, epoch: u64, capacity_bytes: usize) -> Self {
        Self {
            name,
            epoch,
            capacity_bytes,
            max_payload_bytes: None,
            data_offset_bytes: DATA_OFFSET_MIN,
            created_ns: 0,
            clock_id: CLOCK_PRIVATE,
            first_position: 0,
        }
    }

    /// Returns the geometry of the ring in a segment of so many bytes.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "firmware has one caller; a call costs 168 bytes")]
    pub(crate) fn geometry(&self, segment_bytes: usize) -> Result<Geometry, GeometryError> {
        let granules = u32::try_from(self.capacity_bytes / GRANULE_BYTES).unwrap_or(u32::MAX);
        if !self.capacity_bytes.is_multiple_of(GRANULE_BYTES) {
            return Err(GeometryError::Capacity { granules });
        }
        let max_payload = self.max_payload_bytes.unwrap_or(max_payload_for(granules));
        let (data_offset, clock) = (self.data_offset_bytes, self.clock_id);
        Geometry::new(self.epoch, granules, max_payload, data_offset, clock, segment_bytes)
    }
}

/// Why a ring could not be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CreateError {
    /// A value is out of range, or the segment too small.
    Geometry(GeometryError),
    /// The name does not fit.
    Name(NameError),
    /// There is a ring already, and nobody closed it.
    Exists {
        /// Its epoch.
        epoch: u64,
    },
}

impl From<GeometryError> for CreateError {
    fn from(error: GeometryError) -> Self {
        Self::Geometry(error)
    }
}

impl From<NameError> for CreateError {
    fn from(error: NameError) -> Self {
        Self::Name(error)
    }
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Geometry(error) => error.fmt(f),
            Self::Name(error) => error.fmt(f),
            Self::Exists { epoch } => {
                write!(f, "a ring of epoch {epoch:#x}, which was not closed, is there already")
            }
        }
    }
}

impl core::error::Error for CreateError {}

impl<M: MemoryMut, C: MemoryMut, const READERS: usize> Producer<M, C, READERS> {
    /// Formats the segment as an empty ring unless it holds one that was not closed: the way to
    /// begin where a second producer must not wipe out the ring of the first.
    ///
    /// A ring that was not closed may have a producer, or had one that was killed or reset, which
    /// the bytes do not tell. A process that knows that it is gone [recovers](crate::recovery) the
    /// ring and resumes it, or calls [`create`](Self::create).
    ///
    /// # Errors
    /// [`CreateError::Exists`]; otherwise as `create`. The segment was not written to then.
    ///
    /// ```
    /// use aqueduct_core::{CreateError, Producer, Region, RingConfig, Segment};
    ///
    /// static RING: Segment<{ 256 + 1024 }> = Segment::new();
    /// let config = RingConfig::new("log", 0x5eed_5ef0, 1024);
    /// let mut first: Producer<Region> = Producer::create_new(RING.region(), &config)?;
    /// let mut next = config;
    /// next.epoch = 0x5eed_5ef1;
    /// let second = Producer::<Region>::create_new(RING.region(), &next);
    /// assert_eq!(second.err(), Some(CreateError::Exists { epoch: 0x5eed_5ef0 }));
    /// let _ = first.close();
    /// let _third: Producer<Region> = Producer::create_new(RING.region(), &next)?;
    /// # Ok::<(), CreateError>(())
    /// ```
    pub fn create_new(ring: M, config: &RingConfig<'_>) -> Result<Self, CreateError> {
        if let Ok(view) = View::open(&ring)
            // ORDER(none): a producer that closes it meanwhile was there when we looked.
            && ring.load(ring_word::STATE, Ordering::Relaxed) != STATE_CLOSED
        {
            return Err(CreateError::Exists { epoch: view.geometry().epoch() });
        }
        Self::create(ring, config)
    }

    /// Formats the segment as an empty ring, discarding its contents. The magic is written last.
    ///
    /// No other producer may be using the segment, and readers of a ring that was in it must be
    /// told of the new one: its checks refuse every record of another epoch. Where that is not
    /// certain, [`create_new`](Self::create_new) looks first.
    ///
    /// # Errors
    /// A value of the configuration breaks ABI §2.1, or the segment is too small.
    pub fn create(ring: M, config: &RingConfig<'_>) -> Result<Self, CreateError> {
        let geometry = config.geometry(ring.size())?;
        let mut header = RingHeader {
            magic: RING_MAGIC,
            abi_major: U16::new(ABI_MAJOR),
            abi_minor: U16::new(ABI_MINOR),
            data_offset: U32::new(config.data_offset_bytes),
            epoch: U64::new(config.epoch),
            created_ns: U64::new(config.created_ns),
            capacity: U32::new(geometry.capacity()),
            max_payload: U32::new(geometry.max_payload()),
            clock_id: U32::new(config.clock_id),
            reserved0: U32::new(0),
            name: name_field(config.name)?,
            reserved1: [0; 12],
            header_crc: U32::new(0),
        };
        header.header_crc = U32::new(hash(&header.as_bytes()[..124]));

        ring.write(0, &[0; 8]);
        // ORDER(create): Release. A process killed here leaves no old magic before a new header:
        // they would make a ring of old control words. Readers do not need it, for they look at the
        // magic first.
        ring.fence(Ordering::Release);
        ring.write(8, &header.as_bytes()[8..]);
        // ORDER(create): Relaxed; the fence below orders it before the magic.
        let set = |word, value| ring.store(word, value, Ordering::Relaxed);
        set(ring_word::TAIL, config.first_position);
        set(ring_word::NEXT_SEQ, 0);
        set(ring_word::OLDEST, config.first_position);
        set(ring_word::STATE, STATE_RUNNING);
        set(ring_word::SPACE_WANTED, 0);
        // ORDER(create): Release. A reader that sees the magic sees the whole header. Pairs with
        // the fence in `Reader::attach`.
        ring.fence(Ordering::Release);
        ring.write(0, &RING_MAGIC);
        Ok(Self::at(ring, geometry, u64::from(config.first_position), 0))
    }

    /// Continues a recovered ring in the same epoch. This is the step of a recovery that writes: it
    /// erases everything past the prefix, so that nothing that was cut can reappear later, and sets
    /// the control words to the prefix.
    ///
    /// No other process may use the ring. Its subscriptions are gone; add them again, with
    /// [`Start::At`](super::Start::At) for cursors that were saved.
    ///
    /// # Errors
    /// As [`recover`](crate::recovery::recover), and [`RecoverError::UnknownSeq`].
    ///
    /// ```
    /// use aqueduct_core::recovery::{Bound, Checkpoint, recover};
    /// use aqueduct_core::{Meta, Producer, Region, RingConfig, Segment};
    ///
    /// let ring = Segment::<{ 256 + 1024 }>::new();
    /// let config = RingConfig::new("log", 0x5eed_5f07, 1024);
    /// let mut log: Producer<Region> = Producer::create(ring.region(), &config)?;
    /// let _ = log.push(Meta::default(), b"before the reset")?;
    /// drop(log);
    ///
    /// let region = ring.region();
    /// let found = recover(&region, Checkpoint::oldest(&region), Bound::Tail)?;
    /// let mut log: Producer<Region> = Producer::resume(region, &found)?;
    /// assert_eq!(log.push(Meta::default(), b"after it")?.0, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resume(ring: M, recovery: &Recovery) -> Result<Self, RecoverError> {
        let next_seq = recovery.next_seq.ok_or(RecoverError::UnknownSeq)?;
        let view = View::open(&ring)?;
        let (geometry, start) = (*view.geometry(), u64::from(recovery.start));
        let (kept, capacity) =
            (u64::from(distance(recovery.start, recovery.end)), u64::from(geometry.capacity()));
        if kept > capacity {
            return Err(RecoverError::Tail { checkpoint: recovery.start, tail: recovery.end });
        }
        let end = start + kept;
        let mut boundaries = Boundaries::new(&geometry, start);
        let mut at = start;
        // No header is valid at the end itself.
        while let Ok(located) = view.header_at(at, end) {
            boundaries.note(at);
            at = located.end();
        }
        // ORDER(none): nobody else uses the ring yet, and the prefix lies within the old
        // `oldest..tail`.
        let set = |word, value| ring.store(word, value, Ordering::Relaxed);
        set(ring_word::NEXT_SEQ, low32(next_seq));
        set(ring_word::OLDEST, recovery.start);
        set(ring_word::STATE, STATE_RUNNING);
        set(ring_word::SPACE_WANTED, 0);
        set(ring_word::TAIL, low32(end));
        // Only now, so that a process killed here leaves whole records between `oldest` and `tail`.
        // ORDER(oldest): Release, as in `retire`.
        ring.fence(Ordering::Release);
        // Every granule, whether it holds a header of this lap or not: one of a later lap, left
        // there by a tail that was lost, would be valid again when this life's tail comes there.
        for position in end..start + capacity {
            ring.write(geometry.offset_of(position), &[0; GRANULE_BYTES]);
        }
        Ok(Self {
            first: start,
            oldest: start,
            boundaries,
            ..Self::at(ring, geometry, end, next_seq)
        })
    }

    fn at(ring: M, geometry: Geometry, head: u64, seq: u64) -> Self {
        Self {
            ring,
            geometry,
            framing: Framing::new(geometry.epoch()),
            gate: Gate::new(),
            head,
            tail: head,
            seq,
            limit: head,
            clear: 0,
            first: head,
            granted: head,
            oldest: head,
            boundaries: Boundaries::new(&geometry, head),
            request: 0,
            closed: false,
        }
    }
}
