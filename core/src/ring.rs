//! A ring inside one program that cannot be misused: memory, producer and readers come together,
//! each once.

use core::fmt;

use zerocopy::{Immutable, IntoBytes};

use crate::attributes::AttributeBlock;
use crate::geometry::Geometry;
use crate::layout::{GRANULE_BYTES, MAX_CAPACITY, MIN_CAPACITY};
use crate::memory::storage::Storage;
use crate::memory::{ReadRegion, Region, TrustedRegion};
use crate::producer::{ClaimError, CreateError, Grant, Producer, RingConfig, Start, Wake};
use crate::read::{JoinError, Observer, Reader};
use crate::record::Meta;
use crate::typed::Tagged;

/// The epoch of a ring that is split for the first time. Its memory is its own and is zeroed, so no
/// bytes of another ring can be met in it; those of an earlier life have another epoch.
const EPOCH: u64 = 1;

/// A ring with a data area of `BYTES` and places for `READERS`, for a `static`: between an
/// interrupt handler and the main loop, between tasks or threads.
///
/// `BYTES` is 32 × a power of two, at least 128, and `READERS` at most 64; anything else does not
/// compile. Beside its data it takes 320 bytes, and 256 for each reader.
///
/// ```
/// use aqueduct_core::{Meta, Next, Ring};
///
/// static RING: Ring<1024> = Ring::new();
///
/// let (mut producer, [mut reader]) = RING.split().expect("nobody has split it");
/// let _ = producer.push(Meta { type_tag: 7, timestamp_ns: 0 }, b"21.5")?;
/// let Next::Record((record, payload)) = reader.next_in_place()? else { panic!("it was pushed") };
/// assert_eq!((record.seq, payload), (0, &b"21.5"[..]));
/// let _ = reader.release();
/// assert!(RING.split().is_none()); // each half is there once
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Ring<const BYTES: usize, const READERS: usize = 1> {
    storage: Storage<BYTES, READERS>,
}

/// The producing half of a [`Ring`]: what a [`Producer`] does, except what would take readers or
/// memory away from the other half.
///
/// ```
/// use aqueduct_core::typed::Tagged;
/// use aqueduct_core::{AttributeBlock, ClaimError, Meta, Ring};
///
/// #[derive(zerocopy::IntoBytes, zerocopy::Immutable)]
/// #[repr(transparent)]
/// struct Level(u8);
/// # impl Clone for Level { fn clone(&self) -> Self { *self } }
/// # impl Copy for Level {}
/// // SAFETY: one byte, any value of it.
/// unsafe impl bytemuck::NoUninit for Level {}
/// impl Tagged for Level {
///     const TYPE_TAG: u16 = 7;
/// }
///
/// let mut ring = Ring::<1024>::new();
/// let (mut producer, [_reader]) = ring.split_mut().expect("it is borrowed");
/// let mut room = [0; 16];
/// let block = AttributeBlock::write([("a", &b"b"[..])], &mut room)?;
/// assert_eq!(producer.append(Meta::default(), b"one")?, 0);
/// assert_eq!(producer.append_with(Meta::default(), b"two", block)?, 1);
/// assert_eq!(producer.append_pod(0, &Level(5))?, 2);
/// assert!(producer.publish().is_none());
/// assert_eq!(producer.push_pod(0, &Level(6))?.0, 3);
/// assert_eq!(producer.push_bytes_of(0, &Level(7))?.0, 4);
/// assert_eq!((producer.next_seq(), producer.backlog()), (5, 10));
/// assert!(producer.want_space(producer.geometry().max_payload() as usize)?);
/// assert!(producer.close().is_none());
/// assert_eq!(producer.push(Meta::default(), b"late"), Err(ClaimError::Closed));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RingProducer<'a, const READERS: usize = 1> {
    /// INVARIANT: its ring is not given to anybody, and its readers stay attached, for they lend
    /// payloads in place.
    producer: Producer<Region<'a>, Region<'a>, READERS>,
}

/// A reading half of a [`Ring`], which may also lend payloads in place.
pub type RingReader<'a> = Reader<TrustedRegion<'a>, Region<'a>>;

/// Both halves of a [`Ring`].
pub type Halves<'a, const READERS: usize> = (RingProducer<'a, READERS>, [RingReader<'a>; READERS]);

impl<const BYTES: usize, const READERS: usize> Ring<BYTES, READERS> {
    /// Creates a ring that nobody has split. Sizes that no ring has do not compile.
    #[must_use]
    pub const fn new() -> Self {
        const {
            let granules = BYTES / GRANULE_BYTES;
            assert!(BYTES.is_multiple_of(GRANULE_BYTES), "BYTES is 32 x a power of two");
            assert!(granules.is_power_of_two(), "BYTES is 32 x a power of two");
            assert!(granules >= MIN_CAPACITY as usize, "BYTES is at least 128");
            assert!(granules <= MAX_CAPACITY as usize, "BYTES is at most what positions can say");
            assert!(READERS <= 64, "READERS is at most 64");
        }
        Self { storage: Storage::new() }
    }

    /// Gives both halves, once: the first call gets them, every other one `None`. The first record
    /// has sequence number 0; readers begin at it.
    ///
    /// Needs compare-and-swap, or the feature `critical-section`;
    /// [`split_mut`](Self::split_mut) does not.
    #[cfg(any(target_has_atomic = "8", feature = "portable-atomic"))]
    pub fn split(&self) -> Option<Halves<'_, READERS>> {
        self.storage.take().then(|| self.halves()).flatten()
    }

    /// Gives both halves of a ring that is borrowed for as long as they live. It begins anew: what
    /// an earlier split left in it is gone.
    ///
    /// ```
    /// use aqueduct_core::{Meta, Ring};
    ///
    /// let mut ring = Ring::<1024>::new();
    /// for _ in 0..2 {
    ///     let (mut producer, [_reader]) = ring.split_mut().expect("it is borrowed");
    ///     assert_eq!(producer.push(Meta::default(), b"one")?.0, 0);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn split_mut(&mut self) -> Option<Halves<'_, READERS>> {
        self.storage.begin_anew();
        self.halves()
    }

    /// Gives a producer that many may use at once, and readers that copy. The other way to split,
    /// once: `None` if the ring was split in either way.
    ///
    /// `CLAIMS` may be in flight, a power of two from 2 to 256.
    ///
    /// ```
    /// use aqueduct_core::{Meta, Next, Ring};
    ///
    /// static RING: Ring<1024> = Ring::new();
    /// let (shared, [mut reader]) = RING.split_shared::<8>().expect("nobody has split it");
    /// std::thread::scope(|scope| {
    ///     for name in ["one", "two"] {
    ///         let shared = &shared;
    ///         scope.spawn(move || shared.push(Meta::default(), name.as_bytes()).expect("there is room"));
    ///     }
    /// });
    /// let _ = shared.publish(); // what a meeting may have left
    /// let mut observer = RING.observer()?; // anybody may look on
    /// let mut buf = [0; 8];
    /// assert!(matches!(reader.next(&mut buf)?, Next::Record(record) if record.len == 3));
    /// assert!(matches!(observer.next(&mut buf)?, Next::Record(record) if record.len == 3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(any(target_has_atomic = "32", feature = "portable-atomic"))]
    #[allow(clippy::type_complexity, reason = "each name says what it is")]
    pub fn split_shared<const CLAIMS: usize>(
        &self,
    ) -> Option<(
        crate::SharedProducer<Region<'_>, Region<'_>, crate::shared::Native, CLAIMS, READERS>,
        [Reader<ReadRegion<'_>, Region<'_>>; READERS],
    )> {
        const {
            let granules = BYTES / GRANULE_BYTES;
            assert!(granules <= 1 << 22 && granules <= (1 << 28) / CLAIMS, "see `SharedProducer`");
        }
        if !self.storage.take() {
            return None;
        }
        let producer = self.create().ok()?;
        let readers = self.readers(|| self.storage.ring().read_only())?;
        Some((crate::SharedProducer::new(producer).ok()?, readers))
    }

    /// Joins as an observer, at the oldest record that is intact.
    ///
    /// # Errors
    /// The ring was not split yet.
    pub fn observer(&self) -> Result<Observer<ReadRegion<'_>>, JoinError> {
        Observer::oldest(self.storage.ring().read_only())
    }

    #[allow(unsafe_code, reason = "the two halves are made here, and nobody else has the memory")]
    fn halves(&self) -> Option<Halves<'_, READERS>> {
        let producer = self.create().ok()?;
        // SAFETY: (1) `producer` is the only one, for the ring is split once or borrowed
        // exclusively, and `RingProducer` gives nobody its region; (2) it attached every reader,
        // and has no call that would detach one.
        let readers = self.readers(|| unsafe { self.storage.trusted() })?;
        Some((RingProducer { producer }, readers))
    }

    /// Creates the ring in its memory, with a subscription for each cursor segment.
    fn create(&self) -> Result<Producer<Region<'_>, Region<'_>, READERS>, CreateError> {
        let config = RingConfig::new("", EPOCH.wrapping_add(self.storage.lives()), BYTES);
        let mut producer = Producer::create(self.storage.ring(), &config)?;
        for cursor in self.storage.cursors() {
            // Neither can fail: the table has a place for each, and the segments are large enough.
            if let Ok(id) = producer.subscribe(Start::Oldest) {
                let _ = producer.attach(id, "", cursor.region());
            }
        }
        Ok(producer)
    }

    fn readers<R: crate::Memory>(
        &self,
        ring: impl Fn() -> R,
    ) -> Option<[Reader<R, Region<'_>>; READERS]> {
        let mut readers = heapless::Vec::<_, READERS>::new();
        for cursor in self.storage.cursors() {
            readers.push(Reader::attach(ring(), cursor.region()).ok()?).ok()?;
        }
        readers.into_array().ok()
    }
}

impl<const BYTES: usize, const READERS: usize> Default for Ring<BYTES, READERS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a, const READERS: usize> RingProducer<'a, READERS> {
    /// Returns what never changes in the life of the ring.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        self.producer.geometry()
    }

    /// Returns the sequence number of the next record.
    #[must_use]
    pub const fn next_seq(&self) -> u64 {
        self.producer.next_seq()
    }

    /// Commits one record and publishes it with everything committed before: [`Producer::push`].
    ///
    /// # Errors
    /// As there.
    pub fn push(&mut self, meta: Meta, payload: &[u8]) -> Result<(u64, Wake), ClaimError> {
        self.producer.push(meta, payload)
    }

    /// Commits one record without publishing it: [`Producer::append`].
    ///
    /// # Errors
    /// As there.
    pub fn append(&mut self, meta: Meta, payload: &[u8]) -> Result<u64, ClaimError> {
        self.producer.append(meta, payload)
    }

    /// Does what [`push`](Self::push) does with a record that has attributes:
    /// [`Producer::push_with`].
    ///
    /// # Errors
    /// As there.
    pub fn push_with(
        &mut self,
        meta: Meta,
        payload: &[u8],
        attributes: AttributeBlock<'_>,
    ) -> Result<(u64, Wake), ClaimError> {
        self.producer.push_with(meta, payload, attributes)
    }

    /// Does what [`append`](Self::append) does with a record that has attributes:
    /// [`Producer::append_with`].
    ///
    /// # Errors
    /// As there.
    pub fn append_with(
        &mut self,
        meta: Meta,
        payload: &[u8],
        attributes: AttributeBlock<'_>,
    ) -> Result<u64, ClaimError> {
        self.producer.append_with(meta, payload, attributes)
    }

    /// Pushes a `bytemuck` value under its type's tag: [`Producer::push_pod`].
    ///
    /// # Errors
    /// As there.
    pub fn push_pod<T: Tagged + bytemuck::NoUninit>(
        &mut self,
        timestamp_ns: u64,
        value: &T,
    ) -> Result<(u64, Wake), ClaimError> {
        self.producer.push_pod(timestamp_ns, value)
    }

    /// Appends a `bytemuck` value under its type's tag: [`Producer::append_pod`].
    ///
    /// # Errors
    /// As there.
    pub fn append_pod<T: Tagged + bytemuck::NoUninit>(
        &mut self,
        timestamp_ns: u64,
        value: &T,
    ) -> Result<u64, ClaimError> {
        self.producer.append_pod(timestamp_ns, value)
    }

    /// Pushes a `zerocopy` value, sized or not, under its type's tag:
    /// [`Producer::push_bytes_of`].
    ///
    /// # Errors
    /// As there.
    pub fn push_bytes_of<T: Tagged + IntoBytes + Immutable + ?Sized>(
        &mut self,
        timestamp_ns: u64,
        value: &T,
    ) -> Result<(u64, Wake), ClaimError> {
        self.producer.push_bytes_of(timestamp_ns, value)
    }

    /// Reserves space for one record: [`Producer::claim`].
    ///
    /// # Errors
    /// As there.
    pub fn claim(
        &mut self,
        payload_bytes: usize,
    ) -> Result<Grant<'_, Region<'a>, Region<'a>, READERS>, ClaimError> {
        self.producer.claim(payload_bytes)
    }

    /// Publishes everything committed: [`Producer::publish`].
    pub fn publish(&mut self) -> Wake {
        self.producer.publish()
    }

    /// Ends the stream: [`Producer::close`].
    pub fn close(&mut self) -> Wake {
        self.producer.close()
    }

    /// Asks the readers to report when they release space: [`Producer::want_space`].
    ///
    /// # Errors
    /// As there.
    pub fn want_space(&mut self, payload_bytes: usize) -> Result<bool, ClaimError> {
        self.producer.want_space(payload_bytes)
    }

    /// Returns the granules between the slowest reader and the published tail.
    #[must_use]
    pub fn backlog(&mut self) -> u32 {
        self.producer.backlog()
    }
}

impl<const BYTES: usize, const READERS: usize> fmt::Debug for Ring<BYTES, READERS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("bytes", &BYTES)
            .field("readers", &READERS)
            .finish_non_exhaustive()
    }
}

impl<const READERS: usize> fmt::Debug for RingProducer<'_, READERS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.producer.fmt(f)
    }
}
