//! Payloads that are plain old data: published from a value, viewed as one, with the type tag
//! checked.
//!
//! Both of the ecosystem's vocabularies work: `bytemuck` and `zerocopy`. Bytes are as the machine
//! has them; use the little-endian integers of `zerocopy` for records that travel between machines.
//!
//! ```
//! use aqueduct_core::typed::{
//!     AlignedBuf, NextValueError, Tagged, ViewError, value, view, view_ref, view_slice,
//! };
//! use aqueduct_core::{Meta, Next, Ring};
//!
//! #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
//! #[repr(C)]
//! struct Reading {
//!     sensor: u32,
//!     celsius: f32,
//! }
//! impl Tagged for Reading {
//!     const TYPE_TAG: u16 = 7;
//! }
//!
//! let ring = Ring::<1024>::new();
//! let (mut producer, [mut reader]) = ring.split().expect("nobody has split it");
//! let reading = Reading { sensor: 3, celsius: 21.5 };
//! let _ = producer.append_pod(0, &reading)?;
//! let _ = producer.append(Meta { type_tag: 8, timestamp_ns: 0 }, b"no reading")?;
//! let _ = producer.push_pod(0, &reading)?;
//!
//! assert!(matches!(reader.next_pod::<Reading>()?, Next::Record((_, value)) if value == reading));
//! let other = reader.next_pod::<Reading>(); // its tag is another; it is still unread
//! assert_eq!(other, Err(NextValueError::View(ViewError::Type { expected: 7, found: 8 })));
//! let _ = reader.skip()?;
//!
//! let mut buf = AlignedBuf::<64>::default(); // as aligned as payloads in the ring are
//! let Next::Record(record) = reader.next(&mut buf.0)? else { panic!("one is there") };
//! let payload = record.payload(&buf.0);
//! assert_eq!(view::<Reading>(&record, payload)?, &reading); // by reference
//! assert_eq!(view_slice::<Reading>(&record, payload)?, [reading]); // any number of them
//! assert_eq!(value::<Reading>(&record, payload)?, reading); // a copy, whatever the alignment
//!
//! // The same by `zerocopy`, whose integers have one order on every machine.
//! #[derive(zerocopy::FromBytes, zerocopy::Immutable, zerocopy::KnownLayout, zerocopy::IntoBytes)]
//! #[repr(C)]
//! struct Portable(zerocopy::little_endian::U32);
//! impl Tagged for Portable {
//!     const TYPE_TAG: u16 = 9;
//! }
//! let _ = producer.push_bytes_of(0, &Portable(5.into()))?;
//! let Next::Record(record) = reader.next(&mut buf.0)? else { panic!("one is there") };
//! assert_eq!(view_ref::<Portable>(&record, record.payload(&buf.0))?.0.get(), 5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::memory::{Memory, MemoryMut};
use crate::producer::{ClaimError, Grant, GrantOverflow, Producer, Wake};
use crate::read::{Next, ReadError, Reader};
use crate::record::{Meta, Record};

/// A type with a tag of its own in a ring.
pub trait Tagged {
    /// The `type` of its records.
    const TYPE_TAG: u16;
}

/// Memory for copied payloads, aligned like payloads in a ring, so that a copy can be viewed as a
/// value.
#[derive(Clone, Debug)]
#[repr(C, align(32))]
pub struct AlignedBuf<const BYTES: usize>(pub [u8; BYTES]);

impl<const BYTES: usize> Default for AlignedBuf<BYTES> {
    fn default() -> Self {
        Self([0; BYTES])
    }
}

/// Why a payload is not a value of the type asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ViewError {
    /// The record has another tag.
    Type {
        /// Tag of the type asked for.
        expected: u16,
        /// Tag of the record.
        found: u16,
    },
    /// The payload has another size.
    Size {
        /// Bytes of the type asked for, or of which a multiple is needed.
        expected: usize,
        /// Bytes of the payload.
        found: usize,
    },
    /// The bytes are not aligned for the type; payloads in place and in an [`AlignedBuf`] are, up
    /// to 32.
    Alignment {
        /// Alignment of the type, bytes.
        expected: usize,
    },
}

impl fmt::Display for ViewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type { expected, found } => {
                write!(f, "record of type {found}; a view of type {expected} was asked for")
            }
            Self::Size { expected, found } => {
                write!(f, "payload of {found} bytes; the type takes {expected}")
            }
            Self::Alignment { expected } => write!(f, "payload not aligned to {expected} bytes"),
        }
    }
}

impl core::error::Error for ViewError {}

impl<M: MemoryMut, C: MemoryMut, const READERS: usize> Producer<M, C, READERS> {
    /// Pushes a `bytemuck` value under its type's tag.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    ///
    /// ```
    /// use aqueduct_core::typed::Tagged;
    /// use aqueduct_core::{Producer, Region, RingConfig, Segment};
    ///
    /// #[derive(Clone, Copy, bytemuck::NoUninit, zerocopy::IntoBytes, zerocopy::Immutable)]
    /// #[repr(transparent)]
    /// struct Level(u32);
    /// impl Tagged for Level {
    ///     const TYPE_TAG: u16 = 7;
    /// }
    ///
    /// let ring = Segment::<{ 256 + 1024 }>::new();
    /// let config = RingConfig::new("levels", 0x5eed_5f05, 1024);
    /// let mut producer: Producer<Region> = Producer::create(ring.region(), &config)?;
    /// assert_eq!(producer.append_pod(0, &Level(1))?, 0);
    /// assert_eq!(producer.append_bytes_of(0, &Level(2))?, 1);
    /// assert_eq!(producer.push_pod(0, &Level(3))?.0, 2);
    /// assert_eq!(producer.push_bytes_of(0, &Level(4))?.0, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn push_pod<T: Tagged + bytemuck::NoUninit>(
        &mut self,
        timestamp_ns: u64,
        value: &T,
    ) -> Result<(u64, Wake), ClaimError> {
        self.push(Meta { type_tag: T::TYPE_TAG, timestamp_ns }, bytemuck::bytes_of(value))
    }

    /// Appends a `bytemuck` value under its type's tag, without publishing it.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_pod<T: Tagged + bytemuck::NoUninit>(
        &mut self,
        timestamp_ns: u64,
        value: &T,
    ) -> Result<u64, ClaimError> {
        self.append(Meta { type_tag: T::TYPE_TAG, timestamp_ns }, bytemuck::bytes_of(value))
    }

    /// Pushes a `zerocopy` value, sized or not, under its type's tag.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_bytes_of<T: Tagged + IntoBytes + Immutable + ?Sized>(
        &mut self,
        timestamp_ns: u64,
        value: &T,
    ) -> Result<(u64, Wake), ClaimError> {
        self.push(Meta { type_tag: T::TYPE_TAG, timestamp_ns }, value.as_bytes())
    }

    /// Appends a `zerocopy` value, sized or not, under its type's tag, without publishing it.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_bytes_of<T: Tagged + IntoBytes + Immutable + ?Sized>(
        &mut self,
        timestamp_ns: u64,
        value: &T,
    ) -> Result<u64, ClaimError> {
        self.append(Meta { type_tag: T::TYPE_TAG, timestamp_ns }, value.as_bytes())
    }
}

impl<M: MemoryMut, C: MemoryMut, const READERS: usize> Grant<'_, M, C, READERS> {
    /// Appends a `bytemuck` value to the payload.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    ///
    /// ```
    /// use aqueduct_core::typed::{AlignedBuf, Tagged, view_slice};
    /// use aqueduct_core::{GrantOverflow, Next, Ring};
    ///
    /// #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
    /// # #[derive(zerocopy::IntoBytes, zerocopy::Immutable)]
    /// #[repr(transparent)]
    /// struct Sample(u16);
    /// impl Tagged for Sample {
    ///     const TYPE_TAG: u16 = 7;
    /// }
    ///
    /// let ring = Ring::<1024>::new();
    /// let (mut producer, [mut reader]) = ring.split().expect("nobody has split it");
    /// let mut grant = producer.claim(6)?; // room for three
    /// grant.write_pod(&Sample(1))?;
    /// grant.write_bytes_of(&Sample(2))?; // the same by `zerocopy`
    /// grant.write_pod(&Sample(3))?;
    /// assert_eq!(grant.write_pod(&Sample(4)), Err(GrantOverflow { bytes: 2, remaining: 0 }));
    /// grant.commit_as::<Sample>(0);
    /// let _ = producer.publish();
    ///
    /// let mut buf = AlignedBuf::<6>::default();
    /// let Next::Record(record) = reader.next(&mut buf.0)? else { panic!("one was published") };
    /// assert_eq!(view_slice::<Sample>(&record, &buf.0)?, [Sample(1), Sample(2), Sample(3)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn write_pod<T: bytemuck::NoUninit>(&mut self, value: &T) -> Result<(), GrantOverflow> {
        self.write(bytemuck::bytes_of(value))
    }

    /// Appends a `zerocopy` value, sized or not, to the payload.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_bytes_of<T: IntoBytes + Immutable + ?Sized>(
        &mut self,
        value: &T,
    ) -> Result<(), GrantOverflow> {
        self.write(value.as_bytes())
    }

    /// Commits what was written under the tag of a type: [`commit`](Self::commit).
    pub fn commit_as<T: Tagged + ?Sized>(self, timestamp_ns: u64) -> u64 {
        self.commit(Meta { type_tag: T::TYPE_TAG, timestamp_ns })
    }
}

impl<R: Memory, C: MemoryMut> Reader<R, C> {
    /// Takes the oldest unread record as a `bytemuck` value; its attributes, if it has any, are
    /// checked with it and left out.
    ///
    /// # Errors
    /// [`NextValueError::View`]: the record has another tag or size. It is still unread: `next` or
    /// `skip` takes it. [`NextValueError::Read`] as [`next`](Self::next).
    ///
    /// ```
    /// use aqueduct_core::typed::Tagged;
    /// use aqueduct_core::{Next, Ring};
    ///
    /// #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
    /// #[repr(transparent)]
    /// struct Level(u32);
    /// impl Tagged for Level {
    ///     const TYPE_TAG: u16 = 7;
    /// }
    ///
    /// let ring = Ring::<1024>::new();
    /// let (mut producer, [mut reader]) = ring.split().expect("nobody has split it");
    /// let _ = producer.push_pod(5, &Level(1))?;
    /// let Next::Record((record, level)) = reader.next_pod::<Level>()? else { panic!("it was pushed") };
    /// assert_eq!((record.timestamp_ns, level), (5, Level(1)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn next_pod<T: Tagged + bytemuck::Pod>(
        &mut self,
    ) -> Result<Next<(Record, T)>, NextValueError> {
        let mut value = T::zeroed();
        let next = self.next_sized::<T>(bytemuck::bytes_of_mut(&mut value))?;
        Ok(with_value(next, value))
    }

    /// Takes the oldest unread record as a `zerocopy` value, as [`next_pod`](Self::next_pod) does.
    ///
    /// # Errors
    /// As there.
    ///
    /// ```
    /// use aqueduct_core::typed::Tagged;
    /// use aqueduct_core::{Next, Ring};
    /// use zerocopy::little_endian::U32;
    ///
    /// #[derive(Debug, PartialEq, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable)]
    /// #[repr(transparent)]
    /// struct Level(U32); // the same bytes on every machine
    /// impl Tagged for Level {
    ///     const TYPE_TAG: u16 = 7;
    /// }
    ///
    /// let ring = Ring::<1024>::new();
    /// let (mut producer, [mut reader]) = ring.split().expect("nobody has split it");
    /// let _ = producer.push_bytes_of(5, &Level(U32::new(1)))?;
    /// let Next::Record((record, level)) = reader.next_from_bytes::<Level>()? else { panic!() };
    /// assert_eq!((record.timestamp_ns, level), (5, Level(U32::new(1))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn next_from_bytes<T: Tagged + FromBytes + IntoBytes>(
        &mut self,
    ) -> Result<Next<(Record, T)>, NextValueError> {
        let mut value = T::new_zeroed();
        let next = self.next_sized::<T>(value.as_mut_bytes())?;
        Ok(with_value(next, value))
    }

    /// Takes the oldest unread record if it has the tag of `T` and fills `buf`.
    fn next_sized<T: Tagged>(&mut self, buf: &mut [u8]) -> Result<Next, NextValueError> {
        let expected = buf.len();
        let fits = |record: &Record| {
            check_tag::<T>(record)?;
            if record.len == expected {
                return Ok(());
            }
            Err(ViewError::Size { expected, found: record.len })
        };
        let next = self.next_if(fits, buf);
        next.map_err(NextValueError::Read)?.map_err(NextValueError::View)
    }
}

/// Returns the value that was filled with a record, if one was.
fn with_value<T>(next: Next, value: T) -> Next<(Record, T)> {
    match next {
        Next::Record(record) => Next::Record((record, value)),
        Next::Empty => Next::Empty,
        Next::Closed => Next::Closed,
    }
}

/// Why a reader gave no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum NextValueError {
    /// The ring gave no record.
    Read(ReadError),
    /// The record is not of this type, and still unread.
    View(ViewError),
}

impl fmt::Display for NextValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => error.fmt(f),
            Self::View(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for NextValueError {}

pub(crate) fn check_tag<T: Tagged>(record: &Record) -> Result<(), ViewError> {
    if record.type_tag == T::TYPE_TAG {
        Ok(())
    } else {
        Err(ViewError::Type { expected: T::TYPE_TAG, found: record.type_tag })
    }
}

fn view_error<T>(error: bytemuck::PodCastError, found: usize) -> ViewError {
    match error {
        bytemuck::PodCastError::TargetAlignmentGreaterAndInputNotAligned => {
            ViewError::Alignment { expected: align_of::<T>() }
        }
        _ => ViewError::Size { expected: size_of::<T>(), found },
    }
}

/// Views the payload as one `bytemuck` value, where it lies.
///
/// # Errors
/// [`ViewError`]: another tag, size or alignment.
pub fn view<'b, T: Tagged + bytemuck::AnyBitPattern>(
    record: &Record,
    payload: &'b [u8],
) -> Result<&'b T, ViewError> {
    check_tag::<T>(record)?;
    bytemuck::try_from_bytes(payload).map_err(|error| view_error::<T>(error, payload.len()))
}

/// Views the payload as an array of `bytemuck` values, where it lies; it must be a whole number of
/// them.
///
/// # Errors
/// [`ViewError`]: another tag, size or alignment.
pub fn view_slice<'b, T: Tagged + bytemuck::AnyBitPattern>(
    record: &Record,
    payload: &'b [u8],
) -> Result<&'b [T], ViewError> {
    check_tag::<T>(record)?;
    bytemuck::try_cast_slice(payload).map_err(|error| view_error::<T>(error, payload.len()))
}

/// Copies the payload into one `bytemuck` value, whatever its alignment.
///
/// # Errors
/// [`ViewError`]: another tag or size.
pub fn value<T: Tagged + bytemuck::AnyBitPattern>(
    record: &Record,
    payload: &[u8],
) -> Result<T, ViewError> {
    check_tag::<T>(record)?;
    bytemuck::try_pod_read_unaligned(payload).map_err(|error| view_error::<T>(error, payload.len()))
}

/// Views the payload as one `zerocopy` value, sized or not, where it lies.
///
/// # Errors
/// [`ViewError`]: another tag, size or alignment.
pub fn view_ref<'b, T: Tagged + FromBytes + Immutable + KnownLayout>(
    record: &Record,
    payload: &'b [u8],
) -> Result<&'b T, ViewError> {
    check_tag::<T>(record)?;
    T::ref_from_bytes(payload).map_err(|error| match error {
        zerocopy::CastError::Alignment(_) => ViewError::Alignment { expected: align_of::<T>() },
        _ => ViewError::Size { expected: size_of::<T>(), found: payload.len() },
    })
}

#[cfg(test)]
mod tests;
