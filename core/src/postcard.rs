//! Values of `serde` as payloads, by `postcard`: serialized into a grant, without a buffer between,
//! and taken from the payload of a record, with the type tag checked.
//!
//! ```
//! use aqueduct_core::typed::Tagged;
//! use aqueduct_core::postcard::{Fill, GrantFlavor, ValueError};
//! use aqueduct_core::{Meta, Next, Ring, postcard};
//!
//! #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
//! struct Reading<'a> {
//!     sensor: &'a str,
//!     celsius: Option<f32>,
//! }
//!
//! impl Tagged for Reading<'_> {
//!     const TYPE_TAG: u16 = 7;
//! }
//!
//! static RING: Ring<1024> = Ring::new();
//! let (mut producer, [mut reader]) = RING.split().expect("nobody has split it");
//! let reading = Reading { sensor: "boiler", celsius: Some(71.5) };
//!
//! let mut grant = producer.claim(64)?; // more than it takes
//! postcard::write(&reading, &mut grant)?;
//! grant.commit(Meta { type_tag: Reading::TYPE_TAG, timestamp_ns: 0 });
//! let _ = producer.publish();
//!
//! let Next::Record((record, payload)) = reader.next_in_place()? else { panic!("it was published") };
//! assert_eq!(record.len, 12);
//! assert_eq!(postcard::value::<Reading>(&record, payload)?, reading);
//! let short = postcard::value::<Reading>(&record, &payload[..5]);
//! assert!(matches!(short, Err(ValueError::Postcard(_))));
//!
//! // Under another flavour, of `postcard` or one's own.
//! fn write_under<G: Fill>(reading: &Reading, grant: &mut G) -> Result<(), ::postcard::Error> {
//!     ::postcard::serialize_with_flavor(reading, GrantFlavor(grant))
//! }
//! write_under(&reading, &mut producer.claim(64)?)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use core::fmt;

use ::postcard::ser_flavors::Flavor;
use ::postcard::{Error, Result, serialize_with_flavor, take_from_bytes};
use serde::{Deserialize, Serialize};

use crate::memory::MemoryMut;
use crate::producer::{Grant, GrantOverflow};
use crate::record::Record;
#[cfg(any(target_has_atomic = "32", feature = "portable-atomic"))]
use crate::shared::{Backend, SharedGrant};
use crate::typed::{Tagged, ViewError, check_tag};

/// A grant of either kind.
pub trait Fill {
    /// Appends to the payload: the grant's `write`.
    ///
    /// # Errors
    /// More bytes than are left of the claim; none of them was taken.
    fn fill(&mut self, bytes: &[u8]) -> core::result::Result<(), GrantOverflow>;
}

impl<M: MemoryMut, C: MemoryMut, const READERS: usize> Fill for Grant<'_, M, C, READERS> {
    fn fill(&mut self, bytes: &[u8]) -> core::result::Result<(), GrantOverflow> {
        self.write(bytes)
    }
}

#[cfg(any(target_has_atomic = "32", feature = "portable-atomic"))]
impl<M, C, B, const CLAIMS: usize, const READERS: usize> Fill
    for SharedGrant<'_, M, C, B, CLAIMS, READERS>
where
    M: MemoryMut + Clone,
    C: MemoryMut,
    B: Backend,
{
    fn fill(&mut self, bytes: &[u8]) -> core::result::Result<(), GrantOverflow> {
        self.write(bytes)
    }
}

/// A flavour that ends in a grant, to be put under others: a checksum, COBS.
#[derive(Debug)]
pub struct GrantFlavor<'g, G>(pub &'g mut G);

impl<G: Fill> Flavor for GrantFlavor<'_, G> {
    type Output = ();

    fn try_extend(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.fill(bytes).map_err(|_| Error::SerializeBufferFull)
    }

    fn try_push(&mut self, byte: u8) -> Result<()> {
        self.try_extend(&[byte])
    }

    fn finalize(self) -> Result<()> {
        Ok(())
    }
}

/// Serializes a value after what was written into the grant before. Then commit it; what was
/// claimed and not needed is given back.
///
/// # Errors
/// [`Error::SerializeBufferFull`]: it takes more bytes than are left of the claim. A part of it is
/// in the grant then: drop it. Otherwise what the value's `Serialize` says.
pub fn write<T: Serialize + ?Sized, G: Fill>(value: &T, grant: &mut G) -> Result<()> {
    serialize_with_flavor(value, GrantFlavor(grant))
}

/// Takes a value from the payload of a record; it may borrow from it.
///
/// # Errors
/// [`ValueError`].
pub fn value<'b, T: Tagged + Deserialize<'b>>(
    record: &Record,
    payload: &'b [u8],
) -> core::result::Result<T, ValueError> {
    check_tag::<T>(record).map_err(ValueError::View)?;
    let (value, rest) = take_from_bytes(payload).map_err(ValueError::Postcard)?;
    if rest.is_empty() { Ok(value) } else { Err(ValueError::Rest { bytes: rest.len() }) }
}

/// Why a payload is not a value of the type asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValueError {
    /// The record has another tag.
    View(ViewError),
    /// The bytes are not such a value.
    Postcard(Error),
    /// Bytes are left after the value.
    Rest {
        /// How many.
        bytes: usize,
    },
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::View(error) => error.fmt(f),
            Self::Postcard(error) => error.fmt(f),
            Self::Rest { bytes } => write!(f, "{bytes} bytes after the value"),
        }
    }
}

impl core::error::Error for ValueError {}
