//! The producing half of a ring inside one program.

use core::fmt;

use zerocopy::{Immutable, IntoBytes};

use crate::attributes::AttributeBlock;
use crate::geometry::Geometry;
use crate::memory::Region;
use crate::producer::{ClaimError, Grant, Producer, Wake};
use crate::record::Meta;
use crate::typed::Tagged;

/// The producing half of a [`Ring`](crate::Ring): what a [`Producer`] does, except what would take
/// readers or memory away from the other half.
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
/// assert_eq!(producer.append_bytes_of(0, &Level(6))?, 3);
/// assert!(producer.publish().is_none());
/// assert_eq!(producer.push_pod(0, &Level(7))?.0, 4);
/// assert_eq!(producer.push_bytes_of(0, &Level(8))?.0, 5);
/// assert_eq!((producer.next_seq(), producer.backlog()), (6, 12));
/// assert!(producer.want_space(producer.geometry().max_payload() as usize)?);
/// assert!(producer.close().is_none());
/// assert_eq!(producer.push(Meta::default(), b"late"), Err(ClaimError::Closed));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RingProducer<'a, const READERS: usize = 1> {
    /// INVARIANT: its ring is not given to anybody, and its readers stay attached, for they lend
    /// payloads in place.
    pub(super) producer: Producer<Region<'a>, Region<'a>, READERS>,
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

    /// Appends a `zerocopy` value, sized or not, under its type's tag:
    /// [`Producer::append_bytes_of`].
    ///
    /// # Errors
    /// As there.
    pub fn append_bytes_of<T: Tagged + IntoBytes + Immutable + ?Sized>(
        &mut self,
        timestamp_ns: u64,
        value: &T,
    ) -> Result<u64, ClaimError> {
        self.producer.append_bytes_of(timestamp_ns, value)
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

impl<const READERS: usize> fmt::Debug for RingProducer<'_, READERS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.producer.fmt(f)
    }
}
