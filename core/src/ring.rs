//! A ring inside one program that cannot be misused: memory, producer and readers come together,
//! each once.

#[cfg(feature = "alloc")]
mod heap;
mod producer;

#[cfg(feature = "alloc")]
pub use self::heap::HeapRing;
pub use self::producer::RingProducer;

use core::fmt;

use crate::layout::{GRANULE_BYTES, MAX_CAPACITY, MIN_CAPACITY};
use crate::memory::storage::{Storage, Whole};
use crate::memory::{Memory, ReadRegion, Region, TrustedRegion};
use crate::producer::{CreateError, Producer, RingConfig, Start};
use crate::read::{JoinError, Observer, Reader};
#[cfg(any(target_has_atomic = "32", feature = "portable-atomic"))]
use crate::shared::{Native, ShareError, SharedProducer};

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
///
/// A size that no ring has:
///
/// ```compile_fail,E0080
/// static RING: aqueduct_core::Ring<1000> = aqueduct_core::Ring::new();
/// ```
pub struct Ring<const BYTES: usize, const READERS: usize = 1> {
    storage: Storage<BYTES, READERS>,
}

/// A reading half of a [`Ring`], which may also lend payloads in place.
pub type RingReader<'a> = Reader<TrustedRegion<'a>, Region<'a>>;

/// Both halves of a [`Ring`].
pub type Halves<'a, const READERS: usize> = (RingProducer<'a, READERS>, [RingReader<'a>; READERS]);

/// Both halves of a [`Ring`] that many produce into.
#[cfg(any(target_has_atomic = "32", feature = "portable-atomic"))]
pub type SharedHalves<'a, const CLAIMS: usize, const READERS: usize> = (
    SharedProducer<Region<'a>, Region<'a>, Native, CLAIMS, READERS>,
    [Reader<ReadRegion<'a>, Region<'a>>; READERS],
);

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
        self.storage.take().then(|| halves(&self.storage)).flatten()
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
        halves(&self.storage)
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
    pub fn split_shared<const CLAIMS: usize>(&self) -> Option<SharedHalves<'_, CLAIMS, READERS>> {
        const {
            #[allow(
                clippy::cast_possible_truncation,
                reason = "`new` refuses more bytes than that"
            )]
            let granules = (BYTES / GRANULE_BYTES) as u32;
            assert!(ShareError::check::<CLAIMS>(granules).is_ok(), "see `SharedProducer`");
        }
        self.storage.take().then(|| shared_halves(&self.storage)?.ok()).flatten()
    }

    /// Joins as an observer, at the oldest record that is intact.
    ///
    /// # Errors
    /// The ring was not split yet.
    pub fn observer(&self) -> Result<Observer<ReadRegion<'_>>, JoinError> {
        Observer::oldest(self.storage.ring().read_only())
    }
}

impl<const BYTES: usize, const READERS: usize> Default for Ring<BYTES, READERS> {
    fn default() -> Self {
        Self::new()
    }
}

#[allow(unsafe_code, reason = "the two halves are made here, and nobody else has the memory")]
fn halves<S: Whole<READERS>, const READERS: usize>(storage: &S) -> Option<Halves<'_, READERS>> {
    let producer = create(storage).ok()?;
    // SAFETY: (1) `producer` is the only one, for the ring is split once or borrowed exclusively,
    // and `RingProducer` gives nobody its region; (2) it attached every reader, and has no call
    // that would detach one.
    let readers = readers(storage, || unsafe { storage.trusted() })?;
    Some((RingProducer { producer }, readers))
}

#[cfg(any(target_has_atomic = "32", feature = "portable-atomic"))]
#[allow(clippy::type_complexity, reason = "each name says what it is")]
fn shared_halves<S: Whole<READERS>, const CLAIMS: usize, const READERS: usize>(
    storage: &S,
) -> Option<Result<SharedHalves<'_, CLAIMS, READERS>, ShareError>> {
    let producer = create(storage).ok()?;
    let readers = readers(storage, || storage.ring().read_only())?;
    Some(SharedProducer::new(producer).map(|shared| (shared, readers)))
}

/// Describes a ring that began anew so often.
const fn config(lives: u64, capacity_bytes: usize) -> RingConfig<'static> {
    RingConfig::new("", EPOCH.wrapping_add(lives), capacity_bytes)
}

/// Creates a ring in its memory, with a subscription for each cursor segment.
fn create<S: Whole<READERS>, const READERS: usize>(
    storage: &S,
) -> Result<Producer<Region<'_>, Region<'_>, READERS>, CreateError> {
    let config = config(storage.lives(), storage.capacity_bytes());
    let mut producer = Producer::create(storage.ring(), &config)?;
    for cursor in storage.cursors() {
        // Neither can fail: the table has a place for each, and the segments are large enough.
        if let Ok(id) = producer.subscribe(Start::Oldest) {
            let _ = producer.attach(id, "", cursor);
        }
    }
    Ok(producer)
}

fn readers<S: Whole<READERS>, R: Memory, const READERS: usize>(
    storage: &S,
    ring: impl Fn() -> R,
) -> Option<[Reader<R, Region<'_>>; READERS]> {
    let mut readers = heapless::Vec::<_, READERS>::new();
    for cursor in storage.cursors() {
        readers.push(Reader::attach(ring(), cursor).ok()?).ok()?;
    }
    readers.into_array().ok()
}

impl<const BYTES: usize, const READERS: usize> fmt::Debug for Ring<BYTES, READERS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("bytes", &BYTES)
            .field("readers", &READERS)
            .finish_non_exhaustive()
    }
}
