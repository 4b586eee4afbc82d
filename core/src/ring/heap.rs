//! A ring on the heap, of a size that is known when the program runs.

use core::fmt;

use super::{Halves, config, halves};
#[cfg(any(target_has_atomic = "32", feature = "portable-atomic"))]
use super::{SharedHalves, shared_halves};
use crate::geometry::GeometryError;
use crate::layout::CONTROL_BYTES;
#[cfg(any(target_has_atomic = "32", feature = "portable-atomic"))]
use crate::layout::GRANULE_BYTES;
use crate::memory::storage::Whole;
use crate::memory::{HeapStorage, ReadRegion};
use crate::read::{JoinError, Observer};
#[cfg(any(target_has_atomic = "32", feature = "portable-atomic"))]
use crate::shared::ShareError;

/// A [`Ring`](crate::Ring) on the heap, whose data area has a size that is known when the program
/// runs.
///
/// Its halves borrow it: for threads of a scope, or for good after [`Box::leak`]. Its data area and
/// its cursor segments are on the heap, so a large ring needs no large stack.
///
/// [`Box::leak`]: https://doc.rust-lang.org/std/boxed/struct.Box.html#method.leak
///
/// ```
/// use aqueduct_core::{HeapRing, Meta, Next};
///
/// let bytes = "4096".parse::<usize>()?; // a setting
/// let ring = HeapRing::<2>::new(bytes)?; // two readers
/// let (mut producer, [mut fast, mut slow]) = ring.split().expect("nobody has split it");
/// std::thread::scope(|scope| {
///     scope.spawn(move || producer.push(Meta::default(), b"21.5").map(|(seq, _)| seq));
/// });
/// let mut observer = ring.observer()?; // anybody may look on
/// for reader in [&mut fast, &mut slow] {
///     assert!(matches!(reader.next_in_place()?, Next::Record((_, payload)) if payload == b"21.5"));
///     let _ = reader.release();
/// }
/// assert!(matches!(observer.next(&mut [0; 8])?, Next::Record(record) if record.len == 4));
///
/// // Threads that outlive the function.
/// let ring: &'static HeapRing = Box::leak(Box::new(HeapRing::new(bytes)?));
/// let (shared, [mut reader]) = ring.split_shared::<8>()?.expect("nobody has split it");
/// std::thread::spawn(move || shared.push(Meta::default(), b"22.0").map(|commit| commit.seq))
///     .join()
///     .expect("it does not panic")?;
/// assert!(matches!(reader.next(&mut [0; 8])?, Next::Record(record) if record.seq == 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct HeapRing<const READERS: usize = 1> {
    storage: HeapStorage<READERS>,
}

impl<const READERS: usize> HeapRing<READERS> {
    /// Allocates a ring with a data area of `capacity_bytes`, 32 × a power of two, at least 128,
    /// that nobody has split. More than 64 `READERS` do not compile.
    ///
    /// # Errors
    /// [`GeometryError::Capacity`]: a size that no ring has. Nothing was allocated then. Where the
    /// heap has no room for another one, the program ends as it does for a `Vec`.
    ///
    /// ```
    /// use aqueduct_core::HeapRing;
    /// use aqueduct_core::geometry::GeometryError;
    ///
    /// let refused = HeapRing::<1>::new(3000);
    /// assert_eq!(refused.err(), Some(GeometryError::Capacity { granules: 93 }));
    /// ```
    pub fn new(capacity_bytes: usize) -> Result<Self, GeometryError> {
        const { assert!(READERS <= 64, "READERS is at most 64") };
        config(0, capacity_bytes).geometry(CONTROL_BYTES.saturating_add(capacity_bytes))?;
        Ok(Self { storage: HeapStorage::new(capacity_bytes) })
    }

    /// Gives both halves, once: [`Ring::split`](crate::Ring::split).
    #[cfg(any(target_has_atomic = "8", feature = "portable-atomic"))]
    pub fn split(&self) -> Option<Halves<'_, READERS>> {
        self.storage.take().then(|| halves(&self.storage)).flatten()
    }

    /// Gives both halves of a ring that is borrowed for as long as they live, and begins anew:
    /// [`Ring::split_mut`](crate::Ring::split_mut).
    ///
    /// ```
    /// use aqueduct_core::{HeapRing, Meta};
    ///
    /// let mut ring = HeapRing::<1>::new(1024)?;
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

    /// Gives a producer that many may use at once, and readers that copy, once:
    /// [`Ring::split_shared`](crate::Ring::split_shared). `None` if the ring was split in either
    /// way.
    ///
    /// # Errors
    /// The ring is too large for so many claims; it can still be split otherwise.
    ///
    /// ```
    /// use aqueduct_core::HeapRing;
    ///
    /// let ring = HeapRing::<1>::new(1 << 26)?; // 64 MiB
    /// assert!(ring.split_shared::<256>().is_err());
    /// assert!(ring.split_shared::<64>()?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(any(target_has_atomic = "32", feature = "portable-atomic"))]
    pub fn split_shared<const CLAIMS: usize>(
        &self,
    ) -> Result<Option<SharedHalves<'_, CLAIMS, READERS>>, ShareError> {
        ShareError::check::<CLAIMS>(granules(self.storage.capacity_bytes()))?;
        if !self.storage.take() {
            return Ok(None);
        }
        shared_halves(&self.storage).transpose()
    }

    /// Joins as an observer, at the oldest record that is intact.
    ///
    /// # Errors
    /// The ring was not split yet.
    pub fn observer(&self) -> Result<Observer<ReadRegion<'_>>, JoinError> {
        Observer::oldest(self.storage.ring().read_only())
    }
}

#[cfg(any(target_has_atomic = "32", feature = "portable-atomic"))]
fn granules(bytes: usize) -> u32 {
    u32::try_from(bytes / GRANULE_BYTES).unwrap_or(u32::MAX)
}

impl<const READERS: usize> fmt::Debug for HeapRing<READERS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeapRing")
            .field("bytes", &self.storage.capacity_bytes())
            .field("readers", &READERS)
            .finish_non_exhaustive()
    }
}
